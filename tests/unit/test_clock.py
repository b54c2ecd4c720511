"""Times are microseconds; RFC 3339 in and out, exactly."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deskline.clock import DAY, SECOND, from_datetime, now_us, parse_rfc3339, rfc3339, to_datetime

offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets)


@given(moments)
def test_it_reads_what_datetime_writes_with_any_offset(moment: datetime) -> None:
    assert parse_rfc3339(moment.isoformat(timespec="microseconds")) == from_datetime(moment)
    assert parse_rfc3339(moment.isoformat(timespec="seconds")) == from_datetime(moment.replace(microsecond=0))


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 999))
def test_it_reads_the_plain_form_and_cuts_nanoseconds(moment: datetime, nanoseconds: int) -> None:
    plain = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    assert parse_rfc3339(f"{plain}{nanoseconds:03}Z") == from_datetime(moment)
    assert parse_rfc3339(f"{plain}{nanoseconds:03}+00:00") == from_datetime(moment), "both ways of reading agree"
    assert rfc3339(from_datetime(moment)) == f"{plain}Z"
    assert to_datetime(from_datetime(moment)) == moment


@given(st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?", fullmatch=True).filter(str.isascii))
@example("2026-02-29T00:00:00")
@example("2000-02-29T23:59:59.999999999")
@example("1900-02-29T00:00:00")
@example("0000-02-29T00:00:00")
def test_the_fast_reading_and_the_full_one_agree(text: str) -> None:
    def answer(form: str) -> int | str:
        try:
            return parse_rfc3339(form)
        except ValueError as error:
            return str(error)

    assert answer(f"{text}Z") == answer(f"{text}+00:00") == answer(f"{text}z")


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1969-12-31T23:59:59.9999999Z", -1),  # cut, not rounded, also before the epoch
        ("1970-01-01t08:00:00+08:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-02T00:00:00Z", DAY),
        ("2000-03-01T00:00:00Z", 11_017 * DAY),  # 30 years, 7 leap days, 31 + 29 days
        ("0000-01-01T00:00:00Z", -719_528 * DAY),
        ("0000-02-29T00:00:00Z", (-719_528 + 59) * DAY),  # year 0 is a leap year
        ("0000-01-01T00:00:00+23:59", -719_528 * DAY - (23 * 3_600 + 59 * 60) * SECOND),
        ("9999-12-31T23:59:59.999999Z", 2_932_897 * DAY - 1),
    ],
)
def test_known_instants(text: str, us: int) -> None:
    assert parse_rfc3339(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-25",
        "2026-11-25T03:30Z",
        "2026-11-25T03:30:00",
        "2026-11-25 03:30:00Z",
        "2026-11-25T03:30:60Z",
        "2026-11-25T24:00:00Z",
        "2026-11-25T03:60:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-25T03:30:00.Z",
        "2026-11-25T03:30:00.1234567890Z",
        "2026-11-25T03:30:00,5Z",
        "2026-11-25T03:30:00+08",
        "2026-11-25T03:30:00+0800",
        "2026-11-25T03:30:00+08:60",
        "2026-11-25T03:30:00+24:00",
        "2026-11-25T03:30:00Z\n",
        " 2026-11-25T03:30:00Z",
        "+2026-11-25T03:30:00Z",
        "20261125T033000Z",
        "2026-W48-3T03:30:00Z",
        "2026-11-25T03:30:00.１Z",
    ],
)
def test_what_is_no_rfc_3339_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_now_is_now() -> None:
    before = datetime.now(UTC)
    assert from_datetime(before) - SECOND < now_us() < from_datetime(before) + 60 * SECOND
