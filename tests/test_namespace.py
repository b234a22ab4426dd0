"""What `import graphzoo as gz` offers: the library's own names, and no stray ones."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import graphzoo as gz

ROOT = Path(gz.__file__).parent
# Files and folders directly in the package: reachable as gz.tape, unless a function has taken the name (gz.check).
OWN = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
PUBLIC = {name: value for name, value in vars(gz).items() if name[0] not in "_@"}  # "@": pytest's own


def test_modules_in_the_namespace_are_those_of_the_package() -> None:
    modules = {name for name, value in PUBLIC.items() if isinstance(value, ModuleType)}
    assert modules <= OWN
    assert all(PUBLIC[name].__name__ == f"graphzoo.{name}" for name in modules)


def test_everything_else_was_defined_in_the_package() -> None:
    homes = {name: getattr(value, "__module__", None) for name, value in PUBLIC.items()}
    constants = {"OUTPUT"}  # a string has no home
    strangers = {
        name: home
        for name, home in homes.items()
        if not isinstance(PUBLIC[name], ModuleType) and name not in constants and not str(home).startswith("graphzoo")
    }
    assert not strangers


def test_no_helpers_of_error_messages() -> None:
    assert not {"describe", "user_line", "annotations"} & PUBLIC.keys()


@pytest.mark.parametrize("name", ["data", "errors", "init", "module", "optim", "tape", "zoo.linear"])
def test_rooms_are_reachable_by_attribute(name: str) -> None:
    """In a fresh interpreter, so that no other test can have imported them."""
    program = f"import graphzoo as gz; print(gz.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == f"graphzoo.{name}"


@pytest.mark.parametrize("path", sorted((ROOT / "zoo").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_name_of_a_family_is_offered(path: Path) -> None:
    family = getattr(gz.zoo, path.stem)
    for name in family.__all__:
        assert getattr(gz, name) is getattr(family, name)


def test_a_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from graphzoo import *", names)
    assert {"Tensor", "Linear", "graph", "check", "ShapeError"} <= names.keys()
    assert not {"os", "sys", "np", "numpy"} & names.keys()
