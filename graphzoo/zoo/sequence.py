"""Recurrent networks over whole sequences: layers and directions of cells, unrolled into one node per time step.

Sequences of different lengths are computed as PyTorch's packed sequences are: sorted by length, each step only with the
sequences that are still going on. Padding takes part in nothing, so that no gradient can flow to it, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ShapeError, describe
from ..module import Module, generator, lift, record
from ..state import Parameter
from ..tape import Place, Scope, local, time_step
from ..tensor import Tensor, constant
from .array import concatenate, expand_dims, reshape, scatter, split, squeeze, stack, swapaxes, take
from .gated import GRUCell, LSTMCell, pair
from .linear import check_sizes
from .recurrent import Cell, RNNCell, SimpleRNNCell
from .regularization import Dropout
from .strand import strand

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class Schedule(NamedTuple):
    """Which sequences take part in which step.

    Attributes:
        order: the sequences by falling length.
        active: for each step how many of them still go on.
    """

    order: np.ndarray
    active: list[int]

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Step and sequence of every row when the steps are laid one after the other."""
        times = np.repeat(np.arange(len(self.active)), self.active)
        return times, np.concatenate([self.order[:count] for count in self.active] or [self.order[:0]])

    @property
    def ranks(self) -> np.ndarray:
        """The place of each sequence in the order."""
        return np.argsort(self.order)


