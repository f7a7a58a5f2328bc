"""The GEMM of tile registers: integer sums by tiles, the float steps by vectors. Knows no weight format.

    for each pair of panels, for each stretch of K:
      scratch = records: a block's operands as signed bytes, scales and minima as f32      what fits an L1
      for each 16 rows, for each panel: accumulators in 16 vector registers
        for each block of 32 along K:
          sums = LHS tile x operand tile               int32[16 rows, 16 columns], through an L1 buffer
          acc  = the records' float steps, row by row

Tiles and vectors meet in memory only, so the sums of the block after are on their way while those of this one are
scaled. Between stretches the accumulators rest in dst, in f32 as they are: the bits are those of the other rungs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.families.block32.lhs import Qsi8d32
from kernels.jit.ir import F32, I32, I64, PTR, VOID, Function, Value, Variable, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.tiles import (
    ROW_BYTES,
    TILE_ROWS,
    TileShape,
    add_byte_products,
    clear,
    configure,
    load_tile,
    release,
    store_tile,
)
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK

COLUMNS = 16
PANELS = 2
LHS = Qsi8d32(TILE_ROWS, BLOCK)
FLOATS, INTS = vector(COLUMNS, F32), vector(COLUMNS, I32)
SUMS_BYTES = TILE_ROWS * ROW_BYTES
SCRATCH_BYTES = 40 << 10
STRETCH_STEP = 8  # blocks: whole super-blocks
HEIGHTS = (4, 8, TILE_ROWS)  # rows that are scaled; a tile's other rows cost nothing more
SUMS, LEFT, RIGHT = (0, 1), (4, 5), (6, 7)  # tiles, by half of a block
DEPTH = 2  # buffers of sums


class Records(Protocol):
    """What a family makes of one block of a panel of 16 columns.

    halves: 2 where a block's halves are summed apart. record: | 8 x 64 B operands | f32 vectors, the family's own |
    """

    @property
    def halves(self) -> int: ...

    @property
    def record_bytes(self) -> int: ...

    @property
    def block_bytes(self) -> int:
        """Of a packed panel."""

    def panel_bytes(self, num_blocks: Value) -> Value: ...

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        """Writes the record of the panel's block `index`."""

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        """One row's float steps. sums: i32[16] of each half."""


@dataclass(frozen=True, slots=True)
class RowScalars:
    """The scalar fields of one row in a block of the LHS, each loaded where it is used."""

    f: Function
    block: Value
    row: int

    def field(self, index: int, element: str) -> Value:
        """In every lane."""
        at = index * LHS.scalars_bytes + 4 * self.row
        return self.f.splat(self.f.load(element, self.block, at, align=4), vector(COLUMNS, element))


@dataclass(frozen=True, slots=True)
class AmxGemm:
    """A matmul micro-kernel of 16 rows x 2 panels. `few`: writes all columns for m <= few_rows, without tiles."""

    name: MatmulName
    records: Records
    few: Callable[[Function], None]
    few_rows: int
    features: str

    def emit(self) -> str:
        return _Emission(self).text()


