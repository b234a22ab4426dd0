"""docs/errata.md, entries 5 to 7: the printed forms of normalisation and pooling fail where the right ones pass.

Forward passes are written out in NumPy as the zoo document prints them; gradients are judged by central differences.
"""

import numpy as np

import graphzoo as gz
from tests.helpers import numeric_gradients


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def agree(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-8)


# 5. Batch normalisation: M, not m ------------------------------------------------------------------------------------

EPS = 1e-5


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS) + beta


def batch_norm_backward(x: np.ndarray, gamma: np.ndarray, dy: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """dL/dx as printed, with what stands for its m: for each sample a row of it."""
    mean, variance = x.mean(axis=0), x.var(axis=0) + EPS
    dvar = (dy * gamma * (x - mean) * -0.5 * variance**-1.5).sum(axis=0)
    dmean = (dy * gamma * -(variance**-0.5)).sum(axis=0) + dvar * -2 * (x - mean).sum(axis=0) / divisor
    return dy * gamma * variance**-0.5 + dmean / divisor + dvar * 2 / divisor * (x - mean)


def test_batch_norm_divides_by_the_count_and_not_by_the_index() -> None:
    x, gamma, beta, dy = normal(5, 3), 1 + normal(3) ** 2, normal(3, seed=1), normal(5, 3, seed=2)
    (expected,) = numeric_gradients(lambda x: float((batch_norm(x, gamma, beta) * dy).sum()), [x])
    index = np.arange(1.0, 6.0)[:, None]
    assert not agree(batch_norm_backward(x, gamma, dy, divisor=index), expected)
    right = batch_norm_backward(x, gamma, dy, divisor=np.full((5, 1), 5.0))
    assert agree(right, expected)

    norm, leaf = gz.BatchNorm1d(3).astype(np.float64), gz.tensor(x, requires_grad=True)
    norm.weight.data, norm.bias.data = gamma, beta
    norm(leaf).backward(dy)
    assert agree(leaf.grad, right)


def test_batch_norm_of_images_counts_positions() -> None:
    x, dy = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)

    def loss(x: np.ndarray) -> float:
        flat = x.transpose(0, 2, 3, 1).reshape(-1, 3)
        return float((batch_norm(flat, np.ones(3), np.zeros(3)) * dy.transpose(0, 2, 3, 1).reshape(-1, 3)).sum())

    (expected,) = numeric_gradients(loss, [x])
    flat, flat_dy = (a.transpose(0, 2, 3, 1).reshape(-1, 3) for a in (x, dy))

    def backward(count: float) -> np.ndarray:
        dx = batch_norm_backward(flat, np.ones(3), flat_dy, np.full((len(flat), 1), count))
        return dx.reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)

    assert not agree(backward(2), expected)  # the batch size, which the document says M is
    assert agree(backward(2 * 4 * 5), expected)
    leaf = gz.tensor(x, requires_grad=True)
    gz.BatchNorm2d(3).astype(np.float64)(leaf).backward(dy)
    assert agree(leaf.grad, expected)


# 6. Maximum pooling: absolute positions, all windows -----------------------------------------------------------------

K, U = (2, 3), 2  # windows of p × q; the stride


def windows(x: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Output position and entries of each window that fits."""
    height, width = ((size - k) // U + 1 for size, k in zip(x.shape, K, strict=True))
    return [(i, j, x[U * i : U * i + K[0], U * j : U * j + K[1]]) for i in range(height) for j in range(width)]


def pooled(x: np.ndarray, reduce) -> np.ndarray:
    found = windows(x)
    y = np.empty((found[-1][0] + 1, found[-1][1] + 1))
    for i, j, window in found:
        y[i, j] = reduce(window)
    return y


def max_backward(x: np.ndarray, dy: np.ndarray, absolute: bool, columns: int) -> np.ndarray:
    """dL/dx[i, j] = Σ over i', j' of dL/dy[i', j'] where the argmax of that window is (i, j)."""
    dx = np.zeros(x.shape)
    for i, j, window in windows(x):
        if j < columns:  # the second sum's upper end
            row, column = np.unravel_index(window.argmax(), window.shape)
            dx[(U * i + row, U * j + column) if absolute else (row, column)] += dy[i, j]
    return dx


def test_max_pooling_finds_absolute_positions_in_all_columns_of_windows() -> None:
    x = normal(5, 9)
    dy = normal(2, 4, seed=1)
    (expected,) = numeric_gradients(lambda x: float((pooled(x, np.max) * dy).sum()), [x])
    assert not agree(max_backward(x, dy, absolute=False, columns=4), expected)  # the argmax within the window
    assert not agree(max_backward(x, dy, absolute=True, columns=2), expected)  # both sums run to H_out
    assert agree(max_backward(x, dy, absolute=True, columns=4), expected)

    # The case split stands outside of the sum: whoever is the argmax of some window would get the gradients of all.
    outside = np.where(max_backward(x, np.ones(dy.shape), absolute=True, columns=4) > 0, dy.sum(), 0)
    assert not agree(outside, expected)

    leaf = gz.tensor(x[None], requires_grad=True)
    gz.MaxPool2d(K, U)(leaf).backward(dy[None])
    assert agree(leaf.grad[0], expected)


# 7. Average pooling: the divisor, and which windows contribute -------------------------------------------------------


def average_backward(shape: tuple[int, int], dy: np.ndarray, floor: bool) -> np.ndarray:
    """dL/dx[i, j] = 1/(P Q) Σ over p, q of dL/dy[(i - p)/U, (j - q)/U], for all or only for whole quotients."""
    dx = np.zeros(shape)
    for i, j in np.ndindex(shape):
        for p, q in np.ndindex(K):
            if floor or ((i - p) % U == 0 and (j - q) % U == 0):
                row, column = (i - p) // U, (j - q) // U
                if 0 <= row < dy.shape[0] and 0 <= column < dy.shape[1]:
                    dx[i, j] += dy[row, column] / (K[0] * K[1])
    return dx


def test_average_pooling_takes_whole_quotients_only() -> None:
    x, dy = normal(5, 9), normal(2, 4, seed=1)
    (expected,) = numeric_gradients(lambda x: float((pooled(x, np.mean) * dy).sum()), [x])
    assert not agree(average_backward(x.shape, dy, floor=True), expected)
    assert agree(average_backward(x.shape, dy, floor=False), expected)
    leaf = gz.tensor(x[None], requires_grad=True)
    gz.AvgPool2d(K, U)(leaf).backward(dy[None])
    assert agree(leaf.grad[0], expected)


def test_average_pooling_divides_by_the_size_of_the_window() -> None:
    """Printed 1/(p q), p and q being the sums' own variables: they count the places, and are 0 at the first."""
    x = normal(5, 9)
    y = gz.AvgPool2d(K, U)(x[None]).numpy()[0]
    total = np.zeros(y.shape)
    for p, q in np.ndindex(K):
        total += np.stack([[w[p, q] for i, j, w in windows(x) if i == row] for row in range(2)]) / ((p + 1) * (q + 1))
    assert not agree(total, y)  # even when counted from 1
    assert agree(pooled(x, np.sum) / (K[0] * K[1]), y)
