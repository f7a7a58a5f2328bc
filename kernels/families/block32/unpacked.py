"""The lane tile for registers that are few: weights are unpacked to bytes once, in L1, for all rows of the portion.

    for each pair of panels, for each stretch of K:
      scratch = groups of both panels as bytes, scales and minima as f32         what leaves an L1 room for LHS
      for each few rows: the tile of kernels.families.block32.lanes, its operands read from scratch

On AVX2 unpacking takes vector operations and registers that 3 x 16 accumulators need: a load from L1 is cheaper. On
AVX512 a broadcast of the LHS that two panels share halves the loads, which else are as many as the dot products.
Between stretches the accumulators rest in dst, in f32 as they are, so the bits are those of the other tiles. Portions
of few rows, and a last single panel, go to the lane tile. Sums are pinned in the order written: left alone, LLVM
computes column by column and spills what the columns share (204 Gop/s a core instead of 161; Q4_0, Zen 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kernels.families.block32.lanes import GROUPS, LaneEmission, LaneTile
from kernels.jit.ir import F32, I8, I32, I64, Value, Variable, vector

PANELS = 2
# Of a stretch. With the rows of a tile and of the next, 9 KiB of Q4_0's, it fits an L1 of 32 KiB.
SCRATCH_BYTES = 18 << 10


@dataclass(frozen=True, slots=True)
class UnpackedTile:
    """A GEMM of `rows` x 2 panels beside `few`, the lane tile of the same layouts, which takes up to `few_rows`."""

    few: LaneTile
    rows: int
    few_rows: int

    def emit(self) -> str:
        lanes = LaneEmission.begin(self.few)
        f = lanes.f
        first = f.variable(f.const(I64, 0))
        with f.when(f.compare("sgt", f["m"], self.few_rows)):
            pairs = _PairEmission(lanes, self.rows)
            pairs.emit()
            first.set(f["n"] - f.remainder(f["n"], pairs.width))
        lanes.columns_from(first.get())
        f.ret()
        return f.text()


class _PairEmission:
    """The part for many rows and whole pairs of panels."""

    def __init__(self, lanes: LaneEmission, rows: int) -> None:
        self.rows = rows
        self.lanes, self.f, self.isa = lanes, lanes.f, lanes.tile.isa
        self.lhs, self.rhs = lanes.tile.lhs, lanes.tile.rhs
        self.floats = vector(self.isa.lanes, F32)
        self.vector_bytes = 4 * self.isa.lanes
        self.width = PANELS * self.rhs.nr
        self.scale_offset = GROUPS * PANELS * self.vector_bytes
        self.min_offset = self.scale_offset + PANELS * self.vector_bytes
        self.block_bytes = self.min_offset + (PANELS * self.vector_bytes if self.rhs.code.has_min else 0)
        self.max_blocks = SCRATCH_BYTES // self.block_bytes
        self.scratch = self.f.stack(self.max_blocks * self.block_bytes)
        self.registers = "v" if self.isa.lanes == 16 else "x"  # x stops at 16

    def emit(self) -> None:
        f, lanes = self.f, self.lanes
        num_blocks = lanes.num_blocks
        num_stretches = f.divide_up(num_blocks, self.max_blocks)
        stretch = f.variable(f.divide_up(num_blocks, num_stretches))
        with f.loop(0, f["n"] - (self.width - 1), self.width) as n0:
            panels = f.offset(f["rhs"], f.divide_exactly(n0, self.rhs.nr) * lanes.rhs_panel_bytes)
            with f.loop(0, num_stretches) as index:
                start = index * stretch.get()
                count = f.call("llvm.smin.i64", I64, num_blocks - start, stretch.get())
                self._unpack(f.offset(panels, start * self.rhs.block_bytes), count)
                self._rows(n0, start, count)

    def _unpack(self, panels: Value, count: Value) -> None:
        f, lanes = self.f, self.lanes
        with f.loop(0, count) as index:
            into = f.offset(self.scratch, index * self.block_bytes)
            for p in range(PANELS):
                block = f.offset(f.offset(panels, lanes.rhs_panel_bytes * p), index * self.rhs.block_bytes)
                next_pair = f.offset(block, lanes.rhs_panel_bytes * PANELS)
                f.prefetch_lines(next_pair, self.rhs.block_bytes, locality=2)
                column = lanes.column(block, 0)
                for g, weights in enumerate(column.groups):
                    f.store(weights, into, (g * PANELS + p) * self.vector_bytes)
                f.store(column.scale, into, self.scale_offset + p * self.vector_bytes)
                if column.minimum is not None:
                    f.store(column.minimum, into, self.min_offset + p * self.vector_bytes)

    def _rows(self, n0: Value, start: Value, count: Value) -> None:
        f = self.f
        is_first = f.compare("eq", start, 0)
        is_last = f.compare("eq", start + count, self.lanes.num_blocks)
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        hi = f.select(is_last, f["hi"], f.const(F32, float("inf")))
        rest = f.remainder(f["m"], self.rows)
        full = f["m"] - rest
        with f.loop(0, full, self.rows) as m0:
            self._tile(m0, n0, start, count, self.rows, is_first, lo, hi)
        for few in range(1, self.rows):
            with f.when(f.compare("eq", rest, few)):
                self._tile(full, n0, start, count, few, is_first, lo, hi)

    def _tile(
        self, m0: Value, n0: Value, start: Value, count: Value, rows: int, is_first: Value, lo: Value, hi: Value
    ) -> None:
        f, lanes = self.f, self.lanes
        lhs = f.offset(f["lhs"], m0 * lanes.lhs_panel_bytes + start * self.lhs.block_bytes)
        lhs_rows = [f.offset(lhs, lanes.lhs_panel_bytes * r) for r in range(rows)]
        out = f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2))
        outs = [f.offset(out, f["dst_stride"] * r) for r in range(rows)]
        zero = f.zero(self.floats)
        acc = [
            [
                f.variable(f.select(is_first, zero, f.load(self.floats, at, self.vector_bytes * p, align=4)))
                for p in range(PANELS)
            ]
            for at in outs
        ]
        with f.loop(0, count) as index:
            block = f.offset(self.scratch, index * self.block_bytes)
            at = index * self.lhs.block_bytes
            if rows == self.rows:
                self._prefetch_next(lhs_rows, at)
            self._block([f.offset(row, at) for row in lhs_rows], block, acc)
        # A macro-kernel asks for no clamp, and between stretches there is none: 24 operations saved.
        is_open = f.both(self._is(lo, -math.inf), self._is(hi, math.inf))
        with f.when(f.compare("eq", is_open, 0)):
            for one in (one for row in acc for one in row):
                one.set(f.clamp(one.get(), lo, hi))
        for at, row in zip(outs, acc, strict=True):
            for p in range(PANELS):
                f.store(row[p].get(), at, self.vector_bytes * p, align=4)

    def _is(self, bound: Value, number: float) -> Value:
        return self.f.compare("oeq", bound, self.f.const(F32, number))

    def _prefetch_next(self, rows: list[Value], at: Value) -> None:
        """The same block of the next tile's rows, which lie in L2: stretches are too short to be seen as streams."""
        for row in rows:
            self.f.prefetch(self.f.offset(row, self.lanes.lhs_panel_bytes * len(rows)), at)

    def _block(self, rows: list[Value], block: Value, acc: list[list[Variable]]) -> None:
        f, isa, code = self.f, self.isa, self.rhs.code
        sums = []
        for row in rows:
            bias = isa.spread(f, I32, row, self.lhs.scalars_bytes, 1)[0] if self.rhs.needs_bias else None
            sums.append([isa.start(f, code, bias)] * PANELS)
        bytes_ = vector(self.vector_bytes, I8)
        for g in range(GROUPS):
            weights = [f.load(bytes_, block, (g * PANELS + p) * self.vector_bytes, align=32) for p in range(PANELS)]
            for r, row in enumerate(rows):
                lhs_group = isa.spread(f, I32, row, self.lhs.group_offset(g), 1)[0]
                sums[r] = [
                    f.pinned(isa.dot(f, code, sums[r][p], weights[p], lhs_group), self.registers) for p in range(PANELS)
                ]
                if g == GROUPS - 1:
                    self._finish(row, block, sums[r], acc[r])

    def _finish(self, row: Value, block: Value, sums: list[Value], acc: list[Variable]) -> None:
        """Of one row, beside the last dot products of the others."""
        f, isa, code = self.f, self.isa, self.rhs.code
        d = isa.spread(f, F32, row, 0, 1)[0]
        dsum = isa.spread(f, F32, row, 2 * self.lhs.scalars_bytes, 1)[0] if code.has_min else None
        for p in range(PANELS):
            scale = f.load(self.floats, block, self.scale_offset + p * self.vector_bytes, align=32)
            value = f.fma(isa.finish(f, code, sums[p]), d * scale, acc[p].get())
            if dsum is not None:
                minimum = f.load(self.floats, block, self.min_offset + p * self.vector_bytes, align=32)
                value = f.fma(minimum, dsum, value)
            acc[p].set(value)
