"""How far back losses reach, and what a truncation would cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, describe
from ..tensor import Tensor
from .gradients import Slopes, by_part, each_use, found, lengths_of, parameters_of, progress, swept
from .results import Arrays, Result, cosine
from .run import Run


@dataclass(eq=False, repr=False)
class ContributionMatrix(Result):
    """How much of loss s arrives at time step t, for S losses and T steps.

    Attributes:
        steps: (S,) the time step of each loss: the newest that it was computed from.
        states: by part (S, T): ‖dL_s/dh_t‖ over batch and features.
        norms: (S, T): norm of what step t contributed to the gradient of loss s, over all parameters.
        along: (S, T): the component of that contribution along the whole gradient G = dΣL/dW. Unlike norms it adds up:
            the sum of all is ‖G‖, and the sum of a row what its loss adds to that.
        gradients: by parameter (S, *shape), the gradient of each loss: the sums of the rows.
        values: by parameter (S, T, *shape), the contributions themselves; None unless asked for.
    """

    steps: np.ndarray
    states: Arrays
    norms: np.ndarray
    along: np.ndarray
    gradients: Arrays
    values: Arrays | None

    def by_lag(self, what: str | np.ndarray = "norms") -> np.ndarray:
        """(T,): the mean over the losses at each lag (how many steps before its loss a step lies).

        Args:
            what: ``"norms"``, ``"along"``, a part of the state, or an array (S, T).
        """
        if isinstance(what, str):
            known = {"norms": self.norms, "along": self.along, **self.states}
            if what not in known:
                raise ArgumentError("no such matrix", got=repr(what), expected=", ".join(known))
            what = known[what]
        lags = self.steps[:, None] - np.arange(what.shape[1])
        means = np.full(what.shape[1], np.nan)
        for lag in range(what.shape[1]):
            if (lags == lag).any():
                means[lag] = what[lags == lag].mean()
        return means

    def _draw(self, ax: Any) -> None:
        from matplotlib.colors import LogNorm

        shown = np.ma.masked_less_equal(self.norms, 0)
        scale = LogNorm() if shown.count() else None
        image = ax.imshow(shown, aspect="auto", origin="lower", interpolation="nearest", norm=scale)
        ax.set_xlabel("time step t")
        ax.set_ylabel("loss s")
        ax.figure.colorbar(image, ax=ax, label="norm of the contribution to dL/dW")


def contribution_matrix(
    run: Run,
    losses: Sequence[Tensor],
    parameters: Mapping[str, Tensor] | None = None,
    *,
    steps: Sequence[int] | None = None,
    values: bool = False,
) -> ContributionMatrix:
    """How much of each loss reaches each time step: Pascanu's temporal components, one row for each loss.

    One backward pass for each loss, in the memory of T gradients (S·T with `values`).

    Args:
        run: of `unroll`.
        losses: single numbers computed from the run, one for each time step, say. Their graph is kept.
        parameters: by name; by default those of the cell.
        steps: the time step of each loss; by default the newest that it was computed from.
        values: keep the contributions themselves.

    Raises:
        ArgumentError: no losses, no parameters.
        GradientError: a loss that does not depend on the run.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013),
    equations 3 to 5.

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.tensor(np.array(0.5), requires_grad=True)
    >>> run = gz.bptt.unroll(lambda x, h: w * h, np.zeros(3), state=1.0)
    >>> gz.bptt.contribution_matrix(run, run["h"], {"w": w}).norms
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.25, 0.25, 0.25]])
    """
    named = parameters_of(run, parameters)
    losses = listed(losses)
    total = total_gradient(losses, named)
    size = joint_norm(total)
    times = np.zeros(len(losses), int)
    shape = (len(losses), len(run))
    norms, along = np.zeros(shape), np.zeros(shape)
    states = {part: np.zeros(shape) for part in run.parts}
    gradients = {name: np.zeros((len(losses), *p.shape), p.dtype) for name, p in named.items()}
    kept = {name: np.zeros((*shape, *p.shape), p.dtype) for name, p in named.items()} if values else None
    slopes: Slopes = {}
    for s, loss in enumerate(progress(losses, "losses")):
        arrays, of_states, times[s] = one_loss(run, loss, named, slopes)
        for part, values_of in of_states.items():
            states[part][s] = lengths_of(values_of)
        for name, array in arrays.items():
            norms[s] += lengths_of(array) ** 2
            along[s] += array.reshape(len(run), -1) @ total[name].ravel() / (size or 1)
            gradients[name][s] = array.sum(axis=0)
            if kept is not None:
                kept[name][s] = array
    return ContributionMatrix(at_steps(steps, times), states, np.sqrt(norms), along, gradients, kept)


def listed(losses: Sequence[Tensor]) -> list[Tensor]:
    """The losses as a list."""
    losses = [losses] if isinstance(losses, Tensor) else list(losses)
    if not losses:
        raise ArgumentError("there are no losses", got="an empty sequence", expected="one or several numbers")
    return losses


def at_steps(steps: Any, times: np.ndarray) -> np.ndarray:
    """The time steps of the losses: as given, or as found."""
    if steps is None:
        return times
    given = np.asarray(steps)
    if given.shape != times.shape or given.dtype.kind not in "iu":
        raise ShapeError("steps do not fit the losses", got=describe(given), expected=f"{len(times)} integers")
    return given


def total_gradient(losses: Sequence[Tensor], named: Mapping[str, Tensor]) -> Arrays:
    """The gradient of the sum of the losses."""
    result = swept(losses, [p.source for p in named.values()])
    return {name: found(result, p) for name, p in named.items()}


def joint_norm(arrays: Arrays) -> float:
    """The norm of several arrays as of one."""
    return float(np.sqrt(sum(np.vdot(array, array).real for array in arrays.values())))


def one_loss(run: Run, loss: Tensor, named: Mapping[str, Tensor], slopes: Slopes) -> tuple[Arrays, Arrays, int]:
    """Contributions of all steps to one loss, its gradient at the states, and its time step."""
    arrays = {name: np.zeros((len(run), *p.shape), p.dtype) for name, p in named.items()}

    def collect(t: int, name: str, gradient: np.ndarray) -> None:
        arrays[name][t] += gradient

    result, newest = each_use(run, loss, named, collect)
    return arrays, by_part(run, [result.of] * len(run), slopes), newest


# Truncation -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class TruncationBias(Result):
    """How far the gradient of truncated backpropagation is from the full one, for several lengths of truncation.

    Attributes:
        k2: (K,) how many steps each loss is sent back through.
        relative_error: by parameter (K,): ‖truncated − full‖ / ‖full‖; NaN where the full one is zero.
        cosine: by parameter (K,), between truncated and full.
        full: by parameter the full gradient.
    """

    k2: np.ndarray
    relative_error: Arrays
    cosine: Arrays
    full: Arrays

    def _draw(self, ax: Any) -> None:
        for name, values in self.relative_error.items():
            ax.plot(self.k2, values, marker=".", label=name)
        ax.set_xlabel("steps back, k2")
        ax.set_ylabel("relative error of the gradient")
        ax.legend()


def truncation_bias(
    run: Run,
    losses: Sequence[Tensor],
    k2s: Sequence[int],
    parameters: Mapping[str, Tensor] | None = None,
    *,
    steps: Sequence[int] | None = None,
) -> TruncationBias:
    """What truncated backpropagation misses, if every loss is sent back through exactly k2 steps.

    That is `tbptt` with k1 = 1. All lengths come from one backward pass for each loss: what step t contributed to the
    gradient of loss s counts if t lies less than k2 steps before the step of s.

    Args:
        run, losses, parameters, steps: as in `contribution_matrix`.
        k2s: lengths of truncation, each ≥ 1. T and more is the full gradient.

    Source: C. Tallec, Y. Ollivier, "Unbiasing truncated backpropagation through time" (2017), section 2; the
    truncation is R. J. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories" (1990).

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.tensor(np.array(0.5), requires_grad=True)
    >>> run = gz.bptt.unroll(lambda x, h: w * h, np.zeros(4), state=1.0)
    >>> gz.bptt.truncation_bias(run, run["h"][-1], [1, 2, 4], {"w": w}).relative_error["w"]
    array([0.75, 0.5 , 0.  ])
    """
    lengths = np.asarray(k2s)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 1:
        raise ArgumentError("k2s are impossible", got=describe(k2s), expected="one or more integers ≥ 1")
    named = parameters_of(run, parameters)
    losses = listed(losses)
    given = None if steps is None else at_steps(steps, np.zeros(len(losses), int))
    by_lag = {name: np.zeros((len(run), *p.shape), p.dtype) for name, p in named.items()}
    slopes: Slopes = {}
    for s, loss in enumerate(progress(losses, "losses")):
        arrays, _, newest = one_loss(run, loss, named, slopes)
        time = newest if given is None else given[s]
        for name, array in arrays.items():
            by_lag[name][: time + 1] += array[time::-1]
    full = {name: array.sum(axis=0) for name, array in by_lag.items()}
    cut = {name: np.stack([array[:k2].sum(axis=0) for k2 in lengths]) for name, array in by_lag.items()}
    errors, cosines = {}, {}
    for name, whole in full.items():
        size = np.linalg.norm(whole)
        errors[name] = lengths_of(cut[name] - whole) / size if size > 0 else np.full(len(lengths), np.nan)
        cosines[name] = np.array([cosine(part, whole) for part in cut[name]])
    return TruncationBias(lengths, errors, cosines, full)
