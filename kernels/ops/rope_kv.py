"""Rotates queries and keys by their positions and writes keys and values into the KV cache. Knows no attention.

    qkv f32[T, (heads + 2 kv_heads) * head_dim]: the query columns are rotated in place, the rest goes to the cache

Pairs are neighbours (x[2i], x[2i+1]) in llama's GGUF files, or halves (x[i], x[i + rope_dim/2]) in NeoX style.
Source: Su et al., "RoFormer" (2021); the cache's layout is that of kernels.attention.emit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit.function import native, op_function
from kernels.jit.native import load, record, store, store_half
from kernels.runtime.abi import BLOCK_TOKENS, STEP, THREAD, op_record
from kernels.runtime.chunks import chunk_size, take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

MAX_CHUNK_ROWS: Final = 16

ROPE_KV: Final = op_record(
    [
        ("qkv", "i8"),
        ("qkv_stride", "i8"),
        ("kv", "i8"),  # this layer of the cache: block 0, kv head 0
        ("block_stride", "i8"),
        ("head_stride", "i8"),
        ("num_heads", "i8"),
        ("num_kv_heads", "i8"),
        ("head_dim", "i8"),
        ("rope_dim", "i8"),
        ("table", "i8"),  # f32[context, rope_dim]: cosines, then sines
        ("pair_stride", "i8"),  # bytes from a pair's first element to its second
        ("next_pair", "i8"),  # bytes from a pair to the next
    ]
)


@op_function
def rope_kv(op_address: int, thread_address: int) -> int:
    op: Any = record(op_address, ROPE_KV)
    thread: Any = record(thread_address, THREAD)
    step: Any = record(thread.step, STEP)
    thread.units = step.num_tokens
    size = chunk_size(step.num_tokens, thread.num_threads, MAX_CHUNK_ROWS)
    while True:
        first = take_chunk(op, thread, size)
        if first >= step.num_tokens:
            return 0
        for row in range(first, min(first + size, step.num_tokens)):
            position = int(load(step.positions + 4 * row, np.int32))
            slot = int(load(step.kv_slots + 4 * row, np.int32))
            _row(op, op.qkv + op.qkv_stride * row, position, slot)


@native
def _row(op: Any, qkv: int, position: int, slot: int) -> None:
    angles = op.table + 4 * op.rope_dim * position
    head_bytes = 4 * op.head_dim
    for head in range(op.num_heads + op.num_kv_heads):
        _rotate(op, qkv + head_bytes * head, angles)
    keys = qkv + head_bytes * op.num_heads
    values = keys + head_bytes * op.num_kv_heads
    block = op.kv + op.block_stride * (slot // BLOCK_TOKENS)
    token = slot % BLOCK_TOKENS
    for head in range(op.num_kv_heads):
        into = block + op.head_stride * head
        _write_key(keys + head_bytes * head, into + 2 * token, op.head_dim)
        _write_value(values + head_bytes * head, into + 2 * op.head_dim * (BLOCK_TOKENS + token), op.head_dim)


@native
def _rotate(op: Any, head: int, angles: int) -> None:
    half = op.rope_dim // 2
    for pair in range(half):
        first = head + op.next_pair * pair
        x, y = load(first, np.float32), load(first + op.pair_stride, np.float32)
        cosine, sine = load(angles + 4 * pair, np.float32), load(angles + 4 * (half + pair), np.float32)
        store(first, x * cosine - y * sine, np.float32)
        store(first + op.pair_stride, x * sine + y * cosine, np.float32)


@native
def _write_key(key: int, into: int, head_dim: int) -> None:
    """A column of K^T f16[head_dim, 32]."""
    for d in range(head_dim):
        store_half(into + 2 * BLOCK_TOKENS * d, load(key + 4 * d, np.float32))


@native
def _write_value(value: int, into: int, head_dim: int) -> None:
    """A row of V f16[32, head_dim]."""
    for d in range(head_dim):
        store_half(into + 2 * d, load(value + 4 * d, np.float32))


def rope_table(context: int, rope_dim: int, base: float) -> npt.NDArray[np.float32]:
    """f32[context, rope_dim]: for each position the cosines of the rope_dim / 2 angles, then their sines."""
    frequencies = base ** (-np.arange(0, rope_dim, 2, dtype=np.float64) / rope_dim)
    angles = np.arange(context, dtype=np.float64)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RopeKVOp:
    """Where it stands in a program. kv: address of this layer of the cache; table: of `rope_table`."""

    name: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv: Buffer
    kv: int
    table: npt.NDArray[np.float32]
    neighbours: bool = True

    def add(self, builder: ProgramBuilder) -> None:
        rope_dim = self.table.shape[1]
        head_bytes = 4 * BLOCK_TOKENS * self.head_dim
        args: dict[str, int | float | Buffer] = {
            "qkv": self.qkv,
            "qkv_stride": self.qkv.row_bytes,
            "kv": self.kv,
            "block_stride": self.num_kv_heads * head_bytes,
            "head_stride": head_bytes,
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "rope_dim": rope_dim,
            "table": int(self.table.ctypes.data),
            "pair_stride": 4 if self.neighbours else 2 * rope_dim,
            "next_pair": 8 if self.neighbours else 4,
        }
        columns = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        slot = KernelSlot(self.name, "rope_kv_f16p32_f32", bytes_per_unit=6 * columns, operations_per_unit=3 * columns)
        builder.keep(self.table)
        builder.op(self.name, record=ROPE_KV, run=rope_kv.address, slots=(slot,), args=args)
