"""`graphzoo bptt`: the page and its numbers."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo import cli
from graphzoo.bptt.report import TASKS, Settings, study, unique

SMALL = ["--hidden", "6", "--batch", "4", "--train", "3"]


def numbers(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as found:
        return dict(found)


@pytest.mark.parametrize(
    ("cell", "task", "sections"),
    [
        ("lstm", "adding", {"learning", "state_gradients", "weight_contributions", "spectrum", "carousel", "gates",
                            "truncation"}),
        ("rnn", "copy", {"learning", "state_gradients", "weight_contributions", "reach", "spectrum", "truncation"}),
        ("gru", "order", {"learning", "state_gradients", "weight_contributions", "spectrum", "carousel", "gates",
                          "truncation"}),
    ],
)  # fmt: skip
def test_the_page_and_the_numbers(
    cell: str, task: str, sections: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    assert cli.main(["bptt", "-o", str(out), "--cell", cell, "--task", task, "--steps", "20", *SMALL]) == 0
    text = out.read_text(encoding="utf-8")
    assert set(re.findall(r'<section id="(\w+)">', text)) == sections | {"network"}
    assert "default-src 'none'" in text
    outside = set(re.findall(r"https?://[\w./#-]+", text.replace("&#x2F;", "/")))
    assert not any("cdn" in place or place.endswith(".js") for place in outside)
    found = numbers(tmp_path / "report.npz")
    assert {name.split(".")[0] for name in found} == sections
    assert len(found["learning.losses"]) == 3
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    said = capsys.readouterr().out
    assert "largest Lyapunov exponent" in said
    assert str(out) in said


def test_a_seed_gives_the_same_page(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        study(Settings(cell="gru", steps=8, hidden=4, train=2, batch=3), tmp_path / name / "report.html")
        texts.append((tmp_path / name / "report.html").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]


def test_without_training_the_numbers_are_those_of_the_kit(tmp_path: Path) -> None:
    settings = Settings(cell="rnn", task="adding", steps=12, hidden=5, train=0)
    study(settings, tmp_path / "report.html")
    rng = np.random.default_rng(0)
    cell, readout = gz.RNNCell(2, 5, rng=rng), gz.Linear(5, 1, rng=rng)
    task = gz.bptt.tasks.adding(12, 8, rng)
    run = gz.bptt.unroll(cell, task.x)
    loss = gz.MSELoss()(readout.astype(np.float64)(run["h"][-1]), task.y)
    total = gz.bptt.state_gradients(run, loss).total["h"]
    found = numbers(tmp_path / "report.npz")
    assert not any(name.startswith("learning") for name in found)
    np.testing.assert_allclose(found["state_gradients.total.h"], total, rtol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_studied(name: str, tmp_path: Path) -> None:
    study(Settings(cell="rnn", task=name, steps=10, hidden=3, train=1, batch=2), tmp_path / "report.html")
    assert numbers(tmp_path / "report.npz")["learning.losses"].shape == (1,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "report.txt"], "a path that ends in .html"),
        (["-o", "nowhere/report.html"], "the folder of the report does not exist"),
    ],
)
def test_what_cannot_be_written_gets_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bptt", *arguments, *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.startswith("graphzoo bptt: error: ")
    assert words in error
    assert error.count("\n") == 1


def test_without_matplotlib_it_says_so_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec

    def missing(name: str, *more: Any) -> Any:
        return None if name == "matplotlib" else find_spec(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert cli.main(["bptt", "-o", str(tmp_path / "report.html")]) == 2
    assert "pip install 'graphzoo[plot]'" in capsys.readouterr().err


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(gz.ArgumentError, match="unknown cell"):
        study(Settings(cell="transformer"), tmp_path / "report.html")
    with pytest.raises(gz.ArgumentError, match="unknown task"):
        study(Settings(task="adding up"), tmp_path / "report.html")


def test_ids_are_made_unique() -> None:
    assert unique('<g id="a"/><use href="#a"/><g clip-path="url(#a)"/>', "k") == (
        '<g id="k-a"/><use href="#k-a"/><g clip-path="url(#k-a)"/>'
    )
