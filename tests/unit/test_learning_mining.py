"""Mining: what many ask is found, what one person repeats is not, and nothing personal comes out."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline_autoreply.knowledge.vectors import encoder
from deskline_autoreply.learning.accepting import add_entry, with_entry
from deskline_autoreply.learning.faq_cli import app, found_in, span_of
from deskline_autoreply.learning.mining import PER_CUSTOMER, Question, cleaned, is_small_talk, mine, suggest

ASKED = {
    "invoice": ["怎么开发票", "可以开发票吗", "发票怎么开呢", "我要开发票怎么弄", "能给我开个发票吗", "开发票在哪里"],
    "return": [
        "衣服不合适怎么退货",
        "退货怎么操作",
        "想退货怎么弄",
        "我要退货怎么申请",
        "退货流程是什么",
        "怎么申请退货呢",
    ],
    "courier": ["发什么快递", "你们用什么快递", "快递发的哪家", "是什么快递呀", "发哪家快递的"],
}
ONE_OFFS = ["附近哪里有停车场", "蓝色的灯泡坏掉了一个", "昨天直播间的主持人叫什么", "包装盒子能不能回收"]


def encode(texts):
    return encoder().phrasings(texts)


def questions() -> list[Question]:
    asked = [
        Question(text, f"{name}-{n}", f"c-{name}-{n}", (f"关于{name}请看订单页。",))
        for name, texts in ASKED.items()
        for n, text in enumerate(texts)
    ]
    return asked + [Question(text, f"one-{n}", f"c-one-{n}") for n, text in enumerate(ONE_OFFS)]


def names(found, asked):
    return [{asked[place].customer.rpartition("-")[0] for place in cluster.members} for cluster in found]


def test_what_several_customers_ask_is_found_and_one_offs_are_not():
    asked = questions()
    found = names(mine(asked, encode), asked)
    assert {"invoice"} in found
    assert {"return"} in found
    assert not any("one" in group for group in found)


def test_one_customer_who_asks_forty_times_is_never_proposed():
    asked = questions() + [Question("优惠券为什么用不了", "angry-1", "c-angry") for _ in range(40)]
    assert not any("angry" in group for group in names(mine(asked, encode), asked))


def test_a_customer_counts_at_most_twice():
    asked = [Question("怎么开发票", "a", "1") for _ in range(10)] + [Question("怎么开发票", who, who) for who in "bc"]
    asked += [Question(text, text, text) for text in ONE_OFFS]
    (cluster,) = mine(asked, encode)
    assert (cluster.times, cluster.customers) == (PER_CUSTOMER + 1 + 1, 3)


@pytest.mark.parametrize("text", ["你好", "在吗", "好的，谢谢！", "Hello there", "ok thanks", "嗯嗯", ""])
def test_courtesies_ask_nothing(text):
    assert is_small_talk(text)


@pytest.mark.parametrize("text", ["怎么退货", "你好，怎么退货", "where is my card"])
def test_a_question_behind_a_courtesy_is_one(text):
    assert not is_small_talk(text)


def test_the_suggested_answer_is_what_most_agents_say_and_nothing_personal_comes_out():
    asked = [
        Question("怎么开发票", "a", "1", ("在订单页点开发票就可以了",)),
        Question("怎么开发票 我电话13800138000", "b", "2", ("订单页点开发票就可以了哦",)),
        Question("怎么开发票呢", "c", "3", ("请加我 zhang@example.com",)),
        Question("怎么开发票 订单 20261128123456", "d", "4", ("在订单页点开发票",)),
        *(Question(text, text, text) for text in ONE_OFFS),
    ]
    (cluster,) = mine(asked, encode)
    suggested = suggest(asked, cluster, encode)
    assert suggested.answer is not None
    assert "订单页" in suggested.answer
    written = json.dumps(found_in(asked), ensure_ascii=False)
    for secret in ("13800138000", "zhang@example.com", "20261128123456"):
        assert secret not in written
    assert "怎么开发票" in suggested.phrasings


def test_long_numbers_go_and_short_ones_stay():
    assert cleaned("订单 123456789 要 2 件 L 码") == "订单 ********* 要 2 件 L 码"


def test_the_week_of_a_day_begins_on_monday():
    begin, end = span_of("2026-11-29")  # a Sunday
    assert (begin, end) == span_of("2026-11-23")
    assert end - begin == 7 * 86_400 * 1_000_000


ENTRY = {"entry_id": "faq-1", "phrasings": ["怎么开发票"], "answer": "在订单页。"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# ours\nprecision_target: 0.9\n",
        "# ours\nentries:\n  # first\n  - entry_id: old\n    phrasings: [多久到]\n    answer: 三天。\n",
        "entries:\n- entry_id: old\n  phrasings: [多久到]\n  answer: 三天。\nsuggestions: true\n",
        "entries: []\nsuggestions: true\n",
        "{}\n",
    ],
)
def test_an_entry_is_added_and_every_other_line_stays(tmp_path: Path, text: str):
    new = with_entry(text, ENTRY)
    kept = [line for line in text.splitlines() if line not in {"entries: []", "{}"}]
    assert all(line in new for line in kept)
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "knowledge.yaml").write_text(new, encoding="utf-8")
    ids = [entry.entry_id for entry in load_directory(tmp_path).shops["_default"]["rules"].knowledge.entries]
    assert ids == (["faq-1", "old"] if "old" in text else ["faq-1"])


def test_a_directory_that_would_be_wrong_gets_its_file_back(tmp_path: Path):
    (tmp_path / "_default").mkdir()
    add_entry(tmp_path, "_default", ENTRY)
    before = (tmp_path / "_default" / "knowledge.yaml").read_bytes()
    with pytest.raises(UsageError, match="twice"):
        add_entry(tmp_path, "_default", {**ENTRY, "phrasings": ["别的"]})
    assert (tmp_path / "_default" / "knowledge.yaml").read_bytes() == before


def test_mine_then_accept_writes_the_entry(tmp_path: Path):
    talks = tmp_path / "talks.jsonl"
    lines = [
        {
            "id": f"t-{n}",
            "shop": "s",
            "customer": {"customer_id": question.customer},
            "turns": [
                {"from": "customer", "text": question.text},
                {"from": "agent", "text": question.answers[0] if question.answers else "稍等，我看一下"},
            ],
        }
        for n, question in enumerate(questions())
    ]
    talks.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    config, kept = tmp_path / "conf", tmp_path / "found.json"
    (config / "_default").mkdir(parents=True)
    run = CliRunner().invoke(app, ["mine", "--week", "--shop", "s", "--records", str(talks), "--file", str(kept)])
    assert run.exit_code == 0, run.output
    found = json.loads(kept.read_text(encoding="utf-8"))["questions"]
    assert found[0]["customers"] >= 5  # of five or six who asked the same
    assert f"1. asked {found[0]['count']} times by {found[0]['customers']} customers" in run.output
    options = ["--config", str(config), "--file", str(kept), "--no-apply", "--yes", "--answer", "答案在这里。"]
    run = CliRunner().invoke(app, ["accept", "1", *options])
    assert run.exit_code == 0, run.output
    (entry,) = load_directory(config).shops["s"]["rules"].knowledge.entries
    assert entry.answer == "答案在这里。"
    assert len(entry.phrasings) >= 3
