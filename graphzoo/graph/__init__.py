"""The frozen graph of a computation: to query, to draw, to export, to sum up.

What stands here is imported with graphzoo, all else on first use: many programs draw nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .diff import GraphDiff
    from .frozen import Graph
    from .gradients import GraphGradients
    from .parts import ArraySpec, Edge, GraphNode
    from .recording import record
    from .render import RenderError
    from .statistics import Statistics

__all__ = [
    "ArraySpec",
    "Edge",
    "Graph",
    "GraphDiff",
    "GraphGradients",
    "GraphNode",
    "RenderError",
    "Statistics",
    "graph",
    "record",
]

_PLACES = {
    "ArraySpec": ".parts",
    "Edge": ".parts",
    "Graph": ".frozen",
    "GraphDiff": ".diff",
    "GraphGradients": ".gradients",
    "GraphNode": ".parts",
    "RenderError": ".render",
    "Statistics": ".statistics",
    "record": ".recording",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)


def graph(outputs: Any, gradients: bool = False) -> Graph:
    """The frozen graph of everything that the given tensors were computed from.

    It can be taken before and after the backward pass; the structure is the same.

    Args:
        outputs: a tensor, or tensors in tuples, lists and dictionaries at any depth, as models return them;
            None is left out.
        gradients: also run a backward pass from the outputs (each a single number; from their sum) and keep what it
            carried, as `Graph.gradients`. It changes no `.grad` and releases nothing, so that `backward()` can follow;
            after a `backward()` that released the graph it cannot be run.

    Raises:
        ArgumentError: something else than a tensor, or no tensor at all; gradients of more than single numbers.
        GradientError: a tensor without a graph: detached, a constant, a leaf, or computed inside `gz.no_grad()`.
        ReleasedError: gradients of a graph that an earlier backward pass released.

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, 2.0], name="w")
    >>> loss = (w * gz.tensor([3.0, 4.0], name="x")) + 1
    >>> for node in gz.graph(loss).nodes:
    ...     print(node.id, node.role, node.label, node.outputs[0])
    0 parameter w float32 (2,)
    1 constant x float32 (2,)
    2 operation Multiply float32 (2,)
    3 operation Add(b=1) float32 (2,)

    >>> taken = gz.graph(loss.sum(), gradients=True)
    >>> taken.gradients.nodes[taken.find(name="w")[0].id].norm
    5.0
    """
    from .take import taken

    return taken(outputs, gradients)
