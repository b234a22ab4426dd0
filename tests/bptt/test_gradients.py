"""Gradients of states and contributions to parameters: identities, central differences, closed forms, PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.errors import ArgumentError, GradientError
from tests.bptt.models import CELLS, B, F, H, T, state_for, weighted

rng = np.random.default_rng(0)
X = rng.normal(size=(T, B, F))
WEIGHTS = rng.normal(size=(T, B, H))
every_cell = pytest.mark.parametrize("kind", CELLS)


def loss_of(run: Any) -> Any:
    """Each state of each part counts, differently; so do the outputs."""
    total = sum(weighted(run[part], WEIGHTS * (k + 1)) for k, part in enumerate(run.parts))
    return total + sum((output * output).sum() for output in run.outputs)


def bumped(kind: str, cell: Any, before: Any, made: list[np.ndarray], part: int, bump: np.ndarray) -> list[np.ndarray]:
    """The state of a step had one of its parts been another, with what the step makes of that part."""
    new = [values.copy() for values in made]
    new[part] += bump
    if kind in ("LSTMCell", "Stacked") and part == 1:  # h = o ⊙ tanh(c)
        new[0] = made[0] / np.tanh(made[1]) * np.tanh(new[1])
    if kind == "Stacked" and part < 2:
        new[2] = cell.above(new[0], before[2]).numpy()
    return new


def bumped_loss(kind: str, state: Any, where: tuple[Any, ...], read: float, carry: float) -> float:
    """The same loss by a plain loop, where one number of one state is bumped as it is read or as it is carried on."""
    cell = CELLS[kind]().astype(np.float64)
    t_bump, part, place = where
    total = 0.0
    shown = [np.asarray(p) for p in (state if isinstance(state, tuple) else (state,))]
    with gz.no_grad():
        for t in range(T):
            before = state
            result = cell(X[t], state)
            state = result if kind == "LSTMCell" or isinstance(result, gz.Tensor) else result[1]
            made = [p.numpy() for p in (state if isinstance(state, tuple) else (state,))]
            shown_before, shown, carried = shown, made, made
            if t == t_bump:
                bump = np.zeros((B, H))
                bump[place] = read
                shown = bumped(kind, cell, before, made, part, bump)
                bump[place] = carry
                carried = bumped(kind, cell, before, made, part, bump)
            output = shown[0]
            if kind.startswith("SimpleRNNCell"):
                output = (shown if kind == "SimpleRNNCell" else shown_before)[0] @ cell.weight_ho.data.T
            if kind == "Stacked":
                output = shown[2] @ cell.readout.weight.data.T + cell.readout.bias.data
            for k, values in enumerate(shown):
                w = WEIGHTS[t] * (k + 1)
                total += float((w * values * values + w * values).sum())
            total += float((output * output).sum())
            state = tuple(carried) if len(carried) > 1 else carried[0]
    return total


@every_cell
def test_total_direct_and_carried_are_central_differences(kind: str) -> None:
    state = state_for(kind, np.random.default_rng(1))
    run = gz.bptt.unroll(CELLS[kind](), X, state)
    gradients = gz.bptt.state_gradients(run, loss_of(run))
    step = 1e-5
    for part, name in enumerate(run.parts):
        for t in range(T):
            for place in [(0, 0), (1, 3), (2, 2)]:
                for values, read, carry in [
                    (gradients.total, step, step),
                    (gradients.direct, step, 0),
                    (gradients.carried, 0, step),
                ]:
                    above = bumped_loss(kind, state, (t, part, place), read, carry)
                    below = bumped_loss(kind, state, (t, part, place), -read, -carry)
                    assert values[name][(t, *place)] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-7)


@every_cell
def test_total_is_direct_and_carried(kind: str) -> None:
    run = gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)), lengths=[6, 3, 4])
    gradients = gz.bptt.state_gradients(run, loss_of(run))
    for part in run.parts:
        sums = gradients.direct[part] + gradients.carried[part]
        np.testing.assert_allclose(gradients.total[part], sums, rtol=1e-12, atol=1e-14)
        assert (gradients.carried[part][-1] == 0).all()
        np.testing.assert_allclose(gradients.norms()[part], np.sqrt((sums**2).sum(-1)), rtol=1e-12)


@every_cell
def test_initial_gradient_is_that_of_a_leaf(kind: str) -> None:
    """Against the engine on a plain loop."""
    state = state_for(kind, np.random.default_rng(1))
    run = gz.bptt.unroll(CELLS[kind](), X, state)
    gradients = gz.bptt.state_gradients(run, loss_of(run))
    loss_of(run).backward()
    for part, leaf in run.initial.items():
        np.testing.assert_allclose(gradients.initial[part], leaf.grad, rtol=1e-12)


@every_cell
@pytest.mark.parametrize("values", [True, False])
def test_contributions_sum_to_the_gradient(kind: str, values: bool) -> None:
    run = gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)), lengths=[6, 3, 4])
    loss = loss_of(run)
    found = gz.bptt.weight_contributions(run, loss, values=values)
    assert all(p.grad is None for p in run.parameters.values())
    loss.backward()
    for name, p in run.parameters.items():
        np.testing.assert_allclose(found.total[name], p.grad, rtol=1e-11, atol=1e-12)
        assert found.norms[name].shape == found.cosines[name].shape == (T,)
        along = np.nansum(found.norms[name] * found.cosines[name])
        assert along == pytest.approx(np.linalg.norm(p.grad), rel=1e-10)  # ⟨Σ g_t, G⟩ / ‖G‖ = ‖G‖
    assert (found.values is None) != values


@every_cell
def test_norms_alone_are_those_of_the_values(kind: str) -> None:
    run = gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)))
    whole = gz.bptt.weight_contributions(run, loss_of(run))
    slim = gz.bptt.weight_contributions(run, loss_of(run), values=False)
    for name, values in whole.values.items():
        np.testing.assert_allclose(slim.norms[name], np.linalg.norm(values.reshape(T, -1), axis=1), rtol=1e-12)
        np.testing.assert_allclose(slim.cosines[name], whole.cosines[name], rtol=1e-9, atol=1e-12)


@every_cell
def test_a_contribution_is_the_gradient_of_that_steps_own_copy(kind: str) -> None:
    """With a copy of the cell for each time step, autodiff of a plain loop gives each step's part."""
    state = state_for(kind, np.random.default_rng(1))
    run = gz.bptt.unroll(CELLS[kind](), X, state)
    found = gz.bptt.weight_contributions(run, weighted(run[run.parts[0]], WEIGHTS))
    copies = [CELLS[kind]().astype(np.float64) for _ in range(T)]
    hs = []
    for x, cell in zip(X, copies, strict=True):
        result = cell(x, state)
        state = result if kind == "LSTMCell" or isinstance(result, gz.Tensor) else result[1]
        hs.append(state[0] if isinstance(state, tuple) else state)
    weighted(hs, WEIGHTS).backward()
    for t, cell in enumerate(copies):
        for name, p in cell.named_parameters():
            expected = np.zeros(p.shape) if p.grad is None else p.grad
            np.testing.assert_allclose(found.values[name][t], expected, rtol=1e-10, atol=1e-12)


