"""The same programs in each library's own idiom: on_graphzoo, on_torch, on_autograd, on_mygrad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A workload ready to run in one library. `forward` gives (loss, output) of the library's own types."""

    forward: Callable[[], tuple[Any, Any]]
    backward: Callable[[Any], None]  # takes the loss; in a training step the update belongs to it
    gradients: Callable[[], dict[str, np.ndarray]]  # of the last backward
    array: Callable[[Any], np.ndarray]
    comparable: bool = True  # False where the library lacks this exact function and its nearest one is timed

    def step(self) -> None:
        """What is timed. The output is let go before backward, as where it is of no more use."""
        self.backward(self.forward()[0])

    def values(self) -> dict[str, np.ndarray]:
        """Loss, output and gradients of one step, to be compared between libraries."""
        loss, output = self.forward()
        results = {"loss": self.array(loss), "output": self.array(output)}
        self.backward(loss)
        return results | self.gradients()


def builders(library: str) -> dict[str, Callable[[Any], Case]]:
    """The programs of one library by name; imports the library."""
    return import_module(f"benchmarks.workloads.on_{library}").BUILDERS
