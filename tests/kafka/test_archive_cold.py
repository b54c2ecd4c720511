"""What retention has taken from the database stands in the cold store alone; erasures, holds and masks reach it there."""

import contextlib
import socket
import subprocess
import sys
import time
from datetime import date, timedelta
from urllib.parse import quote

import asyncpg
import duckdb
import httpx
import pytest
from tests.kafka.test_archive_persons import (  # noqa: F401 - fixtures, asked for by name
    KEY,
    OLD,
    SECRET,
    acting,
    ago,
    contents,
    message,
    order,
    reports,
    run,
    schema,
    seal,
    service,
    store,
    vault,
)

from deskline.clock import MINUTE, now_us
from deskline.errors import TransientError, UsageError
from deskline.events.deadletters import dead_letter
from deskline.migrate import Schema, migrate, plan
from deskline.records import Record
from deskline_archive import legal, sealing, verifier
from deskline_archive.cold import copy_segments, search_cold
from deskline_archive.days import close_days
from deskline_archive.find import ERASED, RESTRICTED, Finder, Looker, Question
from deskline_archive.places import place
from deskline_archive.sealing import Sealer
from deskline_archive.settings import ArchiveSettings
from deskline_archive.store import Store
from deskline_archive.veil import Vault

pytestmark = pytest.mark.kafka

SUPERVISOR = Looker("han", "supervisor")
INVESTIGATOR = Looker("wu", "investigator", "case 1")
DAY = date.today() - timedelta(days=OLD)


@pytest.fixture
def own(vault, tmp_path):  # noqa: F811 - the fixtures above
    return ArchiveSettings(home=tmp_path / "archive")


def cold_values(tmp_path, where):
    files = str(tmp_path / "archive" / "cold" / "**" / "*.parquet")
    sql = f"SELECT topic, \"offset\", decode(value) FROM read_parquet('{files}') WHERE {where} ORDER BY ALL"
    return duckdb.sql(sql).fetchall()


async def gone(service, vault, own, records):  # noqa: F811 - the fixtures above
    """Stored, sealed, copied, and taken from the database by retention."""
    await store(service, records, vault)
    await seal(service, vault, now_us() + 2 * 60 * MINUTE)
    await copy_segments(service, own, "")
    await Store("").drop_day(service, DAY)


async def test_a_person_whose_days_have_gone_is_erased_from_the_cold_store(service, vault, own, tmp_path):  # noqa: F811 - the fixtures above
    await gone(service, vault, own, [
        message(0, ago(OLD), subject="c-1", customer="u-1"),
        message(1, ago(OLD), subject="c-3", customer="u-2", text="别人的"),
        Record("replies.v1", 0, 0, ago(OLD), b"c-1", b"you said " + SECRET.encode(), ()),
        Record("dead-letters.v1", 0, 0, ago(OLD), b"c-1", SECRET.encode(), ()),
        Record("agents.v1", 0, 0, ago(OLD), b"a-1", b"{}", ()),
    ])  # fmt: skip
    assert await contents(service) == {}
    assert len(cold_values(tmp_path, f"decode(value) LIKE '%{SECRET}%'")) == 3
    # Restricted from the order on, where the database no longer has a record of it.
    await legal.order(service, "", "u-1", who="dpo", why="letter")
    question = Question(conversation="c-1")
    assert {hit.value for hit in (await search_cold(service, own, "", question, SUPERVISOR)).hits} == {RESTRICTED}
    assert SECRET in str((await search_cold(service, own, "", question, INVESTIGATOR)).hits)
    # A hold keeps it there too.
    for kind, value, days in (
        ("customer", "u-1", (None, None)), ("shop", "s-1", (None, None)), ("conversation", "c-1", (None, None)), ("period", None, (DAY, DAY)),
    ):  # fmt: skip
        number = await legal.hold(service, "", legal.Hold(kind, value, *days), who="legal", why="case", until=None)
        (done,) = await legal.erase_due(service, "", vault, ["u-1"])
        assert (done.conversations, done.waiting) == (0, [("c-1", f"legal hold {number}")]), kind
        await legal.lift(service, "", number, who="legal", why="over")
    (done,) = await legal.erase_due(service, "", vault, ["u-1"])
    assert done == legal.Erasure("u-1", 1, 3, [])
    await copy_segments(service, own, "")
    assert cold_values(tmp_path, f"decode(value) LIKE '%{SECRET}%'") == []
    assert len(cold_values(tmp_path, "erased AND value IS NULL AND salt IS NULL AND leaf IS NOT NULL")) == 3
    assert "别人的" in cold_values(tmp_path, "conversation = 'c-3'")[0][2]
    assert {hit.value for hit in (await search_cold(service, own, "", question, INVESTIGATOR)).hits} == {ERASED}
    assert [report.findings for report in await reports(service, vault) if report.findings] == []
    # Once is enough, and what comes later is not touched.
    assert (await legal.erase_due(service, "", vault, ["u-1"]))[0].conversations == 0
    assert await copy_segments(service, own, "") == 0


