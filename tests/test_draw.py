"""`graphzoo draw`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from graphzoo import cli

PROGRAM = """\
import sys
import numpy as np
import graphzoo as gz
from helper import SIZE

cell, state = gz.LSTMCell(3, SIZE, rng=0), None
for t in range(12):
    with gz.time_step(t):
        h, c = state = cell(np.ones((2, 3), np.float32), state)
loss = (h * h).sum()
graph = gz.graph(loss)
if __name__ == "__main__":
    print("ran with", sys.argv)
"""

HELP = """\
usage: graphzoo draw PROGRAM.py:NAME -o FILE [options]

Runs a Python program and draws what led to the tensor (or tensors, or gz.Graph)
that its variable NAME holds in the end.

positional arguments:
  PROGRAM.py:NAME       the program, and the variable to draw

options:
  -h, --help            show this help message and exit
  -o FILE, --out FILE   where to
  --view {columns,rolled,graph}
                        of an SVG: time in columns, one step with edges bent
                        back, or Graphviz's graph
  --fold N              of SVG and HTML: fold time into so many columns
  --depth N             close the boxes that stand inside of more than N
                        others
  --expand CLASS        replace modules by what they are defined as
  --gradients           with the gradients of a backward pass: SVG colours,
                        HTML steps
  --values              look at all values while the program runs, and note
                        its lines, for HTML

The ending of FILE decides: .html (a page to search and click in), .svg, .dot,
.gv, .png, .pdf. PNG and PDF, and the SVG of a graph without time steps, need
Graphviz.
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("SIZE = 4\n")
    file = tmp_path / "net.py"
    file.write_text(PROGRAM)
    return file


@pytest.fixture(autouse=True)
def _helper_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "helper", raising=False)


@pytest.mark.parametrize(
    ("options", "starts", "holds"),
    [
        (["-o", "net.dot"], "digraph {", "LSTMCell"),
        (["-o", "net.svg"], "<svg", "t = 11"),
        (["-o", "net.svg", "--fold", "5"], "<svg", "t = 2…9"),
        (["-o", "net.svg", "--view", "rolled"], "<svg", "×12"),
        (["-o", "net.svg", "--expand", "LSTMCell"], "<svg", "Sigmoid"),
        (["-o", "net.dot", "--depth", "0"], "digraph {", "LSTMCell"),
        (["-o", "net.html", "--values"], "<!doctype html>", "net.py:9"),
        (["-o", "net.svg", "--gradients"], "<svg", "gradient norm"),
        (["-o", "net.html", "--gradients"], "<!doctype html>", '"order":['),
        (["--out", "net.html"], "<!doctype html>", '"gradients":null'),
    ],
)
def test_pictures(
    options: list[str], starts: str, holds: str, program: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(program.parent)
    before = list(sys.path), list(sys.argv)
    assert cli.main(["draw", "net.py:loss", *options]) == 0
    text = Path(options[1]).read_text(encoding="utf-8")
    assert text.startswith(starts)
    assert holds in text
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ran with ['net.py']"
    size = {"--expand": "304 nodes, 351 edges"}.get("".join(options[2:3]), "76 nodes, 87 edges")
    assert re.fullmatch(rf"{options[1]}: {size}, 12 time steps", said[1])
    assert (sys.path, sys.argv) == before


def test_a_variable_may_hold_a_graph(program: Path, tmp_path: Path) -> None:
    assert cli.main(["draw", f"{program}:graph", "-o", str(tmp_path / "net.svg"), "--view", "columns"]) == 0
    assert (tmp_path / "net.svg").exists()


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("net.py", [], "what to draw is a program and one of its variables"),
        ("net.py:the loss", [], "expected: PROGRAM.py:NAME"),
        ("nett.py:loss", [], "there is no such program"),
        ("net.py:los", [], "did you mean loss?"),
        ("net.py:cell", [], "graph() draws what tensors were computed from"),
        ("net.py:state", ["--gradients"], "gradients are those of a loss"),
        ("net.py:graph", ["--gradients"], "taken without gradients"),
        ("net.py:loss", ["-o", "net.bmp"], "a graph is saved in the format of the file's ending"),
        ("net.py:loss", ["-o", "nowhere/net.svg"], "the folder to save the graph in does not exist"),
    ],
)
def test_what_cannot_be_drawn_gets_one_line(
    target: str, options: list[str], words: str, program: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(program.parent)
    assert cli.main(["draw", target, *(options if "-o" in options else ["-o", "net.svg", *options])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("graphzoo draw: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["draw", "--help"])
    assert capsys.readouterr().out == HELP


def test_what_the_program_raises_is_raised(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("loss = 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["draw", f"{tmp_path / 'bad.py'}:loss", "-o", str(tmp_path / "bad.svg")])
