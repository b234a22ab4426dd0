"""Pooling against windows taken one by one, central differences, its definition and PyTorch; what it refuses."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

MAX = ["MaxPool1d", "MaxPool2d", "MaxPool3d"]
AVG = ["AvgPool1d", "AvgPool2d", "AvgPool3d"]
SIZES = {1: (9,), 2: (7, 6), 3: (3, 4, 5)}


def distinct(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers of which no two are close: no maximum changes its place under a small step."""
    size = int(np.prod(shape))
    return np.random.default_rng([seed, *shape]).permutation(size).reshape(shape) / 8 - size / 16


def window_by_window(x: np.ndarray, kernel, stride, padding, dilation) -> tuple[np.ndarray, np.ndarray]:
    """The definition in plain loops, for (rows, *spatial): maxima, and the first place of each."""
    spatial = x.shape[1:]
    out = [
        (s + 2 * p - d * (k - 1) - 1) // u + 1
        for s, k, u, p, d in zip(spatial, kernel, stride, padding, dilation, strict=True)
    ]
    y, places = np.empty((len(x), *out)), np.empty((len(x), *out), int)
    for row, *n in itertools.product(range(len(x)), *map(range, out)):
        best, where = -np.inf, None
        for k in itertools.product(*map(range, kernel)):
            i = tuple(u * a + d * b - p for u, a, d, b, p in zip(stride, n, dilation, k, padding, strict=True))
            if all(0 <= a < s for a, s in zip(i, spatial, strict=True)) and (where is None or x[row][i] > best):
                best, where = x[row][i], np.ravel_multi_index(i, spatial)
        y[(row, *n)], places[(row, *n)] = best, where
    return y, places


# Maxima ---------------------------------------------------------------------------------------------------------------

SETTINGS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2},
    {"kernel_size": 1, "stride": 2},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_maxima_window_by_window(axes: int, options: dict[str, Any]) -> None:
    # Few different numbers: ties everywhere.
    x = np.random.default_rng(0).integers(0, 4, (2, 3, *SIZES[axes])).astype(np.float64)
    filled = {"stride": options["kernel_size"], "padding": 0, "dilation": 1, **options}
    expected, places = window_by_window(
        x.reshape(6, *SIZES[axes]), *[(filled[k],) * axes for k in ("kernel_size", "stride", "padding", "dilation")]
    )
    y, indices = getattr(gz, MAX[axes - 1])(**options, return_indices=True)(x)
    np.testing.assert_array_equal(y.numpy(), expected.reshape(y.shape))
    np.testing.assert_array_equal(indices.numpy(), places.reshape(y.shape))
    assert indices.dtype == np.int64
    assert not indices.requires_grad
    # Without a gradient to come, only the values are made.
    np.testing.assert_array_equal(getattr(gz, MAX[axes - 1])(**options)(x).numpy(), y.numpy())
    # The gradient of a window goes to the one place that was found.
    leaf, dy = gz.tensor(x, requires_grad=True), np.random.default_rng(1).normal(size=y.shape)
    getattr(gz, MAX[axes - 1])(**options)(leaf).backward(dy)
    gradient = np.zeros((6, int(np.prod(SIZES[axes]))))
    for row, place, value in zip(
        np.repeat(np.arange(6), places[0].size), places.reshape(-1), dy.reshape(-1), strict=True
    ):
        gradient[row, place] += value
    np.testing.assert_allclose(leaf.grad, gradient.reshape(x.shape), atol=1e-12)


