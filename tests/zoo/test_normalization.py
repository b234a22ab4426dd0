"""Normalisation against central differences, its definition and PyTorch; running statistics."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.helpers import assert_like_torch, numeric_gradients

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def shaken(module: gz.Module) -> gz.Module:
    """The module in float64, with parameters and running statistics that are neither 0 nor 1."""
    module.astype(np.float64)
    for index, parameter in enumerate(module.parameters()):
        parameter.data = 1.5 + 0.5 * normal(*parameter.shape, seed=index)
    if getattr(module, "running_mean", None) is not None:
        module.running_mean = normal(module.num_features, seed=8)
        module.running_var = 0.5 + normal(module.num_features, seed=9) ** 2
    return module


# Every module, with an input that fits. The sizes differ, so that no axis can be taken for another; batch and spatial
# sizes lie on both sides of where the kernels change their way.
CASES = {
    "BatchNorm1d": (lambda: gz.BatchNorm1d(3), (5, 3)),
    "BatchNorm1d positions": (lambda: gz.BatchNorm1d(3), (2, 3, 4)),
    "BatchNorm1d without affine": (lambda: gz.BatchNorm1d(3, affine=False), (4, 3)),
    "BatchNorm1d evaluation": (lambda: gz.BatchNorm1d(3).eval(), (4, 3)),
    "BatchNorm1d without statistics": (lambda: gz.BatchNorm1d(3, track_running_stats=False).eval(), (4, 3)),
    "BatchNorm2d": (lambda: gz.BatchNorm2d(2), (2, 2, 3, 4)),
    "BatchNorm2d many positions": (lambda: gz.BatchNorm2d(2), (2, 2, 5, 7)),
    "BatchNorm2d evaluation": (lambda: gz.BatchNorm2d(2).eval(), (2, 2, 5, 7)),
    "BatchNorm3d": (lambda: gz.BatchNorm3d(2, eps=0.1), (2, 2, 2, 1, 3)),
    "LayerNorm": (lambda: gz.LayerNorm(4), (3, 4)),
    "LayerNorm two axes": (lambda: gz.LayerNorm((2, 3)), (2, 3, 2, 3)),
    "LayerNorm without bias": (lambda: gz.LayerNorm(4, bias=False), (3, 4)),
    "LayerNorm without affine": (lambda: gz.LayerNorm(4, elementwise_affine=False), (4,)),
    "RMSNorm": (lambda: gz.RMSNorm(4), (3, 2, 4)),
    "RMSNorm two axes": (lambda: gz.RMSNorm((2, 3), eps=0.1), (3, 2, 3)),
    "RMSNorm without affine": (lambda: gz.RMSNorm(4, elementwise_affine=False), (3, 4)),
    "GroupNorm": (lambda: gz.GroupNorm(2, 4), (3, 4, 5)),
    "GroupNorm images": (lambda: gz.GroupNorm(1, 4), (2, 4, 2, 3)),
    "GroupNorm without positions": (lambda: gz.GroupNorm(2, 6), (3, 6)),
    "InstanceNorm1d": (lambda: gz.InstanceNorm1d(3), (2, 3, 4)),
    "InstanceNorm1d one sample": (lambda: gz.InstanceNorm1d(3, affine=True), (3, 4)),
    "InstanceNorm2d": (lambda: gz.InstanceNorm2d(2, affine=True), (3, 2, 2, 3)),
    "InstanceNorm2d evaluation": (
        lambda: gz.InstanceNorm2d(2, affine=True, track_running_stats=True).eval(),
        (3, 2, 2, 3),
    ),
    "InstanceNorm3d": (lambda: gz.InstanceNorm3d(2, affine=True, track_running_stats=True), (2, 2, 1, 2, 3)),
}
every_case = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


@every_case
def test_all_passes_of_both_orders(make: Any, shape: tuple[int, ...]) -> None:
    assert gz.check(shaken(make()), 2 + 3 * normal(*shape))


def loss_by_hand(module: gz.Module, x: np.ndarray, dy: np.ndarray) -> Any:
    """L = Σ dy · module(x), as a function of x and of the parameters' values."""
    parameters = list(module.parameters())

    def loss(x: np.ndarray, *values: np.ndarray) -> float:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        return float((module(gz.tensor(x)).numpy() * dy).sum())

    return loss


