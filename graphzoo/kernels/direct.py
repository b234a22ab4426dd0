"""Products on the flat grid compiled by Numba: every tap reads the images where it looks, and nothing is collected.

They are made of tiles (see `tiles`), which are whole: what does not fill the last one is made up with rows of zeros and
with positions that nobody reads, or the last tile lies over the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from .grid import Geometry, Tap, flat_grids, grid_of
from .pool import empty
from .tiles import VECTOR, packed_tile, scattered_tile
from .workers import share

DEPTH = 96
"""Positions that one tile of a kernel's gradient takes in: what it reads of dy stays in the innermost cache."""

OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}


# A processor has 16 or 32 vector registers: sums of 24 vectors leave room for what is read.
EIGHT, FOUR = packed_tile(8, 3), packed_tile(4, 6)
BY_ONE, BY_TWO, BY_THREE, BY_FOUR = (
    scattered_tile(12, 1),
    scattered_tile(12, 2),
    scattered_tile(8, 3),
    scattered_tile(6, 4),
)


# Products with a kernel ----------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _by_eight(factors, source, first, starts, depth, step, flat, blocks):
    width, per, targets, values = flat.shape[1], factors.shape[1], flat.reshape(-1), factors.reshape(-1)
    for j in range(0, width, 3 * (VECTOR // flat.itemsize)):
        for block in range(blocks.start, blocks.stop):
            EIGHT(targets, block * 8 * width + j, width, values, block * per, source, first + j, starts, depth, step, 8)


@njit(**OPTIONS)
def _by_four(factors, source, first, starts, depth, step, flat, blocks):
    width, per, targets, values = flat.shape[1], factors.shape[1], flat.reshape(-1), factors.reshape(-1)
    for j in range(0, width, 6 * (VECTOR // flat.itemsize)):
        for block in range(blocks.start, blocks.stop):
            FOUR(targets, block * 4 * width + j, width, values, block * per, source, first + j, starts, depth, step, 4)


def multiplier(weight: np.ndarray, taps: tuple[Tap, ...], margin: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """As `columns.multiplier`; the result may have rows and positions to spare."""
    groups, rows, channels, count = weight.shape
    height = 4 if rows <= 4 else 8
    blocks = -(-rows // height)
    padded = np.zeros((groups, blocks * height, channels, count), weight.dtype)
    padded[:, :rows] = weight
    order = padded.reshape(groups, blocks, height, channels, count).transpose(0, 1, 4, 3, 2)
    factors = np.ascontiguousarray(order).reshape(groups, blocks, -1)
    across = (3 if height == 8 else 6) * (VECTOR // weight.itemsize)
    run = _by_eight if height == 8 else _by_four

    def multiply(source: np.ndarray, length: int) -> np.ndarray:
        step = source.shape[-1]
        flat = empty((groups, blocks * height, -(-length // across) * across), source.dtype)
        starts = np.array([plane * groups * channels * step + shift for plane, shift in taps], np.int64)

        def work(part: slice) -> None:
            for group in range(groups):
                first = group * channels * step + margin
                run(factors[group], source.reshape(-1), first, starts, channels, step, flat[group], part)

        share(work, blocks, flat[0].size * channels * count)
        return flat

    return multiply


# The gradient of a kernel --------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _turn(dy, places, begin, upstream):
    """upstream[begin + places[q], o] = dy[o, q]."""
    outputs, count = dy.shape
    for o in range(0, outputs, 16):
        for q in range(0, count, 16):  # some rows at a time, along which memory is read ahead
            for row in range(o, min(o + 16, outputs)):
                for column in range(q, min(q + 16, count)):
                    upstream[begin + places[column], row] = dy[row, column]


@njit(**OPTIONS)
def _add_products(source, begin, places, upstream, total, vectors):
    """total[r, o] += Σ_p source[begin + places[r] + p] upstream[p, o]."""
    (rows, line), length = total.shape, upstream.shape[0]
    sums, values, lanes = total.reshape(-1), upstream.reshape(-1), VECTOR // total.itemsize
    for p in range(0, length, DEPTH):
        depth = min(DEPTH, length - p)
        for j in range(0, line, vectors * lanes):
            at = p * line + j
            if vectors == 1:
                for r in range(0, rows, 12):
                    BY_ONE(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            elif vectors == 2:
                for r in range(0, rows, 12):
                    BY_TWO(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            elif vectors == 3:
                for r in range(0, rows, 8):
                    BY_THREE(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            else:
                for r in range(0, rows, 6):
                    BY_FOUR(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)


def kernel_products(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int, dtype: np.dtype[Any]) -> np.ndarray:
    """As `columns.kernel_products`."""
    grid = grid_of(geometry)
    channels, outputs, taps = x.shape[1] // groups, dy.shape[1] // groups, len(grid.taps)
    lanes = VECTOR // dtype.itemsize
    needed = -(-outputs // lanes)
    vectors = min((1, 2, 3, 4), key=lambda v: (-(-needed // v) * v, -v))
    height, line = (12, 12, 8, 6)[vectors - 1], -(-needed // vectors) * vectors * lanes
    total = np.zeros((groups, -(-taps * channels // height) * height, line), dtype)
    where: np.ndarray = np.zeros((), np.int64)
    for size, step in zip(geometry.out, grid.steps, strict=True):
        where = where[..., None] + np.arange(size) * step
    where, upstream = where.reshape(-1), None
    for images, source in flat_grids(x, grid, grid.planes, groups, dtype):
        some, step = dy[images], source.shape[-1]
        length = grid.length(len(some), geometry.out)
        if upstream is None or len(upstream) != length:
            upstream = np.zeros((length, line), dtype)
            starts = [plane * groups * channels * step + shift for plane, shift in grid.taps]
            places = np.add.outer(starts, np.arange(channels) * step).reshape(-1)
            places = np.resize(places, total.shape[1])  # rows to spare take any place
        rows = some.reshape(len(some), groups, outputs, -1).astype(dtype, copy=False)
        for group in range(groups):
            for number in range(len(some)):
                _turn(rows[number, group], where, number * grid.total, upstream)
            begin = group * channels * step + grid.margin
            _add_products(source.reshape(-1), begin, places, upstream, total[group], vectors)
    return total[:, : taps * channels, :outputs].reshape(groups, taps, channels, outputs)
