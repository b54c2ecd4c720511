"""autoreply as a whole, on real Kafka and PostgreSQL: what comes out for what went in, whatever happens meanwhile."""

import pytest
from tests.fixtures.deployment import Deployment, by_conversation, caught_up, gateway, said, wrote

from deskline import ids
from deskline.clock import SECOND, now_us, parse_rfc3339, rfc3339
from deskline.conversations import Context
from deskline.events import models
from deskline.events.wire import new
from deskline.records import CONVERSATIONS, REPLIES, ROUTING
from deskline_autoreply.handler import Autoreply, State

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 4
PATIENCE_S = 60
"""For what takes a second on a machine that does nothing else."""
RULES = """
rules:
  - {rule_id: complaint, priority: 9, when: {any_of: [投诉]}, handover: {reason: complaint, priority: 90}}
  - rule_id: human
    priority: 8
    when: {any_of: [转人工]}
    reply: {kind: queue_notice, text: 正在为您转接。}
    handover: {reason: asked_for_human}
  - {rule_id: shipping, when: {any_of: [发货]}, reply: {kind: faq, text: 48 小时内发货。}}
"""
LIMITS = "patience_s: 600\nreply_max_age_s: 3600\n"


@pytest.fixture
async def desk(topics, tmp_path):
    made = Deployment(topics, PARTITIONS)
    await made.configure(tmp_path, {"rules": RULES, "limits": LIMITS})
    return made


@pytest.fixture
async def hasty(topics, tmp_path):
    """Patience of half a second, and messages that are too old to be answered after a minute."""
    made = Deployment(topics, PARTITIONS)
    await made.configure(tmp_path, {"rules": RULES, "limits": "patience_s: 0.5\nreply_max_age_s: 60\n"})
    return made


def outcome(outs):
    """The events about one message, in words."""
    words = []
    for out in outs:
        kind = out.value["type"].split(".")[1]
        words.append(kind + " " + (out.data.get("rule_id") if kind == "issued" else out.data["reason"]))
    return " + ".join(words)


def by_message(outs):
    found = {}
    for out in outs:
        found.setdefault(out.data.get("in_reply_to") or out.data["message_id"], []).append(out)
    return found


async def test_every_message_gets_the_outcome_that_the_rules_and_the_conversation_ask_for(desk, eventually):
    at = now_us()
    records = [
        said("c-1", at, "m-1", "什么时候发货"),
        said("c-1", at + 1, "m-2", "什么时候 发货"),  # the same text, answered a moment ago
        said("c-1", at + 2, "m-3", "我要转人工"),
        said("c-1", at + 3, "m-4", "在吗"),  # a request is open by our own hand-over
        said("c-1", at + 4, "m-5", "我要投诉"),
        said("c-1", at + 4, "m-5", "我要投诉"),  # sent twice: no second outcome
        said("c-2", at, "m-6", "\u200b "),
        wrote("c-3", at, "s-0"),  # nobody has written yet: no conversation to own
        said("c-3", at + 1, "m-7", "甲"),
        wrote("c-4", at + 2, "s-1"),
        said("c-4", at + 1, "m-8", "乙"),  # opens; anna, later by its time, wrote in an open conversation
        said("c-4", at + 3, "m-9", "丙"),
        gateway("conversation.closed.v1", "c-4", at + 4, "x-1", resolved=True),
        said("c-4", at + 5, "m-10", "发货"),  # reopens: nobody owns
        said("c-4", at + 3, "m-11", "丁"),  # before the close
    ]
    await desk.send(records)
    async with desk.running("autoreply") as service:
        await eventually(caught_up(service), "all decided", PATIENCE_S)
    outs = await desk.told(REPLIES)
    found = {message: outcome(about) for message, about in by_message(outs).items()}
    assert found == {
        "m-1": "issued shipping",
        "m-2": "ignored cooldown",
        "m-3": "issued human + requested asked_for_human",
        "m-4": "ignored waiting",
        "m-5": "requested complaint",
        "m-6": "ignored empty",
        "m-7": "requested no_match",
        "m-8": "ignored human_owned",
        "m-9": "ignored human_owned",
        "m-10": "issued shipping",
        "m-11": "ignored superseded",
    }
    # ids are of things, sources the coordinates of the message, and every decision states the version it used
    places = {event.data.message_id: event for group in (await desk.events(CONVERSATIONS)).values() for event in group
              if event.type == "message.received.v1"}  # fmt: skip
    for out in outs:
        subject, type_ = out.value["subject"], out.value["type"]
        message = out.data.get("in_reply_to") or out.data["message_id"]
        reply = ids.reply_id(subject, message)
        assert out.data.get("reply_id", reply) == reply
        assert out.value["id"] == ids.event_id(subject, type_, reply if type_ == "reply.issued.v1" else message)
        if message != "m-5":
            event = places[message]
            prefix = desk.settings.topic_prefix
            assert out.source in (f"{CONVERSATIONS}/{event.partition}/{event.offset}",
                                  f"{prefix}{CONVERSATIONS}/{event.partition}/{event.offset}")  # fmt: skip
        assert out.data["rules_version"] == 1
        assert out.record.key == subject.encode()
        assert parse_rfc3339(out.value["time"]) >= at
    (holding, handover) = by_message(outs)["m-3"]
    assert (holding.data["handover"], handover.data["waiting_since"]) == (True, rfc3339(at + 2))
    assert by_message(outs)["m-5"][0].data["waiting_since"] == rfc3339(at + 2)  # m-3 waits still


