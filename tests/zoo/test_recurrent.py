"""The recurrent cells: what they all have in common, and Elman's network.

Expected values come from central differences (gz.check, float64), from PyTorch, from `expand`, and from closed forms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz

F, H, N = 5, 3, 4  # features, hidden size, batch: all different, so that no transposition goes unnoticed

CELLS = {
    "RNNCell": lambda **options: gz.RNNCell(F, H, **options),
    "RNNCell relu": lambda **options: gz.RNNCell(F, H, nonlinearity="relu", **options),
    "SimpleRNNCell": lambda **options: gz.SimpleRNNCell(F, H, 2, **options),
    "SimpleRNNCell old": lambda **options: gz.SimpleRNNCell(F, H, 2, readout="old", **options),
    "LSTMCell": lambda **options: gz.LSTMCell(F, H, **options),
    "GRUCell": lambda **options: gz.GRUCell(F, H, **options),
    "GRUCell reset_after": lambda **options: gz.GRUCell(F, H, reset_after=True, **options),
}
TORCH = ["RNNCell", "RNNCell relu", "LSTMCell", "GRUCell reset_after"]

every_cell = pytest.mark.parametrize("kind", CELLS)


def cell_of(kind: str, dtype: Any = np.float64, rng: int = 0, **options: Any) -> Any:
    return CELLS[kind](rng=rng, **options).astype(dtype)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def step(cell: Any, x: Any, *state: Any) -> tuple[gz.Tensor, ...]:
    """One step with the states as flat arguments; all outputs."""
    if not state:
        out = cell(x)
    else:
        out = cell(x, tuple(state) if isinstance(cell, gz.LSTMCell) else state[0])
    return out if isinstance(out, tuple) else (out,)


def carried(cell: Any, outputs: tuple[gz.Tensor, ...]) -> tuple[gz.Tensor, ...]:
    """What of a step's outputs the next step takes."""
    return outputs[1:] if isinstance(cell, gz.SimpleRNNCell) else outputs


def states(cell: Any, *shape: int) -> list[np.ndarray]:
    count = 2 if isinstance(cell, gz.LSTMCell) else 1
    return [normal(*(shape or (N, H)), seed=7 + i) for i in range(count)]


def unroll(cell: Any, xs: Any, *state: Any) -> tuple[gz.Tensor, ...]:
    """All outputs of all steps."""
    found: list[gz.Tensor] = []
    for x in xs:
        outputs = step(cell, x, *state)
        state = carried(cell, outputs)
        found += outputs
    return tuple(found)


