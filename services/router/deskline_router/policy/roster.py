"""Who could take one more, who is able to do what, and who is next among them. Pure.

Each agent has a number and a bit. *Free* (online, not paused, with room) changes with every assignment; what an agent is able
to do changes with the configuration only, so per team and stage it is worked out once. Whether anybody free is able is then
one ``&``, whatever the number of agents: that is what matching asks of every group of waiting requests.

A *bench* is the order in which those who are able would be chosen: a heap for one team, stage and weighting, which lives on
from unit to unit. Agents who have changed since it was last asked are put in anew (``_log``); what is out of date in it is
thrown away when it comes up. So a decision costs some heap operations, whatever the number of agents. The order depends on
nothing but the agents' rows and the configuration: instances with other heaps choose alike.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from deskline.config.documents import Agent as AgentConfig
from deskline.config.routing_document import GRADES, Choice
from deskline_router.model import Agent, Status
from deskline_router.policy.steps import Shortfall, Stage, shortfall

Team = Mapping[str, AgentConfig]
"""The agents of a shop; shops without an own document share one object."""

_ABILITIES_KEPT: Final = 20_000
"""Pairs of team and stage; a deployment has some thousands."""
_BENCHES_KEPT: Final = 2_000
"""Heaps over all who are able; one of 2 000 agents has 400 kB."""
_LOG_KEPT: Final = 65_536
"""Changes remembered; a bench that has not been asked for longer is built anew, which is as cheap by then."""
_FEW: Final = 32
"""So many names are sooner sorted than looked for in a large team's."""
_CALLED: Final = 1_000.0
"""Taken off the cost of who was called: more than load and surplus at their greatest weights."""
_SKILLS: Final = 20
"""Points of proficiency beyond what is asked for that count as the most there is to spare: four skills of an expert."""


class Ability(NamedTuple):
    able: int
    short: tuple[tuple[str, int], ...]
    """(first condition not met, those who do not meet it)"""
    named: tuple[tuple[str, Shortfall, int], ...]
    """(agent, the condition, his bit), by name: bits are numbered in the order in which agents came."""
    surplus: Mapping[str, float]
    """Agent → 0..1, what he can beyond what is asked for."""
    called: frozenset[str]
    """Those of them whom the SLA has called."""


class Place(NamedTuple):
    """An agent's place on a bench: the smallest is chosen. No part changes while the agent does not."""

    cost: float
    busy_until: int
    last_assigned_at: int
    agent_id: str
    number: int
    stamp: int
    """Of the agent when this was worked out; an older one is out of date."""


