"""Sensitive words through real Kafka: what is told of customers', our own and agents' texts, and a list that changes live."""

import pytest
from tests.fixtures.deployment import SHOP, Deployment, caught_up, said, wrote

from deskline.clock import now_us
from deskline.records import REPLIES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PATIENCE_S = 90
RULES = """
rules:
  - {rule_id: rival, when: {any_of: [哪里买]}, reply: {text: 去某某商城买}}
  - {rule_id: price, when: {any_of: [多少钱]}, reply: {text: 底价 9 元}}
  - {rule_id: hello, when: {any_of: [你好]}, reply: {text: 您好}}
"""
WORDS = """
shipped: false
words: {rude: [蠢货], threat: [炸掉], rival: [某某商城], price: [底价]}
categories:
  rude: {inbound: mask, flags: [abusive]}
  threat: {handover: true, flags: [threat]}
  rival: {outbound: block}
  price: {outbound: mask}
personal_data: {inbound: [phone, identity_card, bank_card, address]}
"""
# 蠢货 goes, 笨蛋 comes, and the rival may be named.
CHANGED = WORDS.replace("rude: [蠢货]", "rude: [笨蛋]").replace("outbound: block", "outbound: none")
COMMON = {
    "rules": RULES,
    "agents": "agents: [{agent_id: anna, capacity: 5}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
}


def flagged(direction, category, spans, action, masked):
    return {"direction": direction, "categories": [category], "spans": [[*span, category] for span in spans], "action": action,
            "masked_text": masked}  # fmt: skip


def outcome(type_, **data):
    return {"type": type_, **data}


ASKED = {
    # subject: (the customer's text, what is told, in this order)
    "plain": ("你好", [outcome("reply", text="您好")]),
    "rude": ("你好，蠢\u200b 货！", [
        flagged("inbound", "rude", [(3, 7)], "masked", "你好，****！"), outcome("reply", text="您好")]),
    "flags": ("蠢货，随便说说", [
        flagged("inbound", "rude", [(0, 2)], "masked", "**，随便说说"),
        outcome("handover", reason="no_match", flags=["abusive"])]),
    "threat": ("你好，我要炸掉你们", [
        flagged("inbound", "threat", [(5, 7)], "masked", "你好，我要**你们"),
        outcome("handover", reason="sensitive", flags=["threat"])]),
    "blocked": ("哪里买", [
        outcome("handover", reason="sensitive", flags=[]),
        flagged("outbound", "rival", [(1, 5)], "blocked", "去****买")]),
    "masked": ("多少钱", [
        outcome("reply", text="** 9 元"), flagged("outbound", "price", [(0, 2)], "masked", "** 9 元")]),
    "phone": ("你好 电话13800138000 身份证11010519491231002X", [
        {**flagged("inbound", "personal_data", [(5, 16), (20, 38)], "masked", "你好 电话138******00 身份证**************002X")},
        outcome("reply", text="您好")]),
}  # fmt: skip


def told_about(outs, subject):
    told = []
    for out in outs:
        if out.value["subject"] != subject:
            continue
        data, kind = out.data, out.value["type"]
        match kind:
            case "message.flagged.v1":
                told.append(
                    {name: data.get(name) for name in ("direction", "categories", "spans", "action", "masked_text")}
                )
            case "reply.issued.v1":
                told.append(outcome("reply", text=data["text"]))
            case "handover.requested.v1":
                told.append(outcome("handover", reason=data["reason"], flags=data["flags"]))
            case _:
                told.append(outcome("ignored", reason=data["reason"]))
    return told


async def test_words_are_told_masked_and_blocked_and_a_new_list_needs_no_restart(topics, tmp_path, eventually):
    desk = Deployment(topics, 4)
    in_force = await desk.configure(tmp_path, {**COMMON, "sensitive": WORDS})
    await eventually(lambda: now_us() > in_force, "in force")
    async with desk.running("autoreply") as autoreply:
        await desk.send(said(subject, now_us(), f"m-{subject}", text) for subject, (text, _) in ASKED.items())
        await desk.send([
            wrote("plain", now_us(), "s-plain", text="某某商城便宜"), wrote("rude", now_us(), "s-rude", text="您好，请说"),
            wrote("bot", now_us(), "s-bot", text="某某商城", author={"kind": "bot", "id": "autoreply"}),
        ])  # fmt: skip
        # To a person: on his screen it is masked as well.
        await desk.send([said("plain", now_us() + 1, "m-plain-2", "蠢货")])
        await eventually(caught_up(autoreply), "caught up", PATIENCE_S)
        before = await desk.told(REPLIES)

        # The list changes while the service runs.
        in_force = await desk.configure(tmp_path, {**COMMON, "sensitive": CHANGED})
        await eventually(lambda: now_us() > in_force, "in force")
        await desk.send([
            said("later-1", now_us(), "m-later-1", "你好，蠢货"), said("later-2", now_us(), "m-later-2", "你好，笨蛋"),
            said("later-3", now_us(), "m-later-3", "哪里买"),
        ])  # fmt: skip
        await eventually(caught_up(autoreply), "caught up", PATIENCE_S)
    for subject, (_, expected) in ASKED.items():
        if subject != "plain":
            assert told_about(before, subject) == expected, subject
    assert told_about(before, "plain") == [
        *ASKED["plain"][1],
        flagged("outbound", "rival", [(0, 4)], "masked", "****便宜"),  # an agent's: it has reached the customer
        flagged("inbound", "rude", [(0, 2)], "masked", "**"),
        outcome("ignored", reason="human_owned"),
    ]
    assert told_about(before, "bot") == []
    about = {out.data["message_id"] for out in before if out.value["type"] == "message.flagged.v1"}
    assert about == {"m-rude", "m-flags", "m-threat", "m-blocked", "m-masked", "m-phone", "s-plain", "m-plain-2"}

    after = await desk.told(REPLIES)
    assert told_about(after, "later-1") == [outcome("reply", text="您好")]
    assert told_about(after, "later-2") == [
        flagged("inbound", "rude", [(3, 5)], "masked", "你好，**"), outcome("reply", text="您好")
    ]  # fmt: skip
    assert told_about(after, "later-3") == [
        outcome("reply", text="去某某商城买"), flagged("outbound", "rival", [(1, 5)], "none", None)
    ]  # fmt: skip
    assert {out.data["shop_id"] for out in after} == {SHOP}
    versions = {out.value["subject"]: out.data["rules_version"] for out in after}
    assert versions["later-1"] > versions["threat"]
