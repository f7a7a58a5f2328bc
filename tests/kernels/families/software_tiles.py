"""AMX's tile registers in memory, as IR of plain vectors: tile GEMMs run, and are right or wrong, on any x86 CPU.

Slow, and no test of the instructions; the real ones are tested where there are any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import pytest

from kernels.jit.ir import I8, I32, I64, Function, Value, vector
from kernels.jit.tiles import NUM_TILES, ROW_BYTES, TILE_ROWS, TileShape

INTS, BYTES = vector(TILE_ROWS, I32), vector(ROW_BYTES, I8)


@dataclass
class _Tiles:
    places: list[Value]
    shapes: list[TileShape]


_TILES: WeakKeyDictionary[Function, _Tiles] = WeakKeyDictionary()


def configure(f: Function, shapes: Sequence[TileShape]) -> None:
    places = [f.stack(TILE_ROWS * ROW_BYTES) for _ in range(NUM_TILES)]
    _TILES[f] = _Tiles(places, list(shapes))


def release(f: Function) -> None:
    pass


def clear(f: Function, tile: int) -> None:
    with f.loop(0, f.const(I64, TILE_ROWS)) as row:
        f.store(f.zero(BYTES), f.offset(_TILES[f].places[tile], row * ROW_BYTES))


def load_tile(f: Function, tile: int, pointer: Value, row_stride: int) -> None:
    shape, place = _TILES[f].shapes[tile], _TILES[f].places[tile]
    clear(f, tile)
    with f.loop(0, f.const(I64, shape.rows)) as row:
        loaded = f.load(vector(shape.row_bytes, I8), f.offset(pointer, row * row_stride))
        f.store(loaded, f.offset(place, row * ROW_BYTES))


def store_tile(f: Function, tile: int, pointer: Value, row_stride: int = ROW_BYTES) -> None:
    shape, place = _TILES[f].shapes[tile], _TILES[f].places[tile]
    with f.loop(0, f.const(I64, shape.rows)) as row:
        stored = f.load(vector(shape.row_bytes, I8), f.offset(place, row * ROW_BYTES))
        f.store(stored, f.offset(pointer, row * row_stride))


def add_byte_products(f: Function, total: int, left: int, right: int) -> None:
    _add_products(f, total, left, right, "sext")


def add_mixed_products(f: Function, total: int, left: int, right: int) -> None:
    _add_products(f, total, left, right, "zext")


def _add_products(f: Function, total: int, left: int, right: int, extend_right: str) -> None:
    tiles = _TILES[f]
    assert tiles.shapes[left].row_bytes == 4 * tiles.shapes[right].rows, "inner sizes agree"
    with f.loop(0, f.const(I64, tiles.shapes[total].rows)) as row:
        place = f.offset(tiles.places[total], row * ROW_BYTES)
        with f.loop(0, f.const(I64, tiles.shapes[right].rows)) as k:
            columns = f.load(BYTES, f.offset(tiles.places[right], k * ROW_BYTES))
            for part in range(4):
                byte = f.load(I8, f.offset(tiles.places[left], row * ROW_BYTES + (k << 2)), part)
                factor = f.splat(f.cast("sext", byte, I32), INTS)
                lanes = f.shuffle(columns, range(part, ROW_BYTES, 4))
                f.store(f.load(INTS, place) + f.cast(extend_right, lanes, INTS) * factor, place)


VOCABULARY = (configure, release, clear, load_tile, store_tile, add_byte_products, add_mixed_products)


def use_software_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every module of the tile GEMMs."""
    for name, module in list(sys.modules.items()):
        if name.startswith("kernels.families.amx."):
            for verb in VOCABULARY:
                if hasattr(module, verb.__name__):
                    monkeypatch.setattr(module, verb.__name__, verb)
