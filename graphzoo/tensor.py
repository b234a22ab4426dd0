"""The tensor: an array and the source it came from.

Operators, methods such as `sum`, and NumPy's protocols are attached by `graphzoo.zoo.operators`, where each of them is
tied to the module of the zoo that it records; here is what a tensor is without them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .backward import STACK_BYTES, Step, deposit, drain, seed_for, sweep
from .errors import ArgumentError, DtypeError, GradientError, GraphzooError, UnsupportedError, describe, user_line
from .tape import Leaf, Node, Output, local, new_object, next_number, node_of, note_write

DEFAULT_DTYPE = np.dtype(np.float32)


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Make one with `gz.tensor`. Operations on tensors of which at least one requires a gradient are recorded.

    Attributes:
        data: the values, an ndarray. Assigning another array of the same shape changes the tensor's values; to write
            into `data` in place, call `mark_written` afterwards, so that a backward pass that still needs the old
            values can say so.
        grad: the accumulated gradient, an ndarray of the tensor's shape and dtype, or None where none has flowed.
            Leaves have it after `backward()`; computed tensors only after `retain_grad()`.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> loss.backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("_data", "source")
    _role = "input"

    source: Any  # Node, Output, Leaf, or None for a constant that no recorded operation has used yet
    _data: np.ndarray

    if TYPE_CHECKING:  # attached by graphzoo.zoo.operators
        T: Tensor

        def _one(self) -> Tensor: ...
        def _two(self, other: Any) -> Tensor: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _two
        __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __floordiv__ = __rfloordiv__ = dot = _two
        __lt__ = __le__ = __gt__ = __ge__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _two
        __eq__ = __ne__ = _two  # type: ignore[assignment]
        __neg__ = __pos__ = __abs__ = __invert__ = _one
        exp = log = sqrt = abs = sin = cos = tanh = erf = ravel = _one

        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Any = None, ddof: float = 0, keepdims: bool = False, **options: Any) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def take(self, argument: Any, axis: int | None = None) -> Tensor: ...

        mean = max = min = prod = norm = logsumexp = argmax = argmin = all = any = sum
        std, transpose, repeat = var, reshape, take

        def __getitem__(self, key: Any) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def clip(self, min: Any = None, max: Any = None) -> Tensor: ...
        def cumsum(self, axis: int | None = None) -> Tensor: ...
        def argsort(self, axis: int | None = -1) -> Tensor: ...
        def nonzero(self) -> tuple[Tensor, ...]: ...
        def round(self, decimals: int = 0) -> Tensor: ...
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor: ...
        def squeeze(self, axis: Any = None) -> Tensor: ...

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> None:
        self._data = as_array(data, dtype)
        self.source = None
        if requires_grad or name is not None:
            self.source = self._leaf(requires_grad, name)

    def _leaf(self, requires_grad: bool, name: str | None = None) -> Leaf:
        data = self._data
        if requires_grad and data.dtype.kind != "f":
            raise DtypeError(
                "only floating-point tensors can require a gradient",
                got=describe(data),
                expected="float32 or float64",
                todo="pass dtype=np.float32, or leave requires_grad out for indices and masks",
            )
        return Leaf(data.shape, data.dtype, requires_grad, self._role if requires_grad else "constant", name)

    # What it holds ------------------------------------------------------------------------------------------------

    @property
    def data(self) -> np.ndarray:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        array = value.data if isinstance(value, Tensor) else np.asarray(value, self._data.dtype)
        if array.shape != self._data.shape:
            raise ArgumentError(
                "assigning to .data cannot change a tensor's shape", got=array.shape, expected=self._data.shape
            )
        if array is self._data:  # what `p.data -= step` comes down to
            self.mark_written(f"an in-place operation on .data at {user_line()}")
        self._data = array.astype(self._data.dtype, copy=False)

    def mark_written(self, writer: str = "an in-place write") -> None:
        """Say that `data` was changed in place, and by whom.

        A node that had saved this memory before raises in its backward pass instead of using the new values.
        """
        if self.source.__class__ is Leaf:
            note_write(self.source, self._data, writer)
        elif self.source is not None:
            raise UnsupportedError(
                "a computed tensor was written to, whose values the backward pass may need",
                got=f"{writer} on the output of {self.node!r}",
                expected="a leaf, or a tensor without a graph",
                todo="compute a new tensor instead, or write to x.detach().numpy().copy()",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    def __len__(self) -> int:
        return len(self._data)

    def numpy(self) -> np.ndarray:
        """The values as an ndarray that shares the tensor's memory and knows nothing of the graph."""
        return self._data

    def item(self) -> float | int | bool:
        """The one element as a Python number."""
        if self._data.size != 1:
            raise ArgumentError(
                "item() needs a tensor with one element", got=f"shape {self.shape}", todo="index or reduce first"
            )
        return self._data.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self._data.tolist()

    def __float__(self) -> float:
        self._refuse_conversion("float()", "item()")
        return float(self.item())

    def __int__(self) -> int:
        self._refuse_conversion("int()", "item()")
        return int(self.item())

    def __index__(self) -> int:
        return self._data.__index__()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._refuse_conversion("np.asarray()", "numpy()")
        return np.array(self._data, dtype, copy=copy)

    def _refuse_conversion(self, what: str, instead: str) -> None:
        if self.requires_grad:
            raise UnsupportedError(
                f"{what} on a tensor that requires a gradient would lose the gradient",
                got=f"a tensor {describe(self)}",
                expected="a tensor without a graph",
                todo=f"use .{instead} if the values alone are wanted; stay with tensors if the gradient is",
            )

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="tensor(")
        if self.node is not None:
            tail = f", node={self.node!r}"
        else:
            tail = ", requires_grad=True" if self.requires_grad else ""
        name = f", name={self.name!r}" if self.name and self.node is None else ""
        dtype = "" if self.dtype == DEFAULT_DTYPE else f", dtype={self.dtype}"
        return f"tensor({values}{dtype}{tail}{name})"

    # Its place in the graph ---------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor. Can be set on leaves (tensors that nothing was computed for)."""
        source = self.source
        return source is not None and source.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            raise GradientError(
                "requires_grad can only be set on a leaf",
                got=f"the output of {self.node!r}",
                todo="use .detach() for a tensor that is cut off the graph",
            )
        fresh = self._leaf(bool(value))  # refuses dtypes that cannot have gradients
        if self.source is None:
            self.source = fresh
        elif value and self.source.role == "constant":
            self.source.role = self._role
        self.source.requires_grad = bool(value)

    @property
    def node(self) -> Node | None:
        """The node that computed this tensor; None for leaves and for what was not recorded."""
        return node_of(self.source)

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    @property
    def name(self) -> str | None:
        source = self.source
        if source.__class__ is Leaf:
            return source.name
        return source.extra.name if source.__class__ is Node and source.extra else None

    @name.setter
    def name(self, value: str | None) -> None:
        if self.source is None:
            self.source = self._leaf(False)
        if self.source.__class__ is Leaf:
            self.source.name = value
        elif self.node is not None:
            self.node.more().name = value

    @property
    def grad(self) -> np.ndarray | None:
        source = self.source
        if source.__class__ is Leaf:
            return source.grad  # type: ignore[no-any-return]
        node = node_of(source)
        if node is None or node.extra is None:
            return None
        return node.extra.kept.get(self._index())

    @grad.setter
    def grad(self, value: Any) -> None:
        if self.source.__class__ is not Leaf:
            raise GradientError("only a leaf's gradient can be set", got=repr(self.node or "a constant"))
        if value is not None:
            value = np.array(value.data if isinstance(value, Tensor) else value, self.dtype)
            if value.shape != self.shape:
                raise ArgumentError("a gradient has the shape of its tensor", got=value.shape, expected=self.shape)
        self.source.grad = value

    def _index(self) -> int:
        return self.source.index if self.source.__class__ is Output else 0

    def retain_grad(self) -> None:
        """Keep this tensor's gradient in the next backward pass, though it is no leaf.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * 3
        >>> y.retain_grad()
        >>> (y * y).sum().backward()
        >>> y.grad
        array([ 6., 12.], dtype=float32)
        """
        self._refuse_without_graph("retain_grad()")
        if self.node is not None:
            self.node.more().kept.setdefault(self._index(), None)

    def register_hook(self, hook: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[], None]:
        """Call `hook(gradient)` when this tensor's gradient is complete; what it returns replaces the gradient.

        Returns:
            A function that takes the hook away again.

        >>> import graphzoo as gz
        >>> x = gz.tensor([1.0, -2.0], requires_grad=True)
        >>> remove = x.register_hook(lambda gradient: gradient.clip(-1, 1))
        >>> (3 * x * x).sum().backward()
        >>> x.grad
        array([ 1., -1.], dtype=float32)
        """
        self._refuse_without_graph("register_hook()")
        if self.node is not None:
            hooks = self.node.more().hooks.setdefault(self._index(), {})
        else:
            if self.source.hooks is None:
                self.source.hooks = {}
            hooks = self.source.hooks
        handle = next_number()
        hooks[handle] = hook

        def remove() -> None:
            hooks.pop(handle, None)

        return remove

    def _refuse_without_graph(self, what: str) -> None:
        if not self.requires_grad:
            raise GradientError(
                f"{what} on a tensor that no gradient flows to",
                got=f"a tensor {describe(self)} with requires_grad=False",
                expected="a tensor computed from at least one that requires a gradient, outside of no_grad()",
                todo="create the inputs or parameters it is computed from with requires_grad=True",
            )

    def detach(self) -> Tensor:
        """A tensor of the same values without a graph: gradients stop here.

        Shares this tensor's memory, read-only where a graph may still need the values; copy it to write into it.
        """
        data = self._data
        if self.requires_grad:
            data = data.view()
            data.flags.writeable = False
        other = constant(data)
        if (node := self.node) is not None:
            other.source = other._leaf(False)
            other.source.cut = weakref.ref(node)
        return other

    def backward(self, gradient: Any = None, *, retain_graph: bool = False, stack_bytes: int = STACK_BYTES) -> None:
        """Differentiate this tensor and add the gradients to `.grad` of the leaves.

        Args:
            gradient: what the pass starts from, of this tensor's shape; ones if the tensor is a single number.
            retain_graph: keep what the nodes saved, so that the graph can be differentiated again.
            stack_bytes: how much the uses of a module may hold while they wait to share one parameter pass;
                0 runs the parameter pass use by use.

        Raises:
            GradientError: no graph, or several elements and no gradient to start from.
            ReleasedError: a second pass through a graph that was not retained.
            OverwrittenError: an array that is needed was written to since the forward pass.
        """
        if local.context.observer is not None:
            local.context.observer.before_backward(self, gradient)
        deposit(drain(self._sweep("backward()", gradient, retain_graph, stack_bytes=stack_bytes)))

    def _sweep(self, what: str, gradient: Any, retain: bool, **options: Any) -> Generator[Step, None, Any]:
        self._refuse_without_graph(what)
        gradient = gradient.data if isinstance(gradient, Tensor) else gradient
        seed = seed_for(self.shape, self.dtype, gradient)
        return sweep([(self.source, seed)], retain=retain, **options)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.node is not None or (self.requires_grad and local.context.recording):
            raise UnsupportedError(
                "writing into a tensor that is part of a graph would lose gradients",
                got=f"x[...] = ... on {self.node or self.source!r}",
                expected="a tensor without graph, or a leaf inside gz.no_grad()",
                todo="build a new tensor with gz.where, gz.concatenate or gz.scatter",
            )
        if not self._data.flags.writeable:
            raise UnsupportedError(
                "this tensor's memory is read-only",
                got=f"x[...] = ... on a detached tensor or a read-only array, {describe(self)}",
                expected="memory of its own: the graph of the tensor it was detached from may still need the values",
                todo="copy it first: x = gz.tensor(x.numpy().copy())",
            )
        self._data[key] = value.data if isinstance(value, Tensor) else value
        self.mark_written(f"x[...] = ... at {user_line()}")

    __hash__ = object.__hash__

    def __copy__(self) -> Self:
        raise UnsupportedError(
            "a tensor cannot be copied shallowly", todo="use x.detach(), or gz.tensor(x.numpy().copy())"
        )

    def __deepcopy__(self, memo: Any) -> Self:
        if self.node is not None:
            raise UnsupportedError(
                "a computed tensor cannot be copied with its graph", got=repr(self.node), todo="copy x.detach()"
            )
        other = new_object(type(self))
        other._data = self._data.copy()
        other.source = other._leaf(self.requires_grad, self.name) if self.source is not None else None
        return other

    def __reduce__(self) -> Any:
        if self.node is not None:
            raise UnsupportedError(
                "a computed tensor cannot be pickled with its graph", got=repr(self.node), todo="use x.detach()"
            )
        return _rebuild, (type(self), self._data, self.requires_grad, self.name)


