"""The arrays of each family of workloads: the same for every library, so that results can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Chain:
    """Operations one upon the other: add, multiply, tanh, add, … All three arrays want gradients."""

    start: Array
    addend: Array
    factor: Array
    operations: int


@dataclass(frozen=True)
class Classifier:
    """A fully connected ReLU network and its training step: forward, loss, backward, SGD."""

    x: Array  # (batch, features)
    target: Array  # hinge: (batch, 1) of ±1; cross-entropy: (batch,) class indices
    weights: list[Array]  # (out, in) each
    biases: list[Array]
    loss: str  # "hinge" or "cross_entropy"
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer over x; loss = Σ h ⊙ readout over all steps, so that every state counts."""

    kind: str  # "rnn", "lstm" or "gru"
    x: Array  # (steps, batch, inputs), needs no gradient
    readout: Array  # (steps, batch, hidden)
    parameters: dict[str, Array]  # torch's names, shapes and row order
    reset_after: bool  # GRU: torch's variant, or the reset gate before the product
    recompute: bool = False  # graphzoo: gates are computed again in the backward pass, to save memory


def chain(operations: int, size: int = 4) -> Chain:
    rng = np.random.default_rng(0)
    # Near the identity: a gradient that shrinks fast would end in denormal numbers, which are slow.
    ranges = [(-1, 1), (-0.01, 0.01), (0.98, 1.02)]
    start, addend, factor = (_float32(rng.uniform(low, high, size)) for low, high in ranges)
    return Chain(start, addend, factor, operations)


def moons(hidden: int = 16, points: int = 100) -> Classifier:
    """The micrograd demo: two half circles, max-margin loss, L2 penalty 1e-4·Σp² (a decay of 2e-4)."""
    rng = np.random.default_rng(1)
    upper = points // 2
    angle = np.concatenate([np.linspace(0, np.pi, upper), np.linspace(0, np.pi, points - upper)])
    sign = np.where(np.arange(points) < upper, 1.0, -1.0)
    x = np.stack([0.5 - sign * 0.5 + sign * np.cos(angle), 0.25 - sign * 0.25 + sign * np.sin(angle)], axis=1)
    x += rng.normal(0, 0.1, x.shape)
    weights, biases = _layers(rng, [2, hidden, hidden, 1], gain=3.0)
    return Classifier(
        _float32(x), _float32(sign[:, None]), weights, biases, "hinge", learning_rate=0.1, weight_decay=2e-4
    )


def digits(features: int = 784, hidden: int = 512, classes: int = 10, batch: int = 128) -> Classifier:
    """A network of MNIST's shape on random images, cross-entropy."""
    rng = np.random.default_rng(2)
    weights, biases = _layers(rng, [features, hidden, hidden, classes])
    x = _float32(rng.uniform(0, 1, (batch, features)))
    target = rng.integers(0, classes, batch)
    return Classifier(x, target, weights, biases, "cross_entropy", learning_rate=0.01, weight_decay=0.0)


def recurrent(
    kind: str,
    hidden: int,
    steps: int = 100,
    batch: int = 32,
    inputs: int | None = None,
    reset_after: bool = True,
) -> Recurrent:
    """Parameters as torch draws them; as many inputs as hidden units unless told otherwise."""
    rng = np.random.default_rng(3)
    inputs = hidden if inputs is None else inputs
    rows, bound = GATES[kind] * hidden, hidden**-0.5
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, inputs), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,),
    }  # fmt: skip
    parameters = {name: _float32(rng.uniform(-bound, bound, shape)) for name, shape in shapes.items()}
    x = _float32(rng.normal(size=(steps, batch, inputs)))
    readout = _float32(rng.normal(size=(steps, batch, hidden)) / (steps * batch))
    return Recurrent(kind, x, readout, parameters, reset_after)


MAKERS: dict[str, Any] = {"chain": chain, "moons": moons, "digits": digits, "recurrent": recurrent}


def _layers(rng: np.random.Generator, sizes: list[int], gain: float = 1.0) -> tuple[list[Array], list[Array]]:
    weights, biases = [], []
    for fan_in, fan_out in pairwise(sizes):
        bound = gain * fan_in**-0.5
        weights.append(_float32(rng.uniform(-bound, bound, (fan_out, fan_in))))
        biases.append(_float32(rng.uniform(-bound, bound, fan_out)))
    return weights, biases


def _float32(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)
