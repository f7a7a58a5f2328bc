"""K-quants of our own quantiser, read back by the gguf package."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from kernels.quant.super_blocks import SUPER_FORMATS
from kernels.quant.super_quantise import quantise_super_blocks

# Root mean square error over the deviation of normal weights: about what the number of levels allows.
ERRORS = {"Q2_K": 0.35, "Q3_K": 0.2, "Q4_K": 0.085, "Q5_K": 0.045, "Q6_K": 0.022}


@pytest.mark.parametrize("name", SUPER_FORMATS)
def test_normal_weights(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((16, 1024)).astype(np.float32)
    raw = quantise_super_blocks(x, name)
    assert raw.shape == (16, 4 * SUPER_FORMATS[name].block_bytes)
    back = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name])
    assert np.sqrt(np.square(back - x).mean()) < ERRORS[name]


@pytest.mark.parametrize("name", SUPER_FORMATS)
def test_zeros_and_one_sign(name: str) -> None:
    x = np.zeros((3, 256), np.float32)
    x[1], x[2] = 0.75, -0.75
    back = SUPER_FORMATS[name].dequantise(quantise_super_blocks(x, name))
    np.testing.assert_allclose(back, x, rtol=2e-2)