class Roster:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._agents: list[Agent | None] = []
        self._capacity: list[int] = []
        self._stamps: list[int] = []
        self._log: list[int] = []
        self._logged = 0
        """Changes before those in the log."""
        self.free = self._away = self._paused = self._full = 0
        """Disjoint; who is in none of them is offline."""
        self._channel_full: dict[str, int] = {}
        """Channel → those who have as many of it as they may; free or not."""
        self._teams: dict[int, tuple[Team, int]] = {}
        self._by_name: dict[int, tuple[Team, tuple[tuple[str, int], ...]]] = {}
        """The bits of a team, in the order of names."""
        self._abilities: dict[tuple[int, Stage], Ability] = {}
        self._benches: dict[tuple[int, Stage, Choice, str | None], Bench] = {}

    def note(self, agent: Agent, capacity: int, room: bool, limits: Mapping[str, int] | None) -> None:
        """Must be called whenever his status, pause, load, capacity or last assignment has changed.

        ``limits``: channel → conversations of it at the same time.
        """
        bit = self._bit(agent.agent_id)
        number = self._numbers[agent.agent_id]
        self._agents[number] = agent
        self._capacity[number] = capacity
        self._stamps[number] += 1
        self._changed(number)
        self.free &= ~bit
        self._away &= ~bit
        self._paused &= ~bit
        self._full &= ~bit
        for channel, limit in (limits or {}).items():
            full = self._channel_full.get(channel, 0) & ~bit
            self._channel_full[channel] = full | bit if agent.channels.get(channel, 0) >= limit else full
        if agent.status is Status.AWAY:
            self._away |= bit
        elif agent.status is not Status.ONLINE:
            return
        elif agent.paused:
            self._paused |= bit
        elif not room:
            self._full |= bit
        else:
            self.free |= bit

    def _changed(self, number: int) -> None:
        self._log.append(number)
        if len(self._log) > 2 * _LOG_KEPT:
            del self._log[:_LOG_KEPT]
            self._logged += _LOG_KEPT

    def since(self, change: int) -> list[int] | None:
        """Numbers of those who have changed after so many changes; None: not remembered that far back."""
        if change < self._logged:
            return None
        return self._log[change - self._logged :]

    @property
    def changes(self) -> int:
        return self._logged + len(self._log)

    def fits(self, channel: str | None) -> int:
        """Those who are free and may have one more of that channel."""
        return self.free if channel is None else self.free & ~self._channel_full.get(channel, 0)

    def channel_full(self, channel: str | None) -> int:
        return 0 if channel is None else self._channel_full.get(channel, 0)

    def at(self, number: int) -> tuple[Agent | None, int, int]:
        """(the agent, his capacity, his stamp)"""
        return self._agents[number], self._capacity[number], self._stamps[number]

    def stamp(self, number: int) -> int:
        return self._stamps[number]

    # --- abilities ----------------------------------------------------------------------------------------------

    def ability(self, team: Team, stage: Stage) -> Ability:
        # By identity: the team is kept, so that its id is not used again.
        key = (id(team), stage)
        found = self._abilities.get(key)
        if found is None:
            if len(self._abilities) >= _ABILITIES_KEPT:
                self._abilities.clear()
                self._benches.clear()
                self._teams.clear()
                self._by_name.clear()
            self.members(team)
            found = self._abilities[key] = self._judge(team, stage)
        return found

    def _judge(self, team: Team, stage: Stage) -> Ability:
        able = 0
        short: dict[str, int] = {}
        named = []
        surplus = {}
        called = frozenset(agent_id for agent_id, agent in team.items() if agent.grade in stage.called)
        for agent_id in sorted(team):
            failed, bit = shortfall(team[agent_id], stage), self._bit(agent_id)
            if failed is None:
                able |= bit
                surplus[agent_id] = _surplus(team[agent_id], stage)
            else:
                short[failed.reason] = short.get(failed.reason, 0) | bit
                named.append((agent_id, failed, bit))
        return Ability(able, tuple(sorted(short.items())), tuple(named), surplus, called)

    def bench(self, team: Team, stage: Stage, choice: Choice, channel: str | None) -> "Bench":
        key = (id(team), stage, choice, channel)
        found = self._benches.get(key)
        if found is None:
            if len(self._benches) >= _BENCHES_KEPT:
                self._benches.clear()
            ability = self.ability(team, stage)
            found = self._benches[key] = Bench(self, ability, choice, channel)
        return found

    def members(self, team: Team) -> int:
        known = self._teams.get(id(team))
        if known is None:
            known = self._teams[id(team)] = (team, self.mask(team))
        return known[1]

    def unavailable(self, members: int) -> Iterator[tuple[str, int]]:
        """Why those of them who are not free are not: (reason, who)."""
        reached = self.free | self._away | self._paused | self._full
        yield "full", members & self._full
        yield "paused", members & self._paused
        yield "away", members & self._away
        yield "offline", members & ~reached

    def mask(self, agent_ids: Iterable[str]) -> int:
        found = 0
        for agent_id in agent_ids:
            found |= self._bit(agent_id)
        return found

    def bit(self, agent_id: str) -> int:
        return self._bit(agent_id)

    def names(self, mask: int) -> Iterator[str]:
        while mask:
            lowest = mask & -mask
            yield self._names[lowest.bit_length() - 1]
            mask ^= lowest

    def first_names(self, team: Team, mask: int, most: int) -> list[str]:
        """Of those of the team the first by name: bits are numbered in the order in which an instance happened to meet agents,
        which must not show.
        """
        if mask.bit_count() <= _FEW:
            return sorted(name for name in self.names(mask) if name in team)[:most]
        known = self._by_name.get(id(team))
        if known is None:
            known = self._by_name[id(team)] = (team, tuple((name, self._bit(name)) for name in sorted(team)))
        return list(islice((name for name, bit in known[1] if mask & bit), most))

    def _bit(self, agent_id: str) -> int:
        number = self._numbers.get(agent_id)
        if number is None:
            number = self._numbers[agent_id] = len(self._names)
            self._names.append(agent_id)
            self._agents.append(None)
            self._capacity.append(0)
            self._stamps.append(0)
        return 1 << number


