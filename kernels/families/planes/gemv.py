"""The plane GEMV: each block of a group of panels is unpacked and multiplied with the one row."""

from __future__ import annotations

from kernels.families.planes.tile import DSUM, BlockEmission, D, PlaneTile
from kernels.families.planes.unpack import unpack
from kernels.jit.ir import F32, Value


def emit_gemv(tile: PlaneTile) -> str:
    return _Gemv(tile, tile.function(), tile.rhs.code).text()


class _Gemv(BlockEmission):
    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f = self.f
        acc = [f.variable(f.zero(self.floats)) for _ in range(panels)]
        addresses = [f.offset(panel, self.rhs_panel_bytes * p) for p in range(panels)]
        with f.loop(0, self.num_blocks) as index:
            lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
            row = self.verbs.single_row(f, lhs, self.lhs.group_offset)
            (d,) = self.scalars([lhs], 1, D, F32)
            dsum = self.scalars([lhs], 1, DSUM, F32)[0] if self.needs_dsum else None
            (owed,) = self.owing([lhs], 1)
            for address, variable in zip(addresses, acc, strict=True):
                block = f.offset(address, index * self.rhs.block_bytes)
                if self.tile.prefetch:
                    self.tile.prefetch.ask(f, block, self.rhs.block_bytes)
                (entries,) = unpack(f, self.rhs, self.verbs, block)
                total = self.verbs.start(f, self.code, owed)
                for step, operand in enumerate(row):
                    total = self.verbs.dot(f, self.code, total, entries[f"operand{step}"], operand, None)
                total = self.verbs.end_scale(f, self.code, total, None)
                self.accumulate(variable, self.verbs.finish(f, self.code, total), entries.__getitem__, d, dsum)
        self.store(n0, [variable.get() for variable in acc])
