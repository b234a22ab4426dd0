"""Steps of recurrent cells compiled by Numba: all that lies between two products in one pass, and many small steps of
an LSTM at once. Layout and names are those of `lstm` and `gru`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .loops import compiled, sigmoid_of_half, tanh_single
from .products import HEIGHT, WIDTH, multiply

ALONE = 1 << 19
"""Multiplications in a product up to which two of BLAS's threads are no quicker than one of ours."""


@compiled
def _lstm_state(gates, c, new_c, new_h):
    size, flat = c.size, gates.reshape(-1)
    o, i, f, g = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size], flat[3 * size :]
    before, after, h = c.reshape(-1), new_c.reshape(-1), new_h.reshape(-1)
    for k in range(size):
        output, entry, forget = sigmoid_of_half(o[k]), sigmoid_of_half(i[k]), sigmoid_of_half(f[k])
        cell = tanh_single(g[k])
        o[k], i[k], f[k], g[k] = output, entry, forget, cell
        state = forget * before[k] + entry * cell
        after[k] = state
        h[k] = output * tanh_single(state)


@compiled
def _lstm_delta(gates, c, new_c, dh, dc, dc_before):
    size, flat = c.size, gates.reshape(-1)
    o, i, f, g = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size], flat[3 * size :]
    before, after = c.reshape(-1), new_c.reshape(-1)
    of_h, of_c, of_before = dh.reshape(-1), dc.reshape(-1), dc_before.reshape(-1)
    for k in range(size):
        output, entry, forget, cell = o[k], i[k], f[k], g[k]
        tanh_c, upstream = tanh_single(after[k]), of_h[k]
        through = upstream * output
        total = of_c[k] + (through - through * (tanh_c * tanh_c))
        to_g = total * entry
        o[k] = upstream * tanh_c * (output - output * output)
        i[k] = total * cell * (entry - entry * entry)
        f[k] = total * before[k] * (forget - forget * forget)
        g[k] = to_g - to_g * (cell * cell)
        of_before[k] = total * forget


@compiled
def _gru_reset(gates, h, reset_h):
    size, flat = h.size, gates.reshape(-1)
    r, z, state, out = flat[:size], flat[size:], h.reshape(-1), reset_h.reshape(-1)
    for k in range(size):
        reset = sigmoid_of_half(r[k])
        r[k], z[k] = reset, sigmoid_of_half(z[k])
        out[k] = reset * state[k]


@compiled
def _gru_mix(gates, h, new):
    size, flat = h.size, gates.reshape(-1)
    z, c, state, out = flat[size : 2 * size], flat[2 * size :], h.reshape(-1), new.reshape(-1)
    for k in range(size):
        candidate = tanh_single(c[k])
        c[k] = candidate
        out[k] = (candidate - state[k]) * z[k] + state[k]


@compiled
def _gru_mix_delta(gates, h, dh, delta, past):
    size, flat, deltas = h.size, gates.reshape(-1), delta.reshape(-1)
    z, c, delta_z, delta_c = flat[size : 2 * size], flat[2 * size :], deltas[size : 2 * size], deltas[2 * size :]
    state, upstream, out = h.reshape(-1), dh.reshape(-1), past.reshape(-1)
    for k in range(size):
        to_c = upstream[k] * z[k]
        delta_c[k] = to_c - to_c * (c[k] * c[k])
        delta_z[k] = upstream[k] * (c[k] - state[k]) * (z[k] - z[k] * z[k])
        out[k] = upstream[k] - to_c


@compiled
def _gru_reset_delta(r, h, reset, delta_r, past):
    gate, state, upstream, out, onward = (
        r.reshape(-1), h.reshape(-1), reset.reshape(-1), delta_r.reshape(-1), past.reshape(-1)
    )  # fmt: skip
    for k in range(h.size):
        out[k] = upstream[k] * state[k] * (gate[k] - gate[k] * gate[k])
        onward[k] += upstream[k] * gate[k]


@compiled
def _gru_after(gates, h, new):
    size, flat = h.size, gates.reshape(-1)
    r, z, c, c_of_h = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size], flat[3 * size :]
    state, out = h.reshape(-1), new.reshape(-1)
    for k in range(size):
        reset, update = sigmoid_of_half(r[k]), sigmoid_of_half(z[k])
        candidate = tanh_single(c[k] + reset * c_of_h[k])
        r[k], z[k], c[k] = reset, update, candidate
        out[k] = (state[k] - candidate) * update + candidate


@compiled
def _gru_after_delta(gates, h, dh, delta, past):
    size, flat, deltas = h.size, gates.reshape(-1), delta.reshape(-1)
    r, z, c, c_of_h = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size], flat[3 * size :]
    delta_c, delta_r = deltas[:size], deltas[size : 2 * size]
    delta_z, delta_c_of_h = deltas[2 * size : 3 * size], deltas[3 * size :]
    state, upstream, out = h.reshape(-1), dh.reshape(-1), past.reshape(-1)
    for k in range(size):
        reset, update, candidate = r[k], z[k], c[k]
        onward = upstream[k] * update
        to_c = upstream[k] - onward
        through = to_c - to_c * (candidate * candidate)
        delta_c[k] = through
        delta_r[k] = through * c_of_h[k] * (reset - reset * reset)
        delta_z[k] = upstream[k] * (state[k] - candidate) * (update - update * update)
        delta_c_of_h[k] = through * reset
        out[k] = onward


def in_place(function: Any) -> Callable[..., Any]:
    """The twin of a kernel that writes to its arguments; for contiguous ones of one dtype."""

    @functools.wraps(function.py_func)
    def twin(first: np.ndarray, *others: np.ndarray) -> Any:
        for array in others:
            if array.dtype is not first.dtype or not array.flags.c_contiguous:
                return NotImplemented
        function(first, *others)
        return None

    return twin


@compiled
def _lstm_steps(gates, turned, inputs, cells):
    hidden = cells.shape[1]
    for t in range(len(gates)):
        multiply(turned, inputs[t], gates[t])
        _lstm_state(gates[t], cells[t], cells[t + 1], inputs[t + 1, :hidden])


def lstm_steps(gates: np.ndarray, weight: np.ndarray, inputs: np.ndarray, cells: np.ndarray) -> Any:
    rows, columns = gates.shape[1:]
    if rows < HEIGHT or columns % WIDTH or weight.size * columns > ALONE:
        return NotImplemented
    _lstm_steps(gates, np.ascontiguousarray(weight.T), inputs, cells)
    return None
