"""The commands that need no server, the samples that ship, and the schemas for editors."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from deskline.clock import SECOND, parse_rfc3339
from deskline.config import schemas
from deskline.config.book import ConfigBook
from deskline.config.cli import app
from deskline.config.loading import KINDS, load_directory
from deskline.config.yaml_source import read

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "examples" / "config"
FILES = sorted(SAMPLES.glob("*/*.yaml"))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_passes_the_samples_without_a_warning():
    result = run("check", SAMPLES)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "no mistakes: 3 shops, 18 documents\n"


def test_check_lists_mistakes_on_standard_error_and_ends_with_1(tmp_path):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "limits.yaml").write_text("patience_s: 0\nreoffer: 1\n")
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "_default/limits.yaml:1:13: patience_s: must be greater than 0, not 0",
        "_default/limits.yaml:2:1: reoffer: there is no key 'reoffer' here; did you mean reoffer_s?",
        "2 mistakes; nothing was changed",
    ]
    problems = json.loads(run("check", tmp_path, "--json").stdout)["problems"]
    assert [(p["file"], p["line"], p["column"], p["field"]) for p in problems] == [
        ("_default/limits.yaml", 1, 13, "patience_s"),
        ("_default/limits.yaml", 2, 1, "reoffer"),
    ]


def test_check_never_writes_what_is_not_printable(tmp_path):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "limits.yaml").write_text('"\\e[2Jx": 1\n')
    result = run("check", tmp_path)
    assert "\x1b" not in result.stderr
    assert "there is no key" in result.stderr


def test_the_published_schemas_are_up_to_date(tmp_path):
    folder = ROOT / "docs" / "config"
    assert run("schema", "--check", folder).exit_code == 0
    assert run("schema", "--write", tmp_path).exit_code == 0
    (tmp_path / "sla.schema.json").write_text("{}")
    stale = run("schema", "--check", tmp_path)
    assert stale.exit_code == 1
    assert "out of date: sla.schema.json" in stale.stderr
    assert run("schema", "sla").stdout == schemas.files()["sla.schema.json"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_sample_is_valid_by_the_schema_that_its_first_line_names(file):
    first = file.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    schema = json.loads((file.parent / first.removeprefix(prefix)).resolve().read_text(encoding="utf-8"))
    assert schema["$id"] == f"{file.stem}.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(read(file.read_bytes()).value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("limits", {"patience": 3}),
        ("agents", {"agents": [{"agent_id": "a", "grade": "boss"}]}),
        ("agents", {"agents": [{"agent_id": "a", "skills": {"x": 6}}]}),
        ("calendars", {"default": "d", "calendars": {"d": {"timezone": "UTC", "weekly": {"mon": ["9-18"]}}}}),
        ("sla", {"policies": [{"policy_id": "p", "targets": {"first_reply": 5}}]}),
        ("routing", {"rules": [{"rule_id": "r", "steps": []}]}),
        ("rules", {"rules": [{"rule_id": "r", "reply": {"text": ""}}]}),
    ],
)
def test_an_editor_underlines_what_is_wrong_in_one_place(kind, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schemas.schema_of(kind)).validate(value)


def test_every_field_that_is_not_obvious_is_described_in_the_editor():
    routing = schemas.schema_of("routing")
    assert "skipped at once" in routing["$defs"]["Step"]["properties"]["own_agent"]["description"]


def test_a_sample_means_the_same_to_another_reader_of_yaml():
    """Nothing in the samples depends on this reader's own rules for scalars, dates aside."""
    for file in FILES:
        theirs = yaml.safe_load(file.read_text(encoding="utf-8"))
        as_text = json.loads(json.dumps(_dates_as_text(theirs)))
        assert as_text == read(file.read_bytes()).value, file


