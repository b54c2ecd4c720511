"""The archive's SQL: records by COPY, numbers for topic-partitions, partitions for days.

``append`` runs inside the engine's transaction. What it remembers (stream numbers, days that exist) may have been made
by that very transaction: ``forget`` after a rollback, so that it is read again.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from deskline.clock import DAY, to_datetime
from deskline.errors import FatalError, TransientError, UsageError
from deskline_archive.policy import day_of, kept_at, pack_headers, spans
from deskline_archive.rows import COLUMNS, TABLE, Row, copied
from deskline_archive.veil import Vault, name_of, veil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deskline.postgres import Connection
    from deskline.records import Record
    from deskline.work import Same
    from deskline_archive.model import Description

# Of one call of ensure_days(), which refuses more; far above what one unit needs.
_DAYS_AT_ONCE: Final = 400
_KNOWN: Final = 50_000
_row: Final = tuple.__new__


def load_queries() -> dict[str, str]:
    """Name → statement of ``queries.sql``."""
    text = files("deskline_archive").joinpath("queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


class Day(NamedTuple):
    """One day of the archive. ``rows`` is the planner's estimate, -1 where it has none yet."""

    day: date
    rows: int
    bytes: int
    droppable_from: datetime
    due: bool
    """Older than the retention that was asked for."""
    why: str | None
    """Due, and must stay nevertheless."""


