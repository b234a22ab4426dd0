"""Weight normalisation as a rule, and on modules: their state, their gradients, the way back."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from tests.helpers import assert_like_torch


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_as_a_rule(dim: int | None) -> None:
    v = normal(4, 3, 2)
    rule = gz.WeightNorm(dim)
    g = 1 + rule.length(v)
    assert g.shape == {0: (4, 1, 1), 1: (1, 3, 1), -1: (1, 1, 2), None: (1, 1, 1)}[dim]
    assert gz.check(rule, (v, g))
    w = rule(v, g).numpy()
    np.testing.assert_allclose(rule.length(w), g, 1e-12)
    # w does not change with v's length, so that the gradient is orthogonal to v.
    leaf = gz.tensor(v, requires_grad=True)
    rule(leaf, g).backward(normal(4, 3, 2, seed=1))
    np.testing.assert_allclose((leaf.grad * v).sum(axis=rule._axes(3)), 0, atol=1e-12)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_like_torch(dim: int | None) -> None:
    torch = pytest.importorskip("torch")
    v = normal(4, 3)
    g = 1 + gz.WeightNorm(dim).length(v)
    axes = {0: 1, 1: 0, None: (0, 1)}[dim]

    def theirs(v: Any, g: Any) -> Any:
        return (g * v / torch.linalg.vector_norm(v, dim=axes, keepdim=True)) ** 2

    assert_like_torch(lambda v, g: gz.WeightNorm(dim)(v, g) ** 2, theirs, v, g)


def test_weight_norm_of_a_layer() -> None:
    layer, x = gz.Linear(3, 2, rng=0).astype(np.float64), normal(5, 3)
    before, weight = layer(x).numpy(), layer.weight.numpy().copy()
    assert gz.weight_norm(layer) is layer
    np.testing.assert_allclose(layer(x).numpy(), before, 1e-12)
    np.testing.assert_allclose(layer.weight_g.numpy()[:, 0], np.linalg.norm(weight, axis=1), 1e-12)
    assert layer.weight_v.dtype == layer.weight_g.dtype == np.float64
    assert [name for name, _ in layer.named_parameters()] == ["bias", "weight_g", "weight_v"]
    assert type(layer).__name__ == "Linear"
    assert isinstance(layer, gz.Linear)
    layer.weight_g.data = np.array([[2.0], [3.0]])
    assert gz.check(layer, x)
    np.testing.assert_allclose(np.linalg.norm(layer.weight.numpy(), axis=1), [2, 3], 1e-12)


def test_weight_norm_learns_in_a_loop_over_uses() -> None:
    cell = gz.RNNCell(2, 3, rng=0).astype(np.float64)
    plain = copy.deepcopy(cell)
    gz.weight_norm(gz.weight_norm(cell, "weight_hh"), "weight_ih", dim=None)
    x = normal(4, 5, 2)

    def gradients(cell: gz.Module, leaves: list[Any]) -> list[np.ndarray]:
        h = None
        for step in x:
            h = cell(step, h)
        return gz.grad(h.sum(), leaves)

    dw_hh, dw_ih = gradients(plain, [plain.weight_hh, plain.weight_ih])
    got = gradients(cell, [cell.weight_hh_v, cell.weight_hh_g, cell.weight_ih_v, cell.weight_ih_g])
    for (dv, dg), dw, v, axes in (
        (got[:2], dw_hh, plain.weight_hh.numpy(), (1,)),
        (got[2:], dw_ih, plain.weight_ih.numpy(), (0, 1)),
    ):
        length = np.sqrt((v * v).sum(axes, keepdims=True))
        np.testing.assert_allclose(dg, (dw * v).sum(axes, keepdims=True) / length, 1e-9)
        np.testing.assert_allclose(dv, dw - v * (dw * v).sum(axes, keepdims=True) / length**2, 1e-9, 1e-12)


def test_weight_norm_can_be_removed() -> None:
    cell = gz.RNNCell(2, 3, rng=0)
    names, x = list(cell.state_dict()), normal(5, 2)
    before = cell(x).numpy()
    gz.weight_norm(gz.weight_norm(cell, "weight_hh"), "weight_ih")
    gz.remove_weight_norm(cell, "weight_hh")
    assert isinstance(cell.weight_hh, gz.Parameter)
    assert "weight_ih_g" in cell.state_dict()
    gz.remove_weight_norm(cell, "weight_ih")
    assert type(cell) is gz.RNNCell
    assert sorted(cell.state_dict()) == sorted(names)
    np.testing.assert_allclose(cell(x).numpy(), before, 1e-6)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_weight_norm_survives_copies(again: Any) -> None:
    layer = gz.weight_norm(gz.Linear(3, 2, rng=0))
    other, x = again(layer), normal(5, 3)
    np.testing.assert_array_equal(other(x).numpy(), layer(x).numpy())
    other.weight_g.data = 2 * other.weight_g.numpy()
    assert not np.allclose(other(x).numpy(), layer(x).numpy())
    gz.remove_weight_norm(other)
    assert type(other) is gz.Linear


def test_weight_norm_state_loads_from_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2).double())
    g, v = (tensor.detach().numpy() for tensor in theirs.parametrizations.weight.parameters())
    ours = gz.weight_norm(gz.Linear(3, 2).astype(np.float64))
    ours.load_state_dict({"bias": theirs.bias.detach().numpy(), "weight_g": g, "weight_v": v})
    x = normal(4, 3)
    np.testing.assert_allclose(ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy(), 1e-12)


def test_weight_norm_refuses_what_it_cannot_do() -> None:
    layer = gz.Linear(3, 2, rng=0)
    with pytest.raises(gz.ArgumentError, match=r"no parameter 'weights'(.|\n)*weight, bias"):
        gz.weight_norm(layer, "weights")
    with pytest.raises(gz.ArgumentError, match="no weight normalisation of 'weight'"):
        gz.remove_weight_norm(layer)
    layer.weight.data[1] = 0
    with pytest.raises(gz.ArgumentError, match=r"length 0(.|\n)*\(1, 0\)"):
        gz.weight_norm(layer)
    assert "weight" in layer.state_dict()
    layer.weight.data[1] = 1
    gz.weight_norm(layer)
    with pytest.raises(gz.ArgumentError, match="computed from weight_g and weight_v"):
        layer.weight = np.ones((2, 3))
    with pytest.raises(gz.ArgumentError, match="no parameter 'weight'"):
        gz.weight_norm(layer)


def test_repr() -> None:
    assert repr(gz.WeightNorm()) == "WeightNorm(dim=0)"
