"""The settings under which each module of the zoo is proven: how it is made, on what, and what PyTorch calls it.

Odd settings on purpose: weights that are not square, strides beyond the kernel, dilation with groups, one padding for
each axis, axes of length one. Inputs keep away from kinks, where there is no derivative to compare with; ties have
tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import zoo
from ..module import Module

Draw = Callable[[np.random.Generator], np.ndarray]


def _plainly(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


class Case(NamedTuple):
    """One setting of a module.

    Attributes:
        make: makes the module, the same each time.
        inputs: how its inputs are drawn.
        torch: the same in PyTorch, as a function of the torch package that gives a module or a function of tensors;
            None where PyTorch has nothing of the kind.
        batch: axis of the first input that may be empty; None where none may.
        call: how the module, or PyTorch's, is called with the inputs.
    """

    make: Callable[[], Module]
    inputs: tuple[Draw, ...]
    torch: Callable[[Any], Any] | None = None
    batch: int | None = 0
    call: Callable[..., Any] = _plainly


def real(*shape: int) -> Draw:
    """Numbers from ±[0.1, 2], all different, in no order."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        size = int(np.prod(shape))
        steps = (np.arange(size) + rng.uniform(0.2, 0.8, size)) / max(size, 1)
        return (rng.permutation(0.1 + 1.9 * steps) * rng.choice([-1.0, 1.0], size)).reshape(shape)

    return draw


def positive(*shape: int) -> Draw:
    """Numbers from [0.1, 2]."""
    return lambda rng: np.abs(real(*shape)(rng))


def shares(*shape: int) -> Draw:
    """Probabilities: positive, and 1 in all along the last axis."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        values = rng.uniform(0.1, 1.0, shape)
        return values / values.sum(axis=-1, keepdims=True)

    return draw


def whole(below: int, *shape: int) -> Draw:
    """Integers from 0 on."""
    return lambda rng: rng.integers(0, below, shape)


def cases() -> dict[str, list[Case]]:
    """The cases of each module, by the module's name."""
    found: dict[str, list[Case]] = {}
    for name, case in (
        *_elementwise(), *_arrays(), *_groups(), *_activations(), *_losses(), *_pools(), *_norms(), *_moves(),
        *_layers(), *_convolutions(), *_attention(), *_recurrent(),
    ):  # fmt: skip
        found.setdefault(name, []).append(case)
    return found


Named = Iterator[tuple[str, Case]]


def _make(name: str, *args: Any, **options: Any) -> Callable[[], Module]:
    def make() -> Module:
        for family in vars(zoo).values():
            if name in getattr(family, "__all__", ()):
                return getattr(family, name)(*args, **options)
        raise LookupError(name)

    return make


def _same(name: str, *inputs: Draw, batch: int | None = 0, seeded: bool = False, **options: Any) -> tuple[str, Case]:
    """A module that PyTorch has under the same name with the same arguments."""
    own = {**options, "rng": 3} if seeded else options
    return name, Case(
        _make(name, **own), inputs, lambda torch: getattr(torch.nn, name)(**options, dtype=torch.float64)
        if seeded else getattr(torch.nn, name)(**options), batch,
    )  # fmt: skip


def _function(name: str) -> Callable[[Any], Any]:
    """PyTorch's function of this name."""
    return lambda torch: getattr(torch, name)


def _method(name: str, *args: Any) -> Callable[[Any], Any]:
    """The method of this name of PyTorch's tensors."""
    return lambda torch: lambda x: getattr(x, name)(*args)


def _elementwise() -> Named:
    for name in ("Abs", "Cos", "Erf", "Exp", "Expm1", "Sin", "Tanh", "Sigmoid"):
        yield name, Case(_make(name), (real(3, 4),), _function(name.lower()))
    for name in ("Log", "Log1p", "Sqrt"):
        yield name, Case(_make(name), (positive(3, 4),), _function(name.lower()))
    yield "Negate", Case(_make("Negate"), (real(3, 4),), lambda torch: torch.neg)
    yield "Identity", Case(_make("Identity"), (real(3, 1),), lambda torch: torch.nn.Identity())
    yield "Clip", Case(_make("Clip", -0.95, 1.05), (real(3, 4),), lambda torch: lambda x: x.clamp(-0.95, 1.05))
    yield "Cast", Case(_make("Cast", "float64"), (real(3, 4),), lambda torch: lambda x: x.double())
    peers = {
        "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "Maximum": "maximum",
        "Minimum": "minimum", "LogAddExp": "logaddexp",
    }  # fmt: skip
    for name, peer in peers.items():
        yield name, Case(_make(name), (real(3, 4), real(3, 4)), _function(peer))
        yield name, Case(_make(name), (real(2, 3, 1), real(3, 4)), _function(peer), None)
    yield "Power", Case(_make("Power"), (positive(3, 1), real(3, 4)), lambda torch: torch.pow)
    yield (
        "Switch",
        Case(
            _make("Switch"), (lambda rng: rng.random((3, 4)) < 0.5, real(3, 4), real(3, 4)), lambda torch: torch.where
        ),
    )


