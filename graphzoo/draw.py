"""`graphzoo draw`: runs a user's program, and draws what one of its variables was computed from."""

from __future__ import annotations

import difflib
import runpy
import sys
from pathlib import Path
from typing import Any

from .errors import ArgumentError, describe
from .graph import Graph, graph


def draw(target: str, out: Path, view: str | None, fold: int | None, gradients: bool) -> str:
    """Run the program, save the picture; returns a line that says what was drawn.

    The program runs as it would by itself (its folder comes first in `sys.path`, `__name__` is "__main__"), with
    no arguments. What it raises is raised.

    Args:
        target: "path/to/program.py:variable".
        out, view, fold: as in `Graph.save`.
        gradients: also run a backward pass and show it.

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
    taken = _taken(_variable(path, name), name, gradients)
    colour = "gradient" if gradients and out.suffix.lower() == ".svg" and view != "graph" else "family"
    view = "columns" if colour == "gradient" else view
    taken.save(out, view, fold=fold, colour=colour)
    return f"{out}: {repr(taken)[8:-1]}"


def _variable(path: str, name: str) -> Any:
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
    return variables[name]


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
