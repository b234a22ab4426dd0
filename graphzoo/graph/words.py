"""The words and colours of pictures, the same in all of them: labels, titles, tooltips, the families' colours."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..tape import Scope

if TYPE_CHECKING:
    from .graph import Graph, GraphNode

LONGEST_NAME = 60
UNORDERED = {"Add", "Multiply", "Maximum", "Minimum"}
"""Operations whose arguments may change places: their edges need no label."""

# Paul Tol's "light" scheme, which stays apart for colour-blind readers, for the families that networks are built of;
# the others, which move and combine numbers, are grey.
COLOURS = {
    "linear": "#77aadd",
    "convolution": "#99ddff",
    "recurrent": "#44bb99",
    "gated": "#44bb99",
    "sequence": "#44bb99",
    "attention": "#bbcc33",
    "normalization": "#aaaa00",
    "activation": "#eedd88",
    "loss": "#ee8866",
    "regularization": "#ffaabb",
    "pooling": "#cceeff",
    "group": "#e6e6e6",
    "array": "#f8f8f8",
    "custom": "#ddccee",
}
PLAIN, LINE, FAINT, CARRIED = "#eeeeee", "#444444", "#aaaaaa", "#0077bb"


def tooltip(node: GraphNode) -> str:
    """All that a picture can tell of a node, line by line."""
    said = [node.path, node.role if node.role != "operation" else node.op]
    if node.t is not None:
        said.append(f"t = {node.t}")
    if node.parameters:
        said.append(f"{node.parameters:,} parameters")
    if node.role == "operation":
        said.append("released" if node.released else f"{node.saved_bytes:,} bytes saved for the backward pass")
    return "\n".join(said)


def edge_labels(graph: Graph) -> dict[tuple[int, int], str]:
    """By target and slot: the argument, where a reader could mistake it; else which of several outputs it is."""
    inputs = Counter(edge.target for edge in graph.edges if not edge.own)
    labels: dict[tuple[int, int], str] = {}
    for edge in graph.edges:
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        if edge.own and source.role == "parameter":
            label = ""  # its stub says it
        elif edge.own or (inputs[edge.target] > 1 and target.op not in UNORDERED):
            label = edge.argument if source.name != edge.argument else ""
        else:
            label = f"[{edge.output}]" if len(source.outputs) > 1 else ""
        labels[edge.target, edge.slot] = label
    return labels


def title(box: Scope | int) -> str:
    """What stands over a box: ``encoder: LSTM``, or ``t = 3``."""
    if not isinstance(box, Scope):
        return f"t = {box}"
    return box.name if box.kind in ("", box.name) else f"{box.name}: {box.kind}"


def shorten(name: str, letters: int = LONGEST_NAME) -> str:
    """A name that fits a picture; the tooltip has all of it.

    >>> shorten("readout: Linear", 10)
    'readout: …'
    """
    return name if len(name) <= letters else name[: letters - 1] + "…"


def printable(value: str) -> str:
    """The text with a symbol for each character that neither a terminal nor an SVG can show."""
    return value.translate(_SYMBOLS).encode(errors="replace").decode()


_SYMBOLS = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421, 0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD}
