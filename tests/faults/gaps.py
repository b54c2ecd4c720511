"""For how long a partition was served by nobody: the longest time in which records waited for a service and its position stood still.

Looked at from outside, twenty times a second: positions in PostgreSQL against the ends that Kafka says. A partition for which nothing
waits is not a gap. What is seen is therefore up to a twentieth of a second too long, and never too short by more.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from deskline.errors import TransientError
from deskline.kafka import Ends
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.settings import ServiceSettings

_EVERY_S = 0.05


class Gaps:
    """``async with Gaps(settings, services) as gaps``: ``gaps.mark(label)`` begins a window, ``gaps.worst(label)`` says its longest gaps."""

    def __init__(self, settings: ServiceSettings, services: Sequence[str]) -> None:
        self._settings, self._services = settings, services
        self._ends = Ends(settings, "gaps")
        self._connections: dict[str, Connection] = {}
        self._moved: dict[tuple[str, str], float] = {}
        self._positions: dict[tuple[str, str], tuple[int, ...]] = {}
        self._found: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
        self._label = "before"
        self._task: asyncio.Task[None] | None = None
        self.looks = 0
        self.lag: dict[str, int] = {}
        """Records that wait for each service, as last seen."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._ends.stop()
        for connection in self._connections.values():
            await connection.close()

    def mark(self, label: str) -> None:
        self._label = label

    def worst(self, label: str) -> dict[str, float]:
        """Service → the longest gap of any of its partitions in this window, s."""
        found: dict[str, float] = {}
        for (service, _), gap in self._found[label].items():
            found[service] = max(found.get(service, 0.0), gap)
        return found

    def by_partition(self, label: str, service: str) -> dict[str, float]:
        return {lane: gap for (of, lane), gap in sorted(self._found[label].items()) if of == service}

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            with suppress(TransientError, *TRANSIENT):
                await self._look()
                self.looks += 1
            await asyncio.sleep(max(0.0, _EVERY_S - (time.monotonic() - began)))

    async def _look(self) -> None:
        rows = dict(
            zip(self._services, await asyncio.gather(*(self._lanes(name) for name in self._services)), strict=True)
        )
        asked = {
            (topic, int(lane.rpartition("/")[2]))
            for found in rows.values()
            for lane, topics, _ in found
            for topic in topics
        }
        _, ends = await self._ends.ask(sorted(asked))
        now = time.monotonic()
        for service, found in rows.items():
            behind = 0
            for lane, topics, offsets in found:
                number = int(lane.rpartition("/")[2])
                waits = sum(max(0, ends[topic, number] - at) for topic, at in zip(topics, offsets, strict=True))
                behind += waits
                key, position = (service, lane), tuple(offsets)
                before = self._moved.setdefault(key, now)
                if waits and self._positions.get(key) == position:
                    self._found[self._label][key] = max(self._found[self._label][key], now - before)
                else:
                    self._moved[key] = now
                    self._found[self._label][key] += 0.0
                self._positions[key] = position
            self.lag[service] = behind

    async def _lanes(self, service: str) -> list[tuple[str, list[str], list[int]]]:
        connection = self._connections.get(service)
        if connection is None or connection.is_closed():
            connection = self._connections[service] = await connect(self._settings, service)
        rows = await connection.fetch("SELECT lane, topics, offsets FROM lanes")
        return [(row["lane"], row["topics"], row["offsets"]) for row in rows]
