"""The engine's choices the slow way: every request against every agent, by the sentences of docs/routing.md.

Nothing of ``policy.order``, ``roster`` or ``matching`` is used: a request's index, an agent's place and who is admitted are worked
out here from the configuration and the agents' rows. ``expected`` is asked of a world before its unit matches.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

from deskline_router.model import State, Status
from deskline_router.policy import World
from deskline_router.policy.people import reserve_of
from deskline_router.policy.saying import time_of

GRADES = ("trainee", "standard", "senior", "supervisor")


@dataclass
class Desk:
    """What matching may change of an agent: his load, and by it his place."""

    agent: Any
    config: Any
    taken: int
    channels: dict[str, int]
    overnight: int
    busy_until: int
    last_assigned_at: int


def index(request: Any, shop: Any, now: int) -> tuple[int, float]:
    """(strict order, index): the smaller of the first, then the greater of the second."""
    order = shop.routing.order
    since = request.waiting_since
    if request.opens_at is not None or request.shared_until:
        since = max(since, request.opened_hours)
    waited = max(0, now - since) / 1e6
    if order.by == "arrival":
        return 0, 0.5 + waited / 180
    if order.by == "priority":
        return 50 - request.priority, 0.5 + waited / 180
    weight = order.tier_weights.get(request.tier, 1) * 2 ** ((request.priority - 50) / 10)
    if order.handling_s is not None:
        weight *= 300 / max([order.handling_s.get(skill, 300) for skill in request.skills] or [300])
    return 0, weight * (0.5 + (waited / ((request.target or 180_000_000) / 1e6)) ** order.growth)


def wanted(world: World, request: Any, shop: Any) -> Any:
    return world.plan(request, shop).stages[request.step]


def kept(world: World, shop: Any, agent_id: str) -> bool:
    """In reserve, and there is no surge."""
    surge = shop.routing.surge
    return (
        surge is not None
        and shop.shop_id not in world.surging
        and agent_id in reserve_of(shop.agents, surge.reserve_share)
    )


def admits(world: World, request: Any, shop: Any, desk: Desk) -> bool:
    """By its stage, the hour and the surge; whether he has room is asked elsewhere."""
    stage, config = wanted(world, request, shop), desk.config
    if request.opens_at is not None or desk.agent.agent_id in (*request.excluded, *request.barred):
        return False
    off = config.shift in shop.shifts and not shop.shifts[config.shift].is_open(world.now)
    if stage.agent != config.agent_id and (off or kept(world, shop, config.agent_id)):
        return False
    return summoned(request, shop, config) or fits(stage, config)


def summoned(request: Any, shop: Any, config: Any) -> bool:
    """The SLA has called those of his grade."""
    return request.called and config.grade in shop.routing.sla_actions.supervisors


def fits(stage: Any, config: Any) -> bool:
    return (
        stage.agent in (None, config.agent_id)
        and (stage.grades is None or config.grade in stage.grades)
        and (stage.groups is None or any(group in config.groups for group in stage.groups))
        and (stage.language is None or stage.language in config.languages)
        and all(config.skills.get(skill, 0) >= least for skill, least in stage.skills)
    )


def room(world: World, desk: Desk, channel: str | None) -> bool:
    agent = desk.agent
    if agent.status is not Status.ONLINE or agent.paused:
        return False
    limit = (desk.config.channels or {}).get(channel)
    if limit is not None and desk.channels.get(channel, 0) >= limit:
        return False
    return desk.taken + 100 * len(agent.wraps) + 100 <= 100 * world.capacity(agent)


def place(world: World, request: Any, shop: Any, desk: Desk) -> tuple[Any, ...]:
    """The smallest is chosen."""
    stage, choice = wanted(world, request, shop), shop.routing.choice
    called = summoned(request, shop, desk.config)
    asked, grades = [least for _, least in stage.skills], stage.grades or ()
    if called and not fits(stage, desk.config):
        asked, grades = [], shop.routing.sla_actions.supervisors
    skills = min(20, sum(desk.config.skills.values()) - sum(asked)) / 20
    lowest = min((GRADES.index(grade) for grade in grades), default=0)
    grade = (GRADES.index(desk.config.grade) - lowest) / 3
    load = desk.taken / (100 * world.capacity(desk.agent))
    cost = round(choice.load * load + choice.surplus * (skills + grade) / 2, 9)
    last = desk.agent.agent_id in (*request.refused_by, request.transferrer)
    return last, not called, cost, desk.busy_until, desk.last_assigned_at, desk.agent.agent_id


def quotas(world: World, shop: Any) -> dict[str, int]:
    """Of the night's requests, the most that each agent has while they come in."""
    here = [
        config
        for config in shop.agents.values()
        if config.shift is not None
        and not (config.shift in shop.shifts and not shop.shifts[config.shift].is_open(world.now))
        and not kept(world, shop, config.agent_id)
    ]
    total = sum(
        bool(request.shared_until)
        for request in world.requests.values()
        if request.shop_id == shop.shop_id and request.state is State.QUEUED
    ) + sum(world.agents[config.agent_id].overnight for config in here if config.agent_id in world.agents)
    capacity = sum(config.capacity for config in here)
    return {config.agent_id: ceil(total * config.capacity / capacity) for config in here} if capacity else {}


def expected(world: World) -> list[tuple[str, str]]:
    """(conversation, agent) of every assignment that matching makes now, in order."""
    desks = {}
    for agent in world.agents.values():
        config = world.catalog.agent(agent.agent_id)
        if config is not None:
            desks[agent.agent_id] = Desk(
                agent,
                config,
                agent.taken,
                dict(agent.channels),
                agent.overnight,
                agent.busy_until,
                agent.last_assigned_at,
            )
    waiting = [request for request in world.requests.values() if request.state is State.QUEUED]
    shares = {
        shop_id: quotas(world, world.catalog.shop(shop_id)) for shop_id in {request.shop_id for request in waiting}
    }
    order = sorted(waiting, key=lambda request: _before(world, request))
    given = []
    for request in order:
        shop = world.catalog.shop(request.shop_id)
        able = []
        for desk in desks.values():
            agent_id = desk.agent.agent_id
            if agent_id not in shop.agents:
                continue
            desk.config = shop.agents[agent_id]
            quota = shares[request.shop_id].get(agent_id) if request.shared_until > world.now else None
            full = quota is not None and desk.overnight >= quota
            if not full and admits(world, request, shop, desk) and room(world, desk, request.profile.channel):
                able.append(desk)
        if not able:
            continue
        chosen = min(able, key=lambda desk: place(world, request, shop, desk))
        given.append((request.subject, chosen.agent.agent_id))
        at = time_of(world, request, chosen.agent)
        chosen.taken += round(100 * shop.routing.turns.agent)
        chosen.overnight += bool(request.shared_until)
        channel = request.profile.channel
        chosen.channels[channel] = chosen.channels.get(channel, 0) + 1
        chosen.busy_until = max(chosen.busy_until, at) + 600_000_000 // world.capacity(chosen.agent)
        chosen.last_assigned_at = at
    return given


def _before(world: World, request: Any) -> tuple[Any, ...]:
    strict, gained = index(request, world.catalog.shop(request.shop_id), world.now)
    since = request.waiting_since
    if request.shared_until:
        since = max(since, request.opened_hours)
    return strict, -round(gained, 9), since, request.waiting_since, request.request_id
