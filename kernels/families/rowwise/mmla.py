"""The row-wise tiles of 2x2 int8 matrix products (smmla), and the GEMV that reads the same packed weights with sdot.

The verbs are those of kernels.families.block32.mmla_isa. With a scale a channel the loop over K is nothing but loads
and products; with a scale a group, sums start at the bits of a large float as in kernels.families.block32.float_bits:
128 products of a nibble stay below its limit. Columns lie in rows of lanes only at the end, where zero points come in.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.float_bits import finish, start_bits
from kernels.families.block32.mmla_isa import MmlaIsa, NeonMmla, SveMmla
from kernels.families.rowwise.code import RowCode
from kernels.families.rowwise.lanes import unpack
from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.variant import MatmulVariant
from kernels.jit.constants import MemoryConstants
from kernels.jit.ir import F32, I32, I64, PTR, Function, Value, Variable
from kernels.jit.ir_types import AS_WRITTEN
from kernels.ladder import NEON_I8MM, SVE_I8MM, Rung
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK

VECTORS = 2  # of a panel
GROUPS = 4  # of 8 elements in a block of 32
ROWS = 8
GEMV_PANELS = 2
ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]


@dataclass(frozen=True, slots=True)
class _MmlaKernel:
    name: MatmulName
    lhs: Qai8dx
    rhs: RowRhs
    isa: MmlaIsa
    features: str

    def begin(self) -> Function:
        attributes = (*self.isa.attributes, AS_WRITTEN)
        return Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)

    @property
    def blocks_in_turn(self) -> int:
        return self.rhs.turn // BLOCK

    def lhs_panel_bytes(self, f: Function) -> Value:
        return (f["k"] >> 5) * self.lhs.block_bytes + self.lhs.header_bytes

    def rhs_panel_bytes(self, f: Function) -> Value:
        return f.divide_exactly(f["k"], self.rhs.turn) * self.rhs.turn_bytes + self.rhs.header_bytes

    def weights(self, f: Function, turn: Value, block: int) -> list[list[Value]]:
        """The operands of one block: [vector of the panel][group of 8 elements]."""
        isa, rhs = self.isa, self.rhs
        loaded = [
            [f.load(isa.bytes, turn, rhs.group_offset(block, g) + isa.vector_bytes * c) for g in range(rhs.num_groups)]
            for c in range(VECTORS)
        ]
        return [unpack(column, rhs) for column in loaded] if rhs.code.is_nibble else loaded

    def value(self, f: Function, total: Value, panel: Value, row: Value, lane: int) -> Value:
        """A row's columns at the end of K: int32 sums, or f32 with a scale a group. `row`: its panel of the LHS."""
        isa, code = self.isa, self.rhs.code
        d = f.splat(f.load(F32, row, 4 * lane, align=4), isa.floats)
        zero = f.load(I32, row, self.lhs.zero_offset + 4 * lane, align=4)
        scales = f.load(isa.floats, panel, align=4)
        if code.group is not None:
            point = f.splat(f.cast("sitofp", f.const(I32, 0) - zero, F32), isa.floats)
            return f.clamp(d * f.fma(point, scales, total), f["lo"], f["hi"])
        if code.is_nibble:
            total = f.emit(isa.ints, f"ashr exact {isa.ints} {total.name}, {f.const(isa.ints, 4).name}")
        sums = f.load(isa.ints, panel, self.rhs.sum_offset, align=4)
        total = total - f.splat(zero, isa.ints) * sums
        return f.clamp(f.cast("sitofp", total, isa.floats) * (d * scales), f["lo"], f["hi"])


