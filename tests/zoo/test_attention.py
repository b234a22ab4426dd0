"""Attention against its definition, central differences and PyTorch; masks, dropout, and rows that see nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphzoo as gz
from graphzoo.kernels import workers
from tests.helpers import assert_gradients, assert_like_torch

SDPA = gz.scaled_dot_product_attention


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def arrays(lead: tuple[int, ...] = (2,), queries: int = 3, keys: int = 4, d: int = 5, e: int = 2) -> list[np.ndarray]:
    return [normal(*lead, queries, d), normal(*lead, keys, d, seed=1), normal(*lead, keys, e, seed=2)]


def defined(q, k, v, allowed=None, scale=None) -> np.ndarray:
    """The definition, one query after the other."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    y = np.zeros((*lead, q.shape[-2], v.shape[-1]))
    q, k, v = (np.broadcast_to(a, (*lead, *a.shape[-2:])) for a in (q, k, v))
    allowed = np.ones((*lead, q.shape[-2], k.shape[-2]), bool) if allowed is None else allowed
    allowed = np.broadcast_to(allowed, (*lead, q.shape[-2], k.shape[-2]))
    for place in np.ndindex(*lead, q.shape[-2]):
        seen = np.flatnonzero(allowed[place])
        if len(seen):
            s = np.array([q[place] @ k[place[:-1]][j] for j in seen])
            s *= 1 / np.sqrt(q.shape[-1]) if scale is None else scale
            p = np.exp(s - s.max())
            y[place] = (p / p.sum()) @ v[place[:-1]][seen]
    return y


