"""Initialisers: distributions by statistics, fans and gains against torch's, shapes, dtypes, seeds and errors."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphzoo import Parameter, init
from graphzoo.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("uniform", {"a": -2.0, "b": 0.5}),
    ("normal", {"mean": 1.0, "std": 0.1}),
    ("trunc_normal", {"std": 0.5, "a": -0.1, "b": 0.2}),
    ("trunc_normal", {"a": -1.0, "b": 3.0}),
    ("xavier_uniform", {"gain": 2.0}),
    ("xavier_normal", {"gain": 2.0}),
    ("kaiming_uniform", {"nonlinearity": "relu"}),
    ("kaiming_normal", {"mode": "fan_out", "a": 0.2}),
    ("orthogonal", {"gain": 1.5}),
    ("sparse", {"sparsity": 0.3}),
]
FIXED: list[tuple[str, dict[str, Any]]] = [("constant", {"val": 0.3}), ("zeros", {}), ("ones", {}), ("eye", {})]


def assert_drawn_from(values: np.ndarray, cdf: Any) -> None:
    """Kolmogorov and Smirnov's distance; by chance alone it is larger once in about 10¹² times."""
    ordered = np.sort(values.ravel().astype(np.float64))
    steps = np.arange(len(ordered) + 1) / len(ordered)
    expected = cdf(ordered)
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance < 3.8 / math.sqrt(len(ordered))


def normal_cdf(x: Any) -> Any:
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)))(x)


@pytest.mark.parametrize(("name", "options"), RANDOM + FIXED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_forms_give_the_same(name: str, options: dict[str, Any], dtype: Any) -> None:
    make, fill = getattr(init, name), getattr(init, f"{name}_")
    seed = {"rng": 3} if (name, options) in RANDOM else {}
    values = make((6, 4), **options, **seed, dtype=dtype)
    assert values.shape == (6, 4)
    assert values.dtype == dtype
    assert values.flags.c_contiguous
    assert values.flags.writeable
    parameter = Parameter(np.full((6, 4), 7.0), dtype)
    memory = parameter.data
    assert fill(parameter, **options, **seed) is parameter
    assert parameter.data is memory
    assert parameter.source.writer == f"{name}_"
    np.testing.assert_array_equal(parameter.data, values)
    array = np.empty((6, 4), dtype)
    assert fill(array, **options, **seed) is array
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize(("name", "options"), RANDOM)
def test_seeds_generators_and_dtypes(name: str, options: dict[str, Any]) -> None:
    make = getattr(init, name)
    first = make((6, 4), **options, rng=1)
    np.testing.assert_array_equal(first, make((6, 4), **options, rng=np.random.default_rng(1)))
    assert (first != make((6, 4), **options, rng=2)).any()
    assert (make((6, 4), **options) != make((6, 4), **options)).any()
    rng = np.random.default_rng(1)
    assert (make((6, 4), **options, rng=rng) != make((6, 4), **options, rng=rng)).any()
    wide = make((6, 4), **options, rng=1, dtype=np.float64)
    np.testing.assert_array_equal(first, wide.astype(np.float32))


@pytest.mark.parametrize("name", [name for name, _ in [*RANDOM, *FIXED, ("dirac", {})]])
def test_the_in_place_form_documents_itself(name: str) -> None:
    fill, make = getattr(init, f"{name}_"), getattr(init, name)
    assert fill.__name__ == f"{name}_"
    names = ["tensor", *list(inspect.signature(make).parameters)[1:]]
    names.remove("dtype")
    assert list(inspect.signature(fill).parameters) == names
    assert f"`{name}`" in fill.__doc__


def test_uniform_and_normal_are_distributed_so() -> None:
    assert_drawn_from(init.uniform(20_000, -2, 0.5, rng=0), lambda x: (x + 2) / 2.5)
    assert_drawn_from(init.normal((100, 200), 1.0, 0.1, rng=0), lambda x: normal_cdf((x - 1) / 0.1))


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (0.5, 1.0, 0.0, 9.0),
        (0.0, 1.0, -0.1, 0.1),
        (0.0, 1.0, 3.0, 4.0),
        (0.0, 1.0, -9.0, -8.0),
        (1.0, 0.5, 5.0, 7.0),
        (0.0, 1.0, -50.0, -6.0),
    ],
)
def test_trunc_normal_is_distributed_so(mean: float, std: float, a: float, b: float) -> None:
    values = init.trunc_normal(20_000, mean, std, a, b, rng=0, dtype=np.float64)
    assert values.min() >= a
    assert values.max() <= b
    # Of the two tails the one nearer to the values has all its digits.
    side = 1.0 if (a + b) / 2 <= mean else -1.0
    low, high = sorted((side * (a - mean) / std, side * (b - mean) / std))
    start, end = normal_cdf(low), normal_cdf(high)
    assert_drawn_from(side * (values - mean) / std, lambda z: (normal_cdf(z) - start) / (end - start))


