r"""Weight normalisation: a module's weight by its length and its direction, in place of the weight itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ..errors import ArgumentError
from ..module import Formulas, Module, record
from ..state import Parameter
from ..tape import Node
from ..tensor import Tensor
from .group import reduced_axes

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]

AnyModule = TypeVar("AnyModule", bound=Module)


class WeightNorm(Module):
    """w = g · v / ‖v‖: a weight by its length g and its direction v. Used by `weight_norm`.

    Shapes: v and w alike; g of the same number of axes, size 1 along the axes that the norm is taken over.

    Args:
        dim: the axis that is left out of the norm, each of its entries having a length of its own; None for one length.

    >>> import graphzoo as gz
    >>> gz.WeightNorm()(gz.tensor([[3.0, 4.0], [0.0, 2.0]]), gz.tensor([[10.0], [1.0]]))
    tensor([[6., 8.],
            [0., 1.]])
    """

    formulas = Formulas(
        forward=r"w = g \frac{v}{\lVert v \rVert}",
        backward=r"\frac{\partial L}{\partial v} = \frac{g}{\lVert v \rVert} \left(\frac{\partial L}{\partial w} - "
        r"\frac{v}{\lVert v \rVert^2} \sum \frac{\partial L}{\partial w} \odot v\right), \quad "
        r"\frac{\partial L}{\partial g} = \sum \frac{\partial L}{\partial w} \odot \frac{v}{\lVert v \rVert}",
        source="zoo of deep learning modules, Normalization, WN (named without formulas); T. Salimans, D. P. Kingma, "
        "Weight normalization (2016)",
    )
    saves = (0, 1)

    def __init__(self, dim: int | None = 0) -> None:
        self.dim = dim

    def forward(self, node: Node, v: np.ndarray, g: np.ndarray) -> np.ndarray:
        node.saved = (v, g)
        return v * (g / self.length(v))

    def backward(self, node: Node, dy: Any) -> tuple[Any, Any]:
        v, g = node.saved
        length = self.length(v)
        along = (dy * v).sum(axis=self._axes(v.ndim), keepdims=True) / length
        return (dy - v * (along / length)) * (g / length), along

    def expand(self, node: Node, v: Any, g: Any) -> Any:
        return g * v / self.length(v)

    def length(self, v: Any) -> Any:
        """‖v‖, with size 1 along the axes that it is taken over."""
        return np.sqrt((v * v).sum(axis=self._axes(v.ndim), keepdims=True))

    def _axes(self, ndim: int) -> tuple[int, ...]:
        if self.dim is None:
            return tuple(range(ndim))
        (kept,) = reduced_axes(self.dim, ndim)
        return tuple(axis for axis in range(ndim) if axis != kept)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Give a parameter of a module by its length and direction, w = g · v / ‖v‖, which are learnt in its place.

    The module gets the parameters ``<name>_g`` and ``<name>_v`` (PyTorch's names) for ``<name>``, which from now on is
    computed from them at each use. Its values are the same as before. `remove_weight_norm` undoes it.

    Args:
        module: a module with a parameter of that name; it is changed, and returned.
        name: of the parameter.
        dim: the axis whose entries have a length each (0: every output of Linear and Conv); None for one length of all.

    Raises:
        ArgumentError: the module has no such parameter, or v = 0 would leave a direction undefined.

    >>> import numpy as np, graphzoo as gz
    >>> layer = gz.weight_norm(gz.Linear(3, 2, rng=0))
    >>> sorted(layer.state_dict())
    ['bias', 'weight_g', 'weight_v']
    >>> layer(np.ones((1, 3), np.float32)).backward(np.ones((1, 2)))
    >>> layer.weight_g.grad.shape
    (2, 1)
    """
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ArgumentError(
            f"{type(module).__name__} has no parameter {name!r} that could be normalised",
            got=f"{name}={type(weight).__name__}" if name in vars(module) else "no such attribute of its own",
            expected=", ".join(key for key, value in vars(module).items() if isinstance(value, Parameter)) or "none",
        )
    rule = WeightNorm(dim)
    length = rule.length(weight.data)
    if not length.all():
        raise ArgumentError(
            f"a weight of length 0 has no direction: {type(module).__name__}.{name} cannot be normalised",
            got=f"length 0 at {tuple(int(i) for i in np.argwhere(length == 0)[0])}",
            todo="initialise the weight with other values than 0 first",
        )
    base, rules = _normalized_names(module)
    delattr(module, name)
    setattr(module, f"{name}_g", Parameter(length, weight.dtype, weight.requires_grad))
    setattr(module, f"{name}_v", Parameter(weight.data, weight.dtype, weight.requires_grad))
    object.__setattr__(module, "__class__", _normalized_class(base, (*rules, (name, dim))))
    return module


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make a parameter that `weight_norm` gave by length and direction an ordinary one again, of its present value.

    Raises:
        ArgumentError: the module has no weight normalisation of that name.
    """
    base, rules = _normalized_names(module)
    if name not in dict(rules):
        raise ArgumentError(
            f"{type(module).__name__} has no weight normalisation of {name!r}",
            expected=", ".join(dict(rules)) or "gz.weight_norm(module) before",
        )
    value: Tensor = getattr(module, name)
    g = getattr(module, f"{name}_g")
    rest = tuple(rule for rule in rules if rule[0] != name)
    object.__setattr__(module, "__class__", _normalized_class(base, rest) if rest else base)
    delattr(module, f"{name}_g")
    delattr(module, f"{name}_v")
    setattr(module, name, Parameter(value.data, value.dtype, g.requires_grad))
    return module


def _normalized_names(module: Module) -> tuple[type, tuple[tuple[str, int | None], ...]]:
    """The class that a module had before any weight normalisation, and name and axis of each."""
    return getattr(module, "_weight_norms", (type(module), ()))


@lru_cache(None)
def _normalized_class(base: type, rules: tuple[tuple[str, int | None], ...]) -> type:
    """A class like `base` whose weights of these names are computed when they are asked for.

    The engine finds a rule's parameters by their names, and takes any tensor for one: properties are all it needs.
    """
    members: dict[str, Any] = {name: _computed_weight(name, WeightNorm(dim)) for name, dim in rules}
    members["_weight_norms"] = (base, rules)
    members["__module__"] = base.__module__
    members["__qualname__"] = base.__qualname__
    members["__doc__"] = base.__doc__
    members["__reduce__"] = _reduce  # pickle looks classes up by name, and would find the base
    return type(base.__name__, (base,), members)


def _computed_weight(name: str, rule: WeightNorm) -> property:
    def compute(module: Any) -> Any:
        return record(rule, (getattr(module, f"{name}_v"), getattr(module, f"{name}_g")))

    def refuse(module: Any, value: Any) -> None:
        raise ArgumentError(
            f"{type(module).__name__}.{name} is computed from {name}_g and {name}_v",
            todo=f"write to these, or call gz.remove_weight_norm(module, {name!r}) first",
        )

    return property(compute, refuse)


def _reduce(module: Module) -> tuple[Any, ...]:
    return _restored, _normalized_names(module), vars(module)


def _restored(base: type, rules: tuple[tuple[str, int | None], ...]) -> Any:
    return object.__new__(_normalized_class(base, rules))