MASKS: dict[str, Any] = {
    "none": None,
    "boolean": normal(3, 4) > -0.5,
    "boolean of each matrix": normal(2, 3, 4) > -0.5,
    "keys": np.array([True, False, True, True]),
    "numbers": normal(3, 4),
    "numbers of each matrix": normal(2, 1, 4),
    "a row that sees nothing": np.array([[True] * 4, [False] * 4, [True, True, False, False]]),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_all_passes_of_both_orders(mask: Any, causal: bool) -> None:
    rule = gz.ScaledDotProductAttention(is_causal=causal)
    assert gz.check(rule, (*arrays(), mask))


@pytest.mark.parametrize("options", [{"scale": 0.3}, {"need_weights": True}, {"need_weights": True, "is_causal": True}])
def test_settings_in_all_passes_of_both_orders(options: dict[str, Any]) -> None:
    assert gz.check(gz.ScaledDotProductAttention(**options), arrays((2, 2)))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_central_differences(mask: Any) -> None:
    assert_gradients(lambda q, k, v: SDPA(q, k, v, mask) ** 2, *arrays(), atol=1e-6)


def test_a_learnt_mask_gets_its_gradient() -> None:
    bias = normal(1, 4)
    assert_gradients(lambda q, k, v, m: SDPA(q, k, v, m) ** 2, *arrays(), bias, atol=1e-6)
    with_nothing = np.where(np.eye(3, 4) == 1, -np.inf, normal(3, 4))
    m = gz.tensor(with_nothing, requires_grad=True)
    SDPA(*arrays(), m).sum().backward()
    assert m.grad.shape == (3, 4)
    np.testing.assert_array_equal(m.grad[np.eye(3, 4) == 1], 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shape_and_mask_by_definition(data: st.DataObject) -> None:
    lead = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    queries, keys, d, e = (data.draw(st.integers(1, 5)) for _ in range(4))
    q, k, v = arrays(lead, queries, keys, d, e)
    if lead and data.draw(st.booleans()):
        k = k[:1] if lead[0] else k  # broadcast
    mask = normal(*data.draw(st.sampled_from([(queries, keys), (1, keys), (*lead, queries, keys)])), seed=5) > 0
    causal = data.draw(st.booleans())
    allowed = mask & np.tri(queries, keys, dtype=bool) if causal else mask
    got = SDPA(q, k, v, mask, is_causal=causal)
    np.testing.assert_allclose(got.numpy(), defined(q, k, v, allowed), 1e-9, 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_like_torch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    lead = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    queries, keys, d, e = (data.draw(st.integers(1, 4)) for _ in range(4))
    mask = data.draw(st.sampled_from([None, normal(queries, keys), np.tri(queries, keys, 1, dtype=bool)]))
    causal = mask is None and data.draw(st.booleans())
    scale = data.draw(st.sampled_from([None, 0.7]))
    theirs = None if mask is None else torch.tensor(mask)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert_like_torch(
            lambda q, k, v: SDPA(q, k, v, mask, causal, scale=scale) ** 2,
            lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, theirs, 0, causal, scale=scale)
            ** 2,
            *arrays(lead, queries, keys, d, e), rtol=1e-8, atol=1e-10,
        )  # fmt: skip


def test_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[np.ndarray]:
        leaves = [gz.tensor(a, requires_grad=True) for a in arrays((3, 2))]
        y = SDPA(*leaves, mask=normal(3, 1, 1, 4) > -0.5)
        return [y.numpy(), *gz.grad(y, leaves, gradient=np.ones(y.shape))]

    whole = run()
    monkeypatch.setattr(workers, "BLOCK", 30)
    for one, other in zip(run(), whole, strict=True):
        np.testing.assert_allclose(one, other, 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_scores_of_any_size(size: float, dtype: type) -> None:
    """Small scores are not shifted, large ones are, and rows far below the others are found."""
    q, k, v = arrays()
    q[0, 0] *= size
    q[1, 1] *= -size
    got = SDPA(*(a.astype(dtype) for a in (q, k, v)))
    assert got.dtype == dtype
    expected = defined(*(a.astype(dtype).astype(np.float64) for a in (q, k, v)))
    np.testing.assert_allclose(got.numpy(), expected, *((1e-9, 1e-12) if dtype is np.float64 else (2e-4, 1e-3)))
    low = normal(3, 4) - 200  # far below what exp can tell from 0 in float32
    np.testing.assert_allclose(
        SDPA(*(a.astype(dtype) for a in arrays()), mask=low).numpy(),
        SDPA(*arrays(), mask=low + 200).numpy(),
        1e-4,
        1e-4,
    )


def test_a_query_that_sees_nothing_gets_zero_and_no_gradient() -> None:
    leaves = [gz.tensor(a, requires_grad=True) for a in arrays()]
    for mask in (np.zeros((3, 4), bool), np.full((3, 4), -np.inf)):
        y = SDPA(*leaves, mask)
        np.testing.assert_array_equal(y.numpy(), np.zeros((2, 3, 2)))
        for gradient in gz.grad(y, leaves, gradient=np.ones(y.shape)):
            assert not gradient.any()
        first = gz.grad((SDPA(*leaves, mask) ** 2).sum(), leaves, create_graph=True)
        assert all(np.isfinite(g.numpy()).all() for g in first)


def test_nan_stays_in_its_matrix() -> None:
    q, k, v = arrays()
    q[0, 1, 0] = np.nan
    missing = np.isnan(SDPA(q, k, v).numpy())
    assert missing[0, 1].all()
    missing[0, 1] = False
    assert not missing.any()


def test_empty_batches_sequences_and_keys() -> None:
    for lead, queries, keys in (((0,), 3, 4), ((2,), 0, 4), ((2,), 3, 0), ((), 1, 1)):
        leaves = [gz.tensor(a, requires_grad=True) for a in arrays(lead, queries, keys)]
        y = SDPA(*leaves)
        assert y.shape == (*lead, queries, 2)
        y.backward(np.ones(y.shape))
        if not keys:
            np.testing.assert_array_equal(y.numpy(), 0)
        assert [leaf.grad.shape for leaf in leaves] == [leaf.shape for leaf in leaves]


def test_strided_read_only_inputs() -> None:
    q, k, v = (a.swapaxes(-1, -2).copy().swapaxes(-1, -2) for a in arrays())
    for a in (q, k, v):
        a.flags.writeable = False
    np.testing.assert_allclose(SDPA(q, k, v).numpy(), defined(q, k, v), 1e-12)


# Dropout --------------------------------------------------------------------------------------------------------------


def test_dropout_in_all_passes() -> None:
    def function(q: Any, k: Any, v: Any) -> Any:
        return SDPA(q, k, v, dropout_p=0.4, rng=3) ** 2  # the same mask at each call

    assert_gradients(function, *arrays(), atol=1e-6)


def test_dropout_of_weights() -> None:
    q, k, v = arrays((1,), 200, 50)
    _, weights = gz.ScaledDotProductAttention(need_weights=True)(q, k, v)
    rule = gz.ScaledDotProductAttention(dropout_p=0.25, need_weights=True, rng=0)
    y, dropped = (t.numpy() for t in rule(q, k, v))
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], weights.numpy()[kept] / 0.75, 1e-10)
    assert abs(kept.mean() - 0.75) < 0.03
    np.testing.assert_allclose(y, dropped @ v, 1e-10)
    np.testing.assert_allclose(rule.eval()(q, k, v)[1].numpy(), weights.numpy(), 1e-12)
    np.testing.assert_array_equal(SDPA(q, k, v, dropout_p=1.0).numpy(), 0)


def test_checkpoint_repeats_the_dropout() -> None:
    rule = gz.ScaledDotProductAttention(dropout_p=0.5, rng=0)
    leaves = [gz.tensor(a, requires_grad=True) for a in arrays()]
    y = gz.checkpoint(rule, *leaves)
    got = gz.grad(y, leaves, gradient=np.ones(y.shape))
    same = gz.ScaledDotProductAttention(dropout_p=0.5, rng=0)(*leaves)
    np.testing.assert_array_equal(y.numpy(), same.numpy())
    for one, other in zip(got, gz.grad(same, leaves, gradient=np.ones(y.shape)), strict=True):
        np.testing.assert_allclose(one, other, 1e-12)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "mask"),
    [
        (((3, 5), (4, 6), (4, 2)), None),
        (((3, 5), (4, 5), (3, 2)), None),
        (((2, 3, 5), (3, 4, 5), (4, 2)), None),
        (((5,), (4, 5), (4, 2)), None),
        (((3, 5), (4, 5), (4, 2)), (3, 5)),
        (((3, 5), (4, 5), (4, 2)), (2, 3, 4)),
    ],
)
def test_arrays_that_do_not_fit(shapes: Any, mask: Any) -> None:
    with pytest.raises(gz.ShapeError, match=r"do not fit each other(.|\n)*\(\.\.\., L, d\)"):
        SDPA(*map(np.ones, shapes), mask=None if mask is None else np.ones(mask))


