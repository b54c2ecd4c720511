"""What the archive counts beside the engine's own figures (positions, lag, gaps). Children are looked up once."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from deskline import topics
from deskline.records import ALL_TOPICS

PREFIX: Final = "deskline_archive"
INVALID_REASONS: Final = (
    "bad_json", "bad_envelope", "bad_data", "key_mismatch", "wrong_topic", "wrong_source", "unsupported_version", "too_large",
)  # fmt: skip
"""Those of the contract (§4, dead letters) that the archive gives; ``failed`` is every service's own."""

KEEPING: Final = ("keys", "sealing", "tidying")
"""What the service does beside its units of work (``keeper``)."""


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        records = Counter(f"{PREFIX}_records", "Records stored, committed", ["topic"], registry=registry)
        self.records: Final = {topic: records.labels(topic) for topic in ALL_TOPICS}
        payload = Counter(f"{PREFIX}_value_bytes", "Bytes of values stored, committed", ["topic"], registry=registry)
        self.value_bytes: Final = {topic: payload.labels(topic) for topic in ALL_TOPICS}
        self.invalid: Final = Counter(
            f"{PREFIX}_invalid_records",
            "Records not valid by the contract: one letter each",
            ["reason"],
            registry=registry,
        )
        for reason in INVALID_REASONS:
            self.invalid.labels(reason)
        retention = Gauge(
            f"{PREFIX}_retention_seconds",
            "For how long Kafka keeps a record of the topic; +Inf: for ever (whole).",
            ["topic"],
            registry=registry,
        )
        for kept_topic in topics.load():
            kept = kept_topic.retention_ms
            retention.labels(kept_topic.name).set(kept / 1000 if kept >= 0 else float("inf"))
        self.retimed: Final = Counter(
            f"{PREFIX}_retimed_records", "Records whose time was too far from the broker's", registry=registry
        )
        self.days_ahead: Final = Gauge(
            f"{PREFIX}_days_ahead",
            "Days after today that have their partition: page below 3 (worst: min)",
            registry=registry,
        )
        self.seals: Final = Counter(f"{PREFIX}_seals", "Segments sealed by this instance", registry=registry)
        self.unsealed_age: Final = Gauge(
            f"{PREFIX}_unsealed_age_seconds",
            "Age of the last seal of the topic partition that has waited longest with records unsealed; 0: none waits (worst).",
            registry=registry,
        )
        self.last_drill: Final = Gauge(
            f"{PREFIX}_last_drill_timestamp_seconds",
            "When a backup was last restored and found whole; before the first time, when the archive began (whole).",
            registry=registry,
        )
        self.keeping_failed: Final = Gauge(
            f"{PREFIX}_keeping_failed",
            "1 where the last pass failed by what a person has to mend; the log says what (worst).",
            ["task"],
            registry=registry,
        )
        for task in KEEPING:
            self.keeping_failed.labels(task)
        self._loss_s: Final = Gauge(
            f"{PREFIX}_time_to_loss_seconds",
            "Until Kafka deletes the oldest record that is not archived, if nothing more is; +Inf: kept for ever (worst: min).",
            ["topic", "partition"],
            registry=registry,
        )
        self._cushion: Final = Gauge(
            f"{PREFIX}_records_to_log_start",
            "Archived position less the first offset that the broker still has: below 0 records are lost (worst: min).",
            ["topic", "partition"],
            registry=registry,
        )
        self._retention_s: Final = {
            kept.name: kept.retention_ms / 1000 if kept.retention_ms >= 0 else float("inf") for kept in topics.load()
        }
        self._shown: set[tuple[str, str]] = set()

    def observe_loss(self, partitions: Mapping[tuple[str, int], tuple[int, int, int]], now: int) -> None:
        """Of each owned (topic, partition): records above the log's start, watermark (µs), records behind.

        Caught up, the next record to lose comes now and is kept for the whole retention; behind, the oldest one that is
        not archived is younger than the watermark.
        """
        shown = set()
        for (topic, partition), (above, mark, lag) in partitions.items():
            labels = (topic, str(partition))
            shown.add(labels)
            oldest = mark if lag and mark else now
            self._loss_s.labels(*labels).set((oldest - now) / 1e6 + self._retention_s.get(topic, float("inf")))
            self._cushion.labels(*labels).set(above)
        for labels in self._shown - shown:
            self._loss_s.remove(*labels)
            self._cushion.remove(*labels)
        self._shown = shown
