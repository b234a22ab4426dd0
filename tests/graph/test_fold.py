"""Graphs made of graphs: folded, expanded, cut out, turned round, compared."""

from __future__ import annotations

import gc
import shutil
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.graph import Graph
from graphzoo.graph.fold import rule_of
from graphzoo.proof.cases import cases
from tests.graph.models import encoder_decoder, graphs, recurrent, stacked


class Net(gz.Module):
    """An encoder of two layers and a cell over time."""

    def __init__(self) -> None:
        self.encoder = gz.Sequential(gz.Linear(3, 5, rng=0), gz.Tanh(), gz.Linear(5, 4, rng=1))
        self.cell = gz.LSTMCell(4, 6, rng=2)

    def forward(self, steps: int, rng: np.random.Generator) -> gz.Tensor:
        state, loss = None, 0.0
        for t in range(steps):
            with gz.time_step(t):
                state = self.cell(self.encoder(rng.normal(size=(2, 3)).astype(np.float32)), state)
                loss = (state[0] ** 2).sum() + loss
        return loss


def net(steps: int = 5, gradients: bool = False) -> Graph:
    return gz.graph(Net()(steps, np.random.default_rng(0)), gradients=gradients)


def flat(result: Any) -> list[gz.Tensor]:
    return [one for each in result for one in flat(each)] if isinstance(result, (tuple, list)) else [result]


def operations(graph: Graph) -> list[str]:
    return [node.label for node in graph.nodes if node.role == "operation"]


def is_sound(graph: Graph) -> None:
    """What holds of every graph: ids in order, edges between its nodes, one for each argument."""
    assert [node.id for node in graph.nodes] == list(range(len(graph)))
    ids = set(range(len(graph)))
    for edge in graph.edges:
        assert {edge.source, edge.target} <= ids
        assert edge.output < max(len(graph[edge.source].outputs), 1)
    assert set(graph.outputs) <= ids
    used = {edge.source for edge in graph.edges} | {edge.target for edge in graph.edges}
    assert all(node.id in used for node in graph.nodes) or len(graph) == 1
    graph.to_svg("columns")
    graph.to_dot()


# By depth -------------------------------------------------------------------------------------------------------------


def test_depth_closes_boxes() -> None:
    whole = net(2)
    assert operations(whole.fold(0)) == ["Net", "Net"]
    one = whole.fold(1)
    assert operations(one)[:5] == ["encoder: Sequential", "cell: LSTMCell", "Power(b=2)", "Sum", "Add(b=0.0)"]
    encoder = one.find(name="encoder")[0]
    assert encoder.parameters == 3 * 5 + 5 + 5 * 4 + 4
    assert encoder.count == 3
    assert encoder.outputs == whole.find(op="Linear")[1].outputs
    assert encoder.t == 0
    assert whole.fold(9) == whole


def test_a_closed_box_keeps_what_goes_in_and_out() -> None:
    whole = net(3)
    folded = whole.fold(0)
    is_sound(folded)
    inputs = {edge.source for edge in folded.edges if folded[edge.source].role != "operation"}
    assert [folded[id].role for id in inputs] == ["constant"] * len(inputs)
    carried = [(e.source, e.target) for e in folded.edges if folded[e.source].role == "operation"]
    boxes = [node.id for node in folded.nodes if node.role == "operation"]
    # h and c are handed on, and the loss so far
    assert carried == [(boxes[0], boxes[1])] * 3 + [(boxes[1], boxes[2])] * 3
    assert len(folded[boxes[0]].outputs) == 3


def test_a_box_that_is_entered_twice_is_two_nodes() -> None:
    layer = gz.Sequential(gz.Linear(3, 3, rng=0), gz.Tanh())
    x = gz.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    folded = gz.graph(layer(layer(x) + 1)).fold(0)
    assert operations(folded) == ["Sequential", "Add(b=1)", "Sequential"]
    is_sound(folded)


