"""GEMM and GEMV of SME2, for one streaming vector length: outer products, and dot products of one row.

    GEMM, 1 x 2 vectors, per block of 32 and vector of columns:
      tile 0 = 8 outer products of bytes                 int32[rows, columns]
      tile 1 = outer product of d_lhs and d_rhs          f32, each product rounded once
      tile 2 + v = fma(f32(tile 0), tile 1, tile 2 + v)  by groups of four rows
      tile 2 + v += outer product of dsum_lhs and m_rhs  asymmetric weights only

The f32 accumulators never leave ZA before the last block. GEMV: two panels a turn, sums in four rows of tile 0,
accumulators in four rows of tile 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.sme2_layout import VECTORS, StreamingRhs
from kernels.jit.ir import F32, I64, PTR, Function, Value
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.scalable import first_lanes, load_repeated, store_lanes
from kernels.jit.streaming import (
    BYTES,
    FLOATS,
    INTS,
    ArrayIndices,
    add_outer_bytes,
    add_outer_floats,
    dot_four_by_lane,
    fma_four,
    fma_four_by_one,
    load_four,
    look_up,
    paired_halves,
    read_four,
    set_table,
    streaming_attributes,
    tile_row,
    to_floats,
    zero_tiles,
)
from kernels.naming import MatmulName

GROUPS = 8  # of 4 elements in a block of 32
ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
SUMS, SCALES, ACCUMULATORS = 0, 1, 2  # tiles


@dataclass(frozen=True, slots=True)
class _StreamingKernel:
    name: MatmulName
    lhs: Qsi8d32
    rhs: StreamingRhs
    features: str

    @property
    def lanes(self) -> int:
        """32-bit elements of a vector."""
        return self.rhs.nr // VECTORS

    def begin(self) -> Function:
        attributes = (*streaming_attributes(32 * self.lanes), AS_WRITTEN)
        arguments = [*ARGUMENTS, ("dst_stride", I64), ("lo", F32), ("hi", F32)]
        f = Function(str(self.name), arguments, self.features, attributes=attributes)
        if self.rhs.code.is_nibble:
            offset = 0 if self.rhs.code.has_min else 8
            set_table(f, [code - offset for code in range(16)])
        return f

    def weights(self, f: Function, blocks: Sequence[Value]) -> Iterator[list[Value]]:
        """For each group of 4 elements the vectors of columns, of all blocks; loaded late, for the registers' sake."""
        vector_bytes, groups = 4 * self.lanes, 4 if self.rhs.code.is_nibble else 4 // VECTORS
        for start in range(0, GROUPS // groups):
            at = self.rhs.quants_offset + 4 * vector_bytes * start
            loaded = [load_four(f, block, at) for block in blocks]
            for g in range(groups):
                if self.rhs.code.is_nibble:
                    yield [v for four in loaded for v in look_up(f, four[g])]
                else:
                    yield [v for four in loaded for v in four[VECTORS * g : VECTORS * (g + 1)]]

    def scales(self, f: Function, block: Value) -> list[Value]:
        return paired_halves(f, block, 0)

    def mins(self, f: Function, block: Value) -> list[Value]:
        return paired_halves(f, block, self.rhs.min_offset) if self.rhs.code.has_min else []


@dataclass(frozen=True, slots=True)
class MopaTile(_StreamingKernel):
    """A GEMM of one vector of rows x one panel."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        num_blocks = f["k"] >> 5
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            rows = f.variable(f["lhs"])
            with f.loop(0, f["m"], self.lhs.mr) as m0:
                zero_tiles(f, [ACCUMULATORS + v for v in range(VECTORS)])
                with f.loop(0, num_blocks) as index:
                    array.refresh()
                    block = f.offset(panel.get(), index * self.rhs.block_bytes)
                    self._block(f, array, f.offset(rows.get(), index * self.lhs.block_bytes), block)
                self._store(f, m0, n0)
                rows.set(f.offset(rows.get(), num_blocks * self.lhs.block_bytes))
            panel.set(f.offset(panel.get(), num_blocks * self.rhs.block_bytes))
        f.ret()
        return f.text()

    def _block(self, f: Function, array: ArrayIndices, lhs: Value, rhs: Value) -> None:
        vector_bytes = 4 * self.lanes
        rows = [v for i in (0, 4) for v in load_four(f, lhs, self.lhs.quants_offset + vector_bytes * i)]
        d, scales, mins = f.load(FLOATS, lhs), self.scales(f, rhs), self.mins(f, rhs)
        weights = self.weights(f, [rhs])
        for v in range(VECTORS):
            zero_tiles(f, [SUMS, SCALES])
            add_outer_floats(f, SCALES, d, scales[v])
            kept = []
            for operand, columns in zip(rows, weights, strict=True):  # v = 0 unpacks, v = 1 takes what is left
                add_outer_bytes(f, SUMS, operand, columns[0])
                kept.append(columns[1:])
            weights = iter(kept)
            for row in range(self.lanes // 4):
                sums = to_floats(f, read_four(f, INTS, array[4 * row + SUMS]))
                fma_four(f, array[4 * row + ACCUMULATORS + v], sums, read_four(f, FLOATS, array[4 * row + SCALES]))
            if mins:
                dsum = f.load(FLOATS, lhs, 2 * self.lhs.scalars_bytes)
                add_outer_floats(f, ACCUMULATORS + v, dsum, mins[v])

    def _store(self, f: Function, m0: Value, n0: Value) -> None:
        left = f["n"] - n0
        lanes = [first_lanes(f, left - self.lanes * v) for v in range(VECTORS)]
        height = f.call("llvm.smin.i64", I64, f["m"] - m0, f.const(I64, self.lhs.mr))
        out = f.variable(f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2)))
        with f.loop(0, height) as row:
            for v in range(VECTORS):
                value = f.clamp(tile_row(f, ACCUMULATORS + v, row), f["lo"], f["hi"])
                store_lanes(f, value, f.offset(out.get(), 4 * self.lanes * v), lanes[v])
            out.set(f.offset(out.get(), f["dst_stride"]))


@dataclass(frozen=True, slots=True)
class StreamingGemv(_StreamingKernel):
    """m = 1: two panels a turn; a last single panel is computed twice and stored once."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        num_blocks = f["k"] >> 5
        panel_bytes = num_blocks * self.rhs.block_bytes
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], 2 * self.rhs.nr) as n0:
            left = f["n"] - n0
            has_both = f.compare("sgt", left, self.rhs.nr)
            second = f.offset(panel.get(), f.select(has_both, panel_bytes, f.const(I64, 0)))
            zero_tiles(f, [ACCUMULATORS])
            with f.loop(0, num_blocks) as index:
                array.refresh()
                at = index * self.rhs.block_bytes
                zero_tiles(f, [SUMS])  # whose rows a group is that begins at the tile's first
                blocks = [f.offset(panel.get(), at), f.offset(second, at)]
                self._block(f, array, f.offset(f["lhs"], index * self.lhs.block_bytes), blocks)
            for v, value in enumerate(read_four(f, FLOATS, array[ACCUMULATORS])):
                first = self.lanes * v
                out = f.offset(f["dst"], (n0 + first) << 2)
                store_lanes(f, f.clamp(value, f["lo"], f["hi"]), out, first_lanes(f, left - first))
            panel.set(f.offset(panel.get(), panel_bytes * 2))
        f.ret()
        return f.text()

    def _block(self, f: Function, array: ArrayIndices, lhs: Value, blocks: list[Value]) -> None:
        row = [load_repeated(f, BYTES, lhs, self.lhs.quants_offset + 16 * half) for half in range(2)]
        for g, columns in enumerate(self.weights(f, blocks)):
            dot_four_by_lane(f, array[SUMS], columns, row[g // 4], g % 4)
        d = f.splat(f.load(F32, lhs, align=4), FLOATS)
        products = [d * scale for block in blocks for scale in self.scales(f, block)]
        fma_four(f, array[ACCUMULATORS], to_floats(f, read_four(f, INTS, array[SUMS])), products)
        mins = [minimum for block in blocks for minimum in self.mins(f, block)]
        if mins:
            dsum = f.splat(f.load(F32, lhs, 2 * self.lhs.scalars_bytes, align=4), FLOATS)
            fma_four_by_one(f, array[ACCUMULATORS], mins, dsum)
