"""The reference gateway's decisions, and what it tells, on a store of its own: no Kafka, no HTTP."""

import asyncio
import json
import re
import sqlite3
from xml.etree import ElementTree as ET

import pytest
from examples.gateway import delivery, desk, hearing, rules
from examples.gateway.__main__ import OPENAPI, document
from examples.gateway.desk import Refused, Turn
from examples.gateway.rules import Fate, Refusal, Reply, Standing
from examples.gateway.store import SCHEMA, Store
from examples.gateway.web import PAGES

from deskline.clock import SECOND, now_us, rfc3339
from deskline.errors import UsageError
from deskline.events import models
from deskline.events.wire import decode, encode, new
from deskline.records import REPLIES, ROUTING, SLA, Event, Record

HERE = OPENAPI.parent
CUSTOMER = {"customer_id": "k-1", "tier": "vip", "name": "小明"}


class World:
    """A gateway without its surroundings: ``turn`` is one transaction, ``told`` what stands in the outbox."""

    def __init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.executescript(SCHEMA)
        self.now = now_us()
        self.talk = desk.open_conversation(self.turn, "s", "web", CUSTOMER, {"language": "zh"})
        self.offset = 0

    @property
    def turn(self):
        return Turn(self.db, self.now)

    def later(self, seconds):
        self.now += round(seconds * SECOND)
        return self.turn

    def told(self):
        """Every event in the outbox, read as deskline reads it: each must be valid."""
        found = []
        for row in self.db.execute("SELECT * FROM outbox ORDER BY seq"):
            event = decode(Record(row["topic"], 0, row["seq"], self.now, row["key"], row["value"], ()))
            assert isinstance(event, Event), event
            found.append(event)
        return found

    def types(self):
        return [event.type.removesuffix(".v1") for event in self.told()]

    def says(self, text="在吗", message_id=None):
        self.offset += 1
        return desk.receive(self.turn, self.talk, message_id or f"m{self.offset}", text, {})["message_id"]

    def hears(self, type_, topic, source, event_id=None, **data):
        self.offset += 1
        model = models.REGISTRY[type_].model
        value = encode(
            type_, id=event_id or f"e{self.offset}", source=source, subject=self.talk, time=self.now,
            data=new(model, shop_id="s", **data),
        )  # fmt: skip
        event = decode(Record(topic, 0, self.offset, self.now, self.talk.encode(), value, ()))
        assert isinstance(event, Event), event
        hearing.take(self.turn, event)
        return event

    def replied(self, message_id, seconds=60, reply_id="r1", event_id=None):
        return self.hears(
            "reply.issued.v1", REPLIES, "/deskline/autoreply", event_id, rules_version=1, routing_offset=0, reply_id=reply_id,
            in_reply_to=message_id, text="您好", kind="greeting", handover=False,
            deliver_by=rfc3339(self.now + seconds * SECOND),
        )  # fmt: skip

    def queued(self, request="q1"):
        self.hears(
            "conversation.queued.v1", ROUTING, "/deskline/router", request_id=request, seq=1, cause="handover", skills=(),
            priority=50, step=0, required=new(models.Required, skills=()), position=1, waiting_since=rfc3339(self.now),
        )  # fmt: skip

    def assigned(self, agent, assignment="a1", request="q1", accept_s=None):
        explanation = new(
            models.Explanation, rule="r", step=0, required=new(models.Required, skills=()), relaxed=(), agent_state_id="x",
            considered=1, eligible=1, rejected={}, chosen=new(models.Chosen, score_parts={}),
        )  # fmt: skip
        self.hears(
            "conversation.assigned.v1", ROUTING, "/deskline/router", request_id=request, seq=2, agent_id=agent, agent_seq=1,
            load=1, capacity=5, assignment_id=assignment, attempt=1, mode="assigned" if accept_s is None else "offered",
            accept_by=None if accept_s is None else rfc3339(self.now + accept_s * SECOND), waited_s=0, policy_version=1,
            explanation=explanation,
        )  # fmt: skip

    def ended(self, type_, assignment="a1", agent="anna", **data):
        about = {"agent_paused": False} if type_ != "conversation.released.v1" else {}
        self.hears(
            type_, ROUTING, "/deskline/router", request_id="q1", seq=3, agent_id=agent, agent_seq=2, load=0, capacity=5,
            assignment_id=assignment, **about, **data,
        )  # fmt: skip

    def served(self, agent="anna"):
        self.says()
        self.queued()
        self.assigned(agent)


