"""`graphzoo zoo`, and formulas in a terminal."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

import graphzoo as gz
from graphzoo import catalogue, cli
from graphzoo.graph.plain_math import readable
from graphzoo.module import Module

GOLDEN = Path(__file__).parent / "golden"


def families() -> set[str]:
    return {path.stem for path in (Path(gz.__file__).parent / "zoo").glob("[a-z]*.py")}


@pytest.mark.parametrize(
    ("latex", "lines"),
    [
        (r"y = x W^\top + b", ["y = x Wᵀ + b"]),
        (r"\frac{\partial L}{\partial x_{t+1}} \odot h^2", ["∂L/∂x_(t+1) ⊙ h²"]),
        (r"\frac{a + b}{2 c}", ["(a + b)/(2 c)"]),
        (r"\tfrac{1}{2} x", ["1/2 x"]),
        (r"\frac{x}{\sqrt{\sigma^2 + \epsilon}}", ["x/√(σ² + ε)"]),
        (r"\frac{\sqrt{a} + 1}{\sqrt{a + (b)}}", ["(√a + 1)/(√(a + (b)))"]),
        (r"e^{-x}, \quad e^{-1}, \qquad x_{10}", ["e^(-x)", "e⁻¹", "x₁₀"]),
        (r"\begin{cases} x & x > 0 \\ 1 & \text{otherwise} \end{cases}", ["{x if x > 0; 1 otherwise}"]),
        (r"\hat x + \bar{y}", ["x̂ + ȳ"]),
        (r"\tanh\left(x\right) \log x_i", ["tanh(x) log x_i"]),
        (r"\lVert v \rVert \le \max_i x_i", ["‖ v ‖ ≤ max_i x_i"]),
        ("", []),
    ],
)
def test_readable(latex: str, lines: list[str]) -> None:
    assert readable(latex) == lines


@pytest.mark.parametrize("latex", [r"\unheard{x}", r"\begin{array}x\end{array}", "{x", r"\frac{1}"])
def test_what_is_not_known_is_refused(latex: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        readable(latex)


@pytest.mark.parametrize("name", catalogue.modules())
def test_every_module_is_printed_whole(name: str) -> None:
    text = catalogue.whole(name)
    assert text.startswith(f"{name}, of the family ")
    assert "Forward:" in text
    assert ">>>" not in text
    formulas = text[text.index("\nForward:") :]
    assert "\\" not in formulas
    assert "{" not in formulas or " if " in formulas or "otherwise" in formulas


def test_no_module_is_left_out() -> None:
    offered = {
        name for name, kind in vars(gz).items() if inspect.isclass(kind) and issubclass(kind, Module)
        and kind.__module__.startswith("graphzoo.zoo.")
    }  # fmt: skip
    assert set(catalogue.modules()) == offered
    assert set(catalogue.FAMILIES) == families() - {"operators", "strand"}


@pytest.mark.parametrize("name", ["LSTMCell", "Linear", "GELU"])
def test_golden(name: str) -> None:
    """To renew: GRAPHZOO_UPDATE_GOLDEN=1, and read what changed."""
    file = GOLDEN / f"zoo_{name}.txt"
    if os.environ.get("GRAPHZOO_UPDATE_GOLDEN"):
        file.write_text(catalogue.whole(name) + "\n", encoding="utf-8")
    assert catalogue.whole(name) + "\n" == file.read_text(encoding="utf-8")


def test_the_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert cli.main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"{len(catalogue.modules())} modules.")
    assert "gated" in lines
    (line,) = [line for line in lines if line.startswith("  Linear ")]
    assert line.split(maxsplit=1) == ["Linear", "y = x Wᵀ + b   [weight, bias]"]


def test_one_by_its_name_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["zoo", "lstm"]) == 0
    assert "h_(t+1) = o ⊙ tanh C_(t+1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"), [("LSTMcel", "LSTMCell"), ("conv", "Conv"), ("zzzzzz", "a name from `graphzoo zoo`")]
)
def test_unknown_names_get_the_nearest(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["zoo", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("graphzoo zoo: error: the zoo has no module of this name")
    assert words in error
    assert error.count("\n") == 1
