"""Prometheus metrics of the engine and the process. Base units, bounded labels: never a conversation or a customer.

Of gauges the help text says how to put instances together: each shows its own *share* (``sum``), or all of them show the
same *whole* (``max``), or ages, of which the *worst* counts (``max``; of watermarks ``min``). Rules and dashboards do so.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deskline.lanes import Lane

# Units take 1 ms (one quiet message) to a second (a full unit on a busy database).
_UNIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class EngineMetrics:
    """What every service shows, whatever it decides."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = Counter("deskline_records_total", "Records consumed.", ["service"], registry=registry)
        self.units = Counter("deskline_units_total", "Units of work committed.", ["service"], registry=registry)
        self.failed = Counter(
            "deskline_failed_total",
            "Records and timers whose handling failed for good.",
            ["service"],
            registry=registry,
        )
        self.gaps = Counter(
            "deskline_offset_gaps_total", "Offset gaps met in a topic.", ["service", "topic"], registry=registry
        )
        self.unit_seconds = Histogram(
            "deskline_unit_seconds",
            "From the start of a unit of work to its commit.",
            ["service"],
            buckets=_UNIT_BUCKETS,
            registry=registry,
        )
        self.watermark = Gauge(
            "deskline_watermark_timestamp_seconds",
            "Event-time watermark: everything with a broker timestamp up to here has been consumed (worst: min).",
            ["service", "topic", "partition"],
            registry=registry,
        )
        self.lag = Gauge(
            "deskline_lag_records",
            "Records not yet consumed (share).",
            ["service", "topic", "partition"],
            registry=registry,
        )
        self.blocked = Gauge(
            "deskline_lanes_blocked", "Lanes stopped for good (share).", ["service"], registry=registry
        )
        self.lanes = Gauge("deskline_lanes", "Lanes owned by this instance (share).", ["service"], registry=registry)
        self.outbox = Gauge(
            "deskline_outbox_units", "Committed units not yet published (share).", ["service"], registry=registry
        )
        self.lanes_expected = Gauge(
            "deskline_lanes_expected",
            "Lanes that the topics have, whoever owns them (whole).",
            ["service"],
            registry=registry,
        )
        self.outbox_age = Gauge(
            "deskline_outbox_age_seconds",
            "Age of the oldest committed unit not yet published; 0 without one (worst).",
            ["service"],
            registry=registry,
        )
        self.timer_overdue = Gauge(
            "deskline_timer_overdue_seconds",
            "For how long the earliest timer has been due and has not fired; 0 without one (worst).",
            ["service"],
            registry=registry,
        )
        self.ready = Gauge(
            "deskline_ready", "1 where /readyz answers 200, else 0 (share).", ["service"], registry=registry
        )
        self.loop_lag = Gauge(
            "deskline_event_loop_lag_seconds",
            "Delay of the event loop, largest of the last 15 s (worst).",
            registry=registry,
        )
        self._shown: set[tuple[str, str, str]] = set()

    def observe_lanes(self, service: str, lanes: Iterable[Lane]) -> None:
        """Set the gauges of the lanes owned now, and drop those of lanes that went elsewhere."""
        shown: set[tuple[str, str, str]] = set()
        blocked = count = 0
        for lane in lanes:
            count += 1
            blocked += lane.blocked is not None
            for topic in lane.topics:
                labels = (service, topic, str(lane.partition))
                shown.add(labels)
                self.watermark.labels(*labels).set(lane.marks.get(topic, 0) / 1e6)
                _, end = lane.ends.get(topic, (0, lane.positions[topic]))
                self.lag.labels(*labels).set(max(0, end - lane.positions[topic]))
        for labels in self._shown - shown:
            self.watermark.remove(*labels)
            self.lag.remove(*labels)
        self._shown = shown
        self.blocked.labels(service).set(blocked)
        self.lanes.labels(service).set(count)

    def start(self, service: str, topics: Sequence[str] = ()) -> None:
        """Every label set exists at 0 from the beginning, so that the first increase is seen as one."""
        for metric in (
            self.records, self.units, self.failed, self.blocked, self.lanes, self.lanes_expected, self.outbox,
            self.outbox_age, self.timer_overdue, self.ready, self.unit_seconds,
        ):  # fmt: skip
            metric.labels(service)
        for topic in topics:
            self.gaps.labels(service, topic)
