"""The topics file and the decisions about it; no broker."""

import pytest
import yaml

from deskline.errors import UsageError
from deskline.records import ALL_TOPICS, CO_PARTITIONED
from deskline.topics import Existing, check_partitions, drift, load, parse


def topic(name: str, partitions: int | None = None):
    return next(each for each in load(partitions) if each.name == name)


def text(**changes) -> str:
    """A minimal file; ``changes`` maps a topic (dots as __) to fields that differ."""
    plain = {"partitions": 2, "retention": "1d", "max_message": "1MiB", "written_by": ["a"], "read_by": ["b"]}
    entries = {name: {**plain, "co_partitioned": name in CO_PARTITIONED} for name in ALL_TOPICS}
    entries["dead-letters.v1"]["max_message"] = "2MiB"
    for name, fields in changes.items():
        entries[name.replace("__", ".").replace("dead_letters", "dead-letters")].update(fields)
    return yaml.safe_dump({"topics": entries})


def test_the_shipped_file_lists_every_topic_once_in_the_contracts_order():
    assert tuple(each.name for each in load()) == ALL_TOPICS


def test_partitions_override_the_co_partitioned_topics_alone():
    assert {each.name: each.partitions for each in load(48)} == {
        "conversations.v1": 48,
        "replies.v1": 48,
        "routing.v1": 48,
        "sla.v1": 48,
        "agents.v1": 4,
        "shops.v1": 1,
        "checkpoints.v1": 1,
        "dead-letters.v1": 4,
    }


def test_sizes_are_those_of_the_contract():
    # 1 MiB; 5 MiB for shops; dead letters take the largest record, 5 MiB, and 64 KiB.
    assert topic("conversations.v1").max_message_bytes == 1_048_576
    assert topic("shops.v1").max_message_bytes == 5 * 1_048_576
    assert topic("dead-letters.v1").max_message_bytes == 5 * 1_048_576 + 65_536


def test_what_readers_begin_at_the_beginning_of_is_kept_for_ever_and_nothing_is_compacted():
    assert topic("shops.v1").retention_ms == topic("checkpoints.v1").retention_ms == -1
    assert topic("conversations.v1").retention_ms == 14 * 86_400_000
    assert {each.settings(1)["cleanup.policy"] for each in load()} == {"delete"}
    assert {each.settings(1)["message.timestamp.type"] for each in load()} == {"LogAppendTime"}


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_one_of_three_replicas_may_fail_and_none_of_fewer(replicas, in_sync):
    assert topic("sla.v1").settings(replicas)["min.insync.replicas"] == in_sync


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sla__v1": {"partitions": 3}}, "one partition count"),
        ({"agents__v1": {"co_partitioned": True}}, "co_partitioned are exactly"),
        ({"agents__v1": {"retention": "2w"}}, "is no duration"),
        ({"agents__v1": {"max_message": "1MB"}}, "is no size"),
        ({"shops__v1": {"max_message": "2MiB"}}, "plus 64 KiB"),
    ],
)
def test_a_contradicting_file_is_refused_by_name(changes, says):
    parse(text())
    with pytest.raises(UsageError, match=says):
        parse(text(**changes))


def test_drift_names_only_what_differs():
    wanted = topic("replies.v1")
    agreed = wanted.settings(3)
    assert drift(wanted, Existing(12, agreed), 3) == {}
    assert drift(wanted, Existing(12, {**agreed, "retention.ms": "1000", "segment.ms": "7"}), 3) == {
        "retention.ms": str(14 * 86_400_000)
    }


def test_a_partition_count_is_never_changed():
    check_partitions(load(), {"p-agents.v1": Existing(4, {})}, "p-")
    with pytest.raises(UsageError, match=r"p-sla\.v1 has 24 partitions and 12 are wanted.*--partitions 24"):
        check_partitions(load(), {"p-sla.v1": Existing(24, {})}, "p-")
    with pytest.raises(UsageError, match=r"shops\.v1 has 2 partitions and 1 are wanted(?!.*--partitions)"):
        check_partitions(load(), {"shops.v1": Existing(2, {})}, "")
