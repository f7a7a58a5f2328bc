"""The GEMV of super-blocks: each block of a group of panels is unpacked and multiplied with the one row."""

from __future__ import annotations

from kernels.families.planes.tile import PlaneTile
from kernels.families.supers.lhs import D
from kernels.families.supers.steps import SuperEmission
from kernels.families.supers.unpack import corrections, super_scales, unpack_block
from kernels.jit.ir import F32, I32, Value, Variable
from kernels.quant.super_blocks import SUB_BLOCKS


def emit_gemv(tile: PlaneTile) -> str:
    return _Gemv(tile, tile.function(), tile.rhs.code).text()


class _Gemv(SuperEmission):
    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f = self.f
        acc = [f.variable(f.zero(self.floats)) for _ in range(panels)]
        with f.loop(0, self.num_blocks >> 3) as index:
            lhs = f.offset(f["lhs"], index * self.rows_layout.super_bytes)
            headers = [f.offset(panel, self.rhs_panel_bytes * p + index * self.rhs.super_bytes) for p in range(panels)]
            self._super_block(lhs, headers, acc)
        self.store(n0, [variable.get() for variable in acc])

    def _super_block(self, lhs: Value, headers: list[Value], acc: list[Variable]) -> None:
        """Memory is read in its order: what corrects the sums of a block is, too, taken where the block is."""
        f, rhs, verbs, code = self.f, self.rhs, self.verbs, self.code
        (first,) = self.blocks_of([lhs])
        totals = [verbs.start(f, code, None) for _ in headers]
        owed: list[Value | None] = [None] * len(headers)
        mins = list(owed)
        for header in headers:
            self._ask(header, rhs.header_bytes)
        for b in range(SUB_BLOCKS):
            row = verbs.single_row(f, f.offset(first, b * self.lhs.block_bytes), self.lhs.group_offset)
            for p, header in enumerate(headers):
                block = f.offset(header, b * rhs.block_bytes + rhs.header_bytes)
                self._ask(block, rhs.block_bytes)
                (entries,) = unpack_block(f, rhs, verbs, block, code)
                totals[p] = self.add_row(totals[p], entries.__getitem__, row)
                for name, value in corrections(f, rhs, verbs, header, code, b).items():
                    (sums,) = self.scalars([lhs], 1, int(name[4:]), I32)
                    of = owed if name.startswith("owed") else mins
                    of[p] = verbs.pair_dots(f, of[p], [(value, sums)])
        (d,) = self.scalars([lhs], 1, D, F32)
        for p, header in enumerate(headers):
            total, more = verbs.finish(f, code, totals[p]), owed[p]
            total = total if more is None else total + more
            scales = super_scales(f, rhs, verbs, header, code)
            acc[p].set(self.finished(total, mins[p], scales.__getitem__, d, acc[p].get()))

    def _ask(self, weights: Value, num_bytes: int) -> None:
        if self.tile.prefetch:
            self.tile.prefetch.ask(self.f, weights, num_bytes)