class Unrolled(gz.Module):
    """A loop of three steps over one cell, as a model, so that gz.check varies the parameters as well."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def forward(self, x: Any, *state: Any) -> tuple[gz.Tensor, ...]:
        return unroll(self.cell, [x[0], x[1], x[2]], *state)


# Gradients -----------------------------------------------------------------------------------------------------------


@every_cell
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_definition_and_second_order_of_a_loop(kind: str, bias: bool) -> None:
    cell = cell_of(kind, bias=bias)
    gz.check(Unrolled(cell), (normal(3, N, F), *states(cell)))


@every_cell
def test_unbatched_step(kind: str) -> None:
    cell = cell_of(kind)
    state = states(cell, H)
    x = normal(F)
    alone = step(cell, x, *state)
    batch = step(cell, x[None], *[s[None] for s in state])
    for one, many in zip(alone, batch, strict=True):
        assert one.shape == many.shape[1:]
        np.testing.assert_allclose(one.data, many.data[0], rtol=1e-12)
    gz.check(lambda *arguments: step(cell, *arguments), (x, *state))


@every_cell
def test_empty_batch(kind: str) -> None:
    cell = cell_of(kind, np.float32)
    x = gz.tensor(np.zeros((0, F), np.float32), requires_grad=True)
    outputs = unroll(cell, [x, x])
    assert all(output.shape[0] == 0 for output in outputs)
    sum(output.sum() for output in outputs).backward()
    assert x.grad.shape == (0, F)
    for parameter in cell.parameters():
        np.testing.assert_array_equal(parameter.grad, np.zeros(parameter.shape))


@every_cell
def test_frozen_parameters_and_constant_inputs(kind: str) -> None:
    cell, state = cell_of(kind), None
    x = gz.tensor(normal(N, F), requires_grad=True)
    state = [gz.tensor(s, requires_grad=True) for s in states(cell)]
    sum((o * o).sum() for o in unroll(cell, [x, x], *state)).backward()
    expected = [x.grad, *[s.grad for s in state]], [p.grad for p in cell.parameters()]

    cell.zero_grad()
    cell.requires_grad_(False)
    x.grad, state[0].grad = None, None
    sum((o * o).sum() for o in unroll(cell, [x, x], *state)).backward()
    np.testing.assert_allclose(x.grad, expected[0][0], rtol=1e-12)
    np.testing.assert_allclose(state[0].grad, expected[0][1], rtol=1e-12)
    assert all(p.grad is None for p in cell.parameters())

    cell.requires_grad_(True)  # now the parameters alone: the backward pass of the first step is never asked for
    sum((o * o).sum() for o in unroll(cell, [x.data, x.data], *[s.data for s in state])).backward()
    for parameter, gradient in zip(cell.parameters(), expected[1], strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-12)


@every_cell
def test_one_parameter_frozen_of_several(kind: str) -> None:
    cell = cell_of(kind)
    cell.weight_hh.requires_grad = False
    sum(o.sum() for o in unroll(cell, normal(3, N, F))).backward()
    assert cell.weight_hh.grad is None
    assert np.abs(cell.weight_ih.grad).max() > 0


@every_cell
def test_stacked_parameter_pass_is_the_sum_of_the_uses(kind: str) -> None:
    cell = cell_of(kind)
    xs = normal(6, N, F)

    def loss() -> gz.Tensor:
        weights = np.random.default_rng(3)
        return sum((o * weights.normal(size=o.shape)).sum() for o in unroll(cell, xs, *states(cell)))

    loss().backward()
    stacked = {name: p.grad.copy() for name, p in cell.named_parameters()}
    cell.zero_grad()
    loss().backward(stack_bytes=0)
    for name, parameter in cell.named_parameters():
        np.testing.assert_allclose(stacked[name], parameter.grad, rtol=1e-10, atol=1e-13)
    cell.zero_grad()
    loss().backward(stack_bytes=2000)  # a few steps at a time
    for name, parameter in cell.named_parameters():
        np.testing.assert_allclose(stacked[name], parameter.grad, rtol=1e-10, atol=1e-13)
    for name, uses in gz.contributions(loss(), cell).items():
        assert [use.t for use in uses] == list(range(6))
        total = sum(use.gradient for use in uses)
        np.testing.assert_allclose(total, stacked[name], rtol=1e-10, atol=1e-13)


@every_cell
def test_backward_twice_through_a_retained_graph(kind: str) -> None:
    cell = cell_of(kind)
    x = gz.tensor(normal(N, F), requires_grad=True)
    loss = sum((o * o).sum() for o in unroll(cell, [x, x, x], *states(cell)))
    loss.backward(retain_graph=True)
    first = [x.grad.copy(), *[p.grad.copy() for p in cell.parameters()]]
    x.grad = None
    cell.zero_grad()
    loss.backward()
    for one, two in zip(first, [x.grad, *[p.grad for p in cell.parameters()]], strict=True):
        np.testing.assert_array_equal(one, two)


@every_cell
@pytest.mark.parametrize("left", ["bias_ih", "bias_hh"])
def test_one_bias_of_two(kind: str, left: str) -> None:
    """Any bias may be set to None; the other one still counts, for itself and for derivatives of derivatives."""
    cell, zeroed = cell_of(kind), cell_of(kind)
    if isinstance(cell, gz.SimpleRNNCell):
        left = "bias"
    setattr(cell, left, None)
    getattr(zeroed, left).data = np.zeros(getattr(zeroed, left).shape)
    for one, other in zip(unroll(cell, normal(3, N, F)), unroll(zeroed, normal(3, N, F)), strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)
    gz.check(lambda *arguments: step(cell, *arguments), (normal(N, F), *states(cell)))


@every_cell
def test_computed_weights_get_gradients(kind: str) -> None:
    cell = cell_of(kind)
    factor = gz.tensor(np.float64(1.5), requires_grad=True)
    original = cell.weight_hh.data.copy()
    xs = normal(3, N, F)

    def loss(scale: Any) -> gz.Tensor:
        cell.weight_hh = scale * gz.tensor(original)
        return sum((o * o).sum() for o in unroll(cell, xs, *states(cell)))

    loss(factor).backward()
    numeric = (loss(gz.tensor(1.5 + 1e-6, np.float64)).item() - loss(gz.tensor(1.5 - 1e-6, np.float64)).item()) / 2e-6
    np.testing.assert_allclose(factor.grad, numeric, rtol=1e-6)


# Recording -----------------------------------------------------------------------------------------------------------


@every_cell
def test_without_graph_the_same_values(kind: str) -> None:
    cell = cell_of(kind, np.float32)
    xs = normal(4, N, F, dtype=np.float32)
    recorded = unroll(cell, xs)
    with gz.no_grad():
        plain = unroll(cell, xs)
    for one, other in zip(recorded, plain, strict=True):
        assert one.requires_grad
        assert not other.requires_grad
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one.data, other.data)


@every_cell
def test_time_steps(kind: str) -> None:
    cell = cell_of(kind)
    outputs = unroll(cell, normal(3, N, F))
    per_step = len(outputs) // 3
    assert [o.node.t for o in outputs[::per_step]] == [0, 1, 2]
    state = carried(cell, outputs[-per_step:])
    assert step(cell, normal(N, F), *[s * 0.5 for s in state])[0].node.t == 3  # through another operation
    assert step(cell, normal(2, F), *[s[:2] for s in state])[0].node.t == 3
    assert step(cell, normal(N, F), *gz.detach_state(state))[0].node.t == 0
    assert step(cell_of(kind), normal(N, F), *state)[0].node.t == 0  # another cell counts for itself
    with gz.time_step(17):
        assert step(cell, normal(N, F), *state)[0].node.t == 17
    with gz.scope("decoder"):
        node = step(cell, normal(N, F), *state)[0].node
    assert (node.scope[-1].name, node.t) == ("decoder", 3)


@every_cell
def test_weights_are_packed_once_a_sequence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of(kind)
    made = []
    original = type(cell).make_pack

    def counted(self: Any) -> Any:
        make = original.__get__(self) if isinstance(original, property) else original
        return lambda *arguments: made.append(1) or make(*arguments)

    monkeypatch.setattr(type(cell), "make_pack", property(counted))
    unroll(cell, normal(5, N, F))
    assert len(made) == 1
    unroll(cell, normal(5, N, F))
    assert len(made) == 2


@every_cell
@pytest.mark.parametrize("write", ["in place", "assigned", "new parameter"])
def test_weights_that_change_in_the_middle_of_a_sequence(kind: str, write: str) -> None:
    """The earlier step's gradients are those for the old weights, the later step's those for the new ones."""
    xs = normal(2, N, F)
    changed, first, second = cell_of(kind), cell_of(kind), cell_of(kind)
    for parameter in second.parameters():
        parameter.data = parameter.data * 1.3 + 0.1

    x = gz.tensor(xs[0], requires_grad=True)
    outputs = step(changed, x, *states(changed))
    for (name, parameter), new in zip(list(changed.named_parameters()), second.parameters(), strict=True):
        if write == "in place":
            parameter.data[...] = new.data
            parameter.mark_written("a test")
        elif write == "assigned":
            parameter.data = new.data.copy()
        else:
            setattr(changed, name, gz.Parameter(new.data, np.float64))
    outputs2 = step(changed, xs[1], *carried(changed, outputs))
    sum((o * o).sum() for o in outputs + outputs2).backward()

    y = gz.tensor(xs[0], requires_grad=True)
    expected = step(first, y, *states(first))
    expected2 = step(second, xs[1], *carried(second, expected))
    sum((o * o).sum() for o in expected + expected2).backward()
    for one, other in zip(outputs + outputs2, expected + expected2, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)
    np.testing.assert_allclose(x.grad, y.grad, rtol=1e-12)
    for name, parameter in changed.named_parameters():
        one, two = getattr(first, name).grad, getattr(second, name).grad
        np.testing.assert_allclose(parameter.grad, two if write == "new parameter" else one + two, rtol=1e-11)


@every_cell
def test_nothing_is_kept_on_the_cell_and_no_cycles(kind: str, no_cycles: None) -> None:
    cell = cell_of(kind)
    before = dict(vars(cell))
    with gz.Tape() as tape:
        loss = sum(o.sum() for o in unroll(cell, normal(4, N, F)))
    loss.backward()
    del loss
    assert tape.live_nodes == 0
    assert vars(cell) == before


def test_memory_of_a_step() -> None:
    """[h; 1; x], the gates, and what changes hands anyway (c of the last step and of this one)."""
    cell = gz.LSTMCell(F, H, rng=0)
    with gz.Tape() as tape:
        outputs = unroll(cell, normal(50, N, F, dtype=np.float32))
    numbers = 50 * N * (F + 1 + H + 4 * H + H) + N * H
    assert tape.bytes_held == 4 * numbers
    del outputs


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TORCH)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity_with_torch(kind: str, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    options = {"nonlinearity": "relu"} if "relu" in kind else {}
    theirs = getattr(torch.nn, kind.split()[0])(F, H, **options, dtype=getattr(torch, np.dtype(dtype).name))
    ours = cell_of(kind, dtype)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    arrays = [normal(6, N, F, dtype=dtype), *[s.astype(dtype) for s in states(ours)]]
    mine = [gz.tensor(a, requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    readout = normal(6, N, H, seed=1, dtype=dtype)

    state: Any = tuple(peers[1:]) if kind == "LSTMCell" else peers[1]
    loss = 0
    for x, weight in zip(peers[0], readout, strict=True):
        state = theirs(x, state)
        loss = loss + ((state[0] if kind == "LSTMCell" else state) * torch.tensor(weight)).sum()
    loss.backward()
    outputs = unroll(ours, [mine[0][t] for t in range(6)], *mine[1:])
    total = sum((o * w).sum() for o, w in zip(outputs[:: len(outputs) // 6], readout, strict=True))
    total.backward()

    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
    last = state[0] if kind == "LSTMCell" else state
    np.testing.assert_allclose(outputs[-len(states(ours))].data, last.detach().numpy(), **tolerance)
    for own, their in zip(mine, peers, strict=True):
        np.testing.assert_allclose(own.grad, their.grad.numpy(), **tolerance)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(getattr(ours, name).grad, parameter.grad.numpy(), **tolerance)


def test_simple_rnn_is_what_the_document_says() -> None:
    for readout in ("new", "old"):
        cell = gz.SimpleRNNCell(F, H, 2, bias=False, readout=readout, rng=0).astype(np.float64)
        x, h = normal(N, F), normal(N, H, seed=1)
        o, new = cell(x, h)
        w, u, v = cell.weight_hh.data, cell.weight_ih.data, cell.weight_ho.data
        expected = np.tanh(h @ w.T + x @ u.T)
        np.testing.assert_allclose(new.data, expected, rtol=1e-12)
        np.testing.assert_allclose(o.data, (expected if readout == "new" else h) @ v.T, rtol=1e-12)


@pytest.mark.parametrize("readout", ["new", "old"])
def test_errata_1_and_2_simple_rnn_parameter_pass(readout: str) -> None:
    """The sums as printed are not the gradient; with the right time step, and h in dL/dV, they are."""
    steps = 4
    cell = gz.SimpleRNNCell(H, H, H, readout=readout, rng=0).astype(np.float64)  # square: all that is printed conforms
    xs, do = normal(steps, H), normal(steps, H, seed=1)
    hs: list[gz.Tensor] = [gz.tensor(normal(H, seed=2), requires_grad=True)]
    loss: Any = 0
    for x, weight in zip(xs, do, strict=True):
        o, h = cell(x, hs[-1])
        h.retain_grad()
        hs.append(h)
        loss = loss + (o * weight).sum()
    loss.backward()
    h = [s.data for s in hs]
    dh = [np.zeros(H) if s.grad is None else s.grad for s in hs]
    if readout == "new":
        dh[-1] = do[-1] @ cell.weight_ho.data  # the engine's share from o does not pass h; the whole gradient does
        for t in range(steps - 1, 0, -1):
            dh[t] = do[t - 1] @ cell.weight_ho.data + (dh[t + 1] * (1 - h[t + 1] ** 2)) @ cell.weight_hh.data
    right = sum(np.outer(dh[t + 1] * (1 - h[t + 1] ** 2), h[t]) for t in range(steps))
    printed = sum(np.outer(dh[t] * (1 - h[t] ** 2), h[t]) for t in range(steps))
    np.testing.assert_allclose(cell.weight_hh.grad, right, rtol=1e-9, atol=1e-12)
    assert np.abs(printed - right).max() > 1e-3
    right = sum(np.outer(dh[t + 1] * (1 - h[t + 1] ** 2), xs[t]) for t in range(steps))
    printed = sum(np.outer(dh[t] * (1 - h[t] ** 2), xs[t]) for t in range(steps))
    np.testing.assert_allclose(cell.weight_ih.grad, right, rtol=1e-9, atol=1e-12)
    assert np.abs(printed - right).max() > 1e-3
    right = sum(np.outer(do[t], h[t + 1] if readout == "new" else h[t]) for t in range(steps))
    printed = sum(np.outer(do[t], xs[t]) for t in range(steps))
    np.testing.assert_allclose(cell.weight_ho.grad, right, rtol=1e-9, atol=1e-12)
    assert np.abs(printed - right).max() > 1e-3


@pytest.mark.parametrize("only", [0, 1])
@pytest.mark.parametrize("readout", ["new", "old"])
def test_simple_rnn_with_a_gradient_at_one_output(only: int, readout: str) -> None:
    cell = gz.SimpleRNNCell(F, H, 2, readout=readout, rng=0)
    gz.check(Only(cell, only), (normal(N, F), normal(N, H, seed=1)))


class Only(gz.Module):
    """One of a cell's outputs after two steps."""

    def __init__(self, cell: Any, output: int) -> None:
        self.cell = cell
        self.output = output

    def forward(self, x: Any, *state: Any) -> gz.Tensor:
        outputs = step(self.cell, x, *state)
        return step(self.cell, x, *carried(self.cell, outputs))[self.output]


