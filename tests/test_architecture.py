"""The walls of the house: who may import whom, what belongs together, how large the engine may grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "graphzoo"

# From the ground up; a module may import from its own floor and from those below.
# "" is graphzoo/__init__.py: it gathers the public names, so only what stands above it may `import graphzoo`.
FLOORS = [
    {"errors"},
    {"tape", "tensor", "module", "backward", "failures", "state"},
    {"derivatives", "containers", "observer"},
    {"kernels"},
    {"zoo"},
    {"graph", "init", "optim", "data", "check", "interop", "bptt"},
    {"train", "proof"},
    {""},
    {"cli", "demo", "doctor", "draw", "catalogue", "pytest_plugin", "__main__"},
]
# They lie in zoo/ and are no families: one ties Python's operators and NumPy's functions to the modules, the other
# computes an LSTM's steps at once.
NO_FAMILIES = {"operators", "strand"}
ENGINE = ["errors.py", "tape.py", "tensor.py", "module.py", "backward.py"]
ENGINE_LINES = 1245  # of code: docstrings, comments and blank lines make it shorter to read, not longer
LOADED_ON_USE = {"networkx", "graphviz", "pygraphviz", "matplotlib", "torch", "tqdm", "joblib"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below graphzoo; a package goes by its folder's name."""
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return {".".join(path.with_suffix("").parts).removesuffix("__init__").rstrip("."): PACKAGE / path for path in paths}


MODULES = modules()


def statements(node: ast.AST, for_types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements below `node`, also those in functions; those for type checking only if asked."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    if_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in node.orelse if if_typing and not for_types else ast.iter_child_nodes(node):
        yield from statements(child, for_types)


def imports(path: Path, source: str, known: set[str], for_types: bool = True) -> set[str]:
    """The modules of this package that the file at `path` (below ROOT) imports, by the keys of MODULES."""
    found = []
    for node in statements(ast.parse(source), for_types):
        if isinstance(node, ast.Import):
            found += [alias.name.split(".") for alias in node.names]
        else:
            base = path.parts[: -node.level] if node.level else ()
            within = node.module.split(".") if node.module else []
            found += [[*base, *within, alias.name] for alias in node.names]
    own = [".".join(parts[1:]) for parts in found if parts[0] == "graphzoo"]
    # `from graphzoo.tensor import Tensor` names something inside a module: the module is what is imported.
    return {name if name in known else name.rpartition(".")[0] for name in own}


def floor(name: str) -> int:
    room = name.partition(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imported(name: str, for_types: bool = True) -> set[str]:
    path = MODULES[name]
    return imports(path.relative_to(ROOT), path.read_text(), set(MODULES), for_types)


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("zoo/linear.py", "from ..tensor import Tensor", {"tensor"}),
        ("zoo/linear.py", "from . import activation", {"zoo.activation"}),
        ("zoo/linear.py", "from .activation import relu", {"zoo.activation"}),
        ("zoo/__init__.py", "from .linear import Linear", {"zoo.linear"}),
        ("tensor.py", "def f():\n    from graphzoo.zoo.linear import Linear", {"zoo.linear"}),
        ("tensor.py", "def f():\n    import graphzoo.zoo.linear as linear", {"zoo.linear"}),
        ("tensor.py", "import graphzoo as gz, numpy", {""}),
        ("tensor.py", "from graphzoo import zoo, Tensor", {"zoo", ""}),
        ("tensor.py", "try:\n    import graphzoo.zoo\nexcept ImportError:\n    pass", {"zoo"}),
        ("tensor.py", "if TYPE_CHECKING:\n    from .zoo import Linear", {"zoo"}),
        ("tensor.py", "import numpy as np\nfrom collections import abc", set()),
    ],
)
def test_imports_are_found(file: str, source: str, expected: set[str]) -> None:
    known = {"", "tensor", "zoo", "zoo.linear", "zoo.activation"}
    assert imports(Path("graphzoo", file), source, known) == expected


def test_imports_for_type_checking_can_be_left_out() -> None:
    source = "if TYPE_CHECKING:\n    from .zoo import Linear\nelse:\n    from .tape import Node"
    assert imports(Path("graphzoo/tensor.py"), source, {"zoo", "tape"}, for_types=False) == {"tape"}


@pytest.mark.parametrize("name", MODULES)
def test_each_module_stands_on_a_floor(name: str) -> None:
    assert any(name.partition(".")[0] in rooms for rooms in FLOORS), f"add {name} to FLOORS in {Path(__file__).name}"


@pytest.mark.parametrize("name", MODULES)
def test_lower_floors_never_import_higher_ones(name: str) -> None:
    higher = {other for other in imported(name) if floor(other) > floor(name)}
    assert not higher, f"graphzoo.{name} imports from above: {sorted(higher)}"


def test_no_import_circles() -> None:
    # Imports for type checking are never carried out, so they close no circle.
    graph = {name: imported(name, for_types=False) - {name} for name in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_each_family_is_a_triple() -> None:
    code = {path.stem for path in (PACKAGE / "zoo").glob("*.py")} - {"__init__"} - NO_FAMILIES
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "zoo").glob("test_*.py")} - NO_FAMILIES
    pages = {path.stem for path in (ROOT / "docs" / "zoo").glob("*.md")} - {"index"}
    assert code == tests == pages


def test_each_family_page_shows_its_module_and_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs" / "zoo").glob("*.md"):
        assert f"zoo/{page.name}" in navigation
        if page.stem != "index":
            assert f"::: graphzoo.zoo.{page.stem}\n" in page.read_text()


def lines_of_code(source: str) -> int:
    """Lines that hold more than a docstring, a comment or nothing."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass(lineno=0)
    return len({node.lineno for node in ast.walk(tree) if getattr(node, "lineno", 0)})


def test_the_engine_can_be_read_in_an_evening() -> None:
    lines = {name: lines_of_code((PACKAGE / name).read_text()) for name in ENGINE}
    assert sum(lines.values()) <= ENGINE_LINES, lines


def test_import_loads_only_what_is_needed() -> None:
    program = f"import sys, graphzoo; print(*sorted({LOADED_ON_USE} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_floors_are_documented() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in chain.from_iterable(FLOORS):
        if room not in {"", "__main__"} and any(name.partition(".")[0] == room for name in MODULES):
            assert f"`{room}" in page, f"docs/architecture.md does not mention {room}"