def _arrays() -> Named:
    yield (
        "Broadcast",
        Case(_make("Broadcast", (2, 3, 4)), (real(3, 1),), lambda torch: lambda x: x.expand(2, 3, 4), None),
    )
    yield (
        "Concatenate",
        Case(_make("Concatenate", 1), (real(3, 2), real(3, 1)), lambda torch: lambda *x: torch.cat(x, 1), None),
    )
    yield "Stack", Case(_make("Stack", 1), (real(3, 2), real(3, 2)), lambda torch: lambda *x: torch.stack(x, 1), None)
    yield "Split", Case(_make("Split", [1, 3], 1), (real(2, 4),), lambda torch: lambda x: x.split([1, 2, 1], 1))
    yield (
        "Index",
        Case(_make("Index", (slice(None), [0, 2, 2])), (real(2, 3),), lambda torch: lambda x: x[:, [0, 2, 2]]),
    )
    yield "Reshape", Case(_make("Reshape", (-1, 2)), (real(3, 4),), lambda torch: lambda x: x.reshape(-1, 2))
    yield _same("Flatten", real(2, 3, 4))
    yield "Transpose", Case(_make("Transpose", (1, 2, 0)), (real(2, 3, 4),), lambda torch: lambda x: x.permute(1, 2, 0))
    yield "Scatter", Case(_make("Scatter", [0, 2]), (real(3, 4), real(2, 4)), _scattered(False), None)
    yield "ScatterAdd", Case(_make("ScatterAdd", [0, 2, 2]), (real(3, 4), real(3, 4)), _scattered(True), None)
    yield "Pad", Case(
        _make("Pad", ((0, 0), (1, 2)), "reflect"), (real(2, 4),),
        lambda torch: lambda x: torch.nn.functional.pad(x, (1, 2), "reflect"), None,
    )  # fmt: skip
    yield (
        "SlidingWindow",
        Case(_make("SlidingWindow", 2, 3), (real(2, 8),), lambda torch: lambda x: x.unfold(-1, 2, 3), 0),
    )
    yield "SumWindows", Case(_make("SumWindows", 8, 2, 3), (real(2, 3, 2),))
    yield _same("Unfold", real(2, 3, 5, 4), kernel_size=(2, 3), dilation=2, padding=(1, 1), stride=(3, 1))
    yield _same("Fold", real(2, 12, 6), output_size=(4, 3), kernel_size=(2, 2))
    yield "MatMul", Case(_make("MatMul"), (real(2, 3, 4), real(4, 5)), lambda torch: torch.matmul)
    yield "Einsum", Case(
        _make("Einsum", "bij,jk->bik", 2), (real(2, 3, 4), real(4, 5)),
        lambda torch: lambda *x: torch.einsum("bij,jk->bik", *x),
    )  # fmt: skip


def _scattered(accumulate: bool) -> Callable[[Any], Any]:
    places = [0, 2, 2] if accumulate else [0, 2]
    return lambda torch: lambda x, v: x.index_put((torch.tensor(places),), v, accumulate)


def _groups() -> Named:
    for name in ("Sum", "Mean", "Prod"):
        yield name, Case(_make(name, 1), (real(3, 4),), _method(name.lower(), 1))
    for name in ("Max", "Min"):
        yield (
            name,
            Case(_make(name, 1), (real(3, 4),), _method(f"a{name.lower()}", 1)),
        )
    yield "Sum", Case(_make("Sum"), (real(3, 1, 4),), lambda torch: torch.sum)
    yield "Cumsum", Case(_make("Cumsum", 1), (real(3, 4),), lambda torch: lambda x: x.cumsum(1))
    yield "LogSumExp", Case(_make("LogSumExp", 1, True), (real(3, 4),), lambda torch: lambda x: x.logsumexp(1, True))
    yield "Norm", Case(_make("Norm", 1), (real(3, 4),), lambda torch: lambda x: x.norm(dim=1))
    yield "Var", Case(_make("Var", 1, 1), (real(3, 4),), lambda torch: lambda x: x.var(1))
    yield "Std", Case(_make("Std", 1, 1), (real(3, 4),), lambda torch: lambda x: x.std(1))


