"""GEMM and GEMV of SME2, for one streaming vector length: outer products, and dot products of one row.

    GEMM, 1 x 2 vectors, per block of 32 and vector of columns:
      tile 0 = 8 outer products of bytes                 int32[rows, columns]
      tile 1 = outer product of d_lhs and d_rhs          f32, each product rounded once
      tile 2 + v = fma(f32(tile 0), tile 1, tile 2 + v)  by groups of four rows
      tile 2 + v += outer product of dsum_lhs and m_rhs  asymmetric weights only

The f32 accumulators never leave ZA before the last block. GEMV: two times two panels a turn, sums in four rows of
tiles 0 and 1, accumulators in four rows of tiles 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.sme2_layout import VECTORS, StreamingRhs
from kernels.families.block32.sme2_weights import set_nibbles, streaming_weights
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
    paired_halves,
    read_four,
    streaming_attributes,
    tile_row,
    to_floats,
    zero_tiles,
)
from kernels.naming import MatmulName

ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
SUMS, SCALES, ACCUMULATORS = 0, 1, 2  # tiles; the GEMV has two of the first and of the last
GEMV_PANELS = 4


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
            set_nibbles(f, 0 if self.rhs.code.has_min else 8)
        return f

    def weights(self, f: Function, blocks: Sequence[Value]) -> Iterator[list[Value]]:
        at = [f.offset(block, self.rhs.quants_offset) for block in blocks]
        return streaming_weights(f, at, VECTORS, 4 * self.lanes, self.rhs.code.is_nibble)

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
    """m = 1: four panels a turn, two at a time; those past the last are computed twice and stored once."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        num_blocks = f["k"] >> 5
        panel_bytes = num_blocks * self.rhs.block_bytes
        panel = f.variable(f["rhs"])
        pairs = range(GEMV_PANELS // VECTORS)
        with f.loop(0, f["n"], GEMV_PANELS * self.rhs.nr) as n0:
            left = f["n"] - n0
            panels = [panel.get()]
            for p in range(1, GEMV_PANELS):
                is_there = f.compare("sgt", left, p * self.rhs.nr)
                panels.append(f.offset(panel.get(), f.select(is_there, panel_bytes * p, f.const(I64, 0))))
            zero_tiles(f, [ACCUMULATORS + pair for pair in pairs])
            with f.loop(0, num_blocks) as index:
                array.refresh()
                zero_tiles(f, [SUMS + pair for pair in pairs])  # whose rows a group is that begins at the tile's first
                at = index * self.rhs.block_bytes
                lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
                row = [load_repeated(f, BYTES, lhs, self.lhs.quants_offset + 16 * half) for half in range(2)]
                for pair in pairs:
                    blocks = [f.offset(p, at) for p in panels[VECTORS * pair : VECTORS * (pair + 1)]]
                    self._block(f, array, lhs, row, blocks, pair)
            for pair in pairs:
                for v, value in enumerate(read_four(f, FLOATS, array[ACCUMULATORS + pair])):
                    first = self.lanes * (4 * pair + v)
                    out = f.offset(f["dst"], (n0 + first) << 2)
                    store_lanes(f, f.clamp(value, f["lo"], f["hi"]), out, first_lanes(f, left - first))
            panel.set(f.offset(panel.get(), panel_bytes * GEMV_PANELS))
        f.ret()
        return f.text()

    def _block(
        self, f: Function, array: ArrayIndices, lhs: Value, row: list[Value], blocks: list[Value], pair: int
    ) -> None:
        for g, columns in enumerate(self.weights(f, blocks)):
            dot_four_by_lane(f, array[SUMS + pair], columns, row[g // 4], g % 4)
        d = f.splat(f.load(F32, lhs, align=4), FLOATS)
        products = [d * scale for block in blocks for scale in self.scales(f, block)]
        fma_four(f, array[ACCUMULATORS + pair], to_floats(f, read_four(f, INTS, array[SUMS + pair])), products)
        mins = [minimum for block in blocks for minimum in self.mins(f, block)]
        if mins:
            dsum = f.splat(f.load(F32, lhs, 2 * self.lhs.scalars_bytes, align=4), FLOATS)
            fma_four_by_one(f, array[ACCUMULATORS + pair], mins, dsum)
