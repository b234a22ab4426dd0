"""The library that NumPy's matrix products are made by: how many threads it uses, and how long they wait for work.

OpenBLAS's threads go on looking for work for 26 ms after each product, at full speed, and take the processors from
threads that have some. What is larger than the pauses between the products of a network is enough.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

TIMEOUT = "OPENBLAS_THREAD_TIMEOUT"
"""Names, in the environment, the logarithm of how many ticks of the processor's clock OpenBLAS's threads wait."""

TICKS = 19
"""Between a fifth and a tenth of a millisecond."""

_HARMLESS = ("ipykernel", "zmq")  # their threads pass messages
_WAITING = {"wait", "join", "_wait_for_tstate_lock", "get", "select", "accept", "_worker"}
_WORKERS = os.path.join(os.path.dirname(__file__), "workers.py")  # whose threads wait, unless who asks lets them work


@cache
def libraries() -> list[Any]:
    """Controllers (threadpoolctl's) of the libraries that make NumPy's products, as far as they can be told."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return [library for library in found if "numpy" in library.filepath] or found


def threads() -> int:
    """How many threads products may use now; where nobody knows, as many as there are processors."""
    known = [library.num_threads for library in libraries()]
    if known:
        return max(known)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Within this block products are made by the threads that call for them."""
    before = [library.num_threads for library in libraries()]
    try:
        for library in libraries():
            library.set_num_threads(1)
        yield
    finally:
        for library, number in zip(libraries(), before, strict=True):
            library.set_num_threads(number)


def shorten_waits() -> bool:
    """Starts OpenBLAS's threads anew with a shorter time to wait, and returns whether that need not be tried again.

    An environment that says how long is left alone. Threads must not be ended while they work, so nothing is done while
    another thread of this process might be within a product.
    """
    own = [library for library in libraries() if getattr(library, "threading_layer", None) == "pthreads"]
    if TIMEOUT in os.environ or not own or sys.platform == "win32":  # where its threads wait without looking
        return True
    ends = []
    for library in own:
        functions = ctypes.PyDLL(library.filepath)  # keeps the interpreter's lock while a function runs
        if hasattr(functions, "openblas_read_env") and hasattr(functions, "blas_thread_shutdown_"):
            os.environ[TIMEOUT] = str(TICKS)
            try:
                functions.openblas_read_env()
            finally:
                del os.environ[TIMEOUT]
            ends.append(functions.blas_thread_shutdown_)
    if not _alone():
        return False
    for end in ends:
        end()  # the next product starts them again
    return True


def _alone() -> bool:
    """Whether all other threads wait, within Python's own library or ours, or have nothing to do with products.

    A thread whose target is a product itself stands in the library's function that runs it: only those that wait count.
    """
    import sysconfig  # takes its time to load, and is needed once

    library, here = os.path.join(sysconfig.get_path("stdlib"), ""), threading.get_ident()

    def waits(file: str, function: str) -> bool:
        parts = file.split(os.sep)
        if file == _WORKERS:
            return True
        if "site-packages" in parts:
            return not set(_HARMLESS).isdisjoint(parts)
        return file.startswith(library) and function in _WAITING

    frames = sys._current_frames().items()
    return all(ident == here or waits(frame.f_code.co_filename, frame.f_code.co_name) for ident, frame in frames)
