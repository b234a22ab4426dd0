"""The tasks: every sequence obeys its rule, baselines are what the best memoryless guess gets."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.bptt import tasks
from graphzoo.errors import ArgumentError

SEQUENTIAL = [tasks.adding, tasks.copy_memory, tasks.temporal_order, tasks.parity, tasks.characters]
GRAMMARS = [tasks.reber, tasks.embedded_reber]
# The grammar as a regular expression: another statement of the same automaton.
REBER = r"B(TS*X(XT*V(PXT*V)*(PS|V)|S)|PT*V(PXT*V)*(PS|V))E"


@pytest.mark.parametrize("task", SEQUENTIAL)
def test_seeds_and_streams(task: Any) -> None:
    one, same, other = task(20, 5, 3), task(20, 5, 3), task(20, 5, 4)
    np.testing.assert_array_equal(one.x, same.x)
    np.testing.assert_array_equal(one.y, same.y)
    assert (one.x != other.x).any()
    stream = np.random.default_rng(3)
    np.testing.assert_array_equal(task(20, 5, stream).x, one.x)
    assert (task(20, 5, stream).x != one.x).any()
    assert one.x.dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(2, 60), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_adding(steps: int, batch: int, seed: int) -> None:
    task = tasks.adding(steps, batch, seed)
    marks = task.x[..., 1]
    assert set(np.unique(marks)) <= {0, 1}
    assert (marks[: steps // 2].sum(axis=0) == 1).all()
    assert (marks[steps // 2 :].sum(axis=0) == 1).all()
    for b in range(batch):
        marked = task.x[marks[:, b] == 1, b, 0]
        assert task.y[b, 0] == pytest.approx(marked.sum())


def test_adding_baseline_is_the_variance_of_the_sum() -> None:
    y = tasks.adding(10, 100_000, 0).y
    assert np.mean((y - 1) ** 2) == pytest.approx(tasks.adding().baseline, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(delay=st.integers(1, 30), length=st.integers(1, 12), symbols=st.integers(1, 9), seed=st.integers(0, 999))
def test_copy_memory(delay: int, length: int, symbols: int, seed: int) -> None:
    task = tasks.copy_memory(delay, 3, seed, length=length, symbols=symbols)
    assert task.x.shape == (delay + 2 * length, 3, symbols + 2)
    shown = task.x.argmax(axis=-1)
    for b in range(3):
        first = shown[:length, b]
        assert ((first >= 1) & (first <= symbols)).all()
        np.testing.assert_array_equal(task.y[-length:, b], first)
        assert (task.y[:-length, b] == 0).all()
        assert np.flatnonzero(shown[:, b] == symbols + 1).tolist() == [len(shown) - length - 1]
        assert (shown[length : len(shown) - length - 1, b] == 0).all()
        assert (shown[len(shown) - length :, b] == 0).all()


def test_copy_memory_baseline_in_the_usual_sizes() -> None:
    assert tasks.copy_memory(100, 1, 0).baseline == pytest.approx(10 * math.log(8) / 120)
    task = tasks.copy_memory(30, 200, 0)
    guess = np.full(10, -np.inf)  # blank for sure, then each symbol alike
    guess[1:9] = math.log(1 / 8)
    loss = -np.where(np.arange(50)[:, None] < 40, 0.0, guess[task.y]).mean()
    assert loss == pytest.approx(task.baseline)


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(10, 60), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_temporal_order(steps: int, batch: int, seed: int) -> None:
    task = tasks.temporal_order(steps, batch, seed)
    shown = task.x.argmax(axis=-1)
    for b in range(batch):
        first, second = np.flatnonzero(shown[:, b] < 2)
        assert steps // 10 <= first < 2 * steps // 10
        assert 4 * steps // 10 <= second < 5 * steps // 10
        assert task.y[b] == 2 * shown[first, b] + shown[second, b]


def test_classes_of_temporal_order_are_alike_often() -> None:
    counts = np.bincount(tasks.temporal_order(10, 40_000, 0).y, minlength=4) / 40_000
    np.testing.assert_allclose(counts, 0.25, atol=0.01)
    assert tasks.temporal_order(10, 1, 0).baseline == pytest.approx(-np.log(0.25))


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 60), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_parity(steps: int, batch: int, seed: int) -> None:
    task = tasks.parity(steps, batch, seed)
    for t in range(steps):
        np.testing.assert_array_equal(task.y[t], task.x[: t + 1, :, 0].sum(axis=0) % 2)
    assert task.baseline == pytest.approx(math.log(2) * (steps - 1) / steps)


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 20), seed=st.integers(0, 9999), embedded=st.booleans())
def test_grammars(batch: int, seed: int, embedded: bool) -> None:
    task = (tasks.embedded_reber if embedded else tasks.reber)(batch, seed)
    pattern = f"B(T{REBER.replace('B(', 'B(?:', 1)}T|P{REBER.replace('B(', 'B(?:', 1)}P)E" if embedded else REBER
    for b, text in enumerate(task.strings):
        assert re.fullmatch(pattern, text)
        length = task.lengths[b]
        assert length == len(text) - 1
        shown = "".join(tasks.SYMBOLS[k] for k in task.x[:length, b].argmax(axis=-1))
        following = "".join(tasks.SYMBOLS[k] for k in task.y[:length, b])
        assert (shown, following) == (text[:-1], text[1:])
        assert (task.x[length:, b] == 0).all()
        assert (task.allowed[length:, b] == 0).all()
        assert (task.allowed[np.arange(length), b, task.y[:length, b]] == 1).all()
        assert set(task.allowed[:length, b].sum(axis=-1)) <= {1, 2}
        if embedded:
            assert np.flatnonzero(task.mask[:, b]).tolist() == [len(text) - 3]
            assert task.y[len(text) - 3, b] == task.y[0, b]
    if embedded:
        assert (task.baseline, task.optimum) == (math.log(2), 0.0)
    else:
        assert 0 < task.optimum < math.log(2) < task.baseline


def test_both_branches_of_the_grammar_are_alike_often() -> None:
    seconds = [text[1] for text in tasks.reber(4000, 0).strings]
    assert 0.46 < seconds.count("T") / 4000 < 0.54


# Text -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(text=st.text(min_size=9, max_size=80), steps=st.integers(1, 8), seed=st.integers(0, 999))
def test_characters(text: str, steps: int, seed: int) -> None:
    task = tasks.characters(steps, 3, seed, text=text)
    assert (task.alphabet, task.answers) == ("".join(sorted(set(text))), len(set(text)))
    assert (task.x.sum(axis=-1) == 1).all()
    for b in range(3):
        shown = "".join(task.alphabet[c] for c in task.x[:, b].argmax(axis=-1))
        following = "".join(task.alphabet[c] for c in task.y[:, b])
        assert shown + following[-1] in text
        assert shown[1:] == following[:-1]


def test_characters_baseline_is_the_loss_of_counted_pairs() -> None:
    text = "the cat sat on the mat and the rat ran"
    pairs = [text[i : i + 2] for i in range(len(text) - 1)]
    firsts = [pair[0] for pair in pairs]
    loss = -sum(math.log(pairs.count(pair) / firsts.count(pair[0])) for pair in pairs) / len(pairs)
    assert tasks.characters(5, 1, 0, text=text).baseline == pytest.approx(loss)


def test_characters_has_a_text_of_its_own_and_refuses_one_too_short() -> None:
    task = tasks.characters(20, 2, 0)
    assert 50 < task.answers < 200
    assert 1.5 < task.baseline < 3  # single letters of English given the one before: Shannon found 3.56 bits, 2.5 nats
    with pytest.raises(ArgumentError, match="the text is too short"):
        tasks.characters(5, 1, 0, text="abcde")


# Influence balancing --------------------------------------------------------------------------------------------------


def test_influence_balancing_tends_to_its_equilibrium() -> None:
    cell = tasks.InfluenceBalancing()
    cell.theta.data[...] = cell.best
    run = gz.bptt.unroll(cell, tasks.influence_balancing(2000).x, cell.start)
    assert run.outputs[-1].item() == pytest.approx(1.0, abs=1e-9)
    shift = 0.5 * (np.eye(23) + np.eye(23, k=1))
    equilibrium = np.linalg.solve(np.eye(23) - shift, cell.best * cell.signs)
    np.testing.assert_allclose(run.states["h"][-1], equilibrium, rtol=1e-7)


def test_early_truncation_has_the_wrong_sign() -> None:
    """The finding of Tallec and Ollivier: short truncation moves away from the optimum, long truncation towards it."""
    cell = tasks.InfluenceBalancing()
    steps = 400
    run = gz.bptt.unroll(cell, np.zeros((steps, 1)), cell.start)
    bias = gz.bptt.truncation_bias(run, 0.5 * (run.outputs[-1] - 1.0) ** 2, [10, 200])
    np.testing.assert_allclose(bias.cosine["theta"], [-1, 1])
    task = tasks.influence_balancing(2000)
    errors = {}
    for k in (10, 400):
        cell = tasks.InfluenceBalancing()
        optimizer = gz.optim.SGD(cell.parameters(), lr=1e-5)
        start = abs(0.0 - cell.best)
        for _ in gz.bptt.tbptt(
            cell, task.x, task.y, k, mode="chunked", state=cell.start, loss=lambda s, y: 0.5 * (s - y) ** 2
        ):
            optimizer.step()
        errors[k] = abs(cell.theta.item() - cell.best) / start
    assert errors[10] > 1
    assert errors[400] < 1


# Use ------------------------------------------------------------------------------------------------------------------


def test_a_task_is_learnt() -> None:
    """The adding problem at T = 8 with an LSTM: well below the baseline of 1/6 after a short training."""
    rng = np.random.default_rng(0)
    cell, readout = gz.LSTMCell(2, 16, rng=rng), gz.Linear(16, 1, rng=rng)
    optimizer = gz.optim.Adam([*cell.parameters(), *readout.parameters()], lr=0.02)
    losses = []
    for _ in range(250):
        task = tasks.adding(8, 32, rng)
        targets = [None] * 7 + [task.y]
        for window in gz.bptt.tbptt(cell, task.x, targets, 8, readout=readout):
            optimizer.step()
            losses.append(window.loss)
    assert np.mean(losses[:5]) > 0.1
    assert np.mean(losses[-20:]) < 0.05


def test_tasks_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    for task in [*[task(20, 3, 0) for task in SEQUENTIAL], *[task(3, 0) for task in GRAMMARS]]:
        assert task.name in repr(task)
        task.plot()
        task.to_npz(tmp_path / "task.npz")
        with np.load(tmp_path / "task.npz") as saved:
            np.testing.assert_array_equal(saved["x"], task.x)


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.adding(1, 3),
        lambda: tasks.adding(10, 0),
        lambda: tasks.copy_memory(0, 3),
        lambda: tasks.copy_memory(3, 3, length=0),
        lambda: tasks.temporal_order(9, 3),
        lambda: tasks.parity(0, 3),
        lambda: tasks.reber(0),
        lambda: tasks.embedded_reber(0),
        lambda: tasks.influence_balancing(0),
        lambda: tasks.InfluenceBalancing(4, 2),
        lambda: tasks.InfluenceBalancing(4, 5),
    ],
)
def test_what_is_refused(call: Any) -> None:
    with pytest.raises(ArgumentError, match="impossible sizes"):
        call()