class Store:
    """``vault``: a file whose keys veil what persons wrote; None: everything is stored in the clear."""

    def __init__(self, prefix: str, vault: Path | None = None) -> None:
        self._prefix = prefix
        self._queries = load_queries()
        self._file = vault
        self._vault: Vault | None = None
        self._erased_upto = -1
        self._stamp = 0
        self._generations: dict[bytes, int] = {}
        # Of conversations that are talking now, their key; forgotten with what it was read from.
        self._secrets: dict[bytes, tuple[int, bytes]] = {}
        self._streams: dict[tuple[str, int], int] = {}
        self._days: set[int] | None = None

    def forget(self) -> None:
        """Drop what a rolled-back transaction may have made."""
        self._streams.clear()
        self._days = None

    def days_ahead(self, today: int) -> int:
        """How many days after ``today`` have their partition, without a gap."""
        known = self._days or set()
        ahead = 0
        while today + ahead + 1 in known:
            ahead += 1
        return ahead

    async def append(
        self, connection: Connection, records: Sequence[Record], descriptions: Sequence[Description]
    ) -> None:
        """Write the records. Raises ``TransientError`` where a day was dropped under us, ``FatalError`` where a record
        is already there.
        """
        if self._file is not None:
            await self._keys(connection, self._file)
        streams = await self._numbers(connection, records)
        await self.ensure_days(connection, {day_of(at) for at in {record.broker_at for record in records}})
        try:
            await connection.copy_to_table(
                TABLE,
                columns=COLUMNS,
                format="binary",
                source=_sent(copied(self._rows(streams, records, descriptions))),
            )
        except asyncpg.CheckViolationError as error:
            raise TransientError("a day's partition is gone: it is made again with the next attempt") from error
        except asyncpg.UniqueViolationError as error:
            raise FatalError(
                "a record of this topic, partition and offset is already in the archive: the topic was made anew under "
                f"the same name, or two archives write one schema ({error.detail})"
            ) from error

    async def ensure_days(self, connection: Connection, days: Iterable[int]) -> None:
        """Every day (number since 1970-01-01) has its partition afterwards."""
        if self._days is None:
            self._days = {_number(row["day"]) for row in await connection.fetch(self._queries["day_list"])}
        missing = [day for day in days if day not in self._days]
        for first, last in spans(missing, _DAYS_AT_ONCE):
            await connection.execute(self._queries["ensure_days"], _date(first), _date(last))
        self._days.update(missing)

    async def _numbers(self, connection: Connection, records: Sequence[Record]) -> dict[tuple[str, int], int]:
        wanted = {(record.topic, record.partition) for record in records}
        missing = wanted - self._streams.keys()
        if missing:
            topics, partitions = zip(*sorted(missing), strict=True)
            names = [self._prefix + topic for topic in topics]
            await connection.execute(self._queries["add_streams"], names, list(partitions))
            for row in await connection.fetch(self._queries["streams"]):
                if row["topic"].startswith(self._prefix):
                    self._streams[row["topic"][len(self._prefix) :], row["partition"]] = row["id"]
        return self._streams

    async def remembered(
        self, connection: Connection, positions: Mapping[tuple[str, int], int]
    ) -> dict[tuple[str, int], Same]:
        """For each (topic, partition) and next offset: whether a record is the one that is stored before it. Of one that
        cannot be read, time and key are compared.
        """
        numbers = {
            row["id"]: (row["topic"].removeprefix(self._prefix), row["partition"])
            for row in await connection.fetch(self._queries["streams"])
            if row["topic"].startswith(self._prefix)
        }
        wanted = [(number, positions[key] - 1) for number, key in numbers.items() if key in positions]
        rows = await connection.fetch(
            self._queries["bodies_at"], [number for number, _ in wanted], [offset for _, offset in wanted]
        )
        vault = None
        if self._file is not None and any(row["generation"] is not None for row in rows):
            # Without it the first unit will say what is missing.
            with suppress(UsageError):
                vault = await asyncio.to_thread(Vault.load, self._file)
        found: dict[tuple[str, int], Same] = {}
        for row in rows:
            offset, at, key, headers, value, generation, number = row
            topic, partition = numbers[number]
            content: tuple[bytes | None, bytes | None] | None = (headers, value)
            if generation is not None:
                name = name_of(key, self._prefix + topic, partition, offset)
                secret = None if vault is None else vault.key(name, generation)
                content = None if secret is None else veil(secret, number, offset, headers, value)
            found[topic, partition] = partial(_same, (at, key), content)
        return found

    async def retention(self, connection: Connection, keep_days: int = 180) -> list[Day]:
        """Every day of the archive, oldest first."""
        return [Day(*row) for row in await connection.fetch(self._queries["retention"], keep_days)]

    async def drop_day(self, connection: Connection, day: date) -> int:
        """Drop one day for good; bytes freed. Raises ``UsageError`` where the database refuses."""
        try:
            return int(await connection.fetchval(self._queries["drop_day"], day))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
            raise UsageError(str(error)) from error
        except asyncpg.LockNotAvailableError as error:
            raise UsageError(f"the archive is busy writing; try {day} again") from error

    async def _keys(self, connection: Connection, file: Path) -> None:
        """The vault as it is now, after a rotation too. An erasure takes its lock before it ends a key, so what this transaction reads of
        ``erased`` holds until its commit: no record is veiled under a key that is about to end.
        """
        loaded, upto = await connection.fetchrow(self._queries["key_state"])  # type: ignore[misc]
        stamp = _stamp(file)
        if self._vault is None or upto != self._erased_upto or stamp != self._stamp:
            self._stamp = stamp
            self._secrets = {}
            self._vault = Vault.load(file)
            self._generations = {
                row["name"]: row["generation"] for row in await connection.fetch(self._queries["generations"])
            }
            self._erased_upto = upto
        if not loaded:
            await load_keyring(connection, self._vault)

    def _rows(
        self, streams: dict[tuple[str, int], int], records: Sequence[Record], descriptions: Sequence[Description]
    ) -> Iterator[Row]:
        """What is stored of each record, and what veils it."""
        vault, generations, prefix, secrets = self._vault, self._generations, self._prefix, self._secrets
        if len(secrets) > _KNOWN:
            secrets.clear()
        for record, description in zip(records, descriptions, strict=True):
            topic, partition, offset, broker_at, key, value, headers = record
            kind, subject, shop, event_at, retimed, validity, customer, agent, clear = description
            stream = streams[topic, partition]
            generation = secret = None
            if vault is not None and not clear:
                known = secrets.get(key) if key is not None else None
                if known is None:
                    name = key if key is not None else name_of(key, prefix + topic, partition, offset)
                    generation = vault.generation(name, generations.get(name, 0))
                    secret = vault.key(name, generation)
                    if secret is None:
                        raise FatalError(
                            "the vault lacks a key that was never erased: it is not that of this database. Nothing is stored "
                            "under a key that nobody has; give DESKLINE_ARCHIVE_VAULT its newest copy"
                        )
                    if key is not None:
                        secrets[key] = generation, secret
                else:
                    generation, secret = known
            yield _row(Row, (
                stream, offset, broker_at, retimed, generation, secret, event_at, key, pack_headers(headers), value,
                subject, customer, kind, shop, validity, agent,
            ))  # fmt: skip


def _same(known: tuple[int, bytes | None], content: tuple[bytes | None, bytes | None] | None, record: Record) -> bool:
    if known != (kept_at(record.broker_at), record.key):
        return False
    return content is None or content == (pack_headers(record.headers), record.value)


def _stamp(file: Path) -> int:
    """When the vault was written; 0 where it is away, which reading it then tells."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


async def _sent(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def load_keyring(connection: Connection, vault: Vault) -> None:
    """Give the database the keys for its views; it forgets them with a crash."""
    await connection.execute(load_queries()["load_keyring"], list(vault.nodes), list(vault.nodes.values()))


def _date(day: int) -> date:
    return to_datetime(day * DAY).date()


def _number(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()
