"""What a candidate would have done differently: groups of recorded rows → figures and lists. Pure.

Each function gives plain values, as they stand in ``--json``. Shares are of the row above them, 0..1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

_LISTED: Final = 50
"""Differences listed, the most frequent first; what is left off is counted."""


class RulesGroup(NamedTuple):
    """Messages with the same words on both sides."""

    tried: str
    verdict: str | None
    live_outcome: str | None
    live_reason: str | None
    live_rule_id: str | None
    live_entry_id: str | None
    outcome: str
    reason: str | None
    rule_id: str | None
    entry_id: str | None
    kind: str | None
    n: int
    live_text: str | None
    text: str | None
    examples: Sequence[str]
    """``conversation message``, the newest first."""


class Choice(NamedTuple):
    agreement: str
    live_rule: str
    rule: str
    live_step: int
    step: int
    live_priority: int
    priority: int
    n: int
    examples: Sequence[str]


class Load(NamedTuple):
    """How many conversations an agent got, and would have got."""

    agent_id: str
    live: int
    candidate: int


class ClockGroup(NamedTuple):
    metric: str
    live_state: str | None
    candidate_state: str | None
    live_policy: str | None
    candidate_policy: str | None
    live_target_s: float | None
    candidate_target_s: float | None
    n: int
    examples: Sequence[str]


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def counted(counts: Counter[str], order: Iterable[str] = ()) -> dict[str, dict[str, float]]:
    """Name → count and share; those of ``order`` always, and first."""
    whole = counts.total()
    names = [*order, *sorted(counts.keys() - set(order))]
    return {name: {"count": counts[name], "share": share(counts[name], whole)} for name in names}


def compare_rules(groups: Iterable[RulesGroup]) -> dict[str, Any]:
    groups = sorted(groups, key=lambda group: (-group.n, *(str(field) for field in group[:11])))
    beside = [group for group in groups if group.tried == "candidate"]
    alone = [group for group in groups if group.tried == "shop"]
    differing = [group for group in beside if group.verdict != "same"]
    return {
        "candidate": {
            "messages": sum(group.n for group in beside),
            "verdicts": counted(_sums(beside, "verdict"), ("same", "gained", "lost", "changed")),
            "answered": {
                "live": sum(group.n for group in beside if group.live_outcome == "reply"),
                "candidate": sum(group.n for group in beside if group.outcome == "reply"),
            },
            "differences": [_difference(group) for group in differing[:_LISTED]],
            "left_off": max(0, len(differing) - _LISTED),
        },
        "shop": {
            "messages": sum(group.n for group in alone),
            "outcomes": counted(_sums(alone, "outcome"), ("reply", "both", "handover", "ignored")),
            "by_rule": [
                {"count": group.n, **_word(group, live=False)} for group in alone if group.outcome != "ignored"
            ][:_LISTED],
        },
    }


def _sums(groups: Iterable[Any], field: str) -> Counter[str]:
    sums: Counter[str] = Counter()
    for group in groups:
        sums[getattr(group, field)] += group.n
    return sums


def _difference(group: RulesGroup) -> dict[str, Any]:
    return {
        "verdict": group.verdict,
        "count": group.n,
        "live": _word(group, live=True),
        "candidate": _word(group, live=False),
        "examples": list(group.examples),
    }


def _word(group: RulesGroup, *, live: bool) -> dict[str, Any]:
    fields = ("outcome", "reason", "rule_id", "entry_id", "text")
    values = {field: getattr(group, f"live_{field}" if live else field) for field in fields}
    return {field: value for field, value in values.items() if value is not None}


def compare_routing(groups: Iterable[Choice], loads: Iterable[Load]) -> dict[str, Any]:
    groups = sorted(groups, key=lambda group: (-group.n, *group[:7]))
    differing = [group for group in groups if group.agreement != "same"]
    assigned = [group for group in groups if group.agreement != "earlier"]
    same = sum(group.n for group in groups if group.agreement == "same")
    decisions = sum(group.n for group in assigned)
    return {
        "decisions": decisions,
        "agreement": share(same, decisions),
        "agreements": counted(_sums(assigned, "agreement"), ("same", "other_agent", "waits")),
        "earlier": sum(group.n for group in groups if group.agreement == "earlier"),
        "differences": [_plain(group) for group in differing[:_LISTED]],
        "left_off": max(0, len(differing) - _LISTED),
        "agents": [load._asdict() for load in loads],
    }


def compare_clocks(groups: Iterable[ClockGroup]) -> dict[str, Any]:
    """Clocks open on either side are counted and not compared: their last word is still to come."""
    # Both absent: a late record took the clock back on both sides.
    groups = [group for group in groups if group.live_state is not None or group.candidate_state is not None]
    groups.sort(key=lambda group: (-group.n, *(str(field) for field in group[:7])))
    ended = [group for group in groups if "open" not in (group.live_state, group.candidate_state)]
    differing = [group for group in ended if group.live_state != group.candidate_state]
    metrics = sorted({group.metric for group in ended})
    return {
        "clocks": sum(group.n for group in ended),
        "open": sum(group.n for group in groups) - sum(group.n for group in ended),
        "breaches": _breaches(ended),
        "by_metric": {metric: _breaches([group for group in ended if group.metric == metric]) for metric in metrics},
        "differences": [_plain(group) for group in differing[:_LISTED]],
        "left_off": max(0, len(differing) - _LISTED),
    }


def _plain(group: Choice | ClockGroup) -> dict[str, Any]:
    fields = group._asdict() | {"examples": list(group.examples)}
    return {"count": fields.pop("n"), **{name: value for name, value in fields.items() if value is not None}}


def _breaches(groups: Sequence[ClockGroup]) -> dict[str, float]:
    live = sum(group.n for group in groups if group.live_state == "breached")
    candidate = sum(group.n for group in groups if group.candidate_state == "breached")
    both = sum(group.n for group in groups if group.live_state == group.candidate_state == "breached")
    whole = sum(group.n for group in groups)
    return {
        "clocks": whole,
        "live": live,
        "candidate": candidate,
        "gained": candidate - both,
        "lost": live - both,
        "live_share": share(live, whole),
        "candidate_share": share(candidate, whole),
    }
