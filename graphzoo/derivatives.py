"""Derivatives as values: `grad` and what is built from it, contributions per use, and checkpointing.

Derivatives of derivatives need the gradients themselves as tensors with a graph. A node's gradients become tensors in
one of two ways: a primitive's `backward` is written in operations that tensors have, too, and is run on tensors that
are linked to the node's place in the graph; any other module is replaced by its definition, `expand`, which is
recorded for the occasion and differentiated in the same manner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from .backward import Gradients, drain, hooked, seed_for, sweep
from .errors import ArgumentError, GradientError, ShapeError, describe
from .failures import overwritten_error
from .module import OUTPUT, Module, record
from .tape import Leaf, Node, Output, enable_grad, local, next_number, replay, stand_in, watch_draws
from .tensor import Tensor, as_array, constant, wrap

__all__ = ["Use", "checkpoint", "contributions", "grad", "hessian", "hvp", "jacobian", "jvp", "vjp"]


class Alias(Module):
    """A second name for a tensor: marks where a definition begins, so that each argument's gradient is told apart."""

    saves = ()

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        return x

    def backward(self, node: Node, dy: Any) -> Any:
        return dy


ALIAS = Alias()


def derive(node: Node, dy: Any) -> tuple[Any, ...]:
    """A node's gradients as tensors, for all its inputs and parameters."""
    around, local.context.place = local.context.place, node.place
    try:
        if node.module.saves is None:
            return through_definition(node, dy, derive)
        saved = tuple(
            _linked(node, role, value) for role, value in zip(node.module.saves, node.saved or (), strict=True)
        )
        gradients = node.module.backward(stand_in(node, saved), dy)
        return gradients if isinstance(gradients, tuple) else (gradients,)
    finally:
        local.context.place = around


def _linked(node: Node, role: int | str | None, value: Any) -> Any:
    """A saved value as a tensor at its place in the graph."""
    if role is None or value is None:
        return value
    source = node if role == OUTPUT else node.inputs[int(role)]
    return wrap(value, source) if isinstance(source, (Node, Output, Leaf)) else constant(value)


def through_definition(
    node: Node, dy: Any, derive: Callable[[Node, Any], tuple[Any, ...]] | None = None
) -> tuple[Any, ...]:
    """Record a node's definition anew and differentiate that; gives arrays, or tensors where `derive` is given."""
    module = node.module
    if module.expand is None:
        raise GradientError(
            f"{node!r} cannot be differentiated twice",
            got=f"{type(module).__name__}, which defines neither `expand` nor `saves`",
            expected="a definition in tensor operations",
            todo=f"define {type(module).__name__}.expand(self, node, *inputs, *parameters)",
        )
    inputs: list[Any] = []
    targets: list[Any] = []
    for value, source, need in zip(module.recall(node), node.inputs, node.needs, strict=True):
        if not isinstance(value, np.ndarray):  # left out, or reached by the definition itself
            inputs.append(value)
            targets.append(source if need else None)
        elif need:
            with enable_grad():
                alias = record(ALIAS, [wrap(value, source)])
            inputs.append(alias)
            targets.append(alias.source)
        else:
            inputs.append(constant(value))
            targets.append(None)
    floor = next_number()  # the aliases lie below: what arrives at them goes no further
    with enable_grad():
        outputs = module.expand(node, *inputs)
    pairs = zip(outputs, dy, strict=True) if isinstance(outputs, tuple) else [(outputs, dy)]
    seeds = [(output.source, gradient) for output, gradient in pairs if gradient is not None and output.requires_grad]
    wanted = [target for target in targets if target is not None]
    result = drain(sweep(seeds, retain=derive is not None, floor=floor, targets=wanted, derive=derive))
    return tuple(None if target is None else result.of(target) for target in targets)


