"""What routing.v1 said of one conversation: its requests and assignments, as intervals of event time.

A fold of routing.v1 alone, in offset order. What stands after the end of its own request or assignment begins nothing (§3).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

# A message decided late asks about the request that was open then: the open one and the one before it, nearly always.
_MOST_REQUESTS: Final = 4
# Offers of twenty seconds: about three minutes of agents who do not answer. Only the live one can own.
_MOST_ASSIGNMENTS: Final = 8

OPEN: Final = 0
"""``ended_at`` of what has not ended."""


class Request(msgspec.Struct, array_like=True):
    request_id: str
    cause: str
    waiting_since: int
    queued_at: int
    """Event time of the first ``conversation.queued``."""
    ended_at: int = OPEN
    ended_by: str = ""
    position: int = 0
    """In the queue, as last told."""


class Assignment(msgspec.Struct, array_like=True):
    assignment_id: str
    request_id: str
    agent: str
    offered: bool
    at: int
    ended_at: int = OPEN


class Requests(msgspec.Struct, array_like=True):
    requests: list[Request] = []
    assignments: list[Assignment] = []
    queued_at: int = 0
    """Event time of the last ``conversation.queued``, repeated ones included."""
    released_at: int = 0
    """Event time of the last ``conversation.released``."""
    read_at: int = 0
    """Broker timestamp of the last record read: what the router wrote earlier about this conversation is known."""

    def request(self, request_id: str) -> Request | None:
        return next((request for request in self.requests if request.request_id == request_id), None)

    def assignment(self, assignment_id: str) -> Assignment | None:
        return next((known for known in self.assignments if known.assignment_id == assignment_id), None)


def queue(requests: Requests, data: Any, at: int, waiting_since: int) -> None:
    """``conversation.queued``: the first of a request opens it."""
    requests.queued_at = max(requests.queued_at, at)
    request = requests.request(data.request_id)
    if request is None:
        request = Request(data.request_id, data.cause, waiting_since, at)
        requests.requests.append(request)
        del requests.requests[:-_MOST_REQUESTS]
    request.position = data.position


def queue_position(requests: Requests) -> int | None:
    """Of the open request while nobody has it, as far as read."""
    last = requests.requests[-1] if requests.requests else None
    if last is None or last.ended_at or not last.position:
        return None
    taken = any(one.request_id == last.request_id and not one.ended_at for one in requests.assignments)
    return None if taken else last.position


def assign(requests: Requests, data: Any, at: int) -> None:
    """``conversation.assigned``."""
    request = requests.request(data.request_id)
    if request is None or request.ended_at or requests.assignment(data.assignment_id) is not None:
        return
    offered = data.mode != "assigned"
    requests.assignments.append(Assignment(data.assignment_id, data.request_id, data.agent_id, offered, at))
    del requests.assignments[:-_MOST_ASSIGNMENTS]


def take_back(requests: Requests, data: Any, at: int) -> None:
    """``assignment.expired`` or ``assignment.revoked``."""
    assignment = requests.assignment(data.assignment_id)
    if assignment is not None and not assignment.ended_at:
        assignment.ended_at = at


def release(requests: Requests, data: Any, at: int) -> None:
    """``conversation.released``."""
    requests.released_at = max(requests.released_at, at)
    request = requests.request(data.request_id)
    if request is None or request.ended_at:
        return
    request.ended_at, request.ended_by = at, data.reason
    for assignment in requests.assignments:
        if assignment.request_id == data.request_id and not assignment.ended_at:
            assignment.ended_at = at
