"""What attention computes with: softmax of score matrices.

The matrix of a softmax is kept as e^(s - c) and one factor for each row, and never divided: the factor goes to the far
narrower arrays on both sides of it. c is 0 where no score is large (it is what costs a pass over the matrix otherwise),
and the row's maximum else.
"""

from __future__ import annotations

import numpy as np

from .select import accelerated

_LARGE, _SMALL = 30.0, 1e-12  # scores up to the first need no shift, unless a row's sum falls below the second


@accelerated("float32")
def exponentials(scores: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Writes e^(s - c) of scores (..., S) into `out`, and returns 1/Σ for each row, (..., 1).

    A row of which all scores are -inf (all is masked) has 0 for both.
    """
    if scores.size == 0:
        return np.zeros((*scores.shape[:-1], 1), scores.dtype)
    ones = np.ones(scores.shape[-1], scores.dtype)
    if scores.max() <= _LARGE:
        sums = np.vecdot(np.exp(scores, out=out), ones)[..., None]
        if sums.min() >= _SMALL:
            return np.reciprocal(sums)
    top = scores.max(axis=-1, keepdims=True)
    top[top == -np.inf] = 0  # a row with nothing to look at
    np.subtract(scores, top, out=out)
    sums = np.vecdot(np.exp(out, out=out), ones)[..., None]
    return np.divide(1, sums, out=np.zeros_like(sums), where=sums != 0)


@accelerated("float32", "float64")
def through_exponentials(ds: np.ndarray, along: np.ndarray, p: np.ndarray) -> None:
    """ds = p (ds - along), in place, for ds and p (..., S) and along (..., 1)."""
    ds -= along
    ds *= p
