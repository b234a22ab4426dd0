"""A densely connected network, on handwritten digits.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely connected convolutional networks" (2017): within a block,
every layer reads the outputs of all layers before it.
"""

import numpy as np
from shared.digits import load, options, train

import graphzoo as gz


class DenseBlock(gz.Module):
    """Layers of `growth` channels each, which are added to the channels that they read."""

    def __init__(self, channels: int, growth: int, layers: int, rng: np.random.Generator) -> None:
        self.layers = [
            gz.Sequential(
                gz.BatchNorm2d(channels + growth * n),
                gz.ReLU(),
                gz.Conv2d(channels + growth * n, growth, 3, padding=1, bias=False, rng=rng),
            )
            for n in range(layers)
        ]

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        for layer in self.layers:
            x = gz.concatenate([x, layer(x)], axis=1)
        return x


class DenseNet(gz.Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.stem = gz.Conv2d(1, 16, 3, padding=1, bias=False, rng=rng)
        self.first = DenseBlock(16, 12, 4, rng)
        self.between = gz.Sequential(
            gz.BatchNorm2d(64), gz.ReLU(), gz.Conv2d(64, 32, 1, bias=False, rng=rng), gz.AvgPool2d(2)
        )
        self.second = DenseBlock(32, 12, 4, rng)
        self.last = gz.Sequential(gz.BatchNorm2d(80), gz.ReLU())
        self.head = gz.Linear(80, 10, rng=rng)

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        x = self.between(self.first(self.stem(x)))
        return self.head(self.last(self.second(x)).mean(axis=(2, 3)))


chosen = options(__doc__.splitlines()[0])
train(DenseNet(np.random.default_rng(chosen.seed)), load(chosen.seed), chosen, epochs=10, rate=4e-3, least=0.97)
