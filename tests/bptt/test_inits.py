"""Initial values of recurrent cells, against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.bptt import inits
from graphzoo.errors import ArgumentError
from tests.bptt.models import CELLS, F, H

ZOO = [kind for kind in CELLS if kind not in ("Stacked", "Decay")]


def blocks(cell: Any) -> np.ndarray:
    return cell.weight_hh.data.reshape(-1, H, H)


@pytest.mark.parametrize("kind", ZOO)
def test_identity(kind: str) -> None:
    cell = CELLS[kind]()
    before = cell.weight_ih.data.copy()
    assert inits.identity(cell, 0.5) is cell
    for block in blocks(cell):
        np.testing.assert_array_equal(block, 0.5 * np.eye(H))
    assert all((p.data == 0).all() for p in cell.parameters() if p.ndim == 1)
    np.testing.assert_array_equal(cell.weight_ih.data, before)


def test_an_irnn_keeps_its_state() -> None:
    """relu(I h) = h for h ≥ 0: gradients neither vanish nor explode."""
    cell = inits.identity(gz.RNNCell(F, H, nonlinearity="relu", rng=0))
    run = gz.bptt.unroll(cell, np.zeros((30, 2, F)), np.ones((2, H)))
    gradients = gz.bptt.state_gradients(run, run["h"][-1].sum())
    np.testing.assert_array_equal(gradients.total["h"], 1.0)


@pytest.mark.parametrize("kind", ZOO)
def test_orthogonal(kind: str) -> None:
    cell = inits.orthogonal(CELLS[kind](), 1.5, rng=0)
    for block in blocks(cell):
        np.testing.assert_allclose(block @ block.T, 2.25 * np.eye(H), atol=1e-5)
    assert len({block.tobytes() for block in blocks(cell)}) == len(blocks(cell))
    np.testing.assert_array_equal(cell.weight_hh.data, inits.orthogonal(CELLS[kind](), 1.5, rng=0).weight_hh.data)


def test_forget_bias() -> None:
    cell = CELLS["LSTMCell"]()
    before = (cell.bias_ih.data + cell.bias_hh.data).copy()
    inits.forget_bias(cell, 2.0)
    after = cell.bias_ih.data + cell.bias_hh.data
    np.testing.assert_array_equal(after[H : 2 * H], 2.0)
    np.testing.assert_array_equal(np.delete(after, range(H, 2 * H)), np.delete(before, range(H, 2 * H)))


def test_chrono_of_an_lstm() -> None:
    cell = inits.chrono(gz.LSTMCell(F, 500, rng=0), 100, rng=1)
    i, f = (cell.bias_ih.data + cell.bias_hh.data).reshape(4, 500)[:2]
    np.testing.assert_array_equal(i, -f)
    steps = np.exp(f)  # uniform on [1, 99]
    assert 1 <= steps.min() < 3
    assert 96 < steps.max() <= 99.001
    assert steps.mean() == pytest.approx(50, abs=3)


def test_a_run_before_keeps_its_gradients_or_says_so() -> None:
    cell = CELLS["LSTMCell"]().astype(np.float64)
    run = gz.bptt.unroll(cell, np.ones((3, 2, F)))
    expected = gz.bptt.weight_contributions(run, run["h"][-1].sum()).total["weight_hh"]
    inits.orthogonal(cell, rng=0)
    inits.forget_bias(cell)
    np.testing.assert_array_equal(gz.bptt.weight_contributions(run, run["h"][-1].sum()).total["weight_hh"], expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: inits.forget_bias(CELLS["GRUCell"]()), "gz.LSTMCell"),
        (lambda: inits.chrono(CELLS["RNNCell"](), 10), "gz.LSTMCell or gz.GRUCell"),
        (lambda: inits.chrono(CELLS["LSTMCell"](), 2), "steps > 2"),
        (lambda: inits.forget_bias(gz.LSTMCell(F, H, bias=False)), "bias=True"),
        (lambda: inits.identity(gz.Linear(3, 3)), "a recurrent cell"),
        (lambda: inits.orthogonal(None), "a recurrent cell"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()
