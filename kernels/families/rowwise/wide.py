"""The row-wise tile for 32 vector registers: 12 or 6 rows x 2 panels, whose operands are loaded where they are used.

    for each pair of panels, for each stretch of K that an L1 holds:
      nibbles: scratch = the pair's weights as bytes and its scales as f32, once for all rows of the portion
      for each few rows: acc from dst, but for the first stretch; sums as in kernels.families.rowwise.lanes; acc to dst

A step of 4 along K loads 2 vectors of weights and 12 scalars of the LHS for 24 dot products: loads are not what bounds
it, as in a tile of one panel, where each dot product loads its own scalar. Groups have integer sums beside the float
ones, so 6 rows fill the registers (12 with float sums on the stack: 0.85 of the speed with groups of 32, 0.92 of 64).
Between stretches int32 sums (groups: f32) rest in dst as they are, so the bits are those of the other tiles. Rows that
are left take tiles of 8, 4 and fewer; portions of few rows, and a last single panel, go to the lane tile. Dot products
are pinned in the order written. The weights of the next stretch are asked for beside the products of the first tiles:
asked for at once, they keep the unpacking waiting (Emerald Rapids, Q4CX, 64 rows: 79 and 87 % of the loop's speed).
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.rowwise.code import RowCode
from kernels.families.rowwise.lanes import GROUPS, RowEmission, RowTile
from kernels.jit.ir import I8, I32, I64, Value, Variable, vector
from kernels.quant.blocks import BLOCK

PANELS = 2
FEW_ROWS = 8  # up to here the lane tile is as fast, and reads weights once
STRETCH = 640  # of K: 20 KiB of weights as bytes, beside 8 KiB of 12 rows
ASKED_BYTES = 128  # of a panel of the next stretch, in a turn of a tile: the first 4 tiles ask for all of it
REGISTERS = "v"  # of LLVM's constraints: any of the 32


def wide_rows(code: RowCode) -> int:
    """Of a tile."""
    return 6 if code.group else 12


@dataclass(frozen=True, slots=True)
class WideRowTile:
    """A GEMM of `rows` x 2 panels beside `few`, the lane tile of the same layouts."""

    few: RowTile
    rows: int

    def emit(self) -> str:
        lanes = RowEmission.begin(self.few)
        f = lanes.f
        first = f.variable(f.const(I64, 0))
        with f.when(f.compare("sgt", f["m"], FEW_ROWS)):
            _WideEmission(lanes, self.rows).emit()
            first.set(f["n"] - f.remainder(f["n"], PANELS * self.few.rhs.nr))
        lanes.columns_from(first.get())
        f.ret()
        return f.text()


class _WideEmission:
    """The part for many rows and whole pairs of panels."""

    def __init__(self, lanes: RowEmission, rows: int) -> None:
        self.rows = rows
        self.lanes, self.f, self.isa = lanes, lanes.f, lanes.isa
        self.lhs, self.rhs, self.code = lanes.lhs, lanes.rhs, lanes.rhs.code
        self.vector_bytes = 4 * self.isa.lanes
        self.width = PANELS * self.rhs.nr
        self.blocks = self.rhs.turn // BLOCK  # of a turn
        self.quant_bytes = self.blocks * GROUPS * PANELS * self.vector_bytes
        self.turn_bytes = self.quant_bytes + (PANELS * self.vector_bytes if self.code.group else 0)
        self.most_turns = STRETCH // self.rhs.turn
        self.kind = lanes.floats if self.code.group else lanes.ints
        self.scratch = self.f.stack(self.most_turns * self.turn_bytes) if self.code.is_nibble else None
        self.after: list[Value] = []  # where the weights of the next stretch begin, once `emit` is in one

    def emit(self) -> None:
        f, lanes = self.f, self.lanes
        num_stretches = f.divide_up(lanes.num_turns, self.most_turns)
        stretch = f.divide_up(lanes.num_turns, num_stretches)
        with f.loop(0, f["n"] - (self.width - 1), self.width) as n0:
            first = f.offset(f["rhs"], f.divide_exactly(n0, self.rhs.nr) * lanes.rhs_panel_bytes)
            panels = [f.offset(first, lanes.rhs_panel_bytes * p) for p in range(PANELS)]
            with f.loop(0, num_stretches) as index:
                start = index * stretch
                count = f.call("llvm.smin.i64", I64, lanes.num_turns - start, stretch)
                at = start * self.rhs.turn_bytes + self.rhs.header_bytes
                turns = [f.offset(panel, at) for panel in panels]
                if self.scratch is not None:
                    self._unpack(self.scratch, turns, count)
                self.after = self._after(panels, turns, start, count)
                self._rows(n0, panels, turns, start, count)

    def _after(self, panels: list[Value], turns: list[Value], start: Value, count: Value) -> list[Value]:
        """Where the weights begin that are read next: the panels' next stretch, or the next pair's first."""
        f, lanes = self.f, self.lanes
        is_last = f.compare("eq", start + count, lanes.num_turns)
        pair_bytes = lanes.rhs_panel_bytes * PANELS + self.rhs.header_bytes
        return [
            f.select(is_last, f.offset(panel, pair_bytes), f.offset(turn, count * self.rhs.turn_bytes))
            for panel, turn in zip(panels, turns, strict=True)
        ]

    def _unpack(self, scratch: Value, panels: list[Value], count: Value) -> None:
        f, lanes = self.f, self.lanes
        with f.loop(0, count) as index:
            into = f.offset(scratch, index * self.turn_bytes)
            for p, panel in enumerate(panels):
                turn = f.offset(panel, index * self.rhs.turn_bytes)
                for block in range(self.blocks):
                    for g, weights in enumerate(lanes.column(turn, block)):
                        f.store(weights, into, ((block * GROUPS + g) * PANELS + p) * self.vector_bytes, align=64)
                if self.code.group:
                    scale = self.isa.half_to_float(f, turn, 0)
                    f.store(scale, into, self.quant_bytes + p * self.vector_bytes, align=64)

    def _rows(self, n0: Value, panels: list[Value], turns: list[Value], start: Value, count: Value) -> None:
        f, m = self.f, self.f["m"]
        left = f.remainder(m, self.rows)
        full = m - left
        num_asking = f.const(I64, -(-self.rhs.turn_bytes // ASKED_BYTES) * self.rows)
        asking = f.call("llvm.smin.i64", I64, full, num_asking)
        with f.loop(0, asking, self.rows) as m0:
            self._tile(m0, n0, panels, turns, start, count, self.rows, asks=True)
        with f.loop(asking, full, self.rows) as m0:
            self._tile(m0, n0, panels, turns, start, count, self.rows)
        at = f.variable(full)
        for rows in (8, 4):
            if rows < self.rows:
                with f.when(f.compare("ne", left & rows, 0)):
                    self._tile(at.get(), n0, panels, turns, start, count, rows)
                    at.set(at.get() + rows)
        for few in range(1, 4):
            with f.when(f.compare("eq", left & 3, few)):
                self._tile(at.get(), n0, panels, turns, start, count, few)

    def _tile(
        self,
        m0: Value,
        n0: Value,
        panels: list[Value],
        turns: list[Value],
        start: Value,
        count: Value,
        rows: int,
        asks: bool = False,
    ) -> None:
        f, lanes, mr = self.f, self.lanes, self.lhs.mr
        first = f.offset(f["lhs"], f.divide_exactly(m0, mr) * lanes.lhs_panel_bytes)
        lhs_panels = [f.offset(first, lanes.lhs_panel_bytes * p) for p in range(-(-rows // mr))]
        out = f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2))
        outs = [f.offset(out, f["dst_stride"] * r) for r in range(rows)]
        acc = [[f.variable(f.zero(self.kind)) for _ in range(PANELS)] for _ in outs]
        with f.when(f.compare("ne", start, 0)):
            for place, row in zip(outs, acc, strict=True):
                for p, total in enumerate(row):
                    total.set(f.load(self.kind, place, self.vector_bytes * p, align=4))
        blocks = [
            f.offset(panel, start * (self.blocks * self.lhs.block_bytes) + self.lhs.header_bytes)
            for panel in lhs_panels
        ]
        with f.loop(0, count) as index:
            at = index * (self.blocks * self.lhs.block_bytes)
            if asks:
                asked = (f.divide_exactly(m0, self.rows) * count + index) * ASKED_BYTES
                for panel in self.after:
                    f.prefetch_lines(f.offset(panel, asked), ASKED_BYTES, locality=2)
            self._turn([f.offset(block, at) for block in blocks], self._weights(turns, index), acc)
        is_last = f.compare("eq", start + count, lanes.num_turns)
        with f.when(is_last):
            lanes.finish(lhs_panels, panels, acc, m0, n0)
        with f.when(f.compare("ne", start + count, lanes.num_turns)):
            for place, row in zip(outs, acc, strict=True):
                for p, total in enumerate(row):
                    f.store(total.get(), place, self.vector_bytes * p, align=4)

    def _weights(self, turns: list[Value], index: Value) -> list[Value]:
        """Where each panel's part of a turn begins."""
        f = self.f
        if self.scratch is None:
            return [f.offset(turn, index * self.rhs.turn_bytes) for turn in turns]
        here = f.offset(self.scratch, index * self.turn_bytes)
        return [f.offset(here, self.vector_bytes * p) for p in range(PANELS)]

    def _turn(self, lhs: list[Value], weights: list[Value], acc: list[list[Variable]]) -> None:
        """One turn of K for all rows and both panels."""
        f, isa, verbs = self.f, self.isa, self.code.verbs
        sums = self._starts(lhs, acc)
        for block in range(self.blocks):
            for g in range(GROUPS):
                columns = [self._group(place, block, g) for place in weights]
                operands = self._spread(lhs, block, self.lhs.group_offset(g), len(acc))
                for r, operand in enumerate(operands):
                    dots = [isa.dot(f, verbs, total, w, operand) for total, w in zip(sums[r], columns, strict=True)]
                    sums[r] = [f.pinned(dot, REGISTERS) for dot in dots]
        scales = []
        if self.code.group:
            scales = [f.load(self.lanes.floats, place, self.quant_bytes, align=64) for place in weights]
        for row, totals in zip(acc, sums, strict=True):
            for p, (variable, total) in enumerate(zip(row, totals, strict=True)):
                value = total
                if self.code.group:
                    value = f.fma(f.cast("sitofp", total, self.lanes.floats), scales[p], variable.get())
                variable.set(value)

    def _starts(self, lhs: list[Value], acc: list[list[Variable]]) -> list[list[Value]]:
        """The sums so far; of a group's weights, what they owe for being multiplied unsigned."""
        if not self.code.group:
            return [[variable.get() for variable in row] for row in acc]
        owed = self._spread(lhs, 0, 0, len(acc))
        for block in range(1, self.blocks):
            more = self._spread(lhs, block, 0, len(acc))
            owed = [one + other for one, other in zip(owed, more, strict=True)]
        return [[self.isa.start(self.f, self.code.verbs, bias)] * PANELS for bias in owed]

    def _spread(self, lhs: list[Value], block: int, offset: int, count: int) -> list[Value]:
        """Four bytes of each row, in every lane."""
        found: list[Value] = []
        for p, panel in enumerate(lhs):
            rows = min(self.lhs.mr, count - p * self.lhs.mr)
            found += self.isa.spread(self.f, I32, panel, block * self.lhs.block_bytes + offset, rows)
        return found

    def _group(self, place: Value, block: int, g: int) -> Value:
        f, kind = self.f, vector(self.vector_bytes, I8)
        if self.scratch is None:
            return f.load(kind, place, self.rhs.group_offset(block, g))
        return f.load(kind, place, (block * GROUPS + g) * PANELS * self.vector_bytes, align=64)
