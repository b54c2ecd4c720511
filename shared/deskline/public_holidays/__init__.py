"""Public holidays as versioned rows: days off, and the weekends that are worked instead (调休).

A region's rows are one CSV file. Its first line is a comment with what holds of the file as a whole, as JSON: the region,
the file's version, and the days between which it is complete. Past ``known_until`` nothing has been announced, and nothing is
guessed. Each row says where it comes from (``source``) and since which version of the file it stands as it does.

The package brings ``CN.csv``, seeded from chinesecalendar. A configuration directory may have newer rows in
``_holidays/CN.csv``: ``deskline calendar import`` writes them, so that a new year needs no new release.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from deskline.errors import UsageError

FOLDER: Final = "_holidays"
"""In a configuration directory: rows that win over those of the package."""
REGIONS: Final = ("CN",)

_COLUMNS: Final = ("day", "kind", "name", "source", "version")
# Conversations are kept for half a year and recorded logs replayed shifted to today: older years would only be weight.
_FIRST_YEAR: Final = 2020


class Row(NamedTuple):
    day: date
    kind: Literal["off", "work"]
    """work: a weekend that is worked."""
    name: str
    source: str
    version: int = 1


class Rows(NamedTuple):
    """All rows of a region, by day. Complete from ``known_from`` to ``known_until``, both included."""

    region: str
    version: int
    known_from: date
    known_until: date
    rows: tuple[Row, ...]

    @property
    def sources(self) -> str:
        """Where the last year's rows come from."""
        return ", ".join(sorted({row.source for row in self.rows if row.day.year == self.known_until.year}))


def load(region: str, directory: Path | None = None) -> Rows:
    """The rows of the configuration directory, else of the package. Raises ``UsageError`` where they cannot be read."""
    own = None if directory is None else directory / FOLDER / f"{region}.csv"
    if own is not None and own.is_file():
        return read(own.read_text(encoding="utf-8"), str(own))
    return read((files(__name__) / f"{region}.csv").read_text(encoding="utf-8"), f"{region}.csv")


def read(text: str, name: str) -> Rows:
    """Raises ``UsageError`` with the line that is wrong."""
    first, _, rest = text.partition("\n")
    line = 1
    try:
        about = json.loads(first.removeprefix("#"))
        found = []
        for line, record in enumerate(csv.DictReader(io.StringIO(rest)), 3):  # noqa: B007 - named in the error
            kind = record["kind"]
            if kind not in {"off", "work"}:
                raise ValueError(f"{kind!r} is neither off nor work")
            day, version = date.fromisoformat(record["day"]), int(record["version"])
            found.append(Row(day, kind, record["name"], record["source"], version))  # type: ignore[arg-type]
        begins, ends = (date.fromisoformat(about[key]) for key in ("known_from", "known_until"))
        return Rows(about["region"], int(about["version"]), begins, ends, tuple(sorted(found)))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{name}:{line}: {error}; write the file with `deskline calendar import`") from None


def write(rows: Rows) -> str:
    about = {
        "region": rows.region,
        "version": rows.version,
        "known_from": rows.known_from.isoformat(),
        "known_until": rows.known_until.isoformat(),
    }
    out = io.StringIO()
    out.write(f"#{json.dumps(about)}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((row.day.isoformat(), *row[1:]) for row in rows.rows)
    return out.getvalue()


def merged(old: Rows, new: Iterable[Row]) -> Rows:
    """``old`` with the years that ``new`` speaks of replaced. Without a difference it is ``old`` itself."""
    given = {row.day: row for row in new if row.day.year >= _FIRST_YEAR}
    years = {day.year for day in given}
    if not years:
        return old
    number = old.version + 1
    before = {row.day: row for row in old.rows}
    kept = [row for row in old.rows if row.day.year not in years]
    for day, row in given.items():
        was = before.get(day)
        same = was is not None and was[:3] == row[:3]
        kept.append(was if same and was is not None else row._replace(version=number))
    rows = tuple(sorted(kept))
    first, last = (date(year, *day) for year, day in ((min(years), (1, 1)), (max(years), (12, 31))))
    # A year that leaves a gap behind the known ones does not move the horizon: the years between are not known.
    until = max(old.known_until, last) if min(years) <= old.known_until.year + 1 else old.known_until
    if rows == old.rows and until == old.known_until:
        return old
    return Rows(old.region, number, min(old.known_from, first), until, rows)


def of_chinesecalendar() -> list[Row]:
    """What the installed chinesecalendar knows. Raises ``UsageError`` where it is not installed."""
    try:
        from importlib.metadata import version  # noqa: PLC0415

        from chinese_calendar import constants  # noqa: PLC0415 - needed by one command only
    except ModuleNotFoundError:
        raise UsageError(
            "chinesecalendar is not installed here: pip install -U chinesecalendar, or name a file"
        ) from None
    source = f"chinesecalendar {version('chinesecalendar')}"
    off = [Row(day, "off", name, source) for day, name in constants.holidays.items()]
    # Its days off include weekends that belong to a holiday anyway; a day that is both is worked.
    work = {day: Row(day, "work", name, source) for day, name in constants.workdays.items()}
    return [row for row in off if row.day not in work] + list(work.values())


def of_file(text: str, name: str) -> list[Row]:
    """Rows of a file of this module, or of a year of holiday-cn's JSON (``days`` with ``isOffDay``; ``papers`` is its source)."""
    if not text.lstrip().startswith("{"):
        return list(read(text, name).rows)
    try:
        return _of_holiday_cn(json.loads(text), name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name} is neither rows of `deskline calendar import` nor holiday-cn's JSON: {error}"
        ) from None


def _of_holiday_cn(value: Mapping[str, Any], name: str) -> list[Row]:
    source = (value.get("papers") or [name])[0]
    return [
        Row(date.fromisoformat(day["date"]), "off" if day["isOffDay"] else "work", day["name"], source)
        for day in value["days"]
    ]
