"""Losses against closed forms, central differences and PyTorch; with ignored targets, weights, ties and far logits."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch

REDUCTIONS = ["mean", "sum", "none"]
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) * scale


def chances(*shape: int, axis: int = -1, seed: int = 0) -> np.ndarray:
    """Positive numbers that sum to one along an axis."""
    x = np.exp(normal(*shape, seed=seed))
    return x / x.sum(axis=axis, keepdims=True)


def classes(*shape: int, count: int, ignored: int | None = None, seed: int = 0) -> np.ndarray:
    target = np.random.default_rng(seed).integers(0, count, shape)
    if ignored is not None and target.size:
        target.reshape(-1)[:: max(2, target.size // 2)] = ignored
    return target


def assert_definition(module: gz.Module, *inputs: np.ndarray) -> None:
    """The definition of a recorded loss against its rules: value and gradients."""
    tensors = [gz.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    again = [gz.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    loss = module(*tensors)
    definition = module.expand(loss.node, *again)
    np.testing.assert_allclose(definition.numpy(), loss.numpy(), 1e-12, 1e-13)
    dy = np.random.default_rng(7).normal(size=loss.shape)
    got = gz.grad(loss, [x for x in tensors if x.requires_grad], dy)
    expected = gz.grad(definition, [x for x in again if x.requires_grad], dy)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-10, 1e-12)


# Between numbers -----------------------------------------------------------------------------------------------------

DIFFERENCES: dict[str, tuple[Callable[..., gz.Module], Callable[..., gz.Tensor], str, dict[str, float]]] = {
    "mse": (gz.MSELoss, gz.mse_loss, "mse_loss", {}),
    "l1": (gz.L1Loss, gz.l1_loss, "l1_loss", {}),
    "huber": (gz.HuberLoss, gz.huber_loss, "huber_loss", {}),
    "huber_0.3": (gz.HuberLoss, gz.huber_loss, "huber_loss", {"delta": 0.3}),
}
each_difference = pytest.mark.parametrize("name", DIFFERENCES)


@each_difference
@each_reduction
@pytest.mark.parametrize("shape", [(4, 3), (5,), (), (2, 1, 3)])
def test_differences_like_torch(name: str, reduction: str, shape: tuple[int, ...]) -> None:
    module, function, peer, options = DIFFERENCES[name]
    torch = pytest.importorskip("torch")

    def theirs(x: Any, t: Any) -> Any:
        return getattr(torch.nn.functional, peer)(x, t, reduction=reduction, **options)

    x, t = normal(*shape, seed=1), normal(*shape, seed=2)
    order = 1 if name == "l1" else 2
    for ours in (module(reduction=reduction, **options), lambda x, t: function(x, t, reduction=reduction, **options)):
        assert_like_torch(ours, theirs, x, t, order=order)
        single = np.asarray(x, np.float32), np.asarray(t, np.float32)
        assert_like_torch(ours, theirs, *single, order=order, rtol=1e-5, atol=1e-6)


@each_difference
@each_reduction
def test_differences_by_central_differences_and_definition(name: str, reduction: str) -> None:
    module = DIFFERENCES[name][0](reduction=reduction, **DIFFERENCES[name][3])
    x, t = normal(4, 3, seed=1), normal(4, 3, seed=2)
    assert_gradients(module, x, t)
    assert_definition(module, x, t)


def test_differences_by_hand() -> None:
    x, t = gz.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True), np.array([1.0, 4.0, 2.5, 1.0], np.float32)
    d = np.array([0, -2, 0.5, 3])
    for loss, value, slope in (
        (gz.squared_error, (d**2).sum(), 2 * d),
        (gz.mse_loss, (d**2).mean(), d / 2),
        (gz.l1_loss, np.abs(d).mean(), [0, -0.25, 0.25, 0.25]),  # a tie has slope 0
        (gz.huber_loss, (0 + 1.5 + 0.125 + 2.5) / 4, [0, -0.25, 0.125, 0.25]),
    ):
        x.grad = None
        result = loss(x, t)
        result.backward()
        assert result.item() == pytest.approx(value)
        np.testing.assert_allclose(x.grad, slope, 1e-6)


def test_huber_goes_over_smoothly_at_delta() -> None:
    x = gz.tensor(np.array([2.0, -2.0, 1e4, -1e4]), requires_grad=True)
    losses = gz.huber_loss(x, np.zeros(4), "none", delta=2.0)
    losses.sum().backward()
    np.testing.assert_array_equal(losses.numpy(), [2, 2, 19998, 19998])
    np.testing.assert_array_equal(x.grad, [2, -2, 2, -2])


def test_squared_error_sums() -> None:
    x, t = normal(4, 3, seed=1), normal(4, 3, seed=2)
    assert_gradients(gz.SquaredError(), x, t)
    assert gz.SquaredError()(x, t).item() == pytest.approx(((t - x) ** 2).sum())


@pytest.mark.parametrize("function", [gz.mse_loss, gz.l1_loss, gz.huber_loss, gz.binary_cross_entropy_with_logits])
def test_mean_of_nothing_is_nan_and_integer_targets_are_taken_as_numbers(function: Callable[..., gz.Tensor]) -> None:
    x = gz.tensor(np.empty((0, 3)), requires_grad=True)
    loss = function(x, np.empty((0, 3)))
    assert np.isnan(loss.item())
    loss.backward()
    assert x.grad.shape == (0, 3)
    assert function(x, np.empty((0, 3)), reduction="sum").item() == 0
    logits = gz.tensor([0.5, -2.0])
    for target in (np.array([1, 0]), np.array([True, False])):
        result = function(logits, target)
        assert result.dtype == np.float32
        assert result.item() == function(logits, np.array([1.0, 0.0], np.float32)).item()


# Cross-entropy of probabilities ---------------------------------------------------------------------------------------


def test_cross_entropy_of_probabilities() -> None:
    x, p = chances(4, 3, seed=1), chances(4, 3, seed=2)
    assert gz.CrossEntropy()(x, p).item() == pytest.approx(-(p * np.log(x)).sum())
    assert_gradients(gz.CrossEntropy(), x, p)
    assert_definition(gz.CrossEntropy(), x, p)


def test_zero_probabilities() -> None:
    x = gz.tensor(np.array([0.0, 0.25, 0.75, 1.0]), requires_grad=True)
    p = gz.tensor(np.array([0.0, 1.0, 0.0, 0.0]), requires_grad=True)
    loss = gz.CrossEntropy()(x, p)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4))
    np.testing.assert_allclose(x.grad, [0, -4, 0, 0])
    np.testing.assert_allclose(p.grad, [0, math.log(4), -math.log(0.75), 0], atol=1e-15)
    assert_definition(gz.CrossEntropy(), x.numpy(), p.numpy())


def test_nothing_is_clamped() -> None:
    x = gz.tensor(np.array([0.0, 1e-300]), requires_grad=True)
    loss = gz.CrossEntropy()(x, np.array([0.5, 0.5]))
    loss.backward()
    assert loss.item() == math.inf
    np.testing.assert_array_equal(x.grad, [-math.inf, -0.5 / 1e-300])


def test_softmax_before_cross_entropy_gives_y_times_the_sum_of_p_less_p() -> None:
    # The well-known y - p holds only where p sums to 1.
    p = np.array([[0.2, 0.5, 0.9], [0.0, 1.0, 0.0]])
    x = gz.tensor(normal(2, 3), requires_grad=True)
    y = gz.softmax(x)
    gz.CrossEntropy()(y, p).backward()
    np.testing.assert_allclose(x.grad, y.numpy() * p.sum(axis=-1, keepdims=True) - p, 1e-10, 1e-12)


# Binary cross-entropy -------------------------------------------------------------------------------------------------


@each_reduction
@pytest.mark.parametrize("weight", [None, (3,), (4, 3)])
@pytest.mark.parametrize("pos_weight", [None, (), (3,)])
def test_binary_cross_entropy_like_torch(
    reduction: str, weight: tuple[int, ...] | None, pos_weight: tuple[int, ...] | None
) -> None:
    torch = pytest.importorskip("torch")
    w = None if weight is None else np.exp(normal(*weight, seed=3))
    p = None if pos_weight is None else np.exp(normal(*pos_weight, seed=4))

    def ours(x: Any, t: Any) -> Any:
        return gz.binary_cross_entropy_with_logits(x, t, w, reduction, p)

    def theirs(x: Any, t: Any) -> Any:
        return torch.nn.functional.binary_cross_entropy_with_logits(
            x,
            t,
            None if w is None else torch.tensor(w, dtype=x.dtype),
            reduction=reduction,
            pos_weight=None if p is None else torch.tensor(p, dtype=x.dtype),
        )

    x, t = normal(4, 3, scale=3), 1 / (1 + np.exp(-normal(4, 3, seed=1)))
    assert_like_torch(ours, theirs, x, t)
    assert_like_torch(ours, theirs, x.astype(np.float32), t.astype(np.float32), rtol=2e-5, atol=2e-6)
    module = gz.BCEWithLogitsLoss(w, reduction, p)
    assert_gradients(module, x, t)
    assert_definition(module, x, t)


def test_binary_cross_entropy_far_out_and_at_zero() -> None:
    x = gz.tensor(np.array([1e4, -1e4, 1e4, -1e4, 0.0]), requires_grad=True)
    losses = gz.binary_cross_entropy_with_logits(x, np.array([1, 0, 0, 1, 1]), reduction="none")
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), [0, 0, 1e4, 1e4, math.log(2)])
    np.testing.assert_array_equal(x.grad, [0, 0, 1, -1, -0.5])


# Classes --------------------------------------------------------------------------------------------------------------

SHAPES = [(4, 3), (3,), (2, 3, 4), (2, 3, 2, 2), (1, 1)]


def without_classes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def torch_class_loss(name: str, target: np.ndarray, weight: np.ndarray | None, **options: Any) -> Callable[..., Any]:
    torch = pytest.importorskip("torch")

    def theirs(x: Any) -> Any:
        w = None if weight is None else torch.tensor(weight, dtype=x.dtype)
        return getattr(torch.nn.functional, name)(x, torch.tensor(target), w, **options)

    return theirs


@each_reduction
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 0, None])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_classes_like_torch(
    reduction: str, shape: tuple[int, ...], weighted: bool, ignore_index: int | None, smoothing: float
) -> None:
    x, count = normal(*shape), shape[min(1, len(shape) - 1)]
    target = classes(*without_classes(shape), count=count, ignored=ignore_index)
    weight = np.linspace(0.5, 2, count) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    options |= {} if ignore_index is None else {"ignore_index": ignore_index}
    theirs = torch_class_loss("cross_entropy", target, weight, **options)
    if reduction == "mean" and (target == options.get("ignore_index", -100)).all():
        loss = gz.cross_entropy(gz.tensor(x, requires_grad=True), target, weight, **options)
        assert np.isnan(loss.item())  # there is a test of its own for this
        return
    assert_like_torch(lambda x: gz.cross_entropy(x, target, weight, **options), theirs, x, rtol=1e-9)
    assert_like_torch(
        lambda x: gz.cross_entropy(x, target, weight, **options), theirs, x.astype(np.float32), rtol=2e-5, atol=2e-6
    )
    assert_definition(gz.CrossEntropyLoss(weight, **options), x, target)


@each_reduction
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities_like_torch(
    reduction: str, shape: tuple[int, ...], weighted: bool, smoothing: float
) -> None:
    torch = pytest.importorskip("torch")
    axis = min(1, len(shape) - 1)
    weight = np.linspace(0.5, 2, shape[axis]) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}

    def ours(x: Any, p: Any) -> Any:
        return gz.cross_entropy(x, p, weight, **options)

    def theirs(x: Any, p: Any) -> Any:
        w = None if weight is None else torch.tensor(weight, dtype=x.dtype)
        return torch.nn.functional.cross_entropy(x, p, w, **options)

    x, p = normal(*shape), chances(*shape, axis=axis, seed=1)
    assert_like_torch(ours, theirs, x, p, rtol=1e-9)
    assert_like_torch(ours, theirs, x.astype(np.float32), p.astype(np.float32), rtol=2e-5, atol=2e-6)
    assert_definition(gz.CrossEntropyLoss(weight, **options), x, p)
    if smoothing == 0.2:
        assert_gradients(ours, x, p)


@each_reduction
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_nll_like_torch(reduction: str, shape: tuple[int, ...], weighted: bool, ignored: bool) -> None:
    axis = min(1, len(shape) - 1)
    target = classes(*without_classes(shape), count=shape[axis], ignored=-7 if ignored and len(shape) > 1 else None)
    target = np.where(np.arange(target.size).reshape(target.shape) == 0, 0, target)  # one that is not ignored
    weight = np.linspace(0.5, 2, shape[axis]) if weighted else None
    options = {"ignore_index": -7, "reduction": reduction}
    x = np.log(chances(*shape, axis=axis))
    theirs = torch_class_loss("nll_loss", target, weight, **options)
    assert_like_torch(lambda x: gz.nll_loss(x, target, weight, **options), theirs, x)
    module = gz.NLLLoss(weight, **options)
    assert_definition(module, x, target)
    assert_gradients(lambda x: module(x * x, target), x)  # a gradient that varies with dy, for the second order


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_central_differences(smoothing: float) -> None:
    module = gz.CrossEntropyLoss([0.5, 1, 2], ignore_index=1, label_smoothing=smoothing)
    target = np.array([[0, 1], [2, 2]])
    assert_gradients(lambda x: module(x, target), normal(2, 3, 2))
    assert_gradients(lambda x: module(x, target) + module(x * 2.0, target[::-1]) * 3.0, normal(2, 3, 2))
    assert gz.check(module, (normal(2, 3, 2), target))


def test_cross_entropy_is_log_softmax_and_nll() -> None:
    x, target = gz.tensor(normal(5, 4), requires_grad=True), classes(5, count=4, ignored=-100)
    weight = np.array([1, 0.5, 2, 3])
    one = gz.cross_entropy(x, target, weight)
    other = gz.nll_loss(gz.log_softmax(x), target, weight)
    assert one.item() == pytest.approx(other.item())
    np.testing.assert_allclose(gz.grad(one, x), gz.grad(other, x), 1e-12, 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_logits_ties_and_impossible_classes(dtype: Any) -> None:
    far = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -np.inf, 0]], dtype)
    x = gz.tensor(far, requires_grad=True)
    losses = gz.cross_entropy(x, np.array([0, 1, 2, 0]), reduction="none")
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), [0, 2e4, math.log(3), math.log(2)], 1e-6)
    third = 1 / 3
    expected = [[0, 0, 0], [1, -1, 0], [third, third, third - 1], [-0.5, 0, 0.5]]
    np.testing.assert_allclose(x.grad, expected, 1e-6, 1e-7)
    assert losses.dtype == x.grad.dtype == dtype


def test_zero_times_log_zero_is_zero_also_with_logits() -> None:
    x = gz.tensor(np.array([[0.0, -np.inf, 0.0]]), requires_grad=True)
    p = gz.tensor(np.array([[0.5, 0.0, 0.5]]), requires_grad=True)
    loss = gz.cross_entropy(x, p)
    assert loss.item() == pytest.approx(math.log(2))
    for create_graph in (True, False):  # by the definition, and by the rule
        dx, dp = (gz.tensor(g).numpy() for g in gz.grad(loss, (x, p), create_graph=create_graph))
        np.testing.assert_allclose(dx, [[0, 0, 0]], atol=1e-15)
        np.testing.assert_allclose(dp, [[math.log(2), 0, math.log(2)]])
    loss = gz.cross_entropy(x, np.array([0]), np.array([1.0, 0.0, 1.0]))  # masked logits, twice differentiable
    first = gz.grad(loss, x, create_graph=True)
    np.testing.assert_allclose(gz.grad(first[0, 0], x), [[0.25, 0, -0.25]])
    assert gz.cross_entropy(x, np.array([1])).item() == math.inf
    assert gz.cross_entropy(x, np.array([1, 0][:1]), np.array([1.0, 0.0, 1.0]), reduction="sum").item() == 0


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize("function", [gz.cross_entropy, gz.nll_loss])
def test_all_ignored(function: Callable[..., gz.Tensor], options: dict[str, Any]) -> None:
    if function is gz.nll_loss and options:
        return
    x = gz.tensor(normal(3, 4), requires_grad=True)
    loss = function(x, np.full(3, -100), **options)
    assert np.isnan(loss.item())
    loss.backward()
    np.testing.assert_array_equal(x.grad, np.zeros((3, 4)))  # as in PyTorch
    assert function(x, np.full(3, -100), reduction="sum", **options).item() == 0


@pytest.mark.parametrize("function", [gz.cross_entropy, gz.nll_loss])
def test_empty_batches(function: Callable[..., gz.Tensor]) -> None:
    for shape in ((0, 3), (0, 3, 2), (2, 3, 0)):
        x = gz.tensor(np.empty(shape), requires_grad=True)
        target = np.empty(without_classes(shape), int)
        loss = function(x, target)
        assert np.isnan(loss.item())
        loss.backward()
        assert x.grad.shape == shape
        assert function(x, target, reduction="none").shape == target.shape
    assert np.isnan(gz.cross_entropy(np.empty((0, 3)), np.empty((0, 3))).item())


def test_any_memory_layout_and_integer_dtype() -> None:
    base = normal(3, 4, 5)
    base.flags.writeable = False
    for values in (base.T, base[::-1, :, ::2], np.asfortranarray(base)):
        target = classes(*without_classes(values.shape), count=values.shape[1])
        for function in (gz.cross_entropy, gz.nll_loss):
            x, again = (gz.tensor(v, requires_grad=True) for v in (values, values.copy("C")))
            one = function(x, np.asfortranarray(target).astype(np.uint8))
            other = function(again, gz.tensor(target))
            assert one.item() == pytest.approx(other.item(), rel=1e-14)
            np.testing.assert_allclose(gz.grad(one, x), gz.grad(other, again), 1e-13, 1e-15)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 99), st.floats(-1e4, 1e4))
def test_cross_entropy_properties(samples: int, count: int, inner: int, seed: int, shift: float) -> None:
    shape = (samples, count, inner) if inner else (samples, count)
    x, target = normal(*shape, seed=seed), classes(*without_classes(shape), count=count, seed=seed)
    leaf = gz.tensor(x, requires_grad=True)
    loss = gz.cross_entropy(leaf, target)
    assert loss.item() >= 0
    assert gz.cross_entropy(x + shift, target).item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-10)
    np.testing.assert_allclose(gz.grad(loss, leaf).sum(axis=1), 0, atol=1e-12)
    one_hot = np.moveaxis(np.eye(count)[target], -1, 1)
    assert gz.cross_entropy(x, one_hot).item() == pytest.approx(loss.item(), rel=1e-12)


def test_what_is_kept_for_the_backward_pass() -> None:
    x, target = gz.tensor(normal(50, 30).astype(np.float32), requires_grad=True), classes(50, count=30)
    with gz.Tape() as tape:
        loss = gz.cross_entropy(x, target)
    assert loss.requires_grad
    assert tape.bytes_held <= x.numpy().nbytes + 3 * target.nbytes  # one array of the logits' size, no second one


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [gz.cross_entropy, gz.nll_loss])
def test_targets_that_are_no_classes(function: Callable[..., gz.Tensor]) -> None:
    x = normal(2, 3, 2)
    for target, wrong, place in (([[0, 1], [3, 0]], 3, "(1, 0)"), ([[0, -1], [2, 0]], -1, "(0, 1)")):
        with pytest.raises(gz.ArgumentError) as caught:
            function(x, np.array(target))
        message = str(caught.value)
        for part in (f"no class {wrong}", f"position {place}", "from 0 to 2", "3 of them", "-100 (ignore_index)"):
            assert part in message


@pytest.mark.parametrize("function", [gz.cross_entropy, gz.nll_loss])
def test_targets_of_wrong_dtypes_and_shapes(function: Callable[..., gz.Tensor]) -> None:
    x = normal(4, 3)
    with pytest.raises((gz.DtypeError, gz.ShapeError), match=r"np\.array\(target\) for a list"):
        function(x, [0, 1, 2, 0])
    with pytest.raises((gz.DtypeError, gz.ShapeError), match=r"target\.astype\(int\)"):
        function(x, np.array([0.0, 1.0, 2.0, 0.0]))
    with pytest.raises(gz.DtypeError, match="bool"):
        function(x, np.ones(4, bool))
    for shape in ((4, 1), (3,), (4, 3)):
        with pytest.raises(gz.ShapeError, match=r"expected: a target of shape \(4,\)"):
            function(x, np.zeros(shape, int))
    with pytest.raises(gz.ShapeError, match="axis of classes"):
        function(np.float64(1.0), np.zeros((), int))
    with pytest.raises(gz.ShapeError, match=r"2 weights(.|\n)*3 weights"):
        function(x, np.zeros(4, int), [1.0, 2.0])
    with pytest.raises(gz.ShapeError, match="one factor per class"):
        function(x, np.zeros(4, int), 2.0)


LOSSES = [gz.MSELoss, gz.L1Loss, gz.HuberLoss, gz.BCEWithLogitsLoss, gz.NLLLoss, gz.CrossEntropyLoss]


@pytest.mark.parametrize("kind", LOSSES)
def test_unknown_reductions(kind: Callable[..., gz.Module]) -> None:
    with pytest.raises(gz.ArgumentError, match=r"'avg'(.|\n)*'mean', 'sum' or 'none'"):
        kind(reduction="avg")


@pytest.mark.parametrize("kind", [gz.MSELoss, gz.SquaredError, gz.L1Loss, gz.HuberLoss, gz.CrossEntropy])
def test_shapes_never_broadcast(kind: Callable[..., gz.Module]) -> None:
    for module in (kind(), gz.BCEWithLogitsLoss()):
        with pytest.raises(gz.ShapeError) as caught:
            module(np.ones((4, 1)), np.ones(4))
        for part in (type(module).__name__, "(4, 1)", "(4,)", "reshape(4, 1)"):
            assert part in str(caught.value)


def test_other_arguments() -> None:
    with pytest.raises(gz.ArgumentError, match="delta must be positive"):
        gz.HuberLoss(delta=0)
    with pytest.raises(gz.ArgumentError, match="from 0 to 1"):
        gz.CrossEntropyLoss(label_smoothing=1.5)
    for name in ("weight", "pos_weight"):
        with pytest.raises(gz.ShapeError, match=rf"{name} does not broadcast(.|\n)*\(5, 4, 3\)"):
            gz.BCEWithLogitsLoss(**{name: np.ones((5, 4, 3))})(np.ones((4, 3)), np.ones((4, 3)))


def test_repr_and_state() -> None:
    assert repr(gz.MSELoss()) == "MSELoss(reduction='mean')"
    assert repr(gz.SquaredError()) == "SquaredError()"
    assert repr(gz.HuberLoss("sum", 0.5)) == "HuberLoss(reduction='sum', delta=0.5)"
    assert repr(gz.BCEWithLogitsLoss(pos_weight=[2.0])) == "BCEWithLogitsLoss(reduction='mean', pos_weight=...)"
    loss = gz.CrossEntropyLoss([1.0, 2.0], ignore_index=0, label_smoothing=0.1)
    assert repr(loss) == "CrossEntropyLoss(weight=..., ignore_index=0, reduction='mean', label_smoothing=0.1)"
    assert list(loss.state_dict()) == ["weight"]  # as in PyTorch, where weights are buffers
    assert gz.CrossEntropyLoss().state_dict() == {}
