"""SME2's vocabulary over IR: the ZA array, multi-vector loads and lookups in streaming mode. Knows no kernel.

A ZA tile of 32-bit elements has as many rows as a streaming vector has elements; row i of tile t is the array's vector
4i + t. A group of four (vgx4) begins at one of the array's vectors and goes on by quarters of the array: rows i, i + q,
i + 2q, i + 3q of one tile, q being a quarter of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.jit.ir import F16, F32, I8, I16, I32, VOID, Function, Value
from kernels.jit.ir_types import mangled
from kernels.jit.scalable import all_true, scalable, vscale_range

FLOATS, INTS, BYTES = scalable(4, F32), scalable(4, I32), scalable(16, I8)
HALVES, SHORTS = scalable(8, F16), scalable(8, I16)
COUNTER = 'target("aarch64.svcount")'
NUM_TABLE_ENTRIES = 16


def streaming_attributes(streaming_bits: int) -> tuple[str, ...]:
    """The compiler enters and leaves streaming mode, and saves a caller's ZA, around the whole function."""
    return (
        '"aarch64_pstate_sm_body"',
        '"aarch64_new_za"',
        '"aarch64_new_zt0"',
        vscale_range(streaming_bits),
    )


def _several(type_: str, count: int) -> str:
    return "{ " + ", ".join([type_] * count) + " }"


def _parts(f: Function, value: Value, type_: str, count: int) -> list[Value]:
    return [f.emit(type_, f"extractvalue {value.type} {value.name}, {i}") for i in range(count)]


def _call_several(f: Function, name: str, type_: str, count: int, *arguments: Value) -> list[Value]:
    return _parts(f, f.call(name, _several(type_, count), *arguments), type_, count)


def load_four(f: Function, pointer: Value, offset: int) -> list[Value]:
    """Four consecutive vectors of bytes."""
    return _load_several(f, pointer, offset, 4)


def load_two(f: Function, pointer: Value, offset: int) -> list[Value]:
    return _load_several(f, pointer, offset, 2)


