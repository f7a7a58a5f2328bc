"""The tile of 2x2 int8 matrix products (smmla), and the GEMV that reads the same packed weights with sdot.

    smmla: int32[2 rows, 2 columns] += int8[2 rows, 8] x int8[2 columns, 8]

A panel has 4 columns: two 16-byte operands a group of 8 elements. Rows come in pairs, 8 of them (4 pairs) a tile:
8 integer and 8 float accumulators, 8 unpacked weights and 4 operands of the LHS fill the 32 registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.rhs import Rhs32
from kernels.jit.ir import F16, F32, I8, I32, I64, PTR, Function, Value, Variable, vector
from kernels.naming import MatmulName

FLOATS, INTS, BYTES = vector(4, F32), vector(4, I32), vector(16, I8)
COLUMN_PAIRS = 2
GROUPS = 4  # of 8 elements in a block of 32
ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]


@dataclass(frozen=True, slots=True)
class MmlaTile:
    """A GEMM of `lhs.mr` x 4."""

    name: MatmulName
    lhs: Qsi8d32
    rhs: Rhs32
    features: str

    def emit(self) -> str:
        f = Function(str(self.name), [*ARGUMENTS, ("dst_stride", I64), ("lo", F32), ("hi", F32)], self.features)
        num_blocks = f["k"] >> 5
        panel = f.variable(f["rhs"])
        rest = f.remainder(f["m"], self.lhs.mr)
        full = f["m"] - rest
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            lhs_panel = f.variable(f["lhs"])
            with f.loop(0, full, self.lhs.mr) as m0:
                self._tile(f, lhs_panel.get(), panel.get(), m0, n0, self.lhs.mr, num_blocks)
                lhs_panel.set(f.offset(lhs_panel.get(), num_blocks * self.lhs.block_bytes))
            for few in range(1, self.lhs.mr):
                with f.when(f.compare("eq", rest, few)):
                    self._tile(f, lhs_panel.get(), panel.get(), full, n0, few, num_blocks)
            panel.set(f.offset(panel.get(), num_blocks * self.rhs.block_bytes))
        f.ret()
        return f.text()

    def _tile(self, f: Function, lhs: Value, rhs: Value, m0: Value, n0: Value, rows: int, num_blocks: Value) -> None:
        pairs = (rows + 1) // 2
        acc = [[f.variable(f.zero(FLOATS)) for _ in range(COLUMN_PAIRS)] for _ in range(pairs)]
        with f.loop(0, num_blocks) as index:
            block = f.offset(rhs, index * self.rhs.block_bytes)
            self._block(f, f.offset(lhs, index * self.lhs.block_bytes), block, acc)
        for pair in range(pairs):
            left, right = (acc[pair][c].get() for c in range(COLUMN_PAIRS))
            for odd, mask in enumerate(((0, 1, 4, 5), (2, 3, 6, 7))):
                if 2 * pair + odd < rows:
                    out = f.offset(f["dst"], (m0 + (2 * pair + odd)) * f["dst_stride"] + (n0 << 2))
                    value = f.clamp(f.shuffle(left, mask, right), f["lo"], f["hi"])
                    f.store_columns(out, [value], f["n"] - n0)

    def _block(self, f: Function, lhs: Value, rhs: Value, acc: list[list[Variable]]) -> None:
        code = self.rhs.code
        weights = unpack(f, self.rhs, rhs)
        scales = _by_column_pair(f, _halves(f, rhs, 0))
        mins = _by_column_pair(f, _halves(f, rhs, self.rhs.min_offset)) if code.has_min else None
        for pair, columns in enumerate(acc):
            d = f.load(FLOATS, lhs, 16 * pair, align=4)
            bias = (
                f.load(INTS, lhs, self.lhs.scalars_bytes + 16 * pair, align=4) if self.rhs.needs_bias else f.zero(INTS)
            )
            sums = [bias] * COLUMN_PAIRS
            for g in range(GROUPS):
                operand = f.load(BYTES, lhs, self.lhs.group_offset(g) + 16 * pair)
                sums = [
                    f.call("llvm.aarch64.neon.smmla.v4i32.v16i8", INTS, sums[c], operand, weights[c][g])
                    for c in range(COLUMN_PAIRS)
                ]
            for c, variable in enumerate(columns):
                value = f.fma(f.cast("sitofp", sums[c], FLOATS), d * scales[c], variable.get())
                if mins is not None:
                    dsum = f.load(FLOATS, lhs, 2 * self.lhs.scalars_bytes + 16 * pair, align=4)
                    value = f.fma(mins[c], dsum, value)
                variable.set(value)


@dataclass(frozen=True, slots=True)
class PairedGemv:
    """m = 1 on panels of 4 columns x 8 elements: sdot leaves two partial sums a column, addp joins them."""

    name: MatmulName
    lhs: Qsi8d32
    rhs: Rhs32
    panels: int
    features: str

    def emit(self) -> str:
        f = Function(str(self.name), [*ARGUMENTS, ("dst_stride", I64), ("lo", F32), ("hi", F32)], self.features)
        panel_bytes = (f["k"] >> 5) * self.rhs.block_bytes
        panel = f.variable(f["rhs"])
        n = f.variable(f.const(I64, 0))
        width = self.panels * self.rhs.nr
        with f.loop(0, f["n"] - (width - 1), width) as n0:
            self._columns(f, panel.get(), panel_bytes, n0, self.panels)
            panel.set(f.offset(panel.get(), panel_bytes * self.panels))
            n.set(n0 + width)
        with f.loop(n.get(), f["n"], self.rhs.nr) as n0:
            self._columns(f, panel.get(), panel_bytes, n0, 1)
            panel.set(f.offset(panel.get(), panel_bytes))
        f.ret()
        return f.text()

    def _columns(self, f: Function, panel: Value, panel_bytes: Value, n0: Value, panels: int) -> None:
        acc = [f.variable(f.zero(FLOATS)) for _ in range(panels)]
        with f.loop(0, f["k"] >> 5) as index:
            lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
            block = f.offset(panel, index * self.rhs.block_bytes)
            twice = [self._twice(f, lhs, g) for g in range(GROUPS)]
            d = f.splat(f.load(F32, lhs, 0, align=4), FLOATS)
            for p, variable in enumerate(acc):
                variable.set(self._panel(f, f.offset(block, panel_bytes * p), lhs, twice, d, variable.get()))
        for p, variable in enumerate(acc):
            value = f.clamp(variable.get(), f["lo"], f["hi"])
            column = n0 + self.rhs.nr * p
            f.store_columns(f.offset(f["dst"], column << 2), [value], f["n"] - column)

    def _twice(self, f: Function, lhs: Value, group: int) -> Value:
        eight = f.load(I64, lhs, self.lhs.group_offset(group))
        return f.cast("bitcast", f.splat(eight, vector(2, I64)), BYTES)

    def _panel(self, f: Function, rhs: Value, lhs: Value, twice: list[Value], d: Value, acc: Value) -> Value:
        weights = unpack(f, self.rhs, rhs)
        sums = [f.zero(INTS)] * COLUMN_PAIRS
        for g in range(GROUPS):
            sums = [
                f.call("llvm.aarch64.neon.sdot.v4i32.v16i8", INTS, sums[c], weights[c][g], twice[g])
                for c in range(COLUMN_PAIRS)
            ]
        total = f.call("llvm.aarch64.neon.addp.v4i32", INTS, *sums)
        if self.rhs.needs_bias:
            total = total + f.splat(f.load(I32, lhs, self.lhs.scalars_bytes, align=4), INTS)
        value = f.fma(f.cast("sitofp", total, FLOATS), d * _halves(f, rhs, 0), acc)
        if self.rhs.code.has_min:
            dsum = f.splat(f.load(F32, lhs, 2 * self.lhs.scalars_bytes, align=4), FLOATS)
            value = f.fma(_halves(f, rhs, self.rhs.min_offset), dsum, value)
        return value


def unpack(f: Function, rhs: Rhs32, block: Value) -> list[list[Value]]:
    """The operands of one block: [column pair][group of 8 elements]."""
    loaded = [
        [f.load(BYTES, block, rhs.group_offset(g) + 16 * c) for g in range(rhs.num_groups)] for c in range(COLUMN_PAIRS)
    ]
    if not rhs.code.is_nibble:
        return loaded
    return [[w & 15 for w in column] + [w >> 4 for w in column] for column in loaded]


def _halves(f: Function, block: Value, offset: int) -> Value:
    return f.cast("fpext", f.load(vector(4, F16), block, offset), FLOATS)


def _by_column_pair(f: Function, columns: Value) -> list[Value]:
    """[c0 c1 c2 c3] -> [c0 c1 c0 c1], [c2 c3 c2 c3], as the 2x2 products lie."""
    return [f.shuffle(columns, mask) for mask in ((0, 1, 0, 1), (2, 3, 2, 3))]
