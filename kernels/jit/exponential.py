"""e^x for vectors of 16 floats in native functions. numba alone would call the C library once per lane.

The formula of kernels.jit.vector_math, so that both give the same bits: x = n ln 2 + r, |r| <= ln(2) / 2, a minimax
polynomial of degree 6 for e^r (error 2^-28.9), and n added to the exponent field.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined
from kernels.jit.vector import above, as_f32, as_i32, f32x16, fma, i32x16, minimum, select

_ROUND: Final = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer, held in the low bits
_LOG2_E: Final = np.float32(math.log2(math.e))
_LN2_HIGH: Final = np.float32(-0.693145751953125)  # 12 bits of ln 2: times an exponent it is exact
_LN2_LOW: Final = np.float32(-(math.log(2) - 0.693145751953125))
_C2: Final = np.float32(0.4999999403953552)
_C3: Final = np.float32(0.16666431725025177)
_C4: Final = np.float32(0.04166800156235695)
_C5: Final = np.float32(0.00837415549904108)
_C6: Final = np.float32(0.0013843653723597527)
_LEAST: Final = np.float32(-124.0 * math.log(2))
_MOST: Final = np.float32(127.0 * math.log(2))


@inlined
def exp_f32x16(x: Any) -> Any:
    """Within 1.1 ulp; at most 2^127 (no infinity), 0 below 2^-124. NaN is for the caller to avoid."""
    one = f32x16(np.float32(1.0))
    magic = f32x16(_ROUND)
    capped = minimum(x, f32x16(_MOST))
    rounded = fma(capped, f32x16(_LOG2_E), magic)
    exponent = rounded - magic
    rest = fma(exponent, f32x16(_LN2_HIGH), capped)
    rest = fma(exponent, f32x16(_LN2_LOW), rest)
    value = fma(f32x16(_C6), rest, f32x16(_C5))
    value = fma(value, rest, f32x16(_C4))
    value = fma(value, rest, f32x16(_C3))
    value = fma(value, rest, f32x16(_C2))
    value = fma(value, rest, one)
    value = fma(value, rest, one)
    scaled = as_f32(as_i32(value) + (as_i32(rounded) << i32x16(np.int32(23))))
    return select(above(f32x16(_LEAST), x), f32x16(np.float32(0.0)), scaled)