@pytest.fixture
def world():
    made = World()
    yield made
    made.db.close()


def refused(code, work, *values, **named):
    with pytest.raises(Refused) as caught:
        work(*values, **named)
    assert caught.value.code == code


# --- decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "now", "agent_wrote_at", "expected"),
    [
        (Reply(100, 10, None), 100, None, Fate.PENDING),
        (Reply(100, 10, None), 101, None, Fate.LATE),
        (Reply(100, 10, 50), 100, None, Fate.PENDING),
        (Reply(100, 10, 50), 101, None, Fate.UNCONFIRMED),
        (Reply(100, 10, None), 50, 10, Fate.PENDING),
        (Reply(100, 10, None), 50, 11, Fate.OVERTAKEN),
        (Reply(100, 10, 20), 50, 30, Fate.UNCONFIRMED),
        (Reply(100, 10, None), 101, 50, Fate.LATE),
    ],
)
def test_a_reply_is_sent_until_its_time_and_not_once_an_agent_has_written(reply, now, agent_wrote_at, expected):
    assert rules.fate(reply, now, agent_wrote_at) is expected


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing("open", "a", True, True, None), None),
        (Standing("open", None, True, False, 100), None),
        (Standing("open", None, True, False, 99), Refusal.TOO_LATE),
        (Standing("open", None, False, False, None), None),
        (Standing("open", None, True, False, None), Refusal.NOT_YOURS),
        (Standing("open", "b", True, False, None), Refusal.NOT_YOURS),
        (Standing("closed", None, False, False, None), Refusal.CLOSED),
        (Standing("closed", "a", True, True, None), None),
        (Standing("closed", None, True, False, 100), None),
    ],
)
def test_who_may_write(standing, expected):
    assert rules.may_write("a", standing, 100) is expected


def test_only_the_owner_acts():
    assert rules.may_act("a", Standing("open", "a", False, False, None)) is None
    assert rules.may_act("a", Standing("open", None, True, False, 100)) is Refusal.NOT_YOURS
    assert rules.may_act("a", Standing("closed", None, False, False, None)) is Refusal.CLOSED


# --- what customers do ----------------------------------------------------------------------------------------------


def test_every_event_carries_what_the_contract_asks(world):
    extra = {"attachments": [{"kind": "image", "url": "https://example.invalid/1"}], "order_id": "o-1"}
    desk.receive(world.turn, world.talk, "m1", "衣服大了", extra)
    (event,) = world.told()
    row = world.db.execute("SELECT * FROM outbox").fetchone()
    assert (event.type, event.subject, event.source) == ("message.received.v1", world.talk, "/gateway/example")
    assert row["key"] == world.talk.encode()
    data = event.data
    assert (data.shop_id, data.channel, data.language, data.order_id) == ("s", "web", "zh", "o-1")
    assert (data.customer.customer_id, data.customer.tier) == ("k-1", "vip")
    assert data.attachments[0].kind == "image"


def test_a_message_sent_again_is_told_once_and_another_with_its_id_is_refused(world):
    first = desk.receive(world.turn, world.talk, "m1", "在吗", {})
    assert desk.receive(world.later(5), world.talk, "m1", "在吗", {}) == first
    assert len(world.told()) == 1
    refused("message_id_reused", desk.receive, world.turn, world.talk, "m1", "别的", {})


def test_times_of_a_conversation_follow_its_order_whatever_the_clock_does(world):
    world.says()
    world.says()
    world.now -= 10 * SECOND
    world.says()
    times = [json.loads(row["value"])["time"] for row in world.db.execute("SELECT value FROM outbox ORDER BY seq")]
    assert times == sorted(set(times))


