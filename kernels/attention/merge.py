"""Writes the micro-kernel that merges attention partials: one more range into the state of each row.

    void attention_merge(i64 num_rows, const f32 *partials, f32 *state)

Both are f32[num_rows, 16 + head_dim] as kernels.attention.emit lays them out; a fresh state is m = -inf, l = 0, o = 0.
Per row, with top = max(m, m'), a = 2^(m - top), b = 2^(m' - top): l = l a + l' b, o = o a + o' b, each with one fused
multiply-add. A partial that saw no token (l' = 0) leaves the row alone. Ranges are merged in ascending order, by
whoever does it: the bits do not depend on who computed them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.emit import PARTIAL_HEAD, partial_bytes
from kernels.attention.isa import Isa
from kernels.jit.ir import F32, I64, PTR, Function, Value
from kernels.jit.vector_math import exp2, maximum


@dataclass(frozen=True, slots=True)
class Merge:
    name: str
    head_dim: int
    isa: Isa
    features: str

    def emit(self) -> str:
        f = Function(self.name, [("num_rows", I64), ("partials", PTR), ("state", PTR)], self.features)
        with f.loop(0, f["num_rows"]) as row:
            at = row * partial_bytes(self.head_dim)
            partial, state = f.offset(f["partials"], at), f.offset(f["state"], at)
            weight = f.load(F32, partial, 4, align=4)
            with f.when(f.compare("une", weight, f.const(F32, 0))):
                self._row(f, partial, state, weight)
        f.ret()
        return f.text()

    def _row(self, f: Function, partial: Value, state: Value, weight: Value) -> None:
        here, there = f.load(F32, state, align=4), f.load(F32, partial, align=4)
        top = maximum(f, here, there)
        keep, take = exp2(f, here - top), exp2(f, there - top)
        f.store(top, state, align=4)
        f.store(f.fma(f.load(F32, state, 4, align=4), keep, weight * take), state, 4, align=4)
        floats, lanes = self.isa.floats, self.isa.lanes
        keeps, takes = f.splat(keep, floats), f.splat(take, floats)
        start = f.const(I64, 4 * PARTIAL_HEAD)
        with f.loop(start, f.const(I64, partial_bytes(self.head_dim)), 4 * lanes) as at:
            into = f.offset(state, at)
            f.store(f.fma(f.load(floats, into), keeps, f.load(floats, f.offset(partial, at)) * takes), into)
