"""Many steps of an LSTM in one go, on arrays: what a step alone computes, without a step's own arrays and bookkeeping.

Layout and names are those of `graphzoo.kernels.packed`: features are rows, [h; 1; x] is one array, the gates' rows are
o, i, f, g, and the weights' rows of the first three are halved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .packed import HALF, columns
from .pool import empty


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
    steps, batch, hidden, dtype = len(xs), h.shape[0], h.shape[1], weight.dtype
    inputs = empty((steps + 1, weight.shape[1], batch), dtype)
    gates = empty((steps, 4 * hidden, batch), dtype)
    cells = empty((steps + 1, hidden, batch), dtype)
    inputs[0, :hidden] = h.T
    inputs[:, hidden] = 1
    for below, x in zip(inputs[:, hidden + 1 :], xs, strict=False):
        below[...] = x.T
    cells[0] = c.T

    half, scratch = HALF[dtype], np.empty((hidden, batch), dtype)
    matmul, tanh, multiply, add = np.matmul, np.tanh, np.multiply, np.add
    o, i, f, g = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
    of_step = zip(
        inputs[:-1], gates, gates[:, : 3 * hidden], o, i, f, g, cells[:-1], cells[1:], inputs[1:, :hidden], strict=True
    )
    for below, all_gates, sigmoids, o_t, i_t, f_t, g_t, c_t, new_c, new_h in of_step:
        matmul(weight, below, all_gates)
        tanh(all_gates, all_gates)
        multiply(sigmoids, half, sigmoids)
        add(sigmoids, half, sigmoids)
        multiply(f_t, c_t, new_c)
        multiply(i_t, g_t, scratch)
        add(new_c, scratch, new_c)
        tanh(new_c, scratch)
        multiply(o_t, scratch, new_h)
    return inputs, gates, cells


def backward_steps(
    of_h: np.ndarray,
    gates: Sequence[np.ndarray],
    cells: Sequence[tuple[np.ndarray, np.ndarray]],
    dys: Sequence[tuple[np.ndarray | None, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray]:
    """T steps back, newest first; δ of each step overwrites its gates.

    Args:
        of_h: W_hhᵀ, (H, 4H), its columns in the order of the gates.
        gates: of each step, (4H, N).
        cells: of each step c before and after it, (H, N) each.
        dys: for each step what reaches its h and c from outside of these steps, (N, H) each; None for nothing.

    Returns:
        dh, dc: the gradient of the state before the oldest step, feature-major.
    """
    hidden, batch, dtype = of_h.shape[0], gates[0].shape[1], gates[0].dtype
    dh, dc = np.zeros((2, hidden, batch), dtype)
    slope, along = np.empty((2, 3 * hidden, batch), dtype)  # σ′, and what it is multiplied with
    along_o, along_i, along_f = along[:hidden], along[hidden : 2 * hidden], along[2 * hidden :]
    tanh_c, slope_c, slope_g = np.empty((3, hidden, batch), dtype)
    matmul, tanh, multiply, add, subtract = np.matmul, np.tanh, np.multiply, np.add, np.subtract
    for all_gates, (c, new_c), (dh_t, dc_t) in zip(gates, cells, dys, strict=True):
        sigmoids, g = all_gates[: 3 * hidden], all_gates[3 * hidden :]
        o, i, f = all_gates[:hidden], all_gates[hidden : 2 * hidden], all_gates[2 * hidden : 3 * hidden]
        if dh_t is not None:
            add(dh, columns(dh_t), dh)
        if dc_t is not None:
            add(dc, columns(dc_t), dc)
        tanh(new_c, tanh_c)
        multiply(tanh_c, dh, along_o)
        multiply(dh, o, dh)  # dc += dh ⊙ o ⊙ (1 − tanh² c′)
        add(dc, dh, dc)
        multiply(tanh_c, tanh_c, slope_c)
        multiply(slope_c, dh, slope_c)
        subtract(dc, slope_c, dc)
        multiply(g, dc, along_i)
        multiply(c, dc, along_f)
        multiply(g, g, slope_g)  # δ_g = dc ⊙ i ⊙ (1 − g²)
        multiply(i, dc, g)
        multiply(slope_g, g, slope_g)
        subtract(g, slope_g, g)
        multiply(dc, f, dc)
        multiply(sigmoids, sigmoids, slope)
        subtract(sigmoids, slope, sigmoids)
        multiply(sigmoids, along, sigmoids)
        matmul(of_h, all_gates, dh)
    return dh, dc
