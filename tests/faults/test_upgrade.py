"""The previous release's wheel and this one's side by side under load: upgraded one by one, and back. The checker has nothing to say.

Order of docs/operations/upgrades.md: migrations, then archive, sla, router, autoreply; back in the opposite order. The database, the
topics and the configuration are the previous version's own. ``DESKLINE_PREVIOUS`` names it: a revision (as long as there is no release,
a pinned commit) or the path of a wheel. By itself: ``make rehearse ARGS='-k upgrade'``.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import psutil
import pytest
from tests.faults.gaps import Gaps
from tests.faults.test_scale import _traffic
from tests.faults.wheels import PREVIOUS, ROOT, unpacked, words
from tests.faults.world import CONFIG, SERVICES, TWO_OF_EACH, Servers, World, say

from deskline.stack.stack import Options, Stack

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]

BROKERS = 1
ORDER = ("archive", "sla", "router", "autoreply")


async def _command(installed: Path, environment: dict[str, str], *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words(installed, *arguments), env={**os.environ, **environment}, stdout=-1, stderr=-2
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_upgrade_one_by_one_and_back_under_load(servers: Servers, run_seed: int, tmp_path: Path) -> None:
    old = await asyncio.to_thread(unpacked, tmp_path / "old")
    new = await asyncio.to_thread(unpacked, tmp_path / "new", ROOT)
    running = dict.fromkeys(SERVICES, old)
    addresses: dict[str, str] = {}

    class Previous(Stack):
        """Prepared by the previous version's own commands."""

        async def _prepare(self) -> None:
            addresses.update(
                DESKLINE_BOOTSTRAP_SERVERS=self.bootstrap_servers,
                DESKLINE_POSTGRES_DSN=self.postgres_dsn,
                DESKLINE_TOPIC_PREFIX=self.options.topic_prefix,
            )
            await _command(old, addresses, "migrate")
            await _command(old, addresses, "topics", "apply", "--partitions", "4")
            await _command(old, addresses, "config", "apply", str(CONFIG))

    def made(options: Options) -> Stack:
        return Previous(options)

    def command(service: str) -> list[str]:
        return words(running[service], service)

    restarted: Counter[str] = Counter()
    async with World(servers, TWO_OF_EACH, make=made, command=command) as world:

        async def roll(service: str, to: Path, name: str) -> None:
            running[service] = to
            for number in (1, 2):
                instance = world.stack.services.find(service, number)
                assert await world.restarted(service, number) == 0
                assert instance.process is not None
                assert psutil.Process(instance.process.pid).environ()["PYTHONPATH"] == str(to)
                restarted[name] += 1
                # Both versions share the service's partitions meanwhile.
                await asyncio.sleep(1.5 if number == 1 else 0.5)
            say(f"{service} is {name}")

        async with Gaps(world.stack.settings(), SERVICES) as gaps, _traffic(world, run_seed):
            await asyncio.sleep(4)
            await _command(new, addresses, "migrate")
            say("migrated, the previous version goes on")
            await asyncio.sleep(3)
            gaps.mark("upgrade")
            for service in ORDER:
                await roll(service, new, "new")
            await asyncio.sleep(3)
            gaps.mark("back")
            for service in reversed(ORDER):
                await roll(service, old, PREVIOUS)
            await asyncio.sleep(2)
        for label in ("upgrade", "back"):
            say(f"{label}: longest gap of a partition { {k: round(v, 2) for k, v in gaps.worst(label).items()} } s")
        await world.is_right()
    assert restarted == {"new": 8, PREVIOUS: 8}
