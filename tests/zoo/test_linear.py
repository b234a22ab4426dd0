"""Linear, Bilinear and Embedding against central differences, closed forms and PyTorch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.tape import stand_in
from tests.helpers import numeric_gradients

LEADING = [(), (5,), (2, 3), (2, 1, 3), (0,), (3, 0)]


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def layer(kind: Callable[..., gz.Module], *sizes: int, dtype: Any = np.float64, **options: Any) -> gz.Module:
    """A layer none of whose parameters is zero or square."""
    return kind(*sizes, rng=3, **options).astype(dtype)


def peer(module: gz.Module, kind: str, *sizes: int, **options: Any) -> Any:
    """PyTorch's module of the same name with the same parameters."""
    torch = pytest.importorskip("torch")
    other = getattr(torch.nn, kind)(*sizes, dtype=getattr(torch, str(next(module.parameters()).dtype)), **options)
    other.load_state_dict({name: torch.tensor(array) for name, array in module.state_dict().items()})
    return other


def assert_parameters_like(module: gz.Module, other: Any, **tolerance: float) -> None:
    named = dict(other.named_parameters())
    assert [name for name, _ in module.named_parameters()] == list(named)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad, named[name].grad.numpy(), **tolerance)
        assert parameter.grad.dtype == parameter.dtype


def assert_numeric(module: gz.Module, *inputs: np.ndarray) -> None:
    """Gradients of all inputs and parameters against central differences; two uses, so that they add up."""
    parameters = list(module.parameters())
    weights = np.random.default_rng(5).normal(size=module(*inputs).shape)

    def loss(*tensors: gz.Tensor) -> gz.Tensor:
        return (module(*tensors) * weights).sum() + (module(*[x * 0.5 for x in tensors]) ** 2).sum()

    leaves = [gz.tensor(x.copy(), requires_grad=True) for x in inputs]
    loss(*leaves).backward()

    def value(*arrays: np.ndarray) -> float:
        for parameter, array in zip(parameters, arrays[len(inputs) :], strict=True):
            parameter.data = array
        return loss(*[gz.tensor(x) for x in arrays[: len(inputs)]]).item()

    arrays = [x.copy() for x in inputs] + [parameter.data.copy() for parameter in parameters]
    got = [x.grad for x in leaves + parameters]
    for gradient, expected in zip(got, numeric_gradients(value, arrays), strict=True):
        np.testing.assert_allclose(gradient, expected, 1e-6, 1e-8)


# Linear --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients_by_central_differences(leading: tuple[int, ...], bias: bool) -> None:
    assert_numeric(layer(gz.Linear, 3, 2, bias=bias), normal(*leading, 3))


def test_linear_by_hand() -> None:
    module = gz.Linear(2, 3)
    module.weight.data = [[1, 2], [3, 4], [5, 6]]
    module.bias.data = [10, 20, 30]
    x = gz.tensor([[1.0, -1.0], [2.0, 0.5]], requires_grad=True)
    y = module(x)
    np.testing.assert_array_equal(y.numpy(), [[9, 19, 29], [13, 28, 43]])
    y.backward(np.array([[1, 0, 2], [0, 1, -1]]))
    np.testing.assert_array_equal(x.grad, [[11, 14], [-2, -2]])
    np.testing.assert_array_equal(module.weight.grad, [[1, -1], [2, 0.5], [0, -2.5]])
    np.testing.assert_array_equal(module.bias.grad, [1, 1, 1])


