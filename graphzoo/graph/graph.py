"""The frozen graph: plain data, independent of the tape it was taken from.

Nothing in it refers to a tensor, a module or an array, so a `Graph` keeps no memory of the computation alive, and it is
the same before and after a backward pass but for what that released. Identities that matter (the same module, the same
parameter) are small numbers counted from 0 within the graph: two runs of a program give equal graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentError, describe
from ..module import Formulas
from ..tape import Scope
from . import dot, render, summary, svg
from .heat import Heat

if TYPE_CHECKING:
    from pathlib import Path

    import graphviz
    import networkx

    from .gradients import GraphGradients

NOTEBOOK_NODES = 500
"""The largest graph that a notebook shows as a page, and without time as a picture, by itself."""

NOTEBOOK_COLUMNS = 11
"""How many columns a notebook shows of a graph with time."""

VIEWS = ("columns", "graph")
COLOURINGS = ("family", "gradient")
ENDINGS = (*render.TEXT, *render.PICTURES, "html")


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
        saved_bytes: size of the buffers that the node holds for its backward pass; one held by several nodes counts at
            each of them.
        released: whether a backward pass has given those back.
        module: number of the module among the graph's modules, the same for every use of it; None if no operation.
        tensor: number of the tensor among the graph's parameters, inputs and constants; the same for every stub of one
            tensor. None for operations.
        formulas: the module's three passes in LaTeX; None if no operation.
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

    @property
    def label(self) -> str:
        """What the node is called in pictures: ``fc1: Linear``, ``Multiply(b=2)``, or a parameter's name."""
        if self.role != "operation":
            return self.name or self.role
        call = self.op + (f"({', '.join(f'{key}={value}' for key, value in self.operands)})" if self.operands else "")
        return f"{self.name}: {call}" if self.name and self.name != self.op else call

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


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """A frozen graph of a computation, as `gz.graph` makes it. Two graphs of the same structure are equal.

    Attributes:
        nodes: all nodes; `nodes[i].id == i`.
        edges: one for each use of a value, by target and argument.
        outputs: ids of the nodes whose outputs the graph was asked for.
        gradients: what a backward pass carried through it, if `gz.graph` was asked for that; else None.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> graph = gz.graph(x * x)
    >>> graph
    <Graph: 2 nodes, 2 edges>
    >>> [node.label for node in graph.nodes]
    ['x', 'Multiply']
    >>> [(edge.source, edge.target, edge.argument) for edge in graph.edges]
    [(0, 1, 'a'), (0, 1, 'b')]
    """

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...]
    gradients: GraphGradients | None = None

    def __len__(self) -> int:
        """How many nodes it has, stubs of parameters included."""
        return len(self.nodes)

    def __iter__(self) -> Iterator[GraphNode]:
        return iter(self.nodes)

    def __getitem__(self, id: int) -> GraphNode:
        return self.nodes[id]

    def __repr__(self) -> str:
        steps = len({node.t for node in self.nodes} - {None})
        return (
            f"<Graph: {len(self.nodes)} node{'s' * (len(self.nodes) != 1)}, "
            f"{len(self.edges)} edge{'s' * (len(self.edges) != 1)}"
            + (f", {steps} time step{'s' * (steps != 1)}" if steps else "")
            + ">"
        )

    def find(
        self, name: str | None = None, op: str | None = None, t: int | None = None, scope: str | None = None
    ) -> tuple[GraphNode, ...]:
        """The nodes for which all that is given holds, in order.

        Args:
            name: the node's own name.
            op: class of its module: "LSTMCell"; or "Parameter", "Input", "Constant".
            t: its time step.
            scope: name of a box around it, or of several nested ones joined by dots: "encoder.cell".

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0], requires_grad=True)
        >>> for t in range(3):
        ...     with gz.time_step(t):
        ...         x = x * 2
        >>> gz.graph(x).find(op="Multiply", t=2)[0].id
        3
        """
        return tuple(
            node
            for node in self.nodes
            if (name is None or node.name == name)
            and (op is None or node.op == op)
            and (t is None or node.t == t)
            and (scope is None or f".{scope}." in f".{'.'.join(box.name for box in node.scope)}.")
        )

    # Exports ---------------------------------------------------------------------------------------------------------

    def to_networkx(self) -> networkx.MultiDiGraph[int]:
        """The graph as a `networkx.MultiDiGraph`.

        Nodes are keyed by id and edges by the argument's number (``slot``), so that every use of a value stays an edge
        of its own; both carry the attributes of `GraphNode` and `Edge`.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
        >>> net = gz.graph(x * x).to_networkx()
        >>> net.number_of_edges(0, 1), net.edges[0, 1, 1]["argument"]
        (2, 'b')
        """
        import networkx

        net: networkx.MultiDiGraph[int] = networkx.MultiDiGraph(outputs=self.outputs)
        for node in self.nodes:
            net.add_node(node.id, label=node.label, **_attributes(node, leave_out=("id",)))
        for edge in self.edges:
            net.add_edge(
                edge.source, edge.target, edge.slot, **_attributes(edge, leave_out=("source", "target", "slot"))
            )
        return net

    def to_dot(self, rankdir: str | None = None) -> str:
        """The graph in Graphviz's DOT language: the same text for the same structure, on every machine.

        Scopes are dashed boxes, colours tell the families of the zoo, parameters are small stubs at each use (those of
        one module in one stub), and nodes that a backward pass has released are dashed. Nodes that were recorded at
        time steps stand in columns in order of time.

        Args:
            rankdir: the direction of the computation: "TB" (down), "BT" (up), "LR" or "RL". By default down, and up
                where there are time steps, which then run from left to right.

        Raises:
            ArgumentError: another direction.
        """
        return "\n".join(["digraph {", *dot.lines(self, rankdir), "}", ""])

    def to_graphviz(self, rankdir: str | None = None) -> graphviz.Digraph:
        """The graph as a `graphviz.Digraph`, with the same text as `to_dot`."""
        import graphviz

        return graphviz.Digraph(body=[line + "\n" for line in dot.lines(self, rankdir)])

    def to_svg(
        self,
        view: str | None = None,
        *,
        fold: int | None = None,
        colour: str = "family",
        rankdir: str | None = None,
        timeout: float = render.TIMEOUT,
    ) -> str:
        """The picture as SVG text.

        Args:
            view: "columns": time runs to the right, a column a step in exact order, and the nodes of one role stand in
                one row; laid out by graphzoo itself, in milliseconds, on every machine alike. "graph": laid out by
                Graphviz. By default columns where there are time steps, else the graph.
            fold: for columns: of more time steps than this, those between the first and the last few are folded into
                one column; at least 3. By default none.
            colour: for columns: "family", or "gradient": the norms of the gradients on a logarithmic scale, from dark
                blue to yellow; white for 0, red for NaN and infinity, grey where no gradient flowed.
            rankdir: for the graph: direction of the computation, as in `to_dot`.
            timeout: for the graph: seconds that Graphviz may take.

        Raises:
            ArgumentError: an unknown view or colour, an impossible fold; colours of gradients where there are none.
            RenderError: for the graph: Graphviz is missing, failed, or took too long.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0], requires_grad=True)
        >>> for t in range(100):
        ...     with gz.time_step(t):
        ...         x = x * 2
        >>> picture = gz.graph(x).to_svg(fold=7)
        >>> "t = 3…96" in picture
        True
        """
        if self._view(view) == "graph":
            return render.render(self.to_dot(rankdir), "svg", timeout).decode()
        return svg.columns(self, self._fold(fold), self._heat(colour))

    def _fold(self, fold: int | None) -> int | None:
        if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 3):
            raise ArgumentError(
                "a stretch of time is folded between the first and the last steps",
                got=f"fold={fold!r}",
                expected="an integer of at least 3, the number of columns that remain",
            )
        return fold

    def to_html(self, *, fold: int | None = None, title: str = "graphzoo") -> str:
        """The columns view as one page that needs nothing else: no network, no server, no Graphviz.

        In it: search (Enter goes on to the next), zoom, and a click on a node for its path, shapes, bytes and formulas.
        For a graph taken with `gz.graph(loss, gradients=True)` also the backward pass, node by node with ◀ ▶ or the
        arrow keys: what arrives at each node and what it hands on, what has gathered for each parameter, and its
        contributions over time. Formulas are set as mathematics where latex2mathml is installed (``graphzoo[draw]``),
        else as LaTeX.

        Args:
            fold: as in `to_svg`; by default only graphs of more than 5,000 nodes are folded.
            title: of the page.

        Raises:
            ArgumentError: an impossible fold.
        """
        from . import page

        return page.html(self, self._fold(fold), title)

    def _heat(self, colour: str) -> Heat | None:
        if colour not in COLOURINGS:
            raise ArgumentError("unknown colours", got=describe(colour), expected=" or ".join(map(repr, COLOURINGS)))
        if colour == "family":
            return None
        if self.gradients is None:
            raise ArgumentError(
                "this graph knows of no gradients",
                got="colour='gradient'",
                expected="a graph taken with gradients",
                todo="gz.graph(loss, gradients=True)",
            )
        return Heat.of(self.gradients)

    def _view(self, view: str | None) -> str:
        if view is None:
            return "columns" if any(node.t is not None for node in self.nodes) else "graph"
        if view not in VIEWS:
            raise ArgumentError("an unknown view", got=describe(view), expected=" or ".join(map(repr, VIEWS)))
        return view

    def save(
        self,
        path: str | Path,
        view: str | None = None,
        *,
        fold: int | None = None,
        colour: str = "family",
        rankdir: str | None = None,
        timeout: float = render.TIMEOUT,
    ) -> Path:
        """Write the graph to a file, in the format of its ending: .html, .svg, .dot or .gv (text), .png, .pdf.

        Args:
            path: where to; the folder must exist.
            view, fold, colour: of an .svg, as in `to_svg` (`fold` of a page, too); the other pictures are Graphviz's.
            rankdir: direction of the computation, as in `to_dot`.
            timeout: seconds that Graphviz may take; not needed for text, nor for columns.

        Returns:
            The path written to.

        Raises:
            ArgumentError: an unknown ending or view, or a folder that does not exist.
            RenderError: Graphviz is missing, failed, or took too long.
        """
        from pathlib import Path

        path = Path(path)
        ending = path.suffix.lower().removeprefix(".")
        if ending not in ENDINGS:
            known = ", ".join("." + known for known in ENDINGS)
            raise ArgumentError("a graph is saved in the format of the file's ending", got=str(path), expected=known)
        if not path.parent.is_dir():
            raise ArgumentError(
                "the folder to save the graph in does not exist", got=str(path.parent), todo="create it first"
            )
        if ending == "html":
            content = self.to_html(fold=fold, title=path.stem).encode()
        elif ending == "svg":
            content = self.to_svg(view, fold=fold, colour=colour, rankdir=rankdir, timeout=timeout).encode()
        elif ending in render.TEXT:
            content = self.to_dot(rankdir).encode()
        elif self._view(view) == "columns" and view is not None:
            raise ArgumentError(
                "columns are drawn as SVG", got=f"view='columns' for {path.name}", expected="a path that ends in .svg"
            )
        else:
            content = render.render(self.to_dot(rankdir), ending, timeout)
        path.write_bytes(content)
        return path

    def summary(self, width: int = 100) -> str:
        """A table of the layers: box by box, with output shapes and parameters, repeated uses rolled into "×50".

        A parameter used in several places is counted where it is used first and said to be shared after that.

        Args:
            width: columns of text that the table may take, at least 60.
        """
        if not isinstance(width, int) or width < summary.NARROWEST:
            raise ArgumentError(
                "a summary needs some width", got=describe(width), expected=f"an integer of {summary.NARROWEST} or more"
            )
        return summary.table(self, width)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: the page in a frame, a picture with long stretches of time folded where it cannot show
        that, a line of text where it can show neither; of large graphs no page, without time no picture."""
        bundle = {"text/plain": repr(self)}
        timed = self._view(None) == "columns"
        if timed or len(self.nodes) <= NOTEBOOK_NODES:
            try:
                bundle["image/svg+xml"] = self.to_svg(fold=NOTEBOOK_COLUMNS, timeout=10)
            except render.RenderError as error:
                bundle["text/plain"] += f"\n{error}"
        if len(self.nodes) <= NOTEBOOK_NODES:
            from . import page

            bundle["text/html"] = page.frame(self.to_html())
        return bundle


def _attributes(record: GraphNode | Edge, leave_out: tuple[str, ...]) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name not in leave_out}


def _number(value: complex) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
