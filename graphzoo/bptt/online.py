"""Real-time recurrent learning: the gradient forward in time, with no past kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..derivatives import grad
from ..errors import ArgumentError, describe
from ..tape import enable_grad, time_step
from ..tensor import Tensor
from .cells import Parts, Stepper, studied
from .gradients import progress
from .results import Arrays, Result, curve
from .truncated import named_parameters


@dataclass(eq=False, repr=False)
class OnlineGradients(Result):
    """What real-time recurrent learning finds.

    Attributes:
        gradients: by parameter, dΣL_t/dW.
        losses: (T,); NaN for steps without a loss.
        influence: (T,) norm of ds_t/dW, the derivative of the state with respect to all parameters, which is what the
            method carries along.
    """

    gradients: Arrays
    losses: np.ndarray
    influence: np.ndarray

    def _draw(self, ax: Any) -> None:
        curve(ax, self.influence, "‖ds_t/dW‖")
        ax.legend()


def rtrl(
    cell: Callable[..., Any],
    x: Iterable[Any],
    losses: Callable[[int, Any], Tensor | None],
    state: Any = None,
    *,
    parameters: Mapping[str, Tensor] | None = None,
    dtype: Any = np.float64,
) -> OnlineGradients:
    """The gradient of a sum of losses by real-time recurrent learning: exact, like backpropagation through time.

    Instead of the past it carries ds_t/dW along: P_t = ∂s_t/∂s_{t−1} P_{t−1} + ∂s_t/∂W. Memory does not grow with the
    number of steps but is n times that of the parameters for each sequence, n the size of the state, and a step takes n
    backward passes for each sequence: for small networks.

    Args:
        cell: as in `unroll`; the sequences of a batch must not depend on each other.
        x: the inputs step by step; an array with time first, or anything that yields them.
        losses: ``losses(t, output)`` gives the loss of step t, or None. What it computes from the output may use the
            parameters asked for, too.
        state: the initial state; zeros for cells of the zoo if None. Others need one.
        parameters: by name; by default those of the cell.
        dtype: as in `unroll`.

    Raises:
        ArgumentError: no parameters, no steps, or no initial state.

    Source: R. J. Williams, D. Zipser, "A learning algorithm for continually running fully recurrent neural networks"
    (1989), equations 9 and 11.

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.tensor(np.array(0.3), requires_grad=True)
    >>> def last(t, x):
    ...     return x if t == 3 else None
    >>> found = gz.bptt.rtrl(lambda _, x: w * x, np.zeros(4), last, 1.0, parameters={"w": w})
    >>> found.gradients["w"].round(6).item()
    0.108
    """
    cell = studied(cell, dtype)
    named = dict(named_parameters(cell, None) if parameters is None else parameters)
    if not named:
        raise ArgumentError("rtrl: there are no parameters to differentiate for", got=describe(cell))
    weights = list(named.values())
    gradient = np.zeros(sum(p.size for p in weights), np.result_type(*[p.dtype for p in weights]))
    step = Stepper(cell)
    values: list[float] = []
    sizes: list[float] = []
    influence: np.ndarray | None = None
    for t, x_t in enumerate(progress(x, "steps")):
        x_t = x_t.astype(dtype) if dtype is not None and isinstance(x_t, np.ndarray) and x_t.dtype.kind == "f" else x_t
        # Fresh leaves: the graph of a step begins and ends with it.
        state = step.initial(state if t == 0 else step.whole(state, detached(step.parts(state))), x_t, dtype)
        if state is None:
            raise ArgumentError("rtrl: this cell's initial state is not known", got=describe(cell), todo="pass state=")
        before = step.parts(state)
        with enable_grad(), time_step(t):
            output, state = step(x_t, state)
            loss = losses(t, output)
        if influence is None:
            influence = np.zeros((*flat(before).shape, len(gradient)))
        values.append(float("nan") if loss is None else loss.item())
        if loss is not None and loss.requires_grad:
            by_weights, by_state = pulled_back(loss, np.ones(loss.shape), weights, before)
            gradient += by_weights + np.einsum("bi,bip->p", by_state, influence)
        influence = carried_on(influence, before, step.parts(state), weights)
        sizes.append(float(np.linalg.norm(influence)))
    if influence is None:
        raise ArgumentError("rtrl: there is no step", got=describe(x))
    return OnlineGradients(split(gradient, named), np.array(values), np.array(sizes))


def detached(parts: Parts) -> Parts:
    """The parts without their graph."""
    return {name: part.detach() for name, part in parts.items()}


def flat(parts: Mapping[str, Any]) -> np.ndarray:
    """All parts side by side: (B, n); states without batch as (1, n)."""
    arrays = [part.data if isinstance(part, Tensor) else part for part in parts.values()]
    return np.concatenate([a.reshape(len(a), -1) if a.ndim > 1 else a.reshape(1, -1) for a in arrays], axis=1)


def pulled_back(of: Tensor, seed: np.ndarray, weights: list[Tensor], before: Parts) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of a tensor within one step: for all parameters in one row, and for the state before, (B, n)."""
    found = grad(of, [*weights, *before.values()], seed, retain_graph=True)
    whole = [
        np.zeros(x.shape, x.dtype) if g is None else g for g, x in zip(found, [*weights, *before.values()], strict=True)
    ]
    return (
        np.concatenate([g.ravel() for g in whole[: len(weights)]]),
        flat(dict(zip(before, whole[len(weights) :], strict=True))),
    )


def carried_on(influence: np.ndarray, before: Parts, after: Parts, weights: list[Tensor]) -> np.ndarray:
    """P_t = J P_{t−1} + ∂s_t/∂W, row by row."""
    new = np.zeros_like(influence)
    offset = 0
    for part in after.values():
        batch = part.shape[0] if part.ndim > 1 else 1
        features = part.size // batch if batch else 0
        for b in range(batch if part.requires_grad else 0):
            for row in range(features):
                seed = np.zeros((batch, features), part.dtype)
                seed[b, row] = 1
                by_weights, by_state = pulled_back(part, seed.reshape(part.shape), weights, before)
                new[b, offset + row] = by_state[b] @ influence[b] + by_weights
        offset += features
    return new


def split(gradient: np.ndarray, named: Mapping[str, Tensor]) -> Arrays:
    """The parameters' gradients out of one row."""
    ends = np.cumsum([p.size for p in named.values()])
    pieces = np.split(gradient, ends[:-1])
    return {name: piece.reshape(p.shape) for (name, p), piece in zip(named.items(), pieces, strict=True)}
