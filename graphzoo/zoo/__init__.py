"""The zoo: one file per family of modules."""

from .activation import *
from .array import *
from .elementwise import *
from .gated import *
from .group import *
from .linear import *
from .loss import *
from .matrix import *
from .operators import *
from .recurrent import *
from .regularization import *
from .sequence import *
from .window import *
