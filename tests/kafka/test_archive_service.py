"""The archive on real Kafka and PostgreSQL: what Kafka acknowledged is stored once, byte for byte, whatever it is."""

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.fixtures.batches import Patched

from deskline import topics
from deskline.consumption import Engine
from deskline.errors import FatalError
from deskline.kafka import install_lenient_headers, producer
from deskline.metrics import EngineMetrics
from deskline.migrate import migrate
from deskline.records import ALL_TOPICS, DEAD_LETTERS
from deskline.service import Runtime
from deskline.settings import ServiceSettings
from deskline_archive.app import build

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

PARTITIONS = 2


@pytest.fixture
async def settings(kafka, topic_prefix, database):
    found = ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(database), session_timeout_s=6
    )
    await migrate(database)
    await topics.apply(found, partitions=PARTITIONS)
    return found


@asynccontextmanager
async def archive(settings):
    """The service's engine, running; stopped in an orderly way at the end."""
    registry = CollectorRegistry()
    runtime = Runtime(settings, registry)
    runtime.engine = Engine(settings, build(runtime), ends=runtime.ends, metrics=EngineMetrics(registry))
    running = asyncio.create_task(runtime.engine.run())
    runtime.running = running
    try:
        yield runtime
    finally:
        runtime.engine.stop()
        try:
            await asyncio.wait_for(running, 20)
        finally:
            await runtime.ends.stop()


@asynccontextmanager
async def writing(settings):
    client = producer(settings, "test")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def in_kafka(settings):
    """Everything on the topics, read by nothing of the archive's: (topic, partition, offset) → (ms, key, headers, value)."""
    install_lenient_headers()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
    )
    await consumer.start()
    try:
        tps = [
            TopicPartition(settings.topic_prefix + topic, partition)
            for topic in ALL_TOPICS
            for partition in sorted(await partitions_of(consumer, settings.topic_prefix + topic))
        ]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found = {}
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    headers = [[shown(name), None if value is None else value.hex()] for name, value in message.headers]
                    found[message.topic, message.partition, message.offset] = (
                        message.timestamp, message.key, headers, message.value,
                    )  # fmt: skip
        return found
    finally:
        await consumer.stop()


async def partitions_of(consumer, topic):
    return (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)


def shown(name):
    """A header's name as the view shows it."""
    raw = name.encode("utf-8", "surrogateescape")
    with suppress(UnicodeDecodeError):
        if b"\0" not in raw:
            return raw.decode()
    return "".join(chr(b) if 0 < b < 128 and b != 92 else "\\\\" if b == 92 else f"\\{b:03o}" for b in raw)


async def in_archive(settings):
    connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    try:
        rows = await connection.fetch("SELECT * FROM archive.records")
    finally:
        await connection.close()
    found = Counter((row["topic"], row["partition"], row["offset"]) for row in rows)
    assert max(found.values(), default=1) == 1, "stored twice"
    return {
        (row["topic"], row["partition"], row["offset"]): (
            round(row["broker_time"].timestamp() * 1000),
            row["key"],
            json.loads(row["headers"]),
            row["value"],
        )
        for row in rows
    }


async def all_stored(settings, eventually, timeout_s=60):
    """Wait until the archive is what Kafka is, letters included; the contents of both."""

    async def same():
        return await in_archive(settings) == (kept := await in_kafka(settings)) and bool(kept)

    await eventually(same, "the archive is what Kafka is", timeout_s)
    return await in_archive(settings)


def message(number, **changes):
    subject = f"c-{number % 7}"
    envelope = {
        "specversion": "1.0", "id": f"e-{number}", "source": "/gateway/test", "type": "message.received.v1",
        "subject": subject, "time": "2026-11-25T03:30:00Z",
        "data": {
            "message_id": f"m-{number}", "shop_id": "s-1", "channel": "web", "text": "退款什么时候到账?",
            "customer": {"customer_id": "u-1"},
        },
    }  # fmt: skip
    return subject.encode(), json.dumps(envelope | changes, ensure_ascii=False).encode()


