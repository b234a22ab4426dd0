"""Optimisers against torch's over many steps, clipping, checkpoints to the bit, and every error.

torch computes the same rules in fused operations: values agree to rounding, which adds up a little over the steps.
"""

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphzoo as gz
from graphzoo import Parameter, optim, tensor
from graphzoo.errors import ArgumentError, GradientError, StateError, UnsupportedError

SHAPES = [(3, 5), (4,), (), (2, 1, 3), (0, 2)]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.5, "maximize": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adagrad", {"lr": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.8}),
    ("RMSprop", {"lr": 0.02, "eps": 1e-3, "momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.7, 0.8), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.6), "amsgrad": True}),
    ("Adam", {"lr": 0.05, "betas": (0.0, 0.9), "maximize": True, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.5, "amsgrad": True, "maximize": True}),
]
OPTIMIZERS = [optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW]


def parameters(rng: np.random.Generator, dtype: Any = np.float64) -> list[Parameter]:
    return [Parameter(rng.standard_normal(shape), dtype) for shape in SHAPES]


def give_gradients(params: list[Parameter], rng: np.random.Generator) -> list[np.ndarray]:
    """Sets gradients of very different sizes and returns them."""
    grads = [rng.standard_normal(p.shape) * 10.0 ** rng.integers(-3, 2) for p in params]
    for p, grad in zip(params, grads, strict=True):
        p.grad = grad
    return grads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_torch(name: str, options: dict[str, Any], dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    params = parameters(rng, dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
    optimizer = getattr(optim, name)(params, **options)
    reference = getattr(torch.optim, name)(theirs, **options)
    for step in range(60):
        grads = give_gradients(params, rng)
        for their, grad in zip(theirs, grads, strict=True):
            their.grad = torch.tensor(grad.astype(dtype))
        if step % 4 == 1:  # a parameter without gradient is skipped, and its count of steps stays behind
            params[0].grad = theirs[0].grad = None
        optimizer.step()
        reference.step()
    tolerance = 1e-12 if dtype == np.float64 else 3e-5
    for p, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.data, their.detach().numpy(), rtol=tolerance, atol=tolerance)
        assert p.data.dtype == dtype


@pytest.mark.parametrize(
    ("name", "shared", "own"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9}, [{"lr": 0.01}, {"momentum": 0.0, "weight_decay": 0.3}]),
        ("Adam", {"lr": 0.1}, [{"betas": (0.5, 0.5)}, {"amsgrad": True, "weight_decay": 0.3}]),
        ("RMSprop", {"alpha": 0.8}, [{"centered": True, "eps": 1e-2}, {"lr": 0.2}]),
    ],
)
def test_groups_have_options_of_their_own(name: str, shared: dict[str, Any], own: list[dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    params = parameters(rng)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]

    def grouped(tensors: list[Any]) -> list[dict[str, Any]]:
        return [{"params": tensors[:2], **own[0]}, {"params": tensors[2:4], **own[1]}]

    optimizer = getattr(optim, name)(grouped(params), **shared)
    reference = getattr(torch.optim, name)(grouped(theirs), **shared)
    for step in range(30):
        if step == 10:  # unfrozen later
            optimizer.add_param_group({"params": params[4:], "lr": 0.5})
            reference.add_param_group({"params": theirs[4:], "lr": 0.5})
        if step == 20:
            for group in (optimizer.param_groups[1], reference.param_groups[1]):
                group["lr"] = 0.003
        for their, grad in zip(theirs, give_gradients(params, rng), strict=True):
            their.grad = torch.tensor(grad)
        optimizer.step()
        reference.step()
    for p, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.data, their.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_defaults_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for kind in OPTIMIZERS:
        defaults = kind([Parameter([1.0])]).defaults
        theirs = getattr(torch.optim, kind.__name__)([torch.nn.Parameter(torch.zeros(1))]).defaults
        assert defaults == {key: theirs[key] for key in defaults}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_any_memory_layout_gives_the_same_values(kind: type[optim.Optimizer]) -> None:
    values, grad = np.random.default_rng(7).standard_normal((2, 4, 3))
    plain, transposed = Parameter(values, np.float64), Parameter(np.asfortranarray(values), np.float64)
    optimizers = [kind([plain], weight_decay=0.1), kind([transposed], weight_decay=0.1)]  # type: ignore[call-arg]
    for _ in range(3):
        plain.grad, transposed.grad = grad, np.asfortranarray(grad)
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_array_equal(plain.data, transposed.data)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_writes_in_place_says_so_and_leaves_the_gradient(kind: type[optim.Optimizer]) -> None:
    p = Parameter([1.0, 3.0])
    p.grad = np.array([0.5, -0.5])
    memory, before = p.data, p.source.written
    optimizer = kind([p], weight_decay=0.5)  # type: ignore[call-arg]
    optimizer.step()
    assert p.data is memory
    assert p.source.written > before
    assert p.source.writer == f"{kind.__name__}.step"
    np.testing.assert_array_equal(p.grad, [0.5, -0.5])
    assert (p.data != [1.0, 3.0]).all()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_model_may_change_its_dtype_in_the_middle(kind: type[optim.Optimizer]) -> None:
    model = gz.Linear(2, 3, rng=0)
    optimizer = kind(model.parameters())
    for dtype in (np.float32, np.float64, np.float32):
        model.astype(dtype)
        for p in model.parameters():
            p.grad = np.ones(p.shape)
        optimizer.step()
        assert {p.data.dtype for p in model.parameters()} == {np.dtype(dtype)}


def test_parameters_without_gradient_are_left_alone() -> None:
    p, q = Parameter([1.0]), Parameter([2.0])
    q.grad = np.array([1.0])
    optimizer = optim.AdamW([p, q], lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert p.data.tolist() == [1.0]
    assert p.source.written == 0
    assert optimizer.state_dict()["state"].keys() == {1}


def test_zero_grad() -> None:
    p, q, frozen = Parameter([1.0]), Parameter([2.0]), Parameter([3.0], requires_grad=False)
    optimizer = optim.SGD([p, q, frozen], lr=0.1)
    p.grad = np.array([4.0])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.tolist() == [0.0]
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


@given(
    values=hnp.arrays(np.float64, 4, elements=st.floats(-1e4, 1e4)),
    grads=hnp.arrays(np.float64, 4, elements=st.floats(-1e4, 1e4)),
    lr=st.floats(0, 10),
)
def test_plain_sgd_is_its_formula(values: np.ndarray, grads: np.ndarray, lr: float) -> None:
    p = Parameter(values.copy(), np.float64)
    p.grad = grads
    optim.SGD([p], lr=lr).step()
    np.testing.assert_array_equal(p.data, values - lr * grads)


@given(grads=hnp.arrays(np.float64, 5, elements=st.floats(1e-3, 1e4) | st.floats(-1e4, -1e-3)))
def test_the_first_step_of_adam_and_adagrad_is_the_sign(grads: np.ndarray) -> None:
    for kind in (optim.Adam, optim.Adagrad):
        p = Parameter(np.zeros(5), np.float64)
        p.grad = grads
        kind([p], lr=0.25, eps=0.0).step()
        np.testing.assert_allclose(p.data, -0.25 * np.sign(grads), rtol=1e-12)


# Checkpoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_resumed_run_is_the_same_to_the_bit(name: str, options: dict[str, Any]) -> None:
    kind = getattr(optim, name)
    rng = np.random.default_rng(8)
    params = parameters(rng, np.float32)
    optimizer = kind(params, **options)
    for _ in range(5):
        give_gradients(params, rng)
        optimizer.step()
    saved = copy.deepcopy((optimizer.state_dict(), [p.data for p in params], rng.bit_generator.state))
    for _ in range(5):
        give_gradients(params, rng)
        optimizer.step()

    state, values, rng.bit_generator.state = saved
    resumed = [Parameter(value) for value in values]
    other = kind(resumed, lr=123.0)  # options come from the state
    other.load_state_dict(state)
    for _ in range(5):
        give_gradients(resumed, rng)
        other.step()
    for p, q in zip(params, resumed, strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    assert repr(other) == repr(optimizer)


def test_a_state_is_a_copy_on_its_way_out_and_in() -> None:
    p = Parameter([1.0])
    p.grad = np.array([1.0])
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.step()
    state = optimizer.state_dict()
    other = optim.SGD([p], lr=0.1, momentum=0.9)
    other.load_state_dict(state)
    for _ in range(3):
        optimizer.step()
        other.step()
    assert state["state"][0]["momentum_buffer"].tolist() == [1.0]


def test_a_copied_optimizer_goes_its_own_way() -> None:
    p = Parameter([1.0])
    p.grad = np.array([1.0])
    optimizer = optim.SGD([p], lr=0.5, momentum=0.5)
    optimizer.step()
    other = copy.deepcopy(optimizer)
    (q,) = other.param_groups[0]["params"]
    q.grad = np.array([1.0])
    other.step()
    assert p.data.tolist() == [0.5]
    assert q.data.tolist() == [0.5 - 0.5 * 1.5]


def test_a_state_that_does_not_fit_says_all_that_is_wrong() -> None:
    p, q = Parameter(np.zeros((2, 3)), name="weight"), Parameter(np.zeros(2))
    for parameter in (p, q):
        parameter.grad = np.ones(parameter.shape)
    adam = optim.Adam([p, q])
    adam.step()
    state = adam.state_dict()
    del state["state"][0]["exp_avg"]
    state["state"][0]["exp_avg_sq"] = np.zeros((3, 2))
    state["state"][1]["velocity"] = np.zeros(2)
    state["state"][7] = {}
    with pytest.raises(StateError) as error:
        adam.load_state_dict(state)
    text = str(error.value)
    assert "state[0]: missing 'exp_avg'" in text
    assert "state[0]: 'exp_avg_sq' has shape (3, 2), the parameter 'weight' (2, 3)" in text
    assert "state[1]: unexpected 'velocity'" in text
    assert "state[7]: there are 2 parameters here" in text


def test_the_state_of_another_optimizer_is_refused_and_changes_nothing() -> None:
    p = Parameter([1.0])
    sgd, adam = optim.SGD([p], lr=0.5), optim.Adam([p], lr=0.25)
    before = adam.state_dict()
    with pytest.raises(StateError) as error:
        adam.load_state_dict(sgd.state_dict())
    assert "missing 'betas'" in str(error.value)
    assert "unexpected 'nesterov'" in str(error.value)
    assert adam.state_dict() == before
    with pytest.raises(StateError, match="missing key 'param_groups'"):
        adam.load_state_dict({"state": {}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda groups: groups.append(groups[0]), "2 parameter groups saved, 1 here"),
        (lambda groups: groups[0]["params"].append(1), "2 parameters saved, 1 here"),
        (lambda groups: groups[0].update(lr=-1.0), "lr must be a finite number ≥ 0"),
    ],
)
def test_groups_that_do_not_fit(change: Any, message: str) -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=0.1)
    state = optimizer.state_dict()
    change(state["param_groups"])
    with pytest.raises(StateError, match=message):
        optimizer.load_state_dict(state)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (optim.SGD, {"lr": -0.1}, "lr must be a finite number ≥ 0, got float -0.1"),
        (optim.SGD, {"lr": math.nan}, "lr must be a finite number"),
        (optim.SGD, {"lr": "fast"}, "lr must be a finite number"),
        (optim.SGD, {"lr": True}, "lr must be a finite number"),
        (optim.SGD, {"dampening": math.inf}, "dampening must be a finite number"),
        (optim.SGD, {"nesterov": True}, r"nesterov=True needs momentum > 0 and dampening = 0, got momentum=0.0"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "needs momentum > 0"),
        (optim.SGD, {"nesterov": 1}, "nesterov must be True or False"),
        (optim.Adam, {"betas": (0.9, 1.0)}, r"betas must be a pair of numbers in \[0, 1\)"),
        (optim.Adam, {"betas": 0.9}, "betas must be a pair"),
        (optim.AdamW, {"eps": -1.0, "weight_decay": -1.0}, "eps must be .*; weight_decay must be"),
        (optim.RMSprop, {"alpha": 1.5}, r"alpha must be a number in \[0, 1\)"),
        (optim.Adagrad, {"lr_decay": -1}, "lr_decay must be"),
    ],
)
def test_impossible_options(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind([Parameter([1.0])], **options)


def test_options_may_be_numpy_numbers() -> None:
    p = Parameter([1.0])
    p.grad = np.array([1.0])
    optim.Adam([p], lr=np.float64(0.25), betas=np.array([0.9, 0.99]), eps=np.float32(0)).step()  # type: ignore[arg-type]
    assert p.data.dtype == np.float32
    assert p.data.tolist() == pytest.approx([0.75])


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"'momentumm' \(did you mean 'momentum'\?\)"):
        optim.SGD([{"params": [Parameter([1.0])], "momentumm": 0.9}], lr=0.1)
    with pytest.raises(ArgumentError, match="parameter group 0 has no 'params'"):
        optim.SGD([{"lr": 0.1}])