def test_gradients_stay_where_the_values_leave() -> None:
    whole = net(3, gradients=True)
    folded = whole.fold(1)
    for t in range(3):
        cells = [graph.find(name="cell", t=t)[0].id for graph in (whole, folded)]
        norms = [graph.gradients.nodes[id].norm for graph, id in zip((whole, folded), cells, strict=True)]
        assert norms[0] == norms[1]
        outer = folded.gradients.nodes[folded.find(name="encoder", t=t)[0].id].norm
        last = whole.gradients.nodes[whole.find(op="Linear", t=t)[-1].id].norm
        assert outer == last
    assert folded.gradients.totals == whole.gradients.totals


# Over time ------------------------------------------------------------------------------------------------------------


def test_time_rolls_up() -> None:
    rolled = net(50).fold(time=True)
    is_sound(rolled)
    cell = rolled.find(name="cell")[0]
    assert (cell.count, cell.times, cell.t, cell.parameters) == (50, "×50", None, 24 * (4 + 6 + 2))
    loops = [(edge.argument, edge.lag) for edge in rolled.edges if edge.source == edge.target == cell.id]
    assert loops == [("h", 1), ("c", 1)]
    assert len([node for node in rolled.nodes if node.role == "parameter"]) == 4 + 4
    assert all(node.count == 50 for node in rolled.nodes if node.role == "parameter")
    assert rolled == net(50).fold(time=True)
    assert len(net(20).fold(time=True)) == len(rolled)
    assert "×50" in net(50).to_svg("rolled")


def test_rolled_backwards_layers_go_back_in_time() -> None:
    rolled = gz.graph(stacked()).fold(time=True)
    is_sound(rolled)
    assert {edge.lag for edge in rolled.edges} <= {0, 1}
    layer = gz.GRU(3, 4, bidirectional=True, rng=0)
    out, _ = layer(np.ones((5, 2, 3), np.float32))
    rolled = gz.graph(out.sum()).fold(time=True)
    lags = {rolled[edge.source].name: edge.lag for edge in rolled.edges if edge.source == edge.target}
    assert lags == {"l0": 1, "l0_reverse": -1}


def test_rolled_gradients_are_taken_together() -> None:
    whole = net(4, gradients=True)
    rolled = whole.fold(time=True)
    each = [whole.gradients.nodes[node.id].norm for node in whole.find(name="cell")]
    assert rolled.gradients.nodes[rolled.find(name="cell")[0].id].norm == pytest.approx(np.linalg.norm(each))


def test_both_at_once_and_neither() -> None:
    assert operations(net(7).fold(0, time=True)) == ["Net"]
    with pytest.raises(gz.ArgumentError, match="not told what to fold"):
        net(2).fold()
    for depth in (-1, 1.5, True):
        with pytest.raises(gz.ArgumentError, match="an impossible depth"):
            net(2).fold(depth)


# Expanding ------------------------------------------------------------------------------------------------------------


def test_a_cell_expands_to_its_definition_and_back() -> None:
    model = Net()
    whole = gz.graph(model(3, np.random.default_rng(0)))
    expanded = whole.expand("LSTMCell")
    is_sound(expanded)
    inner = [node for node in expanded.nodes if node.scope and node.scope[-1].kind == "LSTMCell" and node.t == 1]
    names = [node.op for node in inner]
    assert names.count("MatMul") == 2
    assert names.count("Sigmoid") == 3
    assert names.count("Tanh") == 2
    assert all(node.scope[-1].name == "cell" for node in inner)
    back = expanded.fold(1)
    assert operations(back) == operations(whole.fold(1))
    # Nobody uses the last c, so that it does not leave the box.
    assert [len(node.outputs) for node in back.find(name="cell")] == [2, 2, 1]
    assert back.find(name="cell")[0].outputs == whole.find(name="cell")[0].outputs
    hand_ons = [
        (graph[e.source].t, graph[e.target].t)
        for graph in (whole.fold(1), back)
        for e in graph.edges
        if graph[e.source].name == graph[e.target].name == "cell"
    ]
    assert hand_ons == [(0, 1), (0, 1), (1, 2), (1, 2)] * 2


