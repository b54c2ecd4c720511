"""Manners on real Kafka and PostgreSQL, by two instances: over conversations, over partitions, over a restart."""

import pytest
from tests.fixtures.deployment import Deployment, by_conversation, caught_up, said, wrote

from deskline.clock import SECOND, now_us
from deskline.events.models import Customer
from deskline.events.wire import new
from deskline.records import REPLIES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PATIENCE_S = 90
DEFAULT = {
    "rules": """
guard: {max_replies: 3, loop_replies: 100, bots: [u-robot]}
rules:
  - {rule_id: welcome, when: {any_of: [你好]}, cooldown_s: 3600, reply: {kind: greeting, text: 欢迎光临小店。}}
  - {rule_id: shipping, when: {any_of: [发货]}, reply: {text: 48 小时内发货，请您放心等待。}}
  - {rule_id: courier, when: {any_of: [快递]}, reply: {text: 发中通快递。}}
  - rule_id: gift
    when: {any_of: [礼物]}
    reply: {variants: [{variant: a, text: 礼物甲。}, {variant: b, text: 礼物乙。}]}
""",
    "agents": "agents: [{agent_id: anna, capacity: 5}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
}


def by(customer_id, subject, at, number, text):
    return said(subject, at, f"{subject}-{number}", text, customer=new(Customer, customer_id=customer_id))


def words(outs):
    told = []
    for out in outs:
        data = out.data
        match out.value["type"]:
            case "reply.issued.v1":
                told.append(data["rule_id"])
            case "handover.requested.v1":
                told.append(f"person {data['reason']} {' '.join(data['flags'])}".strip())
            case "message.ignored.v1":
                told.append(f"ignored {data['reason']}")
    return told


async def test_the_robot_rests_stops_and_never_repeats_itself_whoever_decides(topics, tmp_path, eventually):
    desk = Deployment(topics, 4)
    in_force = await desk.configure(tmp_path, DEFAULT)
    await eventually(lambda: now_us() > in_force, "in force")
    at = now_us()
    greetings = [f"hello-{n}" for n in range(8)]
    async with desk.running("autoreply") as one, desk.running("autoreply", instance="2") as two:
        await eventually(caught_up(one, two), "both have read", PATIENCE_S)
        # One customer, eight conversations on all partitions, at once: the rule rests after its first answer.
        await desk.send(by("u-1", subject, at, 1, "你好") for subject in greetings)
        await desk.send([
            by("u-2", "twice", at, 1, "几时发货"), by("u-2", "twice", at + SECOND, 2, "发货了没"),
            by("u-3", "between", at, 1, "几时发货"), by("u-3", "between", at + SECOND, 2, "什么快递"),
            by("u-3", "between", at + 2 * SECOND, 3, "发货了没"),
            # The same text again, within a minute: it has been answered.
            by("u-4", "again", at, 1, "几时发货"), by("u-4", "again", at + SECOND, 2, "几时发货"),
            # No more than three replies in a conversation.
            *(by("u-5", "limit", at + n * SECOND, n, f"{'发货' if n % 2 else '快递'} {n}") for n in range(5)),
            by("u-robot", "machine", at, 1, "几时发货"),
            by("u-6", "echo", at, 1, "几时发货"), by("u-6", "echo", at + SECOND, 2, "[自动回复] 48 小时内发货，请您放心等待。"),
            # Never over an agent.
            by("u-7", "owned", at, 1, "什么快递"), wrote("owned", at + SECOND, "s-owned"), by("u-7", "owned", at + 2 * SECOND, 2, "几时发货"),
        ])  # fmt: skip
        await eventually(caught_up(one, two), "caught up", PATIENCE_S)
    outs = by_conversation(await desk.told(REPLIES))
    welcomed = [subject for subject in greetings if words(outs[subject]) == ["welcome"]]
    rested = [subject for subject in greetings if words(outs[subject]) == ["person no_match"]]
    assert (len(welcomed), len(rested)) == (1, 7)
    assert words(outs["twice"]) == ["shipping", "person no_match"]
    assert words(outs["between"]) == ["shipping", "courier", "shipping"]
    assert words(outs["again"]) == ["shipping", "ignored cooldown"]
    assert words(outs["limit"]) == ["courier", "shipping", "courier", "person no_match reply_limit", "ignored waiting"]
    assert words(outs["machine"]) == ["ignored cooldown"]
    assert words(outs["echo"]) == ["shipping", "ignored cooldown"]
    assert words(outs["owned"]) == ["courier", "ignored human_owned"]

    # The rest outlives the instances, and a customer's variant is his in every conversation.
    async with desk.running("autoreply") as three:
        await desk.send([by("u-1", "hello-again", now_us(), 1, "你好"), by("u-8", "hello-other", now_us(), 1, "你好")])
        await desk.send(by(f"u-v{n % 6}", f"gift-{n}", now_us(), 1, "有礼物吗") for n in range(18))
        await eventually(caught_up(three), "caught up", PATIENCE_S)
    outs = by_conversation(await desk.told(REPLIES))
    assert words(outs["hello-again"]) == ["person no_match"]
    assert words(outs["hello-other"]) == ["welcome"]
    texts = [{outs[f"gift-{n}"][0].data["text"] for n in range(customer, 18, 6)} for customer in range(6)]
    assert all(len(each) == 1 for each in texts)
    assert len(set.union(*texts)) == 2