def test_what_can_be_optimised() -> None:
    p = Parameter([1.0], name="weight")
    with pytest.raises(ArgumentError, match="SGD has no parameters"):
        optim.SGD(iter(()))
    with pytest.raises(ArgumentError, match="SGD has no parameters"):
        optim.SGD([{"params": []}])
    with pytest.raises(ArgumentError, match=r"a second time .*position 1(.|\n)*'weight'"):
        optim.SGD([p, p])
    with pytest.raises(ArgumentError, match="a second time"):
        optim.SGD([{"params": p}, {"params": [p]}])
    with pytest.raises(UnsupportedError, match=r"position 0(.|\n)*float64 \(2,\)"):
        optim.SGD([np.zeros(2)])  # type: ignore[list-item]
    with pytest.raises(UnsupportedError, match="fixed order"):
        optim.SGD({p})
    with pytest.raises(UnsupportedError, match="fixed order"):
        optim.SGD(3)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="never change a tensor without gradient"):
        optim.SGD([tensor([1.0])])
    assert optim.SGD(p).param_groups[0]["params"] == (p,)
    assert optim.SGD([tensor([1.0], requires_grad=True)]).param_groups
    assert optim.SGD([{"params": []}, {"params": p}]).param_groups
    assert "group 0: 1 tensors, 1 values, lr=0.001" in repr(optim.SGD([p]))


