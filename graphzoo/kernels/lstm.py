"""The LSTM on arrays: what a step does between its products, and many steps in one go.

Layout and names are those of `graphzoo.kernels.packed`: features are rows, [h; 1; x] is one array, the gates' rows are
o, i, f, g, and the weights' rows of the first three are halved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .packed import blocks, columns, join, sigmoid_from_half, sigmoid_slope, tanh_delta
from .pool import empty
from .select import STEP, accelerated


@accelerated("float32", smallest=STEP)
def lstm_step(
    gates: np.ndarray,
    weight: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    c: np.ndarray,
    new_c: np.ndarray,
    new_h: np.ndarray,
) -> None:
    """One step.

    Args:
        gates: are written to, (4H, N).
        weight: the packed weights, (4H, H + 1 + F).
        inputs: become [h; 1; x], (H + 1 + F, N).
        h, x: feature-major, (H, N) and (F, N).
        c: before the step, (H, N).
        new_c, new_h: are written to, (H, N).
    """
    join(inputs, h, x)
    gates_of(gates, weight, inputs, c, new_c, new_h)


def gates_of(
    gates: np.ndarray, weight: np.ndarray, inputs: np.ndarray, c: np.ndarray, new_c: np.ndarray, new_h: np.ndarray
) -> None:
    """A step whose [h; 1; x] is there."""
    hidden = len(c)
    np.matmul(weight, inputs, gates)
    np.tanh(gates, gates)
    sigmoid_from_half(gates[: 3 * hidden])
    o, i, f, g = blocks(gates, hidden)
    np.multiply(f, c, new_c)
    new_c += i * g
    np.tanh(new_c, new_h)
    new_h *= o


@accelerated("float32", smallest=STEP)
def lstm_delta(
    delta: np.ndarray,
    gates: np.ndarray,
    c: np.ndarray,
    new_c: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
    dc_before: np.ndarray,
) -> None:
    """The gradient at a step's pre-activations.

    Args:
        delta: is written to, (4H, N); may be `gates` itself.
        gates: of the step, (4H, N).
        c, new_c: before and after the step, (H, N).
        dh, dc: the gradients at the state after the step, (H, N).
        dc_before: is written to: the gradient at c, (H, N); another array than dc.
    """
    hidden = len(c)
    o, i, f, g = blocks(gates, hidden)
    to_o, to_i, to_f, to_g = blocks(delta, hidden)
    tanh_c = np.tanh(new_c)
    total = tanh_delta(tanh_c, dh * o)
    total += dc
    np.multiply(total, f, dc_before)
    slope = np.empty_like(gates[: 3 * hidden])
    sigmoid_slope(gates[: 3 * hidden], slope)
    of_cell = i * total
    np.multiply(tanh_c, dh, to_o)
    np.multiply(g, total, to_i)
    np.multiply(c, total, to_f)
    delta[: 3 * hidden] *= slope
    slope = slope[:hidden]
    np.multiply(g, g, slope)
    slope *= of_cell
    np.subtract(of_cell, slope, to_g)


@accelerated("float32", smallest=STEP)
def lstm_back(
    delta: np.ndarray,
    gates: np.ndarray,
    c: np.ndarray,
    new_c: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
    dc_before: np.ndarray,
    to_h: np.ndarray,
    dh_before: np.ndarray,
) -> None:
    """As `lstm_delta`, and with W_hhᵀ, (H, 4H) with columns in the order of the gates, the gradient at h as well."""
    lstm_delta(delta, gates, c, new_c, dh, dc, dc_before)
    np.matmul(to_h, delta, dh_before)


@accelerated("float32", smallest=STEP)
def lstm_steps(gates: np.ndarray, weight: np.ndarray, inputs: np.ndarray, cells: np.ndarray) -> None:
    """T steps: fills gates (T, 4H, N); the rows of h in inputs (T + 1, H + 1 + F, N), and cells (T + 1, H, N), but for
    the first of each."""
    hidden = cells.shape[1]
    of_step = zip(inputs[:-1], gates, cells[:-1], cells[1:], inputs[1:, :hidden], strict=True)
    for below, all_gates, before, new_c, new_h in of_step:
        gates_of(all_gates, weight, below, before, new_c, new_h)


def forward_steps(
    weight: np.ndarray, xs: Sequence[np.ndarray], h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T steps from a state.

    Args:
        weight: the packed weights, (4H, H + 1 + F).
        xs: the inputs of the steps, (N, F) each.
        h, c: the state before the first step, (N, H).

    Returns:
        inputs: (T + 1, H + 1 + F, N): [h; 1; x] of each step; the last one has only the new h.
        gates: (T, 4H, N).
        cells: (T + 1, H, N): c before each step and after the last.
    """
    steps, (batch, hidden), dtype = len(xs), h.shape, weight.dtype
    inputs = empty((steps + 1, weight.shape[1], batch), dtype)
    gates = empty((steps, 4 * hidden, batch), dtype)
    cells = empty((steps + 1, hidden, batch), dtype)
    inputs[0, :hidden] = h.T
    inputs[:, hidden] = 1
    for below, x in zip(inputs[:, hidden + 1 :], xs, strict=False):
        below[...] = x.T
    cells[0] = c.T

    lstm_steps(gates, weight, inputs, cells)
    return inputs, gates, cells


def backward_steps(
    to_h: np.ndarray,
    gates: Sequence[np.ndarray],
    cells: Sequence[tuple[np.ndarray, np.ndarray]],
    dys: Sequence[tuple[np.ndarray | None, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray]:
    """T steps back, newest first; δ of each step overwrites its gates.

    Args:
        to_h: W_hhᵀ, (H, 4H), its columns in the order of the gates.
        gates: of each step, (4H, N).
        cells: of each step c before and after it, (H, N) each.
        dys: for each step what reaches its h and c from outside of these steps, (N, H) each; None for nothing.

    Returns:
        dh, dc: the gradient of the state before the oldest step, feature-major.
    """
    hidden, batch, dtype = to_h.shape[0], gates[0].shape[1], gates[0].dtype
    dh, dh_before, dc, dc_before = np.zeros((4, hidden, batch), dtype)
    for all_gates, (before, new_c), (dh_t, dc_t) in zip(gates, cells, dys, strict=True):
        if dh_t is not None:
            dh += columns(dh_t)
        if dc_t is not None:
            dc += columns(dc_t)
        lstm_back(all_gates, all_gates, before, new_c, dh, dc, dc_before, to_h, dh_before)
        dh, dh_before, dc, dc_before = dh_before, dh, dc_before, dc
    return dh, dc
