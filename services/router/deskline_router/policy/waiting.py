"""What those who wait are told, and what is counted to tell it: arrivals, entries into service, estimates. Pure.

The estimate of a wait: how many of the same rule are ahead, times the mean time between the last entries of that rule into
service while somebody was waiting. Where none has entered so lately, the wait of the last one who did
(last-to-enter-service; Ibrahim and Whitt 2009), less what has been waited already. Who waits for the shop to open is told
the opening besides.
"""

import heapq
from typing import Final

from deskline.config.documents import RoutingRule
from deskline_router.model import SECOND, Request, Served, State
from deskline_router.policy.order import ahead
from deskline_router.policy.world import World

_SPAN: Final = 10 * SECOND
_MINUTE: Final = 60 * SECOND
_PACES_KEPT: Final = 64
"""Enough for a mean that is off by an eighth, few enough to follow the pace of the day."""
_LATELY: Final = 900 * SECOND
"""Older entries say nothing about now."""
_RULES_KEPT: Final = 256
_WHOLE: Final = 1_000_000
_DIFFERS: Final = 0.1
"""An estimate is told again where it is off by this part of itself, or by five seconds."""
_DIFFERS_US: Final = 5 * SECOND


# --- what is counted ----------------------------------------------------------------------------------------------


def note_arrival(world: World, request: Request) -> None:
    """A request was opened; counted only where a surge may depend on it."""
    if world.catalog.shop(request.shop_id).routing.surge is None:
        return
    state = world.shop_state(request.shop_id)
    span = world.now - world.now % _SPAN
    if state.arrivals and state.arrivals[-1][0] == span:
        state.arrivals[-1] = (span, state.arrivals[-1][1] + 1)
    else:
        state.arrivals.append((span, 1))
    state.arrivals = [entry for entry in state.arrivals if entry[0] > world.now - _MINUTE - _SPAN]


def arrivals_per_min(world: World, shop_id: str) -> float:
    state = world.shops.get(shop_id)
    begins = world.now - _MINUTE
    found = 0.0
    for span, count in state.arrivals if state is not None else ():
        # Of the span that a minute ago lies in, the part since then.
        found += count * min(1.0, max(0, span + _SPAN - begins) / _SPAN)
    return found


def note_entry(world: World, request: Request, at: int) -> None:
    """It has come to its turn. Who was taken at once says nothing about waiting."""
    if request.told_at >= at:
        return
    if request.estimated is not None:
        world.errors.append((at - request.told_at - request.estimated) / SECOND)
    state = world.shop_state(request.shop_id)
    served = state.served.setdefault(request.rule_id, Served())
    since = max(request.waiting_since, request.opened_hours)
    served.wait = max(0, at - since)
    if served.at < at - _LATELY:
        served.paces = []
    elif since <= served.at <= at:
        served.paces = [*served.paces, at - served.at][-_PACES_KEPT:]
    served.at = at
    if len(state.served) > _RULES_KEPT:
        del state.served[next(iter(state.served))]


def steps_without_share(world: World, request: Request, rule: RoutingRule) -> list[int]:
    """The steps of its new rule that it does not take part in, because others have had their share of it already.

    A step with the share ``s`` gains ``s`` of a request with each that follows the rule, and pays one for each that it takes: so
    never more than that part of all has come by it.
    """
    skipped = []
    for index, step in enumerate(rule.steps):
        if step.share is None:
            continue
        name = f"{rule.rule_id}/{index}"
        state = world.shop_state(request.shop_id)
        credit = state.credits.get(name, 0) + round(step.share * _WHOLE)
        if credit < _WHOLE:
            skipped.append(index)
        else:
            credit -= _WHOLE
        state.credits[name] = credit
    return skipped


# --- what is told -------------------------------------------------------------------------------------------------


def standing(world: World, request: Request, at: int) -> tuple[int, int | None]:
    """(position, estimated wait in µs from ``at`` on; None where nobody has entered service lately)."""
    queue = world.queues[request.shop_id]
    key, kind = queue.where[request.subject]
    before = same = 0
    for other, keys in queue.groups.items():
        count = ahead(keys, other.pace, key, kind.pace, world.now)
        before += count
        if other.needed.rule == kind.needed.rule:
            same += count
    return before + 1, 0 if world.admitted(queue.shop, kind) else _estimate(world, request, at, same)


def _estimate(world: World, request: Request, at: int, same: int) -> int | None:
    """``same``: those of its rule who are ahead."""
    state = world.shops.get(request.shop_id)
    served = None if state is None else state.served.get(request.rule_id)
    if served is None or served.at < at - _LATELY:
        return None
    opens = max(0, (request.opens_at or 0) - at)
    if served.paces:
        return opens + sum(served.paces) * (same + 1) // len(served.paces)
    left = served.wait - max(0, at - max(request.waiting_since, request.opened_hours))
    # Who has waited longer than the last one did is told nothing rather than that it is his turn.
    return opens + left if left > 0 else None


def differs(request: Request, now_estimated: int | None, now: int) -> bool:
    """From what was told last, less the time since then."""
    if request.estimated is None or now_estimated is None:
        return request.estimated is not now_estimated
    off = abs(max(0, request.estimated - (now - request.told_at)) - now_estimated)
    return off > max(_DIFFERS_US, round(now_estimated * _DIFFERS))


def note_told(world: World, request: Request) -> None:
    every = world.catalog.shop(request.shop_id).routing.notices.position_every_s
    if every is not None:
        heapq.heappush(world.notices, (request.told_at + round(every * SECOND), request.subject))


def next_to_tell(world: World) -> Request | None:
    """The request whose position has not been told for longest, if its time has come; it is taken off the list."""
    while world.notices and world.notices[0][0] <= world.now:
        instant, subject = heapq.heappop(world.notices)
        request = world.requests.get(subject)
        if request is None or request.state is not State.QUEUED:
            continue
        every = world.catalog.shop(request.shop_id).routing.notices.position_every_s
        if every is not None and request.told_at + round(every * SECOND) == instant:
            return request
    return None