def test_nothing_more_is_taken_when_kafka_takes_nothing_for_long(world, monkeypatch):
    monkeypatch.setattr(desk, "MOST_WAITING", 2)
    world.says()
    world.says()
    with pytest.raises(Refused) as caught:
        world.says()
    assert caught.value.status == 503


def test_ratings_complaints_and_orders_are_told_once_for_a_key(world):
    def twice(scope, asked, act):
        answers = [desk.once(world.turn, scope, "key", asked, act) for _ in range(2)]
        assert answers[0] == answers[1]
        refused("key_reused", desk.once, world.turn, scope, "key", {"other": 1}, act)

    world.says()
    twice("complain", {}, lambda key: desk.complain(world.turn, world.talk, key, "质量"))
    desk.order(world.turn, world.talk, "o-1", "99.50")
    desk.order(world.turn, world.talk, "o-1", "99.50")
    twice("close", {}, lambda key: desk.close(world.turn, world.talk, key, resolved=True, kind="customer", by="k-1"))
    twice("rate", {}, lambda key: desk.rate(world.turn, world.talk, key, 5, "好"))
    assert world.types() == [
        "message.received", "complaint.opened", "order.placed", "conversation.closed", "conversation.rated",
    ]  # fmt: skip


def test_a_closed_conversation_opens_with_the_customers_next_message(world):
    world.served()
    desk.close_by_agent(world.turn, "anna", world.talk, "k", resolved=True)
    refused("closed", desk.write, world.turn, "anna", world.talk, "w1", text="还在吗", in_reply_to=None)
    refused("closed", desk.close, world.turn, world.talk, "k2", resolved=True, kind="customer", by="k-1")
    world.says()
    assert world.turn.conversation(world.talk)["state"] == "open"


# --- replies --------------------------------------------------------------------------------------------------------


def sent(world):
    return [event.data for event in world.told() if event.type == "message.sent.v1"]


def test_a_reply_is_told_when_a_screen_shows_it_and_not_before(world):
    message_id = world.says()
    world.replied(message_id)
    shown = delivery.due(world.turn, world.talk, 0)
    assert [one["author"]["kind"] for one in shown] == ["customer", "bot"]
    delivery.confirm(world.turn, world.talk, shown[0]["seq"])
    assert sent(world) == []
    world.later(0.2)
    delivery.confirm(world.turn, world.talk, shown[1]["seq"])
    delivery.confirm(world.turn, world.talk, shown[1]["seq"])
    (data,) = sent(world)
    assert (data.author.kind, data.reply_id, data.in_reply_to, data.text) == ("bot", "r1", message_id, "您好")
    assert delivery.due(world.turn, world.talk, 0)[1]["text"] == "您好", "it stays in the history"


def test_who_reads_a_reply_has_it(world):
    world.replied(world.says())
    bot = delivery.due(world.turn, world.talk, 0)[1]
    delivery.confirm(world.turn, world.talk, desk.number_of(world.turn, world.talk, bot["message_id"]))
    desk.read(world.turn, world.talk, bot["message_id"], "customer", "k-1")
    assert world.types()[1:] == ["message.sent", "message.read"]
    refused("no_message", desk.read, world.turn, world.talk, "nothing", "customer", "k-1")


def test_a_reply_that_comes_twice_is_one(world):
    message_id = world.says()
    world.replied(message_id, event_id="one")
    world.replied(message_id, event_id="one")
    world.replied(message_id, event_id="two")
    assert len(delivery.due(world.turn, world.talk, 0)) == 2


def test_a_reply_is_not_sent_after_its_time(world):
    world.replied(world.says())
    world.later(60.000001)
    assert [one["author"]["kind"] for one in delivery.due(world.turn, world.talk, 0)] == ["customer"]
    delivery.confirm(world.turn, world.talk, 99)
    assert sent(world) == []
    world.replied(world.says(), seconds=-1, reply_id="r2")
    assert [row["fate"] for row in world.db.execute("SELECT fate FROM messages WHERE fate IS NOT NULL")] == ["late"] * 2


