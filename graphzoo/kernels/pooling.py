"""What pooling computes with: windows along each axis, taken one axis at a time.

A maximum (or a sum) over a box is one over each of its axes in turn, so that a k×k window costs 2k operations instead
of k². They work on contiguous copies of every stride-th entry (which is quicker than working on these in place), in
blocks that stay in the cache. All arrays here are (rows, *spatial): whatever is not spatial is one axis of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .pool import empty
from .select import accelerated
from .workers import share, share_blocks


class Axis(NamedTuple):
    """The windows along one axis: the n-th takes the entries n · stride + j · dilation - padding for j < kernel."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    out: int

    @property
    def padded(self) -> tuple[int, int]:
        """How many entries the windows reach over both ends."""
        reach = (self.out - 1) * self.stride + self.dilation * (self.kernel - 1) + 1
        return self.padding, max(reach - self.padding - self.size, 0)

    @property
    def tiles(self) -> bool:
        """Whether the windows divide the axis among them, with nothing left over."""
        return (self.kernel, 1, 0, self.size) == (self.stride, self.dilation, self.padding, self.out * self.kernel)

    def taps(self, axis: int) -> Iterator[Any]:
        """For each j, the key of what the windows have at their j-th place, along an axis that was padded."""
        for j in range(self.kernel):
            start = j * self.dilation
            yield (*(slice(None),) * axis, slice(start, start + self.stride * (self.out - 1) + 1, self.stride))

    def sums(self, x: np.ndarray, axis: int) -> np.ndarray:
        """The sum of each window."""
        if self.tiles and self.kernel > 2:
            tiles = x.reshape(*x.shape[:axis], self.out, self.kernel, *x.shape[axis + 1 :])
            # BLAS adds up short rows many times faster than sum() does.
            return tiles.dot(np.ones(self.kernel, x.dtype)) if axis == x.ndim - 1 else tiles.sum(axis=axis + 1)
        first, *others = (x[tap] for tap in self.taps(axis))
        total = first + others[0] if others else np.array(first)
        for other in others[1:]:
            total += other
        return total

    def spread(self, values: np.ndarray, axis: int) -> np.ndarray:
        """The adjoint of `sums`: each window's value added to all of its entries, the padding included."""
        shape = (*values.shape[:axis], self.size + sum(self.padded), *values.shape[axis + 1 :])
        if self.tiles:
            x = np.empty(shape, values.dtype)
            if self.kernel > 4:
                tiles = x.reshape(*shape[:axis], self.out, self.kernel, *shape[axis + 1 :])
                tiles[...] = np.expand_dims(values, axis + 1)
            else:
                for tap in self.taps(axis):
                    x[tap] = values
            return x
        x = np.zeros(shape, values.dtype)
        for tap in self.taps(axis):
            x[tap] += values
        return x

    def counts(self, with_padding: bool) -> np.ndarray:
        """How many entries each window has; with the padding, but never what lies beyond it."""
        starts = np.arange(self.out) * self.stride - self.padding
        ends = np.minimum(starts + self.kernel, self.size + self.padding)
        return ends - starts if with_padding else np.minimum(ends, self.size) - np.maximum(starts, 0)

    @property
    def has_empty_windows(self) -> bool:
        """Whether some window has no entry but padding (as dilation may step over all others)."""
        places = np.arange(self.out)[:, None] * self.stride + np.arange(self.kernel) * self.dilation - self.padding
        return not ((places >= 0) & (places < self.size)).any(axis=1).all()


