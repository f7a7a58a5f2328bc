"""The tile of 2x2 int8 matrix products (smmla), and the GEMV that reads the same packed weights with sdot.

    smmla: int32[2 rows, 2 columns] += int8[2 rows, 8] x int8[2 columns, 8], for each 128 bits

A panel is two vectors wide: two operands a group of 8 elements. Rows come in pairs. With 8 rows a tile, 8 float
accumulators, 8 unpacked weights, and the sums and operands of two pairs, which NEON loads together, leave some of the
32 registers free; with 16 rows, 16 accumulators, 8 weights and one pair at a time fill them.
Knows loops, tails and the formula; an `MmlaIsa` knows the instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.float_bits import finish, start_bits
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.mmla_isa import MmlaIsa
from kernels.families.block32.rhs import Rhs32, unpack_nibbles
from kernels.jit.constants import MemoryConstants
from kernels.jit.ir import F32, I64, PTR, Function, Value, Variable
from kernels.jit.ir_types import AS_WRITTEN
from kernels.naming import MatmulName

VECTORS = 2  # of a panel
GROUPS = 4  # of 8 elements in a block of 32
SIZES = [("m", I64), ("n", I64), ("k", I64)]
ARGUMENTS = [*SIZES, ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64), ("lo", F32), ("hi", F32)]


@dataclass(frozen=True, slots=True)
class MmlaTile:
    """A GEMM of `rows`, whole panels of the LHS, x one panel. `pairs_at_once`: of rows, whose sums are in flight."""

    name: MatmulName
    lhs: Qsi8d32
    rhs: Rhs32
    rows: int
    pairs_at_once: int
    isa: MmlaIsa
    features: str

    def emit(self) -> str:
        f = Function(str(self.name), ARGUMENTS, self.features, attributes=(*self.isa.attributes, AS_WRITTEN))
        num_blocks = f["k"] >> 5
        starts = self.isa.constants(f, [start_bits(self.rhs.code)], self.rows // 2 * VECTORS)
        panel = f.variable(f["rhs"])
        rest = f.remainder(f["m"], self.lhs.mr)
        full = f["m"] - rest
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            lhs_panel, done = f.variable(f["lhs"]), f.variable(f.const(I64, 0))
            for rows in dict.fromkeys((self.rows, self.lhs.mr)):
                with f.loop(done.get(), full - (rows - 1), rows) as m0:
                    self._tile(f, starts, lhs_panel.get(), panel.get(), m0, n0, rows, num_blocks)
                    panels_bytes = num_blocks * (self.lhs.block_bytes * (rows // self.lhs.mr))
                    lhs_panel.set(f.offset(lhs_panel.get(), panels_bytes))
                    done.set(m0 + rows)
            for few in range(1, self.lhs.mr):
                with f.when(f.compare("eq", rest, few)):
                    self._tile(f, starts, lhs_panel.get(), panel.get(), full, n0, few, num_blocks)
            panel.set(f.offset(panel.get(), num_blocks * self.rhs.block_bytes))
        f.ret()
        return f.text()

    def _tile(
        self,
        f: Function,
        starts: MemoryConstants,
        lhs: Value,
        rhs: Value,
        m0: Value,
        n0: Value,
        rows: int,
        num_blocks: Value,
    ) -> None:
        pairs = (rows + 1) // 2
        acc = [[f.variable(f.zero(self.isa.floats)) for _ in range(VECTORS)] for _ in range(pairs)]
        panel_bytes = num_blocks * self.lhs.block_bytes
        panels = [f.offset(lhs, panel_bytes * p) for p in range(-(-rows // self.lhs.mr))]
        with f.loop(0, num_blocks) as index:
            starts.refresh()
            at = index * self.lhs.block_bytes
            block = f.offset(rhs, index * self.rhs.block_bytes)
            self._block(f, starts, [f.offset(panel, at) for panel in panels], block, acc)
        for pair in range(pairs):
            both = self.isa.rows(f, acc[pair][0].get(), acc[pair][1].get())
            for odd, value in enumerate(both[: rows - 2 * pair]):
                out = f.offset(f["dst"], (m0 + (2 * pair + odd)) * f["dst_stride"] + (n0 << 2))
                self.isa.store(f, f.clamp(value, f["lo"], f["hi"]), out, f["n"] - n0)

    def _block(
        self, f: Function, starts: MemoryConstants, lhs: list[Value], rhs: Value, acc: list[list[Variable]]
    ) -> None:
        code, isa = self.rhs.code, self.isa
        weights = unpack(f, isa, self.rhs, rhs)
        scales = isa.beside_products(f, isa.halves(f, rhs, 0))
        mins = isa.beside_products(f, isa.halves(f, rhs, self.rhs.min_offset)) if code.has_min else None
        for first in range(0, len(acc), self.pairs_at_once):
            pairs = range(first, min(first + self.pairs_at_once, len(acc)))
            sums = {pair: [starts.load(isa.ints) for _ in range(VECTORS)] for pair in pairs}
            for g in range(GROUPS):
                operands = [self._pair(f, isa.bytes, lhs, pair, self.lhs.group_offset(g)) for pair in pairs]
                for pair, operand in zip(pairs, operands, strict=True):
                    sums[pair] = [isa.mmla(f, sums[pair][c], operand, weights[c][g]) for c in range(VECTORS)]
            for pair in pairs:
                d = self._pair(f, isa.floats, lhs, pair, 0)
                for c, variable in enumerate(acc[pair]):
                    value = f.fma(finish(f, code, sums[pair][c], isa.floats), d * scales[c], variable.get())
                    if mins is not None:
                        dsum = self._pair(f, isa.floats, lhs, pair, 2 * self.lhs.scalars_bytes)
                        value = f.fma(mins[c], dsum, value)
                    variable.set(value)

    def _pair(self, f: Function, type_: str, lhs: list[Value], pair: int, offset: int) -> Value:
        """A pair of rows' 16 bytes of a field or group."""
        panel, beside = divmod(pair, self.lhs.mr // 2)
        return self.isa.pair_of_rows(f, type_, lhs[panel], offset + 16 * beside)


@dataclass(frozen=True, slots=True)
class PairedGemv:
    """m = 1 on the same panels: sdot leaves two partial sums a column, neighbours, joined once a block."""

    name: MatmulName
    lhs: Qsi8d32
    rhs: Rhs32
    panels: int
    isa: MmlaIsa
    features: str

    def emit(self) -> str:
        f = Function(str(self.name), ARGUMENTS, self.features, attributes=(*self.isa.attributes, AS_WRITTEN))
        panel_bytes = (f["k"] >> 5) * self.rhs.block_bytes
        panel = f.variable(f["rhs"])
        n = f.variable(f.const(I64, 0))
        width = self.panels * self.rhs.nr
        starts = self.isa.constants(f, [start_bits(self.rhs.code), 0], self.panels * VECTORS)
        with f.loop(0, f["n"] - (width - 1), width) as n0:
            self._columns(f, starts, panel.get(), panel_bytes, n0, self.panels)
            panel.set(f.offset(panel.get(), panel_bytes * self.panels))
            n.set(n0 + width)
        with f.loop(n.get(), f["n"], self.rhs.nr) as n0:
            self._columns(f, starts, panel.get(), panel_bytes, n0, 1)
            panel.set(f.offset(panel.get(), panel_bytes))
        f.ret()
        return f.text()

    def _columns(
        self, f: Function, starts: MemoryConstants, panel: Value, panel_bytes: Value, n0: Value, panels: int
    ) -> None:
        acc = [f.variable(f.zero(self.isa.floats)) for _ in range(panels)]
        with f.loop(0, f["k"] >> 5) as index:
            starts.refresh()
            lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
            block = f.offset(panel, index * self.rhs.block_bytes)
            row = [self.isa.eight(f, lhs, self.lhs.group_offset(g)) for g in range(GROUPS)]
            d = f.splat(f.load(F32, lhs, 0, align=4), self.isa.floats)
            for p, variable in enumerate(acc):
                variable.set(self._panel(f, starts, f.offset(block, panel_bytes * p), lhs, row, d, variable.get()))
        for p, variable in enumerate(acc):
            value = f.clamp(variable.get(), f["lo"], f["hi"])
            column = n0 + self.rhs.nr * p
            self.isa.store(f, value, f.offset(f["dst"], column << 2), f["n"] - column)

    def _panel(
        self, f: Function, starts: MemoryConstants, rhs: Value, lhs: Value, row: list[Value], d: Value, acc: Value
    ) -> Value:
        isa, code = self.isa, self.rhs.code
        weights = unpack(f, isa, self.rhs, rhs)
        sums = [starts.load(isa.ints) for _ in range(VECTORS)]
        for g in range(GROUPS):
            sums = [isa.dot(f, sums[c], weights[c][g], row[g]) for c in range(VECTORS)]
        value = f.fma(finish(f, code, isa.join(f, *sums), isa.floats), d * isa.halves(f, rhs, 0), acc)
        if code.has_min:
            dsum = f.splat(f.load(F32, lhs, 2 * self.lhs.scalars_bytes, align=4), isa.floats)
            value = f.fma(isa.halves(f, rhs, self.rhs.min_offset), dsum, value)
        return value


def unpack(f: Function, isa: MmlaIsa, rhs: Rhs32, block: Value) -> list[list[Value]]:
    """The operands of one block: [vector of the panel][group of 8 elements]."""
    loaded = [
        [f.load(isa.bytes, block, rhs.group_offset(g) + isa.vector_bytes * c) for g in range(rhs.num_groups)]
        for c in range(VECTORS)
    ]
    if not rhs.code.is_nibble:
        return loaded
    return [unpack_nibbles(rhs, column) for column in loaded]
