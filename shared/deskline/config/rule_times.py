"""Windows of time, as rules have them: checked here, judged for a local instant. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Final

_YEARLY: Final = re.compile(r"(\d\d)-(\d\d)\s*\.\.\s*(\d\d)-(\d\d)", re.ASCII)
_LEAP_YEAR: Final = 2024


def edge(text: str, *, end: bool) -> datetime:
    """``2026-11-11`` or ``2026-11-11T20:00``, in the shop's local time. As an end a date means the end of that day, and is
    exclusive. Raises ``ValueError`` with what to write instead.
    """
    try:
        if len(text) == 10:
            day = datetime.combine(date.fromisoformat(text), time())
            return day + timedelta(days=1) if end else day
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None:
        raise ValueError(f"{text!r} is no local time; write 2026-11-11 or 2026-11-11T20:00")
    return at


def yearly(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """``11-01..11-11`` → ((11, 1), (11, 11)), both days included; it may go over New Year."""
    match = _YEARLY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no part of a year; write MM-DD..MM-DD, for example 11-01..11-11")
    numbers = [int(part) for part in match.groups()]
    for month, day in (numbers[:2], numbers[2:]):
        try:
            date(_LEAP_YEAR, month, day)
        except ValueError:
            raise ValueError(f"{text!r}: there is no {month:02}-{day:02} in any year") from None
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def in_yearly(part: tuple[tuple[int, int], tuple[int, int]], day: date) -> bool:
    first, last = part
    here = (day.month, day.day)
    return first <= here <= last if first <= last else here >= first or here <= last
