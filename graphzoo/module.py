"""The module contract, and how a use of a module is recorded.

A module is one of two things. A *rule* defines its passes on arrays (`forward`, `backward`, and where it has parameters
`parameter_gradients`); each call of it is one node of the graph. A *model* defines only a `forward` in terms of tensors
and other modules; it is no node but a scope, which pictures draw as a box.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from reprlib import recursive_repr
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .errors import GradientError, GraphzooError, ShapeError, UnsupportedError, describe
from .state import Parameter, State, opened
from .tape import Leaf, Node, Output, Place, Scope, local, new_object, next_number
from .tensor import Tensor, as_array, constant, number, wrap

OUTPUT = "output"
"""In `Module.saves`: this saved value is the node's output."""


class Formulas(NamedTuple):
    """The three passes of a module in LaTeX, and where they come from; the one source for docs, pages and terminal."""

    forward: str
    backward: str = ""
    parameters: str = ""
    source: str = ""


class Module(State):
    """Base of everything in the zoo, and of a user's own rules and models. `super().__init__()` is not needed.

    A rule defines, with arrays in and arrays out and nothing kept on the module:

    - ``forward(self, node, *inputs, *parameters)`` returns the output, or a tuple of outputs. What the other passes
      need goes to ``node.saved``; ``node.needs`` tells which inputs a gradient will be asked for.
    - ``backward(self, node, dy)`` returns one gradient per input, None where none flows. With several outputs ``dy``
      is a tuple, None for outputs that no gradient reached. It may return ``dy`` itself or views of it.
    - ``parameter_gradients(self, node, dy)`` returns a dictionary of fresh arrays, by parameter name. It runs after
      ``backward`` and may use what that left in ``node.delta`` (which is None when backward was not asked for).
    - ``expand(self, node, *inputs, *parameters)`` states the module's definition in tensor operations. Primitives have
      none: they are what definitions are made of.
      Where the engine needs it (see ``saves``), ``node.saved`` begins with the inputs and parameters, or ``recall``
      finds them.
    - ``stack(self, nodes, dys)``, optionally, joins several uses into one (node, dy) for a shared parameter pass.
      Uses wait for each other with what ``aside(self, node)`` returns as their ``saved``, by default all of it. The
      first use waits only if the module is ``patient``, as those are that are seldom used once.

    A model defines only ``forward`` with tensors, and is called like a function.

    Class attributes:
        formulas: the three passes in LaTeX.
        parameter_names: the attributes that are handed to the rules as trailing arguments.
        buffer_names: attributes (arrays) that belong to the state but are not learnt.
        saves: what ``node.saved`` consists of, for rules whose ``backward`` works on tensors as well as on arrays:
            the index of an input, `OUTPUT`, or None for anything else. Derivatives of derivatives then go through
            ``backward`` itself instead of ``expand``.
        broadcasts: whether the engine shall undo broadcasting in the gradients.

    >>> import numpy as np, graphzoo as gz
    >>> class Cube(gz.Module):                       # a rule: three lines, and it is checked like the zoo's own
    ...     def forward(self, node, x):
    ...         node.saved = (x,)
    ...         return x ** 3
    ...     def backward(self, node, dy):
    ...         return 3 * node.saved[0] ** 2 * dy
    ...     def expand(self, node, x):
    ...         return x * x * x
    >>> x = gz.tensor([2.0], requires_grad=True)
    >>> Cube()(x).backward()
    >>> x.grad
    array([12.], dtype=float32)
    """

    formulas: ClassVar[Formulas] = Formulas("")
    parameter_names: ClassVar[tuple[str, ...]] = ()
    saves: ClassVar[tuple[int | str | None, ...] | None] = None
    broadcasts: ClassVar[bool] = False
    name: str | None = None

    # The passes; what a class leaves out stays None.
    forward: Any = None
    backward: Any = None
    parameter_gradients: Any = None
    expand: Any = None
    stack: Any = None
    aside: Any = None
    patient = False

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self.backward is not None:
            return record(self, self._in_order(inputs, options) if options else inputs)
        if self.forward is None:
            raise UnsupportedError(
                f"{type(self).__name__} cannot be called",
                got="a class without forward()",
                expected="forward(self, x) for a model, or forward/backward(self, node, ...) for a rule",
            )
        context, kind = local.context, type(self).__name__
        around = context.place
        context.place = Place((*around.scope, Scope(self.name or kind, kind)), around.t)  # as gz.scope, but sooner done
        try:
            return self.forward(*inputs, **options)
        finally:
            context.place = around

    def _in_order(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """A rule's inputs where some were given by name; Python's own TypeError where they do not fit."""
        own = list(inspect.signature(self.forward).parameters.values())[1:]
        bound = inspect.Signature(own[: len(own) - len(self.parameter_names)]).bind(*inputs, **named)
        bound.apply_defaults()
        return bound.args

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if isinstance(value, Module):
            object.__setattr__(value, "name", key)
        elif isinstance(value, Parameter):
            if value.name is None:
                value.name = key
        elif isinstance(value, (list, tuple, dict)):
            for path, item in opened(key, value):
                if isinstance(item, Module):
                    object.__setattr__(item, "name", path)

    def argument_name(self, index: int) -> str:
        """The name that `forward` gives to its input (or parameter) with this index."""
        names = [
            parameter.name + ("[{}]" if parameter.kind is parameter.VAR_POSITIONAL else "")
            for parameter in list(inspect.signature(self.forward).parameters.values())[1:]
        ]
        first_many = next((i for i, name in enumerate(names) if name.endswith("[{}]")), len(names))
        return names[index] if index < first_many else names[-1].format(index - first_many)

    def recall(self, node: Node) -> tuple[Any, ...]:
        """The values of a node's inputs (parameters last), for `expand`; by default what `node.saved` begins with."""
        saved = node.saved or ()
        if len(saved) < len(node.inputs):
            raise GradientError(
                f"the definition of {type(self).__name__} needs the values of its inputs, which were not saved",
                got=f"{len(saved)} saved values",
                expected=f"node.saved to begin with the {len(node.inputs)} inputs and parameters, in order",
                todo="save them in forward(), or say with `saves` that backward() works on tensors, too",
            )
        return tuple(saved[: len(node.inputs)])

    def extra_repr(self) -> str:
        """What stands in the brackets of `repr`: the module's configuration."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        children = [(key, value) for key, value in self.children() if isinstance(value, Module)]
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not children:
            return head + ")"
        lines = [f"  ({key}): " + repr(value).replace("\n", "\n  ") for key, value in children]
        return "\n".join([head, *lines, ")"])


# Recording -----------------------------------------------------------------------------------------------------------


def lift(value: Any, module: Module) -> Tensor:
    """The tensor for an argument of a module."""
    if isinstance(value, Tensor):
        return value
    try:
        return constant(as_array(value))
    except GraphzooError as error:
        error.add_note(f"  as an input of {type(module).__name__}")
        raise


def source_of(tensor: Tensor) -> Any:
    """The tensor's source; a constant gets its leaf when the first recorded operation uses it."""
    if tensor.source is None:
        tensor.source = Leaf(tensor._data.shape, tensor._data.dtype, False, "constant", None)
    return tensor.source


def record(module: Module, inputs: Iterable[Any], place: Any = None) -> Any:
    """Run a rule's forward pass on tensors; add a node to the graph if any of them requires a gradient.

    Args:
        module: the rule.
        inputs: tensors, or whatever can be made into constants; None where an input is left out.
        place: scopes and time step of the node; by default those of the blocks around the call.

    Returns:
        The output tensor, or a tuple of them.
    """
    context = local.context
    values = [*inputs, *[getattr(module, name) for name in module.parameter_names]]
    arrays: list[Any] = []
    sources: list[Any] = []
    needs: list[bool] = []
    for position, value in enumerate(values):
        if value is None:
            arrays.append(None)
            sources.append(None)
            needs.append(False)
            continue
        if not isinstance(value, Tensor):
            value = values[position] = lift(value, module)
        source = value.source
        arrays.append(value._data)
        sources.append(source)
        needs.append(source is not None and source.requires_grad)
    recording = context.recording and True in needs
    node = Node()
    node.module = module
    node.number = next_number()
    if recording:
        if None in sources:
            sources = [None if value is None else source_of(value) for value in values]
        node.inputs, node.needs = tuple(sources), tuple(needs)
    else:
        node.inputs, node.needs = (), (False,) * len(needs)
    node.place = place or context.place
    node.fits = False
    node.saved = node.delta = node.extra = None
    try:
        output = module.forward(node, *arrays)
    except Exception as error:
        explain(error, module, arrays)
        raise
    if output.__class__ is list:
        output = tuple(output)
    if output.__class__ is tuple:
        if not recording:
            return tuple([constant(array) for array in output])
        node.shape = tuple([array.shape for array in output])
        node.dtype = tuple([array.dtype for array in output])
        result: Any = tuple([wrap(array, Output(node, index)) for index, array in enumerate(output)])
    else:
        if output.__class__ is not np.ndarray:
            output = np.asarray(output)
        if not recording:
            return constant(output)
        node.shape = output.shape
        node.dtype = output.dtype
        result = wrap(output, node)
    if context.observer is not None:
        context.observer.append(node, output)
    return result


# The two recorders below do what `record` does for modules of one output and no parameters, without its loops. They are
# written out because small operations cost what their bookkeeping costs. They also tell the engine where a node's
# gradients have their sources' shapes and dtypes of themselves, as nothing was broadcast, reduced or cast.

_ONE = (True,)
_BOTH, _FIRST, _SECOND, _NEITHER = (True, True), (True, False), (False, True), (False, False)


def unary(module: Module, a: Tensor) -> Tensor:
    """`record` for one input."""
    context = local.context
    source = a.source
    node = Node()
    node.saved = node.delta = node.extra = None
    recording = source is not None and source.requires_grad and context.recording
    node.needs = _ONE if recording else (False,)
    try:
        output = module.forward(node, a._data)
    except Exception as error:
        explain(error, module, [a._data])
        raise
    if output.__class__ is not np.ndarray:
        output = np.asarray(output)
    result = new_object(Tensor)
    result._data = output
    if not recording:
        result.source = None
        return result
    node.module = module
    node.number = next_number()
    node.inputs = (source,)
    node.place = context.place
    shape = output.shape
    dtype = node.dtype = output.dtype
    if shape == source.shape:
        node.shape = source.shape  # one tuple for all nodes of a shape
        node.fits = dtype is source.dtype
    else:
        node.shape = shape
        node.fits = False
    if context.observer is not None:
        context.observer.append(node, output)
    result.source = node
    return result


@cache
def binary(module: Module) -> Callable[[Any, Any], Tensor]:
    """A function that is `record` for two inputs, which may be arrays and Python numbers, too."""
    forward = module.forward

    def apply(a: Any, b: Any) -> Tensor:
        if a.__class__ is Tensor or isinstance(a, Tensor):
            x = a._data
            first = a.source
            need_a = first is not None and first.requires_grad
        elif isinstance(b, Tensor):
            x, first = operand(a, b._data.dtype, module)
            need_a = False
        else:
            return apply(lift(a, module), b)
        if b.__class__ is Tensor or isinstance(b, Tensor):
            y = b._data
            second = b.source
            need_b = second is not None and second.requires_grad
        else:
            y, second = operand(b, x.dtype, module)
            need_b = False
        context = local.context
        node = Node()
        node.saved = node.delta = node.extra = None
        recording = (need_a or need_b) and context.recording
        if not recording:
            node.needs = _NEITHER
        elif need_a:
            node.needs = _BOTH if need_b else _FIRST
        else:
            node.needs = _SECOND
        try:
            output = forward(node, x, y)
        except Exception as error:
            explain(error, module, [x, y])
            raise
        if output.__class__ is not np.ndarray:
            output = np.asarray(output)
        result = new_object(Tensor)
        result._data = output
        if not recording:
            result.source = None
            return result
        if first is None:
            first = source_of(a)
        if second is None:
            second = source_of(b)
        node.module = module
        node.number = next_number()
        node.inputs = (first, second)
        node.place = context.place
        shape = output.shape
        dtype = node.dtype = output.dtype
        fits = True
        if need_a:
            if shape == first.shape:
                shape = first.shape  # one tuple for all nodes of a shape
                fits = dtype is first.dtype
            else:
                fits = False
        if need_b and fits:
            fits = dtype is second.dtype and shape == second.shape
        node.shape = shape
        node.fits = fits
        if context.observer is not None:
            context.observer.append(node, output)
        result.source = node
        return result

    return apply


def operand(value: Any, dtype: np.dtype[Any], module: Module) -> tuple[np.ndarray, Any]:
    """Array and source of an operand that is no tensor. A Python number takes the other operand's floating-point dtype
    and stands in the graph for itself."""
    if isinstance(value, (bool, int, float, complex)):
        kind = dtype if dtype.kind in "fc" and not isinstance(value, complex) else np.result_type(dtype, value)
        return number(value, kind), value
    tensor = lift(value, module)
    return tensor._data, source_of(tensor)


def explain(error: Exception, module: Module, arrays: Iterable[Any]) -> None:
    """Add to an error from a forward pass which module it was and what it was given; shape errors become our own."""
    given = ", ".join("None" if array is None else describe(array) for array in arrays)
    if isinstance(error, ValueError) and not isinstance(error, GraphzooError):
        raise ShapeError(
            f"{module.name or type(module).__name__} cannot be computed for these inputs",
            got=given,
            expected="shapes that fit each other",
            todo=f"NumPy says: {error}",
        ) from error
    error.add_note(f"  in the forward pass of {type(module).__name__}, given {given}")


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """The random generator for an argument `rng`: a seed, a generator (used as it is), or None for fresh entropy."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
