"""The columns view as SVG text, without Graphviz. Its colours are CSS variables, with others for a dark screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .layout import Band, Layout, Placed, Route, Slot, lay_out
from .words import COLOURS, PLAIN, edge_labels, printable, shorten, title, tooltip

if TYPE_CHECKING:
    from .graph import Graph

STYLE = """
svg { --paper: #ffffff; --ink: #222222; --line: #555555; --faint: #b4b4b4; --carried: #0077bb; --step: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #1b1d20; --ink: #e8e8e8; --line: #a8a8a8; --faint: #666666; --carried: #55b4ee; --step: #26292d; }
}
.paper { fill: var(--paper); }
text { font: 10px Helvetica, Arial, sans-serif; fill: var(--ink); text-anchor: middle; }
.small, .chip text { font-size: 8px; }
.step { fill: var(--step); }
.axis { font-size: 11px; }
.scope rect { fill: none; stroke: var(--line); stroke-dasharray: 4 3; }
.scope text { text-anchor: start; font-size: 9px; }
.edge { fill: none; stroke: var(--line); }
.edge.none { stroke: var(--faint); stroke-dasharray: 3 2; }
.edge.carried, .edge.bus { stroke: var(--carried); }
.edge.carried.none, .edge.bus.none { stroke: var(--faint); }
.edge-label { font-size: 8px; }
.node > rect { stroke: var(--line); }
.node > text { fill: #222222; }
.node > .input, .node > rect.constant { fill: var(--paper); }
.node > rect.constant { stroke: var(--faint); }
.node > .leaf { fill: var(--ink); }
.node > .released { stroke-dasharray: 3 2; }
.node > .output { stroke-width: 2.5; }
.chip rect { fill: var(--paper); stroke: var(--line); stroke-width: 0.7; }
.chip.constant rect { stroke-dasharray: 2 2; }
.chip text { fill: var(--ink); }
marker path { fill: var(--line); }
#arrow-carried path { fill: var(--carried); }
#arrow-none path { fill: var(--faint); }
"""


def columns(graph: Graph, fold: int | None = None) -> str:
    """The columns view; `fold` as in `layout.lay_out`."""
    return "\n".join(lines(graph, lay_out(graph, fold))) + "\n"


def lines(graph: Graph, layout: Layout) -> Iterator[str]:
    """The document, line by line: what lies behind comes first."""
    width, height = number(layout.width), number(layout.height)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(repr(graph)[1:-1])}">'
    )
    families = [f".{family} {{ fill: {colour}; }}" for family, colour in COLOURS.items()]
    yield "<style>" + STYLE + "\n".join([f".operation {{ fill: {PLAIN}; }}", *families]) + "\n</style>"
    yield "<defs>" + "".join(arrow(name) for name in ("arrow", "arrow-carried", "arrow-none")) + "</defs>"
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    for slot in layout.slots:
        if slot.steps:
            yield step(slot, layout)
    for band in sorted(layout.bands, key=lambda band: band.depth):
        yield scope(band)
    labels = edge_labels(graph)
    for route in layout.routes:
        yield edge(graph, route, labels)
    outputs = set(graph.outputs)
    for box in layout.nodes:
        yield node(graph, box, outputs)
    yield "</svg>"


def arrow(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L6,3 L0,6 z"/></marker>'
    )


def step(slot: Slot, layout: Layout) -> str:
    """The background of a time step and its mark on the axis."""
    x, y, width = number(slot.x - 4), number(layout.top), number(slot.width + 8)
    middle, bottom = number(slot.x + slot.width / 2), number(layout.axis - 14)
    height = number(layout.axis - 14 - layout.top)
    return (
        f'<rect class="step" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
        f'<text class="axis" x="{middle}" y="{number(layout.axis)}">{slot.label}</text>'
        f'<line class="edge" x1="{middle}" y1="{bottom}" x2="{middle}" y2="{number(layout.axis - 11)}"/>'
    )


def scope(band: Band) -> str:
    x, y, name = number(band.x), number(band.y), title(band.scope)
    return (
        f'<g class="scope"><rect x="{x}" y="{y}" width="{number(band.width)}" height="{number(band.height)}" rx="5"/>'
        f'<text x="{number(band.x + 5)}" y="{number(band.y + 10)}">{escape(shorten(name, fitting(band.width)))}'
        f"<title>{escape(name)}</title></text></g>"
    )


def fitting(width: float) -> int:
    """How many letters of a scope's name fit."""
    return max(4, int((width - 8) / 5))


def edge(graph: Graph, route: Route, labels: dict[tuple[int, int], str]) -> str:
    edges = [graph.edges[index] for index in route.edges]
    flows = any(edge.gradient for edge in edges)
    kinds = route.kind + ("" if flows else " none")
    marker = "arrow-none" if not flows else "arrow" if route.kind == "up" else "arrow-carried"
    way = "M" + " L".join(f"{number(x)},{number(y)}" for x, y in route.points)
    several = [edge for edge in edges if edge.target == edges[0].target]
    said = "\n".join(f"{edge.argument}: {edge.dtype} {edge.shape}" for edge in several)
    ids = " ".join(map(str, route.edges))
    path = (
        f'<path class="edge {kinds}" d="{way}" marker-end="url(#{marker})" data-edges="{ids}">'
        f"<title>{escape(said)}</title></path>"
    )
    label = ", ".join(dict.fromkeys(filter(None, (labels[edge.target, edge.slot] for edge in several))))
    if not label or route.kind == "bus" or len(route.points) > 2:
        return path
    (x0, y0), (x1, y1) = route.points
    if route.kind == "carried":  # above the line, where it begins: ways to a bus rise where it ends
        place, anchor = f'x="{number(x0 + (2 if x0 < x1 else -2))}" y="{number(y0 - 3)}"', "start" if x0 < x1 else "end"
    else:
        place, anchor = f'x="{number(x1 + 4)}" y="{number(y1 + 9)}"', "start"
    return path + f'<text class="edge-label" {place} style="text-anchor: {anchor}">{escape(label)}</text>'


def node(graph: Graph, box: Placed, outputs: set[int]) -> str:
    """A node's box with its lines, the chips of its parameters, and a tooltip."""
    first = graph[box.ids[0]]
    x, y, width, height = (number(value) for value in (box.x, box.y, box.width, box.height))
    kinds = [first.role, first.family] if first.role == "operation" else [first.role]
    if first.role == "operation" and all(graph[id].released for id in box.ids):
        kinds.append("released")
    if outputs.intersection(box.ids):
        kinds.append("output")
    shape = f'<rect class="{" ".join(kinds)}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'
    if first.role != "operation":
        shape = shape.replace('rx="5"', f'rx="{number(box.height / 2)}"')
    middle = number(box.x + box.width / 2)
    leaf = "" if first.role == "operation" else ' class="leaf"'
    small = ' class="small"' if not leaf else ' class="small leaf"'
    said = tooltip(first) if len(box.ids) == 1 else f"{first.path}\n{len(box.ids)} nodes"
    written = (
        f'<text{leaf} x="{middle}" y="{number(box.y + 14)}">{escape(box.lines[0])}</text>'
        f'<text{small} x="{middle}" y="{number(box.y + 25)}">{escape(box.lines[1])}</text>'
    )
    return (
        f'<g class="node" data-nodes="{" ".join(map(str, box.ids))}"><title>{escape(said)}</title>'
        f"{shape}{written}{chips(graph, box)}</g>"
    )


def chips(graph: Graph, box: Placed) -> str:
    """Constants and parameters of a node: the first two by name, then how many more; all in the tooltips."""
    if not box.chips:
        return ""
    groups = [[chip] for chip in box.chips] if len(box.chips) < 4 else [[box.chips[0]], [box.chips[1]], box.chips[2:]]
    room = box.width / len(groups)
    letters = max(2, int((room - 6) / 4.2))
    made = []
    for place, group in enumerate(groups):
        name = group[0][1] if len(group) == 1 else f"+{len(group)}"
        left, top = box.x + room * place + 1.5, box.y + box.height
        x, y = number(left + room / 2 - 1.5), number(top + 8.5)
        said = "\n\n".join(f"{tooltip(graph[id])}\n{graph[id].outputs[0]}" for id, _ in group)
        made.append(
            f'<g class="chip {graph[group[0][0]].role}" data-nodes="{" ".join(str(id) for id, _ in group)}">'
            f"<title>{escape(said)}</title>"
            f'<rect x="{number(left)}" y="{number(top)}" width="{number(room - 3)}" height="11" rx="3"/>'
            f'<text x="{x}" y="{y}">{escape(shorten(name, letters))}</text></g>'
        )
    return "".join(made)


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def escape(value: str) -> str:
    """Any text as text of XML, or within the quotes of an attribute."""
    lines = (printable(line) for line in value.split("\n"))
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
