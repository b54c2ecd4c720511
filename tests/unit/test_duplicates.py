"""Contract §1 about second records: one table a rule, and a model of the rule run beside it."""

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskline.clock import DAY, SECOND, parse_rfc3339
from deskline.duplicates import Seen
from deskline.records import AGENTS, CONVERSATIONS, REPLIES, Event

START = parse_rfc3339("2026-11-25T00:00:00Z")


class Data(NamedTuple):
    message_id: str


def event(
    event_id: str = "e-1",
    *,
    at: int = START,
    message_id: str = "",
    kind: str = "message.received.v1",
    source: str = "/gateway/demo",
    topic: str = CONVERSATIONS,
) -> Event:
    data = Data(message_id or f"m of {event_id}")
    return Event(kind, event_id, source, "c-1", at, False, data, topic, 0, 0, at)


@pytest.mark.parametrize(
    ("second", "counts"),
    [
        (event(), False),
        (event(message_id="another body"), False),
        (event(kind="message.sent.v1"), False),  # the id decides, whatever the body and the type
        (event(at=START + DAY), False),  # within a day, the day included
        (event(at=START + DAY + 1000), True),
        (event(at=START - 5 * SECOND), False),  # brokers' clocks may step back
        (event(source="/gateway/other", message_id="m-2"), True),
        (event(topic=REPLIES), True),  # on one topic
        (event("e-2"), True),
        (event("e-2", message_id="m of e-1"), False),  # a second record with the same message_id
        (event("e-2", message_id="m of e-1", source="/gateway/other"), False),
        (event("e-2", message_id="m of e-1", kind="message.sent.v1"), True),  # of another type
        (event("e-2", message_id="m of e-1", kind="message.read.v1"), True),  # of a type without that rule
        (event("e-2", message_id="m of e-1", at=START + DAY), False),
        (event("e-2", message_id="m of e-1", at=START + DAY + 1000), True),
    ],
)
def test_a_second_record_counts_or_not(second: Event, counts: bool) -> None:
    seen = Seen()
    assert seen.first(event())
    assert seen.first(second) is counts


def test_nothing_is_a_duplicate_on_the_agents_topic() -> None:
    seen = Seen()
    status = event(kind="agent.status_changed.v1", topic=AGENTS)
    assert [seen.first(status) for _ in range(3)] == [True] * 3
    assert seen == Seen(), "nor remembered"


def test_the_day_is_counted_from_the_record_that_counted() -> None:
    seen = Seen()
    hours = [0, 20, 24, 25, 40, 49, 50]
    # 0 counts; 20 and 24 are within its day; 25 counts and begins a new day, to 49; 50 counts.
    answers = [seen.first(event(at=START + hour * 3_600 * SECOND)) for hour in hours]
    assert answers == [True, False, False, True, False, False, True]


def test_a_duplicate_has_no_effect_so_what_it_brings_is_not_remembered() -> None:
    seen = Seen()
    assert seen.first(event("e-1", message_id="m-1"))
    assert not seen.first(event("e-1", message_id="m-2"))
    assert seen.first(event("e-2", message_id="m-2")), "m-2 has not counted yet"
    assert not seen.first(event("e-3", message_id="m-2"))
    assert seen.first(event("e-3", message_id="m-3")), "e-3 has not counted yet"


def test_what_is_older_than_a_day_is_forgotten_by_the_clock_of_its_own_topic() -> None:
    seen = Seen()
    for n in range(100):
        assert seen.first(event(f"e-{n}"))
    assert seen.first(event("later", at=START + 3 * DAY, topic=REPLIES))
    assert not seen.first(event("e-0", at=START + SECOND)), "the other topic is further, this one is not"
    for n in range(100):
        assert seen.first(event(f"l-{n}", at=START + 2 * DAY))
    assert len(seen.topics[CONVERSATIONS]) == 200, "200 of 400 forgotten: 100 calls that add two and take four"


def test_a_name_that_is_too_old_does_not_hide_one_that_counts() -> None:
    seen = Seen()
    for n in range(10):
        assert seen.first(event(f"e-{n}"))
    assert seen.first(event("e-new", message_id="m of e-9", at=START + DAY + SECOND))
    again = event("e-9", at=START + DAY + 2 * SECOND)
    assert seen.knows(again)
    assert not seen.first(again)


def test_it_survives_msgpack() -> None:
    seen = Seen()
    for n in range(50):
        seen.first(event(f"e-{n}"))
    body = msgspec.msgpack.encode(seen)
    again = msgspec.msgpack.decode(body, type=Seen)
    assert again == seen
    assert not again.first(event("e-7"))
    # 100 names, at most 9 bytes of hash and 9 of timestamp each.
    assert len(body) < 100 * 18 + 64


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["e-1", "e-2", "e-3"]),
        st.sampled_from(["m-1", "m-2", "m-3"]),
        st.sampled_from(["message.received.v1", "message.sent.v1", "message.read.v1"]),
        st.sampled_from([CONVERSATIONS, REPLIES]),
        st.integers(0, 20 * 3_600_000),
    ),
    max_size=30,
)


@given(STEPS)
def test_it_says_what_a_list_of_all_counted_records_says(steps: list[tuple[str, str, str, str, int]]) -> None:
    seen, counted, now = Seen(), list[Any](), {CONVERSATIONS: START, REPLIES: START}
    for event_id, message_id, kind, topic, wait_ms in steps:
        now[topic] += wait_ms * 1000
        given_event = event(event_id, message_id=message_id, kind=kind, topic=topic, at=now[topic])
        duplicate = any(
            given_event.broker_at - other.broker_at <= DAY
            and other.topic == topic
            and (
                other.id == event_id
                or (kind == other.type != "message.read.v1" and other.data.message_id == message_id)
            )
            for other in counted
        )
        assert seen.knows(given_event) is duplicate
        assert seen.first(given_event) is not duplicate
        if not duplicate:
            counted.append(given_event)
