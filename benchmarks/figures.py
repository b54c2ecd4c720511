"""What a benchmark prints: one line per figure, with the ratio to a baseline of the same minute; JSON lines on request."""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

# Above this share of the machine in other hands a figure says more about them than about us.
_OTHERS_ALLOWED: Final = 0.10


class Floor(NamedTuple):
    """What a figure has to reach."""

    text: str
    met: Callable[[float, float], bool]
    """Of the value and of its ratio to the baseline (0 where there is none)."""


@dataclass
class Figures:
    """Prints figures as they come and appends them to ``file`` (contract §7)."""

    file: Path | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def show(
        self,
        name: str,
        values: float | Sequence[float],
        unit: str,
        *,
        baseline: float | None = None,
        floor: Floor | None = None,
        others: float | None = None,
        **params: Any,
    ) -> float:
        """``values``: one measurement or several, of which the median counts. ``others``: the share of the machine that
        somebody else used while it was taken; with a ``floor`` it decides whether there is a verdict.
        """
        samples = [values] if isinstance(values, (int, float)) else list(values)
        value = statistics.median(samples)
        line: dict[str, Any] = {"name": name, "value": round(value, 4), "unit": unit}
        text = f"  {name:<34} {value:>12,.1f} {unit}"
        if baseline:
            line |= {"baseline": round(baseline, 4), "ratio": round(value / baseline, 4)}
            text += f"   {value / baseline:.2f} × the baseline's {baseline:,.1f}"
        if others is not None:
            params["others_cpu"] = f"{others:.0%}"
        shown = dict(params)
        if floor is not None:
            params |= {"floor": floor.text, "verdict": _verdict(floor, value, line.get("ratio", 0.0), others)}
            text += f"   {params['verdict']} ({floor.text})"
        line |= {"samples": len(samples), "params": params}
        if shown:
            text += "   (" + ", ".join(f"{key} {value}" for key, value in shown.items()) + ")"
        print(text, flush=True)
        self.lines.append(line)
        if self.file is not None:
            with self.file.open("a") as out:
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        return value


def _verdict(floor: Floor, value: float, ratio: float, others: float | None) -> str:
    if others is not None and others > _OTHERS_ALLOWED:
        return f"no verdict: others used {others:.0%}"
    return "floor met" if floor.met(value, ratio) else "floor missed"


class Cpu:
    """CPU seconds of named processes, and the share of the machine that others had, since the start of a measurement.

    Others are whoever is neither this process nor started by it: servers, services, baselines and the sender are ours.
    """

    def __init__(self, **groups: Sequence[int]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}
        self._before = self._read()
        self._ours = _tree()
        self._machine = _busy()
        self._began = time.monotonic()

    def _read(self) -> dict[str, float]:
        return {name: sum(_seconds(process) for process in group) for name, group in self._processes.items()}

    def seconds(self) -> dict[str, float]:
        """By group."""
        after = self._read()
        return {name: after[name] - self._before[name] for name in after}

    def others(self) -> float:
        """Their share of the machine, 0 to 1."""
        wall = max(time.monotonic() - self._began, 1e-3)
        # Read in this order, what begins in between counts as ours.
        machine = _busy() - self._machine
        return max(0.0, machine - (_tree() - self._ours)) / (wall * len(_cpus()))


def peak_mb(pids: Sequence[int]) -> int:
    """The most memory that these processes have had resident since they began, each by itself, summed."""
    return round(sum(_peak(pid) for pid in pids) / 1e6)


def _peak(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Where the kernel does not keep the peak (macOS), what it is now, at the end of the measurement, stands for it.
    return int(psutil.Process(pid).memory_info().rss)


def _seconds(process: psutil.Process) -> float:
    return sum(_used(one) for one in [process, *process.children(recursive=True)])


def _tree() -> float:
    """CPU seconds of this process and all that it has started, those that have ended included: parents inherit them."""
    myself = psutil.Process()
    return sum(_used(one, ended=True) for one in [myself, *myself.children(recursive=True)])


def _used(process: psutil.Process, *, ended: bool = False) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    own = float(times.user + times.system)
    return own + float(times.children_user + times.children_system) if ended else own


def _cpus() -> list[int]:
    """The processors that we may use: a container may show the whole host's."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count() or 1))


def _busy() -> float:
    """Seconds that these processors did not idle; what a hypervisor took from us counts as others' work."""
    every = psutil.cpu_times(percpu=True)
    names = ("user", "system", "nice", "irq", "softirq", "steal")
    return float(sum(getattr(every[number], name, 0.0) for number in _cpus() for name in names))
