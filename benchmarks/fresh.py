"""Measures that need a new process each time: peak memory, import time, deep chains."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.catalogue import FreshMeasure
from benchmarks.controller import WorkerProcess
from benchmarks.gate import Gate
from benchmarks.peers import PEERS, Peer

_NODES_IN_ALL = 100_000  # short chains are repeated up to this many nodes
_TIME_IMPORT = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


@dataclass
class FreshResult:
    """Figures of graphzoo and of the baseline, a pair per round. `unit` is that of `ours` and `theirs`."""

    name: str
    baseline: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    rejected: int = 0
    disturbed: int = 0


def measure_fresh(measure: FreshMeasure, gate: Gate, rounds: int) -> FreshResult:
    if measure.name == "import-time":
        return _import_time(measure, gate, rounds)
    if measure.name.startswith("deep-chain"):
        return _deep_chain(measure, gate, rounds)
    if measure.name == "bptt-tbptt-memory":
        return _truncated_memory(measure, rounds)
    if measure.name.startswith("bptt"):
        return _study(measure, gate, rounds)
    return _peak_memory(measure, rounds)


def _study(measure: FreshMeasure, gate: Gate, rounds: int) -> FreshResult:
    """A study of gz.bptt over a plain backward pass of graphzoo through the same graph."""
    result = FreshResult(measure.name, measure.baseline, "ms")
    with WorkerProcess(PEERS["graphzoo"]) as worker:
        worker.ask("prepare_study", what=measure.name)
        for _ in range(rounds):
            gated = gate.measure(lambda: worker.ask("study"), worker.own_cpu)
            result.ours.append(gated.result["study"] * 1e3)
            result.theirs.append(gated.result["backward"] * 1e3)
            result.rejected += gated.rejected
            result.disturbed += gated.disturbed
    return result


def _truncated_memory(measure: FreshMeasure, rounds: int) -> FreshResult:
    """Peak memory of gz.bptt.tbptt over a long sequence, over that of a short one."""
    result = FreshResult(measure.name, measure.baseline, "MB")
    for _ in range(rounds):
        for steps, series in ((500, result.theirs), (measure.size, result.ours)):
            with WorkerProcess(PEERS["graphzoo"]) as worker:
                series.append(worker.ask("truncated_memory", steps=steps)["bytes"] / 1e6)
    return result


def _peak_memory(measure: FreshMeasure, rounds: int) -> FreshResult:
    """Memory does not mind a busy machine: no gate."""
    result = FreshResult(measure.name, measure.baseline, "MB")
    for _ in range(rounds):
        for library, series in ((measure.baseline, result.theirs), ("graphzoo", result.ours)):
            with WorkerProcess(PEERS[library]) as worker:
                if measure.name == "convnet-memory":
                    answer = worker.ask("convnet_memory")
                else:
                    answer = worker.ask("peak_memory", steps=measure.size, recompute=measure.recompute)
                series.append(answer["bytes"] / 1e6)
    return result


def _import_time(measure: FreshMeasure, gate: Gate, rounds: int) -> FreshResult:
    result = FreshResult(measure.name, measure.baseline, "ms")
    environment = Peer("import", "graphzoo").environment()

    def seconds(module: str) -> float:
        command = [sys.executable, "-c", _TIME_IMPORT.format(module=module)]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    def own_cpu() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime + time.process_time()

    for module in (measure.baseline, "graphzoo"):
        seconds(module)  # writes the byte code
    for _ in range(rounds):
        for module, series in ((measure.baseline, result.theirs), ("graphzoo", result.ours)):
            gated = gate.measure(lambda module=module: seconds(module) * 1e3, own_cpu)
            series.append(gated.result)
            result.rejected += gated.rejected
            result.disturbed += gated.disturbed
    return result


def _deep_chain(measure: FreshMeasure, gate: Gate, rounds: int) -> FreshResult:
    result = FreshResult(measure.name, measure.baseline, "µs/node")
    sizes = {"operations": measure.size, "total": max(measure.size, _NODES_IN_ALL)}
    laps: dict[str, list[dict[str, float]]] = {measure.baseline: [], "graphzoo": []}
    for _ in range(rounds):
        for library, series in ((measure.baseline, result.theirs), ("graphzoo", result.ours)):
            with WorkerProcess(PEERS[library]) as worker:
                held = worker.ask("chain_bytes", **sizes)
                gated = gate.measure(lambda worker=worker: worker.ask("chain_times", **sizes), worker.own_cpu)
            laps[library].append(gated.result | held)
            series.append(sum(gated.result.values()) * 1e6)
            result.rejected += gated.rejected
            result.disturbed += gated.disturbed
    result.details = {
        library: {key: median(lap[key] for lap in each) for key in each[0]} for library, each in laps.items()
    }
    return result
