r"""Linear modules: fully connected layers, bilinear ones, and tables of vectors looked up by index.

Leading axes are flattened to rows before a product, so that each pass is one matrix product for any number of axes.
Parameters have PyTorch's names, shapes and initial distributions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, ShapeError, describe
from ..module import Formulas, Module, generator
from ..state import Parameter
from ..tape import Node, stand_in

__all__ = ["Bilinear", "Embedding", "Linear"]


class Linear(Module):
    """Fully connected layer: y = x Wᵀ + b. FC in the zoo document.

    Shapes: x (..., in_features) with any leading axes, also none or empty ones; y (..., out_features).
    The result has the dtype NumPy gives to x Wᵀ: float32 as long as x is float32.

    Parameters:
        weight: (out_features, in_features), uniform within ±1/√in_features.
        bias: (out_features,), the same; None with bias=False.

    Args:
        in_features: length of x's last axis.
        out_features: length of y's last axis.
        bias: whether to add one.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: a number of features below 1.
        ShapeError: an input whose last axis is not in_features long.

    >>> import numpy as np, graphzoo as gz
    >>> layer = gz.Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 4, 3), np.float32)).shape
    (5, 4, 2)
    """

    formulas = Formulas(
        forward=r"y = x W^\top + b",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} W",
        parameters=r"\frac{\partial L}{\partial W} = \left(\frac{\partial L}{\partial y}\right)^\top x, \quad "
        r"\frac{\partial L}{\partial b} = \sum_n \frac{\partial L}{\partial y_n}",
        source="zoo of deep learning modules, FC; its dL/dW as corrected by erratum 8. Initialisation as in PyTorch.",
    )
    parameter_names = ("weight", "bias")

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: int | np.random.Generator | None = None
    ) -> None:
        check_sizes(self, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        random, bound = generator(rng), 1 / math.sqrt(in_features)
        self.weight = Parameter(random.uniform(-bound, bound, (out_features, in_features)))
        self.bias = Parameter(random.uniform(-bound, bound, out_features)) if bias else None

    def forward(self, node: Node, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        _check_last_axis(self, x, weight.shape[1], "in_features")
        need_x, need_weight, _ = node.needs
        node.saved = (x if need_weight else None, weight if need_x else None)
        y = x.dot(weight.T) if x.ndim <= 2 else _rows(x).dot(weight.T).reshape(*x.shape[:-1], weight.shape[0])
        if bias is not None:
            y += bias
        return y

    def backward(self, node: Node, dy: np.ndarray) -> np.ndarray:
        _, weight = node.saved
        return dy.dot(weight) if dy.ndim <= 2 else _rows(dy).dot(weight).reshape(node.inputs[0].shape)

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        x, _ = node.saved
        dy = _rows(dy)
        gradients = {}
        if node.needs[1]:
            gradients["weight"] = dy.T.dot(_rows(x))
        if node.needs[2]:
            gradients["bias"] = _column_sums(dy)
        return gradients

    def stack(self, nodes: list[Node], dys: list[np.ndarray]) -> tuple[Node, np.ndarray]:
        x = np.concatenate([_rows(node.saved[0]) for node in nodes]) if nodes[0].needs[1] else None
        return stand_in(nodes[0], (x, None)), np.concatenate([_rows(dy) for dy in dys])

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        y = x @ weight.T
        return y if bias is None else y + bias

    def recall(self, node: Node) -> tuple[Any, ...]:
        x, weight = node.saved
        return with_placeholders(node, x, weight, None)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """Bilinear layer: y_o = x₁ A_o x₂ᵀ + b_o.

    Shapes: x1 (..., in1_features) and x2 (..., in2_features) with the same leading axes; y (..., out_features).

    Parameters:
        weight: A, of shape (out_features, in1_features, in2_features), uniform within ±1/√in1_features.
        bias: (out_features,), the same; None with bias=False.

    Args:
        in1_features, in2_features, out_features: lengths of the last axes of x1, x2 and y.
        bias: whether to add one.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: a number of features below 1.
        ShapeError: inputs whose last axes are of other lengths, or whose leading axes differ.

    >>> import numpy as np, graphzoo as gz
    >>> layer = gz.Bilinear(3, 4, 2, rng=0)
    >>> layer(np.ones((5, 3), np.float32), np.ones((5, 4), np.float32)).shape
    (5, 2)
    """

    formulas = Formulas(
        forward=r"y_o = x_1 A_o x_2^\top + b_o",
        backward=r"\frac{\partial L}{\partial x_1} = \sum_o \frac{\partial L}{\partial y_o} x_2 A_o^\top, \quad "
        r"\frac{\partial L}{\partial x_2} = \sum_o \frac{\partial L}{\partial y_o} x_1 A_o",
        parameters=r"\frac{\partial L}{\partial A_o} = \sum_n \frac{\partial L}{\partial y_{no}} x_{1n}^\top x_{2n}, "
        r"\quad \frac{\partial L}{\partial b_o} = \sum_n \frac{\partial L}{\partial y_{no}}",
        source="PyTorch, torch.nn.Bilinear",
    )
    parameter_names = ("weight", "bias")

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        check_sizes(self, in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        random, bound = generator(rng), 1 / math.sqrt(in1_features)
        self.weight = Parameter(random.uniform(-bound, bound, (out_features, in1_features, in2_features)))
        self.bias = Parameter(random.uniform(-bound, bound, out_features)) if bias else None

    def forward(
        self, node: Node, x1: np.ndarray, x2: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
    ) -> np.ndarray:
        outputs, in1, in2 = weight.shape
        _check_last_axis(self, x1, in1, "in1_features")
        _check_last_axis(self, x2, in2, "in2_features")
        if x1.shape[:-1] != x2.shape[:-1]:
            raise ShapeError(
                "Bilinear needs two inputs with the same leading axes",
                got=f"{x1.shape} and {x2.shape}",
                expected=f"(..., {in1}) and (..., {in2}) with equal axes in place of the dots",
                todo="broadcast them beforehand with gz.broadcast_to",
            )
        need_x1, need_x2, need_weight, _ = node.needs
        node.saved = (
            x1 if need_x2 or need_weight else None,
            x2 if need_x1 or need_weight else None,
            weight if need_x1 or need_x2 else None,
        )
        y = np.matmul(_second_applied(x2, weight), _rows(x1)[:, :, None])[:, :, 0]
        if bias is not None:
            y += bias
        return y.reshape(*x1.shape[:-1], outputs)

    def backward(self, node: Node, dy: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        x1, x2, weight = node.saved
        need_x1, need_x2 = node.needs[:2]
        dx1 = dx2 = None
        if need_x1:
            dx1 = np.matmul(_rows(dy)[:, None, :], _second_applied(x2, weight)).reshape(node.inputs[0].shape)
        if need_x2:
            dx2 = _pairs(dy, x1).dot(weight.reshape(-1, weight.shape[2])).reshape(node.inputs[1].shape)
        return dx1, dx2

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        x1, x2, _ = node.saved
        gradients = {}
        if node.needs[2]:
            gradients["weight"] = _pairs(dy, x1).T.dot(_rows(x2)).reshape(node.inputs[2].shape)
        if node.needs[3]:
            gradients["bias"] = _column_sums(_rows(dy))
        return gradients

    def stack(self, nodes: list[Node], dys: list[np.ndarray]) -> tuple[Node, np.ndarray]:
        saved: tuple[Any, ...] = (None, None, None)
        if nodes[0].needs[2]:
            saved = (*(np.concatenate([_rows(node.saved[i]) for node in nodes]) for i in (0, 1)), None)
        return stand_in(nodes[0], saved), np.concatenate([_rows(dy) for dy in dys])

    def expand(self, node: Node, x1: Any, x2: Any, weight: Any, bias: Any) -> Any:
        left = x1.reshape(*x1.shape[:-1], 1, 1, x1.shape[-1])
        right = x2.reshape(*x2.shape[:-1], 1, x2.shape[-1], 1)
        y = (left @ weight @ right).reshape(*x1.shape[:-1], weight.shape[0])
        return y if bias is None else y + bias

    def recall(self, node: Node) -> tuple[Any, ...]:
        return with_placeholders(node, *node.saved, None)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Embedding(Module):
    """Table of vectors looked up by index: y = W[i].

    Shapes: index (...), integers from 0 to num_embeddings - 1 of any dtype; y (..., embedding_dim).

    Parameters:
        weight: (num_embeddings, embedding_dim), standard normal; zeros in the row padding_idx.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of a row.
        padding_idx: a row (negative ones count from the end) that starts as zeros and never gets a gradient.
        rng: a seed or a NumPy Generator for the initial values; None for fresh ones.

    Raises:
        ArgumentError: sizes below 1; a padding_idx outside the table; an index outside of it, with its position.
        DtypeError: indices that are no integers.

    >>> import numpy as np, graphzoo as gz
    >>> table = gz.Embedding(10, 3, padding_idx=0, rng=0)
    >>> table(np.array([[1, 2], [4, 0]]))[1, 1]
    tensor([0., 0., 0.], ...)
    """

    formulas = Formulas(
        forward=r"y_n = W_{i_n}",
        parameters=r"\frac{\partial L}{\partial W_k} = \sum_{n\,:\,i_n = k} \frac{\partial L}{\partial y_n}",
        source="PyTorch, torch.nn.Embedding",
    )
    parameter_names = ("weight",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                "Embedding: padding_idx is outside the table",
                got=padding_idx,
                expected=f"an index from {-num_embeddings} to {num_embeddings - 1}",
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        rows = generator(rng).standard_normal((num_embeddings, embedding_dim))
        if padding_idx is not None:
            rows[padding_idx] = 0
        self.weight = Parameter(rows)

    def forward(self, node: Node, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if index.dtype.kind not in "iu":
            raise DtypeError(
                "Embedding looks rows up by integers",
                got=describe(index),
                expected="an integer array or tensor",
                todo="make it an array of integers: np.array(index) for a list, index.astype(int) for whole floats",
            )
        if index.size and (index.min() < 0 or index.max() >= len(weight)):
            position = tuple(int(i) for i in np.argwhere((index < 0) | (index >= len(weight)))[0])
            raise ArgumentError(
                f"Embedding has no row {index[position]}",
                got=f"the index {index[position]} at position {position}",
                expected=f"indices from 0 to {len(weight) - 1}, as num_embeddings is {len(weight)}",
                todo="check the vocabulary, or make num_embeddings larger",
            )
        node.saved = (index,)
        return weight.take(index, axis=0)

    def backward(self, node: Node, dy: np.ndarray) -> None:
        return None  # no gradient flows to indices

    def parameter_gradients(self, node: Node, dy: np.ndarray) -> dict[str, np.ndarray]:
        (index,) = node.saved
        rows, width = node.inputs[1].shape
        # Flat positions, because np.add.at is fast for one axis only.
        places = index.reshape(-1, 1).astype(np.intp) * width + np.arange(width)
        gradient = np.zeros(rows * width, dy.dtype)
        np.add.at(gradient, places.reshape(-1), dy.reshape(-1))
        gradient = gradient.reshape(rows, width)
        if self.padding_idx is not None:
            gradient[self.padding_idx] = 0
        return {"weight": gradient}

    def stack(self, nodes: list[Node], dys: list[np.ndarray]) -> tuple[Node, np.ndarray]:
        index = np.concatenate([node.saved[0].reshape(-1) for node in nodes])
        return stand_in(nodes[0], (index,)), np.concatenate([_rows(dy) for dy in dys])

    def expand(self, node: Node, index: Any, weight: Any) -> Any:
        index = index.numpy()
        if self.padding_idx is None:
            return weight[index]
        learnt = (np.arange(len(weight)) != self.padding_idx).astype(weight.dtype).reshape(-1, 1)
        return (weight * learnt + weight.detach() * (1 - learnt))[index]

    def recall(self, node: Node) -> tuple[Any, ...]:
        return with_placeholders(node, *node.saved, None)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _rows(array: np.ndarray) -> np.ndarray:
    """All axes but the last flattened into one."""
    return array if array.ndim == 2 else array.reshape(array.size // array.shape[-1], array.shape[-1])


def _column_sums(rows: np.ndarray) -> np.ndarray:
    # BLAS adds up the rows of a matrix in half the time that sum(axis=0) takes.
    return _ones(len(rows), rows.dtype).dot(rows)


def _ones(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    return _few_ones(count, dtype) if count <= 4096 else np.ones(count, dtype)


@lru_cache(64)
def _few_ones(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    return np.ones(count, dtype)


def _second_applied(x2: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A_o x₂ᵀ for each row and output: (N, out, in1)."""
    outputs, in1, in2 = weight.shape
    return _rows(x2).dot(weight.reshape(-1, in2).T).reshape(-1, outputs, in1)


