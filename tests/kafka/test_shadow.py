"""What is tried in shadow, on real Kafka and PostgreSQL: recorded with the decision, reported, pruned; and a trial from end to end."""

import asyncio
import json
import re

import asyncpg
import pytest
from tests.fixtures.deployment import SHOP, Deployment, caught_up, gateway, said, wrote
from typer.testing import CliRunner

from deskline.cli import app
from deskline.clock import DAY, SECOND, now_us, parse_rfc3339
from deskline.postgres import connect
from deskline.records import REPLIES, ROUTING, SLA
from deskline.retention import prune

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
PATIENCE_S = 60
DEFAULT = {
    "rules": "rules: [{rule_id: shipping, when: {any_of: [发货]}, reply: {kind: faq, text: 48 小时内发货。}}]",
    "agents": "agents: [{agent_id: anna, capacity: 5}, {agent_id: bo, capacity: 5, skills: {tax: 3}}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
    "sla": "policies: [{policy_id: now, targets: {instant_reply: 600}}]",
    "routing": "rules: [{rule_id: any, steps: [{keep_skills: false}]}]",
}
CANDIDATES = {
    "rules": "inherit: true\nrules: [{rule_id: size, when: {any_of: [尺码]}, reply: {text: 请看尺码表。}}]",
    "knowledge": "entries: [{entry_id: invoice, phrasings: [怎么开发票, 能开发票吗, 发票在哪里开], answer: 订单页开发票。}]",
    "sla": "policies: [{policy_id: next, targets: {instant_reply: 0.000001}}]",
    "routing": "rules: [{rule_id: tax, steps: [{groups: [nobody], wait_s: 100}, {}]}]",
}


@pytest.fixture
def desk(topics):
    return Deployment(topics, PARTITIONS)


def command(desk, *arguments):
    """A `deskline` command on this deployment; what it printed."""
    settings = desk.settings
    addresses = ["--postgres-dsn", settings.postgres_dsn.get_secret_value()]
    if arguments[0] == "trial" and arguments[1] != "status":
        addresses += ["--topic-prefix", settings.topic_prefix]
    if arguments[:2] in (("trial", "start"), ("trial", "stop")):
        addresses += ["--bootstrap-servers", settings.bootstrap_servers]

    def invoke():
        result = CliRunner().invoke(
            app, [*arguments, *addresses], env={"DESKLINE_CONFIG_LEAD_S": "0.5", "COLUMNS": "200"}
        )
        assert result.exit_code == 0, result.output
        return result.output

    return asyncio.to_thread(invoke)


async def test_candidates_of_all_services_are_recorded_reported_and_pruned(desk, tmp_path, eventually):
    for name, text in CANDIDATES.items():
        folder = tmp_path / "_default" / "shadow"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    in_force = await desk.configure(tmp_path, DEFAULT)
    await eventually(lambda: now_us() > in_force, "in force")
    at = now_us()
    async with desk.running("autoreply") as autoreply, desk.running("router") as router, desk.running("sla") as sla:
        await desk.send([gateway("agent.status_changed.v1", "anna", at, "s-1", agent_id="anna", status="online")])
        await desk.send(
            [
                said("c-1", at, "m-1", "什么时候发货"),
                said("c-2", at, "m-2", "有尺码吗"),
                said("c-5", at, "m-5", "怎么开发票"),
            ]
        )
        await eventually(lambda: desk.has_told(ROUTING, 4), "assigned", PATIENCE_S)
        await eventually(lambda: desk.has_told(SLA, 1), "told", PATIENCE_S)
        await eventually(caught_up(autoreply, router, sla), "caught up", PATIENCE_S)
        # The candidate's breach has its last word when the watermark is past its due instant by the allowed lateness.
        gained = ("deskline_sla_shadow_clocks_total", {"metric": "instant_reply", "agreement": "gained"})
        await eventually(lambda: sla.registry.get_sample_value(*gained) == 1, "the candidate's breach", PATIENCE_S)

    shown = lambda runtime, name, **labels: runtime.registry.get_sample_value(name, labels)  # noqa: E731
    name = "deskline_autoreply_shadow_decisions_total"
    assert [shown(autoreply, name, kind="candidate", agreement=one) for one in ("same", "gained", "lost")] == [1, 2, 0]
    assert shown(router, "deskline_router_shadow_decisions_total", agreement="waits") == 2

    # What went out is what the live documents say.
    told = {out.value["subject"]: out.value["type"] for out in await desk.told(REPLIES)}
    assert told == {"c-1": "reply.issued.v1", "c-2": "handover.requested.v1", "c-5": "handover.requested.v1"}
    assert {out.value["type"] for out in await desk.told(SLA)} <= {"sla.met.v1", "sla.warning.v1"}

    file = tmp_path / "report.json"
    output = await command(desk, "shadow", "report", "--shop", SHOP, "--lang", "zh", "--json", str(file))
    assert "候选" in output
    data = json.loads(file.read_text(encoding="utf-8"))
    rules = data["rules"]["candidate"]
    assert (rules["messages"], rules["verdicts"]["same"]["count"], rules["verdicts"]["gained"]["count"]) == (3, 1, 2)
    gained = {one["examples"][0]: one["candidate"] for one in rules["differences"]}
    assert gained == {
        "c-2 m-2": {"outcome": "reply", "rule_id": "size", "text": "请看尺码表。"},
        "c-5 m-5": {"outcome": "reply", "entry_id": "invoice", "text": "订单页开发票。"},
    }
    assert data["routing"]["agreements"]["waits"] == {"count": 2, "share": 1.0}
    assert data["routing"]["agents"] == [{"agent_id": "anna", "live": 2, "candidate": 0}]
    breaches = data["sla"]["by_metric"]["instant_reply"]
    # c-1 was answered within ten minutes, and not within a microsecond; the others are in a person's hands, their clocks still open.
    assert (breaches["clocks"], breaches["live"], breaches["gained"]) == (1, 0, 1)

    for service, table, column in (
        ("autoreply", "shadow_decisions", "at"),
        ("router", "shadow_decisions", "at"),
        ("sla", "shadow_clocks", "started_at"),
    ):
        connection = await connect(desk.settings, service)
        try:
            assert await prune(connection, table, column, at - DAY) == 0
            assert await prune(connection, table, column, now_us() + DAY) > 0
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        finally:
            await connection.close()


