"""Records of the plane families: codes freed of their zero point, scales as f32. Knows no loop.

Q6_K's halves are summed apart: sc0 x sum0 + sc1 x sum1, below 2^24, is exact in f32 as it is in i32.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, RowScalars
from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.tile import DSUM, SUMS, D
from kernels.families.planes.unpack import entry_names, unpack
from kernels.families.planes.verbs import IntegerVerbs
from kernels.families.planes.x86 import PlaneVnni
from kernels.jit.ir import F32, I32, Function, Value, vector
from kernels.jit.masked import FLOATS
from kernels.jit.tiles import ROW_BYTES


@dataclass(frozen=True, slots=True)
class _SignedVerbs(PlaneVnni):
    """Operands have a sign: nothing is owed. Scales per 16 are floats."""

    lanes: int = COLUMNS

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code.multiplied()

    def owed(self, code: PlaneCode) -> int:
        return 0

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        halves = IntegerVerbs.sub_scales(self, f, code, pairs)
        return {name: f.cast("sitofp", half, FLOATS) for name, half in halves.items()}


@dataclass(frozen=True, slots=True)
class PlaneRecords:
    rhs: PlaneRhs

    @property
    def halves(self) -> int:
        return 2 if self._code.sub == SUB16 else 1

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    @property
    def record_bytes(self) -> int:
        return (OPERANDS + len(self._entries)) * ROW_BYTES

    @property
    def _code(self) -> PlaneCode:
        """Of the operands."""
        return _SignedVerbs().gemm_code(self.rhs.code)

    @property
    def _entries(self) -> tuple[str, ...]:
        return entry_names(self.rhs, _SignedVerbs(), self._code)[OPERANDS:]

    def panel_bytes(self, num_blocks: Value) -> Value:
        return self.rhs.emit_panel_bytes(num_blocks)

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        scales, block = self.rhs.emit_block(f, panel, index)
        (made,) = unpack(f, self.rhs, _SignedVerbs(), scales, block, self._code)
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
        total = sums[0] if self.halves == 1 else f.fma(sums[0], entry("sub0"), sums[1] * entry("sub1"))
        value = f.fma(total, d * entry("scale"), acc)
        if not self.rhs.code.has_min:
            return value
        if not self.rhs.code.has_mins16:
            return f.fma(entry("minimum"), row.field(DSUM, F32), value)
        mins = _SignedVerbs().pair_dot(f, entry("mins", vector(COLUMNS, I32)), row.field(SUMS, I32))
        return f.fma(f.cast("sitofp", mins, FLOATS), d * entry("minimum"), value)
