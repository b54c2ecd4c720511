"""What the consumption engine hands to a service, and what the service hands back. No I/O here.

The engine (``deskline.consumption``) calls ``Consumer.process(tx, work)`` inside an open Postgres transaction in which
the positions of every lane in ``work`` are already locked, fenced and moved. The service applies its effects through
``tx.connection``, and gives what is to be published to ``tx.emit``. If ``process`` raises, nothing of the unit
happens: the engine retries (transient), re-reads (stale) or bisects until the one record that cannot be handled is
found and written to the dead letters (``failed``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from deskline.records import Decoded, Event, Output, Record

if TYPE_CHECKING:
    import asyncpg


@dataclass(slots=True)
class Work:
    """One unit of work.

    ``records`` and ``decoded`` run in parallel: lane after lane, within a lane topic after topic in the order in which
    the service lists them, within a topic by offset. ``events`` are the valid ones of known types, in the same order.
    ``due`` are the subjects whose timers the watermark allows to fire. A unit has records or due timers, or neither
    (somebody called ``Engine.poke``).
    """

    now: int
    """Wall clock at the start of the unit, µs: becomes the ``time`` of what is decided."""
    records: Sequence[Record] = ()
    decoded: Sequence[Decoded] = ()
    events: Sequence[Event] = ()
    due: Mapping[str, int] = field(default_factory=dict)
    """subject → lane"""
    watermarks: Mapping[int, int] = field(default_factory=dict)
    """lane → watermark (µs) up to which everything has been read *before or in* this unit."""
    positions: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) → next offset to be read after this unit, for the lanes of this instance."""
    ahead: Sequence[Event] = ()
    """Where an event of this unit had to be settled: what is held of its topic and lane, this unit's included."""


Same = Callable[[Record], bool]
"""Whether a record is the one that is meant."""


class Ripe(NamedTuple):
    """How far the timers of a lane may fire, and from where on they are new."""

    watermark: int
    """Timers due up to here may fire, µs."""
    overdue_upto: int = -1
    """Those due up to here have been left over from a stop: they and the newer ones each get a share of a unit."""


class Tx(Protocol):
    """The open transaction of a unit of work."""

    connection: "asyncpg.Connection[asyncpg.Record]"

    def emit(self, lane: int, output: Output) -> None:
        """Publish ``output`` after the commit, in the order of the calls. ``lane`` is the partition of its key."""

    def emit_for(self, record: Record, output: Output) -> None:
        """``emit`` in the lane of this record, for services whose lanes are single topic partitions."""

    def next_due(self, lane: int, due: int) -> None:
        """Tell the engine that a timer row with this ``due`` was written in this lane."""


class Consumer(Protocol):
    """A service, as the engine sees it."""

    name: str
    """router | autoreply | sla | archive: schema, role, group and metrics are named by it."""
    topics: tuple[str, ...]
    """Topics it reads, in processing order within a lane. Optional attributes: ``co_partitioned`` (False: every topic
    partition is a lane of its own), ``on_gap`` ("stop": an offset gap stops the lane), ``shared_outbox`` (True: any
    instance may emit for any lane), ``settle(now, event)`` (an instant, µs: this event waits until the lane's other
    topics have been read to the ends that the broker names at that moment, and its own is held up to that broker
    timestamp or to its end; None: it need not), ``together`` (True: records and due timers may be one unit)."""

    async def process(self, tx: Tx, work: Work) -> None: ...

    async def due(
        self, connection: "asyncpg.Connection[asyncpg.Record]", ripe: Mapping[int, Ripe], limit: int
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        """Timers to fire: (subject → lane for rows with ``due`` ≤ the lane's watermark, at most ``limit``, of which the
        overdue and the new ones have a half each where both need it, each earliest first; lane → earliest ``due`` that
        remains, or an instant before it, for lanes that have one).
        """

    # Optional: ``async def prepare(connection, watermarks) -> bool``: reads a little of what the timers of the lanes that
    # are caught up and have nothing due will soon need, behind a unit that took all that was due; whether there is more to read.

    # Optional: ``foresee(events)``: these have been fetched, and will come in one of the next units. What takes long may be begun
    # beside the unit at work; nothing that is decided may depend on it.

    # Optional: ``async def remembered(connection, positions) -> mapping``: for each (topic, partition) and next offset, where it
    # is known, whether a record is the one that was consumed last before it. Asked with every take-over of lanes: a topic that
    # was made anew under its name, and has already grown past the position, stops its lane.

    def committed(self) -> None:
        """The unit is durable."""

    def aborted(self) -> None:
        """The unit did not happen: drop whatever was cached for it."""

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        """This instance now owns exactly these lanes: drop what is cached for others."""
