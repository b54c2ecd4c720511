"""The router as a whole, on real Kafka and PostgreSQL: who gets which conversation, by how many instances whatever happens."""

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from statistics import median

import pytest
from tests.checker import check
from tests.checker.source import Addresses, read, settings
from tests.fixtures.deployment import Deployment, by_conversation, caught_up, gateway, said, wrote

from deskline import ids
from deskline.clock import SECOND, now_us, parse_rfc3339, rfc3339
from deskline.records import ROUTING, SHOPS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
AGENTS = """
agents:
  - {agent_id: anna, grade: senior, capacity: 3, skills: {refund: 4, vip: 3}}
  - {agent_id: bo, capacity: 2, skills: {refund: 2}}
  - {agent_id: carl, capacity: 1}
  - {agent_id: dora, grade: trainee, capacity: 2, skills: {vip: 1}}
"""
ROUTES = """
mode: %s
accept_s: 1.5
pause_after_missed: 9
rules:
  - {rule_id: any, steps: [{proficiency: 2, wait_s: 3}, {wait_s: 3}, {keep_skills: false}]}
"""
LIMITS = "patience_s: 600\nreoffer_s: 1\noffline_grace_s: 2\ntransfer_wait_s: 2\n"
RULES_OF_ROUTING = {"2", "3", "4a", "4b", "4c", "5"}


@pytest.fixture
def configured(topics, tmp_path):
    async def configure(mode="assigned", agents=AGENTS, limits=LIMITS, routes=ROUTES):
        made = Deployment(topics, PARTITIONS)
        await made.configure(tmp_path, {"agents": agents, "limits": limits, "routing": routes.replace("%s", mode)})
        return made

    return configure


# --- what goes in ---------------------------------------------------------------------------------------------------


def handed_over(subject, at, message_id, **fields):
    given = {
        "rules_version": 1, "routing_offset": 0, "message_id": message_id, "waiting_since": rfc3339(at),
        "reason": "no_match", "skills": (), "priority": 50, "flags": (),
    }  # fmt: skip
    name = ids.event_id(subject, "handover.requested.v1", message_id)
    return gateway("handover.requested.v1", subject, at, name, **(given | fields))


def asked(subject, at, message_id="m-1", shop="teahouse", **fields):
    """A message and its hand-over."""
    return [said(subject, at, message_id, shop_id=shop), handed_over(subject, at, message_id, shop_id=shop, **fields)]


def status(agent, at, said_, capacity=None):
    extra = {} if capacity is None else {"capacity": capacity}
    return gateway("agent.status_changed.v1", agent, at, f"{agent}-{said_}-{at}", agent_id=agent, status=said_, **extra)


def closed(subject, at):
    return gateway("conversation.closed.v1", subject, at, f"x-{subject}-{at}", resolved=True)


def answer(kind, assignment, at):
    """``accepted`` or ``declined``, by the agent of this ``assigned``."""
    data = assignment["data"]
    return gateway(
        f"assignment.{kind}.v1", assignment["subject"], at, f"{kind}-{data['assignment_id']}",
        assignment_id=data["assignment_id"], agent_id=data["agent_id"],
    )  # fmt: skip


# --- what comes out ---------------------------------------------------------------------------------------------------


def words(outs):
    found = []
    for out in outs:
        word = out.value["type"].split(".")[1]
        word += f" {out.data['agent_id']}" if word == "assigned" else f" {out.data.get('reason', '')}".rstrip()
        found.append(word)
    return found


def told(desk, count):
    return lambda: desk.has_told(ROUTING, count)


def time_of(out):
    return parse_rfc3339(out.value["time"])


async def rules_broken(desk, eventually, *rules):
    """What the independent checker has to say about the routing, once everything is at rest."""
    since = now_us()
    await eventually(lambda: now_us() > since + 4 * SECOND, "at rest")
    address = Addresses(desk.settings.bootstrap_servers, None, desk.settings.topic_prefix)
    log, end_at = await read(address)
    report = check(log, settings(end_at, config_lead_s=desk.settings.config_lead_s, slack_s=0.5))
    assert report.counts["conversation.assigned"] > 0, report.counts
    return [violation for violation in report.violations if violation.rule in (rules or RULES_OF_ROUTING)]


