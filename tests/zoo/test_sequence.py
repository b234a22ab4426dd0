"""Whole sequences through RNN, SimpleRNN, LSTM and GRU, against loops over cells, PyTorch, and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz

F, H, O, N, T = 5, 3, 2, 4, 6  # O: features of SimpleRNN's read-out
LENGTHS = [4, 6, 1, 4]  # a tie, a shortest, one without padding, and not in order

MAKERS: dict[str, Any] = {
    "RNN": gz.RNN,
    "SimpleRNN": lambda *sizes, **options: gz.SimpleRNN(*sizes, O, **options),
    "SimpleRNN old": lambda *sizes, **options: gz.SimpleRNN(*sizes, O, readout="old", **options),
    "LSTM": gz.LSTM,
    "GRU": gz.GRU,
}
CELLS: dict[str, Any] = {
    "RNN": lambda: gz.RNNCell(F, H),
    "SimpleRNN": lambda: gz.SimpleRNNCell(F, H, O),
    "SimpleRNN old": lambda: gz.SimpleRNNCell(F, H, O, readout="old"),
    "LSTM": lambda: gz.LSTMCell(F, H),
    "GRU": lambda: gz.GRUCell(F, H),
}
ARRANGEMENTS = {
    "plain": {},
    "layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "both": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False, "num_layers": 2},
}

every_kind = pytest.mark.parametrize("kind", MAKERS)
every_torch_kind = pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
every_arrangement = pytest.mark.parametrize("arrangement", ARRANGEMENTS)


def make(kind: str, dtype: Any = np.float64, rng: int = 0, **options: Any) -> Any:
    return MAKERS[kind](F, H, rng=rng, **options).astype(dtype)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def initial(module: Any, batch: int = N, seed: int = 11) -> list[np.ndarray]:
    """Arrays for the initial state: one, or two for an LSTM."""
    layers = len(module.cells)
    return [normal(layers, batch, H, seed=seed + i) for i in range(2 if isinstance(module, gz.LSTM) else 1)]


def run(module: Any, x: Any, *state: Any, lengths: Any = None) -> tuple[gz.Tensor, ...]:
    """The output and the parts of the last state, with the initial state's parts as flat arguments."""
    h = None if not state else tuple(state) if isinstance(module, gz.LSTM) else state[0]
    output, last = module(x, h, lengths=lengths)
    return (output, *last) if isinstance(last, tuple) else (output, last)


