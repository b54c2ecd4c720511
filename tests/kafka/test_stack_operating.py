"""What an operator relies on: readiness, a graceful stop, errors that say what to do.

One `deskline up` serves the whole module; what is frozen or stopped here comes back before the next test.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.fixtures.deployment import said
from tests.load.sender import Sender
from tests.load.static import static_backlog

from deskline.clock import now_us, rfc3339
from deskline.kafka import partition_of, producer
from deskline.stack.http import get
from deskline.targets import settings_of
from deskline.topic_reader import opened

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("operating")]

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("archive", "autoreply", "router", "sla")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DESKLINE_")} | {
    "COLUMNS": "200"
}
RULES = """
rules:
  - rule_id: hello
    when: {exact: [在吗]}
    reply: {kind: greeting, text: "%s"}
"""


def deskline(*words: object, code: int = 0, typed: str = "", **more: str) -> str:
    """What a command prints: its output, or where it fails its error."""
    done = subprocess.run(
        [sys.executable, "-m", "deskline", *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT | more, cwd=ROOT, input=typed,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def spawned(service: str, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, "-m", "deskline", service], stdout=out, stderr=out, env=environment)


class Up:
    """A running stack."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.config_dir = state_dir.parent / "config"

    @property
    def stack(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state_dir / "stack.json").read_text())
        return found

    def settings(self):
        return settings_of(self.state_dir)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **ENVIRONMENT,
            "DESKLINE_BOOTSTRAP_SERVERS": self.stack["bootstrap_servers"],
            "DESKLINE_POSTGRES_DSN": self.stack["postgres_dsn"],
            **more,
        }

    async def answers(self, path: str) -> dict[str, int]:
        """Status of every service on this path; 0 where nobody answers."""
        http = {name: instances[0]["http"] for name, instances in self.stack["services"].items()}
        got = await asyncio.gather(*(get(f"{address}/{path}") for address in http.values()))
        return {name: 0 if answer is None else answer[0] for name, answer in zip(http, got, strict=True)}

    async def caught_up(self) -> bool:
        got = [await get(f"{instances[0]['http']}/readyz") for instances in self.stack["services"].values()]
        return all(answer is not None and json.loads(answer[1])["caught_up"] for answer in got)

    async def send(self, *records: tuple[str, bytes, bytes]) -> None:
        """(topic, key, value), each acknowledged before the next."""
        client = producer(self.settings(), "test")
        await client.start()
        try:
            for topic, key, value in records:
                place = partition_of(key, len(await client.partitions_for(topic)))
                await client.send_and_wait(topic, value, key=key, partition=place)
        finally:
            await client.stop()


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("operating") / "state")
    (running.config_dir / "_default").mkdir(parents=True)
    (running.config_dir / "_default" / "agents.yaml").write_text("agents:\n  - agent_id: ann\n")
    (running.config_dir / "_default" / "rules.yaml").write_text(RULES % "第一版")
    words = ["up", "--state-dir", running.state_dir, "--config", running.config_dir, "--partitions", 2, "--detach"]
    deskline(*words)
    try:
        yield running
    finally:
        deskline("down", "--state-dir", running.state_dir)


def family(pids: list[int]) -> list[psutil.Process]:
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


@pytest.mark.parametrize("server", ["postgres", "broker"])
async def test_a_service_is_not_ready_while_a_server_is_frozen_and_lives_on(up, server, eventually):
    ready, not_ready = dict.fromkeys(SERVICES, 200), dict.fromkeys(SERVICES, 503)

    async def all_are(wanted: dict[str, int]) -> bool:
        return await up.answers("readyz") == wanted

    await eventually(lambda: all_are(ready), "ready at first", 60)
    before = {name: instances[0]["pid"] for name, instances in up.stack["services"].items()}
    frozen = family(up.stack[server]["pids"])
    for process in frozen:
        process.suspend()
    try:
        # Asked every second or more often, and given three seconds to answer.
        await eventually(lambda: all_are(not_ready), "not ready", 20)
        assert await up.answers("livez") == dict.fromkeys(SERVICES, 200)
        shown = deskline_status(up)
        assert "not known: PostgreSQL" in shown if server == "postgres" else "Kafka (" in shown
        assert "autoreply has no instance that is ready: nobody is answered by the robot" in shown
    finally:
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    await eventually(lambda: all_are(ready), "ready again", 60)
    assert before == {name: instances[0]["pid"] for name, instances in up.stack["services"].items()}, "nobody restarted"


