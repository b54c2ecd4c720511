"""Parts of the rules in files of their own, and shops that inherit."""

from pathlib import Path

import pytest

from deskline.config.loading import ConfigurationError, load_directory


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


DEFAULT = """
rules:
  - {rule_id: complaint, priority: 900, when: {any_of: [投诉]}, handover: {reason: complaint}}
  - {rule_id: hello, when: {any_of: [你好]}, reply: {text: 您好}}
fallback: {reason: no_match, skills: [general]}
"""


def test_a_shop_that_inherits_has_the_default_rules_that_it_does_not_override(tmp_path: Path) -> None:
    own = "inherit: true\nrules:\n  - {rule_id: hello, when: {any_of: [hi]}, reply: {text: hi}}\n"
    shops = load_directory(_write(tmp_path, {"_default/rules.yaml": DEFAULT, "a/rules.yaml": own})).shops
    rules = shops["a"]["rules"]
    assert {rule.rule_id: rule.when.any_of for rule in rules.rules} == {"hello": ("hi",), "complaint": ("投诉",)}
    assert rules.fallback.skills == ("general",)
    assert not rules.inherit, "the version is complete in itself"


def test_a_shop_that_does_not_inherit_has_only_its_own_rules(tmp_path: Path) -> None:
    shops = load_directory(_write(tmp_path, {"_default/rules.yaml": DEFAULT, "a/rules.yaml": "rules: []"})).shops
    assert shops["a"]["rules"].rules == ()
    assert shops["a"]["rules"].fallback.skills == ()


@pytest.mark.parametrize("part", ["knowledge", "sensitive"])
def test_a_shop_with_only_a_part_runs_on_the_default_rules_with_it(tmp_path: Path, part: str) -> None:
    shops = load_directory(_write(tmp_path, {"_default/rules.yaml": DEFAULT, f"a/{part}.yaml": "{}"})).shops
    assert [rule.rule_id for rule in shops["a"]["rules"].rules] == ["complaint", "hello"]


@pytest.mark.parametrize("part", ["knowledge", "sensitive"])
def test_a_mistake_in_a_part_is_told_in_its_own_file(tmp_path: Path, part: str) -> None:
    _write(tmp_path, {"_default/rules.yaml": DEFAULT, f"a/{part}.yaml": "\nno_such_key: 1\n"})
    with pytest.raises(ConfigurationError) as refused:
        load_directory(tmp_path)
    (problem,) = refused.value.problems
    assert (problem.file, problem.line, problem.field) == (f"a/{part}.yaml", 2, "no_such_key")


def test_a_part_given_in_both_places_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, {"_default/rules.yaml": "knowledge: {}", "_default/knowledge.yaml": "{}"})
    with pytest.raises(ConfigurationError, match=r"given here and in _default/knowledge\.yaml"):
        load_directory(tmp_path)
