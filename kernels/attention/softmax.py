"""Writes the middle of an attention micro-kernel: a row of scores, in place, to the weights of a softmax.

A row is f32[128], of which the first `seen` are visible. Sums and maxima go over 16 virtual lanes whatever the
registers are (kernels.jit.vector_math), so a row has one result on every rung. Knows no keys and no values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.attention.partials import LEVELS, WEIGHTS_SCALE_AT
from kernels.jit.ir import F32, I32, I64, Function, Value, Variable, vector
from kernels.jit.vector_math import EXP2_TERMS, ROUND, SHORT_EXP2_TERMS, SUM_LANES, exp2, fold_max, fold_sum, maximum
from kernels.runtime.abi import BLOCK_TOKENS


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
            masked = [f.select(self._before(i, before - token), low, value) for i, value in enumerate(self._chunk(at))]
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
            masked = [f.select(self._before(i, part), value, low) for i, value in enumerate(self._chunk(at))]
            self._store_chunk(masked, at)
            self._raise(most, masked)
        f.store(fold_max(f, [m.get() for m in most]), partial, align=4)

    def weigh(self, scores: Value, seen: Value, tokens: Value, partial: Value, scales: Value | None = None) -> None:
        """Scores to p = 2^(s - m), zeros from `seen` to `tokens`; l to the partial, which has m.

        With `scales`, f32[128], what is left of a score is p times its token's, and their sum goes to the partial, too.
        """
        f, floats = self.f, self.isa.floats
        count = SUM_LANES // self.isa.lanes
        tops = f.splat(f.load(F32, partial, align=4), floats)
        total, scaled = ([f.variable(f.zero(floats)) for _ in range(count)] for _ in range(2))
        with f.loop(0, seen, SUM_LANES) as token:
            at = f.offset(scores, token << 2)
            terms = EXP2_TERMS if scales is None else SHORT_EXP2_TERMS
            weights = [exp2(f, s - tops, terms) for s in self._chunk(at)]
            self._add(total, weights)
            if scales is not None:
                of_tokens = self._chunk(f.offset(scales, token << 2))
                weights = [p * scale for p, scale in zip(weights, of_tokens, strict=True)]
                self._add(scaled, weights)
            self._store_chunk(weights, at)
        stop = tokens if scales is None else ((tokens + (BLOCK_TOKENS - 1)) >> 5) << 5  # whole blocks become integers
        with f.loop(((seen + (SUM_LANES - 1)) >> 4) << 4, stop, SUM_LANES) as token:
            self._store_chunk([f.zero(floats)] * count, f.offset(scores, token << 2))
        f.store(fold_sum(f, [t.get() for t in total]), partial, 4, align=4)
        if scales is not None:
            f.store(fold_sum(f, [s.get() for s in scaled]), partial, WEIGHTS_SCALE_AT, align=4)

    def make_integers(self, scores: Value, tokens: Value, partial: Value) -> None:
        """Weights, whose sum the partial has, to int16 that sum to 32767, of whole blocks; the sum to their scale.

        A block becomes 16 pairs, of tokens i and i + 16, in the first half of the row.
        """
        f, lanes = self.f, self.isa.lanes
        floats, integers = self.isa.floats, vector(lanes, I32)
        total = f.load(F32, partial, WEIGHTS_SCALE_AT, align=4)
        f.store(total * f.const(F32, 1 / LEVELS), partial, WEIGHTS_SCALE_AT, align=4)
        factor, magic = f.splat(f.divide(f.const(F32, LEVELS), total), floats), f.const(floats, ROUND)
        with f.loop(0, tokens, BLOCK_TOKENS) as token:
            at, into = f.offset(scores, token << 2), f.offset(scores, token << 1)
            low, high = (
                [f.cast("bitcast", f.fma(w, factor, magic), integers) for w in self._chunk(f.offset(at, half))]
                for half in (0, 4 * SUM_LANES)
            )
            for i, (a, b) in enumerate(zip(low, high, strict=True)):
                f.store((a & 0xFFFF) | (b << 16), into, 4 * i * lanes, align=16)

    def _add(self, totals: Sequence[Variable], values: Sequence[Value]) -> None:
        for total, value in zip(totals, values, strict=True):
            total.set(total.get() + value)

    def _chunk(self, at: Value) -> list[Value]:
        lanes = self.isa.lanes
        return [self.f.load(self.isa.floats, at, 4 * start, align=16) for start in range(0, SUM_LANES, lanes)]

    def _store_chunk(self, values: Sequence[Value], at: Value) -> None:
        for i, value in enumerate(values):
            self.f.store(value, at, 4 * i * self.isa.lanes, align=16)

    def _raise(self, most: Sequence[Variable], values: Sequence[Value]) -> None:
        for m, value in zip(most, values, strict=True):
            m.set(maximum(self.f, m.get(), value))

    def _before(self, i: int, stop: Value) -> Value:
        """Which of a chunk's `i`th vector's lanes are before `stop`."""
        isa = self.isa
        return self.f.compare("slt", isa.numbers(self.f, i * isa.lanes), isa.splat(self.f, stop))
