"""From the tape to the frozen graph: `gz.graph`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np

from ..errors import ArgumentError, GradientError, describe
from ..module import Module
from ..tape import Leaf, Node, node_of, owner_of, saved_arrays
from ..tape import Output as TapeOutput
from ..tensor import Tensor
from .gradients import GraphGradients, watch
from .graph import ArraySpec, Edge, Graph, GraphNode

MANY_USES = 8
"""An input or constant that more nodes use is drawn as a stub at each of them: a hub that everything hangs on would tie
a picture into a knot, and take Graphviz minutes to lay out."""


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
    builder = _Builder(_reached(roots))
    frozen = builder.build(roots)
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


def _reached(roots: Iterable[Node]) -> list[Node]:
    """The roots and all nodes that they were computed from, in order of recording."""
    reached = set(roots)
    pending = list(reached)
    while pending:
        for parent in pending.pop().parents:
            if parent not in reached:
                reached.add(parent)
                pending.append(parent)
    return sorted(reached, key=attrgetter("number"))


class _Builder:
    """Nodes and edges in the making, and the numbers given out so far."""

    def __init__(self, recorded: list[Node]) -> None:
        self.recorded = recorded
        self.nodes: list[GraphNode] = []
        self.edges: list[Edge] = []
        self.ids: dict[Any, int] = {}  # by tape node; by leaf and the place that its stub is for
        self.modules: dict[Module, int] = {}
        self.tensors: dict[Leaf, int] = {}
        self.arguments: dict[tuple[type, int], str] = {}  # reading a signature takes longer than all the rest
        self.uses = Counter(
            (source, node.t) for node in recorded for source in set(node.inputs) if source.__class__ is Leaf
        )

    def build(self, roots: Iterable[Node]) -> Graph:
        for node in self.recorded:
            self.add_operation(node)
        outputs = dict.fromkeys(self.ids[root] for root in roots)
        return Graph(tuple(self.nodes), tuple(self.edges), tuple(outputs))

    def watch(self, seeds: list[tuple[Any, np.ndarray]]) -> GraphGradients:
        """What a backward pass carries through the graph that was built."""
        ids = {node: self.ids[node] for node in self.recorded}
        edges = {(edge.target, edge.slot): index for index, edge in enumerate(self.edges)}
        stubs = {
            index: edge.source for index, edge in enumerate(self.edges) if self.nodes[edge.source].role != "operation"
        }
        return watch(seeds, ids, edges, stubs, self.tensors)

    def add_operation(self, node: Node) -> None:
        module = node.module
        operands: list[tuple[str, complex]] = []
        edges: list[tuple[int, int, str, Any]] = []
        weights: set[Leaf] = set()
        first_parameter = len(node.inputs) - len(module.parameter_names)
        for slot, source in enumerate(node.inputs):
            if source is None:
                continue
            if slot >= first_parameter:
                argument = module.parameter_names[slot - first_parameter]
            else:
                argument = self.argument(module, slot)
            if isinstance(source, (bool, int, float, complex)):
                operands.append((argument, source))
                continue
            if source.__class__ is Leaf:
                given = self.stub(source, node)
                if source.role == "parameter":
                    weights.add(source)
            else:
                given = self.ids[node_of(source)]
            edges.append((given, slot, argument, source))

        id = self.ids[node] = len(self.nodes)
        self.nodes.append(
            GraphNode(
                id=id,
                role="operation",
                op=type(module).__name__,
                family=_family(module),
                name=node.name,
                scope=node.scope,
                t=node.t,
                outputs=_specs(node),
                operands=tuple(operands),
                parameters=sum(math.prod(leaf.shape) for leaf in weights),
                saved_bytes=sum(dict(owner_of(array) for array in saved_arrays(node)).values()),
                released=node.released,
                module=self.modules.setdefault(module, len(self.modules)),
                formulas=module.formulas,
            )
        )
        for given, slot, argument, source in edges:
            output = source.index if source.__class__ is TapeOutput else 0
            self.edges.append(
                Edge(
                    source=given,
                    target=id,
                    output=output,
                    slot=slot,
                    argument=argument,
                    shape=source.shape,
                    dtype=str(source.dtype),
                    gradient=node.needs[slot],
                    own=slot >= first_parameter,
                )
            )

    def stub(self, leaf: Leaf, user: Node) -> int:
        """Id of the node that stands for a leaf at one of its users; made where there is none yet.

        A parameter has one at each user. An input or constant is a single node, unless the picture gains by several: it
        has one for each time step, or at each user when there are very many.
        """
        shared = leaf.role != "parameter" and self.uses[leaf, user.t] <= MANY_USES
        key = (leaf, user.t if shared else user)
        if key not in self.ids:
            self.ids[key] = len(self.nodes)
            is_parameter = leaf.role == "parameter"
            self.nodes.append(
                GraphNode(
                    id=len(self.nodes),
                    role=leaf.role,
                    op=leaf.role.capitalize(),
                    name=leaf.name,
                    scope=user.scope if is_parameter else (),
                    t=user.t,
                    outputs=(ArraySpec(leaf.shape, str(leaf.dtype)),),
                    parameters=math.prod(leaf.shape) if is_parameter else 0,
                    tensor=self.tensors.setdefault(leaf, len(self.tensors)),
                )
            )
        return self.ids[key]

    def argument(self, module: Module, slot: int) -> str:
        key = (type(module), slot)
        if key not in self.arguments:
            self.arguments[key] = module.argument_name(slot)
        return self.arguments[key]


def _specs(node: Node) -> tuple[ArraySpec, ...]:
    if isinstance(node.dtype, tuple):
        return tuple(ArraySpec(shape, str(dtype)) for shape, dtype in zip(node.shape, node.dtype, strict=True))
    return (ArraySpec(node.shape, str(node.dtype)),)


def _family(module: Module) -> str:
    package, _, family = type(module).__module__.rpartition(".")
    return family if package == "graphzoo.zoo" else "custom"
