"""Random weights in the formats of files, made without quantising: any bits are weights. For tests and benchmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.quant.blocks import BLOCK, BLOCK_FORMATS
from kernels.quant.channel import CHANNEL_FORMATS, ChannelFormat
from kernels.quant.super_blocks import SUPER_BLOCK, SUPER_FORMATS

# Where the f16 d and dmin of a super-block lie.
_SUPER_SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def random_weights(source: str, n: int, k: int, seed: int, extreme: bool = False) -> npt.NDArray[np.uint8]:
    """u8[n, row bytes] of the type `source`; `extreme` takes the largest and smallest quants only."""
    random = np.random.default_rng(seed)
    if source in SUPER_FORMATS:
        return _random_super_blocks(random, source, n, k // SUPER_BLOCK, extreme)
    if source in CHANNEL_FORMATS:
        return _random_channels(random, CHANNEL_FORMATS[source], n, k, extreme)
    if source not in BLOCK_FORMATS:
        return _random_floats(source, random.uniform(-1, 1, (n, k)).astype(np.float32))
    form = BLOCK_FORMATS[source]
    shape = (n, k // BLOCK)
    scales = random.uniform(-0.02, 0.02, (*shape, form.num_scales)).astype(np.float16)
    if extreme:
        ends = (0x00, 0xFF, 0x0F, 0xF0) if form.quant_bytes < BLOCK else (0x80, 0x7F, 0x81)
        quants = random.choice(np.array(ends, np.uint8), (*shape, form.quant_bytes))
    else:
        quants = random.integers(0, 256, (*shape, form.quant_bytes), np.uint8)
    blocks = np.concatenate([scales.view(np.uint8).reshape(*shape, -1), quants], axis=-1)
    return np.ascontiguousarray(blocks.reshape(n, -1))


def _random_channels(
    random: np.random.Generator, form: ChannelFormat, n: int, k: int, extreme: bool
) -> npt.NDArray[np.uint8]:
    num_scales = 1 if form.group is None else k // form.group
    scales = random.uniform(-0.02, 0.02, (n, num_scales)).astype(np.float32)
    least, most = (-8, 7) if form.bits == 4 else (-127, 127)
    codes = random.choice((least, most), (n, k)) if extreme else random.integers(least, most + 1, (n, k))
    return form.join(scales, codes.astype(np.int8))


def _random_floats(source: str, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    if source == "BF16":
        return np.ascontiguousarray((weights.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    return np.ascontiguousarray(weights.astype(np.float16 if source == "F16" else np.float32)).view(np.uint8)


def _random_super_blocks(
    random: np.random.Generator, source: str, n: int, num_blocks: int, extreme: bool
) -> npt.NDArray[np.uint8]:
    shape = (n, num_blocks, SUPER_FORMATS[source].block_bytes)
    ends = np.array((0x00, 0xFF, 0x80, 0x7F), np.uint8)
    blocks = random.choice(ends, shape) if extreme else random.integers(0, 256, shape, np.uint8)
    for at in _SUPER_SCALES[source]:
        scales = random.uniform(-0.001, 0.001, shape[:2]).astype(np.float16)
        blocks[..., at : at + 2] = scales[..., None].view(np.uint8)
    return np.ascontiguousarray(blocks.reshape(n, -1))
