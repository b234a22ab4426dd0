"""scikit-learn's handwritten digits, 1,797 images of 8 × 8 pixels, and training on them.

They come with `pip install 'graphzoo[examples]'`.
"""

import argparse
import time

import numpy as np

import graphzoo as gz

Arrays = tuple[np.ndarray, ...]  # images to learn from and to test with, and their classes


def options(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--fast", action="store_true", help="train for a moment only")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the batches")
    parser.add_argument("--draw", help="also save the network's graph to this file")
    return parser.parse_args()


def load(seed: int) -> Arrays:
    """Images (N, 1, 8, 8) from -1 to 1 and their classes; a fifth at random is held out for the test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 8 - 1).astype(np.float32)
    return gz.data.train_test_split(images, digits.target, test_size=0.2, rng=seed)


def train(model: gz.Module, arrays: Arrays, chosen: argparse.Namespace, epochs: int, rate: float, least: float) -> None:
    """Adam with a rate that falls like a cosine; prints losses and accuracies, and makes sure of the last one."""
    x, x_test, y, y_test = arrays
    epochs = 2 if chosen.fast else epochs
    numbers = sum(parameter.size for parameter in model.parameters())
    print(f"{type(model).__name__}: {numbers:,} parameters, {len(x)} images to learn from, {len(x_test)} to test with")
    loader = gz.data.DataLoader((x, y), batch_size=64, shuffle=True, rng=chosen.seed)
    optimizer = gz.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = gz.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    criterion = gz.CrossEntropyLoss(label_smoothing=0.05)
    began = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        losses = []
        for images, classes in loader:
            loss = criterion(model(images), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.3f}, test accuracy {accuracy(model, x_test, y_test):.4f}")
    reached = accuracy(model, x_test, y_test)
    print(f"test accuracy {reached:.4f} after {time.perf_counter() - began:.0f} s")
    assert reached >= (0.4 if chosen.fast else least)
    if chosen.draw:
        print(f"the graph is in {gz.graph(criterion(model(x[:8]), y[:8])).save(chosen.draw, view='columns')}")


def accuracy(model: gz.Module, x: np.ndarray, y: np.ndarray) -> float:
    model.eval()
    with gz.no_grad():
        scores = np.concatenate([model(x[begin : begin + 256]).numpy() for begin in range(0, len(x), 256)])
    return float((scores.argmax(axis=1) == y).mean())
