"""What normalisation computes with: the moments of groups of entries, and gradients through them.

Two layouts cover the family. *Rows*, an array (N, G, K): statistics of the K entries of each row, an affine map that is
the same for all N (layer, group, instance, RMS normalisation). *Channels*, an array (N, C, S): statistics of the N · S
entries of each channel (batch normalisation).

Variances take two passes, the second over the distances from the mean: E[x²] - E[x]² would lose all digits where the
mean is large. Arrays are worked on in blocks that stay in the cache from one operation to the next, and sums are
products with ones or with each other, which BLAS carries out several times faster than sum().
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .pool import empty
from .select import accelerated

BLOCK = 1 << 16
"""Entries that are worked on at a time."""
_LONG = 32  # from this length on, rows are cheap to broadcast a number to, and to sum one by one


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` samples of `size` entries each, about BLOCK entries at a time."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, start + step) for start in range(0, count, step))


def scratch(x: np.ndarray) -> np.ndarray:
    """Room for a block of x, to be used by one block after the other: fresh memory costs more than arithmetic."""
    step = max(1, BLOCK // max(math.prod(x.shape[1:]), 1))
    return np.empty((min(step, len(x)), *x.shape[1:]), x.dtype)


# Rows ----------------------------------------------------------------------------------------------------------------


@accelerated("float32", "float64")
def normalized_rows(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float, centered: bool = True
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """(x - mean) / √(variance + eps) · weight + bias for x (N, G, K) and weight, bias (G, K).

    Returns:
        The result, and for each row, (N, G, 1), its mean (None where it is not taken off) and 1/√(variance + eps).
    """
    count, groups, length = x.shape
    mean = x.dot(np.full(length, 1 / max(length, 1), x.dtype))[..., None] if centered else None
    y = empty(x.shape, x.dtype)
    scale = np.empty((count, groups, 1), x.dtype)
    for part in blocks(count, groups * length):
        rows = x[part] if mean is None else np.subtract(x[part], mean[part], out=y[part])
        squares = np.vecdot(rows, rows)[..., None]
        scale[part] = 1 / np.sqrt(squares / max(length, 1) + eps)
        rows = np.multiply(rows, scale[part], out=y[part])
        if weight is not None:
            rows *= weight
        if bias is not None:
            rows += bias
    return y, mean, scale


@accelerated("float32", "float64")
def row_gradients(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray | None,
    scale: np.ndarray,
    weight: np.ndarray | None,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Gradients of `normalized_rows` with respect to x, weight and bias (G, K); None where they are not needed."""
    count, groups, length = x.shape
    dx = empty(x.shape, x.dtype) if need_x else None
    dweight = np.zeros((groups, 1, length), x.dtype) if need_weight else None
    distances, products = scratch(x), scratch(x)
    for part in blocks(count, groups * length):
        d, rows, r = dy[part], x[part], scale[part]
        room = distances[: len(d)]
        if mean is not None:
            rows = np.subtract(rows, mean[part], out=room)
        if dweight is not None:  # Σ over the samples: for each group one row of factors times a matrix
            product = np.multiply(d, rows, out=products[: len(d)])
            dweight += np.matmul(r.transpose(1, 2, 0), product.transpose(1, 0, 2))
        if dx is None:
            continue
        out = dx[part]
        if weight is None:
            out[...] = d
        else:
            np.multiply(d, weight, out=out)
        along = np.vecdot(out, rows)[..., None] * (r * r / length)
        rows = np.multiply(rows, along, out=room)
        if mean is not None:
            rows += out.dot(np.full(length, 1 / length, x.dtype))[..., None]
        out -= rows
        out *= r
    dbias = np.ones(count, dy.dtype).dot(dy.reshape(count, groups * length)) if need_bias else None
    return dx, None if dweight is None else dweight[:, 0], None if dbias is None else dbias.reshape(groups, length)


# Channels ------------------------------------------------------------------------------------------------------------


