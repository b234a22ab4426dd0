"""Jacobians of the recurrence, step by step and over many steps: what makes gradients vanish or explode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backward import drain, sweep
from ..errors import ArgumentError
from ..tensor import Tensor
from ..zoo.gated import GRUCell, LSTMCell
from ..zoo.recurrent import RNNCell, SimpleRNNCell
from .gradients import progress
from .results import Arrays, Result, over_batch
from .run import Run, Step

TRUSTED = 1e-10
"""Singular values of a product are computed as such down to this share of the greatest, estimated below."""


@dataclass(eq=False, repr=False)
class Jacobians(Result):
    """The Jacobian of each step: ∂s_t/∂s_{t−1}, for the whole state s (of an LSTM h and c side by side).

    Attributes:
        values: (T, B, n, n); those of step 0 are with respect to the initial state. Zeros where a state was not handed
            on (a reset, the end of a sequence).
        parts: by part the first and the last + 1 of its places among the n.
    """

    values: np.ndarray
    parts: Arrays

    def block(self, of: str, by: str) -> np.ndarray:
        """(T, B, n_of, n_by): ∂of_t/∂by_{t−1}, as ``block("c", "h")``."""
        for part in (of, by):
            if part not in self.parts:
                raise ArgumentError("no such part of the state", got=repr(part), expected=", ".join(self.parts))
        return self.values[:, :, slice(*self.parts[of]), slice(*self.parts[by])]

    def norms(self) -> np.ndarray:
        """(T, B): the spectral norm of each, the most that the step can stretch a gradient."""
        return np.asarray(np.linalg.norm(self.values, 2, axis=(-2, -1)))

    def _draw(self, ax: Any) -> None:
        singular = np.linalg.svd(self.values, compute_uv=False).mean(axis=1)
        ax.plot(singular)
        ax.axhline(1, color="0.6", linewidth=1)
        ax.set_xlabel("time step")
        ax.set_ylabel("singular values of ∂s_t/∂s_{t−1}")


def jacobians(run: Run) -> Jacobians:
    """The Jacobian of each step of a run, by one backward pass through the step for each element of the state.

    The sequences of a batch must not depend on each other (no batch normalisation in the cell).

    Args:
        run: of `unroll`; its initial state must be known.

    Raises:
        ArgumentError: only the cell knows its initial state.

    >>> import numpy as np, graphzoo as gz
    >>> run = gz.bptt.unroll(lambda x, h: h * h, np.zeros(3), state=np.array([1.0, 2.0]))
    >>> gz.bptt.jacobians(run).values[:, 0].diagonal(axis1=1, axis2=2)
    array([[  2.,   4.],
           [  2.,   8.],
           [  2.,  32.]])
    """
    if not run.initial:
        raise ArgumentError(
            "the Jacobian of the first step needs the initial state",
            got="a run whose cell made its own",
            todo="pass state= to unroll",
        )
    shapes = {part: batched(state).shape for part, state in run.steps[0].made.items()}
    batch = next(iter(shapes.values()))[0]
    ends = np.cumsum([0, *[features for _, features in shapes.values()]])
    parts = {part: np.array([ends[i], ends[i + 1]]) for i, part in enumerate(shapes)}
    values = np.zeros((len(run), batch, ends[-1], ends[-1]), next(iter(run.states.values())).dtype)
    for t, step in enumerate(progress(run.steps, "Jacobians")):
        fill(values[t], step, parts)
        keep = run.steps[t - 1].keep if t else None
        if keep is not None:
            values[t] *= keep[:, None, None]
    return Jacobians(values, parts)


def batched(state: Tensor) -> np.ndarray:
    """A state as (B, features); without batch as (1, features)."""
    return state.data.reshape(len(state.data), -1) if state.ndim > 1 else state.data.reshape(1, -1)


def fill(jacobian: np.ndarray, step: Step, parts: Arrays) -> None:
    """One step's Jacobian (B, n, n), row by row."""
    taken = {part: state.source for part, state in step.taken.items()}
    for part, state in step.made.items():
        begin, end = parts[part]
        for row in range(begin, end):
            seed = np.zeros((len(jacobian), end - begin), state.dtype)
            seed[:, row - begin] = 1
            start = [(state.source, seed.reshape(state.shape))]
            result = drain(sweep(start, retain=True, targets=list(taken.values()), floor=step.start))
            for other, source in taken.items():
                gradient = result.of(source)
                if gradient is not None:
                    jacobian[:, row, slice(*parts[other])] = gradient.reshape(len(jacobian), -1)


