"""The attention op: divides a step's query rows among the team and calls the micro-kernels. Knows no instruction set.

    out f32[T, heads, head_dim] = softmax(scale x q k) v, causal, over each sequence's blocks of the KV cache; with a
    window, over the last tokens alone

A unit is (sequence, kv head, tile of query tokens); its rows are the tile's tokens x the query heads that share the kv
head. Tiles are smaller where prefills would be too few units to share; units of many rows have a micro-kernel of their
own. The ranges of 128 tokens that a row of the unit sees are computed and merged in ascending order. When units are
fewer than the team can share (a decode of few sequences over a long context), each is cut into parts of some ranges:
threads store the partials, and whoever finishes a unit's last part merges them, in ascending order as well. So no bit
depends on the division.
"""

from typing import Any, Final

import numpy as np

from kernels.attention.emit import PARTIAL_HEAD
from kernels.attention.sight import RANGE_TOKENS
from kernels.jit.call import call_kernel
from kernels.jit.function import native, op_function
from kernels.jit.native import atomic_add_i32, atomic_store_i32, load, record, store
from kernels.jit.vector import LANES, f32x16, load_f32x16, store_f32x16
from kernels.runtime.abi import STEP, THREAD, op_record
from kernels.runtime.chunks import take_chunk

PARTS_PER_THREAD: Final = 4  # a team shares at least so many units or parts, if there are
VECTOR_BYTES: Final = 4 * LANES
MANY, DECODE, FEW = range(3)
"""Variants: what a step is charged to, by its largest unit."""

ATTENTION: Final = op_record(
    [
        ("q", "i8"),  # f32[T, heads * head_dim], rows q_stride bytes apart
        ("q_stride", "i8"),
        ("out", "i8"),  # f32[T, heads * head_dim], rows out_stride bytes apart
        ("out_stride", "i8"),
        ("kv", "i8"),  # this layer of the cache: block 0, kv head 0
        ("block_stride", "i8"),
        ("head_stride", "i8"),
        ("num_kv_heads", "i8"),
        ("group", "i8"),  # query heads of a kv head
        ("head_dim", "i8"),
        ("scale", "f4"),  # times log2(e), see the micro-kernel
        ("window", "i8"),  # tokens that a query token sees at most; 0: all up to its own
        ("few", "i8"),  # micro-kernels of prefills, of few rows and of many_rows or more
        ("many", "i8"),
        ("many_rows", "i8"),
        ("decode", "i8"),
        ("merge", "i8"),
        ("tile_tokens", "i8"),  # query tokens of a unit; fewer where the team would have too few prefills to share
        ("few_tokens", "i8"),
        ("partials", "i8"),  # f32[max_partials, 16 + head_dim], of units cut into parts
        ("max_partials", "i8"),
        ("arrivals", "i8"),  # i32 per unit: parts done; 0 between steps
    ]
)


