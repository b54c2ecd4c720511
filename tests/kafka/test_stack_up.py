"""`deskline up`, `status` and `down` as a person runs them, on servers of their own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SERVICES = {"archive", "autoreply", "router", "sla"}
ROOT = Path(__file__).resolve().parents[2]
# Addresses of the environment are for the shared servers; here the stack starts its own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DESKLINE_")}


def deskline(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "deskline", *map(str, words)],
        capture_output=True, text=True, timeout=200, check=False, env=ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def configuration(folder: Path) -> Path:
    """The smallest one: a default shop with one agent, everything else by its defaults."""
    (folder / "_default").mkdir(parents=True, exist_ok=True)
    (folder / "_default" / "agents.yaml").write_text("agents:\n  - agent_id: ann\n")
    return folder


@contextlib.contextmanager
def up(state_dir: Path, *words: object, **environment: str):
    """A running `deskline up`; gives the process. Whatever happens, nothing is left."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "test.log").open("ab") as log:
        command = [sys.executable, "-m", "deskline", "up", "--state-dir", str(state_dir)]
        command += ["--config", str(configuration(state_dir.parent / "config")), *map(str, words)]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT | environment, cwd=ROOT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        deskline("down", "--state-dir", state_dir, check=False)


def until(condition, what: str, timeout_s: float = 150):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return result


def ready(state_dir: Path, process: subprocess.Popen[bytes]) -> dict:
    file = state_dir / "stack.json"
    until(lambda: file.exists() or process.poll() is not None, "stack.json")
    assert file.exists(), (state_dir / "test.log").read_text()
    return json.loads(file.read_text())


def pids(stack: dict) -> set[int]:
    services = {instance["pid"] for instances in stack["services"].values() for instance in instances}
    return services | set(stack["broker"]["pids"]) | set(stack["postgres"]["pids"])


def readyz(http: str) -> dict | None:
    """The body where it answers 200."""
    try:
        with urllib.request.urlopen(f"{http}/readyz") as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        # On a busy machine the broker may have been silent for three seconds.
        return None


