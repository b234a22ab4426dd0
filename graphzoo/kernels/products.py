"""Products of matrices of float32, made of tiles (see `tiles`): for kernels that are compiled as a whole, and for those
that threads share without the interpreter (see `gang`).

Columns come in whole vectors, that is in multiples of LANES.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .gang import Job, flat, matrix_on, perform, together
from .loops import ZERO, compiled
from .pool import empty
from .tiles import VECTOR, product_tile, turned_tile

SINGLE_PRECISION = np.dtype("float32")
LANES = VECTOR // 4
HEIGHT, WIDTH = 12, 2 * LANES
DEPTH = 512
"""So much of a sum is added up at a time, and up to twice that: what a tile reads of the second factor stays in the
innermost cache."""

TURN = turned_tile()
TILE, TURNED_TILE = (product_tile(HEIGHT, WIDTH // LANES, turned) for turned in (False, True))


@compiled
def turn(matrix, result):
    """result = matrixᵀ."""
    rows, columns = matrix.shape
    source, target = flat(matrix), flat(result)
    high, wide = rows - rows % LANES, columns - columns % LANES
    for j in range(0, wide, LANES):
        for i in range(0, high, LANES):
            TURN(target, j * rows + i, rows, source, i * columns + j, columns)
    for i in range(rows):
        for j in range(wide if i < high else 0, columns):
            target[j * rows + i] = source[i * columns + j]


@compiled
def multiply_turned(a, b, out):
    """out = aᵀ b: of a, one row at a time holds all the factors that a tile needs."""
    (depth, rows), columns = a.shape, out.shape[1]
    left, right, target = flat(a), flat(b), flat(out)
    for j in range(0, columns, WIDTH):
        vectors = min(WIDTH, columns - j) // LANES
        for i in range(0, rows, HEIGHT):
            TURNED_TILE(target, i * columns + j, columns, left, i, rows, right, j, columns,
                        depth, 0, min(HEIGHT, rows - i), vectors)  # fmt: skip


@compiled
def multiply_rows(a, b, out, begin, end, add):
    """Some rows of out = a b, or of what is added to it."""
    depth, columns = b.shape
    left, right, target = flat(a), flat(b), flat(out)
    some = -(-depth // max(1, depth // DEPTH))
    for k in range(0, depth, some):
        for j in range(0, columns, WIDTH):
            vectors = min(WIDTH, columns - j) // LANES
            for i in range(begin, end, HEIGHT):
                TILE(target, i * columns + j, columns, left, i * depth + k, depth, right, k * columns + j, columns,
                     min(some, depth - k), k + add, min(HEIGHT, end - i), vectors)  # fmt: skip


@compiled
def part_of(count, which, pieces):
    """Begin and end of a piece of so many rows."""
    few = (count + 3) // 4  # in fours, which are not much slower than in whole tiles, and more even
    return 4 * (few * which // pieces), min(count, 4 * (few * (which + 1) // pieces))


@Job
def product_job(board, which, pieces):
    """out = a b."""
    a, b, out = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2)
    begin, end = part_of(len(out), which, pieces)
    multiply_rows(a, b, out, begin, end, 0)


@Job
def adding_product_job(board, which, pieces):
    """out += a b."""
    a, b, out = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2)
    begin, end = part_of(len(out), which, pieces)
    multiply_rows(a, b, out, begin, end, 1)


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Any:
    return _shared(product_job, a, b, out)


def multiply_onto(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Any:
    return _shared(adding_product_job, a, b, out)


def _shared(job: Job, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Any:
    if b.shape[1] % LANES or not all_fit(a, b, out):
        return NotImplemented
    together(perform, a.size * b.shape[1], job.address, a, b, out)
    return None


def all_fit(*arrays: np.ndarray) -> bool:
    """Whether jobs know what to do with arrays: contiguous ones of float32 that may be written to, as Numba takes
    others for another kind."""
    for array in arrays:  # noqa: SIM110  # a generator would take longer than the checks
        if array.dtype is not SINGLE_PRECISION or not array.flags.carray:
            return False
    return True


# Sums of products ----------------------------------------------------------------------------------------------------

TOGETHER = 32
"""Products that are added up at a time."""

ROWS = 21 * HEIGHT
"""Rows of a sum that are made one after the other in each of its columns: their factors stay in a core's cache."""


