"""``python -m tests.load --stack DIR/stack.json --records 10000 --agents agent-00,agent-01``."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.load.envelopes import Shape
from tests.load.sender import Sender
from tests.load.static import static_backlog
from tests.load.traffic import Plan, Traffic


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Send traffic to a stack.")
    parser.add_argument("--stack", type=Path, required=True, help="stack.json of `deskline up`")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200.0, help="records a second")
    parser.add_argument("--agents", default="", help="agent ids, with commas between")
    parser.add_argument("--shops", default="", help="shop ids, with commas between")
    parser.add_argument("--dirt", type=float, default=0.02, help="share of records that bring a dirty one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--static", action="store_true", help="a backlog, without waiting for reactions")
    options = parser.parse_args()
    stack = json.loads(options.stack.read_text())
    address = (stack["bootstrap_servers"], stack["topic_prefix"])
    shops = tuple(options.shops.split(",")) if options.shops else Shape.shops
    shape = Shape(dirt_share=options.dirt, shops=shops)
    agents = tuple(filter(None, options.agents.split(",")))
    sys.stdout.write(f"seed {options.seed}\n")
    if options.static:
        sent = asyncio.run(_static(options.seed, options.records, shape, address))
        sys.stdout.write(f"sent {sent}\n")
        return 0
    plan = Plan(options.seed, options.records, agents, options.rate, shape)
    counts = asyncio.run(_play(plan, address))
    sys.stdout.writelines(f"{count:8} {name}\n" for name, count in sorted(counts.items()))
    return 0


async def _play(plan: Plan, address: tuple[str, str]) -> Counter[str]:
    return await Traffic(plan, *address).run()


async def _static(seed: int, records: int, shape: Shape, address: tuple[str, str]) -> int:
    async with Sender(*address) as sender:
        batch = []
        for draft in static_backlog(seed, records, time.time_ns() // 1000, shape=shape):
            batch.append(draft)
            if len(batch) >= 5_000:
                await sender.send(batch)
                batch = []
        await sender.send(batch)
        return sum(sender.sent.values())


if __name__ == "__main__":
    sys.exit(main())
