r"""Attention: each query takes a mean of values, weighted by how well their keys match it.

`scaled_dot_product_attention` is one node, with a fused rule; `MultiheadAttention` is a model made of it and of
projections.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from ..backward import unbroadcast
from ..errors import ArgumentError, ShapeError, describe
from ..kernels.attention import attend, attend_gradients
from ..kernels.pool import empty
from ..module import Formulas, Module, generator, record
from ..state import Parameter
from ..tape import Node, note_draw
from ..tensor import DEFAULT_DTYPE, Tensor, constant
from .array import split
from .group import where
from .linear import Linear

__all__ = ["MultiheadAttention", "ScaledDotProductAttention", "scaled_dot_product_attention"]


class ScaledDotProductAttention(Module):
    """y = softmax(q kᵀ / √d + mask) v: for each query a mean of the values.

    Called as ``attention(q, k, v, mask=None)``. A query that the mask lets see no key gets 0, and no gradient.

    Shapes: q (..., L, d), k (..., S, d), v (..., S, e); y (..., L, e). Leading axes broadcast.

    Args:
        is_causal: whether query i sees keys 0 to i only.
        dropout_p: probability of dropping a weight in training; the others are scaled by 1/(1 - p).
        scale: factor of q kᵀ; 1/√d if None.
        need_weights: whether the weights (..., L, S) are returned, too, as a pair (y, weights).
        rng: a seed or a NumPy Generator for dropout; None for fresh ones.

    The mask broadcasts to (..., L, S). Booleans say which keys take part; numbers are added to the scores, and may
    require a gradient.

    Raises:
        ArgumentError: dropout_p outside of [0, 1].
        ShapeError: arrays that do not fit each other.

    >>> import graphzoo as gz
    >>> q, k, v = gz.tensor([[0.0, 0.0]]), gz.tensor([[1.0, 2.0], [3.0, 4.0]]), gz.tensor([[2.0], [4.0]])
    >>> gz.ScaledDotProductAttention()(q, k, v)
    tensor([[3.]])
    >>> gz.ScaledDotProductAttention(is_causal=True)(q, k, v)
    tensor([[2.]])
    """

    formulas = Formulas(
        forward=r"y = P v, \quad P_{ij} = \frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}, \quad "
        r"s = \frac{q k^\top}{\sqrt{d}} + m",
        backward=r"\frac{\partial L}{\partial v} = P^\top \frac{\partial L}{\partial y}, \quad "
        r"\frac{\partial L}{\partial q} = \frac{1}{\sqrt{d}} \frac{\partial L}{\partial s} k, \quad "
        r"\frac{\partial L}{\partial k} = \frac{1}{\sqrt{d}} \left(\frac{\partial L}{\partial s}\right)^\top q, \quad "
        r"\frac{\partial L}{\partial s_{ij}} = P_{ij} \left(\frac{\partial L}{\partial P_{ij}} - "
        r"\sum_k P_{ik} \frac{\partial L}{\partial P_{ik}}\right), \quad "
        r"\frac{\partial L}{\partial P} = \frac{\partial L}{\partial y} v^\top",
        source="zoo of deep learning modules, where it is named without formulas; A. Vaswani et al., Attention is "
        "all you need (2017)",
    )

    def __init__(
        self,
        is_causal: bool = False,
        dropout_p: float = 0.0,
        scale: float | None = None,
        need_weights: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 <= dropout_p <= 1:
            raise ArgumentError(
                "attention: dropout_p is the probability of dropping a weight",
                got=dropout_p,
                expected="a number from 0 to 1",
            )
        self.is_causal = is_causal
        self.dropout_p = dropout_p
        self.scale = scale
        self.need_weights = need_weights
        self.rng = generator(rng) if dropout_p else None

    def __call__(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        return record(self, (q, k, v, mask))

    def forward(self, node: Node, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None) -> Any:
        lead, (queries, keys) = _fitting(q, k, v, mask)
        dtype = np.result_type(q, k, v, np.float32)
        left, right, values = matrices = [_matrices(a, lead, dtype) for a in (q, k, v)]
        biases, which = self._biases(mask, lead, queries, keys, dtype)
        count, saving = len(left), any(node.needs)
        keep = self._kept((count, queries, keys), dtype)
        y = empty((count, queries, v.shape[-1]), dtype)
        weights = empty((count if saving or self.need_weights else 0, queries, keys), dtype)
        scales = np.empty((count, queries, 1), dtype)
        attend(y, weights, scales, left, right, values, self._scale(q), biases, which, keep)
        shape = (*lead, queries, v.shape[-1])
        node.saved = (q, k, v, mask, *((matrices, weights, scales, keep, y) if saving else ()))
        if not self.need_weights:
            return y.reshape(shape)
        shown = weights * scales if keep is None else weights * scales * keep
        return y.reshape(shape), shown.reshape(*lead, queries, keys)

    def backward(self, node: Node, dy: Any) -> tuple[Any, ...]:
        q, *_, matrices, weights, scales, keep, y = node.saved
        lead = (node.shape[0] if self.need_weights else node.shape)[:-2]
        dtype = y.dtype
        dy, dweights = dy if self.need_weights else (dy, None)
        dy = np.zeros(y.shape, dtype) if dy is None else _matrices(dy, lead, dtype)
        dweights = None if dweights is None else _matrices(dweights, lead, dtype)
        dq, dk, dv = (empty(a.shape, dtype) for a in matrices)
        dmask = np.empty(weights.shape, dtype) if node.needs[3] else None
        left, right, values = matrices
        scale = self._scale(q)
        attend_gradients(dq, dk, dv, dmask, dy, dweights, left, right, values, scale, weights, scales, keep, y)
        return tuple(
            None if a is None else unbroadcast(a.reshape(*lead, *a.shape[1:]), source.shape)
            for a, source in zip((dq, dk, dv, dmask), node.inputs, strict=True)
        )

    def expand(self, node: Node, q: Any, k: Any, v: Any, mask: Any) -> Any:
        scores = q @ k.swapaxes(-1, -2) * self._scale(q)
        queries, keys = scores.shape[-2:]
        if self.is_causal:
            scores = scores + _causal(queries, keys, scores.dtype)
        if mask is not None:
            scores = scores + (mask if mask.dtype.kind == "f" else _as_bias(mask.numpy(), scores.dtype))
        top = scores.numpy().max(axis=-1, keepdims=True)
        p = np.exp(scores - np.where(top == -np.inf, 0, top))
        total = p.sum(axis=-1, keepdims=True)
        p = p / where(total.numpy() == 0, constant(np.ones((), total.dtype)), total)
        keep = node.saved[-2]
        p = p if keep is None else p * keep.reshape(p.shape)
        return (p @ v, p) if self.need_weights else p @ v

    def _scale(self, q: Any) -> float:
        return 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale

    def _biases(
        self, mask: np.ndarray | None, lead: tuple[int, ...], queries: int, keys: int, dtype: np.dtype[Any]
    ) -> tuple[np.ndarray | None, Any]:
        """What is added to scores: matrices, of which each is there once, and the number of each score matrix's own."""
        bias = None if mask is None else _as_bias(mask, dtype)
        if self.is_causal:
            causal = _causal(queries, keys, dtype)
            bias = causal if bias is None else bias + causal
        if bias is None:
            return None, None
        bias = bias.reshape((1,) * (2 - bias.ndim) + bias.shape)
        numbers = np.arange(math.prod(bias.shape[:-2])).reshape(bias.shape[:-2])
        return bias.reshape(-1, *bias.shape[-2:]), np.broadcast_to(numbers, lead).reshape(-1)

    def _kept(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
        """What dropout multiplies each weight with, or None."""
        if not (self.training and self.dropout_p):
            return None
        assert self.rng is not None
        note_draw(self.rng)
        kept = self.rng.random(shape, np.float32) >= self.dropout_p
        return kept * np.asarray(0 if self.dropout_p == 1 else 1 / (1 - self.dropout_p), dtype)

    def extra_repr(self) -> str:
        return f"is_causal={self.is_causal}, dropout_p={self.dropout_p}, scale={self.scale}"


def scaled_dot_product_attention(
    q: Any,
    k: Any,
    v: Any,
    /,
    mask: Any = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    *,
    rng: int | np.random.Generator | None = None,
) -> Tensor:
    """softmax(q kᵀ / √d + mask) v; see `ScaledDotProductAttention`. With dropout_p weights are dropped at each call."""
    if dropout_p:
        return ScaledDotProductAttention(is_causal, dropout_p, scale, rng=rng)(q, k, v, mask)
    return _without_dropout(is_causal, scale)(q, k, v, mask)


@lru_cache(64)
def _without_dropout(is_causal: bool, scale: float | None) -> ScaledDotProductAttention:
    return ScaledDotProductAttention(is_causal, scale=scale)


class MultiheadAttention(Module):
    """Attention in several subspaces at once: heads of projected queries, keys and values, whose results are projected.

    A model: a scope with a `ScaledDotProductAttention` node in it. Called as ``y, weights = attention(query, key=None,
    value=None, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False)``.
    Without key it is self-attention; without value the keys are the values, too.

    Shapes: query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), with batch_first the batch axis N in front,
    or all without N; y as the query; weights (N, L, S), the mean over heads, or (N, num_heads, L, S) with
    average_attn_weights=False, or None with need_weights=False, which is quicker.

    Masks: key_padding_mask (N, S), attn_mask (L, S) or (N · num_heads, L, S). As in PyTorch's module of this name, and
    contrary to `scaled_dot_product_attention`, True here means *left out*; numbers are added to the scores.

    Parameters (PyTorch's names):
        in_proj_weight: (3 embed_dim, embed_dim), the projections of query, key and value, Xavier uniform; instead of it
            q_proj_weight, k_proj_weight, v_proj_weight if kdim or vdim differ from embed_dim.
        in_proj_bias: (3 embed_dim,), zeros; None with bias=False.
        out_proj.weight, out_proj.bias: of the `Linear` behind the heads; the bias zeros.

    Args:
        embed_dim: features of query and result.
        num_heads: number of heads; each works on embed_dim / num_heads features.
        dropout: probability of dropping a weight in training.
        bias: whether projections have biases.
        kdim, vdim: features of key and value; embed_dim if None.
        batch_first: whether shapes are (N, L, features).
        rng: a seed or a NumPy Generator for initial values and dropout; None for fresh ones.

    Raises:
        ArgumentError: sizes below 1, or an embed_dim that does not divide into the heads.
        ShapeError: inputs or masks that do not fit.

    >>> import numpy as np, graphzoo as gz
    >>> attention = gz.MultiheadAttention(6, 2, rng=0)
    >>> y, weights = attention(np.ones((4, 3, 6), np.float32))
    >>> y.shape, weights.shape
    ((4, 3, 6), (3, 4, 4))
    """

    formulas = Formulas(
        forward=r"y = (h_1, \dots, h_n) W_o^\top + b_o, \quad h_i = \mathrm{attention}(q_i, k_i, v_i), \quad"
        r" q_i = q W_{q,i}^\top + b_{q,i}, \quad k_i = k W_{k,i}^\top + b_{k,i}, \quad"
        r" v_i = v W_{v,i}^\top + b_{v,i}",
        source="A. Vaswani et al., Attention is all you need (2017)",
    )

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention: each head works on embed_dim / num_heads features",
                got=f"embed_dim={embed_dim}, num_heads={num_heads}",
                expected="embed_dim a multiple of num_heads, both at least 1",
            )
        random = generator(rng)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.batch_first = batch_first
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim

        def xavier(rows: int, columns: int) -> Parameter:
            bound = math.sqrt(6 / (rows + columns))
            return Parameter(random.uniform(-bound, bound, (rows, columns)))

        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = xavier(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = xavier(embed_dim, embed_dim)
            self.k_proj_weight = xavier(embed_dim, self.kdim)
            self.v_proj_weight = xavier(embed_dim, self.vdim)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=random)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data = np.zeros(embed_dim)
        self.attention = ScaledDotProductAttention(dropout_p=dropout, rng=random)
        self.attention_with_weights = ScaledDotProductAttention(dropout_p=dropout, need_weights=True, rng=random)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        key = query if key is None else key
        value = key if value is None else value
        same = query is key is value
        inputs = [
            self._with_batch(name, x if isinstance(x, Tensor) else constant(np.asarray(x)), features)
            for name, x, features in (
                ("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim),
            )
        ]  # fmt: skip
        q, k, v = self._heads_of_one(inputs[0]) if same else self._heads_of_three(inputs)
        batch, _, queries, _ = q.shape
        mask = self._mask(attn_mask, key_padding_mask, is_causal, batch, queries, k.shape[2])
        weights: Tensor | None = None
        if need_weights:
            y, weights = self.attention_with_weights(q, k, v, mask)
        else:
            y = self.attention(q, k, v, mask)
        y = y.transpose(0, 2, 1, 3) if self.batch_first else y.transpose(2, 0, 1, 3)
        y = self.out_proj(y.reshape(*y.shape[:2], self.embed_dim))
        if weights is not None and average_attn_weights:
            weights = weights.mean(axis=1)
        if inputs[0].ndim == query.ndim:
            return y, weights
        return y.squeeze(0 if self.batch_first else 1), None if weights is None else weights.squeeze(0)

    def _with_batch(self, name: str, x: Tensor, features: int) -> Tensor:
        if x.ndim not in (2, 3) or x.shape[-1] != features:
            layout = "(N, L, {0}) or (L, {0})" if self.batch_first else "(L, N, {0}) or (L, {0})"
            raise ShapeError(
                f"MultiheadAttention does not fit its {name}",
                got=f"{name} of shape {x.shape}",
                expected=layout.format(features),
            )
        if x.ndim == 3:
            return x
        return x.reshape(1, *x.shape) if self.batch_first else x.reshape(x.shape[0], 1, features)

    def _heads_of_one(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values of self-attention, out of one product; (N, heads, L, features of a head) each."""
        if "in_proj_weight" not in vars(self):
            return self._heads_of_three([x, x, x])
        y = _projected(x, self.in_proj_weight, self.in_proj_bias)
        return [self._head(part, x.shape) for part in split(y, 3, axis=1)]

    def _heads_of_three(self, inputs: list[Tensor]) -> list[Tensor]:
        if "in_proj_weight" in vars(self):
            weights = list(split(self.in_proj_weight, 3, axis=0))
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None] * 3 if self.in_proj_bias is None else list(split(self.in_proj_bias, 3))
        return [
            self._head(_projected(x, weight, bias), x.shape)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        ]

    def _head(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        y = rows.reshape(*shape[:2], self.num_heads, self.embed_dim // self.num_heads)
        return y.transpose(0, 2, 1, 3) if self.batch_first else y.transpose(1, 2, 0, 3)

    def _mask(
        self, attn_mask: Any, padding: Any, is_causal: bool, batch: int, queries: int, keys: int
    ) -> Tensor | None:
        """All masks as one that broadcasts to (N, heads, L, S), as `ScaledDotProductAttention` understands it."""
        left_out = []
        if attn_mask is not None:
            shapes = {(queries, keys): (1, 1), (batch * self.num_heads, queries, keys): (batch, self.num_heads)}
            left_out.append(_fitting_mask("attn_mask", attn_mask, shapes, queries))
        if padding is not None:
            shapes = {(keys,): (1, 1)} if batch == 1 else {}
            left_out.append(_fitting_mask("key_padding_mask", padding, {(batch, keys): (batch, 1), **shapes}, 1))
        if is_causal:
            left_out.append(constant(~np.tri(queries, keys, dtype=bool)))
        if not left_out:
            return None
        if all(mask.dtype == bool for mask in left_out):
            return constant(~reduce(np.logical_or, [mask.numpy() for mask in left_out]))
        return sum(
            constant(_as_bias(~mask.numpy(), DEFAULT_DTYPE)) if mask.dtype == bool else mask for mask in left_out
        )  # type: ignore[return-value]

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}"


def _projected(x: Tensor, weight: Any, bias: Any) -> Tensor:
    """x Wᵀ + b, as a matrix of rows."""
    y = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ weight.T
    return y if bias is None else y + bias


def _fitting_mask(name: str, mask: Any, shapes: dict[tuple[int, ...], tuple[int, int]], rows: int) -> Tensor:
    """A mask of one of these shapes as (*leading, rows, keys), with the leading axes that belong to its shape."""
    mask = mask if isinstance(mask, Tensor) else constant(np.asarray(mask))
    if mask.shape not in shapes:
        raise ShapeError(
            f"MultiheadAttention: {name} does not fit", got=describe(mask), expected=" or ".join(map(str, shapes))
        )
    return mask.reshape(*shapes[mask.shape], rows, mask.shape[-1])


def _as_bias(mask: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """What a mask adds to the scores: its numbers, or -inf where booleans say False."""
    if mask.dtype == bool:
        return np.where(mask, np.zeros((), dtype), np.asarray(-np.inf, dtype))
    return mask.astype(dtype, copy=False)


def _causal(queries: int, keys: int, dtype: np.dtype[Any]) -> np.ndarray:
    return _as_bias(np.tri(queries, keys, dtype=bool), dtype)


def _matrices(array: np.ndarray, lead: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """(..., rows, columns) with the leading axes broadcast and then flattened into one."""
    whole = array if array.shape[:-2] == lead else np.broadcast_to(array, (*lead, *array.shape[-2:]))
    return whole.reshape(math.prod(lead), *array.shape[-2:]).astype(dtype, copy=False)


def _fitting(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The broadcast leading axes, and L and S; raises if the arrays do not fit each other."""
    if min(q.ndim, k.ndim, v.ndim) >= 2 and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]:
        shape = q.shape[-2], k.shape[-2]
        try:
            lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
            if mask is None or np.broadcast_shapes(mask.shape, (*lead, *shape)) == (*lead, *shape):
                return lead, shape
        except ValueError:
            pass
    raise ShapeError(
        "attention: queries, keys, values and mask do not fit each other",
        got=f"q {q.shape}, k {k.shape}, v {v.shape}" + ("" if mask is None else f", mask {mask.shape}"),
        expected="q (..., L, d), k (..., S, d), v (..., S, e), and a mask that broadcasts to (..., L, S)",
    )
