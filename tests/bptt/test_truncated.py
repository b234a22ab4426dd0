"""Truncated backpropagation against loops with cuts, real-time recurrent learning, clipping."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.errors import ArgumentError
from tests.bptt.models import CELLS, B, F, H, T, state_for

rng = np.random.default_rng(0)
X = rng.normal(size=(T, B, F))
Y = rng.normal(size=(T, B, 2))
STEPS = 11
LONG_X, LONG_Y = rng.normal(size=(STEPS, B, F)), rng.normal(size=(STEPS, B, 2))
every_cell = pytest.mark.parametrize("kind", CELLS)


def read_out(kind: str) -> Any:
    return None if kind.startswith(("SimpleRNNCell", "Stacked")) else gz.Linear(H, 2, rng=7).astype(np.float64)


def squared_error(output: Any, target: Any) -> Any:
    return ((output - target) ** 2).sum()


def parts_of(kind: str) -> tuple[Any, Any, Any]:
    return CELLS[kind]().astype(np.float64), read_out(kind), state_for(kind, np.random.default_rng(1))


def loop(cell: Any, readout: Any, x: Any, y: Any, state: Any) -> tuple[list[Any], list[Any]]:
    """Losses and states of a plain loop."""
    losses, states = [], []
    for x_t, y_t in zip(x, y, strict=True):
        result = cell(x_t, state)
        whole = isinstance(cell, gz.LSTMCell) or isinstance(result, gz.Tensor)
        output, state = (result, result) if whole else result
        output = output[0] if isinstance(output, tuple) else output
        losses.append(squared_error(output if readout is None else readout(output), y_t))
        states.append(state)
    return losses, states


def gradients_of(cell: Any, readout: Any) -> dict[str, np.ndarray]:
    named = dict(cell.named_parameters())
    if readout is not None:
        named |= {f"readout.{name}": p for name, p in readout.named_parameters()}
    return {name: np.zeros(p.shape) if p.grad is None else p.grad.copy() for name, p in named.items()}


def full_gradient(kind: str, x: Any, y: Any) -> dict[str, np.ndarray]:
    cell, readout, state = parts_of(kind)
    losses, _ = loop(cell, readout, x, y, state)
    sum(losses[1:], losses[0]).backward()
    return gradients_of(cell, readout)


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(got[name], gradient, rtol=1e-10, atol=1e-12, err_msg=name)


def summed(windows: list[Any]) -> dict[str, np.ndarray]:
    return {name: sum(w.gradients[name] for w in windows) for name in windows[0].gradients}


@every_cell
@pytest.mark.parametrize("mode", ["truncated", "chunked"])
def test_one_window_over_all_is_the_full_gradient(kind: str, mode: str) -> None:
    cell, readout, state = parts_of(kind)
    (window,) = gz.bptt.tbptt(cell, X, Y, T, T, mode, loss=squared_error, readout=readout, state=state)
    assert_same(window.gradients, full_gradient(kind, X, Y))
    assert (window.begin, window.start, window.stop) == (0, 0, T)
    losses, states = loop(cell, readout, X, Y, state)
    assert window.loss == pytest.approx(sum(loss.item() for loss in losses), rel=1e-12)
    ends = states[-1] if isinstance(states[-1], tuple) else (states[-1],)
    found = window.state if isinstance(window.state, tuple) else (window.state,)
    for got, expected in zip(found, ends, strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)
        assert not got.requires_grad


@every_cell
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 3), (2, 5), (3, 3), (3, 4), (4, 20)])
def test_windows_are_those_of_a_loop_that_is_cut(kind: str, k1: int, k2: int) -> None:
    """Without updates: each window is a loop from the state k2 steps before its end, with its own losses."""
    cell, readout, state = parts_of(kind)
    windows = list(gz.bptt.tbptt(cell, LONG_X, LONG_Y, k1, k2, loss=squared_error, readout=readout, state=state))
    assert [w.start for w in windows] == list(range(0, STEPS, k1))
    with gz.no_grad():
        _, states = loop(cell, readout, LONG_X, LONG_Y, state)
    for window in windows:
        stop = min(window.start + k1, STEPS)
        begin = max(stop - k2, 0)
        assert (window.begin, window.stop) == (begin, stop)
        for p in (*cell.parameters(), *(readout.parameters() if readout is not None else ())):
            p.grad = None
        losses, _ = loop(cell, readout, LONG_X[begin:stop], LONG_Y[begin:stop], states[begin - 1] if begin else state)
        own = losses[window.start - begin :]
        sum(own[1:], own[0]).backward()
        assert_same(window.gradients, gradients_of(cell, readout))


@pytest.mark.parametrize(("k1", "k2"), [(1, 4), (2, 3), (2, 2), (3, 5)])
def test_with_an_optimiser_between_windows(k1: int, k2: int) -> None:
    """Against PyTorch: each window anew from the kept state, with the parameters as they are now."""
    torch = pytest.importorskip("torch")
    cell = gz.LSTMCell(F, 2, rng=1).astype(np.float64)
    peer = torch.nn.LSTMCell(F, 2).double()
    peer.load_state_dict({name: torch.tensor(value) for name, value in cell.state_dict().items()})
    optimizer = gz.optim.SGD(cell.parameters(), lr=0.3, momentum=0.9)
    peers = torch.optim.SGD(peer.parameters(), lr=0.3, momentum=0.9)
    kept = {0: (torch.zeros(B, 2).double(), torch.zeros(B, 2).double())}
    count = 0
    for window in gz.bptt.tbptt(cell, LONG_X, LONG_Y, k1, k2, loss=squared_error):
        start = count * k1
        stop = min(start + k1, STEPS)
        begin = max(stop - k2, 0)
        state, total = kept[begin], 0.0
        for t in range(begin, stop):
            state = peer(torch.tensor(LONG_X[t]), state)
            kept[t + 1] = tuple(part.detach() for part in state)
            if t >= start:
                total = total + ((state[0] - torch.tensor(LONG_Y[t])) ** 2).sum()
        peers.zero_grad()
        total.backward()
        assert window.loss == pytest.approx(total.item(), rel=1e-10)
        for name, p in peer.named_parameters():
            np.testing.assert_allclose(window.gradients[name], p.grad.numpy(), rtol=1e-8, atol=1e-11)
        optimizer.step()
        peers.step()
        count += 1
    assert count == -(-STEPS // k1)
    for name, p in peer.named_parameters():
        np.testing.assert_allclose(dict(cell.named_parameters())[name].data, p.detach().numpy(), rtol=1e-8)


def test_the_forum_case() -> None:
    """x_t = w·x_{t−1}, each x_t is a loss, k1 = 1 and k2 = 3: the third gradient is 3 w² x_0 = 0.108."""
    w, x0 = 0.2, 0.9
    weight = gz.tensor(np.array(w), requires_grad=True)
    options: Any = {"parameters": {"w": weight}, "state": np.array(x0), "loss": lambda x, y: x * y}
    windows = list(gz.bptt.tbptt(lambda _, x: weight * x, np.zeros(5), np.ones(5), 1, 3, **options))
    expected = [x0, 2 * w * x0, 0.108, 3 * w**3 * x0, 3 * w**4 * x0]
    np.testing.assert_allclose([window.gradients["w"] for window in windows], expected, rtol=1e-14)


def test_the_forums_recipe_is_wrong() -> None:
    """What circulates (discuss.pytorch.org 15500): states keep the `.grad` of earlier windows, which is sent back once
    more with that of the present one, and 0.288 comes out for 0.108."""
    torch = pytest.importorskip("torch")
    w = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    states = [(None, torch.tensor(0.9, dtype=torch.float64))]
    for _ in range(3):
        leaf = states[-1][1].detach().requires_grad_()
        states.append((leaf, w * leaf))
        w.grad = None
        states[-1][1].backward(retain_graph=True)
        for (_, before), (after, _) in reversed(list(itertools.pairwise(states[1:]))):
            before.backward(after.grad, retain_graph=True)
    assert w.grad.item() == pytest.approx(0.288, rel=1e-14)


def test_randomised_windows_are_unbiased() -> None:
    """The mean over many runs is the full gradient within its standard error, in every component."""
    kind, runs = "GRUCell", 3000
    cell, readout, _ = parts_of(kind)
    x, y = X[:, :1], Y[:, :1]
    state = state_for(kind, np.random.default_rng(1), batch=1)
    draw = np.random.default_rng(12)
    losses, _ = loop(cell, readout, x, y, state)
    sum(losses[1:], losses[0]).backward()
    full = np.concatenate([g.ravel() for g in gradients_of(cell, readout).values()])
    totals = np.empty((runs, full.size))
    lengths = []
    for run in range(runs):
        windows = list(
            gz.bptt.tbptt(cell, x, y, 3, mode="randomised", loss=squared_error, readout=readout, state=state, rng=draw)
        )
        assert [w.begin for w in windows[1:]] == [w.stop for w in windows[:-1]]
        lengths += [w.stop - w.start for w in windows[:-1]]
        totals[run] = np.concatenate([g.ravel() for g in summed(windows).values()])
    error = totals.std(axis=0) / np.sqrt(runs)
    varying = error > 1e-12
    assert varying.mean() > 0.5
    np.testing.assert_allclose(totals.mean(axis=0)[~varying], full[~varying], rtol=1e-9, atol=1e-12)
    scores = (totals.mean(axis=0) - full)[varying] / error[varying]
    assert np.abs(scores).max() < 4.5
    # The truncated estimate of the same mean length is biased, and the test would see it.
    chunked = summed(
        list(gz.bptt.tbptt(cell, x, y, 3, mode="chunked", loss=squared_error, readout=readout, state=state))
    )
    bias = np.concatenate([g.ravel() for g in chunked.values()]) - full
    assert np.abs(bias[varying] / error[varying]).max() > 6


def endless() -> Iterator[Any]:
    draw = np.random.default_rng(3)
    while True:
        yield draw.normal(size=(2, F))


@pytest.mark.parametrize(("k1", "k2", "mode"), [(5, 5, "chunked"), (2, 6, "truncated"), (1, 4, "truncated")])
def test_an_endless_stream_in_constant_memory(k1: int, k2: int, mode: str) -> None:
    cell = gz.LSTMCell(F, H, rng=0)
    optimizer = gz.optim.SGD(cell.parameters(), lr=0.01)
    windows = gz.bptt.tbptt(
        cell, endless(), (np.zeros((2, H)) for _ in itertools.count()), k1, k2, mode, loss=squared_error
    )
    live = []
    for window in itertools.islice(windows, 300):
        optimizer.step()
        live.append(window.live_nodes)
    assert len(set(live[k2:])) == 1
    assert live[-1] < 6 * k2
    assert window.stop == 300 * k1


def test_nothing_is_left_behind(no_cycles: None) -> None:
    for mode, k2 in (("truncated", 4), ("randomised", None)):
        windows = gz.bptt.tbptt(gz.GRUCell(F, 2, rng=0), LONG_X, LONG_Y, 2, k2, mode, rng=0)
        with gz.Tape() as tape:
            for _ in windows:
                assert tape.live_nodes == 0
    del windows


def test_a_graph_that_somebody_keeps_is_counted() -> None:
    cell = gz.GRUCell(F, 2, rng=0)
    kept = []

    def leaking(output: Any, target: Any) -> Any:
        kept.append(squared_error(output, target))
        return kept[-1]

    live = [w.live_nodes for w in gz.bptt.tbptt(cell, LONG_X, LONG_Y, 2, loss=leaking)]
    assert live == sorted(live)
    assert live[-1] > 3 * live[0]


def test_defaults() -> None:
    """The mean squared error, zero state, parameters of cell and read-out, gradients in place of what was there."""
    cell, readout = gz.GRUCell(F, H, rng=0), gz.Linear(H, 2, rng=1)
    cell.weight_hh.grad = np.ones(cell.weight_hh.shape)
    x, y = X.astype(np.float32), Y.astype(np.float32)
    first = next(gz.bptt.tbptt(cell, x, y, 2, readout=readout))
    assert set(first.gradients) == {*dict(cell.named_parameters()), "readout.weight", "readout.bias"}
    np.testing.assert_array_equal(first.gradients["weight_hh"], cell.weight_hh.grad)
    h1 = cell(x[0])
    h2 = cell(x[1], h1)
    mean = gz.MSELoss()
    for p in cell.parameters():
        p.grad = None
    (mean(readout(h1), y[0]) + mean(readout(h2), y[1])).backward()
    np.testing.assert_allclose(first.gradients["weight_hh"], cell.weight_hh.grad, rtol=1e-5, atol=1e-7)


def test_a_cell_that_makes_its_own_first_state() -> None:
    w = gz.tensor(np.array(0.5), requires_grad=True)

    def cell(x: Any, h: Any) -> Any:
        return w * (1.0 if h is None else h)

    windows = list(gz.bptt.tbptt(cell, np.zeros(4), np.ones(4), 1, 3, loss=lambda x, y: x * y, parameters={"w": w}))
    assert [w.gradients["w"].item() for w in windows] == [1, 2 * 0.5, 3 * 0.25, 3 * 0.125]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: gz.bptt.tbptt(c, X, Y, 0), "1 ≤ k1 ≤ k2"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 3, 2), "losses would get lost"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 2.0), "integers"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 2, 4, "chunked"), "leave k2 out"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 2, 4, "randomised"), "leave k2 out"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 1, mode="randomised"), "k1 ≥ 2"),
        (lambda c: gz.bptt.tbptt(c, X, Y, 1, mode="randomized"), "'randomised'"),
        (lambda c: gz.bptt.tbptt(lambda x, h: h, X, Y, 1), "pass parameters="),
        (lambda c: gz.bptt.tbptt(c, X, Y[1:], 1), "6 inputs, 5 targets"),
        (lambda c: list(gz.bptt.tbptt(c, iter(X), iter(Y[1:, :, :1]), T)), "more inputs than targets"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call(gz.GRUCell(F, H))


# Real-time recurrent learning -----------------------------------------------------------------------------------------


@every_cell
def test_rtrl_is_bptt(kind: str) -> None:
    cell, readout, state = parts_of(kind)

    def losses(t: int, output: Any) -> Any:
        return None if t == 2 else squared_error(output if readout is None else readout(output), Y[t])

    named = dict(cell.named_parameters())
    if readout is not None:
        named |= {f"readout.{name}": p for name, p in readout.named_parameters()}
    found = gz.bptt.rtrl(cell, X, losses, state, parameters=named)
    each, _ = loop(cell, readout, X, Y, state)
    kept = [loss for t, loss in enumerate(each) if t != 2]
    sum(kept[1:], kept[0]).backward()
    assert_same(found.gradients, gradients_of(cell, readout))
    np.testing.assert_allclose(np.delete(found.losses, 2), [loss.item() for loss in kept], rtol=1e-12)
    assert np.isnan(found.losses[2])
    assert found.influence.shape == (T,)


def test_rtrl_of_a_float32_cell_works_on_a_copy() -> None:
    cell = gz.LSTMCell(F, H, rng=0)
    found = gz.bptt.rtrl(cell, X.astype(np.float32), lambda t, h: (h * h).sum())
    run = gz.bptt.unroll(cell, X.astype(np.float32))
    expected = gz.bptt.weight_contributions(run, sum((h * h).sum() for h in run["h"])).total
    assert_same(found.gradients, expected)
    assert found.gradients["weight_ih"].dtype == np.float64
    assert cell.weight_ih.grad is None


def test_rtrl_from_a_stream_and_what_it_refuses() -> None:
    cell = gz.RNNCell(F, 2, rng=0)
    found = gz.bptt.rtrl(cell, itertools.islice(endless(), 30), lambda t, h: h.sum() if t == 29 else None)
    assert found.losses.shape == (30,)
    with pytest.raises(ArgumentError, match="no parameters"):
        gz.bptt.rtrl(lambda x, h: h, X, lambda t, h: None, np.zeros(2))
    with pytest.raises(ArgumentError, match="pass state="):
        gz.bptt.rtrl(lambda x, h: h, X, lambda t, h: None, parameters={"w": cell.weight_hh})
    with pytest.raises(ArgumentError, match="no step"):
        gz.bptt.rtrl(cell, X[:0], lambda t, h: None)


# Clipping -------------------------------------------------------------------------------------------------------------


def test_clip_report_is_what_clipping_does() -> None:
    cell = gz.GRUCell(F, 2, rng=0)
    before, after = [], []
    windows = []
    for window in gz.bptt.tbptt(cell, LONG_X, LONG_Y, 2, loss=squared_error):
        windows.append(window)
        before.append(gz.optim.clip_grad_norm(cell.parameters(), 8.0))
        after.append(np.sqrt(sum((p.grad**2).sum() for p in cell.parameters())))
    report = gz.bptt.clip_report(windows, 8.0)
    np.testing.assert_allclose(report.norms, before, rtol=1e-5)
    np.testing.assert_allclose(report.norms * report.factors, after, rtol=1e-5)
    assert 0 < report.clipped < 1
    assert report.clipped == np.mean(np.array(before) > 8.0)
    assert report.kept == pytest.approx(sum(after) / sum(before), rel=1e-5)
    joint = np.sqrt(sum(norms**2 for norms in report.by_parameter.values()))
    np.testing.assert_allclose(report.norms, joint, rtol=1e-12)


def test_clip_report_refuses() -> None:
    with pytest.raises(ArgumentError, match="no gradients"):
        gz.bptt.clip_report([], 1.0)
    with pytest.raises(ArgumentError, match="a number > 0"):
        gz.bptt.clip_report([{"w": np.ones(2)}], 0)
    assert gz.bptt.clip_report([{"w": np.zeros(2)}], 1.0).kept == 1.0


def test_results_print_save_and_draw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    cell = gz.GRUCell(F, 2, rng=0)
    windows = list(gz.bptt.tbptt(cell, LONG_X, LONG_Y, 2, 4))
    assert "live_nodes" in repr(windows[1])
    windows[1].to_npz(tmp_path / "window.npz")
    with np.load(tmp_path / "window.npz") as saved:
        assert saved["stop"] == 4
    windows[1].plot()
    gz.bptt.clip_report(windows, 1.0).plot()
    gz.bptt.rtrl(cell, X, lambda t, h: h.sum()).plot()
