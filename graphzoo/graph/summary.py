"""A graph as a table of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .boxes import Closing, Opening, walk
from .words import printable, title

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import GraphNode

NARROWEST = 60
GAP = "  "


class Row(NamedTuple):
    """One line of the table."""

    layer: str
    output: str = ""
    parameters: str = ""
    uses: str = ""


def table(graph: Graph, width: int) -> str:
    """The table of `Graph.summary`."""
    rows = [Row("Layer", "Output", "Parameters", "Uses"), *_rows(graph)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    widths[0] = min(widths[0], max(20, width - sum(widths[1:]) - 3 * len(GAP)))
    widths[1] = min(widths[1], width - widths[0] - sum(widths[2:]) - 3 * len(GAP))
    head, *body = [_laid_out(row, widths) for row in rows]
    rule = "─" * (sum(widths) + 3 * len(GAP))
    return "\n".join([head, rule, *body, rule, *_totals(graph)])


def _rows(graph: Graph) -> Iterator[Row]:
    """The lines between the rules. All uses of a layer are one line, and so are all uses of an operation without
    parameters that have the same result within the same box."""
    weights = _weights(graph)
    layers: dict[object, list[GraphNode]] = {}
    for node in graph.nodes:
        if node.role == "operation":
            repeated = node.t is not None or node.parameters > 0
            key = (node.scope, node.module, node.label, None if repeated else node.outputs)
            layers.setdefault(key, []).append(node)

    counted: set[int] = set()
    all_uses = {uses[0].id: uses for uses in layers.values()}
    for item in walk((uses[0].scope, uses[0]) for uses in layers.values()):
        if isinstance(item, Opening):
            yield Row("  " * (len(item.path) - 1) + printable(title(item.path[-1])))
        elif not isinstance(item, Closing):
            uses = all_uses[item.id]
            own = dict(weight for use in uses for weight in weights.get(use.id, ()))
            new = [size for tensor, size in own.items() if tensor not in counted]
            said = [f"{sum(new):,}"] * bool(new) + ["shared"] * (len(new) < len(own))
            counted.update(own)
            yield Row("  " * len(item.scope) + printable(item.label), _shapes(uses), " + ".join(said), _times(uses))


def _weights(graph: Graph) -> dict[int, list[tuple[int, int]]]:
    """For each operation that has parameters their numbers among the graph's tensors, and their sizes."""
    weights: dict[int, list[tuple[int, int]]] = {}
    for edge in graph.edges:
        source = graph.nodes[edge.source]
        if source.role == "parameter" and source.tensor is not None:
            weights.setdefault(edge.target, []).append((source.tensor, source.parameters))
    return weights


def _shapes(uses: list[GraphNode]) -> str:
    """The shapes of a layer's outputs; a length that differs between its uses is a ``*``."""
    outputs = []
    for specs in zip(*(use.outputs for use in uses), strict=False):
        shapes = {spec.shape for spec in specs}
        if len({len(shape) for shape in shapes}) > 1:
            outputs.append("(...)")
        else:
            lengths = [str(axis[0]) if len(set(axis)) == 1 else "*" for axis in zip(*shapes, strict=True)]
            outputs.append(f"({', '.join(lengths)}{',' * (len(lengths) == 1)})")
    return ", ".join(outputs)


def _times(uses: list[GraphNode]) -> str:
    steps = {use.t for use in uses if use.t is not None}
    times = f"×{len(uses):,}" if len(uses) > 1 else ""
    if len(steps) > 1:
        return f"{times}, t = {min(steps)}…{max(steps)}"
    return times


def _laid_out(row: Row, widths: list[int]) -> str:
    layer, output, parameters, uses = (
        cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(row, widths, strict=True)
    )
    line = GAP.join([layer.ljust(widths[0]), output.ljust(widths[1]), parameters.rjust(widths[2]), uses])
    return line.rstrip()


def _totals(graph: Graph) -> Iterator[str]:
    operations = sum(node.role == "operation" for node in graph.nodes)
    steps = len({node.t for node in graph.nodes} - {None})
    yield _count(operations, "operation") + (f" in {_count(steps, 'time step')}" if steps > 1 else "")
    parameters = {node.tensor: node for node in graph.nodes if node.role == "parameter"}
    total = sum(node.parameters for node in parameters.values())
    size = sum(node.parameters * np.dtype(node.outputs[0].dtype).itemsize for node in parameters.values())
    learnt = {graph.nodes[edge.source].tensor for edge in graph.edges if edge.gradient}
    frozen = sum(node.parameters for tensor, node in parameters.items() if tensor not in learnt)
    yield f"{_count(total, 'parameter')}, {size:,} bytes" + (f"; {frozen:,} of them frozen" if frozen else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