def test_expanding_repeats_no_draw_and_no_statistics() -> None:
    drop = gz.Dropout(0.5, rng=0)
    norm = gz.BatchNorm1d(3)
    x = gz.tensor(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), requires_grad=True)
    graph = gz.graph(norm(drop(x)).sum())
    before = norm.running_mean.copy()
    expanded = graph.expand()
    np.testing.assert_array_equal(norm.running_mean, before)
    assert {"Dropout", "BatchNorm1d"}.isdisjoint(node.op for node in expanded.nodes)
    again = gz.Dropout(0.5, rng=0)
    again(x)
    np.testing.assert_array_equal(drop(x).numpy(), again(x).numpy())


def test_choosing() -> None:
    model = Net()
    whole = gz.graph(model(3, np.random.default_rng(0)))
    one = whole.find(name="cell", t=1)[0]
    for what in (one, one.id, lambda node: node.name == "cell" and node.t == 1):
        expanded = whole.expand(what)
        assert [node.t for node in expanded.find(op="LSTMCell")] == [0, 2]
    both = whole.expand("LSTMCell", "Linear")
    assert not both.find(op="Linear") + both.find(op="LSTMCell")
    with pytest.raises(gz.ArgumentError, match="did you mean 'LSTMCell'"):
        whole.expand("LSTMcell")
    with pytest.raises(gz.ArgumentError, match="no such operation"):
        whole.expand(9999)
    with pytest.raises(gz.ArgumentError, match="no such operation"):
        whole.expand(1.5)


def test_primitives_stay_as_they_are() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True)
    graph = gz.graph((x * x).sum())
    assert graph.expand() == graph


def test_gradients_stay_with_what_stays() -> None:
    model = Net()
    whole = gz.graph(model(3, np.random.default_rng(0)), gradients=True)
    expanded = whole.expand("LSTMCell")
    for name in ("Power", "Linear"):
        norms = [[g.gradients.nodes[node.id].norm for node in g.find(op=name)] for g in (whole, expanded)]
        assert norms[0] == norms[1]
    inner = {node.id for node in expanded.nodes if node.scope and node.scope[-1].kind == "LSTMCell"}
    assert inner.isdisjoint(expanded.gradients.nodes)  # unknown, which is not zero
    assert set(expanded.gradients.order) <= set(range(len(expanded)))


def test_a_model_that_is_gone_cannot_be_expanded() -> None:
    graph = net(2)
    gc.collect()
    with pytest.raises(gz.ArgumentError, match="a graph of a module that is gone"):
        graph.expand("LSTMCell")
    assert "definition" in graph.to_html()  # the page goes without


@pytest.mark.parametrize("name", sorted(cases()))
def test_every_module_of_the_zoo_expands(name: str) -> None:
    for case in cases()[name]:
        rng = np.random.default_rng(0)
        module = case.make()
        drawn = [draw(rng) for draw in case.inputs]
        leaves = [gz.tensor(array, requires_grad=array.dtype.kind == "f") for array in drawn]
        result = case.call(module, *leaves)
        outputs = [each for each in flat(result) if each.requires_grad]
        graph = gz.graph(outputs)
        expanded = graph.expand()
        is_sound(expanded)
        if module.expand is not None and len(expanded) != len(graph):
            assert not expanded.find(op=type(module).__name__)
        shapes = [[g[id].outputs[:1] for id in g.outputs] for g in (graph, expanded)]
        assert shapes[0] == shapes[1] or len(graph[graph.outputs[0]].outputs) > 1


# A part ---------------------------------------------------------------------------------------------------------------


