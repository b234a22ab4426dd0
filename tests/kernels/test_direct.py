"""Compiled products on the flat grid against NumPy's, over geometries of one to three axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphzoo.kernels import columns, convolution, select
from graphzoo.kernels.grid import ROOM, Geometry, flat_grids, grid_of

pytest.importorskip("numba")
from graphzoo.kernels import direct
from graphzoo.kernels.tiles import VECTOR


@st.composite
def problems(draw: Any) -> tuple[Geometry, int, tuple[int, int, int]]:
    """A geometry, a number of groups, and images, channels and outputs in each group."""
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        reach = dilation * (kernel - 1) + 1
        padding = draw(st.integers(0, reach - 1))
        size = draw(st.integers(max(1, reach - 2 * padding), 9))
        axes.append((size, (size + 2 * padding - reach) // stride + 1, kernel, stride, padding, dilation))
    sizes = (draw(st.integers(0, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 70)))
    return Geometry(*zip(*axes, strict=True)), draw(st.integers(1, 3)), sizes


def passes(products: Any, arrays: tuple[np.ndarray, ...], geometry: Geometry, groups: int) -> list[np.ndarray]:
    x, weight, bias, dy = arrays
    with pytest.MonkeyPatch.context() as patch, select.plain_kernels():
        patch.setattr(convolution, "products_for", lambda *_: products)
        return [
            convolution.correlate(x, weight, geometry, groups, bias),
            convolution.correlate_adjoint(dy, weight, geometry, groups),
            convolution.kernel_gradient(x, dy, geometry, groups),
        ]


def arrays_of(
    geometry: Geometry, groups: int, sizes: tuple[int, int, int], dtype: type
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    images, channels, outputs = sizes
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    return (
        normal(images, groups * channels, *geometry.size),
        normal(groups * outputs, channels, *geometry.kernel),
        normal(groups * outputs),
        normal(images, groups * outputs, *geometry.out),
    )


@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from([np.float32, np.float64]))
def test_as_numpys(problem: tuple[Geometry, int, tuple[int, int, int]], dtype: type) -> None:
    geometry, groups, sizes = problem
    arrays = arrays_of(geometry, groups, sizes, dtype)
    got, right = (passes(products, arrays, geometry, groups) for products in (direct, columns))
    for one, other in zip(got, right, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        scale = np.abs(other).max(initial=1e-30)
        np.testing.assert_allclose(one / scale, other / scale, atol=1e-5 if dtype is np.float32 else 1e-13)


@pytest.mark.parametrize("outputs", [1, 4, 5, 16, 17, 32, 33, 48, 64, 65, 80, 130])
def test_every_width_of_tiles(outputs: int) -> None:
    geometry = Geometry((40, 30), (40, 30), (3, 3), (1, 1), (1, 1), (1, 1))
    arrays = arrays_of(geometry, 1, (2, 5, outputs), np.float32)
    for one, other in zip(*(passes(products, arrays, geometry, 1) for products in (direct, columns)), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3, rtol=1e-4)


def test_nan_and_infinity_stay_where_they_are_seen() -> None:
    geometry = Geometry((40, 30), (40, 30), (3, 3), (1, 1), (1, 1), (1, 1))
    x, weight, bias, dy = arrays_of(geometry, 1, (3, 5, 7), np.float32)
    x[1, 2, 7, 0], dy[2, 3, 5, 29] = np.nan, np.inf
    for one, other in zip(
        *(passes(products, (x, weight, bias, dy), geometry, 1) for products in (direct, columns)), strict=True
    ):
        assert (np.isnan(one) == np.isnan(other)).all()
        assert (np.isinf(one) == np.isinf(other)).all()
        assert np.isfinite(one).any() or one.shape == weight.shape


def test_who_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select._Choice, "allowed", True)
    single, whole = np.dtype(np.float32), np.dtype(np.int64)
    assert select.products_for(select.SMALLEST, single) is direct
    assert select.products_for(select.SMALLEST - 1, single) is columns
    assert select.products_for(select.SMALLEST, whole) is columns
    with select.plain_kernels():
        assert select.products_for(select.SMALLEST, single) is columns


def test_what_tiles_read_behind_the_last_entry_is_within_the_array() -> None:
    assert ROOM * 4 >= 6 * VECTOR
    geometry = Geometry((9, 8), (9, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    grid = grid_of(geometry)
    for _, source in flat_grids(np.ones((3, 2, 9, 8)), grid, grid.planes, 1, np.dtype(np.float64)):
        owner = source.base
        while owner.base is not None:
            owner = owner.base
        assert owner.size == source.size + ROOM
