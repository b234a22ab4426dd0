"""Expected values from outside the library: central differences, and PyTorch where it is installed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphzoo as gz


def numeric_gradients(f: Callable[..., float], arrays: Sequence[np.ndarray], step: float = 1e-5) -> list[np.ndarray]:
    """The gradients of a number f(*arrays) by central differences; knows nothing of tapes and rules."""
    gradients = []
    for array in arrays:
        gradient = np.empty(array.shape)
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + step
            above = f(*arrays)
            array[place] = kept - step
            below = f(*arrays)
            array[place] = kept
            gradient[place] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


def values(x: Any) -> np.ndarray:
    return x.numpy() if isinstance(x, gz.Tensor) else x


def _dense(gradients: Sequence[Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.zeros(array.shape) if g is None else np.asarray(g) for g, array in zip(gradients, arrays, strict=True)]


def assert_gradients(
    function: Callable[..., Any], *inputs: Any, order: int = 2, rtol: float = 1e-6, atol: float = 1e-7
) -> None:
    """Compare the gradients of function(*tensors), and theirs, with central differences in float64."""
    rng = np.random.default_rng(0)
    arrays = [np.array(x, np.float64) for x in inputs]
    weights = rng.normal(size=function(*[gz.tensor(array) for array in arrays]).shape)
    directions = [rng.normal(size=array.shape) for array in arrays]

    def value(*arrays: np.ndarray) -> float:
        return float((function(*[gz.tensor(array) for array in arrays]).numpy() * weights).sum())

    def first(create_graph: bool, *arrays: np.ndarray) -> tuple[Any, Any]:
        leaves = [gz.tensor(array.copy(), requires_grad=True) for array in arrays]
        output = function(*leaves)
        return leaves, gz.grad(output, leaves, gradient=weights, create_graph=create_graph)

    def slope(*arrays: np.ndarray) -> float:
        gradients = _dense(first(False, *arrays)[1], arrays)
        return float(sum((g * d).sum() for g, d in zip(gradients, directions, strict=True)))

    _, gradients = first(False, *arrays)
    for got, expected, array in zip(_dense(gradients, arrays), numeric_gradients(value, arrays), arrays, strict=True):
        assert got.shape == array.shape
        np.testing.assert_allclose(got, expected, rtol, atol)
    if order < 2:
        return
    leaves, gradients = first(True, *arrays)
    terms = [(g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None and g.requires_grad]
    second = gz.grad(sum(terms[1:], terms[0]), leaves) if terms else [None] * len(arrays)
    for got, expected in zip(_dense(second, arrays), numeric_gradients(slope, arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol, atol)


def assert_like_torch(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> None:
    """Compare values, gradients, and gradients of gradients with PyTorch's, in the inputs' dtypes."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    leaves = [gz.tensor(np.array(x), requires_grad=True) for x in inputs]
    peers = [torch.tensor(np.array(x), requires_grad=True) for x in inputs]
    output, peer = ours(*leaves), theirs(*peers)
    assert output.shape == tuple(peer.shape)
    assert str(output.dtype) == str(peer.dtype).removeprefix("torch.")
    np.testing.assert_allclose(output.numpy(), peer.detach().numpy(), rtol, atol)

    weights = rng.normal(size=output.shape).astype(output.dtype)
    gradients = gz.grad(output, leaves, gradient=weights, create_graph=order > 1)
    expected = torch.autograd.grad(peer, peers, torch.tensor(weights), create_graph=order > 1)
    for got, right in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(values(got), right.detach().numpy(), rtol, atol)
    if order < 2:
        return
    directions = [rng.normal(size=x.shape).astype(x.dtype) for x in leaves]
    mixed = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    wanted = sum((g * torch.tensor(d)).sum() for g, d in zip(expected, directions, strict=True))
    seconds = gz.grad(mixed, leaves) if mixed.requires_grad else [None] * len(leaves)
    rights = torch.autograd.grad(wanted, peers, allow_unused=True) if wanted.requires_grad else [None] * len(leaves)
    for x, got, right in zip(leaves, seconds, rights, strict=True):
        zeros = np.zeros(x.shape)
        np.testing.assert_allclose(
            zeros if got is None else got, zeros if right is None else right.numpy(force=True), rtol, atol
        )
