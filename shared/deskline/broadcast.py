"""A topic that every instance reads whole, outside any group: ``shops.v1`` everywhere, ``agents.v1`` in the router.

``watermark`` says how fresh the reader is: everything with a broker timestamp up to that instant has been delivered to
``on_records``. It is the instant at which the ends were last asked for and found to be reached.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from deskline.errors import TransientError
from deskline.kafka import Ends, free_consumer, to_record
from deskline.records import Record
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

OnRecords = Callable[[Sequence[Record], Mapping[int, int]], Awaitable[None]]
"""Records of one fetch (partition by partition, in offset order) and the next offsets after them."""

_BACK_OFF_S: Final = 0.5
# A question whose ends are not read within this time is asked anew.
_REACHED_WITHIN_S: Final = 2.0


class Broadcast:
    """Reads ``topic`` from ``start`` (partition → offset; absent: from its beginning) for as long as it runs."""

    def __init__(
        self,
        settings: ServiceSettings,
        ends: Ends,
        topic: str,
        on_records: OnRecords,
        *,
        start: Mapping[int, int] | None = None,
        interval_s: float = 0.5,
    ) -> None:
        self.topic = topic
        self.positions: dict[int, int] = dict(start or {})
        self.watermark = 0
        self._settings = settings
        self._ends = ends
        self._on_records = on_records
        self._interval_s = interval_s
        self._moved = asyncio.Condition()
        self._ask_now = asyncio.Event()

    async def fresh(self, upto: int, timeout_s: float) -> bool:
        """Wait until ``watermark`` is at least ``upto`` (µs); False if that takes longer than ``timeout_s``."""
        if self.watermark >= upto:
            return True
        self._ask_now.set()
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self.watermark >= upto)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Read for ever; a broker that is away is waited for, and the watermark stands still meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._watch())

    async def _read(self) -> None:
        prefix = self._settings.topic_prefix
        while True:
            consumer = free_consumer(self._settings, f"deskline-{self.topic}-{self._settings.instance}")
            try:
                await consumer.start()
                await self._assign(consumer)
                while True:
                    fetched = await consumer.getmany(timeout_ms=1000)
                    if fetched:
                        await self._deliver([to_record(m, len(prefix)) for batch in fetched.values() for m in batch])
            except (KafkaError, OSError, TransientError) as error:
                log.warning("reading waits for the broker", topic=self.topic, error=type(error).__name__)
                await asyncio.sleep(_BACK_OFF_S)
            finally:
                await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        count = await self._ends.partitions(self.topic)
        partitions = range(count)
        missing = [(self.topic, partition) for partition in partitions if partition not in self.positions]
        if missing:
            for (_, partition), offset in (await self._ends.beginnings(missing)).items():
                self.positions[partition] = offset
        name = self._settings.topic_prefix + self.topic
        tps = {partition: TopicPartition(name, partition) for partition in partitions}
        consumer.assign(list(tps.values()))
        for partition, tp in tps.items():
            consumer.seek(tp, self.positions[partition])

    async def _deliver(self, records: Sequence[Record]) -> None:
        wanted = [record for record in records if record.offset >= self.positions[record.partition]]
        if not wanted:
            return
        after = dict(self.positions)
        for record in wanted:
            after[record.partition] = record.offset + 1
        await self._on_records(wanted, after)
        self.positions = after

    async def _watch(self) -> None:
        while True:
            try:
                if self.positions:
                    asked_at, ends = await self._ends.ask_log([(self.topic, p) for p in self.positions])
                    if not await self._reach(ends):
                        continue
                    async with self._moved:
                        self.watermark = max(self.watermark, asked_at)
                        self._moved.notify_all()
            except TransientError as error:
                log.warning("the broker cannot be asked", topic=self.topic, error=str(error))
                await asyncio.sleep(_BACK_OFF_S)
            self._ask_now.clear()
            try:
                async with asyncio.timeout(self._interval_s if self.positions else 0.05):
                    await self._ask_now.wait()
            except TimeoutError:
                continue

    async def _reach(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """False where it takes long: what a leader had not yet replicated when it died never comes, so ask anew."""
        try:
            async with asyncio.timeout(_REACHED_WITHIN_S):
                # The reader delivers what lies below the ends; polling its positions keeps it free of a second hand-over.
                while any(self.positions[partition] < end for (_, partition), end in ends.items()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return True
