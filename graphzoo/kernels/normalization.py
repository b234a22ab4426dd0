"""What normalisation computes with: the moments of groups of entries, and gradients through them.

Two layouts cover the family. *Rows*, an array (N, G, K): statistics of the K entries of each row, an affine map that is
the same for all N (layer, group, instance, RMS normalisation). *Channels*, an array (N, C, S): statistics of the N · S
entries of each channel (batch normalisation).

Variances take two passes, the second over the distances from the mean: E[x²] - E[x]² would lose all digits where the
mean is large. Arrays are worked on in blocks that stay in the cache from one operation to the next, and sums are
products with ones or with each other, which BLAS carries out several times faster than sum().
"""

from __future__ import annotations

import numpy as np

from .pool import empty
from .select import accelerated
from .workers import blocks, share, share_blocks, shared_sum

_LONG = 32  # from this length on, rows are cheap to broadcast a number to, and to sum one by one


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
    mean = np.empty((count, groups, 1), x.dtype) if centered else None
    y = empty(x.shape, x.dtype)
    scale = np.empty((count, groups, 1), x.dtype)
    shares = np.full(length, 1 / max(length, 1), x.dtype)

    def work(part: slice) -> None:
        rows = x[part]
        if mean is not None:
            mean[part, :, 0] = np.vecdot(rows, shares)
            rows = np.subtract(rows, mean[part], out=y[part])
        squares = np.vecdot(rows, rows)[..., None]
        scale[part] = 1 / np.sqrt(squares / max(length, 1) + eps)
        rows = np.multiply(rows, scale[part], out=y[part])
        if weight is not None:
            rows *= weight
        if bias is not None:
            rows += bias

    share_blocks(work, count, groups * length)
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
    shares = np.full(length, 1 / max(length, 1), x.dtype)

    def work(part: slice) -> np.ndarray:
        d, rows, r = dy[part], x[part], scale[part]
        sums = np.zeros((2, groups, length), x.dtype)
        room = empty(rows.shape, x.dtype)
        if mean is not None:
            rows = np.subtract(rows, mean[part], out=room)
        if need_weight:  # Σ over the samples: for each group one row of factors times a matrix
            product = np.multiply(d, rows, out=empty(rows.shape, x.dtype))
            sums[0] = np.matmul(r.transpose(1, 2, 0), product.transpose(1, 0, 2))[:, 0]
        if need_bias:
            sums[1] = np.ones(len(d), d.dtype).dot(d.reshape(len(d), groups * length)).reshape(groups, length)
        if dx is None:
            return sums
        out = dx[part]
        if weight is None:
            out[...] = d
        else:
            np.multiply(d, weight, out=out)
        along = np.vecdot(out, rows)[..., None] * (r * r / max(length, 1))
        rows = np.multiply(rows, along, out=room)
        if mean is not None:
            rows += np.vecdot(out, shares)[..., None]
        out -= rows
        out *= r
        return sums

    def sums_of(rows: slice) -> np.ndarray:
        return sum((work(part) for part in blocks(rows, groups * length)), np.zeros((2, groups, length), x.dtype))

    dweight, dbias = shared_sum(sums_of, count, x.size)
    return dx, dweight if need_weight else None, dbias if need_bias else None


# Channels ------------------------------------------------------------------------------------------------------------