@dataclass(frozen=True, slots=True)
class RowMmla(_MmlaKernel):
    """A GEMM of `lhs.mr` rows x one panel."""

    def emit(self) -> str:
        f = self.begin()
        starts = self.isa.constants(f, [start_bits(self.rhs.code.verbs)], self.lhs.mr // 2 * VECTORS)
        rest = f.remainder(f["m"], self.lhs.mr)
        full = f["m"] - rest
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            rows = f.variable(f["lhs"])
            with f.loop(0, full, self.lhs.mr) as m0:
                self._tile(f, starts, rows.get(), panel.get(), m0, n0, self.lhs.mr)
                rows.set(f.offset(rows.get(), self.lhs_panel_bytes(f)))
            for few in range(1, self.lhs.mr):
                with f.when(f.compare("eq", rest, few)):
                    self._tile(f, starts, rows.get(), panel.get(), full, n0, few)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes(f)))
        f.ret()
        return f.text()

    def _tile(
        self, f: Function, starts: MemoryConstants, lhs: Value, rhs: Value, m0: Value, n0: Value, rows: int
    ) -> None:
        isa, group = self.isa, self.rhs.code.group
        pairs = (rows + 1) // 2
        zero = f.zero(isa.ints if group is None else isa.floats)
        acc = [[f.variable(zero) for _ in range(VECTORS)] for _ in range(pairs)]
        with f.loop(0, f.divide_exactly(f["k"], self.rhs.turn)) as index:
            turn = f.offset(rhs, index * self.rhs.turn_bytes + self.rhs.header_bytes)
            at = index * (self.blocks_in_turn * self.lhs.block_bytes) + self.lhs.header_bytes
            self._turn(f, starts, f.offset(lhs, at), turn, acc)
        for pair, both in enumerate(acc):
            left, right = (f.cast("bitcast", v.get(), isa.floats) for v in both)
            for odd, columns in enumerate(isa.rows(f, left, right)[: rows - 2 * pair]):
                row = 2 * pair + odd
                total = columns if group is not None else f.cast("bitcast", columns, isa.ints)
                out = f.offset(f["dst"], (m0 + row) * f["dst_stride"] + (n0 << 2))
                isa.store(f, self.value(f, total, rhs, lhs, row), out, f["n"] - n0)

    def _turn(self, f: Function, starts: MemoryConstants, lhs: Value, turn: Value, acc: list[list[Variable]]) -> None:
        isa, code = self.isa, self.rhs.code
        if code.group is None:
            sums = [[variable.get() for variable in pair] for pair in acc]
        else:
            starts.refresh()
            sums = [[starts.load(isa.ints) for _ in range(VECTORS)] for _ in acc]
        for block in range(self.blocks_in_turn):
            weights = self.weights(f, turn, block)
            for g in range(GROUPS):
                at = block * self.lhs.block_bytes + self.lhs.group_offset(g)
                for pair in range(len(acc)):
                    operand = isa.pair_of_rows(f, isa.bytes, lhs, at + 16 * pair)
                    sums[pair] = [isa.mmla(f, sums[pair][c], operand, weights[c][g]) for c in range(VECTORS)]
        if code.group is None:
            for pair, both in enumerate(acc):
                for c, variable in enumerate(both):
                    variable.set(sums[pair][c])
            return
        scales = isa.beside_products(f, isa.halves(f, turn, 0))
        for pair, both in enumerate(acc):
            for c, variable in enumerate(both):
                value = finish(f, code.verbs, sums[pair][c], isa.floats)
                variable.set(f.fma(value, scales[c], variable.get()))


