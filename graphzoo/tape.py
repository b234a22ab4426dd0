"""The tape: what is remembered of a computation, and where recording stands in this thread.

A recorded operation is a `Node`. Its edges point backwards only, to the sources of its inputs: another `Node`, one
`Output` of a node that has several, or a `Leaf` (a parameter, an input, a constant). A tensor points to its source and
nothing points back to a tensor, so that a graph holds no reference cycle and is freed the moment it is dropped.

Two rules keep the tape small and fast. A node keeps no array but what its module saved for the passes to come. And its
order is a number drawn from one counter: an operation's inputs always exist before it does, so that descending numbers
are a topological order of the graph, with no search needed.
"""

from __future__ import annotations

import copy
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from .module import Module

Shape = tuple[int, ...]

new_object = object.__new__
next_number = itertools.count(1).__next__


class _Released:
    """What `Node.saved` holds once a backward pass has gone by."""

    def __repr__(self) -> str:
        return "RELEASED"


RELEASED = _Released()


class Scope(NamedTuple):
    """One box around nodes: the name of a model or of a `gz.scope`, and the model's class ("" for a plain scope)."""

    name: str
    kind: str


class Place:
    """Where in the program a node was recorded: the scopes around it, outermost first, and the time step."""

    __slots__ = ("scope", "t")

    def __init__(self, scope: tuple[Scope, ...] = (), t: int | None = None) -> None:
        self.scope = scope
        self.t = t


class Leaf:
    """A source that nothing was computed for: a parameter, an input, or a constant.

    Holds the gradient of the tensor it belongs to, not its array. `written` is the number at which the tensor's memory
    was last changed in place; a node with a smaller number that saved this memory can no longer be differentiated.
    `cut` refers to the node that a detached tensor came from, for as long as that lives.
    """

    __slots__ = (
        "cut", "dtype", "grad", "hooks", "memory", "name", "number", "requires_grad", "role", "shape", "writer",
        "written",
    )  # fmt: skip

    def __init__(self, shape: Shape, dtype: np.dtype[Any], requires_grad: bool, role: str, name: str | None) -> None:
        self.number = next_number()
        self.shape = shape
        self.dtype = dtype
        self.requires_grad = requires_grad
        self.role = role
        self.name = name
        self.grad: Any = None
        self.hooks: dict[int, Callable[[Any], Any]] | None = None
        self.written = 0
        self.writer = ""
        self.memory: np.ndarray | None = None
        self.cut: weakref.ref[Node] | None = None

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<{self.role}{name} {self.dtype} {self.shape}>"


def note_write(leaf: Leaf, memory: np.ndarray, writer: str) -> None:
    """Remember that a leaf's memory was changed in place, and by whom."""
    leaf.memory, leaf.writer = memory, writer
    leaf.written = _Writes.latest = next_number()


def latest_write() -> int:
    """The number of the latest write to any leaf: nodes with a larger one need no look at what was overwritten."""
    return _Writes.latest


class _Writes:
    latest = 0


class Extra:
    """What only few nodes have: a name of their own, hooks on their outputs, gradients that were asked to stay.

    Nodes that were computed together may share one whose `at_once` differentiates them together: a function of a node,
    its gradient, the sweep's `Gradients` and whether to retain; it says whether it did.
    """

    __slots__ = ("hooks", "kept", "name")
    at_once: Any = None

    def __init__(self) -> None:
        self.name: str | None = None
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] = {}  # by output, by handle
        self.kept: dict[int, Any] = {}  # by output: the gradient, None until a backward pass has gone by


class Node:
    """One recorded use of a module.

    Attributes:
        module: the module whose rules belong to this node.
        number: its place in the order of recording; unique in the process.
        inputs: one source for each argument, the module's parameters last. Python numbers and None stand for
        themselves. needs: for each input, whether a gradient flows to it.
        saved: what the module's forward pass put there for the other passes; `RELEASED` after a backward pass.
        shape, dtype: of the output; tuples of them when the module has several outputs.
        fits: whether the gradients that `module` gives are known to have the shapes and dtypes of their sources.
        place: scopes and time step.
        delta: what the backward pass computed and the parameter pass uses again (the gradient at the pre-activations).
    """

    __slots__ = (
        "__weakref__", "delta", "dtype", "extra", "fits", "inputs", "module", "needs", "number", "place", "saved",
        "shape",
    )  # fmt: skip
    requires_grad = True

    if TYPE_CHECKING:
        module: Module
        number: int
        inputs: tuple[Any, ...]
        needs: tuple[bool, ...]
        saved: Any
        shape: Any
        dtype: Any
        fits: bool
        place: Place
        delta: Any
        extra: Extra | None

    @property
    def t(self) -> int | None:
        """The time step the node was recorded at, or None."""
        return self.place.t

    @property
    def scope(self) -> tuple[Scope, ...]:
        """The scopes around the node, outermost first."""
        return self.place.scope

    @property
    def released(self) -> bool:
        """Whether a backward pass has given back what the node had saved."""
        return self.saved is RELEASED

    @property
    def name(self) -> str | None:
        """The node's own name, else the name its module has in the model around it, else None."""
        return (self.extra and self.extra.name) or self.module.name

    @property
    def parents(self) -> tuple[Node, ...]:
        """The nodes whose outputs this node used, one for each edge."""
        return tuple(node for source in self.inputs if (node := node_of(source)) is not None)

    def more(self) -> Extra:
        """The node's own `extra`, made on first use."""
        if self.extra is None or self.extra.at_once is not None:
            self.extra = Extra()
        return self.extra

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        step = "" if self.t is None else f" (t={self.t})"
        return f"{type(self.module).__name__}{name}{step}"


