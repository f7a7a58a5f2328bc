"""RMS norm of a row and the residual add before it: native, and the NumPy twin. Knows no op.

    add_row:      out = x + delta
    rms_norm_row: out = x / sqrt(mean(x^2) + eps) * weight

The sum of squares has 32 partial sums, element i in sum i mod 32, then a fixed tree.
"""

import numpy as np
import numpy.typing as npt

from kernels.jit.function import native
from kernels.jit.native import load, store
from kernels.jit.vector import LANES, f32x16, fma, load_f32x16, store_f32x16, sum_lanes


@native
def rms_norm_row(x: int, weight: int, out: int, n: int, eps: float) -> None:
    """One row; `out` may be `x`. eps is f32."""
    even, odd = f32x16(np.float32(0)), f32x16(np.float32(0))
    pairs, whole = n - n % (2 * LANES), n - n % LANES
    for i in range(0, pairs, 2 * LANES):
        low, high = load_f32x16(x + 4 * i), load_f32x16(x + 4 * i + 4 * LANES)
        even = fma(low, low, even)
        odd = fma(high, high, odd)
    if whole > pairs:
        low = load_f32x16(x + 4 * pairs)
        even = fma(low, low, even)
    total = sum_lanes(even + odd)
    for i in range(whole, n):
        value = load(x + 4 * i, np.float32)
        total = fma(value, value, total)
    scale = np.float32(1) / np.sqrt(total / np.float32(n) + np.float32(eps))
    scales = f32x16(scale)
    for i in range(0, whole, LANES):
        store_f32x16(out + 4 * i, load_f32x16(x + 4 * i) * scales * load_f32x16(weight + 4 * i))
    for i in range(whole, n):
        value = load(x + 4 * i, np.float32) * scale * load(weight + 4 * i, np.float32)
        store(out + 4 * i, value, np.float32)


@native
def add_row(x: int, delta: int, out: int, n: int) -> None:
    """out = x + delta; `out` may be `x`."""
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(out + 4 * i, load_f32x16(x + 4 * i) + load_f32x16(delta + 4 * i))
    for i in range(whole, n):
        store(out + 4 * i, load(x + 4 * i, np.float32) + load(delta + 4 * i, np.float32), np.float32)


def rms_normalise(x: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], eps: float) -> npt.NDArray[np.float32]:
    """The twin, in f64: x f32[T, dim] -> f32[T, dim]."""
    wide = x.astype(np.float64)
    scale = 1 / np.sqrt((wide * wide).mean(axis=-1, keepdims=True) + eps)
    normalised: npt.NDArray[np.float32] = (wide * scale * weight).astype(np.float32)
    return normalised