def test_a_part_has_its_stubs_and_takes_from_outside() -> None:
    whole = net(4, gradients=True)
    part = whole.subgraph(t=range(1, 3))
    is_sound(part)
    assert {node.t for node in part.nodes if node.role == "operation"} == {1, 2}
    outside = [node.name for node in part.nodes if node.op == "Input"]
    assert sorted(outside) == ["Add(b=0.0)", "cell: LSTMCell[0]", "cell: LSTMCell[1]"]
    assert [part[id].t for id in part.outputs if part[id].op == "LSTMCell"] == [2]
    norms = [g.gradients.nodes[g.find(name="cell", t=2)[0].id].norm for g in (whole, part)]
    assert norms[0] == norms[1]
    assert operations(whole.subgraph("Linear", t=0)) == ["0: Linear", "2: Linear"]
    assert operations(whole.subgraph(scope="encoder", t=3)) == ["0: Linear", "1: Tanh", "2: Linear"]
    assert operations(whole.subgraph()) == operations(whole)


def test_a_part_without_anything_is_refused() -> None:
    with pytest.raises(gz.ArgumentError, match=r"scope='decoder'"):
        net(2).subgraph(scope="decoder")
    with pytest.raises(gz.ArgumentError, match="t=7"):
        net(2).subgraph("LSTMCell", t=7)


# Backwards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tensor"), list(graphs()))
def test_backwards_every_edge_with_a_gradient_is_turned(name: str, tensor: gz.Tensor) -> None:
    whole = gz.graph(tensor)
    turned = whole.backward_view()
    labels = [
        sorted((graph[a].label, graph[b].label) for a, b in pairs)
        for graph, pairs in (
            (whole, [(e.target, e.source) for e in whole.edges if e.gradient]),
            (turned, [(e.source, e.target) for e in turned.edges]),
        )
    ]
    assert labels[0] == labels[1]
    assert all(edge.source < edge.target for edge in turned.edges)
    is_sound(turned)


def test_rules_stand_at_the_edges() -> None:
    turned = net(2, gradients=True).backward_view()
    rules = {(turned[e.source].op, e.argument): e.rule for e in turned.edges}
    assert rules["LSTMCell", "h"] == "∂L/∂h_t = W_hhᵀ δ"
    assert rules["LSTMCell", "weight_ih"] == "∂L/∂W_ih = ∑_t δ_t x_tᵀ"
    assert rules["LSTMCell", "bias_hh"] == "∂L/∂b = ∑_t δ_t"
    assert rules["Linear", "weight"].startswith("∂L/∂W = ")
    assert rules["Tanh", "x"] == "∂L/∂x = ∂L/∂y ⊙ (1 - y²)"
    assert rules["Add", "a"] == "∂L/∂a = ∂L/∂b = ∂L/∂y"
    assert "∂L/∂W_ih = ∑_t δ_t x_tᵀ" in turned.to_dot()
    assert turned.gradients.order == tuple(sorted(turned.gradients.order))


def test_a_rule_that_is_not_stated_is_left_out() -> None:
    class Silent(gz.Module):
        def forward(self, node: Any, x: Any) -> Any:
            return 2 * x

        def backward(self, node: Any, dy: Any) -> Any:
            return 2 * dy

    x = gz.tensor([1.0], requires_grad=True)
    graph = gz.graph(Silent()(x))
    assert rule_of(graph.find(op="Silent")[0], "x") == ""
    odd = gz.Formulas("y = x", r"\unknown{x}")
    Silent.formulas = odd
    assert rule_of(gz.graph(Silent()(x)).find(op="Silent")[0], "x") == ""


# Cuts, values, lines --------------------------------------------------------------------------------------------------


def truncated() -> gz.Tensor:
    cell, h, loss = gz.RNNCell(2, 3, rng=0), None, 0.0
    for t in range(4):
        with gz.time_step(t):
            h = cell(np.ones((1, 2), np.float32), h)
            loss = h.sum() + loss
            if t == 1:
                h = h.detach()
    return loss


def test_a_detached_state_is_a_cut_edge() -> None:
    graph = gz.graph(truncated())
    cuts = [edge for edge in graph.edges if edge.cut]
    assert [(graph[e.source].t, graph[e.target].t, e.argument, e.gradient) for e in cuts] == [(1, 2, "h", False)]
    assert "✂" in graph.to_svg()
    assert "✂" in graph.to_dot()
    assert "✂" in graph.to_svg("rolled")
    assert not any(edge.cut for edge in graph.backward_view().edges)


