"""AMX's vocabulary over IR: eight tile registers of up to 16 rows x 64 bytes. Knows no kernel.

Tiles are named by number and written as they stand, so no compiler assigns them. A kernel configures them where it
begins and releases them where it ends: unused tiles cost a context switch nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.jit.ir import I8, I16, I64, VOID, Function, Value, vector

TILE_ROWS = 16
ROW_BYTES = 64
CONFIG_BYTES = 64
NUM_TILES = 8


@dataclass(frozen=True, slots=True)
class TileShape:
    rows: int
    row_bytes: int


def configure(f: Function, shapes: Sequence[TileShape]) -> None:
    """Tile i gets shapes[i]. Palette 1: | 1, 0 | 14 x 0 | 16 x u16 bytes of a row | 16 x u8 rows |"""
    assert len(shapes) <= NUM_TILES
    place = f.stack(CONFIG_BYTES)
    f.store(f.zero(vector(CONFIG_BYTES, I8)), place, align=64)
    f.store(f.const(I8, 1), place)
    for index, shape in enumerate(shapes):
        assert shape.rows <= TILE_ROWS, shape
        assert shape.row_bytes <= ROW_BYTES, shape
        f.store(f.const(I16, shape.row_bytes), place, 16 + 2 * index)
        f.store(f.const(I8, shape.rows), place, 48 + index)
    f.call("llvm.x86.ldtilecfg", VOID, place)


def release(f: Function) -> None:
    f.call("llvm.x86.tilerelease", VOID)


def clear(f: Function, tile: int) -> None:
    f.call("llvm.x86.tilezero", VOID, f.const(I8, tile))


def load_tile(f: Function, tile: int, pointer: Value, row_stride: int) -> None:
    f.call("llvm.x86.tileloadd64", VOID, f.const(I8, tile), pointer, f.const(I64, row_stride))


def store_tile(f: Function, tile: int, pointer: Value, row_stride: int = ROW_BYTES) -> None:
    f.call("llvm.x86.tilestored64", VOID, f.const(I8, tile), pointer, f.const(I64, row_stride))


def add_byte_products(f: Function, total: int, left: int, right: int) -> None:
    """total: i32[rows, columns] += left: s8[rows, K] x right: s8[K / 4, columns, 4]"""
    f.call("llvm.x86.tdpbssd", VOID, *(f.const(I8, tile) for tile in (total, left, right)))


def add_mixed_products(f: Function, total: int, left: int, right: int) -> None:
    """total: i32[rows, columns] += left: s8[rows, K] x right: u8[K / 4, columns, 4]"""
    f.call("llvm.x86.tdpbsud", VOID, *(f.const(I8, tile) for tile in (total, left, right)))