@pytest.mark.parametrize("whose", [("customer", "u-1"), ("shop", "s-1")])
@pytest.mark.parametrize("later", ["letter", "reply", "order"])
async def test_a_hold_keeps_a_day_that_has_only_what_does_not_name_whom_it_is_of(service, vault, own, whose, later):  # noqa: F811 - the fixtures above
    """A conversation went on after midnight; or the day that named its customer has gone."""
    record = {
        "letter": Record("dead-letters.v1", 0, 0, ago(OLD - 1), b"c-1", b"poison", ()),
        "reply": Record("replies.v1", 0, 0, ago(OLD - 1), b"c-1", b"{}", ()),
        "order": order(1, ago(OLD - 1), "c-1"),
    }[later]
    names = [message(0, ago(OLD), subject="c-1", customer="u-1")]
    other = [Record("agents.v1", 0, 0, ago(OLD - 2), b"a-1", b"{}", ())]
    await store(service, [*names, record, *other], vault)
    await seal(service, vault, now_us() + 2 * 60 * MINUTE)
    await copy_segments(service, own, "")
    await legal.hold(service, "", legal.Hold(*whose, None, None), who="legal", why="case 1", until=None)
    days = {each.day: each.why for each in await Store("").retention(service)}
    assert [(days[DAY + timedelta(days=n)] or "goes").partition(" of ")[0] for n in (0, 1, 2)] == [
        "legal hold 1", "legal hold 1", "goes"
    ]  # fmt: skip
    await legal.lift(service, "", 1, who="legal", why="over")
    await Store("").drop_day(service, DAY)
    await legal.hold(service, "", legal.Hold(*whose, None, None), who="legal", why="case 2", until=None)
    with pytest.raises(UsageError, match="legal hold 2"):
        await Store("").drop_day(service, DAY + timedelta(days=1))


async def test_a_hold_keeps_an_order_whose_customer_is_named_by_a_day_that_has_gone(service, vault, own, schema):  # noqa: F811 - the fixtures above
    await gone(service, vault, own, [message(0, ago(OLD), subject="c-1", customer="u-1"), order(1, ago(OLD), "c-1")])
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await owner.execute("UPDATE classes SET days = 180 WHERE type = 'order.placed.v1'")
    await owner.close()
    for kind, value in (("customer", "u-1"), ("conversation", "c-1"), ("shop", "s-1")):
        number = await legal.hold(service, "", legal.Hold(kind, value, None, None), who="l", why="w", until=None)
        assert await service.fetchval("SELECT drop_kept()") == 0, kind
        await legal.lift(service, "", number, who="l", why="w")
    assert await service.fetchval("SELECT drop_kept()") == 1


async def test_what_is_kept_of_a_day_that_went_before_an_older_one_is_found(service, vault, own):  # noqa: F811 - the fixtures above
    """A hold keeps the older day: the younger one went between days that are there."""
    await store(service, [
        message(0, ago(OLD + 1), subject="c-0", customer="u-0"),
        message(1, ago(OLD), subject="c-1", customer="u-1"),
        order(2, ago(OLD), "c-1"),
        message(3, ago(1), subject="c-2", customer="u-2"),
    ], vault)  # fmt: skip
    await close_days(service, vault)
    await seal(service, vault)
    await copy_segments(service, own, "")
    await Store("").drop_day(service, DAY)
    found = Finder(service, "", Vault.load(vault))
    for question, offsets in (
        (Question(shop="s-1"), [3, 2, 0]),
        (Question(kind="order.placed.v1"), [2]),
        (Question(kind="order.placed.v1", last=DAY), [2]),
        (Question(kind="order.placed.v1", first=DAY), [2]),
        (Question(text="桃花源"), [3, 0]),
        (Question(customer="u-1"), [2]),
    ):
        hits, cursor = [], None
        while True:
            page = await found.search(question._replace(limit=1, cursor=cursor), SUPERVISOR)
            hits += page.hits
            cursor = page.cursor
            if cursor is None:
                break
        assert [hit.offset for hit in hits] == offsets, question


