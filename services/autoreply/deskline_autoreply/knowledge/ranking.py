"""From the features of candidates to an order and to one calibrated confidence. Two logistic regressions, nothing else.

The first chooses among the candidates by their features. The second looks at the winner, at its lead over
the runner-up, and at how the scores agree, and says how probably the winner is the right entry: raw similarity answers almost nothing
at 95 % precision, because out-of-scope questions are similar to something too; the lead tells them apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from deskline_autoreply.knowledge.retrieval import CANDIDATES, FEATURES, Near

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# Stronger than usual: features of one kind say nearly the same, and shops have hundreds of questions, not millions.
_PENALTY: Final = 3.0
_TRUST_PENALTY: Final = 10.0
_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Logistic:
    """Probability = 1 / (1 + exp(-(bias + weights · (x - mean) / scale)))."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def logits(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(((rows - self.mean) / self.scale) @ self.weights + self.bias)

    @classmethod
    def fit(cls, rows: NDArray[np.float64], right: NDArray[np.bool_], penalty: float = _PENALTY) -> Logistic:
        """Newton's method; ``rows`` one per case. Deterministic."""
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        x = np.column_stack([(rows - mean) / scale, np.ones(len(rows))])
        theta = np.zeros(x.shape[1])
        ridge = np.full(x.shape[1], penalty)
        ridge[-1] = 1e-6
        for _ in range(_STEPS):
            p = _sigmoid(x @ theta)
            gradient = x.T @ (p - right) + ridge * theta
            curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
            step = np.linalg.solve(curvature, gradient)
            theta = theta - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
            if float(np.abs(step).max()) < 1e-6:
                break
        return cls(mean, scale, theta[:-1], float(theta[-1]))

    @classmethod
    def fit_choice(
        cls, groups: Sequence[NDArray[np.float64]], right: Sequence[int], penalty: float = _PENALTY
    ) -> Logistic:
        """Of each group one row is chosen, with a probability like exp(its logit): a conditional logit, by Newton's method."""
        rows = np.concatenate(groups)
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        x = (rows - mean) / scale
        sizes = np.array([len(group) for group in groups])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        chosen = np.zeros(len(rows))
        chosen[starts + np.array(right)] = 1.0
        theta = np.zeros(x.shape[1])
        for _ in range(_STEPS):
            logits = x @ theta
            e = np.exp(logits - np.repeat(np.maximum.reduceat(logits, starts), sizes))
            p = e / np.repeat(np.add.reduceat(e, starts), sizes)
            expected = np.add.reduceat(x * p[:, None], starts, axis=0)
            gradient = x.T @ (p - chosen) + penalty * theta
            curvature = (x * p[:, None]).T @ x - expected.T @ expected + penalty * np.eye(len(theta))
            step = np.linalg.solve(curvature, gradient)
            theta = theta - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
            if float(np.abs(step).max()) < 1e-6:
                break
        return cls(mean, scale, theta, 0.0)


class Ranked(NamedTuple):
    """Candidates, best first."""

    entries: NDArray[np.int64]
    scores: NDArray[np.float64]
    """Logits; the higher the better."""
    confidence: float
    """How probably the first is the right entry."""
    shares: NDArray[np.float64]
    """Of the confidence that one of them is right, each one's part."""


class Case(NamedTuple):
    """A question with a known answer, as the regressions see it."""

    near: Near
    right: NDArray[np.bool_]
    """Per candidate: whether it is the answer; all False where the question is out of scope, or the answer not among them."""
    in_scope: bool


@dataclass(frozen=True, slots=True)
class Model:
    order: Logistic
    trust: Logistic

    def rank(self, near: Near) -> Ranked:
        scores = self.order.logits(near.features)
        by_score = np.argsort(-scores, kind="stable")
        trust = _sigmoid(self.trust.logits(_summary(near.features, scores)[None, :]))
        parts = np.exp(scores - scores.max())
        parts /= parts.sum()
        confidence = float(trust[0])
        return Ranked(near.entries[by_score], scores[by_score], confidence, parts[by_score])

    @classmethod
    def fit(cls, cases: Sequence[Case], penalty: float = _PENALTY) -> Model:
        """From questions whose answers are known, out-of-scope ones among them. A higher penalty: for other shops'."""
        return cls.fit_trust(cls.fit_order(cases, penalty), cases)

    @classmethod
    def fit_order(cls, cases: Iterable[Case], penalty: float = _PENALTY) -> Logistic:
        known = [case for case in cases if case.in_scope and case.right.any()]
        rows = [case.near.features for case in known]
        return Logistic.fit_choice(rows, [int(case.right.argmax()) for case in known], penalty)

    @classmethod
    def fit_trust(cls, order: Logistic, cases: Sequence[Case]) -> Model:
        rows, right = [], []
        for case in cases:
            scores = order.logits(case.near.features)
            rows.append(_summary(case.near.features, scores))
            right.append(bool(case.right[int(scores.argmax())]))
        return cls(order, Logistic.fit(np.array(rows), np.array(right), _TRUST_PENALTY))

    def to_json(self) -> dict[str, Any]:
        return {
            name: {
                "mean": _short(part.mean),
                "scale": _short(part.scale),
                "weights": _short(part.weights),
                "bias": round(part.bias, 6),
            }
            for name, part in (("order", self.order), ("trust", self.trust))
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Model:
        def part(name: str) -> Logistic:
            own = value[name]
            return Logistic(np.array(own["mean"]), np.array(own["scale"]), np.array(own["weights"]), own["bias"])

        return cls(part("order"), part("trust"))


def shipped() -> tuple[Model, list[tuple[float, bool, bool]]]:
    """The model that ships, and (confidence, right, in scope) of the questions it was calibrated on, none of which it had seen."""
    value = json.loads(files("deskline_autoreply.knowledge").joinpath("default.json").read_bytes())
    return Model.from_json(value["model"]), [(p, bool(right), bool(scope)) for p, right, scope in value["calibration"]]


def _summary(features: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of all candidates together; missing ones (a small knowledge base) count as far behind."""
    order = np.argsort(-scores, kind="stable")
    first, second = order[0], order[min(1, len(order) - 1)]
    sorted_ = np.concatenate([scores[order], np.full(max(0, 3 - len(scores)), scores[first] - 10.0)])
    share = 1.0 / float(np.exp(scores - scores[first]).sum())
    lead = features[first] - features[second]
    agree = float((features.argmax(axis=0) == first).mean())
    together = np.array(
        [
            sorted_[0],
            sorted_[1],
            sorted_[0] - sorted_[1],
            sorted_[0] - sorted_[2],
            share,
            np.log(share),
            agree,
        ]
    )
    # Squared too: that a lead grows from nothing to little says more than from large to larger.
    return np.concatenate([features[first], lead, together, together * together])


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -40, 40))))


def _short(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]


assert CANDIDATES >= 3
assert len(FEATURES) == len(set(FEATURES))