@every_case
def test_gradients_are_central_differences(make: Any, shape: tuple[int, ...]) -> None:
    module, x, dy = shaken(make()), normal(*shape), normal(*shape, seed=1)
    leaf = gz.tensor(x.copy(), requires_grad=True)
    module(leaf).backward(dy)
    got = [leaf.grad, *(parameter.grad for parameter in module.parameters())]
    values = [x, *(parameter.numpy().copy() for parameter in module.parameters())]
    for one, other in zip(got, numeric_gradients(loss_by_hand(module, x, dy), values), strict=True):
        np.testing.assert_allclose(one, other, 1e-6, 1e-7)


@every_case
def test_frozen_parameters_and_constant_inputs(make: Any, shape: tuple[int, ...]) -> None:
    x, dy = normal(*shape), normal(*shape, seed=1)
    both, leaf = shaken(make()), gz.tensor(x, requires_grad=True)
    both(leaf).backward(dy)
    frozen, alone = shaken(make()).requires_grad_(False), gz.tensor(x, requires_grad=True)
    frozen(alone).backward(dy)
    np.testing.assert_allclose(alone.grad, leaf.grad, 1e-12)
    only = shaken(make())
    if any(True for _ in only.parameters()):
        only(gz.tensor(x)).backward(dy)
        for one, other in zip(only.parameters(), both.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, other.grad, 1e-12)


@every_case
def test_float32_readonly_and_strided_inputs(make: Any, shape: tuple[int, ...]) -> None:
    x = np.repeat(normal(*shape), 2, axis=-1)[..., ::2]
    x.flags.writeable = False
    module = shaken(make())
    expected = module(np.ascontiguousarray(x)).numpy()
    np.testing.assert_allclose(module(x).numpy(), expected, 1e-12)
    single = module.astype(np.float32)(gz.tensor(x.astype(np.float32), requires_grad=True))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.numpy(), expected, 1e-4, 1e-4)
    single.backward(np.ones(shape, np.float32))
    assert all(parameter.grad.dtype == np.float32 for parameter in module.parameters())


@every_case
def test_empty_batch(make: Any, shape: tuple[int, ...]) -> None:
    module = shaken(make())
    if len(shape) == 1 or (isinstance(module, gz.InstanceNorm1d) and len(shape) == 2):
        return  # no batch axis
    before = module.state_dict()
    x = gz.tensor(np.empty((0, *shape[1:])), requires_grad=True)
    y = module(x)
    y.backward(np.empty(y.shape))
    assert y.shape == x.grad.shape == x.shape
    for parameter in module.parameters():
        np.testing.assert_array_equal(parameter.grad, np.zeros(parameter.shape))
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@every_case
def test_parameters_count_each_use(make: Any, shape: tuple[int, ...]) -> None:
    module = shaken(make())
    total = [np.zeros(parameter.shape) for parameter in module.parameters()]
    for seed in (0, 1):
        module.zero_grad()
        module(gz.tensor(normal(*shape, seed=seed))).sum().backward() if total else None
        total = [a + p.grad for a, p in zip(total, module.parameters(), strict=True)]
    module.zero_grad()
    if total:
        (module(normal(*shape)) + module(normal(*shape, seed=1))).sum().backward()
        for one, other in zip(module.parameters(), total, strict=True):
            np.testing.assert_allclose(one.grad, other, 1e-10, 1e-12)


# PyTorch --------------------------------------------------------------------------------------------------------------


def assert_module_like_torch(ours: gz.Module, theirs: Any, *shape: int, order: int = 2) -> None:
    """Same values, first and second derivatives, for the input and for the parameters; same state afterwards."""
    torch = pytest.importorskip("torch")
    theirs = theirs.double()
    state = ours.state_dict()
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    assert list(theirs.state_dict()) == list(state)
    names = [name for name, _ in ours.named_parameters()]

    def with_parameters(*values: Any) -> Any:
        for name, value in zip(names, values[1:], strict=True):
            object.__setattr__(ours, name, value)
        return ours(values[0]) ** 2

    def functional(*values: Any) -> Any:
        return torch.func.functional_call(theirs, dict(zip(names, values[1:], strict=True)), values[0]) ** 2

    values = [state[name] for name in names]
    kept = [getattr(ours, name) for name in names]
    assert_like_torch(with_parameters, functional, normal(*shape), *values, order=order, rtol=1e-7, atol=1e-8)
    for name, parameter in zip(names, kept, strict=True):
        object.__setattr__(ours, name, parameter)
    for name in STATISTICS[:2]:
        if name in state:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name).numpy(), 1e-10)


