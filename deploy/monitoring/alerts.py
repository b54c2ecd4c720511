"""Alerting rules. Every alert has a section of its name in docs/operations/runbooks.md.

Labels that Alertmanager routes by: ``severity`` (critical: at any hour; warning: in opening hours; escalation: the next person
up; none: the watchdog), ``audience`` (desk: who leads the agents now; operators: who runs the machines), and for inhibition
``symptom`` with ``detector``: what only sla can see is worth nothing while sla is dead or behind.
"""

from typing import Any, Final

from deploy.monitoring.objectives import LEAST_CLOCKS, OBJECTIVES, WINDOWS, Objective, Window

RUNBOOKS: Final = "docs/operations/runbooks.md"
AGENTS: Final = "agent_response|next_response|transfer_response"
_DETECTOR: Final = {"detector": "sla"}
_SYMPTOM: Final = {"symptom": "true", **_DETECTOR}
_DAY: Final = 86_400


def _alert(
    name: str, expr: str, summary: str, *, severity: str, audience: str = "operators", for_: str = "", **labels: str
) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": name, "expr": expr}
    if for_:
        rule["for"] = for_
    rule["labels"] = {"severity": severity, "audience": audience, **labels}
    rule["annotations"] = {"summary": summary, "runbook_url": f"{RUNBOOKS}#{name.lower()}"}
    return rule


def _watching() -> list[dict[str, Any]]:
    """Of the alerting itself, and of what sees breaches."""
    return [
        _alert(
            "DesklineWatchdog",
            "vector(1)",
            "Always firing: where this stops coming, nothing else would come either.",
            severity="none",
        ),
        _alert(
            "DesklineDetectorAbsent",
            'absent(up{service="sla"} == 1)',
            "No instance of sla answers: breaches are told by nobody until it is back.",
            severity="critical",
            for_="1m",
            service="sla",
            **_DETECTOR,
        ),
        _alert(
            "DesklineDetectorStalled",
            'time() - min(deskline_watermark_timestamp_seconds{service="sla"}) > 30',
            "sla knows nothing newer than {{ $value | humanizeDuration }}: breaches are told late, none is lost.",
            severity="critical",
            for_="1m",
            service="sla",
            **_DETECTOR,
        ),
        *(
            _alert(
                "DesklineServiceAbsent",
                f'absent(up{{service="{service}"}} == 1)',
                f"No instance of {service} answers.",
                severity="critical",
                for_="1m",
                service=service,
            )
            for service in ("archive", "autoreply", "router")
        ),
        _alert(
            "DesklineUnattended",
            'max by (of, service) (label_replace(ALERTS{alertstate="firing",severity="critical"}, "of", "$1", "alertname", "(.*)"))',
            "{{ $labels.of }} has been firing for a quarter of an hour and nobody has ended it.",
            severity="escalation",
            audience="leads",
            for_="15m",
        ),
    ]


def _services() -> list[dict[str, Any]]:
    behind = 'time() - min by (service) (deskline_watermark_timestamp_seconds{service!="sla"}) > 60'
    return [
        _alert(
            "DesklineServiceNotReady",
            "sum by (service) (deskline_ready) == 0",
            "No instance of {{ $labels.service }} is ready.",
            severity="critical",
            for_="2m",
        ),
        _alert(
            "DesklineLanesUnowned",
            "sum by (service) (deskline_lanes) < max by (service) (deskline_lanes_expected)",
            "{{ $labels.service }}: only {{ $value }} partitions have an owner.",
            severity="critical",
            for_="3m",  # a rebalance takes up to one: the group's session and its rebalance time-out
        ),
        _alert(
            "DesklineLanesBlocked",
            "sum by (service) (deskline_lanes_blocked) > 0",
            "{{ $labels.service }} has stopped {{ $value }} partitions for a person to look at.",
            severity="critical",
        ),
        _alert(
            "DesklineConsumerLag",
            f"{behind} and on (service) sum by (service) (deskline_lag_records) > 0",
            "{{ $labels.service }} is {{ $value | humanizeDuration }} behind.",
            severity="warning",
            for_="5m",
        ),
        _alert(
            "DesklineTimerLag",
            "max by (service) (deskline_timer_overdue_seconds) > 5",
            "{{ $labels.service }}: the earliest timer has been due for {{ $value | humanizeDuration }}.",
            severity="critical",
            for_="1m",
        ),
        _alert(
            "DesklineBreachesToldLate",
            "histogram_quantile(0.99, sum by (le) (rate(deskline_sla_breach_lateness_seconds_bucket[10m]))) > 1",
            "One breach in a hundred is told more than {{ $value | humanizeDuration }} late.",
            severity="warning",
            for_="10m",
            service="sla",
        ),
        _alert(
            "DesklineMessagesDelayed",
            "histogram_quantile(0.99, sum by (le, stage, channel) (rate(deskline_message_delay_seconds_bucket[10m]))) > 3\n"
            "and sum by (stage, channel) (increase(deskline_message_delay_seconds_count[10m])) >= 20",
            "{{ $labels.channel }}: one message in a hundred takes more than {{ $value | humanizeDuration }} {{ $labels.stage }}.",
            severity="warning",
            for_="5m",
        ),
        _alert(
            "DesklineOutboxOld",
            "max by (service) (deskline_outbox_age_seconds) > 30",
            "{{ $labels.service }} has decided what Kafka has not taken for {{ $value | humanizeDuration }}.",
            severity="critical",
            for_="1m",
        ),
        _alert(
            "DesklineDeadLetters",
            "sum by (service) (increase(deskline_failed_total[15m])) > 0",
            "{{ $labels.service }} could not handle records or timers: a defect of ours.",
            severity="warning",
        ),
        _alert(
            "DesklineInvalidRecords",
            "sum by (reason) (increase(deskline_archive_invalid_records_total[15m])) > 0",
            "Records that are not valid come in: {{ $labels.reason }}.",
            severity="warning",
        ),
    ]


