"""The schema ``config``: versions, bodies, history, and events that wait for the broker. The only SQL of this package.

Commands take turns (``turn``): numbers are given, committed and published by one command at a time, so the records of
a shop stand on the topic in the order of their numbers.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self, cast

import asyncpg

from deskline.clock import from_datetime, to_datetime
from deskline.config.base import DocumentKind
from deskline.config.planning import Change, Stored
from deskline.errors import TransientError, UsageError
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.settings import ServiceSettings

SCHEMA: Final = "config"
_TURN: Final = 0x6465_736B_636F_6E66  # "deskconf": one key in the database's space of advisory locks

_LAST_DOCUMENTS: Final = """
    SELECT DISTINCT ON (shop_id, document) shop_id, document, version, sha256, inherited
    FROM documents ORDER BY shop_id, document, version DESC
"""
_LAST_VERSIONS: Final = "SELECT shop_id, max(version) AS version FROM applies GROUP BY shop_id"
_AS_OF: Final = """
    SELECT DISTINCT ON (document) document, version, inherited, body
    FROM documents JOIN bodies USING (sha256) WHERE shop_id = $1 AND version <= $2 ORDER BY document, version DESC
"""
# What a decision at $2 uses, by the instants that were asked for: the last to come into force, at one instant the higher
# number; the first version of a document counts for earlier times.
_IN_FORCE: Final = """
    SELECT DISTINCT ON (document) document, version, inherited, body, effective_from
    FROM documents JOIN applies USING (shop_id, version) JOIN bodies USING (sha256)
    WHERE shop_id = $1
    ORDER BY document, effective_from <= $2 DESC,
             CASE WHEN effective_from <= $2 THEN effective_from END DESC NULLS LAST,
             CASE WHEN effective_from <= $2 THEN version ELSE -version END DESC
"""
_HISTORY: Final = """
    SELECT a.*, array_agg(d.document ORDER BY d.document) AS documents,
           array_agg(d.document ORDER BY d.document) FILTER (WHERE d.inherited) AS inherited
    FROM applies a JOIN documents d USING (shop_id, version)
    WHERE $1::text IS NULL OR shop_id = $1
    GROUP BY a.shop_id, a.version ORDER BY a.applied_at DESC, a.shop_id, a.version DESC LIMIT $2
"""
_SCHEDULED: Final = """
    SELECT shop_id, document, version, effective_from FROM documents JOIN applies USING (shop_id, version)
    WHERE effective_from > $1 ORDER BY effective_from, shop_id, version, document
"""
_ADD_BODY: Final = "INSERT INTO bodies (sha256, body) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_ADD_APPLY: Final = """
    INSERT INTO applies (shop_id, version, applied_at, applied_by, effective_from, reevaluate, rollback_to, comment)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_ADD_DOCUMENT: Final = """
    INSERT INTO documents (shop_id, version, document, sha256, inherited) VALUES ($1, $2, $3, $4, $5)
"""
_ADD_EVENT: Final = "INSERT INTO outbox (shop_id, value) VALUES ($1, $2)"
_WAITING: Final = "SELECT seq, shop_id, value FROM outbox ORDER BY seq LIMIT $1"
_PUBLISHED: Final = "DELETE FROM outbox WHERE seq = ANY($1::bigint[])"


class Order(NamedTuple):
    """What one command applies, beside the documents. Times in µs."""

    applied_at: int
    applied_by: str
    effective_from: int
    reevaluate: bool = False
    rollback_to: int | None = None
    comment: str = ""


class Body(NamedTuple):
    """One document as of some version."""

    version: int
    inherited: bool
    body: bytes


class Entry(NamedTuple):
    """One line of the history."""

    shop_id: str
    version: int
    order: Order
    documents: tuple[str, ...]
    inherited: tuple[str, ...]


class Scheduled(NamedTuple):
    """A version that is still to come."""

    shop_id: str
    document: DocumentKind
    version: int
    effective_from: int


class Waiting(NamedTuple):
    """An event that the broker has not acknowledged."""

    seq: int
    shop_id: str
    value: bytes


