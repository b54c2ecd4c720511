"""From events to facts: what of a record the clocks need, and nothing else. Texts end here."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from deskline.clock import parse_rfc3339
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event
from deskline_sla.model import Cause, Fact, Ignored, Kind, Release, State

TOPICS: Final = (CONVERSATIONS, REPLIES, ROUTING)
"""In the sequence in which they stand at one instant."""

_IGNORED: Final = {
    "human_owned": Ignored.HUMAN,
    "waiting": Ignored.HUMAN,
    "empty": Ignored.SILENT,
    "duplicate_text": Ignored.SILENT,
    "cooldown": Ignored.SILENT,
}
_CAUSES: Final = {"no_autoreply": int(Cause.NO_AUTOREPLY), "transfer": int(Cause.TRANSFER)}
_RELEASES: Final = {
    "closed": int(Release.CLOSED),
    "transferred": int(Release.TRANSFERRED),
    "queue_full": int(Release.QUEUE_FULL),
}
_AUTHORS: Final = {"agent": int(Kind.ANSWERED), "bot": int(Kind.BOT_SENT), "system": int(Kind.SYSTEM_SENT)}

# Plain integers, looked up once.
_RECEIVED, _REPLIED, _HANDOVER, _QUEUED, _REQUEUED = (
    int(kind) for kind in (Kind.RECEIVED, Kind.REPLIED, Kind.HANDOVER, Kind.QUEUED, Kind.REQUEUED)
)
_ASSIGNED, _OFFERED, _ACCEPTED, _WITHDRAWN, _RELEASED = (
    int(kind) for kind in (Kind.ASSIGNED, Kind.OFFERED, Kind.ACCEPTED, Kind.WITHDRAWN, Kind.RELEASED)
)
_TRANSFER, _HELD, _RESUMED, _OPENED, _SETTLED, _CLOSED = (
    int(kind)
    for kind in (
        Kind.TRANSFER,
        Kind.HELD,
        Kind.RESUMED,
        Kind.COMPLAINT_OPENED,
        Kind.COMPLAINT_CLOSED,
        Kind.CLOSED,
    )
)


def outcome(reason: str) -> Ignored:
    """What a reason of ``message.ignored`` means to the clocks; one of a later release is none of the known."""
    return _IGNORED.get(reason, Ignored.OTHER)


def hashed(name: str) -> int:
    """64 bits of an id that is only compared, never written; never 0, which means none."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") or 1


def _lag_ms(event: Event) -> int:
    return event.broker_at // 1000 - event.at // 1000


def _received(event: Event, _state: State) -> Fact:
    data = event.data
    tier = data.customer.tier or ""
    return Fact(_RECEIVED, event.at, 0, event.offset, _lag_ms(event), hashed(data.message_id), tier, data.channel)


def _sent(event: Event, _state: State) -> Fact:
    data = event.data
    answered = hashed(data.in_reply_to) if data.in_reply_to else 0
    kind = _AUTHORS[data.author.kind]
    return Fact(kind, event.at, 0, event.offset, _lag_ms(event), answered, data.author.id)


def _issued(event: Event, _state: State) -> Fact | None:
    """None where it came too late to be delivered: it is its message's outcome and stops nothing."""
    if event.broker_at > parse_rfc3339(event.data.deliver_by):
        return None
    return Fact(_REPLIED, event.at, 1, event.offset, _lag_ms(event))


def _handover(event: Event, state: State) -> Fact:
    data = event.data
    return Fact(
        _HANDOVER,
        event.at,
        1,
        event.offset,
        _lag_ms(event),
        number=data.priority,
        since=parse_rfc3339(data.waiting_since),
        shop="" if state.shop else data.shop_id,
    )


def _queued(event: Event, state: State) -> Fact:
    data = event.data
    request = hashed(data.request_id)
    if request in state.requests:
        return Fact(_REQUEUED, event.at, 2, event.offset, _lag_ms(event), request=request, number=data.priority)
    state.requests.add(request)
    return Fact(
        _QUEUED,
        event.at,
        2,
        event.offset,
        _lag_ms(event),
        request=request,
        number=data.priority,
        since=parse_rfc3339(data.waiting_since),
        code=_CAUSES.get(data.cause, 0),
        shop="" if state.shop else data.shop_id,
    )


def _assigned(event: Event, _state: State) -> Fact:
    data = event.data
    kind = _OFFERED if data.mode == "offered" else _ASSIGNED
    assignment, request = hashed(data.assignment_id), hashed(data.request_id)
    return Fact(kind, event.at, 2, event.offset, _lag_ms(event), assignment, data.agent_id, request=request)


def _withdrawn(event: Event, _state: State) -> Fact:
    return Fact(_WITHDRAWN, event.at, 2, event.offset, _lag_ms(event), hashed(event.data.assignment_id))


def _released(event: Event, state: State) -> Fact:
    data = event.data
    code = _RELEASES.get(data.reason, 0)
    if code == Release.QUEUE_FULL:
        state.refusals = True
    assignment = hashed(data.assignment_id) if data.assignment_id else 0
    request = hashed(data.request_id)
    return Fact(_RELEASED, event.at, 2, event.offset, _lag_ms(event), assignment, request=request, code=code)


def _accepted(event: Event, _state: State) -> Fact:
    data = event.data
    return Fact(_ACCEPTED, event.at, 0, event.offset, _lag_ms(event), hashed(data.assignment_id), data.agent_id)


def _transfer(event: Event, _state: State) -> Fact:
    return Fact(_TRANSFER, event.at, 0, event.offset, _lag_ms(event), who=event.data.by_agent_id)


def _closed(event: Event, _state: State) -> Fact:
    by = event.data.by
    who = by.id if by is not None and by.kind == "agent" else ""
    return Fact(_CLOSED, event.at, 0, event.offset, _lag_ms(event), who=who)


def _complaint_opened(event: Event, state: State) -> Fact:
    data = event.data
    shop = "" if state.shop else data.shop_id
    return Fact(_OPENED, event.at, 0, event.offset, _lag_ms(event), text=data.complaint_id, shop=shop)


def _complaint_closed(event: Event, _state: State) -> Fact:
    return Fact(_SETTLED, event.at, 0, event.offset, _lag_ms(event), text=event.data.complaint_id)


def _held(event: Event, _state: State) -> Fact:
    return Fact(_HELD, event.at, 0, event.offset, _lag_ms(event))


def _resumed(event: Event, _state: State) -> Fact:
    return Fact(_RESUMED, event.at, 0, event.offset, _lag_ms(event))


Reader = Callable[[Event, State], Fact | None]
READERS: Final[dict[str, Reader]] = {
    "message.received.v1": _received,
    "message.sent.v1": _sent,
    "assignment.accepted.v1": _accepted,
    "transfer.requested.v1": _transfer,
    "conversation.held.v1": _held,
    "conversation.resumed.v1": _resumed,
    "complaint.opened.v1": _complaint_opened,
    "complaint.closed.v1": _complaint_closed,
    "conversation.closed.v1": _closed,
    "reply.issued.v1": _issued,
    "handover.requested.v1": _handover,
    "conversation.queued.v1": _queued,
    "conversation.assigned.v1": _assigned,
    "assignment.expired.v1": _withdrawn,
    "assignment.revoked.v1": _withdrawn,
    "conversation.released.v1": _released,
}
"""Types that are not here start, stop and move nothing. ``message.ignored`` is a property of its message: ``handler``."""
