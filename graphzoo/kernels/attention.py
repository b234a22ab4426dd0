"""What attention computes, for stacks of queries, keys and values.

The matrix of a softmax is kept as e^(s - c) and one factor for each row, and never divided: the factor goes to the far
narrower arrays on both sides of it. c is 0 where no score is large (it is what costs a pass over the matrix otherwise),
and the row's maximum else.
"""

from __future__ import annotations

import numpy as np

from .pool import empty
from .select import accelerated
from .workers import share_blocks

_LARGE, _SMALL = 30.0, 1e-12  # scores up to the first need no shift, unless a row's sum falls below the second


@accelerated("float32")
def attend(
    y: np.ndarray,
    weights: np.ndarray,
    scales: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: float,
    biases: np.ndarray | None,
    which: np.ndarray | None,
    keep: np.ndarray | None,
) -> None:
    """Writes softmax(scale · q kᵀ + bias) v into `y`, and the softmax as `exponentials` of scores and their factors.

    Args:
        y: the result, (n, L, e).
        weights, scales: for exponentials, (n, L, S) or without entries if nobody wants them, and factors, (n, L, 1).
        q, k, v: (n, L, d), (n, S, d) and (n, S, e).
        scale: of the scores.
        biases, which: matrices (m, L, S) that are added to scores, and the number of each stack's own, (n,); or None.
        keep: what dropout multiplies each weight with, (n, L, S), or None.
    """
    count, queries, keys = len(q), q.shape[1], k.shape[1]

    def work(part: slice) -> None:
        scores = empty((len(q[part]), queries, keys), y.dtype)
        np.matmul(q[part] * scale, k[part].swapaxes(1, 2), out=scores)
        if biases is not None and which is not None:
            scores += biases[which[part]]
        out = weights[part] if len(weights) else empty(scores.shape, y.dtype)
        scales[part] = exponentials(scores, out)
        np.matmul(out if keep is None else out * keep[part], v[part], out=y[part])
        y[part] *= scales[part]

    share_blocks(work, count, 2 * queries * keys)  # scores, and their exponentials


@accelerated("float32")
def attend_gradients(
    dq: np.ndarray,
    dk: np.ndarray,
    dv: np.ndarray,
    dmask: np.ndarray | None,
    dy: np.ndarray,
    dweights: np.ndarray | None,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: float,
    weights: np.ndarray,
    scales: np.ndarray,
    keep: np.ndarray | None,
    y: np.ndarray,
) -> None:
    """Writes the gradients at q, k, v and, unless None, at the scores: from dy, and dweights at the softmax or None.
    What follows are the arguments and results of `attend`."""

    def work(part: slice) -> None:
        p, factor = weights[part], scales[part]
        kept = p if keep is None else p * keep[part]
        g = dy[part] * factor
        np.matmul(kept.swapaxes(1, 2), g, out=dv[part])
        ds = empty(p.shape, y.dtype)
        np.matmul(g, v[part].swapaxes(1, 2), out=ds)
        along = np.vecdot(g, y[part])[..., None]
        if dweights is not None:
            ds += dweights[part] * factor
            along += np.vecdot(dweights[part], kept)[..., None] * (factor * factor)
        if keep is not None:
            ds *= keep[part]
        through_exponentials(ds, along, p)
        if dmask is not None:
            dmask[part] = ds
        np.matmul(ds, k[part] * scale, out=dq[part])
        np.matmul(ds.swapaxes(1, 2), q[part] * scale, out=dk[part])

    share_blocks(work, len(y), 2 * weights.shape[1] * weights.shape[2])


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
