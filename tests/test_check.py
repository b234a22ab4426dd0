"""gz.check: it finds the mistakes people make, names the place, and lets what is right pass."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.tape import Node, note_draw

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3))


class Dense(gz.Module):
    """y = x W + b, written right; the classes below each make one mistake."""

    parameter_names = ("weight", "bias")

    def __init__(self, inputs: int = 3, outputs: int = 3) -> None:
        rng = np.random.default_rng(1)
        self.weight = gz.Parameter(rng.standard_normal((inputs, outputs)))
        self.bias = gz.Parameter(rng.standard_normal(outputs))

    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight, bias)
        return x @ weight + bias

    def backward(self, node: Node, dy: Any) -> Any:
        return dy @ node.saved[1].T

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": node.saved[0].T @ dy, "bias": dy.sum(axis=0)}

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight + bias


class WrongSign(Dense):
    def backward(self, node: Node, dy: Any) -> Any:
        return -super().backward(node, dy)


class MissingFactor(Dense):
    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight, bias)
        return 2 * (x @ weight) + bias

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        return (x @ weight) * 2 + bias

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": node.saved[0].T @ dy, "bias": dy.sum(axis=0)}

    def backward(self, node: Node, dy: Any) -> Any:
        return 2 * dy @ node.saved[1].T


class TransposedWeightGradient(Dense):
    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": dy.T @ node.saved[0], "bias": dy.sum(axis=0)}


class ForgottenSum(Dense):
    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": node.saved[0].T @ dy, "bias": dy[0].copy()}


class StateOnTheModule(Dense):
    """Keeps its input on itself, where the next use overwrites it."""

    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight, bias)
        self.x = x
        return x @ weight + bias

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"weight": self.x.T @ dy, "bias": dy.sum(axis=0)}


class WrongExpand(Dense):
    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight - bias


class WrongSaved(Dense):
    """Saves its parameters in another order than it declares them: its definition is fed the wrong values."""

    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight.T, bias)
        return x @ weight + bias

    def backward(self, node: Node, dy: Any) -> Any:
        return dy @ node.saved[1]


class BorrowedGradient(gz.Module):
    """y = x + shift of the same shape; hands out dy itself as the gradient of its parameter."""

    parameter_names = ("shift",)

    def __init__(self) -> None:
        self.shift = gz.Parameter(np.ones((4, 3)))

    def forward(self, node: Node, x: Any, shift: Any) -> Any:
        node.saved = (x, shift)
        return x + shift

    def backward(self, node: Node, dy: Any) -> Any:
        return dy

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"shift": dy}

    def expand(self, node: Node, x: Any, shift: Any) -> Any:
        return x + shift


def failed(report: Any) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def test_what_is_right_passes() -> None:
    report = gz.check(Dense(), X)
    assert report
    assert not report.warnings
    names = [check.name for check in report.checks]
    for expected in (
        "input 0: elements",
        "input 0: directions",
        "weight: elements",
        "bias: directions",
        "Dense = expand: output 0",
        "Dense = expand: gradient of x",
        "Dense = expand: gradient of weight",
        "Dense: fresh gradients",
        "used twice",
        "second order",
    ):
        assert expected in names
    assert all(check.error < 1e-6 for check in report.checks if check.name != "second order")


@pytest.mark.parametrize(
    ("faulty", "first"),
    [
        (WrongSign, "input 0: elements"),
        (MissingFactor, "weight: elements"),
        (TransposedWeightGradient, "weight: elements"),
        (ForgottenSum, "bias: elements"),
        (StateOnTheModule, "used twice"),
        (WrongExpand, "WrongExpand = expand: output 0"),
        (WrongSaved, "WrongSaved = expand: gradient of x"),
        (BorrowedGradient, "BorrowedGradient: fresh gradients"),
    ],
)
def test_planted_mistakes_are_found(faulty: type[gz.Module], first: str) -> None:
    report = gz.check(faulty(), X, raises=False)
    assert not report
    assert first in failed(report)
    with pytest.raises(gz.CheckFailed) as caught:
        gz.check(faulty(), X)
    assert f"FAILED  {first}" in str(caught.value)
    assert isinstance(caught.value, AssertionError)


def test_state_on_the_module_is_found_by_the_second_use_alone() -> None:
    assert failed(gz.check(StateOnTheModule(), X, raises=False, order=1)) == {"used twice"}


def test_inputs_drawn_with_the_same_seed_hide_nothing() -> None:
    """Were the outputs weighted with X itself, the gradient XᵀX would be symmetric."""
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((4, 3))
        assert "weight: elements" in failed(gz.check(TransposedWeightGradient(), x, rng=seed, raises=False))


def test_the_worst_place_is_told_with_both_values() -> None:
    class OneElement(gz.Module):
        saves = (0,)

        def forward(self, node: Node, x: Any) -> Any:
            node.saved = (x,)
            return x * x

        def backward(self, node: Node, dy: Any) -> Any:
            factor = np.full((4, 3), 2.0)
            factor[2, 1] = 5.0
            return factor * dy * node.saved[0]

    report = gz.check(OneElement(), X, raises=False, order=1)
    check = next(check for check in report.checks if check.name == "input 0: elements")
    found = re.fullmatch(r"worst at \(2, 1\): got (\S+), expected (\S+)", check.detail)
    assert found
    assert float(found[1]) == pytest.approx(2.5 * float(found[2]), rel=1e-6)


def test_a_wrong_derivative_of_the_derivative_is_found() -> None:
    class RightOnce(gz.Module):
        """x³, whose gradient is right and whose gradient's graph is not: it cuts x off."""

        saves = (None,)

        def forward(self, node: Node, x: Any) -> Any:
            node.saved = (x,)
            return x * x * x

        def backward(self, node: Node, dy: Any) -> Any:
            return dy * (3 * node.saved[0] * node.saved[0])

    assert gz.check(RightOnce(), X, order=1)
    assert failed(gz.check(RightOnce(), X, raises=False)) == {"second order"}


