"""Large arrays out of memory that was used before.

The C library gives the memory of a large array back to the system when the array is dropped, and the system clears
every page of it when the next array touches it: that costs as much as a few passes over the array. Here a dropped
array's memory is kept for the next one of about its size.
"""

from __future__ import annotations

import math
import weakref
from threading import Lock
from typing import Any

import numpy as np

SMALLEST = 1 << 18
"""Arrays below this many bytes are left to the C library, which keeps their memory by itself."""

KEPT = 1 << 26
"""How much unused memory is kept at the most, in bytes."""

_free: list[np.ndarray] = []  # buffers that no array uses, latest dropped last
_lock = Lock()


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """As `numpy.empty`.

    >>> first = empty((256, 1024), np.dtype(np.float32))
    >>> address = first.ctypes.data
    >>> del first
    >>> empty((1024, 256), np.dtype(np.float32)).ctypes.data == address
    True
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    buffer = _buffer(size)
    array = np.frombuffer(memoryview(buffer), dtype, count)  # type: ignore[arg-type]
    # All views of the array hold on to its base, a memoryview of its own. Appending is atomic: it may happen anywhere.
    weakref.finalize(array.base, _free.append, buffer).atexit = False
    return array.reshape(shape)


def _buffer(size: int) -> np.ndarray:
    """The kept buffer that was dropped last of those that serve without waste, or a new one."""
    with _lock:
        while sum(buffer.nbytes for buffer in _free) > KEPT:
            _free.pop(0)
        for index in range(len(_free) - 1, -1, -1):
            if size <= _free[index].nbytes <= 2 * size:
                return _free.pop(index)
    return np.empty(size, np.uint8)
