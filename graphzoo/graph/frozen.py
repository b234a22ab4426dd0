"""The frozen graph: plain data, independent of the tape it was taken from.

Nothing in it refers to a tensor, a module or an array, so a `Graph` keeps no memory of the computation alive, and it is
the same before and after a backward pass but for what that released. Identities that matter (the same module, the same
parameter) are small numbers counted from 0 within the graph: two runs of a program give equal graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, ShapeError, describe
from . import render
from .parts import Edge, GraphNode

if TYPE_CHECKING:
    from pathlib import Path

    import graphviz
    import networkx

    from .diff import GraphDiff
    from .gradients import GraphGradients
    from .heat import Heat

NOTEBOOK_NODES = 500
"""The largest graph that a notebook shows as a page, and without time as a picture, by itself."""

NOTEBOOK_COLUMNS = 11
"""How many columns a notebook shows of a graph with time."""

VIEWS = ("columns", "rolled", "graph")
COLOURINGS = ("family", "gradient")
ENDINGS = (*render.TEXT, *render.PICTURES, "html")


Choice = int | str | GraphNode | Callable[[GraphNode], Any]
"""What operations of a graph are chosen by: an id, a class of modules, a node, a function of a node."""


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """A frozen graph of a computation, as `gz.graph` makes it. Two graphs of the same structure are equal.

    Attributes:
        nodes: all nodes; `nodes[i].id == i`.
        edges: one for each use of a value, by target and argument.
        outputs: ids of the nodes whose outputs the graph was asked for.
        gradients: what a backward pass carried through it, if `gz.graph` was asked for that; else None.
        modules: what `expand` finds the modules by, of each that `GraphNode.module` numbers.
        backward: whether its edges are turned round, as in a `backward_view`.

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
    modules: tuple[int, ...] = field(default=(), compare=False)
    backward: bool = False

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

    # Other graphs made of it ------------------------------------------------------------------------------------------

    def fold(self, depth: int | None = None, *, time: bool = False) -> Graph:
        """A graph of fewer nodes: with boxes closed, or rolled up over time.

        Args:
            depth: boxes that stand inside of more than so many others are closed, and become a node each time they are
                entered: 0 closes all, 1 shows what the outermost ones consist of.
            time: roll time up: a node stands for what plays the same role at each time step, `GraphNode.count` says
                how often, and edges that carry a value on to another step are bent back (`Edge.lag`).

        Raises:
            ArgumentError: neither of them, or an impossible depth.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0], requires_grad=True)
        >>> for t in range(50):
        ...     with gz.time_step(t):
        ...         x = gz.tanh(x) * 2
        >>> rolled = gz.graph(x).fold(time=True)
        >>> [(node.label, node.count) for node in rolled.nodes if node.role == "operation"]
        [('Tanh', 50), ('Multiply(b=2)', 50)]
        >>> [(edge.source, edge.target, edge.lag) for edge in rolled.edges]
        [(0, 1, 0), (1, 2, 0), (2, 1, 1)]
        """
        if depth is None and not time:
            raise ArgumentError("fold() was not told what to fold", expected="depth=0, 1, …, or time=True, or both")
        if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
            raise ArgumentError("an impossible depth", got=f"depth={depth!r}", expected="an integer of at least 0")
        from .fold import by_depth, by_time

        graph = self if depth is None else by_depth(self, depth)
        return by_time(graph) if time else graph

    def expand(self, *what: Choice) -> Graph:
        """The graph with some operations replaced by what they are defined as, in a box of their name.

        A module of the zoo is one node with rules of its own; its definition in smaller operations (`Module.expand`) is
        recorded anew, on arrays of the same shapes. Primitives stay as they are. `fold` closes the boxes again.

        Args:
            what: classes of modules ("LSTMCell"), ids, nodes, or a function of a node that says which; all operations
                if nothing is given.

        Raises:
            ArgumentError: nothing in the graph is of this class or id; the model is gone, of which the graph was taken;
                a backward view.

        >>> import graphzoo as gz
        >>> x = gz.tensor([[1.0, 2.0]], requires_grad=True)
        >>> layer = gz.Linear(2, 3, rng=0)
        >>> graph = gz.graph(layer(x))
        >>> [node.op for node in graph.expand("Linear").nodes if node.role == "operation"]
        ['Transpose', 'MatMul', 'Add']
        """
        from .expand import expanded

        return expanded(self, self._chosen(what))

    def subgraph(self, *what: Choice, scope: str | None = None, t: int | range | None = None) -> Graph:
        """A part of the graph: some operations, and the parameters, inputs and constants that they use.

        A value that comes from an operation outside stands there as an input of that operation's name; the operations
        whose values go outside are the outputs.

        Args:
            what: as in `expand`; all if nothing is given.
            scope: only those in a box of this name, or of several nested ones joined by dots: "encoder.cell".
            t: only those at this time step, or in this range of steps.

        Raises:
            ArgumentError: nothing is left.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0], requires_grad=True)
        >>> for t in range(50):
        ...     with gz.time_step(t):
        ...         x = gz.tanh(x) * 2
        >>> middle = gz.graph(x).subgraph(t=range(10, 12))
        >>> [node.label for node in middle.nodes]
        ['Multiply(b=2)', 'Tanh', 'Multiply(b=2)', 'Tanh', 'Multiply(b=2)']
        """
        steps = range(t, t + 1) if isinstance(t, int) else t
        within = {node.id for node in self.find(scope=scope) if steps is None or node.t in steps}
        chosen = self._chosen(what) & within
        if not chosen:
            asked = {"what": what or None, "scope": scope, "t": t}
            raise ArgumentError(
                "no operation of the graph is in this part",
                got=", ".join(f"{key}={value!r}" for key, value in asked.items() if value is not None),
                expected="operations, boxes and time steps of this graph",
            )
        from .fold import part

        return part(self, chosen)

    def backward_view(self) -> Graph:
        """The way that gradients go: edges turned round, those without a gradient left out, and at each edge the rule
        by which it is computed (`Edge.rule`), as far as the module's formulas state it.

        Raises:
            ArgumentError: it is a backward view already.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0], requires_grad=True, name="x")
        >>> graph = gz.graph(gz.tanh(x)).backward_view()
        >>> [(graph[edge.source].label, graph[edge.target].label, edge.rule) for edge in graph.edges]
        [('Tanh', 'x', '∂L/∂x = ∂L/∂y ⊙ (1 - y²)')]
        """
        from .fold import backwards

        return backwards(self)

    def diff(self, other: Graph) -> GraphDiff:
        """How another graph differs from this one: operations that only one of them has, shapes, parameters, and, where
        both were taken with gradients, the ratios of their norms; to print, and to draw on one layout.

        Raises:
            ArgumentError: something else than a graph.
        """
        if not isinstance(other, Graph):
            raise ArgumentError("diff() compares graphs", got=describe(other), expected="another gz.Graph")
        from .diff import difference

        return difference(self, other)

    def _chosen(self, what: tuple[Choice, ...]) -> set[int]:
        """Ids of the operations that are meant; all of them if nothing is said."""
        operations = [node for node in self.nodes if node.role == "operation"]
        if not what:
            return {node.id for node in operations}
        chosen: set[int] = set()
        for each in what:
            if isinstance(each, str):
                found = {node.id for node in operations if node.op == each}
            elif isinstance(each, (int, GraphNode)):
                wanted = each if isinstance(each, int) else each.id
                found = {node.id for node in operations if node.id == wanted}
            elif callable(each):
                chosen |= {node.id for node in operations if each(node)}
                continue
            else:
                found = set()
            if not found:
                import difflib

                near = difflib.get_close_matches(str(each), {node.op for node in operations}, n=1)
                raise ArgumentError(
                    "there is no such operation in the graph",
                    got=describe(each),
                    expected="the class of a module, the id of an operation, a node, or a function of a node",
                    todo=f"did you mean {near[0]!r}?" if near else None,
                )
            chosen |= found
        return chosen

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

    def to_dot(self, rankdir: str | None = None, *, colour: str = "family") -> str:
        """The graph in Graphviz's DOT language: the same text for the same structure, on every machine.

        Scopes are dashed boxes, colours tell the families of the zoo, parameters are small stubs at each use (those of
        one module in one stub), and nodes that a backward pass has released are dashed. Nodes that were recorded at
        time steps stand in columns in order of time.

        Args:
            rankdir: the direction of the computation: "TB" (down), "BT" (up), "LR" or "RL". By default down, and up
                where there are time steps, which then run from left to right.
            colour: as in `to_svg`.

        Raises:
            ArgumentError: another direction, or unknown colours.
        """
        from . import dot

        return "\n".join(["digraph {", *dot.lines(self, rankdir, self._heat(colour)), "}", ""])

    def to_graphviz(self, rankdir: str | None = None, *, colour: str = "family") -> graphviz.Digraph:
        """The graph as a `graphviz.Digraph`, with the same text as `to_dot`."""
        import graphviz

        from . import dot

        return graphviz.Digraph(body=[line + "\n" for line in dot.lines(self, rankdir, self._heat(colour))])

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
                one row; laid out by graphzoo itself, in milliseconds, on every machine alike. "rolled": the same for
                one step alone, with edges to the next step bent back and "×50" at what is used at fifty. "graph": laid
                out by Graphviz. By default columns where there are time steps, else the graph.
            fold: for columns: of more time steps than this, those between the first and the last few are folded into
                one column; at least 3. By default none.
            colour: "family", or "gradient": the norms of the gradients on a logarithmic scale, from dark
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
        view = self._view(view)
        if view == "graph":
            return render.render(self.to_dot(rankdir, colour=colour), "svg", timeout).decode()
        from .fold import by_time
        from .svg import columns

        fold, heat = self._fold(fold), self._heat(colour)
        return columns(by_time(self) if view == "rolled" else self, fold, heat)

    def _fold(self, fold: int | None) -> int | None:
        if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 3):
            raise ArgumentError(
                "a stretch of time is folded between the first and the last steps",
                got=f"fold={fold!r}",
                expected="an integer of at least 3, the number of columns that remain",
            )
        return fold

    def to_html(self, *, fold: int | None = None, title: str = "graphzoo", reach: Any = None) -> str:
        """One page that needs nothing else: no network, no server, nothing installed.

        With time steps it shows the columns view. Other graphs, of at most 2,000 nodes, are laid out in the browser by
        Graphviz, compiled to WebAssembly, which comes with the page (0.9 MB), unless they are a single line of nodes.

        In it: search (Enter goes on to the next), zoom, and a click on a node for its path, shapes, bytes, formulas and
        the smaller operations it is defined by; with `gz.record`, its values and the line it was recorded in. A click
        on the name of a box closes it, and long stretches of time can be folded.
        For a graph taken with `gz.graph(loss, gradients=True)` also the backward pass, node by node with ◀ ▶ or the
        arrow keys: what arrives at each node and what it hands on, what has gathered for each parameter, and its
        contributions over time. Formulas are set as mathematics where latex2mathml is installed (``graphzoo[draw]``),
        else as LaTeX.

        Args:
            fold: as in `to_svg`; by default only graphs of more than 5,000 nodes are folded, where they have time. Of
                what has more nodes even so, the innermost boxes are closed at first.
            title: of the page.
            reach: how much of each loss reaches each time step, (S, T), for a tab of its own: the `norms` of
                `gz.bptt.contribution_matrix`.

        Raises:
            ArgumentError: an impossible fold.
            ShapeError: a reach that is no matrix.
        """
        from . import page

        if reach is not None:
            reach = np.asarray(reach, np.float64)
            if reach.ndim != 2 or not reach.size:
                raise ShapeError("reach is a matrix of losses and time steps", got=describe(reach), expected="(S, T)")
            reach = reach.tolist()
        return page.html(self, self._fold(fold), title, reach)

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
        from .heat import Heat

        return Heat.of(self.gradients)

    def _view(self, view: str | None) -> str:
        if view is None:
            timed = any(node.t is not None for node in self.nodes) or any(edge.lag for edge in self.edges)
            return "columns" if timed else "graph"
        if view not in VIEWS:
            raise ArgumentError("an unknown view", got=describe(view), expected=", ".join(map(repr, VIEWS)))
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
            view, fold: of an .svg, as in `to_svg` (`fold` of a page, too); the other pictures are Graphviz's.
            colour: of all but a page, as in `to_svg`.
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
            content = self.to_dot(rankdir, colour=colour).encode()
        elif self._view(view) != "graph" and view is not None:
            raise ArgumentError(
                "this view is drawn as SVG", got=f"view={view!r} for {path.name}", expected="a path that ends in .svg"
            )
        else:
            content = render.render(self.to_dot(rankdir, colour=colour), ending, timeout)
        path.write_bytes(content)
        return path

    def summary(self, width: int = 100) -> str:
        """A table of the layers: box by box, with output shapes and parameters, repeated uses rolled into "×50".

        A parameter used in several places is counted where it is used first and said to be shared after that.

        Args:
            width: columns of text that the table may take, at least 60.
        """
        from . import summary

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
