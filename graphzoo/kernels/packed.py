"""What the recurrent cells compute with: feature-major arrays, and weights packed for few large products.

Inside a cell, features are rows and the batch is columns (*feature-major*), so that a block of gates is one contiguous
piece and all gates come out of one product. The user sees (batch, features) all the same: a state is the transposed
view of a feature-major array, and transposing it again in the next step costs nothing. One array holds [h; 1; x], so
that the biases are a column of the weights; it is what a step saves of its inputs. Sigmoids are computed as
σ(z) = (1 + tanh(z/2))/2, with the half folded into the weights, so that one tanh serves all gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import is_
from typing import Any

import numpy as np

from ..tape import Leaf, Node
from .pool import empty
from .select import SMALLEST, accelerated

WHOLE = 16
"""Columns of a matrix come in multiples of this where they may: it makes products quicker."""

LARGE = 1 << 21
"""Multiplications in a product that our own threads may do sooner than BLAS's."""

Arrays = tuple[Any, ...]  # of ndarrays, None where a parameter is left out


# Feature-major arrays ------------------------------------------------------------------------------------------------


def columns(array: np.ndarray) -> np.ndarray:
    """(batch, features) or (features,) as a view with features as rows."""
    return array.T if array.ndim == 2 else array[:, None]


def contiguous_columns(array: np.ndarray) -> np.ndarray:
    """As `columns`, in one contiguous piece: a copy only where the array is not the view of such a piece already."""
    return np.ascontiguousarray(columns(array))


def rows(array: np.ndarray, ndim: int) -> np.ndarray:
    """A feature-major array as the user sees it: (batch, features), or (features,) for ndim = 1."""
    return array.T if ndim == 2 else array[:, 0]


