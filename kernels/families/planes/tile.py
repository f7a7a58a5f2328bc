"""What the GEMMs and GEMVs of planes share: arguments, groups of panels, scalars of the LHS, a block's float steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.verbs import Entry, Verbs, floats
from kernels.families.prefetch import Prefetch
from kernels.jit.ir import F32, I32, I64, PTR, Function, Value, Variable
from kernels.jit.ir_types import AS_WRITTEN
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK

ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]
D, BIAS, DSUM = 0, 1, 2  # scalar fields of qsi8d32


class IntegerLhs(Protocol):
    """Panels of int8 rows with scalar fields: qsi8d32, qsi8d256."""

    @property
    def mr(self) -> int: ...

    @property
    def kr(self) -> int: ...

    @property
    def scalars_bytes(self) -> int: ...

    @property
    def block_bytes(self) -> int: ...

    def group_offset(self, group: int) -> int: ...

    def word_offset(self, row: int, word: int) -> int: ...

    def emit_panel_bytes(self, num_blocks: Value) -> Value: ...


@dataclass(frozen=True, slots=True)
class PlaneTile:
    """A matmul micro-kernel of `rows` x `panels` panels.

    asks_ahead: a GEMM for the weights of the next panels, which few rows multiply sooner than memory answers.
    prefetch: a GEMV's.
    as_written: instructions keep the order of the emitter, where LLVM's own needs more registers than there are.
    """

    name: MatmulName
    lhs: IntegerLhs
    rhs: PlaneRhs
    rows: int
    panels: int
    verbs: Verbs
    features: str
    asks_ahead: bool = False
    as_written: bool = False
    prefetch: Prefetch | None = None

    def function(self) -> Function:
        attributes = (AS_WRITTEN,) if self.as_written else ()
        return Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)


class Emission:
    """The groups of panels, and the LHS of a tile."""

    def __init__(self, tile: PlaneTile, f: Function, code: PlaneCode) -> None:
        """`code`: of the operands."""
        self.tile, self.f = tile, f
        self.lhs, self.rhs, self.verbs, self.code = tile.lhs, tile.rhs, tile.verbs, code
        self.floats = floats(tile.verbs.lanes)
        self.num_blocks = f["k"] >> 5
        self.lhs_panel_bytes = tile.lhs.emit_panel_bytes(self.num_blocks)
        self.rhs_panel_bytes = tile.rhs.emit_panel_bytes(self.num_blocks)

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

    def store(self, n0: Value, values: Sequence[Value]) -> None:
        """One row's columns, a vector a panel."""
        f = self.f
        for p, value in enumerate(values):
            column = n0 + self.rhs.nr * p
            result = f.clamp(value, f["lo"], f["hi"])
            f.store_columns(f.offset(f["dst"], column << 2), [result], f["n"] - column)

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

    def num_units(self, panels: Sequence[Value], rows: int) -> int:
        return sum(count for _, count in self._units(panels, rows))

    def _units(self, panels: Sequence[Value], rows: int) -> list[tuple[Value, int]]:
        """Each panel's address and how many units of the tile it holds."""
        lhs, per = self.lhs, self.verbs.rows
        return [(p, -(-min(lhs.mr, rows - index * lhs.mr) // per)) for index, p in enumerate(panels)]


class BlockEmission(Emission):
    """The formula of a block of 32 with an f16 scale of its own."""

    @property
    def needs_dsum(self) -> bool:
        return self.code.has_min

    def owing(self, panels: Sequence[Value], rows: int) -> list[Value | None]:
        """What a sum starts from, for each unit of rows."""
        if self.verbs.owed(self.code):
            return [self.verbs.owed_of_bias(self.f, self.code, v) for v in self.scalars(panels, rows, BIAS, I32)]
        return [None] * self.num_units(panels, rows)

    def accumulate(self, acc: Variable, total: Value, entry: Entry, d: Value, dsum: Value | None) -> None:
        """The float steps of one vector of columns and one unit of rows."""
        f = self.f
        value = f.fma(f.cast("sitofp", total, self.floats), d * entry("scale"), acc.get())
        acc.set(value if dsum is None else f.fma(entry("minimum"), dsum, value))
