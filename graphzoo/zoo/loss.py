r"""Losses: how far an output is from its target, as one number (or one per sample).

A loss is one node with a fused rule. The torch-named ones take `reduction`: ``"mean"`` (the default), ``"sum"``, or
``"none"`` for the unreduced losses; the mean of no losses is NaN. The two of the zoo document, `CrossEntropy` and
`SquaredError`, sum. Shapes never broadcast: an input and a target that differ in shape are an error, not a surprise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, ShapeError, describe
from ..module import Formulas, Module
from ..tape import Node
from ..tensor import Tensor, as_array
from .activation import configured, log_softmax, log_softmax_values, sigmoid_values, softplus, softplus_values

__all__ = [
    "BCEWithLogitsLoss", "CrossEntropy", "CrossEntropyLoss", "HuberLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SquaredError", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss", "mse_loss",
    "nll_loss", "squared_error",
]  # fmt: skip

DOCUMENT = "zoo of deep learning modules, Loss"


class _Loss(Module):
    """What losses share: the reduction of many losses to one number."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ArgumentError(
                f"{type(self).__name__} does not know this reduction",
                got=repr(reduction),
                expected="'mean', 'sum' or 'none'",
            )
        self.reduction = reduction

    def _reduced(self, losses: Any, total: float | None = None) -> Any:
        """The losses of arrays or tensors, reduced; `total` is what a mean divides by, if not their number."""
        if self.reduction == "none":
            return losses
        if self.reduction == "sum":
            return losses.sum()
        return losses.sum() / ((losses.size if total is None else total) or math.nan)

    def _upstream(self, dy: Any, total: float) -> Any:
        """The gradient for each loss: one number for all of them if they were reduced, 0 if the mean was of none."""
        return dy / (total or math.inf) if self.reduction == "mean" else dy

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


# Between numbers -----------------------------------------------------------------------------------------------------