def _sequence(value: Any, what: str) -> list[Tensor]:
    tensors = [value] if isinstance(value, Tensor) else list(value)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"{what} must be tensors", got=describe(tensor), expected="a gz.Tensor or several of them"
            )
    return tensors


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    gradient: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """The gradient of outputs with respect to chosen inputs, as a value; no `.grad` changes.

    Args:
        outputs: one tensor or several; the gradient is that of their sum (weighted by `gradient`).
        inputs: one tensor or several, leaves or computed ones.
        gradient: what the pass starts from: an array or tensor of the output's shape, or one for each output.
        create_graph: return tensors that can be differentiated again instead of arrays.
        retain_graph: keep what the nodes saved; by default only with create_graph.

    Returns:
        For one input its gradient, for several a tuple: arrays of the inputs' shapes, or tensors with create_graph;
        None for an input that the outputs do not depend on.

    Raises:
        GradientError: an output without graph; several elements and no gradient to start from.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> first = gz.grad((x * x * x).sum(), x, create_graph=True)
    >>> gz.grad(first.sum(), x)
    array([ 6., 12.], dtype=float32)
    """
    heads, leaves = _sequence(outputs, "outputs"), _sequence(inputs, "inputs")
    starts = (
        [gradient] if isinstance(outputs, Tensor) else list(gradient) if gradient is not None else [None] * len(heads)
    )
    seeds: list[tuple[Any, Any]] = []
    if len(starts) != len(heads):
        raise ArgumentError(
            "there must be a gradient to start from for each output",
            got=f"{len(starts)} for {len(heads)} outputs",
            todo="pass a list of as many arrays, with None for a single number that starts from one",
        )
    for leaf in leaves:
        leaf._refuse_without_graph("grad() with respect to it")
    for head, start in zip(heads, starts, strict=True):
        head._refuse_without_graph("grad()")
        if isinstance(start, Tensor) and not create_graph:
            start = start.numpy()
        seed = seed_for(head.shape, head.dtype, start)
        seeds.append((head.source, constant(seed) if create_graph and not isinstance(seed, Tensor) else seed))
    with enable_grad() if create_graph else nullcontext():
        result = drain(
            sweep(
                seeds,
                retain=create_graph if retain_graph is None else retain_graph,
                targets=[leaf.source for leaf in leaves],
                derive=derive if create_graph else None,
            )
        )
    found = tuple(_own(result, leaf, create_graph) for leaf in leaves)
    return found[0] if isinstance(inputs, Tensor) else found


def _own(result: Gradients, leaf: Tensor, create_graph: bool) -> Any:
    gradient = result.of(leaf.source)
    if gradient is not None and isinstance(leaf.source, Leaf):
        gradient = hooked(leaf.source, gradient)
    return gradient if gradient is None or create_graph else np.array(gradient)


class Use(NamedTuple):
    """What one use of a tensor contributed to its gradient.

    Attributes:
        node: the node that used it.
        t: the node's time step, or None.
        argument: the name of the argument it was used as.
        gradient: the contribution, of the tensor's shape (or what `reduce` made of it).
    """

    node: Node
    t: int | None
    argument: str
    gradient: Any


