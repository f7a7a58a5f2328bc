"""Writes keys and values of one head to their block of the KV cache, in the cache's type. Knows no op.

K goes to column `offset` of K^T [head_dim, 32], V to row `offset` of V [32, head_dim]; kernels.runtime.kv_types draws
the blocks. Keys of 16 tokens side by side are transposed in registers, with the bits of one at a time. head_dim is a
multiple of 16. In i16 a key's column is one of pairs, a value half a row of pairs. What is finite stays finite: f16
saturates. A NaN or an infinity becomes NaN (in q8_0 for the whole group, in i16 for the token), so that the step which
made it can be refused.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, load_half, prefetch, store, store_half
from kernels.jit.rearrange import store_i8x16, transpose_i8, transpose_i16, transpose_i32
from kernels.jit.vector import (
    LANES,
    above,
    as_i32,
    f32x16,
    fma,
    load_f32x16,
    max_lanes,
    maximum,
    minimum,
    select,
    store_f16x16,
    store_f32x16,
    sum_lanes,
)
from kernels.runtime.abi import BLOCK_TOKENS, CACHE_LINE
from kernels.runtime.int16_rows import write_int16_row
from kernels.runtime.kv_types import F16_KV, F32_KV, GROUP, I16_KV, Q8_0_KV, SCALE_BYTES, TOKEN_SCALE_BYTES

F16: Final = F16_KV.code
F32: Final = F32_KV.code
I16: Final = I16_KV.code
F16_BYTES, F32_BYTES, Q8_0_BYTES = (kind.element_bytes for kind in (F16_KV, F32_KV, Q8_0_KV))
_MOST_HALF: Final = np.float32(65504)
_LEVELS: Final = np.float32(127)
_SHARE: Final = np.float32(1 / 127)
_ROUND: Final = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer, held in the low bits


@inlined
def _saturated(x: Any) -> Any:
    """Finite lanes within f16; the others NaN."""
    most, least = f32x16(_MOST_HALF), f32x16(-_MOST_HALF)
    capped = select(above(x, most), most, select(above(least, x), least, x))
    return fma(x, f32x16(np.float32(0)), capped)


@inlined
def _negated(x: Any) -> Any:
    return f32x16(np.float32(0)) - x


@native
def _write_scale(head: int, num_elements: int, target: int) -> float:
    """The scale of a group as f16; returns what its elements are to be multiplied with."""
    most, wrong = f32x16(np.float32(0)), f32x16(np.float32(0))
    for i in range(0, num_elements, LANES):
        x = load_f32x16(head + 4 * i)
        most = maximum(most, maximum(x, _negated(x)))
        wrong = fma(x, f32x16(np.float32(0)), wrong)
    scale = min(max_lanes(most) * _SHARE, _MOST_HALF) + sum_lanes(wrong)
    store_half(target, scale)
    rounded = load_half(target)
    inverse = np.float32(0)
    if rounded > np.float32(0):
        inverse = np.float32(1) / rounded
    return inverse  # type: ignore[return-value]


@inlined
def _levels(x: Any, inverse: float) -> Any:
    """Integers in the low byte of each lane."""
    scaled = x * f32x16(np.float32(inverse))
    capped = maximum(minimum(scaled, f32x16(_LEVELS)), f32x16(-_LEVELS))
    return as_i32(capped + f32x16(_ROUND))


@native
def _write_row(head: int, target: int, scales: int, scale_stride: int, head_dim: int, kind: int) -> None:
    """f32[head_dim] as a row of elements at `target`; its scales, if any, `scale_stride` bytes apart."""
    if kind == F16:
        for i in range(0, head_dim, LANES):
            store_f16x16(target + 2 * i, _saturated(load_f32x16(head + 4 * i)))
    elif kind == I16:
        store(scales, write_int16_row(head, target, head_dim), np.float32)
    elif kind == F32:
        for i in range(0, head_dim, LANES):
            store_f32x16(target + 4 * i, load_f32x16(head + 4 * i))
    else:
        for first in range(0, head_dim, GROUP):
            stop = min(first + GROUP, head_dim)
            inverse = _write_scale(head + 4 * first, stop - first, scales)
            scales += scale_stride
            for i in range(first, stop, LANES):
                store_i8x16(target + i, _levels(load_f32x16(head + 4 * i), inverse))


@inlined
def _element_bytes(kind: int) -> int:
    if kind in (F16, I16):
        return F16_BYTES
    return F32_BYTES if kind == F32 else Q8_0_BYTES


@inlined
def _transpose(rows: int, row_bytes: int, plane: int, head_dim: int, kind: int) -> None:
    """16 rows of `head_dim` elements become 16 columns of the plane."""
    if kind == I16:
        whole = head_dim // (2 * LANES) * LANES  # pairs
        for i in range(0, whole, LANES):
            transpose_i32(rows + 4 * i, row_bytes, plane + 4 * BLOCK_TOKENS * i, 4 * BLOCK_TOKENS)
        for token in range(LANES):
            for i in range(whole, head_dim // 2):
                pair = load(rows + row_bytes * token + 4 * i, np.int32)
                store(plane + 4 * BLOCK_TOKENS * i + 4 * token, pair, np.int32)
        return
    for i in range(0, head_dim, LANES):
        if kind == F16:
            transpose_i16(rows + 2 * i, row_bytes, plane + 2 * BLOCK_TOKENS * i, 2 * BLOCK_TOKENS)
        elif kind == F32:
            transpose_i32(rows + 4 * i, row_bytes, plane + 4 * BLOCK_TOKENS * i, 4 * BLOCK_TOKENS)
        else:
            transpose_i8(rows + i, row_bytes, plane + BLOCK_TOKENS * i, BLOCK_TOKENS)


@inlined
def _scatter(row: int, plane: int, head_dim: int, kind: int) -> None:
    """A row of `head_dim` elements becomes a column of the plane."""
    if kind == I16:
        for i in range(head_dim // 2):
            store(plane + 4 * BLOCK_TOKENS * i, load(row + 4 * i, np.int32), np.int32)
        return
    for i in range(head_dim):
        if kind == F16:
            store(plane + 2 * BLOCK_TOKENS * i, load(row + 2 * i, np.int16), np.int16)
        elif kind == F32:
            store(plane + 4 * BLOCK_TOKENS * i, load(row + 4 * i, np.int32), np.int32)
        else:
            store(plane + BLOCK_TOKENS * i, load(row + i, np.int8), np.int8)


@native
def ask_for_column(plane: int, offset: int, head_dim: int, kind: int) -> None:
    """The lines that a key will be written to: its elements lie on as many, and none of them was in use."""
    size = _element_bytes(kind)
    place = 2 * size if kind == I16 else size
    for at in range(0, size * BLOCK_TOKENS * head_dim, max(CACHE_LINE, place * BLOCK_TOKENS)):
        prefetch(plane + at + place * offset)


@native
def write_keys(
    heads: int, stride: int, count: int, plane: int, offset: int, head_dim: int, kind: int, scratch: int
) -> None:
    """f32[count, head_dim], rows `stride` bytes apart, into columns offset..offset + count of K^T; count is 1 or 16.

    scratch: room for as many rows in the cache's type.
    """
    size = _element_bytes(kind)
    scale_bytes = TOKEN_SCALE_BYTES if kind == I16 else SCALE_BYTES
    scales = plane + size * BLOCK_TOKENS * head_dim + scale_bytes * offset
    for token in range(count):
        row, scale = scratch + size * head_dim * token, scales + scale_bytes * token
        _write_row(heads + stride * token, row, scale, SCALE_BYTES * BLOCK_TOKENS, head_dim, kind)
    column = plane + (2 * size if kind == I16 else size) * offset
    if count == LANES:
        _transpose(scratch, size * head_dim, column, head_dim, kind)
    else:
        _scatter(scratch, column, head_dim, kind)


@native
def write_value(head: int, plane: int, offset: int, head_dim: int, kind: int, scratch: int) -> None:
    """f32[head_dim] into row `offset` of V; in i16 into one half of a row of pairs. scratch: room for a row."""
    if kind == I16:
        scale = write_int16_row(head, scratch, head_dim)
        store(plane + 2 * BLOCK_TOKENS * head_dim + TOKEN_SCALE_BYTES * offset, scale, np.float32)
        half, pair = divmod(offset, BLOCK_TOKENS // 2)
        into = plane + 4 * head_dim * pair + 2 * half
        for i in range(head_dim):
            store(into + 4 * i, load(scratch + 2 * i, np.int16), np.int16)
        return
    num_groups = (head_dim + GROUP - 1) // GROUP
    scales = plane + BLOCK_TOKENS * head_dim + SCALE_BYTES * num_groups * offset
    _write_row(head, plane + _element_bytes(kind) * head_dim * offset, scales, SCALE_BYTES, head_dim, kind)