class _DifferenceLoss(_Loss):
    """A loss of d = input - target, by the losses and their slopes as functions of d; for arrays and tensors."""

    saves = (0, 1)

    def forward(self, node: Node, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        target = _alike(self, input, target)
        node.saved = (input, target)
        return self._reduced(self._losses(input - target))

    def backward(self, node: Node, dy: Any) -> Any:
        input, target = node.saved
        gradient = self._slopes(input - target) * self._upstream(dy, input.size)
        return gradient, -gradient if node.needs[1] else None

    def expand(self, node: Node, input: Any, target: Any) -> Any:
        return self._reduced(self._losses(input - target))

    def _losses(self, difference: Any) -> Any:
        raise NotImplementedError

    def _slopes(self, difference: Any) -> Any:
        raise NotImplementedError


class MSELoss(_DifferenceLoss):
    """Squared error (x - t)², averaged over all entries by default.

    Shapes: input x and target t alike; the result is a single number, or of their shape with reduction="none".
    Gradients flow to both.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ShapeError: input and target of different shapes.
        ArgumentError: another reduction.

    >>> import graphzoo as gz
    >>> gz.mse_loss(gz.tensor([1.0, 2.0]), gz.tensor([0.0, 4.0]))
    tensor(2.5)
    """

    formulas = Formulas(
        forward=r"L = \frac{1}{n} \sum_i (x_i - t_i)^2",
        backward=r"\frac{\partial L}{\partial x_i} = -\frac{\partial L}{\partial t_i} = \frac{2}{n} (x_i - t_i)",
        source="PyTorch, torch.nn.MSELoss",
    )

    def _losses(self, difference: Any) -> Any:
        return difference * difference

    def _slopes(self, difference: Any) -> Any:
        return difference + difference


class SquaredError(MSELoss):
    """Squared error of the zoo document: L = Σ (t - x)², not averaged.

    Shapes: input x and target t alike; the result is a single number. Gradients flow to both.

    Raises:
        ShapeError: input and target of different shapes.

    >>> import graphzoo as gz
    >>> gz.squared_error(gz.tensor([1.0, 2.0]), gz.tensor([0.0, 4.0]))
    tensor(5.)
    """

    formulas = Formulas(
        forward=r"L = \sum_i (t_i - x_i)^2",
        backward=r"\frac{\partial L}{\partial x_i} = -2 (t_i - x_i)",
        source=f"{DOCUMENT}, Squared Error",
    )

    def __init__(self) -> None:
        super().__init__("sum")

    def extra_repr(self) -> str:
        return ""


class L1Loss(_DifferenceLoss):
    """Absolute error |x - t|, averaged over all entries by default; its gradient is 0 where x = t.

    Shapes: input x and target t alike; the result is a single number, or of their shape with reduction="none".
    Gradients flow to both.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ShapeError: input and target of different shapes.
        ArgumentError: another reduction.

    >>> import graphzoo as gz
    >>> gz.l1_loss(gz.tensor([1.0, 2.0]), gz.tensor([0.0, 4.0]))
    tensor(1.5)
    """

    formulas = Formulas(
        forward=r"L = \frac{1}{n} \sum_i |x_i - t_i|",
        backward=r"\frac{\partial L}{\partial x_i} = -\frac{\partial L}{\partial t_i} = "
        r"\frac{1}{n} \operatorname{sign}(x_i - t_i)",
        source="PyTorch, torch.nn.L1Loss",
    )

    def _losses(self, difference: Any) -> Any:
        return np.abs(difference)

    def _slopes(self, difference: Any) -> Any:
        return np.sign(difference)


class HuberLoss(_DifferenceLoss):
    """Huber's loss of d = x - t: d²/2 where |d| ≤ δ, δ (|d| - δ/2) beyond; averaged over all entries by default.

    Shapes: input x and target t alike; the result is a single number, or of their shape with reduction="none".
    Gradients flow to both.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: δ > 0, where the parabola goes over into a line.

    Raises:
        ShapeError: input and target of different shapes.
        ArgumentError: another reduction; a delta that is not positive.

    >>> import graphzoo as gz
    >>> gz.huber_loss(gz.tensor([1.0, 2.0]), gz.tensor([0.0, 4.0]), reduction="none")
    tensor([0.5, 1.5])
    """

    formulas = Formulas(
        forward=r"L = \frac{1}{n} \sum_i c_i \left(d_i - \tfrac{1}{2} c_i\right), \quad d_i = x_i - t_i, \quad "
        r"c_i = \min(\max(d_i, -\delta), \delta)",
        backward=r"\frac{\partial L}{\partial x_i} = -\frac{\partial L}{\partial t_i} = \frac{1}{n} c_i",
        source="P. J. Huber, Robust estimation of a location parameter, Ann. Math. Statist. 35 (1964)",
    )

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ArgumentError("HuberLoss: delta must be positive", got=delta, expected="a number above 0")
        self.delta = delta

    def _losses(self, difference: Any) -> Any:
        clipped = np.clip(difference, -self.delta, self.delta)
        return clipped * (difference - clipped * 0.5)

    def _slopes(self, difference: Any) -> Any:
        return np.clip(difference, -self.delta, self.delta)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, delta={self.delta}"


# Between probabilities -----------------------------------------------------------------------------------------------


class CrossEntropy(Module):
    """Cross-entropy of the zoo document, on probabilities: L = -Σ p log x, not averaged.

    0 · log 0 counts as 0, with zero gradient; where p > 0 meets x = 0 the loss is inf and the gradient -inf: nothing is
    clamped. For logits use `CrossEntropyLoss`, which does not need the detour through probabilities.

    Shapes: input x (probabilities) and target p (probabilities) alike; the result is a single number. Gradients flow
    to both.

    Raises:
        ShapeError: input and target of different shapes.

    >>> import graphzoo as gz
    >>> gz.CrossEntropy()(gz.tensor([[0.5, 0.5, 0.0]]), gz.tensor([[0.0, 1.0, 0.0]]))
    tensor(0.6931472)
    """

    formulas = Formulas(
        forward=r"L = -\sum_i p_i \log x_i",
        backward=r"\frac{\partial L}{\partial x_i} = -\frac{p_i}{x_i}, \quad "
        r"\frac{\partial L}{\partial p_i} = -\log x_i",
        source=f"{DOCUMENT}, Cross-Entropy",
    )

    def forward(self, node: Node, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        target = _alike(self, input, target)
        node.saved = (input, target)
        return -(target * self._logs(input, target)).sum()

    def backward(self, node: Node, dy: np.ndarray) -> tuple[Any, Any]:
        input, target = node.saved
        dx = dp = None
        if node.needs[0]:
            with np.errstate(divide="ignore"):  # p / 0 is inf, as documented
                dx = -dy * np.divide(target, input, out=np.zeros_like(target), where=self._counts(input, target))
        if node.needs[1]:
            dp = -dy * self._logs(input, target)
        return dx, dp

    def expand(self, node: Node, input: Any, target: Any) -> Any:
        counts = self._counts(*node.saved)
        return -(target * np.log(np.where(counts, input, 1))).sum()

    @staticmethod
    def _counts(input: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Where not both probabilities are 0."""
        return (input != 0) | (target != 0)

    def _logs(self, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):  # log 0 is -inf, as documented
            return np.log(input, out=np.zeros_like(input), where=self._counts(input, target))


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits: -[p t log σ(x) + (1 - t) log(1 - σ(x))], averaged over all entries by default.

    Shapes: input x (logits) and target t alike, t from 0 to 1 and of any dtype; the result is a single number, or of
    their shape with reduction="none". Gradients flow to both.

    Args:
        weight: factors for the losses, that broadcast to their shape. A buffer.
        reduction: ``"mean"`` (divides by the number of entries), ``"sum"`` or ``"none"``.
        pos_weight: p, factors for the positive part, that broadcast to the inputs' shape: above 1 for recall, below for
            precision. A buffer.

    Raises:
        ShapeError: input and target of different shapes; weights that do not broadcast to them.
        ArgumentError: another reduction.

    >>> import numpy as np, graphzoo as gz
    >>> gz.binary_cross_entropy_with_logits(gz.tensor([0.0, 1e4, 1e4]), np.array([1, 1, 0]), reduction="none")
    tensor([6.931472e-01, 0.000000e+00, 1.000000e+04])
    """

    formulas = Formulas(
        forward=r"L = \frac{1}{n} \sum_i w_i \left[(1 - t_i) x_i + l_i \log(1 + e^{-x_i})\right], \quad "
        r"l_i = 1 + (p_i - 1) t_i",
        backward=r"\frac{\partial L}{\partial x_i} = \frac{w_i}{n} \left(l_i \sigma(x_i) - p_i t_i\right), \quad "
        r"\frac{\partial L}{\partial t_i} = \frac{w_i}{n} \left((p_i - 1) \log(1 + e^{-x_i}) - x_i\right)",
        source="PyTorch, torch.nn.BCEWithLogitsLoss",
    )
    buffer_names = ("weight", "pos_weight")

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else as_array(weight)
        self.pos_weight = None if pos_weight is None else as_array(pos_weight)

    def forward(self, node: Node, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        target = _alike(self, input, target)
        for name, value in (("weight", self.weight), ("pos_weight", self.pos_weight)):
            _check_broadcasts(name, value, input.shape)
        node.saved = (input, target)
        return self._reduced(self._losses(input, target, softplus_values(-input)))

    def backward(self, node: Node, dy: np.ndarray) -> tuple[Any, Any]:
        input, target = node.saved
        share = self._upstream(dy, input.size)
        if self.weight is not None:
            share = share * self.weight.astype(input.dtype, copy=False)
        dx = dt = None
        if self.pos_weight is None:
            if node.needs[0]:
                dx = (sigmoid_values(input) - target) * share
            if node.needs[1]:
                dt = -input * share
            return dx, dt
        factor = self.pos_weight.astype(input.dtype, copy=False)
        if node.needs[0]:
            positive = factor * target
            dx = ((1 - target + positive) * sigmoid_values(input) - positive) * share
        if node.needs[1]:
            dt = ((factor - 1) * softplus_values(-input) - input) * share
        return dx, dt

    def expand(self, node: Node, input: Any, target: Any) -> Any:
        return self._reduced(self._losses(input, target, softplus(-input)))

    def _losses(self, x: Any, target: Any, softplus_of_minus_x: Any) -> Any:
        """The losses of arrays or tensors."""
        if self.pos_weight is not None:
            factor = self.pos_weight.astype(x.dtype, copy=False)
            softplus_of_minus_x = (target * (factor - 1) + 1) * softplus_of_minus_x
        losses = x - x * target + softplus_of_minus_x
        return losses if self.weight is None else losses * self.weight.astype(x.dtype, copy=False)

    def extra_repr(self) -> str:
        given = [f"{name}=..." for name in self.buffer_names if getattr(self, name) is not None]
        return ", ".join([f"reduction={self.reduction!r}", *given])


# Between classes -----------------------------------------------------------------------------------------------------


class _ClassLoss(_Loss):
    """What losses over classes share: weights of classes, ignored targets, and where in the input targets point."""

    buffer_names = ("weight",)

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else as_array(weight)
        if self.weight is not None and self.weight.ndim != 1:
            raise ShapeError(
                f"{type(self).__name__}: weight holds one factor per class",
                got=f"shape {self.weight.shape}",
                expected="a vector as long as there are classes",
            )
        self.ignore_index = ignore_index

    def _class_axis(self, input: Any) -> int:
        """The axis of the classes, after a check that there is one and that the weights fit it."""
        if input.ndim == 0:
            raise ShapeError(
                f"{type(self).__name__} needs an axis of classes",
                got="a single number",
                expected="(C,), (N, C) or (N, C, d1, ...)",
            )
        axis = min(input.ndim - 1, 1)
        if self.weight is not None and len(self.weight) != input.shape[axis]:
            raise ShapeError(
                f"{type(self).__name__}: weight does not fit the number of classes",
                got=f"{len(self.weight)} weights for an input of shape {input.shape}",
                expected=f"{input.shape[axis]} weights, one per class (axis {axis})",
            )
        return axis

    def _hits(
        self, values: np.ndarray, target: np.ndarray, axis: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """For each target its position in the flattened input and its weight, 0 if it is ignored; and which are."""
        classes, shape = values.shape[axis], values.shape[:axis] + values.shape[axis + 1 :]
        if target.dtype.kind not in "iu":
            raise DtypeError(
                f"{type(self).__name__} takes the targets' classes as integers",
                got=describe(target),
                expected=f"an integer array or tensor of shape {shape}",
                todo="make it one: np.array(target) for a list, target.astype(int) for whole floats",
            )
        if target.shape != shape:
            raise ShapeError(
                f"{type(self).__name__}: the classes do not fit the input",
                got=f"a target of shape {target.shape} for an input of shape {values.shape}",
                expected=f"a target of shape {shape}: that of the input without axis {axis}, the classes",
                todo="bring the target to this shape with reshape(), or the classes to axis 1 with np.moveaxis()",
            )
        ignored = None
        if target.size and (target.min() < 0 or target.max() >= classes or 0 <= self.ignore_index < classes):
            ignored = target == self.ignore_index
            self._check_range(target, ignored, classes)
            target = np.where(ignored, 0, target)
        if self.weight is None:
            weights = np.ones(shape, values.dtype)
        else:
            weights = self.weight.astype(values.dtype, copy=False)[target]
        if ignored is not None:
            weights = weights * ~ignored
        inner = math.prod(values.shape[axis + 1 :])
        sample, place = np.arange(target.size), target.reshape(-1).astype(np.intp, copy=False)
        if inner != 1:
            sample, behind = np.divmod(sample, inner)
            return (sample * classes + place) * inner + behind, weights, ignored
        return sample * classes + place, weights, ignored

    def _check_range(self, target: np.ndarray, ignored: np.ndarray, classes: int) -> None:
        wrong = ~ignored & ((target < 0) | (target >= classes))
        if wrong.any():
            position = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ArgumentError(
                f"{type(self).__name__}: there is no class {target[position]}",
                got=f"the target {target[position]} at position {position}",
                expected=f"a class from 0 to {classes - 1}, as the input has {classes} of them, "
                f"or {self.ignore_index} (ignore_index)",
                todo="check the labels, or the number of outputs before the loss",
            )

    def extra_repr(self) -> str:
        parts = [] if self.weight is None else ["weight=..."]
        parts += [] if self.ignore_index == -100 else [f"ignore_index={self.ignore_index}"]
        return ", ".join([*parts, f"reduction={self.reduction!r}"])


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of classes: -w_t x_t for log-probabilities x; averaged by weight by default.

    Shapes: input (C,), (N, C) or (N, C, d1, ...), log-probabilities along C; target integers, of the input's shape
    without C. The result is a single number, or of the target's shape with reduction="none".

    Args:
        weight: a factor for each class, (C,). A buffer.
        ignore_index: targets of this value count for nothing, neither in sums nor in means.
        reduction: ``"mean"`` divides by the sum of the targets' weights; if all are ignored that gives NaN, with
            gradients of 0. ``"sum"`` or ``"none"``.

    Raises:
        ArgumentError: a target that is no class, with its position; another reduction.
        DtypeError: targets that are no integers.
        ShapeError: a target or weight that does not fit the input.

    >>> import numpy as np, graphzoo as gz
    >>> gz.nll_loss(gz.log_softmax(gz.tensor([[0.0, 0.0], [0.0, 1e4]])), np.array([1, 0]), reduction="none")
    tensor([6.931472e-01, 1.000000e+04])
    """

    formulas = Formulas(
        forward=r"L = -\frac{1}{\sum_n w_{t_n}} \sum_n w_{t_n} x_{n t_n}",
        backward=r"\frac{\partial L}{\partial x_{nc}} = -\frac{w_{t_n}}{\sum_m w_{t_m}} [c = t_n]",
        source="PyTorch, torch.nn.NLLLoss",
    )
    saves = (None, None, None)

    def forward(self, node: Node, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        hits, weights, _ = self._hits(input, target, self._class_axis(input))
        total = float(weights.sum())
        node.saved = (hits, weights, total)
        return self._reduced(_picked(input, hits, weights), total)

    def backward(self, node: Node, dy: Any) -> Any:
        hits, weights, total = node.saved
        return _over_classes(self._upstream(dy, total)) * _placed(-weights, hits, node.inputs[0].shape), None

    def expand(self, node: Node, input: Any, target: Any) -> Any:
        hits, weights, total = node.saved
        losses = -(_placed(weights, hits, input.shape) * input).sum(axis=self._class_axis(input))
        return self._reduced(losses, total)


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of logits with classes or with probabilities; averaged by default.

    With log q = log_softmax(x) along the classes: -w_t log q_t for a class t, -Σ_c w_c p_c log q_c for probabilities p.
    0 · log 0 counts as 0.

    Shapes: input (C,), (N, C) or (N, C, d1, ...), logits along C; target either classes, integers of the input's
    shape without C, or probabilities, floating-point of the input's shape, to which gradients flow as well. The result
    is a single number, or of the input's shape without C with reduction="none".

    Args:
        weight: w, a factor for each class, (C,). A buffer.
        ignore_index: targets of this class count for nothing, neither in sums nor in means.
        reduction: ``"mean"`` divides by the sum of the targets' weights, for probabilities by their number; if all
            targets are ignored that gives NaN, with gradients of 0. ``"sum"`` or ``"none"``.
        label_smoothing: ε from 0 to 1; p becomes (1 - ε) p + ε / C.

    Raises:
        ArgumentError: a target that is no class, with its position; another reduction; a smoothing outside [0, 1].
        DtypeError: targets that are neither integers nor floating-point.
        ShapeError: a target or weight that does not fit the input.

    >>> import numpy as np, graphzoo as gz
    >>> logits = gz.tensor([[0.0, 0.0, 0.0], [0.0, 1e4, 0.0]])
    >>> gz.cross_entropy(logits, np.array([2, 0]), reduction="none")
    tensor([1.0986123e+00, 1.0000000e+04])
    >>> gz.cross_entropy(logits, np.array([2, -100]))
    tensor(1.0986123)
    """

    formulas = Formulas(
        forward=r"L = -\frac{1}{n} \sum_n \sum_c w_c p_{nc} \log q_{nc}, \quad "
        r"q_{nc} = \frac{e^{x_{nc}}}{\sum_k e^{x_{nk}}}",
        backward=r"\frac{\partial L}{\partial x_{nc}} = \frac{1}{n} \left(q_{nc} \sum_k w_k p_{nk} - "
        r"w_c p_{nc}\right), \quad \frac{\partial L}{\partial p_{nc}} = -\frac{1}{n} w_c \log q_{nc}",
        source="PyTorch, torch.nn.CrossEntropyLoss; label smoothing: C. Szegedy et al., Rethinking the inception "
        "architecture for computer vision (2016)",
    )

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                "CrossEntropyLoss: label_smoothing is a share", got=label_smoothing, expected="a number from 0 to 1"
            )
        self.label_smoothing = label_smoothing

    # What is saved: the log-probabilities, which stand in for the logits (the loss is the same for both); the target;
    # for classes without smoothing the positions of the targets and their weights, otherwise None and the weighted
    # probabilities of all classes; and what a mean divides by.

    def forward(self, node: Node, input: np.ndarray, target: np.ndarray) -> np.ndarray:
        axis = self._class_axis(input)
        logs = log_softmax_values(input, axis)
        if target.dtype.kind == "f":
            self._check_probabilities(input, target)
            wanted = self._smoothed(target.astype(logs.dtype, copy=False))
            total = logs.size / max(logs.shape[axis], 1)
            node.saved = (logs, target, None, wanted, total)
            return self._reduced(_cross_entropies(wanted, logs, axis), total)
        hits, weights, ignored = self._hits(logs, target, axis)
        total = float(weights.sum())
        if not self.label_smoothing:
            node.saved = (logs, target, hits, weights, total)
            return self._reduced(_picked(logs, hits, weights), total)
        wanted = self._smoothed(_placed(np.ones_like(weights), hits, logs.shape))
        if ignored is not None:
            wanted *= _over_classes(~ignored)
        node.saved = (logs, target, None, wanted, total)
        return self._reduced(_cross_entropies(wanted, logs, axis), total)

    def backward(self, node: Node, dy: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        logs, _, hits, wanted, total = node.saved
        share = self._upstream(dy, total)
        dx = dp = None
        if node.needs[0]:
            dx = np.exp(logs)
            if hits is None:
                dx *= wanted.sum(axis=self._class_axis(logs), keepdims=True)
                dx -= wanted
                dx *= _over_classes(share)
            else:
                shares = wanted * share
                dx *= _over_classes(shares)
                dx.reshape(-1)[hits] -= shares.reshape(-1)
        if node.needs[1]:
            factor = self._weighted(np.full_like(logs, self.label_smoothing - 1))
            dp = np.where((wanted == 0) & (logs == -np.inf), 0, logs) * factor * _over_classes(share)
        return dx, dp

    def expand(self, node: Node, input: Any, target: Any) -> Any:
        logs, _, hits, saved, total = node.saved
        axis = self._class_axis(input)
        values = saved if hits is None else _placed(saved, hits, input.shape)
        wanted = self._smoothed(target) if target.dtype.kind == "f" else values
        counts = (values != 0) | (logs != -np.inf)
        return self._reduced(-(np.where(counts, log_softmax(input, axis), 0) * wanted).sum(axis=axis), total)

    def _smoothed(self, probabilities: Any) -> Any:
        """Probabilities of the classes (an array or tensor) smoothed and weighted."""
        if self.label_smoothing:
            classes = probabilities.shape[self._class_axis(probabilities)]
            probabilities = probabilities * (1 - self.label_smoothing) + self.label_smoothing / classes
        return self._weighted(probabilities)

    def _weighted(self, probabilities: Any) -> Any:
        if self.weight is None:
            return probabilities
        weight = self.weight.astype(probabilities.dtype, copy=False)
        return probabilities * weight.reshape((-1,) + (1,) * (probabilities.ndim - 2))

    def _check_probabilities(self, input: np.ndarray, target: np.ndarray) -> None:
        if target.shape != input.shape:
            raise ShapeError(
                "CrossEntropyLoss: the probabilities do not fit the input",
                got=f"a target {describe(target)} for an input of shape {input.shape}",
                expected="floating-point probabilities of the input's shape, or integer classes",
                todo="for classes make the target integers: np.array(target) for a list, target.astype(int) for floats",
            )

    def extra_repr(self) -> str:
        smoothing = f", label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return super().extra_repr() + smoothing


# Helpers -------------------------------------------------------------------------------------------------------------


def _alike(module: Module, input: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The target, checked to have the input's shape; integers and booleans in the input's dtype."""
    if input.shape != target.shape:
        raise ShapeError(
            f"{type(module).__name__} compares arrays of the same shape",
            got=f"an input of shape {input.shape} and a target of shape {target.shape}",
            expected="equal shapes",
            todo=f"bring the target to the input's shape with reshape({', '.join(map(str, input.shape))}) if it has as "
            "many entries, or broadcast it with gz.broadcast_to",
        )
    return target if target.dtype.kind == "f" else target.astype(input.dtype)


def _check_broadcasts(name: str, value: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if value is not None and np.broadcast_shapes(value.shape, shape) != shape:
        raise ShapeError(
            f"BCEWithLogitsLoss: {name} does not broadcast to the input",
            got=f"shape {value.shape} for an input of shape {shape}",
            expected="one factor, one per entry, or one for each index of the last axes",
        )


def _over_classes(values: Any) -> Any:
    """Values per sample, shaped to broadcast over the classes; a single number stays one."""
    return values.reshape((values.shape[0], 1, *values.shape[1:])) if values.ndim else values


def _placed(values: np.ndarray, hits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of a shape, with values at flat positions."""
    placed = np.zeros(shape, values.dtype)
    placed.reshape(-1)[hits] = values.reshape(-1)
    return placed


def _picked(logs: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted losses -w log q; 0 where the weight is, even if log q is -inf."""
    picked = logs.reshape(-1)[hits].reshape(weights.shape)
    return np.where(weights != 0, -picked, 0) * weights


def _cross_entropies(wanted: np.ndarray, logs: np.ndarray, axis: int) -> np.ndarray:
    """-Σ p log q over the classes; 0 where p is, even if log q is -inf."""
    products = np.multiply(wanted, logs, out=np.zeros_like(logs), where=wanted != 0)
    return -products.sum(axis=axis)


# As functions --------------------------------------------------------------------------------------------------------

_SQUARED_ERROR = SquaredError()


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Squared error, averaged by default; see `MSELoss`."""
    return configured(MSELoss, reduction)(input, target)


def squared_error(input: Any, target: Any) -> Tensor:
    """Squared error, summed; see `SquaredError`."""
    return _SQUARED_ERROR(input, target)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Absolute error, averaged by default; see `L1Loss`."""
    return configured(L1Loss, reduction)(input, target)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Huber's loss, averaged by default; see `HuberLoss`."""
    return configured(HuberLoss, reduction, delta)(input, target)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Binary cross-entropy of logits, averaged by default; see `BCEWithLogitsLoss`."""
    if weight is None and pos_weight is None:
        return configured(BCEWithLogitsLoss, None, reduction)(input, target)
    return BCEWithLogitsLoss(weight, reduction, pos_weight)(input, target)


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood of classes, averaged by default; see `NLLLoss`."""
    options = (ignore_index, reduction)
    module = configured(NLLLoss, None, *options) if weight is None else NLLLoss(weight, *options)
    return module(input, target)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits with classes or probabilities, averaged by default; see `CrossEntropyLoss`."""
    options = (ignore_index, reduction, label_smoothing)
    module = configured(CrossEntropyLoss, None, *options) if weight is None else CrossEntropyLoss(weight, *options)
    return module(input, target)
