"""Attention compiled by Numba: each score matrix goes through all of its work while it is in a core's cache.

Features and keys come in multiples of WIDTH (see `products`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .loops import _exponentials, compiled, inline
from .products import HEIGHT, WIDTH, multiply_turned, turn
from .workers import share

LARGEST = 1 << 18
"""Entries of a score matrix up to which it stays in the cache; BLAS is quicker with larger ones."""


@inline
def matrix(rows, columns):
    return np.empty((rows, columns), np.float32)


# Both passes ---------------------------------------------------------------------------------------------------------


@compiled
def _attend(part, y, weights, scales, q, k, v, scale, biases, which, keep):
    (_, queries, features), keys = q.shape, k.shape[1]
    left, right, scores = matrix(features, queries), matrix(features, keys), matrix(queries, keys)
    powers, kept, turned = matrix(queries, keys), matrix(queries, keys), matrix(keys, queries)
    for n in range(part.start, part.stop):
        turn(q[n], left)
        factors = left.reshape(-1)
        for i in range(factors.size):
            factors[i] *= scale
        turn(k[n], right)
        multiply_turned(left, right, scores)
        if biases.size:
            bias, entries = biases[which[n]].reshape(-1), scores.reshape(-1)
            for i in range(entries.size):
                entries[i] += bias[i]
        out = weights[n] if len(weights) else powers
        _exponentials(scores, scores.view(np.int32), out, scales[n].reshape(-1))
        if keep.size:
            mask, entries, target = keep[n].reshape(-1), out.reshape(-1), kept.reshape(-1)
            for i in range(entries.size):
                target[i] = entries[i] * mask[i]
            out = kept
        turn(out, turned)
        multiply_turned(turned, v[n], y[n])
        for i in range(queries):
            row, factor = y[n, i], scales[n, i, 0]
            for j in range(row.size):
                row[j] *= factor


@compiled
def _attend_gradients(part, dq, dk, dv, dmask, dy, dweights, q, k, v, scale, weights, scales, keep, y):
    (_, queries, keys), features = weights.shape, v.shape[2]
    g, left, right = matrix(queries, features), matrix(features, queries), matrix(features, keys)
    ds, kept, turned = matrix(queries, keys), matrix(queries, keys), matrix(keys, queries)
    alongs = np.empty(queries, np.float32)
    for n in range(part.start, part.stop):
        p = weights[n]
        if keep.size:
            for i in range(queries):
                row, mask, target = p[i], keep[n, i], kept[i]
                for j in range(keys):
                    target[j] = row[j] * mask[j]
            p = kept
        for i in range(queries):
            upstream, result, target, factor = dy[n, i], y[n, i], g[i], scales[n, i, 0]
            along = factor * 0
            for j in range(features):
                target[j] = upstream[j] * factor
                along += target[j] * result[j]
            alongs[i] = along
        multiply_turned(p, g, dv[n])
        turn(g, left)
        turn(v[n], right)
        multiply_turned(left, right, ds)
        if dweights.size:
            for i in range(queries):
                upstream, row, target, factor = dweights[n, i], p[i], ds[i], scales[n, i, 0]
                along = factor * 0
                for j in range(keys):
                    target[j] += upstream[j] * factor
                    along += upstream[j] * row[j]
                alongs[i] += along * (factor * factor)
        for i in range(queries):
            row, target, along = weights[n, i], ds[i], alongs[i]
            if keep.size:
                mask = keep[n, i]
                for j in range(keys):
                    target[j] *= mask[j]
            if dmask.size:
                out = dmask[n, i]
                for j in range(keys):
                    out[j] = (target[j] - along) * row[j]
            for j in range(keys):
                target[j] = (target[j] - along) * row[j] * scale
        multiply_turned(ds, q[n], dk[n])
        turn(ds, turned)
        multiply_turned(turned, k[n], dq[n])


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
) -> Any:
    if not suits(q, k, v):
        return NotImplemented
    inputs, factor = [np.ascontiguousarray(array) for array in (q, k, v)], q.dtype.type(scale)
    none = nothing(q.dtype)
    places = np.zeros(0, np.int64) if which is None else np.ascontiguousarray(which)
    others = [none if array is None else np.ascontiguousarray(array) for array in (biases, keep)]

    def work(part: slice) -> None:
        _attend(part, y, weights, scales, *inputs, factor, others[0], places, others[1])

    share(work, len(q), 2 * len(q) * q.shape[1] * k.shape[1])
    return None


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
) -> Any:
    if not suits(q, k, v):
        return NotImplemented
    none, factor = nothing(q.dtype), q.dtype.type(scale)
    inputs = [none if array is None else np.ascontiguousarray(array) for array in (dy, dweights, q, k, v)]
    optional = [none if array is None else array for array in (dmask, keep)]

    def work(part: slice) -> None:
        _attend_gradients(part, dq, dk, dv, optional[0], *inputs, factor, weights, scales, optional[1], y)

    share(work, len(q), 2 * weights.size)
    return None


def suits(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> bool:
    """Whether all products of attention are made of whole tiles, and small."""
    if q.shape[1] * k.shape[1] > LARGEST:
        return False
    return min(q.shape[1], k.shape[1]) >= HEIGHT and not any(n % WIDTH for n in (q.shape[2], k.shape[1], v.shape[2]))


def nothing(dtype: np.dtype[Any]) -> np.ndarray:
    """Stands for an array that is not there: one without entries, as compiled code knows no other kind."""
    return np.zeros((0, 0, 0), dtype)
