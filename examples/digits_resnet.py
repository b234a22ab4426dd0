"""A small residual network with bottleneck blocks, on handwritten digits.

K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition" (2016), figure 5: a block narrows its
channels by a 1 × 1 convolution, works on them by a 3 × 3 one, widens them again, and adds its input.
"""

import numpy as np
from shared.digits import load, options, train

import graphzoo as gz


class Bottleneck(gz.Module):
    """1 × 1, 3 × 3, 1 × 1, and a way past them, by a 1 × 1 convolution where the shape changes."""

    def __init__(self, channels: int, narrow: int, out: int, stride: int, rng: np.random.Generator) -> None:
        def conv(a: int, b: int, size: int, stride: int = 1) -> gz.Conv2d:
            return gz.Conv2d(a, b, size, stride, size // 2, bias=False, rng=rng)

        self.reduce = gz.Sequential(conv(channels, narrow, 1), gz.BatchNorm2d(narrow), gz.ReLU())
        self.spread = gz.Sequential(conv(narrow, narrow, 3, stride), gz.BatchNorm2d(narrow), gz.ReLU())
        self.widen = gz.Sequential(conv(narrow, out, 1), gz.BatchNorm2d(out))
        same = stride == 1 and channels == out
        self.past = gz.Identity() if same else gz.Sequential(conv(channels, out, 1, stride), gz.BatchNorm2d(out))

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        return gz.relu(self.widen(self.spread(self.reduce(x))) + self.past(x))


class ResNet(gz.Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.stem = gz.Sequential(gz.Conv2d(1, 32, 3, padding=1, bias=False, rng=rng), gz.BatchNorm2d(32), gz.ReLU())
        self.blocks = gz.Sequential(
            Bottleneck(32, 16, 64, 1, rng),
            Bottleneck(64, 16, 64, 1, rng),
            Bottleneck(64, 32, 128, 2, rng),
            Bottleneck(128, 32, 128, 1, rng),
        )
        self.head = gz.Linear(128, 10, rng=rng)

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        return self.head(self.blocks(self.stem(x)).mean(axis=(2, 3)))


chosen = options(__doc__.splitlines()[0])
train(ResNet(np.random.default_rng(chosen.seed)), load(chosen.seed), chosen, epochs=12, rate=3e-3, least=0.97)
