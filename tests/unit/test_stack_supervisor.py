"""Supervision of processes, with stand-ins for the services: no Kafka, no PostgreSQL."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points

import psutil
import pytest

from deskline.cli import mounted
from deskline.errors import UsageError
from deskline.stack.http import get
from deskline.stack.processes import OwnedProcess
from deskline.stack.stack import service_names
from deskline.stack.supervisor import Supervisor, delay_s, failures_after, parse_replicas, stop_leftovers

# Answers /readyz with 200 and its own pid; goes on SIGTERM.
WELL_BEHAVED = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(os.environ["DESKLINE_HTTP_PORT"])), Handler).serve_forever()
"""
BROKEN = "import sys; print('the reason why'); sys.exit(3)"
DEAF = WELL_BEHAVED.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


def running(script: str):
    return lambda _service: [sys.executable, "-c", script]


@pytest.fixture
async def supervise(tmp_path):
    made = []

    def start(script: str, replicas: dict[str, int], **kwargs) -> Supervisor:
        supervisor = Supervisor(tmp_path, {}, command=running(script), **kwargs)
        made.append(supervisor)
        supervisor.start(replicas)
        return supervisor

    yield start
    for supervisor in made:
        supervisor.hasten()
        await supervisor.stop()


async def test_each_instance_has_a_port_a_pid_and_a_log_of_its_own(supervise, tmp_path):
    supervisor = supervise(WELL_BEHAVED, {"router": 2, "sla": 1})
    await supervisor.wait_ready(20)
    services = supervisor.describe()
    assert {name: len(instances) for name, instances in services.items()} == {"router": 2, "sla": 1}
    for instances in services.values():
        for instance in instances:
            assert await get(f"{instance['http']}/readyz") == (200, str(instance["pid"]).encode())
    assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == ["router-1.log", "router-2.log", "sla-1.log"]


async def test_a_killed_service_comes_back_at_once_with_a_new_pid(supervise, eventually):
    told = []
    supervisor = supervise(
        WELL_BEHAVED, {"router": 1}, changed=lambda: told.append(supervisor.find("router").process.pid)
    )
    await supervisor.wait_ready(20)
    before = supervisor.find("router").process.pid
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: told, "the supervisor says that a pid changed")
    assert told[0] != before
    assert supervisor.find("router").failures == 0, "killed from outside: not its own failure"
    await supervisor.wait_ready(20)


async def test_a_service_that_ends_at_its_start_again_and_again_is_named_with_its_log(supervise):
    supervisor = supervise(BROKEN, {"sla": 1})
    with pytest.raises(UsageError, match=r"sla-1 ends at once.*\n.*sla-1\.log\n(.*\n)*the reason why"):
        await supervisor.wait_ready(20)


async def test_stopping_ends_what_ignores_it(supervise, monkeypatch):
    monkeypatch.setattr("deskline.stack.supervisor.STOP_S", 0.3)
    supervisor = supervise(DEAF, {"sla": 2})
    await supervisor.wait_ready(20)
    pids = [instance.process.pid for instance in supervisor.instances]
    await supervisor.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_paused_service_stays_away_until_it_is_resumed(supervise):
    supervisor = supervise(WELL_BEHAVED, {"autoreply": 1})
    await supervisor.wait_ready(20)
    await supervisor.pause("autoreply")
    await asyncio.sleep(0.3)
    assert not supervisor.find("autoreply").process.running()
    await supervisor.resume("autoreply")
    await supervisor.wait_ready(20)


def test_a_tool_that_a_service_brings_is_a_command_and_never_a_process_of_the_stack():
    tools = {entry.name for entry in entry_points(group="deskline.tools")}
    services = {entry.name for entry in entry_points(group="deskline.services")}
    assert {"faq", "rules"} <= tools
    assert service_names() == ("archive", "autoreply", "router", "sla")
    assert not tools & services
    assert tools | services <= mounted().keys()
    # Asked for by name it is refused, too.
    for tool in sorted(tools):
        with pytest.raises(UsageError):
            parse_replicas(f"{tool}=1", service_names())


