"""Strands: steps of an LSTM over a sequence that are computed at once, and differentiated at once.

A step alone pays for its own arrays and for the engine's rounds, with few hidden units more than for its arithmetic. A
sequence module knows all of its steps beforehand; so it computes them in one loop over arrays that all of them share,
and records the same nodes as if it had called the cell step by step: with the same inputs, the same saved arrays and
time steps. Whoever watches the backward pass, asks for contributions or definitions, or puts a hook on a step is served
node by node. A plain backward pass that reaches a strand's newest node takes the whole strand: nothing outside can use
one of its states that was not recorded later than all of its nodes, so that what reaches it from outside is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backward import STACK_USES, Gradients, fit
from ..kernels.lstm import backward_steps, forward_steps
from ..kernels.packed import product, rows
from ..module import source_of
from ..tape import RELEASED, Extra, Node, Output, Place, local, next_number, node_of, stand_in
from ..tensor import Tensor, wrap
from .gated import LSTMCell

__all__: list[str] = []


class Strand(Extra):
    """What tells the nodes of one strand; it stands in their `extra` until one of them gets something of its own."""

    __slots__ = ()

    def at_once(self, node: Node, dy: Any, result: Gradients, retain: bool) -> bool:
        """Differentiate the strand from this node on, towards its oldest; False where that has to go node by node."""
        nodes = [node]
        while (before := node_of(nodes[-1].inputs[1])) is not None and before.extra is self:
            nodes.append(before)
        if not result.stack_bytes or any(each.saved is RELEASED for each in nodes):
            return False
        dys = [dy, *[tuple(result.table.pop(each, None) or (None, None)) for each in nodes[1:]]]
        saved = [each.saved for each in nodes]
        deltas = [gates.copy() if retain else gates for _, gates, *_ in saved]
        if not retain:
            for each in nodes:  # before δ overwrites what they have saved
                each.saved = RELEASED
        pack = saved[0][-1]
        dh, dc = backward_steps(pack.to_h, deltas, [(c, new_c) for _, _, c, new_c, _ in saved], dys)

        oldest = nodes[-1]
        for source, gradient in zip(oldest.inputs[1:3], (dh, dc), strict=True):
            result.add(source, fit(rows(gradient, 2), source, oldest))
        for each, delta in zip(nodes, deltas, strict=True):
            if each.needs[0]:
                result.add(each.inputs[0], fit(rows(product(pack.to_x, delta), 2), each.inputs[0], each))
        of_parameters = node.needs[3:]
        if True in of_parameters:
            inputs = [each[0] for each in saved]
            stride = min(STACK_USES, 1 + result.stack_bytes // (1 + inputs[0].nbytes + deltas[0].nbytes))
            for begin in range(0, len(nodes), stride):
                several = slice(begin, begin + stride)
                use = stand_in(node, (inputs[several],), deltas[several])
                result.receive(use, None, of_parameters)
        return True


def strand(
    first: Node, xs: Sequence[Tensor], state: Sequence[Tensor], places: Sequence[Place]
) -> list[tuple[Tensor, Tensor]]:
    """Record the steps that follow a first one in a sequence; returns (h, c) of each.

    Args:
        first: the node of the first step, an `LSTMCell`'s.
        xs: the inputs of the following ones, (N, F) each.
        state: h and c after the first.
        places: scope and time step of each.
    """
    context, module, extra = local.context, first.module, Strand()
    assert isinstance(module, LSTMCell)
    pack = first.saved[-1]
    parameters, of_parameters = first.inputs[3:], first.needs[3:]
    h, c = state
    inputs, gates, cells = forward_steps(pack.weight, [x.data for x in xs], h.data, c.data)
    shapes, dtypes = (h.shape, c.shape), (inputs.dtype, inputs.dtype)
    made = []
    for t, (x, place) in enumerate(zip(xs, places, strict=True)):
        node = Node()
        node.module, node.place, node.extra = module, place, extra
        node.number = next_number()
        node.inputs = (source_of(x), h.source, c.source, *parameters)
        node.needs = (x.requires_grad, True, True, *of_parameters)
        node.shape, node.dtype, node.fits = shapes, dtypes, False
        node.saved, node.delta = (inputs[t], gates[t], cells[t], cells[t + 1], pack), None
        h = wrap(inputs[t + 1, : module.hidden_size].T, Output(node, 0))
        c = wrap(cells[t + 1].T, Output(node, 1))
        made.append((h, c))
        if context.observer is not None:
            context.observer.append(node, (h._data, c._data))
    return made
