"""The lane tile's verbs in LLVM's own vector operations: runs on every CPU, the bit-exact oracle of the other rungs."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.rhs import WeightCode
from kernels.jit.ir import F32, I16, I32, Function, Value, vector


@dataclass(frozen=True, slots=True)
class Portable:
    """Integer sums by widening multiplies; f16 to f32 by integers, since a baseline CPU has no such instruction."""

    lanes: int = 8

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        loaded = [f.load(element, pointer, offset + 4 * i, align=4) for i in range(count)]
        return [f.splat(scalar, vector(self.lanes, element)) for scalar in loaded]

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        """Exponent and mantissa move to f32's place and 2^112 mends the bias, subnormals included; finite only."""
        words, floats = vector(self.lanes, I32), vector(self.lanes, F32)
        bits = f.cast("zext", f.load(vector(self.lanes, I16), pointer, offset), words)
        magnitude = f.cast("bitcast", (bits & 0x7FFF) << 13, floats) * f.const(floats, 2.0**112)
        return f.cast("bitcast", f.cast("bitcast", magnitude, words) | ((bits & 0x8000) << 16), floats)

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        return bias if bias is not None else f.zero(vector(self.lanes, I32))

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        lhs = f.cast("bitcast", lhs, weights.type)
        for k in range(4):
            column = [4 * lane + k for lane in range(self.lanes)]
            left, right = (f.cast("sext", f.shuffle(v, column), vector(self.lanes, I32)) for v in (weights, lhs))
            total = total + left * right
        return total

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        return total

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return f.cast("sitofp", total, vector(self.lanes, F32))
