"""The archive's tables on a real PostgreSQL: bytes survive, nothing is changed, and a day is kept for 180 full days."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deskline.clock import DAY, SECOND, from_datetime, now_us, parse_rfc3339, to_datetime
from deskline.errors import FatalError, UsageError
from deskline.migrate import migrate, plan
from deskline.records import ALL_TOPICS, Event, Invalid, Record, Unknown
from deskline_archive.policy import FIRST_DAY, LAST_DAY, describe
from deskline_archive.sealing import Sealer
from deskline_archive.signing import SigningKey
from deskline_archive.store import Store

pytestmark = pytest.mark.kafka

NOON = parse_rfc3339("2026-11-25T12:00:00Z")
BAD = Invalid("bad_json", "at byte 1")


def record(offset, *, topic="conversations.v1", partition=0, broker_at=NOON, key=b"c-1", value=b"{}", headers=()):
    return Record(topic, partition, offset, broker_at, key, value, headers)


@pytest.fixture
async def schema(database):
    """A database with the archive's schema, migrated as its owner would; its DSN."""
    await migrate(database, schemas=[found for found in plan() if found.name == "archive"])
    return database


@pytest.fixture
async def owner(schema):
    connection = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    yield connection
    await connection.close()


@pytest.fixture
async def service(schema):
    """A connection that may do what the service may."""
    connection = await as_service(schema)
    yield connection
    await connection.close()


async def as_service(schema):
    return await asyncpg.connect(schema, server_settings={"search_path": "archive", "role": "deskline_archive"})


async def append(connection, records, decoded=None, store=None):
    decoded = decoded or [BAD] * len(records)
    async with connection.transaction():
        await (store or Store("p-")).append(connection, records, describe(records, decoded).descriptions)


async def stored(connection):
    rows = await connection.fetch('SELECT * FROM archive.records ORDER BY topic, partition, "offset"')
    return [{**row, "headers": json.loads(row["headers"])} for row in rows]


# --- bytes ------------------------------------------------------------------------------------------------------------

ALL_BYTES = bytes(range(256))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, None),
        (b"", b""),
        (b"\0", b"\0" * 1000),
        (ALL_BYTES, ALL_BYTES * 16),
        (b"c-1", b'{"text":"\\u0000\xe9\x80\x80"}'),
        # Kafka's largest record here, and one that no compression makes small.
        (b"c-1", b"x" * (5 * 1024 * 1024)),
        (b"k" * 1024, b"".join(i.to_bytes(4, "big") for i in range(0, 2**32 - 1, 2**14))),
    ],
    ids=["null", "empty", "nul", "every byte", "nul in json", "5 MiB", "1 MiB of noise"],
)
async def test_key_and_value_come_back_byte_for_byte(service, key, value):
    await append(service, [record(7, key=key, value=value)])
    (row,) = await stored(service)
    assert (row["key"], row["value"], row["headers"]) == (key, value, [])
    assert (row["topic"], row["partition"], row["offset"]) == ("p-conversations.v1", 0, 7)
    assert row["broker_time"] == datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([("content-type", b"a/b"), ("x", None), ("x", b"")], [["content-type", "612f62"], ["x", None], ["x", ""]]),
        ([("", b"\0\xff")], [["", "00ff"]]),
        ([("渠道", "微信".encode())], [["渠道", "e5beaee4bfa1"]]),
        # Names that Postgres cannot hold as text are shown with \ooo for their odd bytes: c3 28 is no UTF-8.
        ([("\udcc3(", b"1")], [[r"\303(", "31"]]),
        ([("a\0b", None)], [[r"a\000b", None]]),
        ([('"\\', b"")], [['"\\', ""]]),
        ([("h", b"v" * 70_000)], [["h", "76" * 70_000]]),
    ],
    ids=["plain", "empty name", "chinese", "not utf-8", "nul", "quotes", "long value"],
)
async def test_headers_are_shown_in_order_with_their_bytes(service, headers, shown):
    await append(service, [record(0, headers=tuple(headers))])
    assert (await stored(service))[0]["headers"] == shown


