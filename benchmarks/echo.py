"""The engine with a service that answers each message with one event: the price of exactly once, without decisions."""

import asyncio
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from deskline.consumption import Engine
from deskline.events import wire
from deskline.events.models import MessageIgnored
from deskline.kafka import Ends
from deskline.metrics import EngineMetrics
from deskline.postgres import Connection
from deskline.records import CONVERSATIONS, REPLIES, Output
from deskline.settings import ServiceSettings
from deskline.work import Ripe, Tx, Work


class Echo:
    name = "autoreply"
    topics: tuple[str, ...] = (CONVERSATIONS,)

    def __init__(self) -> None:
        self.count = 0
        self.began = self.ended = 0.0

    async def process(self, tx: Tx, work: Work) -> None:
        self.began = self.began or time.perf_counter()
        for event in work.events:
            data = wire.new(
                MessageIgnored, message_id=event.id, reason="empty", shop_id="s", rules_version=1, routing_offset=1
            )
            value = wire.encode(
                "message.ignored.v1",
                id=event.id,
                source="/deskline/autoreply",
                subject=event.subject,
                time=work.now,
                data=data,
            )
            tx.emit(event.partition, Output(REPLIES, event.subject.encode(), value, event.coordinates))
        self.count += len(work.events)
        self.ended = time.perf_counter()

    async def due(
        self, connection: Connection, ripe: Mapping[int, Ripe], limit: int
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        return {}, {}

    def committed(self) -> None: ...
    def aborted(self) -> None: ...
    def lanes_changed(self, lanes: frozenset[int]) -> None: ...


async def drain_echo(settings: ServiceSettings, messages: int) -> tuple[int, float]:
    """(messages, seconds) from the first unit until everything is published."""
    echo = Echo()
    ends = Ends(settings, "echo-ends")
    engine = Engine(settings, echo, ends=ends, metrics=EngineMetrics(CollectorRegistry()))
    task = asyncio.create_task(engine.run())
    while echo.count < messages or engine.outbox.waiting:
        await asyncio.sleep(0.02)
        if task.done():
            task.result()
    seconds = time.perf_counter() - echo.began
    engine.stop()
    await task
    await ends.stop()
    return echo.count, seconds
