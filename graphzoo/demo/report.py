"""What a demo leaves behind: the graph, the gradients over time, plots, tables and a summary."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import graphzoo as gz

from .model import CharacterModel
from .training import SMOOTH, History

GRAPH_COLUMNS = 9  # columns in the picture, in which the time steps between the first and the last few share one


def training_graph(model: CharacterModel, inputs: np.ndarray, targets: np.ndarray) -> gz.Graph:
    """The graph of a step of training, unrolled over all of its time steps."""
    logits, _ = model(inputs)
    return gz.graph(gz.CrossEntropyLoss()(logits, targets.reshape(-1)))


def gradients_over_time(model: CharacterModel, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """How the loss of one window hangs on each of its time steps: norms of gradients, one value for each t.

    Returns:
        ``t``; ``dL/dh`` and, for each weight W of the cell, ``dL/dW``: what its use at time t contributes. L is the
        mean loss of the whole window. ``dL_last/...`` is the same for the loss of the last time step alone, which
        shows how far back a gradient reaches.
    """
    norms = {"t": np.arange(len(inputs))}
    for loss, first_target in (("dL", 0), ("dL_last", len(targets) - 1)):
        found = measure(model, inputs, targets, first_target)
        norms |= {f"{loss}/d{name}": values for name, values in found.items()}
    return norms


def measure(model: CharacterModel, inputs: np.ndarray, targets: np.ndarray, first_target: int) -> dict[str, np.ndarray]:
    """Over t, the norms of dL/dh_t (as ``h``) and of the contributions to the gradients of the cell's weights.

    L is the mean loss of the characters from time step `first_target` on.
    """
    hidden, _ = model.read(inputs)
    logits = model.output(gz.concatenate(hidden[first_target:]))
    loss = gz.CrossEntropyLoss()(logits, targets[first_target:].reshape(-1))
    reached = gz.grad(loss, hidden, retain_graph=True)
    weights = {name: tensor for name, tensor in model.cell.named_parameters() if tensor.ndim == 2}
    uses = gz.contributions(loss, weights, reduce=np.linalg.norm)
    return {
        "h": np.array([np.linalg.norm(gradient) for gradient in reached]),
        **{name: np.array([use.gradient for use in found]) for name, found in uses.items()},
    }


def save_table(file: Path, columns: Mapping[str, Sequence[float] | np.ndarray]) -> Path:
    """Write columns of numbers of equal length as CSV, with their names in the first line."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True))
    return file


def save_loss_plot(file: Path, history: History, alphabet: int, held_out: float) -> Path:
    """Draw the loss over the steps of training; needs matplotlib."""
    from matplotlib.figure import Figure

    steps = np.arange(1, len(history.losses) + 1)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, history.losses, color="tab:blue", alpha=0.35, linewidth=0.8, label="each step")
    smooth = running_mean(history.losses, SMOOTH)
    axes.plot(steps, smooth, color="tab:blue", label=f"mean of {SMOOTH} steps")
    blind = f"blind guess among {alphabet} characters"
    axes.axhline(math.log(alphabet), color="tab:gray", linestyle=":", label=blind)
    axes.axhline(held_out, color="tab:orange", linestyle="--", label="held-out text, at the end")
    axes.set(xlabel="step of training", ylabel="loss, nats per character", ylim=(0, None), title="Loss")
    axes.secondary_yaxis("right", functions=(_to_bits, _to_nats)).set_ylabel("bits per character")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=120)
    return file


def _to_bits(nats: Any) -> Any:
    return nats / math.log(2)


def _to_nats(bits: Any) -> Any:
    return bits * math.log(2)


def running_mean(values: Sequence[float], width: int) -> np.ndarray:
    """For each value the mean of it and those before it, at most `width` of them.

    >>> running_mean([1.0, 2.0, 3.0, 4.0], 2)
    array([1. , 1.5, 2.5, 3.5])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def save_time_plot(file: Path, norms: Mapping[str, np.ndarray], cell: str) -> Path:
    """Draw what `gradients_over_time` measured; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    whole = {"linestyle": "-", "marker": "."}
    last = {"linestyle": ":", "marker": "."}
    above.plot(norms["t"], norms["dL/dh"], **whole, label="L: mean loss of all time steps")
    above.plot(norms["t"], norms["dL_last/dh"], **last, label="L: loss of the last time step alone")
    for name, values in norms.items():
        loss, _, variable = name.partition("/d")
        if variable not in ("", "h"):
            colour = "tab:green" if variable == "weight_hh" else "tab:purple"
            style, which = (last, "last time step's loss") if loss == "dL_last" else (whole, "mean loss")
            below.plot(norms["t"], values, **style, color=colour, label=f"{cell}.{variable}, {which}")
    above.set(title="How much of a gradient reaches the state $h_t$", ylabel=r"$\|\partial L/\partial h_t\|$")
    below.set(
        title="What the use at time step t contributes to the gradient of a weight",
        ylabel=r"$\|(\mathrm{d}L/\mathrm{d}W)_t\|$",
        xlabel="time step t (the gradient travels from right to left)",
    )
    for axes in (above, below):
        axes.set_yscale("log", nonpositive="mask")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=120)
    return file
