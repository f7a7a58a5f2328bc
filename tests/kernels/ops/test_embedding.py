"""Embedding against the gguf package's dequantisers (our own for our own formats), bit for bit, in every format."""

import gguf
import numpy as np
import pytest

from kernels.errors import KernelsError
from kernels.ops.embedding import EMBEDDINGS, EmbeddingOp, embed
from kernels.quant.channel import CHANNEL_FORMATS
from kernels.quant.random_rows import random_weights
from kernels.quant.super_blocks import SUPER_FORMATS
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep

NUM_ROWS = 50


def weights_of(form: str, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw rows u8[NUM_ROWS, row_bytes] and what they stand for, f32[NUM_ROWS, dim]."""
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((NUM_ROWS, dim)).astype(np.float32)
    if form in CHANNEL_FORMATS:
        ours = CHANNEL_FORMATS[form].quantise(rows)
        return ours, CHANNEL_FORMATS[form].dequantise(ours)
    kind = gguf.GGMLQuantizationType[form]
    if form in ("IQ4_NL", *SUPER_FORMATS):  # the package has no quantiser for them
        raw = random_weights(form, NUM_ROWS, dim, seed=7)
    else:
        raw = gguf.quants.quantize(rows, kind)
    return np.ascontiguousarray(raw).view(np.uint8), gguf.quants.dequantize(raw, kind)


@pytest.mark.parametrize("form", sorted(EMBEDDINGS))
@pytest.mark.parametrize("dim", [32, 96, 512, 576])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_rows_are_the_dequantised_ones(form: str, dim: int, num_threads: int) -> None:
    dim = 8 * dim if form in SUPER_FORMATS else 4 * dim if form in CHANNEL_FORMATS else dim
    raw, rows = weights_of(form, dim)
    token_ids = np.random.default_rng(1).integers(0, NUM_ROWS, 37).astype(np.int32)
    builder = ProgramBuilder()
    out = builder.buffer("out", np.float32, (40, dim), is_spread=True)
    assert (out.row_bytes > 4 * dim) == (dim % 512 == 0), "rows of 2 KiB have a gap"
    EmbeddingOp("embedding", form, raw.ctypes.data, NUM_ROWS, out).add(builder)
    program = builder.build()
    program.view(out)[:] = -7
    HandStep(37, token_ids=token_ids).run(program, num_threads)
    np.testing.assert_array_equal(program.view(out)[:37], rows[token_ids])
    assert (program.view(out)[37:] == -7).all()


@pytest.mark.parametrize("form", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("dim", [1, 7, 16, 33])
def test_rows_of_any_length(form: str, dim: int) -> None:
    raw, rows = weights_of(form, dim)
    builder = ProgramBuilder()
    out = builder.buffer("out", np.float32, (5, dim))
    EmbeddingOp("embedding", form, raw.ctypes.data, NUM_ROWS, out, scale=1.5).add(builder)
    program = builder.build()
    token_ids = np.array([49, 0, 1, 1, 30], np.int32)
    HandStep(5, token_ids=token_ids).run(program)
    np.testing.assert_array_equal(program.view(out), embed(rows, token_ids, 1.5))


def test_wild_tokens_give_zeros() -> None:
    raw, _ = weights_of("Q8_0", 64)
    builder = ProgramBuilder()
    out = builder.buffer("out", np.float32, (3, 64))
    EmbeddingOp("embedding", "Q8_0", raw.ctypes.data, NUM_ROWS, out).add(builder)
    program = builder.build()
    program.view(out)[:] = 3
    HandStep(3, token_ids=[-1, NUM_ROWS, 2**31 - 1]).run(program)
    assert not program.view(out).any()


def test_unknown_format() -> None:
    builder = ProgramBuilder()
    out = builder.buffer("out", np.float32, (3, 64))
    with pytest.raises(KernelsError, match="Q9_9"):
        EmbeddingOp("embedding", "Q9_9", 0, 1, out).add(builder)


def test_bytes_and_units_are_counted() -> None:
    builder = ProgramBuilder()
    out = builder.buffer("out", np.float32, (3, 64))
    raw, _ = weights_of("Q4_0", 64)
    EmbeddingOp("embedding", "Q4_0", raw.ctypes.data, NUM_ROWS, out).add(builder)
    (slot,) = builder.build().slots
    assert (slot.kernel, slot.bytes_per_unit) == ("embedding_f32_q4_0", 36 + 256)
