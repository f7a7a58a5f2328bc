"""Records of the plane families of blocks: codes freed of their zero point, scales as f32. Knows no loop."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, RowScalars
from kernels.families.block32.lhs import TILE_LAYOUT, Qsi8d32
from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.tile import DSUM, D
from kernels.families.planes.unpack import entry_names, unpack
from kernels.families.planes.x86 import PlaneVnni
from kernels.jit.ir import F32, Function, Value
from kernels.jit.masked import FLOATS
from kernels.jit.tiles import ROW_BYTES


@dataclass(frozen=True, slots=True)
class SignedVerbs(PlaneVnni):
    """Operands have a sign: nothing is owed."""

    lanes: int = COLUMNS

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code.multiplied()

    def owed(self, code: PlaneCode) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class PlaneRecords:
    rhs: PlaneRhs
    lhs: Qsi8d32 = TILE_LAYOUT
    halves: int = 1
    is_integer: bool = False

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    @property
    def record_bytes(self) -> int:
        return len(self._entries) * ROW_BYTES

    @property
    def _entries(self) -> tuple[str, ...]:
        return entry_names(self.rhs, SignedVerbs())

    def panel_bytes(self, num_blocks: Value) -> Value:
        return self.rhs.emit_panel_bytes(num_blocks)

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        (made,) = unpack(f, self.rhs, SignedVerbs(), f.offset(panel, index * self.block_bytes))
        for at, name in enumerate(self._entries):
            f.store(made[name], record, at * ROW_BYTES, align=64)

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        scale = f.load(FLOATS, record, OPERANDS * ROW_BYTES, align=64)
        value = f.fma(sums[0], row.field(D, F32) * scale, acc)
        if not self.rhs.code.has_min:
            return value
        minimum = f.load(FLOATS, record, (OPERANDS + 1) * ROW_BYTES, align=64)
        return f.fma(minimum, row.field(DSUM, F32), value)
