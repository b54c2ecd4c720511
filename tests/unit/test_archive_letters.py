"""Dead letters read back: what they say, what may be shown, and the record as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskline.clock import parse_rfc3339
from deskline.deadletters_cli import Filters, lines_of, prospect
from deskline.errors import UsageError
from deskline.events.deadletters import dead_letter
from deskline.events.masking import masked
from deskline.letters import original, read_letter
from deskline.outbox import pack, unpack
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Record
from deskline.terminal_text import instant, printable, shown_bytes

NOON = parse_rfc3339("2026-11-25T12:00:00Z")
SECRET = "我的银行卡号是6222"


def letter_of(record, *, reason="bad_data", service="archive", prefix="p-", at=(2, 40)):
    """The letter of ``record`` as it comes back from Kafka."""
    (output,) = unpack(pack([dead_letter(record, reason, "data.text: too long", service=service, topic_prefix=prefix)]))
    return read_letter(Record(DEAD_LETTERS, at[0], at[1], NOON, output.key, output.value, output.headers))


def record(topic="replies.v1", *, key=b"c-1", value=b"{}", headers=()):
    return Record(topic, 3, 77, NOON, key, value, headers)


def test_a_letter_says_who_refused_which_record_and_why():
    letter = letter_of(record(), reason="bad_json", service="router")
    assert letter[1:] == ("bad_json", "router", "data.text: too long", "p-replies.v1", 3, 77)
    assert letter.position == "2/40"
    assert letter.identity == ("router", "p-replies.v1", 3, 77)


BYTES = st.none() | st.binary(max_size=60)
NAMES = st.text(max_size=20) | st.sampled_from(["content-type", "deskline-source", "deskline-reason", "original-x"])


@given(
    st.sampled_from([topic for topic in ALL_TOPICS if topic != DEAD_LETTERS]),
    st.binary(max_size=60),
    BYTES,
    st.lists(st.tuples(NAMES, BYTES), max_size=4),
)
def test_the_record_comes_out_of_its_letter_as_it_was(topic, key, value, headers):
    was = record(topic, key=key, value=value, headers=tuple(headers))
    assert original(letter_of(was), "p-")._replace(broker_at=NOON) == was


def test_a_header_name_that_is_no_utf_8_goes_into_a_letter_with_its_bytes_shown():
    letter = letter_of(record(headers=(("\udcffdeskline-x", b"1"),)))
    assert letter.record.headers[-1] == (r"\xffdeskline-x", b"1")


def test_a_record_without_key_comes_out_without_key():
    assert original(letter_of(record(key=None, value=b"x")), "p-").key is None


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (letter_of(record(DEAD_LETTERS)), "dead letters are not sent again"),
        (letter_of(record("orders.v1")), "is no topic of this deployment"),
        (letter_of(record(), prefix="other-"), "is no topic of this deployment"),
        (letter_of(record(key=None, value=None)), "neither key nor value"),
        (read_letter(record(DEAD_LETTERS)), "is no topic of this deployment"),
        (
            read_letter(record(DEAD_LETTERS, headers=(("deskline-topic", b"p-sla.v1"), ("deskline-partition", b"-1")))),
            "does not say in which partition",
        ),
    ],
    ids=["letter of a letter", "foreign topic", "foreign prefix", "nothing in it", "no headers", "partition -1"],
)
def test_what_cannot_be_sent_again_is_refused_with_the_reason(letter, why):
    with pytest.raises(UsageError, match=why):
        original(letter, "p-")


@pytest.mark.parametrize("number", [b"", b"x", b"-3", b"1e3", "٣".encode(), b"\xff", b"9" * 30])
def test_an_offset_that_is_no_number_is_minus_one(number):
    assert read_letter(record(DEAD_LETTERS, headers=(("deskline-offset", number),))).offset == -1


@pytest.mark.parametrize(
    ("filters", "admitted"),
    [
        (Filters(), True),
        (Filters("bad_data", "archive", "replies.v1"), True),
        (Filters(topic="p-replies.v1"), True),
        (Filters(topic="sla.v1"), False),
        (Filters(reason="failed"), False),
        (Filters(service="router"), False),
    ],
)
def test_filters_must_all_admit_a_letter(filters, admitted):
    assert filters.admit(letter_of(record())) is admitted


# --- what is shown ----------------------------------------------------------------------------------------------------

MESSAGE = f'{{"id":"e-1","type":"message.received.v1","data":{{"text":"{SECRET}","shop_id":"s-1","customer":{{"customer_id":"u-7","name":"王芳"}}}}}}'.encode()


def test_customers_words_are_masked_unless_revealed():
    letter = letter_of(record(value=MESSAGE, headers=(("x-note", SECRET.encode()),)))
    closed, opened = "\n".join(lines_of(letter, reveal=False)), "\n".join(lines_of(letter, reveal=True))
    for word in (SECRET, "王芳"):
        assert word not in closed
        assert word in opened
    assert all(word in closed for word in ("e-1", "s-1", "u-7", "deskline-reason: bad_data", "x-note: (25 bytes)"))
    assert MESSAGE.hex() in opened


def event(type_="message.received.v1", **data):
    return {"id": "e-1", "type": type_, "subject": "c-1", "time": "2026-11-25T12:00:00Z", "data": data}


@pytest.mark.parametrize(
    "secretive",
    [
        event(wechat_id=SECRET, phone_id=SECRET),
        event(channel=SECRET, entry_point=SECRET, language=SECRET, product_id=None),
        event(subject=SECRET, source=SECRET, type=SECRET, time=SECRET),
        event(message_id=[SECRET], customer=SECRET, attachments=[{"kind": SECRET, "url": SECRET}]),
        event("message.received.v9", shop_id=SECRET),
        event("complaint.opened.v1", category=SECRET),
        event("agent.status_changed.v1", agent_id="a-1", status=SECRET, reason=SECRET),
        event("conversation.held.v1", reason=SECRET),
        event("reply.issued.v1", kind=SECRET, deliver_by=SECRET, text=SECRET),
        event("config.applied.v1", body={"agents": [{"agent_id": SECRET}]}),
        event() | {"time": SECRET, "specversion": SECRET, "note": SECRET, "data": SECRET},
        {"type": [SECRET], "data": {"text": SECRET}},
        [event(shop_id=SECRET)],
    ],
    ids=lambda value: str(value)[:60].replace(SECRET, "…"),
)
def test_what_the_contract_does_not_call_an_id_a_time_or_a_word_of_a_list_is_masked(secretive):
    shown = masked(json.dumps(secretive).encode())
    assert SECRET not in shown
    assert f"({len(SECRET)} characters)" in shown


def test_ids_times_and_words_of_a_list_are_shown_wherever_the_contract_puts_them():
    told = event(
        "conversation.assigned.v1",
        agent_id="a-1",
        mode="offered",
        accept_by="2026-11-25T12:00:30Z",
        explanation={"required": {"agent": "a-2"}, "candidates": [{"agent_id": "a-3", "failed": "busy"}]},
    )
    shown = json.loads(masked(json.dumps(told).encode()))
    told["data"]["explanation"]["candidates"][0]["failed"] = "(4 characters)"
    assert shown == told
    reason = {"reason": "no_match", "flags": ["angry"], "message_id": "m-1"}
    shown = json.loads(masked(json.dumps(event("handover.requested.v1", **reason)).encode()))["data"]
    assert shown == reason | {"flags": ["(5 characters)"]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"", "(0 bytes that are no JSON)"),
        (b"\xff\x00" + SECRET.encode(), "(27 bytes that are no JSON)"),
        (b"[" * 100_000, "(100000 bytes that are no JSON)"),
        (b"9" * 200_000, "(200000 bytes that are no JSON)"),
        (b'["a secret", 7, null]', '["(8 characters)", 7, null]'),
        (b'{"id":"\\u001b[2J"}', '{"id": "\\u001b[2J"}'),
    ],
    ids=["empty", "bytes", "deep", "digits", "texts", "escape"],
)
def test_any_value_can_be_shown_masked(value, shown):
    assert masked(value) == shown


@given(st.text())
def test_nothing_printable_is_lost_and_nothing_else_reaches_the_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    assert "".join(c for c in text if c.isprintable()) == text or shown != text


@given(st.binary())
def test_any_bytes_can_be_shown_on_one_line(raw):
    assert shown_bytes(raw).isprintable()


def test_no_bytes_are_shown_as_null():
    assert shown_bytes(None) == "null"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOON - 90_000_000),
        ("15m", NOON - 900_000_000),
        ("6h", NOON - 21_600_000_000),
        ("2d", NOON - 172_800_000_000),
        ("2026-11-25T12:00:00.5Z", NOON + 500_000),
    ],
)
def test_an_instant_is_an_age_or_a_time(text, at):
    assert instant(text, NOON) == at


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-5m", "5 m", "1w"])
def test_anything_else_is_no_instant(text):
    with pytest.raises(UsageError, match="is no time"):
        instant(text, NOON)


def test_what_will_become_of_a_replayed_record_is_said_before():
    assert prospect(record(value=b"{")) == "still not valid (bad_json), it will get another letter"
