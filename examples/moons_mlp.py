"""Tell two interleaved half-moons apart with a small multi-layer perceptron (2-16-16-1).

python examples/moons_mlp.py
"""

import numpy as np

import graphzoo as gz

STEPS = 200
POINTS = 200


def two_moons(points: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points on two half circles that reach into each other, (points, 2), and which one each is on, (points, 1)."""
    angle = rng.uniform(0, np.pi, points)
    moon = np.arange(points) % 2
    x = np.where(moon == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(moon == 0, np.sin(angle), 0.5 - np.sin(angle))
    where = np.stack([x, y], axis=1) + rng.normal(scale=noise, size=(points, 2))
    return where.astype(np.float32), moon[:, None].astype(np.float32)


def accuracy(model: gz.Module, points: np.ndarray, moons: np.ndarray) -> float:
    with gz.no_grad():
        return float(((model(points).numpy() > 0) == moons).mean())


rng = np.random.default_rng(0)
points, moons = two_moons(POINTS, 0.1, rng)
model = gz.Sequential(
    gz.Linear(2, 16, rng=rng), gz.ReLU(), gz.Linear(16, 16, rng=rng), gz.ReLU(), gz.Linear(16, 1, rng=rng)
)
criterion = gz.BCEWithLogitsLoss()
optimizer = gz.optim.Adam(model.parameters(), lr=0.02)

for step in range(STEPS):
    loss = criterion(model(points), moons)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0 or step == STEPS - 1:
        print(f"step {step:3d}  loss {loss.item():.4f}  accuracy {accuracy(model, points, moons):.1%}")

unseen = accuracy(model, *two_moons(1000, 0.1, rng))
print(f"accuracy on 1,000 points it has not seen: {unseen:.1%}")
assert unseen > 0.97, "it should have learnt better than that"
