"""The flat grid: a layout of images on which every entry of a convolution's kernel is one shift.

An image is copied once into rows with zeros between them, and the rows are laid end to end. Then every entry of the
kernel (a *tap*) sees, for all outputs at once, one contiguous piece of memory, shifted by a number that depends on the
tap alone, whatever the number of axes and the dilation. One gap of zeros serves as the border behind one row and
before the next. Where an output would stand in a gap, some number stands that nobody reads.

A stride s takes every s-th entry, so an image is split into *planes*: the entries at r, r + s, r + 2s, … make plane r,
and a tap lies in one plane. The adjoint runs the same way backwards: from the flat grid of y to each plane of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

Sizes = tuple[int, ...]

POSITIONS, ENTRIES = 2048, 1 << 17
"""Small images are joined until their flat grid is as long, or has so many entries in all channels."""

ROOM = 128
"""So many entries may be read behind the last one: compiled products take up to six vectors of 64 bytes at a time."""


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


def whole(size: Sizes) -> Plane:
    return Plane((slice(None),) * len(size), size)


def joined(x: np.ndarray, grid: Grid, planes: tuple[Plane, ...]) -> int:
    """How many images of x are worked on at a time."""
    positions = max(POSITIONS, ENTRIES // (len(planes) * max(x.shape[1], 1)))
    return max(1, min(len(x), positions // grid.total))


def flat_grids(
    x: np.ndarray,
    grid: Grid,
    planes: tuple[Plane, ...],
    groups: int,
    dtype: np.dtype[Any],
    images: int | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Some images at a time: which, and their planes on the flat grid as (planes, groups, channels, positions)."""
    images, channels = joined(x, grid, planes) if images is None else images, x.shape[1] // groups
    order = (1, 2, 0, *range(3, 3 + len(grid.steps)))
    source = _zeros(len(planes), groups, channels, images * grid.total + 2 * grid.margin, dtype)
    for first in range(0, len(x), images):
        some = x[first : first + images]
        if len(some) < images:
            source = _zeros(len(planes), groups, channels, len(some) * grid.total + 2 * grid.margin, dtype)
        plane_bytes, *outer, step = source.strides
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
        yield slice(first, first + len(some)), source


def _zeros(planes: int, groups: int, channels: int, length: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(planes, groups, channels, length), with ROOM behind it."""
    size = planes * groups * channels * length
    return np.zeros(size + ROOM, dtype)[:size].reshape(planes, groups, channels, length)
