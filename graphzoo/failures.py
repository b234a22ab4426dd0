"""Why a backward pass cannot go on: its errors, worded from what the tape knows of the nodes."""

from __future__ import annotations

from typing import Any

from .errors import GradientError, OverwrittenError, ReleasedError, describe
from .tape import Leaf, Node, node_of


def wrong_count(node: Node, gradients: tuple[Any, ...]) -> GradientError:
    """Explains a rule whose gradients are not one per input: pairing them up would lose some silently."""
    kind = type(node.module).__name__
    inputs = len(node.inputs) - len(node.module.parameter_names)
    return GradientError(
        f"{kind}.backward returned the wrong number of gradients",
        got=len(gradients) - len(node.module.parameter_names),
        expected=f"{inputs}, one for each input",
        todo="return a tuple, with None for an input that no gradient flows to",
    )


def wrong_kind(node: Node, gradients: tuple[Any, ...]) -> GradientError:
    """Explains a rule that returned something else than arrays."""
    return GradientError(
        f"{type(node.module).__name__} returned a gradient that is no array",
        got=", ".join("None" if dx is None else describe(dx) for dx in gradients),
        expected="an array for each input, in a tuple where there are several",
        todo="return np.asarray(...) from its rules, and None for an input that no gradient flows to",
    )


def released_error(node: Node, user: Node | None) -> ReleasedError:
    """Explains a second pass: which node is gone, and through which carried value the graph reached it."""
    if user is None:
        return ReleasedError(
            f"the graph of {node!r} was released by an earlier backward pass",
            got="a second backward pass through the same graph",
            expected="one backward pass for each forward pass",
            todo="run the forward pass again; to differentiate several losses of one graph, add them up first "
            "(or keep the saved arrays with backward(retain_graph=True))",
        )
    carried = next(i for i, source in enumerate(user.inputs) if node_of(source) is node)
    argument = user.module.argument_name(carried)
    return ReleasedError(
        f"{user!r} took its input `{argument}` from {node!r}, whose graph was released by an earlier backward pass",
        got="a backward pass that reaches into the graph of an earlier one",
        expected="a graph that ends where this forward pass began",
        todo=f"cut the graph where `{argument}` is carried over: state = gz.detach_state(state) after each backward(); "
        "to differentiate several losses of one graph, add them up first (or backward(retain_graph=True))",
    )


def overwritten_error(node: Node, leaf: Leaf) -> OverwrittenError:
    """Explains a write that came between a node's forward and backward pass."""
    return OverwrittenError(
        f"{leaf!r} was overwritten after {node!r} had used it, and its backward pass needs the old values",
        got=f"written by {leaf.writer}",
        expected="memory that stays as it is until the backward pass",
        todo="call backward() before the write, or run the forward pass again after it",
    )
