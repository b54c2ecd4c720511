"""Rule 6: the last word told of each clock is the fold's, and no breach was false or missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.checker.fold import Clock, Fold
from tests.checker.log import Conversation, View
from tests.checker.records import CONVERSATIONS, REPLIES, ROUTING, SECOND, SLA, Event, Violation
from tests.checker.validity import parse_time

_OUTCOMES = ("sla.breached", "sla.met", "sla.cancelled", "sla.breach_retracted")


def clocks(view: View) -> Iterator[Violation]:
    for conversation in view.conversations.values():
        yield from _conversation(view, conversation)


def _conversation(view: View, conversation: Conversation) -> Iterator[Violation]:
    settings = view.settings
    fold = Fold(conversation, view.configuration, settings.end_at - settings.lateness)
    told: dict[str, list[Event]] = defaultdict(list)
    for event in conversation.of(SLA, *_OUTCOMES):
        told[event.data["clock_id"]].append(event)
    yield from _warnings(conversation)
    matched: set[tuple[str, int, str]] = set()
    by_start: dict[tuple[str, int], list[Clock]] = defaultdict(list)
    for folded in fold.clocks:
        by_start[folded.metric, folded.started_at].append(folded)
    for clock_id, events in told.items():
        data = events[0].data
        # Two complaints opened in one instant are told apart by order alone: the events do not name them.
        possible = [
            clock for clock in by_start[data["metric"], parse_time(data["started_at"])] if clock.key not in matched
        ]
        clock = possible[0] if possible else None
        if clock is not None:
            matched.add(clock.key)
        yield from _sequence(clock_id, events)
        yield from _last_word(view, conversation, clock_id, events, clock)
        if clock is not None:
            yield from _false_breaches(view, conversation, events, clock)
    for folded in fold.clocks:
        if folded.key not in matched:
            yield from _missing(view, conversation, folded)
        yield from _retargets(view, conversation, folded)


def _retargets(view: View, conversation: Conversation, clock: Clock) -> Iterator[Violation]:
    """Each version that an open clock took is told once. Late events may show later that a clock was open no longer."""
    # Until its first message is read, what else is said of a conversation names its shop: a version of that one may have been told.
    shops = {clock.shop_id} | {
        str(event.data["shop_id"])
        for topic in (CONVERSATIONS, REPLIES, ROUTING)
        for event in conversation.of(topic)
        if "shop_id" in event.data
    }
    instants = {
        version.in_force_at
        for shop in shops
        for document in ("sla", "calendars")
        for version in view.configuration.reevaluations(shop, document, clock.started_at, view.settings.end_at)
    }
    if not instants:
        return
    told = [
        event
        for event in conversation.of(SLA, "sla.retargeted")
        if (event.data["metric"], parse_time(event.data["started_at"])) == (clock.metric, clock.started_at)
    ]
    what = f"{clock.metric} of {conversation.subject} started {clock.started_at}"
    # Complaints opened in one instant share their fields: what is told of one may be of the other.
    most = len(instants) * max(1, sum(other.data["metric"] == "complaint_closure" for other in told))
    if len({event.id for event in told}) != len(told) or len(told) > most:
        yield Violation("6", "retargeted_twice", what, told[-1].where)
    settled = view.settings.settled_at - view.settings.lateness
    if not view.settings.caught_up or clock.starter.broker_at > settled:
        return
    # With which target may have changed with what was read later: once told it is not told again.
    due = [instant for instant, _, _ in clock.retargeted if instant <= settled]
    if len(told) < len(due) or any(not any(event.time >= instant for event in told) for instant in due):
        yield Violation("6", "not_retargeted", f"{what} at {due}", clock.starter.where)


def _name(clock_id: str, event: Event) -> str:
    return f"{event.data['metric']} of {event.subject} started {event.data['started_at']} ({clock_id})"


def _warnings(conversation: Conversation) -> Iterator[Violation]:
    seen: set[tuple[str, float]] = set()
    for event in conversation.of(SLA, "sla.warning"):
        key = (event.data["clock_id"], event.data["threshold"])
        if key in seen:
            yield Violation("6", "warned_twice", _name(event.data["clock_id"], event), event.where)
        seen.add(key)


def _sequence(clock_id: str, events: list[Event]) -> Iterator[Violation]:
    breached: str | None = None
    last: tuple[object, ...] | None = None
    for event in events:
        if event.type == "sla.breached.v1":
            if breached is not None:
                yield Violation("6", "two_breaches_without_retraction", _name(clock_id, event), event.where)
            breached = event.where
            if event.data["breached_at"] != event.data["due_at"]:
                yield Violation("6", "breached_at_is_not_due_at", _name(clock_id, event), event.where)
        elif event.type == "sla.breach_retracted.v1":
            if breached is None:
                yield Violation("6", "retracted_without_breach", _name(clock_id, event), event.where)
            breached = None
        elif breached is not None:
            yield Violation("6", "outcome_over_a_breach", f"{_name(clock_id, event)}: {event.type}", event.where)
            breached = None
        data = event.data
        word = (event.type, data["due_at"], data["target_s"], data.get("met_at"), data.get("reason"))
        if word == last:
            yield Violation("6", "told_twice", f"{_name(clock_id, event)}: {event.type}", event.where)
        last = word


_CANCELLING = {
    "closed": ((CONVERSATIONS, "conversation.closed"), (ROUTING, "conversation.released")),
    "queue_full": ((ROUTING, "conversation.released"),),
}


def _cancelled_by(conversation: Conversation, reason: str) -> bool:
    """Whether something happened for which a clock may be cancelled with this reason.

    Which of two cancelled it may change with what is read later. The reason is no part of the outcome (§5, *Retelling*),
    so then nothing is told anew.
    """
    return any(
        event.data.get("reason", reason) == reason
        for topic, kind in _CANCELLING.get(reason, ())
        for event in conversation.of(topic, kind)
    )


def _last_word(
    view: View, conversation: Conversation, clock_id: str, events: list[Event], clock: Clock | None
) -> Iterator[Violation]:
    last = events[-1]
    data = last.data
    silent = last.type == "sla.breach_retracted.v1" or (
        last.type == "sla.cancelled.v1" and data["reason"] == "late_event"
    )
    if clock is None:
        if not silent:
            yield Violation("6", "no_such_clock", f"{_name(clock_id, last)}: {last.type}", last.where)
        return
    if clock.state == "open":
        # Told between the instant to which this fold looks and the reading of sla.v1 that followed it.
        soon = clock.runs_on_at <= view.settings.end_at + 2 * SECOND
        if not silent and not (last.type == "sla.breached.v1" and soon):
            yield Violation("6", "clock_is_open", f"{_name(clock_id, last)}: {last.type}", last.where)
        return
    if silent and not _due_to_be_told(view, clock):
        return
    if last.type != f"sla.{clock.state}.v1":
        what = f"{_name(clock_id, last)}: told {last.type}, by the fold {clock.state}"
        yield Violation("6", "last_word", f"{what} at {_decided(clock)}", last.where)
        return
    told = (parse_time(data["due_at"]), data["target_s"])
    if told != (clock.due_at, clock.terms.target_s):
        what = f"{_name(clock_id, last)}: due_at {told[0] - clock.due_at:+d} µs, target {told[1]}"
        yield Violation("6", "last_word_terms", f"{what} for {clock.terms.target_s}", last.where)
    elif clock.state == "met":
        met = parse_time(data["met_at"])
        if met != clock.met_at or abs(data["elapsed_s"] - clock.elapsed / SECOND) > 1e-6:
            what = f"{_name(clock_id, last)}: met_at {met - clock.met_at:+d} µs, elapsed_s {data['elapsed_s']}"
            yield Violation("6", "last_word_terms", f"{what} for {clock.elapsed / SECOND}", last.where)
    elif clock.state == "cancelled" and not _cancelled_by(conversation, data["reason"]):
        yield Violation("6", "last_word_terms", f"{_name(clock_id, last)}: {data['reason']}", last.where)


def _decided(clock: Clock) -> str:
    return clock.decided_by.where if clock.decided_by is not None else "its due time"


def _due_to_be_told(view: View, clock: Clock) -> bool:
    """Whether the fold's outcome must have been told by now."""
    if not view.settings.caught_up:
        return False
    told_from = clock.runs_on_at + view.settings.lateness
    if clock.decided_by is not None:
        told_from = clock.decided_by.broker_at
        if clock.state == "breached":
            told_from = max(told_from, clock.runs_on_at + view.settings.lateness)
    return max(told_from, clock.starter.broker_at) <= view.settings.settled_at


