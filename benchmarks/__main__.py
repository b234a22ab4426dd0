"""`python -m benchmarks`: time graphzoo beside torch, autograd and mygrad, and hold it to its goals."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from benchmarks import report
from benchmarks.catalogue import ALL, FRESH, WORKLOADS
from benchmarks.controller import WorkerError, measure, start_workers
from benchmarks.fresh import FreshResult, measure_fresh
from benchmarks.gate import Gate
from benchmarks.peers import PEERS, THREADS, runs_here

NAMES = [each.name for each in (*WORKLOADS, *FRESH)]


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        print("\n".join(NAMES))
        return 0
    chosen = _chosen(options.only)
    gate = Gate(patience=2.0, retries=1) if options.quick else Gate()
    results: dict[str, Any] = {"machine": _machine(), "rounds": options.rounds, "workloads": [], "fresh": []}
    timed = [w for w in WORKLOADS if w.name in chosen]
    if timed:
        results["workloads"] = _run_timed(timed, options, gate)
    fresh = [m for m in FRESH if m.name in chosen]
    if fresh:
        results["fresh"] = _run_fresh(fresh, options, gate)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)
    return 0


def _run_timed(workloads: list[Any], options: argparse.Namespace, gate: Gate) -> list[dict[str, Any]]:
    results = []
    with ExitStack() as stack:
        log = sys.stderr if options.verbose else subprocess.DEVNULL
        names = [name for name in options.peers if runs_here(PEERS[name])]
        for name in set(options.peers) - set(names):
            print(f"left out  {name}: this processor has no AVX-512")
        workers = start_workers(names, log, print)
        for worker in workers.values():
            stack.enter_context(worker)
        print(f"\n{report.HEADER}")
        for workload in workloads:
            measurement = measure(workload, workers, gate, options.rounds, 0.05 if options.quick else 0.2)
            rows = report.rows(workload, measurement)
            print("\n".join([*map(str, rows), *report.remarks(measurement)]), flush=True)
            results.append(asdict(measurement) | {"rows": [asdict(row) for row in rows]})
    return results


def _run_fresh(measures: list[Any], options: argparse.Namespace, gate: Gate) -> list[dict[str, Any]]:
    results = []
    chains: dict[int, FreshResult] = {}
    print(f"\n{report.FRESH_HEADER}")
    for each in measures:
        try:
            result = measure_fresh(each, gate, options.rounds)
        except (WorkerError, subprocess.CalledProcessError) as error:
            print(f"{each.name:<22} ! {error}", flush=True)
            continue
        print(report.fresh_line(each, result), flush=True)
        results.append(asdict(result))
        if each.name.startswith("deep-chain"):
            chains[each.size] = result
    if len(chains) > 1:
        print(report.flatness_line(chains))
    return results


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=["*"],
        help="workloads by name or pattern, such as 'lstm-*'",
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="repetitions of each peer (default 9, quick 3)")
    parser.add_argument(
        "--peers", nargs="+", choices=ALL, default=list(ALL), metavar="PEER", help=f"of {', '.join(ALL)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="short repetitions and little patience with other processes"
    )
    parser.add_argument("--json", metavar="FILE", help="write every repetition and every ratio here")
    parser.add_argument("--list", action="store_true", help="name the workloads and stop")
    parser.add_argument("--verbose", action="store_true", help="show the workers' error output")
    options = parser.parse_args(arguments)
    unmatched = [pattern for pattern in options.only if not any(fnmatchcase(name, pattern) for name in NAMES)]
    if unmatched:
        parser.error(f"--only: no workload is named {', '.join(unmatched)}; --list names them all")
    options.rounds = options.rounds or (3 if options.quick else 9)
    return options


def _chosen(patterns: list[str]) -> set[str]:
    return {name for name in NAMES if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def _machine() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": THREADS,
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.exit(main())
