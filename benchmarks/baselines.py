"""What others would write: a raw aiokafka loop, and a FastStream handler per message with pydantic that keeps nothing.

Run as a process of its own (``python -m benchmarks.baselines raw|faststream|pipelined BOOTSTRAP TOPIC COUNT``): prints
``messages seconds cpu_seconds`` as JSON, from the first record to the last.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deskline.events.models import AnyEvent
from deskline.kafka import MAX_BATCH_BYTES, partition_of


class _Watch:
    def __init__(self, count: int) -> None:
        self.left = count
        self.count = count
        self.wall = self.cpu = 0.0

    def begin(self) -> None:
        if not self.wall:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

    def report(self) -> None:
        result = {
            "messages": self.count - self.left,
            "seconds": time.perf_counter() - self.wall,
            "cpu_seconds": time.process_time() - self.cpu,
        }
        print(json.dumps(result), flush=True)


async def _consumer(servers: str, topic: str) -> AIOKafkaConsumer:
    """Outside any group: every partition, from its beginning."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    return consumer


async def raw(servers: str, topic: str, count: int) -> None:
    """getmany(500) and a JSON decode of each value; nothing else."""
    consumer = await _consumer(servers, topic)
    decode = msgspec.json.decode
    watch = _Watch(count)
    while watch.left > 0:
        for batch in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
            watch.begin()
            for record in batch:
                decode(record.value)
            watch.left -= len(batch)
    watch.report()
    await consumer.stop()


async def pipelined(servers: str, topic: str, count: int, target: str) -> None:
    """At least once, as fast as it goes: decode, one output of the usual size a message, send_batch without waiting for
    the last one's acknowledgement, the offsets nowhere. What exactly-once consumption is measured against.
    """
    consumer = await _consumer(servers, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, max_batch_size=MAX_BATCH_BYTES
    )
    await producer.start()
    targets = len(await producer.partitions_for(target))
    decode = msgspec.json.decode
    encode = msgspec.json.Encoder().encode
    waiting: list[Any] = []
    watch = _Watch(count)
    while watch.left > 0:
        grouped: dict[int, list[tuple[bytes, bytes]]] = {}
        for batch in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
            watch.begin()
            for record in batch:
                event = decode(record.value)
                answer = {
                    "specversion": "1.0",
                    "id": event["id"],
                    "source": "/deskline/autoreply",
                    "type": "message.ignored.v1",
                    "subject": event["subject"],
                    "time": event["time"],
                    "data": {
                        "message_id": event["id"],
                        "reason": "empty",
                        "shop_id": "s",
                        "rules_version": 1,
                        "routing_offset": 1,
                    },
                }
                grouped.setdefault(partition_of(record.key, targets), []).append((record.key, encode(answer)))
            watch.left -= len(batch)
        for partition, group in grouped.items():
            builder = producer.create_batch()
            for key, value in group:
                builder.append(key=key, value=value, timestamp=None)
            waiting.append(await producer.send_batch(builder, target, partition=partition))
        if len(waiting) > 100:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    watch.report()
    await producer.stop()
    await consumer.stop()


async def faststream(servers: str, topic: str, count: int) -> None:
    """The handler that the framework's first page shows: one message, one pydantic model, nothing kept. The model is the
    contract's, so that both sides judge what they read alike.
    """
    from faststream import FastStream
    from faststream.kafka import KafkaBroker

    watch = _Watch(count)
    done = asyncio.Event()
    broker = KafkaBroker(servers, logger=None, log_level=logging.CRITICAL)

    async def decoder(message: Any) -> Any:
        # FastStream takes `application/cloudevents+json` for text.
        return json.loads(message.body)

    group = f"baseline-{time.time_ns()}"

    @broker.subscriber(topic, group_id=group, auto_offset_reset="earliest", decoder=decoder)
    async def handle(message: AnyEvent) -> None:
        watch.begin()
        watch.left -= 1
        if watch.left <= 0 and not done.is_set():
            watch.report()
            done.set()

    app = FastStream(broker, logger=None)
    task = asyncio.create_task(app.run(log_level=logging.CRITICAL))
    await done.wait()
    app.exit()
    await task


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    what, servers, topic, count, *more = sys.argv[1:]
    loops: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "raw": raw,
        "faststream": faststream,
        "pipelined": pipelined,
    }
    asyncio.run(loops[what](servers, topic, int(count), *more))


if __name__ == "__main__":
    main()
