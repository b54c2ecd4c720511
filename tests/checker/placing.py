"""The order of the fold (contract §5 *Fold*, §3): which record stands where in a conversation.

By place, then topic, then offset; and the exceptions: a ``message.received`` at the instant of a close stands before
it, an answer that names its message stands directly after it where its own time is not later, and what is placed at
``waiting_since`` stands directly after the last customer's message or ``transfer.requested`` of that instant.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.checker.log import Conversation
from tests.checker.records import CONVERSATIONS, REPLIES, ROUTING, Event
from tests.checker.validity import parse_time


class Placed(NamedTuple):
    place: int
    event: Event
    first: bool
    """Of a ``conversation.queued``: whether it is the first event of its request."""


def in_order(conversation: Conversation) -> list[Placed]:
    by_place: dict[int, list[tuple[Event, str]]] = {}
    received = {
        event.data["message_id"]: event for event in reversed(conversation.of(CONVERSATIONS, "message.received"))
    }
    refused = sorted(
        event.at for event in conversation.of(ROUTING, "conversation.released") if event.data["reason"] == "queue_full"
    )
    for topic in (CONVERSATIONS, REPLIES, ROUTING):
        for event in conversation.of(topic):
            place, manner = _place(event, received, refused)
            by_place.setdefault(place, []).append((event, manner))
    firsts = _first_queued(conversation)
    return [
        Placed(place, event, event.where in firsts)
        for place in sorted(by_place)
        for event in _instant(by_place[place], received)
    ]


def _first_queued(conversation: Conversation) -> set[str]:
    seen: dict[str, str] = {}
    for event in conversation.of(ROUTING, "conversation.queued"):
        seen.setdefault(event.data["request_id"], event.where)
    return set(seen.values())


def _place(event: Event, received: dict[str, Event], refused: list[int]) -> tuple[int, str]:
    """The place, and in which manner the record stands in its instant: plain, answer or waiting."""
    data = event.data
    if event.type == "message.sent.v1" and data.get("in_reply_to") in received:
        answered = received[data["in_reply_to"]].at
        if event.at <= answered:
            return answered, "answer"
    waits = event.type == "handover.requested.v1" or (
        event.type == "conversation.queued.v1" and data["seq"] == 1 and data["cause"] in ("no_autoreply", "transfer")
    )
    if waits:
        since = parse_time(data["waiting_since"])
        if not any(since <= at < event.at for at in refused):
            return since, "waiting"
    return event.at, "plain"


def _instant(found: list[tuple[Event, str]], received: dict[str, Event]) -> list[Event]:
    """``found`` runs topic after topic and by offset, as it was collected."""
    order = [event for event, manner in found if manner == "plain"]
    first_close = next(
        (index for index, event in enumerate(order) if event.type == "conversation.closed.v1"), len(order)
    )
    behind_it = [event for event in order[first_close:] if event.type == "message.received.v1"]
    order = [
        *order[:first_close],
        *behind_it,
        *(event for event in order[first_close:] if event.type != "message.received.v1"),
    ]
    answers: dict[str, int] = {}
    for event, manner in found:
        if manner == "answer":
            message = received[event.data["in_reply_to"]]
            behind = answers.get(message.id, 0)
            order.insert(order.index(message) + 1 + behind, event)
            answers[message.id] = behind + 1
    waiting = [event for event, manner in found if manner == "waiting"]
    starters = [
        index for index, event in enumerate(order) if event.type in ("message.received.v1", "transfer.requested.v1")
    ]
    at = starters[-1] + 1 if starters else 0
    return order[:at] + waiting + order[at:]
