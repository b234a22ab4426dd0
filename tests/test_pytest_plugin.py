"""The fixture `gradcheck`, as a project that has graphzoo installed sees it."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def outcomes(pytester: pytest.Pytester) -> pytest.RunResult:
    """The run of a test file that uses the fixture: one test passes, two fail."""
    pytester.makepyfile(
        """
        import numpy as np
        import graphzoo as gz


        class Square(gz.Module):
            factor = 2

            def forward(self, node, x):
                node.saved = (x,)
                return x * x

            def backward(self, node, dy):
                return self.factor * node.saved[0] * dy

            def expand(self, node, x):
                return x * x


        class Wrong(Square):
            factor = 3


        def test_right(gradcheck):
            assert gradcheck(Square(), np.ones((2, 3)), order=2)


        def test_wrong(gradcheck):
            gradcheck(Wrong(), np.ones((2, 3)))


        def test_reported(gradcheck):
            assert gradcheck(Wrong(), np.ones((2, 3)), raises=False)


        def test_directions_belong_to_the_test(gradcheck):
            x = np.linspace(-1, 1, 6)
            assert str(gradcheck(Square(), x)) == str(gradcheck(Square(), x))
        """
    )
    # Where graphzoo is installed the entry point loads the plugin, and it cannot be loaded twice.
    load = [] if entry_points(group="pytest11", name="graphzoo") else ["-p", "graphzoo.pytest_plugin"]
    return pytester.runpytest_inprocess(*load, "-p", "no:cacheprovider")


def test_the_fixture_checks_and_fails_with_the_report(outcomes: pytest.RunResult) -> None:
    outcomes.assert_outcomes(passed=2, failed=2)
    outcomes.stdout.fnmatch_lines(["*CheckFailed: check of Wrong*", "*FAILED  input 0: elements*"])


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"graphzoo": "graphzoo.pytest_plugin"}
