"""Your own module: its three passes, its definition, the check of one against the other, and a picture.

The module is Swish with a slope that is learnt for each feature, y = x σ(βx).

    python examples/own_module.py [--draw FILE.svg]
"""

import argparse

import numpy as np

import graphzoo as gz


class Swish(gz.Module):
    """y = x σ(βx), x (batch, features), with the parameter β (features,)."""

    parameter_names = ("beta",)

    def __init__(self, features):
        self.beta = gz.Parameter(np.ones(features))

    def forward(self, node, x, beta):
        sigma = (1 + np.tanh(beta * x / 2)) / 2  # σ, written so that nothing overflows
        node.saved = (x, beta, sigma)
        return x * sigma

    def backward(self, node, dy):
        x, beta, sigma = node.saved
        return dy * (sigma + beta * x * sigma * (1 - sigma))

    def parameter_gradients(self, node, dy):
        x, _, sigma = node.saved
        return {"beta": (dy * x**2 * sigma * (1 - sigma)).sum(axis=0)}

    def expand(self, node, x, beta):
        return x * gz.sigmoid(beta * x)


class Net(gz.Module):
    """A model: it only says what is computed, so it is a box around its nodes and no node itself."""

    def __init__(self, rng):
        self.inner = gz.Linear(1, 12, rng=rng)
        self.swish = Swish(12)
        self.outer = gz.Linear(12, 1, rng=rng)

    def forward(self, x):
        return self.outer(self.swish(self.inner(x)))


options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--draw", metavar="FILE", help="write the graph of a training step: .dot, .svg, .png, .pdf")
options.add_argument("--fast", action="store_true", help="train for a moment only")
chosen = options.parse_args()

rng = np.random.default_rng(0)
print(gz.check(Swish(3), rng.normal(size=(4, 3))))

model = Net(rng)
x = np.linspace(-2, 2, 64, dtype=np.float32)[:, None]
y = np.sin(2 * x)
criterion = gz.MSELoss()
optimizer = gz.optim.Adam(model.parameters(), lr=0.02)
for step in range(200 if chosen.fast else 1000):
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 0:
        first = loss.item()
print(f"\nlearning sin(2x): loss {first:.4f} → {loss.item():.4f}")
print(f"slopes learnt: {model.swish.beta.numpy().round(1)}\n")
assert loss.item() < first / 10

print(gz.graph(loss).summary())
if chosen.draw:
    print(f"\nthe graph is in {gz.graph(loss).save(chosen.draw)}")
