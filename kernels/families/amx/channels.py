"""The tile GEMM of weights with one scale a channel: int32 sums over all of K stay in tile registers.

    for each 512 rows, for each pair of panels, for each stretch of K whose weights an L1 holds:
      nibbles: scratch = the pair's weights as bytes
      for each 16 rows: 2 tiles of sums, 0 at first, in memory between stretches
        for each 64 of K: a tile of rows, 2 of weights, 2 products; and a few rows of the results that wait
      the results of these 16 rows wait

Tiles multiply unsigned weights as packed, what they owe is in the LHS's biases. Results are made by vectors, which have
nothing else to do while tiles multiply: so those of one block are made beside the products of the next.

Four tile registers, not all eight: a core renames tiles, too, and has few. On shared cores 2 x 2 sums with two names
for each operand take 25 ns a product in some minutes and 6 in others, 1 x 2 with one name 11 and 6: as if another
thread of the core left the former none to rename to.
"""

from __future__ import annotations

from kernels.families.amx.pipeline import COLUMNS, TILE_BYTES
from kernels.families.rowwise.lanes import RowEmission
from kernels.families.rowwise.tile_lhs import BIASES, DEPTH, DEPTH_BYTES
from kernels.jit.ir import F32, I8, I32, I64, Function, Value, vector
from kernels.jit.masked import FLOATS, INTS, first_lanes, store_lanes
from kernels.jit.tiles import (
    ROW_BYTES,
    TILE_ROWS,
    TileShape,
    add_mixed_products,
    clear,
    configure,
    load_tile,
    release,
    store_tile,
)

PANELS = 2
SUMS, LEFT, RIGHT = (0, 1), 2, 3
PAIR_BYTES = PANELS * TILE_BYTES  # sums of 16 rows
ROWS_AT_ONCE = 512
STRETCH = 10  # x 64 of K: 20 KiB of weights
RESULT_ROWS = 2  # beside 64 of K


