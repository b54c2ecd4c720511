"""What the router decided, decided again from its log and the archive: a real run of two instances, byte for byte."""

import asyncio
import json
import re
from contextlib import AsyncExitStack

import asyncpg
import pytest
from tests.fixtures.deployment import Deployment, caught_up, said
from tests.kafka.test_router_service import AGENTS, LIMITS, ROUTES, Agents, asked

from deskline.clock import now_us
from deskline.postgres import connect
from deskline_router.model import Action
from deskline_router.store import Store

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
COUNT = 200
SURGES = "surge: {enter: {queue: 6}, leave: {queue: 1}, calm_s: 1, capacity_added: 1}\n"


async def _arrive(desk, first, last):
    """Some are handed over, some meet silence; in five shops that share four people."""
    skills = [(), (), ("refund",), ("vip",)]
    for start in range(first, last, 40):
        for n in range(start, start + 40):
            shop, at = f"shop-{n % 5}", now_us()
            if n % 5 == 4:
                await desk.send([said(f"c-{n}", at, "m-1", shop_id=shop)])
            else:
                await desk.send(asked(f"c-{n}", at, shop=shop, skills=skills[n % 4], priority=n % 3 * 40))
        await asyncio.sleep(0.2)


async def _worked(desk, eventually, first, last):
    agents = Agents(desk, first)
    agents.done = {f"c-{n}" for n in range(first)}
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(desk.running("router"))]
        work = asyncio.gather(_arrive(desk, first, last), agents.work(last))
        await eventually(lambda: len(agents.done) > first + 20, "it goes on", 60)
        await _order(desk, Action(f"surge-{first}", "surge_on", "boss", now_us(), shop_id="shop-1"))
        await _order(desk, Action(f"pause-{first}", "pause", "boss", now_us(), shop_id="shop-1", agent_id="dora"))
        await _order(desk, Action(f"resume-{first}", "resume", "boss", now_us(), shop_id="shop-1", agent_id="dora"))
        running.append(await stack.enter_async_context(desk.running("router", instance="2")))
        async with asyncio.timeout(150):
            await work
        await eventually(caught_up(*running), "settled", 60)
    async with desk.running("archive") as archive:
        await eventually(caught_up(archive), "archived", 60)


async def _order(desk, action):
    """As a desktop's request does."""
    connection = await connect(desk.settings, "router")
    await Store().submit(connection, action)
    await connection.close()


@pytest.fixture
async def desk(topics, tmp_path):
    made = Deployment(topics, PARTITIONS)
    limits = LIMITS.replace("patience_s: 600", "patience_s: 1")
    routes = ROUTES.replace("%s", "offered") + SURGES
    await made.configure(tmp_path / "conf", {"agents": AGENTS, "limits": limits, "routing": routes})
    return made


async def _what_if(desk, folder):
    """The same run under a policy by which only Anna and Carl are asked first."""
    policy, file = folder / "new.yaml", folder / "whatif.json"
    policy.write_text("rules: [{rule_id: r, steps: [{grades: [senior], wait_s: 20}, {keep_skills: false}]}]\n")
    text = await desk.command("whatif", "--policy", str(policy), "--from", "10m", "--json", str(file))
    assert "Would have gone elsewhere" in text
    data = json.loads(file.read_text())
    recorded, simulated, new = (data["columns"][name] for name in ("recorded", "simulated", "new"))
    assert recorded["tiers"]["all"]["requests"] == 2 * COUNT
    assert recorded["tiers"]["all"]["served"] == simulated["tiers"]["all"]["served"] == 2 * COUNT
    assert new["agents"]["anna"] > 1.3 * recorded["agents"]["anna"]
    assert data["moved_by_policy"] > 0
    assert all(one["recorded"] != one["new"] for one in data["elsewhere"])
    text = await desk.command("staffing", "--from-archive", "10m", "--target", "60", "--json", str(file))
    assert "Agents needed by the half hour" in text
    staffing = json.loads(file.read_text())
    assert sum(slot["calls"] for slot in staffing["slots"]) >= 2 * COUNT


async def test_recorded_inputs_give_the_recorded_decisions_and_each_night_goes_on_where_the_last_one_ended(
    desk, eventually, migrated_database, tmp_path
):
    await _worked(desk, eventually, 0, COUNT)
    state = str(tmp_path / "state")
    first = await desk.command("verify-decisions", "--to", "0s", "--state", state)
    units, outputs, same = map(int, re.search(r"(\d+) units decided again: (\d+) outputs, (\d+)", first).groups())
    assert units > 100
    connection = await connect(desk.settings, "router")
    assert await connection.fetchval("SELECT count(*) FROM decisions WHERE actions <> '[]'") > 0
    await connection.close()
    assert outputs == same > 3 * COUNT
    await _worked(desk, eventually, COUNT, 2 * COUNT)
    second = await desk.command("verify-decisions", "--to", "0s", "--state", state)
    more, outputs, same = map(int, re.search(r"(\d+) units decided again: (\d+) outputs, (\d+)", second).groups())
    assert outputs == same > 3 * COUNT
    whole = await desk.command("verify-decisions", "--to", "0s")
    assert f"{units + more} units" in whole
    await _what_if(desk, tmp_path)

    connection = await asyncpg.connect(migrated_database)
    # Another order of agents in the log than the one decided: it must be found, and the state not move on.
    name = await connection.fetchval(
        "UPDATE router.decision_log SET outputs[1] = 'other' WHERE seq = (SELECT max(seq) FROM router.decision_log WHERE cardinality(outputs) > 0) RETURNING seq"
    )
    wrong = await desk.command("verify-decisions", "--to", "0s", exit_code=4)
    assert f"unit {name}, other: recorded, not decided again" in wrong
    await connection.execute("DELETE FROM router.decision_log WHERE seq < 50")
    await connection.close()
    fresh = str(tmp_path / "fresh")
    assert "the next check goes on from it" in await desk.command("verify-decisions", "--to", "0s", "--state", fresh)
    assert "0 units decided again" in await desk.command("verify-decisions", "--to", "0s", "--state", fresh)
