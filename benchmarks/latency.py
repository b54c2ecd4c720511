"""Latency at a steady rate through all four services: from a message's broker timestamp to its outcome's."""

import asyncio
import json
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from tests.load.envelopes import Draft
from tests.load.sender import Sender
from tests.load.static import static_backlog

from benchmarks.drain import ORDER, bench_stack, fill
from benchmarks.figures import Cpu, Figures, Floor, peak_mb
from deskline.clock import now_us
from deskline.records import CONVERSATIONS, REPLIES
from deskline.stack.stack import Stack

_TICK_S = 0.02
_WARM_S = 3.0
_JUDGED: Final = (1000, "p99")


async def measure(figures: Figures, rate: int, seconds: float) -> None:
    async with bench_stack(dict.fromkeys(ORDER, 1)) as stack:
        known = stack.describe()
        pids = {name: [one["pid"] for one in known["services"][name]] for name in ORDER}
        await fill(stack, 0)
        await _send(stack, rate, _WARM_S, seed=1)
        cpu = Cpu(**pids, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])
        began = time.monotonic()
        await _send(stack, rate, seconds, seed=2)
        used, others, wall = cpu.seconds(), cpu.others(), time.monotonic() - began
        await asyncio.sleep(3)
        late = await _latencies(stack, "s2-")
        memory = {name: peak_mb(pids[name]) for name in ORDER}
    late.sort()
    ours = sum(used.values()) / wall
    params: dict[str, Any] = {
        "rate": rate,
        "messages": len(late),
        "cpu": f"{ours:.0%}",
        **{f"{name}_peak_mb": value for name, value in memory.items()},
        **{f"{name}_cpu": f"{used[name] / wall:.0%}" for name in (*ORDER, "postgres", "kafka")},
    }
    floor = Floor("< 100 ms at ≤ 150 % CPU", lambda value, _: value < 100 and ours <= 1.5)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        value = late[min(len(late) - 1, int(len(late) * share))]
        figures.show(
            f"latency_{rate}_{name}",
            value,
            "ms",
            floor=floor if (rate, name) == _JUDGED else None,
            others=others if name == "p99" else None,
            **(params if name == "p99" else {}),
        )


async def _send(stack: Stack, rate: int, seconds: float, seed: int) -> None:
    """A steady stream whose times are those of its sending."""
    drafts = list(static_backlog(seed, int(rate * seconds), now_us()))
    async with Sender(stack.bootstrap_servers, stack.options.topic_prefix) as sender:
        began = time.monotonic()
        sent = 0
        running: set[asyncio.Task[None]] = set()
        while sent < len(drafts):
            upto = min(len(drafts), int((time.monotonic() - began) * rate))
            if upto > sent:
                task = asyncio.create_task(sender.send([_now(draft) for draft in drafts[sent:upto]]))
                running.add(task)
                task.add_done_callback(running.discard)
                sent = upto
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*running)


def _now(draft: Draft) -> Draft:
    of = json.loads(draft.value or b"{}")
    of["time"] = _rfc3339(now_us())
    return draft._replace(value=json.dumps(of, ensure_ascii=False).encode())


def _rfc3339(us: int) -> str:
    from deskline.clock import rfc3339

    return rfc3339(us)


async def _latencies(stack: Stack, subjects: str) -> list[float]:
    """Milliseconds by broker timestamps, for the messages of conversations whose id begins with ``subjects``."""
    arrived: dict[tuple[str, str], int] = {}
    decided: dict[tuple[str, str], int] = {}
    for message in await _read(stack, CONVERSATIONS):
        of = json.loads(message.value)
        if of["type"] == "message.received.v1" and of["subject"].startswith(subjects):
            arrived.setdefault((of["subject"], of["data"]["message_id"]), message.timestamp)
    for message in await _read(stack, REPLIES):
        of = json.loads(message.value)
        name = of["data"].get("message_id") or of["data"].get("in_reply_to")
        decided.setdefault((of["subject"], name), message.timestamp)
    missing = arrived.keys() - decided.keys()
    if missing:
        print(f"  {len(missing)} messages had no outcome yet")
    return [float(decided[key] - at) for key, at in arrived.items() if key in decided]


async def _read(stack: Stack, topic: str) -> list[Any]:
    topic = stack.options.topic_prefix + topic
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tps = list(consumer.assignment())
        ends = await consumer.end_offsets(tps)
        found: list[Any] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for batch in (await consumer.getmany(timeout_ms=500, max_records=5000)).values():
                found += batch
        return found
    finally:
        await consumer.stop()
