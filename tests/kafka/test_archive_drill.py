"""A backup is restored into an empty cluster, brought to the live position from Kafka, and found whole, or not."""

import asyncio

import asyncpg
import pytest
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


async def test_what_is_no_backup_is_said(tmp_path, home):  # noqa: F811
    home.mkdir(parents=True)
    done = await command("drill", tmp_path)
    assert "has no backup" in str(done.exception)
