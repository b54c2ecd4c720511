"""Regular expressions and phrases with gaps, as rules have them: checked, compiled, and what they cannot match without. Pure.

The engine is RE2: its time grows with the text alone, whatever the pattern. What it cannot do (back references, looking
around) is refused where the configuration is checked, with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import re2

from deskline.folding import deep_text

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PATTERN: Final = 1_000
# RE2 keeps program and states of one expression below this, and is slower, never wrong, where they would not fit. A thousand
# expressions take a few MB as a rule and 256 MB at the very most.
_MAX_MEM: Final = 256 * 1024
# `.{0,50}` between two words has some 700 instructions.
_MAX_PROGRAM: Final = 6_000
MAX_GAP: Final = 50
_DEFAULT_GAP: Final = (0, 8)
_GAP: Final = re.compile(r"…+(?:\{\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?\})?", re.ASCII)
# What folding changes in place only, so that a part of the pattern is a part of the folded text: Chinese characters, and
# letters and digits of ASCII.
_SAFE: Final = re.compile("[0-9A-Za-z\u4e00-\u9fff]")

Search = "Callable[[str], bool]"


def _options(*, case_sensitive: bool = False) -> re2.Options:
    options = re2.Options()
    options.max_mem = _MAX_MEM
    options.log_errors = False
    options.never_capture = True
    options.case_sensitive = case_sensitive
    options.dot_nl = True
    return options


def check_pattern(pattern: str) -> str:
    """The pattern. Raises ``ValueError`` with the engine's reason where it is none, or one of no bound."""
    if not pattern.strip():
        raise ValueError("an empty regular expression matches every message; write what must be found")
    try:
        compiled = re2.compile(pattern, _options())
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the regular expression {pattern!r} is refused by RE2: {text}{_advice(text)}") from None
    if compiled.programsize > _MAX_PROGRAM:
        raise ValueError(
            f"the regular expression {pattern!r} is too large ({compiled.programsize} instructions, at most {_MAX_PROGRAM}); "
            "repeat less, or split it"
        )
    if compiled.search(b""):
        raise ValueError(f"the regular expression {pattern!r} matches an empty text, and so every message")
    return pattern


def _advice(reason: str) -> str:
    if "perl operator" in reason:
        return " (it cannot look ahead or behind: use none_of for what must not be there)"
    if "invalid escape" in reason:
        return " (it has no back references; \\d \\w \\s \\b \\pL and the like it has)"
    if "too large" in reason or "repetition" in reason:
        return " (repeat less, or split it)"
    return ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression or a phrase."""

    written: str
    search: Callable[[bytes], object]
    """Over UTF-8; something true where it is found."""
    literals: frozenset[str] | None
    """Of these, folded, one is in every folded text that it is found in; None: nothing of the kind is known."""
    folded_only: bool
    """It is looked for in the folded text alone, not in the text as it reads."""


@lru_cache(maxsize=20_000)
def compile_pattern(pattern: str) -> Pattern:
    return Pattern(pattern, re2.compile(pattern, _options()).search, literals_of(pattern), folded_only=False)


# --- phrases ----------------------------------------------------------------------------------------------------


def phrase_parts(phrase: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The folded words of a phrase and the gaps between them: ``退…{0,6}款`` → ([退, 款], [(0, 6)]).

    Raises ``ValueError`` with what to write instead.
    """
    words, gaps, end = [], [], 0
    for match in _GAP.finditer(phrase):
        words.append(phrase[end : match.start()])
        low, high = match.groups()
        gap = _DEFAULT_GAP if low is None else (0 if high is not None and not low else int(low), int(high or low))
        if gap[0] > gap[1] or gap[1] > MAX_GAP:
            raise ValueError(f"the gap {match.group()} of {phrase!r} must be …{{least,most}}, at most {MAX_GAP}")
        gaps.append(gap)
        end = match.end()
    words.append(phrase[end:])
    if not gaps:
        raise ValueError(f"the phrase {phrase!r} has no gap; write …{{0,6}} between two words, or use any_of")
    folded = [deep_text(word) for word in words]
    if not all(folded):
        raise ValueError(f"the phrase {phrase!r} must have a word before, between and behind its gaps")
    return folded, gaps


def check_phrase(phrase: str) -> str:
    phrase_parts(phrase)
    return phrase


