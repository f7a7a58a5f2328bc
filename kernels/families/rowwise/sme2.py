"""The row-wise GEMM and GEMV of SME2, for one streaming vector length: outer products, and dots of one row.

    a scale a channel, GEMM of 1 x 4 vectors:  tile v += outer product of bytes, over all of K, int32[rows, columns]
                       GEMV of 4 vectors:      four rows of tile 0
    a scale a group,   GEMM of 1 x 2 vectors:  tile v = sums of a group; tile 2 + v = fma(f32(tile v), s, tile 2 + v)
                       GEMV of 2 x 2 vectors:  four rows of tile 0, four rows of tile 2

The formulas are those of kernels.families.rowwise.lanes: rows are scaled and their zero points taken off when a tile
leaves ZA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels.families.block32.sme2_weights import set_nibbles, streaming_weights
from kernels.families.rowwise.code import RowCode
from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.sme2_layout import StreamingRowRhs
from kernels.families.variant import MatmulVariant
from kernels.jit.ir import F32, I32, I64, PTR, Function, Value
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.scalable import first_lanes, load_repeated, store_lanes
from kernels.jit.streaming import (
    BYTES,
    FLOATS,
    INTS,
    ArrayIndices,
    add_outer_bytes,
    dot_four_by_lane,
    fma_four,
    fma_four_by_one,
    load_four,
    paired_halves,
    read_four,
    streaming_attributes,
    tile_row,
    to_floats,
    zero_tiles,
)
from kernels.ladder import NEON, SME2
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK

ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]
SUMS, ACCUMULATORS = 0, 2  # the first of their tiles
AT_ONCE = 4  # vectors of a group of ZA's


@dataclass(frozen=True, slots=True)
class _StreamingRowKernel:
    name: MatmulName
    lhs: Qai8dx
    rhs: StreamingRowRhs
    features: str

    @property
    def vector_bytes(self) -> int:
        return 4 * self.rhs.lanes

    @property
    def blocks_in_turn(self) -> int:
        return self.rhs.turn // BLOCK

    def begin(self) -> Function:
        attributes = (*streaming_attributes(32 * self.rhs.lanes), AS_WRITTEN)
        f = Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)
        if self.rhs.code.is_nibble:
            set_nibbles(f, self.rhs.code.source.zero)
        return f

    def num_turns(self, f: Function) -> Value:
        return f.divide_exactly(f["k"], self.rhs.turn)

    def lhs_panel_bytes(self, f: Function) -> Value:
        return (f["k"] >> 5) * self.lhs.block_bytes + self.lhs.header_bytes

    def rhs_panel_bytes(self, f: Function) -> Value:
        return self.num_turns(f) * self.rhs.turn_bytes + self.rhs.header_bytes

    def lhs_turn(self, f: Function, panel: Value, index: Value) -> Value:
        return f.offset(panel, index * (self.blocks_in_turn * self.lhs.block_bytes) + self.lhs.header_bytes)

    def rhs_turn(self, f: Function, panel: Value, index: Value) -> Value:
        return f.offset(panel, index * self.rhs.turn_bytes + self.rhs.header_bytes)

    def weights(self, f: Function, turns: Sequence[Value], block: int) -> Iterator[list[Value]]:
        """For each group of 4 elements of a block the vectors of columns, of all panels."""
        offset = self.rhs.scale_bytes + block * self.rhs.block_bytes
        at = [f.offset(turn, offset) for turn in turns]
        return streaming_weights(f, at, self.rhs.vectors, self.vector_bytes, self.rhs.code.is_nibble)

    def value(self, f: Function, total: Value, panel: Value, v: int, d: Value, zero: Value) -> Value:
        """A vector of a row at the end of K, of vector `v` of a panel: int32 sums, or f32 with a scale a group."""
        d, header = f.splat(d, FLOATS), self.vector_bytes * v
        scales = f.load(FLOATS, panel, header, align=4)
        if self.rhs.code.group is not None:
            point = f.splat(f.cast("sitofp", f.const(I32, 0) - zero, F32), FLOATS)
            return f.clamp(d * f.fma(point, scales, total), f["lo"], f["hi"])
        sums = f.load(INTS, panel, self.rhs.sum_offset + header, align=4)
        total = f.cast("sitofp", total - f.splat(zero, INTS) * sums, FLOATS)
        return f.clamp(total * (d * scales), f["lo"], f["hi"])


@dataclass(frozen=True, slots=True)
class RowMopa(_StreamingRowKernel):
    """A GEMM of one vector of rows x one panel."""

    @property
    def first_tile(self) -> int:
        """Of what a panel's columns end in."""
        return SUMS if self.rhs.code.group is None else ACCUMULATORS

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.rhs.lanes)
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            rows = f.variable(f["lhs"])
            with f.loop(0, f["m"], self.lhs.mr) as m0:
                zero_tiles(f, [self.first_tile + v for v in range(self.rhs.vectors)])
                with f.loop(0, self.num_turns(f)) as index:
                    array.refresh()
                    lhs = self.lhs_turn(f, rows.get(), index)
                    self._turn(f, array, lhs, self.rhs_turn(f, panel.get(), index))
                self._store(f, rows.get(), panel.get(), m0, n0)
                rows.set(f.offset(rows.get(), self.lhs_panel_bytes(f)))
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes(f)))
        f.ret()
        return f.text()

    def _turn(self, f: Function, array: ArrayIndices, lhs: Value, turn: Value) -> None:
        grouped = self.rhs.code.group is not None
        if grouped:
            zero_tiles(f, [SUMS + v for v in range(self.rhs.vectors)])
        for block in range(self.blocks_in_turn):
            at = block * self.lhs.block_bytes + self.lhs.quants_offset
            rows = [v for i in (0, AT_ONCE) for v in load_four(f, lhs, at + self.vector_bytes * i)]
            for operand, columns in zip(rows, self.weights(f, [turn], block), strict=True):
                for v, column in enumerate(columns):
                    add_outer_bytes(f, SUMS + v, operand, column)
        if not grouped:
            return
        scales = paired_halves(f, turn, 0)
        for v in range(self.rhs.vectors):
            for row in range(self.rhs.lanes // 4):
                sums = to_floats(f, read_four(f, INTS, array[4 * row + SUMS + v]))
                fma_four_by_one(f, array[4 * row + ACCUMULATORS + v], sums, scales[v])

    def _store(self, f: Function, rows: Value, panel: Value, m0: Value, n0: Value) -> None:
        left = f["n"] - n0
        lanes = [first_lanes(f, left - self.rhs.lanes * v) for v in range(self.rhs.vectors)]
        height = f.call("llvm.smin.i64", I64, f["m"] - m0, f.const(I64, self.lhs.mr))
        out = f.variable(f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2)))
        with f.loop(0, height) as row:
            at = row << 2
            d = f.load(F32, rows, at, align=4)
            zero = f.load(I32, rows, at + self.lhs.zero_offset, align=4)
            for v in range(self.rhs.vectors):
                total = tile_row(f, self.first_tile + v, row, INTS if self.rhs.code.group is None else FLOATS)
                value = self.value(f, total, panel, v, d, zero)
                store_lanes(f, value, f.offset(out.get(), self.vector_bytes * v), lanes[v])
            out.set(f.offset(out.get(), f["dst_stride"]))


