"""The plane tiles' verbs on x86-64: AVX2 (vpmaddubsw, vpmaddwd), AVX512-VNNI and AVX-VNNI (vpdpbusd).

Both multiply unsigned codes; what they exceed the weights by is owed: -zero x sum(lhs), the bias field of the LHS times
a power of two, or -zero x sc x sum(lhs) per 16, one vpmaddwd of the sums field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.verbs import Entry, IntegerVerbs, Sum, as_pairs, floats, table_vector
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

    def owed_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        return {"owed": pairs * f.const(pairs.type, -code.zero)} if code.zero else {}

    def owed_sum(self, f: Function, code: PlaneCode, entry: Entry, lhs: Value | None) -> Value | None:
        """-zero x sc x sum(lhs), or None where nothing is owed."""
        if not self.owed(code):
            return None
        assert lhs is not None
        return self.pair_dot(f, entry("owed"), lhs) if code.sub == SUB16 else self.owed_of_bias(f, code, lhs)

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

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        return {**IntegerVerbs.sub_scales(self, f, code, pairs), **self.owed_scales(f, code, pairs)}

    def start(self, f: Function, code: PlaneCode, entry: Entry, lhs: Value | None) -> Sum:
        owed = self.owed_sum(f, code, entry, lhs)
        if owed is None:
            return Sum()
        return Sum(total=owed) if code.sub == SUB16 else Sum(parts=(owed,))

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, entry: Entry, half: int) -> Sum:
        ints = vector(self.lanes, I32)
        part = total.parts[0] if total.parts else f.zero(ints)
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return replace(total, parts=(f.call(name, ints, part, weights, lhs),))


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

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        """sub0, sub1: i16 pairs, the half's scale twice."""
        twice = {f"sub{h}": f.shuffle(pairs, [lane - lane % 2 + h for lane in range(16)]) for h in range(2)}
        return {**twice, **self.owed_scales(f, code, pairs)}

    def start(self, f: Function, code: PlaneCode, entry: Entry, lhs: Value | None) -> Sum:
        return Sum(total=self.owed_sum(f, code, entry, lhs))

    def owed_of_bias(self, f: Function, code: PlaneCode, bias: Value) -> Value:
        """On this rung the field holds two i16."""
        return self.pair_dot(f, bias, f.const(vector(16, I16), self.owed(code) // 8))

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, entry: Entry, half: int) -> Sum:
        if code.table:
            magnitude = f.call("llvm.abs.v32i8", weights.type, weights, f.const(I1, 0))
            lhs = f.call("llvm.x86.avx2.psign.b", weights.type, lhs, weights)
            return self._join(f, code, Sum(total.total, (self._pairs(f, magnitude, lhs),)), entry, half)
        pairs = self._pairs(f, weights, lhs)
        total = Sum(total.total, (total.parts[0] + pairs if total.parts else pairs,), total.count + 1)
        room = 32767 // (2 * LHS_MAX * code.largest)
        return self._join(f, code, total, entry, half) if total.count == room else total

    def end_half(self, f: Function, code: PlaneCode, total: Sum, entry: Entry, half: int) -> Sum:
        if total.parts and (code.sub == SUB16 or half == 1):
            return self._join(f, code, total, entry, half)
        return total

    def _pairs(self, f: Function, weights: Value, lhs: Value) -> Value:
        return f.call("llvm.x86.avx2.pmadd.ub.sw", vector(16, I16), weights, lhs)

    def _join(self, f: Function, code: PlaneCode, total: Sum, entry: Entry, half: int) -> Sum:
        factor = entry(f"sub{half}") if code.sub == SUB16 else f.const(vector(16, I16), 1)
        joined = self.pair_dot(f, total.parts[0], factor)
        return Sum(joined if total.total is None else total.total + joined)
