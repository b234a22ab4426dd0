"""Recurrent cells: what they share, and Elman's. One time step of a batch is one node, with passes derived by hand.

How the cells lay out their arrays, and why, is told in `graphzoo.kernels.packed`. In short: states are feature-major
inside, one array holds [h; 1; x], and the weights are copied into a *pack* that needs few products a step. A pack is
made at the first step of a sequence and handed on with the carried state: a step looks for it in the node that its
state came from. Being a copy, it also keeps the gradients of earlier steps right when an optimiser changes the
parameters in the middle of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError, ShapeError, describe
from ..kernels.packed import (
    JoinedPack,
    MakePack,
    columns,
    common_dtype,
    contiguous_columns,
    joined,
    product,
    rows,
    summed_products,
    tanh_delta,
)
from ..module import Formulas, Module, generator, lift, record
from ..state import Parameter
from ..tape import RELEASED, Node, Place, local, new_object, node_of, stand_in
from ..tensor import Tensor, constant
from .activation import relu
from .elementwise import tanh
from .linear import check_sizes

__all__ = ["RNNCell", "SimpleRNNCell"]


class Cell(Module):
    """Base of the recurrent cells: parameters, carried state and time step, checks, and the shared parameter pass.

    A subclass names its kind of pack and computes the gradient at its pre-activations (`delta_of`). Every node saves
    the joined inputs [h; 1; x] first and the pack last. A step gives its output of output_size features first and the
    carried state last; they are the same h unless the cell has a read-out.
    """

    parameter_names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    patient = True
    gates: ClassVar[int]

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        check_sizes(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size
        height = self.gates * hidden_size
        draw = uniform_parameters(hidden_size, rng)
        self.weight_ih = draw(height, input_size)
        self.weight_hh = draw(height, hidden_size)
        self.bias_ih = draw(height) if bias else None
        self.bias_hh = draw(height) if bias else None

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.has_bias else ", bias=False")

    @property
    def has_bias(self) -> bool:
        """Whether any bias is there."""
        return any(getattr(self, name) is not None for name in self.parameter_names if name.startswith("bias"))

    def __call__(self, x: Any, state: Any = None) -> Any:
        x = lift(x, self)
        h = self.zero_state(x) if state is None else lift(state, self)
        return record(self, (x, h), self.place_after(h))

    # The carried state ------------------------------------------------------------------------------------------------

    def zero_state(self, x: Tensor) -> Tensor:
        """The state before the first step."""
        return constant(np.zeros((*x.shape[:-1], self.hidden_size), common_dtype(x.data, self.weight_hh.data)))

    def place_after(self, h: Tensor) -> Place:
        """Where a step is recorded: at the user's time step, or else one after that of the carried state."""
        place = local.context.place
        if place.t is not None or not local.context.recording:
            return place
        before = self.use_before(h.source)
        return Place(place.scope, 0 if before is None or before.place.t is None else before.place.t + 1)

    def use_before(self, source: Any) -> Node | None:
        """The use of this cell that a carried state comes from. In between, the state may have passed through a few
        other operations (a slice, dropout, a mask), as long as it was their first input."""
        for _ in range(3):
            node = node_of(source)
            if node is None or node.module is self:
                return node
            if isinstance(node.module, Cell) or not node.inputs:
                return None
            source = node.inputs[0]
        return None

    @property
    def make_pack(self) -> MakePack:
        """The kind of pack that the cell's passes work with."""
        return JoinedPack

    def pack_for(self, node: Node, dtype: np.dtype[Any], *parameters: np.ndarray | None) -> Any:
        """The pack that was given with the node or made for the step before, if it still serves; else a new one."""
        if node.saved is not None:
            return node.saved
        if node.inputs:
            before = self.use_before(node.inputs[1])
            if before is not None and before.saved is not RELEASED:
                pack = before.saved[-1]
                if pack.serves(node, parameters, dtype):
                    return pack
        return self.make_pack(node, parameters, dtype)

    def unrecorded(self, *inputs: np.ndarray, pack: Any = None) -> tuple[Any, Any]:
        """A step outside any graph: arrays in; output arrays and the pack out, which the next step wants."""
        parameters = [None if p is None else p.data for p in map(self.__getattribute__, self.parameter_names)]
        node = new_object(Node)
        node.inputs, node.needs, node.number, node.saved = (), (False,) * (len(inputs) + len(parameters)), 0, pack
        return self.forward(node, *inputs, *parameters), node.saved[-1]

    def check_step(self, x: np.ndarray, h: np.ndarray) -> None:
        """Refuse inputs that NumPy would explain badly or, worse, broadcast."""
        if x.shape[-1:] != (self.input_size,) or x.ndim > 2:
            raise ShapeError(
                f"{type(self).__name__} got an input that does not fit",
                got=describe(x),
                expected=f"(batch, {self.input_size}) or ({self.input_size},), as input_size={self.input_size}",
                todo="pass one time step at a time; whole sequences are for gz.RNN, gz.SimpleRNN, gz.LSTM and gz.GRU",
            )
        if h.shape != (*x.shape[:-1], self.hidden_size):
            raise ShapeError(
                f"{type(self).__name__} got a state that does not fit",
                got=describe(h),
                expected=f"{(*x.shape[:-1], self.hidden_size)}: the batch of the input {x.shape}, and "
                f"hidden_size={self.hidden_size}",
                todo="pass None for a state of zeros",
            )

    # What the passes share --------------------------------------------------------------------------------------------

    def delta_of(self, node: Node, dy: Any) -> tuple[np.ndarray, ...]:
        """The gradient at the pre-activations, feature-major; then what else `backward` wants of its computation."""
        raise NotImplementedError

    def saved_by(self, node: Node) -> tuple[Any, ...]:
        """What a step has saved; computed again, once, where the cell keeps only what it was computed from."""
        if node.saved[0].__class__ is tuple:
            node.saved = self.again(node)
        return node.saved

    def again(self, node: Node) -> tuple[Any, ...]:
        """What a step would have saved, from the (h, x) that it has saved instead."""
        raise NotImplementedError

    def aside(self, node: Node) -> tuple[Any, ...]:
        """[h; 1; x] alone where δ is known already: the gates' memory then serves the next step's backward pass."""
        return node.saved if node.delta is None else node.saved[:1]

    def stack(self, nodes: Sequence[Node], dys: Sequence[Any]) -> tuple[Node, Any]:
        """Several steps as one step of a larger batch, for one product instead of many."""
        deltas = [
            self.delta_of(use, dy)[0] if use.delta is None else use.delta for use, dy in zip(nodes, dys, strict=True)
        ]
        return stand_in(nodes[0], ([self.saved_by(use)[0] for use in nodes],), deltas), None

    def steps_of(self, node: Node, dy: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """δ and [h; 1; x] of a step, or of each step that a node stands for."""
        if node.delta.__class__ is list:
            return node.delta, node.saved[0]
        inputs = self.saved_by(node)[0]
        return [self.delta_of(node, dy)[0] if node.delta is None else node.delta], [inputs]

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, np.ndarray]:
        products, hidden = summed_products(*self.steps_of(node, dy)), self.hidden_size
        bias = self.in_order(products[:, hidden])
        return {
            "weight_ih": self.in_order(products[:, hidden + 1 :]),
            "weight_hh": self.in_order(products[:, :hidden]),
            "bias_ih": bias,
            "bias_hh": bias.copy(),
        }

    def in_order(self, products: np.ndarray) -> np.ndarray:
        """A copy with rows in the parameters' order, of one with those of the gates."""
        return products.copy()

    def recall(self, node: Node) -> tuple[Any, ...]:
        saved = self.saved_by(node)
        inputs, pack, hidden = saved[0], saved[-1], self.hidden_size
        x = inputs[hidden + 1 : hidden + 1 + self.input_size].T.reshape(node.inputs[0].shape)
        h = inputs[:hidden].T.reshape(node.inputs[1].shape)
        return x, h, *pack.unpacked()


