"""What sla shows beside its decisions: the overdue clocks of its lanes, and how far its calendars are known."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import structlog
from prometheus_client import Gauge

from deskline.calendars import ALWAYS, horizon
from deskline.clock import SECOND, now_us
from deskline.config.book import ConfigBook
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.service import Runtime
from deskline_sla.metrics import OverdueGauges
from deskline_sla.model import Metric, OverdueCount
from deskline_sla.policy.targets import counts_hours
from deskline_sla.store import OverdueClocks

log = structlog.get_logger(__name__)

# Well within a scrape interval; one look-up in a table that is nearly empty. After a long stop it is not: then counting it takes no more
# than this part of the time, so that those who tell are not kept waiting by those who count.
_EVERY_S: Final = 1.0
_SHARE: Final = 0.002
_AT_LEAST_EVERY_S: Final = 10.0
_BACK_OFF_S: Final = 2.0


def overdue_ages(counts: Iterable[OverdueCount], config: ConfigBook, now: int) -> dict[str, tuple[int, int]]:
    """Metric → (overdue clocks, for how long the oldest has been due, µs), as its shop's calendar counts today.

    What a shop leaves open at closing does not grow older by the night: nobody need be called for it before it opens.
    """
    found: dict[str, tuple[int, int]] = {}
    for metric, shop, clocks, oldest in counts:
        document = config.sla(shop, now)
        hours = (
            config.hours(shop, now, calendar=document.calendar)
            if counts_hours(document, Metric[metric.upper()])
            else ALWAYS
        )
        others, longest = found.get(metric, (0, 0))
        found[metric] = (others + clocks, max(longest, hours.elapsed(oldest, now)))
    return found


def overdue(runtime: Runtime) -> Callable[[], Coroutine[Any, Any, None]]:
    """A task for ``Runtime.background``: keeps the gauges of overdue clocks."""
    gauges, clocks = OverdueGauges(runtime.registry), OverdueClocks()

    async def run() -> None:
        connection: Connection | None = None
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await connect(runtime.settings, "sla")
                    began = time.monotonic()
                    counts = await clocks.count(connection, runtime.lanes())
                    if runtime.config.ready:
                        gauges.show(overdue_ages(counts, runtime.config, now_us()))
                    took_s = time.monotonic() - began
                    await asyncio.sleep(min(max(_EVERY_S, took_s / _SHARE), _AT_LEAST_EVERY_S))
                except TRANSIENT as error:
                    # The figures stand still meanwhile; that the service is not ready is told by another one.
                    log.warning("overdue clocks wait for the database", error=type(error).__name__)
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    await asyncio.sleep(_BACK_OFF_S)
        finally:
            if connection is not None:
                connection.terminate()

    return run


def watch_horizon(runtime: Runtime) -> None:
    """Show until when the calendars in force know their holidays."""
    gauge = Gauge(
        "deskline_calendar_horizon_timestamp_seconds",
        "Up to here every calendar in force knows its holidays; +Inf where none lists any (whole: min).",
        registry=runtime.registry,
    )

    def earliest() -> float:
        now = now_us()
        calendars = [
            calendar for document in runtime.config.calendars_in_force(now) for calendar in document.calendars.values()
        ]
        known = [at for at in map(horizon, calendars) if at is not None]
        return min(known) / SECOND if known else float("inf")

    gauge.set_function(earliest)
