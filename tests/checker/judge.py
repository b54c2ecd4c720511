"""All rules in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tests.checker import rules_records, rules_replies, rules_routing, rules_sla, rules_waiting
from tests.checker.log import Log, Settings, View
from tests.checker.records import Report, Violation

Rule = Callable[[View], Iterable[Violation]]

_RULES: Sequence[Rule] = (
    rules_records.archive,
    rules_routing.assignments,
    rules_routing.eligibility,
    rules_waiting.rest,
    rules_routing.paths,
    rules_sla.clocks,
    rules_records.dead_letters,
    rules_replies.outcomes,
    rules_replies.over_an_agents_head,
    rules_records.outputs,
)

OF_ROUTING: Sequence[Rule] = (
    rules_routing.assignments,
    rules_routing.eligibility,
    rules_waiting.rest,
    rules_routing.paths,
    rules_records.outputs,
)
"""Those for a log in which the router alone ran and somebody else wrote what it reads."""


def check(log: Log, settings: Settings, rules: Sequence[Rule] = _RULES) -> Report:
    """Judge ``log``; what is found stands in the report, in the order of the rules."""
    view = View(log, settings)
    report = Report(counts=rules_records.counts(view))
    for rule in rules:
        report.violations.extend(rule(view))
    return report
