"""The page of a graph: its text, and what it does in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.graph import Graph, page
from graphzoo.graph.mathml import mathml
from tests.graph.models import graphs, nasty_names, perceptron, recurrent

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,800",
    "--virtual-time-budget=600000",  # Graphviz is compiled in real time, while the waiting is done in virtual time
]  # fmt: skip

# What goes wrong on a page is gathered from its first line on.
WATCH = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => problems.push("policy: " + event.blockedURI));
console.error = (...words) => problems.push(words.join(" "));
</script>"""


def unrolled(steps: int = 6) -> gz.Tensor:
    rng = np.random.default_rng(0)
    cell, readout = gz.GRUCell(3, 4, rng=0), gz.Linear(4, 2, rng=1)
    h, loss = None, gz.tensor(0.0)
    with gz.scope("network"):
        for t in range(steps):
            with gz.time_step(t):
                h = cell(gz.tensor(rng.normal(size=(2, 3)).astype(np.float32), name="x"), h)
                loss = (readout(h) ** 2).sum() + loss
    return loss


def in_browser(text: str, script: str, folder: Path) -> Any:
    """What a script returns once a page is laid out, which must have had no problem until then and loaded nothing."""
    probe = (
        "<script>(function probe() { "
        "if (document.querySelector('script[type=module]') && !document.documentElement.dataset.layout) "
        "{ setTimeout(probe, 1); return; } "
        "let result; try { result = (() => {" + script + "})(); } catch (error) { problems.push(String(error)); } "
        'const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);'
        "document.body.dataset.result = JSON.stringify({ result, problems, loaded }); })();</script>"
    )
    file = folder / "page.html"
    file.write_text(text.replace("<meta charset", WATCH + "<meta charset", 1).replace("</body>", probe + "</body>"))
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    found = re.search(r'data-result="([^"]*)"', done.stdout.decode())
    assert found, done.stderr.decode()[-2000:]
    report = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert report["problems"] == []
    assert report["loaded"] == []
    return report.get("result")


def data_of(text: str) -> Any:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


# The text ------------------------------------------------------------------------------------------------------------


def test_the_page_names_no_place_outside_of_it() -> None:
    text = gz.graph(unrolled(), gradients=True).to_html()
    places = set(re.findall(r"(?:https?:)?//[\w.]+[\w/.]*", re.sub(r"^ *//.*|; //.*", "", text, flags=re.MULTILINE)))
    assert places == {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}
    assert "default-src 'none'" in text


def test_two_runs_give_the_same_page() -> None:
    one, other = (gz.graph(unrolled(), gradients=True).to_html() for _ in range(2))
    assert one == other


def test_its_data_are_the_graphs() -> None:
    taken = gz.graph(unrolled(), gradients=True)
    data = data_of(taken.to_html())
    assert [node["label"] for node in data["nodes"]] == [node.label for node in taken.nodes]
    assert data["gradients"]["order"] == list(taken.gradients.order)
    assert len(data["edges"]) == len(taken.edges)
    assert data_of(gz.graph(unrolled()).to_html())["gradients"] is None


def test_numbers_that_json_has_not_are_words() -> None:
    x = gz.tensor([1e38, 0.0], requires_grad=True)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        taken = gz.graph(gz.log(x * 1e30).sum(), gradients=True)
        norms = [found["norm"] for found in data_of(taken.to_html())["gradients"]["nodes"].values()]
    assert "inf" in norms


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<!--", "a & b", 'q"uote', "@TITLE@", "\u2028"])
def test_names_cannot_break_out(name: str) -> None:
    x = gz.tensor([1.0], requires_grad=True, name=name)
    text = gz.graph(x * 2).to_html(title=name)
    assert data_of(text)["nodes"][0]["label"] == name
    assert text.count("<script") == 2
    assert text.count("</script>") == 2


def test_large_graphs_are_folded_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MANY_NODES", 100)
    text = gz.graph(recurrent(30)).to_html()
    assert "the 30 time steps are folded into 15 columns" in text
    assert "folded into" not in gz.graph(recurrent(5)).to_html()


