"""Submitting an action, and waiting for whoever decides it."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from deskline.kafka import partition_of
from deskline.postgres import TRANSIENT, connect
from deskline.settings import ServiceSettings
from deskline_router.desk.view import Desks
from deskline_router.model import Action
from deskline_router.store import ACTIONS_CHANNEL, Ordered, Store

log = structlog.get_logger(__name__)

_WAIT_S: Final = 2.0
"""A decision takes some hundredths of a second; where the lane has no owner just now, seconds."""
_LOOKS_S: Final = (0.02, 0.03, 0.05, 0.1, 0.2)
_LISTEN_S: Final = 1.0


def action_id(actor: str, key: str) -> str:
    """The same for the same person and key."""
    return hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest()[:32]


class Orders:
    """``lanes``: how many partitions the conversations have."""

    def __init__(self, desks: Desks, store: Store, lanes: Callable[[], Awaitable[int]]) -> None:
        self._desks = desks
        self._store = store
        self._lanes = lanes
        self._count = 0

    async def submit(self, action: Action) -> Ordered:
        """The action kept, which is an earlier one where the id has been used, and what became of it, if that is known by now."""
        if action.subject is not None:
            self._count = self._count or await self._lanes()
            action = action._replace(lane=partition_of(action.subject.encode(), self._count))
        kept = await self._desks.ask(lambda connection: self._store.submit(connection, action))
        deadline = time.monotonic() + _WAIT_S
        for look in range(1_000):
            found = await self.ordered(kept.action_id)
            if found is None or found.outcome is not None or time.monotonic() >= deadline:
                return found or Ordered(kept, None, None)
            await asyncio.sleep(_LOOKS_S[min(look, len(_LOOKS_S) - 1)])
        raise AssertionError

    async def ordered(self, action_id: str) -> Ordered | None:
        return await self._desks.ask(lambda connection: self._store.ordered(connection, action_id))


async def listen(settings: ServiceSettings, asked: Callable[[], None]) -> None:
    """``asked`` is called whenever somebody has submitted something; what is missed is found by the router's own sweep."""
    while True:
        try:
            connection = await connect(settings, "router")
            try:
                await connection.add_listener(ACTIONS_CHANNEL, lambda *_: asked())
                asked()
                while not connection.is_closed():  # noqa: ASYNC110 - a broken connection raises no event here
                    await asyncio.sleep(_LISTEN_S)
            finally:
                connection.terminate()
        except TRANSIENT as error:
            log.warning("listening for actions waits for the database", error=type(error).__name__)
            await asyncio.sleep(_LISTEN_S)
