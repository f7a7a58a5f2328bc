"""The hot loops of every attention micro-kernel, compiled for their own architecture on whatever machine this is."""

from __future__ import annotations

import os
import re
from functools import cache

import pytest

from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant
from kernels.jit.build import compile_apart
from kernels.runtime.abi import BLOCK_TOKENS

# An emulated LLVM would write the same text, in minutes.
pytestmark = pytest.mark.skipif("QEMU_CPU" in os.environ, reason="assembly is read on the machine itself")

HEAD_DIM = 64
FMA = {"avx512": r"\tvfmadd\d+ps\t.*%zmm", "avx2": r"\tvfmadd\d+ps\t.*%ymm", "neon": r"\tfmla\tv\d+\.4s"}
WIDEN = {"avx512": r"\tvcvtph2ps\t.*%zmm", "avx2": r"\tvcvtph2ps\t.*%ymm", "neon": r"\tfcvtl2?\t"}
VECTOR_SPILL = r"\tvmov\w+\t.*%[xyz]mm.*\(%rsp|\tvmov\w+\t.*\(%rsp.*%[xyz]mm|\t(st|ld)[rp]\tq\d+.*\[sp"
VECTOR_VARIANTS = [variant for variant in ATTENTION_VARIANTS if variant.isa.engine != "scalar"]
EVERY_VARIANT = pytest.mark.parametrize("variant", VECTOR_VARIANTS, ids=lambda variant: variant.isa.engine)


@cache
def loops(variant: AttentionVariant, window: int | None = None, soft_cap: float | None = None) -> list[str]:
    """The basic blocks that branch to themselves and prefetch: scores and output, not the softmax."""
    tile = variant.tile(HEAD_DIM, None, window, soft_cap)
    assembly = compile_apart(tile.emit(), variant.rung.arch, emit="assembly").decode()
    # Up to the first branch back to the label: what follows is no longer the loop.
    found = re.finditer(r"(?m)^(\.LBB\w+):\n(?:(?!\.LBB).*\n)*?\t(?:j|b\.)\w+\t\1$", assembly)
    return [match[0] for match in found if re.search(r"\t(prefetcht0|prfu?m)\t", match[0])]


@EVERY_VARIANT
def test_products_of_every_height(variant: AttentionVariant) -> None:
    """Whole tiles and those of the last rows: a multiply-add per accumulator, halves widened once for all rows."""
    engine, depth = variant.isa.engine, variant.isa.spread
    counts = [tuple(len(re.findall(verb[engine], loop)) for verb in (FMA, WIDEN)) for loop in loops(variant)]
    for rows in variant.tile(HEAD_DIM).heights:
        for columns in (BLOCK_TOKENS, HEAD_DIM):
            vectors = variant.tile(HEAD_DIM).vectors(rows, columns)
            assert (rows * vectors * depth, vectors * depth) in counts


@EVERY_VARIANT
@pytest.mark.parametrize(("window", "soft_cap"), [(None, None), (512, 50.0)])
def test_products_stay_in_registers(variant: AttentionVariant, window: int | None, soft_cap: float | None) -> None:
    assert len(loops(variant, window, soft_cap)) == len(loops(variant))
    for loop in loops(variant, window, soft_cap):
        assert not re.search(VECTOR_SPILL, loop), loop
        assert not re.search(r"\t(callq?|bl)\t", loop), loop


def test_a_tile_fills_the_registers() -> None:
    """The tallest tile keeps enough sums in flight to cover the latency of a multiply-add (4 cycles, two a cycle)."""
    for variant in VECTOR_VARIANTS:
        tile = variant.tile(HEAD_DIM)
        assert 8 < variant.rows * tile.vectors(variant.rows, BLOCK_TOKENS) <= variant.isa.accumulators
