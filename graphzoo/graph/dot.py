"""The graph in Graphviz's DOT language.

Two things decide whether such a picture can be read. A parameter is a small stub at each of its uses: one node for a
weight that every time step uses ties the layout into a knot. And time steps are columns: a ruler of steps keeps them in
order, and an edge from one step to the next has no say in how high its ends are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ArgumentError, describe
from ..tape import Scope
from .boxes import Closing, Column, Columns, Opening, Path, bands_of, column_of, columns_of, paths, walk
from .heat import Heat, together
from .words import (
    CARRIED,
    COLOURS,
    CUT,
    FAINT,
    LINE,
    PLAIN,
    edge_labels,
    edge_tooltip,
    printable,
    shared,
    shorten,
    step_of,
    title,
    tooltip,
)

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode

DIRECTIONS = ("TB", "BT", "LR", "RL")


def lines(graph: Graph, rankdir: str | None, heat: Heat | None = None) -> Iterator[str]:
    """The lines between the braces of `digraph { ... }`; with `heat` in the colours of gradient norms."""
    placed = paths(graph)
    columns = columns_of(graph, placed)
    if rankdir is None:
        rankdir = "BT" if columns else "TB"
    if rankdir not in DIRECTIONS:
        raise ArgumentError(
            "a direction to draw in is one of four", got=describe(rankdir), expected=", ".join(DIRECTIONS)
        )

    stubs = _shared_stubs(graph)
    yield from _defaults(rankdir, bool(columns), shared(graph))
    if columns:
        yield from _ruler(columns, bands_of(graph, placed, columns))
    yield from _boxes(graph, placed, stubs)
    labels = edge_labels(graph)
    states = _states_carried_over(graph, placed, columns)
    for index, edge in enumerate(graph.edges):
        warm = {} if heat is None else _warmth_of_edge(graph, index, heat)
        if edge.source not in stubs or stubs[edge.source][0] == edge.source:
            before, after = column_of(placed[edge.source]), column_of(placed[edge.target])
            label = labels[edge.target, edge.slot]
            if edge.lag:
                label = ", ".join(filter(None, (label, step_of(edge))))
                yield _edge(edge, warm, label=text(label), constraint="false", color=CARRIED, fontcolor=CARRIED)
            elif before is not None and after is not None and before != after:
                yield from _edge_between_columns(edge, warm, label, before, after, columns)
            elif edge.source in states and after is not None:
                yield _edge(edge, warm, xlabel=text(label), constraint="false", color=CARRIED, fontcolor=CARRIED)
            else:
                spaced = bool(columns) and graph.nodes[edge.source].role == "operation"
                yield _edge(edge, warm, label=text(label), minlen="2" if spaced else "")
    if heat is not None:
        yield from _warmth_of_nodes(graph, stubs, heat)


def _defaults(rankdir: str, timed: bool, legend: list[str]) -> Iterator[str]:
    font = {"fontname": "Helvetica", "fontsize": "10"}
    layout = {"ranksep": "0.15", "newrank": "true", "splines": "line"} if timed else {"ranksep": "0.3"}
    label = {"label": text("\n".join(["shared parameters", *legend])), "labelloc": "b"} if legend else {}
    yield f"  graph{_attributes(rankdir=rankdir, nodesep='0.2', fontcolor=LINE, **font, **layout, **label)}"
    shape = {"shape": "box", "style": "rounded,filled", "height": "0.3", "margin": "0.1,0.05"}
    yield f"  node{_attributes(color=LINE, **shape, **font)}"
    yield f"  edge{_attributes(color=LINE, fontcolor=LINE, arrowsize='0.6', fontname='Helvetica', fontsize='8')}"


def _shared_stubs(graph: Graph) -> dict[int, list[int]]:
    """The parameters of a module that are drawn as one stub at each of its uses: for each node those in its stub."""
    own: dict[int, dict[int, None]] = {}
    for edge in graph.edges:
        if edge.own and graph.nodes[edge.source].role == "parameter":
            own.setdefault(edge.target, {})[edge.source] = None
    return {id: list(together) for together in own.values() for id in together}


def _boxes(graph: Graph, placed: list[Path], stubs: dict[int, list[int]]) -> Iterator[str]:
    """The nodes, inside the boxes of their scopes and time steps."""
    drawn = [node for node in graph.nodes if node.id not in stubs or stubs[node.id][0] == node.id]
    outputs = set(graph.outputs)
    clusters = 0
    indent = "  "
    for item in walk((placed[node.id], node) for node in drawn):
        if isinstance(item, Opening):
            box = item.path[-1]
            yield f"{indent}subgraph cluster_{clusters} {{"
            clusters += 1
            indent += "  "
            style, colour = ("dashed", LINE) if isinstance(box, Scope) else ("filled", "#f4f4f4")
            yield f"{indent}graph{_attributes(label=text(shorten(title(box))), style=style, color=colour)}"
        elif isinstance(item, Closing):
            indent = indent[2:]
            yield f"{indent}}}"
        elif item.role == "operation":
            yield f"{indent}n{item.id}{_operation(item, item.id in outputs)}"
        else:
            yield f"{indent}n{item.id}{_stub([graph.nodes[id] for id in stubs.get(item.id, [item.id])])}"


def _ruler(columns: Columns, bands: dict[Path, int]) -> Iterator[str]:
    """Keeps columns in order of time: an invisible row of marks outside of all boxes, each held to its columns.

    Inside of the boxes Graphviz would not heed the order of the marks.
    """
    held: dict[tuple[int, int], list[str]] = {}
    for box, firsts in columns.items():
        for step, first in firsts.items():
            held.setdefault((bands[box], step), []).append(f"n{first}")
    marks = {f'"t{band}_{step}"': held[band, step] for band, step in sorted(held)}
    yield "  {"
    yield f"    graph{_attributes(rank='same')}"
    yield f"    node{_attributes(shape='point', style='invis', width='0', height='0')}"
    yield f"    {' -> '.join(marks)}{_attributes(style='invis')}"
    yield "  }"
    for mark, nodes in marks.items():
        yield f"  {mark} -> {nodes[0]}{_attributes(style='invis', weight='100')}"


def _states_carried_over(graph: Graph, placed: list[Path], columns: Columns) -> set[int]:
    """Nodes outside of time through which a state passes from one box of columns to a single step of another.

    They must not lift that step over the others; what all steps receive stands below all of them.
    """
    after_time: set[int] = set()
    entries: dict[Path, dict[int, set[int]]] = {}  # by box and step: the nodes that it receives from
    for edge in graph.edges:
        before, after = column_of(placed[edge.source]), column_of(placed[edge.target])
        if after is None and (before is not None or edge.source in after_time):
            after_time.add(edge.target)
        elif after is not None and edge.source in after_time:
            entries.setdefault(after[0], {}).setdefault(after[1], set()).add(edge.source)
    single = [steps for box, steps in entries.items() if len(steps) == 1 < len(columns[box])]
    return {source for steps in single for sources in steps.values() for source in sources}


def _operation(node: GraphNode, is_output: bool) -> str:
    shapes = ", ".join(str(spec.shape) for spec in node.outputs)
    dtypes = " ".join(dict.fromkeys(spec.dtype for spec in node.outputs))
    return _attributes(
        label=text(f"{shorten(node.label)}\n{dtypes} {shapes}" + (f" {node.times}" if node.times else "")),
        tooltip=text(tooltip(node, formulas=True)),
        fillcolor=COLOURS.get(node.family, PLAIN),
        style="rounded,filled,dashed" if node.released else "rounded,filled",
        penwidth="2" if is_output else "1",
    )


def _stub(nodes: list[GraphNode]) -> str:
    """An input, a constant, or the parameters of one use of a module."""
    role = nodes[0].role
    return _attributes(
        label=text("\n".join(f"{shorten(node.label)} {node.outputs[0]}" for node in nodes)),
        tooltip=text("\n".join(tooltip(node) for node in nodes)),
        shape="ellipse" if role == "input" else "box",
        style="filled",
        fillcolor="#ffffff",
        color=FAINT if role == "constant" else LINE,
        fontsize="8",
        height="0.2",
        margin="0.05,0.03",
    )


def _warmth_of_edge(graph: Graph, index: int, heat: Heat) -> dict[str, str]:
    """An edge's colour by the norm of the gradient along it."""
    found = graph.gradients and graph.gradients.edges.get(index)
    if not found:
        return {}
    return {"color": heat.colour(found.norm), "penwidth": "2"}


