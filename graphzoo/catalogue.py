"""`graphzoo zoo`: the modules of the zoo as a list, and one of them whole."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from importlib import import_module

from .errors import ArgumentError
from .graph.plain_math import readable
from .module import Formulas, Module

FAMILIES = (
    "elementwise", "array", "window", "matrix", "group", "activation", "loss", "pooling", "normalization", "weight",
    "resampling", "regularization", "linear", "convolution", "transposed", "attention", "recurrent", "gated",
    "sequence",
)  # fmt: skip
"""In the order of the documentation."""

# What the zoo document calls them, where that is another name.
DOCUMENT_NAMES = {
    "Linear": "FC", "SimpleRNNCell": "SimpleRNN (a step)", "LSTMCell": "LSTM (a step)",
    "GRUCell": "GRU (a step)", "Conv2d": "Conv", "SeparableConv2d": "SeparableConv", "MaxPool2d": "MaxPool",
    "AvgPool2d": "AvgPool", "BatchNorm2d": "BatchNorm",
}  # fmt: skip
PASSES = {"forward": "Forward", "backward": "Backward", "parameters": "Parameter gradients"}


def modules() -> dict[str, type[Module]]:
    """The modules that the zoo offers, by name, family by family."""
    found: dict[str, type[Module]] = {}
    for family in FAMILIES:
        room = import_module(f"graphzoo.zoo.{family}")
        for name in room.__all__:
            kind = getattr(room, name)
            if inspect.isclass(kind) and issubclass(kind, Module):
                found[name] = kind
    return found


def family_of(kind: type[Module]) -> str:
    """The shelf that a module stands on."""
    return kind.__module__.rpartition(".")[2]


def formulas_of(kind: type[Module]) -> Formulas:
    """A module's formulas; of one that runs over sequences those of its cell."""
    return getattr(kind, "cell", kind).formulas if not kind.formulas.forward else kind.formulas


def parameters_of(kind: type[Module]) -> tuple[str, ...]:
    """The names of what a module learns."""
    return tuple(getattr(kind, "cell", kind).parameter_names)


def listing(width: int = 100) -> str:
    """The zoo as a table: name, parameters and forward pass, family by family."""
    kinds = modules()
    longest = max(map(len, kinds))
    lines = []
    family = ""
    for name, kind in kinds.items():
        if family_of(kind) != family:
            family = family_of(kind)
            lines += ["", family]
        formulas = readable(formulas_of(kind).forward)
        said = formulas[0] if formulas else _first_sentence(kind)
        learnt = ", ".join(parameters_of(kind))
        said += f"   [{learnt}]" if learnt else ""
        line = f"  {name:{longest}}  {said}"
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    head = f"{len(kinds)} modules. `graphzoo zoo NAME` prints one whole; [in brackets] what it learns."
    return "\n".join([head, *lines])


def whole(name: str) -> str:
    """One module: where it is at home, its three passes, and its documentation.

    Raises:
        ArgumentError: the zoo has no module of this name.
    """
    kinds = modules()
    by_lower = {known.lower(): known for known in kinds}
    known = by_lower.get(name.lower())
    if known is None:
        near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
        raise ArgumentError(
            "the zoo has no module of this name",
            got=name,
            expected=" or ".join(by_lower[each] for each in near) or "a name from `graphzoo zoo`",
        )
    kind = kinds[known]
    formulas = formulas_of(kind)
    head = [f"{known}, of the family {family_of(kind)}"]
    if known in DOCUMENT_NAMES:
        head.append(f"In the zoo document: {DOCUMENT_NAMES[known]}")
    lines = [*head, "", *_documentation(kind).splitlines()]
    for attribute, title in PASSES.items():
        latex = getattr(formulas, attribute)
        if latex:
            lines += ["", f"{title}:", *(f"    {line}" for line in readable(latex))]
    if formulas.source:
        lines += ["", *textwrap.wrap(f"Source: {formulas.source}", 96)]
    return "\n".join(lines)


def _documentation(kind: type[Module]) -> str:
    """The docstring without its examples, and without the LaTeX of formulas that stand below."""
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.sub(r"^>>> .*(?:\n\S.*)*", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _first_sentence(kind: type[Module]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())
