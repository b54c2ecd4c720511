"""The database of an earlier instant under a Kafka that has gone on (docs/operations/runbooks.md, *Restore*), rehearsed.

What holds all the same: the archive has every record once, and no customer is answered twice. Services decide again, with another
``now`` and more of the other topics before them: mostly the ids that there were, with other content, of which consumers that remember
ids keep the first. What else the checker finds is told. By itself: ``make rehearse ARGS='-k restored'``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from tests.faults.test_scale import _traffic
from tests.faults.world import ONE_OF_EACH, SERVICES, Servers, World, say

from deskline.records import REPLIES

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

BROKERS = 1
ABOUT_RECORDS = {"1", "8"}
"""Rules of the archive and of letters."""


async def test_a_restored_database_of_an_earlier_instant_reads_again_what_came_since(
    servers: Servers, run_seed: int
) -> None:
    copy = servers.folder / "copy"
    async with World(servers, ONE_OF_EACH) as world:
        async with _traffic(world, run_seed):
            await asyncio.sleep(12)
            await servers.copy_database(copy)
            await asyncio.sleep(15)
        before = await world.is_right()
        for service in SERVICES:
            await world.stack.services.pause(service)
        await servers.put_back_database(copy)
        # The order of the runbook.
        for service in ("archive", "sla", "router", "autoreply"):
            await world.stack.services.resume(service)
            await world.caught_up(service)
        await world.rest()
        after, log, _ = await world.judge()
        assert after.counts["records"] > before.counts["records"], "nothing was read again"
        found = Counter(f"{violation.rule} {violation.code}" for violation in after.violations)
        say(f"{before.counts['records']} records before, {after.counts['records']} after; {dict(found)}")
        assert not after.rules() & ABOUT_RECORDS, after.text(5)
        replies: dict[tuple[str, str], set[str]] = {}
        for record in log.records:
            event = json.loads(record.value) if record.topic == REPLIES else {}
            if event.get("type") == "reply.issued.v1":
                replies.setdefault((event["subject"], event["data"]["in_reply_to"]), set()).add(
                    event["data"]["reply_id"]
                )
        assert len(replies) > 20
        assert not {message for message, ids in replies.items() if len(ids) > 1}, "a second reply with another id"
