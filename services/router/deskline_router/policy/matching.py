"""Who gets which waiting request: the queues' heads against the agents who are free. Pure.

Requests are served in one order over all shops (``policy.order``), because agents may serve several. A request whose stage
admits nobody who is free does not hold up those behind it. So a freed agent gets the request of the highest index that he
may take, and an arriving one the agent of the best score (``policy.roster``): load relative to capacity, skills and grade
spared; among equals the one with the least work lately, idle longest, then the smaller id. Who refused this request or
handed it on comes after everybody else.

Cost: per shop with something to do, one ``&`` of two masks for each group of equal requests; per assignment, some heap
operations. Queues and agents are never walked.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil
from typing import Any, Final, NamedTuple

from deskline_router.model import SECOND, Agent, Fate, Request, Shop, State
from deskline_router.policy import requests
from deskline_router.policy.order import Rank, rank
from deskline_router.policy.roster import Place
from deskline_router.policy.saying import time_of
from deskline_router.policy.steps import LIST_LIMIT, Requirement, relaxed
from deskline_router.policy.table import Trigger
from deskline_router.policy.world import Kind, Queue, World

_BEST: Final = 3
_NAMED: Final = 8
"""Agents named in an explanation: the best, and of those rejected enough to see why; few enough for a record's size."""


Compare = Callable[[World, Request, Shop, Agent, Requirement], None]


