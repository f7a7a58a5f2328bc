"""What the plane GEMM and GEMV share: arguments, groups of panels, scalars of the LHS, the float steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.verbs import Entry, Verbs, floats
from kernels.jit.ir import F32, I32, I64, PTR, Function, Value, Variable
from kernels.jit.ir_types import AS_WRITTEN
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK

ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]
D, BIAS, DSUM, SUMS = 0, 1, 2, 3  # scalar fields of the LHS


@dataclass(frozen=True, slots=True)
class PlaneTile:
    """A matmul micro-kernel of `rows` x `panels` panels.

    prefetch_bytes: how far ahead the GEMV asks for weights; a GEMM asks for those of the next panels; 0: neither.
    as_written: instructions keep the order of the emitter, where LLVM's own needs more registers than there are.
    """

    name: MatmulName
    lhs: Qsi8d32
    rhs: PlaneRhs
    rows: int
    panels: int
    verbs: Verbs
    features: str
    prefetch_bytes: int = 0
    as_written: bool = False

    def function(self) -> Function:
        attributes = (AS_WRITTEN,) if self.as_written else ()
        return Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)


class Emission:
    """What GEMM and GEMV share: the groups of panels and a block's formula."""

    def __init__(self, tile: PlaneTile, f: Function, code: PlaneCode) -> None:
        """`code`: of the operands."""
        self.tile, self.f = tile, f
        self.lhs, self.rhs, self.verbs, self.code = tile.lhs, tile.rhs, tile.verbs, code
        self.floats = floats(tile.verbs.lanes)
        self.num_blocks = f["k"] >> 5
        self.lhs_panel_bytes = self.num_blocks * tile.lhs.block_bytes
        self.rhs_panel_bytes = tile.rhs.emit_panel_bytes(self.num_blocks)
        owes = bool(tile.verbs.owed(code))
        self.has_mins = tile.rhs.code.has_mins16
        self.needs_bias = owes and code.sub != SUB16
        self.needs_sums = code.sub == SUB16 and (owes or self.has_mins)
        self.needs_dsum = code.has_min and not self.has_mins

    def text(self) -> str:
        self.all_columns()
        self.f.ret()
        return self.f.text()

    def all_columns(self) -> None:
        f, nr = self.f, self.rhs.nr
        panel, n = f.variable(f["rhs"]), f.variable(f.const(I64, 0))
        width = nr * self.tile.panels
        if self.tile.panels > 1:
            with f.loop(0, f["n"] - (width - 1), width) as n0:
                self.columns(n0, panel.get(), self.tile.panels)
                panel.set(f.offset(panel.get(), self.rhs_panel_bytes * self.tile.panels))
                n.set(n0 + width)
        with f.loop(n.get(), f["n"], nr) as n0:
            self.columns(n0, panel.get(), 1)
            panel.set(f.offset(panel.get(), self.rhs_panel_bytes))

    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        raise NotImplementedError

    def owing(self, panels: Sequence[Value], rows: int) -> list[Value | None]:
        """What a sum starts from, for each unit of rows: the sums field, the bias field or nothing."""
        if self.needs_sums or self.needs_bias:
            return [*self.scalars(panels, rows, SUMS if self.needs_sums else BIAS, I32)]
        return [None] * sum(count for _, count in self._units(panels, rows))

    def scalars(self, panels: Sequence[Value], rows: int, field: int, element: str) -> list[Value]:
        """A field of the LHS for each unit of rows."""
        offset = field * self.lhs.scalars_bytes
        return [
            v for p, count in self._units(panels, rows) for v in self.verbs.spread(self.f, element, p, offset, count)
        ]

    def operands(self, panels: Sequence[Value], rows: int, group: int) -> list[Value]:
        f, lhs, units = self.f, self.lhs, self._units(panels, rows)
        if lhs.kr == BLOCK:  # a row's elements side by side
            offsets = [lhs.word_offset(row, group) for row in range(lhs.mr)]
            return [v for p, count in units for at in offsets[:count] for v in self.verbs.operands(f, p, at, 1)]
        offset = lhs.group_offset(group)
        return [v for p, count in units for v in self.verbs.operands(f, p, offset, count)]

    def _units(self, panels: Sequence[Value], rows: int) -> list[tuple[Value, int]]:
        """Each panel's address and how many units of the tile it holds."""
        lhs, per = self.lhs, self.verbs.rows
        return [(p, -(-min(lhs.mr, rows - index * lhs.mr) // per)) for index, p in enumerate(panels)]

    def accumulate(
        self, acc: Variable, total: Value, entry: Entry, d: Value, dsum: Value | None, sums: Value | None
    ) -> None:
        """The float steps of one vector of columns and one unit of rows."""
        f = self.f
        value = f.fma(f.cast("sitofp", total, self.floats), d * entry("scale"), acc.get())
        if self.has_mins:
            assert sums is not None
            mins = self.verbs.pair_dot(f, entry("mins"), sums)
            value = f.fma(f.cast("sitofp", mins, self.floats), d * entry("minimum"), value)
        elif dsum is not None:
            value = f.fma(entry("minimum"), dsum, value)
        acc.set(value)
