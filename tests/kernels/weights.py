"""Random weights in the formats of files, made without quantising: any bits are weights. Knows no kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.quant.blocks import BLOCK, BLOCK_FORMATS


def random_weights(source: str, n: int, k: int, seed: int, extreme: bool = False) -> npt.NDArray[np.uint8]:
    """u8[n, row bytes] of the type `source`; `extreme` takes the largest and smallest quants only."""
    random = np.random.default_rng(seed)
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


def _random_floats(source: str, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    if source == "BF16":
        return np.ascontiguousarray((weights.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    return np.ascontiguousarray(weights.astype(np.float16 if source == "F16" else np.float32)).view(np.uint8)
