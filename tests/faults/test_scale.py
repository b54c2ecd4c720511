"""Instances come and go under load, one service after the other: 1 → 4 → 1, a crash, a rolling restart, and scaling by lag.

Prints the longest gap in service per partition of each (``gaps``). Long, so by itself: ``make rehearse ARGS='-k scale -s'``. The load is
``DESKLINE_SCALE_RATE`` records a second (60 when not given). With ``DESKLINE_GAPS_JSON`` the figures are written there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from tests.faults.gaps import Gaps
from tests.faults.keda import Behaviour, Scaler
from tests.faults.world import ONE_OF_EACH, SERVICES, SESSION_S, TWO_OF_EACH, Servers, World, say
from tests.load.sender import Sender
from tests.load.static import static_backlog

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(3600)]

BROKERS = 1
RATE = float(os.environ.get("DESKLINE_SCALE_RATE", "60"))
_BOUND_S = 30.0
"""What may never be, on however busy a machine; the aims (3 s, session + 5 s) are said beside each figure."""
_figures: dict[str, Any] = {}


@asynccontextmanager
async def _traffic(world: World, seed: int) -> AsyncIterator[None]:
    """Customers write until the block is done."""
    from tests.load import Plan, Shape, Traffic

    plan = Plan(seed, 10**9, tuple(f"agent-{n:02d}" for n in range(24)), RATE, Shape(dirt_share=0.02), 15.0)
    traffic = Traffic(plan, world.stack.bootstrap_servers, world.stack.options.topic_prefix)
    task = asyncio.create_task(traffic.run())
    try:
        yield
        traffic.stop()
        counts = await task
        say(f"sent {counts['sent']} records of {counts['talks']} conversations")
    finally:
        task.cancel()


def _say(label: str, gaps: Gaps, aim_s: float, services: tuple[str, ...] = SERVICES) -> None:
    worst = gaps.worst(label)
    found = {name: round(worst.get(name, 0.0), 2) for name in services}
    _figures[label] = {"gap_s": found, "aim_s": aim_s}
    verdict = "met" if max(found.values()) <= aim_s else "missed"
    say(f"{label}: longest gap of a partition {found} s; aim {aim_s:g} s {verdict}")
    assert max(found.values()) < _BOUND_S, (label, found)


def _write() -> None:
    path = os.environ.get("DESKLINE_GAPS_JSON")
    if path:
        Path(path).write_text(json.dumps(_figures, indent=1) + "\n")


async def _ready(world: World) -> None:
    await world.stack.services.wait_ready(240)


async def test_scale_one_to_four_to_one_under_load_and_a_crash(servers: Servers, run_seed: int) -> None:
    async with World(servers, ONE_OF_EACH) as world:
        settings = world.stack.settings()
        async with Gaps(settings, SERVICES) as gaps, _traffic(world, run_seed):
            await asyncio.sleep(5)
            for service in SERVICES:
                for count, label in ((4, f"{service} 1 → 4"), (1, f"{service} 4 → 1")):
                    gaps.mark(label)
                    await world.stack.services.scale(service, count)
                    await _ready(world)
                    await asyncio.sleep(4)
                    _say(label, gaps, 3.0, (service,))
            for service in SERVICES:
                await world.stack.services.scale(service, 2)
            await _ready(world)
            await asyncio.sleep(4)
            for service in SERVICES:
                label = f"{service} crashed"
                gaps.mark(label)
                (number, *_) = await world.with_lanes(service)
                world.signal(service, number, SIGKILL)
                await asyncio.sleep(SESSION_S + 6)
                await _ready(world)
                _say(label, gaps, SESSION_S + 5, (service,))
            assert gaps.looks > 100
        _write()
        await world.is_right()


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
async def test_scale_rolling_restart_with_dynamic_and_static_membership(
    servers: Servers, run_seed: int, static: bool
) -> None:
    environment = {"DESKLINE_STATIC_MEMBERSHIP": str(static).lower(), "DESKLINE_SESSION_TIMEOUT_S": "10"}
    async with World(servers, TWO_OF_EACH, environment=environment) as world:
        async with Gaps(world.stack.settings(), SERVICES) as gaps, _traffic(world, run_seed + 1):
            await asyncio.sleep(5)
            taken = world.logged("lanes acquired")
            for service in SERVICES:
                label = f"{service} rolled, {'static' if static else 'dynamic'}"
                gaps.mark(label)
                for number in (1, 2):
                    assert await world.restarted(service, number) == 0
                await asyncio.sleep(3)
                _say(label, gaps, 3.0, (service,))
            say(f"{world.logged('lanes acquired') - taken} times lanes were acquired in eight restarts")
        _write()
        await world.is_right()


async def test_scale_by_lag_with_kedas_formula_against_a_surge(servers: Servers, run_seed: int) -> None:
    """A backlog comes at once. The chart's behaviour, its seconds divided by thirty and its threshold by as much as the surge is smaller."""
    surge = int(os.environ.get("DESKLINE_SURGE_RECORDS", "60000"))
    rules = Behaviour(surge // 6, 1, 4, up_window_s=1, up_period_s=2, down_window_s=20, down_every_s=10)
    async with World(servers, ONE_OF_EACH) as world:
        stack = world.stack
        async with Gaps(stack.settings(), ("sla",)) as gaps:
            async with Sender(stack.bootstrap_servers, stack.options.topic_prefix) as sender:
                batch = list(static_backlog(run_seed, surge, time.time_ns() // 1000))
                for begin in range(0, len(batch), 5000):
                    await sender.send(batch[begin : begin + 5000])
            scaler, began, series = Scaler(rules, 1), time.monotonic(), []
            most, drained, calm = 1, None, False
            while not calm:
                now = time.monotonic() - began
                lag = gaps.lag.get("sla", 0)
                before, wanted = scaler.current, scaler.look(now, lag)
                series.append((round(now, 1), lag, wanted))
                if wanted != before:
                    say(f"{now:5.1f} s: {lag} records behind, {before} → {wanted} instances")
                    await stack.services.scale("sla", wanted)
                most = max(most, wanted)
                if lag < 200 and now > 3 and drained is None:
                    drained = now
                calm = drained is not None and wanted == 1
                assert now < 300, series[-20:]
                await asyncio.sleep(0.5)
        say(f"{surge} records: drained after {drained:.1f} s, {most} instances at most, one again after {now:.0f} s")
        _figures["surge"] = {"records": surge, "drained_s": drained, "most": most, "series": series}
        _write()
        assert most > 1
        # In twenty seconds the fewest are left one by one: never all at once.
        steps = [n for _, _, n in series]
        assert all(after >= before - 1 for before, after in itertools.pairwise(steps))
        await world.is_right()
