"""The tile GEMM of weights with a scale a group of K: sums of a group by tiles, its float step by vectors.

    for each pair of panels, for each stretch of K whose weights an L1 holds:
      scratch = records: a group's weights as signed bytes, its scales as f32
      for each 16 rows, for each panel: accumulators in 16 vector registers, in dst between stretches
        for each group: sums = products of tiles, through an L1 buffer;  acc = fma(f32(sums), scales, acc)

Sums of the group after are on their way while those of this one are scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.channels import PANELS
from kernels.families.amx.pipeline import COLUMNS, TILE_BYTES
from kernels.families.rowwise.lanes import RowEmission
from kernels.families.rowwise.tile_lhs import DEPTH
from kernels.jit.ir import F32, I32, I64, Function, Value, Variable
from kernels.jit.masked import FLOATS, INTS, first_lanes, load_lanes, store_lanes
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
from kernels.quant.blocks import BLOCK

STRETCH = 768  # of K: 24 KiB of weights as bytes
HEIGHTS = (8, TILE_ROWS)  # rows that are scaled
SUMS, LEFT, RIGHT = 0, 1, 2  # few: kernels.families.amx.channels
BUFFERS = 2


@dataclass(frozen=True, slots=True)
class GroupStep:
    """What is done of one group, 16 rows and 16 columns; memory is the caller's. record: | weights | scales |"""

    group: int

    @property
    def depth(self) -> int:
        """Of K, of one product of tiles."""
        return min(self.group, DEPTH)

    @property
    def scale_offset(self) -> int:
        return self.group * COLUMNS

    @property
    def record_bytes(self) -> int:
        return self.scale_offset + 4 * COLUMNS

    def emit_tile_shapes(self, f: Function) -> None:
        left, right = TileShape(TILE_ROWS, self.depth), TileShape(self.depth // 4, ROW_BYTES)
        configure(f, [TileShape(TILE_ROWS, ROW_BYTES), left, right])

    def emit_products(self, f: Function, lefts: list[Value], record: Value, into: Value) -> None:
        clear(f, SUMS)
        for index, place in enumerate(lefts):
            load_tile(f, LEFT, place, DEPTH)
            load_tile(f, RIGHT, f.offset(record, index * self.depth * COLUMNS), ROW_BYTES)
            add_byte_products(f, SUMS, LEFT, RIGHT)
        store_tile(f, SUMS, into)

    def emit_scaling(self, f: Function, record: Value, sums: Value, acc: list[Variable]) -> None:
        scales = f.load(FLOATS, record, self.scale_offset, align=64)
        for r, variable in enumerate(acc):
            total = f.cast("sitofp", f.load(INTS, sums, r * ROW_BYTES, align=64), FLOATS)
            variable.set(f.fma(total, scales, variable.get()))


class GroupEmission:
    """The part of a micro-kernel for many rows, into the function that `lanes` writes."""

    def __init__(self, lanes: RowEmission) -> None:
        f = self.f = lanes.f
        self.lanes, self.rhs = lanes, lanes.rhs
        group = lanes.rhs.turn
        self.step, self.blocks = GroupStep(group), group // BLOCK
        self.num_groups = lanes.num_turns
        self.most = STRETCH // group
        self.num_stretches = f.divide_up(self.num_groups, self.most)
        self.stretch = f.divide_up(self.num_groups, self.num_stretches)
        self.scratch = f.stack(PANELS * self.most * self.step.record_bytes)
        self.sums = f.stack(BUFFERS * TILE_BYTES)

    def emit(self) -> None:
        f = self.f
        self.step.emit_tile_shapes(f)
        with f.loop(0, f["n"], PANELS * COLUMNS) as n0:
            panels = f.call("llvm.smin.i64", I64, f.divide_up(f["n"] - n0, COLUMNS), f.const(I64, PANELS))
            first = f.offset(f["rhs"], f.divide_exactly(n0, COLUMNS) * self.lanes.rhs_panel_bytes)
            with f.loop(0, self.num_stretches) as index:
                start = index * self.stretch
                count = f.call("llvm.smin.i64", I64, self.num_groups - start, self.stretch)
                with f.loop(0, panels) as p:
                    self._unpack(f.offset(first, p * self.lanes.rhs_panel_bytes), p, start, count)
                with f.loop(0, f["m"], TILE_ROWS) as m0, f.loop(0, panels) as p:
                    self._rows(m0, n0, first, p, start, count)
        release(f)

    def _record(self, panel: Value, index: Value) -> Value:
        return self.f.offset(self.scratch, (panel * self.most + index) * self.step.record_bytes)

    def _unpack(self, panel: Value, p: Value, start: Value, count: Value) -> None:
        f, rhs, lanes = self.f, self.rhs, self.lanes
        with f.loop(0, count) as index:
            turn = f.offset(panel, (start + index) * rhs.turn_bytes + rhs.header_bytes)
            f.prefetch_lines(f.offset(turn, lanes.rhs_panel_bytes * PANELS), rhs.turn_bytes, locality=2)
            record = self._record(p, index)
            for block in range(self.blocks):
                for g, weights in enumerate(lanes.column(turn, block)):
                    f.store(weights - 8, record, block * BLOCK * COLUMNS + g * ROW_BYTES, align=64)
            f.store(lanes.isa.half_to_float(f, turn, 0), record, self.step.scale_offset, align=64)

    def _rows(self, m0: Value, n0: Value, first: Value, p: Value, start: Value, count: Value) -> None:
        """The code for the least height that holds the rows that are left."""
        f, left = self.f, self.f["m"] - m0
        small, full = HEIGHTS
        for height, predicate in ((full, "sgt"), (small, "sle")):
            with f.when(f.compare(predicate, left, small)):
                self._tile(
                    m0, n0 + p * COLUMNS, f.offset(first, p * self.lanes.rhs_panel_bytes), p, start, count, height
                )

    def _tile(self, m0: Value, n0: Value, panel: Value, p: Value, start: Value, count: Value, height: int) -> None:
        f, lanes = self.f, self.lanes
        lhs = f.offset(f["lhs"], f.divide_exactly(m0, TILE_ROWS) * lanes.lhs_panel_bytes)
        last_row = f["m"] - 1 - m0
        out = f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2))
        rows = [f.call("llvm.smin.i64", I64, f.const(I64, r), last_row) for r in range(height)]
        outs = [f.offset(out, row * f["dst_stride"]) for row in rows]
        for place in outs:
            f.prefetch(place, locality=2)
        mask = first_lanes(f, f["n"] - n0)
        acc = [f.variable(f.zero(FLOATS)) for _ in outs]
        with f.when(f.compare("ne", start, 0)):
            for variable, place in zip(acc, outs, strict=True):
                variable.set(load_lanes(f, place, mask))
        self._products(lhs, p, start, f.const(I64, 0))
        last = count - 1
        with f.loop(0, last) as index:
            self._products(lhs, p, start, index + 1)
            self.step.emit_scaling(f, self._record(p, index), self._buffer(index), acc)
        self.step.emit_scaling(f, self._record(p, last), self._buffer(last), acc)
        is_last = f.compare("eq", start + count, self.num_groups)
        # From the last row up: rows that are not there share the address of the last one, which is then written last.
        for r, (variable, place) in reversed(list(enumerate(zip(acc, outs, strict=True)))):
            d = f.splat(f.load(F32, lhs, 4 * r, align=4), FLOATS)
            zero, bias = (
                f.load(I32, lhs, at + 4 * r, align=4) for at in (lanes.lhs.zero_offset, lanes.lhs.bias_offset)
            )
            result = f.clamp(lanes.result(variable.get(), panel, d, zero, bias), f["lo"], f["hi"])
            store_lanes(f, f.select(is_last, result, variable.get()), place, mask)

    def _products(self, lhs: Value, p: Value, start: Value, index: Value) -> None:
        f, layout = self.f, self.lanes.lhs
        first = f.offset(layout.emit_block(f, lhs, (start + index) * self.blocks), layout.quants_offset)
        lefts = [f.offset(first, layout.block_offset(block)) for block in range(0, self.blocks, 2)]
        self.step.emit_products(f, lefts, self._record(p, index), self._buffer(index))

    def _buffer(self, index: Value) -> Value:
        return self.f.offset(self.sums, (index & (BUFFERS - 1)) * TILE_BYTES)
