"""Element-wise modules against closed forms, central differences and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

UNARY = {  # an interval on which the function and its gradients are smooth
    "exp": (gz.exp, -2, 2),
    "expm1": (gz.expm1, -2, 2),
    "log": (gz.log, 0.3, 3),
    "log1p": (gz.log1p, -0.6, 3),
    "sqrt": (gz.sqrt, 0.3, 3),
    "square": (gz.square, -2, 2),
    "sin": (gz.sin, -4, 4),
    "cos": (gz.cos, -4, 4),
    "tanh": (gz.tanh, -2, 2),
    "erf": (gz.erf, -2, 2),
    "abs": (gz.abs, 0.2, 2),
    "negate": (gz.negate, -2, 2),
}
BINARY = {
    "add": gz.add,
    "subtract": gz.subtract,
    "multiply": gz.multiply,
    "divide": gz.divide,
    "power": gz.power,
    "maximum": gz.maximum,
    "minimum": gz.minimum,
    "logaddexp": gz.logaddexp,
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_gradients_to_second_order(name: str) -> None:
    function, low, high = UNARY[name]
    assert_gradients(function, np.random.default_rng(2).uniform(low, high, (2, 3)))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary_like_torch(name: str, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    function, low, high = UNARY[name]
    peer = torch.neg if name == "negate" else getattr(torch, name)
    x = np.random.default_rng(3).uniform(low, high, (3, 5)).astype(dtype)
    rtol = 1e-10 if dtype is np.float64 else 2e-5
    assert_like_torch(function, peer, x, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("name", BINARY)
def test_binary_gradients_to_second_order(name: str) -> None:
    rng = np.random.default_rng(4)
    assert_gradients(BINARY[name], rng.uniform(0.5, 2, (2, 3)), rng.uniform(2.1, 3, (3,)))


@pytest.mark.parametrize("name", BINARY)
def test_binary_like_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    peer = getattr(torch, {"power": "pow"}.get(name, name))
    assert_like_torch(BINARY[name], peer, rng.uniform(0.5, 3, (4, 1, 3)), rng.uniform(0.5, 3, (2, 3)))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(BINARY)),
    mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, min_side=0, max_side=3),
)
def test_broadcasting_is_undone(name, shapes) -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.uniform(0.5, 2, shape) for shape in shapes.input_shapes)
    with_gap = b + 3 if name in ("maximum", "minimum") else b  # away from ties
    assert_gradients(BINARY[name], a, with_gap, order=1, rtol=1e-5)


@pytest.mark.parametrize("name", BINARY)
def test_an_operand_may_be_an_array_or_a_number(name: str) -> None:
    function, ufunc = BINARY[name], getattr(np, name)
    a = np.array([1.5, 2.5], np.float32)
    for other in (2, 2.5, np.float32(2.5), np.array([2.0, 3.0], np.float32), [2.0, 3.0]):
        expected = np.asarray(other, np.float32)
        for ours, right in ((function(gz.tensor(a), other), ufunc(a, expected)),
                            (function(other, gz.tensor(a)), ufunc(expected, a))):  # fmt: skip
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours.numpy(), right, rtol=1e-6)
    assert_gradients(lambda x: function(x, np.array([2.0, 3.0])), [1.5, 2.5])
    assert_gradients(lambda x: function([2.0, 3.0], x), [1.5, 2.5])
    assert_gradients(lambda x: function(x, 2.0), [1.5, 2.5])
    assert_gradients(lambda x: function(3, x), [1.5, 2.5])


def test_functions_take_two_plain_operands() -> None:
    np.testing.assert_array_equal(gz.add(np.array([1.0, 2.0]), 1).numpy(), [2, 3])
    assert gz.exp([0.0]).dtype == np.float32


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x * x, lambda x: 2 * x),
        (lambda x: x / x, np.zeros_like),
        (lambda x: x - x, np.zeros_like),
        (lambda x: x**x, lambda x: x**x * (np.log(x) + 1)),
        (lambda x: gz.maximum(x, x), np.ones_like),
        (lambda x: gz.logaddexp(x, x), np.ones_like),
    ],
)
def test_the_same_tensor_twice(function, expected) -> None:
    x = np.array([0.5, 2.0, 3.0])
    leaf = gz.tensor(x, requires_grad=True)
    function(leaf).backward(np.ones(3))
    np.testing.assert_allclose(leaf.grad, expected(x), rtol=1e-12, atol=1e-12)


def test_third_and_fourth_derivatives() -> None:
    x = gz.tensor(np.array([0.3, 1.7]), requires_grad=True)
    closed = {
        lambda x: x**5: [lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2, lambda x: 120 * x],
        gz.sin: [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin],
        lambda x: 1 / x: [lambda x: -(x**-2), lambda x: 2 * x**-3, lambda x: -6 * x**-4, lambda x: 24 * x**-5],
        gz.log: [lambda x: 1 / x, lambda x: -(x**-2), lambda x: 2 * x**-3, lambda x: -6 * x**-4],
    }
    for function, derivatives in closed.items():
        y = function(x)
        for derivative in derivatives:
            y = gz.grad(y.sum(), x, create_graph=True)
            np.testing.assert_allclose(y.numpy(), derivative(x.numpy()), rtol=1e-12)


# Where care is needed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.0, 2.0])
def test_power_at_base_zero_like_torch(exponent) -> None:
    assert_like_torch(lambda x: x**exponent, lambda x: x**exponent, np.array([0.0, -1.0, 2.0]))


def test_powers_from_an_array_at_base_zero() -> None:
    x = gz.tensor(np.zeros(4), requires_grad=True)
    y = x ** np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(y.numpy(), [1, 0, 0, 0])
    for expected in ([0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 6]):
        y = gz.grad(y.sum(), x, create_graph=True)
        np.testing.assert_array_equal(y.numpy(), expected)


def test_power_of_tensors_at_zero_like_torch() -> None:
    torch = pytest.importorskip("torch")
    a, b = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0, 0.0])
    assert_like_torch(gz.power, torch.pow, a, b, order=1)


def test_power_mixed_derivative_where_the_exponent_is_zero() -> None:
    # d²(a^b)/da db = a^(b-1) (1 + b log a), which is 1/a at b = 0 and must not be masked away with 0^0.
    a, b = gz.tensor(np.array(2.0), requires_grad=True), gz.tensor(np.array(0.0), requires_grad=True)
    da = gz.grad(a**b, a, create_graph=True)
    assert gz.grad(da, b) == pytest.approx(0.5)


def test_power_of_a_negative_base() -> None:
    x = gz.tensor(np.array([-2.0, -1.0]), requires_grad=True)
    (x**3).sum().backward()
    np.testing.assert_array_equal(x.grad, [12, 3])
    b = gz.tensor(np.array([2.0, 3.0]), requires_grad=True)
    (np.array([-2.0, 4.0]) ** b).sum().backward()  # no real logarithm for the first: NaN as in torch, no warning
    np.testing.assert_allclose(b.grad, [np.nan, 64 * math.log(4)])


def test_maximum_and_minimum_share_at_ties() -> None:
    for function in (gz.maximum, gz.minimum):
        a = gz.tensor([1.0, 2.0, -0.0], requires_grad=True)
        b = gz.tensor([1.0, 2.0, 0.0], requires_grad=True)
        function(a, b).backward(np.array([2, 4, 6], np.float32))
        np.testing.assert_array_equal(a.grad, [1, 2, 3])
        np.testing.assert_array_equal(b.grad, [1, 2, 3])


def test_nan_is_passed_on_with_its_gradient_like_torch() -> None:
    torch = pytest.importorskip("torch")
    a, b = np.array([np.nan, 1.0, 2.0]), np.array([1.0, np.nan, 3.0])
    assert_like_torch(gz.maximum, torch.maximum, a, b, order=1)
    assert_like_torch(gz.minimum, torch.minimum, a, b, order=1)


def test_an_infinite_gradient_does_not_reach_the_losing_side() -> None:
    a = gz.tensor([1.0, 5.0], requires_grad=True)
    gz.maximum(a, 3).backward(np.array([np.inf, 1], np.float32))
    np.testing.assert_array_equal(a.grad, [0, 1])


def test_abs_is_flat_at_zero() -> None:
    x = gz.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    abs(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [-1, 0, 1])


def test_sqrt_and_log_at_zero_are_infinite_with_numpys_warning() -> None:
    x = gz.tensor([0.0], requires_grad=True)
    y = gz.sqrt(x).sum()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        y.backward()
    assert x.grad == np.inf
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert gz.log(x).item() == -np.inf


def test_large_arguments() -> None:
    for dtype in (np.float32, np.float64):
        x = np.array([-1e4, 1e4], dtype)
        for function, expected in (
            (gz.tanh, [-1, 1]),
            (gz.erf, [-1, 1]),
            (gz.abs, [1e4, 1e4]),
            (lambda t: gz.logaddexp(t, 0), [0, 1e4]),
            (lambda t: gz.logaddexp(t, t), [-1e4 + math.log(2), 1e4 + math.log(2)]),
            (lambda t: t.clip(-1, 1), [-1, 1]),
        ):
            leaf = gz.tensor(x, requires_grad=True)
            y = function(leaf)
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
            y.sum().backward()
            assert np.isfinite(leaf.grad).all()


def test_logaddexp_of_nothing_and_nothing() -> None:
    a = gz.tensor([-np.inf, -np.inf, 0.0], requires_grad=True)
    b = gz.tensor([-np.inf, 1.0, -np.inf], requires_grad=True)
    y = gz.logaddexp(a, b)
    np.testing.assert_array_equal(y.numpy(), [-np.inf, 1, 0])
    y.backward(np.ones(3, np.float32))
    np.testing.assert_array_equal(a.grad, [0, 0, 1])
    np.testing.assert_array_equal(b.grad, [0, 1, 0])


# Erf ----------------------------------------------------------------------------------------------------------------


def test_erf_to_the_last_digits() -> None:
    x = np.concatenate([np.linspace(-7, 7, 4001), np.linspace(-0.5, 0.5, 1001), np.logspace(-200, 0, 300)])
    expected = np.array([math.erf(value) for value in x])
    got = gz.erf(x).numpy()
    assert np.max(np.abs(got - expected) / np.spacing(np.abs(expected))) <= 4
    np.testing.assert_allclose(gz.erf(x.astype(np.float32)).numpy(), expected, rtol=2e-7, atol=1e-37)


def test_erf_at_the_ends() -> None:
    x = np.array([-np.inf, -0.0, 0.0, np.inf, np.nan])
    y = gz.erf(x).numpy()
    np.testing.assert_array_equal(y, [-1, 0, 0, 1, np.nan])
    np.testing.assert_array_equal(np.signbit(y[1:3]), [True, False])
    assert gz.erf(np.empty((0, 2))).shape == (0, 2)


# Clip and Cast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (None, 1), (-1, None), (-1.0, 0.5)])
def test_clip_like_torch_bounds_included(low, high) -> None:
    x = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
    assert_like_torch(lambda t: t.clip(low, high), lambda t: t.clamp(low, high), x)


def test_clip_by_arrays_and_by_tensors() -> None:
    x = np.array([[-2.0, 0.3], [4.0, 0.2]])
    assert_gradients(lambda t: t.clip(np.array([-1.0, 0.0]), np.array([[1.0], [2.0]])), x)
    assert_gradients(gz.clip, x, np.array([-1.0, 0.0]), np.array([[1.0], [2.0]]))


def test_clip_of_integers_has_the_dtype_of_its_bounds() -> None:
    x = gz.tensor(np.array([-1, 5]))
    assert x.clip(0, 1).dtype == np.int64
    assert x.clip(0.0, 1.0).dtype == np.float64


def test_clip_needs_a_bound() -> None:
    with pytest.raises(gz.ArgumentError, match="clip needs a bound"):
        gz.tensor([1.0]).clip()


def test_cast_brings_the_gradient_back_in_the_inputs_dtype() -> None:
    x = gz.tensor(np.array([1.5, 2.5], np.float32), requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * y).sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [3, 5])
    assert x.astype(np.float32) is x
    assert_gradients(lambda t: t.astype(np.float64) ** 3, [1.0, 2.0])


def test_cast_to_integers_is_a_constant() -> None:
    x = gz.tensor([1.7, -1.7], requires_grad=True)
    assert not x.astype(np.int64).requires_grad
    np.testing.assert_array_equal(x.astype(int).numpy(), [1, -1])
    with pytest.raises(gz.DtypeError):
        x.astype(str)


# What arrays may come -----------------------------------------------------------------------------------------------


def test_arrays_as_they_come() -> None:
    base = np.random.default_rng(8).uniform(0.5, 2, (6, 4)).astype(np.float32)
    strided, frozen = base[::2, ::-1], base[:3].copy()
    frozen.flags.writeable = False
    for name, function in BINARY.items():
        a, b = gz.tensor(strided, requires_grad=True), gz.tensor(frozen, requires_grad=True)
        y = function(a, b)
        np.testing.assert_allclose(y.numpy(), getattr(np, name)(strided, frozen))
        y.sum().backward()
        assert a.grad.shape == b.grad.shape == (3, 4)
        assert a.grad.dtype == np.float32
    assert not frozen.flags.writeable


def test_empty_arrays() -> None:
    for function in BINARY.values():
        a = gz.tensor(np.empty((0, 3)), requires_grad=True)
        b = gz.tensor(np.ones(3), requires_grad=True)
        function(a, b).sum().backward()
        assert a.grad.shape == (0, 3)
        np.testing.assert_array_equal(b.grad, [0, 0, 0])


def test_only_what_the_gradients_need_is_saved() -> None:
    x, constant = gz.tensor([1.0, 2.0], requires_grad=True), gz.tensor([3.0, 4.0])
    (y,) = [saved for saved in (x * constant).node.saved if saved is not None]
    assert y is constant.numpy()
    assert (x + constant).node.saved is None


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(gz.ShapeError, match=r"float32 \(2,\), float32 \(3,\)"):
        gz.tensor([1.0, 2.0]) + gz.tensor([1.0, 2.0, 3.0])