def test_what_was_detached_from_another_graph_is_a_constant() -> None:
    x = gz.tensor([1.0], requires_grad=True)
    y = (x * 2).detach()
    graph = gz.graph(x * y)
    assert [node.role for node in graph.nodes] == ["input", "constant", "operation"]
    assert y.requires_grad is False


def test_record_notes_values_and_lines() -> None:
    x = gz.tensor([[1.0, -2.0], [0.0, np.inf]], requires_grad=True)
    with gz.Tape() as tape, gz.record():
        y = gz.relu(x)
    z = y * 2
    graph = gz.graph(z)
    [values] = graph.find(op="ReLU")[0].values
    assert (values.zeros, values.infs, values.high, values.whole) == (2, 1, 1.0, (1.0, 0.0, 0.0, np.inf))
    assert graph.find(op="ReLU")[0].line.startswith("test_fold.py:")
    assert graph.find(op="Multiply")[0].values == ()
    assert graph.find(op="Multiply")[0].line is None
    assert len(tape) == 1
    assert "recorded in test_fold.py" in graph.to_dot()


def test_record_notes_all_outputs_and_only_what_is_asked() -> None:
    cell = gz.LSTMCell(2, 3, rng=0)
    with gz.record(lines=False):
        h, c = cell(np.ones((40, 2), np.float32))
    node = gz.graph([h, c]).find(op="LSTMCell")[0]
    assert [one.norm for one in node.values] == pytest.approx([np.linalg.norm(h.numpy()), np.linalg.norm(c.numpy())])
    assert node.values[0].whole == ()
    assert sum(node.values[0].histogram) == 120
    assert node.line is None
    with gz.record(values=False):
        h, c = cell(np.ones((1, 2), np.float32))
    assert gz.graph(h).find(op="LSTMCell")[0].values == ()


def test_a_whole_sequence_is_recorded_too() -> None:
    with gz.record():
        out, _ = gz.LSTM(2, 3, rng=0)(np.ones((4, 1, 2), np.float32))
    cells = gz.graph(out).find(op="LSTMCell")
    assert [node.values[0].norm for node in cells] == pytest.approx(np.linalg.norm(out.numpy()[:, 0], axis=-1).tolist())


def test_record_notes_backward_passes() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True, name="x")
    with gz.Tape() as tape, gz.record(gradients=True), gz.Tape():
        y = x * x
        loss = y.sum()
        loss.backward()
    assert len(tape) == 2
    graph = gz.graph(loss)
    assert all(node.released for node in graph.nodes if node.op == "Multiply")
    assert graph.gradients.nodes[graph.find(name="x")[0].id].norm == pytest.approx(np.sqrt(20))
    np.testing.assert_array_equal(x.grad, [2, 4])  # once, not twice
    with gz.record(gradients=True):
        z = x * 3
        z.backward([1.0, -1.0])
    assert gz.graph(z).gradients.nodes[gz.graph(z).find(op="Multiply")[0].id].norm == pytest.approx(np.sqrt(2))
    with gz.record():
        w = x * 3
        w.sum().backward()
    assert gz.graph(w).gradients is None


def test_dot_in_the_colours_of_gradient_norms() -> None:
    graph = net(3, gradients=True)
    heated = graph.to_dot(colour="gradient")
    assert heated.startswith(graph.to_dot()[:60])
    cell = graph.find(name="cell", t=2)[0].id
    assert f'n{cell} [fillcolor="#' in heated
    assert "gradient norm" in heated
    assert 'penwidth="2"' in heated
    with pytest.raises(gz.ArgumentError, match="knows of no gradients"):
        net(2).to_dot(colour="gradient")
    if shutil.which("dot"):
        assert "<svg" in graph.to_svg("graph", colour="gradient")


# Two graphs -----------------------------------------------------------------------------------------------------------