class UnevenAxis(NamedTuple):
    """Windows that divide an axis as evenly as whole numbers allow; they may overlap by one entry."""

    size: int
    out: int

    @property
    def padded(self) -> tuple[int, int]:
        return 0, 0

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Start and end of each window."""
        return [(n * self.size // self.out, -(-(n + 1) * self.size // self.out)) for n in range(self.out)]

    def sums(self, x: np.ndarray, axis: int) -> np.ndarray:
        before = (slice(None),) * axis
        totals = [x[(*before, slice(*bound))].sum(axis=axis, keepdims=True) for bound in self.bounds]
        return np.concatenate(totals, axis=axis)

    def spread(self, values: np.ndarray, axis: int) -> np.ndarray:
        before = (slice(None),) * axis
        x = np.zeros((*values.shape[:axis], self.size, *values.shape[axis + 1 :]), values.dtype)
        for n, bound in enumerate(self.bounds):
            x[(*before, slice(*bound))] += values[(*before, slice(n, n + 1))]
        return x

    def counts(self, with_padding: bool) -> np.ndarray:
        return np.array([end - start for start, end in self.bounds])

    @property
    def gathered(self) -> tuple[np.ndarray, Axis]:
        """Entries to take from the axis so that the windows divide them, and these windows.

        Shorter windows repeat their last entry, which changes no maximum.
        """
        width = max(end - start for start, end in self.bounds)
        places = np.array([[min(start + j, end - 1) for j in range(width)] for start, end in self.bounds])
        return places.reshape(-1), Axis(places.size, width, width, 0, 1, self.out)


Axes = Sequence[Axis | UnevenAxis]


def _padded(x: np.ndarray, axes: Axes, value: Any) -> np.ndarray:
    """x with the given value around it where windows reach over its ends."""
    borders = [axis.padded for axis in axes]
    if not any(map(any, borders)):
        return x
    sizes = [before + axis.size + after for axis, (before, after) in zip(axes, borders, strict=True)]
    wide = np.full((len(x), *sizes), value, x.dtype)
    wide[(slice(None), *_inside(axes))] = x
    return wide


def _inside(axes: Axes) -> list[slice]:
    return [slice(axis.padded[0], axis.padded[0] + axis.size) for axis in axes]


# Sums ----------------------------------------------------------------------------------------------------------------


@accelerated("float32", "float64")
def pooled_sums(x: np.ndarray, axes: Axes) -> np.ndarray:
    """The sum of each window."""
    y = empty((len(x), *(axis.out for axis in axes)), x.dtype)

    def work(part: slice) -> None:
        block = _padded(x[part], axes, 0)
        for number in range(len(axes), 0, -1):
            block = axes[number - 1].sums(block, number)
        y[part] = block

    share_blocks(work, len(x), math.prod(x.shape[1:]))
    return y


@accelerated("float32", "float64")
def spread_sums(dy: np.ndarray, axes: Axes) -> np.ndarray:
    """The adjoint of `pooled_sums`: each window's value added to all of its entries."""
    dx = empty((len(dy), *(axis.size for axis in axes)), dy.dtype)
    inside = (slice(None), *_inside(axes))

    def work(part: slice) -> None:
        block = dy[part]
        for number in range(len(axes), 0, -1):
            block = axes[number - 1].spread(block, number)
        dx[part] = block[inside]

    share_blocks(work, len(dx), math.prod(dx.shape[1:]))
    return dx


# Maxima --------------------------------------------------------------------------------------------------------------


def lowest(dtype: np.dtype[Any]) -> Any:
    """What padding holds, and no maximum is below."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def pooled_maxima(x: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """The largest entry of each window; NaN where there is one."""
    y = empty((len(x), *(axis.out for axis in axes)), x.dtype)

    def work(part: slice) -> None:
        block = _padded(x[part], axes, lowest(x.dtype))
        for number in range(len(axes), 0, -1):
            block = _largest(block, axes[number - 1], number)
        y[part] = block

    share_blocks(work, len(x), math.prod(x.shape[1:]))
    return y


@accelerated("float32", "float64")
def pooled_maxima_and_places(x: np.ndarray, axes: Sequence[Axis]) -> tuple[np.ndarray, np.ndarray]:
    """The largest entry of each window, and where it stands in x's flattened spatial axes: the first at ties."""
    y = empty((len(x), *(axis.out for axis in axes)), x.dtype)
    places = empty(y.shape, np.dtype(np.int64))
    corners, offsets = _corners(axes), _offsets(axes)
    bordered = any(any(axis.padded) for axis in axes)

    def work(part: slice) -> None:
        block = _padded(x[part], axes, lowest(x.dtype))
        values, codes = _largest_and_codes(block, axes)
        if _doubtful(values, bordered):
            codes = _careful_codes(block, axes)
        y[part] = values
        np.add(offsets.take(codes), corners, out=places[part])

    share_blocks(work, len(x), math.prod(x.shape[1:]))
    return y, places


