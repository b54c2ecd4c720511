"""Facts about other filters, each with its number in docs/sensitive-words.md: what ours does with the same words and texts.

The words are whatever a fact needs; most of them are nothing to be sensitive about.
"""

import re
from pathlib import Path

import pytest

from deskline.config.sensitive_document import Category, Contacts, Evasions, Sensitive
from deskline_autoreply.policy.sensitive import Filter, contacts

LATIN_TRADE = "cp cpm trade deficit totaled 695 billion yen, or $4.9 billion"
SOME = ("有一个东西", "一个东西", "一个", "东西", "个东")


def filter_of(*words: str, **fields) -> Filter:
    return Filter(Sensitive(shipped=False, words={"own": words}, **fields))


def found(filter_: Filter, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in filter_.hits(text)]


def masked(filter_: Filter, text: str) -> str:
    finding = filter_.look(text, "inbound")
    return text if finding is None else finding.masked_text or text


ROOT = Path(__file__).parents[2]
COLLECTED = ROOT.parent / "shared" / "scenarios" / "sensitive_words.md"


@pytest.mark.skipif(
    not COLLECTED.exists(), reason="the collected facts (scenarios/sensitive_words.md) are not beside the checkout"
)
def test_every_collected_fact_has_its_test_here_or_its_reason_on_the_page() -> None:
    numbers = set(re.findall(r"^\| (\d+) \|", COLLECTED.read_text(encoding="utf-8"), re.MULTILINE))
    source = Path(__file__).read_text(encoding="utf-8")
    tested = set(re.findall(r"(?:# |\()(\d+)(?:$|, [\"(])", source, re.MULTILINE))
    page = (ROOT / "docs" / "sensitive-words.md").read_text(encoding="utf-8")
    otherwise = {
        number for row in re.findall(r"^\| ([\d, -]+) \|", page, re.MULTILINE) for number in re.split(r"[, -]+", row)
    }
    assert len(numbers) > 50
    assert numbers - tested - otherwise == set()


# (number, words, text, found)
FOUND = [
    (1, ("av",), "I have a nice day。", []),
    (3, ("av",), "av", ["av"]),
    (5, ("national Congress",), "test for International Congress", []),
    (9, ("cp", "69"), LATIN_TRADE + " 69", ["cp", "69"]),
    (11, ("av",), "av他", ["av"]),
    (11, ("av",), "1av2", ["av"]),
    (11, ("av",), "测av试", ["av"]),
    (11, ("av",), "_av_", ["av"]),
    (13, ("弹药",), "a弹药b", ["弹药"]),
    (13, ("弹药",), "_弹药_", ["弹药"]),
    (13, ("弹药",), "123弹药456", ["弹药"]),
    (15, ("av",), "av av av", ["av", "av", "av"]),
    (23, ("ash", "sha", "bcd"), "his is sha ash", ["sha", "ash"]),
    (25, ("SB",), "你是SB吧", ["SB"]),
    (27, ("我的", "我的世界"), "我的我的世界", ["我的", "我的世界"]),
    (29, ("我的世界",), "这里都不是我的也不是我的天界", []),
    (41, ("words", "警察局"), "words words words kill suicide警察局kill", ["words", "words", "words", "警察局"]),
    (47, ("fuck",), "fuCK the bad words.", ["fuCK"]),
    (49, ("fuck",), "Ⓕⓤc⒦ the bad words", ["Ⓕⓤc⒦"]),
    (51, ("五星红旗",), "我爱我的祖国和五星紅旗。", ["五星紅旗"]),
    (59, ("all", "assert"), "asssert allll", ["asssert", "allll"]),
    (67, ("傻冒", "狗东西"), "傻@冒，狗+东西", ["傻@冒", "狗+东西"]),
    (73, ("中国", "国人", "zg人"), "中间国zg人", ["zg人"]),
    (77, ("傻逼",), "傻@#￥%逼", ["傻@#￥%逼"]),
]


