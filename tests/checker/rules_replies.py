"""Rules about autoreply's outcomes: 9 (exactly one each, in order) and 10 (none over an agent's head)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.checker.log import Conversation, View, header
from tests.checker.records import CONVERSATIONS, REPLIES, ROUTING, SECOND, Event, Violation
from tests.checker.validity import parse_time

_OUTCOMES = ("reply.issued", "handover.requested", "message.ignored")
_MARGIN = 5 * SECOND
"""Around a request: within it, whether the conversation had an open one depends on who read what first."""
_NEVER = 2**62


def message_of(event: Event) -> str:
    """The message that an event on ``replies.v1`` is about."""
    return str(event.data.get("in_reply_to", event.data.get("message_id")))


def outcomes(view: View) -> Iterator[Violation]:
    """Rule 9."""
    failed = {
        f"{header(letter, 'deskline-topic')}/{header(letter, 'deskline-partition')}/{header(letter, 'deskline-offset')}"
        for letter in view.letters
        if header(letter, "deskline-service") == "autoreply"
    }
    for conversation in view.conversations.values():
        yield from _exactly_one(view, conversation, failed)
        yield from _in_order(conversation)


def _exactly_one(view: View, conversation: Conversation, failed: set[str]) -> Iterator[Violation]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in conversation.of(REPLIES, *_OUTCOMES):
        found[message_of(event)].append(event)
    messages = {event.data["message_id"]: event for event in conversation.of(CONVERSATIONS, "message.received")}
    for message_id, events in found.items():
        if message_id not in messages:
            yield Violation("9", "outcome_of_no_message", f"message {message_id}", events[0].where)
    for message_id, message in messages.items():
        events = found.get(message_id, [])
        what = ", ".join(f"{event.type}@{event.where}" for event in events)
        if not events:
            excused = any(where.endswith(message.where) for where in failed)
            recent = not view.settings.caught_up or message.broker_at > view.settings.settled_at
            if not excused and not recent:
                yield Violation("9", "no_outcome", f"message {message_id}", message.where)
        elif not _is_one(events):
            yield Violation("9", "not_one_outcome", f"message {message_id}: {what}", message.where)


def _is_one(events: list[Event]) -> bool:
    kinds = sorted(event.type.partition(".v")[0] for event in events)
    if kinds == ["handover.requested", "reply.issued"]:
        return all(event.data.get("handover", True) for event in events)
    return kinds in (["handover.requested"], ["message.ignored"]) or (
        kinds == ["reply.issued"] and not events[0].data["handover"]
    )


def _in_order(conversation: Conversation) -> Iterator[Violation]:
    place = {
        event.data["message_id"]: event.offset for event in reversed(conversation.of(CONVERSATIONS, "message.received"))
    }
    newest = -1
    for event in conversation.of(REPLIES, *_OUTCOMES):
        offset = place.get(message_of(event))
        if offset is None:
            continue
        if offset < newest:
            yield Violation("9", "outcomes_out_of_order", f"message {message_of(event)}", event.where)
        newest = max(newest, offset)


# --- rule 10 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hold:
    """An assignment as ``routing.v1`` tells it, or an ownership without one (no ``assignment``)."""

    agent: str
    assignment: str | None
    offered: bool
    waiting_since: int
    """Of the request, as its first ``queued`` says."""
    began: Event
    ended: Event | None
    expired: bool

    @property
    def until(self) -> int:
        return _NEVER if self.ended is None else self.ended.at


def holds(conversation: Conversation) -> list[Hold]:
    found: list[Hold] = []
    events = conversation.of(ROUTING)
    since: dict[str, int] = {}
    for index, event in enumerate(events):
        if event.type == "conversation.queued.v1":
            since.setdefault(event.data["request_id"], parse_time(event.data["waiting_since"]))
        if event.type != "conversation.assigned.v1":
            continue
        assignment = event.data["assignment_id"]
        ends = [
            later
            for later in events[index + 1 :]
            if later.data.get("assignment_id") == assignment and later.type != "conversation.assigned.v1"
        ]
        ended = ends[0] if ends else None
        expired = ended is not None and (
            ended.type == "assignment.expired.v1" or ended.data.get("reason") == "declined"
        )
        offered = event.data["mode"] == "offered"
        waiting_since = since.get(event.data["request_id"], event.at)
        found.append(Hold(event.data["agent_id"], assignment, offered, waiting_since, event, ended, expired))
    return found


def over_an_agents_head(view: View) -> Iterator[Violation]:
    """Rule 10. Reported only where the agent's ownership is beyond doubt: see ``_begun_by``."""
    for conversation in view.conversations.values():
        replies = {event.data["in_reply_to"]: event for event in conversation.of(REPLIES, "reply.issued")}
        if not replies:
            continue
        known = holds(conversation)
        owning: list[tuple[int, str]] = []
        """(the instant at which it ended, what began it)"""
        for event in conversation.of(CONVERSATIONS):
            if event.type == "message.received.v1" and event.data["message_id"] in replies:
                reply = replies[event.data["message_id"]]
                for until, began in owning:
                    if until > event.at:
                        yield Violation("10", "reply_over_an_agents_head", f"owned since {began}", reply.where)
                        break
            begun = _begun_by(conversation, event, known)
            if begun is not None:
                owning.append((begun, event.where))


