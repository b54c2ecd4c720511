"""What happens to a request: every change goes through the table, changes the world and says so. Pure.

Each function here is one row of ``policy.table``; its caller has found out that the input is meant for this request.
"""

from collections.abc import Sequence
from typing import Any

from deskline.ids import assignment_id, request_id
from deskline_router.model import (
    SECOND,
    Agent,
    Conversation,
    Emission,
    Origin,
    Request,
    State,
    Told,
)
from deskline_router.policy.steps import Requirement, Stage, rule_for
from deskline_router.policy.table import Move, Trigger, move
from deskline_router.policy.world import World

_OPENERS_KEPT = 64
"""Openers remembered per conversation: a second word on a message whose request has ended comes within seconds, and
nobody is handed over this often meanwhile."""

_CHOSEN_LAST = frozenset({Trigger.DECLINE, Trigger.EXPIRE, Trigger.TAKE_BACK})
"""Who lost it so is asked again after everybody else. Only who declined or missed an offer is not asked at all for
``reoffer_s``: one from whom it was taken back may be the only one there is (contract §6.4 b)."""
_LIST_LIMIT = 64
"""Of every list of the contract (§1); what hand-overs add beyond it is left out."""


# --- opening ----------------------------------------------------------------------------------------------------


def used(conversation: Conversation, kind: str, opener: str) -> bool:
    """This opener has had its request (the table's "same opener")."""
    return f"{kind}:{opener}" in conversation.openers


def open_request(world: World, conversation: Conversation, request: Request, kind: str, opener: str) -> None:
    """``request`` is new: state NONE, without id; the conversation has no open one."""
    before = State.ENDED if conversation.openers else State.NONE
    shop = world.catalog.shop(request.shop_id)
    conversation.openers.append(f"{kind}:{opener}")
    del conversation.openers[:-_OPENERS_KEPT]
    request.request_id = request_id(request.subject, kind, opener)
    rule = rule_for(request, shop)
    request.rule_id = rule.rule_id
    request.priority = max(request.priority, rule.priority or 0)
    request.state = move(Trigger.OPEN, before).state
    world.requests[request.subject] = request
    enter_stage(world, request, 0, time_of(world, request))
    world.enqueue(request)
    _remember(conversation, request)
    _tell_queued(world, request)
    world.opened.append(request)


def join(
    world: World,
    conversation: Conversation,
    request: Request,
    *,
    skills: list[str],
    flags: list[str],
    priority: int,
    language: str | None,
    refusable: bool = True,
) -> None:
    """Skills and flags are added, the priority only rises."""
    request.state = move(Trigger.OPEN, request.state).state
    before = (request.priority, request.skills, request.flags, request.language, request.refuses_limit)
    shop = world.catalog.shop(request.shop_id)
    queued = request.state is State.QUEUED
    if queued:
        world.dequeue(request)
    request.skills = _union(request.skills, skills)
    request.flags = _union(request.flags, flags)
    request.language = request.language or language
    request.refuses_limit = request.refuses_limit and refusable
    rule = rule_for(request, shop)
    request.priority = max(request.priority, priority, rule.priority or 0)
    if rule.rule_id != request.rule_id:
        request.rule_id = rule.rule_id
        enter_stage(world, request, 0, time_of(world, request))
    if queued:
        world.enqueue(request)
    if before != (request.priority, request.skills, request.flags, request.language, request.refuses_limit):
        _changed(world, request)
        _remember(conversation, request)
    if queued:
        _tell_queued_if_changed(world, request)


def learn_opening(world: World, request: Request, at: int) -> None:
    """The message that was handed over has been read after its hand-over: the request was opened by it, at ``at``."""
    if at > request.opened_at:
        request.opened_at = at
        _changed(world, request)


def raise_priority(world: World, request: Request, priority: int) -> None:
    if priority <= request.priority:
        return
    queued = request.state is State.QUEUED
    if queued:
        world.dequeue(request)
    request.priority = priority
    _changed(world, request)
    if queued:
        world.enqueue(request)
        _tell_queued_if_changed(world, request)


# --- stages -----------------------------------------------------------------------------------------------------


def enter_stage(world: World, request: Request, step: int, since: int) -> None:
    """Be at ``step`` since that instant, or at the first one after it that is not skipped."""
    shop = world.catalog.shop(request.shop_id)
    plan = world.plan(request, shop).stages
    request.step = min(step, len(plan) - 1)
    while request.step < len(plan) - 1 and world.void(plan[request.step], request.excluded, shop):
        request.step += 1
    request.step_until = _until(plan, request.step, since)
    _changed(world, request)


