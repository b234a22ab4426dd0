"""The frozen graph: what is in it, for whom it is, and what it costs to take."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.graph import Graph, graph
from graphzoo.graph.boxes import paths
from tests.graph.models import Affine, Cell, Perceptron, encoder_decoder, perceptron, recurrent, zeros


def leaf(**options) -> gz.Tensor:
    return gz.tensor(np.ones((2, 3), np.float32), requires_grad=True, **options)


def uses(of: Graph) -> list[tuple[int, int, str]]:
    return [(edge.source, edge.target, edge.argument) for edge in of.edges]


def test_a_square_has_two_edges():
    x = leaf(name="x")
    taken = graph(x * x)
    assert [(node.id, node.role, node.op, node.name) for node in taken.nodes] == [
        (0, "input", "Input", "x"),
        (1, "operation", "Multiply", None),
    ]
    assert uses(taken) == [(0, 1, "a"), (0, 1, "b")]
    assert [edge.slot for edge in taken.edges] == [0, 1]
    assert taken.outputs == (1,)


def test_nodes_tell_shapes_dtypes_scopes_and_parameters():
    taken = graph(perceptron())
    first = taken.find(name="0")[0]
    assert first.op == "Affine"
    assert first.label == "0: Affine"
    assert [box.name for box in first.scope] == ["Perceptron", "layers"]
    assert first.scope[0].kind == "Perceptron"
    assert first.scope[1].kind == "Sequential"
    assert first.path == "Perceptron.layers.0"
    assert str(first.outputs[0]) == "float32 (4, 5)"
    assert first.parameters == 5 * 3 + 5
    assert first.family == "custom"
    assert first.saved_bytes == 4 * (4 * 3 + 5 * 3)
    assert not first.released
    loss = taken[taken.outputs[0]]
    assert loss.op == "SquaredDistance"
    assert loss.outputs[0].shape == ()
    assert [edge.gradient for edge in taken.edges if edge.target == loss.id] == [True, False]


def test_python_numbers_stand_in_the_label():
    taken = graph(2 * leaf() + 0.1)
    assert [node.label for node in taken.nodes] == ["input", "Multiply(b=2)", "Add(b=0.1)"] or [
        node.label for node in taken.nodes
    ] == ["input", "Multiply(a=2)", "Add(b=0.1)"]
    assert len(taken.edges) == 2


def test_a_parameter_is_a_stub_at_each_use_and_one_tensor():
    layer = Affine(3, 3)
    x = zeros()
    taken = graph(layer(layer(x)))
    weights = taken.find(name="weight")
    assert len(weights) == 2
    assert weights[0].tensor == weights[1].tensor
    assert weights[0].id != weights[1].id
    assert taken.find(name="bias")[0].tensor != weights[0].tensor
    one, other = taken.find(op="Affine")
    assert one.module == other.module == 0
    users = {edge.source: edge.target for edge in taken.edges if edge.argument == "weight"}
    assert users == {weights[0].id: one.id, weights[1].id: other.id}


def test_a_parameter_used_twice_by_one_operation_is_one_stub_with_two_edges():
    w = gz.Parameter([1.0, 2.0], name="w")
    taken = graph(w * w)
    assert [node.role for node in taken.nodes] == ["parameter", "operation"]
    assert uses(taken) == [(0, 1, "a"), (0, 1, "b")]
    assert taken[1].parameters == 2


def test_an_input_is_one_node_but_a_stub_for_each_time_step():
    x = leaf(name="x")
    assert len(graph((x * 2) * x).find(name="x")) == 1
    y = x
    for t in range(3):
        with gz.time_step(t):
            y = y * x
    stubs = graph(y).find(name="x")
    assert [node.t for node in stubs] == [0, 1, 2]
    assert {node.tensor for node in stubs} == {0}


def test_a_constant_that_very_many_nodes_use_is_no_hub():
    mask, y = gz.tensor(np.ones((2, 3), np.float32), name="mask"), leaf()
    for _ in range(100):
        y = y * mask
    taken = graph(y)
    assert len(taken.find(name="mask")) == 100
    assert {node.tensor for node in taken.find(name="mask")} == {taken.find(name="mask")[0].tensor}


def test_outputs_of_a_node_with_several_are_told_apart():
    taken = graph(recurrent(2))
    first, second = taken.find(op="Cell")
    between = [edge for edge in taken.edges if (edge.source, edge.target) == (first.id, second.id)]
    assert [(edge.argument, edge.output) for edge in between] == [("h", 0), ("c", 1)]
    assert [spec.shape for spec in first.outputs] == [(2, 3), (2, 3)]


def test_the_structure_survives_the_backward_pass():
    loss = perceptron()
    before = graph(loss)
    loss.backward()
    after = graph(loss)
    assert all(node.released for node in after.nodes if node.role == "operation")
    assert not any(node.saved_bytes for node in after.nodes)
    assert after.edges == before.edges
    assert [dataclasses.replace(node, released=False, saved_bytes=0) for node in after.nodes] == [
        dataclasses.replace(node, saved_bytes=0) for node in before.nodes
    ]


def test_numbers_start_at_zero_each_time():
    assert graph(perceptron()) == graph(perceptron())


def test_a_graph_is_frozen_and_keeps_nothing_alive():
    loss = perceptron()
    taken = graph(loss)
    with pytest.raises(dataclasses.FrozenInstanceError):
        taken.nodes = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        taken.nodes[0].name = "other"
    recorded = weakref.ref(loss.node)
    del loss
    gc.collect()
    assert recorded() is None


def test_several_tensors_in_a_tree():
    x = leaf()
    y, z = x * 2, x + 1
    taken = graph({"out": (y, None), "state": [z, y]})
    assert [taken[id].op for id in taken.outputs] == ["Multiply", "Add"]
    assert len(taken.find(op="Input")) == 1


def test_find_takes_all_conditions_together():
    taken = graph(encoder_decoder())
    assert [node.t for node in taken.find(op="Cell", scope="encoder")] == [0, 1, 2]
    assert len(taken.find(op="Cell", t=1)) == 2
    assert [node.scope[-1].name for node in taken.find(op="Cell", t=1, scope="translator.decoder")] == ["decoder"]
    assert taken.find(scope="translator.cell") == ()
    assert taken.find(scope="code") == ()
    assert len(taken.find()) == len(taken)


def test_iteration_and_repr():
    taken = graph(recurrent(3))
    assert [node.id for node in taken] == list(range(len(taken)))
    assert repr(taken) == f"<Graph: {len(taken)} nodes, {len(taken.edges)} edges, 3 time steps>"
    assert repr(graph(leaf() * 2)) == "<Graph: 2 nodes, 1 edge>"


@pytest.mark.parametrize(
    ("outputs", "error", "said"),
    [
        (lambda x: (x * 2).detach(), gz.GradientError, "a tensor without a graph"),
        (lambda x: gz.tensor([1.0]), gz.GradientError, "float32 (1,)"),
        (lambda x: x, gz.GradientError, "got a leaf"),
        (lambda x: [x * 2, {"state": x.detach()}], gz.GradientError, "outputs[1]['state']"),
        (lambda x: 3.0, gz.ArgumentError, "float 3.0"),
        (lambda x: (x * 2, np.ones(2)), gz.ArgumentError, "outputs[1]"),
        (lambda x: [], gz.ArgumentError, "no tensor"),
        (lambda x: None, gz.ArgumentError, "no tensor"),
    ],
)
def test_what_has_no_graph_is_told(outputs, error, said):
    with pytest.raises(error) as raised:
        graph(outputs(leaf()))
    assert said in str(raised.value)
    assert "expected:" in str(raised.value)


def test_a_tensor_computed_without_recording_has_no_graph():
    with gz.no_grad():
        y = leaf() * 2
    with pytest.raises(gz.GradientError, match="no_grad"):
        graph(y)


def test_shared_nodes_are_visited_once():
    y = leaf()
    for _ in range(50):
        y = y + y  # 2^50 paths
    taken = graph(y)
    assert (len(taken), len(taken.edges)) == (51, 100)
    assert taken.to_dot().count("->") == 100


def test_long_chains_need_no_recursion():
    y = leaf()
    for _ in range(20_000):
        y = y * 1.0
    taken = graph(y)
    assert len(taken) == 20_001
    assert taken.to_dot().count("\n") == 20_001 + 20_000 + 5
    assert "×20,000" in taken.summary()
    assert taken.to_networkx().number_of_edges() == 20_000


def test_deep_boxes_need_no_recursion():
    y, boxes = leaf(), [gz.scope(f"box{depth}") for depth in range(1500)]
    for box in boxes:
        box.__enter__()
    y = y * 2
    for box in reversed(boxes):
        box.__exit__(None, None, None)
    taken = graph(y)
    assert taken.to_dot().count("subgraph") == 1500
    assert len(taken.summary().splitlines()) == 1500 + 6


# Where time steps are drawn -------------------------------------------------------------------------------------------


def boxes_around(taken: Graph, op: str) -> list[list[object]]:
    placed = paths(taken)
    return [[getattr(box, "name", box) for box in placed[node.id]] for node in taken.find(op=op)]


def test_an_unrolled_model_is_one_box_of_columns():
    taken = graph(recurrent(2))
    assert boxes_around(taken, "Cell") == [["Recurrent", 0], ["Recurrent", 1]]


def test_time_that_begins_anew_has_columns_in_each_box():
    taken = graph(encoder_decoder())
    assert boxes_around(taken, "Cell") == [
        *[["translator", "encoder", t] for t in range(3)],
        *[["translator", "decoder", t] for t in range(3)],
    ]


def test_a_model_called_at_each_step_and_a_loss_beside_it_share_columns():
    model, x = Perceptron(), leaf()
    for t in range(2):
        with gz.time_step(t):
            y = model(x) + 1
            x = Affine(2, 3)(y)
    taken = graph(x)
    assert boxes_around(taken, "Affine")[:3] == [
        [0, "Perceptron", "layers"],
        [0, "Perceptron", "layers"],
        [0],
    ]
    assert boxes_around(taken, "Input") == [[0]]


def test_two_directions_share_the_columns_of_their_box():
    cells, x, h = (Cell(3), Cell(3)), [leaf(), leaf()], zeros()
    with gz.scope("both"):
        for cell, order in zip(cells, ([0, 1], [1, 0]), strict=True):
            out, c = h, zeros()
            for t in order:
                with gz.time_step(t):
                    out, c = cell(x[t], out, c)
    assert boxes_around(graph(out), "Cell") == [["both", 1], ["both", 0]]


# networkx -------------------------------------------------------------------------------------------------------------


def test_networkx_export_keeps_every_use():
    networkx = pytest.importorskip("networkx")
    taken = graph(perceptron())
    net = taken.to_networkx()
    assert net.number_of_nodes() == len(taken)
    assert net.number_of_edges() == len(taken.edges)
    for source, target, slot, data in net.edges(keys=True, data=True):
        edge = next(edge for edge in taken.edges if (edge.target, edge.slot) == (target, slot))
        assert (source, data["argument"], data["shape"]) == (edge.source, edge.argument, edge.shape)
    assert networkx.is_directed_acyclic_graph(net)
    assert list(networkx.lexicographical_topological_sort(net)) == [node.id for node in taken]
    assert net.nodes[0]["role"] == taken[0].role
    assert net.graph["outputs"] == taken.outputs