class Layers(Module):
    """Base of RNN, SimpleRNN, LSTM and GRU: parameters under PyTorch's names, and the unrolling."""

    cell: ClassVar[type[Cell]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: int | np.random.Generator | None = None,
        **options: Any,
    ) -> None:
        check_sizes(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.options = options
        rng = generator(rng)
        self.drop = Dropout(dropout, rng)
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.cells: dict[str, Cell] = {}
        for layer in range(num_layers):
            features = self.output_features if layer else input_size
            for direction in self.directions:
                cell = self.cell(features, hidden_size, bias=bias, rng=rng, **options)
                self.cells[f"l{layer}{direction}"] = cell
        for label, cell in self.cells.items():
            object.__setattr__(cell, "name", label)
            for parameter in cell.parameters():
                parameter.name = f"{parameter.name}_{label}"

    @property
    def output_features(self) -> int:
        """Number of features of a layer's output: those of its directions side by side."""
        return self.cells["l0"].output_size * len(self.directions)

    def children(self) -> Iterator[tuple[str, Any]]:
        """As any module's, but the cells' parameters go by the names that PyTorch has for them (weight_ih_l0, …)."""
        for key, value in super().children():
            if isinstance(value, Cell):
                yield from ((f"{name}_{value.name}", getattr(value, name)) for name in value.parameter_names)
            elif value is not self.drop or self.drop.p > 0:
                yield key, value

    def _place_of(self, key: str) -> tuple[Cell, str] | None:
        """Cell and attribute behind a name like weight_ih_l0_reverse, or None."""
        name, _, layer = key.rpartition("_l")
        cell = vars(self).get("cells", {}).get(f"l{layer}")
        return (cell, name) if cell is not None and name in cell.parameter_names else None

    def __getattr__(self, key: str) -> Any:
        place = self._place_of(key)
        if place is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")
        return getattr(*place)

    def __setattr__(self, key: str, value: Any) -> None:
        place = self._place_of(key)
        if place is None:
            super().__setattr__(key, value)
            return
        if isinstance(value, Parameter) and value.name is None:
            value.name = key
        setattr(*place, value)

    def extra_repr(self) -> str:
        extra = f"{self.input_size}, {self.hidden_size}"
        extra += f", num_layers={self.num_layers}" if self.num_layers > 1 else ""
        extra += "" if self.cells["l0"].has_bias else ", bias=False"
        extra += ", batch_first=True" if self.batch_first else ""
        extra += f", dropout={self.drop.p}" if self.drop.p else ""
        extra += ", bidirectional=True" if self.bidirectional else ""
        return extra + "".join(f", {name}={value!r}" for name, value in self.options.items())

    # The pass ---------------------------------------------------------------------------------------------------------

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        x = lift(x, self)
        self._check_input(x, lengths)
        batched = x.ndim == 3
        initial = [None if item is None else lift(item, self) for item in self._parts(state)]
        if not batched:
            x = expand_dims(x, 1)
            initial = [None if item is None or item.ndim != 2 else expand_dims(item, 1) for item in initial]
        time_axis = 1 if batched and self.batch_first else 0
        steps, batch = x.shape[time_axis], x.shape[1 - time_axis]
        self._check_state(initial, batch)
        schedule = None if lengths is None else schedule_of(lengths, steps, batch)

        outputs, last = self._unroll(x, time_axis, initial, schedule)
        output = self._assemble(outputs, time_axis, x.shape[:2], schedule)
        if not batched:
            output, last = squeeze(output, 1), [squeeze(item, 1) for item in last]
        return output, self._whole(last)

    def _parts(self, state: Any) -> Sequence[Any]:
        """The parts of a state as the user passes it."""
        return (state,)

    def _whole(self, parts: list[Tensor]) -> Any:
        """The state as the user gets it."""
        return parts[0]

    def _unroll(
        self, x: Tensor, time_axis: int, initial: list[Tensor | None], schedule: Schedule | None
    ) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Outputs of the last layer by direction and step; the parts of the last state."""
        batch = x.shape[1 - time_axis]
        tracked = [x, *(item for item in initial if item is not None), *self.parameters()]
        recording = local.context.recording and any(item.requires_grad for item in tracked)
        inputs = steps_of(x, time_axis, schedule) if recording else steps_of(x.detach(), time_axis, schedule)
        last: list[list[Tensor]] = []
        outputs: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer:
                inputs = self._between(outputs)
            outputs = []
            for direction in self.directions:
                cell = self.cells[f"l{layer}{direction}"]
                state = [initial_state(cell, x, batch, item, len(last), schedule) for item in initial]
                run = Run(cell, inputs, state, schedule, direction != "", recording)
                outputs.append(run.outputs)
                last.append(run.state if schedule is None else [take(s, schedule.ranks, 0) for s in run.state])
        return outputs, [stack(items) for items in zip(*last, strict=True)]

    def _between(self, outputs: list[list[Tensor]]) -> list[Tensor]:
        """What the next layer gets at each step: both directions side by side, with dropout."""
        inputs = []
        for t, step in enumerate(zip(*outputs, strict=True)):
            with time_step(t):
                inputs.append(self.drop(side_by_side(step)))
        return inputs

    def _assemble(
        self, outputs: list[list[Tensor]], time_axis: int, shape: tuple[int, ...], schedule: Schedule | None
    ) -> Tensor:
        """The outputs of all steps in one tensor; with a schedule into zeros of this shape."""
        if schedule is None:
            return side_by_side([stack(steps, axis=time_axis) for steps in outputs])
        zeros = constant(np.zeros((*shape, self.output_features), self.cells["l0"].weight_hh.dtype))
        if not schedule.active:
            return zeros
        flat = side_by_side([concatenate(steps) for steps in outputs])
        times, sequences = schedule.places
        return scatter(zeros, (sequences, times) if time_axis else (times, sequences), flat)

    # Checks -----------------------------------------------------------------------------------------------------------

    def _check_input(self, x: Tensor, lengths: Any) -> None:
        axes = "batch, time" if self.batch_first else "time, batch"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} got an input that does not fit",
                got=describe(x),
                expected=f"({axes}, {self.input_size}), or (time, {self.input_size}) for one sequence",
                todo="see batch_first= for the order of the axes",
            )
        if x.shape[1 if self.batch_first and x.ndim == 3 else 0] == 0:
            raise ShapeError(
                f"{type(self).__name__} got a sequence without steps",
                got=describe(x),
                expected="at least one time step",
                todo="see batch_first= for the order of the axes",
            )
        if lengths is not None and x.ndim == 2:
            raise ShapeError(
                f"{type(self).__name__}: lengths are for batches",
                got=f"one sequence {describe(x)}",
                expected=f"({axes}, {self.input_size})",
                todo="cut the sequence to its length instead",
            )

    def _check_state(self, initial: list[Tensor | None], batch: int) -> None:
        expected = (len(self.cells), batch, self.hidden_size)
        for item in initial:
            if item is not None and item.shape != expected:
                raise ShapeError(
                    f"{type(self).__name__} got a state that does not fit",
                    got=describe(item),
                    expected=f"{expected}: (layers · directions, batch, hidden_size)",
                    todo="pass None for a state of zeros",
                )


class Run:
    """One layer in one direction over all steps.

    Attributes:
        outputs: h (or the read-out) of each step, in order of time, with the rows of the sequences that take part.
        state: h (and c) after each sequence's last step in this direction, in the schedule's order.
    """

    def __init__(
        self,
        cell: Cell,
        inputs: list[Tensor],
        state: list[Tensor],
        schedule: Schedule | None,
        backwards: bool,
        recording: bool,
    ) -> None:
        self.cell = cell
        self.state = state
        self.recording = recording
        self.scope = (*local.context.place.scope, Scope(cell.name or "", ""))
        self.pack: Any = None
        self.outputs = inputs.copy()
        times = range(len(inputs))
        if recording and schedule is None and isinstance(cell, LSTMCell) and not cell.recompute:
            self._at_once(inputs, times[::-1] if backwards else times)
        elif backwards:
            self._against_time(inputs, times, schedule)
        else:
            self._along_time(inputs, times, schedule)

    def _at_once(self, inputs: list[Tensor], times: range) -> None:
        """The first step by itself, the others together."""
        self._step(times[0], inputs[times[0]])
        first, others = self.outputs[times[0]].node, times[1:]
        if first is None or not others:  # nothing that this layer reads requires a gradient
            for t in others:
                self._step(t, inputs[t])
            return
        places = [Place(self.scope, t) for t in others]
        made = strand(first, [inputs[t] for t in others], self.state, places)
        for t, (h, _) in zip(others, made, strict=True):
            self.outputs[t] = h
        self.state = list(made[-1])

    def _along_time(self, inputs: list[Tensor], times: range, schedule: Schedule | None) -> None:
        """The shortest sequences come last, and leave first."""
        ended: list[list[Tensor]] = []
        for t in times:
            if schedule is not None and schedule.active[t] < len(self.state[0]):
                going_on = schedule.active[t]
                ended.append([item[going_on:] for item in self.state])
                self.state = [item[:going_on] for item in self.state]
            self._step(t, inputs[t])
        if ended:
            self.state = [concatenate(pieces) for pieces in zip(self.state, *reversed(ended), strict=True)]

    def _against_time(self, inputs: list[Tensor], times: range, schedule: Schedule | None) -> None:
        """Each sequence comes in at its true end."""
        initial = self.state
        if schedule is not None:
            self.state = [item[:0] for item in initial]
        for t in reversed(times):
            if schedule is not None:
                self._let_in(initial, schedule.active[t])
            self._step(t, inputs[t])
        self._let_in(initial, len(initial[0]))

    def _let_in(self, initial: list[Tensor], count: int) -> None:
        """Bring the state up to this many sequences, from the initial state."""
        here = len(self.state[0])
        if count > here:
            joining = [item[here:count] for item in initial]
            self.state = [concatenate(both) for both in zip(self.state, joining, strict=True)] if here else joining

    def _step(self, t: int, x: Tensor) -> None:
        if self.recording:
            result = record(self.cell, (x, *self.state), Place(self.scope, t))
            found = list(result) if isinstance(result, tuple) else [result]
        else:
            arrays, self.pack = self.cell.unrecorded(x.data, *[item.data for item in self.state], pack=self.pack)
            found = [constant(array) for array in (arrays if isinstance(arrays, tuple) else (arrays,))]
        self.outputs[t] = found[0]
        self.state = found[-len(self.state) :]  # all of it, unless a read-out stands before


def side_by_side(directions: Sequence[Tensor]) -> Tensor:
    """The features of one or both directions in one tensor."""
    return concatenate(directions, axis=-1) if len(directions) > 1 else directions[0]


def schedule_of(lengths: Any, steps: int, batch: int) -> Schedule:
    """The schedule for lengths as the user passes them."""
    lengths = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    if lengths.size == 0:
        lengths = lengths.astype(np.intp)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ShapeError("lengths do not fit the batch", got=describe(lengths), expected=f"{batch} integers")
    if lengths.size and (lengths.min() < 0 or lengths.max() > steps):
        raise ShapeError(
            "lengths are out of range",
            got=f"{lengths.min()} to {lengths.max()}",
            expected=f"0 to {steps}, the number of time steps",
            todo="check the order of the axes, see batch_first=",
        )
    order = np.argsort(-lengths.astype(np.intp), kind="stable")
    longest = int(lengths.max(initial=0))
    return Schedule(order, [int(np.count_nonzero(lengths > t)) for t in range(longest)])


def steps_of(x: Tensor, time_axis: int, schedule: Schedule | None) -> list[Tensor]:
    """The input of each step: (active sequences, features)."""
    if not x.requires_grad:
        array = x.data.swapaxes(0, time_axis)
        if schedule is None:
            return [constant(step) for step in array]
        return [constant(array[t, schedule.order[:active]]) for t, active in enumerate(schedule.active)]
    x = swapaxes(x, 0, 1) if time_axis else x
    steps, batch, features = x.shape
    flat = reshape(x, (steps * batch, features))
    if schedule is None:
        return list(split(flat, steps))
    if not schedule.active:
        return []
    times, sequences = schedule.places
    ends = np.cumsum(schedule.active[:-1]).tolist()
    return list(split(take(flat, times * batch + sequences, 0), ends))


def initial_state(
    cell: Cell, x: Tensor, batch: int, given: Tensor | None, index: int, schedule: Schedule | None
) -> Tensor:
    """The state that one layer starts from in one direction, in the schedule's order; zeros where none is given."""
    if given is None:
        dtype = np.result_type(x.dtype, cell.weight_hh.dtype)
        return constant(np.zeros((cell.hidden_size, batch), dtype).T)
    return given[index] if schedule is None else given[index, schedule.order]


class RNN(Layers):
    r"""Layers of Elman's recurrent network over whole sequences; each step is an `RNNCell`.

    Args:
        input_size: number of features F of the input.
        hidden_size: number of features H of the state.
        num_layers: how many layers; each reads the states of the one before.
        bias: whether there are biases.
        batch_first: whether sequences are (batch, time, features) instead of (time, batch, features).
        dropout: probability of dropping an entry between layers, in training.
        bidirectional: whether each layer also runs from the end to the beginning; D is 2 then, else 1.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        rng: seed or generator for the initial values, U(−1/√H, 1/√H), and for dropout.

    Called as ``output, h_n = rnn(x, h_0=None, lengths=None)``. Shapes:
        x: (T, N, F), with batch_first (N, T, F), or (T, F) for one sequence.
        h_0, h_n: (num_layers · D, N, H), without N for one sequence; zeros if None.
        lengths: N integers from 0 to T: how many steps of each sequence are not padding. Each sequence's last state is
            the one at its true end, where the reverse direction begins; output is zero on padding, which nothing reads.
        output: (T, N, D · H) with the order of axes of x: the states of the last layer.

    Parameters (PyTorch's names), for each layer k: weight_ih_l{k}, weight_hh_l{k}, bias_ih_l{k}, bias_hh_l{k}, and the
    same with _reverse at the end. Every step's node carries its time step, and lies in the scope l{k} or l{k}_reverse.

    Raises:
        ArgumentError: an impossible size, dropout or nonlinearity.
        ShapeError: an input, a state or lengths that do not fit; no time steps.

    Source: `RNNCell`; the arrangement is that of PyTorch's RNN.

    >>> import numpy as np, graphzoo as gz
    >>> rnn = gz.RNN(3, 4, num_layers=2, bidirectional=True, rng=0)
    >>> output, h_n = rnn(np.ones((5, 2, 3), np.float32), lengths=[5, 3])
    >>> output.shape, h_n.shape
    ((5, 2, 8), (4, 2, 4))
    """

    cell = RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        nonlinearity: str = "tanh",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng,
            nonlinearity=nonlinearity,
        )  # fmt: skip


