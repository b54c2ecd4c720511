"""A stack to break, traffic for it, and the question at the end: has everything come to rest, and is it right?

``Servers`` is one broker and one PostgreSQL, ``World`` the services on them, with short sessions, the shops of ``config``
and topics and a database of their own. ``play`` sends traffic while faults happen beside it; ``rest`` waits until every instance has said for ten seconds that it is caught
up (contract §6, rule 4 is measured then); ``judge`` reads topics and the archive and asks the checker.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import Any, Literal, Self

import asyncpg
from tests.checker import Log, Report, Settings, check, stories
from tests.checker.source import Addresses, read
from tests.load import Plan, Shape, Traffic
from tests.load.again import book_of, compare

from deskline.records import CONVERSATIONS, REPLIES, ROUTING
from deskline.stack.http import get
from deskline.stack.kafka import EmbeddedKafka
from deskline.stack.postgres import EmbeddedPostgres
from deskline.stack.stack import Options, Stack
from deskline.stack.supervisor import Instance
from deskline.topic_reader import opened

CONFIG = Path(__file__).parent / "config"
AGENTS = tuple(f"agent-{number:02d}" for number in range(24))
SESSION_S = 3.0
"""Long enough for a busy machine to send its heartbeats, short enough that a test can sit through it."""
QUIET_S = 10.0
PARTITIONS = 4
SERVICES = ("archive", "autoreply", "router", "sla")
TWO_OF_EACH = dict.fromkeys(SERVICES, 2)
ONE_OF_EACH = dict.fromkeys(SERVICES, 1)


def seed() -> int:
    """``DESKLINE_SEED``, or one drawn for this run; it is printed."""
    given = os.environ.get("DESKLINE_SEED")
    return int(given) if given else random.SystemRandom().randrange(10**6)


def total_messages() -> int:
    """``DESKLINE_FAULT_MESSAGES``: over the whole plan, which gives every fault its share."""
    return int(os.environ.get("DESKLINE_FAULT_MESSAGES", "100000"))


def say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", flush=True)


class Servers:
    """The brokers and the database of a module, and the faults that befall them."""

    def __init__(self, folder: Path, brokers: Literal[1, 3]) -> None:
        self.folder = folder
        self.kafka = EmbeddedKafka(folder / "kafka", nodes=brokers, dies_with_parent=True)
        # Durable: an immediate stop must not lose what was acknowledged, and without it the last commits are.
        self.postgres = EmbeddedPostgres(folder / "postgres", dies_with_parent=True)

    def start(self) -> Self:
        self.kafka.start()
        self.postgres.start()
        return self

    def stop(self) -> None:
        for node in self.kafka.nodes:
            self.kafka.kill_node(node)
        self.postgres.stop("immediate")

    async def restart_kafka(self, *nodes: int, kill: bool, away_s: float) -> None:
        """Take these nodes away, together, and bring them back."""
        end = self.kafka.kill_node if kill else self.kafka.stop_node
        for node in nodes:
            await asyncio.to_thread(end, node)
        await asyncio.sleep(away_s)
        await _start(self.kafka)

    async def restart_postgres(self, mode: Literal["fast", "immediate"], *, away_s: float) -> None:
        await asyncio.to_thread(self.postgres.stop, mode)
        await asyncio.sleep(away_s)
        await _start(self.postgres)

    async def copy_database(self, to: Path) -> None:
        """The whole cluster as it is now, stopped in order for it."""
        await asyncio.to_thread(self.postgres.stop, "fast")
        await _copied(self.postgres.directory / "data", to)
        await _start(self.postgres)

    async def put_back_database(self, copy: Path) -> None:
        """The cluster as it was: what came since is gone."""
        await asyncio.to_thread(self.postgres.stop, "fast")
        await asyncio.to_thread(shutil.rmtree, self.postgres.directory / "data")
        await _copied(copy, self.postgres.directory / "data")
        await _start(self.postgres)

    async def new_database(self) -> str:
        name = f"f{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await connection.close()
        return self.postgres.dsn_of(name)


def _caught_up(answer: tuple[int, bytes] | None) -> bool:
    return answer is not None and answer[0] == 200 and bool(json.loads(answer[1])["caught_up"])


async def _copied(folder: Path, to: Path) -> None:
    """With its owner, whom PostgreSQL asks for."""
    process = await asyncio.create_subprocess_exec("cp", "-a", folder, to)
    assert await process.wait() == 0


async def _start(server: EmbeddedKafka | EmbeddedPostgres) -> None:
    await asyncio.to_thread(server.prepare)
    server.spawn()  # in this thread: the server ends with the thread that started it
    await asyncio.to_thread(server.wait_ready)


class World:
    """``async with World(servers) as world``: services with topics and a database of their own."""

    def __init__(
        self,
        servers: Servers,
        replicas: Mapping[str, int] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        make: Callable[[Options], Stack] = Stack,
        **options: Any,
    ) -> None:
        self.servers = servers
        self.counts: Counter[str] = Counter()
        self._replicas = replicas or TWO_OF_EACH
        self._environment = {"DESKLINE_SESSION_TIMEOUT_S": str(SESSION_S), **(environment or {})}
        self._options = {"partitions": PARTITIONS, **options}
        self._make = make
        self._running: Stack | None = None

    @property
    def stack(self) -> Stack:
        assert self._running is not None
        return self._running

    async def __aenter__(self) -> Self:
        prefix = f"f{secrets.token_hex(4)}-"
        self._running = self._make(
            Options(
                state_dir=self.servers.folder / prefix,
                config_dir=CONFIG,
                bootstrap_servers=self.servers.kafka.bootstrap_servers,
                postgres_dsn=await self.servers.new_database(),
                topic_prefix=prefix,
                replicas=self._replicas,
                environment=self._environment,
                **self._options,
            )
        )
        started = time.monotonic()
        await self.stack.start()
        say(f"services are ready after {time.monotonic() - started:.1f} s")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stack.stop()

    # --- traffic -----------------------------------------------------------------------------------------------------

    async def play(
        self,
        seed: int,
        records: int,
        *,
        rate: float = 400.0,
        agents: tuple[str, ...] = AGENTS,
        dirt: float = 0.02,
        settle_s: float = 40.0,
        played: Callable[[], None] = lambda: None,
        **plan_fields: Any,
    ) -> Counter[str]:
        plan = Plan(seed, records, agents, rate, Shape(dirt_share=dirt), settle_s, **plan_fields)
        started = time.monotonic()
        counts = await Traffic(plan, self.stack.bootstrap_servers, self.stack.options.topic_prefix).run(played)
        self.counts += counts
        say(f"sent {counts['sent']} records of {counts['talks']} conversations in {time.monotonic() - started:.0f} s")
        return counts

    # --- the end -----------------------------------------------------------------------------------------------------

    async def rest(self, timeout_s: float = 120.0, *, quiet_s: float = QUIET_S) -> None:
        """Every instance has said for ``quiet_s`` without a break that it is ready and caught up."""
        began = time.monotonic()
        deadline = began + timeout_s
        since: float | None = None
        behind: list[str] = []
        last = "nobody"
        while since is None or time.monotonic() - since < quiet_s:
            behind = await self._behind()
            if behind:
                since, last = None, behind[0]
            elif since is None:
                since = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not at rest within {timeout_s:.0f} s: {'; '.join(behind)}\n{self.logs()}")
            await asyncio.sleep(0.2)
        say(f"at rest after {time.monotonic() - began:.0f} s; behind last: {last}")

    async def _behind(self) -> list[str]:
        """Who is behind, three times in a row: for some milliseconds anybody is who fires a timer or looks for news."""
        behind = list(self.stack.services.instances)
        said: list[tuple[int, bytes] | None] = []
        for _ in range(3):
            said = await asyncio.gather(*(get(f"{instance.http}/readyz") for instance in behind))
            answers = [(i, a) for i, a in zip(behind, said, strict=True) if not _caught_up(a)]
            behind, said = [i for i, _ in answers], [a for _, a in answers]
            if not behind:
                return []
            await asyncio.sleep(0.05)
        return [f"{i.name}: {'no answer' if a is None else a[1]!r}" for i, a in zip(behind, said, strict=True)]

    async def judge(self, *, archive_within_s: float = 60.0) -> tuple[Report, Log, Settings]:
        """What the checker finds, and in what."""
        addresses = Addresses(self.stack.bootstrap_servers, self.stack.postgres_dsn, self.stack.options.topic_prefix)
        log, end_at = await read(addresses, archive_within_s=archive_within_s)
        settings = Settings(end_at)
        return await asyncio.to_thread(check, log, settings), log, settings

    async def is_right(self) -> Report:
        """At rest, and no rule of contract §6 is broken."""
        await self.rest()
        report, log, settings = await self.judge()
        counted = ", ".join(f"{report.counts[name]} {name}" for name in ("records", "duplicates", "invalid", "letters"))
        say(f"judged {counted}: {len(report.violations)} violations")
        assert report.ok, f"\n{report.text(5)}\n{stories(log, settings, report.violations)}\n{self.logs()}"
        return report

    async def decides_again(self) -> int:
        """What autoreply published, decided anew from the records: byte for byte the same (contract §6.7). How many."""
        async with opened(self.stack.settings()) as reader:
            topics = (CONVERSATIONS, ROUTING, REPLIES)
            records = {topic: [record async for record in reader.until_end(topic)] for topic in topics}
        compared = await asyncio.to_thread(compare, book_of(CONFIG), records)
        say(f"decided {compared.same} messages again, {compared.repeated} outputs had been published twice")
        assert not compared.missing, compared.missing[:3]
        assert not compared.different, compared.different[:1]
        return compared.same

    # --- looking on --------------------------------------------------------------------------------------------------

    async def ready(self, instance: Instance) -> bool:
        answer = await get(f"{instance.http}/readyz")
        return answer is not None and answer[0] == 200

    async def restarted(self, service: str, number: int, within_s: float = 180) -> int | None:
        """Ask an instance to end, wait for its successor to be ready; its exit code."""
        instance = self.stack.services.find(service, number)
        process, starts = instance.process, instance.starts
        assert process is not None
        process.signal(SIGTERM)
        async with asyncio.timeout(within_s):
            while instance.starts == starts or not await self.ready(instance):  # noqa: ASYNC110  (a new process raises no event)
                await asyncio.sleep(0.05)
        return process.exit_code

    async def caught_up(self, service: str, within_s: float = 180) -> None:
        """Wait until each of its instances says so."""
        async with asyncio.timeout(within_s):
            for instance in [each for each in self.stack.services.instances if each.service == service]:
                while not _caught_up(await get(f"{instance.http}/readyz")):  # noqa: ASYNC110  (a process raises no event)
                    await asyncio.sleep(0.1)

    async def with_lanes(self, service: str) -> list[int]:
        """Numbers of the instances that say they hold partitions."""
        instances = [instance for instance in self.stack.services.instances if instance.service == service]
        answers = await asyncio.gather(*(get(f"{instance.http}/readyz", 0.5) for instance in instances))
        return [
            instance.number
            for instance, answer in zip(instances, answers, strict=True)
            if answer is not None and json.loads(answer[1])["lanes"]
        ]

    def signal(self, service: str, number: int, what: Signals) -> bool:
        """Whether there was a process to get it."""
        process = self.stack.services.find(service, number).process
        if process is None or process.exit_code is not None:
            return False
        process.signal(what)
        return True

    def restarts(self) -> int:
        return sum(instance.starts - 1 for instance in self.stack.services.instances)

    def logged(self, event: str) -> int:
        """How often the instances together have logged this."""
        logs = (self.stack.state_dir / "logs").glob("*.log")
        return sum(log.read_text(errors="replace").count(json.dumps(event)) for log in logs)

    def logs(self, lines: int = 4) -> str:
        """The last warnings and errors of every instance."""
        found = []
        for log in sorted((self.stack.state_dir / "logs").glob("*.log")):
            bad = [line for line in log.read_text(errors="replace").splitlines() if '"level": "info"' not in line]
            found += [f"{log.stem}: {line[:400]}" for line in bad[-lines:]]
        return "\n".join(found)
