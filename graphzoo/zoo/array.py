r"""Array modules: they move entries and compute nothing, so a gradient goes back along the way the entries came.

Functions and arguments are NumPy's (`gz.split`, `gz.moveaxis`, `gz.take`, …).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, ShapeError, describe
from ..module import Formulas, Module, lift, record, unary
from ..tape import Node
from ..tensor import Tensor

__all__ = [
    "Broadcast", "Concatenate", "Flatten", "Index", "Reshape", "Scatter", "ScatterAdd", "Split", "Stack", "Transpose",
    "broadcast_to", "concatenate", "expand_dims", "flatten", "flip", "hstack", "moveaxis", "ravel", "repeat",
    "reshape", "roll", "scatter", "scatter_add", "split", "squeeze", "stack", "swapaxes", "take", "tile", "transpose",
    "vstack",
]  # fmt: skip


def tensor_for(x: Any, module: Module) -> Tensor:
    """The tensor for the first argument of a function."""
    return x if isinstance(x, Tensor) else lift(x, module)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of what may be a tensor, an array, or nested lists."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def normal_axis(axis: int, ndim: int) -> int:
    """An axis counted from the front."""
    if not -ndim <= axis < ndim:
        raise ShapeError(
            "there is no such axis", got=f"axis {axis}", expected=f"{-ndim} to {ndim - 1}, for {ndim} axes"
        )
    return axis % ndim


# Shape ---------------------------------------------------------------------------------------------------------------


class Reshape(Module):
    """The same entries in the same order in another shape; one size may be -1.

    Raises:
        ShapeError: the shape has another number of entries.

    >>> import graphzoo as gz
    >>> gz.Reshape((-1, 2))(gz.tensor([1.0, 2.0, 3.0, 4.0])).shape
    (2, 2)
    """

    formulas = Formulas(
        forward=r"y_{\pi(i)} = x_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y_{\pi(i)}}",
    )
    saves = ()

    def __init__(self, shape: int | Sequence[int]) -> None:
        self.shape = shape

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.shape)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy.reshape(node.inputs[0].shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


class Transpose(Module):
    """Axes in another order; reversed by default. Output axis i is input axis `axes[i]`.

    >>> import graphzoo as gz
    >>> gz.Transpose((0, 2, 1))(gz.tensor([[[1.0, 2.0, 3.0]]])).shape
    (1, 3, 1)
    """

    formulas = Formulas(
        forward=r"Y = X^T", backward=r"\frac{\partial L}{\partial X} = \left(\frac{\partial L}{\partial Y}\right)^T"
    )
    saves = ()

    def __init__(self, axes: Sequence[int] | None = None) -> None:
        self.axes = axes
        if axes is not None:
            self._back = tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.axes)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy.transpose() if self.axes is None else dy.transpose(self._back)

    def extra_repr(self) -> str:
        return "" if self.axes is None else f"axes={self.axes}"


class Broadcast(Module):
    """x repeated along new leading axes and axes of size 1. The gradient is the sum over the repetitions.

    >>> import graphzoo as gz
    >>> gz.Broadcast((2, 3))(gz.tensor([[1.0], [2.0]]))
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """

    formulas = Formulas(
        forward=r"y_{ij} = x_j", backward=r"\frac{\partial L}{\partial x_j} = \sum_i \frac{\partial L}{\partial y_{ij}}"
    )
    broadcasts = True
    saves = ()

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, self.shape)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


# Selection -----------------------------------------------------------------------------------------------------------


class Index(Module):
    """y = x[key], with all of NumPy's keys: integers, slices, None, ..., integer and boolean arrays.

    Where an integer array names an entry several times, the gradients of its copies are summed.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad
    array([2., 0., 1.], dtype=float32)
    """

    formulas = Formulas(
        forward=r"y_i = x_{k_i}",
        backward=r"\frac{\partial L}{\partial x_j} = \sum_{i:\, k_i = j} \frac{\partial L}{\partial y_i}",
    )
    saves = ()

    def __init__(self, key: Any) -> None:
        self.key = plain_key(key)

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x[self.key]

    def backward(self, node: Node, dy: Any) -> Any:
        return back_in_place(dy, self.key, node.inputs[0].shape)

    def extra_repr(self) -> str:
        return f"key={self.key!r}"


def plain_key(key: Any) -> Any:
    """An index with arrays in the place of tensors."""
    if isinstance(key, tuple):
        return tuple([plain_key(part) for part in key])
    if isinstance(key, Tensor):
        key = key.numpy()
    if isinstance(key, np.ndarray) and key.dtype.kind not in "iub":
        raise DtypeError(
            "an index needs integers or booleans",
            got=describe(key),
            expected="an integer or boolean array",
            todo="convert it with .astype(np.int64); gz.tensor makes lists of numbers float32 unless given a dtype",
        )
    return key


def is_gather(key: Any) -> bool:
    """Whether a key may name an entry more than once: only keys with integer arrays do."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, (np.ndarray, list, tuple)) and np.asarray(part).dtype != np.bool_ for part in parts)


