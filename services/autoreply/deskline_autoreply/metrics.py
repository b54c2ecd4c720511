"""What autoreply counts beside the engine's own figures. Children are looked up once."""

from collections.abc import Iterable
from typing import Final, assert_never

from prometheus_client import CollectorRegistry, Counter, Histogram

from deskline.clock import SECOND
from deskline.config.rules_document import AutoreplyRule
from deskline.records import Event
from deskline_autoreply.model import Answered, Decision, HandedOver, Ignore, Ignored, Outcome, Reason
from deskline_autoreply.policy.shadow import ShadowDecision, Tried, Verdict

_MOST_VARIANTS: Final = 200
# Of a shop in shadow, beside the verdicts on a candidate.
_ANSWERED, _LEFT = "answered", "left"
CHANNELS: Final = ("web", "app", "wechat", "chat", "email", "other")
"""Channels are free words of the gateway: the usual ones have a label of their own, the rest share one."""
# From what a broker and a unit of work take, through the 3 s after which the router takes an undecided message as
# silence, to the minute after which a reply is no longer delivered. Beyond: a backlog.
DELAY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)


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

        delays = Histogram(
            "deskline_message_delay_seconds",
            "How old a customer's message is: from its time to the broker's (to_broker), from there to the decision on it "
            "(to_decision); a redone unit of work counts again",
            ["stage", "channel"],
            buckets=DELAY_BUCKETS,
            registry=registry,
        )
        self._delays: Final = {
            channel: (delays.labels("to_broker", channel), delays.labels("to_decision", channel))
            for channel in CHANNELS
        }

        shadow = Counter(
            "deskline_autoreply_shadow_decisions",
            "Messages on which rules were tried in shadow: a candidate against what was done, or a shop that sends nothing "
            "(answered, left to people); a redone unit of work counts again",
            ["kind", "agreement"],
            registry=registry,
        )
        self._shadow: Final = {
            (tried, word): shadow.labels(tried.value, word)
            for tried, words in ((Tried.CANDIDATE, tuple(Verdict)), (Tried.SHOP, (_ANSWERED, _LEFT)))
            for word in map(str, words)
        }
        self._variants = Counter(
            "deskline_autoreply_variants",
            f"Replies of rules with several variants, for the first {_MOST_VARIANTS} of them; a redone unit of work counts again",
            ["rule_id", "variant"],
            registry=registry,
        )
        self._known_variants: set[tuple[str, str]] = set()

    def foresee(self, rules: Iterable[AutoreplyRule]) -> None:
        """Show the variants of these rules at 0 before the first reply of each."""
        for rule in rules:
            for text in () if rule.reply is None else rule.reply.texts:
                if text.variant:
                    self._variant(rule.rule_id, text.variant)

    def _variant(self, rule_id: str | None, variant: str) -> Counter:
        """What came of each is in the table ``hits``; here is what goes out, and no more series than an operator can look at."""
        key = (rule_id or "", variant)
        if key not in self._known_variants:
            if len(self._known_variants) >= _MOST_VARIANTS:
                key = ("other", "other")
            self._known_variants.add(key)
        return self._variants.labels(*key)

    def count_shadow(self, row: ShadowDecision) -> None:
        if row.verdict is not None:
            self._shadow[row.tried, row.verdict.value].inc()
        else:
            self._shadow[row.tried, _ANSWERED if row.would.outcome == Outcome.REPLY else _LEFT].inc()

    def count_other_shop(self) -> None:
        self._other_shop.inc()

    def delayed(self, event: Event, now: int) -> None:
        """``now``: the instant of the decision on this message, µs. Clocks differ by a little: an age is never negative.

        A ``time`` that was not believed (contract §1) says nothing about the way to the broker.
        """
        channel = event.data.channel
        to_broker, to_decision = self._delays[channel if channel in self._delays else "other"]
        if not event.retimed:
            to_broker.observe(max(0, event.broker_at - event.at) / SECOND)
        to_decision.observe(max(0, now - event.broker_at) / SECOND)

    def count(self, decision: Decision) -> None:
        match decision:
            case Answered(reply=said, rule_id=rule_id):
                self._replied.inc()
                if said.variant:
                    self._variant(rule_id, said.variant).inc()
            case HandedOver(reason=reason, reply=reply, rule_id=rule_id):
                if reply is not None and reply.variant:
                    self._variant(rule_id, reply.variant).inc()
                self._handed[reply is not None, reason].inc()
            case Ignored(reason=ignored):
                self._ignored[ignored].inc()
            case _:
                assert_never(decision)
