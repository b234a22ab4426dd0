"""Convolutions and separable convolutions against central differences, closed forms, their definition and PyTorch."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.kernels import convolution as kernels
from graphzoo.kernels import spectra
from graphzoo.kernels.grid import Geometry
from tests.helpers import assert_gradients, numeric_gradients

CONVS = {1: gz.Conv1d, 2: gz.Conv2d, 3: gz.Conv3d}


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def by_hand(x: np.ndarray, w: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int = 1) -> np.ndarray:
    """The sum of the definition, entry by entry: what lies outside x counts as zero."""
    axes = w.ndim - 2
    settings = zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in settings]
    y = np.zeros((len(x), len(w), *out))
    for s, place, k in itertools.product(range(len(w)), np.ndindex(*out), np.ndindex(*w.shape[2:])):
        at = tuple(stride[a] * place[a] + dilation[a] * k[a] - padding[a] for a in range(axes))
        if all(0 <= at[a] < x.shape[2 + a] for a in range(axes)):
            first = s // (len(w) // groups) * w.shape[1]
            y[(slice(None), s, *place)] += x[(slice(None), slice(first, first + w.shape[1]), *at)] @ w[(s, ..., *k)]
    return y


@st.composite
def cases(draw: Any, axes: int | None = None, most: int = 3, batch: int = 0) -> dict[str, Any]:
    """Settings and an input shape for which there is an output."""
    axes = axes or draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, stride, dilation, padding = each(1, most), each(1, 4), each(1, 3), each(0, 3)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(1, span - 2 * p) + draw(st.integers(0, 4)) for span, p in zip(spans, padding, strict=True))
    groups = draw(st.integers(1, 3))
    return {
        "shape": (draw(st.integers(batch, 3)), groups * draw(st.integers(1, 2)), *size),
        "out_channels": groups * draw(st.integers(1, 2)),
        "options": {
            "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
            "bias": draw(st.booleans()),
        },
        "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


def assert_like_torch(
    module: gz.Module, kind: str, arguments: Any, options: Any, x: np.ndarray, order: int = 1
) -> None:
    """Values and gradients of x and all parameters; with order 2 those of the gradients' scalar product, too."""
    torch = pytest.importorskip("torch")
    peer = getattr(torch.nn, kind)(*arguments, **options, dtype=getattr(torch, str(x.dtype)))
    assert list(peer.state_dict()) == list(module.state_dict())
    peer.load_state_dict({name: torch.tensor(array) for name, array in module.state_dict().items()})
    ours, theirs = gz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, yt = module(ours), peer(theirs)
    assert y.shape == tuple(yt.shape)
    assert y.dtype == x.dtype
    leaves, peers = [ours, *module.parameters()], [theirs, *peer.parameters()]
    dy = normal(*y.shape, seed=7).astype(x.dtype)
    got = gz.grad(y, leaves, gradient=dy, create_graph=order > 1)
    right = torch.autograd.grad(yt, peers, torch.tensor(dy), create_graph=order > 1)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if x.dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(y.numpy(), yt.detach().numpy(), **tolerance)
    for a, b in zip(got, right, strict=True):
        np.testing.assert_allclose(a.numpy() if order > 1 else a, b.detach().numpy(), **tolerance)
        assert a.dtype == x.dtype
    if order > 1:
        seconds = gz.grad(sum((g * g).sum() for g in got), leaves[:2])
        rights = torch.autograd.grad(sum((g * g).sum() for g in right), peers[:2])
        for a, b in zip(seconds, rights, strict=True):
            np.testing.assert_allclose(a, b.numpy(), **tolerance)


# Values and gradients ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(cases(most=2))
def test_values_are_the_sum_of_the_definition(case: dict[str, Any]) -> None:
    options = case["options"]
    module = CONVS[len(case["shape"]) - 2](case["shape"][1], case["out_channels"], **options, rng=1).astype(np.float64)
    x = normal(*case["shape"], seed=case["seed"])
    expected = by_hand(x, module.weight.numpy(), *(options[n] for n in ("stride", "padding", "dilation", "groups")))
    if options["bias"]:
        expected += module.bias.numpy().reshape(-1, *(1,) * (x.ndim - 2))
    np.testing.assert_allclose(module(x).numpy(), expected, 1e-10, 1e-10)


