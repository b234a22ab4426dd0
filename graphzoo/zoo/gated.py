"""Gated recurrent cells: long short-term memory and the gated recurrent unit, each step one node.

All gates of a step come out of one or two products and one tanh; see `graphzoo.kernels.packed` for the layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError, describe
from ..kernels.gru import gru_after_delta, gru_after_step, gru_before_delta, gru_before_step
from ..kernels.lstm import lstm_back, lstm_delta, lstm_step
from ..kernels.packed import (
    AfterPack,
    BeforePack,
    MakePack,
    add_product,
    common_dtype,
    contiguous_columns,
    product,
    rows,
    summed_products,
)
from ..kernels.pool import empty
from ..module import Formulas, Module, lift, record
from ..tape import Node
from .activation import sigmoid
from .elementwise import tanh
from .recurrent import Cell, affine

__all__ = ["GRUCell", "LSTMCell"]

Array = np.ndarray
Seven = tuple[Array, Array, Array, Array, Array, Array, Array]


class LSTMCell(Cell):
    r"""Long short-term memory: c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c').

    The gates i, f, o = σ(a) and the cell gate g = tanh(a) each have rows of their own in
    a = W_ih x + b_ih + W_hh h + b_hh.

    Args:
        input_size: number of features F of the input.
        hidden_size: number of features H of the state.
        bias: whether there are biases.
        recompute: whether to keep only states and inputs for the backward pass and compute the gates again there: a
            step then holds a third to a half of the memory, and takes more time.
        rng: seed or generator for the initial values, U(−1/√H, 1/√H).

    Shapes:
        x: (N, F) or (F,); state: a pair (h, c) of shape (N, H) or (H,) each, zeros where None. Returns (h', c').

    Parameters (PyTorch's names, rows in PyTorch's order i, f, g, o): weight_ih (4H, F), weight_hh (4H, H),
    bias_ih (4H,), bias_hh (4H,).

    Raises:
        ArgumentError: a size below 1.
        ShapeError: an input or a state that does not fit, a state that is no pair.

    Source: zoo document, LSTM (its W are rows of weight_hh, its U of weight_ih, its G is g), with errata 3 (the printed
    dL/dC pairs dL/dh, o and C of different steps) and 4 (the parameter pass sums over the time steps).

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.LSTMCell(3, 4, rng=0)
    >>> state = None
    >>> for x in np.ones((5, 2, 3), np.float32):
    ...     h, c = state = cell(x, state)
    >>> h.shape, c.shape, h.node
    ((2, 4), (2, 4), LSTMCell (t=4))
    """

    formulas = Formulas(
        forward=r"C_{t+1} = f \odot C_t + i \odot g, \quad h_{t+1} = o \odot \tanh C_{t+1}, \quad"
        r" i, f, o = \sigma(a_{i,f,o}), \quad g = \tanh a_g, \quad a = W_{ih} x_t + b_{ih} + W_{hh} h_t + b_{hh}",
        backward=r"dC = \frac{\partial L}{\partial C_{t+1}}"
        r" + \frac{\partial L}{\partial h_{t+1}} \odot o \odot (1 - \tanh^2 C_{t+1}), \quad"
        r" \delta_i = dC \odot g \odot i (1 - i), \quad \delta_f = dC \odot C_t \odot f (1 - f), \quad"
        r" \delta_g = dC \odot i \odot (1 - g^2), \quad"
        r" \delta_o = \frac{\partial L}{\partial h_{t+1}} \odot \tanh C_{t+1} \odot o (1 - o), \quad"
        r" \frac{\partial L}{\partial h_t} = W_{hh}^T \delta, \quad \frac{\partial L}{\partial x_t} = W_{ih}^T \delta,"
        r" \quad \frac{\partial L}{\partial C_t} = dC \odot f",
        parameters=r"\frac{\partial L}{\partial W_{hh}} = \sum_t \delta_t h_t^T, \quad"
        r" \frac{\partial L}{\partial W_{ih}} = \sum_t \delta_t x_t^T, \quad"
        r" \frac{\partial L}{\partial b} = \sum_t \delta_t",
        source="zoo document, LSTM; errata 3 (dL/dC pairs dL/dh, o and C of the same step) and 4 (sum over t)",
    )
    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        recompute: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, rng=rng)
        self.recompute = recompute

    def extra_repr(self) -> str:
        return super().extra_repr() + (", recompute=True" if self.recompute else "")

    def __call__(self, x: Any, state: Any = None) -> Any:
        x = lift(x, self)
        h, c = [self.zero_state(x) if item is None else lift(item, self) for item in pair(state, self)]
        return record(self, (x, h, c), self.place_after(h))

    def forward(
        self, node: Node, x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any
    ) -> Any:
        self.check_step(x, h)
        self.check_step(x, c)
        dtype = common_dtype(x, h, c, weight_ih)
        pack = self.pack_for(node, dtype, weight_ih, weight_hh, bias_ih, bias_hh)
        c = contiguous_columns(c)
        inputs, gates, new_c, new_h = self._step(pack, h, x, c)
        # tanh(c') is not saved: to compute it again costs little time, to keep it an eighth of a step's memory.
        node.saved = ((h, x) if self.recompute else inputs, None if self.recompute else gates, c, new_c, pack)
        return rows(new_h, x.ndim), rows(new_c, x.ndim)

    def again(self, node: Node) -> tuple[Any, ...]:
        (h, x), _, c, new_c, pack = node.saved
        # The whole step, though less is wanted: by the same kernel the gates are the same to the bit.
        return *self._step(pack, h, x, c)[:2], c, new_c, pack

    def _step(self, pack: Any, h: np.ndarray, x: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
        """[h; 1; x], the gates in rows o, i, f, g, and the state after the step."""
        if x.ndim == 1:
            h, x = h[None], x[None]
        weight, dtype, batch = pack.weight, pack.dtype, c.shape[1]
        inputs, gates = np.empty((weight.shape[1], batch), dtype), empty((weight.shape[0], batch), dtype)
        new_c, new_h = np.empty(c.shape, dtype), np.empty(c.shape, dtype)
        lstm_step(gates, weight, inputs, h.T, x.T, c, new_c, new_h)
        return inputs, gates, new_c, new_h

    def delta_of(self, node: Node, dy: Any) -> tuple[np.ndarray, ...]:
        """δ in rows o, i, f, g."""
        arguments = self._of_delta(node, dy)
        lstm_delta(*arguments)
        return arguments[:1]

    def _of_delta(self, node: Node, dy: Any) -> Seven:
        """The arguments of `lstm_delta`: the first and the last one are written to."""
        _, gates, c, new_c, _ = self.saved_by(node)
        dh, dc = (np.zeros_like(new_c) if d is None else contiguous_columns(d) for d in dy)
        return empty(gates.shape, gates.dtype), gates, c, new_c, dh, dc, np.empty_like(new_c)

    def backward(self, node: Node, dy: Any) -> Any:
        arguments = self._of_delta(node, dy)
        pack, ndim, dh = node.saved[-1], len(node.shape[0]), None
        if node.needs[1]:
            dh = np.empty_like(arguments[-1])
            lstm_back(*arguments, pack.to_h, dh)
        else:
            lstm_delta(*arguments)
        delta, *_, dc_before = arguments
        node.delta = delta
        dx = rows(product(pack.to_x, delta), ndim) if node.needs[0] else None
        return dx, None if dh is None else rows(dh, ndim), rows(dc_before, ndim) if node.needs[2] else None

    def in_order(self, products: np.ndarray) -> np.ndarray:
        return np.concatenate([products[self.hidden_size :], products[: self.hidden_size]])

    def recall(self, node: Node) -> tuple[Any, ...]:
        x, h, *parameters = super().recall(node)
        return x, h, self.saved_by(node)[2].T.reshape(node.inputs[2].shape), *parameters

    def expand(
        self, node: Node, x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any
    ) -> Any:
        a = affine(x, weight_ih, bias_ih) + affine(h, weight_hh, bias_hh)
        i, f, g, o = [a[..., k * self.hidden_size : (k + 1) * self.hidden_size] for k in range(4)]
        new_c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(new_c), new_c


def pair(state: Any, module: Module) -> Any:
    """The state of an LSTM as a pair."""
    if state is None:
        return None, None
    if isinstance(state, (tuple, list)) and len(state) == 2:
        return state
    raise ShapeError(
        f"the state of {type(module).__name__} is a pair",
        got=f"{type(state).__name__} of {len(state)}" if isinstance(state, (tuple, list)) else describe(state),
        expected="(h, c), or None for zeros",
        todo="pass both parts of what the last call returned",
    )


class GRUCell(Cell):
    r"""Gated recurrent unit: an update gate z mixes the state h with a candidate c, which a reset gate r has a say in.

    By default the zoo document's unit, with the reset gate before the product:
    c = tanh(U_c x + b_c + W_c (r ⊙ h)), h' = (1 − z) ⊙ h + z ⊙ c.

    With ``reset_after=True`` PyTorch's and cuDNN's, with the reset gate after the product and the update gate the other
    way round: c = tanh(U_c x + b_ic + r ⊙ (W_c h + b_hc)), h' = (1 − z) ⊙ c + z ⊙ h.

    In both, r, z = σ(U x + b_ih + W h + b_hh), and the rows of the parameters are r, z, c (PyTorch's r, z, n) in this
    order. PyTorch's state loads into a cell with ``reset_after=True`` as it is and gives PyTorch's numbers: the
    opposite sense of z lies in the formula, not in the weights. As σ(−a) = 1 − σ(a), to turn the sense of z round is to
    negate its rows.

    Args:
        input_size: number of features F of the input.
        hidden_size: number of features H of the state.
        bias: whether there are biases.
        reset_after: PyTorch's variant instead of the document's.
        recompute: whether to keep only states and inputs for the backward pass and compute the gates again there: a
            step then holds a third to a half of the memory, and takes more time.
        rng: seed or generator for the initial values, U(−1/√H, 1/√H).

    Shapes:
        x: (N, F) or (F,); state: (N, H) or (H,), zeros if None. Returns h' of the state's shape.

    Parameters (PyTorch's names, rows r, z, c): weight_ih (3H, F), weight_hh (3H, H), bias_ih (3H,), bias_hh (3H,).

    Raises:
        ArgumentError: a size below 1.
        ShapeError: an input or a state that does not fit.

    Source: zoo document, GRU (its W are rows of weight_hh, its U of weight_ih), with errata 4 (the parameter pass sums
    over the time steps); its `W_c r ⊙ h` is W_c (r ⊙ h), the one reading that its gradients agree with. reset_after:
    the documentation of PyTorch's GRUCell.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.GRUCell(3, 4, reset_after=True, rng=0)
    >>> h = None
    >>> for x in np.ones((5, 2, 3), np.float32):
    ...     h = cell(x, h)
    >>> h.shape, h.node
    ((2, 4), GRUCell (t=4))
    """

    formulas = Formulas(
        forward=r"h_{t+1} = (1 - z) \odot h_t + z \odot c, \quad c = \tanh(W_c (r \odot h_t) + U_c x_t + b_c), \quad"
        r" r = \sigma(W_r h_t + U_r x_t + b_r), \quad z = \sigma(W_z h_t + U_z x_t + b_z)",
        backward=r"\delta_c = \frac{\partial L}{\partial h_{t+1}} \odot z \odot (1 - c^2), \quad"
        r" \delta_z = \frac{\partial L}{\partial h_{t+1}} \odot (c - h_t) \odot z (1 - z), \quad"
        r" \delta_r = (W_c^T \delta_c) \odot h_t \odot r (1 - r), \quad"
        r" \frac{\partial L}{\partial h_t} = \frac{\partial L}{\partial h_{t+1}} \odot (1 - z)"
        r" + W_r^T \delta_r + W_z^T \delta_z + (W_c^T \delta_c) \odot r, \quad"
        r" \frac{\partial L}{\partial x_t} = U_r^T \delta_r + U_z^T \delta_z + U_c^T \delta_c",
        parameters=r"\frac{\partial L}{\partial W_{r,z}} = \sum_t \delta_{r,z} h_t^T, \quad"
        r" \frac{\partial L}{\partial W_c} = \sum_t \delta_c (r \odot h_t)^T, \quad"
        r" \frac{\partial L}{\partial U} = \sum_t \delta\, x_t^T, \quad"
        r" \frac{\partial L}{\partial b} = \sum_t \delta",
        source="zoo document, GRU; errata 4 (sum over t); W_c (r ⊙ h) for its W_c r ⊙ h",
    )
    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        reset_after: bool = False,
        *,
        recompute: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, rng=rng)
        self.reset_after = reset_after
        self.recompute = recompute

    def loaded_from_torch(self) -> None:
        self.reset_after = True

    def extra_repr(self) -> str:
        extra = super().extra_repr() + (", reset_after=True" if self.reset_after else "")
        return extra + (", recompute=True" if self.recompute else "")

    @property
    def make_pack(self) -> MakePack:
        return AfterPack if self.reset_after else BeforePack

    def forward(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        self.check_step(x, h)
        dtype = common_dtype(x, h, weight_ih)
        pack = self.pack_for(node, dtype, weight_ih, weight_hh, bias_ih, bias_hh)
        inputs, gates, new = self._step(h, x, pack)
        node.saved = ((h, x), None, pack) if self.recompute else (inputs, gates, pack)
        return rows(new, x.ndim)

    def _step(self, h: np.ndarray, x: np.ndarray, pack: Any) -> tuple[np.ndarray, ...]:
        if x.ndim == 1:
            h, x = h[None], x[None]
        return (self._reset_after if self.reset_after else self._reset_before)(h.T, x.T, pack)

    def again(self, node: Node) -> tuple[Any, ...]:
        (h, x), _, pack = node.saved
        inputs, gates, _ = self._step(h, x, pack)
        return inputs, gates, pack

    def _reset_before(self, h: np.ndarray, x: np.ndarray, pack: BeforePack) -> tuple[np.ndarray, ...]:
        """[h; 1; x; r ⊙ h], the gates r, z, c, and h'."""
        (hidden, batch), dtype = h.shape, pack.dtype
        inputs, new = np.empty((pack.gates.shape[1] + hidden, batch), dtype), np.empty((hidden, batch), dtype)
        gates = empty((3 * hidden, batch), dtype)
        gru_before_step(gates, pack.gates, pack.candidate, inputs, h, x, new)
        return inputs, gates, new

    def _reset_after(self, h: np.ndarray, x: np.ndarray, pack: AfterPack) -> tuple[np.ndarray, ...]:
        """[h; 1; x], the gates r, z, c with W_c h + b_hc below them, and h'."""
        (hidden, batch), dtype = h.shape, pack.dtype
        inputs, new = np.empty((pack.gates.shape[1], batch), dtype), np.empty((hidden, batch), dtype)
        gates = empty((4 * hidden, batch), dtype)
        gru_after_step(gates, pack.gates, pack.candidate_of_x, pack.candidate_of_h, inputs, h, x, new)
        return inputs, gates, new

    def delta_of(self, node: Node, dy: Any) -> tuple[np.ndarray, ...]:
        delta = self._delta_reset_after if self.reset_after else self._delta_reset_before
        return delta(node, contiguous_columns(dy))

    def _delta_reset_before(self, node: Node, dh: np.ndarray) -> tuple[np.ndarray, ...]:
        """δ in rows r, z, c; and what reaches h other than through the gates."""
        inputs, gates, pack = self.saved_by(node)
        delta, past = np.empty_like(gates), np.empty_like(dh)
        gru_before_delta(delta, gates, inputs[: self.hidden_size], dh, past, pack.to_reset)
        return delta, past

    def _delta_reset_after(self, node: Node, dh: np.ndarray) -> tuple[np.ndarray, ...]:
        """δ in rows c, r, z and c's part that comes from h; and what reaches h other than through the gates."""
        inputs, gates, _ = self.saved_by(node)
        delta, past = np.empty_like(gates), np.empty_like(dh)
        gru_after_delta(delta, gates, inputs[: self.hidden_size], dh, past)
        return delta, past

    def backward(self, node: Node, dy: Any) -> Any:
        delta, past = self.delta_of(node, dy)
        node.delta = delta
        pack, hidden, ndim = node.saved[-1], self.hidden_size, len(node.shape)
        of_h, of_x = (delta[hidden:], delta[:-hidden]) if self.reset_after else (delta[:-hidden], delta)
        dx = rows(product(pack.to_x, of_x), ndim) if node.needs[0] else None
        if not node.needs[1]:
            return dx, None
        add_product(past, pack.to_h, of_h)
        return dx, rows(past, ndim)

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, np.ndarray]:
        deltas, inputs = self.steps_of(node, dy)
        hidden, features = self.hidden_size, self.input_size

        def products(of_delta: slice, of_inputs: slice) -> np.ndarray:
            return summed_products([delta[of_delta] for delta in deltas], [array[of_inputs] for array in inputs])

        if self.reset_after:
            # δ has rows c, r, z, c_of_h: those of weight_hh come last, those of weight_ih first but for c.
            of_x = products(slice(3 * hidden), slice(hidden, None))
            of_h = products(slice(hidden, None), slice(hidden + 1))
            weight_ih, bias_ih = np.roll(of_x[:, 1:], -hidden, axis=0), np.roll(of_x[:, 0], -hidden)
            weight_hh, bias_hh = of_h[:, :hidden].copy(), of_h[:, hidden].copy()
        else:
            # The inputs are [h; 1; x; r ⊙ h].
            gates = products(slice(2 * hidden), slice(hidden + 1 + features))
            of_rest = products(slice(2 * hidden, None), slice(hidden, None))
            weight_ih = np.concatenate([gates[:, hidden + 1 :], of_rest[:, 1 : features + 1]])
            weight_hh = np.concatenate([gates[:, :hidden], of_rest[:, features + 1 :]])
            bias_ih = np.concatenate([gates[:, hidden], of_rest[:, 0]])
            bias_hh = bias_ih.copy()
        return {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}

    def expand(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        first, second = self.hidden_size, 2 * self.hidden_size
        of_x = affine(x, weight_ih, bias_ih)
        if self.reset_after:
            of_h = affine(h, weight_hh, bias_hh)
            r = sigmoid(of_x[..., :first] + of_h[..., :first])
            z = sigmoid(of_x[..., first:second] + of_h[..., first:second])
            c = tanh(of_x[..., second:] + r * of_h[..., second:])
            return (1 - z) * c + z * h
        of_x = of_x if bias_hh is None else of_x + bias_hh
        of_h = h @ weight_hh[:second].T
        r = sigmoid(of_x[..., :first] + of_h[..., :first])
        z = sigmoid(of_x[..., first:second] + of_h[..., first:])
        c = tanh(of_x[..., second:] + (r * h) @ weight_hh[second:].T)
        return (1 - z) * h + z * c
