"""Unrolling: the same numbers as a plain loop, for every cell; lengths, resets, and what is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.errors import ArgumentError, ShapeError, UnsupportedError
from tests.bptt.models import CELLS, B, F, H, T, state_for

rng = np.random.default_rng(0)
X = rng.normal(size=(T, B, F))
every_cell = pytest.mark.parametrize("kind", CELLS)


def plain_loop(cell: Any, x: Any, state: Any) -> tuple[list[Any], list[tuple[np.ndarray, ...]]]:
    """Outputs and states of each step, by the cell alone."""
    outputs, states = [], []
    with gz.no_grad():
        for x_t in x:
            result = cell(x_t, state)
            named_pair = isinstance(cell, gz.LSTMCell)
            output, state = (result, result) if named_pair or isinstance(result, gz.Tensor) else result
            outputs.append((output[0] if named_pair else output).numpy())
            states.append(tuple(part.numpy() for part in (state if isinstance(state, tuple) else (state,))))
    return outputs, states


@every_cell
def test_states_and_outputs_are_those_of_a_loop(kind: str) -> None:
    cell = CELLS[kind]()
    state = state_for(kind, np.random.default_rng(1))
    run = gz.bptt.unroll(cell, X, state)
    outputs, states = plain_loop(CELLS[kind]().astype(np.float64), X, state)
    for got, expected in zip(run.states.values(), zip(*states, strict=True), strict=True):
        assert got.shape == (T, B, H)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, np.stack(expected), rtol=1e-13, atol=1e-15)
    for got, expected in zip(run.outputs, outputs, strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13, atol=1e-15)
    assert all(p.dtype == np.float32 for p in cell.parameters() if kind != "Decay")  # the user's cell is left alone


@pytest.mark.parametrize("kind", [kind for kind in CELLS if kind not in ("Stacked", "Decay")])  # these need a state
def test_a_state_of_none_is_the_zero_state(kind: str) -> None:
    zeros = np.zeros((B, H))
    run, same = (
        gz.bptt.unroll(CELLS[kind](), X),
        gz.bptt.unroll(CELLS[kind](), X, (zeros, zeros) if kind == "LSTMCell" else zeros),
    )
    np.testing.assert_array_equal(run.states["h"], same.states["h"])
    assert run.initial["h"].requires_grad


@every_cell
def test_the_graph_has_the_time_steps(kind: str) -> None:
    run = gz.bptt.unroll(CELLS[kind](), X, state_for(kind, np.random.default_rng(1)))
    times = [node.t for node in run.graph().nodes if node.role == "operation"]
    assert sorted({t for t in times if t is not None}) == list(range(T))
    assert None not in times


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def test_gates_of_an_lstm_are_its_formulas() -> None:
    cell = gz.LSTMCell(F, H, rng=3).astype(np.float64)
    run = gz.bptt.unroll(cell, X)
    h = np.concatenate([np.zeros((1, B, H)), run.states["h"][:-1]])
    a = X @ cell.weight_ih.data.T + cell.bias_ih.data + h @ cell.weight_hh.data.T + cell.bias_hh.data
    i, f, g, o = (a[..., k * H : (k + 1) * H] for k in range(4))
    expected = {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
    assert run.gates.keys() == expected.keys()
    for name, gate in expected.items():
        np.testing.assert_allclose(run.gates[name], gate, rtol=1e-12)
    np.testing.assert_allclose(run.states["h"], run.gates["o"] * np.tanh(run.states["c"]), rtol=1e-12)


@pytest.mark.parametrize("reset_after", [False, True])
def test_gates_of_a_gru_are_its_formulas(reset_after: bool) -> None:
    cell = gz.GRUCell(F, H, reset_after=reset_after, rng=3).astype(np.float64)
    run = gz.bptt.unroll(cell, X)
    h = np.concatenate([np.zeros((1, B, H)), run.states["h"][:-1]])
    of_x = X @ cell.weight_ih.data.T + cell.bias_ih.data
    of_h = h @ cell.weight_hh.data.T + cell.bias_hh.data
    r, z = sigmoid(of_x + of_h)[..., :H], sigmoid(of_x + of_h)[..., H : 2 * H]
    if reset_after:
        c = np.tanh(of_x[..., 2 * H :] + r * of_h[..., 2 * H :])
        new = (1 - z) * c + z * h
    else:
        c = np.tanh(of_x[..., 2 * H :] + (r * h) @ cell.weight_hh.data[2 * H :].T + cell.bias_hh.data[2 * H :])
        new = (1 - z) * h + z * c
    for name, gate in {"r": r, "z": z, "c": c}.items():
        np.testing.assert_allclose(run.gates[name], gate, rtol=1e-11)
    np.testing.assert_allclose(run.states["h"], new, rtol=1e-11)


@every_cell
@pytest.mark.parametrize("padding", [0.0, np.nan, np.inf, 1e4])
def test_lengths_whatever_stands_in_the_padding(kind: str, padding: float) -> None:
    lengths = np.array([4, 0, 6])
    state = state_for(kind, np.random.default_rng(1))
    x = X.copy()
    for b, length in enumerate(lengths):
        x[length:, b] = padding
    run = gz.bptt.unroll(CELLS[kind](), x, state, lengths=lengths)
    final = [part.numpy() for part in (run.final if isinstance(run.final, tuple) else (run.final,))]
    parts = state if isinstance(state, tuple) else (state,)
    for b, length in enumerate(lengths):
        alone_state = tuple(part[b : b + 1] for part in parts)
        _, alone = plain_loop(
            CELLS[kind]().astype(np.float64), X[:length, b : b + 1], alone_state if len(parts) > 1 else alone_state[0]
        )
        for index, states in enumerate(run.states.values()):
            for t in range(T):
                expected = alone[t][index][0] if t < length else np.zeros(H)
                np.testing.assert_allclose(states[t, b], expected, rtol=1e-12, atol=1e-15)
            end = alone[-1][index][0] if length else parts[index][b]
            np.testing.assert_allclose(final[index][b], end, rtol=1e-12)
    for t, output in enumerate(run.outputs):
        assert (output.numpy()[lengths <= t] == 0).all()


@every_cell
def test_reset_starts_from_the_initial_state(kind: str) -> None:
    state = state_for(kind, np.random.default_rng(1))
    reset = np.zeros((T, B), bool)
    reset[2, 0] = reset[4, 0] = reset[3, 2] = True
    run = gz.bptt.unroll(CELLS[kind](), X, state, reset=reset)
    parts = state if isinstance(state, tuple) else (state,)
    for b, pieces in enumerate([[(0, 2), (2, 4), (4, 6)], [(0, 6)], [(0, 3), (3, 6)]]):
        for begin, end in pieces:
            alone_state = tuple(part[b : b + 1] for part in parts)
            _, alone = plain_loop(
                CELLS[kind]().astype(np.float64),
                X[begin:end, b : b + 1],
                alone_state if len(parts) > 1 else alone_state[0],
            )
            for index, states in enumerate(run.states.values()):
                expected = np.stack([step[index][0] for step in alone])
                np.testing.assert_allclose(states[begin:end, b], expected, rtol=1e-12)


@every_cell
def test_reset_and_lengths_together(kind: str) -> None:
    state = state_for(kind, np.random.default_rng(1))
    reset = np.zeros((T, B), bool)
    reset[2, 0] = reset[5, 0] = reset[1, 2] = True
    lengths = np.array([4, 6, 3])
    both = gz.bptt.unroll(CELLS[kind](), X, state, lengths=lengths, reset=reset)
    alone = gz.bptt.unroll(CELLS[kind](), X, state, reset=reset)
    active = np.arange(T)[:, None] < lengths
    for part, values in both.states.items():
        np.testing.assert_array_equal(values[active], alone.states[part][active])
        assert (values[~active] == 0).all()


def test_reset_of_all_sequences_at_once() -> None:
    steps = np.array([False, False, True, False, False, True])
    one = gz.bptt.unroll(CELLS["GRUCell"](), X, reset=steps)
    other = gz.bptt.unroll(CELLS["GRUCell"](), X, reset=np.repeat(steps[:, None], B, axis=1))
    np.testing.assert_array_equal(one.states["h"], other.states["h"])


class Named(NamedTuple):
    position: Any
    speed: Any


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (np.ones(2), ["h"]),
        ((np.ones(2), np.ones(2)), ["h", "c"]),
        ([np.ones(2), np.ones(2), np.ones(2)], ["s0", "s1", "s2"]),
        (Named(np.ones(2), np.ones(2)), ["position", "speed"]),
        ({"x": np.ones(2), "v": np.ones(2)}, ["x", "v"]),
        (((np.ones(2), np.ones(2)), np.ones(2)), ["s0", "s1", "s2"]),
    ],
)
def test_states_of_any_build(state: Any, names: list[str]) -> None:
    def double(x: Any, state: Any) -> Any:
        if isinstance(state, dict):
            return {key: double(x, value) for key, value in state.items()}
        if isinstance(state, Named):
            return Named(*[double(x, value) for value in state])
        if isinstance(state, (tuple, list)):
            return type(state)(double(x, value) for value in state)
        return state * 2.0

    run = gz.bptt.unroll(double, np.zeros(3), state)
    assert run.parts == names
    for values in run.states.values():
        np.testing.assert_array_equal(values, [[2, 2], [4, 4], [8, 8]])
    assert type(run.final) is type(state) if not isinstance(state, np.ndarray) else True
    outside = gz.bptt.unroll(lambda x, s: (x, double(x, s)), np.arange(3.0), state)
    assert outside.outputs[2] == 2.0
    assert outside.parts == names


def test_a_cell_that_makes_its_own_first_state() -> None:
    def cell(x: Any, state: Any) -> Any:
        h = gz.tensor(np.zeros(2)) if state is None else state[0]
        return (h + x).sum(), (h + x,)

    w = gz.tensor(np.ones(2), requires_grad=True)
    run = gz.bptt.unroll(lambda x, s: cell(x * w, s), np.ones((3, 2)))
    assert run.initial == {}
    np.testing.assert_array_equal(run.states["h"], [[1, 1], [2, 2], [3, 3]])


def test_scalars_and_sequences_without_batch() -> None:
    run = gz.bptt.unroll(lambda x, h: h * 0.5 + x, [1.0, 1.0], 0.1)
    np.testing.assert_array_equal(run.states["h"], [1.05, 1.525])  # not 0.1 in float32
    single = gz.bptt.unroll(CELLS["LSTMCell"](), X[:, 0])
    batch = gz.bptt.unroll(CELLS["LSTMCell"](), X[:, :1])
    np.testing.assert_allclose(single.states["c"], batch.states["c"][:, 0], rtol=1e-13)
    assert single.gates["f"].shape == (T, H)


def test_dtype_of_the_cell_can_be_kept() -> None:
    cell = CELLS["GRUCell"]()
    run = gz.bptt.unroll(cell, X.astype(np.float32), dtype=None)
    assert run.cell is cell
    assert run.states["h"].dtype == np.float32


def test_cells_of_a_layer() -> None:
    layer = gz.LSTM(F, H, rng=0)
    run = gz.bptt.unroll(layer.cells["l0"], X)
    output, _ = layer.astype(np.float64)(X)
    np.testing.assert_allclose(run.states["h"], output.numpy(), rtol=1e-12)


def test_gradients_of_gradients_pass_reads_and_carries() -> None:
    """‖dL/dh_0‖² as a loss, against central differences in one weight."""
    cell = gz.RNNCell(F, H, rng=0).astype(np.float64)
    reset = np.zeros((T, B), bool)
    reset[2, 0] = True

    def penalty() -> Any:
        run = gz.bptt.unroll(cell, X, lengths=[6, 4, 2], reset=reset)
        loss = sum((h * h).sum() for h in run["h"])
        return (gz.grad(loss, run.initial["h"], create_graph=True) ** 2).sum()

    got = gz.grad(penalty(), cell.weight_hh)
    for place in [(0, 1), (3, 2)]:
        values = []
        for step in (1e-5, -1e-5):
            moved = cell.weight_hh.data.copy()
            moved[place] += step
            kept, cell.weight_hh.data = cell.weight_hh.data, moved
            values.append(penalty().item())
            cell.weight_hh.data = kept
        assert got[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_an_empty_batch() -> None:
    run = gz.bptt.unroll(CELLS["LSTMCell"](), np.zeros((T, 0, F)), lengths=np.zeros(0, int))
    assert run.states["c"].shape == (T, 0, H)


def test_inputs_that_want_gradients_get_them() -> None:
    x = gz.tensor(X.copy(), requires_grad=True)
    run = gz.bptt.unroll(CELLS["RNNCell"](), x, lengths=[6, 2, 0])
    sum(run["h"][1:], run["h"][0]).sum().backward()
    assert (x.grad[2:, 1] == 0).all()
    assert (x.grad[:2, 1] != 0).all()


def test_results_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    run = gz.bptt.unroll(CELLS["LSTMCell"](), X)
    assert "states.h  float64 (6, 3, 4)" in repr(run)
    run.to_npz(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as saved:
        np.testing.assert_array_equal(saved["gates.f"], run.gates["f"])
        assert set(saved) == {"states.h", "states.c", "gates.o", "gates.i", "gates.f", "gates.g"}
    assert len(run.plot().lines) == 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), np.zeros((0, B, F))), ArgumentError, "no step to unroll"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, lengths=[1, 2, 7]), ShapeError, "from 0 to 6"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, lengths=[1, 2]), ShapeError, "2 sequences"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, lengths=[1.0, 2.0, 3.0]), ShapeError, "an integer"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, reset=np.zeros((T, B))), ShapeError, "booleans"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, reset=np.zeros((T, 2), bool)), ShapeError, "2 sequences"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, reset=np.zeros(T - 1, bool)), ShapeError, "reset does not fit"),
        (
            lambda: gz.bptt.unroll(CELLS["RNNCell"](), X, lengths=[6, 6, 6], reset=np.zeros((T, 2), bool)),
            ShapeError,
            "reset does not fit",
        ),
        (lambda: gz.bptt.unroll(gz.LSTM(F, H), X), ArgumentError, "gz.LSTM, of whole sequences"),
        (lambda: gz.bptt.tbptt(gz.GRU(F, H), X, X, 1), ArgumentError, "use gz.RNNCell"),
        (lambda: gz.bptt.unroll(None, X), ArgumentError, "no cell"),
        (lambda: gz.bptt.unroll(lambda x, h: (h, x, h), X, X[0]), ArgumentError, "neither its state nor"),
        (lambda: gz.bptt.unroll(lambda x, h: h.numpy(), X, X[0]), ArgumentError, "neither its state nor"),
        (lambda: gz.bptt.unroll(lambda x, s: (gz.tensor(x), gz.tensor(x)), X), ArgumentError, "pass the initial state"),
        (lambda: gz.bptt.unroll(lambda x, h: h, X, np.arange(3)), UnsupportedError, "floating-point"),
        (lambda: gz.bptt.unroll(CELLS["RNNCell"](), X)["c"], ArgumentError, "expected: h"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
