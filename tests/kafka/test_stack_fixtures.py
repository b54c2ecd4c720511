"""The fixtures themselves: a real broker and a real database, kept apart per test."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

pytestmark = pytest.mark.kafka


async def test_a_record_comes_back_with_the_brokers_time(kafka, topic_prefix):
    topic = f"{topic_prefix}echo"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(topic, b"value", key=b"key", timestamp_ms=1)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    assert (record.key, record.value, record.offset) == (b"key", b"value", sent.offset)
    assert record.timestamp > 1_700_000_000_000, "LogAppendTime: the producer's own timestamp is replaced"


@pytest.mark.parametrize("_", [1, 2])
async def test_each_test_has_a_database_of_its_own(database, _):
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE here (n int)")
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert tables == 1
