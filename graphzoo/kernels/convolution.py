"""Convolution on arrays of any number of spatial axes: forward, its adjoint, and the gradient of the kernel.

All three work on a *flat grid* (see `grid`), with products by NumPy (`columns`) or compiled ones (`direct`); kernels
with very many entries take Fourier transforms (`spectra`).

Arrays are (N, channels, *spatial); the weight is (outputs, channels/groups, *kernel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .grid import Geometry, Grid, Tap, flat_grids, grid_of, whole
from .pool import empty
from .select import accelerated, products_for
from .spectra import correlate_widely, is_wide, kernel_gradient_widely, widely_turned
from .stacks import multiply_each, sum_of_each
from .workers import share, shared_sum

# The three passes ----------------------------------------------------------------------------------------------------

# Floating-point warnings are off, as in any product by BLAS: they would be about the numbers in the gaps, too.


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def correlate(
    x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    """y[n] = b + Σ_k w[k] x[stride·n + dilation·k − padding]."""
    if is_wide(geometry, x, weight):
        y = correlate_widely(x, weight, geometry, groups)
        return y if bias is None else np.add(y, along_channels(bias, y), out=y)
    dtype = np.result_type(x, weight)
    weight = _grouped(weight, groups, dtype)
    y = empty((len(x), groups * weight.shape[1], *geometry.out), dtype)
    if _is_pointwise(geometry):
        matrices = np.ascontiguousarray(weight[..., 0])
        multiply_each(_in_groups(x, groups), matrices, _in_groups(y, groups), bias)
        return y
    grid = grid_of(geometry)
    products = products_for(x.size // max(len(x), 1) * len(grid.taps), dtype)
    multiply = products.multiplier(weight, grid.taps, grid.margin)

    def work(part: slice) -> None:
        images, target = x[part], y[part]
        for some, source in flat_grids(images, grid, grid.planes, groups, dtype):
            _fill(target[some], multiply(source, grid.length(len(target[some]), geometry.out)), grid, groups, bias)

    share(work, len(x), x.size * len(grid.taps))
    return y


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def correlate_adjoint(
    dy: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    """dx[stride·n + dilation·k − padding] += w[k] dy[n] for all n and k; upon b."""
    if is_wide(geometry, dy, weight) and (turned := widely_turned(weight, geometry, groups)) is not None:
        dx = correlate_widely(dy, *turned, groups)
        return dx if bias is None else np.add(dx, along_channels(bias, dx), out=dx)
    dtype = np.result_type(dy, weight)
    weight = _grouped(weight, groups, dtype).swapaxes(1, 2)
    dx = empty((len(dy), groups * weight.shape[1], *geometry.size), dtype)
    if _is_pointwise(geometry):
        matrices = np.ascontiguousarray(weight[..., 0])
        multiply_each(_in_groups(dy, groups), matrices, _in_groups(dx, groups), bias)
        return dx
    grid = grid_of(geometry)
    finite = np.isfinite(weight).all()
    if not finite or len(grid.planes) < math.prod(geometry.stride):  # or no tap reaches some planes
        dx[...] = 0 if bias is None else along_channels(bias, dx)
    if not finite:  # zeros in the gaps would become NaN
        for k, in_x, in_y in _overlaps(geometry):
            part = dx[in_x]
            part += np.matmul(weight[..., k], _in_groups(dy[in_y], groups)).reshape(part.shape)
        return dx
    products = products_for(dy.size // max(len(dy), 1) * len(grid.taps), dtype)
    taps = [[k for k, tap in enumerate(grid.taps) if tap.plane == number] for number in range(len(grid.planes))]
    multipliers = [
        products.multiplier(weight[..., of_plane], tuple([Tap(0, -grid.taps[k].shift) for k in of_plane]), grid.margin)
        for of_plane in taps
    ]

    def work(part: slice) -> None:
        images, target = dy[part], dx[part]
        for some, source in flat_grids(images, grid, (whole(geometry.out),), groups, dtype):
            for plane, multiply in zip(grid.planes, multipliers, strict=True):
                inside = target[(some, slice(None), *plane.where)]
                if inside.size:
                    _fill(inside, multiply(source, grid.length(len(inside), plane.size)), grid, groups, bias)

    share(work, len(dy), dy.size * len(grid.taps))
    return dx


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def kernel_gradient(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """dw[k] = Σ_n dy[n] x[stride·n + dilation·k − padding]."""
    if is_wide(geometry, x, dy):
        return kernel_gradient_widely(x, dy, geometry, groups)
    dtype = np.result_type(x, dy)
    channels, outputs, taps = x.shape[1] // groups, dy.shape[1] // groups, math.prod(geometry.kernel)
    if _is_pointwise(geometry):
        rows, columns = (_in_groups(each, groups).astype(dtype, copy=False) for each in (dy, x))
        return sum_of_each(rows, columns).reshape(groups * outputs, channels, *geometry.kernel)

    products = products_for(x.size // max(len(x), 1) * taps, dtype)

    def work(part: slice) -> np.ndarray:
        return products.kernel_products(x[part], dy[part], geometry, groups, dtype)

    total = shared_sum(work, len(x), x.size * taps)
    if not np.isfinite(total).all():
        # Zeros in the gaps may have met something infinite, and become NaN.
        for k, in_x, in_y in _overlaps(geometry):
            rows, columns = _in_groups(x[in_x], groups), _in_groups(dy[in_y], groups)
            total[:, k] = np.matmul(rows, columns.swapaxes(2, 3)).sum(axis=0)
    return total.transpose(0, 3, 2, 1).reshape(groups * outputs, channels, *geometry.kernel)


def channel_sums(dy: np.ndarray) -> np.ndarray:
    """The sum over images and positions."""
    flat = _in_groups(dy, 1)[:, 0]
    ones = np.ones(flat.shape[2], dy.dtype)
    # BLAS adds up rows several times as fast as sum() does.
    return shared_sum(lambda part: np.vecdot(flat[part], ones).sum(axis=0), len(dy), dy.size)


# Views and layouts ---------------------------------------------------------------------------------------------------


def _is_pointwise(geometry: Geometry) -> bool:
    """Whether the only tap looks at the output's own place."""
    return geometry.size == geometry.out and {*geometry.kernel, *geometry.stride} == {1} and not any(geometry.padding)


