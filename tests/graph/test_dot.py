"""DOT text and what Graphviz makes of it."""

import importlib.util
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.graph import Graph, RenderError, graph, render
from graphzoo.graph.words import COLOURS
from tests.graph.models import Cell, encoder_decoder, graphs, perceptron, recurrent, stacked, zeros

GOLDEN = Path(__file__).parent / "golden"
PICTURES = dict(graphs())

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def layout(text: str) -> dict:
    """What Graphviz reads in DOT text, laid out."""
    done = subprocess.run(["dot", "-Tjson"], input=text.encode(), capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    return json.loads(done.stdout)


def nodes(laid_out: dict) -> dict[str, dict]:
    return {item["name"]: item for item in laid_out["objects"] if "nodes" not in item and "label" in item}


def place(node: dict) -> tuple[float, float]:
    x, y = node["pos"].split(",")
    return float(x), float(y)


def drawn_text(svg: str, title: str) -> list[str]:
    """The lines of text that an SVG shows in the node or cluster with this title, spaces evened out."""
    space = "{http://www.w3.org/2000/svg}"
    for group in ElementTree.fromstring(svg).iter(f"{space}g"):
        if group.findtext(f"{space}title") == title and group.get("class") in ("node", "cluster"):
            return [" ".join((line.text or "").split()) for line in group.iter(f"{space}text")]
    raise AssertionError(f"no {title} in the picture")


@pytest.mark.parametrize("name", PICTURES)
def test_golden(name):
    """To renew: `python -m tests.graph.test_dot`, and look at what changed."""
    assert graph(PICTURES[name]).to_dot() == (GOLDEN / f"{name}.dot").read_text(encoding="utf-8")


@needs_dot
@pytest.mark.parametrize("name", PICTURES)
def test_graphviz_reads_what_is_meant(name):
    taken = graph(PICTURES[name])
    read = layout(taken.to_dot())
    own = [edge for edge in taken.edges if edge.own]
    merged = len(own) - len({edge.target for edge in own})  # parameters of one use share a stub
    assert len([name for name in nodes(read) if name.startswith("n")]) == len(taken) - merged
    ids = {item["_gvid"]: item["name"] for item in read["objects"]}
    drawn = Counter((ids[edge["tail"]], ids[edge["head"]]) for edge in read["edges"] if edge.get("style") != "invis")
    meant = Counter((f"n{edge.source}", f"n{edge.target}") for edge in taken.edges)
    assert drawn <= meant
    assert meant.total() - drawn.total() == merged


@needs_dot
def test_boxes_hold_what_was_recorded_in_them():
    taken = graph(perceptron())
    read = layout(taken.to_dot())
    names = {item["_gvid"]: item["name"] for item in read["objects"]}
    boxes = {item["label"]: {names[id] for id in item["nodes"]} for item in read["objects"] if "nodes" in item}
    inside = {f"n{node.id}" for node in taken if node.op == "Affine"}
    assert inside < boxes["layers: Sequential"] < boxes["Perceptron"]
    outside = {f"n{node.id}" for node in (*taken.find(name="x"), *taken.find(op="SquaredDistance"))}
    assert not outside & boxes["Perceptron"]


@needs_dot
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_time_runs_from_left_to_right_and_layers_lie_level(steps):
    taken = graph(recurrent(steps))
    drawn = nodes(layout(taken.to_dot()))
    for op in ("Cell", "Affine"):
        places = [place(drawn[f"n{node.id}"]) for node in taken.find(op=op)]
        assert [x for x, _ in places] == sorted(x for x, _ in places)
        assert len({y for _, y in places}) == 1


@needs_dot
def test_where_time_begins_anew_it_runs_on_to_the_right():
    taken = graph(encoder_decoder())
    drawn = nodes(layout(taken.to_dot()))
    cells = [node for box in ("encoder", "decoder") for node in taken.find(op="Cell", scope=box)]
    across = [place(drawn[f"n{node.id}"])[0] for node in cells]
    assert across == sorted(across)


@needs_dot
def test_a_state_that_passes_outside_of_time_lifts_no_step_over_the_others():
    h, c = zeros("h0", requires_grad=True), zeros("c0")
    for name in ("encoder", "decoder"):
        with gz.scope(name):
            cell = Cell(3)
            for t in range(3):
                with gz.time_step(t):
                    h, c = cell(zeros("x"), h, c)
        h = h * 2 + 1
    taken = graph(h)
    drawn = nodes(layout(taken.to_dot()))
    for name in ("encoder", "decoder"):
        assert len({place(drawn[f"n{node.id}"])[1] for node in taken.find(op="Cell", scope=name)}) == 1


@needs_dot
def test_layers_are_bands_over_the_same_time_steps():
    taken = graph(stacked())
    drawn = nodes(layout(taken.to_dot()))
    lower, upper = (
        [place(drawn[f"n{node.id}"]) for node in taken.find(op="Cell", scope=name)] for name in ("lower", "upper")
    )
    for layer in (lower, upper):
        assert [x for x, _ in layer] == sorted(x for x, _ in layer)
    assert max(y for _, y in lower) < min(y for _, y in upper)
    assert all(abs(below - above) < 150 for (below, _), (above, _) in zip(lower, upper, strict=True))


@needs_dot
def test_negative_time_steps():
    y = gz.tensor([1.0], requires_grad=True)
    for t in (-2, -1, 0):
        with gz.time_step(t):
            y = y * 2
    drawn = nodes(layout(graph(y).to_dot()))
    assert [place(drawn[f"n{id}"])[0] for id in (1, 2, 3)] == sorted(place(drawn[f"n{id}"])[0] for id in (1, 2, 3))


def test_text_depends_on_structure_alone():
    gz.tensor([1.0], requires_grad=True) * 2  # moves the tape's own numbers on
    assert graph(recurrent(3)).to_dot() == graph(PICTURES["recurrent"]).to_dot()


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_direction(rankdir):
    assert f'rankdir="{rankdir}"' in graph(perceptron()).to_dot(rankdir)


def test_direction_by_default():
    assert 'rankdir="TB"' in graph(perceptron()).to_dot()
    assert 'rankdir="BT"' in graph(recurrent(2)).to_dot()


def test_unknown_direction():
    with pytest.raises(gz.ArgumentError, match="TB, BT, LR, RL"):
        graph(perceptron()).to_dot("up")


def test_colours_are_six_digit_hexadecimal():
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in COLOURS.values())


