"""What is known of recorded nodes beyond the tape, for as long as they live: `gz.record` writes it, graphs show it."""

from __future__ import annotations

import weakref
from typing import NamedTuple

from ..tape import Node
from .gradients import GraphGradients
from .statistics import Statistics


class Noted(NamedTuple):
    """What is known of one recorded node: statistics of each output, and the user's line that called it."""

    values: tuple[Statistics, ...]
    line: str | None


NOTED: weakref.WeakKeyDictionary[Node, Noted] = weakref.WeakKeyDictionary()
"""By node, for as long as it lives."""

CARRIED: weakref.WeakKeyDictionary[Node, GraphGradients] = weakref.WeakKeyDictionary()
"""What the latest backward pass from a node carried through its graph."""
