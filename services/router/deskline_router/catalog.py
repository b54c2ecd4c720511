"""``model.Catalog`` over the configuration book: what is in force at the instant of a unit of work."""

from collections.abc import Mapping
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from deskline.calendars import Hours
from deskline.config.book import ConfigBook, Serving, Versioned
from deskline.config.documents import (
    Agent,
    AgentsDocument,
    CalendarsDocument,
    LimitsDocument,
    RoutingDocument,
    SlaDocument,
)
from deskline_router.model import Shop
from deskline_router.policy.people import qualified

_SHOPS_KEPT = 20_000


class _Parts(NamedTuple):
    routing: Versioned
    limits: Versioned
    agents: Versioned
    calendars: Versioned
    sla: Versioned


class BookCatalog:
    """Keeps what it has compiled for as long as no version comes into force."""

    def __init__(self, book: ConfigBook) -> None:
        self._book = book
        self._at = 0
        self._from, self._until = 0, 0
        self._generation = -1
        self._current: dict[str, Shop] = {}
        self._compiled: dict[str, tuple[_Parts, Shop]] = {}
        self._agents: dict[int, tuple[Versioned, dict[str, Agent]]] = {}
        """By the identity of the version, which is kept alive here: shops without their own share one."""
        self._all: dict[str, Serving] = {}

    def move_to(self, now: int) -> bool:
        """Decisions are made at ``now`` from here on; True where anything may differ from before."""
        self._at = now
        if self._generation == self._book.generation and self._from <= now < self._until:
            return False
        self._generation = self._book.generation
        self._from, self._until = now, self._book.next_change(now) or 2**62
        self._all = self._book.all_agents(now)
        self._current.clear()
        self._agents.clear()
        if len(self._compiled) > _SHOPS_KEPT:
            self._compiled.clear()
        return True

    def next_change(self) -> int | None:
        """When some version comes into force next; None: nobody has applied one yet."""
        return self._until if self._until < 2**62 else None

    def shop(self, shop_id: str) -> Shop:
        found = self._current.get(shop_id)
        if found is None:
            found = self._current[shop_id] = self._compile(shop_id)
        return found

    def _compile(self, shop_id: str) -> Shop:
        at, book = self._at, self._book
        kinds = ("routing", "limits", "agents", "calendars", "sla")
        parts = _Parts(*(book.at(shop_id, kind, at) for kind in kinds))  # type: ignore[arg-type]
        known = self._compiled.get(shop_id)
        if known is not None and all(old is new for old, new in zip(known[0], parts, strict=True)):
            return known[1]
        document = cast("RoutingDocument", parts.routing.document)
        calendars = cast("CalendarsDocument", parts.calendars.document)
        sla = cast("SlaDocument", parts.sla.document)
        agents = self._by_id(parts.agents)
        shop = Shop(
            shop_id=shop_id,
            routing=document,
            limits=cast("LimitsDocument", parts.limits.document),
            agents=agents,
            # Versions count per shop over all its documents: the higher number names both as they are in force.
            version=max(parts.routing.version, parts.agents.version),
            hours=book.hours(shop_id, at),
            zone=ZoneInfo(calendars.calendars[calendars.default].timezone),
            shifts=self._shifts(shop_id, agents, calendars),
            sla=sla,
            sla_hours=book.hours(shop_id, at, calendar=sla.calendar),
            channels_limited=any(agent.channels for agent in agents.values()),
            has_trainees=any(agent.grade == "trainee" for agent in agents.values()),
        )
        if document.candidate is not None:
            shop = shop._replace(candidate=shop._replace(routing=document.candidate))
        self._compiled[shop_id] = (parts, shop)
        return shop

    def _shifts(self, shop_id: str, agents: Mapping[str, Agent], calendars: CalendarsDocument) -> dict[str, Hours]:
        """A name without a calendar (the documents come into force one by one) is no shift: he serves all day."""
        names = {agent.shift for agent in agents.values() if agent.shift is not None}
        return {
            name: self._book.hours(shop_id, self._at, calendar=name)
            for name in sorted(names & set(calendars.calendars))
        }

    def _by_id(self, agents: Versioned) -> dict[str, Agent]:
        known = self._agents.get(id(agents))
        if known is None:
            document = cast("AgentsDocument", agents.document)
            rules = document.qualifications or ()
            known = (agents, {agent.agent_id: qualified(agent, rules) for agent in document.agents})
            self._agents[id(agents)] = known
        return known[1]

    def agent(self, agent_id: str) -> Agent | None:
        serving = self._all.get(agent_id)
        return None if serving is None else serving.agent
