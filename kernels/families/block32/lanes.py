"""The tile whose vector lanes are columns: one emitter for every instruction set with a 4-wide int8 dot product.

    for each panel group, for each row tile:            acc: f32[rows, columns], in registers
      for each block of 32 along K:
        sum  = bias or 0                                int[rows, columns]
        sum += dot4(weights[group], lhs[row, group])    8 groups of 4 elements
        acc  = fma(f32(sum), d_lhs * d_rhs, acc)        the product of scales rounded once
        acc  = fma(m_rhs, d_lhs * sum(lhs), acc)        asymmetric weights only

Knows loops, tails and the formula; an `Isa` knows the instructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kernels.families.block32.float_bits import start_bits
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.rhs import Rhs32, WeightCode, unpack_nibbles
from kernels.families.prefetch import Prefetch
from kernels.jit.constants import MemoryConstants
from kernels.jit.ir import F32, I8, I32, I64, PTR, Function, Value, Variable, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.naming import MatmulName

GROUPS = 8  # of 4 elements in a block of 32


class Isa(Protocol):
    """The verbs a tile is made of. `lanes`: 32-bit lanes of a vector."""

    @property
    def lanes(self) -> int: ...

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        """`count` 4-byte scalars from memory, each in every lane of a vector of `element`."""

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        """`lanes` f16 from memory as f32."""

    def start(self, f: Function, code: WeightCode, bias: Value | None) -> Value:
        """A new sum: zeros, or an LHS bias field (4 bytes in every lane)."""

    def dot(self, f: Function, code: WeightCode, total: Value, weights: Value, lhs: Value) -> Value:
        """Adds 4-wide dot products: nibbles 0..15 or bytes as the layout stores them, lhs int8 within +-127."""

    def join(self, f: Function, code: WeightCode, total: Value) -> Value:
        """The sums as int32, one a lane; of sums that did not start at bits of a float."""

    def finish(self, f: Function, code: WeightCode, total: Value) -> Value:
        """The sums as f32."""


@dataclass(frozen=True, slots=True)
class LaneTile:
    """A matmul micro-kernel of `rows` x `panels` panels, to be emitted for `isa`.

    prefetch: of weights, where few rows are multiplied.
    float_bits: sums start as kernels.families.block32.float_bits has it; the emitter's order is kept.
    """

    name: MatmulName
    lhs: Qsi8d32
    rhs: Rhs32
    rows: int
    panels: int
    isa: Isa
    features: str
    prefetch: Prefetch | None = None
    float_bits: bool = False

    def emit(self) -> str:
        return LaneEmission.begin(self).text()


@dataclass(frozen=True, slots=True)
class Column:
    """One vector of columns in one block: 8 groups of 4 weights a lane, their scale and minimum."""

    groups: list[Value]
    scale: Value
    minimum: Value | None


class LaneEmission:
    """One kernel being written: the values every part of it uses."""

    def __init__(self, tile: LaneTile, f: Function) -> None:
        self.tile, self.f, self.isa = tile, f, tile.isa
        self.floats = vector(tile.isa.lanes, F32)
        self.vectors = tile.rhs.nr // tile.isa.lanes  # vectors of one panel
        self.num_blocks = f["k"] >> 5
        self.lhs_panel_bytes = self.num_blocks * tile.lhs.block_bytes
        self.rhs_panel_bytes = self.num_blocks * tile.rhs.block_bytes
        num_sums = tile.rows * tile.panels * self.vectors
        bits = [start_bits(tile.rhs.code)]
        self.starts = MemoryConstants(f, bits, 4 * tile.isa.lanes, num_sums) if tile.float_bits else None

    @classmethod
    def begin(cls, tile: LaneTile) -> LaneEmission:
        arguments = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
        attributes = (AS_WRITTEN,) if tile.float_bits else ()
        f = Function(
            str(tile.name),
            [*arguments, ("dst_stride", I64), ("lo", F32), ("hi", F32)],
            tile.features,
            attributes=attributes,
        )
        return cls(tile, f)

    def text(self) -> str:
        self.columns_from(self.f.const(I64, 0))
        self.f.ret()
        return self.f.text()

    def columns_from(self, first: Value) -> None:
        """The columns from `first`, where a panel begins, to the last."""
        f, nr = self.f, self.tile.rhs.nr
        panel = f.variable(f.offset(f["rhs"], f.divide_exactly(first, nr) * self.rhs_panel_bytes))
        n = f.variable(first)
        if self.tile.panels > 1:
            width = nr * self.tile.panels
            with f.loop(first, f["n"] - (width - 1), width) as n0:
                self._row_tiles(n0, panel.get(), self.tile.panels)
                panel.set(f.offset(panel.get(), self.rhs_panel_bytes * self.tile.panels))
                n.set(n0 + width)
        with f.loop(n.get(), f["n"], nr) as n0:
            self._row_tiles(n0, panel.get(), 1)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes))

    def _row_tiles(self, n0: Value, panel: Value, panels: int) -> None:
        f, rows = self.f, self.tile.rows
        if rows == 1:
            self._tile(f.const(I64, 0), n0, panel, 1, panels)
            return
        rest = f.remainder(f["m"], rows)
        full = f["m"] - rest
        with f.loop(0, full, rows) as m0:
            self._tile(m0, n0, panel, rows, panels)
        for few in range(1, rows):
            with f.when(f.compare("eq", rest, few)):
                self._tile(full, n0, panel, few, panels)

    def _tile(self, m0: Value, n0: Value, panel: Value, rows: int, panels: int) -> None:
        f, lhs, nr = self.f, self.tile.lhs, self.tile.rhs.nr
        row = f.remainder(m0, lhs.mr) if self.tile.rows < lhs.mr else f.const(I64, 0)  # the first one, in its panel
        first = f.offset(f["lhs"], f.divide_exactly(m0 - row, lhs.mr) * self.lhs_panel_bytes)
        lhs_panels = [f.offset(first, self.lhs_panel_bytes * p) for p in range(-(-rows // lhs.mr))]
        rhs_panels = [f.offset(panel, self.rhs_panel_bytes * p) for p in range(panels)]
        acc = [[f.variable(f.zero(self.floats)) for _ in range(panels * self.vectors)] for _ in range(rows)]
        with f.loop(0, self.num_blocks) as index:
            if self.starts:
                self.starts.refresh()
            lhs_at, rhs_at = index * lhs.block_bytes, index * self.tile.rhs.block_bytes
            blocks = [f.offset(p, rhs_at) for p in rhs_panels]
            if self.tile.prefetch:
                self.tile.prefetch.ask(f, blocks[0], self.tile.rhs.block_bytes)
            columns = [self.column(block, v) for block in blocks for v in range(self.vectors)]
            for p, lhs_panel in enumerate(lhs_panels):
                count = min(lhs.mr, rows - p * lhs.mr)
                part = acc[p * lhs.mr : p * lhs.mr + count]
                block = f.offset(lhs_panel, lhs_at)
                self._block(f.offset(block, row << 2), f.offset(block, row * lhs.kr), part, columns)
        for r in range(rows):
            out = f.offset(f["dst"], (m0 + r) * f["dst_stride"] + (n0 << 2))
            values = [f.clamp(a.get(), f["lo"], f["hi"]) for a in acc[r]]
            for p in range(panels):
                of_panel = values[p * self.vectors : (p + 1) * self.vectors]
                f.store_columns(f.offset(out, 4 * nr * p), of_panel, f["n"] - (n0 + nr * p))

    def column(self, block: Value, v: int) -> Column:
        """Loads and unpacks vector `v` of a panel's block."""
        f, rhs, lanes = self.f, self.tile.rhs, self.isa.lanes
        groups = [
            f.load(vector(4 * lanes, I8), block, rhs.group_offset(g) + 4 * lanes * v) for g in range(rhs.num_groups)
        ]
        if rhs.code.is_nibble:
            groups = unpack_nibbles(rhs, groups)
        scale = self.isa.half_to_float(f, block, 2 * lanes * v)
        minimum = self.isa.half_to_float(f, block, rhs.min_offset + 2 * lanes * v) if rhs.code.has_min else None
        return Column(groups, scale, minimum)

    def _block(self, scalars: Value, quants: Value, acc: list[list[Variable]], columns: list[Column]) -> None:
        """One block of K for rows of one LHS panel; both pointers are the block's, moved to its first row."""
        f, lhs, rhs, isa = self.f, self.tile.lhs, self.tile.rhs, self.isa
        count = len(acc)
        d = isa.spread(f, F32, scalars, 0, count)
        bias = isa.spread(f, I32, scalars, lhs.scalars_bytes, count) if rhs.needs_bias else [None] * count
        sums = [[self._start(b) for _ in columns] for b in bias]
        for g in range(GROUPS):
            lhs_group = self._words(quants, g, count)
            for r in range(count):
                for c, column in enumerate(columns):
                    sums[r][c] = isa.dot(f, rhs.code, sums[r][c], column.groups[g], lhs_group[r])
        dsum = isa.spread(f, F32, scalars, 2 * lhs.scalars_bytes, count) if rhs.code.has_min else []
        for r in range(count):
            for c, column in enumerate(columns):
                value = f.fma(isa.finish(f, rhs.code, sums[r][c]), d[r] * column.scale, acc[r][c].get())
                if column.minimum is not None:
                    value = f.fma(column.minimum, dsum[r], value)
                acc[r][c].set(value)

    def _words(self, quants: Value, word: int, count: int) -> list[Value]:
        """Four elements of each row, in every lane."""
        f, lhs, isa = self.f, self.tile.lhs, self.isa
        if lhs.kr == 4:  # those of all rows side by side
            return isa.spread(f, I32, quants, lhs.group_offset(word), count)
        return [isa.spread(f, I32, quants, lhs.word_offset(row, word), 1)[0] for row in range(count)]

    def _start(self, bias: Value | None) -> Value:
        if self.starts:
            return self.starts.load(vector(self.isa.lanes, I32))
        return self.isa.start(self.f, self.tile.rhs.code, bias)
