"""Transposed convolutions against central differences, the convolution they transpose, and PyTorch."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from tests.zoo.test_convolution import CONVS, assert_like_torch, normal

TRANSPOSED = {1: gz.ConvTranspose1d, 2: gz.ConvTranspose2d, 3: gz.ConvTranspose3d}


@st.composite
def cases(draw: Any, batch: int = 0) -> dict[str, Any]:
    """Settings and an input shape for which something is left of the output."""
    axes = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, stride, dilation = each(1, 3), each(1, 4), each(1, 3)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    size = each(1, 4)
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e for n, s, d, k, e in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    padding = tuple(draw(st.integers(0, min(3, (n - 1) // 2))) for n in full)
    groups = draw(st.integers(1, 3))
    return {
        "shape": (draw(st.integers(batch, 3)), groups * draw(st.integers(1, 2)), *size),
        "out_channels": groups * draw(st.integers(1, 2)),
        "options": {
            "kernel_size": kernel, "stride": stride, "padding": padding, "output_padding": extra,
            "dilation": dilation, "groups": groups, "bias": draw(st.booleans()),
        },
        "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


@settings(deadline=None, max_examples=120)
@given(cases())
def test_first_order_like_torch(case: dict[str, Any]) -> None:
    axes = len(case["shape"]) - 2
    arguments = (case["shape"][1], case["out_channels"])
    module = TRANSPOSED[axes](*arguments, **case["options"], rng=1).astype(np.float64)
    x = normal(*case["shape"], seed=case["seed"])
    assert_like_torch(module, f"ConvTranspose{axes}d", arguments, case["options"], x)


@settings(deadline=None, max_examples=25)
@given(cases(batch=1))
def test_second_order_like_torch(case: dict[str, Any]) -> None:
    axes = len(case["shape"]) - 2
    arguments = (case["shape"][1], case["out_channels"])
    module = TRANSPOSED[axes](*arguments, **case["options"], rng=1).astype(np.float64)
    x = normal(*case["shape"], seed=case["seed"])
    assert_like_torch(module, f"ConvTranspose{axes}d", arguments, case["options"], x, order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 8])
def test_images_of_common_sizes_like_torch(groups: int, dtype: Any) -> None:
    options = {"kernel_size": 4, "stride": 2, "padding": 1, "groups": groups}
    module = gz.ConvTranspose2d(16, 24, **options, rng=0).astype(dtype)
    assert_like_torch(module, "ConvTranspose2d", (16, 24), options, normal(3, 16, 21, 30, dtype=dtype))


@settings(deadline=None, max_examples=40)
@given(cases())
def test_it_is_the_adjoint_of_the_convolution(case: dict[str, Any]) -> None:
    # <y, T x> = <C y, x> with one weight for both; output_padding only decides which y there are.
    shape, options = case["shape"], {**case["options"], "bias": False}
    axes = len(shape) - 2
    module = TRANSPOSED[axes](shape[1], case["out_channels"], **options, rng=1).astype(np.float64)
    x = normal(*shape)
    image = module(x).numpy()
    other = {name: value for name, value in options.items() if name != "output_padding"}
    forwards = CONVS[axes](case["out_channels"], shape[1], **other).astype(np.float64)
    forwards.weight.data = module.weight.numpy()
    y = normal(*image.shape, seed=1)
    back = forwards(y).numpy()[(..., *[slice(n) for n in shape[2:]])]
    np.testing.assert_allclose((y * image).sum(), (back * x).sum(), 1e-9, 1e-9)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (
            gz.ConvTranspose2d(4, 6, (3, 2), stride=(2, 1), padding=1, output_padding=(1, 0), groups=2, rng=0),
            (2, 4, 3, 4),
        ),
        (gz.ConvTranspose1d(3, 2, 2, stride=3, output_padding=2, rng=0), (2, 3, 4)),
        (gz.ConvTranspose1d(3, 2, 3, bias=False, padding=2, rng=0), (3, 4)),
        (gz.ConvTranspose1d(3, 2, 2, rng=0), (0, 3, 4)),
        (gz.ConvTranspose1d(3, 2, 1, rng=0), (1, 3, 1)),
        (gz.ConvTranspose3d(2, 3, 2, stride=2, dilation=2, rng=0), (1, 2, 2, 1, 2)),
    ],
    ids=repr,
)
def test_checked_to_second_order(module: gz.Module, shape: tuple[int, ...]) -> None:
    assert gz.check(module, normal(*shape))


def test_each_entry_lays_down_its_kernel() -> None:
    module = gz.ConvTranspose1d(1, 1, 3, stride=2)
    module.weight.data = [[[1, 10, 100]]]
    module.bias.data = [0.5]
    np.testing.assert_array_equal(module(np.array([[[1.0, 2]]])).numpy(), [[[1.5, 10.5, 102.5, 20.5, 200.5]]])


@pytest.mark.parametrize("wanted", [7, 8, 9])
def test_output_size_like_torch(wanted: int) -> None:
    torch = pytest.importorskip("torch")
    module = gz.ConvTranspose1d(2, 3, 3, stride=3, padding=1, rng=0).astype(np.float64)
    peer = torch.nn.ConvTranspose1d(2, 3, 3, stride=3, padding=1, dtype=torch.float64)
    peer.load_state_dict({name: torch.tensor(array) for name, array in module.state_dict().items()})
    x = normal(2, 2, 3)
    leaf = gz.tensor(x, requires_grad=True)
    y = module(leaf, output_size=(wanted,))
    expected = peer(torch.tensor(x), output_size=(wanted,))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), 1e-10)
    (y.sum() + module(leaf).sum()).backward()
    (expected.sum() + peer(torch.tensor(x)).sum()).backward()
    np.testing.assert_allclose(module.weight.grad, peer.weight.grad.numpy(), 1e-10)
    assert module.output_padding == (0,)  # as it was


def test_any_memory_layout_and_no_batch_axis() -> None:
    module = gz.ConvTranspose2d(3, 2, 3, stride=2, rng=0).astype(np.float64)
    x = normal(5, 4, 3)
    x.flags.writeable = False
    turned = x.T[:, ::-1, ::2]
    assert not turned.flags.c_contiguous
    np.testing.assert_allclose(module(turned).numpy(), module(np.array(turned)[None]).numpy()[0], 1e-12)


def test_a_nan_reaches_what_its_kernel_covers() -> None:
    module = gz.ConvTranspose1d(1, 1, 3, stride=2, rng=0)
    x = np.zeros((1, 1, 4), np.float32)
    x[0, 0, 1] = np.nan
    assert np.flatnonzero(np.isnan(module(x).numpy())).tolist() == [2, 3, 4]


def test_initial_values_fill_their_range() -> None:
    module = gz.ConvTranspose2d(60, 8, (3, 5), groups=2, rng=0)
    bound = 1 / math.sqrt(4 * 15)
    for parameter in module.parameters():
        assert 0.7 * bound < np.abs(parameter.numpy()).max() <= bound
    np.testing.assert_allclose(module.weight.numpy().std(), bound / math.sqrt(3), rtol=0.05)


def test_nothing_left_shows_the_formula() -> None:
    with pytest.raises(gz.ShapeError) as caught:
        gz.ConvTranspose2d(3, 2, 3, stride=2, padding=(1, 3))(np.zeros((1, 3, 5, 2), np.float32))
    for part in ("(1, 3, 5, 2)", "size 2", "(2 − 1)·2 − 2·3 + 1·(3 − 1) + 0 + 1 = -1", "to be positive"):
        assert part in str(caught.value)


def test_impossible_settings_and_inputs() -> None:
    with pytest.raises(gz.ArgumentError, match=r"output_padding must be smaller(.|\n)*at most 1"):
        gz.ConvTranspose2d(3, 2, 3, stride=2, output_padding=2)
    with pytest.raises(gz.ArgumentError, match=r"padding_mode(.|\n)*'reflect'"):
        gz.ConvTranspose2d(3, 2, 3, padding_mode="reflect")
    with pytest.raises(gz.ArgumentError, match=r"groups must divide"):
        gz.ConvTranspose2d(3, 2, 3, groups=3)
    with pytest.raises(gz.ArgumentError, match=r"padding(.|\n)*'same'"):
        gz.ConvTranspose2d(3, 2, 3, padding="same")
    module = gz.ConvTranspose2d(3, 2, 3, stride=2)
    with pytest.raises(gz.ShapeError, match="in_channels=4"):
        module(np.zeros((1, 4, 5, 5), np.float32))
    with pytest.raises(gz.ShapeError, match=r"\(11, 14\)(.|\n)*from \(11, 11\) to \(12, 12\)"):
        module(np.zeros((1, 3, 5, 5), np.float32), output_size=(11, 14))


def test_repr() -> None:
    module = gz.ConvTranspose1d(4, 8, 3, 2, 1, 1, bias=False)
    assert repr(module) == (
        "ConvTranspose1d(4, 8, kernel_size=(3,), stride=(2,), padding=(1,), output_padding=(1,), bias=False)"
    )