def joined(h: np.ndarray, x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """[h; 1; x] feature-major in one new array, of a state and an input as the user sees them."""
    if x.ndim == 1:
        h, x = h[None], x[None]
    hidden, (batch, features) = h.shape[1], x.shape
    array = np.empty((hidden + 1 + features, batch), dtype)
    join(array, h.T, x.T)
    return array


def join(inputs: np.ndarray, h: np.ndarray, x: np.ndarray) -> None:
    """Writes feature-major h and x to the first rows of inputs, and ones between them."""
    hidden = h.shape[0]
    inputs[:hidden] = h
    inputs[hidden] = 1
    inputs[hidden + 1 : hidden + 1 + x.shape[0]] = x


def turned(matrix: np.ndarray) -> np.ndarray:
    """The transpose of a contiguous matrix, in one contiguous piece."""
    result = np.empty(matrix.shape[::-1], matrix.dtype)
    turn(matrix, result)
    return result


@accelerated("float32")
def turn(matrix: np.ndarray, result: np.ndarray) -> None:
    """Writes the transpose of a contiguous matrix to another one."""
    result[...] = matrix.T


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b."""
    if a.size * b.shape[1] < LARGE:
        return np.matmul(a, b)
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    multiply(a, b, out)
    return out


def add_product(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Adds a b to out."""
    if a.size * b.shape[1] < LARGE:
        out += np.matmul(a, b)
    else:
        multiply_onto(a, b, out)


@accelerated("float32")
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out becomes a b."""
    np.matmul(a, b, out)


@accelerated("float32")
def multiply_onto(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """a b is added to out."""
    out += np.matmul(a, b)


def summed_products(lefts: Sequence[np.ndarray], rights: Sequence[np.ndarray]) -> np.ndarray:
    """Σ left rightᵀ, of matrices with as many columns."""
    if len(lefts) == 1:
        return np.matmul(lefts[0], rights[0].T, out=empty((len(lefts[0]), len(rights[0])), lefts[0].dtype))
    rows, columns = len(lefts[0]), len(rights[0])
    out = empty((rows, columns + -columns % WHOLE), lefts[0].dtype)
    sum_of_products(out, lefts, rights)
    return out[:, :columns]


@accelerated("float32", smallest=2 * SMALLEST)
def sum_of_products(out: np.ndarray, lefts: Sequence[np.ndarray], rights: Sequence[np.ndarray]) -> None:
    """Writes the sum to the first columns of out; what the others hold is nobody's business."""
    left, right = (side_by_side(matrices) for matrices in (lefts, rights))
    np.matmul(left, right.T, out[:, : len(right)])


def side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The columns of all arrays in one array."""
    height, width = len(arrays[0]), sum(array.shape[1] for array in arrays)
    return np.concatenate(arrays, axis=1, out=empty((height, width), arrays[0].dtype))


def blocks(gates: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """The gates as three or four blocks of n rows each."""
    if len(gates) == 3 * n:
        return gates[:n], gates[n : 2 * n], gates[2 * n :]
    return gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]


def common_dtype(*arrays: np.ndarray) -> np.dtype[Any]:
    """The dtype that a step computes in; quick when all agree."""
    dtype = arrays[0].dtype
    for array in arrays:
        if array.dtype is not dtype:
            return np.result_type(*arrays)
    return dtype


# An array, as NumPy takes twice as long over a small array and a Python number.
HALF = {np.dtype(kind): np.array(0.5, kind) for kind in (np.float16, np.float32, np.float64, np.longdouble)}


def sigmoid_from_half(z: np.ndarray) -> None:
    """tanh(z) to σ(2z), in place."""
    half = HALF[z.dtype]
    z *= half
    z += half


def sigmoid_slope(s: np.ndarray, out: np.ndarray) -> None:
    """σ′ = s − s² for s = σ(z)."""
    np.multiply(s, s, out)
    np.subtract(s, out, out)


def tanh_delta(y: np.ndarray, dy: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """dy ⊙ (1 − y²) for y = tanh(z), in another array than dy."""
    delta = np.multiply(y, y, out)
    delta *= dy
    return np.subtract(dy, delta, delta)


# Packs ---------------------------------------------------------------------------------------------------------------


class Pack:
    """A copy of a cell's weights, laid out for its products; shared by the steps of a sequence.

    Subclasses copy in `__init__` what the forward pass multiplies with, and derive from that (not from the parameters,
    which may have changed) what the backward pass multiplies with, when it first asks. The weights' rows are in the
    order that the cell has its gates in; halved rows are restored by doubling, which is exact. `others` are copies of
    the parameters after the first two, W_ih and W_hh.

    Has no `__slots__` on purpose: the engine looks through slotted objects for arrays that a node holds, to warn of
    overwritten ones and to measure; a pack is a copy, and belongs to no single node.
    """

    def __init__(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> None:
        self.number = node.number
        self.sources = node.inputs[-len(parameters) :]
        self.leaves = [source for source in self.sources if isinstance(source, Leaf)]
        self.parameters = parameters
        self.others = [None if value is None else value.astype(dtype) for value in parameters[2:]]
        self.dtype = dtype

    def serves(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> bool:
        """Whether a node may use this pack: the parameters are the same and were not written to since."""
        for leaf in self.leaves:
            if leaf.written > self.number:
                return False
        return (
            self.dtype is dtype
            and self.sources == node.inputs[-len(parameters) :]
            and all(map(is_, self.parameters, parameters))
        )


MakePack = Callable[[Node, Arrays, np.dtype[Any]], Pack]


class JoinedPack(Pack):
    """[W_hh | b_ih + b_hh | W_ih] for one product with [h; 1; x]. For weights of one block of rows, or of four where
    the last is put first and the first three are sigmoids' then (an LSTM's i, f, g, o become o, i, f, g)."""

    def __init__(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> None:
        super().__init__(node, parameters, dtype)
        weight_ih, weight_hh = parameters[:2]
        self.hidden = weight_hh.shape[1]
        biases = [value for value in self.others if value is None or value.ndim == 1]
        self.rotated = self.hidden if weight_hh.shape[0] > self.hidden else 0
        self.weight = matrix_of(dtype, weight_hh, biases, weight_ih, rotated=self.rotated)
        if self.rotated:
            self.weight[: 3 * self.hidden] *= HALF[dtype]

    def _whole(self, begin: int, end: int | None) -> np.ndarray:
        """Some columns with the halving undone."""
        weight = self.weight[:, begin:end].copy()
        if self.rotated:
            weight[: 3 * self.hidden] *= 2
        return weight

    @cached_property
    def to_h(self) -> np.ndarray:
        """W_hhᵀ."""
        return turned(self._whole(0, self.hidden))

    @cached_property
    def to_x(self) -> np.ndarray:
        """W_ihᵀ."""
        return turned(self._whole(self.hidden + 1, None))

    def unpacked(self) -> Arrays:
        """The parameters' values when the pack was made."""
        return np.roll(self.to_x.T, -self.rotated, axis=0), np.roll(self.to_h.T, -self.rotated, axis=0), *self.others


