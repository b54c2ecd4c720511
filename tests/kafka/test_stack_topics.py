"""`deskline topics apply` against a real broker."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deskline.errors import UsageError
from deskline.records import ALL_TOPICS
from deskline.settings import ServiceSettings
from deskline.topics import apply, load, show

pytestmark = pytest.mark.kafka


@pytest.fixture
def deployment(kafka, topic_prefix):
    return ServiceSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix)


async def test_applying_creates_every_topic_once_and_is_idempotent(deployment, topic_prefix):
    first = await apply(deployment, partitions=6)
    assert [(change.topic, change.action) for change in first] == [(topic_prefix + n, "created") for n in ALL_TOPICS]
    assert {change.action for change in await apply(deployment, partitions=6)} == {"unchanged"}
    there = await show(deployment)
    assert there[f"{topic_prefix}routing.v1"].partitions == 6
    assert there[f"{topic_prefix}dead-letters.v1"].settings["max.message.bytes"] == str(5 * 1_048_576 + 65_536)


async def test_settings_that_drifted_are_mended(deployment, topic_prefix, kafka, eventually):
    await apply(deployment, partitions=2)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    drifted = {"cleanup.policy": "compact", "retention.ms": "60000"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{topic_prefix}agents.v1", configs=drifted)])
    await admin.close()

    # The broker takes a moment to act on a changed setting, in both directions.
    async def seen_as(action: str) -> bool:
        return {change.topic: change.action for change in await apply(deployment, partitions=2, dry_run=True)} == {
            f"{topic_prefix}{name}": action if name == "agents.v1" else "unchanged" for name in ALL_TOPICS
        }

    await eventually(lambda: seen_as("mended"), "a dry run sees the drift")
    mended = next(change for change in await apply(deployment, partitions=2) if change.topic.endswith("agents.v1"))
    assert mended.action == "mended"
    assert "cleanup.policy=delete" in mended.detail
    await eventually(lambda: seen_as("unchanged"), "the drift is mended")
    settings = (await show(deployment))[f"{topic_prefix}agents.v1"].settings
    assert (settings["cleanup.policy"], settings["retention.ms"]) == ("delete", str(14 * 86_400_000))


async def test_another_partition_count_is_refused_and_nothing_is_created(deployment, topic_prefix, kafka, eventually):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(f"{topic_prefix}conversations.v1", 3, 1)])
    await admin.close()
    await eventually(lambda: show(deployment), "the topic is visible")
    with pytest.raises(UsageError, match="--partitions 3"):
        await apply(deployment, partitions=12)
    assert list(await show(deployment)) == [f"{topic_prefix}conversations.v1"]

    # Without a count the one that is there holds for those that are missing.
    await apply(deployment)
    counts = {name.removeprefix(topic_prefix): topic.partitions for name, topic in (await show(deployment)).items()}
    assert counts == {topic.name: topic.partitions for topic in load(3)}


async def test_two_may_apply_at_once(deployment):
    await asyncio.gather(apply(deployment, partitions=2), apply(deployment, partitions=2))
    assert {there.partitions for name, there in (await show(deployment)).items() if "sla" in name} == {2}


async def test_a_broker_that_is_not_there_is_said_plainly():
    with pytest.raises(UsageError, match=r"Kafka does not answer at 127\.0\.0\.1:1"):
        await apply(ServiceSettings(bootstrap_servers="127.0.0.1:1"))
