"""Steps of recurrent cells compiled by Numba: products and what lies between them, by several threads if they are large
(see `gang`). Layout and names are those of `lstm`, `gru` and `elman`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gang import Job, flat, matrix_on, perform, together
from .loops import compiled, inline, sigmoid_of_half, tanh_single
from .products import LANES, SINGLE_PRECISION, all_fit, multiply_rows, part_of, product_job, turn

EACH = 16
"""Multiplications that an entry of the gates is worth, apart from products."""


@inline
def block(matrix, number, size, begin, end):
    """Some entries of one of the blocks of `size` entries that a matrix is made of."""
    return flat(matrix)[number * size + begin : number * size + end]


@compiled
def _join(inputs, h, x, by_samples):
    """As its plain kernel does, where x may have samples as rows."""
    hidden = len(h)
    inputs[:hidden] = h
    inputs[hidden] = 1
    of_x = inputs[hidden + 1 : hidden + 1 + (x.shape[1] if by_samples else x.shape[0])]
    if by_samples:
        turn(x, of_x)
    else:
        of_x[:] = x


def readable(x: np.ndarray) -> bool:
    """Whether an array may be joined to others."""
    return x.dtype is SINGLE_PRECISION and x.flags.c_contiguous


def read(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """A matrix of features as rows, or its transpose, whichever is contiguous; and whether it is the transpose."""
    return (x, False) if x.flags.c_contiguous else (x.T, True)


# Long short-term memory ----------------------------------------------------------------------------------------------


@compiled
def _lstm_state(gates, c, new_c, new_h, begin, end):
    size = c.size
    o, i = block(gates, 0, size, begin, end), block(gates, 1, size, begin, end)
    f, g = block(gates, 2, size, begin, end), block(gates, 3, size, begin, end)
    before, after, h = block(c, 0, 0, begin, end), block(new_c, 0, 0, begin, end), block(new_h, 0, 0, begin, end)
    for k in range(end - begin):
        output, entry, forget = sigmoid_of_half(o[k]), sigmoid_of_half(i[k]), sigmoid_of_half(f[k])
        cell = tanh_single(g[k])
        o[k], i[k], f[k], g[k] = output, entry, forget, cell
        state = forget * before[k] + entry * cell
        after[k] = state
        h[k] = output * tanh_single(state)


@compiled
def _lstm_delta(delta, gates, c, new_c, dh, dc, dc_before, begin, end):
    size = c.size
    if delta.ctypes.data != gates.ctypes.data:  # else vectors would not pay: too many arrays that may overlap
        for number in range(4):
            block(delta, number, size, begin, end)[:] = block(gates, number, size, begin, end)
    o, i = block(delta, 0, size, begin, end), block(delta, 1, size, begin, end)
    f, g = block(delta, 2, size, begin, end), block(delta, 3, size, begin, end)
    before, after = block(c, 0, 0, begin, end), block(new_c, 0, 0, begin, end)
    of_h, of_c = block(dh, 0, 0, begin, end), block(dc, 0, 0, begin, end)
    of_before = block(dc_before, 0, 0, begin, end)
    for k in range(end - begin):
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


@Job
def lstm_step_job(board, which, pieces):
    weight, inputs, gates, c = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2), matrix_on(board, 3)
    (hidden, batch), (begin, end) = c.shape, part_of(len(c), which, pieces)
    for first in range(0, 4 * hidden, hidden):
        multiply_rows(weight, inputs, gates, first + begin, first + end, 0)
    _lstm_state(gates, c, matrix_on(board, 4), matrix_on(board, 5), begin * batch, end * batch)


@Job
def lstm_state_job(board, which, pieces):
    c = matrix_on(board, 1)
    begin, end = part_of(c.size, which, pieces)
    _lstm_state(matrix_on(board, 0), c, matrix_on(board, 2), matrix_on(board, 3), begin, end)


@Job
def lstm_delta_job(board, which, pieces):
    c = matrix_on(board, 2)
    begin, end = part_of(c.size, which, pieces)
    _lstm_delta(
        matrix_on(board, 0), matrix_on(board, 1), c, matrix_on(board, 3), matrix_on(board, 4), matrix_on(board, 5),
        matrix_on(board, 6), begin, end
    )  # fmt: skip


@compiled
def _lstm_step(board, pieces, job, h, x, by_samples, weight, inputs, gates, c, new_c, new_h):
    _join(inputs, h, x, by_samples)
    perform(board, pieces, job, weight, inputs, gates, c, new_c, new_h)


@compiled
def _lstm_steps(board, pieces, job, gates, weight, inputs, cells):
    hidden = cells.shape[1]
    for t in range(len(gates)):
        new_h = inputs[t + 1, :hidden]
        perform(board, pieces, job, weight, inputs[t], gates[t], cells[t], cells[t + 1], new_h)


@compiled
def _back(board, pieces, job_of_delta, job_of_product, to_h, dh_before, delta, *others):
    perform(board, pieces, job_of_delta, delta, *others)
    perform(board, pieces, job_of_product, to_h, delta, dh_before)


def lstm_step(
    gates: np.ndarray,
    weight: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    c: np.ndarray,
    new_c: np.ndarray,
    new_h: np.ndarray,
) -> Any:
    x, by_samples = read(x)
    if not (readable(x) and all_fit(h, c)):
        return NotImplemented
    if c.shape[1] % LANES:
        _join(inputs, h, x, by_samples)
        np.matmul(weight, inputs, gates)
        together(perform, EACH * gates.size, lstm_state_job.address, gates, c, new_c, new_h)
    else:
        together(
            _lstm_step, weight.size * c.shape[1], lstm_step_job.address, h, x, by_samples, weight, inputs, gates,
            c, new_c, new_h
        )  # fmt: skip
    return None


def lstm_steps(gates: np.ndarray, weight: np.ndarray, inputs: np.ndarray, cells: np.ndarray) -> Any:
    if gates.shape[2] % LANES or not all_fit(weight, inputs, cells):
        return NotImplemented
    together(_lstm_steps, weight.size * gates.shape[2], lstm_step_job.address, gates, weight, inputs, cells)
    return None


def lstm_delta(
    delta: np.ndarray,
    gates: np.ndarray,
    c: np.ndarray,
    new_c: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
    dc_before: np.ndarray,
) -> Any:
    if not all_fit(c, dh, dc):
        return NotImplemented
    work = EACH * delta.size
    together(perform, work, lstm_delta_job.address, delta, gates, c, new_c, dh, dc, dc_before)
    return None


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
) -> Any:
    arrays = gates, c, new_c, dh, dc, dc_before
    if delta.shape[1] % LANES or not all_fit(c, dh, dc):
        return NotImplemented
    together(
        _back, to_h.size * delta.shape[1], lstm_delta_job.address, product_job.address, to_h, dh_before, delta, *arrays
    )  # fmt: skip
    return None


# Gated recurrent unit ------------------------------------------------------------------------------------------------


@compiled
def _gru_reset(gates, h, reset_h, begin, end):
    size = h.size
    r, z = block(gates, 0, size, begin, end), block(gates, 1, size, begin, end)
    state, out = block(h, 0, 0, begin, end), block(reset_h, 0, 0, begin, end)
    for k in range(end - begin):
        reset = sigmoid_of_half(r[k])
        r[k], z[k] = reset, sigmoid_of_half(z[k])
        out[k] = reset * state[k]


@compiled
def _gru_mix(gates, h, new, begin, end):
    size = h.size
    z, c = block(gates, 1, size, begin, end), block(gates, 2, size, begin, end)
    state, out = block(h, 0, 0, begin, end), block(new, 0, 0, begin, end)
    for k in range(end - begin):
        candidate = tanh_single(c[k])
        c[k] = candidate
        out[k] = (candidate - state[k]) * z[k] + state[k]


@compiled
def _gru_mix_delta(gates, h, dh, delta, past, begin, end):
    size = h.size
    z, c = block(gates, 1, size, begin, end), block(gates, 2, size, begin, end)
    delta_z, delta_c = block(delta, 1, size, begin, end), block(delta, 2, size, begin, end)
    state, upstream, out = block(h, 0, 0, begin, end), block(dh, 0, 0, begin, end), block(past, 0, 0, begin, end)
    for k in range(end - begin):
        to_c = upstream[k] * z[k]
        delta_c[k] = to_c - to_c * (c[k] * c[k])
        delta_z[k] = upstream[k] * (c[k] - state[k]) * (z[k] - z[k] * z[k])
        out[k] = upstream[k] - to_c


@compiled
def _gru_reset_delta(gates, h, reset, delta, past, begin, end):
    gate, state, upstream, out, onward = (
        block(gates, 0, 0, begin, end), block(h, 0, 0, begin, end), block(reset, 0, 0, begin, end),
        block(delta, 0, 0, begin, end), block(past, 0, 0, begin, end)
    )  # fmt: skip
    for k in range(end - begin):
        out[k] = upstream[k] * state[k] * (gate[k] - gate[k] * gate[k])
        onward[k] += upstream[k] * gate[k]


@compiled
def _gru_after(gates, h, new, begin, end):
    size = h.size
    r, z = block(gates, 0, size, begin, end), block(gates, 1, size, begin, end)
    c, c_of_h = block(gates, 2, size, begin, end), block(gates, 3, size, begin, end)
    state, out = block(h, 0, 0, begin, end), block(new, 0, 0, begin, end)
    for k in range(end - begin):
        reset, update = sigmoid_of_half(r[k]), sigmoid_of_half(z[k])
        candidate = tanh_single(c[k] + reset * c_of_h[k])
        r[k], z[k], c[k] = reset, update, candidate
        out[k] = (state[k] - candidate) * update + candidate


@compiled
def _gru_after_delta(gates, h, dh, delta, past, begin, end):
    size = h.size
    r, z = block(gates, 0, size, begin, end), block(gates, 1, size, begin, end)
    c, c_of_h = block(gates, 2, size, begin, end), block(gates, 3, size, begin, end)
    delta_c, delta_r = block(delta, 0, size, begin, end), block(delta, 1, size, begin, end)
    delta_z, delta_c_of_h = block(delta, 2, size, begin, end), block(delta, 3, size, begin, end)
    state, upstream, out = block(h, 0, 0, begin, end), block(dh, 0, 0, begin, end), block(past, 0, 0, begin, end)
    for k in range(end - begin):
        reset, update, candidate = r[k], z[k], c[k]
        onward = upstream[k] * update
        to_c = upstream[k] - onward
        through = to_c - to_c * (candidate * candidate)
        delta_c[k] = through
        delta_r[k] = through * c_of_h[k] * (reset - reset * reset)
        delta_z[k] = upstream[k] * (state[k] - candidate) * (update - update * update)
        delta_c_of_h[k] = through * reset
        out[k] = onward


@Job
def gru_reset_job(board, which, pieces):
    weight, inputs, gates, h = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2), matrix_on(board, 3)
    (hidden, batch), (begin, end) = h.shape, part_of(len(h), which, pieces)
    multiply_rows(weight, inputs, gates, begin, end, 0)
    multiply_rows(weight, inputs, gates, hidden + begin, hidden + end, 0)
    _gru_reset(gates, h, matrix_on(board, 4), begin * batch, end * batch)


@Job
def gru_mix_job(board, which, pieces):
    weight, inputs, gates, h = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2), matrix_on(board, 3)
    (hidden, batch), (begin, end) = h.shape, part_of(len(h), which, pieces)
    multiply_rows(weight, inputs, gates[2 * hidden :], begin, end, 0)
    _gru_mix(gates, h, matrix_on(board, 4), begin * batch, end * batch)


@Job
def gru_after_job(board, which, pieces):
    inputs, gates, h = matrix_on(board, 3), matrix_on(board, 4), matrix_on(board, 5)
    (hidden, batch), (begin, end) = h.shape, part_of(len(h), which, pieces)
    multiply_rows(matrix_on(board, 0), inputs, gates, begin, end, 0)
    multiply_rows(matrix_on(board, 0), inputs, gates, hidden + begin, hidden + end, 0)
    multiply_rows(matrix_on(board, 1), inputs[hidden:], gates[2 * hidden :], begin, end, 0)
    multiply_rows(matrix_on(board, 2), inputs[: hidden + 1], gates[3 * hidden :], begin, end, 0)
    _gru_after(gates, h, matrix_on(board, 6), begin * batch, end * batch)


@Job
def gru_mix_delta_job(board, which, pieces):
    h = matrix_on(board, 1)
    begin, end = part_of(h.size, which, pieces)
    _gru_mix_delta(
        matrix_on(board, 0), h, matrix_on(board, 2), matrix_on(board, 3), matrix_on(board, 4), begin, end
    )  # fmt: skip


@Job
def gru_reset_delta_job(board, which, pieces):
    to_reset, gates, h, reset = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2), matrix_on(board, 3)
    delta = matrix_on(board, 4)
    (hidden, batch), (begin, end) = h.shape, part_of(len(h), which, pieces)
    multiply_rows(to_reset, delta[2 * hidden :], reset, begin, end, 0)
    _gru_reset_delta(gates, h, reset, delta, matrix_on(board, 5), begin * batch, end * batch)


@Job
def gru_after_delta_job(board, which, pieces):
    h = matrix_on(board, 1)
    begin, end = part_of(h.size, which, pieces)
    _gru_after_delta(
        matrix_on(board, 0), h, matrix_on(board, 2), matrix_on(board, 3), matrix_on(board, 4), begin, end
    )  # fmt: skip


@compiled
def _gru_before_step(board, pieces, job_of_reset, job_of_mix, h, x, by_samples, weight, candidate, inputs, gates, new):
    _join(inputs, h, x, by_samples)
    hidden = len(h)
    perform(board, pieces, job_of_reset, weight, inputs[:-hidden], gates, h, inputs[-hidden:])
    perform(board, pieces, job_of_mix, candidate, inputs[hidden:], gates, h, new)


@compiled
def _gru_after_step(board, pieces, job, h, x, by_samples, weight, of_x, of_h, inputs, gates, new):
    _join(inputs, h, x, by_samples)
    perform(board, pieces, job, weight, of_x, of_h, inputs, gates, h, new)


@compiled
def _gru_before_delta(board, pieces, mix_delta, reset_delta, to_reset, gates, h, dh, delta, past):
    perform(board, pieces, mix_delta, gates, h, dh, delta, past)
    perform(board, pieces, reset_delta, to_reset, gates, h, np.empty_like(past), delta, past)


def gru_before_step(
    gates: np.ndarray,
    weight: np.ndarray,
    candidate: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    new: np.ndarray,
) -> Any:
    x, by_samples = read(x)
    if h.shape[1] % LANES or not (readable(x) and all_fit(h)):
        return NotImplemented
    together(
        _gru_before_step, (weight.size + candidate.size) * h.shape[1], gru_reset_job.address, gru_mix_job.address,
        h, x, by_samples, weight, candidate, inputs, gates, new
    )  # fmt: skip
    return None


def gru_after_step(
    gates: np.ndarray,
    weight: np.ndarray,
    of_x: np.ndarray,
    of_h: np.ndarray,
    inputs: np.ndarray,
    h: np.ndarray,
    x: np.ndarray,
    new: np.ndarray,
) -> Any:
    x, by_samples = read(x)
    if h.shape[1] % LANES or not (readable(x) and all_fit(h)):
        return NotImplemented
    together(
        _gru_after_step, (weight.size + of_x.size + of_h.size) * h.shape[1], gru_after_job.address,
        h, x, by_samples, weight, of_x, of_h, inputs, gates, new
    )  # fmt: skip
    return None


def gru_before_delta(
    delta: np.ndarray, gates: np.ndarray, h: np.ndarray, dh: np.ndarray, past: np.ndarray, to_reset: np.ndarray
) -> Any:
    if h.shape[1] % LANES or not all_fit(dh):
        return NotImplemented
    together(
        _gru_before_delta, EACH * delta.size + to_reset.size * h.shape[1],
        gru_mix_delta_job.address, gru_reset_delta_job.address, to_reset, gates, h, dh, delta, past
    )  # fmt: skip
    return None


def gru_after_delta(delta: np.ndarray, gates: np.ndarray, h: np.ndarray, dh: np.ndarray, past: np.ndarray) -> Any:
    if not all_fit(dh):
        return NotImplemented
    together(perform, EACH * delta.size, gru_after_delta_job.address, gates, h, dh, delta, past)
    return None
