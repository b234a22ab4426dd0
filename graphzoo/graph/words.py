"""The words and colours of pictures, the same in all of them: labels, titles, tooltips, the families' colours."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from ..module import Formulas
from ..tape import Scope
from .plain_math import readable
from .statistics import Statistics

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode

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
PLAIN, LINE, FAINT, CARRIED, CUT = "#eeeeee", "#444444", "#aaaaaa", "#0077bb", "#cc3311"


def tooltip(node: GraphNode, formulas: bool = False) -> str:
    """All that a picture can tell of a node, line by line; on demand with what its passes compute."""
    said = [node.path, node.role if node.role != "operation" else node.op]
    if node.t is not None:
        said.append(f"t = {node.t}")
    if node.count > 1:
        said.append(f"at {node.count} time steps" if node.times else f"{node.count} operations")
    if node.line is not None:
        said.append(f"recorded in {node.line}")
    if node.parameters:
        said.append(f"{node.parameters:,} parameters")
    if node.role == "operation":
        said.append("released" if node.released else f"{node.saved_bytes:,} bytes saved for the backward pass")
    said += [f"value {told(values)}" for values in node.values]
    if formulas and node.formulas is not None:
        said += passes(node.formulas)
    return "\n".join(said)


def told(values: Statistics) -> str:
    """Statistics in a line."""
    mean = "–" if values.mean is None else f"{values.mean:.4g}"
    low, high = ("–" if end is None else f"{end:.4g}" for end in (values.low, values.high))
    broken = "".join(f", {count} {what}" for what, count in (("NaN", values.nans), ("inf", values.infs)) if count)
    return f"norm {values.norm:.4g}, mean {mean}, {low} … {high}, {values.zeros} zeros{broken}"


@lru_cache
def passes(formulas: Formulas) -> tuple[str, ...]:
    """A module's three passes in plain signs; those in LaTeX that is not known here are left out."""
    said: list[str] = []
    for what in ("forward", "backward", "parameters"):
        with contextlib.suppress(ValueError):
            said += [f"{what}: {equation}" for equation in readable(getattr(formulas, what))]
    return tuple(said)


def edge_tooltip(edge: Edge) -> str:
    """What a picture tells of an edge."""
    said = f"{edge.argument}: {edge.dtype} {edge.shape}"
    if edge.lag:
        said += f", to {step_of(edge)}"
    return said + (", detached" if edge.cut else "") + (f"\n{edge.rule}" if edge.rule else "")


def step_of(edge: Edge) -> str:
    """Where an edge of a rolled graph leads to."""
    return f"t {'+' if edge.lag > 0 else '−'} {abs(edge.lag)}"


def shared(graph: Graph) -> list[str]:
    """The parameters that several operations use: whose, which, its shape and how often."""
    stubs: dict[int, list[int]] = {}
    times: Counter[int] = Counter()
    owner: dict[int, GraphNode] = {}
    for edge in graph.edges:
        source = graph.nodes[edge.source]
        if source.role == "parameter" and source.tensor is not None:
            stubs.setdefault(source.tensor, []).append(source.id)
            times[source.tensor] += source.count
            owner.setdefault(source.tensor, graph.nodes[edge.target])
    found = []
    for tensor, ids in stubs.items():
        if times[tensor] > 1:
            stub, user = graph.nodes[ids[0]], owner[tensor]
            found.append(f"{user.name or user.op}.{stub.label} {stub.outputs[0].shape} ×{times[tensor]}")
    return found


def edge_labels(graph: Graph) -> dict[tuple[int, int], str]:
    """By target and slot: the argument, where a reader could mistake it; else which of several outputs it is."""
    inputs = Counter(edge.target for edge in graph.edges if not edge.own)
    labels: dict[tuple[int, int], str] = {}
    for edge in graph.edges:
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        if edge.rule:
            label = edge.rule
        elif edge.own and source.role == "parameter":
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
