"""Database migrations: plain numbered SQL files, one schema and one least-privilege role per service.

For each schema, in the order of ``plan``: the role ``deskline_<schema>`` (no login) and the schema are made; then the
files that are not yet in ``<schema>.migrations`` run in the order of their names, each in one transaction with its
entry. A file that changed after it was applied is refused: write a new one; only where its new text does the same, for more
servers perhaps, it names the old text's hash (``-- formerly: <sha256>``) and goes for it. Files run as the migrating login with
``search_path`` = the schema; ``{{schema}}`` and ``{{role}}`` are replaced; each grants its role what it needs.

Any number of migrations may run at once: an advisory lock serialises those of one database, and what is shared by a
whole server (roles) is made in a way that survives races between databases.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import asyncpg

from deskline.errors import UsageError

GROUP: Final = "deskline.services"
_LOCK: Final = 0x6465_736B_6C69_6E65  # "deskline"
# Another migration of the same database holds the lock; the longest one builds an index on a day of the archive.
_LOCK_WAIT_S: Final = 300
_RACES: Final = 20
_FORMERLY: Final = re.compile(r"^-- formerly: ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. ``name`` is ``<owner>/<file>``, unique within its schema."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def is_one_of(self, applied: str) -> bool:
        """Whether what has been applied is this text or an earlier one that did the same."""
        return applied == self.sha256 or applied in _FORMERLY.findall(self.sql)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema with its migrations in order."""

    name: str
    migrations: tuple[Migration, ...]

    @property
    def role(self) -> str:
        return f"deskline_{self.name}"


def plan() -> tuple[Schema, ...]:
    """What there is to apply: configuration first, then every installed service, its engine tables first."""
    engine = _read("engine", files("deskline").joinpath("sql"))
    schemas = [Schema("config", _read("config", files("deskline.config").joinpath("migrations")))]
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.module.partition(".")[0]
        schemas.append(Schema(entry.name, (*engine, *_read(entry.name, files(package).joinpath("migrations")))))
    return tuple(schemas)


def _read(owner: str, folder: Traversable) -> tuple[Migration, ...]:
    if not folder.is_dir():
        return ()
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(Migration(f"{owner}/{file.name}", file.read_text(encoding="utf-8")) for file in found)


def pending(schema: Schema, applied: dict[str, str]) -> list[Migration]:
    """Migrations to run. ``applied``: name → sha256. Raises ``UsageError`` for a file that was changed afterwards."""
    for migration in schema.migrations:
        if not migration.is_one_of(applied.get(migration.name, migration.sha256)):
            raise UsageError(
                f"{migration.name} was changed after it was applied to schema {schema.name}. Undo the change and put it "
                "in a new file with the next number. (A database without data worth keeping: deskline down --wipe.)"
            )
    return [migration for migration in schema.migrations if migration.name not in applied]


def newer(schema: Schema, applied: dict[str, str]) -> list[str]:
    """What a newer version has applied. No error: releases are rolled out, and back, with both versions running."""
    return sorted(applied.keys() - {migration.name for migration in schema.migrations})


async def migrate(
    dsn: str,
    *,
    password: str | None = None,
    schemas: Sequence[Schema] | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply what is missing; returns ``<schema>: <file>`` for each file that was, or with ``dry_run`` would be, applied.

    ``password`` of the login, where the DSN has none.
    """
    connection = await open_connection({"dsn": dsn} if password is None else {"dsn": dsn, "password": password})
    try:
        await connection.execute(f"SET lock_timeout = '{_LOCK_WAIT_S}s'")
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        done: list[str] = []
        for schema in plan() if schemas is None else schemas:
            applied = await _applied(connection, schema)
            for name in newer(schema, applied):
                say(f"{schema.name}: {name} is of a newer deskline; it stays")
            for migration in pending(schema, applied):
                done.append(f"{schema.name}: {migration.name}")
                if not dry_run:
                    await _apply(connection, schema, migration)
                    say(done[-1])
        return done
    except asyncpg.LockNotAvailableError as error:
        raise UsageError(f"Another migration of this database has been running for {_LOCK_WAIT_S} s.") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UsageError(
            f"The login of --postgres-dsn may not migrate: {error}. It needs CREATEROLE and the right to create schemas in "
            "its database."
        ) from error
    finally:
        await connection.close()


async def open_connection(options: Mapping[str, Any]) -> "asyncpg.Connection[asyncpg.Record]":
    """For those who change roles and tables; ``options`` are asyncpg's ``dsn`` and ``password``."""
    try:
        return await asyncpg.connect(
            **options,
            server_settings={"application_name": "deskline-migrate", "client_min_messages": "warning"},
            timeout=15,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise UsageError(f"PostgreSQL cannot be reached with the given DSN: {error or type(error).__name__}") from error


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]", schema: Schema) -> dict[str, str]:
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema.name}.migrations") is None:
        return {}
    rows = await connection.fetch(f"SELECT name, sha256 FROM {schema.name}.migrations")  # noqa: S608  (our own names)
    return {row["name"]: row["sha256"] for row in rows}


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", schema: Schema, migration: Migration) -> None:
    await _prepare(connection, schema)
    sql = migration.sql.replace("{{schema}}", schema.name).replace("{{role}}", schema.role)
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path = {schema.name}")
            await connection.execute(sql)
            await connection.execute(
                f"INSERT INTO {schema.name}.migrations (name, sha256) VALUES ($1, $2)",  # noqa: S608  (our own names)
                migration.name,
                migration.sha256,
            )
    except asyncpg.InsufficientPrivilegeError:
        raise
    except asyncpg.PostgresError as error:
        raise UsageError(f"{migration.name} failed in schema {schema.name}: {error}") from error


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]", schema: Schema) -> None:
    """Role, schema and the table of applied migrations."""
    await _ensure_role(connection, schema.role)
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema.name}")
        await connection.execute(f"GRANT USAGE ON SCHEMA {schema.name} TO {schema.role}")
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {schema.name}.migrations ("
            "name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> None:
    """The role exists and this login may take it.

    Roles belong to the whole server and the advisory lock to one database, so two databases that migrate at once meet
    here: as a duplicate, a violated unique index or a concurrently updated row. Each means that the other won; look again.
    """
    for attempt in range(_RACES):
        try:
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {role} NOLOGIN")
            if not await _may_take(connection, role):
                await connection.execute(f"GRANT {role} TO CURRENT_USER")
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            if attempt == _RACES - 1:
                raise
            await asyncio.sleep(0.01 * (attempt + 1))


async def _may_take(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> bool:
    """Whether ``SET ROLE`` works: since PostgreSQL 16 the maker of a role administers it but may not take it."""
    kind = "SET" if connection.get_server_version().major >= 16 else "MEMBER"
    return bool(await connection.fetchval("SELECT pg_has_role(current_user, $1::name, $2)", role, kind))
