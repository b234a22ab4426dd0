"""Memory is used again, but never while an array over it is alive."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from graphzoo.kernels import pool

FLOAT = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_free", [])


def test_arrays_are_as_asked_for() -> None:
    for shape in [(3, 0), (2, 3), (300, 400), ()]:
        array = pool.empty(shape, FLOAT)
        assert array.shape == shape
        assert array.dtype == FLOAT
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_memory_in_use_is_not_handed_out() -> None:
    first = pool.empty((300, 400), FLOAT)
    first[...] = 1
    view = first[5:7].T
    del first
    second = pool.empty((300, 400), FLOAT)
    second[...] = 2
    assert (view == 1).all()
    del view
    third = pool.empty((300, 400), FLOAT)
    third[...] = 3
    assert (second == 2).all()


def test_memory_of_another_size_is_left_alone() -> None:
    pool.empty((1000, 1000), FLOAT)
    gc.collect()
    assert pool.empty((300, 400), FLOAT).base is not None
    assert pool._free[0].nbytes == 4_000_000


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT", 1_000_000)
    arrays = [pool.empty((300, 400), FLOAT) for _ in range(6)]
    del arrays
    latest = pool.empty((1000, 1000), FLOAT)
    assert sum(buffer.nbytes for buffer in pool._free) <= 1_000_000
    del latest


def test_threads_get_memory_of_their_own() -> None:
    def fill(value: int) -> bool:
        for _ in range(50):
            array = pool.empty((300, 400), FLOAT)
            array[...] = value
            if not (array == value).all():
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fill, range(8)))
