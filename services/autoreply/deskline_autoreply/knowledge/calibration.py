"""A precision target → the one threshold of the confidence above which an entry answers by itself. Pure.

Labelled questions never have the share of out-of-scope ones that traffic has, so those are weighted to the share expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER = 2.0
"""A threshold that no confidence reaches."""


_STRANGE = 0.6


def stricter(target: float) -> float:
    """The target for a threshold chosen on other people's questions: they are never quite like the shop's, so that only
    this part of the mistakes that the shop allows is planned with.
    """
    return 1 - (1 - target) * _STRANGE


class Judged(NamedTuple):
    confidence: float
    right: bool
    in_scope: bool


class Threshold(NamedTuple):
    value: float
    precision: float
    """Of the answers given at it, in the labelled questions as weighted."""
    coverage: float
    """Right answers, as a share of the questions that have one."""
    questions: int


def threshold(judged: Iterable[Judged], target: float, out_of_scope: float) -> Threshold:
    """The lowest threshold whose answers are right at least that often, with that share of questions out of scope."""
    cases = sorted(judged, key=lambda case: -case.confidence)
    inside = sum(case.in_scope for case in cases)
    outside = len(cases) - inside
    if not inside:
        return Threshold(NEVER, 1.0, 0.0, len(cases))
    weight = out_of_scope / (1 - out_of_scope) * inside / outside if outside else 0.0
    best = Threshold(NEVER, 1.0, 0.0, len(cases))
    answered = right = 0.0
    for place, case in enumerate(cases):
        answered += 1.0 if case.in_scope else weight
        right += case.right
        last = place + 1 == len(cases) or cases[place + 1].confidence < case.confidence
        if last and answered and right / answered >= target:
            best = Threshold(case.confidence, right / answered, right / inside, len(cases))
    return best
