"""Work shared among threads: every piece is done once, results and errors come back, and kernels give the same."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.kernels import blas, convolution, erf, normalization, pointwise, pooling, select, softmax, workers
from graphzoo.kernels.grid import Geometry
from graphzoo.kernels.pooling import Axis


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "threads", lambda: 3)
    monkeypatch.setattr(workers, "PART", 4)


@pytest.fixture(params=["plain", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(select, "SMALLEST", 1)
    if request.param == "plain":
        with select.plain_kernels():
            yield
    else:
        pytest.importorskip("numba")
        monkeypatch.setattr(select._Choice, "allowed", True)
        yield


def bounds(part: slice) -> tuple[int, int, int]:
    return part.start, part.stop, threading.get_ident()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 7, 100])
def test_pieces_are_all_that_there_is_in_order(count: int) -> None:
    parts = workers.share(bounds, count, 1000)
    assert [n for start, stop, _ in parts for n in range(start, stop)] == list(range(count))
    assert workers.shared_sum(lambda part: part.stop - part.start, count, 1000) == count


def test_threads_take_part_and_blas_keeps_to_them() -> None:
    before = [library.num_threads for library in blas.libraries()]
    meeting = threading.Barrier(3)  # which nobody passes alone

    def work(part: slice) -> tuple[int, list[int]]:
        meeting.wait(timeout=30)
        return threading.get_ident(), [library.num_threads for library in blas.libraries()]

    seen = workers.share(work, 3, 1000)
    assert len({ident for ident, _ in seen}) == 3
    assert all(set(numbers) <= {1} for _, numbers in seen)
    assert [library.num_threads for library in blas.libraries()] == before


@pytest.mark.parametrize(("count", "entries"), [(100, 7), (1, 1000)])
def test_little_work_stays_where_it_is(count: int, entries: int) -> None:
    assert workers.share(bounds, count, entries) == [(0, count, threading.get_ident())]


def test_shared_work_is_not_shared_again() -> None:
    inner = workers.share(lambda part: workers.share(bounds, 50, 1000), 6, 1000)
    assert all(len(parts) == 1 for parts in inner)
    assert all(parts[0][:2] == (0, 50) for parts in inner)


def test_who_comes_second_works_alone() -> None:
    results: list[Any] = []

    def other() -> None:
        results.append(workers.share(bounds, 50, 1000))

    def work(part: slice) -> None:
        if part.start == 0:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

    workers.share(work, 6, 1000)
    assert [len(parts) for parts in results] == [1]


@pytest.mark.parametrize("where", range(6))
def test_errors_come_back_and_nothing_is_left_of_them(where: int) -> None:
    done: list[int] = []

    def work(part: slice) -> None:
        if part.start == where:
            raise ValueError(f"at {where}")
        done.append(part.start)

    with pytest.raises(ValueError, match=f"at {where}"):
        workers.share(work, 6, 1000)
    assert where not in done
    assert len(workers.share(bounds, 6, 1000)) == 6


def test_an_interrupt_while_waiting_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    workers.share(bounds, 6, 1000)

    def interrupted(worker: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers._Worker, "end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.share(bounds, 6, 1000)
    assert workers._Crew.workers == []
    assert len(workers.share(bounds, 6, 1000)) == 6


def test_an_interrupt_while_calling_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    workers.share(bounds, 6, 1000)
    before = [library.num_threads for library in blas.libraries()]
    second = workers._Crew.workers[1]
    begin = workers._Worker.begin

    def interrupted(worker: Any, work: Any) -> None:
        if worker is second:
            raise KeyboardInterrupt
        begin(worker, work)

    with monkeypatch.context() as patch:
        patch.setattr(workers._Worker, "begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.share(bounds, 6, 1000)
    assert workers._Crew.workers == []
    assert [library.num_threads for library in blas.libraries()] == before
    parts = workers.share(bounds, 6, 1000)
    assert [n for start, stop, _ in parts for n in range(start, stop)] == list(range(6))


def test_what_cannot_be_had_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    def forbidden(*_: Any) -> Any:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(workers._Crew, "workers", [])
        patch.setattr(workers, "_Worker", refused)
        assert len(workers.share(bounds, 6, 1000)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_current_processor", lambda: -2)
        patch.setattr(workers.os, "sched_getaffinity", lambda _: {0}, raising=False)
        patch.setattr(workers.os, "sched_setaffinity", forbidden, raising=False)
        assert len(workers.share(bounds, 6, 1000)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(workers._Crew, "watch", refused)
        assert len(workers.share(bounds, 6, 1000)) == 6
        assert workers._Crew.watch is None
    assert len(workers.share(bounds, 6, 1000)) == 6


def test_the_error_state_holds_in_all_threads() -> None:
    def work(part: slice) -> None:
        np.divide(np.ones(600), np.zeros(600))

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        workers.share(work, 3, 1000)
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        workers.share(work, 3, 1000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    workers.share(bounds, 6, 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if len(workers.share(bounds, 6, 1000)) == 6 else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be told where to run here")
def test_workers_keep_off_their_callers_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    processors = os.sched_getaffinity(0)
    monkeypatch.setattr(workers, "_current_processor", lambda: max(processors))
    workers.share(bounds, 6, 1000)
    others = processors - {max(processors)} or processors
    for worker in workers._Crew.workers[:2]:
        assert os.sched_getaffinity(worker.thread.native_id) == others
    assert os.sched_getaffinity(0) == processors
    monkeypatch.setattr(workers, "_current_processor", None)
    assert len(workers.share(bounds, 6, 1000)) == 6


def test_blocks() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "BLOCK", 10)
        assert [(b.start, b.stop) for b in workers.blocks(slice(2, 9), 5)] == [(2, 4), (4, 6), (6, 8), (8, 9)]
        assert [(b.start, b.stop) for b in workers.blocks(slice(0, 2), 99)] == [(0, 1), (1, 2)]
        assert list(workers.blocks(slice(0, 0), 5)) == []


# Kernels -------------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


GEOMETRY = Geometry((9, 8), (5, 4), (3, 3), (2, 2), (1, 1), (1, 1))
X, DY, WEIGHT = normal(7, 4, 9, 8), normal(7, 6, 5, 4), normal(6, 2, 3, 3)
SAME = Geometry((9, 8), (9, 8), (3, 3), (1, 1), (1, 1), (1, 1))
POINTWISE = Geometry((9, 8), (9, 8), (1, 1), (1, 1), (0, 0), (1, 1))
ROWS, CHANNELS, TILES = normal(7, 3, 40), normal(5, 9, 33), (Axis(8, 2, 2, 0, 1, 4), Axis(6, 2, 2, 0, 1, 3))
WINDOWS = (Axis(8, 3, 2, 1, 1, 4), Axis(6, 3, 1, 1, 1, 6))

SHARED: dict[str, Callable[[], Any]] = {
    "correlate": lambda: convolution.correlate(X, WEIGHT, GEOMETRY, 2, np.ones(6, np.float32)),
    "correlate_adjoint": lambda: convolution.correlate_adjoint(DY, WEIGHT, GEOMETRY, 2),
    "kernel_gradient": lambda: convolution.kernel_gradient(X, DY, GEOMETRY, 2),
    "correlate, one sample": lambda: convolution.correlate(X[:1], WEIGHT, GEOMETRY, 2),
    "correlate, pointwise": lambda: convolution.correlate(X, WEIGHT[..., 0, 0, None, None], POINTWISE, 2),
    "correlate, depthwise": lambda: convolution.correlate(X, WEIGHT[:4, :1], SAME, 4),
    "correlate_adjoint, depthwise": lambda: convolution.correlate_adjoint(X, WEIGHT[:4, :1], SAME, 4),
    "kernel_gradient, depthwise": lambda: convolution.kernel_gradient(X, X + 1, SAME, 4),
    "correlate_adjoint, pointwise": lambda: convolution.correlate_adjoint(X, WEIGHT[:4, :1, :1, :1], POINTWISE, 4),
    "kernel_gradient, pointwise": lambda: convolution.kernel_gradient(X, X + 1, POINTWISE, 2),
    "channel_sums": lambda: convolution.channel_sums(X),
    "normalized_rows": lambda: normalization.normalized_rows(ROWS, ROWS[0], ROWS[1], 1e-5),
    "row_gradients": lambda: normalization.row_gradients(
        ROWS, ROWS * 2 + 1, ROWS[..., :1], ROWS[..., 1:2] ** 2, ROWS[0], True, True, True
    ),
    "normalized_channels": lambda: normalization.normalized_channels(CHANNELS, CHANNELS[0, :, 0], None, 1e-5),
    "channel_gradients": lambda: normalization.channel_gradients(
        CHANNELS, CHANNELS * 2 + 1, CHANNELS[0, :, 0], CHANNELS[0, :, 1], CHANNELS[0, :, 2], True
    ),
    "softmax_rows": lambda: softmax.softmax_rows(ROWS.reshape(-1)[:360].reshape(40, 9)),
    "softmax_rows_gradient": lambda: softmax.softmax_rows_gradient(X.reshape(-1, 8), X.reshape(-1, 8) * 2),
    "rectified": lambda: pointwise.rectified(X),
    "rectified_gradient": lambda: pointwise.rectified_gradient(X, X + 0.3),
    "normal_share": lambda: pointwise.normal_share(X),
    "normal_share_gradient": lambda: pointwise.normal_share_gradient(X, X + 0.3, X + 0.1),
    "hyperbolic_tangents": lambda: pointwise.hyperbolic_tangents(X),
    "tanh_gradient": lambda: pointwise.tanh_gradient(X, X + 0.3),
    "erf_quickly": lambda: erf.erf_quickly(X),
    "pooled_sums": lambda: pooling.pooled_sums(X[:, 0, :8, :6].copy(), TILES),
    "pooled_sums, windows": lambda: pooling.pooled_sums(X[:, 0, :8, :6].copy(), WINDOWS),
    "spread_sums": lambda: pooling.spread_sums(X[:, 0, :4, :3].copy(), TILES),
    "pooled_maxima": lambda: pooling.pooled_maxima(X[:, 0, :8, :6].copy(), WINDOWS),
    "pooled_maxima_and_places": lambda: pooling.pooled_maxima_and_places(X[:, 0, :8, :6].copy(), TILES),
    "spread_maxima": lambda: pooling.spread_maxima(X[:, 0, :4, :3].copy(), (X[:, 0, :4, :3] > 0).astype(np.int64), 9),
    "attention": lambda: gz.ScaledDotProductAttention()(X, X + 1, X - 1).numpy(),
}


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", SHARED)
def test_kernels_give_the_same_in_several_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BLOCK", 64)
    shared: list[int] = []
    real = workers._shared

    def counted(work: Any, count: int, many: int, pieces: int) -> Any:
        shared.append(many)
        return real(work, count, many, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_shared", counted)
        got = SHARED[name]()
    assert 3 in shared or "one sample" in name
    monkeypatch.setattr(workers, "threads", lambda: 1)
    right = SHARED[name]()
    for one, other in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, right)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
