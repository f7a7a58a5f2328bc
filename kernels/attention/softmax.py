"""Writes the middle of an attention micro-kernel: a row of scores, in place, to the weights of a softmax.

A row is f32[128], of which the first `seen` are visible. Sums and maxima go over 16 virtual lanes whatever the
registers are (kernels.jit.vector_math), so a row has one result on every rung. Knows no keys and no values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.jit.ir import F32, I32, I64, Function, Value, Variable, vector
from kernels.jit.vector_math import SUM_LANES, exp2, fold_max, fold_sum, maximum


@dataclass(frozen=True, slots=True)
class Softmax:
    f: Function
    isa: Isa

    def cap(self, scores: Value, seen: Value, most: float) -> None:
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

    def forget(self, scores: Value, before: Value, seen: Value) -> None:
        """-inf for the first `before` tokens of those that are seen."""
        f, low = self.f, self.f.const(self.isa.floats, -math.inf)
        with f.loop(0, f.call("llvm.smin.i64", I64, before, seen), SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            first = self._splat32(before - token)
            masked = [
                f.select(f.compare("slt", self._lane_numbers(i), first), low, value)
                for i, value in enumerate(self._chunk(at))
            ]
            self._store_chunk(masked, at)

    def top(self, scores: Value, seen: Value, partial: Value) -> None:
        """m, the greatest of the scores, to the partial; -inf over the scores that share a vector with the last."""
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
        f.store(fold_max(f, [m.get() for m in most]), partial, align=4)

    def weigh(self, scores: Value, seen: Value, tokens: Value, partial: Value) -> None:
        """Scores to p = 2^(s - m), zeros from `seen` to `tokens`; l to the partial, which has m."""
        f = self.f
        count = SUM_LANES // self.isa.lanes
        tops = f.splat(f.load(F32, partial, align=4), self.isa.floats)
        total = [f.variable(f.zero(self.isa.floats)) for _ in range(count)]
        with f.loop(0, seen, SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            weights = [exp2(f, s - tops) for s in self._chunk(at)]
            self._store_chunk(weights, at)
            for t, p in zip(total, weights, strict=True):
                t.set(t.get() + p)
        with f.loop(((seen + (SUM_LANES - 1)) >> 4) << 4, tokens, SUM_LANES) as token:
            self._store_chunk([f.zero(self.isa.floats)] * count, f.offset(scores, token << 2))
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