SUPERVISOR_ITSELF = """
import asyncio, sys
from pathlib import Path
from deskline.stack.supervisor import Supervisor
async def main():
    supervisor = Supervisor(Path(sys.argv[1]), {}, command=lambda _: [sys.executable, "-c", sys.argv[2]])
    supervisor.start({"router": 1})
    await supervisor.wait_ready(20)
    print(supervisor.find("router").process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_services_die_with_a_supervisor_that_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR_ITSELF, tmp_path, WELL_BEHAVED], stdout=subprocess.PIPE
    ) as parent:
        service = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    service.wait(20)


def test_what_a_killed_supervisor_left_is_stopped_by_pid(tmp_path):
    left = OwnedProcess.spawn(
        [sys.executable, "-c", "import time; time.sleep(60)"], pid_file=tmp_path / "sla-1.pid", log=tmp_path / "log"
    )
    assert stop_leftovers(tmp_path) == 1
    assert not left.running()
    assert list(tmp_path.glob("*.pid")) == []


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        started = psutil.Process(other.pid).create_time() - 3600
        (tmp_path / "sla-1.pid").write_text(json.dumps({"pid": other.pid, "started": started}))
        assert stop_leftovers(tmp_path) == 0
        assert other.poll() is None
        other.kill()


def test_a_process_that_goes_by_itself_is_not_killed(tmp_path):
    process = OwnedProcess.spawn(
        [sys.executable, "-c", "import time; time.sleep(60)"], pid_file=tmp_path / "p.pid", log=tmp_path / "log"
    )
    began = time.monotonic()
    assert process.stop(patience_s=10)
    assert time.monotonic() - began < 8
    assert process.exit_code == -signal.SIGTERM


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.0), (1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0), (50, 10.0)]
)
def test_the_wait_before_a_restart_doubles_up_to_ten_seconds(failures, seconds):
    assert delay_s(failures) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("exit_code", "ran_s", "after"),
    [(1, 0.5, 5), (0, 0.5, 5), (-9, 0.5, 0), (-15, 0.5, 0), (1, 10.0, 0), (None, 0.5, 5)],
)
def test_only_a_service_that_ends_by_itself_soon_after_its_start_has_failed(exit_code, ran_s, after):
    assert failures_after(4, exit_code, ran_s) == after


SERVICES = ("archive", "autoreply", "router", "sla")


def test_replicas_name_some_services_and_the_others_get_one():
    assert parse_replicas("router=4, sla=2", SERVICES) == {"archive": 1, "autoreply": 1, "router": 4, "sla": 2}
    assert parse_replicas("", SERVICES) == dict.fromkeys(SERVICES, 1)
    assert parse_replicas("autoreply=0", SERVICES)["autoreply"] == 0


@pytest.mark.parametrize("text", ["gateway=1", "router", "router=x", "router=-1", "router=65", "router=1=2"])
def test_replicas_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError, match="--replicas"):
        parse_replicas(text, SERVICES)


async def test_instances_come_and_go_by_number_and_the_others_stay(supervise):
    told = []
    supervisor = supervise(WELL_BEHAVED, {"router": 2, "sla": 1}, changed=lambda: told.append(1))
    await supervisor.wait_ready(20)
    kept = {each.name: each.process.pid for each in supervisor.instances}
    await supervisor.scale("router", 4)
    await supervisor.wait_ready(20)
    pids = {each.name: each.process.pid for each in supervisor.instances}
    assert set(pids) == {"router-1", "router-2", "router-3", "router-4", "sla-1"}
    assert kept.items() <= pids.items()
    await supervisor.scale("router", 1)
    assert [each.name for each in supervisor.instances] == ["router-1", "sla-1"]
    assert not any(psutil.pid_exists(pids[f"router-{number}"]) for number in (2, 3, 4))
    assert psutil.pid_exists(pids["router-1"])
    assert len(told) == 2
