"""Draining a backlog: each service alone, then all four at once, beside the baselines of the same minute."""

import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.load.envelopes import Gateway, Shape
from tests.load.sender import Sender
from tests.load.static import static_backlog

from benchmarks.figures import Cpu, Figures, Floor, peak_mb
from benchmarks.stages import STAGES, Samplers, readable
from deskline.clock import now_us
from deskline.records import CONVERSATIONS, REPLIES
from deskline.stack.stack import Options, Stack
from deskline.stack.supervisor import service_command

ORDER = ("autoreply", "router", "sla", "archive")
"""Each leaves what the next one reads beside the conversations."""
CONFIG = Path(__file__).parent / "config"
_POLL_S = 0.1
_LIVE_S = 0.02
_QUIET_S = 0.5
_LIMIT_S = 600.0
# Of what has been consumed: fewer records than that, with everybody caught up, are no backlog any more.
_TRICKLE: Final = 0.01
# More records would make a profile no truer.
_PROFILED: Final = 100_000
_DRAIN_FLOOR: Final = Floor(
    "≥ 20,000 records/s and ≥ 3 × FastStream", lambda value, ratio: value >= 20_000 and ratio >= 3
)
_PIPELINE_FLOOR: Final = Floor("≥ 8,000 messages/s", lambda value, _: value >= 8_000)
_SPINE_FLOOR: Final = Floor("≥ 0.75 × pipelined at least once", lambda _, ratio: ratio >= 0.75)


@asynccontextmanager
async def bench_stack(
    replicas: Mapping[str, int], command: Callable[[str], list[str]] = service_command, config: Path = CONFIG
) -> AsyncIterator[Stack]:
    """Kafka and PostgreSQL as for benchmarks (JIT on, fsync on), and the services named, in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="deskline-bench-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL runs under another account, which has to get through.
        Path(folder).chmod(0o711)
        options = Options(
            config_dir=config,
            state_dir=Path(folder) / "state",
            replicas=replicas,
            kafka_profile="bench",
            dies_with_parent=True,
            command=command,
        )
        async with Stack(options, progress=lambda text: print(f"  · {text}", flush=True)) as stack:
            yield stack


async def fill(stack: Stack, messages: int, seed: int = 1) -> None:
    """``messages`` records of real conversations on conversations.v1."""
    async with Sender(stack.bootstrap_servers, stack.options.topic_prefix) as sender:
        now = now_us()
        gateway = Gateway(Shape(), random.Random(seed))
        await sender.send([gateway.status(f"agent-{number:02d}", "online", now) for number in range(40)])
        chunk: list[Any] = []
        for draft in static_backlog(seed, messages, now):
            chunk.append(draft)
            if len(chunk) == 10_000:
                await sender.send(chunk)
                chunk.clear()
        await sender.send(chunk)


async def baseline(what: str, stack: Stack, count: int, *more: str) -> dict[str, float]:
    """Run one of ``benchmarks.baselines`` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.baselines", what, stack.bootstrap_servers,
        stack.options.topic_prefix + CONVERSATIONS, str(count), *more,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    except BaseException:
        process.kill()
        raise
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())
    except OSError:
        return ""


async def _consumed(instances: Sequence[Mapping[str, Any]]) -> int:
    total = 0
    for instance in instances:
        text = await asyncio.to_thread(_get, f"{instance['http']}/metrics")
        for line in text.splitlines():
            if line.startswith("deskline_records_total{"):
                total += int(float(line.rsplit(" ", 1)[1]))
    return total


async def caught_up(instances: Sequence[Mapping[str, Any]]) -> bool:
    for instance in instances:
        text = await asyncio.to_thread(_get, f"{instance['http']}/readyz")
        if not text or not json.loads(text).get("caught_up"):
            return False
    return True


class NoFigureError(RuntimeError):
    """A service ended while it was measured, or there was too little to measure."""


@dataclass
class Drained:
    """How a backlog went."""

    records: int
    seconds: float
    began: float
    """Of the monotonic clock; so is ``ended``."""
    cpu: Mapping[str, float]
    """CPU seconds by service, and of ``kafka`` and ``postgres``."""
    others: float
    peak_mb: Mapping[str, int]

    @property
    def ended(self) -> float:
        return self.began + self.seconds


