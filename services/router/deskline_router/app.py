"""The composition root of the router."""

import asyncio
from typing import Final

import structlog

from deskline.access import Rates, Tokens
from deskline.postgres import TRANSIENT, connect
from deskline.records import AGENTS, CONVERSATIONS
from deskline.retention import pruning
from deskline.service import Runtime
from deskline.settings import ServiceSettings
from deskline_router.desk.orders import Orders, listen
from deskline_router.desk.view import Desks
from deskline_router.desk.web import PREFIX, ROLES, Desk
from deskline_router.desk.web import build as desk_app
from deskline_router.feed import AgentFeed
from deskline_router.handler import Router
from deskline_router.metrics import Metrics
from deskline_router.settings import RouterSettings
from deskline_router.store import Store

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.02
"""How often the router looks whether it should act although no record has come. In memory; costs nothing."""
_ENDS_S: Final = 0.2
"""How often the ends of ``agents.v1`` are asked for: well below the half second that an assignment needs."""
_BACK_OFF_S: Final = 0.5
_SWEEP_S: Final = 5.0
"""Whoever makes somebody assignable matches in the same unit, or in his next one. Should he die in between, another
instance finds what he left by this, within the ten seconds of contract §6.4 (b)."""


async def build(runtime: Runtime) -> Router:
    store = Store()
    feed = AgentFeed(runtime.poke)
    start = await _applied(store, runtime.settings)
    feed.reader = runtime.broadcast(AGENTS, feed.on_records, start=start, interval_s=_ENDS_S)
    router = Router(store, runtime.config, feed, Metrics(runtime.registry))

    async def watch() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if router.wants_unit():
                runtime.poke()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            router.look_again()
            runtime.look()

    def asked() -> None:
        router.asked()
        runtime.poke()

    own = RouterSettings()
    settings = runtime.settings
    desks = Desks(settings, store, runtime.config)
    orders = Orders(desks, store, lambda: runtime.ends.partitions(CONVERSATIONS))
    rate = own.requests_per_s
    tokens = Tokens(own.tokens, ROLES)
    desk = Desk(
        settings, desks, orders,
        tokens=tokens, rates=Rates(rate, max(1, round(2 * rate))), ready=lambda: runtime.configured,
    )  # fmt: skip
    runtime.mounts.append((PREFIX, desk_app(desk)))
    runtime.background.extend(
        [
            watch,
            sweep,
            lambda: listen(settings, asked),
            pruning(settings, "router", "shadow_decisions", "at"),
            pruning(settings, "router", "actions", "at"),
            pruning(settings, "router", "customers", "seen_at", days=own.customer_retention_days),
        ]
    )
    return router


async def _applied(store: Store, settings: ServiceSettings) -> dict[int, int]:
    """How far ``agents.v1`` is applied: earlier statuses need not be read again."""
    while True:
        try:
            connection = await connect(settings, "router")
            try:
                offsets = (await store.look(connection)).agent_offsets
            finally:
                await connection.close()
        except TRANSIENT as error:
            log.warning("waiting for the database", error=type(error).__name__)
            await asyncio.sleep(_BACK_OFF_S)
        else:
            return {partition: offset for partition, offset in enumerate(offsets) if offset}