def _dates_as_text(value):
    if isinstance(value, dict):
        return {str(key): _dates_as_text(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(member) for member in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def book_of_the_samples():
    book = ConfigBook()
    for shop_id, documents in load_directory(SAMPLES).shops.items():
        for kind, document in documents.items():
            book.install(shop_id, kind, document)
    return book


@pytest.mark.parametrize(
    ("shop", "calendar", "time", "expected"),
    [
        ("wardrobe", None, "2026-11-25T21:59:59+08:00", True),
        ("wardrobe", None, "2026-11-25T22:00:00+08:00", False),
        ("wardrobe", None, "2026-02-17T12:00:00+08:00", False),  # 春节
        ("wardrobe", None, "2026-11-11T02:59:00+08:00", True),  # the night before belongs to the 10th
        ("wardrobe", None, "2026-11-11T03:00:00+08:00", False),
        ("wardrobe", "office", "2026-10-10T10:00:00+08:00", True),  # a Saturday that is worked
        ("wardrobe", "office", "2026-10-06T10:00:00+08:00", False),
        ("support", None, "2026-11-25T05:59:00-08:00", False),
        ("support", None, "2026-11-26T10:00:00-08:00", False),  # Thanksgiving
        ("support", "nights", "2026-11-28T01:00:00-08:00", True),  # Friday's night
        ("someone-else", None, "2026-02-17T03:00:00+08:00", True),
    ],
)
def test_the_samples_are_open_when_they_say(shop, calendar, time, expected):
    at = parse_rfc3339(time)
    assert book_of_the_samples().hours(shop, at, calendar=calendar).is_open(at) is expected


def test_the_samples_show_every_kind_of_decision():
    book = book_of_the_samples()
    at = 1_795_000_000 * SECOND
    assert set(load_directory(SAMPLES).shops["wardrobe"]) == set(KINDS)
    grades = {agent.grade for agent in book.agents("wardrobe", at).agents}
    assert grades == {"trainee", "standard", "senior", "supervisor"}
    for shop, least in (("wardrobe", 8), ("support", 8)):
        assert least <= len(book.agents(shop, at).agents) <= 20
    rules = book.rules("wardrobe", at).rules
    reasons = {rule.handover.reason for rule in rules if rule.handover is not None}
    assert {"complaint", "asked_for_human", "rule", "attachment"} <= reasons
    assert any(rule.when.open is False for rule in rules)
    keywords = {word for rule in rules for word in rule.when.any_of or ()}
    assert {"发货", "物流", "退款", "发票", "尺码", "优惠", "转人工", "投诉"} <= keywords


@pytest.mark.parametrize("command", ["check", "apply", "show", "diff", "history", "rollback", "publish", "schema"])
def test_every_command_explains_itself_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"deskline config {command}" in result.stdout


def cell(folder, **agents):
    """A cell whose shops have these agents."""
    (folder / "_default").mkdir(parents=True)
    for shop, names in agents.items():
        (folder / shop).mkdir()
        rows = "".join(f"  - {{agent_id: {name}}}\n" for name in names)
        (folder / shop / "agents.yaml").write_text(f"agents:\n{rows}", encoding="utf-8")
    return folder


def test_cells_that_share_nothing_are_taken_together(tmp_path):
    one, two = cell(tmp_path / "a", tea=["ana"], silk=["ana"]), cell(tmp_path / "b", books=["ben"])
    result = run("check", one, two)
    assert (result.exit_code, result.stdout) == (0, "no mistakes: 5 shops, 15 documents in 2 cells\n")


def test_an_agent_or_a_shop_of_two_cells_is_refused_by_name(tmp_path):
    one, two = cell(tmp_path / "a", tea=["ana"], silk=["ana"]), cell(tmp_path / "b", books=["ben", "ana"], tea=["zoe"])
    result = run("check", one, two)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"shop 'tea' is in {one} and in {two}; the gateway sends a shop to one cell",
        (
            f"agent 'ana' works in {one} (silk, tea) and in {two} (books); an agent has one status and one capacity, which two "
            "routers cannot share: keep him in one cell, or give him an agent_id for each"
        ),
    ]
    found = json.loads(run("check", one, two, "--json").stdout)["shared_by_cells"]
    assert [(row["what"], row["name"]) for row in found] == [("shop", "tea"), ("agent", "ana")]
    assert run("check", one).exit_code == run("check", two).exit_code == 0, "each is fine by itself"


def test_agents_that_both_cells_have_in_default_are_refused_too(tmp_path):
    for name in ("a", "b"):
        folder = cell(tmp_path / name)
        (folder / "_default" / "agents.yaml").write_text("agents: [{agent_id: desk-01}]", encoding="utf-8")
    assert "agent 'desk-01' works in" in run("check", tmp_path / "a", tmp_path / "b").stderr
