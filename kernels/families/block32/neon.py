"""The lane tile's verbs on Arm's 128-bit vectors: Armv8.2 with DotProd (sdot by element), and plain Armv8.0 (smlal)."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.float_bits import finish, start_bits
from kernels.families.block32.rhs import WeightCode
from kernels.jit.ir import F16, F32, I8, I16, I32, Function, Value, vector


@dataclass(frozen=True, slots=True)
class NeonDotprod:
    """Four rows' operands come in one 16-byte load; `sdot` and `fmul` pick theirs by element."""

    lanes: int = 4

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        if count == 1:  # the only row's scalars and groups are neighbours: of 16 bytes, one element
            loaded = f.load(vector(4, element), pointer, offset // 16 * 16, align=4)
            return [f.shuffle(loaded, [offset % 16 // 4] * 4)]
        loaded = f.load(vector(4, element), pointer, offset, align=4)
        return [f.shuffle(loaded, [row] * 4) for row in range(count)]

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(4, F16), pointer, offset), vector(4, F32))

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        return f.const(vector(4, I32), start_bits(code))

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        bytes_ = vector(16, I8)
        return f.call(
            "llvm.aarch64.neon.sdot.v4i32.v16i8", vector(4, I32), total, weights, f.cast("bitcast", lhs, bytes_)
        )

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        return total

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return finish(f, code, total, vector(4, F32))


@dataclass(frozen=True, slots=True)
class Neon(NeonDotprod):
    """Products of bytes are added in int16, one lane an element of k modulo 4, and joined in int32.

    Nibbles stay in int16 for a whole block: a lane adds 8 products of at most 15 x 127, and with the bias on one lane
    of the four it is the sum of (w - 8) x q over that lane less 8 x q over the others, at most 8 x 32 x 127 < 2^15.
    Bytes do not (128 x 127 x 2 is the most): each product is joined at once (sadalp), four columns in two int32[4].
    """

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        if not code.is_nibble:
            return f.zero(vector(8, I32))
        if bias is None:
            return f.zero(vector(16, I16))
        lane = f.emit(vector(4, I32), f"and <4 x i32> {bias.name}, <i32 65535, i32 0, i32 65535, i32 0>")
        return f.cast("bitcast", f.shuffle(lane, [0, 1, 2, 3] * 2), vector(16, I16))

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        lhs = f.cast("bitcast", lhs, vector(16, I8))
        if code.is_nibble:
            products = f.cast("sext", weights, vector(16, I16)) * f.cast("sext", lhs, vector(16, I16))
            return total + products
        halves = []
        for part in (range(8), range(8, 16)):
            products = f.call(
                "llvm.aarch64.neon.smull.v8i16", vector(8, I16), f.shuffle(weights, part), f.shuffle(lhs, part)
            )
            halves.append(f.call("llvm.aarch64.neon.saddlp.v4i32.v8i16", vector(4, I32), products))
        return total + f.shuffle(halves[0], range(8), halves[1])

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        ints, half = vector(4, I32), 4 if not code.is_nibble else 8
        parts = [f.shuffle(total, range(half)), f.shuffle(total, range(half, 2 * half))]
        if code.is_nibble:
            parts = [f.call("llvm.aarch64.neon.saddlp.v4i32.v8i16", ints, part) for part in parts]
        return f.call("llvm.aarch64.neon.addp.v4i32", ints, *parts)

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        return f.cast("sitofp", self.join(f, code, total), vector(4, F32))