def test_the_printed_weight_gradient_does_not_conform() -> None:
    # Erratum 8: dL/dy (I ⊗ x) has no matching sizes; dL/dy (I ⊗ xᵀ), read as a matrix, is the outer product.
    x, dy = normal(3), normal(2, seed=1)
    with pytest.raises(ValueError, match="matmul"):
        dy[None, :] @ np.kron(np.eye(2), x[:, None])
    module = layer(gz.Linear, 3, 2)
    module(x).backward(dy)
    np.testing.assert_allclose(module.weight.grad, (dy[None, :] @ np.kron(np.eye(2), x[None, :])).reshape(2, 3))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_like_torch(leading: tuple[int, ...], dtype: Any, bias: bool) -> None:
    module = layer(gz.Linear, 4, 3, dtype=dtype, bias=bias)
    other = peer(module, "Linear", 4, 3, bias=bias)
    torch = pytest.importorskip("torch")
    values, dy = normal(*leading, 4, dtype=dtype), normal(*leading, 3, dtype=dtype, seed=1)
    x, xt = gz.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    y, yt = module(x), other(xt)
    assert y.dtype == dtype
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(y.numpy(), yt.detach().numpy(), **tolerance)
    y.backward(dy)
    yt.backward(torch.tensor(dy))
    np.testing.assert_allclose(x.grad, xt.grad.numpy(), **tolerance)
    assert_parameters_like(module, other, **tolerance)


def test_linear_takes_any_memory_layout() -> None:
    module = layer(gz.Linear, 4, 3)
    base = normal(4, 6, 5)
    base.flags.writeable = False
    for values in (base.T, base.T[::2, ::-1], np.broadcast_to(normal(4), (5, 4)), np.asfortranarray(base[:, :, 0]).T):
        expected = np.einsum("...i,oi->...o", values, module.weight.numpy()) + module.bias.numpy()
        x = gz.tensor(values, requires_grad=True)
        module.zero_grad()
        y = module(x)
        np.testing.assert_allclose(y.numpy(), expected, 1e-12)
        y.backward(np.broadcast_to(np.array([1.0, 2.0, 3.0]), y.shape))
        rows = values.reshape(-1, 4)
        np.testing.assert_allclose(module.weight.grad, np.outer([1, 2, 3], rows.sum(axis=0)), 1e-12, 1e-12)
        np.testing.assert_allclose(module.bias.grad, np.array([1.0, 2, 3]) * len(rows))


@pytest.mark.parametrize("stack_bytes", [0, 1, 300, 1 << 23])
def test_stacked_uses_give_the_gradients_of_single_ones(stack_bytes: int) -> None:
    module = layer(gz.Linear, 3, 2)
    inputs = [normal(*shape, 3, seed=i) for i, shape in enumerate([(4,), (2, 2), (), (1,)])]
    sum((module(x) ** 2).sum() for x in inputs).backward(stack_bytes=stack_bytes)  # type: ignore[union-attr]
    w, b = module.weight.numpy(), module.bias.numpy()
    rows = np.concatenate([x.reshape(-1, 3) for x in inputs])
    dy = 2 * (rows @ w.T + b)
    np.testing.assert_allclose(module.weight.grad, dy.T @ rows, 1e-12)
    np.testing.assert_allclose(module.bias.grad, dy.sum(axis=0), 1e-12)


def test_linear_saves_only_what_is_needed() -> None:
    x = gz.tensor(normal(5, 3))
    module = layer(gz.Linear, 3, 2)
    saved = module(x).node.saved
    assert saved[0] is x.numpy()
    assert saved[1] is None  # no gradient for x, no need of the weight
    module.requires_grad_(False)
    saved = module(gz.tensor(normal(5, 3), requires_grad=True)).node.saved
    assert saved[0] is None
    assert saved[1] is module.weight.numpy()
    assert module(x).node is None


@pytest.mark.parametrize("frozen", [["weight"], ["bias"], ["weight", "bias"]])
def test_frozen_parameters_get_no_gradient_also_when_stacked(frozen: list[str]) -> None:
    module = layer(gz.Linear, 3, 2)
    for name in frozen:
        getattr(module, name).requires_grad = False
    x = gz.tensor(normal(4, 3), requires_grad=True)
    (module(x).sum() + module(x * 2.0).sum()).backward()
    for name in ("weight", "bias"):
        assert (getattr(module, name).grad is None) == (name in frozen)
    np.testing.assert_allclose(x.grad, np.tile(3 * module.weight.numpy().sum(axis=0), (4, 1)))


