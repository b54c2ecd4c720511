"""Whose a record is: content under keys that end, holds, restrictions, erasures and what is kept longer."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from deskline.clock import DAY, now_us, rfc3339
from deskline.errors import UsageError
from deskline.events.wire import decode
from deskline.migrate import migrate, plan
from deskline.records import Record
from deskline_archive import legal, sealing, verifier
from deskline_archive.cli import app
from deskline_archive.policy import describe
from deskline_archive.sealing import Sealer
from deskline_archive.signing import SigningKey
from deskline_archive.store import Store
from deskline_archive.veil import Vault, salt_of, xored

pytestmark = pytest.mark.kafka

KEY = SigningKey("archive.deskline", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
SECRET = "我的地址是桃花源路十号"
OLD = 200


@pytest.fixture
async def schema(database):
    await migrate(database, schemas=[found for found in plan() if found.name == "archive"])
    return database


@asynccontextmanager
async def acting(schema, role="deskline_archive"):
    connection = await asyncpg.connect(schema, server_settings={"search_path": "archive", "role": role})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def service(schema):
    async with acting(schema) as connection:
        yield connection


@pytest.fixture
def vault(tmp_path):
    file = tmp_path / "archive" / "vault"
    file.parent.mkdir()
    Vault.new().save(file)
    return file


def message(offset, at, *, subject, customer, text=SECRET, topic="conversations.v1", partition=0):
    value = {
        "specversion": "1.0", "id": f"e-{subject}-{offset}", "source": "/gateway/test", "type": "message.received.v1",
        "subject": subject, "time": rfc3339(at),
        "data": {"message_id": f"m-{offset}", "shop_id": "s-1", "channel": "web", "text": text, "customer": {"customer_id": customer}},
    }  # fmt: skip
    return Record(
        topic, partition, offset, at, subject.encode(), json.dumps(value, ensure_ascii=False).encode(), (("h", b"x"),)
    )


def order(offset, at, subject):
    value = {
        "specversion": "1.0", "id": f"o-{offset}", "source": "/gateway/test", "type": "order.placed.v1", "subject": subject,
        "time": rfc3339(at), "data": {"shop_id": "s-1", "order_id": "o-1", "customer_id": "u-1", "amount": "12.50"},
    }  # fmt: skip
    return Record("conversations.v1", 0, offset, at, subject.encode(), json.dumps(value).encode(), ())


async def store(connection, records, vault):
    async with connection.transaction():
        found = describe(records, [decode(record) for record in records])
        await Store("", vault).append(connection, records, found.descriptions)


async def contents(connection):
    rows = await connection.fetch(
        'SELECT topic, "offset", headers, value FROM archive.records ORDER BY topic, "offset"'
    )
    return {(row["topic"], row["offset"]): (row["headers"], row["value"]) for row in rows}


async def seal(connection, vault, now=None):
    return await Sealer(connection, [KEY], "", Vault.load(vault)).seal(now or now_us(), 10_000)


async def reports(connection, vault):
    keys = verifier.trusted_keys(KEY.verifier)
    return [
        await sealing.verify(connection, stream, keys, None, Vault.load(vault))
        for stream in await sealing.streams(connection, "")
    ]


def ago(days):
    return (now_us() // DAY - days) * DAY + DAY // 2


async def run(schema, home, *words):
    told = [*map(str, words), "--state-dir", str(home), "--postgres-dsn", schema]
    (home / "stack.json").write_text("{}")
    return await asyncio.to_thread(CliRunner().invoke, app, told)


# --- the veil ---------------------------------------------------------------------------------------------------------


async def test_the_view_shows_the_bytes_and_the_tables_do_not(service, vault, schema):
    big = "长" * 20_000
    records = [
        message(0, ago(1), subject="c-1", customer="u-1"),
        message(1, ago(1), subject="c-1", customer="u-1", text=big),
        Record("conversations.v1", 0, 2, ago(1), None, b"{ poison of " + SECRET.encode(), ()),
        Record("dead-letters.v1", 0, 0, ago(1), b"c-1", SECRET.encode(), (("deskline-error", b""), ("n", None))),
        Record("replies.v1", 3, 9, ago(1), b"c-1", b"", ()),
        Record("replies.v1", 3, 10, ago(1), b"c-1", None, ()),
    ]
    await store(service, records, vault)
    shown = await contents(service)
    for record in records:
        headers = json.loads(shown[record.topic, record.offset][0])
        assert shown[record.topic, record.offset][1] == record.value
        assert headers == [[name, None if held is None else held.hex()] for name, held in record.headers]
    raw = await service.fetch("SELECT * FROM raw_records")
    assert not [row for row in raw if any(SECRET.encode() in (row[name] or b"") for name in ("value", "headers"))]
    assert {row["customer_id"] for row in raw} == {"u-1", None}
    said = await service.fetch("SELECT value FROM events WHERE type = 'message.received.v1' ORDER BY \"offset\"")
    assert [row["value"] for row in said] == [record.value for record in records[:2]]
    # The auditor reads the same, and changes nothing.
    async with acting(schema, "deskline_auditor") as auditor:
        assert await contents(auditor) == shown
        for sql in (
            "DELETE FROM raw_records",
            "INSERT INTO holds (kind, value, who, why) VALUES ('shop', 's', 'w', 'y')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await auditor.execute(sql)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.fetch("SELECT * FROM keyring")


async def test_without_its_keys_the_database_says_what_to_do_and_the_service_loads_them_again(service, vault, schema):
    await store(service, [message(0, ago(1), subject="c-1", customer="u-1")], vault)
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await owner.execute("TRUNCATE keyring")  # as after a crash
    await owner.close()
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="keys of the archive are not loaded"):
        await contents(service)
    await store(service, [message(1, ago(1), subject="c-1", customer="u-1")], vault)
    assert SECRET.encode() in (await contents(service))["conversations.v1", 0][1]


def test_a_key_ends_alone_and_with_it_its_salt():
    vault = Vault.new()
    names = [b"c-%d" % number for number in range(200)]
    before = {name: vault.key(name) for name in names}
    left = vault.punctured([(b"c-7", 0), (b"c-150", 0)])
    after = {name: left.key(name) for name in names}
    assert [name for name in names if after[name] is None] == [b"c-7", b"c-150"]
    assert all(after[name] == before[name] for name in names if after[name])
    assert len(set(before.values())) == 200
    assert "" not in left.nodes
    assert (left.generation(b"c-7"), left.generation(b"c-8")) == (1, 0)
    assert left.key(b"c-7", 1) not in (None, before[b"c-7"])
    assert left.punctured([(b"c-7", 0)]).nodes == left.nodes
    assert salt_of(before[b"c-1"], 1) != salt_of(before[b"c-1"], 2) != salt_of(before[b"c-2"], 2)
    assert xored(xored(b"x" * 1000, before[b"c-1"], 1, 2), before[b"c-1"], 1, 2) == b"x" * 1000


async def test_a_vault_that_is_not_the_databases_own_stores_nothing(service, vault, tmp_path):
    Vault({"0": bytes(32)}).save(tmp_path / "other")
    with pytest.raises(Exception, match="not that of this database"):
        await store(
            service, [message(0, ago(1), subject=f"c-{n}", customer="u-1") for n in range(40)], tmp_path / "other"
        )


# --- erasure ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def persons(service, vault):
    """u-1: c-1, old, with a reply and a dead letter; c-2, young. u-2: c-3, old. All sealed."""
    await store(
        service,
        [
            message(0, ago(OLD), subject="c-1", customer="u-1"),
            message(1, ago(OLD), subject="c-3", customer="u-2", text="别人的"),
        ],
        vault,
    )
    await store(service, [
        Record("replies.v1", 0, 0, ago(OLD), b"c-1", b"you said " + SECRET.encode(), ()),
        Record("dead-letters.v1", 0, 0, ago(OLD), b"c-1", SECRET.encode(), ()),
        message(2, ago(3), subject="c-2", customer="u-1", text="新的"),
    ], vault)  # fmt: skip
    await seal(service, vault)
    return service


async def test_an_erased_person_is_nowhere_and_every_proof_still_holds(persons, schema, vault, tmp_path):
    before = dict(await contents(persons))
    dump = "COPY (SELECT * FROM archive.raw_records) TO STDOUT"
    old_backup = [row async for row in _copied(persons, dump)]
    old_vault_bytes = vault.read_bytes()
    done = await run(schema, tmp_path, "erase", "u-1", "--who", "dpo", "--why", "letter", "--yes")
    assert done.exit_code == 0, done.output
    assert "1 conversations erased, 3 records" in done.output
    assert "c-2 stays for now: kept until" in done.output
    # Nobody asks about him again before c-2 has passed the floor.
    due = await persons.fetchval("SELECT due FROM erasure_dues WHERE customer_id = 'u-1'")
    assert due.date() == (datetime.now(UTC) + timedelta(days=181 - 3)).date()
    assert await legal.erase_due(persons, "", vault) == []
    after = await contents(persons)
    gone = {("conversations.v1", 0), ("replies.v1", 0), ("dead-letters.v1", 0)}
    for where, was in before.items():
        assert after[where] == (("[]", None) if where in gone else was), where
    # The proofs: live and offline.
    found = {report.label: report for report in await reports(persons, vault)}
    assert [report.findings for report in found.values() if report.findings] == []
    assert sum(report.erased for report in found.values()) == 3
    (tmp_path / "keys").write_text(KEY.verifier)
    assert (await run(schema, tmp_path, "export", tmp_path / "audit")).exit_code == 0
    files = sorted((tmp_path / "audit").glob("*.jsonl"))
    checked = subprocess.run(  # noqa: ASYNC221
        [sys.executable, verifier.__file__, tmp_path / "keys", *files], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, "1 records were erased: offsets 0" in checked.stdout) == (0, True), checked.stdout
    exported = "".join(file.read_text() for file in files)
    assert SECRET.encode().hex() not in exported
    assert "别人的".encode().hex() in exported
    # What he still has to wait for is in it: a look at restricted data, and kept as one.
    look = await persons.fetchval("SELECT detail FROM looks WHERE action = 'export'")
    assert ("新的".encode().hex() in exported, json.loads(look)["restricted_persons"]) == (True, 1)
    # The old backup has noise, and the new vault no key; only the old vault would have had it, and it is gone.
    assert not any(SECRET.encode().hex() in row for row in old_backup)
    assert vault.read_bytes() != old_vault_bytes
    assert Vault.load(vault).key(b"c-1") is None
    # The erasure is a record itself, and sealed like one.
    log = await persons.fetch(
        "SELECT convert_from(value, 'UTF8') AS value FROM records WHERE topic = 'archive-log' ORDER BY \"offset\""
    )
    told = [json.loads(row["value"]) for row in log]
    assert [each["state"] for each in told] == ["ordered", "erased"]
    assert (told[1]["who"] if "who" in told[1] else told[0]["who"]) == "dpo"
    assert ("archive-log/0", 1, 2) in await seal(persons, vault)
    # The person comes back: a new key, readable.
    await store(persons, [message(3, ago(0), subject="c-1", customer="u-1", text="我回来了")], vault)
    assert "我回来了".encode() in (await contents(persons))["conversations.v1", 3][1]


async def _copied(connection, sql):
    import io

    out = io.BytesIO()
    await connection.copy_from_query(sql.removeprefix("COPY (").rpartition(") TO")[0], output=out)
    for line in out.getvalue().splitlines():
        yield line.decode()


async def test_who_is_not_known_is_said_when_he_is_to_be_erased(persons, schema, vault, tmp_path):
    for whom, asked in (("u-17", True), ("u-1", False)):
        done = await run(schema, tmp_path, "erase", whom, "--who", "dpo", "--why", "letter", "--yes")
        assert (done.exit_code, "is the id right?" in done.output) == (0, asked), done.output


async def test_a_hold_keeps_a_person_from_being_erased_until_it_is_lifted(persons, vault):
    await legal.order(persons, "", "u-1", who="dpo", why="letter")
    for what in (
        legal.Hold("customer", "u-1", None, None), legal.Hold("shop", "s-1", None, None),
        legal.Hold("conversation", "c-1", None, None),
        legal.Hold("period", None, date.today() - timedelta(days=OLD + 5), date.today() - timedelta(days=OLD - 5)),
    ):  # fmt: skip
        number = await legal.hold(persons, "", what, who="legal", why="case", until=None)
        # What a hold keeps is asked about every time: it may be lifted.
        (done,) = await legal.erase_due(persons, "", vault)
        assert (done.conversations, ("c-1", f"legal hold {number}") in done.waiting) == (0, True), what
        await legal.lift(persons, "", number, who="legal", why="over")
    past = datetime.now(UTC) - timedelta(days=1)
    await legal.hold(persons, "", legal.Hold("customer", "u-1", None, None), who="legal", why="case", until=past)
    (done,) = await legal.erase_due(persons, "", vault)
    assert (done.conversations, done.records) == (1, 3)


async def test_an_erasure_that_was_cut_off_before_the_vault_is_finished_by_the_next_run(persons, vault):
    await legal.order(persons, "", "u-1", who="dpo", why="letter")
    await persons.fetch(legal.load_queries()["end_keys"], "u-1", [b"c-1"], [0])
    assert Vault.load(vault).key(b"c-1") is not None
    await legal.erase_due(persons, "", vault)
    assert Vault.load(vault).key(b"c-1") is None
    assert (await contents(persons))["conversations.v1", 0] == ("[]", None)


async def test_the_service_cannot_end_a_key_below_the_floor_by_any_way(persons):
    assert await persons.fetch(legal.load_queries()["end_keys"], "u-1", [b"c-2"], [0]) == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await persons.execute("INSERT INTO erased (name, generation, customer_id) VALUES ('c-2', 0, 'u-1')")


async def test_a_missing_key_that_no_erasure_names_is_found(persons, vault):
    held = Vault.load(vault)
    cut = held.punctured([(b"c-3", 0)])
    Vault(cut.nodes, held.erased).save(vault)
    found = [finding for report in await reports(persons, vault) for finding in report.findings]
    assert found == [(1, 1, "unreadable: the vault lacks its key, and no erasure names it")]


async def test_after_a_rotation_new_records_are_under_new_secrets_and_everything_goes_on(
    persons, schema, vault, tmp_path
):
    kept = Store("", vault)

    async def more(offset, at, text):
        records = [message(offset, at, subject="c-1", customer="u-1", text=text)]
        async with persons.transaction():
            await kept.append(persons, records, describe(records, [decode(record) for record in records]).descriptions)

    await more(3, ago(OLD), "vorher")
    before = vault.read_bytes()
    done = await run(schema, tmp_path, "rotate-vault", "--who", "ops", "--why", "laptop lost")
    assert (done.exit_code, "(rotation 1)" in done.output) == (0, True), done.output
    # The service that runs takes the new secrets with its next unit.
    await more(4, ago(OLD), "nachher")
    await seal(persons, vault, now_us() + 2 * 3_600_000_000)
    rows = await persons.fetch(
        'SELECT "offset", generation FROM raw_records WHERE subject = \'c-1\' AND "offset" > 2 ORDER BY 1'
    )
    assert [tuple(row) for row in rows] == [(3, 0), (4, 1024)]
    shown = await contents(persons)
    assert b"vorher" in shown["conversations.v1", 3][1]
    assert b"nachher" in shown["conversations.v1", 4][1]
    assert [report.findings for report in await reports(persons, vault) if report.findings] == []
    # Whoever has the old copy reads nothing of it.
    vault.with_name("old").write_bytes(before)
    assert Vault.load(vault.with_name("old")).key(b"c-1", 1024) is None
    # Both are erased, and whoever comes back is under a third key.
    (done,) = await legal.erase_due(persons, "", vault, ["u-1"])
    assert (done.conversations, done.records) == (1, 5)
    shown = await contents(persons)
    assert [shown["conversations.v1", at][1] for at in (0, 3, 4)] == [None] * 3
    await more(5, ago(0), "wieder da")
    assert b"wieder da" in (await contents(persons))["conversations.v1", 5][1]
    assert (await run(schema, tmp_path, "rotate-vault", "--who", "ops", "--why", "again")).exit_code == 0
    await more(6, ago(0), "noch da")
    assert b"noch da" in (await contents(persons))["conversations.v1", 6][1]
    assert [report.findings for report in await reports(persons, vault) if report.findings] == []


# --- days -------------------------------------------------------------------------------------------------------------


async def cold(connection):
    await connection.execute(
        "INSERT INTO copies (stream, number, name, sha256, bytes) SELECT stream, number, 'x', 'x', 1 FROM seals"
    )


async def test_a_day_goes_only_when_nothing_keeps_it_and_transactions_stay_for_three_years(
    service, vault, schema, tmp_path
):
    day = date.today() - timedelta(days=OLD)
    await store(service, [message(0, ago(OLD), subject="c-1", customer="u-1"), order(1, ago(OLD), "c-1")], vault)

    async def why():
        (found,) = [each for each in await Store("").retention(service) if each.day == day]
        with pytest.raises(UsageError) as refused:
            await Store("").drop_day(service, day)
        assert found.why in str(refused.value)
        return found.why

    assert "not sealed yet" in await why()
    await seal(service, vault)
    assert "not in the cold store yet" in await why()
    await cold(service)
    for kind, value in (("customer", "u-1"), ("shop", "s-1"), ("conversation", "c-1"), ("period", None)):
        days = (None, None) if value else (day, day)
        number = await legal.hold(service, "", legal.Hold(kind, value, *days), who="legal", why="case 1", until=None)
        assert "legal hold" in (reason := await why())
        assert "case 1" in reason
        await legal.lift(service, "", number, who="legal", why="over")
    # A hold of something else keeps nothing.
    await legal.hold(service, "", legal.Hold("customer", "u-9", None, None), who="legal", why="x", until=None)
    told = await run(schema, tmp_path, "retain", "--dry-run")
    assert "goes" in told.output
    done = await run(schema, tmp_path, "retain", "--yes")
    assert f"dropped {day}" in done.output, done.output
    rows = await service.fetch('SELECT "offset", type FROM described WHERE topic = $1', "conversations.v1")
    assert [tuple(row) for row in rows] == [(1, "order.placed.v1")]
    assert b"12.50" in (await contents(service))["conversations.v1", 1][1]
    (report,) = [each for each in await reports(service, vault) if each.label == "conversations.v1/0"]
    assert (report.records, report.retired, report.findings) == (1, 1, [])
    assert await service.fetchval("SELECT drop_kept()") == 0


@pytest.mark.parametrize("by", ["a thief", "retention"])
async def test_a_transaction_that_is_kept_longer_than_its_day_is_missed_unless_retention_took_it(
    service, vault, schema, by
):
    at = ago(OLD)
    await store(
        service,
        [order(n, at, "c-1") if n % 3 == 1 else message(n, at, subject="c-1", customer="u-1") for n in range(8)],
        vault,
    )
    await seal(service, vault)
    await cold(service)
    await Store("").drop_day(service, date.today() - timedelta(days=OLD))
    ranges = await service.fetch("SELECT first_offset, last_offset FROM dropped ORDER BY first_offset")
    assert [tuple(row) for row in ranges] == [(0, 0), (2, 3), (5, 6)]
    (report,) = await reports(service, vault)
    assert (report.records, report.retired, report.findings) == (3, 5, [])
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    if by == "retention":
        await owner.execute("UPDATE classes SET days = 180 WHERE type = 'order.placed.v1'")
        assert await service.fetchval("SELECT drop_kept()") == 3
    else:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute('DELETE FROM kept_records WHERE "offset" = 4')
    await owner.close()
    (report,) = await reports(service, vault)
    missed = [] if by == "retention" else [verifier.Finding(1, 4, "deleted")]
    assert (report.retired, report.findings) == (8 if by == "retention" else 5, missed)


async def test_retention_excuses_nothing_that_is_younger_than_the_floor(service, vault, schema):
    """Whoever takes rows behind everybody's back may claim that they went by retention."""
    await store(service, [message(n, ago(3), subject="c-1", customer="u-1") for n in range(3)], vault)
    await seal(service, vault)
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await owner.execute("SET session_replication_role = replica")
    await owner.execute('DELETE FROM raw_records WHERE "offset" = 1')
    await owner.execute(
        "INSERT INTO dropped (stream, first_offset, last_offset, day) SELECT stream, 1, 1, $1 FROM seals",
        date.today() - timedelta(days=3),
    )
    await owner.close()
    (report,) = await reports(service, vault)
    assert (report.retired, report.findings) == (0, [verifier.Finding(1, 1, "deleted")])


