"""Puts drafts on their topics: batches by partition, many in flight, the partition that the Java client would choose."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from tests.load.envelopes import Draft

_BATCH_BYTES = 512 * 1024
"""Several hundred records of chat; a larger record gets a batch of its own."""
_MAX_BATCH = 1_048_000
"""Just below the topics' max.message.bytes of 1 MiB, which a batch counts towards as a whole."""
_PATIENCE_MS = 180_000
"""Longer than a broker needs to restart: the records of a batch that is given up would be lost to the test."""
_log = logging.getLogger(__name__)


def partition_of(key: bytes | None, partitions: int) -> int:
    """Kafka's default for keyed records; keyless ones go to the first."""
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions


class Sender:
    """``async with Sender(...) as sender: await sender.send(drafts)``. Order per partition is the order of the calls."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self._prefix = topic_prefix
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            enable_idempotence=True,
            max_batch_size=_MAX_BATCH,
            max_request_size=_MAX_BATCH,
            request_timeout_ms=_PATIENCE_MS,
            retry_backoff_ms=100,
        )
        self._partitions: dict[str, int] = {}
        self.sent: Counter[str] = Counter()
        """Records acknowledged, by topic."""

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def send(self, drafts: Iterable[Draft]) -> None:
        """Return when all are acknowledged. A batch that fails is sent again: its records may then come twice, with
        the same ids, as from any gateway that sends at least once.
        """
        grouped: dict[tuple[str, int], list[Draft]] = defaultdict(list)
        for draft in drafts:
            count = await self._count(draft.topic)
            grouped[draft.topic, partition_of(draft.key, count)].append(draft)
        await asyncio.gather(*(self._partition(topic, number, all_) for (topic, number), all_ in grouped.items()))

    async def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions[topic] = len(await self._producer.partitions_for(self._prefix + topic))
        return self._partitions[topic]

    async def _partition(self, topic: str, number: int, drafts: list[Draft]) -> None:
        pending = [(await self._hand_over(batch, topic, number), batch) for batch in _batches(drafts)]
        for future, batch in pending:
            await self._acknowledged(future, batch, topic, number)
            self.sent[topic] += len(batch)

    async def _hand_over(self, drafts: list[Draft], topic: str, number: int) -> Any:
        """The future of the acknowledgement."""
        builder = self._producer.create_batch()
        for draft in drafts:
            added = builder.append(key=draft.key, value=draft.value, timestamp=None, headers=list(draft.headers))
            if added is None:
                raise ValueError(f"{len(drafts)} records for {topic} do not fit one batch")
        builder.close()
        return await self._producer.send_batch(builder, self._prefix + topic, partition=number)

    async def _acknowledged(self, future: Any, drafts: list[Draft], topic: str, number: int) -> None:
        while True:
            try:
                await future
            except KafkaError as error:
                _log.warning("a batch for %s/%s is sent again: %s", topic, number, type(error).__name__)
                await asyncio.sleep(0.5)
                future = await self._hand_over(drafts, topic, number)
            else:
                return


def _batches(drafts: list[Draft]) -> Iterable[list[Draft]]:
    batch: list[Draft] = []
    size = 0
    for draft in drafts:
        weight = len(draft.value or b"") + len(draft.key or b"") + 300
        if batch and size + weight > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(draft)
        size += weight
    if batch:
        yield batch
