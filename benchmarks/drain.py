"""Draining a backlog: each service alone, then all four at once, beside the baselines of the same minute."""

import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.load.envelopes import Gateway, Shape
from tests.load.sender import Sender
from tests.load.static import static_backlog

from benchmarks.figures import Cpu, Figures
from deskline.clock import now_us
from deskline.records import CONVERSATIONS, REPLIES
from deskline.stack.stack import Options, Stack

ORDER = ("autoreply", "router", "sla", "archive")
"""Each leaves what the next one reads beside the conversations."""
CONFIG = Path(__file__).parent / "config"
_POLL_S = 0.1
_LIMIT_S = 600.0


@asynccontextmanager
async def bench_stack(replicas: Mapping[str, int]) -> AsyncIterator[Stack]:
    """Kafka and PostgreSQL as for benchmarks (JIT on, fsync on), and the services named, in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="deskline-bench-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL runs under another account, which has to get through.
        Path(folder).chmod(0o711)
        options = Options(
            config_dir=CONFIG,
            state_dir=Path(folder) / "state",
            replicas=replicas,
            kafka_profile="bench",
            dies_with_parent=True,
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


async def _caught_up(instances: Sequence[Mapping[str, Any]]) -> bool:
    for instance in instances:
        text = await asyncio.to_thread(_get, f"{instance['http']}/readyz")
        if not text or not json.loads(text).get("caught_up"):
            return False
    return True


async def drain(stack: Stack, services: Sequence[str]) -> tuple[int, float, dict[str, float]]:
    """Start the services, wait until they have caught up: (records consumed, seconds, CPU seconds by process group)."""
    supervisor = stack.services
    supervisor.start(dict.fromkeys(services, 1))
    described = supervisor.describe()
    instances = [instance for service in services for instance in described[service]]
    groups = {service: [instance["pid"] for instance in described[service]] for service in services}
    known = stack.describe()
    first = first_at = 0.0
    deadline = time.monotonic() + _LIMIT_S
    cpu: Cpu | None = None
    last, last_at = 0, 0.0
    while time.monotonic() < deadline:
        count = await _consumed(instances)
        at = time.monotonic()
        if count and cpu is None:
            first, first_at = count, at
            cpu = Cpu(**groups, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])
        if count > last:
            last, last_at = count, at
        if cpu is not None and at - last_at > 0.5 and await _caught_up(instances):
            break
        await asyncio.sleep(_POLL_S)
    else:
        raise TimeoutError(f"{services} did not catch up in {_LIMIT_S} s")
    assert cpu is not None
    return int(last - first), last_at - first_at, cpu.seconds()


async def services(figures: Figures, names: Sequence[str], messages: int) -> None:
    """``drain_<service>``: records a second of one instance, every effect exactly once."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        for name in ORDER[: max(ORDER.index(one) for one in names) + 1]:
            plain = await baseline("faststream", stack, min(messages, 20_000)) if name in names else None
            count, seconds, cpu = await drain(stack, [name])
            await stack.services.pause(name)
            if plain is None:
                continue
            figures.show(
                f"drain_{name}",
                count / seconds,
                "records/s",
                baseline=plain["messages"] / plain["seconds"],
                records=count,
                cpu_per_s=round(cpu[name] / seconds, 2),
                records_per_cpu_s=round(count / max(cpu[name], 0.01)),
                postgres_us=round(cpu["postgres"] / count * 1e6, 1),
                kafka_us=round(cpu["kafka"] / count * 1e6, 1),
                others_cpu=f"{cpu['others'] / seconds / 2:.0%}",
            )


async def pipeline(figures: Figures, messages: int) -> None:
    """All four at once on one backlog: messages of conversations.v1 a second, end to end."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        plain = await baseline("faststream", stack, min(messages, 20_000))
        count, seconds, cpu = await drain(stack, ORDER)
        figures.show(
            "drain_pipeline",
            messages / seconds,
            "messages/s",
            baseline=plain["messages"] / plain["seconds"],
            records=count,
            **{f"{name}_us": round(cpu[name] / messages * 1e6, 1) for name in (*ORDER, "postgres", "kafka")},
            others_cpu=f"{cpu['others'] / seconds / 2:.0%}",
        )


async def spine(figures: Figures, messages: int) -> None:
    """The engine alone: what exactly once costs against a loop that forgets, and against one that promises less."""
    async with bench_stack({}) as stack:
        await fill(stack, messages)
        plain = await baseline("raw", stack, messages)
        figures.show("spine_raw_getmany", plain["messages"] / plain["seconds"], "messages/s")
        plain = await baseline("faststream", stack, min(messages, 20_000))
        figures.show("spine_faststream_per_message", plain["messages"] / plain["seconds"], "messages/s")
        loose = await baseline("pipelined", stack, messages, stack.options.topic_prefix + REPLIES)
        rate = loose["messages"] / loose["seconds"]
        figures.show("spine_pipelined_at_least_once", rate, "messages/s")
        from benchmarks.echo import drain_echo

        count, seconds = await drain_echo(stack.settings(), messages)
        figures.show("spine_exactly_once", count / seconds, "messages/s", baseline=rate)
