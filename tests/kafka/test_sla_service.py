"""sla as a whole, on real Kafka and PostgreSQL: what is told of which clock, once, whatever happens meanwhile."""

import asyncio
import json
from statistics import median

import pytest
from tests.fixtures.deployment import Deployment, caught_up, gateway, said, wrote

from deskline import ids
from deskline.clock import SECOND, now_us, parse_rfc3339, rfc3339
from deskline.conversations import Context
from deskline.events import models
from deskline.events.wire import new
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA
from deskline_sla.handler import SlaFolding
from deskline_sla.model import State

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 4
MINUTE = 60 * SECOND
PATIENCE_S = 60
"""For what takes a second on a machine that does nothing else."""
CALENDARS = """
default: always
calendars:
  always:
    timezone: Asia/Shanghai
    weekly: {mon: &day ["00:00-24:00"], tue: *day, wed: *day, thu: *day, fri: *day, sat: *day, sun: *day}
"""
TARGETS = "policies: [{policy_id: p, targets: {instant_reply: %s, agent_response: 60, next_response: 60}}]\n"


def documents(instant_reply=30):
    return {"calendars": CALENDARS, "sla": TARGETS % instant_reply}


@pytest.fixture
async def desk(topics, tmp_path):
    made = Deployment(topics, PARTITIONS)
    await made.configure(tmp_path, documents())
    return made


def replied(subject, at, message_id):
    return gateway(
        "reply.issued.v1", subject, at, f"o-{message_id}", rules_version=1, routing_offset=0, text="好",
        reply_id=ids.reply_id(subject, message_id), in_reply_to=message_id, kind="faq", handover=False,
        deliver_by=rfc3339(at + 3600 * SECOND),
    )  # fmt: skip


def handed_over(subject, at, message_id, since):
    return gateway(
        "handover.requested.v1", subject, at, f"h-{message_id}", rules_version=1, routing_offset=0,
        message_id=message_id, waiting_since=rfc3339(since), reason="no_match", skills=(), priority=50, flags=(),
    )  # fmt: skip


def queued(subject, at, opener, since):
    return gateway(
        "conversation.queued.v1", subject, at, f"q-{opener}", request_id=ids.request_id(subject, "message", opener),
        seq=1, cause="handover", skills=(), priority=50, step=1, required=new(models.Required, skills=()), position=1,
        waiting_since=rfc3339(since),
    )  # fmt: skip


def closed(subject, at, number):
    return gateway("conversation.closed.v1", subject, at, f"x-{number}", resolved=True)


def words(outs):
    """What was told, in order, warnings aside: ``c-1 instant_reply met``."""
    return [
        f"{out.value['subject']} {out.data['metric']} {out.value['type'].split('.')[1]}"
        for out in outs
        if out.value["type"] != "sla.warning.v1"
    ]


async def test_each_clock_is_told_once_as_the_fold_has_it(desk, eventually):
    at = now_us() - 10 * MINUTE
    await desk.send([
        said("c-1", at, "m-1"), replied("c-1", at + 30 * SECOND, "m-1"),  # exactly at due_at: met
        said("c-2", at, "m-2"), replied("c-2", at + 30 * SECOND + 1, "m-2"),  # a microsecond later
        said("c-3", at, "m-3"), closed("c-3", at + 10 * SECOND, 3),
        # handed over and answered; then a message in hands that nobody answers
        said("c-4", at, "m-4"), handed_over("c-4", at + SECOND, "m-4", at), queued("c-4", at + SECOND, "m-4", at),
        wrote("c-4", at + 20 * SECOND, "s-4"), said("c-4", at + 30 * SECOND, "m-5"),
    ])  # fmt: skip
    async with desk.running("sla") as service:
        await eventually(caught_up(service), "all told", PATIENCE_S)
    outs = await desk.told(SLA)
    assert sorted(words(outs)) == [
        "c-1 instant_reply met",
        "c-2 instant_reply breached",
        "c-3 instant_reply cancelled",
        "c-4 agent_response met",
        "c-4 instant_reply met",
        "c-4 next_response breached",
    ]
    told = {(out.value["subject"], out.data["metric"]): out for out in outs if out.value["type"] != "sla.warning.v1"}
    for (subject, metric), out in told.items():
        clock = ids.clock_id(subject, metric, out.data["started_at"])
        assert out.data["clock_id"] == clock
        assert out.value["id"] == ids.event_id(subject, out.value["type"], clock)
        assert out.data["policy_version"] == 1
        assert out.record.key == subject.encode()
    met, breached = told["c-1", "instant_reply"], told["c-2", "instant_reply"]
    assert (met.data["met_at"], met.data["elapsed_s"]) == (met.data["due_at"], 30.0)
    assert breached.data["breached_at"] == breached.data["due_at"] == rfc3339(at + 30 * SECOND)
    assert told["c-4", "agent_response"].data["agent_id"] == "anna"
    assert told["c-4", "next_response"].data["due_at"] == rfc3339(at + 90 * SECOND)


