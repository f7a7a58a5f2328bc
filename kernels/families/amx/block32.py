"""Records of Q4_0, Q4_1 and Q8_0: weights as signed bytes, so that nothing is owed. Knows no loop."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, RowScalars
from kernels.families.block32.lhs import TILE_LAYOUT, Qsi8d32
from kernels.families.block32.rhs import Rhs32
from kernels.jit.ir import F16, F32, I8, Function, Value, vector
from kernels.jit.masked import FLOATS
from kernels.jit.tiles import ROW_BYTES

OPERANDS = 8
SCALE_OFFSET = OPERANDS * ROW_BYTES
MIN_OFFSET = SCALE_OFFSET + 4 * COLUMNS
D, DSUM = 0, 2  # scalar fields of the LHS


@dataclass(frozen=True, slots=True)
class Block32Records:
    rhs: Rhs32
    lhs: Qsi8d32 = TILE_LAYOUT
    halves: int = 1
    is_integer: bool = False

    @property
    def record_bytes(self) -> int:
        return MIN_OFFSET + (4 * COLUMNS if self.rhs.code.has_min else 0)

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    def panel_bytes(self, num_blocks: Value) -> Value:
        return num_blocks * self.rhs.block_bytes

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        rhs, bytes_ = self.rhs, vector(ROW_BYTES, I8)
        block = f.offset(panel, index * rhs.block_bytes)
        words = [f.load(bytes_, block, rhs.group_offset(g)) for g in range(rhs.num_groups)]
        if rhs.code.is_nibble:
            words = [w & 15 for w in words] + [w >> 4 for w in words]
        excess = 8 if rhs.code.is_signed_nibble else 128 if rhs.flip_sign else 0
        for g, operand in enumerate(words):
            f.store(operand - excess if excess else operand, record, g * ROW_BYTES, align=64)
        f.store(self._halves(f, block, 0), record, SCALE_OFFSET, align=64)
        if rhs.code.has_min:
            f.store(self._halves(f, block, rhs.min_offset), record, MIN_OFFSET, align=64)

    def _halves(self, f: Function, block: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(COLUMNS, F16), block, offset), FLOATS)

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        scale = f.load(FLOATS, record, SCALE_OFFSET, align=64)
        value = f.fma(sums[0], row.field(D, F32) * scale, acc)
        if self.rhs.code.has_min:
            value = f.fma(f.load(FLOATS, record, MIN_OFFSET, align=64), row.field(DSUM, F32), value)
        return value
