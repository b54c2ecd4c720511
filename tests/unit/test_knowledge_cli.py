"""``deskline knowledge``: import, check, search, calibrate, without a server."""

import pytest
from typer.testing import CliRunner

from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline_autoreply.knowledge.cli import app

CSV = "entry_id,question,answer\nreturns,怎么退货|能退吗|退货要什么条件,七天内可退。\ninvoice,怎么开发票|能开发票吗,订单页申请。\n"


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "conf" / "_default"
    folder.mkdir(parents=True)
    (folder / "rules.yaml").write_text("rules: []\n", encoding="utf-8")
    (tmp_path / "faq.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


def run(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def knowledge(config, shop="_default"):
    return load_directory(config / "conf").shops[shop]["rules"].knowledge


def test_an_imported_file_is_in_the_shops_knowledge_and_the_comment_above_stays(config):
    target = config / "conf" / "_default" / "knowledge.yaml"
    target.write_text("# Ours.\nsuggestions: true\nentries: []\n", encoding="utf-8")
    assert "2 entries" in run("import", config / "faq.csv", "--config", config / "conf")
    assert target.read_text(encoding="utf-8").startswith("# Ours.\n")
    assert knowledge(config).suggestions
    assert [entry.entry_id for entry in knowledge(config).entries] == ["returns", "invoice"]


def test_a_shops_own_file_inherits_what_default_knows(config):
    run("import", config / "faq.csv", "--config", config / "conf")
    (config / "own.jsonl").write_text(
        '{"entry_id": "gift", "phrasings": ["有礼品袋吗"], "answer": "有的。"}', encoding="utf-8"
    )
    run("import", config / "own.jsonl", "--config", config / "conf", "--shop", "wardrobe")
    assert [entry.entry_id for entry in knowledge(config, "wardrobe").entries] == ["gift", "returns", "invoice"]


def test_a_dry_run_and_a_file_with_mistakes_write_nothing(config):
    run("import", config / "faq.csv", "--config", config / "conf", "--dry-run")
    (config / "bad.csv").write_text("entry_id,question,answer\na,,x\nb,y,\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"row 2.*\n.*row 3"):
        run("import", config / "bad.csv", "--config", config / "conf")
    assert not (config / "conf" / "_default" / "knowledge.yaml").exists()


def test_what_the_directory_refuses_is_taken_back(config):
    run("import", config / "faq.csv", "--config", config / "conf")
    before = (config / "conf" / "_default" / "knowledge.yaml").read_bytes()
    (config / "more.csv").write_text("entry_id,question,answer\nother,怎么退货,不行。\n", encoding="utf-8")
    with pytest.raises(UsageError, match="a phrasing of 'returns' too"):
        run("import", config / "more.csv", "--config", config / "conf")
    assert (config / "conf" / "_default" / "knowledge.yaml").read_bytes() == before


def test_search_says_what_would_happen_and_calibrate_what_the_target_costs(config):
    run("import", config / "faq.csv", "--config", config / "conf")
    assert "answers by itself: invoice" in run("search", "怎么开发票", "--config", config / "conf")
    assert "hands over (no_match)" in run("search", "xyzzy", "--config", config / "conf")
    told = run("calibrate", "--config", config / "conf", "--target", "0.9")
    assert "calibrated on the questions that ship" in told
    assert "target 90.0%" in told


def test_check_names_entries_with_a_single_phrasing(config):
    (config / "one.csv").write_text("entry_id,question,answer\na,怎么退货,可以\n", encoding="utf-8")
    run("import", config / "one.csv", "--config", config / "conf")
    assert "a: only one phrasing" in run("check", "--config", config / "conf")


def test_without_a_knowledge_base_it_is_said_where_to_write_one(config):
    with pytest.raises(UsageError, match=r"no knowledge base: write .*knowledge\.yaml"):
        run("search", "x", "--config", config / "conf")
