"""What happens to a request: every change goes through the table, changes the world and says so. Pure.

Each function here is one row of ``policy.table``; its caller has found out that the input is meant for this request.
"""

from bisect import insort
from collections.abc import Sequence
from heapq import heappush
from typing import Any, Literal

from deskline.ids import assignment_id, request_id
from deskline_router.model import (
    SECOND,
    Agent,
    Cause,
    Conversation,
    Request,
    Shop,
    State,
    Told,
)
from deskline_router.policy import waiting
from deskline_router.policy.order import USUAL_TARGET
from deskline_router.policy.people import completed, tier_of
from deskline_router.policy.promise import due_of, target_of
from deskline_router.policy.saying import changed, required, tell, tell_queued, tell_queued_if_changed, time_of, told_by
from deskline_router.policy.steps import Requirement, Stage, rule_for
from deskline_router.policy.table import Trigger, move
from deskline_router.policy.world import World

_OPENERS_KEPT = 64
"""Openers remembered per conversation: a second word on a message whose request has ended comes within seconds, and
nobody is handed over this often meanwhile."""

_CHOSEN_LAST = frozenset({Trigger.DECLINE, Trigger.EXPIRE, Trigger.TAKE_BACK})
"""Who lost it so is asked again after everybody else. Only who declined or missed an offer is not asked at all for
``reoffer_s``: one from whom it was taken back may be the only one there is (contract §6.4 b)."""
_SPELL = 600 * SECOND
"""What one conversation adds to the work of an agent who can do one at a time; with ``n`` at a time a part of that. Only its
ratio to the pace of arrivals matters: a longer one remembers longer who has had how much."""
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
    request.customer_id = conversation.customer_id
    request.profile = completed(conversation.profile, world.customer(request.shop_id, request.customer_id))
    request.state = move(Trigger.OPEN, before).state
    request.weight = round(100 * shop.routing.turns.agent)
    _complained(request, conversation, shop)
    _classify(world, request, shop)
    _wait_for_opening(world, request, shop)
    world.requests[request.subject] = request
    enter_stage(world, request, 0, time_of(world, request) if request.opens_at is None else request.opens_at)
    world.enqueue(request)
    waiting.note_arrival(world, request)
    _remember(conversation, request)
    tell_queued(world, request)
    world.opened.append(request)


def _classify(world: World, request: Request, shop: Shop) -> bool:
    """Tier, rule, priority and promise as they follow from what the request is now; True where it follows another rule."""
    request.tier = tier_of(request.profile, shop.routing.tiers)
    rule = rule_for(request, shop)
    other = rule.rule_id != request.rule_id
    if other:
        request.rule_id = rule.rule_id
        request.skipped = waiting.steps_without_share(world, request, rule)
    request.priority = max(request.priority, rule.priority or 0)
    request.target = target_of(request, shop)
    request.due_at = due_of(request, shop, request.target)
    return other


def _complained(request: Request, conversation: Conversation, shop: Shop) -> None:
    """While a complaint of the conversation is open, so is the request's; whom it is about gets it last, or never."""
    if not conversation.complaints:
        return
    request.flags = _union(request.flags, ["complaint"])
    for agent_id in filter(None, conversation.complaints.values()):
        if request.first_agent == agent_id:
            request.first_agent = None
        _avoid(request, agent_id, shop)


def _avoid(request: Request, agent_id: str, shop: Shop) -> None:
    never = shop.routing.complaints is not None and shop.routing.complaints.never_same_agent
    avoided = request.barred if never else request.refused_by
    if agent_id not in avoided:
        avoided.append(agent_id)


def complain(world: World, request: Request, about: str | None) -> None:
    """A complaint has joined the request: whom it is about loses it, where the shop says so, and is avoided."""
    shop = world.catalog.shop(request.shop_id)
    if about is None:
        return
    queued = request.state is State.QUEUED
    if queued:
        world.dequeue(request)
    _avoid(request, about, shop)
    if queued:
        world.enqueue(request)
    changed(world, request)
    rules = shop.routing.complaints
    if rules is not None and rules.take_back and request.live and request.agent_id == about:
        put_back(world, request, Trigger.TAKE_BACK)


def settle_complaint(world: World, request: Request, conversation: Conversation) -> None:
    """A complaint is closed: whom it was about may have the conversation again."""
    about = set(conversation.complaints.values())
    kept = [agent_id for agent_id in request.barred if agent_id in about]
    if kept == request.barred:
        return
    queued = request.state is State.QUEUED
    if queued:
        world.dequeue(request)
    request.barred = kept
    if queued:
        world.enqueue(request)
    changed(world, request)


