"""`graphzoo check`: the proof of every module of the zoo, as a table.

What a tick says, for all settings of the module in `cases`:

- **definition**: the rule gives the values and the gradients of its definition in tensor operations (`expand`);
- **differences**: the gradients of all inputs and parameters are those of central differences, in float64;
- **second**: so is the derivative of the gradient;
- **twice**: two uses in one graph give the sum of both;
- **torch**: values, gradients, and gradients of gradients are PyTorch's;
- **float32**: results are float32 where the inputs are, and those of float64 to rounding;
- **layout**: transposed and read-only inputs give the same results and gradients, and are left as they were;
- **empty**: an empty batch gives empty results, and gradients of the right shapes.

``–`` says that there is nothing to compare: a primitive has no definition but its rule, PyTorch has no such module or
is not installed, or a mean over no entries is no number.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..check import check
from ..derivatives import grad
from ..errors import ArgumentError
from ..module import Module
from ..tensor import Tensor
from .cases import Case, cases

COLUMNS = ("definition", "differences", "second", "twice", "torch", "float32", "layout", "empty")


@dataclass
class Row:
    """The outcome for one module: for each column True, False, or None for nothing to compare; and what went wrong."""

    name: str
    settings: int
    outcome: dict[str, bool | None] = field(default_factory=lambda: dict.fromkeys(COLUMNS))
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return False not in self.outcome.values()

    def note(self, column: str, passed: bool | None, problem: str = "") -> None:
        """Add one result to a column: one failure spoils it."""
        if passed is not None:
            self.outcome[column] = passed and self.outcome[column] is not False
        if passed is False:
            self.problems.append(f"{column}: {' '.join(problem.split())}")


class _Called(Module):
    """A module behind the way it is called, so that all its inputs are arrays."""

    def __init__(self, module: Module, call: Callable[..., Any]) -> None:
        self.module = module
        self.call = call

    def forward(self, *inputs: Any) -> Any:
        return self.call(self.module, *inputs)


def prove(names: Iterable[str] = ()) -> Iterator[Row]:
    """The proof, module by module; of all if no names are given.

    Raises:
        ArgumentError: a name that the zoo does not have; said before the first row.
    """
    known = cases()
    by_lower = {name.lower(): name for name in known}
    chosen = []
    for name in names:
        if name.lower() not in by_lower:
            near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
            raise ArgumentError(
                "there is no proof of a module of this name",
                got=name,
                expected=" or ".join(by_lower[each] for each in near) or "a name from `graphzoo zoo`",
            )
        chosen.append(by_lower[name.lower()])
    return (_row(name, known[name]) for name in chosen or known)


def _row(name: str, settings: list[Case]) -> Row:
    row = Row(name, len(settings))
    for number, case in enumerate(settings):
        rng = np.random.default_rng([len(name), number])
        inputs = [draw(rng) for draw in case.inputs]
        for columns, prover in PROVERS.items():
            try:
                for column, passed, problem in prover(case, inputs):
                    row.note(column, passed, f"setting {number}: {problem}")
            except Exception as error:  # whatever it was, it is no proof, and the other rows shall be seen
                row.note(columns, False, f"setting {number}: {type(error).__name__}: {error}")
    return row


Results = Iterator[tuple[str, bool | None, str]]


def _checks(case: Case, inputs: list[np.ndarray]) -> Results:
    """What `gz.check` compares."""
    report = check(_Called(case.make(), case.call), inputs, rng=1, raises=False)
    for line in report.checks:
        if " = expand: " in line.name:
            column = "definition"
        elif line.name == "used twice":
            column = "twice"
        else:
            column = "second" if line.name == "second order" else "differences"
        yield column, line.passed, f"{line.name}: {line.detail}"


def _torch(case: Case, inputs: list[np.ndarray]) -> Results:
    """Values, gradients, and a derivative of the gradients in some direction."""
    if case.torch is None or importlib.util.find_spec("torch") is None:
        return
    import torch

    rng = np.random.default_rng(2)
    module, peer = case.make().astype(np.float64), case.torch(torch)
    parameters: dict[str, Any] = {}
    if isinstance(peer, torch.nn.Module):
        peer.load_state_dict({key: torch.tensor(np.array(value)) for key, value in module.state_dict().items()})
        parameters = dict(peer.double().named_parameters())
    ours = _leaves(inputs)
    theirs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    outputs, rights = _floats(case.call(module, *ours)), _floats(case.call(peer, *theirs))
    for output, right in zip(outputs, rights, strict=True):
        yield "torch", *_close(output.numpy(), right.numpy(force=True), "values")

    weights = [rng.normal(size=output.shape) for output in outputs]
    own = dict(module.named_parameters())
    variables = [x for x in ours if x.requires_grad] + list(own.values())
    peers = [x for x in theirs if x.requires_grad] + [parameters[name] for name in own]
    plain = grad(outputs, variables, weights, retain_graph=True)  # by the rules; to be differentiated, by definitions
    first = grad(outputs, variables, weights, create_graph=True)
    starts = [torch.tensor(weight) for weight in weights]
    expected = torch.autograd.grad(rights, peers, starts, create_graph=True, allow_unused=True)
    for gradients in (plain, first):
        for got, right in zip(gradients, expected, strict=True):
            yield "torch", *_close(_dense(got), _dense(right), "gradients")

    directions = [rng.normal(size=x.shape) for x in variables]
    pairs = [(g, d) for g, d in zip(first, directions, strict=True) if g is not None and g.requires_grad]
    theirs_too = [
        (g, torch.tensor(d)) for g, d in zip(expected, directions, strict=True) if g is not None and g.requires_grad
    ]
    nothing = [None] * len(variables)
    second = grad([g for g, _ in pairs], variables, [d for _, d in pairs]) if pairs else nothing
    wanted: Any = nothing
    if theirs_too:
        wanted = torch.autograd.grad([g for g, _ in theirs_too], peers, [d for _, d in theirs_too], allow_unused=True)
    for got, right, x in zip(second, wanted, variables, strict=True):
        yield "torch", *_close(_dense(got, x.shape), _dense(right, x.shape), "gradients of gradients")


def _float32(case: Case, inputs: list[np.ndarray]) -> Results:
    exact, _ = _run(case, inputs, np.float64)
    rough, gradients = _run(case, [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs], np.float32)
    if type(case.make()).__name__ == "Cast":
        return
    for one, other in zip(rough, exact, strict=True):
        yield "float32", one.dtype == np.float32, f"the result is {one.dtype}"
        yield "float32", *_close(one, other, "values", 2e-4)
    for gradient in gradients:
        if gradient is not None:
            yield "float32", gradient.dtype == np.float32, f"a gradient is {gradient.dtype}"


def _layout(case: Case, inputs: list[np.ndarray]) -> Results:
    plain = _run(case, inputs, np.float64)
    odd = [np.ascontiguousarray(x.T).T for x in inputs]
    before = [x.copy() for x in odd]
    for x in odd:
        x.flags.writeable = False
    again = _run(case, odd, np.float64)
    for got, right in zip([*again[0], *again[1]], [*plain[0], *plain[1]], strict=True):
        yield "layout", *_close(_dense(got), _dense(right), "transposed, read-only inputs", 1e-9)
    for x, kept in zip(odd, before, strict=True):
        yield "layout", bool(np.array_equal(x, kept)), "an input was changed"


def _empty(case: Case, inputs: list[np.ndarray]) -> Results:
    if case.batch is None:
        return
    axis, size = case.batch, inputs[0].shape[case.batch]
    none = [
        np.take(x, [], axis) if x.ndim > axis and x.shape[axis] == size and number < _batched(case, inputs) else x
        for number, x in enumerate(inputs)
    ]
    outputs, gradients = _run(case, none, np.float64)
    yield "empty", all(output.size == 0 or output.ndim == 0 for output in outputs), "the results are not empty"
    module = case.make()
    shapes = [x.shape for x in none if x.dtype.kind == "f"] + [p.shape for p in module.parameters()]
    for gradient, shape in zip(gradients, shapes, strict=True):
        right = gradient is None or gradient.shape == shape
        yield "empty", right, f"a gradient of shape {getattr(gradient, 'shape', None)} for {shape}"
        yield "empty", gradient is None or bool(np.isfinite(gradient).all()), "a gradient that is not finite"


def _batched(case: Case, inputs: list[np.ndarray]) -> int:
    """How many of the inputs have the batch axis: all of the first one's number of axes, from the first on."""
    return next((n for n, x in enumerate(inputs) if x.ndim != inputs[0].ndim), len(inputs))


