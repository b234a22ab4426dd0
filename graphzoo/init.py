"""Initial values for parameters: PyTorch's initialisers.

Every initialiser comes twice. `xavier_uniform(shape, ...)` returns a new array; `xavier_uniform_(tensor,
...)` fills a tensor or an array and returns it. Both run the same code and, for the same seed, give the same
values; float32 values are the float64 ones, rounded.

A weight of shape (out, in, *kernel) has fan_in = in · prod(kernel) and fan_out = out · prod(kernel).

In all of them `rng` is a seed, a NumPy `Generator`, or None for fresh entropy, and `shape` an int or a tuple
of ints.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from graphzoo.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError, describe
from graphzoo.module import generator
from graphzoo.tensor import Tensor

Shape = int | tuple[int, ...]
Rng = int | np.random.Generator | None

P = ParamSpec("P")
Target = TypeVar("Target", bound=Tensor | np.ndarray)

# Gains that keep the variance of the signal; those of relu and leaky_relu are computed.
_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_GAINS = {
    **dict.fromkeys(_LINEAR, 1.0),
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before a nonlinearity are larger than before none, to keep the signal's
    variance.

    1 for linear layers, convolutions and sigmoid, 5/3 for tanh, √2 for relu, √(2 / (1 + param²)) for
    leaky_relu, 3/4 for selu.

    Args:
        nonlinearity: its name, as in PyTorch: ``"linear"``, ``"conv2d"``, ``"sigmoid"``, ``"tanh"``,
            ``"relu"``, ``"leaky_relu"``, ``"selu"``.
        param: the negative slope, for ``"leaky_relu"``; 0.01 by default.

    Raises:
        ArgumentError: an unknown name.

    Source: K. He et al., "Delving deep into rectifiers" (ICCV 2015), section 2.2, for relu and leaky_relu;
    PyTorch's table for the others.

    >>> round(calculate_gain("leaky_relu", 0.2), 6)
    1.38675
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(
            "calculate_gain: unknown nonlinearity",
            got=repr(nonlinearity),
            expected=", ".join(sorted([*_GAINS, "leaky_relu"])),
        )
    return _GAINS[nonlinearity]


def calculate_fan_in_and_fan_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *kernel).

    Raises:
        ShapeError: fewer than two dimensions.

    >>> calculate_fan_in_and_fan_out((16, 3, 5, 5))
    (75, 400)
    """
    shape = _as_shape(shape)
    if len(shape) < 2:
        raise ShapeError(
            "fan_in and fan_out need a weight with at least two dimensions",
            got=f"shape {shape}",
            expected="(out, in, *kernel)",
            todo="use uniform, normal or zeros for biases",
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


# Plain distributions and constants
# -----------------------------------------------------------------------------------


def uniform(
    shape: Shape, a: float = 0.0, b: float = 1.0, *, rng: Rng = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Values from the uniform distribution on [a, b).

    Raises:
        ArgumentError: a > b.

    >>> uniform((2, 3), -1, 1, rng=0).shape
    (2, 3)
    """
    if not a <= b:
        raise ArgumentError("uniform: the range is empty", got=f"a = {a}, b = {b}", expected="a ≤ b")
    return generator(rng).uniform(a, b, _as_shape(shape)).astype(dtype)


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Values from the normal distribution with the given mean and standard deviation.

    Raises:
        ArgumentError: a negative standard deviation.

    >>> normal((2, 3), std=0.02, rng=0).dtype
    dtype('float32')
    """
    _check_std("normal", std)
    return generator(rng).normal(mean, std, _as_shape(shape)).astype(dtype)


def trunc_normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    rng: Rng = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Values from the normal distribution with the given mean and standard deviation, restricted to [a, b].

    `a` and `b` are values, not multiples of `std`. The distribution is right far from the mean too.

    Raises:
        ArgumentError: a ≥ b, a standard deviation that is not positive, or an interval so far out (about 37
            standard deviations) that the normal distribution has no weight there.

    >>> values = trunc_normal(1000, std=1.0, a=-0.5, b=2.0, rng=0)
    >>> bool(values.min() >= -0.5 and values.max() <= 2.0)
    True
    """
    if not a < b:
        raise ArgumentError("trunc_normal: the range is empty", got=f"a = {a}, b = {b}", expected="a < b")
    if not std > 0:
        raise ArgumentError("trunc_normal: impossible std", got=std, expected="a number > 0")
    rng = generator(rng)
    shape = _as_shape(shape)
    low, high = (a - mean) / std, (b - mean) / std
    # The tail above the mean is drawn as its mirror image: near 1 the distribution function has no digits
    # left.
    sign = -1.0 if low > 0 else 1.0
    if low > 0:
        low, high = -high, -low
    cdf_low, cdf_high = (0.5 * math.erfc(-bound / math.sqrt(2.0)) for bound in (low, high))
    if cdf_high == cdf_low:
        raise ArgumentError(
            "trunc_normal: the normal distribution has no weight between the bounds",
            got=f"[{a}, {b}] with mean {mean} and std {std}",
            todo="move the bounds towards the mean, or use uniform",
        )
    if cdf_high - cdf_low > 0.25:
        values = rng.standard_normal(shape)
        flat = values.reshape(-1)
        while len(outside := np.flatnonzero((flat < low) | (flat > high))):
            flat[outside] = rng.standard_normal(len(outside))
    else:
        inverse = np.frompyfunc(NormalDist().inv_cdf, 1, 1)
        places = np.maximum(rng.uniform(cdf_low, cdf_high, shape), np.finfo(np.float64).tiny)
        values = np.asarray(inverse(places), np.float64)
    return np.clip(mean + std * sign * values, a, b).astype(dtype)


def constant(shape: Shape, val: float, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array full of `val`.

    >>> constant(2, 0.5)
    array([0.5, 0.5], dtype=float32)
    """
    return np.full(_as_shape(shape), val, dtype)


def zeros(shape: Shape, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Zeros.

    >>> zeros((1, 2))
    array([[0., 0.]], dtype=float32)
    """
    return np.zeros(_as_shape(shape), dtype)


def ones(shape: Shape, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Ones.

    >>> ones((1, 2))
    array([[1., 1.]], dtype=float32)
    """
    return np.ones(_as_shape(shape), dtype)


def eye(shape: Shape, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """The identity matrix, cut or padded with zeros to (out, in): as many inputs as possible pass unchanged.

    Raises:
        ShapeError: not two dimensions.

    >>> eye((2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    rows, columns = _matrix_shape("eye", shape)
    return np.eye(rows, columns, dtype=dtype)


def dirac(shape: Shape, groups: int = 1, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """A convolution weight (out, in / groups, *kernel) that passes channels unchanged, as many as possible
    per group.

    Raises:
        ShapeError: not three, four or five dimensions.
        ArgumentError: `groups` does not divide the output channels.

    >>> dirac((2, 2, 3))[0]
    array([[0., 1., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    shape = _as_shape(shape)
    if len(shape) not in (3, 4, 5):
        raise ShapeError("dirac needs a convolution's weight", got=f"shape {shape}", expected="3, 4 or 5 dimensions")
    if groups < 1 or shape[0] % groups:
        raise ArgumentError("dirac: groups must divide the output channels", got=f"{groups} for shape {shape}")
    weight = np.zeros(shape, dtype)
    per_group = shape[0] // groups
    centre = [size // 2 for size in shape[2:]]
    for channel in range(min(per_group, shape[1])):
        one: tuple[slice | int, ...] = (slice(channel, None, per_group), channel, *centre)
        weight[one] = 1
    return weight


# Variance kept through layers
# ----------------------------------------------------------------------------------------


def xavier_uniform(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Uniform on ±gain · √(6 / (fan_in + fan_out)): the variance survives forwards and backwards as well as
    both can.

    Args:
        shape: (out, in, *kernel).
        gain: see `calculate_gain`.

    Raises:
        ShapeError: fewer than two dimensions.

    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks"
    (AISTATS 2010), equation 16.

    >>> w = xavier_uniform((4, 8), rng=0)
    >>> bool(abs(w).max() <= np.sqrt(6 / 12))
    True
    """
    bound = math.sqrt(3.0) * _xavier_std(shape, gain)
    return uniform(shape, -bound, bound, rng=rng, dtype=dtype)


def xavier_normal(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Normal with standard deviation gain · √(2 / (fan_in + fan_out)).

    Args:
        shape: (out, in, *kernel).
        gain: see `calculate_gain`.

    Raises:
        ShapeError: fewer than two dimensions.

    Source: as `xavier_uniform`.

    >>> xavier_normal((4, 8), rng=0).shape
    (4, 8)
    """
    return normal(shape, 0.0, _xavier_std(shape, gain), rng=rng, dtype=dtype)


def kaiming_uniform(
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Uniform on ±gain · √(3 / fan): the variance survives through layers with this nonlinearity.

    Args:
        shape: (out, in, *kernel).
        a: the negative slope, for ``"leaky_relu"``.
        mode: ``"fan_in"`` keeps the variance of the signal, ``"fan_out"`` that of the gradient.
        nonlinearity: see `calculate_gain`.

    Raises:
        ShapeError: fewer than two dimensions.
        ArgumentError: an unknown mode or nonlinearity.

    Source: K. He et al., "Delving deep into rectifiers" (ICCV 2015), equations 10 and 14.

    >>> w = kaiming_uniform((4, 8), nonlinearity="relu", rng=0)
    >>> bool(abs(w).max() <= np.sqrt(6 / 8))
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return uniform(shape, -bound, bound, rng=rng, dtype=dtype)


def kaiming_normal(
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Normal with standard deviation gain / √fan; arguments, errors and source as `kaiming_uniform`.

    >>> kaiming_normal((4, 8), nonlinearity="relu", rng=0).shape
    (4, 8)
    """
    return normal(shape, 0.0, _kaiming_std(shape, a, mode, nonlinearity), rng=rng, dtype=dtype)


def orthogonal(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: DTypeLike = np.float32) -> np.ndarray:
    """A random matrix Q with orthonormal rows or columns, whichever are fewer, times `gain`.

    Uniform over all such matrices. Dimensions after the first are taken together: (out, in · prod(kernel)).

    Raises:
        ShapeError: fewer than two dimensions.

    Source: A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks" (ICLR 2014); signs: F. Mezzadri, "How to generate random matrices from the
    classical compact groups" (2007).

    >>> q = orthogonal((3, 5), rng=0, dtype=np.float64)
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    shape = _as_shape(shape)
    if len(shape) < 2:
        raise ShapeError("orthogonal needs at least two dimensions", got=f"shape {shape}")
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # without this Q follows the signs that the QR routine prefers
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype, order="C")


def sparse(
    shape: Shape, sparsity: float, std: float = 0.01, *, rng: Rng = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """A normal matrix of mean 0 in which ⌈sparsity · rows⌉ random values of every column are zero.

    Raises:
        ShapeError: not two dimensions.
        ArgumentError: `sparsity` outside [0, 1], a negative standard deviation.

    Source: J. Martens, "Deep learning via Hessian-free optimization" (ICML 2010), section 5.

    >>> (sparse((10, 3), sparsity=0.75, rng=0) == 0).sum(axis=0)
    array([8, 8, 8])
    """
    rows, columns = _matrix_shape("sparse", shape)
    _check_std("sparse", std)
    if not 0 <= sparsity <= 1:
        raise ArgumentError("sparse: impossible sparsity", got=sparsity, expected="0 ≤ sparsity ≤ 1")
    rng = generator(rng)
    values = rng.normal(0.0, std, (rows, columns))
    order = rng.permuted(np.tile(np.arange(rows)[:, None], columns), axis=0)
    values[order < math.ceil(sparsity * rows)] = 0.0
    return values.astype(dtype)


# The same, in place
# --------------------------------------------------------------------------------------------------


def _in_place(make: Callable[Concatenate[Shape, P], np.ndarray]) -> Callable[Concatenate[Target, P], Target]:
    """The initialiser that fills a tensor or an array with what `make` returns for its shape and dtype."""

    @functools.wraps(make)
    def fill(tensor: Any, *args: P.args, **options: P.kwargs) -> Any:
        if not isinstance(tensor, Tensor | np.ndarray):
            raise UnsupportedError(
                f"{fill.__name__} fills a tensor or an array",
                got=describe(tensor),
                todo=f"use {make.__name__}(shape) for a new array",
            )
        array = tensor.data if isinstance(tensor, Tensor) else tensor
        if not np.issubdtype(array.dtype, np.floating):
            raise DtypeError(f"{fill.__name__} fills floating-point values", got=describe(array))
        array[...] = make(array.shape, *args, **options, dtype=array.dtype)  # type: ignore[arg-type]
        if isinstance(tensor, Tensor):
            tensor.mark_written(fill.__name__)
        return tensor

    signature = inspect.signature(make)
    target = inspect.Parameter("tensor", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    others = [p for p in list(signature.parameters.values())[1:] if p.name != "dtype"]
    fill.__name__ = fill.__qualname__ = f"{make.__name__}_"
    fill.__signature__ = signature.replace(parameters=[target, *others])  # type: ignore[attr-defined]
    fill.__doc__ = f"Fills a tensor or an array in place with `{make.__name__}` of its shape and dtype, and returns it."
    return fill


uniform_ = _in_place(uniform)
normal_ = _in_place(normal)
trunc_normal_ = _in_place(trunc_normal)
constant_ = _in_place(constant)
zeros_ = _in_place(zeros)
ones_ = _in_place(ones)
eye_ = _in_place(eye)
dirac_ = _in_place(dirac)
xavier_uniform_ = _in_place(xavier_uniform)
xavier_normal_ = _in_place(xavier_normal)
kaiming_uniform_ = _in_place(kaiming_uniform)
kaiming_normal_ = _in_place(kaiming_normal)
orthogonal_ = _in_place(orthogonal)
sparse_ = _in_place(sparse)


def _as_shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int | np.integer) else tuple(shape)


def _matrix_shape(owner: str, shape: Shape) -> tuple[int, int]:
    sizes = _as_shape(shape)
    if len(sizes) != 2:
        raise ShapeError(f"{owner} needs a matrix", got=f"shape {sizes}", expected="two dimensions")
    return sizes[0], sizes[1]


def _check_std(owner: str, std: float) -> None:
    if not std >= 0:
        raise ArgumentError(f"{owner}: impossible std", got=std, expected="a number ≥ 0")


def _xavier_std(shape: Shape, gain: float) -> float:
    fan_in, fan_out = calculate_fan_in_and_fan_out(_as_shape(shape))
    return gain * math.sqrt(2.0 / max(fan_in + fan_out, 1))


def _kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError("kaiming: unknown mode", got=repr(mode), expected="'fan_in' or 'fan_out'")
    fan_in, fan_out = calculate_fan_in_and_fan_out(_as_shape(shape))
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))  # an empty weight has no fan, and needs none