async def test_a_killed_instance_leaves_one_row_for_each_message(desk, tmp_path, eventually):
    in_force = await desk.configure(tmp_path, DEFAULT | {"rules": f"shadow: true\n{DEFAULT['rules']}"})
    await eventually(lambda: now_us() > in_force, "in force")
    at, count = now_us(), 3000
    await desk.send(said(f"c-{number % 500}", at + number, f"m-{number}", f"发货 {number}") for number in range(count))
    async with desk.process("autoreply", max_unit_records=100):
        # One process is killed with SIGKILL somewhere in the middle.
        await eventually(lambda: desk.has_told(REPLIES, 200), "some decided", PATIENCE_S)
    async with desk.running("autoreply") as service:
        await eventually(caught_up(service), "caught up", PATIENCE_S)
    told = {out.data["message_id"] for out in await desk.told(REPLIES) if out.data["reason"] == "shadow"}
    connection = await connect(desk.settings, "autoreply")
    try:
        rows = await connection.fetch("SELECT message_id, rule_id FROM shadow_decisions WHERE tried = 'shop'")
    finally:
        await connection.close()
    assert len(rows) == len(told) == count
    assert {row["message_id"] for row in rows} == told
    assert {row["rule_id"] for row in rows} == {"shipping"}


async def test_a_trial_from_its_start_to_its_report(desk, tmp_path, eventually):
    conf = tmp_path / "conf"
    await desk.configure(conf, DEFAULT)
    output = await command(
        desk, "trial", "start", "--shop", SHOP, "--hours", "48", "--config", str(conf), "--then", "live"
    )
    begins = parse_rfc3339(re.search(r"from (\S+) to", output)[1])
    assert "shadow: true" in (conf / SHOP / "rules.yaml").read_text(encoding="utf-8")
    await eventually(lambda: now_us() > begins, "in force")
    at = now_us()
    async with desk.running("autoreply") as autoreply, desk.running("archive") as archive:
        await desk.send([
            said("c-1", at, "m-1", "什么时候发货", order_id="A-77"), wrote("c-1", at + 4 * SECOND, "s-1", text="订单A-77明天发"),
            said("c-2", at + SECOND, "m-2", "随便说说"), said("c-3", at + 2 * SECOND, "m-3", "发货"),
        ])  # fmt: skip
        await eventually(lambda: desk.has_told(REPLIES, 3), "decided", PATIENCE_S)
        await eventually(caught_up(autoreply, archive), "caught up", PATIENCE_S)
        assert "running" in await command(desk, "trial", "status", "--shop", SHOP)
        await command(desk, "trial", "stop", "--shop", SHOP, "--config", str(conf))
    assert {out.data["reason"] for out in await desk.told(REPLIES)} == {"shadow"}
    assert "shadow: true" not in (conf / SHOP / "rules.yaml").read_text(encoding="utf-8"), "live, as the trial says"
    stopped = now_us() + 3 * SECOND
    await eventually(lambda: now_us() > stopped, "the version in force that ends it")
    assert "ended" in await command(desk, "trial", "status", "--shop", SHOP)

    files = {kind: tmp_path / f"trial.{kind}" for kind in ("json", "markdown", "html")}
    options = [part for kind, file in files.items() for part in (f"--{kind}", str(file))]
    assert "试运行报告" in await command(desk, "trial", "report", "--shop", SHOP, "--lang", "zh", *options)
    data = json.loads(files["json"].read_text(encoding="utf-8"))
    assert (data["coverage"]["messages"], data["coverage"]["asked"], data["coverage"]["answered"]) == (3, 3, 2)
    assert data["coverage"]["by_rule"] == {"shipping": {"count": 2, "share": 1.0}}
    assert data["speed"]["people"] == {"count": 1, "mean_s": 4.0, "p50_s": 4.0, "p90_s": 4.0}
    assert data["speed"]["autoreply"]["count"] == 2
    assert data["speed"]["never_answered_by_people"] == 1
    assert data["instead"][0]["pairs"] == [{"would_be": "48 小时内发货。", "people": "订单****明天发"}]
    assert "48 小时内发货。" in files["html"].read_text(encoding="utf-8")
    assert "48 小时内发货。" in files["markdown"].read_text(encoding="utf-8").replace("\\", "")