def test_a_reply_that_nobody_asks_for_gets_its_fate_by_itself(world):
    world.replied(world.says())
    desk.expire(world.later(59))
    desk.expire(world.later(2))
    assert world.db.execute("SELECT fate FROM messages WHERE reply_id = 'r1'").fetchone()["fate"] == "late"


def test_a_reply_is_not_sent_once_an_agent_has_written(world):
    world.served()
    world.replied("m1")
    desk.write(world.later(1), "anna", world.talk, "w1", text="我来", in_reply_to=None)
    assert [one["author"]["kind"] for one in delivery.due(world.turn, world.talk, 0)] == ["customer", "agent"]
    # An answer of before the message it answers does not count.
    world.later(1)
    world.replied(world.says(), reply_id="r2")
    assert delivery.due(world.turn, world.talk, 0)[-1]["author"]["kind"] == "bot"


def test_a_reply_whose_confirmation_was_lost_is_not_sent_again_and_told_when_it_comes_late(world):
    world.replied(world.says())
    seq = delivery.due(world.later(1), world.talk, 0)[-1]["seq"]
    went_at = world.now
    world.later(61)
    assert len(delivery.due(world.turn, world.talk, 0)) == 1
    assert sent(world) == []
    delivery.confirm(world.turn, world.talk, seq)
    (event,) = [event for event in world.told() if event.type == "message.sent.v1"]
    assert event.at == went_at, "it was seen then"


# --- agents ---------------------------------------------------------------------------------------------------------


def test_an_offer_is_taken_in_time_once_or_by_writing(world):
    world.says()
    world.queued()
    world.assigned("anna", accept_s=20)
    assert desk.desk_of(world.turn, "anna")["conversations"][0]["standing"] == "offered"
    refused("no_assignment", desk.answer_offer, world.turn, "ben", "a1", take=True, reason=None)
    for _ in range(2):
        desk.answer_offer(world.later(1), "anna", "a1", take=True, reason=None)
    refused("key_reused", desk.answer_offer, world.turn, "anna", "a1", take=False, reason=None)
    assert world.types() == ["message.received", "assignment.accepted"]
    assert desk.desk_of(world.turn, "anna")["conversations"][0]["standing"] == "held"


def test_an_offer_that_has_run_out_cannot_be_taken(world):
    world.says()
    world.queued()
    world.assigned("anna", accept_s=20)
    world.later(20.1)
    refused("too_late", desk.answer_offer, world.turn, "anna", "a1", take=True, reason=None)
    refused("too_late", desk.write, world.turn, "anna", world.talk, "w", text="您好", in_reply_to=None)
    world.ended("assignment.expired.v1", reason="not_accepted")
    refused("too_late", desk.answer_offer, world.turn, "anna", "a1", take=True, reason=None)
    assert desk.desk_of(world.turn, "anna")["conversations"] == []


def test_what_deskline_takes_back_is_no_longer_the_agents(world):
    world.served()
    desk.write(world.turn, "anna", world.talk, "w1", text="您好", in_reply_to="m1")
    world.ended("assignment.revoked.v1", reason="reassigned")
    world.assigned("ben", "a2")
    refused("not_yours", desk.write, world.turn, "anna", world.talk, "w2", text="您好", in_reply_to=None)
    desk.write(world.turn, "ben", world.talk, "w3", text="您好", in_reply_to=None)
    assert world.turn.conversation(world.talk)["owner"] == "ben"


def test_a_complaint_after_the_close_is_answered_and_closed(world):
    world.served()
    desk.close_by_agent(world.turn, "anna", world.talk, "k", resolved=True)
    complaint = desk.complain(world.later(60), world.talk, "k2", "质量")["complaint_id"]
    world.queued("q2")
    world.assigned("ben", "a2", "q2")
    desk.write(world.turn, "ben", world.talk, "w1", text="非常抱歉", in_reply_to=None)
    desk.close_complaint(world.turn, "ben", world.talk, complaint)
    refused("closed", desk.close_by_agent, world.turn, "ben", world.talk, "k3", resolved=True)
    assert delivery.due(world.turn, world.talk, 0)[-1]["text"] == "非常抱歉"


