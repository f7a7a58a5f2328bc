"""Writes the products of pairs of int16, for keys and values in i16: integers, so exact in whatever order.

A query has, as a key, integers of a Euclidean norm of 32704 and one scale; it lies in the room of its floats as
int16[head_dim], f32 scale. A row's weights become integers that sum to 32767 at most, by a scale of their own: no sum
of products with values, each below 2^15, is beyond int32 then. What the values of a token are scaled with is in its
weight before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernels.attention.partials import WEIGHTS_SCALE_AT, partial_bytes
from kernels.attention.products import ROW_BYTES, Products, Sums
from kernels.jit.ir import F32, I32, I64, Value, vector
from kernels.runtime.abi import BLOCK_TOKENS

PAIR_BYTES = 4


class PairProducts(Products[Sequence[Value]]):
    @property
    def unit_bytes(self) -> int:
        return PAIR_BYTES

    @property
    def sum_type(self) -> str:
        return vector(self.isa.lanes, I32)

    def _by_keys(self, acc: Sums, q: Value, keys: Value, index: Value, column: Value, ahead: Value) -> None:
        f, step = self.f, self.isa.spread
        with f.loop(0, f.const(I64, self.head_dim // 2), step) as k:
            self._ask(ahead, k, step, len(acc[0]))
            at = f.offset(f.offset(keys, k * (BLOCK_TOKENS * PAIR_BYTES)), column * PAIR_BYTES)
            pairs = f.offset(q, k << 2)
            spread = [self.isa.spread_pairs(f, pairs, 4 * self.head_dim * r, step) for r in range(len(acc))]
            for i in range(step):
                self._add(acc, [each[i] for each in spread], self._columns(at, BLOCK_TOKENS * i))

    def _scores(self, acc: Sums, q: Value, keys: Value, column: Value) -> list[list[Value]]:
        """The sums times the scales of both."""
        f, floats = self.f, self.isa.floats
        scales = f.offset(f.offset(keys, self.cached.kv.element_plane_bytes(self.head_dim)), column << 2)
        of_keys = [f.load(floats, scales, 4 * c * self.isa.lanes, align=16) for c in range(len(acc[0]))]
        scored = []
        for r, row in enumerate(acc):
            of_query = f.splat(f.load(F32, q, 4 * self.head_dim * r + 2 * self.head_dim, align=4), floats)
            sums = [f.cast("sitofp", variable.get(), floats) for variable in row]
            scored.append([s * (of_key * of_query) for s, of_key in zip(sums, of_keys, strict=True)])
        return scored

    def _by_values(
        self, acc: Sums, values: Value, token: Value, column: Value, ahead: Value, k: Value, count: int
    ) -> None:
        f = self.f
        self._ask(ahead, k, count, len(acc[0]))
        at = f.offset(values, k * (self.head_dim * PAIR_BYTES))
        weights = f.offset(f.offset(self.scores, token << 1), k << 2)
        spread = [self.isa.spread_pairs(f, weights, ROW_BYTES * r, count) for r in range(len(acc))]
        for i in range(count):
            self._add(acc, [each[i] for each in spread], self._columns(at, self.head_dim * i))

    def _outputs(self, acc: Sums, partials: Value) -> list[list[Value]]:
        """The sums times the weights' scale."""
        f, floats = self.f, self.isa.floats
        made = []
        for r, row in enumerate(acc):
            at = r * partial_bytes(self.head_dim) + WEIGHTS_SCALE_AT
            scale = f.splat(f.load(F32, partials, at, align=4), floats)
            made.append([f.cast("sitofp", variable.get(), floats) * scale for variable in row])
        return made

    def _columns(self, at: Value, first: int) -> Callable[[int], Sequence[Value]]:
        """Vectors of pairs from the `first` on."""
        return lambda c: self.isa.pairs(self.f, at, PAIR_BYTES * (first + c * self.isa.lanes))

    def _multiply_add(self, total: Value, a: Sequence[Value], b: Sequence[Value]) -> Value:
        return self.isa.add_pairs(self.f, total, a, b)
