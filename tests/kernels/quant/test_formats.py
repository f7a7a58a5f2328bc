"""Dequantisers against the gguf package's, bit for bit, on bytes of any value."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from kernels.quant.blocks import BLOCK_FORMATS
from kernels.quant.random_rows import random_weights
from kernels.quant.super_blocks import SUPER_FORMATS

FORMATS = {**BLOCK_FORMATS, **SUPER_FORMATS}


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_dequantise_is_ggufs(name: str, extreme: bool) -> None:
    raw = random_weights(name, 7, 768, seed=1, extreme=extreme)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(FORMATS[name].dequantise(raw), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_block_sizes_are_ggufs(name: str) -> None:
    form = FORMATS[name]
    assert (form.row_block, form.block_bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
