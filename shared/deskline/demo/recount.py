"""The independent reader: everything counted once more, from the topics' beginnings, after all is done.

It shares nothing with the board but the names in ``figures``: plain JSON in, dictionaries of its own, whole topics
instead of single records, and the archive's own view in PostgreSQL for what is archived. What does not agree is a
difference, and a difference is exit code 1.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deskline.demo.figures import NO_TIER, Difference
from deskline.errors import FatalError, UsageError
from deskline.records import ALL_TOPICS

_BATCH: Final = 2000
_LARGEST: Final = 8 * 1024 * 1024
_POLL_MS: Final = 500
_ARCHIVED: Final = """
SELECT ends.topic, count(records."offset") AS records
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS ends(topic, partition, upto)
LEFT JOIN archive.records AS records
  ON records.topic = ends.topic AND records.partition = ends.partition AND records."offset" < ends.upto
GROUP BY ends.topic
"""
_LAST_WORDS: Final = {
    "sla.met.v1": "met",
    "sla.breached.v1": "breached",
    "sla.cancelled.v1": "cancelled",
    "sla.breach_retracted.v1": "retracted",
}


class Raw(NamedTuple):
    """A record as the broker has it; ``at_ms`` is the broker's timestamp."""

    at_ms: int
    value: bytes | None


@dataclass(slots=True)
class Recount:
    """``figures``: by the names of ``figures``. ``wrong``: what does not hold within the topics themselves."""

    figures: dict[str, int]
    wrong: list[Difference] = field(default_factory=list)
    decided_ms: list[float] = field(default_factory=list)
    waited_s: dict[str, list[float]] = field(default_factory=dict)
    """By tier."""


async def read(bootstrap_servers: str, prefix: str) -> tuple[dict[str, list[Raw]], dict[tuple[str, int], int]]:
    """Every record of every topic, by topic (partitions one after the other), and the ends read up to."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        client_id="deskline-demo-recount",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=_LARGEST,
    )
    partitions = await _partitions(bootstrap_servers, [prefix + topic for topic in ALL_TOPICS])
    mine = [TopicPartition(topic, number) for topic, numbers in partitions.items() for number in numbers]
    await consumer.start()
    try:
        consumer.assign(mine)
        ends = await consumer.end_offsets(mine)
        begins = await consumer.beginning_offsets(mine)
        records = await _up_to(consumer, ends)
    finally:
        await consumer.stop()
    topics: dict[str, list[Raw]] = {topic: [] for topic in ALL_TOPICS}
    for partition in mine:
        # No compaction and no transactions (contract §2): offsets have no gaps.
        if len(records[partition]) != ends[partition] - begins[partition]:
            raise FatalError(f"{partition.topic}/{partition.partition} could not be read whole")
        topics[partition.topic[len(prefix) :]] += records[partition]
    return topics, {(each.topic[len(prefix) :], each.partition): int(ends[each]) for each in mine}


async def _up_to(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, list[Raw]]:
    """All of every partition, up to these ends; what is behind them came later."""
    found: dict[TopicPartition, list[Raw]] = {partition: [] for partition in ends}
    left = set(ends)
    while True:
        left = {each for each in left if await consumer.position(each) < ends[each]}
        if not left:
            return found
        polled = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_BATCH)
        for partition, messages in polled.items():
            found[partition].extend(
                Raw(each.timestamp, each.value) for each in messages if each.offset < ends[partition]
            )


async def _partitions(bootstrap_servers: str, topics: list[str]) -> dict[str, list[int]]:
    """As the broker says; a topic that it does not have is an error, not an empty one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        described = await admin.describe_topics(topics)
    finally:
        await admin.close()
    found = {each["topic"]: sorted(part["partition"] for part in each["partitions"]) for each in described}
    missing = [topic for topic in topics if not found.get(topic)]
    if missing:
        raise UsageError(f"The broker has no topic {missing[0]}: nothing can be counted.")
    return found