def test_impossible_dropout() -> None:
    with pytest.raises(gz.ArgumentError, match="from 0 to 1"):
        SDPA(*arrays(), dropout_p=1.5)


# Several heads --------------------------------------------------------------------------------------------------------

HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without bias": {"bias": False},
    "batch first": {"batch_first": True},
    "other features": {"kdim": 3, "vdim": 5},
    "keys of other features": {"kdim": 3, "batch_first": True},
}


def inputs_for(options: dict[str, Any], queries: int = 3, keys: int = 4, batch: int = 2) -> list[np.ndarray]:
    features = (6, options.get("kdim", 6), options.get("vdim", 6))
    sequences = [normal(n, batch, f, seed=n) for n, f in zip((queries, keys, keys), features, strict=True)]
    return [x.swapaxes(0, 1) if options.get("batch_first") else x for x in sequences]


def heads(seed: int = 0, **options: Any) -> gz.MultiheadAttention:
    module = gz.MultiheadAttention(6, 2, rng=seed, **options).astype(np.float64)
    for parameter in module.parameters():
        parameter.data = parameter.numpy() + 0.3 * normal(*parameter.shape)
    return module


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_heads_in_all_passes_of_both_orders(options: dict[str, Any]) -> None:
    assert gz.check(heads(**options), inputs_for(options))


def test_self_attention_is_cross_attention_with_itself() -> None:
    module, x = heads(), normal(3, 2, 6)
    assert gz.check(module, x)
    alone, weights = module(x)
    cross, others = module(x, x.copy(), x.copy())
    np.testing.assert_allclose(alone.numpy(), cross.numpy(), 1e-12)
    np.testing.assert_allclose(weights.numpy(), others.numpy(), 1e-12)
    uneven = heads(kdim=6, vdim=5)
    with pytest.raises(gz.ShapeError, match=r"its value(.|\n)*\(L, N, 5\)"):
        uneven(x)


MULTI: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"attn_mask": ~np.tri(3, 4, dtype=bool)},
    "numbers": {"attn_mask": normal(3, 4)},
    "each head": {"attn_mask": normal(4, 3, 4, seed=3) > 0.8},
    "numbers of each head": {"attn_mask": normal(4, 3, 4, seed=3)},
    "padding": {"key_padding_mask": np.array([[False, False, True, True], [False] * 4])},
    "padding in numbers": {"key_padding_mask": normal(2, 4)},
    "padding and numbers": {"key_padding_mask": np.array([[False, False, True, True], [False] * 4]),
                            "attn_mask": normal(3, 4)},
    "padding and causal": {"key_padding_mask": np.array([[False, False, True, True], [False] * 4]),
                           "attn_mask": ~np.tri(3, 4, dtype=bool)},
}  # fmt: skip


