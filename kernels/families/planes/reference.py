"""The formula of the plane families of blocks in NumPy, on the source's own blocks. Knows no packing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs import quantise
from kernels.families.planes.code import PlaneCode

Floats = npt.NDArray[np.float32]


def matmul(code: PlaneCode, x: Floats, raw: npt.NDArray[np.uint8]) -> Floats:
    """x: f32[M, K], raw: u8[N, row bytes] of the source format -> f32[M, N], blocks of 32 in ascending K.

    An fma is emulated by f64, whose product of two f32 is exact; only the double rounding of the final addition
    differs, in rare ties, from the hardware's.
    """
    d_lhs, q = quantise(x)
    fields = code.source.fields(raw)
    weights = np.array(code.table)[fields.codes] if code.table else fields.codes.astype(np.int32) - code.zero
    d, m = _halves(fields.d), None if fields.m is None else _halves(fields.m)
    out = np.zeros((x.shape[0], raw.shape[0]), np.float32)
    for b in range(q.shape[1]):
        sums = q[:, b].astype(np.int32) @ weights[:, b].astype(np.int32).T
        out = _fma(sums, d_lhs[:, b, None] * d[:, b], out)
        if m is not None:
            lhs_sums = q[:, b].sum(-1, dtype=np.int32).astype(np.float32)
            out = _fma(m[None, :, b], d_lhs[:, b, None] * lhs_sums[:, None], out)
    return out


def _halves(bits: npt.NDArray[np.uint16]) -> Floats:
    """f16 bits -> f32"""
    return np.ascontiguousarray(bits).view(np.float16).astype(np.float32)


def _fma(a: npt.NDArray[np.int32] | Floats, b: Floats, c: Floats) -> Floats:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
