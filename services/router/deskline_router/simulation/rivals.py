"""What other systems do, as desks: one queue, first come first served, and one way to choose among those who are free. Pure.

They know skills as departments do: who has one at all may take a request for it, and nobody else ever; ``departments=False``:
anybody takes anything. They know neither proficiency nor steps. ``strict_priority`` serves complaints first, then VIPs, then
high spenders, then the others, and gives to who has been idle longest.
"""

import heapq
from collections.abc import Iterable
from typing import Final, Literal

from deskline.config.documents import Agent
from deskline_router.simulation.engine import Given, Word
from deskline_router.simulation.model import Arrival

Rival = Literal["longest_idle", "least_loaded", "strict_priority", "round_robin"]
RIVALS: Final[tuple[Rival, ...]] = ("longest_idle", "least_loaded", "strict_priority", "round_robin")
_RANKS: Final = {"vip": 1, "high_spend": 2}
_OTHERS: Final = 3


class RivalDesk:
    def __init__(self, rival: Rival, agents: Iterable[Agent], *, departments: bool = True) -> None:
        self._rival = rival
        self._agents = {agent.agent_id: agent for agent in agents}
        self._departments = departments
        self._known = {skill for agent in self._agents.values() for skill in agent.skills}
        self._there: dict[str, int] = {}
        """Agent → conversations; only of those who are online."""
        self._held: dict[str, tuple[str, Arrival]] = {}
        self._load: dict[str, int] = dict.fromkeys(self._agents, 0)
        self._last: dict[str, int] = dict.fromkeys(self._agents, 0)
        self._turn = 0
        self._numbers = {name: number for number, name in enumerate(sorted(self._agents))}
        self._waiting: dict[str, Arrival] = {}
        self._queues: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}
        self._came = 0

    def online(self, at: int, agent_id: str) -> list[Word]:
        self._there[agent_id] = self._load[agent_id]
        return self._fill(at, agent_id)

    def away(self, at: int, agent_id: str) -> list[Word]:  # noqa: ARG002 - the port
        self._there.pop(agent_id, None)
        return []

    def offline(self, at: int, agent_id: str) -> list[Word]:
        return self.away(at, agent_id)

    def arrive(self, at: int, arrival: Arrival) -> list[Word]:
        asked = tuple(skill for skill in arrival.skills if skill in self._known) if self._departments else ()
        free = [name for name, load in self._there.items() if self._takes(name, load, asked)]
        if free:
            return [self._give(at, arrival, min(free, key=self._order))]
        self._came += 1
        self._waiting[arrival.subject] = arrival
        heapq.heappush(self._queues.setdefault(asked, []), (self._rank(arrival), self._came, arrival.subject))
        return []

    def accept(self, at: int, given: Given) -> list[Word]:
        raise NotImplementedError("rivals make no offers")

    def close(self, at: int, subject: str) -> list[Word]:
        if self._waiting.pop(subject, None) is not None:
            return []
        agent_id, _ = self._held.pop(subject)
        self._load[agent_id] -= 1
        self._last[agent_id] = at
        if agent_id not in self._there:
            return []
        self._there[agent_id] = self._load[agent_id]
        return self._fill(at, agent_id)

    def tick(self, at: int) -> list[Word]:  # noqa: ARG002 - the port
        return []

    def wakes_at(self) -> int | None:
        return None

    # --- choosing -----------------------------------------------------------------------------------------------

    def _takes(self, name: str, load: int, asked: tuple[str, ...]) -> bool:
        agent = self._agents[name]
        return load < agent.capacity and all(skill in agent.skills for skill in asked)

    def _order(self, name: str) -> tuple[float, float]:
        if self._rival == "least_loaded":
            return self._load[name] / self._agents[name].capacity, self._last[name]
        if self._rival == "round_robin":
            return (self._numbers[name] - self._turn) % len(self._numbers), 0
        return self._last[name], self._numbers[name]

    def _rank(self, arrival: Arrival) -> int:
        if self._rival != "strict_priority":
            return 0
        return 0 if "complaint" in arrival.flags else _RANKS.get(arrival.tier or "", _OTHERS)

    def _give(self, at: int, arrival: Arrival, name: str) -> Given:
        self._held[arrival.subject] = name, arrival
        self._load[name] += 1
        self._there[name] = self._load[name]
        self._last[name] = at
        self._turn = self._numbers[name] + 1
        return Given(arrival.subject, name)

    def _fill(self, at: int, name: str) -> list[Word]:
        given: list[Word] = []
        while (head := self._head(name)) is not None:
            queue = self._queues[head]
            _, _, subject = heapq.heappop(queue)
            given.append(self._give(at, self._waiting.pop(subject), name))
        return given

    def _head(self, name: str) -> tuple[str, ...] | None:
        """The queue whose first is next for this agent."""
        best: tuple[tuple[int, int, str], tuple[str, ...]] | None = None
        for asked, queue in self._queues.items():
            while queue and queue[0][2] not in self._waiting:
                heapq.heappop(queue)
            if queue and self._takes(name, self._load[name], asked) and (best is None or queue[0] < best[0]):
                best = queue[0], asked
        return None if best is None else best[1]
