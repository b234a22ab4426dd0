"""Learning-rate schedules against torch's values, chained and one after the other, and resumed."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphzoo import Parameter, optim
from graphzoo.errors import ArgumentError, StateError, UnsupportedError
from graphzoo.optim import lr_scheduler

CASES: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.9**t, lambda t: 1 - t / 50]}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.6, "total_iters": 9}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 7}),
    ("CosineAnnealingLR", {"T_max": 7}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.02}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.02}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 24}),
    ("OneCycleLR", {"max_lr": [0.7, 0.3], "epochs": 4, "steps_per_epoch": 6, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 24, "three_phase": True, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 24, "pct_start": 0.0}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 24, "cycle_momentum": False, "div_factor": 3.0}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 24, "base_momentum": [0.5, 0.6], "max_momentum": 0.8}),
]
STEPS = 24


def ours(kind: str = "SGD", **options: Any) -> optim.Optimizer:
    groups = [{"params": [Parameter([1.0])]}, {"params": [Parameter([2.0])], "lr": 0.05}]
    return getattr(optim, kind)(groups, lr=0.4, **options)  # type: ignore[no-any-return]


def torchs(torch: Any, kind: str = "SGD", **options: Any) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    groups[1]["lr"] = 0.05
    return getattr(torch.optim, kind)(groups, lr=0.4, **options)


def rates(optimizer: Any) -> list[Any]:
    keys = ("lr", "momentum", "betas")
    return [np.hstack([group[key] for key in keys if key in group]) for group in optimizer.param_groups]


def assert_same_course(
    mine: tuple[optim.Optimizer, list[Any]], theirs: tuple[Any, list[Any]], steps: int = STEPS
) -> None:
    for _ in range(steps):
        np.testing.assert_allclose(rates(mine[0]), rates(theirs[0]), rtol=1e-10, atol=1e-17)
        theirs[0].step()
        for scheduler in mine[1] + theirs[1]:
            scheduler.step()
    np.testing.assert_allclose(rates(mine[0]), rates(theirs[0]), rtol=1e-10, atol=1e-17)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_are_those_of_torch(name: str, options: dict[str, Any], kind: str) -> None:
    torch = pytest.importorskip("torch")
    momentum = {"momentum": 0.9} if kind == "SGD" else {}
    mine, theirs = ours(kind, **momentum), torchs(torch, kind, **momentum)
    schedule = getattr(lr_scheduler, name)(mine, **options)
    assert_same_course((mine, [schedule]), (theirs, [getattr(torch.optim.lr_scheduler, name)(theirs, **options)]))
    assert schedule.get_last_lr() == [group["lr"] for group in mine.param_groups]


def test_two_schedules_on_one_optimizer_multiply() -> None:
    torch = pytest.importorskip("torch")

    def both(module: Any, optimizer: Any) -> list[Any]:
        return [
            module.LinearLR(optimizer, start_factor=0.1, total_iters=6),
            module.ExponentialLR(optimizer, gamma=0.9),
            module.MultiStepLR(optimizer, [3, 9]),
        ]

    mine, theirs = ours(), torchs(torch)
    assert_same_course((mine, both(lr_scheduler, mine)), (theirs, both(torch.optim.lr_scheduler, theirs)))


def in_sequence(module: Any, optimizer: Any) -> Any:
    schedules = [
        module.LinearLR(optimizer, start_factor=0.1, total_iters=4),
        module.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.01),
        module.StepLR(optimizer, step_size=2, gamma=0.5),
    ]
    return module.SequentialLR(optimizer, schedules, milestones=[5, 14])


def test_schedules_one_after_the_other() -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = ours(), torchs(torch)
    schedule = in_sequence(lr_scheduler, mine)
    assert_same_course((mine, [schedule]), (theirs, [in_sequence(torch.optim.lr_scheduler, theirs)]))
    assert schedule.get_last_lr() == [group["lr"] for group in mine.param_groups]


def test_a_sequence_within_a_sequence() -> None:
    optimizer = ours()
    inner = optim.SequentialLR(
        optimizer, [optim.LinearLR(optimizer, 0.5, total_iters=2), optim.StepLR(optimizer, 1, 0.5)], [2]
    )
    outer = optim.SequentialLR(optimizer, [optim.StepLR(optimizer, 100), inner], [2])
    seen = []
    for _ in range(7):
        seen.append(optimizer.param_groups[0]["lr"])
        outer.step()
    assert seen == pytest.approx([0.4, 0.4, 0.2, 0.3, 0.4, 0.2, 0.1])


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 0, "mode": "max", "factor": 0.5, "threshold": 0.1, "threshold_mode": "abs"},
        {"patience": 1, "cooldown": 3, "min_lr": [0.1, 0.0], "factor": 0.3},
        {"patience": 1, "mode": "max", "threshold": 0.2, "eps": 0.03},
    ],
)
def test_plateaus_are_those_of_torch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = ours(), torchs(torch)
    schedule = optim.ReduceLROnPlateau(mine, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng = np.random.default_rng(1)
    for step in range(60):
        metric = 3.0 * math.exp(-step / 10) + 0.2 * rng.standard_normal() + 1.0
        schedule.step(metric)
        reference.step(metric)
        np.testing.assert_allclose(rates(mine), rates(theirs), rtol=1e-12)
    assert schedule.get_last_lr() == [group["lr"] for group in mine.param_groups]
    assert mine.param_groups[0]["lr"] < 0.4


def test_a_metric_may_be_an_array_of_one_element_or_nan() -> None:
    optimizer = ours()
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0)
    schedule.step(Parameter([2.0]))
    schedule.step(np.float32(1.0))
    assert optimizer.param_groups[0]["lr"] == 0.4
    schedule.step(math.nan)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04)


def metric_step(schedule: Any, t: int) -> None:
    if isinstance(schedule, optim.ReduceLROnPlateau):
        schedule.step(abs(t - 5) + 1.0)
    else:
        schedule.step()


MAKERS: list[Callable[[optim.Optimizer], Any]] = [
    *(
        lambda optimizer, name=name, options=options: getattr(lr_scheduler, name)(optimizer, **options)
        for name, options in CASES
    ),
    lambda optimizer: in_sequence(lr_scheduler, optimizer),
    lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=1),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("optimizer_first", [True, False])
@pytest.mark.parametrize("at", [1, 9])
def test_a_resumed_schedule_goes_on(make: Any, optimizer_first: bool, at: int) -> None:
    optimizer = ours(momentum=0.9)
    schedule = make(optimizer)
    for t in range(at):
        metric_step(schedule, t)
    saved = optimizer.state_dict(), schedule.state_dict()
    expected = []
    for t in range(at, STEPS):
        metric_step(schedule, t)
        expected.append(rates(optimizer))

    other = ours(momentum=0.9)
    if optimizer_first:  # making the schedule then changes rates, which its state puts right
        other.load_state_dict(saved[0])
        resumed = make(other)
    else:
        resumed = make(other)
        other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for t, rate in zip(range(at, STEPS), expected, strict=True):
        metric_step(resumed, t)
        np.testing.assert_array_equal(rates(other), rate)


@given(st.integers(1, 30), st.integers(0, 60), st.floats(0.0, 0.1))
def test_the_cosine_is_its_formula(period: int, t: int, low: float) -> None:
    optimizer = ours()
    schedule = optim.CosineAnnealingLR(optimizer, T_max=period, eta_min=low)
    for _ in range(t):
        schedule.step()
    expected = low + (0.4 - low) * (1 + math.cos(math.pi * t / period)) / 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_one_cycle_of_hardly_any_steps() -> None:
    optimizer = ours(momentum=0.9)
    schedule = optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=2, pct_start=0.5)  # a rise of no length
    assert optimizer.param_groups[0]["lr"] == 1.0
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0 / 25 / 1e4)


def test_a_schedule_of_ones_own() -> None:
    class Halves(optim.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / 2**self.last_epoch for base in self.base_lrs]

    optimizer = ours()
    schedule = Halves(optimizer)
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.025]


def test_errors() -> None:
    optimizer = ours()
    with pytest.raises(UnsupportedError, match="sets the learning rate of an optimiser"):
        optim.StepLR(Parameter([1.0]), 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="step_size must be a positive integer"):
        optim.StepLR(optimizer, 0)
    with pytest.raises(ArgumentError, match="T_max must be a positive integer"):
        optim.CosineAnnealingLR(optimizer, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="impossible start_factor"):
        optim.LinearLR(optimizer, start_factor=0.0)
    with pytest.raises(ArgumentError, match="impossible end_factor"):
        optim.LinearLR(optimizer, end_factor=1.5)
    with pytest.raises(ArgumentError, match=r"one entry per parameter group\n.*3 for 2 groups"):
        optim.LambdaLR(optimizer, [abs, abs, abs])
    with pytest.raises(ArgumentError, match="length of the cycle"):
        optim.OneCycleLR(optimizer, 0.1)
    with pytest.raises(ArgumentError, match="impossible pct_start"):
        optim.OneCycleLR(optimizer, 0.1, 10, pct_start=3)
    with pytest.raises(ArgumentError, match="unknown anneal_strategy"):
        optim.OneCycleLR(optimizer, 0.1, 10, anneal_strategy="sine")
    with pytest.raises(ArgumentError, match="Adagrad has none"):
        optim.OneCycleLR(optim.Adagrad([Parameter([1.0])]), 0.1, 10)
    with pytest.raises(ArgumentError, match="unknown mode"):
        optim.ReduceLROnPlateau(optimizer, mode="down")
    with pytest.raises(ArgumentError, match="unknown threshold_mode"):
        optim.ReduceLROnPlateau(optimizer, threshold_mode="no")
    with pytest.raises(ArgumentError, match="impossible factor"):
        optim.ReduceLROnPlateau(optimizer, factor=1.0)


def test_a_cycle_ends() -> None:
    schedule = optim.OneCycleLR(ours(), 0.1, 3)
    for _ in range(3):  # a loop over 3 batches steps 3 times
        schedule.step()
    with pytest.raises(ArgumentError, match=r"the cycle is over\n.*step 4"):
        schedule.step()


def test_errors_of_sequences() -> None:
    optimizer = ours()
    step = optim.StepLR(optimizer, 3)
    for schedules, milestones in (([], []), ([step], [3]), ([step, step, step], [5, 3])):
        with pytest.raises(ArgumentError, match="milestones do not fit"):
            optim.SequentialLR(optimizer, schedules, milestones)
    with pytest.raises(ArgumentError, match="schedule 1 belongs to another optimiser"):
        optim.SequentialLR(optimizer, [step, optim.StepLR(ours(), 3)], [5])
    with pytest.raises(UnsupportedError, match="cannot run schedule 0"):
        optim.SequentialLR(optimizer, [optim.ReduceLROnPlateau(optimizer)], [])


def test_groups_added_later_are_noticed() -> None:
    optimizer = ours()
    schedule = optim.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": Parameter([3.0])})
    with pytest.raises(ArgumentError, match="made for 2 parameter groups"):
        schedule.step()


def test_states_that_do_not_fit() -> None:
    optimizer = ours()
    step, linear = optim.StepLR(optimizer, 3), optim.LinearLR(optimizer)
    with pytest.raises(StateError, match=r"missing 'gamma', missing 'step_size', unexpected 'end_factor'"):
        step.load_state_dict(linear.state_dict())
    with pytest.raises(StateError, match="rates of 1 parameter groups saved, 2 here"):
        step.load_state_dict({**step.state_dict(), "last_lrs": [0.1]})
    sequence = optim.SequentialLR(optimizer, [step, linear], [4])
    with pytest.raises(StateError, match="1 schedules saved, 2 here"):
        sequence.load_state_dict({**sequence.state_dict(), "schedulers": [step.state_dict()]})


def test_nothing_warns() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optim.StepLR(ours(), 3).step()
    assert not caught
