"""The embedded Kafka and PostgreSQL: what they survive, and how they are found again."""

import socket

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deskline.errors import UsageError
from deskline.stack.files import free_ports
from deskline.stack.kafka import EmbeddedKafka
from deskline.stack.postgres import EmbeddedPostgres

pytestmark = pytest.mark.kafka


async def create(servers: str, topic: str, replicas: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, replicas)])
    await admin.close()


async def write(servers: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_acknowledged_records_survive_kill_9_of_the_only_broker(own_broker):
    before = own_broker.bootstrap_servers
    await create(before, "kept", 1)
    await write(before, "kept", [b"1", b"2"])
    own_broker.kill_node(1)
    assert not own_broker.running()
    own_broker.start_node(1)
    assert own_broker.bootstrap_servers == before, "ports are kept, so clients come back by themselves"
    await write(before, "kept", [b"3"])
    assert await read(before, "kept", 3) == [b"1", b"2", b"3"]


async def test_a_topic_is_never_created_by_use(kafka, topic_prefix):
    async with AIOKafkaProducer(bootstrap_servers=kafka, request_timeout_ms=2000) as producer:
        with pytest.raises(Exception, match=r"(?i)unknown|timeout"):
            await producer.send_and_wait(f"{topic_prefix}never-created", b"x")


def test_a_broker_that_was_left_running_is_taken_over_and_can_be_stopped(own_broker):
    second = EmbeddedKafka(own_broker.directory).start()
    assert second.pids() == own_broker.pids()
    second.stop()
    assert not own_broker.running()


def test_another_program_on_the_port_is_named_not_mistaken_for_kafka(tmp_path):
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UsageError, match=rf"Port {port} is in use"):
        EmbeddedKafka(tmp_path / "kafka", port=port, dies_with_parent=True).start()


def test_data_of_another_cluster_is_never_wiped(own_broker):
    own_broker.stop()
    meta = own_broker.directory / "node-1" / "data" / "meta.properties"
    lines = [
        "cluster.id=AAAAAAAAAAAAAAAAAAAAAA" if line.startswith("cluster.id") else line
        for line in meta.read_text().splitlines()
    ]
    meta.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"belongs to another broker: .*down --wipe"):
        EmbeddedKafka(own_broker.directory, dies_with_parent=True).start()
    assert meta.exists()


@pytest.mark.faults
async def test_three_brokers_go_on_without_one_and_lose_nothing(three_brokers):
    servers = three_brokers.bootstrap_servers
    await create(servers, "replicated", 3)
    await write(servers, "replicated", [b"1"])
    three_brokers.kill_node(2)
    await write(servers, "replicated", [b"2"])
    three_brokers.start_node(2)
    three_brokers.wait_brokers(3)
    three_brokers.kill_node(1)
    assert await read(servers, "replicated", 2) == [b"1", b"2"]


async def count(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT count(*) FROM kept")
    finally:
        await connection.close()


async def test_commits_survive_every_way_of_ending_postgres(own_postgres):
    dsn = own_postgres.dsn
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    await connection.close()
    own_postgres.restart("fast")
    assert await count(dsn) == 1
    own_postgres.restart("immediate")
    assert await count(dsn) == 1
    own_postgres.kill()
    own_postgres.start()
    assert (await count(dsn), own_postgres.dsn) == (1, dsn)


async def test_a_postgres_that_was_left_running_is_taken_over(own_postgres):
    second = EmbeddedPostgres(own_postgres.directory, durable=False).start()
    assert second.pids() == own_postgres.pids()
    assert second.dsn == own_postgres.dsn
    second.stop()
    assert not own_postgres.running()


async def test_text_is_utf8_and_upper_case_follows_unicode(own_postgres):
    connection = await asyncpg.connect(own_postgres.dsn)
    try:
        assert await connection.fetchval("SELECT length('退款')") == 2
        assert await connection.fetchval("SELECT upper('äé')") == "ÄÉ"
        assert await connection.fetchval("SHOW timezone") == "UTC"
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(own_postgres):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(own_postgres.dsn, password="wrong")


def test_a_folder_closed_to_others_is_no_hindrance(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "postgres", durable=False, dies_with_parent=True) as server:
        assert server.running()