# --- one instance -----------------------------------------------------------------------------------------------------


async def test_who_is_handed_over_waits_until_an_agent_comes_and_the_explanation_says_why(configured, eventually):
    desk = await configured()
    async with desk.running("router"):
        at = now_us()
        await desk.send(asked("c-1", at, skills=("refund",), priority=70))
        await eventually(told(desk, 1), "queued")
        came = now_us()
        await desk.send([status("carl", came, "online"), status("anna", came, "online")])
        await eventually(told(desk, 2), "assigned")
    queued, assigned = await desk.told(ROUTING)
    request = ids.request_id("c-1", "message", "m-1")
    assert queued.data | {"waiting_since": 0} == {
        "request_id": request, "shop_id": "teahouse", "seq": 1, "cause": "handover", "skills": ["refund"],
        "priority": 70, "step": 1, "required": {"skills": [{"skill": "refund", "proficiency": 2}]}, "position": 1,
        "waiting_since": 0,
    }  # fmt: skip
    assert parse_rfc3339(queued.data["waiting_since"]) == at
    assert "replies.v1/" in queued.source
    data = assigned.data
    assert (data["seq"], data["agent_id"], data["agent_seq"], data["load"], data["capacity"]) == (2, "anna", 1, 1, 3)
    assert (data["mode"], data["attempt"], data["policy_version"]) == ("assigned", 1, 1)
    assert data["assignment_id"] == ids.assignment_id(request, 1)
    assert data["waited_s"] == (time_of(assigned) - at) / SECOND
    explanation = data["explanation"]
    assert explanation["agent_state_id"] == f"anna-online-{came}"
    assert (explanation["rule"], explanation["step"], explanation["considered"]) == ("any", 1, 4)
    assert explanation["eligible"] + sum(explanation["rejected"].values()) == 4
    assert "agents.v1/" in assigned.source
    assert await rules_broken(desk, eventually) == []


async def test_a_surge_is_told_on_shops_v1_calls_the_reserve_and_ends_by_itself(configured, eventually):
    routes = """
mode: %s
surge: {enter: {queue: 2}, leave: {queue: 0}, calm_s: 1}
rules: [{rule_id: any, steps: [{keep_skills: false}]}]
"""
    agents = "agents: [{agent_id: anna, capacity: 1, wrap_up_s: 2}, {agent_id: kept, reserve: true, capacity: 1}]"
    desk = await configured(agents=agents, routes=routes)

    async def surges():
        return [out for out in await desk.told(SHOPS) if out.value["type"].startswith("routing.")]

    async def surges_told(count):
        return len(await surges()) >= count

    async with desk.running("router"):
        at = now_us()
        await desk.send([status("anna", at, "online"), status("kept", at, "online"), *asked("c-1", at)])
        await eventually(told(desk, 2), "anna has one")
        await desk.send(asked("c-2", at))
        await eventually(told(desk, 3), "one waits, and the reserve does not take it")
        await desk.send(asked("c-3", at))
        await eventually(told(desk, 5), "the reserve is called")
        await desk.send([closed("c-1", now_us())])
        # No record comes any more: the end of wrapping up, and of the surge, are the router's own to notice.
        await eventually(told(desk, 7), "anna has wrapped up", 15)
        await eventually(lambda: surges_told(2), "the surge has ended", 15)
    entered, left = await surges()
    assert entered.data == {"shop_id": "teahouse", "cause": "queue", "reserve_agents": ["kept"], "capacity_added": 0}
    assert (entered.value["source"], entered.value["subject"]) == ("/deskline/router", "teahouse")
    assert (left.value["type"], left.data["cause"]) == ("routing.surge_left.v1", "calm")
    found = await desk.told(ROUTING)
    given = {out.value["subject"]: out for out in found if out.value["type"] == "conversation.assigned.v1"}
    assert sorted(out.data["agent_id"] for out in given.values()) == ["anna", "anna", "kept"]
    (released,) = [out for out in found if out.value["type"] == "conversation.released.v1"]
    last = max(given.values(), key=time_of)
    assert time_of(last) - time_of(released) >= 2 * SECOND
    assert await rules_broken(desk, eventually, "2", "3", "5") == []