async def archived(dsn: str, prefix: str, ends: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """Records in the archive below these ends, by topic."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            _ARCHIVED,
            [prefix + topic for topic, _ in ends],
            [partition for _, partition in ends],
            list(ends.values()),
        )
    finally:
        await connection.close()
    return {row["topic"][len(prefix) :]: row["records"] for row in rows}


def count(topics: Mapping[str, Sequence[Raw]], run: str) -> Recount:
    """The figures of a run from whole topics. ``archived`` is not among them: that is PostgreSQL's to say."""
    figures: Counter[str] = Counter()
    for topic, records in topics.items():
        figures[f"records.{topic}"] = len(records)
        figures["records"] += len(records)
    figures["dead_letters"] = len(topics.get("dead-letters.v1", ()))
    result = Recount(figures)
    said = _of_run(topics.get("conversations.v1", ()), run)
    _conversations(said, figures)
    figures["breaks"] = sum(
        event["data"].get("reason") == "break" for _, event in _of_run(topics.get("agents.v1", ()), run, "id")
    )
    _outcomes(said, _of_run(topics.get("replies.v1", ()), run), result)
    _routing(_of_run(topics.get("routing.v1", ()), run), _tiers(said), result)
    clocks = {
        event["data"]["clock_id"]: (_LAST_WORDS[event["type"]], event["data"]["metric"])
        for _, event in _of_run(topics.get("sla.v1", ()), run)
        if event["type"] in _LAST_WORDS
    }
    for word, metric in clocks.values():
        figures[word] += 1
        figures[f"{word}.{metric}"] += 1
    return result


Heard = Sequence[tuple[int, dict[str, Any]]]


def _of_run(records: Sequence[Raw], run: str, named_by: str = "subject") -> Heard:
    """The run's events in their order, each once: (broker's ms, envelope)."""
    found: dict[tuple[str, str, str], tuple[int, dict[str, Any]]] = {}
    for record in records:
        try:
            event = json.loads(record.value or b"")
            if event[named_by].startswith(f"{run}-"):
                found.setdefault((event["subject"], event["source"], event["id"]), (record.at_ms, event))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # not an event at all: a dead letter says so
    return list(found.values())


def _conversations(said: Heard, figures: Counter[str]) -> None:
    types = Counter(event["type"] for _, event in said)
    figures["conversations"] = len({event["subject"] for _, event in said if event["type"] == "message.received.v1"})
    for name, type_ in (
        ("messages", "message.received.v1"),
        ("accepted", "assignment.accepted.v1"),
        ("declined", "assignment.declined.v1"),
        ("transfers", "transfer.requested.v1"),
        ("closed", "conversation.closed.v1"),
        ("complaints_opened", "complaint.opened.v1"),
        ("complaints_closed", "complaint.closed.v1"),
        ("ratings", "conversation.rated.v1"),
    ):
        figures[name] = types[type_]
    figures["rating_points"] = sum(
        event["data"]["score"] for _, event in said if event["type"] == "conversation.rated.v1"
    )
    authors = Counter(event["data"]["author"]["kind"] for _, event in said if event["type"] == "message.sent.v1")
    figures["replies_delivered"] = authors.pop("bot", 0)
    figures["agent_messages"] = authors.total()


def _tiers(said: Heard) -> dict[str, str]:
    tiers: dict[str, str] = {}
    for _, event in said:
        if event["type"] == "message.received.v1":
            tiers.setdefault(event["subject"], event["data"]["customer"].get("tier") or NO_TIER)
    return tiers


def _outcomes(said: Heard, replied: Heard, result: Recount) -> None:
    """Each customer's message has exactly one outcome (contract §4)."""
    asked = {
        (event["subject"], event["data"]["message_id"]): at
        for at, event in said
        if event["type"] == "message.received.v1"
    }
    outcomes: Counter[tuple[str, str]] = Counter()
    for at, event in replied:
        data, kind = event["data"], event["type"]
        if kind == "reply.issued.v1" and data["handover"]:
            result.figures["holding_replies"] = result.figures.get("holding_replies", 0) + 1
            continue
        name = {"reply.issued.v1": "answered", "handover.requested.v1": "handed_over", "message.ignored.v1": "ignored"}
        if kind not in name:
            continue
        result.figures[name[kind]] = result.figures.get(name[kind], 0) + 1
        if kind == "message.ignored.v1":
            reason = f"ignored.{data['reason']}"
            result.figures[reason] = result.figures.get(reason, 0) + 1
        message = (event["subject"], data["in_reply_to" if kind == "reply.issued.v1" else "message_id"])
        outcomes[message] += 1
        if message in asked and outcomes[message] == 1:
            result.decided_ms.append(at - asked[message])
    without = sum(message not in outcomes for message in asked)
    more = sum(number > 1 for number in outcomes.values())
    if without:
        result.wrong.append(Difference("messages without an outcome (shown: what should be)", 0, without))
    if more:
        result.wrong.append(Difference("messages with several outcomes (shown: what should be)", 0, more))


def _routing(routed: Heard, tiers: Mapping[str, str], result: Recount) -> None:
    figures, waiting, requests = result.figures, set[str](), set[str]()
    tally: Counter[str] = Counter()
    for _, event in routed:
        data, request = event["data"], event["data"]["request_id"]
        match event["type"]:
            case "conversation.queued.v1":
                if request not in requests:
                    waiting.add(request)
                requests.add(request)
            case "conversation.assigned.v1":
                tier = tiers.get(event["subject"], NO_TIER)
                tally.update(("assigned", f"assigned.{tier}"))
                result.waited_s.setdefault(tier, []).append(float(data["waited_s"]))
                waiting.discard(request)
                requests.add(request)
            case "assignment.expired.v1":
                tally["missed"] += 1
                waiting.add(request)
            case "assignment.revoked.v1":
                tally["taken_back"] += 1
                waiting.add(request)
            case "conversation.released.v1":
                tally["released"] += 1
                waiting.discard(request)
    figures.update(tally)
    figures["requests"], figures["waiting"] = len(requests), len(waiting)


def sent_but_missing(made: Mapping[str, int], topics: Mapping[str, Sequence[Raw]], run: str) -> list[Difference]:
    """What the players sent against what is on the topics, each record once."""
    found = {
        topic: len(_of_run(topics.get(topic, ()), run, "id")) for topic in made
    }  # fmt: skip
    return [
        Difference(f"records sent to {topic}", number, found[topic])
        for topic, number in sorted(made.items())
        if number != found[topic]
    ]


def not_archived(topics: Mapping[str, Sequence[Raw]], there: Mapping[str, int]) -> list[Difference]:
    """Topics of which the archive has more or fewer records than the topic."""
    return [
        Difference(f"archived of {topic}", there.get(topic, 0), len(records))
        for topic, records in sorted(topics.items())
        if there.get(topic, 0) != len(records)
    ]
