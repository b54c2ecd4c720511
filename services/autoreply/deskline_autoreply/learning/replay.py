"""Candidate rules over recorded conversations, by the service's own decisions, beside what was really issued.

Every conversation's events go through ``Autoreply.advance`` in the order of the log, routing as far as the recorded outcome says that it
had been read. What people and customers wrote afterwards stays as recorded, whatever the candidate would have said.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from deskline.config.book import SURGES
from deskline.conversations import Context
from deskline.events.wire import decode
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event, Record
from deskline_autoreply.achievements_store import Resting
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.learning.traffic import RECEIVED, Outcome, joined, told_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deskline.config.book import ConfigBook
    from deskline.records import Output

VERDICTS: Final = ("gained", "lost", "changed", "same", "unanswered")


class Compared(NamedTuple):
    conversation: str
    message_id: str
    text: str
    verdict: str
    was: Outcome | None
    now: Outcome


class Replayed(NamedTuple):
    compared: tuple[Compared, ...]

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(one.verdict for one in self.compared)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def coverage(self) -> tuple[float, float]:
        """Shares of all messages that were answered, and that the candidate answers."""
        total = max(len(self.compared), 1)
        was = sum(one.was is not None and one.was.answered for one in self.compared)
        return was / total, sum(one.now.answered for one in self.compared) / total

    def handovers(self) -> dict[str, tuple[int, int]]:
        """Reason → (was, would be)."""
        was = Counter(one.was.reason for one in self.compared if one.was and one.was.kind in {"handover", "holding"})
        now = Counter(one.now.reason for one in self.compared if one.now.kind in {"handover", "holding"})
        return {reason: (was[reason], now[reason]) for reason in sorted({*was, *now})}


def verdict(was: Outcome | None, now: Outcome) -> str:
    answered = was is not None and was.answered
    if answered != now.answered:
        return "gained" if now.answered else "lost"
    if not now.answered:
        return "unanswered"
    assert was is not None
    return "same" if (was.text, was.rule_id, was.entry_id) == (now.text, now.rule_id, now.entry_id) else "changed"


def replay(
    events: Sequence[Event], book: ConfigBook, shop: str, say: Callable[[str], None] = lambda _: None
) -> Replayed:
    """``events``: in the order of the log, of whole conversations; those of other shops are passed over. ``book`` learns of their
    surges.
    """
    recorded: dict[tuple[str, str], Outcome] = {}
    shops: dict[str, str] = {}
    routing: dict[str, list[Event]] = {}
    for event in events:
        if event.topic == REPLIES and (told := told_by(event)) is not None:
            key = (event.subject, told[0])
            recorded[key] = joined(recorded.get(key), told[1])
        elif event.type in SURGES:
            book.admit(event)
        elif event.topic == ROUTING:
            routing.setdefault(event.subject, []).append(event)
        elif event.type == RECEIVED:
            shops.setdefault(event.subject, event.data.shop_id)
    autoreply, resting = Autoreply(book, lambda _: None), Resting()
    states: dict[str, State] = {}
    found: list[Compared] = []
    for event in events:
        if event.topic != CONVERSATIONS or shops.get(event.subject) != shop:
            continue
        was = recorded.get((event.subject, event.data.message_id)) if event.type == RECEIVED else None
        state = states.setdefault(event.subject, State())
        read = _read_by_then(routing.get(event.subject, []), event, was)
        position = was.routing_offset if was is not None and was.routing_offset is not None else 0
        decided_at = event.broker_at if was is None else max(was.at, event.at)
        context = Context(decided_at, event.broker_at, book, {ROUTING: position}, event.partition, gathered=resting)
        now = _outcome(autoreply.advance(event.subject, state, [*read, event], context))
        if event.type == RECEIVED and now is not None:
            found.append(Compared(event.subject, event.data.message_id, event.data.text, verdict(was, now), was, now))
            if len(found) % 5_000 == 0:
                say(f"{len(found)} messages")
    return Replayed(tuple(found))


def _read_by_then(routing: list[Event], event: Event, was: Outcome | None) -> list[Event]:
    """Takes from ``routing`` what had been read when the event was decided."""
    offset = None if was is None else was.routing_offset
    end = 0
    for other in routing:
        read = other.offset < offset if offset is not None else other.broker_at <= event.broker_at
        if not read:
            break
        end += 1
    told = routing[:end]
    del routing[:end]
    return told


def _outcome(outputs: Sequence[Output]) -> Outcome | None:
    found: Outcome | None = None
    for output in outputs:
        event = decode(Record(REPLIES, 0, 0, 2**52, output.key, output.value, ()))
        if isinstance(event, Event) and (told := told_by(event)) is not None:
            found = joined(found, told[1])
    return found