@every_cell
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_inputs(kind: str, dtype: Any) -> None:
    cell = cell_of(kind, dtype)
    for sign in (1, -1):
        x = gz.tensor(np.full((N, F), sign * 1e4, dtype), requires_grad=True)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            outputs = unroll(cell, [x, x])
            sum(o.sum() for o in outputs).backward()
        for array in (x.grad, *[o.data for o in outputs], *[p.grad for p in cell.parameters()]):
            assert array.dtype == dtype
            assert np.isfinite(array).all()


@every_cell
def test_dtypes(kind: str) -> None:
    cell = cell_of(kind, np.float32)
    assert unroll(cell, normal(2, N, F, dtype=np.float32))[-1].dtype == np.float32
    wide = unroll(cell, normal(2, N, F))
    assert wide[-1].dtype == np.float64  # NumPy's promotion
    sum(o.sum() for o in wide).backward()
    assert all(p.grad.dtype == np.float32 for p in cell.parameters())


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(CELLS)), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**16))
def test_the_batch_is_a_set_of_independent_sequences(kind: str, steps: int, batch: int, seed: int) -> None:
    cell = cell_of(kind, rng=seed)
    xs = normal(steps, batch, F, seed=seed)
    together = unroll(cell, xs)
    order = np.random.default_rng(seed).permutation(batch)
    shuffled = unroll(cell, xs[:, order])
    for one, other in zip(together, shuffled, strict=True):
        np.testing.assert_allclose(one.data[order], other.data, rtol=1e-10, atol=1e-13)


