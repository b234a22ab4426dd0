"""A cell over the steps of a sequence, recorded so that every state can be asked about.

Between two steps stands a node of its own, `Carry`, through which the state is handed on, and beside it `Read`, through
which everything else sees it. So the gradient that a state gets from its future and the one it gets directly are told
apart, also where a cell gives the same tensor as its output and as its state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, describe
from ..graph import Graph, graph
from ..module import Module, record
from ..tape import Node, enable_grad, next_number, time_step
from ..tensor import Tensor, constant
from ..zoo.array import stack
from ..zoo.gated import GRUCell, LSTMCell
from ..zoo.group import where
from .cells import Parts, Stepper, studied
from .results import LIVE, Arrays, Result, curve, norms, over_batch


class Read(Module):
    """A state as everything but the next step sees it; zeros for sequences that have ended."""

    saves = (None,)

    def forward(self, node: Node, state: Any, active: Any = None) -> Any:
        node.saved = (active,)
        return state.view() if active is None else np.where(active, state, state.dtype.type(0))

    def backward(self, node: Node, dy: Any) -> Any:
        (active,) = node.saved
        return (dy if active is None else dy * active.astype(dy.dtype), *[None] * (len(node.inputs) - 1))


class Carry(Module):
    """A state as the next step takes it over; where `keep` is False another one (zeros if None) takes its place."""

    saves = (None,)

    def forward(self, node: Node, state: Any, keep: Any = None, other: Any = None) -> Any:
        node.saved = (keep,)
        return state.view() if keep is None else np.where(keep, state, state.dtype.type(0) if other is None else other)

    def backward(self, node: Node, dy: Any) -> Any:
        (keep,) = node.saved
        if keep is None:
            return dy
        return dy * keep.astype(dy.dtype), None, dy * (~keep).astype(dy.dtype) if node.needs[2] else None


READ, CARRY = Read(), Carry()


# The run --------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Step:
    """One step of a run: its place among the recorded nodes, and the tensors at its borders by part."""

    start: int  # every node of the step has a greater number
    taken: Parts  # the state as the step took it over; empty if the cell made its own
    made: Parts  # as the cell made it
    carried: Parts  # as it was handed on
    shown: Parts  # as all else sees it
    keep: np.ndarray | None  # (B,) which sequences were handed on; None: all


@dataclass(eq=False, repr=False)
class Run(Result):
    """A cell unrolled over T steps.

    Attributes:
        states: by part (``h``, ``c``) the states after each step, (T, B, H); zeros where a sequence has ended.
        gates: by name the gates of a cell of the zoo, (T, B, H) each; empty for other cells.
        active: (T, B) whether step t belongs to sequence b; None without `lengths`.
        reset: (T, B) whether step t of sequence b starts from the initial state; None without `reset`.
        cell: the cell that was run: the user's own, or its float64 copy.
        outputs: the T outputs of the cell as tensors of the graph; its states if it has no others.
        final: the state after each sequence's last step, built as the cell builds it, of tensors.
        initial: by part the state before the first step, as tensors; empty if only the cell knows it.
    """

    states: Arrays
    gates: Arrays
    active: np.ndarray | None
    reset: np.ndarray | None
    cell: Any = field(metadata=LIVE)
    outputs: list[Tensor] = field(metadata=LIVE)
    final: Any = field(metadata=LIVE)
    initial: Parts = field(metadata=LIVE)
    steps: list[Step] = field(metadata=LIVE)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, part: str) -> list[Tensor]:
        """The T states of a part as tensors of the graph, to compute losses from: ``run["h"][-1]``."""
        if part not in self.states:
            raise ArgumentError("no such part of the state", got=repr(part), expected=", ".join(self.states))
        return [step.shown[part] for step in self.steps]

    @property
    def h(self) -> list[Tensor]:
        """``run["h"]``."""
        return self["h"]

    @property
    def c(self) -> list[Tensor]:
        """``run["c"]``."""
        return self["c"]

    @property
    def parts(self) -> list[str]:
        """The names of the state's parts."""
        return list(self.states)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters of the cell that was run, by name; empty for a function."""
        return dict(self.cell.named_parameters()) if isinstance(self.cell, Module) else {}

    def graph(self, loss: Any = None) -> Graph:
        """The graph of a loss (by default of all outputs) with its time steps, to be drawn."""
        return graph(self.outputs if loss is None else loss)

    def _draw(self, ax: Any) -> None:
        for part, values in self.states.items():
            curve(ax, over_batch(norms(values)), f"‖{part}‖")
        ax.set_ylabel("norm of the state, mean over the batch")
        ax.legend()


def unroll(
    cell: Callable[..., Any],
    inputs: Any,
    state: Any = None,
    lengths: Any = None,
    reset: Any = None,
    *,
    dtype: Any = np.float64,
) -> Run:
    """Run a cell over a sequence, one recorded step after the other.

    Args:
        cell: a recurrent cell of the zoo, or any module or function that takes (x, state) and returns the state, or
            (output, state). A state is a tensor, or a tuple, list or dictionary of tensors.
        inputs: (T, B, F), or a sequence of T inputs; an array's first axis is time. A cell that has no input may
            ignore it: pass ``np.zeros(T)``.
        state: the initial state; zeros for cells of the zoo if None. A user's cell is then called with None.
        lengths: (B,) integers: how many steps each sequence has. Steps behind that see zeros, are shown as zeros, and
            no gradient flows to them.
        reset: (T, B) or (T,) booleans: where step t starts from the initial state again (zeros if that is unknown).
        dtype: what to compute in. A module with other parameters is copied to it: losses and gradients are those of
            ``run.cell``. None leaves everything as it is.

    Returns:
        The `Run`. Losses are computed from ``run["h"]``, ``run.outputs`` or ``run.final``.

    Raises:
        ArgumentError: no steps; a cell whose state cannot be made out.
        ShapeError: lengths or reset that do not fit.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.LSTMCell(3, 4, rng=0)
    >>> run = gz.bptt.unroll(cell, np.ones((5, 2, 3)), lengths=[5, 2])
    >>> run.states["c"].shape, run.gates["f"].dtype
    ((5, 2, 4), dtype('float64'))
    >>> run.final[0].node.t, abs(run.states["h"][2:, 1]).max().item()
    (None, 0.0)
    """
    step = Stepper(studied(cell, dtype))
    sequence = steps_of(inputs, dtype)
    active = mask_of_lengths(lengths, len(sequence))
    resets = mask_of_reset(reset, len(sequence), active)
    keep = mask_of_going_on(active, resets)
    steps: list[Step] = []
    outputs: list[Any] = []
    gates: list[Arrays] = []
    with enable_grad():
        state = step.initial(state, sequence[0], dtype)
        initial = step.parts(state)
        for t, x in enumerate(sequence):
            now = None if active is None else active[t]
            with time_step(t):
                before = steps[-1].shown if steps else initial
                taken, start = step.parts(state), next_number()
                output, new = step(x if now is None else without_padding(x, now), state)
                gates.append(gates_of(step.cell, step.parts(new)))
                made = with_own_sources(step.parts(new), start)
                shown = {part: record(READ, [s, as_mask(now, s)]) for part, s in made.items()}
                on = None if keep is None or t + 1 == len(sequence) else keep[t]
                state = step.whole(new, carried(made, on, initial))
                output = step.read_out(output, before, shown)
                outputs.append(shown_output(output, step.parts(new), shown, now))
            steps.append(Step(start, taken, made, step.parts(state), shown, on))
        final = steps[-1].shown if active is None else at_the_ends(steps, initial, active)
    return Run(
        states={part: np.stack([step.shown[part].data for step in steps]) for part in final},
        gates={name: np.stack([found[name] for found in gates]) for name in gates[0]},
        active=active,
        reset=resets,
        cell=step.cell,
        outputs=outputs,
        final=step.whole(state, final),
        initial=initial,
        steps=steps,
    )


def steps_of(inputs: Any, dtype: Any = None) -> list[Any]:
    """The inputs of each step; arrays of floating-point numbers in the dtype."""
    if isinstance(inputs, Tensor) and not inputs.requires_grad:
        inputs = inputs.data
    of_tensors = isinstance(inputs, (list, tuple)) and any(isinstance(x, Tensor) for x in inputs)
    if not of_tensors and not isinstance(inputs, Tensor):
        inputs = np.asarray(inputs)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f" and dtype is not None:
        inputs = inputs.astype(dtype, copy=False)
    if getattr(inputs, "ndim", 1) == 0 or len(inputs) == 0:
        raise ArgumentError(
            "there is no step to unroll",
            got=describe(inputs),
            expected="an array (T, B, F), or a list of T inputs, T ≥ 1",
        )
    return [inputs[t] for t in range(len(inputs))]


# Masks ----------------------------------------------------------------------------------------------------------------


def mask_of_lengths(lengths: Any, steps: int) -> np.ndarray | None:
    """(T, B) which steps belong to their sequence."""
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > steps).any():
        raise ShapeError(
            "lengths do not fit the sequences",
            got=f"{describe(lengths)}: {lengths.tolist()}",
            expected=f"for each sequence an integer from 0 to {steps}, the number of steps",
        )
    return np.asarray(np.arange(steps)[:, None] < lengths)


def mask_of_reset(reset: Any, steps: int, active: np.ndarray | None) -> np.ndarray | None:
    """(T, B) which steps start anew; (T, 1) for all sequences alike."""
    if reset is None:
        return None
    reset = np.asarray(reset)
    mask = reset[:, None] if reset.ndim == 1 else reset
    fits = mask.ndim == 2 and len(mask) == steps and (active is None or mask.shape[1] in (1, active.shape[1]))
    if mask.dtype != bool or not fits:
        batch = "B" if active is None else active.shape[1]
        raise ShapeError(
            "reset does not fit the steps",
            got=describe(reset),
            expected=f"booleans ({steps}, {batch}) or ({steps},)",
        )
    return mask


def mask_of_going_on(active: np.ndarray | None, reset: np.ndarray | None) -> np.ndarray | None:
    """(T − 1, B) which sequences take their state on from step t to step t + 1."""
    if active is None:
        return None if reset is None else ~reset[1:]
    return active[1:] if reset is None else active[1:] & ~reset[1:]


def as_mask(mask: np.ndarray | None, state: Tensor) -> Any:
    """A mask (B,) over a state (B, ...)."""
    if mask is None:
        return None
    if state.ndim == 0 or mask.shape[0] not in (1, state.shape[0]):
        raise ShapeError(
            "lengths or reset do not fit the batch",
            got=f"{mask.shape[0]} sequences",
            expected=f"{state.shape}: (B, ...)",
        )
    return mask.reshape(-1, *[1] * (state.ndim - 1))


def without_padding(x: Any, active: np.ndarray) -> Any:
    """A step's input with zeros for the sequences that have ended, whatever stood there."""
    tensor = x if isinstance(x, Tensor) else constant(np.asarray(x))
    mask = as_mask(active, tensor)
    return where(mask, tensor, np.zeros((), tensor.dtype)) if tensor.requires_grad else np.where(mask, tensor.data, 0)


