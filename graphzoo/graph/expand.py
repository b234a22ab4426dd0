"""A module's node in a graph replaced by what the module is defined as: its `expand`, recorded and put in its place."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError
from ..module import Module, record
from ..tape import Scope, enable_grad, node_of
from ..tensor import Tensor
from .build import MODULES, Builder, Built
from .gradients import GraphGradients

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode


def expanded(graph: Graph, chosen: set[int]) -> Graph:
    """The graph with the chosen operations replaced by their definitions; those that have none stay.

    Args:
        graph: the graph.
        chosen: ids of operations.
    """
    used: dict[int, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        used[edge.target].append(edge)
    definitions: dict[Any, Definition | None] = {}
    nodes: list[GraphNode] = []
    edges: list[Edge] = []
    ids: dict[int, int] = {}
    ports: dict[tuple[int, int], tuple[int, int]] = {}  # of an expanded node: which inner output its outputs are
    stubs = {node.id for node in graph.nodes if node.role == "parameter"}
    modules = list(graph.modules)
    for node in graph.nodes:
        definition = None
        if node.id in chosen and node.count == 1:
            signature = tuple((e.slot, e.shape, e.dtype, e.gradient) for e in used[node.id])
            recipe = (node.module, node.operands, signature)
            if recipe not in definitions:
                definitions[recipe] = defined(graph, node, used[node.id])
            definition = definitions[recipe]
        if definition is not None:
            definition.place(node, used[node.id], nodes, edges, ids, ports, stubs, len(modules))
            modules += definition.inside.modules
            continue
        ids[node.id] = len(nodes)
        nodes.append(replace(node, id=len(nodes)))
        for edge in used[node.id]:
            source, output = ports.get((edge.source, edge.output), (ids.get(edge.source, -1), edge.output))
            edges.append(replace(edge, source=source, output=output, target=ids[node.id]))
    outputs = tuple(dict.fromkeys(ports.get((id, 0), (ids.get(id, -1), 0))[0] for id in graph.outputs))
    # A definition need not use all that its module is given.
    used_ids = {edge.source for edge in edges}
    kept = [node.id for node in nodes if node.role == "operation" or node.id in used_ids]
    number = {id: new for new, id in enumerate(kept)}
    nodes = [replace(nodes[id], id=new) for id, new in number.items()]
    edges = [replace(edge, source=number[edge.source], target=number[edge.target]) for edge in edges]
    ids = {id: number[new] for id, new in ids.items() if new in number}
    noted = graph.gradients and known(graph.gradients, graph, ids, nodes, edges)
    return replace(
        graph, nodes=tuple(nodes), edges=tuple(edges), outputs=tuple(number[id] for id in outputs), gradients=noted,
        modules=tuple(modules),
    )  # fmt: skip


class Definition:
    """A module's `expand` as a graph, whose inputs are told apart by their slots."""

    def __init__(self, inside: Built, ends: list[tuple[int, int]]) -> None:
        self.inside = inside
        self.ends = ends  # the inner node and output that each output of the module is

    def place(
        self,
        node: GraphNode,
        used: list[Edge],
        nodes: list[GraphNode],
        edges: list[Edge],
        ids: dict[int, int],
        ports: dict[tuple[int, int], tuple[int, int]],
        stubs: set[int],
        modules: int,
    ) -> None:
        """Put it where a node was: its inner nodes in a box of the node's name, its edges to the node's sources."""
        box = (*node.scope, Scope(node.name or node.op, node.op))
        by_slot = {edge.slot: edge for edge in used}
        numbers: dict[int, int] = {}
        spent: set[int] = set()
        for inner in self.inside.nodes:
            if inner.role != "operation" and (inner.name or "").startswith(SLOT):
                continue
            numbers[inner.id] = len(nodes)
            operation = inner.role == "operation"
            placed = replace(
                inner, id=len(nodes), scope=(*box, *inner.scope) if operation else (), t=node.t, tensor=None
            )
            if operation and inner.module is not None:
                placed = replace(placed, module=modules + inner.module, released=node.released)
            nodes.append(placed)
        for edge in self.inside.edges:
            source = self.inside.nodes[edge.source]
            target = numbers[edge.target]
            if edge.source in numbers:
                edges.append(replace(edge, source=numbers[edge.source], target=target))
                continue
            outer = by_slot[int((source.name or "").removeprefix(SLOT))]
            given, output = ports.get((outer.source, outer.output), (ids.get(outer.source, -1), outer.output))
            if outer.source in stubs and outer.source in spent:  # a stub for each use
                nodes.append(replace(nodes[given], id=len(nodes)))
                given = len(nodes) - 1
            spent.add(outer.source)
            edges.append(replace(edge, source=given, output=output, target=target, cut=outer.cut))
        for output, (inner_id, which) in enumerate(self.ends):
            ports[node.id, output] = (numbers[inner_id], which)