def test_a_stranger_may_not_even_look(world):
    world.served()
    refused("not_yours", desk.agents_view, world.turn, "ben", world.talk)


def test_the_whole_of_an_agents_work_is_told(world):
    world.served()
    agent, talk = "anna", world.talk
    desk.set_status(world.turn, agent, "online", 5, None)
    desk.read(world.turn, talk, "m1", "agent", agent)
    desk.read(world.turn, talk, "m1", "agent", agent)
    desk.write(world.turn, agent, talk, "w1", text="您好", in_reply_to="m1")
    desk.read(world.turn, talk, "w1", "customer", "k-1")
    desk.hold(world.turn, agent, talk, "k1", "等物流", held=True)
    desk.hold(world.turn, agent, talk, "k2", "等物流", held=True)
    desk.hold(world.turn, agent, talk, "k3", None, held=False)
    complaint = desk.complain(world.turn, talk, "k4", None)["complaint_id"]
    desk.close_complaint(world.turn, agent, talk, complaint)
    desk.close_complaint(world.turn, agent, talk, complaint)
    desk.transfer(world.turn, agent, talk, "k5", to={"skills": ["售后"]}, note="请接手")
    refused("not_yours", desk.transfer, world.turn, agent, talk, "k6", to=None, note=None)
    assert world.types() == [
        "message.received", "agent.status_changed", "message.read", "message.sent", "message.read", "conversation.held",
        "conversation.resumed", "complaint.opened", "complaint.closed", "transfer.requested",
    ]  # fmt: skip
    assert {event.topic for event in world.told() if event.type == "agent.status_changed.v1"} == {"agents.v1"}
    assert len({event.id for event in world.told()}) == 10


def test_statuses_are_repeated_and_an_agent_whose_desktop_is_gone_is_offline(world):
    desk.set_status(world.turn, "anna", "online", 5, None)
    desk.beat(world.later(20))
    desk.seen(world.turn, "anna")
    desk.beat(world.later(20))
    desk.beat(world.later(20))
    desk.beat(world.later(20))
    said = [(event.data.status, event.data.capacity) for event in world.told()]
    assert said == [("online", 5)] * 3 + [("offline", 5)]
    assert len({event.id for event in world.told()}) == 4


def test_what_the_filter_masked_is_masked_on_agents_screens_alone(world):
    world.served()
    world.hears(
        "message.flagged.v1", REPLIES, "/deskline/autoreply", rules_version=1, routing_offset=0, message_id="m1",
        direction="inbound", categories=("abuse",), spans=((0, 2, "abuse"),), action="masked", masked_text="**",
    )  # fmt: skip
    assert desk.agents_view(world.turn, "anna", world.talk)["messages"][0]["text"] == "**"
    assert delivery.due(world.turn, world.talk, 0)[0]["text"] == "在吗"


def test_clocks_are_shown_while_they_run(world):
    world.served()
    clock = {
        "clock_id": "c1", "metric": "agent_response", "policy_id": "p", "policy_version": 1, "tier": "vip",
        "started_at": rfc3339(world.now), "due_at": rfc3339(world.now), "target_s": 60,
    }  # fmt: skip
    world.hears("sla.warning.v1", SLA, "/deskline/sla", **clock, threshold=0.8)
    world.hears("sla.breached.v1", SLA, "/deskline/sla", **clock, breached_at=rfc3339(world.now))
    assert [one["state"] for one in desk.agents_view(world.turn, "anna", world.talk)["clocks"]] == ["breached"]
    world.hears("sla.breach_retracted.v1", SLA, "/deskline/sla", **clock, reason="late_event")
    assert desk.agents_view(world.turn, "anna", world.talk)["clocks"] == []


def test_what_is_old_is_forgotten_and_what_is_open_is_kept(world):
    world.served()
    old = world.talk
    world.talk = desk.open_conversation(world.turn, "s", "web", CUSTOMER, {})
    world.says()
    desk.close(world.turn, world.talk, "k", resolved=True, kind="customer", by="k-1")
    desk.forget(world.later(3 * 86_400), 2 * 86_400 * SECOND)
    assert [row["id"] for row in world.db.execute("SELECT id FROM conversations")] == [old]
    assert {row[0] for row in world.db.execute("SELECT conversation_id FROM messages")} == {old}


