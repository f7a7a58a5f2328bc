"""Quantises to K-quants: nearest codes under scales that span each sub-block. Plain, without GGML's search for scales.

For models of tests and benchmarks; who ships a model quantises it with a calibrated tool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quant.super_blocks import SUPER_BLOCK

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """`sub`: elements under one scale of `scale_bits` bits; `zero` 0: with minima; else codes are centred."""

    sub: int
    bits: int
    scale_bits: int
    zero: int = 0


_RECIPES = {
    "Q2_K": _Recipe(16, 2, 4),
    "Q3_K": _Recipe(16, 3, 6, zero=4),
    "Q4_K": _Recipe(32, 4, 6),
    "Q5_K": _Recipe(32, 5, 6),
    "Q6_K": _Recipe(16, 6, 8, zero=32),
}


def quantise_super_blocks(x: Floats, name: str) -> Bytes:
    """x: f32[N, K] -> rows of the format `name`, u8[N, K/256 * block_bytes]"""
    recipe = _RECIPES[name]
    blocks = x.reshape(x.shape[0], -1, SUPER_BLOCK // recipe.sub, recipe.sub)
    codes, scales, mins, halves = _centred(blocks, recipe) if recipe.zero else _with_minima(blocks, recipe)
    codes = codes.reshape(*codes.shape[:2], SUPER_BLOCK)
    low, high = codes & np.uint8(15), codes >> np.uint8(4)
    pairs, third = _planes(codes & np.uint8(3), 2, 32), _planes(codes >> np.uint8(2), 1, 32)
    fields: dict[str, Callable[[], list[Bytes]]] = {
        "Q2_K": lambda: [scales | mins << np.uint8(4), pairs, *halves],
        "Q3_K": lambda: [third, pairs, _six_bits_of_16(scales), *halves],
        "Q4_K": lambda: [*halves, _six_bit_pairs(scales, mins), _planes(low, 4, 32)],
        "Q5_K": lambda: [*halves, _six_bit_pairs(scales, mins), _planes(high, 1, 32), _planes(low, 4, 32)],
        "Q6_K": lambda: [_planes(low, 4, 64), _planes(high, 2, 32), scales, *halves],
    }
    return np.concatenate(fields[name](), axis=-1).reshape(x.shape[0], -1)


def _with_minima(blocks: Floats, recipe: _Recipe) -> tuple[Bytes, Bytes, Bytes, list[Bytes]]:
    """-> codes, scales, minima, the bytes of d and dmin"""
    most = np.float32((1 << recipe.scale_bits) - 1)
    least = np.minimum(blocks.min(-1), 0)
    d, scales = _shared((blocks.max(-1).clip(0) - least) / np.float32((1 << recipe.bits) - 1), most)
    dmin, mins = _shared(-least, most)
    codes = _nearest(blocks + (dmin * mins)[..., None], (d * scales)[..., None])
    halves = [_half_bytes(d), _half_bytes(dmin)]
    return (
        codes.clip(0, (1 << recipe.bits) - 1).astype(np.uint8),
        scales.astype(np.uint8),
        mins.astype(np.uint8),
        halves,
    )


def _centred(blocks: Floats, recipe: _Recipe) -> tuple[Bytes, Bytes, Bytes, list[Bytes]]:
    """-> codes, scales as stored, nothing, the bytes of d. The largest element of a sub-block gets the code 0."""
    index = np.abs(blocks).argmax(-1, keepdims=True)
    wanted = np.take_along_axis(blocks, index, -1)[..., 0] / np.float32(-recipe.zero)
    half = 1 << (recipe.scale_bits - 1)
    d, scales = _shared(wanted, np.float32(half - 1))
    codes = _nearest(blocks, (d * scales)[..., None]) + recipe.zero
    stored = scales.astype(np.int8).view(np.uint8) if recipe.scale_bits == 8 else (scales + half).astype(np.uint8)
    return codes.clip(0, 2 * recipe.zero - 1).astype(np.uint8), stored, stored, [_half_bytes(d)]


def _shared(wanted: Floats, most: np.float32) -> tuple[Floats, Floats]:
    """wanted: f32[N, S, subs] -> d f32[N, S, 1] of f16 precision, integers of at most `most`: wanted ~ d * integers"""
    d = (np.abs(wanted).max(-1, keepdims=True) / most).astype(np.float16).astype(np.float32)
    return d, np.rint(np.divide(wanted, d, out=np.zeros_like(wanted), where=d != 0)).clip(-most, most)


def _nearest(x: Floats, scale: Floats) -> Floats:
    return np.rint(np.divide(x, scale, out=np.zeros_like(x), where=scale != 0))


def _half_bytes(d: Floats) -> Bytes:
    return d.astype(np.float16).view(np.uint8)


def _planes(codes: Bytes, width: int, run: int) -> Bytes:
    """codes [N, S, 256] -> each run of bytes holds its codes plane by plane, `width` bits each."""
    per = 8 // width
    runs = codes.reshape(*codes.shape[:2], -1, per, run) << np.arange(0, 8, width, dtype=np.uint8)[:, None]
    packed: Bytes = np.bitwise_or.reduce(runs, axis=-2)
    return packed.reshape(*codes.shape[:2], -1)


def _six_bit_pairs(scales: Bytes, mins: Bytes) -> Bytes:
    """Eight scales and eight minima -> 12 B: the first four in 6 bits, the others' upper 2 bits above those."""
    four = np.uint8(4)
    low = scales[..., :4] | scales[..., 4:] >> four << np.uint8(6)
    mid = mins[..., :4] | mins[..., 4:] >> four << np.uint8(6)
    return np.concatenate([low, mid, scales[..., 4:] & 15 | mins[..., 4:] << four], axis=-1)


def _six_bits_of_16(scales: Bytes) -> Bytes:
    """Sixteen scales -> 12 B: low nibbles in pairs, upper 2 bits in fours."""
    low, high = scales & 15, scales >> np.uint8(4)
    return np.concatenate([low[..., :8] | low[..., 8:] << np.uint8(4), _fours(high)], axis=-1)


def _fours(high: Bytes) -> Bytes:
    quarters = high.reshape(*high.shape[:2], 4, 4) << np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    packed: Bytes = np.bitwise_or.reduce(quarters, axis=-2)
    return packed
