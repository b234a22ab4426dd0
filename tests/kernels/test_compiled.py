"""Compiled kernels against the plain ones: the same numbers to rounding, and the choice between them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.kernels import (
    attention,
    convolution,
    gru,
    lstm,
    normalization,
    packed,
    pointwise,
    pooling,
    select,
    softmax,
    stacks,
)
from graphzoo.kernels.grid import Geometry
from graphzoo.kernels.pooling import Axis, UnevenAxis
from graphzoo.kernels.select import SMALLEST, plain_kernels

pytest.importorskip("numba")
from graphzoo.kernels import compiled

RNG = np.random.default_rng(0)


def run_twin(name: str, *arguments: Any) -> Any:
    return compiled.TWINS[name](*arguments)


def normal(*shape: int, dtype: str = "float32", scale: float = 1.0) -> np.ndarray:
    return (RNG.normal(size=shape) * scale).astype(dtype)


def close(got: Any, right: Any, rtol: float) -> None:
    """Arrays, or tuples of them, alike to a share of the largest entry."""
    if not isinstance(right, tuple):
        got, right = (got,), (right,)
    for one, other in zip(got, right, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            scale = np.nanmax(np.abs(other), initial=1e-30, where=np.isfinite(other))
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale)


def rows(dtype: str, groups: int) -> dict[str, Any]:
    x, dy = normal(40, groups, 500, dtype=dtype, scale=3) + 5, normal(40, groups, 500, dtype=dtype)
    return {"x": x, "dy": dy, "weight": normal(groups, 500, dtype=dtype), "bias": normal(groups, 500, dtype=dtype)}


RTOL = {"float32": 1e-5, "float64": 1e-12}


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
def test_rows(dtype: str, groups: int, centered: bool, affine: str) -> None:
    given = rows(dtype, groups)
    weight = given["weight"] if affine in ("both", "weight") else None
    bias = given["bias"] if affine in ("both", "bias") else None
    arguments = (given["x"], weight, bias, 1e-5, centered)
    with plain_kernels():
        right = normalization.normalized_rows(*arguments)
    close(run_twin("normalized_rows", *arguments), right, RTOL[dtype])
    for needs in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        more = (given["dy"], given["x"], right[1], right[2], weight, *needs)
        with plain_kernels():
            expected = normalization.row_gradients(*more)
        close(run_twin("row_gradients", *more), expected, 20 * RTOL[dtype])


def step(kernel: Any, hidden: int, features: int, batch: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Arguments for a kernel of a step; what it writes to holds noise."""
    whole = hidden + 1 + features
    shapes = {
        lstm.lstm_step: {"gates": 4 * hidden, "weight": (4 * hidden, whole), "inputs": whole, "h": hidden,
                         "x": features, "c": hidden, "new_c": hidden, "new_h": hidden},
        lstm.lstm_delta: {"delta": 4 * hidden, "gates": 4 * hidden} | dict.fromkeys(
            ("c", "new_c", "dh", "dc", "dc_before"), hidden),
        lstm.lstm_back: {"delta": 4 * hidden, "gates": 4 * hidden} | dict.fromkeys(
            ("c", "new_c", "dh", "dc", "dc_before"), hidden) | {"to_h": (hidden, 4 * hidden), "dh_before": hidden},
        gru.gru_before_step: {"gates": 3 * hidden, "weight": (2 * hidden, whole), "candidate": (hidden, whole),
                              "inputs": whole + hidden, "h": hidden, "x": features, "new": hidden},
        gru.gru_before_delta: {"delta": 3 * hidden, "gates": 3 * hidden} | dict.fromkeys(
            ("h", "dh", "past"), hidden) | {"to_reset": (hidden, hidden)},
        gru.gru_after_step: {"gates": 4 * hidden, "weight": (2 * hidden, whole), "of_x": (hidden, 1 + features),
                             "of_h": (hidden, hidden + 1), "inputs": whole, "h": hidden, "x": features, "new": hidden},
        gru.gru_after_delta: {"delta": 4 * hidden, "gates": 4 * hidden} | dict.fromkeys(("h", "dh", "past"), hidden),
    }[kernel]  # fmt: skip
    given = {
        name: normal(*(shape if isinstance(shape, tuple) else (shape, batch)), scale=scale)
        for name, shape in shapes.items()
    }
    if "delta" in given:  # gates lie between -1 and 1
        given["gates"] = np.tanh(given["gates"])
    return given


