"""What `gz.graph(loss, gradients=True)` notes of a backward pass, and its colours."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.graph.heat import BROKEN, SCALE, ZERO, Heat
from graphzoo.graph.statistics import Statistics, norm
from tests.graph.models import recurrent


def unrolled(steps: int = 5) -> tuple[gz.GRUCell, gz.Tensor, list[gz.Tensor]]:
    rng = np.random.default_rng(3)
    cell = gz.GRUCell(3, 4, rng=1).astype(np.float64)
    h, states = None, []
    for t in range(steps):
        with gz.time_step(t):
            h = cell(rng.normal(size=(2, 3)), h)
        states.append(h)
    return cell, (h * h).sum(), states


def test_by_hand() -> None:
    a = gz.tensor([3.0, 4.0], requires_grad=True, name="a")
    b = gz.Parameter([2.0, 0.0], name="b")
    taken = gz.graph((a * b).sum(), gradients=True)
    noted = taken.gradients
    stubs = {node.name: node.id for node in taken.nodes if node.name}
    assert [taken[id].op for id in noted.order] == ["Sum", "Multiply"]
    assert noted.nodes[stubs["a"]].norm == 2.0
    assert noted.nodes[stubs["a"]].zeros == 1
    assert noted.nodes[stubs["b"]].norm == 5.0
    assert noted.nodes[stubs["b"]].mean == 3.5
    assert noted.nodes[taken.find(op="Multiply")[0].id].norm == pytest.approx(math.sqrt(2))
    assert noted.cosines == {stubs["a"]: 1.0, stubs["b"]: 1.0}
    edge = next(i for i, edge in enumerate(taken.edges) if edge.argument == "a")
    assert noted.edges[edge].norm == 2.0


def test_states_and_contributions_are_those_of_the_engine() -> None:
    cell, loss, states = unrolled()
    taken = gz.graph(loss, gradients=True)
    uses = gz.contributions(loss, cell, retain_graph=True)
    for state in states:
        state.retain_grad()
    loss.backward()
    cells = {node.t: node for node in taken.find(op="GRUCell")}
    for t, state in enumerate(states):
        assert taken.gradients.nodes[cells[t].id].norm == pytest.approx(np.linalg.norm(state.grad))
    for name, parameter in cell.named_parameters():
        for stub in taken.find(name=name):
            contribution = uses[name][stub.t].gradient
            lengths = np.linalg.norm(contribution), np.linalg.norm(parameter.grad)
            assert taken.gradients.nodes[stub.id].norm == pytest.approx(lengths[0])
            if lengths[0] == 0:  # the first state is zero, and so is what its weights get
                assert stub.id not in taken.gradients.cosines
            else:
                cosine = np.sum(contribution * parameter.grad) / lengths[0] / lengths[1]
                assert taken.gradients.cosines[stub.id] == pytest.approx(cosine)
            assert taken.gradients.totals[stub.tensor] == pytest.approx(np.linalg.norm(parameter.grad))


def test_it_changes_nothing_and_a_backward_pass_can_follow() -> None:
    cell, loss, _ = unrolled()
    gz.graph(loss, gradients=True)
    assert all(parameter.grad is None for parameter in cell.parameters())
    loss.backward()
    assert all(parameter.grad is not None for parameter in cell.parameters())
    with pytest.raises(gz.ReleasedError):
        gz.graph(loss, gradients=True)


def test_what_no_gradient_reached_is_left_out() -> None:
    x = gz.tensor([1.0], requires_grad=True)
    _, second = gz.split(gz.stack([x, x * 2]), 2)
    unused = x * 5
    taken = gz.graph([second.sum()], gradients=True)
    assert all(id in taken.gradients.nodes for id in taken.gradients.order)
    both = gz.graph([second.sum(), (unused * 0).sum()], gradients=True)
    zero = both.find(op="Multiply")[1].id
    assert both.gradients.nodes[zero].norm == 0
    constants = [node.id for node in gz.graph(recurrent(2), gradients=True).nodes if node.role == "constant"]
    assert constants
    assert not set(constants) & set(gz.graph(recurrent(2), gradients=True).gradients.nodes)


def test_two_runs_are_equal_and_graphs_without_gradients_have_none() -> None:
    taken = [gz.graph(unrolled()[1], gradients=True) for _ in range(2)]
    assert taken[0] == taken[1]
    assert gz.graph(unrolled()[1]).gradients is None


def test_gradients_are_those_of_single_numbers() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(gz.ArgumentError, match=r"gradients are those of a loss(.|\n)*outputs\[1\]"):
        gz.graph([(x * 2).sum(), x * 2], gradients=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, 0.0, None, None, None, 0, 0, 0)),
        ([np.nan], (1, np.nan, None, None, None, 0, 1, 0)),
        ([0.0, 0.0], (2, 0.0, 0.0, 0.0, 0.0, 2, 0, 0)),
        ([1.0, -np.inf, np.nan], (3, np.nan, 1.0, 1.0, 1.0, 0, 1, 1)),
        ([1e200, 1e200], (2, math.sqrt(2) * 1e200, 1e200, 1e200, 1e200, 0, 0, 0)),
        ([[1.0, 2.0], [3.0, 6.0]], (4, math.sqrt(50), 3.0, 1.0, 6.0, 0, 0, 0)),
    ],
)
def test_statistics(values: list, expected: tuple) -> None:
    found = Statistics.of(np.array(values, np.float64))
    got = (found.size, found.norm, found.mean, found.low, found.high, found.zeros, found.nans, found.infs)
    for one, other in zip(got, expected, strict=True):
        assert one == other or (one != one and other != other) or one == pytest.approx(other)
    assert sum(found.histogram) == found.size - found.nans - found.infs


def test_norms_do_not_overflow() -> None:
    assert norm(np.full(4, 1e300)) == 2e300
    assert norm(np.full(4, 1e-300)) == pytest.approx(2e-300)
    assert math.isnan(norm(np.array([1.0, np.nan])))


def test_colours_run_along_the_scale() -> None:
    heat = Heat.of_norms([0.0, 1e-8, 1.0, math.inf, math.nan])
    assert (heat.low, heat.high) == (1e-8, 1.0)
    assert heat.colour(1e-8) == SCALE[0]
    assert heat.colour(1.0) == heat.colour(7.0) == SCALE[-1]
    assert heat.colour(0.0) == ZERO
    assert heat.colour(math.nan) == heat.colour(math.inf) == BROKEN
    norms = np.logspace(-8, 0, 30)
    lightness = [sum(int(heat.colour(value)[i : i + 2], 16) for i in (1, 3, 5)) for value in norms]
    assert lightness == sorted(lightness)
    assert Heat.of_norms([]).colour(1.0) == SCALE[-1]


def test_a_picture_in_colours_of_gradients() -> None:
    _, loss, _ = unrolled()
    taken = gz.graph(loss, gradients=True)
    picture = taken.to_svg(colour="gradient")
    heat = Heat.of(taken.gradients)
    for node in taken.find(op="GRUCell"):
        assert f'style="fill: {heat.colour(taken.gradients.nodes[node.id].norm)}"' in picture
    assert f"gradient norm {heat.low:.1e}" in picture
    folded = taken.to_svg(colour="gradient", fold=3)
    middle = math.hypot(*(taken.gradients.nodes[node.id].norm for node in taken.find(op="GRUCell") if 0 < node.t < 4))
    assert f"3 nodes\ngradient norm {middle:.4g}" in folded


def test_colours_of_gradients_need_gradients() -> None:
    _, loss, _ = unrolled()
    with pytest.raises(gz.ArgumentError, match=r"gz\.graph\(loss, gradients=True\)"):
        gz.graph(loss).to_svg(colour="gradient")
    with pytest.raises(gz.ArgumentError, match="unknown colours"):
        gz.graph(loss).to_svg(colour="rainbow")