def _rebuild(kind: type[Tensor], data: np.ndarray, requires_grad: bool, name: str | None) -> Tensor:
    other = new_object(kind)
    other._data = data
    other.source = other._leaf(requires_grad, name) if requires_grad or name is not None else None
    return other


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """An array of the data: NumPy's keep their dtype, Python numbers and lists become float32 unless asked."""
    if isinstance(data, Tensor):
        data = data.data
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data, dtype)
    else:
        try:
            array = np.asarray(data)  # of its own dtype first: asked for floats, NumPy would make NaN of None
        except GraphzooError:
            raise
        except (ValueError, TypeError) as error:
            raise DtypeError(
                "this cannot be made into a tensor",
                got=describe(data),
                expected="an array, a number, or nested lists of numbers of equal length",
                todo=f"NumPy says: {error}",
            ) from None
        if array.dtype.kind in "fiubc":
            array = array.astype(DEFAULT_DTYPE if dtype is None else dtype, copy=False)
    if array.dtype.kind not in "fiubc":
        raise DtypeError("a tensor holds numbers", got=describe(data), expected="a dtype of numbers or booleans")
    return array


def number(value: complex, dtype: np.dtype[Any]) -> np.ndarray:
    """A number as a read-only array: NumPy takes twice as long over a small array and a Python number."""
    if value == 0 and value.__class__ is float:  # -0.0 and 0.0 are one key
        return np.asarray(value, dtype)
    return _number(value, dtype)