@every_case
def test_like_torch(make: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours = shaken(make())
    options = {
        name: getattr(ours, name)
        for name in (
            "num_groups", "num_channels", "num_features", "normalized_shape", "eps", "momentum", "affine",
            "track_running_stats", "elementwise_affine",
        )
        if hasattr(ours, name)
    }  # fmt: skip
    if isinstance(ours, gz.LayerNorm):
        options["bias"] = ours.bias is not None
    theirs = getattr(torch.nn, type(ours).__name__)(**options).train(ours.training)
    assert_module_like_torch(ours, theirs, *shape)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.lists(st.integers(1, 6), max_size=3), st.booleans(), st.booleans(),
    st.sampled_from([1e-5, 0.1]), st.sampled_from([None, 0.0, 0.3, 1.0]),
)  # fmt: skip
def test_batch_norm_of_any_shape_like_torch(batch, channels, spatial, training, affine, eps, momentum) -> None:
    torch = pytest.importorskip("torch")
    if training and batch * int(np.prod(spatial)) == 1:
        batch = 2
    name = f"BatchNorm{max(len(spatial), 1)}d"
    ours = shaken(getattr(gz, name)(channels, eps, momentum, affine)).train(training)
    theirs = getattr(torch.nn, name)(channels, eps, momentum, affine).train(training)
    assert_module_like_torch(ours, theirs, batch, channels, *spatial)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 4), max_size=3), st.booleans())
def test_group_norm_of_any_shape_like_torch(batch, groups, per_group, spatial, affine) -> None:
    torch = pytest.importorskip("torch")
    shape = (batch, groups * per_group, *spatial)
    if int(np.prod(shape[1:])) // groups == 1:
        return  # one value per group; torch refuses some of these
    options = (groups, groups * per_group, 1e-3, affine)
    assert_module_like_torch(shaken(gz.GroupNorm(*options)), torch.nn.GroupNorm(*options), *shape, order=1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=2), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_layer_and_rms_norm_of_any_shape_like_torch(lead, features, affine, rms) -> None:
    torch = pytest.importorskip("torch")
    name = "RMSNorm" if rms else "LayerNorm"
    options = {"eps": 1e-2, "elementwise_affine": affine}
    ours, theirs = getattr(gz, name)(features, **options), getattr(torch.nn, name)(features, **options)
    assert_module_like_torch(shaken(ours), theirs, *lead, *features, order=2 if 0 not in lead else 1)


# Running statistics ---------------------------------------------------------------------------------------------------


def test_running_statistics_are_the_mean_and_the_unbiased_variance() -> None:
    x = normal(4, 3, 5) * 3 + 2
    norm = gz.BatchNorm1d(3, momentum=0.25).astype(np.float64)
    norm(x)
    np.testing.assert_allclose(norm.running_mean, 0.25 * x.mean(axis=(0, 2)), 1e-12)
    np.testing.assert_allclose(norm.running_var, 0.75 + 0.25 * x.var(axis=(0, 2), ddof=1), 1e-12)
    assert norm.num_batches_tracked == 1


def test_no_momentum_averages_all_batches() -> None:
    batches = normal(5, 4, 3)
    for norm in (gz.BatchNorm1d(3, momentum=None), gz.InstanceNorm1d(4, momentum=None, track_running_stats=True)):
        norm.astype(np.float64)
        for x in batches:
            norm(x)
    np.testing.assert_allclose(norm.running_mean, batches.mean(axis=(0, 2)), 1e-12)
    np.testing.assert_allclose(norm.running_var, batches.var(axis=2, ddof=1).mean(axis=0), 1e-10)
    norm.reset_running_stats()
    assert (norm.running_mean == 0).all()
    assert (norm.running_var == 1).all()
    assert norm.num_batches_tracked == 0


