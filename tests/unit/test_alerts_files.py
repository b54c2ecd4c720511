"""The files of ``deploy/``: as the code writes them, each alert with its runbook, every gauge put together as it must be."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.monitoring import alerts, dashboards, recording
from deploy.monitoring.__main__ import drifted, files
from deploy.monitoring.objectives import OBJECTIVES, WINDOWS, Objective, Window
from prometheus_client import CollectorRegistry

from deskline.metrics import EngineMetrics
from deskline.stack.stack import targets
from deskline_archive.metrics import Metrics as ArchiveMetrics
from deskline_autoreply.metrics import Metrics as AutoreplyMetrics
from deskline_router.metrics import Metrics as RouterMetrics
from deskline_sla.metrics import OverdueGauges, Tally

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks.md"
PAGE = ROOT / "docs" / "operations" / "alerts.md"
EXPRESSIONS = [
    *((f"rule {rule.get('alert') or rule['record']}", rule["expr"])
      for group in (*recording.groups(), *alerts.groups()) for rule in group["rules"]),
    *dashboards.queries(),
]  # fmt: skip
ELSEWHERE = {"deskline_calendar_horizon_timestamp_seconds": "(whole: min)"}
"""Gauges that are made with the running service."""


def shown():
    """Name of every metric of ours → its help text; histograms and counters by the names of their samples."""
    registry = CollectorRegistry()
    EngineMetrics(registry).start("sla", ("replies.v1",))
    for made in (Tally, OverdueGauges, ArchiveMetrics, AutoreplyMetrics, RouterMetrics):
        made(registry)
    found = dict(ELSEWHERE)
    for family in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found.update({family.name + suffix: family.documentation for suffix in suffixes})
    return found


def tool(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return found


# --- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "window", "factor", "ratio"),
    [
        # factor = budget share * 28 days * open hours a day / open hours of the window; ratio = factor * budget
        ("answers", "fast", 0.02 * 28 * 15 / 1, 0.84),
        ("answers", "steady", 0.05 * 28 * 15 / 6, 0.35),
        ("answers", "slow", 0.10 * 28 * 15 / 15, 0.28),
        ("instant_reply", "fast", 0.02 * 28 * 24 / 1, 0.1344),
        ("instant_reply", "steady", 0.05 * 28 * 24 / 6, 0.056),
        ("instant_reply", "slow", 0.10 * 28 * 24 / 24, 0.028),
    ],
)
def test_factors_follow_from_our_budget_and_our_open_hours(objective, window, factor, ratio):
    (promise,) = (each for each in OBJECTIVES if each.name == objective)
    (span,) = (each for each in WINDOWS if each.name == window)
    assert span.factor(promise) == pytest.approx(factor)
    assert span.error_ratio(promise) == pytest.approx(ratio)
    assert span.factor(promise) < promise.fastest_burn, "it can fire"


def test_the_workbooks_factor_could_never_fire_at_90_percent_and_such_a_window_is_refused():
    (answers,) = (each for each in OBJECTIVES if each.name == "answers")
    assert answers.fastest_burn == pytest.approx(10)
    assert answers.fastest_burn < 14.4
    with pytest.raises(ValueError, match="no threshold"):
        Window("workbook", "1h", "5m", 1, 14.4 / 420, "critical", "2m").error_ratio(answers)
    with pytest.raises(ValueError, match="no threshold"):
        # 10 % in three days of 15 open hours: a burn of 0.93, which the objective allows for ever.
        Window("three days", "3d", "6h", 72, 0.031, "warning", "1h").error_ratio(
            Objective("x", (), share=0.9, open_hours=15, what="")
        )


# --- drift, runbooks, names -------------------------------------------------------------------------------------------


def test_the_generated_files_are_those_that_the_code_writes(tmp_path):
    assert drifted() == []
    for path, text in files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert drifted(tmp_path) == []
    (tmp_path / "prometheus/rules/alerts.yml").write_text("groups: []\n")
    (tmp_path / "grafana/by-hand.json").write_text("{}")
    assert drifted(tmp_path) == ["grafana/by-hand.json", "prometheus/rules/alerts.yml"]


def runbook(alert):
    """The alert's section."""
    return RUNBOOKS.read_text(encoding="utf-8").partition(f"\n## {alert}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("alert", alerts.names())
def test_every_alert_has_a_runbook_with_what_it_means_what_to_look_at_and_what_to_do(alert):
    section = runbook(alert)
    for part in ("Means:", "See:", "Do:"):
        assert re.search(rf"^{part}", section, flags=re.MULTILINE), f"{RUNBOOKS}: {alert} has no {part}"
    assert len(section) > 250


def test_every_runbook_of_an_alert_is_of_one_that_exists_and_the_page_lists_all():
    headed = re.findall(r"^## (Deskline\w+)$", RUNBOOKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(headed) == sorted(alerts.names())
    listed = re.findall(r"^\| \[(Deskline\w+)\]", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(alerts.names())


def test_annotations_lead_to_the_section():
    for group in alerts.groups():
        for rule in group["rules"]:
            assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks.md#{rule['alert'].lower()}"


def test_the_page_has_the_thresholds_of_every_objective_and_window():
    page = PAGE.read_text(encoding="utf-8")
    for objective in OBJECTIVES:
        for window in WINDOWS:
            row = f"| {objective.name} | {window.name} | {window.long}, {window.short} | {window.budget_share:.0%} |"
            assert f"{row} {window.factor(objective):g} | {window.error_ratio(objective):.4g} |" in page


@pytest.mark.parametrize(
    ("where", "expr"), EXPRESSIONS, ids=[f"{where} {n}" for n, (where, _) in enumerate(EXPRESSIONS)]
)
def test_rules_and_panels_ask_for_metrics_that_exist_and_put_instances_together_as_their_help_says(where, expr):
    known = shown()
    records = {rule["record"] for group in recording.groups() for rule in group["rules"]}
    for name in re.findall(r"\bdeskline:\w+:\w+", expr):
        assert name in records, where
    for name in re.findall(r"(?<![:\w])deskline_\w+", expr):
        assert name in known, where
        direct = re.search(rf"(sum|min|max)(?: by \([\w, ]+\))? \({name}|(sum|min|max)\({name}", expr)
        kind = re.search(r"\((share|whole|worst)(: min)?\)", known[name])
        if kind is None or direct is None:
            continue
        used = direct.group(1) or direct.group(2)
        wanted = "sum" if kind.group(1) == "share" else "min" if kind.group(2) else "max"
        assert used == wanted, f"{where}: {name} is {kind.group(0)}, so instances are put together by {wanted}"


def test_the_stack_says_where_prometheus_finds_each_service():
    services = {
        "sla": [{"pid": 1, "http": "http://127.0.0.1:20001"}],
        "router": [{"pid": 2, "http": "http://127.0.0.1:20002"}, {"pid": 3, "http": "http://127.0.0.1:20003"}],
    }
    assert json.loads(targets(services)) == [
        {"targets": ["127.0.0.1:20002", "127.0.0.1:20003"], "labels": {"service": "router"}},
        {"targets": ["127.0.0.1:20001"], "labels": {"service": "sla"}},
    ]


# --- Prometheus' and Alertmanager's own tools -------------------------------------------------------------------------


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_the_rules_and_the_configuration_right():
    promtool = tool("promtool")
    run(promtool, "check", "rules", *sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")))
    run(promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize("path", sorted((DEPLOY / "prometheus" / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_promtool_runs_the_rule_tests(path):
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", path)


def test_every_alert_but_those_with_nothing_to_count_is_in_a_rule_test():
    texts = "".join(path.read_text(encoding="utf-8") for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"))
    untested = {name for name in alerts.names() if not re.search(rf"alertname: {name}\b", texts)}
    assert untested == set()


# --- routing ----------------------------------------------------------------------------------------------------------

AM = DEPLOY / "alertmanager" / "alertmanager.yml"


def test_amtool_finds_the_configuration_right():
    assert "SUCCESS" in run(tool("amtool"), "check-config", AM)


@pytest.mark.parametrize(
    ("alert", "labels", "receiver"),
    [
        ("DesklineWatchdog", "severity=none audience=operators", "watchdog"),
        ("DesklineDetectorAbsent", "severity=critical audience=operators", "on-call"),
        ("DesklineComplaintOverdue", "severity=critical audience=desk", "desk"),
        ("DesklineConversationsOverdue", "severity=warning audience=desk", "desk"),
        ("DesklineConversationsOverdueLong", "severity=escalation audience=leads", "leads"),
        ("DesklineUnattended", "severity=escalation audience=leads", "leads"),
        ("DesklineObjectiveBurnSlow", "severity=warning audience=desk", "desk"),
        ("DesklineDeadLetters", "severity=warning audience=operators", "operators"),
    ],
)
def test_each_alert_reaches_whom_it_concerns(alert, labels, receiver):
    said = run(tool("amtool"), "config", "routes", "test", f"--config.file={AM}", f"alertname={alert}", *labels.split())
    assert said.split() == [receiver]


def routes(route):
    return [route, *(each for child in route.get("routes", ()) for each in routes(child))]


def test_outside_opening_hours_only_warnings_wait():
    config = yaml.safe_load(AM.read_text(encoding="utf-8"))
    waiting = [route for route in routes(config["route"]) if "active_time_intervals" in route]
    assert [route["receiver"] for route in waiting] == ["desk", "operators"]
    matchers = {matcher for route in waiting for matcher in route.get("matchers", ())}
    assert matchers == {"audience = desk"}, "critical ones and escalations have gone another way before"
    critical = [route for route in routes(config["route"]) if "severity = critical" in route.get("matchers", ())]
    assert not any("active_time_intervals" in route or "mute_time_intervals" in route for route in critical)
    assert config["time_intervals"][0]["time_intervals"][0]["location"] == "Asia/Shanghai"


def test_inhibition_names_alerts_and_labels_that_exist():
    config = yaml.safe_load(AM.read_text(encoding="utf-8"))
    rules = [rule for group in alerts.groups() for rule in group["rules"]]
    for inhibit in config["inhibit_rules"]:
        named = re.findall(r"Deskline\w+", str(inhibit))
        assert set(named) <= set(alerts.names())
        # A label that neither side has is equal, too: it would silence what it must not.
        for label in inhibit["equal"]:
            sources = [r for r in rules if r["alert"] in re.findall(r"Deskline\w+", str(inhibit["source_matchers"]))]
            assert sources
            for rule in sources:
                assert label in rule["labels"] or re.search(rf"by \({label}\)", rule["expr"]) or label == "topic", rule[
                    "alert"
                ]
    symptoms = {rule["alert"] for rule in rules if rule["labels"].get("symptom") == "true"}
    assert symptoms >= {"DesklineComplaintOverdue", "DesklineConversationsOverdue", "DesklineObjectiveBurnFast"}
