"""The servers of ``python -m tests.oracle``: embedded, fresh, and gone afterwards."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
from pydantic import SecretStr
from tests.oracle import in_process, processes
from tests.oracle.judge import Verdict

from deskline.migrate import migrate
from deskline.settings import ServiceSettings
from deskline.stack.kafka import EmbeddedKafka
from deskline.stack.postgres import EmbeddedPostgres
from deskline.topics import apply

Play = Callable[[int, int], Awaitable[tuple[Verdict, Counter[str]]]]


class Plays(NamedTuple):
    """(seed, conversations) → what the oracle says, and what was done to sla."""

    in_process: Play
    processes: Play


@contextmanager
def started(folder: Path, *, kafka: bool) -> Iterator[Plays]:
    postgres = EmbeddedPostgres(folder / "postgres", durable=False, dies_with_parent=True).start()
    broker = EmbeddedKafka(folder / "kafka", dies_with_parent=True).start() if kafka else None
    addresses = broker.bootstrap_servers if broker is not None else "none:9092"

    async def settings() -> ServiceSettings:
        name = f"o{secrets.token_hex(6)}"
        connection = await asyncpg.connect(postgres.dsn)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await connection.close()
        dsn = postgres.dsn_of(name)
        await migrate(dsn, say=lambda _: None)
        return ServiceSettings(bootstrap_servers=addresses, topic_prefix=f"{name}-", postgres_dsn=SecretStr(dsn))

    async def by_itself(seed: int, conversations: int) -> tuple[Verdict, Counter[str]]:
        return await in_process.run(seed, conversations, await settings())

    async def with_processes(seed: int, conversations: int) -> tuple[Verdict, Counter[str]]:
        made = await settings()
        await apply(made, partitions=processes.PARTITIONS)
        return await processes.run(seed, conversations, made)

    by_itself.__name__, with_processes.__name__ = "in process", "processes"
    try:
        yield Plays(by_itself, with_processes)
    finally:
        if broker is not None:
            broker.kill_node(1)
        postgres.stop("immediate")
