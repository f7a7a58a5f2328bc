"""The GEMM of super-blocks: each is unpacked once, in L1, for all rows of the portion.

    for each group of panels, for each super-block of 256:
      scratch = operands and sub-scales of 8 blocks, scales, minima and what is owed
      for each tile of rows: integer sums in registers over 8 blocks, then dst = their float steps on what rests there

Results are clamped where K ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from kernels.families.planes.rhs import OPERANDS
from kernels.families.planes.tile import PlaneTile
from kernels.families.planes.tile_rows import (
    each_tile,
    lhs_panels,
    load_units,
    row_addresses,
    store_units,
    zero_columns,
)
from kernels.families.planes.verbs import Entry
from kernels.families.supers.lhs import D
from kernels.families.supers.steps import CarriedSums, SuperEmission
from kernels.families.supers.unpack import (
    Entries,
    block_entry_names,
    mins_fields,
    super_entry_names,
    unpack_block,
    unpack_super,
)
from kernels.jit.ir import F32, I64, Function, Value
from kernels.quant.super_blocks import SUB_BLOCKS


def emit_gemm(tile: PlaneTile) -> str:
    return SuperGemm(tile, tile.function()).text()


def emit_columns(tile: PlaneTile, f: Function) -> None:
    """All columns of a function that is being written."""
    SuperGemm(tile, f).all_columns()


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is multiplied with all rows before the next: of `panels` from column n0 the `index`th super-block."""

    n0: Value
    panels: int
    index: Value


class SuperGemm(SuperEmission):
    """scratch: | 8 x block's entries | entries of the super-block |, each by panel, vector of columns, name."""

    def __init__(self, tile: PlaneTile, f: Function) -> None:
        super().__init__(tile, f, tile.verbs.gemm_code(tile.rhs.code))
        self.vector_bytes = 4 * self.verbs.lanes
        self.block_names = self.names_of_block()
        self.super_names = super_entry_names(self.rhs, self.verbs, self.code)
        self.num_columns = self.verbs.vectors * tile.panels
        self.block_bytes = len(self.block_names) * self.vector_bytes * self.num_columns
        self.types: dict[str, str] = {}
        self.scratch = f.stack(
            SUB_BLOCKS * self.block_bytes + len(self.super_names) * self.vector_bytes * self.num_columns
        )
        self.zeros = zero_columns(self)
        self.of_super = f.offset(self.scratch, SUB_BLOCKS * self.block_bytes)

    def names_of_block(self) -> list[str]:
        return block_entry_names(self.verbs, self.code)

    def unpacked(self, block: Value) -> Entries:
        return unpack_block(self.f, self.rhs, self.verbs, block, self.code)

    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f = self.f
        num_supers = self.num_blocks >> 3
        with f.loop(0, num_supers) as index:
            for p in range(panels):
                self._unpack(f.offset(panel, self.rhs_panel_bytes * p + index * self.rhs.super_bytes), p, panels)
            each_tile(self, partial(self.tile_of, Stretch(n0, panels, index)))

    def _unpack(self, header: Value, p: int, panels: int) -> None:
        f, rhs = self.f, self.rhs
        ahead = f.offset(header, self.rhs_panel_bytes * panels)
        if self.tile.asks_ahead:
            f.prefetch_lines(ahead, rhs.header_bytes, locality=2)
        self._store(unpack_super(f, rhs, self.verbs, header, self.code), self.of_super, self.super_names, p)
        with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
            at = b * rhs.block_bytes + rhs.header_bytes
            if self.tile.asks_ahead:
                f.prefetch_lines(f.offset(ahead, at), rhs.block_bytes, locality=2)
            made = self.unpacked(f.offset(header, at))
            self._store(made, f.offset(self.scratch, b * self.block_bytes), self.block_names, p)

    def _store(self, made: Entries, into: Value, names: list[str], p: int) -> None:
        for v, entries in enumerate(made):
            for name, value in entries.items():
                self.types[name] = value.type
                at = self._at(p * self.verbs.vectors + v, names, name)
                self.f.store(value, into, at, align=self.vector_bytes)

    def _at(self, column: int, names: list[str], name: str) -> int:
        return (column * len(names) + names.index(name)) * self.vector_bytes

    def entries(self, place: Value, names: list[str], panels: int) -> list[Entry]:
        """Of each vector of columns over panels; loaded where they are used."""

        def load(name: str, column: int) -> Value:
            at = self._at(column, names, name)
            return self.f.load(self.types[name], place, at, align=self.vector_bytes)

        return [partial(load, column=column) for column in range(panels * self.verbs.vectors)]

    def sources(self, stretch: Stretch, m0: Value, rows: int) -> list[Value]:
        """The super-block of each panel of rows."""
        return lhs_panels(self, m0, rows, stretch.index * self.rows_layout.super_bytes)

    def tile_of(self, stretch: Stretch, m0: Value, rows: int) -> None:
        f = self.f
        sources, panels = self.sources(stretch, m0, rows), stretch.panels
        carried = CarriedSums(self, self.starts(sources, rows, self.entries(self.of_super, self.super_names, panels)))
        first = self.blocks_of(sources)
        with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
            place, totals = f.offset(self.scratch, b * self.block_bytes), carried.get()
            lhs = [f.offset(block, b * self.lhs.block_bytes) for block in first]
            steps = OPERANDS // self.verbs.vectors
            self.add_block(
                totals, self.entries(place, self.block_names, panels), steps, partial(self.operands, lhs, rows)
            )
            carried.set(totals)
        self.finish(
            stretch, m0, rows, [[self.verbs.finish(f, self.code, total) for total in unit] for unit in carried.get()]
        )

    def finish(self, stretch: Stretch, m0: Value, rows: int, totals: Sequence[Sequence[Value]]) -> None:
        """The float steps of integer sums, by [unit of rows][vector of columns], on what rests in dst."""
        f, index, n0 = self.f, stretch.index, stretch.n0
        sources = self.sources(stretch, m0, rows)
        outs, left = row_addresses(self, m0, n0, rows), f["n"] - n0
        acc = load_units(self, outs, left, f.compare("eq", index, 0), self.zeros, stretch.panels)
        d = self.scalars(sources, rows, D, F32)
        sums = self.sums(sources, rows, mins_fields(self.rhs))
        of_super = self.entries(self.of_super, self.super_names, stretch.panels)
        for u, of_columns in enumerate(totals):
            of_unit = [by_field[u] for by_field in sums]
            for c, entry in enumerate(of_super):
                acc[u][c] = self.finished(of_columns[c], self.mins(entry, of_unit), entry, d[u], acc[u][c])
        store_units(self, outs, acc, left, f.compare("eq", index + 1, self.num_blocks >> 3))
