"""What a shop tries: files of its folder ``shadow``, checked like live ones, carried by the live documents."""

from pathlib import Path

import pytest

from deskline.config.documents import DOCUMENTS, body_of
from deskline.config.loading import Configuration, ConfigurationError, load_directory
from deskline.config.scenario_sets import scenario_sets

DEFAULT = {
    "_default/rules.yaml": """
rules:
  - {rule_id: hello, when: {any_of: [你好]}, reply: {text: 您好}}
  - {rule_id: bye, when: {any_of: [再见]}, reply: {text: 再见}}
fallback: {reason: no_match, priority: 60}
""",
    "_default/sla.yaml": "policies: [{policy_id: p, targets: {instant_reply: 30}}]",
}


def load(root: Path, files: dict[str, str]) -> Configuration:
    for name, text in {**DEFAULT, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return load_directory(root)


def refused(root: Path, files: dict[str, str]) -> list[tuple[str, int, str]]:
    with pytest.raises(ConfigurationError) as error:
        load(root, files)
    return [(problem.file, problem.line, problem.field) for problem in error.value.problems]


def test_a_candidate_travels_in_the_live_document_and_comes_out_of_its_bytes_again(tmp_path: Path) -> None:
    files = {
        "a/sla.yaml": "policies: []",
        "a/shadow/sla.yaml": "policies: [{policy_id: next, targets: {instant_reply: 20}}]",
        "a/shadow/routing.yaml": "mode: offered",
        "a/shadow/rules.yaml": "rules: [{rule_id: x, reply: {text: 好}}]",
    }
    documents = load(tmp_path, files).shops["a"]
    assert documents["sla"].candidate.policies[0].policy_id == "next"
    assert documents["routing"].candidate.mode == "offered"
    assert documents["routing"].mode == "assigned", "the live one is that of _default"
    assert [rule.rule_id for rule in documents["rules"].candidate.rules] == ["x"]
    assert [rule.rule_id for rule in documents["rules"].rules] == ["hello", "bye"]
    for kind in ("sla", "routing", "rules"):
        assert DOCUMENTS[kind].model_validate_json(body_of(documents[kind]), strict=True) == documents[kind]


def test_a_candidate_that_inherits_has_the_live_rules_that_it_does_not_override(tmp_path: Path) -> None:
    files = {"_default/shadow/rules.yaml": "inherit: true\nrules: [{rule_id: bye, reply: {text: 慢走}}]"}
    candidate = load(tmp_path, files).shops["_default"]["rules"].candidate
    assert {rule.rule_id: rule.reply.text for rule in candidate.rules} == {"bye": "慢走", "hello": "您好"}
    assert candidate.fallback.priority == 60
    assert not candidate.inherit


def test_a_candidate_of_one_part_alone_is_the_live_rules_with_that_part(tmp_path: Path) -> None:
    candidate = load(tmp_path, {"_default/shadow/knowledge.yaml": "{}"}).shops["_default"]["rules"].candidate
    assert [rule.rule_id for rule in candidate.rules] == ["hello", "bye"]


def test_whom_the_robot_leaves_alone_and_the_constants_are_those_of_the_live_rules(tmp_path: Path) -> None:
    files = {
        "_default/rules.yaml": "constants: {coupon: 满 300 减 40}\nguard: {bots: [spider]}",
        "_default/shadow/rules.yaml": "rules: [{rule_id: c, reply: {text: '{coupon}'}}]",
    }
    candidate = load(tmp_path, files).shops["_default"]["rules"].candidate
    assert candidate.constants == {"coupon": "满 300 减 40"}
    assert candidate.guard.bots == ("spider",)


def test_a_set_that_ships_is_tried_with_its_rules(tmp_path: Path) -> None:
    name = next(iter(scenario_sets()))
    candidate = (
        load(tmp_path, {"_default/shadow/rules.yaml": f"scenarios: [{name}]"}).shops["_default"]["rules"].candidate
    )
    assert any(rule.rule_id.startswith(f"{name}.") for rule in candidate.rules)


def test_without_a_candidate_the_bytes_of_a_document_are_as_before(tmp_path: Path) -> None:
    for document in load(tmp_path, {}).shops["_default"].values():
        assert b"candidate" not in body_of(document)
        assert b"shadow_until" not in body_of(document)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a/shadow/sla.yaml": "\npolices: []"}, ("a/shadow/sla.yaml", 2, "polices")),
        ({"a/shadow/routing.yaml": "mode: maybe"}, ("a/shadow/routing.yaml", 1, "mode")),
        ({"a/shadow/knowledge.yaml": "\n\nnothing: 1"}, ("a/shadow/knowledge.yaml", 3, "nothing")),
        ({"a/shadow/agents.yaml": "agents: []"}, ("a/shadow/agents.yaml", 0, "")),
        ({"a/shadow/rule.yaml": "{}"}, ("a/shadow/rule.yaml", 0, "")),
        ({"a/shadow/sla.yaml": "calendar: nowhere"}, ("a/shadow/sla.yaml", 1, "calendar")),
        ({"a/shadow/rules.yaml": "shadow_until: 2026-11-30T00:00:00Z"}, ("a/shadow/rules.yaml", 1, "shadow_until")),
        (
            {"a/shadow/rules.yaml": "rules: [{rule_id: x, reply: {text: '{nobody}'}}]"},
            ("a/shadow/rules.yaml", 1, "rules[0].reply.text"),
        ),
        ({"a/sla.yaml": "candidate: {}", "a/shadow/sla.yaml": "{}"}, ("a/sla.yaml", 1, "candidate")),
        ({"a/rules.yaml": "candidate: {shadow: true}"}, ("a/rules.yaml", 1, "candidate.shadow")),
    ],
)
def test_a_mistake_in_a_candidate_is_told_where_it_stands(
    tmp_path: Path, files: dict[str, str], problem: tuple[str, int, str]
) -> None:
    assert refused(tmp_path, files) == [problem]


def test_a_group_that_nobody_is_in_is_a_warning_in_the_candidate_too(tmp_path: Path) -> None:
    routing = "rules: [{rule_id: r, steps: [{groups: [ghosts]}]}]"
    warnings = load(tmp_path, {"a/shadow/routing.yaml": routing}).warnings
    assert [(warning.file, warning.field) for warning in warnings] == [
        ("a/shadow/routing.yaml", "rules[0].steps[0].groups[0]")
    ]
