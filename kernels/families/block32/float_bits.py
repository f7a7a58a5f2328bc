"""int32 sums that are floats already: started at the bits of a large float, they need one subtraction at the end.

1.5 x 2^23 has an ulp of 1, so its bits plus an integer s, |s| < 2^22, are the bits of 1.5 x 2^23 + s; subtracting it
leaves s, exactly, zero included. Converting instead (scvtf) takes twice the vector pipes on Neoverse cores. The start
is read from memory each time: a load takes no vector pipe either, a copy of a register does.

Signed nibbles are multiplied in the upper half of their bytes, 16 times too large: 1.5 x 2^19 has an ulp of 1/16.
"""

from __future__ import annotations

import struct

from kernels.families.block32.rhs import WeightCode
from kernels.jit.ir import Function, Value

MAX_SUM = 2**22


def start_value(code: WeightCode) -> float:
    """The block sum's start; the largest sum, 32 x 127 x 128 x 16 for nibbles as for bytes, is below MAX_SUM."""
    return 1.5 * 2.0 ** (19 if code.is_signed_nibble else 23)


def start_bits(code: WeightCode) -> int:
    (bits,) = struct.unpack("<i", struct.pack("<f", start_value(code)))
    return int(bits)


def finish(f: Function, code: WeightCode, total: Value, floats: str) -> Value:
    """Sums started at `start_bits` as f32."""
    return f.cast("bitcast", total, floats) - f.const(floats, start_value(code))
