"""Activations against central differences, PyTorch and closed forms; at 0, far out, and in both dtypes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772
# Module, function, and the same in PyTorch: functional name and arguments.
CASES = {
    "relu": (gz.ReLU(), gz.relu, "relu", {}),
    "leaky_relu": (gz.LeakyReLU(), gz.leaky_relu, "leaky_relu", {}),
    "leaky_relu_0.3": (gz.LeakyReLU(0.3), lambda x: gz.leaky_relu(x, 0.3), "leaky_relu", {"negative_slope": 0.3}),
    "leaky_relu_2": (gz.LeakyReLU(2.0), lambda x: gz.leaky_relu(x, 2.0), "leaky_relu", {"negative_slope": 2.0}),
    "leaky_relu_-0.5": (gz.LeakyReLU(-0.5), lambda x: gz.leaky_relu(x, -0.5), "leaky_relu", {"negative_slope": -0.5}),
    "elu": (gz.ELU(), gz.elu, "elu", {}),
    "elu_0.7": (gz.ELU(0.7), lambda x: gz.elu(x, 0.7), "elu", {"alpha": 0.7}),
    "selu": (gz.SELU(), gz.selu, "selu", {}),
    "gelu": (gz.GELU(), gz.gelu, "gelu", {}),
    "gelu_tanh": (gz.GELU("tanh"), lambda x: gz.gelu(x, "tanh"), "gelu", {"approximate": "tanh"}),
    "sigmoid": (gz.Sigmoid(), gz.sigmoid, "sigmoid", {}),
    "silu": (gz.SiLU(), gz.silu, "silu", {}),
    "softplus": (gz.Softplus(), gz.softplus, "softplus", {"threshold": 1e6}),
    "softplus_2.5": (gz.Softplus(2.5), lambda x: gz.softplus(x, 2.5), "softplus", {"beta": 2.5, "threshold": 1e6}),
    "tanh": (gz.Tanh(), gz.tanh, "tanh", {}),
    "softmax": (gz.Softmax(), gz.softmax, "softmax", {"dim": -1}),
    "softmax_0": (gz.Softmax(0), lambda x: gz.softmax(x, 0), "softmax", {"dim": 0}),
    "log_softmax": (gz.LogSoftmax(), gz.log_softmax, "log_softmax", {"dim": -1}),
    "log_softmax_1": (gz.LogSoftmax(1), lambda x: gz.log_softmax(x, 1), "log_softmax", {"dim": 1}),
}
every = pytest.mark.parametrize("name", CASES)


def points(shape: tuple[int, ...] = (2, 3, 4), seed: int = 0) -> np.ndarray:
    """Normal numbers, none of them near the kink at 0."""
    x = np.random.default_rng(seed).normal(size=shape) * 2
    return x + 0.05 * np.sign(x)


@every
def test_gradients_of_both_orders_by_central_differences(name: str) -> None:
    assert_gradients(CASES[name][0], points((3, 4)))


@every
def test_like_torch(name: str) -> None:
    module, function, peer, options = CASES[name]
    torch = pytest.importorskip("torch")

    def theirs(x):  # type: ignore[no-untyped-def]
        return getattr(torch.nn.functional, peer)(x, **options)

    # Its tanh form of GELU has second derivatives that agree to fewer digits.
    for ours in (module, function):
        assert_like_torch(ours, theirs, points(), rtol=1e-8, atol=1e-10)
        assert_like_torch(ours, theirs, points().astype(np.float32), rtol=2e-4, atol=3e-6)


@every
def test_definition_has_the_same_values_and_gradients(name: str) -> None:
    module = CASES[name][0]
    if module.expand is None:
        assert isinstance(module, gz.Tanh)  # a primitive
        return
    values = np.concatenate([points((3, 5)), [[0.0, -0.0, 40.0, -40.0, 1.0], [1e4, -1e4, 0.0, 0.0, 0.0]]])
    x, again = (gz.tensor(values, requires_grad=True) for _ in range(2))
    y = module(x)
    definition = module.expand(y.node, again)
    np.testing.assert_allclose(definition.numpy(), y.numpy(), 1e-12, 1e-14)
    dy = np.random.default_rng(1).normal(size=y.shape)
    np.testing.assert_allclose(gz.grad(definition, again, dy), gz.grad(y, x, dy), 1e-10, 1e-12)


@every
def test_used_twice_gradients_add_up(name: str) -> None:
    module = CASES[name][0]
    first, second = points((2, 3), 1), points((2, 3), 2)
    x = gz.tensor(first, requires_grad=True)
    (module(x) * second + module(x * 2.0)).sum().backward()
    alone = gz.tensor(first, requires_grad=True), gz.tensor(first * 2, requires_grad=True)
    expected = gz.grad(module(alone[0]), alone[0], second) + 2 * gz.grad(module(alone[1]), alone[1], np.ones((2, 3)))
    np.testing.assert_allclose(x.grad, expected, 1e-12)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arguments_give_the_limits_without_warnings(name: str, dtype: type) -> None:
    module = CASES[name][0]
    x = gz.tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], dtype), requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert x.grad.dtype == dtype
    assert np.isfinite(y.numpy()).all()
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("relu", (0, 0), (1e4, 1)),
        ("leaky_relu", (-100, 0.01), (1e4, 1)),
        ("elu_0.7", (-0.7, 0), (1e4, 1)),
        ("selu", (-LAMBDA * ALPHA, 0), (1e4 * LAMBDA, LAMBDA)),
        ("gelu", (0, 0), (1e4, 1)),
        ("gelu_tanh", (0, 0), (1e4, 1)),
        ("sigmoid", (0, 0), (1, 0)),
        ("silu", (0, 0), (1e4, 1)),
        ("softplus", (0, 0), (1e4, 1)),
        ("tanh", (-1, 0), (1, 0)),
    ],
)
def test_values_and_slopes_far_out(name: str, low: tuple[float, float], high: tuple[float, float]) -> None:
    x = gz.tensor(np.array([-1e4, 1e4]), requires_grad=True)
    y = CASES[name][0](x)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), [low[0], high[0]], 1e-14, 1e-15)
    np.testing.assert_allclose(x.grad, [low[1], high[1]], 1e-14, 1e-15)


@pytest.mark.parametrize(
    ("module", "value", "slope"),
    [
        (gz.ReLU(), 0, 0),
        (gz.LeakyReLU(0.2), 0, 0.2),
        (gz.ELU(0.7), 0, 0.7),
        (gz.SELU(), 0, LAMBDA * ALPHA),
        (gz.GELU(), 0, 0.5),
        (gz.Sigmoid(), 0.5, 0.25),
        (gz.SiLU(), 0, 0.5),
        (gz.Softplus(), math.log(2), 0.5),
        (gz.Tanh(), 0, 1),
    ],
)
def test_values_and_slopes_at_zero(module: gz.Module, value: float, slope: float) -> None:
    x = gz.tensor(np.array([0.0, -0.0]), requires_grad=True)
    y = module(x)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), [value, value], 1e-15)
    np.testing.assert_allclose(x.grad, [slope, slope], 1e-15)


def test_second_derivatives_at_zero_where_there_are_any() -> None:
    for name, expected in {"softplus": 0.25, "silu": 0.5, "sigmoid": 0.0, "gelu": 2 / math.sqrt(2 * math.pi)}.items():
        np.testing.assert_allclose(gz.hessian(CASES[name][0], np.zeros(1)), [[expected]], 1e-12, err_msg=name)


def test_small_probabilities_keep_their_digits() -> None:
    x = np.array([-20.0, -80.0], np.float32)
    np.testing.assert_allclose(gz.sigmoid(x).numpy(), np.exp(x.astype(float)), 1e-6)
    np.testing.assert_allclose(gz.softplus(x).numpy(), np.exp(x.astype(float)), 1e-6)
    np.testing.assert_allclose(gz.elu(np.float32(-1e-6)).numpy(), -1e-6, 1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2)])
def test_softmax_sums_to_one_along_its_axis(axis: int | tuple[int, ...]) -> None:
    y = gz.softmax(points(), axis)
    np.testing.assert_allclose(y.numpy().sum(axis=axis), 1, 1e-14)
    np.testing.assert_allclose(gz.log_softmax(points(), axis).numpy(), np.log(y.numpy()), 1e-12, 1e-13)


def test_softmax_of_ties_and_of_impossible_entries() -> None:
    x = gz.tensor(np.array([[3.0, 3.0, -np.inf], [1e4, 1e4, -1e4]]), requires_grad=True)
    y = gz.softmax(x)
    np.testing.assert_array_equal(y.numpy(), [[0.5, 0.5, 0], [0.5, 0.5, 0]])
    (y * np.array([1.0, 2.0, 3.0])).sum().backward()
    np.testing.assert_allclose(x.grad, [[-0.25, 0.25, 0]] * 2, 1e-14)


def test_log_softmax_does_not_lose_its_digits_far_out() -> None:
    y = gz.log_softmax(np.array([1e4, 1e4 - 50, -1e4]))
    np.testing.assert_allclose(y.numpy(), [0, -50, -2e4], 1e-12, 1e-20)


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=st.floats(-1e4, 1e4)))
def test_softmax_properties(x: np.ndarray) -> None:
    y = gz.softmax(x).numpy()
    np.testing.assert_allclose(y.sum(axis=-1), 1, 1e-12)
    np.testing.assert_allclose(gz.softmax(x + 17.0).numpy(), y, 1e-6, 1e-12)  # a shift changes nothing
    leaf = gz.tensor(x, requires_grad=True)
    gradient = gz.grad(gz.softmax(leaf), leaf, np.random.default_rng(0).normal(size=x.shape))
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-12)  # it stays on the simplex


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=st.floats(-1e4, 1e4)))
def test_identities(x: np.ndarray) -> None:
    def value(y: gz.Tensor) -> np.ndarray:
        return y.numpy()

    np.testing.assert_array_equal(value(gz.relu(x)) - value(gz.relu(-x)), x)
    np.testing.assert_allclose(value(gz.sigmoid(x)) + value(gz.sigmoid(-x)), 1, 1e-14)
    np.testing.assert_allclose(value(gz.softplus(x)) - value(gz.softplus(-x)), x, 1e-12, 1e-12)
    np.testing.assert_allclose(value(gz.silu(x)), x * value(gz.sigmoid(x)), 1e-12)
    np.testing.assert_allclose(value(gz.gelu(x)) - value(gz.gelu(-x)), x, 1e-12, 1e-300)


@every
def test_empty_noncontiguous_readonly_and_zero_dimensional_inputs(name: str) -> None:
    module = CASES[name][0]
    x = gz.tensor(np.empty((0, 3)), requires_grad=True)
    if name != "softmax_0":  # an empty axis has no maximum
        module(x).sum().backward()
        assert x.grad.shape == (0, 3)

    values = points((6, 4))
    values.flags.writeable = False
    kept = values.copy()
    for view in (values[::2, ::-1], values.T):
        leaf, copied = gz.tensor(view, requires_grad=True), gz.tensor(view.copy("C"), requires_grad=True)
        np.testing.assert_allclose(module(leaf).numpy(), module(copied).numpy(), 1e-14)
        dy = np.broadcast_to(np.float64(2.0), view.shape)
        np.testing.assert_allclose(gz.grad(module(leaf), leaf, dy), gz.grad(module(copied), copied, dy), 1e-13, 1e-15)
    np.testing.assert_array_equal(values, kept)

    if "softmax" not in name:
        number = gz.tensor(1.5, requires_grad=True)
        assert module(number).shape == ()
        module(number).backward()
        assert number.grad.shape == ()


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("relu", "leaky_relu_2")])
def test_integers_become_floats(name: str) -> None:
    y = CASES[name][0](np.array([[0, 1], [2, 3]]))
    expected = CASES[name][0](np.array([[0.0, 1.0], [2.0, 3.0]]))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-6)


def test_nothing_is_recorded_without_need() -> None:
    assert gz.relu(gz.tensor([1.0])).node is None
    with gz.no_grad():
        assert gz.softmax(gz.tensor([1.0], requires_grad=True)).node is None


def test_errors() -> None:
    with pytest.raises(gz.ArgumentError, match=r"approximation(.|\n)*'erf'(.|\n)*'none' or 'tanh'"):
        gz.GELU("erf")
    with pytest.raises(gz.ArgumentError, match=r"alpha must not be negative(.|\n)*-1"):
        gz.ELU(-1)
    with pytest.raises(gz.ArgumentError, match=r"beta must be positive"):
        gz.softplus(gz.tensor([1.0]), 0)
    with pytest.raises(gz.ShapeError, match=r"Softmax(.|\n)*axis 2"):
        gz.softmax(gz.tensor([[1.0]]), 2)
    with pytest.raises(gz.ShapeError, match="LogSoftmax"):
        gz.log_softmax(np.zeros((2, 0)))


def test_repr_shows_the_configuration() -> None:
    modules = [gz.ReLU(), gz.LeakyReLU(0.2), gz.ELU(0.5), gz.GELU("tanh"), gz.Softmax(1), gz.Softplus(2)]
    assert [repr(module) for module in modules] == [
        "ReLU()", "LeakyReLU(negative_slope=0.2)", "ELU(alpha=0.5)", "GELU(approximate='tanh')", "Softmax(axis=1)",
        "Softplus(beta=2)",
    ]  # fmt: skip


def test_literal_formulas_overflow_where_these_do_not() -> None:
    # What the zoo document prints is right and still of no use: exp(x) / Σ exp(x), log(exp(x) + 1) at x = 1e4.
    x = np.array([1e4, 0.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan((np.exp(x) / np.exp(x).sum())[0])
        assert np.isinf(np.log(np.exp(x) + 1)[0])
    np.testing.assert_array_equal(gz.softmax(x).numpy(), [1, 0])
    assert gz.softplus(x).numpy()[0] == 1e4
