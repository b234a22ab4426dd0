"""Gradient checking: a module's passes against its values, against its definition, and against themselves.

The checks follow Griewank & Walther, "Evaluating Derivatives" (2008): central differences with a step near the cube
root of the machine precision, element by element for small inputs and along random directions for all. Everything is
done in float64 on copies: nothing of the caller's changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .derivatives import grad
from .errors import ArgumentError, GraphzooError, describe
from .module import Module
from .tape import Node, saved_arrays, stand_in
from .tensor import Tensor, as_array, constant

__all__ = ["Check", "CheckFailed", "Report", "check"]

ELEMENTS = 600
"""Up to this many elements a variable is checked element by element; beyond it a random sample of as many."""


class CheckFailed(GraphzooError, AssertionError):
    """A gradient check found a difference; the message is the report."""


@dataclass(frozen=True)
class Check:
    """One line of a report.

    Attributes:
        name: what was compared.
        error: the largest difference, relative to the tolerance's scale: |got − expected| / (1 + |expected|).
        passed: whether it lies within the tolerance.
        detail: for the worst place: index, got, expected; and a warning when a kink is near.
    """

    name: str
    error: float
    passed: bool
    detail: str = ""


@dataclass
class Report:
    """The outcome of `gz.check`: truthy if all checks passed; prints as a table."""

    subject: str
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def __str__(self) -> str:
        width = max([len(check.name) for check in self.checks], default=0)
        lines = [f"check of {self.subject}"]
        for check in self.checks:
            lines.append(f"  {'ok    ' if check.passed else 'FAILED'}  {check.name:<{width}}  error {check.error:.1e}")
            if not check.passed:
                lines.append(f"          {check.detail}")
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])

    __repr__ = __str__


class _Subject:
    """What is checked, as a function of a flat list of float64 variables: the inputs, then the parameters."""

    def __init__(self, target: Any, inputs: tuple[Any, ...], rng: np.random.Generator) -> None:
        self.module = _in_float64(target) if isinstance(target, Module) else None
        self.function: Callable[..., Any] = self.module if self.module is not None else target
        self.states = [(g, g.bit_generator.state) for g in _generators(self.module)]
        self.arrays = [_variable(value) for value in inputs]
        self.varied = [
            i for i, array in enumerate(self.arrays) if isinstance(array, np.ndarray) and array.dtype.kind == "f"
        ]
        self.parameters = dict(self.module.named_parameters()) if self.module is not None else {}
        self.labels = [f"input {i}" for i in self.varied] + list(self.parameters)
        self.weights = [rng.standard_normal(output.shape) for output in self.outputs(self.values())]

    def values(self) -> list[np.ndarray]:
        """The point at which everything is checked."""
        return [self.arrays[i].copy() for i in self.varied] + [p.data.copy() for p in self.parameters.values()]

    def _prepare(self, values: list[np.ndarray], requires_grad: bool) -> tuple[list[Any], list[Tensor]]:
        for g, state in self.states:
            g.bit_generator.state = state
        arguments: list[Any] = [constant(a) if isinstance(a, np.ndarray) else a for a in self.arrays]
        leaves = [Tensor(value, requires_grad=requires_grad) for value in values[: len(self.varied)]]
        for i, leaf in zip(self.varied, leaves, strict=True):
            arguments[i] = leaf
        for parameter, value in zip(self.parameters.values(), values[len(self.varied) :], strict=True):
            parameter.data = value
            parameter.requires_grad = requires_grad
        return arguments, leaves + list(self.parameters.values())

    def outputs(self, values: list[np.ndarray], requires_grad: bool = False) -> list[Tensor]:
        arguments, self.leaves = self._prepare(values, requires_grad)
        return [output for output in _flat(self.function(*arguments)) if output.dtype.kind == "f"]

    def scalar(self, values: list[np.ndarray], requires_grad: bool = False) -> Tensor:
        """The outputs weighted and added up."""
        outputs = self.outputs(values, requires_grad)
        terms = [(output * constant(weight)).sum() for output, weight in zip(outputs, self.weights, strict=True)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def number(self, values: list[np.ndarray]) -> float:
        return float(self.scalar(values).numpy())

    def gradients(self, values: list[np.ndarray]) -> list[np.ndarray]:
        total = self.scalar(values, requires_grad=True)
        found = grad(total, self.leaves) if total.requires_grad else [None] * len(self.leaves)
        return [np.zeros_like(v) if g is None else g for g, v in zip(found, values, strict=True)]


def check(
    target: Module | Callable[..., Any],
    inputs: Any,
    *,
    order: int = 2,
    rtol: float = 1e-6,
    rng: int | np.random.Generator = 0,
    raises: bool = True,
) -> Report:
    """Check the gradients of a module or function at the given inputs.

    What is compared, in float64, on copies: the gradient of every input and parameter with central differences, element
    by element and along random directions; every recorded module with its definition (`expand`), in values and
    gradients; two uses of a module in one graph with the sum of both; and, to second order, the derivative of the
    gradient with central differences of the gradient.

    Args:
        target: a module, or a function of tensors that returns a tensor or a tuple of them.
        inputs: its inputs: one array, or a tuple or list of arrays (integers and masks are held fixed).
        order: 1 or 2.
        rtol: the largest error allowed, |got − expected| / (1 + |expected|); a hundred times as much to second order.
        rng: seed or generator for the directions and the weights of the outputs.
        raises: whether a difference raises; otherwise look at the report.

    Returns:
        The report: truthy if all went well.

    Raises:
        CheckFailed: naming for each difference the worst index, what was got and what was expected.

    >>> import numpy as np, graphzoo as gz
    >>> print(gz.check(lambda x: (x * x).sum(), np.array([1.0, 2.0]), order=1))  # doctest: +ELLIPSIS
    check of <lambda>
      ok      input 0: elements    error ...
      ok      input 0: directions  error ...
      ok      used twice           error ...
    """
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    generator = np.random.default_rng(rng).spawn(1)[0]  # inputs drawn with the same seed shall not line up with it
    name = type(target).__name__ if isinstance(target, Module) else getattr(target, "__name__", repr(target))
    subject = _Subject(target, arguments, generator)
    if not subject.labels:
        raise ArgumentError(
            "there is nothing to differentiate", got=", ".join(map(describe, arguments)), expected="a float input"
        )
    report = Report(name)
    point = subject.values()
    value = subject.number(point)
    if not np.isfinite(value):
        raise ArgumentError(
            f"{name} is not finite at these inputs", got=value, todo="check it where it is differentiable"
        )
    if subject.number(point) != value:
        raise ArgumentError(f"{name} gives another value at each call", todo="fix the seed of its random draws")
    analytic = subject.gradients(point)
    for index, label in enumerate(subject.labels):
        report.checks += _elements(subject, point, analytic, index, label, rtol, generator, report.warnings)
        report.checks.append(_directions(subject, point, analytic, index, label, rtol, generator))
    report.checks += _definitions(subject, point, rtol, generator)
    report.checks.append(_twice(subject, point, rtol, generator))
    if order >= 2:
        report.checks.append(_second_order(subject, point, 100 * rtol, generator))
    if raises and not report:
        raise CheckFailed(str(report))
    return report


def _step(value: Any) -> Any:
    return 6e-6 * np.maximum(1.0, np.abs(value))


def _moved(point: list[np.ndarray], index: int, change: np.ndarray) -> list[np.ndarray]:
    return [value + change if i == index else value for i, value in enumerate(point)]


def _line(name: str, got: Any, expected: Any, tolerance: float, places: Any = None) -> Check:
    """Compare two arrays; the worst place is told by its index (or by what `places` says stands there)."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    if got.shape != expected.shape:
        return Check(name, float("inf"), False, f"got shape {got.shape}, expected {expected.shape}")
    same = got == expected
    with np.errstate(invalid="ignore"):  # inf - inf, where they are not the same
        errors = np.where(same, 0.0, np.abs(got - expected) / (1 + np.abs(expected)))
    errors = np.where(np.isnan(errors), np.inf, errors)
    if not errors.size:
        return Check(name, 0.0, True)
    worst = np.unravel_index(int(errors.argmax()), errors.shape)
    place = tuple(int(i) for i in worst) if places is None else places[worst[0]]
    detail = f"worst at {place}: got {got[worst]:.9g}, expected {expected[worst]:.9g}"
    return Check(name, float(errors[worst]), bool(errors[worst] <= tolerance), detail)


