"""Business hours: a calendar compiled to intervals of UTC instants. Pure; all times are µs since the epoch.

The rules are contract §5 *Calendars*. A span belongs to the local date on which it starts and may end after midnight;
a holiday removes its date's spans, a special day replaces them and wins over a holiday. A local time that does not
exist moves forward by the gap, one that exists twice is the first (both are what PEP 495 gives for ``fold=0``). Spans
that overlap or touch are one interval; one that a change of the clocks leaves without length is dropped.

Intervals are half-open, ``[opens, closes)``, sorted and disjoint, with the open time before each as a prefix sum, so
every question is one or two bisections. They are built for a window of days around what was asked and the window
grows by doubling, so a calendar costs milliseconds once per process. The built window never changes an answer: days
are added on both sides until every span that could touch the instants asked about is among them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Final, Self
from zoneinfo import ZoneInfo

from deskline.config.base import span_seconds
from deskline.config.documents import Calendar, Weekly

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # local times minus this, then minus the zone's offset
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()

# The days that can be built: a span may end two days after its own, and datetime ends with 9999.
_FIRST_DAY: Final = 4
_LAST_DAY: Final = date.max.toordinal() - 4
# Days built beyond those asked for. Spans of day d lie within the UTC days d-1 .. d+3 (offsets are below 24 h).
_MARGIN: Final = 4
# A window holds at least the half year that conversations are kept, and a year ahead; it costs about 5 ms.
_AHEAD: Final = 366
_BEHIND: Final = 186
# One odd time far away must not make a process hold centuries: beyond this the window moves instead of widening.
_WIDEST: Final = 20 * 366

NEVER: Final = (_LAST_DAY - _EPOCH_ORDINAL) * _DAY - 1
"""What ``add`` and ``next_open`` answer where the calendar never opens (long) enough; a time that can be written."""


def horizon(calendar: Calendar) -> int | None:
    """The end, in the calendar's zone, of the last day whose holidays are known; None where it has no holidays to know.

    Holidays are announced by year, so a calendar that lists one, and does not say until when it is complete, knows that
    year's: past its end, hours are a guess.
    """
    last = calendar.holidays_known_until
    if last is None:
        if not calendar.holidays:
            return None
        last = date(max(calendar.holidays).year, 12, 31)
    if last.toordinal() >= _LAST_DAY:
        return None
    after = datetime.fromordinal(last.toordinal() + 1).replace(tzinfo=ZoneInfo(calendar.timezone))
    return round(after.timestamp()) * _SECOND


class Hours:
    """The open times of one calendar."""

    def __init__(self, calendar: Calendar) -> None:
        self._zone = ZoneInfo(calendar.timezone)
        known = horizon(calendar)
        self.known_until: int = NEVER + 1 if known is None else known
        """From here on holidays are not known: an answer that lies later is a guess."""
        self._weekly = tuple(_parse(getattr(calendar.weekly, day)) for day in Weekly.model_fields)
        self._days: dict[int, tuple[tuple[int, int], ...]] = {day.toordinal(): () for day in calendar.holidays}
        self._days.update({day.toordinal(): _parse(spans) for day, spans in calendar.special_days.items()})
        # Without weekly hours nothing opens after the last special day; no window need grow past it.
        self._last = _LAST_DAY if any(self._weekly) else min(max(self._days) + 1, _LAST_DAY)
        self._low = self._high = 0
        """Ordinals of the days built: low ≤ day < high; equal: none."""
        self._safe_from, self._safe_to = NEVER, 0
        """Instants that lie well within these days: most questions are about them."""
        self._opens: list[int] = []
        self._closes: list[int] = []
        self._before: list[int] = []
        """Open time before interval i, since the beginning of the window."""
        self._through: list[int] = []
        """Open time up to the end of interval i."""

    @classmethod
    def of(cls, calendar: Calendar) -> Self:
        return cls(calendar)

    def is_open(self, at: int) -> bool:
        """A closing instant is closed, an opening instant is open."""
        self._cover(at, at)
        index = bisect_right(self._opens, at) - 1
        return index >= 0 and at < self._closes[index]

    def elapsed(self, a: int, b: int) -> int:
        """Open time between ``a`` and ``b``; 0 where ``b`` is not after ``a``."""
        if b <= a:
            return 0
        self._cover(a, b)
        return self._counted(b) - self._counted(a)

    def add(self, start: int, counted_us: int) -> int:
        """The first instant, from ``start`` on, at which the open time since ``start`` reaches ``counted_us``.

        Where it is used up exactly at closing that is the closing instant; for 0 it is ``start`` itself, open or not.
        """
        if counted_us <= 0:
            return start
        self._cover(start, start)
        while True:
            target = self._counted(start) + counted_us
            index = bisect_left(self._through, target)
            if index < len(self._through):
                found = self._opens[index] + target - self._before[index]
                # The last days of the window may miss a span that begins before their end: build on, then answer.
                if self._covered(start, found):
                    return found
                self._cover(start, found)
            elif not self._grow():
                return NEVER

    def next_open(self, at: int) -> int:
        """``at`` itself when open, else the next opening."""
        self._cover(at, at)
        while True:
            index = bisect_right(self._closes, at)
            if index < len(self._opens):
                found = max(at, self._opens[index])
                if self._covered(at, found):
                    return found
                self._cover(at, found)
            elif not self._grow():
                return NEVER

    def open_until(self, at: int) -> int:
        """``at`` itself when closed, else the end of that open time; of one of many months, some instant within it that is
        weeks away at least.
        """
        self._cover(at, at)
        index = bisect_right(self._opens, at) - 1
        if index < 0 or at >= self._closes[index]:
            return at
        return self._closes[index]

    # --- the window ---------------------------------------------------------------------------------------------

    def _counted(self, at: int) -> int:
        index = bisect_right(self._opens, at) - 1
        if index < 0:
            return 0
        return self._before[index] + min(at, self._closes[index]) - self._opens[index]

    def _covered(self, a: int, b: int) -> bool:
        if self._safe_from <= a and b < self._safe_to:
            return True
        low, high = _ordinal(a) - _MARGIN, _ordinal(b) + _MARGIN
        return max(low, _FIRST_DAY) >= self._low and min(high, self._last) < self._high

    def _cover(self, a: int, b: int) -> None:
        if self._covered(a, b):
            return
        low, high = _ordinal(a) - _MARGIN - _BEHIND, _ordinal(b) + _MARGIN + _AHEAD
        if self._low < self._high and max(high, self._high) - min(low, self._low) <= _WIDEST:
            low, high = min(low, self._low), max(high, self._high)
        self._build(low, high)

    def _grow(self) -> bool:
        """Double the window forwards; False when it holds everything there is."""
        if self._high > self._last:
            return False
        self._build(self._low, self._high + max(self._high - self._low, _AHEAD))
        return True

    def _build(self, low: int, high: int) -> None:
        self._low, self._high = max(low, _FIRST_DAY), min(high, self._last + 1)
        self._safe_from = (self._low + _MARGIN - _EPOCH_ORDINAL) * _DAY
        self._safe_to = (self._high - _MARGIN - _EPOCH_ORDINAL) * _DAY
        intervals = sorted(span for day in range(self._low, self._high) for span in self._spans(day))
        self._opens, self._closes = [], []
        for opens, closes in intervals:
            if self._closes and opens <= self._closes[-1]:
                self._closes[-1] = max(self._closes[-1], closes)
            else:
                self._opens.append(opens)
                self._closes.append(closes)
        lengths = [closes - opens for opens, closes in zip(self._opens, self._closes, strict=True)]
        self._through = list(accumulate(lengths))
        self._before = [0, *self._through[:-1]] if lengths else []

    def _spans(self, day: int) -> Iterator[tuple[int, int]]:
        spans = self._days.get(day)
        if spans is None:
            spans = self._weekly[(day - 1) % 7]
        if not spans:
            return
        midnight = datetime.fromordinal(day)  # the local day; its offset is taken in _utc
        for start, end in spans:
            opens = self._utc(midnight + timedelta(seconds=start))
            closes = self._utc(midnight + timedelta(seconds=end))
            if opens < closes:
                yield opens, closes

    def _utc(self, local: datetime) -> int:
        offset = local.replace(tzinfo=self._zone).utcoffset()
        assert offset is not None
        delta = local - _EPOCH - offset
        return (delta.days * 86_400 + delta.seconds) * _SECOND


class _Always(Hours):
    """Open at every instant."""

    def __init__(self) -> None:
        super().__init__(Calendar(timezone="UTC", weekly=Weekly(mon=("00:00-24:00",))))

    def is_open(self, at: int) -> bool:  # noqa: ARG002
        return True

    def elapsed(self, a: int, b: int) -> int:
        return max(b - a, 0)

    def add(self, start: int, counted_us: int) -> int:
        return min(start + max(counted_us, 0), NEVER)

    def next_open(self, at: int) -> int:
        return at

    def open_until(self, at: int) -> int:  # noqa: ARG002
        return NEVER


def _parse(spans: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(span_seconds(span) for span in spans)


def _ordinal(at: int) -> int:
    """The UTC day of an instant, as ``date.toordinal`` counts, kept within what can be built."""
    return min(max(at // _DAY + _EPOCH_ORDINAL, _FIRST_DAY), _LAST_DAY)


ALWAYS: Final[Hours] = _Always()
"""24/7: the calendar of the metrics that count wall time."""