# Errors --------------------------------------------------------------------------------------------------------------


@every_cell
def test_inputs_that_do_not_fit(kind: str) -> None:
    cell = cell_of(kind, np.float32)
    with pytest.raises(gz.ShapeError, match=r"(?s)input.*float32 \(4, 6\).*input_size=5"):
        cell(np.zeros((4, 6), np.float32))
    with pytest.raises(gz.ShapeError, match=r"(?s)\(7, 4, 5\).*one time step at a time"):
        cell(np.zeros((7, 4, 5), np.float32))
    for shape in [(4, 5), (3, 3), (3,), (1, 3)]:
        state = [np.zeros(shape, np.float32)] * len(states(cell))
        with pytest.raises(gz.ShapeError, match=r"(?s)state that does not fit.*\(4, 3\).*hidden_size=3"):
            step(cell, np.zeros((4, 5), np.float32), *state)


def test_arguments_that_are_impossible() -> None:
    for make in (gz.RNNCell, gz.LSTMCell, gz.GRUCell):
        with pytest.raises(gz.ArgumentError, match=r"hidden_size must be positive"):
            make(3, 0)
        with pytest.raises(gz.ArgumentError, match=r"input_size must be positive"):
            make(-1, 2)
    with pytest.raises(gz.ArgumentError, match=r"(?s)unknown nonlinearity.*'tanh' or 'relu'"):
        gz.RNNCell(3, 2, nonlinearity="sigmoid")
    with pytest.raises(gz.ArgumentError, match=r"(?s)unknown readout.*'new' or 'old'"):
        gz.SimpleRNNCell(3, 2, 1, readout="both")
    with pytest.raises(gz.ArgumentError, match=r"output_size must be positive"):
        gz.SimpleRNNCell(3, 2, 0)


def test_seeds_and_reprs() -> None:
    one, two, other = gz.LSTMCell(3, 4, rng=0), gz.LSTMCell(3, 4, rng=0), gz.LSTMCell(3, 4, rng=1)
    np.testing.assert_array_equal(one.weight_ih.data, two.weight_ih.data)
    assert not np.array_equal(one.weight_ih.data, other.weight_ih.data)
    assert np.abs(one.weight_hh.data).max() <= 0.5
    assert repr(gz.RNNCell(3, 4, bias=False, nonlinearity="relu")) == "RNNCell(3, 4, bias=False, nonlinearity='relu')"
    assert repr(gz.SimpleRNNCell(3, 4, 2, readout="old")) == "SimpleRNNCell(3, 4, 2, readout='old')"
    assert repr(gz.GRUCell(3, 4, reset_after=True)) == "GRUCell(3, 4, reset_after=True)"
