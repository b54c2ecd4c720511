"""What the archive stores beside the bytes, and which records get a letter."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskline.clock import DAY, parse_rfc3339
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Event, Invalid, Record, Unknown
from deskline_archive.model import Description
from deskline_archive.policy import FIRST_DAY, LAST_DAY, day_of, describe, kept_at, pack_headers, spans

NOON = parse_rfc3339("2026-11-25T12:00:00Z")
ODD = 0x8000_0000


def record(topic="conversations.v1", *, offset=0, broker_at=NOON, key=b"c-1", value=b"{}", headers=()):
    return Record(topic, 0, offset, broker_at, key, value, headers)


def event(topic="conversations.v1", *, at=NOON, retimed=False, **data):
    kind, source, subject = "message.received.v1", "/gateway/g", "c-1"
    return Event(kind, "e-1", source, subject, at, retimed, SimpleNamespace(**data), topic, 0, 0, NOON)


def described(found, **of_record):
    outcome = describe([record(**of_record)], [found])
    return outcome.descriptions[0], outcome.letters


def unpack_headers(block):
    """The inverse of ``pack_headers``, written from its description: [(name bytes, is text, value)]."""
    found, at = [], 0
    while at < len(block or b""):
        size = int.from_bytes(block[at : at + 4], "big")
        text, size = not size & ODD, size & ~ODD
        name = block[at + 4 : at + 4 + size]
        at += 4 + size
        size = int.from_bytes(block[at : at + 4], "big")
        at += 4
        if size == 0xFFFF_FFFF:
            found.append((name, text, None))
        else:
            found.append((name, text, block[at : at + size]))
            at += size
    assert at == len(block or b"")
    return found


# --- descriptions -----------------------------------------------------------------------------------------------------


def test_a_valid_event_is_described_by_its_envelope_and_its_shop():
    found, letters = described(event(at=NOON - 5, retimed=True, shop_id="s-1"))
    assert found == Description("message.received.v1", "c-1", "s-1", NOON - 5, True, "valid")
    assert letters == []


@pytest.mark.parametrize("data", [{}, {"shop_id": None}, {"shop_id": 7}])
def test_an_event_without_a_shop_has_none(data):
    assert described(event(**data))[0].shop_id is None


def test_an_unknown_type_is_stored_and_gets_no_letter():
    found, letters = described(Unknown("coupon.sent.v1", "e", "/gateway/g", "c-1", NOON))
    assert found == Description("coupon.sent.v1", "c-1", None, NOON, False, "unknown_type")
    assert letters == []


def test_an_invalid_record_is_stored_under_its_reason_and_gets_a_letter():
    found, letters = described(Invalid("bad_json", "at byte 7"))
    assert found == Description(None, None, None, None, False, "bad_json")
    assert letters == [0]


@pytest.mark.parametrize(
    "found",
    [Invalid("bad_json", "x"), Unknown("t", "i", "s", "c", NOON), event(shop_id="s")],
    ids=lambda f: type(f).__name__,
)
def test_a_letter_is_no_envelope_and_never_gets_a_letter_whatever_a_decoder_says(found):
    got, letters = described(found, topic=DEAD_LETTERS)
    assert got == Description(None, None, None, None, False, "letter")
    assert letters == []


def test_nul_is_dropped_from_texts_only():
    assert described(event(shop_id="s\0-\x001"))[0].shop_id == "s-1"
    assert described(Unknown("t\0", "i", "s", "c\0", NOON))[0][:2] == ("t", "c")


def test_letters_name_the_invalid_records_in_order_among_all_others():
    bad = Invalid("bad_data", "x")
    found = [bad, event(), bad, bad, Unknown("t", "i", "s", "c", NOON)]
    topics = ["conversations.v1", "sla.v1", DEAD_LETTERS, "agents.v1", "shops.v1"]
    outcome = describe([record(topic, offset=n) for n, topic in enumerate(topics)], found)
    assert outcome.letters == [0, 3]
    assert [got.validity for got in outcome.descriptions] == ["bad_data", "valid", "letter", "bad_data", "unknown_type"]


def test_records_and_what_was_decoded_must_run_in_parallel():
    with pytest.raises(ValueError):
        describe([record()], [])


# --- days -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-11-25T00:00:00Z", "2026-11-25"),
        ("2026-11-25T23:59:59.999999Z", "2026-11-25"),
        # 08:00 in Shanghai is midnight UTC: the day begins there, not at Shanghai's midnight 8 h before.
        ("2026-11-26T07:59:59.999999+08:00", "2026-11-25"),
        ("2026-11-26T08:00:00+08:00", "2026-11-26"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31"),
    ],
)
def test_a_record_is_kept_under_the_utc_day_of_its_broker_time(at, day):
    assert day_of(parse_rfc3339(at)) * DAY == parse_rfc3339(f"{day}T00:00:00Z")


@given(st.integers(-(2**63) * 1000, 2**63 * 1000))
def test_every_broker_time_kafka_can_hold_has_a_day_and_lies_within_it(at):
    day = day_of(at)
    assert FIRST_DAY <= day <= LAST_DAY
    assert day * DAY <= kept_at(at) < (day + 1) * DAY


@given(st.integers(FIRST_DAY * DAY, (LAST_DAY + 1) * DAY - 1))
def test_a_time_within_the_databases_days_is_kept_to_the_microsecond(at):
    assert kept_at(at) == at


@pytest.mark.parametrize(
    ("days", "longest", "runs"),
    [
        ([], 9, []),
        ([5], 9, [(5, 5)]),
        ([7, 5, 6, 5], 9, [(5, 7)]),
        ([1, 3, 4, 9], 9, [(1, 1), (3, 4), (9, 9)]),
        # Five days in runs of two: 2 + 2 + 1.
        ([1, 2, 3, 4, 5], 2, [(1, 2), (3, 4), (5, 5)]),
        ([-2, -1, 0, 1], 9, [(-2, 1)]),
    ],
)
def test_days_are_asked_for_in_runs(days, longest, runs):
    assert spans(days, longest) == runs


@given(st.lists(st.integers(-50, 50)), st.integers(1, 10))
def test_runs_cover_each_day_once_and_are_never_too_long(days, longest):
    covered = [day for first, last in spans(days, longest) for day in range(first, last + 1)]
    assert covered == sorted(set(days))
    assert all(last - first < longest for first, last in spans(days, longest))


# --- headers ----------------------------------------------------------------------------------------------------------


def test_no_headers_cost_nothing():
    assert pack_headers(()) is None


@pytest.mark.parametrize(
    ("header", "packed"),
    [
        (("h", b"\x01"), b"\0\0\0\x01h\0\0\0\x01\x01"),
        (("h", b""), b"\0\0\0\x01h\0\0\0\0"),
        (("h", None), b"\0\0\0\x01h\xff\xff\xff\xff"),
        (("", b""), b"\0\0\0\0\0\0\0\0"),
        (("é", b""), b"\0\0\0\x02\xc3\xa9\0\0\0\0"),
        # A name with NUL, and one whose byte ff came in as a lone surrogate: no text, the highest bit says so.
        (("a\0", b""), b"\x80\0\0\x02a\0\0\0\0\0"),
        (("\udcff", b""), b"\x80\0\0\x01\xff\0\0\0\0"),
        (("\ud800", b""), b"\x80\0\0\x03\xed\xa0\x80\0\0\0\0"),
    ],
    ids=repr,
)
def test_a_header_is_packed_with_its_lengths(header, packed):
    assert pack_headers((header,)) == packed


@given(st.lists(st.tuples(st.binary(max_size=40), st.none() | st.binary(max_size=300))))
def test_header_names_and_values_of_any_bytes_survive_in_order(headers):
    named = tuple((name.decode("utf-8", "surrogateescape"), value) for name, value in headers)
    assert [(name, value) for name, _, value in unpack_headers(pack_headers(named))] == headers


@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_a_name_that_is_text_is_marked_as_text(name):
    assert unpack_headers(pack_headers(((name, b""),)))[0][1] is True


def test_every_topic_of_the_contract_can_be_described():
    for topic in ALL_TOPICS:
        assert describe([record(topic)], [Invalid("wrong_topic", "x")]).descriptions
