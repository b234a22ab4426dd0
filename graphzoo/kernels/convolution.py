"""Convolution on arrays of any number of spatial axes: forward, its adjoint, and the gradient of the kernel.

All three work on a *flat grid*. An image is copied once into rows with zeros between them, and the rows are laid end
to end. Then every entry of the kernel (a *tap*) sees, for all outputs at once, one contiguous piece of memory, shifted
by a number that depends on the tap alone: collecting what a product needs is a few long copies, whatever the number of
axes and the dilation. One gap of zeros serves as the border behind one row and before the next. Where an output would
stand in a gap, some number stands that nobody reads.

A stride s takes every s-th entry, so an image is split into *planes*: the entries at r, r + s, r + 2s, … make plane r,
and a tap lies in one plane. The adjoint runs the same way backwards: from the flat grid of y to each plane of x.

Arrays are (N, channels, *spatial); the weight is (outputs, channels/groups, *kernel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .pool import empty
from .select import accelerated
from .workers import share, shared_sum

Sizes = tuple[int, ...]

COLUMNS = 1 << 19
"""How many numbers are collected for one product: what is still in a core's cache when the product reads it."""

NARROWEST, WIDEST = 256, 2048
"""Positions in one product: fewer make it slow, more bring nothing."""

POSITIONS = 2048
"""Small images are joined until their flat grid is as long."""


class Geometry(NamedTuple):
    """y[n] = Σ_k w[k] x[stride·n + dilation·k − padding], with one number for each spatial axis.

    Attributes:
        size: of x.
        out: of y. It does not follow from the rest: y may end before the last window that fits.
        kernel, stride, dilation: as usual.
        padding: zeros before x; behind it are as many as `out` needs.
    """

    size: Sizes
    out: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes


class Plane(NamedTuple):
    """The entries of x in steps of the stride: the slices that take them out, and how many they are."""

    where: tuple[slice, ...]
    size: Sizes


class Tap(NamedTuple):
    """An entry of the kernel: the plane it lies in, and how far from an output's own place it looks."""

    plane: int
    shift: int


class Grid(NamedTuple):
    """Where things stand on the flat grid of a geometry, in each plane of x and in y alike.

    Attributes:
        steps: from an entry to the next along each axis.
        total: from an image to the next.
        margin: the farthest that a tap looks; as many zeros stand at both ends.
        planes: of x.
        taps: in the order of the flattened kernel.
    """

    steps: Sizes
    total: int
    margin: int
    planes: tuple[Plane, ...]
    taps: tuple[Tap, ...]

    def length(self, images: int, size: Sizes) -> int:
        """From the first entry of the first image to the last entry of the last one."""
        return (images - 1) * self.total + sum((n - 1) * step for n, step in zip(size, self.steps, strict=True)) + 1


@lru_cache(512)
def grid_of(geometry: Geometry) -> Grid:
    """The flat grid for a geometry."""
    axes = [_axis(*numbers) for numbers in zip(*geometry, strict=True)]
    widths = [axis.width for axis in axes]
    steps = tuple([math.prod(widths[i + 1 :]) for i in range(len(axes))])
    numbers = {phases: i for i, phases in enumerate(product(*[sorted(set(axis.phases)) for axis in axes]))}
    planes = [
        Plane(
            tuple([slice(r, None, s) for r, s in zip(phases, geometry.stride, strict=True)]),
            tuple([len(range(r, n, s)) for n, r, s in zip(geometry.size, phases, geometry.stride, strict=True)]),
        )
        for phases in numbers
    ]
    taps = [
        Tap(
            numbers[tuple([axis.phases[k] for axis, k in zip(axes, place, strict=True)])],
            sum(axis.shifts[k] * step for axis, k, step in zip(axes, place, steps, strict=True)),
        )
        for place in np.ndindex(*geometry.kernel)
    ]
    margin = max(abs(tap.shift) for tap in taps)
    return Grid(steps, math.prod(widths), margin, tuple(planes), tuple(taps))


class _Axis(NamedTuple):
    width: int  # of the grid along this axis
    phases: tuple[int, ...]  # for each entry of the kernel the plane it lies in,
    shifts: tuple[int, ...]  # and how far from the output's place it looks there