def test_evaluation_keeps_the_statistics_and_ignores_the_batch() -> None:
    norm = shaken(gz.BatchNorm1d(3))
    norm(normal(6, 3))
    before = norm.state_dict()
    alone = norm.eval()(normal(1, 3)).numpy()
    np.testing.assert_allclose(norm(np.repeat(normal(1, 3), 4, axis=0)).numpy(), np.repeat(alone, 4, axis=0), 1e-12)
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_gradients_use_the_statistics_of_their_own_use() -> None:
    norm, x = shaken(gz.BatchNorm1d(3)).eval(), gz.tensor(normal(4, 3), requires_grad=True)
    y = norm(x)
    factor = norm.weight.numpy() / np.sqrt(norm.running_var + norm.eps)
    norm.train()(5 + normal(9, 3))  # moves the running statistics
    np.testing.assert_allclose(gz.grad(y.sum(), x, retain_graph=True), np.broadcast_to(factor, (4, 3)), 1e-12)
    np.testing.assert_allclose(gz.grad(y.sum(), x, create_graph=True).numpy(), np.broadcast_to(factor, (4, 3)), 1e-12)


def test_checkpoint_moves_running_statistics_once() -> None:
    x = gz.tensor(normal(5, 3), requires_grad=True)
    plain, repeated = shaken(gz.BatchNorm1d(3)), shaken(gz.BatchNorm1d(3))
    (plain(x) ** 3).sum().backward()
    expected, x.grad = x.grad, None
    (gz.checkpoint(repeated, x) ** 3).sum().backward()
    np.testing.assert_allclose(x.grad, expected, 1e-12)
    for name in STATISTICS:
        np.testing.assert_array_equal(getattr(repeated, name), getattr(plain, name))


def test_statistics_are_part_of_the_state_and_not_learnt() -> None:
    norm = gz.Sequential(gz.Linear(2, 3, rng=0), gz.BatchNorm1d(3))
    norm(normal(6, 2).astype(np.float32))
    assert {f"1.{name}" for name in STATISTICS} <= set(norm.state_dict())
    assert {name for name, _ in norm[1].named_parameters()} == {"weight", "bias"}
    other = gz.Sequential(gz.Linear(2, 3), gz.BatchNorm1d(3))
    other.load_state_dict(norm.state_dict())
    np.testing.assert_array_equal(other.eval()(normal(1, 2)).numpy(), norm.eval()(normal(1, 2)).numpy())
    assert set(gz.BatchNorm1d(3, affine=False, track_running_stats=False).state_dict()) == set()
    assert norm.astype(np.float64)[1].running_var.dtype == np.float64
    assert norm[1].num_batches_tracked.dtype == np.int64


# Numbers far out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module", [gz.BatchNorm1d(3), gz.LayerNorm(40), gz.GroupNorm(1, 3), gz.InstanceNorm1d(3)], ids=repr
)
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_large_mean_leaves_the_variance_its_digits(module: gz.Module, offset: float) -> None:
    # Multiples of 1/8 around ±1e4 are exact in float32, so that all error is the module's own.
    x = (offset + np.round(8 * normal(64, 3, 40)) / 8).astype(np.float32)
    got = copy.deepcopy(module)(x).numpy()
    expected = copy.deepcopy(module).astype(np.float64)(x.astype(np.float64)).numpy()
    np.testing.assert_allclose(got, expected, atol=3e-3)


def test_constant_inputs_give_the_bias() -> None:
    for module, shape in ((gz.BatchNorm1d(3), (4, 3)), (gz.LayerNorm(3), (4, 3)), (gz.GroupNorm(3, 3), (4, 3, 2))):
        module.bias.data = np.array([1.0, 2.0, 3.0])
        x = gz.tensor(np.full(shape, 7.0), requires_grad=True)
        y = module(x)
        expected = np.broadcast_to(np.array([1.0, 2.0, 3.0]).reshape(3, *[1] * (len(shape) - 2)), shape)
        np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)
        y.sum().backward()
        np.testing.assert_allclose(x.grad, np.zeros(shape), atol=1e-4)


