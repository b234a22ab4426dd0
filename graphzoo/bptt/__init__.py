"""Backpropagation through time, to be studied: what reaches which step, through what, and what truncation loses."""

from . import inits, tasks
from .comparison import Comparison, compare
from .gradients import StateGradients, WeightContributions, state_gradients, weight_contributions
from .online import OnlineGradients, rtrl
from .reach import ContributionMatrix, TruncationBias, contribution_matrix, truncation_bias
from .run import Run, unroll
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
from .truncated import ClipReport, Window, clip_report, tbptt

__all__ = [
    "Carousel",
    "ClipReport",
    "Comparison",
    "ContributionMatrix",
    "GateStats",
    "JacobianSpectrum",
    "Jacobians",
    "OnlineGradients",
    "Run",
    "StateGradients",
    "TruncationBias",
    "WeightContributions",
    "Window",
    "carousel",
    "clip_report",
    "compare",
    "contribution_matrix",
    "gate_stats",
    "inits",
    "jacobian_spectrum",
    "jacobians",
    "rtrl",
    "state_gradients",
    "tasks",
    "tbptt",
    "truncation_bias",
    "unroll",
    "weight_contributions",
]