def back_in_place(dy: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape with dy added at the key; takes arrays and tensors."""
    if isinstance(dy, Tensor):
        return record(ScatterAdd(key), (np.zeros(shape, dy.dtype), dy))
    total = np.zeros(shape, dy.dtype)
    add_at(total, key, dy)
    return total


def add_at(total: np.ndarray, key: Any, values: np.ndarray) -> None:
    """total[key] += values in place, counting repeated entries each time. `total` is contiguous."""
    if not is_gather(key):
        total[key] += values
        return
    # NumPy's ufunc.at is quick on flat arrays only, so the key is turned into places in the flat array.
    places = np.arange(total.size).reshape(total.shape)[key]
    np.add.at(total.reshape(-1), places.reshape(-1), np.broadcast_to(values, places.shape).reshape(-1))


class ScatterAdd(Module):
    """y = x with values added at x[key]; an entry that is named several times gets all of its values.

    Shapes: the values broadcast to x[key].

    >>> import graphzoo as gz
    >>> gz.scatter_add(gz.tensor([0.0, 0.0, 0.0]), [0, 2, 2], gz.tensor([1.0, 2.0, 3.0]))
    tensor([1., 0., 5.])
    """

    formulas = Formulas(
        forward=r"y_j = x_j + \sum_{i:\, k_i = j} v_i",
        backward=r"\frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}, \quad "
        r"\frac{\partial L}{\partial v_i} = \frac{\partial L}{\partial y_{k_i}}",
    )
    broadcasts = True
    saves = ()

    def __init__(self, key: Any) -> None:
        self.key = plain_key(key)

    def forward(self, node: Node, x: np.ndarray, values: np.ndarray) -> np.ndarray:
        y = x.astype(np.result_type(x, values), order="C", copy=True)
        add_at(y, self.key, values)
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        return dy, dy[self.key] if node.needs[1] else None

    def extra_repr(self) -> str:
        return f"key={self.key!r}"


class Scatter(Module):
    """y = x with values put in the place of x[key]; where an entry is named several times, one of its values stays.

    Shapes: the values broadcast to x[key]. What was replaced gets no gradient, neither in x nor among the values.

    >>> import graphzoo as gz
    >>> gz.scatter(gz.tensor([1.0, 2.0, 3.0]), 1, 0)
    tensor([1., 0., 3.])
    """

    formulas = Formulas(
        forward=r"y_{k_i} = v_i, \quad y_j = x_j \text{ elsewhere}",
        backward=r"\frac{\partial L}{\partial x_j} = \frac{\partial L}{\partial y_j} [j \notin k], \quad "
        r"\frac{\partial L}{\partial v_i} = \frac{\partial L}{\partial y_{k_i}}",
    )
    broadcasts = True
    saves = ()

    def __init__(self, key: Any) -> None:
        self.key = plain_key(key)

    def forward(self, node: Node, x: np.ndarray, values: np.ndarray) -> np.ndarray:
        y = x.astype(np.result_type(x, values), copy=True)
        y[self.key] = values
        return y

    def backward(self, node: Node, dy: Any) -> Any:
        dx = dv = None
        if node.needs[0]:
            kept = np.ones(dy.shape, bool)
            kept[self.key] = False
            dx = np.where(kept, dy, 0)
        if node.needs[1]:
            dv = dy[self.key]
            if is_gather(self.key):
                dv = np.where(self._stayed(dy.shape, dv.shape), dv, 0)
        return dx, dv

    def _stayed(self, shape: tuple[int, ...], values_shape: tuple[int, ...]) -> np.ndarray:
        """Which of the values are in the output, and not replaced by a later one for the same entry."""
        numbers = np.arange(math.prod(values_shape)).reshape(values_shape)
        owner = np.empty(shape, np.intp)
        owner[self.key] = numbers
        return owner[self.key] == numbers

    def extra_repr(self) -> str:
        return f"key={self.key!r}"


# Joining and splitting -----------------------------------------------------------------------------------------------


class Concatenate(Module):
    """Any number of inputs joined along an existing axis. Shapes agree in all other axes.

    >>> import graphzoo as gz
    >>> gz.concatenate([gz.tensor([[1.0, 2.0]]), gz.tensor([[3.0]])], axis=1)
    tensor([[1., 2., 3.]])
    """

    formulas = Formulas(
        forward=r"y = (x_1, x_2, \dots)",
        backward=r"\left(\frac{\partial L}{\partial x_1}, \frac{\partial L}{\partial x_2}, \dots\right) = "
        r"\frac{\partial L}{\partial y}",
    )
    saves = ()

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def forward(self, node: Node, *x: np.ndarray) -> np.ndarray:
        return np.concatenate(x, self.axis)

    def backward(self, node: Node, dy: Any) -> Any:
        before = (slice(None),) * (self.axis % dy.ndim)
        gradients, start = [], 0
        for source, need in zip(node.inputs, node.needs, strict=True):
            end = start + source.shape[self.axis]
            gradients.append(dy[(*before, slice(start, end))] if need else None)
            start = end
        return tuple(gradients)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Stack(Module):
    """Any number of inputs of one shape joined along a new axis.

    >>> import graphzoo as gz
    >>> gz.stack([gz.tensor([1.0, 2.0]), gz.tensor([3.0, 4.0])], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """

    formulas = Formulas(
        forward=r"y_{ij} = (x_i)_j",
        backward=r"\frac{\partial L}{\partial (x_i)_j} = \frac{\partial L}{\partial y_{ij}}",
    )
    saves = ()

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def forward(self, node: Node, *x: np.ndarray) -> np.ndarray:
        return np.stack(x, self.axis)

    def backward(self, node: Node, dy: Any) -> Any:
        before = (slice(None),) * (self.axis % dy.ndim)
        return tuple([dy[(*before, i)] if need else None for i, need in enumerate(node.needs)])

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Split(Module):
    """Several outputs, cut from one input along an axis: one node, however many pieces.

    Args:
        indices_or_sections: the number of equal pieces, or the places to cut at (as `numpy.split` has it).
        axis: along which to cut.

    Raises:
        ShapeError: the axis cannot be divided into that many equal pieces.

    >>> import graphzoo as gz
    >>> gz.split(gz.tensor([1.0, 2.0, 3.0]), [1])
    (tensor([1.]), tensor([2., 3.]))
    """

    formulas = Formulas(
        forward=r"(y_1, y_2, \dots) = x",
        backward=r"\frac{\partial L}{\partial x} = \left(\frac{\partial L}{\partial y_1}, "
        r"\frac{\partial L}{\partial y_2}, \dots\right)",
    )
    saves = ()

    def __init__(self, indices_or_sections: int | Sequence[int], axis: int = 0) -> None:
        self.indices_or_sections = indices_or_sections
        self.axis = axis

    def forward(self, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(x, self.indices_or_sections, self.axis))

    def backward(self, node: Node, dy: tuple[Any, ...]) -> Any:
        dtype = node.inputs[0].dtype
        pieces = [np.zeros(shape, dtype) if d is None else d for d, shape in zip(dy, node.shape, strict=True)]
        return np.concatenate(pieces, self.axis)

    def extra_repr(self) -> str:
        return f"{self.indices_or_sections}, axis={self.axis}"


# As functions --------------------------------------------------------------------------------------------------------


@lru_cache(1024)
def _reshape(shape: tuple[int, ...]) -> Reshape:
    return Reshape(shape)


@lru_cache(1024)
def _transpose(axes: tuple[int, ...] | None) -> Transpose:
    return Transpose(axes)


@lru_cache(1024)
def _broadcast(shape: tuple[int, ...]) -> Broadcast:
    return Broadcast(shape)


@lru_cache(64)
def _concatenate(axis: int) -> Concatenate:
    return Concatenate(axis)


@lru_cache(64)
def _stack(axis: int) -> Stack:
    return Stack(axis)


def as_shape(shape: Any) -> tuple[int, ...]:
    """Sizes or axes given as one integer or several, hashable."""
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))


def reshape(x: Any, /, shape: Any) -> Tensor:
    """x in another shape; see `Reshape`."""
    module = _reshape(as_shape(shape))
    return unary(module, tensor_for(x, module))


def ravel(x: Any, /) -> Tensor:
    """x with one axis."""
    return reshape(x, (-1,))


def flatten(x: Any, /, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the axes from start_dim to end_dim (included) made one, as in `torch.flatten`."""
    shape = shape_of(x)
    if not shape:
        return reshape(x, (1,))
    first, last = normal_axis(start_dim, len(shape)), normal_axis(end_dim, len(shape))
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


class Flatten(Module):
    """`flatten` as a layer, for a `Sequential`: some neighbouring axes made one, by default all but the first.

    Args:
        start_dim, end_dim: the first and the last of the axes; both count from the end where they are negative.

    >>> import numpy as np, graphzoo as gz
    >>> gz.Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    formulas = Formulas(
        forward=r"y_{n, i J + j} = x_{n, i, j}",
        backward=r"\frac{\partial L}{\partial x_{n, i, j}} = \frac{\partial L}{\partial y_{n, i J + j}}",
        source="entries stay in their order; PyTorch's name",
    )

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Tensor:
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def squeeze(x: Any, /, axis: Any = None) -> Tensor:
    """x without its axes of size 1, or without the named ones, which must have size 1."""
    shape = shape_of(x)
    if axis is None:
        return reshape(x, [size for size in shape if size != 1])
    axes = {normal_axis(one, len(shape)) for one in (axis if isinstance(axis, tuple) else (axis,))}
    if any(shape[one] != 1 for one in axes):
        raise ShapeError(
            "only axes of size 1 can be squeezed out", got=f"axis {axis} of shape {shape}", expected="size 1"
        )
    return reshape(x, [size for one, size in enumerate(shape) if one not in axes])


def expand_dims(x: Any, /, axis: Any) -> Tensor:
    """x with axes of size 1 inserted; `axis` counts in the result."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    shape = list(shape_of(x))
    ndim = len(shape) + len(axes)
    for one in sorted(normal_axis(one, ndim) for one in axes):
        shape.insert(one, 1)
    return reshape(x, shape)


def transpose(x: Any, /, axes: Any = None) -> Tensor:
    """x with its axes in another order, reversed by default; see `Transpose`."""
    module = _transpose(None if axes is None else as_shape(axes))
    return unary(module, tensor_for(x, module))


def swapaxes(x: Any, /, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged."""
    axes = list(range(len(shape_of(x))))
    first, second = normal_axis(axis1, len(axes)), normal_axis(axis2, len(axes))
    axes[first], axes[second] = second, first
    return transpose(x, axes)


def moveaxis(x: Any, /, source: Any, destination: Any) -> Tensor:
    """x with some axes moved to other places, the rest in order."""
    ndim = len(shape_of(x))
    sources = [normal_axis(one, ndim) for one in as_shape(source)]
    destinations = [normal_axis(one, ndim) for one in as_shape(destination)]
    if len(sources) != len(destinations) or len(set(sources)) < len(sources) or len(set(destinations)) < len(sources):
        raise ArgumentError("moveaxis needs one destination for each source, none twice", got=(source, destination))
    order = [axis for axis in range(ndim) if axis not in sources]
    for place, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(place, axis)
    return transpose(x, order)


def broadcast_to(x: Any, /, shape: Any) -> Tensor:
    """x repeated to a shape, as a view; see `Broadcast`."""
    module = _broadcast(as_shape(shape))
    return unary(module, tensor_for(x, module))


def index(x: Any, key: Any, /) -> Tensor:
    """x[key]; see `Index`."""
    module = Index(key)
    return unary(module, tensor_for(x, module))


def scatter_add(x: Any, /, key: Any, values: Any) -> Tensor:
    """x with values added at x[key]; see `ScatterAdd`. x itself stays as it is."""
    return record(ScatterAdd(key), (x, _values_for(x, values)))


def scatter(x: Any, /, key: Any, values: Any) -> Tensor:
    """x with values in the place of x[key]; see `Scatter`. x itself stays as it is."""
    return record(Scatter(key), (x, _values_for(x, values)))


def _values_for(x: Any, values: Any) -> Any:
    """A number takes x's dtype, as it would in an assignment to x[key]."""
    return np.asarray(values, x.dtype) if isinstance(values, (bool, int, float)) and hasattr(x, "dtype") else values


def take(x: Any, /, indices: Any, axis: int | None = None) -> Tensor:
    """The entries (or slices along an axis) with the given numbers."""
    if axis is None:
        return index(ravel(x), indices)
    return index(x, (*(slice(None),) * normal_axis(axis, len(shape_of(x))), indices))


def concatenate(arrays: Sequence[Any], /, axis: int | None = 0) -> Tensor:
    """Tensors joined along an existing axis, flat ones for axis=None; see `Concatenate`."""
    if axis is None:
        arrays, axis = [ravel(array) for array in arrays], 0
    return record(_concatenate(axis), arrays)


def stack(arrays: Sequence[Any], /, axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis; see `Stack`."""
    return record(_stack(axis), arrays)


def vstack(arrays: Sequence[Any], /) -> Tensor:
    """Tensors joined along the first axis; those with one axis are rows."""
    return concatenate([reshape(array, (1, -1)) if len(shape_of(array)) < 2 else array for array in arrays])


def hstack(arrays: Sequence[Any], /) -> Tensor:
    """Tensors joined along the second axis, or the first where they have but one."""
    arrays = [ravel(array) if len(shape_of(array)) == 0 else array for array in arrays]
    return concatenate(arrays, axis=1 if arrays and len(shape_of(arrays[0])) > 1 else 0)


def split(x: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """x cut into equal pieces, or at given places, as `numpy.split` does it; see `Split`."""
    return record(Split(indices_or_sections, axis), (x,))


def flip(x: Any, /, axis: Any = None) -> Tensor:
    """x with the order of its entries reversed along some axes, all by default."""
    ndim = len(shape_of(x))
    axes = range(ndim) if axis is None else [normal_axis(one, ndim) for one in as_shape(axis)]
    return index(x, tuple([slice(None, None, -1 if one in axes else None) for one in range(ndim)]))


def roll(x: Any, /, shift: Any, axis: Any = None) -> Tensor:
    """x shifted along some axes, what leaves at one end coming in at the other; the flat x for axis=None."""
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), shape_of(x))
    axes = as_shape(axis)
    for one, by in zip(axes, np.broadcast_to(shift, len(axes)).tolist(), strict=True):
        x = take(x, np.roll(np.arange(shape_of(x)[one]), by), one)
    return x if isinstance(x, Tensor) else index(x, ...)


def repeat(x: Any, /, repeats: Any, axis: int | None = None) -> Tensor:
    """Each entry (or slice along an axis) several times in a row; of the flat x for axis=None."""
    if axis is None:
        x, axis = ravel(x), 0
    return take(x, np.repeat(np.arange(shape_of(x)[axis]), plain_key(repeats)), axis)


def tile(x: Any, /, reps: Any) -> Tensor:
    """x laid side by side, reps times along each axis; see `Broadcast`."""
    times = as_shape(reps)
    shape = (1,) * (len(times) - len(shape_of(x))) + tuple(shape_of(x))
    times = (1,) * (len(shape) - len(times)) + times
    # (n, m) becomes (times, n, times, m): what belongs to one axis stands side by side there.
    apart = reshape(x, [part for size in shape for part in (1, size)])
    tiled = broadcast_to(apart, [part for pair in zip(times, shape, strict=True) for part in pair])
    return reshape(tiled, [n * size for n, size in zip(times, shape, strict=True)])