def contributions(
    loss: Tensor,
    parameters: Module | Mapping[str, Tensor] | Tensor | Iterable[Tensor],
    *,
    gradient: Any = None,
    retain_graph: bool = False,
    reduce: Callable[[np.ndarray], Any] | None = None,
) -> dict[Any, list[Use]]:
    """What each single use of a parameter contributed to dL/dW: per node, per time step.

    The contributions of a parameter add up to the gradient that `backward` gives (to rounding). They may cancel: look
    at their cosine with the sum beside their norm. No `.grad` changes.

    Args:
        loss: the tensor to differentiate.
        parameters: a module (all its parameters), a dictionary of tensors, or tensors.
        gradient: what the pass starts from, as in `backward`.
        retain_graph: keep what the nodes saved.
        reduce: applied to each contribution at once, so that only its result is kept (a norm, say).

    Returns:
        The uses of each parameter in order of recording, by name (module, dictionary) or by tensor.

    >>> import graphzoo as gz
    >>> w = gz.tensor(0.5, requires_grad=True, name="w")
    >>> x = gz.tensor(1.0)
    >>> for t in range(3):
    ...     with gz.time_step(t):
    ...         x = w * x
    >>> for use in gz.contributions(x, [w])[w]:
    ...     print(use.t, use.gradient)
    0 0.25
    1 0.25
    2 0.25
    """
    if isinstance(parameters, Module):
        named: dict[Any, Tensor] = dict(parameters.named_parameters())
    elif isinstance(parameters, Mapping):
        named = dict(parameters)
    else:
        named = {tensor: tensor for tensor in _sequence(parameters, "parameters")}
    keys: dict[Any, list[Any]] = {}
    for key, tensor in named.items():
        if tensor.source is not None:
            keys.setdefault(tensor.source, []).append(key)
    uses: dict[Any, list[Use]] = {key: [] for key in named}
    for step in loss._sweep("contributions()", gradient, retain_graph, watch=True, targets=list(keys)):
        for index, source in reversed([*enumerate(step.node.inputs)]):  # all is turned round in the end
            if step.gradients[index] is None or source not in keys:
                continue
            value = step.gradients[index]
            value = np.array(value) if reduce is None else reduce(value)
            use = Use(step.node, step.node.t, step.node.module.argument_name(index), value)
            for key in keys[source]:
                uses[key].append(use)
    for found in uses.values():
        found.reverse()
    return uses


# Of functions --------------------------------------------------------------------------------------------------------


def _leaves(inputs: Any) -> tuple[bool, list[Tensor]]:
    """Whether there is one input, and fresh leaves with the inputs' values."""
    single = not isinstance(inputs, (tuple, list)) or not any(isinstance(x, (Tensor, np.ndarray)) for x in inputs)
    values = [inputs] if single else inputs
    return single, [Tensor(np.array(as_array(value)), requires_grad=True) for value in values]


def _like(single: bool, values: Iterable[Any]) -> Any:
    found = tuple(values)
    return found[0] if single else found


def _directions(single: bool, v: Any, leaves: list[Tensor]) -> list[np.ndarray]:
    """The direction in which each input moves, as an array of its shape and dtype."""
    given = list(v) if not single and isinstance(v, (tuple, list)) else [v]
    shapes = [np.shape(d) for d in given]
    if shapes != [x.shape for x in leaves]:
        raise ShapeError(
            "the direction v does not fit the inputs",
            got=", ".join(map(str, shapes)),
            expected=", ".join(str(x.shape) for x in leaves),
            todo="pass an array of the input's shape, or a list with one for each input",
        )
    return [as_array(d, x.dtype) for d, x in zip(given, leaves, strict=True)]


def _call(function: Callable[..., Any], leaves: list[Tensor]) -> Tensor:
    with enable_grad():
        output = function(*leaves)
    if not isinstance(output, Tensor):
        raise ArgumentError("the function must return one tensor", got=describe(output), expected="a gz.Tensor")
    return output


def _filled(gradients: Iterable[Any], leaves: list[Tensor]) -> list[Any]:
    """Gradients with zeros where an input has no influence."""
    return [np.zeros(x.shape, x.dtype) if g is None else g for g, x in zip(gradients, leaves, strict=True)]


def vjp(function: Callable[..., Any], inputs: Any, v: Any = None) -> tuple[np.ndarray, Any]:
    """Value of a function and vᵀJ, by one backward pass.

    Args:
        function: takes tensors, returns one tensor.
        inputs: an array or tensor, or several as a tuple or list.
        v: of the output's shape; may be left out for a single number.

    Returns:
        The output array, and for each input an array of its shape.

    >>> import numpy as np, graphzoo as gz
    >>> gz.vjp(lambda x: x * x, np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    (array([1., 4.]), array([ 2., 40.]))
    """
    single, leaves = _leaves(inputs)
    output = _call(function, leaves)
    gradients: Iterable[Any] = grad(output, leaves, v) if output.requires_grad else [None] * len(leaves)
    return output.numpy(), _like(single, _filled(gradients, leaves))


