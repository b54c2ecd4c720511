"""What is said of sensitive words beside the outcome of a message, and what they change in it."""

from typing import Any

import pytest
from tests.fixtures.autoreply import Log, Service, book

from deskline.config.rules_document import AutoreplyRule, Handover, Reply, RuleCondition, RulesDocument
from deskline.config.sensitive_document import Category, Sensitive

WORDS = Sensitive(
    shipped=False,
    words={"rude": ("蠢货",), "threat": ("炸掉",), "rival": ("某某商城",), "price": ("底价",), "seen": ("微信",)},
    categories={
        "rude": Category(inbound="mask", flags=("abusive",)),
        "threat": Category(handover=True, flags=("threat",)),
        "rival": Category(outbound="block"),
        "price": Category(outbound="mask"),
        "seen": Category(inbound="none", outbound="none"),
    },
)
RULES = RulesDocument(
    sensitive=WORDS,
    rules=(
        AutoreplyRule(
            rule_id="complaint",
            priority=900,
            when=RuleCondition(any_of=("投诉",)),
            handover=Handover(reason="complaint"),
        ),
        AutoreplyRule(rule_id="rival", when=RuleCondition(any_of=("哪里买",)), reply=Reply(text="去某某商城买")),
        AutoreplyRule(rule_id="price", when=RuleCondition(any_of=("多少钱",)), reply=Reply(text="底价 9 元")),
        AutoreplyRule(rule_id="quiet", when=RuleCondition(any_of=("嗯",)), silent=True),
        AutoreplyRule(
            rule_id="hold",
            when=RuleCondition(any_of=("退款",)),
            reply=Reply(text="请稍等。"),
            handover=Handover(flags=("refund",)),
        ),
        AutoreplyRule(rule_id="hello", when=RuleCondition(any_of=("你好",)), reply=Reply(text="您好")),
    ),
)


def told(*texts: str) -> list[tuple[str, dict[str, Any]]]:
    """The outputs of messages a minute and a half apart, as (type without version, data)."""
    service, log = Service(book(RULES)), Log()
    outputs: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        outputs += service.unit(log.says(90.0 * index, text))
    return [(output["type"].removesuffix(".v1"), output["data"]) for output in outputs]


def flags_of(outputs: list[tuple[str, dict[str, Any]]]) -> list[tuple[Any, ...]]:
    return [
        (data["direction"], data["categories"], data["spans"], data["action"], data.get("masked_text"))
        for kind, data in outputs
        if kind == "message.flagged"
    ]


def test_ordinary_talk_is_not_flagged() -> None:
    assert [kind for kind, _ in told("你好")] == ["reply.issued"]


def test_a_flag_stands_before_the_outcome_which_it_does_not_change() -> None:
    outputs = told("你好，蠢 货！")
    assert [kind for kind, _ in outputs] == ["message.flagged", "reply.issued"]
    assert flags_of(outputs) == [("inbound", ["rude"], [[3, 6, "rude"]], "masked", "你好，***！")]


def test_where_nothing_is_hidden_the_flag_says_none_and_has_no_other_text() -> None:
    assert flags_of(told("你好加微信")) == [("inbound", ["seen"], [[3, 5, "seen"]], "none", None)]


def test_flags_of_the_words_are_raised_on_the_hand_over_whatever_its_reason() -> None:
    kind, data = told("蠢货，退款")[-1]
    assert (kind, data["reason"], data["flags"]) == ("handover.requested", "rule", ["refund", "abusive"])


@pytest.mark.parametrize(
    ("text", "kinds", "reason"),
    [
        ("你好，我要炸掉你们", ["message.flagged", "handover.requested"], "sensitive"),
        ("嗯，炸掉", ["message.flagged", "handover.requested"], "sensitive"),
        ("退款，不然炸掉", ["message.flagged", "reply.issued", "handover.requested"], "sensitive"),
        ("投诉，炸掉", ["message.flagged", "handover.requested"], "complaint"),
    ],
)
def test_grave_words_bring_a_person_and_no_answer(text: str, kinds: list[str], reason: str) -> None:
    outputs = told(text)
    assert [kind for kind, _ in outputs] == kinds
    assert outputs[-1][1]["reason"] == reason
    assert "threat" in outputs[-1][1]["flags"]


def test_grave_words_are_handed_over_although_a_request_is_open() -> None:
    outputs = told("有人吗帮帮我", "什么都没有用", "我要炸掉这里")
    assert [(kind, data.get("reason")) for kind, data in outputs] == [
        ("handover.requested", "no_match"),
        ("message.ignored", "waiting"),
        ("message.flagged", None),
        ("handover.requested", "sensitive"),
    ]


def test_a_blocked_reply_is_not_issued_and_a_person_asked() -> None:
    outputs = told("哪里买")
    assert [kind for kind, _ in outputs] == ["handover.requested", "message.flagged"]
    assert outputs[0][1]["reason"] == "sensitive"
    assert flags_of(outputs) == [("outbound", ["rival"], [[1, 5, "rival"]], "blocked", "去****买")]
    assert outputs[1][1]["message_id"] == outputs[0][1]["message_id"]


def test_a_masked_reply_leaves_masked_and_is_told() -> None:
    outputs = told("多少钱")
    assert [kind for kind, _ in outputs] == ["reply.issued", "message.flagged"]
    assert outputs[0][1]["text"] == "** 9 元"
    assert flags_of(outputs) == [("outbound", ["price"], [[0, 2, "price"]], "masked", "** 9 元")]


def test_a_masked_reply_is_not_sent_twice_in_a_row_either() -> None:
    outputs = told("多少钱", "这个多少钱", "你好", "那个多少钱")
    assert [(kind, data.get("reason") or data.get("text")) for kind, data in outputs if kind != "message.flagged"] == [
        ("reply.issued", "** 9 元"),
        ("handover.requested", "no_match"),
        ("reply.issued", "您好"),
        ("reply.issued", "** 9 元"),
    ]


def test_flags_of_both_directions_about_one_message_have_ids_of_their_own() -> None:
    service, log = Service(book(RULES)), Log()
    outputs = service.unit(log.says(0, "蠢货，多少钱"))
    assert [(output["type"], output["data"].get("direction")) for output in outputs] == [
        ("message.flagged.v1", "inbound"),
        ("reply.issued.v1", None),
        ("message.flagged.v1", "outbound"),
    ]
    assert len({output["id"] for output in outputs}) == 3


def test_what_an_agent_wrote_is_flagged_once_and_cannot_be_blocked_any_more() -> None:
    service, log = Service(book(RULES)), Log()
    service.unit(log.says(0, "你好"))
    (flagged,) = service.unit(log.writes(5, text="某某商城便宜"))
    assert flagged["type"] == "message.flagged.v1"
    assert (flagged["data"]["direction"], flagged["data"]["action"]) == ("outbound", "masked")
    assert flagged["data"]["masked_text"] == "****便宜"
    assert service.unit(log.writes(6)) == []


def test_a_machines_own_sent_messages_are_not_flagged_again() -> None:
    service, log = Service(book(RULES)), Log()
    assert service.unit(log.writes(1, "autoreply", kind="bot", text="某某商城")) == []


def test_in_shadow_nothing_is_said_of_a_reply_that_is_not_sent() -> None:
    service, log = Service(book(RULES.model_copy(update={"shadow": True}))), Log()
    assert [output["type"] for output in service.unit(log.says(0, "哪里买"))] == ["message.ignored.v1"]
