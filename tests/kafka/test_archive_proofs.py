"""Seals on a real PostgreSQL: what the owner of the tables does to them behind everybody's back is found, and where."""

import asyncio
import hashlib
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from deskline.clock import DAY, MINUTE, parse_rfc3339
from deskline.errors import FatalError, UsageError
from deskline.events.wire import decode
from deskline.migrate import migrate, plan
from deskline.records import Event, Invalid, Record
from deskline_archive import sealing, verifier
from deskline_archive.cli import app
from deskline_archive.places import place
from deskline_archive.policy import describe
from deskline_archive.sealing import Sealer
from deskline_archive.signing import SigningKey, checkpoint_text, sign_note
from deskline_archive.store import Store, load_queries
from deskline_archive.veil import Vault
from deskline_archive.verifier import Finding, trusted_keys

pytestmark = pytest.mark.kafka

KEY = SigningKey("archive.example.org", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
TRUSTED = trusted_keys(KEY.verifier)
NOON = parse_rfc3339("2026-11-25T12:00:00Z")
TOPIC = "conversations.v1"


@pytest.fixture
async def schema(database):
    await migrate(database, schemas=[found for found in plan() if found.name == "archive"])
    return database


@pytest.fixture
async def owner(schema):
    """Whoever owns the tables; ``session_replication_role`` puts the triggers out of the way."""
    connection = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


@asynccontextmanager
async def acting(schema):
    connection = await asyncpg.connect(schema, server_settings={"search_path": "archive", "role": "deskline_archive"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def service(schema):
    async with acting(schema) as connection:
        yield connection


class Veil:
    """The vault of the test that runs; None: everything stands in the clear."""

    file = None

    @classmethod
    def vault(cls):
        return None if cls.file is None else Vault.load(cls.file)


@pytest.fixture(autouse=True, params=["clear", "veiled"])
def veil(request, tmp_path, monkeypatch):
    if request.param == "veiled":
        Vault.new().save(tmp_path / "vault")
        monkeypatch.setattr(Veil, "file", tmp_path / "vault")
        monkeypatch.setenv("DESKLINE_ARCHIVE_VAULT", str(tmp_path / "vault"))
    return request.param


async def fill(connection, first, count, *, partition=0, at=NOON):
    records = [
        Record(TOPIC, partition, offset, at + offset * 1000, b"c-1", f"value {offset}".encode(), (("h", b"x"),))
        for offset in range(first, first + count)
    ]
    async with connection.transaction():
        found = describe(records, [Invalid("bad_json", "")] * count).descriptions
        await Store("", Veil.file).append(connection, records, found)


async def sealed(connection, directory, *, records=4, now=NOON):
    sealer = Sealer(connection, [KEY], "", Veil.vault())
    try:
        return await sealer.seal(now, records)
    finally:
        await sealer.write_directory(place(str(directory)))


async def findings(connection, directory):
    found = []
    for stream in await sealing.streams(connection, ""):
        found += (await sealing.verify(connection, stream, TRUSTED, place(str(directory)), Veil.vault())).findings
    return found


async def offline(connection, folder, *more):
    """What the verifier of an export says, run as an auditor runs it: this one file, and no path to ours."""
    (stream,) = await sealing.streams(connection, "")
    (folder / "keys").write_text(KEY.verifier)
    with (folder / "export").open("w") as file:
        await sealing.export(connection, stream, file.write, Veil.vault())
    script = folder / "verifier.py"
    script.write_bytes(Path(verifier.__file__).read_bytes())  # noqa: ASYNC240 - a small file, in a test
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, script, folder / "keys", folder / "export", *more], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.replace(f"{folder / 'export'}: ", "")


@pytest.fixture
async def archive(service, tmp_path):
    """Offsets 100 to 109 in segments of 4, 4 and 2."""
    await fill(service, 100, 10)
    directory = tmp_path / "checkpoints"
    assert await sealed(service, directory) == [(f"{TOPIC}/0", 1, 4), (f"{TOPIC}/0", 2, 8), (f"{TOPIC}/0", 3, 10)]
    return directory


async def test_what_nobody_touched_holds_live_and_offline(archive, service, tmp_path):
    assert await findings(service, archive) == []
    for more in ((), ("--checkpoints", archive)):
        assert await offline(service, tmp_path, *more) == (0, "every proof holds\n")


SWAP = """
    UPDATE raw_records SET "offset" = 999 WHERE "offset" = 105; UPDATE raw_records SET "offset" = 105 WHERE "offset" = 106;
    UPDATE raw_records SET "offset" = 106 WHERE "offset" = 999"""
SWAP_SEGMENTS = """
    CREATE TEMP TABLE old AS SELECT number, leaves, salts FROM seals WHERE number < 3;
    UPDATE seals SET leaves = old.leaves, salts = old.salts FROM old WHERE old.number = 3 - seals.number"""


@pytest.mark.parametrize(
    "case",
    [
        ("""UPDATE raw_records SET value = 'other' WHERE "offset" = 105""", [(2, 105, "altered")]),
        ("""UPDATE raw_records SET headers = NULL WHERE "offset" = 100""", [(1, 100, "altered")]),
        ("""DELETE FROM raw_records WHERE "offset" = 107""", [(2, 107, "deleted")]),
        (
            """SELECT ensure_days('2026-11-20', '2026-11-20'); INSERT INTO raw_records
               SELECT stream, "offset", '2026-11-20', key, headers, value, type, subject, shop_id, event_time, retimed, validity,
                      customer_id, agent_id, generation FROM raw_records WHERE "offset" = 102""",
            [(1, 102, "inserted")],
        ),
        (SWAP, [(2, 105, "reordered"), (2, 106, "reordered")]),
        (
            """UPDATE raw_records SET broker_time = broker_time - interval '1 hour' WHERE "offset" = 101""",
            [(1, 101, "altered")],
        ),
    ],
    ids=["edited", "header edited", "deleted", "inserted", "reordered", "back-dated"],
)
async def test_a_changed_row_is_found_with_its_segment_and_offset_live_and_offline(  # noqa: PLR0917
    archive, service, owner, tmp_path, case, veil
):
    sql, expected = case
    await owner.execute(sql)
    found = await findings(service, archive)
    code, told = await offline(service, tmp_path)
    if expected[0][2] == "inserted":
        # Two rows claim the offset: which of them is the first is the order of their times, not of the truth.
        assert Finding(*expected[0]) in found
        assert "segment 1, offset 102: inserted" in told
    else:
        assert found == [Finding(*each) for each in expected]
        # An export has them cleared where they stand: what changed places under the veil is noise there.
        kinds = {"reordered": "altered"} if veil == "veiled" else {}
        assert told == "".join(
            f"segment {segment}, offset {offset}: {kinds.get(kind, kind)}\n" for segment, offset, kind in expected
        )
    assert code == 1


async def test_a_row_before_the_first_sealed_one_is_found(archive, service):
    await fill(service, 99, 1)
    assert await findings(service, archive) == [Finding(1, 99, "inserted")]


async def test_a_dropped_tail_of_rows_is_found_live_and_offline(archive, service, owner, tmp_path):
    await owner.execute('DELETE FROM raw_records WHERE "offset" >= 108')
    assert await findings(service, archive) == [Finding(3, 108, "deleted"), Finding(3, 109, "deleted")]
    assert await offline(service, tmp_path) == (
        1,
        "segment 3, offset 108: deleted\nsegment 3, offset 109: deleted\n",
    )


async def test_a_tail_that_was_dropped_with_its_seals_is_found_by_the_kept_checkpoints(
    archive, service, owner, tmp_path
):
    await owner.execute('DELETE FROM raw_records WHERE "offset" >= 108; DELETE FROM seals WHERE number = 3')
    assert await findings(service, archive) == [
        Finding(3, 108, "sealed, as the directory says, but not in the archive")
    ]
    assert await offline(service, tmp_path, "--checkpoints", archive) == (
        1,
        "segment 3, offset 108: sealed, as its checkpoint says, but not in the export\n",
    )
    assert sealing.strangers([], place(str(archive))) == [f"{TOPIC}/0"]


async def test_swapped_segments_are_found(archive, service, owner, tmp_path):
    await owner.execute(SWAP_SEGMENTS)
    found = await findings(service, archive)
    assert Finding(1, None, "root is not what was signed") in found
    assert {(each.segment, each.offset) for each in found} >= {(1, 100), (2, 104)}
    code, told = await offline(service, tmp_path)
    assert code == 1
    assert "segment 1, offset -: root is not what was signed" in told


async def test_a_rewritten_root_is_found_even_where_everything_was_made_anew_for_it(archive, service, owner, tmp_path):
    """A row is changed and its segment sealed again by somebody without the key, then by somebody who has it."""
    await owner.execute("""UPDATE raw_records SET value = 'other' WHERE "offset" = 109""")
    thief = SigningKey(KEY.name, Ed25519PrivateKey.from_private_bytes(b"t" * 32))
    for key, live in ((thief, "no trusted key has signed the checkpoint"), (KEY, None)):
        await owner.execute("DELETE FROM seals WHERE number = 3")
        await Sealer(service, [key], "", Veil.vault()).seal(NOON + 60 * MINUTE, 4)
        found = await findings(service, archive)
        assert Finding(3, None, "the directory's checkpoint is another one") in found
        assert (live is None) or Finding(3, None, live) in found
        code, told = await offline(service, tmp_path)
        assert (code, "no trusted key" in told) == ((1, True) if live else (0, False))
        # Who has the right key is found by what he could not reach.
        code, told = await offline(service, tmp_path, "--checkpoints", archive)
        assert code == 1
        assert "segment 3, offset -: the checkpoint that was kept is another one\n" in told


async def test_a_root_changed_in_place_is_found_live_and_offline(archive, service, owner, tmp_path):
    note = sign_note(checkpoint_text(f"{KEY.name}/{TOPIC}/0", 8, bytes(32), 2, (104, 108)), [KEY])
    await owner.execute("UPDATE seals SET note = $1 WHERE number = 2", note)
    assert await findings(service, archive) == [
        Finding(2, None, "root is not what was signed"),
        Finding(2, None, "the directory's checkpoint is another one"),
    ]
    assert await offline(service, tmp_path) == (1, "segment 2, offset -: root is not what was signed\n")


async def test_a_segment_sealed_meanwhile_is_looked_for_until_its_checkpoint_is_written(archive, service, schema):
    """An archive at work commits a seal, then writes its file: whoever looks in between has found nothing wrong."""
    await fill(service, 110, 4)
    sealer = Sealer(service, [KEY], "", Veil.vault())
    assert await sealer.seal(NOON, 4) == [(f"{TOPIC}/0", 4, 14)]
    written = asyncio.create_task(written_later(schema, archive))
    assert await findings(service, archive) == []
    assert await written == 1
    # One that is missing before one that is there will not come.
    (archive / TOPIC / "0" / "0000000003.checkpoint").unlink()
    assert await findings(service, archive) == [Finding(3, None, "the directory has no checkpoint of it")]


async def test_a_topic_partition_that_is_first_sealed_meanwhile_is_no_stranger(archive, schema, tmp_path, monkeypatch):
    """The archive is asked what it knows before the directory is."""
    (tmp_path / "trusted").write_text(KEY.verifier)
    words = ["verify", "--trust", tmp_path / "trusted", "--directory", archive, "--postgres-dsn", schema]
    streams, asked = sealing.streams, []

    async def none_at_first(*args):
        asked.append(args)
        return await streams(*args) if len(asked) > 1 else []

    monkeypatch.setattr(sealing, "streams", none_at_first)
    done = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    assert (done.exit_code, done.output) == (0, "")
    stranger = archive / TOPIC / "7"
    stranger.mkdir()
    (stranger / "0000000001.checkpoint").write_text("")
    asked.clear()
    done = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    assert (done.exit_code, done.output) == (1, f"{TOPIC}/7: sealed, as the directory says, but not in the archive\n")


async def written_later(dsn, directory):
    async with acting(dsn) as connection:
        await asyncio.sleep(0.5)
        return await Sealer(connection, [KEY], "", Veil.vault()).write_directory(place(str(directory)))


async def test_fewer_records_than_a_segment_wait_for_the_hour(archive, service):
    await fill(service, 110, 5)
    assert await sealed(service, archive, now=NOON + 59 * MINUTE) == [(f"{TOPIC}/0", 4, 14)]
    assert await sealed(service, archive, now=NOON + 60 * MINUTE) == []
    assert await sealed(service, archive, now=NOON + 119 * MINUTE) == [(f"{TOPIC}/0", 5, 15)]
    assert await findings(service, archive) == []


async def test_a_hole_stops_its_own_topic_partition_and_no_other(archive, service, owner):
    await fill(service, 110, 3)
    await fill(service, 0, 2, partition=1)
    await owner.execute('DELETE FROM raw_records WHERE "offset" = 111')
    with pytest.raises(FatalError, match=f"{TOPIC}/0: offset 111 is not in the archive, but 112 is"):
        await sealed(service, archive, now=NOON + 60 * MINUTE)
    assert {(each.partition, each.number) for each in await sealing.streams(service, "")} == {(0, 3), (1, 1)}


async def test_two_cannot_seal_at_once(archive, service, schema):
    async with acting(schema) as other:
        await other.fetchval(load_queries()["seal_lock"])
        with pytest.raises(UsageError, match="by somebody else"):
            await Sealer(service, [KEY], "").seal(NOON, 4)


@pytest.mark.parametrize("table", ["seals", "published_seals", "dropped"])
async def test_the_service_cannot_change_a_seal(archive, service, table):
    for sql in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(sql)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("INSERT INTO dropped VALUES (1, 1, 1, now(), now())")


class Broker:
    """Takes what is published; fails as often as told."""

    def __init__(self):
        self.taken = []

    async def publish(self, outputs):
        self.taken += outputs


async def test_each_checkpoint_is_published_once_as_a_valid_event(archive, service):
    broker = Broker()
    sealer = Sealer(service, [KEY], "")
    assert [await sealer.publish(broker), await sealer.publish(broker)] == [3, 0]
    for number, output in enumerate(broker.taken, 1):
        event = decode(Record(output.topic, 0, number, NOON, output.key, output.value, ()))
        assert isinstance(event, Event), event
        assert output.key == b"conversations.v1/0"
        data = json.loads(output.value)["data"]
        assert data["note"] == (archive / TOPIC / "0" / sealing.file_name(number)).read_text()
        assert data["root"] in data["note"]
        assert data["tree_size"] == (4, 8, 10)[number - 1]


async def test_a_day_goes_only_when_sealed_and_its_records_are_then_missed_by_nobody(service, tmp_path):
    old = date.today() - timedelta(days=200)
    at = (old - date(1970, 1, 1)).days * DAY + DAY // 2
    await fill(service, 7, 5, at=at)
    await fill(service, 12, 3, at=at + DAY)
    with pytest.raises(UsageError, match="not sealed yet"):
        await Store("").drop_day(service, old)
    await sealed(service, tmp_path)
    with pytest.raises(UsageError, match="not in the cold store yet"):
        await Store("").drop_day(service, old)
    await service.execute(
        "INSERT INTO copies (stream, number, name, sha256, bytes) SELECT stream, number, 'x', 'x', 1 FROM seals"
    )
    await Store("").drop_day(service, old)
    (stream,) = await sealing.streams(service, "")
    report = await sealing.verify(service, stream, TRUSTED, place(str(tmp_path)), Veil.vault())
    assert (report.records, report.retired, report.findings) == (3, 5, [])


async def test_the_commands_make_a_key_seal_verify_and_export(schema, service, owner, tmp_path):
    await fill(service, 0, 6)
    key, keys, directory, out = (tmp_path / name for name in ("key", "keys", "directory", "out"))
    dsn = ("--postgres-dsn", schema)

    async def run(*arguments):
        return await asyncio.to_thread(CliRunner().invoke, app, [str(each) for each in arguments])

    keys.write_text((await run("key", key, "--name", "a.example")).stdout)
    named = ("--key", key, "--name", "a.example", "--directory", directory)
    done = await run("seal", *named, "--no-publish", "--records", 4, *dsn)
    assert (done.exit_code, done.stdout.count("segment")) == (0, 2), done.output
    check = ("verify", "--trust", keys, "--directory", directory, *dsn)
    done = await run(*check)
    assert (done.exit_code, done.stdout) == (0, f"{TOPIC}/0: 2 segments, 6 records, 0 gone by retention: holds\n")
    assert (await run("export", out, *dsn)).exit_code == 0
    assert verifier.main([str(keys), str(out / f"{TOPIC}-0.jsonl")]) == 0
    sums = json.loads((out / "manifest.json").read_text())["sha256"]
    assert sums == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (f"{TOPIC}-0.jsonl", "verifier.py")
    }
    look = await owner.fetchval("SELECT detail FROM looks WHERE action = 'export'")
    assert (json.loads(look)["sha256"], json.loads(look)["segments"]) == (sums, {f"{TOPIC}/0": 2})
    await owner.execute("""UPDATE raw_records SET key = NULL WHERE "offset" = 5""")
    done = await run(*check)
    assert done.exit_code == 1
    assert "  segment 2, offset 5: altered\n" in done.stdout
    await owner.execute("TRUNCATE seals CASCADE; TRUNCATE raw_records; TRUNCATE streams CASCADE")
    done = await run(*check)
    assert (done.exit_code, done.stdout) == (
        1,
        f"{TOPIC}/0: sealed, as the directory says, but not in the archive\n",
    )


async def test_a_login_that_may_only_read_verifies(archive, schema, owner, tmp_path):
    """``GRANT deskline_auditor`` is all that an auditor needs of the database's owner; it is not enough to seal or to export."""
    (tmp_path / "trusted").write_text(KEY.verifier)
    name = f"auditor_{uuid4().hex}"
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'long enough'; GRANT deskline_auditor TO {name}")
    try:
        parts = urlsplit(schema)
        dsn = parts._replace(netloc=f"{name}:long%20enough@{parts.hostname}:{parts.port}").geturl()
        check = ("--trust", tmp_path / "trusted", "--directory", archive, "--postgres-dsn", dsn)

        async def run(*words):
            return await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])

        done = await run("verify", "--auditor", *check)
        assert (done.exit_code, "3 segments, 10 records" in done.output) == (0, True), done.output
        await owner.execute("""UPDATE raw_records SET value = 'other' WHERE "offset" = 105""")
        done = await run("verify", "--auditor", *check)
        assert (done.exit_code, "segment 2, offset 105: altered" in done.output) == (1, True), done.output
        for words in (("verify", *check), ("export", tmp_path / "out", "--postgres-dsn", dsn)):
            done = await run(*words)
            assert isinstance(done.exception, asyncpg.InsufficientPrivilegeError), done.output
    finally:
        await owner.execute(f"DROP ROLE {name}")
