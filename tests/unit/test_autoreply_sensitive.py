"""The filter by its own list: what is found where, what is let go, what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deskline.config.sensitive_document import Category, Contacts, Evasions, PersonalData, Sensitive
from deskline.config.sensitive_list import ALLOWED, shipped
from deskline.folding import deep_text
from deskline_autoreply.policy.sensitive import Filter, Finding


def filter_of(*words: str, category: str = "own", **fields) -> Filter:
    return Filter(Sensitive(shipped=False, words={category: words}, **fields))


def found(filter_: Filter, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in filter_.hits(text)]


DISGUISES = [
    ("zero-width", "赌\u200b博\u200d网\u2060站"),
    ("direction marks", "赌\u202e博网站"),
    ("blanks", "赌 博　网站"),
    ("punctuation", "赌*博-网|站"),
    ("emoji", "赌😀博👨‍👩‍👧网站"),
    ("traditional", "賭博網站"),
    ("repeats", "赌赌赌博网站站"),
    ("homophones", "堵伯王占"),
    ("strokes as signs", "赌丶博丨网站"),
]


@pytest.mark.parametrize("written", [written for _, written in DISGUISES], ids=[name for name, _ in DISGUISES])
def test_a_word_is_found_in_every_disguise_at_its_place_in_the_original(written: str) -> None:
    filter_ = filter_of("赌博网站")
    text = f"你好，{written}！在吗"
    (hit,) = filter_.hits(text)
    assert text[hit.start : hit.end] == written
    assert (hit.category, hit.word) == ("own", "赌博网站")


@pytest.mark.parametrize(
    "written", ["ＦＵＣＫ", "Ⓕⓤc⒦", "𝐟𝓾𝕔𝖐", "f.u.c.k", "f u c k", "fuuuck", "fuсk", "f̶u̶c̶k", "🅵🅄🅒ᴋ"]
)
def test_latin_words_are_found_in_every_style(written: str) -> None:
    assert found(filter_of("fuck"), f"what the {written} is it") == [written]


def test_every_disguise_can_be_switched_off() -> None:
    off = Evasions(repeats=False, homophones=False, lookalikes=False)
    filter_ = filter_of("赌博网站", "fuck", evasions=off)
    for written in ("赌博博网站", "堵伯王占", "fuuck", "fuсk"):
        assert found(filter_, written) == []
    assert found(filter_, "赌博网站 fuck") == ["赌博网站", "fuck"]


def test_words_of_two_characters_are_not_taken_by_their_sound() -> None:
    assert found(filter_of("赌博"), "堵伯") == []


def test_what_sounds_alike_over_a_comma_is_two_sentences() -> None:
    filter_ = filter_of("氢化物")
    assert found(filter_, "年轻，化雾") == []
    assert found(filter_, "年轻化雾") == ["轻化雾"]


def test_a_repeated_letter_may_come_more_often_than_in_the_word_but_not_less() -> None:
    filter_ = filter_of("ass", "哈哈")
    assert found(filter_, "as asss") == ["asss"]
    assert found(filter_, "哈") == []


def test_an_allowed_word_frees_what_lies_inside_it_and_only_there() -> None:
    filter_ = filter_of("黄片", allow=("三黄片",))
    text = "三黄片黄片"
    assert [(hit.start, hit.end) for hit in filter_.hits(text)] == [(3, 5)]
    # Straddling it is not inside it.
    assert found(filter_of("片黄", allow=("三黄片",)), text) == ["片黄"]


def test_a_word_of_two_categories_is_told_in_both() -> None:
    filter_ = Filter(Sensitive(shipped=False, words={"a": ("毛主席",), "b": ("毛主席",)}))
    finding = filter_.look("你好毛---主---席", "inbound")
    assert finding is not None
    assert finding.categories == ("a", "b")
    assert finding.spans == ((2, 11, "a"), (2, 11, "b"))


@pytest.mark.parametrize(
    ("handling", "direction", "action", "masked"),
    [
        (Category(inbound="none"), "inbound", "none", None),
        (Category(inbound="mask"), "inbound", "masked", "说**了"),
        (Category(outbound="none"), "outbound", "none", None),
        (Category(outbound="mask"), "outbound", "masked", "说**了"),
        (Category(outbound="block"), "outbound", "blocked", "说**了"),
    ],
)
def test_what_becomes_of_a_text_is_the_categorys_to_say_for_each_direction(handling, direction, action, masked) -> None:
    filter_ = filter_of("坏词", categories={"own": handling})
    assert filter_.look("说坏词了", direction) == Finding(("own",), ((1, 3, "own"),), action, masked, (), False)


def test_the_strictest_category_decides_and_only_what_is_to_be_masked_is() -> None:
    filter_ = Filter(
        Sensitive(
            shipped=False,
            words={"see": ("看见",), "hide": ("藏住",)},
            categories={
                "see": Category(inbound="none", handover=True, flags=("x",)),
                "hide": Category(flags=("y", "x")),
            },
        )
    )
    finding = filter_.look("看见藏住", "inbound")
    assert finding == Finding(("see", "hide"), ((0, 2, "see"), (2, 4, "hide")), "masked", "看见**", ("x", "y"), True)


def test_flags_and_hand_overs_are_for_what_customers_write() -> None:
    filter_ = filter_of("坏词", categories={"own": Category(handover=True, flags=("x",))})
    finding = filter_.look("坏词", "outbound")
    assert finding is not None
    assert (finding.flags, finding.hands_over) == ((), False)


def test_spans_are_bounded_as_the_contract_bounds_them() -> None:
    finding = filter_of("坏词").look("坏词，" * 6_000, "inbound")
    assert finding is not None
    assert len(finding.spans) == 4_096
    assert "坏" not in (finding.masked_text or "")


def test_personal_data_are_masked_on_screens_where_the_shop_wants_it() -> None:
    text = "电话13800138000"
    assert Filter(Sensitive()).look(text, "inbound") is None
    filter_ = Filter(Sensitive(personal_data=PersonalData(inbound=("phone",))))
    assert filter_.look(text, "inbound") == Finding(
        ("personal_data",), ((2, 13, "personal_data"),), "masked", "电话138******00", (), False
    )
    assert filter_.look(text, "outbound") is None


def test_a_shop_takes_words_off_the_shipped_list_and_adds_its_own() -> None:
    filter_ = Filter(Sensitive(remove=("白痴",), words={"rivals": ("某某商城",)}))
    assert found(filter_, "白痴 脑残 某某商城") == ["脑残", "某某商城"]
    assert found(Filter(Sensitive(shipped=False)), "脑残") == []
    assert Filter(Sensitive(enabled=False)).look("脑残", "inbound") is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"words": {"a": ("的",)}}, "single character"),
        ({"words": {"a": ("！！",)}}, "shows nothing"),
        ({"allow": ("\u200b",)}, "shows nothing"),
        ({"remove": ("没有的词",)}, "not on the shipped list"),
        ({"categories": {"nosuch": {}}}, "has no words"),
        ({"mask": "**"}, "at most 1"),
        ({"words": {"": ("坏词",)}}, "at least 1"),
        ({"nosuch": 1}, "Extra inputs"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_what_to_do(fields, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Sensitive.model_validate(fields)


def test_every_shipped_word_is_found_as_it_is_written_and_by_its_own_category() -> None:
    filter_ = Filter(Sensitive())
    for row in shipped():
        assert row.category in {hit.category for hit in filter_.hits(f"。 {row.word} 。")}, row


def test_every_allowed_word_that_ships_is_let_go() -> None:
    filter_ = Filter(Sensitive())
    for word in ALLOWED:
        assert found(filter_, f"这个{word}，那个") == [], word


SHOP_TALK = [
    "发票什么时候能开", "默认的开票信息在哪里改", "快递员的电话能发我一个吗", "是要找供应商联系处理吗？", "没有别的了，辛苦",
    "新单里用掉的优惠券我先帮您取消，好吗？", "重新下单是说我再拍一个吗？", "麻烦您报一下身份证上的姓名",
    "生日快乐", "京东突然打不开", "时代孕妇枕有货吗", "充气枪配什么钉", "满足交易条件", "室内射灯", "弹性交付",
    "路口交汇处的小区", "黑色情侣款", "红色魔术贴", "一台独显", "收藏独特的", "他妈妈的手机", "请勿相信刷单诈骗", "不支持套现",
    "恭喜您中奖啦", "我的微信号登录不上", "退到我微信里", "年轻生活", "不想活动结束", "二手雷蛇鼠标", "消毒品牌",
    "USB 3.0 的线", "have a nice day, I assess the classic", "the analysis of cocktails in Scunthorpe", "4k粉色款",
]  # fmt: skip


@pytest.mark.parametrize("text", SHOP_TALK)
def test_ordinary_shop_talk_passes_the_shipped_list(text: str) -> None:
    assert found(Filter(Sensitive()), text) == []


@given(st.text(max_size=60), st.data())
def test_a_word_is_found_wherever_it_is_put_and_hits_stay_inside_the_text(text: str, data: st.DataObject) -> None:
    filter_ = filter_of("坏坏词语", evasions=Evasions(chinese_digits=True))
    at = data.draw(st.integers(0, len(text)))
    written = f"{text[:at]}坏坏词语{text[at:]}"
    hits = filter_.hits(written)
    assert any(hit.start <= at and at + 4 <= hit.end for hit in hits) or not deep_text(written[at : at + 4])
    assert all(0 <= hit.start < hit.end <= len(written) for hit in hits)
    finding = filter_.look(written, "inbound")
    assert finding is not None
    assert finding.masked_text is not None
    assert len(finding.masked_text) == len(written)
    assert filter_.hits(finding.masked_text) == []


def test_contacts_are_found_only_where_wanted_and_not_the_shops_own() -> None:
    text = "邮箱 a1@xx.com 或 https://shop.example.com/x"
    assert Filter(Sensitive(shipped=False)).look(text, "outbound") is None
    wanted = Contacts(email=True, url=True, allowed_domains=("example.com",))
    finding = Filter(Sensitive(shipped=False, contacts=wanted)).look(text, "outbound")
    assert finding is not None
    assert [text[start:end] for start, end, _ in finding.spans] == ["a1@xx.com", "xx.com"]
    assert finding.action == "masked"
