"""A simulation's figures as a page of tables, and as HTML with charts. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from deskline.report.pages import bars
from deskline.shadow.rendering import Page, Table
from deskline.shadow.rendering import html as html_page

_AGENTS: Final = 60
"""Shown in a page; all are in the JSON."""
WAIT_HEADERS: Final = ("came", "served", "left", "refused", "inside", "mean", "p50", "p90", "p99", "max")


def page(data: Mapping[str, Any], title: str, lines: list[str]) -> Page:
    """``data``: what ``figures.figures`` gives."""
    agents = data["agents"]
    tables = [
        Table(
            f"Waits in seconds, and who was taken within {data['target_s']:g} s",
            ["tier", *WAIT_HEADERS],
            [(tier, *wait_cells(row)) for tier, row in data["tiers"].items()],
        ),
        Table(
            "Agents",
            ["agent", "served", "hours", "busy", "of his places"],
            [
                (
                    one["agent_id"],
                    f"{one['served']}",
                    f"{one['there_h']:.1f}",
                    percent(one["busy"]),
                    percent(one["occupancy"]),
                )
                for one in agents[:_AGENTS]
            ],
            note=f"and {len(agents) - _AGENTS} more" if len(agents) > _AGENTS else "",
        ),
    ]
    said = [
        *lines,
        (
            f"places taken: {percent(data['utilisation'])}; fairness among agents (Jain's index of it): {number(data['fairness'])}"
            f"; conversations moved from one agent to another: {data['moved']}"
        ),
    ]
    return Page("en", title, said, tables)


def wait_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(row["came"]), str(row["served"]), str(row["left"]), str(row["refused"]))
    return (
        *counts,
        percent(row["inside"]),
        *(seconds(row[f"{name}_s"]) for name in ("mean", "p50", "p90", "p99", "max")),
    )


def html(data: Mapping[str, Any], shown: Page) -> str:
    """One file that needs no other."""
    charts = "".join(bars(title, values, target) for title, values, target in charts_of(data))
    head, sep, rest = html_page(shown).partition("<h2>")
    return f"{head}{charts}{sep}{rest}"


def charts_of(data: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, float | None]], float | None]]:
    """(title, bars, a line): what is drawn, in HTML and PNG alike."""
    tiers, target, zone = data["tiers"], data["target_s"], ZoneInfo(data.get("time_zone", "UTC"))
    days: dict[str, list[tuple[float, int]]] = {}
    for slot in data["half_hours"]:
        days.setdefault(f"{datetime.fromtimestamp(slot['at'] / 1e6, zone):%H:%M}", []).append(
            (slot["mean_s"], slot["came"])
        )
    return [
        (f"within {target:g} s (%)", [(tier, scaled(row["inside"])) for tier, row in tiers.items()], None),
        ("mean wait (s)", [(tier, row["mean_s"]) for tier, row in tiers.items()], target),
        ("90 % wait at most (s)", [(tier, row["p90_s"]) for tier, row in tiers.items()], target),
        ("left without an agent (%)", [(tier, scaled(row["left"] / row["came"])) for tier, row in tiers.items() if row["came"]], None),
        ("mean wait by the time of day (s)", [(when, _mean(days[when])) for when in sorted(days)], target),
        ("places taken by agent (%)", [(one["agent_id"], scaled(one["occupancy"])) for one in data["agents"][:_AGENTS]], None),
    ]  # fmt: skip


def _mean(slots: list[tuple[float, int]]) -> float | None:
    came = sum(count for _, count in slots)
    return sum(mean * count for mean, count in slots) / came if came else None


def scaled(part: float | None) -> float | None:
    return None if part is None else 100 * part


def percent(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.1f} %"


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
