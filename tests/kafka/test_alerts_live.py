"""The alerting for real: Prometheus and Alertmanager as Debian ships them, with the files of ``deploy/``, on a running stack.

Of the shipped files only addresses and intervals are changed: nobody wants to wait ten seconds for a scrape here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.monitoring import alerts, dashboards
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.deployment import gateway, said

from deskline.clock import now_us
from deskline.kafka import partition_of, producer
from deskline.stack.files import free_ports
from deskline.targets import settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("alerts")]

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DESKLINE_")}
COMPLAINT_S = 3
PATIENCE_S = 60
"""For what takes a few seconds on a machine that does nothing else."""
SLA = f"policies: [{{policy_id: p, targets: {{complaint_closure: {COMPLAINT_S}}}}}]\n"
NOTHING_YET = {
    "deskline-customers: Attained, four weeks": "no clock has ended in the way that an objective counts",
    "deskline-customers: Missed, one hour": "the same",
    "deskline-archive: Calendars known": "the calendar has no holidays",
}
"""Panels that may be empty here, and why."""


def binary(*names: str) -> str:
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip(f"{names[0]} is not installed (Debian: prometheus, prometheus-alertmanager)")


def until(condition, what: str, timeout_s: float = PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return result


def ask(address: str, body: Any = None) -> Any:
    """JSON of an address; None while nobody answers there."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None  # it is starting
        raise AssertionError(f"{address}: {error.read().decode()}") from error
    except OSError:
        return None
    return json.loads(text) if text.strip() else {}