@pytest.mark.parametrize("shape", [(30, 70), (70, 30), (16, 8, 3, 3)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_variances_are_those_of_the_formulas(shape: tuple[int, ...], mode: str) -> None:
    kernel = math.prod(shape[2:])
    fans = {"fan_in": shape[1] * kernel, "fan_out": shape[0] * kernel}
    xavier = 1.5 * math.sqrt(2 / sum(fans.values()))
    kaiming = math.sqrt(2 / (1 + 0.3**2)) / math.sqrt(fans[mode])
    for std, uniform, normal in (
        (xavier, init.xavier_uniform(shape, 1.5, rng=0), init.xavier_normal(shape, 1.5, rng=0)),
        (kaiming, init.kaiming_uniform(shape, 0.3, mode, rng=0), init.kaiming_normal(shape, 0.3, mode, rng=0)),
    ):
        bound = math.sqrt(3) * std
        assert_drawn_from(uniform, lambda x, bound=bound: (x + bound) / (2 * bound))
        assert_drawn_from(normal, lambda x, std=std: normal_cdf(x / std))


def test_gains_and_fans_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    names = ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "sigmoid", "tanh", "relu", "selu"]
    for name in names:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    for slope in (None, 0, 0.2, 3.0):
        expected = torch.nn.init.calculate_gain("leaky_relu", slope)
        assert init.calculate_gain("leaky_relu", slope) == pytest.approx(expected, rel=1e-15)
    for shape in ((3, 5), (16, 3, 5, 4), (2, 7, 3)):
        expected = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert init.calculate_fan_in_and_fan_out(shape) == expected


@pytest.mark.parametrize(("name", "options"), [("eye", [{}]), ("dirac", [{}, {"groups": 2}])])
def test_fixed_patterns_are_those_of_torch(name: str, options: list[dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch")
    shapes = [(3, 5), (5, 3)] if name == "eye" else [(4, 2, 3), (4, 6, 2), (6, 2, 3, 4), (2, 2, 1, 3, 2)]
    for shape in shapes:
        for option in options:
            expected = getattr(torch.nn.init, f"{name}_")(torch.empty(shape), **option)
            np.testing.assert_array_equal(getattr(init, name)(shape, **option), expected.numpy())


@given(st.integers(1, 8), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.floats(0.1, 3))
def test_orthogonal_rows_or_columns(rows: int, others: list[int], gain: float) -> None:
    q = init.orthogonal((rows, *others), gain, rng=0, dtype=np.float64).reshape(rows, -1)
    product = q.T @ q if rows >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-13 * gain**2)


def test_orthogonal_prefers_no_direction() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([init.orthogonal((2, 2), rng=rng)[0, 0] for _ in range(5000)])
    # The first entry of a random rotation or reflection is the cosine of a uniform angle.
    assert_drawn_from(corners, lambda x: 1 - np.arccos(np.clip(x, -1, 1)) / np.pi)
    signs = [np.linalg.det(init.orthogonal((2, 2), rng=rng)) > 0 for _ in range(1000)]
    assert 400 < sum(signs) < 600


def test_sparse_columns() -> None:
    values = init.sparse((40, 500), 0.31, std=0.5, rng=0)
    zeros = values == 0
    assert (zeros.sum(axis=0) == 13).all()  # ⌈0.31 · 40⌉
    assert_drawn_from(values[~zeros], lambda x: normal_cdf(x / 0.5))
    assert np.ptp(zeros.sum(axis=1)) < 80  # no row is preferred: 162 expected in each, deviation 11


@pytest.mark.parametrize("name", ["uniform", "normal", "trunc_normal", "zeros", "ones"])
def test_any_shape_will_do(name: str) -> None:
    make = getattr(init, name)
    assert make(3).shape == (3,)
    assert make(()).shape == ()
    assert make((0, 2)).shape == (0, 2)
    assert make(np.int64(3)).shape == (3,)


def test_weights_without_values() -> None:
    for name in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"):
        for shape in ((0, 3), (3, 0), (0, 0)):
            assert getattr(init, name)(shape).shape == shape


def test_errors() -> None:
    with pytest.raises(ArgumentError, match=r"unknown nonlinearity\n.*'relo'(.|\n)*leaky_relu"):
        init.calculate_gain("relo")
    for make in (init.xavier_uniform, init.xavier_normal, init.kaiming_uniform, init.kaiming_normal):
        with pytest.raises(ShapeError, match=r"at least two dimensions(.|\n)*shape \(3,\)"):
            make(3)
    with pytest.raises(ShapeError, match="orthogonal needs at least two"):
        init.orthogonal(3)
    with pytest.raises(ShapeError, match="eye needs a matrix"):
        init.eye((2, 2, 2))
    with pytest.raises(ShapeError, match="sparse needs a matrix"):
        init.sparse(4, 0.5)
    with pytest.raises(ShapeError, match="dirac needs a convolution's weight"):
        init.dirac((2, 2))
    with pytest.raises(ArgumentError, match="groups must divide"):
        init.dirac((4, 2, 3), groups=3)
    with pytest.raises(ArgumentError, match="unknown mode"):
        init.kaiming_normal((2, 3), mode="fan_avg")
    with pytest.raises(ArgumentError, match="uniform: the range is empty"):
        init.uniform(2, 1.0, 0.0)
    with pytest.raises(ArgumentError, match="normal: impossible std"):
        init.normal(2, 0.0, -1.0)
    with pytest.raises(ArgumentError, match="trunc_normal: the range is empty"):
        init.trunc_normal(2, a=1.0, b=1.0)
    with pytest.raises(ArgumentError, match="trunc_normal: impossible std"):
        init.trunc_normal(2, std=0.0)
    with pytest.raises(ArgumentError, match="no weight between the bounds"):
        init.trunc_normal(2, a=60.0, b=61.0)
    with pytest.raises(ArgumentError, match="impossible sparsity"):
        init.sparse((2, 2), 1.5)
    with pytest.raises(UnsupportedError, match=r"zeros_ fills a tensor or an array(.|\n)*zeros\(shape\)"):
        init.zeros_((2, 3))  # type: ignore[type-var]
    with pytest.raises(DtypeError, match="uniform_ fills floating-point values"):
        init.uniform_(np.zeros(3, np.int64))
