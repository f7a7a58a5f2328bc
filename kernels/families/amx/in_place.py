"""The tile GEMM's hot loop on one block that never leaves L1: as fast as the units let it be. Knows no matrices."""

from __future__ import annotations

from kernels.families.amx.gemm import (
    DEPTH,
    FLOATS,
    LHS,
    SUMS_BYTES,
    Records,
    emit_products,
    emit_scaling,
    emit_tile_shapes,
)
from kernels.jit.ir import I8, I64, PTR, Function, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.tiles import TILE_ROWS, release

MACS = TILE_ROWS * 16 * 32  # of one turn


def emit_in_place(symbol: str, records: Records, features: str) -> str:
    """`void symbol(i64 turns)`: a turn is a block of 16 rows and one panel, with every load, store and float step."""
    f = Function(symbol, [("turns", I64)], features, attributes=(AS_WRITTEN,))
    emit_tile_shapes(f, records)
    zeros = vector(64, I8)
    sums_bytes = SUMS_BYTES * records.halves
    sizes = (LHS.block_bytes, records.record_bytes, DEPTH * sums_bytes)
    block, record, sums = (f.stack(size) for size in sizes)
    for place, size in zip((block, record, sums), sizes, strict=True):
        for line in range(0, size, 64):
            f.store(f.zero(zeros), place, line, align=64)
    acc = [f.variable(f.zero(FLOATS)) for _ in range(TILE_ROWS)]
    with f.loop(0, f["turns"]) as turn:
        # What is read was written a turn before, as in the kernel.
        emit_products(f, records, block, record, f.offset(sums, ((turn + 1) & (DEPTH - 1)) * sums_bytes))
        emit_scaling(f, records, block, record, f.offset(sums, (turn & (DEPTH - 1)) * sums_bytes), acc)
    for variable in acc:
        f.store(variable.get(), sums, align=64)
        f.emit(I64, f'call i64 asm sideeffect "", "=r,r,~{{memory}}"({PTR} {sums.name})')
    release(f)
    f.ret()
    return f.text()