PROVERS: dict[str, Callable[[Case, list[np.ndarray]], Results]] = {
    "differences": _checks, "torch": _torch, "float32": _float32, "layout": _layout, "empty": _empty,
}  # fmt: skip


# Helpers -------------------------------------------------------------------------------------------------------------


def _leaves(inputs: list[np.ndarray]) -> list[Tensor]:
    return [Tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]


def _floats(result: Any) -> list[Any]:
    """The floating-point tensors among results, at any depth of tuples."""
    if isinstance(result, (tuple, list)):
        return [each for part in result for each in _floats(part)]
    kind = str(getattr(result, "dtype", ""))
    return [result] if "float" in kind else []


def _run(case: Case, inputs: list[np.ndarray], dtype: Any) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Results, and the gradients of their sum by inputs and parameters."""
    module = case.make().astype(dtype)
    leaves = _leaves(inputs)
    outputs = _floats(case.call(module, *leaves))
    variables = [x for x in leaves if x.requires_grad] + list(module.parameters())
    tracked = [output for output in outputs if output.requires_grad]
    weights = [np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape) for x in tracked]
    return [output.numpy() for output in outputs], list(grad(tracked, variables, weights))


def _dense(gradient: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    if gradient is None:
        return np.zeros(shape or ())
    if isinstance(gradient, Tensor):
        return gradient.numpy()
    return gradient.numpy(force=True) if hasattr(gradient, "detach") else np.asarray(gradient)


def _close(got: np.ndarray, right: np.ndarray, what: str, rtol: float = 1e-8) -> tuple[bool, str]:
    if got.shape != right.shape and right.shape != ():
        return False, f"{what}: shape {got.shape}, expected {right.shape}"
    error = np.max(np.abs(got - right) / (1 + np.abs(right)), initial=0.0)
    return bool(error <= rtol), f"{what}: off by {error:.1e}"


# The table -----------------------------------------------------------------------------------------------------------

SIGNS = {True: "✓", False: "✗", None: "–"}


def head(width: int) -> str:
    return f"{'':{width}}  settings  " + "  ".join(COLUMNS)


def line(row: Row, width: int) -> str:
    """A row of the table, and a line for each problem."""
    signs = "  ".join(f"{SIGNS[row.outcome[column]]:^{len(column)}}" for column in COLUMNS)
    return "\n".join(
        [f"{row.name:{width}}  {row.settings:^8}  {signs}".rstrip(), *(f"    {p}" for p in row.problems[:5])]
    )


def markdown(rows: Iterable[Row]) -> str:
    """The table as it stands in the documentation."""
    lines = ["| module | settings | " + " | ".join(COLUMNS) + " |", "| --- " + "| :-: " * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        signs = " | ".join(SIGNS[row.outcome[column]] for column in COLUMNS)
        lines.append(f"| {row.name} | {row.settings} | {signs} |")
    return "\n".join(lines)
