"""What the tests draw: rules and models of their own, so that a change in the zoo changes no picture here."""

from collections.abc import Iterator

import numpy as np

import graphzoo as gz


class Affine(gz.Module):
    """y = x Wᵀ + b."""

    parameter_names = ("weight", "bias")

    def __init__(self, inputs: int, outputs: int, weight: gz.Parameter | None = None) -> None:
        rng = np.random.default_rng(0)
        self.weight = gz.Parameter(rng.normal(size=(outputs, inputs))) if weight is None else weight
        self.bias = gz.Parameter(rng.normal(size=outputs))

    def forward(self, node, x, weight, bias):
        node.saved = (x, weight)
        return x @ weight.T + bias

    def backward(self, node, dy):
        return dy @ node.saved[1]

    def parameter_gradients(self, node, dy):
        return {"weight": dy.T @ node.saved[0], "bias": dy.sum(axis=0)}


class Cell(gz.Module):
    """A recurrent cell with two states and so two outputs."""

    parameter_names = ("weight",)

    def __init__(self, size: int) -> None:
        self.weight = gz.Parameter(np.full((size, size), 0.5))

    def forward(self, node, x, h, c, weight):
        node.saved = (weight,)
        return (x + h) @ weight.T, c + h

    def backward(self, node, dy):
        dh, dc = (np.zeros((2, 3), np.float32) if part is None else part for part in dy)
        dx = dh @ node.saved[0]
        return dx, dx + dc, dc

    def parameter_gradients(self, node, dy):
        return {"weight": np.zeros((3, 3), np.float32)}


class SquaredDistance(gz.Module):
    """A loss: L = Σ (x - y)²."""

    def forward(self, node, x, y):
        node.saved = (x - y,)
        return np.asarray(((x - y) ** 2).sum())

    def backward(self, node, dy):
        return 2 * dy * node.saved[0], None


class Perceptron(gz.Module):
    def __init__(self) -> None:
        self.layers = gz.Sequential(Affine(3, 5), Affine(5, 2))

    def forward(self, x):
        return self.layers(x) * 2 + 0.5


class Recurrent(gz.Module):
    """A cell over time and a readout at each step."""

    def __init__(self) -> None:
        self.cell = Cell(3)
        self.readout = Affine(3, 2)

    def forward(self, steps: int) -> gz.Tensor:
        h, c = zeros("h0"), zeros("c0")
        total = None
        for t in range(steps):
            with gz.time_step(t):
                h, c = self.cell(zeros("x"), h, c)
                y = self.readout(h)
                total = y if total is None else total + y
        return total


def zeros(name: str | None = None, requires_grad: bool = False) -> gz.Tensor:
    return gz.tensor(np.zeros((2, 3), np.float32), name=name, requires_grad=requires_grad)


def perceptron() -> gz.Tensor:
    x = gz.tensor(np.ones((4, 3), np.float32), name="x")
    return SquaredDistance()(Perceptron()(x), gz.tensor(np.ones((4, 2), np.float32), name="target"))


def recurrent(steps: int) -> gz.Tensor:
    return SquaredDistance()(Recurrent()(steps), np.zeros((2, 2), np.float32))


def encoder_decoder() -> gz.Tensor:
    """Two stretches of time, one after the other, each in a box of its own."""
    cells = Cell(3), Cell(3)
    h, c = zeros("h0", requires_grad=True), zeros("c0")
    with gz.scope("translator"):
        for name, cell in zip(("encoder", "decoder"), cells, strict=True):
            with gz.scope(name, "LSTM"):
                for t in range(3):
                    with gz.time_step(t):
                        h, c = cell(zeros("x"), h, c)
    return h


def stacked() -> gz.Tensor:
    """Two layers, each in a box of its own and each over all time steps before the next."""
    steps = [zeros(f"x{t}", requires_grad=True) for t in range(4)]
    for name in ("lower", "upper"):
        with gz.scope(name, "LSTM"):
            cell, h, c = Cell(3), zeros("h0"), zeros("c0")
            for t, x in enumerate(steps):
                with gz.time_step(t):
                    h, c = cell(x, h, c)
                steps[t] = h
    return steps[-1]


def nasty_names() -> gz.Tensor:
    x = gz.tensor([1.0], requires_grad=True, name='a "quoted" \\ name')
    with gz.scope("<b>&amp; \\N\nsecond line"), gz.scope("größe → ∂", "Größe"):
        return x * gz.Parameter([2.0], name="\\")


def graphs() -> Iterator[tuple[str, gz.Tensor]]:
    """The pictures under test by name."""
    x = gz.tensor(np.ones((2, 3)), requires_grad=True, name="x")
    yield "square", x * x
    yield "perceptron", perceptron()
    released = perceptron()
    released.backward()
    yield "perceptron_released", released
    yield "recurrent", recurrent(3)
    yield "encoder_decoder", encoder_decoder()
    yield "stacked", stacked()
    yield "nasty_names", nasty_names()
