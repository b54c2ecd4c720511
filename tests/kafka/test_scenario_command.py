"""``deskline scenario on`` and ``off`` as an operator calls them: the shop's file, and what is in force."""

import asyncio
import json
import os
import sys

import pytest

from deskline.config.store import ConfigStore

pytestmark = pytest.mark.kafka

RULES = "# ours\nrules:\n  - {rule_id: a, when: {any_of: [甲]}, reply: {text: 乙}}  # stays\n"


async def deskline(settings, *arguments, code=0):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deskline", *map(str, arguments)),
        env=os.environ
        | {
            "DESKLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "DESKLINE_TOPIC_PREFIX": settings.topic_prefix,
            "DESKLINE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return (out if code == 0 else err).decode()


async def rule_ids(settings, shop):
    async with ConfigStore.opened(settings) as store:
        body = (await store.as_of(shop, 2**62))["rules"].body

    return [rule["rule_id"] for rule in json.loads(body)["rules"]]


async def test_an_emergency_script_is_switched_on_and_off_by_one_command_each(topics, tmp_path):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "rules.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "branch").mkdir()
    file = tmp_path / "branch" / "rules.yaml"
    file.write_text("inherit: true  # all of it\n", encoding="utf-8")
    await deskline(topics, "config", "apply", tmp_path)
    on = ("scenario", "on", "payment_fault", "--shop", "branch", "--config", tmp_path)
    told = await deskline(topics, *on, "--until", "2099-01-01T08:00")
    assert "branch/rules" in told
    assert file.read_text(encoding="utf-8") == (
        "inherit: true  # all of it\nscenarios: [{name: payment_fault, ends: '2099-01-01T08:00'}]\n"
    )
    assert await rule_ids(topics, "branch") == ["a", "payment_fault.script"]
    assert await rule_ids(topics, "_default") == ["a"]
    listed = await deskline(topics, "scenario", "list", "--shop", "branch", "--config", tmp_path)
    assert [line for line in listed.splitlines() if " on" in line and line.startswith("payment")]
    await deskline(topics, "scenario", "off", "payment_fault", "--shop", "branch", "--config", tmp_path)
    assert file.read_text(encoding="utf-8") == "inherit: true  # all of it\n"
    assert await rule_ids(topics, "branch") == ["a"]


async def test_what_cannot_be_switched_is_told_and_changes_nothing(topics, tmp_path):
    (tmp_path / "_default").mkdir()
    file = tmp_path / "_default" / "rules.yaml"
    file.write_text("scenarios: [weather]\n", encoding="utf-8")
    there = ("--config", tmp_path, "--shop")
    for arguments, said in (
        (("on", "wheather", *there, "_default"), "no scenario is named 'wheather'"),
        (("on", "weather", *there, "_default", "--until", "2020-01-01"), "is over already"),
        (("on", "weather", *there, "_default", "--until", "soon"), "is no local time"),
        (("off", "refund", *there, "_default"), "does not have the scenario 'refund' on; it has weather"),
        (("on", "weather", *there, "../x"), "is no shop's id"),
    ):
        assert said in " ".join((await deskline(topics, "scenario", *arguments, code=2)).split())
    assert file.read_text(encoding="utf-8") == "scenarios: [weather]\n"