async def test_a_customer_comes_back_to_who_had_him_last_whatever_the_partition_and_after_a_restart(
    configured, eventually
):
    routes = "mode: %s\nrules: [{rule_id: own, steps: [{own_agent: true, wait_s: 60}, {keep_skills: false}]}]\n"
    desk = await configured(agents="agents: [{agent_id: anna}, {agent_id: bo}, {agent_id: carl}]", routes=routes)

    def of(customer, subject):
        at = now_us()
        stated = {"customer_id": customer}
        return [
            said(subject, at, "m-1", customer=stated, shop_id="teahouse"),
            handed_over(subject, at, "m-1", shop_id="teahouse"),
        ]

    async with desk.running("router"):
        await desk.send([status(name, now_us(), "online") for name in ("anna", "bo", "carl")])
        for n in range(3):
            await desk.send(of(f"k-{n}", f"first-{n}"))
            await eventually(told(desk, 2 * n + 2), "assigned")
    async with desk.running("router"):
        for n in range(3):
            await desk.send(of(f"k-{n}", f"again-{n}"))
            await eventually(told(desk, 2 * n + 8), "assigned")
    had = {out.value["subject"]: out.data["agent_id"] for out in await desk.told(ROUTING) if "explanation" in out.data}
    assert len({had[f"first-{n}"] for n in range(3)}) == 3
    assert [had[f"again-{n}"] for n in range(3)] == [had[f"first-{n}"] for n in range(3)]
    assert await rules_broken(desk, eventually) == []


async def test_what_an_agent_has_goes_back_or_ends_when_he_stays_offline_and_not_before(configured, eventually):
    desk = await configured(agents="agents: [{agent_id: anna}, {agent_id: bo}]")
    async with desk.running("router"):
        at = now_us()
        await desk.send([status("anna", at, "online"), *asked("c-1", at), *asked("c-2", at), *asked("c-3", at)])
        await eventually(told(desk, 6), "three assigned")
        await desk.send([wrote("c-2", at + 1, "s-1"), wrote("c-3", at + 1, "s-2")])
        # A later message: this customer waits again.
        await desk.send([said("c-3", at + 2, "m-2")])
        gone = now_us()
        await desk.send([status("anna", gone, "offline")])
        await eventually(told(desk, 9), "dealt with", 10)
        found = {subject: outs[2:] for subject, outs in by_conversation(await desk.told(ROUTING)).items()}
        assert {subject: words(outs) for subject, outs in found.items()} == {
            "c-1": ["revoked agent_offline"], "c-2": ["released agent_offline"], "c-3": ["revoked agent_offline"],
        }  # fmt: skip
        for outs in found.values():
            after = time_of(outs[0]) - (gone + 2 * SECOND)
            assert 0 <= after < SECOND, f"{after / 1000} ms after the grace"
        await desk.send([status("bo", now_us(), "online")])
        await eventually(told(desk, 11), "taken by the other")
    assigned = [word for outs in by_conversation(await desk.told(ROUTING)).values() for word in words(outs)[2:]]
    assert Counter(assigned)["assigned bo"] == 2
    assert await rules_broken(desk, eventually) == []


async def test_offers_are_revoked_at_once_and_holdings_kept_by_who_is_back_within_the_grace(configured, eventually):
    desk = await configured("offered", agents="agents: [{agent_id: anna}]", routes=ROUTES.replace("1.5", "60"))
    async with desk.running("router") as service:
        at = now_us()
        await desk.send([status("anna", at, "online"), *asked("c-1", at), *asked("c-2", at)])
        await eventually(told(desk, 4), "offered")
        first = next(out for out in await desk.told(ROUTING) if out.value["subject"] == "c-1" and "attempt" in out.data)
        await desk.send([answer("accepted", first.value, now_us())])
        await eventually(caught_up(service), "accepted")
        gone = now_us()
        await desk.send([status("anna", gone, "offline")])
        await eventually(told(desk, 5), "the offer is back")
        await desk.send([status("anna", now_us(), "online")])
        await eventually(told(desk, 6), "offered again")
        await eventually(lambda: service.watermark(0) > gone + 3 * SECOND, "the grace would be over")
        await eventually(caught_up(service), "nothing more")
    found = {subject: words(outs) for subject, outs in by_conversation(await desk.told(ROUTING)).items()}
    assert found == {
        "c-1": ["queued", "assigned anna"],
        "c-2": ["queued", "assigned anna", "revoked agent_offline", "assigned anna"],
    }


