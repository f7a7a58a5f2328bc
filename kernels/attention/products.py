"""Writes the products of an attention micro-kernel: queries by keys, weights by values. Knows no softmax.

A tile sums in registers: `rows` x vectors of scores, whose lanes are tokens, or of output, whose lanes are elements of
head_dim. What is ahead is asked for meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kernels.attention.cached import CachedReads
from kernels.attention.geometry import TileGeometry
from kernels.attention.partials import PARTIAL_HEAD, partial_bytes
from kernels.attention.range_planes import RangePlanes, num_blocks
from kernels.attention.sight import RANGE_TOKENS
from kernels.jit.ir import I64, Function, Value, Variable
from kernels.runtime.abi import BLOCK_TOKENS

ROW_BYTES = 4 * RANGE_TOKENS  # of the scores of a row

Sums = list[list[Variable]]
Operand = TypeVar("Operand")


class Products(ABC, Generic[Operand]):
    """`scores`: f32[rows, 128] of a group, where weights replace them. A unit is what one lane multiplies at once: an
    element, or a pair. Operand: what a vector of them is read as."""

    @property
    @abstractmethod
    def unit_bytes(self) -> int: ...

    @property
    @abstractmethod
    def sum_type(self) -> str: ...

    @property
    def units_of_a_block(self) -> int:
        """Of its tokens."""
        return BLOCK_TOKENS * self.tile.operands.element_bytes // self.unit_bytes

    def __init__(self, f: Function, tile: TileGeometry, planes: RangePlanes, scores: Value) -> None:
        self.f, self.tile, self.isa, self.head_dim = f, tile, tile.isa, tile.head_dim
        self.planes, self.scores = planes, scores
        self.cached = CachedReads(f, tile.isa, tile.operands, tile.head_dim)
        self.plane_bytes = tile.kv.plane_bytes(tile.head_dim)

    # -- scores: lanes are tokens

    def score(self, q: Value, tokens: Value, rows: int) -> None:
        """Of `rows` queries from `q` on, by the range's first `tokens`, up to a whole block."""
        f, lanes = self.f, self.isa.lanes
        vectors = self.tile.vectors(rows, BLOCK_TOKENS)
        with f.loop(0, num_blocks(tokens)) as index:
            keys, plane = self.planes.block(index)[0], self.planes.ahead(index)
            out = f.offset(self.scores, index * (4 * BLOCK_TOKENS))
            with f.loop(0, f.const(I64, BLOCK_TOKENS), vectors * lanes) as column:
                acc = self._zeros(rows, vectors)
                ahead = f.offset(plane, column * (self.plane_bytes // BLOCK_TOKENS))
                self._by_keys(acc, q, keys, index, column, ahead)
                self._store(self._scores(acc, q, keys, column), f.offset(out, column << 2), ROW_BYTES)

    @abstractmethod
    def _by_keys(self, acc: Sums, q: Value, keys: Value, index: Value, column: Value, ahead: Value) -> None:
        """acc[r, c] += q[r] . K[c], of the vectors of tokens from `column` on of the range's `index`th block."""

    def _scores(self, acc: Sums, q: Value, keys: Value, column: Value) -> list[list[Value]]:
        return [[variable.get() for variable in row] for row in acc]

    # -- output: lanes are elements of head_dim

    def output(self, partials: Value, tokens: Value, rows: int) -> None:
        """Of the weights of `rows` rows by the values of the range's first `tokens`."""
        f, lanes = self.f, self.isa.lanes
        wide = self.tile.vectors(rows, self.head_dim)
        whole = self.head_dim // (wide * lanes) * (wide * lanes)
        with f.loop(0, f.const(I64, whole), wide * lanes) as column:
            self._output_columns(partials, tokens, rows, column, wide)
        with f.loop(whole, f.const(I64, self.head_dim), lanes) as column:
            self._output_columns(partials, tokens, rows, column, 1)

    def _output_columns(self, partials: Value, tokens: Value, rows: int, column: Value, vectors: int) -> None:
        f, step = self.f, self.isa.spread
        acc = self._zeros(rows, vectors)
        with f.loop(0, tokens, BLOCK_TOKENS) as token:
            index = token >> 5
            values = f.offset(self.planes.block(index)[1], column * self.unit_bytes)
            plane = self.planes.ahead(num_blocks(tokens) + index)
            ahead = f.offset(plane, column * (self.plane_bytes // self.head_dim))
            count = f.call("llvm.smin.i64", I64, tokens - token, f.const(I64, self.units_of_a_block))
            rest = f.remainder(count, step)
            for first, stop, few in ((f.const(I64, 0), count - rest, step), (count - rest, count, 1)):
                if few == 1 < step or few == step:
                    with f.loop(first, stop, few) as k:
                        self._by_values(acc, values, token, column, ahead, k, few)
        out = f.offset(f.offset(partials, 4 * PARTIAL_HEAD), column << 2)
        self._store(self._outputs(acc, partials), out, partial_bytes(self.head_dim))

    @abstractmethod
    def _by_values(
        self, acc: Sums, values: Value, token: Value, column: Value, ahead: Value, k: Value, count: int
    ) -> None:
        """acc[r, c] += p[r] V[c], for `count` units of tokens from the `k`th on of the block that begins at `token`."""

    def _outputs(self, acc: Sums, partials: Value) -> list[list[Value]]:
        return [[variable.get() for variable in row] for row in acc]

    # -- the product both are made of

    def _zeros(self, rows: int, vectors: int) -> Sums:
        return [[self.f.variable(self.f.zero(self.sum_type)) for _ in range(vectors)] for _ in range(rows)]

    def _add(self, acc: Sums, a: Sequence[Operand], column: Callable[[int], Operand]) -> None:
        """acc[r, c] += a[r] column(c). The fewer of rows and columns wait in registers while the others pass: LLVM
        keeps this order."""
        rows, vectors = range(len(acc)), range(len(acc[0]))
        columns: dict[int, Operand] = {}
        by_row, by_column = [(r, c) for r in rows for c in vectors], [(r, c) for c in vectors for r in rows]
        for r, c in by_row if len(rows) >= len(vectors) else by_column:
            if c not in columns:
                columns[c] = column(c)
            acc[r][c].set(self._multiply_add(acc[r][c].get(), a[r], columns[c]))

    @abstractmethod
    def _multiply_add(self, total: Value, a: Operand, b: Operand) -> Value: ...

    def _ask(self, plane: Value, turn: Value, count: int, vectors: int) -> None:
        """For the share of a plane that `count` turns have, each of which reads so many vectors of one like it."""
        if not self.tile.is_wide:  # else widening has asked
            num_turns = self.units_of_a_block * self.head_dim // (vectors * self.isa.lanes)
            share = -(-self.plane_bytes // num_turns)
            self.cached.prefetch(self.f.offset(plane, turn * share), count * share)

    def _store(self, values: Sequence[Sequence[Value]], at: Value, row_bytes: int) -> None:
        for r, row in enumerate(values):
            for c, value in enumerate(row):
                self.f.store(value, at, r * row_bytes + 4 * c * self.isa.lanes, align=16)