def _activations() -> Named:
    for name in ("ReLU", "SELU", "SiLU", "GELU"):
        yield _same(name, real(3, 4))
    yield _same("GELU", real(3, 4), approximate="tanh")
    yield _same("ELU", real(3, 4), alpha=0.7)
    yield _same("LeakyReLU", real(3, 4), negative_slope=0.2)
    yield _same("Softplus", real(3, 4), beta=2.0)
    yield "Softmax", Case(_make("Softmax", 1), (real(2, 3, 4),), _method("softmax", 1))
    yield "LogSoftmax", Case(_make("LogSoftmax", 1), (real(2, 3, 4),), _method("log_softmax", 1))


def _losses() -> Named:
    for name in ("MSELoss", "L1Loss"):
        yield _same(name, real(3, 4), positive(3, 4), batch=None)
    yield _same("HuberLoss", real(3, 4), real(3, 4), batch=None, delta=0.7, reduction="sum")
    yield _same("BCEWithLogitsLoss", real(3, 4), shares(3, 4), batch=None)
    yield _same("CrossEntropyLoss", real(4, 3, 2), whole(3, 4, 2), batch=None, label_smoothing=0.1)
    yield _same("CrossEntropyLoss", real(4, 3), shares(4, 3), batch=None, reduction="none")
    yield _same("NLLLoss", real(4, 3), whole(3, 4), batch=None)
    yield (
        "CrossEntropy",
        Case(
            _make("CrossEntropy"), (shares(3, 4), shares(3, 4)), lambda torch: lambda x, p: -(p * x.log()).sum(), None
        ),
    )
    yield (
        "SquaredError",
        Case(_make("SquaredError"), (real(3, 4), real(3, 4)), lambda torch: lambda x, t: ((t - x) ** 2).sum(), None),
    )


_SPATIAL = {1: (9,), 2: (6, 7), 3: (4, 5, 4)}


def _pools() -> Named:
    for axes, sizes in _SPATIAL.items():
        x = real(2, 3, *sizes)
        yield _same(f"MaxPool{axes}d", x, kernel_size=2, stride=3, padding=1)
        yield _same(f"MaxPool{axes}d", x, kernel_size=2, stride=1, dilation=2, ceil_mode=True)
        yield _same(f"AvgPool{axes}d", x, kernel_size=3, stride=2, padding=1, count_include_pad=False)
        yield _same(f"AvgPool{axes}d", x, kernel_size=2, ceil_mode=True)
        yield _same(f"AdaptiveAvgPool{axes}d", x, output_size=3)
        yield _same(f"AdaptiveMaxPool{axes}d", x, output_size=2)


def _norms() -> Named:
    for axes, sizes in _SPATIAL.items():
        yield _same(f"BatchNorm{axes}d", real(3, 2, *sizes), batch=None, num_features=2)
        yield _same(f"InstanceNorm{axes}d", real(2, 3, *sizes), num_features=3, affine=True)
    yield _same("BatchNorm1d", real(5, 3), batch=None, num_features=3)
    yield _same("LayerNorm", real(2, 3, 4), normalized_shape=(3, 4))
    yield _same("RMSNorm", real(2, 3, 4), normalized_shape=4, eps=1e-5)
    yield _same("GroupNorm", real(2, 6, 3), num_groups=3, num_channels=6)
    yield (
        "WeightNorm",
        Case(
            _make("WeightNorm"),
            (real(3, 4), positive(3, 1)),
            # In single operations: torch._weight_norm's second derivative fails PyTorch's own gradgradcheck (2.13).
            lambda torch: lambda v, g: g * v / v.norm(dim=1, keepdim=True),
            None,
        ),
    )


def _moves() -> Named:
    yield _same("ChannelShuffle", real(2, 6, 3, 2), groups=3)
    yield _same("PixelShuffle", real(2, 8, 3, 2), upscale_factor=2)
    yield _same("PixelUnshuffle", real(2, 2, 4, 6), downscale_factor=2)
    yield _same("Upsample", real(2, 3, 4, 3), scale_factor=2, mode="nearest")
    yield _same("Upsample", real(2, 3, 4, 3), size=(7, 5), mode="bilinear", align_corners=False)
    yield "Dropout", Case(_make("Dropout", 0.4, 5), (real(3, 4),))
    yield "Dropout2d", Case(_make("Dropout2d", 0.4, 5), (real(2, 5, 3, 2),))


def _layers() -> Named:
    yield _same("Linear", real(2, 5, 3), seeded=True, in_features=3, out_features=2)
    yield _same("Linear", real(5, 3), seeded=True, in_features=3, out_features=1, bias=False)
    yield _same(
        "Bilinear", real(4, 3), real(4, 2), batch=None, seeded=True, in1_features=3, in2_features=2, out_features=4
    )
    yield _same("Embedding", whole(7, 4, 2), seeded=True, num_embeddings=7, embedding_dim=3)


