"""Actions, and what keeps the robot from getting on people's nerves: no human waits because of it."""

import json

import pytest
from tests.fixtures.autoreply import Log, Service, book, us

from deskline.config.rules_document import RulesDocument
from deskline.text import fold
from deskline_autoreply.achievements_store import Rest
from deskline_autoreply.policy.history import digest
from deskline_autoreply.policy.manners import digests, is_echo

HANDED = "handover no_match"


def service_with(*rules: dict, subject: str = "c-1", **document) -> Service:
    named = [{"rule_id": f"r{number}", **rule} for number, rule in enumerate(rules)]
    made = RulesDocument.model_validate_json(json.dumps({"rules": named, **document}))
    return Service(book(made), subject)


def reply(text: str, **rest) -> dict:
    return {"reply": {"text": text}, **rest}


def on(*words: str) -> dict:
    return {"any_of": words}


# --- actions ------------------------------------------------------------------------------------------------------------


def test_tags_are_flags_of_the_hand_over_that_follows_and_the_next_rule_is_asked():
    log = Log()
    service = service_with(
        {"when": on("急"), "tags": ["urgent"], "priority": 500},
        reply("在的", when=on("在吗")),
        {"when": on("投诉"), "handover": {"reason": "complaint", "flags": ["complaint"]}},
    )
    assert service.answer(log.says(0, "急急急，在吗")) == "reply r1"
    (handover,) = service.unit(log.says(5, "我要投诉"))
    assert handover["data"]["flags"] == ["complaint", "urgent"]
    assert [(hit.id, hit.tagged) for hit in service.hits if hit.tagged] == [("r0", 1)]


def test_tags_end_with_the_conversation():
    log = Log()
    service = service_with({"when": on("急"), "tags": ["urgent"]})
    service.unit(log.says(0, "急"), log.closes(10))
    (handover,) = service.unit(log.says(20, "你好"))
    assert handover["data"]["flags"] == []


def test_a_silent_rule_says_nothing_and_nobody_is_asked():
    log = Log()
    service = service_with({"when": {"exact": ["好的", "谢谢"]}, "silent": True})
    (ignored,) = service.unit(log.says(0, "谢谢！"))
    assert (ignored["data"]["reason"], ignored["data"]["rule_id"]) == ("cooldown", "r0")
    assert service.answer(log.says(5, "谢谢你的发票呢")) == HANDED
    assert [(hit.id, hit.silenced, hit.handed_over) for hit in service.hits] == [("r0", 1, 0), ("", 0, 1)]


# --- the same text, the limit, loops ------------------------------------------------------------------------------------


def test_the_same_text_is_not_sent_twice_in_a_row_but_again_after_another():
    log = Log()
    service = service_with(reply("48 小时内发货", when=on("发货")), reply("中通", when=on("快递")))
    assert service.answer(log.says(0, "发货吗")) == "reply r0"
    assert service.answer(log.says(5, "什么快递")) == "reply r1"
    assert service.answer(log.says(10, "几时发货")) == "reply r0"
    assert service.answer(log.says(15, "发货了没")) == HANDED


def test_after_so_many_replies_in_a_conversation_a_person_is_asked_for_with_the_reason():
    log = Log()
    rules = [reply(f"答{n}", when=on(f"问{n}")) for n in range(3)]
    service = service_with(*rules, guard={"max_replies": 2})
    assert [service.answer(log.says(n * 100, f"问{n}")) for n in range(2)] == ["reply r0", "reply r1"]
    (handover,) = service.unit(log.says(200, "问2"))
    assert (handover["data"]["reason"], handover["data"]["flags"]) == ("no_match", ["reply_limit"])
    service.unit(log.closes(300))
    assert service.answer(log.says(400, "问2")) == "reply r2"  # a new conversation counts anew


def test_a_fast_loop_ends_with_a_person_and_nothing_is_said_in_the_open_request():
    log = Log()
    rules = [reply(f"答{n}", when=on(f"问{n}")) for n in range(8)]
    service = service_with(*rules, guard={"loop_replies": 3, "loop_s": 10})
    # Replies for the messages at 0, 2 and 4 s: the one at 6 s has three within 10 s before it.
    told = [service.answer(log.says(second, f"问{second // 2}")) for second in (0, 2, 4)]
    assert told == ["reply r0", "reply r1", "reply r2"]
    (handover,) = service.unit(log.says(6, "问3"))
    assert handover["data"]["flags"] == ["loop"]
    assert service.answer(log.says(8, "问4")) == "ignored waiting"
    # At 15 s none lies within 10 s before (the last was at 4 s): whoever writes at that pace is answered.
    assert service.answer(log.says(15, "问5")) == "reply r5"


# --- machines and echoes -------------------------------------------------------------------------------------------------


def test_a_machine_gets_no_answer_and_no_person():
    log = Log()
    service = service_with(reply("在的", when=on("在吗")), guard={"bots": ["shop-bot"], "bot_patterns": ["^monitor-"]})
    assert service.answer(log.says(0, "在吗", customer="shop-bot")) == "ignored cooldown"
    assert service.answer(log.says(1, "没有规则", customer="monitor-7")) == "ignored cooldown"
    assert service.answer(log.says(2, "在吗", customer="u-1")) == "reply r0"


