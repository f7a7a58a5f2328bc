"""Native rows of i16: a token's K or V, or a query, as int16 with one scale (kernels.runtime.kv_types).

A row's integers have a Euclidean norm of 32704. What is beyond 2^55 saturates, for its square would overflow; a NaN or
an infinity makes the scale NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.rearrange import store_i16x16
from kernels.jit.vector import LANES, as_i32, f32x16, fma, load_f32x16, maximum, minimum, sum_lanes
from kernels.jit.vector_math import ROUND
from kernels.runtime.kv_types import MOST_IN_I16, NORM

_NORM: Final = np.float32(NORM)
_STEP: Final = np.float32(1 / NORM)
_MOST: Final = np.float32(MOST_IN_I16)
_ROUND: Final = np.float32(ROUND)


@inlined
def _saturated(x: Any) -> Any:
    return maximum(minimum(x, f32x16(_MOST)), f32x16(-_MOST))


@native
def write_int16_row(source: int, target: int, head_dim: int) -> float:
    """f32[head_dim] -> int16[head_dim]; returns the scale."""
    squares, wrong = f32x16(np.float32(0)), f32x16(np.float32(0))
    for i in range(0, head_dim, LANES):
        x = load_f32x16(source + 4 * i)
        wrong = fma(x, f32x16(np.float32(0)), wrong)
        x = _saturated(x)
        squares = fma(x, x, squares)
    norm = np.sqrt(sum_lanes(squares))
    inverse = np.float32(0)
    if norm > np.float32(0):
        inverse = _NORM / norm
    for i in range(0, head_dim, LANES):
        scaled = _saturated(load_f32x16(source + 4 * i)) * f32x16(np.float32(inverse))
        store_i16x16(target + 2 * i, as_i32(scaled + f32x16(_ROUND)))
    return norm * _STEP + sum_lanes(wrong)  # type: ignore[no-any-return]
