"""The hot loops of the row-wise tile GEMMs on operands that never leave L1. Knows no matrices.

A scale a channel: a turn is 64 of K of 16 rows and 2 panels; results, which are made once for all of K, are no part of
it. A scale a group: a group of 16 rows and a panel, its float step included.
"""

from __future__ import annotations

from kernels.families.amx.channels import PANELS, SUMS, emit_products, emit_tile_shapes
from kernels.families.amx.groups import BUFFERS, GroupStep
from kernels.families.amx.pipeline import TILE_BYTES
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.tile_lhs import DEPTH
from kernels.jit.ir import I8, I64, PTR, Function, Value, vector
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.masked import FLOATS, LANES
from kernels.jit.tiles import ROW_BYTES, TILE_ROWS, clear, release


def row_turn_macs(rhs: RowRhs) -> int:
    return TILE_ROWS * LANES * (rhs.code.group or PANELS * DEPTH)


def emit_rows_in_place(symbol: str, rhs: RowRhs, features: str) -> str:
    """`void symbol(i64 turns)`"""
    f = Function(symbol, [("turns", I64)], features, attributes=(AS_WRITTEN,))
    if rhs.code.group is None:
        _channels(f)
    else:
        _groups(f, GroupStep(rhs.code.group))
    release(f)
    f.ret()
    return f.text()


def _channels(f: Function) -> None:
    left, *rights = (_zeros(f, TILE_BYTES) for _ in range(1 + PANELS))
    emit_tile_shapes(f)
    for tile in SUMS:
        clear(f, tile)
    with f.loop(0, f["turns"]):
        emit_products(f, left, rights)


def _groups(f: Function, step: GroupStep) -> None:
    record, sums = _zeros(f, step.record_bytes), _zeros(f, BUFFERS * TILE_BYTES)
    lefts = [_zeros(f, TILE_BYTES) for _ in range(step.group // step.depth)]
    step.emit_tile_shapes(f)
    acc = [f.variable(f.zero(FLOATS)) for _ in range(TILE_ROWS)]
    with f.loop(0, f["turns"]) as turn:
        # What is read was written a turn before, as in the kernel.
        step.emit_products(f, lefts, record, f.offset(sums, ((turn + 1) & (BUFFERS - 1)) * TILE_BYTES))
        step.emit_scaling(f, record, f.offset(sums, (turn & (BUFFERS - 1)) * TILE_BYTES), acc)
    for variable in acc:
        f.store(variable.get(), sums, align=64)
        f.emit(I64, f'call i64 asm sideeffect "", "=r,r,~{{memory}}"({PTR} {sums.name})')


def _zeros(f: Function, num_bytes: int) -> Value:
    place = f.stack(num_bytes)
    for at in range(0, num_bytes, ROW_BYTES):
        f.store(f.zero(vector(ROW_BYTES, I8)), place, at, align=64)
    return place
