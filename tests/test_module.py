"""The module contract: rules and models, what belongs to a module, its state, containers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.module import generator
from graphzoo.tape import Node


class Shift(gz.Module):
    """A rule with one parameter and one buffer (a count of its uses): y = x + shift."""

    parameter_names = ("shift",)
    buffer_names = ("count",)

    def __init__(self, size: int = 2, seed: int = 0) -> None:
        self.shift = gz.Parameter(np.random.default_rng(seed).standard_normal(size))
        self.count = np.zeros((), np.int64)

    def forward(self, node: Node, x: Any, shift: Any) -> Any:
        return x + shift

    def backward(self, node: Node, dy: Any) -> Any:
        return dy

    def parameter_gradients(self, node: Node, dy: Any) -> dict[str, Any]:
        return {"shift": dy.sum(axis=0)}

    def extra_repr(self) -> str:
        return f"size={self.shift.size}"


class Model(gz.Module):
    """A model that holds modules in every way there is."""

    def __init__(self) -> None:
        self.first = Shift(2)
        self.layers = [Shift(3, 1), (Shift(4, 2), {"deep": Shift(5, 3)})]
        self.by_name = {"a": Shift(1, 4)}
        self.own = gz.Parameter([1.0])
        self.scales = [gz.Parameter([2.0]), gz.Parameter([3.0])]
        self.width = 7

    def forward(self, x: Any) -> Any:
        return self.first(x)


# Rules and models of one's own ----------------------------------------------------------------------------------------


def test_a_rule_in_a_dozen_lines() -> None:
    class Softsign(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            node.saved = (x,)
            return x / (1 + np.abs(x))

        def backward(self, node: Node, dy: Any) -> Any:
            return dy / (1 + np.abs(node.saved[0])) ** 2

        def expand(self, node: Node, x: Any) -> Any:
            return x / (1 + abs(x))

    assert gz.check(Softsign(), np.array([[-2.0, -0.5, 0.7, 3.0]]))


def test_a_model_in_a_dozen_lines_learns() -> None:
    class Net(gz.Module):
        def __init__(self, rng: np.random.Generator) -> None:
            self.hidden = gz.Linear(2, 8, rng=rng)
            self.out = gz.Linear(8, 1, rng=rng)

        def forward(self, x: Any) -> Any:
            return self.out(np.tanh(self.hidden(x)))

    net = Net(np.random.default_rng(0))
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    losses = []
    for _ in range(400):
        error = net(x) - y
        loss = (error * error).mean()
        loss.backward()
        for parameter in net.parameters():
            parameter.data -= 0.3 * parameter.grad
        net.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_a_class_without_passes_cannot_be_called() -> None:
    class Empty(gz.Module):
        pass

    with pytest.raises(gz.UnsupportedError, match="Empty cannot be called"):
        Empty()(1.0)


def test_an_error_in_a_rule_says_where_and_what_was_given() -> None:
    class Strict(gz.Module):
        def forward(self, node: Node, x: Any) -> Any:
            raise KeyError("as planned")

        def backward(self, node: Node, dy: Any) -> Any:
            return dy

    with pytest.raises(KeyError) as caught:
        Strict()(np.zeros((2, 3)))
    assert caught.value.__notes__ == ["  in the forward pass of Strict, given float64 (2, 3)"]


def test_shapes_that_do_not_fit_are_told_with_the_module() -> None:
    module = Shift(2)
    with pytest.raises(gz.ShapeError) as caught:
        module(np.zeros((4, 3), np.float32))
    text = str(caught.value)
    assert "Shift" in text
    assert "float32 (4, 3), float32 (2,)" in text
    assert isinstance(caught.value, ValueError)


def test_inputs_may_be_arrays_numbers_or_lists() -> None:
    module = Shift(2)
    for value in (np.ones(2, np.float32), [1.0, 1.0], 1.0, gz.tensor([1.0, 1.0])):
        np.testing.assert_array_equal(module(value).numpy(), 1.0 + module.shift.numpy())
    with pytest.raises(gz.DtypeError) as caught:
        module("text")
    assert "  as an input of Shift" in caught.value.__notes__


def test_argument_names() -> None:
    class Many(gz.Module):
        def forward(self, node: Node, first: Any, *rest: Any) -> Any:
            return first

    assert [Shift().argument_name(i) for i in range(2)] == ["x", "shift"]
    assert [Many().argument_name(i) for i in range(3)] == ["first", "rest[0]", "rest[1]"]


# What belongs to a module ---------------------------------------------------------------------------------------------


def test_parameters_are_found_in_attributes_lists_and_dictionaries_at_any_depth() -> None:
    model = Model()
    assert [name for name, _ in model.named_parameters()] == [
        "own",
        "scales.0",
        "scales.1",
        "first.shift",
        "layers.0.shift",
        "layers.1.0.shift",
        "layers.1.1.deep.shift",
        "by_name.a.shift",
    ]
    assert len(list(model.parameters())) == 8
    assert [name for name, _ in model.named_buffers()][:2] == ["first.count", "layers.0.count"]
    assert sum(isinstance(module, Shift) for module in model.modules()) == 5
    assert next(iter(model.named_modules())) == ("", model)


def test_modules_know_the_name_they_have_in_the_model_around_them() -> None:
    model = Model()
    assert model.first.name == "first"
    assert model.layers[1][1]["deep"].name == "layers.1.1.deep"
    assert model.first.shift.name == "shift"


def test_a_list_that_grows_later_is_found_too() -> None:
    model = Model()
    model.layers.append(Shift())
    assert "layers.2.shift" in dict(model.named_parameters())


def test_shared_parameters_are_listed_once_and_saved_under_each_name() -> None:
    model = Model()
    model.second = model.first
    model.tied = Shift(2)
    model.tied.shift = model.first.shift
    names = [name for name, _ in model.named_parameters()]
    assert "first.shift" in names
    assert not {"second.shift", "tied.shift"} & set(names)
    state = model.state_dict()
    assert {"first.shift", "second.shift", "tied.shift"} <= set(state)
    assert list(model.modules()).count(model.first) == 1


def test_no_super_init_is_needed_and_modes_reach_everything() -> None:
    model = Model()
    assert model.training
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())


def test_freezing_and_zero_grad() -> None:
    model = Model()
    assert model.requires_grad_(False) is model
    assert not model(np.ones((1, 2), np.float32)).requires_grad
    model.requires_grad_()
    model(np.ones((1, 2), np.float32)).sum().backward()
    np.testing.assert_array_equal(model.first.shift.grad, [1.0, 1.0])
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_astype_converts_floats_in_place() -> None:
    model = Model()
    model.own.requires_grad = False
    before = model.state_dict()
    assert model.astype(np.float64) is model
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert model.first.count.dtype == np.int64
    assert not model.own.requires_grad
    assert model.first.shift.requires_grad
    assert model.first.shift.name == "shift"
    y = model(np.ones((1, 2)))
    assert y.dtype == np.float64
    y.sum().backward()
    assert model.first.shift.grad.dtype == np.float64
    model.astype(np.float32)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_astype_between_the_passes_loses_no_gradient() -> None:
    model = Shift(2)
    seen: list[Any] = []
    model.shift.register_hook(seen.append)
    model(np.ones((1, 2), np.float32)).sum().backward()
    y = model(np.ones((1, 2), np.float32))
    model.astype(np.float64)
    assert model.shift.grad.dtype == np.float64
    y.sum().backward()
    assert model.shift.grad.dtype == np.float64
    np.testing.assert_array_equal(model.shift.grad, [2.0, 2.0])
    assert len(seen) == 2


def test_repr_shows_the_tree() -> None:
    assert repr(Model()) == "\n".join(
        [
            "Model(",
            "  (first): Shift(size=2)",
            "  (layers.0): Shift(size=3)",
            "  (layers.1.0): Shift(size=4)",
            "  (layers.1.1.deep): Shift(size=5)",
            "  (by_name.a): Shift(size=1)",
            ")",
        ]
    )


# State ----------------------------------------------------------------------------------------------------------------


def test_a_state_goes_there_and_back() -> None:
    model, other = Model(), Model()
    for parameter in other.parameters():
        parameter.data += 1.0
    other.first.count = np.array(5)
    arrays = {name: parameter.numpy() for name, parameter in model.named_parameters()}
    model.load_state_dict(other.state_dict())
    for name, parameter in model.named_parameters():
        assert parameter.numpy() is arrays[name], "values are written where optimisers and ties look for them"
        np.testing.assert_array_equal(parameter.numpy(), dict(other.named_parameters())[name].numpy())
    assert model.first.count == 5
    state = model.state_dict()
    state["own"][...] = 99
    assert model.own.item() == 2.0


def test_a_state_is_cast_to_the_modules_dtype() -> None:
    model = Model()
    model.load_state_dict({name: array.astype(np.float64) for name, array in model.state_dict().items()})
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert model.first.count.dtype == np.int64


def test_a_state_that_does_not_fit_lists_everything_and_changes_nothing() -> None:
    model = Model()
    state = model.state_dict()
    state["own"] = np.array([50.0])
    state["frist.shift"] = state.pop("first.shift")
    state["layers.0.shift"] = np.zeros((3, 3))
    state["surprise"] = np.zeros(1)
    with pytest.raises(gz.StateError) as caught:
        model.load_state_dict(state)
    lines = str(caught.value).splitlines()
    assert lines[0] == "this state does not fit Model"
    assert "  missing     first.shift  (did you mean 'frist.shift'?)" in lines
    assert "  unexpected  frist.shift  (did you mean 'first.shift'?)" in lines
    assert "  unexpected  surprise" in lines
    assert "  misshapen   layers.0.shift: got (3, 3), expected (3,)" in lines
    assert len(lines) == 5
    assert model.own.item() == 1.0
    assert isinstance(caught.value, KeyError)


def test_values_that_are_no_numbers_change_nothing() -> None:
    model = Model()
    state = model.state_dict()
    state["own"] = np.array([50.0])
    state["by_name.a.shift"] = np.array(["text"])
    with pytest.raises(ValueError, match="text"):
        model.load_state_dict(state)
    assert model.own.item() == 1.0


def test_loading_between_the_passes_is_found() -> None:
    model = gz.Sequential(gz.Linear(2, 3, rng=0), gz.Tanh(), gz.Linear(3, 1, rng=1))
    loss = model(gz.tensor(np.ones((4, 2), np.float32), requires_grad=True)).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(gz.OverwrittenError, match=r"load_state_dict\(\)"):
        loss.backward()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_modules_are_copied_and_pickled_with_their_ties(again: Any) -> None:
    model = Model()
    model.tied = Shift(2)
    model.tied.shift = model.first.shift
    model.first.shift.requires_grad = False
    other = again(model)
    assert other.tied.shift is other.first.shift
    assert other.tied.shift is not model.first.shift
    assert not other.first.shift.requires_grad
    assert other.own.requires_grad
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in model.named_parameters()]
    other.own.data += 1.0
    assert model.own.item() == 1.0
    for name, array in model.state_dict().items():
        if name != "own":
            np.testing.assert_array_equal(other.state_dict()[name], array)


# Containers -----------------------------------------------------------------------------------------------------------


def test_a_sequence_of_modules() -> None:
    parts = [Shift(2, 0), Shift(2, 1)]
    chain = gz.Sequential(*parts)
    x = np.ones((1, 2), np.float32)
    np.testing.assert_allclose(chain(x).numpy(), x + parts[0].shift.numpy() + parts[1].shift.numpy())
    assert list(chain) == parts
    assert (len(chain), chain[0], chain[-1]) == (2, *parts)
    assert sorted(chain.state_dict()) == ["0.count", "0.shift", "1.count", "1.shift"]
    assert repr(chain) == "Sequential(\n  (0): Shift(size=2)\n  (1): Shift(size=2)\n)"
    with pytest.raises(gz.ArgumentError, match="Sequential holds modules"):
        gz.Sequential(Shift(2), np.tanh)


def test_a_container_of_ones_own_may_have_parameters() -> None:
    class Scaled(gz.Sequential):
        def __init__(self, *modules: gz.Module) -> None:
            super().__init__(*modules)
            self.scale = gz.Parameter([2.0])
            self.extra = Shift(2)

        def forward(self, x: Any) -> Any:
            return super().forward(x) * self.scale

    module = Scaled(Shift(2))
    assert sorted(name for name, _ in module.named_parameters()) == ["0.shift", "extra.shift", "scale"]


def test_lists_and_dictionaries_of_modules() -> None:
    class Holder(gz.Module):
        def __init__(self) -> None:
            self.steps = gz.ModuleList([Shift(1), Shift(2)]).append(Shift(3))
            self.heads = gz.ModuleDict({"a": Shift(4)})
            self.heads["b"] = Shift(5)

    holder = Holder()
    assert [name for name, _ in holder.named_parameters()] == [
        "steps.0.shift", "steps.1.shift", "steps.2.shift", "heads.a.shift", "heads.b.shift",
    ]  # fmt: skip
    assert [module.shift.size for module in holder.steps] == [1, 2, 3]
    assert (len(holder.steps), len(holder.heads), list(holder.heads)) == (3, 2, ["a", "b"])
    assert holder.steps[-1].shift.size == 3
    assert holder.heads["b"] is dict(holder.heads.items())["b"]
    assert list(holder.heads.keys()) == ["a", "b"]
    assert [module.shift.size for module in holder.heads.values()] == [4, 5]
    with pytest.raises(gz.ArgumentError, match="ModuleDict holds modules"):
        holder.heads["c"] = 3
    with pytest.raises(gz.UnsupportedError, match="cannot be called"):
        holder.heads(1.0)


def test_generators() -> None:
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    assert generator(3).random() == np.random.default_rng(3).random()
    assert generator(None).random() != generator(None).random()


def test_parameters_are_float32_unless_asked() -> None:
    assert gz.Parameter(np.zeros(2)).dtype == np.float32
    assert gz.Parameter(np.zeros(2), np.float64).dtype == np.float64
    assert gz.Parameter([1.0]).requires_grad
    assert not gz.Parameter([1.0], requires_grad=False).requires_grad


# Calls and references ---


def test_a_rule_takes_its_inputs_by_name() -> None:
    layer = gz.Linear(3, 2, rng=0)
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(layer(x=x).numpy(), layer(x).numpy())
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
        layer(x, weight=x)
    with pytest.raises(TypeError, match="missing a required argument: 'x2'"):
        gz.Bilinear(3, 3, 2, rng=0)(x1=x)


def test_a_list_of_outputs_is_several_outputs() -> None:
    class Halves(gz.Module):
        def forward(self, node, x):
            return [x[:1], x[1:]]

        def backward(self, node, dy):
            return np.concatenate([np.zeros(1) if d is None else d for d in dy])

    x = gz.tensor(np.array([1.0, 2.0]), requires_grad=True)
    first, second = Halves()(x)
    (3 * second).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 3]
    assert first.shape == (1,)


def test_a_reference_back_is_no_containment() -> None:
    class Child(gz.Module):
        def __init__(self, parent):
            self.layer = gz.Linear(2, 2, rng=0)
            self.parent = parent

    class Parent(gz.Module):
        def __init__(self):
            self.child = Child(self)

    parent = Parent()
    assert [name for name, _ in parent.named_parameters()] == ["child.layer.weight", "child.layer.bias"]
    assert "..." in repr(parent)


def test_a_detached_tensor_cannot_write_into_the_graph() -> None:
    x = gz.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    (y * y).sum().backward(retain_graph=True)
    with pytest.raises(gz.UnsupportedError, match="copy it first"):
        y.detach()[0] = 5.0
    gz.tensor(y.detach().numpy().copy())[0] = 5.0


@pytest.mark.parametrize("state", [None, "weights.npz", [1.0], gz.Linear(2, 3)])
def test_a_state_that_is_no_dictionary_is_refused(state: Any) -> None:
    with pytest.raises(gz.ArgumentError, match="takes a dictionary of arrays by name"):
        gz.Linear(2, 3).load_state_dict(state)
