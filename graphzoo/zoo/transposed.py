r"""Transposed convolutions: the adjoints of convolutions, as modules of their own.

They bring back to the larger size what a convolution with a stride has made smaller. Their three passes are those of
the convolution with its ends exchanged; the definition is a matrix times x, folded where windows overlap (`Fold`).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..kernels.convolution import channel_sums, correlate, correlate_adjoint, kernel_gradient
from ..kernels.grid import Geometry
from ..module import Formulas, generator
from ..state import Parameter
from ..tape import Node
from .convolution import Convolutional, Sizes, batched, biased
from .linear import with_placeholders
from .window import fold, pad

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTranspose(Convolutional):
    formulas = Formulas(
        forward=r"y_{s, j} = b_s + \sum_p \sum_{n, k:\, U n + D k - P = j} x_{p, n} \, w_{p, s, k}",
        backward=r"\frac{\partial L}{\partial x_{p, n}} = \sum_s \sum_k "
        r"\frac{\partial L}{\partial y_{s,\, U n + D k - P}} \, w_{p, s, k}",
        parameters=r"\frac{\partial L}{\partial w_{p, s, k}} = \sum_n x_{p, n} \, "
        r"\frac{\partial L}{\partial y_{s,\, U n + D k - P}}, \quad "
        r"\frac{\partial L}{\partial b_s} = \sum_j \frac{\partial L}{\partial y_{s, j}}",
        source="Dumoulin & Visin, A guide to convolution arithmetic for deep learning (2016). Initialisation as in "
        "PyTorch.",
    )
    parameter_names = ("weight", "bias")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, stride, dilation)
        self._set_groups(groups)
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{type(self).__name__} has no other padding_mode than 'zeros'", got=repr(padding_mode),
                expected="'zeros'", todo="pad the input beforehand with gz.pad",
            )  # fmt: skip
        self.padding = self._per_axis("padding", padding, least=0)
        self.output_padding = self._per_axis("output_padding", output_padding, least=0)
        for extra, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(s, d):
                raise ArgumentError(
                    f"{type(self).__name__}: output_padding must be smaller than stride or dilation",
                    got=f"output_padding={self.output_padding}, stride={self.stride}, dilation={self.dilation}",
                    expected=f"at most {max(s, d) - 1}",
                    todo="it only chooses among the sizes that the stride makes equal; pad the output with gz.pad",
                )
        random = generator(rng)
        self.weight = self._draw(random, in_channels, out_channels // groups, *self.kernel_size)
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        self.bias = Parameter(random.uniform(-bound, bound, out_channels)) if bias else None

    def __call__(self, x: Any, output_size: Any = None, **options: Any) -> Any:
        """Apply to x; `output_size`, one number for each spatial axis, takes the place of `output_padding`."""
        if output_size is None:
            return super().__call__(x, **options)
        return self._for_size(tuple(np.shape(x)), output_size)(x, **options)

    def _for_size(self, shape: Sizes, output_size: Any) -> _ConvTranspose:
        """The same module, the same parameters, with the output_padding that leads to a size."""
        self._check_input(shape)
        wanted = self._per_axis("output_size", output_size)
        least = self._full_size(shape, (0,) * self.axes)
        extra = tuple(n - m for n, m in zip(wanted, least, strict=True))
        most = [max(s, d) - 1 for s, d in zip(self.stride, self.dilation, strict=True)]
        if any(not 0 <= n <= m for n, m in zip(extra, most, strict=True)):
            raise ShapeError(
                f"{self.name or type(self).__name__} cannot make this output_size",
                got=wanted,
                expected=f"from {least} to {tuple(map(sum, zip(least, most, strict=True)))} for an input of {shape}",
            )
        other = copy.copy(self)
        other.output_padding = extra
        return other

    def _full_size(self, shape: Sizes, output_padding: Sizes) -> Sizes:
        settings = zip(
            shape[len(shape) - self.axes :],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            output_padding,
            strict=True,
        )
        return tuple((n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in settings)

    def _geometry(self, shape: Sizes) -> Geometry:
        """Of the convolution that this one transposes: from the output to the input."""
        inside = shape[len(shape) - self.axes :]
        size = self._full_size(shape, self.output_padding)
        for n, m, k, s, p, d, extra in zip(
            inside, size, self.kernel_size, self.stride, self.padding, self.dilation, self.output_padding, strict=True
        ):
            if m < 1:
                raise ShapeError(
                    f"{self.name or type(self).__name__}: nothing is left of the output",
                    got=f"an input of shape {shape}: along the axis of size {n} the output would have size "
                    f"({n} − 1)·{s} − 2·{p} + {d}·({k} − 1) + {extra} + 1 = {m}",
                    expected="(size − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1 "
                    "to be positive",
                    todo="take a larger input or kernel, or a smaller padding",
                )
        return Geometry(size, inside, self.kernel_size, self.stride, self.padding, self.dilation)

    def forward(self, node: Node, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        self._check_input(x.shape)
        need_x, need_weight, _ = node.needs
        node.saved = (x if need_weight else None, weight if need_x else None)
        y = correlate_adjoint(batched(x, self.axes), weight, self._geometry(x.shape), self.groups, bias)
        return y if x.ndim == y.ndim else y[0]

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        _, weight = node.saved
        shape = node.inputs[0].shape
        return correlate(batched(dy, self.axes), weight, self._geometry(shape), self.groups).reshape(shape)

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        x, _ = node.saved
        dy = batched(dy, self.axes)
        gradients = {}
        if node.needs[1]:
            geometry = self._geometry(x.shape)
            gradients["weight"] = kernel_gradient(dy, batched(x, self.axes), geometry, self.groups)
        if node.needs[2]:
            gradients["bias"] = channel_sums(dy)
        return gradients

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        size, inside, groups = self._geometry(x.shape).size, x.shape[x.ndim - self.axes :], self.groups
        inputs = weight.shape[0] // groups
        rows = batched(x, self.axes).reshape(-1 if x.size else 0, groups, inputs, math.prod(inside))
        matrix = weight.reshape(groups, inputs, math.prod(weight.shape[1:])).transpose(0, 2, 1)
        columns = (matrix @ rows).reshape(len(rows), groups * matrix.shape[1], rows.shape[3])
        settings = zip(inside, self.kernel_size, self.stride, self.dilation, strict=True)
        reached = tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in settings)
        y = fold(columns, reached, self.kernel_size, self.dilation, 0, self.stride)
        # The padding is cut off; the output may go on beyond what the kernel reached.
        ends = [p + m for p, m in zip(self.padding, size, strict=True)]
        y = pad(y, ((0, 0), (0, 0), *[(0, max(0, end - n)) for end, n in zip(ends, reached, strict=True)]))
        y = y[(..., *[slice(p, end) for p, end in zip(self.padding, ends, strict=True)])]
        return biased(y if x.ndim == y.ndim else y[0], bias, self.axes)

    def recall(self, node: Node) -> tuple[Any, ...]:
        return with_placeholders(node, *node.saved, None)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences: what a Conv1d takes from j to n, this brings from n to j:
    y_s[stride·n + dilation·k − padding] += x_p[n] w_ps[k], upon b_s.

    Shapes: x (N, in_channels, L) or (in_channels, L); y the same with out_channels and, along each axis,
    (size − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1. Called with `output_size`, it
    chooses the output_padding itself.

    Parameters:
        weight: (in_channels, out_channels/groups, *kernel_size), uniform within
            ±1/√(out_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number, or a tuple of one.
        padding: how much is cut off on either side: a number, or a tuple of one.
        output_padding: how much longer y is at its end, less than stride or dilation:
            a number, or a tuple of one.
        groups: into how many parts the channels are cut, each convolved on its own.
        bias: whether to add one.
        padding_mode: 'zeros' is the only one.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels.
        ShapeError: another number of axes or channels; an output of no positive size; an impossible output_size.

    >>> import numpy as np, graphzoo as gz
    >>> gz.ConvTranspose1d(8, 3, 4, stride=2, padding=1, rng=0)(np.ones((2, 8, 10), np.float32)).shape
    (2, 3, 20)
    """

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images: what a Conv2d takes from j to n, this brings from n to j:
    y_s[stride·n + dilation·k − padding] += x_p[n] w_ps[k], upon b_s.

    Shapes: x (N, in_channels, H, W) or (in_channels, H, W); y the same with out_channels and, along each axis,
    (size − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1. Called with `output_size`, it
    chooses the output_padding itself.

    Parameters:
        weight: (in_channels, out_channels/groups, *kernel_size), uniform within
            ±1/√(out_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number for both axes, or one for each.
        padding: how much is cut off on either side: a number for both axes, or one for each.
        output_padding: how much longer y is at its end, less than stride or dilation:
            a number for both axes, or one for each.
        groups: into how many parts the channels are cut, each convolved on its own.
        bias: whether to add one.
        padding_mode: 'zeros' is the only one.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels.
        ShapeError: another number of axes or channels; an output of no positive size; an impossible output_size.

    >>> import numpy as np, graphzoo as gz
    >>> up = gz.ConvTranspose2d(8, 3, 3, stride=2, padding=1, rng=0)
    >>> x = np.ones((2, 8, 5, 6), np.float32)
    >>> up(x).shape, up(x, output_size=(10, 11)).shape
    ((2, 3, 9, 11), (2, 3, 10, 11))
    """

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes: what a Conv3d takes from j to n, this brings from n to j:
    y_s[stride·n + dilation·k − padding] += x_p[n] w_ps[k], upon b_s.

    Shapes: x (N, in_channels, D, H, W) or (in_channels, D, H, W); y the same with out_channels and, along each axis,
    (size − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1. Called with `output_size`, it
    chooses the output_padding itself.

    Parameters:
        weight: (in_channels, out_channels/groups, *kernel_size), uniform within
            ±1/√(out_channels/groups · ∏ kernel_size).
        bias: (out_channels,), the same; None with bias=False.

    Args:
        in_channels, out_channels: of x and y.
        kernel_size, stride, dilation: a number for all axes, or one for each.
        padding: how much is cut off on either side: a number for all axes, or one for each.
        output_padding: how much longer y is at its end, less than stride or dilation:
            a number for all axes, or one for each.
        groups: into how many parts the channels are cut, each convolved on its own.
        bias: whether to add one.
        padding_mode: 'zeros' is the only one.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: settings that are out of range; groups that do not divide the channels.
        ShapeError: another number of axes or channels; an output of no positive size; an impossible output_size.

    >>> import numpy as np, graphzoo as gz
    >>> gz.ConvTranspose3d(4, 2, 2, stride=2, rng=0)(np.ones((1, 4, 2, 3, 3), np.float32)).shape
    (1, 2, 4, 6, 6)
    """

    axes = 3
