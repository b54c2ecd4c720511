"""What sla counts beside the engine's own figures. Children are looked up once."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Metric

from deskline.clock import SECOND, rfc3339
from deskline.ids import clock_id
from deskline.report.platform import PlatformShare
from deskline_sla.model import FOREVER, METRICS, Clock, Nudge, ShadowClock, Telling, Word

TIERS: Final = ("vip", "regular", "new", "other")
"""Tiers are free words of the gateway: those of the contract have a label of their own, the rest share one."""
AGREEMENTS: Final = ("same", "gained", "lost", "other")
"""Gained: breached by the candidate alone; lost: by the policy in force alone."""
REMINDERS: Final = ("unread", "unanswered")
# Every default target (30, 180, 300, 172 800) is a boundary, and so are its warnings at 50 and 80 %, and the 60 s that the
# mean is meant to stay below; a share "within its target" is then exact. Those of the shops in examples/ are, too. Beyond: a day for resolution.
ANSWER_BUCKETS: Final = (
    1, 5, 10, 15, 24, 30, 45, 60, 90, 120, 144, 150, 180, 240, 300, 600, 1800, 3600, 14_400, 28_800, 86_400, 138_240, 172_800,
)  # fmt: skip
# The promises are 50 ms (p99, caught up) and 1 s (the herd at opening); above, how far behind a service was.
_LATENESS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)


class _Seen(NamedTuple):
    """What is observed of a clock, kept until its unit of work is durable: an answer, or how late a breach was told."""

    seconds: float
    subject: str
    clock: Clock

    def exemplar(self) -> dict[str, str]:
        clock = self.clock
        return {"clock_id": clock_id(self.subject, METRICS[clock.metric], rfc3339(clock.started_at), clock.complaint)}


class Tally:
    """Counts what was decided; shown when the unit of work that decided it is durable."""

    def __init__(self, registry: CollectorRegistry) -> None:
        told = Metric("deskline_sla_told", "Events told, committed.", ["metric", "tier", "type"], registry=registry)
        self._children: Final = {
            (number, tier, word): told.labels(metric, tier, word.value)
            for number, metric in enumerate(METRICS)
            for tier in TIERS
            for word in Word
        }
        answers = Histogram(
            "deskline_sla_answer_seconds",
            "Counted time of the clocks that were met.",
            ["metric"],
            buckets=ANSWER_BUCKETS,
            registry=registry,
        )
        self._answers: Final = [answers.labels(metric) for metric in METRICS]
        self._lateness: Final = Histogram(
            "deskline_sla_breach_lateness_seconds",
            "From the instant at which a breach may be told (its due instant and the allowed lateness) to its telling.",
            buckets=_LATENESS_BUCKETS,
            registry=registry,
        )
        reminders = Metric("deskline_sla_reminders", "Reminders told, committed.", ["kind"], registry=registry)
        self._reminders: Final = {kind: reminders.labels(kind) for kind in REMINDERS}
        self._reminded: Counter[str] = Counter()
        shadow = Metric(
            "deskline_sla_shadow_clocks",
            "Clocks with a last word by the policy in force and by the candidate in shadow, committed; told again, it counts again.",
            ["metric", "agreement"],
            registry=registry,
        )
        self._shadow: Final = {
            (metric, agreement): shadow.labels(metric, agreement) for metric in METRICS for agreement in AGREEMENTS
        }
        self._compared: Counter[tuple[str, str]] = Counter()
        self._platform: Final = tuple(
            Metric(f"deskline_platform_{name}", text, registry=registry)
            for name, text in (
                ("conversations", "Closed conversations that count in the platform's own measure."),
                (
                    "in_time",
                    "What they count: 1 each where every round was answered inside 180 s, by the shop's reading.",
                ),
                ("late", "Those with a late round."),
                ("unassigned", "Closed conversations that no agent had."),
            )
        )
        self._measured: list[PlatformShare] = []
        self._decided: Counter[tuple[int, str, Word]] = Counter()
        self._answered: Final[list[list[_Seen]]] = [[] for _ in METRICS]
        self._late: list[_Seen] = []

    def add(self, tellings: Iterable[Telling], subject: str, now: int, lateness_us: int) -> None:
        for telling in tellings:
            about = telling.about
            self._decided[about.metric, about.tier if about.tier in TIERS else "other", telling.word] += 1
            if not isinstance(about, Clock):
                continue
            if telling.word is Word.MET:
                self._answered[about.metric].append(_Seen(telling.elapsed / SECOND, subject, about))
            elif telling.word is Word.BREACHED:
                told_from = (about.runs_on if about.runs_on < FOREVER else about.due) + lateness_us
                self._late.append(_Seen(max(0, now - told_from) / SECOND, subject, about))

    def remind(self, nudges: Iterable[Nudge]) -> None:
        self._reminded.update(nudge.kind for nudge in nudges)

    def compare(self, clock: ShadowClock) -> None:
        live, candidate = clock.live, clock.candidate
        states = (live and live.state, candidate and candidate.state)
        if "open" in states or states == (None, None):
            return  # the last word is still to come, or a late record took the clock back on both sides
        breached = (states[0] == "breached", states[1] == "breached")
        agreement = (
            "same"
            if states[0] == states[1]
            else {(True, False): "lost", (False, True): "gained"}.get(breached, "other")
        )
        self._compared[clock.metric, agreement] += 1

    def measure(self, shares: Iterable[PlatformShare]) -> None:
        self._measured.extend(shares)

    def committed(self) -> None:
        for share in self._measured:
            for counter, value in zip(self._platform, share, strict=True):
                counter.inc(value)
        for about, count in self._compared.items():
            self._shadow[about].inc(count)
        for kind, count in self._reminded.items():
            self._reminders[kind].inc(count)
        for key, count in self._decided.items():
            self._children[key].inc(count)
        for answers, answered in zip(self._answers, self._answered, strict=True):
            _observe(answers, ANSWER_BUCKETS, answered)
        _observe(self._lateness, _LATENESS_BUCKETS, self._late)
        self.aborted()

    def aborted(self) -> None:
        self._decided.clear()
        self._reminded.clear()
        self._measured.clear()
        self._compared.clear()
        for answered in self._answered:
            answered.clear()
        self._late.clear()


def _observe(histogram: Histogram, buckets: Sequence[float], seen: Sequence[_Seen]) -> None:
    """A bucket keeps the exemplar that it saw last: the names of the others need not be made."""
    last = {bisect_left(buckets, one.seconds): one for one in seen}
    for one in seen:
        shown = last[bisect_left(buckets, one.seconds)] is one
        histogram.observe(one.seconds, one.exemplar() if shown else None)


class OverdueGauges:
    """Clocks that are breached and not stopped, of this instance's lanes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        clocks = Gauge(
            "deskline_sla_overdue_clocks",
            "Breached clocks that nobody has stopped (share).",
            ["metric"],
            registry=registry,
        )
        age = Gauge(
            "deskline_sla_overdue_age_seconds",
            "For how long, in the hours that count for it, the oldest of them has been due; 0 without one (worst).",
            ["metric"],
            registry=registry,
        )
        self._children: Final = {metric: (clocks.labels(metric), age.labels(metric)) for metric in METRICS}

    def show(self, found: Mapping[str, tuple[int, int]]) -> None:
        """``found``: metric → (clocks, for how long the oldest of them has been due, µs)."""
        for metric, (clocks, age) in self._children.items():
            count, age_us = found.get(metric, (0, 0))
            clocks.set(count)
            age.set(age_us / SECOND)
