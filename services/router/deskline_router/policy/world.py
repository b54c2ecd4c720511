"""What the router decides on: agents, open requests and their queues, and the conversations of this unit of work.

The ``World`` is changed in place by the decisions and remembers what they changed (``dirty_*``) and said
(``emissions``). It is the mirror of the shared rows: ``put_agent`` and ``put_request`` bring in what others changed.

A shop's ``Queue`` keeps its waiting requests in order (priority, then ``waiting_since``, then id) twice: all together,
for positions, and by ``Requirement``, so that matching looks at heads of groups and never walks the queue.
"""

from bisect import bisect_left, insort
from collections.abc import Container
from typing import NamedTuple

from deskline_router.model import (
    Agent,
    Catalog,
    Conversation,
    Emission,
    Origin,
    Request,
    ShadowChoice,
    Shop,
    State,
    Status,
)
from deskline_router.policy.roster import Roster
from deskline_router.policy.steps import (
    Plan,
    PlanKey,
    Requirement,
    Stage,
    make_plan,
    named_rule,
    plan_key,
    requirement,
    rule_for,
)

_PLANS_KEPT = 10_000
"""Kinds of requests whose stages are remembered; a deployment has some hundreds at a time."""


class Key(NamedTuple):
    """Place in the queue: the smallest is served first."""

    urgency: int
    waiting_since: int
    request_id: str
    subject: str


def key_of(request: Request) -> Key:
    return Key(-request.priority, request.waiting_since, request.request_id, request.subject)


class Queue:
    """The waiting requests of one shop, grouped under one state of its configuration."""

    __slots__ = ("groups", "order", "shop", "unsettled", "where")

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.unsettled = False
        """The configuration has changed under its requests: their stages are to be looked at once."""
        self.order: list[Key] = []
        self.groups: dict[Requirement, list[Key]] = {}
        self.where: dict[str, tuple[Key, Requirement]] = {}

    def add(self, key: Key, needed: Requirement) -> None:
        insort(self.order, key)
        insort(self.groups.setdefault(needed, []), key)
        self.where[key.subject] = (key, needed)

    def remove(self, subject: str) -> None:
        key, needed = self.where.pop(subject)
        del self.order[bisect_left(self.order, key)]
        group = self.groups[needed]
        del group[bisect_left(group, key)]
        if not group:
            del self.groups[needed]

    def position(self, subject: str) -> int:
        """1 for the first in the shop's queue."""
        return bisect_left(self.order, self.where[subject][0]) + 1


