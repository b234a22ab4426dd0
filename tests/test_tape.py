"""The tape: nodes and their places, what is recorded where, what a Tape sees, repeated draws."""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.tape import Leaf, Node, Output, local, note_draw, replay, watch_draws


def leaf(values: Any) -> gz.Tensor:
    return gz.tensor(np.array(values, np.float64), requires_grad=True)


def in_thread(function: Callable[[], Any]) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


# Nodes ----------------------------------------------------------------------------------------------------------------


def test_a_node_points_back_only() -> None:
    x, c = leaf([1.0, 2.0]), gz.tensor([3.0, 4.0])
    y = x * c
    z = (y + 2.0).sum()
    assert isinstance(y.node, Node)
    assert y.node.inputs == (x.source, c.source)
    assert y.node.needs == (True, False)
    assert isinstance(c.source, Leaf)
    assert not c.source.requires_grad
    plus = z.node.parents[0]
    assert plus.inputs == (y.node, 2.0)
    assert plus.parents == (y.node,)
    assert (y.node.shape, y.node.dtype) == ((2,), np.float64)
    assert x.source.number < y.node.number < plus.number < z.node.number


def test_a_node_keeps_no_arrays_but_what_its_module_saved() -> None:
    x = leaf([1.0, 2.0])
    assert (x + x).node.saved in (None, ())
    y = x * 3.0
    assert not any(array is y.numpy() for array in y.node.saved)