@settings(deadline=None, max_examples=120)
@given(cases())
def test_first_order_like_torch(case: dict[str, Any]) -> None:
    axes = len(case["shape"]) - 2
    arguments = (case["shape"][1], case["out_channels"])
    module = CONVS[axes](*arguments, **case["options"], rng=1).astype(np.float64)
    assert_like_torch(module, f"Conv{axes}d", arguments, case["options"], normal(*case["shape"], seed=case["seed"]))


@settings(deadline=None, max_examples=25)
@given(cases(most=2, batch=1))
def test_second_order_like_torch(case: dict[str, Any]) -> None:
    axes = len(case["shape"]) - 2
    arguments = (case["shape"][1], case["out_channels"])
    module = CONVS[axes](*arguments, **case["options"], rng=1).astype(np.float64)
    x = normal(*case["shape"], seed=case["seed"])
    assert_like_torch(module, f"Conv{axes}d", arguments, case["options"], x, order=2)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(2, 0, 1), "same", "valid"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_modes_like_torch(axes: int, padding: Any, mode: str) -> None:
    options = {
        "kernel_size": (2, 3, 4)[-axes:], "padding": padding if isinstance(padding, str) else padding[:axes],
        "padding_mode": mode,
    }  # fmt: skip
    module = CONVS[axes](3, 2, **options, rng=1).astype(np.float64)
    assert_like_torch(module, f"Conv{axes}d", (3, 2), options, normal(2, 3, *(4, 5, 6)[:axes]), order=2)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_keeps_the_size_and_puts_the_odd_zero_behind(kernel: int, dilation: int) -> None:
    options = {"kernel_size": kernel, "dilation": dilation, "padding": "same"}
    module = gz.Conv1d(2, 3, **options, rng=0).astype(np.float64)
    assert module(normal(2, 2, 5)).shape == (2, 3, 5)
    assert_like_torch(module, "Conv1d", (2, 3), options, normal(2, 2, 5))


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (((16, 12), (33, 17)), {"kernel_size": 3, "padding": 1}),
        (((16, 12), (33, 17)), {"kernel_size": 5, "padding": 4, "dilation": 2}),
        (((8, 12), (9, 40)), {"kernel_size": 3, "stride": 2, "padding": 1}),
        (((24, 24), (28, 28)), {"kernel_size": 3, "padding": 1, "groups": 24}),
        (((24, 48), (20, 20)), {"kernel_size": 3, "padding": 1, "groups": 24, "stride": 2}),
        (((24, 12), (9, 9)), {"kernel_size": 1}),
        (((24, 12), (9, 9)), {"kernel_size": 1, "stride": 3}),
        (((24, 12), (9, 9)), {"kernel_size": 1, "padding": 2, "groups": 4}),
        (((200, 12), (7, 7)), {"kernel_size": 3, "padding": 1}),
        (((3, 8), (70, 70)), {"kernel_size": 7, "stride": 4, "padding": 3}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_of_common_sizes_like_torch(sizes: Any, options: dict[str, Any], dtype: Any) -> None:
    # Large enough for several parts of the flat grid, and of its groups.
    (channels, outputs), size = sizes
    module = gz.Conv2d(channels, outputs, **options, rng=0).astype(dtype)
    assert_like_torch(module, "Conv2d", (channels, outputs), options, normal(5, channels, *size, dtype=dtype))


@pytest.mark.parametrize(
    "module",
    [
        gz.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, rng=0),
        gz.Conv2d(4, 8, 2, padding=1, groups=4, rng=0),
        gz.Conv2d(4, 3, 1, bias=False, rng=0),
        gz.Conv2d(4, 3, 1, stride=(2, 3), rng=0),
        gz.Conv2d(4, 3, (2, 3), padding="same", padding_mode="circular", rng=0),
        gz.Conv2d(4, 2, 2, stride=3, padding=2, padding_mode="reflect", rng=0),
        gz.SeparableConv2d(4, 3, (3, 2), stride=(1, 2), padding=(1, 0), rng=0),
        gz.SeparableConv2d(4, 3, 2, dilation=2, padding=2, bias=False, padding_mode="replicate", rng=0),
    ],
    ids=repr,
)
def test_checked_to_second_order(module: gz.Module) -> None:
    assert gz.check(module, normal(2, 4, 5, 4))