# Products -------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class JacobianSpectrum(Result):
    """Singular values of ∂s_τ/∂s_t over the lag τ − t, for one τ.

    Logarithms, as the values themselves leave the range of floating-point numbers.

    Attributes:
        log_singular_values: (τ + 2, B, n) by lag, falling; lag τ + 1 is the initial state. −∞ is a direction in which
            nothing comes through.
        lyapunov: (B, n) estimates of the Lyapunov exponents over the whole stretch, per step, falling: > 0 explodes,
            < 0 vanishes.
        log_bound: (τ + 2,) Pascanu's bound on the logarithm of the greatest, lag · log(γ ‖W_hh‖₂), γ = 1 for tanh and
            relu; None for cells for which there is none.
    """

    log_singular_values: np.ndarray
    lyapunov: np.ndarray
    log_bound: np.ndarray | None

    @property
    def singular_values(self) -> np.ndarray:
        """(τ + 2, B, n); may be 0 or infinite where the logarithms are not."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.log_singular_values)

    def _draw(self, ax: Any) -> None:
        with np.errstate(invalid="ignore"):
            means = self.log_singular_values.mean(axis=1) / np.log(10)
        for index, values in enumerate(means.T):
            label = "singular values of ∂s_τ/∂s_t" if index == 0 else None
            ax.plot(np.where(np.isfinite(values), values, np.nan), color="C0", linewidth=0.8, label=label)
        if self.log_bound is not None:
            ax.plot(self.log_bound / np.log(10), "k--", label="Pascanu's bound")
        ax.set_xlabel("lag τ − t")
        ax.set_ylabel("log₁₀, mean over the batch")
        ax.legend()


def jacobian_spectrum(run: Run, end: int | None = None, *, steps: Jacobians | None = None) -> JacobianSpectrum:
    """Singular values of the products ∂s_τ/∂s_t = J_τ ⋯ J_{t+1}, and Lyapunov exponents.

    The product grows by one factor at a time, J_tᵀ Q = Q′R, so that its directions stay apart however long it gets;
    the product of the R is kept with a logarithmic scale for each row. Down to 10⁻¹⁰ of the greatest, its singular
    values are computed. Below, where that has no digits left, they are the diagonal of one more QR, whose relative
    error is of the order of the squared ratio of neighbouring values.

    Args:
        run: of `unroll`.
        end: τ; the last step if None.
        steps: what `jacobians(run)` gave, if that is at hand.

    Raises:
        ArgumentError: no such step; only the cell knows its initial state.

    Source: G. Benettin et al., "Lyapunov characteristic exponents for smooth dynamical systems" (1980); the bound:
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013),
    section 2.1.

    >>> import numpy as np, graphzoo as gz
    >>> run = gz.bptt.unroll(lambda x, h: np.array([2.0, 0.5]) * h, np.zeros(3), state=np.ones(2))
    >>> gz.bptt.jacobian_spectrum(run).singular_values[:, 0]
    array([[1.   , 1.   ],
           [2.   , 0.5  ],
           [4.   , 0.25 ],
           [8.   , 0.125]])
    """
    last = last_step(run, end)
    factors = (jacobians(run) if steps is None else steps).values
    batch, size = factors.shape[1:3]
    q = np.broadcast_to(np.eye(size), (batch, size, size))
    rows, sizes = q, np.zeros((batch, size))
    growth = np.zeros((batch, size))
    logs = np.zeros((last + 2, batch, size))
    with np.errstate(divide="ignore"):  # log 0 = −∞: nothing comes through
        for lag in range(1, last + 2):
            q, r = np.linalg.qr(factors[last + 1 - lag].swapaxes(-1, -2) @ q)
            growth += np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))
            rows, sizes = times_graded(r, rows, sizes)
            logs[lag] = log_singular_values(rows, sizes)
    return JacobianSpectrum(logs, -np.sort(-growth, axis=-1) / (last + 1), bound(run, last))


def times_graded(r: np.ndarray, rows: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R · diag(exp(sizes)) · rows in the same form: rows of length 1, and the logarithms of what they are times."""
    terms = np.log(np.abs(r)) + sizes[:, None, :]
    greatest = terms.max(axis=-1)
    finite = np.where(np.isfinite(greatest), greatest, 0)
    product = (np.sign(r) * np.exp(terms - finite[..., None])) @ rows
    lengths = np.linalg.norm(product, axis=-1)
    return product / np.where(lengths > 0, lengths, 1)[..., None], finite + np.log(lengths)