@pytest.mark.parametrize(("number", "words", "text", "expected"), FOUND)
def test_what_is_found(number: int, words: tuple[str, ...], text: str, expected: list[str]) -> None:
    assert found(filter_of(*words), text) == expected, number


def test_digits_are_found_inside_numbers_where_a_shop_wants_it() -> None:
    assert found(filter_of("cp", "69", whole_numbers=False), LATIN_TRADE) == ["cp", "69"]  # 7
    assert found(filter_of("123", whole_numbers=False), "a123b") == ["123"]  # 19
    assert found(filter_of("123"), "a123b") == ["123"], "a number ends where a letter begins"  # 19


def test_words_of_one_character_are_found_only_where_they_are_meant() -> None:
    filter_ = filter_of("坏", "x", single_characters=True)
    assert found(filter_, "这是一个坏词") == ["坏"]  # 17
    assert found(filter_, "1x2") == ["x"]
    assert found(filter_, "x测试") == ["x"]
    assert found(filter_, "example") == []
    with pytest.raises(ValueError, match="single character"):
        filter_of("的")  # 99


def test_a_folded_word_that_goes_on_is_another_word() -> None:
    filter_ = filter_of("中国", "zg人", "abc")
    text = "我是中美国人厉害中国完美ａｂｃddb好的"
    assert masked(filter_, text) == "我是中美国人厉害**完美ａｂｃddb好的"  # 21


def test_a_longer_allowed_word_frees_what_lies_inside_it() -> None:
    assert found(filter_of("口交", allow=("地铁口交易",)), "地铁口交易") == []  # 31
    assert found(filter_of("黄片", allow=("三黄片",)), "三黄片黄片") == ["黄片"]  # 33


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [(35, "我有一个东东西", "我有**东**"), (37, "两个东西", "两**西"), (39, "一个物体", "**物体")],
)
def test_of_overlapping_words_the_leftmost_is_masked_where_a_shop_wants_it(
    number: int, text: str, expected: str
) -> None:
    # Without repeats: 东东西 is 东西 otherwise, and the longer word is found.
    filter_ = filter_of(*SOME, overlaps="leftmost", evasions=Evasions(repeats=False))
    assert masked(filter_, text) == expected, number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (45, "麻烦您报一下身份证上的姓名"),
        (97, "生日快乐"),
        (101, "上一单的发票还没收到"),
        (101, "默认的开票信息在哪里改"),
        (103, "快递员的电话能发我一个吗"),
        (103, "是要找供应商联系处理吗？"),
        (105, "新单里用掉的优惠券我先帮您取消，好吗？"),
        (107, "没有别的了，辛苦"),
        (107, "重新下单是说我再拍一个吗？"),
    ],
)
def test_ordinary_talk_passes_the_list_that_ships(number: int, text: str) -> None:
    assert found(Filter(Sensitive()), text) == [], number


def test_digits_and_their_characters_are_one_where_a_shop_wants_it_in_the_list_too() -> None:
    digits = Evasions(chinese_digits=True)
    assert found(filter_of("下3滥", evasions=digits), "花豹用下三滥招式") == ["下三滥"]  # 53
    both = filter_of("三三九乘元功", "一军两策", evasions=digits)
    assert found(both, "和我练习三三九乘元功、一军两策") == ["三三九乘元功", "一军两策"]  # 55
    (category,) = (
        Filter(Sensitive(shipped=False, words={"广告": ("0售",)}, evasions=digits)).look("零售", "inbound").categories
    )  # 93
    assert category == "广告"


def test_numbers_of_a_length_are_contacts() -> None:
    nine = Sensitive(shipped=False, contacts=Contacts(min_digits=9))
    assert Filter(nine).look("你懂得：12345678", "inbound") is None  # 57
    assert Filter(nine).look("你懂得：123456789", "inbound") is not None
    six = Sensitive(shipped=False, contacts=Contacts(min_digits=7))
    assert Filter(six).look("=====123456====X70002 哈哈哈", "inbound") is None, "a letter ends the run"  # 71