def test_outputs_tell_shape_and_dtype() -> None:
    class Two(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            return x, x[:1].astype(np.float32)

        def backward(self, node: Node, dy: Any) -> Any:
            return dy[0]

    a, b = Two()(leaf([1.0, 2.0]))
    assert isinstance(b.source, Output)
    assert (b.source.shape, b.source.dtype) == ((1,), np.float32)
    assert (a.node, a.source.index) == (b.node, 0)
    assert (b * 2.0).node.parents == (a.node,)


def test_repr_of_sources() -> None:
    x = gz.tensor([1.0], requires_grad=True, name="x")
    assert repr(x.source) == "<input 'x' float32 (1,)>"
    assert repr(gz.Parameter([1.0]).source) == "<parameter float32 (1,)>"
    with gz.time_step(3):
        y = x * 2
    assert repr(y.node) == "Multiply (t=3)"
    y.name = "twice"
    assert repr(y.node) == "Multiply 'twice' (t=3)"
    assert y.name == "twice"


# Recording ------------------------------------------------------------------------------------------------------------


def test_nothing_is_recorded_without_a_gradient() -> None:
    y = gz.tensor([1.0]) * 2
    assert y.node is None
    assert not y.requires_grad


def test_no_grad_as_block_nested_and_after_an_error() -> None:
    x = leaf([1.0])
    with gz.no_grad():
        assert (x * 2).node is None
        with gz.enable_grad():
            assert (x * 2).node is not None
            with gz.no_grad():
                assert (x * 2).node is None
        assert (x * 2).node is None
        with pytest.raises(KeyError), gz.no_grad():
            raise KeyError
        assert (x * 2).node is None
    assert (x * 2).node is not None


def test_no_grad_as_decorator_recursive_too() -> None:
    x = leaf([1.0])

    @gz.no_grad()
    def function(depth: int) -> bool:
        return (x * 2).node is None and (depth == 0 or function(depth - 1)) and (x * 2).node is None

    assert function(3)
    assert (x * 2).node is not None


def test_recording_scopes_and_time_steps_belong_to_a_thread() -> None:
    x = leaf([1.0])
    with gz.no_grad(), gz.scope("here"), gz.time_step(5), gz.Tape() as tape:
        node = in_thread(lambda: (x * 2).node)
    assert node.scope == ()
    assert node.t is None
    assert len(tape) == 0


def test_threads_may_overlap_in_one_decorated_function() -> None:
    inside, leave = threading.Event(), threading.Event()
    also_inside, also_leave = threading.Event(), threading.Event()

    @gz.no_grad()
    def wait(entered: threading.Event, until: threading.Event) -> None:
        entered.set()
        assert until.wait(10)

    after: dict[str, bool] = {}

    def first() -> None:
        wait(inside, leave)
        after["first"] = local.context.recording

    def second() -> None:
        with gz.no_grad():
            assert inside.wait(10)
            wait(also_inside, also_leave)
            after["second"] = local.context.recording

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    assert also_inside.wait(10)
    leave.set()
    threads[0].join()
    also_leave.set()
    threads[1].join()
    assert after == {"first": True, "second": False}


def test_scopes_and_time_steps_nest_and_are_put_back() -> None:
    x = leaf([1.0])
    with gz.scope("outer"), gz.time_step(0):
        with gz.scope("inner"), gz.time_step(1):
            deep = (x * 2).node
        with pytest.raises(KeyError), gz.scope("failed"), gz.time_step(9):
            raise KeyError
        shallow = (x * 2).node
    outside = (x * 2).node
    assert ([s.name for s in deep.scope], deep.t) == (["outer", "inner"], 1)
    assert ([s.name for s in shallow.scope], shallow.t) == (["outer"], 0)
    assert (outside.scope, outside.t) == ((), None)


def test_scopes_and_time_steps_as_decorators() -> None:
    x = leaf([1.0])

    @gz.scope("f")
    @gz.time_step(2)
    def function(depth: int) -> Node:
        return function(depth - 1) if depth else (x * 2).node

    node = function(1)
    assert [s.name for s in node.scope] == ["f", "f"]
    assert node.t == 2
    assert (x * 2).node.scope == ()


def test_a_model_is_a_scope_and_a_rule_is_none() -> None:
    class Model(gz.Module):
        def __init__(self) -> None:
            self.inner = gz.Sequential(gz.Tanh())

        def forward(self, x: Any) -> Any:
            return self.inner(x) * 2

    y = Model()(leaf([1.0]))
    assert [(s.name, s.kind) for s in y.node.scope] == [("Model", "Model")]
    inner = y.node.parents[0]
    assert [(s.name, s.kind) for s in inner.scope] == [("Model", "Model"), ("inner", "Sequential")]


# Tape -----------------------------------------------------------------------------------------------------------------


def test_a_tape_lists_nodes_in_order_and_keeps_none_alive(no_cycles: None) -> None:
    x = leaf([1.0, 2.0])
    with gz.Tape() as tape:
        y = np.tanh(x * x).sum()
        x.detach() * 2
    assert [type(node.module).__name__ for node in tape] == ["Multiply", "Tanh", "Sum"]
    assert (len(tape), tape.live_nodes) == (3, 3)
    x * 2
    assert len(tape) == 3
    del y
    assert (len(tape), tape.live_nodes, tape.nodes) == (3, 0, [])


def test_nested_tapes_each_see_their_block() -> None:
    x = leaf([1.0])
    with gz.Tape() as outer:
        a = x * 2
        with gz.Tape() as inner:
            b = a * 2
        c = b * 2
    assert inner.nodes == [b.node]
    assert outer.nodes == [a.node, b.node, c.node]


def test_a_tape_entered_twice_sees_everything_once() -> None:
    x = leaf([1.0])
    with gz.Tape() as tape, tape:
        y = x * 2
    with tape:
        z = x * 3
    assert tape.nodes == [y.node, z.node]


def test_bytes_held_counts_each_buffer_once_until_release() -> None:
    x = leaf(np.ones((4, 5)))
    with gz.Tape() as tape:
        y = x * x
        z = np.tanh(y)
        total = (z * x[:2, 0].sum()).sum()
    buffers = {id(a): a.nbytes for a in (x.numpy(), z.numpy())}
    assert sum(buffers.values()) <= tape.bytes_held <= sum(buffers.values()) + 2 * x.numpy().nbytes
    total.backward()
    assert tape.bytes_held == 0
    assert tape.live_nodes == 6


def test_a_tape_shows_a_state_that_was_carried_on() -> None:
    w, state = leaf([0.5]), gz.tensor(np.array([1.0]))
    live = []
    with gz.Tape() as tape:
        for _ in range(4):
            state = np.tanh(w * state)
            live.append(tape.live_nodes)
    assert live == [2, 4, 6, 8]
    with gz.Tape() as tape:
        for _ in range(4):
            state = np.tanh(w * gz.detach_state(state))
            assert tape.live_nodes == 2


# Detaching ------------------------------------------------------------------------------------------------------------


def test_detach_state_goes_through_trees() -> None:
    Pair = namedtuple("Pair", "h c")
    h = leaf([1.0]) * 2
    tree = {"a": [h, (h, None)], "b": Pair(h, 3), "c": "text"}
    cut = gz.detach_state(tree)
    assert isinstance(cut["b"], Pair)
    assert isinstance(cut["a"], list)
    assert isinstance(cut["a"][1], tuple)
    assert (cut["b"].c, cut["c"], cut["a"][1][1]) == (3, "text", None)
    for tensor in (cut["a"][0], cut["a"][1][0], cut["b"].h):
        assert not tensor.requires_grad
        assert np.shares_memory(tensor.numpy(), h.numpy())
    assert h.requires_grad


# Repeated draws -------------------------------------------------------------------------------------------------------


def test_draws_are_noted_once_and_repeated() -> None:
    rng = np.random.default_rng(0)
    draws: dict[Any, Any] = {}
    note_draw(rng)  # nobody watches
    with watch_draws(draws):
        note_draw(rng)
        first = rng.random(3)
        note_draw(rng)
        second = rng.random(3)
    third_state = rng.bit_generator.state
    with replay(draws):
        assert local.context.replaying
        np.testing.assert_array_equal(rng.random(3), first)
        np.testing.assert_array_equal(rng.random(3), second)
    assert not local.context.replaying
    assert rng.bit_generator.state == third_state


def test_inner_watchers_tell_the_outer_ones() -> None:
    one, two = np.random.default_rng(1), np.random.default_rng(2)
    states = one.bit_generator.state, two.bit_generator.state
    outer: dict[Any, Any] = {}
    inner: dict[Any, Any] = {}
    with watch_draws(outer):
        note_draw(one)
        one.random()
        with watch_draws(inner):
            note_draw(one)
            one.random()
            note_draw(two)
            two.random()
    assert outer == {one: states[0], two: states[1]}
    assert inner[one] != states[0]


def test_time_steps_are_integers() -> None:
    with gz.time_step(np.int64(3)):
        assert (gz.tensor([1.0], requires_grad=True) * 2).node.t == 3
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        gz.time_step(1.5)
