"""Initial values for recurrent cells; each changes a cell in place and returns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .. import init
from ..errors import ArgumentError, describe
from ..module import generator
from ..zoo.gated import GRUCell, LSTMCell
from ..zoo.recurrent import Cell

AnyCell = TypeVar("AnyCell", bound=Cell)


def identity(cell: AnyCell, scale: float = 1.0) -> AnyCell:
    """W_hh = scale · I in each gate's block of rows, and biases of zero: the IRNN, for an `RNNCell` with relu.

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, "A simple way to initialize recurrent networks of rectified linear units"
    (2015).

    >>> import graphzoo as gz
    >>> gz.bptt.inits.identity(gz.RNNCell(3, 2, nonlinearity="relu")).weight_hh.data
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    write_blocks(cell, lambda size: scale * np.eye(size), "identity()")
    for name in cell.parameter_names:
        bias = getattr(cell, name)
        if bias is not None and bias.ndim == 1:
            init.zeros_(bias)
    return cell


def orthogonal(cell: AnyCell, gain: float = 1.0, *, rng: int | np.random.Generator | None = None) -> AnyCell:
    """W_hh = gain · Q with a random orthogonal Q in each gate's block of rows: keeps norms where the cell is linear.

    Source: A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks" (ICLR 2014); for recurrent networks M. Henaff, A. Szlam, Y. LeCun, "Recurrent orthogonal
    networks and long-memory tasks" (ICML 2016).

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.bptt.inits.orthogonal(gz.GRUCell(3, 4), rng=0).weight_hh.data[4:8]
    >>> bool(np.allclose(w @ w.T, np.eye(4), atol=1e-6))
    True
    """
    draw = generator(rng)
    write_blocks(cell, lambda size: init.orthogonal((size, size), gain, rng=draw, dtype=np.float64), "orthogonal()")
    return cell


def write_blocks(cell: Cell, block: Callable[[int], np.ndarray], writer: str) -> None:
    """Put one square matrix for each gate into W_hh."""
    check_cell(cell, Cell)
    height, size = cell.weight_hh.shape
    cell.weight_hh.data[...] = np.concatenate([block(size) for _ in range(height // size)])
    cell.weight_hh.mark_written(writer)


def forget_bias(cell: LSTMCell, value: float = 1.0) -> LSTMCell:
    """An LSTM whose forget gates begin with the given bias: b_ih + b_hh = value in their rows.

    Source: F. Gers, J. Schmidhuber, F. Cummins, "Learning to forget" (2000); R. Jozefowicz, W. Zaremba, I. Sutskever,
    "An empirical exploration of recurrent network architectures" (ICML 2015).

    >>> import graphzoo as gz
    >>> cell = gz.bptt.inits.forget_bias(gz.LSTMCell(3, 2))
    >>> (cell.bias_ih.data + cell.bias_hh.data)[2:4]
    array([1., 1.], dtype=float32)
    """
    check_cell(cell, LSTMCell)
    write_bias(cell, slice(cell.hidden_size, 2 * cell.hidden_size), value, "forget_bias()")
    return cell


def chrono(
    cell: LSTMCell | GRUCell, longest: float, *, rng: int | np.random.Generator | None = None
) -> LSTMCell | GRUCell:
    """Gates that begin with memories of 1 to `longest` steps: b_f = log(u), u uniform on [1, longest − 1], b_i = −b_f.

    For a GRU the update gate is set so that the share it keeps is σ(log u).

    Args:
        cell: with biases.
        longest: T_max > 2, the longest dependency expected, in steps.
        rng: seed or generator.

    Source: C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?" (ICLR 2018), equations 15 and 16.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.bptt.inits.chrono(gz.LSTMCell(3, 4), 100, rng=0)
    >>> b = (cell.bias_ih.data + cell.bias_hh.data)[:8]
    >>> bool(np.allclose(b[:4], -b[4:])), bool((b[4:] <= np.log(99)).all())
    (True, True)
    """
    check_cell(cell, (LSTMCell, GRUCell))
    if not longest > 2:
        raise ArgumentError("chrono: impossible longest", got=longest, expected="a number of steps > 2")
    size = cell.hidden_size
    bias = np.log(generator(rng).uniform(1, longest - 1, size))
    if isinstance(cell, LSTMCell):
        write_bias(cell, slice(size, 2 * size), bias, "chrono()")
        write_bias(cell, slice(0, size), -bias, "chrono()")
    else:  # PyTorch's z is the share that is kept, the document's the share that is replaced
        write_bias(cell, slice(size, 2 * size), bias if cell.reset_after else -bias, "chrono()")
    return cell


def write_bias(cell: Cell, rows: slice, value: float | np.ndarray, writer: str) -> None:
    """Make the sum of both biases this value in some rows."""
    if cell.bias_ih is None:
        raise ArgumentError("this cell has no biases to set", got=repr(cell), todo="make it with bias=True")
    cell.bias_ih.data[rows] = value
    cell.bias_hh.data[rows] = 0
    cell.bias_ih.mark_written(writer)
    cell.bias_hh.mark_written(writer)


def check_cell(cell: object, kind: type | tuple[type, ...]) -> None:
    """Refuse what has no such gates."""
    if not isinstance(cell, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = "a recurrent cell" if kind is Cell else " or ".join(f"gz.{one.__name__}" for one in kinds)
        raise ArgumentError("this initialisation is for other cells", got=describe(cell), expected=names)
