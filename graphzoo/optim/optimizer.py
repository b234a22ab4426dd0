"""What every optimiser shares: parameter groups, options and their checks, per-parameter state, checkpoints.

A subclass states its options and how each is checked (`options`), the names of what it remembers for a
parameter (`state_names`, `required_state`) and its rule (`_update`); see `graphzoo.optim.algorithms`.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from graphzoo.errors import ArgumentError, StateError, UnsupportedError, describe
from graphzoo.state import Parameter
from graphzoo.tensor import Tensor, number

# Keys that a group may carry besides the optimiser's options: a label, and what the schedules keep there.
_GROUP_EXTRAS = ("name", "initial_lr")


class Optimizer:
    """Base of the optimisers: holds parameters in groups and updates them from their gradients.

    Args:
        params: the parameters (`model.parameters()`), or a list of groups, each a dict with the key
            ``"params"`` and the options that differ from the defaults in that group (and, if you like, a
            ``"name"``).
        defaults: the value of every option where a group does not say otherwise.

    Attributes:
        param_groups: list of dicts: ``"params"`` (a tuple) and one key per option. Options may be changed
            between steps: ``optimizer.param_groups[0]["lr"] = 0.01``.
        defaults: the options of a group that sets none.

    Raises:
        ArgumentError: no parameters, a parameter given twice, an unknown option or an impossible value.
        UnsupportedError: something that is not a parameter (a leaf tensor of a floating dtype).
    """

    #: For each option, the function that checks a value and returns it in its plain form.
    options: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    #: Everything that may be remembered for one parameter; ``"step"`` is a count, all else arrays of its
    #: shape.
    state_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.defaults = self._checked_options(defaults, "the arguments")
        self.param_groups: list[dict[str, Any]] = []
        self._states: list[list[dict[str, Any]]] = []  # [group][position in group]
        self._scratches: dict[tuple[int, tuple[int, ...], np.dtype[Any]], np.ndarray] = {}
        self._writer = f"{type(self).__name__}.step"
        groups = _as_groups(params, type(self).__name__)
        for group in groups:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            raise ArgumentError(
                f"{type(self).__name__} has no parameters to optimise",
                got="an empty collection",
                expected="at least one parameter",
                todo="pass model.parameters(), called anew: a generator that was used before is empty",
            )

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with options of their own, for example layers that are unfrozen later.

        Args:
            group: ``"params"`` (one parameter or an iterable of them) and any options that differ from the
                defaults.

        Raises:
            ArgumentError: no ``"params"``, an unknown option, an impossible value, a parameter that is
                already there.
            UnsupportedError: something that is not a parameter.
        """
        where = f"parameter group {len(self.param_groups)}"
        if "params" not in group:
            raise ArgumentError(f"{where} has no 'params'", got=f"keys {sorted(map(str, group))}")
        known = {**self.options, **dict.fromkeys(_GROUP_EXTRAS)}
        unknown = [f"{key!r}{_nearest(key, self.options)}" for key in group if key != "params" and key not in known]
        if unknown:
            raise ArgumentError(
                f"{where} has options that {type(self).__name__} does not know",
                got=", ".join(unknown),
                expected=", ".join(self.options),
            )
        parameters = self._checked_parameters(group["params"], where)
        given = {key: value for key, value in group.items() if key != "params"}
        options = self._checked_options({**self.defaults, **given}, where)
        self.param_groups.append({"params": parameters, **options})
        self._states.append([{} for _ in parameters])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters.

        Args:
            set_to_none: with True ``.grad`` becomes None, and a parameter that gets no gradient is skipped by
                the next step; with False it becomes zeros, and momentum and weight decay go on for it.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else np.zeros_like(parameter.grad)

    def step(self) -> None:
        """Updates every parameter that has a gradient, in place; those with ``.grad`` None are left alone."""
        for group, states in zip(self.param_groups, self._states, strict=True):
            for parameter, state in zip(group["params"], states, strict=True):
                grad = parameter.grad
                if grad is not None:
                    self._update(parameter.data, grad, state, group)
                    parameter.mark_written(self._writer)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's memory and options as plain numbers and arrays (copies), for `gz.save`.

        Returns:
            ``{"state": {position: {name: array or count}}, "param_groups": [{"params": [positions], option:
            value}]}`` where positions number the parameters through all groups in order. Parameters without
            memory are left out.
        """
        state: dict[int, dict[str, Any]] = {}
        groups: list[dict[str, Any]] = []
        position = 0
        for group, memories in zip(self.param_groups, self._states, strict=True):
            positions = list(range(position, position + len(memories)))
            position += len(memories)
            groups.append({**group, "params": positions})
            for index, memory in zip(positions, memories, strict=True):
                if memory:
                    state[index] = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in memory.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over memory and options from `state_dict`; the next step then is the one that would have
        come.

        The parameters themselves are not part of it: load the model's state too. Nothing changes if anything
        is wrong.

        Args:
            state_dict: what `state_dict` of an optimiser of the same class, over the same parameters in the
                same order and groups, returned.

        Raises:
            StateError: lists everything that does not fit: missing and unexpected keys, groups of another
                size, shapes.
        """
        problems: list[str] = []
        for key in ("state", "param_groups"):
            if key not in state_dict:
                problems.append(f"missing key {key!r}")
        if not problems:
            problems = self._group_problems(state_dict["param_groups"])
        if not problems:
            problems = self._state_problems(state_dict["state"], state_dict["param_groups"])
        if problems:
            raise StateError(f"the state does not fit this {type(self).__name__}:\n    " + "\n    ".join(problems))

        position = 0
        for group, saved, memories in zip(self.param_groups, state_dict["param_groups"], self._states, strict=True):
            options = self._checked_options({k: v for k, v in saved.items() if k != "params"}, "the state")
            parameters = group["params"]
            group.clear()
            group.update(params=parameters, **options)
            for index, parameter in enumerate(parameters):
                memory = state_dict["state"].get(position + index, {})
                memories[index] = {
                    # a copy, in the parameter's memory layout: the update runs over both side by side
                    name: int(value) if name == "step" else _in_layout_of(parameter.data, value)
                    for name, value in memory.items()
                }
            position += len(parameters)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for index, group in enumerate(self.param_groups):
            options = ", ".join(f"{key}={value!r}" for key, value in group.items() if key != "params")
            values = sum(parameter.data.size for parameter in group["params"])
            lines.append(f"  group {index}: {len(group['params'])} tensors, {values:,} values, {options}")
        return "\n".join([*lines, ")"])

    # What a subclass provides

    def required_state(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The names that a parameter's memory must have under these options, once it has any."""
        raise NotImplementedError

    def _conflict(self, options: Mapping[str, Any]) -> str | None:
        """What is wrong between options that are each fine by themselves; None if nothing is."""
        return None

    def _update(self, data: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        """Updates `data` in place from `grad`, which it leaves alone; remembers what it needs in `state`."""
        raise NotImplementedError

    # What a subclass uses

    def _scratch(self, like: np.ndarray, slot: int = 0) -> np.ndarray:
        """An array to compute in, kept between steps and shared by parameters of one shape and dtype."""
        key = (slot, like.shape, like.dtype)
        scratch = self._scratches.get(key)
        if scratch is None:
            scratch = self._scratches[key] = np.empty_like(like)
        return scratch

    def _direction(self, data: np.ndarray, grad: np.ndarray, maximize: bool, weight_decay: float) -> np.ndarray:
        """±grad + weight_decay · data, which the rule works with: in scratch slot 1, or `grad` itself."""
        if weight_decay:
            scratch = self._scratch(data, 1)
            np.multiply(data, number(weight_decay, data.dtype), scratch)
            return (np.subtract if maximize else np.add)(scratch, grad, scratch)
        if maximize:
            return np.negative(grad, out=self._scratch(data, 1))
        return grad

    # Checks

    def _checked_options(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in values.items():
            check = non_negative if key == "initial_lr" else self.options.get(key)
            try:
                checked[key] = value if check is None else check(value)
            except ValueError as problem:
                problems.append(f"{key} must be {problem}, got {describe(value)}")
        conflict = None if problems else self._conflict(checked)
        if conflict:
            problems.append(conflict)
        if problems:
            raise ArgumentError(f"{type(self).__name__}, {where}: " + "; ".join(problems))
        return checked

    def _checked_parameters(self, params: object, where: str) -> tuple[Tensor, ...]:
        parameters = _as_list(params, f"{type(self).__name__}, {where}")
        seen = {id(parameter) for group in self.param_groups for parameter in group["params"]}
        for position, parameter in enumerate(parameters):
            place = f"{where}, position {position}"
            if not isinstance(parameter, Tensor):
                raise UnsupportedError(
                    f"{type(self).__name__} can only optimise parameters ({place})",
                    got=describe(parameter),
                    expected="gz.Parameter, or a leaf tensor with requires_grad=True",
                    todo="pass model.parameters()",
                )
            if not isinstance(parameter, Parameter) and not parameter.requires_grad:
                raise UnsupportedError(
                    f"{type(self).__name__} would never change a tensor without gradient ({place})",
                    got=f"{_name_of(parameter)}, {describe(parameter)}, requires_grad=False",
                    expected="gz.Parameter, or a leaf tensor with requires_grad=True",
                )
            if not parameter.is_leaf:
                raise UnsupportedError(
                    f"{type(self).__name__} can only optimise leaves ({place})",
                    got=f"{_name_of(parameter)}, the result of an operation",
                    todo="pass the parameter that it was computed from",
                )
            if not np.issubdtype(parameter.data.dtype, np.floating):
                raise UnsupportedError(
                    f"{type(self).__name__} can only optimise floating-point values ({place})",
                    got=f"{_name_of(parameter)}, {describe(parameter.data)}",
                )
            if id(parameter) in seen:
                raise ArgumentError(
                    f"{type(self).__name__} was given a parameter a second time ({place})",
                    got=f"{_name_of(parameter)}, {describe(parameter.data)}",
                    todo="leave it out of one of the places",
                )
            seen.add(id(parameter))
        return tuple(parameters)

    def _group_problems(self, saved_groups: Any) -> list[str]:
        if len(saved_groups) != len(self.param_groups):
            return [f"{len(saved_groups)} parameter groups saved, {len(self.param_groups)} here"]
        problems: list[str] = []
        for index, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            where = f"param_groups[{index}]"
            problems += [f"{where}: missing {key!r}" for key in ("params", *self.options) if key not in saved]
            expected = ("params", *self.options, *_GROUP_EXTRAS)
            problems += [f"{where}: unexpected {key!r}" for key in saved if key not in expected]
            if "params" in saved and len(saved["params"]) != len(group["params"]):
                problems.append(f"{where}: {len(saved['params'])} parameters saved, {len(group['params'])} here")
            try:
                self._checked_options({k: saved[k] for k in self.options if k in saved}, where)
            except ArgumentError as error:
                problems.append(str(error))
        return problems

    def _state_problems(self, saved: Any, saved_groups: Any) -> list[str]:
        problems: list[str] = []
        position = 0
        for group, options in zip(self.param_groups, saved_groups, strict=True):
            required = self.required_state(options)
            for parameter in group["params"]:
                memory = saved.get(position, {})
                where = f"state[{position}]"
                problems += [f"{where}: missing {name!r}" for name in required if memory and name not in memory]
                for name, value in memory.items():
                    if name not in self.state_names:
                        problems.append(f"{where}: unexpected {name!r}")
                    elif name != "step" and np.shape(value) != parameter.data.shape:
                        problems.append(
                            f"{where}: {name!r} has shape {np.shape(value)}, the parameter "
                            f"{_name_of(parameter)} {parameter.data.shape}"
                        )
                position += 1
        problems += [
            f"state[{key!r}]: there are {position} parameters here" for key in saved if key not in range(position)
        ]
        return problems


# How an option is checked: return the plain value or raise ValueError with what it must be.


def non_negative(value: Any) -> float:
    """A finite number ≥ 0."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError("a finite number ≥ 0")
    return float(value)


def finite(value: Any) -> float:
    """A finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError("a finite number")
    return float(value)


def decay_rate(value: Any) -> float:
    """A number in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError("a number in [0, 1)")
    return float(value)


def decay_rates(value: Any) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    try:
        first, second = value
        return decay_rate(first), decay_rate(second)
    except (TypeError, ValueError):
        raise ValueError("a pair of numbers in [0, 1)") from None


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError("True or False")
    return bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _as_groups(params: object, owner: str) -> list[Mapping[str, Any]]:
    entries = _as_list(params, owner)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        return entries
    return [{"params": entries}]


def _as_list(params: object, owner: str) -> list[Any]:
    if isinstance(params, Tensor):
        return [params]
    if isinstance(params, set | frozenset | Mapping | str) or not isinstance(params, Iterable):
        raise UnsupportedError(
            f"{owner} needs its parameters in a fixed order: the saved state goes by their position",
            got=describe(params),
            expected="a list or generator of parameters, or a list of groups (dicts with the key 'params')",
            todo="pass model.parameters()",
        )
    return list(params)


def _in_layout_of(data: np.ndarray, value: Any) -> np.ndarray:
    array = np.empty_like(data)
    array[...] = value
    return array


def _nearest(key: object, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(str(key), list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _name_of(parameter: Tensor) -> str:
    return repr(parameter.name) if parameter.name else "an unnamed tensor"
