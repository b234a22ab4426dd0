"""An array in a few numbers: what pictures tell of values and of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 24
SMALL = 64  # arrays of no more values are kept whole


@dataclass(frozen=True, slots=True)
class Statistics:
    """An array in a few numbers; those of values but `nans` and `infs` are of its finite values.

    Attributes:
        size: how many values.
        norm: √Σ x² over all values; NaN or infinite if one of them is.
        mean, low, high: of the finite values, None where there are none.
        zeros, nans, infs: how many values are that.
        histogram: counts of the finite values in equal bins from low to high.
        whole: all values in order, of arrays of no more than 64; else empty.

    >>> import numpy as np
    >>> Statistics.of(np.array([3.0, 0.0, -4.0, np.inf]))
    Statistics(size=4, norm=inf, mean=-0.333, low=-4.0, high=3.0, zeros=1, nans=0, infs=1)
    """

    size: int
    norm: float
    mean: float | None
    low: float | None
    high: float | None
    zeros: int
    nans: int
    infs: int
    histogram: tuple[int, ...]
    whole: tuple[float, ...] = ()

    @classmethod
    def of(cls, array: np.ndarray) -> Statistics:
        """The statistics of an array."""
        array = np.asarray(array, np.float64)
        whole = tuple(array.ravel().tolist()) if array.size <= SMALL else ()
        nans, infs = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        finite = array[np.isfinite(array)] if nans or infs else array.ravel()
        if not finite.size:
            return cls(array.size, norm(array), None, None, None, 0, nans, infs, (), whole)
        low, high = float(finite.min()), float(finite.max())
        # Over one value, or a range too small to be divided, there is one bin.
        counts = np.histogram(finite, BINS, (low, high))[0] if high - low > 1e-12 * max(-low, high) else [finite.size]
        zeros = int(finite.size - np.count_nonzero(finite))
        histogram = tuple(int(count) for count in counts)
        return cls(array.size, norm(array), float(finite.mean()), low, high, zeros, nans, infs, histogram, whole)

    @classmethod
    def together(cls, several: Sequence[Statistics]) -> Statistics:
        """Those of several arrays taken as one; the histogram of it is not known."""
        if len(several) == 1:
            return several[0]
        finite = [(one.size - one.nans - one.infs, one.mean) for one in several if one.mean is not None]
        count = sum(number for number, _ in finite)
        return cls(
            size=sum(one.size for one in several),
            norm=math.hypot(*(one.norm for one in several)),
            mean=sum(number * mean for number, mean in finite) / count if count else None,
            low=min((one.low for one in several if one.low is not None), default=None),
            high=max((one.high for one in several if one.high is not None), default=None),
            zeros=sum(one.zeros for one in several),
            nans=sum(one.nans for one in several),
            infs=sum(one.infs for one in several),
            histogram=(),
        )

    def __repr__(self) -> str:
        mean = "None" if self.mean is None else f"{self.mean:.3g}"
        return (
            f"Statistics(size={self.size}, norm={self.norm:.4g}, mean={mean}, low={self.low}, high={self.high}, "
            f"zeros={self.zeros}, nans={self.nans}, infs={self.infs})"
        )


def norm(array: Any) -> float:
    """√Σ x², without overflow on the way."""
    array = np.asarray(array, np.float64)
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum(np.square(array / largest))))
