"""The tables: one line per workload and BLAS variant, one per measure in fresh processes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.catalogue import BYTES_PER_NODE, FLAT, FreshMeasure, Workload
from benchmarks.controller import Measurement
from benchmarks.fresh import FreshResult
from benchmarks.ratios import Ratio, fastest, paired_ratio, verdict

_VARIANTS = {"graphzoo": "stock", "graphzoo-tuned": "tuned", "graphzoo-fast": "fast"}
_RIVALS = ("autograd", "mygrad")
_LAYOUT = "{:<20} {:<5} {:>9} {:>9}  {:<18} {:>5}  {:<7} {:<19} {:<19}"
HEADER = _LAYOUT.format(
    "workload",
    "BLAS",
    "torch ms",
    "graphzoo",
    "/ torch [spread]",
    "goal",
    "verdict",
    "/ autograd",
    "/ mygrad",
).rstrip()
_FRESH_LAYOUT = "{:<27} {:>14} {:>12}  {:<20} {:>5}  {:<7} {}"
FRESH_HEADER = _FRESH_LAYOUT.format("measure", "baseline", "graphzoo", "ratio [quartiles]", "goal", "verdict", "")


@dataclass(frozen=True)
class Comparison:
    """graphzoo's time over another's, and whether that is what it is to reach."""

    ratio: Ratio
    goal: float | None
    verdict: str | None

    def brief(self) -> str:
        judged = "" if self.goal is None else f" (≤ {self.goal:g}: {self.verdict})"
        return f"{self.ratio.median:.2f}{judged}"


@dataclass(frozen=True)
class Row:
    """What one line of the table says, for people and for the JSON file."""

    workload: str
    blas: str
    seconds: float
    torch: str | None  # the faster of torch and torch-tuned
    torch_seconds: float | None
    to_torch: Comparison | None
    to_rivals: dict[str, Comparison]  # autograd, mygrad

    def __str__(self) -> str:
        torch, ratio, goal, judged = "–", "–", "–", "–"
        if self.torch_seconds is not None:
            torch = _ms(self.torch_seconds) + (" m" if self.torch == "torch-tuned" else "  ")
        if self.to_torch is not None:
            ratio = str(self.to_torch.ratio)
            if self.to_torch.goal is not None:
                goal, judged = f"{self.to_torch.goal:g}", str(self.to_torch.verdict)
        rivals = [self.to_rivals[name].brief() if name in self.to_rivals else "–" for name in _RIVALS]
        cells = [self.workload, self.blas, torch, _ms(self.seconds), ratio, goal, judged, *rivals]
        return _LAYOUT.format(*cells).rstrip()


def rows(workload: Workload, measurement: Measurement) -> list[Row]:
    """A row for each variant of graphzoo that was timed."""
    times = measurement.times
    torch = fastest(times, ("torch", "torch-tuned"))
    torch_seconds = None if torch is None else median(times[torch])
    result = []
    for variant in (name for name in _VARIANTS if name in times):
        ours, goal = times[variant], workload.goals.get(variant)
        to_torch = None if torch is None else _compare(ours, times[torch], goal)
        to_rivals = {
            name: _compare(ours, times[name], workload.rival_goals.get(name)) for name in _RIVALS if name in times
        }
        blas = _VARIANTS[variant]
        result.append(Row(workload.name, blas, median(ours), torch, torch_seconds, to_torch, to_rivals))
    return result


def remarks(measurement: Measurement) -> list[str]:
    """What a reader must know about a workload's figures before trusting them."""
    lines = [f"  ! {error}" for error in measurement.errors]
    if not measurement.times.keys() & _VARIANTS.keys():
        lines.append("  ! graphzoo was not timed")
    if measurement.largest_difference is None and measurement.times:
        lines.append("  ! values unchecked: no second library to compare with")
    if measurement.disturbed or measurement.rejected:
        kept, thrown = measurement.disturbed, measurement.rejected
        lines.append(f"  ! other processes: {thrown} repetitions rejected, {kept} kept although disturbed")
    return lines


def fresh_line(measure: FreshMeasure, result: FreshResult) -> str:
    ratio = paired_ratio(result.ours, result.theirs)
    theirs = f"{result.baseline} {median(result.theirs):.3g}"
    ours = f"{median(result.ours):.3g} {result.unit}"
    note = _chain_note(result) if result.details else ""
    if result.disturbed or result.rejected:
        note += f" ! {result.rejected} rejected, {result.disturbed} kept although disturbed"
    judged = verdict(ratio.median, measure.goal)
    return _FRESH_LAYOUT.format(measure.name, theirs, ours, str(ratio), measure.goal, judged, note).rstrip()


def flatness_line(chains: dict[int, FreshResult]) -> str:
    """Cost of a node in the longest chain over that in the shortest."""
    shortest, longest = min(chains), max(chains)
    ours = {size: chains[size].details["graphzoo"] for size in (shortest, longest)}
    time = median(chains[longest].ours) / median(chains[shortest].ours)
    size = ours[longest]["bytes"] / ours[shortest]["bytes"]
    return (
        f"a node's cost at {longest:,} over that at {shortest:,}: time {time:.2f} ({verdict(time, FLAT)}), "
        f"bytes {size:.2f} ({verdict(size, FLAT)})"
    )


def _chain_note(result: FreshResult) -> str:
    ours, theirs = result.details["graphzoo"], result.details[result.baseline]
    parts = "+".join(f"{ours[part] * 1e6:.2f}" for part in ("build", "backward", "drop"))
    memory = f"{ours['bytes']:.0f} B/node (≤ {BYTES_PER_NODE}: {verdict(ours['bytes'], BYTES_PER_NODE)})"
    return f"build+backward+drop {parts}; {memory}, {result.baseline} {theirs['bytes']:.0f}"


def _compare(ours: list[float], theirs: list[float], goal: float | None) -> Comparison:
    ratio = paired_ratio(ours, theirs)
    return Comparison(ratio, goal, None if goal is None else verdict(ratio.median, goal))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"