STEPS = [lstm.lstm_step, lstm.lstm_delta, lstm.lstm_back, gru.gru_before_step, gru.gru_before_delta,
         gru.gru_after_step, gru.gru_after_delta]  # fmt: skip


@pytest.mark.parametrize("kernel", STEPS, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(("hidden", "features", "batch"), [(19, 7, 16), (96, 40, 48), (200, 210, 64), (5, 1, 32)])
@pytest.mark.parametrize("by_samples", [False, True])
def test_steps(kernel: Any, scale: float, hidden: int, features: int, batch: int, by_samples: bool) -> None:
    given = step(kernel, hidden, features, batch, scale)
    mine, right = ({name: array.copy() for name, array in given.items()} for _ in range(2))
    if by_samples and "x" in given:
        mine["x"] = np.ascontiguousarray(mine["x"].T).T
    with plain_kernels():
        kernel(*right.values())
    assert run_twin(kernel.__name__, *mine.values()) is None
    # With large numbers, rounding in a product's sum can turn a gate from one end to the other.
    steep = scale > 1 and kernel.__name__.endswith("_step")
    if steep:
        assert all(np.isfinite(array).all() for array in mine.values())
        mine, right = {"inputs": mine["inputs"]}, {"inputs": right["inputs"]}
        if kernel is gru.gru_before_step:
            mine["inputs"], right["inputs"] = mine["inputs"][:-hidden], right["inputs"][:-hidden]
    close(tuple(mine.values()), tuple(right.values()), 1e-4 if scale > 1 else 1e-5)


@pytest.mark.parametrize("kernel", [lstm.lstm_step, lstm.lstm_delta, gru.gru_after_delta],
                         ids=lambda kernel: kernel.__name__)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 37])
def test_steps_of_any_batch(kernel: Any, batch: int) -> None:
    given = step(kernel, 19, 7, batch)
    mine, right = ([array.copy() for array in given.values()] for _ in range(2))
    with plain_kernels():
        kernel(*right)
    assert run_twin(kernel.__name__, *mine) is None
    close(tuple(mine), tuple(right), 1e-5)


@pytest.mark.parametrize("kernel", STEPS, ids=lambda kernel: kernel.__name__)
def test_steps_hand_on_what_is_no_number(kernel: Any) -> None:
    given = step(kernel, 19, 7, 16)
    for name in ("x", "gates") if kernel.__name__.endswith("_step") else ("dh",):
        given[name][3, 2], given[name][4, 1], given[name][5, 0] = np.nan, np.inf, -np.inf
    mine, right = ([array.copy() for array in given.values()] for _ in range(2))
    with plain_kernels(), np.errstate(invalid="ignore"):
        kernel(*right)
    run_twin(kernel.__name__, *mine)
    for one, other in zip(mine, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)
    assert np.isnan(right[0]).any()


def test_steps_leave_what_they_were_not_made_for() -> None:
    given = step(lstm.lstm_step, 8, 5, 16)
    for name, other in [("h", np.asfortranarray(given["h"])), ("c", given["c"].astype(np.float16)),
                        ("x", normal(10, 32)[::2, ::2])]:  # fmt: skip
        assert run_twin("lstm_step", *(given | {name: other}).values()) is NotImplemented
    for kernel in (lstm.lstm_back, gru.gru_before_step, gru.gru_before_delta, gru.gru_after_step):
        assert run_twin(kernel.__name__, *step(kernel, 8, 5, 17).values()) is NotImplemented  # no whole vectors


