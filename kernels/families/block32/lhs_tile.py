"""The pack of whole panels of 16 rows of qsi8d32, in AVX512 vectors whose lanes are the rows. Knows no other layout.

Row by row, each block waits for a maximum and two sums across one vector, and writes four scalars among those of the
other rows: shuffles and stores take most of the time. Here 16 rows are folded together:

    16 vectors of magnitudes          -> amax f32[16 rows]            4 levels of even and odd lanes
    8 vectors of two rows' 32 bytes   -> i32[16 rows] of each half    vpdpbusd with ones, 2 levels
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.families.block32.lhs_lanes import fold, minus_eight, neighbours, plus, quantised, scales
from kernels.jit.ir import F32, I8, I16, I32, Function, Value, vector
from kernels.jit.vector_math import maximum
from kernels.quant.blocks import BLOCK

ROWS = 16
FLOATS, INTS, BYTES = vector(ROWS, F32), vector(ROWS, I32), vector(64, I8)
PAIR_ORDER = [4 * lane + part for part in range(4) for lane in range(4)]
"""Of 4-byte words, after two packs within 128-bit lanes: row 0's first and last 16 bytes, then row 1's."""


def emit_tile_block(f: Function, sources: Sequence[Value], offset: Value, block: Value) -> None:
    """The block of K that begins `offset` bytes into each of 16 rows."""
    amax = magnitudes(f, sources, offset)
    d, inverse = scales(f, amax)
    first, last = store_quants(f, sources, offset, inverse, f.offset(block, 3 * 64))
    total = first + last
    fields = d, minus_eight(f, total), d * f.cast("sitofp", total, FLOATS)
    for index, field in enumerate(fields):
        f.store(field, block, 64 * index, align=4)


def magnitudes(f: Function, sources: Sequence[Value], offset: Value) -> Value:
    """f32[16]: the greatest of each row's 32 elements."""
    rows = []
    for row in sources:
        halves = (f.call("llvm.fabs.v16f32", FLOATS, half) for half in _halves(f, row, offset))
        rows.append(maximum(f, *halves))
    return fold(f, rows, maximum)


def store_quants(
    f: Function, sources: Sequence[Value], offset: Value, inverse: Value, into: Value
) -> tuple[Value, Value]:
    """16 rows of 32 bytes. inverse: f32[16], what a row is multiplied with. -> i32[16], sums of each row's halves"""
    pairs = []
    for row in range(0, ROWS, 2):
        words = [_words(f, _halves(f, sources[r], offset), f.shuffle(inverse, [r] * ROWS)) for r in (row, row + 1)]
        packed = f.call("llvm.x86.avx512.packsswb.512", BYTES, *words)
        pairs.append(f.shuffle(f.cast("bitcast", packed, INTS), PAIR_ORDER))
    ones = f.const(BYTES, 1)
    dots = [
        f.call("llvm.x86.avx512.vpdpbusd.512", INTS, f.zero(INTS), ones, f.cast("bitcast", pair, BYTES))
        for pair in pairs
    ]
    for index, pair in enumerate(pairs):
        f.store(pair, into, 64 * index, align=4)
    # Words of a row's halves, four each: folded twice, a lane a half.
    by_half = [fold(f, dots[start : start + 4], plus) for start in (0, 4)]
    return neighbours(f, *by_half)


def _halves(f: Function, row: Value, offset: Value) -> list[Value]:
    return [f.load(FLOATS, f.offset(row, offset), part, align=4) for part in (0, 4 * ROWS)]


def _words(f: Function, halves: Sequence[Value], inverse: Value) -> Value:
    """A row's 32 elements as int16, in the order of packs."""
    return f.call("llvm.x86.avx512.packssdw.512", vector(BLOCK, I16), *quantised(f, halves, inverse))
