"""A character-level LSTM in one screen: read text, predict the next character, carry the state on.

python examples/char_lstm.py [--fast]
"""

import sys
from pydoc_data.topics import topics

import numpy as np

import graphzoo as gz

FAST = "--fast" in sys.argv
STEPS, HIDDEN, BATCH, TIME = (100, 32, 16, 20) if FAST else (1000, 128, 32, 50)

text = "\n".join(topics.values())  # Python's manual, which every Python has
alphabet = sorted(set(text))
codes = np.array([alphabet.index(c) for c in text[:100_000]])
streams = codes[: len(codes) // BATCH * BATCH].reshape(BATCH, -1).T  # (time, batch)


class Model(gz.Module):
    def __init__(self, characters, hidden, rng):
        self.embedding = gz.Embedding(characters, 16, rng=rng)
        self.cell = gz.LSTMCell(16, hidden, rng=rng)
        self.output = gz.Linear(hidden, characters, rng=rng)

    def forward(self, characters, state=None):
        hidden = []
        for t, now in enumerate(characters):  # the loop is the recurrent network
            with gz.time_step(t):
                state = self.cell(self.embedding(now), state)
            hidden.append(state[0])
        return self.output(gz.concatenate(hidden)), state


rng = np.random.default_rng(0)
model = Model(len(alphabet), HIDDEN, rng)
criterion = gz.CrossEntropyLoss()
optimizer = gz.optim.Adam(model.parameters(), lr=5e-3)
losses, state, start = [], None, 0
for step in range(STEPS):
    if start + TIME >= len(streams):
        state, start = None, 0
    window = streams[start : start + TIME + 1]
    logits, state = model(window[:-1], gz.detach_state(state))  # truncated: no gradient into the past
    loss = criterion(logits, window[1:].reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    gz.optim.clip_grad_norm(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())
    start += TIME
    if step % (STEPS // 5) == 0:
        print(f"step {step:4d}  loss {losses[-1]:.2f}")
print(f"loss {losses[0]:.2f} → {np.mean(losses[-20:]):.2f} nats per character")

with gz.no_grad():
    written, state = [alphabet.index("T")], None
    for _ in range(300):
        logits, state = model(np.array([[written[-1]]]), state)
        chances = gz.softmax(logits).numpy()[0].astype(np.float64)
        written.append(rng.choice(len(alphabet), p=chances / chances.sum()))
print("".join(alphabet[code] for code in written))
assert np.mean(losses[-20:]) < losses[0] - 1