TEXTS = ["发货", "在吗", "我要投诉", "转人工", "甲", "乙", "\u200b", "物流"]


def backlog(count, at):
    """Conversations of ten messages each; every seventh record is an agent's, every nineteenth a close."""
    for number in range(count):
        subject, time = f"c-{number % (count // 10)}", at + number
        if number % 19 == 18:
            yield gateway("conversation.closed.v1", subject, time, f"x-{number}", resolved=True)
        elif number % 7 == 6:
            yield wrote(subject, time, f"s-{number}")
        else:
            yield said(subject, time, f"m-{number}", TEXTS[number % 8])


async def replayed(desk, config, outs):
    """What an undisturbed run gives, from the records as they stand and the ``time`` of each output (contract §6.7)."""
    times = {out.source.split("/", 1)[1]: parse_rfc3339(out.value["time"]) for out in outs}
    values = {}
    for subject, events in (await desk.events(CONVERSATIONS)).items():
        state, autoreply = State(), Autoreply(config, lambda decision: None)
        for event in events:
            now = times.get(f"{event.partition}/{event.offset}", event.at)
            context = Context(now, now, config, {CONVERSATIONS: event.offset + 1, ROUTING: 0}, event.partition)
            values.setdefault(subject, []).extend(
                output.value for output in autoreply.advance(subject, state, [event], context)
            )
    return {subject: kept for subject, kept in values.items() if kept}


async def check_all_decided_once(desk, config, count):
    outs = await desk.told(REPLIES)
    conversations = await desk.events(CONVERSATIONS)
    messages = {
        subject: [event.data.message_id for event in events if event.type == "message.received.v1"]
        for subject, events in conversations.items()
    }
    assert sum(map(len, conversations.values())) == count
    for subject, mine in by_conversation(outs).items():
        assert list(by_message(mine)) == messages[subject], "an outcome for each, in the order of the messages"
    assert len(by_message(outs)) == sum(map(len, messages.values()))
    expected = await replayed(desk, config, outs)
    assert {subject: [out.record.value for out in mine] for subject, mine in by_conversation(outs).items()} == expected
    for mine in by_message(outs).values():
        assert outcome(mine).count("ignored") + outcome(mine).count("requested") <= 1


async def test_kill_9_in_the_middle_and_the_outcomes_are_those_of_an_undisturbed_run(desk, eventually):
    await desk.send(backlog(12_000, now_us()))
    for _ in range(2):
        before = await desk.count(REPLIES)
        async with desk.process("autoreply", max_unit_records=100):
            # A killed member's partitions come free after the session timeout.
            await eventually(grown(desk, before), "outcomes come", PATIENCE_S)
    assert await desk.count(REPLIES) < 10_000, "it was killed in the middle"
    async with desk.running("autoreply") as service:
        await eventually(caught_up(service), "all decided", PATIENCE_S)
        await check_all_decided_once(desk, service.config, 12_000)


def grown(desk, before):
    async def condition():
        return await desk.count(REPLIES) > before

    return condition


