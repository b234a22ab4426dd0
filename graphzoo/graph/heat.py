"""Gradient norms as colours: a logarithmic scale from dark blue to yellow, which colour-blind readers can read too."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .gradients import GraphGradients

# Some colours along "cividis" (J. R. Nuñez, C. R. Anderton, R. S. Renslow, 2018), which looks alike with and without
# red-green deficiency, and whose lightness rises evenly.
SCALE = ("#00224e", "#1f3d6d", "#4c556c", "#6d6e73", "#8e8978", "#b4a76c", "#d9c55c", "#fee838")
ZERO = "#ffffff"
BROKEN = "#d40000"
"""Of a norm that is NaN or infinite: in no scale, and not to be overlooked."""


class Heat:
    """The colours of the gradient norms in a graph.

    Attributes:
        low, high: the smallest and largest positive norm of an operation's gradient; both 1 where there is none.

    >>> heat = Heat.of_norms([1e-6, 1.0])
    >>> heat.colour(1e-6), heat.colour(1e-3), heat.colour(5.0), heat.colour(0.0)
    ('#00224e', '#7e7c76', '#fee838', '#ffffff')
    """

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    @classmethod
    def of_norms(cls, norms: Iterable[float]) -> Heat:
        positive = [norm for norm in norms if 0 < norm < math.inf]
        return cls(min(positive, default=1.0), max(positive, default=1.0))

    @classmethod
    def of(cls, gradients: GraphGradients) -> Heat:
        """The scale that the operations of a graph span."""
        return cls.of_norms(gradients.nodes[id].norm for id in gradients.order)

    def place(self, norm: float) -> float:
        """Where on the scale a positive norm lies, from 0 to 1."""
        if self.high <= self.low:
            return 1.0
        span = math.log(self.high) - math.log(self.low)
        return min(1.0, max(0.0, (math.log(norm) - math.log(self.low)) / span))

    def colour(self, norm: float) -> str:
        """The colour of a norm as six digits."""
        if norm == 0:
            return ZERO
        if not math.isfinite(norm):
            return BROKEN
        position = self.place(norm) * (len(SCALE) - 1)
        index = min(int(position), len(SCALE) - 2)
        share = position - index
        channels = zip(_channels(SCALE[index]), _channels(SCALE[index + 1]), strict=True)
        return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in channels)

    def is_dark(self, norm: float) -> bool:
        """Whether text on the colour must be light."""
        return not math.isfinite(norm) or (norm > 0 and self.place(norm) < 0.55)


def together(norms: Iterable[float]) -> float:
    """The norm of several arrays taken as one."""
    return math.hypot(*norms)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
