"""Which entries agents looked at, and which nobody did: the table ``lookups``, beside the hits of automatic answers."""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

import asyncpg
import structlog

from deskline.clock import DAY, now_us
from deskline.errors import TransientError
from deskline.postgres import Connection, connect
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

_ADD: Final = """
INSERT INTO lookups AS known (shop_id, entry_id, day, shown, last_at)
SELECT shop_id, entry_id, to_timestamp(day * 86400) AT TIME ZONE 'UTC', shown, last_at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS new (shop_id, entry_id, day, shown, last_at)
ON CONFLICT (shop_id, entry_id, day) DO UPDATE SET
    shown = known.shown + excluded.shown, last_at = greatest(known.last_at, excluded.last_at)
"""
# Of ``_default``'s entries the use in all shops counts: they are one text.
_LAST: Final = """
SELECT entry_id, max(last_at) AS last_at FROM (
    SELECT entry_id, last_at FROM lookups WHERE $1::text IS NULL OR shop_id = $1
    UNION ALL
    SELECT id, last_hit_at FROM hits WHERE kind = 'entry' AND ($1::text IS NULL OR shop_id = $1)
) AS used GROUP BY entry_id
"""
# A desk's search is counted at the latest so long after it; a crash forgets no more than that.
_EVERY_S: Final = 5.0
# Beyond, counting would cost memory that answers need: while the database is away, new entries are not counted.
_MOST: Final = 50_000


class _Key(NamedTuple):
    shop: str
    entry_id: str
    day: int


class Lookups:
    """Counts in memory, written every few seconds by ``run``."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._waiting: dict[_Key, tuple[int, int]] = {}

    def count(self, shop: str, entries: Iterable[str], at: int) -> None:
        for entry_id in entries:
            key = _Key(shop, entry_id, at // DAY)
            if key in self._waiting or len(self._waiting) < _MOST:
                shown, last = self._waiting.get(key, (0, 0))
                self._waiting[key] = (shown + 1, max(last, at))

    async def flush(self, connection: Connection) -> None:
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        # In one order, so that two instances that write at once do not wait for each other in a circle.
        rows = [(*key, *waiting[key]) for key in sorted(waiting)]
        try:
            await connection.execute(_ADD, *zip(*rows, strict=True))
        except BaseException:
            for key, (shown, last) in waiting.items():
                more, later = self._waiting.get(key, (0, 0))
                self._waiting[key] = (shown + more, max(last, later))
            raise

    async def run(self) -> None:
        """A task for ``Runtime.background``."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._waiting:
                continue
            try:
                connection = await connect(self._settings, "autoreply")
                try:
                    await self.flush(connection)
                finally:
                    await connection.close()
            except (TransientError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("look-ups wait for the database", error=type(error).__name__)


async def last_used(connection: Connection, shop: str | None) -> dict[str, int]:
    """Entry → when it was last answered or looked at (µs), of those that ever were; ``shop`` None: in any."""
    rows = await connection.fetch(_LAST, shop)
    return {row["entry_id"]: row["last_at"] for row in rows}


def stale(entries: Iterable[str], used: dict[str, int], days: int, now: int | None = None) -> list[tuple[str, int]]:
    """(entry, last use; 0: never) of those that nobody has used for so many days, the longest unused first."""
    before = (now_us() if now is None else now) - days * DAY
    return sorted(
        ((entry, used.get(entry, 0)) for entry in entries if used.get(entry, 0) < before),
        key=lambda pair: (pair[1], pair[0]),
    )
