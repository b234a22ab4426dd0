"""Array modules against NumPy, central differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices, integer_array_indices

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

X = np.random.default_rng(0).normal(size=(2, 3, 4))

# Ours and NumPy's of the same name, on X.
LIKE_NUMPY = {
    "reshape": ((4, -1), {}),
    "ravel": ((), {}),
    "transpose": ((), {}),
    "transpose by axes": (((1, 2, 0),), {}),
    "transpose by negative axes": (((-1, 0, 1),), {}),
    "swapaxes": ((0, -1), {}),
    "moveaxis": ((0, -1), {}),
    "moveaxis of two": (((0, 2), (1, 0)), {}),
    "expand_dims": ((1,), {}),
    "expand_dims by two": (((0, -1),), {}),
    "broadcast_to": (((5, 2, 3, 4),), {}),
    "flip": ((), {}),
    "flip one": ((1,), {}),
    "flip two": (((0, -1),), {}),
    "roll": ((2,), {}),
    "roll along": ((-1,), {"axis": 1}),
    "roll along two": (((1, 2),), {"axis": (0, 2)}),
    "repeat": ((2,), {}),
    "repeat along": ((3,), {"axis": 1}),
    "repeat each": (([1, 0, 2],), {"axis": 1}),
    "tile": ((2,), {}),
    "tile more axes": (((2, 1, 3, 1),), {}),
    "take": (([5, 0, 5],), {}),
    "take along": (([[2, 0], [2, 2]],), {"axis": 1}),
}


@pytest.mark.parametrize("case", LIKE_NUMPY)
def test_like_numpy(case: str) -> None:
    args, kwargs = LIKE_NUMPY[case]
    name = case.split()[0]
    if name == "reshape":
        args = (args,)
    ours, theirs = getattr(gz, name), getattr(np, name)
    expected = theirs(X, *args, **kwargs)
    np.testing.assert_array_equal(ours(X, *args, **kwargs).numpy(), expected)
    np.testing.assert_array_equal(theirs(gz.tensor(X), *args, **kwargs).numpy(), expected)  # through the protocol
    assert_gradients(lambda t: ours(t * t, *args, **kwargs), X)


def test_methods() -> None:
    x = gz.tensor(X)
    assert x.T.shape == (4, 3, 2)
    assert x.reshape(6, 4).shape == x.reshape((6, 4)).shape == (6, 4)
    assert x.transpose(0, 2, 1).shape == x.transpose((0, 2, 1)).shape == (2, 4, 3)
    assert x.flatten().shape == (24,)
    assert x.flatten(1).shape == (2, 12)
    assert x.flatten(0, 1).shape == (6, 4)
    assert gz.tensor(1.0).flatten().shape == (1,)
    assert gz.tensor(np.ones((1, 3, 1))).squeeze().shape == (3,)
    assert gz.tensor(np.ones((1, 3, 1))).squeeze(-1).shape == (1, 3)


def test_squeezing_an_axis_that_is_not_of_size_one() -> None:
    with pytest.raises(gz.ShapeError, match="only axes of size 1"):
        gz.tensor(X).squeeze(1)


def test_reshape_to_another_number_of_entries() -> None:
    with pytest.raises(gz.ShapeError, match=r"float64 \(2, 3, 4\)"):
        gz.tensor(X).reshape(5, 5)


def test_moveaxis_needs_pairs() -> None:
    with pytest.raises(gz.ArgumentError, match="moveaxis"):
        gz.moveaxis(X, (0, 1), 0)


# Index --------------------------------------------------------------------------------------------------------------

KEYS = {
    "integer": 1,
    "negative": (-1, 2),
    "slices": (slice(None), slice(2, None, -1)),
    "steps": (..., slice(None, None, 2)),
    "newaxis": (None, 0, ..., None),
    "everything": ...,
    "list": [0, 0, 1],
    "array": np.array([[0, 1], [1, 1]]),
    "arrays": ([0, 1, 1], [2, 2, 2]),
    "arrays apart": ([0, 1, 1], slice(None), [3, 0, 0]),
    "mask": X > 0,
    "mask of rows": np.array([True, False]),
    "mask and slice": (slice(None), np.array([True, False, True]), slice(1, 3)),
    "empty": [],
    "negative numbers": np.array([-1, 1, 1]),
}


@pytest.mark.parametrize("case", KEYS)
def test_index_with_every_kind_of_key(case: str) -> None:
    key = KEYS[case] if case != "empty" else np.array([], int)
    np.testing.assert_array_equal(gz.tensor(X)[key].numpy(), X[key])
    assert_gradients(lambda t: t[key] ** 2, X)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_index_gradient_counts_how_often_an_entry_was_named(data) -> None:
    shape = data.draw(array_shapes(max_dims=3, max_side=4))
    key = data.draw(basic_indices(shape, allow_newaxis=True) | integer_array_indices(shape))
    x = gz.tensor(np.zeros(shape), requires_grad=True)
    y = x[key]
    y.backward(np.ones(y.shape))
    named = np.zeros(shape)
    np.add.at(named, key, 1)
    np.testing.assert_array_equal(x.grad, named)


def test_index_by_tensors() -> None:
    x = gz.tensor([1.0, 2.0, 3.0], requires_grad=True)
    np.testing.assert_array_equal(x[gz.tensor(np.array([2, 0]))].numpy(), [3, 1])
    np.testing.assert_array_equal(x[x > 1].numpy(), [2, 3])
    np.testing.assert_array_equal(x[x.argmax()].numpy(), 3)
    with pytest.raises(gz.DtypeError, match="integers or booleans"):
        x[gz.tensor([0, 1])]


def test_index_out_of_bounds_names_the_module() -> None:
    with pytest.raises(IndexError) as caught:
        gz.tensor([1.0])[3]
    assert "Index" in caught.value.__notes__[0]


def test_many_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    ids, dy = rng.integers(0, 10, 500), rng.normal(size=(500, 7)).astype(np.float32)
    x = gz.tensor(np.zeros((10, 7), np.float32), requires_grad=True)
    x[ids].backward(dy)
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad, np.eye(10)[:, ids] @ dy, rtol=1e-4, atol=1e-5)


# Scatter ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", KEYS)
def test_scatter_add_is_the_adjoint_of_index(case: str) -> None:
    key = KEYS[case] if case != "empty" else np.array([], int)
    values = np.random.default_rng(2).normal(size=X[key].shape)
    expected = X.copy()
    np.add.at(expected, key, values)
    np.testing.assert_allclose(gz.scatter_add(X, key, values).numpy(), expected, atol=1e-12)
    assert_gradients(lambda x, v: gz.scatter_add(x, key, v * v), X, values)


def test_scatter_replaces() -> None:
    expected = X.copy()
    expected[:, 1] = 7
    x = gz.tensor(X, requires_grad=True)
    y = gz.scatter(x, (slice(None), 1), 7)
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), X)
    assert_gradients(lambda t, v: gz.scatter(t * t, (..., [3, 0]), v * v), X, [1.0, 2.0])


def test_of_values_for_one_entry_only_the_one_that_stays_has_a_gradient() -> None:
    x, v = np.zeros(3), np.array([1.0, 2.0, 3.0])
    y = gz.scatter(x, [0, 2, 2], v).numpy()
    assert y[0] == 1
    assert y[2] in (2, 3)
    assert_gradients(lambda a, b: gz.scatter(a, [0, 2, 2], b * b), x, v)


def test_scatter_broadcasts_its_values_and_keeps_the_dtype() -> None:
    x = gz.tensor(np.zeros((3, 2), np.float32), requires_grad=True)
    v = gz.tensor(np.float32(2), requires_grad=True)
    y = gz.scatter_add(x, [0, 0], v)
    np.testing.assert_array_equal(y.numpy(), [[4, 4], [0, 0], [0, 0]])
    y.sum().backward()
    assert v.grad == 4
    assert gz.scatter_add(x, 0, 1.5).dtype == np.float32


# Joining and splitting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_concatenate(axis) -> None:
    parts = [X[:, :, :2], X[:, :, 2:]] if axis in (-1, None) else [X, X * 2]
    expected = np.concatenate(parts, axis)
    np.testing.assert_array_equal(gz.concatenate(parts, axis=axis).numpy(), expected)
    np.testing.assert_array_equal(np.concatenate([gz.tensor(parts[0]), parts[1]], axis=axis).numpy(), expected)
    assert_gradients(lambda a, b: gz.concatenate([a * a, b, a * b[..., :2] if axis == -1 else a * a], axis), *parts)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack(axis: int) -> None:
    np.testing.assert_array_equal(gz.stack([X, 2 * X], axis).numpy(), np.stack([X, 2 * X], axis))
    assert_gradients(lambda a, b: gz.stack([a * b, b, a], axis), X[0], X[1])


def test_vstack_and_hstack() -> None:
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    for name in ("vstack", "hstack"):
        for pair in ((a, b), (a[:, None], b[:, None]), (X, X)):
            expected = getattr(np, name)(pair)
            np.testing.assert_array_equal(getattr(gz, name)(pair).numpy(), expected)
            np.testing.assert_array_equal(getattr(np, name)((gz.tensor(pair[0]), pair[1])).numpy(), expected)


@pytest.mark.parametrize(("cut", "axis"), [(2, 0), (3, 1), ([1, 3], 2), ([1], -1), ([2, 2], 1)])
def test_split(cut, axis) -> None:
    pieces = gz.split(gz.tensor(X), cut, axis)
    for piece, expected in zip(pieces, np.split(X, cut, axis), strict=True):
        np.testing.assert_array_equal(piece.numpy(), expected)
    assert_gradients(lambda t: sum((p * p * k).sum() for k, p in enumerate(gz.split(t, cut, axis), 1)), X)


def test_split_is_one_node_and_takes_gradients_from_some_outputs() -> None:
    x = gz.tensor(np.arange(6.0), requires_grad=True)
    first, second, third = gz.split(x, 3)
    assert first.node is second.node is third.node
    (second * second).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 4, 6, 0, 0])


def test_split_into_unequal_parts_is_an_error() -> None:
    with pytest.raises(gz.ShapeError, match="equal division"):
        gz.split(X, 3, axis=2)


def test_shapes_that_cannot_be_joined_are_named() -> None:
    with pytest.raises(gz.ShapeError, match=r"float64 \(2, 3, 4\), float64 \(3, 4\)"):
        gz.concatenate([X, X[0]])
    with pytest.raises(gz.ShapeError):
        gz.concatenate([])


def test_like_torch() -> None:
    torch = pytest.importorskip("torch")
    x = X.astype(np.float32)
    for ours, theirs in (
        (lambda t: gz.concatenate([t[:, :1], t[:, 1:] ** 2], 1), lambda t: torch.cat([t[:, :1], t[:, 1:] ** 2], 1)),
        (lambda t: gz.flip(t, (0, 2)) ** 3, lambda t: t.flip(0, 2) ** 3),
        (lambda t: gz.roll(t, 1, 1) * t, lambda t: t.roll(1, 1) * t),
        (lambda t: t[[1, 1, 0]] * 2, lambda t: t[[1, 1, 0]] * 2),
    ):
        assert_like_torch(ours, theirs, x, rtol=1e-5, atol=1e-6)


def test_odd_arrays() -> None:
    strided = np.arange(24.0).reshape(4, 6)[::2, ::-2]
    strided.flags.writeable = False
    for function in (
        lambda t: t.reshape(-1),
        lambda t: t.T,
        lambda t: t[[0, 0]],
        lambda t: gz.tile(t, 2),
        lambda t: gz.scatter_add(t, [0, 0], 1.0),
    ):
        x = gz.tensor(strided, requires_grad=True)
        function(x).sum().backward()
        assert x.grad.shape == (2, 3)
    empty = gz.tensor(np.empty((0, 3)), requires_grad=True)
    gz.concatenate([empty.T, empty.reshape(3, 0)]).sum().backward()
    assert empty.grad.shape == (0, 3)


def test_flatten_is_a_layer_too() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(gz.Flatten()(x).numpy(), x.reshape(2, 12))
    np.testing.assert_array_equal(gz.Flatten(0, 1)(x).numpy(), x.reshape(6, 4))
    assert repr(gz.Flatten(0, -2)) == "Flatten(start_dim=0, end_dim=-2)"