class ConfigStore:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: ServiceSettings) -> AsyncIterator[Self]:
        try:
            connection = await connect(settings, SCHEMA)
        except (asyncpg.PostgresError, ValueError) as error:
            raise UsageError(
                f"PostgreSQL cannot be used for the configuration: {error}. Is --postgres-dsn right, and has "
                "`deskline migrate` been run?"
            ) from error
        try:
            yield cls(connection)
        except asyncpg.UndefinedTableError as error:
            raise UsageError(f"the tables of the configuration are missing ({error}); run: deskline migrate") from error
        except TransientError:
            raise  # the broker's: it says what was done by then
        except TRANSIENT as error:
            raise TransientError(f"PostgreSQL went away: {type(error).__name__}; run the command again") from error
        finally:
            await connection.close()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be the only command that gives numbers and publishes. Held by the session, so it ends with the process."""
        try:
            await self._connection.execute("SELECT pg_advisory_lock($1)", _TURN)
        except asyncpg.LockNotAvailableError:
            raise UsageError("another `deskline config` command is at work on this database; try again") from None
        try:
            yield
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("SELECT pg_advisory_unlock($1)", _TURN)

    async def last_documents(self) -> dict[tuple[str, DocumentKind], Stored]:
        rows = await self._connection.fetch(_LAST_DOCUMENTS)
        return {
            (row["shop_id"], row["document"]): Stored(row["version"], row["sha256"], row["inherited"]) for row in rows
        }

    async def last_versions(self) -> dict[str, int]:
        return {row["shop_id"]: row["version"] for row in await self._connection.fetch(_LAST_VERSIONS)}

    async def as_of(self, shop_id: str, version: int) -> dict[DocumentKind, Body]:
        """The shop's documents as its version ``version`` left them."""
        rows = await self._connection.fetch(_AS_OF, shop_id, version)
        return {row["document"]: Body(row["version"], row["inherited"], bytes(row["body"])) for row in rows}

    async def in_force(self, shop_id: str, at: int) -> dict[DocumentKind, Body]:
        """The shop's own documents in force at ``at`` (µs), by their ``effective_from``."""
        rows = await self._connection.fetch(_IN_FORCE, shop_id, to_datetime(at))
        return {row["document"]: Body(row["version"], row["inherited"], bytes(row["body"])) for row in rows}

    async def history(self, shop_id: str | None, limit: int) -> list[Entry]:
        rows = await self._connection.fetch(_HISTORY, shop_id, limit)
        return [_entry(row) for row in rows]

    async def scheduled(self, after: int) -> list[Scheduled]:
        """Versions whose ``effective_from`` is later than ``after`` (µs), the earliest first."""
        rows = await self._connection.fetch(_SCHEDULED, to_datetime(after))
        return [
            Scheduled(row["shop_id"], row["document"], row["version"], from_datetime(row["effective_from"]))
            for row in rows
        ]

    async def commit(
        self, changes: Sequence[Change], numbers: Mapping[str, int], order: Order, events: Iterable[tuple[str, bytes]]
    ) -> None:
        """Versions and the events that tell of them, all or nothing."""
        applied_at, effective_from = to_datetime(order.applied_at), to_datetime(order.effective_from)
        async with self._connection.transaction():
            await self._connection.executemany(_ADD_BODY, [(change.sha256, change.body) for change in changes])
            await self._connection.executemany(
                _ADD_APPLY,
                [
                    (
                        shop_id,
                        number,
                        applied_at,
                        order.applied_by,
                        effective_from,
                        order.reevaluate,
                        order.rollback_to,
                        order.comment,
                    )
                    for shop_id, number in numbers.items()
                ],
            )
            await self._connection.executemany(
                _ADD_DOCUMENT,
                [(c.shop_id, numbers[c.shop_id], c.document, c.sha256, c.inherited) for c in changes],
            )
            await self._connection.executemany(_ADD_EVENT, list(events))

    async def waiting(self, limit: int) -> list[Waiting]:
        rows = await self._connection.fetch(_WAITING, limit)
        return [Waiting(row["seq"], row["shop_id"], bytes(row["value"])) for row in rows]

    async def published(self, seqs: Sequence[int]) -> None:
        await self._connection.execute(_PUBLISHED, list(seqs))


def _entry(row: asyncpg.Record) -> Entry:
    order = Order(
        from_datetime(row["applied_at"]),
        row["applied_by"],
        from_datetime(row["effective_from"]),
        row["reevaluate"],
        row["rollback_to"],
        row["comment"],
    )
    documents, inherited = cast("list[str]", row["documents"]), cast("list[str] | None", row["inherited"])
    return Entry(row["shop_id"], row["version"], order, tuple(documents), tuple(inherited or ()))
