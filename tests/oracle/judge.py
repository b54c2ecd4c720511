"""What the oracle says of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.checker import Settings, Violation, stories
from tests.checker.log import Log, View
from tests.checker.records import SECOND, SLA
from tests.checker.rules_sla import clocks
from tests.checker.validity import parse_time

_ENOUGH = 3
"""Stories told of one kind."""


@dataclass
class Verdict:
    violations: list[Violation] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    conversations: int = 0
    records: int = 0
    duplicates: int = 0
    stories: str = ""

    @property
    def right(self) -> bool:
        return not self.violations


def judge(log: Log, settings: Settings) -> Verdict:
    view = View(log, settings)
    found = list(clocks(view))
    verdict = Verdict(found, conversations=len(view.conversations), records=len(log.records))
    verdict.duplicates = sum(event.record.topic != SLA for event, _ in view.duplicates)
    for conversation in view.conversations.values():
        for event in conversation.of(SLA):
            verdict.told[event.type.removeprefix("sla.").removesuffix(".v1")] += 1
            if event.type == "sla.breached.v1":
                early = parse_time(event.data["due_at"]) + settings.lateness - event.time
                if early > 0:
                    what = f"{event.subject}: {early / SECOND:.3f} s before it may be told"
                    found.append(Violation("6", "told_too_early", what, event.where))
    verdict.records -= sum(verdict.told.values())
    if found:
        verdict.stories = stories(log, settings, found, _ENOUGH)
    return verdict
