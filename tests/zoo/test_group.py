"""Reductions and Switch against NumPy, closed forms, central differences and PyTorch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, valid_tuple_axes

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

REDUCTIONS = {
    "sum": (gz.sum, np.sum),
    "mean": (gz.mean, np.mean),
    "max": (gz.max, np.max),
    "min": (gz.min, np.min),
    "prod": (gz.prod, np.prod),
    "var": (gz.var, np.var),
    "std": (gz.std, np.std),
    "norm": (gz.norm, lambda x, **k: np.sqrt(np.sum(x**2, **k))),
    "logsumexp": (gz.logsumexp, lambda x, **k: np.log(np.sum(np.exp(x), **k))),
}


@st.composite
def reductions(draw):
    shape = draw(array_shapes(min_dims=0, max_dims=3, max_side=3))
    axis = draw(st.none() | (valid_tuple_axes(len(shape)) if shape else st.just(())))
    if isinstance(axis, tuple) and len(axis) == 1 and draw(st.booleans()):
        axis = axis[0]
    return shape, axis, draw(st.booleans())


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(REDUCTIONS)), reductions(), st.sampled_from([np.float32, np.float64]))
def test_values_like_numpy(name, reduction, dtype) -> None:
    shape, axis, keepdims = reduction
    ours, theirs = REDUCTIONS[name]
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    y = ours(gz.tensor(x), axis=axis, keepdims=keepdims)
    expected = theirs(x, axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(REDUCTIONS)), reductions())
def test_gradients_to_second_order(name, reduction) -> None:
    shape, axis, keepdims = reduction
    size = int(np.prod(shape))
    x = np.random.default_rng(1).permutation(size).reshape(shape) * 0.7 + 0.5  # no ties
    if name in ("std", "var") and size == 1:
        return
    order = 1 if name == "std" else 2  # the deviation of one entry has a kink there
    assert_gradients(
        lambda t: REDUCTIONS[name][0](t, axis=axis, keepdims=keepdims), x, order=order, rtol=2e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", REDUCTIONS)
def test_negative_axes_and_methods(name: str) -> None:
    x = gz.tensor(np.random.default_rng(2).normal(size=(2, 3, 4)))
    by_front = getattr(x, name)(axis=(0, 2))
    np.testing.assert_array_equal(getattr(x, name)(axis=(-1, -3)).numpy(), by_front.numpy())
    assert getattr(x, name)(-1, keepdims=True).shape == (2, 3, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_like_torch(dtype) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(size=(3, 4, 2)).astype(dtype)
    tolerance = {"rtol": 1e-9, "atol": 1e-10} if dtype is np.float64 else {"rtol": 2e-4, "atol": 2e-5}
    for ours, theirs in (
        (lambda t: t.sum(axis=(0, 2)), lambda t: t.sum((0, 2))),
        (lambda t: t.mean(axis=1, keepdims=True), lambda t: t.mean(1, keepdim=True)),
        (lambda t: t.max(axis=(0, 1)), lambda t: t.amax((0, 1))),
        (lambda t: t.min(axis=-1), lambda t: t.amin(-1)),
        (lambda t: t.prod(axis=1), lambda t: t.prod(1)),
        (lambda t: t.cumsum(axis=1), lambda t: t.cumsum(1)),
        (lambda t: t.var(axis=(0, 2), correction=1), lambda t: t.var((0, 2))),
        (lambda t: t.std(axis=1, ddof=0), lambda t: t.std(1, correction=0)),
        (lambda t: t.logsumexp(axis=(0, 1)), lambda t: torch.logsumexp(t, (0, 1))),
        (lambda t: t.norm(axis=2), lambda t: torch.linalg.vector_norm(t, dim=2)),
    ):
        assert_like_torch(ours, theirs, x, **tolerance)


def test_integers_and_booleans() -> None:
    assert gz.tensor(np.array([1, 2, 4])).sum().dtype == np.int64
    assert gz.tensor(np.array([True, False])).mean().item() == 0.5


# Ties ---------------------------------------------------------------------------------------------------------------


def test_the_largest_share_the_gradient() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 5.0, 1.0]])
    assert_like_torch(lambda t: t.max(axis=1), lambda t: torch.amax(t, 1), x)
    assert_like_torch(lambda t: t.max(), lambda t: torch.amax(t), x)
    assert_like_torch(lambda t: -((-t).min(axis=0)), lambda t: torch.amax(t, 0), x)


def test_shares_add_up_to_the_whole_gradient() -> None:
    x = gz.tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    x.max(axis=1).backward(np.array([3, 6], np.float32))
    np.testing.assert_array_equal(x.grad, [[1, 1, 1], [2, 2, 2]])


def test_nan_is_the_largest_and_keeps_its_gradient() -> None:
    x = gz.tensor([[1.0, np.nan, 2.0], [1.0, 2.0, 0.0]], requires_grad=True)
    y = x.max(axis=1)
    np.testing.assert_array_equal(y.numpy(), [np.nan, 2])
    y.backward(np.ones(2, np.float32))
    np.testing.assert_array_equal(x.grad, [[0, 1, 0], [0, 1, 0]])


def test_the_largest_of_nothing_is_an_error() -> None:
    with pytest.raises(gz.ShapeError, match=r"float32 \(0,\)"):
        gz.tensor([]).max()


def test_argmax_and_argmin_are_constants() -> None:
    x = gz.tensor([[1.0, 5.0, 5.0], [7.0, 0.0, 0.0]], requires_grad=True)
    assert not x.argmax().requires_grad
    np.testing.assert_array_equal(x.argmax(axis=1).numpy(), [1, 0])
    np.testing.assert_array_equal(x.argmin(axis=0, keepdims=True).numpy(), [[0, 1, 1]])
    assert gz.argmax([1.0, 3.0]).item() == 1


# Prod ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_prod_with_zeros_to_second_order(n: int, zeros: int) -> None:
    x = np.random.default_rng(n).uniform(0.5, 2, (2, n))
    x[1, :zeros] = 0
    assert_gradients(lambda t: t.prod(axis=1), x)
    assert_gradients(lambda t: t.prod(), x)


def test_prod_of_zeros_has_its_third_derivative() -> None:
    # d³(x y z)/dx dy dz = 1, all else 0, also where all three are 0.
    x = gz.tensor(np.zeros(3), requires_grad=True)
    first = gz.grad(x.prod(), x, create_graph=True)
    for i, j, k in itertools.product(range(3), repeat=3):
        second = gz.grad(first[i], x, create_graph=True)
        third = gz.grad(second[j], x, retain_graph=True)
        assert third[k] == (len({i, j, k}) == 3)


def test_prod_gradient_where_the_product_underflows() -> None:
    x = gz.tensor(np.array([1e-30, 2e-30], np.float32), requires_grad=True)
    y = x.prod()
    assert y.item() == 0
    y.backward()
    np.testing.assert_array_equal(x.grad, np.array([2e-30, 1e-30], np.float32))


# Var, Std, Norm -----------------------------------------------------------------------------------------------------


def test_var_far_from_zero() -> None:
    x = np.array([1e4 + 0.1, 1e4 + 0.2, 1e4 + 0.3])
    assert gz.tensor(x).var().item() == pytest.approx(0.02 / 3, rel=1e-9)


def test_std_and_norm_are_flat_where_they_have_a_kink() -> None:
    torch = pytest.importorskip("torch")
    for ours, theirs, x in (
        (lambda t: t.std(axis=1), lambda t: t.std(1, correction=0), np.array([[2.0, 2.0], [1.0, 3.0]])),
        (lambda t: t.norm(axis=1), lambda t: torch.linalg.vector_norm(t, dim=1), np.array([[0.0, 0.0], [3.0, 4.0]])),
    ):
        assert_like_torch(ours, theirs, x, order=1)


def test_std_to_second_order() -> None:
    assert_gradients(lambda t: t.std(axis=0, correction=1), np.random.default_rng(5).normal(size=(4, 2)))


def test_var_of_one_entry_with_correction_warns_like_numpy() -> None:
    with pytest.warns(RuntimeWarning):
        assert np.isnan(gz.tensor([1.0]).var(correction=1).item())


# LogSumExp ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_far_out(dtype) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 1], [-np.inf, 3.0], [1e4, -1e4]], dtype)
    assert_like_torch(lambda t: t.logsumexp(axis=1), lambda t: torch.logsumexp(t, 1), x, order=1, rtol=1e-6, atol=1e-7)


def test_logsumexp_of_nothing() -> None:
    x = gz.tensor(np.full((2, 3), -np.inf), requires_grad=True)
    y = x.logsumexp(axis=1)
    np.testing.assert_array_equal(y.numpy(), [-np.inf, -np.inf])
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, np.zeros((2, 3)))
    np.testing.assert_array_equal(gz.logsumexp(np.empty((2, 0)), axis=1).numpy(), [-np.inf, -np.inf])


def test_logsumexp_with_masked_entries_to_second_order() -> None:
    mask = np.array([[True, False, True], [True, True, False]])
    assert_gradients(lambda t: gz.where(mask, t, -np.inf).logsumexp(axis=1), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


# Cumsum and Switch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_cumsum(axis) -> None:
    x = np.random.default_rng(6).normal(size=(2, 3))
    np.testing.assert_allclose(gz.cumsum(x, axis).numpy(), np.cumsum(x, axis))
    assert_gradients(lambda t: t.cumsum(axis) ** 2, x)


def test_switch_is_the_documents_product_with_zeros_and_ones() -> None:
    s, x = np.array([1.0, 0.0, 1.0]), np.array([2.0, 3.0, 4.0])
    np.testing.assert_array_equal(gz.Switch()(s, x).numpy(), s * x)
    assert_gradients(lambda t: gz.Switch()(s, t * t), x)


def test_where_chooses_values_and_gradients() -> None:
    mask = np.array([[True], [False]])
    assert_gradients(lambda a, b: gz.where(mask, a * a, b * a), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    x = gz.tensor([1.0, 4.0], requires_grad=True)
    y = gz.where(x > 2, x, 0)
    assert y.dtype == np.float32
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 1])


def test_where_keeps_out_what_it_did_not_choose() -> None:
    x = gz.tensor([0.0, 4.0], requires_grad=True)
    gz.where(x > 2, x, 0).backward(np.array([np.inf, 1], np.float32))
    np.testing.assert_array_equal(x.grad, [0, 1])


def test_where_with_numbers_on_both_sides() -> None:
    np.testing.assert_array_equal(gz.where([True, False], 1.0, -1.0).numpy(), [1, -1])


# Odd arrays ---------------------------------------------------------------------------------------------------------


def test_empty_batches() -> None:
    for name in ("sum", "max", "prod", "logsumexp", "norm", "min"):
        x = gz.tensor(np.empty((0, 3)), requires_grad=True)
        y = getattr(x, name)(axis=1)
        assert y.shape == (0,)
        y.sum().backward()
        assert x.grad.shape == (0, 3)
    x = gz.tensor(np.empty((0, 3)), requires_grad=True)
    x.sum(axis=0).sum().backward()
    assert x.grad.shape == (0, 3)
    assert gz.tensor(np.empty((2, 0))).prod(axis=1).tolist() == [1, 1]


def test_transposed_and_read_only_input() -> None:
    x = np.random.default_rng(7).normal(size=(4, 3)).T
    x.flags.writeable = False
    for name, (ours, theirs) in REDUCTIONS.items():
        leaf = gz.tensor(x, requires_grad=True)
        y = ours(leaf, axis=0)
        np.testing.assert_allclose(y.numpy(), theirs(x, axis=0), rtol=1e-12, err_msg=name)
        y.sum().backward()
        assert leaf.grad.shape == (3, 4)


def test_large_arrays_take_the_same_way_back() -> None:
    x = gz.tensor(np.ones((100, 101), np.float32), requires_grad=True)
    (x.mean(axis=0) * 2).sum().backward()
    np.testing.assert_allclose(x.grad, np.full((100, 101), 0.02), rtol=1e-6)


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(gz.ShapeError, match="axis 3 is out of bounds"):
        gz.tensor([1.0]).sum(axis=3)
