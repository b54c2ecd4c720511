"""Four routers share shops and people, one is killed every two seconds, and nobody ever has more than he can take.

``DESKLINE_ROUTER_ARRIVALS`` conversations (4 000 when not given) go to six shops, whose agents are the same twenty-four people,
who keep leaving and coming back. Conversations of one shop lie on every partition, so each assignment is about an agent whom any
other instance may be giving something at that moment. The checker then looks at the topics from outside. After
``DESKLINE_ROUTER_WITHIN_S`` (an hour when not given) nobody comes any more, and what has come is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter, defaultdict
from signal import SIGKILL

import pytest
from tests.checker import Settings, check
from tests.checker.judge import OF_ROUTING
from tests.checker.source import Addresses, read
from tests.checker.validity import judge as decoded
from tests.faults.desks import Desks
from tests.faults.world import AGENTS, Servers, World, say

WITHIN_S = float(os.environ.get("DESKLINE_ROUTER_WITHIN_S", "3600"))
# What came is brought to its end, and judged, behind that.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(WITHIN_S + 3600)]

BROKERS = 1
INSTANCES = 4
SHOPS = ("衣橱", "数码港", "花店", "书屋", "茶舍", "车行")
_EVERY_S = 2.0
_SAID = 100
"""Words of the routers between two kills: some tenths of a second, and without them they would only be kept away."""


def arrivals() -> int:
    return int(os.environ.get("DESKLINE_ROUTER_ARRIVALS", "4000"))


async def test_four_instances_killed_every_two_seconds_keep_every_promise_about_agents(
    servers: Servers, run_seed: int
) -> None:
    killed: Counter[int] = Counter()
    over = asyncio.Event()
    async with World(servers, {"router": INSTANCES}, partitions=8) as world:

        async def kill() -> None:
            chance, heard = random.Random(f"{run_seed} router"), 0
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _EVERY_S)
                # One that is still starting has nothing to lose; to kill it would only keep it away.
                numbers: list[int] = []
                while not numbers and not over.is_set():
                    # All are on their way back: to kill them now would only keep the router away.
                    numbers = await world.with_lanes("router") if desks.heard >= heard + _SAID else []
                    await asyncio.sleep(0 if numbers else 0.2)
                heard = desks.heard
                if numbers:
                    number = chance.choice(numbers)
                    killed[number] += world.signal("router", number, SIGKILL)

        address = (world.stack.bootstrap_servers, world.stack.options.topic_prefix)
        rate = float(os.environ.get("DESKLINE_ROUTER_RATE", "400"))
        desks = Desks(run_seed, arrivals(), AGENTS, SHOPS, address, rate=rate, open_at_once=4_000, within_s=WITHIN_S)
        killing, began = asyncio.create_task(kill()), time.monotonic()
        try:
            counts = await desks.run()
        finally:
            over.set()
            await killing
        took = time.monotonic() - began
        say(f"{counts['arrivals']} arrivals in {took:.0f} s, {killed.total()} kills, {dict(counts)}")
        await world.rest()
        log, end_at = await read(Addresses(address[0], None, address[1]))
        report = await asyncio.to_thread(check, log, Settings(end_at), OF_ROUTING)
        # What stands in autoreply's name was caused by nothing that it read.
        report.violations = [
            v for v in report.violations if v.code != "no_cause" or not v.where.startswith("replies.v1")
        ]
        say(f"judged {len(log.records)} records: {len(report.violations)} violations")
        assert report.ok, f"\n{report.text(5)}\n{world.logs()}"
        assert report.counts["conversation.assigned"] >= counts["arrivals"] / 2
        assert killed.total() >= min(took / _EVERY_S, desks.heard / _SAID) / 4
        # It says nothing where the agents were not shared, or nobody was ever full.
        shops, full = defaultdict(set), 0
        for record in log.records:
            if record.topic == "routing.v1":
                event = decoded(record)
                if not isinstance(event, (str, type(None))) and event.type == "conversation.assigned.v1":
                    shops[event.data["agent_id"]].add(event.data["shop_id"])
                    full += event.data["load"] == event.data["capacity"]
        assert all(len(shops[agent]) > 2 for agent in AGENTS)
        say(f"{full} assignments filled an agent up")
        assert full > 0
