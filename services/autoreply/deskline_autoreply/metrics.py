"""What autoreply counts beside the engine's own figures. Children are looked up once."""

from typing import Final, assert_never

from prometheus_client import CollectorRegistry, Counter

from deskline_autoreply.model import Answered, Decision, HandedOver, Ignore, Ignored, Outcome, Reason


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        decisions = Counter(
            "deskline_autoreply_decisions",
            "Messages decided, by outcome and reason; a redone unit of work counts again",
            ["outcome", "reason"],
            registry=registry,
        )
        self._replied: Final = decisions.labels(Outcome.REPLY, "rule")
        self._handed: Final = {
            (holding, reason): decisions.labels(Outcome.BOTH if holding else Outcome.HANDOVER, reason)
            for holding in (False, True)
            for reason in Reason
        }
        self._other_shop: Final = Counter(
            "deskline_autoreply_other_shop_events",
            "Events that state another shop than their conversation's first message; a redone unit of work counts again",
            registry=registry,
        )
        self._ignored: Final = {reason: decisions.labels(Outcome.IGNORED, reason) for reason in Ignore}

    def count_other_shop(self) -> None:
        self._other_shop.inc()

    def count(self, decision: Decision) -> None:
        match decision:
            case Answered():
                self._replied.inc()
            case HandedOver(reason=reason, reply=reply):
                self._handed[reply is not None, reason].inc()
            case Ignored(reason=ignored):
                self._ignored[ignored].inc()
            case _:
                assert_never(decision)
