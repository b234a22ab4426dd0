"""RNN, LSTM and GRU over whole sequences, against loops over their cells, PyTorch, and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz

F, H, N, T = 5, 3, 4, 6
LENGTHS = [4, 6, 1, 4]  # a tie, a shortest, one without padding, and not in order

MAKERS: dict[str, Any] = {"RNN": gz.RNN, "LSTM": gz.LSTM, "GRU": gz.GRU}
ARRANGEMENTS = {
    "plain": {},
    "layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "both": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False, "num_layers": 2},
}

every_kind = pytest.mark.parametrize("kind", MAKERS)
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
    cell = {"RNN": gz.RNNCell, "LSTM": gz.LSTMCell, "GRU": gz.GRUCell}[kind](F, H).astype(np.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x, state = normal(T, N, F), None
    hs = []
    for step in x:
        state = cell(step, state)
        hs.append(state[0] if kind == "LSTM" else state)
    output, *last = run(module, x)
    np.testing.assert_array_equal(output.data, np.stack([h.data for h in hs]))
    np.testing.assert_array_equal(last[0].data[0], hs[-1].data)
    weighted([output]).backward()
    weighted([gz.stack(hs)]).backward()
    for name, parameter in cell.named_parameters():
        np.testing.assert_allclose(getattr(module, f"{name}_l0").grad, parameter.grad, rtol=1e-12)


@every_kind
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
    np.testing.assert_array_equal(output.data, np.zeros((T, N, 2 * H)))
    for got, given_state in zip(last, state, strict=True):
        np.testing.assert_array_equal(got.data, given_state)


@every_kind
@pytest.mark.parametrize("lengths", [None, []])
def test_empty_batch(kind: str, lengths: Any) -> None:
    module = make(kind, num_layers=2, bidirectional=True)
    output, *last = run(module, np.zeros((T, 0, F)), lengths=lengths)
    assert output.shape == (T, 0, 2 * H)
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
        if type(node.module).__name__ == f"{kind}Cell":
            assert [s.name for s in node.scope] == [kind, node.scope[-1].name]
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
