"""The plane GEMM and GEMV of SME2, for one streaming vector length: outer products, and dots of one row.

The layouts are those of the other rungs with a panel of one streaming vector, so planes are unpacked by fixed vectors
of that length. GEMM: operands and scales go to scratch once for all rows of the portion, as in
kernels.families.planes.gemm, and accumulators rest in dst between stretches. Per block of 32, 1 x 2 vectors:

    tile 0 = sums, tile 1 = d_lhs x scale, tile 2 + v = fma(f32(tile 0), tile 1, tile 2 + v)
    tile 2 + v += outer product of dsum_lhs and the minima

GEMV: four panels a turn, sums in four rows of tile 0, accumulators in four rows of tile 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.sme2_verbs import StreamingVerbs
from kernels.families.planes.tile import ARGUMENTS, DSUM, D, IntegerLhs
from kernels.families.planes.unpack import column_halves, entry_names, operands_in_turn, unpack
from kernels.jit.ir import F32, I64, Function, Value
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.scalable import as_scalable, first_lanes, load_repeated, store_lanes
from kernels.jit.streaming import (
    BYTES,
    FLOATS,
    INTS,
    ArrayIndices,
    add_outer_bytes,
    add_outer_floats,
    dot_four_by_lane,
    fma_four,
    fma_four_by_one,
    load_four,
    load_tile_row,
    read_four,
    streaming_attributes,
    tile_row,
    to_floats,
    zero_tiles,
)
from kernels.naming import MatmulName

SCRATCH_BYTES = 32 << 10
PANELS = 2  # of a GEMM
FIRST = 2  # tile of the accumulators
AT_ONCE = 4  # vectors of a group of ZA's


@dataclass(frozen=True, slots=True)
class PlaneStreaming:
    """What GEMM and GEMV share. A panel is one vector; `panels` at once."""

    name: MatmulName
    lhs: IntegerLhs
    rhs: PlaneRhs
    panels: int
    features: str

    @property
    def lanes(self) -> int:
        return self.rhs.nr

    @property
    def vector_bytes(self) -> int:
        return 4 * self.lanes

    @property
    def verbs(self) -> StreamingVerbs:
        return StreamingVerbs(self.lanes)

    def begin(self) -> Function:
        attributes = (*streaming_attributes(32 * self.lanes), AS_WRITTEN)
        return Function(str(self.name), [*ARGUMENTS, ("lo", F32), ("hi", F32)], self.features, attributes=attributes)

    def panel_at(self, f: Function, panel: Value, index: int, left: Value) -> Value:
        """The panel `index` further on; past the last of `left` columns this one again, for what is never stored."""
        if index == 0:
            return panel
        more = self.rhs.emit_panel_bytes(f["k"] >> 5) * index
        return f.offset(panel, f.select(f.compare("sgt", left, index * self.lanes), more, f.const(I64, 0)))


@dataclass(frozen=True, slots=True)
class PlaneMopa(PlaneStreaming):
    """A GEMM of one vector of rows x `panels`."""

    @property
    def positions(self) -> dict[str, int]:
        """Where a column's entries lie in scratch; the operands first, for loads of four vectors."""
        return {name: i * self.vector_bytes for i, name in enumerate(entry_names(self.rhs, self.verbs))}

    @property
    def column_bytes(self) -> int:
        return len(self.positions) * self.vector_bytes

    @property
    def stretch(self) -> int:
        """Blocks of K whose operands are in scratch at a time."""
        return SCRATCH_BYTES // (self.column_bytes * self.panels)

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        num_blocks, panel = f["k"] >> 5, f.variable(f["rhs"])
        record_bytes = self.column_bytes * self.panels
        scratch = f.stack(self.stretch * record_bytes)
        with f.loop(0, f["n"], self.panels * self.lanes) as n0:
            panels = [self.panel_at(f, panel.get(), p, f["n"] - n0) for p in range(self.panels)]
            with f.loop(0, num_blocks, self.stretch) as start:
                count = f.call("llvm.smin.i64", I64, num_blocks - start, f.const(I64, self.stretch))
                with f.loop(0, count) as index:
                    into = f.offset(scratch, index * record_bytes)
                    self._unpack(f, panels, start + index, into)
                self._rows(f, array, scratch, n0, start, count)
            panel.set(f.offset(panel.get(), self.rhs.emit_panel_bytes(num_blocks) * self.panels))
        f.ret()
        return f.text()

    def _unpack(self, f: Function, panels: Sequence[Value], index: Value, into: Value) -> None:
        for p, panel in enumerate(panels):
            (entries,) = unpack(f, self.rhs, self.verbs, f.offset(panel, index * self.rhs.block_bytes))
            for name, value in entries.items():
                f.store(value, into, p * self.column_bytes + self.positions[name], align=self.vector_bytes)

    def _rows(self, f: Function, array: ArrayIndices, scratch: Value, n0: Value, start: Value, count: Value) -> None:
        num_blocks = f["k"] >> 5
        is_last, is_first = f.compare("eq", start + count, num_blocks), f.compare("eq", start, 0)
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        hi = f.select(is_last, f["hi"], f.const(F32, float("inf")))
        left = f["n"] - n0
        lanes = [first_lanes(f, left - self.lanes * v) for v in range(self.panels)]
        rows = f.variable(f.offset(f["lhs"], start * self.lhs.block_bytes))
        with f.loop(0, f["m"], self.lhs.mr) as m0:
            height = f.call("llvm.smin.i64", I64, f["m"] - m0, f.const(I64, self.lhs.mr))
            out = f.offset(f["dst"], m0 * f["dst_stride"] + (n0 << 2))
            zero_tiles(f, [FIRST + v for v in range(self.panels)])
            with f.loop(0, f.select(is_first, f.const(I64, 0), height)) as row:
                for v in range(self.panels):
                    at = f.offset(out, row * f["dst_stride"] + v * self.vector_bytes)
                    load_tile_row(f, FIRST + v, row, at, lanes[v])
            with f.loop(0, count) as index:
                array.refresh()
                record = f.offset(scratch, index * (self.column_bytes * self.panels))
                lhs = f.offset(rows.get(), index * self.lhs.block_bytes)
                self._block(f, array, lhs, record)
            with f.loop(0, height) as row:
                for v in range(self.panels):
                    value = f.clamp(tile_row(f, FIRST + v, row), lo, hi)
                    at = f.offset(out, row * f["dst_stride"] + v * self.vector_bytes)
                    store_lanes(f, value, at, lanes[v])
            rows.set(f.offset(rows.get(), num_blocks * self.lhs.block_bytes))

    def _operands(self, f: Function, lhs: Value, half: int) -> list[Value]:
        return load_four(f, lhs, self.lhs.group_offset(0) + AT_ONCE * self.vector_bytes * half)

    def _entry(self, f: Function, record: Value, v: int, name: str, type_: str = FLOATS) -> Value:
        return f.load(type_, record, v * self.column_bytes + self.positions[name], align=16)

    def _scalars(self, f: Function, lhs: Value, field: int, type_: str = FLOATS) -> Value:
        return f.load(type_, lhs, field * self.lhs.scalars_bytes, align=4)

    def _block(self, f: Function, array: ArrayIndices, lhs: Value, record: Value) -> None:
        rows = [self._operands(f, lhs, half) for half in range(2)]
        d = self._scalars(f, lhs, D)
        for v in range(self.panels):
            zero_tiles(f, [0, 1])
            add_outer_floats(f, 1, d, self._entry(f, record, v, "scale"))
            for half in range(2):
                columns = load_four(f, record, v * self.column_bytes + AT_ONCE * self.vector_bytes * half)
                for row, column in zip(rows[half], columns, strict=True):
                    add_outer_bytes(f, 0, row, column)
            self._accumulate(f, array, 0, 1, FIRST + v)
            if self.rhs.code.has_min:
                dsum = self._scalars(f, lhs, DSUM)
                add_outer_floats(f, FIRST + v, dsum, self._entry(f, record, v, "minimum"))

    def _accumulate(self, f: Function, array: ArrayIndices, sums: int, scales: int, into: int) -> None:
        """into = fma(f32(sums), scales, into), tile by tile."""
        for row in range(self.lanes // AT_ONCE):
            totals = to_floats(f, read_four(f, INTS, array[4 * row + sums]))
            fma_four(f, array[4 * row + into], totals, read_four(f, FLOATS, array[4 * row + scales]))


@dataclass(frozen=True, slots=True)
class PlaneStreamingGemv(PlaneStreaming):
    """m = 1, four panels a turn."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        num_blocks, panel = f["k"] >> 5, f.variable(f["rhs"])
        with f.loop(0, f["n"], AT_ONCE * self.lanes) as n0:
            left = f["n"] - n0
            panels = [self.panel_at(f, panel.get(), p, left) for p in range(AT_ONCE)]
            zero_tiles(f, [2])
            with f.loop(0, num_blocks) as index:
                array.refresh()
                zero_tiles(f, [0])
                lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
                self._block(f, array, lhs, [f.offset(at, index * self.rhs.block_bytes) for at in panels])
            for v, value in enumerate(read_four(f, FLOATS, array[2])):
                out = f.offset(f["dst"], (n0 + self.lanes * v) << 2)
                store_lanes(f, f.clamp(value, f["lo"], f["hi"]), out, first_lanes(f, left - self.lanes * v))
            panel.set(f.offset(panel.get(), self.rhs.emit_panel_bytes(num_blocks) * AT_ONCE))
        f.ret()
        return f.text()

    def _block(self, f: Function, array: ArrayIndices, lhs: Value, blocks: Sequence[Value]) -> None:
        row = [load_repeated(f, BYTES, lhs, self.lhs.group_offset(0) + 16 * half) for half in range(2)]
        in_turn = [operands_in_turn(f, self.rhs, self.verbs, block) for block in blocks]
        for operands in zip(*in_turn, strict=True):
            g = operands[0][0]
            columns = [as_scalable(f, column) for _, column in operands]
            dot_four_by_lane(f, array[0], columns, row[g // AT_ONCE], g % AT_ONCE)
        entries = [self._scales(f, block) for block in blocks]
        d = f.splat(f.load(F32, lhs, align=4), FLOATS)
        sums = to_floats(f, read_four(f, INTS, array[0]))
        fma_four(f, array[2], sums, [d * e["scale"] for e in entries])
        if self.rhs.code.has_min:
            dsum = f.splat(f.load(F32, lhs, DSUM * self.lhs.scalars_bytes, align=4), FLOATS)
            fma_four_by_one(f, array[2], [e["minimum"] for e in entries], dsum)

    def _scales(self, f: Function, block: Value) -> dict[str, Value]:
        made = column_halves(f, self.rhs, self.verbs, block)
        return {name: as_scalable(f, value) for name, value in made.items()}