@pytest.mark.parametrize("harm", ["gone", "altered"])
async def test_before_a_day_goes_its_files_are_looked_at_and_made_anew(service, vault, schema, tmp_path, harm):  # noqa: F811 - the fixtures above
    days, own = [DAY - timedelta(days=1), DAY], ArchiveSettings(home=tmp_path / "archive")
    records = [message(n, ago(OLD + 1 - n), subject="c-1", customer="u-1") for n in (0, 1)]
    await store(service, records, vault)
    await seal(service, vault)
    await copy_segments(service, own, "")
    (file,) = (tmp_path / "archive" / "cold").rglob("*.parquet")
    whole = file.read_bytes()

    def harmed():
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(whole[:-1])

    harmed()
    # What one segment has of two days: the second day is still there when the first goes.
    await legal.hold(service, "", legal.Hold("period", None, DAY, DAY), who="legal", why="x", until=None)
    done = await run(schema, tmp_path, "retain", "--yes")
    assert f"{days[0]}: 1 files of the cold store were gone or altered, and are made anew" in done.output, done.output
    assert f"dropped {days[0]}" in done.output
    assert len(cold_values(tmp_path, f"decode(value) LIKE '%{SECRET}%'")) == 2
    # Now the file alone has the first day: nothing goes while it is not what it was.
    harmed()
    await legal.lift(service, "", 1, who="legal", why="x")
    done = await run(schema, tmp_path, "retain", "--yes")
    assert "holds days that are in it alone: restore it" in str(done.exception), done.output
    assert {each.day for each in await Store("").retention(service)} >= {DAY}
    file.write_bytes(whole)
    done = await run(schema, tmp_path, "retain", "--yes")
    assert (f"dropped {DAY}" in done.output, "made anew" in done.output) == (True, False), done.output


async def test_the_words_of_a_day_go_with_it(service, vault, own):  # noqa: F811 - the fixtures above
    tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'words_%'"
    await store(service, [message(0, ago(OLD), subject="c-1", customer="u-1")], vault)
    assert await close_days(service, vault) == [(DAY, 1)]
    await seal(service, vault)
    await copy_segments(service, own, "")
    assert await service.fetchval(tables) == 1
    await Store("").drop_day(service, DAY)
    assert await service.fetchval(tables) == 0
    assert await close_days(service, vault) == []


async def test_an_older_archive_closes_days_anew_that_got_late_records_and_loses_the_words_of_those_that_went(
    database,
    vault,  # noqa: F811 - the fixtures above
    own,
):
    (now,) = [found for found in plan() if found.name == "archive"]
    before = [each for each in now.migrations if not "archive/0012" <= each.name < "archive/9"]
    await migrate(database, schemas=[Schema("archive", tuple(before))])
    async with acting(database) as service:  # noqa: F811 - a fixture's name
        await store(service, [message(n, ago(OLD - n), subject="c-1", customer="u-1") for n in range(3)], vault)
        for n in range(3):
            day = DAY + timedelta(days=n)
            await service.execute("SELECT begin_words($1, 0)", day)
            await service.execute("SELECT finish_words($1, 0)", day)
        await store(service, [message(3, ago(OLD - 1), subject="c-1", customer="u-1")], vault)
        await seal(service, vault)
        await copy_segments(service, own, "")
        await Store("").drop_day(service, DAY)
    await migrate(database, schemas=[now])
    async with acting(database) as service:
        tables = await service.fetch("SELECT tablename FROM pg_tables WHERE tablename LIKE 'words_%' ORDER BY 1")
        assert [row[0] for row in tables] == [f"words_{DAY + timedelta(days=n):%Y%m%d}_0" for n in (1, 2)]
        assert await close_days(service, vault) == [(DAY + timedelta(days=1), 2)]
        assert [report.findings for report in await reports(service, vault)] == [[]]


