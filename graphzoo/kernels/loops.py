"""Twins of plain kernels, compiled by Numba: what NumPy streams through memory several times is done in one go here.

Work is shared among threads by rows or channels (see `workers`; Numba's
own threads would go on looking for work when they have none, and take the processors from BLAS's); sums are taken in
another order than NumPy's, so that results agree to rounding and no further. Compiled code is kept on disk (Numba's
cache): a second process doesn't compile again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from .erf import SINGLE, SINGLE_END
from .pool import empty
from .workers import share, shared_sum

# NaN and infinity keep their meaning; sums may be reordered, which is what lets them use vector registers.
FAST = {"reassoc", "contract", "arcp", "nsz"}
OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "fastmath": FAST, "nogil": True}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return njit(**OPTIONS)(function)


def by_rows(function: Callable[..., Any], *arrays: Any) -> None:
    """A compiled function of arrays whose rows (entries along the first axis) have nothing to do with each other, by
    several threads; what is no array is handed on."""
    count = next(array for array in arrays if isinstance(array, np.ndarray)).shape[0]
    entries = max(array.size for array in arrays if isinstance(array, np.ndarray))

    def work(part: slice) -> None:
        function(*[array[part] if isinstance(array, np.ndarray) else array for array in arrays])

    share(work, count, entries)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    return njit(inline="always", **OPTIONS)(function)


# Functions of float32 ------------------------------------------------------------------------------------------------

ZERO, HALF, ONE, LOWEST = np.float32(0), np.float32(0.5), np.float32(1), np.float32(-87.3)
PER_LN2, LN2_HIGH, LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693145751953125), np.float32(1.42860677e-6)
# e^r - 1 - r over r² for |r| ≤ ln 2 / 2, fitted to a relative error of 3e-9 of e^r.
E2, E3, E4, E5, E6 = (
    np.float32(value)
    for value in (
        0.499999934477135,
        0.16666520630532716,
        0.0416683880580308,
        0.008368717016953447,
        0.0013814598475721212,
    )
)
(N0, N1, N2, N3, N4, N5), (_, D1, D2, D3, D4, D5) = (tuple(np.float32(value) for value in part) for part in SINGLE)
END = np.float32(SINGLE_END)
# tanh(x)/x as a quotient of polynomials in x², fitted to a relative error of 2e-8 up to where tanh is 1; rounding makes
# that at most 4e-7.
T0, T1, T2, T3, T4 = (
    np.float32(value)
    for value in (
        0.9999999790275144,
        0.13379712280330464,
        0.003494027772521139,
        2.0583366908524992e-05,
        1.3318908166098251e-08,
    )
)
U1, U2, U3, U4 = (
    np.float32(value)
    for value in (0.4671302752242491, 0.025871047546226544, 0.00032830816261394035, 7.761953556206019e-07)
)
TANH_END = np.float32(9.02)
DENSITY = np.float32(1 / np.sqrt(2 * np.pi))
ROOT_HALF = np.float32(np.sqrt(0.5))
LEAST = np.float32(-np.inf)


@inline
def exp_below(x):
    """e^x for x ≤ 0; NaN of NaN."""
    n = np.floor(x * PER_LN2 + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    series = E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))
    power = ONE + r + r * r * series
    scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    # No number is compared with NaN to be true: that is handed on.
    return power * scale if x > LOWEST else (ZERO if x <= LOWEST else x)


@inline
def erf_single(x):
    z = min(max(x, -END), END)
    t = z * z
    above = N0 + t * (N1 + t * (N2 + t * (N3 + t * (N4 + t * N5))))
    below = ONE + t * (D1 + t * (D2 + t * (D3 + t * (D4 + t * D5))))
    y = z * above / below
    y = min(max(y, -ONE), ONE)
    return y if x == x else x


@inline
def tanh_single(x):
    z = min(max(x, -TANH_END), TANH_END)
    t = z * z
    above = T0 + t * (T1 + t * (T2 + t * (T3 + t * T4)))
    below = ONE + t * (U1 + t * (U2 + t * (U3 + t * U4)))
    y = z * above / below
    y = min(max(y, -ONE), ONE)
    return y if x == x else x


@inline
def sigmoid_of_half(x):
    """σ(2x)."""
    return tanh_single(x) * HALF + HALF


# Entry by entry ------------------------------------------------------------------------------------------------------


@compiled
def _rectify(x, zero, y):
    for i in range(x.size):
        v = x[i]
        y[i] = zero if v <= zero else v  # NaN stays


@compiled
def _rectify_gradient(y, dy, dx):
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > 0 else dy[i] * 0  # as NumPy's: NaN where dy is infinite


@compiled
def _gelu(x, share, y):
    for i in range(x.size):
        s = (erf_single(x[i] * ROOT_HALF) + ONE) * HALF
        share[i] = s
        y[i] = x[i] * s


@compiled
def _gelu_gradient(x, share, dy, dx):
    for i in range(x.size):
        v = x[i]
        dx[i] = dy[i] * (share[i] + v * exp_below(-v * v * HALF) * DENSITY)


@compiled
def _tanh_gradient(y, dy, dx):
    for i in range(y.size):
        dx[i] = dy[i] - dy[i] * (y[i] * y[i])


def tanh_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = empty(y.shape, dy.dtype)
    by_rows(_tanh_gradient, flat(y), dy.reshape(-1), dx.reshape(-1))
    return dx


def rectified(x: np.ndarray) -> np.ndarray:
    y = empty(x.shape, x.dtype)
    by_rows(_rectify, x.reshape(-1), x.dtype.type(0), y.reshape(-1))
    return y


def rectified_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = empty(y.shape, y.dtype)
    by_rows(_rectify_gradient, flat(y), dy.reshape(-1), dx.reshape(-1))
    return dx


def normal_share(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shares, y = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    by_rows(_gelu, x.reshape(-1), shares.reshape(-1), y.reshape(-1))
    return shares, y


def normal_share_gradient(dy: np.ndarray, x: np.ndarray, share: np.ndarray) -> np.ndarray:
    dx = empty(x.shape, x.dtype)
    by_rows(_gelu_gradient, flat(x), flat(share), dy.reshape(-1), dx.reshape(-1))
    return dx


def flat(array: np.ndarray) -> np.ndarray:
    """An array's entries in a row."""
    return np.ascontiguousarray(array).reshape(-1)


