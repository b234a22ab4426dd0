"""The workloads in HIPS autograd: functions of a dictionary of parameters, as in its own examples."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp
from autograd.scipy.special import expit, logsumexp
from autograd.tracer import getval

from benchmarks.problems import Chain, Classifier, Layer, Recurrent
from benchmarks.workloads import Case, primitive_cells

_OPS = SimpleNamespace(tanh=anp.tanh, sigmoid=expit, split=lambda array, n: anp.split(array, n, axis=1))
_ONE = np.float32(1)


def chain(problem: Chain) -> Case:
    leaves = {"start": problem.start, "addend": problem.addend, "factor": problem.factor}

    def model(p: dict[str, Any]) -> tuple[Any, Any]:
        x, addend, factor = p["start"], p["addend"], p["factor"]
        for i in range(problem.operations):
            if i % 3 == 0:
                x = x + addend
            elif i % 3 == 1:
                x = x * factor
            else:
                x = anp.tanh(x)
        return anp.sum(x), x

    return _case(leaves, model)


def classifier(problem: Classifier) -> Case:
    parameters = {}
    for i, (weight, bias) in enumerate(zip(problem.weights, problem.biases, strict=True)):
        parameters |= {f"{2 * i}.weight": weight.copy(), f"{2 * i}.bias": bias.copy()}
    last = len(problem.weights) - 1
    one_hot = (
        np.eye(problem.weights[-1].shape[0], dtype=np.float32)[problem.target]
        if problem.loss == "cross_entropy"
        else None
    )

    def model(p: dict[str, Any]) -> tuple[Any, Any]:
        scores = problem.x
        for i in range(last + 1):
            scores = scores @ p[f"{2 * i}.weight"].T + p[f"{2 * i}.bias"]
            if i < last:
                scores = anp.maximum(scores, np.float32(0))
        if problem.loss == "hinge":
            return anp.mean(anp.maximum(_ONE - problem.target * scores, np.float32(0))), scores
        return anp.mean(logsumexp(scores, axis=1) - anp.sum(scores * one_hot, axis=1)), scores

    def update(gradients: dict[str, np.ndarray]) -> None:
        for name, value in parameters.items():
            value -= problem.learning_rate * (gradients[name] + problem.weight_decay * value)

    return _case(parameters, model, update)


def cell(problem: Recurrent) -> Case:
    zeros = np.zeros_like(problem.readout[0])

    def model(p: dict[str, Any]) -> tuple[Any, Any]:
        unpacked = {name: p[name] for name in problem.parameters}
        outputs = primitive_cells.unroll(_OPS, problem.kind, problem.reset_after, unpacked, problem.x, zeros)
        output = anp.stack(outputs)
        return anp.sum(output * problem.readout), output

    return _case(problem.parameters, model)


def layer(problem: Layer) -> Case:
    """The modules that autograd's own NumPy functions make; its convolution takes seconds and is left out."""

    def attend(q: Any, k: Any, v: Any) -> Any:
        scores = anp.matmul(q, anp.swapaxes(k, -1, -2)) * np.float32(problem.inputs["q"].shape[-1] ** -0.5)
        return anp.matmul(soften(scores), v)

    def soften(x: Any) -> Any:
        powers = anp.exp(x - anp.max(x, axis=-1, keepdims=True))
        return powers / anp.sum(powers, axis=-1, keepdims=True)

    def normalize(x: Any, weight: Any, bias: Any, axes: Any, shape: Any) -> Any:
        distances = x - anp.mean(x, axis=axes, keepdims=True)
        scale = anp.sqrt(anp.mean(distances * distances, axis=axes, keepdims=True) + np.float32(1e-5))
        return distances / scale * anp.reshape(weight, shape) + anp.reshape(bias, shape)

    run: Any = {
        "batchnorm2d": lambda x, weight, bias: normalize(x, weight, bias, (0, 2, 3), (1, -1, 1, 1)),
        "layernorm": lambda x, weight, bias: normalize(x, weight, bias, -1, (-1,)),
        "softmax": soften, "attention": attend, "relu": lambda x: anp.maximum(x, np.float32(0)), "tanh": anp.tanh,
    }[problem.kind]  # fmt: skip
    names = [*problem.inputs, *problem.parameters]

    def model(p: dict[str, Any]) -> tuple[Any, Any]:
        output = run(*[p[name] for name in names])
        return output, output

    return _case(problem.inputs | problem.parameters, model, seed=problem.readout)


def _case(
    parameters: dict[str, np.ndarray],
    model: Callable[[dict[str, Any]], tuple[Any, Any]],
    update: Callable[[dict[str, np.ndarray]], None] | None = None,
    seed: Any = _ONE,
) -> Case:
    """The loss is the pair (value, function of its gradient) that `make_vjp` gives."""
    gradients: dict[str, np.ndarray] = {}
    output: list[Any] = []

    def loss_of(p: dict[str, Any]) -> Any:
        loss, traced_output = model(p)
        output[:] = [getval(traced_output)]
        return loss

    differentiate = make_vjp(loss_of)

    def forward() -> tuple[Any, Any]:
        vjp, loss = differentiate(parameters)
        return (loss, vjp), output[0]

    def backward(loss: Any) -> None:
        gradients.update(loss[1](seed))
        if update is not None:
            update(gradients)

    return Case(forward, backward, lambda: {f"grad {name}": value for name, value in gradients.items()}, _array)


def _array(result: Any) -> np.ndarray:
    return np.array(result[0] if isinstance(result, tuple) else result)


BUILDERS = {"chain": chain, "classifier": classifier, "cell": cell, "layer": layer}
