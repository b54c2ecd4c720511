"""The knowledge base of one version: what comes near a question, and whether it is sure enough to answer by itself.

``KnowledgeIndex.of(document)`` compiles (about a millisecond per phrasing, so outside the event loop); ``search`` and ``answer`` are
functions of their arguments and the document alone.
"""

from __future__ import annotations

from bisect import bisect
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from deskline.config.knowledge_document import Knowledge, instant_us, merged
from deskline.folding import deep_text
from deskline_autoreply.knowledge.answers import ALONE, NEAR, NOTHING, Answer, Candidate, Context
from deskline_autoreply.knowledge.background import background
from deskline_autoreply.knowledge.calibration import Judged, Threshold, stricter, threshold
from deskline_autoreply.knowledge.items import Items
from deskline_autoreply.knowledge.ranking import Case, Model, Ranked, shipped
from deskline_autoreply.knowledge.retrieval import FEATURES, Near, Retriever
from deskline_autoreply.knowledge.vectors import Encoder, encoder
from deskline_autoreply.knowledge.words import words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deskline.config.knowledge_document import Entry

# A question that shares less than this of its weight with every phrasing costs no vector: of 2 500 questions each, the FAQ set lost
# none of its 1 139 right and sure answers by that, CLINC150 seven of 1 080 (below 0.12: four). It has no suggestions either.
HOPELESS: Final = 0.2
# Whoever waits for a person already is given an answer only where it is sure, and most of those share more than this: all of
# the FAQ set's, all but 42 of CLINC150's. The rest is not worth the time.
FAINT: Final = 0.3
# Answers to texts that come again, which are a quarter of a shop's.
_REMEMBERED: Final = 10_000
# Texts taken apart, from the first look at a unit of work until they are decided.
_READ: Final = 500
# What is longer is no question: later characters would only cost time.
_MOST_CHARACTERS: Final = 400
SUGGESTED: Final = 3
# At most so sure of what comes behind a question of the background.
_BEHIND: Final = 0.5
# An entry of which another one's phrasing is so probably a question: people cannot tell the two apart either.
_RIVAL: Final = 0.3
SHIPPED: Final = "the questions that ship"
# With so few questions of its own a shop's threshold would be chance; with more the confidence is fitted to them too.
_OWN_THRESHOLD: Final = 100
_OWN_MODEL: Final = 400


