"""Compiled jobs that threads do together: every piece once, whoever does it, and the same numbers each time."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
from graphzoo.kernels import gang, workers
from graphzoo.kernels.gang import AWAKE, DONE, NEXT, Job, flat, matrix_on, perform, together


@Job
def note(board: Any, which: Any, pieces: Any) -> None:
    """Adds one to the counter of a piece, after a while."""
    numbers, work = flat(matrix_on(board, 0)), flat(matrix_on(board, 1))
    for k in range(work.size):
        work[k] = work[k] * 1.5 + 1
    numbers[which] += 1
    numbers[pieces] += 1


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "threads", lambda: 3)


def counted(times: int = 1, work: int = gang.WORTHWHILE * 10) -> np.ndarray:
    numbers, busy = np.zeros((1, 20), np.float32), np.zeros((1, 100), np.float32)
    for _ in range(times):
        together(perform, work, note.address, numbers, busy)
    return numbers[0]


def test_every_piece_is_done_once() -> None:
    assert counted(work=1).tolist() == [1, 1] + [0] * 18  # alone, in one piece
    for _ in range(300):
        numbers = counted()
        assert numbers[:6].tolist() == [1] * 6
        assert numbers[7:].tolist() == [0] * 13


def test_pieces_follow_how_much_there_is_to_do() -> None:
    assert counted(work=gang.WORTHWHILE)[:5].tolist()[:4] == [1] * 4
    assert counted(work=gang.WORTHWHILE)[4] <= 4


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_threads_take_part_while_they_are_awake_and_go_to_sleep() -> None:
    board = workers._Crew.board
    counted()
    until(lambda: board[AWAKE] == 2)
    until(lambda: board[AWAKE] == 0)
    assert counted()[:6].tolist() == [1] * 6
    until(lambda: board[AWAKE] == 2)


def test_a_job_is_finished_when_its_caller_goes_on() -> None:
    counted(50)
    board = workers._Crew.board
    assert board[DONE] == 6
    assert board[NEXT] & 0xFFFF == 6
    assert not workers._Crew.lock.locked()


def test_products_come_out_the_same_with_any_number_of_threads() -> None:
    from graphzoo.kernels import packed

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(700, 300)).astype(np.float32), rng.normal(size=(300, 48)).astype(np.float32)
    first = packed.product(a, b)
    np.testing.assert_allclose(first, a.astype(float) @ b, rtol=1e-4, atol=1e-4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "threads", lambda: 1)
        np.testing.assert_array_equal(packed.product(a, b), first)
    for _ in range(100):
        np.testing.assert_array_equal(packed.product(a, b), first)


def test_callers_in_several_threads_do_not_disturb_each_other() -> None:
    results: list[list[float]] = []

    def call() -> None:
        for _ in range(100):
            numbers = counted()
            results.append(numbers[: int(numbers.nonzero()[0].max())].tolist())

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 400
    assert all(set(result) == {1.0} and len(result) in (1, 6) for result in results)


def test_slices_of_work_and_jobs_take_turns() -> None:
    for _ in range(50):
        parts = workers.share(lambda part: part.stop - part.start, 60, 60 * workers.PART)
        assert sum(parts) == 60
        assert counted()[:6].tolist() == [1] * 6


def test_within_a_slice_of_work_a_job_is_done_alone() -> None:
    seen = workers.share(lambda part: counted()[:2].tolist(), 3, 3 * workers.PART)
    assert all(numbers == [1, 1] for numbers in seen)


def test_an_interrupt_lets_others_have_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_call_up", interrupted)
        with pytest.raises(KeyboardInterrupt):
            counted()
    assert not workers._Crew.lock.locked()
    with pytest.raises(KeyboardInterrupt):
        together(interrupted, gang.WORTHWHILE)
    assert not workers._Crew.lock.locked()
    assert counted()[:6].tolist() == [1] * 6


def test_without_threads_to_be_had_it_is_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(workers._Crew, "watch", None)
        assert counted()[:2].tolist() == [1, 1]
    with monkeypatch.context() as patch:
        patch.setattr(workers, "threads", lambda: 1)
        assert counted()[:2].tolist() == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_its_jobs() -> None:
    counted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if counted()[:6].tolist() == [1] * 6 else 1)
    assert os.waitpid(child, 0)[1] == 0
