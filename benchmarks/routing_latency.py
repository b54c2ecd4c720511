"""One instance of the router on real Kafka and PostgreSQL: how fast it decides, and how soon after what makes a decision possible.

By broker timestamps: from a hand-over (``replies.v1``) to its assignment while somebody is free, and from the close that frees a full
agent's place to his next assignment while somebody waits. Hand-overs are written in autoreply's name, so that nothing but the
router is measured; agents are played by this process, which answers what it hears on ``routing.v1``.
"""

import asyncio
import heapq
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from tests.load.envelopes import Draft, Gateway, Shape, draft, envelope, show
from tests.load.listener import Listener
from tests.load.sender import Sender

from benchmarks.drain import bench_stack, caught_up
from benchmarks.figures import Cpu, Figures, Floor
from deskline.clock import now_us
from deskline.records import CONVERSATIONS, REPLIES, ROUTING
from deskline.stack.stack import Stack

_TICK_S: Final = 0.01
_WARM_S: Final = 3.0
_RATE: Final = 500
_SCARCE_SHARE: Final = 0.1
"""Of the requests, those that ask for a skill of which there is too little: for them places become free one by one."""
_SCARCE: Final = "scarce"
_COMMON: Final = "common"
_HOLDS_S: Final = {_SCARCE: (0.4, 0.6), _COMMON: (1.0, 3.0)}
_SHOPS: Final = ("north", "south", "east", "west")
_LIMITS: Final = "patience_s: 3600\nreoffer_s: 5\n"
_ROUTES: Final = "rules: [{rule_id: any, steps: [{proficiency: 2}]}]\nnotices: {position_every_s: null}\n"
_LATENCY: Final = Floor("< 250 ms", lambda value, _: value < 250)


async def measure(figures: Figures, seconds: float) -> None:
    await _at_a_rate(figures, seconds)
    await _throughput(figures)
    small = await _backlog(figures, 500, 5_000)
    large = await _backlog(figures, 2_000, 20_000)
    figures.show(
        "routing_backlog_growth", large / max(small, 1), "x", agents="500 to 2 000", waiting="5 000 to 20 000",
        floor=Floor("≤ 2 x for 16 x as many pairs", lambda value, _: value <= 2),
    )  # fmt: skip


@asynccontextmanager
async def _router(agents: Iterable[str]) -> AsyncIterator[Stack]:
    """A stack of one router; ``agents`` are lines of agents.yaml."""
    with tempfile.TemporaryDirectory(prefix="deskline-bench-config-") as folder:
        shop = Path(folder) / "_default"
        shop.mkdir()
        (shop / "agents.yaml").write_text("agents:\n" + "".join(f"  - {line}\n" for line in agents))
        (shop / "limits.yaml").write_text(_LIMITS)
        (shop / "routing.yaml").write_text(_ROUTES)
        async with bench_stack({"router": 1}, config=Path(folder)) as stack:
            yield stack


def _agents(common: int, scarce: int, capacity: int) -> list[str]:
    found = [f"{{agent_id: a{n}, capacity: {capacity}, skills: {{{_COMMON}: {2 + n % 4}}}}}" for n in range(common)]
    return found + [f"{{agent_id: b{n}, capacity: 1, skills: {{{_SCARCE}: 3}}}}" for n in range(scarce)]


