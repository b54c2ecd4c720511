"""What autoreply counts beside the engine's own figures. Children are looked up once."""

from typing import Final, assert_never

from prometheus_client import CollectorRegistry, Counter

from deskline_autoreply.model import Answered, Decision, HandedOver, Ignore, Ignored, Outcome, Reason

_MOST_VARIANTS: Final = 200


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

        self._variants = Counter(
            "deskline_autoreply_variants",
            f"Replies of rules with several variants, for the first {_MOST_VARIANTS} of them; a redone unit of work counts again",
            ["rule_id", "variant"],
            registry=registry,
        )
        self._known_variants: set[tuple[str, str]] = set()

    def _count_variant(self, rule_id: str | None, variant: str) -> None:
        """What came of each is in the table ``hits``; here is what goes out, and no more series than an operator can look at."""
        key = (rule_id or "", variant)
        if key not in self._known_variants:
            if len(self._known_variants) >= _MOST_VARIANTS:
                key = ("other", "other")
            self._known_variants.add(key)
        self._variants.labels(*key).inc()

    def count_other_shop(self) -> None:
        self._other_shop.inc()

    def count(self, decision: Decision) -> None:
        match decision:
            case Answered(reply=said, rule_id=rule_id):
                self._replied.inc()
                if said.variant:
                    self._count_variant(rule_id, said.variant)
            case HandedOver(reason=reason, reply=reply, rule_id=rule_id):
                if reply is not None and reply.variant:
                    self._count_variant(rule_id, reply.variant)
                self._handed[reply is not None, reason].inc()
            case Ignored(reason=ignored):
                self._ignored[ignored].inc()
            case _:
                assert_never(decision)