def _wait_for_opening(world: World, request: Request, shop: Shop) -> None:
    """What came outside hours waits for the shop to open; a transfer does not, its agent is there."""
    if shop.routing.night.off_hours == "serve" or request.cause in (Cause.TRANSFER, Cause.MANUAL):
        return
    opens = shop.hours.next_open(request.opened_at)
    if opens > max(request.opened_at, world.now):
        request.opens_at = request.opened_hours = opens


def open_up(world: World, request: Request, watermark: int) -> None:
    """The shop has opened."""
    if request.state is not State.QUEUED or request.opens_at is None or request.opens_at > watermark:
        return
    world.dequeue(request)
    _opened(world, request)
    world.enqueue(request)
    changed(world, request)


def _opened(world: World, request: Request) -> None:
    gather_s = world.catalog.shop(request.shop_id).routing.night.gather_s
    request.shared_until = request.opened_hours + round(gather_s * SECOND)
    request.opens_at = None


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
    request.priority = max(request.priority, priority)
    if _classify(world, request, shop):
        since = time_of(world, request)
        enter_stage(world, request, 0, since if request.opens_at is None else max(since, request.opens_at))
    if queued:
        world.enqueue(request)
    if before != (request.priority, request.skills, request.flags, request.language, request.refuses_limit):
        changed(world, request)
        _remember(conversation, request)
    if queued:
        tell_queued_if_changed(world, request)


def learn_opening(world: World, request: Request, at: int) -> None:
    """The message that was handed over has been read after its hand-over: the request was opened by it, at ``at``."""
    if at > request.opened_at:
        request.opened_at = at
        changed(world, request)


def escalate(world: World, request: Request, *, raise_by: int, flags: list[str], called: bool, step: bool) -> None:
    """The SLA's actions on a request, but for taking it back. ``step``: it goes on to what is for supervisors alone."""
    queued = request.state is State.QUEUED
    if queued:
        world.dequeue(request)
    shop = world.catalog.shop(request.shop_id)
    request.priority = min(100, request.priority + raise_by)
    request.called = request.called or called
    since = time_of(world, request)
    if request.opens_at is not None:
        since = max(since, request.opens_at)
    if not set(flags) <= set(request.flags):
        request.flags = _union(request.flags, flags)
        if _classify(world, request, shop):
            enter_stage(world, request, 0, since)
    if step and queued:
        ahead = _supervisors_step(world, request, shop)
        if ahead is not None:
            enter_stage(world, request, ahead, since)
    changed(world, request)
    if queued:
        world.enqueue(request)
        tell_queued_if_changed(world, request)


def _supervisors_step(world: World, request: Request, shop: Shop) -> int | None:
    """The next stage that admits those alone whom the SLA calls; None: there is none, or it is there."""
    grades = set(shop.routing.sla_actions.supervisors)
    stages = world.plan(request, shop).stages
    for step in range(request.step, len(stages)):
        only = stages[step].grades
        if only and set(only) <= grades:
            return step if step > request.step else None
    return None


# --- stages -----------------------------------------------------------------------------------------------------


def enter_stage(world: World, request: Request, step: int, since: int) -> None:
    """Be at ``step`` since that instant, or at the first one after it that is not skipped."""
    shop = world.catalog.shop(request.shop_id)
    plan = world.plan(request, shop).stages
    request.step = min(step, len(plan) - 1)
    while request.step < len(plan) - 1 and world.void(plan[request.step], request.excluded, shop):
        request.step += 1
    request.step_until = stage_ends(request, plan, request.step, since)
    changed(world, request)


def advance_stages(world: World, request: Request, watermark: int) -> None:
    """The waits of the stages add up: each begins where the one before it ended, however late this is noticed."""
    until = request.step_until
    if request.state is not State.QUEUED or until is None or until > watermark:
        return
    world.dequeue(request)
    while request.step_until is not None and request.step_until <= watermark:
        enter_stage(world, request, request.step + 1, request.step_until)
    world.enqueue(request)
    tell_queued_if_changed(world, request)