def _archive() -> list[dict[str, Any]]:
    loss = "deskline:archive_data_loss:timestamp_seconds - time()"
    text = "Kafka deletes records of {{ $labels.topic }} that are not archived in {{ $value | humanizeDuration }}."
    return [
        _alert("DesklineArchiveLossNear", f"{loss} < {7 * _DAY}", text, severity="warning", for_="5m"),
        _alert("DesklineArchiveLossImminent", f"{loss} < {2 * _DAY}", text, severity="critical", for_="5m"),
        _alert(
            "DesklineArchiveDaysMissing",
            "min(deskline_archive_days_ahead) < 3",
            "The archive has partitions for {{ $value }} more days.",
            severity="critical",
            for_="10m",  # a service that starts has made none yet
        ),
        _alert(
            "DesklineArchiveUnsealed",
            f"max(deskline_archive_unsealed_age_seconds) > {3 * 3600}",
            "Archived records have had no seal for {{ $value | humanizeDuration }}.",
            severity="warning",
            for_="10m",
        ),
        _alert(
            "DesklineArchiveDrillOld",
            f"time() - max(deskline_archive_last_drill_timestamp_seconds) > {8 * _DAY}",
            "No backup of the archive has been restored and found whole for {{ $value | humanizeDuration }}.",
            severity="warning",
            for_="1h",
        ),
        _alert(
            "DesklineArchiveKeepingFailed",
            "max by (task) (deskline_archive_keeping_failed) > 0",
            "The archive's {{ $labels.task }} fails by something that a person has to mend.",
            severity="warning",
            for_="10m",
        ),
    ]


def _customers() -> list[dict[str, Any]]:
    age = f'max by (metric) (deskline_sla_overdue_age_seconds{{metric=~"{AGENTS}"}})'
    return [
        _alert(
            "DesklineConversationsOverdue",
            f"{age} > 120",
            "Somebody waits for {{ $labels.metric }}, overdue for {{ $value | humanizeDuration }}.",
            severity="warning",
            audience="desk",
            for_="1m",
            **_SYMPTOM,
        ),
        _alert(
            "DesklineConversationsOverdueLong",
            f"{age} > 900",
            "Somebody waits for {{ $labels.metric }}, overdue for {{ $value | humanizeDuration }}.",
            severity="escalation",
            audience="leads",
            for_="1m",
            **_SYMPTOM,
        ),
        _alert(
            "DesklineComplaintOverdue",
            'sum(deskline_sla_overdue_clocks{metric="complaint_closure"}) > 0',
            "{{ $value }} complaints are past their time and not closed.",
            severity="critical",
            audience="desk",
            **_SYMPTOM,
        ),
        _alert(
            "DesklineQueueStuck",
            "max(deskline_router_last_step_requests) > 0",
            "{{ $value }} requests wait at their last step: nothing more will be relaxed for them.",
            severity="warning",
            audience="desk",
            for_="10m",
        ),
        _alert(
            "DesklineCalendarHorizon",
            f"min(deskline_calendar_horizon_timestamp_seconds) - time() < {30 * _DAY}",
            "In {{ $value | humanizeDuration }} a calendar no longer knows its holidays: deadlines beyond are guesses.",
            severity="warning",
        ),
    ]


def burn(objective: Objective, window: Window) -> dict[str, Any]:
    """Both windows above the factor, enough clocks for a statement, and the budget share really gone.

    The last condition counts clocks rather than hours: a window that reaches back over closed hours, or over a quiet morning,
    uses up as little of the budget as it had traffic. Where four weeks are not yet recorded it holds more easily.
    """
    name = f'{{objective="{objective.name}"}}'
    limit = f"{window.error_ratio(objective):g}"
    spent = f"{window.budget_share * objective.budget:g}"
    expr = (
        f"deskline:sla_missed:ratio{window.long}{name} > {limit}\n"
        f"and deskline:sla_missed:ratio{window.short}{name} > {limit}\n"
        f"and deskline:sla_clocks:increase{window.long}{name} >= {LEAST_CLOCKS}\n"
        f"and deskline:sla_missed:increase{window.long}{name} > {spent} * deskline:sla_clocks:increase28d{name}"
    )
    return _alert(
        f"DesklineObjectiveBurn{window.name.title()}",
        expr,
        f"{{{{ $value | humanizePercentage }}}} of the {objective.what} in {window.long} came too late: {window.budget_share:.0%} of "
        "what four weeks allow is gone.",
        severity=window.severity,
        audience="desk",
        for_=window.for_,
        objective=objective.name,
        **_SYMPTOM,
    )


def groups() -> list[dict[str, Any]]:
    burns = [burn(objective, window) for objective in OBJECTIVES for window in WINDOWS]
    return [
        {"name": "deskline-watching", "rules": _watching()},
        {"name": "deskline-services", "rules": _services()},
        {"name": "deskline-archive", "rules": _archive()},
        {"name": "deskline-customers", "rules": _customers()},
        {"name": "deskline-objectives", "rules": burns},
    ]


def names() -> list[str]:
    """Every alert, once."""
    return list(dict.fromkeys(rule["alert"] for group in groups() for rule in group["rules"]))