class Bench:
    """``allowed`` in its questions: who may be chosen at all by the hour and the surge. It rarely changes."""

    def __init__(self, roster: Roster, ability: Ability, choice: Choice, channel: str | None) -> None:
        self._roster = roster
        self._ability = ability
        self._choice = choice
        self._channel = channel
        self._heap: list[Place] = []
        self._allowed = -1
        self._change = -1

    def best(self, allowed: int, excluded: int, last: int) -> Place | None:
        """Of those who are free; of ``last`` only where there is nobody else."""
        heap = self._up_to_date(allowed)
        fits = self._roster.fits(self._channel)
        aside: list[Place] = []
        found = fallback = None
        while heap:
            place = heap[0]
            bit = 1 << place.number
            if place.stamp != self._roster.stamp(place.number) or not fits & bit:
                heapq.heappop(heap)
                continue
            if not excluded & bit:
                if not last & bit:
                    found = place
                    break
                fallback = fallback or place
            aside.append(heapq.heappop(heap))
        for place in aside:
            heapq.heappush(heap, place)
        return found or fallback

    def first(self, count: int, allowed: int, excluded: int) -> list[Place]:
        """The best ``count`` of those who are free, in order."""
        heap = self._up_to_date(allowed)
        fits = self._roster.fits(self._channel) & ~excluded
        aside: list[Place] = []
        found: list[Place] = []
        while heap and len(found) < count:
            place = heapq.heappop(heap)
            if place.stamp != self._roster.stamp(place.number):
                continue
            aside.append(place)
            if fits & (1 << place.number):
                found.append(place)
        for place in aside:
            heapq.heappush(heap, place)
        return found

    def _up_to_date(self, allowed: int) -> list[Place]:
        changed = self._roster.since(self._change) if allowed == self._allowed else None
        if changed is not None and len(changed) > 4 * len(self._heap) + 64:
            changed = None
        able = self._ability.able & allowed
        fits = self._roster.fits(self._channel)
        if changed is None:
            self._allowed = allowed
            self._heap = [self._place(number) for number in _numbers(able & fits)]
            heapq.heapify(self._heap)
        else:
            for number in dict.fromkeys(changed):
                if able & fits & (1 << number):
                    heapq.heappush(self._heap, self._place(number))
        self._change = self._roster.changes
        return self._heap

    def _place(self, number: int) -> Place:
        agent, capacity, stamp = self._roster.at(number)
        assert agent is not None  # free, so noted, and his capacity is at least 1
        load, surplus = agent.taken / (100 * capacity), self._ability.surplus[agent.agent_id]
        # Rounded, so that equals are equal whatever the order of the sums.
        cost = round(self._choice.load * load + self._choice.surplus * surplus, 9)
        if agent.agent_id in self._ability.called:
            cost -= _CALLED
        return Place(cost, agent.busy_until, agent.last_assigned_at, agent.agent_id, number, stamp)


def _surplus(agent: AgentConfig, stage: Stage) -> float:
    """Half of it skills, half of it grade."""
    stage = stage.asked_of(agent)
    asked = sum(proficiency for _, proficiency in stage.skills)
    skills = min(_SKILLS, sum(agent.skills.values()) - asked) / _SKILLS
    lowest = min((GRADES.index(grade) for grade in stage.grades or () if grade in GRADES), default=0)
    grade = (GRADES.index(agent.grade) - lowest) / (len(GRADES) - 1)
    return (skills + grade) / 2


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
