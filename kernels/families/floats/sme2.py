"""The float GEMM and GEMV of SME2, for one streaming vector length: outer products, and fma of one row by element.

    GEMM, 1 x 4 vectors:  for each k  tile v = outer product of a column of the LHS and vector v of the RHS
    GEMV, 4 x 4 vectors:  for each k  four rows of tile p = fma(panel p's vectors, x[k], four rows of tile p)

Both fuse multiplication and addition, k ascending, as every other rung: no bit differs. bfmopa, which adds up pairs of
bf16 products and wants the LHS rounded to bf16, would change them, and is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.floats.layout import K_STEP, FloatRhs, PlainLhs
from kernels.jit.ir import F16, F32, I16, I32, I64, PTR, Function, Value, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.scalable import as_scalable, first_lanes, load_repeated, store_lanes
from kernels.jit.streaming import (
    FLOATS,
    ArrayIndices,
    add_outer_floats,
    fma_four_by_lane,
    load_four,
    read_four,
    streaming_attributes,
    tile_row,
    zero_tiles,
)
from kernels.naming import MatmulName

VECTORS = 4  # of a panel
GEMV_PANELS = 4
ARGUMENTS = [("m", I64), ("n", I64), ("k", I64), ("lhs", PTR), ("rhs", PTR), ("dst", PTR), ("dst_stride", I64)]


@dataclass(frozen=True, slots=True)
class _StreamingFloats:
    name: MatmulName
    lhs: PlainLhs
    rhs: FloatRhs
    features: str

    @property
    def lanes(self) -> int:
        return self.rhs.nr // VECTORS

    @property
    def vector_bytes(self) -> int:
        return 4 * self.lanes

    def begin(self) -> Function:
        attributes = (*streaming_attributes(32 * self.lanes), AS_WRITTEN)
        return Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)

    def columns(self, f: Function, panel: Value, k: Value, step: int) -> list[Value]:
        """The four vectors of k + step."""
        code = self.rhs.code
        row_bytes = self.rhs.nr * code.element_bytes
        at = f.offset(f.offset(panel, k * row_bytes), step * row_bytes)
        if code.source == "F32":
            return [f.cast("bitcast", v, FLOATS) for v in load_four(f, at, 0)]
        return [as_scalable(f, self._widened(f, at, v * self.lanes * code.element_bytes)) for v in range(VECTORS)]

    def _widened(self, f: Function, pointer: Value, offset: int) -> Value:
        floats = vector(self.lanes, F32)
        if self.rhs.code.source == "F16":
            return f.cast("fpext", f.load(vector(self.lanes, F16), pointer, offset), floats)
        words = f.cast("zext", f.load(vector(self.lanes, I16), pointer, offset), vector(self.lanes, I32))
        return f.cast("bitcast", words << 16, floats)

    def panel_bytes(self, f: Function) -> Value:
        return f["k"] * (self.rhs.nr * self.rhs.code.element_bytes)


@dataclass(frozen=True, slots=True)
class FloatMopa(_StreamingFloats):
    """A GEMM of one vector of rows x one panel."""

    def emit(self) -> str:
        f = self.begin()
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], self.rhs.nr) as n0:
            rows = f.variable(f["lhs"])
            with f.loop(0, f["m"], self.lhs.mr) as m0:
                zero_tiles(f, range(VECTORS))
                with f.loop(0, f["k"], K_STEP) as k:
                    for step, row in enumerate(load_four(f, f.offset(rows.get(), k * self.vector_bytes), 0)):
                        operand = f.cast("bitcast", row, FLOATS)
                        for v, column in enumerate(self.columns(f, panel.get(), k, step)):
                            add_outer_floats(f, v, operand, column)
                self._store(f, m0, n0)
                rows.set(f.offset(rows.get(), f["k"] * self.vector_bytes))
            panel.set(f.offset(panel.get(), self.panel_bytes(f)))
        f.ret()
        return f.text()

    def _store(self, f: Function, m0: Value, n0: Value) -> None:
        left = f["n"] - n0
        lanes = [first_lanes(f, left - self.lanes * v) for v in range(VECTORS)]
        height = f.call("llvm.smin.i64", I64, f["m"] - m0, f.const(I64, self.lhs.mr))
        out = f.variable(f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2)))
        with f.loop(0, height) as row:
            for v in range(VECTORS):
                value = f.clamp(tile_row(f, v, row), f["lo"], f["hi"])
                store_lanes(f, value, f.offset(out.get(), self.vector_bytes * v), lanes[v])
            out.set(f.offset(out.get(), f["dst_stride"]))


@dataclass(frozen=True, slots=True)
class FloatStreamingGemv(_StreamingFloats):
    """m = 1, four panels at once; those past the last are the first again, computed and not stored."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        panel, panel_bytes = f.variable(f["rhs"]), self.panel_bytes(f)
        with f.loop(0, f["n"], GEMV_PANELS * self.rhs.nr) as n0:
            left = f["n"] - n0
            panels = [panel.get()]
            for p in range(1, GEMV_PANELS):
                is_there = f.compare("sgt", left, p * self.rhs.nr)
                panels.append(f.offset(panels[0], f.select(is_there, panel_bytes * p, f.const(I64, 0))))
            zero_tiles(f, range(GEMV_PANELS))
            with f.loop(0, f["k"], K_STEP) as k:
                array.refresh()
                row = load_repeated(f, FLOATS, f.offset(f["lhs"], k << 2))
                for step in range(K_STEP):
                    for p, at in enumerate(panels):
                        fma_four_by_lane(f, array[p], self.columns(f, at, k, step), row, step)
            for p in range(GEMV_PANELS):
                for v, value in enumerate(read_four(f, FLOATS, array[p])):
                    first = self.rhs.nr * p + self.lanes * v
                    out = f.offset(f["dst"], (n0 + first) << 2)
                    store_lanes(f, f.clamp(value, f["lo"], f["hi"]), out, first_lanes(f, left - first))
            panel.set(f.offset(panel.get(), panel_bytes * GEMV_PANELS))
        f.ret()
        return f.text()
