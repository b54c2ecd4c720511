"""Letters of ``dead-letters.v1``, as contract §4 describes them."""

import pytest

from deskline.events.deadletters import MAX_ERROR, dead_letter, describe, failed_letter, invalid_letter
from deskline.events.wire import decode
from deskline.records import DEAD_LETTERS, Headers, Invalid, Output, Record

BROKEN = Record("conversations.v1", 5, 42, 0, b"c-1", b"\xff{not json", (("content-type", b"application/json"),))


def letter_of(record: Record) -> Output:
    verdict = decode(record)
    assert isinstance(verdict, Invalid)
    return invalid_letter(record, verdict, topic_prefix="test.")


def test_key_and_value_are_the_original_bytes_and_the_headers_say_why_and_where() -> None:
    letter = letter_of(BROKEN)
    assert (letter.topic, letter.key, letter.value) == (DEAD_LETTERS, b"c-1", b"\xff{not json")
    assert letter.source == "conversations.v1/5/42"
    assert letter.headers == (
        ("deskline-reason", b"bad_json"),
        ("deskline-service", b"archive"),
        ("deskline-error", b"not UTF-8 at byte 0"),
        ("deskline-topic", b"test.conversations.v1"),
        ("deskline-partition", b"5"),
        ("deskline-offset", b"42"),
        ("content-type", b"application/json"),
    )


def test_original_headers_of_ours_get_a_prefix_and_all_others_stay() -> None:
    original: Headers = (
        ("deskline-reason", b"bad_data"),
        ("deskline-source", None),
        ("Deskline-x", b"1"),
        ("original-deskline-reason", b"\xff"),
        ("a\udcff", b""),
        ("a\udcff", b"again"),
    )
    letter = letter_of(BROKEN._replace(headers=original))
    # The bytes of a name that is no UTF-8 are shown, because no producer sends them.
    assert letter.headers[6:] == (
        ("original-deskline-reason", b"bad_data"),
        ("original-deskline-source", None),
        ("Deskline-x", b"1"),
        ("original-deskline-reason", b"\xff"),
        ("a\\xff", b""),
        ("a\\xff", b"again"),
    )


@pytest.mark.parametrize(
    ("key", "value", "expected_value", "marked"),
    [
        (None, None, b"", True),
        (b"", None, None, False),
        (b"k", None, None, False),
        (None, b"", b"", False),
        (None, b"x", b"x", False),
    ],
)
def test_a_record_with_neither_key_nor_value_is_marked(
    key: bytes | None, value: bytes | None, expected_value: bytes | None, marked: bool
) -> None:
    letter = letter_of(BROKEN._replace(key=key, value=value))
    assert (letter.key, letter.value) == (key, expected_value)
    assert (("deskline-null", b"1") in letter.headers) is marked


def test_the_same_record_gives_the_same_letter() -> None:
    assert letter_of(BROKEN) == letter_of(BROKEN)


def test_a_failed_letter_names_the_error_and_its_place_but_not_its_text() -> None:
    try:
        int("我的密码")
    except ValueError as error:
        letter = failed_letter(BROKEN, error, service="router", topic_prefix="")
    headers = dict(letter.headers)
    assert headers["deskline-reason"] == b"failed"
    assert headers["deskline-service"] == b"router"
    said = headers["deskline-error"]
    assert said is not None
    assert said.startswith(b"ValueError at test_events_deadletters.py:")
    assert "我的密码".encode() not in b"".join(value or b"" for _, value in letter.headers)


def test_an_error_that_was_never_raised_is_described_by_its_kind() -> None:
    assert describe(KeyError("secret")) == "KeyError"


def test_the_error_is_bounded() -> None:
    letter = dead_letter(BROKEN, "failed", "字" * 10_000, service="sla", topic_prefix="")
    assert dict(letter.headers)["deskline-error"] == ("字" * MAX_ERROR).encode()
