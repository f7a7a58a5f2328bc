"""Rope and the cache write against NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernels.ops.rope_kv import RopeKVOp, rope_table
from kernels.runtime.abi import BLOCK_TOKENS, STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import ProgramBuilder

HEADS, KV_HEADS, CONTEXT, BLOCKS = 4, 2, 200, 5


def rotated(
    x: npt.NDArray[np.float32], positions: npt.NDArray[np.int32], rope_dim: int, base: float, neighbours: bool
) -> npt.NDArray[np.float64]:
    """x: f32[T, heads, head_dim], by complex numbers."""
    out = x.astype(np.float64)
    half = rope_dim // 2
    first = np.arange(half) * 2 if neighbours else np.arange(half)
    second = first + 1 if neighbours else first + half
    turn = np.exp(1j * positions[:, None, None] * base ** (-np.arange(half) / half))
    pairs = (x[..., first] + 1j * x[..., second]) * turn
    out[..., first], out[..., second] = pairs.real, pairs.imag
    return out


@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize(("head_dim", "rope_dim"), [(16, 16), (64, 64), (48, 32)])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_rope_kv(head_dim: int, rope_dim: int, neighbours: bool, num_threads: int) -> None:
    random = np.random.default_rng(head_dim)
    num_tokens = 70
    columns = (HEADS + 2 * KV_HEADS) * head_dim
    x = random.standard_normal((num_tokens, columns), np.float32)
    positions = random.integers(0, CONTEXT, num_tokens, np.int32)
    slots = random.permutation(BLOCKS * BLOCK_TOKENS)[:num_tokens].astype(np.int32)
    cache = np.zeros((BLOCKS, KV_HEADS, 2, BLOCK_TOKENS * head_dim), np.float16)
    builder = ProgramBuilder()
    qkv = builder.buffer("qkv", np.float32, (num_tokens, columns))
    table = rope_table(CONTEXT, rope_dim, 10000.0)
    RopeKVOp("rope", HEADS, KV_HEADS, head_dim, qkv, int(cache.ctypes.data), table, neighbours).add(builder)
    program = builder.build()
    program.view(qkv)[:] = x
    step = np.zeros(1, STEP)
    step["num_tokens"], step["positions"], step["kv_slots"] = num_tokens, positions.ctypes.data, slots.ctypes.data
    with Executor(program, num_threads) as executor:
        executor.run(int(step.ctypes.data))

    heads = x.reshape(num_tokens, -1, head_dim)
    turned = rotated(heads[:, : HEADS + KV_HEADS], positions, rope_dim, 10000.0, neighbours)
    out = program.view(qkv).reshape(num_tokens, -1, head_dim)
    np.testing.assert_allclose(out[:, :HEADS], turned[:, :HEADS], atol=2e-6)
    for row, slot in enumerate(slots):
        block = cache[slot // BLOCK_TOKENS]
        keys = block[:, 0].reshape(KV_HEADS, head_dim, BLOCK_TOKENS)[:, :, slot % BLOCK_TOKENS]
        values = block[:, 1].reshape(KV_HEADS, BLOCK_TOKENS, head_dim)[:, slot % BLOCK_TOKENS]
        np.testing.assert_allclose(keys, turned[row, HEADS:], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(values, heads[row, HEADS + KV_HEADS :].astype(np.float16))
    assert np.count_nonzero(cache.any(axis=(1, 2, 3))) <= BLOCKS
