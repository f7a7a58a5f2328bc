"""The tile GEMM of weights with one scale a channel: int32 sums over all of K stay in tile registers.

    for each 256 rows, 32 or 256 columns, stretch of K whose weights an L1 holds, and pair of panels:
      for each 16 rows: 2 tiles of sums, 0 at first, in memory between stretches
        for each 64 of K: a tile of rows, 2 of weights, 2 products; two rows of the results that wait;
                          and beside the first 16 rows nibbles of later K as bytes, into a scratch
      the results of these 16 rows wait

Rows that all stay in L2 meet a pair of panels at a time, to the end of K; where K is too long for that, those of a
stretch and the sums of 256 columns do. What comes from further away is asked for beside the products: weights of the
next stretch, rows of the next one where K is long, and, a tile before they are written, lines of dst.

Tiles multiply unsigned weights as packed, what they owe is in the LHS's biases. Results are made by vectors, which have
nothing else to do while tiles multiply: so those of one tile are made beside the products of the next.

Four tile registers, not all eight: a core renames tiles, too. Alone it takes 15 cycles a product from L1 whatever their
names; beside a busy second thread of the core (measured by what is left) it has some ten tiles, names included, each
written tile takes one for some 60 cycles, and a product takes 25 cycles with 1 x 2 sums of four names, 33 with 2 x 2 of
six and 50 with 2 x 2 of eight.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.ahead import Ahead
from kernels.families.amx.channel_results import WaitingRows
from kernels.families.amx.pipeline import COLUMNS, TILE_BYTES
from kernels.families.rowwise.lanes import RowEmission
from kernels.families.rowwise.tile_lhs import BIASES, DEPTH, DEPTH_BYTES
from kernels.jit.ir import CACHE_LINE, I8, I64, Function, Value, vector
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
WIDTH = PANELS * COLUMNS
SUMS, LEFT, RIGHT = (0, 1), 2, 3
PAIR_BYTES = PANELS * TILE_BYTES  # sums of 16 rows
ROWS_AT_ONCE = COLUMNS_AT_ONCE = 256
STRETCH = 10  # x 64 of K: 20 KiB of weights
UNPACKED = 2  # x 64 of K, before they are multiplied for the first time
LONG_LHS = 1 << 20  # bytes of rows that do not stay in L2


@dataclass(frozen=True, slots=True)
class _Stretch:
    """`count` steps of 64 of K from `start`, of a pair of panels and the rows from m1.

    second: from the first panel to the other one, in bytes; sums: of those rows, between stretches; whole: steps
    without an odd last block; share: how many pairs were before this one.
    """

    m1: Value
    n0: Value
    first: Value
    second: Value
    start: Value
    count: Value
    whole: Value
    sums: Value
    share: Value

    @property
    def end(self) -> Value:
        return self.start + self.count


class ChannelEmission:
    """The part of a micro-kernel for many rows, into the function that `lanes` writes."""

    def __init__(self, lanes: RowEmission) -> None:
        f = self.f = lanes.f
        self.lanes, self.rhs, self.is_nibble = lanes, lanes.rhs, lanes.code.is_nibble
        self.num_blocks = f["k"] >> 5
        self.num_steps = self.num_blocks + 1 >> 1
        self.num_stretches = f.divide_up(self.num_steps, STRETCH)
        self.stretch = f.divide_up(self.num_steps, self.num_stretches)
        # of all rows and pairs of panels; where K is one stretch, of those that wait
        self.is_short = f.compare("eq", self.num_stretches, 1)
        self.sums = f.stack(ROWS_AT_ONCE * COLUMNS_AT_ONCE * 4)
        # nibbles: a stretch's weights as bytes; else those of an odd last block, which tiles see as 64 of K
        self.panel_scratch = TILE_BYTES * (STRETCH if self.is_nibble else 1)
        self.scratch = f.stack(PANELS * self.panel_scratch)
        self.zeros = f.stack(self.rhs.turn_bytes)
        self.waiting = WaitingRows(lanes, PANELS)
        self.step_bytes = 2 * self.rhs.turn_bytes  # of a packed panel
        tiles = f.divide_up(self._least(f["m"], ROWS_AT_ONCE), TILE_ROWS)
        is_long = f.compare("sgt", tiles * lanes.lhs_panel_bytes, LONG_LHS)
        pairs = f.divide_up(self._least(f["n"], COLUMNS_AT_ONCE), WIDTH)
        row_lines = f.select(is_long, self._share(DEPTH_BYTES, pairs), f.const(I64, 0))
        self.columns_at_once = f.select(is_long, f.const(I64, COLUMNS_AT_ONCE), f.const(I64, WIDTH))
        self.weights_ahead = Ahead(f, self._share(self.step_bytes, tiles), [lanes.rhs_panel_bytes])
        self.rows_ahead = Ahead(f, row_lines)

    def _least(self, value: Value, most: int) -> Value:
        return self.f.call("llvm.smin.i64", I64, value, self.f.const(I64, most))

    def _share(self, num_bytes: int, parts: Value) -> Value:
        """Cache lines of each part."""
        return self.f.divide_up(self.f.const(I64, num_bytes // CACHE_LINE), parts)

    def emit(self) -> None:
        f = self.f
        emit_tile_shapes(f)
        if self.is_nibble:
            self._clear(self.zeros, self.rhs.turn_bytes)
        else:
            self._clear(self.scratch, PANELS * self.panel_scratch)
        with f.loop(0, f["m"], ROWS_AT_ONCE) as m1, f.loop(0, f["n"], self.columns_at_once) as n1:
            end = f.call("llvm.smin.i64", I64, f["n"], n1 + self.columns_at_once)
            with f.loop(0, self.num_stretches) as index, f.loop(n1, end, WIDTH) as n0:
                stretch = self._stretch(m1, n1, n0, index * self.stretch)
                self._aim(stretch, n1, end)
                self._pair(stretch)
        self.waiting.finish()
        release(f)

    def _stretch(self, m1: Value, n1: Value, n0: Value, start: Value) -> _Stretch:
        f, none = self.f, self.f.const(I64, 0)
        second = f.select(f.compare("sgt", f["n"] - n0, COLUMNS), self.lanes.rhs_panel_bytes, none)
        count = f.call("llvm.smin.i64", I64, self.num_steps - start, self.stretch)
        is_odd = f.compare("sgt", start + count << 1, self.num_blocks)
        whole = count if self.is_nibble else f.select(is_odd, count - 1, count)
        sums = f.offset(self.sums, f.select(self.is_short, none, (n0 - n1) * (4 * ROWS_AT_ONCE)))
        return _Stretch(m1, n0, self._panel(n0), second, start, count, whole, sums, (n0 - n1) >> 5)

    def _aim(self, stretch: _Stretch, n1: Value, end: Value) -> None:
        """At the weights that come next: the next pair's, or the next stretch of the first pair's."""
        f, n2 = self.f, stretch.n0 + WIDTH
        is_inside, is_last = f.compare("slt", n2, end), f.compare("sge", stretch.end, self.num_steps)
        column = f.select(is_inside, n2, f.select(is_last, end, n1))
        step = f.select(is_inside, stretch.start, f.select(is_last, f.const(I64, 0), stretch.end))
        place = f.offset(self._panel(column), step * self.step_bytes + self.rhs.header_bytes)
        self.weights_ahead.aim(place, stretch.count * self.step_bytes)

    def _panel(self, column: Value) -> Value:
        return self.f.offset(self.f["rhs"], self.f.divide_exactly(column, COLUMNS) * self.lanes.rhs_panel_bytes)

    def _panels(self, stretch: _Stretch) -> list[Value]:
        return [stretch.first, self.f.offset(stretch.first, stretch.second)]

    def _clear(self, place: Value, num_bytes: int) -> None:
        for at in range(0, num_bytes, ROW_BYTES):
            self.f.store(self.f.zero(vector(ROW_BYTES, I8)), place, at, align=64)

    def _copy_odd_block(self, stretch: _Stretch) -> None:
        """The last 32 of K; zeros stand behind it."""
        f, rhs = self.f, self.rhs
        with f.when(f.compare("ne", stretch.whole, stretch.count)):
            for p, panel in enumerate(self._panels(stretch)):
                block = f.offset(panel, (self.num_blocks - 1) * rhs.turn_bytes + rhs.header_bytes)
                for at in range(0, rhs.turn_bytes, ROW_BYTES):
                    f.store(f.load(vector(ROW_BYTES, I8), block, at), self.scratch, p * self.panel_scratch + at, 64)

    def _unpack(self, stretch: _Stretch, step: Value) -> None:
        """Nibbles of 64 of K as bytes, unsigned as they are; zeros for a block that is not there."""
        f, rhs, place = self.f, self.rhs, self.f.offset(self.scratch, step * TILE_BYTES)
        first = stretch.start + step << 1
        is_odd = f.compare("eq", first + 1, self.num_blocks)
        for half in range(2):
            at = (first + half) * rhs.turn_bytes + rhs.header_bytes
            for p, panel in enumerate(self._panels(stretch)):
                block = f.offset(panel, at)
                if half:
                    block = f.select(is_odd, self.zeros, block)
                for g, weights in enumerate(self.lanes.column(block, 0)):
                    into = p * self.panel_scratch + half * (TILE_BYTES // 2) + g * ROW_BYTES
                    f.store(weights, place, into, align=64)

    def _pair(self, stretch: _Stretch) -> None:
        f = self.f
        if self.is_nibble:
            with f.loop(0, self._least(stretch.count, UNPACKED)) as step:
                self._unpack(stretch, step)
        else:
            self._copy_odd_block(stretch)
        rows = self._least(f["m"] - stretch.m1, ROWS_AT_ONCE)
        with f.loop(0, rows, TILE_ROWS) as m0:
            self._tiles(stretch, m0, rows)

    def _tiles(self, stretch: _Stretch, m0: Value, rows: Value) -> None:
        f = self.f
        sums = f.offset(stretch.sums, f.select(self.is_short, f.const(I64, 0), m0 * (PAIR_BYTES // TILE_ROWS)))
        with f.when(f.compare("eq", stretch.start, 0)):
            for tile in SUMS:
                clear(f, tile)
        with f.when(f.compare("ne", stretch.start, 0)):
            for p, tile in enumerate(SUMS):
                load_tile(f, tile, f.offset(sums, p * TILE_BYTES), ROW_BYTES)
        row = stretch.m1 + m0
        lhs = f.offset(f["lhs"], f.divide_exactly(row, TILE_ROWS) * self.lanes.lhs_panel_bytes)
        out = f.offset(f["dst"], row * f["dst_stride"] + (stretch.n0 << 2))
        to_unpack = f.select(f.compare("eq", m0, 0), stretch.count, f.const(I64, 0))
        self._steps(stretch, lhs, out, to_unpack)
        self.waiting.finish()
        for p, tile in enumerate(SUMS):
            store_tile(f, tile, f.offset(sums, p * TILE_BYTES))
        with f.when(f.compare("eq", stretch.end, self.num_steps)):
            height = self._least(rows - m0, TILE_ROWS)
            self.waiting.set(height, lhs, sums, out, self._panels(stretch), f["n"] - stretch.n0)

    def _steps(self, stretch: _Stretch, lhs: Value, out: Value, to_unpack: Value) -> None:
        """All of the stretch. Rows wait only where results are made, so dst's lines are asked for where they do."""
        f = self.f
        first = f.offset(lhs, self.lanes.lhs.header_bytes)
        is_last = f.compare("sge", stretch.end, self.num_steps)
        after = f.offset(first, f.select(is_last, f.const(I64, 0), stretch.end) * DEPTH_BYTES)
        part = stretch.share * stretch.count * self.rows_ahead.lines * CACHE_LINE
        self.rows_ahead.aim(f.offset(after, part), stretch.count * DEPTH_BYTES - part)
        left = f.variable(f.offset(first, stretch.start * DEPTH_BYTES + BIASES))
        right, second = f.variable(self.scratch), f.const(I64, self.panel_scratch)
        if not self.is_nibble:
            right.set(f.offset(stretch.first, stretch.start * TILE_BYTES + self.rhs.header_bytes))
            second = stretch.second

        def emit_step(index: Value) -> None:
            emit_products(f, left.get(), [right.get(), f.offset(right.get(), second)])
            left.set(f.offset(left.get(), DEPTH_BYTES))
            right.set(f.offset(right.get(), TILE_BYTES))
            self.weights_ahead.step()
            self.rows_ahead.step()
            if self.is_nibble:
                soon = index + UNPACKED
                with f.when(f.compare("slt", soon, to_unpack)):
                    self._unpack(stretch, soon)

        beside = f.call("llvm.smin.i64", I64, self.waiting.pairs, stretch.whole)
        lines = f.variable(out)
        with f.loop(0, beside) as index:
            emit_step(index)
            for _ in range(2):
                for line in range(0, 4 * WIDTH, CACHE_LINE):
                    f.prefetch(lines.get(), line, locality=2)
                lines.set(f.offset(lines.get(), f["dst_stride"]))
            self.waiting.pair()
        with f.loop(beside, stretch.whole) as index:
            emit_step(index)
        if not self.is_nibble:
            with f.when(f.compare("ne", stretch.whole, stretch.count)):
                emit_products(f, left.get(), [f.offset(self.scratch, p * self.panel_scratch) for p in range(PANELS)])


def emit_tile_shapes(f: Function) -> None:
    configure(f, [TileShape(TILE_ROWS, ROW_BYTES)] * 4)


def emit_products(f: Function, left: Value, rights: list[Value]) -> None:
    """64 of K of 16 rows and two panels, added to the sums."""
    load_tile(f, LEFT, left, DEPTH)
    for tile, right in zip(SUMS, rights, strict=True):
        load_tile(f, RIGHT, right, ROW_BYTES)
        add_mixed_products(f, tile, LEFT, RIGHT)
