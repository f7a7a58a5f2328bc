"""The pack of panels of one row of qsi8d32, in x86 vectors: four blocks at a time. Knows no other layout.

Block by block, each waits for a maximum and a sum across its vector, and for two divisions of a single lane. Here these
are computed side by side, a lane a block. On Arm, which has instructions across a vector and half as many bits in one,
four blocks take more instructions than one does four times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kernels.families.block32.lhs_lanes import Join, fold, minus_eight, neighbours, plus, quantised, scales, two_i16
from kernels.jit.ir import F32, I8, Function, Value, vector
from kernels.jit.vector_math import maximum

BLOCKS = 4
SCALARS, FLOATS, BYTES = vector(BLOCKS, F32), vector(16, F32), vector(16, I8)


class Layout(Protocol):
    """Of rows by themselves: | d | bias | dsum | 0 | 32 x int8 |"""

    @property
    def block_bytes(self) -> int: ...

    @property
    def quants_offset(self) -> int: ...

    @property
    def paired_bias(self) -> bool: ...


def emit_row(f: Function, layout: Layout, source: Value, num_blocks: Value, into: Value) -> None:
    """A row of `num_blocks`."""
    with f.loop(0, num_blocks, BLOCKS) as first:
        # Of the last four some may not exist: the last one stands in for them, and is packed again.
        indices = [_lesser(f, first + i, num_blocks - 1) for i in range(BLOCKS)]
        sources = [f.offset(source, index << 7) for index in indices]
        _emit_blocks(f, layout, sources, [f.offset(into, index * layout.block_bytes) for index in indices])


def _emit_blocks(f: Function, layout: Layout, sources: Sequence[Value], blocks: Sequence[Value]) -> None:
    rows = [[f.load(FLOATS, source, 64 * half, align=4) for half in range(2)] for source in sources]
    magnitudes = [[f.call("llvm.fabs.v16f32", FLOATS, half) for half in halves] for halves in rows]
    amax = fold(f, [_quad(f, halves, maximum) for halves in magnitudes], maximum)
    d, inverse = scales(f, amax)
    quants = [quantised(f, halves, f.shuffle(inverse, [block] * 16)) for block, halves in enumerate(rows)]

    # Elements with the same k % 4 by themselves, then those with 0 and 1, and with 2 and 3.
    quads = [_quad(f, halves, plus) for halves in quants]
    low, high = neighbours(f, *(fold(f, quads[first : first + 2], plus) for first in (0, 2)))
    total = low + high
    bias = two_i16(minus_eight(f, low), minus_eight(f, high)) if layout.paired_bias else minus_eight(f, total)
    scalars = _by_block(f, d, f.cast("bitcast", bias, SCALARS), d * f.cast("sitofp", total, SCALARS))
    for block, fields, (first, last) in zip(blocks, scalars, quants, strict=True):
        f.store(fields, block)
        for half, elements in enumerate((first, last)):
            f.store(f.cast("trunc", elements, BYTES), block, layout.quants_offset + 16 * half)


def _lesser(f: Function, left: Value, right: Value) -> Value:
    return f.select(f.compare("slt", left, right), left, right)


def _quad(f: Function, halves: Sequence[Value], join: Join) -> Value:
    """Two times 16 lanes joined to 4, those with the same index % 4."""
    lanes = join(f, *halves)
    for half in (8, 4):
        lanes = join(f, f.shuffle(lanes, range(half)), f.shuffle(lanes, range(half, 2 * half)))
    return lanes


def _by_block(f: Function, d: Value, bias: Value, dsum: Value) -> list[Value]:
    """f32[4 blocks] each -> of each block | d | bias | dsum | 0 |"""
    vectors = []
    for first in (0, 2):
        lanes = (first, BLOCKS + first, first + 1, BLOCKS + first + 1)
        left, right = f.shuffle(d, lanes, bias), f.shuffle(dsum, lanes, f.zero(SCALARS))
        vectors += [f.shuffle(left, lanes, right) for lanes in ((0, 1, 4, 5), (2, 3, 6, 7))]
    return vectors