@contextlib.contextmanager
def process(folder: Path, name: str, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT, cwd=ROOT
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


class Webhook:
    """Every receiver: keeps what Alertmanager posts, by receiver."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                posts.append((self.path.strip("/"), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def told(self, alert: str, status: str = "firing") -> list[tuple[str, dict[str, Any]]]:
        """(receiver, alert) of every telling."""
        return [
            (receiver, each)
            for receiver, body in self.posts.copy()
            for each in body["alerts"]
            if each["labels"]["alertname"] == alert and each["status"] == status
        ]


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.close()


@contextlib.contextmanager
def routing(webhook: Webhook, folder: Path) -> Iterator[str]:
    """Address of an Alertmanager with the shipped routing."""
    program = binary("prometheus-alertmanager", "alertmanager")
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    assert "http://127.0.0.1:9095" in text
    config = yaml.safe_load(text.replace("http://127.0.0.1:9095", webhook.address))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
        if route["receiver"] == "watchdog":
            route["repeat_interval"] = "1s"
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (port,) = free_ports(1)
    with process(
        folder, "alertmanager", program, f"--config.file={folder / 'alertmanager.yml'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", f"--storage.path={folder / 'data'}",
    ):  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        until(lambda: ask(f"{address}/api/v2/status"), "Alertmanager answers")
        yield address


@pytest.fixture(scope="module")
def alertmanager(webhook, tmp_path_factory) -> Iterator[str]:
    with routing(webhook, tmp_path_factory.mktemp("alertmanager")) as address:
        yield address


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Path]:
    """State directory of a running `deskline up` whose complaints are overdue after three seconds."""
    binary("prometheus")
    binary("prometheus-alertmanager", "alertmanager")
    folder = tmp_path_factory.mktemp("stack")
    config, state = folder / "config" / "_default", folder / "state"
    config.mkdir(parents=True)
    (config / "agents.yaml").write_text("agents:\n  - agent_id: ann\n")
    (config / "sla.yaml").write_text(SLA)
    with process(
        folder, "up", sys.executable, "-m", "deskline", "up", "--state-dir", state, "--config", config.parent,
        "--partitions", 2,
    ) as up:  # fmt: skip
        until(lambda: (state / "stack.json").exists() or up.poll() is not None, "stack.json", 150)
        assert up.poll() is None, (folder / "up.log").read_text()
        (folder / "born.json").write_text(json.dumps(sorted(counted(state))))
        yield state


def counted(state: Path) -> dict[str, float]:
    """Every counter's and histogram's series of ours, by what it is called in all: its value, over the services."""
    found: dict[str, float] = {}
    for service, instances in json.loads((state / "stack.json").read_text())["services"].items():
        for instance in instances:
            with urllib.request.urlopen(f"{instance['http']}/metrics", timeout=30) as answer:
                families = text_string_to_metric_families(answer.read().decode())
            for family in families:
                for sample in family.samples:
                    if sample.name.startswith("deskline_") and family.type in {"counter", "histogram"}:
                        name = f"{service} {sample.name} {sorted(sample.labels.items())}"
                        found[name] = found.get(name, 0) + sample.value
    return found


@pytest.fixture(scope="module")
def prometheus(stack, alertmanager, tmp_path_factory) -> Iterator[str]:
    """Address of a Prometheus with the shipped rules, which scrapes the stack."""
    program = binary("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (found,) = config["scrape_configs"][0]["file_sd_configs"]
    found |= {"files": [str(stack / "prometheus-targets.json")], "refresh_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager.removeprefix("http://")]
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        text = path.read_text(encoding="utf-8").replace("interval: 5m", "interval: 2s")
        (folder / path.name).write_text(text, encoding="utf-8")
    config["rule_files"] = [str(folder / path.name) for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (port,) = free_ports(1)
    with process(
        folder, "prometheus", program, f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}",
        "--enable-feature=exemplar-storage", "--storage.tsdb.retention.time=1d", "--rules.alert.resend-delay=2s",
    ):  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        until(lambda: len(query(address, "up == 1")) == 4, "all four services are scraped")
        yield address


def query(address: str, expr: str) -> list[dict[str, Any]]:
    answer = ask(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
    if answer is None:
        return []
    assert answer["status"] == "success", f"{expr}: {answer}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def exemplars(address: str, series: str) -> list[dict[str, str]]:
    span = {"query": series, "start": time.time() - 600, "end": time.time()}
    answer = ask(f"{address}/api/v1/query_exemplars?{urllib.parse.urlencode(span)}")
    return [each["labels"] for found in answer["data"] for each in found["exemplars"]] if answer else []


async def send(stack: Path, *records: tuple[str, bytes]) -> None:
    client = producer(settings_of(stack), "test")
    await client.start()
    try:
        for topic, value in records:
            key = json.loads(value)["subject"].encode()
            place = partition_of(key, len(await client.partitions_for(topic)))
            await client.send_and_wait(topic, value, key=key, partition=place)
    finally:
        await client.stop()


async def test_a_breach_raises_the_alert_at_the_webhook_it_resolves_and_the_watchdog_keeps_coming(
    stack, prometheus, webhook
):
    until(lambda: webhook.told("DesklineWatchdog"), "the watchdog's first word")
    assert not webhook.told("DesklineComplaintOverdue")

    def complaint(word, **fields):
        return gateway(f"complaint.{word}.v1", "c-1", now_us(), f"k-{word}", complaint_id="k-1", **fields)

    await send(stack, said("c-1", now_us(), "m-1", "快递丢了"), complaint("opened"))
    ((receiver, told),) = until(lambda: webhook.told("DesklineComplaintOverdue"), "the breach is told")[:1]
    assert receiver == "desk"
    assert told["labels"]["severity"] == "critical"
    assert told["annotations"]["summary"] == "1 complaints are past their time and not closed."
    assert told["annotations"]["runbook_url"] == "docs/operations/runbooks.md#desklinecomplaintoverdue"
    (told_breaches,) = query(
        prometheus, 'sum(deskline_sla_told_total{metric="complaint_closure",type="sla.breached.v1"})'
    )
    assert told_breaches["value"][1] == "1"
    carried = until(lambda: exemplars(prometheus, "deskline_sla_breach_lateness_seconds_bucket"), "an exemplar")
    assert all(set(labels) == {"clock_id"} for labels in carried)

    await send(stack, complaint("closed"))
    until(lambda: webhook.told("DesklineComplaintOverdue", "resolved"), "the alert resolves")

    before = len(webhook.told("DesklineWatchdog"))
    until(lambda: len(webhook.told("DesklineWatchdog")) >= before + 2, "the watchdog comes again and again")
    assert {receiver for receiver, _ in webhook.told("DesklineWatchdog")} == {"watchdog"}
    assert not webhook.told("DesklineDetectorAbsent"), "the stack is well"


async def test_no_counter_is_born_after_the_start(stack):
    born = set(json.loads((stack.parent / "born.json").read_text()))
    assert len(born) > 500
    topic, closed = gateway("conversation.closed.v1", "c-2", now_us(), "x-2", resolved=True)
    await send(stack, said("c-2", now_us(), "m-2"), (topic, closed.replace(b"true", b'"perhaps"')))

    def happened():
        now = counted(stack)
        wanted = (
            "archive_invalid_records_total [('reason', 'bad_data')]",
            "autoreply_decisions_total",
            "router_told_total",
        )
        return now if all(any(word in name and value for name, value in now.items()) for word in wanted) else None

    assert {name for name in until(happened, "all have decided") if name not in born} == set()


def test_every_panel_asks_what_prometheus_understands_and_has_an_answer(prometheus):
    empty: set[str] = set()

    def answered():
        nonlocal empty
        empty = {where for where, expr in dashboards.queries() if not query(prometheus, expr)}
        return empty <= NOTHING_YET.keys()

    # Some need two scrapes, or a rule that has been evaluated.
    deadline = time.monotonic() + PATIENCE_S
    while not answered() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert empty - NOTHING_YET.keys() == set()


def test_every_rule_is_loaded_and_none_fails(prometheus):
    def rules():
        groups = ask(f"{prometheus}/api/v1/rules")["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else None

    loaded = until(rules, "every rule has been evaluated")
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in loaded if rule["type"] == "alerting"} == set(alerts.names())


def test_a_dead_detector_silences_what_only_it_can_see_and_nothing_else(tmp_path):
    webhook = Webhook()
    try:
        with routing(webhook, tmp_path) as alertmanager:
            check_inhibition(alertmanager, webhook)
    finally:
        webhook.close()


def check_inhibition(alertmanager, webhook):
    labels = {rule["alert"]: rule["labels"] for group in alerts.groups() for rule in group["rules"]}
    ends = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()

    def post(*names):
        body = [{"labels": {"alertname": name, **labels[name]}, "endsAt": ends} for name in names]
        assert ask(f"{alertmanager}/api/v2/alerts", body) is not None

    def states():
        found = ask(f"{alertmanager}/api/v2/alerts")
        return {each["labels"]["alertname"]: bool(each["status"]["inhibitedBy"]) for each in found or ()}

    silenced = ("DesklineComplaintOverdue", "DesklineObjectiveBurnFast", "DesklineServiceNotReady")
    loud = ("DesklineDetectorAbsent", "DesklineDeadLetters", "DesklineOutboxOld")
    labels["DesklineServiceNotReady"] |= {"service": "sla"}
    labels["DesklineOutboxOld"] |= {"service": "router"}
    labels["DesklineDeadLetters"] |= {"service": "sla"}
    post("DesklineDetectorAbsent")
    until(lambda: webhook.told("DesklineDetectorAbsent"), "on-call is told")
    post(*silenced, *loud)

    def settled():
        now = states()
        return now if all(now.get(name) for name in silenced) and all(name in now for name in loud) else None

    assert [name for name in loud if until(settled, "inhibition")[name]] == []
    until(lambda: webhook.told("DesklineOutboxOld"), "what is not its symptom is told")
    for name in silenced:
        assert not webhook.told(name)
    assert {receiver for receiver, _ in webhook.told("DesklineDetectorAbsent")} == {"on-call"}
