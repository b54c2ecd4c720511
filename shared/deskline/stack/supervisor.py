"""Runs the services as processes, starts again those that die, stops all of them in time.

Each instance is kept by one task: start, watch, wait a little, start again. The wait grows only while an instance ends
by itself soon after its start (it would do so again at once); one that was killed from outside, or ran for a while,
comes back immediately. Services die with the supervisor (Linux: by the kernel's parent-death signal), and a supervisor
that finds some of a former one stops them first: nobody restarts those, and they hold partitions.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final

from deskline.errors import UsageError
from deskline.stack.files import HOST, free_ports, port_is_free, tail
from deskline.stack.http import get
from deskline.stack.processes import OwnedProcess, wait_until

_POLL_S: Final = 0.05
_READY_POLL_S: Final = 0.1
# An instance that ran for so long did not fail at its start; what ends it later comes back without delay.
_SETTLED_S: Final = 10.0
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 10.0
# Before it was ever ready: a service that ends three times in a row will not get better by a fourth try.
_HOPELESS: Final = 3
# Longer than a service's own drain (ServiceSettings.drain_s, twice, and ten seconds): it ends itself in order.
STOP_S: Final = 35.0


@dataclass(slots=True)
class Instance:
    """One process of a service. ``number`` counts from 1."""

    service: str
    number: int
    port: int
    process: OwnedProcess | None = None
    starts: int = 0
    failures: int = 0
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.port}"


def delay_s(failures: int) -> float:
    """How long to wait before the next start, after so many quick ends in a row: 0, 0.2, 0.4, … 10 s."""
    return 0.0 if failures == 0 else min(_FIRST_DELAY_S * 2 ** (failures - 1), _LONGEST_DELAY_S)


def failures_after(failures: int, exit_code: int | None, ran_s: float) -> int:
    """The count of quick ends in a row. A negative exit code is a signal: killed from outside, not by its own doing."""
    if ran_s >= _SETTLED_S or (exit_code is not None and exit_code < 0):
        return 0
    return failures + 1


def service_command(service: str) -> list[str]:
    """What runs a service."""
    return [sys.executable, "-m", "deskline", service]


class Supervisor:
    """``changed`` is called after every restart, when pids are different. ``command`` gives the words that run a service
    which listens on ``DESKLINE_HTTP_PORT``.
    """

    def __init__(
        self,
        state_dir: Path,
        environment: Mapping[str, str],
        *,
        changed: Callable[[], None] = lambda: None,
        command: Callable[[str], list[str]] = service_command,
    ) -> None:
        self.instances: list[Instance] = []
        self._logs = state_dir / "logs"
        self._run = state_dir / "run"
        self._environment = environment
        self._changed = changed
        self._command = command
        self._stopping = False

    def clear_leftovers(self) -> int:
        """Stop what a killed supervisor left (blocking); returns how many there were."""
        return stop_leftovers(self._run)

    def start(self, replicas: Mapping[str, int]) -> None:
        """Start every instance and keep it. Call it from the thread that lives as long as the services shall."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._run.mkdir(parents=True, exist_ok=True)
        wanted = [(service, number) for service, count in replicas.items() for number in range(1, count + 1)]
        ports = free_ports(len(wanted))
        for (service, number), port in zip(wanted, ports, strict=True):
            instance = Instance(service, number, port)
            self.instances.append(instance)
            self._spawn(instance)
            instance.task = asyncio.create_task(self._keep(instance))

    async def wait_ready(self, timeout_s: float) -> None:
        """Until every ``/readyz`` answers 200 at one time. Raises ``UsageError`` with the log of one that does not."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            answers = await asyncio.gather(*(get(f"{instance.http}/readyz") for instance in self.instances))
            waiting = [
                instance
                for instance, answer in zip(self.instances, answers, strict=True)
                if answer is None or answer[0] != 200
            ]
            if not waiting:
                return
            for instance in waiting:
                if instance.failures >= _HOPELESS:
                    raise UsageError(
                        f"{instance.name} ends at once, {instance.failures} times now.\n{self._excerpt(instance)}"
                    )
            if asyncio.get_running_loop().time() > deadline:
                names = ", ".join(instance.name for instance in waiting)
                raise UsageError(f"not ready within {timeout_s:.0f} s: {names}\n{self._excerpt(waiting[0])}")
            await asyncio.sleep(_READY_POLL_S)

    def describe(self) -> dict[str, list[dict[str, Any]]]:
        """``services`` of stack.json."""
        services: dict[str, list[dict[str, Any]]] = {}
        for instance in self.instances:
            pid = instance.process.pid if instance.process is not None else None
            services.setdefault(instance.service, []).append({"pid": pid, "http": instance.http})
        return services

    def find(self, service: str, number: int = 1) -> Instance:
        return next(each for each in self.instances if (each.service, each.number) == (service, number))

    async def pause(self, service: str) -> None:
        """Stop a service's instances and do not start them again (fault tests: an autoreply that is away)."""
        mine = [each for each in self.instances if each.service == service]
        await self._end(mine)

    async def resume(self, service: str) -> None:
        """Undo ``pause``."""
        for instance in [each for each in self.instances if each.service == service]:
            self._spawn(instance)
            instance.task = asyncio.create_task(self._keep(instance))

    async def scale(self, service: str, count: int) -> None:
        """So many instances of the service from now on: further ones are started, surplus ones end in order, the last first."""
        mine = sorted((each for each in self.instances if each.service == service), key=lambda each: each.number)
        surplus = mine[count:]
        await self._end(surplus)
        self.instances = [each for each in self.instances if each not in surplus]
        for port in free_ports(max(0, count - len(mine))):
            number = 1 + max((each.number for each in self.instances if each.service == service), default=0)
            instance = Instance(service, number, port)
            self.instances.append(instance)
            self._spawn(instance)
            instance.task = asyncio.create_task(self._keep(instance))
        self._changed()

    async def stop(self) -> None:
        """SIGTERM to all at once, SIGKILL to those that do not go in time."""
        self._stopping = True
        await self._end(self.instances)

    def hasten(self) -> None:
        """End at once what is still stopping."""
        for instance in self.instances:
            if instance.process is not None:
                instance.process.signal(SIGKILL)

    async def _end(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            if instance.task is not None:
                instance.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await instance.task
        running = [each.process for each in instances if each.process is not None]
        for process in running:
            process.signal(SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(process.stop, patience_s=STOP_S) for process in running))

    def _spawn(self, instance: Instance) -> None:
        if not port_is_free(instance.port):
            instance.port = free_ports(1)[0]
        instance.process = OwnedProcess.spawn(
            self._command(instance.service),
            pid_file=self._run / f"{instance.name}.pid",
            log=self._log(instance),
            env={
                **os.environ,
                **self._environment,
                "DESKLINE_HTTP_HOST": HOST,
                "DESKLINE_HTTP_PORT": str(instance.port),
                "DESKLINE_INSTANCE": str(instance.number),
                "PYTHONUNBUFFERED": "1",
            },
            death_signal=SIGTERM,
        )
        instance.starts += 1

    async def _keep(self, instance: Instance) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            started = loop.time()
            process = instance.process
            assert process is not None
            while process.running():  # noqa: ASYNC110  (the end of a process raises no event here)
                await asyncio.sleep(_POLL_S)
            instance.failures = failures_after(instance.failures, process.exit_code, loop.time() - started)
            await asyncio.sleep(delay_s(instance.failures))
            self._spawn(instance)
            self._changed()

    def _log(self, instance: Instance) -> Path:
        return self._logs / f"{instance.name}.log"

    def _excerpt(self, instance: Instance) -> str:
        log = self._log(instance)
        return f"Its log: {log}\n{tail(log)}"


def stop_leftovers(run: Path) -> int:
    """End every service whose pid file is in ``run``, together; returns how many there were."""
    found = [process for file in sorted(run.glob("*.pid")) if (process := OwnedProcess.find(file)) is not None]
    for process in found:
        process.signal(SIGTERM)
    wait_until(lambda: not any(process.running() for process in found), STOP_S)
    for process in found:
        process.kill()
    return len(found)


def parse_replicas(text: str, services: Sequence[str]) -> dict[str, int]:
    """``router=4,sla=2`` → the count of every service, 1 where not named. Raises ``UsageError``."""
    counts = dict.fromkeys(services, 1)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.partition("=")
        if name not in counts:
            raise UsageError(f"--replicas: there is no service {name!r}; there are {', '.join(services)}.")
        if not count.isdecimal() or int(count) > 64:
            raise UsageError(f"--replicas: {part!r}; write for example {name}=2 (0 to 64).")
        counts[name] = int(count)
    return counts


def dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