async def test_silence_opens_a_request_at_its_instant_and_a_later_answer_changes_nothing(configured, eventually):
    desk = await configured(limits="patience_s: 1\n")
    async with desk.running("router") as service:
        await eventually(caught_up(service), "running")
        at = now_us()
        in_time = [replied(f"c-{n}", at, "m-1") for n in range(0, 20, 2)]
        await desk.send([*(said(f"c-{n}", at, "m-1") for n in range(20)), *in_time])
        await eventually(told(desk, 10), "those without an answer", 10)
        await desk.send([replied(f"c-{n}", now_us(), "m-1") for n in range(1, 20, 2)])
        await eventually(caught_up(service), "the late answers are read")
    outs = await desk.told(ROUTING)
    assert sorted(out.value["subject"] for out in outs) == sorted(f"c-{n}" for n in range(1, 20, 2))
    stood = {record.key.decode(): record.broker_at for record in await desk.records("conversations.v1")}
    late_ms = [(time_of(out) - stood[out.value["subject"]] - SECOND) / 1000 for out in outs]
    print(f"silence: median {median(late_ms):.0f} ms after its instant, at most {max(late_ms):.0f} ms")
    assert min(late_ms) >= 0
    assert median(late_ms) < 2000, "one that looks every few seconds would be later"
    assert {(out.data["cause"], out.data["waiting_since"]) for out in outs} == {("no_autoreply", rfc3339(at))}


def replied(subject, at, message_id):
    return gateway(
        "reply.issued.v1", subject, at, f"o-{subject}-{message_id}", rules_version=1, routing_offset=0, text="好",
        reply_id=ids.reply_id(subject, message_id), in_reply_to=message_id, kind="faq", handover=False,
        deliver_by=rfc3339(at + 60 * SECOND),
    )  # fmt: skip


async def test_silence_is_not_judged_while_nobody_reads_and_then_only_of_what_stayed_unanswered(configured, eventually):
    """The router was away: what was answered in time meanwhile is no silence, however late it is read."""
    desk = await configured(limits="patience_s: 1\n")
    at = now_us()
    await desk.send([said("c-1", at, "m-1"), said("c-2", at, "m-1"), replied("c-2", at, "m-1")])
    await eventually(lambda: now_us() > at + 2 * SECOND, "patience is over")
    await desk.send([replied("c-1", now_us(), "m-1")])
    async with desk.running("router") as service:
        await eventually(caught_up(service), "read")
        await eventually(told(desk, 1), "silence")
    assert [out.value["subject"] for out in await desk.told(ROUTING)] == ["c-1"]


async def test_a_new_version_counts_from_its_instant_on_and_is_named(configured, eventually, tmp_path):
    team = "agents: [{agent_id: anna, capacity: %d, skills: {%s}}]"
    desk = await configured(agents=team % (1, "tax: 1"), routes="rules: [{rule_id: r, steps: [{proficiency: 1}]}]")
    async with desk.running("router"):
        at = now_us()
        await desk.send([status("anna", at, "online"), *asked("c-1", at), *asked("c-2", at + 1)])
        await desk.send(asked("c-3", at + 2, skills=("gold",)))
        await eventually(told(desk, 4), "one assigned, two wait")
        more = await desk.configure(tmp_path, {"agents": team % (2, "tax: 1")})
        await eventually(told(desk, 5), "room for one more")
        skilled = await desk.configure(tmp_path, {"agents": team % (3, "tax: 1, gold: 2")})
        await eventually(told(desk, 6), "able to do the other")
    assigned = {out.value["subject"]: out for out in await desk.told(ROUTING) if "attempt" in out.data}
    numbers = {subject: (out.data["policy_version"], out.data["capacity"]) for subject, out in assigned.items()}
    assert numbers == {"c-1": (1, 1), "c-2": (2, 2), "c-3": (3, 3)}
    for subject, since in (("c-2", more), ("c-3", skilled)):
        assert 0 <= time_of(assigned[subject]) - since < 2 * SECOND
    assert await rules_broken(desk, eventually) == []


