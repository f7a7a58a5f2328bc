"""Writes the attention micro-kernel: rows of queries against one range of 128 tokens of the KV cache.

    void attention(i64 num_rows, const f32 *q, const i32 *positions, i64 start, const i32 *block_table,
                   const void *kv, i64 block_stride_bytes, f32 *partials, const void *const *ahead)

    q           f32[num_rows, head_dim], times scale x log2(e); with a soft cap times scale x 2 log2(e) / cap
    positions   i32[num_rows], ascending: row r sees the tokens of the sequence up to and with positions[r], of these
                the last `window` where the tile has one
    start       first token of the range, a multiple of 128
    block_table i32[], the sequence's blocks from its first token on
    kv          K^T, then V, of block 0 of this layer and kv head, as kernels.runtime.kv_types lays them out
    partials    f32[num_rows, 16 + head_dim]: m, l, 14 unused, o
    ahead       four addresses, of K^T and V of a block and kv head each: what is read soon, and may be any

For each row, over the tokens t of the range that it sees: s = q . k, m = max s, p = 2^(s - m), l = sum p, o = sum p v.
A row that sees none gets m = -inf, l = 0, o = 0. With a soft cap (Gemma 2, arXiv:2408.00118) s becomes
cap tanh(s / cap) first, in units of log2.

Every sum has one order, whatever the tile, the other rows and the instruction set: q . k ascending in head_dim, l over
16 virtual lanes (see kernels.jit.vector_math), o ascending in t. Tokens that a row does not see, but another row of
its group may, add p = 0 times a finite v, which changes no bit. Slots past the last visible token are read as K only,
and their scores replaced before use: what they hold does not matter.

What is ahead is prefetched, half of it by a group's scores, half by its output, so at the speed of memory all along: by
the scores alone, a decode took a fifth longer. A wide tile makes the range floats first, once for all rows: on an
AVX-512 that leaves one of seven vector instructions of its products out, and pays from some five groups of rows on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kernels.attention.cached import CachedReads
from kernels.attention.isa import Isa
from kernels.attention.range_planes import RangePlanes, num_blocks
from kernels.attention.sight import RANGE_TOKENS, Sight
from kernels.attention.softmax import Softmax
from kernels.jit.ir import I64, PTR, Function, Value, Variable
from kernels.jit.vector_math import LOG2_E, SUM_LANES
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, GROUP, KVType

PARTIAL_HEAD = 16  # f32 in front of o: m, l, padding to a cache line
ROW_BYTES = 4 * RANGE_TOKENS  # of the scores of a row
HEIGHTS_LEFT = (10, 9, 8, 6, 4, 3, 2, 1)
"""Of groups of rows left over. Any number below a tile's rows is one of these, or one of these and 1. A chunk of a
prompt beside running streams is a few tokens, times 3 query heads a tile and a half: of 18 rows, 6 are left over."""


def partial_bytes(head_dim: int) -> int:
    return 4 * (PARTIAL_HEAD + head_dim)


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` query rows by `vectors` vectors of tokens (scores) or of head_dim elements (output).

    is_wide: the range is made floats before, for many rows.
    """

    name: str
    head_dim: int
    rows: int
    isa: Isa
    features: str
    window: int | None = None
    soft_cap: float | None = None
    kv: KVType = F16_KV
    is_wide: bool = False

    @property
    def operands(self) -> KVType:
        """The type that the products read."""
        return F32_KV if self.is_wide else self.kv

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of the groups that code is written for: whole ones, then those of rows left over."""
        return (self.rows, *(rows for rows in HEIGHTS_LEFT if rows < self.rows))

    @property
    def columns(self) -> int:
        """Tokens that a whole tile of scores covers."""
        return self.vectors(self.rows, BLOCK_TOKENS) * self.isa.lanes

    def vectors(self, rows: int, columns: int) -> int:
        """How many vectors wide a tile of `rows` is when `columns` elements are to be covered.

        Scales wait in registers too, one for a vector; two fit beside the sums.
        """
        wide, held = 1, 1 if self.operands.has_scales else 0
        while 2 * wide * self.isa.lanes <= columns:
            if 2 * wide * (rows + held) - 2 * held > self.isa.accumulators:
                break
            wide *= 2
        return wide

    def emit(self) -> str:
        assert self.head_dim % SUM_LANES == 0, f"head_dim {self.head_dim} is no multiple of {SUM_LANES}"
        arguments = [("num_rows", I64), ("q", PTR), ("positions", PTR), ("start", I64), ("block_table", PTR)]
        arguments += [("kv", PTR), ("block_stride", I64), ("partials", PTR), ("ahead", PTR)]
        return _Emission(self, Function(self.name, arguments, self.features)).text()


class _Emission:
    def __init__(self, tile: Tile, f: Function) -> None:
        self.tile, self.f, self.isa, self.head_dim = tile, f, tile.isa, tile.head_dim
        self.cached = CachedReads(f, tile.isa, tile.operands, tile.head_dim)
        self.softmax = Softmax(f, tile.isa)
        self.sight = Sight(f, tile.window)
        self.scores = f.stack(tile.rows * ROW_BYTES)
        self.plane_bytes = tile.kv.plane_bytes(tile.head_dim)
        self.planes = RangePlanes(f, tile.isa, tile.kv, tile.head_dim, self.sight, tile.is_wide)

    def text(self) -> str:
        f, num_rows, rows = self.f, self.f["num_rows"], self.tile.rows
        whole, *fewer = self.tile.heights
        self.planes.emit_widening()
        rest = f.remainder(num_rows, whole)
        # Rows left over become one group, which may begin before them: its first rows get the same bits twice. Where
        # there are none before, they become a group that fits, and then perhaps one of what is still left.
        overlaps = f.compare("sge", num_rows, rows)
        fits = f.both(overlaps, f.compare("sgt", rest, fewer[0] if fewer else rows))
        stop = f.select(fits, num_rows, num_rows - rest)
        with f.loop(0, stop, rows) as row:
            self._group(f.call("llvm.smin.i64", I64, row, num_rows - rows), rows)
        row_left = f.variable(num_rows - rest)
        for few, lower in pairwise((*fewer, 0)):
            fits = f.both(f.compare("sgt", rest, lower), f.compare("sle", rest, few))
            with f.when(f.select(overlaps, fits, f.compare("sge", num_rows - row_left.get(), few))):
                self._group(f.select(overlaps, num_rows - few, row_left.get()), few)
                row_left.set(row_left.get() + few)
        if not self.tile.is_wide:
            self.planes.ask_for_rest()
        f.ret()
        return f.text()

    def _group(self, row: Value, rows: int) -> None:
        f, tile = self.f, self.tile
        last = self.sight.visible(row + (rows - 1))
        self._score(f.offset(f["q"], row * (4 * self.head_dim)), last, rows)
        # In two turns: in one, the weights of a row wait for its maximum, and the next row's maximum for them.
        with f.loop(0, f.const(I64, rows)) as index:
            scores, seen, partial = self._row(row, index)
            if tile.soft_cap is not None:
                self.softmax.cap(scores, seen, tile.soft_cap * LOG2_E)
            if tile.window is not None:
                self.softmax.forget(scores, self.sight.forgotten(row + index), seen)
            self.softmax.top(scores, seen, partial)
        with f.loop(0, f.const(I64, rows)) as index:
            scores, seen, partial = self._row(row, index)
            self.softmax.weigh(scores, seen, last, partial)
        self._output(f.offset(f["partials"], row * partial_bytes(self.head_dim)), last, rows)

    def _row(self, first: Value, index: Value) -> tuple[Value, Value, Value]:
        """Of a group's `index`th row: its scores, up to where it sees tokens, its partial."""
        f, row = self.f, first + index
        partial = f.offset(f["partials"], row * partial_bytes(self.head_dim))
        return f.offset(self.scores, index * ROW_BYTES), self.sight.seen(row), partial

    # -- scores: lanes are tokens

    def _score(self, q: Value, tokens: Value, rows: int) -> None:
        f, lanes = self.f, self.isa.lanes
        vectors = self.tile.vectors(rows, BLOCK_TOKENS)
        with f.loop(0, num_blocks(tokens)) as index:
            keys, plane = self.planes.block(index)[0], self.planes.ahead(index)
            out = f.offset(self.scores, index * (4 * BLOCK_TOKENS))
            with f.loop(0, f.const(I64, BLOCK_TOKENS), vectors * lanes) as column:
                acc = self._zeros(rows, vectors)
                ahead = f.offset(plane, column * (self.plane_bytes // BLOCK_TOKENS))
                if self.planes.scales is None:
                    self._score_depth(acc, q, keys, column, ahead, f.const(I64, 0), f.const(I64, self.head_dim), None)
                else:
                    scales = f.offset(self.planes.scales.keys, index * self.cached.scale_plane_bytes)
                    with f.loop(0, f.const(I64, self.head_dim), GROUP) as first:
                        stop = f.call("llvm.smin.i64", I64, first + GROUP, f.const(I64, self.head_dim))
                        of_group = f.offset(f.offset(scales, first << 2), column << 2)  # 32 tokens a group
                        self._score_depth(acc, q, keys, column, ahead, first, stop, of_group)
                self._store(acc, f.offset(out, column << 2), ROW_BYTES)

    def _score_depth(
        self,
        acc: list[list[Variable]],
        q: Value,
        keys: Value,
        column: Value,
        ahead: Value,
        first: Value,
        stop: Value,
        scales: Value | None,
    ) -> None:
        """acc[r, c] += q[r, k] K[k, c] for k in first..stop, a multiple of 16."""
        f, lanes, size = self.f, self.isa.lanes, self.tile.operands.element_bytes
        row_bytes, step = BLOCK_TOKENS * size, self.isa.spread
        vectors = range(len(acc[0]))
        scale = {} if scales is None else {c: self.cached.key_scale(scales, c * lanes) for c in vectors}
        with f.loop(first, stop, step) as k:
            self._ask(ahead, k, step, len(vectors))
            at = f.offset(f.offset(keys, k * row_bytes), column * size)
            spread = [
                self.isa.spread_loads(f, f.offset(q, k << 2), 4 * self.head_dim * r, step) for r in range(len(acc))
            ]
            for i in range(step):
                self._add(
                    acc,
                    [each[i] for each in spread],
                    lambda c, i=i: self.cached.elements(at, BLOCK_TOKENS * i + c * lanes, scale.get(c)),  # type: ignore[misc]
                )

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
        f, size, step = self.f, self.tile.operands.element_bytes, self.isa.spread
        acc = self._zeros(rows, vectors)
        with f.loop(0, tokens, BLOCK_TOKENS) as token:
            index = token >> 5
            values = f.offset(self.planes.block(index)[1], column * size)
            plane = self.planes.ahead(num_blocks(tokens) + index)
            ahead = f.offset(plane, column * (self.plane_bytes // self.head_dim))
            count = f.call("llvm.smin.i64", I64, tokens - token, f.const(I64, BLOCK_TOKENS))
            rest = f.remainder(count, step)
            weights, scales = f.offset(self.scores, token << 2), None
            if self.planes.scales is not None:
                num_groups = self.tile.operands.num_groups(self.head_dim)
                scales = f.offset(f.offset(self.planes.scales.values, token * (4 * num_groups)), (column >> 5) << 2)
            for first, stop, few in ((f.const(I64, 0), count - rest, step), (count - rest, count, 1)):
                if few == 1 < step or few == step:
                    with f.loop(first, stop, few) as k:
                        self._weighted(acc, f.offset(weights, k << 2), values, scales, ahead, k, few)
        self._store(acc, f.offset(f.offset(partials, 4 * PARTIAL_HEAD), column << 2), partial_bytes(self.head_dim))

    def _weighted(
        self,
        acc: list[list[Variable]],
        weights: Value,
        values: Value,
        scales: Value | None,
        ahead: Value,
        k: Value,
        count: int,
    ) -> None:
        """acc[r, c] += p[r, k] V[k, c] for `count` tokens from k on."""
        f, lanes, size = self.f, self.isa.lanes, self.tile.operands.element_bytes
        num_groups = self.tile.operands.num_groups(self.head_dim)
        self._ask(ahead, k, count, len(acc[0]))
        at = f.offset(values, k * (self.head_dim * size))
        spread = [self.isa.spread_loads(f, weights, ROW_BYTES * r, count) for r in range(len(acc))]
        for i in range(count):
            of_token = None if scales is None else f.offset(scales, (k + i) * (4 * num_groups))

            def column(c: int, i: int = i, of_token: Value | None = of_token) -> Value:
                scale = None if of_token is None else self.cached.value_scale(of_token, c * lanes)
                return self.cached.elements(at, self.head_dim * i + c * lanes, scale)

            self._add(acc, [each[i] for each in spread], column)

    # -- the product both are made of

    def _zeros(self, rows: int, vectors: int) -> list[list[Variable]]:
        return [[self.f.variable(self.f.zero(self.isa.floats)) for _ in range(vectors)] for _ in range(rows)]

    def _add(self, acc: list[list[Variable]], a: Sequence[Value], column: Callable[[int], Value]) -> None:
        """acc[r, c] += a[r] column(c). The fewer of rows and columns wait in registers while the others pass: LLVM
        keeps this order."""
        rows, vectors = range(len(acc)), range(len(acc[0]))
        columns: dict[int, Value] = {}
        by_row, by_column = [(r, c) for r in rows for c in vectors], [(r, c) for c in vectors for r in rows]
        for r, c in by_row if len(rows) >= len(vectors) else by_column:
            if c not in columns:
                columns[c] = column(c)
            acc[r][c].set(self.f.fma(a[r], columns[c], acc[r][c].get()))

    def _ask(self, plane: Value, turn: Value, count: int, vectors: int) -> None:
        """For the share of a plane that `count` turns have, each of which reads so many vectors of one like it."""
        if not self.tile.is_wide:  # else widening has asked
            num_turns = BLOCK_TOKENS * self.head_dim // (vectors * self.isa.lanes)
            share = -(-self.plane_bytes // num_turns)
            self.cached.prefetch(self.f.offset(plane, turn * share), count * share)

    def _store(self, acc: list[list[Variable]], at: Value, row_bytes: int) -> None:
        for r, row in enumerate(acc):
            for c, variable in enumerate(row):
                self.f.store(variable.get(), at, r * row_bytes + 4 * c * self.isa.lanes, align=16)
