"""`graphzoo draw`: runs a user's program, and draws what one of its variables was computed from."""

from __future__ import annotations

import contextlib
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import ArgumentError, describe
from .graph import Graph, graph, record


def draw(
    target: str,
    out: Path,
    *,
    view: str | None = None,
    fold: int | None = None,
    depth: int | None = None,
    expand: Sequence[str] = (),
    gradients: bool = False,
    values: bool = False,
) -> str:
    """Run the program, save the picture; returns a line that says what was drawn.

    The program runs as it would by itself (its folder comes first in `sys.path`, `__name__` is "__main__"), with
    no arguments. What it raises is raised.

    Args:
        target: "path/to/program.py:variable".
        out, view, fold: as in `Graph.save`.
        depth: as in `Graph.fold`, if not None.
        expand: classes of modules, as in `Graph.expand`.
        gradients: also run a backward pass and show it.
        values: look at all values while the program runs.

    Raises:
        ArgumentError: no such program or variable, or nothing in it that can be drawn.
    """
    path, _, name = target.rpartition(":")
    if not path or not name.isidentifier():
        raise ArgumentError(
            "what to draw is a program and one of its variables", got=target, expected="PROGRAM.py:NAME"
        )
    if not Path(path).is_file():
        raise ArgumentError("there is no such program", got=path, expected="the path of a Python file")
    with record() if values else contextlib.nullcontext():
        variables = _variables(path, name)
    taken = _taken(variables[name], name, gradients)
    if expand:
        taken = taken.expand(*expand)
    if depth is not None:
        taken = taken.fold(depth)
    colour = "gradient" if gradients and out.suffix.lower() != ".html" else "family"
    taken.save(out, view, fold=fold, colour=colour)
    return f"{out}: {repr(taken)[8:-1]}"


def _variables(path: str, name: str) -> dict[str, Any]:
    """What the program leaves; kept until the picture is drawn, for modules may be asked for their definitions."""
    arguments, folders = sys.argv, sys.path
    sys.argv, sys.path = [path], [str(Path(path).parent.resolve()), *folders]
    try:
        variables = runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv, sys.path = arguments, folders
    if name not in variables:
        near = difflib.get_close_matches(name, variables, n=1)
        raise ArgumentError(
            f"{path} leaves no variable of this name",
            got=name,
            expected="a variable of the program itself, not of a function in it",
            todo=f"did you mean {near[0]}?" if near else "assign the loss, or a graph, to a variable in the program",
        )
    return variables


def _taken(value: Any, name: str, gradients: bool) -> Graph:
    if not isinstance(value, Graph):
        return graph(value, gradients=gradients)
    if gradients and value.gradients is None:
        raise ArgumentError(
            f"{name} is a graph that was taken without gradients",
            got=describe(value),
            todo="take it with gz.graph(loss, gradients=True), or name the loss itself",
        )
    return value
