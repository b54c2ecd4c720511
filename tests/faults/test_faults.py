"""Kills, freezes and restarts under load; afterwards nothing is lost, nothing is there twice, nothing out of order.

``DESKLINE_FAULT_MESSAGES`` records (default 100 000) are spread over the faults by ``_SHARES``; the stack's own come on top. A
run prints its seed; ``DESKLINE_SEED`` repeats it, as far as two runs on real clocks can be alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from tests.checker.records import DEAD_LETTERS, Record
from tests.checker.rules_records import header
from tests.faults.leaders import give_back
from tests.faults.world import SERVICES, SESSION_S, Servers, World, say, total_messages

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

BROKERS = 3
_SHARES = {"kill": 0.3, "freeze": 0.15, "rolling": 0.15, "kafka": 0.15, "postgres": 0.15, "dirt": 0.1}
_FASTEST = 500.0
"""Records a second: what two cores carry beside everything else."""


@dataclass
class Load:
    """How much a fault gets, how fast."""

    seed: int
    records: int
    shortest_s: float

    @property
    def rate(self) -> float:
        """Spread over some seconds at least, or a small plan would be over before the fault."""
        return min(_FASTEST, self.records / self.shortest_s)


def _load(seed: int, fault: str, shortest_s: float = 20.0) -> Load:
    return Load(seed * 10 + list(_SHARES).index(fault), round(total_messages() * _SHARES[fault]), shortest_s)


Fault = Callable[[asyncio.Event], Awaitable[None]]


async def _under_load(world: World, load: Load, fault: Fault, *, dirt: float = 0.02) -> None:
    """Traffic with ``fault`` beside it, which ends when its event is set."""
    over = asyncio.Event()
    fault_task = asyncio.create_task(fault(over))
    try:
        await world.play(load.seed, load.records, rate=load.rate, dirt=dirt, settle_s=15.0, played=over.set)
    finally:
        over.set()
        await fault_task
    await world.is_right()


async def _sleep(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)


async def test_every_service_is_killed_every_two_seconds(servers: Servers, run_seed: int) -> None:
    killed: dict[str, int] = dict.fromkeys(SERVICES, 0)
    async with World(servers) as world:

        async def kill(service: str, over: asyncio.Event) -> None:
            chance = random.Random(f"{run_seed} {service}")
            await _sleep(over, chance.uniform(1, 3))
            while not over.is_set():
                numbers = await world.with_lanes(service)
                if not numbers:
                    # All are on their way back: to kill them now would only keep the service away.
                    await _sleep(over, 0.2)
                    continue
                # Now and then all of a service: then nobody is there to take over.
                chosen = (1, 2) if chance.random() < 0.2 else (chance.choice(numbers),)
                killed[service] += sum(world.signal(service, number, SIGKILL) for number in chosen)
                await _sleep(over, 2)

        async def kill_all(over: asyncio.Event) -> None:
            await asyncio.gather(*(kill(service, over) for service in SERVICES))

        await _under_load(world, _load(run_seed, "kill"), kill_all)
        say(f"killed {killed}, started again {world.restarts()}")
        assert all(count >= 3 for count in killed.values())
        assert await world.decides_again() > 100
        assert world.restarts() == sum(killed.values())


async def test_a_service_frozen_for_longer_than_its_session_does_no_harm_when_it_thaws(
    servers: Servers, run_seed: int
) -> None:
    frozen = 0
    async with World(servers) as world:

        async def freeze(over: asyncio.Event) -> None:
            nonlocal frozen
            number = 1
            await _sleep(over, 2)
            while not over.is_set():
                frozen += sum(world.signal(service, number, SIGSTOP) for service in SERVICES)
                # The other instance of each takes over; not cut short, or the session would not run out.
                await asyncio.sleep(SESSION_S + 3)
                for service in SERVICES:
                    world.signal(service, number, SIGCONT)
                number = 3 - number
                await _sleep(over, 4)

        await _under_load(world, _load(run_seed, "freeze"), freeze)
        say(f"froze {frozen}, fenced {world.logged('lanes moved on under another owner')}")
        assert frozen >= 2 * len(SERVICES)
        # One acquisition at the start, one when the other was frozen, one when it came back.
        assert world.logged("lanes acquired") >= 3 * frozen


async def test_a_rolling_restart_loses_nothing_and_every_instance_ends_in_order(
    servers: Servers, run_seed: int
) -> None:
    codes: list[int | None] = []
    async with World(servers) as world:

        async def roll(over: asyncio.Event) -> None:
            await _sleep(over, 1)
            for number in (1, 2):
                # All services side by side, of each one after the other.
                codes.extend(await asyncio.gather(*(world.restarted(service, number, 60) for service in SERVICES)))

        await _under_load(world, _load(run_seed, "rolling"), roll)
        say(f"exit codes {codes}")
        assert codes == [0] * 2 * len(SERVICES)


async def test_brokers_are_restarted_and_killed_one_by_one_leaders_moved_and_all_killed_at_once(
    servers: Servers, run_seed: int
) -> None:
    done: list[str] = []
    moved = 0
    async with World(servers) as world:

        async def restart(over: asyncio.Event) -> None:
            nonlocal moved
            for kill, nodes in ((False, (1,)), (True, (2,)), (True, servers.kafka.nodes)):
                await asyncio.sleep(4)
                await servers.restart_kafka(*nodes, kill=kill, away_s=2)
                done.append(f"{'killed' if kill else 'restarted'} {nodes}")
                say(f"brokers {done[-1]}")
                if nodes == (2,):
                    # Both have come back to find others leading; as an operator would, give them their share again.
                    moved = await give_back(world.stack.bootstrap_servers, world.stack.options.topic_prefix)
                    say(f"leaders of {moved} partitions moved")

        before = set(servers.kafka.pids())
        await _under_load(world, _load(run_seed, "kafka", 40.0), restart)
        assert done == ["restarted (1,)", "killed (2,)", "killed (1, 2, 3)"]
        assert moved > 0
        assert before.isdisjoint(servers.kafka.pids())


async def test_postgres_is_restarted_fast_and_immediate(servers: Servers, run_seed: int) -> None:
    done: list[str] = []
    async with World(servers) as world:

        async def restart(over: asyncio.Event) -> None:
            for mode in ("fast", "immediate"):
                await asyncio.sleep(4)
                await servers.restart_postgres(mode, away_s=3)
                done.append(mode)
                say(f"PostgreSQL was away, {mode}")

        before = servers.postgres.pids()
        await _under_load(world, _load(run_seed, "postgres"), restart)
        assert done == ["fast", "immediate"]
        assert servers.postgres.pids() != before
        assert world.logged("waiting") > 0


async def test_duplicate_late_and_poisonous_records_hold_up_nobody(servers: Servers, run_seed: int) -> None:
    async with World(servers) as world:

        async def nothing(over: asyncio.Event) -> None:
            await over.wait()

        await _under_load(world, _load(run_seed, "dirt"), nothing, dirt=0.25)
        sent = sum(count for kind, count in world.counts.items() if kind.startswith("invalid: "))
        kinds = {kind.split(":")[0] for kind in world.counts}
        _, log, _ = await world.judge()
        letters = _letters(log.records)
        say(f"{sent} invalid records, {len(letters)} letters: {dict(world.counts)}")
        assert {"invalid", "odd", "duplicate", "strange time", "out of order", "same message_id"} <= kinds
        # Duplicates of what is invalid were not sent: every bad record is one letter.
        assert len(letters) == sent


def _letters(records: Iterable[Record]) -> set[tuple[bytes | str | None, ...]]:
    """Letters by their identity (contract §4), those of records that came in as letters' records aside."""
    names = ("deskline-service", "deskline-topic", "deskline-partition", "deskline-offset")
    return {tuple(header(record, name) for name in names) for record in records if record.topic == DEAD_LETTERS}
