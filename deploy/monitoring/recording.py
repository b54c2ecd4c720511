"""Recording rules: names are ``level:metric:operation``, as Prometheus advises."""

from typing import Any, Final

from deploy.monitoring.objectives import OBJECTIVES, WINDOWS, Objective

SPANS: Final = tuple(dict.fromkeys(span for window in WINDOWS for span in (window.long, window.short)))
PERIOD: Final = "28d"


def _told(objective: Objective, kind: str, span: str) -> str:
    metrics = "|".join(objective.metrics)
    return f'sum(increase(deskline_sla_told_total{{metric=~"{metrics}",type="sla.{kind}.v1"}}[{span}]))'


def _of(objective: Objective, span: str) -> list[dict[str, Any]]:
    # A breach that a late event takes back is retracted and then told as what it was: it is no miss, and no clock twice.
    missed = f"clamp_min({_told(objective, 'breached', span)} - {_told(objective, 'breach_retracted', span)}, 0)"
    labels = {"objective": objective.name}
    name = "deskline:sla_clocks"
    return [
        {"record": f"deskline:sla_missed:increase{span}", "expr": missed, "labels": labels},
        {
            "record": f"{name}:increase{span}",
            "expr": f'deskline:sla_missed:increase{span}{{objective="{objective.name}"}} '
            f"+ ignoring (objective) {_told(objective, 'met', span)}",
            "labels": labels,
        },
    ]


def groups() -> list[dict[str, Any]]:
    spans = [rule for span in SPANS for objective in OBJECTIVES for rule in _of(objective, span)]
    ratios: list[dict[str, Any]] = [
        {
            "record": f"deskline:sla_missed:ratio{span}",
            # Nothing decided is no ratio: a silent night has none, rather than a bad one or a good one.
            "expr": f"deskline:sla_missed:increase{span} / (deskline:sla_clocks:increase{span} > 0)",
        }
        for span in SPANS
    ]
    period = [rule for objective in OBJECTIVES for rule in _of(objective, PERIOD)]
    attained = {
        "record": "deskline:sla_attained:ratio28d",
        "expr": f"1 - deskline:sla_missed:increase{PERIOD} / (deskline:sla_clocks:increase{PERIOD} > 0)",
    }
    loss = {
        "record": "deskline:archive_data_loss:timestamp_seconds",
        # When Kafka deletes what is not archived: that is younger than the watermark, and kept for the retention. Watermarks only grow, so
        # the greatest one is true whoever owned the partition, and it stays true for hours after the archive has gone.
        "expr": "min by (topic) (max by (topic, partition) (last_over_time("
        'deskline_watermark_timestamp_seconds{service="archive"}[6h])) '
        "+ on (topic) group_left () max by (topic) (last_over_time(deskline_archive_retention_seconds[6h])))",
    }
    return [
        {"name": "deskline-recorded", "rules": [*spans, *ratios, loss]},
        # Four weeks move slowly, and reading them is the dearest question of all.
        {"name": "deskline-recorded-slowly", "interval": "5m", "rules": [*period, attained]},
    ]