class World:
    """``now`` and the other instants belong to the unit of work; ``begin`` sets them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.agents: dict[str, Agent] = {}
        self.roster = Roster()
        self.requests: dict[str, Request] = {}
        """Open requests, by conversation."""
        self.live: dict[str, set[str]] = {}
        """Agent → conversations of his live assignments."""
        self.queues: dict[str, Queue] = {}
        self.conversations: dict[str, Conversation] = {}
        """Those of this unit; the caller puts them in."""
        self.pending_shops: set[str] = set()
        """Queues in which somebody might now be assigned: kept until matching has looked at them."""
        self._plans: dict[PlanKey, Plan] = {}
        self.begin(0)

    def begin(self, now: int) -> None:
        """Forget what the last unit changed and said; it is durable or undone."""
        self.now = now
        self.origin: Origin | None = None
        """The record being handled."""
        self.origins: dict[str, Origin] = {}
        """Conversation → the record of this unit that last touched its request."""
        self.agent_origins: dict[str, Origin] = {}
        """Agent → the record of this unit by which he last got room, or came."""
        self.opened: list[Request] = []
        self.dirty_agents: set[str] = set()
        self.dirty_requests: dict[str, Request] = {}
        self.dirty_conversations: set[str] = set()
        self.emissions: list[Emission] = []
        self.shadows: list[ShadowChoice] = []
        """What candidate policies would have chosen; only recorded."""

    # --- mirror -------------------------------------------------------------------------------------------------

    def put_agent(self, agent: Agent) -> None:
        """A row as another instance left it. Whoever changed it has also matched."""
        self.agents[agent.agent_id] = agent
        self.agent_changed(agent)

    def put_request(self, request: Request) -> None:
        """A row as another instance left it; an ended one leaves the mirror. Whoever changed it has also matched."""
        self._forget(request.subject)
        if request.state is State.ENDED:
            return
        self.requests[request.subject] = request
        if request.live:
            self.live.setdefault(_agent_of(request), set()).add(request.subject)
        else:
            self._enqueue(request)

    def _forget(self, subject: str) -> None:
        known = self.requests.pop(subject, None)
        if known is None:
            return
        if known.live:
            self.live[_agent_of(known)].discard(subject)
        else:
            self.dequeue(known)

    # --- queues -------------------------------------------------------------------------------------------------

    def queue(self, shop_id: str) -> Queue:
        """The shop's queue, grouped under the configuration in force."""
        shop = self.catalog.shop(shop_id)
        queue = self.queues.get(shop_id)
        if queue is None:
            queue = self.queues[shop_id] = Queue(shop)
        elif queue.shop is not shop:
            queue = self._regroup(queue, shop)
        return queue

    def enqueue(self, request: Request) -> None:
        self._enqueue(request)
        self.pending_shops.add(request.shop_id)

    def _enqueue(self, request: Request) -> None:
        queue = self.queue(request.shop_id)
        queue.add(key_of(request), self.requirement(request, queue.shop))

    def dequeue(self, request: Request) -> None:
        queue = self.queues[request.shop_id]
        queue.remove(request.subject)
        if not queue.order:
            del self.queues[request.shop_id]
            self.pending_shops.discard(request.shop_id)

    def requirement(self, request: Request, shop: Shop) -> Requirement:
        plan = self.plan(request, shop)
        request.step = min(request.step, len(plan.stages) - 1)
        return requirement(request, plan)

    def plan(self, request: Request, shop: Shop) -> Plan:
        """Under the document in force; where it no longer has the request's rule, by the one that matches now."""
        key = plan_key(request)
        found = self._plans.get(key)
        if found is not None and found.shop is shop:
            return found
        rule = named_rule(request, shop)
        if rule is None:
            return make_plan(request, rule_for(request, shop), shop)
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        plan = self._plans[key] = make_plan(request, rule, shop)
        return plan

    def _regroup(self, old: Queue, shop: Shop) -> Queue:
        fresh = Queue(shop)
        fresh.unsettled = True
        for key in old.order:
            fresh.add(key, self.requirement(self.requests[key.subject], shop))
        self.queues[shop.shop_id] = fresh
        self.pending_shops.add(shop.shop_id)
        return fresh

    # --- agents -------------------------------------------------------------------------------------------------

    def capacity(self, agent: Agent) -> int:
        """In force: the last status's own, else the configured one; 0 for somebody no longer configured."""
        configured = self.catalog.capacity(agent.agent_id)
        if configured is None:
            return 0
        return configured if agent.stated_capacity is None else agent.stated_capacity

    def has_room(self, agent: Agent) -> bool:
        return agent.load < self.capacity(agent)

    def agent_changed(self, agent: Agent) -> None:
        """Must be called after every change of an agent: what matching asks is kept beside him."""
        self.roster.note(agent, self.capacity(agent))

    def configuration_changed(self) -> None:
        """Capacities, and what any queue asks for, may be others now."""
        for agent in self.agents.values():
            self.agent_changed(agent)
        self.pending_shops.update(self.queues)

    def available(self, agent_id: str, shop: Shop) -> bool:
        """Configured in the shop, online and not paused; whether he has room is another question."""
        agent = self.agents.get(agent_id)
        return agent is not None and agent.status is Status.ONLINE and not agent.paused and agent_id in shop.agents

    def agent_may_take(self, agent_id: str) -> None:
        """Something changed for the better (or the agent of a stage is gone): look at the queues he serves."""
        if self.origin is not None:
            self.agent_origins[agent_id] = self.origin
        for shop_id, queue in self.queues.items():
            if agent_id in queue.shop.agents:
                self.pending_shops.add(shop_id)

    def void(self, stage: Stage, excluded: Container[str], shop: Shop) -> bool:
        """The stage is skipped at once: it names somebody who is not here, is paused, or has refused."""
        if stage.void:
            return True
        agent_id = stage.agent
        return agent_id is not None and (agent_id in excluded or not self.available(agent_id, shop))


def _agent_of(request: Request) -> str:
    if request.agent_id is None:
        raise ValueError("a live request without an agent")
    return request.agent_id
