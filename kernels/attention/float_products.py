"""Writes the products of floats: keys and values of every type but i16 are exact as f32, and made so on their way."""

from __future__ import annotations

from kernels.attention.products import ROW_BYTES, Products, Sums
from kernels.jit.ir import I64, Value
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import GROUP


class FloatProducts(Products[Value]):
    @property
    def unit_bytes(self) -> int:
        return self.tile.operands.element_bytes

    @property
    def sum_type(self) -> str:
        return self.isa.floats

    def _by_keys(self, acc: Sums, q: Value, keys: Value, index: Value, column: Value, ahead: Value) -> None:
        f = self.f
        if self.planes.scales is None:
            self._score_depth(acc, q, keys, column, ahead, f.const(I64, 0), f.const(I64, self.head_dim), None)
            return
        scales = f.offset(self.planes.scales.keys, index * self.cached.scale_plane_bytes)
        with f.loop(0, f.const(I64, self.head_dim), GROUP) as first:
            stop = f.call("llvm.smin.i64", I64, first + GROUP, f.const(I64, self.head_dim))
            of_group = f.offset(f.offset(scales, first << 2), column << 2)  # 32 tokens a group
            self._score_depth(acc, q, keys, column, ahead, first, stop, of_group)

    def _score_depth(
        self,
        acc: Sums,
        q: Value,
        keys: Value,
        column: Value,
        ahead: Value,
        first: Value,
        stop: Value,
        scales: Value | None,
    ) -> None:
        """acc[r, c] += q[r, k] K[k, c] for k in first..stop, a multiple of 16."""
        f, lanes, size = self.f, self.isa.lanes, self.unit_bytes
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

    def _by_values(
        self, acc: Sums, values: Value, token: Value, column: Value, ahead: Value, k: Value, count: int
    ) -> None:
        f, lanes = self.f, self.isa.lanes
        num_groups = self.tile.operands.num_groups(self.head_dim)
        scales = None
        if self.planes.scales is not None:
            scales = f.offset(f.offset(self.planes.scales.values, token * (4 * num_groups)), (column >> 5) << 2)
        self._ask(ahead, k, count, len(acc[0]))
        at = f.offset(values, k * (self.head_dim * self.unit_bytes))
        weights = f.offset(f.offset(self.scores, token << 2), k << 2)
        spread = [self.isa.spread_loads(f, weights, ROW_BYTES * r, count) for r in range(len(acc))]
        for i in range(count):
            of_token = None if scales is None else f.offset(scales, (k + i) * (4 * num_groups))

            def column_of(c: int, i: int = i, of_token: Value | None = of_token) -> Value:
                scale = None if of_token is None else self.cached.value_scale(of_token, c * lanes)
                return self.cached.elements(at, self.head_dim * i + c * lanes, scale)

            self._add(acc, [each[i] for each in spread], column_of)

    def _multiply_add(self, total: Value, a: Value, b: Value) -> Value:
        return self.f.fma(a, b, total)
