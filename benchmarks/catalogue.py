"""What is measured, with which peers, and the ratios that graphzoo is to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import problems

ALL = ("torch", "torch-tuned", "graphzoo", "graphzoo-tuned", "graphzoo-fast", "autograd", "mygrad")
PLAIN = tuple(name for name in ALL if name != "graphzoo-fast")
TORCH = ALL[:4]
_FAST = (*TORCH, "graphzoo-fast")


@dataclass(frozen=True)
class Workload:
    """One row of the table: `builder` names the program in each workloads/on_*.py, `problem` its arrays."""

    name: str
    builder: str
    problem: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    peers: tuple[str, ...] = PLAIN
    goals: Mapping[str, float] = field(default_factory=dict)  # graphzoo variant -> ratio to the better torch
    rival_goals: Mapping[str, float] = field(default_factory=dict)  # autograd, mygrad -> ratio to them

    def make(self) -> Any:
        return problems.MAKERS[self.problem](**self.sizes)


def _goals(stock: float | None, tuned: float | None, fast: float | None = None) -> dict[str, float]:
    given = {"graphzoo": stock, "graphzoo-tuned": tuned, "graphzoo-fast": fast}
    return {variant: goal for variant, goal in given.items() if goal is not None}


# (stock, tuned) at 32, 128 and 512 hidden units. The compiled kernels are held to the goals of tuned BLAS.
_CELL_GOALS = {
    "lstm": {32: (0.35, 0.3), 128: (0.6, 0.45), 512: (0.75, 0.5)},
    "gru": {32: (0.4, 0.35), 128: (0.7, 0.5), 512: (0.75, 0.5)},
    "rnn": {32: (None, 0.3), 128: (None, 0.45), 512: (None, 0.55)},
}
_SEQUENCE_GOALS = {"lstm": 1.4, "gru": 1.0, "rnn": 1.0}
_SIZES = (32, 128, 512)


def _cells() -> list[Workload]:
    """The loop a user writes: T = 100, batch 32, a cell call a step. The GRU is torch's variant."""
    return [
        Workload(
            f"{kind}-cell-{hidden}", "cell", "recurrent", {"kind": kind, "hidden": hidden},
            peers=_FAST if hidden == 512 else ALL, goals=_goals(stock, tuned, tuned),
        )
        for kind, goals in _CELL_GOALS.items() for hidden, (stock, tuned) in goals.items()
    ]  # fmt: skip


def _default_gru_cells() -> list[Workload]:
    """graphzoo's default GRU resets before the product. torch has no such cell; its own is timed beside."""
    return [
        Workload(
            f"gru-default-cell-{hidden}", "cell", "recurrent",
            {"kind": "gru", "hidden": hidden, "reset_after": False},
            peers=(*_FAST, "autograd") if hidden == 512 else ALL,
        )
        for hidden in _SIZES
    ]  # fmt: skip


def _sequences() -> list[Workload]:
    return [
        Workload(
            f"{kind}-sequence-{hidden}", "sequence", "recurrent", {"kind": kind, "hidden": hidden},
            peers=_FAST, goals=_goals(goal, goal, goal),
        )
        for kind, goal in _SEQUENCE_GOALS.items() for hidden in _SIZES
    ]  # fmt: skip


# The zoo: for each module the goal of plain NumPy and that with the compiled kernels of `graphzoo[fast]`, and which of
# autograd and mygrad have it.
_LAYERS: dict[str, tuple[float | None, float | None, tuple[str, ...]]] = {
    "conv2d-3x3": (1.7, 1.3, ("mygrad",)),
    "conv2d-3x3-winograd": (1.0, 0.95, ("mygrad",)),
    "conv2d-1x1": (1.1, 0.95, ("mygrad",)),
    "conv2d-depthwise": (5.0, 1.2, ()),
    "conv2d-5x5-dilated": (2.0, 1.6, ("mygrad",)),
    "conv1d-5": (1.5, 1.3, ("mygrad",)),
    "conv2d-31x31-forward": (0.3, None, ()),
    "conv3d-3": (3.0, 2.0, ("mygrad",)),
    "maxpool2d": (0.7, 0.3, ("mygrad",)),
    "avgpool2d": (0.5, 0.4, ()),
    "batchnorm2d": (1.5, 0.3, ("autograd", "mygrad")),
    "layernorm": (3.0, 0.7, ("autograd", "mygrad")),
    "softmax": (1.9, 0.9, ("autograd", "mygrad")),
    "relu": (2.0, 1.5, ("autograd", "mygrad")),
    "tanh": (0.5, 0.5, ("autograd", "mygrad")),
    "gelu": (None, None, ()),
    "attention": (0.6, 0.55, ("autograd", "mygrad")),
}


def _zoo() -> list[Workload]:
    return [
        *(
            Workload(
                name, "layer", "layer", {"kind": name}, peers=(*_FAST, *rivals),
                goals=_goals(plain, plain, fast), rival_goals=dict.fromkeys(rivals, 1.0),
            )
            for name, (plain, fast, rivals) in _LAYERS.items()
        ),
        Workload("convnet", "convnet", "convnet", peers=_FAST, goals=_goals(1.8, 1.8, 1.2)),
    ]  # fmt: skip


WORKLOADS = (
    Workload(
        "tiny-chain", "chain", "chain", {"operations": 1000},
        goals=_goals(0.5, 0.5), rival_goals={"autograd": 0.2, "mygrad": 0.2},
    ),
    Workload("moons-mlp", "classifier", "moons", goals=_goals(0.3, 0.3)),
    Workload("digits-mlp", "classifier", "digits", goals=_goals(None, 0.65)),
    *_cells(),
    *_default_gru_cells(),
    *_sequences(),
    *_zoo(),
)  # fmt: skip


@dataclass(frozen=True)
class FreshMeasure:
    """A row measured in a new process each time: graphzoo's figure over the baseline's."""

    name: str
    baseline: str
    goal: float
    size: int = 0
    recompute: bool = False


FRESH = (
    FreshMeasure("lstm-2000-memory", "torch", goal=1.0, size=2000),
    FreshMeasure("lstm-2000-memory-recomputed", "torch", goal=0.5, size=2000, recompute=True),
    FreshMeasure("bptt-weight-contributions", "backward", goal=3.0),
    FreshMeasure("bptt-state-gradients", "backward", goal=1.3),
    FreshMeasure("bptt-tbptt-memory", "T = 500", goal=1.0, size=5000),
    FreshMeasure("convnet-memory", "torch", goal=1.5),
    FreshMeasure("import-time", "numpy", goal=1.3),
    *(FreshMeasure(f"deep-chain-{size}", "torch", goal=0.4, size=size) for size in (1_000, 10_000, 100_000, 1_000_000)),
)
BYTES_PER_NODE = 400  # the deep chains' second goal
FLAT = 1.0  # and their third: the largest size costs a node what the smallest does
