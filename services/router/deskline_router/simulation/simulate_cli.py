"""``deskline simulate``: what would happen with these agents, this policy and these customers."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from deskline.clock import SECOND, from_datetime
from deskline.config.documents import Agent
from deskline.errors import UsageError
from deskline.options import Config
from deskline.shadow.rendering import show
from deskline_router.simulation.desk import PolicyDesk
from deskline_router.simulation.engine import Shift, Simulation
from deskline_router.simulation.figures import TARGET_S, figures
from deskline_router.simulation.model import Arrival, Count, Traffic
from deskline_router.simulation.pages import charts_of, html, page
from deskline_router.simulation.plots import write_png
from deskline_router.simulation.setting import arrivals_path, setting, skills_of
from deskline_router.simulation.traffic import Draw, by_day, load_traffic, read_arrivals, read_counts

app = typer.Typer(add_completion=False, help="What would happen: the router's policy in virtual time.")
_HOUR = 3600 * SECOND

TrafficFile = Annotated[
    Path | None, typer.Option("--traffic", help="YAML: the mix of customers, patience, work. [default: see the docs]")
]


@app.callback(invoke_without_command=True)
def simulate(
    *,
    config: Config,
    arrivals: Annotated[
        str, typer.Option(help="A file of counts or of single arrivals (docs/simulation.md), or bank_calls.")
    ],
    agents: Annotated[
        str | None, typer.Option(help="A number, or a file like agents.yaml. [default: the shop's own]")
    ] = None,
    shop: Annotated[str, typer.Option("--shop", help="The shop's id.")] = "_default",
    scale: Annotated[float, typer.Option(min=0, help="So many times as many customers as counted.")] = 1.0,
    first: Annotated[str | None, typer.Option("--from", help="The first day of counts, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day, included.")] = None,
    traffic: TrafficFile = None,
    target: Annotated[
        float, typer.Option(min=0.001, help="Within how many seconds somebody should take it.")
    ] = TARGET_S,
    seed: Annotated[int, typer.Option(help="Of everything random; the same gives the same.")] = 1,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the report with charts to this file.")] = None,
    png_file: Annotated[Path | None, typer.Option("--png", help="Draw the charts into this file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Run the router's policy in virtual time: waits by tier, who is taken in time, how busy each agent is, who leaves, fairness.

    For example:

      deskline simulate --config examples/config --shop wardrobe --arrivals day.csv --agents 30

      deskline simulate --config conf --arrivals bank_calls --scale 0.1 --from 2003-03-03 --to 2003-03-07 --agents 24 --html week.html --png week.png
    """
    place, mix = setting(config, shop, agents), load_traffic(traffic)
    draw = Draw(mix, seed, skills_of(place.team))
    path = arrivals_path(arrivals)
    place.catalog.move_to(0)
    zone = place.catalog.shop(shop).zone
    counts = read_counts(path)
    if counts is None:
        come = read_arrivals(path, draw)
        spans = [(come[0].at, come[-1].at + _HOUR)] if come else []
    else:
        days = [[local(count, zone) for count in day] for day in chosen(counts, first, last)]
        come = list(draw.of_counts([count for day in days for count in day], scale))
        spans = [(day[0].at, day[-1].at + day[-1].span) for day in days]
    if not come:
        raise UsageError(f"{path}: nobody comes; check --from, --to and --scale")
    shifts = [Shift(name, begin, end) for begin, end in spans for name in place.team]
    simulation = Simulation(PolicyDesk(place.catalog, shop), place.team, mix)
    result = simulation.run(come, shifts)
    data = {"time_zone": zone.key, **figures(result, target)}
    load = offered_load(come, place.team.values(), mix, spans)
    title = f"Shop {shop}: {len(come)} customers, {len(place.team)} agents"
    lines = [
        f"{path.name}, {len(spans)} days, seed {seed}; load {load:.0%}: the work that comes over what the team can do at full concurrency"
    ]
    shown = page(data, title, lines)
    show(shown, Console())
    if html_file is not None:
        html_file.write_text(html(data, shown), encoding="utf-8")
    if png_file is not None:
        write_png(png_file, title, charts_of(data))
    if json_file is not None:
        json_file.write_text(json.dumps({"load": load, **data}, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def chosen(counts: list[Count], first: str | None, last: str | None) -> list[list[Count]]:
    """The days from ``first`` to ``last``."""
    begin, end = _day(first, "--from"), _day(last, "--to")
    return [
        day for name, day in by_day(counts).items() if (begin is None or name >= begin) and (end is None or name <= end)
    ]


def local(count: Count, zone: ZoneInfo) -> Count:
    """A file says when by the clock on the wall: that of the shop's default calendar."""
    wall = datetime.fromtimestamp(count.at // SECOND, UTC)
    return count._replace(at=from_datetime(wall.replace(tzinfo=zone)))


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a day as YYYY-MM-DD") from None


def offered_load(come: list[Arrival], team: Iterable[Agent], mix: Traffic, spans: list[tuple[int, int]]) -> float:
    """Work of agents of proficiency 3 over what the team gets done with all its places taken."""
    work = sum(arrival.work for arrival in come)
    pace = sum(agent.capacity / (1 + mix.slowdown * (agent.capacity - 1)) for agent in team if agent.capacity)
    return work / (pace * sum(end - begin for begin, end in spans))
