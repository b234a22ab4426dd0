"""graphzoo: a dynamic computation-graph engine with tape autodiff, on NumPy."""

import importlib as _importlib  # what only this file needs has an underscore: gz.Any would be odd
import typing as _typing

from .check import *
from .containers import *
from .derivatives import *
from .errors import (
    ArgumentError,
    DtypeError,
    GradientError,
    GraphzooError,
    OverwrittenError,
    ReleasedError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from .graph import graph
from .module import OUTPUT, Formulas, Module
from .observer import Tape, pause_gc
from .state import Parameter
from .tape import enable_grad, no_grad, scope, time_step
from .tensor import Tensor, backward_steps, detach_state, tensor
from .zoo.activation import *
from .zoo.array import *
from .zoo.attention import *
from .zoo.convolution import *
from .zoo.elementwise import *
from .zoo.gated import *
from .zoo.group import *
from .zoo.linear import *
from .zoo.loss import *
from .zoo.matrix import *
from .zoo.normalization import *
from .zoo.operators import *
from .zoo.pooling import *
from .zoo.recurrent import *
from .zoo.regularization import *
from .zoo.resampling import *
from .zoo.sequence import *
from .zoo.transposed import *
from .zoo.weight import *
from .zoo.window import *

if _typing.TYPE_CHECKING:
    from . import bptt, data, init, optim
    from .graph import Graph, RenderError, record
    from .interop.npz import load, save

__version__ = "0.1.0"

# What a program may do without, and what costs as much to import as the rest together, is imported on first use.
_ROOMS = {
    "bptt": ".bptt",
    "data": ".data",
    "init": ".init",
    "optim": ".optim",
    "Graph": ".graph.frozen",
    "RenderError": ".graph.render",
    "load": ".interop.npz",
    "record": ".graph.recording",
    "save": ".interop.npz",
}


def __getattr__(name: str) -> _typing.Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _importlib.import_module(_ROOMS[name], __name__)
    return getattr(room, name, room)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
