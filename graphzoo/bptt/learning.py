"""A recurrent network that learns a task: a cell, a layer that reads its states, and the steps of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import optim
from ..module import Module
from ..tape import no_grad, time_step
from ..tensor import Tensor, detach_state
from ..zoo.linear import Linear
from ..zoo.loss import CrossEntropyLoss, MSELoss
from .cells import Stepper
from .tasks import Task

Optimizer = Callable[[list[Tensor]], optim.Optimizer]


def adam(parameters: list[Tensor]) -> optim.Optimizer:
    """Adam with the learning rate that suits small recurrent networks, 3e-3."""
    return optim.Adam(parameters, lr=3e-3)


class Network(Module):
    """A cell with a linear read-out of its output, as wide as the answers of a task.

    Args:
        cell: of the zoo, or any module of one time step that takes (x, None) at first.
        task: a batch of the task.
        rng: for the read-out's initial values.
    """

    def __init__(self, cell: Callable[..., Any], task: Task, rng: np.random.Generator) -> None:
        with no_grad():
            [output] = outputs_of(cell, task.x[:1])
        self.cell = cell
        self.readout = Linear(output.shape[-1], task.answers, rng=rng)

    def forward(self, x: np.ndarray) -> list[Tensor]:
        """The outputs of the cell over a sequence (T, B, F)."""
        return outputs_of(self.cell, x)

    def losses(self, task: Task, outputs: list[Tensor]) -> list[tuple[int, Tensor]]:
        """The losses by time step, at those that have an answer; their sum is the mean loss of an answer."""
        criterion = MSELoss(reduction="sum") if task.loss == "mse" else CrossEntropyLoss(reduction="sum")
        if task.y.shape[:2] != task.x.shape[:2]:
            answers = task.y.size if task.loss == "mse" else len(task.y)
            return [(len(outputs) - 1, criterion(self.readout(outputs[-1]), task.y) * (1 / answers))]
        counts: np.ndarray = np.ones(task.y.shape[:2], bool) if task.mask is None else task.mask
        share = 1 / task.y[counts].size
        return [
            (t, criterion(self.readout(where(counts[t], output)), where(counts[t], task.y[t])) * share)
            for t, output in enumerate(outputs)
            if counts[t].any()
        ]

    def learn(self, task: Task, optimizer: optim.Optimizer, clip: float | None) -> float:
        """One step of training on a batch, with gradients clipped to a norm. Returns the loss before it."""
        total = total_of(self.losses(task, self(task.x)))
        optimizer.zero_grad()
        total.backward()
        if clip is not None:
            optim.clip_grad_norm(self.parameters(), clip)
        optimizer.step()
        return float(total.item())


def outputs_of(cell: Callable[..., Any], x: np.ndarray) -> list[Tensor]:
    """What a cell gives out at each step of a sequence."""
    step, outputs = Stepper(cell), []
    state = detach_state(step.initial(None, x[0], None))
    for t, now in enumerate(x):
        with time_step(t):
            output, state = step(now, state)
        outputs.append(output)
    return outputs


def total_of(losses: list[tuple[int, Tensor]]) -> Tensor:
    """The sum of losses by time step."""
    first, *others = (loss for _, loss in losses)
    return sum(others, first)


def where(counts: np.ndarray, values: Any) -> Any:
    """The sequences whose answers count."""
    return values if counts.all() else values[counts]