def test_large_graphs_of_few_steps_have_their_boxes_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = gz.graph(recurrent(5))
    assert not data_of(taken.to_html())["closed"]
    monkeypatch.setattr(page, "MANY_NODES", len(taken) - 1)
    text = taken.to_html()
    assert data_of(text)["closed"]
    assert f"{len(taken)} nodes: the innermost boxes are closed, a click on a name opens one" in text


def test_formulas_are_mathematics_or_latex(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = gz.graph(perceptron())
    assert "\\u003cmath" in taken.to_html()
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    text = taken.to_html()
    assert "\\u003cmath" not in text
    assert "\\u003ccode" in text


def test_mathml_of_every_formula_of_the_zoo() -> None:
    modules = [module for module in gz.Module.__subclasses__() if module.__module__.startswith("graphzoo.zoo")]
    assert len(modules) > 50
    for module in modules:
        for latex in module.formulas[:3]:
            if latex:
                assert mathml(latex, "block").startswith("<math")


def test_saved_by_its_ending_and_shown_in_notebooks(tmp_path: Path) -> None:
    taken = gz.graph(unrolled())
    assert taken.save(tmp_path / "net.html").read_text() == taken.to_html(title="net")
    shown = taken._repr_mimebundle_()["text/html"]
    assert shown.startswith('<iframe sandbox="allow-scripts allow-downloads"')
    assert "&lt;svg" in shown


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken() -> Graph:
    return gz.graph(unrolled(), gradients=True)


@needs_chromium
def test_click_shows_a_node(taken: Graph, tmp_path: Path) -> None:
    cell = taken.find(op="GRUCell", t=2)[0]
    script = f"""
        boxOf.get({cell.id}).querySelector("rect").dispatchEvent(new MouseEvent("click", {{ bubbles: true }}));
        return [find("details").innerText, find("details").querySelectorAll("math").length,
                boxOf.get({cell.id}).classList.contains("selected"), find("details").querySelectorAll(".bars").length];
    """
    text, formulas, selected, charts = in_browser(taken.to_html(), script, tmp_path)
    assert "t = 2" in text
    assert "float32 (2, 4)" in text
    assert f"{taken.gradients.nodes[cell.id].norm:.4g}"[:5] in text
    assert formulas > 3
    assert selected
    assert charts == 2


@needs_chromium
def test_parameters_tell_their_contributions(taken: Graph, tmp_path: Path) -> None:
    stub = taken.find(name="weight_hh", t=4)[0]
    script = f"""
        select(boxOf.get({stub.id}), [{stub.id}]);
        const titles = [...find("details").querySelectorAll(".bars title")].map((title) => title.textContent);
        return [find("details").innerText, titles];
    """
    text, titles = in_browser(taken.to_html(), script, tmp_path)
    assert "What this use contributed" in text
    assert "gathered by then" in text
    over_time = [title for title in titles if title.startswith("t = ")]
    assert len(over_time) == 6
    assert over_time[0] == "t = 0: 0"  # the first state is zero; and it has no cosine
    assert "cosine" in over_time[4]


@needs_chromium
def test_search_finds_and_enter_goes_on(taken: Graph, tmp_path: Path) -> None:
    script = """
        const box = find("search");
        const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
        const enter = () => box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        const said = [];
        type("grucell"); said.push(find("found").textContent, svg.querySelectorAll(".match").length);
        enter(); enter(); said.push(find("found").textContent, find("details").innerText.includes("t = 1"));
        type("t=3"); said.push(find("found").textContent);
        type("nothing of the kind"); said.push(find("found").textContent); enter();
        type(""); said.push(find("found").textContent, svg.querySelectorAll(".match").length);
        return said;
    """
    got = in_browser(taken.to_html(), script, tmp_path)
    at_three = {id for id in range(len(taken)) if taken[id].t == 3}
    assert got[:4] == ["6 found", 6, "2 of 6", True]
    assert 0 < int(got[4].split()[0]) <= len(at_three)
    assert got[5:] == ["0 found", "", 0]


@needs_chromium
def test_the_backward_pass_goes_node_by_node(taken: Graph, tmp_path: Path) -> None:
    script = """
        const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const said = [find("at").textContent, Number(find("slider").max)];
        press("ArrowRight"); press("ArrowRight"); said.push(find("at").textContent);
        press("ArrowLeft"); said.push(find("at").textContent, svg.querySelectorAll(".waiting").length > 0);
        find("forth").click(); find("slider").value = 4; find("slider").dispatchEvent(new Event("input"));
        said.push(find("at").textContent, find("details").innerText.includes("This step of the backward pass"));
        find("jump").value = "2"; find("jump").dispatchEvent(new Event("change"));
        said.push(nodes[gradients.order[step - 1]].t);
        for (let i = 0; i < 200; i++) press("ArrowRight");
        said.push(step, svg.querySelectorAll(".waiting").length);
        return said;
    """
    got = in_browser(taken.to_html(), script, tmp_path)
    order = taken.gradients.order
    assert got[:2] == [f"before the first of {len(order)} nodes", len(order)]
    assert got[2].startswith(f"2 of {len(order)}: {taken[order[1]].label}")
    assert got[3].startswith("1 of")
    assert got[4:8] == [True, got[5], True, 2]
    assert got[5].startswith("4 of")
    assert got[8] == len(order)


@needs_chromium
def test_moving_about_and_colours(taken: Graph, tmp_path: Path) -> None:
    script = """
        const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const widths = [];
        const note = () => widths.push(svg.viewBox.baseVal.width);
        press("0"); note(); press("+"); note(); press("-"); press("-"); note(); find("fit").click(); note();
        picture.dispatchEvent(new WheelEvent("wheel", { deltaY: -1, clientX: 200, clientY: 300, cancelable: true }));
        note();
        const cell = frameOf(boxOf.get(gradients.order.find((id) => nodes[id].op === "GRUCell")));
        const before = cell.style.fill;
        find("heat").click(); const hot = cell.style.fill; find("heat").click();
        return [widths, before, hot, cell.style.fill];
    """
    widths, before, hot, after = in_browser(taken.to_html(), script, tmp_path)
    assert widths[1] < widths[0] < widths[2]
    assert widths[3] == widths[0]
    assert widths[4] < widths[0]
    assert before == after == ""
    assert hot.startswith("rgb(")


@needs_chromium
def test_without_gradients_it_says_so_and_shows_no_zero(tmp_path: Path) -> None:
    script = """
        select(boxes[0]);
        return [getComputedStyle(document.querySelector("footer")).display, find("details").innerText];
    """
    display, text = in_browser(gz.graph(unrolled()).to_html(), script, tmp_path)
    assert display == "none"
    assert "not recorded: gz.graph(loss, gradients=True)" in text
    assert "norm" not in text


@needs_chromium
@pytest.mark.parametrize("make", [nasty_names, perceptron])
def test_any_graph_makes_a_page_without_problems(make: Any, tmp_path: Path) -> None:
    graph = gz.graph(make())
    script = "for (const box of boxes) select(box); return document.documentElement.dataset.ready;"
    assert in_browser(graph.to_html(), script, tmp_path) == "yes"


@needs_chromium
def test_folded_places_stand_for_several_nodes(tmp_path: Path) -> None:
    taken = gz.graph(unrolled(20), gradients=True)
    script = """
        const folded = boxes.find((box) => idsOf(box).length > 1 && nodes[idsOf(box)[0]].op === "GRUCell");
        select(folded);
        walk(gradients.order.length);
        return [idsOf(folded).length, find("details").innerText.length > 50];
    """
    assert in_browser(taken.to_html(fold=5), script, tmp_path) == [16, True]


def test_every_picture_has_a_page() -> None:
    for _, tensor in graphs():
        assert gz.graph(tensor).to_html().startswith("<!doctype html>")


# Folding, tabs, values -----------------------------------------------------------------------------------------------


def recorded(steps: int = 12) -> gz.Tensor:
    with gz.record():
        return unrolled(steps)


@needs_chromium
def test_a_box_closes_and_opens(taken: Graph, tmp_path: Path) -> None:
    report = in_browser(
        taken.to_html(),
        """
        const label = document.querySelector(".scope text");
        const seen = () => document.querySelectorAll("#picture .node:not(.folded)").length;
        const frame = () => Number(label.parentNode.querySelector("rect").getAttribute("height"));
        const found = [[seen(), frame(), full.height]];
        label.dispatchEvent(new Event("click"));
        found.push([seen(), frame(), full.height]);
        label.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        found.push([seen(), frame(), full.height]);
        return found;
        """,
        tmp_path,
    )
    (nodes, height, whole), (left, bar, lower), again = report
    assert again == [nodes, height, whole]
    assert left < nodes
    assert bar == 22
    assert lower == pytest.approx(whole - height + bar)


@needs_chromium
def test_time_folds_in_order_and_a_search_unfolds_it(tmp_path: Path) -> None:
    report = in_browser(
        gz.graph(unrolled(12)).to_html(),
        """
        find("columns").value = "5";
        find("columns").dispatchEvent(new Event("change"));
        const labels = [...document.querySelectorAll(".axis:not(.folded)")];
        const seen = labels.map((label) => [Number(label.getAttribute("x")), label.textContent]);
        const said = find("stretch").textContent;
        find("search").value = "t=6";
        find("search").dispatchEvent(new Event("input"));
        find("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        return { seen, said, folded: document.querySelectorAll(".folded").length, columns: find("columns").value };
        """,
        tmp_path,
    )
    labels = [label for _, label in sorted(report["seen"])]
    assert labels == ["t = 0", "t = 1", "…", "t = 10", "t = 11"]
    assert report["said"] == "t = 2 … 9 is folded"
    assert (report["folded"], report["columns"]) == (0, "all")


@needs_chromium
def test_tabs_show_norms_over_time_and_the_reach_matrix(taken: Graph, tmp_path: Path) -> None:
    matrix = [[1.0, np.nan, np.nan], [0.1, 1.0, np.nan], [0.0, 0.1, 1.0]]
    report = in_browser(
        taken.to_html(reach=matrix),
        """
        find("tab-time").click();
        const lines = document.querySelectorAll("#chart .line").length;
        const time = [find("picture").hidden, lines, document.querySelector("#chart circle title").textContent];
        find("tab-reach").click();
        const reach = [...document.querySelectorAll("#chart rect")].map((cell) => cell.textContent);
        find("tab-graph").click();
        return { time, reach, back: find("picture").hidden };
        """,
        tmp_path,
    )
    assert report["time"][:2] == [True, 5]
    assert re.fullmatch(r"network\.\w+: \w+, t = \d+: [\d.e-]+", report["time"][2])
    assert report["reach"][0] == "loss 0 at step 0: 1"
    assert "loss 2 at step 0: 0" in report["reach"]
    assert report["back"] is False


@needs_chromium
def test_values_lines_and_definitions_where_they_are_known(tmp_path: Path) -> None:
    loss = recorded(2)
    report = in_browser(
        gz.graph(loss).to_html(),
        """
        const box = boxes.find((each) => nodes[idsOf(each)[0]].op === "GRUCell");
        box.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        const definition = document.querySelector("#details .definition svg");
        return {
          text: find("details").textContent,
          whole: document.querySelectorAll("#details .whole").length,
          inner: [...definition.querySelectorAll(".node > text:first-of-type")].map((text) => text.textContent),
        };
        """,
        tmp_path,
    )
    assert re.search(r"recorded intest_page\.py:\d+", report["text"])
    assert "Value" in report["text"]
    assert report["whole"] == 1
    assert {"MatMul", "Sigmoid", "Tanh"} <= set(report["inner"])
    without = data_of(gz.graph(unrolled(2)).to_html())["nodes"]
    assert all(node["values"] == [] and node["line"] is None for node in without)


# Laid out by Graphviz ------------------------------------------------------------------------------------------------

MODULE = '<script type="module">'


def branching(blocks: int = 2) -> gz.Tensor:
    """Blocks that a state runs around as well as through."""
    rng = np.random.default_rng(0)
    layer = gz.Linear(4, 4, rng=0)
    x = gz.tensor(rng.normal(size=(2, 4)), name="x", requires_grad=True)
    with gz.scope("network"):
        for block in range(blocks):
            with gz.scope(f"block {block}"):
                x = gz.relu(layer(x)) - x
    return (x * x).sum()


def test_graphviz_comes_along_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gz.tensor([1.0], requires_grad=True)
    general = gz.graph(branching())
    text = general.to_html()
    assert MODULE in text
    assert "Apache License 2.0" in text
    assert "'wasm-unsafe-eval'" in text
    for without in (gz.graph(unrolled()), gz.graph(unrolled()).fold(time=True), gz.graph(gz.exp(x * 2))):
        text = without.to_html()  # time; a loop over time; one node above the other
        assert MODULE not in text
        assert "wasm" not in text
    monkeypatch.setattr(page, "MOST_FOR_GRAPHVIZ", len(general) - 1)
    text = general.to_html()
    assert MODULE not in text
    assert f"{len(general)} nodes: in rows, as Graphviz would take long to lay them out<" in text


# What stands where: nodes, boxes of scopes, edges from and to, as they are seen.
PLACES = """
    const rect = (part) => ["x", "y", "width", "height"].map((name) => Number(part.getAttribute(name)));
    const seenIn = (chosen) => [...document.querySelectorAll(chosen)].filter((part) => !part.closest(".folded"));
    const nameOf = (scope) => scope.querySelector("text").firstChild.data;
    const pointOf = ({ x, y }) => [x, y];
    const places = () => ({
      nodes: Object.fromEntries(seenIn("#picture .node").map((box) => [idsOf(box)[0], rect(frameOf(box))])),
      scopes: Object.fromEntries(seenIn("#picture .scope").map((scope) => [nameOf(scope), rect(scope.firstChild)])),
      edges: seenIn("#picture path.edge").map((path) => [0, 1e9].map((at) => path.getPointAtLength(at)).map(pointOf)),
      labels: seenIn("#picture .edge-label").map((label) => label.textContent).filter(Boolean),
      sheet: rect(document.querySelector(".paper")),
    });
"""


@needs_chromium
def test_a_large_graph_without_time_begins_with_closed_boxes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    general = gz.graph(branching())
    monkeypatch.setattr(page, "MOST_FOR_GRAPHVIZ", len(general) - 1)
    monkeypatch.setattr(page, "MANY_NODES", len(general) - 1)
    text = general.to_html()
    assert "in rows, as Graphviz would take long to lay them out; the innermost boxes are closed, a click" in text
    found, top, shown = in_browser(text, PLACES + "return [places(), full.y, view.y];", tmp_path)
    assert shown == top > 0  # what the boxes gave up is not shown
    assert len(found["nodes"]) == 3  # x, and above the boxes a product and its sum
    assert [place[3] == 22 for place in found["scopes"].values()] == [False, True, True]
    assert len(found["edges"]) == 6  # two into each block, and those above


def overlap(one: list[float], other: list[float]) -> bool:
    (x, y, width, height), (u, v, wide, high) = one, other
    return x < u + wide and u < x + width and y < v + high and v < y + height


def within(one: list[float], other: list[float]) -> bool:
    (x, y, width, height), (u, v, wide, high) = one, other
    return u <= x and x + width <= u + wide and v <= y and y + height <= v + high


@needs_chromium
def test_graphviz_lays_out_a_graph_without_time(tmp_path: Path) -> None:
    graph = gz.graph(branching())
    found = in_browser(graph.to_html(), PLACES + "return places();", tmp_path)
    nodes = {int(id): place for id, place in found["nodes"].items()}
    for one in nodes:
        assert within(nodes[one], found["sheet"])
        assert not any(overlap(nodes[one], nodes[other]) for other in nodes if other != one)
    assert list(found["scopes"]) == ["network", "block 0", "block 1"]
    for node in graph.nodes:
        if node.id in nodes:
            names = [box.name for box in node.scope]
            assert [name for name, place in found["scopes"].items() if within(nodes[node.id], place)] == names
    drawn = [edge for edge in graph.edges if edge.source in nodes and edge.target in nodes]
    assert all(nodes[edge.source][1] > nodes[edge.target][1] for edge in drawn)  # computed upwards
    ends = {(edge.source, edge.target) for edge in drawn}
    assert len(found["edges"]) == len(ends)  # x * x takes one place twice
    for (x, y), (u, v) in found["edges"]:  # each begins at the top of a node and ends below another one
        assert any(x0 < x < x0 + width and y == pytest.approx(y0, abs=1) for x0, y0, width, _ in nodes.values())
        assert any(x0 < u < x0 + width and 0 < v - y0 < 46 for x0, y0, width, _ in nodes.values())
    assert sorted(found["labels"]) == ["a", "a", "b", "b"]


@needs_chromium
def test_a_closed_box_is_laid_out_as_one_node(tmp_path: Path) -> None:
    script = """
        const scopeOf = (name) => [...document.querySelectorAll(".scope")].find((scope) => nameOf(scope) === name);
        const label = (name) => scopeOf(name).querySelector("text");
        const found = [places()];
        for (const name of ["block 1", "network", "network", "block 1"]) {
          const shown = () => label(name).getBoundingClientRect().x;
          const before = shown();
          label(name).dispatchEvent(new Event("click"));
          found.push({ ...places(), moved: shown() - before });
        }
        return found.map(({ moved = 0, ...rest }) => ({ moved: Math.round(moved), ...rest }));
    """
    first, one, all, again, last = in_browser(gz.graph(branching()).to_html(), PLACES + script, tmp_path)
    assert last == first
    assert again == one
    assert len(one["nodes"]) == len(first["nodes"]) - 3
    assert one["scopes"]["block 1"][3] == 22
    assert within(one["scopes"]["block 1"], one["scopes"]["network"])
    assert not any(overlap(place, one["scopes"]["block 1"]) for place in one["nodes"].values())
    assert len(one["edges"]) == len(first["edges"]) - 3  # the two within, and one of the two that enter
    assert all["moved"] == 0
    assert list(all["scopes"]) == ["network"]
    assert len(all["edges"]) == 3
    assert first["sheet"][3] > one["sheet"][3] > all["sheet"][3]


@needs_chromium
def test_a_search_opens_the_box(tmp_path: Path) -> None:
    script = """
        document.querySelector(".scope text").dispatchEvent(new Event("click"));
        const before = places();
        find("search").value = "ReLU";
        find("search").dispatchEvent(new Event("input"));
        find("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        return [before, places()].map(({ nodes }) => Object.keys(nodes).length);
    """
    before, after = in_browser(gz.graph(branching()).to_html(), PLACES + script, tmp_path)
    assert before < after


@needs_chromium
def test_without_web_assembly_the_rows_remain(tmp_path: Path) -> None:
    text = gz.graph(branching()).to_html().replace("<head>", "<head><script>delete window.WebAssembly</script>")
    script = PLACES + "problems.length = 0; return [places(), find('stretch').textContent];"  # Graphviz complains, too
    found, said = in_browser(text, script, tmp_path)
    assert said.startswith("in rows, as Graphviz could not run here: ")
    assert len({x + width / 2 for x, _, width, _ in found["nodes"].values()}) == 1


def test_reach_must_be_a_matrix() -> None:
    with pytest.raises(gz.ShapeError, match="reach is a matrix"):
        gz.graph(unrolled(2)).to_html(reach=[1.0, 2.0])
