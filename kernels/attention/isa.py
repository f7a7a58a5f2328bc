"""What an attention micro-kernel must know of an instruction set: lanes, registers, how scalars are spread."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.jit.ir import F32, Function, Value, vector
from kernels.jit.vector_math import load_halves


@dataclass(frozen=True, slots=True)
class Isa:
    """`accumulators`: vector registers a tile may sum in. `spread`: scalars loaded at once and spread from a register
    (1: by a broadcasting load). `native_half`: has f16 -> f32 conversions."""

    engine: str
    lanes: int
    accumulators: int
    spread: int
    native_half: bool = True

    @property
    def floats(self) -> str:
        return vector(self.lanes, F32)

    def halves(self, f: Function, pointer: Value, offset: int) -> Value:
        return load_halves(f, self.lanes, pointer, offset, self.native_half)

    def half(self, f: Function, pointer: Value) -> Value:
        """One f16 as f32."""
        return f.extract(load_halves(f, 1, pointer, 0, self.native_half), 0)

    def spread_loads(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        """`count` consecutive f32, each in every lane."""
        if count == 1:
            return [f.splat(f.load(F32, pointer, offset, align=4), self.floats)]
        row = f.load(vector(count, F32), pointer, offset, align=4)
        return [f.shuffle(row, [i] * self.lanes) for i in range(count)]


AVX512 = Isa("avx512", lanes=16, accumulators=24, spread=1)
AVX2 = Isa("avx2", lanes=8, accumulators=12, spread=1)
NEON = Isa("neon", lanes=4, accumulators=16, spread=4)
SCALAR = Isa("scalar", lanes=4, accumulators=4, spread=1, native_half=False)