def start(stack: Stack, services: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Start the services; their processes by name."""
    stack.services.start(dict.fromkeys(services, 1))
    described = stack.services.describe()
    return {service: described[service] for service in services}


async def drain(stack: Stack, services: Mapping[str, Sequence[Mapping[str, Any]]]) -> Drained:
    """Wait until what was started has caught up; raises ``NoFigureError`` where that says nothing."""
    instances = [instance for group in services.values() for instance in group]
    groups = {service: [instance["pid"] for instance in group] for service, group in services.items()}
    known = stack.describe()
    first = first_at = 0.0
    deadline = time.monotonic() + _LIMIT_S
    cpu: Cpu | None = None
    last, last_at = 0, 0.0
    end: tuple[int, float] | None = None
    while time.monotonic() < deadline:
        _same(stack, groups)
        count = await _consumed(instances)
        at = time.monotonic()
        if count and cpu is None:
            first, first_at = count, at
            cpu = Cpu(**groups, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])
        grown = count - last
        if grown:
            last, last_at = count, at
        # Clocks go on ringing when the backlog is gone (silence, offers, breaches): what trickles in then is not it.
        if end is not None and count - end[0] > end[0] * _TRICKLE:
            end = None
        if cpu is not None and grown <= count * _TRICKLE and await caught_up(instances):
            end = end or (last, last_at)
            if at - end[1] > _QUIET_S:
                break
        await asyncio.sleep(_POLL_S)
    else:
        raise TimeoutError(f"{[*services]} did not catch up in {_LIMIT_S} s")
    assert cpu is not None
    if end[0] <= first:
        raise NoFigureError(f"{', '.join(services)}: the backlog was gone at the first look; give more --messages")
    peaks = {service: peak_mb(pids) for service, pids in groups.items()}
    return Drained(int(end[0] - first), end[1] - first_at, first_at, cpu.seconds(), cpu.others(), peaks)


def _same(stack: Stack, groups: Mapping[str, Sequence[int]]) -> None:
    """The supervisor starts again what ends; counters and CPU seconds would begin anew, and mean nothing."""
    now = stack.services.describe()
    for service, pids in groups.items():
        if [instance["pid"] for instance in now[service]] != list(pids):
            log = (stack.state_dir / "logs" / f"{service}-1.log").read_text().splitlines()
            why = [line for line in log if "stopped" in line][-1:] or log[-1:]
            raise NoFigureError(f"{service} ended while it was measured. {' '.join(why)}")


async def services(figures: Figures, names: Sequence[str], messages: int) -> None:
    """``drain_<service>``: records a second of one instance, every effect exactly once."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        for name in _up_to(names):
            beside = await _beside(stack, messages) if name in names else None
            drained = await drain(stack, start(stack, [name]))
            await stack.services.pause(name)
            if beside is None:
                continue
            rate = drained.records / drained.seconds
            figures.show(
                f"drain_{name}",
                rate,
                "records/s",
                floor=_DRAIN_FLOOR,
                **_against(beside, drained, rate),
                peak_mb=drained.peak_mb[name],
                cpu_per_s=round(drained.cpu[name] / drained.seconds, 2),
                records_per_cpu_s=round(drained.records / max(drained.cpu[name], 0.01)),
                postgres_us=round(drained.cpu["postgres"] / drained.records * 1e6, 1),
                kafka_us=round(drained.cpu["kafka"] / drained.records * 1e6, 1),
            )


def _up_to(names: Sequence[str]) -> Sequence[str]:
    """What has to run for these to find what they read."""
    return ORDER[: max(ORDER.index(one) for one in names) + 1]


@dataclass
class _Beside:
    """Messages a second of the baselines, and what others used meanwhile."""

    raw: float
    faststream: float
    others: float


async def _beside(stack: Stack, messages: int) -> _Beside:
    cpu = Cpu()
    raw = await baseline("raw", stack, messages)
    plain = await baseline("faststream", stack, min(messages, 20_000))
    return _Beside(raw["messages"] / raw["seconds"], plain["messages"] / plain["seconds"], cpu.others())


def _against(beside: _Beside, drained: Drained, rate: float) -> dict[str, Any]:
    """What every line of a drain says of its baselines."""
    return {
        "baseline": beside.faststream,
        "others": max(drained.others, beside.others),
        "raw": round(beside.raw),
        "of_raw": round(rate / beside.raw, 3),
        "records": drained.records,
    }


async def pipeline(figures: Figures, messages: int) -> None:
    """All four at once on one backlog: messages of conversations.v1 a second, end to end."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        beside = await _beside(stack, messages)
        drained = await drain(stack, start(stack, ORDER))
        rate = messages / drained.seconds
        figures.show(
            "drain_pipeline",
            rate,
            "messages/s",
            floor=_PIPELINE_FLOOR,
            **_against(beside, drained, rate),
            **{f"{name}_peak_mb": drained.peak_mb[name] for name in ORDER},
            **{f"{name}_us": round(drained.cpu[name] / messages * 1e6, 1) for name in (*ORDER, "postgres", "kafka")},
        )


async def profile(figures: Figures, names: Sequence[str], messages: int) -> None:
    """``profile_<service>_<stage>``: where a record's microseconds go. A pass of its own: who is watched is slower."""
    messages = min(messages, _PROFILED)
    async with bench_stack({}, command=lambda service: readable(service_command(service))) as stack:
        await fill(stack, messages)
        for name in _up_to(names):
            started = start(stack, [name])
            if name not in names:
                await drain(stack, started)
            else:
                await _profile_one(figures, stack, name, started)
            await stack.services.pause(name)


async def _profile_one(
    figures: Figures, stack: Stack, name: str, started: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    [instance] = started[name]
    # Before that it imports modules; the records come later still, once it has joined its group.
    while not await asyncio.to_thread(_get, f"{instance['http']}/livez"):  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(_LIVE_S)
    samplers = Samplers(name, instance["pid"], stack.postgres_dsn, stack.state_dir)
    await samplers.start()
    drained = await drain(stack, started)
    seen = await samplers.stop(drained.began, drained.ended)
    if seen.problem:
        print(f"  py-spy saw nothing of {name}: {seen.problem}")
    samples = seen.own.total()
    own_us = drained.cpu[name] / drained.records * 1e6
    wall_us = drained.seconds / drained.records * 1e6
    figures.show(
        f"profile_{name}",
        wall_us,
        "µs/record",
        others=drained.others,
        own_us=round(own_us, 1),
        records=drained.records,
        stacks=samples,
        statements=seen.looks,
    )
    for stage in STAGES:
        own = own_us * seen.own[stage] / max(samples, 1)
        database = wall_us * seen.database[stage] / max(seen.looks, 1)
        most = [f"{leaf} {count / samples:.0%}" for leaf, count in seen.leaves[stage].most_common(2)]
        figures.show(
            f"profile_{name}_{stage}",
            own + database,
            "µs/record",
            own_us=round(own, 1),
            database_us=round(database, 1),
            most="; ".join(most) or "-",
        )


async def spine(figures: Figures, messages: int) -> None:
    """The engine alone: what exactly once costs against a loop that forgets, and against one that promises less."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        plain = await baseline("raw", stack, messages)
        figures.show("spine_raw_getmany", plain["messages"] / plain["seconds"], "messages/s")
        plain = await baseline("faststream", stack, min(messages, 20_000))
        figures.show("spine_faststream_per_message", plain["messages"] / plain["seconds"], "messages/s")
        cpu = Cpu()
        loose = await baseline("pipelined", stack, messages, stack.options.topic_prefix + REPLIES)
        rate = loose["messages"] / loose["seconds"]
        figures.show("spine_pipelined_at_least_once", rate, "messages/s")
        from benchmarks.echo import drain_echo

        count, seconds = await drain_echo(stack.settings(), messages)
        figures.show(
            "spine_exactly_once", count / seconds, "messages/s", baseline=rate, floor=_SPINE_FLOOR, others=cpu.others()
        )
