"""The plane tiles' verbs on x86-64: AVX2 (vpmaddubsw, vpmaddwd), AVX512-VNNI and AVX-VNNI (vpdpbusd).

Both multiply unsigned codes; what they exceed the weights by is owed: -zero x sum(lhs), of blocks the bias field of the
LHS times a power of two, of super-blocks products of the sums fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.verbs import IntegerVerbs, Sum, as_pairs, floats, table_vector
from kernels.jit.ir import F16, I1, I8, I16, I32, Function, Value, vector

LHS_MAX = 127
_MADD = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
_SHUFFLE = {8: "llvm.x86.avx2.pshuf.b", 16: "llvm.x86.avx512.pshuf.b.512"}


@dataclass(frozen=True, slots=True)
class X86Verbs(IntegerVerbs):
    """What both have in common: one row a unit, broadcasting loads."""

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(self.lanes, F16), pointer, offset), floats(self.lanes))

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        type_ = vector(self.lanes, element)
        return [f.splat(f.load(element, pointer, offset + 4 * i, align=4), type_) for i in range(count)]

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        return [f.cast("bitcast", v, vector(4 * self.lanes, I8)) for v in self.spread(f, I32, pointer, offset, count)]

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        return [self.operands(f, pointer, group_offset(g), 1)[0] for g in range(8)]

    def lookup(self, f: Function, codes: Value, table: Sequence[int]) -> Value:
        return f.call(_SHUFFLE[self.lanes], codes.type, table_vector(f, table, 4 * self.lanes), codes)

    def pair_dot(self, f: Function, left: Value, right: Value) -> Value:
        pairs = (as_pairs(f, value, self.lanes) for value in (left, right))
        return f.call(_MADD[self.lanes], vector(self.lanes, I32), *pairs)

    def pair_dots(self, f: Function, total: Value | None, pairs: Sequence[tuple[Value, Value]]) -> Value:
        products = [self.pair_dot(f, left, right) for left, right in pairs]
        return reduce(add, products if total is None else [total, *products])

    def owed_of_bias(self, f: Function, code: PlaneCode, bias: Value) -> Value:
        """The field holds -8 x sum(lhs)."""
        return bias << (self.owed(code) // 8).bit_length() - 1

    def pinned(self, f: Function, total: Sum) -> Sum:
        """Of 16 registers."""
        if self.lanes == 16:
            return total
        if total.parts:
            return replace(total, parts=(f.pinned(total.parts[0], "x"),))
        return total if total.total is None else replace(total, total=f.pinned(total.total, "x"))


@dataclass(frozen=True, slots=True)
class PlaneVnni(X86Verbs):
    """vpdpbusd adds 4-wide u8 x s8 in int32; what is owed is where the sum starts. Table values are stored plus 128."""

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code.multiplied(zero=128)

    def owed(self, code: PlaneCode) -> int:
        return 128 if code.table else code.zero

    def pair_dots(self, f: Function, total: Value | None, pairs: Sequence[tuple[Value, Value]]) -> Value:
        total = f.zero(vector(self.lanes, I32)) if total is None else total
        for left, right in pairs:
            total = f.call(f"llvm.x86.avx512.vpdpwssd.{32 * self.lanes}", total.type, total, left, right)
        return total

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        (part,) = total.parts or self.parts(f)
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return replace(total, parts=(f.call(name, part.type, part, weights, lhs),))


@dataclass(frozen=True, slots=True)
class PlaneAvx2(X86Verbs):
    """vpmaddubsw adds pairs of u8 x s8 in int16, which has room for 32767 / (2 x 127 x largest code) of them.

    That is 8 nibbles' pairs (a whole block: 30480), 4 of 5 bits (31496; 8 would be 62992), 2 of 6 bits (32004), 18 of
    3 bits. vpmaddwd joins them in int32: with ones, or with the half's scale, so that the scale costs nothing.
    The code book's values are signed: |w| as u8 against lhs with w's sign, each pair joined at once (32258).
    """

    lanes: int = 8

    def owed(self, code: PlaneCode) -> int:
        return code.zero

    def sub_scale(self, f: Function, ints: Value) -> Value:
        """As i16 pairs, twice."""
        return as_pairs(f, (ints & 0xFFFF) | (ints << 16), self.lanes)

    def sub_scales(self, f: Function, pairs: Value) -> tuple[Value, Value]:
        first, last = (f.shuffle(pairs, [lane - lane % 2 + half for lane in range(16)]) for half in range(2))
        return first, last

    def start(self, f: Function, code: PlaneCode, owed: Value | None) -> Sum:
        return Sum(total=f.zero(vector(8, I32)) if owed is None else owed)

    def owed_of_bias(self, f: Function, code: PlaneCode, bias: Value) -> Value:
        """On this rung the field holds two i16."""
        return self.pair_dot(f, bias, f.const(vector(16, I16), self.owed(code) // 8))

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        if code.table:
            magnitude = f.call("llvm.abs.v32i8", weights.type, weights, f.const(I1, 0))
            lhs = f.call("llvm.x86.avx2.psign.b", weights.type, lhs, weights)
            return self._join(f, Sum(total.total, (self._pairs(f, magnitude, lhs),)), factor)
        pairs = self._pairs(f, weights, lhs)
        total = Sum(total.total, (total.parts[0] + pairs if total.parts else pairs,), total.count + 1)
        room = 32767 // (2 * LHS_MAX * code.largest)
        return self._join(f, total, factor) if total.count == room else total

    def end_scale(self, f: Function, code: PlaneCode, total: Sum, factor: Value | None) -> Sum:
        return self._join(f, total, factor) if total.parts else total

    def _pairs(self, f: Function, weights: Value, lhs: Value) -> Value:
        return f.call("llvm.x86.avx2.pmadd.ub.sw", vector(16, I16), weights, lhs)

    def _join(self, f: Function, total: Sum, factor: Value | None) -> Sum:
        assert total.total is not None
        (pairs,) = total.parts
        joined = self.pair_dot(f, pairs, f.const(vector(16, I16), 1) if factor is None else factor)
        return Sum(total.total + joined)