@pytest.mark.parametrize("module", [gz.Conv1d(3, 2, 3, stride=2, padding=1, rng=0), gz.SeparableConv1d(3, 2, 3, rng=0)])
@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 5), (0, 3, 5), (1, 3, 3)])
def test_sequences_checked_to_second_order(module: gz.Module, shape: tuple[int, ...]) -> None:
    assert gz.check(module, normal(*shape))


def test_volumes_checked() -> None:
    assert gz.check(gz.Conv3d(2, 3, (1, 2, 2), (2, 1, 3), (0, 1, 1), rng=0), normal(2, 2, 3, 2, 4))


def test_gradients_by_central_differences_used_twice() -> None:
    module = gz.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=1, rng=0).astype(np.float64)
    x = normal(2, 2, 3, 4)

    def loss(x: Any) -> Any:
        return (module(x) ** 2).sum() + (module(x * 0.5) ** 3).sum()

    leaf = gz.tensor(x, requires_grad=True)
    loss(leaf).backward()

    def value(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
        module.weight.data, module.bias.data = weight, bias
        return loss(gz.tensor(x)).item()

    got = [leaf.grad, module.weight.grad, module.bias.grad]
    arrays = [x.copy(), module.weight.numpy().copy(), module.bias.numpy().copy()]
    for gradient, expected in zip(got, numeric_gradients(value, arrays), strict=True):
        np.testing.assert_allclose(gradient, expected, 1e-6, 1e-7)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders_against_central_differences(mode: str) -> None:
    module = gz.Conv2d(1, 2, 3, padding=(2, 3), padding_mode=mode, rng=0).astype(np.float64)
    assert_gradients(lambda t: module(t) ** 2, normal(2, 1, 3, 4))


def test_correlation_is_a_dot_product_with_the_unflipped_kernel() -> None:
    module = gz.Conv1d(1, 1, 3)
    module.weight.data = [[[1, 10, 100]]]
    module.bias.data = [0.5]
    np.testing.assert_array_equal(module(np.array([[[1.0, 2, 3, 4]]])).numpy(), [[[321.5, 432.5]]])


# Corners -------------------------------------------------------------------------------------------------------------


def test_an_image_without_a_batch_axis() -> None:
    for module in (gz.Conv2d(3, 2, 3, padding=1, rng=0), gz.SeparableConv2d(3, 2, 3, padding=1, rng=0)):
        module.astype(np.float64)
        x = normal(3, 4, 5)
        np.testing.assert_allclose(module(x).numpy(), module(x[None]).numpy()[0], 1e-12)
        assert gz.check(module, x)


@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"stride": 2}, {"groups": 2}, {"padding_mode": "reflect", "padding": 1}]
)
def test_empty_batch(options: dict[str, Any]) -> None:
    for kernel in (1, 3):
        module = gz.Conv2d(2, 4, kernel, **options)
        x = gz.tensor(np.empty((0, 2, 5, 6), np.float32), requires_grad=True)
        y = module(x)
        assert y.shape[:2] == (0, 4)
        y.sum().backward()
        assert x.grad.shape == x.shape
        np.testing.assert_array_equal(module.weight.grad, np.zeros_like(module.weight.numpy()))
        np.testing.assert_array_equal(module.bias.grad, np.zeros(4))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_any_memory_layout(kernel: int, groups: int) -> None:
    module = gz.Conv2d(4, 4, kernel, padding=kernel // 2, groups=groups, rng=0).astype(np.float64)
    base = normal(6, 7, 8, 3)
    base.flags.writeable = False
    views = (
        base.T[:, ::2],
        base.transpose(3, 2, 0, 1)[::-1, 1::2, ::-1],
        np.broadcast_to(normal(4, 1, 1), (2, 4, 5, 6)),
    )
    for x in views:
        plain = gz.tensor(np.array(x), requires_grad=True)
        leaf = gz.tensor(x, requires_grad=True)
        dy = np.broadcast_to(np.array([1.0, 2, 3, 4]).reshape(4, 1, 1), (len(x), 4, *x.shape[2:]))
        module.zero_grad()
        expected = module(plain)
        expected.backward(dy.copy())
        weight = module.weight.grad.copy()
        module.zero_grad()
        y = module(leaf)
        y.backward(dy)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-12)
        np.testing.assert_allclose(leaf.grad, plain.grad, 1e-12)
        np.testing.assert_allclose(module.weight.grad, weight, 1e-12)
        np.testing.assert_allclose(module.bias.grad, np.array([1, 2, 3, 4]) * dy[:, 0].size)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{"groups": 1}, {"groups": 3}, {"stride": 2}])
