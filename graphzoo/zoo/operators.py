"""How tensors speak Python and NumPy: operators, methods, and NumPy's two protocols.

Each entry of the tables below ties one operator, method or NumPy function to the module of the zoo that it records.
What stands in no table is refused, with the nearest names that are there: computing it on the bare arrays would lose
the gradient without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import UnsupportedError, describe
from ..module import Module, binary, unary
from ..tensor import Tensor, constant
from . import array, elementwise, group, matrix, window
from .elementwise import ABS, ADD, DIVIDE, MULTIPLY, NEGATE, POWER, SUBTRACT

__all__: list[str] = []


# Python's operators --------------------------------------------------------------------------------------------------


def _reversed(module: Module) -> Callable[[Tensor, Any], Tensor]:
    """The operator of a module for a tensor on the right."""
    apply = binary(module)
    return lambda b, a: apply(a, b)


def _neg(x: Tensor) -> Tensor:
    return unary(NEGATE, x)


def _abs(x: Tensor) -> Tensor:
    return unary(ABS, x)


def _pos(x: Tensor) -> Tensor:
    return x


# Values without a gradient -------------------------------------------------------------------------------------------


def _bare(value: Any) -> Any:
    """A value with arrays in the place of tensors, at any depth of tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, (tuple, list)):
        return type(value)([_bare(item) for item in value])
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    return value


def _constants(value: Any) -> Any:
    """The results of a NumPy function: arrays and NumPy's numbers as constants, the rest as it is."""
    if isinstance(value, (np.ndarray, np.generic)):
        return constant(np.asarray(value))
    if isinstance(value, tuple):
        return tuple([_constants(item) for item in value])
    return value


def _of_values(function: Callable[..., Any], reverse: bool = False) -> Callable[..., Any]:
    """An operator, method or NumPy function whose result depends on the values in steps only, so has no gradient."""

    def compute(*args: Any, **kwargs: Any) -> Any:
        if reverse:
            args = args[::-1]
        return _constants(function(*_bare(args), **_bare(kwargs)))

    return compute


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    """== and !=, which must leave None and the like to Python: a tensor in a list is looked for with them."""

    def compare(a: Tensor, b: Any) -> Any:
        if b is None or isinstance(b, (str, bytes)):
            return NotImplemented
        return constant(np.asarray(function(a.numpy(), _bare(b))))

    return compare


def _refused(function: Callable[..., Any], reverse: bool = False) -> Callable[..., Any]:
    """An operator that NumPy has and tensors don't: its function tells what to use, where Python would only refuse."""

    def refuse(a: Tensor, b: Any) -> Any:
        return function(b, a) if reverse else function(a, b)

    return refuse


# Methods -------------------------------------------------------------------------------------------------------------


def _reshape(x: Tensor, *shape: Any) -> Tensor:
    """x in another shape, given as one tuple or as its sizes."""
    return array.reshape(x, shape[0] if len(shape) == 1 else shape)


def _transpose(x: Tensor, *axes: Any) -> Tensor:
    """x with its axes in another order, given as one tuple or one by one; reversed by default."""
    return array.transpose(x, axes[0] if len(axes) == 1 else axes or None)


OPERATORS: dict[str, Any] = {
    "__add__": binary(ADD), "__radd__": _reversed(ADD),
    "__sub__": binary(SUBTRACT), "__rsub__": _reversed(SUBTRACT),
    "__mul__": binary(MULTIPLY), "__rmul__": _reversed(MULTIPLY),
    "__truediv__": binary(DIVIDE), "__rtruediv__": _reversed(DIVIDE),
    "__pow__": binary(POWER), "__rpow__": _reversed(POWER),
    "__matmul__": binary(matrix.MATMUL), "__rmatmul__": _reversed(matrix.MATMUL),
    "__neg__": _neg, "__abs__": _abs, "__pos__": _pos,
    "__getitem__": array.index,
    "__eq__": _comparison(np.equal), "__ne__": _comparison(np.not_equal),
    "__lt__": _of_values(np.less), "__le__": _of_values(np.less_equal),
    "__gt__": _of_values(np.greater), "__ge__": _of_values(np.greater_equal),
    "__and__": _of_values(np.bitwise_and), "__rand__": _of_values(np.bitwise_and),
    "__or__": _of_values(np.bitwise_or), "__ror__": _of_values(np.bitwise_or),
    "__xor__": _of_values(np.bitwise_xor), "__rxor__": _of_values(np.bitwise_xor),
    "__invert__": _of_values(np.invert),
    "__floordiv__": _of_values(np.floor_divide), "__rfloordiv__": _of_values(np.floor_divide, reverse=True),
    "__mod__": _refused(np.remainder), "__rmod__": _refused(np.remainder, reverse=True),
    "__divmod__": _refused(np.divmod), "__rdivmod__": _refused(np.divmod, reverse=True),
}  # fmt: skip

