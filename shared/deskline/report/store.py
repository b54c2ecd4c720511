"""Reading the archive for a report. The only SQL and I/O of this package."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import asyncpg

from deskline.clock import DAY, from_datetime, to_datetime
from deskline.errors import FatalError, TransientError
from deskline.events.wire import decode
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SHOPS, SLA, Event, Record
from deskline.settings import ServiceSettings

_TOPICS: Final = (CONVERSATIONS, REPLIES, ROUTING, SLA)
# An event may be a week older than its record, and what ends a wait or a clock may come days after what began it.
_BEFORE: Final = 7 * DAY
_AFTER: Final = 7 * DAY
_BATCH: Final = 5_000

_RECORDS: Final = """
    SELECT topic, partition, "offset", broker_time, key, value FROM records
    WHERE topic = ANY($1::text[]) AND broker_time >= $2 AND broker_time < $3
    ORDER BY topic, partition, "offset"
"""


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Read(NamedTuple):
    events: list[Event]
    """Of the conversations' topics."""
    configuration: list[Event]
    """Of ``shops.v1``, since the archive's beginning."""
    records: int
    fingerprint: str
    """The same records give the same report, and this tells whether two reports had the same."""


async def read(settings: ServiceSettings, begin: int, end: int) -> Read:
    """Everything that can concern ``begin`` ≤ t < ``end``. Raises ``TransientError`` while the database is away."""
    try:
        connection = await connect(settings, "archive")
    except TRANSIENT as error:
        raise TransientError(f"the archive cannot be read: {error}") from error
    prefix = settings.topic_prefix
    seen = sha256()
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # A month of a large shop takes minutes to read; nothing waits for this transaction.
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            events = await _events(connection, prefix, _TOPICS, (begin - _BEFORE, end + _AFTER), seen)
            configuration = await _events(connection, prefix, (SHOPS,), (0, end + _AFTER), seen)
    except asyncpg.UndefinedTableError:
        raise FatalError("this database has no archive; name the one that the archive service writes to") from None
    finally:
        await connection.close()
    return Read(events, configuration, len(events) + len(configuration), seen.hexdigest()[:16])


async def _events(
    connection: Connection, prefix: str, topics: Sequence[str], period: tuple[int, int], seen: Digest
) -> list[Event]:
    """Valid ones. What is not valid has its letter and no other effect (contract §1)."""
    found: list[Event] = []
    cursor = connection.cursor(
        _RECORDS, [prefix + topic for topic in topics], *map(to_datetime, period), prefetch=_BATCH
    )
    async for topic, partition, offset, broker_time, key, value in cursor:
        seen.update(f"{topic}/{partition}/{offset};".encode())
        record = Record(topic[len(prefix) :], partition, offset, from_datetime(broker_time), key, value, ())
        event = decode(record)
        if isinstance(event, Event):
            found.append(event)
    return found