def test_no_difference() -> None:
    one, other = net(3, gradients=True), net(3, gradients=True)
    diff = one.diff(other)
    assert not diff
    assert all(ratio == 1.0 or np.isnan(ratio) for ratio in diff.ratios.values())  # the first state contributes zeros
    assert str(diff).startswith("gradient norms of ")
    assert str(net(2).diff(net(2))) == "no difference"


def test_differences_are_found_and_drawn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    first = gz.Sequential(gz.Linear(3, 4, rng=0), gz.Tanh(), gz.Linear(4, 1, rng=1))
    second = gz.Sequential(gz.Linear(3, 6, rng=0), gz.ReLU(), gz.Linear(6, 1, rng=1))
    graphs = [gz.graph(model(x).sum(), gradients=True) for model in (first, second)]
    diff = graphs[0].diff(graphs[1])
    assert diff
    assert [diff.graph[id].label for id in diff.removed] == ["− 1: Tanh"]
    assert [diff.graph[id].label for id in diff.added] == ["+ 1: ReLU"]
    assert [diff.graph[id].op for id in diff.changed] == ["Linear", "Linear"]
    assert "float32 (2, 4) → float32 (2, 6); 16 → 24 parameters" in str(diff)
    svg = diff.to_svg()
    assert "ratio of gradient norms" in svg
    is_sound(diff.graph)


def test_ratios_of_gradient_norms() -> None:
    x = gz.tensor([1.0, -3.0], requires_grad=True, name="x")
    one, other = (gz.graph((x * factor).sum() * scale, gradients=True) for factor, scale in ((2, 1), (2, 4)))
    diff = one.diff(other)
    assert diff.ratios[diff.graph.find(name="x")[0].id] == 4.0
    zero = one.diff(gz.graph((x * 2).sum() * 0, gradients=True))
    assert zero.ratios[zero.graph.find(name="x")[0].id] == 0.0
    assert zero.to_svg()


def test_longer_in_time() -> None:
    diff = net(2).diff(net(4))
    assert not diff.removed
    assert {diff.graph[id].t for id in diff.added} == {2, 3}
    assert "  and " not in str(diff)
    assert "only the second has 14 operations" in str(diff)
    assert "  and 50 more" in str(net(2).diff(net(12)))


def test_only_graphs_are_compared() -> None:
    with pytest.raises(gz.ArgumentError, match="diff\\(\\) compares graphs"):
        net(2).diff("graph")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: recurrent(4), encoder_decoder, stacked])
def test_other_graphs_of_any_graph_are_sound(make: Any) -> None:
    tensor = make()
    graph = gz.graph(tensor)
    for other in (
        graph.fold(0),
        graph.fold(1),
        graph.fold(time=True),
        graph.subgraph(),
        graph.expand(),
        graph.diff(graph).graph,
    ):
        is_sound(other)


STEPS = {
    "fold(0)": lambda graph: graph.fold(0),
    "fold(1)": lambda graph: graph.fold(1),
    "rolled": lambda graph: graph.fold(time=True),
    "expand": lambda graph: graph.expand(),
    "subgraph": lambda graph: graph.subgraph(),
    "backward": lambda graph: graph.backward_view(),
    "diff": lambda graph: graph.diff(graph).graph,
}


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_one_after_the_other(first: str, second: str) -> None:
    model, feeding = Net(), gz.Linear(6, 4, rng=5)
    state, x, total = None, gz.tensor(np.ones((2, 4), np.float32), requires_grad=True), 0.0
    with gz.scope("loop"):
        for t in range(3):  # what comes out of a step goes into the next: rolled up, an edge runs to an earlier node
            with gz.time_step(t):
                state = model.cell(x, state)
                x = gz.tanh(feeding(state[0]))
                total = x.sum() + total
    graph = STEPS[first](gz.graph(total, gradients=True))
    if graph.backward and second in ("expand", "backward"):
        with pytest.raises(gz.ArgumentError, match="backward view"):
            STEPS[second](graph)
        assert graph.to_html()  # which goes without definitions
        return
    made = STEPS[second](graph)
    is_sound(made)
    assert made.to_html()