def _convolutions() -> Named:
    settings: list[dict[str, Any]] = [
        {"in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": 1},
        {"in_channels": 4, "out_channels": 6, "kernel_size": 2, "stride": 3, "dilation": 2, "groups": 2},
        {"in_channels": 3, "out_channels": 6, "kernel_size": 3, "padding": "same", "groups": 3, "bias": False},
        {"in_channels": 2, "out_channels": 3, "kernel_size": 1, "stride": 2},
        {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": 2, "padding_mode": "circular"},
    ]
    for axes, sizes in _SPATIAL.items():
        for options in settings:
            yield _same(f"Conv{axes}d", real(2, options["in_channels"], *sizes), seeded=True, **options)
        yield _same(
            f"ConvTranspose{axes}d", real(2, 3, *sizes), seeded=True, in_channels=3, out_channels=2, kernel_size=3,
            stride=2, padding=1, output_padding=1,
        )  # fmt: skip
        yield _same(
            f"ConvTranspose{axes}d", real(2, 4, *sizes), seeded=True, in_channels=4, out_channels=2, kernel_size=2,
            groups=2, dilation=2, bias=False,
        )  # fmt: skip
    yield _same(
        "Conv2d", real(2, 3, 6, 7), seeded=True, in_channels=3, out_channels=2, kernel_size=(3, 2), padding=(2, 1)
    )
    for axes in (1, 2):
        make = _make(f"SeparableConv{axes}d", 3, 4, 3, padding=1, stride=2, rng=3)
        yield f"SeparableConv{axes}d", Case(make, (real(2, 3, *_SPATIAL[axes]),))


def _attention() -> Named:
    q, k, v = real(2, 3, 4), real(2, 5, 4), real(2, 5, 6)

    def attend(torch: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention

    yield "ScaledDotProductAttention", Case(_make("ScaledDotProductAttention"), (q, k, v), attend, None)
    yield "ScaledDotProductAttention", Case(
        _make("ScaledDotProductAttention", is_causal=True), (q, real(2, 3, 4), real(2, 3, 6)),
        lambda torch: lambda *x: attend(torch)(*x, is_causal=True), None,
    )  # fmt: skip
    yield _same(
        "MultiheadAttention",
        real(3, 2, 6),
        real(4, 2, 6),
        real(4, 2, 6),
        batch=None,
        seeded=True,
        embed_dim=6,
        num_heads=2,
    )


def _recurrent() -> Named:
    x, h = real(4, 3), real(4, 5)
    for nonlinearity in ("tanh", "relu"):
        yield _same("RNNCell", x, h, batch=None, seeded=True, input_size=3, hidden_size=5, nonlinearity=nonlinearity)
    yield "LSTMCell", Case(
        _make("LSTMCell", 3, 5, rng=3), (x, h, real(4, 5)),
        lambda torch: torch.nn.LSTMCell(3, 5, dtype=torch.float64), None,
        lambda cell, x, h, c: cell(x, (h, c)),
    )  # fmt: skip
    yield "GRUCell", Case(_make("GRUCell", 3, 5, rng=3), (x, h), None, None)
    yield (
        "GRUCell",
        Case(
            _make("GRUCell", 3, 5, reset_after=True, rng=3),
            (x, h),
            lambda torch: torch.nn.GRUCell(3, 5, dtype=torch.float64),
            None,
        ),
    )
    for reset_after in (False, True):
        options = {"reset_after": reset_after, "recompute": True, "rng": 3}
        yield "GRUCell", Case(_make("GRUCell", 3, 5, **options), (x, h), None, None)
    yield "LSTM", Case(_make("LSTM", 3, 4, recompute=True, rng=3), (real(4, 2, 3),), None, 1)
    for readout in ("new", "old"):
        yield "SimpleRNNCell", Case(_make("SimpleRNNCell", 3, 5, 2, readout=readout, rng=3), (x, h), None, None)
    sequence = real(4, 2, 3)
    yield _same("RNN", sequence, batch=1, seeded=True, input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
    yield _same("LSTM", sequence, batch=1, seeded=True, input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
    yield "SimpleRNN", Case(_make("SimpleRNN", 3, 4, 2, num_layers=2, rng=3), (sequence,), None, 1)
    yield "GRU", Case(_make("GRU", 3, 4, bidirectional=True, rng=3), (sequence,), None, 1)
    yield (
        "GRU",
        Case(
            _make("GRU", 3, 4, reset_after=True, rng=3),
            (sequence,),
            lambda torch: torch.nn.GRU(3, 4, dtype=torch.float64),
            1,
        ),
    )
