"""Who gets which waiting request: the queues' heads against the agents who are free. Pure.

Requests are served in one order over all shops (priority, then the longest wait), because agents may serve several. A
request whose stage admits nobody who is free does not hold up those behind it. Among the admitted the least loaded
relative to capacity is chosen, then the one who has gone longest without a new conversation, then the smaller id; who
refused this request or handed it on comes after everybody else.

Cost: per shop with something to do, one ``&`` of two masks (``policy.roster``) for each group of equal requirements; per
assignment, a heap operation, and once for each group that anybody is assigned from, a pass over those who could take it.
Queues and agents are never walked.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from deskline_router.model import SECOND, Agent, Fate, Request, Shop, State
from deskline_router.policy import requests
from deskline_router.policy.steps import Requirement
from deskline_router.policy.table import Trigger
from deskline_router.policy.world import Key, Queue, World

_CANDIDATES: Final = 5
"""Agents named in an explanation: enough to see the choice was close, few enough for a record's size."""


Compare = Callable[[World, Request, Shop, Agent, Requirement], None]


class Score(NamedTuple):
    """Smaller is better."""

    last: bool
    load: float
    last_assigned_at: int
    agent_id: str


class Pool:
    """The free agents whom one group admits, best first; kept right while matching fills them up."""

    def __init__(self, world: World, shop: Shop, needed: Requirement) -> None:
        self._world = world
        self._shop = shop
        self._excluded = world.roster.mask(needed.excluded)
        self._last = frozenset(needed.last)
        self._ability = world.roster.ability(shop.agents, needed.stage)
        self._heap: list[Score] | None = None

    @property
    def eligible(self) -> int:
        """A mask: those who could take it now."""
        return self._ability.able & ~self._excluded & self._world.roster.free

    def best(self) -> Agent | None:
        """Scores only get worse while matching goes on, so a stale head is put back where it now belongs."""
        heap = self._scores()
        while heap:
            head = heap[0]
            agent = self._world.agents[head.agent_id]
            if not self._world.has_room(agent):
                heapq.heappop(heap)
                continue
            fresh = self._score(agent)
            if fresh == head:
                return agent
            heapq.heapreplace(heap, fresh)
        return None

    def _scores(self) -> list[Score]:
        if self._heap is None:
            world = self._world
            self._heap = [self._score(world.agents[name]) for name in world.roster.names(self.eligible)]
            heapq.heapify(self._heap)
        return self._heap

    def _score(self, agent: Agent) -> Score:
        # Free means load < capacity, so capacity is at least 1.
        load = agent.load / self._world.capacity(agent)
        return Score(agent.agent_id in self._last, load, agent.last_assigned_at, agent.agent_id)

    def explain(self, agent: Agent, needed: Requirement, at: int) -> dict[str, Any]:
        """Why ``agent``, whom ``best`` has just named."""
        score = self._scores()[0]
        parts = {"load": round(score.load, 6), "last": int(score.last)}
        if score.last_assigned_at:
            parts["idle_s"] = max(0, at - score.last_assigned_at) / SECOND
        return {
            "relaxed": list(needed.relaxed),
            "agent_state_id": agent.online_id,
            "considered": len(self._shop.agents),
            "eligible": self.eligible.bit_count(),
            "rejected": {reason: count for reason, count in sorted(self._rejected()) if count},
            "chosen": {"score_parts": parts},
            "candidates": list(self._candidates()),
        }

    def _rejected(self) -> Iterator[tuple[str, int]]:
        roster = self._world.roster
        yield from roster.unavailable(roster.members(self._shop.agents))
        for reason, short in self._ability.short:
            yield reason, (short & roster.free).bit_count()
        yield "declined", (self._ability.able & self._excluded & roster.free).bit_count()

    def _candidates(self) -> Iterator[dict[str, Any]]:
        """The best, then some of those who are free and not able; what is where in the heap must not show."""
        world, left = self._world, _CANDIDATES
        rivals = [world.agents[score.agent_id] for score in _smallest(self._scores(), _CANDIDATES)]
        for score in sorted(self._score(agent) for agent in rivals if world.has_room(agent)):
            yield {"agent_id": score.agent_id, "score": round(score.load, 6)}
            left -= 1
        free = world.roster.free
        short = ((name, reason) for name, reason, bit in self._ability.named if bit & free)
        for name, reason in islice(short, left):
            yield {"agent_id": name, "failed": reason}


def _smallest(heap: list[Score], count: int) -> Iterator[Score]:
    """The first ``count`` in order, without looking at more than twice as many."""
    frontier = [(heap[0], 0)] if heap else []
    for _ in range(count):
        if not frontier:
            return
        score, index = heapq.heappop(frontier)
        yield score
        for child in (2 * index + 1, 2 * index + 2):
            if child < len(heap):
                heapq.heappush(frontier, (heap[child], child))


def match(world: World, compare: Compare) -> None:
    """Assign everything that can be assigned in the queues that may have changed, and take their marks off.

    ``compare`` is told of each assignment, just before it is made, in a shop with a candidate policy.
    """
    heads: list[tuple[Key, int, Queue, Requirement, Pool]] = []
    for shop_id in sorted(world.pending_shops):
        queue = _prepared(world, shop_id)
        if queue is None:
            continue
        for needed, keys in queue.groups.items():
            pool = Pool(world, queue.shop, needed)
            if pool.eligible:
                heads.append((keys[0], len(heads), queue, needed, pool))
    world.pending_shops.clear()
    heapq.heapify(heads)
    while heads:
        key, number, queue, needed, pool = heapq.heappop(heads)
        agent = pool.best()
        if agent is None:
            continue
        request = world.requests[key.subject]
        if queue.shop.candidate is not None:
            compare(world, request, queue.shop.candidate, agent, needed)
        requests.assign(
            world, request, agent, needed, pool.explain(agent, needed, requests.time_of(world, request, agent))
        )
        rest = queue.groups.get(needed)
        if rest:
            heapq.heappush(heads, (rest[0], number, queue, needed, pool))


def _prepared(world: World, shop_id: str) -> Queue | None:
    """The shop's queue under the configuration in force, without stages that wait for somebody who has gone."""
    if shop_id not in world.queues:
        return None
    queue = world.queue(shop_id)
    if queue.unsettled:
        queue.unsettled = False
        for key in list(queue.order):
            requests.settle_stages(world, world.requests[key.subject])
    void = [
        key
        for needed, keys in queue.groups.items()
        if world.void(needed.stage, needed.excluded, queue.shop)
        for key in keys
    ]
    # In the order of the queue: groups stand in that in which this instance happened to meet them.
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
        if limit is None or len(queue.order) <= limit or world.requests.get(request.subject) is not request:
            continue
        conversation = world.conversations[request.subject]
        requests.end(world, conversation, request, Trigger.FULL)
        # Nothing of what was handed over until now is left to anybody: the next message starts anew (contract §4).
        for message in conversation.messages:
            if message.fate is Fate.COUNTED:
                message.fate = Fate.DONE
        world.dirty_conversations.add(request.subject)
