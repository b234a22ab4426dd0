"""The workloads in mygrad: tensors, its neural-network functions, the update by hand as in its examples."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu, sigmoid, softmax
from mygrad.nnet.layers import batchnorm, conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.problems import Chain, Classifier, Layer, Recurrent
from benchmarks.workloads import Case, primitive_cells


def _split(array: mg.Tensor, n: int) -> list[mg.Tensor]:
    width = array.shape[1] // n
    return [array[:, i * width : (i + 1) * width] for i in range(n)]


_OPS = SimpleNamespace(tanh=mg.tanh, sigmoid=sigmoid, split=_split)


def chain(problem: Chain) -> Case:
    leaves = {
        "start": mg.tensor(problem.start),
        "addend": mg.tensor(problem.addend),
        "factor": mg.tensor(problem.factor),
    }

    def forward() -> tuple[Any, Any]:
        x = leaves["start"]
        for i in range(problem.operations):
            if i % 3 == 0:
                x = x + leaves["addend"]
            elif i % 3 == 1:
                x = x * leaves["factor"]
            else:
                x = mg.tanh(x)
        return x.sum(), x

    return _case(leaves, forward)


def classifier(problem: Classifier) -> Case:
    layers = [(mg.tensor(w), mg.tensor(b)) for w, b in zip(problem.weights, problem.biases, strict=True)]
    leaves = {}
    for i, (weight, bias) in enumerate(layers):
        leaves |= {f"{2 * i}.weight": weight, f"{2 * i}.bias": bias}

    def forward() -> tuple[Any, Any]:
        scores: Any = problem.x
        for weight, bias in layers[:-1]:
            scores = relu(scores @ weight.T + bias)
        weight, bias = layers[-1]
        scores = scores @ weight.T + bias
        if problem.loss == "hinge":
            return relu(np.float32(1) - problem.target * scores).mean(), scores
        return softmax_crossentropy(scores, problem.target), scores

    def update() -> None:
        for p in leaves.values():
            p.data -= problem.learning_rate * (p.grad + problem.weight_decay * p.data)

    return _case(leaves, forward, update)


def cell(problem: Recurrent) -> Case:
    leaves = {name: mg.tensor(value) for name, value in problem.parameters.items()}
    zeros = np.zeros_like(problem.readout[0])

    def forward() -> tuple[Any, Any]:
        output = mg.stack(primitive_cells.unroll(_OPS, problem.kind, problem.reset_after, leaves, problem.x, zeros))
        return (output * problem.readout).sum(), output

    return _case(leaves, forward)


def layer(problem: Layer) -> Case:
    """A layer of mygrad.nnet; what it lacks is made of its operations, as its users would."""
    leaves = {name: mg.tensor(value) for name, value in (problem.inputs | problem.parameters).items()}
    kind = problem.kind

    def attend(q: mg.Tensor, k: mg.Tensor, v: mg.Tensor) -> mg.Tensor:
        scores = mg.matmul(q, mg.swapaxes(k, -1, -2)) * np.float32(q.shape[-1] ** -0.5)
        return mg.matmul(softmax(scores, axis=-1), v)

    def normalize(x: mg.Tensor, weight: mg.Tensor, bias: mg.Tensor) -> mg.Tensor:
        distances = x - mg.mean(x, axis=-1, keepdims=True)
        scale = mg.sqrt(mg.mean(distances * distances, axis=-1, keepdims=True) + np.float32(1e-5))
        return distances / scale * weight + bias

    def convolve(x: mg.Tensor, weight: mg.Tensor, bias: mg.Tensor) -> mg.Tensor:
        options = problem.options
        y = conv_nd(x, weight, stride=1, padding=options["padding"], dilation=options["dilation"])
        return y + bias.reshape(1, -1, *[1] * (x.ndim - 2))

    run: Any = {
        "conv1d": convolve, "conv2d": convolve, "conv3d": convolve, "maxpool2d": lambda x: max_pool(x, (2, 2), 2),
        "batchnorm2d": lambda x, weight, bias: batchnorm(x, gamma=weight, beta=bias, eps=1e-5),
        "layernorm": normalize, "softmax": lambda x: softmax(x, axis=-1), "attention": attend, "relu": relu,
        "tanh": mg.tanh,
    }[kind]  # fmt: skip

    def forward() -> tuple[Any, Any]:
        output = run(**leaves) if problem.parameters or kind == "attention" else run(leaves["x"])
        return output, output

    return Case(forward, lambda output: output.backward(problem.readout), lambda: _gradients(leaves), _array)


def _gradients(leaves: dict[str, mg.Tensor]) -> dict[str, np.ndarray]:
    return {f"grad {name}": leaf.grad.copy() for name, leaf in leaves.items()}


def _case(
    leaves: dict[str, mg.Tensor],
    forward: Callable[[], tuple[Any, Any]],
    update: Callable[[], None] | None = None,
) -> Case:
    """mygrad clears a leaf's old gradient itself when the leaf is used again."""

    def backward(loss: mg.Tensor) -> None:
        loss.backward()
        if update is not None:
            update()

    return Case(forward, backward, lambda: _gradients(leaves), _array)


def _array(tensor: mg.Tensor) -> np.ndarray:
    return tensor.data.copy()


BUILDERS = {"chain": chain, "classifier": classifier, "cell": cell, "layer": layer}
