"""Kernels that work on one sample after the other, in as many threads as BLAS has.

NumPy's own loops run in one thread, and BLAS's threads divide each product by itself: small ones they finish no sooner,
and what is between two products waits. Here each thread takes some of the samples through all of the work, and BLAS
keeps to the thread that calls it. NumPy lets go of the interpreter's lock while it works on large arrays.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

PART = 1 << 17
"""Entries that are worth a thread: to wake one costs about as much as to go through a tenth of them."""

PIECES = 2
"""For each thread: the last one to be done keeps the others waiting for a piece."""

BLOCK = 1 << 18
"""Entries that are worked on at a time: they stay in a core's cache from one operation to the next. With fewer, threads
would wait for the interpreter's lock more often than that saves."""


class _Pool:
    """The threads, which serve one caller at a time; anew in a forked process, which has none."""

    lock = Lock()
    executor: ThreadPoolExecutor | None = None
    blas = -math.inf  # when BLAS's own threads were last known to work


def note_blas() -> None:
    """Called where large matrix products begin. Threads of BLAS and of compiled kernels wait for work by spinning, and
    take the processors from each other: while BLAS is at work, compiled kernels keep to one thread."""
    _Pool.blas = time.monotonic()


def beside_blas() -> bool:
    """Whether BLAS's threads were at work within the last second."""
    return time.monotonic() - _Pool.blas < 1.0


def _forget() -> None:
    _Pool.lock, _Pool.executor = Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@cache
def _blas() -> list[Any]:
    """The libraries that do NumPy's matrix products, as far as they can be told how many threads to use."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return [library for library in found if "numpy" in library.filepath] or found


def threads() -> int:
    """As many as BLAS may use now."""
    known = [library.num_threads for library in _blas()]
    return max(1, *known) if known else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def share(work: Callable[[slice], T], count: int, entries: int, products: bool = False) -> list[T]:
    """`work` on slices that together are range(count), by several threads, and what it returned, in order.

    Args:
        work: independent of other slices, and without side effects but on its own part of the results.
        count: samples.
        entries: how many there are to go through, over all samples: few are not worth a second thread.
        products: whether there are matrix products among the work.
    """
    if entries >= 2 * PART and count > 1 and _Pool.lock.acquire(blocking=False):
        try:
            many = min(threads(), count, entries // PART)
            if many > 1:
                return _shared(work, count, many, min(count, PIECES * many, entries // PART))
        finally:
            _Pool.lock.release()
    if products and entries >= PART:
        note_blas()
    return [work(slice(0, count))]


def _shared(work: Callable[[slice], T], count: int, many: int, pieces: int) -> list[T]:
    """Each thread takes the next piece when it is done with one: some processors may be slower, or busy otherwise."""
    if _Pool.executor is None:
        _Pool.executor = ThreadPoolExecutor(os.cpu_count(), "graphzoo")
    results: list[Any] = [None] * pieces
    numbers = iter(range(pieces))  # of which each is had once, whoever asks

    def take() -> None:
        for number in numbers:
            results[number] = work(slice(count * number // pieces, count * (number + 1) // pieces))

    libraries = _blas()
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(1)
    try:
        # NumPy's error state belongs to the context.
        futures = [_Pool.executor.submit(copy_context().run, take) for _ in range(many - 1)]
        try:
            take()
        finally:
            wait(futures)
        for future in futures:
            future.result()
        return results
    finally:
        for library, number in zip(libraries, before, strict=True):
            library.set_num_threads(number)


def blocks(rows: slice, size: int) -> Iterator[slice]:
    """Slices of samples of `size` entries each, about BLOCK entries at a time."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))


def share_blocks(work: Callable[[slice], Any], count: int, size: int, products: bool = False) -> None:
    """`work` on blocks of `count` samples of `size` entries each, one after the other in each thread."""

    def some(rows: slice) -> None:
        for part in blocks(rows, size):
            work(part)

    share(some, count, count * size, products)


def shared_sum(work: Callable[[slice], T], count: int, entries: int, products: bool = False) -> T:
    """The sum of what `share` returns."""
    total, *others = share(work, count, entries, products)
    for other in others:
        total += other  # type: ignore[operator]
    return total
