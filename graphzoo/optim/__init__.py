"""Optimisers, learning-rate schedules and gradient clipping, with PyTorch's names, arguments and update
rules.

`optimizer` holds what all optimisers share, `algorithms` the update rules, `lr_scheduler` the schedules and
`clip` the clipping of gradients.
"""

from graphzoo.optim import lr_scheduler
from graphzoo.optim.algorithms import SGD, Adagrad, Adam, AdamW, RMSprop
from graphzoo.optim.clip import clip_grad_norm, clip_grad_value
from graphzoo.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from graphzoo.optim.optimizer import Optimizer

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
    "lr_scheduler",
]