def _grouped(weight: np.ndarray, groups: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(groups, outputs, channels, taps)."""
    outputs, channels = weight.shape[:2]
    return weight.reshape(groups, outputs // groups, channels, -1).astype(dtype, copy=False)


def _in_groups(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, groups, channels, positions)."""
    return x.reshape(len(x), groups, x.shape[1] // groups, math.prod(x.shape[2:]))


def _fill(target: np.ndarray, flat: np.ndarray, grid: Grid, groups: int, bias: np.ndarray | None) -> None:
    """target = b + the numbers that stand on the flat grid for each group and its rows."""
    step = flat.itemsize
    images, channels, *size = target.shape
    shape = (images, groups, channels // groups, *size)
    strides = (grid.total * step, *flat.strides[:2], *[n * step for n in grid.steps])
    entries = np.ndarray(shape, flat.dtype, flat, 0, strides)
    inside = target.reshape(shape)  # to divide an axis copies nothing
    if bias is None:
        inside[...] = entries
    else:
        np.add(entries, bias.reshape(groups, -1, *(1,) * len(size)), out=inside)


def along_channels(bias: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One number for each channel, as it broadcasts with y."""
    return bias.reshape(-1, *(1,) * (y.ndim - 2))


def _overlaps(geometry: Geometry) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """For each tap where x and y meet: its number, the index into x, the index into y."""
    for number, place in enumerate(np.ndindex(*geometry.kernel)):
        in_x: list[Any] = [...]
        in_y: list[Any] = [...]
        for k, (size, out, _, stride, padding, dilation) in zip(place, zip(*geometry, strict=True), strict=True):
            offset = dilation * k - padding  # x's index for y's index 0
            first = max(0, -(offset // stride))
            end = max(first, min(out, (size - 1 - offset) // stride + 1))
            in_x.append(slice(stride * first + offset, stride * (end - 1) + offset + 1 if end > first else 0, stride))
            in_y.append(slice(first, end))
        yield number, tuple(in_x), tuple(in_y)


# Borders -------------------------------------------------------------------------------------------------------------

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names of PyTorch's padding modes."""


def bordered(x: np.ndarray, widths: tuple[tuple[int, int], ...], mode: str) -> np.ndarray:
    """x with borders made of its own entries around the spatial axes."""
    return np.pad(x, ((0, 0), (0, 0), *widths), MODES[mode])  # type: ignore[call-overload]


def bordered_adjoint(dy: np.ndarray, widths: tuple[tuple[int, int], ...], mode: str) -> np.ndarray:
    """What comes to the borders, added to the entries that they were made of."""
    for axis, (before, behind) in enumerate(widths, start=2):
        lines = np.moveaxis(dy, axis, 0)
        inside = lines[before : len(lines) - behind].copy()
        origin = np.pad(np.arange(len(inside)), (before, behind), MODES[mode])  # type: ignore[call-overload]
        for line in [*range(before), *range(len(lines) - behind, len(lines))]:
            inside[origin[line]] += lines[line]
        dy = np.moveaxis(inside, 0, axis)
    return dy