class Pool:
    """The free agents whom one kind of request admits, best first; kept right while matching fills them up."""

    def __init__(self, world: World, shop: Shop, kind: Kind, shares: "Shares | None" = None) -> None:
        needed = kind.needed
        self._world = world
        self._shop = shop
        self._kind = kind
        self._needed = needed
        self._channel = kind.channel
        self._excluded = world.roster.mask(needed.excluded)
        self._last = world.roster.mask(needed.last)
        self._ability = world.roster.ability(shop.agents, needed.stage)
        self._allowed = world.allowed(shop, needed.stage)
        self._shares = shares

    def _barred(self) -> int:
        return self._excluded if self._shares is None else self._excluded | self._shares.used_up

    @property
    def eligible(self) -> int:
        """A mask: those who could take it now."""
        admitted = self._world.admitted(self._shop, self._kind)
        return admitted if self._shares is None else admitted & ~self._shares.used_up

    def best(self) -> Place | None:
        if not self.eligible:
            return None
        bench = self._world.roster.bench(
            self._shop.agents, self._needed.stage, self._shop.routing.choice, self._channel
        )
        return bench.best(self._allowed, self._barred(), self._last)

    def explain(self, place: Place, request: Request, at: int) -> dict[str, Any]:
        """Why the agent at ``place``, whom ``best`` has just named."""
        agent = self._world.agents[place.agent_id]
        return {
            "relaxed": list(self._relaxed(place)),
            "agent_state_id": agent.online_id,
            "considered": len(self._shop.agents),
            "eligible": self.eligible.bit_count(),
            "rejected": {reason: mask.bit_count() for reason, mask in sorted(self._rejected()) if mask},
            "chosen": {"score_parts": self._parts(place, agent, request, at)},
            "candidates": list(islice(self._candidates(request, at), _NAMED)),
        }

    def _relaxed(self, place: Place) -> Sequence[str]:
        stage = self._needed.stage
        of_him = stage.asked_of(self._shop.agents[place.agent_id])
        if of_him is stage:
            return self._needed.relaxed
        return sorted({*self._needed.relaxed, *relaxed((stage, of_him), 1)})[:LIST_LIMIT]

    def _parts(self, place: Place, agent: Agent, request: Request, at: int) -> dict[str, float]:
        choice = self._shop.routing.choice
        parts = {
            "load": round(choice.load * agent.load / self._world.capacity(agent), 6),
            "surplus": round(choice.surplus * self._ability.surplus[place.agent_id], 6),
            "last": int(bool(self._last & (1 << place.number))),
            **({"called": 1} if place.agent_id in self._ability.called else {}),
            "busy_s": round(max(0, agent.busy_until - at) / SECOND, 3),
        }
        if agent.last_assigned_at:
            parts["idle_s"] = max(0, at - agent.last_assigned_at) / SECOND
        shop = self._world.catalog.shop(request.shop_id)
        if shop is self._shop:
            key, kind = self._world.queues[request.shop_id].where[request.subject]
            parts["request"] = round(kind.pace.cost(key, at), 6)
        return parts

    def _rejected(self) -> Iterator[tuple[str, int]]:
        """Each of the shop's agents who is not eligible once, by the first condition that he fails."""
        roster = self._world.roster
        members = roster.members(self._shop.agents)
        yield from roster.unavailable(members)
        free = members & roster.free
        for reason, short in self._ability.short:
            yield reason, short & free
        able = self._ability.able & free
        for reason, mask in self._hindered():
            yield reason, able & mask
            able &= ~mask

    def _hindered(self) -> Iterator[tuple[str, int]]:
        """What keeps those who are free and able from it, in the order in which it is asked."""
        world, shop = self._world, self._shop
        stage = self._needed.stage
        if stage.agent is None or stage.called:
            named = 0 if stage.agent is None else world.roster.bit(stage.agent)
            yield "off_shift", world.off_shift(shop) & ~named
            yield "reserve", world.reserve(shop) & ~named
        yield "channel_full", world.roster.channel_full(self._channel)
        yield "declined", self._excluded
        if self._shares is not None:
            yield "share", self._shares.used_up

    def _candidates(self, request: Request, at: int) -> Iterator[dict[str, Any]]:
        """The best, then some of the rejected, each with the numbers of the first condition that he fails: first those who
        are free, because it might have been them. What is where in the heap must not show.
        """
        world, roster = self._world, self._world.roster
        bench = roster.bench(self._shop.agents, self._needed.stage, self._shop.routing.choice, self._channel)
        for place in bench.first(_BEST, self._allowed, self._barred()):
            yield {"agent_id": place.agent_id, "score": place.cost}
        able = self._ability.able & roster.free
        for reason, mask in self._hindered():
            for name in roster.first_names(self._shop.agents, able & mask, _NAMED):
                yield {"agent_id": name, "failed": reason, "numbers": self._numbers(reason, name, request, at)}
            able &= ~mask
        for name, short, bit in self._ability.named:
            if bit & roster.free:
                yield {"agent_id": name, "failed": short.reason, "numbers": short.numbers}
        for reason, mask in roster.unavailable(roster.members(self._shop.agents)):
            for name in roster.first_names(self._shop.agents, mask, _NAMED):
                agent = world.agents.get(name)
                numbers = "" if agent is None else self._unavailable(reason, agent)
                yield {"agent_id": name, "failed": reason} | ({"numbers": numbers} if numbers else {})

    def _unavailable(self, reason: str, agent: Agent) -> str:
        if reason == "full":
            wrapping = f" and {len(agent.wraps)} being wrapped up" if agent.wraps else ""
            return f"{agent.load:g}{wrapping} of {self._world.capacity(agent)}"
        return f"{agent.missed} offers missed" if reason == "paused" else ""

    def _numbers(self, reason: str, name: str, request: Request, at: int) -> str:
        agent, config = self._world.agents[name], self._shop.agents[name]
        match reason:
            case "channel_full":
                limit = (config.channels or {}).get(self._channel or "", 0)
                return f"{agent.channels.get(self._channel or '', 0)} of {limit} by {self._channel}"
            case "declined" if name in request.excluded:
                return f"not asked again for {max(0, request.excluded[name] - at) / SECOND:g} s"
            case "declined":
                return "the complaint is about him"
            case "off_shift":
                return f"outside {config.shift}"
            case "share":
                return f"{agent.overnight} of those that came outside hours"
            case _:
                return "kept for a surge"


