"""XOR with tensors and parameters alone: no modules, no optimiser, every step in sight.

python examples/xor_by_hand.py
"""

import numpy as np

import graphzoo as gz

STEPS = 1000
LEARNING_RATE = 1.0

inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
targets = np.array([[0], [1], [1], [0]], np.float32)

rng = np.random.default_rng(0)
w1 = gz.Parameter(rng.normal(size=(2, 8)))
b1 = gz.Parameter(np.zeros(8))
w2 = gz.Parameter(rng.normal(size=(8, 1)))
b2 = gz.Parameter(np.zeros(1))
parameters = [w1, b1, w2, b2]


def network(x):
    hidden = np.tanh(x @ w1 + b1)  # NumPy's functions record like graphzoo's own
    return gz.sigmoid(hidden @ w2 + b2)


for step in range(STEPS):
    loss = ((network(inputs) - targets) ** 2).mean()
    loss.backward()
    for parameter in parameters:
        parameter.data -= LEARNING_RATE * parameter.grad
        parameter.grad = None
    if step % 200 == 0 or step == STEPS - 1:
        print(f"step {step:4d}  loss {loss.item():.4f}")

with gz.no_grad():
    answers = network(inputs).numpy()
for (a, b), answer in zip(inputs, answers[:, 0], strict=True):
    print(f"{a:.0f} xor {b:.0f} = {answer:.3f}")
assert np.array_equal(answers.round(), targets), "it did not learn XOR"
