"""``make bench-quality`` takes other files of the same shape, and each figure has one name."""

import json
from collections import Counter

import pytest
import typer
from benchmarks.quality.__main__ import main
from typer.testing import CliRunner

THINGS = ["发票", "退货", "快递", "尺码", "保修", "会员", "积分", "礼品卡", "换货", "赠品", "电池", "包装"]


@pytest.fixture
def folder(tmp_path):
    """A shop of twelve entries, and fifteen questions to each; a third of them about what it does not have."""
    asks = [
        "怎么办{}",
        "{}在哪里弄",
        "{}的事问谁",
        "{}要多久",
        "请问{}",
        "{}可以吗",
        "我想问{}",
        "{}多少钱",
        "没有{}怎么弄",
        "能{}吗",
    ]
    kb = "".join(f"a{n}\t{text}\n" for n, thing in enumerate(THINGS) for text in (f"{thing}怎么办理", f"我要{thing}"))
    rows = [(f"a{n}", ask.format(thing)) for n, thing in enumerate(THINGS) for ask in asks]
    rows += [("OOS", ask.format(thing)) for thing in ("贷款", "股票", "天气", "足球", "电影") for ask in asks]
    (tmp_path / "other_kb.tsv").write_text("answer_id\tquestion\n" + kb, encoding="utf-8")
    queries = "answer_id\tquery\n" + "".join(f"{answer}\t{text}\n" for answer, text in rows)
    (tmp_path / "other_queries.tsv").write_text(queries, encoding="utf-8")
    return tmp_path


def test_each_figure_of_other_data_has_one_name(folder):
    app = typer.Typer()
    app.command()(main)
    out = folder / "figures.json"
    result = CliRunner().invoke(app, ["faq", "--data", str(folder), "--json", str(out)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    names = Counter(line["name"] for line in lines)
    assert set(names.values()) == {1}
    assert {"faq_top1", "faq_right_at_p95", "oos_precision_5", "oos_precision_20", "oos_precision_40"} <= set(names)
    assert {"faq_oos_precision_5", "faq_oos_precision_20", "faq_oos_precision_40"} <= set(names)
    top1 = next(line for line in lines if line["name"] == "faq_top1")
    assert top1["params"] == {"entries": 12, "phrasings": 24, "questions": 170, "out_of_scope": 50}
    assert top1["value"] > 80
    worst = next(line for line in lines if line["name"] == "oos_precision_40")
    assert worst["value"] == next(line["value"] for line in lines if line["name"] == "faq_oos_precision_40")


def test_data_that_are_not_there_are_a_failure_not_a_figure(tmp_path):
    app = typer.Typer()
    app.command()(main)
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["faq", "--data", str(tmp_path / "empty")]).exit_code == 1
    assert CliRunner().invoke(app, ["faq", "intents", "--data", str(tmp_path)]).exit_code == 2
