"""The matrix of losses and steps, and the bias of truncation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.errors import ArgumentError, GradientError, ShapeError
from tests.bptt.models import CELLS, B, F, H, T, state_for

rng = np.random.default_rng(0)
X = rng.normal(size=(T, B, F))
WEIGHTS = rng.normal(size=(T, B, H))
every_cell = pytest.mark.parametrize("kind", CELLS)


def step_losses(run: Any) -> list[Any]:
    return [(h * h * w).sum() for h, w in zip(run[run.parts[0]], WEIGHTS, strict=True)]


def random_run(kind: str) -> Any:
    return gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)))


@every_cell
def test_rows_and_all_sum_to_gradients(kind: str) -> None:
    run = random_run(kind)
    losses = step_losses(run)
    matrix = gz.bptt.contribution_matrix(run, losses, values=True)
    np.testing.assert_array_equal(matrix.steps, np.arange(T))
    whole = {name: np.zeros(p.shape) for name, p in run.parameters.items()}
    for s, loss in enumerate(losses):
        for p in run.parameters.values():
            p.grad = None
        loss.backward(retain_graph=True)
        for name, p in run.parameters.items():
            grad = np.zeros(p.shape) if p.grad is None else p.grad
            np.testing.assert_allclose(matrix.values[name][s].sum(axis=0), grad, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(matrix.gradients[name][s], grad, rtol=1e-11, atol=1e-13)
            whole[name] += grad
    size = np.sqrt(sum((g**2).sum() for g in whole.values()))
    assert matrix.along.sum() == pytest.approx(size, rel=1e-11)
    for s in range(T):
        row = sum((matrix.gradients[name][s] * whole[name]).sum() for name in whole) / size
        assert matrix.along[s].sum() == pytest.approx(row, rel=1e-9, abs=1e-12)
        assert (matrix.norms[s, s + 1 :] == 0).all()
    joint = np.sqrt(sum((v.reshape(T, T, -1) ** 2).sum(axis=-1) for v in matrix.values.values()))
    np.testing.assert_allclose(matrix.norms, joint, rtol=1e-12)
    for s, loss in enumerate(losses):
        of_states = gz.bptt.state_gradients(run, loss)
        for part in run.parts:
            expected = np.sqrt((of_states.total[part] ** 2).sum(axis=(1, 2)))
            np.testing.assert_allclose(matrix.states[part][s], expected, rtol=1e-12)


def test_by_lag_of_a_decay() -> None:
    """x_t = w·x_{t−1}: every loss x_s has ∂x_s/∂x_t = w^(s−t)."""
    w = gz.tensor(np.array(0.5), requires_grad=True)
    run = gz.bptt.unroll(lambda _, x: w * x, np.zeros(5), 1.0)
    matrix = gz.bptt.contribution_matrix(run, run["h"], {"w": w})
    np.testing.assert_allclose(matrix.by_lag("h"), 0.5 ** np.arange(5))
    np.testing.assert_allclose(matrix.by_lag(matrix.norms), [np.mean(0.5 ** np.arange(lag, 5)) for lag in range(5)])
    late = gz.bptt.contribution_matrix(run, [run["h"][4]], {"w": w}, steps=[4])
    np.testing.assert_allclose(late.by_lag(), np.full(5, 0.5**4))
    assert np.isnan(gz.bptt.contribution_matrix(run, [run["h"][1]], {"w": w}).by_lag()[2:]).all()


@every_cell
@pytest.mark.parametrize("k2", [1, 2, 4, T, T + 3])
def test_truncation_bias_is_that_of_detached_windows(kind: str, k2: int) -> None:
    """Each loss by itself, on a loop whose state is cut k2 steps before: what truncation means."""
    state = state_for(kind, np.random.default_rng(1))
    run = random_run(kind)
    bias = gz.bptt.truncation_bias(run, step_losses(run), [k2])
    cell = CELLS[kind]().astype(np.float64)
    for s in range(T):
        carried = state
        for t in range(s + 1):
            if t == s - k2 + 1:
                carried = gz.detach_state(carried)
            result = cell(X[t], carried)
            carried = result if kind == "LSTMCell" or isinstance(result, gz.Tensor) else result[1]
        h = carried[0] if isinstance(carried, tuple) else carried
        (h * h * WEIGHTS[s]).sum().backward()
    for name, p in cell.named_parameters():
        full = bias.full[name]
        truncated = np.zeros(p.shape) if p.grad is None else p.grad
        if not full.any():
            assert np.isnan(bias.relative_error[name]).all()
            continue
        error = np.linalg.norm(truncated - full) / np.linalg.norm(full)
        assert bias.relative_error[name][0] == pytest.approx(error, rel=1e-8, abs=1e-12)
        angle = (truncated * full).sum() / np.linalg.norm(truncated) / np.linalg.norm(full)
        assert bias.cosine[name][0] == pytest.approx(angle, rel=1e-10)
    if k2 >= T:
        errors = np.concatenate(list(bias.relative_error.values()))
        assert (errors[~np.isnan(errors)] < 1e-14).all()


def test_one_loss_alone() -> None:
    run = random_run("GRUCell")
    one = gz.bptt.truncation_bias(run, run["h"][-1].sum(), [2])
    same = gz.bptt.truncation_bias(run, [run["h"][-1].sum()], [2], steps=[T - 1])
    np.testing.assert_array_equal(one.relative_error["weight_hh"], same.relative_error["weight_hh"])


def test_results_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    run = random_run("LSTMCell")
    matrix = gz.bptt.contribution_matrix(run, step_losses(run))
    assert "values" not in repr(matrix)
    matrix.to_npz(tmp_path / "matrix.npz")
    matrix.plot()
    bias = gz.bptt.truncation_bias(run, step_losses(run), [1, 2, 4])
    assert "relative_error.weight_hh  float64 (3,)" in repr(bias)
    bias.plot()


def test_what_is_refused() -> None:
    run = random_run("LSTMCell")
    with pytest.raises(ArgumentError, match="no losses"):
        gz.bptt.contribution_matrix(run, [])
    with pytest.raises(GradientError, match="does not depend"):
        gz.bptt.contribution_matrix(run, [gz.tensor(1.0)])
    with pytest.raises(ShapeError, match="1 integers"):
        gz.bptt.contribution_matrix(run, [run["h"][0].sum()], steps=[1, 2])
    with pytest.raises(ArgumentError, match="norms, along, h, c"):
        gz.bptt.contribution_matrix(run, [run["h"][0].sum()]).by_lag("x")
    for k2s in ([], [0], [1.5], 3):
        with pytest.raises(ArgumentError, match="k2s are impossible"):
            gz.bptt.truncation_bias(run, [run["h"][0].sum()], k2s)
