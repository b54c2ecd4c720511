"""What the router decides on: agents, open requests and their queues, and the conversations of this unit of work.

The ``World`` is changed in place by the decisions and remembers what they changed (``dirty_*``) and said
(``emissions``). It is the mirror of the shared rows: ``put_agent``, ``put_request`` and ``put_shop`` bring in what others
changed.

A shop's ``Queue`` keeps its waiting requests in groups of the same ``Kind``, each in order of arrival, so that matching
looks at heads of groups and never walks the queue.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from deskline_router.model import (
    NEVER,
    Agent,
    Catalog,
    Conversation,
    Customer,
    Emission,
    Origin,
    Outcome,
    PauseWord,
    Request,
    ShadowChoice,
    Shop,
    ShopState,
    State,
    Status,
    SurgeWord,
)
from deskline_router.policy.order import Key, Pace, key_of, pace_of
from deskline_router.policy.people import reserve_of
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


class Kind(NamedTuple):
    """Requests of one kind admit the same agents in the same order, and keep their order of arrival."""

    needed: Requirement
    pace: Pace
    channel: str | None
    """Where somebody of the shop has a limit for channels."""
    shared_until: int
    """They came outside hours, and until then are shared out by capacity; 0: not so."""


class Queue:
    """The waiting requests of one shop, grouped under one state of its configuration."""

    __slots__ = ("groups", "shop", "unsettled", "where")

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.unsettled = False
        """The configuration has changed under its requests: their stages are to be looked at once."""
        self.groups: dict[Kind, list[Key]] = {}
        self.where: dict[str, tuple[Key, Kind]] = {}

    def __len__(self) -> int:
        return len(self.where)

    def add(self, key: Key, kind: Kind) -> None:
        insort(self.groups.setdefault(kind, []), key)
        self.where[key.subject] = (key, kind)

    def remove(self, subject: str) -> None:
        key, kind = self.where.pop(subject)
        group = self.groups[kind]
        del group[bisect_left(group, key)]
        if not group:
            del self.groups[kind]

    def subjects(self) -> list[str]:
        """Those who have waited longest first, whatever their groups."""
        return [key.subject for key, _ in sorted(self.where.values(), key=lambda found: found[0])]

    def oldest(self) -> int | None:
        """Since when the first of those whom somebody is sought for has waited."""
        heads = (keys[0].since for kind, keys in self.groups.items() if not kind.needed.closed)
        return min(heads, default=None)

    def sought(self) -> int:
        """How many are waiting for an agent, and not for the shop to open."""
        return len(self.where) - sum(len(keys) for kind, keys in self.groups.items() if kind.needed.closed)


class _Hour(NamedTuple):
    """Who of a shop's agents may not be chosen, and until when that holds."""

    shop: Shop
    off_shift: int
    until: int


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
        self.shops: dict[str, ShopState] = {}
        self.conversations: dict[str, Conversation] = {}
        """Those of this unit; the caller puts them in."""
        self.customers: dict[tuple[str, str], Customer] | None = None
        """By shop and customer, those of this unit's conversations; None: not known here, the lock is not held."""
        self.pending_shops: set[str] = set()
        """Queues in which somebody might now be assigned: kept until matching has looked at them."""
        self._plans: dict[PlanKey, Plan] = {}
        self.surging: set[str] = set()
        self._hours: dict[str, _Hour] = {}
        self._reserves: dict[str, tuple[Shop, frozenset[str], int]] = {}
        self.wraps: list[tuple[int, str]] = []
        """(when a place is free again, agent), a heap; some are out of date."""
        self.notices: list[tuple[int, str]] = []
        """(when a position may be told again, conversation), a heap; some are out of date."""
        self.tell_not_before = 0
        """Shops have told as many positions as they may in this second; only when to look again depends on it."""
        self.slept_at = NEVER
        """When time was last looked at."""
        self.begin(NEVER)

    def begin(self, now: int) -> None:
        """Forget what the last unit changed and said; it is durable or undone."""
        self.now = now
        self.actor: str | None = None
        """The person at whose word something is being done."""
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
        self.dirty_shops: set[str] = set()
        self.dirty_customers: dict[tuple[str, str], Customer] = {}
        self.served: dict[tuple[str, str], tuple[str, int]] = {}
        """(shop, customer) → the agent who has had a conversation of his last, and when."""
        self.emissions: list[Emission] = []
        self.surges: list[SurgeWord] = []
        self.pauses: list[PauseWord] = []
        self.outcomes: dict[str, Outcome] = {}
        """By action."""
        self.errors: list[float] = []
        """Of the estimates of those who were assigned: seconds that the wait was longer than the one told last."""
        self.shadows: list[ShadowChoice] = []
        """What candidate policies would have chosen; only recorded."""

    # --- mirror -------------------------------------------------------------------------------------------------

    def put_agent(self, agent: Agent) -> None:
        """A row as another instance left it. Whoever changed it has also matched."""
        self.agents[agent.agent_id] = agent
        for instant in agent.wraps:
            heapq.heappush(self.wraps, (instant, agent.agent_id))
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

    def put_shop(self, state: ShopState) -> None:
        """A row as another instance left it."""
        known = self.shops.get(state.shop_id)
        self.shops[state.shop_id] = state
        self.note_surge(state)
        if (known is None or known.surge_since is None) != (state.surge_since is None):
            self.surge_changed(state.shop_id)

    def _forget(self, subject: str) -> None:
        known = self.requests.pop(subject, None)
        if known is None:
            return
        if known.live:
            self.live[_agent_of(known)].discard(subject)
        else:
            self.dequeue(known)

    # --- shops --------------------------------------------------------------------------------------------------

    def shop_state(self, shop_id: str) -> ShopState:
        """To be changed: it is written with this unit."""
        self.dirty_shops.add(shop_id)
        return self.shops.setdefault(shop_id, ShopState(shop_id))

    def note_surge(self, state: ShopState) -> None:
        """Must be called when a surge has begun or ended."""
        if state.surge_since is None:
            self.surging.discard(state.shop_id)
        else:
            self.surging.add(state.shop_id)

    def in_surge(self, shop_id: str) -> bool:
        return shop_id in self.surging

    def surge_changed(self, shop_id: str) -> None:
        """Capacities, and who is in reserve, are others now."""
        for agent_id in self.catalog.shop(shop_id).agents:
            agent = self.agents.get(agent_id)
            if agent is not None:
                self.agent_changed(agent)
                self.agent_may_take(agent_id)
        if shop_id in self.queues:
            self.pending_shops.add(shop_id)

    def allowed(self, shop: Shop, stage: Stage) -> int:
        """A mask: who may be chosen by the hour and by the reserve; of others than the shop's it says nothing. Who is asked
        for by name is neither kept in reserve nor off shift as long as he is online.
        """
        if stage.agent is not None and not stage.called:
            return -1
        here = ~(self.off_shift(shop) | self.reserve(shop))
        return here if stage.agent is None else here | self.roster.bit(stage.agent)

    def off_shift(self, shop: Shop) -> int:
        if not shop.shifts:
            return 0
        known = self._hours.get(shop.shop_id)
        if known is not None and known.shop is shop and self.now < known.until:
            return known.off_shift
        closed = {name for name, hours in shop.shifts.items() if not hours.is_open(self.now)}
        until = min(
            (hours.next_open(self.now) if name in closed else hours.open_until(self.now))
            for name, hours in shop.shifts.items()
        )
        mask = self.roster.mask(agent.agent_id for agent in shop.agents.values() if agent.shift in closed)
        self._hours[shop.shop_id] = _Hour(shop, mask, until)
        return mask

    def reserve(self, shop: Shop) -> int:
        """Those who are kept for a surge; nobody during one."""
        if shop.routing.surge is None or self.in_surge(shop.shop_id):
            return 0
        known = self._reserves.get(shop.shop_id)
        if known is None or known[0] is not shop:
            names = reserve_of(shop.agents, shop.routing.surge.reserve_share)
            known = self._reserves[shop.shop_id] = (shop, names, self.roster.mask(names))
        return known[2]

    def admitted(self, shop: Shop, kind: Kind) -> int:
        """A mask: who could take one of that kind now."""
        needed = kind.needed
        if needed.closed:
            return 0
        able = self.roster.ability(shop.agents, needed.stage).able & self.roster.fits(kind.channel)
        if not able:
            return 0
        return able & self.allowed(shop, needed.stage) & ~self.roster.mask(needed.excluded)

    def customer(self, shop_id: str, customer_id: str | None) -> Customer | None:
        if self.customers is None or customer_id is None:
            return None
        return self.customers.get((shop_id, customer_id))

    def shift_changes(self) -> Iterator[int]:
        """When who is on shift changes next, in the shops where somebody waits."""
        for shop_id in self.queues:
            known = self._hours.get(shop_id)
            if known is not None:
                yield known.until

    def shifts_changed(self) -> list[str]:
        """Shops in which somebody's shift has begun or ended since it was looked at; it has been looked at then."""
        changed = [shop_id for shop_id, known in self._hours.items() if known.until <= self.now]
        for shop_id in changed:
            self.off_shift(self.catalog.shop(shop_id))
        return [shop_id for shop_id in changed if shop_id in self.queues]

    def weighs_turns(self, request: Request) -> bool:
        """Whose turn it is in this conversation makes a difference to who holds it."""
        turns = self.catalog.shop(request.shop_id).routing.turns
        return request.state is State.HELD and not turns.agent == turns.customer == 1

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
        queue.add(key_of(request), self.kind(request, queue.shop))
        every = queue.shop.routing.notices.position_every_s
        if every is not None and request.told_at:
            heapq.heappush(self.notices, (request.told_at + round(every * 1_000_000), request.subject))

    def dequeue(self, request: Request) -> None:
        queue = self.queues[request.shop_id]
        queue.remove(request.subject)
        if not queue:
            del self.queues[request.shop_id]
            self.pending_shops.discard(request.shop_id)

    def kind(self, request: Request, shop: Shop) -> Kind:
        return Kind(
            self.requirement(request, shop),
            pace_of(request, shop),
            request.profile.channel if shop.channels_limited else None,
            request.shared_until,
        )

    def requirement(self, request: Request, shop: Shop) -> Requirement:
        plan = self.plan(request, shop)
        request.step = min(request.step, len(plan.stages) - 1)
        return requirement(request, plan)

    def plan(self, request: Request, shop: Shop) -> Plan:
        """Under the document in force; where it no longer has the request's rule, by the one that matches now."""
        key = plan_key(request, shop)
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
        for subject in old.where:
            request = self.requests[subject]
            fresh.add(key_of(request), self.kind(request, shop))
        self.queues[shop.shop_id] = fresh
        self.pending_shops.add(shop.shop_id)
        return fresh

    # --- agents -------------------------------------------------------------------------------------------------

    def capacity(self, agent: Agent) -> int:
        """In force: the last status's own, else the configured one; 0 for somebody no longer configured; more in a surge."""
        configured = self.catalog.agent(agent.agent_id)
        if configured is None:
            return 0
        base = configured.capacity if agent.stated_capacity is None else agent.stated_capacity
        if not base or not self.surging:
            return base
        return max([base, *self._raised(agent.agent_id, base)])

    def _raised(self, agent_id: str, base: int) -> Iterable[int]:
        for shop_id in self.surging:
            state = self.shops[shop_id]
            if state.surge_added and agent_id in self.catalog.shop(shop_id).agents:
                raised = base + state.surge_added
                yield raised if state.surge_limit is None else min(raised, state.surge_limit)

    def has_room(self, agent: Agent) -> bool:
        """For one more that the customer waits for, which counts full."""
        return _room(agent, self.capacity(agent))

    def agent_changed(self, agent: Agent) -> None:
        """Must be called after every change of an agent: what matching asks is kept beside him."""
        configured, capacity = self.catalog.agent(agent.agent_id), self.capacity(agent)
        self.roster.note(agent, capacity, _room(agent, capacity), None if configured is None else configured.channels)

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


def _room(agent: Agent, capacity: int) -> bool:
    return agent.taken + 100 * len(agent.wraps) + 100 <= 100 * capacity


def _agent_of(request: Request) -> str:
    if request.agent_id is None:
        raise ValueError("a live request without an agent")
    return request.agent_id
