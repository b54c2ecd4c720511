"""What chaos breaks: a World whose services reach their servers through proxies, and a database that has a standby."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tests.chaos.proxy import Proxy
from tests.faults.world import CONFIG, SESSION_S, TWO_OF_EACH, Servers, World

from deskline.stack.files import HOST, free_ports
from deskline.stack.kafka import EmbeddedKafka
from deskline.stack.postgres import EmbeddedPostgres, find_binaries
from deskline.stack.stack import Options, Stack

CLOCK = Path(__file__).with_name("clock.py")


class Broker(EmbeddedKafka):
    """With a second listener, which says that it is where the proxy is."""

    def __init__(self, directory: Path, behind: int, proxied: int) -> None:
        super().__init__(directory, dies_with_parent=True)
        self._behind, self._proxied = behind, proxied

    def _properties(self, node: int) -> dict[str, str]:
        found = super()._properties(node)
        own = found["listeners"].split(",")[0]
        return found | {
            "listeners": f"{found['listeners']},PROXY://{HOST}:{self._behind}",
            "advertised.listeners": f"{own},PROXY://{HOST}:{self._proxied}",
            "listener.security.protocol.map": found["listener.security.protocol.map"] + ",PROXY:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }


class ChaosServers(Servers):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        behind, kafka_port, postgres_port = free_ports(3)
        self.kafka = Broker(folder / "kafka", behind, kafka_port)
        self.postgres = EmbeddedPostgres(folder / "postgres", dies_with_parent=True)
        self.kafka_way = Proxy(kafka_port, behind)
        self.postgres_way = Proxy(postgres_port, 0)
        self.standby: EmbeddedPostgres | None = None
        self.database = ""

    async def open_ways(self) -> None:
        self.postgres_way.upstream = self.postgres.port
        await self.kafka_way.start()
        await self.postgres_way.start()

    async def new_database(self) -> str:
        dsn = await super().new_database()
        self.database = urlsplit(dsn).path.removeprefix("/")
        return self._by_proxy(dsn)

    @property
    def direct_dsn(self) -> str:
        """Of the test's database, past the proxy."""
        return self.postgres.dsn_of(self.database)

    def _by_proxy(self, dsn: str) -> str:
        parts = urlsplit(dsn)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@{HOST}:{self.postgres_way.port}"))

    async def sql(self, statement: str, *values: Any) -> Any:
        connection = await asyncpg.connect(self.direct_dsn)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    # --- a standby ----------------------------------------------------------------------------------------------------

    async def add_standby(self) -> None:
        """A copy that streams, and without which nothing is acknowledged from now on."""
        made = EmbeddedPostgres(self.folder / "standby", dies_with_parent=True)
        made._load()
        await asyncio.to_thread(self._copy, made)
        await asyncio.to_thread(made.prepare)
        made.spawn()
        self.standby = made
        connection = await asyncpg.connect(self.direct_dsn)
        try:
            async with asyncio.timeout(60):
                await _seen(connection, "state = 'streaming'")
                await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                await connection.execute("SELECT pg_reload_conf()")
                await _seen(connection, "sync_state = 'sync'")
        finally:
            await connection.close()

    def _copy(self, made: EmbeddedPostgres) -> None:
        tool = find_binaries().folder / "pg_basebackup"
        data = made.directory / "data"
        done = subprocess.run(
            [tool, "-D", data, "-R", "-X", "stream", "-c", "fast", "-d", self.postgres.dsn],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        # Of its own: it answers on another port, and waits for nobody once it leads.
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")
        if made._account is not None:
            owner = pwd.getpwnam(made._account)
            for path in (data, *data.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    async def fail_over(self) -> None:
        """The database dies; its standby takes its place."""
        assert self.standby is not None
        parts = urlsplit(self.direct_dsn)
        self.postgres_way.set("cut")
        await asyncio.to_thread(self.postgres.kill)
        login = parts.netloc.rpartition("@")[0]
        dsn = urlunsplit(parts._replace(netloc=f"{login}@{HOST}:{self.standby.port}"))
        connection = await asyncpg.connect(dsn)
        try:
            assert await connection.fetchval("SELECT pg_promote(true, 60)")
        finally:
            await connection.close()
        # From here on it is the database: the same roles and passwords, another port.
        self.standby._password = self.postgres._password
        self.postgres, self.standby = self.standby, None
        self.postgres_way.turn(self.postgres.port)
        self.postgres_way.set("pass")


async def _seen(connection: Any, condition: str) -> None:
    """A standby of which this holds."""
    while not await connection.fetchval(f"SELECT count(*) FROM pg_stat_replication WHERE {condition}"):  # noqa: ASYNC110  (the server tells nobody)
        await asyncio.sleep(0.2)


def chaos_world(servers: ChaosServers, clock: Path) -> World:
    """Two instances of each service, behind the proxies, with a clock that can be put wrong."""
    environment = {
        "DESKLINE_SESSION_TIMEOUT_S": str(SESSION_S),
        "DESKLINE_BOOTSTRAP_SERVERS": f"{HOST}:{servers.kafka_way.port}",
        "DESKLINE_CHAOS_CLOCK": str(clock),
    }

    def make(options: Options) -> Stack:
        return Stack(replace(options, command=lambda service: [sys.executable, str(CLOCK), service]))

    return World(servers, TWO_OF_EACH, environment=environment, make=make)


__all__ = ["CONFIG", "ChaosServers", "chaos_world"]
