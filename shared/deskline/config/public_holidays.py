"""Calendars that ask for a region's public holidays get its rows as holidays and special days of their own."""

from datetime import date
from functools import cache
from pathlib import Path

from deskline.config.documents import Calendar, CalendarsDocument
from deskline.public_holidays import Rows, load


def seeded(document: CalendarsDocument, directory: Path) -> CalendarsDocument:
    """The document with every calendar's rows in it. Raises ``UsageError`` where the rows cannot be read."""
    rows_of = cache(lambda region: load(region, directory))
    calendars = {
        name: with_rows(calendar, rows_of(calendar.public_holidays)) if calendar.public_holidays else calendar
        for name, calendar in document.calendars.items()
    }
    return document.model_copy(update={"calendars": calendars})


def with_rows(calendar: Calendar, rows: Rows) -> Calendar:
    """What is written in the calendar for a date wins over the row for it; a source or an end that is written stays."""
    spans = getattr(calendar.weekly, calendar.make_up_day or "mon")
    own = {*calendar.holidays, *calendar.special_days}
    off = {row.day for row in rows.rows if row.kind == "off"} - own
    work: dict[date, tuple[str, ...]] = {
        row.day: spans for row in rows.rows if row.kind == "work" and row.day not in own
    }
    return calendar.model_copy(
        update={
            "holidays": tuple(sorted({*calendar.holidays, *off})),
            "special_days": dict(sorted({**calendar.special_days, **work}.items())),
            "holidays_source": calendar.holidays_source or f"{rows.sources} ({rows.region}, version {rows.version})",
            "holidays_known_until": calendar.holidays_known_until or rows.known_until,
        }
    )
