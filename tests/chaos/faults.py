"""The named faults. Each says what is expected beside what is expected of all: afterwards every instance is ready and caught up within
three minutes, and at the end nothing is lost, twice, out of order or false.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import asyncpg
from tests.chaos.world import CONFIG, ChaosServers
from tests.faults.world import SERVICES, SESSION_S, World
from tests.load import dirt
from tests.load.envelopes import Draft
from tests.load.sender import Sender

from deskline.stack.http import get
from deskline.stack.stack import apply_configuration


@dataclass
class Scene:
    servers: ChaosServers
    world: World
    chance: random.Random
    clock: Path
    sent: list[Draft] = field(default_factory=list)
    made: int = 0

    async def not_ready(self, service: str, within_s: float = 12.0) -> None:
        """What a cut or a pause must show: an instance says so itself."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for instance in self.world.stack.services.instances:
                if instance.service == service:
                    answer = await get(f"{instance.http}/readyz", 1.0)
                    if answer is not None and answer[0] == 503:
                        return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{service} said all the time that it was ready")

    async def alive(self) -> None:
        """Whatever is away, the processes turn: nobody restarts them for it."""
        for instance in self.world.stack.services.instances:
            answer = await get(f"{instance.http}/livez", 3.0)
            assert answer is not None, f"{instance.name} does not answer /livez"
            assert answer[0] == 200, f"{instance.name} is not alive"

    async def send(self, drafts: list[Draft]) -> None:
        async with Sender(self.servers.kafka.bootstrap_servers, self.world.stack.options.topic_prefix) as sender:
            await sender.send(drafts)


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    expected: str
    act: Act
    ends_the_primary: bool = False


FAULTS: dict[str, Fault] = {}


def fault(name: str, expected: str, **more: bool) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, expected, act, **more)
        return act

    return register


# --- processes ------------------------------------------------------------------------------------------------------------


def _of_each_service() -> None:
    for service in SERVICES:

        async def kill(scene: Scene, service: str = service) -> None:
            before = scene.world.stack.services.find(service, 1).starts
            scene.world.signal(service, 1, SIGKILL)
            async with asyncio.timeout(30):
                while scene.world.stack.services.find(service, 1).starts == before:  # noqa: ASYNC110  (a new process raises no event)
                    await asyncio.sleep(0.1)

        async def freeze(scene: Scene, service: str = service) -> None:
            scene.world.signal(service, 2, SIGSTOP)
            try:
                await asyncio.sleep(SESSION_S + 2)
            finally:
                scene.world.signal(service, 2, SIGCONT)

        async def end(scene: Scene, service: str = service) -> None:
            instance = scene.world.stack.services.find(service, 2)
            process = instance.process
            assert process is not None
            process.signal(SIGTERM)
            async with asyncio.timeout(40):
                while process.running():  # noqa: ASYNC110  (nor does its end)
                    await asyncio.sleep(0.1)
            assert process.exit_code == 0, f"{instance.name} ended with {process.exit_code}"

        async def storm(scene: Scene, service: str = service) -> None:
            for _ in range(4):
                await scene.world.stack.services.scale(service, 3)
                await asyncio.sleep(1)
                await scene.world.stack.services.scale(service, 2)

        fault(f"{service} killed", "started again; the other instance goes on with its partitions")(kill)
        fault(f"{service} frozen", "fenced when it thaws: it commits nothing that its successor decided")(freeze)
        fault(f"{service} ended", "it finishes its unit, publishes, leaves its group, exit code 0")(end)
        fault(f"{service} rebalance storm", "partitions move four times and back; each record has one effect")(storm)


_of_each_service()


@fault("all services killed", "everything starts from what is committed")
async def _all(scene: Scene) -> None:
    for instance in list(scene.world.stack.services.instances):
        scene.world.signal(instance.service, instance.number, SIGKILL)


# --- the broker -----------------------------------------------------------------------------------------------------------


@fault("broker restarted", "services wait and keep their state; what was acknowledged is there")
async def _broker_restart(scene: Scene) -> None:
    await scene.servers.restart_kafka(1, kill=False, away_s=1)


