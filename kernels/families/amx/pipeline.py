"""A block's way through tiles, memory and vectors, one stage a turn: load, multiply, store, scale. Knows no matrices.

Halves of a block are loaded and multiplied in one turn, for a core renames tiles, too, and where a second thread of it
is busy it has some ten, names included: with 6 names instead of 8 Q6_K and Q3_K took 0.9 of the time then and as long
as before at other times, Q2_K 0.82 to 0.87. Whole blocks have 4 names whatever the order, and are no slower when they
are loaded a turn before.

Beside tile instructions float products and conversions were measured at one a cycle, additions at two: so sums are not
converted. They start at the bits of 1.5 x 2^23, whose ulp is 1, and a subtraction leaves them as f32, exactly, zero
included (|sum| < 2^22). Sums of super-blocks stay integers, and start at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.families.block32.lhs import TILE_LAYOUT, Qsi8d32
from kernels.families.supers.lhs import Qsi8d256
from kernels.jit.ir import I64, Function, Value, Variable, vector
from kernels.jit.masked import FLOATS, INTS
from kernels.jit.tiles import (
    ROW_BYTES,
    TILE_ROWS,
    TileShape,
    add_byte_products,
    clear,
    configure,
    load_tile,
    store_tile,
)
from kernels.quant.blocks import BLOCK

COLUMNS = 16
SCALARS_BYTES = TILE_LAYOUT.scalars_bytes  # of one field of 16 rows
TILE_BYTES = TILE_ROWS * ROW_BYTES
START, START_BITS = 1.5 * 2.0**23, 0x4B400000
LEFT, RIGHT = 4, 5  # tiles; those below hold sums, by parity of the block and half


class Records(Protocol):
    """What a family makes of one block of a panel of 16 columns.

    halves: 2 where a block's halves are summed apart. record: | 8 x 64 B operands | vectors, the family's own |
    """

    @property
    def lhs(self) -> Qsi8d32 | Qsi8d256: ...

    @property
    def halves(self) -> int: ...

    @property
    def is_integer(self) -> bool:
        """Sums and accumulators are i32, else f32."""

    @property
    def record_bytes(self) -> int: ...

    @property
    def block_bytes(self) -> int:
        """Of a packed panel."""

    def panel_bytes(self, num_blocks: Value) -> Value: ...

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        """Writes the record of the panel's block `index`."""

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        """One row's steps. sums: of each half, integers, in f32[16] or i32[16]."""


@dataclass(frozen=True, slots=True)
class RowScalars:
    """The scalar fields of one row in a block of the LHS, each loaded where it is used."""

    f: Function
    block: Value
    row: int

    def field(self, index: int, element: str) -> Value:
        """In every lane."""
        at = index * SCALARS_BYTES + 4 * self.row
        return self.f.splat(self.f.load(element, self.block, at, align=4), vector(COLUMNS, element))


class Pipeline:
    """The stages, each a turn after the one before; blocks of even and of odd number have tiles and a buffer each."""

    def __init__(self, f: Function, records: Records) -> None:
        self.f, self.records = f, records
        self._is_whole = records.halves == 1
        self._sums_bytes = TILE_BYTES * records.halves
        self._sums = f.stack(2 * self._sums_bytes)
        self._start = f.stack(ROW_BYTES)
        f.store(f.const(INTS, START_BITS), self._start, align=64)
        self._parity = f.variable(f.const(I64, 0))
        row_bytes = BLOCK // records.halves
        left, right = TileShape(TILE_ROWS, row_bytes), TileShape(row_bytes // 4, ROW_BYTES)
        configure(f, [*[TileShape(TILE_ROWS, ROW_BYTES)] * LEFT, left, right])

    def fill(self, take: Callable[[], tuple[Value, Value]]) -> None:
        """What precedes the first turn. take: the next (block of the LHS, record) to load."""
        self._parity.set(self.f.const(I64, 0))
        self._load_and_multiply(0, *take())
        if self._is_whole:
            self._load(1, 0, *take())
            self._store(0)
            self._multiply(1, 0)
            self._load(0, 0, *take())
        else:
            self._load_and_multiply(1, *take())
            self._store(0)

    def turn(self, to_load: tuple[Value, Value], block: Value, record: Value, acc: Sequence[Variable]) -> None:
        """A block is scaled, the next one stored, the one after it multiplied, and, of whole blocks, that after it
        loaded."""
        f, parity = self.f, self._parity.get()
        for odd in range(2):
            with f.when(f.compare("eq", parity, odd)):
                if self._is_whole:
                    self._store(1 - odd)
                    self._multiply(odd, 0)
                    self._load(1 - odd, 0, *to_load)
                else:
                    self._load_and_multiply(odd, *to_load)
                    self._store(1 - odd)
        self._scale(f.offset(self._sums, parity * self._sums_bytes), block, record, acc)
        self._parity.set(f.const(I64, 1) - parity)

    def _load_and_multiply(self, parity: int, block: Value, record: Value) -> None:
        for half in range(self.records.halves):
            self._load(parity, half, block, record)
            self._multiply(parity, half)

    def _load(self, parity: int, half: int, block: Value, record: Value) -> None:
        f, row_bytes, total = self.f, BLOCK // self.records.halves, self._totals(parity)[half]
        if not self.records.is_integer:
            load_tile(f, total, self._start, 0)
        else:
            clear(f, total)
        load_tile(f, LEFT, f.offset(block, self.records.lhs.group_offset(0) + half * row_bytes), BLOCK)
        load_tile(f, RIGHT, f.offset(record, half * row_bytes // 4 * ROW_BYTES), ROW_BYTES)

    def _multiply(self, parity: int, half: int) -> None:
        add_byte_products(self.f, self._totals(parity)[half], LEFT, RIGHT)

    def _store(self, parity: int) -> None:
        for half, total in enumerate(self._totals(parity)):
            store_tile(self.f, total, self.f.offset(self._sums, parity * self._sums_bytes + half * TILE_BYTES))

    def _scale(self, sums: Value, block: Value, record: Value, acc: Sequence[Variable]) -> None:
        """The family's steps, row by row."""
        f, start = self.f, self.f.const(FLOATS, START)
        for r, variable in enumerate(acc):
            at = [half * TILE_BYTES + r * ROW_BYTES for half in range(self.records.halves)]
            if self.records.is_integer:
                of_row = [f.load(INTS, sums, offset, align=64) for offset in at]
            else:
                of_row = [f.load(FLOATS, sums, offset, align=64) - start for offset in at]
            variable.set(self.records.scaled(f, of_row, RowScalars(f, block, r), record, variable.get()))

    def _totals(self, parity: int) -> list[int]:
        return [2 * parity + half for half in range(self.records.halves)]