def _axis(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> _Axis:
    # x[stride·n + dilation·k − padding] is entry n + shift of plane phase.
    shifts, phases = zip(*[divmod(dilation * k - padding, stride) for k in range(kernel)], strict=True)
    longest = max(len(range(phase, size, stride)) for phase in phases)
    # The gap is as wide as taps look back before the first entry or on behind the last.
    width = max(longest - min(0, *shifts), out + max(0, *shifts), 1)
    return _Axis(width, phases, shifts)


# Wide kernels, by Fourier transforms ---------------------------------------------------------------------------------

WIDE = 400
"""Entries of a kernel from which on its products are taken between spectra."""


def _is_wide(geometry: Geometry, *arrays: np.ndarray) -> bool:
    """Whether a kernel is wide, looks at every place, and all numbers are finite: a transform spreads what is not."""
    if math.prod(geometry.kernel) < WIDE or {*geometry.stride, *geometry.dilation} != {1}:
        return False
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _lengths(geometry: Geometry) -> Sizes:
    """How long the transforms must be so that nothing comes round: numbers without large prime factors."""

    def fast(length: int) -> int:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        return length if rest == 1 else fast(length + 1)

    return tuple(fast(out + kernel - 1) for out, kernel in zip(geometry.out, geometry.kernel, strict=True))


def _spectra(x: np.ndarray, lengths: Sizes, groups: int, padding: Sizes | None = None) -> np.ndarray:
    """(frequencies, groups, N, channels): the transforms of x (N, groups · channels, *size), behind so many zeros."""
    if padding is not None:
        where: Any = (..., *(slice(length - before) for length, before in zip(lengths, padding, strict=True)))
        x = np.pad(x[where], ((0, 0), (0, 0), *((before, 0) for before in padding)))
    axes = tuple(range(2, 2 + len(lengths)))
    spectra = np.fft.rfftn(x, lengths, axes)
    return spectra.reshape(len(x), groups, x.shape[1] // groups, -1).transpose(3, 1, 0, 2)


def _back(spectra: np.ndarray, lengths: Sizes, size: Sizes, dtype: np.dtype[Any]) -> np.ndarray:
    """From (frequencies, groups, N, channels) to (N, groups · channels, *size)."""
    _, groups, count, channels = spectra.shape
    halves = (*lengths[:-1], lengths[-1] // 2 + 1)
    x = spectra.transpose(2, 1, 3, 0).reshape(count, groups * channels, *halves)
    x = np.fft.irfftn(x, lengths, tuple(range(2, 2 + len(lengths))))
    where: Any = (..., *(slice(n) for n in size))
    return x[where].astype(dtype, copy=False)


def _correlate_widely(x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    lengths = _lengths(geometry)
    kernels = _spectra(weight.swapaxes(0, 1), lengths, groups)  # (frequencies, groups, channels, outputs)
    products = _spectra(x, lengths, groups, geometry.padding) @ kernels.conj()
    return _back(products, lengths, geometry.out, np.result_type(x, weight))


def _widely_turned(weight: np.ndarray, geometry: Geometry, groups: int) -> tuple[np.ndarray, Geometry] | None:
    """The kernel and geometry with which a correlation is the adjoint of another; None where it would have to look
    beyond what there is."""
    padding = tuple(kernel - 1 - before for kernel, before in zip(geometry.kernel, geometry.padding, strict=True))
    if min(padding) < 0:
        return None
    outputs, channels = weight.shape[0] // groups, weight.shape[1]
    turned = np.flip(weight, tuple(range(2, weight.ndim))).reshape(groups, outputs, channels, *geometry.kernel)
    turned = turned.swapaxes(1, 2).reshape(groups * channels, outputs, *geometry.kernel)
    return turned, geometry._replace(size=geometry.out, out=geometry.size, padding=padding)


def _kernel_gradient_widely(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    lengths = _lengths(geometry)
    upstream = _spectra(dy, lengths, groups).conj()
    products = upstream.swapaxes(2, 3) @ _spectra(x, lengths, groups, geometry.padding)
    _, _, outputs, channels = products.shape
    dw = _back(products, lengths, geometry.kernel, np.result_type(x, dy))  # (outputs, groups · channels, *kernel)
    dw = dw.reshape(outputs, groups, channels, *geometry.kernel).swapaxes(0, 1)
    return dw.reshape(groups * outputs, channels, *geometry.kernel)


# The three passes ----------------------------------------------------------------------------------------------------

# Floating-point warnings are off, as in any product by BLAS: they would be about the numbers in the gaps, too.


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def correlate(
    x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    """y[n] = b + Σ_k w[k] x[stride·n + dilation·k − padding]."""
    if _is_wide(geometry, x, weight):
        y = _correlate_widely(x, weight, geometry, groups)
        return y if bias is None else np.add(y, along_channels(bias, y), out=y)
    dtype = np.result_type(x, weight)
    weight = _grouped(weight, groups, dtype)
    y = empty((len(x), groups * weight.shape[1], *geometry.out), dtype)
    grid, matrix = grid_of(geometry), _matrix(weight)

    def work(part: slice) -> None:
        images, target = x[part], y[part]
        if _is_pointwise(geometry):
            _multiply_in_place(matrix, images, target, bias)
            return
        for some, source in _flat_grids(images, grid, grid.planes, groups, dtype):
            _multiply(matrix, source, grid.taps, grid, target[some], bias)

    share(work, len(x), x.size * len(grid.taps), products=True)
    return y


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def correlate_adjoint(
    dy: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    """dx[stride·n + dilation·k − padding] += w[k] dy[n] for all n and k; upon b."""
    if _is_wide(geometry, dy, weight) and (turned := _widely_turned(weight, geometry, groups)) is not None:
        dx = _correlate_widely(dy, *turned, groups)
        return dx if bias is None else np.add(dx, along_channels(bias, dx), out=dx)
    dtype = np.result_type(dy, weight)
    weight = _grouped(weight, groups, dtype).swapaxes(1, 2)
    dx = empty((len(dy), groups * weight.shape[1], *geometry.size), dtype)
    grid = grid_of(geometry)
    finite = np.isfinite(weight).all()
    if not finite or len(grid.planes) < math.prod(geometry.stride):  # or no tap reaches some planes
        dx[...] = 0 if bias is None else along_channels(bias, dx)
    if not finite:  # zeros in the gaps would become NaN
        for k, in_x, in_y in _overlaps(geometry):
            part = dx[in_x]
            part += np.matmul(weight[..., k], _in_groups(dy[in_y], groups)).reshape(part.shape)
        return dx
    taps = [[k for k, tap in enumerate(grid.taps) if tap.plane == number] for number in range(len(grid.planes))]
    matrices = [_matrix(weight[..., of_plane]) for of_plane in taps]
    backwards = [tuple([Tap(0, -grid.taps[k].shift) for k in of_plane]) for of_plane in taps]

    def work(part: slice) -> None:
        images, target = dy[part], dx[part]
        if _is_pointwise(geometry):
            _multiply_in_place(matrices[0], images, target, bias)
            return
        for some, source in _flat_grids(images, grid, (_whole(geometry.out),), groups, dtype):
            for plane, matrix, of_plane in zip(grid.planes, matrices, backwards, strict=True):
                _multiply(matrix, source, of_plane, grid, target[(some, slice(None), *plane.where)], bias)

    share(work, len(dy), dy.size * len(grid.taps), products=True)
    return dx


@accelerated("float32", "float64")
@np.errstate(all="ignore")
def kernel_gradient(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """dw[k] = Σ_n dy[n] x[stride·n + dilation·k − padding]."""
    if _is_wide(geometry, x, dy):
        return _kernel_gradient_widely(x, dy, geometry, groups)
    dtype = np.result_type(x, dy)
    channels, outputs = x.shape[1] // groups, dy.shape[1] // groups
    grid = grid_of(geometry)

    def work(part: slice) -> np.ndarray:
        total = np.zeros((groups, len(grid.taps), channels, outputs), dtype)
        if _is_pointwise(geometry):
            for rows, columns in zip(_in_groups(x[part], groups), _in_groups(dy[part], groups), strict=True):
                total[:, 0] += np.matmul(rows, columns.swapaxes(1, 2))
            return total
        sources = _flat_grids(x[part], grid, grid.planes, groups, dtype)
        targets = _flat_grids(dy[part], grid, (_whole(geometry.out),), groups, dtype)
        for (_, source), (_, target) in zip(sources, targets, strict=True):
            _add_products(total, source, target[0], grid)
        return total

    total = shared_sum(work, len(x), x.size * len(grid.taps), products=True)
    if not _is_pointwise(geometry) and not np.isfinite(total).all():
        # Zeros in the gaps may have met something infinite, and become NaN.
        for k, in_x, in_y in _overlaps(geometry):
            rows, columns = _in_groups(x[in_x], groups), _in_groups(dy[in_y], groups)
            total[:, k] = np.matmul(rows, columns.swapaxes(2, 3)).sum(axis=0)
    return total.transpose(0, 3, 2, 1).reshape(groups * outputs, channels, *geometry.kernel)


@accelerated("float32", "float64")
def channel_sums(dy: np.ndarray) -> np.ndarray:
    """The sum over images and positions."""
    flat = _in_groups(dy, 1)[:, 0]
    ones = np.ones(flat.shape[2], dy.dtype)
    # BLAS adds up rows several times as fast as sum() does.
    return shared_sum(lambda part: np.vecdot(flat[part], ones).sum(axis=0), len(dy), dy.size)


def _multiply_in_place(matrix: np.ndarray, x: np.ndarray, y: np.ndarray, bias: np.ndarray | None) -> None:
    """y = b + matrix · x at each position."""
    groups = len(matrix)
    np.matmul(matrix, _in_groups(x, groups), out=_in_groups(y, groups))
    if bias is not None:
        y += along_channels(bias, y)


# On the flat grid ----------------------------------------------------------------------------------------------------


def _flat_grids(
    x: np.ndarray, grid: Grid, planes: tuple[Plane, ...], groups: int, dtype: np.dtype[Any]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Some images at a time: which, and their planes on the flat grid as (planes, groups, channels, positions)."""
    images, channels = min(len(x), max(1, POSITIONS // grid.total)), x.shape[1] // groups
    source = np.zeros((len(planes), groups, channels, images * grid.total + 2 * grid.margin), dtype)
    plane_bytes, *outer, step = source.strides
    order = (1, 2, 0, *range(3, 3 + len(grid.steps)))
    for first in range(0, len(x), max(images, 1)):
        some = x[first : first + images]
        for number, plane in enumerate(planes):
            where: Any = (..., *plane.where)
            data = some[where].reshape(len(some), groups, channels, *plane.size)
            inside = np.ndarray(
                (groups, channels, len(some), *plane.size),
                dtype,
                source,
                number * plane_bytes + grid.margin * step,
                (*outer, grid.total * step, *[n * step for n in grid.steps]),
            )
            inside[...] = data.transpose(order)
        yield slice(first, first + len(some)), source[..., : len(some) * grid.total + 2 * grid.margin]


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


def _multiply(
    matrix: np.ndarray,
    source: np.ndarray,
    taps: tuple[Tap, ...],
    grid: Grid,
    target: np.ndarray,
    bias: np.ndarray | None,
) -> None:
    """target = b + Σ matrix[tap] · source[tap], for the images that are on the flat grid."""
    if not target.size:
        return
    groups, rows, _ = matrix.shape
    images, size = len(target), target.shape[2:]
    flat = empty((groups, rows, images * grid.total), target.dtype)
    for some, positions, columns in _columns(source, taps, grid.margin, grid.length(images, size)):
        np.matmul(matrix[some], columns, out=flat[some, :, positions])
    step = flat.itemsize
    strides = (grid.total * step, flat.strides[1], *[n * step for n in grid.steps])
    entries = np.ndarray(target.shape, flat.dtype, flat, 0, strides)
    if bias is None:
        target[...] = entries
    else:
        np.add(entries, along_channels(bias, target), out=target)


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


# Views and layouts ---------------------------------------------------------------------------------------------------


def _is_pointwise(geometry: Geometry) -> bool:
    """Whether the only tap looks at the output's own place."""
    return geometry.size == geometry.out and {*geometry.kernel, *geometry.stride} == {1} and not any(geometry.padding)


def _whole(size: Sizes) -> Plane:
    return Plane((slice(None),) * len(size), size)


def _grouped(weight: np.ndarray, groups: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(groups, outputs, channels, taps)."""
    outputs, channels = weight.shape[:2]
    return weight.reshape(groups, outputs // groups, channels, -1).astype(dtype, copy=False)


def _matrix(weight: np.ndarray) -> np.ndarray:
    """(groups, rows, channels, taps) as matrices (groups, rows, taps · channels)."""
    groups, rows, channels, taps = weight.shape
    return np.ascontiguousarray(weight.swapaxes(2, 3)).reshape(groups, rows, taps * channels)


def _in_groups(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, groups, channels, positions)."""
    return x.reshape(len(x), groups, x.shape[1] // groups, math.prod(x.shape[2:]))


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
