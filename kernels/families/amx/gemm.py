"""The GEMM of tile registers: integer sums by tiles, the float steps by vectors. Knows no weight format.

    for each panel, for each stretch of K:
      scratch = records: a block's operands as signed bytes, scales and minima as f32      in L1
      for each 16 rows: accumulators in 16 vector registers
        for each block of 32 along K:
          sums = LHS tile x operand tile               int32[16 rows, 16 columns], through an L1 buffer
          acc  = the records' float steps, row by row

Lines of dst, one a row, are asked for before the tile's products: rows are far apart, so no hardware foresees them, and
without it some GEMMs took a third longer. Tiles and vectors meet in memory only: while a block is scaled, the two or
three after it are on their way, be they the next rows'. Between stretches the accumulators rest in dst, in f32 as they
are: the bits are those of the other rungs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, Pipeline, Records
from kernels.jit.ir import F32, I64, PTR, Function, Value
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.masked import FLOATS, first_lanes, load_lanes, store_lanes
from kernels.jit.tiles import TILE_ROWS, release
from kernels.naming import MatmulName

STRETCH = 32  # blocks: whole super-blocks, 18 to 26 KB of records
SHORT_STRETCH = 16  # for few rows and many blocks: weights, records and the LHS are in L1 together
FEW_ROWS, MANY_BLOCKS = 64, 24
HEIGHTS = (4, 8, TILE_ROWS)  # rows that are scaled; a tile's other rows cost nothing more


@dataclass(frozen=True, slots=True)
class AmxGemm:
    """A matmul micro-kernel of 16 rows x 1 panel. `few`: writes all columns for m <= few_rows, without tiles.

    prefetch_bytes: how far ahead of its loads it asks for weights: few rows are multiplied sooner than memory answers.
    """

    name: MatmulName
    records: Records
    few: Callable[[Function], None]
    few_rows: int
    features: str
    prefetch_bytes: int

    def emit(self) -> str:
        return self.emission().text()

    def emission(self) -> TileEmission:
        return TileEmission(self)


class TileEmission:
    def __init__(self, tile: AmxGemm) -> None:
        arguments = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
        arguments += [("dst_stride", I64), ("lo", F32), ("hi", F32)]
        # As written: LLVM's scheduler would convert and scale all rows before it adds one, and spill half of them.
        f = Function(str(tile.name), arguments, tile.features, attributes=(AS_WRITTEN,))
        self.f, self.records, self.tile = f, tile.records, tile
        self.num_blocks = f["k"] >> 5
        self.rhs_panel_bytes = self.records.panel_bytes(self.num_blocks)
        self.lhs_panel_bytes = self.records.lhs.emit_panel_bytes(self.num_blocks)
        is_short = f.both(f.compare("slt", f["m"], FEW_ROWS), f.compare("sgt", self.num_blocks, MANY_BLOCKS))
        self.stretch = f.select(is_short, f.const(I64, SHORT_STRETCH), f.const(I64, STRETCH))
        self.scratch = f.stack(STRETCH * self.records.record_bytes)

    def text(self) -> str:
        f = self.f
        with f.when(f.compare("sle", f["m"], self.tile.few_rows)):
            self.tile.few(f)
        with f.when(f.compare("sgt", f["m"], self.tile.few_rows)):
            self._tiles()
        f.ret()
        return f.text()

    def _tiles(self) -> None:
        f = self.f
        pipeline = Pipeline(f, self.records)
        with f.loop(0, f["n"], COLUMNS) as n0:
            panel = f.offset(f["rhs"], f.divide_exactly(n0, COLUMNS) * self.rhs_panel_bytes)
            with f.loop(0, self.num_blocks, self.stretch) as start:
                stretch = self._stretch(panel, start)
                ahead = Ahead(stretch)
                pipeline.fill(ahead.take)
                with f.loop(0, f["m"], TILE_ROWS) as m0:
                    self._rows(m0, n0, stretch, ahead, pipeline)
        release(f)

    def _stretch(self, panel: Value, start: Value) -> Stretch:
        return Stretch(self, panel, start)

    def _rows(self, m0: Value, n0: Value, stretch: Stretch, ahead: Ahead, pipeline: Pipeline) -> None:
        """The code for the least height that holds the rows that are left."""
        f, left = self.f, self.f["m"] - m0
        for below, height in zip((0, *HEIGHTS), HEIGHTS, strict=False):
            fits = f.compare("sgt", left, below)
            if height < TILE_ROWS:
                fits = f.both(fits, f.compare("sle", left, height))
            with f.when(fits):
                self._tile(m0, n0, stretch, ahead, pipeline, height)

    def _tile(self, m0: Value, n0: Value, stretch: Stretch, ahead: Ahead, pipeline: Pipeline, height: int) -> None:
        f = self.f
        lhs = stretch.lhs(m0)
        outs = self._row_addresses(m0, n0, height)
        for out in outs:
            f.prefetch(out, locality=2)
        lanes = first_lanes(f, f["n"] - n0)
        acc = [f.variable(f.zero(FLOATS)) for _ in outs]
        with f.when(f.compare("ne", stretch.start, 0)):
            for variable, out in zip(acc, outs, strict=True):
                variable.set(load_lanes(f, out, lanes))
        with f.loop(0, stretch.count) as index:
            block = f.offset(lhs, self.records.lhs.emit_block_offset(index))
            pipeline.turn(ahead.take(), block, stretch.record(index), acc)
        lo, hi = self._bounds(f.compare("eq", stretch.start + stretch.count, self.num_blocks))
        # From the last row up: rows that are not there share the address of the last one, which is then written last.
        for variable, out in reversed(list(zip(acc, outs, strict=True))):
            store_lanes(f, f.clamp(variable.get(), lo, hi), out, lanes)

    def _bounds(self, is_last: Value) -> tuple[Value, Value]:
        """What clamps nothing before the end of K."""
        f = self.f
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        return lo, f.select(is_last, f["hi"], f.const(F32, float("inf")))

    def _row_addresses(self, m0: Value, n0: Value, height: int) -> list[Value]:
        f = self.f
        last = f["m"] - 1
        rows = [f.call("llvm.smin.i64", I64, m0 + r, last) for r in range(height)]
        first = f.offset(f["dst"], n0 << 2)
        return [f.offset(first, row * f["dst_stride"]) for row in rows]


class Stretch:
    """Some blocks of a panel's K, unpacked for all rows: where their records and those of the LHS lie."""

    def __init__(self, emission: TileEmission, panel: Value, start: Value) -> None:
        self.emission, self.start = emission, start
        f = emission.f
        self.count = f.call("llvm.smin.i64", I64, emission.num_blocks - start, emission.stretch)
        with f.loop(0, self.count) as index:
            self._unpack(panel, index)

    def _unpack(self, panel: Value, index: Value) -> None:
        f, records, at = self.emission.f, self.emission.records, self.start + index
        ahead = f.offset(panel, at * records.block_bytes)
        f.prefetch_lines(f.offset(ahead, self.emission.tile.prefetch_bytes), records.block_bytes, locality=2)
        records.unpack(f, panel, at, self.record(index))

    def record(self, index: Value) -> Value:
        emission = self.emission
        return emission.f.offset(emission.scratch, index * emission.records.record_bytes)

    def lhs(self, m0: Value) -> Value:
        """Where the stretch begins in the rows' panel."""
        emission = self.emission
        panel = emission.f.divide_exactly(m0, TILE_ROWS) * emission.lhs_panel_bytes
        return emission.f.offset(emission.f["lhs"], panel + emission.records.lhs.emit_panel_bytes(self.start))


class Ahead:
    """Where the next block lies that tiles are to load: walks rows and K as the scaling does."""

    def __init__(self, stretch: Stretch) -> None:
        self.stretch, self.f = stretch, stretch.emission.f
        f = self.f
        self._last_rows = stretch.lhs((f["m"] - 1) & -TILE_ROWS)
        self._rows = f.variable(stretch.lhs(f.const(I64, 0)))
        self._index = f.variable(f.const(I64, 0))

    def take(self) -> tuple[Value, Value]:
        """(block of the LHS, record); past the last rows, those again."""
        f, index, records = self.f, self._index.get(), self.stretch.emission.records
        block = f.offset(self._rows.get(), records.lhs.emit_block_offset(index))
        self._index.set(index + 1)
        with f.when(f.compare("eq", index + 1, self.stretch.count)):
            self._next_rows()
        return block, self.stretch.record(index)

    def _next_rows(self) -> None:
        f, stretch = self.f, self.stretch
        is_last = f.compare("eq", self._rows.get(), self._last_rows)
        below = f.offset(self._rows.get(), stretch.emission.lhs_panel_bytes)
        self._rows.set(f.select(is_last, self._rows.get(), below))
        self._index.set(f.const(I64, 0))