@accelerated("float32", "float64")
def normalized_channels(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / √(variance + eps) · weight + bias for each channel of x (N, C, S), by its own mean and variance.

    Returns:
        The result; for each channel its mean, and Σ (x - mean)².
    """
    channels, count = x.shape[1], max(x.shape[0] * x.shape[2], 1)
    y, mean, squares = empty(x.shape, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)

    def work(part: slice) -> None:
        target = y[:, part]
        mean[part] = channel_sums(x[:, part]) / count
        squares[part] = channel_distances(x[:, part], mean[part], target)
        factor = (1 / np.sqrt(squares[part] / count + eps)).astype(x.dtype)
        factor = factor if weight is None else factor * weight[part]
        scaled_channels(target, None, factor, None if bias is None else bias[part], target)

    share(work, channels, x.size)
    return y, mean, squares


@accelerated("float32", "float64")
def channel_gradients(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, scale: np.ndarray, factor: np.ndarray, need_x: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Of `normalized_channels`, with scale 1/√(variance + eps) and factor scale · weight.

    Returns:
        The gradient of x, None where it is not needed; for each channel Σ dy (x - mean), and Σ dy.
    """
    along, sums, dx = np.empty_like(mean), np.empty_like(mean), empty(x.shape, x.dtype) if need_x else None
    shares = factor / max(x.shape[0] * x.shape[2], 1)

    def work(part: slice) -> None:
        upstream, rows = dy[:, part], x[:, part]
        along[part] = channel_products_with_distances(upstream, rows, mean[part])
        sums[part] = channel_sums(upstream)
        if dx is not None:
            slope, level = shares[part] * scale[part] * scale[part] * along[part], shares[part] * sums[part]
            through_channels(upstream, rows, mean[part], factor[part], slope, level, dx[:, part])

    share(work, x.shape[1], x.size)
    return dx, along, sums


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Σ over samples and positions of x (N, C, S), for each channel."""
    count, channels, size = x.shape
    if size >= _LONG:
        return np.vecdot(x, np.ones(size, x.dtype)).sum(axis=0)
    return np.ones(count, x.dtype).dot(x.reshape(count, channels * size)).reshape(channels, size).sum(axis=1)


def channel_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ over samples and positions of a · b, both (N, C, S), for each channel."""
    return np.vecdot(a, b).sum(axis=0) if a.shape[2] >= _LONG else channel_sums(a * b)


def spread(values: np.ndarray, size: int) -> np.ndarray:
    """One value for each channel, to be broadcast over (N, C, size): written out where positions are few."""
    return values[:, None] if size >= _LONG else np.repeat(values, size).reshape(-1, size)


def channel_distances(x: np.ndarray, mean: np.ndarray, out: np.ndarray) -> np.ndarray:
    """x - mean for x (N, C, S), into `out`; returns its squares' sum for each channel."""
    count, channels, size = x.shape
    squares = np.zeros(channels, x.dtype)
    offset = spread(mean, size)
    for part in blocks(slice(0, count), channels * size):
        rows = np.subtract(x[part], offset, out=out[part])
        squares += channel_products(rows, rows)
    return squares


def scaled_channels(
    x: np.ndarray, mean: np.ndarray | None, factor: np.ndarray, bias: np.ndarray | None, out: np.ndarray
) -> np.ndarray:
    """(x - mean) · factor + bias for each channel of x (N, C, S), into `out`; no mean where it is None."""
    count, channels, size = x.shape
    offset = None if mean is None else spread(mean, size)
    factor = spread(factor, size)
    shift = None if bias is None else spread(bias, size)
    for part in blocks(slice(0, count), channels * size):
        rows = x[part] if offset is None else np.subtract(x[part], offset, out=out[part])
        rows = np.multiply(rows, factor, out=out[part])
        if shift is not None:
            rows += shift
    return out


def channel_products_with_distances(dy: np.ndarray, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Σ dy · (x - mean) for each channel."""
    count, channels, size = x.shape
    products = np.zeros(channels, x.dtype)
    offset = spread(mean, size)
    for part in blocks(slice(0, count), channels * size):
        rows = np.subtract(x[part], offset, out=empty(x[part].shape, x.dtype))
        products += channel_products(dy[part], rows)
    return products


def through_channels(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    along: np.ndarray,
    level: np.ndarray,
    out: np.ndarray,
) -> None:
    """dy · factor - (x - mean) · along - level for each channel, into `out`: the gradient through batch statistics."""
    count, channels, size = x.shape
    mean, factor, along, level = (spread(values, size) for values in (mean, factor, along, level))
    for part in blocks(slice(0, count), channels * size):
        rows = np.subtract(x[part], mean, out=empty(x[part].shape, x.dtype))
        rows *= along
        rows += level
        np.multiply(dy[part], factor, out=out[part])
        out[part] -= rows
