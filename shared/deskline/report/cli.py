"""``deskline report``: how a shop did, from the log."""

import asyncio
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console

from deskline.clock import DAY, from_datetime
from deskline.errors import UsageError
from deskline.report import store
from deskline.report.figures import Period
from deskline.report.figures import report as figures
from deskline.report.pages import html, page, table_csv
from deskline.report.shop import shop_settings
from deskline.report.story import stories
from deskline.report.words import Language
from deskline.shadow.output import Lang
from deskline.shadow.rendering import show
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of

app = typer.Typer(add_completion=False, help="How a shop did: responses, SLA, satisfaction, agents; from the log.")


@app.callback(invoke_without_command=True)
def report(
    *,
    shop: Annotated[str, typer.Option(help="The shop's id.")],
    first: Annotated[str, typer.Option("--from", help="The first day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", help="The last day, included.")],
    zone: Annotated[
        str | None, typer.Option("--zone", help="IANA time zone of days and hours. [default: the shop's calendar's]")
    ] = None,
    most: Annotated[int, typer.Option("--stories", min=0, help="Breaches told with their stories.")] = 50,
    lang: Lang = "en",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the figures to this file.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the report with charts to this file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file.")] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Say how a shop did in some days: responses by hour, SLA, satisfaction, resolution, breaches, agents, trainees.

    For example:

      deskline report --shop wardrobe --from 2026-11-01 --to 2026-11-30 --state-dir .deskline

      deskline report --shop wardrobe --from 2026-11-11 --to 2026-11-11 --lang zh --html 1111.html --csv 1111.csv
    """
    language = _language(lang)
    begins, ends = _day(first, "--from"), _day(last, "--to")
    if ends < begins:
        raise UsageError(f"--to {last} lies before --from {first}")
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn, topic_prefix=topic_prefix)
    # Whatever the zone, these instants lie outside the days: which they are exactly is known when the log has been read.
    wide = (from_datetime(_utc(begins)) - DAY, from_datetime(_utc(ends)) + 2 * DAY)
    log = asyncio.run(store.read(settings, *wide))
    data = data_of(log, shop, (begins, ends), zone=zone, lead_s=settings.config_lead_s, most=most)
    show(page(data, language), Console())
    texts = (table_csv(data), html(data, language), json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    for file, text in zip((csv_file, html_file, json_file), texts, strict=True):
        if file is not None:
            file.write_text(text, encoding="utf-8")


def data_of(
    log: store.Read, shop: str, days: tuple[date, date], *, zone: str | None = None, lead_s: float = 5.0, most: int = 50
) -> dict[str, Any]:
    """Everything a report shows; of the same records always the same."""
    first, last = days
    configured = shop_settings(log.configuration, shop, from_datetime(_utc(last)) + DAY, lead_s)
    name = zone or configured.zone
    period = period_of(first, last, name)
    mine = [story for story in stories(log.events) if story.shop == shop]
    active = [story for story in mine if any(period.holds(line.at) for line in story.lines)]
    return {
        "shop": shop,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "time_zone": name,
        "conversations": len(active),
        "source": {"records": log.records, "fingerprint": log.fingerprint},
        "settings": configured.report.model_dump(mode="json"),
        **figures(mine, period, configured.report, configured.trainees, most_stories=most),
    }


def period_of(first: date, last: date, zone: str) -> Period:
    """From the first midnight to the one after the last day, local."""
    try:
        tz = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"--zone {zone}: write an IANA time zone, for example Asia/Shanghai") from None
    after = last + timedelta(days=1)
    begin, end = (from_datetime(datetime(d.year, d.month, d.day, tzinfo=tz)) for d in (first, after))
    return Period(begin, end, tz)


def _utc(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("UTC"))


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a day as YYYY-MM-DD") from None


def _language(name: str) -> Language:
    if name not in {"en", "zh"}:
        raise UsageError(f"--lang {name}: write en or zh")
    return "zh" if name == "zh" else "en"
