"""The texts of replies: variables, and one of several variants for each customer."""

from collections import Counter

import pytest
from prometheus_client import CollectorRegistry
from tests.fixtures.autoreply import Log
from tests.unit.test_rules_manners import on, reply, service_with

from deskline.config.rule_templates import fill, parse_template, plain, variables_of
from deskline.config.rules_document import Reply, RulesDocument
from deskline_autoreply.metrics import Metrics
from deskline_autoreply.model import Answered, Said
from deskline_autoreply.policy.rules.saying import Saying


def said(text: str, log_event, **document) -> str | None:
    service = service_with(reply(text, when=on("你好")), **document)
    outcomes = service.unit(log_event)
    return outcomes[0]["data"].get("text")


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("{customer_name}您好", {"name": "小王"}, "小王您好"),
        ("{customer_name|亲}您好", {}, "亲您好"),
        ("{customer_name|}您好", {}, "您好"),
        ("{customer_name}您好", {}, None),  # passed over: a person answers
        ("订单 {order_id} 的 {product}", {"order_id": "A1", "product_id": "P-9"}, "订单 A1 的 P-9"),
        ("客服时间 {agent_hours}", {}, "客服时间 09:00-18:00"),
        ("券 {coupon}，找 {boss}", {}, "券 SAVE10，找 老板"),
        # What customers state is text: it is not read again, and stays short and on one line.
        ("{customer_name}好", {"name": "{coupon}\n\u202e{order_id}"}, "{coupon} {order_id}好"),
        ("{customer_name}好", {"name": "王" * 100}, "王" * 64 + "好"),
        ('{"json": 1} { } {1}', {}, '{"json": 1} { } {1}'),
    ],
)
def test_variables_are_filled_in_as_plain_text(text, fields, expected):
    event = Log().says(0, "你好", **fields)
    assert said(text, event, constants={"coupon": "SAVE10", "boss": "老板"}) == expected


@pytest.mark.parametrize(
    ("asked_at", "closes_at", "text"),
    [
        (590, None, "订单 A1（P-9）今天发出"),
        (611, None, None),  # ten minutes are over: a person answers
        (300, 200, None),  # another conversation
    ],
)
def test_the_order_of_a_message_is_in_mind_for_the_minutes_that_follow(asked_at, closes_at, text):
    log = Log()
    service = service_with(
        reply("订单 {order_id}（{product}）今天发出", when=on("发货")), reply("在的", when=on("你好"))
    )
    service.unit(log.says(0, "你好", order_id="A1", product_id="P-9"))
    if closes_at is not None:
        service.unit(log.closes(closes_at))
    (outcome,) = service.unit(log.says(asked_at, "什么时候发货"))
    assert outcome["data"].get("text") == text


def test_the_place_in_the_queue_is_known_while_nobody_has_the_request():
    log = Log()
    service = service_with(reply("您排在第 {queue_position} 位", when=on("多久")), reply("请稍等", when=on("多久")))
    assert service.unit(log.says(0, "多久"))[0]["data"]["text"] == "请稍等"
    service.unit(log.queued(1, "r-1", since=0))
    assert service.unit(log.says(2, "还要多久"))[0]["data"]["text"] == "您排在第 1 位"


def test_there_is_no_code_in_templates():
    for text in (
        "{customer_name.__class__}",
        "{0}",
        "{customer_name!r}",
        "{a:>9}",
        "{{customer_name}}",
        "${order_id+1}",
    ):
        assert variables_of(text) in ([], ["customer_name"])
        assert fill(parse_template(text), {"customer_name": "x"}) == text.replace("{customer_name}", "x")


def test_plain_values_show_what_they_are():
    assert plain("a\x00b\u200bc") == "a b c"
    assert plain(" \n ") is None
    assert plain(None) is None


REPLY = Reply.model_validate(
    {
        "variants": (
            {"variant": "a", "text": "甲", "weight": 3},
            {"variant": "b", "text": "乙 {coupon}"},
            {"variant": "c", "text": "丙"},
        )
    }
)


def test_a_customer_always_gets_the_same_variant_and_the_weights_hold():
    saying = Saying("r", REPLY, {"coupon": "X"})
    customers = [f"u-{n}" for n in range(5_000)]
    chosen = [saying.say(customer, {}, lambda _: False).variant for customer in customers]
    assert chosen == [
        Saying("r", REPLY, {"coupon": "X"}).say(customer, {}, lambda _: False).variant for customer in customers
    ]
    counts = Counter(chosen)
    # Of 5 parts a has 3: 3000 of 5000, give or take four standard deviations of sqrt(5000 · 0.6 · 0.4) = 35.
    assert abs(counts["a"] - 3_000) < 140
    assert abs(counts["b"] - 1_000) < 115


def test_another_variant_is_said_where_the_own_one_cannot_be():
    without = Saying("r", REPLY, {})
    assert {without.say(f"u-{n}", {}, lambda _: False).variant for n in range(100)} == {"a", "c"}
    assert without.say("u", {}, lambda _: True) is None
    assert {Saying("r", REPLY, {}).say(f"u-{n}", {}, "甲".__eq__).variant for n in range(100)} == {"c"}


def test_the_variant_is_counted():
    log = Log()
    service = service_with(
        {"when": on("你好"), "reply": {"variants": [{"variant": "a", "text": "甲"}, {"variant": "b", "text": "乙"}]}}
    )
    service.unit(log.says(0, "你好"))
    (hit,) = service.hits
    assert (hit.id, hit.answered) == ("r0", 1)
    assert hit.variant in {"a", "b"}


def test_variants_are_shown_at_0_before_the_first_reply_of_each():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    variants = [{"variant": "a", "text": "甲"}, {"variant": "b", "text": "乙"}]
    written = [
        {"rule_id": "r", "when": on("你好"), "reply": {"variants": variants}},
        {"rule_id": "plain", "when": on("您好"), "reply": {"text": "丙"}},
    ]
    rules = RulesDocument.model_validate({"rules": written}).rules
    for _ in range(2):
        metrics.foresee(rules)
        shown = {tuple(s.labels.values()): s.value for m in registry.collect() for s in m.samples if "variants" in s.name and s.name.endswith("_total")}  # fmt: skip
        assert shown == {("r", "a"): 0, ("r", "b"): 0}
    metrics.count(Answered(Said("rule", "甲", variant="a"), "r"))
    assert registry.get_sample_value("deskline_autoreply_variants_total", {"rule_id": "r", "variant": "a"}) == 1


def test_variants_are_counted_with_a_bounded_number_of_series():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for n in range(250):
        metrics.count(Answered(Said("rule", "甲", variant="a"), f"r{n}"))
    metrics.count(Answered(Said("rule", "甲"), "r0"))
    series = [s for m in registry.collect() for s in m.samples if s.name == "deskline_autoreply_variants_total"]
    assert len(series) == 201
    assert sum(sample.value for sample in series) == 250
    assert next(s.value for s in series if s.labels == {"rule_id": "other", "variant": "other"}) == 50