@accelerated("float32", "float64")
def spread_maxima(dy: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Each entry of dy (rows, *spatial) added where its maximum was taken: (rows, size)."""
    dx = np.zeros((len(dy), size), dy.dtype)

    def work(part: slice) -> None:
        target, upstream, where = dx[part], dy[part], places[part]
        rows = np.arange(len(target)).reshape(-1, *[1] * (dy.ndim - 1))
        np.add.at(target.reshape(-1), (where + rows * size).reshape(-1), upstream.reshape(-1))

    share(work, len(dy), dx.size)
    return dx


def _largest(x: np.ndarray, axis: Axis, number: int) -> np.ndarray:
    first, *others = (x[tap] for tap in axis.taps(number))
    best = np.array(first)
    for other in others:
        np.maximum(best, np.ascontiguousarray(other), out=best)
    return best


def _largest_and_codes(x: np.ndarray, axes: Sequence[Axis]) -> tuple[np.ndarray, np.ndarray]:
    """The maxima, and for each the number of its place within the window, in C order.

    From the last axis to the first, keeping the first of equals: that leaves the first in C order. A later place has a
    higher number, so that a maximum of numbers picks the latest place that was better than all before.
    """
    kind: Any = np.uint8 if math.prod(axis.kernel for axis in axes) <= 256 else np.int64
    codes: Any = np.broadcast_to(kind(0), x.shape)
    inner = 1  # places in a window, along the axes that are done
    for number in range(len(axes), 0, -1):
        best: Any = None
        chosen: Any = None
        for j, tap in enumerate(axes[number - 1].taps(number)):
            value = np.array(x[tap])
            code = codes[tap] + kind(j * inner)
            if best is None:
                best, chosen = value, code
            else:
                np.maximum(chosen, (value > best) * code, out=chosen)
                np.maximum(best, value, out=best)
        x, codes = best, chosen
        inner *= axes[number - 1].kernel
    return x, codes


def _doubtful(maxima: np.ndarray, bordered: bool) -> bool:
    """Whether comparing is not enough: NaN is larger than nothing, -inf no larger than padding."""
    if not maxima.size:
        return False
    if maxima.dtype.kind == "f" and bool(np.isnan(maxima.max())):
        return True
    return bordered and bool(maxima.min() == lowest(maxima.dtype))


def _careful_codes(x: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """The numbers of the maxima's places, where NaN goes before numbers and every entry before padding."""
    entries = _padded(np.ones((1, *(axis.size for axis in axes)), np.int8), axes, 0)
    best: Any = None
    rank: Any = None
    codes: Any = None
    for code, place in enumerate(np.ndindex(*(axis.kernel for axis in axes))):
        value, here = x, entries
        for number, (axis, j) in enumerate(zip(axes, place, strict=True), 1):
            tap = list(axis.taps(number))[j]
            value, here = value[tap], here[tap]
        now = here + (value != value)  # 0 for padding, 1 for an entry, 2 for NaN
        if best is None:
            best, rank, codes = value, now, np.zeros(value.shape, np.int64)
        else:
            better = (now > rank) | ((now == rank) & (value > best))
            best, rank, codes = (
                np.where(better, value, best),
                np.where(better, now, rank),
                np.where(better, code, codes),
            )
    return codes


def _corners(axes: Sequence[Axis]) -> np.ndarray:
    """Where each window begins, in the flattened spatial axes; outside of them where it reaches over an end."""
    corners = np.zeros((), np.int64)
    for axis in axes:
        corners = corners[..., None] * axis.size + (np.arange(axis.out) * axis.stride - axis.padding)
    return corners


def _offsets(axes: Sequence[Axis]) -> np.ndarray:
    """How far behind the window's beginning its places stand, in C order."""
    offsets = np.zeros((), np.int64)
    for axis in axes:
        offsets = offsets[..., None] * axis.size + np.arange(axis.kernel) * axis.dilation
    return offsets.reshape(-1)
