"""Cells of any kind, called in one way; and how their states are built.

A state is a tensor, or a tree (tuples, lists, named tuples, dictionaries) of tensors, its *parts*. They have names:
``h`` for a single tensor, ``h`` and ``c`` for a pair, fields and keys where there are such, else ``s0``, ``s1``, ….
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError, describe
from ..module import Module
from ..tensor import Tensor, as_array, constant
from ..zoo.gated import LSTMCell
from ..zoo.recurrent import Cell, SimpleRNNCell
from ..zoo.sequence import Layers

Parts = dict[str, Tensor]


# States as trees ------------------------------------------------------------------------------------------------------


def shape_of(state: Any) -> Any:
    """What two states built alike have in common."""
    if isinstance(state, Mapping):
        return tuple((key, shape_of(value)) for key, value in state.items())
    if isinstance(state, (tuple, list)):
        return tuple(shape_of(value) for value in state)
    return None


def leaves(state: Any) -> list[Any]:
    """The tensors of a state in order."""
    if isinstance(state, Mapping):
        state = list(state.values())
    return [leaf for value in state for leaf in leaves(value)] if isinstance(state, (tuple, list)) else [state]


def rebuilt(like: Any, values: Iterator[Any]) -> Any:
    """A tree built like another one, of other tensors."""
    if isinstance(like, Mapping):
        return {key: rebuilt(value, values) for key, value in like.items()}
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*[rebuilt(value, values) for value in like])
    if isinstance(like, (tuple, list)):
        return type(like)([rebuilt(value, values) for value in like])
    return next(values)


def names_of(state: Any) -> list[str]:
    """The names of a state's parts."""
    count = len(leaves(state))
    if isinstance(state, Mapping) and count == len(state):
        return [str(key) for key in state]
    if isinstance(state, tuple) and hasattr(state, "_fields") and count == len(state):
        return list(state._fields)
    return ["h", "c"][:count] if count <= 2 else [f"s{index}" for index in range(count)]


# Cells of any kind ----------------------------------------------------------------------------------------------------


class Stepper:
    """A cell, called in one way whatever it returns: ``step(x, state) -> (output, state)``.

    What a cell returns is its new state if it is built like the state that it was given, and a pair (output, state) if
    the second of it is.
    """

    def __init__(self, cell: Callable[..., Any]) -> None:
        if isinstance(cell, Layers) or not callable(cell):
            raise ArgumentError(
                "this is no cell",
                got=describe(cell) if not isinstance(cell, Layers) else f"gz.{type(cell).__name__}, of whole sequences",
                expected="a module or function of one time step, (x, state) to the state or (output, state)",
                todo="use gz.RNNCell, gz.LSTMCell or gz.GRUCell; those of a layer are in its .cells",
            )
        self.cell = cell
        self.shape: Any = None  # how the state is built
        self.names: list[str] = []

    def initial(self, state: Any, x: Any, dtype: Any) -> Any:
        """The state before the first step as leaves that require a gradient; None if only the cell knows it."""
        if state is None and isinstance(self.cell, Cell):
            zeros = self.cell.zero_state(constant(as_array(x)))
            state = (zeros, zeros) if isinstance(self.cell, LSTMCell) else zeros
        if state is None:
            return None
        self.learn(state)
        made = [leaf_for(value, dtype, name) for name, value in self.parts(state).items()]
        return rebuilt(state, iter(made))

    def learn(self, state: Any) -> None:
        """Note how states are built."""
        self.shape = shape_of(state)
        self.names = names_of(state)

    def parts(self, state: Any) -> Parts:
        """The parts of a state by name; none of None."""
        return {} if state is None else dict(zip(self.names, leaves(state), strict=True))

    def whole(self, like: Any, parts: Parts) -> Any:
        """A state built like the given one, of other parts."""
        return rebuilt(like, iter([parts[name] for name in self.names]))

    def __call__(self, x: Any, state: Any) -> tuple[Any, Any]:
        result = self.cell(x, state)
        if not self.names:
            self.learn(self.guess(result))
        if shape_of(result) == self.shape:
            output, state = leaves(result)[0], result
        elif isinstance(result, (tuple, list)) and len(result) == 2 and shape_of(result[1]) == self.shape:
            output, state = result
        else:
            output, state = None, None
        if not all(isinstance(part, Tensor) for part in leaves(state)):
            raise ArgumentError(
                "the cell returned something that is neither its state nor (output, state)",
                got=describe_tree(result),
                expected=f"tensors built like the state before ({', '.join(self.names)}), or (output, state)",
            )
        return output, state

    def guess(self, result: Any) -> Any:
        """The state in what a cell returned that was called without one."""
        if isinstance(result, Tensor):
            return result
        if isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[1], (tuple, list, Mapping)):
            return result[1]
        raise ArgumentError(
            "this cell's first result could be a state or (output, state)",
            got=describe_tree(result),
            todo="pass the initial state, which tells how a state is built",
        )

    def read_out(self, output: Any, before: Parts, after: Parts) -> Any:
        """The output of a step. `SimpleRNNCell` reads its state out inside its node; here this is made anew from the
        state, so that the graph shows it."""
        if not isinstance(self.cell, SimpleRNNCell):
            return output
        return (after if self.cell.readout == "new" else before)["h"] @ self.cell.weight_ho.T


def describe_tree(value: Any) -> str:
    """As `describe`, for trees too."""
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}: {', '.join(describe_tree(item) for item in value)}"
    return describe(value)


def leaf_for(value: Any, dtype: Any, name: str) -> Tensor:
    """A part of the initial state: itself if gradients flow to it already, else a leaf of its values."""
    if isinstance(value, Tensor) and value.requires_grad:
        return value
    array = as_array(value, None if hasattr(value, "dtype") else dtype)  # numbers would be rounded to float32 first
    if array.dtype.kind != "f":
        raise UnsupportedError("a state must be floating-point to have gradients", got=f"{name}: {describe(array)}")
    return Tensor(np.array(array, dtype or array.dtype), requires_grad=True, name=f"{name}_0")


def studied(cell: Any, dtype: Any) -> Any:
    """The cell to study: itself if its parameters are of the dtype, else a copy that is."""
    if dtype is None or not isinstance(cell, Module) or all(p.dtype == np.dtype(dtype) for p in cell.parameters()):
        return cell
    return copy.deepcopy(cell).astype(dtype)
