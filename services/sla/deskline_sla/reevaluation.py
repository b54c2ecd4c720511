"""Brings versions that were applied with ``reevaluate`` to open clocks: lane by lane, in bounded batches, once.

The fold takes such a version by itself wherever it goes on (``policy.fold``), and a state that was written since the version
is known wakes for it (``handler``). Left are conversations in which nothing happens: their rows were written before anybody
knew the version. So when the watermark is past its instant by the allowed lateness, the lane's rows are walked in the order of
their ``due`` (every row with a clock that may take a version has one), a batch with each unit of work, beside the
timers and the records of that unit. Those whose clocks the version concerns are woken; the rest is the fold's.

**Why none is missed.** Whoever decides at an instant knows every version in force by then (the engine waits for it), so
each row that is written after the walk began has what it needs; the others still have the ``due`` under which the walk finds them.

**Why none takes it twice.** How far the walk has got is written by the next unit, in its transaction. After a crash at most the last
batch is woken again; its states say what they have taken and been told.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from deskline.config.base import DocumentKind
from deskline.config.book import ConfigBook
from deskline.postgres import Connection
from deskline.sql_files import load_queries
from deskline_sla.model import State

# Read and looked through at once: some 20 ms, so that records and timers never wait longer for it.
_BATCH: Final = 500
_KINDS: Final[tuple[DocumentKind, ...]] = ("sla", "calendars")

Row = Any
"""An ``asyncpg.Record``."""
Place = tuple[int, str]
"""(due, subject)"""


@dataclass(slots=True)
class _Walk:
    """Of one lane. ``upto`` 0: none is under way."""

    done_until: int = 0
    upto: int = 0
    tried: Place = (0, "")
    """The last row of what was woken last; once it is asked for more, that has been done."""
    done: Place = (0, "")
    ended: bool = False
    saved: bool = True


class Reevaluation:
    """``lateness_us``: the deployment's allowed lateness."""

    def __init__(self, config: ConfigBook, lateness_us: int) -> None:
        self._config = config
        self._lateness = lateness_us
        self._queries = load_queries("deskline_sla")
        self._decode = msgspec.msgpack.Decoder(State).decode
        self._walks: dict[int, _Walk] = {}

    def forget(self) -> None:
        """The lanes may have had another owner meanwhile."""
        self._walks = {}

    def next_due(self, lane: int) -> int | None:
        """When there is something to do in this lane; None where no version waits, or nobody has asked for its rows yet."""
        walk = self._walks.get(lane)
        if walk is None:
            return None
        instants = self._config.reevaluated_at
        index = bisect_right(instants, walk.done_until)
        return instants[index] + self._lateness if index < len(instants) else None

    async def due(self, connection: Connection, watermarks: Mapping[int, int], limit: int) -> dict[str, int]:
        """The conversations to wake now: subject → lane."""
        await self._load(connection, watermarks)
        found: dict[str, int] = {}
        room = min(limit, _BATCH)
        for lane, watermark in watermarks.items():
            first = self.next_due(lane)
            if room > 0 and first is not None and first <= watermark:
                rows = await self._rows(connection, lane, watermark, room)
                room -= len(rows)
                found |= dict.fromkeys(self._concerned(self._walks[lane], rows), lane)
        return found

    async def save(self, connection: Connection) -> None:
        """With every unit of work, whatever else is in it."""
        rows = [(lane, walk.done_until, walk.upto, *walk.done) for lane, walk in self._walks.items() if not walk.saved]
        if rows:
            await connection.execute(self._queries["reevaluated"], *zip(*rows, strict=True))

    def committed(self) -> None:
        for walk in self._walks.values():
            walk.saved = True

    async def _load(self, connection: Connection, watermarks: Mapping[int, int]) -> None:
        missing = [lane for lane in watermarks if lane not in self._walks]
        if not missing:
            return
        self._walks |= {lane: _Walk() for lane in missing}
        for row in await connection.fetch(self._queries["reevaluations"], missing):
            place = (row["due"], row["subject"])
            self._walks[row["lane"]] = _Walk(row["done_until"], row["reached_at"], place, place)

    async def _rows(self, connection: Connection, lane: int, watermark: int, room: int) -> list[Row]:
        """The next rows of the walk."""
        walk = self._walks[lane]
        if walk.upto:
            # Asked again: what was woken last has been done, or failed alone and is tried again by its timer.
            walk.done, walk.saved = walk.tried, False
            if walk.ended:
                walk.done_until, walk.upto, walk.ended = walk.upto, 0, False
                return []
        else:
            first = self.next_due(lane)
            assert first is not None
            instants = self._config.reevaluated_at
            walk.upto = instants[bisect_right(instants, watermark - self._lateness) - 1]
            # What is due by then is woken by its own timer, if it has not been.
            walk.done = walk.tried = (first + 1, "")
        rows: list[Row] = await connection.fetch(self._queries["with_timers"], lane, *walk.done, room)
        if rows:
            walk.tried = (rows[-1]["due"], rows[-1]["subject"])
        walk.ended = len(rows) < room
        return rows

    def _concerned(self, walk: _Walk, rows: Iterable[Row]) -> Iterator[str]:
        """The conversations in which a clock runs that one of the versions is for."""
        shops: dict[str, bool] = {}
        for row in rows:
            state = self._decode(row["body"])
            for clock in (*state.walk.clocks, *state.walk.complaints.values()):
                if clock is None or clock.over or clock.started_at >= walk.upto:
                    continue
                if clock.shop not in shops:
                    shops[clock.shop] = any(
                        self._config.reevaluations(clock.shop, kind, walk.done_until, walk.upto) for kind in _KINDS
                    )
                if shops[clock.shop]:
                    yield row["subject"]
                    break