OURS = "您好，客服的工作时间是 9:00-22:00\n请留下您的订单号"


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        (OURS, True),
        ("您好，客服的工作时间是9:00-22:00 请留下您的订单号", True),
        ("> 您好，客服的工作时间是 9:00-22:00\n> 请留下您的订单号", True),
        ("「您好，客服的工作时间是 9:00-22:00」", True),
        ("[自动回复] 请留下您的订单号", True),
        ("客服：请留下您的订单号", True),
        ("> 请留下您的订单号\n订单号是 12345", False),  # a person quotes and answers
        ("请留下您的订单号是什么意思", False),
        ("您好", False),
        ("", False),
    ],
)
def test_an_echo_is_our_own_text_again_whatever_stands_around_it(text, echo):
    assert is_echo([digests(OURS)], text, digest(fold(text))) is echo


def test_an_echo_is_not_answered():
    log = Log()
    service = service_with(reply(OURS, when=on("你好")), reply("什么订单？", when=on("订单")))
    assert service.answer(log.says(0, "你好")) == "reply r0"
    assert service.answer(log.says(1, OURS)) == "ignored cooldown"
    assert service.answer(log.says(2, "没有订单")) == "reply r1"


@pytest.mark.parametrize("line", ["1. 退换货怎么办理", "②发票怎么开具呢", "３）转人工客服服务"])
def test_a_line_to_choose_from_is_no_echo_and_the_whole_list_is(line):
    text = f"请问您想了解哪一项？\n{line}\n都不是请直接说"
    said = [digests(text)]
    assert not is_echo(said, line, digest(fold(line)))
    assert is_echo(said, "请问您想了解哪一项？", digest(fold("请问您想了解哪一项？")))
    assert is_echo(said, text, digest(fold(text)))
    hours = "9:00-22:00 客服在线"  # no line to choose
    assert is_echo([digests(f"您好\n{hours}")], hours, digest(fold(hours)))


def test_people_say_ok_as_we_do():
    assert not is_echo([digests("好的")], "好的", digest("好的"))


# --- cooldown ------------------------------------------------------------------------------------------------------------


def test_a_rule_rests_for_a_customer_over_his_conversations_and_nobody_waits():
    rules = [reply("欢迎光临", when=on("你好"), cooldown_s=3600)]
    first = service_with(*rules)
    assert first.answer(Log().says(0, "你好")) == "reply r0"
    second = service_with(*rules, subject="c-2")
    second.resting = first.resting
    log = Log("c-2")
    assert second.answer(log.says(3599.999999, "你好啊")) == HANDED
    service = service_with(*rules, subject="c-3")
    service.resting = first.resting
    log = Log("c-3")
    assert service.answer(log.says(10, "你好", customer="u-2")) == "reply r0"  # another customer
    assert service.answer(log.says(3600, "你好吗")) == "reply r0"  # u-1 again, an hour after


def test_a_resting_rule_that_hands_over_does_so_without_its_words():
    service = service_with(reply("正在转接", when=on("人工"), handover={"reason": "asked_for_human"}), cooldown_s=60)
    service.resting.add(Rest("shop-1", "u-1", "r0", us(50)))
    assert service.answer(Log().says(49, "人工")) == "handover asked_for_human"


def test_a_resting_rule_gives_way_to_the_next():
    log = Log()
    service = service_with(
        reply("欢迎光临", when=on("你好"), cooldown_s=3600, priority=200), reply("在的", when=on("你好"))
    )
    assert [service.answer(log.says(0, "你好")), service.answer(log.says(5, "你好呀"))] == ["reply r0", "reply r1"]


# --- what is counted -----------------------------------------------------------------------------------------------------


def test_answers_what_followed_and_ratings_are_counted_for_rule_and_entry():
    log = Log()
    service = service_with(
        {"when": on("发货"), "reply": {"text": "48 小时", "entry_id": "faq-7"}}, reply("中通", when=on("快递"))
    )
    service.unit(log.says(0, "发货吗"), log.says(5, "什么快递"))
    service.unit(log.says(10, "没有规则"), log.says(15, "还是没有规则"))
    service.unit(log.closes(20), log.rates(30, 4), log.rates(31, 1))
    totals: dict[tuple[str, str], list[int]] = {}
    for hit in service.hits:
        counts = totals.setdefault((hit.kind, hit.id), [0, 0, 0, 0, 0])
        new = hit.answered, hit.handed_over, hit.followed, hit.rated, hit.score_sum
        totals[hit.kind, hit.id] = [before + more for before, more in zip(counts, new, strict=True)]
    assert totals == {
        # answered, handed over, followed by a person once, rated once: the first rating counts
        ("rule", "r0"): [1, 0, 1, 1, 4],
        ("entry", "faq-7"): [1, 0, 1, 1, 4],
        ("rule", "r1"): [1, 0, 1, 1, 4],
        ("fallback", ""): [0, 1, 0, 0, 0],
    }


def test_a_rating_counts_for_the_conversation_that_it_rates():
    log = Log()
    service = service_with(reply("48 小时", when=on("发货")), reply("中通", when=on("快递")))
    service.unit(log.says(0, "发货吗"), log.closes(10), log.says(20, "什么快递"), log.rates(30, 5))
    assert [(hit.id, hit.score_sum) for hit in service.hits if hit.rated] == [("r1", 5)]


def test_nothing_is_counted_or_rests_for_a_shop_in_shadow():
    log = Log()
    service = service_with(reply("欢迎", when=on("你好"), cooldown_s=60), shadow=True)
    assert service.answer(log.says(0, "你好")) == "ignored shadow"
    assert service.hits == []
    assert service.resting.at("shop-1", "u-1", us(1), {"r0": 60_000_000}) == frozenset()
