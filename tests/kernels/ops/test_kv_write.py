"""Keys and values as they are written to the cache, byte for byte those of the twin, in every type."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.attention.kv_blocks import Floats, cache_blocks, stored
from kernels.jit.function import c_callable
from kernels.jit.vector import LANES
from kernels.ops.kv_write import write_keys, write_value
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, I16_KV, KV_TYPES, Q8_0_KV, KVType

EVERY_TYPE = pytest.mark.parametrize("kv", KV_TYPES, ids=lambda kv: kv.name)


@c_callable("int64(int64, int64, int64, int64, int64, int64, int64, int64, int64)")
def write(
    k: int, v: int, count: int, block: int, plane_bytes: int, offset: int, head_dim: int, kind: int, scratch: int
) -> int:
    write_keys(k, 4 * head_dim, count, block, offset, head_dim, kind, scratch)
    for token in range(count):
        write_value(v + 4 * head_dim * token, block + plane_bytes, offset + token, head_dim, kind, scratch)
    return 0


def written(k: Floats, v: Floats, kv: KVType, together: int = 1) -> np.ndarray:
    """One block of one kv head; k, v: f32[tokens, head_dim], written `together` at a time, from the last on."""
    head_dim = k.shape[1]
    block = np.zeros((2, kv.plane_bytes(head_dim)), np.uint8)
    scratch = np.zeros((LANES, kv.head_bytes(head_dim)), np.uint8)
    for token in reversed(range(0, len(k), together)):
        rows = (k[token].ctypes.data, v[token].ctypes.data, together)
        where = (block.ctypes.data, kv.plane_bytes(head_dim), token)
        write.ctypes(*rows, *where, head_dim, kv.code, scratch.ctypes.data)
    return block


def numbers(head_dim: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Tokens of very different size, among them one of zeros and one whose scale is a subnormal f16."""
    random = np.random.default_rng(seed)
    sizes = np.exp2(random.integers(-12, 12, (2, BLOCK_TOKENS, 1)))
    made = (random.standard_normal((2, BLOCK_TOKENS, head_dim)) * sizes).astype(np.float32)
    made[:, 3], made[:, 5] = 0, made[:, 5] * 1e-6
    return made[0], made[1]


@EVERY_TYPE
@pytest.mark.parametrize("head_dim", [16, 64, 80, 256])
def test_the_bytes(kv: KVType, head_dim: int) -> None:
    k, v = numbers(head_dim)
    for num_tokens in (1, 7, BLOCK_TOKENS):
        block = written(k[:num_tokens], v[:num_tokens], kv)
        np.testing.assert_array_equal(block, cache_blocks(k[:num_tokens, None], v[:num_tokens, None], kv)[0, 0])


@EVERY_TYPE
@pytest.mark.parametrize("head_dim", [16, 64, 80, 256])
def test_sixteen_tokens_at_once(kv: KVType, head_dim: int) -> None:
    k, v = numbers(head_dim, seed=1)
    np.testing.assert_array_equal(written(k, v, kv, together=LANES), written(k, v, kv))


def test_how_near_q8_0_is() -> None:
    """Half a step of a group's scale, which is a 127th of its greatest element, rounded to f16."""
    k, _ = numbers(64)
    k = k[np.abs(k).max(axis=1) > 0.01]
    error = np.abs(stored(k, Q8_0_KV) - k).reshape(-1, 2, 32).max(axis=-1)
    most = np.abs(k).reshape(-1, 2, 32).max(axis=-1)
    assert (error <= most / 127 * (0.5 + 127 * 2.0**-11)).all()


def test_how_near_i16_is() -> None:
    """Half a step, which is a 32704th of a token's norm. What is too great to be squared saturates."""
    k, _ = numbers(64)
    error, norms = np.abs(stored(k, I16_KV) - k), np.linalg.norm(k, axis=-1, keepdims=True)
    assert (error <= norms / 32704 * 0.501).all()
    k[:, 7] = 3e38
    np.testing.assert_allclose(stored(k, I16_KV)[:, 7], 2.0**55, rtol=1e-6)
    np.testing.assert_array_equal(written(k, k, I16_KV), cache_blocks(k[:, None], k[:, None], I16_KV)[0, 0])


def test_what_f16_cannot_hold_saturates() -> None:
    k, v = numbers(32)
    k[0, 0], k[1, 1], v[2, 2], v[3, 3] = 1e6, -7e4, 65519, -3e38
    block = written(k, v, F16_KV).view(np.float16).astype(np.float32)
    key, value = block[0].reshape(32, BLOCK_TOKENS), block[1].reshape(BLOCK_TOKENS, 32)
    assert (key[0, 0], key[1, 1], value[2, 2], value[3, 3]) == (65504, -65504, 65504, -65504)
    assert np.isfinite(block).all()


@EVERY_TYPE
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(kv: KVType, wrong: float) -> None:
    """Only its own element is spoilt; in q8_0 its group, in i16 its token."""
    k, v = numbers(64)
    k[4, 40] = v[6, 9] = wrong
    block = written(k, v, kv)
    if kv is I16_KV:
        keys, values = (block[i, 2 * 64 * BLOCK_TOKENS :].view(np.float32) for i in range(2))
        spoilt, where = (np.isnan(keys), np.isnan(values)), ((4,), (6,))
    elif kv is Q8_0_KV:
        keys, values = (block[i, 64 * BLOCK_TOKENS :].view(np.float16) for i in range(2))
        spoilt = np.isnan(keys.reshape(2, BLOCK_TOKENS)).T, np.isnan(values.reshape(BLOCK_TOKENS, 2))
        where = (4, 1), (6, 0)
    else:
        kind = np.float32 if kv is F32_KV else np.float16
        keys, values = block[0].view(kind).reshape(64, BLOCK_TOKENS), block[1].view(kind).reshape(BLOCK_TOKENS, 64)
        spoilt = ~np.isfinite(keys).T, ~np.isfinite(values)
        where = (4, 40), (6, 9)
    for found, place in zip(spoilt, where, strict=True):
        assert found.sum() == 1
        assert found[place]