@dataclass(frozen=True, slots=True)
class RowStreamingGemv(_StreamingRowKernel):
    """m = 1: four vectors of columns a turn; where they are two panels, a last one is computed twice, stored once."""

    @property
    def panels(self) -> int:
        return AT_ONCE // self.rhs.vectors

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.rhs.lanes)
        panel_bytes = self.rhs_panel_bytes(f)
        panel = f.variable(f["rhs"])
        grouped = self.rhs.code.group is not None
        with f.loop(0, f["n"], self.panels * self.rhs.nr) as n0:
            left = f["n"] - n0
            panels = [panel.get()]
            if self.panels > 1:
                has_both = f.compare("sgt", left, self.rhs.nr)
                panels.append(f.offset(panels[0], f.select(has_both, panel_bytes, f.const(I64, 0))))
            zero_tiles(f, [ACCUMULATORS if grouped else SUMS])
            with f.loop(0, self.num_turns(f)) as index:
                array.refresh()
                if grouped:
                    zero_tiles(f, [SUMS])
                turns = [self.rhs_turn(f, each, index) for each in panels]
                self._turn(f, array, self.lhs_turn(f, f["lhs"], index), turns)
            d, zero = f.load(F32, f["lhs"], align=4), f.load(I32, f["lhs"], self.lhs.zero_offset, align=4)
            totals = read_four(f, FLOATS if grouped else INTS, array[ACCUMULATORS if grouped else SUMS])
            for v, total in enumerate(totals):
                first = self.rhs.lanes * v
                value = self.value(f, total, panels[v // self.rhs.vectors], v % self.rhs.vectors, d, zero)
                store_lanes(f, value, f.offset(f["dst"], (n0 + first) << 2), first_lanes(f, left - first))
            panel.set(f.offset(panel.get(), panel_bytes * self.panels))
        f.ret()
        return f.text()

    def _turn(self, f: Function, array: ArrayIndices, lhs: Value, turns: list[Value]) -> None:
        for block in range(self.blocks_in_turn):
            at = block * self.lhs.block_bytes + self.lhs.quants_offset
            row = [load_repeated(f, BYTES, lhs, at + 16 * half) for half in range(2)]
            for g, columns in enumerate(self.weights(f, turns, block)):
                dot_four_by_lane(f, array[SUMS], columns, row[g // 4], g % 4)
        if self.rhs.code.group is not None:
            scales = [scale for turn in turns for scale in paired_halves(f, turn, 0)]
            fma_four(f, array[ACCUMULATORS], to_floats(f, read_four(f, INTS, array[SUMS])), scales)


def streaming_variants(code: RowCode) -> list[MatmulVariant]:
    """GEMM and GEMV for each streaming vector length. Rows are packed outside streaming mode, by NEON code."""
    made = []
    for rung in SME2:
        assert rung.streaming_bits
        rhs = StreamingRowRhs(code, rung.streaming_bits // 32)
        lhs, row = Qai8dx(rhs.lanes, 4, has_bias=False), Qai8dx(1, 4, has_bias=False)
        name = row_name(lhs, rhs, rhs.lanes, rhs.nr, "sme2", "mopa")
        gemm = RowMopa(name, lhs, rhs, rung.attributes)
        made.append(MatmulVariant(name, rung, lhs, rhs, pack_variant(lhs, NEON), gemm.emit))
        name = row_name(row, rhs, 1, AT_ONCE * rhs.lanes, "sme2", "sdot")
        gemv = RowStreamingGemv(name, row, rhs, rung.attributes)
        made.append(MatmulVariant(name, rung, row, rhs, pack_variant(row, NEON), gemv.emit))
    return made
