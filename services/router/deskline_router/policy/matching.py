"""Who gets which waiting request: the queues' heads against the agents who are free. Pure.

Requests are served in one order over all shops (priority, then the longest wait), because agents may serve several. A
request whose stage admits nobody who is free does not hold up those behind it. Among the admitted the least loaded
relative to capacity is chosen, then the one who has gone longest without a new conversation, then the smaller id; who
refused this request or handed it on comes after everybody else.

Cost: per shop with something to do, one pass over its agents and one over its free agents for each group of equal
requirements; per assignment, a heap operation. Queues are never walked.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from deskline_router.model import SECOND, Agent, Fate, Shop, State, Status
from deskline_router.policy import requests
from deskline_router.policy.steps import Requirement, shortfall
from deskline_router.policy.table import Trigger
from deskline_router.policy.world import Key, Queue, World

_CANDIDATES: Final = 5
"""Agents named in an explanation: enough to see the choice was close, few enough for a record's size."""


class Score(NamedTuple):
    """Smaller is better."""

    last: bool
    load: float
    last_assigned_at: int
    agent_id: str


class Free(NamedTuple):
    """A shop's agents who could take one more, and how many could not for which reason."""

    agents: list[Agent]
    unavailable: Counter[str]


class Pool:
    """The free agents whom one group admits, best first; kept right while matching fills them up."""

    def __init__(self, world: World, shop: Shop, free: Free, needed: Requirement, filled: list[str]) -> None:
        self._world = world
        self._filled = filled
        self._filled_known = len(filled)
        self.considered = len(shop.agents)
        self.rejected = Counter(free.unavailable)
        self._short: list[tuple[str, str]] = []
        self._last = frozenset(needed.last)
        self._heap: list[Score] = []
        for agent in free.agents:
            failed = shortfall(shop.agents[agent.agent_id], needed)
            if failed is None:
                self._heap.append(self._score(agent))
            else:
                self.rejected[failed] += 1
                if len(self._short) < _CANDIDATES:
                    self._short.append((agent.agent_id, failed))
        heapq.heapify(self._heap)
        self._members = {score.agent_id for score in self._heap}
        self._eligible = len(self._members)

    def _score(self, agent: Agent) -> Score:
        # Free means load < capacity, so capacity is at least 1.
        load = agent.load / self._world.capacity(agent)
        return Score(agent.agent_id in self._last, load, agent.last_assigned_at, agent.agent_id)

    def best(self) -> Agent | None:
        """Scores only get worse while matching goes on, so a stale head is put back where it now belongs."""
        while self._heap:
            head = self._heap[0]
            agent = self._world.agents[head.agent_id]
            if not self._world.has_room(agent):
                heapq.heappop(self._heap)
                continue
            fresh = self._score(agent)
            if fresh == head:
                return agent
            heapq.heapreplace(self._heap, fresh)
        return None

    def explain(self, agent: Agent, needed: Requirement, at: int) -> dict[str, Any]:
        """Why ``agent``, whom ``best`` has just named."""
        self._count_filled()
        score = self._heap[0]
        parts = {"load": round(score.load, 6), "last": int(score.last)}
        if score.last_assigned_at:
            parts["idle_s"] = max(0, at - score.last_assigned_at) / SECOND
        return {
            "relaxed": list(needed.relaxed),
            "agent_state_id": agent.online_id,
            "considered": self.considered,
            "eligible": self._eligible,
            "rejected": dict(sorted(self.rejected.items())),
            "chosen": {"score_parts": parts},
            "candidates": list(self._candidates()),
        }

    def _count_filled(self) -> None:
        """Of those admitted, whom matching has filled up since this was last asked."""
        for agent_id in self._filled[self._filled_known :]:
            if agent_id in self._members:
                self._eligible -= 1
                self.rejected["full"] += 1
        self._filled_known = len(self._filled)

    def _candidates(self) -> Iterator[dict[str, Any]]:
        for score in sorted(self._heap[:_CANDIDATES]):
            yield {"agent_id": score.agent_id, "score": round(score.load, 6)}
        for agent_id, failed in self._short[: _CANDIDATES - min(_CANDIDATES, len(self._heap))]:
            yield {"agent_id": agent_id, "failed": failed}


def match(world: World) -> None:
    """Assign everything that can be assigned in the queues that may have changed, and take their marks off."""
    heads: list[tuple[Key, int, Queue, Requirement, Pool]] = []
    filled: list[str] = []
    """Agents who got their last free place here, in order."""
    for shop_id in sorted(world.pending_shops):
        queue = _prepared(world, shop_id)
        if queue is None:
            continue
        free = _free(world, queue.shop)
        if not free.agents:
            continue
        for needed, keys in queue.groups.items():
            heads.append((keys[0], len(heads), queue, needed, Pool(world, queue.shop, free, needed, filled)))
    world.pending_shops.clear()
    heapq.heapify(heads)
    while heads:
        key, number, queue, needed, pool = heapq.heappop(heads)
        agent = pool.best()
        if agent is None:
            continue
        request = world.requests[key.subject]
        requests.assign(
            world, request, agent, needed, pool.explain(agent, needed, requests.time_of(world, request, agent))
        )
        if not world.has_room(agent):
            filled.append(agent.agent_id)
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
    for needed, keys in list(queue.groups.items()):
        if needed.stage.agent is None and not needed.stage.void:
            continue
        for key in list(keys):
            request = world.requests[key.subject]
            if world.void(needed.stage, request, queue.shop):
                requests.skip_void_stage(world, request)
    return world.queues[shop_id]


def _free(world: World, shop: Shop) -> Free:
    free: list[Agent] = []
    unavailable: Counter[str] = Counter()
    for agent_id in shop.agents:
        agent = world.agents.get(agent_id)
        if agent is None:
            unavailable["offline"] += 1
        elif agent.status is not Status.ONLINE:
            unavailable[agent.status.value] += 1
        elif agent.paused:
            unavailable["paused"] += 1
        elif not world.has_room(agent):
            unavailable["full"] += 1
        else:
            free.append(agent)
    return Free(free, unavailable)


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
