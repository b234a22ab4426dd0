"""Comparisons: the same curves in one process and in several, in one go and in two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.bptt import Comparison, compare, tasks
from graphzoo.errors import ArgumentError

CELLS = {
    "RNN": lambda features, rng: gz.RNNCell(features, 4, rng=rng),
    "GRU / 5 units": lambda features, rng: gz.GRUCell(features, 5, rng=rng),
}


def order(rng: np.random.Generator) -> tasks.Task:
    return tasks.temporal_order(10, 6, rng)


def small(**changed: Any) -> Comparison:
    settings: dict[str, Any] = {"cells": CELLS, "task": order, "seeds": [0, 3], "steps": 12, "workers": 1}
    return compare(**settings | changed)


def same(a: Comparison, b: Comparison) -> None:
    assert list(a.losses) == list(b.losses)
    for name in a.losses:
        np.testing.assert_array_equal(a.losses[name], b.losses[name])


def test_a_curve_is_that_of_a_training_by_hand() -> None:
    found = small()
    rng = np.random.default_rng(3)
    sample = order(np.random.default_rng(3))
    cell = gz.RNNCell(sample.x.shape[2], 4, rng=rng)
    readout = gz.Linear(4, 4, rng=rng)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = gz.optim.Adam(parameters, lr=3e-3)
    for step in range(12):
        task, h = order(rng), None
        for x in task.x:
            h = cell(x, h)
        loss = gz.CrossEntropyLoss()(readout(h), task.y)
        assert loss.item() == pytest.approx(found.losses["RNN"][1, step], rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        gz.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
    assert found.parameters["RNN"] == sum(p.size for p in parameters)
    assert found.baseline == pytest.approx(np.log(4))


def test_processes_do_not_change_the_curves() -> None:
    same(small(), small(workers=2))


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = small(folder=tmp_path / "a" / "b")
    files = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert files == ["GRU %2F 5 units-0.npz", "GRU %2F 5 units-3.npz", "RNN-0.npz", "RNN-3.npz"]
    small(folder=tmp_path, steps=5)
    same(whole, small(folder=tmp_path))  # five steps, and on to twelve
    same(whole, small(folder=tmp_path))  # nothing left to do
    shorter = small(folder=tmp_path, steps=4)
    np.testing.assert_array_equal(shorter.losses["RNN"], whole.losses["RNN"][:, :4])
    same(whole, small(folder=tmp_path))  # and nothing was lost by asking for less


def test_a_broken_training_keeps_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphzoo.bptt.comparison.SAVED_EVERY", 0.0)
    drawn = 0

    def breaks(rng: np.random.Generator) -> tasks.Task:
        nonlocal drawn
        drawn += 1
        if drawn == 9:
            raise KeyboardInterrupt
        return order(rng)

    with pytest.raises(KeyboardInterrupt):
        small(task=breaks, folder=tmp_path)
    assert len(gz.load(tmp_path / "RNN-0.npz")["losses"]) == 7  # the first batch was a sample
    same(small(), small(folder=tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {"clip": 0.5},
        {"cells": {"RNN": lambda features, rng: gz.RNNCell(features, 4, nonlinearity="relu", rng=rng)}},
        {"cells": {"RNN": lambda features, rng: gz.bptt.inits.identity(gz.RNNCell(features, 4, rng=rng))}},
        {"task": lambda rng: tasks.temporal_order(10, 7, rng)},
        {"optimizer": lambda parameters: gz.optim.SGD(parameters, lr=0.1)},
    ],
)
def test_a_file_of_another_comparison_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    small(folder=tmp_path)
    with pytest.raises(ArgumentError, match=r"RNN-0\.npz belongs to another comparison"):
        small(folder=tmp_path, **changed)


def test_what_leaves_the_finite_numbers_ends(tmp_path: Path) -> None:
    def explode() -> Comparison:
        return small(
            cells={"wild": lambda features, rng: gz.RNNCell(features, 4, nonlinearity="relu", rng=rng)},
            optimizer=lambda parameters: gz.optim.SGD(parameters, lr=1e30),
            clip=None,
            folder=tmp_path,
        )

    found = explode()
    assert np.isnan(found.losses["wild"][:, -1]).all()
    assert "inf" in found.table()
    same(found, explode())
    assert len(gz.load(tmp_path / "wild-0.npz")["losses"]) < 12


RULE = "─" * (9 + 10 + 5 + 12 + 23 + 5 + 5 * 2)  # the widest cell of each column, and two spaces between them
TABLE = f"""\
temporal order, 200 steps of training, 2 seeds; without memory 1.386
{RULE}
Cell       Parameters  Loss   best … worst  Below half the baseline  Time
{RULE}
quick      1,234       0.255  0.01 … 0.5    2 of 2 seeds             3 s
slow, too  56          1.2    1 … 1.4       0 of 2 seeds             100 s
{RULE}"""


def made() -> Comparison:
    ends = {"quick": (0.01, 0.5), "slow, too": (1.4, 1.0)}
    return Comparison(
        losses={name: np.stack([np.linspace(2, 2, 200) * 0 + end for end in of]) for name, of in ends.items()},
        seeds=np.array([0, 1]),
        baseline=float(np.log(4)),
        parameters={"quick": 1234, "slow, too": 56},
        seconds={"quick": np.array([2.0, 4.0]), "slow, too": np.array([100.0, 100.0])},
        task="temporal order",
    )


def test_table() -> None:
    assert made().table() == TABLE


def test_smooth_takes_means_of_the_newest_steps() -> None:
    found = made()
    found.losses["quick"] = np.arange(14.0).reshape(2, 7)
    np.testing.assert_array_equal(found.smooth(3)["quick"], [[2, 5], [9, 12]])
    assert found.smooth()["quick"].shape == (2, 7)
    assert found.smooth(50)["quick"].shape == (2, 1)


def test_it_draws_median_and_range() -> None:
    ax = made().plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["quick", "slow, too", "without memory"]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), 0.255)
    assert len(ax.collections) == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cells": {}}, "there are no cells"),
        ({"seeds": []}, "there are no seeds"),
        ({"seeds": [1, 1]}, "a seed comes twice"),
        ({"steps": 0}, "impossible numbers"),
        ({"workers": 0}, "impossible numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        small(**changed)


def test_without_joblib_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'graphzoo\[parallel\]', or pass workers=1"):
        small(workers=2)