def backlog(count, at):
    """Conversations of one message each half a minute of event time: answered in time, late, never, closed."""
    for number in range(count):
        subject, time = f"c-{number % (count // 8)}", at + number * SECOND // 4
        yield said(subject, time, f"m-{number}")
        match number % 5:
            case 0:
                yield replied(subject, time + 5 * SECOND, f"m-{number}")
            case 1:
                yield replied(subject, time + 31 * SECOND, f"m-{number}")
            case 2:
                yield handed_over(subject, time + SECOND, f"m-{number}", time)
                yield wrote(subject, time + 40 * SECOND, f"s-{number}")
            case 3:
                yield closed(subject, time + 20 * SECOND, number)


def last_words(values):
    """Clock → state, due_at, target_s, met_at of what was told last; taken back is as never told (contract §6.7)."""
    last = {}
    for value in values:
        kind, data = value["type"], value["data"]
        if kind == "sla.warning.v1":
            continue
        gone = kind == "sla.breach_retracted.v1" or data.get("reason") == "late_event"
        last[data["clock_id"]] = None if gone else (kind, data["due_at"], data["target_s"], data.get("met_at"))
    return {clock: word for clock, word in last.items() if word is not None}


async def check_against_an_undisturbed_fold(desk, config, records):
    """Each conversation's records folded at once, in this process, with nothing in between."""
    expected = {}
    conversations = await desk.events(CONVERSATIONS, REPLIES, ROUTING)
    assert sum(map(len, conversations.values())) == records
    now = now_us()
    for subject, events in conversations.items():
        context = Context(now, now, config, {}, 0)
        outputs = SlaFolding(SECOND).advance(subject, State(), events, context)
        expected |= last_words(json.loads(output.value) for output in outputs)
    outs = await desk.told(SLA)
    assert last_words(out.value for out in outs) == expected
    assert len(expected) > records // 10
    stands = {}
    for out in outs:
        clock, kind = out.data["clock_id"], out.value["type"]
        if kind == "sla.warning.v1":
            continue
        # Read after its breach had to be told, an answer takes it back: then, and only then, there is a second word.
        if clock in stands and stands[clock] == "sla.breached.v1":
            assert kind == "sla.breach_retracted.v1", f"{stands[clock]}, then {kind}"
        elif kind == "sla.breach_retracted.v1":
            pytest.fail(f"nothing to take back: {stands.get(clock)}")
        assert stands.get(clock) != kind, f"{kind} twice"
        stands[clock] = kind


async def test_kill_9_in_the_middle_and_what_is_told_is_what_an_undisturbed_run_tells(desk, eventually):
    records = list(backlog(4_000, now_us() - 60 * MINUTE))
    await desk.send(records)
    for _ in range(2):
        before = await desk.count(SLA)
        async with desk.process("sla", max_unit_records=100):
            # A killed member's partitions come free after the session timeout.
            await eventually(grown(desk, before), "clocks are told", PATIENCE_S)
    killed_at = await desk.count(SLA)
    async with desk.running("sla") as service:
        await eventually(caught_up(service), "all told", PATIENCE_S)
        assert await desk.count(SLA) > killed_at, "it was killed in the middle"
        await check_against_an_undisturbed_fold(desk, service.config, len(records))


def grown(desk, before):
    async def condition():
        return await desk.count(SLA) > before

    return condition


