"""Surge: when more comes than the team can take, those in reserve are called and capacities rise. Pure.

It begins where one part of ``enter`` is reached, and ends when every part has been at or below its ``leave`` for ``calm_s``: what
comes and goes around one threshold begins one surge. What holds during a surge is what the policy said when it began,
which its event tells; a surge whose policy is gone ends at once.
"""

from typing import Any

from deskline_router.model import SECOND, Shop, ShopState, SurgeWord
from deskline_router.policy.people import reserve_of
from deskline_router.policy.waiting import arrivals_per_min
from deskline_router.policy.world import World


def review(world: World, lane: int) -> None:
    """Begin and end surges as of now. ``lane``: whose output carries the words."""
    for shop_id in sorted({*world.queues, *world.surging, *(request.shop_id for request in world.opened)}):
        shop = world.catalog.shop(shop_id)
        if shop.routing.surge is None:
            if world.in_surge(shop_id):
                _leave(world, shop_id, "policy", lane)
        elif world.in_surge(shop_id):
            _review_end(world, shop, lane)
        else:
            cause = _cause(world, shop)
            if cause is not None:
                _enter(world, shop, cause, lane)


def next_review(world: World) -> int | None:
    """When something may begin or end although nothing happens: waits grow, and calm lasts, by themselves."""
    watched = world.surging or any(
        (surge := queue.shop.routing.surge) is not None and surge.enter.wait_s is not None
        for queue in world.queues.values()
    )
    return world.now + SECOND if watched else None


def measures(world: World, shop_id: str) -> dict[str, float]:
    queue = world.queues.get(shop_id)
    oldest = None if queue is None else queue.oldest()
    return {
        "queue": 0 if queue is None else queue.sought(),
        "wait_s": 0 if oldest is None else max(0, world.now - oldest) / SECOND,
        "arrivals_per_min": arrivals_per_min(world, shop_id),
    }


def _cause(world: World, shop: Shop) -> str | None:
    assert shop.routing.surge is not None
    found = measures(world, shop.shop_id)
    cause = next((name for name, limit in shop.routing.surge.enter.given() if found[name] >= limit), None)
    state = world.shops.get(shop.shop_id)
    if state is None or not state.surge_refused:
        return cause
    if cause is None:
        world.shop_state(shop.shop_id).surge_refused = False
    return None


def _review_end(world: World, shop: Shop, lane: int) -> None:
    surge = shop.routing.surge
    assert surge is not None
    found = measures(world, shop.shop_id)
    state = world.shops[shop.shop_id]
    if state.surge_by_hand:
        return
    if any(found[name] > limit for name, limit in surge.leave.given()):
        if state.calm_since is not None:
            world.shop_state(shop.shop_id).calm_since = None
    elif state.calm_since is None:
        world.shop_state(shop.shop_id).calm_since = world.now
        if not surge.calm_s:
            _leave(world, shop.shop_id, "calm", lane)
    elif world.now >= state.calm_since + round(surge.calm_s * SECOND):
        _leave(world, shop.shop_id, "calm", lane)


def enter_by_hand(world: World, shop: Shop, lane: int) -> None:
    """The shop has a surge in its policy and is in none."""
    _enter(world, shop, "manual", lane)
    state = world.shop_state(shop.shop_id)
    state.surge_by_hand, state.surge_refused = True, False


def leave_by_hand(world: World, shop_id: str, lane: int) -> None:
    """The shop is in a surge."""
    _leave(world, shop_id, "manual", lane)
    world.shop_state(shop_id).surge_refused = True


def _enter(world: World, shop: Shop, cause: str, lane: int) -> None:
    surge = shop.routing.surge
    assert surge is not None
    state = world.shop_state(shop.shop_id)
    state.surge_since, state.surge_cause, state.calm_since = world.now, cause, None
    state.surge_reserve = sorted(reserve_of(shop.agents, surge.reserve_share))
    state.surge_added, state.surge_limit = surge.capacity_added, surge.capacity_limit
    state.surge_n += 1
    world.note_surge(state)
    _tell(world, state, cause, lane, entered=True)
    world.surge_changed(shop.shop_id)


def _leave(world: World, shop_id: str, cause: str, lane: int) -> None:
    state = world.shop_state(shop_id)
    _tell(world, state, cause, lane, entered=False)
    state.surge_since = state.calm_since = None
    state.surge_by_hand = False
    state.surge_reserve, state.surge_added, state.surge_limit = [], 0, None
    world.note_surge(state)
    world.surge_changed(shop_id)


def _tell(world: World, state: ShopState, cause: str, lane: int, *, entered: bool) -> None:
    state.latest = max(world.now, state.latest)
    data: dict[str, Any] = {
        "shop_id": state.shop_id,
        "cause": cause,
        # A list of the contract has 64 at most (§1); how many more there are is in the configuration.
        "reserve_agents": state.surge_reserve[:64],
        "capacity_added": state.surge_added,
    }
    if world.actor is not None:
        data["actor"] = world.actor
    world.surges.append(SurgeWord(entered, state.shop_id, lane, state.surge_n, state.latest, data))