@every_cell
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, T), min_size=B, max_size=B))
def test_padded_steps_are_exactly_zero(kind: str, lengths: list[int]) -> None:
    x = X.copy()
    for b, length in enumerate(lengths):
        x[length:, b] = 1e4
    run = gz.bptt.unroll(CELLS[kind](), x, state_for(kind, np.random.default_rng(1)), lengths=lengths)
    final = run.final if isinstance(run.final, tuple) else (run.final,)
    loss = loss_of(run) + sum((part * part).sum() for part in final)
    gradients = gz.bptt.state_gradients(run, loss)
    padded = np.arange(T)[:, None] >= np.array(lengths)
    for kind_of in (gradients.total, gradients.direct, gradients.carried):
        for values in kind_of.values():
            assert (values[padded] == 0).all()
    found = gz.bptt.weight_contributions(run, loss)
    for t in range(max(lengths, default=0), T):
        assert all((values[t] == 0).all() for values in found.values.values())


def test_a_reset_stops_what_is_carried() -> None:
    reset = np.zeros((T, B), bool)
    reset[3, 1] = True
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X, reset=reset)
    gradients = gz.bptt.state_gradients(run, run["h"][-1].sum())
    assert (gradients.total["c"][:3, 1] == 0).all()
    assert (gradients.total["c"][3:5, 1] != 0).all()
    assert (gradients.total["c"][:3, 0] != 0).all()
    assert (gradients.initial["h"] != 0).all()  # of sequence 1 by the second start


# Closed forms ---------------------------------------------------------------------------------------------------------