def contrast_with_black(colour: str) -> float:
    """Contrast ratio as WCAG 2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) / 0.05


def test_labels_are_readable_on_every_colour():
    assert min(map(contrast_with_black, COLOURS.values())) >= 7


@needs_dot
@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=20))
def test_any_name_is_drawn_as_it_is(name):
    x = gz.tensor([1.0], requires_grad=True, name=name)
    with gz.scope(name):
        svg = graph(x * 2).to_svg()
    shown = "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c != "\n" else {"\x7f": "␡", "\ufffe": "�", "\uffff": "�"}.get(c, c)
        for c in name
    )
    shown = shown.encode("utf-8", "replace").decode()
    expected = [" ".join(line.split()) for line in f"{shown} float32 (1,)".split("\n")]
    assert [line for line in drawn_text(svg, "n0") if line] == [line for line in expected if line]
    box = [" ".join(line.split()) for line in shown.split("\n")]
    assert [line for line in drawn_text(svg, "cluster_0") if line] == [line for line in box if line]


@needs_dot
@pytest.mark.parametrize(
    "name", ["<b>bold</b>", "&lt;", "\\N \\G \\", 'say "no"', "{a|b}", "größe → ∂L/∂h₀ 日本", "%", "a\nb"]
)
def test_names_that_mean_something_to_graphviz(name):
    x = gz.tensor([1.0], requires_grad=True, name=name)
    assert drawn_text(graph(x * 2).to_svg(), "n0") == f"{name} float32 (1,)".split("\n")


def test_long_names_are_cut_and_whole_in_the_tooltip():
    name = "layer" * 50
    text = graph(gz.tensor([1.0], requires_grad=True, name=name) * 2).to_dot()
    assert f'label="{name[:59]}… float32' in text
    assert f'tooltip="{name}\\n' in text


def test_graphviz_object_has_the_same_text():
    graphviz = pytest.importorskip("graphviz")
    for loss in PICTURES.values():
        taken = graph(loss)
        digraph = taken.to_graphviz()
        assert isinstance(digraph, graphviz.Digraph)
        assert digraph.source == taken.to_dot()
    assert digraph.source != graph(loss).to_graphviz("LR").source


# Saving and showing ---------------------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Graph:
    return graph(perceptron())


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("ending", ["dot", "gv", "DOT"])
def test_text_is_saved_without_graphviz(taken, tmp_path, nothing_installed, ending):
    path = taken.save(tmp_path / f"net.{ending}")
    assert path.read_text(encoding="utf-8") == taken.to_dot()


@needs_dot
@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures_are_saved_by_ending(taken, tmp_path, ending, start):
    assert taken.save(str(tmp_path / f"net.{ending}")).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["net.jpeg", "net", "net.svg.bak"])
def test_an_unknown_ending_is_told(taken, tmp_path, name):
    with pytest.raises(gz.ArgumentError, match=r"\.dot, \.gv, \.svg, \.png, \.pdf"):
        taken.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(taken, tmp_path):
    with pytest.raises(gz.ArgumentError, match="missing"):
        taken.save(tmp_path / "missing" / "net.dot")


def test_missing_graphviz_is_told_in_one_sentence(taken, tmp_path, nothing_installed):
    with pytest.raises(RenderError) as raised:
        taken.save(tmp_path / "net.svg")
    assert "\n" not in str(raised.value)
    for way in ("apt install graphviz", "brew install graphviz", "conda install", "graphzoo[draw]"):
        assert way in str(raised.value)


@pytest.mark.parametrize(
    ("program", "said"),
    [("import time; time.sleep(60)", "within 0.3 seconds"), ("import sys; sys.exit('no such font')", "no such font")],
)
def test_graphviz_that_hangs_or_fails_is_told(taken, monkeypatch, program, said):
    monkeypatch.setattr(render, "_command", lambda format: [sys.executable, "-c", program])
    with pytest.raises(RenderError, match=said):
        taken.to_svg(timeout=0.3 if "sleep" in program else 30)


def test_pygraphviz_stands_in_for_a_missing_dot(taken, monkeypatch):
    pytest.importorskip("pygraphviz", minversion="2")
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert drawn_text(taken.to_svg(), f"n{taken.find(name='x')[0].id}") == ["x float32 (4, 3)"]


@needs_dot
def test_notebooks_show_a_picture(taken):
    bundle = taken._repr_mimebundle_()
    assert bundle["text/plain"] == repr(taken)
    assert "<svg" in bundle["image/svg+xml"]


def test_notebooks_show_a_page_without_graphviz(taken, nothing_installed):
    bundle = taken._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "apt install graphviz" in bundle["text/plain"]


def test_notebooks_show_large_graphs_as_text():
    y = gz.tensor(np.ones(2), requires_grad=True)
    for _ in range(600):
        y = y * 2
    assert graph(y)._repr_mimebundle_() == {"text/plain": "<Graph: 601 nodes, 600 edges>"}


if __name__ == "__main__":
    for name, loss in PICTURES.items():
        (GOLDEN / f"{name}.dot").write_text(graph(loss).to_dot(), encoding="utf-8")
