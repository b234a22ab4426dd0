"""What a module owns: parameters, buffers, submodules; how they are found, named, saved and loaded.

There is no registration. Whatever is an attribute of a module belongs to it, lists and dictionaries of modules
included, in the order of assignment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from .errors import ArgumentError, StateError, describe
from .tensor import DEFAULT_DTYPE, Tensor


class Parameter(Tensor):
    """A tensor that a module learns: requires a gradient, and is float32 unless a dtype is given.

    >>> import graphzoo as gz
    >>> gz.Parameter([[1.0, 2.0]])
    tensor([[1., 2.]], requires_grad=True)
    """

    __slots__ = ()
    _role = "parameter"

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = True, name: str | None = None) -> None:
        super().__init__(data, DEFAULT_DTYPE if dtype is None else dtype, requires_grad, name)

    def convert(self, dtype: Any) -> None:
        """Another dtype, in place. Graphs that were recorded before still find the parameter, and its hooks stay."""
        self._data = self._data.astype(dtype, copy=False)
        self.source.dtype = self._data.dtype
        if self.source.grad is not None:
            self.source.grad = self.source.grad.astype(dtype, copy=False)


class State:
    """The part of `Module` that knows what belongs to it."""

    buffer_names: ClassVar[tuple[str, ...]] = ()
    training: bool = True

    def children(self) -> Iterator[tuple[str, Any]]:
        """Name and value of what may hold state: this module's attributes, with lists and dictionaries opened."""
        for key, value in vars(self).items():
            yield from opened(key, value)

    def named_modules(self, prefix: str = "", around: tuple[State, ...] = ()) -> Iterator[tuple[str, State]]:
        """Every module in this one, itself first, with its dotted path; a shared module under each of its paths.

        A module that refers back to one of those `around` it does not contain it.
        """
        yield prefix, self
        around = (*around, self)
        for key, value in self.children():
            if isinstance(value, State) and value not in around:
                yield from value.named_modules(f"{prefix}.{key}" if prefix else key, around)

    def modules(self) -> Iterator[State]:
        """Every module in this one, itself first, each once."""
        yield from dict.fromkeys(module for _, module in self.named_modules())

    def _named_state(self) -> Iterator[tuple[str, State, str, Any]]:
        """Dotted name, owner, attribute and value of every parameter and buffer, in order; shared ones repeatedly."""
        for path, module in self.named_modules():
            for key, value in module.children():
                if isinstance(value, Parameter) or (key in module.buffer_names and value is not None):
                    yield f"{path}.{key}" if path else key, module, key, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Dotted name and parameter, each parameter once."""
        seen: set[int] = set()
        for name, _, _, value in self._named_state():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once, in order of definition."""
        for _, value in self.named_parameters():
            yield value

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """Dotted name and array of every buffer."""
        for name, _, _, value in self._named_state():
            if not isinstance(value, Parameter):
                yield name, value

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by dotted name (PyTorch's names).

        >>> import graphzoo as gz
        >>> sorted(gz.Linear(2, 3).state_dict())
        ['bias', 'weight']
        """
        return {name: np.array(_values(value)) for name, _, _, value in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write the values of a `state_dict` into this module; values are cast to the module's dtypes.

        Takes PyTorch's tensors, too; a GRU that is given some becomes PyTorch's variant (``reset_after=True``).

        Raises:
            StateError: one message with every missing, unexpected and misshapen key; nothing is changed then.
            ArgumentError: what was given is no dictionary.
        """
        if not isinstance(state, Mapping):
            raise ArgumentError(
                "load_state_dict() takes a dictionary of arrays by name",
                got=describe(state),
                expected="what state_dict() returns",
                todo="for a file: load_state_dict(gz.load(path))",
            )
        own = {name: (module, key, value) for name, module, key, value in self._named_state()}
        arrays = {name: np.asarray(_values(value)) for name, value in state.items()}
        missing = {name: value.shape for name, (_, _, value) in own.items() if name not in arrays}
        unexpected = {name: array.shape for name, array in arrays.items() if name not in own}
        problems = [f"missing     {name}{_nearest(name, shape, unexpected)}" for name, shape in missing.items()]
        problems += [f"unexpected  {name}{_nearest(name, shape, missing)}" for name, shape in unexpected.items()]
        problems += [
            f"misshapen   {name}: got {arrays[name].shape}, expected {value.shape}"
            for name, (_, _, value) in own.items()
            if name in arrays and arrays[name].shape != value.shape
        ]
        if problems:
            raise StateError(f"this state does not fit {type(self).__name__}\n  " + "\n  ".join(problems))
        # All can be cast, or nothing is written.
        cast = {name: array.astype(own[name][2].dtype) for name, array in arrays.items()}
        for name, array in cast.items():
            module, key, value = own[name]
            if isinstance(value, Parameter):
                value.data[...] = array
                value.mark_written("load_state_dict()")
            else:
                module._set_buffer(key, array)
        for owner in dict.fromkeys(own[name][0] for name, value in state.items() if _is_torch(value)):
            owner.loaded_from_torch()

    def loaded_from_torch(self) -> None:
        """Called when values were PyTorch's tensors: a module whose own variant differs turns into PyTorch's."""
        for key, value in vars(self).items():
            for _, item in opened(key, value):
                if isinstance(item, State):
                    item.loaded_from_torch()

    def _set_buffer(self, key: str, array: np.ndarray) -> None:
        object.__setattr__(self, key, array)

    def astype(self, dtype: Any) -> Self:
        """Convert all floating-point parameters and buffers to a dtype, in place; returns the module."""
        for _, module, key, value in self._named_state():
            if value.dtype.kind != "f":
                continue
            if isinstance(value, Parameter):
                value.convert(dtype)
            else:
                module._set_buffer(key, value.astype(dtype))
        return self

    def train(self, mode: bool = True) -> Self:
        """Put this module and all in it into training (or evaluation) mode; returns the module."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Self:
        """Put this module and all in it into evaluation mode; returns the module."""
        return self.train(False)

    def requires_grad_(self, value: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters; frozen ones cost no parameter pass. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = value
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None


def opened(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of what an attribute holds: its own, or those of all that is in its lists and dictionaries."""
    if isinstance(value, (list, tuple, dict)):
        for label, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from opened(f"{key}.{label}", item)
    else:
        yield key, value


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _values(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _nearest(name: str, shape: tuple[int, ...], among: Mapping[str, tuple[int, ...]]) -> str:
    """The most similar of the other names, one of the same shape before all others."""
    import difflib

    alike = [other for other in among if among[other] == shape]
    match = difflib.get_close_matches(name, alike, n=1) or difflib.get_close_matches(name, among, n=1)
    return f"  (did you mean {match[0]!r}?)" if match else ""
