"""What the gateway's parts share: the store, the outbox, the ears and the hub, and the one way to change anything."""

import asyncio
import hashlib
import hmac
import itertools
import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from examples.gateway import desk
from examples.gateway.desk import Turn
from examples.gateway.hub import Hub
from examples.gateway.kafka import Ears, Outbox
from examples.gateway.metrics import Metrics
from examples.gateway.rules import BEAT_S
from examples.gateway.store import Store

from deskline.clock import now_us
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")
_TICK_S: Final = 2.0


class Gateway:
    """``staff_token``: what agents must show to get a session; None: nothing, for a gateway on this machine alone."""

    def __init__(self, settings: ServiceSettings, store: Store, *, staff_token: str | None, keep_days: int) -> None:
        self.store = store
        self.staff_token = staff_token
        self.metrics = Metrics()
        self.hub = Hub()
        self.outbox = Outbox(store, settings, self.metrics)
        self.ears = Ears(store, settings, self.change)
        self._keep_us = keep_days * 86_400 * 1_000_000

    async def change(self, work: Callable[[Turn], T]) -> T:
        """What ``work`` answers once it is durable. Then those whom it concerns look again, and the outbox is published."""

        def whole(db: sqlite3.Connection) -> tuple[T, Turn]:
            # The clock is read inside: the order of transactions is the order of times.
            turn = Turn(db, now_us())
            return work(turn), turn

        answer, turn = await self.store.run(whole)
        for fate in turn.fates:
            self.metrics.fate(fate)
        self.hub.wake(turn.touched)
        self.outbox.poke()
        return answer

    # --- who is who ---------------------------------------------------------------------------------------------------

    def token(self, kind: str, name: str) -> str:
        """What a customer (of one conversation) or an agent shows from then on. Nothing is stored: it is a signature."""
        return hmac.new(self.store.secret, f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()

    def knows(self, kind: str, name: str, token: str) -> bool:
        return hmac.compare_digest(self.token(kind, name), token)

    # --- by itself ----------------------------------------------------------------------------------------------------

    async def beats(self) -> None:
        """What happens by itself: statuses are repeated, late replies get their fate, what is old goes."""
        # After a start agents have the time of GONE_S to come back.
        await self.change(lambda turn: turn.db.execute("UPDATE agents SET seen_at = ?", (turn.now,)))
        for tick in itertools.count():
            await self.change(desk.expire)
            if tick % round(BEAT_S / _TICK_S) == 0:
                await self.change(desk.beat)
            if tick % round(3600 / _TICK_S) == 0:
                await self.change(lambda turn: desk.forget(turn, self._keep_us))
            await asyncio.sleep(_TICK_S)
