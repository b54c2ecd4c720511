"""The rules of one version, compiled.

The deeply folded text goes once through an automaton over all words of the version: keywords, and of phrases and regular
expressions a word that must be there for them to match. Only rules of which such a word was found, and rules without any,
are then looked at, in their order: greater priority first, among equals as in the file. So the cost of a message grows
neither with the number of rules nor with that of regular expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deskline.config.rule_patterns import Pattern, compile_pattern, compile_phrase
from deskline.folding import deep_text
from deskline.text import fold
from deskline_autoreply.policy.rules.conditions import Asked, Times, bare, calendars_named, failed_bare
from deskline_autoreply.policy.rules.finding import finder
from deskline_autoreply.policy.rules.saying import Saying
from deskline_autoreply.policy.sensitive import filter_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from deskline.config.rules_document import AutoreplyRule, Handover, RulesDocument
    from deskline_autoreply.model import Said
    from deskline_autoreply.policy.rules.conditions import Bare


class _Text:
    """A message's text in its forms; those that only regular expressions need are made at the first of them."""

    __slots__ = ("_bytes", "asked", "found")

    def __init__(self, asked: Asked, found: set[int]) -> None:
        self.asked, self.found = asked, found
        self._bytes: tuple[bytes, bytes] | None = None

    def has(self, pattern: Pattern) -> bool:
        if self._bytes is None:
            self._bytes = self.asked.text.encode(), self.asked.readable.encode()
        deep, readable = self._bytes
        if pattern.search(deep) is not None:
            return True
        return not pattern.folded_only and readable != deep and pattern.search(readable) is not None


class _Words(NamedTuple):
    """The conditions of a rule about its text; words as numbers of the version's words."""

    any_of: frozenset[int] | None
    all_of: frozenset[int] | None
    none_of: frozenset[int] | None
    exact: frozenset[str] | None
    exact_plain: frozenset[str]
    phrases: tuple[Pattern, ...] | None
    patterns: tuple[Pattern, ...] | None

    def failed(self, text: _Text) -> str | None:
        found = text.found
        if self.exact is not None and text.asked.text not in self.exact and text.asked.plain not in self.exact_plain:
            return "exact"
        if self.any_of is not None and self.any_of.isdisjoint(found):
            return "any_of"
        if self.all_of is not None and not self.all_of <= found:
            return "all_of"
        if self.none_of is not None and not self.none_of.isdisjoint(found):
            return "none_of"
        if self.phrases is not None and not any(map(text.has, self.phrases)):
            return "phrases"
        if self.patterns is not None and not any(map(text.has, self.patterns)):
            return "patterns"
        return None


class _Numbers:
    """Numbers for the words of a version: those found in the deep fold, and those of signs found in the plain one."""

    def __init__(self) -> None:
        self.deep: dict[str, int] = {}
        self.plain: dict[str, int] = {}
        self._count = 0

    def of(self, word: str) -> int:
        deep = deep_text(word)
        return self._number(self.deep, deep) if is_deep(deep, word) else self._number(self.plain, fold(word))

    def literal(self, word: str) -> int:
        return self._number(self.deep, word)

    def _number(self, words: dict[str, int], word: str) -> int:
        number = words.get(word)
        if number is None:
            number = words[word] = self._count
            self._count += 1
        return number


def is_deep(deep: str, word: str) -> bool:
    """Whether a keyword is compared in its deep fold. Where signs are what it consists of ("?", "c++"), the plain
    fold, which keeps them, is compared.
    """
    return len(deep) > 1 or (len(deep) == 1 and len(fold(word)) == 1)


