"""What a benchmark prints: one line per figure, with the ratio to a baseline of the same minute; JSON lines on request."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


@dataclass
class Figures:
    """Prints figures as they come and appends them to ``file`` (contract §7)."""

    file: Path | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def show(
        self, name: str, values: float | Sequence[float], unit: str, *, baseline: float | None = None, **params: Any
    ) -> float:
        """``values``: one measurement or several, of which the median counts."""
        samples = [values] if isinstance(values, (int, float)) else list(values)
        value = statistics.median(samples)
        line: dict[str, Any] = {"name": name, "value": round(value, 4), "unit": unit}
        text = f"  {name:<34} {value:>12,.1f} {unit}"
        if baseline:
            line |= {"baseline": round(baseline, 4), "ratio": round(value / baseline, 4)}
            text += f"   {value / baseline:.2f} × the baseline's {baseline:,.1f}"
        line |= {"samples": len(samples), "params": params}
        if params:
            text += "   (" + ", ".join(f"{key} {value}" for key, value in params.items()) + ")"
        print(text, flush=True)
        self.lines.append(line)
        if self.file is not None:
            with self.file.open("a") as out:
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        return value


class Cpu:
    """CPU seconds of named processes, and of everybody else on the machine, since the start of a measurement."""

    def __init__(self, **groups: Sequence[int]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}
        self._before = self._read()
        self._machine = _busy()

    def _read(self) -> dict[str, float]:
        return {name: sum(_seconds(process) for process in group) for name, group in self._processes.items()}

    def seconds(self) -> dict[str, float]:
        """By group, plus ``others``: what the machine did beside them."""
        after = self._read()
        used = {name: after[name] - self._before[name] for name in after}
        used["others"] = max(0.0, _busy() - self._machine - sum(used.values()))
        return used


def _seconds(process: psutil.Process) -> float:
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))
