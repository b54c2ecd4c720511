"""What becomes of a message for which no rule has a word: answer, one short list, or a person with suggestions."""

import asyncio
import json

import pytest
from tests.fixtures.autoreply import RULES, Log, Service, book

from deskline.config.knowledge_document import Knowledge
from deskline.config.rules_document import AutoreplyRule, Handover, Reply, RuleCondition, RulesDocument
from deskline.ids import request_id
from deskline_autoreply import handler

ENTRIES = [
    {
        "entry_id": "returns",
        "phrasings": ["怎么退货", "衣服不合适能退吗", "退货需要什么条件"],
        "answer": "签收七天内可以退货。",
    },
    {"entry_id": "delivery", "phrasings": ["多久能到货", "快递几天到", "什么时候送到"], "answer": "一般三天内送达。"},
    {"entry_id": "invoice", "phrasings": ["怎么开发票", "能开发票吗"], "answer": "在订单页申请电子发票。"},
]
PRODUCTS = [{"product_id": "P1", "names": ["羊毛大衣"], "price": "899 元", "sizes": "S、M、L"}]


def service(base: RulesDocument = RULES, **settings) -> Service:
    text = json.dumps({"entries": ENTRIES, "products": PRODUCTS, **settings})
    knowledge = Knowledge.model_validate_json(text, strict=True)
    return Service(book(base.model_copy(update={"knowledge": knowledge})))


def only(outcomes: list[dict]) -> tuple[str, dict]:
    (outcome,) = outcomes
    return outcome["type"], outcome["data"]


def test_without_a_rule_a_sure_entry_answers_with_its_id_and_confidence():
    kind, data = only(service().unit(Log().says(0, "怎么开发票")))
    assert kind == "reply.issued.v1"
    assert (data["kind"], data["entry_id"], data["text"]) == ("faq", "invoice", "在订单页申请电子发票。")
    assert data["confidence"] == 1.0
    assert "rule_id" not in data
    assert not data["handover"]


def test_a_rule_goes_before_the_knowledge_base():
    _, data = only(service().unit(Log().says(0, "什么时候发货送到")))
    assert data["rule_id"] == "shipping"


NIGHT = 8 * 3600
AWAY = AutoreplyRule(
    rule_id="away",
    priority=850,
    when=RuleCondition(open=False),
    unless_answered=True,
    tags=("night",),
    reply=Reply(kind="off_hours", text="明早回复您。"),
    handover=Handover(reason="no_match", flags=("off_hours",)),
)
OK = AutoreplyRule(rule_id="ok", when=RuleCondition(exact=("好的",)), silent=True)
WITH_NIGHT = RULES.model_copy(update={"rules": (*(rule for rule in RULES.rules if rule.when.open is None), AWAY, OK)})


def test_simple_questions_are_answered_at_night_and_everything_else_gets_the_text_of_the_night_and_a_person():
    log, shop = Log(), service(WITH_NIGHT, precision_target=0.999)
    assert shop.answer(log.says(NIGHT, "什么时候发货")) == "reply shipping"
    _, data = only(shop.unit(log.says(NIGHT + 20, "怎么开发票")))
    assert (data["kind"], data["entry_id"], data["handover"]) == ("faq", "invoice", False)
    assert only(shop.unit(log.says(NIGHT + 30, "好的")))[1]["rule_id"] == "ok"
    reply, handover = (one["data"] for one in shop.unit(log.says(NIGHT + 40, "衣服买大了退哪里")))
    assert (reply["rule_id"], reply["kind"], reply["handover"]) == ("away", "off_hours", True)
    assert (handover["reason"], handover["flags"]) == ("low_confidence", ["off_hours", "night"])
    assert handover["suggestions"][0]["entry_id"] == "returns"
    # In shop hours the rule says nothing.
    _, handover = only(service(WITH_NIGHT).unit(Log().says(0, "xyzzy plugh")))
    assert (handover["reason"], handover["flags"]) == ("no_match", [])


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"text": "xyzzy plugh"}, ["reply away", "handover no_match"]),
        # A rule behind it that needs a person leaves the word to it, one before it does not.
        ({"text": "退款"}, ["reply away", "handover no_match"]),
        ({"text": "", "picture": True}, ["reply away", "handover no_match"]),
        ({"text": "我要投诉"}, ["handover complaint"]),
    ],
)
def test_who_needs_a_person_at_night_is_told_when_there_will_be_one(message, told):
    outcomes = service(WITH_NIGHT).unit(Log().says(NIGHT, **message))
    assert [
        f"{one['type'].split('.')[0]} {one['data'].get('rule_id') or one['data']['reason']}" for one in outcomes
    ] == told