@lru_cache(1024, typed=True)
def _number(value: complex, dtype: np.dtype[Any]) -> np.ndarray:
    array = np.asarray(value, dtype)
    array.flags.writeable = False
    return array


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A tensor of the given values.

    Args:
        data: an ndarray (kept as it is, sharing memory), a number, nested lists, or a tensor (its values).
        dtype: of the result. By default arrays keep theirs; numbers and lists become float32.
        requires_grad: whether gradients shall flow to it. Floating-point tensors only.
        name: shown in pictures and messages.

    Raises:
        DtypeError: ragged lists, text, objects; or requires_grad for integers.

    >>> import graphzoo as gz
    >>> gz.tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    return Tensor(data, dtype, requires_grad, name)


def constant(data: np.ndarray) -> Tensor:
    """A tensor without a graph, of an array that is known to be one (the fast way in)."""
    other = new_object(Tensor)
    other._data = data
    other.source = None
    return other


def wrap(data: np.ndarray, source: Any) -> Tensor:
    """A tensor of an array and the source it came from."""
    other = new_object(Tensor)
    other._data = data
    other.source = source
    return other


def detach_state(state: Any) -> Any:
    """The same tree of tuples, lists and dictionaries with every tensor cut off its graph: for truncated BPTT.

    >>> import graphzoo as gz
    >>> h = gz.tensor([1.0], requires_grad=True) * 2
    >>> carried, _ = gz.detach_state((h, None))
    >>> carried.requires_grad
    False
    """
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {key: detach_state(value) for key, value in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*map(detach_state, state))
    if isinstance(state, (tuple, list)):
        return type(state)(map(detach_state, state))
    return state


def backward_steps(loss: Tensor, gradient: Any = None, *, retain_graph: bool = False) -> Generator[Step, None, None]:
    """The backward pass of `loss`, node by node: what `loss.backward()` does, to be watched.

    Yields a `Step` for each node in the order of the pass, with the gradient that arrived at the node and the gradients
    it hands on. The leaves' `.grad` are filled when the last step has been taken.

    >>> import graphzoo as gz
    >>> x = gz.tensor([1.0, 2.0], requires_grad=True)
    >>> for step in gz.backward_steps((x * x).sum()):
    ...     print(step.node, step.upstream, step.gradients)
    Sum 1.0 (array([1., 1.], dtype=float32),)
    Multiply [1. 1.] (array([1., 2.], dtype=float32), array([1., 2.], dtype=float32))
    """
    gradients = yield from loss._sweep("backward_steps()", gradient, retain_graph, watch=True)
    deposit(gradients)
