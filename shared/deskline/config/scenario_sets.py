"""The sets of rules that ship (``scenarios/*.yaml``), and what becomes of a document that names some. Pure but for reading them.

A set is written into the document where the directory is loaded, so a version means the same under a release whose sets are others.
"""

from functools import lru_cache
from importlib.resources import files
from json import dumps
from typing import Literal

from deskline.config.base import Document, Name
from deskline.config.rules_document import AutoreplyRule, RulesDocument, ScenarioUse, TimeWindow
from deskline.config.yaml_source import read


class Title(Document):
    zh: str
    en: str


class ScenarioSet(Document):
    name: Name
    emergency: bool = False
    """For bad days: an operator switches it on, and off again."""
    title: Title
    zh: tuple[AutoreplyRule, ...]
    en: tuple[AutoreplyRule, ...]

    def rules(self, language: Literal["zh", "en"]) -> tuple[AutoreplyRule, ...]:
        return self.zh if language == "zh" else self.en


class _File(Document):
    sets: tuple[ScenarioSet, ...]


@lru_cache(maxsize=1)
def scenario_sets() -> dict[str, ScenarioSet]:
    """Name → set, in the order in which they are listed."""
    folder = files("deskline.config").joinpath("scenarios")
    found: dict[str, ScenarioSet] = {}
    for name in ("everyday.yaml", "emergencies.yaml"):
        source = read(folder.joinpath(name).read_bytes())
        content = _File.model_validate_json(dumps(source.value, ensure_ascii=False), strict=True)
        found |= {one.name: one for one in content.sets}
    return found


def with_scenarios(document: RulesDocument) -> RulesDocument:
    """The document with the rules of its scenarios behind its own; a set that nobody knows gives none."""
    if not document.scenarios:
        return document
    known = {rule.rule_id for rule in document.rules}
    rules = list(document.rules)
    for use in document.scenarios:
        set_ = scenario_sets().get(use.name)
        for rule in () if set_ is None else set_.rules(use.language or document.language):
            made = rule.model_copy(update={"rule_id": f"{use.name}.{rule.rule_id}", "when": _within(rule, use)})
            if made.rule_id not in known:
                known.add(made.rule_id)
                rules.append(made)
    return document.model_copy(update={"rules": tuple(rules)})


def _within(rule: AutoreplyRule, use: ScenarioUse) -> object:
    """The rule's condition, only between the use's begin and end."""
    stated = {key: value for key, value in (("begins", use.begins), ("ends", use.ends)) if value is not None}
    if not stated:
        return rule.when
    windows = rule.when.during or (TimeWindow(begins=use.begins, ends=use.ends),)
    # A set's own windows have no begin and no end, but parts of the year.
    return rule.when.model_copy(update={"during": tuple(window.model_copy(update=stated) for window in windows)})