# --- the store ------------------------------------------------------------------------------------------------------


async def test_works_that_share_a_transaction_fail_alone_and_survive_a_restart(tmp_path):
    file = tmp_path / "gateway.sqlite3"

    def add(name):
        def work(db):
            db.execute("INSERT INTO meta VALUES (?, 'x')", (name,))
            if name == "bad":
                raise ValueError(name)
            return name

        return work

    async with Store(file) as store:
        secret = store.secret
        answers = await asyncio.gather(*map(store.run, map(add, ("a", "bad", "b"))), return_exceptions=True)
        assert [type(answer) for answer in answers] == [str, ValueError, str]
    async with Store(file) as store:
        names = await store.run(lambda db: {row["name"] for row in db.execute("SELECT name FROM meta")})
        assert names == {"a", "b", "secret"}
        assert store.secret == secret
        with pytest.raises(UsageError, match="another gateway"):
            await Store(file).__aenter__()
    assert file.stat().st_mode & 0o077 == 0


# --- documents ------------------------------------------------------------------------------------------------------


def test_the_openapi_document_is_that_of_the_code():
    assert OPENAPI.read_text(encoding="utf-8") == document(), "run: python -m examples.gateway openapi --write"


def test_every_word_of_the_pages_is_there_in_both_languages():
    text = (PAGES / "words.js").read_text(encoding="utf-8")
    chinese, english = text.split("  en: {")
    known = re.findall(r"\b(\w+): \"", chinese)
    assert known == re.findall(r"\b(\w+): \"", english.split("let language")[0])
    for page in PAGES.glob("*.html"):
        used = set(re.findall(r'data-(?:word|placeholder)="(\w+)"', page.read_text(encoding="utf-8")))
        assert used <= set(known), page.name
    for script in PAGES.glob("*.js"):
        used = set(re.findall(r'\bword\("(\w+)"', script.read_text(encoding="utf-8")))
        assert used <= set(known), script.name


def paths() -> set[tuple[str, str]]:
    found = json.loads(document())["paths"]
    return {(method.upper(), re.sub(r"\{\w+\}", "*", path)) for path, methods in found.items() for method in methods}


def pattern(path: str) -> str:
    return re.sub(r"\$?\{\{?\w+\}?\}", "*", path)


def test_the_postman_collection_uses_every_path_and_no_other():
    collection = json.loads((HERE / "postman" / "deskline-gateway.postman_collection.json").read_text(encoding="utf-8"))
    requests = [item["request"] for item in collection["item"]]
    used = {(one["method"], pattern("/" + "/".join(one["url"]["path"]))) for one in requests}
    assert used == paths()


def test_the_jmeter_plan_is_whole_and_uses_paths_that_there_are():
    plan = ET.parse(HERE / "jmeter" / "deskline-gateway.jmx").getroot()
    # Every element of a plan is followed by the tree of what stands below it.
    for tree in plan.iter("hashTree"):
        children = list(tree)
        assert len(children) % 2 == 0
        assert all((child.tag == "hashTree") == bool(number % 2) for number, child in enumerate(children))
    used = {
        (
            one.findtext("stringProp[@name='HTTPSampler.method']"),
            pattern(one.findtext("stringProp[@name='HTTPSampler.path']")),
        )
        for one in plan.iter("HTTPSamplerProxy")
    }
    assert len(used) >= 9
    assert used <= paths()
    properties = set(re.findall(r"__P\((\w+),", ET.tostring(plan, encoding="unicode")))
    pom = ET.parse(HERE / "jmeter" / "pom.xml").getroot()
    space = "{http://maven.apache.org/POM/4.0.0}"
    assert {one.tag.removeprefix(space) for one in pom.find(f".//{space}propertiesUser")} == properties
    for name in ("agents.csv", "texts.csv"):
        assert (HERE / "jmeter" / name).read_text(encoding="utf-8").strip()
