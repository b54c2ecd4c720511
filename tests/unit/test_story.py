"""``deskline explain``: what happened in a conversation, as sentences."""

import string

import pytest
from tests.unit.router_driver import Driver, agent, at

from deskline.config.documents import RoutingDocument, RoutingRule, Step
from deskline.events.models import REGISTRY
from deskline.events.wire import decode
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event, Record
from deskline.story.sentences import _SENTENCES, tell
from deskline_router.telling import id_of, output

TOPICS = (CONVERSATIONS, REPLIES, ROUTING, SLA)
SPLIT = {
    "message.sent": ("message.sent agent", "message.sent bot", "message.sent system"),
    "conversation.queued": ("conversation.queued first", "conversation.queued"),
    "conversation.assigned": ("conversation.assigned assigned", "conversation.assigned offered"),
}


def routed(driver):
    found = []
    for offset, emission in enumerate(driver.said):
        made = output(emission, id_of(emission))
        event = decode(Record(ROUTING, 0, offset, emission.at, made.key, made.value, ()))
        assert isinstance(event, Event)
        found.append(event)
    return found


@pytest.fixture
def day():
    team = [agent("anna", skills={"tax": 2}), agent("sue", skills={"tax": 4}, grade="senior", capacity=1), agent("bo")]
    rule = RoutingRule(rule_id="r", steps=(Step(proficiency=3, wait_s=10), Step()))
    driver = Driver(team, RoutingDocument(rules=(rule,))).online("anna", "sue")
    driver.asked("m0", "c0", skills=("tax",))
    driver.t = 5
    driver.received("m1", tier="vip")
    driver.t = 6
    driver.handover("m1", since=5, skills=("tax",))
    driver.pass_to(16)
    driver.t = 20
    driver.sent("anna", to="m1")
    driver.t = 30
    driver.breached(("remind",), agent="anna")
    driver.t = 40
    driver.closed()
    return driver


def test_a_conversation_is_told_in_order_from_all_services(day):
    events = [e for e in [*day.inputs, *routed(day)] if e.subject == "c1"]
    lines = tell(reversed(events))
    assert [line.text for line in lines] == [
        "The customer k1 wrote by web, marked vip.",
        "autoreply handed over: no_match, asking for tax, priority 50; the customer has waited since 2026-11-25T09:00:05.000000Z.",
        "router: a request was opened (handover), asking for tax: step 1, asking for tax 3, priority 50, position 1.",
        "router: it waits at step 2, asking for tax 1, priority 50, position 1, about 0 s to wait.",
        (
            "router: given to anna after 11 s (1 of 5), by the rule r, step 2 of version 1, having given up proficiency:tax. "
            "1 of 3 could take it; not 1 full, 1 offline; chosen by load 0, surplus 0.038333, last 0, busy_s 0, request 2.24444. "
            "Not chosen: sue: full (1 of 1); bo: offline."
        ),
        "The agent anna wrote, in answer to m1.",
        "sla: agent_response was due at 2026-11-25T09:00:30.000000Z and is breached; asked for: remind.",
        "The conversation was closed, resolved.",
        "router: the request has ended: closed.",
    ]
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert lines[0].at == at(5)


def test_the_same_story_in_chinese_names_the_same_people_and_numbers(day):
    events = [e for e in [*day.inputs, *routed(day)] if e.subject == "c1"]
    text = "\n".join(line.text for line in tell(events, "zh"))
    assert "等待 11 秒后分配给 anna（1/5），规则 r 第 2 步" in text
    assert "sue：full（1 of 1）" in text


def test_a_second_record_of_an_id_is_told_as_having_no_effect(day):
    first = next(e for e in day.inputs if e.subject == "c1")
    lines = tell([first, first._replace(offset=first.offset + 100)])
    assert [line.text.endswith("(Said before: no effect.)") for line in lines] == [False, True]


def test_nobody_s_words_are_shown(day):
    assert "您好" not in "\n".join(line.text for line in tell(day.inputs))


def test_every_type_of_event_of_a_conversation_has_a_sentence_in_both_languages():
    for kind, model in REGISTRY.items():
        if model.topic not in TOPICS:
            continue
        name = kind.removesuffix(".v1")
        for key in SPLIT.get(name, (name,)):
            assert len({*_fields(_SENTENCES[key][0])} ^ {*_fields(_SENTENCES[key][1])}) == 0, key


def _fields(template):
    return [field for _, field, _, _ in string.Formatter().parse(template) if field]
