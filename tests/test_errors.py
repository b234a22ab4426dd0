"""What errors say, word by word (tests/golden/error-*.txt), and that they point at the user's line."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.errors import describe, user_line
from graphzoo.tape import Node


def leaf(values: Any, name: str | None = None) -> gz.Tensor:
    return gz.tensor(np.array(values, np.float64), requires_grad=True, name=name)


class Rule(gz.Module):
    """A rule whose backward pass is given."""

    def __init__(self, backward: Callable[[Any], Any] = lambda dy: (dy, dy)) -> None:
        self.result = backward

    def forward(self, node: Node, x: Any, scale: Any) -> Any:
        return x * scale

    def backward(self, node: Node, dy: Any) -> Any:
        return self.result(dy)


class Undefined(Rule):
    """A rule with a definition whose inputs it does not save."""

    def expand(self, node: Node, x: Any, scale: Any) -> Any:
        return x * scale


def second_pass() -> None:
    loss = (leaf([1.0, 2.0]) * 2).sum()
    loss.backward()
    loss.backward()


def carried_state() -> None:
    cell, state = gz.LSTMCell(2, 3, rng=0), None
    x = gz.tensor(np.ones((1, 2), np.float32))
    for t in range(3):
        with gz.time_step(t):
            h, c = cell(x, state)
        h.sum().backward()
        state = h, c


def overwritten() -> None:
    weight = gz.Parameter([2.0], name="weight")
    y = weight * leaf([3.0])
    weight.data[...] = 1.0
    weight.mark_written("SGD.step")
    y.backward()


def overwritten_in_line() -> None:
    x = leaf([2.0], "x")
    y = x * x
    x.data -= 1.0
    y.backward()


def no_start() -> None:
    (leaf([1.0, 2.0]) * 2).backward()


def start_of_another_shape() -> None:
    (leaf([1.0, 2.0]) * 2).backward(np.ones(3))


def no_graph() -> None:
    gz.tensor([1.0]).backward()


def gradient_of_another_shape() -> None:
    Rule(lambda dy: (dy, dy[:1]))(leaf([1.0, 2.0]), leaf([1.0, 2.0])).sum().backward()


def too_few_gradients() -> None:
    Rule(lambda dy: dy)(leaf([1.0, 2.0]), leaf([1.0, 2.0])).sum().backward()


def hook_of_another_shape() -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda gradient: gradient.sum())
    x.sum().backward()


def shapes_that_do_not_fit() -> None:
    with gz.scope("encoder"):
        leaf(np.ones((4, 3))) @ leaf(np.ones((2, 5)))


def wrong_features() -> None:
    gz.Linear(3, 2, rng=0)(np.ones((4, 5), np.float32))


def ragged() -> None:
    gz.tensor([[1.0], [1.0, 2.0]])


def text() -> None:
    gz.tensor("text")


def integer_gradient() -> None:
    gz.tensor(np.array([1, 2]), requires_grad=True)


def conversion() -> None:
    np.asarray(leaf([1.0]) * 2)


def item_of_many() -> None:
    leaf([1.0, 2.0]).item()


def writing() -> None:
    y = leaf([1.0, 2.0]) * 2
    y[0] = 3


def requires_grad_of_computed() -> None:
    y = leaf([1.0, 2.0]) * 2
    y.requires_grad = False


def unsupported_function() -> None:
    np.linalg.svd(leaf(np.eye(2)))


def unsupported_ufunc() -> None:
    np.arctan2(leaf([1.0]), 2.0)


def twice_without_definition() -> None:
    x = leaf([1.0])
    gz.grad(Rule()(x, 2.0), x, create_graph=True)


def definition_without_values() -> None:
    x = leaf([1.0])
    gz.grad(Undefined()(x, 2.0), x, create_graph=True)


def state_that_does_not_fit() -> None:
    model = gz.Sequential(gz.Linear(2, 3, rng=0), gz.Linear(3, 1, rng=0))
    state = model.state_dict()
    state["0.wieght"] = state.pop("0.weight")
    state["1.bias"] = np.zeros(4)
    state["2.weight"] = np.zeros((1, 1))
    model.load_state_dict(state)


def no_module() -> None:
    gz.Sequential(gz.Tanh(), np.tanh)


def nothing_to_call() -> None:
    gz.ModuleList([gz.Tanh()])(np.ones(2))


CASES = [
    carried_state, conversion, definition_without_values, gradient_of_another_shape,
    hook_of_another_shape, integer_gradient, item_of_many, no_graph, no_module, no_start,
    nothing_to_call, overwritten, overwritten_in_line, ragged, requires_grad_of_computed, second_pass,
    shapes_that_do_not_fit, start_of_another_shape, state_that_does_not_fit, text, too_few_gradients,
    twice_without_definition, unsupported_function, unsupported_ufunc, writing, wrong_features,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", "-"))
def test_the_words(case: Callable[[], None], golden: Callable[[str, str], None]) -> None:
    with pytest.raises(gz.GraphzooError) as caught:
        case()
    error = caught.value
    text = "\n".join([f"{type(error).__name__}: {error}", *error.__notes__])
    text = re.sub(r"test_errors\.py:\d+", "test_errors.py:LINE", text)
    text = re.sub(r"NumPy says: .*", "NumPy says: ...", text)  # as it says it in this version
    golden(f"error-{case.__name__.replace('_', '-')}", text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", "-"))
def test_the_line_is_the_users(case: Callable[[], None]) -> None:
    with pytest.raises(gz.GraphzooError) as caught:
        case()
    note = next(note for note in caught.value.__notes__ if "in your line" in note)
    line = int(note.rpartition(":")[2])
    source, first = inspect.getsourcelines(case)
    assert "test_errors.py" in note
    assert first < line < first + len(source)


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (gz.ShapeError, ValueError),
        (gz.DtypeError, TypeError),
        (gz.ArgumentError, ValueError),
        (gz.UnsupportedError, TypeError),
        (gz.GradientError, RuntimeError),
        (gz.ReleasedError, gz.GradientError),
        (gz.OverwrittenError, gz.GradientError),
        (gz.StateError, KeyError),
    ],
)
def test_every_error_is_ours_and_a_builtin_kind(ours: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(ours, gz.GraphzooError)
    assert issubclass(ours, builtin)
    error = ours("what\nnext", got="this")  # type: ignore[call-arg]
    assert str(error) == "what\nnext\n  got:      this"


def test_parts_that_are_left_out_are_not_shown() -> None:
    assert str(gz.GraphzooError("what")) == "what"
    assert str(gz.GraphzooError("what", todo="do", got=0)) == "what\n  got:      0\n  to do:    do"


def test_errors_survive_pickling() -> None:
    error = gz.ShapeError("what", got="this", expected="that")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__notes__) == (gz.ShapeError, str(error), error.__notes__)


def test_a_program_beside_the_package_is_not_taken_for_it(tmp_path: Path) -> None:
    """The package is known by its folder, not by a prefix of its path."""
    package = Path(gz.__file__).parent
    (tmp_path / "graphzoo").symlink_to(package)
    program = tmp_path / "graphzoo_experiments.py"
    program.write_text("import graphzoo as gz\n\n\ngz.tensor([1.0]).backward()\n")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert "in your line: graphzoo_experiments.py:4" in done.stderr


def test_user_line_is_the_innermost_outside_the_package() -> None:
    assert re.fullmatch(r"test_errors\.py:\d+", user_line() or "")


def test_describe() -> None:
    assert describe(gz.tensor(np.zeros((2, 0), np.int64))) == "int64 (2, 0)"
    assert describe(np.float64(1.0)) == "float64 ()"
    assert describe(None) == "NoneType None"
    assert describe(3) == "int 3"
    assert describe("x" * 100) == "str '" + "x" * 56 + "..."
