r"""Normalization modules: entries are centred and scaled by statistics of their group.

What differs is the group, of M entries. Batch normalisation takes all samples and positions of a channel; layer
normalisation all features of a sample; group normalisation some channels of a sample, instance normalisation one.
Variances are biased (divided by M), and taken in two passes. The zoo document divides by the index m where the count M
is meant (erratum 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..kernels.normalization import (
    channel_gradients,
    channel_products_with_distances,
    channel_sums,
    normalized_channels,
    normalized_rows,
    row_gradients,
    scaled_channels,
    spread,
)
from ..module import Formulas, Module
from ..state import Parameter
from ..tape import Node, local
from ..tensor import DEFAULT_DTYPE
from .linear import check_sizes

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]

_FORWARD = (
    r"y = \gamma \odot \hat x + \beta, \quad \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad "
    r"\mu = \frac{1}{M} \sum_m x_m, \quad \sigma^2 = \frac{1}{M} \sum_m (x_m - \mu)^2"
)
_BACKWARD = (
    r"\frac{\partial L}{\partial x_m} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \left(g_m - \frac{1}{M} \sum_k g_k - "
    r"\frac{\hat x_m}{M} \sum_k g_k \hat x_k\right), \quad g = \frac{\partial L}{\partial y} \odot \gamma"
)
_PARAMETERS = (
    r"\frac{\partial L}{\partial \gamma} = \sum \frac{\partial L}{\partial y} \odot \hat x, \quad "
    r"\frac{\partial L}{\partial \beta} = \sum \frac{\partial L}{\partial y}"
)


# How a use was normalised ---------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """A use that took statistics of each row: x as rows (N, G, K), and what is the same for all entries of one."""

    rows: np.ndarray
    weight: np.ndarray | None  # written out for each entry, (G, K)
    mean: np.ndarray | None  # (N, G, 1); None where it was not taken off
    scale: np.ndarray  # 1 / √(σ² + ε), (N, G, 1)
    eps: float

    def gradients(self, dy: np.ndarray, need_x: bool, need_weight: bool, need_bias: bool) -> tuple[Any, Any, Any]:
        """Of x, and of weight and bias for each entry of a sample; None where not needed."""
        rows, weight, mean, scale, _ = self
        dy = dy.reshape(rows.shape).astype(rows.dtype, copy=False)
        return row_gradients(dy, rows, mean, scale, weight, need_x, need_weight, need_bias)

    def normalized(self, x: Any) -> Any:
        """The definition of x̂, on a tensor."""
        rows = x.reshape(self.rows.shape)
        if self.mean is not None:
            rows = rows - rows.mean(axis=-1, keepdims=True)
        return (rows / np.sqrt((rows * rows).mean(axis=-1, keepdims=True) + self.eps)).reshape(x.shape)


class _Batch(NamedTuple):
    """A use that took statistics of each channel over the batch: x as (N, C, S), and the channels' values (C,)."""

    x: np.ndarray
    mean: np.ndarray
    scale: np.ndarray  # 1 / √(σ² + ε)
    factor: np.ndarray  # scale · weight
    eps: float

    def gradients(self, dy: np.ndarray, need_x: bool, need_weight: bool, need_bias: bool) -> tuple[Any, Any, Any]:
        x, mean, scale, factor, _ = self
        dy = dy.reshape(x.shape).astype(x.dtype, copy=False)
        dx, along, sums = channel_gradients(dy, x, mean, scale, factor, need_x)
        return dx, scale * along, sums

    def normalized(self, x: Any) -> Any:
        axes = (0, *range(2, x.ndim))
        distances = x - x.mean(axis=axes, keepdims=True)
        return distances / np.sqrt((distances * distances).mean(axis=axes, keepdims=True) + self.eps)


