"""Rotary position embedding of Q and K, fused with writing K and V into the KV cache. Knows no model.

q, k f32[T, heads * head_dim]: the first rope_dim elements of each head are rotated by pairs, pair i by the angle
position * frequency[i]. Pairs are (2i, 2i+1) in the interleaved style (GGUF's "norm", llama), (i, i + rope_dim/2) in
the split style ("neox").

Before that Q, K and V may get a bias (Qwen 2), and each head of Q and K an RMS norm (Qwen 3, Gemma 3).

K goes transposed, V as it is, to the token's block and kv head, in the cache's type: see kernels.ops.kv_write.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native, op_function
from kernels.jit.native import load, prefetch, record, store
from kernels.jit.rearrange import alternate, double_high, double_low, swap_pairs
from kernels.jit.vector import LANES, f32x16, fma, load_f32x16, store_f32x16
from kernels.ops.kv_write import ask_for_column, write_keys, write_value
from kernels.ops.rms_norm import add_row, rms_norm_row
from kernels.ops.rope_table import RopeTable
from kernels.runtime.abi import BLOCK_TOKENS, CACHE_LINE, STEP, THREAD, Record, op_record
from kernels.runtime.chunks import chunk_size, take_chunk
from kernels.runtime.kv_types import F16_KV, KVType, LayerBlocks
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

MAX_CHUNK_ROWS: Final = 32

ROPE_KV: Final[Record] = op_record(
    [
        ("q", "i8"),  # f32[T, num_heads * head_dim] in rows of q_stride bytes; k, v likewise
        ("q_stride", "i8"),
        ("q_first", "i8"),  # bytes from a row's start to its first head
        ("q_out", "i8"),  # where the rotated Q goes; may be where it was
        ("q_out_stride", "i8"),
        ("q_out_first", "i8"),
        ("k", "i8"),
        ("k_stride", "i8"),
        ("k_first", "i8"),
        ("v", "i8"),
        ("v_stride", "i8"),
        ("v_first", "i8"),
        ("kv", "i8"),  # this layer's part of the first block: [num_kv_heads, 2, plane_bytes]
        ("block_stride", "i8"),
        ("cos", "i8"),  # f32[num_positions, rope_dim/2], sin likewise
        ("sin", "i8"),
        ("num_positions", "i8"),
        ("num_heads", "i8"),
        ("num_kv_heads", "i8"),
        ("head_dim", "i8"),
        ("rope_dim", "i8"),
        ("split", "i8"),  # pairs (i, i + rope_dim/2) instead of (2i, 2i+1)
        ("bias", "i8"),  # f32[(num_heads + 2 num_kv_heads) * head_dim], of q, then k, then v; 0: none
        ("q_norm", "i8"),  # f32[head_dim], weight of the norm of each head; 0: none
        ("k_norm", "i8"),
        ("eps", "f4"),
        ("kv_type", "i4"),  # code of the cache's type
        ("plane_bytes", "i8"),  # K of a kv head in a block, or V
    ]
)


@inlined
def _rotate_pair(first: int, second: int, out_first: int, out_second: int, c: float, s: float) -> None:
    x, y = load(first, np.float32), load(second, np.float32)
    store(out_first, fma(x, c, -(y * s)), np.float32)
    store(out_second, fma(y, c, x * s), np.float32)


@native
def rotate_split(head: int, out: int, cos: int, sin: int, rope_dim: int) -> None:
    """One head, pairs (i, i + rope_dim/2); `out` may be `head`."""
    half = rope_dim // 2
    whole, far = half - half % LANES, 4 * half
    for i in range(0, whole, LANES):
        x, y = load_f32x16(head + 4 * i), load_f32x16(head + far + 4 * i)
        c, s = load_f32x16(cos + 4 * i), load_f32x16(sin + 4 * i)
        store_f32x16(out + 4 * i, fma(x, c, f32x16(np.float32(0)) - y * s))
        store_f32x16(out + far + 4 * i, fma(y, c, x * s))
    for i in range(whole, half):
        at = 4 * i
        c, s = load(cos + at, np.float32), load(sin + at, np.float32)
        _rotate_pair(head + at, head + far + at, out + at, out + far + at, c, s)


@native
def rotate_interleaved(head: int, out: int, cos: int, sin: int, rope_dim: int) -> None:
    """One head, pairs (2i, 2i+1); `out` may be `head`."""
    half = rope_dim // 2
    whole = half - half % LANES
    for i in range(0, whole, LANES):
        low, high = load_f32x16(head + 8 * i), load_f32x16(head + 8 * i + 4 * LANES)
        c, s = load_f32x16(cos + 4 * i), load_f32x16(sin + 4 * i)
        store_f32x16(out + 8 * i, fma(low, double_low(c), swap_pairs(low) * alternate(double_low(s))))
        store_f32x16(out + 8 * i + 4 * LANES, fma(high, double_high(c), swap_pairs(high) * alternate(double_high(s))))
    for i in range(whole, half):
        at = 8 * i
        c, s = load(cos + 4 * i, np.float32), load(sin + 4 * i, np.float32)
        _rotate_pair(head + at, head + at + 4, out + at, out + at + 4, c, s)


@inlined
def _rotate(op: Any, head: int, out: int, cos: int, sin: int) -> None:
    if op.split != 0:
        rotate_split(head, out, cos, sin, op.rope_dim)
    else:
        rotate_interleaved(head, out, cos, sin, op.rope_dim)
    if out != head:
        for i in range(op.rope_dim, op.head_dim):
            store(out + 4 * i, load(head + 4 * i, np.float32), np.float32)


@inlined
def _rope_token(op: Any, step: Any, token: int, group: int, scratch: int) -> None:
    """A key head, where it is, the query heads that look at it, and its value, which goes to the cache."""
    position: Any = np.int64(load(step.positions + 4 * token, np.int32))
    position = max(0, min(position, op.num_positions - 1))
    row = 4 * (op.rope_dim // 2) * position
    cos, sin = op.cos + row, op.sin + row
    head_bytes = 4 * op.head_dim
    num_queries: Any = op.num_heads // op.num_kv_heads
    first = num_queries * group

    query, key, value = _heads(op, token, group)
    if op.bias != 0:
        bias = op.bias + head_bytes * op.num_heads
        add_row(query, op.bias + head_bytes * first, query, op.head_dim * num_queries)
        add_row(key, bias + head_bytes * group, key, op.head_dim)
        add_row(value, bias + head_bytes * (op.num_kv_heads + group), value, op.head_dim)
    out = op.q_out + op.q_out_stride * token + op.q_out_first + head_bytes * first
    for _ in range(num_queries):
        if op.q_norm != 0:
            rms_norm_row(query, op.q_norm, query, op.head_dim, op.eps)
        _rotate(op, query, out, cos, sin)
        query += head_bytes
        out += head_bytes

    if op.k_norm != 0:
        rms_norm_row(key, op.k_norm, key, op.head_dim, op.eps)
    _rotate(op, key, key, cos, sin)
    slot = _slot(step, token)
    write_value(value, _plane(op, slot, group) + op.plane_bytes, slot % BLOCK_TOKENS, op.head_dim, op.kv_type, scratch)


@inlined
def _heads(op: Any, token: int, group: int) -> Any:
    """Where a row has the first query head of a group, its key head and its value."""
    num_queries: Any = op.num_heads // op.num_kv_heads
    head = 4 * op.head_dim * group
    query = op.q + op.q_stride * token + op.q_first + head * num_queries
    return query, op.k + op.k_stride * token + op.k_first + head, op.v + op.v_stride * token + op.v_first + head


@inlined
def _ask_for(op: Any, token: int, group: int) -> None:
    """What _rope_token reads of a row: short stretches, too far from those of the last token for the CPU to guess."""
    head_bytes = 4 * op.head_dim
    query, key, value = _heads(op, token, group)
    for line in range(0, head_bytes * (op.num_heads // op.num_kv_heads), CACHE_LINE):
        prefetch(query + line)
    for line in range(0, head_bytes, CACHE_LINE):
        prefetch(key + line)
        prefetch(value + line)


@inlined
def _slot(step: Any, token: int) -> Any:
    return np.int64(load(step.kv_slots + 4 * token, np.int32))


@inlined
def _plane(op: Any, slot: Any, group: int) -> Any:
    """K of a slot's block and a kv head; V follows."""
    return op.kv + op.block_stride * (slot // BLOCK_TOKENS) + 2 * op.plane_bytes * group


@inlined
def _num_neighbours(step: Any, token: int, stop: int) -> int:
    """LANES if so many tokens from `token` on fill a block's slots side by side, else 1."""
    first = _slot(step, token)
    if token + LANES > stop or first % BLOCK_TOKENS + LANES > BLOCK_TOKENS:
        return 1
    for lane in range(1, LANES):
        if _slot(step, token + lane) != first + lane:
            return 1
    return LANES


@op_function
def rope_kv(op_address: int, thread_address: int) -> int:
    """A chunk is some tokens of one key head: two heads share no cache line, tokens of a block share all."""
    op, thread = record(op_address, ROPE_KV), record(thread_address, THREAD)
    step = record(thread.step, STEP)
    num_groups = op.num_kv_heads
    size = chunk_size(step.num_tokens * num_groups, thread.num_threads, MAX_CHUNK_ROWS)
    num_chunks = (step.num_tokens + size - 1) // size * num_groups
    while True:
        chunk = take_chunk(op, thread, 1, num_chunks)
        if chunk >= num_chunks:
            break
        group, token = chunk % num_groups, chunk // num_groups * size
        stop = min(token + size, step.num_tokens)
        while token < stop:
            count = _num_neighbours(step, token, stop)
            (_, key, _), slot = _heads(op, token, group), _slot(step, token)
            plane, offset = _plane(op, slot, group), slot % BLOCK_TOKENS
            ask_for_column(plane, offset, op.head_dim, op.kv_type)
            for neighbour in range(token, token + count):
                _ask_for(op, min(neighbour + 1, stop - 1), group)
                _rope_token(op, step, neighbour, group, thread.scratch)
            write_keys(key, op.k_stride, count, plane, offset, op.head_dim, op.kv_type, thread.scratch)
            token += count
    thread.units = step.num_tokens
    return 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of an f32[T, ...] buffer, from `first` on: Q, K and V may share one buffer or have their own."""

    buffer: Buffer
    first: int = 0

    def args(self, name: str) -> dict[str, int | float | Buffer]:
        return {name: self.buffer, f"{name}_stride": self.buffer.row_bytes, f"{name}_first": 4 * self.first}


@dataclass(frozen=True, slots=True)
class RopeKvOp:
    """K is rotated in place; Q too, unless q_out is given.

    bias: address of f32[all of q, then k, then v]; q_norm, k_norm: of f32[head_dim]; 0 without.
    """

    name: str
    q: Columns
    k: Columns
    v: Columns
    kv: LayerBlocks
    table: RopeTable
    num_heads: int
    num_kv_heads: int
    head_dim: int
    q_out: Columns | None = None
    bias: int = 0
    q_norm: int = 0
    k_norm: int = 0
    eps: float = 0.0
    kv_type: KVType = F16_KV

    def add(self, builder: ProgramBuilder) -> None:
        table = self.table
        assert table.rope_dim <= self.head_dim, f"{table.rope_dim} of {self.head_dim} elements rotated"
        builder.keep(table)
        args: dict[str, int | float | Buffer] = {
            **self.q.args("q"),
            **(self.q_out or self.q).args("q_out"),
            **self.k.args("k"),
            **self.v.args("v"),
            "kv": self.kv.address,
            "block_stride": self.kv.stride,
            "cos": int(table.cos.ctypes.data),
            "sin": int(table.sin.ctypes.data),
            "num_positions": table.cos.shape[0],
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "rope_dim": table.rope_dim,
            "split": int(table.split),
            "bias": self.bias,
            "q_norm": self.q_norm,
            "k_norm": self.k_norm,
            "eps": self.eps,
            "kv_type": self.kv_type.code,
            "plane_bytes": self.kv_type.plane_bytes(self.head_dim),
        }
        token_bytes = self.kv_type.head_bytes(self.head_dim) // BLOCK_TOKENS
        width, kv_width = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        slot = KernelSlot(
            self.name,
            f"rope_kv_f32_{self.kv_type.kernel_name}_{'split' if table.split else 'interleaved'}",
            bytes_per_unit=8 * width + (8 + 4) * kv_width + self.num_kv_heads * token_bytes,
            operations_per_unit=3 * (width + kv_width),
        )
        builder.scratch(LANES * self.kv_type.element_plane_bytes(self.head_dim) // BLOCK_TOKENS)
        builder.op(self.name, record=ROPE_KV, run=rope_kv.address, slots=(slot,), args=args)
