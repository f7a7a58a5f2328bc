"""The GEMM of tile registers for super-blocks: sums stay integers for 256 of K, accumulators rest in dst.

    for each panel, for each stretch of K: scratch = records of its blocks, and what those of a super-block share
      for each 16 rows, for each super-block: i32 sums in 16 vector registers over 8 turns of the pipeline
        dst = their float steps on what rests there

Rows that are not there have a place of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.gemm import STRETCH, Ahead, AmxGemm, Stretch, TileEmission
from kernels.families.amx.pipeline import Pipeline, RowScalars
from kernels.families.amx.supers import SuperRecords
from kernels.jit.ir import I64, Value
from kernels.jit.masked import INTS, first_lanes, load_lanes, store_lanes
from kernels.jit.tiles import ROW_BYTES
from kernels.quant.super_blocks import SUB_BLOCKS


@dataclass(frozen=True, slots=True)
class AmxSuperGemm(AmxGemm):
    def emission(self) -> TileEmission:
        return _SuperEmission(self)


class _SuperEmission(TileEmission):
    def __init__(self, tile: AmxGemm) -> None:
        super().__init__(tile)
        assert isinstance(tile.records, SuperRecords)
        self.supers = tile.records
        self.shared = self.f.stack(STRETCH // SUB_BLOCKS * self.supers.super_bytes)
        self.spare = self.f.stack(ROW_BYTES)  # where rows go that are not there

    def _stretch(self, panel: Value, start: Value) -> Stretch:
        f, stretch = self.f, super()._stretch(panel, start)
        first = f.offset(panel, self.supers.panel_bytes(start))
        with f.loop(0, stretch.count >> 3) as index:
            header = f.offset(first, index * self.supers.rhs.super_bytes)
            self.supers.unpack_super(f, header, self._shared_at(index))
        return stretch

    def _shared_at(self, index: Value) -> Value:
        return self.f.offset(self.shared, index * self.supers.super_bytes)

    def _tile(self, m0: Value, n0: Value, stretch: Stretch, ahead: Ahead, pipeline: Pipeline, height: int) -> None:
        f, records = self.f, self.supers
        outs = self._row_addresses(m0, n0, height)
        for out in outs:
            f.prefetch(out, locality=2)
        lhs, left = stretch.lhs(m0), f["n"] - n0
        with f.loop(0, stretch.count >> 3) as index:
            header = f.offset(lhs, index * records.lhs.super_bytes)
            acc = [f.variable(f.zero(INTS)) for _ in outs]
            with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
                block = f.offset(f.offset(header, records.lhs.header_bytes), b * records.lhs.block_bytes)
                pipeline.turn(ahead.take(), block, stretch.record((index << 3) + b), acc)
            at = stretch.start + (index << 3)
            rest = first_lanes(f, f.select(f.compare("eq", at, 0), f.const(I64, 0), left))
            is_last = f.compare("eq", at + SUB_BLOCKS, self.num_blocks)
            lo, hi = self._bounds(is_last)
            lanes = first_lanes(f, left)
            for r, (variable, out) in enumerate(zip(acc, outs, strict=True)):
                row = RowScalars(f, header, r)
                value = records.finished(f, variable.get(), row, self._shared_at(index), load_lanes(f, out, rest))
                store_lanes(f, f.clamp(value, lo, hi), out, lanes)

    def _row_addresses(self, m0: Value, n0: Value, height: int) -> list[Value]:
        f = self.f
        first = f.offset(f["dst"], n0 << 2)
        made = []
        for r in range(height):
            there = f.offset(first, (m0 + r) * f["dst_stride"])
            made.append(f.select(f.compare("slt", m0 + r, f["m"]), there, self.spare))
        return made
