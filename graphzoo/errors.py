"""The errors graphzoo raises, and the one way in which they are worded.

Every message names what was wrong, what was given, what was expected, and what to do. An error also carries, as a note
under the message, the line of the user's program that led to it: the innermost frame outside this package.
Nothing here costs anything until something fails.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

_PACKAGE = os.path.dirname(__file__) + os.sep  # unresolved, as it stands in code objects


class GraphzooError(Exception):
    """Base of every error that graphzoo raises on its own account.

    >>> try:
    ...     raise GraphzooError("no graph", expected="a tensor with a graph", got="3.0", todo="pass a loss")
    ... except GraphzooError as error:
    ...     print(error)
    no graph
      got:      3.0
      expected: a tensor with a graph
      to do:    pass a loss
    """

    def __init__(self, what: str, *, got: object = None, expected: object = None, todo: object = None) -> None:
        lines = [what]
        for label, text in (("got:      ", got), ("expected: ", expected), ("to do:    ", todo)):
            if text is not None:
                lines.append(f"  {label}{text}")
        super().__init__("\n".join(lines))
        line = user_line()
        if line is not None:
            self.add_note(f"  in your line: {line}")


class ShapeError(GraphzooError, ValueError):
    """Arrays whose shapes do not fit each other or the module."""


class DtypeError(GraphzooError, TypeError):
    """An array of a dtype that the operation cannot work with."""


class ArgumentError(GraphzooError, ValueError):
    """An argument that has the right type and an impossible value."""


class GradientError(GraphzooError, RuntimeError):
    """A gradient was asked for where there is none, or would have been lost."""


class ReleasedError(GradientError):
    """A second backward pass reached nodes whose saved arrays were given back by the first."""


class OverwrittenError(GradientError):
    """An array that the backward pass needs was written to after it was recorded."""


class UnsupportedError(GraphzooError, TypeError):
    """An operation that cannot be recorded; computing it silently would lose the gradient."""


class StateError(GraphzooError, KeyError):
    """A state dictionary that does not fit; lists every key that is wrong."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


def user_line() -> str | None:
    """``file.py:12`` of the innermost frame outside this package, or None when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_PACKAGE, "<frozen")) and name != "<string>":
            return f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def describe(value: object) -> str:
    """A short description of a value for messages: ``float32 (3, 4)`` for arrays, the type and value otherwise.

    >>> import numpy as np
    >>> describe(np.zeros((3, 4), np.float32)), describe("abc")
    ('float32 (3, 4)', "str 'abc'")
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and not isinstance(value, type):  # np.float32 itself has both
        return f"{dtype} {tuple(shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
