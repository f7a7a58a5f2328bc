"""The tile GEMM's hot loop on one block that never leaves L1: as fast as the units let it be. Knows no matrices."""

from __future__ import annotations

from kernels.families.amx.pipeline import COLUMNS, Pipeline, Records
from kernels.jit.ir import I8, I64, PTR, Function, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.masked import FLOATS, INTS
from kernels.jit.tiles import TILE_ROWS, release
from kernels.quant.blocks import BLOCK

MACS = TILE_ROWS * COLUMNS * BLOCK  # of one turn


def emit_in_place(symbol: str, records: Records, features: str) -> str:
    """`void symbol(i64 turns)`: a turn is a block of 16 rows and one panel, with all its loads, stores and steps."""
    f = Function(symbol, [("turns", I64)], features, attributes=(AS_WRITTEN,))
    pipeline = Pipeline(f, records)
    zeros = vector(64, I8)
    sizes = (records.lhs.block_bytes, records.record_bytes)
    block, record = (f.stack(size) for size in sizes)
    for place, size in zip((block, record), sizes, strict=True):
        for line in range(0, size, 64):
            f.store(f.zero(zeros), place, line, align=64)
    acc = [f.variable(f.zero(INTS if records.is_integer else FLOATS)) for _ in range(TILE_ROWS)]
    pipeline.fill(lambda: (block, record))
    with f.loop(0, f["turns"]):
        pipeline.turn((block, record), block, record, acc)
    kept = f.stack(64)
    for variable in acc:
        f.store(variable.get(), kept, align=64)
        f.emit(I64, f'call i64 asm sideeffect "", "=r,r,~{{memory}}"({PTR} {kept.name})')
    release(f)
    f.ret()
    return f.text()
