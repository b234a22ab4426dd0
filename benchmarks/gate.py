"""Keeps other processes out of the measurements: waits for a quiet machine, rejects a disturbed repetition.

A repetition on two threads does not slow down in proportion when a neighbour takes one core, it collapses:
the spinning partners share the other. A median over many repetitions does not help; leaving them out does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Gated(Generic[T]):
    """A repetition's result, the foreign share it ran under, and how many were thrown away before it."""

    result: T
    foreign: float
    rejected: int
    disturbed: bool  # no undisturbed one was had in the tries allowed; this is the least disturbed


@dataclass(frozen=True)
class _Usage:
    busy: float  # CPU seconds of everybody since boot
    total: float  # the same with idle time: elapsed time × processors
    own: float


class Gate:
    """Shares are of the whole machine's CPU time: on two processors a neighbour that fills one is 50 %."""

    def __init__(
        self,
        proc: Path = Path("/proc"),
        *,
        quiet: float = 0.25,
        reject: float = 0.15,
        retries: int = 5,
        patience: float = 20.0,
        pause: float = 0.1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.proc, self.quiet, self.reject = proc, quiet, reject
        self.retries, self.patience, self.pause, self.sleep = retries, patience, pause, sleep

    def measure(self, action: Callable[[], T], own_cpu: Callable[[], float]) -> Gated[T]:
        """Run `action` on a quiet machine, again if it was disturbed. `own_cpu` tells our CPU seconds."""
        best: Gated[T] | None = None
        for attempt in range(self.retries + 1):
            self.wait_until_quiet(own_cpu)
            before = self._usage(own_cpu)
            result = action()
            foreign = _foreign_share(before, self._usage(own_cpu))
            if best is None or foreign < best.foreign:
                best = Gated(result, foreign, attempt, disturbed=True)
            if foreign <= self.reject:
                return Gated(result, foreign, attempt, disturbed=False)
        assert best is not None
        return Gated(best.result, best.foreign, self.retries, disturbed=True)

    def wait_until_quiet(self, own_cpu: Callable[[], float]) -> bool:
        """Sleep until the foreign share falls below `quiet`; give up after `patience` seconds and say so."""
        waited = 0.0
        while waited < self.patience:
            before = self._usage(own_cpu)
            self.sleep(self.pause)
            waited += self.pause
            if _foreign_share(before, self._usage(own_cpu)) < self.quiet:
                return True
        return False

    def _usage(self, own_cpu: Callable[[], float]) -> _Usage:
        # user nice system idle iowait irq softirq steal; guest times, which follow, are part of user already.
        fields = [int(field) for field in (self.proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle = fields[3] + fields[4]
        return _Usage((sum(fields) - idle) / _TICKS_PER_SECOND, sum(fields) / _TICKS_PER_SECOND, own_cpu())


def process_cpu(pid: int, proc: Path = Path("/proc")) -> float:
    """CPU seconds, user and system, of a process and all its threads."""
    # The second field, the command in parentheses, may hold blanks: count the fields from its end.
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _foreign_share(before: _Usage, after: _Usage) -> float:
    elapsed = after.total - before.total
    foreign = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, foreign / elapsed) if elapsed > 0 else 0.0