async def test_what_its_class_no_longer_keeps_goes_and_a_hold_stops_it(service, vault, schema):
    await store(service, [order(0, ago(OLD), "c-1")], vault)
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await owner.execute("INSERT INTO kept_records SELECT * FROM raw_records")
    await owner.execute("UPDATE classes SET days = 180 WHERE type = 'order.placed.v1'")
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute("UPDATE classes SET days = 179")
    await owner.close()
    number = await legal.hold(service, "", legal.Hold("shop", "s-1", None, None), who="l", why="w", until=None)
    assert await service.fetchval("SELECT drop_kept()") == 0
    await legal.lift(service, "", number, who="l", why="w")
    assert await service.fetchval("SELECT drop_kept()") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("DELETE FROM kept_records")


async def test_holds_are_laid_listed_and_lifted_at_the_keyboard(schema, service, vault, tmp_path):
    told = ("--who", "legal", "--why", "case [4711]")
    done = await run(schema, tmp_path, "hold", "add", "--shop", "s-1", "--until", "2099-01-01", *told)
    assert (done.exit_code, "hold 1 is in force" in done.output) == (0, True), done.output
    for wrong in (
        ("--shop", "s", "--customer", "u"),
        (),
        ("--from", "2026-01-01"),
        ("--from", "2026-01-02", "--to", "2026-01-01"),
        ("--shop", "s-2", "--until", "2020-01-01"),
        ("--shop", "s-2", "--until", date.today().isoformat()),
    ):
        assert isinstance((await run(schema, tmp_path, "hold", "add", *wrong, *told)).exception, UsageError)
    for order_ in (
        ("hold", "add", "--shop", "s-2"),
        ("hold", "lift", "1"),
        ("erase", "u-1", "--yes"),
        ("rotate-vault",),
    ):
        for wrong in (("--who", " ", "--why", "x"), ("--who", "x", "--why", "")):
            assert isinstance((await run(schema, tmp_path, *order_, *wrong)).exception, UsageError), order_
    assert isinstance((await run(schema, tmp_path, "erase", "", "--yes", *told)).exception, UsageError)
    done = await run(schema, tmp_path, "hold", "list")
    assert "s-2" not in done.output
    assert "case [4711]" in done.output
    assert (await run(schema, tmp_path, "hold", "lift", "1", *told)).exit_code == 0
    assert isinstance((await run(schema, tmp_path, "hold", "lift", "1", *told)).exception, UsageError)
    log = await service.fetch("SELECT value FROM records WHERE topic = 'archive-log' ORDER BY \"offset\"")
    assert [json.loads(row["value"]).get("lifted") for row in log] == [None, 1]
