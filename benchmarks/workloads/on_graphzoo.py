"""The workloads in graphzoo: its modules, its optimiser, its defaults."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

import graphzoo as gz
from benchmarks.problems import Chain, Classifier, ConvNet, Layer, Recurrent
from benchmarks.workloads import Case


def chain(problem: Chain) -> Case:
    start, addend, factor = (gz.tensor(a, requires_grad=True) for a in (problem.start, problem.addend, problem.factor))
    leaves = {"start": start, "addend": addend, "factor": factor}

    def forward() -> tuple[Any, Any]:
        x = start
        for i in range(problem.operations):
            if i % 3 == 0:
                x = x + addend
            elif i % 3 == 1:
                x = x * factor
            else:
                x = gz.tanh(x)
        return x.sum(), x

    def backward(loss: gz.Tensor) -> None:
        for leaf in leaves.values():
            leaf.grad = None
        loss.backward()

    return Case(forward, backward, lambda: _gradients(leaves), _array)


def classifier(problem: Classifier) -> Case:
    layers: list[gz.Module] = []
    parameters = {}
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        parameters |= {f"{len(layers)}.weight": weight, f"{len(layers)}.bias": bias}
        layers += [gz.Linear(weight.shape[1], weight.shape[0]), gz.ReLU()]
    model = gz.Sequential(*layers[:-1])
    model.load_state_dict(parameters)
    optimiser = gz.optim.SGD(model.parameters(), lr=problem.learning_rate, weight_decay=problem.weight_decay)
    x, target = gz.tensor(problem.x), gz.tensor(problem.target)
    cross_entropy = gz.CrossEntropyLoss()

    def forward() -> tuple[Any, Any]:
        scores = model(x)
        if problem.loss == "hinge":
            return gz.relu(1 - target * scores).mean(), scores
        return cross_entropy(scores, target), scores

    return _training_case(model, optimiser, forward)


def cell(problem: Recurrent) -> Case:
    """The unrolled loop over gz.LSTMCell, gz.GRUCell or gz.RNNCell."""
    kind = {"rnn": gz.RNNCell, "lstm": gz.LSTMCell, "gru": gz.GRUCell}[problem.kind]
    module = _loaded(kind, problem, suffix="")
    steps, readout = [gz.tensor(x) for x in problem.x], gz.tensor(problem.readout)

    def forward() -> tuple[Any, Any]:
        state, outputs = None, []
        for x in steps:
            state = module(x, state)
            outputs.append(state[0] if problem.kind == "lstm" else state)
        output = gz.stack(outputs)
        return (output * readout).sum(), output

    return _module_case(module, forward)


def sequence(problem: Recurrent) -> Case:
    """The whole sequence through gz.LSTM, gz.GRU or gz.RNN."""
    kind = {"rnn": gz.RNN, "lstm": gz.LSTM, "gru": gz.GRU}[problem.kind]
    module = _loaded(kind, problem, suffix="_l0")
    x, readout = gz.tensor(problem.x), gz.tensor(problem.readout)

    def forward() -> tuple[Any, Any]:
        output, _ = module(x)
        return (output * readout).sum(), output

    return _module_case(module, forward)


def layer(problem: Layer) -> Case:
    """A module of the zoo, or a function of the gz namespace."""
    inputs = {name: gz.tensor(value, requires_grad=True) for name, value in problem.inputs.items()}
    x = next(iter(inputs.values()))
    module = _made(problem)
    if problem.parameters:
        module.load_state_dict(module.state_dict() | problem.parameters)
    leaves = inputs | (dict(module.named_parameters()) if problem.parameters else {})

    def forward() -> tuple[Any, Any]:
        output = module(*inputs.values()) if problem.kind == "attention" else module(x)
        return output, output

    def backward(output: gz.Tensor) -> None:
        if problem.forward_only:
            return
        for leaf in leaves.values():
            leaf.grad = None
        output.backward(problem.readout)

    return Case(forward, backward, lambda: {} if problem.forward_only else _gradients(leaves), _array)


def _made(problem: Layer) -> Any:
    kind, options = problem.kind, problem.options
    if kind.startswith("conv"):
        out, into = problem.parameters["weight"].shape[:2]
        convolution = {"conv1d": gz.Conv1d, "conv2d": gz.Conv2d, "conv3d": gz.Conv3d}[kind]
        kernel = problem.parameters["weight"].shape[2:]
        if problem.winograd:
            options = options | {"winograd": True}
        return convolution(into * options["groups"], out, kernel, **options)
    width = next(iter(problem.inputs.values())).shape
    return {
        "maxpool2d": lambda: gz.MaxPool2d(2), "avgpool2d": lambda: gz.AvgPool2d(2),
        "batchnorm2d": lambda: gz.BatchNorm2d(width[1]), "layernorm": lambda: gz.LayerNorm(width[-1]),
        "softmax": lambda: gz.Softmax(-1), "attention": gz.ScaledDotProductAttention, "relu": gz.ReLU,
        "tanh": gz.Tanh, "gelu": gz.GELU,
    }[kind]()  # fmt: skip


def convnet(problem: ConvNet) -> Case:
    width, wide = problem.parameters["0.weight"].shape[0], problem.parameters["7.weight"].shape[0]
    model = gz.Sequential(
        gz.Conv2d(3, width, 3, padding=1, bias=False), gz.BatchNorm2d(width), gz.ReLU(),
        gz.Conv2d(width, width, 3, padding=1, bias=False), gz.BatchNorm2d(width), gz.ReLU(),
        gz.Conv2d(width, width, 3, padding=1, groups=width), gz.Conv2d(width, wide, 1), gz.MaxPool2d(2),
        gz.Flatten(), gz.Linear(problem.parameters["10.weight"].shape[1], 10),
    )  # fmt: skip
    model.load_state_dict(model.state_dict() | problem.parameters)
    optimiser = gz.optim.SGD(model.parameters(), lr=problem.learning_rate)
    x, target, cross_entropy = gz.tensor(problem.x), gz.tensor(problem.target), gz.CrossEntropyLoss()

    def forward() -> tuple[Any, Any]:
        scores = model(x)
        return cross_entropy(scores, target), scores

    return _training_case(model, optimiser, forward)


def studies(problem: Recurrent, what: str) -> dict[str, Callable[[], object]]:
    """A study of gz.bptt, and a backward pass through the same graph."""
    module = _loaded(gz.LSTMCell, problem, suffix="")
    run = gz.bptt.unroll(module, problem.x, dtype=None)
    loss = (gz.stack(run.h) * gz.tensor(problem.readout)).sum()

    def backward() -> None:
        module.zero_grad()
        loss.backward(retain_graph=True)

    study = {
        "bptt-weight-contributions": lambda: gz.bptt.weight_contributions(run, loss),
        "bptt-state-gradients": lambda: gz.bptt.state_gradients(run, loss),
    }[what]
    return {"study": study, "backward": backward}


def truncated(problem: Recurrent, steps: int) -> None:
    """Truncated backpropagation over a stream of the problem's first step, repeated."""
    module = _loaded(gz.LSTMCell, problem, suffix="")
    optimiser = gz.optim.SGD(module.parameters(), lr=0.01)
    x, y = (repeat(array[0], steps) for array in (problem.x, problem.readout))
    for _ in gz.bptt.tbptt(module, x, y, k1=10, k2=50):
        optimiser.step()