async def test_fifty_thousand_headers_are_read_in_linear_time(service):
    await append(service, [record(0, headers=tuple((f"h{n}", b"v") for n in range(50_000)))])
    async with asyncio.timeout(5):
        (row,) = await stored(service)
    assert (len(row["headers"]), row["headers"][-1]) == (50_000, ["h49999", "76"])


async def test_decoded_columns_stand_beside_the_bytes(service):
    message = Event(
        "message.received.v1", "e", "/gateway/g", "c-1", NOON - 3 * SECOND, True, SimpleNamespace(shop_id="s\0h"),
        "conversations.v1", 0, 0, NOON,
    )  # fmt: skip
    unknown = Unknown("coupon\0.sent.v1", "e", "/gateway/g", "c-1", NOON)
    await append(
        service,
        [record(0), record(1), record(2), record(3, topic="dead-letters.v1")],
        [message, unknown, BAD, BAD],
    )
    rows = await service.fetch('SELECT * FROM described ORDER BY "offset"')
    assert [tuple(row)[4:10] for row in rows] == [
        ("message.received.v1", "c-1", "sh", to_datetime(NOON - 3 * SECOND), True, "valid"),
        ("coupon.sent.v1", "c-1", None, to_datetime(NOON), False, "unknown_type"),
        (None, None, None, None, False, "bad_json"),
        (None, None, None, None, False, "letter"),
    ]


async def test_each_topic_partition_counts_its_own_offsets(service):
    records = [record(0, topic=topic, partition=partition) for topic in ALL_TOPICS for partition in range(3)]
    await append(service, records)
    assert {(row["topic"], row["partition"], row["offset"]) for row in await stored(service)} == {
        (f"p-{topic}", partition, 0) for topic in ALL_TOPICS for partition in range(3)
    }


async def test_two_deployments_in_one_schema_keep_their_topics_apart(service):
    await append(service, [record(0, value=b"a")], store=Store("a-"))
    await append(service, [record(0, value=b"b")], store=Store("b-"))
    assert [(row["topic"], row["value"]) for row in await stored(service)] == [
        ("a-conversations.v1", b"a"),
        ("b-conversations.v1", b"b"),
    ]


# --- once -------------------------------------------------------------------------------------------------------------


async def test_a_record_that_is_already_there_stops_the_service_and_changes_nothing(service):
    await append(service, [record(0, value=b"first"), record(1)])
    with pytest.raises(FatalError, match="already in the archive"):
        await append(service, [record(2), record(0, value=b"second")])
    assert [(row["offset"], row["value"]) for row in await stored(service)] == [(0, b"first"), (1, b"{}")]


async def test_after_a_rollback_the_same_store_writes_the_same_unit(service):
    store = Store("p-")
    killed = service.transaction()
    await killed.start()
    await store.append(service, [record(0)], describe([record(0)], [BAD]).descriptions)
    await killed.rollback()
    store.forget()
    await append(service, [record(0)], store=store)
    assert len(await stored(service)) == 1


# --- days -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broker_at", "day", "shown"),
    [
        (parse_rfc3339("2026-11-25T00:00:00Z"), date(2026, 11, 25), "2026-11-25T00:00:00+00:00"),
        (parse_rfc3339("2026-11-25T23:59:59.999Z"), date(2026, 11, 25), "2026-11-25T23:59:59.999000+00:00"),
        (parse_rfc3339("2024-02-29T12:00:00Z"), date(2024, 2, 29), "2024-02-29T12:00:00+00:00"),
        # Kafka's "no timestamp" is -1 ms.
        (-1000, date(1969, 12, 31), "1969-12-31T23:59:59.999000+00:00"),
        (-(2**63) * 1000, date(1, 1, 3), "0001-01-03T00:00:00+00:00"),
        ((2**63 - 1) * 1000, date(9998, 12, 31), "9998-12-31T23:59:59.999999+00:00"),
    ],
    ids=["first instant", "last millisecond", "leap day", "no timestamp", "smallest int64", "largest int64"],
)
async def test_a_record_of_any_broker_time_finds_a_day(service, broker_at, day, shown):
    await append(service, [record(0, broker_at=broker_at, value=b"v")])
    (row,) = await stored(service)
    assert (row["broker_time"].isoformat(), row["value"]) == (shown, b"v")
    assert [found.day for found in await Store("p-").retention(service)] == [day]


