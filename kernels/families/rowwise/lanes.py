"""The row-wise tile whose vector lanes are columns; the verbs are those of kernels.families.block32.lanes.

    a scale a channel:  sum += dot4(weights, lhs) over all of K, int32
                        out = f32(sum - zero x sum(w)) * (d * s)
    a scale a group:    acc = fma(f32(sum over the group), s, acc)
                        out = d * fma(-zero, t, acc)

Knows loops, tails and the formulas; an `Isa` knows the instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.float_bits import start_bits
from kernels.families.block32.lanes import Isa
from kernels.families.prefetch import Prefetch
from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.rhs import RowRhs
from kernels.jit.constants import MemoryConstants
from kernels.jit.ir import F32, I8, I32, I64, PTR, Function, Value, Variable, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK

GROUPS = 8  # of 4 elements in a block of 32
ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]


@dataclass(frozen=True, slots=True)
class RowTile:
    """A matmul micro-kernel of `rows` x `panels` panels of one vector each.

    joins: sums of a block are int16 pairs, joined to int32 after it. float_bits: the sums of a group start as
    kernels.families.block32.float_bits has it. prefetch: of weights, where few rows are multiplied.
    """

    name: MatmulName
    lhs: Qai8dx
    rhs: RowRhs
    rows: int
    panels: int
    isa: Isa
    features: str
    joins: bool = False
    float_bits: bool = False
    prefetch: Prefetch | None = None

    def emit(self) -> str:
        return RowEmission.begin(self).text()


class RowEmission:
    """One kernel being written: the values every part of it uses."""

    def __init__(self, tile: RowTile, f: Function) -> None:
        self.tile, self.f, self.isa = tile, f, tile.isa
        self.lhs, self.rhs, self.code = tile.lhs, tile.rhs, tile.rhs.code
        lanes = tile.isa.lanes
        self.floats, self.ints = vector(lanes, F32), vector(lanes, I32)
        self.num_turns = f.emit(I64, f"udiv exact i64 {f['k'].name}, {tile.rhs.turn}")
        self.lhs_panel_bytes = tile.lhs.emit_panel_bytes(f["k"] >> 5)
        self.rhs_panel_bytes = self.num_turns * tile.rhs.turn_bytes + tile.rhs.header_bytes
        bits = [start_bits(self.code.verbs)]
        self.starts = MemoryConstants(f, bits, 4 * lanes, tile.rows * tile.panels) if tile.float_bits else None

    @classmethod
    def begin(cls, tile: RowTile, *attributes: str) -> RowEmission:
        if tile.float_bits:
            attributes = (AS_WRITTEN,)
        f = Function(str(tile.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], tile.features, attributes=attributes)
        return cls(tile, f)

    def text(self) -> str:
        self.columns_from(self.f.const(I64, 0))
        self.f.ret()
        return self.f.text()

    def columns_from(self, first: Value) -> None:
        """The columns from `first`, where a panel begins, to the last."""
        f, nr = self.f, self.rhs.nr
        panel = f.variable(f.offset(f["rhs"], f.divide_exactly(first, nr) * self.rhs_panel_bytes))
        n = f.variable(first)
        width = nr * self.tile.panels
        if self.tile.panels > 1:
            with f.loop(first, f["n"] - (width - 1), width) as n0:
                self._row_tiles(n0, panel.get(), self.tile.panels)
                panel.set(f.offset(panel.get(), self.rhs_panel_bytes * self.tile.panels))
                n.set(n0 + width)
        with f.loop(n.get(), f["n"], nr) as n0:
            self._row_tiles(n0, panel.get(), 1)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes))

    def _row_tiles(self, n0: Value, panel: Value, panels: int) -> None:
        f, rows = self.f, self.tile.rows
        rest = f.remainder(f["m"], rows)
        full = f["m"] - rest
        with f.loop(0, full, rows) as m0:
            self._tile(m0, n0, panel, rows, panels)
        for few in range(1, rows):
            with f.when(f.compare("eq", rest, few)):
                self._tile(full, n0, panel, few, panels)

    def _tile(self, m0: Value, n0: Value, panel: Value, rows: int, panels: int) -> None:
        f, lhs = self.f, self.lhs
        first = f.offset(f["lhs"], f.divide_exactly(m0, lhs.mr) * self.lhs_panel_bytes)
        lhs_panels = [f.offset(first, self.lhs_panel_bytes * p) for p in range(-(-rows // lhs.mr))]
        rhs_panels = [f.offset(panel, self.rhs_panel_bytes * p) for p in range(panels)]
        zero = f.zero(self.floats) if self.code.group else self._none()
        acc = [[f.variable(zero) for _ in range(panels)] for _ in range(rows)]
        blocks_in_turn = self.rhs.turn // BLOCK
        with f.loop(0, self.num_turns) as index:
            if self.starts:
                self.starts.refresh()
            turns = [f.offset(p, index * self.rhs.turn_bytes + self.rhs.header_bytes) for p in rhs_panels]
            if self.tile.prefetch:
                self.tile.prefetch.ask(f, turns[0], self.rhs.turn_bytes)
            first_block = index * blocks_in_turn
            self._turn([lhs.emit_block(f, p, first_block) for p in lhs_panels], turns, acc)
        self.finish(lhs_panels, rhs_panels, acc, m0, n0)

    def _none(self) -> Value:
        """A sum of no products: int32 once blocks are joined, else as the instructions keep it."""
        if self.tile.joins:
            return self.f.zero(self.ints)
        return self.f.zero(self.isa.start(self.f, self.code.verbs, None).type)

    def _turn(self, lhs: list[Value], turns: list[Value], acc: list[list[Variable]]) -> None:
        """One turn of K for all rows and panels."""
        totals: list[list[Value | None]] = [[None] * len(turns) for _ in acc]
        if self.code.group is None:
            totals = [[variable.get() for variable in row] for row in acc]
        for block in range(self.rhs.turn // BLOCK):
            columns = [self.column(turn, block) for turn in turns]
            for p, panel in enumerate(lhs):
                rows = slice(p * self.lhs.mr, min(len(acc), (p + 1) * self.lhs.mr))
                at = self.f.offset(panel, self.lhs.block_offset(block))
                totals[rows] = self._block(at, columns, totals[rows])
        if self.code.group is None:
            for row, sums in zip(acc, totals, strict=True):
                for variable, total in zip(row, sums, strict=True):
                    assert total is not None
                    variable.set(total)
            return
        scales = [self.isa.half_to_float(self.f, turn, 0) for turn in turns]
        for row, sums in zip(acc, totals, strict=True):
            for variable, total, scale in zip(row, sums, scales, strict=True):
                assert total is not None
                variable.set(self.f.fma(self._to_float(total), scale, variable.get()))

    def _block(
        self, lhs: Value, columns: list[list[Value]], totals: list[list[Value | None]]
    ) -> list[list[Value | None]]:
        """Adds one block of K for the rows of one LHS panel."""
        f, isa, verbs, count = self.f, self.isa, self.code.verbs, len(totals)
        by_block = self.rhs.needs_bias and (self.tile.joins or self.code.group is not None)
        biases = isa.spread(f, I32, lhs, 0, count) if by_block else [None] * count
        sums = [[self._start(total, bias) for total in row] for row, bias in zip(totals, biases, strict=True)]
        for g in range(GROUPS):
            operands = self._words(lhs, g, count)
            for row, operand in zip(sums, operands, strict=True):
                for c, groups in enumerate(columns):
                    row[c] = isa.dot(f, verbs, row[c], groups[g], operand)
        if not self.tile.joins:
            return [list(row) for row in sums]
        joined = [[isa.join(f, verbs, value) for value in row] for row in sums]
        added = [
            [value if total is None else total + value for value, total in zip(row, old, strict=True)]
            for row, old in zip(joined, totals, strict=True)
        ]
        if self.code.group is None:
            return [list(row) for row in added]
        # Left alone, LLVM begins the group's next block before this one ends, and spills.
        return [[f.pinned(value, "w" if self.tile.name.engine == "neon" else "x") for value in row] for row in added]

    def _words(self, block: Value, word: int, count: int) -> list[Value]:
        """Four elements of each row, in every lane."""
        f, lhs, isa = self.f, self.lhs, self.isa
        if lhs.kr == 4:  # those of all rows side by side
            return isa.spread(f, I32, block, lhs.group_offset(word), count)
        return [isa.spread(f, I32, block, lhs.word_offset(row, word), 1)[0] for row in range(count)]

    def _start(self, total: Value | None, bias: Value | None) -> Value:
        """What a block's sum starts from: the sum so far unless blocks are joined, and the block's bias, if any."""
        f, isa, verbs = self.f, self.isa, self.code.verbs
        if total is None or self.tile.joins:
            if self.starts and self.code.group is not None:
                return self.starts.load(self.ints)
            return self._none() if bias is None and not self.tile.joins else isa.start(f, verbs, bias)
        return total if bias is None else total + isa.start(f, verbs, bias)

    def column(self, turn: Value, block: int) -> list[Value]:
        """The 8 groups of 4 weights a lane of one block."""
        f, rhs, lanes = self.f, self.rhs, self.isa.lanes
        loaded = [f.load(vector(4 * lanes, I8), turn, rhs.group_offset(block, g)) for g in range(rhs.num_groups)]
        return unpack(loaded, rhs) if self.code.is_nibble else loaded

    def _to_float(self, total: Value) -> Value:
        """The sum of a group as f32."""
        f, isa, verbs = self.f, self.isa, self.code.verbs
        if self.starts:
            return isa.finish(f, verbs, total)
        joined = total if self.tile.joins else isa.join(f, verbs, total)
        return f.cast("sitofp", joined, self.floats)

    def finish(self, lhs: list[Value], rhs: list[Value], acc: list[list[Variable]], m0: Value, n0: Value) -> None:
        """Results from the sums. lhs, rhs: where the panels begin."""
        f, mr, nr = self.f, self.lhs.mr, self.rhs.nr
        for r, row in enumerate(acc):
            panel, lane = lhs[r // mr], 4 * (r % mr)
            d = f.splat(f.load(F32, panel, lane, align=4), self.floats)
            zero = f.load(I32, panel, self.lhs.zero_offset + lane, align=4)
            bias = f.load(I32, panel, self.lhs.bias_offset + lane, align=4)
            out = f.offset(f["dst"], (m0 + r) * f["dst_stride"] + (n0 << 2))
            for p, variable in enumerate(row):
                value = self.result(variable.get(), rhs[p], d, zero, bias)
                f.store_columns(f.offset(out, 4 * nr * p), [f.clamp(value, f["lo"], f["hi"])], f["n"] - (n0 + nr * p))

    def result(self, total: Value, panel: Value, d: Value, zero: Value, bias: Value) -> Value:
        """Of one row and the columns of a panel, which begins at `panel`, header included."""
        f = self.f
        if self.code.group is not None:
            point = f.splat(f.cast("sitofp", f.const(I32, 0) - zero, F32), self.floats)
            return d * f.fma(point, f.load(self.floats, panel, align=4), total)
        if not self.tile.joins:
            total = self.isa.join(f, self.code.verbs, total)
            if self.rhs.needs_bias:
                total = total + f.splat(bias if self.code.is_nibble else bias << 4, self.ints)
        if self.code.is_nibble and self.rhs.flip_sign:
            total = f.emit(self.ints, f"ashr exact {self.ints} {total.name}, {f.const(self.ints, 4).name}")
        sums = f.load(self.ints, panel, self.rhs.sum_offset, align=4)
        total = total - f.splat(zero, self.ints) * sums
        return f.cast("sitofp", total, self.floats) * (d * f.load(self.floats, panel, align=4))


def unpack(groups: list[Value], rhs: RowRhs) -> list[Value]:
    """Bytes of two nibbles -> the low ones' and the high ones' groups; signed ones 16 times too large."""
    if rhs.flip_sign:
        return [w << 4 for w in groups] + [w & 0xF0 for w in groups]
    return [w & 15 for w in groups] + [w >> 4 for w in groups]
