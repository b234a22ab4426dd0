r"""Resampling modules: images made larger, and channels laid out as positions or mixed.

One implementation of `Upsample` serves any number of spatial axes: each axis is interpolated by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..module import Formulas, Module
from ..tape import Node
from .array import take

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle", "Upsample"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}  # with the number of spatial axes


class Upsample(Module):
    """Images of another size, by the nearest entry or by linear interpolation along each spatial axis.

    Shapes: x (N, C, *spatial); y (N, C, *size), with size = ⌊spatial · scale_factor⌋ if that is given. Mode
    "linear" is for one spatial axis, "bilinear" for two, "trilinear" for three, "nearest" for any number.

    Args:
        size: of the output, a number or one for each spatial axis.
        scale_factor: instead of size: by how much each spatial axis grows, a number or one for each.
        mode: "nearest", "linear", "bilinear" or "trilinear".
        align_corners: in the linear modes, whether the outermost entries of x and y lie upon each other; otherwise
            their outer edges do, and beyond the centres of the outermost entries these are repeated.

    Raises:
        ArgumentError: both or neither of size and scale_factor, numbers that are not positive, another mode, or
            align_corners with "nearest".
        ShapeError: an input of a number of axes that does not go with the mode or the sizes, or without entries.

    >>> import graphzoo as gz
    >>> gz.Upsample(scale_factor=2)(gz.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    >>> gz.Upsample(size=3, mode="linear", align_corners=True)(gz.tensor([[[1.0, 2.0]]]))
    tensor([[[1. , 1.5, 2. ]]])
    """

    formulas = Formulas(
        forward=r"y_n = (1 - w_n) x_{i_n} + w_n x_{i_n + 1} \text{ along each axis}, \quad i_n + w_n = u_n, \quad "
        r"u_n = \frac{n + 1/2}{s} - \frac{1}{2} \text{ or, with corners aligned, } n \frac{S - 1}{S_y - 1}",
        backward=r"\frac{\partial L}{\partial x_j} = \sum_{n:\, i_n = j} (1 - w_n) \frac{\partial L}{\partial y_n} + "
        r"\sum_{n:\, i_n + 1 = j} w_n \frac{\partial L}{\partial y_n}",
        source="PyTorch, torch.nn.Upsample",
    )

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ArgumentError(
                "Upsample takes the size of its output or a factor",
                got=f"size={size}, scale_factor={scale_factor}",
                expected="one of them",
            )
        if mode != "nearest" and mode not in _LINEAR:
            raise ArgumentError(
                "Upsample does not know this mode", got=repr(mode), expected=", ".join(["nearest", *_LINEAR])
            )
        if align_corners is not None and mode == "nearest":
            raise ArgumentError("Upsample: align_corners is for the linear modes", got=f"mode={mode!r}")
        given: Any = size if scale_factor is None else scale_factor
        if not np.all(np.asarray(given) > 0):
            raise ArgumentError("Upsample makes images of positive sizes", got=given, expected="positive numbers")
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = bool(align_corners)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f" and self.mode != "nearest":
            x = x.astype(np.float64)
        for axis, (left, right, share) in self._sources(x.shape):
            if share is None:
                x = x.take(left, axis=axis)
                continue
            share = _along(share.astype(x.dtype), axis, x.ndim)
            x = x.take(left, axis=axis) * (1 - share) + x.take(right, axis=axis) * share
        return x

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        shape = node.inputs[0].shape
        for axis, (left, right, share) in self._sources(shape):
            if share is None:
                dy = _added(dy, left, axis, shape[axis])
                continue
            share = _along(share.astype(dy.dtype), axis, dy.ndim)
            dy = _added(dy * (1 - share), left, axis, shape[axis]) + _added(dy * share, right, axis, shape[axis])
        return dy

    def expand(self, node: Node, x: Any) -> Any:
        for axis, (left, right, share) in self._sources(x.shape):
            if share is None:
                x = take(x, left, axis)
                continue
            share = _along(share.astype(x.dtype), axis, x.ndim)
            x = take(x, left, axis) * (1 - share) + take(x, right, axis) * share
        return x

    def recall(self, node: Node) -> tuple[Any, ...]:
        source = node.inputs[0]  # a linear map: no derivative depends on the values
        return (np.broadcast_to(np.zeros((), source.dtype), source.shape),)

    def _sources(self, shape: tuple[int, ...]) -> list[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray | None]]]:
        """For each spatial axis, of which entries the output is made."""
        axes = len(shape) - 2
        given: Any = self.size if self.scale_factor is None else self.scale_factor
        numbers = (given,) * max(axes, 0) if np.ndim(given) == 0 else tuple(given)
        if axes != _LINEAR.get(self.mode, axes) or axes < 1 or len(numbers) != axes or 0 in shape[2:]:
            raise ShapeError(
                f"{self.name or 'Upsample'} does not fit its input",
                got=f"an input of shape {shape}, mode {self.mode!r}, {'size' if self.size else 'scale_factor'}={given}",
                expected=f"(N, C) and {_LINEAR.get(self.mode, 'some')} spatial axes with entries, a number for each",
            )
        sizes = [
            math.floor(shape[axis] * number) if self.size is None else number for axis, number in enumerate(numbers, 2)
        ]
        if 0 in sizes:
            raise ShapeError(
                f"{self.name or 'Upsample'} would leave nothing of its input",
                got=f"an input of shape {shape}, scale_factor={given}",
                expected="⌊size · scale_factor⌋ of at least 1",
            )
        return [
            (
                axis,
                _source_of(
                    shape[axis],
                    sizes[axis - 2],
                    None if self.scale_factor is None else float(number),
                    self.mode == "nearest",
                    self.align_corners,
                ),
            )
            for axis, number in enumerate(numbers, 2)
        ]

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}" + (", align_corners=True" if self.align_corners else "")


@lru_cache(64)
def _source_of(
    size: int, out: int, factor: float | None, nearest: bool, align_corners: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The two entries that each entry of the output lies between, and the second one's share; None if it has none.

    As in PyTorch, a factor that was given counts as it is, though the output's size was rounded.
    """
    places = np.arange(out)
    step = size / out if factor is None else 1 / factor
    if nearest:
        left = np.minimum(np.floor(places * step).astype(np.int64), size - 1)
        return left, left, None
    if align_corners:
        position = places * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        position = np.maximum((places + 0.5) * step - 0.5, 0)
    left = np.minimum(np.floor(position).astype(np.int64), size - 1)
    share = np.minimum(position - left, 1)
    right = np.minimum(left + (share > 0), size - 1)  # a share of 0 shall not bring in NaN
    return left, right, share


def _along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """Values to be broadcast along one of ndim axes."""
    return values.reshape(-1, *[1] * (ndim - 1 - axis))


def _added(dy: np.ndarray, places: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Entries along an axis added up at their places, which never fall: the adjoint of taking them."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    x = np.zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
    key: tuple[Any, ...] = (*(slice(None),) * axis, places[starts])
    x[key] = np.add.reduceat(dy, starts, axis=axis)
    return x


class PixelShuffle(Module):
    """Channels laid out as positions: each r² channels of a pixel become r × r pixels of one channel.

    Shapes: x (..., C · r², H, W); y (..., C, H · r, W · r), r being upscale_factor.

    Raises:
        ArgumentError: a factor below 1.
        ShapeError: fewer than three axes, or channels that are no multiple of r².

    >>> import numpy as np, graphzoo as gz
    >>> gz.PixelShuffle(2)(np.arange(4.0).reshape(4, 1, 1)).numpy()
    array([[[0., 1.],
            [2., 3.]]])
    """

    formulas = Formulas(
        forward=r"y_{c, r h + i, r w + j} = x_{c r^2 + i r + j, h, w}",
        backward=r"\frac{\partial L}{\partial x_{c r^2 + i r + j, h, w}} = "
        r"\frac{\partial L}{\partial y_{c, r h + i, r w + j}}",
        source="W. Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel "
        "convolutional neural network (2016)",
    )
    saves = ()

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = _checked_number(self, "upscale_factor", upscale_factor)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        r = self.upscale_factor
        if x.ndim < 3 or x.shape[-3] % (r * r):
            raise _misfit(self, x, f"(..., C · {r * r}, H, W)")
        return _shuffled(x, r)

    def backward(self, node: Node, dy: Any) -> Any:
        return _unshuffled(dy, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Positions laid out as channels: each r × r pixels of a channel become r² channels; undoes `PixelShuffle`.

    Shapes: x (..., C, H · r, W · r); y (..., C · r², H, W), r being downscale_factor.

    Raises:
        ArgumentError: a factor below 1.
        ShapeError: fewer than three axes, or sizes that are no multiples of r.

    >>> import numpy as np, graphzoo as gz
    >>> gz.PixelUnshuffle(2)(np.arange(4.0).reshape(1, 2, 2)).shape
    (4, 1, 1)
    """

    formulas = Formulas(
        forward=r"y_{c r^2 + i r + j, h, w} = x_{c, r h + i, r w + j}",
        backward=r"\frac{\partial L}{\partial x_{c, r h + i, r w + j}} = "
        r"\frac{\partial L}{\partial y_{c r^2 + i r + j, h, w}}",
        source="PyTorch, torch.nn.PixelUnshuffle",
    )
    saves = ()

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = _checked_number(self, "downscale_factor", downscale_factor)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        r = self.downscale_factor
        if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
            raise _misfit(self, x, f"(..., C, H · {r}, W · {r})")
        return _unshuffled(x, r)

    def backward(self, node: Node, dy: Any) -> Any:
        return _shuffled(dy, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of g groups dealt out in turn, so that what follows group by group sees something of each group.

    Shapes: x and y (N, C, *spatial), C a multiple of groups.

    Raises:
        ArgumentError: groups below 1.
        ShapeError: fewer than two axes, or channels that are no multiple of groups.

    >>> import numpy as np, graphzoo as gz
    >>> gz.ChannelShuffle(2)(np.arange(6.0).reshape(1, 6)).numpy()
    array([[0., 3., 1., 4., 2., 5.]])
    """

    formulas = Formulas(
        forward=r"y_{j g + i} = x_{i C / g + j}",
        backward=r"\frac{\partial L}{\partial x_{i C / g + j}} = \frac{\partial L}{\partial y_{j g + i}}",
        source="X. Zhang et al., ShuffleNet: an extremely efficient convolutional neural network for mobile "
        "devices (2018)",
    )
    saves = ()

    def __init__(self, groups: int) -> None:
        self.groups = _checked_number(self, "groups", groups)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        if x.ndim < 2 or x.shape[1] % self.groups:
            raise _misfit(self, x, f"(N, C, *spatial) with C a multiple of {self.groups}")
        return _dealt(x, self.groups)

    def backward(self, node: Node, dy: Any) -> Any:
        return _dealt(dy, dy.shape[1] // self.groups) if dy.shape[1] else dy

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


def _shuffled(x: Any, r: int) -> Any:
    *lead, channels, height, width = x.shape
    n = len(lead)
    y = x.reshape(*lead, channels // (r * r), r, r, height, width)
    y = y.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return y.reshape(*lead, channels // (r * r), height * r, width * r)


def _unshuffled(x: Any, r: int) -> Any:
    *lead, channels, height, width = x.shape
    n = len(lead)
    y = x.reshape(*lead, channels, height // r, r, width // r, r)
    y = y.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return y.reshape(*lead, channels * r * r, height // r, width // r)


def _dealt(x: Any, groups: int) -> Any:
    batch, channels, *spatial = x.shape
    return x.reshape(batch, groups, channels // groups, *spatial).swapaxes(1, 2).reshape(x.shape)


def _checked_number(module: Module, name: str, number: int) -> int:
    if number < 1:
        raise ArgumentError(f"{type(module).__name__}: {name} must be positive", got=number, expected="at least 1")
    return number


def _misfit(module: Module, x: np.ndarray, expected: str) -> ShapeError:
    return ShapeError(
        f"{module.name or type(module).__name__} does not fit its input",
        got=f"an input of shape {x.shape}",
        expected=expected,
    )
