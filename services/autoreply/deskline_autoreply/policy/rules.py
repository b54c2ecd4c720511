"""A shop's rules, compiled once per version: which rule answers a message, and how that was found.

The folded text goes once through an Aho-Corasick automaton over all keywords of the version, so the cost of a message does not grow with
the number of rules; plain ``in`` is cheaper below about twenty keywords. Only rules of which a keyword was found, and rules
without keywords, are then looked at, in their order: greater priority first, among equals as in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ahocorasick_rs import AhoCorasick

from deskline.text import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from deskline.config.rules_document import AutoreplyRule, Handover, RuleCondition, RulesDocument

# Where the automaton (1.1 µs a text of forty characters) begins to beat one `in` per keyword (0.05 to 0.1 µs each).
_AUTOMATON_FROM: Final = 16


class Asked(NamedTuple):
    """What the rules may look at in a message."""

    text: str
    """Folded."""
    is_open: bool
    """The shop's hours at the message's event time; any value where ``needs_hours`` is False."""
    first_message: bool
    attachment: bool
    tier: str
    channel: str
    entry_point: str | None
    language: str | None


class _Keywords(NamedTuple):
    """The keyword conditions of a rule, as numbers of the version's keywords."""

    any_of: frozenset[int] | None
    all_of: frozenset[int] | None
    none_of: frozenset[int] | None
    exact: frozenset[str] | None

    def failed(self, text: str, found: set[int]) -> str | None:
        if self.exact is not None and text not in self.exact:
            return "exact"
        if self.any_of is not None and self.any_of.isdisjoint(found):
            return "any_of"
        if self.all_of is not None and not self.all_of <= found:
            return "all_of"
        if self.none_of is not None and not self.none_of.isdisjoint(found):
            return "none_of"
        return None


class Compiled:
    """The rules of one version. ``first(asked)`` is the rule that decides, None for the fallback."""

    def __init__(self, document: RulesDocument) -> None:
        self.shadow = document.shadow
        self._shadow_until = document.shadow_until_us
        self._goes_live = document.shadow_then == "live"
        self.candidate = None if document.candidate is None else Compiled(document.candidate)
        """Rules tried beside these."""
        self.fallback: Handover = document.fallback
        self.rules = tuple(sorted(document.rules, key=lambda rule: -rule.priority))
        self.needs_hours = any(rule.when.open is not None for rule in self.rules)
        numbers: dict[str, int] = {}
        self._keywords = tuple(_number(rule.when, numbers) for rule in self.rules)
        self._words = tuple(numbers)
        self._find = _finder(self._words)
        self._bare = tuple(condition for condition in map(_bare, self.rules))
        self._always: list[int] = []
        self._by_word: dict[int, list[int]] = {}
        self._by_text: dict[str, list[int]] = {}
        for position, keywords in enumerate(self._keywords):
            self._index(position, keywords)

    def _index(self, position: int, keywords: _Keywords) -> None:
        """File a rule under words of which one must be there for it to match."""
        if keywords.exact is not None:
            for text in keywords.exact:
                self._by_text.setdefault(text, []).append(position)
        elif keywords.any_of is not None or keywords.all_of is not None:
            for word in keywords.any_of or (min(keywords.all_of or ()),):
                self._by_word.setdefault(word, []).append(position)
        else:
            self._always.append(position)

    def in_shadow(self, at: int) -> bool:
        """Whether nothing is sent for a message of this event time: the shop's trial runs, or has ended without going live."""
        return self.shadow and not (self._goes_live and at >= self._shadow_until)

    def is_recorded(self, at: int) -> bool:
        """Whether what would have been sent is recorded: while the trial runs."""
        return self.shadow and at < self._shadow_until

    def first(self, asked: Asked) -> AutoreplyRule | None:
        text = asked.text
        found = self._find(text)
        candidates = set(self._always)
        candidates.update(self._by_text.get(text, ()))
        for word in found:
            candidates.update(self._by_word.get(word, ()))
        for position in sorted(candidates):
            if self._keywords[position].failed(text, found) is None and _failed(self._bare[position], asked) is None:
                return self.rules[position]
        return None

    def explain(self, asked: Asked) -> Iterator[tuple[AutoreplyRule, str | None]]:
        """Every rule up to the one that decides, with the first condition that it fails (None: it decides)."""
        found = self._find(asked.text)
        for rule, keywords, bare in zip(self.rules, self._keywords, self._bare, strict=True):
            failed = keywords.failed(asked.text, found) or _failed(bare, asked)
            yield rule, failed
            if failed is None:
                return


def _number(when: RuleCondition, numbers: dict[str, int]) -> _Keywords:
    def those(words: tuple[str, ...] | None) -> frozenset[int] | None:
        return None if words is None else frozenset(numbers.setdefault(fold(word), len(numbers)) for word in words)

    exact = None if when.exact is None else frozenset(map(fold, when.exact))
    return _Keywords(those(when.any_of), those(when.all_of), those(when.none_of), exact)


def _finder(words: tuple[str, ...]) -> Callable[[str], set[int]]:
    if len(words) >= _AUTOMATON_FROM:
        find = AhoCorasick(words).find_matches_as_indexes
        return lambda text: {number for number, _, _ in find(text, overlapping=True)}
    numbered = tuple(enumerate(words))
    return lambda text: {number for number, word in numbered if word in text}


_Bare = tuple[tuple[str, int, frozenset[object]], ...]
"""(name of the condition, place in ``Asked``, values that meet it), only of the conditions present."""


def _bare(rule: AutoreplyRule) -> _Bare:
    when = rule.when
    wanted: Iterable[tuple[str, str, object]] = (
        ("open", "is_open", when.open),
        ("first_message", "first_message", when.first_message),
        ("attachment", "attachment", when.attachment),
        ("tiers", "tier", when.tiers),
        ("channels", "channel", when.channels),
        ("entry_points", "entry_point", when.entry_points),
        ("languages", "language", when.languages),
    )
    return tuple(
        (name, Asked._fields.index(field), frozenset(value if isinstance(value, tuple) else (value,)))
        for name, field, value in wanted
        if value is not None
    )


def _failed(bare: _Bare, asked: Asked) -> str | None:
    for name, place, admitted in bare:
        if asked[place] not in admitted:
            return name
    return None
