"""From a question to the entries that come nearest, each with its features. No weights here: ``ranking`` weighs them.

All phrasings are scored lexically (four inverted indexes) and by the cosine of sentence vectors; the entries of the best are
candidates. What decides among them: the best and the mean phrasing by each score; kernel regressions over all phrasings (of a
large base: the nearest), which take into account that phrasings of one entry support each other and those of rivals compete; and
what a close phrasing leaves out or adds, weighted by how rare it is (numbers, negation, what is asked for).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from deskline_autoreply.knowledge.lexicon import Lexicon
from deskline_autoreply.knowledge.words import STREAMS, Signs, Words, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deskline_autoreply.knowledge.vectors import Encoder

CANDIDATES: Final = 10
_NEAREST: Final = 32
# Kernels exp(g (cos - 1)) with the ridge λ: a wide one for entries of many phrasings, a narrow one for those of few.
_KERNELS: Final = ((2.0, 0.15), (6.0, 0.3))
# In the second regression of each kernel words count beside vectors, by so much.
_LEXICAL: Final = 0.5
# Up to so many phrasings a regression takes all of them into account, solved once: a second of work and 30 MB. Beyond, the nearest.
_WHOLE: Final = 2_000

FEATURES: Final = (
    "vector_best",
    "vector_mean",
    "vector_centred",
    *(f"{kind}_{stream}" for stream in STREAMS for kind in ("bm25", "cosine", "cosine_mean")),
    *(f"kernel_{width}{kind}" for width in ("wide", "narrow") for kind in ("", "_words")),
    "covers_question",
    "covers_phrasing",
    "overlap",
    "length",
    "left_out",
    "added",
    "numbers",
    "negation",
    "asked",
    "phrasings",
)


class Near(NamedTuple):
    """Candidates, nearest first by a plain sum of scores."""

    entries: NDArray[np.int64]
    """Numbers of entries."""
    features: NDArray[np.float64]
    """[candidate, feature]; columns as ``FEATURES``."""


class _Facet(NamedTuple):
    """A text as its pairs with others are looked at."""

    weights: dict[str, float]
    ordered: tuple[tuple[str, float], ...]
    """Heaviest first."""
    total: float
    length: int
    signs: Signs


class Retriever:
    """Over phrasings of entries 0, 1, 2, …; every entry has at least one. Building it takes a millisecond per phrasing.

    ``own``: how many of the entries, the first ones, can be answers; all of them by default.
    """

    def __init__(self, phrasings: Sequence[Sequence[str]], encoder: Encoder, own: int | None = None) -> None:
        self._encoder = encoder
        self.size = sum(map(len, phrasings))
        self._own = sum(map(len, phrasings[:own]))
        self._starts = np.cumsum([0, *map(len, phrasings)])[:-1]
        self._counts = np.array([len(texts) for texts in phrasings], dtype=np.int64)
        self._owner = np.repeat(np.arange(len(phrasings)), self._counts)
        self._words = [words_of(text) for texts in phrasings for text in texts]
        self._lexicons = [Lexicon([w.streams[number] for w in self._words]) for number in range(len(STREAMS))]
        self._vectors = encoder.phrasings([text for texts in phrasings for text in texts])
        mean = self._vectors.mean(axis=0) if len(self._words) > 1 else np.zeros_like(self._vectors[0])
        centred = self._vectors - mean
        self._mean = mean
        self._norms = np.maximum(np.linalg.norm(centred, axis=1), 1e-6)
        self._offsets = centred @ mean
        self._unit = centred / self._norms[:, None]
        self._solved = self._solve() if self.size <= _WHOLE else None
        self._facets = [self._facet(words) for words in self._words]

    def near(self, question: str) -> Near:
        return self.near_words(words_of(question), self._encoder.text(question))

    def evidence(self, words: Words) -> float:
        """0 to 1: how much of the question's weight the nearest phrasing of an answer has, without vectors: cheap."""
        return self._lexicons[0].best_cosine(words.units, self._own)

    def near_words(self, words: Words, vector: NDArray[np.float32]) -> Near:
        scores = [lexicon.scores(stream) for lexicon, stream in zip(self._lexicons, words.streams, strict=True)]
        raw = (self._vectors @ vector).astype(np.float64)
        shifted = vector - self._mean
        norm = max(float(np.linalg.norm(shifted)), 1e-6)
        # cos of the centred vectors, from the raw products: (k - m)·(q - m) = k·q - m·q - (k - m)·m
        centred = (raw - float(self._mean @ vector) - self._offsets) / (self._norms * norm)
        lexical = np.mean([cosine for cosine, _ in scores], axis=0)
        fused = centred + lexical
        best = np.maximum.reduceat(fused, self._starts)
        entries = _largest(best, CANDIDATES)
        rows, starts = self._rows_of(entries)
        counts = self._counts[entries]
        table = np.stack([column[rows] for column in (raw, centred, *(one for pair in scores for one in pair))])
        bests = np.maximum.reduceat(table, starts, axis=1)
        means = np.add.reduceat(table, starts, axis=1) / counts
        columns = [bests[0], means[0], bests[1]]
        for number, (_, bm25) in enumerate(scores):
            cosine = 2 + 2 * number
            columns += [bests[cosine + 1] / max(float(bm25.max()), 1e-6), bests[cosine], means[cosine]]
        columns += self._kernels(centred, lexical, fused, entries)
        pairs = self._pairs(words, fused, entries)
        return Near(entries, np.column_stack([*columns, pairs, np.log(counts)]))

    def _rows_of(self, entries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The phrasings of these entries, one entry after the other, and where each begins."""
        counts = self._counts[entries]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        return np.repeat(self._starts[entries] - starts, counts) + np.arange(int(counts.sum())), starts

    def _solve(self) -> list[NDArray[np.float32]]:
        """Per kernel [entry, phrasing]: what a phrasing's likeness to a question says for each entry."""
        among = (self._unit @ self._unit.T).astype(np.float64) - 1
        belongs = (self._owner[:, None] == np.arange(len(self._counts))[None, :]).astype(np.float64)
        ridges = [np.exp(width * among) + ridge * np.eye(self.size) for width, ridge in _KERNELS]
        return [np.ascontiguousarray(np.linalg.solve(kernel, belongs).T, dtype=np.float32) for kernel in ridges]

    def _kernels(
        self,
        centred: NDArray[np.float64],
        lexical: NDArray[np.float64],
        fused: NDArray[np.float64],
        entries: NDArray[np.int64],
    ) -> list[NDArray[np.float64]]:
        columns: list[NDArray[np.float64]] = []
        if self._solved is not None:
            for (width, _), says in zip(_KERNELS, self._solved, strict=True):
                here = np.exp(width * (centred - 1))
                both = says[entries] @ np.stack([here, here + _LEXICAL * lexical], axis=1)
                columns += [both[:, 0], both[:, 1]]
            return columns
        near = _largest(fused, _NEAREST)
        vectors = self._unit[near]
        among = (vectors @ vectors.T).astype(np.float64) - 1
        belongs = (self._owner[near][None, :] == entries[:, None]).astype(np.float64)
        for width, ridge in _KERNELS:
            kernel = np.exp(width * among)
            kernel.flat[:: len(near) + 1] += ridge
            here = np.exp(width * (centred[near] - 1))
            both = belongs @ np.linalg.solve(kernel, np.stack([here, here + _LEXICAL * lexical[near]], axis=1))
            columns += [both[:, 0], both[:, 1]]
        return columns

    def _facet(self, words: Words) -> _Facet:
        weight = self._lexicons[0].weight
        weights = {unit: weight(unit) for unit in words.units}
        ordered = tuple(sorted(weights.items(), key=lambda pair: -pair[1]))
        return _Facet(weights, ordered, sum(weights.values()) or 1.0, len(words.units), words.signs)

    def _pairs(self, words: Words, fused: NDArray[np.float64], entries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Question and the entry's nearest phrasing, side by side."""
        asked = self._facet(words)
        return np.array([self._pair(asked, self._facets[self._nearest(fused, int(entry))]) for entry in entries])

    def _nearest(self, fused: NDArray[np.float64], entry: int) -> int:
        start, count = int(self._starts[entry]), int(self._counts[entry])
        return start if count == 1 else start + int(fused[start : start + count].argmax())

    @staticmethod
    def _pair(asked: _Facet, other: _Facet) -> tuple[float, ...]:
        mine, its = asked.weights, other.weights
        # In the question's order, not in a set's: sums of floats depend on it.
        both = sum([weight for unit, weight in mine.items() if unit in its])
        return (
            both / asked.total,
            both / other.total,
            2 * both / (asked.total + other.total),
            abs(asked.length - other.length) / max(asked.length, other.length, 1),
            next((weight for unit, weight in asked.ordered if unit not in its), 0.0),
            next((weight for unit, weight in other.ordered if unit not in mine), 0.0),
            asked.signs.numbers != other.signs.numbers,
            asked.signs.negated != other.signs.negated,
            len(asked.signs.asked ^ other.signs.asked),
        )


def _largest(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Places of the greatest, greatest first; among equals the first."""
    if len(values) > most:
        edge = np.partition(values, -most)[-most]
        places = np.flatnonzero(values >= edge)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:most]
