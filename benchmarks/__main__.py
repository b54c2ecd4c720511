"""``python -m benchmarks [PART …] [--messages N] [--json FILE]``."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from benchmarks import drain, latency, recorded
from benchmarks.figures import Figures

PARTS = (
    "spine",
    "rules",
    "autoreply",
    "router",
    "routing-engine",
    "routing-latency",
    "sla",
    "archive",
    "archive-seal",
    "archive-life",
    "pipeline",
    "latency",
    "replay",
    "clocks",
    "reevaluate",
    "profile",
)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Any of: {', '.join(PARTS)}. Without: all.")] = None,
    *,
    messages: Annotated[int, typer.Option(help="Messages in the backlog.")] = 200_000,
    json: Annotated[Path | None, typer.Option(help="Append one JSON line per figure to this file.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of each latency measurement.")] = 20.0,
    clocks: Annotated[int, typer.Option(help="clocks, reevaluate: open at the same time.")] = 1_000_000,
    instances: Annotated[int, typer.Option(help="clocks, replay: instances of the service.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            help="replay: recorded conversations, shaped as jddc/chat.tsv.gz; rules: the folder of the data sets."
        ),
    ] = None,
) -> None:
    """Measure, beside baselines of the same minute. Machines are shared: quote ratios and medians."""
    wanted = parts or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    # Its warnings about brokers that are coming or going are the normal course of a start.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    figures = Figures(json)
    if "spine" in wanted:
        print("spine: decoding, and what exactly once costs")
        from benchmarks import decode

        decode.measure(figures)
        _run(drain.spine(figures, messages))
    if "rules" in wanted:
        print("rules: 100 000 keywords and 1 000 regular expressions, on one core")
        from benchmarks import rules

        rules.measure(figures, data)
    services = [name for name in drain.ORDER if name in wanted]
    if services:
        print(f"services draining {messages:,} messages, one instance each, every effect exactly once")
        _run(drain.services(figures, services, messages))
    if "routing-engine" in wanted:
        print("routing-engine: decisions of the router's pure core, on one core")
        from benchmarks import engine

        engine.measure(figures)
    if "routing-latency" in wanted:
        print(
            "routing-latency: one router on Kafka and PostgreSQL, from what makes a decision possible to the decision"
        )
        from benchmarks import routing_latency

        _run(routing_latency.measure(figures, seconds))
    if "archive-seal" in wanted:
        print("archive-seal: leaves and trees, on one core")
        from benchmarks import seal

        seal.measure(figures)
    if "archive-life" in wanted:
        print(f"the life of an archive of {messages:,} messages, from ingest to a restored backup")
        from benchmarks import archive_life

        _run(archive_life.measure(figures, messages))
    if "pipeline" in wanted:
        print(f"all four services at once draining {messages:,} messages")
        _run(drain.pipeline(figures, messages))
    if "latency" in wanted:
        print("from a message's broker timestamp to its outcome's")
        for rate in (200, 1000):
            _run(latency.measure(figures, rate, seconds))
    if "replay" in wanted:
        print("recorded conversations through autoreply at 1000 messages/s, then again under kill -9")
        _run(recorded.measure(figures, seconds, data, instances))
    if "clocks" in wanted:
        print("open SLA clocks: overdue at a start, at a rate, and many at once")
        from benchmarks import clocks as open_clocks

        _run(open_clocks.measure(figures, clocks, instances))
    if "reevaluate" in wanted:
        print("a new policy for every open clock")
        from benchmarks import reevaluate

        _run(reevaluate.measure(figures, clocks))
    if "profile" in wanted:
        print("where a record's time goes, by stage; watched, and so a little slower than above")
        _run(drain.profile(figures, services or drain.ORDER, messages))


def _run(part: Coroutine[Any, Any, None]) -> None:
    """What cannot be measured leaves the other parts their figures."""
    try:
        asyncio.run(part)
    except drain.NoFigureError as error:
        print(f"  no figure: {error}")


if __name__ == "__main__":
    typer.run(main)