def test_the_forum_case() -> None:
    """x_t = w·x_{t−1}: d x_3/dw = 3 w² x_0 = 0.108 for w = 0.2, x_0 = 0.9 (discuss.pytorch.org 15500)."""
    w = gz.tensor(np.array(0.2), requires_grad=True)
    run = gz.bptt.unroll(lambda _, x: w * x, np.zeros(3), 0.9)
    found = gz.bptt.weight_contributions(run, run["h"][-1], {"w": w})
    assert found.total["w"] == pytest.approx(0.108, rel=1e-14)
    np.testing.assert_allclose(found.values["w"], np.full(3, 0.036), rtol=1e-14)


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.5])
def test_orthogonal_recurrence(rho: float) -> None:
    """At h = 0, x = 0 the Jacobian of a tanh network is W = ρQ: ‖dL/dh_0‖ = ρ^T ‖g‖."""
    steps = 50
    cell = gz.RNNCell(F, H, bias=False, rng=0).astype(np.float64)
    cell.weight_hh.data = rho * gz.init.orthogonal((H, H), rng=0, dtype=np.float64)
    run = gz.bptt.unroll(cell, np.zeros((steps, B, F)))
    g = np.random.default_rng(2).normal(size=(B, H))
    gradients = gz.bptt.state_gradients(run, (run["h"][-1] * g).sum())
    size = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(np.linalg.norm(gradients.initial["h"], axis=1), rho**steps * size, rtol=1e-11)
    expected = rho ** np.arange(steps - 1, -1, -1.0)[:, None] * size
    np.testing.assert_allclose(gradients.norms()["h"], expected, rtol=1e-11)


def test_a_linear_network_in_closed_form() -> None:
    """h_t = h_{t−1} Wᵀ + x_t, L = Σ_t ⟨g_t, h_t⟩: dL/dh_t = Σ_{s ≥ t} g_s W^{s−t}, dL/dW = Σ_t (dL/dh_t)ᵀ h_{t−1}."""
    draw = np.random.default_rng(5)
    w, x, g = draw.normal(size=(H, H)), draw.normal(size=(T, B, H)), draw.normal(size=(T, B, H))
    weight = gz.tensor(w, requires_grad=True)
    run = gz.bptt.unroll(lambda x, h: h @ weight.T + x, x, np.zeros((B, H)))
    loss = sum((h * g_t).sum() for h, g_t in zip(run["h"], g, strict=True))
    gradients = gz.bptt.state_gradients(run, loss)
    found = gz.bptt.weight_contributions(run, loss, {"w": weight})
    power = np.linalg.matrix_power
    for t in range(T):
        total = sum(g[s] @ power(w, s - t) for s in range(t, T))
        h_before = sum((x[s] @ power(w, t - 1 - s).T for s in range(t)), np.zeros((B, H)))
        np.testing.assert_allclose(gradients.total["h"][t], total, rtol=1e-10)
        np.testing.assert_allclose(gradients.direct["h"][t], g[t], rtol=1e-15)
        np.testing.assert_allclose(found.values["w"][t], total.T @ h_before, rtol=1e-10, atol=1e-13)


def test_a_small_direct_share_beside_a_huge_carried_one() -> None:
    """Each share is collected by itself: a difference would have lost the small one."""
    run = gz.bptt.unroll(lambda _, h: 1e9 * h, np.zeros(5), 1.0)
    gradients = gz.bptt.state_gradients(run, sum(run["h"][1:], run["h"][0]))
    np.testing.assert_array_equal(gradients.direct["h"], 1.0)


def test_what_fused_layers_hide() -> None:
    """The direct share alone is zero before the last step; the total is not (the 'vanished' plot that is wrong)."""
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X)
    gradients = gz.bptt.state_gradients(run, run["h"][-1].sum())
    assert (gradients.norms("direct")["h"][:-1] == 0).all()
    assert (gradients.norms("total")["h"] > 0).all()


def test_states_that_pass_unchanged_or_come_twice() -> None:
    """A part that is handed on as it is, and two parts that are one tensor."""

    def cell(x: Any, state: Any) -> Any:
        h, c = state
        new = h * 2.0 + c
        return new, (new, c)

    run = gz.bptt.unroll(cell, np.zeros(3), (1.0, 1.0))
    gradients = gz.bptt.state_gradients(run, run["h"][2] + 5 * run["c"][1])
    np.testing.assert_array_equal(gradients.total["h"], [4, 2, 1])
    np.testing.assert_array_equal(gradients.total["c"], [2 + 1 + 5, 1 + 5, 0])
    np.testing.assert_array_equal(gradients.direct["c"], [0, 5, 0])
    assert gradients.initial["c"] == 4 + 2 + 1 + 5

    twice = gz.bptt.unroll(lambda x, s: (lambda h: (h, h))(s[0] + 3 * s[1]), np.zeros(2), (1.0, 1.0))
    gradients = gz.bptt.state_gradients(twice, twice["h"][1] + 2 * twice["c"][1])
    np.testing.assert_array_equal(gradients.total["h"], [3, 1])
    np.testing.assert_array_equal(gradients.total["c"], [9, 2])


