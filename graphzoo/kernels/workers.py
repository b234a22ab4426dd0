"""Kernels that work on one sample after the other, in as many threads as BLAS has.

NumPy's own loops run in one thread, and BLAS's threads divide each product by itself: small ones they finish no sooner,
and what is between two products waits. Here each thread takes some of the samples through all of the work, and BLAS
keeps to the thread that calls it. NumPy lets go of the interpreter's lock while it works on large arrays.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock, Thread
from typing import Any, TypeVar

import numpy as np

from .blas import in_one_thread, shorten_waits, threads

T = TypeVar("T")
Watch = Callable[[np.ndarray, int, int, np.ndarray, int], None]

PART = 1 << 17
"""Entries that are worth a thread: to wake one costs about as much as to go through a tenth of them."""

PIECES = 2
"""For each thread: the last one to be done keeps the others waiting for a piece."""

BOARD = 512
"""Numbers on the board of compiled jobs (see `gang`)."""

BLOCK = 1 << 18
"""Entries that are worked on at a time: they stay in a core's cache from one operation to the next. With fewer, threads
would wait for the interpreter's lock more often than that saves."""

SOON, LATER = 10_000, 90_000
"""How long one that sees that it may go on waits for the interpreter's lock to be let go of: who finds it taken goes to
sleep. Who called still has to begin with its own part."""


def _nothing() -> None:
    pass


class _Worker:
    """A thread that waits for work at its door, and tells when it is done.

    To be woken takes a thread up to a tenth of a millisecond. Where there is a function to watch with, which does
    without the interpreter, both sides look at numbers that the other one counts up before they go to sleep.
    """

    def __init__(self) -> None:
        self.door, self.exit = Lock(), Lock()
        self.called, self.done = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.work: Callable[[], None] = _nothing
        self.error: BaseException | None = None
        self.door.acquire()
        self.exit.acquire()
        self.thread = Thread(target=self._run, name="graphzoo", daemon=True)
        self.thread.start()
        self.avoided = -1  # the processor that it must not run on
        self.roused = False

    def begin(self, work: Callable[[], None]) -> None:
        if self.roused:
            self.exit.acquire()
            self.roused = False
        self.work = work
        self.door.release()
        self.called[0] += 1

    def rouse(self) -> None:
        """Lets a thread that sleeps look around for a while; nobody waits for it."""
        if not self.roused or self.exit.acquire(blocking=False):
            self.roused = False
            self.begin(_nothing)
            self.roused = True

    def end(self) -> BaseException | None:
        """Waits until the work is done; returns what it raised."""
        _watch(self.done, self.called[0] - 1, SOON, naps=0)
        self.exit.acquire()
        error, self.error = self.error, None
        return error

    def _run(self) -> None:
        while True:
            _watch(self.called, self.done[0], LATER, _Crew.naps)
            self.door.acquire()
            try:
                self.work()
            except BaseException as error:
                self.error = error
            self.work = _nothing  # lets go of the arrays
            self.exit.release()
            self.done[0] += 1


class _Crew:
    """The threads, which serve one caller at a time; none in a forked process, where they do not live on."""

    lock = Lock()
    workers: list[_Worker] = []
    watch: Watch | None = None
    naps = 0
    board = np.zeros(BOARD, np.int64)
    awake = board[32:33]  # how many threads watch
    at_ease = False  # whether BLAS's threads leave the processors alone


def _forget() -> None:
    _Crew.lock, _Crew.workers = Lock(), []
    _Crew.board[:] = 0  # nobody else looks at it there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def watch_with(function: Watch, naps: int) -> None:
    """Takes a function that returns when the first number of an array is another one than given, or after a while; in
    the first case it goes on looking for so many turns, of about a nanosecond. Meanwhile it takes part in the jobs on a
    board. The last number is how often it may doze before it gives up; `naps` is how often a worker should."""
    _Crew.watch, _Crew.naps = function, naps


def _watch(number: np.ndarray, old: int, patience: int, naps: int) -> None:
    if _Crew.watch is not None:
        try:
            _Crew.watch(number, old, patience, _Crew.board, naps)
        except Exception:  # it cannot be compiled or loaded here: threads sleep at once
            _Crew.watch = None


