"""Backpropagation through time, to be studied: what reaches which step, through what, and what truncation loses."""

from .gradients import StateGradients, WeightContributions, state_gradients, weight_contributions
from .unroll import Run, unroll

__all__ = ["Run", "StateGradients", "WeightContributions", "state_gradients", "unroll", "weight_contributions"]
