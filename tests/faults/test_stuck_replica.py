"""A broker that is dead and not yet missed: what its leader has taken cannot be read for seconds, and must not be overlooked.

``ask_log`` against ``ask``: the difference is what a watermark would pass over.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.faults.world import Servers, say

from deskline.clock import now_us
from deskline.kafka import Ends
from deskline.lanes import Lane
from deskline.settings import ServiceSettings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BROKERS = 3
TOPIC = "conversations.v1"


class Stuck:
    """One partition on three brokers, and who leads it."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self.servers = servers
        self.prefix = prefix
        self.settings = ServiceSettings(bootstrap_servers=servers.kafka.bootstrap_servers, topic_prefix=prefix)
        self.producer: AIOKafkaProducer = None
        self.leader = 0

    @property
    def followers(self) -> list[int]:
        return [node for node in self.servers.kafka.nodes if node != self.leader]

    async def send(self, value: bytes) -> int:
        """Its offset; the leader alone has it when this returns."""
        sent: Any = await self.producer.send_and_wait(self.prefix + TOPIC, value, partition=0)
        return int(sent.offset)


@asynccontextmanager
async def partition(servers: Servers) -> AsyncIterator[Stuck]:
    stuck = Stuck(servers, f"s{secrets.token_hex(4)}-")
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka.bootstrap_servers)
    await admin.start()
    try:
        configs = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(stuck.prefix + TOPIC, 1, 3, topic_configs=configs)])
    finally:
        await admin.close()
    stuck.producer = AIOKafkaProducer(bootstrap_servers=servers.kafka.bootstrap_servers, acks=1)
    await stuck.producer.start()
    try:
        await stuck.send(b"warm")
        stuck.leader = stuck.producer.client.cluster.leader_for_partition(TopicPartition(stuck.prefix + TOPIC, 0))
        yield stuck
    finally:
        await stuck.producer.stop()


async def test_a_watermark_does_not_pass_a_record_that_a_dead_follower_keeps_from_being_read(servers: Servers) -> None:
    key = (TOPIC, 0)
    async with partition(servers) as stuck:
        ends = Ends(stuck.settings, "test-ends")
        consumer = AIOKafkaConsumer(bootstrap_servers=servers.kafka.bootstrap_servers)
        await consumer.start()
        tp = TopicPartition(stuck.prefix + TOPIC, 0)
        consumer.assign([tp])
        consumer.seek(tp, 1)
        frozen = stuck.followers[0]
        try:
            async with asyncio.timeout(10):
                # The broker tells nobody that a record has arrived: it has to be asked.
                while (await ends.ask_log([key]))[1][key] != 1 or (await ends.ask([key]))[1][key] != 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            lane = Lane("0", 0, (TOPIC,))
            lane.reset(1, {TOPIC: 1})
            servers.kafka.signal_node(frozen, SIGSTOP)
            offset = await stuck.send(b"an answer")
            taken_at = now_us()
            began = time.monotonic()
            passed = held = 0
            read = None
            while read is None:
                # As a watermark that goes by what can be read would stand, and as it stands.
                asked_at, visible = await ends.ask([key])
                passed += visible[key] <= offset and asked_at > taken_at
                asked_at, log = await ends.ask_log([key])
                lane.heard(TOPIC, asked_at, log[key])
                assert log[key] == offset + 1
                assert lane.watermark < taken_at, "the watermark has passed a record that has not been read"
                held += 1
                found = await consumer.getmany(timeout_ms=20)
                read = next(iter(found.values()))[0] if found else None
            say(
                f"node {frozen} frozen, record read after {time.monotonic() - began:.1f} s; {passed} of {held} would have passed it"
            )
            assert read.offset == offset
            assert passed > 0, "the record could be read at once: nothing was tested"
            lane.consumed(TOPIC, offset + 1, read.timestamp * 1000)
            lane.heard(TOPIC, *_of(await ends.ask_log([key]), key))
            assert lane.watermark > taken_at
        finally:
            servers.kafka.signal_node(frozen, SIGCONT)
            await consumer.stop()
            await ends.stop()
            await asyncio.to_thread(servers.kafka.wait_brokers, BROKERS)


def _of(answer: tuple[int, Any], key: tuple[str, int]) -> tuple[int, int]:
    return answer[0], answer[1][key]