@pytest.mark.parametrize("text", ["怎么开发票", "什么时候发货"])
def test_an_answer_that_comes_too_late_or_again_gives_way_to_the_text_of_the_night(text):
    log, shop = Log(), service(WITH_NIGHT)
    reply, handover = shop.unit(log.says(NIGHT, text), now=NIGHT + 3600)
    assert (reply["data"]["kind"], reply["data"]["handover"]) == ("off_hours", True)
    assert handover["data"]["reason"] in {"no_match", "low_confidence"}
    log, shop = Log(), service(WITH_NIGHT)
    assert only(shop.unit(log.says(NIGHT, text)))[0] == "reply.issued.v1"
    reply, handover = shop.unit(log.says(NIGHT + 600, text))
    assert (reply["data"]["kind"], handover["data"]["reason"]) == ("off_hours", "repeated_question")


def test_what_is_near_but_not_sure_goes_to_a_person_with_suggestions():
    kind, data = only(service(precision_target=0.999).unit(Log().says(0, "衣服买大了退哪里")))
    assert kind == "handover.requested.v1"
    assert data["reason"] == "low_confidence"
    assert data["suggestions"][0]["entry_id"] == "returns"
    assert 0 < data["suggestions"][0]["confidence"] < 1
    assert len(data["suggestions"]) <= 3


def test_what_is_near_nothing_is_no_match_and_has_no_suggestions():
    _, data = only(service().unit(Log().says(0, "xyzzy plugh")))
    assert data["reason"] == "no_match"
    assert "suggestions" not in data


def test_a_hand_over_by_a_rule_carries_suggestions_too():
    outcomes = service().unit(Log().says(0, "退款：能开发票吗"))
    handover = outcomes[-1]["data"]
    assert handover["reason"] == "rule"
    assert "invoice" in [one["entry_id"] for one in handover["suggestions"]]


def test_a_shop_that_wants_it_gives_one_short_list_and_the_choice_is_answered():
    log, shop = Log(), service(precision_target=0.999, suggestions=True)
    kind, data = only(shop.unit(log.says(0, "衣服买大了退哪里")))
    assert (kind, data["kind"], data["handover"]) == ("reply.issued.v1", "suggestions", False)
    assert "1. 怎么退货" in data["text"]
    _, chosen = only(shop.unit(log.says(20, "1")))
    assert (chosen["entry_id"], chosen["kind"], chosen["confidence"]) == ("returns", "faq", 1.0)


@pytest.mark.parametrize("choice", ["1. 怎么退货", "1、怎么退货", "怎么退货"])
def test_a_line_of_the_list_is_a_choice_and_no_echo(choice):
    log, shop = Log(), service(precision_target=0.999, suggestions=True)
    _, data = only(shop.unit(log.says(0, "衣服买大了退哪里")))
    assert "1. 怎么退货" in data["text"].splitlines()
    kind, chosen = only(shop.unit(log.says(20, choice)))
    assert (kind, chosen.get("entry_id"), chosen.get("confidence")) == ("reply.issued.v1", "returns", 1.0)
    log, shop = Log(), service(precision_target=0.999, suggestions=True)
    _, data = only(shop.unit(log.says(0, "衣服买大了退哪里")))
    kind, ignored = only(shop.unit(log.says(20, data["text"])))
    assert (kind, ignored["reason"]) == ("message.ignored.v1", "cooldown")


def test_after_the_list_the_next_doubt_goes_to_a_person():
    log, shop = Log(), service(precision_target=0.999, suggestions=True)
    shop.unit(log.says(0, "衣服买大了退哪里"))
    kind, data = only(shop.unit(log.says(20, "不合适的衣服我要退掉")))
    assert (kind, data["reason"]) == ("handover.requested.v1", "low_confidence")


def test_a_list_is_forgotten_with_the_close_and_with_time():
    for later in ("close", "time"):
        log, shop = Log(), service(precision_target=0.999, suggestions=True)
        shop.unit(log.says(0, "衣服买大了退哪里"))
        if later == "close":
            shop.unit(log.closes(5))
        kind, _ = only(shop.unit(log.says(20 if later == "close" else 601, "1")))
        assert kind == "handover.requested.v1", later


def test_a_follow_up_within_minutes_is_about_the_product_of_before():
    log, shop = Log(), service()
    assert only(shop.unit(log.says(0, "羊毛大衣多少钱")))[1]["text"] == "羊毛大衣的价格是 899 元。"
    assert only(shop.unit(log.says(300, "那有L码吗")))[1]["text"] == "羊毛大衣的尺码：S、M、L"
    # 300 s + 590 s: the answer of 300 s was about it, so that the ten minutes count from there.
    assert only(shop.unit(log.says(890, "多少钱")))[1]["entry_id"] == "P1"


@pytest.mark.parametrize("follow_up_minutes", [0, 10])
def test_a_follow_up_ends_with_its_window(follow_up_minutes):
    log, shop = Log(), service(follow_up_minutes=follow_up_minutes)
    shop.unit(log.says(0, "羊毛大衣多少钱"))
    kind, _ = only(shop.unit(log.says(601, "那有L码吗")))
    assert kind == "handover.requested.v1"


def test_the_product_that_comes_with_the_message_is_meant():
    assert only(service().unit(Log().says(0, "多少钱", product_id="P1")))[1]["entry_id"] == "P1"


