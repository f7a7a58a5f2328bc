"""e^x for vectors of 16 floats in native functions. numba alone would call the C library once per lane.

x = n ln 2 + r, |r| <= ln(2) / 2, the polynomial of kernels.jit.vector_math for e^r, and n added to the exponent field.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined
from kernels.jit.vector import above, as_f32, as_i32, f32x16, fma, i32x16, minimum, select
from kernels.jit.vector_math import EXP2_TERMS, LEAST_EXPONENT, LOG2_E, ROUND

_ROUND: Final = np.float32(ROUND)
_LOG2_E: Final = np.float32(LOG2_E)
_LN2_HIGH: Final = np.float32(-0.693145751953125)  # 12 bits of ln 2: times an exponent it is exact
_LN2_LOW: Final = np.float32(-(math.log(2) - 0.693145751953125))
# e^r is 2^(r log2(e)): the same polynomial, in powers of r. Its linear term is 1 then.
_, _C2, _C3, _C4, _C5, _C6 = (np.float32(c * LOG2_E**power) for power, c in enumerate(EXP2_TERMS, 1))
_LEAST: Final = np.float32(LEAST_EXPONENT * math.log(2))
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
