"""sla is away for ten minutes while everybody else goes on; afterwards what it has told is what the oracle tells, exactly.

``DESKLINE_STOPPED_S`` says how long (600 when not given); the rest of the plan follows from it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from signal import SIGKILL

import pytest
from tests.checker.records import CONVERSATIONS, SECOND, SLA
from tests.faults.world import ONE_OF_EACH, Servers, World, say

from deskline.clock import now_us

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

BROKERS = 1
STOPPED_S = float(os.environ.get("DESKLINE_STOPPED_S", "600"))
_RATE = 60.0
"""Records a second of customers, agents and the gateway; the services' own come on top."""
_BEFORE_S = 20.0
_AFTER_S = 90.0
"""Customers go on while sla catches up, also where a machine sends a tenth faster than it was asked to."""


async def test_sla_stopped_for_ten_minutes_under_load_tells_what_the_oracle_tells(
    servers: Servers, run_seed: int
) -> None:
    away: list[int] = []
    async with World(servers, ONE_OF_EACH) as world:

        async def stop() -> None:
            await asyncio.sleep(_BEFORE_S)
            world.signal("sla", 1, SIGKILL)
            await world.stack.services.pause("sla")
            away.append(now_us())
            say("sla is away")
            await asyncio.sleep(STOPPED_S)
            away.append(now_us())
            await world.stack.services.resume("sla")
            say("sla is back")

        stopping = asyncio.create_task(stop())
        records = round(_RATE * (_BEFORE_S + STOPPED_S + _AFTER_S))
        await world.play(run_seed, records, rate=_RATE, settle_s=15.0)
        await stopping
        began = time.monotonic()
        await world.rest(timeout_s=300)
        say(f"caught up within {time.monotonic() - began:.0f} s of the end of the traffic")
        report, log, _ = await world.judge()
        assert report.ok, f"\n{report.text(5)}\n{world.logs()}"
    gone, back = away
    told = [record for record in log.records if record.topic == SLA]
    words = Counter(json.loads(record.value or b"{}")["type"] for record in told)
    missed = sum(gone < record.broker_at < back for record in log.records if record.topic == CONVERSATIONS)
    say(f"{missed} records of {CONVERSATIONS} came while sla was away; told {dict(words)}")
    assert not [record for record in told if gone + SECOND < record.broker_at < back], "somebody else told clocks"
    assert missed > _RATE * STOPPED_S / 4
    assert all(words[f"sla.{word}.v1"] > 20 for word in ("met", "breached", "cancelled", "warning"))