def share(work: Callable[[slice], T], count: int, entries: int) -> list[T]:
    """`work` on slices that together are range(count), by several threads, and what it returned, in order.

    Args:
        work: independent of other slices, and without side effects but on its own part of the results.
        count: samples.
        entries: how many there are to go through, over all samples: few are not worth a second thread.
    """
    if entries >= 2 * PART and count > 1 and not sys.is_finalizing() and _Crew.lock.acquire(blocking=False):
        try:
            many = min(threads(), count, entries // PART)
            if many > 1:
                return _shared(work, count, many, min(count, PIECES * many, entries // PART))
        finally:
            _Crew.lock.release()
    return [work(slice(0, count))]


def _shared(work: Callable[[slice], T], count: int, many: int, pieces: int) -> list[T]:
    """Each thread takes the next piece when it is done with one: some processors may be slower, or busy otherwise."""
    workers = _call_up(many - 1)
    # Put back when all are done. After an interrupt nobody knows who is at work: then they are left behind.
    crew, _Crew.workers = _Crew.workers, []
    results: list[Any] = [None] * pieces
    left = deque(range(pieces))

    def take() -> None:
        while True:
            try:
                number = left.popleft()  # each is had once, whoever asks
            except IndexError:
                return
            try:
                results[number] = work(slice(count * number // pieces, count * (number + 1) // pieces))
            except BaseException:
                left.clear()
                raise

    with in_one_thread():
        for worker in workers:
            worker.begin(partial(copy_context().run, take))  # NumPy's error state belongs to the context
        try:
            take()
        finally:
            errors = [worker.end() for worker in workers]
            _Crew.workers = crew
    for error in errors:
        if error is not None:
            raise error
    return results


def enlist(most: int) -> tuple[np.ndarray, int]:
    """A board for compiled jobs, and how many pieces to make of each. If there are several, other threads look at the
    board, too, and who asked has to `dismiss` them.

    Args:
        most: so many threads at the most.
    """
    if _Crew.watch is not None and not sys.is_finalizing() and _Crew.lock.acquire(blocking=False):
        try:
            workers = _call_up(min(threads(), most) - 1)
            if _Crew.awake[0] < len(workers):
                for worker in workers:
                    worker.rouse()
        except BaseException:
            _Crew.lock.release()
            raise
        if workers:
            return _Crew.board, PIECES * (len(workers) + 1)
        _Crew.lock.release()
    return np.empty(BOARD, np.int64), 1


def dismiss() -> None:
    """Lets the next caller have the threads."""
    _Crew.lock.release()


def _call_up(many: int) -> list[_Worker]:
    """So many threads, or as many as there are to be had, that wait somewhere else than on the caller's processor."""
    _Crew.at_ease = _Crew.at_ease or shorten_waits()
    with suppress(RuntimeError):  # no more threads to be had
        while len(_Crew.workers) < many:
            _Crew.workers.append(_Worker())
    workers = _Crew.workers[:many]
    _keep_off(workers)
    return workers


def _keep_off(workers: list[_Worker]) -> None:
    """Keeps workers off the processor that they are called from. After a pause Linux likes to wake them there, and
    leaves them to share it with their caller for as long as a few short kernels take."""
    if _current_processor is None:
        return
    here = _current_processor()
    for worker in workers:
        if worker.avoided != here:
            break
    else:
        return
    others = os.sched_getaffinity(0) - {here}
    for worker in workers:
        worker.avoided = here
        if others and worker.thread.native_id is not None:
            with suppress(OSError):  # not allowed here
                os.sched_setaffinity(worker.thread.native_id, others)


def _find_current_processor() -> Callable[[], int] | None:
    """The C library's function that tells on which processor a thread runs, where there is one (on Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


_current_processor = _find_current_processor()


def blocks(rows: slice, size: int) -> Iterator[slice]:
    """Slices of samples of `size` entries each, about BLOCK entries at a time."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))


def share_blocks(work: Callable[[slice], Any], count: int, size: int) -> None:
    """`work` on blocks of `count` samples of `size` entries each, one after the other in each thread."""

    def some(rows: slice) -> None:
        for part in blocks(rows, size):
            work(part)

    share(some, count, count * size)


def shared_sum(work: Callable[[slice], T], count: int, entries: int) -> T:
    """The sum of what `share` returns."""
    total, *others = share(work, count, entries)
    for other in others:
        total += other  # type: ignore[operator]
    return total
