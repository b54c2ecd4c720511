"""``deskline sla``, twice, on a real Kafka and a real PostgreSQL, killed, frozen and replaced while it reads a run's history."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP

from tests.checker.records import SECOND, SLA
from tests.checker.source import Addresses, read
from tests.checker.source import settings as deployed
from tests.fixtures.deployment import SESSION_S, Deployment, caught_up
from tests.oracle.histories import SHOPS_OF_A_RUN, Draft, Live, calendars, history, policies
from tests.oracle.judge import Verdict, judge

from deskline.clock import now_us, rfc3339
from deskline.config.apply import apply_directory
from deskline.settings import ServiceSettings

PARTITIONS = 4
_BEFORE_S = 7200
"""What has happened before the run begins is read as a backlog; the rest is sent when it happens."""
_LIVE_S = 30
_BACKLOG_S = 18
_CHUNKS = 60
_SLOW = 40
"""Records in a unit of work: so the backlog lasts while instances come and go."""
_PATIENCE_S = 240.0


async def run(seed: int, conversations: int, settings: ServiceSettings) -> tuple[Verdict, Counter[str]]:
    """``settings``: of topics (four partitions) and a migrated database that nobody else uses, both empty."""
    chance = random.Random(f"processes {seed}")
    desk = Deployment(settings, PARTITIONS)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        _write(chance, Path(folder), SHOPS_OF_A_RUN[:2])
        await apply_directory(desk.settings, Path(folder))
        now = now_us()
        drafts = history(
            seed,
            conversations + conversations // 100,
            now - _BEFORE_S * SECOND,
            span_s=_BEFORE_S + _LIVE_S,
            live=Live(now),
        ).drafts
        # Of the log of such a day, what has arrived by the end of the run; of a few conversations that is nothing.
        drafts = [draft for draft in drafts if draft.arrives < now + _LIVE_S * SECOND]
        sent = asyncio.Event()
        faults = asyncio.create_task(_faults(desk, chance, counts, sent))
        try:
            await _send(desk, drafts, now, _applying(desk, chance, Path(folder)))
        finally:
            sent.set()
            await faults
    async with desk.running("sla") as service:
        condition = caught_up(service)
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():  # noqa: ASYNC110  (the engine raises no event)
                await asyncio.sleep(0.1)
        # What fell due a moment ago is told a second later.
        await asyncio.sleep(2)
        log, end_at = await read(Addresses(settings.bootstrap_servers, None, settings.topic_prefix))
    return judge(log, deployed(end_at, config_lead_s=desk.settings.config_lead_s)), counts


def _write(chance: random.Random, folder: Path, shops: tuple[str, ...]) -> None:
    """Policies and calendars of ``_default`` and of some shops. JSON is YAML."""
    day = rfc3339(now_us())[:10]
    for shop in ("_default", *shops):
        (folder / shop).mkdir(exist_ok=True)
        (folder / shop / "sla.yaml").write_text(json.dumps(policies(chance)))
        (folder / shop / "calendars.yaml").write_text(json.dumps(calendars(chance, day)))


def _applying(desk: Deployment, chance: random.Random, folder: Path) -> asyncio.Task[object]:
    """A third into the run a version comes that open clocks take, later one that they do not."""

    async def apply() -> None:
        await asyncio.sleep(_LIVE_S / 3)
        _write(chance, folder, SHOPS_OF_A_RUN[:1])
        await apply_directory(desk.settings, folder, reevaluate=True)
        await asyncio.sleep(_LIVE_S / 3)
        _write(chance, folder, SHOPS_OF_A_RUN[1:2])
        await apply_directory(desk.settings, folder)

    return asyncio.create_task(apply())


async def _send(desk: Deployment, drafts: list[Draft], began: int, applying: asyncio.Task[object]) -> None:
    backlog = [draft for draft in drafts if draft.arrives <= began]
    live = [draft for draft in drafts if draft.arrives > began]
    async with desk.sending() as send:
        for number in range(_CHUNKS):
            part = backlog[number * len(backlog) // _CHUNKS : (number + 1) * len(backlog) // _CHUNKS]
            await send((draft.topic, draft.value) for draft in part)
            await asyncio.sleep(_BACKLOG_S / _CHUNKS)
        while live:
            until = now_us()
            count = sum(draft.arrives <= until for draft in live)
            await send((draft.topic, draft.value) for draft in live[:count])
            live = live[count:]
            await asyncio.sleep(0.1)
        await applying


async def _faults(desk: Deployment, chance: random.Random, counts: Counter[str], over: asyncio.Event) -> None:
    """Two instances, each of which is killed or frozen for longer than its session, and replaced, until the traffic is over."""

    async def instance(number: int) -> None:
        while not over.is_set():
            async with AsyncExitStack() as stack:
                before = await desk.count(SLA)
                name = f"{number}-{counts['started']}"
                counts["started"] += 1
                process = await stack.enter_async_context(desk.process("sla", instance=name, max_unit_records=_SLOW))
                # In the middle: it has told something, or the other one has and it waits for its turn.
                deadline = time.monotonic() + 2 * SESSION_S
                while not over.is_set() and time.monotonic() < deadline and await desk.count(SLA) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await asyncio.sleep(chance.uniform(0.05, 4))
                if chance.random() < 0.25:
                    process.send_signal(SIGSTOP)
                    counts["frozen"] += 1
                    await asyncio.sleep(SESSION_S + 2)
                    process.send_signal(SIGCONT)
                    await asyncio.sleep(1)
            counts["killed"] += 1

    await asyncio.gather(instance(1), instance(2))
