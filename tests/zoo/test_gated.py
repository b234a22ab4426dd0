"""LSTM and GRU cells against closed forms and central differences; what all cells share is in test_recurrent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz

F, H, N = 5, 3, 4


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def parts(cell: Any, x: np.ndarray, h: np.ndarray, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """U x + b_ih and W h + b_hh, cut into gates."""
    of_x = x @ cell.weight_ih.data.T + cell.bias_ih.data
    of_h = h @ cell.weight_hh.data.T + cell.bias_hh.data
    return np.split(of_x, count, axis=-1), np.split(of_h, count, axis=-1)


# LSTM ----------------------------------------------------------------------------------------------------------------


def test_lstm_is_what_the_document_says() -> None:
    cell = gz.LSTMCell(F, H, rng=0).astype(np.float64)
    x, h, c = normal(N, F), normal(N, H, seed=1), normal(N, H, seed=2)
    of_x, of_h = parts(cell, x, h, 4)
    i, f, g, o = (a + b for a, b in zip(of_x, of_h, strict=True))
    new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    got_h, got_c = cell(x, (h, c))
    np.testing.assert_allclose(got_c.data, new_c, rtol=1e-12)
    np.testing.assert_allclose(got_h.data, sigmoid(o) * np.tanh(new_c), rtol=1e-12)


class TwoSteps(gz.Module):
    """Two steps of an LSTM cell, of which chosen outputs of the last are kept."""

    def __init__(self, cell: Any, keep: slice) -> None:
        self.cell = cell
        self.keep = keep

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return self.cell(x * 0.5, self.cell(x, (h, c)))[self.keep]


@pytest.mark.parametrize("keep", [slice(0, 1), slice(1, 2), slice(0, 2)], ids=["h", "c", "both"])
def test_lstm_gradient_through_one_output_or_both(keep: slice) -> None:
    gz.check(TwoSteps(gz.LSTMCell(F, H, rng=0), keep), (normal(N, F), normal(N, H, seed=1), normal(N, H, seed=2)))


def test_lstm_gradient_at_every_h_and_the_last_c() -> None:
    cell = gz.LSTMCell(F, H, rng=0)

    def every(x: Any, h: Any, c: Any) -> Any:
        hs = []
        for t in range(3):
            h, c = cell(x[t], (h, c))
            hs.append(h)
        return gz.stack(hs), c

    cell.astype(np.float64)
    gz.check(every, (normal(3, N, F), normal(N, H, seed=1), normal(N, H, seed=2)))


def test_errata_3_gradient_of_the_cell_state() -> None:
    """dL/dC_t takes its share of dL/dh_t with o and C of the step that made h_t; as printed, with the next step's."""
    cell = gz.LSTMCell(F, H, rng=0).astype(np.float64)
    xs = 2 * normal(4, N, F)
    weights = normal(5, N, H, seed=5)

    def follow(t: int, o: np.ndarray, c_value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dL/dC_t, and the whole dL/dh_t, where h_t = o ⊙ tanh C_t and each h counts."""
        c = gz.tensor(c_value, requires_grad=True)
        h = o * gz.tanh(c)
        h.retain_grad()
        loss, state = (h * weights[t]).sum(), (h, c)
        for later in range(t, 4):
            state = cell(xs[later], state)
            loss = loss + (state[0] * weights[later + 1]).sum()
        loss.backward()
        return c.grad, h.grad

    state = (gz.tensor(normal(N, H, seed=1)), gz.tensor(normal(N, H, seed=2)))
    gates, cs = [], [state[1].data]
    for x in xs:
        of_x, of_h = parts(cell, x, state[0].data, 4)
        gates.append([sigmoid(a + b) for a, b in zip(of_x, of_h, strict=True)])
        state = cell(x, state)
        cs.append(state[1].data)
    f, o, t = 1, 3, 2
    dc, dh = follow(t, gates[t - 1][o], cs[t])
    dc_next, _ = follow(t + 1, gates[t][o], cs[t + 1])
    right = dc_next * gates[t][f] + dh * gates[t - 1][o] * (1 - np.tanh(cs[t]) ** 2)
    printed = dc_next * gates[t][f] + dh * gates[t][o] * (1 - np.tanh(cs[t + 1]) ** 2)
    np.testing.assert_allclose(dc, right, rtol=1e-9)
    assert np.abs(dc - printed).max() > 1e-2


@pytest.mark.parametrize("make", [gz.LSTMCell, gz.GRUCell])
def test_errata_4_the_parameter_pass_sums_over_time(make: Any) -> None:
    cell = make(F, H, rng=0).astype(np.float64)
    xs, state = normal(3, N, F), None
    for x in xs:
        state = cell(x, state)
    loss = (state[0] if make is gz.LSTMCell else state).sum()
    step = 1e-6
    original = cell.weight_ih.data.copy()

    def value(change: float) -> float:
        moved = original.copy()
        moved[1, 2] += change
        cell.weight_ih.data = moved
        state = None
        for x in xs:
            state = cell(x, state)
        return (state[0] if make is gz.LSTMCell else state).data.sum()

    uses = gz.contributions(loss, cell)["weight_ih"]
    numeric = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(sum(use.gradient[1, 2] for use in uses), numeric, rtol=1e-6)
    assert all(abs(use.gradient[1, 2] - numeric) > 1e-4 for use in uses)


def test_lstm_state_of_none_in_part() -> None:
    cell = gz.LSTMCell(F, H, rng=0)
    x, c = normal(N, F, dtype=np.float32), normal(N, H, dtype=np.float32)
    zeros = np.zeros((N, H), np.float32)
    for one, other in zip(cell(x, (None, c)), cell(x, (zeros, c)), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize(
    ("state", "got"),
    [
        (np.zeros((N, H), np.float32), r"float32 \(4, 3\)"),
        ([np.zeros((N, H))] * 3, "list of 3"),
        ((np.zeros((N, H)),), "tuple of 1"),
        (3.0, "float 3.0"),
    ],
)
def test_lstm_state_that_is_no_pair(state: Any, got: str) -> None:
    with pytest.raises(gz.ShapeError, match=rf"(?s)state of LSTMCell is a pair.*{got}.*\(h, c\)"):
        gz.LSTMCell(F, H)(np.zeros((N, F), np.float32), state)


def test_lstm_cell_state_that_does_not_fit() -> None:
    h, c = np.zeros((N, H), np.float32), np.zeros((N, H + 1), np.float32)
    with pytest.raises(gz.ShapeError, match=r"(?s)state that does not fit.*\(4, 4\).*\(4, 3\)"):
        gz.LSTMCell(F, H)(np.zeros((N, F), np.float32), (h, c))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**16))
def test_lstm_states_are_bounded(steps: int, batch: int, seed: int) -> None:
    """|h| ≤ 1, and |c| grows by at most 1 a step, however large the inputs."""
    cell = gz.LSTMCell(F, H, rng=seed)
    state = None
    for x in 1e3 * normal(steps, batch, F, seed=seed, dtype=np.float32):
        state = cell(x, state)
    assert np.abs(state[0].data).max() <= 1
    assert np.abs(state[1].data).max() <= steps


# GRU -----------------------------------------------------------------------------------------------------------------


def test_gru_is_what_the_document_says() -> None:
    cell = gz.GRUCell(F, H, rng=0).astype(np.float64)
    x, h = normal(N, F), normal(N, H, seed=1)
    of_x, of_h = parts(cell, x, h, 3)
    r, z = (sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
    w_c, b_c = cell.weight_hh.data[2 * H :], cell.bias_hh.data[2 * H :]
    c = np.tanh(of_x[2] + (r * h) @ w_c.T + b_c)
    np.testing.assert_allclose(cell(x, h).data, (1 - z) * h + z * c, rtol=1e-12)


def test_gru_reset_after_is_what_pytorch_says() -> None:
    cell = gz.GRUCell(F, H, reset_after=True, rng=0).astype(np.float64)
    x, h = normal(N, F), normal(N, H, seed=1)
    of_x, of_h = parts(cell, x, h, 3)
    r, z = (sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
    n = np.tanh(of_x[2] + r * of_h[2])
    np.testing.assert_allclose(cell(x, h).data, (1 - z) * n + z * h, rtol=1e-12)


def test_gru_variants_differ_by_the_sense_of_z_where_the_reset_gate_has_no_say() -> None:
    """With W_c = 0 and no biases the two units agree once the rows of z are negated, in values and gradients."""
    document = gz.GRUCell(F, H, bias=False, rng=0).astype(np.float64)
    after = gz.GRUCell(F, H, bias=False, reset_after=True, rng=0).astype(np.float64)
    for cell, sign in ((document, 1), (after, -1)):
        cell.weight_hh.data[2 * H :] = 0
        for weight in (cell.weight_ih, cell.weight_hh):
            weight.data[H : 2 * H] *= sign
            weight.mark_written("a test")
    found = []
    for cell in (document, after):
        x = gz.tensor(normal(N, F), requires_grad=True)
        h = cell(x, cell(x, normal(N, H, seed=1)))
        (h * h).sum().backward()
        found.append((h.data, x.grad, cell.weight_ih.grad))
    for one, other in zip(found[0][:2], found[1][:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(found[0][2][H : 2 * H], -found[1][2][H : 2 * H], rtol=1e-12)
    np.testing.assert_allclose(found[0][2][2 * H :], found[1][2][2 * H :], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.integers(1, 4), st.integers(0, 2**16))
def test_gru_state_stays_between_its_own_and_the_candidates(reset_after: bool, batch: int, seed: int) -> None:
    cell = gz.GRUCell(F, H, reset_after=reset_after, rng=seed)
    h = normal(batch, H, seed=seed, dtype=np.float32)
    new = cell(1e3 * normal(batch, F, seed=seed + 1, dtype=np.float32), h).data
    assert (new <= np.maximum(h, 1) + 1e-6).all()
    assert (new >= np.minimum(h, -1) - 1e-6).all()


def test_torchs_tensors_select_torchs_variant() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs, ours = torch.nn.GRU(3, 4, num_layers=2), gz.GRU(3, 4, num_layers=2, rng=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(ours(x)[0].numpy(), expected, atol=1e-6)
    cell, own = torch.nn.GRUCell(3, 4), gz.GRUCell(3, 4, rng=0)
    own.load_state_dict(cell.state_dict())
    expected = cell(torch.from_numpy(x[0])).detach().numpy()
    np.testing.assert_allclose(own(x[0]).numpy(), expected, atol=1e-6)
    own = gz.GRUCell(3, 4, rng=0)
    own.load_state_dict(own.state_dict())
    assert not own.reset_after


# Gates computed again ------------------------------------------------------------------------------------------------


RECOMPUTED = [(gz.LSTMCell, {}), (gz.GRUCell, {}), (gz.GRUCell, {"reset_after": True})]


def unrolled(kind: Any, recompute: bool, options: dict[str, Any], steps: int = 6) -> tuple[Any, Any, Any]:
    """A cell, its inputs and the loss of a loop over it, from the same numbers each time."""
    rng = np.random.default_rng(5)
    cell = kind(3, 4, rng=2, recompute=recompute, **options)
    xs = [gz.tensor(rng.normal(size=(2, 3)).astype(np.float32), requires_grad=True) for _ in range(steps)]
    state, loss = None, gz.tensor(0.0)
    for t, x in enumerate(xs):
        with gz.time_step(t):
            state = cell(x, state)
        loss = loss + sum((part**3).sum() for part in (state if isinstance(state, tuple) else (state,)))
    return cell, xs, loss


@pytest.mark.parametrize(("kind", "options"), RECOMPUTED)
@pytest.mark.parametrize("stack_bytes", [0, 500, 1 << 23])
def test_gates_computed_again_give_the_same_to_the_bit(kind: Any, options: dict[str, Any], stack_bytes: int) -> None:
    found = []
    for recompute in (False, True):
        cell, xs, loss = unrolled(kind, recompute, options)
        loss.backward(stack_bytes=stack_bytes)
        found.append([loss.data, *(tensor.grad for tensor in [*xs, *cell.parameters()])])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_array_equal(again, plain)


@pytest.mark.parametrize(("kind", "options"), RECOMPUTED)
def test_gates_computed_again_hold_less_and_can_be_retained(kind: Any, options: dict[str, Any]) -> None:
    held = {}
    for recompute in (False, True):
        with gz.Tape() as tape:
            cell, _, loss = unrolled(kind, recompute, options, steps=40)
        held[recompute] = tape.bytes_held
        loss.backward(retain_graph=True)
        first = [parameter.grad.copy() for parameter in cell.parameters()]
        loss.backward()
        for parameter, once in zip(cell.parameters(), first, strict=True):
            np.testing.assert_allclose(parameter.grad, 2 * once, rtol=1e-6)
    assert held[True] < 0.6 * held[False]


@pytest.mark.parametrize(("kind", "options"), RECOMPUTED)
def test_gates_computed_again_serve_contributions_and_higher_derivatives(kind: Any, options: dict[str, Any]) -> None:
    seconds = []
    for recompute in (False, True):
        cell, xs, loss = unrolled(kind, recompute, options)
        uses = gz.contributions(loss, cell, retain_graph=True)["weight_hh"]
        assert [use.t for use in uses] == list(range(6))
        first = gz.grad(loss, xs[0], create_graph=True)
        seconds.append([*(use.gradient for use in uses), gz.grad((first * first).sum(), xs[0])])
    for plain, again in zip(*seconds, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-7)


def test_whole_sequences_with_lengths_compute_gates_again() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3, 2)).astype(np.float32)
    for kind, options in ((gz.LSTM, {}), (gz.GRU, {"reset_after": True})):
        gradients = []
        for recompute in (False, True):
            model = kind(2, 4, bidirectional=True, rng=1, recompute=recompute, **options)
            (model(x, lengths=[5, 3, 1])[0] ** 2).sum().backward()
            gradients.append([parameter.grad for parameter in model.parameters()])
            assert ("recompute=True" in repr(model)) == recompute
        for plain, again in zip(*gradients, strict=True):
            np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-7)
