"""Regularization: modules that act in training only, to keep a model from learning its data by heart."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..module import Formulas, Module, generator, lift, unary
from ..tape import Node, note_draw
from ..tensor import Tensor

__all__ = ["Dropout", "Dropout2d"]


class Dropout(Module):
    """Drops entries at random in training, and scales the others up: y = x ⊙ D / (1 - p).

    D is 0 with probability p and 1 otherwise, drawn anew for each use and kept for its backward pass, so that y has the
    expectation of x. In evaluation mode (`eval()`), and with p = 0, the input itself is returned and nothing recorded.

    Shapes: x and y alike, of any shape; floating-point.

    Args:
        p: probability of dropping an entry (q in the zoo document), from 0 to 1; with 1 all becomes 0.
        rng: a seed or a NumPy Generator for the masks; None for fresh ones.

    Raises:
        ArgumentError: p outside of [0, 1].

    >>> import numpy as np, graphzoo as gz
    >>> drop = gz.Dropout(0.5, rng=0)
    >>> drop(gz.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    tensor([2., 2., 2., 0., 0., 0.])
    >>> drop.eval()(gz.tensor([1.0, 1.0]))
    tensor([1., 1.])
    """

    formulas = Formulas(
        forward=r"y = \frac{1}{1 - p} D \odot x, \quad D_i = \begin{cases} 0 & \text{with probability } p \\ "
        r"1 & \text{otherwise} \end{cases}",
        backward=r"\frac{\partial L}{\partial x} = \frac{1}{1 - p} \frac{\partial L}{\partial y} \odot D",
        source="zoo of deep learning modules, Regularization, Drop-out; N. Srivastava et al., Dropout: a simple way to "
        "prevent neural networks from overfitting (2014)",
    )
    saves = (None,)

    def __init__(self, p: float = 0.5, rng: int | np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(
                f"{type(self).__name__}: p is the probability of dropping", got=p, expected="a number from 0 to 1"
            )
        self.p = p
        self.rng = generator(rng)

    def __call__(self, x: Any) -> Tensor:
        x = x if isinstance(x, Tensor) else lift(x, self)
        return unary(self, x) if self.training and self.p > 0 else x

    def forward(self, node: Node, x: np.ndarray) -> np.ndarray:
        note_draw(self.rng)
        kept = self.rng.random(self._mask_shape(x), np.float32) >= self.p
        # Scaled and of the output's dtype, so that each pass is one product.
        mask = kept * np.asarray(0 if self.p == 1 else 1 / (1 - self.p), np.result_type(x, np.float32))
        node.saved = (mask,)
        return x * mask

    def _mask_shape(self, x: np.ndarray) -> tuple[int, ...]:
        """One number for each draw, broadcast to x."""
        return x.shape

    def backward(self, node: Node, dy: Any) -> Any:
        return dy * node.saved[0]

    def expand(self, node: Node, x: Any) -> Any:
        return x * node.saved[0]

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Drops whole channels at random in training, and scales the others up: y = x ⊙ D / (1 - p), D equal in a channel.

    Neighbouring entries of an image tell much the same, so that dropping single ones would hide little.

    Shapes: x and y (N, C, H, W), or (C, H, W) for one sample. All else is as in `Dropout`.

    Raises:
        ArgumentError: p outside of [0, 1].
        ShapeError: an input of another number of axes.

    >>> import numpy as np, graphzoo as gz
    >>> gz.Dropout2d(0.5, rng=1)(np.ones((2, 1, 2), np.float32)).numpy().tolist()
    [[[0.0, 0.0]], [[2.0, 2.0]]]
    """

    formulas = Dropout.formulas._replace(
        source="J. Tompson et al., Efficient object localization using convolutional networks (2015)"
    )

    def _mask_shape(self, x: np.ndarray) -> tuple[int, ...]:
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"{self.name or 'Dropout2d'} does not fit its input",
                got=f"an input of shape {x.shape}",
                expected="(N, C, H, W) or (C, H, W)",
                todo="use gz.Dropout for other inputs",
            )
        return (*x.shape[:-2], 1, 1)
