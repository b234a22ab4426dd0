"""Learning-rate schedules: PyTorch's, with the same values.

A schedule is made after the optimiser, sets the learning rate of its first step, and is moved on by `step()`
after the optimiser's step (once per batch or once per epoch, as you count). Below, γ₀ is the rate that the
optimiser was made with and t the number of `step()` calls so far.

Most rules turn the present rate into the next, so two schedules on one optimiser multiply; `SequentialLR`
runs them one after the other.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphzoo.errors import ArgumentError, StateError, UnsupportedError, describe
from graphzoo.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules: counts the steps and writes the learning rate of every parameter group.

    A schedule of your own defines `get_lr`, which reads ``self.last_epoch`` (t) and ``self.base_lrs`` (γ₀ per
    group).

    Args:
        optimizer: whose rates are set.

    Attributes:
        last_epoch: t, the number of `step()` calls so far.
        base_lrs: γ₀ of every group.

    Raises:
        UnsupportedError: `optimizer` is none.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._attach(optimizer)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # a schedule made earlier has changed "lr" already
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._apply(self.get_lr())

    def get_lr(self) -> list[float]:
        """The rate of every group at ``self.last_epoch``, computed from the present one."""
        raise NotImplementedError

    def step(self) -> None:
        """Moves on by one step and sets the learning rates.

        Raises:
            ArgumentError: the optimiser has other parameter groups than when the schedule was made.
        """
        self.last_epoch += 1
        self._apply(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rate of every group that was set last."""
        return list(self.last_lrs)

    def state_dict(self) -> dict[str, Any]:
        """All numbers that the schedule consists of (functions are left out), for `gz.save`."""
        return {key: copy.deepcopy(value) for key, value in vars(self).items() if key not in self._not_in_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from a saved state, and sets the learning rates that held when it was saved.

        Raises:
            StateError: the state is not that of such a schedule; lists all missing and unexpected keys.
        """
        self._check_keys(state_dict)
        vars(self).update(copy.deepcopy(dict(state_dict)))
        self._apply(self.last_lrs)

    def _restart(self) -> None:
        """Goes back to t = 0, with the learning rates of a schedule made anew."""
        for group, rate in zip(self._groups(), self.base_lrs, strict=True):
            group["lr"] = rate
        self.last_epoch = 0
        self._apply(self.get_lr())

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise UnsupportedError(
                f"{type(self).__name__} sets the learning rate of an optimiser",
                got=describe(optimizer),
                expected="a graphzoo optimiser, such as gz.optim.SGD",
            )
        self.optimizer = optimizer

    def _not_in_state(self) -> tuple[str, ...]:
        return ("optimizer",)

    def _check_keys(self, state_dict: Mapping[str, Any]) -> None:
        own = set(vars(self)) - set(self._not_in_state())
        problems = [f"missing {key!r}" for key in sorted(own - set(state_dict))]
        problems += [f"unexpected {key!r}" for key in sorted(set(state_dict) - own)]
        if not problems and len(state_dict["last_lrs"]) != len(self.optimizer.param_groups):
            problems.append(
                f"rates of {len(state_dict['last_lrs'])} parameter groups saved, "
                f"{len(self.optimizer.param_groups)} here"
            )
        if problems:
            raise StateError(f"the state does not fit this {type(self).__name__}: " + ", ".join(problems))

    def _groups(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ArgumentError(
                f"{type(self).__name__} was made for {len(self.base_lrs)} parameter groups",
                got=f"an optimiser with {len(groups)}",
                todo="make the schedule after the last add_param_group()",
            )
        return groups

    def _apply(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self._groups(), rates, strict=True):
            group["lr"] = rate
        self.last_lrs = list(rates)

    def _present(self) -> list[float]:
        return [group["lr"] for group in self._groups()]


class LambdaLR(LRScheduler):
    r"""γ_t = γ₀ · f(t), with a function of your own.

    Args:
        optimizer: whose rates are set.
        lr_lambda: f, or a list of functions, one per parameter group. Functions are not part of the saved
            state.

    Raises:
        ArgumentError: the number of functions is not that of the groups.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = LambdaLR(optimizer, lambda t: 0.5**t)
    >>> schedule.step(); schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        self._attach(optimizer)
        self.lr_lambdas = _per_group("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def _not_in_state(self) -> tuple[str, ...]:
        return ("optimizer", "lr_lambdas")


class StepLR(LRScheduler):
    r"""Multiplies the rate by γ every `step_size` steps: γ_t = γ₀ · gamma^⌊t / step_size⌋.

    Args:
        optimizer: whose rates are set.
        step_size: steps between two reductions, ≥ 1.
        gamma: the factor.

    Raises:
        ArgumentError: `step_size` is no positive integer.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = _count("StepLR: step_size", step_size)
        self.gamma = gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._present()
        return [rate * self.gamma for rate in self._present()]


class MultiStepLR(LRScheduler):
    r"""Multiplies the rate by `gamma` at each milestone: γ_t = γ₀ · gamma^(number of milestones ≤ t).

    Args:
        optimizer: whose rates are set.
        milestones: values of t; one given twice counts twice.
        gamma: the factor.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> rates
    [0.5, 0.25, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        times = self.milestones.count(self.last_epoch)
        return [rate * self.gamma**times for rate in self._present()]


class ExponentialLR(LRScheduler):
    r"""Multiplies the rate by `gamma` at every step: γ_t = γ₀ · gammaᵗ.

    Args:
        optimizer: whose rates are set.
        gamma: the factor.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step(); schedule.step(); schedule.get_last_lr()
    [0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [rate * self.gamma if self.last_epoch else rate for rate in self._present()]


class LinearLR(LRScheduler):
    r"""Moves the rate in a straight line from γ₀ · start_factor to γ₀ · end_factor, then leaves it: a
    warm-up.

        γ_t = γ₀ · (start + (end − start) · min(t, total_iters) / total_iters)

    Args:
        optimizer: whose rates are set.
        start_factor: in (0, 1].
        end_factor: in [0, 1].
        total_iters: length of the line in steps, ≥ 1.

    Raises:
        ArgumentError: a value outside its range.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> rates
    [0.25, 0.375, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ArgumentError("LinearLR: impossible start_factor", got=start_factor, expected="0 < start_factor ≤ 1")
        if not 0 <= end_factor <= 1:
            raise ArgumentError("LinearLR: impossible end_factor", got=end_factor, expected="0 ≤ end_factor ≤ 1")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = _count("LinearLR: total_iters", total_iters)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            factor = self.start_factor
        elif self.last_epoch > self.total_iters:
            factor = 1.0
        else:
            slope = self.end_factor - self.start_factor
            factor = 1.0 + slope / (self.total_iters * self.start_factor + (self.last_epoch - 1) * slope)
        return [rate * factor for rate in self._present()]


class CosineAnnealingLR(LRScheduler):
    r"""Lets the rate fall along half a cosine wave, from γ₀ at t = 0 to `eta_min` at t = T_max (and rise
    again after).

        γ_t = η + (γ₀ − η) (1 + cos(π t / T_max)) / 2          (η is `eta_min`)

    Args:
        optimizer: whose rates are set.
        T_max: steps from the highest to the lowest rate, ≥ 1.
        eta_min: the lowest rate.

    Raises:
        ArgumentError: `T_max` is no positive integer.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017),
    equation 5, without the restarts.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> rates = []
    >>> for _ in range(3):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 6))
    ...     schedule.step()
    >>> rates
    [0.5, 0.25, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = _count("CosineAnnealingLR: T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        t, period, low = self.last_epoch, self.T_max, self.eta_min
        if t == 0:
            return self._present()
        if (t - 1 - period) % (2 * period) == 0:  # leaving the lowest point, where the ratio below is 0 / 0
            rise = (1 - math.cos(math.pi / period)) / 2
            return [rate + (base - low) * rise for rate, base in zip(self._present(), self.base_lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [ratio * (rate - low) + low for rate in self._present()]


class OneCycleLR(LRScheduler):
    r"""One rise of the rate to `max_lr` and one long fall, while the momentum does the opposite.

    The rate goes from max_lr / div_factor to max_lr in the first `pct_start` of the steps and from there to
    max_lr / (div_factor · final_div_factor); with `three_phase` it first comes back symmetrically to where it
    started. The momentum (β₁ for Adam) goes from `max_momentum` to `base_momentum` and back. Call `step()`
    after every batch, at most `total_steps` times.

    Args:
        optimizer: whose rates are set; the rate it was made with is not used.
        max_lr: the highest rate, or a list of one per parameter group.
        total_steps: length of the cycle; or give `epochs` and `steps_per_epoch`.
        pct_start: part of the cycle that rises, in [0, 1].
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: whether to move the momentum, too.
        base_momentum, max_momentum: its lowest and highest value, or lists of one per group.
        div_factor, final_div_factor: how far below max_lr the rate starts and ends.
        three_phase: rise, fall back, and then fall further.

    Raises:
        ArgumentError: impossible values; an optimiser without momentum and `cycle_momentum`; a step past the
            end.

    Source: L. N. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large
    learning rates" (2017); the phases are PyTorch's.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5, momentum=0.9)
    >>> schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> for _ in range(2):
    ...     schedule.step()
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
    (1.0, 0.85)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(
                    "OneCycleLR needs the length of the cycle",
                    todo="give total_steps, or epochs and steps_per_epoch",
                )
            total_steps = _count("OneCycleLR: epochs", epochs) * _count("OneCycleLR: steps_per_epoch", steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ArgumentError("OneCycleLR: impossible pct_start", got=pct_start, expected="0 ≤ pct_start ≤ 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                "OneCycleLR: unknown anneal_strategy", got=repr(anneal_strategy), expected="'cos' or 'linear'"
            )
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.options):
            raise ArgumentError(
                f"OneCycleLR cannot cycle the momentum: {type(optimizer).__name__} has none",
                todo="pass cycle_momentum=False",
            )
        self.total_steps = _count("OneCycleLR: total_steps", total_steps)
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.three_phase = three_phase
        self.final_div_factor = final_div_factor
        self.max_lrs = [float(rate) for rate in _per_group("max_lr", max_lr, optimizer)]
        self.base_momentums = [float(m) for m in _per_group("base_momentum", base_momentum, optimizer)]
        self.max_momentums = [float(m) for m in _per_group("max_momentum", max_momentum, optimizer)]
        for group, rate in zip(optimizer.param_groups, self.max_lrs, strict=True):
            group["initial_lr"] = rate / div_factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        end_lrs = [rate / self.final_div_factor for rate in self.base_lrs]
        marks = {"start": self.base_lrs, "top": self.max_lrs, "end": end_lrs}
        start, end, part = self._where("start", "top", "end")
        return [self._between(a, b, part) for a, b in zip(marks[start], marks[end], strict=True)]

    def _apply(self, rates: Sequence[float]) -> None:
        super()._apply(rates)
        if not self.cycle_momentum:
            return
        marks = {"high": self.max_momentums, "low": self.base_momentums}
        start, end, part = self._where("high", "low", "high")
        for group, a, b in zip(self._groups(), marks[start], marks[end], strict=True):
            momentum = self._between(a, b, part)
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _where(self, outside: str, top: str, end: str) -> tuple[str, str, float]:
        """The marks between which the present step lies, and how far along, from 0 to 1."""
        if self.last_epoch > self.total_steps:
            raise ArgumentError(
                "OneCycleLR: the cycle is over",
                got=f"step {self.last_epoch}",
                expected=f"at most total_steps = {self.total_steps}",
                todo="count the batches of all epochs, or make the cycle longer",
            )
        rise = self.pct_start * self.total_steps
        phases = [(rise - 1, outside, top)]
        if self.three_phase:
            phases.append((2 * rise - 2, top, outside))
        phases.append((self.total_steps - 1, phases[-1][2], end))
        current = next((i for i, phase in enumerate(phases) if self.last_epoch <= phase[0]), len(phases) - 1)
        last, start, goal = phases[current]
        begin = phases[current - 1][0] if current else 0.0
        # A phase of no length has only its end.
        return start, goal, (self.last_epoch - begin) / (last - begin) if last != begin else 1.0

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "cos":
            return end + (start - end) / 2.0 * (1 + math.cos(math.pi * part))
        return (end - start) * part + start


class SequentialLR(LRScheduler):
    r"""Runs schedules one after the other, each from its own t = 0: a warm-up and then a decay.

    Args:
        optimizer: whose rates are set.
        schedulers: schedules of that optimiser.
        milestones: rising values of t at which the second, third, … schedule takes over; one fewer than
            schedules.

    Raises:
        ArgumentError: no schedules, a number of milestones that does not fit, a schedule of another
            optimiser.
        UnsupportedError: a schedule that needs a metric (`ReduceLROnPlateau`).

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> warm_up, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> rates
    [0.25, 0.375, 0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self._attach(optimizer)
        for position, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
                raise UnsupportedError(f"SequentialLR cannot run schedule {position}", got=describe(scheduler))
            if scheduler.optimizer is not optimizer:
                raise ArgumentError(f"SequentialLR: schedule {position} belongs to another optimiser")
        if not schedulers or len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise ArgumentError(
                "SequentialLR: the milestones do not fit the schedules",
                got=f"{len(schedulers)} schedules, milestones {list(milestones)}",
                expected="at least one schedule, and rising milestones, one fewer than schedules",
            )
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        self.last_epoch = 0
        self.base_lrs = list(self.schedulers[0].base_lrs)
        self._running()._restart()
        self.last_lrs = self._running().get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        if self.last_epoch in self.milestones:
            self._running()._restart()
        else:
            self._running().step()
        self.last_lrs = self._running().get_last_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._running()._restart()
        self.last_lrs = self._running().get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        saved = state_dict.get("schedulers", ())
        self._check_keys({key: value for key, value in state_dict.items() if key != "schedulers"})
        if len(saved) != len(self.schedulers):
            raise StateError(f"SequentialLR: {len(saved)} schedules saved, {len(self.schedulers)} here")
        for scheduler, state in zip(self.schedulers, saved, strict=True):
            scheduler.load_state_dict(state)
        vars(self).update({k: copy.deepcopy(v) for k, v in state_dict.items() if k != "schedulers"})
        self._running()._apply(self.last_lrs)

    def _running(self) -> LRScheduler:
        return self.schedulers[bisect.bisect_right(self.milestones, self.last_epoch)]

    def _not_in_state(self) -> tuple[str, ...]:
        return ("optimizer", "schedulers")


class ReduceLROnPlateau(LRScheduler):
    r"""Multiplies the rate by `factor` when a metric has stopped improving for `patience` steps.

    Args:
        optimizer: whose rates are set.
        mode: ``"min"`` when smaller is better, ``"max"`` when larger is.
        factor: in [0, 1).
        patience: steps without improvement that are let pass.
        threshold: how much better counts: by this part of the best value (``threshold_mode="rel"``), or by
            this much (``"abs"``).
        cooldown: steps after a reduction during which nothing is counted.
        min_lr: the rate never goes below; a number, or a list of one per parameter group.
        eps: changes of the rate smaller than this are not made.

    Raises:
        ArgumentError: a value outside its range.
        UnsupportedError: `optimizer` is none.

    >>> import graphzoo as gz
    >>> optimizer = gz.optim.SGD([gz.Parameter([1.0])], lr=0.5)
    >>> schedule = ReduceLROnPlateau(optimizer, factor=0.1, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if mode not in ("min", "max"):
            raise ArgumentError("ReduceLROnPlateau: unknown mode", got=repr(mode), expected="'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ArgumentError(
                "ReduceLROnPlateau: unknown threshold_mode",
                got=repr(threshold_mode),
                expected="'rel' or 'abs'",
            )
        if not 0 <= factor < 1:
            raise ArgumentError("ReduceLROnPlateau: impossible factor", got=factor, expected="0 ≤ factor < 1")
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = _per_group("min_lr", min_lr, optimizer)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return self._present()

    def step(self, metrics: Any) -> None:  # type: ignore[override]  # what it waits for has to come from somewhere
        """Takes in this epoch's metric (a number or a one-element tensor); reduces the rate if it is time."""
        value = float(metrics.item()) if hasattr(metrics, "item") else float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._apply([self._reduced(rate, low) for rate, low in zip(self._present(), self.min_lrs, strict=True)])
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _reduced(self, rate: float, low: float) -> float:
        reduced = max(rate * self.factor, low)
        return reduced if rate - reduced > self.eps else rate

    def _is_better(self, value: float) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        limit = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return value > limit if self.mode == "max" else value < limit


def _per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value per parameter group, from one for all or a list."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ArgumentError(f"{name} needs one entry per parameter group", got=f"{len(value)} for {groups} groups")
    return list(value)


def _count(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{what} must be a positive integer", got=describe(value))
    return value
