"""Each example runs whole, warnings being errors, and says what its docstring promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
SAYS = {
    "char_lstm": r"loss \d\.\d\d → \d\.\d\d nats per character\nT",
    "digits_densenet": r"DenseNet: [\d,]+ parameters.*\n(epoch .*\n)+test accuracy 0\.\d+",
    "digits_mobilenet": r"MobileNet: [\d,]+ parameters.*\n(epoch .*\n)+test accuracy 0\.\d+",
    "digits_resnet": r"ResNet: [\d,]+ parameters.*\n(epoch .*\n)+test accuracy 0\.\d+",
    "digits_transformer": r"Transformer: [\d,]+ parameters.*\n(epoch .*\n)+test accuracy 0\.\d+",
    "moons_mlp": r"has not seen: (9[89]|100)\.\d%",
    "own_module": r"(?s)check of Swish.*ok.*sin\(2x\).*Swish",
    "xor_by_hand": r"0 xor 0 = 0\.0\d+\n0 xor 1 = 0\.9\d+\n1 xor 0 = 0\.9\d+\n1 xor 1 = 0\.0\d+\n",
}


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_example(program: Path) -> None:
    if program.stem.startswith("digits_"):
        pytest.importorskip("sklearn")
    assert re.search(SAYS[program.stem], run(program, "--fast"))


def test_own_module_is_drawn(tmp_path: Path) -> None:
    run(ROOT / "examples" / "own_module.py", "--fast", "--draw", str(tmp_path / "graph.dot"))
    text = (tmp_path / "graph.dot").read_text()
    assert text.startswith("digraph {")
    assert "Swish" in text
    assert "beta" in text