def advance_stages(world: World, request: Request, watermark: int) -> None:
    """The waits of the stages add up: each begins where the one before it ended, however late this is noticed."""
    until = request.step_until
    if request.state is not State.QUEUED or until is None or until > watermark:
        return
    world.dequeue(request)
    while request.step_until is not None and request.step_until <= watermark:
        enter_stage(world, request, request.step + 1, request.step_until)
    world.enqueue(request)
    _tell_queued_if_changed(world, request)


def settle_stages(world: World, request: Request) -> None:
    """Another configuration has come into force: a stage that was the last one may have others behind it now."""
    shop = world.catalog.shop(request.shop_id)
    plan = world.plan(request, shop)
    if request.rule_id != plan.rule.rule_id:
        request.rule_id = plan.rule.rule_id
        _changed(world, request)
    if request.step_until is None and request.step < len(plan.stages) - 1:
        world.dequeue(request)
        enter_stage(world, request, request.step, world.now)
        world.enqueue(request)
    _tell_queued_if_changed(world, request)


def skip_void_stage(world: World, request: Request) -> None:
    """The agent waited for has gone: the next stage begins now."""
    world.dequeue(request)
    enter_stage(world, request, request.step, world.now)
    world.enqueue(request)
    _tell_queued_if_changed(world, request)


def forgive(world: World, request: Request, watermark: int) -> None:
    """Who refused it may be asked again once ``reoffer_s`` is over."""
    over = [agent_id for agent_id, until in request.excluded.items() if until <= watermark]
    if request.state is not State.QUEUED or not over:
        return
    world.dequeue(request)
    for agent_id in over:
        del request.excluded[agent_id]
    world.enqueue(request)
    _changed(world, request)


def _until(plan: Sequence[Stage], step: int, since: int) -> int | None:
    wait = plan[step].wait
    return None if wait is None or step == len(plan) - 1 else since + wait


# --- assignments ------------------------------------------------------------------------------------------------


def assign(world: World, request: Request, agent: Agent, needed: Requirement, explanation: dict[str, Any]) -> None:
    """The chosen agent gets the request, or the offer of it, as the shop's mode is."""
    shop = world.catalog.shop(request.shop_id)
    offered = shop.routing.mode == "offered"
    done = move(Trigger.OFFER if offered else Trigger.ASSIGN, request.state)
    at = time_of(world, request, agent)
    world.dequeue(request)
    request.state = done.state
    request.attempt += 1
    request.agent_id = agent.agent_id
    request.assignment_id = assignment_id(request.request_id, request.attempt)
    request.assigned_at = at
    request.accept_by = at + round(shop.routing.accept_s * SECOND) if offered else None
    request.ever_held = request.ever_held or not offered
    world.live.setdefault(agent.agent_id, set()).add(request.subject)
    agent.load += 1
    world.agent_changed(agent)
    agent.last_assigned_at = at
    _changed(world, request)
    data = {
        "assignment_id": request.assignment_id,
        "attempt": request.attempt,
        "mode": shop.routing.mode,
        "waited_s": (at - request.waiting_since) / SECOND,
        "policy_version": shop.version,
        "explanation": explanation | {"rule": needed.rule, "step": needed.step, "required": required(needed.stage)},
    }
    if request.accept_by is not None:
        data["accept_by"] = request.accept_by
    _tell(world, request, Told.ASSIGNED, data, agent)


def accept(world: World, request: Request) -> None:
    """The offer is taken; nothing is told: ``accepted`` or his message says it already."""
    request.state = move(Trigger.ACCEPT, request.state).state
    request.accept_by = None
    request.ever_held = True
    agent = _agent(world, request)
    if agent.missed:
        agent.missed = 0
        world.dirty_agents.add(agent.agent_id)
    _changed(world, request)


def put_back(world: World, request: Request, trigger: Trigger) -> None:
    """The assignment ends and the request stands at its old place again."""
    done = move(trigger, request.state)
    agent = _agent(world, request)
    thing = request.assignment_id or ""
    at = time_of(world, request, agent)
    if trigger is Trigger.EXPIRE:
        _missed(world, request, agent)
    if trigger in (Trigger.DECLINE, Trigger.EXPIRE):
        request.excluded[agent.agent_id] = at + round(world.catalog.shop(request.shop_id).limits.reoffer_s * SECOND)
    if trigger in _CHOSEN_LAST and agent.agent_id not in request.refused_by:
        request.refused_by.append(agent.agent_id)
    if request.state is State.HELD and request.step_until is not None:
        # Being served does not count as waiting at this stage.
        request.step_until += max(0, at - request.assigned_at)
    _leave_agent(world, request, agent)
    request.state = done.state
    world.enqueue(request)
    _changed(world, request)
    data = {"assignment_id": thing, "reason": done.reason, "agent_paused": agent.paused}
    _tell(world, request, _told(done), data, agent)
    world.agent_may_take(agent.agent_id)
    _tell_queued_if_changed(world, request)