def _pairs(dy: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """Products of every entry of dy with every entry of x1, row by row: (N, out · in1)."""
    dy, x1 = _rows(dy), _rows(x1)
    return (dy[:, :, None] * x1[:, None, :]).reshape(len(dy), dy.shape[1] * x1.shape[1])


def with_placeholders(node: Node, *values: np.ndarray | None) -> tuple[Any, ...]:
    """Values of a node's inputs, with zeros for those that no derivative depends on, and that were not saved."""
    return tuple(
        np.broadcast_to(np.zeros((), source.dtype), source.shape) if value is None and source is not None else value
        for value, source in zip(values, node.inputs, strict=True)
    )


def check_sizes(module: Module, **sizes: int) -> None:
    """Refuse sizes that are no integers, or below 1."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ArgumentError(
                f"{type(module).__name__}: {name} must be positive", got=repr(size), expected="an integer ≥ 1"
            )


def _check_last_axis(module: Module, x: np.ndarray, features: int, argument: str) -> None:
    if x.ndim == 0 or x.shape[-1] != features:
        raise ShapeError(
            f"{module.name or type(module).__name__} does not fit its input",
            got=f"an input of shape {x.shape}",
            expected=f"(..., {features}): a last axis as long as {argument}",
            todo=f"make the layer with {argument}={x.shape[-1]}, or bring the features to the last axis "
            "(x.reshape(len(x), -1) flattens everything behind the batch)"
            if x.ndim
            else "pass at least one axis",
        )
