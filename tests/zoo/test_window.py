"""Borders, windows and their adjoint against NumPy, central differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

X = np.random.default_rng(0).normal(size=(2, 4, 5))


@pytest.mark.parametrize("width", [1, (2, 1), ((1, 0), (0, 2), (3, 1)), ((0, 0), (0, 0), (0, 3))])
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_pad_like_numpy(mode: str, width) -> None:
    expected = np.pad(X, width, mode)
    np.testing.assert_array_equal(gz.pad(X, width, mode).numpy(), expected)
    np.testing.assert_array_equal(np.pad(gz.tensor(X), width, mode=mode).numpy(), expected)
    assert_gradients(lambda t: gz.pad(t, width, mode) ** 2, X)


def test_pad_wider_than_the_array() -> None:
    x = np.array([1.0, 2.0, 3.0])
    for mode in ("reflect", "symmetric", "wrap", "edge"):
        np.testing.assert_array_equal(gz.pad(x, 7, mode).numpy(), np.pad(x, 7, mode))
        assert_gradients(lambda t, mode=mode: gz.pad(t, 7, mode), x)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_by_torchs_names(mode: str) -> None:
    torch = pytest.importorskip("torch")
    assert_like_torch(
        lambda t: gz.pad(t, ((0, 0), (0, 0), (2, 1), (1, 3)), mode) ** 2,
        lambda t: torch.nn.functional.pad(t, (1, 3, 2, 1), mode) ** 2,
        X[None],
    )


def test_pad_with_a_value() -> None:
    y = gz.pad(gz.tensor([1.0], requires_grad=True), (1, 0), constant_values=-np.inf)
    np.testing.assert_array_equal(y.numpy(), [-np.inf, 1])
    assert y.dtype == np.float32


def test_pad_refuses_what_it_does_not_know() -> None:
    with pytest.raises(gz.ArgumentError, match="linear_ramp"):
        gz.pad(X, 1, mode="linear_ramp")
    with pytest.raises(gz.ArgumentError, match="0 or more"):
        gz.pad(X, -1)
    with pytest.raises(gz.ShapeError):
        gz.pad(X, ((1, 1), (1, 1)))


def windows_one_by_one(x: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """The definition, along the last axis: every window that fits, entry by entry."""
    found = []
    for start in range(0, x.shape[-1], stride):
        places = [start + dilation * k for k in range(kernel)]
        if places[-1] < x.shape[-1]:
            found.append(np.stack([x[..., place] for place in places], -1))
    return np.stack(found, -2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
def test_windows_and_fold_along_one_axis(kernel, stride, dilation, more) -> None:
    size = dilation * (kernel - 1) + 1 + more
    x = np.random.default_rng(size).normal(size=(2, size))
    expected = windows_one_by_one(x, kernel, stride, dilation)
    got = gz.sliding_window(x, kernel, stride, dilation)
    np.testing.assert_array_equal(got.numpy(), expected)
    # The adjoint: <windows(x), y> = <x, sum_windows(y)> for all y.
    y = np.random.default_rng(1).normal(size=expected.shape)
    folded = gz.sum_windows(y, size, kernel, stride, dilation).numpy()
    assert folded.shape == x.shape
    np.testing.assert_allclose((expected * y).sum(), (x * folded).sum(), atol=1e-10)


def test_windows_over_two_axes_to_second_order() -> None:
    settings = {"kernel_size": (2, 3), "stride": (2, 1), "dilation": (1, 2)}
    y = gz.sliding_window(X, **settings)
    assert y.shape == (2, 2, 1, 2, 3)
    np.testing.assert_array_equal(y.numpy()[1, 1, 0], X[1, 2:4, 0:5:2])
    assert_gradients(lambda t: gz.sliding_window(t, **settings) ** 2, X)
    assert_gradients(lambda t: gz.sum_windows(t, (4, 5), **settings) ** 2, y.numpy())


def test_windows_and_fold_like_torchs_unfold() -> None:
    torch = pytest.importorskip("torch")
    x = X[None]  # one image of two channels

    def columns(t):
        windows = gz.sliding_window(t, (3, 2), stride=(1, 2), dilation=(1, 2))
        n, c, rows, cols, *kernel = windows.shape
        return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel[0] * kernel[1], rows * cols) ** 2

    unfold = torch.nn.Unfold((3, 2), stride=(1, 2), dilation=(1, 2))
    assert_like_torch(columns, lambda t: unfold(t) ** 2, x)


def test_windows_of_a_strided_read_only_array_are_a_view() -> None:
    x = np.arange(20.0).reshape(4, 5)[:, ::-1]
    x.flags.writeable = False
    y = gz.sliding_window(x, (2, 2)).numpy()
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(y[1, 2], x[1:3, 2:4])


def test_empty_batch() -> None:
    x = gz.tensor(np.empty((0, 5)), requires_grad=True)
    y = gz.sliding_window(x, 2)
    assert y.shape == (0, 4, 2)
    y.sum().backward()
    assert x.grad.shape == (0, 5)
    gz.pad(x, ((0, 0), (1, 1)), "reflect").sum().backward()


def test_float32_stays() -> None:
    x = gz.tensor(X.astype(np.float32), requires_grad=True)
    y = gz.sum_windows(gz.sliding_window(x, 3), 5, 3)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


def test_windows_that_do_not_fit() -> None:
    with pytest.raises(gz.ShapeError, match=r"at least \(9,\)"):
        gz.sliding_window(X, 3, dilation=4)
    with pytest.raises(gz.ShapeError, match="too few axes"):
        gz.sliding_window(np.ones(3), (2, 2))
    with pytest.raises(gz.ArgumentError, match="stride"):
        gz.sliding_window(X, 2, stride=0)
    with pytest.raises(gz.ArgumentError, match="dilation"):
        gz.sliding_window(X, 2, dilation=(1, 2))
    with pytest.raises(gz.ShapeError, match="not those of an array"):
        gz.sum_windows(np.ones((3, 2)), 7, 2)


# Unfold and Fold -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(*[st.tuples(st.integers(low, 3), st.integers(low, 3)) for low in (1, 1, 0, 1, 0)], st.integers(0, 2))
def test_unfold_and_fold_like_torch(kernel, dilation, padding, stride, more, batch) -> None:
    torch = pytest.importorskip("torch")
    size = [max(1, d * (k - 1) + 1 - 2 * p) + m for k, d, p, m in zip(kernel, dilation, padding, more, strict=True)]
    options = (kernel, dilation, padding, stride)
    x = np.random.default_rng(0).normal(size=(batch + 1, 2, *size))
    assert_like_torch(lambda t: gz.unfold(t, *options) ** 2, lambda t: torch.nn.Unfold(*options)(t) ** 2, x)
    columns = gz.unfold(x, *options).numpy() ** 2
    back = torch.nn.Fold(size, *options)
    assert_like_torch(lambda t: gz.fold(t, size, *options) ** 2, lambda t: back(t) ** 2, columns)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5), (0, 3, 4, 5), (1, 1, 2, 3)])
def test_unfold_and_fold_checked(shape: tuple[int, ...]) -> None:
    unfold = gz.Unfold((2, 3), (1, 2), (1, 2), (2, 1))
    x = np.random.default_rng(0).normal(size=shape)
    assert gz.check(unfold, x)
    assert gz.check(gz.Fold(shape[-2:], (2, 3), (1, 2), (1, 2), (2, 1)), unfold(x).numpy())


def test_unfold_of_other_numbers_of_axes() -> None:
    assert gz.unfold(np.ones((2, 3, 7)), (3,), stride=2).shape == (2, 9, 3)
    assert gz.fold(np.ones((9, 3)), (7,), (3,), stride=2).shape == (3, 7)
    assert gz.unfold(np.ones((2, 3, 4, 5, 6)), (2, 2, 2)).shape == (2, 24, 3 * 4 * 5)


def test_unfold_and_fold_refuse_what_does_not_fit() -> None:
    with pytest.raises(gz.ShapeError, match=r"Unfold takes images with 2 spatial axes"):
        gz.unfold(np.ones((4, 5)), 2)
    with pytest.raises(gz.ShapeError, match=r"no window fits"):
        gz.unfold(np.ones((1, 1, 2, 5)), 3)
    with pytest.raises(gz.ShapeError, match=r"\(1, 4, 5\)(.|\n)*channels · 4, 6\)(.|\n)*as 2×3 windows"):
        gz.fold(np.ones((1, 4, 5)), (3, 4), 2)
    with pytest.raises(gz.ShapeError, match=r"\(1, 3, 6\)"):
        gz.fold(np.ones((1, 3, 6)), (3, 4), 2)
    with pytest.raises(gz.ArgumentError, match=r"padding(.|\n)*0 or more"):
        gz.Unfold(2, padding=-1)
