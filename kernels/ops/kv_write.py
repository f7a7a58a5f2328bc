"""Writes a token's key and value of one head to its block of the KV cache, in the cache's type. Knows no op.

K goes to column `offset` of K^T [head_dim, 32], V to row `offset` of V [32, head_dim]; kernels.runtime.kv_types draws
the blocks. head_dim is a multiple of 16. What is finite stays finite: f16 saturates. A NaN or an infinity becomes NaN
(in q8_0 for the whole group), so that the step which made it can be refused.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load_half, store_half
from kernels.jit.rearrange import scatter_f16x16, scatter_f32x16, scatter_i8x16, store_i8x16
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
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, GROUP, SCALE_BYTES

F16: Final = F16_KV.code
F32: Final = F32_KV.code
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
def write_key(head: int, plane: int, offset: int, head_dim: int, kind: int) -> None:
    """f32[head_dim] into column `offset` of K^T."""
    if kind == F16:
        for i in range(0, head_dim, LANES):
            at = plane + 2 * (BLOCK_TOKENS * i + offset)
            scatter_f16x16(at, 2 * BLOCK_TOKENS, _saturated(load_f32x16(head + 4 * i)))
    elif kind == F32:
        for i in range(0, head_dim, LANES):
            scatter_f32x16(plane + 4 * (BLOCK_TOKENS * i + offset), 4 * BLOCK_TOKENS, load_f32x16(head + 4 * i))
    else:
        scales = plane + BLOCK_TOKENS * head_dim + SCALE_BYTES * offset
        for first in range(0, head_dim, GROUP):
            stop = min(first + GROUP, head_dim)
            inverse = _write_scale(head + 4 * first, stop - first, scales + first // GROUP * BLOCK_TOKENS * SCALE_BYTES)
            for i in range(first, stop, LANES):
                levels = _levels(load_f32x16(head + 4 * i), inverse)
                scatter_i8x16(plane + BLOCK_TOKENS * i + offset, BLOCK_TOKENS, levels)


@native
def write_value(head: int, plane: int, offset: int, head_dim: int, kind: int) -> None:
    """f32[head_dim] into row `offset` of V."""
    if kind == F16:
        for i in range(0, head_dim, LANES):
            store_f16x16(plane + 2 * (head_dim * offset + i), _saturated(load_f32x16(head + 4 * i)))
    elif kind == F32:
        for i in range(0, head_dim, LANES):
            store_f32x16(plane + 4 * (head_dim * offset + i), load_f32x16(head + 4 * i))
    else:
        num_groups = (head_dim + GROUP - 1) // GROUP
        scales = plane + BLOCK_TOKENS * head_dim + SCALE_BYTES * num_groups * offset
        for first in range(0, head_dim, GROUP):
            stop = min(first + GROUP, head_dim)
            inverse = _write_scale(head + 4 * first, stop - first, scales + first // GROUP * SCALE_BYTES)
            for i in range(first, stop, LANES):
                store_i8x16(plane + head_dim * offset + i, _levels(load_f32x16(head + 4 * i), inverse))
