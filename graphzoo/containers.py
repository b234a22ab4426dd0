"""Modules that hold modules: a chain, a list, a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from .errors import ArgumentError, describe
from .module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Container(Module):
    """A module that holds others under labels of its own."""

    def __init__(self) -> None:
        self._items: dict[str, Module] = {}

    def children(self) -> Iterator[tuple[str, Any]]:
        yield from self._items.items()
        yield from ((key, value) for key, value in super().children() if not key.startswith("_items."))

    def _put(self, label: str, module: Any) -> None:
        if not isinstance(module, Module):
            raise ArgumentError(
                f"{type(self).__name__} holds modules", got=describe(module), expected="an instance of gz.Module"
            )
        self._items[label] = module
        object.__setattr__(module, "name", label)

    def __len__(self) -> int:
        return len(self._items)


class Sequential(_Container):
    """Modules called one after the other.

    >>> import graphzoo as gz
    >>> gz.Sequential(gz.Linear(2, 3), gz.Tanh(), gz.Linear(3, 1))
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): Tanh()
      (2): Linear(in_features=3, out_features=1, bias=True)
    )
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the chain."""
        self._put(str(len(self)), module)
        return self

    def forward(self, x: Any) -> Any:
        for module in self._items.values():
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items.values())

    def __getitem__(self, index: int) -> Module:
        return list(self._items.values())[index]


class ModuleList(_Container):
    """A list of modules, whose parameters belong to the module that holds the list."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the list."""
        self._put(str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items.values())

    def __getitem__(self, index: int) -> Module:
        return list(self._items.values())[index]


class ModuleDict(_Container):
    """A dictionary of modules, whose parameters belong to the module that holds it."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for label, module in (modules or {}).items():
            self[label] = module

    def __setitem__(self, label: str, module: Module) -> None:
        self._put(label, module)

    def __getitem__(self, label: str) -> Module:
        return self._items[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def keys(self) -> Iterable[str]:
        return self._items.keys()

    def values(self) -> Iterable[Module]:
        return self._items.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        return self._items.items()
