"""A report as a page of tables, as CSV, and as HTML with charts. Pure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

from deskline.report.words import Language, word
from deskline.shadow.rendering import Page, Table
from deskline.shadow.rendering import html as html_page

_WAIT_FIELDS: Final = ("answered", "unanswered", "mean_s", "p50_s", "p90_s", "p95_s", "within")


def page(data: Mapping[str, Any], language: Language) -> Page:
    """``data``: what ``cli`` puts together of ``figures.report``."""

    def say(name: str, **values: Any) -> str:
        return word(language, name, **values)

    lines = [say("period", first=data["from"], last=data["to"], zone=data["time_zone"])]
    lines.append(say("source", **data["source"]))
    if not data["conversations"]:
        return Page(language, say("title", shop=data["shop"]), [*lines, say("nothing")], [])
    tables = [_summary(data, language)]
    for side, title in (("agent", "response_title"), ("any", "any_title")):
        rows = [(f"{row['hour']:02}:00", *_waits(row)) for row in data["response"][side]["hours"]]
        tables.append(Table(say(title), [say("hour"), *_wait_headers(language)], rows))
    tables.append(_attainment(data["attainment"], language))
    tables.append(_agents(data["agents"], language))
    for each in data["trainees"]:
        rows = [(row["day"], *_waits(row), percent(row["satisfied"])) for row in each["days"]]
        title = say("trainees_title", agent=each["agent_id"], change=_points(each["change"]))
        tables.append(Table(title, [say("day"), *_wait_headers(language), say("satisfaction")], rows))
    tables.append(_breaches(data["breaches"], ZoneInfo(data["time_zone"]), language))
    return Page(language, say("title", shop=data["shop"]), lines, tables)


def _summary(data: Mapping[str, Any], language: Language) -> Table:
    target = data["response"]["target_s"]
    agent, every = data["response"]["agent"]["all"], data["response"]["any"]["all"]
    rows = []

    def row(name: str, shown: str, aim: str = "", reached: bool | None = None) -> None:
        verdict = "" if reached is None else word(language, "yes" if reached else "no")
        rows.append((word(language, name), shown, aim, verdict))

    mean = agent.get("mean_s")
    row("mean_response", seconds(mean), f"< {target:g} s", None if mean is None else mean < target)
    row("p90_response", seconds(agent.get("p90_s")))
    row("any_response", seconds(every.get("mean_s")))
    for name, part, share in (
        ("satisfied", data["satisfaction"], data["satisfaction"]["satisfied"]),
        ("resolved", data["resolution"], data["resolution"]["resolved"]),
    ):
        row(name, percent(share), f"> {percent(part['target'])}", None if share is None else share > part["target"])
    row("platform", percent(data["platform"]["share"]))
    row("conversion", percent(data["conversion"]["share"]))
    row("breaches", str(data["breaches"]["count"]))
    headers = [word(language, name) for name in ("figure", "value", "target", "reached")]
    return Table(word(language, "summary"), headers, rows)


def _attainment(rows: Sequence[Mapping[str, Any]], language: Language) -> Table:
    names = ("metric", "tier", "met", "breached", "cancelled", "attainment")
    cells = [
        (
            row["metric"],
            word(language, "all") if row["tier"] == "all" else row["tier"],
            str(row["met"]),
            str(row["breached"]),
            str(row["cancelled"]),
            percent(row["attainment"]),
        )
        for row in rows
    ]
    return Table(word(language, "attainment_title"), [word(language, name) for name in names], cells)


def _agents(rows: Sequence[Mapping[str, Any]], language: Language) -> Table:
    names = ("agent", "score", "speed", "satisfaction", "converted", "conversations")
    cells = [
        (
            row["agent_id"],
            "–" if row["score"] is None else f"{row['score']:.1f}",
            *(percent(row[part]) for part in ("speed", "satisfaction", "conversion")),
            str(row["conversations"]),
            *_waits(row),
        )
        for row in rows
    ]
    headers = [*(word(language, name) for name in names), *_wait_headers(language)]
    return Table(word(language, "agents_title"), headers, cells)


def _breaches(data: Mapping[str, Any], zone: ZoneInfo, language: Language) -> Table:
    names = ("conversation", "metric", "tier", "agent", "due", "late_by", "story")
    cells = [
        (
            each["conversation"],
            each["metric"],
            each["tier"],
            each["agent_id"] or "–",
            local(each["due_at"], zone).strftime("%Y-%m-%d %H:%M:%S"),
            seconds(each["answered_late_by_s"]),
            "; ".join(_line(line, zone, language) for line in each["story"]),
        )
        for each in data["stories"]
    ]
    note = word(language, "left_off", n=data["left_off"]) if data["left_off"] else ""
    return Table(word(language, "breach_title"), [word(language, name) for name in names], cells, note)


def _line(line: Mapping[str, str], zone: ZoneInfo, language: Language) -> str:
    when = local(line["at"], zone).strftime("%H:%M:%S")
    return f"{when} {word(language, line['what'], who=line['who'], detail=line['detail'])}"


def _wait_headers(language: Language) -> list[str]:
    names = (word(language, name) for name in ("answered", "unanswered", "mean"))
    return [*names, "p50", "p90", "p95", word(language, "within")]


def _waits(row: Mapping[str, Any]) -> Iterator[str]:
    yield str(row.get("answered", 0))
    yield str(row.get("unanswered", 0))
    for name in ("mean_s", "p50_s", "p90_s", "p95_s"):
        yield seconds(row.get(name))
    yield percent(row.get("within"))


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _points(change: float | None) -> str:
    return "–" if change is None else f"{100 * change:+.1f}"


def local(text: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)


# --- CSV --------------------------------------------------------------------------------------------------------


def table_csv(data: Mapping[str, Any]) -> str:
    """One figure a row: what it is about (section, key, tier or agent), its name, its value. Times are UTC, in RFC 3339."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("section", "key", "figure", "value"))
    for section, key, figure, value in _figures(data):
        writer.writerow((section, _inert(key), figure, "" if value is None else _inert(value)))
    return out.getvalue()


