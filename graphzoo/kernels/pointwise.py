"""Activations entry by entry. Gradients take the upstream gradient first, and may be given what acts like an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .erf import erf_quickly, erf_values
from .pool import empty
from .select import accelerated

BLOCK = 1 << 15
"""Entries that are worked on at a time."""


@accelerated("float32", "float64")
def rectified(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.clip(x, 0, None, out=empty(x.shape, x.dtype))


@accelerated("float32", "float64")
def rectified_gradient(dy: Any, y: Any) -> Any:
    """The gradient through `rectified`, of which y is the result."""
    return dy * (y > 0)


@accelerated("float32")
def normal_share(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Φ(x), and x Φ(x)."""
    share = (erf_quickly if x.dtype == np.float32 else erf_values)(x * math.sqrt(0.5))
    share += 1
    share *= 0.5
    return share, x * share


@accelerated("float32")
def normal_share_gradient(dy: np.ndarray, x: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The gradient through x Φ(x), with Φ(x) in `share`: dy (Φ(x) + x Φ'(x))."""
    density = np.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return dy * (share + x * density)


@accelerated("float32", "float64")
def tanh_gradient(dy: Any, y: Any) -> Any:
    """The gradient through tanh, of which y is the result: dy (1 - y²)."""
    if dy.__class__ is not np.ndarray:
        return dy - dy * (y * y)
    dx = empty(y.shape, y.dtype)
    upstream, values = (np.ascontiguousarray(array).reshape(-1) for array in (dy, y))
    target = dx.reshape(-1)
    for start in range(0, dx.size, BLOCK):  # what stays in the cache costs a fraction of what does not
        part = slice(start, start + BLOCK)
        out = np.multiply(values[part], values[part], out=target[part])
        out *= upstream[part]
        np.subtract(upstream[part], out, out=out)
    return dx