def expire(world: World, request: Request, watermark: int) -> None:
    """The offer was not answered in time."""
    if request.state is State.OFFERED and request.accept_by is not None and request.accept_by <= watermark:
        put_back(world, request, Trigger.EXPIRE)


def _missed(world: World, request: Request, agent: Agent) -> None:
    agent.missed += 1
    if agent.missed >= world.catalog.shop(request.shop_id).routing.pause_after_missed:
        agent.paused = True
        world.agent_changed(agent)


def end(world: World, conversation: Conversation, request: Request, trigger: Trigger) -> None:
    """``released``. A live assignment ends with it."""
    done = move(trigger, request.state)
    data: dict[str, Any] = {"reason": done.reason}
    agent = None
    if request.live:
        agent = _agent(world, request)
        data["assignment_id"] = request.assignment_id
        _leave_agent(world, request, agent)
    else:
        world.dequeue(request)
    request.state = done.state
    del world.requests[request.subject]
    _changed(world, request)
    _tell(world, request, _told(done), data, agent)
    if agent is not None:
        world.agent_may_take(agent.agent_id)
    if request.ever_held and conversation.owner is not None:
        # The next owner has ended that ownership.
        conversation.owner = None
        world.dirty_conversations.add(request.subject)


def _leave_agent(world: World, request: Request, agent: Agent) -> None:
    world.live[agent.agent_id].discard(request.subject)
    agent.load -= 1
    world.agent_changed(agent)
    request.agent_id = request.assignment_id = request.accept_by = None


def _agent(world: World, request: Request) -> Agent:
    if request.agent_id is None:
        raise ValueError("a live request without an agent")
    return world.agents[request.agent_id]


# --- telling ----------------------------------------------------------------------------------------------------


def required(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "skills": [{"skill": skill, "proficiency": proficiency} for skill, proficiency in stage.skills]
    }
    if stage.grades is not None:
        found["grades"] = list(stage.grades)
    if stage.agent is not None:
        found["agent"] = stage.agent
    return found


def _tell_queued(world: World, request: Request) -> None:
    needed = _needed(world, request)
    request.queued_n += 1
    request.told = (request.step, request.priority, list(request.skills), _shown(needed))
    data = {
        "cause": request.cause.value,
        "skills": list(request.skills),
        "priority": request.priority,
        "step": request.step + 1,
        "required": needed,
        "position": world.queues[request.shop_id].position(request.subject),
        "waiting_since": request.waiting_since,
    }
    _tell(world, request, Told.QUEUED, data, None)


def _tell_queued_if_changed(world: World, request: Request) -> None:
    told = (request.step, request.priority, request.skills)
    if request.told is None or request.told[:3] != told or request.told[3] != _shown(_needed(world, request)):
        _tell_queued(world, request)


def _needed(world: World, request: Request) -> dict[str, Any]:
    plan = world.plan(request, world.catalog.shop(request.shop_id))
    return required(plan.stages[request.step])


def _shown(needed: dict[str, Any]) -> str:
    """Equal where two requirements are: a new configuration may ask for other things at the same step."""
    return str(needed)


def _tell(world: World, request: Request, told: Told, data: dict[str, Any], agent: Agent | None) -> None:
    thing = request.request_id if told in (Told.QUEUED, Told.RELEASED) else data["assignment_id"]
    n = request.queued_n if told is Told.QUEUED else 1
    request.seq += 1
    data |= {"request_id": request.request_id, "shop_id": request.shop_id, "seq": request.seq}
    if agent is not None:
        agent.seq += 1
        data |= {
            "agent_id": agent.agent_id,
            "agent_seq": agent.seq,
            "load": agent.load,
            "capacity": world.capacity(agent),
        }
        world.dirty_agents.add(agent.agent_id)
    _changed(world, request)
    request.latest = time_of(world, request, agent)
    origin = _origin(world, request, agent)
    source = None if origin is None else origin.coordinates
    world.emissions.append(Emission(told, request.subject, request.lane, thing, n, request.latest, data, source))


def _told(done: Move) -> Told:
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


def _changed(world: World, request: Request) -> None:
    world.dirty_requests[request.subject] = request
    if world.origin is not None:
        world.origins[request.subject] = world.origin


def _remember(conversation: Conversation, request: Request) -> None:
    conversation.priority = request.priority
    conversation.skills = list(request.skills)


def _union(old: list[str], new: list[str]) -> list[str]:
    return (old + [value for value in dict.fromkeys(new) if value not in old])[:_LIST_LIMIT]
