"""A backup is restored into an empty cluster, brought to the live position from Kafka, and found whole, or not."""

import asyncio

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr
from tests.kafka.test_archive_keep import TOPIC, home, position, running, send  # noqa: F401 - home is a fixture
from typer.testing import CliRunner

from deskline import topics
from deskline.migrate import migrate
from deskline.settings import ServiceSettings
from deskline_archive.cli import app

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


async def command(*words):
    return await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])


async def test_a_drill_restores_replays_recomputes_and_finds_what_was_changed(  # noqa: PLR0917
    kafka,
    topic_prefix,
    own_postgres,
    home,  # noqa: F811
    tmp_path,
    eventually,
):
    dsn = own_postgres.dsn
    settings = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(dsn), session_timeout_s=6
    )
    await migrate(dsn)
    await topics.apply(settings, partitions=1)
    checkpoints = home / "checkpoints" / f"{topic_prefix}{TOPIC}" / "0"
    targets = ("--postgres-dsn", dsn, "--topic-prefix", topic_prefix, "--bootstrap-servers", kafka)
    async with running(settings) as runtime:
        await send(settings, 50)
        await eventually((checkpoints / "0000000002.checkpoint").exists, "two segments", 40)
        made = await command("backup", tmp_path / "backups", "--postgres-dsn", dsn)
        assert made.exit_code == 0, made.output
        # Sealed after the backup: the drill has to come to these roots by itself, from Kafka and the vault.
        await send(settings, 50, first=50)
        await eventually((checkpoints / "0000000005.checkpoint").exists, "five segments", 40)
        await eventually(lambda: position(runtime) == 100, "all stored")
        done = await command("drill", tmp_path / "backups", *targets)
        assert done.exit_code == 0, done.output
        assert "it can be restored, and holds what was sealed" in done.output
    # A segment more in the other store, as after a loss that Kafka cannot mend; and a row that somebody changed.
    (checkpoints / "0000000006.checkpoint").write_text((checkpoints / "0000000005.checkpoint").read_text())
    owner = await asyncpg.connect(dsn)
    good = await owner.fetchval("SELECT findings FROM archive.drills")
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE archive.raw_records SET value = 'x' WHERE \"offset\" = 7 AND type IS NULL")
    await owner.close()
    assert good == 0
    assert (await command("backup", tmp_path / "later", "--postgres-dsn", dsn)).exit_code == 0
    done = await command("drill", tmp_path / "later", *targets)
    assert done.exit_code == 1, done.output
    assert "segment 1, offset 7: altered" in done.output
    assert "segment 6" in done.output
    assert "SECRET" not in done.output


async def test_a_drill_comes_to_gaps_to_the_archives_own_log_and_to_new_partitions(  # noqa: PLR0917
    kafka,
    topic_prefix,
    own_postgres,
    home,  # noqa: F811
    tmp_path,
    eventually,
):
    """All of them from after the backup: explained gaps and orders from the other store, the rest from Kafka."""
    dsn = own_postgres.dsn
    settings = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(dsn), session_timeout_s=6
    )
    await migrate(dsn)
    await topics.apply(settings, partitions=1)
    checkpoints = home / "checkpoints" / f"{topic_prefix}{TOPIC}" / "0"
    database = ("--postgres-dsn", dsn, "--topic-prefix", topic_prefix)
    targets = (*database, "--bootstrap-servers", kafka)
    async with running(settings) as runtime:
        await send(settings, 35)
        await eventually((checkpoints / "0000000001.checkpoint").exists, "a segment", 40)
        await eventually(lambda: position(runtime) == 35, "all stored")
    assert (await command("backup", tmp_path / "backups", "--postgres-dsn", dsn)).exit_code == 0
    await send(settings, 30, first=35)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic_prefix + TOPIC, 0): RecordsToDelete(before_offset=50)})
    await admin.close()
    why = ("--who", "Li Lei", "--why", "disk lost")
    async with running(settings) as runtime:
        await eventually(lambda: f"{TOPIC}/0" in runtime.engine.lanes, "lanes", 30)
        await eventually(lambda: runtime.engine.lanes[f"{TOPIC}/0"].blocked, "it stops", 30)
        done = await command("gap", f"{TOPIC}/0", "--yes", *why, *targets)
        assert done.exit_code == 0, done.output
        await send(settings, 5, first=65)
        await send(settings, 3, topic="replies.v1")
        await eventually((checkpoints / "0000000004.checkpoint").exists, "sealed behind the gap", 40)
        assert (await command("hold", "add", "--shop", "s-1", *why, *database)).exit_code == 0
        done = await command("seal", "--records", "1", *targets)
        assert "archive-log/0: segment 1" in done.output, done.output
        done = await command("drill", tmp_path / "backups", *targets)
        assert done.exit_code == 0, done.output
        assert "1 entries of the archive's own log came from the other store" in done.output
    # An explanation that somebody changed there is not what was sealed.
    gap = checkpoints / "0000000003.gap"
    gap.write_text(gap.read_text().replace("Li Lei", "Han Meimei"))
    done = await command("drill", tmp_path / "backups", *targets)
    assert (done.exit_code, "segment 3: its root is not what was signed" in done.output) == (1, True), done.output


async def test_a_drill_needs_no_vault_where_there_is_none(  # noqa: PLR0917
    kafka, topic_prefix, own_postgres, tmp_path, eventually, monkeypatch
):
    dsn = own_postgres.dsn
    settings = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(dsn), session_timeout_s=6
    )
    await migrate(dsn)
    await topics.apply(settings, partitions=1)
    made = await command("key", tmp_path / "seal.pem")
    (tmp_path / "trusted.txt").write_text(made.stdout)
    named = {"KEY": tmp_path / "seal.pem", "CHECKPOINTS": tmp_path / "checkpoints", "SEGMENT_RECORDS": 20}
    for name, value in named.items():
        monkeypatch.setenv(f"DESKLINE_ARCHIVE_{name}", str(value))
    checkpoints = tmp_path / "checkpoints" / f"{topic_prefix}{TOPIC}" / "0"
    async with running(settings):
        await send(settings, 20)
        await eventually((checkpoints / "0000000001.checkpoint").exists, "a segment", 40)
        assert (await command("backup", tmp_path / "backups", "--postgres-dsn", dsn)).exit_code == 0
        await send(settings, 20, first=20)
        await eventually((checkpoints / "0000000002.checkpoint").exists, "another", 40)
        done = await command(
            *("drill", tmp_path / "backups", "--trust", tmp_path / "trusted.txt", "--postgres-dsn", dsn),
            *("--topic-prefix", topic_prefix, "--bootstrap-servers", kafka),
        )
        assert done.exit_code == 0, done.output
        assert "it can be restored, and holds what was sealed" in done.output


async def test_what_is_no_backup_is_said(tmp_path, home):  # noqa: F811
    home.mkdir(parents=True)
    done = await command("drill", tmp_path)
    assert "has no backup" in str(done.exception)
