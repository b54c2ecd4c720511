"""Average linkage of a matrix of similarities: which things belong together, at two levels at once. Pure, deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def linked(similarity: NDArray[np.float32], levels: Sequence[float]) -> list[NDArray[np.int64]]:
    """Labels of every row for each of ``levels`` (falling): groups whose mean similarity is at least that.

    Joins the two nearest groups again and again. A join changes one row of the matrix, so n rows cost O(n²) but for ties.
    """
    matrix = similarity.astype(np.float32, copy=True)
    np.fill_diagonal(matrix, -np.inf)
    rows = len(matrix)
    labels = np.arange(rows)
    sizes = np.ones(rows)
    nearest = matrix.argmax(axis=1) if rows else np.zeros(0, dtype=np.int64)
    best = matrix[np.arange(rows), nearest] if rows else np.zeros(0, dtype=np.float32)
    found: list[NDArray[np.int64]] = []
    for level in levels:
        while rows and best[one := int(best.argmax())] >= level:
            other = int(nearest[one])
            _join(matrix, sizes, one, other)
            labels[labels == other] = one
            stale = np.flatnonzero((nearest == one) | (nearest == other) | (matrix[:, one] > best))
            nearest[stale] = matrix[stale].argmax(axis=1)
            best[stale] = matrix[stale, nearest[stale]]
            nearest[one] = matrix[one].argmax()
            best[one] = matrix[one, nearest[one]]
            best[other] = -np.inf
        found.append(labels.copy())
    return found


def _join(matrix: NDArray[np.float32], sizes: NDArray[np.float64], one: int, other: int) -> None:
    total = sizes[one] + sizes[other]
    joined = (sizes[one] * matrix[one] + sizes[other] * matrix[other]) / total
    matrix[one], matrix[:, one] = joined, joined
    matrix[one, one] = -np.inf
    matrix[other], matrix[:, other] = -np.inf, -np.inf
    sizes[one] = total
