"""Makes the pictures and the page of README.md and docs/graph.md: `python docs/make_pictures.py`, with Graphviz."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import graphzoo as gz

FOLDER = Path(__file__).parent / "pictures"


class Classifier(gz.Module):
    """Two layers and an activation between them."""

    def __init__(self) -> None:
        self.layers = gz.Sequential(gz.Linear(4, 16, rng=0), gz.Tanh(), gz.Linear(16, 3, rng=1))

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        return self.layers(x)


class NextCharacter(gz.Module):
    """A recurrent cell with a readout at each time step."""

    def __init__(self) -> None:
        self.cell = gz.LSTMCell(8, 16, rng=0)
        self.readout = gz.Linear(16, 10, rng=1)
        self.loss = gz.CrossEntropyLoss()

    def forward(self, text: np.ndarray, targets: np.ndarray) -> gz.Tensor:
        state, total = None, 0
        for t, (x, target) in enumerate(zip(text, targets, strict=True)):
            with gz.time_step(t):
                state = self.cell(gz.tensor(x, name="x"), state)
                total = self.loss(self.readout(state[0]), target) + total
        return total


class Translator(gz.Module):
    """An encoder whose last state a decoder starts from."""

    def __init__(self) -> None:
        self.encoder = gz.GRU(8, 16, rng=0)
        self.decoder = gz.GRU(8, 16, rng=1)

    def forward(self, source: np.ndarray, target: np.ndarray) -> gz.Tensor:
        _, state = self.encoder(source)
        out, _ = self.decoder(target, state)
        return out


def pictures() -> Iterator[tuple[str, gz.Graph]]:
    """Name and graph of each picture."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    x = gz.tensor(normal(3), requires_grad=True, name="x")
    yield "square", gz.graph((x * x).sum())

    inputs = gz.tensor(normal(32, 4), name="x")
    loss = gz.CrossEntropyLoss()(Classifier()(inputs), gz.tensor(rng.integers(0, 3, 32), name="classes"))
    yield "classifier", gz.graph(loss)

    yield "lstm", gz.graph(NextCharacter()(normal(5, 32, 8), rng.integers(0, 10, (5, 32))))
    yield "readme", gz.graph(NextCharacter()(normal(3, 32, 8), rng.integers(0, 10, (3, 32))))
    yield "folded", gz.graph(NextCharacter()(normal(50, 32, 8), rng.integers(0, 10, (50, 32))))
    yield "translator", gz.graph(Translator()(normal(3, 32, 8), normal(3, 32, 8)))
    cell, h = gz.RNNCell(4, 8, rng=0), None
    with gz.scope("network"):
        for t in range(8):
            with gz.time_step(t):
                h = cell(gz.tensor(normal(4, 4), name="x"), h)
    yield "gradients", gz.graph((h**2).sum(), gradients=True)
    two_layers = gz.GRU(8, 16, num_layers=2, bidirectional=True, rng=0)
    yield "bidirectional", gz.graph(two_layers(normal(3, 32, 8))[0])


def pages() -> Iterator[tuple[str, gz.Graph]]:
    """Name and graph of each page."""
    rng = np.random.default_rng(0)
    loss = NextCharacter()(rng.normal(size=(12, 4, 8)).astype(np.float32), rng.integers(0, 10, (12, 4)))
    yield "lstm", gz.graph(loss, gradients=True)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, graph in pictures():
        colour = "family" if graph.gradients is None else "gradient"
        print(graph.save(FOLDER / f"{name}.svg", fold=7 if name == "folded" else None, colour=colour), graph)
    for name, graph in pages():
        print(graph.save(FOLDER / f"{name}.html"), graph)


if __name__ == "__main__":
    main()
