"""What a loss sends back to the states and to the parameters, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backward import Gradients, drain, seed_for, sweep
from ..backward import Step as BackwardStep
from ..errors import ArgumentError, GradientError, describe
from ..kernels.pool import empty
from ..tape import Output
from ..tensor import Tensor
from ..zoo.gated import LSTMCell
from .cells import Parts
from .results import Arrays, Result, curve, norms, over_batch
from .run import Run, Step, gates_in


def swept(
    losses: Tensor | Sequence[Tensor], targets: Iterable[Any], see: Callable[[BackwardStep], None] | None = None
) -> Gradients:
    """A backward pass from the sum of some losses that keeps the graph, touches no `.grad`, and shows its steps."""
    seeds = []
    for loss in [losses] if isinstance(losses, Tensor) else losses:
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise GradientError(
                "this loss does not depend on the run",
                got=describe(loss),
                expected='a tensor computed from run["h"], run.outputs or run.final',
            )
        seeds.append((loss.source, seed_for(loss.shape, loss.dtype, None)))
    steps = sweep(seeds, retain=True, watch=see is not None, targets=list(targets))
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if see is not None:
            see(step)


def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    """The items, with a progress bar in a terminal once they take longer than a second."""
    from tqdm import tqdm

    return tqdm(items, desc=what, delay=1.0, disable=None, leave=False)


# States ---------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class StateGradients(Result):
    """What a loss sends back to each state: total = direct + carried.

    Attributes:
        total: by part (``h``, ``c``), (T, B, H): dL/dh_t through everything that was computed from h_t; for the c of
            an LSTM that includes the h of the same step, as in the textbooks and in a loop over PyTorch's cells.
        direct: the share that comes from the loss (and from outputs) without passing through the next step. It is all
            that a retained gradient on the stacked outputs of a fused recurrent layer shows.
        carried: the share that comes back through the next step's state.
        initial: by part (B, H): the gradient of the initial state; empty if only the cell knows that.
    """

    total: Arrays
    direct: Arrays
    carried: Arrays
    initial: Arrays

    def norms(self, kind: str = "total") -> Arrays:
        """By part (T, B): Euclidean norms over the features. kind: ``"total"``, ``"direct"`` or ``"carried"``."""
        if kind not in ("total", "direct", "carried"):
            raise ArgumentError("no such gradient", got=repr(kind), expected="'total', 'direct' or 'carried'")
        return {part: norms(values) for part, values in getattr(self, kind).items()}

    def arrays(self) -> Arrays:
        """As of any result, and the norms as ``norms.total.h`` and so on."""
        found = super().arrays()
        for kind in ("total", "direct", "carried"):
            found.update({f"norms.{kind}.{part}": values for part, values in self.norms(kind).items()})
        return found

    def _draw(self, ax: Any) -> None:
        for part in self.total:
            # The direct share often has one step alone, which is a dot.
            for kind, style in (("total", "-"), ("direct", ".:"), ("carried", "--")):
                curve(ax, over_batch(self.norms(kind)[part]), f"{kind}, {part}", style)
        ax.set_ylabel("‖dL/d state‖, mean over the batch")
        ax.legend()


def state_gradients(run: Run, loss: Tensor) -> StateGradients:
    """The gradient of a loss at every state of a run, told apart by the way it came.

    The state after a step is used twice: by the loss (*direct*) and by the next step (*carried*). Vanishing and
    exploding is about the carried share; the direct one alone says nothing about it.

    Args:
        run: of `unroll`.
        loss: a single number computed from the run. Its graph is kept, and no `.grad` changes.

    Raises:
        GradientError: the loss does not depend on the run.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013),
    equations 3 to 5; plotted over t by M. Arjovsky, A. Shah, Y. Bengio, "Unitary evolution recurrent neural networks"
    (ICML 2016), figure 3.

    >>> import numpy as np, graphzoo as gz
    >>> run = gz.bptt.unroll(lambda x, h: 0.5 * h + x, np.ones(4), state=0.0)
    >>> g = gz.bptt.state_gradients(run, run["h"][3] + 10 * run["h"][1])
    >>> g.direct["h"], g.carried["h"], g.total["h"]
    (array([ 0., 10.,  0.,  1.]), array([5.125, 0.25 , 0.5  , 0.   ]), array([ 5.125, 10.25 ,  0.5  ,  1.   ]))
    """
    made = [state.source for step in run.steps for state in step.made.values()]
    handed_on = {state.source for step in run.steps for state in step.carried.values()}
    shown = {state.source for step in run.steps for state in step.shown.values()}
    elsewhere: dict[Any, Any] = {loss.source: 1.0}  # by source of a state: what came otherwise than by the next step
    onwards: dict[Any, Any] = {}  # what came by the next step
    read_inside = False

    def see(step: BackwardStep) -> None:
        nonlocal read_inside
        into = onwards if step.node in handed_on else elsewhere
        for source, gradient in zip(step.node.inputs, step.gradients, strict=True):
            if gradient is not None and source in of_states:
                into[source] = into[source] + gradient if source in into else gradient
                read_inside |= step.node not in handed_on and step.node not in shown

    of_states = set(made)
    result = swept(loss, [*made, *[state.source for state in run.initial.values()]], see)
    slopes: Slopes = {}
    total = by_part(run, [result.of] * len(run), slopes)
    if read_inside and len(run.parts) > 1:
        # A part that another part of the same step was made of has a carried share through that one, too.
        carried = by_part(run, [within(step, onwards) for step in run.steps], slopes)
        direct = {part: total[part] - carried[part] for part in total}
    else:
        carried = by_part(run, [onwards.get] * len(run), slopes)
        direct = by_part(run, [elsewhere.get] * len(run), slopes)
    return StateGradients(total, direct, carried, {part: found(result, state) for part, state in run.initial.items()})


Lookup = Callable[[Any], Any]
Slopes = dict[Any, np.ndarray]


def by_part(run: Run, gradients: Sequence[Lookup], slopes: Slopes) -> Arrays:
    """The gradients of all states, from one function for each step that gives that of a source; `slopes` holds what
    `through_h` needs more than once."""
    arrays = {part: room_for(run, part) for part in run.parts}
    for t, (step, gradient_of) in enumerate(zip(run.steps, gradients, strict=True)):
        for part, state in step.made.items():
            gradient = gradient_of(state.source)
            arrays[part][t] = 0 if gradient is None else gradient
            gradient = through_h(state, step.made, gradient_of, slopes)
            if gradient is not None:
                arrays[part][t] += gradient
    return arrays


def room_for(run: Run, part: str) -> np.ndarray:
    """Room (T, B, H) for what belongs to the states of a part, laid out as these are: copying is several times quicker
    than turning round."""
    values, state = run.states[part], run.steps[0].made[part].data
    if state.ndim == 2 and state.T.flags.c_contiguous:  # as the zoo's cells have it
        steps, batch, size = values.shape
        return empty((steps, size, batch), values.dtype).swapaxes(1, 2)
    return empty(values.shape, values.dtype)


def through_h(state: Tensor, made: Parts, gradient_of: Lookup, slopes: Slopes) -> Any:
    """What reaches the c of a fused LSTM through the h = o ⊙ tanh(c) made of it in its node: dh ⊙ o ⊙ (1 − tanh²(c)).

    The engine's gradient of c leaves that out, as c and h are outputs of one node.
    """
    source = state.source
    if not isinstance(source, Output) or not isinstance(source.node.module, LSTMCell) or source.index != 1:
        return None
    h = next((other.source for other in made.values() if other.node is source.node and other is not state), None)
    dh = None if h is None else gradient_of(h)
    if dh is None:
        return None
    if source not in slopes:
        slopes[source] = gates_in(source.node, state.shape)["o"] * (1 - np.tanh(state.data) ** 2)
    return dh * slopes[source]


def within(step: Step, seeds: Mapping[Any, Any]) -> Lookup:
    """The gradients within one step, from those that arrive at its states."""
    sources = [state.source for state in step.made.values()]
    starts = [(source, seeds[source]) for source in sources if source in seeds]
    return drain(sweep(starts, retain=True, targets=sources, floor=step.start)).of


def found(result: Gradients, tensor: Tensor) -> np.ndarray:
    """The gradient that a pass has found for a tensor; zeros if none."""
    gradient = result.of(tensor.source)
    return np.zeros(tensor.shape, tensor.dtype) if gradient is None else np.array(gradient)


# Parameters -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class WeightContributions(Result):
    """What each time step contributed to the gradient of each parameter.

    Contributions may cancel, so that a norm alone says little: a step that counts has a cosine far from 0.

    Attributes:
        values: by parameter (T, *shape); the sum over t is the gradient. None if only the norms were asked for.
        norms: by parameter (T,).
        cosines: by parameter (T,), with the sum; NaN where one of them is zero.
        total: by parameter, the gradient of the loss.
    """

    values: Arrays | None
    norms: Arrays
    cosines: Arrays
    total: Arrays

    def _draw(self, ax: Any) -> None:
        for name, values in self.norms.items():
            curve(ax, values, name)
        ax.set_ylabel("norm of the contribution to dL/dW")
        ax.legend()


def weight_contributions(
    run: Run,
    loss: Tensor,
    parameters: Mapping[str, Tensor] | None = None,
    *,
    values: bool = True,
) -> WeightContributions:
    """What each time step contributed to dL/dW: dL/dW = Σ_t (dL/dW)_t.

    Args:
        run: of `unroll`.
        loss: a single number computed from the run. Its graph is kept, and no `.grad` changes.
        parameters: by name; by default those of the cell. Uses outside of the run's steps (a read-out after them)
            belong to no step and are refused.
        values: keep the contributions themselves. Otherwise only norms and cosines, in the memory of two gradients
            and with two passes.

    Raises:
        ArgumentError: no parameters, which only the caller knows if the cell is a function.
        GradientError: the loss does not depend on the run; a use outside of the steps.

    Source: the *temporal components* of Pascanu et al. (2013), section 2, equation 3; the sum over uses of a shared
    weight is P. Werbos, "Backpropagation through time: what it does and how to do it" (1990).

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.tensor(0.5, requires_grad=True)
    >>> run = gz.bptt.unroll(lambda x, h: w * h, np.zeros(3), state=1.0)
    >>> gz.bptt.weight_contributions(run, run["h"][-1], {"w": w}).values["w"]
    array([0.25, 0.25, 0.25], dtype=float32)
    """
    named = parameters_of(run, parameters)
    if values:
        arrays = {name: np.empty((len(run), *p.shape), p.dtype) for name, p in named.items()}
        unused = {name: set(range(len(run))) for name in named}

        def collect(t: int, name: str, gradient: np.ndarray) -> None:
            if t in unused[name]:  # to add to zeros would go through that memory once more
                unused[name].remove(t)
                arrays[name][t] = gradient
            else:
                arrays[name][t] += gradient

        each_use(run, loss, named, collect)
        for name, steps in unused.items():
            arrays[name][list(steps)] = 0
        total = {name: array.sum(axis=0) for name, array in arrays.items()}
        sizes = {name: lengths_of(array) for name, array in arrays.items()}
        along = {name: array.reshape(len(array), -1) @ total[name].reshape(-1) for name, array in arrays.items()}
    else:
        arrays = None
        result = swept(loss, [p.source for p in named.values()])
        total = {name: found(result, p) for name, p in named.items()}
        sizes, along = reduced(run, loss, named, total)
    cosines = {name: ratio(along[name], sizes[name] * np.linalg.norm(total[name])) for name in named}
    return WeightContributions(arrays, sizes, cosines, total)


def reduced(run: Run, loss: Tensor, named: Mapping[str, Tensor], total: Arrays) -> tuple[Arrays, Arrays]:
    """Norms of the contributions and their products with the sum, one step in memory at a time.

    Uses come newest first, so that all of a step have come once one of the step before does.
    """
    sizes = {name: np.zeros(len(run)) for name in named}
    along = {name: np.zeros(len(run)) for name in named}
    open_step: dict[str, tuple[int, np.ndarray]] = {}

    def close(name: str) -> None:
        if name in open_step:
            t, gradient = open_step.pop(name)
            sizes[name][t] = np.linalg.norm(gradient)
            along[name][t] = np.vdot(gradient, total[name])

    def collect(t: int, name: str, gradient: np.ndarray) -> None:
        if name in open_step and open_step[name][0] == t:
            open_step[name] = (t, open_step[name][1] + gradient)
            return
        close(name)
        open_step[name] = (t, gradient)

    each_use(run, loss, named, collect)
    for name in named:
        close(name)
    return sizes, along


def parameters_of(run: Run, parameters: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The parameters to ask about: those given, or the cell's."""
    named = dict(run.parameters if parameters is None else parameters)
    if not named:
        raise ArgumentError(
            "there are no parameters to ask about",
            got=f"the cell {describe(run.cell)}",
            todo="pass parameters={'w': w}: what a function uses only its writer knows",
        )
    return named


