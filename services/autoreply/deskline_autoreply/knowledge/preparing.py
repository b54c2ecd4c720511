"""What takes long, before anybody waits for it: ``warm`` at a start, ``Preparation`` before a version can be in force."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deskline.config.knowledge_document import Entry, Knowledge, Product
from deskline_autoreply.knowledge.vector_store import VectorStore, texts_of

if TYPE_CHECKING:
    from deskline.config.rules_document import RulesDocument
    from deskline.settings import ServiceSettings
    from deskline_autoreply.knowledge.vectors import Encoder
    from deskline_autoreply.versions import Versions


def warm() -> None:
    """Load weights, tokenizer, dictionaries and tables, and answer one question of each kind: 1.5 s of CPU, 200 MB."""
    from deskline_autoreply.knowledge.index import KnowledgeIndex  # noqa: PLC0415

    entries = (
        Entry(entry_id="returns", phrasings=("怎么退货", "衣服不合適能退嗎"), answer="七天内可以退货。"),
        Entry(entry_id="delivery", phrasings=("how long does delivery take?",), answer="Three days."),
    )
    products = (Product(product_id="coat", names=("大衣", "coat"), price="899"),)
    index = KnowledgeIndex(Knowledge(entries=entries, products=products))
    for text in ("请问衣服怎么退", "how many days until it is delivered", "大衣多少钱"):
        index.answer(text, 0)


class Preparation:
    """For ``Runtime.prepare_rules``: compiles a version in another thread, while this one decides by other versions."""

    def __init__(self, settings: ServiceSettings, versions: Versions) -> None:
        self._store = VectorStore(settings)
        self._versions = versions

    async def prepare(self, document: RulesDocument) -> None:
        texts = [
            text for each in (document, document.candidate) if each is not None for text in texts_of(each.knowledge)
        ]
        if not texts:
            await asyncio.to_thread(self._versions.prepare, document)
            return
        encoder = await asyncio.to_thread(_encoder)
        new = await self._store.load(encoder, texts)
        await asyncio.to_thread(self._versions.prepare, document)
        await self._store.save(encoder, new)


def _encoder() -> Encoder:
    # Only here, because it brings numpy.
    from deskline_autoreply.knowledge.vectors import encoder  # noqa: PLC0415

    return encoder()
