"""Activations entry by entry. Gradients take the upstream gradient first, and may be given what acts like an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .erf import erf_quickly, erf_values
from .pool import empty
from .select import accelerated
from .workers import share_blocks


@accelerated("float32", "float64")
def rectified(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    y = empty(x.shape, x.dtype)
    source, target, zero = x.reshape(-1), y.reshape(-1), x.dtype.type(0)
    share_blocks(lambda part: np.maximum(source[part], zero, out=target[part]), x.size, 1)
    return y


@accelerated("float32", "float64")
def rectified_gradient(dy: Any, y: Any) -> Any:
    """The gradient through `rectified`, of which y is the result."""
    if dy.__class__ is not np.ndarray:
        return dy * (y > 0)
    dx = empty(y.shape, y.dtype)
    upstream, values, target, zero = _flat(dy), _flat(y), dx.reshape(-1), y.dtype.type(0)
    share_blocks(lambda part: np.multiply(upstream[part], values[part] > zero, out=target[part]), y.size, 1)
    return dx


@accelerated("float32")
def normal_share(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Φ(x), and x Φ(x)."""
    share = (erf_quickly if x.dtype == np.float32 else erf_values)(x * math.sqrt(0.5))
    y = empty(x.shape, share.dtype)
    source, half, target = _flat(x), share.reshape(-1), y.reshape(-1)

    def work(part: slice) -> None:
        out = half[part]
        out += 1
        out *= 0.5
        np.multiply(source[part], out, out=target[part])

    share_blocks(work, x.size, 1)
    return share, y


@accelerated("float32")
def normal_share_gradient(dy: np.ndarray, x: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The gradient through x Φ(x), with Φ(x) in `share`: dy (Φ(x) + x Φ'(x))."""
    dx = empty(x.shape, share.dtype)
    upstream, values, half, target = _flat(dy), _flat(x), _flat(share), dx.reshape(-1)

    def work(part: slice) -> None:
        rows, out = values[part], target[part]
        np.multiply(rows, rows, out=out)
        out *= -0.5
        np.exp(out, out=out)
        out *= 1 / math.sqrt(2 * math.pi)
        out *= rows
        out += half[part]
        out *= upstream[part]

    share_blocks(work, x.size, 1)
    return dx


def hyperbolic_tangents(x: np.ndarray) -> np.ndarray:
    """tanh x."""
    y = empty(x.shape, x.dtype)
    source, target = _flat(x), y.reshape(-1)
    share_blocks(lambda part: np.tanh(source[part], out=target[part]), x.size, 1)
    return y


@accelerated("float32", "float64")
def tanh_gradient(dy: Any, y: Any) -> Any:
    """The gradient through tanh, of which y is the result: dy (1 - y²)."""
    if dy.__class__ is not np.ndarray:
        return dy - dy * (y * y)
    dx = empty(y.shape, y.dtype)
    upstream, values, target = _flat(dy), _flat(y), dx.reshape(-1)

    def work(part: slice) -> None:
        out = np.multiply(values[part], values[part], out=target[part])
        out *= upstream[part]
        np.subtract(upstream[part], out, out=out)

    share_blocks(work, y.size, 1)
    return dx


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1)