def test_repeats_are_masked_to_the_end_of_the_run() -> None:
    assert masked(filter_of("fuck", "ffx"), "fFuck") == "*****"  # 61
    assert found(filter_of("哈哈"), "哈，哈") == ["哈，哈"]
    assert found(filter_of("哈哈"), "哈") == [], "a list's repeats are not taken together to one character"  # 65


def test_traditional_characters_of_amounts_are_the_same_words() -> None:
    amount = "壹佰贰拾叁億肆仟伍佰陆拾柒萬"
    assert found(filter_of("壹佰贰拾叁亿肆仟伍佰陆拾柒万"), amount) == [amount]  # 63


def test_noise_between_characters_is_part_of_the_hit_and_of_every_category() -> None:
    filter_ = Filter(Sensitive(shipped=False, words={"政治": ("毛主席",), "领导人": ("毛主席",)}))
    text = "你好毛---主---席"
    finding = filter_.look(text, "inbound")
    assert finding is not None
    assert {text[start:end] for start, end, _ in finding.spans} == {"毛---主---席"}  # 69
    assert finding.categories == ("政治", "领导人")
    text = "他大喊“我[爱中]国”么？我爱中国"
    assert found(filter_of("中国"), text) == ["中]国", "中国"]  # 75
    assert found(filter_of("我爱中国", "中国"), text) == ["我[爱中]国", "我爱中国"], "what is inside is not told twice"


def test_contacts_are_found_where_a_shop_wants_them() -> None:
    def look(text: str, **fields) -> list[str]:
        filter_ = Filter(Sensitive(shipped=False, contacts=Contacts(**fields)))
        finding = filter_.look(text, "outbound")
        return [] if finding is None else [text[start:end] for start, end, _ in finding.spans]

    assert look("楼主好人，邮箱 123456789@xx.com", email=True) == ["123456789@xx.com"]  # 79
    link = Filter(Sensitive(shipped=False, contacts=Contacts(url=True))).look(
        "点击链接 https://www.baidu.com 查看答案", "outbound"
    )
    assert link is not None
    assert link.masked_text == "点击链接 ********************* 查看答案"  # 81
    assert look("可以访问 127.0.0.1。") == []  # 83
    assert look("可以访问 127.0.0.1。", ipv4=True) == ["127.0.0.1"]
    assert contacts.domains("example小數點com") == ["example.com"]  # 85
    assert contacts.domains("🅱aidu🔴com") == ["baidu.com"]
    assert contacts.domains("d:i:s:c:o:r:d.gg") == ["discord.gg"]
    assert contacts.domains("傻.子") == []  # 87
    assert contacts.domains("ordinary minecraft chat") == []


def test_masks_keep_the_length_or_say_what_the_shop_wants_instead() -> None:
    text = "五星红旗迎风飘扬，毛主席的画像屹立在天安门前。"
    words = ("五星红旗", "毛主席", "天安门")
    assert masked(filter_of(*words), text) == "****迎风飘扬，***的画像屹立在***前。"  # 89
    instead = {"五星红旗": "国家旗帜", "毛主席": "教员"}
    assert masked(filter_of(*words, replacements=instead), text) == "国家旗帜迎风飘扬，教员的画像屹立在***前。"  # 91


def test_what_is_allowed_is_changed_with_the_list() -> None:
    text = "测试一下新增字典删除测试，新增"
    assert found(filter_of("测试", "新增", allow=("测试", "新增")), text) == []  # 95
    assert found(filter_of("测试", "新增", allow=("新增",)), text) == ["测试", "测试"]
    assert found(filter_of("测试", "新增"), text) == ["测试", "新增", "测试", "新增"]


def test_a_category_can_be_seen_only() -> None:
    filter_ = filter_of("坏词", categories={"own": Category(inbound="none")})
    finding = filter_.look("坏词", "inbound")
    assert finding is not None
    assert finding.action == "none"
