"""Softmax of the rows of a matrix, in blocks that stay in the cache from one pass to the next."""

from __future__ import annotations

import numpy as np

from .attention import exponentials
from .pool import empty
from .select import accelerated
from .workers import share_blocks


@accelerated("float32")
def softmax_rows(x: np.ndarray) -> np.ndarray:
    """e^x / Σ e^x for each row of x (R, K), K ≥ 1; a row of -inf alone has no softmax, and is NaN."""
    y = empty(x.shape, x.dtype)

    def work(part: slice) -> None:
        factors = exponentials(x[part], y[part])
        factors[factors == 0] = np.nan
        y[part] *= factors

    share_blocks(work, *x.shape)
    return y


@accelerated("float32", "float64")
def softmax_rows_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient through `softmax_rows`, of which y is the result: y (dy - Σ dy y)."""
    dx = empty(y.shape, y.dtype)

    def work(part: slice) -> None:
        row, out = y[part], dx[part]
        np.subtract(dy[part], np.vecdot(dy[part], row)[:, None], out=out)
        out *= row

    share_blocks(work, *y.shape)
    return dx