def test_steps_of_what_is_not_to_be_written_to() -> None:
    given = step(lstm.lstm_step, 19, 7, 16)
    right = [array.copy() for array in given.values()]
    run_twin("lstm_step", *right)
    given["x"].flags.writeable = False
    assert run_twin("lstm_step", *given.values()) is None
    np.testing.assert_array_equal(given["gates"], right[0])
    given["c"].flags.writeable = False
    assert run_twin("lstm_step", *given.values()) is NotImplemented


def test_delta_may_overwrite_the_gates() -> None:
    given = list(step(lstm.lstm_delta, 19, 7, 16).values())
    expected = [array.copy() for array in given]
    run_twin("lstm_delta", *expected)
    given[0] = given[1]
    run_twin("lstm_delta", *given)
    np.testing.assert_array_equal(given[0], expected[0])


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 16), (40, 700, 48), (300, 513, 32), (7, 40, 112)])
@pytest.mark.parametrize("name", ["multiply", "multiply_onto"])
def test_products(rows: int, depth: int, columns: int, name: str) -> None:
    a, b, out = normal(rows, depth), normal(depth, columns), normal(rows, columns)
    right = a.astype(float) @ b + (out if name == "multiply_onto" else 0)
    assert run_twin(name, a, b, out) is None
    np.testing.assert_allclose(out, right, rtol=1e-4, atol=1e-4)
    assert run_twin(name, a, normal(depth, 17), normal(rows, 17)) is NotImplemented


@pytest.mark.parametrize(("height", "width"), [(5, 3), (130, 65), (300, 257), (40, 16)])
@pytest.mark.parametrize("batches", [[16], [32, 48, 16], [16] * 33, [32] * 70])
def test_sums_of_products(height: int, width: int, batches: list[int]) -> None:
    lefts, rights = [normal(height, many) for many in batches], [normal(width, many) for many in batches]
    out = np.full((height, width + -width % 16), np.nan, np.float32)
    assert run_twin("sum_of_products", out, lefts, rights) is None
    right = sum(left.astype(float) @ other.T for left, other in zip(lefts, rights, strict=True))
    np.testing.assert_allclose(out[:, :width], right, rtol=1e-4, atol=1e-3)
    with plain_kernels():
        np.testing.assert_allclose(packed.summed_products(lefts, rights), right, rtol=1e-4, atol=1e-3)
    empty = [normal(height, 0)] * 2, [normal(width, 0)] * 2
    assert run_twin("sum_of_products", out, *empty) is NotImplemented
    assert not packed.summed_products(*empty).any()  # a batch of nothing
    lefts[0], rights[0] = normal(height, 17), normal(width, 17)
    assert run_twin("sum_of_products", out, lefts, rights) is NotImplemented


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("stack", "depth", "rows", "columns"), [(1, 3, 5, 16), (7, 33, 30, 48), (40, 64, 70, 272)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_stacks(groups: int, stack: int, depth: int, rows: int, columns: int, with_bias: bool) -> None:
    x, matrices = normal(stack, groups, depth, columns), normal(groups, rows, depth)
    bias, out = normal(groups * rows) if with_bias else None, normal(stack, groups, rows, columns)
    right = np.matmul(matrices.astype(float), x) + (bias.reshape(groups, rows, 1) if bias is not None else 0)
    assert run_twin("multiply_each", x, matrices, out, bias) is None
    np.testing.assert_allclose(out, right, rtol=1e-4, atol=1e-4)
    with plain_kernels():
        stacks.multiply_each(x, matrices, out, bias)
    np.testing.assert_allclose(out, right, rtol=1e-4, atol=1e-4)
    other = normal(stack, groups, 17, columns)
    assert run_twin("multiply_each", normal(2, 1, 3, 17), normal(1, 4, 3), normal(2, 1, 4, 17)) is NotImplemented
    assert run_twin("sum_of_each", x, other) is NotImplemented  # no whole vectors
    other = normal(stack, groups, 48, columns)
    right = np.matmul(x.astype(float), other.swapaxes(-1, -2)).sum(axis=0)
    np.testing.assert_allclose(run_twin("sum_of_each", x, other), right, rtol=1e-4, atol=1e-3)
    with plain_kernels():
        np.testing.assert_allclose(stacks.sum_of_each(x, other), right, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (33, 50), (200, 17)])
