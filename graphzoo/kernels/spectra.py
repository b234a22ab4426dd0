"""Convolution with wide kernels, by Fourier transforms: one product of spectra instead of one for each entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .grid import Geometry, Sizes

WIDE = 400
"""Entries of a kernel from which on its products are taken between spectra."""


def is_wide(geometry: Geometry, *arrays: np.ndarray) -> bool:
    """Whether a kernel is wide, looks at every place, and all numbers are finite: a transform spreads what is not."""
    if math.prod(geometry.kernel) < WIDE or {*geometry.stride, *geometry.dilation} != {1}:
        return False
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _lengths(geometry: Geometry) -> Sizes:
    """How long the transforms must be so that nothing comes round: numbers without large prime factors."""

    def fast(length: int) -> int:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        return length if rest == 1 else fast(length + 1)

    return tuple(fast(out + kernel - 1) for out, kernel in zip(geometry.out, geometry.kernel, strict=True))


def _spectra(x: np.ndarray, lengths: Sizes, groups: int, padding: Sizes | None = None) -> np.ndarray:
    """(frequencies, groups, N, channels): the transforms of x (N, groups · channels, *size), behind so many zeros."""
    if padding is not None:
        where: Any = (..., *(slice(length - before) for length, before in zip(lengths, padding, strict=True)))
        x = np.pad(x[where], ((0, 0), (0, 0), *((before, 0) for before in padding)))
    axes = tuple(range(2, 2 + len(lengths)))
    spectra = np.fft.rfftn(x, lengths, axes)
    return spectra.reshape(len(x), groups, x.shape[1] // groups, -1).transpose(3, 1, 0, 2)


def _back(spectra: np.ndarray, lengths: Sizes, size: Sizes, dtype: np.dtype[Any]) -> np.ndarray:
    """From (frequencies, groups, N, channels) to (N, groups · channels, *size)."""
    _, groups, count, channels = spectra.shape
    halves = (*lengths[:-1], lengths[-1] // 2 + 1)
    x = spectra.transpose(2, 1, 3, 0).reshape(count, groups * channels, *halves)
    x = np.fft.irfftn(x, lengths, tuple(range(2, 2 + len(lengths))))
    where: Any = (..., *(slice(n) for n in size))
    return x[where].astype(dtype, copy=False)


def correlate_widely(x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    lengths = _lengths(geometry)
    kernels = _spectra(weight.swapaxes(0, 1), lengths, groups)  # (frequencies, groups, channels, outputs)
    products = _spectra(x, lengths, groups, geometry.padding) @ kernels.conj()
    return _back(products, lengths, geometry.out, np.result_type(x, weight))


def widely_turned(weight: np.ndarray, geometry: Geometry, groups: int) -> tuple[np.ndarray, Geometry] | None:
    """The kernel and geometry with which a correlation is the adjoint of another; None where it would have to look
    beyond what there is."""
    padding = tuple(kernel - 1 - before for kernel, before in zip(geometry.kernel, geometry.padding, strict=True))
    if min(padding) < 0:
        return None
    outputs, channels = weight.shape[0] // groups, weight.shape[1]
    turned = np.flip(weight, tuple(range(2, weight.ndim))).reshape(groups, outputs, channels, *geometry.kernel)
    turned = turned.swapaxes(1, 2).reshape(groups * channels, outputs, *geometry.kernel)
    return turned, geometry._replace(size=geometry.out, out=geometry.size, padding=padding)


def kernel_gradient_widely(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    lengths = _lengths(geometry)
    upstream = _spectra(dy, lengths, groups).conj()
    products = upstream.swapaxes(2, 3) @ _spectra(x, lengths, groups, geometry.padding)
    _, _, outputs, channels = products.shape
    dw = _back(products, lengths, geometry.kernel, np.result_type(x, dy))  # (outputs, groups · channels, *kernel)
    dw = dw.reshape(outputs, groups, channels, *geometry.kernel).swapaxes(0, 1)
    return dw.reshape(groups * outputs, channels, *geometry.kernel)