@pytest.mark.parametrize("options", [*SETTINGS, {"kernel_size": 2, "ceil_mode": True}], ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_maxima_in_all_passes_of_both_orders(axes: int, options: dict[str, Any]) -> None:
    x, pool = distinct(2, *SIZES[axes]), getattr(gz, MAX[axes - 1])(**options)
    assert gz.check(pool, x)
    assert_gradients(lambda t: pool(t) ** 2, x)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_maxima_of_any_geometry_like_torch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    axes = data.draw(st.integers(1, 3))
    kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    options = {
        "kernel_size": kernel,
        "stride": data.draw(st.sampled_from([None, 1, 2, 3])),
        "padding": tuple(data.draw(st.integers(0, k // 2)) for k in kernel),
        "dilation": data.draw(st.integers(1, 2)),
        "ceil_mode": data.draw(st.booleans()),
    }
    if axes == 1:
        options = {key: value[0] if isinstance(value, tuple) else value for key, value in options.items()}
    reach = options["dilation"] * (max(kernel) - 1) + 1
    sizes = tuple(data.draw(st.integers(reach, reach + 4)) for _ in range(axes))
    x = np.random.default_rng(0).integers(0, 5, (*data.draw(st.sampled_from([(2,), (2, 3)])), *sizes)).astype(float)
    ours, theirs = getattr(gz, MAX[axes - 1])(**options), getattr(torch.nn, MAX[axes - 1])(**options)
    assert_like_torch(lambda t: ours(t) ** 2, lambda t: theirs(t) ** 2, x)
    ours.return_indices = theirs.return_indices = True
    np.testing.assert_array_equal(ours(x)[1].numpy(), theirs(torch.tensor(x))[1].numpy())


@pytest.mark.parametrize("padding", [0, 1])
def test_nan_is_the_largest_and_has_the_gradient(padding: int) -> None:
    x = gz.tensor(np.array([[1.0, np.nan, 5.0, 2.0, 7.0, 7.0]]), requires_grad=True)
    y, places = gz.MaxPool1d(2, padding=padding, return_indices=True)(x)
    expected = [np.nan, 5, 7] if not padding else [1, np.nan, 7, 7]
    np.testing.assert_array_equal(y.numpy(), [expected])
    np.testing.assert_array_equal(places.numpy(), [[1, 2, 4]] if not padding else [[0, 1, 4, 5]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 1, 1, 0, 1, 0]] if not padding else [[1, 1, 0, 0, 1, 1]])


def test_padding_is_never_chosen() -> None:
    x = gz.tensor(np.full((1, 1, 3, 3), -np.inf), requires_grad=True)
    y, places = gz.MaxPool2d(3, 2, 1, return_indices=True)(x)
    assert (y.numpy() == -np.inf).all()
    np.testing.assert_array_equal(places.numpy()[0, 0], [[0, 1], [3, 4]])
    y.sum().backward()
    assert x.grad.sum() == 4
    smallest = np.full((1, 3), np.iinfo(np.int32).min, np.int32)
    np.testing.assert_array_equal(gz.MaxPool1d(2, 2, 1, return_indices=True)(smallest)[1].numpy(), [[0, 1]])


def test_infinities_and_large_numbers_pass() -> None:
    x = np.array([[1e4, -1e4, np.inf, 3.0, -np.inf, -1e4]])
    np.testing.assert_array_equal(gz.MaxPool1d(2)(x).numpy(), [[1e4, np.inf, -1e4]])
    np.testing.assert_array_equal(gz.AvgPool1d(2)(x).numpy(), [[0, np.inf, -np.inf]])
    leaf = gz.tensor(x, requires_grad=True)
    gz.MaxPool1d(2)(leaf).backward(np.array([[np.inf, 1.0, np.nan]]))  # reaches the maxima, and nothing beside them
    np.testing.assert_array_equal(leaf.grad, [[np.inf, 0, 1, 0, 0, np.nan]])


def test_more_places_than_a_byte_can_number() -> None:
    x = distinct(1, 20, 20)
    y, places = gz.MaxPool2d(17, stride=1, return_indices=True)(x)
    expected, where = window_by_window(x, (17, 17), (1, 1), (0, 0), (1, 1))
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(places.numpy(), where)


def test_many_rows_are_worked_on_in_blocks() -> None:
    torch = pytest.importorskip("torch")
    x = distinct(70, 3, 40, 41)
    for ours, theirs in (
        (gz.MaxPool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)),
        (gz.MaxPool2d(2), torch.nn.MaxPool2d(2)),
        (gz.AvgPool2d(3, 2, 1), torch.nn.AvgPool2d(3, 2, 1)),
        (gz.AvgPool2d(2), torch.nn.AvgPool2d(2)),
    ):
        assert_like_torch(ours, theirs, x, order=1)


# Means ----------------------------------------------------------------------------------------------------------------

AVG_SETTINGS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "padding": 1, "divisor_override": 5},
]


