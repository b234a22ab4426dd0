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
    if not all_fit(*lefts, *rights) or any(left.shape[1] % LANES or not left.size for left in lefts):
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


# Stacks of products --------------------------------------------------------------------------------------------------

PART = 256
"""Columns of a product, or positions of a sum, that are worked on at a time."""


@Job
def stack_job(board, which, pieces):
    """out = bias + matrices · x, of a stack below each other; some columns of some of the stack."""
    x, matrices, out = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2)
    bias, (total, depth), columns = flat(matrix_on(board, 3)), matrices.shape, x.shape[1]
    source, left, target, stack = flat(x), flat(matrices), flat(out), len(x) // depth
    rows = len(out) // stack
    parts = (columns + PART - 1) // PART
    for number in range(parts * stack * which // pieces, parts * stack * (which + 1) // pieces):
        n, begin = number // parts, number % parts * PART
        matrix = n * rows % total
        for j in range(begin, min(begin + PART, columns), WIDTH):
            many = min(WIDTH, columns - j)
            for i in range(0, rows, HEIGHT):
                high, place = min(HEIGHT, rows - i), (n * rows + i) * columns + j
                TILE(target, place, columns, left, (matrix + i) * depth, depth, source, n * depth * columns + j,
                     columns, depth, 0, high, many // LANES)  # fmt: skip
                if bias.size:
                    for k in range(high):
                        level = bias[matrix + i + k]
                        for q in range(many):
                            target[place + k * columns + q] += level


def multiply_each(x: np.ndarray, matrices: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None) -> Any:
    levels = np.empty((0, 0), np.float32) if bias is None else bias.reshape(1, -1)
    if x.shape[-1] % LANES or not all_fit(x, matrices, out) or levels.dtype is not SINGLE_PRECISION:
        return NotImplemented
    work = x.size * matrices.shape[-2]
    together(perform, work, stack_job.address, *(each.reshape(-1, each.shape[-1]) for each in (x, matrices, out)),
             np.ascontiguousarray(levels))  # fmt: skip
    return None


@Job
def stacked_sum_job(board, which, pieces):
    """total += left · rightᵀ, of a stack below each other; for some of the stack, to the piece's own total."""
    left, right, totals = matrix_on(board, 0), matrix_on(board, 1), matrix_on(board, 2)
    turned, lines = flat(matrix_on(board, 3)[which]), flat(matrix_on(board, 4)[which])
    columns, depth = totals.shape[1], left.shape[1]
    stack, height = len(right) // columns, len(totals) // pieces
    rows, factors, source, target = len(left) // stack, flat(left), flat(right), flat(totals)
    many = height // rows
    for k in range(which * height * columns, (which + 1) * height * columns):
        target[k] = 0
    images = stack // many
    for n in range(images * which // pieces * many, images * (which + 1) // pieces * many):
        place = (which * height + n % many * rows) * columns
        for k in range(0, depth, PART):
            some = min(PART, depth - k)
            for j in range(0, columns, LANES):
                for q in range(0, some, LANES):
                    TURN(turned, q * columns + j, columns, source, (n * columns + j) * depth + k + q, depth)
            for i in range(rows):
                for q in range(some):
                    lines[i * (PART + LANES) + q] = factors[(n * rows + i) * depth + k + q]
            for j in range(0, columns, WIDTH):
                vectors = min(WIDTH, columns - j) // LANES
                for i in range(0, rows, HEIGHT):
                    TILE(target, place + i * columns + j, columns, lines, i * (PART + LANES), PART + LANES, turned, j,
                         columns, some, 1, min(HEIGHT, rows - i), vectors)  # fmt: skip


@compiled
def _sum_each(board, pieces, job, left, right, rows, columns, height):
    totals = np.empty((pieces * height, columns), np.float32)
    turned, lines = (
        np.empty((pieces, PART * columns), np.float32),
        np.empty((pieces, rows * (PART + LANES)), np.float32),
    )
    perform(board, pieces, job, left, right, totals, turned, lines)
    for k in range(1, pieces):
        for i in range(height):
            for j in range(columns):
                totals[i, j] += totals[k * height + i, j]
    return totals[:height]


def sum_of_each(left: np.ndarray, right: np.ndarray) -> Any:
    (_, groups, rows, depth), columns = left.shape, right.shape[2]
    if depth % LANES or columns % LANES or not all_fit(left, right):
        return NotImplemented
    arrays = left.reshape(-1, depth), right.reshape(-1, depth), rows, columns, groups * rows
    return together(_sum_each, left.size * columns, stacked_sum_job.address, *arrays).reshape(groups, rows, columns)
