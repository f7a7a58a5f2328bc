"""The plane GEMV: each block of a group of panels is unpacked and multiplied with the one row."""

from __future__ import annotations

from kernels.families.planes.rhs import OPERANDS
from kernels.families.planes.tile import DSUM, D, Emission, PlaneTile
from kernels.families.planes.unpack import unpack
from kernels.jit.ir import F32, Value


def emit_gemv(tile: PlaneTile) -> str:
    return _Gemv(tile, tile.function(), tile.rhs.code).text()


class _Gemv(Emission):
    def columns(self, n0: Value, panel: Value, panels: int) -> None:
        f, tile = self.f, self.tile
        acc = [f.variable(f.zero(self.floats)) for _ in range(panels)]
        addresses = [f.offset(panel, self.rhs_panel_bytes * p) for p in range(panels)]
        with f.loop(0, self.num_blocks) as index:
            lhs = f.offset(f["lhs"], index * self.lhs.block_bytes)
            row = self.verbs.single_row(f, lhs, self.lhs.group_offset)
            (d,) = self.scalars([lhs], 1, D, F32)
            dsum = self.scalars([lhs], 1, DSUM, F32)[0] if self.needs_dsum else None
            (sums,) = self.owing([lhs], 1)
            for address, variable in zip(addresses, acc, strict=True):
                scales, block = self.rhs.emit_block(f, address, index)
                if tile.prefetch_bytes:
                    f.prefetch_lines(f.offset(block, tile.prefetch_bytes), self.rhs.block_bytes)
                (entries,) = unpack(f, self.rhs, self.verbs, scales, block, self.code)
                entry = entries.__getitem__
                total = self.verbs.start(f, self.code, entry, sums)
                for step, operand in enumerate(row):
                    half = 2 * step // OPERANDS
                    total = self.verbs.dot(f, self.code, total, entry(f"operand{step}"), operand, entry, half)
                    if step % (OPERANDS // 2) == OPERANDS // 2 - 1:
                        total = self.verbs.end_half(f, self.code, total, entry, half)
                self.accumulate(variable, self.verbs.finish(f, self.code, total), entry, d, dsum, sums)
        for p, variable in enumerate(acc):
            column = n0 + self.rhs.nr * p
            value = f.clamp(variable.get(), f["lo"], f["hi"])
            f.store_columns(f.offset(f["dst"], column << 2), [value], f["n"] - column)