def log_singular_values(rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Logarithms of the singular values of diag(exp(sizes)) · rows, in falling order."""
    order = np.argsort(-sizes, axis=-1)
    rows, sizes = np.take_along_axis(rows, order[..., None], axis=-2), np.take_along_axis(sizes, order, axis=-1)
    greatest = np.where(np.isfinite(sizes[:, :1]), sizes[:, :1], 0)
    singular = np.linalg.svd(np.exp(sizes - greatest)[..., None] * rows, compute_uv=False)
    r = np.linalg.qr(rows.swapaxes(-1, -2), mode="r")
    estimates = -np.sort(-(sizes + np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))), axis=-1)
    found = np.where(singular > TRUSTED * singular[:, :1], np.log(singular) + greatest, estimates)
    return np.asarray(np.minimum.accumulate(found, axis=-1))


def last_step(run: Run, end: int | None) -> int:
    """τ as an index from 0."""
    last = len(run) - 1 if end is None else end
    if not 0 <= last < len(run):
        raise ArgumentError("no such step", got=end, expected=f"0 to {len(run) - 1}")
    return last


def bound(run: Run, last: int) -> np.ndarray | None:
    """lag · log(γ ‖W_hh‖₂) for cells h' = φ(W_hh h + …) with |φ′| ≤ γ = 1."""
    if not isinstance(run.cell, (RNNCell, SimpleRNNCell)):
        return None
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.linalg.norm(run.cell.weight_hh.data, 2)) * np.arange(last + 2))


# The carousel ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class Carousel(Result):
    """The product of the gates that keep a memory, beside what truly comes through.

    Attributes:
        product: (τ + 1, B, H) by lag: Π f over the steps in between (of a GRU, of the share of h that it keeps).
        diagonal: (τ + 1, B, H): ∂c_τ/∂c_t of each unit by itself, through everything (of a GRU ∂h_τ/∂h_t).
        rest: (τ + 1, B): Frobenius norm of the rest of ∂c_τ/∂c_t, by which units reach each other.
    """

    product: np.ndarray
    diagonal: np.ndarray
    rest: np.ndarray

    def _draw(self, ax: Any) -> None:
        for label, values, style in (
            ("product of the gates", self.product, "-"),
            ("|true derivative|", np.abs(self.diagonal), "--"),
        ):
            means = over_batch(values)
            ax.plot(np.where(means > 0, means, np.nan), style, label=label)
        ax.set_yscale("log")
        ax.set_xlabel("lag τ − t")
        ax.set_ylabel("mean over batch and units")
        ax.legend()


def keeping_gate(run: Run) -> np.ndarray:
    """(T, B, H): which share of its memory each unit keeps in a step."""
    if isinstance(run.cell, LSTMCell):
        return run.gates["f"]
    if isinstance(run.cell, GRUCell):
        return run.gates["z"] if run.cell.reset_after else 1 - run.gates["z"]
    raise ArgumentError(
        "only gated cells have a gate that keeps a memory",
        got=type(run.cell).__name__,
        expected="a run of gz.LSTMCell or gz.GRUCell",
    )