def _load_several(f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
    every = f.call("llvm.aarch64.sve.ptrue.c8", COUNTER)
    name = f"llvm.aarch64.sve.ld1.pn.x{count}.nxv16i8"
    return _call_several(f, name, BYTES, count, every, f.offset(pointer, offset))


def set_table(f: Function, values: Sequence[int]) -> None:
    """ZT0: what `look_up` makes of 0..15, as bytes."""
    table = f.stack(4 * NUM_TABLE_ENTRIES)
    for i, value in enumerate(values):
        f.store(f.const(I32, value & 0xFF), table, 4 * i, align=4)
    f.call("llvm.aarch64.sme.ldr.zt", VOID, f.const(I32, 0), table)


def look_up(f: Function, nibbles: Value) -> list[Value]:
    """A vector of nibbles, low ones first -> two vectors of bytes."""
    zero = f.const(I32, 0)
    return _call_several(f, "llvm.aarch64.sme.luti4.lane.zt.x2.nxv16i8", BYTES, 2, zero, nibbles, zero)


def paired_halves(f: Function, pointer: Value, offset: int) -> list[Value]:
    """f16 of two vectors, interleaved -> two vectors of f32."""
    halves = f.cast("bitcast", f.load(SHORTS, pointer, offset), HALVES)
    every, none = all_true(f, 4), f.zero(FLOATS)
    return [f.call(f"llvm.aarch64.sve.{name}.f32f16", FLOATS, none, every, halves) for name in ("fcvt", "fcvtlt")]


def zero_tiles(f: Function, tiles: Sequence[int]) -> None:
    """A 32-bit tile is two of the eight 64-bit tiles that the mask names."""
    f.call("llvm.aarch64.sme.zero", VOID, f.const(I32, sum(0x11 << tile for tile in tiles)))


def add_outer_bytes(f: Function, tile: int, rows: Value, columns: Value) -> None:
    """tile[r, c] += dot product of the 4 int8 of r and c."""
    every = all_true(f, 16)
    f.call("llvm.aarch64.sme.smopa.wide.nxv16i8", VOID, f.const(I32, tile), every, every, rows, columns)


def add_outer_pairs(f: Function, tile: int, rows: Value, columns: Value) -> None:
    """tile[r, c] += dot product of the 2 int16 of r and c."""
    every = all_true(f, 8)
    name = "llvm.aarch64.sme.smopa.za32.nxv8i16"
    f.call(name, VOID, f.const(I32, tile), every, every, rows, columns)


def add_outer_floats(f: Function, tile: int, rows: Value, columns: Value) -> None:
    """tile[r, c] = fma(rows[r], columns[c], tile[r, c])"""
    every = all_true(f, 4)
    f.call("llvm.aarch64.sme.mopa.nxv4f32", VOID, f.const(I32, tile), every, every, rows, columns)


class ArrayIndices:
    """Indices of the array's vectors, below `count`, each a register plus 0 to 7.

    LLVM prints constants but cannot encode them, and would hoist sums out of a loop into the few registers that may
    index the array: `refresh`, in each turn, hides from it that the registers stay the same.
    """

    def __init__(self, f: Function, count: int) -> None:
        self._f = f
        self._bases = [f.variable(f.const(I32, base)) for base in range(0, count, 8)]
        self.refresh()

    def refresh(self) -> None:
        for base in self._bases:
            old = base.get()
            base.set(self._f.emit(I32, f'call i32 asm sideeffect "", "=r,0"(i32 {old.name})'))

    def __getitem__(self, index: int) -> Value:
        return self._bases[index // 8].get() + index % 8


def read_four(f: Function, type_: str, first: Value) -> list[Value]:
    """A group of four of the array's vectors."""
    return _call_several(f, f"llvm.aarch64.sme.read.vg1x4.{mangled(type_)}", type_, 4, first)


def add_four(f: Function, first: Value, ints: Sequence[Value]) -> None:
    """group += ints"""
    f.call("llvm.aarch64.sme.add.za32.vg1x4.nxv4i32", VOID, first, *ints)


def fma_four(f: Function, first: Value, left: Sequence[Value], right: Sequence[Value]) -> None:
    """group = fma(left, right, group)"""
    f.call("llvm.aarch64.sme.fmla.vg1x4.nxv4f32", VOID, first, *left, *right)


def fma_four_by_one(f: Function, first: Value, left: Sequence[Value], right: Value) -> None:
    f.call("llvm.aarch64.sme.fmla.single.vg1x4.nxv4f32", VOID, first, *left, right)


def fma_four_by_lane(f: Function, first: Value, left: Sequence[Value], row: Value, lane: int) -> None:
    """group = fma(left, the element of `row` that is `lane` in each of its 128-bit segments, group)"""
    f.call("llvm.aarch64.sme.fmla.lane.vg1x4.nxv4f32", VOID, first, *left, row, f.const(I32, lane))


def dot_four_by_lane(f: Function, first: Value, columns: Sequence[Value], row: Value, lane: int) -> None:
    """group += 4-wide dot products with 4 int8 of `row`, those of `lane` in each of its 128-bit segments."""
    name = "llvm.aarch64.sme.sdot.lane.za32.vg1x4.nxv16i8"
    f.call(name, VOID, first, *columns, row, f.const(I32, lane))


def to_floats(f: Function, ints: Sequence[Value]) -> list[Value]:
    return _call_several(f, "llvm.aarch64.sve.scvtf.x4.nxv4f32.nxv4i32", FLOATS, 4, *ints)


def tile_row(f: Function, tile: int, row: Value, type_: str = FLOATS) -> Value:
    """One row of a tile of f32, or int32; `row` is an i64."""
    number, every = f.cast("trunc", row, I32), all_true(f, 4)
    name = f"llvm.aarch64.sme.read.horiz.{mangled(type_)}"
    return f.call(name, type_, f.zero(type_), every, f.const(I32, tile), number)


def load_tile_row(f: Function, tile: int, row: Value, pointer: Value, lanes: Value) -> None:
    """A row of a tile from memory; `lanes`: a predicate, zeros elsewhere."""
    number = f.cast("trunc", row, I32)
    f.call("llvm.aarch64.sme.ld1w.horiz", VOID, lanes, pointer, f.const(I32, tile), number)
