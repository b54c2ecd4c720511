"""The event loop of a simulation, and how agents work. Pure: virtual time only, nothing random.

An agent's conversations share his attention: with ``n`` at once each goes on at ``1 / (1 + slowdown × (n - 1))`` of the pace
that it would have alone. ``Worker`` keeps one clock of that common progress, so a change costs one heap operation whatever
the number of conversations. Work takes an agent longer who is less able (``Traffic.proficiency``).

A customer leaves when his patience ends before somebody has taken him. An agent whose time is over goes ``away``, finishes what
he has, and is ``offline`` then.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from deskline.config.documents import Agent
from deskline_router.simulation.model import Arrival, Traffic


class Given(NamedTuple):
    """The request goes to that agent, or is offered to him."""

    subject: str
    agent_id: str
    assignment_id: str = ""
    offered: bool = False


class Taken(NamedTuple):
    """It is taken from him again, and waits."""

    subject: str
    agent_id: str


class Refused(NamedTuple):
    """The request has ended without the customer's doing: the queue is full."""

    subject: str


Word = Given | Taken | Refused


class Desk(Protocol):
    """Who decides. Every call is one happening at an instant, and answers with what was decided, in order."""

    def online(self, at: int, agent_id: str) -> list[Word]: ...

    def away(self, at: int, agent_id: str) -> list[Word]: ...

    def offline(self, at: int, agent_id: str) -> list[Word]: ...

    def arrive(self, at: int, arrival: Arrival) -> list[Word]: ...

    def accept(self, at: int, given: Given) -> list[Word]: ...

    def close(self, at: int, subject: str) -> list[Word]:
        """The conversation has ended: served, or the customer has gone."""

    def tick(self, at: int) -> list[Word]:
        """``wakes_at`` has come."""

    def wakes_at(self) -> int | None:
        """When it wants to decide although nothing happens."""


class Shift(NamedTuple):
    """The agent is there from ``begin`` to ``end`` (µs)."""

    agent_id: str
    begin: int
    end: int


class Outcome(NamedTuple):
    """What became of an arrival."""

    arrival: Arrival
    agent_id: str | None
    """Who has served him; None: nobody."""
    waited: int
    """µs until he was taken, or left, or was refused."""
    ended: int
    """When; for who is still being served at the end of the simulation, that."""
    refused: bool = False
    moved: int = 0
    """How often he was taken from an agent."""

    @property
    def served(self) -> bool:
        return self.agent_id is not None


class Spent(NamedTuple):
    """An agent's time, µs."""

    agent_id: str
    capacity: int
    there: int
    """From coming to having finished."""
    busy: int
    """With somebody."""
    places: int
    """Sum over his conversations of their lengths: of ``there × capacity`` the part that was taken."""
    served: int


class Result(NamedTuple):
    outcomes: list[Outcome]
    """In the order of arrival."""
    spent: list[Spent]
    queue: list[tuple[int, int]]
    """(instant, waiting) at every minute's first happening."""


_MINUTE: Final = 60_000_000
_ONLINE, _OVER, _ARRIVE, _LEAVE, _ACCEPT, _DONE, _TICK = range(7)


class Worker:
    """One agent at work."""

    __slots__ = ("_factors", "agent", "begun", "busy", "finishing", "going", "live", "places", "served", "since", "there", "version", "virtual")  # fmt: skip

    def __init__(self, agent: Agent, factors: tuple[float, ...]) -> None:
        self.agent = agent
        self._factors = factors
        self.live: dict[str, float] = {}
        """Conversation → progress at which it is done."""
        self.finishing: list[tuple[float, str]] = []
        self.virtual = 0.0
        self.since = 0
        self.version = 0
        self.begun: int | None = None
        self.going = False
        self.there = self.busy = self.places = self.served = 0

    def cost(self, arrival: Arrival) -> float:
        """Work of the arrival for this agent, µs."""
        if not arrival.skills:
            return float(arrival.work)
        least = min(self.agent.skills.get(skill, 0) for skill in arrival.skills)
        return arrival.work * self._factors[least]

    def move_to(self, at: int, slowdown: float) -> None:
        n = len(self.live)
        if n:
            passed = at - self.since
            self.virtual += passed / (1 + slowdown * (n - 1))
            self.busy += passed
            self.places += n * passed
        self.since = at

    def take(self, subject: str, work: float) -> None:
        ends = self.virtual + work
        self.live[subject] = ends
        heapq.heappush(self.finishing, (ends, subject))
        self.version += 1

    def drop(self, subject: str) -> float:
        """What is left of it."""
        self.version += 1
        return max(0.0, self.live.pop(subject) - self.virtual)

    def next_done(self, slowdown: float) -> tuple[int, str] | None:
        while self.finishing and self.live.get(self.finishing[0][1]) != self.finishing[0][0]:
            heapq.heappop(self.finishing)
        if not self.finishing:
            return None
        ends, subject = self.finishing[0]
        left = (ends - self.virtual) * (1 + slowdown * (len(self.live) - 1))
        return self.since + max(0, round(left)), subject


