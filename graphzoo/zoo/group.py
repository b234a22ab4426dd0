r"""Group modules: many entries in, one out, along one axis, several, or all; and Switch, which selects among entries.

`axis` is None for all axes, an integer, or a tuple of them, negative ones counting from the end. With `keepdims` the
reduced axes stay, with size 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..module import OUTPUT, Formulas, Module, lift, operand, record, unary
from ..tape import Node
from ..tensor import Tensor, constant
from .array import as_shape, normal_axis, tensor_for
from .elementwise import without_log_of_zero

__all__ = [
    "Cumsum", "LogSumExp", "Max", "Mean", "Min", "Norm", "Prod", "Std", "Sum", "Switch", "Var",
    "argmax", "argmin", "cumsum", "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var", "where",
]  # fmt: skip

Axis = int | tuple[int, ...] | None
DOCUMENT = "zoo of deep learning modules, Group"
_SMALL = 4096


def reduced_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction sums over, counted from the front."""
    return tuple(range(ndim)) if axis is None else tuple([normal_axis(one, ndim) for one in as_shape(axis)])


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape with size 1 along the reduced axes."""
    if axis is None:
        return (1,) * len(shape)
    axes = reduced_axes(axis, len(shape))
    return tuple([1 if one in axes else size for one, size in enumerate(shape)])


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many entries are reduced to one."""
    return math.prod(shape) if axis is None else math.prod([shape[one] for one in reduced_axes(axis, len(shape))])


class Reduction(Module):
    """What the modules of this family have in common: `axis`, `keepdims`, and the way back to the input's shape."""

    def __init__(self, axis: Axis = None, keepdims: bool = False) -> None:
        self.axis = axis
        self.keepdims: Any = keepdims  # NumPy's stubs know True and False, but not bool

    def spread(self, values: Any, shape: tuple[int, ...]) -> Any:
        """Values of the output's shape, repeated for each of the entries that they were made of."""
        if not self.keepdims:
            values = values.reshape(kept_shape(shape, self.axis))
        if isinstance(values, Tensor) or math.prod(shape) > _SMALL:
            return np.broadcast_to(values, shape)
        spread = np.empty(shape, values.dtype)  # on small arrays far quicker than broadcast_to
        spread[...] = values
        return spread

    def extra_repr(self) -> str:
        return f"axis={self.axis}" + (", keepdims=True" if self.keepdims else "")


class Sum(Reduction):
    """y = Σ x.

    >>> import graphzoo as gz
    >>> gz.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(axis=0)
    tensor([4., 6.])
    """

    formulas = Formulas(
        forward=r"y = \sum_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y}",
        source=f"{DOCUMENT}, Sum",
    )
    saves = ()

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return np.add.reduce(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, node: Node, dy: Any) -> Any:
        return self.spread(dy, node.inputs[0].shape)


class Mean(Reduction):
    """y = Σ x / n. Of no entries it is NaN.

    >>> import graphzoo as gz
    >>> gz.tensor([[1.0, 2.0], [3.0, 4.0]]).mean(axis=-1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """

    formulas = Formulas(
        forward=r"y = \frac{1}{n} \sum_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{1}{n} \frac{\partial L}{\partial y}",
    )
    saves = ()

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        total = np.add.reduce(x, axis=self.axis, keepdims=self.keepdims)
        return total / count(x.shape, self.axis)

    def backward(self, node: Node, dy: Any) -> Any:
        shape = node.inputs[0].shape
        n = count(shape, self.axis)
        return self.spread(dy / n if n else dy, shape)


class Max(Reduction):
    """y = max x. Where several entries are the largest, they share the gradient equally; NaN is passed on.

    Raises:
        ShapeError: no entries to choose from.

    >>> import graphzoo as gz
    >>> x = gz.tensor([[1.0, 3.0, 3.0]], requires_grad=True)
    >>> x.max(axis=1).sum().backward()
    >>> x.grad
    array([[0. , 0.5, 0.5]], dtype=float32)
    """

    formulas = Formulas(
        forward=r"y = \max_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} "
        r"\frac{[x_i = y]}{\sum_j [x_j = y]}",
        source=f"{DOCUMENT}, Max; the gradient at ties as in erratum 16",
    )
    saves = (None, None)
    ufunc: ClassVar[np.ufunc] = np.maximum

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = self.ufunc.reduce(x, axis=self.axis, keepdims=self.keepdims)
        if node.needs[0]:
            chosen = x == self.spread(np.asarray(y), x.shape)
            chosen |= x != x  # NaN, which is what the output is then
            node.saved = (chosen, np.add.reduce(chosen, axis=self.axis, keepdims=self.keepdims))
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        chosen, several = node.saved
        share = dy if (several == 1).all() else dy / several.astype(dy.dtype)
        return np.where(chosen, self.spread(share, chosen.shape), 0)


