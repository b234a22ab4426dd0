"""Networks that learn a task: which answers count, and what a step of training does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.bptt import tasks
from graphzoo.bptt.learning import Network, adam, total_of
from graphzoo.bptt.tasks import Task

TASKS: dict[str, Callable[[np.random.Generator], Task]] = {
    "adding": lambda rng: tasks.adding(12, 5, rng),
    "copy": lambda rng: tasks.copy_memory(6, 5, rng, length=3),
    "order": lambda rng: tasks.temporal_order(12, 5, rng),
    "parity": lambda rng: tasks.parity(12, 5, rng),
    "reber": lambda rng: tasks.reber(5, rng),
    "embedded reber": lambda rng: tasks.embedded_reber(5, rng),
    "characters": lambda rng: tasks.characters(12, 5, rng, text="a rose is a rose is a rose"),
}


def by_hand(network: Network, task: Task) -> float:
    """The mean loss of the answers that count, one after the other."""
    outputs = [network.readout(output).data.astype(np.float64) for output in network(task.x)]
    found = []
    for t in range(len(task.x)):
        for b in range(task.x.shape[1]):
            if task.y.shape[:2] != task.x.shape[:2]:
                counts, answer = t == len(task.x) - 1, task.y[b]
            else:
                counts, answer = task.mask is None or task.mask[t, b], task.y[t, b]
            if counts:
                z = outputs[t][b]
                mse = task.loss == "mse"
                found.append(((z - answer) ** 2).mean() if mse else np.log(np.exp(z).sum()) - z[answer])
    return float(np.mean(found))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", [gz.RNNCell, gz.LSTMCell])
def test_the_losses_add_up_to_the_mean_over_the_answers(name: str, kind: type) -> None:
    rng = np.random.default_rng(3)
    task = TASKS[name](rng)
    network = Network(kind(task.x.shape[2], 4, rng=rng), task, rng)
    losses = network.losses(task, network(task.x))
    assert total_of(losses).item() == pytest.approx(by_hand(network, task), rel=1e-5)
    assert [t for t, _ in losses] == sorted({t for t, _ in losses})


def test_numbers_at_every_step() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 2)).astype(np.float32), rng.normal(size=(4, 3, 2)).astype(np.float32)
    task = Task("echo", x, y, "mse", 1.0, 2, mask=rng.random((4, 3)) < 0.6)
    network = Network(gz.GRUCell(2, 5, rng=0), task, rng)
    assert total_of(network.losses(task, network(x))).item() == pytest.approx(by_hand(network, task), rel=1e-5)


def test_a_cell_of_ones_own_learns() -> None:
    class Leaky(gz.Module):
        def __init__(self) -> None:
            self.inner = gz.Linear(2, 6, rng=0)

        def forward(self, x: np.ndarray, state: gz.Tensor | None) -> gz.Tensor:
            new = self.inner(gz.tensor(x)).tanh()
            return new if state is None else 0.9 * state + 0.1 * new

    rng = np.random.default_rng(0)
    network = Network(Leaky(), tasks.adding(6, 1, 0), rng)
    optimizer = adam(list(network.parameters()))
    losses = [network.learn(tasks.adding(6, 64, rng), optimizer, 1.0) for _ in range(150)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_clipping_bounds_the_step() -> None:
    rng = np.random.default_rng(0)
    task = tasks.adding(6, 8, rng)
    network = Network(gz.RNNCell(2, 4, rng=0), task, rng)
    before = [p.data.copy() for p in network.parameters()]
    network.learn(task, gz.optim.SGD(list(network.parameters()), lr=1.0), 1e-3)
    moved = np.sqrt(sum(((p.data - old) ** 2).sum() for p, old in zip(network.parameters(), before, strict=True)))
    assert moved == pytest.approx(1e-3, rel=1e-3)