class _Desk:
    """Customers who are handed over, and agents who close what they are given."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._address = (stack.bootstrap_servers, stack.options.topic_prefix)
        self._chance = random.Random(seed)
        self._gateway = Gateway(Shape(), self._chance)
        self._seed = seed
        self._skill: dict[str, str] = {}
        self._closes: list[tuple[float, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    def arrival(self, skill: str) -> list[Draft]:
        self._count += 1
        subject, at, shop = f"l{self._seed}-{self._count}", now_us(), self._chance.choice(_SHOPS)
        self._skill[subject] = skill
        customer = {"customer_id": f"u{self._count % 20_000}"}
        data = {
            "shop_id": shop, "rules_version": 0, "routing_offset": 0, "message_id": "m1", "waiting_since": show(at),
            "reason": "no_match", "skills": [skill], "priority": self._chance.choice((40, 50, 60)), "flags": [],
        }  # fmt: skip
        handed = envelope("handover.requested", subject, data, at, id_=f"{subject}-h", source="/deskline/autoreply")
        said = self._gateway.message(subject, at, shop=shop, customer=customer, number=1, text="在吗")
        return [said, draft(handed, REPLIES)]

    def online(self, names: Iterable[str]) -> list[Draft]:
        return [self._gateway.status(name, "online", now_us()) for name in names]

    async def play(self, rate: int, seconds: float) -> None:
        """So many requests a second; whoever is assigned is closed after a while."""
        async with Sender(*self._address) as sender, Listener(*self._address) as listener:
            began, sent = time.monotonic(), 0
            while (passed := time.monotonic() - began) < seconds:
                out: list[Draft] = []
                for event in await listener.read():
                    if event["type"] == "conversation.assigned.v1" and event["subject"] in self._skill:
                        holds = self._chance.uniform(*_HOLDS_S[self._skill[event["subject"]]])
                        heapq.heappush(self._closes, (time.monotonic() + holds, event["subject"]))
                while self._closes and self._closes[0][0] <= time.monotonic():
                    out.append(self._close(heapq.heappop(self._closes)[1]))
                while sent < passed * rate:
                    out += self.arrival(_SCARCE if self._chance.random() < _SCARCE_SHARE else _COMMON)
                    sent += 1
                if out:
                    task = asyncio.create_task(sender.send(out))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(_TICK_S)
            await asyncio.gather(*self._tasks)

    async def send(self, drafts: Iterable[Draft]) -> None:
        async with Sender(*self._address) as sender:
            await sender.send(drafts)

    async def close_at(self, rate: float, subjects: list[str]) -> None:
        """These conversations, so many a second."""
        async with Sender(*self._address) as sender:
            began = time.monotonic()
            for number, subject in enumerate(subjects):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                task = asyncio.create_task(sender.send([self._close(subject)]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.gather(*self._tasks)

    def _close(self, subject: str) -> Draft:
        return self._gateway.event("conversation.closed", subject, now_us(), shop_id=_SHOPS[0], resolved=True)


# --- figures ------------------------------------------------------------------------------------------------------


async def _at_a_rate(figures: Figures, seconds: float) -> None:
    """``routing_assigned_p99`` and ``routing_freed_p99`` at 500 requests a second, 500 agents online."""
    async with _router(_agents(475, 25, 5)) as stack:
        desk = _Desk(stack, 1)
        await desk.send(desk.online([*(f"a{n}" for n in range(475)), *(f"b{n}" for n in range(25))]))
        await desk.play(_RATE, _WARM_S)
        since = now_us() // 1000
        known = stack.describe()
        pids = [one["pid"] for one in known["services"]["router"]]
        cpu = Cpu(router=pids, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])
        began = time.monotonic()
        await desk.play(_RATE, seconds)
        used, others, wall = cpu.seconds(), cpu.others(), time.monotonic() - began
        await asyncio.sleep(1.0)
        records = {topic: await _read(stack, topic) for topic in (CONVERSATIONS, REPLIES, ROUTING)}
    shares: dict[str, Any] = {f"{name}_cpu": f"{value / wall:.0%}" for name, value in used.items()}
    for what, late in (("assigned", _assigned(records, since)), ("freed", _freed(records, since))):
        late.sort()
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            last = name == "p99"
            figures.show(
                f"routing_{what}_{name}", late[min(len(late) - 1, int(len(late) * share))], "ms",
                floor=_LATENCY if last else None, others=others if last else None,
                **({"rate": _RATE, "agents": 500, "count": len(late), **shares} if last else {}),
            )  # fmt: skip


def _assigned(records: dict[str, list[Any]], since: int) -> list[float]:
    """Ms from a hand-over to its assignment, of those who ask for what there is enough of."""
    handed = {
        of["subject"]: at
        for at, of in records[REPLIES]
        if at >= since and of["type"] == "handover.requested.v1" and of["data"]["skills"] == [_COMMON]
    }
    first: dict[str, int] = {}
    for at, of in records[ROUTING]:
        if of["type"] == "conversation.assigned.v1":
            first.setdefault(of["subject"], at)
    return [float(first[subject] - at) for subject, at in handed.items() if subject in first]


def _freed(records: dict[str, list[Any]], since: int) -> list[float]:
    """Ms from the close of a full agent's conversation to his next assignment, where somebody was waiting for him by then."""
    closed = {of["subject"]: at for at, of in records[CONVERSATIONS] if of["type"] == "conversation.closed.v1"}
    numbered: dict[tuple[str, int], tuple[int, dict[str, Any]]] = {}
    queued: dict[str, int] = {}
    for at, of in records[ROUTING]:
        data = of["data"]
        if "agent_seq" in data:
            numbered[data["agent_id"], data["agent_seq"]] = (at, of)
        elif of["type"] == "conversation.queued.v1":
            queued.setdefault(of["subject"], at)
    late = []
    for (agent, number), (_, of) in numbered.items():
        freed_at = closed.get(of["subject"], 0)
        following = numbered.get((agent, number + 1))
        if of["type"] != "conversation.released.v1" or freed_at < since or following is None:
            continue
        at, given = following
        waited = given["type"] == "conversation.assigned.v1" and queued[given["subject"]] < freed_at
        if waited and of["data"]["load"] + 1 == of["data"]["capacity"]:
            late.append(float(at - freed_at))
    return late