@dataclass(frozen=True, slots=True)
class RowPairedGemv(_MmlaKernel):
    """m = 1: sdot leaves two partial sums a column, neighbours, joined at the end of K or of a group."""

    def emit(self) -> str:
        f = self.begin()
        starts = self.isa.constants(f, [start_bits(self.rhs.code.verbs), 0], GEMV_PANELS * VECTORS)
        panel, n = f.variable(f["rhs"]), f.variable(f.const(I64, 0))
        width = GEMV_PANELS * self.rhs.nr
        with f.loop(0, f["n"] - (width - 1), width) as n0:
            self._columns(f, starts, panel.get(), n0, GEMV_PANELS)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes(f) * GEMV_PANELS))
            n.set(n0 + width)
        with f.loop(n.get(), f["n"], self.rhs.nr) as n0:
            self._columns(f, starts, panel.get(), n0, 1)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes(f)))
        f.ret()
        return f.text()

    def _columns(self, f: Function, starts: MemoryConstants, panel: Value, n0: Value, panels: int) -> None:
        isa, group = self.isa, self.rhs.code.group
        at = [f.offset(panel, self.rhs_panel_bytes(f) * p) for p in range(panels)]
        zero, count = (f.zero(isa.ints), VECTORS) if group is None else (f.zero(isa.floats), 1)
        acc = [[f.variable(zero) for _ in range(count)] for _ in range(panels)]
        with f.loop(0, f.divide_exactly(f["k"], self.rhs.turn)) as index:
            if group is not None:
                starts.refresh()
            lhs_at = index * (self.blocks_in_turn * self.lhs.block_bytes) + self.lhs.header_bytes
            lhs = f.offset(f["lhs"], lhs_at)
            for p, variables in enumerate(acc):
                turn = f.offset(at[p], index * self.rhs.turn_bytes + self.rhs.header_bytes)
                self._turn(f, starts, lhs, turn, variables)
        for p, variables in enumerate(acc):
            values = [v.get() for v in variables]
            total = values[0] if group is not None else isa.join(f, *values)
            column = n0 + self.rhs.nr * p
            out = f.offset(f["dst"], column << 2)
            isa.store(f, self.value(f, total, at[p], f["lhs"], 0), out, f["n"] - column)

    def _turn(self, f: Function, starts: MemoryConstants, lhs: Value, turn: Value, acc: list[Variable]) -> None:
        isa, code = self.isa, self.rhs.code
        sums = [v.get() for v in acc] if code.group is None else [starts.load(isa.ints) for _ in range(VECTORS)]
        for block in range(self.blocks_in_turn):
            weights = self.weights(f, turn, block)
            for g in range(GROUPS):
                row = isa.eight(f, lhs, block * self.lhs.block_bytes + self.lhs.group_offset(g))
                sums = [isa.dot(f, sums[c], weights[c][g], row) for c in range(VECTORS)]
        if code.group is None:
            for variable, total in zip(acc, sums, strict=True):
                variable.set(total)
            return
        value = finish(f, code.verbs, isa.join(f, *sums), isa.floats)
        acc[0].set(f.fma(value, isa.halves(f, turn, 0), acc[0].get()))


@dataclass(frozen=True, slots=True)
class _MmlaRung:
    rung: Rung
    isa: MmlaIsa
    engine: str
    gemv_tech: str


_MMLA_RUNGS = (
    _MmlaRung(SVE_I8MM, SveMmla(vector_bytes=32), "sve", "dot"),
    _MmlaRung(NEON_I8MM, NeonMmla(), "neon", "dotprod"),
)


def mmla_variants(code: RowCode) -> list[MatmulVariant]:
    """GEMM and GEMV of each rung. Rows are packed alike on all of them, by NEON code."""
    made = []
    for use in _MMLA_RUNGS:
        nr = use.isa.vector_bytes // 4
        rhs = RowRhs(code, nr, kr=8, flip_sign=code.is_nibble)
        lhs, row = Qai8dx(ROWS, 8, has_bias=False), Qai8dx(1, 8, has_bias=False)
        name = row_name(lhs, rhs, ROWS, nr, use.engine, "i8mm")
        gemm = RowMmla(name, lhs, rhs, use.isa, use.rung.attributes)
        made.append(MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, NEON_I8MM), gemm.emit))
        name = row_name(row, rhs, 1, GEMV_PANELS * nr, use.engine, use.gemv_tech)
        gemv = RowPairedGemv(name, row, rhs, use.isa, use.rung.attributes)
        made.append(MatmulVariant(name, use.rung, row, rhs, pack_variant(row, NEON_I8MM), gemv.emit))
    return made
