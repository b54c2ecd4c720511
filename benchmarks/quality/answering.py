"""How well a knowledge base answers labelled questions: what ``faq`` and ``intents`` have in common.

A question's figures come from a model and a threshold that have not seen it, nor any other question with its answer: five parts by
answer, each judged by what the other four gave. That is a shop with labelled questions of its own. Beside it stands what the
model that ships makes of the same questions.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.figures import Figures
from deskline_autoreply.knowledge.calibration import Judged, stricter, threshold
from deskline_autoreply.knowledge.ranking import Case, Model, shipped
from deskline_autoreply.knowledge.retrieval import FEATURES, Retriever
from deskline_autoreply.knowledge.vectors import encoder

PARTS: Final = 5
INNER: Final = 4
TARGET: Final = 0.95
# A threshold is an estimate: without a margin it misses the target as often as it exceeds it.
MARGIN: Final = 0.002
SHARES: Final = (0.05, 0.20, 0.40)
_BM25: Final = FEATURES.index("bm25_unit")
_COSINE: Final = FEATURES.index("vector_centred")


class Question(NamedTuple):
    text: str
    answer: str | None
    """None: out of scope."""


def part_of(question: Question) -> int:
    """Questions of one answer stay together; those out of scope go by their text."""
    name = question.answer if question.answer is not None else f"\0{question.text}"
    return blake2b(name.encode(), digest_size=4).digest()[0] % PARTS


def measure(name: str, entries: dict[str, list[str]], questions: Sequence[Question], figures: Figures) -> None:
    ids = list(entries)
    retriever = Retriever([entries[entry] for entry in ids], encoder())
    cases: list[Case] = []
    for question in questions:
        near = retriever.near(question.text)
        right = np.array([ids[entry] == question.answer for entry in near.entries])
        cases.append(Case(near, right, question.answer is not None))
    own = list(_cross_fitted(cases, [part_of(question) for question in questions]))
    inside = sum(case.in_scope for case in cases)
    size: dict[str, Any] = {
        "entries": len(ids),
        "phrasings": retriever.size,
        "questions": len(cases),
        "out_of_scope": len(cases) - inside,
    }
    plain = sum(bool(case.right[_plain(case)]) for case in cases)
    figures.show(
        f"{name}_top1", 100 * sum(j.right for j, _ in own) / inside, "%", baseline=100 * plain / inside, **size
    )
    natural = (len(cases) - inside) / len(cases)
    right_at, precision = _answered(own, natural, natural)
    figures.show(f"{name}_right_at_p95", 100 * right_at, "%", precision=f"{precision:.1%}")
    if inside < len(cases):
        for share in SHARES:
            # The threshold of the share expected by default, met by another one; and one that expects the right share.
            right_at, precision = _answered(own, max(share, 0.2), share)
            figures.show(f"{name}_oos_precision_{share * 100:.0f}", 100 * precision, "%", right=f"{right_at:.1%}")
    model, rows = shipped()
    calibration = [Judged(*row) for row in rows]
    line = threshold(calibration, stricter(TARGET), natural).value
    default = [(_judge(model, case), line) for case in cases]
    figures.show(f"{name}_default_top1", 100 * sum(j.right for j, _ in default) / inside, "%")
    right_at, precision = _weigh(default, natural)
    figures.show(f"{name}_default_right", 100 * right_at, "%", precision=f"{precision:.1%}")
    if inside < len(cases):
        for share in SHARES:
            usual = threshold(calibration, stricter(TARGET), max(share, 0.2)).value
            right_at, precision = _weigh([(judged, usual) for judged, _ in default], share)
            figures.show(
                f"{name}_default_oos_precision_{share * 100:.0f}", 100 * precision, "%", right=f"{right_at:.1%}"
            )


def _plain(case: Case) -> int:
    """The candidate that is first by BM25 (1 for the best phrasing) and the cosine of centred vectors together: what others do."""
    return int((case.near.features[:, _BM25] + case.near.features[:, _COSINE]).argmax())


_Kept = list[tuple[Judged, list[Judged]]]


def _judge(model: Model, case: Case) -> Judged:
    ranked = model.rank(case.near)
    best = int(np.flatnonzero(case.near.entries == ranked.entries[0])[0])
    return Judged(ranked.confidence, bool(case.right[best]), case.in_scope)


def _cross_fitted(cases: Sequence[Case], parts: Sequence[int]) -> Iterator[tuple[Judged, list[Judged]]]:
    """Each question as judged without it, beside the questions from which its threshold may be chosen."""
    for part in range(PARTS):
        others = [case for case, place in zip(cases, parts, strict=True) if place != part]
        # The threshold comes from questions that the model which judges them has not seen either.
        known = [
            _judge(model, case)
            for inner in range(INNER)
            for model in (Model.fit([case for number, case in enumerate(others) if number % INNER != inner]),)
            for case in others[inner::INNER]
        ]
        model = Model.fit(others)
        for case, place in zip(cases, parts, strict=True):
            if place == part:
                yield _judge(model, case), known


def _answered(own: _Kept, expected: float, share: float) -> tuple[float, float]:
    lines: dict[int, float] = {}
    for _, known in own:
        if id(known) not in lines:
            lines[id(known)] = threshold(known, TARGET + MARGIN, expected).value
    return _weigh([(judged, lines[id(known)]) for judged, known in own], share)


def _weigh(judged: Sequence[tuple[Judged, float]], share: float) -> tuple[float, float]:
    """(right answers of questions in scope, precision) where that share of the questions is out of scope."""
    inside = sum(case.in_scope for case, _ in judged)
    weight = share / (1 - share) * inside / max(1, len(judged) - inside)
    given = [case for case, line in judged if case.confidence >= line]
    right = sum(case.right for case in given)
    return right / inside, right / max(1e-9, sum(1.0 if case.in_scope else weight for case in given))
