"""The attention op: divides a step's query rows among the team and calls the micro-kernels. Knows no instruction set.

    out f32[T, heads, head_dim] = softmax(scale x q k) v, causal, over each sequence's blocks of the KV cache; with a
    window, over the last tokens alone

The ranges of 128 tokens that a row sees are computed and merged in ascending order, whether one thread computes them
all or several some each (kernels.attention.division). So no bit depends on the division. Units of many rows have a
micro-kernel of their own.

While a range is computed, the next one is asked for: the heads of a unit ask for a share each, in the order of memory.
A decode's unit is soon done, so a thread finds its next part before it computes one, to ask for that as well.
"""

from typing import Any, Final

import numpy as np

from kernels.attention.division import DIVISION, PART, divide, item, next_part
from kernels.attention.partials import PARTIAL_HEAD
from kernels.attention.range_planes import RANGE_BLOCKS
from kernels.attention.sight import RANGE_TOKENS
from kernels.jit.call import call_kernel
from kernels.jit.function import native, op_function
from kernels.jit.native import atomic_add_i32, atomic_store_i32, load, record, store
from kernels.jit.vector import LANES, f32x16, load_f32x16, store_f32x16
from kernels.runtime.abi import BLOCK_TOKENS, CACHE_LINE, STEP, THREAD, op_record
from kernels.runtime.int16_rows import write_int16_row

VECTOR_BYTES: Final = 4 * LANES
MANY, DECODE, FEW = range(3)
"""Variants: what a step is charged to, by its largest unit."""

