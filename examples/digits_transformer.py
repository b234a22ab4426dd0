"""A transformer that reads handwritten digits as sequences of eight rows.

A. Vaswani et al., "Attention is all you need" (2017): encoder layers of attention and a network for each position, with
sinusoids that tell the positions apart. The layers are composed here of the zoo's modules; layer normalisation comes
before each part.
"""

import numpy as np
from shared.digits import load, options, train

import graphzoo as gz


def sinusoids(length: int, features: int) -> np.ndarray:
    """Positions as sines and cosines of wavelengths from 2π to 10,000 · 2π: (length, features). Section 3.5."""
    rates = 10_000.0 ** (-np.arange(0, features, 2) / features)
    angles = np.arange(length)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, features).astype(np.float32)


class EncoderLayer(gz.Module):
    """Self-attention and a network for each position, both added to what they read."""

    def __init__(self, features: int, heads: int, rng: np.random.Generator) -> None:
        self.attention = gz.MultiheadAttention(features, heads, dropout=0.1, batch_first=True, rng=rng)
        self.network = gz.Sequential(
            gz.Linear(features, 2 * features, rng=rng), gz.GELU(), gz.Linear(2 * features, features, rng=rng)
        )
        self.norms = [gz.LayerNorm(features), gz.LayerNorm(features)]
        self.drop = gz.Dropout(0.1, rng)

    def forward(self, x: gz.Tensor) -> gz.Tensor:
        attended, _ = self.attention(self.norms[0](x), need_weights=False)
        x = x + self.drop(attended)
        return x + self.drop(self.network(self.norms[1](x)))


class Transformer(gz.Module):
    def __init__(self, rng: np.random.Generator, features: int = 64) -> None:
        self.embedding = gz.Linear(8, features, rng=rng)
        self.positions = sinusoids(8, features)
        self.layers = gz.Sequential(EncoderLayer(features, 4, rng), EncoderLayer(features, 4, rng))
        self.norm = gz.LayerNorm(features)
        self.head = gz.Linear(features, 10, rng=rng)

    def forward(self, images: np.ndarray) -> gz.Tensor:
        rows = gz.tensor(images[:, 0])  # (N, 8 rows, 8 pixels)
        x = self.layers(self.embedding(rows) + self.positions)
        return self.head(self.norm(x).mean(axis=1))


chosen = options(__doc__.splitlines()[0])
train(Transformer(np.random.default_rng(chosen.seed)), load(chosen.seed), chosen, epochs=30, rate=2e-3, least=0.96)
