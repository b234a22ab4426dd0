"""`gz.record`: keeps what a picture shall tell of the values that a block computes, and of the lines it does so in."""

from __future__ import annotations

from typing import Any

from ..backward import seed_for
from ..errors import user_line
from ..observer import Observer
from ..tape import Node
from ..tensor import Tensor
from .build import Builder
from .notes import CARRIED, NOTED, Noted
from .statistics import Statistics

__all__ = ["record"]


class record(Observer):
    """Within this block every operation's values are looked at, and the program's line noted, for `gz.graph` to show.

    A graph taken of what was computed inside has them at its nodes: `GraphNode.values` and `GraphNode.line`. Nodes that
    were recorded outside have none; that is not the same as zeros. Looking costs time, some ten microseconds an
    operation and more for large arrays; without such a block there is no cost.

    Args:
        values: whether to note statistics of the values, and small arrays whole.
        lines: whether to note the file and line.
        gradients: whether to note what each `backward()` in the block carries, as ``gz.graph(loss, gradients=True)``
            does: a graph of the tensor that it started from then has `Graph.gradients`, also after the pass has
            released what it needed. Takes three passes' time instead of one.

    >>> import graphzoo as gz
    >>> x = gz.tensor([3.0, -4.0], requires_grad=True)
    >>> with gz.record():
    ...     y = gz.relu(x)
    >>> node = gz.graph(y).find(op="ReLU")[0]
    >>> node.values[0].norm, node.values[0].zeros, node.values[0].whole
    (3.0, 1, (3.0, 0.0))
    """

    def __init__(self, values: bool = True, lines: bool = True, gradients: bool = False) -> None:
        super().__init__()
        self.values = values
        self.lines = lines
        self.gradients = gradients

    def append(self, node: Node, output: Any) -> None:
        """Note one node."""
        arrays = output if isinstance(output, tuple) else (output,)
        values = tuple(Statistics.of(array) for array in arrays) if self.values else ()
        NOTED[node] = Noted(values, user_line() if self.lines else None)
        super().append(node, output)

    def before_backward(self, start: Tensor, gradient: Any) -> None:
        """Note what a backward pass will carry."""
        node = start.node
        if self.gradients and node is not None and not node.released:
            builder = Builder([node])
            builder.build()
            gradient = gradient.data if isinstance(gradient, Tensor) else gradient
            CARRIED[node] = builder.watch([(start.source, seed_for(start.shape, start.dtype, gradient))])
        super().before_backward(start, gradient)
