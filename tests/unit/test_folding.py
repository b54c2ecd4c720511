"""The deep fold: what is taken off, and the way back to the original."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deskline.folding import deep_fold, deep_text

# Every kind of disguise beside what is disguised, so that short examples mix them.
TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            "退款請發貨fuckＦⓊ🅲ⒸéÉ①➀3٣ \t\n.-·，。😀\u200b\u200d\u202e\ufe0f\u0301\u0338ｶﾞがｶﾊﾟ각\u1112\u1161\u11abßİſK㎏ﬀ裏黃"
        ),
        st.characters(exclude_categories=("Cs",)),
    )
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("FuCK", "fuck"),
        ("ｆｕｃｋ１２", "fuck12"),
        ("Ⓕⓤc⒦", "fuck"),
        ("🅱aidu", "baidu"),
        ("𝕗𝖚𝓬𝚔", "fuck"),
        ("ꜰᴜᴄᴋ", "fuck"),
        ("①➁⒊", "123"),
        ("f̶ú̶cḱ", "fuck"),
        ("五星紅旗", "五星红旗"),
        ("壹佰贰拾叁億肆仟伍佰陆拾柒萬", "壹佰贰拾叁亿肆仟伍佰陆拾柒万"),
        ("這裡 裏面", "这里里面"),
        ("退\u200b款\u202e吗\u00ad\ufeff", "退款吗"),
        ("退 款\u3000吗\n", "退款吗"),
        ("傻@#￥%逼", "傻逼"),
        ("毛---主---席", "毛主席"),
        ("退😀款❤️👨‍👩‍👧", "退款"),
        ("？！…", ""),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("\u1112\u1161\u11ab국", "한국"),
        ("Straße", "strasse"),
    ],
)
def test_disguises_are_taken_off(text: str, folded: str) -> None:
    assert deep_text(text) == folded
    assert deep_fold(text).text == folded


@given(TEXTS)
@example("か\u3000\u3099")
def test_the_fast_fold_and_the_one_with_the_way_back_are_one_and_folding_twice_changes_nothing(text: str) -> None:
    folded = deep_text(text)
    assert deep_fold(text).text == folded
    assert deep_text(folded) == folded


@given(TEXTS)
def test_compatible_texts_fold_to_the_same(text: str) -> None:
    assert deep_text(unicodedata.normalize("NFKC", text)) == deep_text(text)


@given(TEXTS, st.data())
def test_a_span_covers_what_its_characters_came_from(text: str, data: st.DataObject) -> None:
    folded = deep_fold(text)
    length = len(folded.text)
    assert len(folded.starts) == length + 1
    assert len(folded.ends) == length
    if length:
        start = data.draw(st.integers(0, length - 1))
        end = data.draw(st.integers(start + 1, length))
        first, last = folded.span(start, end)
        assert 0 <= first < last <= len(text)
        # The part folds to a text that holds the hit; at its ends a character that became several may bring more.
        assert folded.text[start:end] in deep_text(text[first:last])


def test_a_span_leaves_out_what_was_dropped_around_it() -> None:
    text = "你好，傻@冒！再见"
    folded = deep_fold(text)
    at = folded.text.index("傻冒")
    assert folded.span(at, at + 2) == (3, 6)
    assert text[3:6] == "傻@冒"


@pytest.mark.parametrize(
    ("text", "word", "whole"),
    [
        ("av", "av", True),
        ("nav", "av", False),
        ("have", "av", False),
        ("have a nice", "av", False),
        ("an av here", "av", True),
        ("1av2", "av", True),
        ("测av试", "av", True),
        ("_av_", "av", True),
        ("na\u200bv", "av", False),  # what shows nothing parts nothing
        ("n a.v", "av", True),
        ("a123b", "123", True),
        ("01234", "123", False),
        ("0 1 2 3 4", "123", True),
        ("ａｂｃddb", "abc", False),
        ("你好吗", "好", True),
    ],
)
def test_a_hit_is_whole_where_it_cuts_no_word_and_no_number(text: str, word: str, whole: bool) -> None:
    folded = deep_fold(text)
    at = folded.text.index(word)
    assert folded.is_whole(at, at + len(word)) is whole
