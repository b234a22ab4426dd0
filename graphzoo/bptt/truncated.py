"""Truncated backpropagation through time, over sequences of any length in constant memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..errors import ArgumentError, describe
from ..module import Module, generator, record
from ..observer import Tape
from ..tape import Node, enable_grad, time_step
from ..tensor import Tensor, detach_state
from ..zoo.loss import MSELoss
from .cells import Stepper, leaves, rebuilt
from .results import LIVE, Arrays, Result

MODES = ("truncated", "chunked", "randomised")


@dataclass(eq=False, repr=False)
class Window(Result):
    """One window of truncated backpropagation: losses of the steps start … stop − 1, sent back to step `begin`.

    Attributes:
        begin, start, stop: steps, counted from 0.
        loss: the sum of the window's losses.
        gradients: by parameter, of that sum as far as the window goes; copies of what lies in `.grad`.
        live_nodes: how many recorded nodes of this and earlier windows were alive before the backward pass.
        state: the carried state behind the window, without a graph.
    """

    begin: int
    start: int
    stop: int
    loss: float
    gradients: Arrays
    live_nodes: int
    state: Any = field(metadata=LIVE)

    def _draw(self, ax: Any) -> None:
        ax.barh([0], [self.stop - self.begin], left=[self.begin], color="C1", label="sent back through")
        ax.barh([0], [self.stop - self.start], left=[self.start], color="C0", label="losses")
        ax.set_xlabel("time step")
        ax.set_yticks([])
        ax.legend()


class Rescale(Module):
    """A state whose gradient is multiplied by a factor on its way back."""

    saves = ()

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, node: Node, state: Any) -> Any:
        return state.view()

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * self.factor

    def all(self, state: Any) -> Any:
        """A state with all its parts rescaled."""
        return rebuilt(state, iter([record(self, [part]) for part in leaves(state)]))


def tbptt(
    cell: Callable[..., Any],
    x: Iterable[Any],
    y: Iterable[Any],
    k1: int,
    k2: int | None = None,
    mode: str = "truncated",
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
    readout: Callable[[Any], Any] | None = None,
    state: Any = None,
    parameters: Mapping[str, Tensor] | None = None,
    rng: int | np.random.Generator | None = None,
) -> Iterator[Window]:
    """Truncated backpropagation through time, window by window.

    Each window's gradient lies in `.grad` of the parameters (in place of what was there) when the window is handed out,
    so that an optimiser may take its step before the next. In every mode each step's loss counts once.

    - ``"truncated"``: after every k1 steps the losses of these k1 are sent back through the last k2 ≥ k1 steps. With
      k1 = 1 every loss goes back through exactly k2. The k2 − k1 steps before the new ones are computed again from the
      state that was carried there, so that the gradient is that of the present parameters, whatever an optimiser has
      changed since.
    - ``"chunked"``: windows of k1 = k2 steps that do not overlap: the first step's loss goes back through one step.
    - ``"randomised"``: windows of random lengths, k1 on average. After each step the state is cut off with probability
      c = 1/k1; the gradients that pass are multiplied by 1/(1 − c), which makes the sum over all windows an unbiased
      estimate of the full gradient (as long as the parameters stay).

    Args:
        cell: as in `unroll`; it is trained itself, in its own dtype.
        x, y: inputs and targets of each step: arrays with time first, or anything that yields them step by step,
            endless generators included. A target of None is a step without a loss.
        k1: steps between two windows; mean length for ``"randomised"``, there ≥ 2.
        k2: steps back; k1 if None.
        loss: takes (output, target) of one step, returns a single number; the mean squared error if None.
        readout: a module or function from the cell's output to what the loss gets.
        state: the initial state.
        parameters: by name; by default those of the cell, and those of the read-out as ``readout.…``.
        rng: seed or generator for ``"randomised"``.

    Yields:
        A `Window` for each backward pass, the last one maybe shorter.

    Raises:
        ArgumentError: impossible k1, k2 or mode; no parameters; x and y of different lengths.

    Source: R. J. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories" (1990), BPTT(h; h′); I. Sutskever, "Training recurrent neural networks" (2013), section 2.8 (k1, k2);
    C. Tallec, Y. Ollivier, "Unbiasing truncated backpropagation through time" (2017), section 3.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.GRUCell(2, 3, rng=0)
    >>> optimizer = gz.optim.SGD(cell.parameters(), lr=0.1)
    >>> x, y = np.ones((7, 4, 2), np.float32), np.zeros((7, 4, 3), np.float32)
    >>> for window in gz.bptt.tbptt(cell, x, y, k1=2, k2=4):
    ...     optimizer.step()
    ...     print(window.begin, window.start, window.stop, window.live_nodes)
    0 0 2 5
    0 2 4 7
    2 4 6 7
    3 6 7 5
    """
    window = checked(k1, k2, mode)
    trainer = Trainer(cell, loss or MSELoss(), readout, parameters)
    pairs = enumerate(paired(x, y))
    if mode == "randomised":
        return trainer.randomised(pairs, state, k1, generator(rng))
    return trainer.truncated(pairs, state, k1, window)


def checked(k1: Any, k2: Any, mode: str) -> int:
    """k2 as it is meant; refuses what makes no sense."""
    if mode not in MODES:
        raise ArgumentError("tbptt: unknown mode", got=repr(mode), expected=", ".join(map(repr, MODES)))
    back = k1 if k2 is None else k2
    if not all(isinstance(k, (int, np.integer)) and k >= 1 for k in (k1, back)) or back < k1:
        raise ArgumentError(
            "tbptt: impossible k1 and k2",
            got=f"k1 = {k1!r}, k2 = {k2!r}",
            expected="integers with 1 ≤ k1 ≤ k2: with fewer steps back than between windows, losses would get lost",
        )
    if mode != "truncated" and back != k1:
        raise ArgumentError(
            f"tbptt: mode {mode!r} has one length of windows", got=f"k1 = {k1}, k2 = {k2}", todo="leave k2 out"
        )
    if mode == "randomised" and k1 < 2:
        raise ArgumentError("tbptt: with a mean length of 1 nothing is ever sent back", got=k1, expected="k1 ≥ 2")
    return int(back)


def paired(x: Iterable[Any], y: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets step by step."""
    if isinstance(x, Sized) and isinstance(y, Sized) and len(x) != len(y):
        raise ArgumentError("tbptt: inputs and targets differ in length", got=f"{len(x)} inputs, {len(y)} targets")
    return in_step(*(iter(value.data if isinstance(value, Tensor) else value) for value in (x, y)))


