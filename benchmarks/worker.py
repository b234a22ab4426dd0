"""One library in one process: `python -m benchmarks.worker LIBRARY`.

Requests come as lines of JSON on standard input, each answered by one line: its result, or {"error": text}.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.catalogue import WORKLOADS
from benchmarks.workloads import Case, builders

WARM_UP = 0.05
"""Seconds of untimed steps before each repetition."""


class Worker:
    """The requests, one method each."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.builders = builders(library)
        self.case: Case | None = None
        self.inner = 1

    def hello(self) -> dict[str, Any]:
        """Versions, and the BLAS that NumPy uses with its kernels and threads."""
        from threadpoolctl import threadpool_info

        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas" and "numpy" in pool["filepath"]]
        blas = [f"{p['internal_api']} {p['version']} {p.get('architecture')} ×{p['num_threads']}" for p in pools]
        return {
            "library": self.library,
            "version": _version(self.library),
            "numpy": np.__version__,
            "blas": blas,
        }

    def prepare(self, workload: str, seconds: float, values: str) -> dict[str, Any]:
        """Build a workload, save its values to the file `values`, find how many steps take `seconds`."""
        chosen = next(w for w in WORKLOADS if w.name == workload)
        self.case = self.builders[chosen.builder](chosen.make())
        np.savez(values, **self.case.values())
        self.inner = 1
        while (elapsed := self._repetition()) < seconds / 3:
            self.inner = max(2 * self.inner, int(self.inner * seconds / 3 / max(elapsed, 1e-6)))
        self.inner = max(1, round(self.inner * seconds / elapsed))
        return {"inner": self.inner, "comparable": self.case.comparable}

    def run(self) -> dict[str, float]:
        """One repetition: seconds per step, after untimed steps for a while. Processors, threads and caches have
        rested since the last one, or worked for others, as they never do in a loop of training."""
        assert self.case is not None
        begin = time.perf_counter()
        while time.perf_counter() - begin < WARM_UP:
            self.case.step()
        return {"seconds": self._repetition() / self.inner}

    def release(self) -> dict[str, Any]:
        self.case = None
        gc.collect()
        return {}

    def peak_memory(self, steps: int, recompute: bool) -> dict[str, float]:
        """Bytes that forward and backward of an LSTM cell loop (H = 128, B = 16) add at their peak."""

        def built(steps: int) -> Case:
            problem = problems.recurrent("lstm", 128, steps=steps, batch=16)
            return self.builders["cell"](replace(problem, recompute=recompute))

        built(2).step()  # loads what loads on first use
        case = built(steps)
        base = _memory("VmRSS")
        case.step()
        return {"bytes": _memory("VmHWM") - base}

    def convnet_memory(self) -> dict[str, float]:
        """Bytes that training steps of the convolutional network add at their peak."""
        self.builders["convnet"](problems.convnet(batch=1, size=8)).step()  # loads what loads on first use
        case = self.builders["convnet"](problems.convnet())
        base = _memory("VmRSS")
        for _ in range(3):
            case.step()
        return {"bytes": _memory("VmHWM") - base}

    def truncated_memory(self, steps: int) -> dict[str, float]:
        """Bytes that truncated backpropagation (k1 = 10, k2 = 50; an LSTM, H = 128, B = 16) adds at its peak."""
        from benchmarks.workloads.on_graphzoo import truncated

        truncated(problems.recurrent("lstm", 128, steps=1, batch=16), 100)  # loads what loads on first use
        base = _memory("VmRSS")
        truncated(problems.recurrent("lstm", 128, steps=1, batch=16), steps)
        return {"bytes": _memory("VmHWM") - base}

    def prepare_study(self, what: str) -> dict[str, Any]:
        """Build the graph that is studied: an LSTM, T = 100, B = 32, H = 128."""
        from benchmarks.workloads.on_graphzoo import studies

        self.studies = studies(problems.recurrent("lstm", 128), what)
        self.study()  # loads what loads on first use
        return {}

    def study(self) -> dict[str, float]:
        """Seconds of a study and of a backward pass, medians of five in turn."""
        laps: dict[str, list[float]] = {name: [] for name in self.studies}
        for _ in range(5):
            for name, function in self.studies.items():
                start = time.perf_counter()
                function()
                laps[name].append(time.perf_counter() - start)
        return {name: float(np.median(each)) for name, each in laps.items()}

    def chain_bytes(self, operations: int, total: int) -> dict[str, float]:
        """Bytes per node after the forward pass, over `total` nodes in chains that are alive together.

        A thousand nodes alone are too few to be seen in the resident set. For a clean process: what is free
        in the heap is used up before the resident set grows.
        """
        build = self.builders["chain"]
        build(problems.chain(100)).step()
        case = build(problems.chain(operations))
        copies = total // operations
        base = _memory("VmRSS")
        alive = [case.forward() for _ in range(copies)]
        return {"bytes": (_memory("VmRSS") - base) / (len(alive) * operations)}

    def chain_times(self, operations: int, total: int) -> dict[str, float]:
        """Seconds per node to build, differentiate and drop a chain: medians. Python's cyclic collector is paused, for
        every library alike, as `gz.pause_gc` is there to do: it would walk through millions of living objects."""
        case = self.builders["chain"](problems.chain(operations))
        gc.collect()
        gc.disable()
        laps = np.array([_build_differentiate_drop(case) for _ in range(total // operations)])
        gc.enable()
        build, backward, drop = np.median(laps, axis=0) / operations
        return {"build": build, "backward": backward, "drop": drop}

    def _repetition(self) -> float:
        assert self.case is not None
        step = self.case.step
        start = time.perf_counter()
        for _ in range(self.inner):
            step()
        return time.perf_counter() - start


def _build_differentiate_drop(case: Case) -> tuple[float, float, float]:
    begin = time.perf_counter()
    loss = case.forward()[0]
    built = time.perf_counter()
    case.backward(loss)
    differentiated = time.perf_counter()
    del loss
    return built - begin, differentiated - built, time.perf_counter() - differentiated


def _memory(field: str) -> int:
    """Bytes from /proc/self/status. VmHWM is this program's peak; ru_maxrss would include the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "(not installed, from the source tree)"


def main() -> None:
    # Requests and answers keep the pipe to themselves: whatever a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(sys.argv[1])
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
