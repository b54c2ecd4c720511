"""``deskline config apply --reevaluate`` on real Kafka and PostgreSQL: every open clock takes the version, once, whatever is killed."""

from collections import Counter

import asyncpg
import pytest
from tests.fixtures.deployment import Deployment, caught_up, gateway, said
from tests.kafka.test_sla_service import CALENDARS, MINUTE, PATIENCE_S, grown, handed_over

from deskline.clock import SECOND, now_us, parse_rfc3339
from deskline.config.apply import apply_directory
from deskline.records import SLA

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TARGETS = "policies: [{policy_id: p, targets: {instant_reply: 0, agent_response: %s, next_response: 0}}]\n"
OPEN, OTHERS = 4_000, 200


@pytest.fixture
async def desk(topics, tmp_path):
    """The shop runs on ``_default``, another one has a policy of its own."""
    made = Deployment(topics, 4)
    other = tmp_path / "bookshop"
    other.mkdir()
    (other / "sla.yaml").write_text(TARGETS % 7200)
    await made.configure(tmp_path, {"calendars": CALENDARS, "sla": TARGETS % 3600})
    return made


async def reevaluate(desk, folder, seconds):
    (folder / "_default" / "sla.yaml").write_text(TARGETS % seconds)
    return (await apply_directory(desk.settings, folder, reevaluate=True)).order.effective_from


def conversations(at):
    """A clock each since ``at``: most run, some are held, some breached long ago; and those of another shop."""
    for number in range(OPEN):
        started = at - 2 * 60 * MINUTE if number % 50 == 0 else at
        yield said(f"c-{number}", started, f"m-{number}")
        yield handed_over(f"c-{number}", started + SECOND, f"m-{number}", started)
        if number % 10 == 1:
            yield gateway("conversation.held.v1", f"c-{number}", at + 2 * SECOND, f"held-{number}")
    for number in range(OTHERS):
        yield said(f"b-{number}", at, f"n-{number}", shop_id="bookshop")
        yield handed_over(f"b-{number}", at + SECOND, f"n-{number}", at)


async def test_every_open_clock_takes_the_version_once_though_instances_are_killed_in_the_middle(
    desk, eventually, tmp_path
):
    at = now_us() - 10 * MINUTE
    await desk.send(conversations(at))
    async with desk.running("sla") as service:
        await eventually(caught_up(service), "all clocks run", PATIENCE_S)
    breached = {out.value["subject"] for out in await desk.told(SLA) if out.value["type"] == "sla.breached.v1"}
    assert len(breached) == OPEN // 50
    # 300 s: the new due instant has passed for every clock that runs.
    since = await reevaluate(desk, tmp_path, 300)
    for kill in range(2):
        before = await desk.count(SLA)
        async with desk.process("sla", instance=f"a{kill}"), desk.process("sla", instance=f"b{kill}"):
            await eventually(grown(desk, before), "some are told", PATIENCE_S)
    killed_at = len([out for out in await desk.told(SLA) if out.value["type"] == "sla.retargeted.v1"])
    async with desk.running("sla") as service:
        await eventually(lambda: now_us() > since + 2 * SECOND, "in force", PATIENCE_S)
        await eventually(caught_up(service), "all told", PATIENCE_S)
    outs = [out for out in await desk.told(SLA) if out.value["type"] != "sla.warning.v1"]
    taken = [out for out in outs if out.value["type"] == "sla.retargeted.v1"]
    print(f"{killed_at} of {len(taken)} told when the last was killed")
    assert killed_at < len(taken), "it was killed in the middle"
    assert Counter(out.value["subject"] for out in taken) == Counter(
        subject for number in range(OPEN) if (subject := f"c-{number}") not in breached
    )
    for out in taken:
        assert (out.data["policy_version"], out.data["target_s"]) == (2, 300.0)
        assert parse_rfc3339(out.value["time"]) >= since + SECOND
    last = {out.value["subject"]: out for out in outs if out.value["type"] == "sla.breached.v1"}
    assert len(last) == OPEN, "breached at once, each once"
    assert len([out for out in outs if out.value["type"] == "sla.breached.v1"]) == OPEN
    assert all(
        parse_rfc3339(out.data["due_at"]) == at + 300 * SECOND for key, out in last.items() if key not in breached
    )


async def test_a_running_service_brings_it_to_clocks_in_which_nothing_happens_and_remembers_how_far(
    desk, eventually, tmp_path
):
    at = now_us() - 10 * MINUTE
    await desk.send([said("c-1", at, "m-1"), handed_over("c-1", at, "m-1", at)])
    async with desk.running("sla") as service:
        await eventually(caught_up(service), "the clock runs", PATIENCE_S)
        since = await reevaluate(desk, tmp_path, 5000)
        await eventually(lambda: desk.has_told(SLA, 1), "taken", PATIENCE_S)
        again = await reevaluate(desk, tmp_path, 4000)
        await eventually(lambda: desk.has_told(SLA, 2), "taken again", PATIENCE_S)
        await eventually(caught_up(service), "nothing more", PATIENCE_S)
        await desk.send([said("c-2", now_us(), "m-2")])  # a unit of work, by which the end of the walk is noted
        await eventually(caught_up(service), "noted", PATIENCE_S)
    outs = await desk.told(SLA)
    assert [(out.value["type"], out.data["target_s"]) for out in outs] == [
        ("sla.retargeted.v1", 5000.0),
        ("sla.retargeted.v1", 4000.0),
    ]
    for out, instant in zip(outs, (since, again), strict=True):
        late_s = (parse_rfc3339(out.value["time"]) - instant - SECOND) / SECOND
        print(f"told {late_s:.3f} s after it could be")
        assert late_s >= 0
    connection = await asyncpg.connect(str(desk.settings.postgres_dsn.get_secret_value()))
    try:
        assert await connection.fetchval("SELECT min(done_until) FROM sla.reevaluations") == again
    finally:
        await connection.close()