# Of a thread's scratch: addresses of what is asked for, the division, two parts; then rows.
_DIVISION_AT: Final = CACHE_LINE
_PARTS_AT: Final = _DIVISION_AT + -(-DIVISION.itemsize // CACHE_LINE) * CACHE_LINE
_PART_BYTES: Final = -(-PART.itemsize // CACHE_LINE) * CACHE_LINE
ROWS_AT: Final = _PARTS_AT + 2 * _PART_BYTES

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
        ("in_pairs", "i4"),  # queries become int16 with a scale
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
    division: Any = record(thread.scratch + _DIVISION_AT, DIVISION)
    divide(op, thread, step, division)
    thread.units = division.context
    found, spare, waiting = thread.scratch + _PARTS_AT, thread.scratch + _PARTS_AT + _PART_BYTES, 0
    while next_part(op, thread, step, division, record(found, PART)):
        part: Any = record(found, PART)
        if part.start >= part.stop:
            continue
        if waiting != 0:
            _run(op, thread, step, waiting, found)
        waiting = 0
        if part.num_tokens == 1:
            waiting = found
            found, spare = spare, found
        else:
            _run(op, thread, step, found, 0)
    if waiting != 0:
        _run(op, thread, step, waiting, 0)
    return DECODE if step.num_tokens == step.num_sequences else MANY if division.most_rows >= op.many_rows else FEW


@native
def _run(op: Any, thread: Any, step: Any, part_address: int, next_address: int) -> None:
    """A part; `next_address`: of the one that this thread runs next, 0 if it is not known."""
    part = record(part_address, PART)
    head_rows = part.num_tokens * op.group
    num_rows = part.num_heads * head_rows
    width = part.num_heads * op.group
    record_bytes = 4 * (PARTIAL_HEAD + op.head_dim)
    head_bytes, unit_bytes = record_bytes * head_rows, record_bytes * num_rows
    q = thread.scratch + ROWS_AT
    state = q + 4 * op.head_dim * num_rows
    partial = state + unit_bytes
    positions = partial + head_bytes
    _gather(op, step, part, width, q, positions)
    kernel = op.decode if part.num_tokens == 1 else op.many if head_rows >= op.many_rows else op.few
    table = step.block_tables + 4 * step.max_blocks * part.sequence
    stored = op.partials + record_bytes * part.partials
    is_cut = part.arrivals != 0
    for index in range(part.start, part.stop):
        for head in range(part.num_heads):
            if index + 1 == part.stop and next_address != 0:
                following = record(next_address, PART)
                _look_ahead(op, thread, step, following, following.start, head)
            else:
                _look_ahead(op, thread, step, part, min(index + 1, part.stop - 1), head)
            of_head = head * head_bytes
            into = partial
            if is_cut:
                into = stored + (index - part.first) * unit_bytes + of_head
            elif index == part.start:  # what merging into nothing would leave there
                into = state + of_head
            kv = op.kv + (part.kv_head + head) * op.head_stride
            rows = (head_rows, q + 4 * op.head_dim * head_rows * head, positions)
            cache = (index * RANGE_TOKENS, table, kv, op.block_stride)
            call_kernel(kernel, (*rows, *cache, into, thread.scratch))
            if into == partial:
                call_kernel(op.merge, (head_rows, into, state + of_head))
    if is_cut:
        if atomic_add_i32(part.arrivals, np.int32(1)) != part.unit_parts - 1:
            return
        atomic_store_i32(part.arrivals, np.int32(0))
        _clear(state, num_rows, record_bytes)
        for index in range(part.end - part.first):
            call_kernel(op.merge, (num_rows, stored + index * unit_bytes, state))
    _scatter(op, part, width, state)


@native
def _look_ahead(op: Any, thread: Any, step: Any, part: Any, index: int, turn: int) -> None:
    """What the `turn`th kv head asks for, of a range and all heads of the part: as many pieces as it has blocks."""
    table = step.block_tables + 4 * step.max_blocks * part.sequence
    last = (item(step.context_lengths, part.sequence) - 1) // BLOCK_TOKENS
    block, head = divmod(turn * RANGE_BLOCKS, part.num_heads)
    for piece in range(RANGE_BLOCKS):
        number = item(table, min(index * RANGE_BLOCKS + block, last))
        at = op.kv + number * op.block_stride + (part.kv_head + head) * op.head_stride
        store(thread.scratch + 8 * piece, at, np.int64)
        head += 1
        if head == part.num_heads:
            block, head = block + 1, 0


@native
def _gather(op: Any, step: Any, part: Any, width: int, q: int, positions: int) -> None:
    """The part's query rows, scaled or as int16 with a scale, and the position of each; `width`: heads of a token."""
    scale = f32x16(op.scale)
    for row in range(part.num_tokens * width):
        at, head = part.token + row // width, part.kv_head * op.group + row % width
        store(positions + 4 * row, item(step.positions, at), np.int32)
        source = op.q + op.q_stride * at + 4 * op.head_dim * head
        into = q + 4 * op.head_dim * row
        if op.in_pairs != 0:
            of_row = np.float32(write_int16_row(source, into, op.head_dim))
            store(into + 2 * op.head_dim, of_row * op.scale, np.float32)
        else:
            for offset in range(0, 4 * op.head_dim, VECTOR_BYTES):
                store_f32x16(into + offset, load_f32x16(source + offset) * scale)


@native
def _clear(state: int, num_rows: int, record_bytes: int) -> None:
    """m = -inf, l = 0, o = 0"""
    zero = f32x16(np.float32(0))
    for row in range(state, state + num_rows * record_bytes, record_bytes):
        for offset in range(0, record_bytes, VECTOR_BYTES):
            store_f32x16(row + offset, zero)
        store(row, np.float32(-np.inf), np.float32)


@native
def _scatter(op: Any, part: Any, width: int, state: int) -> None:
    """o / l to the output."""
    for row in range(part.num_tokens * width):
        at, head = part.token + row // width, part.kv_head * op.group + row % width
        source = state + 4 * (PARTIAL_HEAD + op.head_dim) * row
        share = f32x16(np.float32(1) / load(source + 4, np.float32))
        into = op.out + op.out_stride * at + 4 * op.head_dim * head
        for offset in range(0, 4 * op.head_dim, VECTOR_BYTES):
            store_f32x16(into + offset, load_f32x16(source + 4 * PARTIAL_HEAD + offset) * share)
