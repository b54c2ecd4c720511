"""What happened in a conversation that a rule speaks of: all its valid records, as the broker got them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from tests.checker.log import Conversation, Log, Settings, View
from tests.checker.records import SECOND, Event, Violation

_TOLD = (
    "message_id",
    "in_reply_to",
    "reason",
    "cause",
    "handover",
    "waiting_since",
    "assignment_id",
    "agent_id",
    "by_agent_id",
    "mode",
    "author",
    "metric",
    "started_at",
    "due_at",
    "routing_offset",
)


def stories(log: Log, settings: Settings, violations: Iterable[Violation], each: int = 1) -> str:
    """The conversations of the first ``each`` violations of every code."""
    view = View(log, settings)
    told: dict[str, set[str]] = {}
    lines: list[str] = []
    for violation in violations:
        subjects = told.setdefault(violation.code, set())
        event = view.event_at.get(violation.where)
        if event is None or event.subject not in view.conversations or len(subjects) >= each:
            continue
        if event.subject not in subjects:
            subjects.add(event.subject)
            lines += [str(violation), *_lines(view.conversations[event.subject])]
    return "\n".join(lines)


def _lines(conversation: Conversation) -> Iterator[str]:
    """Broker's clock, how much earlier it happened, where it stands, what it says."""
    events = [event for of_topic in conversation.by_topic.values() for event in of_topic]
    for event in sorted(events, key=lambda event: (event.broker_at, event.record.topic, event.offset)):
        yield f"    {_clock(event.broker_at)} {_ago(event)} {event.where} {event.type} {_data(event)}"


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).strftime("%H:%M:%S.%f")[:-3]


def _ago(event: Event) -> str:
    return f"{(event.at - event.broker_at) / SECOND:+.3f} s"


def _data(event: Event) -> str:
    told = {name: event.data[name] for name in _TOLD if name in event.data}
    return " ".join(f"{name}={str(value)[-40:]}" for name, value in told.items())
