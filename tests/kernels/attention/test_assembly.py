"""The hot loops of every attention micro-kernel, compiled for their own architecture on whatever machine this is."""

from __future__ import annotations

import os
import re
from functools import cache

import pytest

from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant
from kernels.jit.build import compile_apart
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, I16_KV, KV_TYPES, Q8_0_KV, KVType

# An emulated LLVM would write the same text, in minutes.
pytestmark = pytest.mark.skipif("QEMU_CPU" in os.environ, reason="assembly is read on the machine itself")

HEAD_DIM = 64
FMA = {"avx512": r"\tvfmadd\d+ps\t.*%zmm", "avx2": r"\tvfmadd\d+ps\t.*%ymm", "neon": r"\tfmla\tv\d+\.4s"}
PAIRS = {
    "avx512_vnni": r"\t(?:\{vex\}\s+)?vpdpwssd\t.*%zmm",
    "avx512": r"\tvpmaddwd\t.*%zmm",
    "avx2_vnni": r"\t(?:\{vex\}\s+)?vpdpwssd\t.*%ymm",
    "avx2": r"\tvpmaddwd\t.*%ymm",
    "neon": r"\tsml[as]l2?\t",
}
WIDEN = {
    F16_KV: {"avx512": r"\tvcvtph2ps\t.*%zmm", "avx2": r"\tvcvtph2ps\t.*%ymm", "neon": r"\tfcvtl2?\t"},
    Q8_0_KV: {"avx512": r"\tvcvtdq2ps\t.*%zmm", "avx2": r"\tvcvtdq2ps\t.*%ymm", "neon": r"\tscvtf\t"},
}
EXPONENT = r"\t(vpslld|vscalefps|shl)\t"  # of the softmax
VECTOR_SPILL = r"\tvmov\w+\t.*%[xyz]mm.*\(%rsp|\tvmov\w+\t.*\(%rsp.*%[xyz]mm|\t(st|ld)[rp]\tq\d+.*\[sp"
VECTOR_STORE = r"\tvmov\w+\t.*%[xyz]mm.*\(%rsp|\tst[rp]\tq\d+.*\[sp"
VECTOR_VARIANTS = [variant for variant in ATTENTION_VARIANTS if variant.isa.engine != "scalar"]
EVERY_TYPE_OF_FLOATS = pytest.mark.parametrize("kv", [F16_KV, Q8_0_KV, F32_KV], ids=lambda kv: kv.name)
# Where nothing multiplies pairs of integers twice as fast as floats, i16 is right, not fast.
FASTEST = [(v, kv) for v in VECTOR_VARIANTS for kv in KV_TYPES if kv is not I16_KV or v.multiplies_pairs]
EVERY_VARIANT = pytest.mark.parametrize("variant", VECTOR_VARIANTS, ids=lambda variant: variant.engine)


@cache
def loops(
    variant: AttentionVariant, window: int | None = None, soft_cap: float | None = None, kv: KVType = F16_KV
) -> list[str]:
    """The turns that prefetch: scores and output, not the softmax."""
    tile = variant.tile(HEAD_DIM, None, window, soft_cap, kv)
    found = turns(compile_apart(tile.emit(), variant.rung.arch, emit="assembly").decode())
    return [loop for loop in found if re.search(r"\t(prefetcht1|prfu?m)\t", loop)]


def turns(assembly: str) -> list[str]:
    """The basic blocks that branch to themselves: up to the first branch back, what follows is no longer the loop."""
    return [match[0] for match in re.finditer(r"(?m)^(\.LBB\w+):\n(?:(?!\.LBB).*\n)*?\t(?:j|b\.)\w+\t\1$", assembly)]


@EVERY_VARIANT
@EVERY_TYPE_OF_FLOATS
def test_products_of_every_height(variant: AttentionVariant, kv: KVType) -> None:
    """Whole tiles and those of the last rows: a multiply-add per accumulator, elements widened once for all rows."""
    engine, depth = variant.isa.engine, variant.isa.spread
    verbs = [FMA[engine]] if kv is F32_KV else [FMA[engine], WIDEN[kv][engine]]
    counts = [tuple(len(re.findall(verb, loop)) for verb in verbs) for loop in loops(variant, kv=kv)]
    tile = variant.tile(HEAD_DIM, kv=kv)
    for rows in tile.heights:
        for columns in (BLOCK_TOKENS, HEAD_DIM):
            vectors = tile.vectors(rows, columns)
            assert (rows * vectors * depth, vectors * depth)[: len(verbs)] in counts


@EVERY_VARIANT
def test_products_of_pairs(variant: AttentionVariant) -> None:
    """One for each accumulator and pair, which adds as well with VNNI; two on NEON, of low and high elements."""
    counts = [len(re.findall(PAIRS[variant.engine], loop)) for loop in loops(variant, kv=I16_KV)]
    tile = variant.tile(HEAD_DIM, kv=I16_KV)
    for rows in tile.heights:
        for columns in (BLOCK_TOKENS, HEAD_DIM):
            products = rows * tile.vectors(rows, columns) * variant.isa.spread
            assert (products if variant.isa.pair_products else 2 * products) in counts


@pytest.mark.parametrize(("variant", "kv"), FASTEST, ids=lambda value: getattr(value, "engine", None) or value.name)
@pytest.mark.parametrize(("window", "soft_cap"), [(None, None), (512, 50.0)])
def test_products_stay_in_registers(
    variant: AttentionVariant, kv: KVType, window: int | None, soft_cap: float | None
) -> None:
    """Sums stay. Scales of q8_0, which no turn of a loop changes, may be read from the stack."""
    found = loops(variant, window, soft_cap, kv)
    spill = VECTOR_STORE if kv is Q8_0_KV else VECTOR_SPILL
    assert len(found) == len(loops(variant, kv=kv))
    for loop in found:
        assert not re.search(spill, loop), loop
        assert not re.search(r"\t(callq?|bl)\t", loop), loop


@EVERY_VARIANT
@pytest.mark.parametrize("kv", [F16_KV, Q8_0_KV], ids=lambda kv: kv.name)
def test_a_wide_tile_multiplies_floats(variant: AttentionVariant, kv: KVType) -> None:
    """Products of the tallest tile: multiply-adds, nothing widened, nothing spilled. Elements are widened apart."""
    engine, tile = variant.isa.engine, variant.wide_tile(HEAD_DIM, kv=kv)
    found = turns(compile_apart(tile.emit(), variant.rung.arch, emit="assembly").decode())
    for columns in (BLOCK_TOKENS, HEAD_DIM):
        wanted = tile.rows * tile.vectors(tile.rows, columns) * variant.isa.spread
        products = [
            loop for loop in found if len(re.findall(FMA[engine], loop)) == wanted and not re.search(EXPONENT, loop)
        ]
        assert products
        for loop in products:
            assert not re.search(WIDEN[kv][engine], loop), loop
            assert not re.search(VECTOR_SPILL, loop), loop
    assert any(re.search(WIDEN[kv][engine], loop) and not re.search(FMA[engine], loop) for loop in found)


def test_a_tile_fills_the_registers() -> None:
    """The tallest tile keeps enough sums in flight to cover the latency of a multiply-add (4 cycles, two a cycle)."""
    for variant in VECTOR_VARIANTS:
        tile = variant.tile(HEAD_DIM)
        assert 8 < variant.rows * tile.vectors(variant.rows, BLOCK_TOKENS) <= variant.isa.accumulators