async def test_two_instances_share_the_partitions_and_one_leaves(desk, eventually):
    at = now_us()
    records = list(backlog(3_000, at))
    async with desk.running("autoreply") as one:
        async with desk.running("autoreply", instance="2") as two:
            await eventually(
                lambda: one.lanes() and two.lanes() and len(one.lanes() | two.lanes()) == 4, "shared", PATIENCE_S
            )
            await desk.send(records[:1_000])
            await eventually(caught_up(one, two), "the first third", PATIENCE_S)
            assert one.engine.outbox.published_total > 0
            assert two.engine.outbox.published_total > 0
            await desk.send(records[1_000:2_000])
        await desk.send(records[2_000:])
        await eventually(lambda: len(one.lanes()) == 4, "one has all", PATIENCE_S)
        await eventually(caught_up(one), "the rest", PATIENCE_S)
        await check_all_decided_once(desk, one.config, 3_000)


async def test_an_applied_version_takes_effect_at_its_instant_without_a_restart(desk, eventually, tmp_path):
    async with desk.running("autoreply") as service:
        await desk.send([said("c-1", now_us(), "m-1", "发货")])
        await eventually(caught_up(service), "under the first version", PATIENCE_S)
        since = await desk.configure(tmp_path, {"rules": RULES.replace("48 小时内发货", "今天发货")})
        # Sent at once, and true before the instant: the version before counts.
        await desk.send([said("c-2", min(now_us(), since - 1), "m-2", "发货")])
        await eventually(lambda: now_us() > since + 50_000, "in force", PATIENCE_S)
        await desk.send([
            said("c-3", since, "m-3", "发货"),
            said("c-4", since - 1, "m-4", "发货"),
        ])  # fmt: skip
        await eventually(outcomes(desk, 4), "all decided", PATIENCE_S)
    found = {
        message: (about[0].data["rules_version"], about[0].data["text"])
        for message, about in by_message(await desk.told(REPLIES)).items()
    }
    old, new_ = (1, "48 小时内发货。"), (2, "今天发货。")
    assert found == {"m-1": old, "m-2": old, "m-3": new_, "m-4": old}


def outcomes(desk, count):
    return lambda: desk.has_told(REPLIES, count)


def queued(subject, at, opener, since, cause="no_autoreply"):
    return gateway(
        "conversation.queued.v1", subject, at, f"q-{opener}", request_id=ids.request_id(subject, "message", opener),
        seq=1, cause=cause, skills=(), priority=50, step=1, required=new(models.Required, skills=()), position=1,
        waiting_since=rfc3339(since),
    )  # fmt: skip


async def test_one_that_comes_back_late_answers_nobody_whom_the_router_has_queued(hasty, eventually):
    """Its messages are older than ``patience_s``: each is decided only when routing.v1 has been read to its end."""
    at = now_us() - 2 * SECOND
    long_ago = at - 70 * SECOND
    await hasty.send([
        said("c-1", at, "m-1", "发货"),
        # An agent answers what stands behind in the log; then it is read.
        wrote("c-2", at + SECOND, "s-2", in_reply_to="m-2"),
        said("c-2", at, "m-2", "发货"),
        said("c-3", at, "m-3", "发货"),
        said("c-4", long_ago, "m-4", "发货"),
        said("c-5", long_ago, "m-5", "我要转人工"),
        # Within its patience somebody took care of it, so there was no silence.
        said("c-6", at, "m-6", "发货"),
        said("c-7", at, "m-7", "发货"),
        wrote("c-6", at + SECOND, "s-6"),
        gateway("conversation.closed.v1", "c-7", at + SECOND, "x-7", resolved=True),
    ])  # fmt: skip
    await eventually(lambda: now_us() > at + 4 * SECOND, "patience has run out", PATIENCE_S)
    # The router met the silence of the first; five hundred records of others stand before its queued.
    await hasty.send(queued(f"o-{number}", at, f"o-{number}", at) for number in range(500))
    await hasty.send([queued("c-1", now_us(), "m-1", at)])
    async with hasty.running("autoreply", max_unit_records=20) as service:
        await eventually(caught_up(service), "all decided", PATIENCE_S)
    found = {message: outcome(about) for message, about in by_message(await hasty.told(REPLIES)).items()}
    assert found == {
        "m-1": "ignored superseded",
        "m-2": "ignored superseded",
        "m-3": "issued shipping",
        "m-4": "requested no_match",
        "m-5": "issued human + requested asked_for_human",
        "m-6": "ignored superseded",
        "m-7": "ignored superseded",
    }
