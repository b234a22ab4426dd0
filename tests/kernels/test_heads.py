"""Compiled attention against NumPy's, over sizes, masks and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.kernels import attention
from graphzoo.kernels.select import plain_kernels

pytest.importorskip("numba")
from graphzoo.kernels import compiled, products


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.sampled_from([16, 32, 96]))
def test_turn(rows: int, columns: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    turned = np.full((columns, rows), np.nan, np.float32)
    products.turn(matrix, turned)
    np.testing.assert_array_equal(turned, matrix.T)


@settings(deadline=None, max_examples=40)
@given(st.integers(12, 50), st.integers(1, 40), st.sampled_from([32, 64, 96]))
def test_multiply(rows: int, depth: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(depth, width)).astype(np.float32) for width in (rows, columns))
    out = np.full((rows, columns), np.nan, np.float32)
    products.multiply_turned(a, b, out)
    np.testing.assert_allclose(out, a.T.astype(np.float64) @ b, rtol=1e-5, atol=1e-4)


WHOLE = st.sampled_from([32, 64, 96])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(12, 50), WHOLE, WHOLE, WHOLE, st.data())
def test_both_passes(count: int, queries: int, keys: int, features: int, width: int, data: Any) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    q, k, v = normal(count, queries, features), normal(count, keys, features), normal(count, keys, width)
    biases = which = keep = dweights = None
    if data.draw(st.booleans(), "masked"):
        biases, which = normal(3, queries, keys), rng.integers(0, 3, count)
        biases[0, :, ::3], biases[1, 4] = -np.inf, -np.inf  # some keys for all, and all keys for a query
    if data.draw(st.booleans(), "dropout"):
        keep = (rng.random((count, queries, keys)) < 0.7).astype(np.float32) / np.float32(0.7)
    if data.draw(st.booleans(), "weights are used"):
        dweights = normal(count, queries, keys)
    saving, of_mask = data.draw(st.booleans(), "saving"), data.draw(st.booleans(), "gradient of the mask")
    dy = normal(count, queries, width)

    def run(attend: Any, attend_gradients: Any) -> list[np.ndarray]:
        y, scales = np.empty((count, queries, width), np.float32), np.empty((count, queries, 1), np.float32)
        weights = np.empty((count if saving else 0, queries, keys), np.float32)
        assert attend(y, weights, scales, q, k, v, 0.3, biases, which, keep) is None
        if not saving:
            return [y]
        dmask = np.empty_like(weights) if of_mask else None
        gradients = [np.empty_like(array) for array in (q, k, v)]
        attend_gradients(*gradients, dmask, dy, dweights, q, k, v, 0.3, weights, scales, keep, y)
        return [y, weights * scales, *gradients, *([] if dmask is None else [dmask])]

    got = run(
        *(lambda *arguments, name=name: compiled.TWINS[name](*arguments) for name in ("attend", "attend_gradients"))
    )
    with plain_kernels():
        right = run(attention.attend, attention.attend_gradients)
    for one, other in zip(got, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_other_sizes_are_left_to_numpy() -> None:
    def run(queries: int, keys: int, features: int) -> Any:
        shapes = ((2, queries, 32), (2, queries, keys), (2, queries, 1), (2, queries, features), (2, keys, features))
        arrays = [np.zeros(shape, np.float32) for shape in (*shapes, (2, keys, 32))]
        return compiled.TWINS["attend"](*arrays, 1.0, None, None, None)

    assert run(12, 32, 32) is None
    assert run(11, 32, 32) is NotImplemented
    assert run(12, 48, 32) is NotImplemented
    assert run(12, 32, 40) is NotImplemented
    assert run(1024, 512, 32) is NotImplemented


@pytest.mark.parametrize("turned", [False, True])
def test_through_the_engine(turned: bool) -> None:
    """Causal, with inputs that lie otherwise in memory, and with one key and value for all heads."""
    rng = np.random.default_rng(0)
    shape = (3, 4, 64, 32)
    values = [rng.normal(size=shape if i == 0 else (3, 1, 64, 32)).astype(np.float32) for i in range(3)]
    if turned:
        values = [np.ascontiguousarray(value.swapaxes(1, 2)).swapaxes(1, 2) for value in values]
    upstream = rng.normal(size=shape).astype(np.float32)

    def run() -> list[np.ndarray]:
        inputs = [gz.tensor(value, requires_grad=True) for value in values]
        y = gz.scaled_dot_product_attention(*inputs, is_causal=True)
        np.testing.assert_array_equal(gz.scaled_dot_product_attention(*values, is_causal=True).data, y.data)
        y.backward(upstream)
        return [y.data, *[tensor.grad for tensor in inputs]]

    got = run()
    with plain_kernels():
        right = run()
    for one, other in zip(got, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)
