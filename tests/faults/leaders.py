"""Leadership of partitions, moved on purpose: Kafka's ElectLeaders request (KIP-183), which aiokafka does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

WITHIN_MS = 10_000
DONE = {0, 84}
"""No error; 84: the preferred replica leads already."""


class _Elected(Response):
    API_KEY = 43
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("error_code", Int16), ("error_message", String("utf-8"))),
                ),
            ),
        ),
    )


class _Elect(RequestStruct):
    API_KEY = 43
    API_VERSION = 0
    RESPONSE_TYPE = _Elected
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )


class _ElectLeaders(Request[_Elect]):
    API_KEY = 43

    def __init__(self, topics: dict[str, list[int]]) -> None:
        self._topics = list(topics.items())

    def build(self, request_struct_class: type[_Elect]) -> _Elect:
        return request_struct_class(self._topics, WITHIN_MS)


async def give_back(bootstrap_servers: str, prefix: str) -> int:
    """Have every partition of these topics led by its preferred replica; how many were led by another, and no longer are.

    Waits until those replicas are in sync. Raises ``AssertionError`` where a broker refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        before = await _until(admin, prefix, lambda _, preferred, in_sync: preferred in in_sync)
        topics: dict[str, list[int]] = {}
        for (topic, partition), (leader, preferred, _) in before.items():
            if leader != preferred:
                topics.setdefault(topic, []).append(partition)
        answer = await admin._send_to_controller(_ElectLeaders(topics))
        refused = [each for _, partitions in answer.topics for each in partitions if each[1] not in DONE]
        assert not refused, refused
        # The answer comes from the controller; each broker hears of it a moment later.
        await _until(admin, prefix, lambda leader, preferred, _: leader == preferred)
        return sum(len(partitions) for partitions in topics.values())
    finally:
        await admin.close()


_Led = dict[tuple[str, int], tuple[int, int, list[int]]]
"""(topic, partition) → who leads it, who should by preference, who is in sync."""


async def _until(admin: AIOKafkaAdminClient, prefix: str, so: Callable[[int, int, list[int]], bool]) -> _Led:
    async with asyncio.timeout(WITHIN_MS / 1000):
        while True:
            found = await _led(admin, prefix)
            if all(so(*each) for each in found.values()):
                return found
            await asyncio.sleep(0.1)


async def _led(admin: AIOKafkaAdminClient, prefix: str) -> _Led:
    names = [name for name in await admin.list_topics() if name.startswith(prefix)]
    described: list[dict[str, Any]] = await admin.describe_topics(names)
    return {
        (topic["topic"], each["partition"]): (each["leader"], each["replicas"][0], each["isr"])
        for topic in described
        for each in topic["partitions"]
    }
