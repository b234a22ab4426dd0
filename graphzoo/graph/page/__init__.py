"""One self-contained page of a graph: the columns view with all that is known of each node, and the backward pass to go
through node by node. It needs no network, and its policy forbids it one."""

from __future__ import annotations

import contextlib
import json
import math
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...errors import ArgumentError
from ...module import Formulas
from ..heat import BROKEN, SCALE, ZERO, Heat, between
from ..layout import Layout, lay_out
from ..mathml import equations, mathml
from ..svg import Drawing

if TYPE_CHECKING:
    from ..frozen import Graph
    from ..parts import GraphNode
    from ..statistics import Statistics

MANY_NODES = 5000
"""A graph of more nodes than this is folded by itself: its time, and if that leaves as many, its innermost boxes."""

FOLDED = 15
MOST_FOR_GRAPHVIZ = 2000
"""A graph without time of more nodes than this stays in rows, which take no time to lay out."""

WASM_VERSION = "1.29.2"
PASSES = {"forward": "Forward", "backward": "Backward", "parameters": "Parameter gradients"}


def html(graph: Graph, fold: int | None, title: str, reach: Any = None) -> str:
    """The page. `fold` as in `to_svg`, None folds graphs of very many nodes only; `reach` as in `Graph.to_html`.

    What is not drawn as it is elsewhere is said in a note."""
    notes = []
    steps = {node.t for node in graph.nodes} - {None}
    if fold is None and len(graph) > MANY_NODES and len(steps) > FOLDED:
        fold = FOLDED
    if fold is not None and len(steps) > fold:
        notes.append(f"the {len(steps)} time steps are folded into {fold} columns")
    layout = lay_out(graph, fold)
    drawing = Drawing(graph, layout)
    drawn = sum(1 + len(box.chips) for box in layout.nodes)
    general = _is_general(layout)
    if general and drawn > MOST_FOR_GRAPHVIZ:
        general = False
        notes.append("in rows, as Graphviz would take long to lay them out")
    closed = drawn > MANY_NODES and bool(layout.bands)
    if closed:
        notes.append("the innermost boxes are closed, a click on a name opens one")
    more = {
        "closed": closed,
        "labels": [drawing.labels[edge.target, edge.slot] for edge in graph.edges] if general else None,
        "reach": None if reach is None else [[_number(value) for value in row] for row in reach],
    }
    parts = {
        "TITLE": escape(title),
        "NOTE": escape(f"{len(graph):,} nodes: {'; '.join(notes)}" if notes else ""),
        "STYLE": _file("page.css"),
        "SCRIPT": _file("page.js"),
        "POLICY": " 'wasm-unsafe-eval'" if general else "",
        "GRAPHVIZ": _graphviz() if general else "",
        "PICTURE": "\n".join(drawing.lines()),
        "DATA": _for_script(_data(graph) | more),
    }
    page = _file("page.html")
    pieces = page.split("@")  # every other one is the name of a part; the template has no other @
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _is_general(layout: Layout) -> bool:
    """Whether Graphviz is needed: there is no time to lay out by, and the rows are not simply one above the other."""
    timed = any(slot.steps for slot in layout.slots) or any(route.kind != "up" for route in layout.routes)
    return not timed and any(len(route.points) > 2 for route in layout.routes)


def _graphviz() -> str:
    """Graphviz in WebAssembly, and the script that it lays the graph out for."""
    module = _file("wasm-graphviz/index.js").rpartition("\n//# sourceMappingURL")[0]
    exported = re.search(r"(\w+) as Graphviz\b", module)
    assert exported is not None
    return (
        f'\n<script>\n{_file("general.js")}\n</script>\n<script type="module">\n'
        f"/* @hpcc-js/wasm-graphviz {WASM_VERSION}, Apache License 2.0; in it Graphviz, EPL 1.0 */\n"
        f"{module}\nlayOut({exported[1]});\n</script>"
    )


def frame(page: str) -> str:
    """The page for a notebook: in a frame that may run its script and nothing else."""
    return (
        '<iframe sandbox="allow-scripts allow-downloads" style="width: 100%; height: 520px; border: 0" '
        f'srcdoc="{escape(page)}"></iframe>'
    )


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").rstrip()