# Softmax of rows -----------------------------------------------------------------------------------------------------


@inline
def highest_of(signed):
    """The largest of some numbers, of which the bits are given: as integers in the order of the numbers, for which a
    maximum is quick. A positive NaN is above all of them."""
    top = np.int32(-(2**31))
    for k in range(signed.size):
        top = max(top, signed[k] ^ ((signed[k] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return np.int32(top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@compiled
def _softmax(x, bits, y):
    for i in range(x.shape[0]):
        row, signed, out = x[i], bits[i], y[i]
        highest = highest_of(signed)
        total = ZERO
        for k in range(row.size):
            power = exp_below(row[k] - highest)
            out[k] = power
            total += power
        factor = ONE / total
        for k in range(row.size):
            out[k] *= factor


@compiled
def _softmax_gradient(y, dy, dx):
    for i in range(y.shape[0]):
        row, upstream, out = y[i], dy[i], dx[i]
        total = row[0] * 0
        for k in range(row.size):
            total += row[k] * upstream[k]
        for k in range(row.size):
            out[k] = row[k] * (upstream[k] - total)


@compiled
def _exponentials(scores, bits, out, factors):
    for i in range(scores.shape[0]):
        row, signed, target = scores[i], bits[i], out[i]
        highest = highest_of(signed)
        if highest == LEAST:  # a row with nothing to look at
            for k in range(row.size):
                target[k] = ZERO
            factors[i] = ZERO
            continue
        total = ZERO
        for k in range(row.size):
            power = exp_below(row[k] - highest)
            target[k] = power
            total += power
        factors[i] = ONE / total


@compiled
def _through_exponentials(ds, along, p):
    for i in range(ds.shape[0]):
        row, level, weights = ds[i], along[i], p[i]
        for k in range(row.size):
            row[k] = (row[k] - level) * weights[k]


def exponentials(scores: np.ndarray, out: np.ndarray) -> np.ndarray:
    factors, width = np.empty((*scores.shape[:-1], 1), scores.dtype), scores.shape[-1]
    rows = scores.reshape(-1, width)
    by_rows(_exponentials, rows, rows.view(np.int32), out.reshape(-1, width), factors.reshape(-1))
    return factors


def through_exponentials(ds: np.ndarray, along: np.ndarray, p: np.ndarray) -> None:
    width = ds.shape[-1]
    by_rows(_through_exponentials, ds.reshape(-1, width), along.reshape(-1), p.reshape(-1, width))


def softmax_rows(x: np.ndarray) -> np.ndarray:
    y = empty(x.shape, x.dtype)
    by_rows(_softmax, x, x.view(np.int32), y)
    return y


def softmax_rows_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = empty(y.shape, y.dtype)
    by_rows(_softmax_gradient, np.ascontiguousarray(y), dy, dx)
    return dx


# Normalised rows -----------------------------------------------------------------------------------------------------


@compiled
def _normalize_rows(part, x, weight, bias, eps, centered, y, means, scales):
    groups, length = weight.shape[0], x.shape[1]
    for i in range(part.start, part.stop):
        row, out = x[i], y[i]
        factor, shift = weight[i % groups], bias[i % groups]
        mean = row[0] * 0
        if centered:
            for k in range(length):
                mean += row[k]
            mean /= length
        squares = row[0] * 0
        for k in range(length):
            distance = row[k] - mean
            squares += distance * distance
        scale = (1 / np.sqrt(squares / length + eps)) + row[0] * 0
        means[i], scales[i] = mean, scale
        for k in range(length):
            out[k] = (row[k] - mean) * scale * factor[k] + shift[k]


@compiled
def _row_gradients(part, dy, x, means, scales, weight, centered, dx, sums):
    """`sums` are of the gradients of weight, and of bias."""
    groups, length = weight.shape[0], x.shape[1]
    for i in range(part.start, part.stop):
        row, upstream, out, factor = x[i], dy[i], dx[i], weight[i % groups]
        total, plain = sums[0, i % groups], sums[1, i % groups]
        mean, scale = means[i], scales[i]
        along, level = row[0] * 0, row[0] * 0
        for k in range(length):
            normal = (row[k] - mean) * scale
            total[k] += upstream[k] * normal
            plain[k] += upstream[k]
            g = upstream[k] * factor[k]
            along += g * normal
            level += g
        along /= length
        level = level / length if centered else level * 0
        for k in range(length):
            normal = (row[k] - mean) * scale
            out[k] = (upstream[k] * factor[k] - normal * along - level) * scale


def normalized_rows(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float, centered: bool = True
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    count, groups, length = x.shape
    ones = np.ones((1, length), x.dtype) if weight is None else weight
    zeros = np.zeros((len(ones), length), x.dtype) if bias is None else bias
    if len(ones) != len(zeros):
        ones = np.broadcast_to(ones, zeros.shape).copy()
    y, means, scales = empty(x.shape, x.dtype), *(np.empty(count * groups, x.dtype) for _ in range(2))
    flat_x, flat_y = x.reshape(-1, length), y.reshape(-1, length)
    others = (flat_x, ones, zeros, x.dtype.type(eps), centered, flat_y, means, scales)
    share(lambda part: _normalize_rows(part, *others), len(flat_x), x.size)
    shape = (count, groups, 1)
    return y, means.reshape(shape) if centered else None, scales.reshape(shape)


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
    count, groups, length = x.shape
    ones = np.ones((groups, length), x.dtype) if weight is None else weight
    means = np.zeros(count * groups, x.dtype) if mean is None else mean.reshape(-1)
    dx = empty(x.shape, x.dtype)
    rows = [array.reshape(-1, length) for array in (np.ascontiguousarray(dy), np.ascontiguousarray(x))]
    others = (*rows, means, scale.reshape(-1), ones, mean is not None, dx.reshape(-1, length))

    def work(part: slice) -> np.ndarray:
        sums = np.zeros((2, groups, length), x.dtype)
        _row_gradients(part, *others, sums)
        return sums

    dweight, dbias = shared_sum(work, count * groups, x.size)
    return dx if need_x else None, dweight if need_weight else None, dbias if need_bias else None


# Normalised channels -------------------------------------------------------------------------------------------------


@compiled
def _normalize_channels(part, x, weight, bias, eps, y, means, squares):
    count, _, size = x.shape
    for c in range(part.start, part.stop):
        total = x[0, c, 0] * 0
        for n in range(count):
            row = x[n, c]
            some = row[0] * 0
            for k in range(size):
                some += row[k]
            total += some
        mean = total / (count * size)
        distances = mean * 0
        for n in range(count):
            row = x[n, c]
            some = row[0] * 0
            for k in range(size):
                distance = row[k] - mean
                some += distance * distance
            distances += some
        means[c], squares[c] = mean, distances
        factor = weight[c] * (1 / np.sqrt(distances / (count * size) + eps)) + mean * 0
        shift = bias[c]
        for n in range(count):
            row, out = x[n, c], y[n, c]
            for k in range(size):
                out[k] = (row[k] - mean) * factor + shift


@compiled
def _channel_gradients(part, dy, x, means, scales, factors, dx, alongs, sums):
    count, _, size = x.shape
    for c in range(part.start, part.stop):
        mean = means[c]
        along, total = mean * 0, mean * 0
        for n in range(count):
            row, upstream = x[n, c], dy[n, c]
            products, plain = mean * 0, mean * 0
            for k in range(size):
                products += upstream[k] * (row[k] - mean)
                plain += upstream[k]
            along += products
            total += plain
        alongs[c], sums[c] = along, total
        factor = factors[c]
        each = factor / (count * size)
        slope, level = each * scales[c] * scales[c] * along, each * total
        for n in range(count):
            row, upstream, out = x[n, c], dy[n, c], dx[n, c]
            for k in range(size):
                out[k] = upstream[k] * factor - (row[k] - mean) * slope - level


def normalized_channels(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    channels = x.shape[1]
    y, means, squares = empty(x.shape, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    ones = np.ones(channels, x.dtype) if weight is None else weight
    zeros = np.zeros(channels, x.dtype) if bias is None else bias
    others = (x, ones, zeros, x.dtype.type(eps), y, means, squares)
    share(lambda part: _normalize_channels(part, *others), channels, x.size)
    return y, means, squares


def channel_gradients(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, scale: np.ndarray, factor: np.ndarray, need_x: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    dx, along, sums = empty(x.shape, x.dtype), np.empty_like(mean), np.empty_like(mean)
    others = (dy, np.ascontiguousarray(x), mean, scale, factor, dx, along, sums)
    share(lambda part: _channel_gradients(part, *others), x.shape[1], x.size)
    return dx if need_x else None, along, sums


# Tiles of 2×2 --------------------------------------------------------------------------------------------------------


@inline
def over(new, old):
    """Whether an entry takes the place of an earlier one: larger, or the first NaN. Without branches, to be done many
    at a time."""
    return (new > old) | ((new != new) & (old == old))


@compiled
def _pairs(x, y, places):
    """The maxima of 2×2 tiles."""
    width = x.shape[2]
    for r in range(x.shape[0]):
        for i in range(y.shape[1]):
            upper, lower, best, place = x[r, 2 * i], x[r, 2 * i + 1], y[r, i], places[r, i]
            start = 2 * i * width
            for j in range(best.size):
                a, b, c, d = upper[2 * j], upper[2 * j + 1], lower[2 * j], lower[2 * j + 1]
                one, two = over(b, a), over(d, c)
                left, right = b if one else a, d if two else c
                three = over(right, left)
                best[j] = right if three else left
                which = width + (1 if two else 0) if three else (1 if one else 0)
                place[j] = start + 2 * j + which


@compiled
def _spread(dy, places, dx):
    for r in range(dy.shape[0]):
        dx[r] = 0
        for k in range(dy.shape[1]):
            dx[r, places[r, k]] += dy[r, k]


@compiled
def _sum_pairs(x, y):
    for r in range(x.shape[0]):
        for i in range(y.shape[1]):
            upper, lower, out = x[r, 2 * i], x[r, 2 * i + 1], y[r, i]
            for j in range(out.size):
                out[j] = (upper[2 * j] + upper[2 * j + 1]) + (lower[2 * j] + lower[2 * j + 1])


@compiled
def _spread_pairs(dy, dx):
    for r in range(dy.shape[0]):
        for i in range(dy.shape[1]):
            row, upper, lower = dy[r, i], dx[r, 2 * i], dx[r, 2 * i + 1]
            for j in range(row.size):
                upper[2 * j] = upper[2 * j + 1] = lower[2 * j] = lower[2 * j + 1] = row[j]


def are_pairs(axes: Any) -> bool:
    """Whether the windows are 2×2 tiles."""
    return len(axes) == 2 and all(getattr(axis, "tiles", False) and axis.kernel == 2 for axis in axes)


def pooled_sums(x: np.ndarray, axes: Any) -> np.ndarray:
    if not are_pairs(axes):
        return NotImplemented
    y = empty((len(x), *(axis.out for axis in axes)), x.dtype)
    by_rows(_sum_pairs, x, y)
    return y


def spread_sums(dy: np.ndarray, axes: Any) -> np.ndarray:
    if not are_pairs(axes):
        return NotImplemented
    dx = empty((len(dy), *(axis.size for axis in axes)), dy.dtype)
    by_rows(_spread_pairs, dy, dx)
    return dx


def pooled_maxima_and_places(x: np.ndarray, axes: Any) -> tuple[np.ndarray, np.ndarray]:
    if not are_pairs(axes):
        return NotImplemented
    y = empty((len(x), *(axis.out for axis in axes)), x.dtype)
    places = empty(y.shape, np.dtype(np.int64))
    by_rows(_pairs, x, y, places)
    return y, places


def spread_maxima(dy: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    dx = empty((len(dy), size), dy.dtype)
    by_rows(_spread, dy.reshape(len(dy), -1), places.reshape(len(dy), -1), dx)
    return dx


# Convolutions in which each channel has a kernel of its own -----------------------------------------------------------


@compiled
def _shifted_sums(part, x, weight, bias, rows, columns, dilation, y):
    """y[n, c, i, j] = b[c] + Σ w[c, k, m] x[n, c, i + k · dilation - rows, j + m · dilation - columns].

    Each image is copied to a grid with the padding between its lines: then every entry of the kernel is one long sum.
    """
    channels, (height, width), (tall, wide) = x.shape[1], x.shape[2:], y.shape[2:]
    kernel = weight.shape[1:]
    line = max(width + columns, wide + (kernel[1] - 1) * dilation[1])
    lines = max(height + rows, tall + (kernel[0] - 1) * dilation[0])
    length = (tall - 1) * line + wide
    for nc in range(part.start, part.stop):
        n, c = nc // channels, nc % channels
        grid = np.zeros(lines * line, x.dtype)
        for i in range(height):
            row, inside = x[n, c, i], grid[(i + rows) * line + columns :]
            for j in range(width):
                inside[j] = row[j]
        total = np.full(length, bias[c], x.dtype)
        for k in range(kernel[0]):
            below, threes = grid[k * dilation[0] * line :], kernel[1] // 3 * 3
            for m in range(0, threes, 3):  # to read the sum, and to write it, costs as much as to add to it
                w0, w1, w2 = weight[c, k, m], weight[c, k, m + 1], weight[c, k, m + 2]
                seen0 = below[m * dilation[1] :]
                seen1, seen2 = seen0[dilation[1] :], seen0[2 * dilation[1] :]
                for i in range(length):
                    total[i] += w0 * seen0[i] + w1 * seen1[i] + w2 * seen2[i]
            for m in range(threes, kernel[1]):
                w, seen = weight[c, k, m], below[m * dilation[1] :]
                for i in range(length):
                    total[i] += w * seen[i]
        for i in range(tall):
            row, inside = y[n, c, i], total[i * line :]
            for j in range(wide):
                row[j] = inside[j]


@compiled
def _shifted_products(part, x, dy, rows, columns, dilation, dw):
    """dw[c, k, m] = Σ dy[n, c, i, j] x[n, c, i + k · dilation - rows, j + m · dilation - columns]."""
    (height, width), (tall, wide), kernel = x.shape[2:], dy.shape[2:], dw.shape[1:]
    line = max(width + columns, wide + (kernel[1] - 1) * dilation[1])
    lines = max(height + rows, tall + (kernel[0] - 1) * dilation[0])
    length = (tall - 1) * line + wide
    for c in range(part.start, part.stop):
        grid, upstream = np.zeros(lines * line, x.dtype), np.zeros(length, x.dtype)
        zero = upstream[0] * 0
        for n in range(x.shape[0]):
            for i in range(height):
                row, inside = x[n, c, i], grid[(i + rows) * line + columns :]
                for j in range(width):
                    inside[j] = row[j]
            for i in range(tall):
                row, inside = dy[n, c, i], upstream[i * line :]
                for j in range(wide):
                    inside[j] = row[j]
            for k in range(kernel[0]):
                below, threes = grid[k * dilation[0] * line :], kernel[1] // 3 * 3
                for m in range(0, threes, 3):
                    seen0 = below[m * dilation[1] :]
                    seen1, seen2 = seen0[dilation[1] :], seen0[2 * dilation[1] :]
                    sum0, sum1, sum2 = zero, zero, zero
                    for i in range(length):
                        value = upstream[i]
                        sum0 += value * seen0[i]
                        sum1 += value * seen1[i]
                        sum2 += value * seen2[i]
                    dw[c, k, m] += sum0
                    dw[c, k, m + 1] += sum1
                    dw[c, k, m + 2] += sum2
                for m in range(threes, kernel[1]):
                    seen, total = below[m * dilation[1] :], zero
                    for i in range(length):
                        total += upstream[i] * seen[i]
                    dw[c, k, m] += total


def is_depthwise(geometry: Any, groups: int, channels: int, *arrays: np.ndarray) -> bool:
    """Whether each channel has one kernel over two axes, every place is looked at, and all is of one dtype."""
    same = len({array.dtype for array in arrays}) == 1
    return same and len(geometry.kernel) == 2 and set(geometry.stride) == {1} and groups == channels > 1


def reached_back(geometry: Any) -> tuple[int, ...]:
    """How far the adjoint looks back along each axis."""
    every = zip(geometry.kernel, geometry.dilation, geometry.padding, strict=True)
    return tuple((kernel - 1) * dilation - padding for kernel, dilation, padding in every)


def correlate(
    x: np.ndarray, weight: np.ndarray, geometry: Any, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    if not is_depthwise(geometry, groups, x.shape[1], x, weight) or len(weight) != groups:
        return NotImplemented
    y = empty((len(x), groups, *geometry.out), x.dtype)
    shift = np.zeros(groups, x.dtype) if bias is None else bias.astype(x.dtype, copy=False)
    others = (x, np.ascontiguousarray(weight[:, 0]), shift, *geometry.padding, geometry.dilation, y)
    share(lambda part: _shifted_sums(part, *others), len(x) * groups, x.size * math.prod(geometry.kernel))
    return y


def correlate_adjoint(
    dy: np.ndarray, weight: np.ndarray, geometry: Any, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    back = reached_back(geometry)
    if not is_depthwise(geometry, groups, dy.shape[1], dy, weight) or weight.shape[1] != 1 or min(back) < 0:
        return NotImplemented
    if not np.isfinite(weight).all():  # the padding's zeros would become NaN
        return NotImplemented
    dx = empty((len(dy), groups, *geometry.size), dy.dtype)
    shift = np.zeros(groups, dy.dtype) if bias is None else bias.astype(dy.dtype, copy=False)
    others = (dy, np.ascontiguousarray(weight[:, 0, ::-1, ::-1]), shift, *back, geometry.dilation, dx)
    share(lambda part: _shifted_sums(part, *others), len(dy) * groups, dy.size * math.prod(geometry.kernel))
    return dx


def kernel_gradient(x: np.ndarray, dy: np.ndarray, geometry: Any, groups: int) -> np.ndarray:
    if not is_depthwise(geometry, groups, x.shape[1], x, dy) or dy.shape[1] != groups:
        return NotImplemented
    dw = np.zeros((groups, *geometry.kernel), x.dtype)
    others = (x, np.ascontiguousarray(dy), *geometry.padding, geometry.dilation, dw)
    share(lambda part: _shifted_products(part, *others), groups, x.size * math.prod(geometry.kernel))
    return dw[:, None] if np.isfinite(dw).all() else NotImplemented  # zeros may have met something infinite
