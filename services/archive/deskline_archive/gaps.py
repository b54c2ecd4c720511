"""Gaps that a person explains: the broker is asked, the explanation kept, and the position moved, in one transaction."""

import asyncio
import json
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition

from deskline.clock import now_us, rfc3339
from deskline.errors import UsageError
from deskline.kafka import free_consumer
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline_archive.store import load_queries

_ANSWER_S: Final = 10.0


async def explain(
    settings: ServiceSettings, topic: str, partition: int, *, who: str, why: str, agreed: Callable[[int, int], bool]
) -> tuple[int, int]:
    """The first missing offset and the one after the last. Raises ``UsageError`` where nothing is missing, where the topic
    was made anew, or where ``agreed`` says no.
    """
    if not who.strip() or not why.strip():
        raise UsageError("an explanation says who answers for it, and why")
    connection, queries = await connect(settings, "archive"), load_queries()
    try:
        lane = f"{topic}/{partition}"
        stream = await connection.fetchval(queries["stream"], settings.topic_prefix + topic, partition)
        row = await connection.fetchrow(queries["lane"], lane)
        if row is None or stream is None:
            raise UsageError(f"the archive holds nothing of {lane}: there can be no gap")
        first = row["position"]
        following = await _next_there(settings, topic, partition, first)
        if following == first:
            raise UsageError(f"{lane}: the broker has offset {first}; nothing is missing there")
        if not await asyncio.to_thread(agreed, first, following):
            raise UsageError("nothing was changed")
        told = {"who": who, "why": why, "at": rfc3339(now_us()), "first": first, "next": following}
        async with connection.transaction():
            held = await connection.fetchrow(queries["lane"], lane)
            assert held is not None
            if held["position"] != first:
                raise UsageError(f"{lane} has moved on meanwhile; look again")
            await connection.execute(
                queries["add_gap"], stream, first, following, json.dumps(told, ensure_ascii=False, sort_keys=True)
            )
            await connection.execute(queries["move_lane"], lane, following)
    finally:
        await connection.close()
    return first, following


async def _next_there(settings: ServiceSettings, topic: str, partition: int, first: int) -> int:
    """The first offset from ``first`` on that the broker has, or its end."""
    consumer = free_consumer(settings, "deskline-archive-gap")
    await consumer.start()
    try:
        tp = TopicPartition(settings.topic_prefix + topic, partition)
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if end < first:
            raise UsageError(
                f"{topic}/{partition} ends at {end}, before our position {first}: the topic was made anew. Give the "
                "deployment a new --topic-prefix and a new database, or restore the topic"
            )
        if begin > first or end == first:
            return int(begin) if begin > first else first
        consumer.assign([tp])
        consumer.seek(tp, first)
        async with asyncio.timeout(_ANSWER_S):
            return int((await consumer.getone(tp)).offset)
    except TimeoutError:
        raise UsageError(
            f"the broker delivers nothing of {topic}/{partition} from offset {first} on; try again"
        ) from None
    finally:
        await consumer.stop()