@pytest.mark.parametrize("averaged", [True, False, None])
@pytest.mark.parametrize("masks", MULTI.values(), ids=MULTI)
@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_heads_like_torch(options: dict[str, Any], masks: dict[str, Any], averaged: bool | None) -> None:
    torch = pytest.importorskip("torch")
    ours = heads(**options)
    theirs = torch.nn.MultiheadAttention(6, 2, **options).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    assert list(theirs.state_dict()) == list(ours.state_dict())
    chosen = {"need_weights": averaged is not None, "average_attn_weights": bool(averaged)}
    y, weights = ours(*inputs_for(options), **masks, **chosen)
    if len({mask.dtype for mask in masks.values()}) == 2:  # which PyTorch wants to have in numbers both
        masks = {k: np.where(m, -np.inf, 0.0) if m.dtype == bool else m for k, m in masks.items()}
    right, others = theirs(
        *map(torch.tensor, inputs_for(options)), **{k: torch.tensor(m) for k, m in masks.items()}, **chosen
    )
    np.testing.assert_allclose(y.numpy(), right.detach().numpy(), 1e-9, 1e-12)
    assert (weights is None) == (averaged is None)
    if weights is not None:
        assert weights.shape == tuple(others.shape)
        np.testing.assert_allclose(weights.numpy(), others.detach().numpy(), 1e-9, 1e-12)


def test_gradients_of_heads_like_torch() -> None:
    torch = pytest.importorskip("torch")
    ours = heads()
    theirs = torch.nn.MultiheadAttention(6, 2).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    (y, weights), x = ours(normal(3, 2, 6)), torch.tensor(normal(3, 2, 6))
    right, others = theirs(x, x, x)
    ((y * y).sum() + (weights * weights).sum()).backward()
    ((right * right).sum() + (others * others).sum()).backward()
    for name, parameter in theirs.named_parameters():
        got = dict(ours.named_parameters())[name].grad
        np.testing.assert_allclose(got, parameter.grad.numpy(), 1e-9, 1e-10)


def test_is_causal_and_sequences_without_a_batch() -> None:
    module = heads()
    x = normal(4, 6)
    y, weights = module(x, is_causal=True, key_padding_mask=np.array([False, True, False, False]))
    assert y.shape == (4, 6)
    assert weights.shape == (4, 4)
    allowed = np.tri(4, dtype=bool) & np.array([True, False, True, True])
    np.testing.assert_array_equal(weights.numpy() != 0, allowed)
    batched, _ = module(x[:, None], attn_mask=~allowed)
    np.testing.assert_allclose(y.numpy(), batched.numpy()[:, 0], 1e-12)
    first = heads(batch_first=True)(x, need_weights=False)
    np.testing.assert_allclose(first[0].numpy(), heads()(x)[0].numpy(), 1e-12)
    assert first[1] is None


def test_all_keys_left_out_give_the_projection_of_zero() -> None:
    module = heads()
    y, weights = module(normal(3, 2, 6), key_padding_mask=np.array([[True] * 3, [False] * 3]))
    np.testing.assert_array_equal(weights.numpy()[0], 0)
    np.testing.assert_allclose(y.numpy()[:, 0], np.broadcast_to(module.out_proj.bias.numpy(), (3, 6)), 1e-12)


def test_heads_with_dropout_drop_in_training_only() -> None:
    module, x = heads(dropout=0.5), normal(3, 2, 6)
    assert not np.allclose(module(x)[0].numpy(), module(x)[0].numpy())
    module.eval()
    np.testing.assert_array_equal(module(x)[0].numpy(), module(x)[0].numpy())


def test_initial_values() -> None:
    module = gz.MultiheadAttention(32, 4, rng=0)
    bound = np.sqrt(6 / (4 * 32))
    weight = module.in_proj_weight.numpy()
    assert 0.95 * bound < np.abs(weight).max() <= bound
    assert not module.in_proj_bias.numpy().any()
    assert not module.out_proj.bias.numpy().any()
    np.testing.assert_array_equal(gz.MultiheadAttention(32, 4, rng=0).in_proj_weight.numpy(), weight)


def test_heads_refuse_what_does_not_fit() -> None:
    for sizes in ((6, 4), (0, 1), (6, 0)):
        with pytest.raises(gz.ArgumentError, match="multiple of num_heads"):
            gz.MultiheadAttention(*sizes)
    module = heads()
    with pytest.raises(gz.ShapeError, match=r"its query(.|\n)*\(L, N, 6\) or \(L, 6\)"):
        module(np.ones((3, 2, 5)))
    with pytest.raises(gz.ShapeError, match=r"key_padding_mask does not fit(.|\n)*\(2, 3\)"):
        module(np.ones((3, 2, 6)), key_padding_mask=np.zeros((3, 2), bool))
    with pytest.raises(gz.ShapeError, match=r"attn_mask does not fit(.|\n)*\(3, 3\) or \(4, 3, 3\)"):
        module(np.ones((3, 2, 6)), attn_mask=np.zeros((2, 3), bool))


def test_repr() -> None:
    assert repr(gz.ScaledDotProductAttention(True, 0.1)) == (
        "ScaledDotProductAttention(is_causal=True, dropout_p=0.1, scale=None)"
    )
    assert repr(gz.MultiheadAttention(6, 2)).startswith("MultiheadAttention(6, 2, batch_first=False\n")