class _Emission:
    def __init__(self, tile: AmxGemm) -> None:
        arguments = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
        arguments += [("dst_stride", I64), ("lo", F32), ("hi", F32)]
        # As written: LLVM's scheduler would convert and scale all rows before it adds one, and spill half of them.
        f = Function(str(tile.name), arguments, tile.features, attributes=(AS_WRITTEN,))
        self.f, self.records, self.tile = f, tile.records, tile
        self.num_blocks = f["k"] >> 5
        self.rhs_panel_bytes = self.records.panel_bytes(self.num_blocks)
        self.lhs_panel_bytes = self.num_blocks * LHS.block_bytes
        per_block = PANELS * self.records.record_bytes
        self.stretch = SCRATCH_BYTES // per_block // STRETCH_STEP * STRETCH_STEP
        self.scratch = f.stack(self.stretch * per_block)
        self.sums_bytes = SUMS_BYTES * self.records.halves
        self.sums = f.stack(DEPTH * self.sums_bytes)

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
        emit_tile_shapes(f, self.records)
        with f.loop(0, f["n"], PANELS * COLUMNS) as n0:
            left_panels = f.divide_up(f["n"] - n0, COLUMNS)
            panels = f.call("llvm.smin.i64", I64, left_panels, f.const(I64, PANELS))
            first = f.offset(f["rhs"], f.divide_exactly(n0, COLUMNS) * self.rhs_panel_bytes)
            with f.loop(0, self.num_blocks, self.stretch) as start:
                count = f.call("llvm.smin.i64", I64, self.num_blocks - start, f.const(I64, self.stretch))
                with f.loop(0, panels) as p, f.loop(0, count) as index:
                    panel = f.offset(first, p * self.rhs_panel_bytes)
                    self._prefetch(f.offset(panel, self.rhs_panel_bytes * PANELS), start + index)
                    self.records.unpack(f, panel, start + index, self._record(p, index))
                with f.loop(0, f["m"], TILE_ROWS) as m0, f.loop(0, panels) as p:
                    self._rows(m0, n0 + p * COLUMNS, p, start, count)
        release(f)

    def _prefetch(self, panel: Value, index: Value) -> None:
        """A block of a panel that comes next: few rows are multiplied sooner than memory answers."""
        block_bytes = self.records.block_bytes
        self.f.prefetch_lines(self.f.offset(panel, index * block_bytes), block_bytes, locality=2)

    def _record(self, panel: Value, index: Value | int) -> Value:
        at = panel * self.stretch + index
        return self.f.offset(self.scratch, at * self.records.record_bytes)

    def _rows(self, m0: Value, n0: Value, panel: Value, start: Value, count: Value) -> None:
        """The code for the least height that holds the rows that are left."""
        f, left = self.f, self.f["m"] - m0
        for below, height in zip((0, *HEIGHTS), HEIGHTS, strict=False):
            fits = f.compare("sgt", left, below)
            if height < TILE_ROWS:
                fits = f.both(fits, f.compare("sle", left, height))
            with f.when(fits):
                self._tile(m0, n0, panel, start, count, height)

    def _tile(self, m0: Value, n0: Value, panel: Value, start: Value, count: Value, height: int) -> None:
        f = self.f
        lhs = f.offset(f["lhs"], f.divide_exactly(m0, TILE_ROWS) * self.lhs_panel_bytes + start * LHS.block_bytes)
        outs = self._row_addresses(m0, n0, height)
        lanes = self._lanes(f["n"] - n0)
        acc = [f.variable(f.zero(FLOATS)) for _ in outs]
        with f.when(f.compare("ne", start, 0)):
            for variable, out in zip(acc, outs, strict=True):
                variable.set(_masked_load(f, out, lanes))
        last = count - 1
        self._products(lhs, panel, f.const(I64, 0), f.const(I64, 0))
        with f.loop(0, count) as index:
            self._products(lhs, panel, f.call("llvm.smin.i64", I64, index + 1, last), (index + 1) & (DEPTH - 1))
            self._scale(f.offset(lhs, index * LHS.block_bytes), self._record(panel, index), index, acc)
        is_last = f.compare("eq", start + count, self.num_blocks)
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        hi = f.select(is_last, f["hi"], f.const(F32, float("inf")))
        # From the last row up: rows that are not there share the address of the last one, which is then written last.
        for variable, out in reversed(list(zip(acc, outs, strict=True))):
            _masked_store(f, f.clamp(variable.get(), lo, hi), out, lanes)

    def _row_addresses(self, m0: Value, n0: Value, height: int) -> list[Value]:
        f = self.f
        last = f["m"] - 1
        rows = [f.call("llvm.smin.i64", I64, m0 + r, last) for r in range(height)]
        first = f.offset(f["dst"], n0 << 2)
        return [f.offset(first, row * f["dst_stride"]) for row in rows]

    def _lanes(self, left: Value) -> Value:
        """i1[16]: columns that are there."""
        f = self.f
        indices = Value(f, INTS, "<" + ", ".join(f"i32 {lane}" for lane in range(COLUMNS)) + ">")
        return f.compare("slt", indices, f.splat(f.cast("trunc", left, I32), INTS))

    def _products(self, lhs: Value, panel: Value, index: Value, buffer: Value) -> None:
        f = self.f
        block = f.offset(lhs, index * LHS.block_bytes)
        emit_products(f, self.records, block, self._record(panel, index), self._buffer(buffer))

    def _scale(self, block: Value, record: Value, index: Value, acc: list[Variable]) -> None:
        emit_scaling(self.f, self.records, block, record, self._buffer(index & (DEPTH - 1)), acc)

    def _buffer(self, index: Value) -> Value:
        return self.f.offset(self.sums, index * self.sums_bytes)


def emit_products(f: Function, records: Records, block: Value, record: Value, into: Value) -> None:
    """A block's integer sums, i32[halves, 16, 16], to memory."""
    row_bytes = BLOCK // records.halves
    left = f.offset(block, LHS.quants_offset)
    for half in range(records.halves):
        clear(f, SUMS[half])
        load_tile(f, LEFT[half], f.offset(left, half * row_bytes), BLOCK)
        load_tile(f, RIGHT[half], f.offset(record, half * row_bytes // 4 * ROW_BYTES), ROW_BYTES)
        add_byte_products(f, SUMS[half], LEFT[half], RIGHT[half])
    for half in range(records.halves):
        store_tile(f, SUMS[half], f.offset(into, half * SUMS_BYTES))


def emit_scaling(
    f: Function, records: Records, block: Value, record: Value, sums: Value, acc: Sequence[Variable]
) -> None:
    """The float steps of a block, row by row."""
    for r, variable in enumerate(acc):
        of_row = [f.load(INTS, sums, half * SUMS_BYTES + r * ROW_BYTES, align=64) for half in range(records.halves)]
        variable.set(records.scaled(f, of_row, RowScalars(f, block, r), record, variable.get()))


def emit_tile_shapes(f: Function, records: Records) -> None:
    row_bytes = BLOCK // records.halves
    left, right = TileShape(TILE_ROWS, row_bytes), TileShape(row_bytes // 4, ROW_BYTES)
    configure(f, [*[TileShape(TILE_ROWS, ROW_BYTES)] * 4, left, left, right, right])


def _masked_load(f: Function, pointer: Value, lanes: Value) -> Value:
    return f.call("llvm.masked.load.v16f32.p0", FLOATS, pointer, f.const(I32, 4), lanes, f.zero(FLOATS))


def _masked_store(f: Function, value: Value, pointer: Value, lanes: Value) -> None:
    f.call("llvm.masked.store.v16f32.p0", VOID, value, pointer, f.const(I32, 4), lanes)
