"""The commands as a person calls them, in processes of their own, one of them killed in the middle."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from typer.testing import CliRunner

from deskline_router.policy_cli import app as policy_app

SAMPLES = Path(__file__).parents[2] / "examples" / "config"

pytestmark = pytest.mark.kafka


def environment(settings):
    return os.environ | {
        "DESKLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DESKLINE_TOPIC_PREFIX": settings.topic_prefix,
        "DESKLINE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "COLUMNS": "200",
    }


async def started(settings, *arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deskline", "config", *(str(argument) for argument in arguments)),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(settings, *arguments, code=0):
    process = await started(settings, *arguments)
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return out.decode() if code == 0 else err.decode()


def limits(folder, patience_s):
    (folder / "_default").mkdir(parents=True, exist_ok=True)
    (folder / "_default" / "limits.yaml").write_text(f"patience_s: {patience_s}\n")
    return folder


async def test_the_life_of_a_configuration(topics, tmp_path):
    settings = topics
    assert "18 documents would change" in await run(settings, "apply", SAMPLES, "--dry-run")
    first = json.loads(await run(settings, "apply", SAMPLES, "--json", "--comment", "开业", "--by", "li"))
    assert first["versions"] == {"_default": 1, "support": 1, "wardrobe": 1}
    assert await run(settings, "apply", SAMPLES) == "nothing to change\n"
    dsn = settings.postgres_dsn.get_secret_value()
    policy = await asyncio.to_thread(CliRunner().invoke, policy_app, ["explain", "wardrobe", "--postgres-dsn", dsn])
    assert "Rule vip" in policy.stdout, policy.exception

    folder = limits(tmp_path, 4)
    changed = await run(settings, "diff", folder)
    assert "-patience_s: 3\n+patience_s: 4\n" in changed
    told = await run(settings, "apply", folder)
    assert "_default/limits: replaces version 1 → version 2" in told
    assert "wardrobe/rules: replaces version 1, a copy of _default's → version 2" in told

    back = await run(settings, "rollback", "wardrobe", 1, "--document", "rules", "--comment", "回滚")
    assert "wardrobe/rules: replaces version 2 → version 3" in back
    between = await run(settings, "diff", "wardrobe", "rules", "--from", 2, "--to", 3)
    assert "+- rule_id: 转人工" in between.replace("  ", "")
    assert await run(settings, "diff", "wardrobe", "rules", "--from", 1, "--to", 3) == "no difference\n"

    history = await run(settings, "history", "wardrobe")
    assert "as version 1; 回滚" in history
    entries = json.loads(await run(settings, "history", "wardrobe", "--json"))
    assert [(entry["version"], entry["applied_by"]) for entry in entries][-1] == (1, "li")
    shown = json.loads(await run(settings, "show", "wardrobe", "--version", 3, "--json"))
    assert {kind: document["version"] for kind, document in shown.items()} == {
        **dict.fromkeys(("agents", "calendars", "sla", "routing", "limits"), 2),
        "rules": 3,
    }
    assert "a copy of _default's" in await run(settings, "show")
    nobody = await run(settings, "show", "nobody", "limits", "--at", first["effective_from"])
    assert nobody.startswith("# nobody/limits.yaml, version 1, _default's\npatience_s: 3\n")
    assert await run(settings, "publish") == "0 records published\n"


async def test_wrong_calls_are_told_in_one_line_with_exit_code_2(topics):
    settings = topics
    for arguments, said in (
        (("show", "wardrobe"), "nothing has been applied yet"),
        (("rollback", "wardrobe", 1), "has no version of its own"),
        (("apply", SAMPLES, "--effective-from", "tomorrow"), "is no time"),
        (("apply", SAMPLES, "--effective-from", "2020-01-01T00:00:00Z"), "is too soon"),
        (("show", "wardrobe", "agent"), "is no document"),
        (("diff", "wardrobe", "--from", 1), "has no such version"),
    ):
        told = await run(settings, *arguments, code=2)
        assert said in told
        assert "Traceback" not in told


async def test_killed_anywhere_every_version_is_published_once_and_in_order(topics, tmp_path, eventually):
    """Kill -9 at different moments, the commit among them; the commands that follow mend what was left."""
    settings = topics
    connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    folder = limits(tmp_path, 1)
    await run(settings, "apply", folder)
    killed = 0
    for n in range(2, 8):
        before = await last_version(connection)
        process = await started(settings, "apply", limits(tmp_path, n))
        if n % 2:
            # as soon as its versions are committed: most likely before the broker has them
            await eventually(lambda before=before: is_newer(connection, before), "a commit", timeout_s=30)
        else:
            await asyncio.sleep(0.1 * n)
        with contextlib.suppress(ProcessLookupError):  # it may have been faster
            process.send_signal(signal.SIGKILL)
        await process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed >= 2
    await run(settings, "apply", limits(tmp_path, 99))
    committed = await connection.fetch(
        "SELECT version FROM config.documents WHERE document = 'limits' ORDER BY version"
    )
    assert await connection.fetchval("SELECT count(*) FROM config.outbox") == 0
    await connection.close()
    versions, ids = await published_limits(settings)
    # what a kill after the broker's yes published again repeats id and bytes
    first_seen = list(dict.fromkeys(versions))
    assert first_seen == [row["version"] for row in committed]
    assert len(set(ids)) == len(first_seen)


async def last_version(connection):
    return await connection.fetchval("SELECT max(version) FROM config.applies")


async def is_newer(connection, version):
    return await last_version(connection) > version


async def published_limits(settings):
    consumer = AIOKafkaConsumer(
        f"{settings.topic_prefix}shops.v1",
        bootstrap_servers=settings.bootstrap_servers,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        events = [json.loads((await consumer.getone()).value) for _ in range(sum(ends.values()))]
    finally:
        await consumer.stop()
    told = [event for event in events if event["data"]["document"] == "limits"]
    return [event["data"]["version"] for event in told], [event["id"] for event in told]