class KnowledgeIndex:
    def __init__(self, document: Knowledge, encoder_: Encoder | None = None) -> None:
        self.document = document if not document.inherit else merged(Knowledge(), document)
        self._encoder = encoder_ or encoder()
        self._items = Items(document)
        self._entries = document.entries
        self._numbers = {entry.entry_id: number for number, entry in enumerate(self._entries)}
        self._exact: dict[str, list[int]] = {}
        for number, entry in enumerate(self._entries):
            for phrasing in entry.phrasings:
                self._exact.setdefault(deep_text(phrasing), []).append(number)
        self._exact.pop("", None)
        self.size = sum(len(entry.phrasings) for entry in self._entries) + len(document.products)
        begins = {instant_us(entry.valid_from) for entry in self._entries if entry.valid_from is not None}
        ends = {instant_us(entry.valid_until, end=True) for entry in self._entries if entry.valid_until is not None}
        self._turns = sorted(begins | ends)
        self._near = lru_cache(_REMEMBERED)(self._look)
        self._evidence = lru_cache(_REMEMBERED)(self._weigh)
        self._words = lru_cache(_READ)(words_of)
        phrasings: list[tuple[str, ...]] = [entry.phrasings for entry in self._entries]
        # Entries from here on are nobody's: a question that comes nearest to one of them has no answer here.
        behind = background(phrasings, self._encoder)
        self._retriever = Retriever([*phrasings, *behind], self._encoder, len(phrasings)) if phrasings else None
        self.model, calibration = shipped()
        self.calibrated_on = SHIPPED
        judged = [Judged(*row) for row in calibration]
        own = self._cases()
        if sum(case.in_scope for case in own) >= _OWN_THRESHOLD:
            self.calibrated_on = "the shop's own questions"
            if len(own) >= _OWN_MODEL and any(not case.in_scope for case in own):
                halves = own[::2], own[1::2]
                models = Model.fit(halves[0]), Model.fit(halves[1])
                judged = [j for model, half in zip(models, halves[::-1], strict=True) for j in _judged(model, half)]
                self.model = Model.fit(own)
            else:
                judged = _judged(self.model, own)
        self.judged = judged
        self.threshold = self.threshold_for(document.precision_target, document.expected_out_of_scope)

    @classmethod
    def of(cls, document: Knowledge) -> KnowledgeIndex:
        return cls(document)

    def threshold_for(self, target: float, out_of_scope: float) -> Threshold:
        return threshold(self.judged, stricter(target) if self.calibrated_on == SHIPPED else target, out_of_scope)

    def _cases(self) -> list[Case]:
        """The shop's labelled questions; those that are phrasings themselves would be judged too well."""
        if self._retriever is None:
            return []
        cases = []
        for question in self.document.questions:
            if deep_text(question.text) in self._exact:
                continue
            near = self._retriever.near_words(words_of(question.text), self._encoder.phrasings([question.text])[0])
            answer = self._numbers.get(question.entry_id or "", -1)
            cases.append(Case(near, near.entries == answer, question.entry_id is not None))
        return cases

    def search(self, text: str, at: int, *, most: int = SUGGESTED) -> tuple[Candidate, ...]:
        """Best first; also what is hopeless for an answer: an agent's search."""
        exact = self._exactly(deep_text(text), at)
        ranked = self._ranked(text, at, most, least=0.0)
        if exact is None:
            return ranked
        return (exact, *(one for one in ranked if one.entry_id != exact.entry_id))[:most]

    def _exactly(self, deep: str, at: int) -> Candidate | None:
        exact = [number for number in self._exact.get(deep, ()) if self._entries[number].is_valid(at)]
        return self._candidate(exact[0], 1.0) if len(exact) == 1 else None

    def _ranked(self, text: str, at: int, most: int, *, least: float) -> tuple[Candidate, ...]:
        """``least``: what a question must share with a phrasing, as ``Retriever.evidence``."""
        if self._retriever is None:
            return ()
        words = self._words(text)
        if not words.units or (least and self._evidence(text) < least):
            return ()
        near = self._valid(self._retriever.near_words(words, self._encoder.text(text)), at)
        if not len(near.entries):
            return ()
        ranked = self.model.rank(near)
        places = {int(entry): place for place, entry in enumerate(near.entries)}
        pairs = zip(ranked.entries, _confidences(ranked), strict=True)
        if int(ranked.entries[0]) >= len(self._entries):
            # The confidence is the background's: it says how surely the question is about something else.
            pairs = zip(ranked.entries, (min(float(share), _BEHIND) for share in ranked.shares), strict=True)
        own = [(int(entry), confidence) for entry, confidence in pairs if entry < len(self._entries)]
        return tuple(
            self._candidate(entry, confidence, near.features[places[entry]]) for entry, confidence in own[:most]
        )

    def _weigh(self, text: str) -> float:
        return 0.0 if self._retriever is None else self._retriever.evidence(self._words(text))

    def needs_vector(self, text: str, *, waiting: bool) -> bool:
        """Whether ``answer`` will most likely ask the encoder for this text's."""
        if self._retriever is None or deep_text(text) in self._exact:
            return False
        return self._evidence(text[:_MOST_CHARACTERS]) >= (FAINT if waiting else HOPELESS)

    def _look(self, text: str, turn: int, least: float) -> tuple[Candidate, ...]:
        """``turn``: how many of the instants have passed at which an entry begins or ceases to be valid."""
        at = self._turns[turn - 1] if turn else -(2**62)
        return tuple(one for one in self._ranked(text, at, SUGGESTED, least=least) if one.confidence >= NEAR)

    def _valid(self, near: Near, at: int) -> Near:
        if not self._turns:
            return near
        own = len(self._entries)
        kept = [
            place for place, entry in enumerate(near.entries) if entry >= own or self._entries[int(entry)].is_valid(at)
        ]
        return Near(near.entries[kept], near.features[kept])

    def _candidate(self, number: int, confidence: float, features: NDArray[np.float64] | None = None) -> Candidate:
        entry: Entry = self._entries[number]
        parts = (
            ()
            if features is None
            else tuple((name, round(float(features[FEATURES.index(name)]), 3)) for name in _SHOWN)
        )
        return Candidate(entry.entry_id, round(confidence, 3), entry.phrasings[0], entry.answer, entry.kind, parts)

    def answer(self, text: str, at: int, context: Context = ALONE, *, waiting: bool = False) -> Answer:
        """``at``: event time, µs. ``waiting``: for a person already; then only a sure answer is of use."""
        if self.document.is_empty:
            return NOTHING
        deep = deep_text(text)
        item = self._items.item_of(deep, at, context.product_id) or context.item
        chosen = self._chosen(deep, context.offered, at)
        if chosen is not None:
            return Answer(chosen, (chosen,), item)
        found = self._items.find(deep, at, product_id=context.product_id, in_mind=context.item)
        if found is not None:
            said = Candidate(found.entry_id, 1.0, "", found.text, found.kind)
            return Answer(said, (said,), found.item or item)
        exact = self._exactly(deep, at)
        if exact is not None:
            return Answer(exact, (exact,), item)
        near = self._near(text[:_MOST_CHARACTERS], bisect(self._turns, at), FAINT if waiting else HOPELESS)
        sure = near[0] if near and near[0].confidence >= self.threshold.value else None
        return Answer(sure, near, item)

    def item_of(self, text: str, at: int, product_id: str | None) -> str:
        """The product that a message names or comes with, if this knowledge base has it; else empty."""
        return self._items.item_of(deep_text(text), at, product_id)

    def _chosen(self, deep: str, offered: tuple[str, ...], at: int) -> Candidate | None:
        """From a list given just now: by its number, by the words of a line, or by both."""
        for place, entry_id in enumerate(offered, start=1):
            number = self._numbers.get(entry_id)
            if number is None or not self._entries[number].is_valid(at):
                continue
            numerals, line = _NUMERALS[place - 1], deep_text(self._entries[number].phrasings[0])
            if deep in (*numerals, line, *(numeral + line for numeral in numerals)):
                return self._candidate(number, 1.0)
        return None

    def rivals(self) -> list[tuple[str, str, float]]:
        """Pairs of entries that a phrasing of one may be taken for the other: what the model says of the nearest other entry."""
        found: dict[tuple[str, str], float] = {}
        for entry in self._entries:
            for phrasing in entry.phrasings:
                for one in self._ranked(phrasing, 0, SUGGESTED, least=0.0):
                    if one.entry_id != entry.entry_id and one.confidence >= _RIVAL:
                        first, second = sorted((entry.entry_id, one.entry_id))
                        found[first, second] = max(found.get((first, second), 0.0), one.confidence)
        return sorted((one, other, confidence) for (one, other), confidence in found.items())

    def entry(self, entry_id: str) -> Entry | None:
        number = self._numbers.get(entry_id)
        return None if number is None else self._entries[number]


_NUMERALS: Final = (
    ("1", "一", "第1个", "第一个", "one", "thefirst", "first"),
    ("2", "二", "第2个", "第二个", "two", "thesecond", "second"),
    ("3", "三", "第3个", "第三个", "three", "thethird", "third"),
)
_SHOWN: Final = ("vector_best", "kernel_wide_words", "bm25_unit", "cosine_word", "covers_question", "left_out", "added")


def _confidences(ranked: Ranked) -> list[float]:
    """The winner's is calibrated; those behind it in proportion."""
    first = max(float(ranked.shares[0]), 1e-9)
    return [min(ranked.confidence, ranked.confidence * float(share) / first) for share in ranked.shares]


def _judged(model: Model, cases: list[Case]) -> list[Judged]:
    judged = []
    for case in cases:
        ranked = model.rank(case.near)
        best = int(np.flatnonzero(case.near.entries == ranked.entries[0])[0])
        judged.append(Judged(round(ranked.confidence, 3), bool(case.right[best]), case.in_scope))
    return judged
