"""The knowledge base on real Kafka and PostgreSQL: live without a restart, searched over HTTP, unused entries listed."""

import asyncio

import pytest
from tests.fixtures.deployment import SHOP, Deployment, caught_up, said
from typer.testing import CliRunner

from deskline.cli import app
from deskline.clock import now_us
from deskline.postgres import connect
from deskline.records import REPLIES
from deskline_autoreply.knowledge.lookups import Lookups, last_used

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
PATIENCE_S = 60
ENTRY = "entries: [{{entry_id: invoice, phrasings: [怎么开发票, 能开发票吗], answer: {answer}}}]"
DEFAULT = {
    "rules": "rules: []",
    "agents": "agents: [{agent_id: anna, capacity: 5}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
}


@pytest.fixture
def desk(topics):
    return Deployment(topics, PARTITIONS)


async def test_a_new_version_of_an_entry_answers_without_a_restart(desk, tmp_path, eventually):
    in_force = await desk.configure(tmp_path, {**DEFAULT, "knowledge": ENTRY.format(answer="旧的")})
    await eventually(lambda: now_us() > in_force, "in force")
    async with desk.running("autoreply") as autoreply:
        await desk.send([said("c-1", now_us(), "m-1", "怎么开发票")])
        await eventually(lambda: desk.has_told(REPLIES, 1), "answered", PATIENCE_S)
        in_force = await desk.configure(tmp_path, {**DEFAULT, "knowledge": ENTRY.format(answer="新的")})
        await eventually(lambda: now_us() > in_force, "in force")
        await desk.send([said("c-2", now_us(), "m-2", "怎么开发票"), said("c-3", now_us(), "m-3", "xyzzy")])
        await eventually(lambda: desk.has_told(REPLIES, 3), "answered", PATIENCE_S)
        await eventually(caught_up(autoreply), "caught up", PATIENCE_S)
    told = {out.value["subject"]: out.value["data"] for out in await desk.told(REPLIES)}
    assert (told["c-1"]["text"], told["c-2"]["text"]) == ("旧的", "新的")
    assert told["c-1"]["rules_version"] < told["c-2"]["rules_version"]
    assert told["c-2"]["entry_id"] == "invoice"
    assert told["c-3"]["reason"] == "no_match"

    connection = await connect(desk.settings, "autoreply")
    try:
        lookups = Lookups(desk.settings)
        lookups.count(SHOP, ["looked-at"], 5_000_000)
        lookups.count(SHOP, ["looked-at"], 7_000_000)
        await lookups.flush(connection)
        lookups.count(SHOP, ["looked-at"], 6_000_000)
        await lookups.flush(connection)
        used = await last_used(connection, SHOP)
        assert used["looked-at"] == 7_000_000
        assert used["invoice"] > 7_000_000
        assert await connection.fetchval("SELECT shown FROM lookups WHERE entry_id = 'looked-at'") == 3
    finally:
        await connection.close()

    def command() -> str:
        dsn = desk.settings.postgres_dsn.get_secret_value()
        arguments = ["knowledge", "stale", "--config", str(tmp_path), "--postgres-dsn", dsn]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    assert "0 of 1 unused" in await asyncio.to_thread(command)