def _elements(
    subject: _Subject,
    point: list[np.ndarray],
    analytic: list[np.ndarray],
    index: int,
    label: str,
    tolerance: float,
    rng: np.random.Generator,
    warnings: list[str],
) -> Iterator[Check]:
    size = point[index].size
    chosen = np.arange(size) if size <= ELEMENTS else rng.choice(size, ELEMENTS, replace=False)
    places = [tuple(int(i) for i in np.unravel_index(k, point[index].shape)) for k in chosen]
    numeric, kinks = np.zeros(len(chosen)), []
    middle = subject.number(point)
    for k, place in enumerate(places):
        change = np.zeros_like(point[index])
        change[place] = h = _step(point[index][place])
        above, below = (subject.number(_moved(point, index, sign * change)) for sign in (1, -1))
        numeric[k] = (above - below) / (2 * h)
        bend = abs(above - 2 * middle + below) / h  # between left and right slope: of order h where all is smooth
        if bend > 1e-3 * (1 + abs(numeric[k])):
            kinks.append(place)
    got = np.array([analytic[index][place] for place in places])
    line = _line(f"{label}: elements", got, numeric, tolerance, places)
    if kinks:
        warnings.append(
            f"{label}: near a kink or jump at {kinks[0]}: left and right slopes differ; move the input away from it"
        )
    yield line


