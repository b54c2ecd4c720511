"""What came close to answering a text: rules that failed by one condition, entries near by, words of the filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deskline.config.rules_document import RuleCondition, RulesDocument
from deskline_autoreply.policy.rules import Asked, Compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deskline_autoreply.knowledge.index import KnowledgeIndex

_ABOUT_THE_TEXT: Final = ("any_of", "all_of", "exact", "phrases", "patterns")


def failed_by_one(rules: Compiled, asked: Asked) -> Iterator[tuple[str, str]]:
    """(rule, the one condition without which it would have matched), of rules whose other conditions on the text hold."""
    for rule in rules.rules:
        only = Compiled(rules.document.model_copy(update={"rules": (rule,), "knowledge": RulesDocument().knowledge}))
        failed = next((failed for _, failed in only.explain(asked)), None)
        if failed is None or failed not in RuleCondition.model_fields:
            continue
        without = rule.when.model_copy(update={failed: None})
        if all(getattr(without, name, None) is None for name in _ABOUT_THE_TEXT):
            continue  # what is left says nothing about the text: nearly every message would be close
        freed = rule.model_copy(update={"when": without})
        left = Compiled(only.document.model_copy(update={"rules": (freed,)}))
        if next((still for _, still in left.explain(asked)), None) is None:
            yield rule.rule_id, failed


def knowledge_lines(index: KnowledgeIndex | None, text: str, at: int) -> list[str]:
    if index is None:
        return []
    answer = index.answer(text, at)
    lines = [f"knowledge base answers: {answer.sure.entry_id}"] if answer.sure is not None else []
    near = index.search(text, at)
    return lines + [f"  near: {one.entry_id} (confidence {one.confidence:.2f}, as {one.phrasing!r})" for one in near]
