"""A text as the units that two texts may share: characters or words, pairs of them, segmented words, and grams. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple

import rjieba

from deskline.folding import deep_text

_CHINESE: Final = "\u3400-\u9fff\u3040-\u30ff\uf900-\ufaff"
_UNIT: Final = re.compile(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+")
_INK: Final = re.compile(r"[^\W_]")
_NUMBER: Final = re.compile(r"\d+|[一二三四五六七八九十百千万两]+")
_NEGATION: Final = re.compile(r"不|没|无|别|未|\b(?:not?|never|without|\w+nt)\b")
# What is asked for: two questions that differ in it want different answers, however alike they are otherwise.
_ASKED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        "谁|who",
        "什么时候|何时|几点|几号|when",
        "哪里|哪儿|哪有|在哪|where",
        "怎么|怎样|如何|咋|how",
        "为什么|为啥|why",
        "多少|几|多大|多久|how much|how many",
        "什么|啥|what",
        "哪个好|好吗|好不好|怎么样",
        "能|可以|can",
    )
)
# Longer texts are no questions to a knowledge base; what comes later in them would only cost time.
_MOST: Final = 400

STREAMS: Final = ("unit", "pair", "word", "gram")


class Signs(NamedTuple):
    """What must agree although it weighs little among the words."""

    numbers: frozenset[str]
    negated: bool
    asked: frozenset[int]


class Words(NamedTuple):
    text: str
    """Folded, words apart."""
    streams: tuple[tuple[str, ...], ...]
    """In the order of ``STREAMS``."""
    signs: Signs

    @property
    def units(self) -> tuple[str, ...]:
        return self.streams[0]


def words_of(text: str) -> Words:
    folded = " ".join(filter(None, map(deep_text, text[:_MOST].split())))
    units = tuple(_UNIT.findall(folded))
    pairs = tuple(f"{a}|{b}" for a, b in pairwise(("^", *units, "$"))) if units else ()
    segmented = tuple(word for word in rjieba.cut_for_search(folded) if _INK.search(word))
    return Words(folded, (units, pairs, segmented, _grams(units)), _signs(folded))


def _grams(units: tuple[str, ...]) -> tuple[str, ...]:
    """Triples of characters where the text is Chinese; three and four letters of words where it is not."""
    if not all(unit.isascii() for unit in units):
        return tuple(a + b + c for a, b, c in zip(units, units[1:], units[2:], strict=False))
    line = f"_{'_'.join(units)}_"
    return tuple(line[at : at + 4] for at in range(len(line) - 3)) + tuple(
        line[at : at + 3] for at in range(len(line) - 2)
    )


def _signs(folded: str) -> Signs:
    return Signs(
        frozenset(_NUMBER.findall(folded)),
        _NEGATION.search(folded) is not None,
        frozenset(number for number, pattern in enumerate(_ASKED) if pattern.search(folded)),
    )
