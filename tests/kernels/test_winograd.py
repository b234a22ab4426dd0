"""Winograd's convolution: as the direct one to its own precision, where asked for, and never with what it spoils."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.kernels import winograd
from graphzoo.zoo import convolution

PRECISION = 3e-5
"""Of the largest entry."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pair(*arguments: Any, **options: Any) -> tuple[gz.Conv2d, gz.Conv2d]:
    """The same convolution with and without."""
    return gz.Conv2d(*arguments, winograd=True, rng=0, **options), gz.Conv2d(*arguments, rng=0, **options)


def passes(layer: gz.Conv2d, x: np.ndarray) -> list[np.ndarray]:
    leaf = gz.tensor(x, requires_grad=True)
    y = layer(leaf)
    leaves = [leaf, *layer.parameters()]
    return [y.numpy(), *gz.grad(y, leaves, gradient=normal(*y.shape, seed=1))]


def assert_alike(got: list[np.ndarray], right: list[np.ndarray]) -> None:
    for one, other in zip(got, right, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, atol=PRECISION * np.abs(other).max(initial=1e-30))


@st.composite
def cases(draw: Any) -> tuple[tuple[int, ...], int, dict[str, Any]]:
    """Shape of x, outputs and options."""
    groups = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    padding = draw(st.sampled_from(["same", "valid", 0, 1, 2, (0, 2), 3]))
    shape = (
        draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 4)),
        draw(st.integers(4, 13)),
        draw(st.integers(4, 13)),
    )
    options = {"padding": padding, "groups": groups, "padding_mode": mode, "bias": draw(st.booleans())}
    return shape, groups * draw(st.integers(1, 5)), options


@settings(deadline=None, max_examples=60)
@given(cases())
def test_as_without(case: tuple[tuple[int, ...], int, dict[str, Any]]) -> None:
    shape, outputs, options = case
    quick, right = pair(shape[1], outputs, 3, **options)
    assert_alike(passes(quick, normal(*shape)), passes(right, normal(*shape)))


def test_as_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    layer = gz.Conv2d(8, 12, 3, padding=1, winograd=True, rng=0)
    theirs = torch.nn.Conv2d(8, 12, 3, padding=1)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    x = normal(4, 8, 17, 14)
    leaf = torch.tensor(x, requires_grad=True)
    y = theirs(leaf)
    y.backward(torch.tensor(normal(*y.shape, seed=1)))
    right = [y.detach(), leaf.grad, theirs.weight.grad, theirs.bias.grad]
    assert_alike(passes(layer, x), [value.numpy() for value in right])


def test_large_layers_in_several_threads_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphzoo.kernels import workers

    monkeypatch.setattr(workers, "threads", lambda: 3)
    quick, right = pair(16, 24, 3, padding=1)
    x = normal(11, 16, 30, 29)
    assert_alike(passes(quick, x), passes(right, x))
    monkeypatch.setattr(winograd, "BLOCK", 1)
    assert_alike(passes(quick, x), passes(right, x))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    for name in ("correlate", "correlate_adjoint", "kernel_gradient"):
        real = getattr(winograd, name)

        def counted(*arguments: Any, name: str = name, real: Any = real, **options: Any) -> Any:
            calls.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(convolution.winograd, name, counted)
    return calls


def test_who_asks_gets_it_and_nobody_else(calls: list[str]) -> None:
    x = normal(2, 3, 9, 9)
    quick, right = pair(3, 4, 3)
    passes(right, x)
    passes(quick.astype(np.float64), x.astype(np.float64))
    passes(quick, x[:0])
    assert gz.check(gz.Conv2d(3, 4, 3, winograd=True, rng=0), [x])
    assert calls == []
    quick = quick.astype(np.float32)
    passes(quick, x)
    assert set(calls) == {"correlate", "correlate_adjoint", "kernel_gradient"}
    calls.clear()
    quick.winograd = False
    passes(quick, x)
    assert calls == []


def test_values_are_kept_for_the_weights_gradient_only() -> None:
    x = gz.tensor(normal(2, 3, 9, 9), requires_grad=True)
    layer = gz.Conv2d(3, 4, 3, winograd=True, rng=0)
    assert len(layer(x).node.saved[2]) > 0
    for parameter in layer.parameters():
        parameter.requires_grad = False
    assert layer(x).node.saved[2] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_is_seen(value: float) -> None:
    x = normal(2, 3, 12, 12)
    x[1, 2, 5, 5] = value
    quick, right = pair(3, 4, 3, padding=1)
    for one, other in zip(passes(quick, x), passes(right, x), strict=True):
        assert (np.isnan(one) == np.isnan(other)).all()
        assert (np.isinf(one) == np.isinf(other)).all()


def test_an_upstream_gradient_that_is_not_finite() -> None:
    x, dy = gz.tensor(normal(2, 3, 12, 12), requires_grad=True), normal(2, 4, 12, 12)
    dy[0, 1, 6, 6] = np.inf
    quick, right = pair(3, 4, 3, padding=1)
    got, expected = ([*gz.grad(layer(x), [x, layer.weight], gradient=dy)] for layer in (quick, right))
    for one, other in zip(got, expected, strict=True):
        assert (np.isfinite(one) == np.isfinite(other)).all()


def test_without_a_batch_axis_and_to_second_order() -> None:
    quick, right = pair(3, 4, 3, padding=1)
    assert_alike(passes(quick, normal(3, 9, 8)), passes(right, normal(3, 9, 8)))

    def second(layer: gz.Conv2d) -> np.ndarray:
        x = gz.tensor(normal(2, 3, 9, 8), requires_grad=True)
        y = layer(x)
        (dx,) = gz.grad((y * y).sum(), [x], create_graph=True)
        (ddx,) = gz.grad((dx * dx).sum(), [x])
        return np.asarray(ddx)

    assert_alike([second(quick)], [second(right)])


@pytest.mark.parametrize("options", [{"kernel_size": 5}, {"stride": 2}, {"dilation": 2}, {"kernel_size": (3, 1)}])
def test_kernels_that_it_is_not_for(options: dict[str, Any]) -> None:
    arguments = {"kernel_size": 3} | options
    with pytest.raises(gz.ArgumentError, match="winograd is for kernels of 3×3 without stride and dilation"):
        gz.Conv2d(3, 4, **arguments, winograd=True)
    layer = gz.Conv2d(3, 4, **arguments)
    with pytest.raises(gz.ArgumentError, match="winograd is for"):
        layer.winograd = True
    assert not layer.winograd


def test_repr() -> None:
    assert "winograd=True" in repr(gz.Conv2d(3, 4, 3, winograd=True))
    assert "winograd" not in repr(gz.Conv2d(3, 4, 3))
