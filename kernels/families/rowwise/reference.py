"""The row-wise formulas in NumPy, on the source's own rows. Knows no packing.

per channel:  out = f32(sum(q w) - zero x sum(w)) * (d * s)                   integers exact, three roundings
per group:    acc = fma(f32(sum of a group), s, acc), groups in ascending K;  out = d * fma(-zero, t, acc)
              t = sum of s * sum(w) over the groups, f32
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.families.rowwise.code import RowCode
from kernels.families.rowwise.lhs import quantise

Floats = npt.NDArray[np.float32]


def matmul(code: RowCode, x: Floats, raw: npt.NDArray[np.uint8]) -> Floats:
    """x: f32[M, K], raw: u8[N, row bytes] -> f32[M, N]. Fused multiply-adds by f64, as in block32.reference."""
    d, zero, q = quantise(x)
    scales, stored = code.source.split(raw)
    codes = code.source.codes(stored)
    if code.group is None:
        total = q.astype(np.int32) @ codes.astype(np.int32).T - zero[:, None] * channel_sums(codes)[None, :]
        return np.asarray(total.astype(np.float32) * (d[:, None] * scales[None, :, 0]), np.float32)
    acc = np.zeros((x.shape[0], raw.shape[0]), np.float32)
    for index in range(scales.shape[1]):
        part = slice(index * code.group, (index + 1) * code.group)
        sums = q[:, part].astype(np.int32) @ codes[:, part].astype(np.int32).T
        acc = _fma(sums.astype(np.float32), scales[None, :, index], acc)
    return d[:, None] * _fma(-zero.astype(np.float32)[:, None], scaled_sums(code, scales, codes)[None, :], acc)


def channel_sums(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """int8[N, K] -> int32[N]"""
    return np.asarray(codes.sum(-1, dtype=np.int32))


def scaled_sums(code: RowCode, scales: Floats, codes: npt.NDArray[np.int8]) -> Floats:
    """scales f32[N, S], codes int8[N, K] -> t f32[N]: added up in f64, group by group, rounded once."""
    total = np.zeros(codes.shape[0])
    for index in range(scales.shape[1]):
        assert code.group is not None
        part = codes[:, index * code.group : (index + 1) * code.group].sum(-1, dtype=np.int32)
        total += scales[:, index].astype(np.float64) * part
    return total.astype(np.float32)


def _fma(a: Floats, b: Floats, c: Floats) -> Floats:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