def test_what_is_not_finite_stays_where_it_belongs(wrong: float, options: dict[str, Any]) -> None:
    module = gz.Conv2d(3, 6, 3, padding=1, **options, rng=0).astype(np.float64)
    x = normal(2, 3, 5, 4)
    x[1, 2, 0, 3] = wrong  # a corner: only some taps ever see it
    leaf = gz.tensor(x, requires_grad=True)
    y = module(leaf)
    clean = np.where(np.isfinite(x), x, 0)
    reached = by_hand(~np.isfinite(x) * 1.0, np.ones((6, 3, 3, 3)), module.stride, (1, 1), (1, 1)) > 0
    reached &= (np.arange(6) >= 4)[:, None, None] | (module.groups == 1)
    np.testing.assert_array_equal(np.isfinite(y.numpy()), ~reached)
    np.testing.assert_allclose(y.numpy()[~reached], module(clean).numpy()[~reached])
    dy = normal(*y.shape, seed=2)
    y.backward(dy)
    assert np.isfinite(leaf.grad).all()
    bad = module.weight.grad.copy()
    module.zero_grad()
    module(clean).backward(dy)
    seen = np.zeros((6, 3, 3, 3), bool)  # the corner (0, 3) lies under these entries of the kernel only
    for s, k in itertools.product(range(6), np.ndindex(3, 3)):
        n = [place + 1 - offset for place, offset in zip((0, 3), k, strict=True)]
        inside = all(v % t == 0 and 0 <= v // t < m for v, t, m in zip(n, module.stride, y.shape[2:], strict=True))
        seen[(s, 2, *k)] = inside
    if module.groups == 3:
        seen = seen[:, 2:] & (np.arange(6) >= 4)[:, None, None, None]
    np.testing.assert_array_equal(np.isfinite(bad), ~seen)
    np.testing.assert_allclose(bad[~seen], module.weight.grad[~seen])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_weight_that_is_not_finite_spoils_only_what_it_reaches(stride: int) -> None:
    module = gz.Conv1d(2, 3, 3, stride=stride, padding=1, rng=0).astype(np.float64)
    x = gz.tensor(normal(1, 2, 6), requires_grad=True)
    y = module(x)
    module.zero_grad()
    y.backward(np.ones(y.shape))
    right = x.grad.copy()
    weight = module.weight.numpy().copy()
    weight[1, 0, 0] = np.nan
    module.weight.data = weight
    x.grad = None
    y = module(x)
    y.backward(np.ones(y.shape))
    reached = np.zeros((1, 2, 6), bool)
    for n in range(y.shape[2]):
        if 0 <= stride * n - 1 < 6:
            reached[0, 0, stride * n - 1] = True
    np.testing.assert_array_equal(np.isnan(x.grad), reached)
    np.testing.assert_allclose(x.grad[~reached], right[~reached])


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_far_values(scale: float) -> None:
    module = gz.Conv2d(3, 4, 3, padding=1, rng=0)
    x = (scale * normal(2, 3, 6, 7)).astype(np.float32)
    expected = by_hand(x.astype(np.float64), module.weight.numpy().astype(np.float64), (1, 1), (1, 1), (1, 1))
    expected += module.bias.numpy().reshape(-1, 1, 1)
    np.testing.assert_allclose(module(x).numpy(), expected, 1e-4, 1e-5 * scale)


def test_saves_only_what_is_needed() -> None:
    for module in (gz.Conv2d(2, 3, 3, rng=0), gz.SeparableConv2d(2, 3, 3, rng=0)):
        x = gz.tensor(normal(2, 2, 5, 5, dtype=np.float32))
        saved = module(x).node.saved
        assert saved[0] is x.numpy()
        assert saved[1] is None  # no gradient for x, no need of the weight
        module.requires_grad_(False)
        assert module(x).node is None
        assert module(gz.tensor(x.numpy(), requires_grad=True)).node.saved[0] is None


@pytest.mark.parametrize("kind", [gz.Conv2d, gz.SeparableConv2d])
def test_each_parameter_frozen_on_its_own(kind: Any) -> None:
    x = gz.tensor(normal(2, 2, 4, 5, dtype=np.float32), requires_grad=True)
    whole = kind(2, 3, 3, padding=1, rng=0)
    whole(x).sum().backward()
    for name, parameter in whole.named_parameters():
        for with_x in (True, False):
            module = kind(2, 3, 3, padding=1, rng=0).requires_grad_(False)
            getattr(module, name).requires_grad = True
            leaf = gz.tensor(x.numpy(), requires_grad=with_x)
            module(leaf).sum().backward()
            for other, value in module.named_parameters():
                assert (value.grad is not None) == (other == name)
            np.testing.assert_allclose(getattr(module, name).grad, parameter.grad, 1e-5, 1e-6)
            if with_x:
                np.testing.assert_allclose(leaf.grad, x.grad, 1e-5, 1e-6)


def test_several_uses_and_an_integer_input() -> None:
    module = gz.Conv1d(1, 1, 2, rng=0)
    x = np.arange(5).reshape(1, 1, 5)
    module(x).sum().backward()
    once = module.weight.grad.copy()
    (module(x).sum() + module(gz.tensor(x)).sum()).backward()
    np.testing.assert_allclose(once, [[[6, 10]]])
    np.testing.assert_allclose(module.weight.grad, 3 * once)


@settings(deadline=None, max_examples=60)
@given(cases(most=4))
def test_the_three_passes_are_one_trilinear_form(case: dict[str, Any]) -> None:
    # <dy, x ∗ w> = <x, adjoint(dy, w)> = <w, gradient(x, dy)>: whichever way the products are taken.
    options, shape = case["options"], case["shape"]
    module = CONVS[len(shape) - 2](shape[1], case["out_channels"], **options)
    geometry = module._geometry(shape)
    x, w = normal(*shape), normal(*module.weight.shape, seed=1)
    y = kernels.correlate(x, w, geometry, module.groups)
    dy = normal(*y.shape, seed=2)
    value = (dy * y).sum()
    np.testing.assert_allclose((x * kernels.correlate_adjoint(dy, w, geometry, module.groups)).sum(), value, 1e-8, 1e-8)
    np.testing.assert_allclose((w * kernels.kernel_gradient(x, dy, geometry, module.groups)).sum(), value, 1e-8, 1e-8)


# Separable -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.one_of(cases(axes=1), cases(axes=2)))
def test_separable_is_depthwise_then_pointwise(case: dict[str, Any]) -> None:
    shape = case["shape"]
    axes = len(shape) - 2
    kind = {1: gz.SeparableConv1d, 2: gz.SeparableConv2d}[axes]
    options = {name: value for name, value in case["options"].items() if name != "groups"}
    module = kind(shape[1], case["out_channels"], **options, rng=1).astype(np.float64)
    torch = pytest.importorskip("torch")
    spread = {**options, "bias": False, "groups": shape[1]}
    first = getattr(torch.nn, f"Conv{axes}d")(shape[1], shape[1], **spread, dtype=torch.float64)
    second = getattr(torch.nn, f"Conv{axes}d")(
        shape[1], case["out_channels"], 1, bias=options["bias"], dtype=torch.float64
    )
    first.load_state_dict({"weight": torch.tensor(module.depthwise_weight.numpy())})
    state = {"weight": torch.tensor(module.pointwise_weight.numpy())}
    if options["bias"]:
        state["bias"] = torch.tensor(module.bias.numpy())
    second.load_state_dict(state)
    x = normal(*shape, seed=case["seed"])
    ours, theirs = gz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, yt = module(ours), second(first(theirs))
    np.testing.assert_allclose(y.numpy(), yt.detach().numpy(), 1e-9, 1e-10)
    dy = normal(*y.shape, seed=3)
    y.backward(dy)
    yt.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), 1e-9, 1e-10)
    expected = [p.grad.numpy() for p in (*first.parameters(), *second.parameters())]
    for parameter, right in zip(module.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.grad, right, 1e-9, 1e-10)


