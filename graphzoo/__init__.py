"""graphzoo: a dynamic computation-graph engine with tape autodiff, on NumPy."""

from .check import *
from .derivatives import *
from .errors import *
from .module import Formulas, Module, ModuleDict, ModuleList, OUTPUT, Parameter, Sequential
from .tape import Tape, enable_grad, no_grad, scope, time_step
from .tensor import Tensor, backward_steps, detach_state, tensor
from .zoo import *

__version__ = "0.1.0"
