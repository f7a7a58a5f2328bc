"""Results of a channel's int32 sums, two rows at a time, between the products of the tile that follows."""

from __future__ import annotations

from kernels.families.amx.pipeline import TILE_BYTES
from kernels.families.rowwise.lanes import RowEmission
from kernels.jit.ir import F32, I32, I64, Value
from kernels.jit.masked import FLOATS, INTS, LANES, first_lanes, store_lanes
from kernels.jit.tiles import ROW_BYTES


class WaitingRows:
    """Up to 16 rows whose sums are in memory and whose results are not in dst. sums: a tile of each panel."""

    def __init__(self, lanes: RowEmission, num_panels: int) -> None:
        f = self.f = lanes.f
        self.lanes = lanes
        self.count = f.variable(f.const(I64, 0))
        self.scalars, self.sums, self.out = (f.variable(f[name]) for name in ("lhs", "dst", "dst"))
        self.panels = [f.variable(f["rhs"]) for _ in range(num_panels)]
        self.left = f.variable(f.const(I64, 0))

    def set(self, rows: Value, lhs: Value, sums: Value, out: Value, panels: list[Value], left: Value) -> None:
        """rows: how many, up to 16; lhs, sums, out: of the first one; left: columns."""
        self.count.set(rows)
        self.scalars.set(lhs)
        self.sums.set(sums)
        self.out.set(out)
        for variable, panel in zip(self.panels, panels, strict=True):
            variable.set(panel)
        self.left.set(left)

    @property
    def pairs(self) -> Value:
        return self.count.get() >> 1

    def pair(self) -> None:
        """The next two, which must be there."""
        for _ in range(2):
            self._row()

    def finish(self) -> None:
        with self.f.loop(0, self.count.get()):
            self._row()

    def _row(self) -> None:
        f, lanes = self.f, self.lanes
        scalars, sums, out = self.scalars.get(), self.sums.get(), self.out.get()
        d = f.splat(f.load(F32, scalars, align=4), FLOATS)
        zero = f.load(I32, scalars, lanes.lhs.zero_offset, align=4)
        bias = f.load(I32, scalars, lanes.lhs.bias_offset, align=4)
        for p, panel in enumerate(self.panels):
            total = f.load(INTS, sums, p * TILE_BYTES, align=64)
            value = f.clamp(lanes.result(total, panel.get(), d, zero, bias), f["lo"], f["hi"])
            mask = first_lanes(f, self.left.get() - p * LANES)
            store_lanes(f, value, f.offset(out, 4 * LANES * p), mask)
        self.count.set(self.count.get() - 1)
        self.scalars.set(f.offset(scalars, 4))
        self.sums.set(f.offset(sums, ROW_BYTES))
        self.out.set(f.offset(out, f["dst_stride"]))