def _begun_by(conversation: Conversation, event: Event, known: list[Hold]) -> int | None:
    """Where ``event`` makes its agent the owner, or he was it already: the event time at which that ended."""
    if event.type == "assignment.accepted.v1":
        agent, assignment = event.data["agent_id"], event.data["assignment_id"]
        held = [hold for hold in known if hold.assignment == assignment and hold.agent == agent and hold.offered]
    elif event.type == "message.sent.v1" and event.data["author"]["kind"] == "agent":
        agent = event.data["author"]["id"]
        held = [hold for hold in known if hold.agent == agent]
    else:
        return None
    closes = [close.at for close in conversation.of(CONVERSATIONS, "conversation.closed")]
    for hold in held:
        if any(hold.waiting_since <= close <= event.at for close in closes):
            continue  # It ended the offer or the assignment, whenever the router came to say so.
        # Live at that record both by event time and by the broker's clock, and not answered "too late" by the router.
        began = max(hold.began.at, hold.began.broker_at)
        ended = _NEVER if hold.ended is None else min(hold.ended.at, hold.ended.broker_at)
        at = (min(event.at, event.broker_at), max(event.at, event.broker_at))
        if not hold.expired and began <= at[0] and at[1] < ended:
            return min(hold.until, _left(conversation, event, agent))
    if event.type == "message.sent.v1" and _nobody_else(conversation, event, known):
        return _left(conversation, event, agent)
    return None


def _nobody_else(conversation: Conversation, event: Event, known: list[Hold]) -> bool:
    """Open, without an owner or a request, well before and after ``event``: its agent becomes the owner by writing."""
    before = [
        other
        for other in conversation.of(CONVERSATIONS, "message.received", "conversation.closed", "message.sent")
        if other.offset < event.offset
    ]
    later = [other for other in conversation.of(CONVERSATIONS, "conversation.closed") if other.offset > event.offset]
    opened = [other for other in before if other.type == "message.received.v1" and other.at <= event.at]
    closes = [other for other in (*before, *later) if other.type == "conversation.closed.v1" and other.at <= event.at]
    if not opened or (closes and max(close.at for close in closes) >= max(message.at for message in opened)):
        return False
    if any(other.type == "message.sent.v1" and other.data["author"]["kind"] == "agent" for other in before):
        return False
    return not conversation.of(ROUTING) or all(
        routed.at > event.at + _MARGIN and routed.broker_at > event.broker_at + _MARGIN
        for routed in conversation.of(ROUTING)
    )


def _left(conversation: Conversation, event: Event, agent: str) -> int:
    """The earliest event time not before ``event`` at which its agent handed on, or the conversation was closed."""
    ends = [
        other.at
        for other in conversation.of(CONVERSATIONS, "transfer.requested", "conversation.closed")
        if other.at >= event.at and (other.type != "transfer.requested.v1" or other.data["by_agent_id"] == agent)
    ]
    return min(ends, default=_NEVER)
