"""The backward sweep: order, accumulation, release, hooks, the parameter pass, writes that come too early."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.backward import unbroadcast
from graphzoo.tape import RELEASED, Node, stand_in


def leaf(values: Any, dtype: Any = np.float64, **options: Any) -> gz.Tensor:
    return gz.tensor(np.array(values, dtype), requires_grad=True, **options)


class Affine(gz.Module):
    """A rule with parameters that counts its passes: y = x W + b, W of shape (inputs, outputs)."""

    parameter_names = ("weight", "bias")

    def __init__(self, inputs: int, outputs: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weight = gz.Parameter(rng.standard_normal((inputs, outputs)), np.float64)
        self.bias = gz.Parameter(rng.standard_normal(outputs), np.float64)
        self.calls: list[str] = []

    def forward(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        node.saved = (x, weight, bias)
        return x @ weight + bias

    def backward(self, node: Node, dy: Any) -> Any:
        self.calls.append("backward")
        return dy @ node.saved[1].T

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        self.calls.append("parameters")
        return {"weight": node.saved[0].T @ dy, "bias": dy.sum(axis=0)}

    def expand(self, node: Node, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight + bias


class Stacked(Affine):
    """The same, with the parameter passes of all its uses joined."""

    def stack(self, nodes: list[Node], dys: list[Any]) -> tuple[Node, Any]:
        self.calls.append(f"stack {len(nodes)}")
        x = np.concatenate([node.saved[0] for node in nodes])
        return stand_in(nodes[0], (x, *nodes[0].saved[1:])), np.concatenate(dys)


class Halves(gz.Module):
    """A rule with two outputs: the halves of the last axis, the second negated."""

    saves = ()

    def forward(self, node: Node, x: Any) -> Any:
        middle = x.shape[-1] // 2
        return x[..., :middle], -x[..., middle:]

    def backward(self, node: Node, dy: Any) -> Any:
        first, second = dy
        shape, other = node.shape
        first = np.zeros(shape) if first is None else first
        second = np.zeros(other) if second is None else second
        return np.concatenate([first, -second], axis=-1)


# What flows where -----------------------------------------------------------------------------------------------------


def test_a_tensor_used_twice_by_one_node_has_two_edges() -> None:
    x = leaf([3.0, -2.0])
    y = x * x
    assert y.node.inputs == (x.source, x.source)
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [6.0, -4.0])


def test_a_diamond_waits_for_all_users() -> None:
    x = leaf([0.5, 1.5])
    y = x * x
    z = y * y + y * x + y
    z.backward(np.ones(2))
    v = x.numpy()
    np.testing.assert_allclose(x.grad, 4 * v**3 + 3 * v**2 + 2 * v, rtol=1e-15)


def test_two_to_the_fifty_paths_are_walked_once() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(50):
        y = y + y
    y.backward()
    assert x.grad == 2.0**50


def test_gradients_accumulate_over_passes_until_they_are_cleared() -> None:
    x = leaf([1.0, 2.0])
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad, 2 * times * x.numpy())
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.numpy())


def test_only_what_requires_a_gradient_gets_one() -> None:
    x, c = leaf([1.0, 2.0]), gz.tensor(np.array([3.0, 4.0]))
    (x * c + c).sum().backward()
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])
    assert c.grad is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradients_have_the_dtype_of_their_tensor(dtype: Any) -> None:
    x, w = leaf([1.0, 2.0], dtype), leaf([3.0, 4.0], np.float64)
    (x * w).sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (dtype, np.float64)
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


def test_a_loss_that_is_itself_a_leaf() -> None:
    x = leaf(2.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_a_gradient_to_start_from() -> None:
    x = leaf([[1.0, 2.0, 3.0]])
    start = np.array([[1.0, 10.0, 100.0]])
    (x * x).backward(start)
    np.testing.assert_array_equal(x.grad, [[2.0, 40.0, 600.0]])
    np.testing.assert_array_equal(start, [[1.0, 10.0, 100.0]])
    x.grad = None
    (x * x).backward([[1, 0, 0]])
    np.testing.assert_array_equal(x.grad, [[2.0, 0.0, 0.0]])
    x.grad = None
    (x * x).backward(gz.tensor(start))
    np.testing.assert_array_equal(x.grad, [[2.0, 40.0, 600.0]])


def test_a_gradient_to_start_from_is_refused_where_it_does_not_fit() -> None:
    x = leaf([[1.0, 2.0, 3.0]])
    with pytest.raises(gz.GradientError, match="needs a gradient to start from"):
        (x * x).backward()
    with pytest.raises(gz.ShapeError, match=r"got: +\(3,\)"):
        (x * x).backward(np.ones(3))
    with pytest.raises(gz.GradientError, match="no gradient flows to"):
        gz.tensor([1.0]).backward()


def test_a_single_number_may_have_any_number_of_axes() -> None:
    x = leaf([[[2.0]]])
    (x * x).backward()
    np.testing.assert_array_equal(x.grad, [[[4.0]]])


def test_empty_tensors() -> None:
    x = leaf(np.zeros((0, 3)))
    (x * x).sum().backward()
    assert x.grad.shape == (0, 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=4), st.integers(0, 2))
def test_unbroadcast_is_the_transpose_of_broadcasting(axes: list[tuple[int, bool]], dropped: int) -> None:
    big = tuple(size for size, _ in axes)
    small = tuple(1 if one else size for size, one in axes)[dropped:]
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(small), rng.standard_normal(big)
    back = unbroadcast(dy, small)
    assert back.shape == small
    np.testing.assert_allclose((np.broadcast_to(x, big) * dy).sum(), (x * back).sum(), atol=1e-12)


OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b * 0.5,
    "t": lambda a, b: np.tanh(a),
}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("+*-t"), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_random_graphs_against_central_differences(program: list[tuple[str, int, int]]) -> None:
    def run(x: Any, y: Any) -> Any:
        values = [x, y]
        for operation, i, j in program:
            values.append(OPERATIONS[operation](values[i % len(values)], values[j % len(values)]))
        return values[-1] + values[len(values) // 2]

    x, y = leaf([0.3, -0.4]), leaf([0.7, 0.2])
    run(x, y).sum().backward()
    h = 1e-6
    for tensor, move in ((x, lambda d: run(x.numpy() + d, y.numpy())), (y, lambda d: run(x.numpy(), y.numpy() + d))):
        numeric = (move(h) - move(-h)) / (2 * h)  # elementwise throughout: all elements at once
        got = np.zeros(2) if tensor.grad is None else tensor.grad
        np.testing.assert_allclose(got, numeric, rtol=1e-6, atol=1e-7)


# Several outputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["both", "first", "second"])
def test_several_outputs_are_one_node(use: str) -> None:
    x = leaf([1.0, 2.0, 3.0, 4.0])
    a, b = Halves()(x)
    assert a.node is b.node
    loss = {"both": (a * a).sum() + (b * a).sum() + b.sum(), "first": (a * a).sum(), "second": (b * b).sum()}[use]
    loss.backward()
    expected = {
        "both": [2 * 1 - 3, 2 * 2 - 4, -1 - 1, -2 - 1],
        "first": [2.0, 4.0, 0.0, 0.0],
        "second": [0.0, 0.0, 6.0, 8.0],
    }[use]
    np.testing.assert_array_equal(x.grad, expected)


def test_backward_from_one_of_several_outputs() -> None:
    x = leaf([1.0, 2.0])
    _, b = Halves()(x)
    b.backward()
    np.testing.assert_array_equal(x.grad, [0.0, -1.0])


def test_hooks_and_retained_gradients_belong_to_one_output() -> None:
    x = leaf([1.0, 2.0, 3.0, 4.0])
    a, b = Halves()(x)
    seen: list[np.ndarray] = []
    a.retain_grad()
    b.register_hook(seen.append)
    (a * 2 + b * 3).sum().backward()
    np.testing.assert_array_equal(a.grad, [2.0, 2.0])
    assert b.grad is None
    np.testing.assert_array_equal(seen, [[3.0, 3.0]])


# Who owns the arrays --------------------------------------------------------------------------------------------------


def test_leaves_never_share_a_gradient_array() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    start = np.ones(2)
    (x + y).backward(start)  # Add hands on the array it was given, twice
    assert not np.shares_memory(x.grad, y.grad)
    assert not np.shares_memory(x.grad, start)
    x.grad *= 100
    np.testing.assert_array_equal(y.grad, [1.0, 1.0])
    np.testing.assert_array_equal(start, [1.0, 1.0])


def test_accumulation_does_not_reach_into_arrays_that_others_hold() -> None:
    x, y, z = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0, 6.0])
    start = np.array([1.0, 1.0])
    total = x + y
    total = total + x + z + x + y
    total.retain_grad()
    total.backward(start)
    np.testing.assert_array_equal(start, [1.0, 1.0])
    np.testing.assert_array_equal(total.grad, [1.0, 1.0])
    for tensor, times in ((x, 3), (y, 2), (z, 1)):
        np.testing.assert_array_equal(tensor.grad, [times, times])
    (x + y).backward(start)
    np.testing.assert_array_equal(start, [1.0, 1.0])
    np.testing.assert_array_equal(total.grad, [1.0, 1.0])


def test_retained_gradients_are_copies() -> None:
    x = leaf([1.0, 2.0])
    a = x + 0.0
    b = a + 0.0
    a.retain_grad()
    b.retain_grad()
    b.backward(np.ones(2))
    a.grad[0] = 7
    np.testing.assert_array_equal(b.grad, [1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_gradients_seen_step_by_step_stay_as_they_were() -> None:
    x = leaf([1.0, 2.0])
    y = x + x * x + x
    seen, copies = [], []
    for step in gz.backward_steps(y, np.ones(2)):
        arrays = [g for g in (step.upstream, *step.gradients) if g is not None]
        seen += arrays
        copies += [g.copy() for g in arrays]
    for array, copy in zip(seen, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# Retaining and releasing ----------------------------------------------------------------------------------------------


def test_saved_arrays_are_released_and_the_structure_stays() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    z = y.sum()
    z.backward()
    assert y.node.saved is RELEASED
    assert y.node.released
    assert z.node.parents == (y.node,)
    assert (y.node.shape, y.node.dtype) == ((2,), np.float64)


def test_retain_graph_allows_another_pass() -> None:
    x = leaf([1.0, 2.0])
    z = (x * x).sum()
    z.backward(retain_graph=True)
    z.backward()
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])
    with pytest.raises(gz.ReleasedError):
        z.backward()
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])


def test_a_second_pass_through_a_shared_part_changes_no_gradient() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward()
    before = x.grad.copy()
    other = (y * y).sum()
    with pytest.raises(gz.ReleasedError, match="Multiply"):
        other.backward()
    np.testing.assert_array_equal(x.grad, before)


def test_a_carried_state_is_named_with_node_and_time_step() -> None:
    cell = gz.LSTMCell(2, 3, rng=0)
    x = gz.tensor(np.ones((1, 2), np.float32))
    state = None
    for t in range(2):
        with gz.time_step(t):
            state = cell(x, state)
    state[0].sum().backward()
    with gz.time_step(2):
        h, _ = cell(x, state)
    with pytest.raises(gz.ReleasedError) as caught:
        h.sum().backward()
    text = str(caught.value)
    assert text.startswith("LSTMCell (t=2) took its input `h`")
    assert "from LSTMCell (t=1)" in text
    assert "gz.detach_state" in text


# Hooks ----------------------------------------------------------------------------------------------------------------


def test_hooks_see_the_complete_gradient_and_may_replace_it() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    seen: list[np.ndarray] = []
    y.register_hook(lambda gradient: seen.append(gradient.copy()))
    y.register_hook(lambda gradient: gradient * 10)
    x.register_hook(lambda gradient: gradient + 1)
    (y * y + y).sum().backward()
    np.testing.assert_array_equal(seen, [[7.0, 13.0]])
    np.testing.assert_array_equal(x.grad, [211.0, 391.0])


def test_a_removed_hook_is_not_called_and_removing_twice_is_harmless() -> None:
    x = leaf([1.0])
    remove = x.register_hook(lambda gradient: gradient * 0)
    keep = x.register_hook(lambda gradient: gradient * 2)
    remove()
    remove()
    x.sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0])
    keep()


def test_a_leaf_hook_sees_this_pass_alone() -> None:
    x = leaf([1.0])
    seen: list[float] = []
    x.register_hook(lambda gradient: seen.append(float(gradient[0])))
    for _ in range(2):
        (x * 5 + x).sum().backward()
    assert seen == [6.0, 6.0]
    np.testing.assert_array_equal(x.grad, [12.0])


def test_a_hook_cannot_write_into_an_array_that_others_hold() -> None:
    x, y = leaf([1.0]), leaf([2.0])

    def write(gradient: np.ndarray) -> None:
        gradient *= 2

    x.register_hook(write)
    with pytest.raises(ValueError, match="read-only"):
        (x + y).sum().backward()
    assert x.grad is None
    assert y.grad is None


def test_a_hook_that_returns_another_shape_is_refused() -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda gradient: gradient[:1])
    with pytest.raises(gz.ShapeError, match="another shape"):
        x.sum().backward()


def test_hooks_need_a_gradient_to_hook_on() -> None:
    with pytest.raises(gz.GradientError, match="register_hook"):
        gz.tensor([1.0]).register_hook(print)


def test_retained_gradients_add_up_over_passes() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    np.testing.assert_array_equal(y.grad, [2.0, 2.0])
    assert (y * 1).grad is None


# Step by step ---------------------------------------------------------------------------------------------------------


def test_steps_come_newest_first_and_end_in_the_leaves() -> None:
    module = Affine(2, 3)
    x = leaf(np.ones((4, 2)))
    loss = np.tanh(module(x)).sum()
    steps = list(gz.backward_steps(loss))
    assert [type(step.node.module).__name__ for step in steps] == ["Sum", "Tanh", "Affine"]
    assert all(a.node.number > b.node.number for a, b in pairwise(steps))
    last = steps[-1]
    np.testing.assert_array_equal(last.inputs[0], x.grad)
    np.testing.assert_array_equal(last.parameters["weight"], module.weight.grad)
    np.testing.assert_array_equal(last.parameters["bias"], module.bias.grad)


def test_an_abandoned_pass_changes_no_leaf() -> None:
    x = leaf([1.0])
    steps = gz.backward_steps((x * x * x).sum())
    next(steps)
    next(steps)
    steps.close()
    assert x.grad is None


def test_an_error_midway_changes_no_leaf_and_says_where() -> None:
    class Breaks(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            return x + 0

        def backward(self, node: Node, dy: Any) -> Any:
            raise ZeroDivisionError("as planned")

    x, y = leaf([1.0]), leaf([1.0])
    module = Breaks()
    with gz.time_step(4):
        broken = module(x)
    loss = (broken + y).sum()
    with pytest.raises(ZeroDivisionError) as caught:
        loss.backward()
    assert caught.value.__notes__ == ["  in the backward pass of Breaks (t=4)"]
    assert x.grad is None
    assert y.grad is None


def test_a_hook_that_returns_another_dtype_does_not_change_that_of_gradients() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.register_hook(lambda gradient: np.array([0.5, 2.0]))  # float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [1.0, 8.0])


def test_a_write_is_noticed_by_all_nodes_that_are_older_and_by_no_newer_one() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True)
    old = x[:1] * x[:1]  # saves views of x's memory, which Index has handed on
    with gz.no_grad():
        x[:] = 5.0
    new = x * x
    new.sum().backward()
    np.testing.assert_array_equal(x.grad, [10.0, 10.0])
    with pytest.raises(gz.OverwrittenError, match="Multiply"):
        (old.sum() + (x * x).sum()).backward()
    np.testing.assert_array_equal(x.grad, [10.0, 10.0])


# The parameter pass ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack_bytes", [0, 1, 200, 1 << 23])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_uses_of_a_module_add_up_however_they_are_stacked(steps: int, stack_bytes: int) -> None:
    module, plain = Stacked(3, 3), Affine(3, 3)
    x = leaf(np.random.default_rng(1).standard_normal((2, 3)))
    results = []
    for each, size in ((module, stack_bytes), (plain, 0)):
        y = x
        for _ in range(steps):
            y = np.tanh(each(y))
        y.backward(np.ones((2, 3)), stack_bytes=size)
        results.append((each.weight.grad, each.bias.grad))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13)
    if stack_bytes == 0:
        assert module.calls.count("parameters") == steps
    if stack_bytes == 1 << 23:
        assert module.calls.count("parameters") == min(steps, 2)  # the first use, and all others at once
    if stack_bytes == 200 and steps == 7:  # a use holds two arrays of 48 and one of 72 bytes: two or three fit
        assert 1 < module.calls.count("parameters") < 7


class Scale(gz.Module):
    """One number as parameter: its gradients are NumPy scalars, which cannot be added to in place."""

    parameter_names = ("scale",)

    def __init__(self) -> None:
        self.scale = gz.Parameter(2.0, np.float64)

    def forward(self, node: Node, x: Any, scale: Any) -> Any:
        node.saved = (x, scale)
        return x * scale

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * node.saved[1]

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"scale": (dy * node.saved[0]).sum()}

    def stack(self, nodes: list[Node], dys: list[Any]) -> tuple[Node, Any]:
        x = np.concatenate([node.saved[0] for node in nodes])
        return stand_in(nodes[0], (x, nodes[0].saved[1])), np.concatenate(dys)


@pytest.mark.parametrize("stack_bytes", [0, 1, 40, 1 << 23])
def test_a_scalar_parameter_keeps_every_use(stack_bytes: int) -> None:
    module = Scale()
    for times in (1, 2):
        y = gz.tensor(np.array([1.0, 2.0]))
        for _ in range(4):
            y = module(y)
        (y.sum() + module.scale).backward(stack_bytes=stack_bytes)
        assert isinstance(module.scale.grad, np.ndarray)
        assert module.scale.grad == times * (4 * 2.0**3 * 3 + 1)


@pytest.mark.parametrize("kind", [Affine, Stacked])
@pytest.mark.parametrize("stack_bytes", [0, 1 << 23])
def test_tied_weights_get_the_gradients_of_both_modules(kind: type[Affine], stack_bytes: int) -> None:
    first, second = kind(3, 3), kind(3, 3, seed=1)
    second.weight = first.weight
    x = np.random.default_rng(2).standard_normal((2, 3))
    second(np.tanh(first(gz.tensor(x)))).backward(np.ones((2, 3)), stack_bytes=stack_bytes)
    w, h = first.weight.numpy(), np.tanh(x @ first.weight.numpy() + first.bias.numpy())
    inner = (np.ones((2, 3)) @ w.T) * (1 - h * h)
    np.testing.assert_allclose(first.weight.grad, h.T @ np.ones((2, 3)) + x.T @ inner, rtol=1e-13)


@pytest.mark.parametrize("kind", [Affine, Stacked])
@pytest.mark.parametrize("stack_bytes", [0, 1, 1 << 23])
def test_a_weight_may_itself_be_computed(kind: type[Affine], stack_bytes: int) -> None:
    """Weight normalisation: w = g v / |v|, one length for each column, used by a module three times."""
    module = kind(3, 3)
    del module.weight
    v, g = leaf(np.random.default_rng(3).standard_normal((3, 3))), leaf([0.5, 1.0, 2.0])
    x = np.random.default_rng(4).standard_normal((2, 3))

    def run(v: Any, g: Any, use: Any) -> Any:
        weight = g * v / np.sqrt((v * v).sum(axis=0))
        y = x
        for _ in range(3):
            y = np.tanh(use(y, weight))
        return (y * y).sum()

    def through_module(y: Any, weight: Any) -> Any:
        module.weight = weight
        return module(y)

    run(v, g, through_module).backward(stack_bytes=stack_bytes)
    h = 1e-6
    for tensor, name in ((v, "v"), (g, "g")):
        numeric = np.zeros(tensor.shape)
        for place in np.ndindex(tensor.shape):
            ends = []
            for sign in (1, -1):
                moved = {"v": v.numpy().copy(), "g": g.numpy().copy()}
                moved[name][place] += sign * h
                ends.append(run(moved["v"], moved["g"], lambda y, weight: y @ weight + module.bias.numpy()))
            numeric[place] = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(tensor.grad, numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("stack_bytes", [0, 1, 2000, 1 << 23])
@pytest.mark.parametrize("kind", [gz.RNNCell, gz.LSTMCell, gz.GRUCell])
def test_steps_of_a_cell_add_up_however_they_are_stacked(kind: Any, stack_bytes: int) -> None:
    """Also where the first step has no input that needs a gradient, so that its backward pass is left out."""
    cell = kind(2, 3, rng=0).astype(np.float64)
    x = gz.tensor(np.random.default_rng(1).standard_normal((6, 4, 2)))

    def loss() -> Any:
        state: Any = None
        for t in range(6):
            state = cell(x[t], state)
        h = state[0] if isinstance(state, tuple) else state
        return (h * h).sum()

    by_use = gz.contributions(loss(), cell)
    loss().backward(stack_bytes=stack_bytes)
    for name, parameter in cell.named_parameters():
        assert [use.t for use in by_use[name]] == list(range(6))
        np.testing.assert_allclose(parameter.grad, sum(use.gradient for use in by_use[name]), rtol=1e-12, atol=1e-14)


def test_the_parameter_pass_of_frozen_parameters_is_not_run() -> None:
    module = Affine(2, 3)
    module.requires_grad_(False)
    x = leaf(np.ones((4, 2)))
    module(x).sum().backward()
    assert module.calls == ["backward"]
    assert module.weight.grad is None
    assert x.grad is not None


def test_the_backward_pass_is_not_run_where_only_parameters_ask() -> None:
    module = Affine(2, 3)
    module(np.ones((4, 2))).sum().backward()
    assert module.calls == ["parameters"]


def test_a_partly_frozen_module_leaves_the_frozen_part_alone() -> None:
    for kind in (Affine, Stacked):
        module = kind(2, 3)
        module.weight.requires_grad = False
        module(np.ones((4, 2))).sum().backward()
        assert module.weight.grad is None
        np.testing.assert_array_equal(module.bias.grad, [4.0, 4.0, 4.0])


def test_asking_for_input_gradients_alone_runs_no_parameter_pass() -> None:
    module = Affine(2, 3)
    x = leaf(np.ones((4, 2)))
    gz.grad(module(x).sum(), x)
    assert module.calls == ["backward"]


def test_freezing_between_the_passes_and_thawing_again() -> None:
    w = leaf([2.0])
    seen: list[Any] = []
    w.register_hook(seen.append)
    y = w * w
    w.requires_grad = False
    frozen = (w * 3).requires_grad
    w.requires_grad = True
    y.backward()
    assert not frozen
    np.testing.assert_array_equal(w.grad, [4.0])
    assert len(seen) == 1


def test_a_leaf_that_is_frozen_when_the_pass_ends_gets_nothing() -> None:
    w, x = leaf([2.0]), leaf([3.0])
    y = w * x
    w.requires_grad = False
    y.backward()
    assert w.grad is None
    np.testing.assert_array_equal(x.grad, [2.0])


def test_a_leaf_that_was_frozen_when_it_was_used_gets_nothing() -> None:
    """As when a generator is trained through a frozen discriminator."""
    w, x = leaf([2.0]), leaf([3.0])
    w.requires_grad = False
    y = w + x * w
    w.requires_grad = True
    y.backward()
    assert w.grad is None
    np.testing.assert_array_equal(x.grad, [2.0])


# Rules that break their word ------------------------------------------------------------------------------------------


class Faulty(gz.Module):
    def __init__(self, backward: Any) -> None:
        self.result = backward

    def forward(self, node: Node, x: Any, y: Any) -> Any:
        return x + y

    def backward(self, node: Node, dy: Any) -> Any:
        return self.result(dy)


@pytest.mark.parametrize(("returned", "got"), [(3.0, "float 3.0"), ([1.0, 2.0], "list"), ((None, 2), "None, int 2")])
def test_a_gradient_that_is_no_array_is_refused_by_name(returned: Any, got: str) -> None:
    class Odd(gz.Module):
        def forward(self, node: Node, *inputs: Any) -> Any:
            return inputs[0] * 2.0

        def backward(self, node: Node, dy: Any) -> Any:
            return returned

    inputs = [leaf([1.0, 2.0]) for _ in range(len(returned) if isinstance(returned, tuple) else 1)]
    with pytest.raises(gz.GradientError, match=rf"Odd returned a gradient that is no array\n.*{got}"):
        Odd()(*inputs).sum().backward()
    assert all(x.grad is None for x in inputs)


def test_a_gradient_of_the_wrong_shape_is_refused_by_name() -> None:
    x, y = leaf([[1.0, 2.0]]), leaf([[3.0, 4.0]])
    with pytest.raises(gz.ShapeError, match="Faulty returned a gradient of the wrong shape for its input y") as caught:
        Faulty(lambda dy: (dy, dy.T))(x, y).sum().backward()
    assert "(2, 1)" in str(caught.value)
    assert x.grad is None


@pytest.mark.parametrize("result", [lambda dy: dy, lambda dy: (dy,), lambda dy: (dy, dy, dy)])
def test_too_few_or_too_many_gradients_are_refused(result: Any) -> None:
    x, y = leaf([1.0]), leaf([3.0])
    with pytest.raises(gz.GradientError, match="wrong number of gradients"):
        Faulty(result)(x, y).sum().backward()


@pytest.mark.parametrize("kind", [Affine, Stacked])
def test_a_parameter_without_gradient_is_named(kind: type[Affine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "parameter_gradients", lambda self, node, dy: {"weigth": np.ones((2, 3)), "bias": dy[0]})
    with pytest.raises(gz.GradientError, match="parameter_gradients returned nothing for 'weight'"):
        kind(2, 3)(np.ones((1, 2))).sum().backward()


# Memory that is written to --------------------------------------------------------------------------------------------


def test_a_write_between_the_passes_is_found_and_named() -> None:
    w, x = leaf([2.0], name="w"), leaf([3.0])
    y = w * x
    w.data[...] = 5.0
    w.mark_written("SGD.step")
    with pytest.raises(gz.OverwrittenError) as caught:
        y.backward()
    assert "'w'" in str(caught.value)
    assert "Multiply" in str(caught.value)
    assert "SGD.step" in str(caught.value)
    assert x.grad is None


def test_a_write_that_no_node_minds_is_no_error() -> None:
    w, x = leaf([2.0]), leaf([3.0])
    y = w + x
    w.data -= 1.0
    y.backward()
    np.testing.assert_array_equal(w.grad, [1.0])


def test_a_write_to_a_neighbour_in_the_same_buffer_is_no_error() -> None:
    buffer = np.arange(12.0).reshape(3, 4)
    a, b = gz.tensor(buffer[:, :2], requires_grad=True), gz.tensor(buffer[:, 2:], requires_grad=True)
    y = (a * a).sum() + (b + 1.0).sum()
    b.data[...] = 0.0
    b.mark_written()
    y.backward()
    np.testing.assert_array_equal(a.grad, 2 * a.numpy())


def test_frozen_partners_save_nothing_that_a_write_could_spoil() -> None:
    w, c = leaf([2.0]), gz.tensor(np.array([3.0]))
    y = w * c
    w.data[...] = 7.0  # Multiply needs c for w's gradient, and w only for c's
    w.mark_written()
    y.backward()
    np.testing.assert_array_equal(w.grad, [3.0])


@pytest.mark.parametrize(
    "view", [lambda w: w.T, lambda w: w.reshape(-1), lambda w: w[:1], lambda w: w.T.reshape(2, 1)[1:]]
)
def test_a_write_is_found_through_views(view: Any) -> None:
    w = leaf([[2.0, 3.0]])
    y = view(w)
    loss = (y * y).sum()
    w.data[...] = 0.0
    w.mark_written("an optimiser")
    with pytest.raises(gz.OverwrittenError, match="an optimiser"):
        loss.backward()


def test_augmented_assignment_to_data_is_a_write() -> None:
    w = leaf([2.0])
    y = w * w
    w.data -= 1.0
    with pytest.raises(gz.OverwrittenError, match=r"in-place operation on \.data at test_backward\.py"):
        y.backward()


def test_assigning_another_array_is_no_write() -> None:
    w = leaf([2.0])
    y = w * w
    w.data = np.array([9.0])
    y.backward()
    np.testing.assert_array_equal(w.grad, [4.0])


def test_a_write_before_the_forward_pass_is_no_error() -> None:
    w = leaf([2.0])
    w.data -= 1.0
    (w * w).backward()
    np.testing.assert_array_equal(w.grad, [2.0])


def test_a_write_to_a_frozen_parameter_is_found_too() -> None:
    w, x = leaf([2.0]), leaf([3.0])
    w.requires_grad = False
    y = x * w
    w.requires_grad = True
    w.data += 1.0
    with pytest.raises(gz.OverwrittenError):
        y.backward()


def test_computed_tensors_cannot_be_written_to() -> None:
    y = np.exp(leaf([1.0]))
    with pytest.raises(gz.UnsupportedError, match="Exp"):
        y.data -= 1.0
    with pytest.raises(gz.UnsupportedError, match="Exp"):
        y[...] = 1.0


# Length, and what stays behind ----------------------------------------------------------------------------------------

LONG = 200_000


def test_a_long_chain_is_built_differentiated_and_dropped_without_recursion(no_cycles: None) -> None:
    x = leaf(1.0)
    y = x
    for _ in range(LONG):
        y = y + 1.0
    y.backward()
    assert x.grad == 1.0
    del y


def test_a_long_chain_is_dropped_without_recursion_when_it_was_never_differentiated(no_cycles: None) -> None:
    y = leaf(1.0)
    for _ in range(LONG):
        y = y * y
    del y


def test_a_long_chain_of_several_outputs_is_dropped_without_recursion(no_cycles: None) -> None:
    y = leaf([1.0, 1.0])
    halves = Halves()
    for _ in range(LONG // 20):
        a, b = halves(y)
        y = gz.concatenate([a, b])
    del a, b
    y.backward(np.ones(2))
    del y


def first_and_second_order() -> None:
    x = leaf([0.5, 2.0])
    g = gz.grad((np.tanh(x) * x * x).sum(), x, create_graph=True)
    (g * g).sum().backward()


def recurrent() -> None:
    cell, linear = gz.LSTMCell(2, 3, rng=0), gz.Linear(3, 1, rng=0)
    state: Any = None
    for t in range(3):
        with gz.time_step(t):
            state = cell(gz.tensor(np.ones((4, 2), np.float32)), state)
    linear(state[0]).sum().backward()
    sequence, _ = gz.LSTM(2, 3, num_layers=2, bidirectional=True, rng=0)(np.ones((4, 2, 2), np.float32))
    sequence.sum().backward()


def primitives() -> None:
    x = leaf([[0.5, 2.0], [1.0, 3.0]])
    y = np.log(x) @ x + np.maximum(x, 1.0).sum(axis=0) / x[0] - gz.concatenate([x, x])[1:3] ** 2
    gz.where(y.numpy() > 0, y, -y).mean().backward()


def watched() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    y.retain_grad()
    remove = y.register_hook(lambda gradient: gradient * 2)
    for _ in gz.backward_steps(y.sum()):
        pass
    remove()


def abandoned() -> None:
    x = leaf([1.0, 2.0])
    steps = gz.backward_steps((x * x).sum())
    next(steps)


def failed() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with suppress(gz.ReleasedError):
        y.backward()
    with suppress(gz.ShapeError):
        x @ leaf(np.ones((3, 3)))


def taped_and_checkpointed() -> None:
    w = leaf([3.0])
    with gz.Tape() as tape:
        gz.checkpoint(lambda x: np.tanh(x * w), leaf([2.0])).backward()
        assert tape.live_nodes >= 0


def by_use() -> None:
    module = Stacked(2, 2)
    gz.contributions(module(module(gz.tensor(np.ones((1, 2))))).sum(), module)


def forward_mode() -> None:
    gz.jvp(lambda x: np.tanh(x) * x, np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    gz.hessian(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]))


BUILDS = [primitives, first_and_second_order, recurrent, watched, abandoned, failed, taped_and_checkpointed, by_use]


@pytest.mark.parametrize("build", [*BUILDS, forward_mode])
def test_no_reference_cycles(build: Any) -> None:
    build()  # caches and lazy imports fill up
    gc.collect()
    gc.disable()
    try:
        build()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_memory_is_back_at_the_start_after_a_thousand_steps(no_cycles: None) -> None:
    module = Stacked(8, 8)
    x = gz.tensor(np.ones((4, 8)))

    def step() -> None:
        y = x
        for t in range(5):
            with gz.time_step(t):
                y = np.tanh(module(y))
        (y * y).mean().backward()
        for parameter in module.parameters():
            parameter.data -= 0.01 * parameter.grad
        module.zero_grad()
        module.calls.clear()

    step()
    tracemalloc.start()
    try:
        for _ in range(10):
            step()
        before = tracemalloc.get_traced_memory()[0]
        with gz.Tape() as tape:
            for _ in range(3):
                step()
            assert len(tape) > 0
            assert tape.live_nodes == 0
        del tape
        for _ in range(1000):
            step()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 32_000  # the interpreter's free lists; a node left behind at each step would be 200,000


def test_a_rule_that_forgets_to_return_is_told_so() -> None:
    class Forgetful(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            return x * 2

        def backward(self, node: Node, dy: Any) -> Any:
            dy * 2

    class Stopping(Forgetful):
        def backward(self, node: Node, dy: Any) -> Any:
            return (None,)

    x = leaf([1.0])
    with pytest.raises(
        gz.GradientError, match=r"(?s)Forgetful.backward returned the wrong number of gradients.*got: +0"
    ):
        Forgetful()(x).sum().backward()
    Stopping()(x).sum().backward()
    assert x.grad is None


class Spread(gz.Module):
    """A sum whose gradient is one number that looks like many."""

    def forward(self, node, x):
        return x.sum()

    def backward(self, node, dy):
        return np.broadcast_to(dy, node.inputs[0].shape)


# Whose memory a gradient is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(-1),
        lambda x: x + 0,
        lambda x: gz.concatenate([x, x]),
        lambda x: gz.concatenate([x, np.ones((50, x.shape[1]), np.float32)]),
        lambda x: Spread()(x),
        lambda x: x.T,
        lambda x: gz.relu(x) * 1,
        lambda x: x[:],
    ],
)
def test_a_leafs_gradient_is_its_own_memory(function) -> None:
    for shape in ((3, 4), (200, 300)):  # large arrays come out of a pool
        x = gz.tensor(np.ones(shape, np.float32), requires_grad=True)
        y = function(x)
        seed = np.ones(y.shape, np.float32)
        y.backward(seed)
        assert not np.shares_memory(x.grad, seed)
        assert x.grad.flags.writeable
        assert x.grad.base is None or x.grad.base.nbytes == x.grad.nbytes  # nothing larger is kept alive by it
        kept = x.grad.copy()
        seed += 1
        np.testing.assert_array_equal(x.grad, kept)


def test_two_leaves_share_no_gradient() -> None:
    a, b = (gz.tensor(np.ones((200, 300), np.float32), requires_grad=True) for _ in range(2))
    (a + b).sum().backward()
    assert not np.shares_memory(a.grad, b.grad)
    a.grad = b.grad = None
    gz.concatenate([a, b]).tanh().sum().backward()
    assert not np.shares_memory(a.grad, b.grad)
    c = gz.tensor(np.ones((200, 300), np.float32), requires_grad=True)
    held = gz.exp(c)
    held.retain_grad()
    seen = []
    held.register_hook(lambda g: seen.append(g))
    held.sum().backward()
    assert not np.shares_memory(held.grad, c.grad)
    assert not np.shares_memory(seen[0], c.grad)
