"""What is drawn: the board in both languages, and the same on one line."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from deskline.demo.board import Snapshot, board, line, sparkline
from deskline.demo.summary import Summary, table
from deskline.demo.words import Words

FIGURES = {
    "conversations": 40, "closed": 30, "complaints_opened": 2, "ratings": 10, "rating_points": 43, "messages": 120,
    "answered": 30, "handed_over": 60, "ignored": 30, "holding_replies": 12, "waiting": 3, "assigned": 61,
    "assigned.vip": 11, "assigned.regular": 50, "accepted": 40, "declined": 2, "missed": 1, "transfers": 4,
    "met": 90, "breached": 10, "breached.instant_reply": 10, "records": 1500, "archived": 1490,
}  # fmt: skip
NOW = Snapshot(
    figures=FIGURES, phase="play", elapsed_s=65.4, total_s=100, speed=8, shops=("support", "wardrobe"),
    rates=(0, 4, 8, 12, 16, 10), open_talks=10, longest_wait_s=2.5, lag={"router": 3, "sla": 4}, online=20, away=2,
    load=31, capacity=140, decided_ms=(10, 20, 30),
)  # fmt: skip


def drawn(what, width=80):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(what)
    return console.export_text()


def test_both_languages_have_every_word():
    assert Words("en").names() == Words("zh").names()


def test_the_plain_line_says_what_the_board_says():
    # The mean of the last five seconds: (4 + 8 + 12 + 16 + 10) / 5 = 10.
    assert line(NOW, Words("en")) == (
        "1:05 · messages 120 (10.0 a second) · answered by rule 30 · handed over 60 · waiting 3 · "
        "assigned 61 (regular 50, vip 11) · met 90 · breached 10 · archived 1490 · lag 7"
    )
    assert line(NOW, Words("zh")) == (
        "1:05 · 顾客消息 120 (10.0 条/秒) · 规则自动回复 30 · 转人工 60 · 排队中 3 · "
        "已分配 61 (普通 50, 贵宾 11) · 达标 90 · 超时 10 · 已归档 1490 · 积压 7"
    )


def test_a_run_that_has_just_begun_can_be_drawn():
    start = Snapshot(figures={}, phase="play", elapsed_s=0, total_s=0, speed=1, shops=())
    assert line(start, Words("en")).startswith("0:00 · messages 0 (0.0 a second)")
    assert "messages" in drawn(board(start, Words("en")))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("phase", ["play", "finish", "drain"])
def test_the_board_fits_80_columns_and_20_lines(language, phase):
    text = drawn(board(replace(NOW, phase=phase), Words(language)))
    lines = text.rstrip("\n").split("\n")
    assert len(lines) <= 20
    assert max(map(cell_len, lines)) <= 80
    words = Words(language)
    for shown in (words("waiting"), words("answered"), words(f"phase_{phase}"), words.name("vip"), words("breached")):
        assert shown in text
    assert all(number in text for number in ("120", "61", "1490", "1500", "31/140", "4.3/5"))


def test_a_sparkline_is_scaled_to_its_greatest_value():
    assert sparkline((0, 4, 8)) == " ▄█"
    assert sparkline((0, 0)) == ""
    assert sparkline(()) == ""


@pytest.mark.parametrize(("language", "agree"), [("en", "24 figures were recomputed"), ("zh", "24 项数字")])
def test_the_summary_says_that_the_numbers_agree(language, agree):
    topics = {**FIGURES, "archived": 1490, "extra": 0}
    found = Summary(FIGURES, topics, [], True, False, 8, 1, {"alive": 12.34}, [5, 6], {"vip": [1.0, 3.0]})
    text = drawn(table(found, Words(language)), width=120)
    assert agree in text
    assert "12.3" in text
    assert "2.0" in text  # median wait of vip: (1 + 3) / 2
    interrupted = drawn(table(replace(found, interrupted=True, settled=False), Words(language)), width=120)
    assert Words(language)("stopped") in interrupted
    assert Words(language)("unsettled") in interrupted
    assert agree not in interrupted