def uniform_parameters(hidden_size: int, rng: int | np.random.Generator | None) -> Callable[..., Parameter]:
    """A function that draws a parameter of a shape from U(−1/√hidden_size, 1/√hidden_size), as PyTorch's cells do."""
    draw, bound = generator(rng), hidden_size**-0.5
    return lambda *shape: Parameter(draw.uniform(-bound, bound, shape))


def affine(x: Any, weight: Any, bias: Any) -> Any:
    """x Wᵀ + b in tensor operations."""
    z = x @ weight.T
    return z if bias is None else z + bias


class RNNCell(Cell):
    r"""Elman's recurrent network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu instead of tanh.

    Args:
        input_size: number of features F of the input.
        hidden_size: number of features H of the state.
        bias: whether there are biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        rng: seed or generator for the initial values, U(−1/√H, 1/√H).

    Shapes:
        x: (N, F) or (F,); state: (N, H) or (H,), zeros if None. Returns h' of the state's shape.

    Parameters (PyTorch's names): weight_ih (H, F), weight_hh (H, H), bias_ih (H,), bias_hh (H,).

    Raises:
        ArgumentError: a size below 1, an unknown nonlinearity.
        ShapeError: an input or a state that does not fit.

    Source: zoo document, SimpleRNN, of which this is the recurrence (its W is weight_hh, its U weight_ih). The
    document's parameter pass is off by one time step (errata 1): the matrices produce h', so their gradients pair h and
    x with the gradient at h'.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.RNNCell(3, 4, rng=0)
    >>> h = None
    >>> for x in np.ones((5, 2, 3), np.float32):        # five steps, a batch of two
    ...     h = cell(x, h)
    >>> h.shape, h.node
    ((2, 4), RNNCell (t=4))
    """

    formulas = Formulas(
        forward=r"h_{t+1} = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_t + b_{hh})",
        backward=r"\delta_t = \frac{\partial L}{\partial h_{t+1}} \odot (1 - h_{t+1} \odot h_{t+1}), \quad"
        r" \frac{\partial L}{\partial h_t} = W_{hh}^T \delta_t, \quad"
        r" \frac{\partial L}{\partial x_t} = W_{ih}^T \delta_t",
        parameters=r"\frac{\partial L}{\partial W_{hh}} = \sum_t \delta_t h_t^T, \quad"
        r" \frac{\partial L}{\partial W_{ih}} = \sum_t \delta_t x_t^T, \quad"
        r" \frac{\partial L}{\partial b} = \sum_t \delta_t",
        source="zoo document, SimpleRNN; errata 1 (the matrices produce the state of t + 1)",
    )
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError("RNNCell: unknown nonlinearity", got=repr(nonlinearity), expected="'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, rng=rng)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        return super().extra_repr() + (", nonlinearity='relu'" if self.nonlinearity == "relu" else "")

    def forward(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        self.check_step(x, h)
        dtype = common_dtype(x, h, weight_ih)
        pack = self.pack_for(node, dtype, weight_ih, weight_hh, bias_ih, bias_hh)
        inputs = joined(h, x, dtype)
        new = product(pack.weight, inputs)
        if self.nonlinearity == "tanh":
            np.tanh(new, new)
        else:
            np.maximum(new, 0, out=new)
        node.saved = (inputs, new, pack)
        return rows(new, x.ndim)

    def delta_of(self, node: Node, dy: Any) -> tuple[np.ndarray, ...]:
        new, dh = node.saved[1], contiguous_columns(dy)
        return (dh * (new > 0) if self.nonlinearity == "relu" else tanh_delta(new, dh),)

    def backward(self, node: Node, dy: Any) -> Any:
        (delta,) = self.delta_of(node, dy)
        node.delta = delta
        pack, ndim = node.saved[-1], len(node.shape)
        dx = rows(product(pack.to_x, delta), ndim) if node.needs[0] else None
        dh = rows(product(pack.to_h, delta), ndim) if node.needs[1] else None
        return dx, dh

    def expand(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        activate = tanh if self.nonlinearity == "tanh" else relu
        return activate(affine(x, weight_ih, bias_ih) + affine(h, weight_hh, bias_hh))


class SimpleRNNCell(Cell):
    r"""The zoo document's recurrent network: h' = tanh(W h + U x + b) with the read-out o = V h'.

    Args:
        input_size: number of features F of the input.
        hidden_size: number of features H of the state.
        output_size: number of features O of the read-out.
        bias: whether there is a bias b; the document has none.
        readout: ``"new"`` reads the new state, o = V h'. ``"old"`` reads the state before the step, o = V h, as the
            document prints it; such an o never sees the x of its step.
        rng: seed or generator for the initial values, U(−1/√H, 1/√H).

    Shapes:
        x: (N, F) or (F,); state: (N, H) or (H,), zeros if None. Returns (o, h'), o of shape (N, O) or (O,).

    Parameters: weight_hh (H, H), the document's W; weight_ih (H, F), its U; weight_ho (O, H), its V; bias (H,).

    Raises:
        ArgumentError: a size below 1, an unknown readout.
        ShapeError: an input or a state that does not fit.

    Source: zoo document, SimpleRNN, with errata 1 (dL/dW and dL/dU pair h_t and x_t with the gradient at h_{t+1}, which
    the matrices produce) and errata 2 (dL/dV sums the state that was read out, not x_t).

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.SimpleRNNCell(3, 4, 2, rng=0)
    >>> o, h = cell(np.ones((5, 3), np.float32))
    >>> o, h = cell(np.ones((5, 3), np.float32), h)
    >>> o.shape, h.shape
    ((5, 2), (5, 4))
    """

    formulas = Formulas(
        forward=r"h_{t+1} = \tanh(W h_t + U x_t + b), \quad o_t = V h_{t+1} \;(\text{or } V h_t)",
        backward=r"\delta_t = \left(\frac{\partial L}{\partial h_{t+1}} + V^T \frac{\partial L}{\partial o_t}\right)"
        r" \odot (1 - h_{t+1} \odot h_{t+1}), \quad \frac{\partial L}{\partial h_t} = W^T \delta_t, \quad"
        r" \frac{\partial L}{\partial x_t} = U^T \delta_t",
        parameters=r"\frac{\partial L}{\partial W} = \sum_t \delta_t h_t^T, \quad"
        r" \frac{\partial L}{\partial U} = \sum_t \delta_t x_t^T, \quad"
        r" \frac{\partial L}{\partial b} = \sum_t \delta_t, \quad"
        r" \frac{\partial L}{\partial V} = \sum_t \frac{\partial L}{\partial o_t} h_{t+1}^T \;(\text{or } h_t^T)",
        source="zoo document, SimpleRNN; errata 1 (time index of dL/dW, dL/dU) and 2 (dL/dV pairs with the state)",
    )
    parameter_names = ("weight_ih", "weight_hh", "bias", "weight_ho")
    aside = None  # type: ignore[assignment]  # the read-out's gradient needs the new state, too

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        bias: bool = True,
        readout: str = "new",
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        check_sizes(self, input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        if readout not in ("new", "old"):
            raise ArgumentError("SimpleRNNCell: unknown readout", got=repr(readout), expected="'new' or 'old'")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.readout = readout
        draw = uniform_parameters(hidden_size, rng)
        self.weight_ih = draw(hidden_size, input_size)
        self.weight_hh = draw(hidden_size, hidden_size)
        self.bias = draw(hidden_size) if bias else None
        self.weight_ho = draw(output_size, hidden_size)

    def extra_repr(self) -> str:
        extra = f"{self.input_size}, {self.hidden_size}, {self.output_size}"
        extra += "" if self.has_bias else ", bias=False"
        return extra + ("" if self.readout == "new" else ", readout='old'")

    def forward(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias: Any, weight_ho: Any) -> Any:
        self.check_step(x, h)
        dtype = common_dtype(x, h, weight_ih)
        pack = self.pack_for(node, dtype, weight_ih, weight_hh, bias, weight_ho)
        inputs = joined(h, x, dtype)
        new = product(pack.weight, inputs)
        np.tanh(new, new)
        node.saved = (inputs, new, pack)
        return rows(pack.others[1] @ self._read(node), x.ndim), rows(new, x.ndim)

    def _read(self, node: Node) -> np.ndarray:
        """The state that is read out."""
        inputs, new, _ = node.saved
        return new if self.readout == "new" else inputs[: self.hidden_size]

    def delta_of(self, node: Node, dy: Any) -> tuple[np.ndarray, ...]:
        """δ, and the gradient at the state that was read out."""
        _, new, pack = node.saved
        do, dh = dy
        read = np.zeros_like(new) if do is None else pack.others[1].T @ columns(do)
        total = read if self.readout == "new" else np.zeros_like(new)
        if dh is not None:
            total = total + columns(dh)
        return tanh_delta(new, total), read

    def backward(self, node: Node, dy: Any) -> Any:
        delta, read = self.delta_of(node, dy)
        node.delta = delta
        pack, ndim = node.saved[-1], len(node.shape[1])
        dx = rows(product(pack.to_x, delta), ndim) if node.needs[0] else None
        if not node.needs[1]:
            return dx, None
        dh = product(pack.to_h, delta)
        if self.readout == "old":
            dh += read
        return dx, rows(dh, ndim)

    def stack(self, nodes: Sequence[Node], dys: Sequence[Any]) -> tuple[Node, Any]:
        node, _ = super().stack(nodes, dys)
        read = [self._read(use) for use in nodes]
        return stand_in(node, (*node.saved, read), node.delta), [
            self._upstream(use, dy) for use, dy in zip(nodes, dys, strict=True)
        ]

    def _upstream(self, node: Node, dy: Any) -> np.ndarray:
        """The gradient at the read-out, feature-major; zeros where none flowed."""
        inputs = node.saved[0]
        return np.zeros((self.output_size, inputs.shape[1]), inputs.dtype) if dy[0] is None else columns(dy[0])

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, np.ndarray]:
        products, hidden = summed_products(*self.steps_of(node, dy)), self.hidden_size
        several = node.delta.__class__ is list
        upstream, read = (dy, node.saved[1]) if several else ([self._upstream(node, dy)], [self._read(node)])
        return {
            "weight_ih": products[:, hidden + 1 :].copy(),
            "weight_hh": products[:, :hidden].copy(),
            "weight_ho": summed_products(upstream, read).copy(),
            "bias": products[:, hidden].copy(),
        }

    def expand(self, node: Node, x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias: Any, weight_ho: Any) -> Any:
        new = tanh(affine(x, weight_ih, bias) + h @ weight_hh.T)
        return (new if self.readout == "new" else h) @ weight_ho.T, new
