r"""Matrix modules: products summed over shared axes, as `@` and as Einstein's notation."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..module import Formulas, Module, binary, record
from ..tape import Node
from ..tensor import Tensor
from .array import as_shape, normal_axis, reshape, shape_of, transpose
from .elementwise import multiply

__all__ = ["Einsum", "MatMul", "dot", "einsum", "inner", "matmul", "outer", "tensordot"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORTH_A_PLAN = 4096  # multiplications from which planning the order, and using BLAS, pays for itself


class MatMul(Module):
    """Y = A B, the matrix product over the last two axes; leading axes broadcast.

    Shapes: (…, m, k) and (…, k, n) → (…, m, n). An input with one axis is a row on the left and a column on the right,
    and its axis is dropped again, as in `numpy.matmul`.

    Raises:
        ShapeError: the inner sizes differ, or an input is a single number.

    >>> import graphzoo as gz
    >>> gz.tensor([[1.0, 2.0], [3.0, 4.0]]) @ gz.tensor([1.0, -1.0])
    tensor([-1., -1.])
    """

    formulas = Formulas(
        forward=r"Y = A B",
        backward=r"\frac{\partial L}{\partial A} = \frac{\partial L}{\partial Y} B^T, \quad "
        r"\frac{\partial L}{\partial B} = A^T \frac{\partial L}{\partial Y}",
    )
    broadcasts = True
    saves = (0, 1)

    def forward(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        need_a, need_b = node.needs
        node.saved = (a if need_b else None, b if need_a else None)
        return a @ b

    def backward(self, node: Node, dy: Any) -> Any:
        a, b = node.saved
        a_axes, b_axes = (len(source.shape) for source in node.inputs)
        if a_axes == 1 and b_axes == 1:
            return None if b is None else dy * b, None if a is None else dy * a
        if a_axes == 1:
            dy = dy[..., None, :]
            da = None if b is None else (dy @ b.swapaxes(-1, -2))[..., 0, :]
            return da, None if a is None else a[:, None] * dy
        if b_axes == 1:
            dy = dy[..., None]
            return None if b is None else dy * b, None if a is None else (a.swapaxes(-1, -2) @ dy)[..., 0]
        da = None if b is None else dy @ b.swapaxes(-1, -2)
        if a is None:
            return da, None
        if (
            b_axes == 2 and a_axes > 2
        ):  # one matrix for a whole batch: one product instead of a product each and their sum
            m, k = a.shape[-2:]
            lead = math.prod(a.shape[:-2]) * m
            return da, a.reshape((lead, k)).swapaxes(0, 1) @ dy.reshape((lead, dy.shape[-1]))
        return da, a.swapaxes(-1, -2) @ dy


class Terms(NamedTuple):
    """An equation with the ellipsis written out: the letters of each operand, and of the output."""

    operands: tuple[str, ...]
    output: str


class Einsum(Module):
    """A sum of products in Einstein's notation: letters that the output lacks are summed over.

    Args:
        equation: such as "ij,jk->ik". Without "->" the output has the letters that occur once, in alphabetical order.
            "..." stands for any leading axes, which broadcast. A letter twice in one operand takes its diagonal.

    Raises:
        ArgumentError: an equation that cannot be read.
        ShapeError: it does not fit the operands.

    >>> import graphzoo as gz
    >>> gz.einsum("ii->i", gz.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """

    formulas = Formulas(
        forward=r"y_{\mathrm{out}} = \sum_{\mathrm{rest}} \prod_n (x_n)_{\mathrm{in}_n}",
        backward=r"\frac{\partial L}{\partial (x_n)_{\mathrm{in}_n}} = \sum_{\mathrm{rest}} "
        r"\frac{\partial L}{\partial y_{\mathrm{out}}} \prod_{m \ne n} (x_m)_{\mathrm{in}_m}",
    )
    broadcasts = True

    def __init__(self, equation: str, operands: int) -> None:
        self.equation = equation
        vars(self)["saves"] = tuple(range(operands))  # of the class elsewhere; here it depends on the equation

    def forward(self, node: Node, *x: np.ndarray) -> np.ndarray:
        if True in node.needs:
            node.saved = x
        return _contract(self.equation, x)

    def backward(self, node: Node, dy: Any) -> Any:
        terms = written_out(self.equation, tuple([len(source.shape) for source in node.inputs]))
        return tuple([self._gradient(n, node.saved, terms, dy) if need else None for n, need in enumerate(node.needs)])

    @staticmethod
    def _gradient(n: int, x: tuple[Any, ...], terms: Terms, dy: Any) -> Any:
        """The sum with the n-th operand taken out and dy put in.

        Letters that stand nowhere else (or with size 1 only) get ones to be spread over. Of a letter that stands twice
        in this operand, the second gets a name of its own, and an identity matrix ties the two together: what is off
        the diagonal gets zero.
        """
        others = [(letters, x[m]) for m, letters in enumerate(terms.operands) if m != n]
        factors = [(terms.output, dy), *others]
        spare = iter(sorted(set(_LETTERS) - set("".join([*terms.operands, terms.output]))))
        known: dict[str, int] = {}
        for letters, factor in factors:
            for letter, size in zip(letters, factor.shape, strict=True):
                known[letter] = max(size, known.get(letter, 0))
        own = ""
        for letter, size in zip(terms.operands[n], x[n].shape, strict=True):
            if letter in own:
                second = next(spare)
                factors.append((letter + second, np.eye(size, dtype=dy.dtype)))
                own += second
            else:
                if known.get(letter, -1) < size:
                    factors.append((letter, np.ones(size, dy.dtype)))
                own += letter
        equation = ",".join(letters for letters, _ in factors) + "->" + own
        operands = [operand for _, operand in factors]
        if any(isinstance(operand, Tensor) for operand in operands):
            return einsum(equation, *operands)
        return _contract(equation, operands)

    def extra_repr(self) -> str:
        return repr(self.equation)


def _contract(equation: str, x: Any) -> np.ndarray:
    """np.einsum, which plans an order of products (and uses BLAS) only when asked to."""
    plan = len(x) > 1 and math.prod([math.prod(array.shape) for array in x]) > _WORTH_A_PLAN
    return np.einsum(equation, *x, optimize=plan)


@lru_cache(512)
def written_out(equation: str, axes: tuple[int, ...]) -> Terms:
    """The letters of an equation for operands with these numbers of axes."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    spare = iter(sorted(set(_LETTERS) - set(equation), reverse=True))
    widest = max(
        (n - len(term.replace("...", "")) for term, n in zip(operands, axes, strict=True) if "..." in term), default=0
    )
    ellipsis = "".join(next(spare) for _ in range(widest))

    def fill(term: str, width: int) -> str:
        return term.replace("...", ellipsis[len(ellipsis) - width :])

    if not arrow:
        seen = Counter(left.replace(",", "").replace(".", ""))
        right = "..." * ("..." in left) + "".join(sorted(letter for letter, times in seen.items() if times == 1))
    filled = [fill(term, n - len(term.replace("...", ""))) for term, n in zip(operands, axes, strict=True)]
    return Terms(tuple(filled), fill(right, widest))


# As functions --------------------------------------------------------------------------------------------------------

MATMUL = MatMul()


def matmul(a: Any, b: Any, /) -> Tensor:
    """The matrix product; see `MatMul`."""
    return binary(MATMUL)(a, b)


@lru_cache(512)
def _einsum(equation: str, operands: int) -> Einsum:
    return Einsum(equation, operands)


def einsum(equation: str, /, *operands: Any) -> Tensor:
    """A sum of products in Einstein's notation; see `Einsum`."""
    if not isinstance(equation, str):
        raise ArgumentError(
            "einsum needs its equation first", got=type(equation).__name__, expected='such as "ij,jk->ik"'
        )
    if equation.count(",") + 1 != len(operands):
        raise ArgumentError(
            "einsum needs one operand for each term",
            got=f"{len(operands)} for {equation!r}",
            expected=equation.count(",") + 1,
        )
    return record(_einsum(equation, len(operands)), operands)


def dot(a: Any, b: Any, /) -> Tensor:
    """The sum of products over a's last axis and b's last but one (or only) axis, as `numpy.dot` defines it."""
    a_axes, b_axes = len(shape_of(a)), len(shape_of(b))
    if a_axes == 0 or b_axes == 0:
        return multiply(a, b)
    if a_axes <= 2 and b_axes <= 2:
        return matmul(a, b)
    return tensordot(a, b, ((-1,), (-2 if b_axes > 1 else -1,)))


def inner(a: Any, b: Any, /) -> Tensor:
    """The sum of products over the last axes of both, as `numpy.inner` defines it."""
    if not shape_of(a) or not shape_of(b):
        return multiply(a, b)
    return tensordot(a, b, ((-1,), (-1,)))


def outer(a: Any, b: Any, /) -> Tensor:
    """The product of every entry of a with every entry of b. Shape: (a.size, b.size)."""
    return multiply(reshape(a, (-1, 1)), reshape(b, (1, -1)))


def tensordot(a: Any, b: Any, /, axes: Any = 2) -> Tensor:
    """The sum of products over pairs of axes: a's last with b's first, or those named. As `numpy.tensordot`."""
    a_shape, b_shape = shape_of(a), shape_of(b)
    if isinstance(axes, (int, np.integer)):
        axes = (range(len(a_shape) - axes, len(a_shape)), range(axes))
    a_pairs, b_pairs = (
        [normal_axis(one, len(shape)) for one in as_shape(of)]
        for of, shape in zip(axes, (a_shape, b_shape), strict=True)
    )
    if [a_shape[one] for one in a_pairs] != [b_shape[one] for one in b_pairs]:
        raise ShapeError(
            "tensordot needs axes of equal sizes", got=f"{a_shape} over {a_pairs} and {b_shape} over {b_pairs}"
        )
    a_free = [one for one in range(len(a_shape)) if one not in a_pairs]
    b_free = [one for one in range(len(b_shape)) if one not in b_pairs]
    inner = math.prod([a_shape[one] for one in a_pairs])
    rows, columns = (math.prod([shape[one] for one in free]) for shape, free in ((a_shape, a_free), (b_shape, b_free)))
    left = reshape(transpose(a, a_free + a_pairs), (rows, inner))
    right = reshape(transpose(b, b_pairs + b_free), (inner, columns))
    return reshape(matmul(left, right), [a_shape[one] for one in a_free] + [b_shape[one] for one in b_free])
