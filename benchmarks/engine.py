"""How many requests the router's engine decides on one core, and how that grows: the pure core alone, encoding included.

``routing_engine_decisions``: 500 agents online, requests that come, are assigned and closed, in units of 64 events as the service
takes them under load; and ``routing_engine_single``: each event a unit of its own. ``routing_engine_backlog``: 2 000 agents who are all
busy and 20 000 who wait; one conversation ends, and the freed agent gets the request that comes next. Beside each the naive
loop of the same minute, which looks at every agent for a request, and at every waiting request for a freed agent, by the
same scores, and tells nothing; and ``routing_engine_growth``: what a decision costs there against 500 agents and 5 000 who wait.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from benchmarks.figures import Figures, Floor
from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.book import ConfigBook
from deskline.config.documents import (
    Agent,
    AgentsDocument,
    LimitsDocument,
    RoutingDocument,
    RoutingRule,
    SlaDocument,
    Step,
    default_document,
)
from deskline.config.routing_document import GRADES, Notices
from deskline.events.models import ConversationClosed, HandoverRequested
from deskline.events.wire import new
from deskline.records import CONVERSATIONS, REPLIES, Event
from deskline_router.catalog import BookCatalog
from deskline_router.model import Conversation, Input, Request, Status
from deskline_router.policy import StatusChange, Unit, World, decide
from deskline_router.telling import id_of, output

SKILLS: Final = tuple(f"skill-{n}" for n in range(12))
PRIORITIES: Final = (50, 50, 50, 60, 80)
_START: Final = parse_rfc3339("2026-11-25T09:00:00Z")
_UNIT: Final = 64
_ROUNDS: Final = 5
_DECISIONS: Final = 3_000
_NAIVE: Final = 300


class Desk:
    """A shop of ``agents``, each with some of the skills; time goes on by a millisecond an event."""

    def __init__(self, agents: int, capacity: int) -> None:
        r = random.Random(agents)
        self.team = [
            Agent(
                agent_id=f"a{n:05}",
                skills={skill: r.randint(1, 5) for skill in r.sample(SKILLS, 4)},
                grade=GRADES[min(3, n % 7)],
                capacity=capacity,
            )
            for n in range(agents)
        ]
        rule = RoutingRule(
            rule_id="r", steps=(Step(proficiency=3, wait_s=30), Step(wait_s=60), Step(keep_skills=False))
        )
        book = ConfigBook()
        book.install("_default", "agents", AgentsDocument(agents=tuple(self.team)))
        book.install("_default", "routing", RoutingDocument(rules=(rule,), notices=Notices(position_every_s=None)))
        book.install("_default", "limits", LimitsDocument())
        book.install("_default", "sla", SlaDocument())
        book.install("_default", "calendars", default_document("calendars"))
        self.catalog = BookCatalog(book)
        self.now = _START
        self.catalog.move_to(self.now)
        self.world = World(self.catalog)
        self.states: dict[str, Conversation] = {}
        self.told = 0
        self._offset = 0
        self._random = r
        statuses = [
            StatusChange(agent.agent_id, Status.ONLINE, None, f"s{n}", self.now, n, f"agents.v1/0/{n}")
            for n, agent in enumerate(self.team)
        ]
        decide(self.world, Unit(now=self.now, statuses=statuses, agents_fresh=True))

    def arrival(self, subject: str) -> Event:
        data = new(
            HandoverRequested,
            shop_id="shop-1",
            rules_version=1,
            routing_offset=0,
            message_id="m1",
            waiting_since=rfc3339(self.now),
            reason="no_match",
            skills=(self._random.choice(SKILLS),),
            priority=self._random.choice(PRIORITIES),
            flags=(),
        )
        return self._event(REPLIES, "handover.requested.v1", subject, data)

    def close(self, subject: str) -> Event:
        data = new(ConversationClosed, shop_id="shop-1", resolved=True)
        return self._event(CONVERSATIONS, "conversation.closed.v1", subject, data)

    def _event(self, topic: str, kind: str, subject: str, data: Any) -> Event:
        self._offset += 1
        self.now += 1000
        return Event(kind, f"e{self._offset}", "/x", subject, self.now, False, data, topic, 0, self._offset, self.now)

    def unit(self, events: Sequence[Event]) -> None:
        world = self.world
        world.conversations = {e.subject: self.states.setdefault(e.subject, Conversation()) for e in events}
        items = [(0, Input(e, e.at if e.topic == REPLIES else None)) for e in events]
        decide(world, Unit(now=self.now, events=items, agents_fresh=True))
        for emission in world.emissions:
            output(emission, id_of(emission))
            self.told += emission.type.value == "conversation.assigned.v1"


def measure(figures: Figures) -> None:
    _arrivals(figures)
    _backlog(figures)


def _arrivals(figures: Figures) -> None:
    desk = Desk(500, 5)
    names = (f"c{n}" for n in range(10**9))
    live: list[str] = []
    for subject in (next(names) for _ in range(1500)):
        desk.unit([desk.arrival(subject)])
        live.append(subject)

    def run(size: int, count: int) -> float:
        before = desk.told
        events: list[Event] = []
        started = time.process_time()
        for _ in range(count):
            subject = next(names)
            live.append(subject)
            events += [desk.arrival(subject), desk.close(live.pop(0))]
            if len(events) >= size:
                desk.unit(events)
                events = []
        return (desk.told - before) / (time.process_time() - started)

    naive = _median(lambda: _naive_choices(desk, _NAIVE))
    floor = Floor("≥ 3 000/s", lambda value, _: value >= 3_000)
    figures.show(
        "routing_engine_decisions", [run(_UNIT, _DECISIONS) for _ in range(_ROUNDS)], "decisions/s",
        baseline=naive, floor=floor, agents=500, events=_UNIT,
    )  # fmt: skip
    figures.show(
        "routing_engine_single", [run(1, _DECISIONS) for _ in range(_ROUNDS)], "decisions/s",
        baseline=naive, agents=500, events=1,
    )  # fmt: skip


def _backlog(figures: Figures) -> None:
    large, naive = _drained(2_000, 20_000)
    small, _ = _drained(500, 5_000)
    figures.show("routing_engine_backlog", large, "decisions/s", baseline=naive, agents=2_000, waiting=20_000)
    growth = sorted(small)[len(small) // 2] / sorted(large)[len(large) // 2]
    figures.show(
        "routing_engine_growth", [growth], "x",
        floor=Floor("≤ 2 x for 16 x as many pairs", lambda value, _: value <= 2), agents="500 to 2 000",
    )  # fmt: skip


def _drained(agents: int, waiting: int) -> tuple[list[float], float]:
    desk = Desk(agents, 1)
    for first in range(0, agents + waiting, 500):
        desk.unit([desk.arrival(f"c{n}") for n in range(first, min(first + 500, agents + waiting))])
    count = agents // _ROUNDS // 2
    naive = _median(lambda: _naive_picks(desk, 20))
    rates = []
    for _ in range(_ROUNDS):
        held = [next(iter(live)) for live in desk.world.live.values() if live][:count]
        before, started = desk.told, time.process_time()
        for subject in held:
            desk.unit([desk.close(subject)])
        rates.append((desk.told - before) / (time.process_time() - started))
    return rates, naive


# --- the naive loop ---------------------------------------------------------------------------------------------------


def _naive_choices(desk: Desk, count: int) -> float:
    """For each of ``count`` requests the best of all agents."""
    wanted = [(desk._random.choice(SKILLS), 3) for _ in range(count)]  # noqa: SLF001
    started = time.process_time()
    for skill, least in wanted:
        min(_places(desk, skill, least), default=None)
    return count / (time.process_time() - started)


def _places(desk: Desk, skill: str, least: int) -> Iterator[tuple[float, int, int, str]]:
    for config in desk.team:
        agent = desk.world.agents[config.agent_id]
        if agent.status is not Status.ONLINE or agent.paused or agent.taken + 100 > 100 * config.capacity:
            continue
        has = config.skills.get(skill)
        if has is None or has < least:
            continue
        surplus = min(20, sum(config.skills.values()) - least) / 20 + GRADES.index(config.grade) / 3
        cost = agent.taken / (100 * config.capacity) + 0.1 * surplus
        yield cost, agent.busy_until, agent.last_assigned_at, config.agent_id


def _naive_picks(desk: Desk, count: int) -> float:
    """For each of ``count`` freed agents the request of the highest index of all that wait."""
    started = time.process_time()
    for config in desk.team[:count]:
        max(_indices(desk, config), default=None)
    return count / (time.process_time() - started)


def _indices(desk: Desk, config: Agent) -> Iterator[tuple[float, str]]:
    for request in desk.world.requests.values():
        if request.live or not _able(config, request):
            continue
        weight = 2 ** ((request.priority - 50) / 10)
        yield weight * (0.5 + (desk.now - request.waiting_since) / (180 * SECOND)), request.request_id


def _able(config: Agent, request: Request) -> bool:
    least = 3 if request.step == 0 else 1
    return all(config.skills.get(skill, 0) >= least for skill in request.skills)


def _median(measured: Callable[[], float]) -> float:
    return sorted(measured() for _ in range(_ROUNDS))[_ROUNDS // 2]
