"""The plane GEMM: weights are unpacked once, in L1, for all rows of the portion.

    for each group of panels, for each stretch of K:
      scratch = operands as bytes, scales and minima as f32          what fits half of an L1
      for each tile of rows: accumulators in registers, blocks in ascending K, operands from scratch

Between stretches the accumulators rest in dst, in f32 as they are, so a stretch changes no bit.
"""

from __future__ import annotations

from kernels.families.planes.rhs import OPERANDS
from kernels.families.planes.tile import DSUM, SUMS, D, Emission, PlaneTile
from kernels.families.planes.unpack import entry_names, unpack
from kernels.families.planes.verbs import Entry
from kernels.jit.ir import F32, I32, I64, Function, Value, Variable

SCRATCH_BYTES = 16 << 10
STRETCH_STEP = 8  # blocks: whole super-blocks


def emit_gemm(tile: PlaneTile) -> str:
    return _Gemm(tile, tile.function()).text()


def emit_columns(tile: PlaneTile, f: Function) -> None:
    """All columns of a function that is being written."""
    _Gemm(tile, f).all_columns()


class _Gemm(Emission):
    def __init__(self, tile: PlaneTile, f: Function) -> None:
        super().__init__(tile, f, tile.verbs.gemm_code(tile.rhs.code))
        self.vector_bytes = 4 * self.verbs.lanes
        names = entry_names(self.rhs, self.verbs, self.code)
        self.positions = {name: i * self.vector_bytes for i, name in enumerate(names)}
        self.types: dict[str, str] = {}
        self.column_bytes = len(self.positions) * self.vector_bytes
        self.record_bytes = self.column_bytes * self.verbs.vectors * tile.panels
        self.stretch = max(1, SCRATCH_BYTES // self.record_bytes // STRETCH_STEP) * STRETCH_STEP
        self.scratch = f.stack(self.stretch * self.record_bytes)

    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f = self.f
        with f.loop(0, self.num_blocks, self.stretch) as start:
            count = f.call("llvm.smin.i64", I64, self.num_blocks - start, f.const(I64, self.stretch))
            with f.loop(0, count) as index:
                into = f.offset(self.scratch, index * self.record_bytes)
                for p in range(panels):
                    scales, block = self.rhs.emit_block(f, f.offset(panel, self.rhs_panel_bytes * p), start + index)
                    if self.tile.prefetch_bytes:  # few rows are multiplied sooner than memory answers
                        ahead = f.offset(block, self.rhs_panel_bytes * panels)
                        f.prefetch_lines(ahead, self.rhs.block_bytes, locality=2)
                    for v, entries in enumerate(unpack(f, self.rhs, self.verbs, scales, block, self.code)):
                        for name, value in entries.items():
                            self.types[name] = value.type
                            f.store(value, into, self._at(p, v, name), align=self.vector_bytes)
            self._rows(n0, start, count, panels)

    def _at(self, panel: int, vector: int, name: str) -> int:
        return (panel * self.verbs.vectors + vector) * self.column_bytes + self.positions[name]

    def _rows(self, n0: Value, start: Value, count: Value, panels: int) -> None:
        f, rows = self.f, self.tile.rows
        is_last = f.compare("eq", start + count, self.num_blocks)
        lo = f.select(is_last, f["lo"], f.const(F32, float("-inf")))
        hi = f.select(is_last, f["hi"], f.const(F32, float("inf")))
        rest = f.remainder(f["m"], rows)
        full = f["m"] - rest
        with f.loop(0, full, rows) as m0:
            self._tile(m0, n0, start, count, rows, panels, lo, hi)
        for few in range(1, rows):
            with f.when(f.compare("eq", rest, few)):
                self._tile(full, n0, start, count, few, panels, lo, hi)

    def _tile(
        self, m0: Value, n0: Value, start: Value, count: Value, rows: int, panels: int, lo: Value, hi: Value
    ) -> None:
        f, lhs, verbs = self.f, self.lhs, self.verbs
        first = f.offset(f["lhs"], f.divide_exactly(m0, lhs.mr) * self.lhs_panel_bytes + start * lhs.block_bytes)
        lhs_panels = [f.offset(first, self.lhs_panel_bytes * p) for p in range(-(-rows // lhs.mr))]
        outs = [f.offset(f["dst"], (m0 + r) * f["dst_stride"] + (n0 << 2)) for r in range(rows)]
        acc = self._load(outs, f["n"] - n0, f.compare("eq", start, 0), panels)
        with f.loop(0, count) as index:
            record, at = f.offset(self.scratch, index * self.record_bytes), index * lhs.block_bytes
            self._block([f.offset(p, at) for p in lhs_panels], record, acc, rows)
        for u, unit in enumerate(acc):
            for r in range(verbs.rows):
                if u * verbs.rows + r < rows:
                    of_row = [verbs.by_row(f, [v.get() for v in part])[r] for part in self._by_panel(unit)]
                    values = [f.clamp(value, lo, hi) for value in of_row]
                    f.store_columns(outs[u * verbs.rows + r], values, f["n"] - n0)

    def _by_panel(self, unit: list[Variable]) -> list[list[Variable]]:
        return [unit[i : i + self.verbs.vectors] for i in range(0, len(unit), self.verbs.vectors)]

    def _load(self, outs: list[Value], left: Value, is_first: Value, panels: int) -> list[list[Variable]]:
        """The accumulators, [unit][vector of a panel]: zeros, or what rests in dst."""
        f, verbs, zero = self.f, self.verbs, self.f.zero(self.floats)
        rows = [_load_columns(f, out, panels, self.floats, verbs.lanes, left) for out in outs]
        rows += [[zero] * panels] * (-len(rows) % verbs.rows)
        acc = []
        for u in range(0, len(rows), verbs.rows):
            parts = [verbs.by_row(f, [rows[u + r][p] for r in range(verbs.rows)]) for p in range(panels)]
            acc.append([f.variable(f.select(is_first, zero, value)) for part in parts for value in part])
        return acc

    def _block(self, lhs: list[Value], record: Value, acc: list[list[Variable]], rows: int) -> None:
        f, verbs, code = self.f, self.verbs, self.code
        columns = [self._column(record, v) for v in range(len(acc[0]))]
        sums = self.owing(lhs, rows)
        totals = [[verbs.start(f, code, entry, s) for entry in columns] for s in sums]
        steps = OPERANDS // verbs.vectors
        for step in range(steps):
            operands = self.operands(lhs, rows, step)
            half = 2 * step // steps
            weights = [entry(f"operand{step}") for entry in columns]
            for u, operand in enumerate(operands):
                for c, entry in enumerate(columns):
                    total = verbs.dot(f, code, totals[u][c], weights[c], operand, entry, half)
                    if step % (steps // 2) == steps // 2 - 1:
                        total = verbs.end_half(f, code, total, entry, half)
                    totals[u][c] = verbs.pinned(f, total)
        d = self.scalars(lhs, rows, D, F32)
        dsum = self.scalars(lhs, rows, DSUM, F32) if self.needs_dsum else [None] * len(acc)
        if self.has_mins and not self.needs_sums:  # not before the products, which need the registers
            sums = [*self.scalars(lhs, rows, SUMS, I32)]
        for u, unit in enumerate(acc):
            for c, entry in enumerate(columns):
                total_ = verbs.finish(f, code, totals[u][c])
                self.accumulate(unit[c], total_, entry, d[u], dsum[u], sums[u])

    def _column(self, record: Value, index: int) -> Entry:
        """Entries of one vector of columns, loaded where they are used; `index` counts over panels."""
        panel, vector = divmod(index, self.verbs.vectors)
        return lambda name: self.f.load(
            self.types[name], record, self._at(panel, vector, name), align=self.vector_bytes
        )


def _load_columns(f: Function, out: Value, count: int, type_: str, lanes: int, left: Value) -> list[Value]:
    """`count` consecutive f32 vectors at `out`, but no more than `left` elements; the others are any value."""
    width = count * lanes
    source, beside = f.variable(out), f.stack(4 * width)
    with f.when(f.compare("slt", left, width)):
        source.set(beside)
        with f.loop(0, left) as c:
            f.store(f.load(F32, out, c << 2, align=4), beside, c << 2, align=4)
    return [f.load(type_, source.get(), 4 * lanes * v, align=4) for v in range(count)]
