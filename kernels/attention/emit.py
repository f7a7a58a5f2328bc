"""Writes the attention micro-kernel: rows of queries against one range of 128 tokens of the KV cache.

    void attention(i64 num_rows, const f32 *q, const i32 *positions, i64 start, const i32 *block_table,
                   const void *kv, i64 block_stride_bytes, f32 *partials, const void *const *ahead)

    q           f32[num_rows, head_dim], times scale x log2(e); with a soft cap times scale x 2 log2(e) / cap. In i16
                in the same room int16[head_dim], then f32, their scale times that
    positions   i32[num_rows], ascending: row r sees the tokens of the sequence up to and with positions[r], of these
                the last `window` where the tile has one
    start       first token of the range, a multiple of 128
    block_table i32[], the sequence's blocks from its first token on
    kv          K^T, then V, of block 0 of this layer and kv head, as kernels.runtime.kv_types lays them out
    partials    f32[num_rows, 16 + head_dim]: m, l, unused, o (kernels.attention.partials)
    ahead       four addresses, of K^T and V of a block and kv head each: what is read soon, and may be any

For each row, over the tokens t of the range that it sees: s = q . k, m = max s, p = 2^(s - m), l = sum p, o = sum p v.
A row that sees none gets m = -inf, l = 0, o = 0. With a soft cap (Gemma 2, arXiv:2408.00118) s becomes
cap tanh(s / cap) first, in units of log2.

In i16 scores and output are sums of products of integers (kernels.attention.pair_products), exact in any order.

Every other sum has one order, whatever the tile, the other rows and the instruction set: q . k ascending in head_dim, l
over 16 virtual lanes (see kernels.jit.vector_math), o ascending in t. Tokens that a row does not see, but another row
of its group may, add p = 0 times a finite v, which changes no bit. Slots past the last visible token are read as K
only, and their scores replaced before use: what they hold does not matter.

What is ahead is prefetched, half of it by a group's scores, half by its output, so at the speed of memory all along: by
the scores alone, a decode took a fifth longer. A wide tile makes the range floats first, once for all rows: on an
AVX-512 that leaves one of seven vector instructions of its products out, and pays from some five groups of rows on.
"""

from __future__ import annotations

from itertools import pairwise

from kernels.attention.float_products import FloatProducts
from kernels.attention.geometry import TileGeometry
from kernels.attention.pair_products import PairProducts
from kernels.attention.partials import partial_bytes
from kernels.attention.products import ROW_BYTES
from kernels.attention.range_planes import RangePlanes
from kernels.attention.sight import Sight
from kernels.attention.softmax import Softmax
from kernels.jit.ir import I64, PTR, Function, Value
from kernels.jit.vector_math import LOG2_E, SUM_LANES


class Tile(TileGeometry):
    """A micro-kernel."""

    __slots__ = ()

    def emit(self) -> str:
        assert self.head_dim % SUM_LANES == 0, f"head_dim {self.head_dim} is no multiple of {SUM_LANES}"
        arguments = [("num_rows", I64), ("q", PTR), ("positions", PTR), ("start", I64), ("block_table", PTR)]
        arguments += [("kv", PTR), ("block_stride", I64), ("partials", PTR), ("ahead", PTR)]
        return _Emission(self, Function(self.name, arguments, self.features)).text()


class _Emission:
    def __init__(self, tile: Tile, f: Function) -> None:
        self.tile, self.f, self.isa, self.head_dim = tile, f, tile.isa, tile.head_dim
        self.softmax = Softmax(f, tile.isa)
        self.sight = Sight(f, tile.window)
        self.scores = f.stack(tile.rows * ROW_BYTES)
        self.planes = RangePlanes(f, tile.isa, tile.kv, tile.head_dim, self.sight, tile.is_wide)
        products: type[FloatProducts | PairProducts] = PairProducts if tile.kv.in_pairs else FloatProducts
        self.products = products(f, tile, self.planes, self.scores)

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
        self.products.score(f.offset(f["q"], row * (4 * self.head_dim)), last, rows)
        # In turns: in one, the weights of a row wait for its maximum, and the next row's maximum for them.
        with f.loop(0, f.const(I64, rows)) as index:
            scores, seen, partial = self._row(row, index)
            if tile.soft_cap is not None:
                self.softmax.cap(scores, seen, tile.soft_cap * LOG2_E)
            if tile.window is not None:
                self.softmax.forget(scores, self.sight.forgotten(row + index), seen)
            self.softmax.top(scores, seen, partial)
        with f.loop(0, f.const(I64, rows)) as index:
            scores, seen, partial = self._row(row, index)
            self.softmax.weigh(scores, seen, last, partial, self.planes.token_scales)
        if self.planes.token_scales is not None:
            with f.loop(0, f.const(I64, rows)) as index:
                scores, _, partial = self._row(row, index)
                self.softmax.make_integers(scores, last, partial)
        self.products.output(f.offset(f["partials"], row * partial_bytes(self.head_dim)), last, rows)

    def _row(self, first: Value, index: Value) -> tuple[Value, Value, Value]:
        """Of a group's `index`th row: its scores, up to where it sees tokens, its partial."""
        f, row = self.f, first + index
        partial = f.offset(f["partials"], row * partial_bytes(self.head_dim))
        return f.offset(self.scores, index * ROW_BYTES), self.sight.seen(row), partial
