"""Products of one matrix after the other in a stack, by several threads."""

from __future__ import annotations

import numpy as np

from .select import accelerated
from .workers import share, shared_sum


@accelerated("float32")
def multiply_each(x: np.ndarray, matrices: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Writes bias + matrices · x for each of a stack.

    Args:
        x: (stack, groups, depth, columns).
        matrices: (groups, rows, depth).
        out: (stack, groups, rows, columns).
        bias: one number for each group and row.
    """
    levels = None if bias is None else bias.reshape(*matrices.shape[:2], 1)

    def work(part: slice) -> None:
        np.matmul(matrices, x[part], out=out[part])
        if levels is not None:
            out[part] += levels

    share(work, len(x), x.size)


@accelerated("float32")
def sum_of_each(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Σ left · rightᵀ over a stack: (groups, rows, columns).

    Args:
        left: (stack, groups, rows, depth).
        right: (stack, groups, columns, depth).
    """

    def work(part: slice) -> np.ndarray:
        total = np.zeros((left.shape[1], left.shape[2], right.shape[2]), left.dtype)
        for rows, columns in zip(left[part], right[part], strict=True):
            total += np.matmul(rows, columns.swapaxes(-1, -2))
        return total

    return shared_sum(work, len(left), left.size)
