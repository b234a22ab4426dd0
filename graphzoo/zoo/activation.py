r"""Activations: the nonlinearities between linear maps.

All are entry by entry but the softmaxes, and none overflows or loses its digits for large arguments of either sign.
Rules that choose between branches multiply by masks, which are exact and many times faster than `np.where`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ..errors import ArgumentError
from ..kernels.pointwise import normal_share, normal_share_gradient, rectified, rectified_gradient
from ..kernels.select import SMALLEST
from ..kernels.softmax import softmax_rows, softmax_rows_gradient
from ..module import OUTPUT, Formulas, Module, lift, unary
from ..tape import Node
from ..tensor import Tensor, number
from .elementwise import Tanh, erf, tanh

__all__ = [
    "ELU", "GELU", "SELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
    "elu", "gelu", "leaky_relu", "log_softmax", "relu", "selu", "sigmoid", "silu", "softmax", "softplus", "tanh",
]  # fmt: skip

DOCUMENT = "zoo of deep learning modules, Activation"
AnyModule = TypeVar("AnyModule", bound=Module)


class _Activation(Module):
    """A module of one input, recorded the short way."""

    def __call__(self, x: Any) -> Tensor:
        return unary(self, x if isinstance(x, Tensor) else lift(x, self))


class ReLU(_Activation):
    """y = max(x, 0), with gradient 0 at 0.

    Shapes: x and y alike, of any shape.

    >>> import graphzoo as gz
    >>> gz.relu(gz.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """

    formulas = Formulas(
        forward=r"y = \max(0, x)",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot [x > 0]",
        source=f"{DOCUMENT}, Relu; X. Glorot, A. Bordes, Y. Bengio, Deep sparse rectifier neural networks (2011)",
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.maximum(x, number(0, x.dtype)) if x.size < SMALLEST else rectified(x)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved
        return dy * (y > number(0, y.dtype)) if y.size < SMALLEST else rectified_gradient(dy, y)

    def expand(self, node: Node, x: Any) -> Any:
        return np.where(x > 0, x, 0)


class LeakyReLU(_Activation):
    """y = x where x is positive, a small multiple of x elsewhere; the gradient at 0 is that of the negative side.

    Shapes: x and y alike, of any shape.

    Args:
        negative_slope: the multiple, 0.01 by default; any number.

    >>> import graphzoo as gz
    >>> gz.leaky_relu(gz.tensor([-1.0, 0.0, 2.0]), 0.1)
    tensor([-0.1,  0. ,  2. ])
    """

    formulas = Formulas(
        forward=r"y = \begin{cases} x & x > 0 \\ a x & x \le 0 \end{cases}",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot "
        r"\begin{cases} 1 & x > 0 \\ a & x \le 0 \end{cases}",
        source=f"{DOCUMENT}, Leaky Relu; A. L. Maas, A. Y. Hannun, A. Y. Ng, Rectifier nonlinearities improve neural "
        "network acoustic models (2013)",
    )
    saves = (0,)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        upper = np.maximum if self.negative_slope <= 1 else np.minimum
        return upper(x, x * self.negative_slope)

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        return dy * ((x > 0) + (x <= 0) * x.dtype.type(self.negative_slope))

    def expand(self, node: Node, x: Any) -> Any:
        return np.where(x > 0, x, x * self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(_Activation):
    """y = x where x is positive, α (eˣ - 1) elsewhere; the gradient at 0 is α.

    Shapes: x and y alike, of any shape.

    Args:
        alpha: α ≥ 0, the value that -y approaches for very negative x.

    Raises:
        ArgumentError: a negative alpha.

    >>> import graphzoo as gz
    >>> gz.elu(gz.tensor([-1e4, 0.0, 2.0]))
    tensor([-1.,  0.,  2.])
    """

    formulas = Formulas(
        forward=r"y = \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot "
        r"\begin{cases} 1 & x > 0 \\ y + \alpha & x \le 0 \end{cases}",
        source=f"{DOCUMENT}, Elu; D.-A. Clevert, T. Unterthiner, S. Hochreiter, Fast and accurate deep network "
        "learning by exponential linear units (2016)",
    )
    saves = (OUTPUT,)

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha >= 0:
            raise ArgumentError("ELU: alpha must not be negative", got=alpha, expected="a number of at least 0")
        self.alpha = alpha

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0))
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved  # its sign is that of x
        return dy * ((y > 0) + (y <= 0) * (y + self.alpha))

    def expand(self, node: Node, x: Any) -> Any:
        return np.where(x > 0, x, self.alpha * np.expm1(np.where(x > 0, 0, x)))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class SELU(_Activation):
    """y = λx where x is positive, λα (eˣ - 1) elsewhere; the gradient at 0 is λα.

    λ = 1.0507009873554805 and α = 1.6732632423543772 make mean 0 and variance 1 a fixed point of deep networks.

    Shapes: x and y alike, of any shape.

    >>> import graphzoo as gz
    >>> gz.selu(gz.tensor([-1e4, 0.0, 1.0]))
    tensor([-1.7580993,  0.       ,  1.050701 ])
    """

    formulas = Formulas(
        forward=r"y = \lambda \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot "
        r"\begin{cases} \lambda & x > 0 \\ y + \lambda \alpha & x \le 0 \end{cases}",
        source=f"{DOCUMENT}, Selu, which leaves the constants out; G. Klambauer et al., Self-normalizing neural "
        "networks (2017)",
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = SELU_SCALE * np.maximum(x, 0) + SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0))
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved  # its sign is that of x
        return dy * ((y > 0) * y.dtype.type(SELU_SCALE) + (y <= 0) * (y + SELU_SCALE * SELU_ALPHA))

    def expand(self, node: Node, x: Any) -> Any:
        return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.where(x > 0, 0, x)))


class GELU(_Activation):
    """y = x Φ(x), where Φ is the distribution function of the standard normal distribution.

    Shapes: x and y alike, of any shape.

    Args:
        approximate: ``"none"`` for Φ by the error function, ``"tanh"`` for the approximation by tanh.

    Raises:
        ArgumentError: another approximation.

    >>> import graphzoo as gz
    >>> gz.gelu(gz.tensor([-1.0, 0.0, 1.0])).numpy().round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    >>> gz.gelu(gz.tensor([-1.0, 0.0, 1.0]), "tanh")
    tensor([-0.158808,  0.      ,  0.841192])
    """

    formulas = Formulas(
        forward=r"y = x \, \Phi(x), \quad \Phi(x) = \tfrac{1}{2} \left(1 + \mathrm{erf}(x / \sqrt{2})\right) "
        r"\approx \tfrac{1}{2} \left(1 + \tanh\left(\sqrt{2 / \pi} \, (x + 0.044715 \, x^3)\right)\right)",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot "
        r"\left(\Phi(x) + x \, \Phi'(x)\right), \quad \Phi'(x) = \frac{1}{\sqrt{2 \pi}} e^{-x^2 / 2}",
        source="D. Hendrycks, K. Gimpel, Gaussian error linear units (2016); the zoo document only names it",
    )

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError(
                "GELU does not know this approximation", got=repr(approximate), expected="'none' or 'tanh'"
            )
        self.approximate = approximate

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        if self.approximate == "none":
            share, y = normal_share(x)
        else:
            share = (np.tanh(_gelu_argument(x)) + 1) * 0.5
            y = x * share
        node.saved = (x, share)
        return y

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        x, share = node.saved
        if self.approximate == "none":
            return normal_share_gradient(dy, x, share)
        # Φ' of the approximation; with t = tanh, (1 - t²) / 2 is 2 Φ (1 - Φ).
        density = (share - share * share) * (x * x * (6 * _CUBIC) + 2) * _ROOT_TWO_OVER_PI
        return dy * (share + x * density)

    def expand(self, node: Node, x: Any) -> Any:
        if self.approximate == "none":
            return x * ((erf(x * math.sqrt(0.5)) + 1) * 0.5)
        return x * ((np.tanh(_gelu_argument(x)) + 1) * 0.5)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


_ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _gelu_argument(x: Any) -> Any:
    return (x + x * x * x * _CUBIC) * _ROOT_TWO_OVER_PI


class Sigmoid(_Activation):
    """y = 1 / (1 + e⁻ˣ), the logistic function.

    Shapes: x and y alike, of any shape.

    >>> import graphzoo as gz
    >>> gz.sigmoid(gz.tensor([-1e4, 0.0, 1.0, 1e4]))
    tensor([0.       , 0.5      , 0.7310586, 1.       ])
    """

    formulas = Formulas(
        forward=r"y = \frac{1}{1 + e^{-x}}",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot y \odot (1 - y)",
        source=f"{DOCUMENT}, Sigmoid",
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = sigmoid_values(x)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved
        return dy * (y - y * y)

    def expand(self, node: Node, x: Any) -> Any:
        return np.exp(-np.logaddexp(-x, 0))


def sigmoid_values(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ˣ) of an array."""
    # Where e⁻ˣ overflows to infinity its reciprocal is 0, as it should be. The forms without overflow take twice the
    # time, or lose the digits of small values.
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _sigmoid_of(x: Any) -> Any:
    """The logistic function in a rule that works on arrays and on tensors."""
    return sigmoid(x) if isinstance(x, Tensor) else sigmoid_values(x)


class SiLU(_Activation):
    """y = x σ(x), where σ is the logistic function; also known as swish.

    Shapes: x and y alike, of any shape.

    >>> import graphzoo as gz
    >>> gz.silu(gz.tensor([-1.0, 0.0, 1e4]))
    tensor([-2.689414e-01,  0.000000e+00,  1.000000e+04])
    """

    formulas = Formulas(
        forward=r"y = x \, \sigma(x)",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot "
        r"\sigma(x) \odot \left(1 + x \odot (1 - \sigma(x))\right)",
        source="D. Hendrycks, K. Gimpel, Gaussian error linear units (2016)",
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return x * sigmoid_values(x)

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        share = _sigmoid_of(x)
        return dy * (share + x * (share - share * share))

    def expand(self, node: Node, x: Any) -> Any:
        return x * sigmoid(x)


class Softplus(_Activation):
    """y = log(1 + e^(βx)) / β: a smooth ReLU, exact for all x (no linear stretch begins at a threshold).

    Shapes: x and y alike, of any shape.

    Args:
        beta: β > 0; the larger, the closer to ReLU.

    Raises:
        ArgumentError: a beta that is not positive.

    >>> import graphzoo as gz
    >>> gz.softplus(gz.tensor([-1e4, 0.0, 1e4]))
    tensor([0.000000e+00, 6.931472e-01, 1.000000e+04])
    """

    formulas = Formulas(
        forward=r"y = \frac{1}{\beta} \log(1 + e^{\beta x})",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot \frac{1}{1 + e^{-\beta x}}",
        source=f"{DOCUMENT}, Softplus (β = 1)",
    )
    saves = (0,)

    def __init__(self, beta: float = 1.0) -> None:
        if not beta > 0:
            raise ArgumentError("Softplus: beta must be positive", got=beta, expected="a number above 0")
        self.beta = beta

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return softplus_values(x) if self.beta == 1 else softplus_values(x * self.beta) / self.beta

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        return dy * _sigmoid_of(x if self.beta == 1 else x * self.beta)

    def expand(self, node: Node, x: Any) -> Any:
        return np.logaddexp(x * self.beta, 0) / self.beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


def softplus_values(x: np.ndarray) -> np.ndarray:
    """log(1 + eˣ) of an array: what np.logaddexp(x, 0) gives, in a fraction of its time."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


class Softmax(_Activation):
    """y = eˣ / Σ eˣ along an axis: positive numbers that add up to 1.

    Shapes: x and y alike, with at least one axis. An entry of -inf gets 0, and no gradient.

    Args:
        axis: the axis that is summed over (torch's ``dim``), the last one by default; or a tuple of axes.

    Raises:
        ShapeError: an axis that x does not have, or that is empty.

    >>> import graphzoo as gz
    >>> gz.softmax(gz.tensor([[0.0, 0.0], [-1e4, 1e4]]))
    tensor([[0.5, 0.5],
            [0. , 1. ]])
    """

    formulas = Formulas(
        forward=r"y_i = \frac{e^{x_i}}{\sum_k e^{x_k}}",
        backward=r"\frac{\partial L}{\partial x_i} = y_i \left(\frac{\partial L}{\partial y_i} - "
        r"\sum_k \frac{\partial L}{\partial y_k} y_k\right)",
        source=f"{DOCUMENT}, Softmax",
    )
    saves = (OUTPUT,)

    def __init__(self, axis: int | tuple[int, ...] = -1) -> None:
        self.axis = axis

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        if self._by_rows(x):
            y = softmax_rows(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        else:
            y = np.exp(x - x.max(axis=self.axis, keepdims=True))
            y /= _sums(y, self.axis)
        node.saved = (y,)
        return y

    def _by_rows(self, x: Any) -> bool:
        """Whether the sums run along the last axis of an array that has numbers."""
        return x.__class__ is np.ndarray and x.size > 0 and x.dtype.kind == "f" and self.axis in (-1, x.ndim - 1)

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved
        if self._by_rows(y) and self._by_rows(dy):
            length = y.shape[-1]
            return softmax_rows_gradient(dy.reshape(-1, length), y.reshape(-1, length)).reshape(y.shape)
        shares = dy * y
        return shares - y * _sums(shares, self.axis)

    def expand(self, node: Node, x: Any) -> Any:
        y = np.exp(x - x.detach().max(axis=self.axis, keepdims=True))
        return y / y.sum(axis=self.axis, keepdims=True)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(_Activation):
    """y = x - log Σ eˣ along an axis: the logarithm of `Softmax`, without the loss of digits that taking it would mean.

    Shapes: x and y alike, with at least one axis.

    Args:
        axis: the axis that is summed over (torch's ``dim``), the last one by default; or a tuple of axes.

    Raises:
        ShapeError: an axis that x does not have, or that is empty.

    >>> import graphzoo as gz
    >>> gz.log_softmax(gz.tensor([[0.0, 0.0], [-1e4, 1e4]]))
    tensor([[-6.931472e-01, -6.931472e-01],
            [-2.000000e+04,  0.000000e+00]])
    """

    formulas = Formulas(
        forward=r"y_i = x_i - \log \sum_k e^{x_k}",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y_i} - "
        r"e^{y_i} \sum_k \frac{\partial L}{\partial y_k}",
        source="PyTorch, torch.nn.LogSoftmax",
    )
    saves = (OUTPUT,)

    def __init__(self, axis: int | tuple[int, ...] = -1) -> None:
        self.axis = axis

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = log_softmax_values(x, self.axis)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        return dy - np.exp(node.saved[0]) * _sums(dy, self.axis)

    def expand(self, node: Node, x: Any) -> Any:
        shifted = x - x.detach().max(axis=self.axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=self.axis, keepdims=True))

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


def log_softmax_values(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """x - log Σ eˣ of an array, as a new array in C order."""
    shifted = np.subtract(x, x.max(axis=axis, keepdims=True), order="C")
    logs = np.log(_sums(np.exp(shifted), axis))
    return np.subtract(shifted, logs, out=shifted if shifted.dtype == logs.dtype else None)


def _sums(x: Any, axis: int | tuple[int, ...]) -> Any:
    """Sums of an array or tensor along an axis, which stays with length 1."""
    if axis in (-1, x.ndim - 1) and not isinstance(x, Tensor):
        # BLAS adds up short rows many times faster than sum() does.
        return x.dot(np.ones(x.shape[-1], x.dtype)).reshape((*x.shape[:-1], 1))
    return x.sum(axis=axis, keepdims=True)


# As functions --------------------------------------------------------------------------------------------------------

_RELU, _SELU, _SIGMOID, _SILU = ReLU(), SELU(), Sigmoid(), SiLU()


@lru_cache(256)
def configured(kind: type[AnyModule], *options: Any) -> AnyModule:
    """One module for each configuration, so that calling a function does not mean making a module."""
    return kind(*options)


def relu(x: Any, /) -> Tensor:
    """max(x, 0); see `ReLU`."""
    return _RELU(x)


def leaky_relu(x: Any, /, negative_slope: float = 0.01) -> Tensor:
    """x where positive, a small multiple of x elsewhere; see `LeakyReLU`."""
    return configured(LeakyReLU, negative_slope)(x)


def elu(x: Any, /, alpha: float = 1.0) -> Tensor:
    """x where positive, α (eˣ - 1) elsewhere; see `ELU`."""
    return configured(ELU, alpha)(x)


def selu(x: Any, /) -> Tensor:
    """The scaled exponential linear unit; see `SELU`."""
    return _SELU(x)


def gelu(x: Any, /, approximate: str = "none") -> Tensor:
    """x Φ(x); see `GELU`."""
    return configured(GELU, approximate)(x)


def sigmoid(x: Any, /) -> Tensor:
    """The logistic function; see `Sigmoid`."""
    return _SIGMOID(x)


def silu(x: Any, /) -> Tensor:
    """x σ(x); see `SiLU`."""
    return _SILU(x)


def softplus(x: Any, /, beta: float = 1.0) -> Tensor:
    """log(1 + e^(βx)) / β; see `Softplus`."""
    return configured(Softplus, beta)(x)


def softmax(x: Any, /, axis: int | tuple[int, ...] = -1) -> Tensor:
    """eˣ / Σ eˣ along an axis; see `Softmax`."""
    return configured(Softmax, axis)(x)


def log_softmax(x: Any, /, axis: int | tuple[int, ...] = -1) -> Tensor:
    """The logarithm of the softmax along an axis; see `LogSoftmax`."""
    return configured(LogSoftmax, axis)(x)