def jvp(function: Callable[..., Any], inputs: Any, v: Any) -> tuple[np.ndarray, np.ndarray]:
    """Value of a function and Jv, its derivative in the direction v.

    Computed as the derivative of u ↦ uᵀJ, which is linear in u, so that every module of the zoo has it.

    Args:
        function: takes tensors, returns one tensor.
        inputs: an array or tensor, or several as a tuple or list.
        v: the direction: of the input's shape, or one for each input.

    >>> import numpy as np, graphzoo as gz
    >>> gz.jvp(lambda x: x * x, np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    (array([1., 4.]), array([ 2., 40.]))
    """
    single, leaves = _leaves(inputs)
    directions = _directions(single, v, leaves)
    output = _call(function, leaves)
    zero = np.zeros(output.shape, output.dtype)
    if not output.requires_grad:
        return output.numpy(), zero
    u = Tensor(zero.copy(), requires_grad=True)
    rows = grad(output, leaves, u, create_graph=True)
    pairs = [(row, d) for row, d in zip(rows, directions, strict=True) if row is not None and row.requires_grad]
    found = grad([row for row, _ in pairs], u, [d for _, d in pairs]) if pairs else None
    return output.numpy(), zero if found is None else found


def jacobian(function: Callable[..., Any], inputs: Any) -> Any:
    """The Jacobian ∂y/∂x, by one backward pass for each element of the output.

    Returns:
        For each input an array of shape (*output.shape, *input.shape).

    >>> import numpy as np, graphzoo as gz
    >>> gz.jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    single, leaves = _leaves(inputs)
    output = _call(function, leaves)
    return _like(single, _rows(output, leaves))


def _rows(output: Tensor, leaves: list[Tensor]) -> list[np.ndarray]:
    found = [np.zeros((output.size, *x.shape), x.dtype) for x in leaves]
    if output.requires_grad:
        for index in range(output.size):
            seed = np.zeros(output.size, output.dtype)
            seed[index] = 1
            gradients = grad(output, leaves, seed.reshape(output.shape), retain_graph=True)
            for rows, gradient in zip(found, gradients, strict=True):
                if gradient is not None:
                    rows[index] = gradient
    return [rows.reshape((*output.shape, *x.shape)) for rows, x in zip(found, leaves, strict=True)]


def hessian(function: Callable[..., Any], inputs: Any) -> Any:
    """The matrix of second derivatives of a function that returns a single number.

    Returns:
        For one input an array of shape (*input.shape, *input.shape); for several a tuple of tuples of such blocks.

    >>> import numpy as np, graphzoo as gz
    >>> gz.hessian(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    single, leaves = _leaves(inputs)
    firsts = _first_derivatives(function, leaves)
    blocks = [tuple(_rows(first, leaves)) for first in firsts]
    return blocks[0][0] if single else tuple(blocks)


def hvp(function: Callable[..., Any], inputs: Any, v: Any) -> tuple[np.ndarray, Any]:
    """Gradient of a function that returns a single number, and its Hessian times v, without forming the Hessian.

    >>> import numpy as np, graphzoo as gz
    >>> gz.hvp(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    (array([ 3., 12.]), array([ 6., 12.]))
    """
    single, leaves = _leaves(inputs)
    directions = _directions(single, v, leaves)
    firsts = _first_derivatives(function, leaves)
    pairs = [(first, d) for first, d in zip(firsts, directions, strict=True) if first.requires_grad]
    seconds = grad([p for p, _ in pairs], leaves, [d for _, d in pairs]) if pairs else [None] * len(leaves)
    return _like(single, [first.numpy() for first in firsts]), _like(single, _filled(seconds, leaves))


def _first_derivatives(function: Callable[..., Any], leaves: list[Tensor]) -> list[Tensor]:
    output = _call(function, leaves)
    if output.size != 1:
        raise GradientError(
            "second derivatives are of functions that return a single number",
            got=f"shape {output.shape}",
            todo="sum() it",
        )
    gradients: Iterable[Any] = grad(output, leaves, create_graph=True) if output.requires_grad else [None] * len(leaves)
    return [g if isinstance(g, Tensor) else constant(g) for g in _filled(gradients, leaves)]


# Recomputing ----------------------------------------------------------------------------------------------------------


class Checkpoint(Module):
    """A stretch of computation that keeps its inputs only and is computed a second time in the backward pass."""

    def __init__(self, function: Callable[..., Any], outputs: Any, count: int, draws: dict[Any, Any]) -> None:
        self.function = function
        self.outputs = outputs
        self.count = count
        self.draws = draws

    def forward(self, node: Node, *inputs: Any) -> Any:
        # What the function found by itself (its parameters) is an input, too, but the function will find it again.
        node.saved = (*inputs[: self.count], *[None] * (len(inputs) - self.count))
        outputs, self.outputs = self.outputs, None
        return outputs

    def backward(self, node: Node, dy: Any) -> tuple[Any, ...]:
        return through_definition(node, dy)

    def expand(self, node: Node, *inputs: Any) -> Any:
        for leaf in node.inputs[self.count :]:
            if isinstance(leaf, Leaf) and leaf.written > node.number:
                raise overwritten_error(node, leaf)
        with replay(self.draws):
            return self.function(*inputs[: self.count])


def checkpoint(function: Callable[..., Any], *inputs: Any) -> Any:
    """Call a function without keeping what its nodes save; it is called again in the backward pass.

    Trades time (about one more forward pass) for memory. Random draws are repeated, running statistics are left alone.

    Args:
        function: takes tensors, returns a tensor or a tuple of them; may use parameters of its own.
        inputs: tensors or arrays.

    >>> import graphzoo as gz
    >>> x = gz.tensor([0.5], requires_grad=True)
    >>> y = gz.checkpoint(lambda x: (x * x).tanh(), x)
    >>> y.node
    Checkpoint
    >>> y.backward()
    >>> x.grad.round(4)
    array([0.94], dtype=float32)
    """
    if not local.context.recording:
        return function(*inputs)
    tensors = [x if isinstance(x, Tensor) else constant(as_array(x)) for x in inputs]
    floor = next_number()
    draws: dict[Any, Any] = {}
    arguments = [record(ALIAS, [x]) if x.requires_grad else x for x in tensors]
    with watch_draws(draws):
        outputs = function(*arguments)
    single = isinstance(outputs, Tensor)
    heads = _sequence(outputs, "what a checkpointed function returns")
    captured = _captured(heads, floor, {x.source for x in arguments})
    arrays = heads[0].numpy() if single else tuple(head.numpy() for head in heads)
    module = Checkpoint(function, arrays, len(tensors), draws)
    return record(module, [*tensors, *[wrap(_NOTHING, source) for source in captured]])


_NOTHING = np.empty(0)


def _captured(heads: list[Tensor], floor: int, arguments: set[Any]) -> list[Any]:
    """The sources from before `floor` that these tensors were computed from otherwise than through the arguments."""
    captured: dict[Any, None] = {}
    seen = set(arguments)
    pending = [head.source for head in heads]
    while pending:
        source = pending.pop()
        node = source.node if isinstance(source, Output) else source
        if not getattr(node, "requires_grad", False) or source in seen:
            continue
        seen.add(source)
        if isinstance(node, Leaf) or node.number < floor:
            captured[source] = None
        else:
            pending.extend(node.inputs)
    return list(captured)
