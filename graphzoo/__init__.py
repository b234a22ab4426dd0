"""graphzoo: a dynamic computation-graph engine with tape autodiff, on NumPy."""

from . import data, init, optim
from .check import *
from .containers import *
from .derivatives import *
from .errors import *
from .graph import Graph, RenderError, graph
from .interop.npz import load, save
from .module import OUTPUT, Formulas, Module
from .observer import Tape
from .state import Parameter
from .tape import enable_grad, no_grad, scope, time_step
from .tensor import Tensor, backward_steps, detach_state, tensor
from .zoo import *

__version__ = "0.1.0"
