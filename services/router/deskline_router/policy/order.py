"""Which waiting request comes next. Pure.

Generalised cμ: of all requests that somebody free may take, the one with the greatest *index* is served,

    index = weight × (fresh + (wait / target) ** growth)
    weight = tier's weight × 2 ** ((priority - 50) / 10) × speed

which is what one more second of waiting costs, where the cost is convex in the wait, over the time that the service takes
(van Mieghem 1995). It grows without bound with the wait, so nobody starves: one that weighs ``k`` times less is overtaken
only by those who have waited more than some fixed part of its own wait. ``target`` is the SLA's, so less time left counts
sooner; ``fresh`` is what tier and priority count for at the first instant.

Requests with equal weight and target keep their order of arrival whatever the time: a queue keeps them in groups, so that
only the heads of groups need be compared at an instant.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

from deskline_router.model import SECOND, Request, Shop

FRESH: Final = 0.5
"""Ten more of priority go before half the target of waiting; a weight of 4 before one and a half targets."""
USUAL_TARGET: Final = 180 * SECOND
"""Where the shop has no target for answers: the contract's."""
_USUAL_HANDLING: Final = 300.0
_NEUTRAL: Final = 50
_DOUBLES: Final = 10


class Key(NamedTuple):
    """Place in a group: the smallest is served first."""

    since: int
    """What the wait is counted from: ``waiting_since``, or the opening of the shop."""
    waiting_since: int
    request_id: str
    subject: str


class Pace(NamedTuple):
    """How a group's requests gain on those of other groups."""

    strict: int
    """The smaller always goes first."""
    weight: float
    target: int
    growth: float

    def cost(self, key: Key, now: int) -> float:
        """The request's index."""
        waited: float = (max(0, now - key.since) / self.target) ** self.growth
        return self.weight * (FRESH + waited)

    def since_of(self, index: float, now: int) -> int:
        """From when one of this pace has waited that has the index at ``now``; later than ``now``: it has not, even fresh."""
        part = index / self.weight - FRESH
        if part < 0:
            return now + 1
        waited: float = part ** (1 / self.growth) * self.target
        return now - round(waited)


class Rank(NamedTuple):
    """Of a request among those of all groups at an instant; the smallest is served first."""

    strict: int
    against: float
    since: int
    waiting_since: int
    request_id: str


def key_of(request: Request) -> Key:
    since = request.waiting_since
    if request.opens_at is not None or request.shared_until:
        since = max(since, request.opened_hours)
    return Key(since, request.waiting_since, request.request_id, request.subject)


def pace_of(request: Request, shop: Shop) -> Pace:
    order = shop.routing.order
    if order.by == "arrival":
        return Pace(0, 1.0, USUAL_TARGET, 1.0)
    if order.by == "priority":
        return Pace(_NEUTRAL - request.priority, 1.0, USUAL_TARGET, 1.0)
    weight = order.tier_weights.get(request.tier, 1.0) * 2.0 ** ((request.priority - _NEUTRAL) / _DOUBLES)
    if order.handling_s is not None:
        weight *= _USUAL_HANDLING / max(
            (order.handling_s.get(skill, _USUAL_HANDLING) for skill in request.skills), default=_USUAL_HANDLING
        )
    return Pace(0, round(weight, 9), request.target or USUAL_TARGET, order.growth)


def rank(pace: Pace, key: Key, now: int) -> Rank:
    return Rank(pace.strict, -round(pace.cost(key, now), 9), key.since, key.waiting_since, key.request_id)


def ahead(keys: Sequence[Key], pace: Pace, key: Key, own: Pace, now: int) -> int:
    """How many of a group go before a request of another, or the same, group."""
    if pace == own:
        return bisect_left(keys, key)
    if pace.strict != own.strict:
        return len(keys) if pace.strict < own.strict else 0
    since = pace.since_of(own.cost(key, now), now)
    if since > now:
        return 0
    return bisect_left(keys, (since, key.waiting_since, key.request_id))
