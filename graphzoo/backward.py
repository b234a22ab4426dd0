"""The backward engine: one sweep over the recorded nodes, newest first.

Why newest first? A node may only be differentiated once everything that used its output has handed down its share of
the gradient; otherwise an incomplete gradient would travel on, and the rest of the graph would be visited again for
every path. An order in which users come before what they used is a (reverse) topological order. Nodes are numbered as
they are recorded, and an operation can only use what existed before it, so falling numbers are such an order. A heap of
the nodes that gradients have reached gives them out in it: the sweep holds no more than the front it has come to.

`sweep` is the only loop. `Tensor.backward` drains it, `backward_steps` hands out what it yields, `gz.grad` asks it for
chosen sources, and `gz.contributions` reads the parameter gradients use by use. Its table of gradients is its own:
no leaf's gradient changes before the sweep has come to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from heapq import heappop, heappush, heappushpop
from operator import attrgetter
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from .errors import GradientError, ShapeError
from .failures import overwritten_error, released_error, wrong_count, wrong_kind
from .tape import RELEASED, Extra, Leaf, Node, Output, latest_write, node_of, saved_arrays, stand_in

STACK_BYTES = 1 << 23
"""How much the uses of a module may hold while they wait to share one parameter pass, in bytes."""

STACK_USES = 32
"""How many uses wait at the most: more gain nothing, and fall out of the processor's caches meanwhile."""

Derive = Callable[[Node, Any], tuple[Any, ...]]
_by_number = attrgetter("number")


