"""The running archive keeps itself: seals in three places, rotates keys, goes on behind explained gaps, makes days ahead."""

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.testing import CliRunner

from deskline import topics
from deskline.consumption import Engine
from deskline.kafka import producer
from deskline.metrics import EngineMetrics
from deskline.migrate import migrate
from deskline.service import Runtime
from deskline.settings import ServiceSettings
from deskline.tasks import end_all
from deskline_archive import keeper, verifier
from deskline_archive.app import build
from deskline_archive.cli import app

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

TOPIC = "conversations.v1"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name, value in {"HOME": tmp_path / "archive", "SEGMENT_RECORDS": 20, "SEAL_INTERVAL_S": 3600}.items():
        monkeypatch.setenv(f"DESKLINE_ARCHIVE_{name}", str(value))
    return tmp_path / "archive"


@pytest.fixture
async def settings(kafka, topic_prefix, database):
    found = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(database), session_timeout_s=6
    )
    await migrate(database)
    await topics.apply(found, partitions=1)
    return found


@asynccontextmanager
async def running(settings):
    """Engine and background jobs, as the process has them."""
    registry = CollectorRegistry()
    runtime = Runtime(settings, registry)
    runtime.engine = Engine(settings, build(runtime), ends=runtime.ends, metrics=EngineMetrics(registry))
    work = asyncio.create_task(runtime.engine.run())
    jobs = [asyncio.create_task(job()) for job in runtime.background]
    try:
        yield runtime
        assert not any(job.done() for job in jobs), "a background job ended"
    finally:
        runtime.engine.stop()
        try:
            await asyncio.wait_for(work, 20)
        finally:
            await end_all(jobs)
            await runtime.ends.stop()


async def send(settings, count, *, topic=TOPIC, first=0):
    client = producer(settings, "test")
    await client.start()
    try:
        for number in range(first, first + count):
            await client.send(settings.topic_prefix + topic, b"value %d" % number, key=b"c-1", partition=0)
        await client.flush()
    finally:
        await client.stop()