class GRUPack(Pack):
    """Rows r and z of [W_hh | b_ih + b_hh | W_ih], halved, for one product with [h; 1; x]."""

    def __init__(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> None:
        super().__init__(node, parameters, dtype)
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        self.hidden = weight_hh.shape[1]
        first = slice(2 * self.hidden)
        biases = [part(bias_ih, first), part(bias_hh, first)]
        self.gates = matrix_of(dtype, weight_hh[first], biases, weight_ih[first])
        self.gates *= HALF[dtype]

    def _whole(self, begin: int, end: int | None) -> np.ndarray:
        """Some columns with the halving undone."""
        return self.gates[:, begin:end] * 2


class BeforePack(GRUPack):
    """With [b_ih + b_hh | W_ih | W_hh] of the candidate, for one product with [1; x; r ⊙ h]."""

    def __init__(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> None:
        super().__init__(node, parameters, dtype)
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        last = slice(2 * self.hidden, None)
        biases = [part(bias_ih, last), part(bias_hh, last)]
        self.candidate = matrix_of(dtype, biases, weight_ih[last], weight_hh[last])

    @cached_property
    def to_reset(self) -> np.ndarray:
        """W_cᵀ."""
        return turned(self.candidate[:, -self.hidden :].copy())

    @cached_property
    def to_h(self) -> np.ndarray:
        """W_rᵀ and W_zᵀ."""
        return turned(self._whole(0, self.hidden))

    @cached_property
    def to_x(self) -> np.ndarray:
        """U_rᵀ, U_zᵀ and U_cᵀ."""
        return turned(np.concatenate([self._whole(self.hidden + 1, None), self.candidate[:, 1 : -self.hidden]]))

    def unpacked(self) -> Arrays:
        """The parameters' values when the pack was made."""
        return self.to_x.T.copy(), np.concatenate([self.to_h.T, self.to_reset.T]), *self.others


class AfterPack(GRUPack):
    """With [W_hh | b_hh] and [b_ih | W_ih] of the candidate, for products with [h; 1] and [1; x]."""

    def __init__(self, node: Node, parameters: Arrays, dtype: np.dtype[Any]) -> None:
        super().__init__(node, parameters, dtype)
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        last = slice(2 * self.hidden, None)
        self.candidate_of_h = matrix_of(dtype, weight_hh[last], [part(bias_hh, last)])
        self.candidate_of_x = matrix_of(dtype, [part(bias_ih, last)], weight_ih[last])

    @cached_property
    def to_h(self) -> np.ndarray:
        """W_rᵀ, W_zᵀ and W_cᵀ."""
        return turned(np.concatenate([self._whole(0, self.hidden), self.candidate_of_h[:, :-1]]))

    @cached_property
    def to_x(self) -> np.ndarray:
        """U_cᵀ, U_rᵀ and U_zᵀ."""
        return turned(np.concatenate([self.candidate_of_x[:, 1:], self._whole(self.hidden + 1, None)]))

    def unpacked(self) -> Arrays:
        """The parameters' values when the pack was made."""
        return np.roll(self.to_x.T, -self.hidden, axis=0), self.to_h.T.copy(), *self.others


def matrix_of(dtype: np.dtype[Any], *pieces: Any, rotated: int = 0) -> np.ndarray:
    """Matrices, and lists of biases that are added up to one column (None counts as zeros), in one new array; its last
    `rotated` rows come first."""
    height = next(piece.shape[0] for piece in pieces if isinstance(piece, np.ndarray))
    matrices = [piece if isinstance(piece, np.ndarray) else column(height, piece, dtype) for piece in pieces]
    array = np.empty((height, sum(matrix.shape[1] for matrix in matrices)), dtype)
    end = 0
    for matrix in matrices:
        begin, end = end, end + matrix.shape[1]
        array[rotated:, begin:end] = matrix[: height - rotated]
        array[:rotated, begin:end] = matrix[height - rotated :]
    return array


def column(height: int, biases: list[np.ndarray | None], dtype: np.dtype[Any]) -> np.ndarray:
    """The sum of biases as a column."""
    total = np.zeros((height, 1), dtype)
    for bias in biases:
        if bias is not None:
            total[:, 0] += bias
    return total


def part(array: np.ndarray | None, where: slice) -> np.ndarray | None:
    """Some rows of a parameter that may be left out."""
    return None if array is None else array[where]
