"""Tiles of matrix products, written for Numba in LLVM's own language.

A *tile* is a small part of a product, some rows by some vectors, which stays in the processor's registers while all
that adds to it is gone through. Its inner loop reads a few vectors and multiplies them with one factor for each row.
Numba leaves it to LLVM what becomes a vector, and LLVM does not find these. Vectors have 64 bytes; LLVM divides them
where the processor's are shorter.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

VECTOR = 64
"""Bytes of a vector."""


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

    def interleaved(self, first: ir.Value, second: ir.Value, begin: int) -> ir.Value:
        """Entries of two vectors in turn, from one on, as many as fit in a vector."""
        word = ir.IntType(32)
        order = [begin + k // 2 + (k % 2) * self.lanes for k in range(self.lanes)]
        return self.builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(word, self.lanes), order))

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
    start; factors holds the numbers of all `rows` for one of these, and `apart` entries on for the next. Arrays are
    flat."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Writer(context, builder, signature, arguments)
        target, source = (code.ahead(code.array(i).data, code.number(i + 1)) for i in (0, 5))
        factors = code.variable(code.ahead(code.array(3).data, code.number(4)))
        starts, line = code.array(7), code.number(2)
        depth, step, apart = (code.number(i) for i in (8, 9, 10))
        sums = [[code.variable(code.zero()) for _ in range(vectors)] for _ in range(rows)]
        row = code.variable(source)
        with cgutils.for_range(builder, builder.extract_value(starts.shape, 0)) as each:
            builder.store(code.ahead(source, builder.load(code.ahead(starts.data, each.index))), row)
            with cgutils.for_range(builder, depth):
                here = builder.load(factors)
                code.step(sums, [code.ahead(here, i) for i in range(rows)], builder.load(row))
                builder.store(code.ahead(here, apart), factors)
                builder.store(code.ahead(builder.load(row), step), row)
        for i in range(rows):
            for v in range(vectors):
                code.write(builder.load(sums[i][v]), code.ahead(target, code.times(line, i)), v)
        return context.get_dummy_value()

    @intrinsic
    def run(typing, target, place, line, factors, first, source, begin, starts, depth, step, apart):
        return types.void(target, place, line, factors, first, source, begin, starts, depth, step, apart), write

    return run


def product_tile(height: int, width: int, turned: bool) -> Any:
    """target[i, :] = Σ_k factors[i, k] · source[k, :], k < depth, or factors[k, i] where they are turned; with `add`
    this is added to what target holds. For up to `height` rows and `width` vectors, at least one each. `line`, `apart`
    and `step` are how far lines of the three matrices are apart. Arrays are flat."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Writer(context, builder, signature, arguments)
        rows, vectors = code.number(11), code.number(12)
        size = builder.add(code.times(rows, width), vectors)  # tells them apart: vectors - 1 < width
        end = builder.append_basic_block()
        choice = builder.switch(size, end)
        for r in range(1, height + 1):
            for v in range(1, width + 1):
                block = builder.append_basic_block()
                choice.add_case(ir.Constant(code.index, r * width + v), block)
                builder.position_at_end(block)
                write_tile(code, r, v)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    def write_tile(code: _Writer, rows: int, vectors: int) -> None:
        builder = code.builder
        target, factors, source = (code.ahead(code.array(i).data, code.number(i + 1)) for i in (0, 3, 6))
        line, apart, step, depth, add = (code.number(i) for i in (2, 5, 8, 9, 10))
        targets = [code.ahead(target, code.times(line, i)) for i in range(rows)]
        sums = [[code.variable(code.zero()) for _ in range(vectors)] for _ in range(rows)]
        row, first = code.variable(source), code.variable(factors)
        lines = [code.ahead(factors, code.times(apart, i)) for i in range(rows)]
        with cgutils.for_range(builder, depth) as each:
            if turned:
                here = builder.load(first)
                code.step(sums, [code.ahead(here, i) for i in range(rows)], builder.load(row))
                builder.store(code.ahead(here, apart), first)
            else:
                code.step(sums, [code.ahead(pointer, each.index) for pointer in lines], builder.load(row))
            builder.store(code.ahead(builder.load(row), step), row)
        with builder.if_then(builder.icmp_signed("!=", add, ir.Constant(code.index, 0))):
            for pointer, totals in zip(targets, sums, strict=True):
                for v, total in enumerate(totals):
                    builder.store(builder.fadd(builder.load(total), code.read(pointer, v)), total)
        for pointer, totals in zip(targets, sums, strict=True):
            for v, total in enumerate(totals):
                code.write(builder.load(total), pointer, v)

    @intrinsic
    def run(typing, target, place, line, factors, first, apart, source, begin, step, depth, add, rows, vectors):
        kinds = (target, place, line, factors, first, apart, source, begin, step, depth, add, rows, vectors)
        return types.void(*kinds), write

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


def turned_tile() -> Any:
    """target[j · apart + i] = source[i · line + j] for i and j below the number of lanes. Arrays are flat."""

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        code = _Writer(context, builder, signature, arguments)
        target, source = (code.ahead(code.array(i).data, code.number(i + 1)) for i in (0, 3))
        apart, line, half = code.number(2), code.number(5), code.lanes // 2
        rows = [code.read(code.ahead(source, code.times(line, i)), 0) for i in range(code.lanes)]
        for _ in range(half.bit_length()):  # each time every row meets another one, entry by entry
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [code.interleaved(*pair, begin) for pair in pairs for begin in (0, half)]
        for i, row in enumerate(rows):
            code.write(row, code.ahead(target, code.times(apart, i)), 0)
        return context.get_dummy_value()

    @intrinsic
    def run(typing, target, place, apart, source, begin, line):
        return types.void(target, place, apart, source, begin, line), write

    return run