class _Case:
    """A customer on his way."""

    __slots__ = ("arrival", "given", "left", "moved", "waited")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.given: Given | None = None
        self.left: float | None = None
        """Work that remains of a conversation taken from somebody, at the pace of the next one."""
        self.waited: int | None = None
        """Until he was taken first."""
        self.moved = 0


class Simulation:
    """One run. ``watch``: is told every word as it falls."""

    def __init__(
        self,
        desk: Desk,
        agents: Mapping[str, Agent],
        traffic: Traffic,
        watch: Callable[[int, Word], None] | None = None,
    ) -> None:
        self._desk = desk
        self._slowdown = traffic.slowdown
        self._accept = round(traffic.accept_s * 1_000_000)
        self._watch = watch
        self._workers = {name: Worker(agent, traffic.proficiency) for name, agent in agents.items()}
        self._cases: dict[str, _Case] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._happenings: list[tuple[int, int, int, Any]] = []
        self._number = 0
        self._tick: int | None = None
        self._waiting = 0
        self._queue: list[tuple[int, int]] = []

    def run(self, arrivals: Iterable[Arrival], shifts: Sequence[Shift]) -> Result:
        """Until everybody who came has been served or has left, or nobody is there any more."""
        come: Iterator[Arrival] = iter(arrivals)
        for shift in shifts:
            self._push(shift.begin, _ONLINE, shift.agent_id)
            self._push(shift.end, _OVER, shift.agent_id)
        self._next(come)
        now = 0
        while self._happenings:
            now, _, kind, what = heapq.heappop(self._happenings)
            if not self._queue or now // _MINUTE != self._queue[-1][0] // _MINUTE:
                self._queue.append((now, self._waiting))
            if kind == _ARRIVE:
                self._arrive(now, what)
                self._next(come)
            elif kind == _DONE:
                self._done(now, *what)
            elif kind == _LEAVE:
                self._leave(now, what)
            elif kind == _TICK:
                if self._tick == now:
                    self._tick = None
                    self._heed(now, self._desk.tick(now))
            elif kind == _ACCEPT:
                self._accepted(now, what)
            else:
                self._shift(now, kind, what)
            self._wake(now)
        return self._result(now)

    # --- happenings ---------------------------------------------------------------------------------------------

    def _push(self, at: int, kind: int, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._happenings, (at, self._number, kind, what))

    def _next(self, come: Iterator[Arrival]) -> None:
        arrival = next(come, None)
        if arrival is not None:
            self._push(arrival.at, _ARRIVE, arrival)

    def _wake(self, now: int) -> None:
        wakes = self._desk.wakes_at()
        if wakes is None or not (self._cases or self._happenings):
            return
        wakes = max(wakes, now)
        if self._tick is None or wakes < self._tick:
            self._tick = wakes
            self._push(wakes, _TICK, None)

    def _arrive(self, now: int, arrival: Arrival) -> None:
        self._cases[arrival.subject] = _Case(arrival)
        self._waiting += 1
        words = self._desk.arrive(now, arrival)
        self._push(now + arrival.patience, _LEAVE, arrival.subject)
        self._heed(now, words)

    def _leave(self, now: int, subject: str) -> None:
        case = self._cases.get(subject)
        if case is None or case.waited is not None:
            return
        self._waiting -= 1
        del self._cases[subject]
        self._outcomes[subject] = Outcome(case.arrival, None, now - case.arrival.at, now, moved=case.moved)
        self._heed(now, self._desk.close(now, subject))

    def _accepted(self, now: int, given: Given) -> None:
        case = self._cases.get(given.subject)
        if case is None or case.given != given:
            return
        self._begin(now, case, given)
        self._heed(now, self._desk.accept(now, given))

    def _done(self, now: int, agent_id: str, version: int, subject: str) -> None:
        worker = self._workers[agent_id]
        if worker.version != version:
            return
        worker.move_to(now, self._slowdown)
        worker.drop(subject)
        worker.served += 1
        case = self._cases.pop(subject)
        self._outcomes[subject] = Outcome(case.arrival, agent_id, case.waited or 0, now, moved=case.moved)
        self._plan(worker)
        self._heed(now, self._desk.close(now, subject))
        self._gone(now, worker)

    def _shift(self, now: int, kind: int, agent_id: str) -> None:
        worker = self._workers[agent_id]
        if kind == _ONLINE:
            worker.going = False
            if worker.begun is None:
                worker.begun = now
            self._heed(now, self._desk.online(now, agent_id))
        elif worker.begun is not None:
            worker.going = True
            self._heed(now, self._desk.away(now, agent_id))
            self._gone(now, worker)

    def _gone(self, now: int, worker: Worker) -> None:
        """His time is over and he has finished."""
        if worker.going and not worker.live and worker.begun is not None:
            worker.there += now - worker.begun
            worker.begun, worker.going = None, False
            self._heed(now, self._desk.offline(now, worker.agent.agent_id))

    # --- what was decided ---------------------------------------------------------------------------------------

    def _heed(self, now: int, words: Sequence[Word]) -> None:
        for word in words:
            if self._watch is not None:
                self._watch(now, word)
            case = self._cases.get(word.subject)
            if case is None:
                continue
            if isinstance(word, Given):
                case.given = word
                if word.offered:
                    self._push(now + self._accept, _ACCEPT, word)
                else:
                    self._begin(now, case, word)
            elif isinstance(word, Taken):
                self._take_back(now, case)
            else:
                del self._cases[word.subject]
                self._waiting -= 1
                waited = now - case.arrival.at
                self._outcomes[word.subject] = Outcome(case.arrival, None, waited, now, refused=True, moved=case.moved)

    def _begin(self, now: int, case: _Case, given: Given) -> None:
        worker = self._workers[given.agent_id]
        worker.move_to(now, self._slowdown)
        work = worker.cost(case.arrival) if case.left is None else case.left
        worker.take(case.arrival.subject, work)
        self._waiting -= 1
        if case.waited is None:
            case.waited = now - case.arrival.at
        self._plan(worker)

    def _take_back(self, now: int, case: _Case) -> None:
        given, case.given = case.given, None
        worker = None if given is None else self._workers[given.agent_id]
        if worker is not None and case.arrival.subject in worker.live:
            worker.move_to(now, self._slowdown)
            case.left = worker.drop(case.arrival.subject)
            case.moved += 1
            self._waiting += 1
            self._plan(worker)

    def _plan(self, worker: Worker) -> None:
        done = worker.next_done(self._slowdown)
        if done is not None:
            at, subject = done
            self._push(at, _DONE, (worker.agent.agent_id, worker.version, subject))

    # --- the end ------------------------------------------------------------------------------------------------

    def _result(self, now: int) -> Result:
        for case in self._cases.values():
            waited = now - case.arrival.at if case.waited is None else case.waited
            who = case.given.agent_id if case.given is not None and case.waited is not None else None
            self._outcomes[case.arrival.subject] = Outcome(case.arrival, who, waited, now, moved=case.moved)
        spent = []
        for name, worker in sorted(self._workers.items()):
            if worker.begun is not None:
                worker.move_to(now, self._slowdown)
                worker.there += now - worker.begun
            spent.append(Spent(name, worker.agent.capacity, worker.there, worker.busy, worker.places, worker.served))
        outcomes = sorted(self._outcomes.values(), key=lambda one: (one.arrival.at, one.arrival.subject))
        return Result(outcomes, spent, self._queue)
