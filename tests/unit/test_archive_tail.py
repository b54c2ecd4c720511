"""One line per record: when, where, what, whose; texts only on request, and nothing that moves the cursor."""

import json

import pytest

from deskline.clock import parse_rfc3339
from deskline.errors import UsageError
from deskline.events.deadletters import dead_letter
from deskline.records import DEAD_LETTERS, Record
from deskline.tail import line_of, named

NOON = parse_rfc3339("2026-11-25T12:00:00Z")


def record(kind, data, *, topic="conversations.v1", source="/gateway/web", subject="c-1"):
    envelope = {
        "specversion": "1.0", "id": "e-1", "source": source, "type": kind, "subject": subject,
        "time": "2026-11-25T11:59:59.123456789Z", "data": data,
    }  # fmt: skip
    return Record(topic, 4, 12, NOON, subject.encode(), json.dumps(envelope, ensure_ascii=False).encode(), ())


MESSAGE = record(
    "message.received.v1",
    {
        "message_id": "m-1",
        "shop_id": "s-1",
        "channel": "web",
        "text": "退款\x1b[2J呢?",
        "customer": {"customer_id": "u-1", "name": "王芳"},
    },
)
BEGIN = "2026-11-25T11:59:59.123456Z conversations.v1/4/12 message.received.v1 c-1 "


def test_a_message_is_told_by_its_ids_and_without_its_text():
    assert sorted(line_of(MESSAGE).split()) == sorted(f"{BEGIN}message_id=m-1 shop_id=s-1".split())
    assert line_of(MESSAGE).startswith(BEGIN)


def test_a_text_is_shown_on_request_without_its_control_characters():
    line = line_of(MESSAGE, text=True)
    assert "退款" in line
    assert line.isprintable()


def test_prose_of_agents_is_text_too():
    declined = record(
        "assignment.declined.v1", {"shop_id": "s-1", "assignment_id": "a-1", "agent_id": "li", "reason": "他骂人"}
    )
    assert "他骂人" not in line_of(declined)
    assert "assignment_id=a-1" in line_of(declined)
    assert "他骂人" in line_of(declined, text=True)


def test_who_wrote_a_message_is_told():
    sent = record(
        "message.sent.v1",
        {"shop_id": "s-1", "message_id": "m-2", "author": {"kind": "agent", "id": "li"}, "text": "好的"},
    )
    assert "author=agent:li" in line_of(sent)


def test_an_unknown_type_is_told_as_such():
    assert line_of(record("coupon.sent.v1", {"text": "x"})) == (
        "2026-11-25T12:00:00.000000Z conversations.v1/4/12 coupon.sent.v1 c-1 (unknown type)"
    )


@pytest.mark.parametrize(
    ("key", "value", "reason", "shown"),
    [
        (b"c\n1", b"{", "bad_json", r"c\n1"),
        (None, None, "bad_json", "null"),
        (b"\xff", b"\xff", "bad_json", r"\xff"),
        (b"k" * 500, b"{}", "bad_envelope", "k" * 128),
    ],
    ids=["newline", "null", "bytes", "long key"],
)
def test_an_invalid_record_is_told_with_its_reason_and_key(key, value, reason, shown):
    line = line_of(Record("sla.v1", 0, 7, NOON, key, value, ()))
    assert line == f"2026-11-25T12:00:00.000000Z sla.v1/0/7 invalid {reason} key={shown}"


def test_a_letter_is_told_with_the_record_it_is_about():
    output = dead_letter(MESSAGE, "failed", "ValueError at policy.py:7", service="router", topic_prefix="p-")
    letter = Record(DEAD_LETTERS, 1, 3, NOON, output.key, output.value, output.headers)
    assert line_of(letter, text=True) == (
        "2026-11-25T12:00:00.000000Z dead-letters.v1/1/3 letter failed service=router of=p-conversations.v1/4/12"
    )


@pytest.mark.parametrize(("name", "topic"), [("sla", "sla.v1"), ("sla.v1", "sla.v1"), ("dead-letters", DEAD_LETTERS)])
def test_a_topic_is_named_with_or_without_its_version(name, topic):
    assert named(name) == topic


def test_a_topic_that_does_not_exist_is_refused_by_name():
    with pytest.raises(UsageError, match="no topic 'orders'"):
        named("orders")
