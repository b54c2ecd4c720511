"""Conditions about the text: what a rule finds, and that the fast engine finds what a plain loop finds."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deskline.config.rule_patterns import check_pattern, check_phrase, compile_pattern, compile_phrase, literals_of
from deskline.config.rules_document import RulesDocument
from deskline.folding import deep_text
from deskline.text import fold, readable
from deskline_autoreply.policy.rules import Asked, Compiled
from deskline_autoreply.policy.rules.compiled import is_deep
from deskline_autoreply.policy.rules.finding import finder


def asked(text: str) -> Asked:
    return Asked(
        text=deep_text(text),
        plain=fold(text),
        readable=readable(text),
        is_open=True,
        first_message=False,
        attachment=False,
        tier="regular",
        channel="web",
        entry_point=None,
        language=None,
    )


def rules(*conditions: dict) -> Compiled:
    return Compiled(
        RulesDocument.model_validate(
            {"rules": [{"rule_id": f"r{n}", "when": when, "silent": True} for n, when in enumerate(conditions)]}
        )
    )


def decides(text: str, *conditions: dict) -> str | None:
    rule = rules(*conditions).first(asked(text))
    return None if rule is None else rule.rule_id


@pytest.mark.parametrize(
    ("text", "when", "matches"),
    [
        ("我要退 款！", {"any_of": ("退款",)}, True),
        ("我要退​款", {"any_of": ("退款",)}, True),  # noqa: PLE2515 - a zero-width blank between the two
        ("我要退👍款", {"any_of": ("退款",)}, True),
        ("我要退.款", {"any_of": ("退款",)}, True),
        ("訂單什麼時候發貨", {"any_of": ("什么时候发货",)}, True),
        ("ＲＥＦＵＮＤ please", {"any_of": ("refund",)}, True),
        ("退货", {"any_of": ("退款",)}, False),
        # Signs are compared where there is nothing else.
        ("？", {"exact": ("?",)}, True),
        ("在吗？", {"exact": ("?",)}, False),
        ("在吗？", {"exact": ("在吗",)}, True),
        ("do you know C++", {"any_of": ("c++",)}, True),
        ("do you know C", {"any_of": ("c++",)}, False),
        # 退 a 款: gap of 1; 退 + 7 characters + 款: one too many for {0,6}.
        ("退款", {"phrases": ("退…{0,6}款",)}, True),
        ("退一下这个款", {"phrases": ("退…{0,6}款",)}, True),
        ("退1234567款", {"phrases": ("退…{0,6}款",)}, False),
        ("退123456款", {"phrases": ("退…{0,6}款",)}, True),
        ("款退", {"phrases": ("退…{0,6}款",)}, False),
        ("退12345678款", {"phrases": ("退……款",)}, True),  # … alone: up to 8
        ("退123456789款", {"phrases": ("退…款",)}, False),
        ("订单 12345 什么时候 退 款", {"phrases": ("订单…{1,20}什么时候…退款",)}, True),
        # A regular expression sees the text as it reads, and the folded one.
        ("order NO. 12-34", {"patterns": (r"no\. \d+-\d+",)}, True),
        ("退 款", {"patterns": ("退款$",)}, True),
        ("退款吧", {"patterns": ("退款$",)}, False),
        ("电话 １３８００１３８０００", {"patterns": (r"\b1\d{10}\b",)}, True),
        ("第一行\n第二行", {"patterns": ("第一行.第二行",)}, True),
        # All conditions must hold.
        ("退款多久到账", {"any_of": ("退款",), "none_of": ("到账",)}, False),
        ("退款和发票", {"all_of": ("退款", "发票")}, True),
        ("退款", {"all_of": ("退款", "发票")}, False),
        ("退款", {"any_of": ("退款",), "patterns": ("发票",)}, False),
    ],
)
def test_a_condition_looks_at_characters_whatever_stands_between_them(text, when, matches):
    assert (decides(text, when) == "r0") is matches


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "invalid escape sequence"),
        ("a(?=b)", "invalid perl operator"),
        ("(?<!不)退款", "invalid perl operator"),
        ("(a{1000}){1000}", "invalid repetition size"),
        (".{0,1000}" * 20 + "x", "too large"),
        ("[", "missing ]"),
        ("a*", "matches an empty text"),
        ("  ", "empty"),
    ],
)
def test_a_pattern_of_no_linear_or_bounded_engine_is_refused_with_its_reason(pattern, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_pattern(pattern)


@pytest.mark.parametrize("phrase", ["退款", "…退款", "退…{6,2}款", "退…{0,99}款", "退…！…款"])
def test_a_phrase_without_words_around_bounded_gaps_is_refused(phrase):
    with pytest.raises(ValueError, match=r"phrase|gap"):
        check_phrase(phrase)


def test_the_document_refuses_what_the_engine_refuses_at_its_path():
    with pytest.raises(ValidationError) as refused:
        rules({"patterns": ("退款", "a(?=b)")})
    assert refused.value.errors()[0]["loc"] == ("rules", 0, "when", "patterns", 1)


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("退款", {"退款"}),
        ("Refund", {"refund"}),
        ("退.{0,6}款项", {"款项"}),
        ("(退款|退货)单", {"退款", "退货"}),
        ("退?款", {"款"}),
        ("退+款", {"退"}),
        (r"\d+", None),
        ("(?i)退款", None),
        ("退款|", None),
        ("[退款]", None),
        ("(?:退款)*发票", {"发票"}),
        ("退.款", {"退"}),
        ("退 款单", {"款单"}),
        (r"\p{Han}退款", {"退款"}),
    ],
)
def test_what_a_pattern_cannot_match_without_is_read_from_it(pattern, literals):
    assert literals_of(pattern) == (None if literals is None else frozenset(literals))


# Few letters, so that words meet; signs that the fold drops, folds and composes.
ALPHABET = "退款货Aa1 .？！k\u212as\u017f退\u200b\u0301é訂单e👍"
TEXTS = st.text(ALPHABET, max_size=14)
WORDS = st.text("退款货a1.？单e", min_size=1, max_size=3).filter(fold)
PATTERNS = st.recursive(
    st.sampled_from(["退", "款", "货", "a", "1", "k", "s", "e", ".", r"\d", "[退款]", r"\.", " "]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["?", "+", "*", "{2}", "{0,2}"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
).filter(lambda pattern: bool(pattern.strip()) and compile_pattern(pattern).search(b"") is None)
PHRASES = st.tuples(
    st.text("退款货a1", min_size=1, max_size=2),
    st.sampled_from(["…", "…{0,2}", "…{1,3}"]),
    st.text("退款货a1", min_size=1, max_size=2),
).map("".join)
LISTS = {
    "any_of": st.lists(WORDS, min_size=1, max_size=4).map(tuple),
    "all_of": st.lists(WORDS, min_size=1, max_size=2).map(tuple),
    "none_of": st.lists(WORDS, min_size=1, max_size=2).map(tuple),
    "exact": st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    "phrases": st.lists(PHRASES, min_size=1, max_size=2).map(tuple),
    "patterns": st.lists(PATTERNS, min_size=1, max_size=2).map(tuple),
}
CONDITIONS = st.lists(st.fixed_dictionaries({}, optional=LISTS), min_size=1, max_size=24)


def naive(text: str, when: dict) -> bool:
    """The meaning of the conditions, rule by rule, without any index."""
    deep, plain, reads = deep_text(text), fold(text), readable(text)

    def contains(word: str) -> bool:
        return deep_text(word) in deep if is_deep(deep_text(word), word) else fold(word) in plain

    def equals(word: str) -> bool:
        return deep_text(word) == deep if is_deep(deep_text(word), word) else fold(word) == plain

    def found(pattern: str) -> bool:
        search = compile_pattern(pattern).search
        return search(deep.encode()) is not None or search(reads.encode()) is not None

    return (
        ("any_of" not in when or any(map(contains, when["any_of"])))
        and ("all_of" not in when or all(map(contains, when["all_of"])))
        and ("none_of" not in when or not any(map(contains, when["none_of"])))
        and ("exact" not in when or any(map(equals, when["exact"])))
        and ("phrases" not in when or any(_phrase(deep, phrase) for phrase in when["phrases"]))
        and ("patterns" not in when or any(map(found, when["patterns"])))
    )


def _phrase(deep: str, phrase: str) -> bool:
    first, gap, last = re.fullmatch(r"(\w+)…(?:\{(\d,\d)\})?(\w+)", phrase).groups()
    low, high = map(int, (gap or "0,8").split(","))
    ends = [at + len(first) for at in range(len(deep)) if deep.startswith(first, at)]
    return any(deep.startswith(last, end + skip) for end in ends for skip in range(low, high + 1))


@given(CONDITIONS, st.lists(TEXTS, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_the_engine_matches_exactly_the_rules_that_a_plain_loop_matches(conditions, texts):
    compiled = rules(*conditions)
    for text in texts:
        matched = [rule.rule_id for rule in compiled.matching(asked(text))]
        assert matched == [f"r{n}" for n, when in enumerate(conditions) if naive(text, when)]
        expected = [(rule.rule_id, failed is None) for rule, failed in compiled.explain(asked(text))]
        assert [rule_id for rule_id, holds in expected if holds] == matched[:1]


@given(st.sets(st.text("ab退款👍\u0301\U00020000", min_size=1, max_size=3), min_size=1, max_size=40), TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_automaton_and_the_loop_find_the_same_words(words, text):
    ordered = sorted(words)
    padded = [*ordered, *(f"zz{n}" for n in range(16))]
    text += "a退\U00020000👍"
    for some in (ordered, padded):  # the loop where there are few, the automaton
        assert set(finder(some)(text)) == {n for n, word in enumerate(some) if word in text}


@given(PHRASES, TEXTS)
@settings(max_examples=300, deadline=None)
def test_a_compiled_phrase_is_its_words_with_the_gaps_counted_out(phrase, text):
    deep = deep_text(text)
    assert (compile_phrase(phrase).search(deep.encode()) is not None) is _phrase(deep, phrase)
