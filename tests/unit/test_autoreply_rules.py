"""Which rule a message meets, and the fold that keywords are compared by."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deskline.config.rules_document import AutoreplyRule, Handover, Reply, RuleCondition, RulesDocument
from deskline.text import fold
from deskline_autoreply.policy.rules import Asked, Compiled


def asked(text: str = "你好", **other: object) -> Asked:
    known: dict = {
        "is_open": True,
        "first_message": False,
        "attachment": False,
        "tier": "regular",
        "channel": "web",
        "entry_point": None,
        "language": None,
    }
    return Asked(text=fold(text), **{**known, **other})


def rule(rule_id: str, priority: int = 100, **when: object) -> AutoreplyRule:
    return AutoreplyRule(
        rule_id=rule_id, priority=priority, when=RuleCondition(**when), reply=Reply(text=f"{rule_id} 的答复")
    )


def first(rules: list[AutoreplyRule], question: Asked) -> str | None:
    found = Compiled(RulesDocument(rules=tuple(rules))).first(question)
    return found.rule_id if found is not None else None


@pytest.mark.parametrize(
    ("when", "question", "meets"),
    [
        ({"any_of": ("退款", "退钱")}, asked("我想退钱"), True),
        ({"any_of": ("退款", "退钱")}, asked("我想退"), False),
        ({"any_of": ("REFUND",)}, asked("Can I get a re fund?"), True),  # blanks and case aside
        ({"any_of": ("ＲＥＦＵＮＤ",)}, asked("refund"), True),
        ({"any_of": ("refund",)}, asked("re\u200bfund"), True),
        ({"all_of": ("订单", "取消")}, asked("取消这个订单"), True),
        ({"all_of": ("订单", "取消")}, asked("取消"), False),
        ({"none_of": ("投诉",)}, asked("你好"), True),
        ({"none_of": ("投诉",)}, asked("我投诉"), False),
        ({"exact": ("你好", "在吗")}, asked(" 在 吗 "), True),
        ({"exact": ("你好", "在吗")}, asked("你好呀"), False),
        ({"any_of": ("aa", "a")}, asked("a"), True),
        ({"all_of": ("aab", "ab", "b")}, asked("caab"), True),  # keywords that overlap and contain each other
        ({"any_of": ("你",), "all_of": ("好",), "none_of": ("吗",)}, asked("你好"), True),
        ({"any_of": ("你",), "all_of": ("好",), "none_of": ("吗",)}, asked("你好吗"), False),
        ({"any_of": ("你",), "exact": ("他",)}, asked("他"), False),
        ({"open": True}, asked(is_open=True), True),
        ({"open": True}, asked(is_open=False), False),
        ({"open": False}, asked(is_open=False), True),
        ({"surge": True}, asked(surge=True), True),
        ({"surge": True}, asked(), False),
        ({"surge": False}, asked(surge=True), False),
        ({"first_message": True}, asked(first_message=True), True),
        ({"first_message": False}, asked(first_message=True), False),
        ({"attachment": True}, asked("", attachment=True), True),
        ({"attachment": False}, asked(attachment=True), False),
        ({"tiers": ("vip", "gold")}, asked(tier="gold"), True),
        ({"tiers": ("vip",)}, asked(), False),
        ({"channels": ("app",)}, asked(channel="app"), True),
        ({"channels": ("app",)}, asked(), False),
        ({"entry_points": ("order",)}, asked(entry_point="order"), True),
        ({"entry_points": ("order",)}, asked(), False),
        ({"languages": ("en",)}, asked(language="en"), True),
        ({"languages": ("en",)}, asked(), False),
        ({}, asked(), True),
    ],
)
def test_all_conditions_that_are_present_must_match(when, question, meets):
    assert (first([rule("r", **when)], question) == "r") is meets
    # Among so many keywords the automaton takes the place of one search per keyword; the answer is the same.
    many = [rule(f"other-{n}", any_of=(f"词{n}甲", f"词{n}乙")) for n in range(20)]
    assert (first([*many, rule("r", **when)], question) == "r") is meets


def test_the_greater_priority_is_tried_first_and_among_equals_the_order_in_the_file():
    rules = [rule("low", 10), rule("a", 50), rule("b", 50), rule("high", 90, any_of=("退",))]
    assert first(rules, asked("退")) == "high"
    assert first(rules, asked("换")) == "a"
    assert first(rules[2:], asked("换")) == "b"


def test_without_a_rule_that_matches_there_is_none():
    assert first([], asked()) is None
    assert first([rule("r", any_of=("退",))], asked()) is None


def test_an_explanation_names_the_first_condition_that_fails_and_stops_at_the_rule_that_decides():
    compiled = Compiled(
        RulesDocument(
            rules=(
                rule("refund", any_of=("退款",)),
                rule("night", any_of=("你好",), open=False),
                rule("hello", any_of=("你好",)),
                rule("never seen"),
            )
        )
    )
    told = [(passed.rule_id, failed) for passed, failed in compiled.explain(asked("你好"))]
    assert told == [("refund", "any_of"), ("night", "open"), ("hello", None)]


WORDS = ["a", "b", "ab", "ba", "aba", "bb", "c"]
keywords = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(tuple))
conditions = st.fixed_dictionaries(
    dict.fromkeys(("any_of", "all_of", "none_of", "exact"), keywords)
    | {name: st.sampled_from([None, None, True, False]) for name in ("open", "first_message", "attachment")}
)


def naive(when: dict, question: Asked) -> bool:
    text = question.text
    return all(
        (
            when["any_of"] is None or any(word in text for word in when["any_of"]),
            when["all_of"] is None or all(word in text for word in when["all_of"]),
            when["none_of"] is None or not any(word in text for word in when["none_of"]),
            when["exact"] is None or text in when["exact"],
            when["open"] in (None, question.is_open),
            when["first_message"] in (None, question.first_message),
            when["attachment"] in (None, question.attachment),
        )
    )


@given(
    st.lists(st.tuples(conditions, st.integers(0, 3)), max_size=12),
    st.text("abc", max_size=6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_the_compiled_rules_decide_as_one_look_at_each_would(drawn, text, is_open, first_message, attachment, many):  # noqa: PLR0917
    question = asked(text, is_open=is_open, first_message=first_message, attachment=attachment)
    rules = [rule(f"r{n}", priority, **when) for n, (when, priority) in enumerate(drawn)]
    expected = next(
        (f"r{n}" for n, (when, _) in sorted(enumerate(drawn), key=lambda item: -item[1][1]) if naive(when, question)),
        None,
    )
    others = [rule(f"other-{n}", 0, any_of=(f"x{n}y",)) for n in range(20)] if many else []
    assert first([*rules, *others], question) == expected


# --- refused rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"rules": [{"rule_id": "r", "when": {"any_of": []}, "reply": {"text": "好"}}]}, "at least 1 item"),
        (
            {"rules": [{"rule_id": "r", "when": {"any_of": ["\u200b\u200b"]}, "reply": {"text": "好"}}]},
            "match every message",
        ),
        ({"rules": [{"rule_id": "r", "when": {"channels": []}, "reply": {"text": "好"}}]}, "at least 1 item"),
        ({"rules": [{"rule_id": "r", "reply": {"text": " \n"}}]}, "shows nothing"),
        ({"rules": [{"rule_id": "r\n", "reply": {"text": "好"}}]}, "control characters"),
        ({"rules": [{"rule_id": "r"}]}, "neither replies nor hands over"),
        ({"rules": [{"rule_id": "r", "reply": {"text": "好"}}] * 2}, "listed twice"),
        ({"rules": [{"rule_id": "r", "handover": {"skills": ["s"] * 65}}]}, "at most 64"),
        ({"fallback": {"reason": "because"}}, "no_match"),
    ],
)
def test_rules_that_can_only_be_a_mistake_are_refused(document, why):
    with pytest.raises(ValidationError, match=why):
        RulesDocument.model_validate(document)


def test_the_fallback_hands_over_for_want_of_a_match():
    assert RulesDocument().fallback == Handover(reason="no_match")


# --- the fold ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Hello World", "helloworld"),
        ("ＨＥＬＬＯ　１２３", "hello123"),
        ("Straße", "strasse"),
        ("①②", "12"),
        ("ﬁn", "fin"),
        ("e\u0301", "é"),
        ("가", unicodedata.normalize("NFKC", "가")),
        ("a\tb\nc\r\u2028d\u3000e", "abcde"),
        ("零\u200b宽\u200d字\ufeff", "零宽字"),
        ("a\x00b\x1fc\x7f", "abc"),
        ("❤\ufe0f", "❤"),
        ("👍🏽", "👍🏽"),
        ("\u202e\u2066\u061c", ""),
        ("\u3164\uffa0\u115f\u2800", ""),
        ("\U000e0041", ""),
        ("。", "。"),
    ],
)
def test_fold(text, folded):
    assert fold(text) == folded


# Format characters (Cf) that show something: Unicode's Prepended_Concatenation_Mark (signs that span the digits behind
# them, the Arabic end of ayah among them), and the controls that stack hieroglyphs, which are not default-ignorable.
INK = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}


@given(st.text(max_size=12))
@settings(max_examples=500, deadline=None)
def test_folding_twice_changes_nothing_and_leaves_nothing_without_ink(text):
    once = fold(text)
    assert fold(once) == once
    assert unicodedata.is_normalized("NFKC", once)
    # A fixed point of both together: U+1E97 folds to two characters, which compose to it again.
    assert unicodedata.normalize("NFKC", once.casefold()) == once
    bare = (character for character in once if ord(character) not in INK)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") for character in bare)


def test_a_sign_that_shows_is_no_blank_although_it_formats():
    assert fold("\u08e2") == "\u08e2"
    # Cn: not assigned yet in the Unicode of older Pythons.
    assert all(unicodedata.category(chr(number)) in ("Cf", "Cn") for number in INK)
    for number in range(0x110000):
        if unicodedata.category(chr(number)) == "Cf" and number not in INK:
            assert not fold(chr(number)), hex(number)


def test_every_single_character_folds_to_a_fixed_point():
    for number in range(0x110000):
        if not 0xD800 <= number < 0xE000:
            once = fold(chr(number))
            assert fold(once) == once, hex(number)
