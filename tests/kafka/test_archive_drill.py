"""A backup is restored into an empty cluster, brought to the live position from Kafka, and found whole, or not."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr
from tests.kafka.test_archive_keep import TOPIC, home, position, running, send  # noqa: F401 - home is a fixture
from tests.kafka.test_archive_persons import SECRET, ago, message
from typer.testing import CliRunner

from deskline import topics
from deskline.events.wire import decode
from deskline.migrate import migrate
from deskline.postgres import connect
from deskline.records import Record
from deskline.settings import ServiceSettings
from deskline.stack.postgres import EmbeddedPostgres
from deskline_archive import drill, legal
from deskline_archive.cli import app
from deskline_archive.home import prepare
from deskline_archive.policy import describe
from deskline_archive.settings import ArchiveSettings
from deskline_archive.store import Store, load_keyring
from deskline_archive.veil import Vault

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
        # One that is being made, or was cut off, is not the newest.
        (tmp_path / "backups" / "99991231T000000Z").mkdir()
        (tmp_path / "backups" / "99991231T000000Z" / "base.tar.gz").write_bytes(b"half")
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


async def test_a_drill_needs_no_vault_where_there_is_none_and_no_rest_of_the_archive(  # noqa: PLR0917
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
        restore_log = drill.restore_log

        async def and_the_archive_goes_on(*args):
            await send(settings, 20, first=40)
            await eventually((checkpoints / "0000000003.checkpoint").exists, "sealed while the drill runs", 40)
            return await restore_log(*args)

        monkeypatch.setattr(drill, "restore_log", and_the_archive_goes_on)
        done = await command(
            *("drill", tmp_path / "backups", "--trust", tmp_path / "trusted.txt", "--postgres-dsn", dsn),
            *("--topic-prefix", topic_prefix, "--bootstrap-servers", kafka),
        )
        assert done.exit_code == 0, done.output
        assert "it can be restored, and holds what was sealed" in done.output


async def test_an_old_backup_gives_no_erased_text_back_and_gets_the_newer_orders(  # noqa: PLR0917
    kafka,
    topic_prefix,
    own_postgres,
    home,  # noqa: F811
    tmp_path,
    new_server,
):
    dsn = own_postgres.dsn
    settings = ServiceSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(dsn))
    await migrate(dsn)
    await topics.apply(settings, partitions=1)
    own = ArchiveSettings()
    prepare(own)
    who = ("--who", "Li Lei", "--why", "letter", "--postgres-dsn", dsn, "--topic-prefix", topic_prefix)
    letter = Record("dead-letters.v1", 0, 0, ago(200), b"c-1", SECRET.encode(), ())
    records = [
        [message(0, ago(200), subject="c-1", customer="u-1")],
        [message(0, ago(200), subject="c-2", customer="u-2", topic="replies.v1")],
        [letter],
    ]
    connection = await connect(settings, "archive")
    try:
        for one in records:
            async with connection.transaction():
                found = describe(one, [decode(record) for record in one])
                await Store(topic_prefix, own.vault_file).append(connection, one, found.descriptions)
    finally:
        await connection.close()
    assert (await command("seal", "--records", 1, "--bootstrap-servers", kafka, *who[4:])).exit_code == 0
    assert (await command("backup", tmp_path / "backups", "--postgres-dsn", dsn)).exit_code == 0
    old_vault = Vault.load(own.vault_file)
    # After the backup: a person is erased, another one is held, and what was ordered goes to the other store.
    assert (await command("hold", "add", "--customer", "u-2", *who)).exit_code == 0
    done = await command("erase", "u-1", "--yes", *who)
    assert (done.exit_code, "1 conversations erased, 2 records" in done.output) == (0, True), done.output
    assert (await command("seal", "--records", 1, "--bootstrap-servers", kafka, *who[4:])).exit_code == 0
    server, backup = new_server, next((tmp_path / "backups").iterdir())
    await asyncio.to_thread(server.restore, backup)
    server.spawn()
    await asyncio.to_thread(server.wait_ready, 120)
    there = settings.model_copy(update={"postgres_dsn": SecretStr(drill.moved(settings, server.port))})
    connection = await connect(there, "archive")
    try:
        # With the vault of that day the backup has it all: so it is the ended key alone that takes it away.
        await load_keyring(connection, old_vault)
        assert [SECRET in text for text in await texts(connection)] == [True, True, True]
        done = await command(
            *("recover", "--bootstrap-servers", kafka, "--topic-prefix", topic_prefix),
            *("--postgres-dsn", there.postgres_dsn.get_secret_value()),
        )
        assert done.exit_code == 0, done.output
        assert "2 holds and orders of it were laid again" in done.output
        assert "whole: the archive can be started" in done.output
        assert [SECRET in text for text in await texts(connection)] == [False, False, True]
        held = await connection.fetch("SELECT id, kind, value, who FROM holds_in_force")
        assert [tuple(row) for row in held] == [(1, "customer", "u-2", "Li Lei")]
        # The next pass of the archive ends what had ended, here too; nobody else's. Then nobody is asked about again for long.
        (again,) = await legal.erase_due(connection, topic_prefix, own.vault_file)
        assert (again.customer_id, again.records, again.waiting) == ("u-1", 2, [])
        assert await legal.erase_due(connection, topic_prefix, own.vault_file) == []
        what = legal.Hold("shop", "s-1", None, None)
        assert await legal.hold(connection, topic_prefix, what, who="w", why="y", until=None) == 2
    finally:
        await connection.close()
    await asyncio.to_thread(server.stop, "fast")
    assert holding(server.directory, "PG_VERSION", b"18") != []
    assert holding(server.directory, "*", SECRET.encode()) == []


@pytest.fixture
def new_server():
    """To restore something into."""
    with tempfile.TemporaryDirectory(prefix="deskline-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "restored", durable=False, dies_with_parent=True)
        yield server
        server.stop("immediate")


def holding(folder, pattern, text):
    return [path for path in folder.rglob(pattern) if path.is_file() and text in path.read_bytes()]


async def texts(connection):
    """What the view shows of each record that says something, by topic."""
    rows = await connection.fetch(
        "SELECT value FROM records WHERE topic NOT LIKE ALL (ARRAY['%archive-log', '%checkpoints.v1']) ORDER BY topic"
    )
    return [(row["value"] or b"").decode() for row in rows]


async def test_what_is_no_backup_is_said(tmp_path, home):  # noqa: F811
    home.mkdir(parents=True)
    done = await command("drill", tmp_path)
    assert "has no backup" in str(done.exception)
