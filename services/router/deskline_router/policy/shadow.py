"""Whom the shop's candidate policy would choose, on the same snapshot. Pure, and changes nothing but the list of what it found.

The snapshot is that of the live decision: the same agents, loads and refusals, before this request takes anybody's room. A
request stands at the candidate's step at which it would be had it waited under the candidate since it was opened, and has
the priority that the candidate's rule gives it; what the live rule raised is taken off again, down to the default at
most, because what was asked for below that is not kept. Who is served first is the live order: a choice is compared, not a
whole day.
"""

from deskline_router.model import DEFAULT_PRIORITY, Agent, Agreement, Request, ShadowChoice, Shop, State
from deskline_router.policy.matching import Pool
from deskline_router.policy.order import pace_of
from deskline_router.policy.requests import stage_ends
from deskline_router.policy.saying import time_of
from deskline_router.policy.steps import Plan, Requirement, make_plan, named_rule, requirement, rule_for
from deskline_router.policy.world import Kind, World


def compare(world: World, request: Request, candidate: Shop, agent: Agent, needed: Requirement) -> None:
    """Note the candidate's choice beside ``agent``, who is about to be assigned."""
    choice = _choose(world, request, candidate, needed, agent)
    if choice.agent is None:
        agreement = Agreement.WAITS
    else:
        agreement = Agreement.SAME if choice.agent == agent.agent_id else Agreement.OTHER_AGENT
    world.shadows.append(choice._replace(agreement=agreement))


def compare_waiting(world: World) -> None:
    """Of the requests that came in this unit and got nobody: whom the candidate would have taken at once."""
    for request in world.opened:
        if request.state is not State.QUEUED or world.requests.get(request.subject) is not request:
            continue
        shop = world.catalog.shop(request.shop_id)
        candidate = shop.candidate
        if candidate is None:
            continue
        needed = requirement(request, world.plan(request, shop))
        choice = _choose(world, request, candidate, needed, None)
        if choice.agent is not None:
            world.shadows.append(choice)


def _choose(world: World, request: Request, candidate: Shop, needed: Requirement, agent: Agent | None) -> ShadowChoice:
    rule = rule_for(request, candidate)
    plan = make_plan(request, rule, candidate)
    at = time_of(world, request, agent)
    wanted = requirement(request, plan, _step(world, request, plan, at))
    channel = request.profile.channel if candidate.channels_limited else None
    kind = Kind(wanted, pace_of(request, candidate), channel, shared_until=0)
    best = Pool(world, candidate, kind).best()
    return ShadowChoice(
        request_id=request.request_id,
        attempt=0 if agent is None else request.attempt + 1,
        subject=request.subject,
        shop_id=request.shop_id,
        version=candidate.version,
        at=at,
        live_agent=None if agent is None else agent.agent_id,
        live_rule=needed.rule,
        live_step=needed.step,
        live_priority=request.priority,
        agent=None if best is None else best.agent_id,
        rule=wanted.rule,
        step=wanted.step,
        priority=max(_priority(world, request), rule.priority or 0),
        agreement=Agreement.EARLIER,
    )


def _step(world: World, request: Request, plan: Plan, at: int) -> int:
    step, since = 0, max(request.opened_at, request.opened_hours)
    while step < len(plan.stages) - 1:
        stage = plan.stages[step]
        if not world.void(stage, request.excluded, plan.shop):
            ends = stage_ends(request, plan.stages, step, since)
            if ends is None or ends > at:
                break
            since = ends
        step += 1
    return step


def _priority(world: World, request: Request) -> int:
    raised = named_rule(request, world.catalog.shop(request.shop_id))
    if raised is None or request.priority > (raised.priority or 0):
        return request.priority
    return min(request.priority, DEFAULT_PRIORITY)