def gone(some: set[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in some)


def test_up_runs_everything_restarts_what_dies_goes_on_after_kill_9_and_stops_in_order(tmp_path):
    state = tmp_path / "state"
    with up(state, "--replicas", "router=2") as first:
        stack = ready(state, first)
        assert set(stack) == {
            "bootstrap_servers", "postgres_dsn", "topic_prefix", "config_dir", "broker", "postgres", "services",
        }  # fmt: skip
        assert stack["broker"]["kind"] == "embedded"
        assert {name: len(instances) for name, instances in stack["services"].items()} == dict.fromkeys(SERVICES, 1) | {
            "router": 2
        }
        for instances in stack["services"].values():
            for instance in instances:
                assert "caught_up" in until(lambda http=instance["http"]: readyz(http), "ready", 30)

        # A second one on the same directory is refused; status shows this one.
        refused = deskline("up", "--state-dir", state, "--config", tmp_path / "config", check=False)
        assert refused.returncode == 2
        assert "is running on" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert json.loads((state / "stack.json").read_text()) == stack, "the running one's file is not touched"
        shown = json.loads(deskline("status", "--state-dir", state, "--json").stdout)
        assert {row["instance"] for row in shown["services"]} >= {"router-1", "router-2", "sla-1"}

        # A service and each server that die come back, with new pids in the file.
        victims = [stack["services"]["sla"][0]["pid"], stack["broker"]["pids"][0], stack["postgres"]["pids"][0]]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        until(lambda: not pids(json.loads((state / "stack.json").read_text())) & set(victims), "new pids")
        until(lambda: deskline("status", "--state-dir", state, check=False).returncode == 0, "all ready again")

        # kill -9 of the supervisor: services go with it, servers stay and are taken over.
        before = json.loads((state / "stack.json").read_text())
        first.kill()
        first.wait()
        with up(state, "--replicas", "router=2") as second:
            (state / "stack.json").unlink(missing_ok=True)
            after = ready(state, second)
            assert after["broker"] == before["broker"]
            assert after["postgres"] == before["postgres"]
            assert after["bootstrap_servers"] == before["bootstrap_servers"]
            services = pids(before) - set(before["broker"]["pids"]) - set(before["postgres"]["pids"])
            assert gone(services)

            second.send_signal(signal.SIGINT)
            assert second.wait(100) == 0
            assert gone(pids(after))
            assert not (state / "stack.json").exists()


def test_down_stops_keeping_the_data_and_wipes_when_asked(tmp_path):
    state = tmp_path / "state"
    (tmp_path / "state").mkdir()
    mine = state / "notes.txt"
    mine.write_text("not deskline's")
    with up(state, "--partitions", 3, "--topic-prefix", "blue-") as first:
        stack = ready(state, first)
        assert "stopped" in deskline("down", "--state-dir", state).stdout
        assert first.wait(10) == 0
        assert gone(pids(stack))
    with up(state, "--topic-prefix", "blue-") as second:
        again = ready(state, second)
        assert again["bootstrap_servers"] == stack["bootstrap_servers"]
        topics = deskline("topics", "show", "--state-dir", state, check=False).stdout
        assert "blue-" in topics
        deskline("down", "--state-dir", state, "--wipe")
    assert [file.name for file in state.iterdir() if file.name != "test.log"] == ["notes.txt"]
    assert "nothing was running" in deskline("down", "--state-dir", state).stdout


def test_addresses_by_flag_and_by_environment_start_no_server(tmp_path, kafka, topic_prefix, database):
    state = tmp_path / "state"
    by_environment = {"DESKLINE_POSTGRES_DSN": database, "DESKLINE_TOPIC_PREFIX": topic_prefix}
    words = ("--bootstrap-servers", kafka, "--partitions", 2, "--replicas", "router=0,sla=2")
    with up(state, *words, **by_environment) as first:
        stack = ready(state, first)
        assert stack["broker"] == {"kind": "external", "pids": []}
        assert stack["postgres"] == {"pids": []}
        assert (stack["bootstrap_servers"], stack["postgres_dsn"]) == (kafka, database)
        assert stack["topic_prefix"] == topic_prefix
        assert {name: len(all_) for name, all_ in stack["services"].items()} == {"archive": 1, "autoreply": 1, "sla": 2}
        assert "external" in deskline("status", "--state-dir", state, check=False).stdout
        deskline("down", "--state-dir", state)
        assert first.wait(10) == 0
    assert not (state / "kafka").exists()
    assert not (state / "postgres").exists()


@pytest.mark.parametrize("path", ["file", "file/below"])
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_a_directory_that_cannot_be_written_is_said(tmp_path, path, detach):
    (tmp_path / "file").touch()
    done = deskline("up", "--state-dir", tmp_path / path, *detach, check=False)
    assert done.returncode == 2
    assert str(tmp_path / path) in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_start_is_said_in_one_piece_and_leaves_nothing_running(tmp_path):
    state = tmp_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = configuration(tmp_path / "config")
        done = deskline("up", "--state-dir", state, "--config", config, "--kafka-port", port, check=False)
    assert done.returncode == 2
    assert f"Port {port} is in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nothing was running" in deskline("down", "--state-dir", state).stdout


def test_ctrl_c_during_the_start_stops_what_has_started(tmp_path):
    state = tmp_path / "state"
    with up(state) as process:
        until((state / "kafka" / "node-1" / "server.pid").exists, "Kafka is starting")
        process.send_signal(signal.SIGINT)
        assert process.wait(100) == 0
    assert "Traceback" not in (state / "test.log").read_text()
    assert "nothing was running" in deskline("down", "--state-dir", state).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["up", "--replicas", "gateway=2"], "there is no service 'gateway'"),
        (["up", "--config", "/nowhere"], "is no directory"),
        (["up", "--kafka-profile", "huge"], "there are lean and bench"),
        (["status", "--state-dir", "/nowhere"], "Start it with deskline up"),
        (["down", "--state-dir", "/nowhere"], "does not exist"),
        (["topics", "apply", "--bootstrap-servers", "127.0.0.1:1"], "Kafka does not answer at 127.0.0.1:1"),
        (["migrate", "--postgres-dsn", "postgresql://127.0.0.1:1/x"], "PostgreSQL cannot be reached"),
    ],
)
def test_mistakes_are_said_without_a_traceback(words, says):
    done = deskline(*words, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "up", "down", "status", "migrate", "topics apply", "topics show", "tail", "deadletters list",
        "deadletters show", "deadletters replay", "config check", "config apply", "config show", "config diff",
        "config history", "config rollback", "config schema", "archive", "archive retain", "autoreply", "router", "sla",
    ],
)  # fmt: skip
def test_every_command_explains_itself_with_an_example(command):
    text = deskline(*command.split(), "--help").stdout
    assert f"deskline {command}" in text.replace("\n", " ")
    assert "For example" in text
    assert "Traceback" not in text


def test_asking_for_help_imports_no_part():
    script = "import sys; sys.argv = ['deskline', '--help']\nfrom deskline.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    script += "print([name for name in sys.modules if name.startswith('deskline_') and name.endswith('.app')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "[]"
