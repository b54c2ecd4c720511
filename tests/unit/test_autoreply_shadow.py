"""Rules in shadow: what they would have done is recorded; what is sent is the same without them. Times: tests.fixtures.autoreply."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.autoreply import RULES, SHOP, SUBJECT, T0, Log, Service, book, us
from tests.unit.test_autoreply_properties import Builder, steps, units

from deskline.clock import to_datetime
from deskline.config.knowledge_document import Entry, Knowledge
from deskline.config.rules_document import AutoreplyRule, Handover, Reply, RuleCondition, RulesDocument, beside
from deskline_autoreply.policy.shadow import ShadowDecision, Tried, Verdict, Word, compare

SHADOW = RULES.model_copy(update={"shadow": True})
CANDIDATE = RulesDocument(
    rules=(
        AutoreplyRule(rule_id="shipping", when=RuleCondition(any_of=("发货",)), reply=Reply(kind="faq", text="24 小时内发货。")),
        AutoreplyRule(rule_id="size", when=RuleCondition(any_of=("尺码",)), reply=Reply(text="请看尺码表。")),
        AutoreplyRule(
            rule_id="complaint",
            when=RuleCondition(any_of=("投诉",)),
            handover=Handover(reason="complaint", skills=("complaints",), priority=90, flags=("angry",)),
        ),
    )
)  # fmt: skip


def with_candidate(rules: RulesDocument = RULES) -> RulesDocument:
    return rules.model_copy(update={"candidate": CANDIDATE})


def rows(service: Service) -> list[ShadowDecision]:
    return [effect for effect in service.effects if isinstance(effect, ShadowDecision)]


@pytest.fixture
def log() -> Log:
    return Log()


# --- a shop in shadow -------------------------------------------------------------------------------------------------


def test_what_a_shop_in_shadow_would_have_said_is_recorded_once(log):
    service = Service(book(SHADOW))
    assert service.answer(log.says(0, "发货", "m-1")) == "ignored shadow"
    assert rows(service) == [
        ShadowDecision(
            SUBJECT, "m-1", Tried.SHOP, 0, us(0), SHOP, 1,
            Word("reply", rule_id="shipping", entry_id="faq-7", kind="faq", text="48 小时内发货。"),
        )
    ]  # fmt: skip


def test_a_hand_over_that_would_have_been_is_recorded_with_its_reason(log):
    service = Service(book(SHADOW))
    service.unit(log.says(0, "我要退款", "m-1"), log.says(1, "随便说说", "m-2"))
    assert [(row.would.outcome, row.would.reason, row.would.rule_id) for row in rows(service)] == [
        ("both", "rule", "refund"),
        ("handover", "no_match", None),
    ]


def test_what_a_variable_would_have_said_of_the_customer_is_not_recorded(log):
    rule = AutoreplyRule(
        rule_id="order", when=RuleCondition(any_of=("发货",)), reply=Reply(text="订单 {order_id|} 明天发。")
    )
    service = Service(book(RulesDocument(shadow=True, rules=(rule,))))
    service.unit(log.says(0, "发货", "m-1", order_id="A-77"))
    (row,) = rows(service)
    assert row.would.text == "订单 {order_id|} 明天发。"
    assert "A-77" not in repr(row)


def test_what_the_rules_were_not_asked_is_not_recorded(log):
    service = Service(book(SHADOW))
    service.unit(log.says(0, " ", "m-1"), log.writes(1), log.says(2, "发货", "m-2"))
    assert [outcome["data"]["reason"] for outcome in service.unit(log.says(3, "发货", "m-3"))] == ["human_owned"]
    assert not rows(service)


def test_a_shop_that_sends_records_nothing(log):
    service = Service()
    assert service.answer(log.says(0, "发货")) == "reply shipping"
    assert not rows(service)


@pytest.mark.parametrize(
    ("then", "after"),
    [("off", "ignored shadow"), ("live", "reply shipping")],
)
def test_a_trial_ends_by_the_event_time_of_the_message(log, then, after):
    # Until T0 + 100 s: a message of 99.9 s is still tried, whenever it is read; one of 100 s no more.
    until = to_datetime(T0) + timedelta(seconds=100)
    service = Service(book(SHADOW.model_copy(update={"shadow_until": until, "shadow_then": then})))
    assert service.answer(log.says(99.9, "发货", broker=101)) == "ignored shadow"
    assert len(rows(service)) == 1
    assert Service(service.config).answer(log.says(100, "物流", broker=101)) == after
    late = Service(service.config)
    late.answer(log.says(100, "物流", broker=101))
    assert not rows(late)


# --- a candidate beside live rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sent", "verdict"),
    [
        ("几号发货", "reply shipping", Verdict.CHANGED),  # 48 h against 24 h
        ("物流到哪了", "reply shipping", Verdict.LOST),  # the candidate has no such word: no_match
        ("有尺码吗", "handover no_match", Verdict.GAINED),
        ("我要投诉", "handover complaint", Verdict.SAME),
        ("随便说说", "handover no_match", Verdict.SAME),
        ("我要退款", "both rule", Verdict.CHANGED),  # a holding reply and a hand-over against a plain one
    ],
)
def test_a_candidate_is_compared_with_what_was_done(log, text, sent, verdict):
    service = Service(book(with_candidate()))
    assert service.answer(log.says(0, text)) == sent
    (row,) = rows(service)
    assert (row.tried, row.verdict, row.version) == (Tried.CANDIDATE, verdict, 1)


def test_a_candidate_in_a_shop_in_shadow_is_compared_with_what_the_shop_would_have_done(log):
    service = Service(book(with_candidate(SHADOW)))
    assert service.answer(log.says(0, "发货")) == "ignored shadow"
    shop, candidate = rows(service)
    assert (shop.tried, shop.live) == (Tried.SHOP, None)
    assert (candidate.tried, candidate.live, candidate.verdict) == (Tried.CANDIDATE, shop.would, Verdict.CHANGED)


def test_a_candidate_may_be_a_knowledge_base_alone(log):
    entry = Entry(entry_id="size", phrasings=("这件的尺码怎么选", "尺码怎么选"), answer="请看尺码表。")
    candidate = beside(RULES, RulesDocument(inherit=True, knowledge=Knowledge(entries=(entry,))))
    service = Service(book(RULES.model_copy(update={"candidate": candidate})))
    assert service.answer(log.says(0, "尺码怎么选")) == "handover no_match"
    (row,) = rows(service)
    assert (row.verdict, row.would.entry_id, row.would.rule_id) == (Verdict.GAINED, "size", None)
    assert row.would.confidence is not None


@given(steps, units, st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_candidate_changes_no_byte_of_what_is_sent(history, cut, shadow):
    built = Builder().build(history)
    rules = SHADOW if shadow else RULES
    alone, tried_too = Service(book(rules)), Service(book(with_candidate(rules)))
    read_routing = read = 0
    for more_routing, more, delay in [*cut, (len(built.routing), len(built.conversations), 1)]:
        events = [*built.routing[read_routing:][:more_routing], *built.conversations[read:][:more]]
        read_routing, read = read_routing + more_routing, read + more
        if events:
            now = (max(event.broker_at for event in events) - us(0)) / 1e6 + delay
            alone.unit(*events, now=now)
            tried_too.unit(*events, now=now)
    assert tried_too.values == alone.values
    assert tried_too.hits == alone.hits, "nor of what is counted"
    assert [row for row in rows(tried_too) if row.tried is Tried.SHOP] == rows(alone)
    # One row for each message that the rules were asked about: no more than one, and with a verdict that its words bear out.
    tried = [row for row in rows(tried_too) if row.tried is Tried.CANDIDATE]
    assert len({row.message_id for row in tried}) == len(tried)
    assert all(compare(row.live, row.would) is row.verdict for row in tried)