class SimpleRNN(Layers):
    r"""Layers of the zoo document's recurrent network over whole sequences; each step is a `SimpleRNNCell`.

    Arguments, shapes and errors are those of `RNN` (without nonlinearity) but for the read-outs o, which are what comes
    out and what the next layer reads:

    Args:
        output_size: number of features O of each layer's read-out, in each direction.
        readout: ``"new"`` reads each step's new state, o = V h'; ``"old"`` the state before the step, o = V h, as the
            document prints it. Each direction's step before is meant, so that the first o reads h_0.

    Called as ``output, h_n = rnn(x, h_0=None, lengths=None)``. Shapes:
        h_0, h_n: (num_layers · D, N, H), as in `RNN`: the states, not the read-outs.
        output: (T, N, D · O) with the order of axes of x: the read-outs of the last layer; zero on padding.

    Parameters, for each layer k: weight_ih_l{k} (H, F; above the first layer H, D · O), the document's U;
    weight_hh_l{k} (H, H), its W; bias_l{k} (H,); weight_ho_l{k} (O, H), its V; and the same with _reverse at the end.

    Source: `SimpleRNNCell`; the arrangement is that of PyTorch's RNN.

    >>> import numpy as np, graphzoo as gz
    >>> rnn = gz.SimpleRNN(3, 4, 2, num_layers=2, bidirectional=True, rng=0)
    >>> output, h_n = rnn(np.ones((5, 6, 3), np.float32))
    >>> output.shape, h_n.shape
    ((5, 6, 4), (4, 6, 4))
    """

    cell = SimpleRNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        readout: str = "new",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng,
            output_size=output_size, readout=readout,
        )  # fmt: skip