def _figures(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for name in ("shop", "from", "to", "time_zone", "conversations"):
        yield "report", "", name, data[name]
    for name, value in data["source"].items():
        yield "report", "", name, value
    for side in ("agent", "any"):
        for row in ({"hour": "all", **data["response"][side]["all"]}, *data["response"][side]["hours"]):
            for name in _WAIT_FIELDS:
                yield f"response_{side}", str(row["hour"]), name, row.get(name)
    for row in data["attainment"]:
        for name in ("met", "breached", "cancelled", "attainment"):
            yield "attainment", f"{row['metric']}/{row['tier']}", name, row[name]
    for section in ("satisfaction", "resolution", "platform", "conversion"):
        for name, value in data[section].items():
            if not isinstance(value, Mapping):
                yield section, "", name, value
    for row in data["agents"]:
        for name in ("score", "speed", "satisfaction", "conversion", "conversations", *_WAIT_FIELDS):
            yield "agent", row["agent_id"], name, row.get(name)
    for each in data["trainees"]:
        yield "trainee", each["agent_id"], "change", each["change"]
        for row in each["days"]:
            for name in (*_WAIT_FIELDS, "satisfied"):
                yield "trainee", f"{each['agent_id']}/{row['day']}", name, row.get(name)
    for each in data["breaches"]["stories"]:
        for name in ("conversation", "metric", "tier", "agent_id", "started_at", "due_at", "answered_late_by_s"):
            yield "breach", each["clock_id"], name, each[name]


def _inert(value: Any) -> Any:
    """Ids come from outside: a spreadsheet must not take one for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


# --- HTML with charts -------------------------------------------------------------------------------------------


def html(data: Mapping[str, Any], language: Language) -> str:
    """One file that needs no other: the tables, with bars drawn above them."""
    charts = []
    if data["conversations"]:
        target = data["response"]["target_s"]
        hours = [(f"{row['hour']:02}", row.get("mean_s")) for row in data["response"]["agent"]["hours"]]
        charts.append(bars(f"{word(language, 'response_title')} (s)", hours, target))
        rows = [row for row in data["attainment"] if row["tier"] == "all" and row["attainment"] is not None]
        shares = [(row["metric"], 100 * row["attainment"]) for row in rows]
        charts.append(bars(f"{word(language, 'attainment_title')} (%)", shares, None))
        scores = [(row["agent_id"], row["score"]) for row in data["agents"][:30]]
        charts.append(bars(f"{word(language, 'agents_title')}: {word(language, 'score')}", scores, None))
        for each in data["trainees"]:
            shares = [(row["day"][5:], 100 * row["within"] if "within" in row else None) for row in each["days"]]
            charts.append(bars(f"{each['agent_id']}: {word(language, 'within')} (%)", shares, None))
    whole = html_page(page(data, language))
    head, sep, rest = whole.partition("<h2>")
    return f"{head}{''.join(charts)}{sep}{rest}" if sep else whole


_BAR, _GAP, _HEIGHT, _FOOT = 34, 8, 160, 40


def bars(title: str, values: Sequence[tuple[str, float | None]], target: float | None) -> str:
    """Bars as SVG, with a line at the target; nothing where there is no value."""
    there = [value for _, value in values if value is not None]
    if not there:
        return ""
    top = max([*there, target or 0]) or 1
    width = max(len(values) * (_BAR + _GAP) + 60, 320)
    size = f'width="{width}" height="{_HEIGHT + _FOOT}" font-size="11" font-family="sans-serif"'
    name = escape(title)
    parts = [f'<figure><figcaption>{name}</figcaption><svg role="img" aria-label="{name}" {size}>']
    for number, (label, value) in enumerate(values):
        x = number * (_BAR + _GAP)
        if value is not None:
            tall = round((_HEIGHT - 16) * value / top, 1)
            color = "#c0504d" if target is not None and value >= target else "#4f81bd"
            parts.append(f'<rect x="{x}" y="{_HEIGHT - tall}" width="{_BAR}" height="{tall}" fill="{color}"/>')
            parts.append(f'<text x="{x}" y="{_HEIGHT - tall - 3}">{value:.0f}</text>')
        parts.append(f'<text x="{x}" y="{_HEIGHT + 14}"><title>{escape(label)}</title>{escape(label[:8])}</text>')
    if target is not None:
        y = round(_HEIGHT - (_HEIGHT - 16) * target / top, 1)
        parts.append(f'<line x1="0" x2="{width}" y1="{y}" y2="{y}" stroke="#555" stroke-dasharray="4"/>')
        parts.append(f'<text x="{width - 50}" y="{y - 3}">{target:g}</text>')
    return "".join([*parts, "</svg></figure>"])
