"""graphzoo: a dynamic computation-graph engine with tape autodiff, on NumPy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .check import *
from .containers import *
from .derivatives import *
from .errors import *
from .graph import Graph, RenderError, graph
from .module import OUTPUT, Formulas, Module
from .observer import Tape
from .state import Parameter
from .tape import enable_grad, no_grad, scope, time_step
from .tensor import Tensor, backward_steps, detach_state, tensor
from .zoo import *

if TYPE_CHECKING:
    from . import data, init, optim
    from .interop.npz import load, save

__version__ = "0.1.0"

# What a program may do without, and what costs as much to import as the rest together, is imported on first use.
_ROOMS = {"data": ".data", "init": ".init", "optim": ".optim", "load": ".interop.npz", "save": ".interop.npz"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = import_module(_ROOMS[name], __name__)
    return getattr(room, name, room)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