def test_turning(shape: tuple[int, int]) -> None:
    matrix, turned = normal(*shape), normal(*shape[::-1])
    run_twin("turn", matrix, turned)
    np.testing.assert_array_equal(turned, matrix.T)


@pytest.mark.parametrize("hidden", [3, 20, 37])
@pytest.mark.parametrize("batch", [32, 64])
def test_many_steps_at_once(hidden: int, batch: int) -> None:
    features, steps = 11, 6
    gates, weight = normal(steps, 4 * hidden, batch), normal(4 * hidden, hidden + 1 + features)
    inputs, cells = normal(steps + 1, hidden + 1 + features, batch), normal(steps + 1, hidden, batch)
    mine, right = (tuple(array.copy() for array in (gates, weight, inputs, cells)) for _ in range(2))
    with plain_kernels():
        lstm.lstm_steps(*right)
    assert run_twin("lstm_steps", *mine) is None
    close(mine, right, 1e-5)


def test_other_steps_are_taken_one_by_one() -> None:
    def run(hidden: int, batch: int) -> Any:
        shapes = (2, 4 * hidden, batch), (4 * hidden, 2 * hidden + 1), (3, 2 * hidden + 1, batch), (3, hidden, batch)
        return run_twin("lstm_steps", *[np.zeros(shape, np.float32) for shape in shapes])

    assert run(32, 32) is None
    assert run(2, 16) is None
    assert run(32, 31) is NotImplemented  # no whole vectors


