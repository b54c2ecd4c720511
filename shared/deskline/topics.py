"""The topics, from one file: ``topics.yaml`` says what there is, ``apply`` makes the broker agree.

Applying is idempotent: it creates what is missing, mends settings that drifted, and refuses to touch a partition
count, because the partition of a key decides which conversations a lane holds and where timers and positions are.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Self

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from deskline.errors import UsageError
from deskline.kafka import connection_options
from deskline.records import ALL_TOPICS, CO_PARTITIONED, DEAD_LETTERS
from deskline.settings import ServiceSettings

_DURATION: Final = re.compile(r"(\d+)(h|d)")
_SIZE: Final = re.compile(r"(\d+)(KiB|MiB)")
_LETTER_HEADERS: Final = 64 * 1024
# Metadata of a new topic reaches every broker within a second or so; a loaded machine takes ten times that.
_VISIBLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic, by its logical name. ``retention_ms`` -1 is for ever."""

    name: str
    partitions: int
    retention_ms: int
    max_message_bytes: int
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]

    @property
    def co_partitioned(self) -> bool:
        return self.name in CO_PARTITIONED

    def settings(self, replicas: int) -> dict[str, str]:
        """The topic's configuration on the broker, every entry that deskline relies on."""
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.max_message_bytes),
            # One of three may fail and writing goes on; none of fewer may.
            "min.insync.replicas": str(2 if replicas >= 3 else 1),
            "unclean.leader.election.enable": "false",
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What ``apply`` did, or ``plan`` would do, to one topic (full name): created, mended or nothing."""

    topic: str
    action: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as the broker has it."""

    partitions: int
    settings: Mapping[str, str]


def parse(text: str) -> tuple[Topic, ...]:
    """The topics of the file, in the order of ``records.ALL_TOPICS``. Raises ``UsageError`` where it contradicts."""
    entries: dict[str, Any] = yaml.safe_load(text)["topics"]
    if set(entries) != set(ALL_TOPICS):
        raise UsageError(f"topics.yaml must list exactly {', '.join(ALL_TOPICS)}")
    topics = tuple(_topic(name, entries[name]) for name in ALL_TOPICS)
    if len({topic.partitions for topic in topics if topic.co_partitioned}) != 1:
        raise UsageError("topics.yaml: the co-partitioned topics must have one partition count")
    if any(topic.co_partitioned != bool(entries[topic.name].get("co_partitioned", False)) for topic in topics):
        raise UsageError(f"topics.yaml: co_partitioned are exactly {', '.join(CO_PARTITIONED)}")
    largest = max(topic.max_message_bytes for topic in topics if topic.name != DEAD_LETTERS)
    letters = next(topic for topic in topics if topic.name == DEAD_LETTERS)
    if letters.max_message_bytes < largest + _LETTER_HEADERS:
        raise UsageError("topics.yaml: dead letters must take the largest record plus 64 KiB")
    return topics


def _topic(name: str, entry: Mapping[str, Any]) -> Topic:
    return Topic(
        name=name,
        partitions=int(entry["partitions"]),
        retention_ms=-1 if entry["retention"] == "forever" else _duration_ms(str(entry["retention"])),
        max_message_bytes=_size(str(entry["max_message"])),
        written_by=tuple(entry["written_by"]),
        read_by=tuple(entry["read_by"]),
    )


def _duration_ms(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"topics.yaml: {text!r} is no duration; write 14d, 36h or forever")
    return int(match.group(1)) * (3_600_000 if match.group(2) == "h" else 86_400_000)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"topics.yaml: {text!r} is no size; write 512KiB or 1MiB")
    return int(match.group(1)) * (1024 if match.group(2) == "KiB" else 1024 * 1024)


def load(partitions: int | None = None) -> tuple[Topic, ...]:
    """The shipped topics; ``partitions`` overrides the count of the co-partitioned ones."""
    topics = parse(files("deskline").joinpath("topics.yaml").read_text(encoding="utf-8"))
    if partitions is None:
        return topics
    return tuple(_with_partitions(topic, partitions) if topic.co_partitioned else topic for topic in topics)


def _with_partitions(topic: Topic, partitions: int) -> Topic:
    return Topic(topic.name, partitions, topic.retention_ms, topic.max_message_bytes, topic.written_by, topic.read_by)


def drift(topic: Topic, existing: Existing, replicas: int) -> dict[str, str]:
    """Settings to set, with their values; empty when the broker agrees."""
    return {name: value for name, value in topic.settings(replicas).items() if existing.settings.get(name) != value}


def check_partitions(topics: Sequence[Topic], existing: Mapping[str, Existing], prefix: str) -> None:
    """Refuse to change any count."""
    for topic in topics:
        there = existing.get(prefix + topic.name)
        if there is not None and there.partitions != topic.partitions:
            way_out = f"pass --partitions {there.partitions} or " if topic.co_partitioned else ""
            raise UsageError(
                f"{prefix}{topic.name} has {there.partitions} partitions and {topic.partitions} are wanted. The count "
                f"never changes under one prefix: {way_out}choose another --topic-prefix."
            )