KEY, GOOD = message(1)
# (topic, key, value, headers, reason of the letter or None)
HOSTILE = [
    ("conversations.v1", KEY, GOOD, [], None),
    ("conversations.v1", KEY, GOOD, [("h", b"\0\xff"), ("h", None), ("", b""), ("渠道", "微信".encode())], None),
    ("conversations.v1", *message(2, type="coupon.sent.v1"), [], None),
    ("conversations.v1", b"\0\xff\xfe", GOOD, [], "key_mismatch"),
    ("conversations.v1", KEY, None, [], "bad_json"),
    ("conversations.v1", None, GOOD, [], "key_mismatch"),
    ("conversations.v1", KEY, b"", [], "bad_json"),
    ("conversations.v1", KEY, b"\xff\xfe\0", [], "bad_json"),
    ("conversations.v1", KEY, b"[" * 100_000, [], "bad_json"),
    ("conversations.v1", KEY, b'{"id":' + b"9" * 200_000 + b"}", [], "bad_envelope"),
    ("conversations.v1", KEY, GOOD + b" " * (300 * 1024), [], "too_large"),
    ("conversations.v1", *message(3, type="message.received.v9"), [("deskline-source", b"x/1/2")], "unsupported_version"),
    ("conversations.v1", *message(4, source="/deskline/router"), [], "wrong_source"),
    ("sla.v1", KEY, GOOD, [], "wrong_topic"),
    ("agents.v1", b"li", b"{}", [("content-type", b"text/plain")], "bad_envelope"),
    ("dead-letters.v1", b"\0", b"\xff not a letter", [("deskline-reason", b"\xff")], None),
    ("dead-letters.v1", None, b"", [], None),
    ("checkpoints.v1", b"k", b"\0", [], "bad_json"),
    ("conversations.v1", KEY, GOOD, [], None),
]  # fmt: skip


async def test_every_kind_of_record_is_stored_as_it_came_and_each_invalid_one_gets_one_letter(settings, eventually):
    async with writing(settings) as client:
        for topic, key, value, headers, _ in HOSTILE:
            await client.send_and_wait(settings.topic_prefix + topic, value, key=key, headers=headers, partition=0)
    async with archive(settings):
        stored = await all_stored(settings, eventually)
    letters = {}
    for (topic, _, _), (_, key, headers, value) in stored.items():
        named = {name: bytes.fromhex(held) for name, held in headers if held is not None}
        if topic == settings.topic_prefix + DEAD_LETTERS and "deskline-service" in named:
            where = named["deskline-topic"].decode(), int(named["deskline-partition"]), int(named["deskline-offset"])
            assert where not in letters, "a second letter"
            assert stored[where][1:4:2] == (key, value)
            letters[where] = named["deskline-reason"].decode()
    offsets = Counter()
    expected = {}
    for topic, _, _, _, reason in HOSTILE:
        if reason is not None:
            expected[settings.topic_prefix + topic, 0, offsets[topic]] = reason
        offsets[topic] += 1
    assert letters == expected


async def test_a_record_with_neither_key_nor_value_gets_an_empty_letter(settings, eventually):
    async with writing(settings) as client:
        batch = client.create_batch()
        batch.append(key=None, value=None, timestamp=None)
        await (await client.send_batch(batch, settings.topic_prefix + "sla.v1", partition=1))
    async with archive(settings):
        await eventually(letters_in(settings, 1))
        stored = await all_stored(settings, eventually)
    (letter,) = [held for (topic, _, _), held in stored.items() if topic.endswith(DEAD_LETTERS)]
    assert (letter[1], letter[3]) == (None, b"")
    assert ["deskline-null", b"1".hex()] in letter[2]


async def test_header_names_of_any_bytes_are_stored_and_go_into_a_letter(settings, eventually):
    """Librdkafka sends what it is given; aiokafka's producer refuses, so the name's bytes are patched in the batch."""
    topic = settings.topic_prefix + "conversations.v1"
    # Not the idempotent producer: it insists on its own builder.
    client = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await client.start()
    batch = client.create_batch()
    batch.append(key=KEY, value=b"{", timestamp=None, headers=[("odd\u0081\u0082name", b"v")])
    batch._builder = Patched(batch._builder, "odd\u0081\u0082name".encode(), b"odd\xff\x00\xc3\x28name")
    await (await client.send_batch(batch, topic, partition=0))
    await client.send_and_wait(topic, GOOD, key=KEY, partition=0)
    await client.stop()
    async with archive(settings):
        await eventually(letters_in(settings, 1))
        stored = await all_stored(settings, eventually)
    assert stored[topic, 0, 0][2] == [[r"odd\377\000\303(name", "76"]]
    (letter,) = [held for where, held in stored.items() if where[0].endswith(DEAD_LETTERS)]
    # A producer sends names that are UTF-8: the letter shows the bytes that are not.
    assert [r"odd\377\000\303(name", "76"] not in letter[2]
    assert [name for name, _ in letter[2] if name.startswith("odd")]