def test_separable_state() -> None:
    module = gz.SeparableConv2d(3, 5, (3, 2))
    assert {name: array.shape for name, array in module.state_dict().items()} == {
        "depthwise_weight": (3, 1, 3, 2), "pointwise_weight": (5, 3, 1, 1), "bias": (5,),
    }  # fmt: skip


# Construction and errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "fan"),
    [(gz.Conv2d(8, 40, (3, 5), groups=2, rng=0), 4 * 15), (gz.Conv1d(8, 60, 4, rng=0), 32)],
    ids=repr,
)
def test_initial_values_fill_their_range(module: gz.Module, fan: int) -> None:
    bound = 1 / math.sqrt(fan)
    for parameter in module.parameters():
        values = parameter.numpy()
        assert values.dtype == np.float32
        assert 0.8 * bound < np.abs(values).max() <= bound
    weight = module.weight.numpy()
    np.testing.assert_allclose([weight.mean(), weight.std()], [0, bound / math.sqrt(3)], atol=0.05 * bound)


def test_seeds() -> None:
    first, second = gz.Conv2d(3, 2, 3, rng=7), gz.Conv2d(3, 2, 3, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    assert not np.array_equal(gz.Conv2d(3, 2, 3).weight.numpy(), gz.Conv2d(3, 2, 3).weight.numpy())


def test_output_size_that_is_not_positive_shows_the_formula() -> None:
    with pytest.raises(gz.ShapeError) as caught:
        gz.Conv2d(3, 2, (3, 5), stride=2, padding=(1, 0), dilation=2)(np.zeros((1, 3, 9, 7), np.float32))
    for part in (
        "(1, 3, 9, 7)",
        "size 7",
        "⌊(7 + 0 + 0 − 2·(5 − 1) − 1)/2⌋ + 1 = 0",
        "to be positive",
        "smaller kernel",
    ):
        assert part in str(caught.value)
    assert (
        gz.Conv2d(3, 2, (3, 5), stride=2, padding=(1, 1), dilation=2)(np.zeros((1, 3, 9, 7), np.float32)).shape[3] == 1
    )


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: gz.Conv2d(0, 2, 3), ("Conv2d: in_channels must be positive", "0")),
        (lambda: gz.Conv2d(4, 6, 3, groups=4), ("groups must divide", "groups=4", "a divisor of 2")),
        (lambda: gz.Conv2d(4, 6, 3, groups=0), ("groups must divide",)),
        (lambda: gz.Conv2d(4, 6, (3, 3, 3)), ("kernel_size", "(3, 3, 3)", "2 of them")),
        (lambda: gz.Conv2d(4, 6, 3, stride=0), ("stride", "0", "1 or more")),
        (lambda: gz.Conv2d(4, 6, 3, padding=-1), ("padding", "-1", "0 or more")),
        (lambda: gz.Conv2d(4, 6, 3, padding=0.5), ("padding", "0.5")),
        (lambda: gz.Conv2d(4, 6, 3, dilation=0), ("dilation",)),
        (lambda: gz.Conv2d(4, 6, 3, padding="full"), ("'full'", "'same'", "'valid'")),
        (lambda: gz.Conv2d(4, 6, 3, padding="same", stride=(1, 2)), ("'same'", "stride=(1, 2)", "stride 1")),
        (lambda: gz.Conv2d(4, 6, 3, padding_mode="constant"), ("'constant'", "zeros, reflect")),
        (lambda: gz.SeparableConv1d(4, 6, 3, padding_mode="mirror"), ("SeparableConv1d", "'mirror'")),
    ],
)
def test_impossible_settings(make: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(gz.ArgumentError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)


def test_inputs_that_do_not_fit() -> None:
    module = gz.Conv2d(3, 2, 3)
    with pytest.raises(gz.ShapeError, match=r"8 channels in(.|\n)*3 channels, on axis 1(.|\n)*in_channels=8"):
        module(np.zeros((2, 8, 5, 5), np.float32))
    with pytest.raises(gz.ShapeError, match=r"on axis 0"):
        module(np.zeros((5, 5, 5), np.float32))
    with pytest.raises(gz.ShapeError, match=r"2 spatial axes(.|\n)*\(N, 3, H, W\)"):
        module(np.zeros((3, 5), np.float32))
    with pytest.raises(gz.ShapeError, match=r"\(N, 3, L\)"):
        gz.Conv1d(3, 2, 3)(np.zeros(3, np.float32))
    model = gz.Sequential(gz.Conv2d(3, 4, 3), gz.Conv2d(3, 4, 3))
    with pytest.raises(gz.ShapeError, match=r"^1 does not fit"):  # the layer's name in the model
        model(np.zeros((1, 3, 9, 9), np.float32))


@pytest.mark.parametrize(("mode", "most"), [("reflect", 3), ("circular", 4)])
def test_borders_can_only_be_as_wide_as_there_are_entries(mode: str, most: int) -> None:
    x = normal(1, 2, 4)
    assert gz.Conv1d(2, 1, 3, padding=most, padding_mode=mode)(x).shape == (1, 1, 2 + 2 * most)
    with pytest.raises(gz.ShapeError, match=rf"padding {most + 1} for size 4(.|\n)*at most {most}"):
        gz.Conv1d(2, 1, 3, padding=most + 1, padding_mode=mode)(x)


def test_repr() -> None:
    assert repr(gz.Conv2d(3, 8, 3)) == "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"
    full = gz.Conv1d(4, 8, 3, 2, "valid", 2, 4, False, "reflect")
    assert repr(full) == (
        "Conv1d(4, 8, kernel_size=(3,), stride=(2,), padding='valid', dilation=(2,), groups=4, "
        "padding_mode='reflect', bias=False)"
    )


# Wide kernels ---------------------------------------------------------------------------------------------------------


WIDE = [
    # size, kernel, padding, groups
    ((25, 24), (21, 20), (10, 9), 1),
    ((22, 30), (20, 25), (0, 3), 2),
    ((21, 21), (21, 21), (20, 0), 2),
    ((500,), (401,), (200,), 1),
    ((9, 8, 10), (8, 8, 7), (2, 0, 3), 1),
]


@pytest.mark.parametrize(("size", "kernel", "padding", "groups"), WIDE)
def test_wide_kernels_by_transforms(size: Any, kernel: Any, padding: Any, groups: int, monkeypatch: Any) -> None:
    out = tuple(n + 2 * p - k + 1 for n, p, k in zip(size, padding, kernel, strict=True))
    ones = (1,) * len(size)
    geometry = Geometry(size, out, kernel, ones, padding, ones)
    x, dy = normal(2, 2 * groups, *size), normal(2, 3 * groups, *out, seed=1)
    weight, bias = normal(3 * groups, 2, *kernel, seed=2), normal(3 * groups, seed=3)

    def passes() -> list[np.ndarray]:
        return [
            kernels.correlate(x, weight, geometry, groups, bias),
            kernels.correlate(x.astype(np.float32), weight.astype(np.float32), geometry, groups),
            kernels.correlate_adjoint(dy, weight, geometry, groups, normal(2 * groups, seed=4)),
            kernels.kernel_gradient(x, dy, geometry, groups),
        ]

    assert spectra.is_wide(geometry, x)
    found = passes()
    monkeypatch.setattr(spectra, "WIDE", 10**9)
    for got, right in zip(found, passes(), strict=True):
        assert (got.shape, got.dtype) == (right.shape, right.dtype)
        tolerance = 1e-10 if right.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(got, right, rtol=tolerance, atol=tolerance * np.abs(right).max())


def test_wide_kernels_spread_nothing_that_is_not_finite() -> None:
    layer = gz.Conv2d(1, 1, 21, padding=10, rng=0)
    x = normal(2, 1, 40, 40, dtype=np.float32)
    x[0, 0, 0, 0] = np.nan
    y = layer(x).numpy()
    assert np.isnan(y[0, 0, :11, :11]).all()
    assert np.isfinite(y[0, 0, 11:, 11:]).all()
    assert np.isfinite(y[1]).all()


def test_strided_or_dilated_kernels_are_not_wide() -> None:
    geometry = Geometry((60, 60), (20, 20), (21, 21), (2, 2), (0, 0), (1, 1))
    assert not spectra.is_wide(geometry)
    assert not spectra.is_wide(geometry._replace(stride=(1, 1), dilation=(1, 2)))
    assert spectra.is_wide(geometry._replace(stride=(1, 1)))