async def test_a_restart_with_many_waiting_goes_on_in_their_order(configured, eventually):
    desk = await configured(agents="agents: [{agent_id: anna, capacity: 1000}]")
    count, at = 800, now_us() - 60 * SECOND
    order = random.Random(7)
    waiting = [(order.choice((20, 50, 90)), at + order.randrange(30 * SECOND), f"c-{n}") for n in range(count)]
    async with desk.running("router") as service:
        await desk.send(record for priority, t, subject in waiting for record in asked(subject, t, priority=priority))
        await eventually(caught_up(service), "all queued", 40)
    before = await desk.count(ROUTING)
    assert before >= count
    async with desk.running("router"):
        await desk.send([status("anna", now_us(), "online")])
        await eventually(told(desk, before + count), "all assigned", 60)
    outs = [out for out in await desk.told(ROUTING) if "attempt" in out.data]
    given = [out.value["subject"] for out in sorted(outs, key=lambda out: out.data["agent_seq"])]
    assert [out.data["agent_seq"] for out in sorted(outs, key=lambda out: out.data["agent_seq"])] == [*range(1, 801)]
    expected = sorted(waiting, key=lambda row: (-row[0], row[1], ids.request_id(row[2], "message", "m-1")))
    assert given == [subject for _, _, subject in expected]


# --- several instances ------------------------------------------------------------------------------------------------


class Agents:
    """Simulated agents: they answer offers, write, close, and now and then go for a moment; until all is closed."""

    def __init__(self, desk, seed):
        self.desk = desk
        self.random = random.Random(seed)
        self.done = set()
        self.answered = set()

    async def work(self, count):
        async with self.desk.sending() as send, self.desk.following(ROUTING) as news:
            await send(self.online())
            while len(self.done) < count:
                records = []
                for record in await news():
                    event = json.loads(record.value)
                    if event["type"] == "conversation.released.v1":
                        self.done.add(event["subject"])
                    elif event["type"] == "conversation.assigned.v1":
                        records += self.answer(event)
                await send(records)
                if self.random.random() < 0.03:
                    who = self.random.choice(("anna", "bo", "carl", "dora"))
                    await send([status(who, now_us(), self.random.choice(("away", "offline")))])
                    await send(self.online())

    @staticmethod
    def online():
        return [status(one, now_us(), "online") for one in ("anna", "bo", "carl", "dora")]

    def answer(self, assigned):
        data, subject = assigned["data"], assigned["subject"]
        if data["assignment_id"] in self.answered:
            return
        self.answered.add(data["assignment_id"])
        at, chance = now_us(), self.random.random()
        if data["mode"] == "offered" and chance < 0.1:
            return  # lets it expire
        if data["mode"] == "offered" and chance < 0.25:
            yield answer("declined", assigned, at)
            return
        if data["mode"] == "offered":
            yield answer("accepted", assigned, at)
        yield wrote(subject, at, f"s-{data['assignment_id']}", data["agent_id"])
        yield closed(subject, at + 1)


@pytest.mark.parametrize(("instances", "mode"), [(2, "assigned"), (3, "offered")])
async def test_several_instances_share_agents_and_shops_and_every_rule_of_routing_holds(
    configured, eventually, instances, mode
):
    """Instances come one by one while it goes on, and one leaves; every shop's agents are the same four people."""
    desk = await configured(mode)
    count = 600
    agents = Agents(desk, instances)
    skills = [(), (), ("refund",), ("vip",)]

    async def arrive():
        for start in range(0, count, 60):
            numbers = range(start, start + 60)
            await desk.send(
                record
                for n in numbers
                for record in asked(f"c-{n}", now_us(), shop=f"shop-{n % 5}", skills=skills[n % 4], priority=n % 3 * 40)
            )
            await asyncio.sleep(0.3)

    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(desk.running("router"))]
        work = asyncio.gather(arrive(), agents.work(count))
        for number in range(2, instances + 1):
            await eventually(lambda number=number: len(agents.done) > 20 * number, "it goes on", 60)
            running.append(await stack.enter_async_context(desk.running("router", instance=str(number))))
            await eventually(lambda: all(one.lanes() for one in running), "shared", 60)
        async with asyncio.timeout(150):
            await work
        published = [one.engine.outbox.published_total for one in running]
        print(f"{instances} instances published {published}")
        assert min(published) > 0
    assert await rules_broken(desk, eventually) == []
    outs = await desk.told(ROUTING)
    seen = Counter(word.split()[0] for word in words(outs))
    assert seen["released"] == count
    assert seen["assigned"] >= count
    if mode == "offered":
        assert seen["expired"] > 0
        assert seen["revoked"] > 0


