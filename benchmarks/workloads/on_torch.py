"""The workloads in torch: its modules, its optimiser, its defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.problems import Chain, Classifier, ConvNet, Layer, Recurrent
from benchmarks.workloads import Case


def chain(problem: Chain) -> Case:
    start, addend, factor = (
        torch.tensor(a, requires_grad=True) for a in (problem.start, problem.addend, problem.factor)
    )
    leaves = {"start": start, "addend": addend, "factor": factor}

    def forward() -> tuple[Any, Any]:
        x = start
        for i in range(problem.operations):
            if i % 3 == 0:
                x = x + addend
            elif i % 3 == 1:
                x = x * factor
            else:
                x = torch.tanh(x)
        return x.sum(), x

    def backward(loss: torch.Tensor) -> None:
        for leaf in leaves.values():
            leaf.grad = None
        loss.backward()

    return Case(forward, backward, lambda: _gradients(leaves), _array)


def classifier(problem: Classifier) -> Case:
    layers: list[nn.Module] = []
    for weight in problem.weights:
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for layer, weight, bias in zip(model[::2], problem.weights, problem.biases, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    optimiser = torch.optim.SGD(model.parameters(), lr=problem.learning_rate, weight_decay=problem.weight_decay)
    x, target = torch.tensor(problem.x), torch.tensor(problem.target)
    cross_entropy = nn.CrossEntropyLoss()

    def forward() -> tuple[Any, Any]:
        scores = model(x)
        if problem.loss == "hinge":
            return torch.relu(1 - target * scores).mean(), scores
        return cross_entropy(scores, target), scores

    return _training_case(model, optimiser, forward)


def cell(problem: Recurrent) -> Case:
    """The unrolled loop over nn.LSTMCell, nn.GRUCell or nn.RNNCell."""
    kind = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[problem.kind]
    module = _loaded(kind(problem.x.shape[2], problem.readout.shape[2]), problem.parameters, suffix="")
    steps, readout = torch.tensor(problem.x).unbind(), torch.tensor(problem.readout)

    def forward() -> tuple[Any, Any]:
        state, outputs = None, []
        for x in steps:
            state = module(x, state)
            outputs.append(state[0] if problem.kind == "lstm" else state)
        output = torch.stack(outputs)
        return (output * readout).sum(), output

    return _module_case(module, forward, comparable=problem.reset_after)


def sequence(problem: Recurrent) -> Case:
    """The whole sequence through nn.LSTM, nn.GRU or nn.RNN."""
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[problem.kind]
    module = _loaded(kind(problem.x.shape[2], problem.readout.shape[2]), problem.parameters, suffix="_l0")
    x, readout = torch.tensor(problem.x), torch.tensor(problem.readout)

    def forward() -> tuple[Any, Any]:
        output, _ = module(x)
        return (output * readout).sum(), output

    return _module_case(module, forward)


def layer(problem: Layer) -> Case:
    """A function of torch.nn.functional."""
    inputs = {name: torch.tensor(value, requires_grad=True) for name, value in problem.inputs.items()}
    parameters = {name: torch.tensor(value, requires_grad=True) for name, value in problem.parameters.items()}
    leaves, readout, kind = inputs | parameters, torch.tensor(problem.readout), problem.kind
    x = next(iter(inputs.values()))
    run: Any = {
        "conv1d": functional.conv1d, "conv2d": functional.conv2d, "conv3d": functional.conv3d,
        "maxpool2d": lambda x: functional.max_pool2d(x, 2), "avgpool2d": lambda x: functional.avg_pool2d(x, 2),
        "batchnorm2d": lambda x, **p: functional.batch_norm(x, None, None, training=True, **p),
        "layernorm": lambda x, **p: functional.layer_norm(x, x.shape[-1:], **p),
        "softmax": lambda x: functional.softmax(x, -1), "attention": functional.scaled_dot_product_attention,
        "relu": functional.relu, "tanh": torch.tanh, "gelu": functional.gelu,
    }[kind]  # fmt: skip

    def forward() -> tuple[Any, Any]:
        output = run(*inputs.values()) if kind == "attention" else run(x, **parameters, **problem.options)
        return output, output

    def backward(output: torch.Tensor) -> None:
        if problem.forward_only:
            return
        for leaf in leaves.values():
            leaf.grad = None
        output.backward(readout)

    return Case(forward, backward, lambda: {} if problem.forward_only else _gradients(leaves), _array)


def convnet(problem: ConvNet) -> Case:
    width, wide = problem.parameters["0.weight"].shape[0], problem.parameters["7.weight"].shape[0]
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, wide, 1), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(problem.parameters["10.weight"].shape[1], 10),
    )  # fmt: skip
    model.load_state_dict({name: torch.tensor(value) for name, value in problem.parameters.items()}, strict=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    x, target, cross_entropy = torch.tensor(problem.x), torch.tensor(problem.target), nn.CrossEntropyLoss()

    def forward() -> tuple[Any, Any]:
        scores = model(x)
        return cross_entropy(scores, target), scores

    return _training_case(model, optimiser, forward)


def _loaded(module: nn.Module, parameters: dict[str, np.ndarray], suffix: str) -> nn.Module:
    module.load_state_dict({name + suffix: torch.tensor(value) for name, value in parameters.items()})
    return module


def _training_case(model: nn.Module, optimiser: torch.optim.Optimizer, forward: Callable[[], tuple[Any, Any]]) -> Case:
    def backward(loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return Case(forward, backward, lambda: _gradients(dict(model.named_parameters())), _array)


def _module_case(module: nn.Module, forward: Callable[[], tuple[Any, Any]], comparable: bool = True) -> Case:
    def backward(loss: torch.Tensor) -> None:
        module.zero_grad()
        loss.backward()

    def gradients() -> dict[str, np.ndarray]:
        return _gradients({name.removesuffix("_l0"): p for name, p in module.named_parameters()})

    return Case(forward, backward, gradients, _array, comparable)


def _gradients(leaves: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {f"grad {name}": _array(leaf.grad) for name, leaf in leaves.items()}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


BUILDERS = {
    "chain": chain,
    "classifier": classifier,
    "cell": cell,
    "sequence": sequence,
    "layer": layer,
    "convnet": convnet,
}