SLOT = "slot "


def defined(graph: Graph, node: GraphNode, used: list[Edge]) -> Definition | None:
    """Record what a module is defined as, on arrays of the shapes that its node has; None where it is primitive."""
    module = None if node.module is None else MODULES.get(graph.modules[node.module])
    if module is None:
        raise ArgumentError(
            f"{node.label} cannot be expanded",
            got="a graph of a module that is gone",
            expected="a graph whose model is still alive, in the process that it was taken in",
        )
    if module.expand is None:
        return None
    module = copy.deepcopy(module)  # its generators and running statistics must not move on
    slots = number_of_slots(module, used)
    arguments: list[Any] = [None] * slots
    for edge in used:
        values = np.ones(edge.shape, edge.dtype) if edge.dtype[0] in "fc" else np.zeros(edge.shape, edge.dtype)
        arguments[edge.slot] = Tensor(values, requires_grad=edge.gradient, name=f"{SLOT}{edge.slot}")
    names = [module.argument_name(slot) for slot in range(slots)]
    for name, value in node.operands:
        arguments[names.index(name)] = value
    with enable_grad():
        recorded = record(module, arguments[: slots - len(module.parameter_names)])
        made = node_of((recorded[0] if isinstance(recorded, tuple) else recorded).source)
        result = module.expand(made, *arguments)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    ends = [end for output in outputs if (end := node_of(output.source)) is not None]
    if len(ends) < len(outputs):
        return None  # it hands on what it was given
    inside = Builder(ends).build()
    distinct = list(dict.fromkeys(ends))
    of_outputs = [
        (inside.outputs[distinct.index(end)], getattr(output.source, "index", 0))
        for end, output in zip(ends, outputs, strict=True)
    ]
    return Definition(inside, of_outputs)


def number_of_slots(module: Module, used: list[Edge]) -> int:
    """How many arguments a module's rules take here, those that were left out included."""
    own = list(inspect.signature(module.forward).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in own):
        return 1 + max(edge.slot for edge in used)
    return len(own)


def known(
    noted: GraphGradients, graph: Graph, ids: dict[int, int], nodes: list[GraphNode], edges: list[Edge]
) -> GraphGradients:
    """What a backward pass carried, for the nodes that are still there."""
    places = {(edge.target, edge.slot): index for index, edge in enumerate(edges)}
    kept = {index: places[ids[edge.target], edge.slot] for index, edge in enumerate(graph.edges) if edge.target in ids}
    return GraphGradients(
        order=tuple(ids[id] for id in noted.order if id in ids),
        nodes={ids[id]: found for id, found in noted.nodes.items() if id in ids},
        edges={kept[index]: found for index, found in noted.edges.items() if index in kept},
        cosines={ids[id]: cosine for id, cosine in noted.cosines.items() if id in ids},
        gathered={ids[id]: norm for id, norm in noted.gathered.items() if id in ids},
        totals=noted.totals,
    )
