"""Replay: the service's own decisions under candidate rules, beside what was issued. Times: tests.fixtures.autoreply."""

import pytest
from tests.fixtures.autoreply import RULES, SHOP, Log, Service, book, us

from deskline.config.rules_document import AutoreplyRule, Handover, Reply, RuleCondition
from deskline.events.models import SurgeEntered
from deskline.events.wire import decode, encode, new
from deskline.records import REPLIES, SHOPS, Event, Record
from deskline_autoreply.learning.replay import replay
from deskline_autoreply.learning.traffic import Outcome, conversations, joined, unanswered


def recorded(*texts: str) -> list[Event]:
    """Each text a conversation of its own, and what the service issued for it under RULES."""
    events: list[Event] = []
    for number, text in enumerate(texts):
        log, service = Log(f"c-{number}"), Service(book())
        event = log.says(0, text, f"m-{number}")
        events.append(event)
        for offset, output in enumerate(outputs_of(service, event)):
            found = decode(Record(REPLIES, 0, number * 10 + offset, event.broker_at, output.key, output.value, ()))
            assert isinstance(found, Event)
            events.append(found)
    return events


def outputs_of(service: Service, event: Event):
    from deskline.conversations import Context
    from deskline.records import ROUTING
    from deskline_autoreply.handler import Autoreply, State

    rules = book()
    context = Context(event.broker_at, event.broker_at, rules, {ROUTING: 0}, 0)
    return Autoreply(rules, lambda _: None).advance(event.subject, State(), [event], context)


def without(rule_id: str, *more: AutoreplyRule):
    return RULES.model_copy(update={"rules": (*(r for r in RULES.rules if r.rule_id != rule_id), *more)})


SIZE = AutoreplyRule(rule_id="size", when=RuleCondition(any_of=("尺码",)), reply=Reply(text="请看尺码表。"))
SOONER = AutoreplyRule(rule_id="shipping", when=RuleCondition(any_of=("发货",)), reply=Reply(text="24 小时内发货。"))


@pytest.mark.parametrize(
    ("candidate", "text", "verdict"),
    [
        (RULES, "什么时候发货", "same"),
        (RULES, "尺码怎么选", "unanswered"),
        (without("-", SIZE), "尺码怎么选", "gained"),
        (without("shipping"), "什么时候发货", "lost"),
        (without("shipping", SOONER), "什么时候发货", "changed"),
        (
            without("shipping", SOONER.model_copy(update={"handover": Handover()})),
            "什么时候发货",
            "lost",  # a holding reply does not answer
        ),
    ],
)
def test_an_answer_is_gained_lost_changed_or_the_same(candidate, text, verdict):
    found = replay(recorded(text, "我要投诉"), book(candidate), SHOP)
    assert [one.verdict for one in found.compared] == [verdict, "unanswered"]
    assert found.counts[verdict] >= 1


def test_the_rules_that_were_in_force_change_nothing():
    events = recorded("什么时候发货", "退款", "我要投诉", "尺码", "转人工", "")
    found = replay(events, book(), SHOP)
    assert len(found.compared) == 6
    for one in found.compared:
        assert one.was is not None
        assert (one.was.kind, one.was.reason, one.was.text) == (one.now.kind, one.now.reason, one.now.text)


def test_messages_of_other_shops_are_passed_over():
    assert replay(recorded("什么时候发货"), book(), "another").compared == ()


def test_a_rule_for_the_rush_is_asked_in_the_surges_that_were_recorded():
    value = encode(
        "routing.surge_entered.v1", id="s-1", source="/deskline/router", subject=SHOP, time=us(-60),
        data=new(SurgeEntered, shop_id=SHOP, cause="backlog", reserve_agents=[], capacity_added=1),
    )  # fmt: skip
    surge = decode(Record(SHOPS, 0, 0, us(-60), SHOP.encode(), value, ()))
    assert isinstance(surge, Event)
    rush = AutoreplyRule(
        rule_id="rush", priority=999, when=RuleCondition(surge=True), reply=Reply(text="高峰，请稍等。")
    )
    events = recorded("尺码怎么选")
    verdicts = [replay(log, book(without("-", rush)), SHOP).compared[0].verdict for log in (events, [surge, *events])]
    assert verdicts == ["unanswered", "gained"]


def test_coverage_and_handovers_are_counted_before_and_after():
    found = replay(recorded("尺码", "什么时候发货"), book(without("-", SIZE)), SHOP)
    assert found.coverage() == (0.5, 1.0)
    assert found.handovers() == {"no_match": (1, 0)}


def test_only_what_nothing_answered_is_a_question():
    questions = unanswered(conversations(recorded("什么时候发货", "我要投诉", "尺码怎么选"), SHOP))
    assert [question.text for question in questions] == ["尺码怎么选"]


def test_a_holding_reply_and_its_hand_over_are_one_outcome_in_either_order():
    reply, handover = Outcome("holding", text="稍等", rule_id="r"), Outcome("handover", "no_match")
    assert joined(reply, handover) == joined(handover, reply) == reply._replace(reason="no_match")
