"""The GRU on arrays: what a step does between its products, in both of its variants.

Layout and names are those of `graphzoo.kernels.packed`: features are rows, and the weights' rows of the gates r and z
are halved.
"""

from __future__ import annotations

import numpy as np

from .packed import blocks, sigmoid_from_half, sigmoid_slope, tanh_delta
from .select import STEP, accelerated

# Reset before the product --------------------------------------------------------------------------------------------


@accelerated("float32", smallest=STEP)
def gru_reset(gates: np.ndarray, h: np.ndarray, reset_h: np.ndarray) -> None:
    """What the product with [h; 1; x] gave, (2H, N), becomes the gates r and z; reset_h becomes r ⊙ h, (H, N)."""
    np.tanh(gates, gates)
    sigmoid_from_half(gates)
    np.multiply(gates[: len(h)], h, reset_h)


@accelerated("float32", smallest=STEP)
def gru_mix(gates: np.ndarray, h: np.ndarray, new: np.ndarray) -> None:
    """The candidate's pre-activation, the last of the blocks r, z, c of gates (3H, N), becomes the candidate; new
    becomes (1 − z) ⊙ h + z ⊙ c, (H, N)."""
    _, z, c = blocks(gates, len(h))
    np.tanh(c, c)
    np.subtract(c, h, new)
    new *= z
    new += h


@accelerated("float32", smallest=STEP)
def gru_mix_delta(gates: np.ndarray, h: np.ndarray, dh: np.ndarray, delta: np.ndarray, past: np.ndarray) -> None:
    """δ of z and c, the last two of three blocks; past becomes the share of dh that passes the step by."""
    hidden = len(h)
    _, z, c = blocks(gates, hidden)
    _, delta_z, delta_c = blocks(delta, hidden)
    to_c = dh * z
    tanh_delta(c, to_c, delta_c)
    np.subtract(dh, to_c, past)
    sigmoid_slope(z, delta_z)
    np.subtract(c, h, to_c)
    to_c *= dh
    delta_z *= to_c


@accelerated("float32", smallest=STEP)
def gru_reset_delta(r: np.ndarray, h: np.ndarray, reset: np.ndarray, delta_r: np.ndarray, past: np.ndarray) -> None:
    """δ of r, from the gradient at r ⊙ h; what of that goes on to h is added to past."""
    sigmoid_slope(r, delta_r)
    delta_r *= reset
    delta_r *= h
    past += reset * r


# Reset after the product ---------------------------------------------------------------------------------------------


@accelerated("float32", smallest=STEP)
def gru_after(gates: np.ndarray, h: np.ndarray, new: np.ndarray) -> None:
    """Pre-activations r, z and c's part of x become the gates and the candidate; the last of the four blocks of gates
    (4H, N) is W_c h + b_hc. new becomes (1 − z) ⊙ c + z ⊙ h, (H, N)."""
    hidden = len(h)
    _, z, c, c_of_h = blocks(gates, hidden)
    sigmoids = gates[: 2 * hidden]
    np.tanh(sigmoids, sigmoids)
    sigmoid_from_half(sigmoids)
    np.multiply(gates[:hidden], c_of_h, new)
    c += new
    np.tanh(c, c)
    np.subtract(h, c, new)
    new *= z
    new += c


@accelerated("float32", smallest=STEP)
def gru_after_delta(gates: np.ndarray, h: np.ndarray, dh: np.ndarray, delta: np.ndarray, past: np.ndarray) -> None:
    """δ in blocks c, r, z and c's part of h; past becomes the share of dh that passes the step by."""
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