async def _throughput(figures: Figures) -> None:
    """``routing_decisions``: assignments a second of a backlog, 500 agents online who can take it all."""
    count = 40_000
    async with _router(_agents(500, 0, 200)) as stack:
        await stack.services.pause("router")
        desk = _Desk(stack, 2)
        await desk.send(desk.online(f"a{n}" for n in range(500)))
        for _ in range(count // 5_000):
            await desk.send([one for _ in range(5_000) for one in desk.arrival(_COMMON)])
        await stack.services.resume("router")
        instance = stack.services.describe()["router"][0]
        cpu = Cpu(router=[instance["pid"]])
        seen: list[Any] = []
        deadline = time.monotonic() + 240
        while len(seen) < count and time.monotonic() < deadline:
            await asyncio.sleep(3.0)
            seen = [at for at, of in await _read(stack, ROUTING) if of["type"] == "conversation.assigned.v1"]
        others, used = cpu.others(), cpu.seconds()["router"]
    seen.sort()
    # The middle: the start has nothing to read yet, and the end nothing left.
    first, last = seen[len(seen) // 10], seen[len(seen) * 9 // 10]
    figures.show(
        "routing_decisions", len(seen) * 0.8 / max(1, last - first) * 1000, "decisions/s", others=others,
        floor=Floor("≥ 3 000/s", lambda value, _: value >= 3_000), agents=500, decided=len(seen),
        per_cpu_s=round(len(seen) / max(used, 0.01)),
    )  # fmt: skip


async def _backlog(figures: Figures, agents: int, waiting: int) -> float:
    """``routing_backlog_<agents>_p99``: one shop, everybody busy, so many waiting; 100 places a second become free. The median."""
    async with _router(_agents(agents, 0, 1)) as stack:
        desk = _Desk(stack, 3)
        await desk.send(desk.online(f"a{n}" for n in range(agents)))
        for first in range(0, agents + waiting, 2_500):
            size = min(2_500, agents + waiting - first)
            await desk.send([one for _ in range(size) for one in desk.arrival(_COMMON)])
        deadline = time.monotonic() + 120
        while not await caught_up(stack.services.describe()["router"]) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)
        held = [of["subject"] for _, of in await _read(stack, ROUTING) if of["type"] == "conversation.assigned.v1"]
        since = now_us() // 1000
        cpu = Cpu()
        await desk.close_at(100, held[:800])
        others = cpu.others()
        await asyncio.sleep(1.0)
        records = {topic: await _read(stack, topic) for topic in (CONVERSATIONS, ROUTING)}
    late = sorted(_freed(records, since))
    median = late[len(late) // 2]
    figures.show(f"routing_backlog_{agents}_p50", median, "ms", waiting=waiting)
    figures.show(
        f"routing_backlog_{agents}_p99", late[int(len(late) * 0.99)], "ms", floor=_LATENCY, others=others,
        waiting=waiting, count=len(late),
    )  # fmt: skip
    return median


async def _read(stack: Stack, topic: str) -> list[tuple[int, Any]]:
    """(broker timestamp in ms, event) of the whole topic."""
    name = stack.options.topic_prefix + topic
    consumer = AIOKafkaConsumer(name, bootstrap_servers=stack.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    found: list[tuple[int, Any]] = []
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                batch = await consumer.getmany(partition, timeout_ms=1000)
                for messages in batch.values():
                    found += [(message.timestamp, json.loads(message.value)) for message in messages]
    finally:
        await consumer.stop()
    return found
