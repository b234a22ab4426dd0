"""The zoo: one file per family of modules."""

from .activation import *
from .array import *
from .elementwise import *
from .group import *
from .linear import *
from .loss import *
from .recurrent import *
from .regularization import *
