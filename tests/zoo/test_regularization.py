"""Dropout: its expectation, its mask in all passes, its limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz


def ones(*shape: int, dtype: type = np.float32) -> gz.Tensor:
    return gz.tensor(np.ones(shape, dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_with_probability_p_and_scales_the_rest(p: float, dtype: type) -> None:
    x = ones(200, 500, dtype=dtype)
    y = gz.Dropout(p, rng=0)(x).numpy()
    assert y.dtype == dtype
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - p)], 1e-6)
    spread = np.sqrt(p * (1 - p) / y.size)
    assert abs((y == 0).mean() - p) < 5 * spread
    assert abs(y.mean() - 1) < 5 * spread / (1 - p)


def test_backward_uses_the_mask_of_its_own_use() -> None:
    drop = gz.Dropout(0.4, rng=0)
    x = ones(4, 5, dtype=np.float64)
    first, second = drop(x), drop(x)
    assert not np.array_equal(first.numpy(), second.numpy())
    dy = np.random.default_rng(1).normal(size=(2, 4, 5))
    ((first * dy[0]).sum() + (second * dy[1]).sum()).backward()
    np.testing.assert_allclose(x.grad, first.numpy() * dy[0] + second.numpy() * dy[1], 1e-12)


def test_definition_reuses_the_mask() -> None:
    x = gz.tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)
    y = gz.Dropout(0.5, rng=0)(x)
    np.testing.assert_array_equal(y.node.module.expand(y.node, x).numpy(), y.numpy())


def test_gradients_of_both_orders() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    drop = gz.Dropout(0.3, rng=0)
    assert gz.check(drop, x)
    assert gz.check(gz.Sequential(drop, gz.Tanh()), x)


def test_identity_without_a_node_in_evaluation_and_for_p_zero() -> None:
    x = ones(3)
    assert gz.Dropout(0.5).eval()(x) is x
    assert gz.Dropout(0.0)(x) is x
    model = gz.Sequential(gz.Linear(2, 3), gz.Dropout(0.5)).eval()
    y = model(np.ones((1, 2), np.float32))
    assert type(y.node.module).__name__ == "Linear"
    assert type(model.train()(np.ones((1, 2), np.float32)).node.module).__name__ == "Dropout"


def test_p_one_gives_zeros_and_zero_gradients() -> None:
    x = ones(3, 2)
    y = gz.Dropout(1.0, rng=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), np.zeros((3, 2)))
    np.testing.assert_array_equal(x.grad, np.zeros((3, 2)))


def test_like_torch_at_the_limits() -> None:
    torch = pytest.importorskip("torch")
    values = np.array([1.0, -2.0])
    for p, training in ((0.0, True), (1.0, True), (0.7, False)):
        expected = torch.nn.functional.dropout(torch.tensor(values), p, training).numpy()
        np.testing.assert_array_equal(gz.Dropout(p).train(training)(values).numpy(), expected)


def test_same_seed_same_masks() -> None:
    x = ones(50)
    first, second = gz.Dropout(0.5, rng=3), gz.Dropout(0.5, rng=np.random.default_rng(3))
    for _ in range(2):
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())
    assert not np.array_equal(gz.Dropout(0.5, rng=4)(x).numpy(), gz.Dropout(0.5, rng=3)(x).numpy())


def test_checkpoint_repeats_the_mask_and_leaves_the_generator_where_it_was() -> None:
    def run(checkpointed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drop, x = gz.Dropout(0.5, rng=0), ones(20)
        y = gz.checkpoint(drop, x) if checkpointed else drop(x)
        (y * y).sum().backward()
        return y.numpy(), x.grad, drop(x).numpy()

    for got, expected in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(got, expected)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(0, 99), st.lists(st.integers(0, 4), max_size=3))
def test_every_entry_is_dropped_or_scaled(p: float, seed: int, shape: list[int]) -> None:
    x = gz.tensor(np.random.default_rng(seed).normal(size=shape))
    y = gz.Dropout(p, rng=seed)(x).numpy()
    kept = y != 0
    if p < 1:
        np.testing.assert_allclose(y[kept], x.numpy()[kept] / (1 - p), 1e-12)
    else:
        assert not kept.any()


def test_readonly_noncontiguous_and_integer_inputs() -> None:
    values = np.arange(12.0).reshape(3, 4)
    values.flags.writeable = False
    y = gz.Dropout(0.5, rng=0)(values.T[::2]).numpy()
    kept = y != 0
    np.testing.assert_array_equal(y[kept], 2 * values.T[::2][kept])
    np.testing.assert_allclose(np.unique(gz.Dropout(0.3, rng=0)(np.ones(50, np.int64)).numpy()), [0, 1 / 0.7])


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_outside_of_its_range(p: float) -> None:
    with pytest.raises(gz.ArgumentError, match=r"probability(.|\n)*from 0 to 1"):
        gz.Dropout(p)


@pytest.mark.parametrize("shape", [(6, 5, 2, 3), (30, 2, 3)])
def test_channels_are_dropped_whole(shape: tuple[int, ...]) -> None:
    x = ones(*shape, dtype=np.float64)
    y = gz.Dropout2d(0.4, rng=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.numpy())
    channels = y.numpy().reshape(-1, 6)
    assert (channels == channels[:, :1]).all()
    np.testing.assert_allclose(np.unique(channels), [0, 1 / 0.6])


def test_dropping_channels_in_all_passes() -> None:
    drop, x = gz.Dropout2d(0.4, rng=0), np.random.default_rng(0).normal(size=(3, 4, 2, 2))
    assert gz.check(drop, x)
    assert gz.check(gz.Sequential(drop, gz.Tanh()), x)
    leaf = gz.tensor(x, requires_grad=True)
    assert drop.eval()(leaf) is leaf
    assert gz.Dropout2d(0.5)(np.empty((0, 3, 2, 2))).shape == (0, 3, 2, 2)
    with pytest.raises(gz.ShapeError, match=r"\(N, C, H, W\) or \(C, H, W\)"):
        drop.train()(np.ones((3, 4)))


def test_channels_are_dropped_as_often_as_p_says() -> None:
    y = gz.Dropout2d(0.3, rng=0)(ones(200, 50, 1, 2)).numpy()[:, :, 0, 0]
    assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / y.size)


def test_repr_and_state() -> None:
    drop = gz.Dropout(0.25)
    assert repr(drop) == "Dropout(p=0.25)"
    assert drop.state_dict() == {}
