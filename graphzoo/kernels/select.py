"""The one place that decides which kernel runs: the plain one in NumPy, or its twin compiled by Numba.

A plain kernel marked `accelerated` has a twin of the same name and arguments in `compiled`. The twin runs where Numba
is installed (``pip install graphzoo[fast]``), the array is large enough to gain by it, contiguous, and of a dtype that
the twin is for; else the plain one does. Likewise products on the flat grid are made by the functions of
`columns` or those of the same names in `direct`. Both agree to rounding. ``GRAPHZOO_FAST=0`` in the environment leaves
Numba alone.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from . import columns

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

SMALLEST = 1 << 14
"""Entries of the first array from which on a twin is worth its call."""

STEP = 1 << 11
"""The same for a step of a recurrent cell: a dozen of NumPy's calls, which cost more than what they compute."""


class _Choice:
    """Whether compiled kernels may run; found out on first use."""

    allowed = os.environ.get("GRAPHZOO_FAST", "1") != "0"
    module: ModuleType | None = None


def accelerated(*kinds: str, smallest: int = SMALLEST) -> Callable[[Kernel], Kernel]:
    """Marks a plain kernel that has a compiled twin for arrays of these dtypes, from so many entries on. Its first
    argument decides."""
    dtypes = tuple(np.dtype(kind) for kind in kinds)

    def mark(plain: Kernel) -> Kernel:
        @functools.wraps(plain)
        def run(first: Any, *others: Any) -> Any:
            if first.size < smallest or not _Choice.allowed or first.__class__ is not np.ndarray:
                return plain(first, *others)
            if first.dtype in dtypes and first.flags.c_contiguous and (twins := compiled()) is not None:
                result = twins.TWINS[plain.__name__](first, *others)
                if result is not NotImplemented:  # a twin may know the common cases only
                    return result
            return plain(first, *others)

        return run  # type: ignore[return-value]  # `wraps` keeps the signature, which `Any` hides

    return mark


def compiled() -> ModuleType | None:
    """The compiled kernels; None without Numba, which is imported here, at the first array that is large enough."""
    if _Choice.module is None:
        if importlib.util.find_spec("numba") is None:
            _Choice.allowed = False
            return None
        try:
            from . import compiled as module
        except ImportError as error:  # Numba refuses a NumPy that is newer than itself
            _Choice.allowed = False
            warnings.warn(f"compiled kernels are left out, NumPy's run: {error}", stacklevel=3)
            return None
        _Choice.module = module
    return _Choice.module


def products_for(entries: int, dtype: np.dtype[Any]) -> Any:
    """The module for products that read so many entries at a time: `direct` or `columns`."""
    if entries < SMALLEST or not _Choice.allowed or dtype not in (np.float32, np.float64) or compiled() is None:
        return columns
    from . import direct

    return direct


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Within this block NumPy's kernels run alone."""
    before, _Choice.allowed = _Choice.allowed, False
    try:
        yield
    finally:
        _Choice.allowed = before


def state() -> str:
    """Which kernels run, in a few words."""
    if not _Choice.allowed:
        return "NumPy's (switched off by GRAPHZOO_FAST=0, or Numba cannot be loaded)"
    if importlib.util.find_spec("numba") is None:
        return "NumPy's (pip install 'graphzoo[fast]' brings compiled ones)"
    return "compiled by Numba where they are quicker"
