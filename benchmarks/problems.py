"""The arrays of each family of workloads: the same for every library, so that results can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Layer:
    """One module on large arrays: forward, and backward from the gradient `readout` to x and to all parameters."""

    kind: str
    inputs: dict[str, Array]
    parameters: dict[str, Array]
    readout: Array
    options: dict[str, Any]
    forward_only: bool = False
    winograd: bool = False  # whether graphzoo takes it


@dataclass(frozen=True)
class ConvNet:
    """Convolution, batch normalisation and ReLU twice, a separable convolution, pooling, a linear layer: SGD step."""

    x: Array
    target: Array
    parameters: dict[str, Array]
    learning_rate: float


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


def _conv(x: tuple[int, ...], out: int, kernel: tuple[int, ...], **options: Any) -> Layer:
    rng = np.random.default_rng(4)
    groups = options.get("groups", 1)
    options = {"padding": tuple(size // 2 for size in kernel), "dilation": 1, "groups": 1} | options
    weight = rng.normal(size=(out, x[1] // groups, *kernel)) / np.sqrt(x[1] // groups * np.prod(kernel))
    pads, dilation = options["padding"], options["dilation"]
    spatial = [n + 2 * p - dilation * (k - 1) for n, p, k in zip(x[2:], pads, kernel, strict=True)]
    parameters = {"weight": _float32(weight), "bias": _float32(rng.normal(size=out))}
    return _layer(rng, f"conv{len(kernel)}d", {"x": x}, (x[0], out, *spatial), parameters, **options)


def _layer(
    rng: np.random.Generator,
    kind: str,
    shapes: dict[str, tuple[int, ...]],
    out: tuple[int, ...],
    parameters: dict[str, Array] | None = None,
    **options: Any,
) -> Layer:
    inputs = {name: _float32(rng.normal(size=shape)) for name, shape in shapes.items()}
    return Layer(kind, inputs, parameters or {}, _float32(rng.normal(size=out)), options)


# By kind: the shape of the input, full and small; channels out, full and small, kernel and options.
_CONVOLUTIONS: dict[str, Any] = {
    "conv2d-3x3": ((16, 64, 32, 32), (2, 2, 8, 8), 64, 3, (3, 3), {}),
    "conv2d-3x3-winograd": ((16, 64, 32, 32), (2, 2, 8, 8), 64, 3, (3, 3), {}),
    "conv2d-1x1": ((16, 64, 32, 32), (2, 2, 8, 8), 64, 3, (1, 1), {}),
    "conv2d-depthwise": ((8, 128, 28, 28), (2, 4, 7, 7), 128, 4, (3, 3), {"groups": -1}),
    "conv2d-5x5-dilated": ((16, 64, 32, 32), (2, 2, 9, 8), 64, 3, (5, 5), {"dilation": 2, "padding": (4, 4)}),
    "conv1d-5": ((16, 64, 512), (2, 2, 20), 64, 3, (5,), {}),
    "conv2d-31x31-forward": ((8, 32, 64, 64), (2, 2, 22, 21), 32, 3, (31, 31), {}),
    "conv3d-3": ((2, 16, 16, 28, 28), (2, 2, 5, 6, 6), 32, 3, (3, 3, 3), {}),
}
_SHAPES = {
    "maxpool2d": ((32, 64, 32, 32), (2, 4, 8, 8)),
    "avgpool2d": ((32, 64, 32, 32), (2, 4, 8, 8)),
    "batchnorm2d": ((32, 64, 32, 32), (2, 4, 8, 8)),
    "layernorm": ((32, 128, 512), (3, 4, 6)),
    "softmax": ((64, 8, 128, 128), (2, 3, 4, 5)),
    "attention": ((16, 8, 128, 64), (2, 2, 4, 3)),
    "relu": ((2048, 1024), (3, 7)),
    "tanh": ((2048, 1024), (3, 7)),
    "gelu": ((2048, 1024), (3, 7)),
}


def layer(kind: str, small: bool = False) -> Layer:
    """The modules of the zoo that the goals name; small ones to compare values."""
    if kind in _CONVOLUTIONS:
        full, little, wide, narrow, kernel, options = _CONVOLUTIONS[kind]
        shape, out = (little, narrow) if small else (full, wide)
        groups = shape[1] if options.get("groups") else 1
        made = _conv(shape, out, kernel, **options | {"groups": groups})
        return replace(made, forward_only=kind.endswith("forward"), winograd=kind.endswith("winograd"))
    rng = np.random.default_rng(5)
    shape = _SHAPES[kind][small]
    out_shape, parameters = shape, {}
    if kind.endswith("pool2d"):
        out_shape = (*shape[:2], shape[2] // 2, shape[3] // 2)
    if kind.endswith(("norm", "norm2d")):
        features = shape[1] if kind == "batchnorm2d" else shape[-1]
        parameters = {"weight": _float32(rng.uniform(0.5, 2, features)), "bias": _float32(rng.normal(size=features))}
    names = ("q", "k", "v") if kind == "attention" else ("x",)
    return _layer(rng, kind, dict.fromkeys(names, shape), out_shape, parameters)


def convnet(batch: int = 32, size: int = 32, width: int = 32) -> ConvNet:
    """Parameters by the names of a Sequential: convolutions 0, 3, 6 (depthwise) and 7, norms 1 and 4, linear 10."""
    rng = np.random.default_rng(6)
    wide = 2 * width
    shapes = {
        "0.weight": (width, 3, 3, 3), "1.weight": (width,), "1.bias": (width,),
        "3.weight": (width, width, 3, 3), "4.weight": (width,), "4.bias": (width,),
        "6.weight": (width, 1, 3, 3), "6.bias": (width,), "7.weight": (wide, width, 1, 1), "7.bias": (wide,),
        "10.weight": (10, wide * (size // 2) ** 2), "10.bias": (10,),
    }  # fmt: skip
    parameters = {name: _float32(rng.normal(size=s) / np.sqrt(np.prod(s[1:], dtype=int))) for name, s in shapes.items()}
    x = _float32(rng.normal(size=(batch, 3, size, size)))
    return ConvNet(x, rng.integers(0, 10, batch), parameters, learning_rate=0.01)


MAKERS: dict[str, Any] = {
    "chain": chain,
    "moons": moons,
    "digits": digits,
    "recurrent": recurrent,
    "layer": layer,
    "convnet": convnet,
}


def _layers(rng: np.random.Generator, sizes: list[int], gain: float = 1.0) -> tuple[list[Array], list[Array]]:
    weights, biases = [], []
    for fan_in, fan_out in pairwise(sizes):
        bound = gain * fan_in**-0.5
        weights.append(_float32(rng.uniform(-bound, bound, (fan_out, fan_in))))
        biases.append(_float32(rng.uniform(-bound, bound, fan_out)))
    return weights, biases


def _float32(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)
