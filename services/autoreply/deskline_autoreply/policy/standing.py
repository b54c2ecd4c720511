"""What follows for one message from both logs: who owns the conversation, and whether a request is open (contract §3, §4).

Evaluated anew at every decision from the stored facts, by event time, and therefore the same however the two topics
were interleaved. The message has an event time after the last close: others are superseded before anybody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deskline.ids import request_id

if TYPE_CHECKING:
    from deskline_autoreply.policy.history import History, Turn
    from deskline_autoreply.policy.requests import Assignment, Request, Requests

FOREVER: Final = 2**63 - 1


class Owned(NamedTuple):
    """An interval of ownership; ``last`` is the last instant at which the agent owns."""

    agent: str
    begin: int
    last: int


def is_owned(subject: str, history: History, requests: Requests, turn: Turn) -> bool:
    """Whether somebody owns the conversation as far as read, or did until the message ``turn`` or later.

    An ownership counts that ended, but not before the message: the message was for that agent.
    """
    if not (requests.assignments or history.spoken or history.accepted):
        return False
    return any(owned.last >= turn.at for owned in ownerships(subject, history, requests, turn))


def ownerships(subject: str, history: History, requests: Requests, turn: Turn) -> list[Owned]:
    """Every ownership after the last close. Those by assignment come first, those by writing alone follow.

    ``turn``: the message that is being decided. It may be the one that opens the conversation, in which case an
    agent's message that is later by place, though read earlier, was written in an open conversation.
    """
    live = [request for request in requests.requests if not ended_by_close(subject, request, history, turn)]
    by_assignment = [
        owned
        for assignment in requests.assignments
        if any(request.request_id == assignment.request_id for request in live)
        and (owned := _by_assignment(assignment, history)) is not None
    ]
    # An acceptance of an offer not read yet counts. But the offer was written before it was accepted, so where
    # routing.v1 has been read beyond that, there was none.
    by_assignment += [
        Owned(accepted.agent, accepted.at, _handed_on(history, accepted.agent, accepted.at))
        for accepted in history.accepted
        if requests.assignment(accepted.assignment_id) is None and requests.read_at < accepted.broker_at
    ]
    opened_at = min(history.opened_at or turn.at, turn.at)
    return by_assignment + _by_writing(history, live, by_assignment, opened_at, requests.read_at)


def _by_assignment(assignment: Assignment, history: History) -> Owned | None:
    # What conversations.v1 tells of the instant at which the router ends something stands before that end.
    last = assignment.ended_at or FOREVER
    begin = assignment.at
    if assignment.offered:
        taken = [
            accepted.at
            for accepted in history.accepted
            if accepted.assignment_id == assignment.assignment_id
            and accepted.agent == assignment.agent
            and accepted.at <= last
        ]
        taken += [
            spoken.place
            for spoken in history.spoken
            if spoken.agent == assignment.agent and assignment.at < spoken.place <= last
        ]
        if not taken:
            return None
        begin = min(taken)
    return Owned(assignment.agent, begin, min(last, _handed_on(history, assignment.agent, begin)))


def _by_writing(history: History, live: list[Request], owned: list[Owned], opened_at: int, read_at: int) -> list[Owned]:
    """Agents who wrote in an open conversation that nobody owned and that had no open request, as far as read.

    In an open request he may have been assigned in what has not been read: he is no owner only where routing.v1 has
    been read beyond his message.
    """
    found: list[Owned] = []
    for spoken in sorted(history.spoken, key=lambda spoken: spoken.place):
        place = spoken.place
        if place < opened_at or place <= history.closed_at:
            continue
        if any(other.begin <= place <= other.last for other in (*owned, *found)):
            continue
        waiting = any(request.queued_at < place <= (request.ended_at or FOREVER) for request in live)
        if waiting and spoken.broker_at <= read_at:
            continue
        successor = min((other.begin for other in owned if other.begin > place), default=FOREVER)
        found.append(Owned(spoken.agent, place, min(successor, _handed_on(history, spoken.agent, place))))
    return found


def _handed_on(history: History, agent: str, begin: int) -> int:
    """The last instant before the agent's first ``transfer.requested`` from ``begin`` on."""
    return min(
        (transfer.at - 1 for transfer in history.transferred if transfer.agent == agent and transfer.at >= begin),
        default=FOREVER,
    )


def ended_by_close(subject: str, request: Request, history: History, turn: Turn) -> bool:
    """Whether the last close ended this request. A close earlier than what opened it, or read before that, did not.

    What opened it may be the message that is being decided: its silence, where this service comes late.
    """
    closed_at = history.closed_at
    if request.waiting_since > closed_at:
        return False
    if request.cause == "complaint":
        late = (request_id(subject, "complaint", event_id) for event_id in history.late_complaints)
        return request.request_id not in late
    if request.cause in ("transfer", "manual") or request.queued_at <= closed_at:
        return True  # their waiting_since is the instant of what opened them
    # Opened by a message, somewhere between waiting_since and its first queued: by one after the close?
    later = (known.message_id for known in (turn, *history.turns) if known.at > closed_at)
    return request.request_id not in (request_id(subject, "message", message_id) for message_id in later)


def request_is_open(subject: str, history: History, requests: Requests, turn: Turn) -> bool:
    """As far as read; our own hand-over counts from its ``time``, before the router has queued it."""
    for request in requests.requests:
        if not request.ended_at and not ended_by_close(subject, request, history, turn):
            return True
    last = requests.requests[-1] if requests.requests else None
    if last is not None and last.ended_by == "transferred" and last.ended_at > history.closed_at:
        return True  # the new request of a transfer stands right behind
    pending = history.handed_at > max(requests.queued_at, requests.released_at)
    return pending and history.handed_for > history.closed_at


def had_request(subject: str, turn: Turn, silent_from: int, history: History, requests: Requests) -> bool:
    """Whether a message without an outcome, whose patience ran out at ``silent_from``, has had a request.

    Its silence opened one, or joined the one that was open by then. A request that a close ended meanwhile counts, too:
    routing.v1 tells of that close before conversations.v1 has been read so far, and the conversation was closed since.
    """
    if not requests.requests:
        return False
    own = request_id(subject, "message", turn.message_id)
    return any(
        request.request_id == own
        or (
            (not request.ended_at or request.ended_at >= (turn.at if request.ended_by == "closed" else silent_from))
            and not ended_by_close(subject, request, history, turn)
        )
        for request in requests.requests
    )
