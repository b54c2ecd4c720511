"""The checker is shown to fail: services run without one of their guards, and it must say so, by the right rule.

Up to four guards are taken out side by side, one of each service: what a service breaks is told by rules that no other
service's absence of a guard can break. ``sabotage.GUARDS`` says which violation is expected of which.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from tests.faults.sabotage import GUARDS, command
from tests.faults.world import AGENTS, ONE_OF_EACH, TWO_OF_EACH, Servers, World, say

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BROKERS = 1
_RECORDS = 2400
_RATE = 160.0
_FEW = AGENTS[:4]
"""Their places are soon taken, so that the router has to heed capacities."""
_RESTLESS = {"at_desk_s": (1.0, 6.0), "away_s": (3.0, 6.0)}
"""Agents come and go, so that the router has to heed who is there."""
_TOGETHER = (
    ("dead letters", "duplicates", "capacity", "watermark"),
    ("bytes of the archive", "border", "closing", "timers"),
    ("every record of the archive", "order of publication", "agents' status", "deterministic ids"),
    ("republication", "hand-over"),
)


def test_every_guard_is_removed_somewhere() -> None:
    assert {*(name for names in _TOGETHER for name in names), "fence"} == GUARDS.keys()


@pytest.mark.parametrize("guards", _TOGETHER, ids=", ".join)
async def test_without_its_guard_a_service_is_found_out(
    servers: Servers, run_seed: int, guards: tuple[str, ...]
) -> None:
    async with World(servers, ONE_OF_EACH, command=command(*guards)) as world:
        agents = _FEW if "capacity" in guards else AGENTS
        habits = _RESTLESS if "agents' status" in guards else {}
        await world.play(run_seed, _RECORDS, rate=_RATE, agents=agents, dirt=0.1, settle_s=5.0, **habits)
        await _found_out(world, *guards)


async def test_without_the_fence_a_thawed_instance_is_found_out(servers: Servers, run_seed: int) -> None:
    async with World(servers, TWO_OF_EACH, command=command("fence")) as world:
        await world.play(run_seed, 2 * _RECORDS, rate=_RATE, dirt=0.0, settle_s=5.0)
        await _found_out(world, "fence")


async def _found_out(world: World, *guards: str) -> None:
    # A service without a guard may never say that it is at rest.
    with contextlib.suppress(TimeoutError):
        await world.rest(15.0, quiet_s=5.0)
    report, _, _ = await world.judge(archive_within_s=5.0)
    found = Counter(violation.code for violation in report.violations)
    say(f"found without {', '.join(guards)}: {', '.join(f'{code} {n}' for code, n in sorted(found.items()))}")
    missing = [name for name in guards if GUARDS[name].code not in found]
    assert not missing, f"not found out: {missing}\n{report.text(2)}\n{world.logs()}"