async def test_one_unit_may_reach_over_many_days(service):
    days = [0, 1, 2, 500, FIRST_DAY, LAST_DAY]
    await append(service, [record(n, broker_at=day * DAY) for n, day in enumerate(days)])
    assert len(await stored(service)) == 6
    assert await service.fetchval("SELECT count(*) FROM days") == 6


async def test_days_are_made_once_and_counted_ahead(service):
    store, today = Store("p-"), NOON // DAY
    await store.ensure_days(service, range(today, today + 8))
    assert await service.fetchval("SELECT ensure_days($1, $2)", date(2026, 11, 25), date(2026, 12, 2)) == 0
    assert await service.fetchval("SELECT ensure_days($1, $2)", date(2026, 12, 1), date(2026, 12, 5)) == 3
    assert store.days_ahead(today) == 7
    assert store.days_ahead(today + 7) == 0


@pytest.mark.parametrize(
    ("first", "last"),
    [(None, date(2026, 1, 1)), (date(2026, 1, 1), date(2027, 2, 6)), (date(2026, 1, 2), date(2026, 1, 1))],
    ids=["null", "401 days later", "backwards"],
)
async def test_a_mistaken_range_of_days_is_refused(service, first, last):
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await service.fetchval("SELECT ensure_days($1, $2)", first, last)


async def test_two_instances_may_want_the_same_new_day_at_once(schema, service):
    other = await as_service(schema)
    try:
        async with service.transaction():
            await Store("p-").append(service, [record(0)], describe([record(0)], [BAD]).descriptions)
            waiting = asyncio.create_task(append(other, [record(0, partition=1)]))
            await until_waiting(service, other)
        await waiting
    finally:
        await other.close()
    assert [(row["partition"], row["offset"]) for row in await stored(service)] == [(0, 0), (1, 0)]


async def until_waiting(watcher, other):
    """Return when the other connection waits for a lock."""
    async with asyncio.timeout(10):
        # The lock is in the database, which tells nobody.
        while not await watcher.fetchval(  # noqa: ASYNC110
            "SELECT cardinality(pg_blocking_pids($1)) > 0", other.get_server_pid()
        ):
            await asyncio.sleep(0.01)


async def test_making_a_day_does_not_wait_for_units_that_write(schema, service, owner):
    await append(service, [record(0)])
    async with service.transaction():
        await service.execute("SELECT 1 FROM streams")
        store = Store("p-")
        await store.append(service, [record(1)], describe([record(1)], [BAD]).descriptions)
        await owner.execute("SET lock_timeout = '2s'")
        assert await owner.fetchval("SELECT ensure_days('2030-01-01', '2030-01-02')") == 2


# --- the floor --------------------------------------------------------------------------------------------------------


async def proved(connection):
    """Everything sealed and in the cold store: nothing but its age keeps a day."""
    key = SigningKey("a.example", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
    await Sealer(connection, [key], "p-").seal(now_us(), 1000)
    await connection.execute(
        "INSERT INTO copies (stream, number, name, sha256, bytes) SELECT stream, number, 'x', 'x', 1 FROM seals"
    )


async def today_of(connection):
    return await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")


async def test_a_day_is_kept_for_180_full_days_by_the_databases_clock(service):
    """The day ends at its day + 1, 00:00 UTC; 180 full days later is day + 181, 00:00."""
    today = await today_of(service)
    store = Store("p-")
    kept, due = today - timedelta(days=180), today - timedelta(days=181)
    await append(
        service,
        [record(n, broker_at=from_datetime(datetime(d.year, d.month, d.day, 12, tzinfo=UTC))) for n, d in enumerate([kept, due])],
    )  # fmt: skip
    await proved(service)
    assert [(day.day, day.due) for day in await store.retention(service)] == [(due, True), (kept, False)]
    assert [day.due for day in await store.retention(service, 181)] == [False, False]
    with pytest.raises(UsageError, match=rf"records of {kept} are kept until {today + timedelta(days=1)} 00:00 UTC"):
        await store.drop_day(service, kept)
    assert await store.drop_day(service, due) > 0
    assert [row["offset"] for row in await stored(service)] == [0]


@pytest.mark.parametrize("days", [0, 1, 179, 180, -7])
async def test_younger_days_are_refused_even_to_the_owner(owner, days):
    day = await today_of(owner) - timedelta(days=days)
    await owner.fetchval("SELECT ensure_days($1, $1)", day)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="180 full days"):
        await owner.fetchval("SELECT drop_day($1)", day)
    assert await owner.fetchval("SELECT count(*) FROM days") == 1


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles", "UTC"])
async def test_the_session_cannot_move_the_floor(service, zone):
    today = await today_of(service)
    await service.execute(f"SET TimeZone = '{zone}'")
    await service.fetchval("SELECT ensure_days($1, $2)", today - timedelta(days=181), today - timedelta(days=180))
    with pytest.raises(UsageError):
        await Store("p-").drop_day(service, today - timedelta(days=180))
    await Store("p-").drop_day(service, today - timedelta(days=181))