METHODS: dict[str, Any] = {
    "T": property(array.transpose),
    "exp": elementwise.exp, "log": elementwise.log, "sqrt": elementwise.sqrt, "abs": elementwise.abs,
    "sin": elementwise.sin, "cos": elementwise.cos, "tanh": elementwise.tanh, "erf": elementwise.erf,
    "clip": elementwise.clip, "astype": elementwise.cast,
    "sum": group.sum, "mean": group.mean, "max": group.max, "min": group.min, "prod": group.prod,
    "var": group.var, "std": group.std, "norm": group.norm, "logsumexp": group.logsumexp, "cumsum": group.cumsum,
    "reshape": _reshape, "transpose": _transpose, "flatten": array.flatten, "ravel": array.ravel,
    "squeeze": array.squeeze, "swapaxes": array.swapaxes, "repeat": array.repeat, "take": array.take,
    "dot": matrix.dot,
    "argmax": group.argmax, "argmin": group.argmin,
    "argsort": _of_values(np.argsort), "nonzero": _of_values(np.nonzero), "round": _of_values(np.round),
    "all": _of_values(np.all), "any": _of_values(np.any),
}  # fmt: skip


# NumPy's functions ---------------------------------------------------------------------------------------------------

_LOG_2, _LOG_10 = float(np.log(2)), float(np.log(10))

UFUNCS: dict[np.ufunc, Callable[..., Tensor]] = {
    np.add: elementwise.add, np.subtract: elementwise.subtract, np.multiply: elementwise.multiply,
    np.divide: elementwise.divide, np.power: elementwise.power,
    np.maximum: elementwise.maximum, np.minimum: elementwise.minimum, np.logaddexp: elementwise.logaddexp,
    np.matmul: matrix.matmul,
    np.negative: elementwise.negate, np.positive: _pos, np.absolute: elementwise.abs, np.fabs: elementwise.abs,
    np.exp: elementwise.exp, np.expm1: elementwise.expm1, np.exp2: lambda x: elementwise.exp(x * _LOG_2),
    np.log: elementwise.log, np.log1p: elementwise.log1p,
    np.log2: lambda x: elementwise.log(x) / _LOG_2, np.log10: lambda x: elementwise.log(x) / _LOG_10,
    np.sqrt: elementwise.sqrt, np.square: elementwise.square, np.reciprocal: lambda x: 1 / x,
    np.sin: elementwise.sin, np.cos: elementwise.cos, np.tan: lambda x: elementwise.sin(x) / elementwise.cos(x),
    np.tanh: elementwise.tanh,
}  # fmt: skip

UFUNC_REDUCTIONS: dict[np.ufunc, Callable[..., Tensor]] = {
    np.add: group.sum, np.multiply: group.prod, np.maximum: group.max, np.minimum: group.min,
    np.logaddexp: group.logsumexp,
}  # fmt: skip

UFUNCS_OF_VALUES = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift,
    np.isnan, np.isinf, np.isfinite, np.signbit, np.sign, np.floor, np.ceil, np.trunc, np.rint, np.floor_divide,
    np.spacing,
}  # fmt: skip


def _norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """np.linalg.norm for vectors, and the Frobenius norm of matrices."""
    axes = len(array.shape_of(x)) if axis is None else len(array.as_shape(axis))
    if ord is None or (ord == 2 and axes == 1) or (ord == "fro" and axes == 2):
        return group.norm(x, axis, keepdims)
    if axes == 1 and ord == 1:
        return group.sum(elementwise.abs(x), axis, keepdims)
    if axes == 1 and ord == np.inf:
        return group.max(elementwise.abs(x), axis, keepdims)
    raise UnsupportedError(
        "this norm cannot be recorded",
        got=f"np.linalg.norm with ord={ord!r} over {axes} axes",
        expected="ord None, 1, 2 or inf over one axis; None or 'fro' over two",
    )


