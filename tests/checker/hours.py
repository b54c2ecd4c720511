"""Opening hours, by walking local dates (contract §5 *Calendars*). Slow and plain on purpose: it is the oracle.

A calendar is the body as configured: ``timezone``, ``weekly`` {mon..sun: [span]}, ``holidays`` [date], ``special_days``
{date: [span]}; a span is ``HH:MM-HH:MM`` with optional seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.checker.records import DAY

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HORIZON = 1200
"""Days that are walked for an instant before the search is given up: no target reaches that far."""
_PIECE = 3 * DAY

Interval = tuple[int, int]


def running(calendar: dict[str, Any] | None, start: int, holds: list[Interval]) -> Iterator[Interval]:
    """From ``start`` on, the intervals [a, b) in which time counts: open, and not held. None: always open."""
    for opened, closed in _merged(_open(calendar, start)):
        at = max(opened, start)
        for held, resumed in holds:
            if resumed <= at or held >= closed:
                continue
            if held > at:
                yield at, held
            at = max(at, resumed)
        if at < closed:
            yield at, closed


def counted(calendar: dict[str, Any] | None, start: int, until: int, holds: list[Interval]) -> int:
    total = 0
    for a, b in running(calendar, start, holds):
        if a >= until:
            break
        total += min(b, until) - a
    return total


def reach(calendar: dict[str, Any] | None, start: int, target: int, holds: list[Interval]) -> tuple[int, int]:
    """(the first instant at which the counted time reaches ``target``, the instant from which it runs beyond it)."""
    total = 0
    due: int | None = None
    for a, b in running(calendar, start, holds):
        if due is not None:
            return due, a
        if total + b - a >= target:
            due = a + target - total
            if due < b:
                return due, due
        total += b - a
    raise ValueError("the target is never reached")


def is_open(calendar: dict[str, Any], at: int) -> bool:
    return any(opened <= at < closed for opened, closed in _day_spans(calendar, at))


def _day_spans(calendar: dict[str, Any], at: int) -> Iterator[Interval]:
    for index, interval in enumerate(_open(calendar, at)):
        if index > 40 or interval[0] > at + 3 * DAY:
            return
        yield interval


def _open(calendar: dict[str, Any] | None, start: int) -> Iterator[Interval]:
    if calendar is None:
        yield start, 2**62
        return
    zone = ZoneInfo(calendar["timezone"])
    first = (_EPOCH + timedelta(microseconds=start)).astimezone(zone).date() - timedelta(days=2)
    for number in range(_HORIZON):
        day = first + timedelta(days=number)
        spans = [_span(day, text, zone) for text in _texts(calendar, day)]
        yield from sorted((a, b) for a, b in spans if a < b)


def _merged(intervals: Iterator[Interval]) -> Iterator[Interval]:
    """Spans that touch or overlap are one. A span lasts a day at most, so sorted days keep starts in order."""
    current: Interval | None = None
    for a, b in intervals:
        if current is None:
            current = (a, b)
        elif a <= current[1]:
            current = (current[0], max(current[1], b))
            if current[1] - current[0] > _PIECE:
                # Always open: nobody wants to walk to the horizon. Pieces that touch count like one.
                yield current
                current = (current[1], current[1])
        else:
            yield current
            current = (a, b)
    if current is not None:
        yield current


def _texts(calendar: dict[str, Any], day: date) -> list[str]:
    special = (calendar.get("special_days") or {}).get(day.isoformat())
    if special is not None:
        return list(special)
    if day.isoformat() in (calendar.get("holidays") or ()):
        return []
    return list((calendar.get("weekly") or {}).get(_DAYS[day.weekday()]) or ())


def _span(day: date, text: str, zone: ZoneInfo) -> Interval:
    start, end = (_seconds(part) for part in text.split("-"))
    if end <= start:
        end += 86_400
    return _instant(day, start, zone), _instant(day, end, zone)


def _seconds(text: str) -> int:
    parts = [int(part) for part in text.split(":")]
    return parts[0] * 3600 + parts[1] * 60 + (parts[2] if len(parts) > 2 else 0)


def _instant(day: date, seconds: int, zone: ZoneInfo) -> int:
    """fold=0 takes the first of two, and of a time that does not exist the offset before the gap: it moves forward."""
    days, rest = divmod(seconds, 86_400)
    local = datetime(day.year, day.month, day.day) + timedelta(days=days, seconds=rest)
    delta = local.replace(tzinfo=zone, fold=0) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