async def test_kill_9_in_the_middle_and_the_other_goes_on_within_the_session_timeout(configured, eventually):
    desk = await configured(agents="agents: [{agent_id: anna, capacity: 1000}, {agent_id: bo, capacity: 1000}]")
    count, at = 3000, now_us()
    await desk.send([status("anna", at, "online"), status("bo", at, "online")])
    async with desk.process("router", max_unit_records=50) as first, desk.process("router", instance="2") as _:
        await desk.send(record for n in range(count) for record in asked(f"c-{n}", at + n))
        await eventually(told(desk, 200), "it goes on", 60)
        first.kill()
        killed = now_us()
        # 3000 conversations; 2000 of them find room.
        await eventually(told(desk, count + 2000), "all that arrived is dealt with", 60)
        print(f"all done {(now_us() - killed) / SECOND:.1f} s after the kill, session timeout 6 s")
    outs = await desk.told(ROUTING)
    found = by_conversation(outs)
    assert len(found) == count
    assert Counter(len([out for out in outs if out.value["type"] == "conversation.queued.v1" and out.data["seq"] == 1])
                   for outs in found.values()) == {1: count}  # fmt: skip
    for agent in ("anna", "bo"):
        numbers = sorted(out.data["agent_seq"] for out in outs if out.data.get("agent_id") == agent)
        assert numbers == list(range(1, 1001))
    assert await rules_broken(desk, eventually, "2", "3", "5") == []


# --- the decision log -------------------------------------------------------------------------------------------------


async def test_the_decision_log_names_what_was_put_out_in_order(configured, eventually, migrated_database):
    import asyncpg

    desk = await configured()
    async with desk.running("router") as service:
        at = now_us()
        await desk.send([status("anna", at, "online"), *(r for n in range(5) for r in asked(f"c-{n}", at))])
        await eventually(told(desk, 8), "three assigned")
        await eventually(caught_up(service), "settled")
    connection = await asyncpg.connect(migrated_database)
    rows = await connection.fetch("SELECT seq, now, inputs, outputs FROM router.decisions ORDER BY seq")
    await connection.close()
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    logged = [output for row in rows for output in row["outputs"]]
    outs = await desk.told(ROUTING)
    assert Counter(logged) == Counter(out.value["id"] for out in outs)
    for partition in range(PARTITIONS):
        mine = [out.value["id"] for out in outs if out.record.partition == partition]
        assert [name for name in logged if name in set(mine)] == mine
    topics = {entry[0] for row in rows for entry in json.loads(row["inputs"])}
    assert {"agents.v1", "replies.v1"} <= topics


async def test_status_says_whether_customers_wait_and_why(configured, eventually):
    desk = await configured(agents="agents: [{agent_id: anna, capacity: 1}, {agent_id: bo, capacity: 1}]")

    async def screen():
        return await desk.command("status")

    async with desk.running("router") as router:
        await eventually(caught_up(router), "started", 60)
        assert (await screen()).startswith("Nobody waits for an agent.\n")
        at = now_us() - 90 * SECOND
        await desk.send([*asked("c-1", at, skills=("refund",)), *asked("c-2", at), *asked("c-3", at)])
        await eventually(told(desk, 3), "queued", 30)
        lines = (await screen()).splitlines()
        assert lines[0].startswith("3 customers wait for an agent, the longest for ")
        assert lines[1].endswith(": none of its 2 agents is online")
        await desk.send([status("anna", now_us(), "online"), status("bo", now_us(), "online")])
        await eventually(told(desk, 5), "two of them assigned", 30)
        lines = (await screen()).splitlines()
        assert lines[0].startswith("1 customers wait")
        assert lines[1].endswith(": all 2 agents online are full (2 of 2)")

        async def nothing_left_to_publish():
            customers = json.loads(await desk.command("status", "--json"))["customers"]
            return (customers["waiting"], customers["services"]["router"]["unpublished"]) == (1, 0)

        await eventually(nothing_left_to_publish, "what was published is forgotten")
