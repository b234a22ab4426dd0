"""Backpropagation through time, to be studied: what reaches which step, through what, and what truncation loses."""

from . import inits
from .gradients import StateGradients, WeightContributions, state_gradients, weight_contributions
from .reach import ContributionMatrix, TruncationBias, contribution_matrix, truncation_bias
from .spectrum import (
    Carousel,
    GateStats,
    Jacobians,
    JacobianSpectrum,
    carousel,
    gate_stats,
    jacobian_spectrum,
    jacobians,
)
from .unroll import Run, unroll

__all__ = [
    "Carousel",
    "ContributionMatrix",
    "GateStats",
    "JacobianSpectrum",
    "Jacobians",
    "Run",
    "StateGradients",
    "TruncationBias",
    "WeightContributions",
    "carousel",
    "contribution_matrix",
    "gate_stats",
    "inits",
    "jacobian_spectrum",
    "jacobians",
    "state_gradients",
    "truncation_bias",
    "unroll",
    "weight_contributions",
]
