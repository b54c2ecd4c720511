"""The load generator: deterministic, placed as Kafka's default partitioner would, and its dirt is what it says."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from tests.checker.records import Event, Record
from tests.checker.validity import judge, parse_time
from tests.load import Corpus, Draft, static_backlog
from tests.load.dirt import INVALID, VALID
from tests.load.sender import partition_of

NOW = parse_time("2026-03-02T02:00:00Z")


def arrived(draft: Draft) -> Record:
    return Record(draft.topic, 0, 0, NOW, draft.key, draft.value, draft.headers)


@pytest.mark.parametrize("kind", INVALID)
def test_every_invalid_kind_is_invalid_and_fits_the_topic(kind: str) -> None:
    draft = INVALID[kind]("c1", "1", NOW)
    assert isinstance(judge(arrived(draft)), str)
    assert len(draft.value or b"") < 1024 * 1024 - 500


@pytest.mark.parametrize("kind", VALID)
def test_every_odd_kind_is_valid(kind: str) -> None:
    assert not isinstance(judge(arrived(VALID[kind]("c1", "1", NOW))), str)


def test_a_backlog_is_the_same_for_the_same_seed_and_wholly_valid() -> None:
    first = list(static_backlog(7, 2_000, NOW, corpus=Corpus()))
    assert first == list(static_backlog(7, 2_000, NOW, corpus=Corpus()))
    assert first != list(static_backlog(8, 2_000, NOW, corpus=Corpus()))
    assert len(first) == 2_000
    assert all(isinstance(judge(arrived(draft)), Event) for draft in first)


def test_a_backlog_tells_whole_conversations_in_order() -> None:
    numbers = defaultdict(list)
    for draft in static_backlog(7, 2_000, NOW, corpus=Corpus()):
        event = json.loads(draft.value or b"")
        numbers[event["subject"]].append(int(event["id"].rpartition("-")[2]))
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


@pytest.mark.parametrize(
    ("key", "hashed"),
    # Kafka's own test vectors (UtilsTest.testMurmur2), as signed 32-bit numbers.
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_the_partition_is_the_java_clients(key: bytes, hashed: int) -> None:
    assert partition_of(key, 12) == (hashed & 0x7FFFFFFF) % 12
