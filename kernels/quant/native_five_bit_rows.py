"""Native functions that turn one row of Q5_0, Q5_1 or IQ4_NL weights into f32. See kernels.quant.native_rows."""

from typing import Any, Final

import numpy as np
from llvmlite import ir

from kernels.jit.function import inlined, intrinsic, native
from kernels.jit.native import load, load_half
from kernels.jit.rearrange import lane_numbers
from kernels.jit.vector import I32x16, f32x16, i32x16, load_u8x16, store_f32x16, to_f32, unary
from kernels.quant.blocks import CODE_BOOK

BLOCK: Final = 32
Q5_0_BYTES: Final = 22
Q5_1_BYTES: Final = 24
IQ4_NL_BYTES: Final = 18


@intrinsic
def code_book_values(typingctx: Any, codes: Any) -> Any:
    """IQ4_NL's integers by their codes, lane by lane."""

    def emit(builder: Any, lanes: Any) -> Any:
        book, found = ir.Constant(lanes.type, list(CODE_BOOK)), ir.Constant(lanes.type, ir.Undefined)
        for lane in map(ir.IntType(32), range(lanes.type.count)):
            value = builder.extract_element(book, builder.extract_element(lanes, lane))
            found = builder.insert_element(found, value, lane)
        return found

    return unary(I32x16, I32x16, emit)


@inlined
def five_bits(nibbles: Any, bits: Any) -> Any:
    """16 codes: nibbles, and the fifth bit of lane i in bit i."""
    return nibbles | ((i32x16(bits) >> lane_numbers()) & i32x16(np.int32(1))) << i32x16(np.int32(4))


@native
def dequantise_row_q5_0(source: int, target: int, n: int) -> None:
    low_bits, zero = i32x16(np.int32(15)), i32x16(np.int32(16))
    for block in range(n // BLOCK):
        address, out = source + Q5_0_BYTES * block, target + 4 * BLOCK * block
        scale, nibbles = f32x16(load_half(address)), load_u8x16(address + 6)
        low, high = load(address + 2, np.uint16), load(address + 4, np.uint16)
        store_f32x16(out, to_f32(five_bits(nibbles & low_bits, np.int32(low)) - zero) * scale)
        upper = nibbles >> i32x16(np.int32(4))
        store_f32x16(out + 64, to_f32(five_bits(upper, np.int32(high)) - zero) * scale)


@native
def dequantise_row_q5_1(source: int, target: int, n: int) -> None:
    low_bits = i32x16(np.int32(15))
    for block in range(n // BLOCK):
        address, out = source + Q5_1_BYTES * block, target + 4 * BLOCK * block
        scale, least = f32x16(load_half(address)), f32x16(load_half(address + 2))
        nibbles = load_u8x16(address + 8)
        low, high = load(address + 4, np.uint16), load(address + 6, np.uint16)
        # 5 bits times 11 is exact, so that the sum is rounded once either way.
        store_f32x16(out, to_f32(five_bits(nibbles & low_bits, np.int32(low))) * scale + least)
        upper = nibbles >> i32x16(np.int32(4))
        store_f32x16(out + 64, to_f32(five_bits(upper, np.int32(high))) * scale + least)


@native
def dequantise_row_iq4_nl(source: int, target: int, n: int) -> None:
    low_bits = i32x16(np.int32(15))
    for block in range(n // BLOCK):
        address, out = source + IQ4_NL_BYTES * block, target + 4 * BLOCK * block
        scale, nibbles = f32x16(load_half(address)), load_u8x16(address + 2)
        store_f32x16(out, to_f32(code_book_values(nibbles & low_bits)) * scale)
        store_f32x16(out + 64, to_f32(code_book_values(nibbles >> i32x16(np.int32(4)))) * scale)
