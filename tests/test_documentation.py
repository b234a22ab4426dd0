"""The documentation keeps up with the library: nothing public is missing from the site, and its lists are complete."""

import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.zoo import operators

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^::: (graphzoo[\w.]*)\n(?:    options: \{.*?members: \[(.*?)\])?", re.MULTILINE)


def shown() -> dict[str, set[str] | None]:
    """What the pages show: each module (or object) by its dotted name, with the members chosen, None for all."""
    found: dict[str, set[str] | None] = {}
    for page in DOCS.rglob("*.md"):
        for name, members in DIRECTIVE.findall(page.read_text()):
            found[name] = set(members.split(", ")) if members else None
    return found


def is_shown(name: str, home: str, pages: dict[str, set[str] | None]) -> bool:
    if f"{home}.{name}" in pages:
        return True
    members = pages.get(home, set())
    return members is None or name in members


def public(module: ModuleType) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if name[0] not in "_@" and not isinstance(value, ModuleType) and hasattr(value, "__module__")
    }


@pytest.mark.parametrize("module", [gz, gz.optim], ids=lambda module: module.__name__)
def test_every_public_name_is_on_a_page(module: ModuleType) -> None:
    pages = shown()
    missing = [name for name, value in public(module).items() if not is_shown(name, value.__module__, pages)]
    assert not missing


@pytest.mark.parametrize("name", ["data", "init", "interop.npz", "check", "errors"])
def test_every_module_with_a_page_is_shown(name: str) -> None:
    assert f"graphzoo.{name}" in shown()


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert page.relative_to(DOCS).as_posix() in navigation, page


def names(section: str, row: str) -> set[str]:
    """The names in one row of one table of the page on NumPy's functions."""
    text = (DOCS / "reference" / "numpy.md").read_text()
    table = text.split(f"## {section}\n")[1].split("\n## ")[0]
    line = next(line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return set(re.findall(r"`([\w.]+)`", line))


def of(functions: Iterable[Any]) -> set[str]:
    return {"linalg.norm" if function is np.linalg.norm else function.__name__ for function in functions}


def test_the_page_on_numpy_is_complete() -> None:
    values = {"all", "any", "argmax", "argmin", "argsort", "nonzero", "round"}
    assert names("Methods", "of the values") == values
    assert names("Methods", "recorded") == operators.METHODS.keys() - values
    assert names("Universal functions", "recorded") == of(operators.UFUNCS)
    assert names("Universal functions", "recorded reductions") == of(operators.UFUNC_REDUCTIONS)
    assert names("Universal functions", "of the values") == of(operators.UFUNCS_OF_VALUES)
    assert names("Other functions", "recorded") == of(operators.FUNCTIONS)
    assert names("Other functions", "of the values") == of(operators.FUNCTIONS_OF_VALUES)


def test_the_documents_names_lead_to_modules() -> None:
    page = (ROOT / "docs" / "zoo" / "index.md").read_text(encoding="utf-8")
    table = page[page.index("## The document's names") :]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    names = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[2])}
    assert len(names) >= 25
    assert not [name for name in names if not issubclass(getattr(gz, name, int), gz.Module)]