async def test_a_day_that_is_not_there_is_said_to_be_missing(service):
    with pytest.raises(UsageError, match="the archive has no day 2001-01-01"):
        await Store("p-").drop_day(service, date(2001, 1, 1))


async def test_a_dropped_day_is_made_again_when_an_old_record_comes(service):
    store = Store("p-")
    await append(service, [record(0, broker_at=0)], store=store)
    await proved(service)
    await Store("p-").drop_day(service, date(1970, 1, 1))
    with pytest.raises(Exception, match="made again with the next attempt"):
        await append(service, [record(1, broker_at=0)], store=store)
    store.forget()
    await append(service, [record(1, broker_at=0)], store=store)
    assert [row["offset"] for row in await stored(service)] == [1]


# --- privileges -------------------------------------------------------------------------------------------------------

CHANGES = [
    "UPDATE raw_records SET value = NULL",
    "DELETE FROM raw_records",
    "TRUNCATE raw_records",
    "UPDATE records_20261125 SET value = NULL",
    "DELETE FROM records_20261125",
    "TRUNCATE records_20261125",
    "UPDATE streams SET topic = 'x'",
    "DELETE FROM streams",
    "TRUNCATE streams CASCADE",
]


@pytest.mark.parametrize(
    "statement",
    [
        *CHANGES,
        "DROP TABLE records_20261125",
        "DROP TABLE raw_records",
        "ALTER TABLE raw_records DETACH PARTITION records_20261125",
        "ALTER TABLE raw_records DISABLE TRIGGER ALL",
        "INSERT INTO records_20261125 SELECT * FROM raw_records",
        "CREATE TABLE archive.mine (a int)",
        "CREATE OR REPLACE FUNCTION archive.drop_day(day date) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "DELETE FROM records",
        "INSERT INTO records SELECT * FROM records",
    ],
)
async def test_the_service_can_add_and_read_and_nothing_else(service, statement):
    await append(service, [record(0)])
    with pytest.raises(asyncpg.PostgresError) as refusal:
        await service.execute(statement)
    assert isinstance(refusal.value, asyncpg.InsufficientPrivilegeError | asyncpg.ObjectNotInPrerequisiteStateError)
    assert len(await stored(service)) == 1


@pytest.mark.parametrize("statement", CHANGES)
async def test_not_even_the_owner_changes_a_record_by_accident(owner, service, statement):
    await append(service, [record(0)])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="written once"):
        await owner.execute(statement)
    assert len(await stored(owner)) == 1


async def test_nobody_else_may_make_or_drop_days(owner):
    await owner.execute("GRANT USAGE ON SCHEMA archive TO public; SET ROLE pg_read_all_data")
    for statement in ("SELECT ensure_days('2026-01-01', '2026-01-01')", "SELECT drop_day('2001-01-01')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for function"):
            await owner.execute(statement)


async def test_a_position_is_found_by_the_index_of_its_day(owner, service):
    await append(service, [record(n) for n in range(5000)])
    await owner.execute("ANALYZE records_20261125")
    plan = await owner.fetch(
        "EXPLAIN SELECT * FROM records WHERE topic = 'p-conversations.v1' AND partition = 0 AND \"offset\" = 7"
    )
    assert any("records_20261125_position" in row[0] for row in plan)
