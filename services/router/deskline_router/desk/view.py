"""The router's rows as HTTP sees them: a mirror of its own, read by version on a connection of its own."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from deskline.clock import SECOND, now_us, rfc3339
from deskline.config.book import ConfigBook
from deskline.errors import TransientError
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.settings import ServiceSettings
from deskline_router.catalog import BookCatalog
from deskline_router.model import Agent, Request
from deskline_router.policy.order import rank
from deskline_router.policy.world import World
from deskline_router.store import Store

T = TypeVar("T")

_AT_A_TIME: Final = 200
"""Rows between two looks at the event loop: a mirror that is read anew must hold up no decision."""


class Desks:
    """One question at a time, on one connection, which is opened again where it broke."""

    def __init__(self, settings: ServiceSettings, store: Store, book: ConfigBook) -> None:
        self._settings = settings
        self._store = store
        self._catalog = BookCatalog(book)
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._world = World(self._catalog)
        self._version = -1

    async def ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Raises ``TransientError`` while the database is away."""
        async with self._lock:
            return await self._asked(question)

    async def look(self, at: Callable[["World"], T]) -> T:
        """``at`` the mirror, brought up to what has been committed by now."""
        async with self._lock:
            await self._asked(self._refresh)
            return at(self._world)

    async def _asked(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        for attempt in (1, 2):
            kept = self._connection
            if kept is None or kept.is_closed():
                kept = self._connection = await connect(self._settings, "router")
            try:
                return await question(kept)
            except TRANSIENT as error:
                kept.terminate()
                self._connection = None
                if attempt == 2:
                    raise TransientError(f"the database does not answer: {type(error).__name__}") from error
        raise AssertionError

    async def _refresh(self, connection: Connection) -> None:
        core = await self._store.look(connection)
        if core.version != self._version:
            agents, requests, shops, whole = await self._store.changes(connection, core, self._version)
            if whole:
                self._world = World(self._catalog)
            self._move()
            world = self._world
            for state in shops:
                world.put_shop(state)
            for agent in agents:
                world.put_agent(agent)
            for number, request in enumerate(requests):
                world.put_request(request)
                if number % _AT_A_TIME == 0:
                    await asyncio.sleep(0)
            self._version = core.version
        self._move()
        # What only decisions look at would grow for ever here.
        for notes in (self._world.notices, self._world.wraps):
            notes.clear()
        self._world.pending_shops.clear()

    def _move(self) -> None:
        now = now_us()
        if self._catalog.move_to(now):
            self._world.configuration_changed()
        self._world.now = now


# --- what is shown ------------------------------------------------------------------------------------------------


def queue(world: World, shop_id: str, limit: int) -> dict[str, Any]:
    """Who waits, whoever comes next first."""
    if shop_id not in world.queues:
        return {"shop_id": shop_id, "waiting": 0, "surge": world.in_surge(shop_id), "requests": []}
    found = world.queue(shop_id)
    ranked = ((rank(kind.pace, key, world.now), key.subject) for kind, keys in found.groups.items() for key in keys)
    first = heapq.nsmallest(limit, ranked)
    shown = [shown_request(world, world.requests[subject]) | {"position": n} for n, (_, subject) in enumerate(first, 1)]
    return {"shop_id": shop_id, "waiting": len(found), "surge": world.in_surge(shop_id), "requests": shown}


def agents(world: World, shop_id: str | None) -> list[dict[str, Any]]:
    """Those who have been online, of this shop or of all."""
    listed = None if shop_id is None else world.catalog.shop(shop_id).agents
    return [
        shown_agent(world, agent)
        for agent_id, agent in sorted(world.agents.items())
        if (world.catalog.agent(agent_id) is not None if listed is None else agent_id in listed)
    ]


def assignments(world: World, agent_id: str | None, shop_id: str | None) -> list[dict[str, Any]]:
    """The live ones, the oldest first."""
    names = sorted(world.live) if agent_id is None else [agent_id]
    live = [world.requests[subject] for name in names for subject in world.live.get(name, ())]
    live.sort(key=lambda request: (request.assigned_at, request.subject))
    return [shown_request(world, request) for request in live if shop_id in (None, request.shop_id)]


def shown_agent(world: World, agent: Agent) -> dict[str, Any]:
    config = world.catalog.agent(agent.agent_id)
    return {
        "agent_id": agent.agent_id,
        "status": agent.status.value,
        "paused": agent.paused,
        "load": agent.load,
        "capacity": world.capacity(agent),
        "wrapping_up": sum(instant > world.now for instant in agent.wraps),
        "missed_offers": agent.missed,
        "grade": "" if config is None else config.grade,
        "skills": {} if config is None else dict(config.skills),
        "conversations": sorted(world.live.get(agent.agent_id, ())),
    }


def shown_request(world: World, request: Request) -> dict[str, Any]:
    """Without what the customer wrote or is called."""
    found: dict[str, Any] = {
        "request_id": request.request_id,
        "conversation_id": request.subject,
        "shop_id": request.shop_id,
        "state": request.state.value,
        "cause": request.cause.value,
        "tier": request.tier,
        "priority": request.priority,
        "skills": list(request.skills),
        "flags": list(request.flags),
        "rule": request.rule_id,
        "step": request.step + 1,
        "waiting_since": rfc3339(request.waiting_since),
        "waited_s": max(0, (request.assigned_at if request.live else world.now) - request.waiting_since) / SECOND,
    }
    times = {"due_at": request.due_at, "accept_by": request.accept_by, "opens_at": request.opens_at}
    found |= {name: rfc3339(instant) for name, instant in times.items() if instant is not None}
    if request.live:
        found |= {"agent_id": request.agent_id, "assignment_id": request.assignment_id, "attempt": request.attempt}
    return found