def test_an_answer_that_did_not_help_is_not_given_again():
    log, shop = Log(), service()
    shop.unit(log.says(0, "能开发票吗"))
    kind, data = only(shop.unit(log.says(90, "怎么开发票")))
    assert kind == "handover.requested.v1"
    assert data["reason"] == "low_confidence"


def test_the_same_question_again_is_a_repeated_question_and_goes_to_a_person():
    log, shop = Log(), service()
    shop.unit(log.says(0, "能开发票吗"))
    assert only(shop.unit(log.says(90, "能开发票吗")))[1]["reason"] == "repeated_question"


def test_an_entrys_answer_is_counted():
    shop = service()
    shop.unit(Log().says(0, "能开发票吗"))
    assert [(hit.kind, hit.id, hit.answered) for hit in shop.hits] == [("entry", "invoice", 1)]


def test_replayed_in_other_units_the_outputs_are_the_same_bytes():
    def texts(log: Log):
        questions = ("羊毛大衣多少钱", "有S码吗", "退货怎么办理", "能开票吗", "1")
        return [log.says(20.0 * number, text, f"m-{number}") for number, text in enumerate(questions)]

    one, other = service(suggestions=True), service(suggestions=True)
    one.unit(*texts(Log()), now=100)
    for event in texts(Log()):
        other.unit(event, now=100)
    without_offsets = [[json.loads(value)["data"] for value in each.values] for each in (one, other)]
    for told in without_offsets:
        for data in told:
            data.pop("routing_offset")
    assert without_offsets[0] == without_offsets[1]


# --- texts whose vectors are made in one go, before a unit is decided ---------------------------------------------------

CLOSE, FAINT = "请问我的衣服怎么退货呢", "我想问一下昨天你们店里的那件衣服要是退"


def test_of_a_unit_those_texts_are_foreseen_that_the_knowledge_base_will_compare():
    shop = service()
    log, other = Log(), Log("c-2")
    events = [
        log.says(0, CLOSE, "m-1"),  # nobody has a word for it
        log.says(1, FAINT, "m-2"),  # by then somebody has been asked for
        other.says(2, FAINT, "m-3"),
        Log("c-3").says(3, "怎么开发票", "m-4"),  # a phrasing
        Log("c-4").says(4, "请问什么时候发货", "m-5"),  # a rule
        Log("c-5").says(5, "xyzzy plugh", "m-6"),  # nothing shared
    ]
    assert shop.autoreply.to_be_compared(events, {}) == [CLOSE, FAINT]


def test_a_text_for_an_agent_is_not_foreseen_and_one_that_waits_only_where_much_is_shared():
    shop, log = service(), Log()
    shop.unit(log.says(0, "我有事找你们", "m-1"))
    state = {(0, log.subject): shop.state}
    waiting = [log.says(1, FAINT, "m-2"), log.says(2, CLOSE, "m-3")]
    assert shop.autoreply.to_be_compared(waiting, state) == [CLOSE]
    request = request_id(log.subject, "message", "m-1")
    shop.unit(log.queued(3, request, since=0), log.assigned(4, request, "a-1"))
    assert shop.autoreply.to_be_compared([log.says(5, CLOSE, "m-4")], state) == []


async def test_what_was_foreseen_is_encoded_once_and_the_unit_waits_for_it(monkeypatch):
    encoded: list[list[str]] = []
    finished = asyncio.Event()

    async def encode(texts):
        encoded.append(list(texts))
        await finished.wait()

    monkeypatch.setattr(handler, "_encode", encode)
    autoreply = service().autoreply
    first = [Log("c-1").says(0, CLOSE, "m-1"), Log("c-2").says(1, "怎么开发票", "m-2")]
    autoreply.foresee(first, {})
    unit = asyncio.create_task(autoreply.gather(None, first, {}))
    await asyncio.sleep(0.01)
    assert encoded == [[CLOSE]], "by whoever foresaw it, and by nobody else"
    assert not unit.done()
    finished.set()
    await unit

    # Tried again, in halves say, it is a unit like any that nobody foresaw; so is the next one.
    await autoreply.gather(None, first, {})
    assert encoded == [[CLOSE]], "one text alone is made when it is asked for"
    await autoreply.gather(None, [Log("c-3").says(2, CLOSE, "m-3"), Log("c-4").says(3, FAINT, "m-4")], {})
    assert encoded[1:] == [[CLOSE, FAINT]]


async def test_a_record_that_cannot_be_looked_at_beforehand_is_left_to_its_unit(monkeypatch):
    autoreply, events = service().autoreply, [Log().says(0, CLOSE, "m-1")]
    with monkeypatch.context() as patch:
        patch.setattr(type(autoreply), "to_be_compared", lambda *_: 1 / 0)
        autoreply.foresee(events, {})
    assert autoreply.to_be_compared(events, {}) == [CLOSE]
    await autoreply.gather(None, events, {})