def test_a_state_that_is_cut_off_has_no_past() -> None:
    run = gz.bptt.unroll(lambda x, h: (h * 2.0).detach() if x == 1 else h * 2.0, np.array([0.0, 1.0, 0.0]), 1.0)
    gradients = gz.bptt.state_gradients(run, run["h"][-1] + run["h"][0])
    np.testing.assert_array_equal(gradients.total["h"], [1, 2, 1])


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell reset_after"])
def test_like_a_loop_over_torch_cells(kind: str) -> None:
    torch = pytest.importorskip("torch")
    cell = CELLS[kind]()
    peer = getattr(torch.nn, kind.split()[0])(F, H).double()
    peer.load_state_dict({name: torch.tensor(value).double() for name, value in cell.state_dict().items()})
    states, state = [], None
    for x in torch.tensor(X):
        state = peer(x, state)
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            part.retain_grad()
        states.append(parts)
    peer_loss = sum((parts[0] ** 3 * torch.tensor(w)).sum() for parts, w in zip(states, WEIGHTS, strict=True))
    peer_loss.backward()
    run = gz.bptt.unroll(cell, X)
    loss = sum((h * h * h * w).sum() for h, w in zip(run["h"], WEIGHTS, strict=True))
    assert loss.item() == pytest.approx(peer_loss.item(), rel=1e-12)
    gradients = gz.bptt.state_gradients(run, loss)
    for index, part in enumerate(run.parts):
        expected = np.stack([np.zeros((B, H)) if s[index].grad is None else s[index].grad.numpy() for s in states])
        np.testing.assert_allclose(gradients.total[part], expected, rtol=1e-9, atol=1e-13)
    found = gz.bptt.weight_contributions(run, loss)
    for name, p in peer.named_parameters():
        np.testing.assert_allclose(found.values[name].sum(axis=0), p.grad.numpy(), rtol=1e-9, atol=1e-13)


# Use ------------------------------------------------------------------------------------------------------------------


def test_a_run_can_be_asked_again_and_trained() -> None:
    run = gz.bptt.unroll(CELLS["GRUCell"](), X)
    loss = loss_of(run)
    first = gz.bptt.state_gradients(run, loss)
    again = gz.bptt.state_gradients(run, loss)
    np.testing.assert_array_equal(first.total["h"], again.total["h"])
    loss.backward()
    with pytest.raises(gz.ReleasedError):
        gz.bptt.state_gradients(run, loss)


def test_float32_on_request() -> None:
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X.astype(np.float32), dtype=None)
    wide = gz.bptt.unroll(CELLS["LSTMCell"](), X.astype(np.float32))
    narrow = gz.bptt.state_gradients(run, run["h"][-1].sum()).total["c"]
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, gz.bptt.state_gradients(wide, wide["h"][-1].sum()).total["c"], rtol=1e-4)


def test_results_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X)
    gradients = gz.bptt.state_gradients(run, loss_of(run))
    assert "norms.carried.c" in repr(gradients)
    gradients.to_npz(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as saved:
        np.testing.assert_array_equal(saved["total.c"], gradients.total["c"])
    assert len(gradients.plot().lines) == 6
    found = gz.bptt.weight_contributions(run, loss_of(run), values=False)
    assert "values" not in repr(found)
    assert len(found.plot().lines) == 4


def test_what_is_refused() -> None:
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X)
    for ask in (gz.bptt.state_gradients, gz.bptt.weight_contributions):
        with pytest.raises(GradientError, match="does not depend on the run"):
            ask(run, gz.tensor(1.0))
        with pytest.raises(GradientError, match="more than one element"):
            ask(run, run["h"][-1])
    with pytest.raises(ArgumentError, match="'total', 'direct' or 'carried'"):
        gz.bptt.state_gradients(run, loss_of(run)).norms("all")
    free = gz.bptt.unroll(lambda _, x: 0.5 * x, np.zeros(4), 1.0)
    with pytest.raises(ArgumentError, match="no parameters to ask about"):
        gz.bptt.weight_contributions(free, free["h"][-1])
    with pytest.raises(GradientError, match="outside of the run's steps"):
        gz.bptt.weight_contributions(run, run["h"][-1].sum() + run.cell.bias_ih.sum())
