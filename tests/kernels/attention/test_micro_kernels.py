"""Attention micro-kernels of every rung this CPU has, against the NumPy twin and against each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernels.attention.kv_blocks import Floats, cache_blocks, query_rows, stored
from kernels.attention.partials import PARTIAL_HEAD
from kernels.attention.reference import attention, attention_error
from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant
from kernels.runtime.kv_types import F16_KV, I16_KV, KV_TYPES, KVType
from tests.kernels.attention.native_attention import VARIANTS_HERE, Cache, load_attention

EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS_HERE, ids=lambda variant: variant.engine)
CONTEXTS = (1, 2, 31, 32, 33, 64, 100, 127, 128, 129, 160, 300)
EVERY_KV_TYPE = pytest.mark.parametrize("kv", KV_TYPES, ids=lambda kv: kv.name)
EVERY_ARITHMETIC = pytest.mark.parametrize("kv", [F16_KV, I16_KV], ids=lambda kv: kv.name)
ORACLE = ATTENTION_VARIANTS[-1]
LIMITED = [(1, None), (20, None), (130, None), (None, 5.0), (60, 1.5)]


def keys_and_values(num_tokens: int, head_dim: int, seed: int = 0) -> tuple[Floats, ...]:
    random = np.random.default_rng(seed)
    shape = (num_tokens, 1, head_dim)
    return tuple(random.standard_normal(shape).astype(np.float32) for _ in range(2))


def queries(num_rows: int, head_dim: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((num_rows, head_dim)).astype(np.float32)


def scattered(k: Floats, v: Floats, kv: KVType = F16_KV) -> Cache:
    """Blocks in a strange order; every other block, and every slot past the last token, holds NaN."""
    unused = -k.shape[0] % 32
    padded = [np.pad(x, ((0, unused), (0, 0), (0, 0)), constant_values=np.nan) for x in (k, v)]
    blocks = cache_blocks(padded[0], padded[1], kv)
    num_blocks = blocks.shape[0]
    table = np.random.default_rng(2).permutation(2 * num_blocks)[:num_blocks].astype(np.int32)
    pool = np.full((2 * num_blocks, *blocks.shape[1:]), 0xFF, np.uint8)
    pool[table] = blocks
    return Cache(pool, table)


@EVERY_VARIANT
@pytest.mark.parametrize("head_dim", [16, 64, 80])
@EVERY_KV_TYPE
def test_against_numpy(variant: AttentionVariant, head_dim: int, kv: KVType) -> None:
    """Every row count from one to two tiles, the last row seeing every token, the others fewer."""
    native, scale = load_attention(variant, head_dim, kv=kv), head_dim**-0.5
    for num_tokens in CONTEXTS:
        k, v = keys_and_values(num_tokens, head_dim)
        cache = scattered(k, v, kv)
        k, v = stored(k, kv), stored(v, kv)
        for num_rows in range(1, 2 * variant.rows + 1):
            q = queries(num_rows, head_dim)
            positions = np.maximum(np.arange(num_tokens - num_rows, num_tokens), 0).astype(np.int32)
            out = native(q, positions, cache, scale)
            expected = attention(q[:, None], k, v, positions, scale)[:, 0]
            error = attention_error(q[:, None], k, v, positions, scale, kv=kv)[:, 0]
            assert (np.abs(out - expected) <= error).all()


@EVERY_VARIANT
@EVERY_ARITHMETIC
@pytest.mark.parametrize(("window", "soft_cap"), LIMITED)
def test_windows_and_soft_caps(
    variant: AttentionVariant, kv: KVType, window: int | None, soft_cap: float | None
) -> None:
    """Windows shorter and longer than a range, of which rows of a tile see different parts; caps that bite."""
    head_dim = 32
    native = load_attention(variant, head_dim, None, window, soft_cap, kv)
    for num_tokens in CONTEXTS:
        k, v = keys_and_values(num_tokens, head_dim)
        cache = scattered(k, v, kv)
        k, v = stored(k, kv), stored(v, kv)
        for num_rows in (1, variant.rows + 1, 70):
            q = 5 * queries(num_rows, head_dim)
            positions = np.maximum(np.arange(num_tokens - num_rows, num_tokens), 0).astype(np.int32)
            out = native(q, positions, cache, 0.2)
            limits = (positions, 0.2, window, soft_cap)
            expected = attention(q[:, None], k, v, *limits)[:, 0]
            error = attention_error(q[:, None], k, v, *limits, kv)[:, 0]
            assert (np.abs(out - expected) <= error).all()


@EVERY_VARIANT
@EVERY_ARITHMETIC
def test_large_scores(variant: AttentionVariant, kv: KVType) -> None:
    """Scores far apart: most weights are 0, nothing overflows, whichever range holds the maximum."""
    k, v = keys_and_values(300, 64)
    for winner in (3, 140, 290):
        loud = k.copy()
        loud[winner] *= 40
        q = loud[winner].astype(np.float32)
        out = load_attention(variant, 64, kv=kv)(q, np.array([299], np.int32), scattered(loud, v, kv), 1.0)
        np.testing.assert_allclose(out[0], stored(v, kv)[winner, 0], rtol=3e-7 if kv.in_pairs else 0)


@EVERY_VARIANT
def test_integers_at_their_limits(variant: AttentionVariant) -> None:
    """Tokens of one element, whose integer is the greatest there is; all alike, so that every sum is as great as it
    can be; sizes that f16 cannot hold; and values that are all 0."""
    for size in (1.0, 1e12, 1e-12):
        for head_dim in (16, 256):
            k = np.zeros((128, 1, head_dim), np.float32)
            k[..., 5] = size
            native = load_attention(variant, head_dim, kv=I16_KV)
            out = native(k[0], np.array([127], np.int32), scattered(k, -k, I16_KV), size**-2)
            np.testing.assert_allclose(out[0], -k[0, 0], rtol=4e-5)
            out = native(k[0], np.array([100], np.int32), scattered(k, 0 * k, I16_KV), size**-2)
            np.testing.assert_array_equal(out[0], np.zeros(head_dim, np.float32))


@EVERY_VARIANT
@pytest.mark.parametrize(
    ("kv", "window", "soft_cap"),
    [(kv, *limits) for kv in (F16_KV, I16_KV) for limits in LIMITED] + [(kv, None, None) for kv in KV_TYPES],
)
def test_a_row_has_one_result(
    variant: AttentionVariant, kv: KVType, window: int | None, soft_cap: float | None
) -> None:
    """Bit for bit the same: alone, among other rows, in tiles of any height, widened before, and on the scalar rung."""
    num_tokens, head_dim = 290, 96
    k, v = keys_and_values(num_tokens, head_dim)
    cache, scale = scattered(k, v, kv), head_dim**-0.5
    q = queries(num_tokens, head_dim)
    positions = np.arange(num_tokens, dtype=np.int32)
    whole = load_attention(ORACLE, head_dim, None, window, soft_cap, kv)(q, positions, cache, scale)
    tiles = [(rows, False) for rows in {1, min(3, variant.rows), variant.rows}]
    tiles += [(variant.rows, True)] if kv.is_widened else []
    for rows, is_wide in tiles:
        native = load_attention(variant, head_dim, rows, window, soft_cap, kv, is_wide)
        np.testing.assert_array_equal(native(q, positions, cache, scale), whole)
        for first, count in ((0, 1), (31, 2), (125, 6), (126, 4), (200, 1), (251, 39)):
            part = slice(first, first + count)
            np.testing.assert_array_equal(native(q[part], positions[part], cache, scale), whole[part])


@EVERY_VARIANT
@EVERY_ARITHMETIC
def test_a_range_that_nobody_sees(variant: AttentionVariant, kv: KVType) -> None:
    """m = -inf, l = 0, o = 0 for rows before the range, whether alone or beside a row that sees it."""
    k, v = keys_and_values(160, 64)
    native, cache = load_attention(variant, 64, kv=kv), scattered(k, v, kv)
    for positions in ([5, 100], [127, 128]):
        partials = native.partials(query_rows(queries(2, 64), 1.0, kv), np.array(positions, np.int32), cache, 128)
        assert partials[0, 0] == -np.inf
        assert (partials[0, [1, *range(PARTIAL_HEAD, PARTIAL_HEAD + 64)]] == 0).all()
    assert partials[1, 1] == 1  # one token: its weight is 2^0


@EVERY_VARIANT
@EVERY_ARITHMETIC
def test_not_a_number_is_not_hidden(variant: AttentionVariant, kv: KVType) -> None:
    """A NaN in q comes out as NaN, so that the step can be refused."""
    k, v = keys_and_values(40, 16)
    q = queries(2, 16)
    q[1, 3] = np.nan
    out = load_attention(variant, 16, kv=kv)(q, np.array([39, 39], np.int32), scattered(k, v, kv), 0.25)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()