@pytest.mark.parametrize("options", AVG_SETTINGS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_means_in_all_passes_of_both_orders(axes: int, options: dict[str, Any]) -> None:
    pool = getattr(gz, AVG[axes - 1])(**options)
    assert gz.check(pool, distinct(2, *SIZES[axes]))
    assert_gradients(lambda t: pool(t) ** 3, distinct(1, *SIZES[axes]) / 10)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_means_of_any_geometry_like_torch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    axes = data.draw(st.integers(1, 3))
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
    options: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": data.draw(st.sampled_from([None, (1,) * axes, (2,) * axes, (3,) * axes])),
        "padding": tuple(data.draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": data.draw(st.booleans()),
        "count_include_pad": data.draw(st.booleans()),
    }
    if axes > 1:
        options["divisor_override"] = data.draw(st.sampled_from([None, 3]))
    sizes = tuple(data.draw(st.integers(k, k + 4)) for k in kernel)
    x = np.random.default_rng(0).normal(size=(2, 3, *sizes))
    ours, theirs = getattr(gz, AVG[axes - 1])(**options), getattr(torch.nn, AVG[axes - 1])(**options)
    assert_like_torch(lambda t: ours(t) ** 2, lambda t: theirs(t) ** 2, x)


def test_nan_stays_in_its_windows() -> None:
    x = np.ones((1, 6))
    x[0, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(gz.AvgPool1d(3)(x).numpy()), [[True, False]])
    np.testing.assert_array_equal(np.isnan(gz.AvgPool1d(2, 1)(x).numpy()), [[False, True, True, False, False]])
    np.testing.assert_array_equal(np.isnan(gz.AdaptiveAvgPool1d(4)(x).numpy()), [[False, True, False, False]])


# A given number of windows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Avg", "Max"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 5, None])
def test_adaptive_in_all_passes_of_both_orders(size: int | None, axes: int, kind: str) -> None:
    pool = getattr(gz, f"Adaptive{kind}Pool{axes}d")(size)
    assert gz.check(pool, distinct(2, *SIZES[axes]))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["Avg", "Max"]), st.integers(1, 3), st.data())
def test_adaptive_like_torch(kind: str, axes: int, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    sizes = [data.draw(st.integers(1, 7)) for _ in range(axes)]
    wanted: Any = tuple(data.draw(st.integers(1, 8)) for _ in range(axes))
    wanted = wanted[0] if axes == 1 else wanted
    x = np.random.default_rng(0).integers(0, 9, (2, 3, *sizes)).astype(np.float64)
    name = f"Adaptive{kind}Pool{axes}d"
    ours, theirs = getattr(gz, name)(wanted), getattr(torch.nn, name)(wanted)
    assert_like_torch(lambda t: ours(t) ** 2, lambda t: theirs(t) ** 2, x)
    if kind == "Max":
        ours.return_indices = theirs.return_indices = True
        np.testing.assert_array_equal(ours(x)[1].numpy(), theirs(torch.tensor(x))[1].numpy())


def test_global_pooling_and_sizes_that_stay() -> None:
    x = distinct(2, 3, 4, 5)
    np.testing.assert_allclose(gz.AdaptiveAvgPool2d(1)(x).numpy()[..., 0, 0], x.mean(axis=(2, 3)), 1e-12)
    np.testing.assert_array_equal(gz.AdaptiveMaxPool2d(1)(x).numpy()[..., 0, 0], x.max(axis=(2, 3)))
    np.testing.assert_allclose(gz.AdaptiveAvgPool2d((None, 1))(x).numpy()[..., 0], x.mean(axis=3), 1e-12)


# Odd corners ----------------------------------------------------------------------------------------------------------

EVERY = [
    gz.MaxPool2d(2), gz.MaxPool2d(3, 1, 1), gz.AvgPool2d(2), gz.AvgPool2d(3, 2, 1, count_include_pad=False),
    gz.AdaptiveAvgPool2d(3),
    gz.AdaptiveMaxPool2d(3), gz.AdaptiveAvgPool2d(1),
]  # fmt: skip


@pytest.mark.parametrize("pool", EVERY, ids=repr)
def test_empty_batch(pool: gz.Module) -> None:
    for shape in ((0, 3, 4, 5), (2, 0, 4, 5)):
        x = gz.tensor(np.empty(shape), requires_grad=True)
        y = pool(x)
        y.backward(np.empty(y.shape))
        assert y.shape[:2] == shape[:2]
        assert x.grad.shape == shape


@pytest.mark.parametrize("pool", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_strided_read_only_inputs(pool: gz.Module, dtype: type) -> None:
    x = distinct(4, 5, 3, 2).astype(dtype).transpose(3, 2, 0, 1)[:, :, ::-1]
    x.flags.writeable = False
    leaf = gz.tensor(x, requires_grad=True)
    y = pool(leaf)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), pool(np.ascontiguousarray(x)).numpy())
    dy = np.broadcast_to(np.asarray(0.5, dtype), y.shape)
    y.backward(dy)
    assert leaf.grad.dtype == dtype
    np.testing.assert_allclose(leaf.grad.sum(), dy.sum(), 1e-5)


