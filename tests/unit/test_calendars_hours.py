"""Business hours: rows of other projects' own tests, and an oracle that walks minute by minute."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskline.calendars import ALWAYS, NEVER, Hours
from deskline.clock import DAY, MINUTE, SECOND, from_datetime, rfc3339
from deskline.config.documents import Calendar, Weekly

HOUR = 60 * MINUTE
DAYS = tuple(Weekly.model_fields)
WEEKDAYS = DAYS[:5]


def hours(zone="UTC", days=(), spans=(), *, holidays=(), special=None, **weekly):
    named = dict.fromkeys(days, spans) | weekly
    return Hours.of(Calendar(timezone=zone, weekly=Weekly(**named), holidays=holidays, special_days=special or {}))


def local(zone, text):
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def shown(zone, at):
    return datetime.fromtimestamp(at / SECOND, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


BIZ = hours(mon=["09:00-17:00"], wed=["09:00-17:00"], fri=["09:00-17:00"], tue=["10:00-16:00"], thu=["10:00-16:00"], sat=["11:00-14:30"])  # fmt: skip
NINE_TO_FIVE = hours(days=WEEKDAYS, spans=["09:00-17:00"])
SATURDAY = hours(sat=["00:00-24:00"])
TUESDAY = hours(tue=["09:00-17:00"])
TUESDAY_HOLIDAY = hours(tue=["09:00-17:00"], holidays=["2023-10-10"])
TUESDAY_INDIA = hours("Asia/Kolkata", tue=["09:00-17:00"])
INDIA = hours("Asia/Kolkata", days=WEEKDAYS, spans=["10:00-18:00"], sat=["10:00-14:00"])
TEN_TO_SIX = hours(days=WEEKDAYS, spans=["10:00-18:00"])
EIGHT_TO_EIGHT = hours(days=WEEKDAYS, spans=["08:00-20:00"])
EIGHT_TO_SIX = hours(days=WEEKDAYS, spans=["08:00-18:00"])
ROUND_THE_CLOCK = ("00:00-24:00",)
SIX_HOLIDAYS = [f"{year}-{day}" for year in (2015, 2016, 2017) for day in ("01-01", "05-01", "12-24", "12-25", "12-26", "12-31")]  # fmt: skip
OPEN_BUT_HOLIDAYS = hours(days=DAYS, spans=ROUND_THE_CLOCK, holidays=SIX_HOLIDAYS)
BERLIN_SPLIT = hours("Europe/Berlin", days=WEEKDAYS, spans=["08:00-13:00", "14:00-18:00"], holidays=SIX_HOLIDAYS)
NEW_YORK = hours("America/New_York", days=WEEKDAYS, spans=["09:00-18:00"])
MOSCOW = hours("Europe/Moscow", days=WEEKDAYS, spans=["09:00-18:00"])
SHOP = hours("Asia/Shanghai", days=DAYS, spans=["09:00-22:00"])
NATIONAL_DAY = [f"2026-10-0{day}" for day in range(1, 8)]
WORKDAYS = hours("Asia/Shanghai", days=WEEKDAYS, spans=["09:00-22:00"], holidays=NATIONAL_DAY, special={"2026-10-10": ["09:00-22:00"]})  # fmt: skip
OFFICE = hours("Asia/Shanghai", days=WEEKDAYS, spans=["09:00-18:00"], holidays=NATIONAL_DAY)


def anywhere(zone):
    return hours(zone, days=DAYS, spans=ROUND_THE_CLOCK)


@pytest.mark.parametrize(
    ("row", "calendar", "zone", "start", "counted", "expected"),
    [
        ("BZ1", BIZ, "UTC", "2006-01-04 15:58:30", timedelta(seconds=90), "2006-01-04 16:00:00"),
        ("CW3", NINE_TO_FIVE, "UTC", "2024-01-17 10:00:00", timedelta(hours=2), "2024-01-17 12:00:00"),
        ("CW4", NINE_TO_FIVE, "UTC", "2024-01-19 16:00:00", timedelta(hours=2), "2024-01-22 10:00:00"),
        ("CW8", NINE_TO_FIVE, "UTC", "2024-01-15 16:00:00", timedelta(hours=10), "2024-01-17 10:00:00"),
        ("CW10", SATURDAY, "UTC", "2024-01-20 10:00:00", timedelta(hours=2), "2024-01-20 12:00:00"),
        ("CW10 last minute", SATURDAY, "UTC", "2024-01-20 00:00:00", timedelta(hours=24), "2024-01-21 00:00:00"),
        ("LD3", TUESDAY_HOLIDAY, "UTC", "2023-10-10 10:00:00", timedelta(minutes=60), "2023-10-17 10:00:00"),
        ("LD4", TUESDAY, "UTC", "2023-10-10 08:00:00", timedelta(minutes=60), "2023-10-10 10:00:00"),
        ("LD5", TUESDAY, "UTC", "2023-10-10 18:00:00", timedelta(minutes=60), "2023-10-17 10:00:00"),
        ("LD8", TUESDAY_INDIA, "Asia/Kolkata", "2023-10-11 01:30:00", timedelta(minutes=60), "2023-10-17 10:00:00"),
        ("LD12", NINE_TO_FIVE, "UTC", "2023-10-10 17:00:00", timedelta(minutes=30), "2023-10-11 09:30:00"),
        ("LD13", hours(tue=["00:01-23:59"]), "UTC", "2023-10-10 23:30:00", timedelta(minutes=29), "2023-10-10 23:59:00"),
        ("LD13+1", hours(tue=["00:01-23:59"]), "UTC", "2023-10-10 23:30:00", timedelta(minutes=30), "2023-10-17 00:02:00"),
        ("LD16", INDIA, "Asia/Kolkata", "2025-03-22 18:01:43", timedelta(minutes=1439), "2025-03-26 17:59:00"),
        ("LD16 closing", INDIA, "Asia/Kolkata", "2025-03-22 18:01:43", timedelta(minutes=1440), "2025-03-26 18:00:00"),
        ("LD16+10", INDIA, "Asia/Kolkata", "2025-03-22 18:01:43", timedelta(minutes=1450), "2025-03-27 10:10:00"),
        ("FR4", TEN_TO_SIX, "UTC", "2024-01-20 15:00:00", timedelta(hours=24), "2024-01-24 18:00:00"),
        ("FR5", TEN_TO_SIX, "UTC", "2024-01-19 17:00:00", timedelta(hours=2), "2024-01-22 11:00:00"),
        ("FR6", TEN_TO_SIX, "UTC", "2024-01-19 19:00:00", timedelta(hours=4), "2024-01-22 14:00:00"),
        ("RT1 NY", NEW_YORK, "UTC", "2007-01-01 22:00:00", timedelta(hours=2), "2007-01-02 15:00:00"),
        ("RT1 Moscow", MOSCOW, "UTC", "2007-01-01 22:00:00", timedelta(hours=2), "2007-01-02 08:00:00"),
        ("GL5", EIGHT_TO_SIX, "UTC", "2024-01-15 10:00:00", timedelta(hours=4), "2024-01-15 14:00:00"),
        ("GL5 level", EIGHT_TO_SIX, "UTC", "2024-01-15 17:00:00", timedelta(hours=3), "2024-01-16 10:00:00"),
        # six holidays a year: 730 + 2 * 6 days, and 90 + 1 (1 May)
        ("ZN1", OPEN_BUT_HOLIDAYS, "UTC", "2015-02-17 12:00:00", timedelta(days=730), "2017-02-28 12:00:00"),
        ("ZN2", OPEN_BUT_HOLIDAYS, "UTC", "2015-02-17 12:00:00", timedelta(days=90), "2015-05-19 12:00:00"),
        ("ZN5", anywhere("America/Sao_Paulo"), "America/Sao_Paulo", "2015-02-21 22:00:00", timedelta(hours=5), "2015-02-22 02:00:00"),
        ("ZN6", anywhere("America/Sao_Paulo"), "America/Sao_Paulo", "2015-10-17 22:00:00", timedelta(hours=7), "2015-10-18 06:00:00"),
        ("ZN9", anywhere("Australia/Sydney"), "Australia/Sydney", "2016-04-02 12:00:00", timedelta(hours=41), "2016-04-04 04:00:00"),
        ("ZN11", BERLIN_SPLIT, "Europe/Berlin", "2016-02-01 12:25:30", timedelta(hours=5), "2016-02-02 08:25:30"),
        ("ZN11 week", BERLIN_SPLIT, "Europe/Berlin", "2016-01-31 12:00:00", timedelta(hours=45, minutes=25, seconds=30), "2016-02-08 08:25:30"),
        ("ZN11 Christmas", BERLIN_SPLIT, "Europe/Berlin", "2015-12-22 16:24:49", timedelta(hours=20), "2015-12-29 08:24:49"),
        ("D1", SHOP, "Asia/Shanghai", "2026-11-20 21:59:45", timedelta(seconds=30), "2026-11-21 09:00:15"),
        ("D2 used up at closing", SHOP, "Asia/Shanghai", "2026-11-20 21:59:30", timedelta(seconds=30), "2026-11-20 22:00:00"),
        ("D3", SHOP, "Asia/Shanghai", "2026-11-20 22:00:00", timedelta(seconds=30), "2026-11-21 09:00:30"),
        ("D4", SHOP, "Asia/Shanghai", "2026-11-20 08:59:59", timedelta(seconds=30), "2026-11-20 09:00:30"),
        ("D9 wall", ALWAYS, "Asia/Shanghai", "2026-11-20 10:00:00", timedelta(hours=48), "2026-11-22 10:00:00"),
        # 12 h + 13 + 13 = 38 h by 11-22 22:00, 10 h remain
        ("D9 open", SHOP, "Asia/Shanghai", "2026-11-20 10:00:00", timedelta(hours=48), "2026-11-23 19:00:00"),
        ("D17", WORKDAYS, "Asia/Shanghai", "2026-09-30 21:59:00", timedelta(seconds=180), "2026-10-08 09:02:00"),
        ("D18", OFFICE, "Asia/Shanghai", "2026-10-01 00:30:00", timedelta(hours=1), "2026-10-08 10:00:00"),
        ("CN8 make-up Saturday", WORKDAYS, "Asia/Shanghai", "2026-10-09 21:00:00", timedelta(hours=2), "2026-10-10 10:00:00"),
    ],
)  # fmt: skip
def test_the_target_is_reached_at_the_first_instant_that_counts_enough(
    *, row, calendar, zone, start, counted, expected
):
    counted_us = round(counted.total_seconds()) * SECOND
    assert shown(zone, calendar.add(local(zone, start), counted_us)) == expected, row


@pytest.mark.parametrize(
    ("row", "calendar", "zone", "start", "end", "expected_s"),
    [
        ("BZ8", BIZ, "UTC", "2006-01-01 00:00:00", "2006-01-08 00:00:00", 39.5 * 3600),
        ("BZ8 empty", BIZ, "UTC", "2006-01-02 12:00:00", "2006-01-02 12:00:00", 0),
        ("BZ8 reversed", BIZ, "UTC", "2006-01-08 00:00:00", "2006-01-01 00:00:00", 0),
        ("GL3", EIGHT_TO_EIGHT, "UTC", "2019-01-01 07:00:00", "2019-01-01 09:00:00", 3600),
        ("GL3 before", EIGHT_TO_EIGHT, "UTC", "2019-01-01 06:00:00", "2019-01-01 07:00:00", 0),
        ("GL3 week", EIGHT_TO_EIGHT, "UTC", "2019-01-01 07:00:00", "2019-01-08 07:00:00", 60 * 3600),
        ("ZN13", anywhere("Europe/Berlin"), "Europe/Berlin", "2016-03-26 22:24:39", "2016-03-28 23:24:39", 48 * 3600),
        ("ZN13 long", anywhere("Europe/Berlin"), "Europe/Berlin", "2015-02-17 12:00:00", "2015-05-18 12:00:00", 2159 * 3600),
        ("ZN14", anywhere("America/Sao_Paulo"), "America/Sao_Paulo", "2015-02-20 22:10:05", "2015-02-25 04:30:20", 103 * 3600 + 20 * 60 + 15),
        ("D8", SHOP, "Asia/Shanghai", "2026-11-20 21:00:00", "2026-11-21 10:00:00", 7200),
    ],
)  # fmt: skip
def test_elapsed_counts_open_time_only(*, row, calendar, zone, start, end, expected_s):
    assert calendar.elapsed(local(zone, start), local(zone, end)) == expected_s * SECOND, row


@pytest.mark.parametrize(
    ("calendar", "zone", "start", "expected"),
    [
        (NINE_TO_FIVE, "UTC", "2007-01-01 13:15:00", "2007-01-01 13:15:00"),  # RT3: in hours
        (NINE_TO_FIVE, "UTC", "2007-01-01 19:15:00", "2007-01-02 09:00:00"),
        (NINE_TO_FIVE, "UTC", "2007-01-06 13:15:00", "2007-01-08 09:00:00"),
        (SHOP, "Asia/Shanghai", "2026-11-20 22:00:00", "2026-11-21 09:00:00"),  # D2: fires at the next opening
        (WORKDAYS, "Asia/Shanghai", "2026-09-30 22:00:00", "2026-10-08 09:00:00"),
        (hours("America/Los_Angeles", sun=["02:30-04:00"]), "America/Los_Angeles", "2014-03-09 00:00:00", "2014-03-09 03:30:00"),  # BZ14
        (hours("America/Sao_Paulo", sun=["00:00-02:00"]), "America/Sao_Paulo", "2015-10-17 12:00:00", "2015-10-18 01:00:00"),  # BZ16
        (hours("America/Los_Angeles", sat=["06:00-18:00"]), "America/Los_Angeles", "2006-01-07 17:00:00", "2006-01-07 17:00:00"),  # BZ18
    ],
)  # fmt: skip
def test_the_next_opening(calendar, zone, start, expected):
    assert shown(zone, calendar.next_open(local(zone, start))) == expected


def test_opening_is_open_and_closing_is_closed_to_the_microsecond():
    opening, closing = local("Asia/Shanghai", "2026-11-20 09:00:00"), local("Asia/Shanghai", "2026-11-20 22:00:00")
    assert [SHOP.is_open(at) for at in (opening - 1, opening, closing - 1, closing)] == [False, True, True, False]
    assert SHOP.add(opening - 1, 1) == opening + 1
    assert SHOP.elapsed(closing - 1, closing + 1) == 1


def test_counting_nothing_takes_no_time_even_when_closed():
    closed = local("Asia/Shanghai", "2026-11-20 03:00:00")
    assert SHOP.add(closed, 0) == closed


def test_a_span_over_midnight_belongs_to_the_day_it_starts_on():
    # Friday 22:00-02:00 with Saturday a holiday: the night runs on to 02:00; Saturday's own night falls away.
    bar = hours(fri=["22:00-02:00"], sat=["22:00-02:00"], holidays=["2026-11-21"])
    friday = local("UTC", "2026-11-20 22:00:00")
    assert bar.elapsed(friday, friday + 2 * DAY) == 4 * HOUR


def test_touching_spans_have_no_closing_between_them():
    calendar = hours(fri=["09:00-12:00", "12:00-18:00"], sat=["00:00-24:00"], sun=["00:00-06:00"])
    start = local("UTC", "2026-11-20 11:00:00")
    assert calendar.is_open(start + HOUR)
    assert calendar.add(local("UTC", "2026-11-21 23:00:00"), HOUR) == local("UTC", "2026-11-22 00:00:00")
    assert calendar.next_open(local("UTC", "2026-11-22 00:00:00")) == local("UTC", "2026-11-22 00:00:00")


def test_overlapping_spans_are_one():
    calendar = hours(fri=["09:00-13:00", "11:00-12:00", "12:30-18:00"])
    assert calendar.elapsed(local("UTC", "2026-11-20 00:00:00"), local("UTC", "2026-11-21 00:00:00")) == 9 * HOUR


def test_a_special_day_wins_over_a_holiday_and_replaces_the_weekly_spans():
    calendar = hours(days=DAYS, spans=["09:00-18:00"], holidays=["2026-11-20"], special={"2026-11-20": ["10:00-11:00"], "2026-11-21": []})  # fmt: skip
    day = local("UTC", "2026-11-20 00:00:00")
    assert calendar.elapsed(day, day + DAY) == HOUR
    assert calendar.elapsed(day + DAY, day + 2 * DAY) == 0


def test_an_hour_that_exists_twice_is_the_first():
    # New York, 2026-11-01: 01:30 exists at 05:30Z (EDT) and 06:30Z (EST); 02:15 is 07:15Z.
    calendar = hours("America/New_York", sun=["01:30-02:15"])
    assert rfc3339(calendar.next_open(local("UTC", "2026-11-01 00:00:00"))) == "2026-11-01T05:30:00.000000Z"
    assert calendar.elapsed(local("UTC", "2026-11-01 00:00:00"), local("UTC", "2026-11-02 00:00:00")) == 105 * MINUTE


def test_a_span_inside_the_gap_moves_forward_with_its_length():
    # Los Angeles, 2026-03-08: 02:00-02:59 does not exist; 02:10-02:40 becomes 03:10-03:40.
    calendar = hours("America/Los_Angeles", sun=["02:10-02:40"])
    opening = calendar.next_open(local("UTC", "2026-03-08 00:00:00"))
    assert shown("America/Los_Angeles", opening) == "2026-03-08 03:10:00"
    assert calendar.elapsed(opening, opening + DAY) == 30 * MINUTE


def test_a_date_that_a_zone_skipped_opens_on_the_next():
    # Samoa had no 2011-12-30 (Friday): its 09:00-10:00 moves forward by 24 h, to Saturday.
    calendar = hours("Pacific/Apia", fri=["09:00-10:00"])
    opening = calendar.next_open(local("Pacific/Apia", "2011-12-29 12:00:00"))
    assert shown("Pacific/Apia", opening) == "2011-12-31 09:00:00"


def test_special_days_alone_end_and_then_nothing_opens_ever_again():
    calendar = hours(special={"2026-11-20": ["09:00-18:00"], "2026-12-24": ["20:00-02:00"]})
    start = local("UTC", "2026-11-20 12:00:00")
    assert calendar.add(start, 12 * HOUR) == local("UTC", "2026-12-25 02:00:00")
    assert calendar.add(start, 12 * HOUR + 1) == NEVER
    assert calendar.next_open(local("UTC", "2026-12-25 02:00:00")) == NEVER
    assert not calendar.is_open(local("UTC", "2030-01-01 12:00:00"))
    assert rfc3339(NEVER).startswith("9999-12-")


def test_far_away_times_are_answered():
    assert not NINE_TO_FIVE.is_open(-(10**17))
    assert not NINE_TO_FIVE.is_open(10**18)
    assert NINE_TO_FIVE.add(10**18, 1) == NEVER
    assert ALWAYS.add(10**18, 1) == NEVER
    assert shown("UTC", NINE_TO_FIVE.add(local("UTC", "2026-11-23 09:00:00"), 8 * HOUR * 261 * 10)) == "2036-11-21 17:00:00"  # fmt: skip


def test_always_is_open_and_counts_everything():
    assert ALWAYS.is_open(0)
    assert ALWAYS.next_open(7) == 7
    assert ALWAYS.elapsed(3, 10) == 7
    assert ALWAYS.elapsed(10, 3) == 0
    assert ALWAYS.add(3, 7) == 10


# --- the oracle -----------------------------------------------------------------------------------------------------

# Each window holds a change of the clocks, three days on either side; the last has none.
WINDOWS = (
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2015, 10, 18)),
    ("America/Sao_Paulo", date(2015, 2, 22)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Asia/Shanghai", date(2026, 11, 20)),
)
WINDOW_DAYS = 3


@cache
def walls(zone, day):
    """Every minute of the window, forwards from UTC: (the minute, its wall clock)."""
    middle = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // 60
    minutes = range(middle - (WINDOW_DAYS + 4) * 1440, middle + (WINDOW_DAYS + 4) * 1440)
    return tuple(
        (minute, datetime.fromtimestamp(minute * 60, ZoneInfo(zone)).replace(tzinfo=None)) for minute in minutes
    )


@cache
def first_shown(zone, day):
    """Wall clock → the first minute that shows it."""
    return {wall: minute for minute, wall in reversed(walls(zone, day))}


@cache
def instant(zone, day, wall):
    """The first minute that shows ``wall``, or, where none does, the one that shows it moved on by the gap."""
    if wall in first_shown(zone, day):
        return first_shown(zone, day)[wall]
    for (_, before), (_, after) in pairwise(walls(zone, day)):
        if before < wall < after:
            return instant(zone, day, wall + (after - before - timedelta(minutes=1)))
    raise AssertionError


def oracle_minutes(zone, day, spans_of):
    """Minutes of the window that are open, found by walking each span minute by minute."""
    open_minutes = set()
    for offset in range(-WINDOW_DAYS - 2, WINDOW_DAYS + 3):
        midnight = datetime(day.year, day.month, day.day) + timedelta(days=offset)
        for start, end in spans_of(midnight.date()):
            opens, closes = (instant(zone, day, midnight + timedelta(minutes=m)) for m in (start, end))
            open_minutes.update(range(opens, closes))
    return open_minutes


def text(span):
    start, end = span
    shown_end = end if end <= 1440 else end - 1440
    return f"{start // 60:02}:{start % 60:02}-{shown_end // 60:02}:{shown_end % 60:02}"


spans = st.tuples(st.integers(0, 1439), st.integers(1, 1439)).map(lambda s: (s[0], s[0] + s[1]))
day_spans = st.lists(spans, max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    window=st.sampled_from(WINDOWS),
    weekly=st.lists(day_spans, min_size=7, max_size=7).filter(any),
    holidays=st.sets(st.integers(-3, 3), max_size=2),
    special=st.dictionaries(st.integers(-3, 3), day_spans, max_size=2),
    start_minute=st.integers(0, 2 * WINDOW_DAYS * 1440),
    length=st.integers(0, 2000),
    microseconds=st.integers(0, 59_999_999),
)
def test_hours_agree_with_a_walk_minute_by_minute(
    *, window, weekly, holidays, special, start_minute, length, microseconds
):
    zone, day = window
    calendar = Hours.of(
        Calendar(
            timezone=zone,
            weekly=Weekly(**{name: [text(s) for s in day_s] for name, day_s in zip(DAYS, weekly, strict=True)}),
            holidays=sorted(day + timedelta(days=d) for d in holidays),
            special_days={day + timedelta(days=d): [text(s) for s in day_s] for d, day_s in special.items()},
        )
    )

    def spans_of(of_day):
        offset = (of_day - day).days
        if offset in special:
            return special[offset]
        return [] if offset in holidays else weekly[of_day.weekday()]

    open_minutes = oracle_minutes(zone, day, spans_of)
    first = walls(zone, day)[0][0] + 4 * 1440
    last = first + 2 * WINDOW_DAYS * 1440
    start = first + start_minute
    at = start * MINUTE + microseconds

    assert calendar.is_open(at) == (start in open_minutes)

    end = min(start + length, last)
    in_first = MINUTE - microseconds if start in open_minutes else 0
    expected = 0 if end <= start else in_first + MINUTE * sum(m in open_minutes for m in range(start + 1, end))
    assert calendar.elapsed(at, end * MINUTE) == expected

    counted = 0 if length == 0 else (length - 1) * MINUTE + 1 + microseconds
    reached = at if counted == 0 else None
    remaining = counted
    for minute in range(start, last):
        if counted == 0:
            break
        begins = max(minute * MINUTE, at)
        if minute in open_minutes:
            if remaining <= (minute + 1) * MINUTE - begins:
                reached = begins + remaining
                break
            remaining -= (minute + 1) * MINUTE - begins
    if reached is not None:
        assert calendar.add(at, counted) == reached
    else:
        assert calendar.add(at, counted) > last * MINUTE


@settings(max_examples=50, deadline=None)
@given(
    asked=st.lists(st.tuples(st.integers(-20_000, 20_000), st.integers(0, 400)), min_size=1, max_size=6),
)
def test_answers_do_not_depend_on_what_was_asked_before(asked):
    """The window of days that has been built must not show."""

    def ask(calendar, day, length):
        at = local("UTC", "2026-11-20 12:00:00") + day * DAY
        return (
            calendar.is_open(at),
            calendar.elapsed(at, at + length * DAY),
            calendar.add(at, length * HOUR),
            calendar.next_open(at),
        )

    used = hours("Europe/Berlin", days=WEEKDAYS, spans=["22:00-06:00"])
    for day, length in asked:
        fresh = hours("Europe/Berlin", days=WEEKDAYS, spans=["22:00-06:00"])
        assert ask(used, day, length) == ask(fresh, day, length)
