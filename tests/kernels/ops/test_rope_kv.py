"""RoPE and the layout of the KV cache against the twin: both styles, shared and own buffers, any division of work."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from kernels.attention.kv_blocks import cache_blocks
from kernels.ops.rms_norm import rms_normalise
from kernels.ops.rope_kv import Columns, RopeKvOp
from kernels.ops.rope_table import RopeTable, Yarn, rotate
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import KV_TYPES, KVType, LayerBlocks
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep

NUM_BLOCKS = 5


@dataclass(frozen=True)
class Shape:
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.num_kv_heads * self.head_dim


@dataclass(frozen=True)
class Result:
    q: np.ndarray
    k: np.ndarray  # f16[tokens, kv heads, head_dim] as read back from the cache
    v: np.ndarray
    cache: np.ndarray
    qkv: np.ndarray


def run_rope(
    shape: Shape,
    table: RopeTable,
    qkv: np.ndarray,
    positions: np.ndarray,
    slots: np.ndarray,
    apart: bool,
    num_threads: int,
    bias: np.ndarray | None = None,
    norms: np.ndarray | None = None,
) -> Result:
    """`apart`: Q is written to a buffer of its own. `norms`: weights of Q's norm and of K's."""
    builder = ProgramBuilder()
    buffer = builder.buffer("qkv", np.float32, qkv.shape)
    q_buffer = builder.buffer("q", np.float32, (len(qkv), shape.width))
    cache = np.full((NUM_BLOCKS, shape.num_kv_heads, 2, BLOCK_TOKENS * shape.head_dim), np.nan, np.float16)
    RopeKvOp(
        name="rope",
        q=Columns(buffer),
        k=Columns(buffer, shape.width),
        v=Columns(buffer, shape.width + shape.kv_width),
        kv=LayerBlocks(cache.ctypes.data, cache.strides[0]),
        table=table,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        q_out=Columns(q_buffer) if apart else None,
        bias=0 if bias is None else bias.ctypes.data,
        q_norm=0 if norms is None else norms[0].ctypes.data,
        k_norm=0 if norms is None else norms[1].ctypes.data,
        eps=1e-6,
    ).add(builder)
    program = builder.build()
    program.view(buffer)[:] = qkv
    HandStep(len(qkv), positions=positions, kv_slots=slots).run(program, num_threads)
    after = program.view(buffer).copy()
    q = program.view(q_buffer).copy() if apart else after[:, : shape.width]
    blocks, offsets = slots // BLOCK_TOKENS, slots % BLOCK_TOKENS
    keys = cache[:, :, 0].reshape(NUM_BLOCKS, shape.num_kv_heads, shape.head_dim, BLOCK_TOKENS)
    values = cache[:, :, 1].reshape(NUM_BLOCKS, shape.num_kv_heads, BLOCK_TOKENS, shape.head_dim)
    return Result(q, keys[blocks, :, :, offsets], values[blocks, :, offsets, :], cache, after)


def data(shape: Shape, num_tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(shape.head_dim)
    qkv = rng.standard_normal((num_tokens, shape.width + 2 * shape.kv_width)).astype(np.float32)
    positions = rng.integers(0, 100, num_tokens).astype(np.int32)
    slots = rng.permutation(NUM_BLOCKS * BLOCK_TOKENS)[:num_tokens].astype(np.int32)
    return qkv, positions, slots


@pytest.mark.parametrize("split", [False, True], ids=["interleaved", "split"])
@pytest.mark.parametrize("apart", [False, True], ids=["in_place", "apart"])
@pytest.mark.parametrize(
    ("shape", "rope_dim"),
    [
        (Shape(9, 3, 64), 64),
        (Shape(4, 4, 128), 128),
        (Shape(4, 2, 16), 16),
        (Shape(2, 1, 16), 8),
        (Shape(3, 1, 64), 32),
        (Shape(2, 2, 80), 80),
        (Shape(2, 1, 48), 10),
    ],
)
def test_against_the_twin(shape: Shape, rope_dim: int, split: bool, apart: bool) -> None:
    table = RopeTable.make(128, rope_dim, 10_000.0, split)
    qkv, positions, slots = data(shape, 70)
    result = run_rope(shape, table, qkv, positions, slots, apart, num_threads=2)
    heads = qkv.reshape(70, -1, shape.head_dim)
    q, k, v = np.split(heads, [shape.num_heads, shape.num_heads + shape.num_kv_heads], axis=1)
    np.testing.assert_allclose(result.q.reshape(q.shape), rotate(q, positions, table), rtol=1e-6, atol=1e-6)
    rotated = rotate(k, positions, table)
    np.testing.assert_allclose(result.k, rotated.astype(np.float16), rtol=2e-3, atol=1e-6)
    assert (result.k == rotated.astype(np.float16)).mean() > 0.99
    np.testing.assert_array_equal(result.v, v.astype(np.float16))
    if apart:
        np.testing.assert_array_equal(result.qkv[:, : shape.width], qkv[:, : shape.width])
    np.testing.assert_array_equal(result.qkv[:, shape.width + shape.kv_width :], v.reshape(70, -1))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_norms", [False, True])
def test_bias_and_norms_come_first(with_bias: bool, with_norms: bool) -> None:
    shape, table = Shape(4, 2, 32), RopeTable.make(128, 32, 10_000.0, split=True)
    qkv, positions, slots = data(shape, 20)
    random = np.random.default_rng(7)
    bias = random.standard_normal(qkv.shape[1]).astype(np.float32) if with_bias else None
    norms = random.standard_normal((2, 32)).astype(np.float32) if with_norms else None
    result = run_rope(shape, table, qkv, positions, slots, False, 2, bias, norms)
    heads = (qkv if bias is None else qkv + bias).reshape(20, -1, 32)
    q, k, v = np.split(heads, [4, 6], axis=1)
    if norms is not None:
        q, k = rms_normalise(q, norms[0], 1e-6), rms_normalise(k, norms[1], 1e-6)
    np.testing.assert_allclose(result.q.reshape(q.shape), rotate(q, positions, table), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.k, rotate(k, positions, table), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(result.v, v, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("kv_type", KV_TYPES, ids=lambda kv: kv.name)
def test_the_cache_is_written_in_its_type(kv_type: KVType) -> None:
    """The rotated keys and the values of the buffer, as the twin of the cache lays them out."""
    shape, num_tokens = Shape(4, 2, 64), 2 * BLOCK_TOKENS
    builder = ProgramBuilder()
    buffer = builder.buffer("qkv", np.float32, (num_tokens, shape.width + 2 * shape.kv_width))
    layers = np.zeros((2, 3, shape.num_kv_heads, 2, kv_type.plane_bytes(shape.head_dim)), np.uint8)
    cache = layers[:, 1]
    columns = (Columns(buffer), Columns(buffer, shape.width), Columns(buffer, shape.width + shape.kv_width))
    table = RopeTable.make(128, 64, 1e4, split=True)
    sizes = (shape.num_heads, shape.num_kv_heads, shape.head_dim)
    blocks = LayerBlocks(cache.ctypes.data, cache.strides[0])
    RopeKvOp("rope", *columns, blocks, table, *sizes, kv_type=kv_type).add(builder)
    program = builder.build()
    program.view(buffer)[:], positions, _ = data(shape, num_tokens)
    HandStep(num_tokens, positions=positions, kv_slots=np.arange(num_tokens, dtype=np.int32)).run(program, 2)
    heads = program.view(buffer).reshape(num_tokens, -1, shape.head_dim)
    _, k, v = np.split(heads, [shape.num_heads, shape.num_heads + shape.num_kv_heads], axis=1)
    np.testing.assert_array_equal(cache, cache_blocks(k, v, kv_type))
    assert not layers[:, ::2].any(), "the layers beside it are others' to write"


def test_only_the_slots_given_are_written() -> None:
    shape = Shape(2, 2, 32)
    qkv, positions, _ = data(shape, 3)
    slots = np.array([33, 34, 159], np.int32)
    result = run_rope(shape, RopeTable.make(128, 32, 1e4, False), qkv, positions, slots, False, num_threads=1)
    written = ~np.isnan(result.cache)
    assert written.sum() == 3 * 2 * 2 * 32
    assert not written[0].any()
    assert written[1].sum() == 2 * written[4].sum()


@pytest.mark.parametrize("split", [False, True])
def test_no_bit_depends_on_the_batch(split: bool) -> None:
    shape = Shape(9, 3, 64)
    table = RopeTable.make(128, 64, 1e5, split)
    qkv, positions, slots = data(shape, 100)
    whole = run_rope(shape, table, qkv, positions, slots, False, num_threads=3)
    for token in range(0, 100, 17):
        part = slice(token, token + 1)
        alone = run_rope(shape, table, qkv[part], positions[part], slots[part], True, num_threads=1)
        np.testing.assert_array_equal(alone.q, whole.q[part])
        np.testing.assert_array_equal(alone.k, whole.k[part])
        np.testing.assert_array_equal(alone.v, whole.v[part])


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((1, 1, 64)).astype(np.float32).repeat(50, 0) for _ in range(2))
    positions = np.arange(50, dtype=np.int32)
    for split in (False, True):
        table = RopeTable.make(128, 64, 1e4, split)
        near, far = rotate(x, positions, table), rotate(y, positions + 5, table)
        np.testing.assert_allclose(np.linalg.norm(near, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
        products = (near * far).sum(axis=(1, 2))
        np.testing.assert_allclose(products, products[0], rtol=1e-4)


def test_yarn() -> None:
    """As llama.cpp's rope_yarn, pair by pair: fast pairs as they are, slow ones divided, a ramp between."""
    base, factor, context, rope_dim = 1e4, 4.0, 256, 32
    table = RopeTable.make(64, rope_dim, base, True, yarn=Yarn(factor, context))

    def dimension(turns: float) -> float:
        return rope_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(0, math.floor(dimension(32))), min(rope_dim - 1, math.ceil(dimension(1)))
    for pair in range(rope_dim // 2):
        mix = 1 - min(1, max(0, (pair - low) / max(0.001, high - low)))
        extrapolated = 50 * base ** (-2 * pair / rope_dim)
        angle = extrapolated / factor * (1 - mix) + extrapolated * mix
        amplitude = 1 + 0.1 * math.log(factor)
        np.testing.assert_allclose(table.cos[50, pair], amplitude * math.cos(angle), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(table.sin[50, pair], amplitude * math.sin(angle), rtol=1e-5, atol=1e-6)


def test_the_table() -> None:
    table = RopeTable.make(16, 4, 100.0, False, np.array([1, 2], np.float32), position_scale=0.5)
    np.testing.assert_allclose(table.cos[6], np.cos([3.0, 3.0 / 10 / 2]), rtol=1e-6)
    np.testing.assert_allclose(table.sin[6], np.sin([3.0, 3.0 / 10 / 2]), rtol=1e-6)
    assert table.rope_dim == 4
