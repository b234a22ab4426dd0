"""The error function, which NumPy lacks.

Rational approximations of W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969),
pp. 631-637: exact to a few units in float64's last digit.
"""

from __future__ import annotations

import numpy as np

# Numerator and denominator, highest power first: of erf(x)/x in x² for small |x|, of e^(x²) erfc(x) in |x| for large.
_NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_FAR = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ),
)  # fmt: skip
_NEAR_END, _ALL_ONE = 0.46875, 6.0  # erf(6) is 1 in float64
_BLOCK = 8192  # entries at a time, so that the polynomials' intermediate arrays stay in the cache


def erf_values(x: np.ndarray) -> np.ndarray:
    """erf of an array, computed in float64 and returned in the array's floating-point dtype."""
    x = np.asarray(x)
    y = np.empty(x.shape, x.dtype if x.dtype.kind == "f" else np.float64)
    source, target = x.reshape(-1), y.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        block = source[start : start + _BLOCK].astype(np.float64)
        size = np.minimum(np.abs(block), _ALL_ONE)
        complement = np.exp(-size * size) * _ratio(_FAR, size)
        near = np.minimum(size, _NEAR_END)
        target[start : start + _BLOCK] = np.where(
            size > _NEAR_END, np.copysign(1 - complement, block), block * _ratio(_NEAR, near * near)
        )
    return y


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: np.ndarray) -> np.ndarray:
    """The quotient of two polynomials in x, by Horner's scheme."""
    quotient = []
    for highest, *lower in coefficients:
        value = np.full_like(x, highest)
        for coefficient in lower:
            value *= x
            value += coefficient
        quotient.append(value)
    return np.divide(*quotient)