async def test_two_instances_share_the_partitions_and_one_leaves(desk, eventually):
    records = list(backlog(1_500, now_us() - 60 * MINUTE))
    async with desk.running("sla") as one:
        async with desk.running("sla", instance="2") as two:
            await eventually(
                lambda: one.lanes() and two.lanes() and len(one.lanes() | two.lanes()) == 4, "shared", PATIENCE_S
            )
            await desk.send(records[:1_000])
            await eventually(caught_up(one, two), "the first part", PATIENCE_S)
            assert one.engine.outbox.published_total > 0
            assert two.engine.outbox.published_total > 0
            await desk.send(records[1_000:2_000])
        await desk.send(records[2_000:])
        await eventually(lambda: len(one.lanes()) == 4, "one has all", PATIENCE_S)
        await eventually(caught_up(one), "the rest", PATIENCE_S)
        await check_against_an_undisturbed_fold(desk, one.config, len(records))


async def test_an_applied_version_counts_for_clocks_that_start_from_its_instant_on(desk, eventually, tmp_path):
    async with desk.running("sla"):
        since = await desk.configure(tmp_path, documents(instant_reply=7))
        await eventually(lambda: now_us() > since + 50_000, "in force", PATIENCE_S)
        before, after = since - 1, since
        await desk.send([
            said("c-1", before, "m-1"), replied("c-1", before + SECOND, "m-1"),
            said("c-2", after, "m-2"), replied("c-2", after + SECOND, "m-2"),
        ])  # fmt: skip
        await eventually(told(desk, 2), "both told", PATIENCE_S)
    found = {out.value["subject"]: (out.data["policy_version"], out.data["target_s"]) for out in await desk.told(SLA)}
    assert found == {"c-1": (1, 30.0), "c-2": (2, 7.0)}


def told(desk, count):
    return lambda: desk.has_told(SLA, count)


@pytest.fixture
async def quick(topics, tmp_path):
    """An instant reply is due after two seconds."""
    made = Deployment(topics, PARTITIONS)
    await made.configure(tmp_path, documents(instant_reply=2))
    return made


async def test_breaches_and_warnings_are_told_as_soon_as_the_watermark_allows(quick, eventually):
    """Partitions are idle by then: the watermark is the instant at which their ends were asked for.

    A machine may be busy, so lateness is compared with how long it takes, in the same seconds, to tell what no timer decides: that
    a message has been answered.
    """
    async with quick.running("sla") as service, quick.sending() as send:
        # Told once before it is measured: a topic that was made a moment ago may have no leader yet.
        await send([said("c-0", now_us() - MINUTE, "m-first")])
        await eventually(told(quick, 1), "the first", PATIENCE_S)
        await eventually(caught_up(service), "running", PATIENCE_S)
        at = now_us()
        starts = [at + number * 20_000 for number in range(40)]
        await send(said(f"w-{number}", start, f"m-{number}") for number, start in enumerate(starts))
        answered = 0
        while now_us() < starts[-1] + 3 * SECOND:
            now, answered = now_us(), answered + 1
            await send([said(f"b-{answered}", now, f"b-{answered}"), replied(f"b-{answered}", now, f"b-{answered}")])
            await asyncio.sleep(0.1)

        def of(outs, subject, word):
            return [out for out in outs if out.value["subject"].startswith(subject) and out.value["type"] == word]

        async def all_told():
            outs = await quick.told(SLA)
            timed = of(outs, "w-", "sla.warning.v1"), of(outs, "w-", "sla.breached.v1")
            return timed if tuple(map(len, timed)) == (80, 40) else None

        warned, breached = await eventually(all_told, "two warnings and a breach each", PATIENCE_S)
        await eventually(caught_up(service), "all answers", PATIENCE_S)
        met = of(await quick.told(SLA), "b-", "sla.met.v1")
    assert len(met) == answered
    otherwise = median(out.record.broker_at - parse_rfc3339(out.data["met_at"]) for out in met) / 1000
    for kind, outs, allowed in (("warnings", warned, 0), ("breaches", breached, SECOND)):
        late = []
        for out in outs:
            share = out.data.get("threshold", 1)
            instant = parse_rfc3339(out.data["started_at"]) + round(share * 2 * SECOND) + allowed
            late.append((parse_rfc3339(out.value["time"]) - instant) / 1000)
        print(f"{kind}: median {median(late):.0f} ms after their instant, answers {otherwise:.0f} ms after theirs")
        assert min(late) >= 0, "never before the watermark allows it"
        # One that looks every few seconds would be later, one that waits for the next record never tell.
        assert median(late) < 1000 + 10 * otherwise