def test_a_computed_tensor_is_no_parameter() -> None:
    p = Parameter([1.0])
    with pytest.raises(UnsupportedError, match="only optimise leaves"):
        optim.SGD([p * 2])


# Clipping ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [2, 1, 0.5, 3, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipped_gradients_are_those_of_torch(norm_type: float, max_norm: float, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(9)
    params = parameters(rng, dtype)[:4]
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
    for their, grad in zip(theirs, give_gradients(params, rng), strict=True):
        their.grad = torch.tensor(grad.astype(dtype))
    norm = optim.clip_grad_norm([*params, Parameter([1.0])], max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    assert isinstance(norm, float)
    assert norm == pytest.approx(float(expected), rel=rtol)
    for p, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.grad, their.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize("size", [1e30, 1e-30])
@pytest.mark.parametrize("norm_type", [2, 3])
def test_the_norm_survives_squares_that_do_not(size: float, norm_type: float) -> None:
    p = Parameter(np.zeros((3, 4)))
    p.grad = np.full((3, 4), size)
    assert optim.clip_grad_norm(p, 1.0, norm_type) == pytest.approx(size * 12 ** (1 / norm_type), rel=1e-6)
    if size > 1:
        np.testing.assert_allclose(p.grad, 12 ** (-1 / norm_type), rtol=1e-5)


@pytest.mark.parametrize("bad", [[math.inf, 1.0], [math.nan, 1.0], [math.inf, math.nan]])
@pytest.mark.parametrize("norm_type", [2, 1, math.inf])
def test_norms_that_are_not_finite(bad: list[float], norm_type: float) -> None:
    torch = pytest.importorskip("torch")
    p, q, their = Parameter([0.0, 0.0], name="weight"), Parameter([2.0]), torch.nn.Parameter(torch.zeros(2))
    p.grad, q.grad, their.grad = np.array(bad), np.array([2.0]), torch.tensor(bad)
    with pytest.raises(GradientError, match=r"not finite in the gradient of weight \(position 0\)$|weight"):
        optim.clip_grad_norm([p, q], 1.0, norm_type, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad, bad)
    assert not math.isfinite(optim.clip_grad_norm([p, q], 1.0, norm_type))
    torch.nn.utils.clip_grad_norm_(their, 1.0, norm_type)
    np.testing.assert_array_equal(p.grad, their.grad.numpy())


def test_clipping_without_gradients() -> None:
    assert optim.clip_grad_norm([Parameter([1.0])], 1.0) == 0.0
    assert optim.clip_grad_norm([], 1.0) == 0.0
    p = Parameter([0.0, 0.0])
    p.grad = np.zeros(2)
    assert optim.clip_grad_norm(p, 1.0) == 0.0
    assert p.grad.tolist() == [0.0, 0.0]


def test_a_parameter_given_twice_counts_once() -> None:
    p = Parameter([0.0, 0.0])
    p.grad = np.array([3.0, 4.0])
    assert optim.clip_grad_norm([p, p], 2.5) == pytest.approx(5.0)
    np.testing.assert_allclose(p.grad, [1.5, 2.0], rtol=1e-5)


@given(
    grad=hnp.arrays(np.float64, 6, elements=st.floats(-1e6, 1e6)),
    max_norm=st.floats(1e-3, 1e3),
    norm_type=st.sampled_from([1.0, 2.0, math.inf]),
)
def test_clipping_never_turns_nor_lengthens(grad: np.ndarray, max_norm: float, norm_type: float) -> None:
    p = Parameter(np.zeros(6), np.float64)
    p.grad = grad.copy()
    norm = optim.clip_grad_norm(p, max_norm, norm_type)
    length = {
        1.0: lambda v: math.fsum(map(abs, v)),
        2.0: lambda v: math.hypot(*v),
        math.inf: lambda v: max(map(abs, v)),
    }[norm_type]
    assert norm == pytest.approx(length(grad), rel=1e-9, abs=1e-300)
    assert length(p.grad) <= max_norm * (1 + 1e-12)
    if norm < max_norm - 1e-5:
        np.testing.assert_array_equal(p.grad, grad)
    else:
        np.testing.assert_allclose(p.grad * norm, grad * length(p.grad), rtol=1e-9, atol=1e-9)


def test_clip_grad_value() -> None:
    p, q = Parameter([0.0] * 4), Parameter([0.0])
    p.grad = np.array([-3.0, 0.25, 7.0, math.nan])
    optim.clip_grad_value([p, q], 0.5)
    np.testing.assert_array_equal(p.grad, [-0.5, 0.25, 0.5, math.nan])
    assert q.grad is None


def test_clipping_errors() -> None:
    p = Parameter([1.0])
    with pytest.raises(ArgumentError, match="impossible max_norm"):
        optim.clip_grad_norm(p, -1.0)
    with pytest.raises(ArgumentError, match="impossible norm_type"):
        optim.clip_grad_norm(p, 1.0, 0)
    with pytest.raises(ArgumentError, match="impossible clip_value"):
        optim.clip_grad_value(p, math.nan)
    with pytest.raises(UnsupportedError, match="only be clipped on tensors"):
        optim.clip_grad_value([np.zeros(2)], 1.0)  # type: ignore[list-item]


# A run ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lr"),
    [
        (optim.SGD, 0.05),
        (optim.Adagrad, 0.5),
        (optim.RMSprop, 0.01),
        (optim.Adam, 0.05),
        (optim.AdamW, 0.05),
    ],
)
def test_a_least_squares_fit_through_the_engine(kind: Any, lr: float) -> None:
    rng = np.random.default_rng(10)
    x, true = rng.standard_normal((40, 3)), np.array([[1.0], [-2.0], [0.5]])
    weight = Parameter(np.zeros((3, 1)), np.float64)
    optimizer = kind([weight], lr=lr, weight_decay=0.0)
    for _ in range(400):
        optimizer.zero_grad()
        ((x @ weight - x @ true) ** 2).mean().backward()
        optimizer.step()
    np.testing.assert_allclose(weight.data, true, atol=0.02)
