"""An LSTM's steps over a sequence are computed at once; all that can be seen is as if the cell did them one by one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.zoo.strand import Strand

Loss = Callable[[gz.Tensor, gz.Tensor, gz.Tensor], gz.Tensor]

LOSSES: dict[str, Loss] = {
    "every h": lambda output, h, c: (output * output).sum(),
    "last h and c": lambda output, h, c: (h * h).sum() + (c * 3).sum(),
    "last c": lambda output, h, c: (c * c * c).sum(),
    "one in the middle": lambda output, h, c: (output[2] ** 3).sum(),
    "some": lambda output, h, c: (output[1] * 2).sum() + (output[3] * output[1]).sum(),
}


def lstm(seed: int = 0, **options: Any) -> gz.LSTM:
    return gz.LSTM(3, 4, rng=seed, **options).astype(np.float64)


def inputs(steps: int = 6, batch: int = 2) -> tuple[gz.Tensor, gz.Tensor, gz.Tensor]:
    rng = np.random.default_rng(7)
    shapes = (steps, batch, 3), (1, batch, 4), (1, batch, 4)
    x, h, c = (gz.tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes)
    return x, h, c


def loop(model: gz.LSTM, x: gz.Tensor, h: gz.Tensor, c: gz.Tensor) -> tuple[gz.Tensor, gz.Tensor, gz.Tensor]:
    """The same by a cell in a loop."""
    cell = gz.LSTMCell(3, 4).astype(np.float64)
    for name in cell.parameter_names:
        setattr(cell, name, getattr(model, f"{name}_l0"))
    state, outputs = (h[0], c[0]), []
    for t in range(len(x)):
        state = cell(x[t], state)
        outputs.append(state[0])
    return gz.stack(outputs), state[0], state[1]


def gradients(model: gz.LSTM, leaves: tuple[gz.Tensor, ...], loss: gz.Tensor, **options: Any) -> list[np.ndarray]:
    tensors = [*leaves, *model.parameters()]
    for tensor in tensors:
        tensor.grad = None
    loss.backward(**options)
    return [tensor.grad for tensor in tensors]  # type: ignore[misc]


def close(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_loop_over_the_cell(name: str) -> None:
    model, leaves = lstm(), inputs()
    output, (h, c) = model(leaves[0], leaves[1:])
    assert isinstance(output.node.parents[-1].extra, Strand)
    got = gradients(model, leaves, LOSSES[name](output, h[0], c[0]))
    close(got, gradients(model, leaves, LOSSES[name](*loop(model, *leaves))))


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"num_layers": 3, "bias": False}, {"batch_first": True}])
def test_at_once_is_node_by_node_in_layers_and_directions(options: dict[str, Any]) -> None:
    model, (x, _, _) = lstm(**options), inputs()

    def loss() -> gz.Tensor:
        output, (h, c) = model(x)
        return (output**2).sum() + (h * c).sum()

    close(gradients(model, (x,), loss()), gradients(model, (x,), loss(), stack_bytes=0))  # 0: each use by itself


def test_few_bytes_for_stacks_change_nothing() -> None:
    model, leaves = lstm(), inputs(steps=9)
    got = [gradients(model, leaves, model(leaves[0], leaves[1:])[0].sum(), stack_bytes=size) for size in (1, 3000)]
    close(*got)


def test_a_graph_can_be_retained() -> None:
    model, leaves = lstm(), inputs()
    loss = model(leaves[0], leaves[1:])[0].sum()
    first = gradients(model, leaves, loss, retain_graph=True)
    close(first, gradients(model, leaves, loss, retain_graph=True))
    close(first, gradients(model, leaves, loss))
    with pytest.raises(gz.ReleasedError):
        loss.backward()


def test_a_second_pass_from_a_state_within_is_refused() -> None:
    model, leaves = lstm(), inputs()
    output, _ = model(leaves[0])
    within = gz.Tensor(output.data[3])
    within.source = output.node.inputs[3]
    output.sum().backward()
    with pytest.raises(gz.ReleasedError, match=r"Multiply took its input `a` from LSTMCell 'l0' \(t=3\)"):
        (within * 2).sum().backward()


@pytest.mark.parametrize("t", [0, 1, 3, 5])
def test_hooks_and_kept_gradients_on_a_step(t: int) -> None:
    model, leaves = lstm(), inputs()
    seen: dict[str, list[np.ndarray]] = {}
    for way, run in (("at once", lambda: model(leaves[0], leaves[1:])[0]), ("loop", lambda: loop(model, *leaves)[0])):
        output = run()
        state = gz.Tensor(0.0)
        state.source = output.node.inputs[t]
        state._data = output.data[t]
        state.retain_grad()
        state.register_hook(lambda gradient: gradient * 2)
        found = gradients(model, leaves, (output**2).sum())
        assert state.grad is not None
        seen[way] = [*found, state.grad]
    close(seen["at once"], seen["loop"])


def test_what_asks_for_single_nodes_gets_them() -> None:
    model, leaves = lstm(), inputs()
    loss = (model(leaves[0], leaves[1:])[0] ** 2).sum()
    uses = gz.contributions(loss, model, retain_graph=True)
    assert [use.t for use in uses["weight_hh_l0"]] == list(range(6))
    steps = [step.node.t for step in gz.backward_steps(loss, retain_graph=True) if step.node.t is not None]
    assert steps == [5, 4, 3, 2, 1, 0]
    whole = gradients(model, leaves, loss, retain_graph=True)
    np.testing.assert_allclose(sum(use.gradient for use in uses["weight_hh_l0"]), whole[4], rtol=1e-11)
    (second,) = gz.grad([gz.grad(loss, leaves[0], create_graph=True).sum()], [leaves[0]])
    by_loop = (loop(model, *leaves)[0] ** 2).sum()
    np.testing.assert_allclose(
        second, gz.grad([gz.grad(by_loop, leaves[0], create_graph=True).sum()], [leaves[0]])[0], rtol=1e-9
    )


def test_frozen_weights_and_constant_inputs() -> None:
    model, (x, h, c) = lstm(), inputs()
    for parameter in model.parameters():
        parameter.requires_grad = False
    output, _ = model(x)
    got = gradients(model, (x,), (output**2).sum())
    expected = gradients(model, (x,), (loop(model, x, *gz.detach_state((h * 0, c * 0)))[0] ** 2).sum())
    close(got[:1], expected[:1])
    assert got[1:] == [None] * 4
    assert model(x.detach())[0].node is None


@pytest.mark.parametrize(("steps", "batch"), [(1, 2), (2, 1), (3, 0)])
def test_few_steps_and_empty_batches(steps: int, batch: int) -> None:
    model, leaves = lstm(), inputs(steps, batch)
    output, (_, c) = model(leaves[0], leaves[1:])
    got = gradients(model, leaves, (output**2).sum() + c.sum())
    by_loop = loop(model, *leaves)
    np.testing.assert_array_equal(output.data, by_loop[0].data)
    close(got, gradients(model, leaves, (by_loop[0] ** 2).sum() + by_loop[2].sum()))


def test_no_cycle_holds_a_strand() -> None:
    model, leaves = lstm(), inputs()
    gc.collect()
    gc.disable()
    try:
        loss = model(leaves[0])[0].sum()
        loss.backward()
        del loss
        assert gc.collect() == 0
    finally:
        gc.enable()