def _atleast_2d(x: Any, /) -> Tensor:
    return array.reshape(x, (1, -1)) if len(array.shape_of(x)) < 2 else x


def _split(x: Any, /, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """np.split, which gives a list."""
    return list(array.split(x, indices_or_sections, axis))


def _clip(x: Any, /, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Tensor:
    return elementwise.clip(x, a_min if min is None else min, a_max if max is None else max)


def _where(condition: Any, /, *x_and_y: Any) -> Any:
    """np.where, which with a condition alone gives the places where it holds."""
    return group.where(condition, *x_and_y) if x_and_y else _constants(np.nonzero(_bare(condition)))


# Each with NumPy's parameters in NumPy's order, of which ours takes some; "" where ours takes them all as they come.
FUNCTIONS: dict[Callable[..., Any], tuple[Callable[..., Any], str]] = {
    np.sum: (group.sum, "a axis dtype out keepdims initial where"),
    np.mean: (group.mean, "a axis dtype out keepdims where"),
    np.max: (group.max, "a axis out keepdims initial where"),
    np.min: (group.min, "a axis out keepdims initial where"),
    np.prod: (group.prod, "a axis dtype out keepdims initial where"),
    np.var: (group.var, "a axis dtype out ddof keepdims where mean correction"),
    np.std: (group.std, "a axis dtype out ddof keepdims where mean correction"),
    np.cumsum: (group.cumsum, "a axis dtype out"),
    np.linalg.norm: (_norm, "x ord axis keepdims"),
    np.where: (_where, ""),
    np.clip: (_clip, "a a_min a_max out min max"),
    np.argmax: (group.argmax, "a axis out keepdims"),
    np.argmin: (group.argmin, "a axis out keepdims"),
    np.reshape: (array.reshape, "a shape order copy"),
    np.ravel: (array.ravel, "a order"),
    np.transpose: (array.transpose, "a axes"),
    np.swapaxes: (array.swapaxes, "a axis1 axis2"),
    np.moveaxis: (array.moveaxis, "a source destination"),
    np.squeeze: (array.squeeze, "a axis"),
    np.expand_dims: (array.expand_dims, "a axis"),
    np.broadcast_to: (array.broadcast_to, "array shape subok"),
    np.concatenate: (array.concatenate, "arrays axis out dtype casting"),
    np.stack: (array.stack, "arrays axis out dtype casting"),
    np.vstack: (array.vstack, "tup dtype casting"),
    np.hstack: (array.hstack, "tup dtype casting"),
    np.split: (_split, "ary indices_or_sections axis"),
    np.pad: (window.pad, "array pad_width mode constant_values"),
    np.tile: (array.tile, "A reps"),
    np.repeat: (array.repeat, "a repeats axis"),
    np.take: (array.take, "a indices axis out mode"),
    np.flip: (array.flip, "m axis"),
    np.roll: (array.roll, "a shift axis"),
    np.atleast_2d: (_atleast_2d, "ary"),
    np.einsum: (matrix.einsum, ""),
    np.dot: (matrix.dot, "a b out"),
    np.inner: (matrix.inner, "a b"),
    np.outer: (matrix.outer, "a b out"),
    np.tensordot: (matrix.tensordot, "a b axes"),
}

FUNCTIONS_OF_VALUES = {
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.result_type,
    np.all, np.any, np.argsort, np.nonzero, np.flatnonzero, np.argwhere, np.count_nonzero, np.searchsorted, np.digitize,
    np.bincount, np.unique, np.isin, np.round, np.isclose, np.allclose, np.array_equal, np.isposinf, np.isneginf,
    np.iscomplexobj, np.isrealobj, np.may_share_memory, np.shares_memory, np.histogram,
}  # fmt: skip

# What NumPy's parameters may be set to because it changes nothing; None and the marker for "not given" never do.
HARMLESS = {"order": "C", "casting": "same_kind", "mode": "raise", "subok": False, "optimize": False, "copy": False}

INSTEAD = {
    "out": "assign the result instead (y = ..., and a = a + b for a += b where a is an array)",
    "where": "use gz.where(condition, x, y) on the operands or the result",
    "dtype": "convert with x.astype(dtype) before or after",
    "initial": "include the value with gz.concatenate, gz.maximum or +",
}


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy hands over the ufuncs that are called with a tensor, from whichever side."""
    name = "np." + ufunc.__name__ + ("" if method == "__call__" else f".{method}")
    if any(isinstance(target, Tensor) for target in options.get("out", ())):
        _refuse(name, {"out": "a tensor"})
    if method == "__call__" and ufunc in UFUNCS_OF_VALUES:
        return _constants(ufunc(*_bare(inputs), **_bare(options)))
    if method == "__call__" and ufunc in UFUNCS:
        if options:
            _refuse(name, options)
        return UFUNCS[ufunc](*inputs)
    if method == "reduce" and ufunc in UFUNC_REDUCTIONS:
        axis, keepdims = options.pop("axis", 0), options.pop("keepdims", False)
        _refuse(name, options)
        return UFUNC_REDUCTIONS[ufunc](inputs[0], axis=axis, keepdims=keepdims)
    if method == "accumulate" and ufunc is np.add:
        axis = options.pop("axis", 0)
        _refuse(name, options)
        return group.cumsum(inputs[0], axis=axis)
    raise _unsupported(name)


def _array_function(self: Tensor, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy hands over its other functions, wherever among the arguments the tensor was."""
    if function in FUNCTIONS_OF_VALUES:
        return _constants(function(*_bare(args), **_bare(kwargs)))
    if function not in FUNCTIONS:
        raise _unsupported(_name_of(function))
    handler, order = FUNCTIONS[function]
    names = order.split()
    first, taken = _parameters(handler)
    if not names:
        _refuse(_name_of(function), kwargs)
        return handler(*args)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    leading = [given.pop(name) for name in names[:first] if name in given]
    options = {name: value for name, value in given.items() if name in taken and value is not np._NoValue}
    _refuse(_name_of(function), {name: value for name, value in given.items() if name not in taken})
    return handler(*leading, **options)


@lru_cache(256)
def _parameters(handler: Callable[..., Any]) -> tuple[int, frozenset[str]]:
    """How many of a function's parameters go by position, and the names of the others."""
    parameters = inspect.signature(handler).parameters.values()
    by_name = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    return len(parameters) - len(by_name), frozenset(by_name)


def _refuse(name: str, options: dict[str, Any]) -> None:
    """Raise for options that would change the result, or put it where no gradient could follow."""
    for option, value in options.items():
        if value is None or value is np._NoValue or (option in HARMLESS and value is HARMLESS[option]):
            continue
        raise UnsupportedError(
            f"{name} cannot be recorded with {option}=",
            got=f"{option}={describe(value[0] if isinstance(value, tuple) else value)}",
            expected=f"{name} without {option}",
            todo=INSTEAD.get(option, "leave it out, or apply the function to x.numpy() if the gradient is not wanted"),
        )


def _name_of(function: Any) -> str:
    return f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)


def _unsupported(name: str) -> UnsupportedError:
    known = {f"np.{ufunc.__name__}" for ufunc in [*UFUNCS, *UFUNCS_OF_VALUES]}
    known |= {f"np.{ufunc.__name__}.reduce" for ufunc in UFUNC_REDUCTIONS} | {"np.add.accumulate"}
    known |= {_name_of(function) for function in [*FUNCTIONS, *FUNCTIONS_OF_VALUES]}
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return UnsupportedError(
        f"{name} cannot be recorded on tensors, and the gradient would be lost",
        got=name,
        expected=f"a function that tensors know, such as {', '.join(near)}" if near else "a function that tensors know",
        todo=f"compose it from functions of gz, or use {name}(x.numpy()) if the gradient is not wanted",
    )


def _iterate(x: Tensor) -> Iterator[Tensor]:
    if x.ndim == 0:
        raise UnsupportedError(
            "a single number cannot be iterated over", got=f"a tensor {describe(x)}", todo="use x.item()"
        )
    return (array.index(x, i) for i in range(len(x)))


PROTOCOLS: dict[str, Any] = {
    "__array_ufunc__": _array_ufunc,
    "__array_function__": _array_function,
    "__iter__": _iterate,
}

for _name, _function in {**OPERATORS, **METHODS, **PROTOCOLS}.items():
    setattr(Tensor, _name, _function)