class Min(Max):
    """y = min x. Where several entries are the smallest, they share the gradient equally; NaN is passed on.

    Raises:
        ShapeError: no entries to choose from.

    >>> import graphzoo as gz
    >>> gz.tensor([[1.0, 3.0], [5.0, 4.0]]).min(axis=1)
    tensor([1., 4.])
    """

    formulas = Formulas(
        forward=r"y = \min_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} "
        r"\frac{[x_i = y]}{\sum_j [x_j = y]}",
    )
    ufunc = np.minimum


class Prod(Reduction):
    """y = Π x. The gradient of an entry is the product of the others, exact where some are zero, to any order.

    >>> import graphzoo as gz
    >>> x = gz.tensor([2.0, 0.0, 5.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    array([ 0., 10.,  0.], dtype=float32)
    """

    formulas = Formulas(
        forward=r"y = \prod_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} \prod_{j \ne i} x_j",
    )
    saves = (0,)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return np.multiply.reduce(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        shape = x.shape
        reduced = reduced_axes(self.axis, len(shape))
        order = [axis for axis in range(len(shape)) if axis not in reduced] + list(reduced)
        ordered = x.transpose(order)
        lead = ordered.shape[: len(shape) - len(reduced)]
        n = math.prod(ordered.shape[len(lead) :])
        others = products_of_the_others(ordered.reshape((*lead, n)), dy.reshape((*lead, 1)))
        return others.reshape(ordered.shape).transpose([order.index(axis) for axis in range(len(shape))])


def products_of_the_others(x: Any, factor: Any) -> Any:
    """For each entry along the last axis the product of all others, times a factor; takes arrays and tensors.

    Halves are multiplied until one product is left; on the way back each half gets what stood beside it. Nothing is
    divided, so that zeros need no care, and all is made of Multiply, so that derivatives of it are exact as well.
    """
    if x.shape[-1] == 0:
        return x
    levels = [x]
    while (n := levels[-1].shape[-1]) > 1:
        level, half = levels[-1], n // 2
        pairs = level[..., :half] * level[..., half : 2 * half]
        levels.append(np.concatenate([pairs, level[..., 2 * half :]], -1) if n % 2 else pairs)
    for level in reversed(levels[:-1]):
        half = level.shape[-1] // 2
        beside = factor[..., :half]
        parts = [beside * level[..., half : 2 * half], beside * level[..., :half]]
        factor = np.concatenate([*parts, factor[..., half:]], -1)
    return factor


class Var(Reduction):
    """y = Σ (x - mean)² / (n - correction), in two passes over x.

    Args:
        axis, keepdims: what to reduce.
        correction: 0 for the variance of what is given (NumPy's default), 1 for the unbiased estimate (PyTorch's).

    >>> import graphzoo as gz
    >>> gz.tensor([1.0, 2.0, 3.0, 4.0]).var(), gz.tensor([1.0, 2.0, 3.0, 4.0]).var(correction=1)
    (tensor(1.25), tensor(1.6666666))
    """

    formulas = Formulas(
        forward=r"y = \frac{1}{n - c} \sum_i (x_i - \bar x)^2",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{2}{n - c} \frac{\partial L}{\partial y} (x_i - \bar x)",
    )
    saves: ClassVar[tuple[Any, ...]] = (0,)

    def __init__(self, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> None:
        super().__init__(axis, keepdims)
        self.correction = correction

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        return self._variance(x)

    def backward(self, node: Node, dy: Any) -> Any:
        (x,) = node.saved
        return self.spread(dy, x.shape) * self._slope(x)

    def _variance(self, x: np.ndarray) -> np.ndarray:
        away = self._centred(x)
        squares = np.add.reduce(away * away, axis=self.axis, keepdims=self.keepdims)
        return squares / (count(x.shape, self.axis) - self.correction)

    def _centred(self, x: Any) -> Any:
        return x - x.sum(axis=self.axis, keepdims=True) / count(x.shape, self.axis)

    def _slope(self, x: Any) -> Any:
        """The variance differentiated by x. Of no entries, or of one with correction=1, it is NaN or empty."""
        remaining = count(x.shape, self.axis) - self.correction
        return self._centred(x) * (2 / remaining if remaining else np.nan)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, correction={self.correction}"


class Std(Var):
    """y = √Var(x). Where all entries are equal the gradient is 0.

    Args:
        axis, keepdims: what to reduce.
        correction: 0 for the deviation of what is given (NumPy's default), 1 for the estimate that PyTorch gives.

    >>> import graphzoo as gz
    >>> gz.tensor([1.0, 3.0]).std()
    tensor(1.)
    """

    formulas = Formulas(
        forward=r"y = \sqrt{\frac{1}{n - c} \sum_i (x_i - \bar x)^2}",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} \frac{x_i - \bar x}{(n - c)\, y}",
    )
    saves = (0, OUTPUT)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.sqrt(self._variance(x))
        node.saved = (x, y)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        x, y = node.saved
        return self.spread(over_unless_zero(dy, y + y), x.shape) * self._slope(x)


class Norm(Reduction):
    """y = √Σ x², the Euclidean (Frobenius) norm. Its gradient at 0 is 0.

    >>> import graphzoo as gz
    >>> gz.norm(gz.tensor([3.0, 4.0]))
    tensor(5.)
    """

    formulas = Formulas(
        forward=r"y = \sqrt{\sum_i x_i^2}",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} \frac{x_i}{y}",
    )
    saves = (0, OUTPUT)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        y = np.sqrt(np.add.reduce(x * x, axis=self.axis, keepdims=self.keepdims))
        node.saved = (x, y)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        x, y = node.saved
        return self.spread(over_unless_zero(dy, y), x.shape) * x


