"""Native functions that turn one row of K-quants into f32, a format each. Bit for bit as kernels.quant.super_blocks.

dequantise(source: address, target: address of f32[n], n)        n a multiple of 256; the bytes are drawn there
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, load_half
from kernels.jit.vector import f32x16, i32x16, load_u8x16, store_f32x16, to_f32

SUPER_BLOCK: Final = 256
Q2_K_BYTES: Final = 84
Q3_K_BYTES: Final = 110
Q4_K_BYTES: Final = 144
Q5_K_BYTES: Final = 176
Q6_K_BYTES: Final = 210


@inlined
def _byte(address: int) -> Any:
    return np.int32(load(address, np.uint8))


@inlined
def _bits(address: int, shift: int, mask: int) -> Any:
    """16 bytes, shifted and masked."""
    return (load_u8x16(address) >> i32x16(np.int32(shift))) & i32x16(np.int32(mask))


@inlined
def _scaled(d: Any, sub_scale: Any) -> Any:
    """Exact: 11 bits by at most 8."""
    return f32x16(d * np.float32(sub_scale))


@inlined
def _six_bits(scales: int, index: int, first: int, shift: int) -> Any:
    """The scale (first 0, shift 0) or minimum (4, 4) of a sub-block: the last four have their low bits in a nibble."""
    own = _byte(scales + first + index % 4)
    split = (_byte(scales + 8 + index % 4) >> shift & 15) | own >> 6 << 4
    return own & 63 if index < 4 else split


@inlined
def _row_of_32s(source: int, target: int, n: int, num_bytes: int, has_fifth_bits: bool) -> None:
    for block in range(n // SUPER_BLOCK):
        address, out = source + num_bytes * block, target + 4 * SUPER_BLOCK * block
        d, dmin = load_half(address), load_half(address + 2)
        fifth = address + 16
        nibbles = fifth + 32 if has_fifth_bits else fifth
        for sub in range(8):
            scale = _scaled(d, _six_bits(address + 4, sub, 0, 0))
            least = _scaled(dmin, _six_bits(address + 4, sub, 4, 4))
            for part in range(0, 32, 16):
                codes = _bits(nibbles + 32 * (sub // 2) + part, 4 * (sub % 2), 15)
                if has_fifth_bits:
                    codes = codes | _bits(fifth + part, sub, 1) << i32x16(np.int32(4))
                store_f32x16(out + 4 * (32 * sub + part), to_f32(codes) * scale - least)


@native
def dequantise_row_q4_k(source: int, target: int, n: int) -> None:
    _row_of_32s(source, target, n, Q4_K_BYTES, False)


@native
def dequantise_row_q5_k(source: int, target: int, n: int) -> None:
    _row_of_32s(source, target, n, Q5_K_BYTES, True)


@native
def dequantise_row_q6_k(source: int, target: int, n: int) -> None:
    zero, four = i32x16(np.int32(32)), i32x16(np.int32(4))
    for block in range(n // SUPER_BLOCK):
        address, out = source + Q6_K_BYTES * block, target + 4 * SUPER_BLOCK * block
        d = load_half(address + 208)
        for sub in range(16):  # half of the block, run of 32, half of the run
            half, run, part = sub // 8, sub // 2 % 4, 16 * (sub % 2)
            low = _bits(address + 64 * half + 32 * (run % 2) + part, 4 * (run // 2), 15)
            high = _bits(address + 128 + 32 * half + part, 2 * run, 3)
            scale = _scaled(d, load(address + 192 + sub, np.int8))
            store_f32x16(out + 64 * sub, to_f32((low | high << four) - zero) * scale)


@native
def dequantise_row_q3_k(source: int, target: int, n: int) -> None:
    zero, two = i32x16(np.int32(4)), i32x16(np.int32(2))
    for block in range(n // SUPER_BLOCK):
        address, out = source + Q3_K_BYTES * block, target + 4 * SUPER_BLOCK * block
        d, scales = load_half(address + 108), address + 96
        for sub in range(16):
            half, run, part = sub // 8, sub // 2 % 4, 16 * (sub % 2)
            low = _bits(address + 32 + 32 * half + part, 2 * run, 3)
            high = _bits(address + part, 4 * half + run, 1)
            six_bits = (_byte(scales + sub % 8) >> 4 * half & 15) | (
                _byte(scales + 8 + sub % 4) >> 2 * (sub // 4) & 3
            ) << 4
            store_f32x16(out + 64 * sub, to_f32((low | high << two) - zero) * _scaled(d, six_bits - 32))


@native
def dequantise_row_q2_k(source: int, target: int, n: int) -> None:
    for block in range(n // SUPER_BLOCK):
        address, out = source + Q2_K_BYTES * block, target + 4 * SUPER_BLOCK * block
        d, dmin = load_half(address + 80), load_half(address + 82)
        for sub in range(16):
            half, run, part = sub // 8, sub // 2 % 4, 16 * (sub % 2)
            codes = _bits(address + 16 + 32 * half + part, 2 * run, 3)
            both = _byte(address + sub)
            # 2 bits times 15 is exact, so that the difference is rounded once either way.
            store_f32x16(out + 64 * sub, to_f32(codes) * _scaled(d, both & 15) - _scaled(dmin, both >> 4))
