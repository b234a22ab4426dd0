r"""Pooling modules: each window of an image becomes one number, its maximum or its mean.

One implementation serves any number of spatial axes. In the formulas U is the stride, D the dilation, P the padding
and K the set of places in a window; n and k have one index for each spatial axis. The zoo document's backward passes of
both kinds are misprinted (errata 6 and 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..kernels.pooling import (
    Axes,
    Axis,
    UnevenAxis,
    pooled_maxima,
    pooled_maxima_and_places,
    pooled_sums,
    spread_maxima,
    spread_sums,
)
from ..module import Formulas, Module, lift, record, unary
from ..tape import Node
from ..tensor import Tensor
from .array import concatenate, scatter_add
from .window import pad, sliding_window

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]  # fmt: skip

Size = int | Sequence[int]


class _Pool(Module):
    """What pooling modules share: the input as (rows, *spatial)."""

    spatial: ClassVar[int]  # the number of spatial axes

    def _axes(self, sizes: tuple[int, ...]) -> Axes:
        """The windows along each spatial axis."""
        raise NotImplementedError

    def _rows(self, x: np.ndarray) -> np.ndarray:
        if x.ndim not in (self.spatial + 1, self.spatial + 2):
            letters = ", ".join("DHW"[-self.spatial :] if self.spatial > 1 else "L")
            raise ShapeError(
                f"{self.name or type(self).__name__} does not fit its input",
                got=f"an input of shape {x.shape}",
                expected=f"(N, C, {letters}) or (C, {letters})",
            )
        sizes = x.shape[-self.spatial :]
        return x.reshape(math.prod(x.shape[: -self.spatial]), *sizes)

    def _definition(self, x: Any, axes: Axes, value: float) -> Any:
        """The entries of each window along a last axis, in C order."""
        if any(any(axis.padded) for axis in axes):
            x = pad(x, [(0, 0)] * (x.ndim - len(axes)) + [axis.padded for axis in axes], constant_values=value)
        kernel, stride, dilation = (
            tuple(getattr(axis, name) for axis in axes) for name in ("kernel", "stride", "dilation")
        )
        windows = sliding_window(x, kernel, stride, dilation)
        return windows.reshape(*windows.shape[: -len(axes)], math.prod(kernel))


# Maxima --------------------------------------------------------------------------------------------------------------


class _Maximum(_Pool):
    """What maximum pooling shares: where each maximum was taken is all that its backward pass needs."""

    return_indices: bool
    saves = (None,)

    def __call__(self, x: Any) -> Any:
        if not self.return_indices:
            return unary(self, x if isinstance(x, Tensor) else lift(x, self))
        y, places = record(self, (x,))
        return y, places.detach()  # no gradient goes through a position

    def forward(self, node: Node, x: np.ndarray) -> Any:
        rows = self._rows(x)
        sizes, lead = rows.shape[1:], x.shape[: -self.spatial]
        axes, taken = self._even_axes(sizes)
        for number, places in taken:
            rows = rows.take(places, axis=number)
        if not (node.needs[0] or self.return_indices):
            y = pooled_maxima(rows, axes)
            return y.reshape(*lead, *y.shape[1:])
        y, places = pooled_maxima_and_places(rows, axes)
        if taken:
            places = _taken_from(places, sizes, rows.shape[1:], taken)
        shape = (*lead, *y.shape[1:])
        node.saved = (places,)
        return (y.reshape(shape), places.reshape(shape)) if self.return_indices else y.reshape(shape)

    def backward(self, node: Node, dy: Any) -> Any:
        if self.return_indices:
            dy = dy[0]
        (places,) = node.saved
        shape = node.inputs[0].shape
        size = math.prod(shape[-self.spatial :])
        if not isinstance(dy, Tensor):
            return spread_maxima(np.ascontiguousarray(dy).reshape(places.shape), places, size).reshape(shape)
        rows = np.arange(len(places)).reshape(-1, *[1] * self.spatial)
        zeros = np.zeros(math.prod(shape), dy.dtype)
        return scatter_add(zeros, (places + rows * size).reshape(-1), dy.reshape(-1)).reshape(shape)

    def expand(self, node: Node, x: Any) -> Any:
        axes, taken = self._even_axes(x.shape[-self.spatial :])
        for number, places in taken:
            x = x[(..., places, *(slice(None),) * (self.spatial - number))]
        windows = self._definition(x, axes, -np.inf)
        rows = windows.reshape(math.prod(windows.shape[:-1]), windows.shape[-1])
        first = rows.numpy().argmax(axis=1)
        y = rows[np.arange(len(first)), first].reshape(windows.shape[:-1])
        return (y, Tensor(node.saved[0].reshape(y.shape))) if self.return_indices else y

    def _even_axes(self, sizes: tuple[int, ...]) -> tuple[list[Axis], list[tuple[int, np.ndarray]]]:
        """Windows that divide the axes, and for each axis where they do not, which entries to take so that they do."""
        even, taken = [], []
        for number, axis in enumerate(self._axes(sizes), 1):
            if isinstance(axis, UnevenAxis):
                places, axis = axis.gathered
                taken.append((number, places))
            even.append(axis)
        return even, taken


def _taken_from(
    places: np.ndarray, sizes: tuple[int, ...], taken_sizes: tuple[int, ...], taken: list[tuple[int, np.ndarray]]
) -> np.ndarray:
    """Flat positions among the entries that were taken, as flat positions among all."""
    position = list(np.unravel_index(places, taken_sizes))
    for number, came_from in taken:
        position[number - 1] = came_from[position[number - 1]]
    return np.ravel_multi_index(position, sizes)


class _MaxPool(_Maximum):
    """What the three modules share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=r"y_n = \max_{k \in K} x_{U n + D k - P}",
        backward=r"\frac{\partial L}{\partial x_i} = \sum_{n:\, a_n = i} \frac{\partial L}{\partial y_n}, \quad "
        r"a_n = U n + D \, k_n - P, \quad k_n = \text{the first } k \text{ with } x_{U n + D k - P} = y_n",
        source="zoo of deep learning modules, Pooling, MaxPooling2D, with erratum 6 (positions are absolute, and the "
        "sum runs over all windows that took the entry)",
    )

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = _per_axis(self, "kernel_size", kernel_size)
        self.stride = _per_axis(self, "stride", kernel_size if stride is None else stride)
        self.padding = _checked_padding(self, padding, self.kernel_size)
        self.dilation = _per_axis(self, "dilation", dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _axes(self, sizes: tuple[int, ...]) -> tuple[Axis, ...]:
        axes = _windows(
            type(self).__name__, sizes, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        if any(axis.padding and axis.has_empty_windows for axis in axes):
            raise ShapeError(
                f"{type(self).__name__}: a window has nothing but padding in it",
                got=f"size {sizes}, dilation {self.dilation}, padding {self.padding}",
                todo="take a smaller dilation or padding",
            )
        return axes

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    r"""The largest entry of each window; among equal ones the first has the gradient.

    Shapes: x (N, C, L) or (C, L); y (N, C, M) or (C, M), with
    M = ⌊(L + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1. With return_indices the result is a pair, y and
    the positions of the maxima: integers of y's shape, counted along the input's spatial axes in C order. NaN is larger
    than all numbers; padding is smaller, and never chosen.

    Args:
        kernel_size: number of entries in a window.
        stride: from window to window; kernel_size if None.
        padding: at most half of kernel_size, on both sides.
        dilation: from entry to entry within a window.
        return_indices: whether positions are returned, too.
        ceil_mode: whether the division is rounded up, to take in what a last window reaches over the end with. A window
            that would begin in the padding behind the end is left out.

    Raises:
        ArgumentError: sizes below 1, or a padding beyond half of the kernel.
        ShapeError: an input of another number of axes, or too small for a window.

    >>> import graphzoo as gz
    >>> gz.MaxPool1d(2)(gz.tensor([[1.0, 5.0, 3.0, 2.0]]))
    tensor([[5., 3.]])
    >>> gz.MaxPool1d(3, stride=1, padding=1, return_indices=True)(gz.tensor([[4.0, 4.0, 1.0]]))[1]
    tensor([[0, 0, 1]], dtype=int64)
    """

    spatial = 1


class MaxPool2d(_MaxPool):
    """The largest entry of each window of images; MaxPooling2D in the zoo document.

    Shapes: x (N, C, H, W) or (C, H, W). Sizes are numbers, or a pair for H and W. All else is as in `MaxPool1d`.

    >>> import graphzoo as gz
    >>> gz.MaxPool2d(2)(gz.tensor([[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]))
    tensor([[[4.]]])
    """

    spatial = 2


class MaxPool3d(_MaxPool):
    """The largest entry of each window of volumes.

    Shapes: x (N, C, D, H, W) or (C, D, H, W). Sizes are numbers, or three for D, H, W. All else is as in `MaxPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.MaxPool3d((1, 2, 3))(np.ones((1, 2, 4, 6), np.float32)).shape
    (1, 2, 2, 2)
    """

    spatial = 3


# Means ---------------------------------------------------------------------------------------------------------------


class _Average(_Pool):
    """What average pooling shares: a linear map and its adjoint."""

    saves = ()

    def _divisor(self, axes: Axes, dtype: np.dtype[Any]) -> np.ndarray:
        """What each window's sum is divided by, broadcast to the output."""
        raise NotImplementedError

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        rows = self._rows(x)
        if rows.dtype.kind != "f":
            rows = rows.astype(np.float64)
        axes = self._axes(rows.shape[1:])
        y = pooled_sums(rows, axes)
        y /= self._divisor(axes, y.dtype)
        return y.reshape(*x.shape[: -self.spatial], *y.shape[1:])

    def backward(self, node: Node, dy: Any) -> Any:
        sizes = node.inputs[0].shape[-self.spatial :]
        return unary(AverageSpread(self, sizes), dy) if isinstance(dy, Tensor) else self.spread(dy, sizes)

    def spread(self, dy: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
        """The adjoint of the forward pass."""
        axes = self._axes(sizes)
        rows = dy.reshape(math.prod(dy.shape[: -self.spatial]), *dy.shape[-self.spatial :])
        dx = spread_sums(rows / self._divisor(axes, dy.dtype), axes)
        return dx.reshape(*dy.shape[: -self.spatial], *sizes)


class AverageSpread(Module):
    """Each mean's share given to every entry of its window: the adjoint of average pooling, and so its backward pass.

    Args:
        pool: the pooling module.
        sizes: the spatial sizes of its input.
    """

    formulas = Formulas(
        forward=r"y_i = \sum_{n, k:\, U n + k - P = i} \frac{x_n}{|K_n|}",
        backward=r"\frac{\partial L}{\partial x_n} = \frac{1}{|K_n|} \sum_{k} "
        r"\frac{\partial L}{\partial y_{U n + k - P}}",
    )
    saves = ()
    pool: _Average

    def __init__(self, pool: _Average, sizes: tuple[int, ...]) -> None:
        object.__setattr__(self, "pool", pool)  # an attribute set in the usual way would rename the pool
        self.sizes = sizes

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return self.pool.spread(x, self.sizes)

    def backward(self, node: Node, dy: Any) -> Any:
        return unary(self.pool, dy) if isinstance(dy, Tensor) else self.pool.forward(node, dy)


class _AvgPool(_Average):
    """What the three modules share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=r"y_n = \frac{1}{|K_n|} \sum_{k \in K} x_{U n + k - P}",
        backward=r"\frac{\partial L}{\partial x_i} = \sum_{n, k:\, U n + k - P = i} \frac{1}{|K_n|} "
        r"\frac{\partial L}{\partial y_n}",
        source="zoo of deep learning modules, Pooling, AveragePooling2D, with erratum 7 (the divisor counts the "
        "window, and only windows that hold the entry contribute)",
    )

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: float | None = None,
    ) -> None:
        self.kernel_size = _per_axis(self, "kernel_size", kernel_size)
        self.stride = _per_axis(self, "stride", kernel_size if stride is None else stride)
        self.padding = _checked_padding(self, padding, self.kernel_size)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        if divisor_override is not None and divisor_override == 0:
            raise ArgumentError(
                f"{type(self).__name__}: sums are divided by divisor_override",
                got=divisor_override,
                expected="a number other than 0, or None for the number of entries",
            )
        self.divisor_override = divisor_override

    def _axes(self, sizes: tuple[int, ...]) -> tuple[Axis, ...]:
        ones = (1,) * self.spatial
        return _windows(type(self).__name__, sizes, self.kernel_size, self.stride, self.padding, ones, self.ceil_mode)

    def _divisor(self, axes: Axes, dtype: np.dtype[Any]) -> np.ndarray:
        if self.divisor_override is not None:
            return np.asarray(self.divisor_override, dtype)
        if not any(any(axis.padded) for axis in axes):
            return np.asarray(math.prod(self.kernel_size), dtype)
        return _counts(axes, self.count_include_pad).astype(dtype)

    def expand(self, node: Node, x: Any) -> Any:
        axes = self._axes(x.shape[-self.spatial :])
        return self._definition(x, axes, 0.0).sum(axis=-1) / self._divisor(axes, x.dtype)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        )


class AvgPool1d(_AvgPool):
    """The mean of each window.

    Shapes: x (N, C, L) or (C, L); y (N, C, M) or (C, M), M = ⌊(L + 2 padding - kernel_size) / stride⌋ + 1.

    Args:
        kernel_size: number of entries in a window.
        stride: from window to window; kernel_size if None.
        padding: zeros on both sides, at most half of kernel_size.
        ceil_mode: whether the division is rounded up, to take in what a last window reaches over the end with. A window
            that would begin in the padding behind the end is left out.
        count_include_pad: whether padding counts as entries in the divisor.
        divisor_override: what sums are divided by instead of the number of entries.

    Raises:
        ArgumentError: sizes below 1, a padding beyond half of the kernel, or 0 as the divisor.
        ShapeError: an input of another number of axes, or too small for a window.

    >>> import graphzoo as gz
    >>> gz.AvgPool1d(2)(gz.tensor([[1.0, 5.0, 3.0, 2.0]]))
    tensor([[3. , 2.5]])
    """

    spatial = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of images; AveragePooling2D in the zoo document.

    Shapes: x (N, C, H, W) or (C, H, W). Sizes are numbers, or a pair for H and W. All else is as in `AvgPool1d`.

    >>> import graphzoo as gz
    >>> gz.AvgPool2d(2)(gz.tensor([[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]))
    tensor([[[2.5]]])
    """

    spatial = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of volumes.

    Shapes: x (N, C, D, H, W) or (C, D, H, W). Sizes are numbers, or three for D, H, W. All else is as in `AvgPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.AvgPool3d((1, 2, 3))(np.ones((1, 2, 4, 6), np.float32)).shape
    (1, 2, 2, 2)
    """

    spatial = 3


# A given number of windows -------------------------------------------------------------------------------------------


class _AdaptiveAvgPool(_Average):
    """What the three modules share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=r"y_n = \frac{1}{|K_n|} \sum_{i \in K_n} x_i, \quad K_n = \left[\lfloor n S / M \rfloor, "
        r"\lceil (n + 1) S / M \rceil\right)",
        backward=r"\frac{\partial L}{\partial x_i} = \sum_{n:\, i \in K_n} \frac{1}{|K_n|} "
        r"\frac{\partial L}{\partial y_n}",
        source="PyTorch, torch.nn.AdaptiveAvgPool2d; with output_size 1 the global average pooling of M. Lin et al., "
        "Network in network (2013)",
    )

    def __init__(self, output_size: Any) -> None:
        self.output_size = _output_size(self, output_size)

    def _axes(self, sizes: tuple[int, ...]) -> Axes:
        return _adaptive(type(self).__name__, sizes, self.output_size)

    def _divisor(self, axes: Axes, dtype: np.dtype[Any]) -> np.ndarray:
        return _counts(axes, True).astype(dtype)

    def expand(self, node: Node, x: Any) -> Any:
        for number, axis in enumerate(self._axes(x.shape[-self.spatial :]), x.ndim - self.spatial):
            bounds = UnevenAxis(axis.size, axis.out).bounds
            before = (slice(None),) * number
            means = [x[(*before, slice(*bound))].mean(axis=number, keepdims=True) for bound in bounds]
            x = concatenate(means, axis=number)
        return x

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of as many windows as are asked for; with 1, the mean of all positions (global average pooling).

    Windows divide the axis as evenly as whole numbers allow, and overlap where its size S is no multiple of their
    number M: the n-th goes from ⌊n S / M⌋ to ⌈(n + 1) S / M⌉.

    Shapes: x (N, C, L) or (C, L); y (N, C, output_size) or (C, output_size).

    Args:
        output_size: how many windows; None for as many as x has entries.

    Raises:
        ArgumentError: sizes below 1.
        ShapeError: an input of another number of axes, or with an empty spatial axis.

    >>> import graphzoo as gz
    >>> gz.AdaptiveAvgPool1d(2)(gz.tensor([[1.0, 2.0, 6.0]]))
    tensor([[1.5, 4. ]])
    """

    spatial = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of as many windows of images as are asked for; with 1, global average pooling.

    Shapes: x (N, C, H, W) or (C, H, W). Sizes are numbers, or a pair for H, W. All else is as in `AdaptiveAvgPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.AdaptiveAvgPool2d((2, None))(np.ones((3, 5, 7), np.float32)).shape
    (3, 2, 7)
    """

    spatial = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of as many windows of volumes as are asked for; with 1, global average pooling.

    Shapes: x (N, C, D, H, W) or (C, D, H, W). Sizes are numbers, or three for D, H, W. All else is as in
    `AdaptiveAvgPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.AdaptiveAvgPool3d(1)(np.ones((3, 4, 5, 7), np.float32)).shape
    (3, 1, 1, 1)
    """

    spatial = 3


class _AdaptiveMaxPool(_Maximum):
    """What the three modules share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=r"y_n = \max_{i \in K_n} x_i, \quad K_n = \left[\lfloor n S / M \rfloor, "
        r"\lceil (n + 1) S / M \rceil\right)",
        backward=r"\frac{\partial L}{\partial x_i} = \sum_{n:\, a_n = i} \frac{\partial L}{\partial y_n}, \quad "
        r"a_n = \text{the first } i \in K_n \text{ with } x_i = y_n",
        source="PyTorch, torch.nn.AdaptiveMaxPool2d",
    )

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size = _output_size(self, output_size)
        self.return_indices = return_indices

    def _axes(self, sizes: tuple[int, ...]) -> Axes:
        return _adaptive(type(self).__name__, sizes, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of as many windows as are asked for; with 1, of all positions.

    Windows are those of `AdaptiveAvgPool1d`; ties, NaN and return_indices are as in `MaxPool1d`.

    Shapes: x (N, C, L) or (C, L); y (N, C, output_size) or (C, output_size).

    Args:
        output_size: how many windows; None for as many as x has entries.
        return_indices: whether the positions of the maxima are returned, too.

    Raises:
        ArgumentError: sizes below 1.
        ShapeError: an input of another number of axes, or with an empty spatial axis.

    >>> import graphzoo as gz
    >>> gz.AdaptiveMaxPool1d(2)(gz.tensor([[1.0, 2.0, 6.0]]))
    tensor([[2., 6.]])
    """

    spatial = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of as many windows of images as are asked for; with 1, global maximum pooling.

    Shapes: x (N, C, H, W) or (C, H, W). Sizes are numbers, or a pair for H, W. All else is as in `AdaptiveMaxPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.AdaptiveMaxPool2d((2, None))(np.ones((3, 5, 7), np.float32)).shape
    (3, 2, 7)
    """

    spatial = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of as many windows of volumes as are asked for; with 1, global maximum pooling.

    Shapes: x (N, C, D, H, W) or (C, D, H, W). Sizes are numbers, or three for D, H, W. All else is as in
    `AdaptiveMaxPool1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.AdaptiveMaxPool3d(1)(np.ones((3, 4, 5, 7), np.float32)).shape
    (3, 1, 1, 1)
    """

    spatial = 3


# Geometry ------------------------------------------------------------------------------------------------------------


def _counts(axes: Axes, with_padding: bool) -> np.ndarray:
    """How many entries each window has."""
    counts = np.ones((), np.int64)
    for axis in axes:
        counts = counts[..., None] * axis.counts(with_padding)
    return counts


def _per_axis(module: _Pool, name: str, value: Size, least: int = 1) -> tuple[int, ...]:
    numbers = (value,) * module.spatial if isinstance(value, (int, np.integer)) else tuple(value)
    if len(numbers) != module.spatial or min(numbers) < least:
        raise ArgumentError(
            f"{type(module).__name__}: {name} cannot be used",
            got=value,
            expected=f"a number from {least} on" + (f", or {module.spatial} of them" if module.spatial > 1 else ""),
        )
    return tuple(int(number) for number in numbers)


def _checked_padding(module: _Pool, padding: Size, kernel: tuple[int, ...]) -> tuple[int, ...]:
    numbers = _per_axis(module, "padding", padding, least=0)
    if any(2 * number > size for number, size in zip(numbers, kernel, strict=True)):
        raise ArgumentError(
            f"{type(module).__name__}: padding beyond half of the kernel would give windows of padding alone",
            got=f"padding={padding} for kernel_size={kernel}",
            expected=f"at most {tuple(size // 2 for size in kernel)}",
            todo="pad the input beforehand with gz.pad",
        )
    return numbers


def _output_size(module: _Pool, value: Any) -> tuple[int | None, ...]:
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,) * module.spatial
    _per_axis(module, "output_size", [1 if number is None else number for number in numbers])
    return numbers


@lru_cache(256)
def _windows(
    kind: str,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> tuple[Axis, ...]:
    axes = []
    for s, k, u, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        room = s + 2 * p - d * (k - 1) - 1
        out = (-(-room // u) if ceil_mode else room // u) + 1
        if ceil_mode and (out - 1) * u >= s + p:  # the last window would begin behind the end
            out -= 1
        if s == 0 or out < 1:
            rounded = "⌈{}⌉" if ceil_mode else "⌊{}⌋"
            formula = rounded.format(f"({s} + 2·{p} - {d}·({k} - 1) - 1) / {u}")
            raise ShapeError(
                f"{kind}: no window fits into this input",
                got=f"spatial sizes {sizes}",
                expected="a positive output size, ⌊(size + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1; "
                f"here it is {formula} + 1 = {out}",
                todo="pad the input, or take a smaller window or dilation",
            )
        axes.append(Axis(s, k, u, p, d, out))
    return tuple(axes)


@lru_cache(256)
def _adaptive(kind: str, sizes: tuple[int, ...], wanted: tuple[int | None, ...]) -> tuple[Axis | UnevenAxis, ...]:
    if 0 in sizes:
        raise ShapeError(f"{kind}: there is nothing to pool", got=f"spatial sizes {sizes}", expected="at least 1")
    axes: list[Axis | UnevenAxis] = []
    for size, out in zip(sizes, wanted, strict=True):
        out = size if out is None else out
        width, left_over = divmod(size, out)
        axes.append(UnevenAxis(size, out) if left_over else Axis(size, width, width, 0, 1, out))
    return tuple(axes)