def over_unless_zero(dy: Any, y: Any) -> Any:
    """dy / y, and 0 where y is 0; takes arrays and tensors."""
    zero = y == 0
    return np.where(zero, 0, dy / np.where(zero, 1, y)) if zero.any() else dy / y


class LogSumExp(Reduction):
    """y = log Σ e^x without overflow. Entries of -inf count nothing; with nothing but those, y = -inf and no gradient.

    >>> import numpy as np, graphzoo as gz
    >>> gz.logsumexp(gz.tensor([[1e4, 1e4], [0.0, -np.inf]]), axis=1)
    tensor([10000.693,     0.   ])
    """

    formulas = Formulas(
        forward=r"y = m + \log \sum_i e^{x_i - m}, \quad m = \max_i x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} e^{x_i - y}",
    )
    saves = (0, OUTPUT)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        largest = np.maximum.reduce(x, axis=self.axis, keepdims=True, initial=-np.inf)
        largest = np.where(np.isinf(largest), 0, largest)
        with np.errstate(divide="ignore"):  # the logarithm of 0 is meant where all entries are -inf
            y = np.log(np.add.reduce(np.exp(x - largest), axis=self.axis, keepdims=self.keepdims))
        y = y + largest.reshape(y.shape)
        node.saved = (x, y)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        x, y = node.saved
        return self.spread(dy, x.shape) * np.exp(x - self.spread(without_log_of_zero(y), x.shape))


class Cumsum(Module):
    """y_i = x_0 + … + x_i along an axis.

    >>> import graphzoo as gz
    >>> gz.tensor([1.0, 2.0, 3.0]).cumsum(axis=0)
    tensor([1., 3., 6.])
    """

    formulas = Formulas(
        forward=r"y_i = \sum_{j \le i} x_j",
        backward=r"\frac{\partial L}{\partial x_j} = \sum_{i \ge j} \frac{\partial L}{\partial y_i}",
    )
    saves = ()

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return np.add.accumulate(x, self.axis)

    def backward(self, node: Node, dy: Any) -> Any:
        reverse = (*(slice(None),) * (self.axis % dy.ndim), slice(None, None, -1))
        return dy[reverse].cumsum(axis=self.axis)[reverse]

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Switch(Module):
    """y = x where s is true (or not zero), and the other input, or 0, elsewhere.

    With one input beside s this is the document's s ⊙ x for a switch s of zeros and ones. Shapes broadcast. The switch
    itself gets no gradient, and what it left out gets none either, even if it is infinite or NaN.

    >>> import graphzoo as gz
    >>> gz.Switch()([1, 0], gz.tensor([2.0, 3.0]))
    tensor([2., 0.])
    >>> gz.where([True, False], gz.tensor([2.0, 3.0]), -1)
    tensor([ 2., -1.])
    """

    formulas = Formulas(
        forward=r"y = s \odot x + (1 - s) \odot z",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} \odot s, \quad "
        r"\frac{\partial L}{\partial z} = \frac{\partial L}{\partial y} \odot (1 - s)",
        source=f"{DOCUMENT}, Switch",
    )
    broadcasts = True
    saves = (None,)

    def forward(self, node: Node, s: np.ndarray, x: np.ndarray, z: np.ndarray | None = None) -> np.ndarray:
        node.saved = (s,)
        return np.where(s, x, 0 if z is None else z)

    def backward(self, node: Node, dy: Any) -> Any:
        (s,) = node.saved
        dx = np.where(s, dy, 0) if node.needs[1] else None
        if len(node.inputs) == 2:
            return None, dx
        return None, dx, np.where(s, 0, dy) if node.needs[2] else None