async def published(settings):
    """The notes on checkpoints.v1, in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(settings.topic_prefix + "checkpoints.v1", 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        found = []
        while await consumer.position(tp) < end:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                found += [json.loads(message.value) for message in messages]
        return found
    finally:
        await consumer.stop()


def command(settings, *words):
    dsn = settings.postgres_dsn.get_secret_value()
    told = [*map(str, words), "--topic-prefix", settings.topic_prefix, "--postgres-dsn", dsn]
    return asyncio.to_thread(CliRunner().invoke, app, told)


def position(runtime):
    lane = runtime.engine.lanes.get(f"{TOPIC}/0")
    return lane and lane.positions[TOPIC]


def gauge(runtime, name, **labels):
    return runtime.registry.get_sample_value(f"deskline_archive_{name}", labels)


async def test_the_service_seals_full_segments_and_rotates_keys_while_it_runs(settings, home, eventually):
    label = f"{settings.topic_prefix}{TOPIC}/0"
    checkpoints = home / "checkpoints" / label

    async def kept(number):
        await eventually((checkpoints / f"{number:010d}.checkpoint").exists, f"checkpoint {number}", 30)
        return (checkpoints / f"{number:010d}.checkpoint").read_text()

    async with running(settings) as runtime:
        await send(settings, 45)
        first = await kept(1)
        assert (await kept(2)).splitlines()[3] == "segment 2 20 40"
        assert [line.split()[1] for line in first.splitlines()[5:]] == ["archive.deskline"]
        # A second key begins to sign beside the first; then the first is taken away. Nothing restarts.
        made = await asyncio.to_thread(CliRunner().invoke, app, ["key"])
        assert made.exit_code == 0, made.output
        await send(settings, 20)
        both = await kept(3)
        (home / "keys" / "0001.pem").unlink()
        await send(settings, 20)
        second = await kept(4)
        lines = (home / "trusted.txt").read_text().splitlines()
        assert len(lines) == 2
        old, new = (verifier.trusted_keys(line) for line in lines)
        for note, by in ((first, (1, 0)), (both, (1, 1)), (second, (0, 1))):
            assert tuple(verifier.read_note(note, keys) is not None for keys in (old, new)) == by
        # The same notes, in order, on the topic.
        told = [each["data"]["note"] for each in await published(settings) if each["subject"] == f"{TOPIC}/0"]
        assert told == [first, await kept(2), both, second]
        assert gauge(runtime, "keeping_failed", task="sealing") == 0
        assert gauge(runtime, "seals_total") >= 4
        await eventually(lambda: (gauge(runtime, "days_ahead") or 0) >= 7, "days are made without a record")
        await eventually(
            lambda: gauge(runtime, "time_to_loss_seconds", topic=TOPIC, partition="0"), "how near loss is", 60
        )
        assert gauge(runtime, "time_to_loss_seconds", topic=TOPIC, partition="0") == pytest.approx(14 * 86400, abs=60)
        assert gauge(runtime, "records_to_log_start", topic=TOPIC, partition="0") >= 45
    done = await command(settings, "verify", "--trust", home / "trusted.txt")
    assert done.exit_code == 0, done.output
    assert f"{label}: 4 segments, 80 records" in done.output


async def test_a_partition_that_stopped_at_lost_records_goes_on_behind_an_explained_gap(
    settings, home, eventually, database
):
    label = f"{settings.topic_prefix}{TOPIC}/0"
    async with running(settings) as runtime:
        await send(settings, 25)
        await eventually((home / "checkpoints" / label / "0000000001.checkpoint").exists, "a seal", 30)
        await eventually(lambda: position(runtime) == 25, "all stored")
    await send(settings, 30)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(settings.topic_prefix + TOPIC, 0): RecordsToDelete(before_offset=40)})
    await admin.close()
    told = ("--who", "Li Lei", "--why", "disk lost", "--bootstrap-servers", settings.bootstrap_servers)
    async with running(settings) as runtime:
        await eventually(lambda: f"{TOPIC}/0" in runtime.engine.lanes, "lanes", 30)
        await eventually(lambda: runtime.engine.lanes[f"{TOPIC}/0"].blocked, "it stops", 30)
        done = await command(settings, "gap", f"{TOPIC}/0", "--yes", *told)
        assert (done.exit_code, "offsets 25 to 39 are explained" in done.output) == (0, True), done.output
        # By itself, within a pass.
        await eventually(lambda: position(runtime) == 55, "it goes on", 30)
        await send(settings, 5)
        await eventually((home / "checkpoints" / label / "0000000004.checkpoint").exists, "sealed behind", 30)
        notes = [(home / "checkpoints" / label / f"{n:010d}.checkpoint").read_text().splitlines()[3] for n in (2, 3, 4)]
        assert notes == ["segment 2 20 25", "segment 3 25 40", "segment 4 40 60"]
        again = await command(settings, "gap", f"{TOPIC}/0", "--yes", *told)
        assert isinstance(again.exception, Exception)
        assert "there can be no gap" in str(again.exception) or "nothing is missing" in str(again.exception)
    check = ("verify", "--trust", home / "trusted.txt")
    done = await command(settings, *check)
    assert (done.exit_code, f"{label}: 4 segments, 45 records" in done.output) == (0, True), done.output
    # The explanation is under the seal, in an export too.
    out = home.parent / "audit"
    assert (await command(settings, "export", out)).exit_code == 0
    file = out / f"{settings.topic_prefix}{TOPIC}-0.jsonl"
    assert verifier.main([str(home / "trusted.txt"), str(file)]) == 0
    file.write_text(file.read_text().replace("disk lost", "disk sold"))
    assert verifier.main([str(home / "trusted.txt"), str(file)]) == 1
    owner = await asyncpg.connect(database)
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE archive.seals SET gap = replace(gap, 'Li Lei', 'Han Meimei') WHERE gap IS NOT NULL")
    await owner.close()
    done = await command(settings, *check)
    assert (
        done.exit_code,
        "segment 3, offset -: the explanation of the gap is not what was sealed" in done.output,
    ) == (1, True)


async def test_after_a_crash_of_the_database_its_views_have_their_keys_again_without_a_record(
    settings, home, eventually, database
):
    async with running(settings) as runtime:
        await send(settings, 3)
        await eventually(lambda: position(runtime) == 3, "all stored", 40)
        owner = await asyncpg.connect(database, server_settings={"search_path": "archive"})
        try:
            await owner.execute("TRUNCATE keyring")  # what a crash does to an UNLOGGED table
            await eventually(lambda: owner.fetchval("SELECT count(*) FROM keyring"), "the keys are back", 30)
            assert (
                await owner.fetchval('SELECT value FROM records WHERE "offset" = 1 ORDER BY topic LIMIT 1')
                == b"value 1"
            )
        finally:
            await owner.close()


async def test_what_cannot_be_kept_is_told_and_ingest_goes_on(settings, home, eventually):
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "0001.pem").write_text("no key")
    async with running(settings) as runtime:
        await send(settings, 25)
        await eventually(lambda: gauge(runtime, "keeping_failed", task="sealing") == 1, "it is shown", 30)
        await eventually(lambda: position(runtime) == 25, "all stored")


async def test_the_service_tidies_in_a_process_of_its_own(settings, home, eventually, monkeypatch):
    monkeypatch.setattr(keeper, "_HOURLY", 3)
    monkeypatch.setenv("DESKLINE_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    async with running(settings) as runtime:
        await send(settings, 25)
        file = home / "cold" / f"{settings.topic_prefix}{TOPIC}" / "0" / "0000000001.parquet"
        await eventually(file.exists, "the segment is in the cold store", 90)
        assert gauge(runtime, "keeping_failed", task="tidying") == 0