def test_linear_second_order_where_not_all_was_saved() -> None:
    module = layer(gz.Linear, 3, 2)
    x = normal(4, 3)
    first = gz.grad(
        (module(x) ** 3).sum(), module.weight, create_graph=True
    )  # x is a constant: the weight is not saved
    got = gz.grad((first**2).sum(), module.weight)

    def value(weight: np.ndarray) -> float:
        dy = 3 * (x @ weight.T + module.bias.numpy()) ** 2
        return float(((dy.T @ x) ** 2).sum())

    np.testing.assert_allclose(got, numeric_gradients(value, [module.weight.numpy().copy()])[0], 1e-6)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (gz.Linear(3, 2, rng=0), (normal(4, 3),)),
        (gz.Linear(3, 2, False, rng=0), (normal(2, 4, 3),)),
        (gz.Linear(3, 1, rng=0), (normal(3),)),
        (gz.Bilinear(3, 4, 2, rng=0), (normal(5, 3), normal(5, 4))),
        (gz.Bilinear(3, 4, 2, False, rng=0), (normal(2, 5, 3), normal(2, 5, 4))),
        (gz.Bilinear(2, 3, 1, rng=0), (normal(2), normal(3))),
        (gz.Embedding(5, 3, rng=0), (np.array([[1, 2, 2], [0, 1, 4]]),)),
    ],
)
def test_checked_to_second_order(module: gz.Module, inputs: tuple[np.ndarray, ...]) -> None:
    assert gz.check(module, inputs)


def test_linear_with_a_computed_weight() -> None:
    # Tied and generated weights: any tensor may stand in a parameter's place.
    table = gz.Parameter(normal(2, 3), np.float64)
    module = layer(gz.Linear, 3, 2, bias=False)
    module.weight = table * 2.0
    x = normal(4, 3)
    module(x).sum().backward()
    np.testing.assert_allclose(table.grad, np.tile(2 * x.sum(axis=0), (2, 1)))


@pytest.mark.parametrize(("kind", "sizes", "fan"), [(gz.Linear, (64, 50), 64), (gz.Bilinear, (16, 9, 20), 16)])
def test_initial_values_fill_their_range(kind: Callable[..., gz.Module], sizes: tuple[int, ...], fan: int) -> None:
    module = kind(*sizes, rng=0)
    bound = 1 / math.sqrt(fan)
    for parameter in module.parameters():
        values = parameter.numpy()
        assert values.dtype == np.float32
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.8 * bound
    weight = next(module.parameters()).numpy()
    np.testing.assert_allclose([weight.mean(), weight.std()], [0, bound / math.sqrt(3)], atol=0.05 * bound)


