"""What the archive counts beside the engine's own figures (positions, lag, gaps). Children are looked up once."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from deskline import topics
from deskline.records import ALL_TOPICS

PREFIX: Final = "deskline_archive"
INVALID_REASONS: Final = (
    "bad_json", "bad_envelope", "bad_data", "key_mismatch", "wrong_topic", "wrong_source", "unsupported_version", "too_large",
)  # fmt: skip
"""Those of the contract (§4, dead letters) that the archive gives; ``failed`` is every service's own."""


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
            "Days after today that have their partition: page when 0 (worst: min)",
            registry=registry,
        )
