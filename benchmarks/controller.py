"""Runs the workers: compares their values, then times them in interleaved rounds behind the gate."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from benchmarks.catalogue import Workload
from benchmarks.gate import Gate, process_cpu
from benchmarks.peers import PEERS, Peer

TOLERANCE = 1e-4  # of an array's largest value: float32 sums in another order, over a hundred steps


class WorkerError(RuntimeError):
    """What went wrong in a worker, in its words."""


class WorkerProcess:
    """A peer's process and the pipe to it."""

    def __init__(self, peer: Peer, log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", peer.library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=peer.environment(), text=True,
        )  # fmt: skip

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.communicate()  # end of input ends the worker

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.peer.name}: the worker died (exit status {self.process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.peer.name}: {answer['error']}")
        return answer

    def own_cpu(self) -> float:
        """CPU seconds that are ours: the worker's and the controller's."""
        return process_cpu(self.process.pid) + time.process_time()


@dataclass
class Measurement:
    """Seconds per step of each peer, round by round, and what happened on the way."""

    workload: str
    times: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    largest_difference: float | None = None  # between two libraries' values, relative; None: nothing to compare with
    rejected: int = 0  # repetitions thrown away
    disturbed: int = 0  # repetitions kept although another process was running


def measure(
    workload: Workload, workers: dict[str, WorkerProcess], gate: Gate, rounds: int, seconds: float
) -> Measurement:
    """Prepare the workload in each worker, compare the values, time those that agree."""
    result = Measurement(workload.name)
    ready = _prepare(workload, workers, seconds, result)
    result.times = {name: [] for name in ready}
    for order in rotations(ready, rounds):
        for name in order:
            worker = workers[name]
            gated = gate.measure(lambda worker=worker: worker.ask("run")["seconds"], worker.own_cpu)
            result.times[name].append(gated.result)
            result.rejected += gated.rejected
            result.disturbed += gated.disturbed
    for name in ready:
        workers[name].ask("release")
    return result


def rotations(names: Sequence[str], rounds: int) -> Iterable[list[str]]:
    """Each round begins with another peer, so that nobody always runs after the same one."""
    for i in range(rounds):
        shift = i % len(names) if names else 0
        yield [*names[shift:], *names[:shift]]


def _prepare(workload: Workload, workers: dict[str, WorkerProcess], seconds: float, result: Measurement) -> list[str]:
    """The peers that are ready to be timed: built without an error and with the right values."""
    ready, values = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in workload.peers:
            if name not in workers:
                continue
            path = Path(folder) / f"{name}.npz"
            try:
                answer = workers[name].ask("prepare", workload=workload.name, seconds=seconds, values=str(path))
            except WorkerError as error:
                result.errors.append(str(error))
                continue
            ready.append(name)
            if answer["comparable"]:
                with np.load(path) as saved:
                    values[name] = dict(saved)
    wrong, result.largest_difference = disagreements(values)
    result.errors += wrong.values()
    return [name for name in ready if name not in wrong]


def disagreements(values: dict[str, dict[str, np.ndarray]]) -> tuple[dict[str, str], float | None]:
    """Hold each peer's values against the first other library's: {peer: complaint}, largest difference.

    The difference is relative to an array's largest value; None where there is no second library.
    """
    reference = next((name for name in values if PEERS[name].library != "graphzoo"), None)
    if reference is None or len({PEERS[name].library for name in values}) < 2:
        return {}, None
    wrong, worst = {}, 0.0
    for name in values.keys() - {reference}:
        difference, key = max(
            (_difference(values[name].get(key), right), key) for key, right in values[reference].items()
        )
        worst = max(worst, difference)
        if difference > TOLERANCE:
            complaint = f"{key} differs from {reference}'s by {difference:.1e} of its largest value; not timed"
            wrong[name] = f"{name}: {complaint}"
    return wrong, worst


def _difference(got: np.ndarray | None, right: np.ndarray) -> float:
    if got is None or got.shape != right.shape:
        return float("inf")
    scale = float(np.abs(right).max(initial=0.0)) or 1.0
    largest = float(np.abs(got.astype(np.float64) - right).max(initial=0.0))
    return largest / scale if np.isfinite(largest) else float("inf")


def start_workers(names: Iterable[str], log: IO[bytes] | int, tell: Callable[[str], None]) -> dict[str, WorkerProcess]:
    """Start the peers' processes; a library that cannot be imported is named and left out."""
    workers = {}
    for name in names:
        worker = WorkerProcess(PEERS[name], log)
        try:
            about = worker.ask("hello")
        except WorkerError as error:
            tell(f"left out  {error}")
            worker.__exit__()
            continue
        library, numpy = f"{about['library']} {about['version']}", f"numpy {about['numpy']}"
        tell(f"{name:<15} {', '.join([library, numpy, *about['blas']])}")
        workers[name] = worker
    return workers
