"""Medians of paired ratios, their spread, and the verdict on a goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

TIE = 0.15  # what the noise of a shared machine cannot tell apart


@dataclass(frozen=True)
class Ratio:
    """The median of the per-round ratios with its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}–{self.high:.2f}]"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ratio of two series round by round: slow drift of the machine hits both of a pair and cancels."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    if len(each) == 1:
        return Ratio(each[0], each[0], each[0])
    low, middle, high = quantiles(each, n=4, method="inclusive")
    return Ratio(middle, low, high)


def fastest(times: dict[str, list[float]], names: Sequence[str]) -> str | None:
    """Of the named series that were measured, the one with the smallest median."""
    return min((name for name in names if name in times), key=lambda name: median(times[name]), default=None)


def verdict(value: float, goal: float) -> str:
    """`met`, `tie` (less than 15 % over the goal) or `missed`."""
    if value <= goal:
        return "met"
    return "tie" if value < goal * (1 + TIE) else "missed"
