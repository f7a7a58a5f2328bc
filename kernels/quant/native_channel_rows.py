"""Native functions that turn one row of a format of kernels.quant.channel into f32. See kernels.quant.native_rows."""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, load_half
from kernels.jit.vector import LANES, f32x16, i32x16, load_i8x16, load_u8x16, store_f32x16, to_f32

BLOCK: Final = 32
CHANNEL_SCALE_BYTES: Final = 4
GROUP_64_BYTES: Final = 2 + 32
GROUP_128_BYTES: Final = 2 + 64


@inlined
def nibble_block(source: int, target: int, scale: Any) -> None:
    """32 elements: byte i holds element i below and element i + 16 above, both 8 too large."""
    low_bits, eight = i32x16(np.int32(15)), i32x16(np.int32(8))
    codes = load_u8x16(source)
    store_f32x16(target, to_f32((codes & low_bits) - eight) * scale)
    store_f32x16(target + 64, to_f32((codes >> i32x16(np.int32(4))) - eight) * scale)


@native
def dequantise_row_qc8(source: int, target: int, n: int) -> None:
    scale = f32x16(load(source, np.float32))
    for i in range(0, n, LANES):
        store_f32x16(target + 4 * i, to_f32(load_i8x16(source + CHANNEL_SCALE_BYTES + i)) * scale)


@native
def dequantise_row_q4cx(source: int, target: int, n: int) -> None:
    scale, codes = f32x16(load(source, np.float32)), source + CHANNEL_SCALE_BYTES
    for i in range(0, n, BLOCK):
        nibble_block(codes + i // 2, target + 4 * i, scale)


@native
def dequantise_row_8da4w_g64(source: int, target: int, n: int) -> None:
    for group in range(n // 64):
        address, out = source + GROUP_64_BYTES * group, target + 4 * 64 * group
        scale = f32x16(load_half(address))
        for block in range(2):
            nibble_block(address + 2 + 16 * block, out + 4 * BLOCK * block, scale)


@native
def dequantise_row_8da4w_g128(source: int, target: int, n: int) -> None:
    for group in range(n // 128):
        address, out = source + GROUP_128_BYTES * group, target + 4 * 128 * group
        scale = f32x16(load_half(address))
        for block in range(4):
            nibble_block(address + 2 + 16 * block, out + 4 * BLOCK * block, scale)
