r"""Element-wise modules: every entry of the output depends on one entry of each input.

Two inputs broadcast as in NumPy; the engine sums a gradient back over the axes along which its input was stretched.
The rules are written in operations that arrays and tensors have in common, so that they can be differentiated again.
They avoid Python numbers as operands: on small arrays a number costs as much as the operation itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, describe
from ..kernels.erf import erf_values as erf_values
from ..kernels.pointwise import hyperbolic_tangents, tanh_gradient
from ..kernels.select import SMALLEST
from ..module import OUTPUT, Formulas, Module, binary, lift, unary
from ..tape import Node
from ..tensor import Tensor, constant

__all__ = [
    "Abs", "Add", "Cast", "Clip", "Cos", "Divide", "Erf", "Exp", "Expm1", "Identity", "Log", "Log1p", "LogAddExp",
    "Maximum", "Minimum", "Multiply", "Negate", "Power", "Sin", "Sqrt", "Subtract", "Tanh",
    "abs", "add", "cast", "clip", "cos", "divide", "erf", "exp", "expm1", "log", "log1p", "logaddexp",
    "maximum", "minimum", "multiply", "negate", "power", "sin", "sqrt", "square", "subtract", "tanh",
]  # fmt: skip

DOCUMENT = "zoo of deep learning modules, Element-wise"


# Two inputs ----------------------------------------------------------------------------------------------------------


class Add(Module):
    """y = a + b. Shapes broadcast, dtypes promote as in NumPy; either input may be a Python number.

    >>> import graphzoo as gz
    >>> gz.tensor([1.0, 2.0]) + 3
    tensor([4., 5.])
    """

    formulas = Formulas(
        forward=r"y = a + b",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial b} = \frac{\partial L}{\partial y}",
        source=f"{DOCUMENT}, Add",
    )
    broadcasts = True
    saves = ()

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def backward(self, node: Node, dy: Any) -> Any:
        return dy, dy


class Subtract(Module):
    """y = a - b. Shapes broadcast, dtypes promote as in NumPy; either input may be a Python number.

    >>> import graphzoo as gz
    >>> 1 - gz.tensor([1.0, 2.0])
    tensor([ 0., -1.])
    """

    formulas = Formulas(
        forward=r"y = a - b",
        backward=r"\frac{\partial L}{\partial a} = -\frac{\partial L}{\partial b} = \frac{\partial L}{\partial y}",
    )
    broadcasts = True
    saves = ()

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a - b

    def backward(self, node: Node, dy: Any) -> Any:
        return dy, -dy if node.needs[1] else None


class Multiply(Module):
    """y = a ⊙ b. Shapes broadcast, dtypes promote as in NumPy; either input may be a Python number.

    >>> import graphzoo as gz
    >>> gz.tensor([[1.0], [2.0]]) * gz.tensor([3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]])
    """

    formulas = Formulas(
        forward=r"y = a \odot b",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} \odot b, \quad "
        r"\frac{\partial L}{\partial b} = \frac{\partial L}{\partial y} \odot a",
        source=f"{DOCUMENT}, Multiply",
    )
    broadcasts = True
    saves = (0, 1)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        need_a, need_b = node.needs
        node.saved = (a if need_b else None, b if need_a else None)
        return a * b

    def backward(self, node: Node, dy: Any) -> Any:
        a, b = node.saved
        return None if b is None else dy * b, None if a is None else dy * a


class Divide(Module):
    """y = a / b. Shapes broadcast, dtypes promote as in NumPy; either input may be a Python number.

    >>> import graphzoo as gz
    >>> 6 / gz.tensor([2.0, 4.0])
    tensor([3. , 1.5])
    """

    formulas = Formulas(
        forward=r"y = a / b",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} / b, \quad "
        r"\frac{\partial L}{\partial b} = -\frac{\partial L}{\partial y} \odot y / b",
    )
    broadcasts = True
    saves = (1, OUTPUT)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = a / b
        node.saved = (b, y if node.needs[1] else None)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        b, y = node.saved
        da = dy / b
        return da, None if y is None else -(da * y)


class Power(Module):
    """y = a^b, for a number or a tensor b. Shapes broadcast, dtypes promote as in NumPy.

    0^0 is 1 with zero gradient. Where a = 0 and b ≥ 0 the gradient for b is 0 (the limit for b > 0); where a < 0 it is
    NaN, as log a is.

    >>> import graphzoo as gz
    >>> gz.tensor([1.0, 2.0, 3.0]) ** 2
    tensor([1., 4., 9.])
    """

    formulas = Formulas(
        forward=r"y = a^b",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} \odot b\, a^{b-1}, \quad "
        r"\frac{\partial L}{\partial b} = \frac{\partial L}{\partial y} \odot y \log a",
    )
    broadcasts = True
    saves = (0, 1, OUTPUT)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # NumPy has short cuts for squares and roots, but only for Python numbers as exponents.
        y = a ** b.item() if b.ndim == 0 and b.dtype == a.dtype else a**b
        node.saved = (a, b, y if node.needs[1] else None)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        a, b, y = node.saved
        need_a, need_b = node.needs
        return self._base(dy, a, b, need_b) if need_a else None, self._exponent(dy, a, b, y) if need_b else None

    @staticmethod
    def _base(dy: Any, a: Any, b: Any, b_varies: bool) -> Any:
        if b.ndim == 0 and not b_varies:
            p = b.item()
            if p == 0:
                return np.zeros_like(dy)
            return dy * (a + a) if p == 2 else dy * (p * a ** (p - 1))
        origin = (a == 0) & (b == 0)
        if not origin.any():
            return dy * (b * a ** (b - 1))
        b = np.where(origin, 1, b)
        return np.where(origin, 0, dy * (b * a ** (b - 1)))

    @staticmethod
    def _exponent(dy: Any, a: Any, b: Any, y: Any) -> Any:
        flat = (a == 0) & (b >= 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(flat, 0, dy * (y * np.log(np.where(flat, 1, a))))


class Maximum(Module):
    """y = max(a, b), the larger of two entries. Where they tie, each gets half of the gradient; NaN is passed on.

    >>> import graphzoo as gz
    >>> a = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> gz.maximum(a, 1).sum().backward()
    >>> a.grad
    array([0.5, 1. ], dtype=float32)
    """

    formulas = Formulas(
        forward=r"y = \max(a, b)",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} \odot "
        r"([a > b] + \tfrac{1}{2} [a = b])",
    )
    broadcasts = True
    saves = (0, 1)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        node.saved = (a, b)
        return np.maximum(a, b)

    def backward(self, node: Node, dy: Any) -> Any:
        a, b = node.saved
        return self._shares(node, dy, a == b, a < b, a > b)

    @staticmethod
    def _shares(node: Node, dy: Any, tie: Any, a_loses: Any, b_loses: Any) -> Any:
        if tie.any():
            dy = np.where(tie, dy * 0.5, dy)
        need_a, need_b = node.needs
        return np.where(a_loses, 0, dy) if need_a else None, np.where(b_loses, 0, dy) if need_b else None


class Minimum(Maximum):
    """y = min(a, b), the smaller of two entries. Where they tie, each gets half of the gradient; NaN is passed on.

    >>> import graphzoo as gz
    >>> gz.minimum(gz.tensor([1.0, 5.0]), gz.tensor([3.0, 4.0]))
    tensor([1., 4.])
    """

    formulas = Formulas(
        forward=r"y = \min(a, b)",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} \odot "
        r"([a < b] + \tfrac{1}{2} [a = b])",
    )

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        node.saved = (a, b)
        return np.minimum(a, b)

    def backward(self, node: Node, dy: Any) -> Any:
        a, b = node.saved
        return self._shares(node, dy, a == b, a > b, a < b)


class LogAddExp(Module):
    """y = log(e^a + e^b) without overflow; -inf stands for a probability of zero and gets zero gradient.

    >>> import graphzoo as gz
    >>> gz.logaddexp(gz.tensor([0.0, 1e4]), 0)
    tensor([6.931472e-01, 1.000000e+04])
    """

    formulas = Formulas(
        forward=r"y = \log(e^a + e^b)",
        backward=r"\frac{\partial L}{\partial a} = \frac{\partial L}{\partial y} \odot e^{a - y}",
    )
    broadcasts = True
    saves = (0, 1, OUTPUT)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = np.logaddexp(a, b)
        node.saved = (a, b, y)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        a, b, y = node.saved
        y = without_log_of_zero(y)
        return dy * np.exp(a - y), dy * np.exp(b - y)


def without_log_of_zero(y: Any) -> Any:
    """y with 0 in place of -inf, so that e^(x - y) is 0 and not NaN where all x are -inf."""
    nothing = y == -np.inf
    return np.where(nothing, 0, y) if nothing.any() else y


# One input -----------------------------------------------------------------------------------------------------------


class Identity(Module):
    """y = x: a node that passes through.

    >>> import graphzoo as gz
    >>> gz.Identity()(gz.tensor([1.0]))
    tensor([1.])
    """

    formulas = Formulas(forward=r"y = x", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}")
    saves = ()

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x

    def backward(self, node: Node, dy: Any) -> Any:
        return dy


class Negate(Module):
    """y = -x.

    >>> import graphzoo as gz
    >>> -gz.tensor([1.0, -2.0])
    tensor([-1.,  2.])
    """

    formulas = Formulas(forward=r"y = -x", backward=r"\frac{\partial L}{\partial x} = -\frac{\partial L}{\partial y}")
    saves = ()

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return -x

    def backward(self, node: Node, dy: Any) -> Any:
        return -dy


class Exp(Module):
    """y = e^x.

    >>> import graphzoo as gz
    >>> gz.exp(gz.tensor([0.0, 1.0]))
    tensor([1. ..., 2.7182...])
    """

    formulas = Formulas(
        forward=r"y = e^x", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot y"
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.exp(x)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * node.saved[0]


class Expm1(Module):
    """y = e^x - 1, exact to the last digits near 0.

    >>> import graphzoo as gz
    >>> gz.expm1(gz.tensor([1e-9]))
    tensor([1.e-09])
    """

    formulas = Formulas(
        forward=r"y = e^x - 1", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot e^x"
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.expm1(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * np.exp(node.saved[0])


class Log(Module):
    """y = log x, the natural logarithm: -inf at 0 and NaN below, with NumPy's warning.

    >>> import graphzoo as gz
    >>> gz.log(gz.tensor([1.0, 10.0]))
    tensor([0.       , 2.3025851])
    """

    formulas = Formulas(
        forward=r"y = \log x", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} / x"
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.log(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy / node.saved[0]


class Log1p(Module):
    """y = log(1 + x), exact to the last digits near 0.

    >>> import graphzoo as gz
    >>> gz.log1p(gz.tensor([1e-9]))
    tensor([1.e-09])
    """

    formulas = Formulas(
        forward=r"y = \log(1 + x)",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} / (1 + x)",
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.log1p(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy / (1 + node.saved[0])


class Sqrt(Module):
    """y = √x. The gradient at 0 is infinite.

    >>> import graphzoo as gz
    >>> gz.sqrt(gz.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """

    formulas = Formulas(
        forward=r"y = \sqrt{x}", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} / (2 y)"
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.sqrt(x)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved
        return dy / (y + y)


class Abs(Module):
    """y = |x|, with gradient 0 at 0.

    >>> import graphzoo as gz
    >>> abs(gz.tensor([-1.0, 2.0]))
    tensor([1., 2.])
    """

    formulas = Formulas(
        forward=r"y = |x|",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot \operatorname{sign} x",
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.abs(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * np.sign(node.saved[0])


class Sin(Module):
    """y = sin x, in radians.

    >>> import graphzoo as gz
    >>> gz.sin(gz.tensor([0.0, 1.0]))
    tensor([0.       , 0.8414...])
    """

    formulas = Formulas(
        forward=r"y = \sin x", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot \cos x"
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.sin(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * np.cos(node.saved[0])


class Cos(Module):
    """y = cos x, in radians.

    >>> import graphzoo as gz
    >>> gz.cos(gz.tensor([0.0, 1.0]))
    tensor([1.       , 0.5403...])
    """

    formulas = Formulas(
        forward=r"y = \cos x", backward=r"\frac{\partial L}{\partial x} = -\frac{\partial L}{\partial y} \odot \sin x"
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.cos(x)

    def backward(self, node: Node, dy: Any) -> Any:
        return -(dy * np.sin(node.saved[0]))


class Tanh(Module):
    """y = tanh x.

    >>> import graphzoo as gz
    >>> gz.Tanh()(gz.tensor([0.0, 1.0, 1e4]))
    tensor([0.       , 0.7615942, 1.       ])
    """

    formulas = Formulas(
        forward=r"y = \tanh x",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot (1 - y^2)",
        source="zoo of deep learning modules, Activation, Tanh",
    )
    saves = (OUTPUT,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        large = x.size >= SMALLEST and x.dtype.kind == "f"
        y = hyperbolic_tangents(x) if large else np.tanh(x)
        node.saved = (y,)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        (y,) = node.saved
        return dy - dy * (y * y) if y.size < SMALLEST else tanh_gradient(dy, y)


class Erf(Module):
    """y = erf x, the error function: the share of a normal distribution N(0, ½) within ±x. Exact to float64 rounding.

    >>> import graphzoo as gz
    >>> gz.erf(gz.tensor([0.0, 1.0, 1e4]))
    tensor([0.       , 0.8427008, 1.       ])
    """

    formulas = Formulas(
        forward=r"y = \frac{2}{\sqrt{\pi}} \int_0^x e^{-t^2} \mathrm{d}t",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot \frac{2}{\sqrt{\pi}} e^{-x^2}",
        source="W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969)",
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return erf_values(x)

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        return dy * (np.exp(-(x * x)) * TWO_OVER_ROOT_PI)


TWO_OVER_ROOT_PI = 1.1283791670955126


class Clip(Module):
    """y = min(max(x, low), high), with gradient 1 from low to high, both included, and 0 outside.

    Args:
        min, max: the bounds, numbers or arrays that broadcast with x; None for none.

    Raises:
        ArgumentError: no bound at all.

    >>> import graphzoo as gz
    >>> gz.tensor([-3.0, 0.5, 3.0]).clip(-1, 1)
    tensor([-1. ,  0.5,  1. ])
    """

    formulas = Formulas(
        forward=r"y = \min(\max(x, l), h)",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot [l \le x \le h]",
    )
    broadcasts = True
    saves = (None,)

    def __init__(self, min: Any = None, max: Any = None) -> None:
        if min is None and max is None:
            raise ArgumentError("clip needs a bound", got="min=None, max=None", expected="at least one of the two")
        self.min = min
        self.max = max

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        if node.needs[0]:
            inside = np.True_ if self.min is None else x >= self.min
            node.saved = (inside if self.max is None else inside & (x <= self.max),)
        return np.clip(x, self.min, self.max)

    def backward(self, node: Node, dy: Any) -> Any:
        return np.where(node.saved[0], dy, 0)

    def extra_repr(self) -> str:
        return f"min={self.min}, max={self.max}"


class Cast(Module):
    """y = x in another dtype. A gradient comes back in x's own; none flows through integers and booleans.

    >>> import numpy as np, graphzoo as gz
    >>> gz.tensor([1.5, 2.5]).astype(np.float64)
    tensor([1.5, 2.5], dtype=float64)
    """

    formulas = Formulas(forward=r"y = x", backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}")
    saves = ()

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x.astype(self.dtype)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy  # the engine gives a gradient the dtype of its source

    def extra_repr(self) -> str:
        return str(self.dtype)


# As functions --------------------------------------------------------------------------------------------------------

ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER = Add(), Subtract(), Multiply(), Divide(), Power()
MAXIMUM, MINIMUM, LOGADDEXP = Maximum(), Minimum(), LogAddExp()
NEGATE, EXP, EXPM1, LOG, LOG1P, SQRT = Negate(), Exp(), Expm1(), Log(), Log1p(), Sqrt()
ABS, SIN, COS, TANH, ERF = Abs(), Sin(), Cos(), Tanh(), Erf()


def add(a: Any, b: Any, /) -> Tensor:
    """a + b; see `Add`."""
    return binary(ADD)(a, b)


def subtract(a: Any, b: Any, /) -> Tensor:
    """a - b; see `Subtract`."""
    return binary(SUBTRACT)(a, b)


def multiply(a: Any, b: Any, /) -> Tensor:
    """a ⊙ b; see `Multiply`."""
    return binary(MULTIPLY)(a, b)


def divide(a: Any, b: Any, /) -> Tensor:
    """a / b; see `Divide`."""
    return binary(DIVIDE)(a, b)


def power(a: Any, b: Any, /) -> Tensor:
    """a to the power of b; see `Power`."""
    return binary(POWER)(a, b)


def maximum(a: Any, b: Any, /) -> Tensor:
    """The larger of a and b, entry by entry; see `Maximum`."""
    return binary(MAXIMUM)(a, b)


def minimum(a: Any, b: Any, /) -> Tensor:
    """The smaller of a and b, entry by entry; see `Minimum`."""
    return binary(MINIMUM)(a, b)


def logaddexp(a: Any, b: Any, /) -> Tensor:
    """log(e^a + e^b) without overflow; see `LogAddExp`."""
    return binary(LOGADDEXP)(a, b)


def negate(x: Any, /) -> Tensor:
    """-x; see `Negate`."""
    return unary(NEGATE, x if isinstance(x, Tensor) else lift(x, NEGATE))


def exp(x: Any, /) -> Tensor:
    """e to the power of x; see `Exp`."""
    return unary(EXP, x if isinstance(x, Tensor) else lift(x, EXP))


def expm1(x: Any, /) -> Tensor:
    """e^x - 1, exact near 0; see `Expm1`."""
    return unary(EXPM1, x if isinstance(x, Tensor) else lift(x, EXPM1))


def log(x: Any, /) -> Tensor:
    """The natural logarithm; see `Log`."""
    return unary(LOG, x if isinstance(x, Tensor) else lift(x, LOG))


def log1p(x: Any, /) -> Tensor:
    """log(1 + x), exact near 0; see `Log1p`."""
    return unary(LOG1P, x if isinstance(x, Tensor) else lift(x, LOG1P))


def sqrt(x: Any, /) -> Tensor:
    """The square root; see `Sqrt`."""
    return unary(SQRT, x if isinstance(x, Tensor) else lift(x, SQRT))


def square(x: Any, /) -> Tensor:
    """x ⊙ x; see `Multiply`."""
    return binary(MULTIPLY)(x, x)


def abs(x: Any, /) -> Tensor:
    """|x|, with gradient 0 at 0; see `Abs`."""
    return unary(ABS, x if isinstance(x, Tensor) else lift(x, ABS))


def sin(x: Any, /) -> Tensor:
    """The sine; see `Sin`."""
    return unary(SIN, x if isinstance(x, Tensor) else lift(x, SIN))


def cos(x: Any, /) -> Tensor:
    """The cosine; see `Cos`."""
    return unary(COS, x if isinstance(x, Tensor) else lift(x, COS))


def tanh(x: Any, /) -> Tensor:
    """The hyperbolic tangent; see `Tanh`."""
    return unary(TANH, x if isinstance(x, Tensor) else lift(x, TANH))


def erf(x: Any, /) -> Tensor:
    """The error function; see `Erf`."""
    return unary(ERF, x if isinstance(x, Tensor) else lift(x, ERF))


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """x kept between two bounds; see `Clip`.

    Bounds that require a gradient get theirs: it is then `minimum(maximum(x, min), max)`, which shares at ties.
    """
    if any(isinstance(bound, Tensor) and bound.requires_grad for bound in (min, max)):
        x = x if min is None else maximum(x, min)
        return x if max is None else minimum(x, max)
    if isinstance(min, int | float | None) and isinstance(max, int | float | None):
        module = _clip(min, max)
    else:
        module = Clip(*(bound.numpy() if isinstance(bound, Tensor) else bound for bound in (min, max)))
    return unary(module, x if isinstance(x, Tensor) else lift(x, module))


@lru_cache(256, typed=True)  # 0 and 0.0 give different dtypes
def _clip(low: Any, high: Any) -> Clip:
    return Clip(low, high)


def cast(x: Any, /, dtype: Any) -> Tensor:
    """x in another dtype, or x itself if it has that already; see `Cast`.

    To integers or booleans it gives a constant, as rounding does.
    """
    module = _cast(dtype)
    tensor = x if isinstance(x, Tensor) else lift(x, module)
    if tensor.dtype == module.dtype:
        return tensor
    if module.dtype.kind not in "fcbiu":
        raise DtypeError("a tensor holds numbers", got=describe(dtype), expected="a dtype of numbers or booleans")
    if module.dtype.kind not in "fc":
        return constant(tensor.numpy().astype(module.dtype))
    return unary(module, tensor)


@lru_cache(64)
def _cast(dtype: Any) -> Cast:
    return Cast(dtype)
