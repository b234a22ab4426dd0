"""Tensors: how they are made, what they refuse, what they are without their operators."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import graphzoo as gz


def leaf(values: Any, dtype: Any = np.float64, **options: Any) -> gz.Tensor:
    return gz.tensor(np.array(values, dtype), requires_grad=True, **options)


# Making them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, np.float32),
        (True, np.float32),
        ([1, 2], np.float32),
        ([[1.5], [2.5]], np.float32),
        (np.float64(1.0), np.float64),
        (np.int32(3), np.int32),
        (np.zeros(2, np.float16), np.float16),
        (np.zeros(2), np.float64),
        (np.zeros(2, np.int64), np.int64),
        (np.zeros(2, bool), np.bool_),
        ((), np.float32),
    ],
)
def test_arrays_keep_their_dtype_and_python_values_are_float32(data: Any, dtype: Any) -> None:
    assert gz.tensor(data).dtype == dtype
    assert gz.tensor(data, np.float64).dtype == np.float64
    np.testing.assert_array_equal(gz.tensor(data).numpy(), data)


def test_an_array_is_shared_unless_it_is_converted() -> None:
    array = np.zeros(2)
    assert gz.tensor(array).numpy() is array
    assert not np.shares_memory(gz.tensor(array, np.float32).numpy(), array)


def test_a_tensor_of_a_tensor_takes_its_values_only() -> None:
    x = leaf([1.0]) * 2
    y = gz.tensor(x)
    assert not y.requires_grad
    assert y.dtype == np.float64


@pytest.mark.parametrize("data", [[[1.0], [1.0, 2.0]], "text", object(), None, np.array(["a"]), np.array([None])])
def test_what_is_no_array_of_numbers_is_refused(data: Any) -> None:
    with pytest.raises(gz.DtypeError):
        gz.tensor(data)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8, np.complex128])
def test_only_real_floating_point_tensors_require_gradients(dtype: Any) -> None:
    with pytest.raises(gz.DtypeError, match="floating-point"):
        gz.tensor(np.ones(2, dtype), requires_grad=True)
    x = gz.tensor(np.ones(2, dtype))
    with pytest.raises(gz.DtypeError, match="floating-point"):
        x.requires_grad = True
    assert not x.requires_grad


def test_repr() -> None:
    assert repr(gz.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(gz.tensor(np.array([1, 2]))) == "tensor([1, 2], dtype=int64)"
    assert repr(leaf([1.0], name="x")) == "tensor([1.], dtype=float64, requires_grad=True, name='x')"
    assert repr(leaf([1.0], np.float32) * 2) == "tensor([2.], node=Multiply)"


# Reading them ---------------------------------------------------------------------------------------------------------


def test_shape_and_size() -> None:
    x = gz.tensor(np.zeros((2, 3), np.float32))
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float32)
    with pytest.raises(TypeError):
        len(gz.tensor(1.0))


def test_numbers_out_of_tensors() -> None:
    assert gz.tensor([[2.5]]).item() == 2.5
    assert float(gz.tensor(2.5)) == 2.5
    assert int(gz.tensor(2.5)) == 2
    assert [10, 20, 30][gz.tensor(np.array(2))] == 30
    assert bool(gz.tensor(1.0))
    assert gz.tensor([[1.0, 2.0]]).tolist() == [[1.0, 2.0]]
    with pytest.raises(gz.ArgumentError, match="one element"):
        gz.tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(gz.tensor([1.0, 2.0]))


@pytest.mark.parametrize("convert", [float, int, np.asarray, np.array])
def test_conversions_that_would_lose_the_gradient_are_refused(convert: Any) -> None:
    x = leaf(2.0)
    for tensor in (x, x * 2):
        with pytest.raises(gz.UnsupportedError, match="would lose the gradient"):
            convert(tensor)
    assert convert(x.detach()) == 2.0
    assert x.item() == 2.0


def test_asarray_honours_dtype_and_copy() -> None:
    x = gz.tensor(np.array([1.0, 2.0]))
    assert np.asarray(x) is x.numpy()
    assert np.asarray(x, np.float32).dtype == np.float32
    assert not np.shares_memory(np.array(x, copy=True), x.numpy())


# Places in the graph --------------------------------------------------------------------------------------------------


def test_requires_grad_can_be_set_on_leaves_only() -> None:
    x = gz.tensor([1.0])
    x.requires_grad = True
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    y = leaf([1.0]) * 2
    with pytest.raises(gz.GradientError, match="only be set on a leaf"):
        y.requires_grad = False


def test_freezing_keeps_name_role_and_gradient() -> None:
    p = gz.Parameter([1.0], name="w")
    p.grad = np.ones(1)
    for value in (False, True):
        p.requires_grad = value
        assert (p.name, p.source.role) == ("w", "parameter")
        np.testing.assert_array_equal(p.grad, [1.0])


def test_leaves_and_nodes() -> None:
    x = leaf([1.0])
    assert x.is_leaf
    assert x.node is None
    assert not (x * 2).is_leaf
    assert gz.tensor([1.0]).is_leaf


def test_detach_shares_memory_and_has_no_graph() -> None:
    x = leaf([1.0])
    y = (x * 2).detach()
    assert not y.requires_grad
    assert np.shares_memory(x.detach().numpy(), x.numpy())


def test_names_may_be_given_later() -> None:
    x = gz.tensor([1.0])
    assert x.name is None
    x.name = "mask"
    assert x.name == "mask"
    y = leaf([1.0]) * x
    y.name = "masked"
    assert y.node.name == "masked"


def test_setting_a_gradient() -> None:
    x = leaf([1.0, 2.0], np.float32)
    given = np.array([1.0, 2.0])
    x.grad = given
    assert x.grad.dtype == np.float32
    assert not np.shares_memory(x.grad, given)
    x.grad = None
    assert x.grad is None
    with pytest.raises(gz.ArgumentError, match="shape of its tensor"):
        x.grad = np.ones(3)
    with pytest.raises(gz.GradientError, match="only a leaf"):
        (x * 2).grad = np.ones(2)


def test_computed_tensors_have_no_gradient_unless_retained() -> None:
    x = leaf([1.0])
    y = x * 2
    y.sum().backward()
    assert y.grad is None
    with pytest.raises(gz.GradientError, match="retain_grad"):
        gz.tensor([1.0]).retain_grad()
    x.retain_grad()  # a leaf has its gradient anyway


# Writing --------------------------------------------------------------------------------------------------------------


def test_assigning_data() -> None:
    x = leaf([1.0, 2.0], np.float32)
    x.data = [3, 4]
    np.testing.assert_array_equal(x.numpy(), [3.0, 4.0])
    assert x.dtype == np.float32
    x.data = gz.tensor([5.0, 6.0])
    x.data *= 2
    np.testing.assert_array_equal(x.numpy(), [10.0, 12.0])
    with pytest.raises(gz.ArgumentError, match="cannot change a tensor's shape"):
        x.data = [1.0]


def test_writing_elements() -> None:
    x = gz.tensor([1.0, 2.0])
    x[0] = 5
    x[1:] = gz.tensor([7.0])
    np.testing.assert_array_equal(x.numpy(), [5.0, 7.0])
    w = leaf([1.0, 2.0])
    with pytest.raises(gz.UnsupportedError, match="would lose gradients"):
        w[0] = 5
    with gz.no_grad():
        w[0] = 5
    np.testing.assert_array_equal(w.numpy(), [5.0, 2.0])


def test_a_constant_that_was_written_to_is_found() -> None:
    w, mask = leaf([1.0, 2.0]), gz.tensor(np.array([1.0, 0.0]))
    y = w * mask
    mask[1] = 1.0
    with pytest.raises(gz.OverwrittenError, match=r"x\[\.\.\.\] = \.\.\. at test_tensor\.py"):
        y.sum().backward()


# Copies ---------------------------------------------------------------------------------------------------------------


def test_deep_copies_and_pickles_of_leaves() -> None:
    x = leaf([1.0, 2.0], name="x")
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(again) is gz.Tensor
        assert (again.requires_grad, again.name, again.dtype) == (True, "x", np.float64)
        np.testing.assert_array_equal(again.numpy(), x.numpy())
        assert not np.shares_memory(again.numpy(), x.numpy())
        (again * again).sum().backward()
    assert x.grad is None
    p = gz.Parameter([1.0])
    assert type(copy.deepcopy(p)) is type(pickle.loads(pickle.dumps(p))) is gz.Parameter
    constant = copy.deepcopy(gz.tensor([1.0]))
    assert not constant.requires_grad


def test_graphs_are_not_copied() -> None:
    y = leaf([1.0]) * 2
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(gz.UnsupportedError, match="detach"):
            copying(y)


def test_tensors_are_hashed_by_identity() -> None:
    x, y = gz.tensor([1.0]), gz.tensor([1.0])
    assert {x: 1, y: 2}[x] == 1


def test_an_unknown_numpy_function_is_refused_by_name() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(gz.UnsupportedError, match=r"linalg\.|svd"):
        np.linalg.svd(x)


def test_formatting() -> None:
    loss = (leaf([1.0, 2.0]) * 3).sum()
    assert f"{loss:.2f}" == "9.00"  # text loses no gradient, so no .item() is asked for
    assert f"{gz.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(gz.ArgumentError, match="one element"):
        f"{gz.tensor([1.0, 2.0]):.2f}"