def test_nan_stays_in_its_group() -> None:
    x = normal(3, 4, 5)
    x[1, 2, 3] = np.nan
    cases = {
        gz.BatchNorm1d(4): np.s_[:, 2],
        gz.LayerNorm(5): np.s_[1, 2],
        gz.RMSNorm(5): np.s_[1, 2],
        gz.GroupNorm(2, 4): np.s_[1, 2:],
        gz.InstanceNorm1d(4): np.s_[1, 2],
    }
    for module, group in cases.items():
        missing = np.isnan(module(x).numpy())
        assert missing[group].all(), module
        missing[group] = False
        assert not missing.any(), module


def test_integers_are_normalised_as_numbers() -> None:
    x = np.arange(12).reshape(3, 4)
    np.testing.assert_allclose(
        gz.LayerNorm(4, eps=0)(x).numpy(), (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), 1e-6
    )


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "shape"),
    [(gz.BatchNorm1d(3), (1, 3)), (gz.BatchNorm2d(3), (1, 3, 1, 1)), (gz.BatchNorm1d(3), (1, 3, 1))],
)
def test_one_value_per_channel_has_no_variance(module: gz.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(gz.ShapeError, match=r"no variance(.|\n)*larger batch, or call eval\(\)"):
        module(np.ones(shape))
    assert module.num_batches_tracked == 0
    np.testing.assert_allclose(module.eval()(np.ones(shape)).numpy(), np.full(shape, 1 / np.sqrt(1 + 1e-5)), 1e-6)
    module.train()


def test_one_position_per_instance_has_no_variance() -> None:
    with pytest.raises(gz.ShapeError, match=r"channel of an instance(.|\n)*more than one position"):
        gz.InstanceNorm2d(3)(np.ones((4, 3, 1, 1)))


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (gz.BatchNorm1d(3), (4, 5), r"\(N, C\) or \(N, C, L\) with C = 3"),
        (gz.BatchNorm1d(3), (4, 3, 2, 2), r"\(N, C\) or \(N, C, L\)"),
        (gz.BatchNorm2d(3), (4, 3, 2), r"\(N, C, H, W\) with C = 3"),
        (gz.BatchNorm3d(3), (4, 3, 2, 2), r"\(N, C, D, H, W\)"),
        (gz.InstanceNorm1d(3), (4, 2, 5), r"\(C, L\) or \(N, C, L\) with C = 3"),
        (gz.GroupNorm(2, 4), (3, 6, 2), r"\(N, C, \*spatial\) with C = 4"),
        (gz.GroupNorm(2, 4), (4,), r"C = 4"),
        (gz.LayerNorm((2, 3)), (4, 3), r"\(\.\.\., 2, 3\)"),
        (gz.LayerNorm((2, 3)), (3,), r"\(\.\.\., 2, 3\)"),
        (gz.RMSNorm(3), (3, 4), r"\(\.\.\., 3\)"),
    ],
)
def test_inputs_that_do_not_fit(module: gz.Module, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(gz.ShapeError, match=f"does not fit its input(.|\n)*{expected}"):
        module(np.ones(shape))


@pytest.mark.parametrize(
    "make",
    [
        lambda: gz.BatchNorm2d(0),
        lambda: gz.BatchNorm2d(3, eps=-1.0),
        lambda: gz.BatchNorm2d(3, momentum=1.5),
        lambda: gz.GroupNorm(3, 4),
        lambda: gz.GroupNorm(0, 4),
        lambda: gz.LayerNorm(()),
        lambda: gz.LayerNorm((2, 0)),
        lambda: gz.RMSNorm(4, eps=float("nan")),
        lambda: gz.InstanceNorm1d(-1),
    ],
)
def test_impossible_settings(make: Any) -> None:
    with pytest.raises(gz.ArgumentError):
        make()


def test_repr() -> None:
    assert repr(gz.BatchNorm2d(4)) == "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    assert repr(gz.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05, affine=True)"
    assert repr(gz.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"
    assert repr(gz.RMSNorm(4)) == "RMSNorm((4,), eps=None, elementwise_affine=True)"
