"""The loader: what an epoch consists of, seeds, and continuing to the bit; splitting."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphzoo import Parameter, tensor
from graphzoo.data import DataLoader, train_test_split
from graphzoo.errors import ArgumentError, ShapeError, StateError, UnsupportedError


@given(samples=st.integers(0, 30), batch_size=st.integers(1, 12), shuffle=st.booleans(), drop_last=st.booleans())
def test_an_epoch_has_every_sample_once(samples: int, batch_size: int, shuffle: bool, drop_last: bool) -> None:
    x, y = np.arange(2 * samples).reshape(samples, 2), np.arange(samples)
    loader = DataLoader(x, y, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, rng=0)
    batches = list(loader)
    assert len(batches) == len(loader)
    sizes = [len(b) for _, b in batches]
    whole, rest = divmod(samples, batch_size)
    assert sizes == [batch_size] * whole + ([rest] if rest and not drop_last else [])
    order = np.concatenate([b for _, b in batches]) if batches else np.empty(0, int)
    for inputs, targets in batches:
        np.testing.assert_array_equal(inputs, x[targets])
    assert len(set(order.tolist())) == len(order)
    if not shuffle:
        np.testing.assert_array_equal(order, y[: len(order)])
    assert loader.epoch == 1


def test_batches_have_the_form_of_the_data() -> None:
    x, y = np.zeros((5, 2), np.float32), np.arange(5)
    assert isinstance(next(iter(DataLoader(x))), np.ndarray)
    assert next(iter(DataLoader(x))).shape == (1, 2)
    for loader in (DataLoader(x, y, batch_size=2), DataLoader((x, y), batch_size=2)):
        a, b = next(iter(loader))
        assert a.dtype == np.float32
        assert b.tolist() == [0, 1]
    (only,) = next(iter(DataLoader((y,), batch_size=2)))
    assert only.tolist() == [0, 1]
    batch = next(iter(DataLoader({"x": x, "y": y}, batch_size=3)))
    assert batch.keys() == {"x", "y"}
    assert batch["y"].tolist() == [0, 1, 2]
    words = next(iter(DataLoader(["a", "b"], [1, 2], batch_size=2)))
    assert words[0].tolist() == ["a", "b"]
    for values in (tensor([1.0, 2.0]), Parameter([1.0, 2.0])):
        assert isinstance(next(iter(DataLoader(values))), np.ndarray)


def test_batches_are_copies() -> None:
    x = np.zeros(4)
    for batch in DataLoader(x, batch_size=2):
        batch += 1
    assert x.tolist() == [0] * 4


def epochs(loader: DataLoader, count: int) -> list[list[int]]:
    return [np.concatenate(list(loader)).tolist() for _ in range(count)]


def test_orders_differ_by_epoch_and_repeat_by_seed() -> None:
    x = np.arange(50)
    first = epochs(DataLoader(x, batch_size=7, shuffle=True, rng=3), 3)
    assert first == epochs(DataLoader(x, batch_size=7, shuffle=True, rng=np.random.default_rng(3)), 3)
    assert first != epochs(DataLoader(x, batch_size=7, shuffle=True, rng=4), 3)
    assert first[0] != first[1]
    assert epochs(DataLoader(x, batch_size=7, shuffle=True), 1) != epochs(DataLoader(x, batch_size=7, shuffle=True), 1)
    # The order does not depend on how it is cut.
    assert first == epochs(DataLoader(x, batch_size=11, shuffle=True, rng=3), 3)


def test_every_order_is_as_likely() -> None:
    loader = DataLoader(np.arange(3), batch_size=3, shuffle=True, rng=0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        (batch,) = loader
        counts[tuple(batch.tolist())] = counts.get(tuple(batch.tolist()), 0) + 1
    assert len(counts) == 6
    assert all(400 < count < 600 for count in counts.values())  # 500 expected, deviation 20


@given(
    samples=st.integers(1, 20),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    taken=st.integers(0, 40),
    data=st.data(),
)
def test_a_resumed_run_has_the_same_batches(
    samples: int, batch_size: int, shuffle: bool, drop_last: bool, taken: int, data: Any
) -> None:
    options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    kind = data.draw(st.sampled_from([np.random.PCG64, np.random.MT19937, np.random.Philox]))
    loader = DataLoader(np.arange(samples), **options, rng=np.random.Generator(kind(1)))
    run: list[Any] = []
    state = loader.state_dict() if taken == 0 else None
    for _ in range(3):
        for batch in loader:
            run.append((loader.epoch, batch.tolist()))
            if len(run) == taken:
                state = loader.state_dict()  # after the step that used the batch
    assume(state is not None)  # otherwise the run was over before

    resumed = DataLoader(np.arange(samples), **options, rng=np.random.Generator(kind()))
    resumed.load_state_dict(state)
    again: list[Any] = []
    while resumed.epoch < 3:
        again += [(resumed.epoch, batch.tolist()) for batch in resumed]
    assert again == run[taken:]


def test_a_shared_generator_is_not_wound_back() -> None:
    def run(loader: DataLoader, rng: np.random.Generator, steps: int) -> list[Any]:
        """Steps that draw from the loader's generator, as dropout would."""
        seen = []
        while len(seen) < steps:
            for batch in loader:
                seen.append((batch.tolist(), rng.random()))
                if len(seen) == steps:
                    break
        return seen

    rng = np.random.default_rng(0)
    loader = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=rng)
    run(loader, rng, 6)
    state, drawn = loader.state_dict(), rng.bit_generator.state
    other = np.random.default_rng(99)
    resumed = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=other)
    resumed.load_state_dict(state)
    assert other.bit_generator.state == drawn
    fresh = np.random.default_rng(0)
    whole = run(DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=fresh), fresh, 16)
    assert run(resumed, other, 10) == whole[6:]


