"""Gradient norms as colours: a logarithmic scale from dark blue to yellow, which colour-blind readers can read too."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .gradients import GraphGradients

# Some colours along "cividis" (J. R. Nuñez, C. R. Anderton, R. S. Renslow, 2018), which looks alike with and without
# red-green deficiency, and whose lightness rises evenly.
SCALE = ("#00224e", "#1f3d6d", "#4c556c", "#6d6e73", "#8e8978", "#b4a76c", "#d9c55c", "#fee838")
# "RdBu" of C. Brewer, M. Harrower, which colour-blind readers can tell apart.
DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
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

    what = "gradient norm"

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
        return between(SCALE, self.place(norm))

    def is_dark(self, norm: float) -> bool:
        """Whether text on the colour must be light."""
        return not math.isfinite(norm) or (norm > 0 and self.place(norm) < 0.55)


class Ratios(Heat):
    """The colours of ratios of gradient norms: white for 1, blue below, red above, alike in both directions.

    >>> ratios = Ratios([0.01, 1.0])
    >>> ratios.colour(0.01), ratios.colour(1.0), ratios.colour(100.0)
    ('#2166ac', '#f7f7f7', '#b2182b')
    """

    what = "ratio of gradient norms"

    def __init__(self, ratios: Iterable[float]) -> None:
        farthest = max((abs(math.log(ratio)) for ratio in ratios if 0 < ratio < math.inf), default=0.0)
        farthest = max(farthest, math.log(2))
        super().__init__(math.exp(-farthest), math.exp(farthest))

    def colour(self, norm: float) -> str:
        return between(DIVERGING, self.place(norm)) if 0 < norm < math.inf else BROKEN

    def is_dark(self, norm: float) -> bool:
        return not 0 < norm < math.inf or abs(self.place(norm) - 0.5) > 0.35


def between(scale: tuple[str, ...], place: float) -> str:
    """A colour on a scale, from 0 to 1."""
    position = place * (len(scale) - 1)
    index = min(int(position), len(scale) - 2)
    share = position - index
    channels = zip(_channels(scale[index]), _channels(scale[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in channels)


def together(norms: Iterable[float]) -> float:
    """The norm of several arrays taken as one."""
    return math.hypot(*norms)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
