"""Derivatives as values: grad to any order, products, Jacobians and Hessians, contributions per use, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import graphzoo as gz
from graphzoo.tape import Node, note_draw, stand_in


def leaf(values: Any, dtype: Any = np.float64, **options: Any) -> gz.Tensor:
    return gz.tensor(np.array(values, dtype), requires_grad=True, **options)


class Affine(gz.Module):
    """y = x W + b by NumPy rules, with its definition: what `expand` is for; stacked over its uses."""

    parameter_names = ("weight", "bias")

    def __init__(self, inputs: int, outputs: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weight = gz.Parameter(rng.standard_normal((inputs, outputs)), np.float64)
        self.bias = gz.Parameter(rng.standard_normal(outputs), np.float64)

    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight, bias)
        return x @ weight + bias

    def backward(self, node: Node, dy: Any) -> Any:
        assert isinstance(dy, np.ndarray), "a rule through expand works on arrays alone"
        return np.dot(dy, node.saved[1].T)

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": np.dot(node.saved[0].T, dy), "bias": dy.sum(axis=0)}

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight + bias

    def stack(self, nodes: list[Node], dys: list[Any]) -> tuple[Node, Any]:
        x = np.concatenate([node.saved[0] for node in nodes])
        return stand_in(nodes[0], (x, *nodes[0].saved[1:])), np.concatenate(dys)


class Noise(gz.Module):
    """Adds noise that it draws; counts its forward passes."""

    saves = ()

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.calls = 0

    def forward(self, node: Node, x: Any) -> Any:
        self.calls += 1
        note_draw(self.rng)
        return x + self.rng.standard_normal(x.shape)

    def backward(self, node: Node, dy: Any) -> Any:
        return dy


# grad -----------------------------------------------------------------------------------------------------------------


def test_grad_returns_values_and_touches_nothing() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    gx, gy = gz.grad((x * x * y).sum(), (x, y))
    np.testing.assert_array_equal(gx, [6.0, 16.0])
    np.testing.assert_array_equal(gy, [1.0, 4.0])
    assert x.grad is None
    assert y.grad is None


def test_grad_of_computed_tensors_and_of_several_at_once() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    z = y * y
    gy, gx, again = gz.grad(z.sum(), [y, x, x])
    np.testing.assert_array_equal(gy, 2 * y.numpy())
    np.testing.assert_array_equal(gx, 4 * x.numpy() ** 3)
    np.testing.assert_array_equal(again, gx)
    assert not np.shares_memory(gx, again)


def test_grad_of_a_tensor_with_respect_to_itself() -> None:
    x = leaf(2.0)
    y = x * x
    assert gz.grad(x, x) == 1.0
    assert gz.grad(y, y) == 1.0
    np.testing.assert_array_equal(gz.grad([y, y, x], x), 2 * 4.0 + 1.0)


def test_grad_of_several_outputs_with_weights() -> None:
    x = leaf([1.0, 2.0])
    got = gz.grad([x * x, x], x, [np.array([1.0, 10.0]), np.array([100.0, 0.0])])
    np.testing.assert_array_equal(got, [102.0, 40.0])


def test_results_do_not_share_memory_with_what_was_given() -> None:
    x, y = leaf([1.0]), leaf([1.0])
    start = np.array([3.0])
    gx, gy = gz.grad(x + y, (x, y), start)
    for one, other in ((gx, gy), (gx, start), (gy, start)):
        assert not np.shares_memory(one, other)


def test_grad_with_respect_to_one_of_several_outputs() -> None:
    class Pair(gz.Module):
        saves = ()

        def forward(self, node: Node, x: Any) -> Any:
            return x + 0, x * 2

        def backward(self, node: Node, dy: Any) -> Any:
            first, second = dy
            return (0 if first is None else first) + (0 if second is None else second * 2.0)

    x = leaf([1.0, 2.0])
    a, b = Pair()(x)
    loss = (a * b * b).sum()
    ga, gb, gx = gz.grad(loss, (a, b, x), retain_graph=True)
    np.testing.assert_array_equal(ga, (b * b).numpy())
    np.testing.assert_array_equal(gb, (2 * a * b).numpy())
    np.testing.assert_array_equal(gx, 12 * x.numpy() ** 2)
    second = gz.grad(gz.grad(loss, x, create_graph=True).sum(), x)
    np.testing.assert_array_equal(second, 24 * x.numpy())


def test_an_input_without_influence_has_no_gradient() -> None:
    x, y = leaf([1.0]), leaf([1.0])
    gx, gy = gz.grad((x * x).sum(), (x, y))
    assert gx is not None
    assert gy is None


def test_hooks_see_and_change_what_grad_returns() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    y.register_hook(lambda gradient: gradient * 10.0)
    x.register_hook(lambda gradient: gradient + 1.0)
    np.testing.assert_array_equal(gz.grad(y.sum(), x, retain_graph=True), 20 * x.numpy() + 1)
    first = gz.grad(y.sum(), x, create_graph=True)
    np.testing.assert_array_equal(gz.grad(first.sum(), x), [21.0, 21.0])


def test_grad_refuses_what_cannot_have_a_gradient() -> None:
    x, c = leaf([1.0]), gz.tensor([1.0])
    with pytest.raises(gz.GradientError, match="no gradient flows to"):
        gz.grad(c, x)
    with pytest.raises(gz.GradientError, match="with respect to"):
        gz.grad(x * c, c)
    with pytest.raises(gz.ArgumentError, match="tensors"):
        gz.grad(x * 2, [np.ones(1)])
    with pytest.raises(gz.ArgumentError, match="1 for 2 outputs"):
        gz.grad([x * 2, x * 3], x, [np.ones(1)])
    with pytest.raises(gz.GradientError, match="needs a gradient to start from"):
        gz.grad(leaf([1.0, 2.0]) * 2, x)


def test_grad_releases_by_default_and_retains_when_asked() -> None:
    x = leaf([1.0])
    y = (x * x).sum()
    gz.grad(y, x, retain_graph=True)
    gz.grad(y, x)
    with pytest.raises(gz.ReleasedError):
        gz.grad(y, x)


def test_what_lies_beyond_the_target_may_have_been_released() -> None:
    x = leaf([1.0, 2.0])
    h = x * x
    first, second = (h * 2).sum(), np.tanh(h).sum()
    first.backward()
    np.testing.assert_allclose(gz.grad(second, h), 1 - np.tanh(h.numpy()) ** 2, rtol=1e-15)


POLYNOMIAL = [
    (lambda x: x * x * x * x, lambda x: (4 * x**3, 12 * x**2, 24 * x)),
    (lambda x: np.exp(x * 2.0), lambda x: (2 * np.exp(2 * x), 4 * np.exp(2 * x), 8 * np.exp(2 * x))),
    (lambda x: np.sin(x), lambda x: (np.cos(x), -np.sin(x), -np.cos(x))),
    (lambda x: np.log(x), lambda x: (1 / x, -1 / x**2, 2 / x**3)),
    (
        lambda x: np.tanh(x),
        lambda x: (
            1 - np.tanh(x) ** 2,
            -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
            (6 * np.tanh(x) ** 2 - 2) * (1 - np.tanh(x) ** 2),
        ),
    ),
    (lambda x: 1.0 / x, lambda x: (-1 / x**2, 2 / x**3, -6 / x**4)),
    (lambda x: np.sqrt(x), lambda x: (0.5 * x**-0.5, -0.25 * x**-1.5, 0.375 * x**-2.5)),
]


@pytest.mark.parametrize("case", range(len(POLYNOMIAL)))
def test_three_orders_against_closed_forms(case: int) -> None:
    function, derivatives = POLYNOMIAL[case]
    x = leaf([0.4, 1.3, 2.1])
    current = function(x)
    for expected in derivatives(x.numpy()):
        current = gz.grad(current.sum(), x, create_graph=True)
        np.testing.assert_allclose(current.numpy(), expected, rtol=1e-12)


def test_third_order_through_definitions() -> None:
    """f = sum tanh(xW + b)²: every derivative of the fused rule goes through its definition, parameters included."""
    module = Affine(2, 3)
    direction = np.array([[0.3, -0.7]])

    def function(x: Any) -> Any:
        y = np.tanh(module(x))
        return (y * y).sum()

    def along(s: float) -> float:
        w, b = module.weight.numpy(), module.bias.numpy()
        return float((np.tanh((x.numpy() + s * direction) @ w + b) ** 2).sum())

    x = leaf([[0.1, 0.2]])
    value = function(x)
    for order, weights in enumerate(
        (((1, 0.5), (-1, -0.5)), ((1, 1.0), (0, -2.0), (-1, 1.0)), ((2, 0.5), (1, -1.0), (-1, 1.0), (-2, -0.5))), 1
    ):
        value = (gz.grad(value, x, create_graph=True) * direction).sum()
        h = 2e-3
        numeric = sum(weight * along(step * h) for step, weight in weights) / h**order
        assert value.item() == pytest.approx(numeric, rel=2e-4)


def test_a_gradient_penalty_reaches_the_parameters() -> None:
    module = Affine(2, 1)
    x = leaf([[0.5, -1.0]])
    slope = gz.grad(np.tanh(module(x)).sum(), x, create_graph=True)
    (slope * slope).sum().backward()
    h = 1e-6

    def penalty() -> float:
        w, b = module.weight.numpy(), module.bias.numpy()
        slope = (1 - np.tanh(x.numpy() @ w + b) ** 2) * w.T
        return float((slope * slope).sum())

    for parameter in module.parameters():
        for place in np.ndindex(parameter.shape):
            ends = []
            for sign in (1, -1):
                parameter.data[place] += sign * h
                ends.append(penalty())
                parameter.data[place] -= sign * h
            assert parameter.grad[place] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_create_graph_inside_no_grad() -> None:
    x = leaf([2.0])
    y = x * x * x
    with gz.no_grad():
        first = gz.grad(y, x, create_graph=True)
    assert gz.grad(first, x) == 12.0


def test_a_deep_graph_of_gradients() -> None:
    x = leaf(0.5)
    y = x
    depth = 3000
    for _ in range(depth):
        y = y * 1.001 + x * x
    first = gz.grad(y, x, create_graph=True)
    second = gz.grad(first, x)
    r = 1.001
    total = (r**depth - 1) / (r - 1)
    assert first.item() == pytest.approx(r**depth + total * 2 * 0.5, rel=1e-10)
    assert float(second) == pytest.approx(2 * total, rel=1e-10)
    del first, y


def test_a_rule_without_definition_cannot_be_differentiated_twice() -> None:
    class Opaque(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            return x * 2

        def backward(self, node: Node, dy: Any) -> Any:
            return dy * 2

    x = leaf([1.0])
    with pytest.raises(gz.GradientError, match="defines neither `expand` nor `saves`"):
        gz.grad(Opaque()(x), x, create_graph=True)


def test_a_rule_that_did_not_save_its_inputs_is_told_so() -> None:
    class Forgetful(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            return x * 2

        def backward(self, node: Node, dy: Any) -> Any:
            return dy * 2

        def expand(self, node: Node, x: Any) -> Any:
            return x + x

    x = leaf([1.0])
    with pytest.raises(gz.GradientError, match="needs the values of its inputs"):
        gz.grad(Forgetful()(x), x, create_graph=True)


# Of functions ---------------------------------------------------------------------------------------------------------

finite = st.floats(-2, 2, allow_subnormal=False)


@settings(max_examples=40)
@given(arrays(np.float64, (3,), elements=finite), arrays(np.float64, (3,), elements=finite), st.integers(0, 100))
def test_products_with_the_jacobian_of_a_map(x: np.ndarray, v: np.ndarray, seed: int) -> None:
    a = np.random.default_rng(seed).standard_normal((2, 3))
    u = np.random.default_rng(seed + 1).standard_normal(2)

    def function(x: Any) -> Any:
        return np.tanh(gz.tensor(a) @ x)

    value = np.tanh(a @ x)
    expected = (1 - value**2)[:, None] * a
    np.testing.assert_allclose(gz.jacobian(function, x), expected, atol=1e-13)
    got, along = gz.jvp(function, x, v)
    np.testing.assert_allclose(got, value, atol=1e-15)
    np.testing.assert_allclose(along, expected @ v, atol=1e-13)
    got, against = gz.vjp(function, x, u)
    np.testing.assert_allclose(got, value, atol=1e-15)
    np.testing.assert_allclose(against, u @ expected, atol=1e-13)


@settings(max_examples=40)
@given(arrays(np.float64, (3,), elements=finite), arrays(np.float64, (3,), elements=finite))
def test_hessian_and_its_product(x: np.ndarray, v: np.ndarray) -> None:
    a = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [1.0, 1.0, -2.0]])

    def function(x: Any) -> Any:
        return x @ gz.tensor(a) @ x + (x * x * x).sum()

    hessian = a + a.T + np.diag(6 * x)
    np.testing.assert_allclose(gz.hessian(function, x), hessian, atol=1e-12)
    gradient, product = gz.hvp(function, x, v)
    np.testing.assert_allclose(gradient, (a + a.T) @ x + 3 * x**2, atol=1e-12)
    np.testing.assert_allclose(product, hessian @ v, atol=1e-11)


def test_shapes_of_jacobians() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(3.0)
    jx, jy = gz.jacobian(lambda x, y: (x * y)[:, :2], (x, y))
    assert jx.shape == (2, 2, 2, 3)
    assert jy.shape == (2, 2, 3)
    expected = np.zeros((2, 2, 2, 3))
    for i in range(2):
        for j in range(2):
            expected[i, j, i, j] = y[j]
    np.testing.assert_array_equal(jx, expected)


def test_functions_of_several_inputs_some_without_influence() -> None:
    x, y, unused = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0])
    value, (vx, vy, vu) = gz.vjp(lambda x, y, u: (x * y).sum(), (x, y, unused))
    assert value == 11.0
    np.testing.assert_array_equal(vx, y)
    np.testing.assert_array_equal(vy, x)
    np.testing.assert_array_equal(vu, [0.0])
    _, along = gz.jvp(lambda x, y, u: x * y, (x, y, unused), (np.ones(2), np.array([10.0, 0.0]), np.ones(1)))
    np.testing.assert_array_equal(along, y + x * [10.0, 0.0])
    blocks = gz.hessian(lambda x, y, u: (x * x * y).sum(), (x, y, unused))
    np.testing.assert_array_equal(blocks[0][0], np.diag(2 * y))
    np.testing.assert_array_equal(blocks[0][1], np.diag(2 * x))
    np.testing.assert_array_equal(blocks[1][1], np.zeros((2, 2)))
    assert blocks[2][0].shape == (1, 2)
    _, (hx, hy, hu) = gz.hvp(lambda x, y, u: (x * x * y).sum(), (x, y, unused), (np.ones(2), np.ones(2), np.ones(1)))
    np.testing.assert_array_equal(hx, 2 * y + 2 * x)
    np.testing.assert_array_equal(hy, 2 * x)
    np.testing.assert_array_equal(hu, [0.0])


def test_linear_and_constant_functions() -> None:
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(gz.hessian(lambda x: x.sum(), x), np.zeros((2, 2)))
    np.testing.assert_array_equal(gz.jacobian(lambda x: gz.tensor(np.ones(3)), x), np.zeros((3, 2)))
    np.testing.assert_array_equal(gz.jvp(lambda x: gz.tensor(np.ones(3)), x, x)[1], np.zeros(3))
    np.testing.assert_array_equal(gz.hvp(lambda x: x.sum(), x, x)[1], np.zeros(2))


def test_functions_work_inside_no_grad() -> None:
    x = np.array([1.0, 2.0])
    with gz.no_grad():
        np.testing.assert_array_equal(gz.jvp(lambda x: x * x, x, np.ones(2))[1], 2 * x)
        np.testing.assert_array_equal(gz.hessian(lambda x: (x * x * x).sum(), x), np.diag(6 * x))
        np.testing.assert_array_equal(gz.hvp(lambda x: (x * x * x).sum(), x, np.ones(2))[1], 6 * x)
        np.testing.assert_array_equal(gz.vjp(lambda x: x * x, x, np.ones(2))[1], 2 * x)


def test_products_through_definitions() -> None:
    module = Affine(2, 3)
    x, v = np.array([[0.5, -1.0]]), np.array([[1.0, 2.0]])
    _, along = gz.jvp(module, x, v)
    np.testing.assert_allclose(along, v @ module.weight.numpy(), rtol=1e-14)


def test_refusals() -> None:
    x = np.ones(2)
    with pytest.raises(gz.GradientError, match="single number"):
        gz.hessian(lambda x: x * x, x)
    with pytest.raises(gz.ArgumentError, match="one tensor"):
        gz.jacobian(lambda x: (x, x), x)
    with pytest.raises(gz.DtypeError, match="floating-point"):
        gz.jacobian(lambda x: x * 2, np.array([1, 2]))


# Contributions --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 50))
def test_contributions_add_up_to_the_gradient(steps: int, seed: int) -> None:
    module = Affine(3, 3, seed)

    def loss() -> Any:
        y = gz.tensor(np.random.default_rng(seed).standard_normal((2, 3)))
        for t in range(steps):
            with gz.time_step(t):
                y = np.tanh(module(y))
        return (y * y).sum() + (module.weight * module.weight).sum() * 0.1  # a penalty is a use, too

    uses = gz.contributions(loss(), module)
    loss().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    for name, parameter in module.named_parameters():
        total = sum(use.gradient for use in uses[name])
        np.testing.assert_allclose(total, parameter.grad, rtol=1e-12, atol=1e-13)
    assert [use.t for use in uses["bias"]] == list(range(steps))
    assert [(use.t, use.argument) for use in uses["weight"]][:steps] == [(t, "weight") for t in range(steps)]
    assert [use.argument for use in uses["weight"]][steps:] == ["a", "b"]
    assert all(isinstance(use.node.module, (Affine, gz.Multiply)) for use in uses["weight"])


def test_contributions_of_tied_and_computed_tensors_and_by_tensor() -> None:
    first, second = Affine(3, 3), Affine(3, 3, 1)
    second.weight = first.weight
    x = leaf(np.ones((1, 3)))
    h = first(x)
    loss = (second(h) * 2.0).sum()
    uses = gz.contributions(loss, [first.weight, h], retain_graph=True)
    loss.backward()
    assert [use.node.module for use in uses[first.weight]] == [first, second]
    np.testing.assert_allclose(sum(use.gradient for use in uses[first.weight]), first.weight.grad, rtol=1e-13)
    assert len(uses[h]) == 1
    np.testing.assert_allclose(uses[h][0].gradient, 2.0 * np.ones((1, 3)) @ first.weight.numpy().T, rtol=1e-13)


def test_contributions_may_be_reduced_and_change_no_gradient() -> None:
    module = Affine(2, 2)
    loss = module(module(gz.tensor(np.ones((1, 2))))).sum()
    uses = gz.contributions(loss, {"w": module.weight}, reduce=np.linalg.norm)
    assert [np.ndim(use.gradient) for use in uses["w"]] == [0, 0]
    assert module.weight.grad is None


def test_a_parameter_without_use_contributes_nothing() -> None:
    module, other = Affine(2, 2), leaf([1.0])
    uses = gz.contributions(module(gz.tensor(np.ones((1, 2)))).sum(), {"other": other, "w": module.weight})
    assert uses["other"] == []
    assert len(uses["w"]) == 1


# Checkpoints ----------------------------------------------------------------------------------------------------------


def deep(module: Affine, steps: int) -> Any:
    def function(x: Any) -> Any:
        for _ in range(steps):
            x = np.tanh(module(x))
        return x

    return function


def test_a_checkpoint_gives_the_same_values_and_gradients() -> None:
    module = Affine(3, 3)
    results = []
    for wrapped in (False, True):
        x = leaf(np.random.default_rng(1).standard_normal((2, 3)))
        function = deep(module, 4)
        y = gz.checkpoint(function, x) if wrapped else function(x)
        (y * y).sum().backward()
        results.append((y.numpy(), x.grad, module.weight.grad, module.bias.grad))
        module.zero_grad()
    for plain, again in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, again)


def test_a_checkpoint_keeps_only_its_inputs() -> None:
    module = Affine(64, 64)
    x = leaf(np.ones((8, 64)))
    held = []
    for wrapped in (False, True):
        with gz.Tape() as tape:
            y = gz.checkpoint(deep(module, 50), x) if wrapped else deep(module, 50)(x)
            held.append((tape.bytes_held, tape.live_nodes))
        del y
    (plain, many), (kept, few) = held
    assert (many, few) == (100, 1)
    assert kept == x.numpy().nbytes
    assert plain > 50 * kept


def test_checkpoints_repeat_their_draws_and_leave_the_generator_alone() -> None:
    noise = Noise(0)
    x = leaf([1.0, 2.0])
    y = gz.checkpoint(lambda x: noise(noise(x)) * noise(x), x)
    state = noise.rng.bit_generator.state
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(2) for _ in range(3))
    np.testing.assert_allclose(y.numpy(), (x.numpy() + a + b) * (x.numpy() + c), rtol=1e-15)
    y.backward(np.ones(2))
    assert noise.calls == 6
    np.testing.assert_allclose(x.grad, 2 * x.numpy() + a + b + c, rtol=1e-14)
    assert noise.rng.bit_generator.state == state


def test_dropout_masks_are_repeated() -> None:
    dropout = gz.Dropout(0.5, rng=0)
    x = leaf(np.ones(40))
    y = gz.checkpoint(lambda x: dropout(x) * 3.0, x)
    y.backward(np.ones(40))
    np.testing.assert_array_equal(x.grad, y.numpy())
    assert 0 < np.count_nonzero(x.grad) < 40


def test_nested_checkpoints() -> None:
    noise, w = Noise(1), leaf([0.5, 2.0])
    x = leaf([1.0, 2.0])

    def inner(x: Any) -> Any:
        return noise(x) * w

    y = gz.checkpoint(lambda x: gz.checkpoint(inner, x) * noise(x), x)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(2), rng.standard_normal(2)
    y.backward(np.ones(2))
    np.testing.assert_allclose(w.grad, (x.numpy() + a) * (x.numpy() + b), rtol=1e-14)
    np.testing.assert_allclose(x.grad, w.numpy() * (2 * x.numpy() + a + b), rtol=1e-14)


def test_a_tensor_may_be_argument_and_closure_of_a_checkpoint() -> None:
    w = leaf([2.0, 3.0])
    gz.checkpoint(lambda a: a * w, w).backward(np.ones(2))
    np.testing.assert_array_equal(w.grad, [4.0, 6.0])
    h = w * 2.0
    w.grad = None
    gz.checkpoint(lambda a, b: a * h + b * a, h, h).backward(np.ones(2))
    np.testing.assert_array_equal(w.grad, 2 * 4 * 2 * w.numpy())


def test_what_a_closure_computed_before_is_reached() -> None:
    w, x = leaf([2.0]), leaf([5.0])
    h = w * w
    y = gz.checkpoint(lambda x: (x * h, x + h), x)
    (y[0] * y[1]).backward()
    np.testing.assert_array_equal(x.grad, [4.0 * 9 + 20])
    np.testing.assert_array_equal(w.grad, [4.0 * (5 * 9 + 20)])


def test_a_checkpoint_that_returns_its_argument_or_a_parameter() -> None:
    w, x = leaf([2.0]), leaf([5.0])
    a, b = gz.checkpoint(lambda x: (x, w), x)
    (a * 3.0 + b * 7.0).backward()
    np.testing.assert_array_equal(x.grad, [3.0])
    np.testing.assert_array_equal(w.grad, [7.0])


def test_second_derivatives_through_a_checkpoint() -> None:
    w, x = leaf([2.0]), leaf([5.0])
    y = gz.checkpoint(lambda x: x * x * x * w, x)
    first = gz.grad(y, x, create_graph=True)
    gx, gw = gz.grad(first, (x, w))
    np.testing.assert_allclose(first.numpy(), [3 * 25 * 2.0])
    np.testing.assert_allclose(gx, [6 * 5 * 2.0])
    np.testing.assert_allclose(gw, [3 * 25.0])


def test_a_parameter_that_changed_before_a_checkpoint_is_repeated_is_found() -> None:
    w, x = leaf([2.0], name="w"), leaf([5.0])
    y = gz.checkpoint(lambda x: x * w, x)
    w.data -= 1.0
    with pytest.raises(gz.OverwrittenError, match="'w'"):
        y.backward()


def test_a_checkpoint_without_gradient_is_a_plain_call() -> None:
    calls: list[Any] = []
    x = leaf([1.0])

    def function(x: Any) -> Any:
        calls.append(x)
        return x * 2.0

    with gz.no_grad():
        y = gz.checkpoint(function, x)
    assert not y.requires_grad
    assert not gz.checkpoint(function, np.ones(1)).requires_grad
    assert len(calls) == 2


def test_a_checkpoint_may_be_repeated_with_retain_graph() -> None:
    x = leaf([3.0])
    y = gz.checkpoint(lambda x: x * x, x)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [12.0])
    with pytest.raises(gz.ReleasedError):
        y.backward()


@pytest.mark.parametrize("product", [gz.jvp, gz.hvp])
@pytest.mark.parametrize(
    ("inputs", "v", "got"),
    [
        (np.ones(3), np.ones(2), r"\(2,\)"),
        ((np.ones(3), np.ones(1)), [np.ones(3)], r"\(3,\)"),
        ((np.ones(3), np.ones(1)), np.ones(3), r"\(3,\)"),
        ((np.ones(3),), [np.ones(3), np.ones(3)], r"\(3,\), \(3,\)"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(product: Any, inputs: Any, v: Any, got: str) -> None:
    with pytest.raises(gz.ShapeError, match=rf"direction v does not fit the inputs\n  got:      {got}\n"):
        product(lambda *xs: sum((x * x).sum() for x in xs), inputs, v)
