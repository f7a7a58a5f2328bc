"""Native functions that turn one row of weights into f32, a format each. Bit for bit as kernels.quant.blocks does.

dequantise(source: address, target: address of f32[n], n)        n a multiple of 32 for block formats
"""

from typing import Any, Final, NamedTuple

import numpy as np

from kernels.jit.function import native
from kernels.jit.native import load, load_half, store
from kernels.jit.vector import (
    LANES,
    as_f32,
    f32x16,
    i32x16,
    load_f16x16,
    load_f32x16,
    load_i8x16,
    load_u8x16,
    load_u16x16,
    store_f32x16,
    to_f32,
)
from kernels.quant.native_channel_rows import (
    CHANNEL_SCALE_BYTES,
    GROUP_64_BYTES,
    GROUP_128_BYTES,
    dequantise_row_8da4w_g64,
    dequantise_row_8da4w_g128,
    dequantise_row_q4cx,
    dequantise_row_qc8,
)
from kernels.quant.native_five_bit_rows import (
    IQ4_NL_BYTES,
    Q5_0_BYTES,
    Q5_1_BYTES,
    dequantise_row_iq4_nl,
    dequantise_row_q5_0,
    dequantise_row_q5_1,
)
from kernels.quant.native_super_rows import (
    Q2_K_BYTES,
    Q3_K_BYTES,
    Q4_K_BYTES,
    Q5_K_BYTES,
    Q6_K_BYTES,
    SUPER_BLOCK,
    dequantise_row_q2_k,
    dequantise_row_q3_k,
    dequantise_row_q4_k,
    dequantise_row_q5_k,
    dequantise_row_q6_k,
)

BLOCK: Final = 32
Q4_0_BYTES: Final = 18
Q4_1_BYTES: Final = 20
Q8_0_BYTES: Final = 34


@native
def dequantise_row_q4_0(source: int, target: int, n: int) -> None:
    low_bits, eight = i32x16(np.int32(15)), i32x16(np.int32(8))
    for block in range(n // BLOCK):
        address, out = source + Q4_0_BYTES * block, target + 4 * BLOCK * block
        scale = f32x16(load_half(address))
        codes = load_u8x16(address + 2)
        store_f32x16(out, to_f32((codes & low_bits) - eight) * scale)
        store_f32x16(out + 64, to_f32((codes >> i32x16(np.int32(4))) - eight) * scale)


@native
def dequantise_row_q4_1(source: int, target: int, n: int) -> None:
    low_bits = i32x16(np.int32(15))
    for block in range(n // BLOCK):
        address, out = source + Q4_1_BYTES * block, target + 4 * BLOCK * block
        scale, least = f32x16(load_half(address)), f32x16(load_half(address + 2))
        codes = load_u8x16(address + 4)
        # 4 bits times 11 is exact, so that the sum is rounded once either way.
        store_f32x16(out, to_f32(codes & low_bits) * scale + least)
        store_f32x16(out + 64, to_f32(codes >> i32x16(np.int32(4))) * scale + least)


@native
def dequantise_row_q8_0(source: int, target: int, n: int) -> None:
    for block in range(n // BLOCK):
        address, out = source + Q8_0_BYTES * block, target + 4 * BLOCK * block
        scale = f32x16(load_half(address))
        store_f32x16(out, to_f32(load_i8x16(address + 2)) * scale)
        store_f32x16(out + 64, to_f32(load_i8x16(address + 2 + LANES)) * scale)


@native
def dequantise_row_f16(source: int, target: int, n: int) -> None:
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(target + 4 * i, load_f16x16(source + 2 * i))
    for i in range(whole, n):
        store(target + 4 * i, load_half(source + 2 * i), np.float32)


@native
def dequantise_row_bf16(source: int, target: int, n: int) -> None:
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(target + 4 * i, as_f32(load_u16x16(source + 2 * i) << i32x16(np.int32(16))))
    for i in range(whole, n):
        store(target + 4 * i, np.int32(load(source + 2 * i, np.uint16)) << 16, np.int32)


@native
def copy_row_f32(source: int, target: int, n: int) -> None:
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(target + 4 * i, load_f32x16(source + 4 * i))
    for i in range(whole, n):
        store(target + 4 * i, load(source + 4 * i, np.float32), np.float32)


class RowFormat(NamedTuple):
    """A row of n weights: `header_bytes`, then a block of `block_bytes` for each `block` weights."""

    dequantise: Any
    block: int
    block_bytes: int
    header_bytes: int = 0

    def row_bytes(self, n: int) -> int:
        return self.header_bytes + n // self.block * self.block_bytes


ROW_FORMATS: Final[dict[str, RowFormat]] = {
    "Q4_0": RowFormat(dequantise_row_q4_0, BLOCK, Q4_0_BYTES),
    "Q4_1": RowFormat(dequantise_row_q4_1, BLOCK, Q4_1_BYTES),
    "Q5_0": RowFormat(dequantise_row_q5_0, BLOCK, Q5_0_BYTES),
    "Q5_1": RowFormat(dequantise_row_q5_1, BLOCK, Q5_1_BYTES),
    "Q8_0": RowFormat(dequantise_row_q8_0, BLOCK, Q8_0_BYTES),
    "IQ4_NL": RowFormat(dequantise_row_iq4_nl, BLOCK, IQ4_NL_BYTES),
    "Q2_K": RowFormat(dequantise_row_q2_k, SUPER_BLOCK, Q2_K_BYTES),
    "Q3_K": RowFormat(dequantise_row_q3_k, SUPER_BLOCK, Q3_K_BYTES),
    "Q4_K": RowFormat(dequantise_row_q4_k, SUPER_BLOCK, Q4_K_BYTES),
    "Q5_K": RowFormat(dequantise_row_q5_k, SUPER_BLOCK, Q5_K_BYTES),
    "Q6_K": RowFormat(dequantise_row_q6_k, SUPER_BLOCK, Q6_K_BYTES),
    "F16": RowFormat(dequantise_row_f16, 1, 2),
    "BF16": RowFormat(dequantise_row_bf16, 1, 2),
    "F32": RowFormat(copy_row_f32, 1, 4),
    "gemmule.QC8": RowFormat(dequantise_row_qc8, BLOCK, BLOCK, CHANNEL_SCALE_BYTES),
    "gemmule.Q4CX": RowFormat(dequantise_row_q4cx, BLOCK, BLOCK // 2, CHANNEL_SCALE_BYTES),
    "gemmule.8DA4W_G32": RowFormat(dequantise_row_q4_0, BLOCK, Q4_0_BYTES),
    "gemmule.8DA4W_G64": RowFormat(dequantise_row_8da4w_g64, 64, GROUP_64_BYTES),
    "gemmule.8DA4W_G128": RowFormat(dequantise_row_8da4w_g128, 128, GROUP_128_BYTES),
}