@compiled
def _depth_on(board):
    """Columns of all lefts together."""
    depth = 0
    for k in range(TOGETHER):
        depth += matrix_on(board, k).shape[1]
    return depth


@Job
def lay_out_job(board, which, pieces):
    """The transposes of the rights, below each other, WIDTH columns after WIDTH columns, as tiles read them."""
    laid_out, depth = flat(matrix_on(board, 2 * TOGETHER + 1)), _depth_on(board)
    rows = len(matrix_on(board, TOGETHER))
    groups = (rows + LANES - 1) // LANES
    for group in range(groups * which // pieces, groups * (which + 1) // pieces):
        first, before = LANES * group, 0
        column = first // WIDTH * depth * WIDTH + first % WIDTH
        for k in range(TOGETHER, 2 * TOGETHER):
            right = matrix_on(board, k)
            source, many = flat(right), right.shape[1]
            if rows - first >= LANES:
                for n in range(0, many, LANES):
                    TURN(laid_out, column + (before + n) * WIDTH, WIDTH, source, first * many + n, many)
            else:
                for n in range(many):
                    for lane in range(LANES):
                        value = right[first + lane, n] if first + lane < rows else ZERO
                        laid_out[column + (before + n) * WIDTH + lane] = value
            before += many


@Job
def sum_job(board, which, pieces):
    """Some rows of out = Σ left rightᵀ, or of what is added to it."""
    out, laid_out = matrix_on(board, 2 * TOGETHER), flat(matrix_on(board, 2 * TOGETHER + 1))
    side_by_side, more = matrix_on(board, 2 * TOGETHER + 2), len(matrix_on(board, 2 * TOGETHER + 3))
    depth, line, apart = _depth_on(board), out.shape[1], side_by_side.shape[1]
    begin, end = part_of(len(out), which, pieces)
    target, factors, before = flat(out), flat(side_by_side), 0
    for k in range(TOGETHER):
        left = matrix_on(board, k)
        source, many = flat(left), left.shape[1]
        for i in range(begin, end):
            for n in range(many):
                factors[i * apart + before + n] = source[i * many + n]
        before += many
    some = -(-depth // max(1, depth // DEPTH))
    for first in range(begin, end, ROWS):
        last = min(first + ROWS, end)
        for j in range(0, line, WIDTH):
            vectors = min(WIDTH, line - j) // LANES
            for k in range(0, depth, some):
                for i in range(first, last, HEIGHT):
                    TILE(target, i * line + j, line, factors, i * apart + k, apart, laid_out,
                         j * depth + k * WIDTH, WIDTH, min(some, depth - k), k + more, min(HEIGHT, last - i),
                         vectors)  # fmt: skip


@compiled
def _sum(board, pieces, lay_out, add_up, *matrices):
    perform(board, pieces, lay_out, *matrices)
    perform(board, pieces, add_up, *matrices)


def sum_of_products(out: np.ndarray, lefts: Sequence[np.ndarray], rights: Sequence[np.ndarray]) -> Any:
    if not all_fit(*lefts, *rights) or any(left.shape[1] % LANES for left in lefts):
        return NotImplemented
    nothing = np.empty((0, 0), np.float32)
    for begin in range(0, len(lefts), TOGETHER):
        some_lefts, some_rights = lefts[begin : begin + TOGETHER], rights[begin : begin + TOGETHER]
        depth = sum(left.shape[1] for left in some_lefts)
        missing = [nothing] * (TOGETHER - len(some_lefts))
        laid_out = empty((-(-out.shape[1] // WIDTH), depth * WIDTH), out.dtype)
        side_by_side = empty((len(out), depth + LANES), out.dtype)  # lines in other sets of the cache than each other
        together(
            _sum, out.size * depth, lay_out_job.address, sum_job.address,
            *some_lefts, *missing, *some_rights, *missing, out, laid_out, side_by_side, out[:begin]
        )  # fmt: skip
    return None
