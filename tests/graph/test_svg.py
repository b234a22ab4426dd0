"""The columns view: where things stand, and the SVG text."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.graph import Graph
from graphzoo.graph.layout import Layout, Placed, lay_out
from tests.graph.models import encoder_decoder, graphs, perceptron, recurrent, stacked, zeros

GOLDEN = Path(__file__).parent / "golden"
PICTURES = dict(graphs())
CHIP = 13


def check(graph: Graph, fold: int | None = None) -> Layout:
    """What must hold in every picture."""
    layout = lay_out(graph, fold)
    drawn = [id for box in layout.nodes for id in box.ids]
    chips = [id for box in layout.nodes for id, _ in box.chips]
    if fold is None:
        assert sorted(drawn + chips) == [node.id for node in graph.nodes]
    assert len(drawn) == len(set(drawn))

    for one, other in itertools.combinations(layout.nodes, 2):
        assert apart(one, other), (one, other)
    for box in layout.nodes:
        assert 0 < box.x < box.x + box.width < layout.width
        assert 0 < box.y < box.y + box.height + (CHIP if box.chips else 0) < layout.axis
    for before, after in itertools.pairwise(layout.slots):
        assert before.x + before.width + before.gutter == pytest.approx(after.x)
        if before.position == after.position:
            assert before.steps[-1] < after.steps[0]

    for route in layout.routes:
        (x0, y0), (x1, y1) = route.points[0], route.points[-1]
        source, target = route.source, route.target
        assert source.x <= x0 <= source.x + source.width
        assert source.y <= y0 <= source.y + source.height
        assert target.x <= x1 <= target.x + target.width
        assert target.y <= y1 <= target.y + target.height + CHIP
        if route.kind == "up" and source.slot is target.slot and len(route.points) == 2:
            assert source.y > target.y, "the computation runs upwards"
            rows = {box.row for box in layout.nodes if box.slot is source.slot}
            assert not rows.intersection(range(source.row + 1, target.row)), "a straight edge runs over a node"
    return layout


def apart(one: Placed, other: Placed) -> bool:
    def bottom(box: Placed) -> float:
        return box.y + box.height + (CHIP if box.chips else 0)

    beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    return beside or bottom(one) <= other.y or bottom(other) <= one.y


@pytest.mark.parametrize("name", PICTURES)
def test_golden(name: str) -> None:
    """To renew: `python -m tests.graph.test_svg`, and look at the pictures."""
    taken = gz.graph(PICTURES[name])
    check(taken)
    assert taken.to_svg("columns") == (GOLDEN / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_xml_whose_texts_are_the_names(name: str) -> None:
    root = ElementTree.fromstring(gz.graph(PICTURES[name]).to_svg("columns"))
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    for node in gz.graph(PICTURES[name]).nodes:
        if node.role == "operation" and len(node.label) < 26 and node.label.isprintable():
            assert node.label in texts


def test_a_role_has_a_row_of_its_own_and_time_runs_to_the_right() -> None:
    layout = check(gz.graph(recurrent(5)))
    rows = defaultdict(list)
    for box in layout.nodes:
        rows[box.lines[0]].append(box)
    cells = rows["cell: Cell"]
    assert len(cells) == 5
    assert len({box.y for box in cells}) == 1
    assert [box.slot.steps for box in sorted(cells, key=lambda box: box.x)] == [(t,) for t in range(5)]
    carried = [route for route in layout.routes if route.kind == "carried" and "cell" in route.source.lines[0]]
    assert len(carried) == 4
    assert all(len(route.points) == 2 and route.points[0][1] == route.points[1][1] for route in carried)


def test_layers_stand_on_each_other_and_directions_both_run_along_time() -> None:
    rnn = gz.GRU(2, 3, num_layers=2, bidirectional=True, rng=0)
    layout = check(gz.graph(rnn(np.ones((4, 1, 2), np.float32))[0]))
    height = {box.lines[0]: box.y for box in layout.nodes if box.slot.steps}
    lower = height["l0: GRUCell"], height["l0_reverse: GRUCell"]
    upper = height["l1: GRUCell"], height["l1_reverse: GRUCell"]
    assert max(upper) < min(lower)
    ways = {
        name: {route.points[0][0] < route.points[1][0] for route in layout.routes if route.source.lines[0] == name
               and route.target.lines[0] == name}
        for name in height if "GRUCell" in name
    }  # fmt: skip
    assert ways == {name: {"reverse" not in name} for name in ways}


def test_time_that_begins_anew_stands_to_the_right() -> None:
    layout = check(gz.graph(encoder_decoder()))
    assert [slot.label for slot in layout.slots] == [*["t = 0", "t = 1", "t = 2"] * 2]
    assert len({slot.position for slot in layout.slots}) == 2


def test_what_follows_time_stands_behind_it_and_what_precedes_it_before() -> None:
    first = gz.tensor([1.0], requires_grad=True, name="first") * 2
    x = first
    for t in range(3):
        with gz.time_step(t):
            x = x * 2
    layout = check(gz.graph(x.exp() + first))
    assert [slot.label for slot in layout.slots] == ["", "t = 0", "t = 1", "t = 2", ""]


@pytest.mark.parametrize("fold", [3, 4, 7, 20])
def test_folding(fold: int) -> None:
    taken = gz.graph(recurrent(20))
    layout = check(taken, fold)
    slots = [slot for slot in layout.slots if slot.steps]
    assert len(slots) == fold
    assert [t for slot in slots for t in slot.steps] == list(range(20))
    if fold < 20:
        (folded,) = [slot for slot in slots if len(slot.steps) > 1]
        assert f"t = {folded.steps[0]}…{folded.steps[-1]}" in taken.to_svg(fold=fold)
        cell = next(box for box in layout.nodes if box.slot is folded and box.lines[0] == "cell: Cell")
        assert cell.lines[1] == f"×{len(folded.steps)}"


def test_many_steps_need_no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    taken = gz.graph(recurrent(500))
    assert len(taken) > 3000
    assert taken.to_svg().count('<g class="node"') == sum(len(box.ids) for box in lay_out(taken).nodes)


def test_released_nodes_outputs_and_edges_without_gradient_are_told_apart() -> None:
    loss = recurrent(2)
    before = gz.graph(loss).to_svg()
    loss.backward()
    after = gz.graph(loss).to_svg()
    assert "released" not in before.split("</style>")[1]
    assert after.split("</style>")[1].count(" released") == sum(n.released for n in gz.graph(loss).nodes)
    assert before.count(" output") == 1 + before.split("</style>")[0].count(" output")
    assert "up none" in before


def test_the_default_view_depends_on_time_alone() -> None:
    assert gz.graph(recurrent(2)).to_svg() == gz.graph(recurrent(2)).to_svg("columns")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "rolled up"}, "an unknown view"),
        ({"fold": 2}, "at least 3"),
        ({"fold": True}, "at least 3"),
        ({"fold": 4.5}, "at least 3"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(gz.ArgumentError, match=message):
        gz.graph(recurrent(2)).to_svg(**options)


def test_columns_are_saved_as_svg_only(tmp_path: Path) -> None:
    taken = gz.graph(recurrent(2))
    path = taken.save(tmp_path / "net.svg", fold=3)
    assert path.read_text(encoding="utf-8") == taken.to_svg(fold=3)
    with pytest.raises(gz.ArgumentError, match="this view is drawn as SVG"):
        taken.save(tmp_path / "net.png", view="columns")


def test_a_notebook_shows_time_of_any_length() -> None:
    picture = gz.graph(recurrent(300))._repr_mimebundle_()["image/svg+xml"]
    assert "t = 5…294" in picture


Choice = tuple[int, int, int]  # the operation, and how far back its two operands lie
OPERATIONS = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a.tanh(),
    lambda a, b: a - zeros(),
    gz.maximum,
]


@settings(max_examples=60, deadline=None)
@given(
    program=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=14),
    steps=st.integers(0, 4),
    scoped=st.booleans(),
    fold=st.none() | st.integers(3, 5),
)
def test_any_program(program: list[Choice], steps: int, scoped: bool, fold: int | None) -> None:
    """A body of operations on what came before, in steps of time or outside of it, ends and all."""
    values = [zeros("a", requires_grad=True), zeros("b")]

    def body(names: bool) -> None:
        for operation, one, other in program:
            a, b = values[-1 - one % len(values)], values[-1 - other % len(values)]
            with gz.scope(f"box {operation % 2}") if names and scoped else nullcontext():
                values.append(OPERATIONS[operation](a, b))

    body(False)
    for t in range(steps):
        with gz.time_step(t):
            body(True)
    body(True)
    tracked = [value for value in values if value.node is not None]
    if tracked:
        check(gz.graph(tracked[-3:]), fold)


@pytest.mark.parametrize("make", [perceptron, stacked])
def test_scopes_are_bands_around_their_nodes(make) -> None:
    taken = gz.graph(make())
    layout = check(taken)
    for band in layout.bands:
        within = [
            box
            for box in layout.nodes
            if band.x <= box.x and box.x + box.width <= band.x + band.width
            and band.y <= box.y and box.y + box.height <= band.y + band.height
        ]  # fmt: skip
        operations = [taken[box.ids[0]] for box in within if taken[box.ids[0]].role == "operation"]
        assert operations
        assert all(band.scope in node.scope for node in operations)


if __name__ == "__main__":
    for name, tensor in PICTURES.items():
        (GOLDEN / f"{name}.svg").write_text(gz.graph(tensor).to_svg("columns"), encoding="utf-8")
