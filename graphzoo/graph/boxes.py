"""Boxes within boxes: how the nodes of a graph are grouped, by scope and by time step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..tape import Scope

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import GraphNode

Step = int
Path = tuple[Scope | Step, ...]
"""The boxes around a node, outermost first; a number is the box of a time step."""


Column = tuple[Path, Step]
"""A box within which time runs, and one of the steps in it."""

Columns = dict[Path, dict[Step, int]]
"""For each box within which time runs its steps in order, each with the first node in it."""


class Box:
    """Nodes and boxes in order of first appearance."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: list[Box | GraphNode] = []


class Opening(NamedTuple):
    """The walk enters a box."""

    path: Path


class Closing(NamedTuple):
    """The walk leaves a box."""

    path: Path


def walk(placed: Iterable[tuple[Path, GraphNode]]) -> Iterator[Opening | Closing | GraphNode]:
    """Nodes and the boxes around them, each box opened once, closed once and visited as a whole."""
    outermost = Box(())
    boxes: dict[Path, Box] = {(): outermost}
    for path, node in placed:
        box = outermost
        for depth in range(1, len(path) + 1):
            inner = boxes.get(path[:depth])
            if inner is None:
                inner = boxes[path[:depth]] = Box(path[:depth])
                box.content.append(inner)
            box = inner
        box.content.append(node)

    pending: list[Box | Closing | GraphNode] = list(reversed(outermost.content))
    while pending:
        item = pending.pop()
        if not isinstance(item, Box):
            yield item
            continue
        yield Opening(item.path)
        pending.append(Closing(item.path))
        pending.extend(reversed(item.content))


def paths(graph: Graph) -> list[Path]:
    """For each node of the graph the boxes it is drawn in: its scopes, with its time step among them.

    A parameter's stub stands with the operation that uses it. Inputs and constants stand outside of the models, in the
    column of the time step they are used at.
    """
    depths = _depths_of_time(graph.nodes)
    result: list[Path] = [()] * len(graph.nodes)
    for node in graph.nodes:
        if node.role == "operation":
            result[node.id] = _with_step(node, depths.get(node.id))
    for edge in graph.edges:
        for stub, operation in ((edge.source, edge.target), (edge.target, edge.source)):  # it takes, in a backward view
            role = graph.nodes[stub].role
            if role == "parameter":
                result[stub] = result[operation]
            elif role != "operation" and operation in depths:
                result[stub] = result[operation][: depths[operation] + 1]
    return result


def column_of(path: Path) -> Column | None:
    """The box within which time runs around a node, and the node's step in it; None where there is none."""
    return next(((path[:depth], box) for depth, box in enumerate(path) if not isinstance(box, Scope)), None)


def columns_of(graph: Graph, placed: list[Path]) -> Columns:
    """The boxes within which time runs, with their steps."""
    columns: Columns = {}
    for node in graph.nodes:
        column = column_of(placed[node.id])
        if column is not None:
            box, step = column
            columns.setdefault(box, {}).setdefault(step, node.id)
    return {box: dict(sorted(firsts.items())) for box, firsts in columns.items()}


def bands_of(graph: Graph, placed: list[Path], columns: Columns) -> dict[Path, int]:
    """For each box of columns the row of marks that it shares.

    A box that uses what another one computed at the same time steps is a band above that, with the same marks: layers
    of a network. A box for which time begins anew has marks of its own, to the right: an encoder and its decoder.
    """
    bands = {box: number for number, box in enumerate(columns)}
    for edge in graph.edges:
        source, target = column_of(placed[edge.source]), column_of(placed[edge.target])
        if source is not None and target is not None and source[1] == target[1]:
            bands[target[0]] = bands[source[0]]
    return bands


def _with_step(node: GraphNode, depth: int | None) -> Path:
    if depth is None or node.t is None:
        return node.scope
    return (*node.scope[:depth], node.t, *node.scope[depth:])


def _depths_of_time(nodes: Iterable[GraphNode]) -> dict[int, int]:
    """For each operation with a time step, inside how many of its scopes the boxes of the time steps are drawn.

    Time runs inside the innermost box that holds all of it: a model that is unrolled is one box of columns. Where time
    begins anew (an encoder, then a decoder) each of the boxes within which it runs on gets columns of its own.
    """
    depths: dict[int, int] = {}
    pending = [(0, [node for node in nodes if node.role == "operation" and node.t is not None])]
    while pending:
        depth, timed = pending.pop()
        within: dict[Scope | None, list[GraphNode]] = {}
        for node in timed:
            within.setdefault(node.scope[depth] if depth < len(node.scope) else None, []).append(node)
        steps = [node.t for node in timed if node.t is not None]
        runs_on = sorted(steps) in (steps, steps[::-1])  # on, or, in a backward view, back
        if None in within or (runs_on and len(within) > 1):
            depths.update((node.id, depth) for node in timed)
        else:
            pending.extend((depth + 1, inside) for inside in within.values())
    return depths
