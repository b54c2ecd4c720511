"""What committed units of work have to publish, in order, and nothing newer before anything older.

A unit writes one row per lane; the instance that wrote it publishes it from memory, and deletes the row with its next
unit. What a crash left is read by the next owner of the lane before its first unit. So every row is published at least
once, rows of a lane in the order of their commits, and a row that is published again repeats the very same bytes.
Two publishers of one lane (an owner that froze after its commit, and its successor) cannot reorder first appearances:
each publishes the unpublished rows from the first one on.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import structlog

from deskline.clock import SECOND, now_us
from deskline.errors import TransientError
from deskline.kafka import Publisher
from deskline.records import Output

log = structlog.get_logger(__name__)

_decoder: Final = msgspec.msgpack.Decoder(list[Output])
_encode: Final = msgspec.msgpack.Encoder().encode

# Units that may wait for the broker before the engine stops deciding: enough to overlap publishing with deciding,
# few enough that a crash republishes milliseconds, not minutes.
_MAX_WAITING: Final = 8


def pack(outputs: Sequence[Output]) -> bytes:
    return _encode(outputs)


def unpack(payload: bytes) -> list[Output]:
    return _decoder.decode(payload)


class Outbox:
    """The rows of this instance's lanes that are not yet acknowledged by the broker."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._rows: deque[tuple[int, Sequence[Output]]] = deque()
        self._queued_since = 0
        self._in_flight_since = 0
        self._last: dict[str, int] = {}
        self._published: list[int] = []
        self._in_flight = 0
        self._changed = asyncio.Condition()
        self.broker_away = False
        self.published_total = 0

    @property
    def waiting(self) -> int:
        """Rows not yet acknowledged."""
        return len(self._rows) + self._in_flight

    def age_s(self, now: int) -> float:
        """For how long the oldest row has waited, as far as this instance knows; 0 without one."""
        since = self._in_flight_since if self._in_flight else self._queued_since
        return max(0, now - since) / SECOND if self.waiting else 0.0

    def last_seq(self, lanes: Iterable[str]) -> int:
        """Every row of these lanes up to here is known."""
        return min((self._last.get(lane, 0) for lane in lanes), default=0)

    async def add(self, rows: Iterable[tuple[int, str, Sequence[Output]]]) -> None:
        """Rows (seq, lane, outputs) in ascending ``seq``; those already known are passed over."""
        async with self._changed:
            if not self._rows:
                self._queued_since = now_us()
            for seq, lane, outputs in rows:
                if seq > self._last.get(lane, 0):
                    self._last[lane] = seq
                    self._rows.append((seq, outputs))
            self._changed.notify_all()

    def take_published(self) -> list[int]:
        """Rows to delete; give them back with ``not_deleted`` if that fails."""
        taken, self._published = self._published, []
        return taken

    def not_deleted(self, rows: list[int]) -> None:
        self._published.extend(rows)

    @property
    def has_published(self) -> bool:
        return bool(self._published)

    async def room(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting < _MAX_WAITING)

    async def drained(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self.waiting)

    async def run(self) -> None:
        """Publish for ever; while the broker is away, the same group again with back-off."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._rows)
                group = list(self._rows)
                self._rows.clear()
                self._in_flight = len(group)
                self._in_flight_since = self._queued_since
            await self._publish([output for _, outputs in group for output in outputs])
            async with self._changed:
                self._published.extend(seq for seq, _ in group)
                self._in_flight = 0
                self._changed.notify_all()

    async def _publish(self, outputs: list[Output]) -> None:
        delay_s = 0.1
        while True:
            try:
                await self._publisher.publish(outputs)
            except TransientError as error:
                self.broker_away = True
                log.warning("publishing waits for the broker", error=str(error), outputs=len(outputs), retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)
            else:
                self.broker_away = False
                self.published_total += len(outputs)
                return
