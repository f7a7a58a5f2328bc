"""Writes the attention micro-kernel: a tile of query rows against one range of 128 tokens of the KV cache.

    void attention(i64 num_rows, const f32 *q, const i32 *positions, i64 start, const i32 *block_table,
                   const void *kv, i64 block_stride_bytes, f32 *partials)

    q           f32[num_rows, head_dim], times scale x log2(e); with a soft cap times scale x 2 log2(e) / cap
    positions   i32[num_rows], ascending: row r sees the tokens of the sequence up to and with positions[r], of these
                the last `window` where the tile has one
    start       first token of the range, a multiple of 128
    block_table i32[], the sequence's blocks from its first token on
    kv          K^T f16[head_dim, 32], then V f16[32, head_dim], of block 0 of this layer and kv head
    partials    f32[num_rows, 16 + head_dim]: m, l, 14 unused, o

For each row, over the tokens t of the range that it sees: s = q . k, m = max s, p = 2^(s - m), l = sum p, o = sum p v.
A row that sees none gets m = -inf, l = 0, o = 0. With a soft cap (Gemma 2, arXiv:2408.00118) s becomes
cap tanh(s / cap) first, in units of log2.

Every sum has one order, whatever the tile, the other rows and the instruction set: q . k ascending in head_dim, l over
16 virtual lanes (see kernels.jit.vector_math), o ascending in t. Tokens that a row does not see, but another row of
its group may, add p = 0 times a finite v, which changes no bit. Slots past the last visible token are read as K only,
and their scores replaced before use: what they hold does not matter.

A group's scores prefetch the V of their block, its output the K of the next range: a decode reads the cache at the
speed of memory (without it, at half).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.jit.ir import I32, I64, PTR, Function, Value, Variable, vector
from kernels.jit.vector_math import LOG2_E, SUM_LANES, exp2, fold_max, fold_sum, maximum
from kernels.runtime.abi import BLOCK_TOKENS

RANGE_TOKENS = 128
PARTIAL_HEAD = 16  # f32 in front of o: m, l, padding to a cache line
ROW_BYTES = 4 * RANGE_TOKENS  # of the scores of a row
LINE_BYTES = 64


def partial_bytes(head_dim: int) -> int:
    return 4 * (PARTIAL_HEAD + head_dim)


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` query rows by `vectors` vectors of tokens (scores) or of head_dim elements (output)."""

    name: str
    head_dim: int
    rows: int
    isa: Isa
    features: str
    window: int | None = None
    soft_cap: float | None = None

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of the groups that code is written for: whole ones, then powers of two for the rows left over."""
        return (self.rows, *(1 << bit for bit in reversed(range((self.rows - 1).bit_length()))))

    def vectors(self, rows: int, columns: int) -> int:
        """How many vectors wide a tile of `rows` is when `columns` elements are to be covered."""
        wide = 1
        while 2 * wide * rows <= self.isa.accumulators and 2 * wide * self.isa.lanes <= columns:
            wide *= 2
        return wide

    def emit(self) -> str:
        assert self.head_dim % SUM_LANES == 0, f"head_dim {self.head_dim} is no multiple of {SUM_LANES}"
        arguments = [("num_rows", I64), ("q", PTR), ("positions", PTR), ("start", I64), ("block_table", PTR)]
        arguments += [("kv", PTR), ("block_stride", I64), ("partials", PTR)]
        return _Emission(self, Function(self.name, arguments, self.features)).text()


class _Emission:
    def __init__(self, tile: Tile, f: Function) -> None:
        self.tile, self.f, self.isa, self.head_dim = tile, f, tile.isa, tile.head_dim
        self.scores = f.stack(tile.rows * ROW_BYTES)
        self.first_block = f["start"] >> 5

    def text(self) -> str:
        f, rows = self.f, self.tile.rows
        rest = f.remainder(f["num_rows"], rows)
        full = f["num_rows"] - rest
        with f.loop(0, full, rows) as row:
            self._group(row, rows)
        row_left = f.variable(full)
        for few in self.tile.heights[1:]:
            with f.when(f.compare("ne", rest & few, 0)):
                self._group(row_left.get(), few)
                row_left.set(row_left.get() + few)
        f.ret()
        return f.text()

    def _group(self, row: Value, rows: int) -> None:
        f = self.f
        last = self._visible(row + (rows - 1))
        self._score(f.offset(f["q"], row * (4 * self.head_dim)), last, rows)
        partials = f.offset(f["partials"], row * partial_bytes(self.head_dim))
        with f.loop(0, f.const(I64, rows)) as index:
            partial = f.offset(partials, index * partial_bytes(self.head_dim))
            row_scores, seen = f.offset(self.scores, index * ROW_BYTES), self._visible(row + index)
            if self.tile.soft_cap is not None:
                self._cap(row_scores, seen, self.tile.soft_cap * LOG2_E)
            if self.tile.window is not None:
                seen = self._forget(row_scores, row + index, seen, self.tile.window)
            self._soften(row_scores, seen, last, partial)
        self._output(partials, last, rows)

    def _visible(self, row: Value) -> Value:
        """How many tokens of the range this row sees: 0..128."""
        f = self.f
        seen = f.call("llvm.smax.i64", I64, self._position(row) - f["start"] + 1, f.const(I64, 0))
        return f.call("llvm.smin.i64", I64, seen, f.const(I64, RANGE_TOKENS))

    def _key_and_value(self, index: Value) -> tuple[Value, Value]:
        """K^T and V of the `index`th block of the sequence."""
        f = self.f
        block = f.cast("sext", f.load(I32, f["block_table"], index << 2, align=4), I64)
        key = f.offset(f["kv"], block * f["block_stride"])
        return key, f.offset(key, 2 * BLOCK_TOKENS * self.head_dim)

    def _position(self, row: Value) -> Value:
        return self.f.cast("sext", self.f.load(I32, self.f["positions"], row << 2, align=4), I64)

    # -- scores: lanes are tokens

    def _score(self, q: Value, tokens: Value, rows: int) -> None:
        f, lanes = self.f, self.isa.lanes
        vectors = self.tile.vectors(rows, BLOCK_TOKENS)
        with f.loop(0, (tokens + (BLOCK_TOKENS - 1)) >> 5) as index:
            keys, values = self._key_and_value(self.first_block + index)
            out = f.offset(self.scores, index * (4 * BLOCK_TOKENS))
            with f.loop(0, f.const(I64, BLOCK_TOKENS), vectors * lanes) as column:
                acc = self._zeros(rows, vectors)
                columns, depth = f.offset(keys, column << 1), f.const(I64, self.head_dim)
                self._multiply(acc, q, 4 * self.head_dim, columns, 2 * BLOCK_TOKENS, depth, ahead=values)
                self._store(acc, f.offset(out, column << 2), ROW_BYTES)

    # -- a row's scores, in place: soft cap, window, softmax

    def _cap(self, scores: Value, seen: Value, most: float) -> None:
        """x to most tanh(x ln(2) / 2) = most - 2 most / (2^x + 1)."""
        f = self.f
        one, top = f.const(self.isa.floats, 1.0), f.const(self.isa.floats, most)
        with f.loop(0, seen, SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            capped = []
            for value in self._chunk(at):
                limit = f.const(self.isa.floats, 126.0)
                power = exp2(f, f.select(f.compare("ogt", value, limit), limit, value))
                capped.append(top - f.divide(f.const(self.isa.floats, 2 * most), power + one))
            self._store_chunk(capped, at)

    def _forget(self, scores: Value, row: Value, seen: Value, window: int) -> Value:
        """-inf for tokens before the row's window; returns `seen`, or 0 if no token is left."""
        f = self.f
        low, none = f.const(self.isa.floats, -math.inf), f.const(I64, 0)
        before = f.call("llvm.smax.i64", I64, self._position(row) - f["start"] + (1 - window), none)
        seen = f.select(f.compare("slt", before, seen), seen, none)
        with f.loop(0, f.call("llvm.smin.i64", I64, before, seen), SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            first = self._splat32(before - token)
            masked = [
                f.select(f.compare("slt", self._lane_numbers(i), first), low, value)
                for i, value in enumerate(self._chunk(at))
            ]
            self._store_chunk(masked, at)
        return seen

    def _soften(self, scores: Value, seen: Value, tokens: Value, partial: Value) -> None:
        """Scores to p, zeros from `seen` to `tokens`; m and l to the partial."""
        f = self.f
        count = SUM_LANES // self.isa.lanes
        part = f.remainder(seen, SUM_LANES)
        full = seen - part
        low = f.const(self.isa.floats, -math.inf)
        most = [f.variable(low) for _ in range(count)]
        with f.loop(0, full, SUM_LANES) as token:
            self._raise(most, self._chunk(f.offset(scores, token << 2)))
        with f.when(f.compare("ne", part, 0)):
            at = f.offset(scores, full << 2)
            masked = [
                f.select(f.compare("slt", self._lane_numbers(i), self._splat32(part)), value, low)
                for i, value in enumerate(self._chunk(at))
            ]
            self._store_chunk(masked, at)
            self._raise(most, masked)
        top = fold_max(f, [m.get() for m in most])
        tops = f.splat(top, self.isa.floats)
        total = [f.variable(f.zero(self.isa.floats)) for _ in range(count)]
        with f.loop(0, seen, SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            weights = [exp2(f, s - tops) for s in self._chunk(at)]
            self._store_chunk(weights, at)
            for t, p in zip(total, weights, strict=True):
                t.set(t.get() + p)
        with f.loop(((seen + (SUM_LANES - 1)) >> 4) << 4, tokens, SUM_LANES) as token:
            self._store_chunk([f.zero(self.isa.floats)] * count, f.offset(scores, token << 2))
        f.store(top, partial, align=4)
        f.store(fold_sum(f, [t.get() for t in total]), partial, 4, align=4)

    def _chunk(self, at: Value) -> list[Value]:
        lanes = self.isa.lanes
        return [self.f.load(self.isa.floats, at, 4 * start, align=16) for start in range(0, SUM_LANES, lanes)]

    def _store_chunk(self, values: Sequence[Value], at: Value) -> None:
        for i, value in enumerate(values):
            self.f.store(value, at, 4 * i * self.isa.lanes, align=16)

    def _raise(self, most: Sequence[Variable], values: Sequence[Value]) -> None:
        for m, value in zip(most, values, strict=True):
            m.set(maximum(self.f, m.get(), value))

    def _lane_numbers(self, i: int) -> Value:
        lanes = self.isa.lanes
        numbers = ", ".join(f"i32 {i * lanes + lane}" for lane in range(lanes))
        return Value(self.f, vector(lanes, I32), f"<{numbers}>")

    def _splat32(self, value: Value) -> Value:
        f = self.f
        return f.splat(f.cast("trunc", value, I32), vector(self.isa.lanes, I32))

    # -- output: lanes are elements of head_dim

    def _output(self, partials: Value, tokens: Value, rows: int) -> None:
        f, lanes = self.f, self.isa.lanes
        wide = self.tile.vectors(rows, self.head_dim)
        whole = self.head_dim // (wide * lanes) * (wide * lanes)
        with f.loop(0, f.const(I64, whole), wide * lanes) as column:
            self._output_columns(partials, tokens, rows, column, wide)
        with f.loop(whole, f.const(I64, self.head_dim), lanes) as column:
            self._output_columns(partials, tokens, rows, column, 1)

    def _output_columns(self, partials: Value, tokens: Value, rows: int, column: Value, vectors: int) -> None:
        f = self.f
        acc = self._zeros(rows, vectors)
        last_block = self._position(f["num_rows"] - 1) >> 5
        with f.loop(0, tokens, BLOCK_TOKENS) as token:
            block = self.first_block + (token >> 5)
            values = f.offset(self._key_and_value(block)[1], column << 1)
            later = f.call("llvm.smin.i64", I64, block + RANGE_TOKENS // BLOCK_TOKENS, last_block)
            ahead = f.offset(self._key_and_value(later)[0], column * LINE_BYTES)
            count = f.call("llvm.smin.i64", I64, tokens - token, f.const(I64, BLOCK_TOKENS))
            weights = f.offset(self.scores, token << 2)
            self._multiply(acc, weights, ROW_BYTES, values, 2 * self.head_dim, count, ahead)
        self._store(acc, f.offset(f.offset(partials, 4 * PARTIAL_HEAD), column << 2), partial_bytes(self.head_dim))

    # -- the product both are made of

    def _zeros(self, rows: int, vectors: int) -> list[list[Variable]]:
        return [[self.f.variable(self.f.zero(self.isa.floats)) for _ in range(vectors)] for _ in range(rows)]

    def _multiply(
        self, acc: list[list[Variable]], a: Value, a_row: int, b: Value, b_row: int, depth: Value, ahead: Value
    ) -> None:
        """acc[r, c] += a[r, k] b[k, c] for k in range(depth), ascending; a f32, b f16, row pitches in bytes.

        Prefetches a cache line of `ahead` for each k: a head_dim's worth of lines is a block's K or V.
        """
        f, step = self.f, self.isa.spread
        rest = f.remainder(depth, step)
        with f.loop(0, depth - rest, step) as k:
            for i in range(step):
                f.prefetch(f.offset(ahead, i * LINE_BYTES), k * LINE_BYTES)
            self._products(acc, f.offset(a, k << 2), a_row, f.offset(b, k * b_row), b_row, step)
        if step > 1:
            with f.loop(depth - rest, depth) as k:
                self._products(acc, f.offset(a, k << 2), a_row, f.offset(b, k * b_row), b_row, 1)

    def _products(self, acc: list[list[Variable]], a: Value, a_row: int, b: Value, b_row: int, count: int) -> None:
        """The fewer of rows and columns wait in registers while the others pass: LLVM keeps this order."""
        f, isa, rows, vectors = self.f, self.isa, range(len(acc)), range(len(acc[0]))
        spread = [isa.spread_loads(f, a, r * a_row, count) for r in rows]
        for k in range(count):
            columns: dict[int, Value] = {}
            by_row = [(r, c) for r in rows for c in vectors]
            by_column = [(r, c) for c in vectors for r in rows]
            for r, c in by_row if len(rows) >= len(vectors) else by_column:
                if c not in columns:
                    columns[c] = isa.halves(f, b, k * b_row + 2 * c * isa.lanes)
                acc[r][c].set(f.fma(spread[r][k], columns[c], acc[r][c].get()))

    def _store(self, acc: list[list[Variable]], at: Value, row_bytes: int) -> None:
        for r, row in enumerate(acc):
            for c, variable in enumerate(row):
                self.f.store(variable.get(), at, r * row_bytes + 4 * c * self.isa.lanes, align=16)
