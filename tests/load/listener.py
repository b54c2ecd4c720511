"""Hears what the stack says on ``routing.v1`` and ``replies.v1``, from now on, every output once."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

_TOPICS = ("routing.v1", "replies.v1")


class Listener:
    def __init__(self, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self._consumer = AIOKafkaConsumer(
            *(topic_prefix + topic for topic in _TOPICS),
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        self._heard: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        # Without a position yet, "latest" would be asked for only at the first read: what comes before is not missed.
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def read(self) -> list[dict[str, Any]]:
        """What has come; waits for nothing."""
        found = []
        batch: dict[TopicPartition, list[Any]] = await self._consumer.getmany(timeout_ms=0)
        for messages in batch.values():
            for message in messages:
                event = _event(message.value)
                if event is not None and event["id"] not in self._heard:
                    self._heard.add(event["id"])
                    found.append(event)
        return found


def _event(value: bytes | None) -> dict[str, Any] | None:
    """None for what a vandal put there: the dirty part of the traffic does."""
    try:
        event = json.loads(value or b"")
    except ValueError:
        return None
    ours = isinstance(event, dict) and str(event.get("source", "")).startswith("/deskline/")
    return event if ours else None
