"""The block32 formula in NumPy, on the source's own blocks. Knows no packing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs import quantise
from kernels.families.block32.rhs import WeightCode


def matmul(code: WeightCode, x: npt.NDArray[np.float32], raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """x: f32[M, K], raw: u8[N, row bytes] of the source format -> f32[M, N], blocks in ascending K.

    Sums of a block are exact integers. An fma is emulated by f64, whose product of two f32 is exact; only the double
    rounding of the final addition differs, in rare ties, from the hardware's.
    """
    d_lhs, q = quantise(x)
    bits, quants = code.source.split(raw)
    scales = bits.view(np.float16).astype(np.float32)
    codes = code.source.codes(quants)
    out = np.zeros((x.shape[0], raw.shape[0]), np.float32)
    for b in range(q.shape[1]):
        sums = q[:, b].astype(np.int32) @ codes[:, b].T
        product = d_lhs[:, b, None] * scales[None, :, b, 0]
        out = _fma(sums.astype(np.float32), product, out)
        if code.has_min:
            dsum = d_lhs[:, b] * q[:, b].sum(-1, dtype=np.int32).astype(np.float32)
            out = _fma(scales[None, :, b, 1], dsum[:, None], out)
    return out


def _fma(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], c: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
