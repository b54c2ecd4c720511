"""Grafana dashboards as data: a panel is a title, queries and a unit; where it stands follows from its place in the list.

Queries use no variables but the data source, so that a test can put every one of them to a live Prometheus.
"""

from dataclasses import dataclass
from typing import Any, Final

from deploy.monitoring.objectives import OBJECTIVES
from deskline.topics import load

_WIDTH: Final = 8
_HEIGHT: Final = 8
_DATA_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    queries: tuple[tuple[str, str], ...]
    """(PromQL, legend)"""
    unit: str
    says: str
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    panels: tuple[Panel, ...]


def _quantiles(histogram: str, by: str = "") -> tuple[tuple[str, str], ...]:
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (
            f"histogram_quantile({share}, sum by (le{', ' + by if by else ''}) (rate({histogram}_bucket[5m])))",
            f"{legend}p{share * 100:g}",
        )
        for share in (0.5, 0.99)
    )


CUSTOMERS: Final = Dashboard(
    "deskline-customers",
    "deskline: what customers meet",
    (
        Panel("Attained, four weeks", (("deskline:sla_attained:ratio28d", "{{objective}}"),), "percentunit",
              "Share of clocks met; objectives: " + ", ".join(f"{o.name} {o.share:.0%}" for o in OBJECTIVES) + ".", "stat"),
        Panel("Overdue now", (("sum by (metric) (deskline_sla_overdue_clocks)", "{{metric}}"),), "short",
              "Breached clocks that nobody has stopped.", "stat"),
        Panel("Longest overdue", (("max by (metric) (deskline_sla_overdue_age_seconds)", "{{metric}}"),), "s",
              "In the hours that count. Alerts from 120 s on, to the next person up from 900 s."),
        Panel("Missed, one hour", (("deskline:sla_missed:ratio1h", "{{objective}}"),), "percentunit",
              "Share of the clocks that ended in the last hour; none where there were none."),
        Panel("Breaches by metric", (
            ('sum by (metric) (increase(deskline_sla_told_total{type="sla.breached.v1"}[5m]))', "{{metric}}"),), "short",
              "Told in five minutes."),
        Panel("Breaches by tier", (
            ('sum by (tier) (increase(deskline_sla_told_total{type="sla.breached.v1"}[5m]))', "{{tier}}"),), "short",
              "Told in five minutes."),
        Panel("Retracted", (('sum(increase(deskline_sla_told_total{type="sla.breach_retracted.v1"}[1h]))', "retracted"),), "short",
              "Breaches that a late event took back, in an hour."),
        Panel("The platform's measure, a day", (
            ("sum(increase(deskline_platform_in_time_total[1d])) / sum(increase(deskline_platform_conversations_total[1d]))",
             "answered inside 180 s"),), "percentunit",
              "Closed conversations, 08:00:00 to 22:59:59; one late round, or nobody, and it counts zero. deskline report is exact.", "stat"),
        Panel("Reminders", (("sum by (kind) (increase(deskline_sla_reminders_total[1h]))", "{{kind}}"),), "short",
              "Told to owners, in an hour."),
        Panel("Time to answer", _quantiles("deskline_sla_answer_seconds", "metric"), "s",
              "Counted time of the clocks that were met; targets are boundaries of the buckets."),
        Panel("Delay of messages", (
            ("histogram_quantile(0.99, sum by (le, stage, channel) (rate(deskline_message_delay_seconds_bucket[5m])))",
             "{{channel}} {{stage}} p99"),), "s",
              "From the sender to the broker, and from there to the decision. From 3 s on the router takes it as silence."),
        Panel("Waiting for an agent", (
            ("max(deskline_router_waiting_requests)", "waiting"),
            ("max(deskline_router_last_step_requests)", "at the last step")), "short", "Requests without an assignment."),
        Panel("Agents", (
            ("max(deskline_router_online_agents)", "online"),
            ("max(deskline_router_live_assignments)", "assignments")), "short", "As the router sees them, all shops."),
        Panel("Outcomes of messages", (
            ("sum by (outcome) (rate(deskline_autoreply_decisions_total[5m]))", "{{outcome}}"),), "ops",
              "What autoreply decided, a second."),
    ),
)  # fmt: skip

