"""`gz.graph`: the frozen graph of what tensors were computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ArgumentError, GradientError, describe
from ..tape import Node
from ..tensor import Tensor
from .build import Builder
from .graph import Graph


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
    values = list(_leaves_of_tree(outputs))
    roots = [_root(where, value) for where, value in values]
    if not roots:
        raise ArgumentError(
            "graph() was given no tensor", got=describe(outputs), expected="the tensors to draw the graph of"
        )
    builder = Builder(roots)
    frozen = Graph(*builder.build())
    if not gradients:
        return frozen
    for where, value in values:
        if value.size != 1:
            raise ArgumentError(
                "gradients are those of a loss",
                got=describe(value) + (f" at outputs{where}" if where else ""),
                expected="tensors of a single number",
                todo="pass the loss, or reduce it first: outputs.sum()",
            )
    seeds = [(value.source, np.ones(value.shape, value.dtype)) for _, value in values]
    return replace(frozen, gradients=builder.watch(seeds))


def _leaves_of_tree(tree: Any) -> Iterable[tuple[str, Any]]:
    """Every value in nested tuples, lists and dictionaries with the place it stands at, in order."""
    pending = [("", tree)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            pending.extend((f"{where}[{key!r}]", item) for key, item in reversed(value.items()))
        elif isinstance(value, (tuple, list)):
            pending.extend((f"{where}[{index}]", value[index]) for index in reversed(range(len(value))))
        elif value is not None:
            yield where, value


def _root(where: str, value: Any) -> Node:
    if not isinstance(value, Tensor):
        raise ArgumentError(
            "graph() draws what tensors were computed from",
            got=describe(value) + (f" at outputs{where}" if where else ""),
            expected="a tensor, or tensors in tuples, lists and dictionaries",
        )
    node = value.node
    if node is None:
        kind = "a leaf" if value.requires_grad else "a tensor without a graph"
        raise GradientError(
            f"graph() got {kind}: no operation that led to it was recorded",
            got=describe(value) + (f" at outputs{where}" if where else ""),
            expected="a tensor computed from one that requires a gradient, outside gz.no_grad() and before .detach()",
            todo="pass the loss, or another tensor that was computed with recorded operations",
        )
    return node
