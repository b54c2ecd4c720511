"""`deskline demo` as a person runs it: on a stack of its own, for a few seconds; and stopped by Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deskline.demo.figures import MAIN

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
# Addresses of the environment are for the shared servers; the demo starts its own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DESKLINE_")}


def command(*words):
    return [sys.executable, "-m", "deskline", "demo", "--no-board", *map(str, words)]


def left_over(folder):
    """Processes that still work in the demo's temporary directories."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words and process.pid != os.getpid():
            found.append(words)
    return found


def test_a_short_demo_agrees_with_its_recount_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "temporary").mkdir(mode=0o711)
    tmp_path.chmod(0o711)
    summary = tmp_path / "summary.json"
    done = subprocess.run(
        command("--seconds", 15, "--speed", 15, "--summary", summary),
        capture_output=True, text=True, timeout=350, check=False, cwd=ROOT,
        env=ENVIRONMENT | {"TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(summary.read_text())
    assert (found["agrees"], found["settled"], found["interrupted"]) == (True, True, False)
    assert found["differences"] == []
    for name in MAIN:
        if name != "waiting":  # everything has been closed, so nobody waits any more
            assert found["topics"][name] > 0, name
            assert found["board"][name] == found["topics"][name]
    assert found["topics"]["waiting"] == 0
    assert (
        sum(number for name, number in found["topics"].items() if name.startswith("assigned."))
        == (found["topics"]["assigned"])
    )
    outcomes = sum(found["topics"][name] for name in ("answered", "handed_over", "ignored"))
    assert outcomes == found["topics"]["messages"]
    assert 0 < found["decision_ms"]["p50"] <= found["decision_ms"]["max"]
    assert found["seconds"]["ready"] < found["seconds"]["alive"] < found["seconds"]["total"]
    # Plain lines, and none of the customers' words.
    assert " · messages " in done.stdout
    assert "recomputed" in done.stdout
    assert "webhook" not in done.stdout
    assert list((tmp_path / "temporary").iterdir()) == []
    assert left_over(tmp_path) == []


def test_ctrl_c_ends_it_early_with_a_summary_of_what_was_done_and_the_directory_can_be_used_again(tmp_path):
    tmp_path.chmod(0o711)
    state, summary, log = tmp_path / "state", tmp_path / "summary.json", tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command("--seconds", 300, "--state-dir", state, "--summary", summary, "--lang", "zh"),
            stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=ENVIRONMENT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 240
            while "0:05 ·" not in log.read_text() and "0:06 ·" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            process.wait(100)
        finally:
            if process.poll() is None:
                process.kill()
    text = log.read_text()
    assert process.returncode == 0, text
    found = json.loads(summary.read_text())
    assert (found["agrees"], found["interrupted"]) == (True, True)
    assert found["topics"]["messages"] > 0
    assert "提前结束" in text
    assert (state / "kafka").is_dir()
    assert left_over(state) == []


def test_a_mistake_in_the_options_or_a_file_is_said_at_once_with_exit_code_2(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"turns": [{"from": "nobody", "text": "秘密"}]}\n')
    for words, said in (
        (("--input", bad), "bad.jsonl:1: turns.0.from"),
        (("--summary", tmp_path), "cannot be written"),
    ):
        done = subprocess.run(
            command(*words), capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT, cwd=ROOT
        )
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "秘密" not in done.stderr