class ChannelEmission:
    """The part of a micro-kernel for many rows, into the function that `lanes` writes."""

    def __init__(self, lanes: RowEmission) -> None:
        f = self.f = lanes.f
        self.lanes, self.rhs, self.is_nibble = lanes, lanes.rhs, lanes.code.is_nibble
        self.num_blocks = f["k"] >> 5
        self.num_steps = self.num_blocks + 1 >> 1
        self.num_stretches = f.divide_up(self.num_steps, STRETCH)
        self.stretch = f.divide_up(self.num_steps, self.num_stretches)
        # of all rows; where K is one stretch, of those that wait
        self.is_whole = f.compare("eq", self.num_stretches, 1)
        self.sums = f.stack(ROWS_AT_ONCE // TILE_ROWS * PAIR_BYTES)
        # nibbles: a stretch's weights as bytes; else those of an odd last block, which tiles see as 64 of K
        self.panel_scratch = TILE_BYTES * (STRETCH if self.is_nibble else 1)
        self.scratch = f.stack(PANELS * self.panel_scratch)
        self.waiting = _Waiting(lanes)

    def emit(self) -> None:
        f, width = self.f, PANELS * COLUMNS
        emit_tile_shapes(f)
        if not self.is_nibble:
            self._clear(self.scratch, PANELS * self.panel_scratch)
        with f.loop(0, f["m"], ROWS_AT_ONCE) as m1, f.loop(0, f["n"], width) as n0:
            first = f.offset(f["rhs"], f.divide_exactly(n0, COLUMNS) * self.lanes.rhs_panel_bytes)
            second = f.offset(first, self.lanes.rhs_panel_bytes)
            panels = [first, f.select(f.compare("sgt", f["n"] - n0, COLUMNS), second, first)]
            if not self.is_nibble:
                self._copy_odd_block(panels)
            with f.loop(0, self.num_stretches) as index:
                self._stretch(m1, n0, panels, index * self.stretch)
        self.waiting.finish()
        release(f)

    def _clear(self, place: Value, num_bytes: int) -> None:
        for at in range(0, num_bytes, ROW_BYTES):
            self.f.store(self.f.zero(vector(ROW_BYTES, I8)), place, at, align=64)

    def _copy_odd_block(self, panels: list[Value]) -> None:
        """The last 32 of K; zeros stand behind it."""
        f, rhs = self.f, self.rhs
        with f.when(f.compare("ne", self.num_blocks & 1, 0)):
            for p, panel in enumerate(panels):
                block = f.offset(panel, (self.num_blocks - 1) * rhs.turn_bytes + rhs.header_bytes)
                for at in range(0, rhs.turn_bytes, ROW_BYTES):
                    f.store(f.load(vector(ROW_BYTES, I8), block, at), self.scratch, p * self.panel_scratch + at, 64)

    def _next(self, panel: Value, start: Value) -> Value:
        """Where the stretch of a panel begins that comes after this one, be it of another panel."""
        f, rhs, after = self.f, self.rhs, start + self.stretch
        first = f.offset(panel, rhs.header_bytes)
        other = f.offset(first, self.lanes.rhs_panel_bytes * PANELS)
        return f.select(f.compare("slt", after, self.num_steps), f.offset(first, after * (2 * rhs.turn_bytes)), other)

    def _unpack(self, panels: list[Value], start: Value, count: Value) -> None:
        """A stretch of nibbles, unsigned as they are; zeros behind an odd last block."""
        f, rhs = self.f, self.rhs
        blocks = f.call("llvm.smin.i64", I64, self.num_blocks - (start << 1), count << 1)
        half = TILE_BYTES // 2
        for p, panel in enumerate(panels):
            into = f.offset(self.scratch, p * self.panel_scratch)
            first, after = f.offset(panel, start * (2 * rhs.turn_bytes) + rhs.header_bytes), self._next(panel, start)
            with f.loop(0, blocks) as index:
                at = index * rhs.turn_bytes
                block = f.offset(first, at)
                f.prefetch_lines(f.offset(after, at), rhs.turn_bytes, locality=2)
                place = f.offset(into, index * half)
                for g, weights in enumerate(self.lanes.column(block, 0)):
                    f.store(weights, place, g * ROW_BYTES, align=64)
            with f.when(f.compare("ne", blocks & 1, 0)):
                self._clear(f.offset(into, blocks * half), half)

    def _stretch(self, m1: Value, n0: Value, panels: list[Value], start: Value) -> None:
        f = self.f
        count = f.call("llvm.smin.i64", I64, self.num_steps - start, self.stretch)
        if self.is_nibble:
            self._unpack(panels, start, count)
        rows = f.call("llvm.smin.i64", I64, f["m"] - m1, f.const(I64, ROWS_AT_ONCE))
        with f.loop(0, rows, TILE_ROWS) as m0:
            self._tiles(m1, m0, n0, panels, start, count)

    def _tiles(self, m1: Value, m0: Value, n0: Value, panels: list[Value], start: Value, count: Value) -> None:
        f, lanes = self.f, self.lanes
        lhs = f.offset(f["lhs"], f.divide_exactly(m1 + m0, TILE_ROWS) * lanes.lhs_panel_bytes)
        sums = f.offset(
            self.sums, f.select(self.is_whole, f.const(I64, 0), f.divide_exactly(m0, TILE_ROWS) * PAIR_BYTES)
        )
        with f.when(f.compare("eq", start, 0)):
            for tile in SUMS:
                clear(f, tile)
        with f.when(f.compare("ne", start, 0)):
            for p, tile in enumerate(SUMS):
                load_tile(f, tile, f.offset(sums, p * TILE_BYTES), ROW_BYTES)
        after = [self._next(panel, start) for panel in panels]
        with f.loop(start, start + count) as step:
            left = f.offset(lhs, step * DEPTH_BYTES + (lanes.lhs.header_bytes + BIASES))
            emit_products(f, left, self._weights(panels, start, step))
            if not self.is_nibble:
                self._prefetch(m0, after, step - start)
            for _ in range(RESULT_ROWS):
                self.waiting.row()
        self.waiting.finish()
        for p, tile in enumerate(SUMS):
            store_tile(f, tile, f.offset(sums, p * TILE_BYTES))
        with f.when(f.compare("eq", start + count, self.num_steps)):
            out = f.offset(f["dst"], (m1 + m0) * f["dst_stride"] + (n0 << 2))
            rows = f.call("llvm.smin.i64", I64, f["m"] - (m1 + m0), f.const(I64, TILE_ROWS))
            self.waiting.set(rows, lhs, sums, out, panels, f["n"] - n0)

    def _weights(self, panels: list[Value], start: Value, step: Value) -> list[Value]:
        """64 of K of each panel, as they are packed or in the scratch."""
        f = self.f
        scratch = [f.offset(self.scratch, p * self.panel_scratch) for p in range(PANELS)]
        if self.is_nibble:
            return [f.offset(place, (step - start) * TILE_BYTES) for place in scratch]
        is_odd = f.compare("slt", self.num_blocks, (step << 1) + 2)
        at = step * TILE_BYTES + self.rhs.header_bytes
        return [f.select(is_odd, odd, f.offset(panel, at)) for odd, panel in zip(scratch, panels, strict=True)]

    def _prefetch(self, m0: Value, after: list[Value], index: Value) -> None:
        """Of the weights that come next, beside the first rows."""
        f = self.f
        with f.when(f.compare("eq", m0, 0)):
            for place in after:
                f.prefetch_lines(f.offset(place, index * TILE_BYTES), TILE_BYTES, locality=2)


def emit_tile_shapes(f: Function) -> None:
    configure(f, [TileShape(TILE_ROWS, ROW_BYTES)] * 4)


def emit_products(f: Function, left: Value, rights: list[Value]) -> None:
    """64 of K of 16 rows and two panels, added to the sums."""
    load_tile(f, LEFT, left, DEPTH)
    for tile, right in zip(SUMS, rights, strict=True):
        load_tile(f, RIGHT, right, ROW_BYTES)
        add_mixed_products(f, tile, LEFT, RIGHT)


class _Waiting:
    """Rows whose sums are in memory and whose results are not in dst."""

    def __init__(self, lanes: RowEmission) -> None:
        f = self.f = lanes.f
        self.lanes = lanes
        self.next, self.end = (f.variable(f.const(I64, 0)) for _ in range(2))
        self.lhs, self.sums, self.out = (f.variable(f[name]) for name in ("lhs", "dst", "dst"))
        self.panels = [f.variable(f["rhs"]) for _ in range(PANELS)]
        self.left = f.variable(f.const(I64, 0))

    def set(self, rows: Value, lhs: Value, sums: Value, out: Value, panels: list[Value], left: Value) -> None:
        """rows: how many; lhs, sums, out: of the first one; left: columns."""
        self.next.set(self.f.const(I64, 0))
        self.end.set(rows)
        self.lhs.set(lhs)
        self.sums.set(sums)
        self.out.set(out)
        for variable, panel in zip(self.panels, panels, strict=True):
            variable.set(panel)
        self.left.set(left)

    def row(self) -> None:
        """The next one, if there is one."""
        f = self.f
        with f.when(f.compare("slt", self.next.get(), self.end.get())):
            self._row(self.next.get())
            self.next.set(self.next.get() + 1)

    def finish(self) -> None:
        f = self.f
        with f.loop(self.next.get(), self.end.get()) as row:
            self._row(row)
        self.next.set(self.end.get())

    def _row(self, row: Value) -> None:
        f, lanes = self.f, self.lanes
        scalars = f.offset(self.lhs.get(), row << 2)
        d = f.splat(f.load(F32, scalars, align=4), FLOATS)
        zero = f.load(I32, scalars, lanes.lhs.zero_offset, align=4)
        bias = f.load(I32, scalars, lanes.lhs.bias_offset, align=4)
        sums = f.offset(self.sums.get(), row * ROW_BYTES)
        out = f.offset(self.out.get(), row * f["dst_stride"])
        for p, panel in enumerate(self.panels):
            total = f.load(INTS, sums, p * TILE_BYTES, align=64)
            value = f.clamp(lanes.result(total, panel.get(), d, zero, bias), f["lo"], f["hi"])
            mask = first_lanes(f, self.left.get() - p * COLUMNS)
            store_lanes(f, value, f.offset(out, 4 * COLUMNS * p), mask)