@op_function
def attention(op_address: int, thread_address: int) -> int:
    op: Any = record(op_address, ATTENTION)
    thread: Any = record(thread_address, THREAD)
    step: Any = record(thread.step, STEP)
    wanted = PARTS_PER_THREAD * thread.num_threads
    tile_tokens = _tile_tokens(op, step, wanted)
    num_units, most_ranges, most_rows, context = 0, 1, 0, 0
    for sequence in range(step.num_sequences):
        length, num_tokens = _item(step.context_lengths, sequence), _num_queries(step, sequence)
        num_units += op.num_kv_heads * _num_tiles(num_tokens, tile_tokens)
        most_ranges = max(most_ranges, _most_ranges(op, length, min(num_tokens, tile_tokens)))
        most_rows = max(most_rows, min(num_tokens, tile_tokens) * op.group)
        context += _seen(op, length) - _seen(op, length - num_tokens)
    thread.units = context

    part_ranges = most_ranges
    if thread.num_threads > 1 and num_units < wanted and num_units * most_ranges * most_rows <= op.max_partials:
        part_ranges = max(1, num_units * most_ranges // wanted)
    num_parts = (most_ranges + part_ranges - 1) // part_ranges

    # Sequences, then tiles, backwards: long prefills are cut from their expensive end, decodes fill what is left.
    sequence, first, unit = step.num_sequences, 0, 0
    size = 0
    while True:
        task = take_chunk(op, thread, 1)
        while task >= first + size:
            first += size
            unit += size // num_parts
            sequence -= 1
            if sequence < 0:
                return DECODE if step.num_tokens == step.num_sequences else MANY if most_rows >= op.many_rows else FEW
            size = op.num_kv_heads * _num_tiles(_num_queries(step, sequence), tile_tokens) * num_parts
        within, part = (task - first) // num_parts, (task - first) % num_parts
        room = most_rows * most_ranges
        _run_part(op, thread, step, sequence, tile_tokens, within, part, unit + within, part_ranges, num_parts, room)


@native
def _item(array: int, index: int) -> int:
    """Of an i32 array."""
    return int(load(array + 4 * index, np.int32))


@native
def _num_queries(step: Any, sequence: int) -> int:
    return _item(step.query_starts, sequence + 1) - _item(step.query_starts, sequence)


@native
def _tile_tokens(op: Any, step: Any, wanted: int) -> int:
    """Query tokens of a unit: few if prefills would be less than `wanted` units, for decodes fill no gap."""
    num_units = 0
    for sequence in range(step.num_sequences):
        num_tokens = _num_queries(step, sequence)
        if num_tokens > 1:
            num_units += op.num_kv_heads * _num_tiles(num_tokens, op.tile_tokens)
    return int(op.few_tokens if num_units < wanted else op.tile_tokens)


@native
def _num_tiles(num_tokens: int, tile_tokens: int) -> int:
    return (num_tokens + tile_tokens - 1) // tile_tokens


@native
def _num_ranges(length: int) -> int:
    return (length + RANGE_TOKENS - 1) // RANGE_TOKENS


@native
def _first_range(op: Any, position: int) -> int:
    """The first range that the query token at `position` sees a token of."""
    if op.window == 0:
        return 0
    return max(0, position - int(op.window) + 1) // RANGE_TOKENS


@native
def _most_ranges(op: Any, length: int, num_tokens: int) -> int:
    """At least as many as any unit of a sequence sees, which has so many query tokens."""
    num_ranges = _num_ranges(length)
    if op.window == 0:
        return num_ranges
    span = int(op.window) + num_tokens - 1
    return min(num_ranges, (span + RANGE_TOKENS - 2) // RANGE_TOKENS + 1)


@native
def _seen(op: Any, num_tokens: int) -> int:
    """Tokens that the first `num_tokens` of a sequence see, in sum."""
    most = num_tokens if op.window == 0 else min(num_tokens, int(op.window))
    return most * (most + 1) // 2 + (num_tokens - most) * most


@native
def _run_part(
    op: Any, thread: Any, step: Any, sequence: int, tile_tokens: int, within: int, part: int, unit: int,
    part_ranges: int, num_parts: int, unit_rows: int,
) -> None:  # fmt: skip
    """Part `part` of the unit that is `within` its sequence; `unit_rows`: room of a unit among the partials."""
    num_tiles = _num_tiles(_num_queries(step, sequence), tile_tokens)
    kv_head, tile = within // num_tiles, num_tiles - 1 - within % num_tiles
    token = _item(step.query_starts, sequence) + tile * tile_tokens
    num_tokens = min(tile_tokens, _item(step.query_starts, sequence + 1) - token)
    first = _first_range(op, _item(step.positions, token))
    num_ranges = _num_ranges(_item(step.positions, token + num_tokens - 1) + 1) - first
    start, stop = part * part_ranges, min((part + 1) * part_ranges, num_ranges)
    if start >= stop:
        return

    num_rows = num_tokens * op.group
    record_bytes = 4 * (PARTIAL_HEAD + op.head_dim)
    q = thread.scratch
    state = q + 4 * op.head_dim * num_rows
    partial = state + record_bytes * num_rows
    positions = partial + record_bytes * num_rows
    _gather(op, step, token, num_rows, kv_head, q, positions)
    kernel = op.decode if num_tokens == 1 else op.many if num_rows >= op.many_rows else op.few
    table = step.block_tables + 4 * step.max_blocks * sequence
    kv = op.kv + kv_head * op.head_stride
    stored = op.partials + record_bytes * unit_rows * unit
    stored_bytes = record_bytes * num_rows
    if num_parts == 1:
        _clear(state, num_rows, record_bytes)
    for index in range(start, stop):
        into = partial if num_parts == 1 else stored + index * stored_bytes
        begin = (first + index) * RANGE_TOKENS
        call_kernel(kernel, (num_rows, q, positions, begin, table, kv, op.block_stride, into))
        if num_parts == 1:
            call_kernel(op.merge, (num_rows, into, state))
    if num_parts > 1:
        arrivals = op.arrivals + 4 * unit
        needed = (num_ranges + part_ranges - 1) // part_ranges
        if atomic_add_i32(arrivals, np.int32(1)) != needed - 1:
            return
        atomic_store_i32(arrivals, np.int32(0))
        _clear(state, num_rows, record_bytes)
        for index in range(num_ranges):
            call_kernel(op.merge, (num_rows, stored + index * stored_bytes, state))
    _scatter(op, token, num_rows, kv_head, state)


@native
def _gather(op: Any, step: Any, token: int, num_rows: int, kv_head: int, q: int, positions: int) -> None:
    """The unit's query rows, scaled, and the position of each."""
    scale = f32x16(op.scale)
    for row in range(num_rows):
        at = token + row // op.group
        store(positions + 4 * row, _item(step.positions, at), np.int32)
        head = kv_head * op.group + row % op.group
        source = op.q + op.q_stride * at + 4 * op.head_dim * head
        for offset in range(0, 4 * op.head_dim, VECTOR_BYTES):
            store_f32x16(q + 4 * op.head_dim * row + offset, load_f32x16(source + offset) * scale)


@native
def _clear(state: int, num_rows: int, record_bytes: int) -> None:
    """m = -inf, l = 0, o = 0"""
    zero = f32x16(np.float32(0))
    for row in range(state, state + num_rows * record_bytes, record_bytes):
        for offset in range(0, record_bytes, VECTOR_BYTES):
            store_f32x16(row + offset, zero)
        store(row, np.float32(-np.inf), np.float32)


@native
def _scatter(op: Any, token: int, num_rows: int, kv_head: int, state: int) -> None:
    """o / l to the output."""
    for row in range(num_rows):
        source = state + 4 * (PARTIAL_HEAD + op.head_dim) * row
        share = f32x16(np.float32(1) / load(source + 4, np.float32))
        head = kv_head * op.group + row % op.group
        into = op.out + op.out_stride * (token + row // op.group) + 4 * op.head_dim * head
        for offset in range(0, 4 * op.head_dim, VECTOR_BYTES):
            store_f32x16(into + offset, load_f32x16(source + 4 * PARTIAL_HEAD + offset) * share)