def test_a_state_is_plain_values() -> None:
    loader = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=0)
    next(iter(loader))
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()


def test_iterating_anew_after_leaving_early_begins_an_epoch() -> None:
    loader = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=0)
    first = next(iter(loader)).tolist()
    assert len(epochs(loader, 1)[0]) == 10
    assert loader.epoch == 1
    assert next(iter(DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=0))).tolist() == first


def test_two_iterations_side_by_side() -> None:
    loader = DataLoader(np.arange(6), batch_size=2)
    assert [(a.tolist(), b.tolist()) for a, b in zip(loader, loader, strict=True)] == [
        ([0, 1], [0, 1]),
        ([2, 3], [2, 3]),
        ([4, 5], [4, 5]),
    ]


def test_errors_of_the_loader() -> None:
    x = np.zeros((4, 2))
    for size in (0, -1, 2.5, True, None):
        with pytest.raises(ArgumentError, match="impossible batch_size"):
            DataLoader(x, batch_size=size)  # type: ignore[arg-type]
    for nothing in ((), ((),), ({},)):
        with pytest.raises(ArgumentError, match="at least one array"):
            DataLoader(*nothing)
    with pytest.raises(ShapeError, match=r"differ in length\n.*array 0: 4, array 1: 3"):
        DataLoader(x, np.zeros(3))
    with pytest.raises(ShapeError, match="'x': 4, 'y': 3"):
        DataLoader({"x": x, "y": np.zeros(3)})
    with pytest.raises(ShapeError, match="array 1 has no first axis"):
        DataLoader(x, 3.0)
    with pytest.raises(UnsupportedError, match="not as a list"):
        DataLoader([x, np.zeros(4)])
    with pytest.raises(UnsupportedError, match="works on arrays"):
        DataLoader(object())


def test_states_that_do_not_fit() -> None:
    loader = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=0)
    state = loader.state_dict()
    with pytest.raises(StateError, match="samples was 10, here it is 8; batch_size was 3, here it is 2"):
        DataLoader(np.arange(8), batch_size=2, shuffle=True).load_state_dict(state)
    with pytest.raises(StateError, match="missing 'epoch'; unexpected 'era'"):
        loader.load_state_dict({**{k: v for k, v in state.items() if k != "epoch"}, "era": 1})
    other = DataLoader(np.arange(10), batch_size=3, shuffle=True, rng=np.random.Generator(np.random.MT19937(0)))
    with pytest.raises(StateError, match="the generator was a PCG64, here it is a MT19937"):
        other.load_state_dict(state)
    assert repr(loader) == "DataLoader(10 samples in 4 batches of 3, shuffle=True, drop_last=False)"


@given(
    samples=st.integers(2, 40),
    test_size=st.floats(0.01, 0.99) | st.integers(1, 39),
    shuffle=st.booleans(),
)
def test_a_split_keeps_rows_together(samples: int, test_size: float | int, shuffle: bool) -> None:
    x, y = np.arange(2 * samples).reshape(samples, 2), np.arange(samples)
    count = test_size if isinstance(test_size, int) else int(np.ceil(test_size * samples))
    if count >= samples:
        with pytest.raises(ArgumentError, match="something on both sides"):
            train_test_split(x, y, test_size=test_size)
        return
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=test_size, rng=0, shuffle=shuffle)
    assert len(y_test) == len(x_test) == count
    assert sorted([*y_train, *y_test]) == y.tolist()
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_test, x[y_test])
    if not shuffle:
        assert y_test.tolist() == y[-count:].tolist()


def test_a_split_repeats_by_seed() -> None:
    x = np.arange(100)
    np.testing.assert_array_equal(train_test_split(x, rng=1)[1], train_test_split(x, rng=1)[1])
    assert (train_test_split(x, rng=1)[1] != train_test_split(x, rng=2)[1]).any()
    assert len(train_test_split(x)[1]) == 25


def test_errors_of_the_split() -> None:
    for size in (0, 1.0, 0.0, -0.5, 5, True):
        with pytest.raises(ArgumentError, match="something on both sides of 5 samples"):
            train_test_split(np.arange(5), test_size=size)
    with pytest.raises(ArgumentError, match="at least one array"):
        train_test_split()
    with pytest.raises(ShapeError, match="differ in length"):
        train_test_split(np.arange(5), np.arange(4))
