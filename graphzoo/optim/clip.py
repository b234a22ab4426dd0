"""Clipping of gradients, before the optimiser's step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from graphzoo.errors import ArgumentError, GradientError, UnsupportedError, describe
from graphzoo.tensor import Tensor


def clip_grad_norm(
    params: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    r"""Scales all gradients together so that their norm, as of one long vector, is at most `max_norm`.

        n = (Σ |g|ᵖ)^(1/p) over all values of all gradients
        g ← g · min(1, max_norm / (n + 10⁻⁶))

    The direction stays, which keeps an exploding gradient from throwing the parameters away. The gradients
    are scaled in place. The norm is right for
    gradients near the limits of their dtype too, where the squares would overflow or vanish.

    Args:
        params: parameters (or any tensors with ``.grad``); each counts once, and those with ``.grad`` None
            not at all.
        max_norm: the largest norm allowed, ≥ 0.
        norm_type: p > 0, or ``math.inf`` for the largest absolute value.
        error_if_nonfinite: raise, and change nothing, when the norm is infinite or not a number. Otherwise a
            norm that is not finite spreads into the gradients: finite values become 0 beside an infinite one,
            everything becomes NaN beside a NaN.

    Returns:
        The norm n before clipping; 0.0 when no parameter has a gradient.

    Raises:
        ArgumentError: `max_norm` negative or NaN, `norm_type` not positive.
        UnsupportedError: something that is no tensor.
        GradientError: the norm is not finite and `error_if_nonfinite` is set.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML
    2013), algorithm 1; the 10⁻⁶ is PyTorch's.

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.Parameter([3.0, 4.0], name="w")
    >>> w.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm([w], max_norm=1.0)
    5.0
    >>> w.grad.round(5)
    array([0.6, 0.8], dtype=float32)
    """
    if not max_norm >= 0:
        raise ArgumentError("clip_grad_norm: impossible max_norm", got=max_norm, expected="a number ≥ 0")
    if not norm_type > 0:
        raise ArgumentError("clip_grad_norm: impossible norm_type", got=norm_type, expected="a number > 0 or math.inf")
    gradients = _gradients(params)
    norm = _norm(list(gradients.values()), float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        bad = [label for label, grad in gradients.items() if not np.isfinite(grad).all()]
        raise GradientError(
            f"the norm of the gradients is {norm}",
            got=f"values that are not finite in the gradient of {', '.join(bad)}",
            todo="lower the learning rate, look at the loss, or pass error_if_nonfinite=False",
        )
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # also when it is NaN
        with np.errstate(invalid="ignore"):  # ∞ · 0, which the docstring announces
            for grad in gradients.values():
                np.multiply(grad, factor, out=grad)
    return norm


def clip_grad_value(params: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limits every value of every gradient to the range [−clip_value, clip_value], in place.

    Args:
        params: parameters (or any tensors with ``.grad``); each counts once, and those with ``.grad`` None
            not at all.
        clip_value: the largest absolute value allowed, ≥ 0. NaN values stay NaN.

    Raises:
        ArgumentError: `clip_value` negative or NaN.
        UnsupportedError: something that is no tensor.

    >>> import numpy as np, graphzoo as gz
    >>> w = gz.Parameter([0.0, 0.0, 0.0])
    >>> w.grad = np.array([-5.0, 0.5, 2.0])
    >>> clip_grad_value(w, 1.0)
    >>> w.grad
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    if not clip_value >= 0:
        raise ArgumentError("clip_grad_value: impossible clip_value", got=clip_value, expected="a number ≥ 0")
    limit = float(clip_value)
    for grad in _gradients(params).values():
        np.clip(grad, -limit, limit, out=grad)


def _gradients(params: Tensor | Iterable[Tensor]) -> dict[str, np.ndarray]:
    """The gradients that there are, each once, labelled for messages."""
    gradients: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    for position, tensor in enumerate([params] if isinstance(params, Tensor) else params):
        if not isinstance(tensor, Tensor):
            raise UnsupportedError(
                "gradients can only be clipped on tensors",
                got=describe(tensor),
                todo="pass model.parameters()",
            )
        if tensor.grad is not None and id(tensor) not in seen:
            seen.add(id(tensor))
            gradients[f"{tensor.name or 'a parameter'} (position {position})"] = tensor.grad
    return gradients


def _norm(arrays: list[np.ndarray], p: float) -> float:
    flat = [array.ravel(order="K") for array in arrays if array.size]
    if not flat:
        return 0.0
    if p == 2:
        with np.errstate(over="ignore", invalid="ignore"):
            square = sum(float(np.dot(values, values)) for values in flat)
        if 1e-24 < square < math.inf:  # nothing overflowed, and what may have vanished does not count
            return math.sqrt(square)
    largest = float(np.max([np.max(np.abs(values)) for values in flat]))  # max() could lose a NaN
    if p == math.inf or largest == 0 or not math.isfinite(largest):
        return largest
    total = sum(float(np.sum((np.abs(values, dtype=np.float64) / largest) ** p)) for values in flat)
    return float(largest * total ** (1 / p))
