"""What the contract asks of a gateway, as decisions without I/O. Times are µs since the epoch."""

from enum import StrEnum
from typing import Final, NamedTuple

BEAT_S: Final = 20.0
"""Desktops repeat their status every 60 s or less (contract §3): a lost one or two must not matter."""
GONE_S: Final = 30.0
"""An agent whose desktop has not been heard of for so long is told as offline."""


class Fate(StrEnum):
    """Of an automatic reply (contract §4, ``reply.issued``)."""

    PENDING = "pending"
    """May still be delivered."""
    DELIVERED = "delivered"
    """On the customer's screen, and told by ``message.sent``."""
    LATE = "late"
    """``deliver_by`` passed before it was sent to a screen. It never is."""
    OVERTAKEN = "overtaken"
    """An agent has written since the message that it answers. It is never sent."""
    UNCONFIRMED = "unconfirmed"
    """Sent in time, and no screen has said that it shows it. Never sent again; told if a screen says so later."""


class Reply(NamedTuple):
    deliver_by: int
    answered_at: int
    """Event time of the message that it answers."""
    sent_at: int | None
    """When it was last put on the wire to a screen."""


def fate(reply: Reply, now: int, agent_wrote_at: int | None) -> Fate:
    """Of a reply that no screen has confirmed yet; ``PENDING``: it may be sent now.

    ``agent_wrote_at``: when an agent last wrote in the conversation. At ``deliver_by`` itself it is not yet late.
    """
    if now > reply.deliver_by:
        return Fate.LATE if reply.sent_at is None else Fate.UNCONFIRMED
    if agent_wrote_at is not None and agent_wrote_at > reply.answered_at:
        return Fate.OVERTAKEN if reply.sent_at is None else Fate.UNCONFIRMED
    return Fate.PENDING


class Standing(NamedTuple):
    """An agent towards a conversation."""

    state: str
    """Of the conversation: new, open or closed."""
    owner: str | None
    open_request: bool
    held: bool
    """The agent's own assignment, held."""
    offered_until: int | None
    """``accept_by`` of the offer to this agent that is open; None without one."""


class Refusal(StrEnum):
    CLOSED = "closed"
    NOT_YOURS = "not_yours"
    TOO_LATE = "too_late"


def may_write(agent_id: str, standing: Standing, now: int) -> Refusal | None:
    """Contract §3, *Owner*: he holds it, or takes an open offer by writing, or takes up what nobody owns or waits for.

    A close ends what was held; what is held after it is another request, a complaint's.
    """
    if standing.held:
        return None
    if standing.offered_until is not None:
        return None if now <= standing.offered_until else Refusal.TOO_LATE
    if standing.state != "open":
        return Refusal.CLOSED
    if standing.owner == agent_id or (standing.owner is None and not standing.open_request):
        return None
    return Refusal.NOT_YOURS


def may_act(agent_id: str, standing: Standing) -> Refusal | None:
    """To hold, resume, hand on or close a conversation one must own it."""
    if standing.held or standing.owner == agent_id:
        return None
    return Refusal.CLOSED if standing.state != "open" else Refusal.NOT_YOURS


def next_time(now: int, told_at: int) -> int:
    """``time`` of the next event of one subject: as the clock says, and never at or before the one told last, so that two
    in one microsecond, or a clock set back, do not change their order.
    """
    return max(now, told_at + 1)