# As functions --------------------------------------------------------------------------------------------------------

SUM, MEAN, SWITCH = Sum(), Mean(), Switch()


@lru_cache(1024)
def _reduction(kind: type[Reduction], axis: Axis, *options: Any) -> Any:
    return kind(axis, *options)


def sum(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over all or some axes; see `Sum`."""
    module = SUM if axis is None and not keepdims else _reduction(Sum, axis, keepdims)
    return unary(module, x if isinstance(x, Tensor) else lift(x, module))


def mean(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over all or some axes; see `Mean`."""
    module = MEAN if axis is None and not keepdims else _reduction(Mean, axis, keepdims)
    return unary(module, x if isinstance(x, Tensor) else lift(x, module))


def max(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest entry over all or some axes; see `Max`."""
    module = _reduction(Max, axis, keepdims)
    return unary(module, tensor_for(x, module))


def min(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest entry over all or some axes; see `Min`."""
    module = _reduction(Min, axis, keepdims)
    return unary(module, tensor_for(x, module))


def prod(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over all or some axes; see `Prod`."""
    module = _reduction(Prod, axis, keepdims)
    return unary(module, tensor_for(x, module))


def var(
    x: Any, /, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None
) -> Tensor:
    """The variance over all or some axes; `correction` is another name for `ddof`. See `Var`."""
    module = _reduction(Var, axis, ddof if correction is None else correction, keepdims)
    return unary(module, tensor_for(x, module))


def std(
    x: Any, /, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None
) -> Tensor:
    """The standard deviation over all or some axes; `correction` is another name for `ddof`. See `Std`."""
    module = _reduction(Std, axis, ddof if correction is None else correction, keepdims)
    return unary(module, tensor_for(x, module))


def norm(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm of all entries, or along some axes; see `Norm`."""
    module = _reduction(Norm, axis, keepdims)
    return unary(module, tensor_for(x, module))


def logsumexp(x: Any, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log Σ e^x over all or some axes, without overflow; see `LogSumExp`."""
    module = _reduction(LogSumExp, axis, keepdims)
    return unary(module, tensor_for(x, module))


@lru_cache(64)
def _cumsum(axis: int) -> Cumsum:
    return Cumsum(axis)


def cumsum(x: Any, /, axis: int | None = None) -> Tensor:
    """The running sum along an axis, of the flat x for axis=None; see `Cumsum`."""
    module = _cumsum(0 if axis is None else axis)
    tensor = tensor_for(x, module)
    return unary(module, tensor.reshape(-1) if axis is None else tensor)


def where(condition: Any, x: Any, y: Any, /) -> Tensor:
    """x where the condition is true, y elsewhere; see `Switch`."""
    x, y = _beside(x, y), _beside(y, x)
    return record(SWITCH, (condition if isinstance(condition, Tensor) else np.asarray(condition), x, y))


def _beside(value: Any, other: Any) -> Any:
    """A Python number takes the dtype that it would have in an operation with the other."""
    if isinstance(value, (bool, int, float)) and hasattr(other, "dtype"):
        return operand(value, other.dtype, SWITCH)[0]
    return value


def argmax(x: Any, /, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest entry, the first of several; a constant."""
    return constant(np.asarray(np.argmax(lift(x, SUM).numpy(), axis, keepdims=keepdims)))


def argmin(x: Any, /, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest entry, the first of several; a constant."""
    return constant(np.asarray(np.argmin(lift(x, SUM).numpy(), axis, keepdims=keepdims)))
