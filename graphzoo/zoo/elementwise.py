from ..module import Module, OUTPUT
from ..module import binary, unary
from ..tensor import Tensor
import numpy as np
class Add(Module):
    broadcasts = True; saves = ()
    def forward(self, node, a, b): return a + b
    def backward(self, node, dy): return dy, dy
class Multiply(Module):
    broadcasts = True; saves = (0, 1)
    def forward(self, node, a, b):
        needs = node.needs
        node.saved = (a if needs[1] else None, b if needs[0] else None)
        return a * b
    def backward(self, node, dy):
        a, b = node.saved
        return None if b is None else dy * b, None if a is None else dy * a
class Tanh(Module):
    saves = (OUTPUT,)
    def forward(self, node, a):
        y = np.tanh(a)
        node.saved = (y,)
        return y
    def backward(self, node, dy):
        y, = node.saved
        return dy - dy * (y * y)
ADD = Add(); MULTIPLY=Multiply(); TANH=Tanh()
Tensor.__add__ = lambda a, b: binary(ADD, a, b)
Tensor.__mul__ = lambda a, b: binary(MULTIPLY, a, b)
Tensor.tanh = lambda a: unary(TANH, a)
__all__ = ["Add", "Multiply", "Tanh"]
