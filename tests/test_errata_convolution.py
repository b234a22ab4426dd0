"""docs/errata.md, entries 9 to 15, on convolutions: the printed form fails where the right one passes.

The printed sums are written out for one image; where an index falls outside an array, nothing is added. Central
differences of the definition, which the text of the document gives in words, judge the gradients.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

import graphzoo as gz
from tests.helpers import numeric_gradients

C, M, K, H, W = 2, 3, 3, 5, 4  # input and output channels, kernel and image
U, P = 2, 1


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def agree(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-8)


def at(x: np.ndarray, i: int, j: int) -> np.ndarray:
    """x[..., i, j], zero outside."""
    inside = 0 <= i < x.shape[-2] and 0 <= j < x.shape[-1]
    return x[..., i, j] if inside else np.zeros(x.shape[:-2])


def correlation(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """The right forward pass of erratum 9."""
    size = [(n + 2 * padding - K) // stride + 1 for n in x.shape[1:]]
    y = np.zeros((len(w), *size))
    for i, j, a, b in product(*map(range, (*size, K, K))):
        y[:, i, j] += w[:, :, a, b] @ at(x, stride * i + a - padding, stride * j + b - padding)
    return y


def printed_forward(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = Σ x[i − i', j − j'] w[i', j'], for the places at which a correlation without padding has an output."""
    size = H - K + 1, W - K + 1
    y = np.zeros((len(w), *size))
    for i, j, a, b in product(*map(range, (*size, K, K))):
        y[:, i, j] += w[:, :, a, b] @ at(x, i - a, j - b)
    return y


def test_a_printed_convolution_flips_the_kernel() -> None:
    x, w = normal(C, H, W), normal(M, C, K, K)
    layer = gz.Conv2d(C, M, K, bias=False).astype(np.float64)
    layer.weight.data = w
    y = layer(x).numpy()
    assert not agree(printed_forward(x, w), y)
    assert agree(correlation(x, w), y)
    # What is printed is the true convolution: the correlation with the flipped kernel, at other places.
    full = correlation(x, w[..., ::-1, ::-1], padding=K - 1)
    assert agree(printed_forward(x, w), full[:, : H - K + 1, : W - K + 1])


def rotated_gradients(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The printed sums, with the arrays that they mark by ᵀ rotated by 180°."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    w_turned, x_turned = w[..., ::-1, ::-1], x[..., ::-1, ::-1]
    for i, j, a, b in product(*map(range, (*x.shape[1:], *dy.shape[1:]))):
        dx[:, i, j] += dy[:, a, b] @ at(w_turned, i - a, j - b)
    for i, j, a, b in product(*map(range, (K, K, *dy.shape[1:]))):
        dw[:, :, i, j] += np.outer(dy[:, a, b], at(x_turned, i - a, j - b))
    return dx, dw


def right_gradients(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, stride: int, padding: int
) -> tuple[np.ndarray, np.ndarray]:
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, a, b in product(*map(range, (*dy.shape[1:], K, K))):
        p, q = stride * i + a - padding, stride * j + b - padding
        if 0 <= p < x.shape[1] and 0 <= q < x.shape[2]:
            dx[:, p, q] += dy[:, i, j] @ w[:, :, a, b]
            dw[:, :, a, b] += np.outer(dy[:, i, j], x[:, p, q])
    return dx, dw


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (U, P)])
def test_nothing_is_rotated_in_the_gradients_of_a_correlation(stride: int, padding: int) -> None:
    x, w = normal(C, H, W), normal(M, C, K, K)
    dy = normal(*correlation(x, w, stride, padding).shape, seed=1)
    dx, dw = numeric_gradients(lambda x, w: float((dy * correlation(x, w, stride, padding)).sum()), [x, w])
    for printed, right in zip(rotated_gradients(x, w, dy), (dx, dw), strict=True):
        assert not agree(printed, right)
    for form, right in zip(right_gradients(x, w, dy, stride, padding), (dx, dw), strict=True):
        assert agree(form, right)
    layer = gz.Conv2d(C, M, K, stride, padding).astype(np.float64)
    layer.weight.data = w
    leaf = gz.tensor(x, requires_grad=True)
    layer(leaf).backward(dy)
    assert agree(leaf.grad, dx)
    assert agree(layer.weight.grad, dw)
    assert agree(layer.bias.grad, dy.sum(axis=(1, 2)))


