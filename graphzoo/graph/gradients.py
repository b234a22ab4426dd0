"""What a backward pass carries through a graph, in numbers that are kept: `gz.graph(loss, gradients=True)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backward import drain, sweep
from ..tape import Leaf, Node
from .statistics import Statistics, norm


@dataclass(frozen=True, slots=True)
class GraphGradients:
    """A backward pass through a graph. What no gradient reached is in none of the tables: that is not the same as 0.

    Attributes:
        order: the operations, by id, in the order in which the pass visited them: newest first.
        nodes: by node: statistics of the gradient of its output (of all its outputs together); for a stub of a
            parameter or an input, of what this use contributed.
        edges: by index of the edge: statistics of the gradient that flowed back along it.
        cosines: by stub: the cosine between what this use contributed and the whole gradient. Contributions may cancel,
            so that a norm alone says little. Left out where one of them is zero or not finite.
        gathered: by stub: the norm of what had come together for its tensor once this use was added.
        totals: by number of the tensor (`GraphNode.tensor`): the norm of its whole gradient.
    """

    order: tuple[int, ...]
    nodes: Mapping[int, Statistics]
    edges: Mapping[int, Statistics]
    cosines: Mapping[int, float]
    gathered: Mapping[int, float]
    totals: Mapping[int, float]

    def renumbered(self, nodes: Mapping[int, int], edges: Mapping[int, int]) -> GraphGradients:
        """The same for a graph in which nodes and edges have other numbers; those that have none are left out."""
        return GraphGradients(
            order=tuple(nodes[id] for id in self.order if id in nodes),
            nodes={nodes[id]: found for id, found in self.nodes.items() if id in nodes},
            edges={edges[index]: found for index, found in self.edges.items() if index in edges},
            cosines={nodes[id]: cosine for id, cosine in self.cosines.items() if id in nodes},
            gathered={nodes[id]: norm for id, norm in self.gathered.items() if id in nodes},
            totals=self.totals,
        )


def watch(
    seeds: list[tuple[Any, np.ndarray]],
    ids: Mapping[Node, int],
    edges: Mapping[tuple[int, int], int],
    stubs: Mapping[int, int],
    tensors: Mapping[Leaf, int],
) -> GraphGradients:
    """Run a backward pass that changes no `.grad` and releases nothing, and note what it carries.

    Args:
        seeds: sources and the gradients to start from.
        ids: of the operations. edges: the index of each edge by target and slot.
        stubs: by index of an edge that comes from a leaf, the stub that it comes from.
        tensors: the numbers of the leaves.
    """
    table = drain(sweep(seeds, retain=True)).table
    totals = {leaf: np.asarray(g, np.float64) for leaf, g in table.items() if leaf in tensors}
    norms = {leaf: norm(total) for leaf, total in totals.items()}

    order: list[int] = []
    of_nodes: dict[int, Statistics] = {}
    of_edges: dict[int, Statistics] = {}
    of_stubs: dict[int, tuple[Leaf, np.ndarray]] = {}
    sums: dict[Leaf, np.ndarray] = {}
    gathered: dict[int, float] = {}
    for step in sweep(seeds, retain=True, watch=True):
        id = ids[step.node]
        order.append(id)
        of_nodes[id] = Statistics.of(_joined(step.upstream))
        for slot, gradient in enumerate(step.gradients):
            if gradient is None:
                continue
            index = edges[id, slot]
            of_edges[index] = Statistics.of(gradient)
            source = step.node.inputs[slot]
            if index in stubs:  # an input that several nodes use at one time step is one stub
                held = of_stubs.get(stubs[index])
                of_stubs[stubs[index]] = (source, gradient if held is None else held[1] + gradient)
                sums[source] = sums.get(source, 0) + np.asarray(gradient, np.float64)
                gathered[stubs[index]] = norm(sums[source])
    cosines = {}
    for stub, (leaf, gradient) in of_stubs.items():
        of_nodes[stub] = Statistics.of(gradient)
        lengths = of_nodes[stub].norm, norms[leaf]
        if all(0 < length < np.inf for length in lengths):
            cosines[stub] = _cosine(gradient / lengths[0], totals[leaf] / lengths[1])
    return GraphGradients(
        tuple(order), of_nodes, of_edges, cosines, gathered, {tensors[leaf]: total for leaf, total in norms.items()}
    )


def _joined(upstream: Any) -> np.ndarray:
    """The gradients of several outputs in one array."""
    if not isinstance(upstream, tuple):
        return np.asarray(upstream)
    return np.concatenate([np.ravel(each) for each in upstream if each is not None])


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine between two arrays of norm 1."""
    return float(np.clip(np.sum(one * other, dtype=np.float64), -1.0, 1.0))