def _missing(view: View, conversation: Conversation, clock: Clock) -> Iterator[Violation]:
    if clock.state != "open" and _due_to_be_told(view, clock):
        what = f"{clock.metric} of {conversation.subject} is {clock.state} by {_decided(clock)}"
        yield Violation("6", "not_told", what, clock.starter.where)


def _decided_by_then(view: View, conversation: Conversation, clock: Clock, limit: int) -> bool:
    """Whether what the broker had by then says so: what makes the answer one may have come later than the answer."""
    known = Conversation(conversation.subject)
    known.by_topic = {
        topic: [event for event in found if event.broker_at <= limit] for topic, found in conversation.by_topic.items()
    }
    clocks_then = Fold(known, view.configuration, clock.runs_on_at).clocks
    return any(one.key == clock.key and one.state in ("met", "cancelled") for one in clocks_then)


def _false_breaches(view: View, conversation: Conversation, events: list[Event], clock: Clock) -> Iterator[Violation]:
    if clock.state not in ("met", "cancelled") or clock.decided_by is None:
        return
    limit = clock.runs_on_at + view.settings.lateness
    if clock.decided_by.broker_at > limit or not _decided_by_then(view, conversation, clock, limit):
        return
    for event in events:
        if event.type == "sla.breached.v1" and parse_time(event.data["due_at"]) == clock.due_at:
            what = f"{_name(event.data['clock_id'], event)}: {_decided(clock)} was there in time"
            yield Violation("6", "false_breach", what, event.where)