class Compiled:
    """The rules of one version. ``first(asked)`` is the rule that decides, None for the fallback."""

    def __init__(self, document: RulesDocument) -> None:
        self.document = document
        self.filter = filter_of(document.sensitive)
        self.shadow = document.shadow
        self._shadow_until = document.shadow_until_us
        self._goes_live = document.shadow_then == "live"
        self.candidate = None if document.candidate is None else Compiled(document.candidate)
        """Rules tried beside these."""
        self.fallback: Handover = document.fallback
        enabled = (rule for rule in document.rules if not rule.disabled)
        self.rules = tuple(sorted(enabled, key=lambda rule: -rule.priority))
        self.needs_hours = any(rule.when.open is not None for rule in self.rules)
        self.needs_readable = any(rule.when.patterns is not None for rule in self.rules)
        self._times = tuple(Times.of(rule) for rule in self.rules)
        self.needs_moment = any(times is not None for times in self._times)
        self.calendars = calendars_named(self.rules)
        self.guard = document.guard
        self._bots = frozenset(document.guard.bots)
        self._bot_patterns = tuple(compile_pattern(pattern).search for pattern in document.guard.bot_patterns)
        self.cooldowns = {
            rule.rule_id: round(cooldown * 1e6)
            for rule in self.rules
            if rule.reply is not None
            and (cooldown := document.cooldown_s if rule.cooldown_s is None else rule.cooldown_s)
        }
        """Rule → µs."""
        self._sayings = {
            rule.rule_id: Saying(rule.rule_id, rule.reply, document.constants)
            for rule in self.rules
            if rule.reply is not None
        }
        self.needs_values = any(saying.needs_values for saying in self._sayings.values())
        numbers = _Numbers()
        self._words = tuple(_words(rule, numbers) for rule in self.rules)
        self._bare: tuple[Bare, ...] = tuple(map(bare, self.rules))
        self._always: tuple[int, ...] = ()
        self._by_word: dict[int, list[int]] = {}
        self._by_text: dict[str, list[int]] = {}
        for position, words in enumerate(self._words):
            self._file(position, words, numbers)
        self._deep_numbers = tuple(numbers.deep.values())
        self._plain_numbers = tuple(numbers.plain.values())
        self._find_deep = finder(tuple(numbers.deep))
        self._find_plain = finder(tuple(numbers.plain))

    def _file(self, position: int, words: _Words, numbers: _Numbers) -> None:
        """File a rule under words of which one must be there for it to match."""
        if words.exact is not None:
            for text in (*words.exact, *words.exact_plain):
                self._by_text.setdefault(text, []).append(position)
            return
        needed: Iterable[int] | None = words.any_of
        if needed is None and words.all_of is not None:
            needed = (min(words.all_of),)
        for patterns in (words.phrases, words.patterns):
            if needed is None and patterns is not None and all(pattern.literals for pattern in patterns):
                needed = {numbers.literal(word) for pattern in patterns for word in pattern.literals or ()}
        if needed is None:
            self._always = (*self._always, position)
            return
        for word in needed:
            self._by_word.setdefault(word, []).append(position)

    def is_bot(self, customer: str) -> bool:
        if customer in self._bots:
            return True
        encoded = customer.encode() if self._bot_patterns else b""
        return any(search(encoded) is not None for search in self._bot_patterns)

    def say(
        self, rule: AutoreplyRule, customer: str, values: Mapping[str, str | None], was_said: Callable[[str], bool]
    ) -> Said | None:
        """What a rule that replies says to this customer now; None where it has nothing to say."""
        return self._sayings[rule.rule_id].say(customer, values, was_said)

    def in_shadow(self, at: int) -> bool:
        """Whether nothing is sent for a message of this event time: the shop's trial runs, or has ended without going live."""
        return self.shadow and not (self._goes_live and at >= self._shadow_until)

    def is_recorded(self, at: int) -> bool:
        """Whether what would have been sent is recorded: while the trial runs."""
        return self.shadow and at < self._shadow_until

    def _found(self, asked: Asked) -> set[int]:
        deep = self._deep_numbers
        found = {deep[index] for index in self._find_deep(asked.text)}
        if self._plain_numbers:
            found.update(self._plain_numbers[index] for index in self._find_plain(asked.plain))
        return found

    def matching(self, asked: Asked) -> Iterator[AutoreplyRule]:
        """Every rule whose conditions all match, in the order in which they are asked."""
        found = self._found(asked)
        candidates = set(self._always)
        if self._by_text:
            candidates.update(self._by_text.get(asked.text, ()), self._by_text.get(asked.plain, ()))
        for word in found:
            candidates.update(self._by_word.get(word, ()))
        if not candidates:
            return
        text = _Text(asked, found)
        for position in sorted(candidates):
            if self._failed(position, text) is None:
                yield self.rules[position]

    def first(self, asked: Asked) -> AutoreplyRule | None:
        """The first matching rule that does more than to tag, and does not wait for whether somebody else has an answer."""
        return next((r for r in self.matching(asked) if not (only_tags(r) or r.unless_answered)), None)

    def explain(self, asked: Asked, upto: str | None = None) -> Iterator[tuple[AutoreplyRule, str | None]]:
        """Every rule up to the first that matches and does more than to tag, with the first condition that it fails (None: it
        matches). ``upto``: up to this rule instead, which decides where those before it had nothing to say; empty: all.
        """
        text = _Text(asked, self._found(asked))
        for position, rule in enumerate(self.rules):
            failed = self._failed(position, text)
            yield rule, failed
            if rule.rule_id == upto or (upto is None and failed is None and not only_tags(rule)):
                return

    def _failed(self, position: int, text: _Text) -> str | None:
        failed = self._words[position].failed(text) or failed_bare(self._bare[position], text.asked)
        if failed is not None:
            return failed
        kinds = self.rules[position].when.attachment_kinds
        if kinds is not None and text.asked.attachment_kinds.isdisjoint(kinds):
            return "attachment_kinds"
        times = self._times[position]
        return None if times is None else times.failed(text.asked.moment)


def only_tags(rule: AutoreplyRule) -> bool:
    return rule.reply is None and rule.handover is None and not rule.silent


def _words(rule: AutoreplyRule, numbers: _Numbers) -> _Words:
    when = rule.when

    def those(words: tuple[str, ...] | None) -> frozenset[int] | None:
        return None if words is None else frozenset(map(numbers.of, words))

    exact, exact_plain = None, frozenset[str]()
    if when.exact is not None:
        folds = [(deep_text(text), text) for text in when.exact]
        exact = frozenset(deep for deep, text in folds if is_deep(deep, text))
        exact_plain = frozenset(fold(text) for deep, text in folds if not is_deep(deep, text))
    return _Words(
        those(when.any_of),
        those(when.all_of),
        those(when.none_of),
        exact,
        exact_plain,
        None if when.phrases is None else tuple(map(compile_phrase, when.phrases)),
        None if when.patterns is None else tuple(map(compile_pattern, when.patterns)),
    )
