"""Jacobians, their products' singular values, the carousel and the gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.errors import ArgumentError
from tests.bptt.models import CELLS, B, F, H, T, state_for

rng = np.random.default_rng(0)
X = rng.normal(size=(T, B, F))
every_cell = pytest.mark.parametrize("kind", CELLS)


def random_run(kind: str, **options: Any) -> Any:
    return gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)), **options)


@every_cell
def test_jacobians_are_central_differences_of_a_step(kind: str) -> None:
    state = state_for(kind, np.random.default_rng(1))
    run = random_run(kind)
    found = gz.bptt.jacobians(run)
    cell = CELLS[kind]().astype(np.float64)
    count = len(run.parts)
    assert found.values.shape == (T, B, count * H, count * H)

    def step(x: np.ndarray, joint: np.ndarray) -> np.ndarray:
        parts = tuple(np.split(joint, count, axis=1))
        with gz.no_grad():
            result = cell(x, parts if count > 1 else parts[0])
        new = result if kind == "LSTMCell" or isinstance(result, gz.Tensor) else result[1]
        return np.concatenate([p.numpy() for p in (new if isinstance(new, tuple) else (new,))], axis=1)

    before = np.concatenate(state if isinstance(state, tuple) else (state,), axis=1)
    for t in range(T):
        for column in range(count * H):
            bump = np.zeros((1, count * H))
            bump[0, column] = 1e-6
            expected = (step(X[t], before + bump) - step(X[t], before - bump)) / 2e-6
            np.testing.assert_allclose(found.values[t, :, :, column], expected, rtol=1e-5, atol=1e-8)
        before = np.concatenate([run.states[part][t] for part in run.parts], axis=1)
    first = run.parts[0]
    np.testing.assert_array_equal(found.block(first, first), found.values[:, :, :H, :H])
    np.testing.assert_allclose(found.norms(), np.linalg.svd(found.values, compute_uv=False)[..., 0], rtol=1e-12)


def test_jacobians_at_resets_and_ends_are_zero() -> None:
    reset = np.zeros((T, B), bool)
    reset[2, 1] = True
    values = gz.bptt.jacobians(random_run("LSTMCell", reset=reset, lengths=[T, T, 4])).values
    zero = (values == 0).all(axis=(-2, -1))
    expected = reset.copy()
    expected[4:, 2] = True
    np.testing.assert_array_equal(zero, expected)


@every_cell
def test_spectra_are_those_of_explicit_products(kind: str) -> None:
    run = random_run(kind)
    factors = gz.bptt.jacobians(run).values
    for end in (None, 3):
        spectrum = gz.bptt.jacobian_spectrum(run, end)
        last = T - 1 if end is None else end
        assert spectrum.log_singular_values.shape == (last + 2, B, factors.shape[-1])
        product = np.broadcast_to(np.eye(factors.shape[-1]), factors.shape[1:])
        for lag in range(last + 2):
            if lag:
                product = product @ factors[last + 1 - lag]
            expected = np.linalg.svd(product, compute_uv=False)
            great = expected > 1e-8 * expected[:, :1]
            np.testing.assert_allclose(spectrum.singular_values[lag][great], expected[great], rtol=1e-6)


def test_singular_values_beyond_the_range_of_numbers() -> None:
    """A diagonal recurrence, its rates in no order: the exact values are known for any length."""
    steps = 2000
    rates = np.array([1.0, 1e-3, 3.0])
    run = gz.bptt.unroll(lambda x, h: h * rates, np.zeros(steps), np.zeros(3))
    spectrum = gz.bptt.jacobian_spectrum(run)
    lags = np.arange(steps + 1)[:, None]
    np.testing.assert_allclose(spectrum.log_singular_values[:, 0], lags * np.log([3, 1, 1e-3]), rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(spectrum.lyapunov[0], np.log([3, 1, 1e-3]), rtol=1e-12, atol=1e-15)


def test_small_singular_values_of_a_mixed_product() -> None:
    """J = A, the same at each step and symmetric: the singular values of Aᵏ are |λ|ᵏ, 10⁻⁶⁰ of the greatest too."""
    draw = np.random.default_rng(3)
    q, _ = np.linalg.qr(draw.normal(size=(4, 4)))
    values = np.array([1.2, 0.6, 0.2, 0.03])
    a = gz.tensor(q * values @ q.T)
    run = gz.bptt.unroll(lambda x, h: h @ a, np.zeros(40), np.zeros((1, 4)))
    spectrum = gz.bptt.jacobian_spectrum(run)
    expected = np.arange(41)[:, None] * np.log(values)
    np.testing.assert_allclose(spectrum.log_singular_values[:, 0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.5])
def test_an_orthogonal_recurrence_has_one_exponent(rho: float) -> None:
    cell = gz.bptt.inits.orthogonal(gz.RNNCell(F, H, bias=False, rng=0).astype(np.float64), rho, rng=0)
    spectrum = gz.bptt.jacobian_spectrum(gz.bptt.unroll(cell, np.zeros((50, B, F))))
    np.testing.assert_allclose(spectrum.lyapunov, np.log(rho), atol=1e-12)
    np.testing.assert_allclose(spectrum.log_bound, np.arange(51) * np.log(rho), atol=1e-10)
    np.testing.assert_allclose(
        spectrum.log_singular_values[..., 0], spectrum.log_bound[:, None] * np.ones(B), atol=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3), relu=st.booleans())
def test_pascanus_bound_holds(seed: int, scale: float, relu: bool) -> None:
    draw = np.random.default_rng(seed)
    cell = gz.RNNCell(F, H, nonlinearity="relu" if relu else "tanh", rng=draw).astype(np.float64)
    cell.weight_hh.data = cell.weight_hh.data * scale
    spectrum = gz.bptt.jacobian_spectrum(gz.bptt.unroll(cell, draw.normal(size=(T, B, F))))
    assert (spectrum.log_singular_values[..., 0] <= spectrum.log_bound[:, None] + 1e-9).all()


def test_no_bound_for_gated_cells_and_nothing_through_a_reset() -> None:
    reset = np.zeros(T, bool)
    reset[3] = True
    spectrum = gz.bptt.jacobian_spectrum(random_run("GRUCell", reset=reset))
    assert spectrum.log_bound is None
    assert (spectrum.log_singular_values[:3] > -np.inf).all()  # lags 0 to 2: steps 5, 4, 3
    assert (spectrum.log_singular_values[3:] == -np.inf).all()
    assert (spectrum.singular_values[3:] == 0).all()


# The carousel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "GRUCell reset_after"])
def test_the_carousels_truth_is_the_gradient_of_one_unit(kind: str) -> None:
    """∂c_τ,k/∂c_t of the engine, as state_gradients gives it for the loss c_τ,k."""
    run = random_run(kind)
    part = "c" if kind == "LSTMCell" else "h"
    found = gz.bptt.carousel(run, 4)
    whole = np.zeros((5, B, H, H))
    for k in range(H):
        gradients = gz.bptt.state_gradients(run, run[part][4][:, k].sum()).total[part]
        whole[:, :, k] = gradients[4::-1]
    np.testing.assert_allclose(found.diagonal, np.diagonal(whole, axis1=-2, axis2=-1), rtol=1e-9, atol=1e-14)
    off = whole * (1 - np.eye(H))
    np.testing.assert_allclose(found.rest, np.sqrt((off**2).sum(axis=(-2, -1))), rtol=1e-9, atol=1e-14)
    gate = {"LSTMCell": "f", "GRUCell reset_after": "z"}.get(kind)
    keep = run.gates[gate] if gate else 1 - run.gates["z"]
    for lag in range(5):
        np.testing.assert_allclose(found.product[lag], keep[5 - lag : 5].prod(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "GRUCell reset_after"])
def test_without_recurrent_weights_the_carousel_is_the_truth(kind: str) -> None:
    cell = CELLS[kind]().astype(np.float64)
    cell.weight_hh.data = np.zeros(cell.weight_hh.shape)
    if kind == "GRUCell reset_after":  # r ⊙ b_hc is no function of h
        cell.bias_hh.data = np.zeros(cell.bias_hh.shape)
    found = gz.bptt.carousel(gz.bptt.unroll(cell, X))
    np.testing.assert_allclose(found.diagonal, found.product, rtol=1e-12)
    assert (found.rest == 0).all()


def test_the_carousel_stops_at_a_reset() -> None:
    reset = np.zeros(T, bool)
    reset[3] = True
    found = gz.bptt.carousel(random_run("LSTMCell", reset=reset))
    assert (found.product[3:] == 0).all()
    assert (found.diagonal[3:] == 0).all()
    assert (found.product[:3] > 0).all()


# Gates ----------------------------------------------------------------------------------------------------------------


def test_gate_stats_are_counts_and_means() -> None:
    lengths = np.array([6, 0, 3])
    cell = CELLS["LSTMCell"]()
    cell.weight_ih.data = 4 * cell.weight_ih.data
    run = gz.bptt.unroll(cell, X, lengths=lengths)
    stats = gz.bptt.gate_stats(run)
    rows = [(t, b) for b in range(B) for t in range(lengths[b])]
    for name, gate in run.gates.items():
        chosen = np.stack([gate[t, b] for t, b in rows])
        low, high = (-0.8, 0.8) if name == "g" else (0.1, 0.9)
        np.testing.assert_allclose(stats.unit_mean[name], chosen.mean(axis=0))
        np.testing.assert_allclose(stats.left[name], (chosen < low).mean(axis=0))
        np.testing.assert_allclose(stats.right[name], (chosen > high).mean(axis=0))
        for t in range(T):
            active = [gate[t, b].mean() for b in range(B) if t < lengths[b]]
            assert stats.mean[name][t] == pytest.approx(np.mean(active))
    forget = np.stack([run.gates["f"][t, b] for t, b in rows])
    np.testing.assert_allclose(stats.timescale, -1 / np.log(forget).mean(axis=0))


@pytest.mark.parametrize("reset_after", [False, True])
def test_timescales_of_constant_gates_are_those_asked_for(reset_after: bool) -> None:
    """With zero weights a unit with bias b keeps σ(b) each step: e-folding time −1/log σ(b)."""
    cell = gz.GRUCell(F, H, reset_after=reset_after, rng=0).astype(np.float64)
    for p in cell.parameters():
        p.data = np.zeros(p.shape)
    gz.bptt.inits.chrono(cell, 50, rng=1)
    stats = gz.bptt.gate_stats(gz.bptt.unroll(cell, X))
    u = np.random.default_rng(1).uniform(1, 49, H)
    np.testing.assert_allclose(stats.timescale, -1 / np.log(u / (1 + u)), rtol=1e-10)


# Use ------------------------------------------------------------------------------------------------------------------


def test_results_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    run = random_run("LSTMCell")
    steps = gz.bptt.jacobians(run)
    results = [
        steps,
        gz.bptt.jacobian_spectrum(run, steps=steps),
        gz.bptt.jacobian_spectrum(random_run("RNNCell")),
        gz.bptt.carousel(run, steps=steps),
        gz.bptt.gate_stats(run),
    ]
    for index, result in enumerate(results):
        assert type(result).__name__ in repr(result)
        result.to_npz(tmp_path / f"{index}.npz")
        result.plot()
    with np.load(tmp_path / "0.npz") as saved:
        np.testing.assert_array_equal(saved["values"], steps.values)
        np.testing.assert_array_equal(saved["parts.c"], [H, 2 * H])


def test_what_is_refused() -> None:
    w = gz.tensor(np.ones(2), requires_grad=True)
    own = gz.bptt.unroll(lambda x, h: w if h is None else h * w, np.zeros(3))
    with pytest.raises(ArgumentError, match="pass state="):
        gz.bptt.jacobians(own)
    run = random_run("RNNCell")
    with pytest.raises(ArgumentError, match="0 to 5"):
        gz.bptt.jacobian_spectrum(run, 6)
    with pytest.raises(ArgumentError, match="expected: h"):
        gz.bptt.jacobians(run).block("h", "c")
    for ask in (gz.bptt.carousel, gz.bptt.gate_stats):
        with pytest.raises(ArgumentError, match="LSTMCell or gz"):
            ask(run)
