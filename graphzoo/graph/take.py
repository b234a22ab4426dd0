"""What `gz.graph` does: the frozen graph of what tensors were computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ArgumentError, GradientError, describe
from ..tape import Node
from ..tensor import Tensor
from .build import Builder
from .frozen import Graph
from .notes import CARRIED


def taken(outputs: Any, gradients: bool) -> Graph:
    """What `gz.graph` does."""
    values = list(_leaves_of_tree(outputs))
    roots = [_root(where, value) for where, value in values]
    if not roots:
        raise ArgumentError(
            "graph() was given no tensor", got=describe(outputs), expected="the tensors to draw the graph of"
        )
    builder = Builder(roots)
    frozen = Graph(*builder.build())
    if not gradients:
        noted = CARRIED.get(roots[0]) if len(roots) == 1 else None
        return frozen if noted is None else replace(frozen, gradients=noted)
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