class Step(NamedTuple):
    """What the backward pass did at one node.

    Attributes:
        node: the node that was differentiated.
        upstream: gradient with respect to its output; for several outputs a tuple, None where no gradient flowed.
        gradients: gradient for each of `node.inputs` in order (parameters last); None where none flows.
    """

    node: Node
    upstream: Any
    gradients: tuple[Any, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The gradients of the node's inputs, parameters left out."""
        return self.gradients[: len(self.gradients) - len(self.node.module.parameter_names)]

    @property
    def parameters(self) -> dict[str, Any]:
        """The gradients of the module's parameters by name, for this one use."""
        names = self.node.module.parameter_names
        return dict(zip(names, self.gradients[len(self.gradients) - len(names) :], strict=True))


class Stack:
    """Uses of one module that wait for a shared parameter pass, and how much they hold meanwhile."""

    __slots__ = ("needs", "seen", "size", "uses")

    def __init__(self, needs: Sequence[bool]) -> None:
        self.needs = needs  # which of the parameters want a gradient
        self.uses: list[tuple[Node, Any]] = []
        self.seen: set[int] = set()
        self.size = 0  # bytes; an array that uses share, above all a weight, counts once

    def append(self, use: Node, dy: Any) -> None:
        self.uses.append((use, dy))
        for array in (*(use.saved if isinstance(use.saved, tuple) else (use.saved,)), use.delta):
            if array.__class__ is np.ndarray and id(array) not in self.seen:
                self.seen.add(id(array))
                self.size += array.nbytes


class Gradients:
    """The table of a sweep: the gradient collected so far for each source, the nodes that it has reached and not yet
    visited, and the uses whose parameter pass waits."""

    def __init__(self, stack_bytes: int) -> None:
        self.table: dict[Any, Any] = {}
        self.reached: list[tuple[int, Node]] = []  # a heap of (-number, node): the newest node is the first
        self.owned: set[Any] = set()  # sources whose array nobody else refers to
        self.stack_bytes = stack_bytes
        self.used: set[Any] = set()  # modules whose parameter pass has run for one use
        self.stacks: dict[tuple[Any, ...], Stack] = {}  # by module and parameters
        self.waiting: dict[Node, set[tuple[Any, ...]]] = {}  # computed weights that a stack still owes a gradient
        self.kept: list[tuple[Extra, int, Any]] = []  # gradients of computed tensors that are to stay

    def of(self, source: Any) -> Any:
        """The gradient collected for a source, or None."""
        if source.__class__ is Output:
            outputs = self.table.get(source.node)
            return None if outputs is None else outputs[source.index]
        return self.table.get(source)

    def reach(self, node: Node) -> None:
        """Make an empty entry for a node, and see that it will be visited."""
        self.table[node] = None
        heappush(self.reached, (-node.number, node))

    def add(self, source: Any, gradient: Any) -> None:
        """Add to a source's gradient. The first is kept by reference, the second makes an array of our own."""
        table = self.table
        if source.__class__ is Output:
            node = source.node
            outputs = table.get(node)
            if outputs is None:
                if node not in table:
                    self.reach(node)
                outputs = table[node] = [None] * len(node.shape)
            held = outputs[source.index]
            outputs[source.index] = gradient if held is None else held + gradient
            return
        held = table.get(source)
        if held is None:
            if source.__class__ is Node and source not in table:
                self.reach(source)
            table[source] = gradient
        elif source in self.owned:
            held += gradient
        else:
            total = table[source] = held + gradient
            if total.__class__ is np.ndarray:  # neither a scalar nor a tensor
                self.owned.add(source)

    def parameters(self, node: Node, dy: Any, needs: Sequence[bool]) -> None:
        """Run the parameter pass of a use now, or let it wait to share one with the other uses of its module.

        The first use of a module that is not `patient` does not wait: most have no other.
        """
        if not self.stack_bytes or node.module.stack is None:
            self.receive(node, dy, needs)
        elif node.module.patient or node.module in self.used:
            self.put_aside(node, dy, needs)
        else:
            self.used.add(node.module)
            self.receive(node, dy, needs)

    def receive(self, node: Node, dy: Any, needs: Sequence[bool]) -> None:
        """Run a parameter pass and add what it gives to the parameters' gradients."""
        table = self.table
        index = len(node.inputs) - len(needs)
        for gradient in parameter_pass(node, dy, needs):
            source = node.inputs[index]
            index += 1
            if gradient is None:
                continue
            if gradient.dtype is not source.dtype or gradient.shape != source.shape:
                gradient = fit(gradient, source, node)
            if source.__class__ is Leaf and source not in table:
                table[source] = gradient
                self.owned.add(source)  # a parameter pass returns arrays of its own
            else:
                self.add(source, gradient)

    def put_aside(self, node: Node, dy: Any, needs: Sequence[bool]) -> None:
        """Let a use wait, so that all uses of its module share one parameter pass."""
        module = node.module
        sources = node.inputs[-len(needs) :]
        key = (module, *sources)
        stack = self.stacks.get(key)
        if stack is None:
            stack = self.stacks[key] = Stack(needs)
            for source in sources:
                origin = node_of(source)
                if origin is not None:
                    self.waiting.setdefault(origin, set()).add(key)
                    if origin not in self.table:
                        self.reach(origin)
        saved = node.saved if module.aside is None else module.aside(node)
        stack.append(stand_in(node, saved, node.delta), dy)
        if len(stack.uses) == STACK_USES or (stack.size > self.stack_bytes and len(stack.uses) > 1):
            self.flush(key)

    def flush(self, key: tuple[Any, ...]) -> None:
        """Run the one parameter pass that the uses under this key have waited for."""
        stack = self.stacks.pop(key, None)
        if stack is not None:
            uses = stack.uses
            node, dy = uses[0] if len(uses) == 1 else key[0].stack([use for use, _ in uses], [dy for _, dy in uses])
            self.receive(node, dy, stack.needs)


def sweep(
    seeds: Iterable[tuple[Any, Any]],
    *,
    retain: bool = False,
    watch: bool = False,
    targets: Sequence[Any] | None = None,
    floor: int = 0,
    derive: Derive | None = None,
    stack_bytes: int = STACK_BYTES,
) -> Generator[Step, None, Gradients]:
    """Differentiate from seeds to leaves, newest node first.

    Args:
        seeds: pairs of a source and the gradient to start from.
        retain: keep what the nodes saved, for another pass.
        watch: yield a `Step` for each node, and run the parameter pass use by use.
        targets: the sources whose gradients are wanted; nodes that lead to none of them are left out.
        floor: nodes with a smaller number are not entered.
        derive: gives a node's gradients as tensors (for derivatives of derivatives) instead of its module's rules.
        stack_bytes: how much uses may hold while they wait to be stacked; 0 runs the parameter pass use by use.

    Returns:
        The table of gradients for leaves and targets (as the value of the generator).

    Raises:
        ReleasedError: a node's saved arrays were given back by an earlier pass.
        OverwrittenError: an array that a node saved was written to since.
    """
    seeds = list(seeds)
    heads = [node for source, _ in seeds if (node := node_of(source)) is not None and node.number >= floor]
    wanted = kept = aims = None
    if targets is not None:
        wanted = {node_of(target) or target for target in targets}
        kept = leading_to(wanted, collect(heads, floor))
        aims = wanted | kept
    found: dict[Node, Any] = {}
    result = Gradients(stack_bytes)
    table, reached, waiting, owned, add = result.table, result.reached, result.waiting, result.owned, result.add
    for source, gradient in seeds:
        add(source, gradient)
    bound = -max(floor, latest_write())
    plain = targets is None and derive is None and not watch

    gradients: tuple[Any, ...] = ()
    ahead: Node | None = None  # one of the reached nodes: in a chain there is no other, and no need for the heap
    while reached or ahead is not None:
        if ahead is None:
            order, node = heappop(reached)
        else:
            order, node = -ahead.number, ahead
            if reached:
                order, node = heappushpop(reached, (order, node))
            ahead = None
        if order > bound:  # this node, and all that are still to come, are older than the floor or the latest write
            if -order < floor:
                break
            check_unwritten([node, *(other for _, other in reached)], floor, kept)
            bound = -floor
        if waiting and node in waiting:
            for key in waiting.pop(node):
                result.flush(key)
        dy = table.pop(node, None)  # None where it was differentiated together with a newer one
        if dy is None:
            continue
        if dy.__class__ is list:
            dy = tuple(dy)
        if node.extra is not None:
            if plain and node.extra.at_once is not None and node.extra.at_once(node, dy, result, retain):
                continue
            dy = visit(node, dy, result)
        if wanted is not None:
            if node in wanted:
                found[node] = dy
            if node not in kept:  # type: ignore[operator]
                continue
        if node.saved is RELEASED:
            raise released_error(
                node, next((user for user in collect(heads, node.number) if node in user.parents), None)
            )

        module = node.module
        try:
            if derive is not None:
                gradients = derive(node, dy)
            elif module.parameter_names:
                gradients = both_passes(node, dy, result, aims, watch)
            else:
                gradients = module.backward(node, dy)
            if gradients.__class__ is not tuple:
                if gradients is None:
                    raise wrong_count(node, (None,) * len(node.module.parameter_names))  # a forgotten return
                gradients = (gradients,)
            inputs, needs, fits = node.inputs, node.needs, node.fits
            if len(gradients) != len(inputs):
                raise wrong_count(node, gradients)
            if watch:
                gradients = fitted(node, gradients)
            index = -1
            for source in inputs:  # counting by hand takes half the time of zip
                index += 1
                dx = gradients[index]
                if dx is None or not needs[index]:
                    continue
                kind = source.__class__
                if kind is Output:
                    add(source, fit(dx, source, node))
                    continue
                if not fits and (dx.dtype is not source.dtype or dx.shape != source.shape):
                    dx = fit(dx, source, node)
                held = table.get(source)  # from here on what `add` does, in line
                if held is None:
                    if kind is Node and (not waiting or source not in table):
                        if ahead is None:
                            ahead = source
                        else:
                            heappush(reached, (-source.number, source))
                    table[source] = dx
                elif source in owned:
                    held += dx
                else:
                    add(source, dx)
        except Exception as error:
            if isinstance(error, AttributeError) and not all(dx is None or hasattr(dx, "dtype") for dx in gradients):
                raise wrong_kind(node, gradients) from error
            error.add_note(f"  in the backward pass of {node!r}")
            raise

        if watch:
            yield Step(node, dy, gradients)
        if not retain:
            node.saved = RELEASED

    for key in list(result.stacks):
        result.flush(key)
    table.update(found)
    return result


def fitted(node: Node, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """A node's gradients as they are handed on: of their sources' shapes, None for sources that need none."""
    return tuple(
        fit(dx, source, node) if need and dx is not None else None
        for source, dx, need in zip(node.inputs, gradients, node.needs, strict=True)
    )


def both_passes(node: Node, dy: Any, result: Gradients, aims: set[Any] | None, watch: bool) -> tuple[Any, ...]:
    """Backward and parameter pass of a use; each is left out where nothing asks for it. The gradients of parameters go
    to the table by themselves, except in a sweep that is watched."""
    module, needs = node.module, node.needs
    if aims is not None:
        needs = tuple(
            need and (node_of(source) or source) in aims for source, need in zip(node.inputs, needs, strict=True)
        )
    inputs = len(needs) - len(module.parameter_names)
    of_inputs, of_parameters = needs[:inputs], needs[inputs:]
    gradients: tuple[Any, ...] = (None,) * inputs
    if True in of_inputs:
        gradients = module.backward(node, dy)
        if gradients.__class__ is not tuple:
            gradients = (gradients,)
    passed_on: tuple[Any, ...] = (None,) * len(of_parameters)
    if True in of_parameters:
        if watch:
            passed_on = parameter_pass(node, dy, of_parameters)
        else:
            result.parameters(node, dy, of_parameters)
    node.delta = None
    return gradients + passed_on


def parameter_pass(node: Node, dy: Any, needs: Sequence[bool]) -> tuple[Any, ...]:
    """One gradient for each of the module's parameters in order, None for those that need none."""
    names, gradients = node.module.parameter_names, node.module.parameter_gradients(node, dy)
    try:
        return tuple([gradients[name] if need else None for name, need in zip(names, needs, strict=True)])
    except KeyError as missing:
        raise GradientError(
            f"{type(node.module).__name__}.parameter_gradients returned nothing for {missing}",
            got=f"gradients for {', '.join(gradients)}",
            expected=f"a dictionary with {', '.join(names)}",
        ) from None


def collect(roots: Iterable[Node], floor: int) -> list[Node]:
    """Every node that the roots were computed from, roots included, newest first."""
    reached = dict.fromkeys(roots)
    pending = list(reached)
    while pending:
        for source in pending.pop().inputs:
            node = node_of(source)
            if node is not None and node not in reached and node.number >= floor:
                reached[node] = None
                pending.append(node)
    return sorted(reached, key=_by_number, reverse=True)


def check_unwritten(roots: Iterable[Node], floor: int, kept: set[Node] | None) -> None:
    """Raise if what one of these nodes, or of those they were computed from, has saved was overwritten; newest first.

    Every node is looked at for a leaf that was written to: what a node has saved may be a view of the leaf's memory
    that other nodes (a transposition, a slice) have handed on.
    """
    nodes = [node for node in collect(roots, floor) if kept is None or node in kept]
    leaves = {source for node in nodes for source in node.inputs if source.__class__ is Leaf and source.written}
    for leaf in leaves:
        for node in nodes:
            if node.number < leaf.written and any(np.shares_memory(a, leaf.memory) for a in saved_arrays(node)):
                raise overwritten_error(node, leaf)


def leading_to(wanted: set[Any], order: list[Node]) -> set[Node]:
    """Those of the nodes through which a gradient must pass to reach one of the wanted sources."""
    kept: set[Node] = set()
    for node in reversed(order):
        for source in node.inputs:
            if source.__class__ is Output:
                source = source.node
            if source in wanted or source in kept:
                kept.add(node)
                break
    return kept


def visit(node: Node, dy: Any, result: Gradients) -> Any:
    """Run the hooks on a node's gradient, and note it where `retain_grad` asked for it."""
    extra = node.extra
    assert extra is not None
    outputs = list(dy) if isinstance(dy, tuple) else [dy]
    for index, gradient in enumerate(outputs):
        if gradient is None:
            continue
        for hook in list(extra.hooks.get(index, {}).values()):
            gradient = outputs[index] = run_hook(hook, gradient, node)
        if index in extra.kept:
            result.kept.append((extra, index, gradient))
    return tuple(outputs) if isinstance(dy, tuple) else outputs[0]


def run_hook(hook: Callable[[Any], Any], gradient: Any, owner: Node | Leaf) -> Any:
    """A hook may look at a gradient or return another one of the same shape."""
    shown = gradient
    if gradient.__class__ is np.ndarray:  # others may hold the same array, so that the hook must not write to it
        shown = gradient.view()
        shown.flags.writeable = False
    changed = hook(shown)
    if changed is None or changed is shown:
        return gradient
    if getattr(changed, "shape", None) != gradient.shape:
        raise ShapeError(
            f"a hook on {owner!r} returned a gradient of another shape",
            got=getattr(changed, "shape", type(changed).__name__),
            expected=gradient.shape,
            todo="return None to leave the gradient as it is, or an array of its shape",
        )
    return changed if changed.dtype == gradient.dtype else changed.astype(gradient.dtype)


def fit(gradient: Any, source: Any, node: Node) -> Any:
    """A gradient with the shape and dtype of its source; undoes broadcasting for modules that broadcast."""
    shape, dtype = source.shape, source.dtype
    if gradient.shape != shape:
        if not node.module.broadcasts:
            raise ShapeError(
                f"{type(node.module).__name__} returned a gradient of the wrong shape for its input "
                f"{node.module.argument_name(node.inputs.index(source))}",
                got=gradient.shape,
                expected=f"{shape}, the shape of the input",
                todo=f"check {type(node.module).__name__}.backward and .parameter_gradients",
            )
        gradient = unbroadcast(gradient, shape)
    return gradient if gradient.dtype is dtype or gradient.dtype == dtype else gradient.astype(dtype)


def unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes that broadcasting added or stretched; takes arrays and tensors.

    >>> import numpy as np
    >>> unbroadcast(np.ones((4, 3, 2)), (3, 1)).tolist()
    [[8.0], [8.0], [8.0]]
    """
    extra = gradient.ndim - len(shape)
    stretched = tuple(
        extra + axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[extra + axis] != 1
    )
    axes = (*range(extra), *stretched)
    return (gradient.sum(axis=axes) if axes else gradient).reshape(shape)


def drain(steps: Generator[Step, None, Gradients]) -> Gradients:
    """Run a sweep to its end and return its table."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def deposit(gradients: Gradients) -> None:
    """Add the collected gradients to those of the leaves, and of the computed tensors that keep theirs."""
    arrived = []
    for leaf, gradient in gradients.table.items():
        if leaf.__class__ is Leaf and leaf.requires_grad:  # it may have been frozen since it was used
            arrived.append((leaf, hooked(leaf, gradient) if leaf.hooks else gradient))
    for extra, index, gradient in gradients.kept:
        held = extra.kept[index]
        extra.kept[index] = np.array(gradient) if held is None else held + gradient
    for leaf, gradient in arrived:
        if leaf.grad is not None:
            np.add(leaf.grad, gradient, out=leaf.grad)
        elif (leaf in gradients.owned and not leaf.hooks) or holders(gradient) in ALONE:
            leaf.grad = gradient
        else:
            leaf.grad = np.array(gradient)  # a copy: rules may return an array that others hold, too


def holders(array: Any) -> tuple[int, int]:
    """How many hold an array and, if it is a view of the whole of one, its base, which all views of it hold.

    Nobody can take over a NumPy number, a part of an array (which would keep all of it alive), a single number that
    looks like many, or what must not be written to: of these it counts none.
    """
    if array.__class__ is not np.ndarray or not array.flags.writeable:
        return 0, 0
    base = array.base
    if base is None:
        return getrefcount(array), 0
    whole = base.__class__ is np.ndarray and base.nbytes == array.nbytes
    return (getrefcount(array), getrefcount(base)) if whole else (0, 0)


def alone() -> set[tuple[int, int]]:
    """What `holders` counts, in this Python, where `deposit` alone holds an array, or the only view of a base."""
    table = {0: np.empty(1), 1: np.empty(1).reshape(1, 1)}
    arrived = list(table.items())
    return {holders(gradient) for _, gradient in arrived}


ALONE = alone()


def hooked(leaf: Leaf, gradient: Any) -> Any:
    """A leaf's gradient after the hooks on it."""
    for hook in list((leaf.hooks or {}).values()):
        gradient = run_hook(hook, gradient, leaf)
    return gradient


def seed_for(shape: tuple[int, ...], dtype: Any, gradient: Any) -> Any:
    """The gradient that a backward pass starts from; ones for a single number, given by the caller otherwise."""
    if gradient is None:
        if int(np.prod(shape)) != 1:
            raise GradientError(
                "backward() from a tensor with more than one element needs a gradient to start from",
                got=f"a tensor of shape {shape}",
                expected="a single number",
                todo="reduce it first (loss.sum() or loss.mean()), or pass backward(gradient) of its shape",
            )
        return np.ones(shape, dtype)
    if gradient.__class__ is not np.ndarray and not hasattr(gradient, "shape"):
        gradient = np.asarray(gradient, dtype)
    if gradient.shape != shape:
        raise ShapeError("the gradient to start from does not fit the tensor", got=gradient.shape, expected=shape)
    return gradient if gradient.dtype == dtype else gradient.astype(dtype)