def test_tanh_of_single_precision() -> None:
    """To a few units in the last place everywhere, and never above one."""
    x = np.concatenate([np.linspace(-12, 12, 100_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    gates, zeros = np.zeros((4, x.size), np.float32), np.zeros((3, 1, x.size), np.float32)
    weight, inputs = np.zeros((4, 3), np.float32), np.zeros((3, x.size), np.float32)
    weight[3, 2] = 1  # so that x is what the cell's tanh is of
    run_twin("lstm_step", gates, weight, inputs, zeros[0], x[None], *zeros)
    right = np.tanh(x.astype(np.float64))
    assert np.abs(gates[3] - right).max() <= 4e-7
    np.testing.assert_allclose(gates[3], right, rtol=4e-7)
    assert np.abs(gates[3]).max() == 1


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru-after"])
def test_cells_either_way(kind: str) -> None:
    """Through the engine: a sequence and its gradients, with a state of the user's own."""
    make = {"lstm": gz.LSTMCell, "gru": gz.GRUCell, "gru-after": lambda *a, **k: gz.GRUCell(*a, True, **k)}[kind]
    xs, start = normal(4, 24, 20), normal(24, 36)

    def run() -> list[np.ndarray]:
        cell = make(20, 36, rng=0).astype("float32")
        h, x = gz.tensor(start, requires_grad=True), gz.tensor(xs, requires_grad=True)
        state: Any = (h, gz.tensor(start)) if kind == "lstm" else h
        for step in x:
            state = cell(step, state)
        output = state[0] if kind == "lstm" else state
        (output * output).sum().backward()
        return [output.data, h.grad, x.grad, *[p.grad for p in cell.parameters()]]

    assert select.STEP <= 24 * 36 * 3
    got = run()
    with plain_kernels():
        right = run()
    close(tuple(got), tuple(right), 1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_exponentials(scale: float) -> None:
    scores = normal(3, 40, 150, scale=scale)
    scores[0, 0] = -np.inf
    scores[0, 1, 5] = -np.inf
    scores[1, 2, 3] = np.nan
    scores[2, 4, 4] = np.inf
    got, right = np.empty_like(scores), np.empty_like(scores)
    with plain_kernels(), np.errstate(invalid="ignore"):
        factors = attention.exponentials(scores, right)
    mine = run_twin("exponentials", scores, got)
    assert mine.shape == factors.shape
    np.testing.assert_allclose(got * mine, right * factors, rtol=2e-5, atol=1e-7)
    assert mine[0, 0] == 0
    assert (got[0, 0] == 0).all()


@pytest.mark.parametrize("dtype", RTOL)
def test_through_exponentials(dtype: str) -> None:
    ds, along, p = normal(3, 40, 150, dtype=dtype), normal(3, 40, 1, dtype=dtype), normal(3, 40, 150, dtype=dtype)
    got, right = ds.copy(), ds.copy()
    with plain_kernels():
        attention.through_exponentials(right, along, p)
    run_twin("through_exponentials", got, along, p)
    close(got, right, RTOL[dtype])


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("size", [1, 7, 600])
@pytest.mark.parametrize("affine", [True, False])
def test_channels(dtype: str, size: int, affine: bool) -> None:
    x, dy = normal(50, 6, size, dtype=dtype, scale=2) - 3, normal(50, 6, size, dtype=dtype)
    weight, bias = (normal(6, dtype=dtype), normal(6, dtype=dtype)) if affine else (None, None)
    with plain_kernels():
        right = normalization.normalized_channels(x, weight, bias, 1e-5)
    close(run_twin("normalized_channels", x, weight, bias, 1e-5), right, RTOL[dtype])
    scale = (1 / np.sqrt(right[2] / x[:, 0].size + 1e-5)).astype(dtype)
    factor = scale if weight is None else scale * weight
    for need in (True, False):
        more = (dy, x, right[1], scale, factor, need)
        with plain_kernels():
            expected = normalization.channel_gradients(*more)
        close(run_twin("channel_gradients", *more), expected, 20 * RTOL[dtype])


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
@pytest.mark.parametrize("length", [1, 5, 130])
def test_softmax(scale: float, length: int) -> None:
    x, dy = normal(900, length, scale=scale), normal(900, length)
    y = run_twin("softmax_rows", x)
    with plain_kernels():
        close(y, softmax.softmax_rows(x), 2e-6)
        expected = softmax.softmax_rows_gradient(dy, y)
    exact = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    close(y.astype(np.float64), exact / exact.sum(axis=1, keepdims=True), 1e-6)
    # Where one entry has all the weight, what is left of dy is its rounding.
    np.testing.assert_allclose(run_twin("softmax_rows_gradient", dy, y), expected, rtol=1e-5, atol=1e-6)


def test_softmax_of_what_is_not_finite() -> None:
    x = np.zeros((4, 200), np.float32)
    x[0, 3] = -np.inf
    x[1, 5], x[2, 7] = np.nan, -np.float32(np.nan)
    x[3] = np.linspace(-200, 0, 200)
    y = run_twin("softmax_rows", x)
    assert y[0, 3] == 0
    assert y[0, 0] == pytest.approx(1 / 199)
    assert np.isnan(y[1:3]).all()
    assert y[3, 0] == 0
    assert y[3].sum() == pytest.approx(1)


def test_entry_by_entry() -> None:
    x = np.concatenate([normal(5000, scale=3), np.float32([np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, 12, -12])])
    dy = normal(x.size)
    with plain_kernels(), np.errstate(invalid="ignore"):
        right = pointwise.rectified(x)
        close(run_twin("rectified", x), right, 0)
        close(run_twin("rectified_gradient", dy, right), pointwise.rectified_gradient(dy, right), 0)
        bent = np.tanh(np.tile(x, 9))
        expected = pointwise.tanh_gradient(np.tile(dy, 9), bent)
        close(run_twin("tanh_gradient", np.tile(dy, 9), bent), expected, 1e-6)
        np.testing.assert_allclose(expected, np.tile(dy, 9) * (1 - bent.astype(float) ** 2), rtol=1e-3, atol=1e-6)
        finite = x[np.isfinite(x)]
        share = pointwise.normal_share(finite)
        close(run_twin("normal_share", finite), share, 1e-6)
        more = (dy[: finite.size], finite, share[0])
        close(run_twin("normal_share_gradient", *more), pointwise.normal_share_gradient(*more), 2e-6)


def test_gelu_is_right_where_it_counts() -> None:
    import math

    x = np.linspace(-10, 10, 20_001).astype(np.float32)
    exact = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(float)])
    for share, y in (run_twin("normal_share", x), pointwise.normal_share(x)):
        np.testing.assert_allclose(y, exact, atol=1e-6)
        assert ((share >= 0) & (share <= 1)).all()


# Pooling and convolution ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", RTOL)
def test_sums_of_pairs(dtype: str) -> None:
    x = normal(30, 20, 34, dtype=dtype)
    axes = [Axis(20, 2, 2, 0, 1, 10), Axis(34, 2, 2, 0, 1, 17)]
    with plain_kernels():
        right = pooling.pooled_sums(x, axes)
        spread = pooling.spread_sums(right, axes)
    close(run_twin("pooled_sums", x, axes), right, RTOL[dtype])
    close(run_twin("spread_sums", right, axes), spread, RTOL[dtype])
    for others in ([Axis(20, 3, 2, 1, 1, 10)] * 2, [UnevenAxis(20, 3)] * 2, axes[:1]):
        assert run_twin("pooled_sums", x, others) is NotImplemented
        assert run_twin("spread_sums", x, others) is NotImplemented


@pytest.mark.parametrize("dtype", RTOL)
def test_maxima_of_pairs(dtype: str) -> None:
    x = RNG.integers(0, 4, (30, 20, 34)).astype(dtype)  # many ties
    x[0, :3, :5] = np.nan
    x[1, 4, 4], x[2, 0, 1] = np.inf, -np.inf
    x[3] = -np.inf
    axes = [Axis(20, 2, 2, 0, 1, 10), Axis(34, 2, 2, 0, 1, 17)]
    with plain_kernels():
        right = pooling.pooled_maxima_and_places(x, axes)
    found = run_twin("pooled_maxima_and_places", x, axes)
    np.testing.assert_array_equal(found[0], right[0])
    np.testing.assert_array_equal(found[1], right[1])
    dy = normal(*right[0].shape, dtype=dtype)
    with plain_kernels():
        expected = pooling.spread_maxima(dy, right[1], 680)
    close(run_twin("spread_maxima", dy, right[1], 680), expected, RTOL[dtype])
    overlapping = [Axis(20, 3, 2, 1, 1, 10), Axis(34, 3, 2, 1, 1, 17)]
    assert run_twin("pooled_maxima_and_places", x, overlapping) is NotImplemented


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(
    ("kernel", "padding", "dilation", "more"),
    [((3, 3), (1, 1), (1, 1), (0, 0)), ((2, 5), (0, 3), (2, 1), (0, 0)), ((3, 1), (2, 0), (1, 1), (1, 2)),
     ((1, 1), (0, 0), (1, 1), (0, 0)), ((4, 3), (0, 0), (1, 3), (2, 0))],
)  # fmt: skip
def test_depthwise(dtype: str, kernel: Any, padding: Any, dilation: Any, more: Any) -> None:
    size = (17, 15)
    out = tuple(
        n + 2 * p + extra - d * (k - 1) for n, p, d, k, extra in zip(size, padding, dilation, kernel, more, strict=True)
    )
    geometry = Geometry(size, out, kernel, (1, 1), padding, dilation)
    x, weight, bias = normal(4, 5, *size, dtype=dtype), normal(5, 1, *kernel, dtype=dtype), normal(5, dtype=dtype)
    dy = normal(4, 5, *out, dtype=dtype)
    for name, arguments in (
        ("correlate", (x, weight, geometry, 5, bias)),
        ("correlate", (x, weight, geometry, 5, None)),
        ("correlate_adjoint", (dy, weight, geometry, 5, None)),
        ("correlate_adjoint", (dy, weight, geometry, 5, bias)),
        ("kernel_gradient", (x, dy, geometry, 5)),
    ):
        with plain_kernels():
            right = getattr(convolution, name)(*arguments)
        found = run_twin(name, *arguments)
        if found is NotImplemented:
            assert name == "correlate_adjoint"
            assert min(compiled.reached_back(geometry)) < 0
        else:
            close(found, right, 5 * RTOL[dtype])


def test_what_is_not_finite_goes_through_as_in_plain_kernels() -> None:
    geometry = Geometry((9, 8), (9, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    x, weight, dy = normal(2, 3, 9, 8), normal(3, 1, 3, 3), normal(2, 3, 9, 8)
    x[0, 1, 4, 4], dy[1, 2, 8, 7] = np.inf, np.nan
    with plain_kernels():
        right = convolution.correlate(x, weight, geometry, 3)
    np.testing.assert_allclose(run_twin("correlate", x, weight, geometry, 3), right, rtol=1e-4, atol=1e-5)
    assert run_twin("kernel_gradient", x, dy, geometry, 3) is NotImplemented
    weight[0, 0, 1, 1] = np.inf
    assert run_twin("correlate_adjoint", dy, weight, geometry, 3) is NotImplemented


def test_other_convolutions_are_left_to_the_plain_kernels() -> None:
    geometry = Geometry((9, 8), (9, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    x, weight = normal(2, 4, 9, 8), normal(4, 2, 3, 3)
    assert run_twin("correlate", x, weight, geometry, 2) is NotImplemented
    assert run_twin("correlate", x, normal(4, 1, 3, 3, dtype="float64"), geometry, 4) is NotImplemented
    strided = geometry._replace(stride=(2, 1), out=(5, 8))
    assert run_twin("correlate", x, normal(4, 1, 3, 3), strided, 4) is NotImplemented


@pytest.mark.parametrize("name", compiled.TWINS)
def test_a_twin_takes_what_its_plain_kernel_takes(name: str) -> None:
    [plain] = {
        getattr(module, name)
        for module in (attention, convolution, gru, lstm, normalization, packed, pointwise, pooling, softmax, stacks)
        if hasattr(getattr(module, name, None), "__wrapped__")
    }
    assert list(inspect.signature(compiled.TWINS[name]).parameters) == list(inspect.signature(plain).parameters)


# The choice ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the twins that ran."""
    names: list[str] = []

    def noting(name: str, twin: Any) -> Any:
        return lambda *rest: (names.append(name), twin(*rest))[1]

    monkeypatch.setattr(compiled, "TWINS", {name: noting(name, twin) for name, twin in compiled.TWINS.items()})
    monkeypatch.setattr(select._Choice, "allowed", True)
    return names


def through(module: gz.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tensor = gz.tensor(x, requires_grad=True)
    y = module(tensor)
    y.backward(np.random.default_rng(1).normal(size=y.shape).astype(y.dtype))
    return y.numpy(), tensor.grad


@pytest.mark.parametrize(
    ("module", "shape", "twins"),
    [
        (gz.ReLU(), (200, 200), ["rectified", "rectified_gradient"]),
        (gz.Tanh(), (200, 200), ["tanh_gradient"]),
        (gz.GELU(), (200, 200), ["normal_share", "normal_share_gradient"]),
        (gz.Softmax(-1), (20, 10, 200), ["softmax_rows", "softmax_rows_gradient"]),
        (gz.LayerNorm(200), (200, 200), ["normalized_rows", "row_gradients"]),
        (gz.BatchNorm2d(4), (20, 4, 20, 20), ["normalized_channels", "channel_gradients"]),
        (gz.MaxPool2d(2), (20, 4, 20, 20), ["pooled_maxima_and_places", "spread_maxima"][:1]),
        (gz.GroupNorm(2, 4), (20, 4, 20, 20), ["normalized_rows", "row_gradients"]),
    ],
)
def test_modules_take_them_for_large_arrays(module: Any, shape: Any, twins: list[str], called: list[str]) -> None:
    x = normal(*shape)
    found = through(module, x)
    assert called == twins
    with plain_kernels():
        right = through(module, x)
    assert called == twins
    close(found, right, 1e-4)
    called.clear()
    through(module, x[:2])
    assert x[:2].size < SMALLEST or called


def test_what_they_are_not_for_goes_the_plain_way(called: list[str]) -> None:
    through(gz.GELU(), normal(200, 200, dtype="float64"))
    through(gz.Softmax(0), normal(200, 200))
    transposed = normal(300, 200).T
    y = gz.relu(gz.tensor(transposed))
    np.testing.assert_array_equal(y.numpy(), np.maximum(transposed, 0))
    assert called == []


def test_second_derivatives_go_through_definitions(called: list[str]) -> None:
    x = gz.tensor(normal(150, 150), requires_grad=True)
    [g] = gz.grad([gz.gelu(x).sum()], [x], create_graph=True)
    [gg] = gz.grad([(g * g).sum()], [x])
    with plain_kernels():
        [g] = gz.grad([gz.gelu(x).sum()], [x], create_graph=True)
        [right] = gz.grad([(g * g).sum()], [x])
    close(
        gg.numpy() if isinstance(gg, gz.Tensor) else gg, right.numpy() if isinstance(right, gz.Tensor) else right, 1e-4
    )


def test_the_environment_switches_them_off_and_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time, numpy as np, graphzoo as gz\n"
        "x = gz.tensor(np.ones((200, 200), np.float32), requires_grad=True)\n"
        "gz.relu(x).sum().backward()\n"
        "from graphzoo.kernels import select\n"
        "stats = sys.modules['graphzoo.kernels.loops']._rectify.stats if 'numba' in sys.modules else None\n"
        "print(select.state(), '|', stats and (len(stats.cache_hits), len(stats.cache_misses)))\n"
    )

    def run(**environment: str) -> str:
        import os

        command = [sys.executable, "-c", program]
        settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **environment}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout.strip()

    assert run(GRAPHZOO_FAST="0") == "NumPy's (switched off by GRAPHZOO_FAST=0, or Numba cannot be loaded) | None"
    assert run() == "compiled by Numba where they are quicker | (0, 1)"
    assert run() == "compiled by Numba where they are quicker | (1, 0)"


def test_a_numba_that_cannot_be_loaded_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select._Choice, "allowed", True)
    monkeypatch.setattr(select._Choice, "module", None)
    monkeypatch.setitem(sys.modules, "graphzoo.kernels.compiled", None)
    monkeypatch.delattr(gz.kernels, "compiled", raising=False)
    x = normal(200, 200)
    with pytest.warns(UserWarning, match="compiled kernels are left out"):
        y = gz.relu(gz.tensor(x))
    np.testing.assert_array_equal(y.numpy(), np.maximum(x, 0))
    np.testing.assert_array_equal(gz.relu(gz.tensor(x)).numpy(), np.maximum(x, 0))


def test_a_row_of_minus_infinity_has_no_softmax() -> None:
    x = np.zeros((2, 3), np.float32)
    x[1] = -np.inf
    with plain_kernels():
        y = gz.softmax(gz.tensor(x)).numpy()
    assert y[0].tolist() == pytest.approx([1 / 3] * 3)
    assert np.isnan(y[1]).all()


def test_without_numba_the_plain_ones_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select._Choice, "allowed", True)
    monkeypatch.setattr(select._Choice, "module", None)
    monkeypatch.setattr(select.importlib.util, "find_spec", lambda name: None)
    x = normal(200, 200)
    np.testing.assert_array_equal(gz.relu(gz.tensor(x)).numpy(), np.maximum(x, 0))
    assert "pip install 'graphzoo[fast]'" not in select.state()  # found missing: not looked for again
    assert select._Choice.allowed is False
