"""What identifies a person in a text, and what only looks like it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskline.personal_data import find, is_bank_card, is_identity_card, mask


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("电话13800138000谢谢", "phone", "13800138000"),
        ("电话 138 0013 8000", "phone", "138 0013 8000"),
        ("+86 138-0013-8000", "phone", "+86 138-0013-8000"),
        ("１３８００１３８０００", "phone", "１３８００１３８０００"),
        ("座机010-62345678", "phone", "010-62345678"),
        ("call +44 20 7946 0958 please", "phone", "+44 20 7946 0958"),
        ("身份证11010519491231002X", "identity_card", "11010519491231002X"),
        ("卡号4111 1111 1111 1111", "bank_card", "4111 1111 1111 1111"),
        ("卡号6222021234567890123的", None, ""),  # fails Luhn: some other number
        ("邮箱 zhang.san@example.com.cn", "email", "zhang.san@example.com.cn"),
        ("地址：上海市浦东新区张江路88号3栋501室，谢谢", "address", "上海市浦东新区张江路88号3栋501室"),
        ("ship to 221 Baker Street please", "address", "221 Baker Street"),
    ],
)
def test_each_kind_is_found_in_the_original_text(text: str, kind: str | None, found: str) -> None:
    assert [(text[one.start : one.end], one.kind) for one in find(text)] == ([(found, kind)] if kind else [])


@pytest.mark.parametrize(
    "text",
    [
        "订单号7128312345678901",  # sixteen digits that fail Luhn
        "110105194912310021",  # the check digit would be X
        "客服热线400-606-5500",
        "2018年11月11日 12:30",
        "型号13912345678A",
        "价格1299元，满300减50",
        "在北京市朝阳区",
        "小区的路怎么走",
        "8 hours",
    ],
)
def test_order_numbers_hotlines_dates_and_names_of_towns_are_left_alone(text: str) -> None:
    assert find(text) == []
    assert mask(text) == text


def test_the_check_digits_are_those_of_the_standards() -> None:
    # GB 11643, annex: 1*7+1*9+0*10+1*5+0*8+5*4+1*2+9*1+4*6+9*3+1*7+2*9+3*10+1*5+0*8+0*4+2*2 = 167; 167 mod 11 = 2 → X
    assert is_identity_card("11010519491231002X")
    assert not is_identity_card("110105194913310026")  # a thirteenth month
    # 7992739871 has Luhn's sum 67, so its check digit is 3; too short for a card.
    assert not is_bank_card("79927398713")
    assert is_bank_card("4111-1111-1111-1111")
    assert not is_bank_card("4111-1111-1111-1112")


def test_masking_keeps_the_length_and_what_people_say_to_name_a_number() -> None:
    assert mask("电话13800138000，卡4111 1111 1111 1111") == "电话138******00，卡***************1111"
    assert mask("电话13800138000", kinds=("email",)) == "电话13800138000"


@given(st.text(st.sampled_from("0123456789Xx +-－０１９@.a市路号室栋小区上海")))
def test_findings_never_overlap_and_masking_keeps_everything_else(text: str) -> None:
    found = find(text)
    assert all(a.end <= b.start for a, b in pairwise(found))
    masked = mask(text)
    assert len(masked) == len(text)
    inside = {at for one in found for at in range(one.start, one.end)}
    assert all(masked[at] == text[at] for at in range(len(text)) if at not in inside)
