"""What the gateway shows on /metrics, beside the services' own figures. Bounded labels: no conversation, no customer."""

from typing import Final

from examples.gateway.rules import Fate
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CHANNELS: Final = ("web", "app", "wechat", "chat", "email", "other")
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)


class Metrics:
    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.outbox: Final = Gauge(
            "deskline_gateway_outbox_events", "Events that Kafka has not acknowledged (whole).", registry=self.registry
        )
        self.published: Final = Histogram(
            "deskline_gateway_publish_seconds",
            "From an event's commit to Kafka's acknowledgement.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        replies = Counter(
            "deskline_gateway_replies", "Automatic replies, by what became of them.", ["fate"], registry=self.registry
        )
        self._fates: Final[dict[Fate, Counter]] = {
            fate: replies.labels(fate.value) for fate in Fate if fate is not Fate.PENDING
        }
        shown = Histogram(
            "deskline_gateway_reply_seconds",
            "From a customer's message to its automatic reply on the way to the screen that confirmed it.",
            ["channel"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._shown: Final = {channel: shown.labels(channel) for channel in CHANNELS}
        screens = Gauge("deskline_gateway_screens", "Open connections (share).", ["side"], registry=self.registry)
        self.screens: Final = {side: screens.labels(side) for side in ("customer", "agent")}

    def fate(self, fate: Fate) -> None:
        self._fates[fate].inc()

    def shown(self, channel: str, seconds: float) -> None:
        self._shown.get(channel, self._shown["other"]).observe(seconds)