def test_a_depthwise_weight_has_no_index_of_the_output_channel() -> None:
    x, first, second = normal(C, H, W), normal(C, K, K), normal(M, C)
    dy = normal(M, H - K + 1, W - K + 1, seed=1)

    def depthwise(x: np.ndarray) -> np.ndarray:
        return np.concatenate([correlation(x[p : p + 1], first[p, None, None]) for p in range(C)])

    (dx,) = numeric_gradients(lambda x: float((dy * np.einsum("sp,pij->sij", second, depthwise(x))).sum()), [x])

    def gradient(weight: Callable[[int, int], np.ndarray]) -> np.ndarray:
        total = np.zeros_like(x)
        for s, p in product(range(M), range(C)):
            for (i, j), a, b in product(np.ndindex(*dy.shape[1:]), range(K), range(K)):
                total[p, i + a, j + b] += second[s, p] * weight(s, p)[a, b] * dy[s, i, j]
        return total

    with pytest.raises(IndexError, match="too many indices"):
        gradient(lambda s, p: first[s, p])
    assert agree(gradient(lambda s, p: first[p]), dx)
    layer = gz.SeparableConv2d(C, M, K, bias=False).astype(np.float64)
    layer.depthwise_weight.data, layer.pointwise_weight.data = first[:, None], second[:, :, None, None]
    leaf = gz.tensor(x, requires_grad=True)
    layer(leaf).backward(dy)
    assert agree(leaf.grad, dx)


def printed_size(n: int, k: int, stride: int, padding: int, dilation: int) -> float:
    return (n + 2 * padding - dilation * (k - 1) - 1) / stride + 1


def test_an_output_size_is_rounded_down() -> None:
    for n, k, stride, padding, dilation in product(range(5, 9), (1, 2, 3), (1, 2, 3), (0, 1), (1, 2)):
        starts = [s for s in range(-padding, n + padding, stride) if s + dilation * (k - 1) < n + padding]
        printed = printed_size(n, k, stride, padding, dilation)
        assert int(printed // 1) == len(starts)
        assert gz.Conv1d(1, 1, k, stride, padding, dilation)(np.ones((1, 1, n))).shape[2] == len(starts)
    assert printed_size(6, 3, 2, 1, 1) == 3.5
    with pytest.raises(gz.ShapeError, match="to be positive"):
        gz.Conv1d(1, 1, 5)(np.ones((1, 1, 3)))
    assert printed_size(3, 5, 1, 0, 1) == -1


def test_what_preserves_the_size() -> None:
    x = np.ones((1, 1, 11, 9))
    assert gz.Conv2d(1, 1, 5, padding=2, dilation=2)(x).shape == (1, 1, 7, 5)  # as printed: four less
    for kernel, padding in ((3, 2), (5, 4)):
        assert gz.Conv2d(1, 1, kernel, padding=padding, dilation=2)(x).shape == x.shape


def test_stride_two_halves_even_sizes_only() -> None:
    for n in range(4, 12):
        size = gz.Conv1d(1, 1, 3, stride=2, padding=1)(np.ones((1, 1, n))).shape[2]
        assert size == -(-n // 2)
        assert (size == n / 2) == (n % 2 == 0)


def test_flipping_the_kernel_and_not_transposing_the_input_makes_a_convolution() -> None:
    x, w = normal(1, H, H), normal(1, 1, K, K)
    true = np.zeros((1, H - K + 1, H - K + 1))  # Σ x[i − i', j − j'] w[i', j'] where all of it lies inside
    for i, j, a, b in product(range(H - K + 1), range(H - K + 1), range(K), range(K)):
        true[0, i, j] += x[0, i + K - 1 - a, j + K - 1 - b] * w[0, 0, a, b]
    layer = gz.Conv2d(1, 1, K, bias=False).astype(np.float64)
    layer.weight.data = w
    assert not agree(layer(x.swapaxes(1, 2)).numpy(), true)
    assert not agree(layer(x.swapaxes(1, 2)).numpy().swapaxes(1, 2), true)
    layer.weight.data = w[..., ::-1, ::-1].copy()
    assert agree(layer(x).numpy(), true)
