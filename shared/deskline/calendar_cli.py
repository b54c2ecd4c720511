"""``deskline calendar``: what a shop's calendars say of each day, whether their holidays are known, and new rows for them.

Exit codes: 0; 1 where a calendar needs work (its holidays end within 30 days, or differ from the rows known here); 2 where the
command was called wrongly.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import typer

from deskline.calendars import Hours, horizon
from deskline.clock import SECOND, now_us
from deskline.config.base import DEFAULT_SHOP
from deskline.config.documents import Calendar, CalendarsDocument, Weekly
from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline.public_holidays import FOLDER, Row, load, merged, of_chinesecalendar, of_file, write

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show and check calendars; take in newly announced holidays."
)

WARN_DAYS: Final = 30
"""As the alert: the notice for a year comes in November, and 30 days are enough to take it in and to apply it."""
_WEEKDAYS: Final = tuple(Weekly.model_fields)

Directory = Annotated[Path, typer.Argument(help="The directory of the configuration: one folder per shop.")]
At = Annotated[str | None, typer.Option(help="YYYY-MM-DD. [default: today in the calendar's zone]")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on standard output instead of text.")]


class DayOf(NamedTuple):
    """What a calendar says of one date."""

    day: date
    spans: tuple[str, ...]
    why: str
    """weekly | holiday | special"""
    open_s: int
    """Open time of the spans that begin on this date and of those that run on into it, between its two midnights."""
    guess: bool


def days(calendar: Calendar, first: date, count: int) -> Iterator[DayOf]:
    """``count`` dates from ``first`` on."""
    hours, zone = Hours.of(calendar), ZoneInfo(calendar.timezone)
    for number in range(count):
        day = first + timedelta(days=number)
        begins, ends = (_midnight(day + timedelta(days=step), zone) for step in (0, 1))
        spans, why = _spans(calendar, day)
        open_s = hours.elapsed(begins, ends) // SECOND
        yield DayOf(day, spans, why, open_s, begins >= hours.known_until)


@app.command()
def show(
    directory: Directory,
    shop: Annotated[str, typer.Argument(help="A shop's id; one without calendars of its own runs on _default's.")],
    calendar: Annotated[str | None, typer.Argument(help="[default: the shop's hours]")] = None,
    *,
    first: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD. [default: today in its zone]")] = None,
    count: Annotated[int, typer.Option("--days", min=1, max=3_660, help="How many days.")] = 14,
    as_json: AsJson = False,
) -> None:
    """Say when a shop is open, day by day, and why: its week, a holiday, a special day, or a guess.

    For example:

      deskline calendar show examples/config wardrobe office --from 2026-09-28 --days 14
    """
    name, found = _find(directory, shop, calendar)
    zone = ZoneInfo(found.timezone)
    rows = list(days(found, _date(first) or _today(zone), count))
    until = _known_until(found)
    if as_json:
        typer.echo(json.dumps(_plain(name, found, rows), ensure_ascii=False))
        return
    known = "knows no holidays" if until is None else f"knows its holidays to {until}"
    typer.echo(f"{shop} {name} ({found.timezone}): {known}{_from(found)}")
    for row in rows:
        spans = ", ".join(row.spans) or "closed"
        guess = " (a guess: holidays are not known yet)" if row.guess else ""
        typer.echo(f"{row.day} {_WEEKDAYS[row.day.weekday()]}  {row.why:8} {spans}{guess}")


@app.command()
def check(directory: Directory, at: At = None, as_json: AsJson = False) -> None:
    """Say which calendars soon stop to know their holidays, and which differ from the rows known here.

    For example:

      deskline calendar check conf
    """
    findings = [
        {"shop": shop, "calendar": name, "finding": finding}
        for shop, document in _documents(directory)
        for name, calendar in document.calendars.items()
        for finding in _findings(directory, calendar, _date(at))
    ]
    if as_json:
        typer.echo(json.dumps(findings, ensure_ascii=False))
    else:
        for found in findings:
            typer.echo(f"{found['shop']} {found['calendar']}: {found['finding']}")
        if not findings:
            typer.echo("every calendar knows its holidays for the next 30 days, and agrees with the rows known here")
    if findings:
        raise typer.Exit(1)


@app.command("import")
def import_command(
    directory: Directory,
    source: Annotated[
        str, typer.Option("--from", help="`chinesecalendar` (installed here), or a file: our CSV or holiday-cn's JSON.")
    ] = "chinesecalendar",
    region: Annotated[str, typer.Option(help="The region whose rows these are.")] = "CN",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
) -> None:
    """Take newly announced holidays into the directory (_holidays/CN.csv). `deskline config apply` then brings them in force.

    For example:

      pip install -U chinesecalendar && deskline calendar import conf

      deskline calendar import conf --from 2027.json --dry-run
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory")
    old = load(region, directory)
    new = merged(old, of_chinesecalendar() if source == "chinesecalendar" else _read_rows(Path(source)))
    if new is old:
        typer.echo(f"nothing new: {region} is known to {old.known_until} (version {old.version})")
        return
    for sign, rows in (("-", set(old.rows) - set(new.rows)), ("+", set(new.rows) - set(old.rows))):
        for row in sorted(rows):
            typer.echo(f"{sign} {row.day} {row.kind} {row.name} ({row.source})")
    typer.echo(f"{region} version {new.version}: known to {new.known_until}")
    if not dry_run:
        target = directory / FOLDER / f"{region}.csv"
        target.parent.mkdir(exist_ok=True)
        target.write_text(write(new), encoding="utf-8")
        typer.echo(f"wrote {target}; bring it in force with `deskline config apply {directory}`")


