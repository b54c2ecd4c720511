"""Who could take one more, and who is able to do what, as bit masks over all agents. Pure.

Each agent has a bit. *Free* (online, not paused, with room) changes with every assignment; what an agent is able to do
changes with the configuration only, so per team and stage it is worked out once. Whether anybody free is able is then
one ``&``, whatever the number of agents: that is what matching asks of every group of waiting requests.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from deskline.config.documents import Agent as AgentConfig
from deskline_router.model import Agent, Status
from deskline_router.policy.steps import Stage, shortfall

Team = Mapping[str, AgentConfig]
"""The agents of a shop; shops without an own document share one object."""

_ABILITIES_KEPT: Final = 20_000
"""Pairs of team and stage; a deployment has some thousands."""


class Ability(NamedTuple):
    able: int
    short: tuple[tuple[str, int], ...]
    """(first condition not met, those who do not meet it)"""
    named: tuple[tuple[str, str, int], ...]
    """(agent, the condition, his bit), by name: bits are numbered in the order in which agents came."""


class Roster:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self.free = self._away = self._paused = self._full = 0
        """Disjoint; who is in none of them is offline."""
        self._teams: dict[int, tuple[Team, int]] = {}
        self._abilities: dict[tuple[int, Stage], Ability] = {}

    def note(self, agent: Agent, capacity: int) -> None:
        """Must be called whenever his status, pause, load or capacity has changed."""
        bit = self._bit(agent.agent_id)
        self.free &= ~bit
        self._away &= ~bit
        self._paused &= ~bit
        self._full &= ~bit
        if agent.status is Status.AWAY:
            self._away |= bit
        elif agent.status is not Status.ONLINE:
            return
        elif agent.paused:
            self._paused |= bit
        elif agent.load >= capacity:
            self._full |= bit
        else:
            self.free |= bit

    def ability(self, team: Team, stage: Stage) -> Ability:
        # By identity: the team is kept, so that its id is not used again.
        key = (id(team), stage)
        found = self._abilities.get(key)
        if found is None:
            if len(self._abilities) >= _ABILITIES_KEPT:
                self._abilities.clear()
                self._teams.clear()
            self.members(team)
            found = self._abilities[key] = self._judge(team, stage)
        return found

    def _judge(self, team: Team, stage: Stage) -> Ability:
        able = 0
        short: dict[str, int] = {}
        named = []
        for agent_id in sorted(team):
            failed, bit = shortfall(team[agent_id], stage), self._bit(agent_id)
            if failed is None:
                able |= bit
            else:
                short[failed] = short.get(failed, 0) | bit
                named.append((agent_id, failed, bit))
        return Ability(able, tuple(sorted(short.items())), tuple(named))

    def members(self, team: Team) -> int:
        known = self._teams.get(id(team))
        if known is None:
            known = self._teams[id(team)] = (team, self.mask(team))
        return known[1]

    def unavailable(self, members: int) -> Iterator[tuple[str, int]]:
        """Why those of them who are not free are not: (reason, how many)."""
        reached = self.free | self._away | self._paused | self._full
        yield "offline", (members & ~reached).bit_count()
        yield "away", (members & self._away).bit_count()
        yield "paused", (members & self._paused).bit_count()
        yield "full", (members & self._full).bit_count()

    def mask(self, agent_ids: Iterable[str]) -> int:
        found = 0
        for agent_id in agent_ids:
            found |= self._bit(agent_id)
        return found

    def names(self, mask: int) -> Iterator[str]:
        while mask:
            lowest = mask & -mask
            yield self._names[lowest.bit_length() - 1]
            mask ^= lowest

    def _bit(self, agent_id: str) -> int:
        number = self._numbers.get(agent_id)
        if number is None:
            number = self._numbers[agent_id] = len(self._names)
            self._names.append(agent_id)
        return 1 << number
