"""From the tape to nodes and edges that are plain data."""

from __future__ import annotations

import itertools
import math
import weakref
from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ..module import Module
from ..tape import Leaf, Node, node_of, owner_of, saved_arrays
from ..tape import Output as TapeOutput
from .gradients import GraphGradients, watch
from .notes import NOTED, Noted
from .parts import ArraySpec, Edge, GraphNode

MANY_USES = 8
"""An input or constant that more nodes use is drawn as a stub at each of them: a hub that everything hangs on would tie
a picture into a knot, and take Graphviz minutes to lay out."""


class Built(NamedTuple):
    """The fields of a `Graph`, before it is one."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...]
    gradients: GraphGradients | None
    modules: tuple[int, ...]


MODULES: weakref.WeakValueDictionary[int, Module] = weakref.WeakValueDictionary()
"""The modules that graphs were taken of, for as long as they live: a graph itself holds none."""

_next_key = itertools.count().__next__
_keys: weakref.WeakKeyDictionary[Module, int] = weakref.WeakKeyDictionary()


PRIMITIVE = -1
"""The number of all modules that are defined by nothing smaller: there is nothing to find them for."""


def key_of(module: Module) -> int:
    """The number under which a module is found again."""
    if module.expand is None:
        return PRIMITIVE
    if module not in _keys:
        key = _keys[module] = _next_key()
        MODULES[key] = module
    return _keys[module]


def _reached(roots: Iterable[Node]) -> list[Node]:
    """The roots and all nodes that they were computed from, in order of recording."""
    reached = set(roots)
    pending = list(reached)
    while pending:
        for parent in pending.pop().parents:
            if parent not in reached:
                reached.add(parent)
                pending.append(parent)
    return sorted(reached, key=attrgetter("number"))


class Builder:
    """Nodes and edges in the making, and the numbers given out so far."""

    def __init__(self, roots: Iterable[Node]) -> None:
        self.roots = list(roots)
        self.recorded = _reached(self.roots)
        self.nodes: list[GraphNode] = []
        self.edges: list[Edge] = []
        self.ids: dict[Any, int] = {}  # by tape node; by leaf and the place that its stub is for
        self.modules: dict[Module, int] = {}
        self.tensors: dict[Leaf, int] = {}
        self.arguments: dict[tuple[type, int], str] = {}  # reading a signature takes longer than all the rest
        self.uses = Counter(
            (source, node.t) for node in self.recorded for source in set(node.inputs) if source.__class__ is Leaf
        )

    def build(self) -> Built:
        for node in self.recorded:
            self.add_operation(node)
        outputs = dict.fromkeys(self.ids[root] for root in self.roots)
        keys = tuple(key_of(module) for module in self.modules)
        return Built(tuple(self.nodes), tuple(self.edges), tuple(outputs), None, keys)

    def watch(self, seeds: list[tuple[Any, np.ndarray]]) -> GraphGradients:
        """What a backward pass carries through the graph that was built."""
        ids = {node: self.ids[node] for node in self.recorded}
        edges = {(edge.target, edge.slot): index for index, edge in enumerate(self.edges)}
        stubs = {
            index: edge.source for index, edge in enumerate(self.edges) if self.nodes[edge.source].role != "operation"
        }
        return watch(seeds, ids, edges, stubs, self.tensors)

    def add_operation(self, node: Node) -> None:
        module = node.module
        operands: list[tuple[str, complex]] = []
        edges: list[tuple[int, int, str, Any]] = []
        weights: set[Leaf] = set()
        cuts: set[int] = set()
        first_parameter = len(node.inputs) - len(module.parameter_names)
        for slot, source in enumerate(node.inputs):
            if source is None:
                continue
            if slot >= first_parameter:
                argument = module.parameter_names[slot - first_parameter]
            else:
                argument = self.argument(module, slot)
            if isinstance(source, (bool, int, float, complex)):
                operands.append((argument, source))
                continue
            if source.__class__ is Leaf and (cut := self.cut_from(source)) is not None:
                given = cut
                cuts.add(slot)
            elif source.__class__ is Leaf:
                given = self.stub(source, node)
                if source.role == "parameter":
                    weights.add(source)
            else:
                given = self.ids[node_of(source)]
            edges.append((given, slot, argument, source))

        id = self.ids[node] = len(self.nodes)
        noted = NOTED.get(node, Noted((), None))
        self.nodes.append(
            GraphNode(
                id=id,
                role="operation",
                op=type(module).__name__,
                family=_family(module),
                name=node.name,
                scope=node.scope,
                t=node.t,
                outputs=_specs(node),
                operands=tuple(operands),
                parameters=sum(math.prod(leaf.shape) for leaf in weights),
                saved_bytes=_bytes_of(saved_arrays(node)),
                released=node.released,
                module=self.modules.setdefault(module, len(self.modules)),
                formulas=module.formulas,
                values=noted.values,
                line=noted.line,
            )
        )
        for given, slot, argument, source in edges:
            output = source.index if source.__class__ is TapeOutput else 0
            self.edges.append(
                Edge(
                    source=given,
                    target=id,
                    output=output,
                    slot=slot,
                    argument=argument,
                    shape=source.shape,
                    dtype=str(source.dtype),
                    gradient=node.needs[slot],
                    own=slot >= first_parameter,
                    cut=slot in cuts,
                )
            )

    def cut_from(self, leaf: Leaf) -> int | None:
        """Id of the node in this graph that a detached tensor came from, if it did and that is here."""
        node = leaf.cut and leaf.cut()
        return None if node is None else self.ids.get(node)

    def stub(self, leaf: Leaf, user: Node) -> int:
        """Id of the node that stands for a leaf at one of its users; made where there is none yet.

        A parameter has one at each user. An input or constant is a single node, unless the picture gains by several: it
        has one for each time step, or at each user when there are very many.
        """
        shared = leaf.role != "parameter" and self.uses[leaf, user.t] <= MANY_USES
        key = (leaf, user.t if shared else user)
        if key not in self.ids:
            self.ids[key] = len(self.nodes)
            is_parameter = leaf.role == "parameter"
            self.nodes.append(
                GraphNode(
                    id=len(self.nodes),
                    role=leaf.role,
                    op=leaf.role.capitalize(),
                    name=leaf.name,
                    scope=user.scope if is_parameter else (),
                    t=user.t,
                    outputs=(ArraySpec(leaf.shape, str(leaf.dtype)),),
                    parameters=math.prod(leaf.shape) if is_parameter else 0,
                    tensor=self.tensors.setdefault(leaf, len(self.tensors)),
                )
            )
        return self.ids[key]

    def argument(self, module: Module, slot: int) -> str:
        key = (type(module), slot)
        if key not in self.arguments:
            self.arguments[key] = module.argument_name(slot)
        return self.arguments[key]


def _bytes_of(arrays: Iterable[np.ndarray]) -> int:
    """Bytes of the arrays; one that is there twice counts once, and a view no more than it shows of its buffer."""
    shown: dict[tuple[int, int], int] = {}
    for array in arrays:
        buffer, size = owner_of(array)
        place = (buffer, array.__array_interface__["data"][0])
        shown[place] = max(shown.get(place, 0), min(size, array.nbytes))
    return sum(shown.values())


def _specs(node: Node) -> tuple[ArraySpec, ...]:
    if isinstance(node.dtype, tuple):
        return tuple(ArraySpec(shape, str(dtype)) for shape, dtype in zip(node.shape, node.dtype, strict=True))
    return (ArraySpec(node.shape, str(node.dtype)),)


def _family(module: Module) -> str:
    package, _, family = type(module).__module__.rpartition(".")
    return family if package == "graphzoo.zoo" else "custom"
