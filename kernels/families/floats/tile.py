"""The float tile: acc[row, column] = fma(lhs[row, k], rhs[k, column], acc), k ascending, columns in vector lanes.

GEMV and GEMM use the same instruction in the same order, so a row's bits never depend on the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kernels.families.floats.layout import K_STEP, FloatRhs
from kernels.jit.ir import F32, I16, I32, I64, PTR, Function, Value, Variable, vector
from kernels.naming import MatmulName


class HalfLoader(Protocol):
    """What the tile needs of an instruction set."""

    @property
    def lanes(self) -> int: ...

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value: ...


@dataclass(frozen=True, slots=True)
class FloatTile:
    """A matmul micro-kernel of `rows` x `panels` panels. `by_element`: fma takes one lane of a vector as an operand."""

    name: MatmulName
    rhs: FloatRhs
    rows: int
    panels: int
    isa: HalfLoader
    by_element: bool
    features: str

    def emit(self) -> str:
        arguments = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR)]
        f = Function(str(self.name), [*arguments, ("dst_stride", I64), ("lo", F32), ("hi", F32)], self.features)
        panel_bytes = f["k"] * (self.rhs.nr * self.rhs.code.element_bytes)
        panel = f.variable(f["rhs"])
        n = f.variable(f.const(I64, 0))
        width = self.rhs.nr * self.panels
        if self.panels > 1:
            with f.loop(0, f["n"] - (width - 1), width) as n0:
                self._row_tiles(f, n0, panel.get(), panel_bytes, self.panels)
                panel.set(f.offset(panel.get(), panel_bytes * self.panels))
                n.set(n0 + width)
        with f.loop(n.get(), f["n"], self.rhs.nr) as n0:
            self._row_tiles(f, n0, panel.get(), panel_bytes, 1)
            panel.set(f.offset(panel.get(), panel_bytes))
        f.ret()
        return f.text()

    def _row_tiles(self, f: Function, n0: Value, panel: Value, panel_bytes: Value, panels: int) -> None:
        rest = f.remainder(f["m"], self.rows)
        full = f["m"] - rest
        with f.loop(0, full, self.rows) as m0:
            self._tile(f, m0, n0, panel, panel_bytes, self.rows, panels)
        for few in range(1, self.rows):
            with f.when(f.compare("eq", rest, few)):
                self._tile(f, full, n0, panel, panel_bytes, few, panels)

    def _tile(
        self, f: Function, m0: Value, n0: Value, panel: Value, panel_bytes: Value, rows: int, panels: int
    ) -> None:
        vectors = self.rhs.nr // self.isa.lanes
        floats = vector(self.isa.lanes, F32)
        lhs_row = f["k"] << 2
        first = f.offset(f["lhs"], m0 * lhs_row)
        lhs = [f.offset(first, lhs_row * r) for r in range(rows)]
        rhs = [f.offset(panel, panel_bytes * p) for p in range(panels)]
        acc = [[f.variable(f.zero(floats)) for _ in range(panels * vectors)] for _ in range(rows)]
        with f.loop(0, f["k"], K_STEP) as k:
            operands = [self._lhs(f, row, k) for row in lhs]
            at = [f.offset(p, k * (self.rhs.nr * self.rhs.code.element_bytes)) for p in rhs]
            for step in range(K_STEP):
                columns = [self._rhs(f, p, step, v) for p in at for v in range(vectors)]
                for r in range(rows):
                    for c, column in enumerate(columns):
                        acc[r][c].set(f.fma(operands[r][step], column, acc[r][c].get()))
        for r in range(rows):
            out = f.offset(f["dst"], (m0 + r) * f["dst_stride"] + (n0 << 2))
            for p in range(panels):
                self._store(f, f.offset(out, 4 * self.rhs.nr * p), acc[r][p * vectors : (p + 1) * vectors], n0, p)

    def _lhs(self, f: Function, row: Value, k: Value) -> list[Value]:
        """Four elements of one row, each in every lane."""
        at, lanes = f.offset(row, k << 2), self.isa.lanes
        if self.by_element:
            four = f.load(vector(K_STEP, F32), at, align=4)
            return [f.shuffle(four, [step] * lanes) for step in range(K_STEP)]
        return [f.splat(f.load(F32, at, 4 * step, align=4), vector(lanes, F32)) for step in range(K_STEP)]

    def _rhs(self, f: Function, panel: Value, step: int, v: int) -> Value:
        code, lanes = self.rhs.code, self.isa.lanes
        offset = (step * self.rhs.nr + v * lanes) * code.element_bytes
        if code.source == "F16":
            return self.isa.half_to_float(f, panel, offset)
        if code.source == "F32":
            return f.load(vector(lanes, F32), panel, offset, align=4)
        words = f.cast("zext", f.load(vector(lanes, I16), panel, offset), vector(lanes, I32))
        return f.cast("bitcast", words << 16, vector(lanes, F32))

    def _store(self, f: Function, out: Value, acc: list[Variable], n0: Value, panel: int) -> None:
        left = f["n"] - (n0 + panel * self.rhs.nr)
        f.store_columns(out, [f.clamp(a.get(), f["lo"], f["hi"]) for a in acc], left)