def _directions(
    subject: _Subject,
    point: list[np.ndarray],
    analytic: list[np.ndarray],
    index: int,
    label: str,
    tolerance: float,
    rng: np.random.Generator,
) -> Check:
    got, numeric = [], []
    for _ in range(3):
        direction = rng.standard_normal(point[index].shape)
        direction /= max(1.0, float(np.linalg.norm(direction)))
        h = float(_step(np.abs(point[index]).max(initial=0.0)))
        above, below = (subject.number(_moved(point, index, sign * h * direction)) for sign in (1, -1))
        numeric.append((above - below) / (2 * h))
        got.append(float((analytic[index] * direction).sum()))
    return _line(f"{label}: directions", got, numeric, tolerance)


def _definitions(
    subject: _Subject, point: list[np.ndarray], tolerance: float, rng: np.random.Generator
) -> Iterator[Check]:
    """Each recorded module against its `expand`: outputs, and gradients for a random upstream gradient."""
    outputs = subject.outputs(point, requires_grad=True)
    done: set[str] = set()
    for node in _nodes(outputs):
        module = node.module
        name = type(module).__name__
        if name in done:
            continue
        done.add(name)
        if module.parameter_names:
            yield _freshness(node, name, rng)
        if module.expand is None:
            continue
        if module.saves is None:
            yield from _definition(node, name, rng, tolerance)
        elif module is subject.module:
            yield from _own_definition(subject, node, point, tolerance)


def _freshness(node: Node, name: str, rng: np.random.Generator) -> Check:
    """The engine adds to a parameter pass's arrays in place: they must be nobody else's."""
    several = isinstance(node.shape[0] if node.shape else None, tuple)
    dys = [rng.standard_normal(shape) for shape in (node.shape if several else [node.shape])]
    held = [*dys, *saved_arrays(node)]
    dy: Any = tuple(dys) if several else dys[0]
    node.module.backward(node, dy)
    for key, gradient in node.module.parameter_gradients(node, dy).items():
        if any(np.may_share_memory(gradient, array) for array in held):
            detail = f"the gradient of {key} shares memory with the upstream gradient or a saved array: return a copy"
            return Check(f"{name}: fresh gradients", float("inf"), False, detail)
    node.delta = None
    return Check(f"{name}: fresh gradients", 0.0, True)


def _own_definition(subject: _Subject, node: Node, point: list[np.ndarray], tolerance: float) -> Iterator[Check]:
    """The checked rule itself against its definition at the checked inputs."""
    values = [output.numpy() for output in subject.outputs(point)]
    arguments, leaves = subject._prepare(point, True)
    defined = _flat(node.module.expand(node, *arguments, *leaves[len(subject.varied) :]))
    name = type(node.module).__name__
    for index, (value, output) in enumerate(zip(values, defined, strict=True)):
        yield _line(f"{name} = expand: output {index}", value, output.numpy(), tolerance)
    pairs = [(o, w) for o, w in zip(defined, subject.weights, strict=True) if o.requires_grad]
    found = grad([o for o, _ in pairs], leaves, [w for _, w in pairs]) if pairs else [None] * len(leaves)
    expected = [np.zeros(x.shape) if g is None else g for g, x in zip(found, leaves, strict=True)]
    yield _line(f"{name} = expand: gradients", _joined(subject.gradients(point)), _joined(expected), tolerance)


def _definition(node: Node, name: str, rng: np.random.Generator, tolerance: float) -> Iterator[Check]:
    """A use inside the checked computation against its definition: outputs, and gradients of its own passes."""
    module = node.module
    values = module.recall(node)
    leaves = [
        Tensor(value, requires_grad=need) if isinstance(value, np.ndarray) else value
        for value, need in zip(values, node.needs, strict=True)
    ]
    defined = _flat(module.expand(node, *leaves))
    fresh = stand_in(node, None)
    actual = module.forward(fresh, *values)
    actual = list(actual) if isinstance(actual, tuple) else [actual]
    for index, (one, other) in enumerate(zip(actual, defined, strict=True)):
        yield _line(f"{name} = expand: output {index}", one, other.numpy(), tolerance)
    dys = [rng.standard_normal(np.shape(array)) for array in actual]
    dy: Any = tuple(dys) if len(dys) > 1 or isinstance(node.shape[0] if node.shape else None, tuple) else dys[0]
    inputs = module.backward(node, dy)
    got = list(inputs) if isinstance(inputs, tuple) else [inputs]
    if module.parameter_names:
        named = module.parameter_gradients(node, dy)
        got += [named.get(name) for name in module.parameter_names]
    node.delta = None
    wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    pairs = [(output, d) for output, d in zip(defined, dys, strict=True) if output.requires_grad]
    expected = iter(
        grad([output for output, _ in pairs], wanted, [d for _, d in pairs]) if pairs else [None] * len(wanted)
    )
    for index, (gradient, leaf) in enumerate(zip(got, leaves, strict=True)):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            reference = next(expected)
            zeros = np.zeros(leaf.shape)
            yield _line(
                f"{name} = expand: gradient of {module.argument_name(index)}",
                zeros if gradient is None else gradient,
                zeros if reference is None else reference,
                tolerance,
            )


