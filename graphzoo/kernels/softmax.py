"""Softmax of the rows of a matrix, in blocks that stay in the cache from one pass to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .pool import empty
from .select import accelerated

BLOCK = 1 << 16
"""Entries that are worked on at a time."""
_LARGE, _SMALL = 30.0, 1e-12  # rows up to the first need no shift, unless a sum falls below the second


def _blocks(rows: int, length: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(length, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


@accelerated("float32")
def softmax_rows(x: np.ndarray) -> np.ndarray:
    """e^x / Σ e^x for each row of x (R, K), K ≥ 1."""
    y = empty(x.shape, x.dtype)
    ones = np.ones(x.shape[1], x.dtype)
    for part in _blocks(*x.shape):
        row, out = x[part], y[part]
        if row.max() <= _LARGE:  # to take each row's maximum off costs a pass of its own
            sums = np.exp(row, out=out).dot(ones)
            if sums.min() >= _SMALL:
                out *= np.reciprocal(sums)[:, None]
                continue
        np.subtract(row, row.max(axis=1, keepdims=True), out=out)
        sums = np.exp(out, out=out).dot(ones)
        out *= np.reciprocal(sums)[:, None]
    return y


@accelerated("float32", "float64")
def softmax_rows_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient through `softmax_rows`, of which y is the result: y (dy - Σ dy y)."""
    dx = empty(y.shape, y.dtype)
    for part in _blocks(*y.shape):
        row, out = y[part], dx[part]
        np.subtract(dy[part], np.vecdot(dy[part], row)[:, None], out=out)
        out *= row
    return dx
