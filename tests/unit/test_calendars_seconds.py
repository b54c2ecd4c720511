"""Business hours against an oracle that walks second by second, over changes of the clocks, holidays and special days.

100 000 questions by default; more with ``--oracle-cases 2000000`` (one process: ``-n 0``).
"""

import random
from array import array
from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest

from deskline.calendars import Hours
from deskline.clock import SECOND
from deskline.config.documents import Calendar, Weekly

DAY_S = 86_400
DAYS = tuple(Weekly.model_fields)
# A change of the clocks in the middle of each but the last: an hour, half an hour, a whole day, both ways, at midnight.
WINDOWS = (
    ("Europe/Berlin", date(2026, 3, 29)),
    ("America/New_York", date(2026, 11, 1)),
    ("America/Sao_Paulo", date(2015, 10, 18)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Shanghai", date(2026, 10, 8)),
)
BEFORE, AFTER = 3, 4
"""Days around the middle that are asked about; spans of two days more on each side reach into them."""
MARGIN = 5
PER_CALENDAR = 1_000


class Walls:
    """Every second of a window, walked from first to last: what the wall clock shows then."""

    def __init__(self, zone, middle):
        tz = ZoneInfo(zone)
        centre = int(datetime(middle.year, middle.month, middle.day, tzinfo=UTC).timestamp())
        self.first = centre - (BEFORE + MARGIN) * DAY_S
        self.last = centre + (AFTER + MARGIN) * DAY_S
        epoch = datetime(1970, 1, 1)
        shown = array("q")
        for second in range(self.first, self.last):
            wall = datetime.fromtimestamp(second, tz).replace(tzinfo=None) - epoch
            shown.append(wall.days * DAY_S + wall.seconds)
        self.base = min(shown)
        self.at = array("q", [-1]) * (max(shown) - self.base + 1)
        """Wall second → the first second that shows it; -1: none does."""
        for index in range(len(shown) - 1, -1, -1):
            self.at[shown[index] - self.base] = self.first + index
        self.shown = shown

    def instant(self, wall):
        found = self.at[wall - self.base]
        if found >= 0:
            return found
        low = high = wall - self.base
        while self.at[low] < 0:
            low -= 1
        while self.at[high] < 0:
            high += 1
        return self.instant(wall + (high - low - 1))  # moved forward by the gap


@lru_cache(maxsize=1)
def walls(zone, middle):
    return Walls(zone, middle)


def text(span):
    ends = (span[0], span[1] if span[1] <= DAY_S else span[1] - DAY_S)
    return "-".join(f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in ends)


def some_spans(rng):
    spans = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        grain = rng.choice((1, 60, 1800))
        start = rng.randrange(0, DAY_S, grain)
        length = rng.randrange(grain, DAY_S, grain)
        spans.append((start, start + length))
    return spans


def some_calendar(rng, middle):
    weekly = [some_spans(rng) for _ in range(7)]
    weekly[rng.randrange(7)].append((9 * 3600, 22 * 3600))
    near = [middle + timedelta(days=number) for number in range(-BEFORE - 2, AFTER + 3)]
    holidays = set(rng.sample(near, rng.randrange(3)))
    special = {day: some_spans(rng) for day in rng.sample(near, rng.randrange(3))}
    return weekly, holidays, special


def open_seconds(wall, middle, weekly, holidays, special):
    """One byte a second: open or not."""
    seconds = bytearray(wall.last - wall.first)
    for number in range(-BEFORE - 2, AFTER + 3):
        day = middle + timedelta(days=number)
        spans = special[day] if day in special else [] if day in holidays else weekly[day.weekday()]
        midnight = (day - date(1970, 1, 1)).days * DAY_S
        for start, end in spans:
            a, b = wall.instant(midnight + start) - wall.first, wall.instant(midnight + end) - wall.first
            if a < b:
                seconds[a:b] = b"\1" * (b - a)
    return seconds


@pytest.mark.timeout(3_600)  # the larger runs; the usual one takes 15 s of a processor
def test_every_answer_agrees_with_a_walk_second_by_second(request):
    cases = request.config.getoption("--oracle-cases")
    rng = random.Random(20_261_128)
    asked = added = across = 0
    for window in range(len(WINDOWS)):
        zone, middle = WINDOWS[window]
        wall = walls(zone, middle)
        low, high = MARGIN * DAY_S, len(wall.shown) - MARGIN * DAY_S
        for _ in range(-(-cases // (PER_CALENDAR * len(WINDOWS)))):
            weekly, holidays, special = some_calendar(rng, middle)
            seconds = open_seconds(wall, middle, weekly, holidays, special)
            through = list(accumulate(seconds))  # open seconds up to and including each
            hours = Hours.of(
                Calendar(
                    timezone=zone,
                    weekly=Weekly(**{name: [text(s) for s in spans] for name, spans in zip(DAYS, weekly, strict=True)}),
                    holidays=sorted(holidays),
                    special_days={day: [text(s) for s in spans] for day, spans in special.items()},
                )
            )

            def counted(at, seconds=seconds, through=through):
                """µs of open time from the window's beginning to ``at``, in µs after it."""
                second, rest = divmod(at, SECOND)
                return (through[second] - seconds[second]) * SECOND + seconds[second] * rest

            for _ in range(PER_CALENDAR):
                a, b = (rng.randrange(low, high) * SECOND + rng.choice((0, 0, rng.randrange(SECOND))) for _ in "ab")
                zero = wall.first * SECOND
                asked += 1
                assert hours.is_open(zero + a) == bool(seconds[a // SECOND])
                assert hours.elapsed(zero + a, zero + b) == max(counted(b) - counted(a), 0)
                # Every other target is used up exactly at the end of a second, a closing among them.
                target = rng.randrange(1, 3 * 3600 * SECOND)
                if rng.random() < 0.5:
                    target = counted(b) - counted(a)
                    if target <= 0:
                        continue
                wanted = counted(a) + target
                second = bisect_left(through, -(-wanted // SECOND))
                if second >= high:
                    continue
                reached = second * SECOND + wanted - (through[second] - seconds[second]) * SECOND
                assert hours.add(zero + a, target) == zero + reached
                added += 1
                across += through[second] - through[a // SECOND] < second - a // SECOND
    assert asked >= cases
    # The questions are worth asking: most deadlines are found, and many lie behind a closing.
    assert added > asked / 3
    assert across > added / 4
