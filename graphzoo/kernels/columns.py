"""Products with NumPy. On the flat grid, what the taps see is collected, a part at a time, and multiplied by BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from .grid import Geometry, Grid, Tap, flat_grids, grid_of, joined, whole
from .pool import empty

COLUMNS = 1 << 19
"""How many numbers are collected for one product: what is still in a core's cache when the product reads it."""

NARROWEST, WIDEST = 256, 2048
"""Positions in one product: fewer make it slow, more bring nothing."""


def _columns(
    source: np.ndarray, taps: tuple[Tap, ...], margin: int, length: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Some groups and positions at a time: which, and what taps see there: (groups, taps · channels, positions)."""
    groups, channels = source.shape[1:3]
    if len(taps) == 1:  # nothing to be collected
        plane, shift = taps[0]
        begin = margin + shift
        yield slice(groups), slice(length), source[plane, ..., begin : begin + length]
        return
    depth = len(taps) * channels
    width = min(WIDEST, max(NARROWEST, COLUMNS // depth))
    width = -(-length // -(-length // width))  # in parts of the same width
    some = max(1, min(groups, COLUMNS // (depth * width)))
    columns = empty((some, len(taps), channels, width), source.dtype)
    for group, first in product(range(0, groups, some), range(0, length, width)):
        n, positions = min(some, groups - group), min(width, length - first)
        for k, (plane, shift) in enumerate(taps):
            begin = margin + shift + first
            columns[:n, k, :, :positions] = source[plane, group : group + n, :, begin : begin + positions]
        collected = columns[:n].reshape(n, depth, width)[..., :positions]
        yield slice(group, group + n), slice(first, first + positions), collected


def multiplier(weight: np.ndarray, taps: tuple[Tap, ...], margin: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """What gives Σ weight[tap] · source[tap] at `length` positions: (groups, rows, positions), of a source.

    weight is (groups, rows, channels, taps), source as `flat_grids` makes them.
    """
    groups, rows, channels, count = weight.shape
    matrix = np.ascontiguousarray(weight.swapaxes(2, 3)).reshape(groups, rows, count * channels)

    def multiply(source: np.ndarray, length: int) -> np.ndarray:
        flat = empty((groups, rows, length), source.dtype)
        for some, positions, columns in _columns(source, taps, margin, length):
            np.matmul(matrix[some], columns, out=flat[some, :, positions])
        return flat

    return multiply


def kernel_products(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Σ source[tap] · dyᵀ over all positions of all images: (groups, taps, channels, outputs)."""
    grid = grid_of(geometry)
    total = np.zeros((groups, len(grid.taps), x.shape[1] // groups, dy.shape[1] // groups), dtype)
    images = joined(x, grid, grid.planes)
    sources = flat_grids(x, grid, grid.planes, groups, dtype, images)
    targets = flat_grids(dy, grid, (whole(geometry.out),), groups, dtype, images)
    for (_, source), (_, target) in zip(sources, targets, strict=True):
        _add_products(total, source, target[0], grid)
    return total


def _add_products(total: np.ndarray, source: np.ndarray, target: np.ndarray, grid: Grid) -> None:
    """total[tap] += source[tap] · targetᵀ."""
    target = target[..., grid.margin : target.shape[-1] - grid.margin]
    groups, taps, channels, outputs = total.shape
    length = target.shape[-1]
    if channels == outputs == 1:
        for k, (plane, shift) in enumerate(grid.taps):
            total[:, k, :, 0] += np.vecdot(source[plane, ..., grid.margin + shift :][..., :length], target)
        return
    target = np.ascontiguousarray(target.swapaxes(1, 2))  # products with a transposed array are slower
    rows = total.reshape(groups, taps * channels, outputs)
    for some, positions, columns in _columns(source, grid.taps, grid.margin, length):
        rows[some] += np.matmul(columns, target[some, positions])
