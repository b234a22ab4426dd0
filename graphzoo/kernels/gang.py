"""Compiled work that several threads do together, without the interpreter.

To hand a slice of work to a thread in Python takes two dozen microseconds, as threads wait for the interpreter's lock;
a product in a recurrent step takes no longer. So the threads of `workers` watch a *board* while they wait. Who has a
*job* writes on the board which compiled function does it, where its matrices are, and in how many pieces it comes;
whoever looks takes the next piece, until none is left. Who asked takes pieces as well: nobody waits for a thread that
sleeps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from .loops import compiled
from .workers import BOARD, dismiss, enlist, watch_with

MULTIPLICATIONS = 3 << 19
"""What makes a job worth a thread: about ten microseconds. What another core has written takes its time to arrive."""

WORTHWHILE = 2 * MULTIPLICATIONS

NEXT, DONE, AWAKE, FUNCTION, ARRAYS = 0, 16, 32, 48, 64
"""Places on the board, each in cache lines of its own: the job's number, of how many pieces it is and which one is next
(in 32, 16 and 16 bits); how many pieces are done; how many threads watch; the function's address; and for each matrix
its address, rows and columns."""

TURNS, LOOKS = 1000, 64
"""How often a thread that found nothing lets others have the processor before it begins to doze, and looks at the board
before each time: about half a millisecond in all."""

NAPS, NAP = 400, 50
"""How often a thread dozes before it goes to sleep, and for how many microseconds: fifty milliseconds in all. To wake
one from sleep costs its caller more than to be served a little later, as it wants the interpreter's lock first."""

PATIENCE = 10_000
"""Looks at the number of pieces done before their caller lets others have the processor."""

POSIX = sys.platform != "win32"  # elsewhere there are no such functions; what it guards is not even compiled there
_yield = types.ExternalFunction("sched_yield", types.int32())
_doze = types.ExternalFunction("usleep", types.int32(types.uint32))


# Numbers that several threads look at ---------------------------------------------------------------------------------


def _slot(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [context.cast(builder, arguments[1], signature.args[1], types.int64)])


def _whole(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any, which: int) -> ir.Value:
    return context.cast(builder, arguments[which], signature.args[which], types.int64)


@intrinsic
def look(typing, numbers, place):
    """An entry of an array, as other threads have left it."""

    def write(context, builder, signature, arguments):
        return builder.load_atomic(_slot(context, builder, signature, arguments), "seq_cst", 8)

    return types.int64(numbers, place), write


@intrinsic
def _show(typing, numbers, place, value):
    """Sets an entry of an array, and all that was written before, for other threads to see."""

    def write(context, builder, signature, arguments):
        value = _whole(context, builder, signature, arguments, 2)
        builder.store_atomic(value, _slot(context, builder, signature, arguments), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(numbers, place, value), write


@intrinsic
def _add(typing, numbers, place, value):
    """Adds to an entry of an array that other threads add to."""

    def write(context, builder, signature, arguments):
        value = _whole(context, builder, signature, arguments, 2)
        return builder.atomic_rmw("add", _slot(context, builder, signature, arguments), value, "seq_cst")

    return types.int64(numbers, place, value), write


@intrinsic
def _replace(typing, numbers, place, old, new):
    """Sets an entry if it still is the old one, and tells whether it was."""

    def write(context, builder, signature, arguments):
        old, new = (_whole(context, builder, signature, arguments, which) for which in (2, 3))
        slot = _slot(context, builder, signature, arguments)
        return builder.extract_value(builder.cmpxchg(slot, old, new, "seq_cst", "seq_cst"), 1)

    return types.boolean(numbers, place, old, new), write


# Jobs -----------------------------------------------------------------------------------------------------------------

_JOB = types.void(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def _call(typing, address, board, which, pieces):
    """Calls the function at an address with the board, for one of so many pieces."""

    def write(context, builder, signature, arguments):
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        data = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        builder.call(function, [data, *(_whole(context, builder, signature, arguments, k) for k in (2, 3))])
        return context.get_dummy_value()

    return types.void(types.int64, board, which, pieces), write


@intrinsic
def _pointer(typing, address):
    def write(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.CPointer(types.float32)))

    return types.CPointer(types.float32)(types.int64), write


@compiled
def matrix_on(board, place):
    """One of the matrices of a job."""
    at = ARRAYS + 3 * place
    return carray(_pointer(board[at]), (board[at + 1], board[at + 2]))


@compiled
def flat(matrix):
    """The entries of a contiguous matrix of float32; quicker than to reshape it, which Numba asks NumPy about."""
    return carray(_pointer(matrix.ctypes.data), (matrix.size,))


class Job:
    """A function of the board, of which piece is to be done, and of how many there are; compiled when it is first
    wanted."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function

    @cached_property
    def address(self) -> int:
        address = cfunc(_JOB, cache=True)(self.function).address
        assert address is not None
        return address


@compiled
def _take(board):
    """Does pieces until there are no more; returns whether there were any."""
    found = False
    while True:
        now = look(board, NEXT)
        which, pieces, function = now & 0xFFFF, (now >> 16) & 0xFFFF, board[FUNCTION]
        if which >= pieces:
            return found
        # Only if the job is the same still, function and arrays are those that belong to the piece.
        if _replace(board, NEXT, now, now + 1):
            _call(function, board, which, pieces)
            _add(board, DONE, 1)
            found = True


@compiled
def perform(board, pieces, job, *matrices):
    """Does a job with all who watch the board.

    Args:
        board, pieces: as `enlist` gave them.
        job: the address of its function.
        matrices: contiguous ones of float32, which the function finds on the board.
    """
    for place, matrix in enumerate(matrices):
        at = ARRAYS + 3 * place
        board[at], board[at + 1], board[at + 2] = matrix.ctypes.data, matrix.shape[0], matrix.shape[1]
    board[FUNCTION] = job
    _show(board, DONE, 0)
    _show(board, NEXT, (((look(board, NEXT) >> 32) + 1) << 32) | (pieces << 16))
    _take(board)
    turn = 0
    while look(board, DONE) < pieces:
        turn += 1
        if POSIX and turn % PATIENCE == 0:
            _yield()


@compiled
def watch(number, old, patience, board, naps):
    """Takes part in jobs until the number is another one, or for a while."""
    _add(board, AWAKE, 1)
    turns, dozed = TURNS, 0
    while look(number, 0) == old:
        found = False
        for _ in range(LOOKS):
            found |= _take(board)
        if found:
            turns, dozed = TURNS, 0
        elif turns:
            turns -= 1
            if POSIX:
                _yield()
        elif dozed < naps:
            dozed += 1
            if POSIX:
                _doze(np.uint32(NAP))
        else:
            break
    _add(board, AWAKE, -1)
    if look(number, 0) != old:
        for _ in range(patience):
            look(number, 0)


watch_with(watch, NAPS if POSIX else 0)


def together(function: Callable[..., Any], work: int, *arguments: Any) -> Any:
    """What a compiled function of a board, a number of pieces and these arguments returns, which performs jobs with all
    threads if there is enough work.

    Args:
        work: how many multiplications it is worth.
    """
    if work < WORTHWHILE:
        return function(np.empty(BOARD, np.int64), 1, *arguments)
    board, pieces = enlist(work // MULTIPLICATIONS)
    try:
        return function(board, pieces, *arguments)
    finally:
        if pieces > 1:
            dismiss()
