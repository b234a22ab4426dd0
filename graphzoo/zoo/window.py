r"""Borders and windows: what convolution and pooling are made of.

`Pad` puts borders around an array, `SlidingWindow` lays windows over it, `SumWindows` adds them up again. `Unfold` and
`Fold` do the same with images: windows as the columns of a matrix, and back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..module import Formulas, Module, unary
from ..tape import Node
from ..tensor import Tensor
from .array import back_in_place, tensor_for

__all__ = [
    "Fold", "Pad", "SlidingWindow", "SumWindows", "Unfold", "fold", "pad", "sliding_window", "sum_windows", "unfold",
]  # fmt: skip

_PAD_MODES = {
    "constant": "constant", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "wrap": "wrap",
    "replicate": "edge", "circular": "wrap",
}  # fmt: skip


class Pad(Module):
    """x with borders around it.

    Args:
        pad_width: entries before and after each axis, as in `numpy.pad`: a number, (before, after), or a pair per axis.
        mode: "constant", "reflect" (the border mirrors x without its edge), "symmetric" (with it), "edge" or
            "replicate" (repeats the edge), "wrap" or "circular" (continues at the other end).
        constant_values: a number, the border's value in mode "constant".

    Raises:
        ArgumentError: another mode, or a negative width.

    >>> import graphzoo as gz
    >>> gz.pad(gz.tensor([1.0, 2.0, 3.0]), 1, mode="reflect")
    tensor([2., 1., 2., 3., 2.])
    """

    formulas = Formulas(
        forward=r"y_i = x_{k_i} \text{, constant on the border or } k_i \text{ reaching back into } x",
        backward=r"\frac{\partial L}{\partial x_j} = \sum_{i:\, k_i = j} \frac{\partial L}{\partial y_i}",
    )
    saves = ()

    def __init__(self, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> None:
        if mode not in _PAD_MODES:
            raise ArgumentError("pad does not know this mode", got=repr(mode), expected=", ".join(_PAD_MODES))
        if np.min(pad_width, initial=0) < 0:
            raise ArgumentError(
                "pad widths count entries", got=pad_width, expected="0 or more", todo="cut with x[1:-1]"
            )
        self.pad_width = pad_width
        self.mode = mode
        self.constant_values = constant_values

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        fill = {"constant_values": self.constant_values} if self.mode == "constant" else {}
        return np.pad(x, self.pad_width, _PAD_MODES[self.mode], **fill)  # type: ignore[call-overload]

    def backward(self, node: Node, dy: Any) -> Any:
        shape = node.inputs[0].shape
        widths = np.broadcast_to(self.pad_width, (len(shape), 2))
        if self.mode == "constant":
            return dy[tuple([slice(before, before + n) for (before, _), n in zip(widths.tolist(), shape, strict=True)])]
        # A border entry is a copy of the entry whose number padding the numbers 0, 1, … puts there.
        came_from = [
            np.pad(np.arange(n), tuple(width), _PAD_MODES[self.mode])  # type: ignore[call-overload]
            for width, n in zip(widths.tolist(), shape, strict=True)
        ]
        return back_in_place(dy, np.ix_(*came_from), shape)

    def extra_repr(self) -> str:
        return f"{self.pad_width}, mode={self.mode!r}"


class SlidingWindow(Module):
    """All windows of a size, as a view; what convolution and pooling are made of.

    Shapes: (…, *spatial) → (…, *out, *kernel_size), out = ⌊(size - dilation·(kernel - 1) - 1) / stride⌋ + 1 for each of
    the trailing axes that kernel_size names. Pad x beforehand for windows that reach over the border.

    Args:
        kernel_size: sizes of the window, for each of the trailing axes.
        stride: from window to window, a number or one for each axis.
        dilation: from entry to entry within a window, a number or one for each axis.

    Raises:
        ShapeError: x has too few axes, or no window fits.

    >>> import graphzoo as gz
    >>> gz.sliding_window(gz.tensor([1.0, 2.0, 3.0, 4.0]), 2)
    tensor([[1., 2.],
            [2., 3.],
            [3., 4.]])
    """

    formulas = Formulas(
        forward=r"y_{n, k} = x_{U n + D k}",
        backward=r"\frac{\partial L}{\partial x_j} = \sum_{n, k:\, U n + D k = j} \frac{\partial L}{\partial y_{n, k}}",
    )
    saves = ()

    def __init__(
        self, kernel_size: int | Sequence[int], stride: int | Sequence[int] = 1, dilation: int | Sequence[int] = 1
    ) -> None:
        self.kernel_size, self.stride, self.dilation = _window_arguments(kernel_size, stride, dilation)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return view_windows(x, self.kernel_size, self.stride, self.dilation)

    def backward(self, node: Node, dy: Any) -> Any:
        size = node.inputs[0].shape[-len(self.kernel_size) :]
        if isinstance(dy, Tensor):
            return unary(SumWindows(size, self.kernel_size, self.stride, self.dilation), dy)
        return add_windows(dy, size, self.stride, self.dilation)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}"


class SumWindows(Module):
    """Windows added up where they overlap: the adjoint of `SlidingWindow`.

    Shapes: (…, *out, *kernel_size) → (…, *output_size).

    Args:
        output_size: of the trailing axes the windows were taken from.
        kernel_size, stride, dilation: of the `SlidingWindow`.

    Raises:
        ShapeError: the windows are not those of an array of the output's size.

    >>> import graphzoo as gz
    >>> windows = gz.sliding_window(gz.tensor([1.0, 2.0, 3.0]), 2)
    >>> gz.sum_windows(windows, 3, 2)                        # the middle entry is in both windows
    tensor([1., 4., 3.])
    """

    formulas = Formulas(
        forward=r"y_j = \sum_{n, k:\, U n + D k = j} x_{n, k}",
        backward=r"\frac{\partial L}{\partial x_{n, k}} = \frac{\partial L}{\partial y_{U n + D k}}",
    )
    saves = ()

    def __init__(
        self,
        output_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        self.window = SlidingWindow(kernel_size, stride, dilation)
        self.output_size = per_axis("output_size", output_size, len(self.window.kernel_size))

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        window = self.window
        out = windows_that_fit(self.output_size, window.kernel_size, window.stride, window.dilation)
        if x.shape[-2 * len(out) :] != (*out, *window.kernel_size):
            raise ShapeError(
                "these windows are not those of an array of that size",
                got=x.shape,
                expected=f"(…, *{out}, *{window.kernel_size})",
            )
        return add_windows(x, self.output_size, window.stride, window.dilation)

    def backward(self, node: Node, dy: Any) -> Any:
        return unary(self.window, dy) if isinstance(dy, Tensor) else self.window.forward(node, dy)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _Columns(Module):
    """What `Unfold` and `Fold` share: the windows' settings, and the way between windows and columns."""

    saves = ()

    def _set(self, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> None:
        axes = 2 if isinstance(kernel_size, (int, np.integer)) else len(kernel_size)
        self.kernel_size = per_axis("kernel_size", kernel_size, axes)
        self.dilation = per_axis("dilation", dilation, axes)
        self.padding = per_axis("padding", padding, axes, least=0)
        self.stride = per_axis("stride", stride, axes)

    def _columns(self, x: np.ndarray) -> np.ndarray:
        """(..., channels, *spatial) to (..., channels · entries of a window, windows)."""
        axes = len(self.kernel_size)
        if x.ndim not in (axes + 1, axes + 2):
            raise ShapeError(
                f"{type(self).__name__} takes images with {axes} spatial axes",
                got=x.shape,
                expected="(N, channels, *spatial) or (channels, *spatial)",
            )
        lead = x.shape[: x.ndim - axes]
        borders = [(0, 0)] * len(lead) + [(n, n) for n in self.padding]
        windows = view_windows(np.pad(x, borders), self.kernel_size, self.stride, self.dilation)
        rows = lead[-1] * math.prod(self.kernel_size)
        return windows.transpose(_swapped(windows.ndim, axes)).reshape(
            *lead[:-1], rows, math.prod(windows.shape[len(lead) :][:axes])
        )

    def _images(self, columns: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """The adjoint: (..., channels · entries of a window, windows) to (..., channels, *size)."""
        axes, entries = len(self.kernel_size), math.prod(self.kernel_size)
        padded = [n + 2 * border for n, border in zip(size, self.padding, strict=True)]
        out = windows_that_fit(padded, self.kernel_size, self.stride, self.dilation)
        if columns.ndim not in (2, 3) or columns.shape[-2] % entries or columns.shape[-1] != math.prod(out):
            raise ShapeError(
                f"{type(self).__name__}: these are not the windows of an image of that size",
                got=columns.shape,
                expected=f"(N, channels · {entries}, {math.prod(out)}) or (channels · {entries}, {math.prod(out)}), "
                f"as {'×'.join(map(str, out))} windows fit into {tuple(size)} with padding {self.padding}",
            )
        lead = (*columns.shape[:-2], columns.shape[-2] // entries)
        windows = columns.reshape(*lead, *self.kernel_size, *out)
        images = add_windows(windows.transpose(_swapped(windows.ndim, axes)), padded, self.stride, self.dilation)
        inside: Any = [slice(border, border + n) for n, border in zip(size, self.padding, strict=True)]
        return images[(..., *inside)]

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Unfold(_Columns):
    """Windows over images as the columns of a matrix; im2col.

    Shapes: x (N, C, *spatial) or (C, *spatial); y (N, C · ∏ kernel_size, L) or without N, where L counts the windows.
    A column holds a window channel by channel; columns stand in the order of their windows, the last axis fastest.

    Args:
        kernel_size: sizes of a window; a number means two spatial axes, otherwise there are as many as numbers.
        dilation: from entry to entry within a window.
        padding: zeros before and behind each axis.
        stride: from window to window.

    Raises:
        ArgumentError: a setting that is no positive integer (or 0, for padding), or has another number of axes.
        ShapeError: an input with another number of axes, or into which no window fits.

    >>> import numpy as np, graphzoo as gz
    >>> gz.unfold(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2)).shape
    (1, 4, 2)
    """

    formulas = Formulas(
        forward=r"y_{pk, n} = x_{p, U n + D k - P}",
        backward=r"\frac{\partial L}{\partial x_{p, j}} = \sum_{n, k:\, U n + D k - P = j} "
        r"\frac{\partial L}{\partial y_{pk, n}}",
        source="PyTorch, torch.nn.Unfold",
    )

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self._set(kernel_size, dilation, padding, stride)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return self._columns(x)

    def backward(self, node: Node, dy: Any) -> Any:
        size = node.inputs[0].shape[-len(self.kernel_size) :]
        if isinstance(dy, Tensor):
            return unary(Fold(size, self.kernel_size, self.dilation, self.padding, self.stride), dy)
        return self._images(dy, size)

    def expand(self, node: Node, x: Any) -> Any:
        axes = len(self.kernel_size)
        lead = x.shape[: x.ndim - axes]
        padded = pad(x, [(0, 0)] * len(lead) + [(n, n) for n in self.padding])
        windows = sliding_window(padded, self.kernel_size, self.stride, self.dilation)
        return windows.transpose(_swapped(windows.ndim, axes)).reshape(
            *lead[:-1], lead[-1] * math.prod(self.kernel_size), math.prod(windows.shape[len(lead) :][:axes])
        )


class Fold(_Columns):
    """Columns of windows added up to images where they overlap; the adjoint of `Unfold`, col2im.

    Shapes: x (N, C · ∏ kernel_size, L) or without N, as `Unfold` makes them; y (N, C, *output_size) or without N.

    Args:
        output_size: of the images; a number stands for each axis.
        kernel_size, dilation, padding, stride: as of `Unfold`.

    Raises:
        ArgumentError: a setting that is no positive integer (or 0, for padding), or has another number of axes.
        ShapeError: x has another number of rows or columns than such images have.

    >>> import numpy as np, graphzoo as gz
    >>> gz.fold(np.ones((1, 4, 2)), (2, 3), (2, 2)).numpy()[0, 0]        # the middle is in both windows
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """

    formulas = Formulas(
        forward=r"y_{p, j} = \sum_{n, k:\, U n + D k - P = j} x_{pk, n}",
        backward=r"\frac{\partial L}{\partial x_{pk, n}} = \frac{\partial L}{\partial y_{p, U n + D k - P}}",
        source="PyTorch, torch.nn.Fold",
    )

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self._set(kernel_size, dilation, padding, stride)
        self.output_size = per_axis("output_size", output_size, len(self.kernel_size))

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return self._images(x, self.output_size)

    def backward(self, node: Node, dy: Any) -> Any:
        if isinstance(dy, Tensor):
            return unary(Unfold(self.kernel_size, self.dilation, self.padding, self.stride), dy)
        return self._columns(dy)

    def expand(self, node: Node, x: Any) -> Any:
        axes, entries = len(self.kernel_size), math.prod(self.kernel_size)
        padded = [n + 2 * border for n, border in zip(self.output_size, self.padding, strict=True)]
        out = windows_that_fit(padded, self.kernel_size, self.stride, self.dilation)
        lead = (*x.shape[:-2], x.shape[-2] // entries)
        windows = x.reshape(*lead, *self.kernel_size, *out)
        images = sum_windows(
            windows.transpose(_swapped(windows.ndim, axes)), padded, self.kernel_size, self.stride, self.dilation
        )
        return images[(..., *[slice(b, b + n) for n, b in zip(self.output_size, self.padding, strict=True)])]

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


def per_axis(name: str, value: int | Sequence[int], axes: int, least: int = 1) -> tuple[int, ...]:
    """A setting as one number for each axis, from a number for all or a sequence."""
    values = tuple(value) if isinstance(value, Iterable) else (value,) * axes
    if len(values) != axes or not all(isinstance(n, (int, np.integer)) and n >= least for n in values):
        raise ArgumentError(
            f"{name} cannot be used", got=repr(value), expected=f"an integer of {least} or more, or {axes} of them"
        )
    return tuple(int(number) for number in values)


def _swapped(ndim: int, axes: int) -> tuple[int, ...]:
    """The order in which the last two blocks of so many axes have changed places."""
    first, second = ndim - 2 * axes, ndim - axes
    return (*range(first), *range(second, ndim), *range(first, second))


def _window_arguments(kernel_size: Any, stride: Any, dilation: Any) -> tuple[tuple[int, ...], ...]:
    axes = 1 if isinstance(kernel_size, (int, np.integer)) else len(kernel_size)
    named = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    return tuple(per_axis(name, value, axes) for name, value in named.items())


def windows_that_fit(
    shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """How many windows fit along each of the trailing axes."""
    if len(shape) < len(kernel):
        raise ShapeError("too few axes for this window", got=tuple(shape), expected=f"at least {len(kernel)} axes")
    spatial = shape[len(shape) - len(kernel) :]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(span > size for span, size in zip(spans, spatial, strict=True)):
        raise ShapeError(
            "no window fits into this input",
            got=f"size {tuple(spatial)}, window {tuple(kernel)} with dilation {tuple(dilation)}",
            expected=f"a size of at least {tuple(spans)}",
            todo="pad the input, or take a smaller window or dilation",
        )
    return tuple((size - span) // step + 1 for size, span, step in zip(spatial, spans, stride, strict=True))


def view_windows(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """The windows over the trailing axes, as a read-only view."""
    axes = len(kernel)
    out = windows_that_fit(x.shape, kernel, stride, dilation)
    lead, steps = x.strides[: x.ndim - axes], x.strides[x.ndim - axes :]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[: x.ndim - axes], *out, *kernel),
        (*lead, *map(int.__mul__, steps, stride), *map(int.__mul__, steps, dilation)),
        writeable=False,
    )


def add_windows(windows: np.ndarray, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """The array of the given trailing sizes in which each window was added to the place it was taken from."""
    axes = len(size)
    lead = windows.shape[: windows.ndim - 2 * axes]
    out, kernel = windows.shape[len(lead) : len(lead) + axes], windows.shape[len(lead) + axes :]
    total = np.zeros((*lead, *size), windows.dtype)
    # One addition for each place within the window: there, no two windows meet in the same entry.
    for place in np.ndindex(kernel):
        region: Any = [
            slice(d * k, d * k + s * (n - 1) + 1, s) for k, n, s, d in zip(place, out, stride, dilation, strict=True)
        ]
        total[(..., *region)] += windows[(..., *place)]
    return total


# As functions --------------------------------------------------------------------------------------------------------


def pad(x: Any, /, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """x with borders around it; see `Pad`."""
    module = Pad(pad_width, mode, constant_values)
    return unary(module, tensor_for(x, module))


def sliding_window(x: Any, /, kernel_size: Any, stride: Any = 1, dilation: Any = 1) -> Tensor:
    """All windows over the trailing axes of x; see `SlidingWindow`."""
    module = SlidingWindow(kernel_size, stride, dilation)
    return unary(module, tensor_for(x, module))


def sum_windows(x: Any, /, output_size: Any, kernel_size: Any, stride: Any = 1, dilation: Any = 1) -> Tensor:
    """Windows added up where they overlap; see `SumWindows`."""
    module = SumWindows(output_size, kernel_size, stride, dilation)
    return unary(module, tensor_for(x, module))


def unfold(x: Any, /, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows over images as columns; see `Unfold`."""
    module = Unfold(kernel_size, dilation, padding, stride)
    return unary(module, tensor_for(x, module))


def fold(x: Any, /, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Columns of windows added up to images; see `Fold`."""
    module = Fold(output_size, kernel_size, dilation, padding, stride)
    return unary(module, tensor_for(x, module))
