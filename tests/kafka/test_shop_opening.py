"""A new shop on real Kafka and PostgreSQL: its first configuration, a load of its own, and the check before it goes live."""

import json

import pytest
from tests.fixtures.deployment import SHOP, Deployment, caught_up, said

from deskline.clock import now_us, parse_rfc3339
from deskline.records import REPLIES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PATIENCE_S = 60


async def test_load_is_played_and_counted_until_only_the_trial_is_missing(topics, tmp_path, eventually):
    desk = Deployment(topics, 4)
    conf = str(tmp_path / "conf")
    of = ("--shop", SHOP, "--config", conf)
    people = ("--agent", "lin:林:8", "--agent", "wu:吴:8")
    await desk.command("shop", "init", *of, "--no-input", *people)
    applied = json.loads(await desk.command("config", "apply", conf, "--json"))
    in_force = parse_rfc3339(applied["effective_from"])
    await eventually(lambda: now_us() > in_force, "in force")
    assert "has not been tried" in await desk.command("shop", "check", *of, exit_code=1)
    async with desk.running("autoreply") as autoreply, desk.running("archive") as archive:
        await eventually(caught_up(autoreply, archive), "started", PATIENCE_S)
        # Twelve customers are fewer than the thirty that two people are for: it says so, and what it saw is kept.
        load = ("shop", "load", *of, "--seconds", "2", "--every", "1", "--at-once")
        for left in (2, 1, 0):
            # A machine that stands still for three seconds is too slow, and is told so: then once more.
            try:
                output = await desk.command(*load, "12")
                break
            except AssertionError:
                if not left:
                    raise
        assert "12 conversations" in output
        assert "all decided" in output
        data = json.loads(await desk.command("shop", "check", *of, "--at-once", "12", "--json", exit_code=1))
        missing = {one["what"] for one in data["findings"] if not one["ok"]}
        # Played again within a minute, the minute as a whole may have been too slow.
        assert missing - ({"load too slow"} if left < 2 else set()) == {"no trial"}
        data = json.loads(await desk.command("shop", "check", *of, "--json", exit_code=1))
        assert [one["what"] for one in data["findings"] if not one["ok"]] == ["load too small", "no trial"]

        # Where customers write nobody rehearses.
        before = len(await desk.told(REPLIES))
        await desk.send([said("c-1", now_us(), "m-1", "你好")])
        await eventually(lambda: desk.has_told(REPLIES, before + 1), "decided", PATIENCE_S)
        await eventually(caught_up(archive), "archived", PATIENCE_S)
        refused = await desk.command(*load, "12", exit_code=1)
        assert refused == ""
    assert {out.data.get("reason") for out in await desk.told(REPLIES)} == {"shadow"}, "nothing was sent"
