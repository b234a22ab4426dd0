"""Convolution with 3×3 kernels in fewer products, at the price of digits: Winograd's F(4×4, 3×3).

Four by four outputs see six by six entries of x. As polynomials, the tile and the kernel are multiplied by their values
at six points for each axis: that takes 36 products where the definition takes 144. Taking values, and going back, are
sums with whole factors up to 8 between numbers of like size, which costs float32 about a digit.

    y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A

after A. Lavin and S. Gray, Fast algorithms for convolutional neural networks (2016), with the points 0, ±1, ±2 and ∞.
All tiles are transformed at once, by two products with small matrices, one for each axis; what stands at a point is
then multiplied for all tiles, and summed over channels, in one product.

Arrays are as in `convolution`, of two spatial axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .grid import Geometry, Sizes
from .pool import empty
from .workers import share, shared_sum

STEP, REACH, POINTS = 4, 6, 36
"""Outputs of a tile along an axis, entries that they see, and products that they take."""

BLOCK = 1 << 18
"""Values that are worked on at a time."""

_B = np.array([
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
], np.float32)  # fmt: skip
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)

Values = list[np.ndarray]
"""What tiles of x are at the points: for some images at a time (36, groups, channels, tiles)."""


@np.errstate(all="ignore")
def correlate(
    x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None, keep: bool
) -> tuple[np.ndarray, Values]:
    """As `convolution.correlate`, and, if `keep`, the values of x for `kernel_gradient`."""
    y = empty((len(x), len(weight), *geometry.out), x.dtype)
    counts = _counts(geometry)
    factors = _of_kernel(weight, groups)

    def work(part: slice) -> Values:
        kept = []
        for some in _some(part, x.shape[1], counts):
            values = _of_tiles(x[some], geometry, groups)
            products = np.matmul(
                factors, values, out=empty((POINTS, groups, len(weight) // groups, values.shape[-1]), x.dtype)
            )
            _write(_both_axes(_A, products.reshape(REACH, REACH, -1)), y[some], bias)
            if keep:
                kept.append(values)
        return kept

    kept = share(work, len(x), x.size * 9)
    return y, [values for part in kept for values in part]


@np.errstate(all="ignore")
def correlate_adjoint(dy: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """As `convolution.correlate_adjoint`, for paddings up to 2: a correlation with the kernels turned round."""
    outputs, channels = weight.shape[0] // groups, weight.shape[1]
    turned = weight[..., ::-1, ::-1].reshape(groups, outputs, channels, 3, 3).swapaxes(1, 2)
    padding = tuple(2 - before for before in geometry.padding)
    back = geometry._replace(size=geometry.out, out=geometry.size, padding=padding)
    return correlate(dy, turned.reshape(groups * channels, outputs, 3, 3), back, groups, None, keep=False)[0]


@np.errstate(all="ignore")
def kernel_gradient(values: Values, dy: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """As `convolution.kernel_gradient`, of the values that `correlate` kept."""
    counts = _counts(geometry)
    tiles = math.prod(counts)
    ends = np.cumsum([block.shape[-1] // tiles for block in values])
    channels, outputs = values[0].shape[2], dy.shape[1] // groups

    def work(part: slice) -> np.ndarray:
        total = np.zeros((POINTS, groups, outputs, channels), dy.dtype)
        for block, end in zip(values[part], ends[part], strict=True):
            some = dy[end - block.shape[-1] // tiles : end]
            upstream = _both_axes(_A.T, _read(some)).reshape(POINTS, groups, outputs, -1)
            total += np.matmul(upstream, block.swapaxes(2, 3))
        return total

    total = shared_sum(work, len(values), dy.size * 9)
    places = _both_axes(_G.T, total.reshape(REACH, REACH, -1))
    return np.ascontiguousarray(places.reshape(9, -1).T).reshape(groups * outputs, channels, 3, 3)


def is_sound(result: np.ndarray) -> bool:
    """Whether all of a result is finite: what is not spreads over the tiles that it is in."""
    flat = result.reshape(len(result), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.vecdot(flat, flat)).all())


# Tiles ---------------------------------------------------------------------------------------------------------------


def _counts(geometry: Geometry) -> Sizes:
    """Tiles along each axis."""
    return tuple(-(-n // STEP) for n in geometry.out)


def _some(part: slice, channels: int, counts: Sizes) -> Iterator[slice]:
    """Some images at a time."""
    step = max(1, BLOCK // (POINTS * channels * math.prod(counts)))
    return (slice(first, min(first + step, part.stop)) for first in range(part.start, part.stop, step))


def _both_axes(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """matrix · values · matrixᵀ for each of values (m, m, count): (n, n, count), matrix being (n, m).

    The result takes the place of the values where it can: so all that is worked on stays in a core's cache.
    """
    n, m = matrix.shape
    count = values.shape[2]
    rows = np.matmul(matrix, values.reshape(m, m * count), out=empty((n, m * count), values.dtype))
    out = values if n == m else empty((n, n, count), values.dtype)
    return np.matmul(matrix, rows.reshape(n, m, count), out=out)


def _of_kernel(weight: np.ndarray, groups: int) -> np.ndarray:
    """(36, groups, outputs, channels)."""
    outputs, channels = weight.shape[:2]
    places = np.ascontiguousarray(weight.reshape(-1, 9).T).reshape(3, 3, -1)
    return _both_axes(_G, places).reshape(POINTS, groups, outputs // groups, channels)


def _of_tiles(x: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """The values of each tile of some images: (36, groups, channels, tiles)."""
    images, channels = x.shape[:2]
    counts = _counts(geometry)
    wide = np.zeros((channels, images, *(STEP * n + REACH - STEP for n in counts)), x.dtype)
    top, left = (slice(p, p + n) for p, n in zip(geometry.padding, geometry.size, strict=True))
    place = wide[:, :, top, left]
    place[...] = x[:, :, : place.shape[2], : place.shape[3]].swapaxes(0, 1)
    *outer, line, entry = wide.strides
    seen = np.ndarray(
        (REACH, REACH, channels, images, *counts), x.dtype, wide, 0, (line, entry, *outer, STEP * line, STEP * entry)
    )
    tiles = empty(seen.shape, x.dtype)
    tiles[...] = seen
    return _both_axes(_B, tiles.reshape(REACH, REACH, -1)).reshape(POINTS, groups, channels // groups, -1)


def _write(outputs: np.ndarray, y: np.ndarray, bias: np.ndarray | None) -> None:
    """y = b + the outputs of each tile, (4, 4, channels · tiles)."""
    whole = _whole_tiles(y)
    target = _by_place(whole)
    np.add(outputs.reshape(target.shape), 0 if bias is None else bias[:, None, None, None], out=target)
    if whole is not y:
        y[...] = whole[:, :, : y.shape[2], : y.shape[3]]


def _whole_tiles(y: np.ndarray) -> np.ndarray:
    """An array of which the tiles at the ends are whole: y itself, or one that has to be copied to or from it."""
    height, width = (-(-n // STEP) * STEP for n in y.shape[2:])
    return y if (height, width) == y.shape[2:] else np.zeros((*y.shape[:2], height, width), y.dtype)


def _by_place(y: np.ndarray) -> np.ndarray:
    """y as (4, 4, channels, images, tiles down, tiles across)."""
    images, channels, height, width = y.shape
    parts = y.reshape(images, channels, height // STEP, STEP, width // STEP, STEP)
    return parts.transpose(3, 5, 1, 0, 2, 4)


def _read(dy: np.ndarray) -> np.ndarray:
    """The adjoint of `_write`: (4, 4, channels · tiles)."""
    whole = _whole_tiles(dy)
    if whole is not dy:
        whole[:, :, : dy.shape[2], : dy.shape[3]] = dy
    places = _by_place(whole)
    tiles = empty(places.shape, dy.dtype)
    tiles[...] = places
    return tiles.reshape(STEP, STEP, -1)
