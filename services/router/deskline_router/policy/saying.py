"""What is told of a request: every event goes through ``tell``, which numbers it. Pure."""

from typing import Any

from deskline_router.model import SECOND, Agent, Emission, Origin, Request, Told
from deskline_router.policy import waiting
from deskline_router.policy.steps import Stage
from deskline_router.policy.table import Move
from deskline_router.policy.world import World


def required(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "skills": [{"skill": skill, "proficiency": proficiency} for skill, proficiency in stage.skills]
    }
    if stage.grades is not None:
        found["grades"] = list(stage.grades)
    if stage.agent is not None:
        found["agent"] = stage.agent
    return found


def tell_position(world: World, request: Request) -> None:
    """Again, where its position or the estimate has changed."""
    position, estimate = waiting.standing(world, request, time_of(world, request))
    if position != request.told_position or waiting.differs(request, estimate, world.now):
        tell_queued(world, request)
    else:
        request.told_at = world.now
        waiting.note_told(world, request)
        changed(world, request)


def tell_queued(world: World, request: Request) -> None:
    needed = _needed(world, request)
    request.queued_n += 1
    request.told = (request.step, request.priority, list(request.skills), _shown(needed))
    at = time_of(world, request)
    position, estimate = waiting.standing(world, request, at)
    request.told_at, request.told_position, request.estimated = at, position, estimate
    waiting.note_told(world, request)
    data: dict[str, Any] = {
        "cause": request.cause.value,
        "skills": list(request.skills),
        "priority": request.priority,
        "step": request.step + 1,
        "required": needed,
        "position": position,
        "waiting_since": request.waiting_since,
    }
    if estimate is not None:
        data["estimated_wait_s"] = round(estimate / SECOND, 1)
    tell(world, request, Told.QUEUED, data, None)


def tell_queued_if_changed(world: World, request: Request) -> None:
    told = (request.step, request.priority, request.skills)
    if request.told is None or request.told[:3] != told or request.told[3] != _shown(_needed(world, request)):
        tell_queued(world, request)


def _needed(world: World, request: Request) -> dict[str, Any]:
    plan = world.plan(request, world.catalog.shop(request.shop_id))
    return required(plan.stages[request.step])


def _shown(needed: dict[str, Any]) -> str:
    """Equal where two requirements are: a new configuration may ask for other things at the same step."""
    return str(needed)


def tell(world: World, request: Request, told: Told, data: dict[str, Any], agent: Agent | None) -> None:
    thing = request.request_id if told in (Told.QUEUED, Told.RELEASED) else data["assignment_id"]
    n = request.queued_n if told is Told.QUEUED else 1
    request.seq += 1
    data |= {"request_id": request.request_id, "shop_id": request.shop_id, "seq": request.seq}
    if world.actor is not None:
        data["actor"] = world.actor
    if agent is not None:
        agent.seq += 1
        data |= {
            "agent_id": agent.agent_id,
            "agent_seq": agent.seq,
            "load": agent.load,
            "capacity": world.capacity(agent),
        }
        world.dirty_agents.add(agent.agent_id)
    changed(world, request)
    request.latest = time_of(world, request, agent)
    origin = _origin(world, request, agent)
    source = None if origin is None else origin.coordinates
    world.emissions.append(Emission(told, request.subject, request.lane, thing, n, request.latest, data, source))


def told_by(done: Move) -> Told:
    if done.told is None:
        raise ValueError("this move tells nothing")
    return done.told


def time_of(world: World, request: Request, agent: Agent | None = None) -> int:
    """Of what is told now: never before the record that it answers, nor before what the request has told already."""
    origin = _origin(world, request, agent)
    return max(world.now, request.latest, world.now if origin is None else origin.at)


def _origin(world: World, request: Request, agent: Agent | None) -> Origin | None:
    """The record handled; in matching, what touched the request in this unit, else what brought the agent."""
    found = world.origin or world.origins.get(request.subject)
    if found is None and agent is not None:
        found = world.agent_origins.get(agent.agent_id)
    return found


def changed(world: World, request: Request) -> None:
    world.dirty_requests[request.subject] = request
    if world.origin is not None:
        world.origins[request.subject] = world.origin
