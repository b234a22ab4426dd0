"""Looking on while a block records, and keeping the cyclic collector away from it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import ContextDecorator
from typing import Any, Self

from .tape import Node, local, owner_of, saved_arrays

__all__ = ["Tape", "pause_gc"]


class Observer:
    """Looks on while a block records; observers of blocks around this one are told of everything, too."""

    def __init__(self) -> None:
        self._around: list[Any] = []

    def __enter__(self) -> Self:
        self._around.append(local.context.observer)
        local.context.observer = self
        return self

    def __exit__(self, *exception: object) -> None:
        local.context.observer = self._around.pop()

    def append(self, node: Node, output: Any) -> None:
        """Told of a node that was recorded, and of its output: an array, or several in a tuple."""
        if (around := self._outer()) is not None:
            around.append(node, output)

    def before_backward(self, start: Any, gradient: Any) -> None:
        """Told of a backward pass that is about to begin, from a tensor and with a gradient."""
        if (around := self._outer()) is not None:
            around.before_backward(start, gradient)

    def _outer(self) -> Any:
        return next((other for other in reversed(self._around) if other is not self), None)


class Tape(Observer):
    """Looks on while a block records: its nodes in order, how many are still alive, how many bytes they hold.

    The tape does not keep the graph alive, so that `live_nodes` tells whether something else does: a loss summed over
    an epoch with its graph, or a recurrent state carried on without `gz.detach_state`.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> with gz.Tape() as tape:
    ...     y = (x * x).sum()
    >>> [type(node.module).__name__ for node in tape.nodes], tape.live_nodes
    (['Multiply', 'Sum'], 2)
    >>> tape.bytes_held                                # Multiply saved x, which is one array of two float32
    8
    >>> y.backward()
    >>> tape.bytes_held
    0
    >>> del y
    >>> tape.live_nodes, len(tape)
    (0, 2)
    """

    def __init__(self) -> None:
        super().__init__()
        self._references: list[weakref.ref[Node]] = []

    def append(self, node: Node, output: Any) -> None:
        """Remember one node."""
        self._references.append(weakref.ref(node))
        super().append(node, output)

    def __len__(self) -> int:
        """How many nodes were recorded, dead ones included."""
        return len(self._references)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def nodes(self) -> list[Node]:
        """The recorded nodes that are still alive, in order of recording."""
        return [node for reference in self._references if (node := reference()) is not None]

    @property
    def live_nodes(self) -> int:
        """How many of the recorded nodes something still refers to."""
        return len(self.nodes)

    @property
    def bytes_held(self) -> int:
        """Bytes of the arrays that live nodes have saved; an array or buffer shared by several counts once."""
        buffers: dict[int, int] = {}
        for node in self.nodes:
            for array in saved_arrays(node):
                buffers.update([owner_of(array)])
        return sum(buffers.values())


class pause_gc(ContextDecorator):
    """Within this block Python's cyclic garbage collector is off: for graphs of hundreds of thousands of nodes.

    The collector looks through all living objects again and again as their number grows, and finds nothing: graphs
    hold no reference cycles and are freed without its help. Concerns the whole process; blocks may be nested.

    >>> import gc, graphzoo as gz
    >>> with gz.pause_gc():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(gc.isenabled())
        gc.disable()

    def __exit__(self, *exception: object) -> None:
        if self._before.pop():
            gc.enable()
