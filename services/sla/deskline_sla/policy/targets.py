"""Which target a clock gets (contract §5 *Targets*): the first row that matches and names the metric, else the default."""

from typing import Final, NamedTuple

from deskline.config.documents import SlaCondition, SlaPolicies, SlaPolicy
from deskline_sla.model import METRICS, Case, Metric

DEFAULT_POLICY: Final = "default"
"""``policy_id`` of a clock that runs on the contract's default target."""

DEFAULTS: Final[dict[Metric, float]] = {
    Metric.INSTANT_REPLY: 30.0,
    Metric.AGENT_RESPONSE: 180.0,
    Metric.NEXT_RESPONSE: 180.0,
    Metric.TRANSFER_RESPONSE: 300.0,
    Metric.RESOLUTION: 0.0,
    Metric.COMPLAINT_CLOSURE: 48 * 3600.0,
}
"""Seconds; 0: no clock."""

_WALL_TIME: Final = frozenset({Metric.INSTANT_REPLY, Metric.COMPLAINT_CLOSURE})


class Target(NamedTuple):
    seconds: float
    policy_id: str


def counts_hours(document: SlaPolicies, metric: Metric) -> bool:
    """Whether the metric counts the shop's hours; else it counts wall time."""
    if metric is Metric.COMPLAINT_CLOSURE:
        return document.complaints_count == "open_hours"
    return metric not in _WALL_TIME


def choose(document: SlaPolicies, metric: Metric, case: Case) -> Target | None:
    """None: no clock."""
    name = METRICS[metric]
    target = Target(DEFAULTS[metric], DEFAULT_POLICY)
    for row in document.policies:
        if name in row.targets and matches(row.when, case):
            target = Target(row.targets[name] or 0.0, row.policy_id)
            break
    return target if target.seconds > 0 else None


def actions_on_warning(document: SlaPolicies, policy_id: str, threshold: float) -> tuple[str, ...]:
    """What the warning at ``threshold`` asks for: what the row says, where it says anything, else the document."""
    row = _row(document, policy_id)
    stated = document.on_warning if row is None or row.on_warning is None else row.on_warning
    return next((warning.actions for warning in stated or () if warning.at == threshold), ())


def actions_on_breach(document: SlaPolicies, policy_id: str, breaches: int) -> tuple[str, ...]:
    """What a breach asks for that is the ``breaches``-th to stand in its conversation."""
    row = _row(document, policy_id)
    actions: tuple[str, ...] = (document.on_breach if row is None or row.on_breach is None else row.on_breach) or ()
    after = document.reassign_after if row is None or row.reassign_after is None else row.reassign_after
    if after is not None and breaches >= after and "reassign" not in actions:
        actions = (*actions, "reassign")
    return actions


def _row(document: SlaPolicies, policy_id: str) -> SlaPolicy | None:
    return next((row for row in document.policies if row.policy_id == policy_id), None)


def matches(when: SlaCondition, case: Case) -> bool:
    """An absent condition matches everything; where no message stated a channel, only an absent one does."""
    return (
        (when.tiers is None or case.tier in when.tiers)
        and (when.channels is None or case.channel in when.channels)
        and (when.min_priority is None or case.priority >= when.min_priority)
        and (when.max_priority is None or case.priority <= when.max_priority)
    )