def in_step(inputs: Iterator[Any], targets: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """As `zip`, but that targets must not end first."""
    none = object()
    for count, item in enumerate(inputs):
        target = next(targets, none)
        if target is none:
            raise ArgumentError("tbptt: there are more inputs than targets", got=f"{count} targets")
        yield item, target


class Trainer:
    """What the modes share: how a stretch of steps is recorded and sent back."""

    def __init__(self, cell: Any, loss: Any, readout: Any, parameters: Mapping[str, Tensor] | None) -> None:
        self.step = Stepper(cell)
        self.loss = loss
        self.readout = readout
        self.parameters = dict(named_parameters(cell, readout) if parameters is None else parameters)
        self.tapes: list[Tape] = []
        if not self.parameters:
            raise ArgumentError(
                "tbptt: there are no parameters to differentiate for",
                got=describe(cell),
                todo="pass parameters={'w': w}: what a function uses only its writer knows",
            )

    def start(self, state: Any, x: Any) -> Any:
        """The state before the first step; None if only the cell knows it."""
        return detach_state(self.step.initial(state, x, None))

    def advance(self, t: int, x: Any, y: Any, state: Any) -> tuple[Tensor | None, Any]:
        """One step: its loss, None without a target, and the state behind it."""
        with time_step(t):
            output, state = self.step(x, state)
            if y is None:
                return None, state
            return self.loss(output if self.readout is None else self.readout(output), y), state

    def truncated(self, pairs: Iterator[Any], state: Any, k1: int, k2: int) -> Iterator[Window]:
        history: deque[tuple[int, Any]] = deque()
        states: list[Any] = []  # before each step in the history, and behind the last one
        while chunk := list(islice(pairs, k1)):
            if not states:
                states = [self.start(state, chunk[0][1][0])]
            history.extend(chunk)
            dropped = max(len(history) - k2, 0)
            for _ in range(dropped):
                history.popleft()
            states = states[dropped : dropped + 1]
            tape = Tape()
            with enable_grad(), tape:
                losses, carried = [], states[0]
                for t, (x, y) in history:
                    new = t >= chunk[0][0]
                    loss, carried = self.advance(t, x, y if new else None, carried)
                    losses.append(loss)
                    states.append(detach_state(carried))
            window = self.window(history[0][0], chunk[0][0], t + 1, losses, states[-1], tape)
            del carried, losses, loss  # the graph, which nobody shall hold while the next is built
            yield window

    def randomised(self, pairs: Iterator[Any], state: Any, mean: int, rng: np.random.Generator) -> Iterator[Window]:
        cut = 1 / mean
        rescale = Rescale(1 / (1 - cut))
        first, steps = True, pairs
        for begin, (x, y) in steps:
            if first:
                state, first = self.start(state, x), False
            losses, t = [], begin
            tape = Tape()
            with enable_grad(), tape:
                loss, carried = self.advance(t, x, y, state)
                losses.append(loss)
                while rng.random() >= cut:
                    following = next(steps, None)
                    if following is None:
                        break
                    t, (x, y) = following
                    loss, carried = self.advance(t, x, y, rescale.all(carried))
                    losses.append(loss)
            state = detach_state(carried)
            window = self.window(begin, begin, t + 1, losses, state, tape)
            del carried, losses, loss
            yield window

    def window(self, begin: int, start: int, stop: int, losses: list[Any], state: Any, tape: Tape) -> Window:
        """Send the losses back."""
        counted = [loss for loss in losses if loss is not None]
        with enable_grad(), tape:
            total = sum(counted[1:], counted[0]) if counted else None
        self.tapes = [*[earlier for earlier in self.tapes if earlier.live_nodes], tape]
        live = sum(each.live_nodes for each in self.tapes)
        for parameter in self.parameters.values():
            parameter.grad = None
        value = 0.0
        if total is not None:
            value = total.item()
            if total.requires_grad:
                total.backward()
        gradients = {
            name: np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.copy() for name, p in self.parameters.items()
        }
        return Window(begin, start, stop, float(value), gradients, live, state)


def named_parameters(cell: Any, readout: Any) -> Iterator[tuple[str, Tensor]]:
    """Those of the cell by their names, those of the read-out behind ``readout.``."""
    for prefix, module in (("", cell), ("readout.", readout)):
        if isinstance(module, Module):
            yield from ((prefix + name, p) for name, p in module.named_parameters())


# Clipping -------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class ClipReport(Result):
    """What clipping by the norm would do to a series of N gradients.

    Attributes:
        max_norm: the threshold.
        norms: (N,) of each gradient, over all parameters.
        factors: (N,) by which each would be multiplied: min(1, max_norm / norm).
        by_parameter: by parameter (N,), its own norm.
        clipped: the share of the gradients that would be clipped.
        kept: the share of the sum of all norms that clipping leaves.
    """

    max_norm: float
    norms: np.ndarray
    factors: np.ndarray
    by_parameter: Arrays
    clipped: float
    kept: float

    def _draw(self, ax: Any) -> None:
        ax.plot(self.norms, marker=".", linewidth=0.8, label="norm of the gradient")
        ax.axhline(self.max_norm, color="C3", label=f"max_norm, {self.clipped:.0%} above")
        ax.set_yscale("log")
        ax.set_xlabel("gradient")
        ax.legend()


def clip_report(gradients: Iterable[Any], max_norm: float) -> ClipReport:
    """How often and how strongly gradients would be clipped by `gz.optim.clip_grad_norm`.

    Args:
        gradients: dictionaries of arrays by parameter, or `Window`s of `tbptt`; one for each update.
        max_norm: the threshold; half to ten times the mean norm is the usual range.

    Raises:
        ArgumentError: no gradients, an impossible threshold.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013),
    algorithm 1 and section 3.2.

    >>> import numpy as np, graphzoo as gz
    >>> report = gz.bptt.clip_report([{"w": np.array([3.0, 4.0])}, {"w": np.array([0.3, 0.4])}], max_norm=1.0)
    >>> report.norms, report.factors, report.clipped
    (array([5. , 0.5]), array([0.2, 1. ]), 0.5)
    """
    if not max_norm > 0:
        raise ArgumentError("clip_report: impossible max_norm", got=max_norm, expected="a number > 0")
    series = [item.gradients if isinstance(item, Window) else dict(item) for item in gradients]
    if not series:
        raise ArgumentError("clip_report: there are no gradients", got="an empty series")
    names = list(series[0])
    own = {name: np.array([float(np.linalg.norm(found[name])) for found in series]) for name in names}
    norms = np.array([math.hypot(*norms) for norms in zip(*own.values(), strict=True)])
    factors = np.divide(max_norm, norms, out=np.ones(len(norms)), where=norms > max_norm)
    total = norms.sum()
    kept = float((norms * factors).sum() / total) if total > 0 else 1.0
    return ClipReport(float(max_norm), norms, factors, own, float((norms > max_norm).mean()), kept)
