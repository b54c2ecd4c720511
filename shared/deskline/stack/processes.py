"""Processes that we own: started in a session of their own, known by pid file, ended by pid.

A pid file is JSON ``{"pid": …, "started": …}``. ``started`` is the process's start instant as the operating system
tells it; a process with the same pid and another start instant is somebody else's and is left alone.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Final

import psutil

from deskline.stack.files import write_atomically

# A clock step moves psutil's idea of a start instant by the size of the step; ntpd slews below half a second. A pid
# cannot come round again within this time on any system we run on.
_SAME_START_S: Final = 2.0
_POLL_S: Final = 0.02
_LAUNCHER: Final = Path(__file__).with_name("launch.py")
# Our children may outlive the objects that know them (a broker for the next ones); Popen objects that go while the
# child runs complain, and leave a zombie.
_CHILDREN: Final[list[subprocess.Popen[bytes]]] = []


class OwnedProcess:
    """A process of ours, whether this Python started it or a former one did (then it was *taken over*)."""

    def __init__(self, pid_file: Path, process: psutil.Process, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid_file = pid_file
        self.pid: int = process.pid
        self._process = process
        self._child = child

    @classmethod
    def find(cls, pid_file: Path) -> "OwnedProcess | None":
        """What an earlier run left running, if anything. A stale pid file is removed."""
        try:
            noted = json.loads(pid_file.read_text())
            process = psutil.Process(int(noted["pid"]))
            same = abs(process.create_time() - float(noted["started"])) < _SAME_START_S
            if same and _lives(process):
                return cls(pid_file, process)
        except (FileNotFoundError, psutil.NoSuchProcess, ValueError, KeyError):
            pass
        pid_file.unlink(missing_ok=True)
        return None

    @classmethod
    def spawn(
        cls,
        command: Sequence[str | Path],
        *,
        pid_file: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        any_path: bool = False,
        death_signal: Signals | None = None,
        cwd: Path | None = None,
    ) -> "OwnedProcess":
        """Start ``command`` with its output appended to ``log``.

        ``user`` drops root for that account, with ``any_path`` keeping the right to enter directories closed to it.
        ``death_signal`` (Linux) is sent when the *thread* that calls this ends: call it from one that lives long.
        """
        words = [str(word) for word in command]
        if user is not None or death_signal is not None:
            words = launcher(user=user, any_path=any_path, death_signal=death_signal) + words
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603  (an argument list of our own making, no shell)
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd or log.parent,
                env=None if env is None else dict(env),
            )
        _CHILDREN[:] = [known for known in _CHILDREN if known.poll() is None] + [child]
        return cls(pid_file, cls.note(pid_file, child.pid), child)

    @staticmethod
    def note(pid_file: Path, pid: int) -> psutil.Process:
        """Write the pid file of a process."""
        process = psutil.Process(pid)
        write_atomically(pid_file, json.dumps({"pid": pid, "started": process.create_time()}))
        return process

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or when somebody else's child ended unseen (see ``running``)."""
        return self._child.poll() if self._child is not None else None

    def running(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return _lives(self._process)

    def signal(self, number: Signals) -> None:
        """Send a signal; nothing happens when the process is gone already."""
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if self.running():
                self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """True when the process has ended within the time."""
        ended = wait_until(lambda: not self.running(), timeout_s)
        if ended:
            self.pid_file.unlink(missing_ok=True)
        return ended

    def stop(self, number: Signals = SIGTERM, *, patience_s: float) -> bool:
        """Ask with ``number``, then end it with SIGKILL. True when it went by itself."""
        self.signal(number)
        if self.wait(patience_s):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        self.signal(SIGKILL)
        # SIGKILL takes effect at once unless the process sits in the kernel (a dying disk): do not wait for ever.
        self.wait(10)


def launcher(*, user: str | None = None, any_path: bool = False, death_signal: Signals | None = None) -> list[str]:
    """Words to put before a command so that it runs as ``launch.py`` describes."""
    words = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    if user is not None:
        words += ["--user", user]
    if any_path:
        words.append("--any-path")
    if death_signal is not None and sys.platform == "linux":
        words += ["--death-signal", str(int(death_signal)), "--parent", str(os.getpid())]
    return [*words, "--"]


def _lives(process: psutil.Process) -> bool:
    """False once it has ended, even where its parent never asks for the exit code.

    A process whose first thread has ended looks like a zombie while its other threads still hold ports and files.
    """
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until true (then True) or until the time is over (then False)."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
