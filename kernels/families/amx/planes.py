"""Records of the plane families: codes freed of their zero point, scales as f32. Knows no loop.

Scales per 16: both halves are summed apart, and sc0 x sum0 + sc1 x sum1, below 2^24, is exact in f32 as it is in i32.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, RowScalars
from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.tile import DSUM, SUMS, D
from kernels.families.planes.unpack import unpack
from kernels.families.planes.verbs import SUB16, halves_of_pairs
from kernels.families.planes.x86 import PlaneVnni
from kernels.jit.ir import F32, I32, Function, Value, vector
from kernels.jit.masked import FLOATS
from kernels.jit.tiles import ROW_BYTES


@dataclass(frozen=True, slots=True)
class _SignedVerbs(PlaneVnni):
    """Operands are the weights themselves: nothing is owed. Scales per 16 are floats."""

    lanes: int = COLUMNS

    def owed(self, code: PlaneCode) -> int:
        return 0

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        halves = halves_of_pairs(f, f.cast("bitcast", pairs, vector(COLUMNS, I32)))
        return {f"sub{h}": f.cast("sitofp", half, FLOATS) for h, half in enumerate(halves)}


@dataclass(frozen=True, slots=True)
class PlaneRecords:
    rhs: PlaneRhs

    @property
    def halves(self) -> int:
        return 2 if self._has_sub16 else 1

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    @property
    def _has_sub16(self) -> bool:
        return self.rhs.code.sub == SUB16

    @property
    def _entries(self) -> tuple[str, ...]:
        has_min = self.rhs.code.has_min
        names = ["scale"] + ["minimum"] * has_min
        return (*names, *(["sub0", "sub1"] + ["mins"] * has_min if self._has_sub16 else []))

    @property
    def record_bytes(self) -> int:
        return (OPERANDS + len(self._entries)) * ROW_BYTES

    def panel_bytes(self, num_blocks: Value) -> Value:
        return self.rhs.emit_panel_bytes(num_blocks)

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        scales, block = self.rhs.emit_block(f, panel, index)
        (made,) = unpack(f, self.rhs, _SignedVerbs(), scales, block)
        for step in range(OPERANDS):
            f.store(made[f"operand{step}"], record, step * ROW_BYTES, align=64)
        for name in self._entries:
            f.store(made[name], record, self._at(name), align=64)

    def _at(self, name: str) -> int:
        return (OPERANDS + self._entries.index(name)) * ROW_BYTES

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        def entry(name: str, type_: str = FLOATS) -> Value:
            return f.load(type_, record, self._at(name), align=64)

        d = row.field(D, F32)
        if not self._has_sub16:
            value = f.fma(sums[0], d * entry("scale"), acc)
            return f.fma(entry("minimum"), row.field(DSUM, F32), value) if self.rhs.code.has_min else value
        total = f.fma(sums[0], entry("sub0"), sums[1] * entry("sub1"))
        value = f.fma(total, d * entry("scale"), acc)
        if self.rhs.code.has_min:
            mins = _SignedVerbs().pair_dot(f, entry("mins", vector(COLUMNS, I32)), row.field(SUMS, I32))
            value = f.fma(f.cast("sitofp", mins, FLOATS), d * entry("minimum"), value)
        return value
