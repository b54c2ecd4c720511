"""Compiled knowledge bases in memory: one for all documents that say the same, the most recently used within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from deskline.config.knowledge_document import Knowledge
    from deskline_autoreply.knowledge.index import KnowledgeIndex

# Some 6 kB each with their vectors: below a gigabyte. Beyond, what was not asked for longest is compiled again when it is.
_MOST_PHRASINGS: Final = 150_000
_MOST_DOCUMENTS: Final = 5_000


class Indexes:
    """Safe to be used by several threads; a thread that compiles does not keep others from what is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[int, tuple[Knowledge, bytes]] = {}
        self._known: OrderedDict[bytes, KnowledgeIndex] = OrderedDict()

    def of(self, document: Knowledge) -> KnowledgeIndex:
        key = self._key(document)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        # Only here, because it brings numpy and the model's code: commands that decide nothing start without them.
        from deskline_autoreply.knowledge.index import KnowledgeIndex  # noqa: PLC0415

        made = KnowledgeIndex.of(document)
        with self._lock:
            self._known[key] = made
            while len(self._known) > 1 and sum(index.size for index in self._known.values()) > _MOST_PHRASINGS:
                self._known.popitem(last=False)
        return made

    def _key(self, document: Knowledge) -> bytes:
        known = self._keys.get(id(document))
        if known is None:
            if len(self._keys) >= _MOST_DOCUMENTS:
                self._keys = {}
            # The document is kept beside the result, so its id is not given to another object.
            known = (document, blake2b(document.model_dump_json().encode(), digest_size=16).digest())
            self._keys[id(document)] = known
        return known[1]
