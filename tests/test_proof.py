"""`graphzoo check`: every module is proven, a fault is found, and the page has the table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo import cli, proof
from graphzoo.catalogue import modules
from graphzoo.proof import COLUMNS, Row, line, markdown, prove
from graphzoo.proof.cases import Case, cases, real

PAGE = Path(__file__).parents[1] / "docs" / "proof.md"
NAMES = list(cases())
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.name: row for row in prove()}


def test_no_module_is_left_out() -> None:
    assert set(NAMES) == set(modules())


@pytest.mark.parametrize("name", NAMES)
def test_proven(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    assert row, line(row, 20)
    for column in ("differences", "second", "twice", "layout"):
        assert row.outcome[column] is True


@needs_torch
def test_what_pytorch_has_is_compared(rows: dict[str, Row]) -> None:
    alone = {name for name, row in rows.items() if row.outcome["torch"] is None}
    assert alone == {
        "SumWindows",
        "Dropout",
        "Dropout2d",
        "SeparableConv1d",
        "SeparableConv2d",
        "SimpleRNNCell",
        "SimpleRNN",
    }


@needs_torch
def test_the_page_is_current(rows: dict[str, Row]) -> None:
    """To renew: `python -m tests.test_proof`."""
    assert markdown(rows.values()) in PAGE.read_text(encoding="utf-8")


class Wrong(gz.Module):
    """A square with faults to choose from."""

    fault = ""

    def forward(self, node: Any, x: np.ndarray) -> np.ndarray:
        node.saved = (x,)
        if self.fault == "writes":
            x += 0
            x[...] = x
        if self.fault == "float64":
            return np.square(x.astype(np.float64))
        return x * x

    def backward(self, node: Any, dy: np.ndarray) -> np.ndarray:
        (x,) = node.saved
        return dy * x * (3 if self.fault == "factor" else 2) if self.fault != "shape" else dy[:1] * x[:1]

    def expand(self, node: Any, x: gz.Tensor) -> gz.Tensor:
        return x * x * (2 if self.fault == "definition" else 1)


def make(fault: str) -> gz.Module:
    module = Wrong()
    module.fault = fault
    return module


@pytest.mark.parametrize(
    ("fault", "spoilt"),
    [
        ("", set()),
        ("factor", {"definition", "differences", "second", "torch"}),
        ("definition", {"definition"}),
        ("float64", {"float32"}),
        ("writes", {"layout"}),
        ("shape", {"differences", "torch", "float32", "layout"}),
    ],
)
def test_faults_are_found(fault: str, spoilt: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(lambda: make(fault), (real(3, 4),), lambda torch: torch.square)
    monkeypatch.setattr(proof, "cases", lambda: {"Wrong": [case]})
    (row,) = prove()
    found = {column for column, passed in row.outcome.items() if passed is False}
    if importlib.util.find_spec("torch") is None:
        spoilt = spoilt - {"torch"}
    assert spoilt <= found
    assert bool(row) == (not spoilt)
    assert len(line(row, 20).splitlines()) == 1 + min(5, len(row.problems))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "linear", "ReLU"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["settings", *COLUMNS]
    assert lines[1].split()[:3] == ["Linear", "2", "✓"]
    assert lines[2].split()[:3] == ["ReLU", "1", "–"]
    assert lines[-1].startswith("All proven")


def test_the_command_fails_where_the_proof_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "cases", lambda: {"Wrong": [Case(lambda: make("factor"), (real(3, 4),))]})
    assert cli.main(["check"]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_unknown_names_get_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "Linaer"]) == 2
    assert capsys.readouterr().err == (
        "graphzoo check: error: there is no proof of a module of this name got: Linaer "
        "expected: Linear or Bilinear or Index\n"
    )


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition("| module |")
    after = rest[rest.index("\n\n") :] if "\n\n" in rest else "\n"
    PAGE.write_text(before + markdown(prove()) + after, encoding="utf-8")