def _twice(subject: _Subject, point: list[np.ndarray], tolerance: float, rng: np.random.Generator) -> Check:
    """Two uses in one graph, at two points, against the sum of both alone."""
    inputs = len(subject.varied)
    other = [value * rng.uniform(0.9, 1.1, value.shape) for value in point[:inputs]] + point[inputs:]
    total = subject.scalar(point, requires_grad=True)
    first = list(subject.leaves)
    arguments = [constant(a) if isinstance(a, np.ndarray) else a for a in subject.arrays]
    second = [Tensor(value, requires_grad=True) for value in other[:inputs]]
    for i, leaf in zip(subject.varied, second, strict=True):
        arguments[i] = leaf
    for g, state in subject.states:
        g.bit_generator.state = state
    outputs = [output for output in _flat(subject.function(*arguments)) if output.dtype.kind == "f"]
    for output, weight in zip(outputs, subject.weights, strict=True):
        total = total + (output * constant(weight)).sum()
    leaves = first + second
    both = grad(total, leaves) if total.requires_grad else [None] * len(leaves)
    gradients = [np.zeros(x.shape) if g is None else g for g, x in zip(both, leaves, strict=True)]
    alone, beside = subject.gradients(point), subject.gradients(other)
    expected = alone[:inputs] + [a + b for a, b in zip(alone[inputs:], beside[inputs:], strict=True)] + beside[:inputs]
    return _line("used twice", _joined(gradients), _joined(expected), max(tolerance, 1e-9))


def _second_order(subject: _Subject, point: list[np.ndarray], tolerance: float, rng: np.random.Generator) -> Check:
    """Derivative of the gradient in a random direction: through the graph of the gradient, and by differences of it."""
    directions = [rng.standard_normal(value.shape) for value in point]
    length = max(1.0, float(np.sqrt(sum((d * d).sum() for d in directions))))
    directions = [d / length for d in directions]
    total = subject.scalar(point, requires_grad=True)
    leaves = list(subject.leaves)
    firsts = grad(total, leaves, create_graph=True) if total.requires_grad else [None] * len(leaves)
    pairs = [(g, d) for g, d in zip(firsts, directions, strict=True) if g is not None and g.requires_grad]
    seconds = grad([g for g, _ in pairs], leaves, [d for _, d in pairs]) if pairs else [None] * len(leaves)
    got = [np.zeros(x.shape) if g is None else g for g, x in zip(seconds, leaves, strict=True)]
    h = 1e-5
    above, below = (
        subject.gradients([v + sign * h * d for v, d in zip(point, directions, strict=True)]) for sign in (1, -1)
    )
    numeric = [(a - b) / (2 * h) for a, b in zip(above, below, strict=True)]
    return _line("second order", _joined(got), _joined(numeric), tolerance)


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


def _variable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (tuple, list)) and any(isinstance(v, (Tensor, np.ndarray)) for v in value):
        raise ArgumentError(
            "inputs to check must be arrays", got=describe(value), todo="wrap the call: lambda x, h, c: cell(x, (h, c))"
        )
    array = as_array(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _in_float64(module: Module) -> Module:
    return copy.deepcopy(module).astype(np.float64)


def _generators(module: Module | None) -> Iterator[np.random.Generator]:
    for part in module.modules() if module is not None else ():
        yield from (value for value in vars(part).values() if isinstance(value, np.random.Generator))


def _flat(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in _flat(part)]
    if output is None:
        return []
    raise ArgumentError(
        "a checked function returns tensors", got=describe(output), expected="a gz.Tensor or a tuple of them"
    )


def _nodes(outputs: list[Tensor]) -> list[Node]:
    """The nodes behind some tensors, oldest first."""
    reached: dict[Node, None] = {}
    pending = [node for output in outputs if (node := output.node) is not None]
    while pending:
        node = pending.pop()
        if node not in reached:
            reached[node] = None
            pending.extend(node.parents)
    return sorted(reached, key=lambda node: node.number)
