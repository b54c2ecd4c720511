"""``deskline report`` on a real PostgreSQL: what the archive holds is what is counted, read by the day's partitions only."""

import json
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from typer.testing import CliRunner

from deskline.clock import from_datetime, rfc3339, to_datetime
from deskline.migrate import migrate, plan
from deskline.records import ALL_TOPICS, Record
from deskline.report import store
from deskline.report.cli import app
from deskline_archive.policy import describe
from deskline_archive.store import Store

pytestmark = pytest.mark.kafka

DAY = datetime.now(UTC).date()
NOON = from_datetime(datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC))
SECOND = 1_000_000


def record(topic, offset, seconds, type_, *rest):
    subject, (source, data) = "c-1", rest
    at = NOON + round(seconds * SECOND)
    envelope = {"specversion": "1.0", "id": f"{topic}-{offset}", "source": source, "type": type_, "subject": subject, "time": rfc3339(at), "data": data}  # fmt: skip
    return Record(topic, 0, offset, at // 1000 * 1000, subject.encode(), json.dumps(envelope).encode(), ())


LOG = [
    record("conversations.v1", 0, 0, "message.received.v1", "/gateway/web", {"shop_id": "s", "message_id": "m1", "channel": "web", "text": "在吗", "customer": {"customer_id": "k"}}),
    record("replies.v1", 0, 0.5, "handover.requested.v1", "/deskline/autoreply", {"shop_id": "s", "rules_version": 1, "routing_offset": 0, "message_id": "m1", "waiting_since": rfc3339(NOON), "reason": "no_match", "skills": [], "priority": 50, "flags": []}),
    record("conversations.v1", 1, 45, "message.sent.v1", "/gateway/web", {"shop_id": "s", "message_id": "m2", "author": {"kind": "agent", "id": "anna"}, "text": "您好"}),
    record("conversations.v1", 2, 90, "conversation.closed.v1", "/gateway/web", {"shop_id": "s", "resolved": True}),
    record("conversations.v1", 3, 99, "conversation.rated.v1", "/gateway/web", {"shop_id": "s", "score": 5}),
    Record("conversations.v1", 0, 4, NOON, b"c-1", b"not json", ()),
]  # fmt: skip


@pytest.fixture
async def archive(database):
    """A database with the archive's tables and the log in it; its DSN."""
    await migrate(database, schemas=[found for found in plan() if found.name == "archive"])
    owner = await asyncpg.connect(database, server_settings={"search_path": "archive"})
    await owner.execute("SELECT ensure_days($1::date, $2::date)", DAY - timedelta(30), DAY + timedelta(30))
    from deskline.events.wire import decode

    async with owner.transaction():
        await Store("p-").append(owner, LOG, describe(LOG, [decode(each) for each in LOG]).descriptions)
    yield database
    await owner.close()


async def test_the_command_counts_what_the_archive_holds_and_says_the_same_twice(archive, tmp_path):
    import asyncio

    arguments = ["--shop", "s", "--from", DAY.isoformat(), "--to", DAY.isoformat(), "--postgres-dsn", archive, "--topic-prefix", "p-"]  # fmt: skip

    def run(name):
        written = [f"--{kind}={tmp_path / name}.{kind}" for kind in ("json", "csv", "html")]
        result = CliRunner().invoke(app, [*arguments, *written], env={"COLUMNS": "160"})
        assert result.exit_code == 0, result.exception
        return result.stdout, *((tmp_path / f"{name}.{kind}").read_text() for kind in ("json", "csv", "html"))

    one, two = [await asyncio.to_thread(run, name) for name in ("1", "2")]
    assert one == two
    shown, text, table, page = one
    first = json.loads(text)
    assert "all times in UTC" in shown
    assert "45.0 s" in shown
    assert "response_agent,12,mean_s,45.0" in table.splitlines()
    assert first["time_zone"] == "UTC"
    assert first["response"]["agent"]["hours"][0] == {
        "hour": 12, "answered": 1, "unanswered": 0, "mean_s": 45.0, "p50_s": 45.0, "p90_s": 45.0, "p95_s": 45.0, "within": 1.0,
    }  # fmt: skip
    assert (first["satisfaction"]["satisfied"], first["resolution"]["resolved"]) == (1.0, 1.0)
    assert first["source"]["records"] == len(LOG) - 1
    assert "<svg" in page
    assert "all times in UTC" in page


async def test_days_outside_the_period_are_not_looked_at(archive):
    connection = await asyncpg.connect(archive, server_settings={"search_path": "archive"})
    topics = [f"p-{topic}" for topic in ALL_TOPICS]
    week = (to_datetime(NOON - 8 * 86_400 * SECOND), to_datetime(NOON + 8 * 86_400 * SECOND))
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {store._RECORDS}", topics, *week))
    await connection.close()
    assert f"records_{DAY:%Y%m%d}" in plan
    assert f"records_{DAY - timedelta(20):%Y%m%d}" not in plan
    assert isinstance(DAY, date)


async def test_the_story_of_a_conversation_is_told_from_the_archive(archive):
    import asyncio

    from deskline.story.cli import app as explain

    where = ["--postgres-dsn", archive, "--topic-prefix", "p-", "--since", rfc3339(NOON - 86_400 * SECOND)]
    told = await asyncio.to_thread(CliRunner().invoke, explain, ["c-1", *where])
    assert told.exit_code == 0, told.exception
    lines = [line.partition("  ")[2] for line in told.stdout.splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        "The customer k wrote by web.",
        "autoreply handed over",
        "The agent anna wrote.",
        "The conversation was closed, resolved.",
        "The customer gave 5 of 5.",
    ]
    assert "1 records are not valid" in told.stderr
    assert "在吗" not in told.stdout
    nobody = await asyncio.to_thread(CliRunner().invoke, explain, ["c-2", *where])
    assert (nobody.exit_code, nobody.stdout) == (1, "")
