"""Makes the pictures and the page of README.md and docs/graph.md: `python docs/make_pictures.py`, with Graphviz."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import graphzoo as gz

FOLDER = Path(__file__).parent / "pictures"

GALLERY = """\
Pictures of four networks, made by `docs/make_pictures.py`: how they are made, and how to read them, is told in [Seeing
the graph](graph.md). Their colours follow your light or dark screen; those of Graphviz do not."""


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


class Bottleneck(gz.Module):
    """A block of a ResNet: 1×1, 3×3, 1×1, and a way around them."""

    def __init__(self, channels: int, inner: int, out: int) -> None:
        self.way = gz.Sequential(
            gz.Conv2d(channels, inner, 1, bias=False, rng=0), gz.BatchNorm2d(inner), gz.ReLU(),
            gz.Conv2d(inner, inner, 3, padding=1, bias=False, rng=1), gz.BatchNorm2d(inner), gz.ReLU(),
            gz.Conv2d(inner, out, 1, bias=False, rng=2), gz.BatchNorm2d(out),
        )  # fmt: skip
        self.around = gz.Conv2d(channels, out, 1, bias=False, rng=3) if channels != out else None

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        return gz.relu(self.way(x) + (x if self.around is None else self.around(x)))


class ResNet(gz.Module):
    def __init__(self) -> None:
        self.stem = gz.Conv2d(1, 16, 3, padding=1, rng=0)
        self.blocks = gz.Sequential(Bottleneck(16, 8, 32), Bottleneck(32, 8, 32))
        self.head = gz.Linear(32, 10, rng=1)

    def forward(self, images: np.ndarray) -> gz.Tensor:
        return self.head(self.blocks(self.stem(gz.tensor(images, name="images"))).mean(axis=(2, 3)))


class EncoderLayer(gz.Module):
    """A layer of a transformer: attention, and a network for each position."""

    def __init__(self, features: int) -> None:
        self.attention = gz.MultiheadAttention(features, 4, batch_first=True, rng=0)
        self.network = gz.Sequential(
            gz.Linear(features, 2 * features, rng=1), gz.GELU(), gz.Linear(2 * features, features, rng=2)
        )
        self.before, self.between = gz.LayerNorm(features), gz.LayerNorm(features)

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        x = x + self.attention(self.before(x), need_weights=False)[0]
        return x + self.network(self.between(x))


def truncated(steps: int, every: int) -> gz.Tensor:
    """A recurrent network whose state is detached after every few steps."""
    cell, h, loss = gz.RNNCell(4, 8, rng=0), None, 0
    rng = np.random.default_rng(0)
    for t in range(steps):
        with gz.time_step(t):
            h = cell(gz.tensor(rng.normal(size=(2, 4)).astype(np.float32), name="x"), h)
            loss = (h**2).sum() + loss
            if (t + 1) % every == 0:
                h = h.detach()
    return loss


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

    model = NextCharacter()
    long = gz.graph(model(normal(50, 32, 8), rng.integers(0, 10, (50, 32))))
    yield "rolled", long.fold(time=True)
    short = gz.graph(model(normal(2, 32, 8), rng.integers(0, 10, (2, 32))), gradients=True)
    yield "expanded", replace(short.expand("LSTMCell"), gradients=None)
    yield "backward", replace(short.backward_view(), gradients=None)
    yield "cut", gz.graph(truncated(6, 3))


def gallery() -> Iterator[tuple[str, str, str]]:
    """Name, caption and SVG of each picture of docs/gallery.md."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    model = NextCharacter()
    layers = gz.GRU(8, 16, num_layers=2, bidirectional=True, rng=0)
    for steps, fold in ((8, None), (50, 11), (200, 11)):
        folded = "" if fold is None else f", folded into {fold} columns"
        text = gz.graph(model(normal(steps, 4, 8), rng.integers(0, 10, (steps, 4))), gradients=True)
        yield f"lstm-{steps}", f"LSTM with a readout and a loss, {steps} time steps{folded}", text.to_svg(fold=fold)
        fading = text.to_svg(fold=fold, colour="gradient")
        yield f"lstm-{steps}-gradients", f"The same, {steps} steps, by gradient norms", fading
        both = gz.graph(layers(normal(steps, 4, 8))[0].sum())
        yield f"gru-{steps}", f"GRU, two layers, both directions, {steps} time steps{folded}", both.to_svg(fold=fold)
    yield "lstm-rolled", "LSTM over 200 steps, rolled up", text.to_svg("rolled")
    yield "gru-rolled", "GRU, two layers, both directions, rolled up", both.to_svg("rolled")

    net = ResNet()
    images = gz.graph(gz.CrossEntropyLoss()(net(normal(4, 1, 8, 8)), gz.tensor(rng.integers(0, 10, 4), name="classes")))
    yield "resnet", "ResNet of two bottleneck blocks", images.to_svg("columns")
    yield "resnet-graphviz", "The same, laid out by Graphviz", images.to_svg("graph")
    yield "resnet-closed", "The same with its blocks closed, `fold(depth=2)`", images.fold(2).to_svg("columns")
    layer = EncoderLayer(32)
    rows = gz.graph(layer(gz.tensor(normal(4, 8, 32), name="rows", requires_grad=True)).sum(), gradients=True)
    yield "transformer", "A layer of a transformer", rows.to_svg("columns")
    yield "transformer-gradients", "The same by gradient norms", rows.to_svg("columns", colour="gradient")
    yield "transformer-graphviz", "The same, laid out by Graphviz", rows.to_svg("graph")
    inside = rows.expand("ScaledDotProductAttention")
    yield "transformer-expanded", "The same with its attention expanded", inside.to_svg("columns")
    wide = gz.tensor(normal(4, 8, 48), name="rows", requires_grad=True)
    wider = gz.graph(EncoderLayer(48)(wide).sum(), gradients=True)
    yield "transformer-diff", "The same beside a wider one, by the ratio of gradient norms", rows.diff(wider).to_svg()


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
    shown = ["# Gallery", "", GALLERY, ""]
    for name, caption, svg in gallery():
        (FOLDER / f"gallery-{name}.svg").write_text(svg, encoding="utf-8")
        shown += [f"## {caption.replace('`', '')}", "", f"![{caption}](pictures/gallery-{name}.svg)", ""]
    (FOLDER.parent / "gallery.md").write_text("\n".join(shown), encoding="utf-8")
    for name, graph in pages():
        print(graph.save(FOLDER / f"{name}.html"), graph)


if __name__ == "__main__":
    main()
