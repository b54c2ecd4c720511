"""What a run of load did to the machine, and what came out: samples while it lasts, figures from the topics afterwards, plots."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import psutil

from deskline.clock import SECOND, parse_rfc3339
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SHOPS, SLA
from deskline.stack.http import get
from deskline.stack.stack import Stack
from deskline.topic_reader import opened

_PROMISES = {"instant_reply": 30, "agent_response": 180, "transfer_response": 300}
_TABLES = """
    SELECT n.nspname || '.' || c.relname AS name, pg_table_size(c.oid) AS size, pg_indexes_size(c.oid) AS indexes,
           coalesce(s.n_dead_tup, 0) AS dead, coalesce(s.n_live_tup, 0) AS live
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind = 'r' AND n.nspname IN ('archive', 'autoreply', 'router', 'sla')
"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass
class Sample:
    at_s: float
    lag: dict[str, int]
    rss_mb: dict[str, float]
    cpu: dict[str, float]
    """Of one processor, since the last sample."""
    fds: dict[str, int]
    under_way: int
    connections: int = 0
    tables: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """(bytes, bytes of indexes, dead, live)."""


class Sampler:
    """``async with Sampler(stack, …) as sampler``: a sample every ``every_s``. ``tables``: the database's as well."""

    def __init__(self, stack: Stack, every_s: float, under_way: Callable[[], int], *, tables: bool = False) -> None:
        self._stack, self._every_s, self._under_way, self._tables = stack, every_s, under_way, tables
        self.samples: list[Sample] = []
        self._cpu: dict[int, float] = {}
        self._began = time.monotonic()
        self._last = self._began
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._stack.postgres_dsn)
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.close()

    async def _watch(self) -> None:
        while True:
            self.samples.append(await self._sample())
            await asyncio.sleep(self._every_s)

    async def _sample(self) -> Sample:
        instances = list(self._stack.services.instances)
        answers = await asyncio.gather(*(get(f"{instance.http}/readyz", 1.0) for instance in instances))
        lag: Counter[str] = Counter()
        for instance, answer in zip(instances, answers, strict=True):
            if answer is not None:
                lag[instance.service] += json.loads(answer[1])["lag_records"]
        now = time.monotonic()
        took, self._last = max(now - self._last, 1e-6), now
        rss: dict[str, float] = defaultdict(float)
        cpu: dict[str, float] = defaultdict(float)
        fds: dict[str, int] = defaultdict(int)
        for name, process in self._processes():
            try:
                with process.oneshot():
                    rss[name] += process.memory_info().rss / 1e6
                    used = sum(process.cpu_times()[:2])
                    fds[name] += process.num_fds()
            except psutil.Error:
                continue
            cpu[name] += max(0.0, used - self._cpu.get(process.pid, used)) / took
            self._cpu[process.pid] = used
        sample = Sample(now - self._began, dict(lag), dict(rss), dict(cpu), dict(fds), self._under_way())
        sample.connections = await self._connection.fetchval(_CONNECTIONS)
        if self._tables:
            rows = await self._connection.fetch(_TABLES)
            sample.tables = {row["name"]: (row["size"], row["indexes"], row["dead"], row["live"]) for row in rows}
        return sample

    def _processes(self) -> Iterable[tuple[str, psutil.Process]]:
        for instance in self._stack.services.instances:
            if instance.process is not None and psutil.pid_exists(instance.process.pid):
                yield instance.service, psutil.Process(instance.process.pid)
        servers = (("kafka", self._stack.kafka), ("postgres", self._stack.postgres))
        for name, server in servers:
            for pid in server.pids() if server is not None else ():
                if psutil.pid_exists(pid):
                    process = psutil.Process(pid)
                    # What a backend shares with the others would be counted once for each: the parent stands for memory.
                    yield name, process
                    if name == "postgres":
                        for child in process.children():
                            yield "postgres backends", child


# --- figures --------------------------------------------------------------------------------------------------------------


