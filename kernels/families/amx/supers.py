"""Records of the super-block families: codes freed of their zero point, byte scales as i32. Knows no loop."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import RowScalars
from kernels.families.amx.planes import SignedVerbs
from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.supers.lhs import TILE_LAYOUT, D, Qsi8d256
from kernels.families.supers.unpack import (
    block_entry_names,
    mins_fields,
    num_factors,
    super_entry_names,
    unpack_block,
    unpack_super,
)
from kernels.jit.ir import F32, I32, Function, Value
from kernels.jit.masked import FLOATS, INTS
from kernels.jit.tiles import ROW_BYTES

VERBS = SignedVerbs()


@dataclass(frozen=True, slots=True)
class SuperRecords:
    """A record is a block's; what the blocks of a super-block share is beside them: `super_bytes`."""

    rhs: PlaneRhs
    lhs: Qsi8d256 = TILE_LAYOUT
    is_integer: bool = True

    @property
    def code(self) -> PlaneCode:
        """Of the operands."""
        return VERBS.gemm_code(self.rhs.code)

    @property
    def halves(self) -> int:
        return max(1, num_factors(self.code))

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    @property
    def record_bytes(self) -> int:
        return (OPERANDS + num_factors(self.code)) * ROW_BYTES

    @property
    def super_names(self) -> list[str]:
        return super_entry_names(self.rhs, VERBS, self.code)

    @property
    def super_bytes(self) -> int:
        return len(self.super_names) * ROW_BYTES

    def panel_bytes(self, num_blocks: Value) -> Value:
        return self.rhs.emit_panel_bytes(num_blocks)

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        _, block = self.rhs.emit_block(f, panel, index)
        (made,) = unpack_block(f, self.rhs, VERBS, block, self.code)
        for at, name in enumerate(block_entry_names(VERBS, self.code)):
            f.store(made[name], record, at * ROW_BYTES, align=64)

    def unpack_super(self, f: Function, header: Value, place: Value) -> None:
        (made,) = unpack_super(f, self.rhs, VERBS, header, self.code)
        for at, name in enumerate(self.super_names):
            f.store(made[name], place, at * ROW_BYTES, align=64)

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        for half in range(num_factors(self.code)):
            factor = f.load(INTS, record, (OPERANDS + half) * ROW_BYTES, align=64)
            acc = acc + sums[half] * factor
        return acc if num_factors(self.code) else acc + sums[0]

    def finished(self, f: Function, total: Value, row: RowScalars, place: Value, acc: Value) -> Value:
        """One row's float steps of a super-block."""

        def entry(name: str, type_: str = FLOATS) -> Value:
            return f.load(type_, place, self.super_names.index(name) * ROW_BYTES, align=64)

        value = f.cast("sitofp", total, FLOATS) * entry("scale")
        if self.rhs.code.has_min:
            pairs = [(entry(f"mins{i}", INTS), row.field(i, I32)) for i in mins_fields(self.rhs)]
            mins = VERBS.pair_dots(f, None, pairs)
            value = f.fma(f.cast("sitofp", mins, FLOATS), entry("minimum"), value)
        return f.fma(row.field(D, F32), value, acc)