@pytest.mark.parametrize("pool", EVERY, ids=repr)
def test_result_is_no_view_of_the_input(pool: gz.Module) -> None:
    x = distinct(1, 1, 4, 4)
    for module in (pool, gz.MaxPool2d(1), gz.AvgPool2d(1), gz.AdaptiveAvgPool2d(None)):
        assert not np.shares_memory(module(x).numpy(), x)


def test_integers() -> None:
    x = np.arange(6).reshape(1, 6)
    assert gz.MaxPool1d(2)(x).dtype == x.dtype
    np.testing.assert_array_equal(gz.AvgPool1d(2)(x).numpy(), [[0.5, 2.5, 4.5]])


def test_dilation_that_leaves_a_window_to_the_padding() -> None:
    with pytest.raises(gz.ShapeError, match="nothing but padding"):
        gz.MaxPool1d(2, padding=1, dilation=4)(np.ones((1, 3)))


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
def test_geometry_without_a_window_shows_the_formula_filled_in(name: str) -> None:
    with pytest.raises(gz.ShapeError, match=r"⌊\(2 \+ 2·1 - 1·\(5 - 1\) - 1\) / 3⌋ \+ 1 = 0") as caught:
        getattr(gz, name)(5, 3, 1)(np.ones((1, 1, 9, 2)))
    assert "spatial sizes (9, 2)" in str(caught.value)
    with pytest.raises(gz.ShapeError):
        getattr(gz, name)(2, padding=1)(np.ones((1, 1, 0, 2)))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: gz.MaxPool2d(0), "kernel_size cannot be used"),
        (lambda: gz.MaxPool2d((2, 2, 2)), "kernel_size cannot be used"),
        (lambda: gz.MaxPool2d(2, 0), "stride cannot be used"),
        (lambda: gz.MaxPool2d(2, dilation=0), "dilation cannot be used"),
        (lambda: gz.MaxPool2d(2, padding=-1), "padding cannot be used"),
        (lambda: gz.MaxPool2d(3, padding=2), r"half of the kernel(.|\n)*at most \(1, 1\)"),
        (lambda: gz.AvgPool1d(2, padding=2), "half of the kernel"),
        (lambda: gz.AvgPool1d(2, divisor_override=0), "divisor_override"),
        (lambda: gz.AdaptiveAvgPool2d(0), "output_size cannot be used"),
        (lambda: gz.AdaptiveMaxPool2d((1, 2, 3)), "output_size cannot be used"),
    ],
)
def test_impossible_settings(make: Any, text: str) -> None:
    with pytest.raises(gz.ArgumentError, match=text):
        make()


@pytest.mark.parametrize("pool", EVERY, ids=repr)
def test_wrong_number_of_axes(pool: gz.Module) -> None:
    with pytest.raises(gz.ShapeError, match=r"\(N, C, H, W\) or \(C, H, W\)"):
        pool(np.ones((4, 5)))


def test_nothing_to_pool() -> None:
    with pytest.raises(gz.ShapeError, match="nothing to pool"):
        gz.AdaptiveAvgPool2d(1)(np.ones((2, 3, 0, 4)))


def test_repr() -> None:
    assert repr(gz.MaxPool2d(3, 2, 1)) == (
        "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=False)"
    )
    assert repr(gz.AvgPool1d(2)) == (
        "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,), ceil_mode=False, count_include_pad=True)"
    )
    assert repr(gz.AdaptiveAvgPool2d((1, None))) == "AdaptiveAvgPool2d(output_size=(1, None))"
