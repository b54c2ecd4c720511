"""The outbox to the broker, and the topics from it.

Out: events leave in the order in which they became durable, each group acknowledged by all in-sync replicas before the next is
sent, by an idempotent producer. What a crash leaves in the outbox goes out again, with the same ids and bytes: a
duplicate without effect (contract §1). In: no consumer group. Positions stand in the store and move with what a record did
there, so that each is heard once.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from examples.gateway import hearing
from examples.gateway.desk import Turn
from examples.gateway.metrics import Metrics
from examples.gateway.store import Store

from deskline.clock import now_us
from deskline.errors import TransientError, UsageError
from deskline.events.wire import decode
from deskline.kafka import Ends, Publisher, free_consumer, to_record
from deskline.records import REPLIES, ROUTING, SHOPS, SLA, Event, Output
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

_HEARD: Final = (REPLIES, ROUTING, SLA)
_AT_ONCE: Final = 500
_AGAIN_S: Final = 0.5
Change = Callable[[Callable[[Turn], None]], Awaitable[None]]


class Outbox:
    def __init__(self, store: Store, settings: ServiceSettings, metrics: Metrics) -> None:
        self._store = store
        self._publisher = Publisher(settings, "deskline-gateway")
        self._metrics = metrics
        self._work = asyncio.Event()

    def poke(self) -> None:
        self._work.set()

    async def run(self) -> None:
        """For ever; while the broker is away it tries again, and what waits stays in its order."""
        try:
            while True:
                self._work.clear()
                rows = await self._store.run(_first)
                self._metrics.outbox.set(len(rows))
                if not rows:
                    await self._work.wait()
                    continue
                try:
                    await self._publisher.publish([Output(row["topic"], row["key"], row["value"]) for row in rows])
                except TransientError as error:
                    log.warning("Kafka does not take events; tried again", error=str(error), waiting=len(rows))
                    await asyncio.sleep(_AGAIN_S)
                    continue
                last = rows[-1]["seq"]
                await self._store.run(partial(_forget, last=last))
                for row in rows:
                    self._metrics.published.observe(max(0, now_us() - row["at"]) / 1_000_000)
        finally:
            await self._publisher.stop()


def _first(db: sqlite3.Connection) -> list[sqlite3.Row]:
    return db.execute("SELECT * FROM outbox ORDER BY seq LIMIT ?", (_AT_ONCE,)).fetchall()


def _forget(db: sqlite3.Connection, last: int) -> None:
    db.execute("DELETE FROM outbox WHERE seq <= ?", (last,))


class Ears:
    """Reads what deskline says. ``shops`` is of ``shops.v1``, which is read whole at every start."""

    def __init__(self, store: Store, settings: ServiceSettings, change: Change) -> None:
        self._store = store
        self._settings = settings
        self._change = change
        self._consumer: AIOKafkaConsumer | None = None
        self._ends = Ends(settings, "deskline-gateway-ends")
        self.shops: dict[str, dict[str, str]] = {}
        """Shop → agent id → name, by the newest configuration."""

    async def start(self) -> None:
        """Join the topics. A gateway that is new begins at their ends: of its conversations nothing stands before.

        Raises ``UsageError`` where the topics are not those that this store has read from, ``TransientError`` where there
        are none, ``KafkaError`` where nobody answers.
        """
        consumer = await self._connected()
        ends = await consumer.end_offsets([tp for tp in consumer.assignment() if self._name(tp) in _HEARD])
        positions = await self._store.run(
            lambda db: _positions(db, {(self._name(tp), tp.partition): ends[tp] for tp in ends})
        )
        for tp, end in ends.items():
            if positions[self._name(tp), tp.partition] > end:
                raise UsageError(
                    f"{tp.topic}/{tp.partition} ends at {end}, and was read to {positions[self._name(tp), tp.partition]}: this is "
                    "another Kafka, or one that was wiped. Take another --data file."
                )
        await self._seek(consumer, positions)
        # Who the agents are is known before anybody is served.
        shops = [tp for tp in consumer.assignment() if self._name(tp) == SHOPS]
        for tp, end in (await consumer.end_offsets(shops)).items():
            while await consumer.position(tp) < end:
                await self._take(await consumer.getmany(tp, timeout_ms=1000, max_records=_AT_ONCE))

    async def _connected(self) -> AIOKafkaConsumer:
        consumer = free_consumer(self._settings, "deskline-gateway")
        try:
            await consumer.start()
            tps = []
            for topic in (*_HEARD, SHOPS):
                # A topic that is not there is refused here, by name.
                count = await self._ends.partitions(topic)
                tps += [TopicPartition(self._settings.topic_prefix + topic, number) for number in range(count)]
            consumer.assign(tps)
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer
        return consumer

    async def _seek(self, consumer: AIOKafkaConsumer, positions: dict[tuple[str, int], int]) -> None:
        for tp in consumer.assignment():
            if self._name(tp) == SHOPS:
                await consumer.seek_to_beginning(tp)
            else:
                consumer.seek(tp, positions[self._name(tp), tp.partition])

    def _name(self, tp: TopicPartition) -> str:
        return str(tp.topic[len(self._settings.topic_prefix) :])

    async def run(self) -> None:
        """For ever. Where the store or the broker fails it goes back to what is durable and reads on from there."""
        while True:
            consumer = self._consumer
            try:
                if consumer is None:
                    consumer = await self._connected()
                    await self._seek(consumer, await self._store.run(lambda db: _positions(db, {})))
                fetched = await consumer.getmany(timeout_ms=1000, max_records=_AT_ONCE)
                if fetched:
                    await self._take(fetched)
            except (KafkaError, OSError, TransientError, sqlite3.Error) as error:
                log.warning("reading again in a moment", error=type(error).__name__)
                self._consumer = None
                if consumer is not None:
                    await consumer.stop()
                await asyncio.sleep(_AGAIN_S)

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        await self._ends.stop()

    async def _take(self, fetched: dict[TopicPartition, Sequence[Any]]) -> None:
        prefix = len(self._settings.topic_prefix)
        records = [to_record(message, prefix) for batch in fetched.values() for message in batch]
        decoded = [decode(record) for record in records]
        events = [event for event in decoded if isinstance(event, Event)]
        for event in events:
            if event.topic == SHOPS:
                self._configure(event)
        positions = {(record.topic, record.partition): record.offset + 1 for record in records if record.topic != SHOPS}

        def work(turn: Turn) -> None:
            # Of one conversation all topics' news together in the order of their times: a reply before its hand-over's request.
            for event in sorted((one for one in events if one.topic != SHOPS), key=lambda one: one.broker_at):
                hearing.take(turn, event)
            turn.db.executemany(
                "UPDATE positions SET next = ? WHERE topic = ? AND partition = ?",
                [(at, topic, partition) for (topic, partition), at in positions.items()],
            )

        await self._change(work)

    def _configure(self, event: Event) -> None:
        data = event.data
        if event.type == "config.applied.v1" and data.document == "agents" and isinstance(data.body, dict):
            people = data.body.get("agents") or ()
            self.shops[data.shop_id] = {one["agent_id"]: one.get("name") or one["agent_id"] for one in people}
        else:
            self.shops.setdefault(data.shop_id, {})


def _positions(db: sqlite3.Connection, new: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    db.executemany(
        "INSERT OR IGNORE INTO positions VALUES (?, ?, ?)",
        [(topic, number, end) for (topic, number), end in new.items()],
    )
    return {(row["topic"], row["partition"]): row["next"] for row in db.execute("SELECT * FROM positions")}
