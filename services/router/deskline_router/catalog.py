"""``model.Catalog`` over the configuration book: what is in force at the instant of a unit of work."""

from typing import cast

from deskline.config.book import ConfigBook, Serving, Versioned
from deskline.config.documents import Agent, AgentsDocument, LimitsDocument, RoutingDocument
from deskline_router.model import Shop

_SHOPS_KEPT = 20_000


class BookCatalog:
    """Keeps what it has compiled for as long as no version comes into force."""

    def __init__(self, book: ConfigBook) -> None:
        self._book = book
        self._at = 0
        self._from, self._until = 0, 0
        self._generation = -1
        self._current: dict[str, Shop] = {}
        self._compiled: dict[str, tuple[Versioned, Versioned, Versioned, Shop]] = {}
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

    def shop(self, shop_id: str) -> Shop:
        found = self._current.get(shop_id)
        if found is None:
            found = self._current[shop_id] = self._compile(shop_id)
        return found

    def _compile(self, shop_id: str) -> Shop:
        routing = self._book.at(shop_id, "routing", self._at)
        limits = self._book.at(shop_id, "limits", self._at)
        agents = self._book.at(shop_id, "agents", self._at)
        known = self._compiled.get(shop_id)
        if known is not None and known[0] is routing and known[1] is limits and known[2] is agents:
            return known[3]
        document = cast("RoutingDocument", routing.document)
        shop = Shop(
            shop_id,
            document,
            cast("LimitsDocument", limits.document),
            self._by_id(agents),
            # Versions count per shop over all its documents: the higher number names both as they are in force.
            max(routing.version, agents.version),
        )
        if document.candidate is not None:
            shop = shop._replace(candidate=shop._replace(routing=document.candidate))
        self._compiled[shop_id] = (routing, limits, agents, shop)
        return shop

    def _by_id(self, agents: Versioned) -> dict[str, Agent]:
        known = self._agents.get(id(agents))
        if known is None:
            document = cast("AgentsDocument", agents.document)
            known = self._agents[id(agents)] = (agents, {agent.agent_id: agent for agent in document.agents})
        return known[1]

    def capacity(self, agent_id: str) -> int | None:
        serving = self._all.get(agent_id)
        return None if serving is None else serving.agent.capacity
