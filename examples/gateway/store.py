"""One SQLite file: what must survive a restart. Written by one thread, many callers to a transaction.

A caller's work is a function of the connection; it runs whole or not at all (a savepoint of its own), and its future is
answered after the commit that made it durable: what a client was told is on disk. Work that arrives while a transaction is
being written shares the next one, so a thousand conversations cost a few ``fsync`` a second and not a thousand.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from deskline.errors import UsageError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, shop_id TEXT NOT NULL, channel TEXT NOT NULL, customer TEXT NOT NULL, about TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'new',      -- new (nothing written yet), open, closed
    owner TEXT, on_hold INTEGER NOT NULL DEFAULT 0,
    told_at INTEGER NOT NULL DEFAULT 0,     -- time of the last event told of it
    agent_wrote_at INTEGER, suggestions TEXT, reminder TEXT,
    version INTEGER NOT NULL DEFAULT 0      -- counts changes: screens look again when it differs
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
    conversation_id TEXT NOT NULL, seq INTEGER NOT NULL, message_id TEXT NOT NULL,
    author_kind TEXT NOT NULL, author_id TEXT NOT NULL, text TEXT NOT NULL, masked_text TEXT, extra TEXT,
    at INTEGER NOT NULL, in_reply_to TEXT, read_at INTEGER,
    reply_id TEXT UNIQUE, fate TEXT, deliver_by INTEGER, answered_at INTEGER, sent_at INTEGER,
    PRIMARY KEY (conversation_id, seq), UNIQUE (conversation_id, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS undelivered ON messages (deliver_by) WHERE fate = 'pending';
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL, state TEXT NOT NULL,   -- queued, assigned, ended
    cause TEXT NOT NULL, priority INTEGER NOT NULL, position INTEGER, estimated_wait_s REAL, waiting_since TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS requests_of ON requests (conversation_id);
CREATE TABLE IF NOT EXISTS assignments (
    id TEXT PRIMARY KEY, request_id TEXT NOT NULL, conversation_id TEXT NOT NULL, agent_id TEXT NOT NULL,
    state TEXT NOT NULL,                    -- offered, held, ended
    accept_by INTEGER, at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS assignments_of ON assignments (conversation_id);
CREATE INDEX IF NOT EXISTS desks ON assignments (agent_id) WHERE state <> 'ended';
CREATE TABLE IF NOT EXISTS complaints (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL, category TEXT, state TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS clocks (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL, metric TEXT NOT NULL, state TEXT NOT NULL, due_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS clocks_of ON clocks (conversation_id);
CREATE TABLE IF NOT EXISTS agents (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, capacity INTEGER, told_at INTEGER NOT NULL, seen_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS done (scope TEXT PRIMARY KEY, asked TEXT NOT NULL, answer TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS heard (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL
) STRICT;
"""


class Store:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "gateway-store")
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._busy = False
        self._connection: sqlite3.Connection | None = None
        self.secret = b""
        """Of this gateway: what its customers and agents are handed is signed with it."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            self.secret = await loop.run_in_executor(self._thread, self._open)
        except sqlite3.Error as error:
            self._thread.shutdown()
            raise UsageError(
                f"{self._path}: {error}; does another gateway run on it, or is it no file of a gateway?"
            ) from None
        return self

    def _open(self) -> bytes:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._path.chmod(0o600)  # what customers wrote
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # A second process on the same file would deliver everything a second time.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.executescript(SCHEMA)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (secrets.token_hex(32),))
        (found,) = connection.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
        return bytes.fromhex(found)

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def run(self, work: Work[T]) -> T:
        """The result of ``work``, once it is durable; what it raises undoes it alone."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if not self._busy:
            self._busy = True
            self._next()
        return await future

    def _next(self) -> None:
        batch, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._commit, [work for work, _ in batch])
        writing.add_done_callback(lambda done: self._answer(batch, done))

    def _answer(self, batch: list[tuple[Work[Any], asyncio.Future[Any]]], done: asyncio.Future[list[Any]]) -> None:
        failed = done.exception()
        results = [failed] * len(batch) if failed is not None else done.result()
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue  # its caller has gone; the work is done all the same
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._waiting:
            self._next()
        else:
            self._busy = False

    def _commit(self, works: list[Work[Any]]) -> list[Any]:
        connection = self._connection
        assert connection is not None
        results: list[Any] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for work in works:
                connection.execute("SAVEPOINT work")
                try:
                    results.append(work(connection))
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this caller's alone
                    connection.execute("ROLLBACK TO work")
                    results.append(error)
                connection.execute("RELEASE work")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results