class Shares:
    """How much of what came outside hours each agent of a shop has at the most, while they come in.

    His part by capacity of all that is left of it, over everybody whose shift has begun, whether he is here yet or not.
    """

    def __init__(self, world: World, queue: Queue) -> None:
        shop = queue.shop
        self.used_up = 0
        self._quota: dict[str, int] = {}
        off = world.off_shift(shop) | world.reserve(shop)
        team = [a for a in shop.agents.values() if a.shift is not None and not off & world.roster.bit(a.agent_id)]
        capacity = sum(agent.capacity for agent in team)
        if not capacity:
            return
        waiting = sum(len(keys) for kind, keys in queue.groups.items() if kind.shared_until)
        known = [agent for config in team if (agent := world.agents.get(config.agent_id)) is not None]
        total = waiting + sum(agent.overnight for agent in known)
        self._quota = {agent.agent_id: ceil(total * agent.capacity / capacity) for agent in team}
        for agent in known:
            self.note(world, agent)

    def note(self, world: World, agent: Agent) -> None:
        quota = self._quota.get(agent.agent_id)
        if quota is not None and agent.overnight >= quota:
            self.used_up |= world.roster.bit(agent.agent_id)


class _Head(NamedTuple):
    """The first of a group."""

    rank: Rank
    number: int
    queue: Queue
    kind: Kind
    pool: Pool
    shares: Shares | None


def match(world: World, compare: Compare) -> None:
    """Assign everything that can be assigned in the queues that may have changed, and take their marks off.

    ``compare`` is told of each assignment, just before it is made, in a shop with a candidate policy.
    """
    heads: list[_Head] = []
    for shop_id in sorted(world.pending_shops):
        queue = _prepared(world, shop_id)
        if queue is None:
            continue
        shares: Shares | None = None
        for kind, keys in queue.groups.items():
            shared = kind.shared_until > world.now
            if shared and shares is None:
                shares = Shares(world, queue)
            pool = Pool(world, queue.shop, kind, shares if shared else None)
            if pool.eligible:
                first = rank(kind.pace, keys[0], world.now)
                heads.append(_Head(first, len(heads), queue, kind, pool, shares if shared else None))
    world.pending_shops.clear()
    heapq.heapify(heads)
    while heads:
        head = heapq.heappop(heads)
        queue, kind = head.queue, head.kind
        place = head.pool.best()
        if place is None:
            continue
        agent = world.agents[place.agent_id]
        request = world.requests[queue.groups[kind][0].subject]
        if queue.shop.candidate is not None:
            compare(world, request, queue.shop.candidate, agent, kind.needed)
        explanation = head.pool.explain(place, request, time_of(world, request, agent))
        requests.assign(world, request, agent, kind.needed, explanation)
        if head.shares is not None:
            head.shares.note(world, agent)
        rest = queue.groups.get(kind)
        if rest:
            heapq.heappush(heads, head._replace(rank=rank(kind.pace, rest[0], world.now)))


def _prepared(world: World, shop_id: str) -> Queue | None:
    """The shop's queue under the configuration in force, without stages that wait for somebody who has gone."""
    if shop_id not in world.queues:
        return None
    queue = world.queue(shop_id)
    if queue.unsettled:
        queue.unsettled = False
        for subject in queue.subjects():
            requests.settle_stages(world, world.requests[subject])
    void = [
        key
        for kind, keys in queue.groups.items()
        if kind.needed.void
        or (
            kind.needed.stage.agent is not None
            and not kind.needed.closed
            and world.void(kind.needed.stage, kind.needed.excluded, queue.shop)
        )
        for key in keys
    ]
    # In the order of arrival: groups stand in that in which this instance happened to meet them.
    for key in sorted(void):
        requests.skip_void_stage(world, world.requests[key.subject])
    # An emptied queue is put away: one whose only request has moved on is another object now.
    return world.queues[shop_id]


def refuse_over_limit(world: World) -> None:
    """``queue_limit``: of this unit's newcomers that nobody took, the last ones are refused where too many wait."""
    for request in reversed(world.opened):
        # seq 1: nothing but its first ``queued`` has been told of it (the table's "right after its first queued").
        if request.state is not State.QUEUED or request.seq != 1 or not request.refuses_limit:
            continue
        limit = world.catalog.shop(request.shop_id).limits.queue_limit
        queue = world.queues[request.shop_id]
        if limit is None or len(queue) <= limit or world.requests.get(request.subject) is not request:
            continue
        conversation = world.conversations[request.subject]
        requests.end(world, conversation, request, Trigger.FULL)
        # Nothing of what was handed over until now is left to anybody: the next message starts anew (contract §4).
        for message in conversation.messages:
            if message.fate is Fate.COUNTED:
                message.fate = Fate.DONE
        world.dirty_conversations.add(request.subject)
