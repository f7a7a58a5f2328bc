"""The formula of the super-block families in NumPy, on the source's own blocks. Knows no packing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs import quantise
from kernels.families.planes.code import PlaneCode
from kernels.quant.super_blocks import SUB_BLOCKS, SUPER_BLOCK

Floats = npt.NDArray[np.float32]


def matmul(code: PlaneCode, x: Floats, raw: npt.NDArray[np.uint8]) -> Floats:
    """x: f32[M, K], raw: u8[N, row bytes] of the source format -> f32[M, N], super-blocks of 256 in ascending K.

    Sums are exact integers below 2^31, rounded once to f32. An fma is emulated by f64, whose product of two f32 is
    exact; only the double rounding of the final addition differs, in rare ties, from the hardware's.
    """
    d_lhs, q = quantise(x, SUPER_BLOCK)
    fields = code.source.fields(raw)
    assert fields.sub_scales is not None
    num_parts = fields.sub_scales.shape[2]
    shape = (-1, q.shape[1], SUB_BLOCKS * num_parts)
    weights = (fields.codes.astype(np.int64) - code.zero).reshape(*fields.sub_scales.shape, -1)
    weights = (weights * fields.sub_scales[..., None]).reshape(len(raw), *q.shape[1:])
    lhs_sums = q.astype(np.int64).reshape(len(x), *shape[1:], -1).sum(-1)
    d = fields.d.view(np.float16).astype(np.float32)
    out = np.zeros((len(x), len(raw)), np.float32)
    for s in range(q.shape[1]):
        total = q[:, s].astype(np.int64) @ weights[:, s].T
        assert np.abs(total).max(initial=0) < 1 << 31, "sums fit i32"
        value = total.astype(np.float32) * d[None, :, s]
        if fields.m is not None:
            assert fields.sub_mins is not None
            mins = lhs_sums[:, s] @ fields.sub_mins.reshape(shape)[:, s].astype(np.int64).T
            minimum = -np.ascontiguousarray(fields.m[:, s]).view(np.float16).astype(np.float32)
            value = _fma(mins.astype(np.float32), minimum[None], value)
        out = _fma(value, d_lhs[:, s, None], out)
    return out


def _fma(a: Floats, b: Floats, c: Floats) -> Floats:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
