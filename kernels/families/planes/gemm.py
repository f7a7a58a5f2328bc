"""The plane GEMM: weights are unpacked once, in L1, for all rows of the portion.

    for each group of panels, for each stretch of K:
      scratch = operands as bytes, scales and minima as f32          what fits half of an L1
      for each tile of rows: accumulators in registers, blocks in ascending K, operands from scratch

Between stretches the accumulators rest in dst, in f32 as they are, so a stretch changes no bit.
"""

from __future__ import annotations

from functools import partial

from kernels.families.planes.rhs import OPERANDS
from kernels.families.planes.tile import DSUM, BlockEmission, D, PlaneTile
from kernels.families.planes.tile_rows import (
    each_tile,
    lhs_panels,
    load_units,
    row_addresses,
    store_units,
    zero_columns,
)
from kernels.families.planes.unpack import entry_names, unpack
from kernels.families.planes.verbs import Entry
from kernels.jit.ir import F32, I64, Function, Value, Variable

SCRATCH_BYTES = 16 << 10


def emit_gemm(tile: PlaneTile) -> str:
    return _Gemm(tile, tile.function()).text()


def emit_columns(tile: PlaneTile, f: Function) -> None:
    """All columns of a function that is being written."""
    _Gemm(tile, f).all_columns()


class _Gemm(BlockEmission):
    def __init__(self, tile: PlaneTile, f: Function) -> None:
        super().__init__(tile, f, tile.rhs.code)
        self.vector_bytes = 4 * self.verbs.lanes
        names = entry_names(self.rhs, self.verbs)
        self.positions = {name: i * self.vector_bytes for i, name in enumerate(names)}
        self.types: dict[str, str] = {}
        self.column_bytes = len(self.positions) * self.vector_bytes
        self.record_bytes = self.column_bytes * self.verbs.vectors * tile.panels
        self.stretch = SCRATCH_BYTES // self.record_bytes
        self.scratch = f.stack(self.stretch * self.record_bytes)
        self.zeros = zero_columns(self)

    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f = self.f
        with f.loop(0, self.num_blocks, self.stretch) as start:
            count = f.call("llvm.smin.i64", I64, self.num_blocks - start, f.const(I64, self.stretch))
            with f.loop(0, count) as index:
                into = f.offset(self.scratch, index * self.record_bytes)
                for p in range(panels):
                    block = f.offset(panel, self.rhs_panel_bytes * p + (start + index) * self.rhs.block_bytes)
                    if self.tile.asks_ahead:
                        ahead = f.offset(block, self.rhs_panel_bytes * panels)
                        f.prefetch_lines(ahead, self.rhs.block_bytes, locality=2)
                    for v, entries in enumerate(unpack(f, self.rhs, self.verbs, block)):
                        for name, value in entries.items():
                            self.types[name] = value.type
                            f.store(value, into, self._at(p, v, name), align=self.vector_bytes)
            each_tile(self, partial(self._tile, n0, start, count, panels))

    def _at(self, panel: int, vector: int, name: str) -> int:
        return (panel * self.verbs.vectors + vector) * self.column_bytes + self.positions[name]

    def _tile(self, n0: Value, start: Value, count: Value, panels: int, m0: Value, rows: int) -> None:
        f, lhs = self.f, self.lhs
        sources = lhs_panels(self, m0, rows, start * lhs.block_bytes)
        outs, left, is_first = row_addresses(self, m0, n0, rows), f["n"] - n0, f.compare("eq", start, 0)
        loaded = load_units(self, outs, left, is_first, self.zeros, panels)
        acc = [[f.variable(value) for value in unit] for unit in loaded]
        with f.loop(0, count) as index:
            record, at = f.offset(self.scratch, index * self.record_bytes), index * lhs.block_bytes
            self._block([f.offset(p, at) for p in sources], record, acc, rows)
        is_last = f.compare("eq", start + count, self.num_blocks)
        store_units(self, outs, [[v.get() for v in unit] for unit in acc], left, is_last)

    def _block(self, lhs: list[Value], record: Value, acc: list[list[Variable]], rows: int) -> None:
        f, verbs, code = self.f, self.verbs, self.code
        columns = [self._column(record, v) for v in range(len(acc[0]))]
        totals = [[verbs.start(f, code, owed) for _ in columns] for owed in self.owing(lhs, rows)]
        for step in range(OPERANDS // verbs.vectors):
            operands = self.operands(lhs, rows, step)
            weights = [entry(f"operand{step}") for entry in columns]
            for u, operand in enumerate(operands):
                for c in range(len(columns)):
                    total = verbs.dot(f, code, totals[u][c], weights[c], operand, None)
                    totals[u][c] = verbs.pinned(f, total)
        d = self.scalars(lhs, rows, D, F32)
        dsum = self.scalars(lhs, rows, DSUM, F32) if self.needs_dsum else [None] * len(acc)
        for u, unit in enumerate(acc):
            for c, entry in enumerate(columns):
                total = verbs.end_scale(f, code, totals[u][c], None)
                self.accumulate(unit[c], verbs.finish(f, code, total), entry, d[u], dsum[u])

    def _column(self, record: Value, index: int) -> Entry:
        """Entries of one vector of columns, loaded where they are used; `index` counts over panels."""
        panel, vector = divmod(index, self.verbs.vectors)
        return lambda name: self.f.load(
            self.types[name], record, self._at(panel, vector, name), align=self.vector_bytes
        )
