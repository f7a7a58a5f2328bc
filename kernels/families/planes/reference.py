"""The formula of the plane families in NumPy, on the source's own blocks. Knows no packing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs import quantise
from kernels.families.planes.code import PlaneCode
from kernels.quant.fields import BLOCK

Floats = npt.NDArray[np.float32]


def matmul(code: PlaneCode, x: Floats, raw: npt.NDArray[np.uint8]) -> Floats:
    """x: f32[M, K], raw: u8[N, row bytes] of the source format -> f32[M, N], blocks of 32 in ascending K.

    An fma is emulated by f64, whose product of two f32 is exact; only the double rounding of the final addition
    differs, in rare ties, from the hardware's.
    """
    d_lhs, q = quantise(x)
    fields = code.source.fields(raw)
    num_halves = 2 if code.sub == BLOCK // 2 else 1
    weights = np.array(code.table)[fields.codes] if code.table else fields.codes.astype(np.int32) - code.zero
    weights = weights.reshape(*weights.shape[:2], num_halves, -1)
    parts = q.astype(np.int32).reshape(*q.shape[:2], num_halves, -1)
    d, m = _per_block(fields.d, q.shape[1]), None if fields.m is None else _per_block(fields.m, q.shape[1])
    out = np.zeros((x.shape[0], raw.shape[0]), np.float32)
    for b in range(q.shape[1]):
        sums = np.einsum("mhk,nhk->mnh", parts[:, b], weights[:, b])
        lhs_sums = parts[:, b].sum(-1)
        if num_halves == 2:
            assert fields.sub_scales is not None
            total = (sums * fields.sub_scales[:, b].astype(np.int32)).sum(-1)
            assert np.abs(total).max(initial=0) < 1 << 24, "sums are exact in f32"
            out = _fma(total, d_lhs[:, b, None] * d[None, :, b], out)
            if m is not None and fields.sub_mins is not None:
                mins = lhs_sums @ fields.sub_mins[:, b].astype(np.int32).T
                out = _fma(mins, d_lhs[:, b, None] * -m[None, :, b], out)
            continue
        scale, minimum = d[:, b], None if m is None else m[:, b]
        if fields.sub_scales is not None:
            scale = scale * fields.sub_scales[:, b, 0].astype(np.float32)
        if minimum is not None and fields.sub_mins is not None:
            minimum = -minimum * fields.sub_mins[:, b, 0].astype(np.float32)
        out = _fma(sums[..., 0], d_lhs[:, b, None] * scale, out)
        if minimum is not None:
            out = _fma(minimum[None], d_lhs[:, b, None] * lhs_sums.astype(np.float32), out)
    return out


def _per_block(bits: npt.NDArray[np.uint16], num_blocks: int) -> Floats:
    """f16 bits [N, S] -> f32[N, K/32]"""
    values = np.ascontiguousarray(bits).view(np.float16).astype(np.float32)
    return np.repeat(values, num_blocks // bits.shape[1], axis=1)


def _fma(a: npt.NDArray[np.int64] | Floats, b: Floats, c: Floats) -> Floats:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