def blocked(runtime, lane):
    def condition():
        return lane in runtime.engine.lanes and runtime.engine.lanes[lane].blocked

    return condition


def letters_in(settings, count):
    async def reached():
        rows = await in_archive(settings)
        return sum(topic.endswith(DEAD_LETTERS) for topic, _, _ in rows) >= count

    return reached


async def test_two_instances_share_the_topics_and_store_everything_once(settings, eventually):
    async with writing(settings) as client:
        await produce(client, settings, 4000)
        async with archive(settings):
            await produce(client, settings, 2000)
            async with archive(settings.model_copy(update={"instance": "2"})):
                await produce(client, settings, 2000)
                await all_stored(settings, eventually)
            await produce(client, settings, 500)
            stored = await all_stored(settings, eventually)
    assert len(stored) == 8500


async def produce(client, settings, count):
    pending = []
    for number in range(count):
        key, value = message(number)
        pending.append(await client.send(settings.topic_prefix + "conversations.v1", value, key=key))
    await asyncio.gather(*pending)


async def test_kill_9_in_the_middle_of_units_loses_nothing_and_stores_nothing_twice(settings, eventually):
    environment = os.environ | {
        "DESKLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DESKLINE_TOPIC_PREFIX": settings.topic_prefix,
        "DESKLINE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "DESKLINE_SESSION_TIMEOUT_S": "6",
        "DESKLINE_MAX_UNIT_RECORDS": "200",
    }
    command = (sys.executable, "-c", "from deskline_archive.cli import app; app()")
    async with writing(settings) as client:
        await produce(client, settings, 20_000)
        await client.send_and_wait(settings.topic_prefix + "conversations.v1", b"{", key=KEY)
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        before = len(await in_archive(settings))
        try:
            # The killed member's partitions come free after the session timeout: the same instance waits for them.
            await eventually(grown(settings, before), "the archive grows", 40)
        finally:
            process.kill()
            await process.wait()
    async with archive(settings):
        stored = await all_stored(settings, eventually)
    # 20 000 messages, one invalid record, its letter.
    assert len(stored) == 20_002


def grown(settings, before):
    async def condition():
        connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
        try:
            return await connection.fetchval("SELECT count(*) FROM archive.records") > before
        finally:
            await connection.close()

    return condition


async def test_a_record_that_is_already_there_stops_the_service(settings, eventually, database):
    """The belt: were the fence to fail, the unit is refused and the process ends."""
    async with writing(settings) as client:
        await produce(client, settings, 3)
    async with archive(settings):
        await all_stored(settings, eventually)
    owner = await asyncpg.connect(database)
    await owner.execute("UPDATE archive.lanes SET offsets = ARRAY[0] WHERE offsets > ARRAY[0::bigint]")
    await owner.close()
    with pytest.raises(FatalError, match="already in the archive"):
        async with archive(settings) as runtime:
            await asyncio.wait([runtime.running], timeout=20)
    assert len(await in_archive(settings)) == 3


async def test_records_that_the_broker_should_have_and_has_not_stop_their_partition_only(
    settings, eventually, database
):
    """Offsets are deleted from the broker behind the archive's back; the lane stops, the other one goes on."""
    topic = settings.topic_prefix + "conversations.v1"
    async with writing(settings) as client:
        for _ in range(10):
            for partition in (0, 1):
                await client.send_and_wait(topic, GOOD, key=KEY, partition=partition)
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        await admin.start()
        async with archive(settings):
            await all_stored(settings, eventually)
        for _ in range(10):
            await client.send_and_wait(topic, GOOD, key=KEY, partition=0)
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=15)})
        await admin.close()
        async with archive(settings) as runtime:
            await client.send_and_wait(topic, GOOD, key=KEY, partition=1)
            await eventually(blocked(runtime, "conversations.v1/0"), "partition 0 stops", 20)
            await eventually(grown(settings, 20), "partition 1 goes on", 20)
            assert runtime.engine.lanes["conversations.v1/0"].positions == {"conversations.v1": 10}
    stored = await in_archive(settings)
    assert sorted(offset for name, partition, offset in stored if partition == 0) == list(range(10))
    assert sorted(offset for name, partition, offset in stored if partition == 1) == list(range(11))
