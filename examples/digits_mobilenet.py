"""A network of depthwise separable convolutions, on handwritten digits.

A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications" (2017): each
convolution is one for each channel by itself, and a 1 × 1 convolution that mixes the channels.
"""

import numpy as np
from shared.digits import load, options, train

import graphzoo as gz


def separable(channels: int, out: int, stride: int, rng: np.random.Generator) -> gz.Sequential:
    """Depthwise 3 × 3 and pointwise 1 × 1, each followed by a normalisation and an activation."""
    return gz.Sequential(
        gz.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False, rng=rng),
        gz.BatchNorm2d(channels),
        gz.ReLU(),
        gz.Conv2d(channels, out, 1, bias=False, rng=rng),
        gz.BatchNorm2d(out),
        gz.ReLU(),
    )


class MobileNet(gz.Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.stem = gz.Sequential(gz.Conv2d(1, 32, 3, padding=1, bias=False, rng=rng), gz.BatchNorm2d(32), gz.ReLU())
        self.blocks = gz.Sequential(
            separable(32, 64, 1, rng),
            separable(64, 64, 1, rng),
            separable(64, 128, 2, rng),
            separable(128, 128, 1, rng),
        )
        self.drop = gz.Dropout(0.1, rng)
        self.head = gz.Linear(128, 10, rng=rng)

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        return self.head(self.drop(self.blocks(self.stem(x)).mean(axis=(2, 3))))


chosen = options(__doc__.splitlines()[0])
train(MobileNet(np.random.default_rng(chosen.seed)), load(chosen.seed), chosen, epochs=12, rate=4e-3, least=0.97)