def weighted(outputs: Any, seed: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    return sum((output * rng.normal(size=output.shape)).sum() for output in outputs)


class Flat(gz.Module):
    """A sequence module with flat arguments and results, for gz.check."""

    def __init__(self, module: Any, lengths: Any = None) -> None:
        self.module = module
        self.lengths = lengths

    def forward(self, x: Any, *state: Any) -> Any:
        return run(self.module, x, *state, lengths=self.lengths)


# Gradients and values -------------------------------------------------------------------------------------------------


@every_kind
@every_arrangement
@pytest.mark.parametrize("lengths", [None, [2, 3, 0]], ids=["full", "lengths"])
def test_gradients(kind: str, arrangement: str, lengths: Any) -> None:
    module = MAKERS[kind](2, 3, rng=0, **ARRANGEMENTS[arrangement])
    gz.check(Flat(module, lengths), (normal(3, 3, 2), *initial(module, 3)))


@every_kind
def test_one_layer_is_a_loop_over_its_cell(kind: str) -> None:
    module = make(kind)
    cell = CELLS[kind]().astype(np.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x, state = normal(T, N, F), None
    outs = []
    for step in x:
        found = cell(step, state)
        out, state = found if isinstance(module, gz.SimpleRNN) else (found[0] if kind == "LSTM" else found, found)
        outs.append(out)
    output, *last = run(module, x)
    np.testing.assert_array_equal(output.data, np.stack([out.data for out in outs]))
    for got, own in zip(last, state if kind == "LSTM" else [state], strict=True):
        np.testing.assert_array_equal(got.data[0], own.data)
    weighted([output]).backward()
    weighted([gz.stack(outs)]).backward()
    for name, parameter in cell.named_parameters():
        np.testing.assert_allclose(getattr(module, f"{name}_l0").grad, parameter.grad, rtol=1e-12)


@every_torch_kind
@every_arrangement
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("given_state", [False, True])
def test_parity_with_torch(kind: str, arrangement: str, batch_first: bool, lengths: Any, given_state: bool) -> None:
    torch = pytest.importorskip("torch")
    options = {**ARRANGEMENTS[arrangement], "batch_first": batch_first}
    theirs = getattr(torch.nn, kind)(F, H, **options, dtype=torch.float64)
    ours = make(kind, **options, **({"reset_after": True} if kind == "GRU" else {}))
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())

    arrays = [normal(*((N, T, F) if batch_first else (T, N, F))), *(initial(ours) if given_state else [])]
    mine = [gz.tensor(a, requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    state = None if not given_state else tuple(peers[1:]) if kind == "LSTM" else peers[1]
    if lengths is None:
        output, last = theirs(peers[0], state)
    else:
        packing = {"batch_first": batch_first}
        packed = torch.nn.utils.rnn.pack_padded_sequence(peers[0], lengths, enforce_sorted=False, **packing)
        output, last = theirs(packed, state)
        output = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=T, **packing)[0]
    their_outputs = [output, *(last if kind == "LSTM" else [last])]
    our_outputs = run(ours, *mine, lengths=lengths)
    close = {"rtol": 1e-9, "atol": 1e-12}
    for own, their in zip(our_outputs, their_outputs, strict=True):
        assert own.shape == tuple(their.shape)
        np.testing.assert_allclose(own.data, their.detach().numpy(), **close)

    weighted(our_outputs).backward()
    rng = np.random.default_rng(3)
    sum((o * torch.tensor(rng.normal(size=tuple(o.shape)))).sum() for o in their_outputs).backward()
    for own, their in zip(mine, peers, strict=True):
        np.testing.assert_allclose(own.grad, their.grad.numpy(), **close)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(getattr(ours, name).grad, parameter.grad.numpy(), **close)


@every_kind
def test_one_sequence_without_a_batch(kind: str) -> None:
    for options in ({}, {"batch_first": True, "num_layers": 2, "bidirectional": True}):
        module = make(kind, **options)
        x, state = normal(T, F), initial(module, 1)
        alone = run(module, x, *[s[:, 0] for s in state])
        batch = run(module, x[None] if module.batch_first else x[:, None], *state)
        for axis, one, many in zip((0 if module.batch_first else 1, 1, 1), alone, batch, strict=False):
            np.testing.assert_array_equal(one.data, np.take(many.data, 0, axis))
    gz.check(Flat(make(kind)), (normal(3, F), *[s[:, 0] for s in initial(make(kind), 1)]))


@pytest.mark.parametrize("arrangement", ["plain", "layers", "bidirectional", "both"])
@pytest.mark.parametrize("readout", ["new", "old"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_simple_rnn_is_layers_of_loops_with_read_outs(arrangement: str, readout: str, lengths: Any) -> None:
    """One sequence, layer and direction at a time, each a loop over a cell that knows nothing of batches."""
    module = gz.SimpleRNN(F, H, O, readout=readout, rng=0, **ARRANGEMENTS[arrangement]).astype(np.float64)
    x, h_0 = (gz.tensor(a, requires_grad=True) for a in (normal(T, N, F), *initial(module)))
    output, h_n = module(x, h_0, lengths)
    weights = [np.random.default_rng(5).normal(size=item.shape) for item in (output, h_n)]
    ((output * weights[0]).sum() + (h_n * weights[1]).sum()).backward()
    found = [x.grad, h_0.grad, *[p.grad.copy() for p in module.parameters()]]

    module.zero_grad()
    y, g_0 = (gz.tensor(a.data, requires_grad=True) for a in (x, h_0))
    loss: Any = 0.0
    for n, length in enumerate(lengths or [T] * N):
        outs = [y[t, n] for t in range(length)]
        for layer in range(module.num_layers):
            sides = []
            for direction in module.directions:
                index = layer * len(module.directions) + len(sides)
                side, h = list(outs), g_0[index, n]
                for t in reversed(range(length)) if direction else range(length):
                    side[t], h = module.cells[f"l{layer}{direction}"](outs[t], h)
                sides.append(side)
                np.testing.assert_allclose(h_n.data[index, n], h.data, rtol=1e-10, atol=1e-13)
                loss = loss + (h * weights[1][index, n]).sum()
            outs = [gz.concatenate(step) for step in zip(*sides, strict=True)]
        for t, out in enumerate(outs):
            np.testing.assert_allclose(output.data[t, n], out.data, rtol=1e-10, atol=1e-13)
            loss = loss + (out * weights[0][t, n]).sum()
    loss.backward()
    for got, own in zip(found, [y.grad, g_0.grad, *[p.grad for p in module.parameters()]], strict=True):
        np.testing.assert_allclose(got, own, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_simple_rnn_against_torchs_layers_with_products_between(bidirectional: bool, batch_first: bool) -> None:
    torch = pytest.importorskip("torch")
    module = gz.SimpleRNN(F, H, O, 2, batch_first=batch_first, bidirectional=bidirectional, rng=0).astype(np.float64)
    x = gz.tensor(normal(*((N, T, F) if batch_first else (T, N, F))), requires_grad=True)
    output, h_n = module(x, lengths=LENGTHS)
    weighted([output, h_n]).backward()

    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in module.state_dict().items()}
    peer = torch.tensor(x.data, requires_grad=True)
    signal, last, packing = peer, [], {"batch_first": batch_first}
    for layer in range(2):
        rnn = torch.nn.RNN(signal.shape[-1], H, bidirectional=bidirectional, **packing, dtype=torch.float64)
        values = {}
        for direction in module.directions:
            for name, own in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh"), ("bias_ih", "bias")):
                values[f"{name}_l0{direction}"] = theirs[f"{own}_l{layer}{direction}"]
            values[f"bias_hh_l0{direction}"] = torch.zeros(H, dtype=torch.float64)
        packed = torch.nn.utils.rnn.pack_padded_sequence(signal, LENGTHS, enforce_sorted=False, **packing)
        states, h = torch.func.functional_call(rnn, values, (packed,), strict=True)
        states = torch.nn.utils.rnn.pad_packed_sequence(states, total_length=T, **packing)[0]
        sides = zip(states.split(H, -1), module.directions, strict=True)
        signal = torch.cat([side @ theirs[f"weight_ho_l{layer}{direction}"].T for side, direction in sides], -1)
        last.append(h)
    expected = [signal, torch.cat(last)]
    for own, their in zip((output, h_n), expected, strict=True):
        np.testing.assert_allclose(own.data, their.detach().numpy(), rtol=1e-9, atol=1e-12)
    rng = np.random.default_rng(3)
    sum((item * torch.tensor(rng.normal(size=tuple(item.shape)))).sum() for item in expected).backward()
    np.testing.assert_allclose(x.grad, peer.grad.numpy(), rtol=1e-9, atol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad, theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_simple_rnn_goes_on_from_its_states() -> None:
    """A sequence in two stretches is the sequence: h_n is the states, and not what was read out."""
    for readout in ("new", "old"):
        module = gz.SimpleRNN(F, H, O, num_layers=2, readout=readout, rng=0).astype(np.float64)
        x = normal(T, N, F)
        whole, h_n = module(x)
        first, between = module(x[:2])
        second, last = module(x[2:], between)
        np.testing.assert_allclose(np.concatenate([first.data, second.data]), whole.data, rtol=1e-12)
        np.testing.assert_allclose(last.data, h_n.data, rtol=1e-12)


def test_simple_rnn_with_the_old_read_out_sees_an_input_one_step_late() -> None:
    for readout, late in (("new", 0), ("old", 1)):
        module = gz.SimpleRNN(F, H, O, readout=readout, rng=0).astype(np.float64)
        x = gz.tensor(normal(T, N, F), requires_grad=True)
        module(x)[0][3].sum().backward()
        assert x.grad[: 4 - late].all()
        assert not x.grad[4 - late :].any()


# Lengths -------------------------------------------------------------------------------------------------------------


@every_kind
@every_arrangement
@pytest.mark.parametrize("padding", [0.0, np.nan, np.inf, 1e300])
def test_padding_is_never_read_and_gets_exactly_no_gradient(kind: str, arrangement: str, padding: float) -> None:
    module = make(kind, **ARRANGEMENTS[arrangement])
    x = normal(T, N, F)
    real = np.arange(T)[:, None] < np.array(LENGTHS)
    x[~real] = padding
    x = gz.tensor(x, requires_grad=True)
    output, *last = run(module, x, lengths=LENGTHS)
    weighted([output, *last]).backward()
    assert not output.data[~real].any()
    np.testing.assert_array_equal(x.grad[~real], 0)
    assert (x.grad[real] != 0).all()
    for array in (output.data, x.grad, *[p.grad for p in module.parameters()]):
        assert np.isfinite(array).all()


@every_kind
@every_arrangement
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.booleans(), st.integers(0, 2**16))
def test_each_sequence_is_computed_as_if_alone(
    kind: str, arrangement: str, lengths: list[int], batch_first: bool, seed: int
) -> None:
    module = make(kind, rng=seed, **ARRANGEMENTS[arrangement])
    x = normal(4, len(lengths), F, seed=seed)
    state = initial(module, len(lengths), seed)
    module.batch_first = batch_first
    output, *last = run(module, x.swapaxes(0, 1) if batch_first else x, *state, lengths=lengths)
    output = output.data.swapaxes(0, 1) if batch_first else output.data
    module.batch_first = False
    for n, length in enumerate(lengths):
        if length:
            alone, *alone_last = run(module, x[:length, n : n + 1], *[s[:, n : n + 1] for s in state])
            np.testing.assert_allclose(output[:length, n], alone.data[:, 0], rtol=1e-10, atol=1e-12)
            expected = [s.data[:, 0] for s in alone_last]
        else:
            expected = [s[:, n] for s in state]
        for got, own in zip(last, expected, strict=True):
            np.testing.assert_allclose(got.data[:, n], own, rtol=1e-10, atol=1e-12)
        assert not output[length:, n].any()


@every_kind
def test_lengths_may_be_any_integers(kind: str) -> None:
    module, x = make(kind), normal(T, N, F)
    expected = run(module, x, lengths=LENGTHS)
    for lengths in (tuple(LENGTHS), np.array(LENGTHS), np.array(LENGTHS, np.uint8), gz.tensor(np.array(LENGTHS))):
        for one, other in zip(run(module, x, lengths=lengths), expected, strict=True):
            np.testing.assert_array_equal(one.data, other.data)


@every_kind
def test_full_lengths_change_nothing(kind: str) -> None:
    module, x = make(kind, num_layers=2, bidirectional=True), normal(T, N, F)
    for one, other in zip(run(module, x, lengths=[T] * N), run(module, x), strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)


@every_kind
def test_no_sequence_goes_on_at_all(kind: str) -> None:
    module = make(kind, num_layers=2, bidirectional=True)
    state = initial(module)
    output, *last = run(module, gz.tensor(normal(T, N, F), requires_grad=True), *state, lengths=[0] * N)
    np.testing.assert_array_equal(output.data, np.zeros((T, N, 2 * (O if isinstance(module, gz.SimpleRNN) else H))))
    for got, given_state in zip(last, state, strict=True):
        np.testing.assert_array_equal(got.data, given_state)


@every_kind
@pytest.mark.parametrize("lengths", [None, []])
def test_empty_batch(kind: str, lengths: Any) -> None:
    module = make(kind, num_layers=2, bidirectional=True)
    output, *last = run(module, np.zeros((T, 0, F)), lengths=lengths)
    assert output.shape == (T, 0, 2 * (O if isinstance(module, gz.SimpleRNN) else H))
    assert all(item.shape == (4, 0, H) for item in last)


# Recording -----------------------------------------------------------------------------------------------------------


@every_kind
@every_arrangement
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_without_graph_the_same_values(kind: str, arrangement: str, lengths: Any) -> None:
    module = make(kind, np.float32, **ARRANGEMENTS[arrangement])
    x = normal(T, N, F, dtype=np.float32)
    recorded = run(module, x, lengths=lengths)
    with gz.no_grad():
        plain = run(module, gz.tensor(x, requires_grad=True), lengths=lengths)
    module.requires_grad_(False)
    frozen = run(module, x, lengths=lengths)
    for one, two, three in zip(recorded, plain, frozen, strict=True):
        assert one.requires_grad
        assert not two.requires_grad
        assert not three.requires_grad
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_array_equal(one.data, two.data)
        np.testing.assert_array_equal(one.data, three.data)


@every_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_one_node_a_step_with_time_step_and_scope(kind: str, lengths: Any) -> None:
    module = make(kind, num_layers=2, bidirectional=True)
    with gz.Tape() as tape:
        outputs = run(module, normal(T, N, F), lengths=lengths)
    steps: dict[str, list[int]] = {}
    for node in tape.nodes:
        if type(node.module).__name__ == f"{kind.split()[0]}Cell":
            assert [s.name for s in node.scope] == [kind.split()[0], node.scope[-1].name]
            steps.setdefault(node.scope[-1].name, []).append(node.t)
    forwards = list(range(T))
    assert steps == {"l0": forwards, "l0_reverse": forwards[::-1], "l1": forwards, "l1_reverse": forwards[::-1]}
    del outputs


def test_weights_are_packed_once_a_layer_and_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = gz.LSTMCell.make_pack.fget
    counted = property(lambda self: lambda *arguments: made.append(1) or original(self)(*arguments))
    monkeypatch.setattr(gz.LSTMCell, "make_pack", counted)
    module = make("LSTM", num_layers=2, bidirectional=True)
    outputs = run(module, normal(T, N, F), lengths=LENGTHS)
    assert len(made) == 4
    with gz.no_grad():
        run(module, normal(T, N, F))
    assert len(made) == 8
    del outputs


def test_no_cycles_and_nothing_kept(no_cycles: None) -> None:
    module = make("LSTM", num_layers=2, bidirectional=True, dropout=0.5)
    with gz.Tape() as tape:
        loss = weighted(run(module, gz.tensor(normal(T, N, F), requires_grad=True), lengths=LENGTHS))
    loss.backward()
    del loss
    assert tape.live_nodes == 0


@every_kind
def test_gradients_of_long_inputs_take_linear_time_in_nodes(kind: str) -> None:
    """The input is cut into steps by one node, not by one index a step, each with a gradient as long as the input."""
    module = make(kind)
    for lengths in (None, LENGTHS):
        counts = []
        for steps in (T, 3 * T):
            with gz.Tape() as tape:
                output, *_ = run(module, gz.tensor(normal(steps, N, F), requires_grad=True), lengths=lengths)
            names = [type(node.module).__name__ for node in tape.nodes]
            assert names.count("Split") == 1
            counts.append(names.count("Index"))
            del output
        assert counts[0] == counts[1]


# Parameters, dropout, errors ------------------------------------------------------------------------------------------


def test_parameters_go_by_torchs_names() -> None:
    module = gz.GRU(F, H, num_layers=2, bidirectional=True, rng=0)
    names = [name for name, _ in module.named_parameters()]
    assert names == list(module.state_dict())
    assert names[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert names[-1] == "bias_hh_l1_reverse"
    assert module.weight_ih_l1_reverse.shape == (3 * H, 2 * H)
    assert module.weight_ih_l1_reverse.name == "weight_ih_l1_reverse"
    with pytest.raises(AttributeError, match="weight_ih_l2"):
        _ = module.weight_ih_l2
    module.weight_hh_l0 = gz.Parameter(np.zeros((3 * H, H)))
    assert not dict(module.named_parameters())["weight_hh_l0"].data.any()
    assert module.cells["l0"].weight_hh is module.weight_hh_l0
    model = gz.Sequential(module)
    assert "0.weight_ih_l0" in model.state_dict()
    with pytest.raises(gz.StateError, match=r"(?s)missing     weight_ih_l0 .*unexpected  weight_ih_10 "):
        module.load_state_dict({name.replace("ih_l0", "ih_10"): v for name, v in module.state_dict().items()})


def test_parameters_of_simple_rnn() -> None:
    module = gz.SimpleRNN(F, H, O, num_layers=2, bidirectional=True, rng=0)
    names = list(module.state_dict())
    assert names[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_l0", "weight_ho_l0"]
    assert names[-1] == "weight_ho_l1_reverse"
    assert module.weight_ih_l0.shape == (H, F)
    assert module.weight_ih_l1_reverse.shape == (H, 2 * O)
    assert module.weight_ho_l1.shape == (O, H)
    assert "bias_l0" not in gz.SimpleRNN(F, H, O, bias=False).state_dict()
    with pytest.raises(gz.ArgumentError, match=r"output_size must be positive"):
        gz.SimpleRNN(F, H, 0)
    with pytest.raises(gz.ArgumentError, match=r"(?s)unknown readout.*'new' or 'old'"):
        gz.SimpleRNN(F, H, O, readout="both")


def test_a_parameter_may_be_shared_or_computed() -> None:
    module = make("RNN", num_layers=2)
    module.weight_hh_l1 = module.weight_hh_l0
    assert "weight_hh_l1" in module.state_dict()
    assert len(list(module.parameters())) == 7
    gz.check(Flat(module), (normal(2, 2, F), *initial(module, 2)))


def test_copies_and_pickles() -> None:
    import copy
    import pickle

    module = make("LSTM", num_layers=2, dropout=0.25)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(other) == repr(module)
        other.eval()
        module.eval()
        np.testing.assert_array_equal(run(other, normal(T, N, F))[0].data, run(module, normal(T, N, F))[0].data)
        assert other.weight_ih_l0 is not module.weight_ih_l0


def test_reprs() -> None:
    assert repr(gz.LSTM(3, 4)) == "LSTM(3, 4)"
    text = repr(gz.GRU(3, 4, 2, bias=False, batch_first=True, bidirectional=True, reset_after=True))
    assert text == "GRU(3, 4, num_layers=2, bias=False, batch_first=True, bidirectional=True, reset_after=True)"
    assert repr(gz.RNN(3, 4)) == "RNN(3, 4, nonlinearity='tanh')"
    text = repr(gz.SimpleRNN(3, 4, 2, bias=False, readout="old"))
    assert text == "SimpleRNN(3, 4, bias=False, output_size=2, readout='old')"


@every_kind
def test_dropout_between_layers_in_training_only(kind: str) -> None:
    x = normal(T, 50, F)
    module, plain = make(kind, num_layers=2, dropout=0.5), make(kind, num_layers=2)
    plain.load_state_dict(module.state_dict())
    dropped, *last = run(module, x)
    expected, *expected_last = run(plain, x)
    assert np.abs(dropped.data - expected.data).max() > 1e-2
    np.testing.assert_array_equal(last[0].data[0], expected_last[0].data[0])  # not within a layer, nor on its state
    assert not np.array_equal(dropped.data, run(module, x)[0].data)
    again = [run(make(kind, num_layers=2, dropout=0.5, rng=5), x)[0].data for _ in range(2)]
    np.testing.assert_array_equal(again[0], again[1])
    module.eval()
    np.testing.assert_array_equal(run(module, x)[0].data, expected.data)
    one_layer = make(kind, dropout=0.5)
    np.testing.assert_array_equal(run(one_layer, x)[0].data, run(one_layer, x)[0].data)


@every_kind
def test_dropout_of_everything_leaves_the_biases(kind: str) -> None:
    module, silent = make(kind, num_layers=2, dropout=1.0), make(kind, num_layers=2)
    silent.load_state_dict(module.state_dict())
    silent.weight_ih_l1.data = np.zeros_like(silent.weight_ih_l1.data)
    np.testing.assert_allclose(run(module, normal(T, N, F))[0].data, run(silent, normal(T, N, F))[0].data, rtol=1e-12)


@every_kind
def test_what_does_not_fit(kind: str) -> None:
    module = make(kind, np.float32, num_layers=2)
    x = np.zeros((T, N, F), np.float32)
    with pytest.raises(gz.ShapeError, match=r"(?s)input that does not fit.*\(6, 4, 7\).*\(time, batch, 5\)"):
        module(np.zeros((T, N, 7), np.float32))
    with pytest.raises(gz.ShapeError, match=r"input that does not fit"):
        module(np.zeros(F, np.float32))
    with pytest.raises(gz.ShapeError, match=r"(?s)without steps.*batch_first"):
        module(np.zeros((0, N, F), np.float32))
    for shape in [(2, 3, H), (1, N, H), (2, N, 4), (N, H)]:
        state = np.zeros(shape, np.float32)
        with pytest.raises(gz.ShapeError, match=r"(?s)state that does not fit.*\(2, 4, 3\)"):
            module(x, (state, state) if kind == "LSTM" else state)
    with pytest.raises(gz.ShapeError, match=r"(?s)lengths do not fit the batch.*4 integers"):
        module(x, lengths=[1, 2, 3])
    with pytest.raises(gz.ShapeError, match=r"(?s)lengths do not fit the batch.*4 integers"):
        module(x, lengths=[1.0, 2.0, 3.0, 4.0])
    with pytest.raises(gz.ShapeError, match=r"(?s)out of range.*1 to 7.*0 to 6"):
        module(x, lengths=[1, 2, 3, 7])
    with pytest.raises(gz.ShapeError, match=r"(?s)out of range.*-1 to 3.*0 to 6"):
        module(x, lengths=[1, 2, 3, -1])
    with pytest.raises(gz.ShapeError, match=r"lengths are for batches"):
        module(x[:, 0], lengths=[3])
    if kind == "LSTM":
        with pytest.raises(gz.ShapeError, match=r"state of LSTM is a pair"):
            module(x, np.zeros((2, N, H), np.float32))
    with pytest.raises(gz.ArgumentError, match=r"num_layers must be positive"):
        MAKERS[kind](F, H, num_layers=0)
    with pytest.raises(gz.ArgumentError, match=r"(?s)Dropout.*from 0 to 1"):
        MAKERS[kind](F, H, dropout=1.5)


def test_batch_first_is_told_apart() -> None:
    module = make("LSTM", batch_first=True)
    with pytest.raises(gz.ShapeError, match=r"(?s)\(batch, time, 5\)"):
        module(np.zeros((N, T, 7)))
    with pytest.raises(gz.ShapeError, match="without steps"):
        module(np.zeros((N, 0, F)))
