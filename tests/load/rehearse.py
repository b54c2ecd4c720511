"""``python -m tests.load.rehearse festival|soak``: a stack of its own, a shop under load, figures and a plot. See ``festival``.

Exit code 1 where an aim is missed. A seed is printed; ``--seed`` repeats a run as far as real clocks allow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.load import festival_config
from tests.load.festival import LASTS_S, Festival, Plan
from tests.load.looking import Sample, Sampler, figures, plot

from deskline.clock import SECOND
from deskline.stack.stack import Options, Stack

_KEPT = 0.98
"""Of the calm's share, in the festival."""
_LATE_S = 1.0 + 1.0
"""A breach is told after the allowed lateness (1 s) and a second at most."""
_LAG_GONE_S = 60.0
_FLOWING = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.rehearse", description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("festival", "soak"))
    parser.add_argument(
        "--long", action="store_true", help="ten minutes a phase, 1000 at a time, 200 agents; soak: 30 minutes"
    )
    parser.add_argument("--minutes", type=float, help="of each phase; of the whole soak")
    parser.add_argument("--at-once", type=int, help="conversations under way in the calm")
    parser.add_argument("--agents", type=int)
    parser.add_argument(
        "--factor", type=float, default=4.0, help="the festival's arrivals, as a multiple of the calm's"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="write a PNG here")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    with tempfile.TemporaryDirectory(prefix="deskline-load-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # as root, PostgreSQL runs under another account and must pass through
        return asyncio.run(_run(options, Path(folder)))


def _plan(options: argparse.Namespace) -> Plan:
    at_once = options.at_once or (1000 if options.long else 300)
    agents = options.agents or (200 if options.long else 60)
    if options.what == "soak":
        minutes = options.minutes or (30 if options.long else 5)
        return Plan(options.seed, agents, at_once, (("soak", minutes * 60, 1.0),))
    seconds = 60 * (options.minutes or (10 if options.long else 1))
    phases = (("calm", seconds, 1.0), ("festival", seconds, options.factor), ("back", seconds, 1.0))
    return Plan(options.seed, agents, at_once, phases, ramp_s=min(60.0, seconds / 4))


async def _run(options: argparse.Namespace, folder: Path) -> int:
    plan = _plan(options)
    config = festival_config.write(folder / "config", plan.agents, plan.at_once / LASTS_S * 60)
    # Durable, as a deployment is: what the disk costs is part of it.
    stack_options = Options(state_dir=folder, config_dir=config, dies_with_parent=True, kafka_profile="bench")
    async with Stack(stack_options, progress=_say) as stack:
        play = Festival(plan, stack.bootstrap_servers, stack.options.topic_prefix)
        every_s = 1.0 if options.what == "festival" else 10.0
        async with Sampler(stack, every_s, lambda: play.under_way, tables=options.what == "soak") as sampler:
            counts = await play.run()
            ended = time.monotonic()
            while any(lag > _FLOWING for lag in sampler.samples[-1].lag.values()):
                if time.monotonic() - ended > _LAG_GONE_S:
                    break
                await asyncio.sleep(0.5)
        _say(f"{dict(counts)}")
        found = await figures(stack, lambda at: plan.phase(max(0.0, (at - play.began_us) / SECOND)))
    found["counts"] = dict(counts)
    found["seed"] = plan.seed
    missed = _festival(plan, found, sampler.samples) if options.what == "festival" else _soak(found, sampler.samples)
    for line in missed:
        _say(f"MISSED: {line}")
    found["missed"] = missed
    if options.json:
        options.json.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        begin, marks = 0.0, []
        for name, seconds, _ in plan.phases:
            marks.append((begin, name))
            begin += seconds
        plot(options.plot, sampler.samples, marks, f"{options.what}, seed {plan.seed}")
    return 1 if missed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


# --- verdicts -------------------------------------------------------------------------------------------------------------


def _festival(plan: Plan, found: dict[str, Any], samples: list[Sample]) -> list[str]:
    missed = []
    calm, festival = found["kept"].get("calm", {}), found["kept"].get("festival", {})
    for phase, kept in found["kept"].items():
        _say(
            f"kept, {phase}: "
            + ", ".join(f"{name} {one['share']:.2%} of {one['clocks']}" for name, one in kept.items())
        )
    for service, by in found["decided"].items():
        for phase, one in by.items():
            _say(f"{service} decides, {phase}: p50 {one['p50_s']} s, p99 {one['p99_s']} s of {one['count']}")
    for name, one in festival.items():
        if name in calm and one["share"] < _KEPT * calm[name]["share"]:
            missed.append(f"{name}: {one['share']:.2%} kept in the festival, {calm[name]['share']:.2%} in the calm")
    missed += _told(found)
    surges = [f"{surge['what']} {surge['at'][11:19]}" for surge in found["surges"]]
    _say(f"surges: {', '.join(surges) or 'none'}")
    if plan.phases[1][2] >= 2 and not surges:
        missed.append("no surge was entered")
    ends = plan.phases[0][1] + plan.phases[1][1] + plan.ramp_s
    late = [
        one.at_s for one in samples if one.at_s > ends + _LAG_GONE_S and max(one.lag.values(), default=0) > 5 * _FLOWING
    ]
    most = {name: max(one.lag.get(name, 0) for one in samples) for name in samples[-1].lag}
    _say(f"lag, at most: {most}")
    if late:
        missed.append(f"a minute after the festival somebody was behind, last {late[-1] - ends:.0f} s after it")
    _machine(found, samples)
    return missed


def _told(found: dict[str, Any]) -> list[str]:
    told = found["breaches_told"]
    _say(f"breaches: {told['count']}, told after they were due: p50 {told['p50_s']} s, p99 {told['p99_s']} s")
    return [f"breaches told late: p99 {told['p99_s']} s after they were due"] if told["p99_s"] > _LATE_S else []


def _machine(found: dict[str, Any], samples: list[Sample]) -> None:
    names = sorted({name for sample in samples for name in sample.rss_mb})
    found["machine"] = {
        name: {
            "rss_mb_max": round(max(sample.rss_mb.get(name, 0) for sample in samples)),
            "cpu_mean": round(sum(sample.cpu.get(name, 0) for sample in samples) / len(samples), 3),
            "cpu_max": round(max(sample.cpu.get(name, 0) for sample in samples), 2),
        }
        for name in names
    }
    for name, one in found["machine"].items():
        _say(f"{name}: {one['rss_mb_max']} MB at most, {one['cpu_mean']} processors, {one['cpu_max']} at most")


def growth_per_hour(at_s: list[float], values: list[float]) -> float:
    """The slope of a straight line through the last two thirds, by hour; the first third is warming up."""
    begin = len(at_s) // 3
    x, y = at_s[begin:], values[begin:]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    below = sum((one - mean_x) ** 2 for one in x)
    return 3600 * sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / below if below else 0.0


def _soak(found: dict[str, Any], samples: list[Sample]) -> list[str]:
    """Flat: what grows by less than a tenth of itself an hour, or too little to be told from chance in so short a time."""
    missed, at = [], [sample.at_s for sample in samples]
    hours = at[-1] / 3600
    found["grows_per_hour"] = {}

    def flat(name: str, values: list[float], least: float, unit: str) -> None:
        slope = growth_per_hour(at, values)
        size = max(values[-1], 1e-9)
        found["grows_per_hour"][name] = round(slope, 3)
        grown = slope * hours * 2 / 3
        _say(f"{name}: {values[-1]:.0f} {unit} at the end, {slope:+.1f} an hour")
        if slope > 0.1 * size and grown > least:
            missed.append(
                f"{name} grows by {slope:.1f} {unit} an hour, from {values[len(values) // 3]:.0f} to {values[-1]:.0f}"
            )

    for name in sorted(samples[-1].fds):
        if name == "postgres backends":
            continue
        # A JVM takes the heap that it was given before it collects: of the broker the end is told, and no slope judged.
        least = 15.0 if name != "kafka" else math.inf
        flat(f"memory of {name}", [sample.rss_mb.get(name, 0.0) for sample in samples], least, "MB")
        flat(f"file handles of {name}", [float(sample.fds.get(name, 0)) for sample in samples], 12.0, "handles")
    flat("connections to PostgreSQL", [float(sample.connections) for sample in samples], 3.0, "connections")
    for name in sorted({name for sample in samples for name in sample.tables}):
        rows = [sample.tables.get(name, (0, 0, 0, 0)) for sample in samples]
        size, indexes, dead, live = rows[-1]
        if size + indexes > 1_000_000:
            _say(f"{name}: {size / 1e6:.1f} MB and {indexes / 1e6:.1f} MB of indexes, {live} rows, {dead} dead")
        # What keeps every record grows with the records; queues, locks and lanes must not.
        if name.split(".")[1] in ("lanes", "outbox", "core", "overdue_clocks"):
            flat(f"table {name}", [(one[0] + one[1]) / 1e6 for one in rows], 4.0, "MB")
        if dead > 20_000 and dead > 2 * live:
            missed.append(f"{name} has {dead} dead rows beside {live}")
    found["database_bytes_per_record"] = _bytes_per_record(found, samples)
    _say(f"bytes in the database for each record on the topics: {found['database_bytes_per_record']}")
    missed += _told(found)
    _machine(found, samples)
    return missed


def _bytes_per_record(found: dict[str, Any], samples: list[Sample]) -> dict[str, int]:
    """By schema, tables and indexes, from the first sample to the last; the archive has every record, the others' states of conversations."""
    grown: dict[str, int] = {}
    for name, (size, indexes, _, _) in samples[-1].tables.items():
        before = samples[0].tables.get(name, (0, 0, 0, 0))
        schema = name.split(".")[0]
        grown[schema] = grown.get(schema, 0) + size + indexes - before[0] - before[1]
    return {schema: round(size / max(1, found["records_on_topics"])) for schema, size in sorted(grown.items())}


if __name__ == "__main__":
    sys.exit(main())
