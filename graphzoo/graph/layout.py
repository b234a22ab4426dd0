"""Where everything stands in the columns view, computed here: no Graphviz, and the same on every machine.

The picture is a grid. Time runs to the right, one *slot* a step, in exact order; what lies outside of time has slots of
its own, before, between and after. The computation runs upwards, one *row* for each role that nodes play: the cell, the
readout, the loss of every step stand side by side. So an edge that carries state is a straight line to the next slot,
scopes are bands across all steps, and the width of a slot and the height of a row are all that positions depend on: x
is the sum of the widths before, y of the heights above. A script that changes widths and heights has the positions of
what it has folded by adding up anew.

Parameters are chips on the nodes that use them, and so are constants that only one node uses and that are not all it is
computed from: a target, a mask, a first state. A stretch of time can be folded into one slot. Edges that skip rows run
in the gutter to the right of a slot, each in a lane of its own where they overlap; those that skip slots run along a
bus above the rows (many to one: the steps into a loss) or below them (one to many: a context into the steps).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..tape import Scope
from .boxes import Column, Path, bands_of, column_of, columns_of, paths
from .words import shorten

if TYPE_CHECKING:
    from .frozen import Graph
    from .parts import Edge, GraphNode

Point = tuple[float, float]
Scopes = tuple[Scope, ...]

NODE, CHIP, GAP = 32.0, 13.0, 16.0  # heights, in pixels
LETTER, SMALL_LETTER = 5.9, 4.7  # widths of a letter of 10 and of 8 pixels; an average, on the generous side
NARROWEST, LANE, MARGIN, SCOPE_LABEL, SCOPE_PAD = 54.0, 7.0, 24.0, 15.0, 6.0
LONGEST = 26
"""Letters of a label that are shown; the whole stands in the tooltip."""


@dataclass(slots=True)
class Slot:
    """A column of the picture: a time step, a folded stretch of them, or nodes outside of time.

    Attributes:
        steps: the time steps in it: none outside of time, several where they are folded.
        x, width: of the nodes in it; the gutter for edges lies to its right.
        gutter: width of that.
    """

    position: int
    steps: tuple[int, ...] = ()
    x: float = 0.0
    width: float = NARROWEST
    gutter: float = GAP

    @property
    def label(self) -> str:
        """What stands on the time axis."""
        if not self.steps:
            return ""
        return f"t = {self.steps[0]}" + (f"…{self.steps[-1]}" if len(self.steps) > 1 else "")


@dataclass(slots=True)
class Placed:
    """A node's box; a folded slot has one for each role, which stands for several nodes.

    Attributes:
        ids: the graph nodes that it stands for, one unless folded.
        chips: the chips below the box: graph node, and what stands on it.
        row: counted from the bottom of its slot's position.
    """

    ids: tuple[int, ...]
    slot: Slot
    row: int
    lines: tuple[str, ...]
    chips: tuple[tuple[int, str], ...] = ()
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = NODE


@dataclass(slots=True)
class Route:
    """An edge's way: a polyline, from the source's box to the target's.

    Attributes:
        edges: indices of the graph's edges that it stands for, several where both ends are the same boxes.
        kind: "up" (within a step), "carried" (to a neighbouring step), "bus" (farther), "loop" (to another step, where
            all of them are rolled into one).
    """

    edges: list[int]
    source: Placed
    target: Placed
    kind: str = "up"
    points: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Band:
    """A scope: a dashed box around the rows of its nodes, across the slots of a position."""

    scope: Scope
    depth: int
    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Layout:
    """The columns view of a graph, ready to be drawn. Lengths are pixels, y grows downwards."""

    width: float
    height: float
    slots: list[Slot]
    nodes: list[Placed]
    routes: list[Route]
    bands: list[Band]
    top: float  # y where the slots begin
    axis: float  # y of the time axis


def lay_out(graph: Graph, fold: int | None = None) -> Layout:
    """The columns view of a graph.

    Args:
        graph: any graph; one without time is a single slot.
        fold: where time has more steps than this, those between the first and the last few share one slot.
    """
    return _Tiler(graph, fold).layout()


class _Tiler:
    """The layout in the making; its methods run in the order in which they stand here."""

    def __init__(self, graph: Graph, fold: int | None) -> None:
        self.graph = graph
        self.fold = fold
        self.placed_in: list[Path] = paths(graph)
        self.column = [column_of(path) for path in self.placed_in]
        self.owners = self.find_chips()
        self.edges = [
            (index, edge)
            for index, edge in enumerate(graph.edges)
            if edge.source not in self.owners and edge.target not in self.owners
        ]
        self.units = [node for node in graph.nodes if node.id not in self.owners]

    def layout(self) -> Layout:
        self.find_positions()
        self.make_slots()
        self.find_rows()
        self.place_nodes()
        self.find_routes()
        self.set_widths()
        self.set_heights()
        self.draw_routes()
        return Layout(
            self.width, self.height, self.slots, self.boxes, self.routes, self.scopes, self.ceiling - GAP / 4, self.axis
        )

    def find_chips(self) -> dict[int, tuple[int, str]]:
        """The nodes that are drawn as chips: with each the node that uses it, and what stands on the chip."""
        graph, uses, found = self.graph, Counter(edge.source for edge in self.graph.edges), {}
        below: dict[int, list[Edge]] = defaultdict(list)  # by target: what could stand below it
        for edge in graph.edges:
            source, target = graph[edge.source], edge.target
            if graph[target].role == "parameter":  # in a backward view
                found[target] = (source.id, graph[target].name or edge.argument)
            elif source.role == "parameter":
                found[source.id] = (target, source.name or edge.argument)
            elif source.role != "operation" or self.column[source.id] == self.column[target]:
                below[target].append(edge)
        for target, edges in below.items():
            constants = [edge for edge in edges if graph[edge.source].role == "constant" and uses[edge.source] == 1]
            for edge in constants[len(constants) == len(edges) :]:  # the first stays, if all are constants
                found[edge.source] = (target, graph[edge.source].name or edge.argument)
        return found

    # Which slot ------------------------------------------------------------------------------------------------------

    def find_positions(self) -> None:
        """For each node where its slots lie from left to right: stretches of time at odd positions, the rest between.

        What follows from a stretch of time stands after it; what nothing came before stands before what it is used for.
        """
        timed = columns_of(self.graph, self.placed_in)
        self.band_of = bands_of(self.graph, self.placed_in, timed)
        order: dict[int, int] = {}
        for box in timed:
            order.setdefault(self.band_of[box], len(order))
        self.position: dict[int, int] = {}
        entered: dict[int, list[Edge]] = defaultdict(list)
        used: dict[int, list[Edge]] = defaultdict(list)
        for _, edge in self.edges:
            entered[edge.target].append(edge)
            used[edge.source].append(edge)
        for node in self.units:
            column = self.column[node.id]
            if column is not None:
                self.position[node.id] = 2 * order[self.band_of[column[0]]] + 1
            elif node.role == "operation":
                before = [self.position.get(edge.source, 0) for edge in entered[node.id]]
                self.position[node.id] = max((p + p % 2 for p in before), default=0)
        for node in self.units:
            if node.id not in self.position:
                after = [self.position[edge.target] for edge in used[node.id]]
                before = [self.position[edge.source] for edge in entered[node.id]]  # in a backward view
                self.position[node.id] = min(
                    (p - p % 2 for p in after), default=max((p + p % 2 for p in before), default=0)
                )
        self.entered = entered

    def make_slots(self) -> None:
        steps: dict[int, set[int]] = defaultdict(set)
        for node in self.units:
            column = self.column[node.id]
            if column is not None:
                steps[self.position[node.id]].add(column[1])
        self.slots: list[Slot] = []
        self.slot_of: dict[tuple[int, int | None], Slot] = {}
        for position in sorted(set(self.position.values())):
            groups: Iterable[tuple[int, ...]] = self.folded(sorted(steps[position])) if position % 2 else [()]
            for group in groups:
                slot = Slot(position, group)
                self.slots.append(slot)
                self.slot_of.update({(position, step): slot for step in group or (None,)})

    def folded(self, steps: list[int]) -> list[tuple[int, ...]]:
        if self.fold is None or len(steps) <= self.fold:
            return [(step,) for step in steps]
        first = max(1, (self.fold - 1) // 2)
        last = max(1, self.fold - 1 - first)
        return [*((s,) for s in steps[:first]), tuple(steps[first:-last]), *((s,) for s in steps[-last:])]

    def slot(self, id: int) -> Slot:
        column = self.column[id]
        return self.slot_of[self.position[id], None if column is None else column[1]]

    # Which row -------------------------------------------------------------------------------------------------------

    def find_rows(self) -> None:
        """Rows by role, so that sources lie below what uses them and the nodes of a scope lie together."""
        self.role: dict[int, Hashable] = {}
        seen: Counter[Hashable] = Counter()
        for node in self.units:
            if node.role == "operation":
                self.role[node.id] = self._nth(seen, self._key(node), self.column[node.id])
        for _, edge in self.edges:
            for stub, operation in ((edge.source, edge.target), (edge.target, edge.source)):
                node = self.graph[stub]
                if node.role != "operation" and stub not in self.role:
                    key = (node.op, node.name, self.role[operation], edge.argument, self.position[stub])
                    self.role[stub] = self._nth(seen, key, self.column[stub])

        members: dict[int, dict[Hashable, Scopes]] = defaultdict(dict)
        for node in self.units:
            scope = tuple(part for part in self.placed_in[node.id] if isinstance(part, Scope))
            members[self.position[node.id]].setdefault(self.role[node.id], scope)
        below: dict[Hashable, dict[Hashable, None]] = defaultdict(dict)
        for _, edge in self.edges:
            source, target = self.role[edge.source], self.role[edge.target]
            if source != target and self.slot(edge.source) is self.slot(edge.target):
                below[target][source] = None
        self.rows: dict[int, list[Scopes]] = {}
        self.row: dict[Hashable, int] = {}
        for position, roles in members.items():
            order = _upwards(roles, below)
            self.row.update({role: index for index, role in enumerate(order)})
            self.rows[position] = [roles[role] for role in order]

    def _key(self, node: GraphNode) -> Hashable:
        scope = tuple(part for part in self.placed_in[node.id] if isinstance(part, Scope))
        if self.column[node.id] is None:
            return node.id
        return (scope, node.op, node.name, node.module if node.family == "custom" or node.parameters else None)

    def _nth(self, seen: Counter[Hashable], key: Hashable, column: Column | None) -> Hashable:
        """The key with its number among those of the same time step."""
        seen[key, column] += 1
        return key, seen[key, column]

    # What stands there -----------------------------------------------------------------------------------------------

    def place_nodes(self) -> None:
        chips: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for stub, (owner, name) in self.owners.items():
            chips[owner].append((stub, name))
        together: dict[tuple[int, int], list[GraphNode]] = defaultdict(list)  # by slot and row
        slots = {id(slot): slot for slot in self.slots}
        for node in self.units:
            together[id(self.slot(node.id)), self.row[self.role[node.id]]].append(node)
        self.boxes: list[Placed] = []
        self.box_of: dict[int, Placed] = {}
        for (slot, row), nodes in together.items():
            lines = [shorten(nodes[0].label, LONGEST)]
            shapes = ", ".join(str(spec.shape) for spec in nodes[0].outputs)
            shapes += f" {nodes[0].times}" if nodes[0].times else ""
            lines.append(f"×{len(nodes)}" if len(slots[slot].steps) > 1 else shorten(shapes, LONGEST + 4))
            box = Placed(
                tuple(node.id for node in nodes),
                slots[slot],
                row,
                tuple(lines),
                tuple(sorted(chips[nodes[0].id], key=self._last)),
            )
            self.boxes.append(box)
            self.box_of.update({node.id: box for node in nodes})

    def _last(self, chip: tuple[int, str]) -> bool:
        """Parameters come after constants: there may be many."""
        return self.graph[chip[0]].role == "parameter"

    def find_routes(self) -> None:
        together: dict[tuple[int, int, bool, bool], Route] = {}
        neighbours = {(id(a), id(b)) for a, b in zip(self.slots, self.slots[1:], strict=False)}
        for index, edge in self.edges:
            source, target = self.box_of[edge.source], self.box_of[edge.target]
            if source.slot is target.slot and self.column[edge.source] != self.column[edge.target]:
                continue  # from one step to another within a folded stretch
            on = edge.lag != 0
            kind = "loop" if on else "up"
            route = together.setdefault((id(source), id(target), on, edge.cut), Route([], source, target, kind))
            route.edges.append(index)
            ends = id(source.slot), id(target.slot)
            if source.slot is not target.slot:
                route.kind = "carried" if ends in neighbours or ends[::-1] in neighbours else "bus"
        self.routes = list(together.values())

    # How large -------------------------------------------------------------------------------------------------------

    def set_widths(self) -> None:
        for box in self.boxes:
            needed = max(
                *(len(line) * LETTER + 14 for line in box.lines),
                sum(len(name) * SMALL_LETTER + 9 for _, name in box.chips[:2]),
                NARROWEST,
            )
            box.slot.width = max(box.slot.width, needed)
        self.assign_lanes()
        for position in self.rows:  # time steps are equally wide
            slots = [slot for slot in self.slots if slot.position == position]
            width, gutter = max(slot.width for slot in slots), max(slot.gutter for slot in slots)
            for slot in slots:
                slot.width, slot.gutter = width, gutter
        x = MARGIN
        for slot in self.slots:
            slot.x = x
            x += slot.width + slot.gutter
        self.width = x - GAP + MARGIN
        for box in self.boxes:
            box.x, box.width = box.slot.x, box.slot.width

    def assign_lanes(self) -> None:
        """A lane in the gutter for each edge that passes over a node, and for the ways to a bus."""
        occupied = {(id(box.slot), box.row) for box in self.boxes}
        taken: dict[int, list[int]] = defaultdict(list)  # by slot: the row up to which each lane is taken
        self.lane: dict[int, int] = {}
        rising = {id(route.source.slot) for route in self.routes if route.kind == "bus"}
        for route in sorted(self.routes, key=lambda r: (r.source.row, -r.target.row)):
            first, last = sorted((route.source.row, route.target.row))
            if route.source.slot is not route.target.slot:
                continue
            slot = id(route.source.slot)
            between = any((slot, row) in occupied for row in range(first + 1, last))
            if route.source.row > first or route.kind == "loop" or between:
                lanes = taken[slot]
                lane = next((n for n, end in enumerate(lanes) if end <= first and first < last), len(lanes))
                lanes[lane : lane + 1] = [last]
                self.lane[id(route)] = lane
        for each in self.slots:
            each.gutter = GAP + LANE * (1 + len(taken[id(each)]) + (id(each) in rising))

    def set_heights(self) -> None:
        """From the bottom of each position upwards; a scope that opens or closes between two rows takes room there."""
        chipped = {(box.slot.position, box.row) for box in self.boxes if box.chips}
        tops: dict[tuple[int, int], float] = {}  # of each row, as a height above the bottom
        edges: dict[int, list[tuple[Scope, int, float, float]]] = {}  # by position: scope, depth, bottom, top
        heights: dict[int, float] = {}
        for position, scopes in self.rows.items():
            height = 0.0
            before: Scopes = ()
            open_at: list[float] = []
            found: list[tuple[Scope, int, float, float]] = []
            for row, scope in enumerate([*scopes, ()]):
                shared = _shared(before, scope)
                while len(open_at) > shared:
                    height += SCOPE_LABEL
                    found.append((before[len(open_at) - 1], len(open_at) - 1, open_at.pop(), height))
                while len(open_at) < len(scope):
                    height += SCOPE_PAD if row else 0
                    open_at.append(height)
                    height += SCOPE_PAD
                if row < len(scopes):
                    height += (CHIP if (position, row) in chipped else 0.0) + NODE + GAP
                    tops[position, row] = height - GAP
                before = scope
            edges[position] = found
            heights[position] = height

        arriving = {id(route.target) for route in self.routes if route.kind == "bus"}
        leaving = Counter(id(route.source) for route in self.routes if route.kind == "bus")
        self.over: dict[int, int] = {}
        self.under: dict[int, int] = {}
        for route in self.routes:
            if route.kind == "bus":
                one_to_many = leaving[id(route.source)] > 1 and route.source.slot.position < route.target.slot.position
                lanes = self.under if one_to_many else self.over
                lanes.setdefault(id(route.source if one_to_many else route.target), len(lanes))
        top = MARGIN + LANE * len(self.over) + (GAP / 2 if arriving else 0)
        self.ceiling = top
        highest = max(heights.values())
        # What lies outside of time stands at half the height of what it is connected to.
        base = {p: top + highest - (0 if p % 2 else (highest - height) / 2) for p, height in heights.items()}
        self.floor = top + highest + GAP / 2
        for box in self.boxes:
            box.y = base[box.slot.position] - tops[box.slot.position, box.row]
        self.axis = self.floor + LANE * len(self.under) + 14
        self.height = self.axis + MARGIN / 2
        self.scopes = [
            self._band(position, scope, depth, base[position], bottom, above)
            for position, found in edges.items()
            for scope, depth, bottom, above in sorted(found, key=lambda item: item[1])
        ]

    def _band(self, position: int, scope: Scope, depth: int, base: float, bottom: float, top: float) -> Band:
        slots = [slot for slot in self.slots if slot.position == position]
        inset = max(2.0, 10.0 - 3 * depth)
        x, end = slots[0].x - inset, slots[-1].x + slots[-1].width + slots[-1].gutter - GAP + inset / 2
        return Band(scope, depth, x, base - top + GAP / 2, end - x, top - bottom - GAP / 2)

    # The ways --------------------------------------------------------------------------------------------------------

    def draw_routes(self) -> None:
        for route in self.routes:
            source, target = route.source, route.target
            if route.kind == "carried":
                route.points = self._across(source, target)
            elif route.kind == "bus":
                route.points = self._along_bus(source, target)
            elif id(route) in self.lane:
                x = source.x + source.width + GAP / 2 + LANE * self.lane[id(route)]
                apart = 6 if source is target else 0  # a loop to itself leaves above the place that it arrives at
                start = (source.x + source.width, _middle(source) - apart)
                end = (target.x + target.width, _middle(target) + 4 + apart / 2)
                route.points = [start, (x, start[1]), (x, end[1]), end]
            else:
                bottom = target.y + target.height + (CHIP if target.chips else 0)
                route.points = [(source.x + source.width / 2, source.y), (target.x + target.width / 2, bottom)]

    def _across(self, source: Placed, target: Placed) -> list[Point]:
        if source.x < target.x:
            start, end, turn = source.x + source.width, target.x, target.x - GAP / 2
        else:
            start, end, turn = source.x, target.x + target.width, source.x - GAP / 2
        if _middle(source) == _middle(target):
            return [(start, _middle(source)), (end, _middle(target))]
        return [(start, _middle(source)), (turn, _middle(source)), (turn, _middle(target)), (end, _middle(target))]

    def _along_bus(self, source: Placed, target: Placed) -> list[Point]:
        rise = source.x + source.width + source.slot.gutter - GAP / 2 - 2
        fall = target.x - GAP / 2 + 2
        if id(source) in self.under:
            y = self.floor + LANE * self.under[id(source)]
        else:
            y = self.ceiling - GAP / 2 - LANE * self.over[id(target)]
        return [
            (source.x + source.width, _middle(source)),
            (rise, _middle(source)),
            (rise, y),
            (fall, y),
            (fall, _middle(target) + 6),
            (target.x, _middle(target) + 6),
        ]


def _middle(box: Placed) -> float:
    return box.y + box.height / 2


def _shared(one: Scopes, other: Scopes) -> int:
    """In how many boxes, from the outermost on, both stand."""
    differing = (depth for depth, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def _upwards(roles: dict[Hashable, Scopes], below: dict[Hashable, dict[Hashable, None]]) -> list[Hashable]:
    """The roles in an order in which what a role needs comes first, if that can be, and scopes stay together.

    From those that can come next the one is taken that leaves the fewest scopes of the one before, then the earliest.
    """
    waiting = {role: sum(source in roles for source in below[role]) for role in roles}
    above: dict[Hashable, list[Hashable]] = defaultdict(list)
    for role in roles:
        for source in below[role]:
            above[source].append(role)
    named = list(roles)
    number = {role: index for index, role in enumerate(named)}
    ready: dict[Scopes, list[int]] = {}  # by scopes a heap of numbers: thousands may be ready, of a few scopes
    for role, count in waiting.items():
        if not count:
            heappush(ready.setdefault(roles[role], []), number[role])
    order: list[Hashable] = []
    here: Scopes = ()
    while waiting:

        def far(scopes: Scopes, first: int, here: Scopes = here) -> tuple[int, int, int]:
            shared = _shared(here, scopes)
            return len(here) - shared, len(scopes) - shared, first

        if ready:
            scopes = min(ready, key=lambda scopes: far(scopes, ready[scopes][0]))
            role = named[heappop(ready[scopes])]
            if not ready[scopes]:
                del ready[scopes]
        else:  # a circle
            role = min(waiting, key=lambda role: far(roles[role], number[role]))
        del waiting[role]
        order.append(role)
        here = roles[role]
        for user in above[role]:
            if user in waiting:
                waiting[user] -= 1
                if not waiting[user]:
                    heappush(ready.setdefault(roles[user], []), number[user])
    return order