@fault("broker stopped unclean", "services wait; the log is recovered")
async def _broker_kill(scene: Scene) -> None:
    await scene.servers.restart_kafka(1, kill=True, away_s=2)
    await scene.alive()


@fault("broker paused", "services say that they are not connected, and live")
async def _broker_pause(scene: Scene) -> None:
    scene.servers.kafka.signal_node(1, SIGSTOP)
    try:
        await scene.not_ready("router")
    finally:
        scene.servers.kafka.signal_node(1, SIGCONT)


# --- the database ---------------------------------------------------------------------------------------------------------


@fault("database restarted", "units of work are tried again; nothing is skipped")
async def _database_fast(scene: Scene) -> None:
    await scene.servers.restart_postgres("fast", away_s=2)


@fault("database stopped at once", "what was committed is there after its recovery")
async def _database_immediate(scene: Scene) -> None:
    await scene.servers.restart_postgres("immediate", away_s=2)
    await scene.alive()


@fault("database killed", "the same, without any warning")
async def _database_kill(scene: Scene) -> None:
    await asyncio.to_thread(scene.servers.postgres.kill)
    await asyncio.sleep(2)
    await asyncio.to_thread(scene.servers.postgres.prepare)
    scene.servers.postgres.spawn()
    await asyncio.to_thread(scene.servers.postgres.wait_ready)


@fault("connections ended", "each service connects again and does the unit over")
async def _terminate(scene: Scene) -> None:
    for _ in range(3):
        await scene.servers.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(1)


@fault("lanes locked by somebody", "services wait at most the lock's time-out, again and again, and lose nothing")
async def _locked(scene: Scene) -> None:
    connection = await asyncpg.connect(scene.servers.direct_dsn)
    try:
        async with connection.transaction():
            for service in SERVICES:
                await connection.execute(f"SELECT 1 FROM {service}.lanes FOR UPDATE")
            await asyncio.sleep(7)
    finally:
        await connection.close()


@fault("connections used up", "who has one goes on; who needs one waits")
async def _used_up(scene: Scene) -> None:
    held = []
    try:
        with suppress(asyncpg.PostgresError):
            while True:
                held.append(await asyncpg.connect(scene.servers.direct_dsn))
        await asyncio.sleep(4)
    finally:
        for connection in held:
            await connection.close()
    assert len(held) > 20


@fault(
    "database fails over",
    "the standby has every commit that was acknowledged; services go on with it",
    ends_the_primary=True,
)
async def _fail_over(scene: Scene) -> None:
    await scene.servers.add_standby()
    await asyncio.sleep(3)
    await scene.servers.fail_over()


# --- the network ----------------------------------------------------------------------------------------------------------


def _of_each_way() -> None:
    for name, of in (("database", "postgres_way"), ("broker", "kafka_way")):

        async def pause(scene: Scene, of: str = of) -> None:
            getattr(scene.servers, of).set("pause")
            try:
                await scene.not_ready("sla")
                await scene.alive()
            finally:
                getattr(scene.servers, of).set("pass")

        async def slow(scene: Scene, of: str = of) -> None:
            getattr(scene.servers, of).set("slow")
            await asyncio.sleep(6)
            getattr(scene.servers, of).set("pass")

        async def cut(scene: Scene, of: str = of) -> None:
            way = getattr(scene.servers, of)
            way.set("cut")
            try:
                await scene.not_ready("autoreply")
                assert way.refused > 0, "nobody tried to come again"
            finally:
                way.set("pass")

        async def flap(scene: Scene, of: str = of) -> None:
            way = getattr(scene.servers, of)
            for _ in range(8):
                way.set("cut")
                await asyncio.sleep(scene.chance.uniform(0.05, 0.4))
                way.set("pass")
                await asyncio.sleep(scene.chance.uniform(0.2, 0.8))

        async def mute(scene: Scene, of: str = of) -> None:
            way = getattr(scene.servers, of)
            way.set("mute")
            await asyncio.sleep(4)
            # Answers are missing in the stream: it cannot be gone on with.
            way.set("cut")
            way.set("pass")

        fault(f"way to the {name} paused", "not ready, and alive; goes on with the same connections or new ones")(pause)
        fault(f"way to the {name} slow", "slower; nothing else")(slow)
        fault(f"way to the {name} cut", "not ready, tries again, goes on")(cut)
        fault(f"way to the {name} comes and goes", "as often as it breaks, the unit is done over")(flap)
        fault(f"answers of the {name} lost", "what was committed or published without our knowing is not done twice")(
            mute
        )