ENGINE: Final = Dashboard(
    "deskline-engine",
    "deskline: services",
    (
        Panel("Ready", (("sum by (service) (deskline_ready)", "{{service}}"),), "short", "Instances that are ready.", "stat"),
        Panel("Lanes", (
            ("sum by (service) (deskline_lanes)", "{{service}} owned"),
            ("max by (service) (deskline_lanes_expected)", "{{service}} expected")), "short", "Partitions with an owner.", "stat"),
        Panel("Stopped lanes", (("sum by (service) (deskline_lanes_blocked)", "{{service}}"),), "short",
              "Stopped for a person to look at.", "stat"),
        Panel("Records", (("sum by (service) (rate(deskline_records_total[5m]))", "{{service}}"),), "ops", "Consumed, a second."),
        Panel("Lag", (("sum by (service) (deskline_lag_records)", "{{service}}"),), "short", "Records not yet consumed."),
        Panel("Age of the news", (
            ("time() - min by (service) (deskline_watermark_timestamp_seconds)", "{{service}}"),), "s",
              "How old the oldest watermark is."),
        Panel("Units of work", _quantiles("deskline_unit_seconds", "service"), "s", "From the start to the commit."),
        Panel("Timers due", (("max by (service) (deskline_timer_overdue_seconds)", "{{service}}"),), "s",
              "For how long the earliest timer has been due."),
        Panel("Lateness of breaches", _quantiles("deskline_sla_breach_lateness_seconds"), "s",
              "From the instant at which a breach may be told to its telling."),
        Panel("Outbox", (("max by (service) (deskline_outbox_age_seconds)", "{{service}}"),), "s",
              "Age of the oldest decision that Kafka has not taken."),
        Panel("Event loop", (("max by (service) (deskline_event_loop_lag_seconds)", "{{service}}"),), "s",
              "Worst delay of the last 15 s."),
        Panel("Failed for good", (("sum by (service) (increase(deskline_failed_total[1h]))", "{{service}}"),), "short",
              "Records and timers, in an hour: defects of ours."),
        Panel("Memory", (('sum by (service) (process_resident_memory_bytes{service!=""})', "{{service}}"),), "bytes", "Resident."),
        Panel("CPU", (('sum by (service) (rate(process_cpu_seconds_total{service!=""}[5m]))', "{{service}}"),), "percentunit",
              "Of one core."),
    ),
)  # fmt: skip

ARCHIVE: Final = Dashboard(
    "deskline-archive",
    "deskline: archive and dead letters",
    (
        Panel("Time to data loss", (("deskline:archive_data_loss:timestamp_seconds - time() < +Inf", "{{topic}}"),), "s",
              "Until Kafka deletes what is not archived; topics that are kept for ever have none. Kept: "
              + ", ".join(sorted({f"{t.retention_ms // 86_400_000} d" for t in load() if t.retention_ms > 0})) + "."),
        Panel("Days prepared", (("min(deskline_archive_days_ahead)", "days"),), "d", "After today, with their partition.", "stat"),
        Panel("Nearest loss by partition", (
            ("bottomk(5, min by (topic, partition) (deskline_archive_time_to_loss_seconds < +Inf))", "{{topic}}/{{partition}}"),), "s",
              "As the archive sees it: archived position against the log's start and its retention."),
        Panel("Last good drill", (("time() - max(deskline_archive_last_drill_timestamp_seconds)", "ago"),), "s", "A backup restored and found whole.", "stat"),
        Panel("Unsealed for", (("max(deskline_archive_unsealed_age_seconds)", "longest"),), "s", "Sealed hourly, or when a segment is full."),
        Panel("Records stored", (("sum by (topic) (rate(deskline_archive_records_total[5m]))", "{{topic}}"),), "ops", "A second."),
        Panel("Bytes stored", (("sum by (topic) (rate(deskline_archive_value_bytes_total[5m]))", "{{topic}}"),), "Bps", "Values."),
        Panel("Invalid records", (
            ("sum by (reason) (increase(deskline_archive_invalid_records_total[1h]))", "{{reason}}"),), "short",
              "In an hour; each has its dead letter."),
        Panel("Times that were not believed", (("sum(increase(deskline_archive_retimed_records_total[1h]))", "records"),), "short",
              "Too far from the broker's: the broker's counts."),
        Panel("Holes in topics", (("sum by (service, topic) (increase(deskline_offset_gaps_total[1h]))", "{{service}} {{topic}}"),),
              "short", "Offsets that the broker did not deliver."),
        Panel("Calendars known", (("min(deskline_calendar_horizon_timestamp_seconds) - time() < +Inf", "left"),), "s",
              "Until the first calendar no longer knows its holidays.", "stat"),
    ),
)  # fmt: skip

DASHBOARDS: Final = (CUSTOMERS, ENGINE, ARCHIVE)


def queries() -> list[tuple[str, str]]:
    """(dashboard and panel, PromQL) of every query there is."""
    return [
        (f"{board.uid}: {panel.title}", expr)
        for board in DASHBOARDS
        for panel in board.panels
        for expr, _ in panel.queries
    ]


def render(board: Dashboard) -> dict[str, Any]:
    """Grafana's JSON model."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["deskline"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(board.panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, 24 // _WIDTH)
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _DATA_SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATA_SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "exemplar": "_bucket" in expr,
            }
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }
