"""What attention computes with: softmax of score matrices, in blocks of matrices that stay in the cache.

The matrix of a softmax is kept as e^(s - c) and one factor for each row, and never divided: the factor goes to the far
narrower arrays on both sides of it. c is 0 where no score is large (it is what costs a pass over the matrix otherwise),
and the row's maximum else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 1 << 17
"""Scores that are worked on at a time."""
_LARGE, _SMALL = 30.0, 1e-12  # scores up to the first need no shift, unless a row's sum falls below the second


def blocks(matrices: int, size: int) -> Iterator[slice]:
    """Slices of so many matrices of `size` scores each, about BLOCK scores at a time."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, start + step) for start in range(0, matrices, step))


def exponentials(scores: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Writes e^(s - c) of scores (..., S) into `out`, and returns 1/Σ for each row, (..., 1).

    A row of which all scores are -inf (all is masked) has 0 for both.
    """
    if scores.size == 0:
        return np.zeros((*scores.shape[:-1], 1), scores.dtype)
    ones = np.ones(scores.shape[-1], scores.dtype)
    if scores.max() <= _LARGE:
        sums = np.exp(scores, out=out).dot(ones)[..., None]
        if sums.min() >= _SMALL:
            return np.reciprocal(sums)
    top = scores.max(axis=-1, keepdims=True)
    top[top == -np.inf] = 0  # a row with nothing to look at
    np.subtract(scores, top, out=out)
    sums = np.exp(out, out=out).dot(ones)[..., None]
    return np.divide(1, sums, out=np.zeros_like(sums), where=sums != 0)