async def test_what_was_stored_in_the_clear_is_erased_once_it_stands_in_the_cold_store_alone(
    service,  # noqa: F811 - the fixtures above
    vault,  # noqa: F811 - the fixtures above
    own,
    tmp_path,
):
    await store(service, [message(0, ago(OLD), subject="c-1", customer="u-1")], None)
    await seal(service, vault)
    await copy_segments(service, own, "")
    await legal.order(service, "", "u-1", who="dpo", why="letter")
    (done,) = await legal.erase_due(service, "", vault, ["u-1"])
    assert "before there was a vault: they go with their days" in done.waiting[0][1]
    await Store("").drop_day(service, DAY)
    (done,) = await legal.erase_due(service, "", vault, ["u-1"])
    assert (done.conversations, done.records, done.waiting) == (1, 1, [])
    await copy_segments(service, own, "")
    assert cold_values(tmp_path, "erased") == [("conversations.v1", 0, None)]
    assert (await legal.erase_due(service, "", vault, ["u-1"]))[0].conversations == 0


async def test_a_person_who_came_back_loses_only_what_was_erased(service, vault, own, tmp_path):  # noqa: F811 - the fixtures above
    await store(service, [message(0, ago(OLD + 1), subject="c-1", customer="u-1")], vault)
    await seal(service, vault)
    await copy_segments(service, own, "")
    await legal.order(service, "", "u-1", who="dpo", why="letter")
    await legal.erase_due(service, "", vault)
    await gone(service, vault, own, [message(1, ago(OLD), subject="c-1", customer="u-1", text="我回来了")])
    # A copy of a segment that has it is made anew for somebody else.
    await service.execute("INSERT INTO erased_days (day, stream) SELECT day, stream FROM dropped")
    await copy_segments(service, own, "")
    assert "我回来了" in cold_values(tmp_path, "topic = 'conversations.v1' AND \"offset\" = 1")[0][2]


# --- records without a key ---------------------------------------------------------------------------------------------


@pytest.fixture
async def keyless(service, vault):  # noqa: F811 - the fixtures above
    """Old records without a key: 0 names u-17, 1 names nobody, 2 is young; the letter of 1. 3 has a key."""
    poison = Record("conversations.v1", 0, 1, ago(OLD), None, b"{ " + SECRET.encode(), ())
    letter = dead_letter(poison, "bad_json", "", service="archive", topic_prefix="")
    await store(service, [
        Record("conversations.v1", 0, 0, ago(OLD), None, b'{"customer": "u-17", "text": "' + SECRET.encode(), ()),
        poison,
        message(2, ago(OLD), subject="c-9", customer="u-9", text="别人的 u-179"),
        Record("conversations.v1", 0, 3, ago(1), None, b'{"customer": "u-17", "text": "new', ()),
        Record("conversations.v1", 0, 4, ago(OLD), None, b"of u-179 and xu-17", ()),
    ], vault)  # fmt: skip
    await store(service, [Record("dead-letters.v1", 0, 0, ago(OLD), letter.key, letter.value, letter.headers)], vault)
    await seal(service, vault)
    await close_days(service, vault)
    return service


async def test_a_record_without_a_key_goes_with_the_person_whom_it_names(keyless, vault, schema, tmp_path):  # noqa: F811 - the fixtures above
    before = await contents(keyless)
    found = Finder(keyless, "", Vault.load(vault))
    done = await run(schema, tmp_path, "erase", "u-17", "--who", "dpo", "--why", "letter", "--yes")
    assert "1 conversations erased, 1 records" in done.output, done.output
    after = await contents(keyless)
    assert {where for where in before if after[where] != before[where]} == {("conversations.v1", 0)}
    # The young one is masked, and waits for the floor.
    page = await found.search(Question(first=date.today() - timedelta(days=1)), SUPERVISOR)
    assert [hit.value for hit in page.hits if hit.topic == "conversations.v1"] == [RESTRICTED]


async def test_a_record_without_a_key_is_erased_by_its_position_with_its_letter(keyless, vault, schema, tmp_path):  # noqa: F811 - the fixtures above
    told = ("--who", "dpo", "--why", "letter", "--yes")
    for wrong, words in (
        ("conversations.v1/0/77", "has no record"),
        ("conversations.v1/0/2", "has a key"),
        ("c-1", "has no record"),
    ):
        done = await run(schema, tmp_path, "erase", "--record", wrong, *told)
        assert isinstance(done.exception, UsageError), wrong
        assert words in str(done.exception)
    assert isinstance((await run(schema, tmp_path, "erase", *told)).exception, UsageError)
    before = await contents(keyless)
    done = await run(schema, tmp_path, "erase", "--record", "conversations.v1/0/3", *told)
    assert "conversations.v1/0/3 stays for now: kept until" in done.output, done.output
    done = await run(schema, tmp_path, "erase", "--record", "conversations.v1/0/1", *told)
    assert "2 conversations erased, 2 records" in done.output, done.output
    after = await contents(keyless)
    changed = {where for where in before if after[where] != before[where]}
    assert changed == {("conversations.v1", 1), ("dead-letters.v1", 0)}
    found = await reports(keyless, vault)
    assert [report.findings for report in found if report.findings] == []
    assert sum(report.erased for report in found) == 2


