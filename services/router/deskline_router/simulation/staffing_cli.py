"""``deskline staffing``: how many agents each half hour needs."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console

from deskline.clock import SECOND, from_datetime, now_us
from deskline.config.documents import Agent
from deskline.errors import UsageError
from deskline.records import AGENTS, CONVERSATIONS, ROUTING
from deskline.report.pages import bars
from deskline.shadow.rendering import Page, Table, show
from deskline.shadow.rendering import html as html_page
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant
from deskline_router.simulation.engine import Shift, Simulation
from deskline_router.simulation.figures import waits
from deskline_router.simulation.forecast import HALF_HOUR, Slot, Work, history, plan, slots_of
from deskline_router.simulation.model import Arrival, Count, Traffic
from deskline_router.simulation.pages import percent
from deskline_router.simulation.plots import write_png
from deskline_router.simulation.recorded import recorded
from deskline_router.simulation.replay_store import read_events
from deskline_router.simulation.rivals import RivalDesk
from deskline_router.simulation.setting import arrivals_path
from deskline_router.simulation.traffic import by_day, load_traffic, mean_work_s, read_counts

app = typer.Typer(add_completion=False, help="How many agents each half hour needs.")
_DAY_US = 86_400 * SECOND


@app.callback(invoke_without_command=True)
def staffing(
    *,
    arrivals: Annotated[str | None, typer.Option(help="A file of counts, or bank_calls.")] = None,
    from_archive: Annotated[
        str | None, typer.Option("--from-archive", help="Requests recorded from 30d ago on, and how long they took.")
    ] = None,
    shop: Annotated[str | None, typer.Option("--shop", help="With --from-archive: whose. [default: all]")] = None,
    zone: Annotated[
        str, typer.Option("--zone", help="With --from-archive: IANA time zone of days and half hours.")
    ] = "UTC",
    target: Annotated[float, typer.Option(min=0.001, help="Seconds within which somebody should take it.")] = 180.0,
    aim: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="The share of all who come for whom that should hold.")
    ] = 0.9,
    scale: Annotated[float, typer.Option(min=0, help="So many times as many customers as counted.")] = 1.0,
    held_out: Annotated[
        int,
        typer.Option("--hold-out", min=0, help="Plan from all days but the last so many, and try the plan on these."),
    ] = 0,
    weekday: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=6,
            help="Plan for this day of the week, 0 Monday. [default: one plan a weekday with --hold-out, else all days]",
        ),
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, help="Conversations of an agent at the same time.")] = 3,
    work_s: Annotated[
        float | None,
        typer.Option(
            "--work-s",
            min=1,
            help="Of a conversation for an agent who has nobody else. [default: the traffic file's, or as recorded]",
        ),
    ] = None,
    patience_s: Annotated[
        float | None, typer.Option("--patience-s", min=1, help="Mean. [default: the traffic file's]")
    ] = None,
    traffic: Annotated[
        Path | None, typer.Option("--traffic", help="As of deskline simulate: work, patience, slowdown.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulation that checks it.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write it with a chart to this file.")] = None,
    png_file: Annotated[Path | None, typer.Option("--png", help="Draw the charts into this file.")] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Say how many agents each half hour needs (Erlang-A, with several conversations at once), beside one agent for fifteen, and for a day three times as busy.

    The plan is tried by simulation: on a day as expected, and with --hold-out on the last days, which it has not seen.

    For example:

      deskline staffing --arrivals bank_calls --target 180 --aim 0.9 --scale 0.1 --hold-out 30

      deskline staffing --from-archive 30d --shop wardrobe --zone Asia/Shanghai --target 60 --state-dir .deskline
    """
    mix = load_traffic(traffic)
    if (arrivals is None) == (from_archive is None):
        raise UsageError("give either --arrivals or --from-archive")
    if arrivals is not None:
        counts = read_counts(arrivals_path(arrivals))
        if counts is None:
            raise UsageError(f"{arrivals} holds single arrivals; staffing needs counts")
    else:
        settings = settings_of(state_dir, postgres_dsn=postgres_dsn, topic_prefix=topic_prefix)
        now = now_us()
        begin = instant(from_archive or "", now)
        events = asyncio.run(read_events(settings, (CONVERSATIONS, ROUTING, AGENTS), begin, now))
        day = recorded(sorted(events, key=lambda event: (event.at, event.broker_at, event.offset)), begin, now)
        cases = [case for case in day.cases if shop is None or case.shop_id == shop]
        if not cases:
            raise UsageError("no request was recorded then; check --from-archive and --shop")
        counts = counted([wall(case.opened, zone) for case in cases])
        lengths = [case.ended - case.taken for case in cases if case.ended is not None and case.taken is not None]
        # As long as they took beside the agent's others: what it would take alone is less, so the plan is on the safe side.
        work_s = work_s or (mean(lengths) / SECOND if lengths else None)
    counts = [count._replace(calls=count.calls * scale) for count in counts]
    work = Work(
        work_s if work_s is not None else mean_work_s(mix, ()),
        patience_s if patience_s is not None else mix.patience_s["default"],
        capacity,
        mix.slowdown,
    )
    data = staffed(counts, work, target_s=target, aim=aim, held_out=held_out, weekday=weekday, seed=seed)
    shown = page(data)
    show(shown, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    charts = charts_of(data)
    if html_file is not None:
        head, sep, rest = html_page(shown).partition("<h2>")
        html_file.write_text(f"{head}{''.join(bars(*one) for one in charts)}{sep}{rest}", encoding="utf-8")
    if png_file is not None:
        write_png(png_file, shown.title, charts)


def wall(at: int, zone: str) -> int:
    """What the clock on the wall shows at that instant, as if it were UTC."""
    try:
        there = datetime.fromtimestamp(at // SECOND, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"--zone {zone}: write an IANA time zone, for example Asia/Shanghai") from None
    return from_datetime(there.replace(tzinfo=UTC))


def counted(instants: Sequence[int]) -> list[Count]:
    """By half hours, those in between in which nobody came included."""
    span = HALF_HOUR * SECOND
    found: dict[int, int] = {}
    for at in instants:
        found[at // span] = found.get(at // span, 0) + 1
    return [Count(slot * span, span, found.get(slot, 0)) for slot in range(min(found), max(found) + 1)]


def staffed(
    counts: Sequence[Count], work: Work, *, target_s: float, aim: float, held_out: int, weekday: int | None, seed: int
) -> dict[str, Any]:
    """Everything that is shown; of the same arguments always the same."""
    days = by_day(counts)
    if held_out >= len(days):
        raise UsageError(f"--hold-out {held_out}: there are {len(days)} days; leave one at least to plan from")
    known = dict(list(days.items())[: len(days) - held_out])
    shown = plan(history(known, weekday), work, target_s, aim)
    expected = {one.slot: one.calls for one in shown}
    as_expected = tried({one.slot: one.agents for one in shown}, expected, work, target_s, seed, repeats=5)
    tries: list[dict[str, Any]] = []
    plans: dict[int, list[Slot]] = {}
    for name, day in list(days.items())[len(days) - held_out :]:
        if name.weekday() not in plans:
            plans[name.weekday()] = plan(history(known, name.weekday()), work, target_s, aim)
        mine = plans[name.weekday()]
        came = slots_of(day)
        tries.append(
            {
                "day": name.isoformat(),
                "came": round(sum(count.calls for count in day)),
                "expected": round(sum(one.calls for one in mine)),
                "inside": tried({one.slot: one.agents for one in mine}, came, work, target_s, seed),
                "fifteen_an_hour": tried({one.slot: one.fifteen_an_hour for one in mine}, came, work, target_s, seed),
            }
        )
    came_all = sum(one["came"] for one in tries)
    hours = sum(one.agents for one in shown) / 2
    return {
        "target_s": target_s,
        "aim": aim,
        "work": work._asdict(),
        "days": len(known),
        "slots": [one._asdict() for one in shown],
        "agent_hours": hours,
        "fifteen_an_hour_hours": sum(one.fifteen_an_hour for one in shown) / 2,
        "fifteen_at_once_hours": sum(one.fifteen_at_once for one in shown) / 2,
        "busy_hours": sum(one.busy_agents for one in shown) / 2,
        "reserve": round(sum(one.busy_agents for one in shown) / max(1, sum(one.agents for one in shown)) - 1, 4),
        "simulated": as_expected,
        "held_out": tries,
        "held_out_inside": sum(one["inside"] * one["came"] for one in tries) / came_all if came_all else None,
        "held_out_reached": sum(one["inside"] >= aim for one in tries),
    }


def tried(
    agents: Mapping[int, int], calls: Mapping[int, float], work: Work, target_s: float, seed: int, *, repeats: int = 1
) -> float:
    """The share taken in time when so many come: simulated with one line, by the least loaded, all of one skill."""
    r = random.Random(seed)  # noqa: S311 - a simulation
    most = max(agents.values(), default=0)
    team = {f"a{n:04}": Agent(agent_id=f"a{n:04}", capacity=min(1000, work.capacity)) for n in range(most)}
    come = sorted(_come(r, calls, work, repeats))
    shifts = [
        Shift(name, day * _DAY_US + slot * HALF_HOUR * SECOND, day * _DAY_US + (slot + 1) * HALF_HOUR * SECOND)
        for day in range(repeats)
        for number, name in enumerate(team)
        for slot in sorted(agents)
        if number < agents[slot]
    ]
    simulation = Simulation(RivalDesk("least_loaded", team.values()), team, Traffic(slowdown=work.slowdown))
    return float(waits(simulation.run(come, joined(shifts)).outcomes, target_s)["inside"] or 0.0)


def _come(r: random.Random, calls: Mapping[int, float], work: Work, repeats: int) -> Iterator[Arrival]:
    for day in range(repeats):
        for slot, number in calls.items():
            for n in range(round(number)):
                at = day * _DAY_US + round((slot + r.random()) * HALF_HOUR * SECOND)
                patience, takes = r.expovariate(1 / work.patience_s), r.expovariate(1 / work.work_s)
                name = f"{day}-{slot}-{n}"
                yield Arrival(at, name, name, max(1, round(patience * SECOND)), max(1, round(takes * SECOND)))


def joined(shifts: Sequence[Shift]) -> list[Shift]:
    """One after the other without a gap is one."""
    found: list[Shift] = []
    for shift in sorted(shifts):
        if found and found[-1].agent_id == shift.agent_id and found[-1].end == shift.begin:
            found[-1] = found[-1]._replace(end=shift.end)
        else:
            found.append(shift)
    return found


def page(data: Mapping[str, Any]) -> Page:
    work = data["work"]
    lines = [
        f"from {data['days']} days; conversations of {work['work_s']:.0f} s, patience {work['patience_s']:.0f} s, {work['capacity']} at once, each then 1 / (1 + {work['slowdown']:g} × (n - 1)) as fast",
        f"{data['agent_hours']:g} agent hours a day; by 1:15, fifteen customers of an hour: {data['fifteen_an_hour_hours']:g}, fifteen at once: {data['fifteen_at_once_hours']:g}; a day of 300 %: {data['busy_hours']:g}, a reserve of {data['reserve']:.0%}",
        f"simulated on the day as expected: {percent(data['simulated'])} within {data['target_s']:g} s (aim {percent(data['aim'])})",
    ]
    if data["held_out"]:
        lines.append(
            f"on {len(data['held_out'])} days that it had not seen: {percent(data['held_out_inside'])} of all customers; {data['held_out_reached']} days reached the aim"
        )
    tables = [
        Table(
            f"Agents for {percent(data['aim'])} within {data['target_s']:g} s",
            ["from", "customers", "agents", "inside", "1:15 an hour", "inside", "1:15 at once", "inside", "at 300 %", "planned ones then"],
            [
                (clock(one["slot"]), f"{one['calls']:.0f}", str(one["agents"]), percent(one["inside"]), str(one["fifteen_an_hour"]), percent(one["inside_an_hour"]), str(one["fifteen_at_once"]), percent(one["inside_at_once"]), str(one["busy_agents"]), percent(one["busy_inside"]))
                for one in data["slots"]
            ],
        )
    ]  # fmt: skip
    if data["held_out"]:
        rows = [
            (
                one["day"],
                str(one["came"]),
                str(one["expected"]),
                percent(one["inside"]),
                percent(one["fifteen_an_hour"]),
            )
            for one in data["held_out"]
        ]
        tables.append(
            Table("Days that the plan had not seen", ["day", "came", "expected", "inside", "1:15 an hour"], rows)
        )
    return Page("en", "Agents needed by the half hour", lines, tables)


def charts_of(data: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, float | None]], float | None]]:
    slots = data["slots"]
    charts: list[tuple[str, list[tuple[str, float | None]], float | None]] = [
        ("agents needed", [(clock(one["slot"]), one["agents"]) for one in slots], None),
        (
            "one agent for fifteen customers of an hour",
            [(clock(one["slot"]), one["fifteen_an_hour"]) for one in slots],
            None,
        ),
        ("agents needed at 300 %", [(clock(one["slot"]), one["busy_agents"]) for one in slots], None),
    ]
    if data["held_out"]:
        shares: list[tuple[str, float | None]] = [(one["day"][5:], 100 * one["inside"]) for one in data["held_out"]]
        charts.append(("in time on days not seen (%)", shares, 100 * data["aim"]))
    return charts


def clock(slot: int) -> str:
    return f"{slot // 2:02}:{slot % 2 * 30:02}"
