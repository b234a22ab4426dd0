"""Products on the flat grid, compiled by Numba: nothing is collected, every tap reads the grid where it looks.

A *tile* is a small part of the result, some rows by some vectors, which stays in the processor's registers while all
that adds to it is gone through. Its inner loop reads a few vectors and multiplies them with one factor for each row.
Numba leaves it to LLVM what becomes a vector, and LLVM does not find these; so tiles are written in LLVM's own
language, in vectors of 64 bytes, which it divides where the processor's are shorter.

Tiles are whole: what does not fill the last one is made up with rows of zeros and with positions that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .grid import Geometry, Tap, flat_grids, grid_of
from .pool import empty
from .workers import share

VECTOR = 64
"""Bytes of a vector."""

DEPTH = 96
"""Positions that one tile of a kernel's gradient takes in: what it reads of dy stays in the innermost cache."""

OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}


# Tiles ---------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes a tile's code: its sums, and one step of its inner loop."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.context, self.builder, self.kinds, self.arguments = context, builder, signature.args, arguments
        self.index, bits = ir.IntType(64), signature.args[0].dtype.bitwidth
        self.lanes, self.align = 8 * VECTOR // bits, bits // 8
        self.vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), self.lanes)

    def number(self, which: int) -> ir.Value:
        return self.context.cast(self.builder, self.arguments[which], self.kinds[which], types.int64)

    def array(self, which: int) -> Any:
        return self.context.make_array(self.kinds[which])(self.context, self.builder, self.arguments[which])

    def ahead(self, pointer: ir.Value, steps: int | ir.Value) -> ir.Value:
        return self.builder.gep(pointer, [ir.Constant(self.index, steps) if isinstance(steps, int) else steps])

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        return self.builder.mul(value, ir.Constant(self.index, factor))

    def read(self, pointer: ir.Value, number: int) -> ir.Value:
        return self.builder.load(self._vector_at(pointer, number), align=self.align)

    def write(self, value: ir.Value, pointer: ir.Value, number: int) -> None:
        self.builder.store(value, self._vector_at(pointer, number), align=self.align)

    def _vector_at(self, pointer: ir.Value, number: int) -> ir.Value:
        return self.builder.bitcast(self.ahead(pointer, number * self.lanes), self.vector.as_pointer())

    def variable(self, value: ir.Value) -> ir.Value:
        """LLVM makes a register of it."""
        return cgutils.alloca_once_value(self.builder, value)

    def zero(self) -> ir.Value:
        return ir.Constant(self.vector, [0.0] * self.lanes)

    def spread(self, value: ir.Value) -> ir.Value:
        """A vector of one number."""
        word, undefined = ir.IntType(32), ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(word, 0))
        everywhere = ir.Constant(ir.VectorType(word, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, everywhere)

    def step(self, sums: list[list[ir.Value]], factors: list[ir.Value], row: ir.Value) -> None:
        """Adds to each row of sums what stands at `row`, times the number at the row's pointer of `factors`."""
        seen = [self.read(row, v) for v in range(len(sums[0]))]
        for pointer, line in zip(factors, sums, strict=True):
            factor = self.spread(self.builder.load(pointer))
            for vector, total in zip(seen, line, strict=True):
                # Joined to one instruction where the processor has it.
                product = self.builder.fmul(factor, vector, flags=("contract",))
                self.builder.store(self.builder.fadd(product, self.builder.load(total), flags=("contract",)), total)


def packed_tile(rows: int, vectors: int) -> Any:
    """target[i, :] = Σ factors · source, over the rows of source that begin at start + k · step, k < depth, for each
    start; factors holds the numbers of all `rows` for one of these, then for the next. Arrays are flat."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Writer(context, builder, signature, arguments)
        target, source = (code.ahead(code.array(i).data, code.number(i + 1)) for i in (0, 5))
        factors = code.variable(code.ahead(code.array(3).data, code.number(4)))
        starts, depth, step, line = code.array(7), code.number(8), code.number(9), code.number(2)
        sums = [[code.variable(code.zero()) for _ in range(vectors)] for _ in range(rows)]
        row = code.variable(source)
        with cgutils.for_range(builder, builder.extract_value(starts.shape, 0)) as each:
            builder.store(code.ahead(source, builder.load(code.ahead(starts.data, each.index))), row)
            with cgutils.for_range(builder, depth):
                here = builder.load(factors)
                code.step(sums, [code.ahead(here, i) for i in range(rows)], builder.load(row))
                builder.store(code.ahead(here, rows), factors)
                builder.store(code.ahead(builder.load(row), step), row)
        for i in range(rows):
            for v in range(vectors):
                code.write(builder.load(sums[i][v]), code.ahead(target, code.times(line, i)), v)
        return context.get_dummy_value()

    @intrinsic
    def run(typing, target, place, line, factors, first, source, begin, starts, depth, step):
        return types.void(target, place, line, factors, first, source, begin, starts, depth, step), write

    return run


def scattered_tile(rows: int, vectors: int) -> Any:
    """target[i, :] += Σ_k source[places[i] + k] · upstream[k, :], k < depth, for `rows` places. Arrays are flat."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Writer(context, builder, signature, arguments)
        target, upstream = (code.ahead(code.array(i).data, code.number(i + 1)) for i in (0, 7))
        line, depth = code.number(2), code.number(9)
        source, places = code.ahead(code.array(3).data, code.number(4)), code.ahead(code.array(5).data, code.number(6))
        begins = [code.ahead(source, builder.load(code.ahead(places, i))) for i in range(rows)]
        targets = [code.ahead(target, code.times(line, i)) for i in range(rows)]
        sums = [[code.variable(code.read(pointer, v)) for v in range(vectors)] for pointer in targets]
        row = code.variable(upstream)
        with cgutils.for_range(builder, depth) as each:
            code.step(sums, [code.ahead(begin, each.index) for begin in begins], builder.load(row))
            builder.store(code.ahead(builder.load(row), line), row)
        for pointer, totals in zip(targets, sums, strict=True):
            for v, total in enumerate(totals):
                code.write(builder.load(total), pointer, v)
        return context.get_dummy_value()

    @intrinsic
    def run(typing, target, place, line, source, begin, places, first, upstream, at, depth):
        return types.void(target, place, line, source, begin, places, first, upstream, at, depth), write

    return run


# A processor has 16 or 32 vector registers: sums of 24 vectors leave room for what is read.
EIGHT, FOUR = packed_tile(8, 3), packed_tile(4, 6)
BY_ONE, BY_TWO, BY_THREE, BY_FOUR = (
    scattered_tile(12, 1),
    scattered_tile(12, 2),
    scattered_tile(8, 3),
    scattered_tile(6, 4),
)


# Products with a kernel ----------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _by_eight(factors, source, first, starts, depth, step, flat, blocks):
    width, per, targets, values = flat.shape[1], factors.shape[1], flat.reshape(-1), factors.reshape(-1)
    for j in range(0, width, 3 * (VECTOR // flat.itemsize)):
        for block in range(blocks.start, blocks.stop):
            EIGHT(targets, block * 8 * width + j, width, values, block * per, source, first + j, starts, depth, step)


@njit(**OPTIONS)
def _by_four(factors, source, first, starts, depth, step, flat, blocks):
    width, per, targets, values = flat.shape[1], factors.shape[1], flat.reshape(-1), factors.reshape(-1)
    for j in range(0, width, 6 * (VECTOR // flat.itemsize)):
        for block in range(blocks.start, blocks.stop):
            FOUR(targets, block * 4 * width + j, width, values, block * per, source, first + j, starts, depth, step)


def multiplier(weight: np.ndarray, taps: tuple[Tap, ...], margin: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """As `columns.multiplier`; the result may have rows and positions to spare."""
    groups, rows, channels, count = weight.shape
    height = 4 if rows <= 4 else 8
    blocks = -(-rows // height)
    padded = np.zeros((groups, blocks * height, channels, count), weight.dtype)
    padded[:, :rows] = weight
    order = padded.reshape(groups, blocks, height, channels, count).transpose(0, 1, 4, 3, 2)
    factors = np.ascontiguousarray(order).reshape(groups, blocks, -1)
    across = (3 if height == 8 else 6) * (VECTOR // weight.itemsize)
    run = _by_eight if height == 8 else _by_four

    def multiply(source: np.ndarray, length: int) -> np.ndarray:
        step = source.shape[-1]
        flat = empty((groups, blocks * height, -(-length // across) * across), source.dtype)
        starts = np.array([plane * groups * channels * step + shift for plane, shift in taps], np.int64)

        def work(part: slice) -> None:
            for group in range(groups):
                first = group * channels * step + margin
                run(factors[group], source.reshape(-1), first, starts, channels, step, flat[group], part)

        share(work, blocks, flat[0].size * channels * count)
        return flat

    return multiply


# The gradient of a kernel --------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _turn(dy, places, begin, upstream):
    """upstream[begin + places[q], o] = dy[o, q]."""
    outputs, count = dy.shape
    for o in range(0, outputs, 16):
        for q in range(0, count, 16):  # some rows at a time, along which memory is read ahead
            for row in range(o, min(o + 16, outputs)):
                for column in range(q, min(q + 16, count)):
                    upstream[begin + places[column], row] = dy[row, column]


@njit(**OPTIONS)
def _add_products(source, begin, places, upstream, total, vectors):
    """total[r, o] += Σ_p source[begin + places[r] + p] upstream[p, o]."""
    (rows, line), length = total.shape, upstream.shape[0]
    sums, values, lanes = total.reshape(-1), upstream.reshape(-1), VECTOR // total.itemsize
    for p in range(0, length, DEPTH):
        depth = min(DEPTH, length - p)
        for j in range(0, line, vectors * lanes):
            at = p * line + j
            if vectors == 1:
                for r in range(0, rows, 12):
                    BY_ONE(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            elif vectors == 2:
                for r in range(0, rows, 12):
                    BY_TWO(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            elif vectors == 3:
                for r in range(0, rows, 8):
                    BY_THREE(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)
            else:
                for r in range(0, rows, 6):
                    BY_FOUR(sums, r * line + j, line, source, begin + p, places, r, values, at, depth)


def kernel_products(x: np.ndarray, dy: np.ndarray, geometry: Geometry, groups: int, dtype: np.dtype[Any]) -> np.ndarray:
    """As `columns.kernel_products`."""
    grid = grid_of(geometry)
    channels, outputs, taps = x.shape[1] // groups, dy.shape[1] // groups, len(grid.taps)
    lanes = VECTOR // dtype.itemsize
    needed = -(-outputs // lanes)
    vectors = min((1, 2, 3, 4), key=lambda v: (-(-needed // v) * v, -v))
    height, line = (12, 12, 8, 6)[vectors - 1], -(-needed // vectors) * vectors * lanes
    total = np.zeros((groups, -(-taps * channels // height) * height, line), dtype)
    where: np.ndarray = np.zeros((), np.int64)
    for size, step in zip(geometry.out, grid.steps, strict=True):
        where = where[..., None] + np.arange(size) * step
    where, upstream = where.reshape(-1), None
    for images, source in flat_grids(x, grid, grid.planes, groups, dtype):
        some, step = dy[images], source.shape[-1]
        length = grid.length(len(some), geometry.out)
        if upstream is None or len(upstream) != length:
            upstream = np.zeros((length, line), dtype)
            starts = [plane * groups * channels * step + shift for plane, shift in grid.taps]
            places = np.add.outer(starts, np.arange(channels) * step).reshape(-1)
            places = np.resize(places, total.shape[1])  # rows to spare take any place
        rows = some.reshape(len(some), groups, outputs, -1).astype(dtype, copy=False)
        for group in range(groups):
            for number in range(len(some)):
                _turn(rows[number, group], where, number * grid.total, upstream)
            begin = group * channels * step + grid.margin
            _add_products(source.reshape(-1), begin, places, upstream, total[group], vectors)
    return total[:, : taps * channels, :outputs].reshape(groups, taps, channels, outputs)