def settle_stages(world: World, request: Request) -> None:
    """Another configuration has come into force: a stage that was the last one may have others behind it now."""
    shop = world.catalog.shop(request.shop_id)
    plan = world.plan(request, shop)
    if request.rule_id != plan.rule.rule_id:
        request.rule_id = plan.rule.rule_id
        changed(world, request)
    if request.opens_at is not None:
        world.dequeue(request)
        request.opens_at = None
        _wait_for_opening(world, request, shop)
        if request.opens_at is None:
            request.opened_hours = world.now
            _opened(world, request)
        world.enqueue(request)
        changed(world, request)
    if request.step_until is None and request.step < len(plan.stages) - 1:
        world.dequeue(request)
        enter_stage(world, request, request.step, world.now)
        world.enqueue(request)
    tell_queued_if_changed(world, request)


def skip_void_stage(world: World, request: Request) -> None:
    """The agent waited for has gone: the next stage begins now."""
    world.dequeue(request)
    enter_stage(world, request, request.step, world.now)
    world.enqueue(request)
    tell_queued_if_changed(world, request)


def forgive(world: World, request: Request, watermark: int) -> None:
    """Who refused it may be asked again once ``reoffer_s`` is over."""
    over = [agent_id for agent_id, until in request.excluded.items() if until <= watermark]
    if request.state is not State.QUEUED or not over:
        return
    world.dequeue(request)
    for agent_id in over:
        del request.excluded[agent_id]
    world.enqueue(request)
    changed(world, request)


def stage_ends(request: Request, plan: Sequence[Stage], step: int, since: int) -> int | None:
    """The end of a stage: after its wait, and after its part of the SLA time left, whichever is sooner; None of the last."""
    stage = plan[step]
    if step == len(plan) - 1:
        return None
    ends = [] if stage.wait is None else [since + stage.wait]
    if stage.sla_share is not None:
        left = max(0, (request.due_at or since + USUAL_TARGET) - since)
        ends.append(since + round(left * stage.sla_share))
    return min(ends, default=None)


# --- assignments ------------------------------------------------------------------------------------------------


def assign_by_hand(world: World, request: Request, agent: Agent) -> None:
    """A person has chosen: it is the agent's at once, whatever the shop's mode; the step's requirement is waived, and shown."""
    needed = world.requirement(request, world.catalog.shop(request.shop_id))
    explanation: dict[str, Any] = {
        "relaxed": list(needed.relaxed),
        "agent_state_id": agent.online_id,
        "considered": 1,
        "eligible": 1,
        "rejected": {},
        "chosen": {"score_parts": {}},
        "candidates": [],
    }
    assign(world, request, agent, needed._replace(hand_up=None), explanation, mode="assigned")


def assign(
    world: World,
    request: Request,
    agent: Agent,
    needed: Requirement,
    explanation: dict[str, Any],
    *,
    mode: Literal["assigned", "offered"] | None = None,
) -> None:
    """The chosen agent gets the request, or the offer of it, as the shop's mode is where none is given."""
    shop = world.catalog.shop(request.shop_id)
    mode = mode or shop.routing.mode
    offered = mode == "offered"
    done = move(Trigger.OFFER if offered else Trigger.ASSIGN, request.state)
    at = time_of(world, request, agent)
    world.dequeue(request)
    request.state = done.state
    request.attempt += 1
    request.agent_id = agent.agent_id
    request.assignment_id = assignment_id(request.request_id, request.attempt)
    request.assigned_at = at
    request.accept_by = at + round(shop.routing.accept_s * SECOND) if offered else None
    request.hand_up_at = None if needed.hand_up is None else at + needed.hand_up
    request.weight = round(100 * shop.routing.turns.agent)
    waiting.note_entry(world, request, at)
    world.live.setdefault(agent.agent_id, set()).add(request.subject)
    agent.taken += request.weight
    agent.overnight += bool(request.shared_until)
    if request.profile.channel is not None:
        agent.channels[request.profile.channel] = agent.channels.get(request.profile.channel, 0) + 1
    agent.busy_until = max(agent.busy_until, at) + _SPELL // max(1, world.capacity(agent))
    agent.last_assigned_at = at
    world.agent_changed(agent)
    if not offered:
        _held(world, request, agent, at)
    changed(world, request)
    stage = needed.stage.asked_of(shop.agents[agent.agent_id])
    data = {
        "assignment_id": request.assignment_id,
        "attempt": request.attempt,
        "mode": mode,
        "waited_s": (at - request.waiting_since) / SECOND,
        "policy_version": shop.version,
        "explanation": explanation | {"rule": needed.rule, "step": needed.step, "required": required(stage)},
    }
    if request.accept_by is not None:
        data["accept_by"] = request.accept_by
    tell(world, request, Told.ASSIGNED, data, agent)


