"""The lane tile's verbs on x86-64: AVX2 (vpmaddubsw), AVX512-VNNI and AVX-VNNI (vpdpbusd)."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.rhs import WeightCode
from kernels.jit.ir import F16, F32, I1, I8, I16, I32, Function, Value, vector


def _spread(f: Function, type_: str, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
    """A broadcasting load costs no vector pipe."""
    return [f.splat(f.load(element, pointer, offset + 4 * i, align=4), type_) for i in range(count)]


@dataclass(frozen=True, slots=True)
class Avx2:
    """vpmaddubsw adds pairs of u8 x s8 in int16: nibbles leave room for a whole block (8 x 2 x 15 x 127 < 2^15).

    So a nibble sum is int16[16], two a column, its bias paired likewise, and vpmaddwd joins the pairs once a block.
    Bytes do not fit: |w| as u8 against lhs with w's sign is exact for one vpmaddubsw, then vpmaddwd at once.
    """

    lanes: int = 8

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        return _spread(f, vector(8, element), element, pointer, offset, count)

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(8, F16), pointer, offset), vector(8, F32))

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        return bias if bias is not None else f.zero(vector(8, I32))

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        bytes_, halves = vector(32, I8), vector(16, I16)
        lhs = f.cast("bitcast", lhs, bytes_)
        if code.is_nibble:
            pairs = f.call("llvm.x86.avx2.pmadd.ub.sw", halves, weights, lhs)
            return f.cast("bitcast", f.cast("bitcast", total, halves) + pairs, vector(8, I32))
        magnitude = f.call("llvm.abs.v32i8", bytes_, weights, f.const(I1, 0))
        signed = f.call("llvm.x86.avx2.psign.b", bytes_, lhs, weights)
        return total + self._join(f, f.call("llvm.x86.avx2.pmadd.ub.sw", halves, magnitude, signed))

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        return self._join(f, f.cast("bitcast", total, vector(16, I16))) if code.is_nibble else total

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return f.cast("sitofp", self.join(f, code, total), vector(8, F32))

    def _join(self, f: Function, pairs: Value) -> Value:
        """int16[16] -> int32[8]: neighbours added."""
        return f.call("llvm.x86.avx2.pmadd.wd", vector(8, I32), pairs, f.const(vector(16, I16), 1))


@dataclass(frozen=True, slots=True)
class Vnni:
    """vpdpbusd adds 4-wide u8 x s8 in int32. Signed weights are stored plus 128 and owe -128 x sum(lhs)."""

    lanes: int

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        return _spread(f, vector(self.lanes, element), element, pointer, offset, count)

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(self.lanes, F16), pointer, offset), vector(self.lanes, F32))

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        if bias is None:
            return f.zero(vector(self.lanes, I32))
        return bias if code.is_nibble else bias << 4  # the field holds -8 x sum, bytes owe -128 x sum

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        lhs = f.cast("bitcast", lhs, vector(4 * self.lanes, I8))
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"  # of 256 bits it is AVX-VNNI's as well
        return f.call(name, vector(self.lanes, I32), total, weights, lhs)

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        return total

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return f.cast("sitofp", total, vector(self.lanes, F32))


@dataclass(frozen=True, slots=True)
class Avx512Vnni(Vnni):
    """zmm registers: 32 of them, 16 columns each."""

    lanes: int = 16


@dataclass(frozen=True, slots=True)
class AvxVnni(Vnni):
    """ymm registers in VEX encoding: 16 of them, 8 columns each."""

    lanes: int = 8
