"""Two graphs on one layout: what only one of them has, what differs, and by how much gradients do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .gradients import GraphGradients
from .heat import Ratios
from .layout import lay_out
from .statistics import Statistics
from .svg import Drawing

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode

LISTED = 20
"""How many differences `str` lists of each kind."""


@dataclass(frozen=True, slots=True, repr=False)
class GraphDiff:
    """How a second graph differs from a first, as `Graph.diff` finds out.

    Nodes match that stand in the same boxes at the same time step, with the same name and class, in the same order.

    Attributes:
        graph: all nodes and edges of both; those of one alone have names that begin with "−" (the first) or "+".
        removed, added: ids of the operations that only the first or only the second has.
        changed: by id of an operation in both: what differs, "float32 (4, 8) → float32 (4, 16)".
        ratios: by id of a node with gradients in both: the norm in the second over that in the first; inf and nan where
            one of them is zero. Empty unless both graphs were taken with gradients.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> one, other = (gz.graph(gz.tanh(x * factor).sum(), gradients=True) for factor in (1, 3))
    >>> print(one.diff(other))
    1 operation differs
      Multiply: Multiply(b=1) → Multiply(b=3)
    gradient norms of 4 nodes: 0.0232 to 1 times those of the first, 1 in the middle
    """

    graph: Graph
    removed: tuple[int, ...]
    added: tuple[int, ...]
    changed: Mapping[int, str]
    ratios: Mapping[int, float]

    def __bool__(self) -> bool:
        """Whether the two differ in structure."""
        return bool(self.removed or self.added or self.changed)

    def __str__(self) -> str:
        lines = []
        for title, said in (
            ("only the first has", [self.graph[id].path for id in self.removed]),
            ("only the second has", [self.graph[id].path for id in self.added]),
        ):
            if said:
                lines += [f"{title} {counted(len(said))}", *listed(said)]
        if self.changed:
            differs = "differs" if len(self.changed) == 1 else "differ"
            said = [f"{self.graph[id].path}{at(self.graph[id])}: {what}" for id, what in self.changed.items()]
            lines += [f"{counted(len(self.changed))} {differs}", *listed(said)]
        found = sorted(ratio for ratio in self.ratios.values() if math.isfinite(ratio))
        if found:
            lines.append(
                f"gradient norms of {len(found)} nodes: {found[0]:.3g} to {found[-1]:.3g} times those of the first, "
                f"{found[len(found) // 2]:.3g} in the middle"
            )
        return "\n".join(lines or ["no difference"])

    __repr__ = __str__

    def to_svg(self) -> str:
        """Both on one layout, in columns, coloured by the ratios where there are any: blue where gradients are smaller
        in the second, red where they are larger, white where they are alike; grey where one has none."""
        if not self.ratios:
            return "\n".join(Drawing(self.graph, lay_out(self.graph)).lines()) + "\n"
        nodes = {id: Statistics(1, ratio, None, None, None, 0, 0, 0, ()) for id, ratio in self.ratios.items()}
        shown = replace(self.graph, gradients=GraphGradients((), nodes, {}, {}, {}, {}))
        return "\n".join(Drawing(shown, lay_out(shown), Ratios(self.ratios.values())).lines()) + "\n"


def counted(count: int) -> str:
    return f"{count} operation{'s' * (count != 1)}"


def listed(said: list[str]) -> list[str]:
    more = [f"  and {len(said) - LISTED} more"] if len(said) > LISTED else []
    return [f"  {line}" for line in said[:LISTED]] + more


def at(node: GraphNode) -> str:
    return "" if node.t is None else f" at t = {node.t}"


def difference(first: Graph, second: Graph) -> GraphDiff:
    """Match the nodes of two graphs, and lay the second over the first."""
    keys = keys_of(first), keys_of(second)
    mine = {key: id for id, key in enumerate(keys[0])}
    theirs = {key: id for id, key in enumerate(keys[1])}
    order = woven(keys[0], keys[1])
    ids = {key: id for id, key in enumerate(order)}

    nodes = []
    for key, id in ids.items():
        node = first.nodes[mine[key]] if key in mine else second.nodes[theirs[key]]
        sign = "" if key in mine and key in theirs else "− " if key in mine else "+ "
        # Modules and tensors of the two are numbered apart; what matters of them is in the keys.
        node = replace(node, id=id, name=f"{sign}{node.name or node.op}" if sign else node.name)
        nodes.append(node)
    edges: dict[Hashable, Edge] = {}
    for graph, named in ((first, keys[0]), (second, keys[1])):
        for edge in graph.edges:
            source, target = named[edge.source], named[edge.target]
            made = replace(edge, source=ids[source], target=ids[target])
            edges.setdefault((source, target, edge.argument, edge.output), made)
    ends = [ids[named[id]] for graph, named in ((first, keys[0]), (second, keys[1])) for id in graph.outputs]
    outputs = tuple(dict.fromkeys(ends))
    union = replace(first, nodes=tuple(nodes), edges=tuple(edges.values()), outputs=outputs, gradients=None)

    both = [key for key in order if key in mine and key in theirs]
    changed = {}
    for key in both:
        said = changes(first.nodes[mine[key]], second.nodes[theirs[key]])
        if said and union.nodes[ids[key]].role == "operation":
            changed[ids[key]] = said
    ratios = {}
    if first.gradients is not None and second.gradients is not None:
        for key in both:
            one, other = first.gradients.nodes.get(mine[key]), second.gradients.nodes.get(theirs[key])
            if one is not None and other is not None:
                ratios[ids[key]] = ratio(other.norm, one.norm)
    operations = [key for key in order if union.nodes[ids[key]].role == "operation"]
    return GraphDiff(
        union,
        tuple(ids[key] for key in operations if key not in theirs),
        tuple(ids[key] for key in operations if key not in mine),
        changed,
        ratios,
    )


def ratio(above: float, below: float) -> float:
    if below == 0:
        return math.nan if above == 0 else math.inf
    return above / below


def keys_of(graph: Graph) -> list[Hashable]:
    """What each node is known by in both graphs."""
    keys: list[Hashable] = [None] * len(graph.nodes)
    seen: Counter[Hashable] = Counter()

    def nth(key: Hashable) -> Hashable:
        seen[key] += 1
        return key, seen[key]

    for node in graph.nodes:
        if node.role == "operation":
            keys[node.id] = nth((node.scope, node.name, node.op, node.t))
    for edge in graph.edges:
        for id, operation in ((edge.source, edge.target), (edge.target, edge.source)):  # it takes, in a backward view
            stub = graph.nodes[id]
            if stub.role != "operation" and keys[id] is None:
                keys[id] = nth((stub.role, stub.name, keys[operation], edge.argument))
    return keys


def woven(first: list[Hashable], second: list[Hashable]) -> list[Hashable]:
    """The keys of both in one order: what only the second has follows what it follows there."""
    known = set(first)
    after: dict[Hashable, list[Hashable]] = {}
    previous: Hashable = None
    for key in second:
        if key in known:
            previous = key
        else:
            after.setdefault(previous, []).append(key)
    order = list(after.get(None, []))
    for key in first:
        order += [key, *after.get(key, [])]
    return order


def changes(one: GraphNode, other: GraphNode) -> str:
    """What differs between two nodes that match."""
    said = []
    if one.label != other.label:
        said.append(f"{one.label} → {other.label}")
    if one.outputs != other.outputs:
        said.append(" → ".join(", ".join(map(str, node.outputs)) for node in (one, other)))
    if one.parameters != other.parameters:
        said.append(f"{one.parameters:,} → {other.parameters:,} parameters")
    return "; ".join(said)
