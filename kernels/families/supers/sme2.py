"""The GEMM and GEMV of super-blocks on SME2, for one streaming vector length: outer products, and dots of one row.

As in kernels.families.planes.sme2, with integer sums. GEMM, per super-block, 1 x 2 vectors:

    tile 0 = products of the elements under one byte scale, tile 1 + v += scale x tile 0; without any tile 1 + v at once
    then tile 0 = minima x sums fields, and by row dst = fma(d_lhs, fma(f32(tile 0), dmin, f32(tile 1 + v) x d), dst)

GEMV: four panels a turn, products of the halves in four rows of tiles 0 and 1, sums in four of tile 3, accumulators in
four of tile 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS
from kernels.families.planes.sme2 import AT_ONCE, PlaneStreaming
from kernels.families.planes.unpack import operands_in_turn
from kernels.families.supers.lhs import Qsi8d256
from kernels.families.supers.unpack import (
    block_entry_names,
    block_factors,
    corrections,
    mins_fields,
    num_factors,
    super_entry_names,
    super_scales,
    unpack_block,
    unpack_super,
)
from kernels.jit.ir import F32, I32, I64, Function, Value
from kernels.jit.scalable import as_scalable, first_lanes, load_lanes, load_repeated, store_lanes
from kernels.jit.streaming import (
    BYTES,
    FLOATS,
    INTS,
    SHORTS,
    ArrayIndices,
    add_four,
    add_outer_bytes,
    add_outer_pairs,
    dot_four_by_lane,
    fma_four_by_one,
    load_four,
    read_four,
    tile_row,
    to_floats,
    zero_tiles,
)
from kernels.quant.super_blocks import SUB_BLOCKS

PRODUCTS, FIRST = 0, 1  # tiles of the GEMM


@dataclass(frozen=True, slots=True)
class SuperStreaming(PlaneStreaming):
    """What GEMM and GEMV share."""

    @property
    def rows_layout(self) -> Qsi8d256:
        assert isinstance(self.lhs, Qsi8d256)
        return self.lhs


@dataclass(frozen=True, slots=True)
class SuperMopa(SuperStreaming):
    """A GEMM of one vector of rows x `panels`. scratch: | 8 x entries of a block | of the super-block |"""

    @property
    def code(self) -> PlaneCode:
        """Of the operands."""
        return self.verbs.gemm_code(self.rhs.code)

    @property
    def block_names(self) -> list[str]:
        """The operands first, for loads of four vectors."""
        return block_entry_names(self.verbs, self.code)

    @property
    def super_names(self) -> list[str]:
        return super_entry_names(self.rhs, self.verbs, self.code)

    @property
    def block_bytes(self) -> int:
        """Of a block's entries."""
        return len(self.block_names) * self.vector_bytes * self.panels

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        scratch = f.stack(SUB_BLOCKS * self.block_bytes + len(self.super_names) * self.vector_bytes * self.panels)
        num_supers, panel = f["k"] >> 8, f.variable(f["rhs"])
        panel_bytes = self.rhs.emit_panel_bytes(f["k"] >> 5)
        with f.loop(0, f["n"], self.panels * self.lanes) as n0:
            panels = [self.panel_at(f, panel.get(), p, f["n"] - n0) for p in range(self.panels)]
            with f.loop(0, num_supers) as index:
                for p, at in enumerate(panels):
                    self._unpack(f, f.offset(at, index * self.rhs.super_bytes), scratch, p)
                self._rows(f, array, scratch, n0, index)
            panel.set(f.offset(panel.get(), panel_bytes * self.panels))
        f.ret()
        return f.text()

    def _unpack(self, f: Function, header: Value, scratch: Value, p: int) -> None:
        (shared,) = unpack_super(f, self.rhs, self.verbs, header, self.code)
        for name, value in shared.items():
            f.store(value, scratch, self._super_at(p, name), align=self.vector_bytes)
        with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
            block = f.offset(header, b * self.rhs.block_bytes + self.rhs.header_bytes)
            (entries,) = unpack_block(f, self.rhs, self.verbs, block, self.code)
            into = f.offset(scratch, b * self.block_bytes)
            for name, value in entries.items():
                f.store(value, into, self._block_at(p, name), align=self.vector_bytes)

    def _block_at(self, panel: int, name: str) -> int:
        return (panel * len(self.block_names) + self.block_names.index(name)) * self.vector_bytes

    def _super_at(self, panel: int, name: str) -> int:
        place = panel * len(self.super_names) + self.super_names.index(name)
        return SUB_BLOCKS * self.block_bytes + place * self.vector_bytes

    def _rows(self, f: Function, array: ArrayIndices, scratch: Value, n0: Value, index: Value) -> None:
        lhs = self.rows_layout
        rows = f.variable(f.offset(f["lhs"], index * lhs.super_bytes))
        with f.loop(0, f["m"], lhs.mr) as m0:
            zero_tiles(f, [FIRST + v for v in range(self.panels)])
            with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
                array.refresh()
                block = f.offset(f.offset(rows.get(), lhs.header_bytes), b * lhs.block_bytes)
                self._block(f, array, block, f.offset(scratch, b * self.block_bytes))
            for v in range(self.panels):
                self._finish(f, rows.get(), scratch, m0, n0, index, v)
            rows.set(f.offset(rows.get(), (f["k"] >> 8) * lhs.super_bytes))

    def _block(self, f: Function, array: ArrayIndices, block: Value, entries: Value) -> None:
        """Products of eight steps, in two halves."""
        num_parts = num_factors(self.code)
        rows = [load_four(f, block, AT_ONCE * self.vector_bytes * half) for half in range(2)]
        for v in range(self.panels):
            tile = PRODUCTS if num_parts else FIRST + v
            for half in range(2):
                if half < num_parts:
                    zero_tiles(f, [PRODUCTS])
                at = self._block_at(v, "operand0") + AT_ONCE * self.vector_bytes * half
                for row, column in zip(rows[half], load_four(f, entries, at), strict=True):
                    add_outer_bytes(f, tile, row, column)
                if num_parts and half >= 2 - num_parts:
                    name = f"sub{half if num_parts == 2 else 0}"
                    factor = f.load(INTS, entries, self._block_at(v, name), align=16)
                    for row_ in range(self.lanes // AT_ONCE):
                        products = read_four(f, INTS, array[4 * row_ + PRODUCTS])
                        add_four(f, array[4 * row_ + FIRST + v], [product * factor for product in products])

    def _finish(self, f: Function, lhs: Value, scratch: Value, m0: Value, n0: Value, index: Value, v: int) -> None:
        """The float steps of a panel, row by row."""
        if self.rhs.code.has_min:
            zero_tiles(f, [PRODUCTS])
            for field in mins_fields(self.rhs):
                sums = f.load(SHORTS, lhs, field * self.lhs.scalars_bytes, align=4)
                minima = f.load(SHORTS, scratch, self._super_at(v, f"mins{field}"), align=16)
                add_outer_pairs(f, PRODUCTS, sums, minima)
        is_last = f.compare("eq", index + 1, f["k"] >> 8)
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        hi = f.select(is_last, f["hi"], f.const(F32, float("inf")))
        left = f["n"] - n0 - self.lanes * v
        lanes = first_lanes(f, left)
        rest = first_lanes(f, f.select(f.compare("eq", index, 0), f.const(I64, 0), left))
        scale = f.load(FLOATS, scratch, self._super_at(v, "scale"), align=16)
        height = f.call("llvm.smin.i64", I64, f["m"] - m0, f.const(I64, self.lhs.mr))
        out = f.offset(f["dst"], m0 * f["dst_stride"] + ((n0 + self.lanes * v) << 2))
        with f.loop(0, height) as row:
            here = f.offset(out, row * f["dst_stride"])
            value = f.cast("sitofp", tile_row(f, FIRST + v, row, INTS), FLOATS) * scale
            if self.rhs.code.has_min:
                minimum = f.load(FLOATS, scratch, self._super_at(v, "minimum"), align=16)
                mins = f.cast("sitofp", tile_row(f, PRODUCTS, row, INTS), FLOATS)
                value = f.fma(mins, minimum, value)
            d = f.splat(f.load(F32, lhs, row << 2, align=4), FLOATS)
            value = f.fma(d, value, load_lanes(f, FLOATS, here, rest))
            store_lanes(f, f.clamp(value, lo, hi), here, lanes)


@dataclass(frozen=True, slots=True)
class SuperStreamingGemv(SuperStreaming):
    """m = 1, four panels a turn."""

    def emit(self) -> str:
        f = self.begin()
        array = ArrayIndices(f, self.lanes)
        panel = f.variable(f["rhs"])
        with f.loop(0, f["n"], AT_ONCE * self.lanes) as n0:
            left = f["n"] - n0
            panels = [self.panel_at(f, panel.get(), p, left) for p in range(AT_ONCE)]
            zero_tiles(f, [2])
            with f.loop(0, f["k"] >> 8) as index:
                array.refresh()
                zero_tiles(f, [3])
                lhs = f.offset(f["lhs"], index * self.rows_layout.super_bytes)
                self._super_block(f, array, lhs, [f.offset(at, index * self.rhs.super_bytes) for at in panels])
            for v, value in enumerate(read_four(f, FLOATS, array[2])):
                out = f.offset(f["dst"], (n0 + self.lanes * v) << 2)
                store_lanes(f, f.clamp(value, f["lo"], f["hi"]), out, first_lanes(f, left - self.lanes * v))
            panel.set(f.offset(panel.get(), self.rhs.emit_panel_bytes(f["k"] >> 5) * AT_ONCE))
        f.ret()
        return f.text()

    def _super_block(self, f: Function, array: ArrayIndices, lhs: Value, headers: Sequence[Value]) -> None:
        rhs, layout = self.rhs, self.rows_layout
        with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
            array.refresh()
            at = b * rhs.block_bytes + rhs.header_bytes
            row = f.offset(f.offset(lhs, layout.header_bytes), b * layout.block_bytes)
            self._block(f, array, row, [f.offset(header, at) for header in headers])
        array.refresh()
        values = []
        for header, sums in zip(headers, to_floats(f, read_four(f, INTS, array[3])), strict=True):
            scales = {
                name: as_scalable(f, value)
                for name, value in super_scales(f, rhs, self.verbs, header, rhs.code).items()
            }
            value = sums * scales["scale"]
            if rhs.code.has_min:
                mins = f.cast("sitofp", self._mins(f, lhs, header), FLOATS)
                value = f.fma(mins, scales["minimum"], value)
            values.append(value)
        fma_four_by_one(f, array[2], values, f.splat(f.load(F32, lhs, align=4), FLOATS))

    def _block(self, f: Function, array: ArrayIndices, row: Value, blocks: Sequence[Value]) -> None:
        num_parts = num_factors(self.rhs.code)
        zero_tiles(f, range(num_parts))
        quants = [load_repeated(f, BYTES, row, 16 * half) for half in range(2)]
        in_turn = [operands_in_turn(f, self.rhs, self.verbs, block) for block in blocks]
        for operands in zip(*in_turn, strict=True):
            g = operands[0][0]
            columns = [as_scalable(f, column) for _, column in operands]
            dot_four_by_lane(f, array[num_parts * g // OPERANDS], columns, quants[g // AT_ONCE], g % AT_ONCE)
        factors = [block_factors(f, self.rhs, self.verbs, block, self.rhs.code) for block in blocks]
        for part in range(num_parts):
            products = read_four(f, INTS, array[part])
            of_part = [as_scalable(f, factor[f"sub{part}"]) for factor in factors]
            add_four(f, array[3], [product * factor for product, factor in zip(products, of_part, strict=True)])

    def _mins(self, f: Function, lhs: Value, header: Value) -> Value:
        total: Value | None = None
        for b in range(SUB_BLOCKS):
            for name, pairs in corrections(f, self.rhs, self.verbs, header, self.rhs.code, b).items():
                field = int(name.removeprefix("mins"))
                sums = f.splat(f.load(I32, lhs, field * self.lhs.scalars_bytes, align=4), INTS)
                total = self.verbs.pair_dots(f, total, [(as_scalable(f, pairs), sums)])
        assert total is not None
        return total