async def test_a_trial_ends_by_itself_with_its_report_and_the_shop_goes_live(desk, tmp_path, eventually):
    conf, file = tmp_path / "conf", tmp_path / "trial.json"
    await desk.configure(conf, DEFAULT)
    async with desk.running("autoreply") as autoreply, desk.running("archive") as archive:
        trial = await desk.command_process(
            "trial", "start", "--shop", SHOP, "--hours", "0.015", "--then", "live", "--wait", "--config", str(conf),
            "--lang", "zh", "--json", str(file),
        )  # fmt: skip
        printed = b""
        while not (span := re.search(rb"from (\S+) to (\S+),", printed)):
            line = await asyncio.wait_for(trial.stdout.readline(), PATIENCE_S)
            assert line, printed.decode()
            printed += line
        begins, ends = (parse_rfc3339(word.decode()) for word in span.groups())
        assert ends - begins <= 54 * SECOND
        await eventually(lambda: now_us() > begins, "in force")
        at = now_us()
        await desk.send([
            said("c-1", at, "m-1", "什么时候发货"), wrote("c-1", at + 3 * SECOND, "s-1", text="明天发"),
            said("c-2", at, "m-2", "随便说说"), wrote("c-2", at + 5 * SECOND, "s-2", text="好的"),
            # Within the trial by the gateway's clock, whenever it is read.
            said("c-3", min(at + 4 * SECOND, ends - 1), "m-3", "发货"),
        ])  # fmt: skip
        await eventually(lambda: desk.has_told(REPLIES, 3), "decided", PATIENCE_S)
        assert trial.returncode is None, "it waits"

        # Nobody stops it, applies anything or restarts a service.
        await eventually(lambda: now_us() > ends, "its end", PATIENCE_S)
        await desk.send([said("c-4", now_us(), "m-4", "发货")])
        await eventually(lambda: desk.has_told(REPLIES, 4), "decided", PATIENCE_S)
        await eventually(caught_up(autoreply, archive), "caught up", PATIENCE_S)
        rest, _ = await asyncio.wait_for(trial.communicate(), PATIENCE_S)
        assert trial.returncode == 0, (printed + rest).decode()
    told = {out.data.get("in_reply_to") or out.data["message_id"]: out for out in await desk.told(REPLIES)}
    assert {told[one].data.get("reason") for one in ("m-1", "m-2", "m-3")} == {"shadow"}
    assert told["m-4"].data["text"] == "48 小时内发货。"
    assert parse_rfc3339(told["m-4"].value["time"]) >= ends

    assert "试运行报告" in rest.decode()
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["coverage"]["messages"] == 3, "what came after the end is not the trial's"
    assert data["coverage"]["answered"] == 2
    assert data["speed"]["people"]["count"] == 1
    assert data["speed"]["people"]["mean_s"] == 3.0
    assert data["speed"]["autoreply"]["count"] == 2
    assert data["instead"][0]["pairs"] == [{"would_be": "48 小时内发货。", "people": "明天发"}]
    assert "ended" in await command(desk, "trial", "status", "--shop", SHOP)


async def test_what_cannot_be_applied_leaves_the_file_as_it_was(desk, tmp_path):
    conf = tmp_path / "conf"
    await desk.configure(conf, DEFAULT)
    (conf / SHOP).mkdir()
    (conf / SHOP / "rules.yaml").write_text("inherit: true\n", encoding="utf-8")
    (conf / SHOP / "sla.yaml").write_text("nothing: 1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="nothing"):
        await command(desk, "trial", "start", "--shop", SHOP, "--config", str(conf))
    assert (conf / SHOP / "rules.yaml").read_text(encoding="utf-8") == "inherit: true\n"
    connection = await asyncpg.connect(desk.settings.postgres_dsn.get_secret_value())
    try:
        assert await connection.fetchval("SELECT count(*) FROM autoreply.trials") == 0
    finally:
        await connection.close()