def test_seeds_and_generators() -> None:
    first, second = gz.Linear(3, 2, rng=7), gz.Linear(3, 2, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    rng = np.random.default_rng(7)
    assert not np.array_equal(gz.Linear(3, 2, rng=rng).weight.numpy(), gz.Linear(3, 2, rng=rng).weight.numpy())
    assert not np.array_equal(gz.Linear(3, 2).weight.numpy(), gz.Linear(3, 2).weight.numpy())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_linear_is_linear(leading: list[int], inputs: int, outputs: int, seed: int) -> None:
    module = gz.Linear(inputs, outputs, rng=seed).astype(np.float64)
    x, y = normal(*leading, inputs, seed=seed), normal(*leading, inputs, seed=seed + 1)
    zero = module(np.zeros_like(x)).numpy()
    left = module(2 * x - y).numpy() - zero
    right = 2 * (module(x).numpy() - zero) - (module(y).numpy() - zero)
    assert left.shape == (*leading, outputs)
    np.testing.assert_allclose(left, right, 1e-9, 1e-9)


def test_linear_errors() -> None:
    module = gz.Linear(3, 2)
    with pytest.raises(gz.ShapeError) as caught:
        module(np.zeros((5, 4), np.float32))
    message = str(caught.value)
    for part in ("Linear", "(5, 4)", "(..., 3)", "in_features=4"):
        assert part in message
    model = gz.Sequential(gz.Linear(2, 3), gz.Linear(2, 3))
    with pytest.raises(gz.ShapeError, match="1 does not fit"):  # the layer's name in the model
        model(np.zeros((5, 2), np.float32))
    with pytest.raises(gz.ShapeError, match="at least one axis"):
        module(gz.tensor(1.0))
    with pytest.raises(gz.ArgumentError, match=r"in_features must be positive(.|\n)*0"):
        gz.Linear(0, 2)


# Bilinear ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_gradients_by_central_differences(leading: tuple[int, ...], bias: bool) -> None:
    assert_numeric(layer(gz.Bilinear, 3, 4, 2, bias=bias), normal(*leading, 3), normal(*leading, 4, seed=1))


@pytest.mark.parametrize("leading", [(5,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bilinear_like_torch(leading: tuple[int, ...], dtype: Any) -> None:
    module = layer(gz.Bilinear, 3, 4, 2, dtype=dtype)
    other = peer(module, "Bilinear", 3, 4, 2)
    torch = pytest.importorskip("torch")
    arrays = normal(*leading, 3, dtype=dtype), normal(*leading, 4, dtype=dtype, seed=1)
    ours = [gz.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, yt = module(*ours), other(*theirs)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(y.numpy(), yt.detach().numpy(), **tolerance)
    (y * y).sum().backward()
    (yt * yt).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), **tolerance)
    assert_parameters_like(module, other, **tolerance)


@pytest.mark.parametrize("needed", ["x1", "x2", "parameters"])
def test_bilinear_gives_single_gradients(needed: str) -> None:
    module = layer(gz.Bilinear, 3, 4, 2).requires_grad_(needed == "parameters")
    x1, x2 = gz.tensor(normal(5, 3)), gz.tensor(normal(5, 4, seed=1))
    x1.requires_grad, x2.requires_grad = needed == "x1", needed == "x2"
    (module(x1, x2).sum() + module(x1, x2).sum()).backward()
    a = 2 * module.weight.numpy().sum(axis=0)
    if needed == "x1":
        np.testing.assert_allclose(x1.grad, x2.numpy() @ a.T, 1e-12)
    elif needed == "x2":
        np.testing.assert_allclose(x2.grad, x1.numpy() @ a, 1e-12)
    else:
        np.testing.assert_allclose(module.weight.grad, np.stack([2 * x1.numpy().T @ x2.numpy()] * 2), 1e-12)
        np.testing.assert_allclose(module.bias.grad, [10, 10])


def test_bilinear_errors() -> None:
    module = gz.Bilinear(3, 4, 2)
    with pytest.raises(gz.ShapeError, match="in2_features=5"):
        module(np.zeros((2, 3)), np.zeros((2, 5)))
    with pytest.raises(gz.ShapeError, match="same leading axes"):
        module(np.zeros((2, 3)), np.zeros((1, 4)))
    with pytest.raises(gz.ArgumentError, match="out_features must be positive"):
        gz.Bilinear(3, 4, 0)


# Embedding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (0,), (2, 0)])
def test_embedding_adds_up_the_gradients_of_each_row(shape: tuple[int, ...], dtype: Any) -> None:
    module = layer(gz.Embedding, 5, 3)
    index = np.random.default_rng(0).integers(0, 5, shape).astype(dtype)
    weights = normal(*shape, 3)
    y = module(index)
    np.testing.assert_array_equal(y.numpy(), module.weight.numpy()[index])
    (y * weights).sum().backward()
    expected = np.zeros((5, 3))
    for place in np.ndindex(shape):
        expected[index[place]] += weights[place]
    np.testing.assert_allclose(module.weight.grad, expected, 1e-12)


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
def test_embedding_like_torch(padding_idx: int | None) -> None:
    module = layer(gz.Embedding, 5, 3, dtype=np.float32, padding_idx=padding_idx)
    other = peer(module, "Embedding", 5, 3, padding_idx=padding_idx)
    torch = pytest.importorskip("torch")
    index = np.array([[0, 3, 3, 1], [4, 4, 4, 0]])
    dy = normal(2, 4, 3, dtype=np.float32)
    module(index).backward(dy)
    other(torch.tensor(index)).backward(torch.tensor(dy))
    assert_parameters_like(module, other, rtol=1e-5, atol=1e-6)


def test_embedding_of_a_column_larger_than_its_dtype() -> None:
    # Flat positions of row 200 do not fit into the index's own uint8.
    module = gz.Embedding(256, 7)
    module(np.array([200, 200, 255], np.uint8)).sum().backward()
    expected = np.zeros((256, 7))
    expected[200], expected[255] = 2, 1
    np.testing.assert_array_equal(module.weight.grad, expected)


def test_embedding_uses_are_stacked() -> None:
    module = layer(gz.Embedding, 4, 2)
    (module(np.array([0, 1])).sum() + module(np.array([[1], [3]])).sum() + module(np.array(1)).sum()).backward()
    np.testing.assert_array_equal(module.weight.grad, [[1, 1], [3, 3], [0, 0], [1, 1]])


def test_padding_row_starts_as_zeros_and_stays_so() -> None:
    module = layer(gz.Embedding, 4, 2, padding_idx=-2)
    np.testing.assert_array_equal(module.weight.numpy()[2], [0, 0])
    index = gz.tensor(np.array([2, 2, 1]))
    (module(index) + 1.0).sum().backward()
    np.testing.assert_array_equal(module.weight.grad, [[0, 0], [1, 1], [0, 0], [0, 0]])
    second = gz.grad(((module(index) + 1.0) ** 3).sum(), module.weight, create_graph=True)
    np.testing.assert_array_equal(second.numpy()[2], [0, 0])
    np.testing.assert_array_equal(gz.grad(second.sum(), module.weight)[2], [0, 0])


def test_embedding_starts_standard_normal() -> None:
    values = gz.Embedding(100, 50, rng=0).weight.numpy()
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=0.05)


def test_embedding_errors() -> None:
    module = gz.Embedding(5, 3)
    for index, wrong, place in (([[0, 1], [5, 9]], 5, "(1, 0)"), ([[0, -1]], -1, "(0, 1)")):
        with pytest.raises(gz.ArgumentError) as caught:
            module(np.array(index))
        message = str(caught.value)
        for part in (f"no row {wrong}", f"position {place}", "from 0 to 4"):
            assert part in message
    for index in ([0, 1], np.array([True]), np.array([1.0])):
        with pytest.raises(gz.DtypeError, match=r"integers(.|\n)*np\.array"):
            module(index)
    with pytest.raises(gz.ArgumentError, match=r"padding_idx(.|\n)*5(.|\n)*-5 to 4"):
        gz.Embedding(5, 3, padding_idx=5)


def test_repr() -> None:
    assert repr(gz.Linear(3, 2, bias=False)) == "Linear(in_features=3, out_features=2, bias=False)"
    assert repr(gz.Bilinear(3, 4, 2)) == "Bilinear(in1_features=3, in2_features=4, out_features=2, bias=True)"
    assert repr(gz.Embedding(5, 3, padding_idx=-1)) == "Embedding(5, 3, padding_idx=4)"


def test_state_has_the_names_of_torch() -> None:
    for module in (gz.Linear(3, 2), gz.Bilinear(3, 4, 2)):
        assert list(module.state_dict()) == ["weight", "bias"]
    assert list(gz.Embedding(5, 3).state_dict()) == ["weight"]


def test_parameter_gradients_are_fresh_arrays() -> None:
    # The engine adds further gradients into them in place.
    module = layer(gz.Linear, 3, 1)
    dy = np.ones((1, 1))
    node = stand_in(module(gz.tensor(normal(1, 3))).node, (normal(1, 3), None))
    gradients = module.parameter_gradients(node, dy)
    assert not any(np.may_share_memory(gradient, dy) for gradient in gradients.values())


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", None])
def test_sizes_that_are_no_positive_integers_are_refused(size):
    for make in (lambda: gz.Linear(3, size), lambda: gz.Bilinear(size, 2, 3), lambda: gz.Embedding(4, size)):
        with pytest.raises(gz.ArgumentError, match=r"must be positive(.|\n)*an integer ≥ 1"):
            make()
