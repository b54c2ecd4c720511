"""``python -m tests.chaos``: all faults in an order drawn from the seed, under load, one after the other; then the checker.

``--only NAME`` (again and again) plays those alone, ``--list`` names them, ``--draw N`` plays so many of them, drawn. What a run does
follows from its seed as far as real clocks allow: ``--seed N`` repeats it. Exit code 1 where something unexpected happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault, Scene
from tests.chaos.world import ChaosServers, chaos_world
from tests.faults.world import say
from tests.load import Plan, Shape, Traffic

from deskline.stack.http import get

_WELL_S = 180.0
"""Processes that start share the machine with all that goes on; on two quiet cores it takes seconds."""
_FLOWING = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--only", action="append", choices=sorted(FAULTS), metavar="NAME", help="this fault; may be given again"
    )
    parser.add_argument("--draw", type=int, help="so many faults, drawn by the seed")
    parser.add_argument("--list", action="store_true", help="name the faults and what is expected of each")
    parser.add_argument("--rate", type=float, default=60.0, help="records a second")
    parser.add_argument("--json", type=Path, help="write what happened here")
    options = parser.parse_args()
    if options.list:
        for one in FAULTS.values():
            sys.stdout.write(f"{one.name}: {one.expected}\n")
        return 0
    sys.stdout.write(f"seed {options.seed}\n")
    with tempfile.TemporaryDirectory(prefix="deskline-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        servers = ChaosServers(Path(folder))
        (Path(folder) / "clock").write_text("0")
        servers.start()
        try:
            return asyncio.run(_run(servers, Path(folder) / "clock", options))
        finally:
            servers.stop()


def plan(seed: int, only: list[str] | None, draw: int | None) -> list[Fault]:
    """The faults in their order. What ends the primary database comes last."""
    chance = random.Random(f"chaos {seed}")
    chosen = [FAULTS[name] for name in (only or sorted(FAULTS))]
    if not only:
        chance.shuffle(chosen)
        chosen = chosen[:draw] if draw else chosen
    return sorted(chosen, key=lambda one: one.ends_the_primary)


async def _run(servers: ChaosServers, clock: Path, options: argparse.Namespace) -> int:
    await servers.open_ways()
    results: list[dict[str, object]] = []
    faults = plan(options.seed, options.only, options.draw)
    async with chaos_world(servers, clock) as world:
        agents = tuple(f"agent-{number:02d}" for number in range(24))
        load = Plan(options.seed, 10**9, agents, options.rate, Shape(dirt_share=0.02), 20.0)
        traffic = Traffic(load, servers.kafka.bootstrap_servers, world.stack.options.topic_prefix)
        scene = Scene(servers, world, random.Random(f"scene {options.seed}"), clock)
        playing = asyncio.create_task(traffic.run())
        await asyncio.sleep(3)
        for number, one in enumerate(faults, 1):
            results.append(await _befalls(scene, one, f"{number}/{len(faults)}"))
        traffic.stop()
        await playing
        try:
            await world.is_right()
            violations = ""
        except (AssertionError, TimeoutError) as error:
            violations = str(error)
            say(violations[:4000])
    bad = [result for result in results if result["unexpected"]]
    say(
        f"{len(results)} faults, {len(bad)} with something unexpected; checker: {'violations' if violations else 'clean'}; seed {options.seed}"
    )
    for result in bad:
        say(f"  {result['name']}: {result['unexpected']}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"seed": options.seed, "faults": results, "violations": violations}, ensure_ascii=False, indent=1
            )
            + "\n"
        )
    return 1 if bad or violations else 0


async def _befalls(scene: Scene, one: Fault, which: str) -> dict[str, object]:
    began = time.monotonic()
    unexpected = ""
    try:
        await one.act(scene)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are still played
        unexpected = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    lasted, began = time.monotonic() - began, time.monotonic()
    behind = await _behind(scene)
    while behind and time.monotonic() - began < _WELL_S:
        await asyncio.sleep(0.2)
        behind = await _behind(scene)
    if behind:
        unexpected = unexpected or f"not ready and caught up within {_WELL_S:.0f} s: {'; '.join(behind)}"
    back = time.monotonic() - began
    say(
        f"{which} {one.name}: {lasted:.1f} s, well again after {back:.1f} s{f'; UNEXPECTED: {unexpected}' if unexpected else ''}"
    )
    return {
        "name": one.name,
        "expected": one.expected,
        "lasted_s": round(lasted, 1),
        "back_s": round(back, 1),
        "unexpected": unexpected,
    }


async def _behind(scene: Scene) -> list[str]:
    """Who is not ready, or more behind than a stream of records makes one."""
    instances = list(scene.world.stack.services.instances)
    answers = await asyncio.gather(*(get(f"{instance.http}/readyz", 2.0) for instance in instances))
    found = []
    for instance, answer in zip(instances, answers, strict=True):
        if answer is None or answer[0] != 200:
            found.append(f"{instance.name} {'does not answer' if answer is None else 'is not ready'}")
        elif (lag := json.loads(answer[1])["lag_records"]) > _FLOWING:
            found.append(f"{instance.name} is {lag} records behind")
    return found


if __name__ == "__main__":
    sys.exit(main())