def each_use(
    run: Run, loss: Tensor, named: Mapping[str, Tensor], collect: Callable[[int, str, Any], None]
) -> tuple[Gradients, int]:
    """Call `collect(t, name, gradient)` for each use of a parameter in the run, newest first.

    Returns:
        The table of gradients, which has those of the states too; and the newest step that the loss has reached.
    """
    names: dict[Any, list[str]] = {}
    for name, parameter in named.items():
        if parameter.source is not None:
            names.setdefault(parameter.source, []).append(name)
    newest = -1

    def see(step: BackwardStep) -> None:
        nonlocal newest
        node = step.node
        if node.t is not None and run.steps[0].start < node.number:
            newest = max(newest, node.t)
        for source, gradient in zip(node.inputs, step.gradients, strict=True):
            if gradient is None or source not in names:
                continue
            if node.t is None or not 0 <= node.t < len(run):
                raise GradientError(
                    f"the parameter {names[source][0]} is used outside of the run's steps too, by {node!r}",
                    got=f"time step {node.t}",
                    expected=f"one from 0 to {len(run) - 1}",
                    todo="ask about the parameters of the cell, or record the use within gz.time_step(t)",
                )
            for name in names[source]:
                collect(node.t, name, gradient)

    states = [state.source for step in run.steps for state in step.made.values()]
    return swept(loss, [*names, *states], see), newest


def lengths_of(array: np.ndarray) -> np.ndarray:
    """The norm of each of the arrays along the first axis."""
    rows = array.reshape(len(array), -1)
    return np.asarray(np.sqrt(np.vecdot(rows, rows)))


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is zero."""
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