async def test_a_record_without_a_key_whose_day_has_gone_is_erased_from_the_cold_store(keyless, vault, own, tmp_path):  # noqa: F811 - the fixtures above
    await copy_segments(keyless, own, "")
    await Store("").drop_day(keyless, DAY)
    await legal.check_keyless(keyless, "conversations.v1/0/1")
    await legal.order(keyless, "", "conversations.v1/0/1", who="dpo", why="letter")
    (done,) = await legal.erase_due(keyless, "", vault)
    assert (done.conversations, done.records) == (1, 1)
    await copy_segments(keyless, own, "")
    assert cold_values(tmp_path, "erased") == [("conversations.v1", 1, None)]


# --- an object store ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch):
    """The URL of an empty bucket on an S3-compatible server of its own."""
    for name in ("moto", "flask", "flask_cors"):
        pytest.importorskip(name, reason=f"{name} is not installed: no S3-compatible server to copy to")
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                assert httpx.put(f"{address}/archive").status_code == 200
                break
            time.sleep(0.1)
        else:
            pytest.fail("the S3-compatible server does not answer")
        yield f"s3://archive/deskline?endpoint_override={quote(address, safe='')}&region=us-east-1"
    finally:
        server.kill()
        server.wait()


async def test_copies_and_checkpoints_in_an_object_store_are_searched_compared_and_made_anew(
    service,  # noqa: F811 - the fixtures above
    vault,  # noqa: F811 - the fixtures above
    bucket,
):
    own = ArchiveSettings(home=vault.parent, cold=bucket.replace("/deskline?", "/cold?"))
    other = place(bucket.replace("/deskline?", "/checkpoints?"))
    await store(service, [
        message(0, ago(OLD), subject="c-1", customer="u-1"),
        message(1, ago(OLD), subject="c-3", customer="u-2", text="别人的 退款"),
    ], vault)  # fmt: skip
    await seal(service, vault)
    assert await Sealer(service, [KEY], "", Vault.load(vault)).write_directory(other) == 1
    assert await copy_segments(service, own, "") == 1
    names = place(own.cold).names("", "")
    assert names == ["conversations.v1/0/0000000001.json", "conversations.v1/0/0000000001.parquet"]
    page = await search_cold(service, own, "", Question(text="退款"), SUPERVISOR)
    assert [hit.value["data"]["text"] for hit in page.hits] == ["别人的 退款"]
    # Checkpoints that are there are never written over, and verify compares with them.
    assert await Sealer(service, [KEY], "", Vault.load(vault)).write_directory(other) == 0
    (stream,) = await sealing.streams(service, "")
    trusted = verifier.trusted_keys(KEY.verifier)
    assert (await sealing.verify(service, stream, trusted, other, Vault.load(vault))).findings == []
    other.remove("conversations.v1/0/0000000001.checkpoint")
    found = (await sealing.verify(service, stream, trusted, other, Vault.load(vault))).findings
    assert found == [(1, None, "the directory has no checkpoint of it")]
    await Store("").drop_day(service, DAY)
    await legal.order(service, "", "u-1", who="dpo", why="letter")
    assert (await legal.erase_due(service, "", vault))[0].records == 1
    assert await copy_segments(service, own, "") == 1
    page = await search_cold(service, own, "", Question(conversation="c-1"), INVESTIGATOR)
    assert [hit.value for hit in page.hits] == [ERASED]


def test_a_store_that_does_not_answer_is_said_without_its_keys(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = place(f"s3://me:secret@archive/cold?endpoint_override=http%3A%2F%2F127.0.0.1%3A{port}&region=us-east-1")
    with pytest.raises(TransientError, match="s3://archive/cold does not answer") as told:
        away.read("x")
    assert "secret" not in str(told.value)
