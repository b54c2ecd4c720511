"""What goes wrong in the night, with the veil on: killed processes, a full disk, a rewritten topic, days that are missing."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from tests.kafka.test_archive_keep import TOPIC, gauge, home, position, running, send, settings  # noqa: F401 - fixtures
from tests.kafka.test_archive_service import all_stored, in_archive, in_kafka, message

from deskline import topics
from deskline.kafka import producer
from deskline.migrate import migrate
from deskline.settings import ServiceSettings
from deskline.stack.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


class Process:
    """The archive as a process, started again whenever it ends, as a supervisor does it."""

    def __init__(self, settings, home):  # noqa: F811
        self._environment = os.environ | {
            "DESKLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "DESKLINE_TOPIC_PREFIX": settings.topic_prefix,
            "DESKLINE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
            "DESKLINE_SESSION_TIMEOUT_S": "6",
            "DESKLINE_MAX_UNIT_RECORDS": "200",
            "DESKLINE_ARCHIVE_HOME": str(home),
        }
        self.process = None
        self.ends = []

    async def __aenter__(self):
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_):
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def _keep(self):
        while True:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from deskline_archive.cli import app; app()"),
                env=self._environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            self.ends.append(await self.process.wait())
            await asyncio.sleep(0.5)


class Writer:
    """Writes records without pause, through outages; remembers those that the broker has acknowledged."""

    def __init__(self, settings, text="退款什么时候到账?"):  # noqa: F811
        self._settings = settings
        self._text = text
        self.acknowledged = {}

    async def write(self, over):
        client, written = producer(self._settings, "test"), 0
        await client.start()
        try:
            while not over.is_set():
                batch = []
                for number in range(written, written + 50):
                    key, value = message(number)
                    value = value.replace("退款什么时候到账?".encode(), self._text.encode())
                    batch.append((value, await client.send(self._settings.topic_prefix + TOPIC, value, key=key)))
                for value, sent in batch:
                    with contextlib.suppress(KafkaError, TimeoutError):
                        found = await asyncio.wait_for(asyncio.shield(sent), 60)
                        self.acknowledged[found.topic, found.partition, found.offset] = value
                written += 50
                await asyncio.sleep(0.02)
        finally:
            await client.stop()


async def count(dsn):
    """How much is stored; None while the database is away."""
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval("SELECT count(*) FROM archive.raw_records")
        finally:
            await connection.close()
    return None


@contextlib.contextmanager
def durable_postgres(folder):
    Path(folder).chmod(0o711)
    server = EmbeddedPostgres(Path(folder) / "postgres", dies_with_parent=True).start()
    try:
        yield server
    finally:
        server.stop("immediate")


async def on(kafka, topic_prefix, dsn, partitions=2):
    found = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(dsn), session_timeout_s=6
    )
    await migrate(dsn)
    await topics.apply(found, partitions=partitions)
    return found


async def veiled(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(
            "SELECT bool_and(generation IS NOT NULL) FROM archive.raw_records WHERE type = 'message.received.v1'"
        )
    finally:
        await connection.close()


async def test_kill_9_of_service_broker_and_database_leaves_one_copy_of_every_acknowledged_record(
    own_broker, tmp_path, eventually
):
    with (
        tempfile.TemporaryDirectory(prefix="deskline-pg-", ignore_cleanup_errors=True) as folder,
        durable_postgres(folder) as server,
    ):
        found = await on(own_broker.bootstrap_servers, "k-", server.dsn)
        writer, over = Writer(found), asyncio.Event()
        async with Process(found, tmp_path / "archive") as archive:
            writing = asyncio.create_task(writer.write(over))

            async def grows(what):
                before = await count(server.dsn) or 0

                async def grown():
                    now = await count(server.dsn)
                    return now is not None and now > before + 100

                await eventually(grown, f"the archive grows {what}", 90)

            await grows("at first")
            for turn in range(2):
                archive.process.kill()
                await grows("after its own kill")
                own_broker.kill_node(1)
                await asyncio.sleep(1)
                own_broker.start_node(1)
                await grows("after the broker's kill")
                server.kill()
                await asyncio.sleep(1 + turn)
                server.start()
                await grows("after the database's kill")
            over.set()
            await writing
            stored = await all_stored(found, eventually, 120)
        assert len(writer.acknowledged) > 500
        # in_archive has refused a second copy; nothing acknowledged is missing, nor another.
        wrong = [where for where, value in writer.acknowledged.items() if stored.get(where, (0, 0, 0, b""))[3] != value]
        assert wrong == []
        assert archive.ends.count(-9) >= 2
        assert await veiled(server.dsn)


@pytest.fixture
def small_disk():
    """A file system of a gigabyte."""
    with tempfile.TemporaryDirectory(prefix="deskline-disk-") as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1g,mode=711", "tmpfs", folder],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no small disk to fill: mount says {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


async def test_a_full_disk_holds_up_the_archive_which_skips_nothing(
    kafka, topic_prefix, small_disk, tmp_path, eventually
):
    with durable_postgres(small_disk) as server:
        found = await on(kafka, topic_prefix, server.dsn)
        writer, over = Writer(found, "退款 " * 400), asyncio.Event()
        async with Process(found, tmp_path / "archive") as archive:
            writing = asyncio.create_task(writer.write(over))

            async def some():
                return (await count(server.dsn) or 0) > 100

            await eventually(some, "something is stored", 60)
            filler = small_disk / "filler"
            with filler.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()

            def full():
                log = "".join(path.read_text() for path in server.directory.glob("server.log*"))
                return "No space left on device" in log

            await eventually(full, "PostgreSQL has no room", 60)
            await asyncio.sleep(5)
            over.set()
            await writing
            filler.unlink()
            if not server.running():
                server.start()

            async def whole():
                # PostgreSQL recovers meanwhile.
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    return await in_archive(found) == await in_kafka(found)

            await eventually(whole, "the archive is what Kafka is", 120)
            stored = await in_archive(found)
            # It waited; it neither ended nor went on without a record.
            assert archive.ends == []
        assert len(writer.acknowledged) > 100
        assert [where for where, value in writer.acknowledged.items() if stored[where][3] != value] == []
        assert await veiled(server.dsn)


@pytest.mark.parametrize("grown", [10, 60], ids=["shorter", "grown past our position"])
async def test_a_topic_made_anew_under_its_name_stops_its_partition_and_no_other(settings, home, grown, eventually):  # noqa: F811
    async with running(settings) as runtime:
        await send(settings, 25)
        await send(settings, 3, topic="replies.v1")
        await eventually(lambda: position(runtime) == 25, "all stored", 40)
    before = await in_archive(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([settings.topic_prefix + TOPIC])

        async def again():
            answer = await admin.create_topics(
                [
                    NewTopic(
                        settings.topic_prefix + TOPIC, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"}
                    )
                ]
            )
            return all(code == 0 for _, code, *_ in answer.topic_errors)

        await eventually(again, "the topic is made anew", 30)
    finally:
        await admin.close()
    await send(settings, grown, first=1000)
    async with running(settings) as runtime:
        await eventually(lambda: f"{TOPIC}/0" in runtime.engine.lanes, "lanes", 40)
        await eventually(lambda: runtime.engine.lanes[f"{TOPIC}/0"].blocked, "it stops", 60)
        assert position(runtime) == 25
        await send(settings, 2, topic="replies.v1", first=3)
        await eventually(lambda: runtime.engine.lanes["replies.v1/0"].positions["replies.v1"] == 5, "others go on", 40)
    after = await in_archive(settings)
    assert {where: after[where] for where in before} == before
    assert Counter(topic.removeprefix(settings.topic_prefix) for topic, _, _ in after)[TOPIC] == 25
    # What stands in Kafka now is not taken for what stood there.
    assert not any(value == b"value 1000" for _, _, _, value in after.values())
    assert any(value == b"value 1000" for _, _, _, value in (await in_kafka(settings)).values())


async def test_days_that_are_missing_are_made_when_a_record_comes_and_ahead_again(
    settings,  # noqa: F811
    home,  # noqa: F811
    database,
    eventually,
):
    """Somebody took today's table and tomorrow's while the service thinks that it has them."""
    async with running(settings) as runtime:
        await eventually(lambda: (gauge(runtime, "days_ahead") or 0) >= 7, "days are made", 40)
        owner = await asyncpg.connect(database, server_settings={"search_path": "archive"})
        try:
            today = datetime.now(UTC).date()
            names = [f"records_{today + timedelta(days=number):%Y%m%d}" for number in range(8)]
            for name in names:
                await owner.execute(f"ALTER TABLE raw_records DETACH PARTITION {name}; DROP TABLE {name}")
            await send(settings, 25)
            await eventually(lambda: position(runtime) == 25, "all stored", 60)
            made = "SELECT count(*) FROM days WHERE day >= (now() AT TIME ZONE 'UTC')::date"

            async def ahead():
                return await owner.fetchval(made) >= 8

            await eventually(ahead, "the coming days are there again", 60)
            assert (gauge(runtime, "days_ahead") or 0) >= 7
        finally:
            await owner.close()
    assert sum(topic.endswith(TOPIC) for topic, _, _ in await in_archive(settings)) == 25