def test_functions_with_several_inputs_and_outputs() -> None:
    def function(a: Any, b: Any) -> Any:
        return np.tanh(a @ b), {"unused": 0}["unused"] * a + a * a

    assert gz.check(function, (X, RNG.standard_normal((3, 2))))


def test_integers_and_masks_are_held_fixed() -> None:
    def function(x: Any, index: Any, mask: Any) -> Any:
        return gz.where(mask, x[index] * x[index], x[:3, ...] * 3.0)

    report = gz.check(function, (X[:, 0], np.array([2, 0, 1]), np.array([True, False, True])))
    assert report
    assert {check.name.partition(":")[0] for check in report.checks} == {"input 0", "used twice", "second order"}


def test_modules_are_checked_in_float64_and_left_alone() -> None:
    module = Dense()
    before = module.state_dict()
    gz.check(module, X.astype(np.float32))
    assert module.weight.dtype == np.float32
    assert module.weight.grad is None
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_stochastic_modules_are_checked_with_repeated_draws() -> None:
    class Drop(gz.Module):
        saves = (None,)

        def __init__(self) -> None:
            self.rng = np.random.default_rng(3)

        def forward(self, node: Node, x: Any) -> Any:
            note_draw(self.rng)
            mask = self.rng.random(x.shape) < 0.5
            node.saved = (mask,)
            return x * mask

        def backward(self, node: Node, dy: Any) -> Any:
            return dy * node.saved[0]

    module = Drop()
    state = module.rng.bit_generator.state
    assert gz.check(gz.Sequential(module, Dense()), X)
    assert module.rng.bit_generator.state == state


def test_a_function_that_draws_by_itself_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(gz.ArgumentError, match="another value at each call"):
        gz.check(lambda x: x * rng.random(), X)


def test_values_that_are_not_finite_are_refused() -> None:
    with np.errstate(invalid="ignore"), pytest.raises(gz.ArgumentError, match="not finite"):
        gz.check(np.log, np.array([-1.0]))


def test_a_kink_nearby_is_warned_of() -> None:
    def function(x: Any) -> Any:
        return abs(x).sum()

    far = gz.check(function, np.array([1.0, -2.0]))
    assert far.warnings == []
    near = gz.check(function, np.array([1.0, 1e-7, -2.0]), raises=False)
    assert not near
    assert near.warnings == [
        "input 0: near a kink or jump at (1,): left and right slopes differ; move the input away from it"
    ]
    assert "warning: input 0: near a kink" in str(near)


def test_large_inputs_are_sampled() -> None:
    x = np.random.default_rng(0).standard_normal((30, 40))
    assert gz.check(lambda x: np.tanh(x) * 2.0, x, order=1)


def test_refusals() -> None:
    with pytest.raises(gz.ArgumentError, match="nothing to differentiate"):
        gz.check(lambda x: x, np.array([1, 2]))
    with pytest.raises(gz.ArgumentError, match="returns tensors"):
        gz.check(lambda x: x.numpy(), X)
    with pytest.raises(gz.ArgumentError, match="wrap the call"):
        gz.check(lambda x, h: x, (X, (X, X)))


def test_a_constant_output_has_zero_gradient() -> None:
    assert gz.check(lambda x: gz.tensor(np.ones(2)), X)


def test_the_report_is_a_table() -> None:
    lines = str(gz.check(Dense(), X)).splitlines()
    assert lines[0] == "check of Dense"
    assert all(re.fullmatch(r"  ok      .*\S +error \d\.\de[+-]\d\d", line) for line in lines[1:])
    assert repr(gz.check(Dense(), X)) == "\n".join(lines)


def test_the_same_seed_gives_the_same_report() -> None:
    assert str(gz.check(Dense(), X, rng=4)) == str(gz.check(Dense(), X, rng=4))
