r"""Convolutions over one, two or three spatial axes, and separable ones.

What is called a convolution is a cross-correlation: the kernel is not flipped. Parameters have PyTorch's names, shapes
and initial distributions. The rules are fused; their definition is a matrix times the windows in columns (`Unfold`).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..kernels import winograd
from ..kernels.convolution import (
    bordered,
    bordered_adjoint,
    channel_sums,
    correlate,
    correlate_adjoint,
    kernel_gradient,
)
from ..kernels.grid import Geometry
from ..module import Formulas, Module, generator
from ..state import Parameter
from ..tape import Node
from .linear import with_placeholders
from .window import pad, per_axis, unfold

__all__ = ["Conv1d", "Conv2d", "Conv3d", "SeparableConv1d", "SeparableConv2d"]

Sizes = tuple[int, ...]
Borders = tuple[tuple[int, int], ...]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Convolutional(Module):
    """What all convolutions share: their settings, and how they are checked."""

    axes: ClassVar[int]
    padding: Any  # a word, or a number for each axis
    bias: Parameter | None

    def _set(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, dilation: Any) -> None:
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if value < 1:
                raise ArgumentError(f"{type(self).__name__}: {name} must be positive", got=value, expected="at least 1")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._per_axis("kernel_size", kernel_size)
        self.stride = self._per_axis("stride", stride)
        self.dilation = self._per_axis("dilation", dilation)

    def _set_groups(self, groups: int) -> None:
        if groups < 1 or self.in_channels % groups or self.out_channels % groups:
            raise ArgumentError(
                f"{type(self).__name__}: groups must divide both numbers of channels",
                got=f"groups={groups}, in_channels={self.in_channels}, out_channels={self.out_channels}",
                expected=f"a divisor of {math.gcd(self.in_channels, self.out_channels)}",
            )
        self.groups = groups

    def _set_padding(self, padding: Any, padding_mode: str) -> None:
        if padding_mode not in _PADDING_MODES:
            raise ArgumentError(
                f"{type(self).__name__} does not know this padding_mode",
                got=repr(padding_mode),
                expected=", ".join(_PADDING_MODES),
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(
                f"{type(self).__name__} does not know this padding",
                got=repr(padding),
                expected="'same', 'valid', a number, or one for each axis",
            )
        if padding == "same" and max(self.stride) > 1:
            raise ArgumentError(
                f"{type(self).__name__}: padding='same' cannot keep the size with a stride",
                got=f"stride={self.stride}",
                expected="stride 1",
                todo="give the padding as a number; dilation·(kernel_size − 1)/2 makes size/stride, rounded up",
            )
        self.padding_mode = padding_mode
        self.padding = padding if isinstance(padding, str) else self._per_axis("padding", padding, least=0)

    def _per_axis(self, name: str, value: Any, least: int = 1) -> Sizes:
        return per_axis(f"{type(self).__name__}: {name}", value, self.axes, least)

    @property
    def _borders(self) -> Borders:
        """How many entries are put before and behind each axis."""
        if self.padding == "valid":
            return ((0, 0),) * self.axes
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        return tuple((n, n) for n in self.padding)

    def _check_input(self, shape: Sizes) -> None:
        if len(shape) not in (self.axes + 1, self.axes + 2):
            spatial = ", ".join("DHW"[3 - self.axes :] if self.axes > 1 else "L")
            raise ShapeError(
                f"{self.name or type(self).__name__} takes inputs with {self.axes} spatial axes",
                got=f"an input of shape {shape}",
                expected=f"(N, {self.in_channels}, {spatial}) or ({self.in_channels}, {spatial})",
                todo="add the axes that are missing with x.reshape, or take the convolution for as many axes",
            )
        channels = shape[len(shape) - self.axes - 1]
        if channels != self.in_channels:
            raise ShapeError(
                f"{self.name or type(self).__name__} does not fit its input",
                got=f"{channels} channels in an input of shape {shape}",
                expected=f"{self.in_channels} channels, on axis {len(shape) - self.axes - 1}",
                todo=f"make it with in_channels={channels}; images with their channels last need x.transpose",
            )

    def _check_borders(self, size: Sizes) -> None:
        """Borders made of x's own entries can only be so wide."""
        for axis, (n, widths) in enumerate(zip(size, self._borders, strict=True)):
            most = {"reflect": n - 1, "circular": n, "replicate": max(widths) if n else 0}[self.padding_mode]
            if max(widths) > most:
                raise ShapeError(
                    f"{self.name or type(self).__name__}: padding_mode={self.padding_mode!r} has not enough entries",
                    got=f"padding {max(widths)} for size {n} along spatial axis {axis}",
                    expected=f"a padding of at most {max(most, 0)}",
                    todo="take a smaller padding, or padding_mode='zeros' or 'replicate'",
                )

    def _geometry(self, shape: Sizes) -> Geometry:
        """Of the correlation with the input; with its borders, where these are no zeros."""
        size = shape[len(shape) - self.axes :]
        whole = tuple(n + before + behind for n, (before, behind) in zip(size, self._borders, strict=True))
        out = []
        for n, (before, behind), k, s, d in zip(
            size, self._borders, self.kernel_size, self.stride, self.dilation, strict=True
        ):
            out.append((n + before + behind - d * (k - 1) - 1) // s + 1)
            if out[-1] < 1:
                raise ShapeError(
                    f"{self.name or type(self).__name__}: the kernel does not fit into this input",
                    got=f"an input of shape {shape}: along the axis of size {n} the output would have size "
                    f"⌊({n} + {before} + {behind} − {d}·({k} − 1) − 1)/{s}⌋ + 1 = {out[-1]}",
                    expected="⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1 to be positive",
                    todo="take a larger input or padding, or a smaller kernel or dilation",
                )
        if self.padding_mode == "zeros":
            padding = tuple(before for before, _ in self._borders)
            return Geometry(size, tuple(out), self.kernel_size, self.stride, padding, self.dilation)
        return Geometry(whole, tuple(out), self.kernel_size, self.stride, (0,) * self.axes, self.dilation)

    def _with_borders(self, x: np.ndarray) -> np.ndarray:
        """x with a batch axis, and the borders that are no zeros."""
        x = x if x.ndim == self.axes + 2 else x[None]
        if self.padding_mode == "zeros":
            return x
        self._check_borders(x.shape[2:])
        return bordered(x, self._borders, self.padding_mode)

    def _without_borders(self, dx: np.ndarray, shape: Sizes) -> np.ndarray:
        """The adjoint of `_with_borders`."""
        if self.padding_mode != "zeros":
            dx = bordered_adjoint(dx, self._borders, self.padding_mode)
        return dx.reshape(shape)

    def _columns(self, x: Any) -> Any:
        """The definition's windows: a tensor (N, channels · entries of the kernel, windows)."""
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        x = pad(batched(x, self.axes), ((0, 0), (0, 0), *self._borders), mode)
        return unfold(x, self.kernel_size, self.dilation, 0, self.stride)

    def _draw(self, rng: np.random.Generator, *shape: int) -> Parameter:
        """A weight as PyTorch draws it: uniform within ±1/√fan_in."""
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        return Parameter(rng.uniform(-bound, bound, shape))

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {
            "padding": (0,) * self.axes, "output_padding": (0,) * self.axes, "dilation": (1,) * self.axes,
            "groups": 1, "padding_mode": "zeros", "_winograd": False,
        }  # fmt: skip
        for name, default in defaults.items():
            value = vars(self).get(name, default)
            if value != default:
                parts.append(f"{name.lstrip('_')}={value!r}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def batched(x: Any, axes: int) -> Any:
    return x if x.ndim == axes + 2 else x.reshape(1, *x.shape)


class _Conv(Convolutional):
    formulas = Formulas(
        forward=r"y_{s, n} = b_s + \sum_p \sum_k x_{p,\, U n + D k - P} \, w_{s, p, k}",
        backward=r"\frac{\partial L}{\partial x_{p, j}} = \sum_s \sum_{n, k:\, U n + D k - P = j} "
        r"\frac{\partial L}{\partial y_{s, n}} \, w_{s, p, k}",
        parameters=r"\frac{\partial L}{\partial w_{s, p, k}} = \sum_n \frac{\partial L}{\partial y_{s, n}} \, "
        r"x_{p,\, U n + D k - P}, \quad \frac{\partial L}{\partial b_s} = \sum_n \frac{\partial L}{\partial y_{s, n}}",
        source="zoo of deep learning modules, Conv, as corrected by errata 9, 10 and 12. Initialisation as in PyTorch.",
    )
    parameter_names = ("weight", "bias")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, stride, dilation)
        self._set_groups(groups)
        self._set_padding(padding, padding_mode)
        random = generator(rng)
        self.weight = self._draw(random, out_channels, in_channels // groups, *self.kernel_size)
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        self.bias = Parameter(random.uniform(-bound, bound, out_channels)) if bias else None

    def forward(self, node: Node, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        self._check_input(x.shape)
        need_x, need_weight, _ = node.needs
        node.saved = (x if need_weight else None, weight if need_x else None)
        y = correlate(self._with_borders(x), weight, self._geometry(x.shape), self.groups, bias)
        return y if x.ndim == y.ndim else y[0]

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        weight, shape = node.saved[1], node.inputs[0].shape
        dx = correlate_adjoint(batched(dy, self.axes), weight, self._geometry(shape), self.groups)
        return self._without_borders(dx, shape)

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        dy = batched(dy, self.axes)
        gradients = {}
        if node.needs[1]:
            gradients["weight"] = self._weight_gradient(node, dy)
        if node.needs[2]:
            gradients["bias"] = channel_sums(dy)
        return gradients

    def _weight_gradient(self, node: Node, dy: np.ndarray) -> np.ndarray:
        x = node.saved[0]
        return kernel_gradient(self._with_borders(x), dy, self._geometry(x.shape), self.groups)

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        geometry, groups = self._geometry(x.shape), self.groups
        columns = self._columns(x)
        columns = columns.reshape(len(columns), groups, columns.shape[1] // groups, columns.shape[2])
        y = weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:])) @ columns
        lead = (len(columns), weight.shape[0]) if x.ndim == self.axes + 2 else weight.shape[:1]
        return biased(y.reshape(*lead, *geometry.out), bias, self.axes)

    def recall(self, node: Node) -> tuple[Any, ...]:
        return with_placeholders(node, *node.saved[:2], None)


def biased(y: Any, bias: Any, axes: int) -> Any:
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


class Conv1d(_Conv):
    """Convolution of sequences: y_s[n] = b_s + Σ_p Σ_k x_p[stride·n + dilation·k − padding] w_sp[k].

    Shapes: x (N, in_channels, L) or (in_channels, L); y the same with out_channels and, along each axis,
    ⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1. The dtype is NumPy's for x and the weight.

    Parameters:
        weight: (out_channels, in_channels/groups, *kernel_size), uniform within
            ±1/√(in_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number, or a tuple of one.
        padding: how much is put before and behind: a number, or a tuple of one;
            'same' (keeps the size, and puts an odd entry behind; needs stride 1); 'valid' (none).
        groups: into how many parts the channels are cut, each convolved on its own; in_channels makes it depthwise.
        bias: whether to add one.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels; 'same' with a stride.
        ShapeError: another number of axes or channels; an output of no positive size; a padding that is wider than
            'reflect' (size − 1) or 'circular' (size) can fill.

    >>> import numpy as np, graphzoo as gz
    >>> gz.Conv1d(3, 8, 5, padding="same", rng=0)(np.ones((2, 3, 20), np.float32)).shape
    (2, 8, 20)
    """

    axes = 1


class Conv2d(_Conv):
    """Convolution of images: y_s[n] = b_s + Σ_p Σ_k x_p[stride·n + dilation·k − padding] w_sp[k],
    with n, k and the settings pairs of numbers.

    Shapes: x (N, in_channels, H, W) or (in_channels, H, W); y the same with out_channels and, along each axis,
    ⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1. The dtype is NumPy's for x and the weight.

    Parameters:
        weight: (out_channels, in_channels/groups, *kernel_size), uniform within
            ±1/√(in_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number for both axes, or one for each.
        padding: how much is put before and behind: a number for both axes, or one for each;
            'same' (keeps the size, and puts an odd entry behind; needs stride 1); 'valid' (none).
        groups: into how many parts the channels are cut, each convolved on its own; in_channels makes it depthwise.
        bias: whether to add one.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        winograd: whether float32 is convolved by Winograd's F(4×4, 3×3), which takes a quarter of the products, and
            keeps x's transforms (2.25 times its size) for the gradient. Results are exact to about 1e-5 of the largest
            entry instead of 1e-6. For kernels of 3×3 without stride and dilation; other dtypes, and numbers that are
            not finite, are convolved as without it. May be set later, too.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels; 'same' with a stride;
            winograd for another kernel than it is for.
        ShapeError: another number of axes or channels; an output of no positive size; a padding that is wider than
            'reflect' (size − 1) or 'circular' (size) can fill.

    >>> import numpy as np, graphzoo as gz
    >>> gz.Conv2d(3, 8, 3, stride=2, padding=1, rng=0)(np.ones((2, 3, 9, 12), np.float32)).shape
    (2, 8, 5, 6)
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        winograd: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, rng=rng
        )
        self.winograd = winograd

    @property
    def winograd(self) -> bool:
        return self._winograd

    @winograd.setter
    def winograd(self, wanted: bool) -> None:
        if wanted and not (self.kernel_size == (3, 3) and {*self.stride, *self.dilation} == {1}):
            raise ArgumentError(
                f"{self.name or type(self).__name__}: winograd is for kernels of 3×3 without stride and dilation",
                got=f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}",
                expected="kernel_size 3, stride 1, dilation 1",
                todo="leave winograd out",
            )
        self._winograd = wanted

    def forward(self, node: Node, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        if not (self.winograd and x.size and x.dtype == weight.dtype == np.float32):
            return super().forward(node, x, weight, bias)
        self._check_input(x.shape)
        need_x, need_weight, _ = node.needs
        images = self._with_borders(x)
        y, values = winograd.correlate(images, weight, self._geometry(x.shape), self.groups, bias, keep=need_weight)
        if not winograd.is_sound(y):
            return super().forward(node, x, weight, bias)
        node.saved = (x if need_weight else None, weight if need_x else None, values)
        return y if x.ndim == y.ndim else y[0]

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        shape = node.inputs[0].shape
        geometry = self._geometry(shape)
        if len(node.saved) == 3 and max(geometry.padding) <= 2:
            dx = winograd.correlate_adjoint(batched(dy, self.axes), node.saved[1], geometry, self.groups)
            if winograd.is_sound(dx):
                return self._without_borders(dx, shape)
        return super().backward(node, dy)

    def _weight_gradient(self, node: Node, dy: np.ndarray) -> np.ndarray:
        if len(node.saved) == 3:
            geometry = self._geometry(node.inputs[0].shape)
            dw = winograd.kernel_gradient(node.saved[2], dy, geometry, self.groups)
            if winograd.is_sound(dw):
                return dw
        return super()._weight_gradient(node, dy)


class Conv3d(_Conv):
    """Convolution of volumes and videos: y_s[n] = b_s + Σ_p Σ_k x_p[stride·n + dilation·k − padding] w_sp[k],
    with n, k and the settings triples of numbers.

    Shapes: x (N, in_channels, D, H, W) or (in_channels, D, H, W); y the same with out_channels and, along each axis,
    ⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1. The dtype is NumPy's for x and the weight.

    Parameters:
        weight: (out_channels, in_channels/groups, *kernel_size), uniform within
            ±1/√(in_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number for all axes, or one for each.
        padding: how much is put before and behind: a number for all axes, or one for each;
            'same' (keeps the size, and puts an odd entry behind; needs stride 1); 'valid' (none).
        groups: into how many parts the channels are cut, each convolved on its own; in_channels makes it depthwise.
        bias: whether to add one.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels; 'same' with a stride.
        ShapeError: another number of axes or channels; an output of no positive size; a padding that is wider than
            'reflect' (size − 1) or 'circular' (size) can fill.

    >>> import numpy as np, graphzoo as gz
    >>> gz.Conv3d(2, 4, (1, 3, 3), rng=0)(np.ones((1, 2, 4, 8, 8), np.float32)).shape
    (1, 4, 4, 6, 6)
    """

    axes = 3


# Separable -----------------------------------------------------------------------------------------------------------


class _SeparableConv(Convolutional):
    formulas = Formulas(
        forward=r"o_{p, n} = \sum_k x_{p,\, U n + D k - P} \, w^1_{p, k}, \quad "
        r"y_{s, n} = b_s + \sum_p o_{p, n} \, w^2_{s, p}",
        backward=r"\frac{\partial L}{\partial o_{p, n}} = \sum_s w^2_{s, p} \frac{\partial L}{\partial y_{s, n}}, "
        r"\quad \frac{\partial L}{\partial x_{p, j}} = \sum_{n, k:\, U n + D k - P = j} "
        r"\frac{\partial L}{\partial o_{p, n}} \, w^1_{p, k}",
        parameters=r"\frac{\partial L}{\partial w^1_{p, k}} = \sum_n \frac{\partial L}{\partial o_{p, n}} \, "
        r"x_{p,\, U n + D k - P}, \quad \frac{\partial L}{\partial w^2_{s, p}} = \sum_n "
        r"\frac{\partial L}{\partial y_{s, n}} \, o_{p, n}, \quad "
        r"\frac{\partial L}{\partial b_s} = \sum_n \frac{\partial L}{\partial y_{s, n}}",
        source="zoo of deep learning modules, SeparableConv, as corrected by errata 9 to 11",
    )
    parameter_names = ("depthwise_weight", "pointwise_weight", "bias")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, stride, dilation)
        self._set_padding(padding, padding_mode)
        random = generator(rng)
        self.depthwise_weight = self._draw(random, in_channels, 1, *self.kernel_size)
        self.pointwise_weight = self._draw(random, out_channels, in_channels, *(1,) * self.axes)
        bound = 1 / math.sqrt(in_channels)
        self.bias = Parameter(random.uniform(-bound, bound, out_channels)) if bias else None

    def forward(
        self, node: Node, x: np.ndarray, depthwise: np.ndarray, pointwise: np.ndarray, bias: np.ndarray | None
    ) -> np.ndarray:
        self._check_input(x.shape)
        need_x, need_depthwise, need_pointwise, _ = node.needs
        geometry = self._geometry(x.shape)
        o = correlate(self._with_borders(x), depthwise, geometry, self.in_channels)
        node.saved = (
            x if need_depthwise else None,
            depthwise if need_x else None,
            pointwise if need_x or need_depthwise else None,
            None,
            o if need_pointwise else None,
        )
        y = correlate(o, pointwise, _pointwise(geometry), 1, bias)
        return y if x.ndim == y.ndim else y[0]

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        shape = node.inputs[0].shape
        node.delta = self._at_depthwise(node, dy)
        dx = correlate_adjoint(node.delta, node.saved[1], self._geometry(shape), self.in_channels)
        return self._without_borders(dx, shape)

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        x, _, _, _, o = node.saved
        _, need_depthwise, need_pointwise, need_bias = node.needs
        geometry = self._geometry(node.inputs[0].shape)
        gradients = {}
        if need_depthwise:
            do = self._at_depthwise(node, dy) if node.delta is None else node.delta
            gradients["depthwise_weight"] = kernel_gradient(self._with_borders(x), do, geometry, self.in_channels)
        dy = batched(dy, self.axes)
        if need_pointwise:
            gradients["pointwise_weight"] = kernel_gradient(o, dy, _pointwise(geometry), 1)
        if need_bias:
            gradients["bias"] = channel_sums(dy)
        return gradients

    def _at_depthwise(self, node: Node, dy: np.ndarray) -> np.ndarray:
        """The gradient at the output of the depthwise step."""
        geometry = _pointwise(self._geometry(node.inputs[0].shape))
        return correlate_adjoint(batched(dy, self.axes), node.saved[2], geometry, 1)

    def expand(self, node: Node, x: Any, depthwise: Any, pointwise: Any, bias: Any) -> Any:
        out, entries = self._geometry(x.shape).out, math.prod(self.kernel_size)
        columns = self._columns(x)
        columns = columns.reshape(len(columns), self.in_channels, entries, columns.shape[2])
        o = (depthwise.reshape(self.in_channels, 1, entries) @ columns).reshape(
            len(columns), self.in_channels, columns.shape[3]
        )
        y = pointwise.reshape(*pointwise.shape[:2]) @ o
        lead = y.shape[:2] if x.ndim == self.axes + 2 else y.shape[1:2]
        return biased(y.reshape(*lead, *out), bias, self.axes)

    def recall(self, node: Node) -> tuple[Any, ...]:
        return with_placeholders(node, *node.saved[:4])


def _pointwise(geometry: Geometry) -> Geometry:
    """Of the second step, which looks at one place only."""
    ones, zeros = (1,) * len(geometry.out), (0,) * len(geometry.out)
    return Geometry(geometry.out, geometry.out, ones, ones, zeros, ones)


class SeparableConv1d(_SeparableConv):
    """Separable convolution of sequences: a kernel for each channel, then a mix of the channels at each place.

    One module with both weights; in PyTorch it takes two: Conv1d with groups=in_channels and bias=False, and a Conv1d
    with kernel size 1.

    Shapes: x (N, in_channels, L) or (in_channels, L); y the same with out_channels and, along each axis,
    ⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1.

    Parameters:
        depthwise_weight: (in_channels, 1, *kernel_size), uniform within ±1/√∏ kernel_size.
        pointwise_weight: (out_channels, in_channels, 1), uniform within ±1/√in_channels.
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias, padding_mode, rng: as of `Conv1d`.

    Raises:
        ArgumentError, ShapeError: as `Conv1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.SeparableConv1d(3, 8, 5, padding=2, rng=0)(np.ones((2, 3, 20), np.float32)).shape
    (2, 8, 20)
    """

    axes = 1


class SeparableConv2d(_SeparableConv):
    """Separable convolution of images: a kernel for each channel, then a mix of the channels at each place.

    One module with both weights; in PyTorch it takes two: Conv2d with groups=in_channels and bias=False, and a Conv2d
    with kernel size 1.

    Shapes: x (N, in_channels, H, W) or (in_channels, H, W); y the same with out_channels and, along each axis,
    ⌊(size + paddings − dilation·(kernel_size − 1) − 1)/stride⌋ + 1.

    Parameters:
        depthwise_weight: (in_channels, 1, *kernel_size), uniform within ±1/√∏ kernel_size.
        pointwise_weight: (out_channels, in_channels, 1, 1), uniform within ±1/√in_channels.
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias, padding_mode, rng: as of `Conv2d`.

    Raises:
        ArgumentError, ShapeError: as `Conv2d`.

    >>> import numpy as np, graphzoo as gz
    >>> layer = gz.SeparableConv2d(32, 64, 3, padding="same", rng=0)
    >>> layer(np.ones((2, 32, 8, 8), np.float32)).shape
    (2, 64, 8, 8)
    >>> sum(p.size for p in layer.parameters()), sum(p.size for p in gz.Conv2d(32, 64, 3).parameters())
    (2400, 18496)
    """

    axes = 2
