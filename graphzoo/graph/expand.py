"""A module's node in a graph replaced by what the module is defined as: its `expand`, recorded and put in its place."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ArgumentError
from ..module import Module, record
from ..tape import Scope, enable_grad, node_of
from ..tensor import Tensor
from .build import MODULES, PRIMITIVE, Builder, Built

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode


def expanded(graph: Graph, chosen: set[int]) -> Graph:
    """The graph with the chosen operations replaced by their definitions; those that have none stay.

    Args:
        graph: the graph.
        chosen: ids of operations.
    """
    if graph.backward:
        raise ArgumentError(
            "a backward view cannot be expanded", got="edges that run against the computation",
            todo="expand the graph first, then take its backward_view()",
        )  # fmt: skip
    used: dict[int, list[Edge]] = defaultdict(list)
    numbered: dict[int, list[int]] = defaultdict(list)
    for index, edge in enumerate(graph.edges):
        used[edge.target].append(edge)
        numbered[edge.target].append(index)
    making = Making([], [], {}, {}, list(graph.modules))
    definitions: dict[Any, Definition | None] = {}
    for node in graph.nodes:
        definition = None
        # A closed box is no module, and what is rolled over time is not one use of it.
        if node.id in chosen and node.count == 1 and node.module is not None:
            signature = tuple((e.slot, e.shape, e.dtype, e.gradient) for e in used[node.id])
            recipe = (node.module, node.operands, signature)
            if recipe not in definitions:
                definitions[recipe] = defined(graph, node, used[node.id])
            definition = definitions[recipe]
        if definition is not None:
            definition.place(node, graph, numbered[node.id], making)
            continue
        making.ids[node.id] = len(making.nodes)
        making.nodes.append(replace(node, id=len(making.nodes)))
        making.edges.extend((i, replace(graph.edges[i], target=making.ids[node.id])) for i in numbered[node.id])
    return making.done(graph)


class Making(NamedTuple):
    """A graph in the making. Where an edge comes from is found out when all nodes have their places: in a graph that is
    rolled over time it may be a later one."""

    nodes: list[GraphNode]
    edges: list[tuple[int | None, Edge]]  # the old edge's index, and the new edge, whose source is still to be found
    ids: dict[int, int]  # the new place of what stays
    ports: dict[tuple[int, int], tuple[int, int]]  # by node and output of what was expanded: inner node and output
    modules: list[int]

    def done(self, graph: Graph) -> Graph:
        stubs = {node.id for node in graph.nodes if node.role == "parameter"}
        spent: set[int] = set()
        edges: list[Edge] = []
        places: dict[int, int] = {}  # of the edges that stay
        for index, new in self.edges:
            if index is None:  # between two nodes of a definition
                edges.append(new)
                continue
            old = graph.edges[index]
            source, output = self.ports.get((old.source, old.output), (self.ids.get(old.source, -1), old.output))
            if old.source in stubs and old.source in spent:  # a stub for each use
                self.nodes.append(replace(self.nodes[source], id=len(self.nodes)))
                source = len(self.nodes) - 1
            spent.add(old.source)
            if old.target in self.ids:
                places[index] = len(edges)
            edges.append(replace(new, source=source, output=output))
        # A definition need not use all that its module is given.
        used = {edge.source for edge in edges}
        kept = [node.id for node in self.nodes if node.role == "operation" or node.id in used]
        number = {id: place for place, id in enumerate(kept)}
        nodes = tuple(replace(self.nodes[id], id=place) for id, place in number.items())
        placed = tuple(replace(edge, source=number[edge.source], target=number[edge.target]) for edge in edges)
        ends = [self.ports[id, 0][0] if (id, 0) in self.ports else self.ids[id] for id in graph.outputs]
        outputs = tuple(dict.fromkeys(number[end] for end in ends))
        ids = {id: number[place] for id, place in self.ids.items() if place in number}
        noted = graph.gradients and graph.gradients.renumbered(ids, places)
        return replace(graph, nodes=nodes, edges=placed, outputs=outputs, gradients=noted, modules=tuple(self.modules))


class Definition:
    """A module's `expand` as a graph, whose inputs are told apart by their slots."""

    def __init__(self, inside: Built, ends: list[tuple[int, int]]) -> None:
        self.inside = inside
        self.ends = ends  # the inner node and output that each output of the module is

    def place(self, node: GraphNode, graph: Graph, used: list[int], making: Making) -> None:
        """Put it where a node was: its inner nodes in a box of the node's name, its edges to the node's sources."""
        box = (*node.scope, Scope(node.name or node.op, node.op))
        by_slot = {graph.edges[index].slot: index for index in used}
        first_module = len(making.modules)
        making.modules.extend(self.inside.modules)
        numbers: dict[int, int] = {}
        for inner in self.inside.nodes:
            if inner.role != "operation" and (inner.name or "").startswith(SLOT):
                continue
            numbers[inner.id] = len(making.nodes)
            operation = inner.role == "operation"
            placed = replace(
                inner, id=len(making.nodes), scope=(*box, *inner.scope) if operation else (), t=node.t, tensor=None
            )
            if inner.module is not None:
                placed = replace(placed, module=first_module + inner.module, released=node.released)
            making.nodes.append(placed)
        for edge in self.inside.edges:
            source = self.inside.nodes[edge.source]
            new = replace(edge, source=numbers.get(edge.source, -1), target=numbers[edge.target])
            if edge.source in numbers:
                making.edges.append((None, new))
            else:
                index = by_slot[int((source.name or "").removeprefix(SLOT))]
                outer = graph.edges[index]
                making.edges.append((index, replace(new, cut=outer.cut, lag=outer.lag)))
        for output, (inner_id, which) in enumerate(self.ends):
            making.ports[node.id, output] = (numbers[inner_id], which)


SLOT = "slot "


def defined(graph: Graph, node: GraphNode, used: list[Edge]) -> Definition | None:
    """Record what a module is defined as, on arrays of the shapes that its node has; None where it is primitive."""
    assert node.module is not None
    key = graph.modules[node.module]
    if key == PRIMITIVE:
        return None
    module = MODULES.get(key)
    if module is None:
        raise ArgumentError(
            f"{node.label} cannot be expanded",
            got="a graph of a module that is gone",
            expected="a graph whose model is still alive, in the process that it was taken in",
        )
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