async def test_one_that_was_away_over_the_due_instant_tells_late_once_and_breaches_nothing_falsely(quick, eventually):
    async with quick.running("sla") as service:
        at = now_us() + 4 * SECOND  # a sender's clock may be ahead by five: time to leave before anything is due
        await quick.send(said(f"c-{number}", at, f"m-{number}") for number in range(4))
        await eventually(caught_up(service), "the clocks run", PATIENCE_S)
    # Away. The first is answered in time; the second's answer has the time in it but comes within the allowed lateness;
    # the third is answered too late, the fourth never.
    await quick.send([replied("c-0", at + SECOND, "m-0")])
    await eventually(lambda: now_us() > at + 2_100_000, "due", PATIENCE_S)
    await quick.send([replied("c-1", at + 2 * SECOND, "m-1"), replied("c-2", at + 2 * SECOND + 1, "m-2")])
    await eventually(lambda: now_us() > at + 5 * SECOND, "long past due", PATIENCE_S)
    back = now_us()
    async with quick.running("sla") as service:
        await eventually(caught_up(service), "all told", PATIENCE_S)
    outs = [out for out in await quick.told(SLA) if out.value["type"] != "sla.warning.v1"]
    assert sorted(words(outs)) == [
        "c-0 instant_reply met",
        "c-1 instant_reply met",
        "c-2 instant_reply breached",
        "c-3 instant_reply breached",
    ]
    for out in outs:
        assert out.data["due_at"] == rfc3339(at + 2 * SECOND)
        assert parse_rfc3339(out.value["time"]) >= back


async def test_an_answer_that_comes_after_the_allowed_lateness_takes_the_breach_back(quick, eventually):
    async with quick.running("sla") as service:
        at = now_us()
        await quick.send([said("c-1", at, "m-1")])
        await eventually(told(quick, 3), "two warnings and the breach", PATIENCE_S)
        await quick.send([replied("c-1", at + SECOND, "m-1")])
        await eventually(told(quick, 5), "taken back and met", PATIENCE_S)
        await eventually(caught_up(service), "nothing more", PATIENCE_S)
    outs = await quick.told(SLA)
    assert words(outs) == ["c-1 instant_reply breached", "c-1 instant_reply breach_retracted", "c-1 instant_reply met"]
    assert outs[-1].data["met_at"] == rfc3339(at + SECOND)


async def test_the_owner_is_reminded_of_what_waits_until_he_reads_and_answers(topics, tmp_path, eventually):
    desk = Deployment(topics, PARTITIONS)
    rules = "reminders: {unread: {after_s: 1, times: 2}, unanswered: {after_s: 2, every_s: 1, times: 4}}\n"
    await desk.configure(tmp_path, {**documents(), "sla": TARGETS % 0 + "warnings: []\n" + rules})

    def reminders(outs, subject):
        return [
            (out.data["kind"], out.data["n"])
            for out in outs
            if out.value["type"] == "sla.reminder.v1" and out.value["subject"] == subject
        ]

    async def enough():
        outs = await desk.told(SLA)
        return len(reminders(outs, "c-1")) == 6 and outs

    async with desk.running("sla") as service:
        at = now_us()
        # Both belong to anna, because she wrote in them; in the second she answers at once.
        await desk.send([
            said("c-1", at - 3, "m-1"), wrote("c-1", at - 2, "s-1"), said("c-1", at, "m-2"),
            said("c-2", at - 3, "m-3"), wrote("c-2", at - 2, "s-3"), said("c-2", at, "m-4"), wrote("c-2", at + 1, "s-4"),
        ])  # fmt: skip
        outs = await eventually(enough, "two and four", PATIENCE_S)
        await eventually(caught_up(service), "nothing more", PATIENCE_S)
        first = next(out for out in outs if out.value["type"] == "sla.reminder.v1")
        assert first.data | {"since": ""} == {
            "kind": "unread", "message_id": "m-2", "shop_id": "teahouse", "since": "", "n": 1, "agent_id": "anna",
        }  # fmt: skip
        assert parse_rfc3339(first.data["since"]) == at
        assert parse_rfc3339(first.value["time"]) >= at + 2 * SECOND, "after one, and the allowed lateness"
        assert sorted(reminders(outs, "c-1")) == [
            *(("unanswered", n) for n in range(1, 5)),
            *(("unread", n) for n in (1, 2)),
        ]
        assert reminders(outs, "c-2") == []