class Output:
    """One output of a node that has several."""

    __slots__ = ("index", "node")
    requires_grad = True

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def shape(self) -> Shape:
        return self.node.shape[self.index]  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.node.dtype[self.index]  # type: ignore[no-any-return]


def stand_in(node: Node, saved: Any, delta: Any = None) -> Node:
    """A node like the given one, with other saved values, that is in no graph: what rules work on outside the sweep."""
    other = Node()
    other.module, other.number, other.place, other.extra = node.module, node.number, node.place, node.extra
    other.inputs, other.needs, other.shape, other.dtype = node.inputs, node.needs, node.shape, node.dtype
    other.saved, other.delta, other.fits = saved, delta, node.fits
    return other


def node_of(source: object) -> Node | None:
    """The node behind a source, or None for leaves, numbers and None."""
    if isinstance(source, Node):
        return source
    return source.node if isinstance(source, Output) else None


class Context:
    """Where recording stands in one thread. Passive: the blocks below change it and put it back."""

    __slots__ = ("draws", "observer", "place", "recording", "replaying")

    def __init__(self) -> None:
        self.recording = True
        self.place = Place()
        self.observer: Any = None  # a Tape or another, told of each node that is recorded and of its output
        self.replaying = False  # a computation is being repeated: running statistics must not move on
        self.draws: dict[np.random.Generator, Any] | None = None  # states of generators before their first draw


class _Local(threading.local):
    def __init__(self) -> None:
        self.context = Context()


local = _Local()


class no_grad(ContextDecorator):
    """Within this block (or decorated function) nothing is recorded in this thread.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> with gz.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    recording = False

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _recreate_cm(self) -> Self:  # each call of a decorated function has a block of its own: threads may overlap
        return type(self)()

    def __enter__(self) -> None:
        self._before.append(local.context.recording)
        local.context.recording = self.recording

    def __exit__(self, *exception: object) -> None:
        local.context.recording = self._before.pop()


class enable_grad(no_grad):
    """Within this block recording is on again, inside a `no_grad` block too."""

    recording = True


def note_draw(rng: np.random.Generator) -> None:
    """To be called by a stochastic rule before it draws, so that `gz.checkpoint` can repeat the draw."""
    draws = local.context.draws
    if draws is not None:
        draws.setdefault(rng, rng.bit_generator.state)


class watch_draws:
    """Within this block the states that generators had before their first draw are noted in the given dictionary."""

    def __init__(self, draws: dict[np.random.Generator, Any]) -> None:
        self._draws = draws

    def __enter__(self) -> None:
        self._before, local.context.draws = local.context.draws, self._draws

    def __exit__(self, *exception: object) -> None:
        inner, local.context.draws = self._draws, self._before
        if self._before is not None:
            for rng, state in inner.items():
                self._before.setdefault(rng, state)


class replay:
    """Within this block a computation is repeated: generators draw what they drew, running statistics stay."""

    def __init__(self, draws: dict[np.random.Generator, Any]) -> None:
        self._draws = draws

    def __enter__(self) -> None:
        self._states = {rng: rng.bit_generator.state for rng in self._draws}
        for rng, state in self._draws.items():
            rng.bit_generator.state = state
        self._before, local.context.replaying = local.context.replaying, True

    def __exit__(self, *exception: object) -> None:
        local.context.replaying = self._before
        for rng, state in self._states.items():
            rng.bit_generator.state = state


class _Placed(ContextDecorator):
    """A block within which nodes are recorded at another place."""

    def __init__(self) -> None:
        self._before: list[Place] = []

    def _recreate_cm(self) -> Self:  # as in no_grad
        block = copy.copy(self)
        block._before = []
        return block

    def _place(self, around: Place) -> Place:
        raise NotImplementedError

    def __enter__(self) -> None:
        context = local.context
        self._before.append(context.place)
        context.place = self._place(context.place)

    def __exit__(self, *exception: object) -> None:
        local.context.place = self._before.pop()


class scope(_Placed):
    """Nodes recorded in this block are drawn in a box with this name.

    >>> import graphzoo as gz
    >>> with gz.scope("encoder"):
    ...     y = gz.tensor([1.0], requires_grad=True) * 2
    >>> y.node.scope[0].name
    'encoder'
    """

    def __init__(self, name: str, kind: str = "") -> None:
        super().__init__()
        self._scope = Scope(str(name), kind)

    def _place(self, around: Place) -> Place:
        return Place((*around.scope, self._scope), around.t)


class time_step(_Placed):
    """Nodes recorded in this block belong to time step t (an integer, counted as the user likes).

    >>> import graphzoo as gz
    >>> with gz.time_step(3):
    ...     y = gz.tensor([1.0], requires_grad=True) * 2
    >>> y.node.t
    3
    """

    def __init__(self, t: int) -> None:
        super().__init__()
        self._t = index(t)  # refuses what is no integer

    def _place(self, around: Place) -> Place:
        return Place(around.scope, self._t)


def saved_arrays(node: Node) -> Iterator[np.ndarray]:
    """The arrays that a node holds: what it saved, at any depth of tuples, lists, dictionaries and slotted objects."""
    pending = [node.saved, node.delta]
    while pending:
        value = pending.pop()
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, (tuple, list)):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif hasattr(type(value), "__slots__") and not isinstance(
            value, (str, bytes, int, float, _Released, Node, Leaf)
        ):
            pending.extend(getattr(value, slot, None) for slot in type(value).__slots__)


def owner_of(array: np.ndarray) -> tuple[int, int]:
    """Identity and size in bytes of the buffer behind an array: (id, nbytes) of its outermost base."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array), array.nbytes
