"""Cells for the tests of the study kit, those of the zoo and some that a user would write, and losses for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import graphzoo as gz

T, B, F, H = 6, 3, 5, 4  # all different, so that no transposition goes unnoticed


class Stacked(gz.Module):
    """A user's own cell of two, with a read-out: (x, state) to (output, state), the state a tuple of three."""

    def __init__(self, rng: int = 0) -> None:
        self.below = gz.LSTMCell(F, H, rng=rng)
        self.above = gz.GRUCell(H, H, rng=rng + 1)
        self.readout = gz.Linear(H, 2, rng=rng + 2)

    def forward(self, x: Any, state: Any) -> Any:
        h, c, top = state
        h, c = self.below(x, (h, c))
        top = self.above(h, top)
        return self.readout(top), (h, c, top)


class Decay(gz.Module):
    """A user's own cell of primitives, whose output is its state; W is used twice a step."""

    def __init__(self, rng: int = 0) -> None:
        draw = np.random.default_rng(rng)
        self.w = gz.Parameter(draw.normal(0, 0.5, (H, H)))
        self.u = gz.Parameter(draw.normal(0, 0.5, (F, H)))

    def forward(self, x: Any, h: Any) -> Any:
        h = gz.tanh(gz.tanh(h @ self.w) @ self.w + x @ self.u)
        return h, h


CELLS: dict[str, Any] = {
    "RNNCell": lambda: gz.RNNCell(F, H, rng=1),
    "RNNCell relu": lambda: gz.RNNCell(F, H, nonlinearity="relu", rng=1),
    "SimpleRNNCell": lambda: gz.SimpleRNNCell(F, H, 2, rng=1),
    "SimpleRNNCell old": lambda: gz.SimpleRNNCell(F, H, 2, readout="old", rng=1),
    "LSTMCell": lambda: gz.LSTMCell(F, H, rng=1),
    "GRUCell": lambda: gz.GRUCell(F, H, rng=1),
    "GRUCell reset_after": lambda: gz.GRUCell(F, H, reset_after=True, rng=1),
    "Stacked": lambda: Stacked(),
    "Decay": lambda: Decay(),
}


def state_for(kind: str, rng: np.random.Generator, batch: int = B) -> Any:
    """An initial state that is not zero."""
    count = {"LSTMCell": 2, "Stacked": 3}.get(kind, 1)
    parts = tuple(rng.normal(size=(batch, H)) for _ in range(count))
    return parts if count > 1 else parts[0]


def weighted(states: Sequence[Any], weights: np.ndarray) -> Any:
    """A loss that is not linear in the states, and weighs each of them."""
    total = 0.0
    for state, weight in zip(states, weights, strict=True):
        total = total + (weight * state * state + weight * state).sum()
    return total
