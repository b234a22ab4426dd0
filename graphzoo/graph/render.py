"""Pictures of DOT text through Graphviz, which is asked for only when a picture is."""

from __future__ import annotations

import sys

from ..errors import GraphzooError

TEXT = ("dot", "gv")
PICTURES = ("svg", "png", "pdf")
TIMEOUT = 60.0
"""Seconds that Graphviz may take for a picture."""

# pygraphviz 2 brings Graphviz as a library. It runs in a process of its own, which can be stopped when time is up.
_PYGRAPHVIZ = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


class RenderError(GraphzooError, RuntimeError):
    """A picture could not be made: Graphviz is missing, failed, or took too long."""


def render(text: str, format: str, timeout: float) -> bytes:
    """The picture of a graph in DOT, in one of `PICTURES`.

    Raises:
        RenderError: no Graphviz, or it failed, or it took more than `timeout` seconds.
    """
    import subprocess  # on first use: text needs no process

    command = _command(format)
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"Graphviz did not finish the picture within {timeout:g} seconds",
            got=f"a graph of {len(text):,} characters of DOT",
            todo="draw a part of the computation, give it more time (timeout=...), or save the DOT text (.dot)",
        ) from None
    except OSError as error:
        raise RenderError("Graphviz could not be started", got=f"{command[0]}: {error}") from error
    if done.returncode != 0 or not done.stdout:
        raise RenderError(
            "Graphviz could not draw the graph",
            got=done.stderr.decode(errors="replace").strip()[-500:] or f"exit status {done.returncode}",
            todo="save the DOT text (.dot) and try another version of Graphviz or another layout program",
        )
    return done.stdout


def _command(format: str) -> list[str]:
    import importlib.util
    import shutil

    program = shutil.which("dot")
    if program is not None:
        return [program, f"-T{format}"]
    if importlib.util.find_spec("pygraphviz") is not None:
        return [sys.executable, "-c", _PYGRAPHVIZ, format]
    raise RenderError(
        "pictures need Graphviz, which is not installed: `apt install graphviz`, `brew install graphviz`, "
        "`conda install graphviz` or `pip install 'graphzoo[draw]'` brings it; DOT text (.dot) needs none"
    )