async def apply(settings: ServiceSettings, *, partitions: int | None = None, dry_run: bool = False) -> list[Change]:
    """Make the broker agree with the file. Returns what was done, one entry per topic, when all of it is visible.

    ``partitions`` of the co-partitioned topics; None: as the existing ones have it, the file's where there are none.
    """
    prefix = settings.topic_prefix
    async with _Admin(settings) as admin:
        existing = await admin.existing([prefix + name for name in ALL_TOPICS])
        if partitions is None:
            there = (existing.get(prefix + name) for name in CO_PARTITIONED)
            partitions = next((topic.partitions for topic in there if topic is not None), None)
        topics = load(partitions)
        check_partitions(topics, existing, prefix)
        replicas = min(3, await admin.brokers())
        changes = []
        missing = [topic for topic in topics if prefix + topic.name not in existing]
        if missing and not dry_run:
            await admin.create(missing, prefix, replicas)
        for topic in topics:
            name = prefix + topic.name
            if topic in missing:
                changes.append(Change(name, "created", f"{topic.partitions} partitions, {replicas} replicas"))
                continue
            wrong = drift(topic, existing[name], replicas)
            if wrong and not dry_run:
                await admin.configure(name, topic.settings(replicas))
            detail = ", ".join(f"{key}={value}" for key, value in wrong.items())
            changes.append(Change(name, "mended" if wrong else "unchanged", detail))
        if missing and not dry_run:
            await admin.wait_visible([prefix + topic.name for topic in topics])
            # Somebody else may have created some of them in the meantime, with counts of their own.
            check_partitions(topics, await admin.existing([prefix + topic.name for topic in topics]), prefix)
        return changes


async def show(settings: ServiceSettings) -> dict[str, Existing]:
    """The topics of this prefix as the broker has them, by full name."""
    async with _Admin(settings) as admin:
        return await admin.existing([settings.topic_prefix + name for name in ALL_TOPICS])


class _Admin:
    """The few calls to the broker, with its refusals turned into exceptions."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._client = AIOKafkaAdminClient(**connection_options(settings), client_id="deskline-topics")
        self._address = settings.bootstrap_servers

    async def __aenter__(self) -> Self:
        try:
            await self._client.start()
        except (KafkaError, OSError) as error:
            await self._client.close()
            raise UsageError(f"Kafka does not answer at {self._address}: {type(error).__name__}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def brokers(self) -> int:
        return len((await self._client.describe_cluster())["brokers"])

    async def existing(self, names: Sequence[str]) -> dict[str, Existing]:
        there = set(await self._client.list_topics()) & set(names)
        if not there:
            return {}
        described = {
            topic["topic"]: len(topic["partitions"]) for topic in await self._client.describe_topics(sorted(there))
        }
        settings = await self._settings(sorted(there))
        return {name: Existing(described[name], settings[name]) for name in names if name in there}

    async def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        answers = await self._client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        )
        found: dict[str, dict[str, str]] = {}
        for answer in answers:
            for error_code, message, _, name, entries in answer.resources:
                _raise_for(error_code, message, name)
                found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def create(self, topics: Sequence[Topic], prefix: str, replicas: int) -> None:
        wanted = [
            NewTopic(prefix + topic.name, topic.partitions, replicas, topic_configs=topic.settings(replicas))
            for topic in topics
        ]
        answer = await self._client.create_topics(wanted)
        for name, error_code, *rest in answer.topic_errors:
            # Somebody else who applies at the same moment is welcome; the counts are compared when all is visible.
            if error_code != TopicAlreadyExistsError.errno:
                _raise_for(error_code, rest[0] if rest else None, name)

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(settings))
        for answer in await self._client.alter_configs([resource]):
            for error_code, message, *_ in answer.resources:
                _raise_for(error_code, message, name)

    async def wait_visible(self, names: Sequence[str]) -> None:
        """Until every partition has a leader: a client that came earlier would see an unknown topic."""
        deadline = asyncio.get_running_loop().time() + _VISIBLE_S
        while True:
            described = await self._client.describe_topics(sorted(names))
            ready = {
                topic["topic"]
                for topic in described
                if topic["partitions"]
                and all(part["leader"] >= 0 and part["error_code"] == 0 for part in topic["partitions"])
            }
            if len(ready) == len(names):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise UsageError(f"topics without a leader: {', '.join(sorted(set(names) - ready))}; is a broker down?")
            await asyncio.sleep(0.05)


def _raise_for(error_code: int, message: str | None, name: str) -> None:
    if error_code != 0:
        error = for_code(error_code)
        raise UsageError(f"Kafka refuses {name}: {message or error.__name__}")