# What a step leaves ---------------------------------------------------------------------------------------------------


def with_own_sources(parts: Parts, start: int) -> Parts:
    """Each part with a source of its own that was made in this step: one that was handed on unchanged, that is given
    twice, or that nothing flows to, cannot be told from others otherwise."""
    own: Parts = {}
    for part, state in parts.items():
        if not state.requires_grad:
            own[part] = Tensor(state.data, requires_grad=True)
            continue
        node = state.node
        alone = sum(state.source is other.source for other in parts.values()) == 1
        own[part] = state if alone and node is not None and node.number > start else record(READ, [state])
    return own


def carried(made: Parts, keep: np.ndarray | None, initial: Parts) -> Parts:
    """What the next step gets."""
    if keep is None:
        return {part: record(CARRY, [state]) for part, state in made.items()}
    return {part: record(CARRY, [state, as_mask(keep, state), initial.get(part)]) for part, state in made.items()}


def shown_output(output: Any, new: Parts, shown: Parts, active: np.ndarray | None) -> Any:
    """A step's output; where it is the state itself, the state as it is shown."""
    for part, state in new.items():
        if output is state:
            return shown[part]
    if active is None or not isinstance(output, Tensor):
        return output
    return record(READ, [output, as_mask(active, output)])


def at_the_ends(steps: list[Step], initial: Parts, active: np.ndarray) -> Parts:
    """The states after each sequence's last step; the initial one for a sequence without steps."""
    lengths = active.sum(axis=0)
    ends: Parts = {}
    for part, last in steps[-1].shown.items():
        begin = initial.get(part, constant(np.zeros(last.shape, last.dtype)))
        ends[part] = stack([begin, *[step.shown[part] for step in steps]])[lengths, np.arange(len(lengths))]
    return ends


def gates_of(cell: Any, parts: Parts) -> Arrays:
    """The gates (B, H) that a cell of the zoo has computed a state with; none for other cells."""
    node = parts["h"].node if isinstance(cell, (LSTMCell, GRUCell)) else None
    return {} if node is None else gates_in(node, parts["h"].shape)


def gates_in(node: Node, shape: tuple[int, ...]) -> Arrays:
    """The gates of a node of an LSTM or a GRU, of the state's shape.

    They lie there as features × batch, see `graphzoo.kernels.packed`.
    """
    cell = node.module
    assert isinstance(cell, (LSTMCell, GRUCell))
    rows, size = cell.saved_by(node)[1], shape[-1]
    names = ("o", "i", "f", "g") if isinstance(cell, LSTMCell) else ("r", "z", "c")
    return {name: rows[k * size : (k + 1) * size].T.reshape(shape) for k, name in enumerate(names)}
