"""Graphs made of graphs: boxes closed, time rolled up, a part cut out, the arrows of the backward pass.

All of them sort the nodes into groups, of which each becomes one node of the new graph.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from .gradients import GraphGradients
from .parts import ArraySpec, Edge, GraphNode
from .plain_math import readable
from .statistics import Statistics

if TYPE_CHECKING:
    from .frozen import Graph


# By depth -------------------------------------------------------------------------------------------------------------


def by_depth(graph: Graph, depth: int) -> Graph:
    """The graph with every box inside of more than `depth` others closed: one node for each visit of it.

    A visit is a stretch of the recording at one time step that stays in the box, so that no circle can arise. What only
    it uses of parameters lies inside.
    """
    groups: list[Hashable] = [("stub", node.id) for node in graph.nodes]
    closed: set[Hashable] = set()
    visit, before = 0, None
    for node in graph.nodes:
        if node.role != "operation":
            continue
        box = (node.scope[: depth + 1], node.t) if len(node.scope) > depth else None
        if box is None or box != before:
            visit += 1
        before = box
        groups[node.id] = ("visit", visit)
        if box is not None:
            closed.add(groups[node.id])
    for edge in graph.edges:
        source, group = graph.nodes[edge.source], groups[edge.target]
        if source.role == "parameter" and group in closed:
            groups[source.id] = group
    return merged(graph, groups, depth)


# Over time ------------------------------------------------------------------------------------------------------------


def by_time(graph: Graph) -> Graph:
    """The graph rolled up over time: one node for each role, with the time steps it is played at counted, and edges
    from step to step bent back."""
    groups: list[Hashable] = [("once", node.id) for node in graph.nodes]
    seen: Counter[Hashable] = Counter()
    for node in graph.nodes:
        if node.role == "operation" and node.t is not None:
            weighty = node.module if node.parameters or node.family == "custom" else None
            key = (node.scope, node.op, node.name, node.operands, weighty)
            seen[key, node.t] += 1
            groups[node.id] = ("role", key, seen[key, node.t])
    for edge in graph.edges:
        stub = graph.nodes[edge.source]
        if stub.role != "operation" and stub.t is not None and groups[stub.id] == ("once", stub.id):
            whose = stub.tensor if stub.role != "constant" else stub.name
            groups[stub.id] = ("stub", groups[edge.target], edge.argument, stub.role, whose)
    return merged(graph, groups, None)


# The merging ----------------------------------------------------------------------------------------------------------


def merged(graph: Graph, groups: Sequence[Hashable], depth: int | None) -> Graph:
    """A graph with one node for each group; edges within a group are inside of it, unless they go on in time."""
    members: dict[Hashable, list[GraphNode]] = defaultdict(list)
    for node in graph.nodes:
        members[groups[node.id]].append(node)
    # In the order of the last operation of each: what a visit of a box uses comes before it.
    order = sorted(members, key=lambda group: members[group][-1 if depth is not None else 0].id)
    number = {group: id for id, group in enumerate(order)}
    rolled = depth is None

    def inside(edge: Edge) -> bool:
        if groups[edge.source] != groups[edge.target]:
            return False
        return not rolled or lag_of(graph, edge) == 0

    # Values that leave a visit are its outputs; a role has those of the operation that plays it.
    leaving: dict[Hashable, dict[tuple[int, int], int]] = defaultdict(dict)
    for id in graph.outputs:
        for output in range(len(graph.nodes[id].outputs)):
            leaving[groups[id]].setdefault((id, output), len(leaving[groups[id]]))
    for edge in graph.edges:
        if not inside(edge):
            ports = leaving[groups[edge.source]]
            ports.setdefault((edge.source, edge.output), len(ports))

    nodes = []
    for group in order:
        found = members[group]
        if len(found) == 1 and (rolled or found[0].role != "operation" or len(found[0].scope) <= (depth or 0)):
            nodes.append(replace(found[0], id=number[group], t=None if rolled else found[0].t))
        elif rolled:
            nodes.append(role(found, number[group]))
        else:
            specs = [graph.nodes[id].outputs[output] for id, output in leaving[group]]
            nodes.append(visit(found, number[group], depth or 0, specs))

    edges: dict[Hashable, Edge] = {}
    indices: dict[Hashable, list[int]] = defaultdict(list)
    slots: Counter[int] = Counter()
    for index, edge in enumerate(graph.edges):
        if inside(edge):
            continue
        source, target = number[groups[edge.source]], number[groups[edge.target]]
        lag = lag_of(graph, edge) if rolled else 0
        closed = not rolled and len(members[groups[edge.target]]) > 1
        output = leaving[groups[edge.source]][edge.source, edge.output]
        if rolled or len(members[groups[edge.source]]) == 1:
            output = edge.output
        key = (source, target, edge.argument.partition("[")[0], output, lag, edge.cut) if rolled else index
        if key in edges:
            if edge.argument not in (edges[key].argument, edges[key].argument.rpartition("…")[2]):  # x[0], x[1], …
                first = edges[key].argument.partition("…")[0]
                edges[key] = replace(edges[key], argument=f"{first}…{edge.argument}")
        else:
            slot = slots[target] if closed else edge.slot
            slots[target] += 1
            edges[key] = replace(edge, source=source, target=target, output=output, slot=slot, lag=lag)
        indices[key].append(index)
    outputs = tuple(dict.fromkeys(number[groups[id]] for id in graph.outputs))
    made = replace(graph, nodes=tuple(nodes), edges=tuple(edges.values()), outputs=outputs, gradients=None)
    if graph.gradients is None:
        return made
    ids = {node.id: number[groups[node.id]] for node in graph.nodes}
    sources = {id for ports in leaving.values() for id, _ in ports}
    return replace(made, gradients=carried(graph.gradients, ids, list(indices.values()), sources, rolled))


def lag_of(graph: Graph, edge: Edge) -> int:
    """How many time steps an edge goes on."""
    before, after = graph.nodes[edge.source].t, graph.nodes[edge.target].t
    return 0 if before is None or after is None else after - before


def role(found: list[GraphNode], id: int) -> GraphNode:
    """One node for all that play a role over time."""
    return replace(
        found[0], id=id, t=None, count=len(found), saved_bytes=sum(node.saved_bytes for node in found),
        released=all(node.released for node in found), values=joined([node.values for node in found]),
    )  # fmt: skip


def visit(found: list[GraphNode], id: int, depth: int, outputs: Iterable[ArraySpec]) -> GraphNode:
    """One node for all that a visit of a box consists of."""
    operations = [node for node in found if node.role == "operation"]
    box = operations[0].scope[depth]
    weights = {node.tensor: node.parameters for node in found if node.role == "parameter"}
    families = {node.family for node in operations}
    return replace(
        operations[0], id=id, op=box.kind or box.name, name=box.name, scope=operations[0].scope[:depth],
        family=families.pop() if len(families) == 1 else "custom", outputs=tuple(outputs), operands=(),
        parameters=sum(weights.values()), saved_bytes=sum(node.saved_bytes for node in operations),
        released=all(node.released for node in operations), module=None, formulas=None, values=(),
        count=sum(node.count for node in operations),
    )  # fmt: skip


def joined(values: Sequence[tuple[Statistics, ...]]) -> tuple[Statistics, ...]:
    """Statistics of each output over several nodes; none where one of them was not looked at."""
    if not all(values):
        return ()
    return tuple(Statistics.together(each) for each in zip(*values, strict=True))


def carried(
    gradients: GraphGradients, ids: dict[int, int], edges: list[list[int]], leaving: set[int], rolled: bool
) -> GraphGradients:
    """What a backward pass carried, for the groups: at a closed box what arrived at the values that left it."""
    nodes: dict[int, list[Statistics]] = defaultdict(list)
    for id, one in gradients.nodes.items():
        if rolled or id in leaving:
            nodes[ids[id]].append(one)
    alone = Counter(ids.values())
    return GraphGradients(
        order=tuple(dict.fromkeys(ids[id] for id in gradients.order if ids[id] in nodes)),
        nodes={id: Statistics.together(several) for id, several in nodes.items()},
        edges={
            new: Statistics.together(found)
            for new, old in enumerate(edges)
            if (found := [gradients.edges[index] for index in old if index in gradients.edges])
        },
        cosines={ids[id]: cosine for id, cosine in gradients.cosines.items() if alone[ids[id]] == 1},
        gathered={ids[id]: norm for id, norm in gradients.gathered.items() if alone[ids[id]] == 1},
        totals=gradients.totals,
    )


# A part ---------------------------------------------------------------------------------------------------------------


def part(graph: Graph, chosen: set[int]) -> Graph:
    """The chosen operations with all stubs that they use; what they take from others stands there as an input."""
    kept = {id for id in chosen if graph.nodes[id].role == "operation"}
    stubs = {
        edge.source for edge in graph.edges if edge.target in kept and graph.nodes[edge.source].role != "operation"
    }
    outside = {
        (edge.source, edge.output)
        for edge in graph.edges
        if edge.target in kept and edge.source not in kept and edge.source not in stubs
    }
    made: list[GraphNode] = []
    number: dict[object, int] = {}
    tensors = max((node.tensor for node in graph.nodes if node.tensor is not None), default=-1) + 1
    for node in graph.nodes:
        for output in range(len(node.outputs)):
            if (node.id, output) in outside:
                number[node.id, output] = len(made)
                made.append(entering(node, output, len(made), tensors + len(number)))
        if node.id in kept or node.id in stubs:
            number[node.id] = len(made)
            made.append(replace(node, id=len(made)))
    edges, indices = [], []
    for index, edge in enumerate(graph.edges):
        if edge.target not in kept:
            continue
        inner = edge.source in number
        source = number[edge.source] if inner else number[edge.source, edge.output]
        output = edge.output if inner else 0
        edges.append(replace(edge, source=source, output=output, target=number[edge.target]))
        indices.append(index)
    leaving = {edge.source for edge in graph.edges if edge.target not in kept} | set(graph.outputs)
    outputs = tuple(number[id] for id in sorted(kept & leaving))
    result = replace(graph, nodes=tuple(made), edges=tuple(edges), outputs=outputs, gradients=None)
    if graph.gradients is None:
        return result
    ids = {id: new for id, new in number.items() if isinstance(id, int)}
    places = {old: new for new, old in enumerate(indices)}
    return replace(result, gradients=graph.gradients.renumbered(ids, places))


def entering(node: GraphNode, output: int, id: int, tensor: int) -> GraphNode:
    """What stands for a value that comes from outside of a part."""
    which = f"[{output}]" if len(node.outputs) > 1 else ""
    return GraphNode(
        id, "input", "Input", name=f"{node.label}{which}", t=node.t, outputs=(node.outputs[output],), tensor=tensor
    )


# Backwards ------------------------------------------------------------------------------------------------------------


def backwards(graph: Graph) -> Graph:
    """The edges along which gradients flow, turned round, each with the rule that is computed along it."""
    if graph.backward:
        raise ArgumentError("this is a backward view already", got=repr(graph), expected="the graph it was taken of")
    flowing = [(index, edge) for index, edge in enumerate(graph.edges) if edge.gradient and not edge.cut]
    reached = {id for _, edge in flowing for id in (edge.source, edge.target)} | set(graph.outputs)
    order = [node for node in reversed(graph.nodes) if node.id in reached]
    ids = {node.id: new for new, node in enumerate(order)}
    taken: Counter[int] = Counter()
    edges = []
    for _, edge in flowing:
        slot = taken[edge.source]
        taken[edge.source] += 1
        rule = rule_of(graph.nodes[edge.target], edge.argument)
        turned = replace(edge, source=ids[edge.target], target=ids[edge.source], output=0, slot=slot, rule=rule)
        edges.append(replace(turned, own=False, lag=-edge.lag))
    # Where gradients end: at the stubs that nothing hands them on from.
    ends = tuple(ids[node.id] for node in order if node.role != "operation")
    made = replace(
        graph, nodes=tuple(replace(node, id=ids[node.id]) for node in order), edges=tuple(edges), outputs=ends,
        gradients=None, backward=True,
    )  # fmt: skip
    if graph.gradients is None:
        return made
    places = {old: new for new, (old, _) in enumerate(flowing)}
    return replace(made, gradients=graph.gradients.renumbered(ids, places))


def rule_of(node: GraphNode, argument: str) -> str:
    """The equation of a node's formulas that gives the gradient of an argument, in plain signs; "" if none is stated.

    Formulas name what they are about in the document's letters: the gradient of `weight_ih` is that of W_ih.
    """
    if node.formulas is None:
        return ""
    try:
        equations = readable(f"{node.formulas.backward} \\quad {node.formulas.parameters}")
    except ValueError:  # a user's formulas may say more than is known here
        return ""
    about = {equation: names_in(equation.rpartition("=")[0]) for equation in equations if "∂L/∂" in equation}
    wanted = letters(argument)
    for equation, names in about.items():
        if wanted in names:
            return equation
    for equation, names in about.items():
        if wanted[0] in {name[0] for name in names}:
            return equation
    return next(iter(about)) if len(about) == 1 else ""


def names_in(left: str) -> list[str]:
    """The letters of what is differentiated for on the left of an equation: ``∂L/∂W_ih`` is about wih."""
    return [letters(piece.partition("=")[0]) for piece in left.split("∂L/∂")[1:]]


def letters(name: str) -> str:
    """A name's letters in lower case; weights are W and biases b, as in formulas."""
    short = name.replace("weight", "W").replace("bias", "b")
    short = {"input": "x", "target": "p"}.get(short, short)  # of the losses
    return "".join(letter for letter in short.lower() if letter.isalnum()) or "?"
