"""BLAS's threads: how many, and how long they wait."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from graphzoo.kernels import blas


class Library(SimpleNamespace):
    """What stands in for a threadpoolctl controller."""

    filepath = "/somewhere/numpy.libs/libopenblas.so"
    threading_layer = "pthreads"
    num_threads = 4

    def set_num_threads(self, number: int) -> None:
        self.num_threads = number


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(blas, "libraries", lambda: [library])
    monkeypatch.setattr(blas, "_HARMLESS", (*blas._HARMLESS, "execnet"))  # of tests in several processes
    monkeypatch.delenv(blas.TIMEOUT, raising=False)
    return library


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the library, with the time to wait that the environment tells then."""
    calls: list[Any] = []

    def function(name: str) -> Callable[[], None]:
        return lambda: calls.append((name, os.environ.get(blas.TIMEOUT)))

    def opened(path: str) -> Any:
        return SimpleNamespace(**{name: function(name) for name in ("openblas_read_env", "blas_thread_shutdown_")})

    monkeypatch.setattr(blas.ctypes, "PyDLL", opened)
    return calls


def ended(calls: list[Any]) -> int:
    """How often the library's threads were ended."""
    return sum(name == "blas_thread_shutdown_" for name, _ in calls)


def test_numpys_own_library_is_found() -> None:
    assert all(library.user_api == "blas" for library in blas.libraries())
    assert blas.threads() >= 1


def test_as_many_threads_as_the_library_may_use(library: Library) -> None:
    assert blas.threads() == 4
    with blas.in_one_thread():
        assert blas.threads() == 1
    assert blas.threads() == 4
    with pytest.raises(KeyError), blas.in_one_thread():
        raise KeyError
    assert blas.threads() == 4


def test_as_many_as_processors_where_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "libraries", list)
    monkeypatch.setattr(blas.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert blas.threads() == 3
    monkeypatch.delattr(blas.os, "sched_getaffinity")
    monkeypatch.setattr(blas.os, "cpu_count", lambda: 5)
    assert blas.threads() == 5


def test_waits_are_shortened(library: Library, calls: list[Any]) -> None:
    assert blas.shorten_waits()
    assert calls == [("openblas_read_env", "19"), ("blas_thread_shutdown_", None)]
    assert blas.TIMEOUT not in os.environ


def test_what_the_environment_says_is_left_alone(
    library: Library, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(blas.TIMEOUT, "26")
    assert blas.shorten_waits()
    assert calls == []


def test_threads_of_another_kind_are_left_alone(library: Library, calls: list[Any]) -> None:
    library.threading_layer = "openmp"
    assert blas.shorten_waits()
    assert calls == []


def test_windows_is_left_alone(library: Library, calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas.sys, "platform", "win32")
    assert blas.shorten_waits()
    assert calls == []


def test_no_thread_is_ended_beside_one_that_may_be_within_a_product(library: Library, calls: list[Any]) -> None:
    begun, go_on, end = threading.Event(), [True], threading.Event()

    def busy() -> None:
        begun.set()
        while go_on:  # in a frame of this file, as a caller of a product would be
            pass
        end.wait()

    thread = threading.Thread(target=busy, daemon=True)
    thread.start()
    begun.wait()
    assert not blas.shorten_waits()
    assert ended(calls) == 0
    go_on.clear()
    for _ in range(1000):  # until it waits
        if blas._alone():
            break
        time.sleep(0.01)
    assert blas.shorten_waits()
    assert ended(calls) == 1
    end.set()
    thread.join()


def test_a_thread_that_consists_of_a_product_is_seen(library: Library, calls: list[Any]) -> None:
    """It has no frame but that of the library's function which starts it."""
    thread = threading.Thread(target=time.sleep, args=(0.3,))  # compiled, as np.matmul is
    thread.start()
    time.sleep(0.05)
    assert not blas.shorten_waits()
    assert ended(calls) == 0
    thread.join()
    assert blas.shorten_waits()
    assert ended(calls) == 1


PROGRAM = """
import time
import numpy as np
from graphzoo.kernels import blas

a = np.arange(250_000, dtype=np.float64).reshape(500, 500)
right = a @ a
assert blas.shorten_waits()
assert (a @ a == right).all()
time.sleep(0.1)
a @ a
begin = time.process_time()
time.sleep(0.02)
print(time.process_time() - begin)
"""


def test_the_library_works_on_and_its_threads_sleep() -> None:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    environment.pop(blas.TIMEOUT, None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    if any(getattr(library, "threading_layer", None) == "pthreads" for library in blas.libraries()):
        assert float(done.stdout) < 0.01  # seconds of processor time, of 0.02 that its threads would go on looking
    assert np.isfinite(float(done.stdout))