def _read_rows(path: Path) -> list[Row]:
    try:
        return of_file(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8") from None
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; --from is `chinesecalendar` or a file") from None


def _findings(directory: Path, calendar: Calendar, at: date | None) -> Iterator[str]:
    until, zone = _known_until(calendar), ZoneInfo(calendar.timezone)
    if until is not None:
        left = (until - (at or _today(zone))).days
        if left < 0:
            yield f"its holidays are known to {until} only: deadlines after it are guesses; import the next year's"
        elif left < WARN_DAYS:
            yield f"its holidays are known for {left} more days, to {until}; import the next year's"
    if calendar.public_holidays is None and calendar.timezone == "Asia/Shanghai" and len(calendar.holidays) >= 7:
        yield from _differences(directory, calendar)


def _differences(directory: Path, calendar: Calendar) -> Iterator[str]:
    """Of holidays that somebody wrote down by hand, against the rows of the same years."""
    rows = load("CN", directory)
    years = {day.year for day in calendar.holidays}
    for row in rows.rows:
        if row.day.year not in years:
            continue
        spans, why = _spans(calendar, row.day)
        if row.kind == "off" and spans and why == "weekly":
            yield f"{row.day} is {row.name} and off, but not among its holidays"
        elif row.kind == "work" and not spans:
            yield f"{row.day} is worked ({row.name}), but it is closed; make it a special day"


def _spans(calendar: Calendar, day: date) -> tuple[tuple[str, ...], str]:
    if day in calendar.special_days:
        return calendar.special_days[day], "special"
    if day in calendar.holidays:
        return (), "holiday"
    return getattr(calendar.weekly, _WEEKDAYS[day.weekday()]), "weekly"


def _documents(directory: Path) -> Iterator[tuple[str, CalendarsDocument]]:
    for shop, documents in sorted(load_directory(directory).shops.items()):
        if "calendars" in documents:
            yield shop, cast("CalendarsDocument", documents["calendars"])


def _find(directory: Path, shop: str, name: str | None) -> tuple[str, Calendar]:
    documents = dict(_documents(directory))
    if not (directory / shop).is_dir():
        raise UsageError(f"{directory} has no shop {shop!r}; there are {', '.join(sorted(documents))}")
    document = documents.get(shop) or documents[DEFAULT_SHOP]
    name = name or document.default
    if name not in document.calendars:
        raise UsageError(f"{shop} has no calendar {name!r}; there are {', '.join(sorted(document.calendars))}")
    return name, document.calendars[name]


def _known_until(calendar: Calendar) -> date | None:
    ends = horizon(calendar)
    if ends is None:
        return None
    return datetime.fromtimestamp(ends // SECOND - 1, ZoneInfo(calendar.timezone)).date()


def _from(calendar: Calendar) -> str:
    return f", from {calendar.holidays_source}" if calendar.holidays_source else ""


def _plain(name: str, calendar: Calendar, rows: list[DayOf]) -> dict[str, object]:
    until = _known_until(calendar)
    return {
        "calendar": name,
        "timezone": calendar.timezone,
        "known_until": until.isoformat() if until else None,
        "source": calendar.holidays_source,
        "days": [{**row._asdict(), "day": row.day.isoformat()} for row in rows],
    }


def _midnight(day: date, zone: ZoneInfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND


def _today(zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(now_us() / SECOND, zone).date()


def _date(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date; write YYYY-MM-DD") from None