@accelerated("float32", "float64")
def normalized_channels(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / √(variance + eps) · weight + bias for each channel of x (N, C, S), by its own mean and variance.

    Returns:
        The result; for each channel its mean, and Σ (x - mean)².
    """
    count = max(x.shape[0] * x.shape[2], 1)
    mean = channel_sums(x) / count
    y, squares = channel_distances(x, mean)
    scale = (1 / np.sqrt(squares / count + eps)).astype(x.dtype)
    return scaled_channels(y, None, scale if weight is None else scale * weight, bias, y), mean, squares


@accelerated("float32", "float64")
def channel_gradients(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, scale: np.ndarray, factor: np.ndarray, need_x: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Of `normalized_channels`, with scale 1/√(variance + eps) and factor scale · weight.

    Returns:
        The gradient of x, None where it is not needed; for each channel Σ dy (x - mean), and Σ dy.
    """
    along, sums = channel_products_with_distances(dy, x, mean), channel_sums(dy)
    if not need_x:
        return None, along, sums
    part = factor / max(x.shape[0] * x.shape[2], 1)
    return through_channels(dy, x, mean, factor, part * scale * scale * along, part * sums), along, sums


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Σ over samples and positions of x (N, C, S), for each channel."""
    count, channels, size = x.shape
    if size >= _LONG:
        return x.dot(np.ones(size, x.dtype)).sum(axis=0)
    return np.ones(count, x.dtype).dot(x.reshape(count, channels * size)).reshape(channels, size).sum(axis=1)


def channel_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ over samples and positions of a · b, both (N, C, S), for each channel."""
    return np.vecdot(a, b).sum(axis=0) if a.shape[2] >= _LONG else channel_sums(a * b)


def spread(values: np.ndarray, size: int) -> np.ndarray:
    """One value for each channel, to be broadcast over (N, C, size): written out where positions are few."""
    return values[:, None] if size >= _LONG else np.repeat(values, size).reshape(-1, size)


def channel_distances(x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x - mean for x (N, C, S), and its squares' sum for each channel."""
    count, channels, size = x.shape
    distances, squares = empty(x.shape, x.dtype), np.zeros(channels, x.dtype)
    offset = spread(mean, size)
    for part in blocks(count, channels * size):
        rows = np.subtract(x[part], offset, out=distances[part])
        squares += channel_products(rows, rows)
    return distances, squares


def scaled_channels(
    x: np.ndarray, mean: np.ndarray | None, factor: np.ndarray, bias: np.ndarray | None, out: np.ndarray
) -> np.ndarray:
    """(x - mean) · factor + bias for each channel of x (N, C, S), into `out`; no mean where it is None."""
    count, channels, size = x.shape
    offset = None if mean is None else spread(mean, size)
    factor = spread(factor, size)
    shift = None if bias is None else spread(bias, size)
    for part in blocks(count, channels * size):
        rows = x[part] if offset is None else np.subtract(x[part], offset, out=out[part])
        rows = np.multiply(rows, factor, out=out[part])
        if shift is not None:
            rows += shift
    return out


def channel_products_with_distances(dy: np.ndarray, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Σ dy · (x - mean) for each channel."""
    count, channels, size = x.shape
    products = np.zeros(channels, x.dtype)
    offset, room = spread(mean, size), scratch(x)
    for part in blocks(count, channels * size):
        rows = np.subtract(x[part], offset, out=room[: len(x[part])])
        products += channel_products(dy[part], rows)
    return products


def through_channels(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, factor: np.ndarray, along: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """dy · factor - (x - mean) · along - level for each channel: the gradient through batch statistics."""
    count, channels, size = x.shape
    dx = empty(x.shape, x.dtype)
    mean, factor, along, level = (spread(values, size) for values in (mean, factor, along, level))
    room = scratch(x)
    for part in blocks(count, channels * size):
        rows = np.subtract(x[part], mean, out=room[: len(x[part])])
        rows *= along
        rows += level
        np.multiply(dy[part], factor, out=dx[part])
        dx[part] -= rows
    return dx
