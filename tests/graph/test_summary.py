"""The table of layers."""

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.graph import graph
from tests.graph.models import Affine, Perceptron, perceptron, recurrent


def test_a_model():
    # 3·5 + 5 = 20 and 5·2 + 2 = 12 parameters of 4 bytes.
    assert (
        graph(perceptron()).summary()
        == """\
Layer                 Output  Parameters  Uses
──────────────────────────────────────────────
Perceptron
  layers: Sequential
    0: Affine         (4, 5)          20
    1: Affine         (4, 2)          12
  Multiply(b=2)       (4, 2)
  Add(b=0.5)          (4, 2)
SquaredDistance       ()
──────────────────────────────────────────────
5 operations
32 parameters, 128 bytes"""
    )


def test_time_steps_are_rolled():
    # 3·3 = 9 and 3·2 + 2 = 8 parameters; 50 cells, 50 readouts, 49 additions, 1 loss.
    assert (
        graph(recurrent(50)).summary()
        == """\
Layer              Output          Parameters  Uses
────────────────────────────────────────────────────────────
Recurrent
  cell: Cell       (2, 3), (2, 3)           9  ×50, t = 0…49
  readout: Affine  (2, 2)                   8  ×50, t = 0…49
  Add              (2, 2)                      ×49, t = 1…49
SquaredDistance    ()
────────────────────────────────────────────────────────────
150 operations in 50 time steps
17 parameters, 68 bytes"""
    )


def test_shared_parameters_count_once():
    first = Affine(3, 3)
    tied = Affine(3, 3, weight=first.weight)
    x = gz.tensor(np.ones((2, 3), np.float32), name="x")
    summary = graph(tied(first(x)) + first(x)).summary().splitlines()
    assert [line.split("(2, 3)")[1].split() for line in summary[2:5]] == [["12", "×2"], ["3", "+", "shared"], []]
    assert summary[-1] == "15 parameters, 60 bytes"


def test_frozen_parameters_are_told():
    model = Perceptron()
    next(model.parameters()).requires_grad = False
    x = gz.tensor(np.ones((4, 3), np.float32))
    assert graph(model(x)).summary().splitlines()[-1] == "32 parameters, 128 bytes; 15 of them frozen"


def test_lengths_that_differ_between_time_steps():
    layer, total = Affine(3, 2), None
    for t, batch in enumerate((4, 3, 3, 1)):
        with gz.time_step(t):
            y = layer(gz.tensor(np.ones((batch, 3), np.float32))).sum()
            total = y if total is None else total + y
    assert "(*, 2)" in graph(total).summary()


def test_uses_of_an_operation_with_other_shapes_are_other_lines():
    x = gz.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    column = gz.tensor(np.ones((2, 1), np.float32), requires_grad=True)
    lines = graph((column * column) * (x * x)).summary().splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["Multiply", "(2,", "1)"],
        ["Multiply", "(2,", "3)", "×2"],
    ]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_it_fits_the_width(width):
    x = gz.tensor(np.ones((2, 3, 4, 5, 6, 7)), requires_grad=True)
    with gz.scope("a_rather_long_name_for_a_box" * 4), gz.scope("inner"):
        for t in range(100):
            with gz.time_step(t):
                x = x * gz.tensor(2.0, name="scale")
    lines = graph(x).summary(width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.endswith("×100, t = 0…99") for line in lines)


@pytest.mark.parametrize("width", [0, 59, "80", None, 80.0])
def test_an_impossible_width_is_told(width):
    with pytest.raises(gz.ArgumentError, match="60 or more"):
        graph(perceptron()).summary(width)


def test_names_do_not_break_the_table():
    with gz.scope("line\nbreak \x1b[31m"):
        y = gz.tensor([1.0], requires_grad=True) * 2
    lines = graph(y).summary().splitlines()
    assert lines[2] == "line␊break ␛[31m"