class _Running(_Batch):
    """A use of running statistics: they are constants, kept as they were at the time."""

    __slots__ = ()

    def gradients(self, dy: np.ndarray, need_x: bool, need_weight: bool, need_bias: bool) -> tuple[Any, Any, Any]:
        x, mean, scale, factor, _ = self
        dy = dy.reshape(x.shape).astype(x.dtype, copy=False)
        return (
            dy * spread(factor, x.shape[2]) if need_x else None,
            scale * channel_products_with_distances(dy, x, mean) if need_weight else None,
            channel_sums(dy) if need_bias else None,
        )

    def normalized(self, x: Any) -> Any:
        rows = x.reshape(self.x.shape)
        return ((rows - self.mean[:, None]) * self.scale[:, None]).reshape(x.shape)


class _Normalization(Module):
    """What the modules have in common: x̂, scaled and shifted. A subclass says in `_normalize` how x̂ is made."""

    parameter_names: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Rows | _Batch]:
        raise NotImplementedError

    def _affine_shape(self, parameter: Any, ndim: int) -> tuple[int, ...]:
        """A parameter's shape when it is broadcast to an input of ndim axes."""
        raise NotImplementedError

    def forward(
        self, node: Node, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None = None
    ) -> np.ndarray:
        dtype = np.result_type(*[a for a in (x, weight, bias) if a is not None])
        if dtype.kind != "f":
            dtype = np.dtype(np.float64)
        y, use = self._normalize(x, weight, bias, dtype)
        node.saved = (*(x, weight, bias)[: len(node.needs)], use)
        return y.reshape(x.shape)

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        dx, *node.delta = node.saved[-1].gradients(dy, True, *self._needs(node))
        return dx.reshape(node.shape)

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        sums = node.delta or node.saved[-1].gradients(dy, False, *self._needs(node))[1:]
        gradients = {}
        for name, values, source, need in zip(self.parameter_names, sums, node.inputs[1:], node.needs[1:]):  # noqa: B905
            if need:  # positions are summed here, where a parameter is shared by them
                per_entry = values.reshape(*source.shape, values.size // math.prod(source.shape))
                gradients[name] = per_entry.sum(axis=-1)
        return gradients

    def _needs(self, node: Node) -> tuple[bool, bool]:
        return node.needs[1], len(node.needs) > 2 and node.needs[2]

    def expand(self, node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
        y = node.saved[-1].normalized(x)
        if weight is not None:
            y = y * weight.reshape(self._affine_shape(weight, x.ndim))
        return y if bias is None else y + bias.reshape(self._affine_shape(bias, x.ndim))


def _normalize_rows(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    dtype: np.dtype[Any],
    shape: tuple[int, int, int],
    eps: float,
    centered: bool = True,
) -> tuple[np.ndarray, _Rows]:
    rows = x.reshape(shape).astype(dtype, copy=False)
    weight, bias = (
        None if values is None else np.repeat(values.astype(dtype, copy=False), shape[1] * shape[2] // values.size)
        .reshape(shape[1:])
        for values in (weight, bias)
    )  # fmt: skip
    y, mean, scale = normalized_rows(rows, weight, bias, eps, centered)
    return y, _Rows(rows, weight, mean, scale, eps)


# Statistics of a sample's features -----------------------------------------------------------------------------------


class LayerNorm(_Normalization):
    """Layer normalisation: each sample by the mean and variance of its own features, the trailing axes.

    Shapes: x and y (..., *normalized_shape), with any leading axes.

    Parameters:
        weight: γ, of normalized_shape, ones; None without elementwise_affine.
        bias: β, of normalized_shape, zeros; None without elementwise_affine, or with bias=False.

    Args:
        normalized_shape: sizes of the trailing axes that are normalised together; a number for the last axis alone.
        eps: added to the variance, under the root.
        elementwise_affine: whether the result is scaled and shifted.
        bias: whether it is shifted.

    Raises:
        ArgumentError: sizes below 1, a negative eps.
        ShapeError: an input whose trailing axes are others.

    >>> import graphzoo as gz
    >>> gz.LayerNorm(4, eps=0)(gz.tensor([[1.0, 1.0, 3.0, 3.0]]))
    tensor([[-1., -1.,  1.,  1.]], node=LayerNorm)
    """

    formulas = Formulas(
        forward=_FORWARD,
        backward=_BACKWARD,
        parameters=_PARAMETERS,
        source="zoo of deep learning modules, Normalization, LN (named without formulas); J. L. Ba, J. R. Kiros, "
        "G. E. Hinton, Layer normalization (2016)",
    )

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = _feature_shape(self, normalized_shape)
        self.eps = _checked_eps(self, eps)
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape)) if elementwise_affine and bias else None

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Rows]:
        length = _check_features(self, x, self.normalized_shape)
        return _normalize_rows(x, weight, bias, dtype, (x.size // length, 1, length), self.eps)

    def _affine_shape(self, parameter: Any, ndim: int) -> tuple[int, ...]:
        return self.normalized_shape

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(_Normalization):
    """Root-mean-square normalisation: each sample by the root of its features' mean square; no mean is taken off.

    Shapes: x and y (..., *normalized_shape), with any leading axes.

    Parameters:
        weight: γ, of normalized_shape, ones; None without elementwise_affine.

    Args:
        normalized_shape: sizes of the trailing axes that are normalised together; a number for the last axis alone.
        eps: added to the mean square, under the root; None for the machine precision of the dtype.
        elementwise_affine: whether the result is scaled.

    Raises:
        ArgumentError: sizes below 1, a negative eps.
        ShapeError: an input whose trailing axes are others.

    >>> import graphzoo as gz
    >>> gz.RMSNorm(2)(gz.tensor([[3.0, 4.0]]))
    tensor([[0.84852815, 1.1313709 ]], node=RMSNorm)
    """

    formulas = Formulas(
        forward=r"y = \gamma \odot \hat x, \quad \hat x = \frac{x}{\sqrt{\frac{1}{M} \sum_m x_m^2 + \epsilon}}",
        backward=r"\frac{\partial L}{\partial x_m} = \frac{1}{\sqrt{\frac{1}{M} \sum_k x_k^2 + \epsilon}} "
        r"\left(g_m - \frac{\hat x_m}{M} \sum_k g_k \hat x_k\right), \quad "
        r"g = \frac{\partial L}{\partial y} \odot \gamma",
        parameters=r"\frac{\partial L}{\partial \gamma} = \sum \frac{\partial L}{\partial y} \odot \hat x",
        source="B. Zhang, R. Sennrich, Root mean square layer normalization (2019)",
    )
    parameter_names = ("weight",)

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        self.normalized_shape = _feature_shape(self, normalized_shape)
        self.eps = None if eps is None else _checked_eps(self, eps)
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape)) if elementwise_affine else None

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Rows]:
        length = _check_features(self, x, self.normalized_shape)
        eps = float(np.finfo(dtype).eps) if self.eps is None else self.eps
        return _normalize_rows(x, weight, None, dtype, (x.size // length, 1, length), eps, centered=False)

    def _affine_shape(self, parameter: Any, ndim: int) -> tuple[int, ...]:
        return self.normalized_shape

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Normalization):
    """Group normalisation: each group of channels of a sample by the mean and variance of all their positions.

    Shapes: x and y (N, num_channels, *spatial), with any number of spatial axes.

    Parameters:
        weight: γ, (num_channels,), ones; None without affine.
        bias: β, (num_channels,), zeros; None without affine.

    Args:
        num_groups: into how many groups the channels are divided, in order.
        num_channels: size of the input's axis 1.
        eps: added to the variance, under the root.
        affine: whether each channel is scaled and shifted.

    Raises:
        ArgumentError: sizes below 1, channels that do not divide into the groups, a negative eps.
        ShapeError: an input with another number of channels.

    >>> import graphzoo as gz
    >>> gz.GroupNorm(1, 2, eps=0, affine=False)(gz.tensor([[[0.0, 2.0], [2.0, 0.0]]]))
    tensor([[[-1.,  1.],
             [ 1., -1.]]])
    """

    formulas = Formulas(
        forward=_FORWARD,
        backward=_BACKWARD,
        parameters=_PARAMETERS,
        source="zoo of deep learning modules, Normalization, GN (named without formulas); Y. Wu, K. He, Group "
        "normalization (2018)",
    )

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        check_sizes(self, num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ArgumentError(
                "GroupNorm: the channels must divide into groups of one size",
                got=f"{num_channels} channels and {num_groups} groups",
                expected="num_channels a multiple of num_groups",
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = _checked_eps(self, eps)
        self.affine = affine
        self.weight = Parameter(np.ones(num_channels)) if affine else None
        self.bias = Parameter(np.zeros(num_channels)) if affine else None

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Rows]:
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise _wrong_channels(self, x, "(N, C, *spatial)", self.num_channels)
        length = math.prod(x.shape[1:]) // self.num_groups
        return _normalize_rows(x, weight, bias, dtype, (len(x), self.num_groups, length), self.eps)

    def _affine_shape(self, parameter: Any, ndim: int) -> tuple[int, ...]:
        return (*parameter.shape, *[1] * (ndim - 2))

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


# Statistics of channels, and their running averages ------------------------------------------------------------------


class _ChannelNorm(_Normalization):
    """Batch and instance normalisation: their arguments, and statistics that run along for evaluation."""

    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    layouts: ClassVar[dict[int, str]]  # the shapes that an input may have, by their number of axes

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        check_sizes(self, num_features=num_features)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ArgumentError(
                f"{type(self).__name__}: momentum is the share of the new value in a running statistic",
                got=momentum,
                expected="a number from 0 to 1, or None for the average of all values",
            )
        self.num_features = num_features
        self.eps = _checked_eps(self, eps)
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = Parameter(np.ones(num_features)) if affine else None
        self.bias = Parameter(np.zeros(num_features)) if affine else None
        self.running_mean: np.ndarray | None = None
        self.running_var: np.ndarray | None = None
        self.num_batches_tracked: np.ndarray | None = None
        self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean = np.zeros(self.num_features, DEFAULT_DTYPE)
            self.running_var = np.ones(self.num_features, DEFAULT_DTYPE)
            self.num_batches_tracked = np.array(0)

    def _channels(self, x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """The input as (N, C, S)."""
        axis = self._channel_axis(x.ndim)
        if x.ndim not in self.layouts or x.shape[axis] != self.num_features:
            raise _wrong_channels(self, x, " or ".join(self.layouts.values()), self.num_features)
        shape = (math.prod(x.shape[:axis]), self.num_features, math.prod(x.shape[axis + 1 :]))
        return x.reshape(shape).astype(dtype, copy=False)

    def _channel_axis(self, ndim: int) -> int:
        return 1

    def _by_running_statistics(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None
    ) -> tuple[np.ndarray, _Running]:
        """x̂ · weight + bias for x (N, C, S), as in evaluation."""
        assert self.running_mean is not None
        assert self.running_var is not None
        mean = self.running_mean.astype(x.dtype)
        scale = (1 / np.sqrt(self.running_var.astype(x.dtype) + self.eps)).astype(x.dtype)
        factor = scale if weight is None else scale * weight
        y = scaled_channels(x, mean, factor, bias, np.empty(x.shape, x.dtype))
        return y, _Running(x, mean, scale, factor, self.eps)

    def _track(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Let the running statistics follow a batch's mean and unbiased variance (new arrays: nodes hold the old)."""
        if self.num_batches_tracked is None or not self.training or local.context.replaying:
            return
        self.num_batches_tracked = np.asarray(self.num_batches_tracked + 1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for name, value in (("running_mean", mean), ("running_var", variance)):
            running = getattr(self, name)
            setattr(self, name, ((1 - share) * running + share * value).astype(running.dtype))

    def _affine_shape(self, parameter: Any, ndim: int) -> tuple[int, ...]:
        return (self.num_features, *[1] * (ndim - 1 - self._channel_axis(ndim)))

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    """What the three batch normalisations share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=_FORWARD,
        backward=_BACKWARD,
        parameters=_PARAMETERS,
        source="zoo of deep learning modules, Normalization, BN, with erratum 5 (M for m); S. Ioffe, C. Szegedy, Batch "
        "normalization: accelerating deep network training by reducing internal covariate shift (2015)",
    )

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Batch]:
        rows = self._channels(x, dtype)
        if self.running_mean is not None and not self.training:
            return self._by_running_statistics(rows, weight, bias)
        count = rows.shape[0] * rows.shape[2]
        if count == 1 and self.training:
            raise _one_value(self, x, "channel", "pass a larger batch")
        y, mean, squares = normalized_channels(rows, weight, bias, self.eps)
        variance = squares / max(count, 1)
        if count:
            self._track(mean, squares / (count - 1) if count > 1 else variance)
        scale = (1 / np.sqrt(variance + self.eps)).astype(dtype)
        factor = scale if weight is None else scale * weight
        return y, _Batch(rows, mean, scale, factor, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation: each channel by its mean and variance over all samples and positions. BN in the document.

    In evaluation (`eval()`) running averages of both take their place, which training moves along: the mean, and the
    unbiased variance (divided by M - 1). `gz.checkpoint` moves them once only.

    Shapes: x and y (N, C) or (N, C, L).

    Parameters:
        weight: γ, (C,), ones; None without affine.
        bias: β, (C,), zeros; None without affine.

    Buffers, without track_running_stats None:
        running_mean, running_var: (C,), zeros and ones at first.
        num_batches_tracked: how many batches they have seen.

    Args:
        num_features: the number of channels C.
        eps: added to the variance, under the root.
        momentum: share of the new value when a running statistic moves on; None for the average of all values so far.
        affine: whether channels are scaled and shifted.
        track_running_stats: whether there are running statistics; without, evaluation takes the batch's own, too.

    Raises:
        ArgumentError: num_features below 1, a negative eps, a momentum outside of [0, 1].
        ShapeError: an input of another layout; in training, one value per channel (it would be normalised to 0). An
            empty batch is none of these: its result is empty, and running statistics stay.

    >>> import graphzoo as gz
    >>> norm = gz.BatchNorm1d(1)
    >>> norm(gz.tensor([[1.0], [3.0]]))
    tensor([[-0.999995],
            [ 0.999995]], node=BatchNorm1d)
    >>> norm.running_mean, norm.running_var
    (array([0.2], dtype=float32), array([1.1], dtype=float32))
    """

    layouts = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images: each channel by its mean and variance over samples and positions.

    Shapes: x and y (N, C, H, W). All else is as in `BatchNorm1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.BatchNorm2d(3)(np.ones((2, 3, 4, 5), np.float32)).shape
    (2, 3, 4, 5)
    """

    layouts = {4: "(N, C, H, W)"}


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes: each channel by its mean and variance over samples and positions.

    Shapes: x and y (N, C, D, H, W). All else is as in `BatchNorm1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.BatchNorm3d(3)(np.ones((2, 3, 2, 4, 5), np.float32)).shape
    (2, 3, 2, 4, 5)
    """

    layouts = {5: "(N, C, D, H, W)"}


class _InstanceNorm(_ChannelNorm):
    """What the three instance normalisations share: everything but the number of spatial axes."""

    formulas = Formulas(
        forward=_FORWARD,
        backward=_BACKWARD,
        parameters=_PARAMETERS,
        source="zoo of deep learning modules, Normalization, IN (named without formulas); D. Ulyanov, A. Vedaldi, "
        "V. Lempitsky, Instance normalization: the missing ingredient for fast stylization (2016)",
    )

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def _normalize(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray, _Rows | _Batch]:
        rows = self._channels(x, dtype)
        if self.running_mean is not None and not self.training:
            return self._by_running_statistics(rows, weight, bias)
        length = rows.shape[2]
        if length == 1 and self.training:
            raise _one_value(self, x, "channel of an instance", "pass more than one position")
        y, use = _normalize_rows(x, weight, bias, dtype, rows.shape, self.eps)
        if rows.size:
            assert use.mean is not None
            variances = (1 / (use.scale * use.scale) - self.eps) * (length / max(length - 1, 1))
            self._track(use.mean.mean(axis=(0, 2)), variances.mean(axis=(0, 2)))
        return y, use

    def _channel_axis(self, ndim: int) -> int:
        return ndim - (max(self.layouts) - 1)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation: each channel of each sample by its mean and variance over all positions.

    Shapes: x and y (N, C, L), or (C, L) for one sample.

    Arguments, parameters, buffers and errors are those of `BatchNorm1d`, but by default there are no parameters and no
    running statistics. With track_running_stats these are averages over samples of the mean and the unbiased variance,
    and evaluation takes them in place of the instance's own.

    >>> import graphzoo as gz
    >>> gz.InstanceNorm1d(1)(gz.tensor([[[1.0, 3.0]], [[0.0, 40.0]]]))
    tensor([[[-0.999995,  0.999995]],
            [[-1.      ,  1.      ]]])
    """

    layouts = {2: "(C, L)", 3: "(N, C, L)"}


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images: each channel of each sample by its mean and variance over all positions.

    Shapes: x and y (N, C, H, W), or (C, H, W) for one sample. All else is as in `InstanceNorm1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.InstanceNorm2d(3, affine=True)(np.ones((2, 3, 4, 5), np.float32)).shape
    (2, 3, 4, 5)
    """

    layouts = {3: "(C, H, W)", 4: "(N, C, H, W)"}


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes: each channel of each sample by its mean and variance over all positions.

    Shapes: x and y (N, C, D, H, W), or (C, D, H, W) for one sample. All else is as in `InstanceNorm1d`.

    >>> import numpy as np, graphzoo as gz
    >>> gz.InstanceNorm3d(3)(np.ones((2, 3, 2, 4, 5), np.float32)).shape
    (2, 3, 2, 4, 5)
    """

    layouts = {4: "(C, D, H, W)", 5: "(N, C, D, H, W)"}


# Errors --------------------------------------------------------------------------------------------------------------


def _feature_shape(module: Module, shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(size) for size in shape)
    if not sizes or min(sizes) < 1:
        raise ArgumentError(
            f"{type(module).__name__}: normalized_shape gives the sizes of the trailing axes",
            got=shape,
            expected="a positive integer, or several",
        )
    return sizes


def _check_features(module: Module, x: np.ndarray, shape: tuple[int, ...]) -> int:
    """The number of features; raises unless x has these trailing axes."""
    if x.shape[max(x.ndim - len(shape), 0) :] != shape:
        raise ShapeError(
            f"{module.name or type(module).__name__} does not fit its input",
            got=f"an input of shape {x.shape}",
            expected=f"(..., {', '.join(map(str, shape))}): trailing axes of normalized_shape",
        )
    return math.prod(shape)


def _checked_eps(module: Module, eps: float) -> float:
    if not eps >= 0:
        raise ArgumentError(f"{type(module).__name__}: eps is added under a root", got=eps, expected="0 or more")
    return eps


def _wrong_channels(module: Module, x: np.ndarray, layouts: str, channels: int) -> ShapeError:
    return ShapeError(
        f"{module.name or type(module).__name__} does not fit its input",
        got=f"an input of shape {x.shape}",
        expected=f"{layouts} with C = {channels}",
        todo="make the module for the input's channels, or bring the input's axes into this order",
    )


def _one_value(module: Module, x: np.ndarray, group: str, todo: str) -> ShapeError:
    return ShapeError(
        f"{module.name or type(module).__name__}: a {group} with one value has no variance",
        got=f"an input of shape {x.shape} in training",
        expected=f"more than one value per {group}",
        todo=f"{todo}, or call eval() for inference",
    )
