"""What a frozen graph consists of: nodes and edges, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..module import Formulas
from ..tape import Scope
from .statistics import Statistics


class ArraySpec(NamedTuple):
    """Shape and dtype of an array.

    >>> print(ArraySpec((32, 10), "float32"))
    float32 (32, 10)
    """

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of a `Graph`.

    Attributes:
        id: its place in the order of recording, from 0. What a node used comes before it.
        role: "operation" (a recorded use of a module), "parameter", "input" (requires a gradient) or "constant".
        op: class of the module, e.g. "Linear"; for what is no operation "Parameter", "Input" or "Constant".
        family: shelf of the zoo that the module stands on, e.g. "linear"; "custom" for a user's own, "" else.
        name: of the tensor or of the module in the model around it; None where neither has one.
        scope: the boxes around it, outermost first.
        t: time step, or None.
        outputs: shape and dtype of each output.
        operands: Python numbers among an operation's arguments, as (argument, number).
        parameters: how many numbers an operation's parameters hold, or this parameter holds.
        saved_bytes: size of the arrays that the node holds for its backward pass; one held by several nodes counts at
            each of them.
        released: whether a backward pass has given those back.
        module: number of the module among the graph's modules, the same for every use of it; None if no operation.
        tensor: number of the tensor among the graph's parameters, inputs and constants; the same for every stub of one
            tensor. None for operations.
        formulas: the module's three passes in LaTeX; None if no operation.
        values: of each output, where it was computed inside `gz.record`; else empty. That is not the same as zeros.
        line: ``file.py:12``, the program's line that it was recorded by, inside `gz.record`; else None.
        count: how many recorded nodes it stands for; more than one in a folded graph.
    """

    id: int
    role: str
    op: str
    family: str = ""
    name: str | None = None
    scope: tuple[Scope, ...] = ()
    t: int | None = None
    outputs: tuple[ArraySpec, ...] = ()
    operands: tuple[tuple[str, complex], ...] = ()
    parameters: int = 0
    saved_bytes: int = 0
    released: bool = False
    module: int | None = None
    tensor: int | None = None
    formulas: Formulas | None = None
    values: tuple[Statistics, ...] = ()
    line: str | None = None
    count: int = 1

    @property
    def label(self) -> str:
        """What the node is called in pictures: ``fc1: Linear``, ``Multiply(b=2)``, or a parameter's name."""
        if self.role != "operation":
            return self.name or self.role
        call = self.op + (f"({', '.join(f'{key}={value}' for key, value in self.operands)})" if self.operands else "")
        return f"{self.name}: {call}" if self.name and self.name != self.op else call

    @property
    def times(self) -> str:
        """ "×50" for what plays a role at fifty time steps, in a graph rolled over time; else ""."""
        return f"×{self.count}" if self.count > 1 and (self.module is not None or self.role != "operation") else ""

    @property
    def path(self) -> str:
        """Names of the boxes around the node and its own (or its class), joined by dots."""
        return ".".join([*(box.name for box in self.scope), self.name or self.op])


@dataclass(frozen=True, slots=True)
class Edge:
    """One use of a value by an operation.

    Attributes:
        source, target: ids of the node that gave the value and of the operation that used it.
        output: which of the source's outputs it is.
        slot: which argument of the target it is, parameters last.
        argument: that argument's name in the module's rules.
        shape, dtype: of the value.
        gradient: whether a gradient flows back along the edge.
        own: whether the value is one of the module's own parameters (`weight`), and no input.
        cut: whether the value was detached on its way: the edge is known, but no gradient can cross it.
        lag: in a graph rolled over time, how many time steps later the value is used than it was computed.
        rule: in a backward view, what is computed along the edge.
    """

    source: int
    target: int
    output: int
    slot: int
    argument: str
    shape: tuple[int, ...]
    dtype: str
    gradient: bool
    own: bool
    cut: bool = False
    lag: int = 0
    rule: str = ""