def _loaded(kind: Callable[..., gz.Module], problem: Recurrent, suffix: str) -> gz.Module:
    options = {"reset_after": problem.reset_after} if problem.kind == "gru" else {}
    options |= {"recompute": True} if problem.recompute else {}
    module = kind(problem.x.shape[2], problem.readout.shape[2], **options)
    module.load_state_dict({name + suffix: value for name, value in problem.parameters.items()})
    return module


def _training_case(model: gz.Module, optimiser: gz.optim.Optimizer, forward: Callable[[], tuple[Any, Any]]) -> Case:
    def backward(loss: gz.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return Case(forward, backward, lambda: _gradients(dict(model.named_parameters())), _array)


def _module_case(module: gz.Module, forward: Callable[[], tuple[Any, Any]]) -> Case:
    def backward(loss: gz.Tensor) -> None:
        module.zero_grad()
        loss.backward()

    def gradients() -> dict[str, np.ndarray]:
        return _gradients({name.removesuffix("_l0"): p for name, p in module.named_parameters()})

    return Case(forward, backward, gradients, _array)


def _gradients(leaves: dict[str, gz.Tensor]) -> dict[str, np.ndarray]:
    return {f"grad {name}": leaf.grad.copy() for name, leaf in leaves.items()}


def _array(tensor: gz.Tensor) -> np.ndarray:
    return tensor.data.copy()


BUILDERS = {
    "chain": chain,
    "classifier": classifier,
    "cell": cell,
    "sequence": sequence,
    "layer": layer,
    "convnet": convnet,
}
