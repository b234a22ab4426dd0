"""The GRU on arrays, in both of its variants.

Layout and names are those of `graphzoo.kernels.packed`: features are rows, and the weights' rows of the gates r and z
are halved.
"""

from __future__ import annotations

import numpy as np

from .packed import blocks, join, sigmoid_from_half, sigmoid_slope, tanh_delta
from .select import STEP, accelerated

# Reset before the product --------------------------------------------------------------------------------------------


@accelerated("float32", smallest=STEP)
def gru_before_step(
    gates: np.ndarray,
    weight: np.ndarray,
    candidate: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    new: np.ndarray,
) -> None:
    """One step.

    Args:
        gates: are written to, in blocks r, z, c, (3H, N).
        weight: of r and z, (2H, H + 1 + F).
        candidate: the weights of c, (H, 1 + F + H).
        inputs: become [h; 1; x; r ⊙ h], (H + 1 + F + H, N).
        h, x: feature-major, (H, N) and (F, N).
        new: becomes (1 − z) ⊙ h + z ⊙ c, (H, N).
    """
    hidden = len(h)
    join(inputs, h, x)
    sigmoids, c = gates[: 2 * hidden], gates[2 * hidden :]
    np.matmul(weight, inputs[:-hidden], out=sigmoids)
    np.tanh(sigmoids, sigmoids)
    sigmoid_from_half(sigmoids)
    np.multiply(gates[:hidden], h, inputs[-hidden:])
    np.matmul(candidate, inputs[hidden:], out=c)
    np.tanh(c, c)
    np.subtract(c, h, new)
    new *= gates[hidden : 2 * hidden]
    new += h


@accelerated("float32", smallest=STEP)
def gru_before_delta(
    delta: np.ndarray, gates: np.ndarray, h: np.ndarray, dh: np.ndarray, past: np.ndarray, to_reset: np.ndarray
) -> None:
    """The gradient at a step's pre-activations.

    Args:
        delta: is written to, in blocks r, z, c, (3H, N).
        gates: of the step, (3H, N).
        h: before the step, (H, N).
        dh: the gradient at the state after the step, (H, N).
        past: is written to: what of dh reaches h other than through the gates, (H, N).
        to_reset: W_cᵀ, (H, H).
    """
    r, z, c = blocks(gates, len(h))
    delta_r, delta_z, delta_c = blocks(delta, len(h))
    to_c = dh * z
    tanh_delta(c, to_c, delta_c)
    np.subtract(dh, to_c, past)
    sigmoid_slope(z, delta_z)
    np.subtract(c, h, to_c)
    to_c *= dh
    delta_z *= to_c
    reset = np.matmul(to_reset, delta_c, to_c)
    sigmoid_slope(r, delta_r)
    delta_r *= reset
    delta_r *= h
    reset *= r
    past += reset


# Reset after the product ---------------------------------------------------------------------------------------------


@accelerated("float32", smallest=STEP)
def gru_after_step(
    gates: np.ndarray,
    weight: np.ndarray,
    of_x: np.ndarray,
    of_h: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    new: np.ndarray,
) -> None:
    """One step.

    Args:
        gates: are written to, in blocks r, z, c, W_c h + b_hc, (4H, N).
        weight: of r and z, (2H, H + 1 + F).
        of_x, of_h: the candidate's weights of [1; x], (H, 1 + F), and of [h; 1], (H, H + 1).
        inputs: become [h; 1; x], (H + 1 + F, N).
        h, x: feature-major, (H, N) and (F, N).
        new: becomes (1 − z) ⊙ c + z ⊙ h, (H, N).
    """
    hidden = len(h)
    join(inputs, h, x)
    r, z, c, c_of_h = blocks(gates, hidden)
    sigmoids = gates[: 2 * hidden]
    np.matmul(weight, inputs, out=sigmoids)
    np.matmul(of_x, inputs[hidden:], out=c)
    np.matmul(of_h, inputs[: hidden + 1], out=c_of_h)
    np.tanh(sigmoids, sigmoids)
    sigmoid_from_half(sigmoids)
    np.multiply(r, c_of_h, new)
    c += new
    np.tanh(c, c)
    np.subtract(h, c, new)
    new *= z
    new += c


@accelerated("float32", smallest=STEP)
def gru_after_delta(delta: np.ndarray, gates: np.ndarray, h: np.ndarray, dh: np.ndarray, past: np.ndarray) -> None:
    """As `gru_before_delta`, with δ in blocks c, r, z and c's part of h."""
    hidden = len(h)
    r, z, c, c_of_h = blocks(gates, hidden)
    delta_c, delta_r, delta_z, delta_c_of_h = blocks(delta, hidden)
    sigmoid_slope(gates[: 2 * hidden], delta[hidden : 3 * hidden])
    np.multiply(dh, z, past)
    to_c = dh - past
    tanh_delta(c, to_c, delta_c)
    change = np.subtract(h, c, to_c)
    change *= dh
    delta_z *= change
    delta_r *= delta_c
    delta_r *= c_of_h
    np.multiply(delta_c, r, delta_c_of_h)