def _data(graph: Graph) -> dict[str, Any]:
    gradients = graph.gradients
    data: dict[str, Any] = {
        "nodes": [_node(node) for node in graph.nodes],
        "edges": [
            {
                "source": edge.source, "target": edge.target, "argument": edge.argument, "own": edge.own,
                "shape": str(edge.shape), "dtype": edge.dtype,
            }
            for edge in graph.edges
        ],
        "formulas": _formulas(graph),
        "definitions": _definitions(graph),
        "gradients": None,
    }  # fmt: skip
    heat = Heat(1.0, 1.0) if gradients is None else Heat.of(gradients)
    if gradients is not None:
        data["gradients"] = {
            "order": gradients.order,
            "nodes": {id: _statistics(found) for id, found in gradients.nodes.items()},
            "edges": {index: _number(found.norm) for index, found in gradients.edges.items()},
            "cosines": {id: _number(cosine) for id, cosine in gradients.cosines.items()},
            "gathered": {id: _number(norm) for id, norm in gradients.gathered.items()},
            "totals": {tensor: _number(norm) for tensor, norm in gradients.totals.items()},
        }
    colours = [between(SCALE, place / 63) for place in range(64)]
    data["scale"] = {"low": heat.low, "high": heat.high, "colours": colours, "zero": ZERO, "broken": BROKEN}
    return data


def _node(node: GraphNode) -> dict[str, Any]:
    return {
        "id": node.id, "label": node.label, "path": node.path, "op": node.op, "role": node.role,
        "family": node.family, "t": node.t, "outputs": [str(spec) for spec in node.outputs],
        "parameters": node.parameters, "saved_bytes": node.saved_bytes, "released": node.released,
        "module": node.module, "tensor": node.tensor, "line": node.line, "times": node.times,
        "values": [_statistics(found) for found in node.values],
    }  # fmt: skip


def _statistics(found: Statistics) -> dict[str, Any]:
    return {
        "size": found.size, "norm": _number(found.norm), "mean": _number(found.mean), "low": _number(found.low),
        "high": _number(found.high), "zeros": found.zeros, "nans": found.nans, "infs": found.infs,
        "histogram": found.histogram, "whole": [_number(value) for value in found.whole],
    }  # fmt: skip


def _number(value: float | None) -> float | str | None:
    """A number as JSON can say it."""
    return str(value) if value is not None and not math.isfinite(value) else value


def _formulas(graph: Graph) -> dict[str, list[tuple[str, str]]]:
    """For each operation of the graph its passes: a title, and the formula as markup."""
    known: dict[str, Formulas] = {}
    for node in graph.nodes:
        if node.formulas is not None:
            known.setdefault(node.op, node.formulas)
    return {
        op: [(title, _markup(latex)) for name, title in PASSES.items() if (latex := getattr(formulas, name))]
        for op, formulas in known.items()
    }


def _definitions(graph: Graph) -> dict[str, str]:
    """For each class of modules that is defined by smaller operations a picture of them, for the first of its nodes; of
    models that are still alive, and not of graphs that are such a picture themselves."""
    found: dict[str, str] = {}
    for op in dict.fromkeys(node.op for node in graph.nodes if node.role == "operation" and node.count == 1):
        first = next(node for node in graph.nodes if node.op == op and node.role == "operation")
        with contextlib.suppress(ArgumentError):  # the model is gone
            inside = graph.subgraph(first).expand()
            if len(inside) > 1 and any(box.kind == op for node in inside for box in node.scope[len(first.scope) :]):
                lines = [line for line in Drawing(inside, lay_out(inside)).lines() if not line.startswith("<style>")]
                found[op] = "\n".join(lines)
    return found


def _markup(latex: str) -> str:
    """MathML where latex2mathml is installed and can say it, LaTeX elsewhere."""
    try:
        return "".join(mathml(part, "block") for part in equations(latex))
    except (ImportError, ValueError):
        return f"<code>{escape(latex)}</code>"


def _for_script(data: Any) -> str:
    """JSON that can stand in a page: no text in it can close the script, or be taken for a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