@lru_cache(maxsize=20_000)
def compile_phrase(phrase: str) -> Pattern:
    words, gaps = phrase_parts(phrase)
    pieces = [re2.escape(words[0])]
    for (low, high), word in zip(gaps, words[1:], strict=True):
        pieces += [f".{{{low},{high}}}", re2.escape(word)]
    compiled = re2.compile("".join(pieces), _options(case_sensitive=True))
    return Pattern(phrase, compiled.search, frozenset((max(words, key=len),)), folded_only=True)


# --- what must be there -----------------------------------------------------------------------------------------


def literals_of(pattern: str) -> frozenset[str] | None:
    """Folded texts of which one is in the fold of every text that the pattern is found in; None where none is sure.

    It reads the pattern carefully, not completely: what it does not know it takes for anything.
    """
    try:
        found = _Reader(pattern).read()
    except _UnknownError:
        return None
    return None if found is None else frozenset(map(deep_text, found))


class _UnknownError(Exception):
    pass


_Literals = frozenset[str] | None


class _Reader:
    """Recursive descent over the syntax of RE2; each method returns the literals of which one must be there."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def read(self) -> _Literals:
        found = self._alternatives()
        if self.at < len(self.pattern):
            raise _UnknownError
        return found

    def _alternatives(self) -> _Literals:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        if any(branch is None for branch in branches):
            return None
        return frozenset().union(*(branch for branch in branches if branch is not None))

    def _branch(self) -> _Literals:
        best: _Literals = None
        run = ""
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            literal, inner = self._atom()
            least = self._repeated()
            if literal and least == 1:
                run += literal
                continue
            # A repeated letter is there once at least; what follows it need not follow directly.
            best, run = _better(best, run + (literal if least else "")), ""
            if inner is not None and least:
                best = _better(best, inner)
        return _better(best, run)

    def _atom(self) -> tuple[str, _Literals]:
        """(the character that it is, else empty; the literals inside a group)."""
        character = self.pattern[self.at]
        self.at += 1
        if character == "(":
            return "", self._group()
        if character == "[":
            self._class()
            return "", None
        if character == "\\":
            return self._escape(), None
        if character in "*+?{":
            raise _UnknownError
        return (character if _SAFE.fullmatch(character) else ""), None

    def _group(self) -> _Literals:
        if self._take("?"):
            named = re.compile(r"P?<\w+>|:").match(self.pattern, self.at)
            if named is None:
                raise _UnknownError  # flags
            self.at = named.end()
        found = self._alternatives()
        if not self._take(")"):
            raise _UnknownError
        return found

    def _class(self) -> None:
        self._take("^")
        self._take("]")
        while not self._take("]"):
            if self.at >= len(self.pattern):
                raise _UnknownError
            if self.pattern.startswith("[:", self.at):
                self.at = self.pattern.index(":]", self.at) + 2
                continue
            self.at += 2 if self.pattern[self.at] == "\\" else 1

    def _escape(self) -> str:
        if self.at >= len(self.pattern):
            raise _UnknownError
        character = self.pattern[self.at]
        self.at += 1
        if character in "dDsSwWbBAztnrfv":
            return ""
        if character in "pP":
            property_ = re.compile(r"\{\^?\w+\}|\w").match(self.pattern, self.at)
            if property_ is None:
                raise _UnknownError
            self.at = property_.end()
            return ""
        if character.isalnum():
            raise _UnknownError  # \x, \Q and what else there may be
        return ""

    def _repeated(self) -> int:
        """How often the atom before must be there at least: 0, 1, or 2 for once and perhaps more."""
        count = re.compile(r"([*+?]|\{(\d+)(,\d*)?\})\??").match(self.pattern, self.at)
        if count is None:
            return 1
        self.at = count.end()
        if self.pattern[self.at : self.at + 1] in {"*", "+", "?"}:
            raise _UnknownError
        sign, least = count.group(1), count.group(2)
        if sign in "*?":
            return 0
        return 2 if sign == "+" or int(least) else 0

    def _take(self, character: str) -> bool:
        if self.pattern.startswith(character, self.at):
            self.at += 1
            return True
        return False


def _better(known: _Literals, found: str | frozenset[str]) -> _Literals:
    """Longer is rarer; fewer is cheaper."""
    new = frozenset((found,)) if isinstance(found, str) else found
    if not new or not all(new):
        return known
    if known is None:
        return new
    return max(known, new, key=lambda literals: (min(map(len, literals)), -len(literals)))
