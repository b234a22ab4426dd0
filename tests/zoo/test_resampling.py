"""Upsampling and shuffling against central differences, the definition and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


UP: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"scale_factor": 2}, (2, 3, 4)),
    ({"scale_factor": 2}, (2, 1, 2, 3)),
    ({"size": (5, 2)}, (2, 1, 2, 3)),
    ({"scale_factor": 1.5, "mode": "linear"}, (2, 2, 5)),
    ({"scale_factor": 2, "mode": "bilinear"}, (1, 2, 2, 3)),
    ({"scale_factor": 2, "mode": "bilinear", "align_corners": True}, (1, 2, 2, 3)),
    ({"size": (1, 4), "mode": "bilinear", "align_corners": True}, (1, 2, 3, 1)),
    ({"size": (2, 3, 3), "mode": "trilinear"}, (1, 1, 3, 2, 2)),
]


@pytest.mark.parametrize(("options", "shape"), UP, ids=str)
def test_upsampling_in_all_passes_of_both_orders(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    module = gz.Upsample(**options)
    assert gz.check(module, normal(*shape))
    assert_gradients(lambda t: module(t) ** 2, normal(*shape))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_upsampling_of_any_size_like_torch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    axes = data.draw(st.integers(1, 3))
    sizes = tuple(data.draw(st.integers(1, 5)) for _ in range(axes))
    mode = data.draw(st.sampled_from(["nearest", ["linear", "bilinear", "trilinear"][axes - 1]]))
    options: dict[str, Any] = {"mode": mode}
    if data.draw(st.booleans()):
        options["size"] = tuple(data.draw(st.integers(1, 7)) for _ in range(axes))
    else:
        options["scale_factor"] = tuple(data.draw(st.sampled_from([1.0, 1.5, 2.0, 2.7, 3.0])) for _ in range(axes))
    if mode != "nearest":
        options["align_corners"] = data.draw(st.booleans())
    ours, theirs = gz.Upsample(**options), torch.nn.Upsample(**options)
    assert_like_torch(
        lambda t: ours(t) ** 2, lambda t: theirs(t) ** 2, normal(2, 3, *sizes), order=1, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize(
    ("module", "shape", "output"),
    [
        (gz.PixelShuffle(2), (2, 8, 3, 2), (2, 2, 6, 4)),
        (gz.PixelShuffle(3), (9, 1, 2), (1, 3, 6)),
        (gz.PixelUnshuffle(2), (2, 3, 4, 2), (2, 12, 2, 1)),
        (gz.ChannelShuffle(2), (2, 6, 3), (2, 6, 3)),
        (gz.ChannelShuffle(3), (1, 6, 2, 2), (1, 6, 2, 2)),
    ],
    ids=repr,
)
def test_shuffling(module: gz.Module, shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    x = normal(*shape)
    assert module(x).shape == output
    assert gz.check(module, x)
    assert_gradients(lambda t: module(t) ** 2, x)
    torch = pytest.importorskip("torch")
    options = {key: value for key, value in vars(module).items() if key in ("upscale_factor", "downscale_factor")}
    options = options or {"groups": module.groups}
    peer = getattr(torch.nn, type(module).__name__)(*options.values())
    np.testing.assert_array_equal(module(x).numpy(), peer(torch.tensor(x)).numpy())


def test_unshuffling_undoes_shuffling() -> None:
    x = normal(2, 12, 3, 5)
    np.testing.assert_array_equal(gz.PixelUnshuffle(2)(gz.PixelShuffle(2)(x)).numpy(), x)
    np.testing.assert_array_equal(gz.ChannelShuffle(4)(gz.ChannelShuffle(3)(x)).numpy(), x)


EVERY = [
    gz.Upsample(scale_factor=2), gz.Upsample(size=7, mode="bilinear"), gz.PixelShuffle(2), gz.PixelUnshuffle(2),
    gz.ChannelShuffle(2),
]  # fmt: skip


@pytest.mark.parametrize("module", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_empty_batches_and_strided_read_only_inputs(module: gz.Module, dtype: type) -> None:
    x = normal(6, 4, 4, 2).astype(dtype).transpose(3, 1, 2, 0)[:, ::-1]
    x.flags.writeable = False
    leaf = gz.tensor(x, requires_grad=True)
    y = module(leaf)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), module(np.ascontiguousarray(x)).numpy())
    y.backward(np.ones(y.shape, dtype))
    assert leaf.grad.dtype == dtype
    np.testing.assert_allclose(leaf.grad.sum(), y.size, 1e-5)
    empty = gz.tensor(np.empty((0, 4, 4, 6), dtype), requires_grad=True)
    z = module(empty)
    z.backward(np.empty(z.shape, dtype))
    assert empty.grad.shape == empty.shape


def test_nan_and_large_numbers() -> None:
    x = np.array([[[1e4, np.nan, -1e4, 2.0]]])
    np.testing.assert_array_equal(gz.Upsample(scale_factor=2)(x).numpy(), np.repeat(x, 2, axis=2))
    missing = np.isnan(gz.Upsample(scale_factor=2, mode="linear")(x).numpy()[0, 0])
    np.testing.assert_array_equal(missing, [False, True, True, True, True, False, False, False])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: gz.Upsample(), "one of them"),
        (lambda: gz.Upsample(2, 2), "one of them"),
        (lambda: gz.Upsample(scale_factor=0), "positive numbers"),
        (lambda: gz.Upsample(2, mode="cubic"), "nearest, linear, bilinear, trilinear"),
        (lambda: gz.Upsample(2, align_corners=True), "linear modes"),
        (lambda: gz.PixelShuffle(0), "upscale_factor must be positive"),
        (lambda: gz.PixelUnshuffle(0), "downscale_factor must be positive"),
        (lambda: gz.ChannelShuffle(0), "groups must be positive"),
    ],
)
def test_impossible_settings(make: Any, text: str) -> None:
    with pytest.raises(gz.ArgumentError, match=text):
        make()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (gz.Upsample(2, mode="bilinear"), (1, 2, 3)),
        (gz.Upsample((2, 3)), (1, 2, 3)),
        (gz.Upsample(2), (2, 3)),
        (gz.Upsample(2), (2, 3, 0)),
        (gz.PixelShuffle(2), (2, 6, 2, 2)),
        (gz.PixelUnshuffle(2), (2, 3, 3, 2)),
        (gz.ChannelShuffle(4), (2, 6, 2)),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit(module: gz.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(gz.ShapeError, match="does not fit its input"):
        module(np.ones(shape))


def test_a_factor_that_leaves_nothing() -> None:
    with pytest.raises(gz.ShapeError, match="leave nothing"):
        gz.Upsample(scale_factor=0.3)(np.ones((1, 2, 3)))


def test_repr() -> None:
    assert repr(gz.Upsample(scale_factor=2)) == "Upsample(scale_factor=2, mode='nearest')"
    assert repr(gz.Upsample(4, mode="linear", align_corners=True)) == (
        "Upsample(size=4, mode='linear', align_corners=True)"
    )
    assert repr(gz.ChannelShuffle(2)) == "ChannelShuffle(groups=2)"
