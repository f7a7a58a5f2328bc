"""The lane tile's verbs on Armv8.2 with DotProd (sdot by element)."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.rhs import WeightCode
from kernels.jit.ir import F16, F32, I8, I32, Function, Value, vector


@dataclass(frozen=True, slots=True)
class NeonDotprod:
    """Four rows' operands come in one 16-byte load; `sdot` and `fmul` pick theirs by element."""

    lanes: int = 4

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        if count == 1:
            return [f.splat(f.load(element, pointer, offset, align=4), vector(4, element))]
        loaded = f.load(vector(4, element), pointer, offset, align=4)
        return [f.shuffle(loaded, [row] * 4) for row in range(count)]

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(4, F16), pointer, offset), vector(4, F32))

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        return bias if bias is not None else f.zero(vector(4, I32))

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        bytes_ = vector(16, I8)
        return f.call(
            "llvm.aarch64.neon.sdot.v4i32.v16i8", vector(4, I32), total, weights, f.cast("bitcast", lhs, bytes_)
        )

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return f.cast("sitofp", total, vector(4, F32))
