"""What is recorded and not for ever: rows older than some days go, some thousands at a time.

It runs beside the units of work, on a connection of its own, so that nobody waits for it, and also where nothing is
recorded any more. Several instances may do it at once: what another has removed meanwhile is not there to be removed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from deskline.clock import DAY, now_us
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

_EVERY_S: Final = 900.0
"""A pass that finds nothing is one index look-up; what is kept is a matter of days."""
_AT_ONCE: Final = 5_000
"""Rows of one statement: some tens of milliseconds."""


def pruning(
    settings: ServiceSettings, schema: str, table: str, column: str, *, days: int | None = None
) -> Callable[[], Coroutine[Any, Any, None]]:
    """A task for ``Runtime.background``. ``column`` holds µs since 1970 and has an index. ``days``: None, as reports are kept."""
    days = days or settings.shadow_retention_days

    async def run() -> None:
        while True:
            try:
                connection = await connect(settings, schema)
                try:
                    await prune(connection, table, column, now_us() - days * DAY)
                finally:
                    await connection.close()
            except TRANSIENT as error:
                log.warning("pruning waits for the database", table=table, error=type(error).__name__)
            await asyncio.sleep(_EVERY_S)

    return run


async def prune(connection: Connection, table: str, column: str, before: int) -> int:
    """Remove what is older than ``before`` (µs); how many rows went."""
    gone = 0
    while True:
        done = await connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608  (our own names)
            f"SELECT ctid FROM {table} WHERE {column} < $1 LIMIT {_AT_ONCE}))",
            before,
        )
        count = int(done.rpartition(" ")[2])
        gone += count
        if count < _AT_ONCE:
            return gone