class LSTM(Layers):
    r"""Layers of long short-term memory over whole sequences; each step is an `LSTMCell`.

    Arguments, shapes, parameters and errors are those of `RNN` (with recompute=False, see `LSTMCell`, instead of
    nonlinearity); but the state is a pair:
    ``output, (h_n, c_n) = lstm(x, (h_0, c_0)=None, lengths=None)``, where c_0 and c_n have the shape of h_0. The
    parameters' rows are in PyTorch's order i, f, g, o.

    Source: `LSTMCell`; the arrangement is that of PyTorch's LSTM.

    >>> import numpy as np, graphzoo as gz
    >>> lstm = gz.LSTM(3, 4, batch_first=True, rng=0)
    >>> output, (h_n, c_n) = lstm(np.ones((2, 5, 3), np.float32))
    >>> output.shape, h_n.shape, c_n.shape
    ((2, 5, 4), (1, 2, 4), (1, 2, 4))
    >>> sorted(lstm.state_dict())
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """

    cell = LSTMCell

    def _parts(self, state: Any) -> Sequence[Any]:
        return pair(state, self)

    def _whole(self, parts: list[Tensor]) -> Any:
        return tuple(parts)


class GRU(Layers):
    r"""Layers of gated recurrent units over whole sequences; each step is a `GRUCell`.

    Arguments, shapes, parameters and errors are those of `RNN`, with recompute (see `GRUCell`) and reset_after instead
    of nonlinearity: False gives
    the zoo document's unit, True PyTorch's and cuDNN's, into which PyTorch's state loads. The parameters' rows are in
    PyTorch's order r, z, c (PyTorch's n).

    Source: `GRUCell`; the arrangement is that of PyTorch's GRU.

    >>> import numpy as np, graphzoo as gz
    >>> gru = gz.GRU(3, 4, reset_after=True, rng=0)
    >>> output, h_n = gru(np.ones((5, 2, 3), np.float32))
    >>> output.shape, h_n.shape
    ((5, 2, 4), (1, 2, 4))
    """

    cell = GRUCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = False,
        recompute: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        more = {"recompute": True} if recompute else {}
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng,
            reset_after=reset_after, **more,
        )  # fmt: skip