def percentile(ordered: Sequence[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def _spread(delays: list[float]) -> dict[str, float]:
    ordered = sorted(delays)
    return {
        "count": len(ordered),
        "p50_s": round(percentile(ordered, 50), 3),
        "p99_s": round(percentile(ordered, 99), 3),
    }


async def figures(stack: Stack, phase_of: Callable[[int], str]) -> dict[str, Any]:
    """By phase (of the instant in µs at which something began): promises kept, how soon was decided; and what surged, what was late."""
    topics: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    async with opened(stack.settings()) as reader:
        for topic in (CONVERSATIONS, REPLIES, ROUTING, SHOPS, SLA):
            topics[topic] = [
                (record.broker_at, json.loads(record.value))
                async for record in reader.until_end(topic)
                if record.value is not None
            ]
    kept: dict[str, Counter[str]] = defaultdict(Counter)
    late: list[float] = []
    for at, event in topics[SLA]:
        word, data = event["type"].split(".")[1], event["data"]
        if word in ("met", "breached") and data["metric"] in _PROMISES:
            kept[phase_of(parse_rfc3339(data["started_at"]))][f"{data['metric']} {word}"] += 1
        if word == "breached":
            late.append((at - parse_rfc3339(data["due_at"])) / SECOND)
    return {
        "records_on_topics": sum(len(records) for records in topics.values()),
        "kept": {phase: _kept(counts) for phase, counts in kept.items()},
        "decided": _decided(topics, phase_of),
        "breaches_told": _spread(late),
        "surges": [
            {"at": event["time"], "what": event["type"].split(".")[1], "shop": event["data"]["shop_id"]}
            for _, event in topics[SHOPS]
            if event["type"].startswith("routing.surge")
        ],
    }


def _kept(counts: Counter[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric, seconds in _PROMISES.items():
        met, breached = counts[f"{metric} met"], counts[f"{metric} breached"]
        if met + breached:
            found[f"{metric} ({seconds} s)"] = {"share": round(met / (met + breached), 4), "clocks": met + breached}
    return found


def _decided(
    topics: dict[str, list[tuple[int, dict[str, Any]]]], phase_of: Callable[[int], str]
) -> dict[str, dict[str, dict[str, float]]]:
    """From broker timestamp to broker timestamp: a message to its outcome, a hand-over to the router's first word."""
    outcomes: dict[tuple[str, str], int] = {}
    handed: list[tuple[str, int]] = []
    for at, event in topics[REPLIES]:
        data = event["data"]
        name = data.get("in_reply_to") or data.get("message_id")
        if event["type"] != "message.flagged.v1" and name is not None:
            outcomes.setdefault((event["subject"], name), at)
        if event["type"] == "handover.requested.v1":
            handed.append((event["subject"], at))
    words: dict[str, list[int]] = defaultdict(list)
    for at, event in topics[ROUTING]:
        words[event["subject"]].append(at)
    delays: dict[str, dict[str, list[float]]] = {"autoreply": defaultdict(list), "router": defaultdict(list)}
    for at, event in topics[CONVERSATIONS]:
        if event["type"] == "message.received.v1":
            done = outcomes.get((event["subject"], event["data"]["message_id"]))
            if done is not None:
                delays["autoreply"][phase_of(at)].append((done - at) / SECOND)
    for subject, at in handed:
        first = min((word for word in words[subject] if word >= at), default=None)
        if first is not None:
            delays["router"][phase_of(at)].append((first - at) / SECOND)
    return {name: {phase: _spread(found) for phase, found in by.items()} for name, by in delays.items()}


# --- plots ----------------------------------------------------------------------------------------------------------------


def plot(path: Path, samples: Sequence[Sample], marks: Sequence[tuple[float, str]], title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    at = [sample.at_s / 60 for sample in samples]
    names = sorted({name for sample in samples for name in sample.rss_mb})
    figure, axes = plt.subplots(4, 1, figsize=(11, 13), sharex=True)
    axes[0].plot(at, [sample.under_way for sample in samples], color="black")
    axes[0].set_ylabel("conversations under way")
    for name in sorted({name for sample in samples for name in sample.lag}):
        axes[1].plot(at, [sample.lag.get(name, 0) for sample in samples], label=name)
    axes[1].set_ylabel("lag (records)")
    axes[1].set_yscale("symlog")
    for name in names:
        axes[2].plot(at, [sample.cpu.get(name, 0.0) for sample in samples], label=name)
        axes[3].plot(at, [sample.rss_mb.get(name, 0.0) for sample in samples], label=name)
    axes[2].set_ylabel("processors")
    axes[3].set_ylabel("memory (MB)")
    axes[3].set_xlabel("minutes")
    for axis in axes:
        for when, _ in marks:
            axis.axvline(when / 60, color="grey", linestyle=":")
        axis.grid(alpha=0.3)
    for axis in axes[1:]:
        axis.legend(fontsize="small", ncols=4)
    for when, name in marks:
        axes[0].annotate(name, (when / 60, axes[0].get_ylim()[1]), fontsize="small", va="top")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
