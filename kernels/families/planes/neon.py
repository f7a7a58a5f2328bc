"""The plane tiles' verbs on Arm: sdot by element, smull, smmla, and the GEMV that reads smmla's panels with sdot.

Operands are the weights themselves: taking the zero point off costs one operation for all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.verbs import IntegerVerbs, Sum, as_pairs, table_vector
from kernels.jit.ir import F16, F32, I8, I16, I32, I64, Function, Value, vector

FLOATS, INTS, BYTES = vector(4, F32), vector(4, I32), vector(16, I8)


@dataclass(frozen=True, slots=True)
class NeonVerbs(IntegerVerbs):
    """What all have in common."""

    lanes: int = 4

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code.multiplied()

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(4, F16), pointer, offset), FLOATS)

    def pair_dots(self, f: Function, total: Value | None, pairs: Sequence[tuple[Value, Value]]) -> Value:
        parts = []
        for lanes in (range(4), range(4, 8)):
            products = []
            for both in pairs:
                shorts = (f.shuffle(as_pairs(f, value, 4), lanes) for value in both)
                products.append(f.call("llvm.aarch64.neon.smull.v4i32", INTS, *shorts))
            parts.append(reduce(add, products))
        joined = f.call("llvm.aarch64.neon.addp.v4i32", INTS, *parts)
        return joined if total is None else total + joined

    def lookup(self, f: Function, codes: Value, table: Sequence[int]) -> Value:
        return f.call("llvm.aarch64.neon.tbl1.v16i8", BYTES, table_vector(f, table, 16), codes)


@dataclass(frozen=True, slots=True)
class PlaneDotprod(NeonVerbs):
    """Four rows' operands come in one 16-byte load; `sdot` and `fmul` pick theirs by element."""

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        if count == 1:
            return [f.splat(f.load(element, pointer, offset, align=4), vector(4, element))]
        loaded = f.load(vector(4, element), pointer, offset, align=4)
        return [f.shuffle(loaded, [row] * 4) for row in range(count)]

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        loaded = f.load(INTS, pointer, offset, align=4)
        return [f.cast("bitcast", f.shuffle(loaded, [row] * 4), BYTES) for row in range(count)]

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        return [row for g in (0, 4) for row in self.operands(f, pointer, group_offset(g), 4)]

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        (part,) = total.parts or self.parts(f)
        return replace(total, parts=(sdot(f, part, weights, lhs),))


@dataclass(frozen=True, slots=True)
class PlaneNeon(PlaneDotprod):
    """Armv8.0: products in int16, each pair joined in int32 at once (sadalp); four columns in two int32[4]."""

    def parts(self, f: Function, first: Value | None = None) -> tuple[Value, ...]:
        assert first is None or first.name == "zeroinitializer", "nothing is owed"
        return f.zero(INTS), f.zero(INTS)

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        parts = []
        for part, lanes in zip(total.parts or self.parts(f), (range(8), range(8, 16)), strict=True):
            operands = (f.shuffle(value, lanes) for value in (weights, lhs))
            products = f.call("llvm.aarch64.neon.smull.v8i16", vector(8, I16), *operands)
            parts.append(part + f.call("llvm.aarch64.neon.saddlp.v4i32.v8i16", INTS, products))
        return replace(total, parts=tuple(parts))

    def joined(self, f: Function, parts: Sequence[Value]) -> Value:
        return f.call("llvm.aarch64.neon.addp.v4i32", INTS, *parts)


@dataclass(frozen=True, slots=True)
class PlaneMmla(NeonVerbs):
    """int32[2 rows, 2 columns] += int8[2 rows, 8] x int8[2 columns, 8]: two vectors a panel of 4 columns."""

    vectors: int = 2
    rows: int = 2

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        """The layout holds each scalar twice: [r0 r0 r1 r1]."""
        return [f.load(vector(4, element), pointer, offset + 16 * pair, align=4) for pair in range(count)]

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        return [f.load(BYTES, pointer, offset + 16 * pair) for pair in range(count)]

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        raise AssertionError("a single row is multiplied by sdot")

    def by_vector(self, f: Function, columns: Value) -> list[Value]:
        """[c0 c1 c2 c3] -> [c0 c1 c0 c1], [c2 c3 c2 c3]"""
        return [f.shuffle(columns, mask) for mask in ((0, 1, 0, 1), (2, 3, 2, 3))]

    def by_row(self, f: Function, unit: Sequence[Value]) -> list[Value]:
        left, right = unit
        return [f.shuffle(left, mask, right) for mask in ((0, 1, 4, 5), (2, 3, 6, 7))]

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        (part,) = total.parts or self.parts(f)
        return replace(total, parts=(f.call("llvm.aarch64.neon.smmla.v4i32.v16i8", INTS, part, lhs, weights),))


@dataclass(frozen=True, slots=True)
class PlanePaired(NeonVerbs):
    """m = 1 on smmla's panels: sdot leaves two sums a column, of columns 0, 1 and 2, 3 in turn; addp joins them."""

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        return [f.splat(f.load(element, pointer, offset, align=4), vector(4, element))]

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        eights = [f.splat(f.load(I64, pointer, group_offset(g)), vector(2, I64)) for g in range(4)]
        return [f.cast("bitcast", eight, BYTES) for eight in eights for _ in range(2)]

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        raise AssertionError("only GEMV reads smmla's panels so")

    def parts(self, f: Function, first: Value | None = None) -> tuple[Value, ...]:
        assert first is None or first.name == "zeroinitializer", "nothing is owed"
        return f.zero(INTS), f.zero(INTS)

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        first, second = total.parts or self.parts(f)
        if total.count % 2 == 0:
            parts = (sdot(f, first, weights, lhs), second)
        else:
            parts = (first, sdot(f, second, weights, lhs))
        return Sum(total.total, parts, total.count + 1)

    def joined(self, f: Function, parts: Sequence[Value]) -> Value:
        return f.call("llvm.aarch64.neon.addp.v4i32", INTS, *parts)


def sdot(f: Function, total: Value, weights: Value, lhs: Value) -> Value:
    return f.call("llvm.aarch64.neon.sdot.v4i32.v16i8", INTS, total, weights, lhs)