_of_each_way()


# --- the clock ------------------------------------------------------------------------------------------------------------


def _of_each_jump() -> None:
    jumps = (
        (-2.0, "back", "clocks are told later, none false"),
        (0.5, "forward", "within the allowed lateness: none false"),
    )
    for seconds, way, expected in jumps:

        async def jump(scene: Scene, seconds: float = seconds) -> None:
            scene.clock.write_text(str(seconds))
            await asyncio.sleep(6)
            scene.clock.write_text("0")
            await asyncio.sleep(1)

        fault(f"clock jumps {way}", expected)(jump)


_of_each_jump()


# --- what comes in --------------------------------------------------------------------------------------------------------


@fault("poison storm", "each invalid record has one dead letter; the service does not stop")
async def _poison(scene: Scene) -> None:
    drafts = []
    for _ in range(300):
        scene.made += 1
        at = time.time_ns() // 1000
        subject = f"poison-{scene.chance.randrange(50)}"
        drafts.append(dirt.any_invalid(scene.chance, subject, f"storm-{scene.made}", at)[1])
    await scene.send(drafts)
    await scene.alive()


@fault("duplicate storm", "an id that was seen has no second effect")
async def _duplicates(scene: Scene) -> None:
    drafts = []
    for number in range(40):
        draft = _message(scene, f"again-{scene.made}-{number}")
        drafts += [draft] * 10
    scene.chance.shuffle(drafts)
    await scene.send(drafts)


@fault("late storm", "messages of an hour ago are counted where they belong, and answered by nobody in their name")
async def _late(scene: Scene) -> None:
    await scene.send([_message(scene, f"late-{scene.made}-{number}", 3600) for number in range(100)])


@fault("one hot conversation", "its partition is slower, the others are not")
async def _hot(scene: Scene) -> None:
    subject = f"hot-{scene.made}"
    await scene.send([_message(scene, subject) for _ in range(400)])


@fault("large records", "records of the greatest valid size go through")
async def _large(scene: Scene) -> None:
    await scene.send([_message(scene, f"large-{scene.made}-{number}", text="大" * 19_000) for number in range(30)])


@fault("configuration storm", "ten versions in ten seconds: each in force from its instant")
async def _configurations(scene: Scene) -> None:
    settings = scene.world.stack.settings()
    for _ in range(3):
        await apply_configuration(settings, CONFIG)
        await asyncio.sleep(0.5)


@fault("database says its disk is full", "services wait, nothing is skipped; they go on when there is room")
async def _disk(scene: Scene) -> None:
    """What a full disk answers (53100), for every unit of work; a disk that really fills: tests/kafka/test_archive_rehearsals.py."""
    body = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END"
    connection = await asyncpg.connect(scene.servers.direct_dsn)
    try:
        await connection.execute(
            f"CREATE OR REPLACE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$"
        )
        for service in SERVICES:
            await connection.execute(
                f"CREATE TRIGGER no_room BEFORE UPDATE ON {service}.lanes FOR EACH STATEMENT EXECUTE FUNCTION public.no_room()"
            )
        await asyncio.sleep(6)
        await scene.alive()
        for service in SERVICES:
            await connection.execute(f"DROP TRIGGER no_room ON {service}.lanes")
    finally:
        await connection.close()


def _message(scene: Scene, subject: str, ago_s: int = 0, text: str = "在吗") -> Draft:
    from tests.load.envelopes import draft, envelope

    scene.made += 1
    at = time.time_ns() // 1000 - ago_s * 1_000_000
    data: dict[str, Any] = {
        "shop_id": "衣橱", "message_id": f"m{scene.made}", "channel": "web", "text": text, "customer": {"customer_id": subject},
    }  # fmt: skip
    return draft(envelope("message.received", subject, data, at, id_=f"chaos-{scene.made}"))