def deskline_status(up: Up) -> str:
    """The screen of `deskline status`; exit code 1, since not all is ready."""
    done = subprocess.run(
        [sys.executable, "-m", "deskline", "status", "--state-dir", str(up.state_dir)],
        capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


async def test_each_service_stops_within_seconds_of_sigterm_under_load_with_exit_code_0(up, tmp_path, eventually):
    logs = {name: tmp_path / f"{name}.log" for name in SERVICES}
    processes = {}
    try:
        for name, path in logs.items():
            processes[name] = spawned(name, path, up.environment(DESKLINE_INSTANCE="2"))
        await eventually(
            lambda: all("lanes acquired" in path.read_text() for path in logs.values()), "second instances joined", 150
        )
        sending = asyncio.create_task(send_backlog(up))
        try:
            await asyncio.sleep(2)
            for process in processes.values():
                process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            await eventually(lambda: all(process.poll() is not None for process in processes.values()), "gone", 30)
            took = time.monotonic() - started
        finally:
            await sending
        assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(SERVICES, 0)
        assert took < 15, "a unit of work, the publication of what it decided, and the group's farewell"
        for path in logs.values():
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert lines[-1]["event"] == "stopped"
            assert all({"service", "instance", "level", "timestamp", "event"} <= line.keys() for line in lines)
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", lines[0]["http"]), "the port that was free is told"
        await eventually(up.caught_up, "the others have taken over", 120)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


async def send_backlog(up: Up, seed: int = 7, records: int = 12_000) -> None:
    async with Sender(up.stack["bootstrap_servers"]) as sender:
        batch = []
        for draft in static_backlog(seed, records, now_us()):
            batch.append(draft)
            if len(batch) == 1_000:
                await sender.send(batch)
                batch = []
        await sender.send(batch)


async def test_a_replayed_letter_is_a_new_record_that_gets_a_letter_of_its_own(up, eventually):
    key = f"c-{secrets.token_hex(4)}".encode()
    await up.send(("conversations.v1", key, b"not json"))

    def mine() -> list[str]:
        listed = deskline("deadletters", "list", "--reason", "bad_json", "--since", "2m", "--state-dir", up.state_dir)
        return re.findall(rf"│ (\d+/\d+) .*{key.decode()}", listed)

    (letter,) = await eventually(lambda: asyncio.to_thread(mine), "its letter", 30)
    words = ("deadletters", "replay", letter, "--state-dir", up.state_dir)
    assert "nothing was sent" in deskline(*words, code=2, typed="n\n")
    said_back = deskline(*words, "--yes")
    assert "still not valid (bad_json)" in said_back
    assert "sent 8 bytes to conversations.v1/" in said_back
    await eventually(lambda: asyncio.to_thread(lambda: len(mine()) == 2), "a second letter", 30)


async def test_a_configuration_is_in_force_from_its_instant_without_a_restart(up):
    begun = now_us()
    pids = {name: instances[0]["pid"] for name, instances in up.stack["services"].items()}
    (up.config_dir / "_default" / "rules.yaml").write_text(RULES % "第二版")
    # Far enough that the command has started and five seconds of lead remain, on a busy machine too.
    effective = (now_us() // 1_000_000 + 20) * 1_000_000
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(effective // 1_000_000))
    told = deskline("config", "apply", up.config_dir, "--effective-from", f"{moment}Z", "--state-dir", up.state_dir)
    assert "version 2" in told
    published = deskline(
        "tail", "--topic", "shops", "--since", rfc3339(begun), "--count", 1, "--state-dir", up.state_dir
    )
    assert "document=rules" in published
    assert "version=2" in published

    subjects: dict[str, int] = {}
    while now_us() < effective + 2_000_000:
        subject, at = f"c-{secrets.token_hex(4)}", now_us()
        subjects[subject] = at
        topic, value = said(subject, at, f"m-{subject}")
        await up.send((topic, subject.encode(), value))
        await asyncio.sleep(0.4)
    # Exactly on the border, and one microsecond before it.
    for at in (effective, effective - 1):
        subject = f"c-{secrets.token_hex(4)}"
        subjects[subject] = at
        topic, value = said(subject, at, f"m-{subject}")
        await up.send((topic, subject.encode(), value))
    texts = await answers_to(subjects, up, begun)
    assert texts == {subject: "第一版" if at < effective else "第二版" for subject, at in subjects.items()}
    assert set(texts.values()) == {"第一版", "第二版"}
    assert pids == {name: instances[0]["pid"] for name, instances in up.stack["services"].items()}


async def answers_to(subjects: Collection[str], up: Up, since: int) -> dict[str, str]:
    """The text that each of these was answered with, whatever else other tests have left to be answered."""
    texts: dict[str, str] = {}
    async with opened(up.settings()) as reader, asyncio.timeout(60):
        async for record in reader.follow(["replies.v1"], since=since):
            reply = json.loads(record.value)
            if reply["type"] == "reply.issued.v1" and reply["subject"] in subjects:
                texts[reply["subject"]] = reply["data"]["text"]
                if len(texts) == len(subjects):
                    break
    return texts


def test_a_configuration_with_mistakes_is_refused_whole_with_file_line_and_field(up, tmp_path):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "agents.yaml").write_text("agents:\n  - agent_id: ann\n    capacity: -3\n")
    (tmp_path / "_default" / "limits.yaml").write_text("patience_s: 4\n")
    before = deskline("config", "show", "--json", "--state-dir", up.state_dir)
    told = deskline("config", "apply", tmp_path, "--state-dir", up.state_dir, code=1)
    assert "_default/agents.yaml:3:15: agents[0].capacity: must be at least 0, not -3" in told
    assert "nothing was changed" in told
    assert deskline("config", "show", "--json", "--state-dir", up.state_dir) == before


@pytest.mark.parametrize("service", SERVICES)
def test_a_taken_port_is_said_with_exit_code_2(up, service):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        told = deskline(service, code=2, **up.environment(DESKLINE_HTTP_PORT=port))
    assert told.startswith(f"deskline {service}: DESKLINE_HTTP_HOST 127.0.0.1, DESKLINE_HTTP_PORT {port}:")


def test_a_wrong_setting_is_named_as_its_variable_with_exit_code_2():
    assert deskline("sla", code=2, DESKLINE_DRAIN_S="0").startswith("deskline sla: DESKLINE_DRAIN_S: ")


def test_a_database_that_nobody_migrated_is_said_with_exit_code_1(up):
    dsn = up.stack["postgres_dsn"].rpartition("/")[0] + "/postgres"
    told = deskline("sla", code=1, **up.environment(DESKLINE_POSTGRES_DSN=dsn, DESKLINE_INSTANCE="9"))
    assert "run: deskline migrate" in told.splitlines()[-1]


async def test_a_service_without_topics_waits_says_so_and_stops_with_exit_code_0(up, tmp_path, eventually):
    log = tmp_path / "log"
    process = spawned("archive", log, up.environment(DESKLINE_TOPIC_PREFIX="nowhere-"))
    try:
        await eventually(lambda: "run: deskline topics apply" in log.read_text(), "told what is missing", 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert "Unclosed" not in log.read_text()
