"""Inverted indexes over the phrasings of a knowledge base, one per stream of units; scores of a query to every phrasing."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# BM25: how soon repetition saturates, and how much long texts are discounted. In questions, which are short, that a word is
# there is nearly all: with the usual 1.2 the first entry is right less often, by 0.3 to 0.9 points on each stream.
_K1: Final = 0.3
_B: Final = 0.75


class Lexicon:
    """One stream. ``scores`` gives (cosine of tf-idf, BM25), each one number per phrasing."""

    def __init__(self, phrasings: Sequence[Sequence[str]]) -> None:
        self.size = len(phrasings)
        counts = [Counter(phrasing) for phrasing in phrasings]
        spread: Counter[str] = Counter()
        for count in counts:
            spread.update(count.keys())
        self._number = {term: number for number, term in enumerate(spread)}
        self._idf = np.array([self._inverse(spread[term]) for term in spread], dtype=np.float64)
        self.unknown = self._inverse(0)
        """The weight of a unit that no phrasing has."""
        rows: list[list[int]] = [[] for _ in spread]
        cosine: list[list[float]] = [[] for _ in spread]
        bm25: list[list[float]] = [[] for _ in spread]
        mean = sum(map(len, phrasings)) / max(1, self.size) or 1.0
        for row, (count, phrasing) in enumerate(zip(counts, phrasings, strict=True)):
            weights = [(self._number[t], n, self._idf[self._number[t]] * (1 + log(n))) for t, n in count.items()]
            norm = sum(weight * weight for _, _, weight in weights) ** 0.5 or 1.0
            damping = _K1 * (1 - _B + _B * len(phrasing) / mean)
            for number, n, weight in weights:
                rows[number].append(row)
                cosine[number].append(weight / norm)
                bm25[number].append(float(self._idf[number]) * n * (_K1 + 1) / (n + damping))
        self._rows = [np.array(row, dtype=np.int64) for row in rows]
        self._cosine = [np.array(values) for values in cosine]
        self._bm25 = [np.array(values) for values in bm25]

    def _inverse(self, documents: int) -> float:
        return log(1 + (self.size - documents + 0.5) / (documents + 0.5))

    def weight(self, term: str) -> float:
        number = self._number.get(term)
        return self.unknown if number is None else float(self._idf[number])

    def scores(self, terms: Iterable[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        known, factors, repeats, norm = self._query(terms)
        if not known:
            return np.zeros(self.size), np.zeros(self.size)
        lengths = [len(self._rows[number]) for number in known]
        rows = np.concatenate([self._rows[number] for number in known])
        cosine = np.concatenate([self._cosine[number] for number in known]) * np.repeat(factors, lengths)
        bm25 = np.concatenate([self._bm25[number] for number in known]) * np.repeat(repeats, lengths)
        return (
            np.bincount(rows, cosine, self.size) / norm,
            np.bincount(rows, bm25, self.size).astype(np.float64),
        )

    def best_cosine(self, terms: Iterable[str], first: int) -> float:
        """Of the first so many phrasings; the cosine of ``scores``, in half of its time."""
        known, factors, _, norm = self._query(terms)
        if not known:
            return 0.0
        rows = np.concatenate([self._rows[number] for number in known])
        cosine = np.concatenate([self._cosine[number] * f for number, f in zip(known, factors, strict=True)])
        return float(np.bincount(rows, cosine, self.size)[:first].max(initial=0.0)) / norm

    def _query(self, terms: Iterable[str]) -> tuple[list[int], list[float], list[int], float]:
        """The terms that some phrasing has, the weight of each, how often each is there; and the norm over all terms."""
        known: list[int] = []
        factors: list[float] = []
        repeats: list[int] = []
        total = 0.0
        for term, n in Counter(terms).items():
            number = self._number.get(term)
            weight = (self.unknown if number is None else float(self._idf[number])) * (1 + log(n))
            total += weight * weight
            if number is not None:
                known.append(number)
                factors.append(weight)
                repeats.append(n)
        return known, factors, repeats, total**0.5
