"""The columns view as SVG text, without Graphviz. Its colours are CSS variables, with others for a dark screen."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .heat import Heat, together
from .layout import MARGIN, Band, Layout, Placed, Route, Slot, lay_out
from .words import COLOURS, PLAIN, edge_labels, edge_tooltip, printable, shared, shorten, step_of, title, tooltip

if TYPE_CHECKING:
    from .frozen import Graph

LEGEND = 460.0  # pixels that the scale of gradient norms takes
NARROW = 400.0  # a picture is made so wide for its list of shared parameters

STYLE = """
svg { --paper: #ffffff; --ink: #222222; --line: #555555; --faint: #b4b4b4; --carried: #0077bb; --cut: #cc3311;
  --step: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #1b1d20; --ink: #e8e8e8; --line: #a8a8a8; --faint: #666666; --carried: #55b4ee; --cut: #ff7755;
    --step: #26292d; }
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
.edge.carried, .edge.bus, .edge.loop { stroke: var(--carried); }
.edge.cut { stroke: var(--cut); stroke-dasharray: 5 3; }
.edge-label.scissors { font-size: 12px; fill: var(--cut); }
.edge.carried.none, .edge.bus.none, .edge.loop.none { stroke: var(--faint); }
.edge-label { font-size: 8px; }
.node > rect { stroke: var(--line); }
.node > text { fill: #222222; }
.node > .input, .node > rect.constant { fill: var(--paper); }
.node > rect.constant { stroke: var(--faint); }
.node > .leaf { fill: var(--ink); }
.node > .released { stroke-dasharray: 3 2; }
.node > .output { stroke-width: 2.5; }
.node > rect.cold { fill: var(--faint); }
.node > .on-dark { fill: #ffffff; }
.node > .on-light, .chip > .on-light { fill: #222222; }
.chip > .on-dark { fill: #ffffff; }
.start { text-anchor: start; }
.end { text-anchor: end; }
.chip rect { fill: var(--paper); stroke: var(--line); stroke-width: 0.7; }
.chip.constant rect { stroke-dasharray: 2 2; }
.chip text { fill: var(--ink); }
marker path { fill: var(--line); }
#arrow-carried path { fill: var(--carried); }
#arrow-none path { fill: var(--faint); }
"""


def columns(graph: Graph, fold: int | None = None, heat: Heat | None = None) -> str:
    """The columns view; `fold` as in `layout.lay_out`; with `heat` in the colours of gradient norms."""
    return "\n".join(Drawing(graph, lay_out(graph, fold), heat).lines()) + "\n"


class Drawing:
    """One picture: a graph, where its nodes stand, and the scale of gradient norms if they are shown."""

    def __init__(self, graph: Graph, layout: Layout, heat: Heat | None = None) -> None:
        self.graph = graph
        self.layout = layout
        self.heat = heat
        self.labels = edge_labels(graph)
        self.outputs = set(graph.outputs)
        self.what = Heat.what if heat is None else heat.what
        self.shared = wrapped(shared(graph), max(layout.width, NARROW) - 2 * MARGIN)

    def lines(self) -> Iterator[str]:
        """The document, line by line: what lies behind comes first."""
        layout = self.layout
        width = number(max(layout.width, 0 if self.heat is None else LEGEND, NARROW if self.shared else 0))
        below = (0 if self.heat is None else 24) + (11 * len(self.shared) + 4 if self.shared else 0)
        height = number(layout.height + below)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{escape(repr(self.graph)[1:-1])}">'
        )
        families = [f".{family} {{ fill: {colour}; }}" for family, colour in COLOURS.items()]
        yield "<style>" + STYLE + "\n".join([f".operation {{ fill: {PLAIN}; }}", *families]) + "\n</style>"
        yield "<defs>" + "".join(arrow(name) for name in ("arrow", "arrow-carried", "arrow-none")) + "</defs>"
        yield f'<rect class="paper" width="{width}" height="{height}"/>'
        yield from (self.step(slot) for slot in layout.slots if slot.steps)
        yield from (scope(band) for band in sorted(layout.bands, key=lambda band: band.depth))
        yield from (self.edge(route) for route in layout.routes)
        yield from (self.node(box) for box in layout.nodes)
        if self.heat is not None:
            yield legend(self.heat, layout.height)
        for place, line in enumerate(self.shared):
            y = number(float(height) - 4 - 11 * (len(self.shared) - 1 - place))
            yield f'<text class="small start" x="{number(MARGIN)}" y="{y}">{escape(line)}</text>'
        yield "</svg>"

    def step(self, slot: Slot) -> str:
        """The background of a time step and its mark on the axis."""
        x, y, width = number(slot.x - 4), number(self.layout.top), number(slot.width + 8)
        middle, axis = number(slot.x + slot.width / 2), self.layout.axis
        height = number(axis - 14 - self.layout.top)
        return (
            f'<rect class="step" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
            f'<text class="axis" x="{middle}" y="{number(axis)}">{slot.label}</text>'
            f'<line class="edge" x1="{middle}" y1="{number(axis - 14)}" x2="{middle}" y2="{number(axis - 11)}"/>'
        )

    def edge(self, route: Route) -> str:
        edges = [self.graph.edges[index] for index in route.edges]
        flows = any(edge.gradient for edge in edges)
        cut = all(edge.cut for edge in edges)
        kinds = route.kind + (" cut" if cut else "" if flows else " none")
        marker = "arrow-none" if not flows else "arrow" if route.kind == "up" else "arrow-carried"
        way = "M" + " L".join(f"{number(x)},{number(y)}" for x, y in route.points)
        several = [edge for edge in edges if edge.target == edges[0].target]
        said = "\n".join(edge_tooltip(edge) for edge in several)
        colour = ""
        norm = self.norm("edges", route.edges)
        if self.heat is not None and norm is not None:
            said += f"\n{self.what} {norm:.4g}"
            steps = len({self.graph[edge.target].t for edge in edges})
            colour = f' style="stroke: {self.heat.colour(norm / math.sqrt(steps))}; stroke-width: 2.5"'
        path = (
            f'<path class="edge {kinds}" d="{way}" marker-end="url(#{marker})" '
            f'data-edges="{" ".join(map(str, route.edges))}"{colour}><title>{escape(said)}</title></path>'
        )
        if cut:
            (x0, y0), (x1, y1) = route.points[:2] if len(route.points) == 2 else route.points[1:3]
            return path + edge_label("scissors", (x0 + x1) / 2, (y0 + y1) / 2 + 4, "✂")
        if route.kind == "loop" and edges[0].lag != 1:
            x, y = route.points[1]
            return path + edge_label("start", x + 2, y, step_of(edges[0]))
        label = ", ".join(dict.fromkeys(filter(None, (self.labels[edge.target, edge.slot] for edge in several))))
        if not label or edges[0].rule or route.kind == "bus" or len(route.points) > 2:
            return path
        (x0, y0), (x1, y1) = route.points
        if route.kind != "carried":
            return path + edge_label("start", x1 + 4, y1 + 9, label)
        # Above the line, where it begins: ways to a bus rise where it ends.
        return path + (
            edge_label("start", x0 + 2, y0 - 3, label) if x0 < x1 else edge_label("end", x0 - 2, y0 - 3, label)
        )

    def node(self, box: Placed) -> str:
        """A node's box with its lines, the chips of its parameters, and a tooltip."""
        first = self.graph[box.ids[0]]
        operation = first.role == "operation"
        kinds = [first.role, first.family] if operation else [first.role]
        if operation and all(self.graph[id].released for id in box.ids):
            kinds.append("released")
        if self.outputs.intersection(box.ids):
            kinds.append("output")
        said = tooltip(first) if len(box.ids) == 1 else f"{first.path}\n{len(box.ids)} nodes"
        colour, text = self.warmth(box.ids, len(box.ids))
        if text is None:
            kinds, text = [*kinds, "cold"], ""
        norm = self.norm("nodes", box.ids)
        said += "" if norm is None else f"\n{self.what} {norm:.4g}"
        text = text or ("" if operation else "leaf")
        x, y, width, height = (number(value) for value in (box.x, box.y, box.width, box.height))
        middle, round_by = number(box.x + box.width / 2), number(5 if operation else box.height / 2)
        place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="{round_by}"'
        return (
            f'<g class="node" data-nodes="{" ".join(map(str, box.ids))}"><title>{escape(said)}</title>'
            f'<rect class="{" ".join(kinds)}" {place}{colour}/>'
            f'<text class="{text}" x="{middle}" y="{number(box.y + 14)}">{escape(box.lines[0])}</text>'
            f'<text class="small {text}" x="{middle}" y="{number(box.y + 25)}">{escape(box.lines[1])}</text>'
            f"{self.chips(box)}</g>"
        )

    def chips(self, box: Placed) -> str:
        """Constants and parameters of a node: the first two by name, then how many more; all in the tooltips."""
        if not box.chips:
            return ""
        groups = [[chip] for chip in box.chips]
        if len(groups) > 3:
            groups = [*groups[:2], list(box.chips[2:])]
        room = box.width / len(groups)
        letters = max(2, int((room - 6) / 4.2))
        made = []
        for place, group in enumerate(groups):
            name = group[0][1] if len(group) == 1 else f"+{len(group)}"
            ids = [id for id, _ in group]
            left, top = box.x + room * place + 1.5, box.y + box.height
            x, y = number(left + room / 2 - 1.5), number(top + 8.5)
            said = "\n\n".join(f"{tooltip(self.graph[id])}\n{self.graph[id].outputs[0]}" for id in ids)
            colour, text = self.warmth(ids)
            made.append(
                f'<g class="chip {self.graph[ids[0]].role}" data-nodes="{" ".join(map(str, ids))}">'
                f"<title>{escape(said)}</title>"
                f'<rect x="{number(left)}" y="{number(top)}" width="{number(room - 3)}" height="11" rx="3"{colour}/>'
                f'<text class="{text or ""}" x="{x}" y="{y}">{escape(shorten(name, letters))}</text></g>'
            )
        return "".join(made)

    def norm(self, table: str, ids: Iterable[int]) -> float | None:
        """The norm of the gradients of some nodes or edges together; None where none flowed, or none is known."""
        if self.graph.gradients is None:
            return None
        known = getattr(self.graph.gradients, table)
        found = [known[id].norm for id in ids if id in known]
        return together(found) if found else None

    def warmth(self, ids: Iterable[int], steps: int = 1) -> tuple[str, str | None]:
        """Where norms are shown, the fill of some nodes and the class of text on it, None where no gradient flowed.

        A folded place, of so many time steps, has the colour of the root of their mean square: that of one of them.
        """
        if self.heat is None:
            return "", ""
        norm = self.norm("nodes", ids)
        if norm is None:
            return "", None
        norm /= math.sqrt(steps)
        return f' style="fill: {self.heat.colour(norm)}"', "on-dark" if self.heat.is_dark(norm) else "on-light"


def edge_label(kind: str, x: float, y: float, label: str) -> str:
    return f'<text class="edge-label {kind}" x="{number(x)}" y="{number(y)}">{escape(label)}</text>'


def arrow(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" markerHeight="6" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L6,3 L0,6 z"/></marker>'
    )


def scope(band: Band) -> str:
    x, y, name = number(band.x), number(band.y), title(band.scope)
    return (
        f'<g class="scope"><rect x="{x}" y="{y}" width="{number(band.width)}" height="{number(band.height)}" rx="5"/>'
        f'<text x="{number(band.x + 5)}" y="{number(band.y + 10)}">{escape(shorten(name, fitting(band.width)))}'
        f"<title>{escape(name)}</title></text></g>"
    )


def legend(heat: Heat, top: float) -> str:
    """The scale of norms below the picture."""
    steps = 24
    norms = [heat.low * (heat.high / heat.low) ** (step / (steps - 1)) for step in range(steps)]
    bar = "".join(
        f'<rect x="{number(MARGIN + 152 + 5 * step)}" y="{number(top)}" width="5.5" height="10" '
        f'style="fill: {heat.colour(norm)}"/>'
        for step, norm in enumerate(norms)
    )
    y, end = number(top + 8.5), number(MARGIN + 158 + 5 * steps)
    return (
        f'<g class="legend">{bar}<text class="start" x="{number(MARGIN)}" y="{y}">{heat.what} {heat.low:.1e}</text>'
        f'<text class="start" x="{end}" y="{y}">{heat.high:.1e}; grey: no gradient</text></g>'
    )


def wrapped(parameters: list[str], width: float) -> list[str]:
    """The list of shared parameters in lines that fit, four at the most."""
    if not parameters:
        return []
    letters = max(30, int(width / 4.4))
    lines = textwrap.wrap("shared parameters: " + ", ".join(part.replace(" ", "\xa0") for part in parameters), letters)
    if len(lines) > 4:
        lines = [*lines[:3], shorten(lines[3], letters - 2) + " …"]
    return [line.replace("\xa0", " ") for line in lines]


def fitting(width: float) -> int:
    """How many letters of a scope's name fit."""
    return max(4, int((width - 8) / 5))


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def escape(value: str) -> str:
    """Any text as text of XML, or within the quotes of an attribute."""
    lines = (printable(line) for line in value.split("\n"))
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
