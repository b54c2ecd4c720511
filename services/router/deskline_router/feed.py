"""``agents.v1`` as this instance reads it: decoded, and kept until some instance has applied it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from deskline.events.wire import decode
from deskline.records import AGENTS, Event, Record
from deskline_router.model import Status
from deskline_router.policy import StatusChange

STALE_AFTER: Final = 500_000
"""µs. Contract §6.3 allows a status to be a second old when somebody is assigned; half of it is left for the commit."""
_PATIENCE_S: Final = 1.0
"""A question to the broker takes milliseconds; while it is away units go on after this, and assign nobody. Well below
the seconds after which the database gives up an idle transaction."""
_AT_ONCE: Final = 2000
"""Statuses applied in one unit: after a long absence there are many, and the lock is held meanwhile."""


class Reader(Protocol):
    """What is asked of ``deskline.broadcast.Broadcast``."""

    @property
    def watermark(self) -> int: ...

    async def fresh(self, upto: int, timeout_s: float) -> bool: ...


class Taken(NamedTuple):
    changes: list[StatusChange]
    ranges: list[tuple[str, int, int, int]]
    offsets: list[int]
    """Next offset by partition, after this unit."""
    complete: bool
    """Nothing that has been read is left."""


class AgentFeed:
    def __init__(self, poke: Callable[[], None]) -> None:
        self.reader: Reader | None = None
        self._poke = poke
        self._waiting: list[tuple[int, int, StatusChange | None]] = []
        """(partition, offset, status; None where the record is no valid status), not yet known to be applied."""

    @property
    def watermark(self) -> int:
        return self.reader.watermark if self.reader is not None else 0

    async def fresh(self, upto: int) -> None:
        """Wait a little until everything up to ``upto`` (µs) is here; it may not be afterwards."""
        if self.reader is not None:
            await self.reader.fresh(upto, _PATIENCE_S)

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    async def on_records(self, records: Sequence[Record], _positions: Mapping[int, int]) -> None:
        for record in records:
            self._waiting.append((record.partition, record.offset, _status(record)))
        self._poke()

    def take(self, offsets: Sequence[int]) -> Taken:
        """What has not been applied by anybody: ``offsets`` are those of the locked row. Nothing is forgotten yet."""
        after = list(offsets)
        fresh: list[tuple[int, int, StatusChange | None]] = []
        for entry in self._waiting:
            partition, offset, _ = entry
            after.extend([0] * (partition + 1 - len(after)))
            if offset >= after[partition]:
                if len(fresh) >= _AT_ONCE:
                    return Taken(*_summary(fresh), after, complete=False)
                fresh.append(entry)
                after[partition] = offset + 1
        return Taken(*_summary(fresh), after, complete=True)

    def applied(self, offsets: Sequence[int]) -> None:
        """The unit is durable: what lies below is done with."""
        self._waiting = [entry for entry in self._waiting if entry[0] >= len(offsets) or entry[1] >= offsets[entry[0]]]


def _summary(
    entries: Sequence[tuple[int, int, StatusChange | None]],
) -> tuple[list[StatusChange], list[tuple[str, int, int, int]]]:
    ranges: list[tuple[str, int, int, int]] = []
    for partition, offset, _ in entries:
        if ranges and ranges[-1][1] == partition and ranges[-1][3] <= offset:
            ranges[-1] = (AGENTS, partition, ranges[-1][2], offset + 1)
        else:
            ranges.append((AGENTS, partition, offset, offset + 1))
    return [change for _, _, change in entries if change is not None], ranges


def _status(record: Record) -> StatusChange | None:
    event = decode(record)
    if not isinstance(event, Event) or event.type != "agent.status_changed.v1":
        return None
    data = event.data
    return StatusChange(
        agent_id=event.subject,
        status=Status(data.status),
        capacity=data.capacity,
        event_id=event.id,
        at=event.at,
        offset=event.offset,
        coordinates=event.coordinates,
    )