def _held(world: World, request: Request, agent: Agent, at: int) -> None:
    request.ever_held = True
    if request.customer_id is not None:
        world.served[request.shop_id, request.customer_id] = (agent.agent_id, at)


def turn(world: World, request: Request, *, customer: bool) -> None:
    """Whose turn it is has changed, and with it what the conversation weighs for who holds it."""
    turns = world.catalog.shop(request.shop_id).routing.turns
    weight = round(100 * (turns.customer if customer else turns.agent))
    if request.state is not State.HELD or weight == request.weight:
        return
    agent = _agent(world, request)
    lighter = weight < request.weight
    agent.taken += weight - request.weight
    request.weight = weight
    world.dirty_agents.add(agent.agent_id)
    world.agent_changed(agent)
    changed(world, request)
    if lighter:
        world.agent_may_take(agent.agent_id)


def hand_up(world: World, request: Request, watermark: int) -> None:
    """Who was chosen by a step with ``hand_up_s`` has had it so long: it goes on to the next step."""
    if request.state is State.HELD and request.hand_up_at is not None and request.hand_up_at <= watermark:
        put_back(world, request, Trigger.TAKE_BACK, next_stage=True)


def accept(world: World, request: Request) -> None:
    """The offer is taken; nothing is told: ``accepted`` or his message says it already."""
    request.state = move(Trigger.ACCEPT, request.state).state
    request.accept_by = None
    agent = _agent(world, request)
    _held(world, request, agent, time_of(world, request, agent))
    if agent.missed:
        agent.missed = 0
        world.dirty_agents.add(agent.agent_id)
    changed(world, request)


def put_back(world: World, request: Request, trigger: Trigger, *, next_stage: bool = False) -> None:
    """The assignment ends and the request stands at its old place again, at the stage at which it was or the next."""
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
    if next_stage:
        enter_stage(world, request, request.step + 1, at)
    world.enqueue(request)
    changed(world, request)
    data = {"assignment_id": thing, "reason": done.reason, "agent_paused": agent.paused}
    tell(world, request, told_by(done), data, agent)
    world.agent_may_take(agent.agent_id)
    tell_queued_if_changed(world, request)


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
        if request.state is State.HELD:
            _wrap_up(world, agent, time_of(world, request, agent))
        _leave_agent(world, request, agent)
    else:
        world.dequeue(request)
    request.state = done.state
    del world.requests[request.subject]
    changed(world, request)
    tell(world, request, told_by(done), data, agent)
    if agent is not None:
        world.agent_may_take(agent.agent_id)
    if request.ever_held and conversation.owner is not None:
        # The next owner has ended that ownership.
        conversation.owner = None
        world.dirty_conversations.add(request.subject)


def _leave_agent(world: World, request: Request, agent: Agent) -> None:
    world.live[agent.agent_id].discard(request.subject)
    agent.taken -= request.weight
    agent.overnight -= bool(request.shared_until)
    channel = request.profile.channel
    if channel is not None:
        agent.channels[channel] -= 1
        if not agent.channels[channel]:
            del agent.channels[channel]
    world.agent_changed(agent)
    request.agent_id = request.assignment_id = request.accept_by = request.hand_up_at = None


def _wrap_up(world: World, agent: Agent, at: int) -> None:
    """His place stays taken for a while."""
    config = world.catalog.agent(agent.agent_id)
    if config is not None and config.wrap_up_s:
        ends = at + round(config.wrap_up_s * SECOND)
        insort(agent.wraps, ends)
        heappush(world.wraps, (ends, agent.agent_id))


def wrapped_up(world: World, agent: Agent) -> None:
    """What was to be wrapped up by now is: its places are free."""
    left = [instant for instant in agent.wraps if instant > world.now]
    if len(left) < len(agent.wraps):
        agent.wraps = left
        world.dirty_agents.add(agent.agent_id)
        world.agent_changed(agent)
        world.agent_may_take(agent.agent_id)


def _agent(world: World, request: Request) -> Agent:
    if request.agent_id is None:
        raise ValueError("a live request without an agent")
    return world.agents[request.agent_id]


def _remember(conversation: Conversation, request: Request) -> None:
    conversation.priority = request.priority
    conversation.skills = list(request.skills)


def _union(old: list[str], new: list[str]) -> list[str]:
    return (old + [value for value in dict.fromkeys(new) if value not in old])[:_LIST_LIMIT]
