"""NumPy twin of the KV cache: blocks of every type from plain arrays, and what they are worth. Knows no attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jit.vector_math import SUM_LANES
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, GROUP, MOST_IN_I16, NORM, KVType

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Pieces = list[npt.NDArray[Any]]

MOST_HALF = np.float32(65504)


def halves(x: Floats) -> npt.NDArray[np.float16]:
    """The nearest f16; what is finite stays so, infinities become NaN: the step that made them is to be refused."""
    saturated = np.clip(x, -MOST_HALF, MOST_HALF)
    return np.where(np.isfinite(x), saturated, np.nan).astype(np.float16)


def quantise(x: Floats) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """f32[..., head_dim] -> int8[..., head_dim], f16[..., groups]; a group with a NaN or an infinity has scale NaN."""
    head_dim = x.shape[-1]
    num_groups = -(-head_dim // GROUP)
    padded = np.zeros((*x.shape[:-1], num_groups * GROUP), np.float32)
    padded[..., :head_dim] = x
    groups = padded.reshape(*x.shape[:-1], num_groups, GROUP)
    finite = np.asarray(np.isfinite(groups).all(axis=-1))
    groups = np.where(finite[..., None], groups, np.float32(0))
    most = np.abs(groups).max(axis=-1)
    scales = np.where(finite, halves(most * np.float32(1 / 127)).astype(np.float32), np.float32(np.nan))
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=finite & (scales > 0))
    elements = np.clip(np.rint(groups * inverse[..., None]), -127, 127).astype(np.int8)
    return elements.reshape(*x.shape[:-1], -1)[..., :head_dim], scales.astype(np.float16)


def token_integers(x: Floats) -> tuple[npt.NDArray[np.int16], Floats]:
    """f32[..., head_dim] -> int16[..., head_dim] of a norm of 32704, f32[...] scales; NaN where a token has one or an
    infinity. What is beyond 2^55 saturates: its square would overflow."""
    most = np.float32(MOST_IN_I16)
    finite = np.asarray(np.isfinite(x).all(axis=-1))
    saturated = np.where(finite[..., None], np.clip(x, -most, most), np.float32(0))
    norm = np.sqrt(sum_of_squares(saturated))
    inverse = np.divide(np.float32(NORM), norm, out=np.zeros_like(norm), where=norm > 0)
    integers = np.rint(saturated * inverse[..., None]).astype(np.int16)
    return integers, np.where(finite, norm * np.float32(1 / NORM), np.float32(np.nan))


def sum_of_squares(x: Floats) -> Floats:
    """Over the last axis in f32, in the order of the kernels: 16 lanes, then halves onto halves."""
    lanes = np.zeros((*x.shape[:-1], SUM_LANES), np.float64)
    for first in range(0, x.shape[-1], SUM_LANES):
        part = x[..., first : first + SUM_LANES].astype(np.float64)
        lanes = (part * part + lanes).astype(np.float32).astype(np.float64)
    total = lanes.astype(np.float32)
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        total = total[..., :half] + total[..., half:]
    return total[..., 0]


def query_rows(q: Floats, scale: float, kv: KVType) -> Floats:
    """f32[..., head_dim] -> the same room as micro-kernels want queries: scaled, or int16[head_dim], f32 scale."""
    if not kv.in_pairs:
        return q * np.float32(scale)
    integers, scales = token_integers(q)
    rows = np.zeros_like(q)
    head_dim = q.shape[-1]
    rows.view(np.int16)[..., :head_dim] = integers
    rows[..., head_dim // 2] = scales * np.float32(scale)
    return rows


def stored(x: Floats, kv: KVType) -> Floats:
    """f32[..., head_dim] -> what whoever reads it from a cache of this type gets."""
    if kv.in_pairs:
        integers, scales_of_tokens = token_integers(x)
        return integers.astype(np.float32) * scales_of_tokens[..., None]
    if kv is F32_KV:
        return x
    if kv is F16_KV:
        return halves(x).astype(np.float32)
    elements, scales = quantise(x)
    return elements.astype(np.float32) * np.repeat(scales.astype(np.float32), GROUP, axis=-1)[..., : x.shape[-1]]


def cache_blocks(k: Floats, v: Floats, kv: KVType = F16_KV) -> Bytes:
    """k, v: f32[tokens, kv_heads, head_dim] -> u8[blocks, kv_heads, 2, plane_bytes]; slots past the last are 0."""
    num_tokens, num_kv_heads, head_dim = k.shape
    num_blocks = -(-num_tokens // BLOCK_TOKENS)
    both = np.zeros((2, num_blocks * BLOCK_TOKENS, num_kv_heads, head_dim), np.float32)
    both[0, :num_tokens], both[1, :num_tokens] = k, v
    # [2, blocks, kv_heads, 32, head_dim]
    by_head = both.reshape(2, num_blocks, BLOCK_TOKENS, num_kv_heads, head_dim).transpose(0, 1, 3, 2, 4)
    shape = (num_blocks, num_kv_heads, -1)
    planes = [
        np.concatenate([np.ascontiguousarray(p).reshape(shape).view(np.uint8) for p in pieces], axis=-1)
        for pieces in _pieces(by_head, kv)
    ]
    return np.ascontiguousarray(np.stack(planes, axis=2))


def _pieces(by_head: Floats, kv: KVType) -> tuple[Pieces, Pieces]:
    """f32[2, blocks, kv_heads, 32, head_dim], K and V -> of either plane what follows one another."""
    if kv.in_pairs:
        (k, v), (k_scales, v_scales) = token_integers(by_head)
        *blocks, _, head_dim = k.shape
        of_dims = k.reshape(*blocks, BLOCK_TOKENS, head_dim // 2, 2).swapaxes(-3, -2)
        of_tokens = np.moveaxis(v.reshape(*blocks, 2, BLOCK_TOKENS // 2, head_dim), -3, -1)
        return [of_dims, k_scales], [of_tokens, v_scales]
    parts: Pieces = [by_head]
    if kv.has_scales:
        parts = [*quantise(by_head)]
    elif kv is F16_KV:
        parts = [halves(by_head)]
    return [part[0].swapaxes(-1, -2) for part in parts], [part[1] for part in parts]