def _warmth_of_nodes(graph: Graph, stubs: dict[int, list[int]], heat: Heat) -> Iterator[str]:
    """The nodes' colours, given to them once more: a later attribute takes the place of an earlier one."""
    known = graph.gradients.nodes if graph.gradients else {}
    for node in graph.nodes:
        if node.id in stubs and stubs[node.id][0] != node.id:
            continue
        norms = [known[id].norm for id in stubs.get(node.id, [node.id]) if id in known]
        if norms:
            norm = together(norms)
            ink = "#ffffff" if heat.is_dark(norm) else "#222222"
            said = text(f"{tooltip(node)}\n{heat.what} {norm:.4g}")
            yield f"  n{node.id}{_attributes(fillcolor=heat.colour(norm), fontcolor=ink, tooltip=said)}"
        elif node.role == "operation":
            yield f"  n{node.id}{_attributes(fillcolor=FAINT)}"


def _edge(edge: Edge, warm: dict[str, str], **layout: str) -> str:
    """An edge with attributes for the layout; empty ones are left out.

    Where there are columns, edges from operations are two levels long (`minlen`), so that stubs lie on levels of their
    own and not across the edges that run from column to column.
    """
    attributes = {key: value for key, value in layout.items() if value}
    attributes["tooltip"] = text(edge_tooltip(edge))
    if edge.cut:
        attributes |= {"color": CUT, "fontcolor": CUT, "style": "dashed", "label": "✂"}
    elif not edge.gradient:
        attributes |= {"color": FAINT, "style": "dashed"}
    attributes |= warm
    return f"  n{edge.source} -> n{edge.target}{_attributes(**attributes)}"


def _edge_between_columns(
    edge: Edge, warm: dict[str, str], label: str, before: Column, after: Column, columns: Columns
) -> Iterator[str]:
    """An edge from one time step to another, or from a band to the one above it: it must not shift columns.

    Its label takes no room (`xlabel`); labels on level edges between columns make Graphviz 2 fail.
    """
    colour = {"color": CARRIED, "fontcolor": CARRIED} if before[1] != after[1] else {}
    yield _edge(edge, warm, xlabel=text(label), constraint="false", **colour)
    if before[1] == after[1]:
        box, step = after  # all of this column stands above the source
        yield f"  n{edge.source} -> n{columns[box][step]}{_attributes(style='invis', weight='10')}"


def text(value: str) -> str:
    r"""Any text, as what stands between the quotes of a label: Graphviz reads escapes and HTML entities in it.

    >>> print(text('a "b" \\N & c'))
    a \"b\" \\N &amp; c
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return "\\n".join(printable(line) for line in escaped.split("\n"))


def _attributes(**values: str) -> str:
    return " [" + ", ".join(f'{key}="{value}"' for key, value in values.items()) + "]"
