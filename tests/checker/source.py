"""Reads the log to judge: every topic from its beginning to the ends asked for now, and the view of the archive."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.checker.log import Log, Settings
from tests.checker.records import SECOND, TOPICS, Record

_FETCH = 6 * 1024 * 1024
"""Above the largest record of any topic: aiokafka passes over what does not fit."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STUCK_S = 60.0
_POLL_S = 0.25


@dataclass(frozen=True)
class Addresses:
    bootstrap_servers: str
    postgres_dsn: str | None
    topic_prefix: str = ""

    @classmethod
    def of_stack(cls, path: Path) -> Addresses:
        """From ``stack.json`` (contract §7)."""
        stack = json.loads(path.read_text())
        return cls(stack["bootstrap_servers"], stack["postgres_dsn"], stack["topic_prefix"])


async def read(addresses: Addresses, *, archive_within_s: float = 60.0) -> tuple[Log, int]:
    """The log, and the instant (µs) at which the ends were asked for.

    The archive is waited for until it has reached those ends, at most ``archive_within_s``; then it is taken as it is.
    """
    records, starts, ends, end_at = await _topics(addresses)
    archive = None
    if addresses.postgres_dsn is not None:
        archive = await _archive(addresses, ends, archive_within_s)
    return Log(records, archive, starts), end_at


def settings(end_at: int, **options: Any) -> Settings:
    return Settings(end_at=end_at, **options)


async def _topics(
    addresses: Addresses,
) -> tuple[list[Record], dict[tuple[str, int], int], dict[tuple[str, int], int], int]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=addresses.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_FETCH,
        fetch_max_bytes=8 * _FETCH,
    )
    await consumer.start()
    try:
        names = {addresses.topic_prefix + topic: topic for topic in TOPICS}
        partitions = [
            TopicPartition(name, number) for name in names for number in sorted(await _partitions(consumer, name))
        ]
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        end_at = time.time_ns() // 1000
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, begins[partition])
        records = await _drain(consumer, names, begins, ends)
    finally:
        await consumer.stop()
    starts = {(names[partition.topic], partition.partition): offset for partition, offset in begins.items()}
    stops = {(names[partition.topic], partition.partition): offset for partition, offset in ends.items()}
    return records, starts, stops, end_at


async def _partitions(consumer: AIOKafkaConsumer, name: str) -> set[int]:
    # The metadata of a topic nobody has subscribed to is fetched on demand.
    await consumer._client.add_topic(name)
    await consumer._client.force_metadata_update()
    return consumer.partitions_for_topic(name) or set()


async def _drain(consumer: AIOKafkaConsumer, names: dict[str, str], begins: Any, ends: Any) -> list[Record]:
    found: dict[TopicPartition, list[Record]] = {partition: [] for partition in ends}
    open_ = {partition for partition, end in ends.items() if begins[partition] < end}
    moved = time.monotonic()
    while open_:
        batch = await consumer.getmany(timeout_ms=1000)
        if batch:
            moved = time.monotonic()
        elif time.monotonic() - moved > _STUCK_S:
            raise TimeoutError(f"nothing more came from {sorted(open_)}")
        for partition, messages in batch.items():
            topic = names[partition.topic]
            found[partition] += [
                Record(
                    topic,
                    partition.partition,
                    message.offset,
                    message.timestamp * 1000,
                    message.key,
                    message.value,
                    tuple((name, value) for name, value in message.headers),
                )
                for message in messages
                if message.offset < ends[partition]
            ]
        for partition in list(open_):
            if await consumer.position(partition) >= ends[partition]:
                open_.discard(partition)
                consumer.pause(partition)
    return [record for partition in sorted(found) for record in found[partition]]


async def _archive(addresses: Addresses, ends: dict[tuple[str, int], int], within_s: float) -> list[Record]:
    connection = await asyncpg.connect(addresses.postgres_dsn)
    try:
        for _ in range(max(1, round(within_s / _POLL_S))):
            if await _reached(connection, addresses, ends):
                break
            await asyncio.sleep(_POLL_S)
        return await _rows(connection, addresses)
    finally:
        await connection.close()


async def _reached(
    connection: asyncpg.Connection[asyncpg.Record], addresses: Addresses, ends: dict[tuple[str, int], int]
) -> bool:
    rows = await connection.fetch('select topic, partition, max("offset") as last from archive.records group by 1, 2')
    last = {(row["topic"], row["partition"]): row["last"] for row in rows}
    prefix = addresses.topic_prefix
    return all(end == 0 or last.get((prefix + topic, number), -1) >= end - 1 for (topic, number), end in ends.items())


async def _rows(connection: asyncpg.Connection[asyncpg.Record], addresses: Addresses) -> list[Record]:
    found = []
    query = 'select topic, partition, "offset", broker_time, key, headers, value from archive.records where topic = $1'
    async with connection.transaction():
        for topic in TOPICS:
            async for row in connection.cursor(query, addresses.topic_prefix + topic, prefetch=500):
                found.append(_row(topic, row))  # noqa: PERF401
    return found


def _row(topic: str, row: asyncpg.Record) -> Record:
    headers = row["headers"]
    if isinstance(headers, str):
        headers = json.loads(headers)
    delta = row["broker_time"] - _EPOCH
    return Record(
        topic,
        row["partition"],
        row["offset"],
        (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds,
        row["key"],
        row["value"],
        tuple((name, None if value is None else bytes.fromhex(value)) for name, value in headers or ()),
    )
