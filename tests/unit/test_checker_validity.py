"""The checker's own judge of records, against the sentences of contract §1."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.checker.log import Log, Settings, View
from tests.checker.records import AGENTS, CONVERSATIONS, DAY, SECOND, Event, Record
from tests.checker.validity import judge, parse_time, show_time

BROKER = parse_time("2026-03-02T02:00:00Z")


def envelope(**changes: Any) -> dict[str, Any]:
    data = {
        "shop_id": "shop-1",
        "message_id": "m1",
        "channel": "web",
        "text": "在吗",
        "customer": {"customer_id": "u1"},
        **changes.pop("data", {}),
    }
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "/gateway/main",
        "type": "message.received.v1",
        "subject": "c1",
        "time": "2026-03-02T02:00:00Z",
        "data": data,
        **changes,
    }


def record(value: Any, key: bytes | None = b"c1", topic: str = CONVERSATIONS) -> Record:
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False).encode()
    return Record(topic, 0, 0, BROKER, key, value)


def nested(depth: int) -> dict[str, Any]:
    """A record whose deepest braces are ``depth`` deep, its own counted as the first and ``data``'s as the second."""
    inner: Any = 1
    for _ in range(depth - 2):
        inner = {"x": inner}
    return envelope(data={"unknown": inner})


VALID: dict[str, Record] = {
    "plain": record(envelope()),
    "null in an optional field": record(envelope(data={"language": None})),
    "NUL in text": record(envelope(data={"text": "a\0b"})),
    "a number of many digits in an unknown field": record(
        json.dumps(envelope()).replace('"channel"', '"odd": ' + "9" * 200_000 + ', "channel"').encode()
    ),
    "nesting of 32": record(nested(32)),
    "20 000 code points of text": record(envelope(data={"text": "退" * 20_000})),
    "a member given twice": record(json.dumps(envelope()).replace('"id": "e1"', '"id": 5, "id": "e1"').encode()),
    "a tier of a shop's own": record(envelope(data={"customer": {"customer_id": "u1", "tier": "gold"}})),
    "lower-case t and z": record(envelope(time="2026-03-02t02:00:00.123456789z")),
}
INVALID: dict[str, tuple[str, Record]] = {
    "null value": ("bad_json", record(None)),
    "empty value": ("bad_json", record(b"")),
    "UTF-8 with BOM": ("bad_json", record(b"\xef\xbb\xbf" + json.dumps(envelope()).encode())),
    "UTF-16": ("bad_json", record(json.dumps(envelope()).encode("utf-16"))),
    "NaN": ("bad_json", record(json.dumps(envelope()).replace('"web"', "NaN").encode())),
    "a lone surrogate": ("bad_json", record(json.dumps(envelope()).replace("web", "\\ud800").encode())),
    "nesting of 33": ("bad_json", record(nested(33))),
    "nesting of 100 000": ("bad_json", record(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    "an array": ("bad_envelope", record(b"[]")),
    "another key": ("key_mismatch", record(envelope(), key=b"c2")),
    "no key": ("key_mismatch", record(envelope(), key=None)),
    "a missing field": ("bad_data", record(envelope(data={"channel": None}))),
    "a wrong type": ("bad_data", record(envelope(data={"text": 5}))),
    "20 001 code points of text": ("bad_data", record(envelope(data={"text": "退" * 20_001}))),
    "an empty id": ("bad_envelope", record(envelope(id=""))),
    "a control character in an id": ("bad_data", record(envelope(data={"message_id": "m\n1"}))),
    "an integer beyond 2^53": (
        "bad_data",
        record(envelope(data={"customer": {"customer_id": "u", "order_count": 2**53 + 1}})),
    ),
    "a negative count": ("bad_data", record(envelope(data={"customer": {"customer_id": "u", "order_count": -1}}))),
    "a decimal string in another form": (
        "bad_data",
        record(envelope(data={"customer": {"customer_id": "u", "total_spend": "1e3"}})),
    ),
    "65 attachments": ("bad_data", record(envelope(data={"attachments": [{"kind": "image", "url": "x"}] * 65}))),
    "a leap second": ("bad_envelope", record(envelope(time="2026-03-02T02:00:60Z"))),
    "ten digits of a second": ("bad_envelope", record(envelope(time="2026-03-02T02:00:00.1234567890Z"))),
    "a time without offset": ("bad_envelope", record(envelope(time="2026-03-02T02:00:00"))),
    "the 30th of February": ("bad_envelope", record(envelope(time="2026-02-30T02:00:00Z"))),
    "another topic": ("wrong_topic", record(envelope(), topic=AGENTS)),
    "another's source": ("wrong_source", record(envelope(source="/deskline/router"))),
    "an unknown version": ("unsupported_version", record(envelope(type="message.received.v2"))),
    "too large": ("too_large", record(envelope(data={"unknown": "x" * 262_144}))),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_record_is_an_event(name: str) -> None:
    assert isinstance(judge(VALID[name]), Event)


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_record_has_a_reason(name: str) -> None:
    reason, given = INVALID[name]
    assert judge(given) == reason


def test_an_unknown_type_name_is_valid_and_no_event() -> None:
    assert judge(record(envelope(type="parcel.lost.v1"))) is None


@pytest.mark.parametrize(
    ("off", "kept"),
    [(5 * SECOND, True), (5 * SECOND + 1, False), (-7 * DAY, True), (-7 * DAY - 1, False)],
)
def test_a_time_too_far_off_is_replaced_by_the_brokers(off: int, kept: bool) -> None:
    event = judge(record(envelope(time=show_time(BROKER + off))))
    assert isinstance(event, Event)
    assert event.at == (BROKER + off if kept else BROKER)


def test_duplicates_are_second_records_of_an_id_or_of_a_message_within_a_day() -> None:
    def at(offset: int, broker_at: int, **changes: Any) -> Record:
        return record(envelope(**changes))._replace(offset=offset, broker_at=broker_at)

    log = [
        at(0, BROKER),
        at(1, BROKER + SECOND, data={"text": "another body"}),  # the same id
        at(2, BROKER + SECOND, id="e2"),  # the same message_id
        at(3, BROKER + SECOND, id="e3", data={"message_id": "m2"}),
        at(4, BROKER + DAY + 2 * SECOND),  # the same id, more than a day later: counts again
        at(5, BROKER + DAY + 3 * SECOND),  # and is remembered from there
    ]
    view = View(Log(log), Settings(end_at=BROKER))
    assert [event.offset for event in view.counted] == [0, 3, 4]
    assert [event.offset for event, _ in view.duplicates] == [1, 2, 5]