def carousel(run: Run, end: int | None = None, *, steps: Jacobians | None = None) -> Carousel:
    """The constant error carousel: is the path through the gates all there is?

    Along c alone an LSTM's gradient is multiplied by the forget gate at each step. The true ∂c_τ/∂c_t has the paths
    through h and the gates, too.

    Args:
        run: of `unroll`, of an `LSTMCell` or a `GRUCell`.
        end: τ; the last step if None.
        steps: what `jacobians(run)` gave, if that is at hand.

    Raises:
        ArgumentError: a cell without such a gate; no such step.

    Source: S. Hochreiter, J. Schmidhuber, "Long short-term memory" (1997), section 3; the forget gate: F. Gers,
    J. Schmidhuber, F. Cummins, "Learning to forget" (2000).

    >>> import numpy as np, graphzoo as gz
    >>> found = gz.bptt.carousel(gz.bptt.unroll(gz.LSTMCell(3, 4, rng=0), np.ones((5, 2, 3))))
    >>> found.product.shape, bool((found.product[1:] < 1).all())
    ((5, 2, 4), True)
    """
    gate = keeping_gate(run)
    gate = gate.reshape(len(run), -1, gate.shape[-1])
    last = last_step(run, end)
    factors = jacobians(run) if steps is None else steps
    memory = "c" if isinstance(run.cell, LSTMCell) else "h"
    place = slice(*factors.parts[memory])
    hidden = gate.shape[-1]
    true = np.zeros((last + 1, *gate.shape[1:], hidden))
    true[0] = np.eye(hidden)
    product = np.ones((last + 1, *gate.shape[1:]))
    rows = np.broadcast_to(np.eye(factors.values.shape[-1])[place], (gate.shape[1], hidden, factors.values.shape[-1]))
    for lag in range(1, last + 1):
        t = last - lag
        keep = run.steps[t].keep
        product[lag] = product[lag - 1] * gate[t + 1] * (1 if keep is None else keep[:, None])
        rows = rows @ factors.values[t + 1]
        true[lag] = rows[..., place]
        if memory == "c":  # c_t is read by the h_t of its own step, too
            slope = run.gates["o"][t] * (1 - np.tanh(run.states["c"][t]) ** 2)
            true[lag] += rows[..., slice(*factors.parts["h"])] * slope.reshape(-1, 1, hidden)
    diagonal = np.diagonal(true, axis1=-2, axis2=-1)
    return Carousel(product, diagonal.copy(), np.linalg.norm(true * (1 - np.eye(hidden)), axis=(-2, -1)))


# Gates ----------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class GateStats(Result):
    """What the gates of a run do.

    Attributes:
        mean: by gate (T,), over batch and units.
        unit_mean: by gate (H,), over steps and batch.
        left: by gate (H,): share of the steps in which the gate is nearly closed (< 0.1; for the candidates, which lie
            in [−1, 1], < −0.8).
        right: by gate (H,): share in which it is nearly open (> 0.9; > 0.8).
        timescale: (H,) in steps: in which time the product of the keeping gate falls to 1/e; ∞ if it is always 1.
    """

    mean: Arrays
    unit_mean: Arrays
    left: Arrays
    right: Arrays
    timescale: np.ndarray

    def _draw(self, ax: Any) -> None:
        for name in self.left:
            ax.scatter(self.left[name], self.right[name], s=12, label=name)
        ax.plot([0, 1], [1, 0], color="0.8", linewidth=1)
        ax.set_xlabel("share of steps nearly closed")
        ax.set_ylabel("share of steps nearly open")
        ax.legend()


def gate_stats(run: Run) -> GateStats:
    """Means, saturation and implied timescales of the gates. Steps behind a sequence's end do not count.

    Args:
        run: of `unroll`, of an `LSTMCell` or a `GRUCell`.

    Raises:
        ArgumentError: a cell without such gates.

    Source: saturation: A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and understanding recurrent networks" (2015),
    figure 3; timescales: C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?" (ICLR 2018), section 2.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.bptt.inits.forget_bias(gz.LSTMCell(3, 4, rng=0), 2.0)
    >>> stats = gz.bptt.gate_stats(gz.bptt.unroll(cell, np.zeros((5, 2, 3))))
    >>> bool((stats.unit_mean["f"] > 0.8).all()), bool((stats.timescale > 4).all())
    (True, True)
    """
    keeping = keeping_gate(run)
    mask = np.ones(keeping.shape[:-1], bool) if run.active is None else run.active
    mean, unit_mean, left, right = {}, {}, {}, {}
    for name, gate in run.gates.items():
        opened = (gate + 1) / 2 if name == "g" or name == "c" else gate
        mean[name] = average(gate.mean(axis=-1), mask, tuple(range(1, mask.ndim)))
        unit_mean[name] = average(gate, mask[..., None])
        left[name] = average(opened < 0.1, mask[..., None])
        right[name] = average(opened > 0.9, mask[..., None])
    with np.errstate(divide="ignore"):
        timescale = -1 / average(np.log(keeping), mask[..., None])
    return GateStats(mean, unit_mean, left, right, timescale)


def average(values: np.ndarray, mask: np.ndarray, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """The mean of what the mask shows, by default over all axes but the last; NaN where it shows nothing."""
    axis = tuple(range(values.ndim - 1)) if axis is None else axis
    count = np.broadcast_to(mask, values.shape).sum(axis=axis)
    total = np.where(mask, values, 0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0))
