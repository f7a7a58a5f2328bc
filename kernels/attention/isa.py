"""What an attention micro-kernel must know of an instruction set: lanes, registers, how scalars are spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.jit.ir import F32, I16, I32, Function, Value, vector
from kernels.jit.vector_math import load_halves


@dataclass(frozen=True, slots=True)
class Isa:
    """`accumulators`: vector registers a tile may sum in. `spread`: scalars loaded at once and spread from a register
    (1: by a broadcasting load). `native_half`: has f16 -> f32 conversions. `pair_products`: the intrinsic that adds the
    two products of pairs of int16."""

    engine: str
    lanes: int
    accumulators: int
    spread: int
    native_half: bool = True
    pair_products: str | None = None

    @property
    def floats(self) -> str:
        return vector(self.lanes, F32)

    def halves(self, f: Function, pointer: Value, offset: int) -> Value:
        return load_halves(f, self.lanes, pointer, offset, self.native_half)

    def half(self, f: Function, pointer: Value) -> Value:
        """One f16 as f32."""
        return f.extract(load_halves(f, 1, pointer, 0, self.native_half), 0)

    def numbers(self, f: Function, first: int) -> Value:
        """i32 lanes first, first + 1, ..."""
        numbers = ", ".join(f"i32 {first + lane}" for lane in range(self.lanes))
        return Value(f, vector(self.lanes, I32), f"<{numbers}>")

    def splat(self, f: Function, number: Value) -> Value:
        """An i64 as i32 lanes."""
        return f.splat(f.cast("trunc", number, I32), vector(self.lanes, I32))

    def spread_loads(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        """`count` consecutive f32, each in every lane."""
        if count == 1:
            return [f.splat(f.load(F32, pointer, offset, align=4), self.floats)]
        row = f.load(vector(count, F32), pointer, offset, align=4)
        return [f.shuffle(row, [i] * self.lanes) for i in range(count)]

    # -- pairs of int16: one operand where an instruction takes pairs, else low and high ones apart, as i32

    def pairs(self, f: Function, pointer: Value, offset: int) -> Sequence[Value]:
        """As many as there are lanes."""
        halves = f.load(vector(2 * self.lanes, I16), pointer, offset, align=16)
        if self.pair_products is not None:
            return (halves,)
        return [self._widened(f, f.shuffle(halves, range(half, 2 * self.lanes, 2))) for half in (0, 1)]

    def spread_pairs(self, f: Function, pointer: Value, offset: int, count: int) -> list[Sequence[Value]]:
        """`count` consecutive pairs, each in every lane."""
        if self.pair_products is not None:
            halves, integers = vector(2 * self.lanes, I16), vector(self.lanes, I32)
            loaded = [f.load(I32, pointer, offset + 4 * i, align=4) for i in range(count)]
            return [(f.cast("bitcast", f.splat(pair, integers), halves),) for pair in loaded]
        row = f.load(vector(2 * count, I16), pointer, offset, align=4)
        return [
            [self._widened(f, f.shuffle(row, [2 * i + half] * self.lanes)) for half in (0, 1)] for i in range(count)
        ]

    def add_pairs(self, f: Function, total: Value, left: Sequence[Value], right: Sequence[Value]) -> Value:
        """total + low x low + high x high, a lane each. With VNNI LLVM makes one vpdpwssd of both instructions."""
        if self.pair_products is not None:
            return total + f.call(self.pair_products, total.type, *left, *right)
        for a, b in zip(left, right, strict=True):
            total = total + a * b
        return total

    def _widened(self, f: Function, halves: Value) -> Value:
        return f.cast("sext", halves, vector(self.lanes, I32))


AVX512 = Isa("avx512", lanes=16, accumulators=24, spread=1, pair_products="llvm.x86.avx512.pmaddw.d.512")
AVX2 = Isa("avx2", lanes=8, accumulators=12, spread=1, pair_products="llvm.x86.avx2.pmadd.wd")
NEON = Isa("neon", lanes=4, accumulators=16, spread=4)
SCALAR = Isa("scalar", lanes=4, accumulators=4, spread=1, native_half=False)
