"""The update rules: SGD, Adagrad, RMSprop, Adam, AdamW.

The rules and their defaults are PyTorch's, so a run can be compared number by number. In all formulas θ is
the parameter, g its gradient, λ `weight_decay`, γ `lr` and t the number of this parameter's steps, from 1.
With `maximize=True` g is replaced by −g. Products and sums are elementwise.

Each `_update` writes into arrays it already has: for the small models that people study, the price of a step
is the number of NumPy calls, for large ones the number of passes over memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from graphzoo.optim.optimizer import Optimizer, decay_rate, decay_rates, finite, flag, non_negative
from graphzoo.tensor import Tensor, number

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum or Nesterov's momentum.

        g ← g + λ θ
        b ← g at the first step, then μ b + (1 − τ) g       (only with momentum μ > 0; τ is `dampening`)
        g ← b, or g + μ b with `nesterov`
        θ ← θ − γ g

    Args:
        params: parameters or groups of them; see `Optimizer`.
        lr: learning rate γ ≥ 0.
        momentum: μ ≥ 0.
        dampening: τ; 0 with `nesterov`.
        weight_decay: λ ≥ 0.
        nesterov: look ahead along the momentum; needs momentum > 0.
        maximize: climb instead of descending.

    Raises:
        ArgumentError: an impossible value, no parameters, a parameter given twice.
        UnsupportedError: something that is not a parameter.

    Sources: B. T. Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); I.
    Sutskever et al., "On the importance of initialization and momentum in deep learning" (ICML 2013). As in
    PyTorch the learning rate multiplies the momentum when it is used, not when it is gathered.

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, -2.0])
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()       # gradient 2 w
    ...     optimizer.step()
    >>> w.data.round(6)                    # 1 − 0.2 = 0.8, then 0.8 − 0.1 (0.9 · 2 + 1.6) = 0.46
    array([ 0.46, -0.92], dtype=float32)
    """

    options: ClassVar = {
        "lr": non_negative,
        "momentum": non_negative,
        "dampening": finite,
        "weight_decay": non_negative,
        "nesterov": flag,
        "maximize": flag,
    }
    state_names: ClassVar = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def required_state(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if options["momentum"] else ()

    def _conflict(self, options: Mapping[str, Any]) -> str | None:
        if options.get("nesterov") and not (options["momentum"] > 0 and options["dampening"] == 0):
            return (
                "nesterov=True needs momentum > 0 and dampening = 0, "
                f"got momentum={options['momentum']} and dampening={options['dampening']}"
            )
        return None

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        grad = self._direction(data, grad, group["maximize"], group["weight_decay"])
        scratch = self._scratch(data)
        momentum = group["momentum"]
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = np.empty_like(data)
                buffer[...] = grad
            else:
                np.multiply(buffer, momentum, out=buffer)
                if group["dampening"]:
                    np.add(buffer, np.multiply(grad, 1 - group["dampening"], out=scratch), out=buffer)
                else:
                    np.add(buffer, grad, out=buffer)
            if group["nesterov"]:
                np.multiply(buffer, momentum, out=scratch)
                grad = np.add(scratch, grad, out=scratch)
            else:
                grad = buffer
        np.multiply(grad, number(float(group["lr"]), data.dtype), scratch)
        np.subtract(data, scratch, data)


class Adagrad(Optimizer):
    r"""Adagrad: every value has its own rate, which falls with the squared gradients it has seen.

        g ← g + λ θ
        s ← s + g²                                      (s starts at `initial_accumulator_value`)
        θ ← θ − γ / (1 + (t − 1) η) · g / (√s + ε)      (η is `lr_decay`, ε is `eps`)

    Args:
        params: parameters or groups of them; see `Optimizer`.
        lr: learning rate γ ≥ 0.
        lr_decay: η ≥ 0.
        weight_decay: λ ≥ 0.
        initial_accumulator_value: start of s, ≥ 0.
        eps: ε ≥ 0, keeps the divisor away from 0.
        maximize: climb instead of descending.

    Raises:
        ArgumentError: an impossible value, no parameters, a parameter given twice.
        UnsupportedError: something that is not a parameter.

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization" (JMLR 12, 2011).

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, -2.0])
    >>> optimizer = Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)                    # the first step is γ · sign(g)
    array([ 0.9, -1.9], dtype=float32)
    """

    options: ClassVar = {
        "lr": non_negative,
        "lr_decay": non_negative,
        "weight_decay": non_negative,
        "initial_accumulator_value": non_negative,
        "eps": non_negative,
        "maximize": flag,
    }
    state_names: ClassVar = ("step", "sum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def required_state(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return self.state_names

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        if not state:
            state.update(step=0, sum=np.full_like(data, group["initial_accumulator_value"]))
        grad = self._direction(data, grad, group["maximize"], group["weight_decay"])
        scratch, total = self._scratch(data), state["sum"]
        rate = float(group["lr"]) / (1 + state["step"] * group["lr_decay"])
        state["step"] += 1
        np.add(total, np.multiply(grad, grad, out=scratch), out=total)
        np.sqrt(total, out=scratch)
        np.add(scratch, group["eps"], out=scratch)
        np.divide(grad, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(data, scratch, out=data)


class RMSprop(Optimizer):
    r"""RMSprop: the gradient divided by a running root mean square of itself.

        g ← g + λ θ
        v ← α v + (1 − α) g²
        r ← √v + ε, or √(v − m²) + ε with `centered`, where m ← α m + (1 − α) g
        θ ← θ − γ g / r, or with momentum μ > 0: b ← μ b + g / r, θ ← θ − γ b

    Args:
        params: parameters or groups of them; see `Optimizer`.
        lr: learning rate γ ≥ 0.
        alpha: α in [0, 1), how slowly the mean square forgets.
        eps: ε ≥ 0, added outside the root.
        weight_decay: λ ≥ 0.
        momentum: μ ≥ 0.
        centered: divide by the estimated standard deviation.
        maximize: climb instead of descending.

    Raises:
        ArgumentError: an impossible value, no parameters, a parameter given twice.
        UnsupportedError: something that is not a parameter.

    Sources: T. Tieleman, G. Hinton, "Lecture 6.5: RMSprop" (Coursera, 2012); centred: A. Graves, "Generating
    sequences with recurrent neural networks" (2013).

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, -2.0])
    >>> optimizer = RMSprop([w], lr=0.1, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)                    # √v = |g| / 2 after the first step, so it moves by 2 γ
    array([ 0.8, -1.8], dtype=float32)
    """

    options: ClassVar = {
        "lr": non_negative,
        "alpha": decay_rate,
        "eps": non_negative,
        "weight_decay": non_negative,
        "momentum": non_negative,
        "centered": flag,
        "maximize": flag,
    }
    state_names: ClassVar = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def required_state(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if options["centered"]:
            names.append("grad_avg")
        if options["momentum"]:
            names.append("momentum_buffer")
        return tuple(names)

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        for name in self.required_state(group):
            if name not in state:
                state[name] = np.zeros_like(data)
        grad = self._direction(data, grad, group["maximize"], group["weight_decay"])
        scratch, alpha = self._scratch(data), group["alpha"]
        square = state["square_avg"]
        _average_in_square(square, grad, alpha, scratch)
        if group["centered"]:
            mean = state["grad_avg"]
            _average_in(mean, grad, alpha, scratch)
            np.multiply(mean, mean, out=scratch)
            np.subtract(square, scratch, out=scratch)
            np.sqrt(scratch, out=scratch)
        else:
            np.sqrt(square, out=scratch)
        np.add(scratch, group["eps"], out=scratch)
        change = np.divide(grad, scratch, out=scratch)
        if group["momentum"]:
            buffer = state["momentum_buffer"]
            np.multiply(buffer, group["momentum"], out=buffer)
            change = np.add(buffer, scratch, out=buffer)
        np.multiply(change, float(group["lr"]), out=scratch)
        np.subtract(data, scratch, out=data)


class Adam(Optimizer):
    r"""Adam: steps along a running mean of the gradient, scaled by a running root mean square.

        g ← g + λ θ
        m ← β₁ m + (1 − β₁) g,    m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²,   v̂ = v / (1 − β₂ᵗ)     (with `amsgrad` the largest v so far)
        θ ← θ − γ m̂ / (√v̂ + ε)

    Args:
        params: parameters or groups of them; see `Optimizer`.
        lr: learning rate γ ≥ 0.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε ≥ 0, added outside the root.
        weight_decay: λ ≥ 0, part of the gradient; see `AdamW` for decay apart from it.
        amsgrad: never let the divisor shrink.
        maximize: climb instead of descending.

    Raises:
        ArgumentError: an impossible value, no parameters, a parameter given twice.
        UnsupportedError: something that is not a parameter.

    Sources: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1;
    AMSGrad: S. J. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond" (ICLR 2018), with
    PyTorch's bias correction.

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, -2.0])
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)                    # m̂ = g and v̂ = g² at first: a step of γ · sign(g)
    array([ 0.9, -1.9], dtype=float32)
    """

    options: ClassVar = {
        "lr": non_negative,
        "betas": decay_rates,
        "eps": non_negative,
        "weight_decay": non_negative,
        "amsgrad": flag,
        "maximize": flag,
    }
    state_names: ClassVar = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def required_state(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return self.state_names if options["amsgrad"] else self.state_names[:3]

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        grad = self._direction(data, grad, group["maximize"], group["weight_decay"])
        self._adam(data, grad, state, group)

    def _adam(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(data), exp_avg_sq=np.zeros_like(data))
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
        scratch = self._scratch(data)
        _average_in(mean, grad, beta1, scratch)
        _average_in_square(square, grad, beta2, scratch)
        if group["amsgrad"]:
            largest = state.get("max_exp_avg_sq")
            if largest is None:
                largest = state["max_exp_avg_sq"] = np.zeros_like(data)
            square = np.maximum(largest, square, out=largest)
        # Both sides of m̂ / (√v̂ + ε) times √(1 − β₂ᵗ): the corrections become scalars and spare a pass over
        # the array.
        correction = math.sqrt(1 - beta2**step)
        np.sqrt(square, out=scratch)
        np.add(scratch, group["eps"] * correction, out=scratch)
        np.divide(mean, scratch, out=scratch)
        np.multiply(scratch, float(group["lr"]) * correction / (1 - beta1**step), out=scratch)
        np.subtract(data, scratch, out=data)


class AdamW(Adam):
    r"""Adam with weight decay apart from the gradient, so that it is not divided by the root mean square.

        θ ← (1 − γ λ) θ, then `Adam` with λ = 0

    Args:
        params: parameters or groups of them; see `Optimizer`.
        lr: learning rate γ ≥ 0.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε ≥ 0, added outside the root.
        weight_decay: λ ≥ 0; 0.01 by default.
        amsgrad: never let the divisor shrink.
        maximize: climb instead of descending (the decay stays a decay).

    Raises:
        ArgumentError: an impossible value, no parameters, a parameter given twice.
        UnsupportedError: something that is not a parameter.

    Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization" (ICLR 2019), with PyTorch's
    convention that the rate multiplies the decay.

    >>> import graphzoo as gz
    >>> w = gz.Parameter([1.0, -2.0])
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)                    # 0.95 · w − 0.1 · sign(g)
    array([ 0.85, -1.8 ], dtype=float32)
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        if group["weight_decay"]:
            np.multiply(data, 1 - float(group["lr"]) * group["weight_decay"], out=data)
        self._adam(data, self._direction(data, grad, group["maximize"], 0.0), state, group)


def _average_in(mean: np.ndarray, value: np.ndarray, decay: float, scratch: np.ndarray) -> None:
    """mean ← decay · mean + (1 − decay) · value, as a step from mean towards value."""
    np.subtract(value, mean, out=scratch)
    np.multiply(scratch, 1 - decay, out=scratch)
    np.add(mean, scratch, out=mean)


def _average_in_square(mean: np.ndarray, value: np.ndarray, decay: float, scratch: np.ndarray) -> None:
    """mean ← decay · mean + (1 − decay) · value²."""
    np.multiply(value, value, out=scratch)
    np.multiply(scratch, 1 - decay, out=scratch)
    np.multiply(mean, decay, out=mean)
    np.add(mean, scratch, out=mean)
